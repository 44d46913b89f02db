package jws

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"io"
	"math/big"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/seed-f29168f7/renew/sources/internal/leaktest"
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func ecTestKey(curve elliptic.Curve) *ecdsa.PrivateKey {
	return must(ecdsa.GenerateKey(curve, rand.Reader))
}

// device is a key that shows no more than crypto.Signer does.
type device struct {
	crypto.Signer
	sign func(digest []byte, opts crypto.SignerOpts) ([]byte, error) // nil: as the key
}

func (d device) Sign(r io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if d.sign != nil {
		return d.sign(digest, opts)
	}
	return d.Signer.Sign(r, digest, opts)
}

// A library that we did not write reads what every algorithm signs, also when the key is in a device.
func TestSignedTokensAreReadByTheLibrary(t *testing.T) {
	rsaKey := must(rsa.GenerateKey(rand.Reader, 2048))
	_, edPrivate, _ := ed25519.GenerateKey(rand.Reader)
	secret := []byte(strings.Repeat("0123456789abcdef", 4))
	for name, a := range algs {
		var key any
		switch a.family {
		case hmacKey:
			key = secret
		case rsaPKCS1, rsaPSS:
			key = rsaKey
		case ecKey:
			key = ecTestKey(a.curve)
		case edKey:
			key = edPrivate
		}
		keys := []any{key}
		if s, ok := key.(crypto.Signer); ok {
			keys = append(keys, device{Signer: s})
		}
		for _, key := range keys {
			compact, err := Sign(name, key, map[string]any{"typ": "JWT", "kid": "k"}, []byte(`{"sub":"a"}`))
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			tok, err := jwt.NewParser(jwt.WithValidMethods([]string{name}), jwt.WithStrictDecoding()).Parse(compact, func(*jwt.Token) (any, error) { return public(key), nil })
			if err != nil || tok.Header["kid"] != "k" || tok.Header["typ"] != "JWT" || tok.Claims.(jwt.MapClaims)["sub"] != "a" {
				t.Errorf("%s: the library says %v", name, err)
			}
			// One changed bit anywhere is noticed.
			changed := []byte(compact)
			changed[len(changed)/2] ^= 1
			if _, err := Verify(string(changed), name, key); err == nil {
				t.Errorf("%s: a changed token verifies", name)
			}
		}
	}
}

