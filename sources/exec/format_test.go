package exec

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/sources/internal/leaktest"
)

func jwtUntil(exp int64) string {
	b64 := base64.RawURLEncoding.EncodeToString
	return b64([]byte(`{"alg":"RS256"}`)) + "." + b64(fmt.Appendf(nil, `{"iat":1,"exp":%d}`, exp)) + ".c2ln"
}

var (
	testNow   = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	testLater = testNow.Add(time.Hour)
)

func TestFormats(t *testing.T) {
	later := testLater.Format(time.RFC3339)
	kube := func(version, status string) string {
		return `{"apiVersion":"client.authentication.k8s.io/` + version + `","kind":"ExecCredential","spec":{"interactive":false},"status":` + status + `}`
	}
	for _, tt := range []struct {
		name   string
		format Format
		in     string
		want   string
		typ    string
		life   time.Duration
		expiry time.Time
		err    error
	}{
		{"text", Text, " abc\r\n", "abc", "", 0, time.Time{}, nil},
		{"text, JWT", Text, jwtUntil(testLater.Unix()) + "\n", jwtUntil(testLater.Unix()), "", 0, testLater, nil},
		{"text, expired", Text, jwtUntil(1000), "", "", 0, time.Time{}, errExpired},
		{"text, half", Text, jwtUntil(testLater.Unix())[:40], "", "", 0, time.Time{}, errHalf},
		{"text, two", Text, "abc def", "", "", 0, time.Time{}, errText},
		{"text, nothing", Text, "\n", "", "", 0, time.Time{}, errNothing},
		{"OAuth", JSON, `{"access_token":"abc","token_type":"bearer","expires_in":3600}`, "abc", "", time.Hour, time.Time{}, nil},
		{"text for a number", JSON, `{"access_token":"abc","expires_in":"0.5"}`, "abc", "", 500 * time.Millisecond, time.Time{}, nil},
		{"for ever", JSON, `{"access_token":"abc","expires_in":1e300}`, "abc", "", maxLife, time.Time{}, nil},
		{"az", JSON, `{"accessToken":"abc","expiresOn":"1999-01-01 00:00:00.000000","expires_on":` + fmt.Sprint(testLater.Unix()) + `,"subscription":"s","tokenType":"Bearer"}`, "abc", "", 0, testLater, nil},
		{"az, older", JSON, `{"accessToken":"abc","expiresOn":"` + testLater.In(time.Local).Format("2006-01-02 15:04:05.000000") + `"}`, "abc", "", 0, testLater, nil},
		{"gcloud config-helper", JSON, `{"configuration":{},"credential":{"access_token":"abc","id_token":"x","token_expiry":"` + later + `"},"sentinels":{}}`, "abc", "", 0, testLater, nil},
		{"token and expiry", JSON, `{"token":"abc","expiry":"` + later + `","token_type":"FH-AUTH"}`, "abc", "FH-AUTH", 0, testLater, nil},
		{"JWT in JSON", JSON, `{"token":"` + jwtUntil(testLater.Unix()) + `"}`, jwtUntil(testLater.Unix()), "", 0, testLater, nil},
		{"nulls", JSON, `{"token":"abc","expires_in":null,"expires_on":null}`, "abc", "", 0, time.Time{}, nil},
		{"no token", JSON, `{}`, "", "", 0, time.Time{}, errNoToken}, {"a token with a space", JSON, `{"token":"a b"}`, "", "", 0, time.Time{}, errNoToken},
		{"type", JSON, `{"token":"a","token_type":"a b"}`, "", "", 0, time.Time{}, errNoToken},
		{"half of JSON", JSON, `{"access_token":"ab`, "", "", 0, time.Time{}, errJSON}, {"two", JSON, `{"token":"a"} {}`, "", "", 0, time.Time{}, errJSON}, {"no object", JSON, `["a"]`, "", "", 0, time.Time{}, errJSON},
		{"no number", JSON, `{"token":"a","expires_in":"x"}`, "", "", 0, time.Time{}, errTimes}, {"NaN", JSON, `{"token":"a","expires_in":"NaN"}`, "", "", 0, time.Time{}, errTimes},
		{"over", JSON, `{"token":"a","expires_in":0}`, "", "", 0, time.Time{}, errExpired}, {"far", JSON, `{"token":"a","expires_on":1e300}`, "", "", 0, time.Time{}, errTimes},
		{"expiry", JSON, `{"token":"a","expiry":"tomorrow"}`, "", "", 0, time.Time{}, errTimes}, {"no zone", JSON, `{"token":"a","expiry":"2027-01-01 00:00:00"}`, "", "", 0, time.Time{}, errTimes},
		{"expired", JSON, `{"token":"a","expiry":"2026-03-01T12:00:00Z"}`, "", "", 0, time.Time{}, errExpired},
		{"v1", Kubernetes, kube("v1", `{"token":"abc","expirationTimestamp":"`+later+`"}`), "abc", "", 0, testLater, nil},
		{"v1beta1", Kubernetes, kube("v1beta1", `{"token":"abc"}`), "abc", "", 0, time.Time{}, nil},
		{"v1alpha1", Kubernetes, kube("v1alpha1", `{"token":"abc"}`), "", "", 0, time.Time{}, errKind}, {"no status", Kubernetes, kube("v1", `null`), "", "", 0, time.Time{}, errKind},
		{"another kind", Kubernetes, strings.Replace(kube("v1", `{"token":"abc"}`), "ExecCredential", "Pod", 1), "", "", 0, time.Time{}, errKind},
		{"a certificate", Kubernetes, kube("v1", `{"clientCertificateData":"x"}`), "", "", 0, time.Time{}, errNoToken},
		{"bad time", Kubernetes, kube("v1", `{"token":"abc","expirationTimestamp":"x"}`), "", "", 0, time.Time{}, errTimes},
		{"AWS, version", AWS, `{"Version":2,"AccessKeyId":"A","SecretAccessKey":"s"}`, "", "", 0, time.Time{}, errVersion},
		{"AWS, no key", AWS, `{"Version":1,"AccessKeyId":"A"}`, "", "", 0, time.Time{}, errVersion},
		{"AWS, expired", AWS, `{"Version":1,"AccessKeyId":"A","SecretAccessKey":"s","Expiration":"2020-01-01T00:00:00Z"}`, "", "", 0, time.Time{}, errExpired},
		{"AWS, half", AWS, `{"Version":1,"Acc`, "", "", 0, time.Time{}, errJSON},
	} {
		tok, err := read(tt.format, []byte(tt.in), testNow)
		if !errors.Is(err, tt.err) || (err == nil) != (tt.err == nil) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.err)
		}
		if err == nil && (tok.Value.Reveal() != tt.want || tok.Type != tt.typ || tok.Life != tt.life || !tok.Expiry.Equal(tt.expiry)) {
			t.Errorf("%s: %v, %q, %v, %v", tt.name, tok.Value.Reveal(), tok.Type, tok.Life, tok.Expiry)
		}
	}
}

