package armor

import (
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/seed-f29168f7/renew/sources/internal/leaktest"
)

func jwt(claims string) string {
	return "eyJh." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".c2ln"
}

func TestJWTLife(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	for _, tt := range []struct {
		in   string
		want time.Duration // 0 for an error
	}{
		{jwt(`{"exp":1700003600,"iat":1700000000}`), time.Hour},
		{jwt(`{"exp":1600003600,"iat":1600000000}`), time.Hour}, // a clock that is years ahead makes no difference
		{jwt(`{"exp":1700003600}`), time.Hour},
		{jwt(`{"exp":1700003600,"iat":null}`), time.Hour},
		{jwt(`{"exp":1700000000.5,"iat":1700000000}`), 500 * time.Millisecond},
		{jwt(`{"exp":1.7000036e9,"iat":1700000000}`), time.Hour},
		{jwt(`{"exp":99999999999,"iat":1700000000}`), maxJWTLife},
		{"a." + base64.URLEncoding.EncodeToString([]byte(`{"exp":1700003600,"iat":1700000000} `)) + ".b", time.Hour}, // padded
		{jwt(`{"exp":1700000000,"iat":1700000000}`), 0},
		{jwt(`{"exp":1600000000}`), 0},
		{jwt(`{"exp":"1700003600"}`), 0}, {jwt(`{"exp":true}`), 0}, {jwt(`{"exp":null}`), 0}, {jwt(`{"exp":-1}`), 0}, {jwt(`{"exp":1e300}`), 0}, {jwt(`{"exp":1e999}`), 0},
		{jwt(`{"exp":1700003600,"iat":"x"}`), 0}, {jwt(`{"exp":1700003600,"exp":1700003601}`), 0},
		{jwt(`{}`), 0}, {jwt(`[]`), 0}, {jwt(`x`), 0}, {jwt(``), 0}, {"", 0}, {"a.b", 0}, {"a.b.c.d", 0}, {"a.@@.c", 0}, {"..", 0},
	} {
		life, expiry, err := jwtLife(tt.in, now)
		if life != tt.want || (err == nil) != (tt.want != 0) || expiry.IsZero() != (err != nil) {
			t.Errorf("%s: %v, %v, %v, want %v", tt.in, life, expiry, err, tt.want)
		}
		if len(tt.in) > 20 {
			leaktest.Check(t, err, tt.in)
		}
	}
	if _, expiry, _ := jwtLife(jwt(`{"exp":1700003600,"iat":1700000000}`), now); !expiry.Equal(now.Add(time.Hour)) {
		t.Errorf("expiry = %v, want exp", expiry)
	}
}

func FuzzJWT(f *testing.F) {
	for _, s := range []string{`{"exp":1700003600,"iat":1700000000}`, `{"exp":1e300}`, `{"exp":0.1,"iat":0.05}`, `{"EXP":5}`, `[`} {
		f.Add(s, int64(1_700_000_000))
	}
	f.Fuzz(func(t *testing.T, claims string, now int64) {
		for _, token := range []string{jwt(claims), claims, strings.Repeat(".", len(claims)%5) + claims} {
			life, expiry, err := jwtLife(token, time.Unix(now%253402300800, 0))
			if err == nil && (life <= 0 || life > maxJWTLife || expiry.Unix() < 0) || err != nil && life != 0 {
				t.Fatalf("%q: %v, %v, %v", token, life, expiry, err)
			}
		}
	})
}