// The library verifies salts of any length; RFC 7518, section 3.5, has one: that of the hash.
func TestSaltOfPSS(t *testing.T) {
	key := must(rsa.GenerateKey(rand.Reader, 2048))
	for _, name := range []string{"PS256", "PS384", "PS512"} {
		hash := algs[name].hash
		p := must(split(must(Sign(name, key, nil, []byte("{}")))))
		h := hash.New()
		h.Write([]byte(p.signingInput))
		if err := rsa.VerifyPSS(&key.PublicKey, hash, h.Sum(nil), p.signature, &rsa.PSSOptions{SaltLength: hash.Size()}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSignNoticesABadSigner(t *testing.T) {
	key, other := ecTestKey(elliptic.P256()), ecTestKey(elliptic.P256())
	rs := func(r, s *big.Int) []byte { return must(asn1.Marshal(struct{ R, S *big.Int }{r, s})) }
	for name, sign := range map[string]func([]byte, crypto.SignerOpts) ([]byte, error){
		"another key": func(d []byte, o crypto.SignerOpts) ([]byte, error) { return other.Sign(rand.Reader, d, o) },
		"zeros":       func([]byte, crypto.SignerOpts) ([]byte, error) { return rs(new(big.Int), new(big.Int)), nil },
		"negative":    func([]byte, crypto.SignerOpts) ([]byte, error) { return rs(big.NewInt(-1), big.NewInt(1)), nil },
		"too large":   func([]byte, crypto.SignerOpts) ([]byte, error) { return rs(key.Params().N, big.NewInt(1)), nil },
		"no ASN.1":    func([]byte, crypto.SignerOpts) ([]byte, error) { return []byte("x"), nil },
		"bytes behind": func([]byte, crypto.SignerOpts) ([]byte, error) {
			return append(rs(big.NewInt(1), big.NewInt(1)), 0), nil
		},
		"nothing":       func([]byte, crypto.SignerOpts) ([]byte, error) { return nil, nil },
		"its own error": func([]byte, crypto.SignerOpts) ([]byte, error) { return nil, io.ErrUnexpectedEOF },
	} {
		compact, err := Sign("ES256", device{key, sign}, nil, []byte("{}"))
		if err == nil || compact != "" {
			t.Errorf("%s: signed", name)
		}
		if name == "its own error" && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s: %v, want it wrapped", name, err)
		}
		if name == "another key" && !errors.Is(err, ErrSignature) {
			t.Errorf("%s: %v, want ErrSignature", name, err)
		}
	}
}

func TestJws_Check(t *testing.T) {
	weak := &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 2046), E: 65537} // 2047 bits
	strong := &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 2047), E: 65537}
	ed := make(ed25519.PrivateKey, ed25519.PrivateKeySize)
	for _, tt := range []struct {
		name string
		alg  string
		key  any
		want string // empty: good
	}{
		{"HMAC", "HS256", make([]byte, 32), ""}, {"HMAC, short", "HS256", make([]byte, 31), "31 bytes"},
		{"HS384", "HS384", make([]byte, 48), ""}, {"HS384, short", "HS384", make([]byte, 47), "47 bytes"},
		{"HS512", "HS512", make([]byte, 64), ""}, {"HS512, short", "HS512", make([]byte, 63), "63 bytes"},
		{"RSA", "RS256", strong, ""}, {"RSA, weak", "RS512", weak, "2047 bits"}, {"PSS, weak", "PS256", weak, "2047 bits"},
		{"EC", "ES256", ecTestKey(elliptic.P256()), ""}, {"another curve", "ES384", ecTestKey(elliptic.P256()), "P-384"},
		{"P-224", "ES256", ecTestKey(elliptic.P224()), "P-256"},
		{"a curve and no point", "ES256", &ecdsa.PublicKey{Curve: elliptic.P256()}, "without content"},
		{"Ed25519", "EdDSA", ed, ""}, {"Ed25519, short", "EdDSA", ed[:10], "without content"}, {"Ed25519 public, short", "EdDSA", ed25519.PublicKey(ed[:10]), "wrong length"},
		{"RSA for HMAC", "HS256", strong, "a shared secret"}, {"HMAC for RSA", "RS256", make([]byte, 64), "an RSA key"},
		{"RSA for EC", "ES256", strong, "an EC key"}, {"EC for Ed25519", "EdDSA", ecTestKey(elliptic.P256()), "an Ed25519 key"},
		{"none", "none", strong, "no algorithm"}, {"another case", "hs256", make([]byte, 64), "no algorithm"},
		{"nil", "RS256", nil, "nil"}, {"nil RSA", "RS256", (*rsa.PrivateKey)(nil), "nil"}, {"empty RSA", "RS256", &rsa.PrivateKey{}, "without content"},
		{"nil EC", "ES256", (*ecdsa.PrivateKey)(nil), "nil"}, {"empty EC", "ES256", &ecdsa.PrivateKey{}, "without content"}, {"empty EC public", "ES256", &ecdsa.PublicKey{}, "without content"},
		{"no secret", "HS256", []byte{}, "without content"}, {"a string", "HS256", strings.Repeat("x", 64), "a shared secret"},
	} {
		err := Check(tt.alg, tt.key)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
	for name, key := range map[string]any{"nil": nil, "P-224": ecTestKey(elliptic.P224()), "text": "x", "empty EC": &ecdsa.PrivateKey{}} {
		if Default(key) != "" || JWK(key) != "" || Thumbprint(key) != "" {
			t.Errorf("%s has an algorithm or a JWK", name)
		}
	}
}

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

func token(claims string) string { return b64(`{"alg":"RS256"}`) + "." + b64(claims) + ".c2ln" }

func TestTimes(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	for _, tt := range []struct {
		in   string
		want time.Duration // 0 for an error
		err  error
	}{
		{token(`{"exp":1700003600,"iat":1700000000}`), time.Hour, nil},
		{token(`{"exp":1600003600,"iat":1600000000}`), time.Hour, nil}, // a clock that is years ahead makes no difference
		{token(`{"exp":1700003600}`), time.Hour, nil},
		{token(`{"exp":1700003600,"iat":null}`), time.Hour, nil},
		{token(`{"exp":1700000000.5,"iat":1700000000}`), 500 * time.Millisecond, nil},
		{token(`{"exp":1.7000036e9,"iat":1700000000}`), time.Hour, nil},
		{token(`{"exp":99999999999,"iat":1}`), maxLife, nil},
		{token(`{"exp":1700000000,"iat":1700000000}`), 0, ErrExpired}, {token(`{"exp":1600000000}`), 0, ErrExpired},
		{token(`{"exp":"1700003600"}`), 0, ErrTimes}, {token(`{"exp":true}`), 0, ErrTimes}, {token(`{"exp":null}`), 0, ErrTimes}, {token(`{"exp":-1}`), 0, ErrTimes},
		{token(`{"exp":1e300}`), 0, ErrTimes}, {token(`{"exp":1e999}`), 0, ErrTimes}, {token(`{"exp":1700003600,"iat":"x"}`), 0, ErrTimes}, {token(`{}`), 0, ErrTimes},
		{token(`{"exp":1700003600,"exp":1700003601}`), 0, ErrClaims}, {token(`[]`), 0, ErrClaims}, {token("\ufeff{}"), 0, ErrClaims}, {token(" {}"), 0, ErrTimes}, {token(`x`), 0, ErrClaims}, {token(`{} {}`), 0, ErrClaims},
		{b64(`{"alg":5}`) + "." + b64(`{}`) + ".", 0, ErrHeader}, {b64(`{}`) + "." + b64(`{}`) + ".", 0, ErrHeader},
		{"", 0, ErrForm}, {"a.b", 0, ErrForm}, {"a.b.c.d", 0, ErrForm}, {"..", 0, ErrForm}, {".e30.", 0, ErrForm}, {"a.@@.c", 0, ErrForm},
		{token(`{"exp":1700003600}`) + "\n", 0, ErrForm}, {"eyJhbGciOiJIUzI1NiJ9.e30.AB", 0, ErrForm}, // bits that are not used
	} {
		life, expiry, err := Times(tt.in, now)
		if life != tt.want || !errors.Is(err, tt.err) || expiry.IsZero() != (err != nil) {
			t.Errorf("%s: %v, %v, %v, want %v, %v", tt.in, life, expiry, err, tt.want, tt.err)
		}
		if len(tt.in) > 20 {
			leaktest.Check(t, err, tt.in)
		}
	}
	if _, expiry, _ := Times(token(`{"exp":1700003600,"iat":1700000000}`), now); !expiry.Equal(now.Add(time.Hour)) {
		t.Errorf("expiry = %v, want exp", expiry)
	}
}