func TestAWS(t *testing.T) {
	const key, session = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "IQoJb3JpZ2luX2VjEXAMPLE//==\u00e9"
	for name, tt := range map[string]struct {
		tail   string
		want   string
		expiry time.Time
	}{
		"session":   {`,"SessionToken":"` + session + `","Expiration":"2026-03-01T14:00:00+01:00"`, session, testLater},
		"long-term": {``, "", time.Time{}},
	} {
		tok, err := read(AWS, []byte(`{"Version":1,"AccessKeyId":"AKIAIOSFODNN7EXAMPLE","SecretAccessKey":"`+key+`"`+tt.tail+`}`), testNow)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		c, err := AWSCredentials(tok)
		if err != nil || c.AccessKeyID != "AKIAIOSFODNN7EXAMPLE" || c.SecretAccessKey.Reveal() != key || c.SessionToken.Reveal() != tt.want || !tok.Expiry.Equal(tt.expiry) || tok.Attr("aws_access_key_id") != c.AccessKeyID {
			t.Errorf("%s: %+v, %v, %v", name, c, tok.Expiry, err)
		}
		leaktest.Check(t, tok, key, session)
		leaktest.Check(t, c, key, session)
		// They are never sent.
		req, _ := http.NewRequest(http.MethodGet, "https://x.example", nil)
		if err := (&Source{Format: AWS}).Authorize(req, tok); err == nil || len(req.Header) != 0 {
			t.Errorf("%s: sent, %v", name, err)
		}
	}
	for _, value := range []string{"abc", "e30", "@"} {
		if _, err := AWSCredentials(&renew.Token{Value: renew.NewSecret(value)}); err == nil {
			t.Errorf("%q has credentials", value)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add(uint8(JSON), `{"access_token":"abc","expires_in":1e300,"expires_on":"5","expiry":"2026-03-01T12:00:00Z"}`)
	f.Add(uint8(JSON), `{"credential":{"accessToken":"abc","expiresOn":"2026-03-01 12:00:00.5"}}`)
	f.Add(uint8(Kubernetes), `{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"abc","expirationTimestamp":"2027-03-01T12:00:00Z"}}`)
	f.Add(uint8(AWS), `{"Version":1,"AccessKeyId":"A","SecretAccessKey":"s","SessionToken":"t"}`)
	f.Add(uint8(Text), jwtUntil(9999999999))
	f.Fuzz(func(t *testing.T, format uint8, out string) {
		tok, err := read(Format(format%4), []byte(out), testNow)
		if err != nil {
			if tok != nil {
				t.Fatal("a token and an error")
			}
			if len(out) > 100 {
				leaktest.Check(t, err, out)
			}
			return
		}
		if tok.Value.IsZero() || tok.Life < 0 || tok.Life > maxLife || !tok.Expiry.IsZero() && !tok.Expiry.After(testNow) || strings.ContainsAny(tok.Value.Reveal(), " \r\n\x00") {
			t.Fatalf("%q: %v, %v, %v", out, tok.Value.Reveal(), tok.Life, tok.Expiry)
		}
		if Format(format%4) == AWS {
			if _, err := AWSCredentials(tok); err != nil {
				t.Fatal(err)
			}
		}
	})
}