// Splitting at every dot would take room in proportion to the dots (CVE-2025-30204), and a decoder that is
// asked again for each would take quadratic time. Both show in what is allocated, which a busy machine does not change.
func TestAMillionDots(t *testing.T) {
	for name, s := range map[string]string{
		"dots":           strings.Repeat(".", 1_000_000),
		"behind a JWS":   token("{}") + strings.Repeat(".", 1_000_000),
		"in its payload": "eyJhbGciOiJIUzI1NiJ9." + strings.Repeat("A.", 500_000),
		"longer":         token(strings.Repeat(" ", maxToken)),
		"nested":         token(`{"a":` + strings.Repeat("[", 500_000)),
		"in the header":  b64(strings.Repeat(`{"a":`, 100_000)) + ".e30.",
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if _, _, err := Times(s, time.Unix(0, 0)); err == nil {
			t.Errorf("%s: read", name)
		}
		if _, err := Verify(s, "HS256", make([]byte, 32)); err == nil {
			t.Errorf("%s: verified", name)
		}
		runtime.ReadMemStats(&after)
		if got, most := after.TotalAlloc-before.TotalAlloc, uint64(16<<20); got > most {
			t.Errorf("%s: %d bytes allocated for %d, want at most %d", name, got, len(s), most)
		}
	}
}

// A token of a MiB is read, and a longer one is refused for its length alone.
func TestJws_LongestToken(t *testing.T) {
	longest := 0
	for _, pad := range []int{maxToken*3/4 - 100, maxToken * 3 / 4} {
		s := token(`{"exp":2,"pad":"` + strings.Repeat("x", pad) + `"}`)
		_, _, err := Times(s, time.Unix(1, 0))
		if short := len(s) <= maxToken; short != (err == nil) || !short && !errors.Is(err, ErrForm) {
			t.Errorf("%d bytes: %v", len(s), err)
		} else if short {
			longest = len(s)
		}
	}
	if longest < maxToken-200 {
		t.Errorf("the longest token that was read has %d bytes", longest)
	}
}

func FuzzRead(f *testing.F) {
	for _, v := range load(f).MustRefuse {
		f.Add(v.Compact)
	}
	for _, v := range load(f).Cases {
		f.Add(v.Compact)
	}
	f.Add(token(`{"exp":1e300}`))
	f.Add(token(`{"exp":0.1,"iat":0.05}`))
	key := make([]byte, 64)
	f.Fuzz(func(t *testing.T, s string) {
		for _, s := range []string{s, token(s), b64(s) + ".e30.", "eyJhbGciOiJIUzI1NiJ9." + b64(s) + "."} {
			life, expiry, err := Times(s, time.Unix(1_700_000_000, 0))
			if err == nil && (life <= 0 || life > maxLife || expiry.Unix() < 0) || err != nil && life != 0 {
				t.Fatalf("%q: %v, %v, %v", s, life, expiry, err)
			}
			p, err := split(s)
			if err == nil && strings.Count(s, ".") != 2 {
				t.Fatalf("%q has %q", s, p.alg)
			}
			// Who has no key makes no token that verifies.
			if _, err := Verify(s, "HS256", key); err == nil {
				t.Fatalf("%q verifies", s)
			}
			// Who has it gets back what was signed.
			compact, err := Sign("HS256", key, nil, []byte(s))
			if err != nil {
				t.Fatal(err)
			}
			if payload, err := Verify(compact, "HS256", key); err != nil && len(compact) <= maxToken || err == nil && string(payload) != s {
				t.Fatalf("%q: %q, %v", s, payload, err)
			}
		}
	})
}
