package httpsig

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/budget"
	"github.com/seed-f29168f7/renew/clock"
	"github.com/seed-f29168f7/renew/sources/internal/leaktest"
)

func TestR23_SignerValidate(t *testing.T) {
	secret := renew.NewSecret(testSecret)
	key := NewKey(testKeys()[Ed25519])
	ask := func(context.Context) (renew.Secret, error) { return secret, nil }
	for _, tt := range []struct {
		name  string
		s     *Signer
		field string // empty: it is valid
	}{
		{"secret", &Signer{KeyID: "k", Secret: secret}, ""},
		{"function", &Signer{KeyID: "k", SecretFunc: ask, Algorithm: HMACSHA256}, ""},
		{"key", &Signer{KeyID: "a key", PrivateKey: key, Components: []string{`@query-param;name="a b"`, "date"}, Label: "*a-1", Tag: "t"}, ""},
		{"RSA PKCS #1", &Signer{KeyID: "k", PrivateKey: NewKey(testKeys()[RSAv15SHA256]), Algorithm: RSAv15SHA256}, ""},
		{"nil", nil, "Signer"},
		{"zero", &Signer{}, "Signer.KeyID"},
		{"key id", &Signer{KeyID: "k\n", Secret: secret}, "Signer.KeyID"},
		{"tag", &Signer{KeyID: "k", Secret: secret, Tag: "\u00fc"}, "Signer.Tag"},
		{"label", &Signer{KeyID: "k", Secret: secret, Label: "Sig"}, "Signer.Label"},
		{"digest", &Signer{KeyID: "k", Secret: secret, Digest: "md5"}, "Signer.Digest"},
		{"life", &Signer{KeyID: "k", Secret: secret, Life: time.Millisecond}, "Signer.Life"},
		{"no components", &Signer{KeyID: "k", Secret: secret, Components: []string{}}, "Signer.Components"},
		{"component in capitals", &Signer{KeyID: "k", Secret: secret, Components: []string{"Date"}}, "Signer.Components"},
		{"component twice", &Signer{KeyID: "k", Secret: secret, Components: []string{"date", "date"}}, "Signer.Components"},
		{"component that is none", &Signer{KeyID: "k", Secret: secret, Components: []string{"a;"}}, "Signer.Components"},
		{"component with a line break", &Signer{KeyID: "k", Secret: secret, Components: []string{"a\nb"}}, "Signer.Components"},
		{"no name", &Signer{KeyID: "k", Secret: secret, Components: []string{"@query-param"}}, "Signer.Components"},
		{"sf", &Signer{KeyID: "k", Secret: secret, Components: []string{"date;sf"}}, "Signer.Components"},
		{"tr", &Signer{KeyID: "k", Secret: secret, Components: []string{"date;tr"}}, "Signer.Components"},
		{"empty key", &Signer{KeyID: "k", Secret: secret, Components: []string{`date;key=""`}}, "Signer.Components"},
		{"bs and key", &Signer{KeyID: "k", Secret: secret, Components: []string{`date;bs;key="a"`}}, "Signer.Components"},
		{"the parameters", &Signer{KeyID: "k", Secret: secret, Components: []string{"@signature-params"}}, "Signer.Components"},
		{"nothing to sign with", &Signer{KeyID: "k"}, "Signer.Secret"},
		{"two to sign with", &Signer{KeyID: "k", Secret: secret, PrivateKey: key}, "Signer.PrivateKey"},
		{"nil key", &Signer{KeyID: "k", PrivateKey: NewKey(nil)}, "Signer.PrivateKey"},
		{"key of another algorithm", &Signer{KeyID: "k", PrivateKey: key, Algorithm: RSAPSSSHA512}, "Signer.PrivateKey"},
		{"secret for another algorithm", &Signer{KeyID: "k", Secret: secret, Algorithm: Ed25519}, "Signer.Algorithm"},
		{"budget", &Signer{KeyID: "k", Secret: secret, Budget: &budget.Budget{Units: -1}}, "Signer.Budget"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.s.Validate()
			got, _ := errors.AsType[*renew.ConfigError](err)
			if (err == nil) != (tt.field == "") || got != nil && got.Field != tt.field {
				t.Errorf("%v, want a ConfigError of %q", err, tt.field)
			}
			leaktest.Check(t, err, testSecret)
		})
	}
}

// What cannot be signed is not sent, and the error says what to do.
func TestR29_Unsignable(t *testing.T) {
	for name, spoil := range map[string]func(*Signer, *http.Request){
		"no URL":               func(_ *Signer, r *http.Request) { r.URL = nil },
		"opaque":               func(_ *Signer, r *http.Request) { r.URL.Opaque = "//x/y" },
		"path without a slash": func(_ *Signer, r *http.Request) { r.URL.Path = "x" },
		"CONNECT":              func(_ *Signer, r *http.Request) { r.Method = "CONNECT" },
		"method with a break":  func(_ *Signer, r *http.Request) { r.Method = "GET\nx" },
		"host with a break":    func(_ *Signer, r *http.Request) { r.Host = "a\nb" },
		"host beyond ASCII":    func(_ *Signer, r *http.Request) { r.Host = "b\u00fccher.example" },
		"query with a space":   func(_ *Signer, r *http.Request) { r.URL.RawQuery = "a b" },
		"scheme":               func(_ *Signer, r *http.Request) { r.URL.Scheme = "ftp" },
		"missing field":        func(s *Signer, _ *http.Request) { s.Components = []string{"date"} },
		"empty field":          func(s *Signer, r *http.Request) { s.Components, r.Header["Date"] = []string{"date"}, nil },
		"two spellings": func(s *Signer, r *http.Request) {
			s.Components, r.Header["X-A"], r.Header["x-a"] = []string{"x-a"}, []string{"1"}, []string{"2"}
		},
		"unknown length": func(s *Signer, r *http.Request) {
			s.Components, r.ContentLength = []string{"content-length"}, -1
		},
		"parameter twice": func(s *Signer, r *http.Request) {
			s.Components, r.URL.RawQuery = []string{`@query-param;name="a"`}, "a=1&a=2"
		},
		"no parameter": func(s *Signer, r *http.Request) { s.Components = []string{`@query-param;name="a"`} },
		"malformed parameter": func(s *Signer, r *http.Request) {
			s.Components, r.URL.RawQuery = []string{`@query-param;name="a"`}, "a=%zz"
		},
		"status":           func(s *Signer, _ *http.Request) { s.Components = []string{"@status"} },
		"unknown derived":  func(s *Signer, _ *http.Request) { s.Components = []string{"@new"} },
		"of the request":   func(s *Signer, _ *http.Request) { s.Components = []string{"@method;req"} },
		"member of no key": func(s *Signer, r *http.Request) { s.Components = []string{`content-type;key="a"`} },
		"no dictionary": func(s *Signer, r *http.Request) {
			s.Components, r.Header["X-D"] = []string{`x-d;key="a"`}, []string{"A B"}
		},
		"nonce with a break":  func(s *Signer, _ *http.Request) { s.Nonce = func() string { return "a\n" } },
		"body read once":      func(_ *Signer, r *http.Request) { r.GetBody = nil },
		"body that breaks":    func(_ *Signer, r *http.Request) { r.GetBody = func() (io.ReadCloser, error) { return nil, io.EOF } },
		"field with a break":  func(s *Signer, r *http.Request) { r.Header.Set("Content-Type", "a\nb") },
		"field beyond ASCII":  func(s *Signer, r *http.Request) { r.Header.Set("Content-Type", "\u00fc") },
		"field with a hidden": func(s *Signer, r *http.Request) { r.Header.Set("Content-Type", "a\x00") },
	} {
		s, _ := testSigner(t, HMACSHA256, nil)
		req, err := http.NewRequest("POST", "https://a.example/", strings.NewReader("x"))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "text/plain")
		spoil(s, req)
		_, err = s.Authenticate(req)
		e, ok := errors.AsType[*renew.IssueError](err)
		if !ok || e.Kind != renew.Invalid || !e.Permanent || !e.Unsent {
			t.Errorf("%s: %v, want an IssueError, invalid, permanent, unsent", name, err)
		}
		leaktest.Check(t, err, testSecret)
	}
}

// brokenKey is a device that does not sign, or signs nonsense.
type brokenKey struct {
	crypto.Signer
	out []byte
	err error
}

func (b brokenKey) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) { return b.out, b.err }

func TestKeyFails(t *testing.T) {
	for name, s := range map[string]*Signer{
		"device":   {KeyID: "k", PrivateKey: NewKey(brokenKey{testKeys()[Ed25519], nil, errors.New("unplugged")})},
		"nonsense": {KeyID: "k", PrivateKey: NewKey(brokenKey{testKeys()[ECDSAP256SHA256], []byte("x"), nil})},
		"negative": {KeyID: "k", PrivateKey: NewKey(brokenKey{testKeys()[ECDSAP256SHA256], []byte{0x30, 6, 2, 1, 0xff, 2, 1, 1}, nil})},
		"vault":    {KeyID: "k", SecretFunc: func(context.Context) (renew.Secret, error) { return renew.Secret{}, errors.New("shut") }},
	} {
		_, err := s.Authenticate(httptest.NewRequest("GET", "https://a.example/", nil))
		if e, ok := errors.AsType[*renew.IssueError](err); !ok || e.Kind != renew.Transient || !e.Unsent {
			t.Errorf("%s: %v, want transient and unsent", name, err)
		}
	}
}

func TestParseKey(t *testing.T) {
	for a, key := range testKeys() {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		text := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
		got, err := ParseKey(renew.NewSecret("-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n" + text)) // as openssl writes it
		if err != nil || a.fits(got.public()) != nil {
			t.Errorf("%s: %v", a, err)
		}
		leaktest.Check(t, got, text, string(der))
		leaktest.Check(t, &Signer{PrivateKey: got}, text, string(der))
		_, err = ParseKey(renew.NewSecret(strings.Replace(text, "M", "A", 1)))
		if err == nil {
			t.Errorf("%s: a broken text is read", a)
		}
		leaktest.Check(t, err, text, string(der))
	}
	for _, text := range []string{"", "abc", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n"} {
		if _, err := ParseKey(renew.NewSecret(text)); err == nil {
			t.Errorf("%q is read", text)
		}
	}
}

// created and expires are of the clock, and what a caller had put there is replaced.
func TestParams(t *testing.T) {
	s, _ := testSigner(t, HMACSHA256, clock.NewFake(start.Add(999*time.Millisecond)))
	s.Nonce, s.Tag, s.SendAlgorithm = func() string { return "n" }, "app", true
	req := httptest.NewRequest("GET", "https://a.example/", nil)
	req.Header = http.Header{"signature": {"old"}, "Signature-input": {"old"}, "Content-Digest": {"stays"}}
	if _, err := s.Authenticate(req); err != nil {
		t.Fatal(err)
	}
	want := `sig1=("@method" "@authority" "@path" "@query");created=1767323045;expires=1767323345;nonce="n";keyid="k1";alg="hmac-sha256";tag="app"`
	if got := req.Header.Get("Signature-Input"); got != want || len(req.Header) != 3 {
		t.Errorf("header %v, want %s", req.Header, want)
	}
}

// A Content-Digest that the caller had set is replaced by the one of the body.
func TestDigestIsOurs(t *testing.T) {
	for _, d := range []Digest{"", SHA256, SHA512} {
		s, v := testSigner(t, HMACSHA256, clock.NewFake(start))
		s.Digest = d
		req, err := http.NewRequest("POST", "http://a.example/", strings.NewReader("x"))
		if err != nil {
			t.Fatal(err)
		}
		req.Header = http.Header{"Content-Digest": {"sha-256=:AAAA:", "old"}, "content-digest": {"older"}}
		if _, err := s.Authenticate(req); err != nil {
			t.Fatal(err)
		}
		want := ContentDigest(max(d, SHA256), []byte("x")) // sha-512 is the greater text
		if got := req.Header["Content-Digest"]; len(got) != 1 || got[0] != want || len(req.Header) != 3 {
			t.Errorf("%s: header %v, want %s", d, req.Header, want)
		}
		if _, err := v.VerifyRequest(req); err != nil {
			t.Errorf("%s: %v", d, err)
		}
	}
}

func unauthorized(challenge, date string) *http.Response {
	h := http.Header{}
	if challenge != "" {
		h.Set("WWW-Authenticate", challenge)
	}
	if date != "" {
		h.Set("Date", date)
	}
	return &http.Response{StatusCode: http.StatusUnauthorized, Header: h}
}

// R22: a replay follows only a refusal that another nonce or time may mend.
func TestR22_RefusedSaysWhatHelps(t *testing.T) {
	for challenge, want := range map[string]bool{
		"": true, `HMAC error="invalid_signature"`: true, `Signature realm="x"`: true,
		`Signature error="time"`: true, `Signature error="replayed"`: true,
		`Signature error="invalid_signature"`: false,
	} {
		s, _ := testSigner(t, HMACSHA256, nil)
		replay, err := s.Refused(httptest.NewRequest("GET", "https://a.example/", nil), nil, unauthorized(challenge, ""))
		if err != nil || (replay != nil) != want {
			t.Errorf("%s: replay %t, %v; want %t", challenge, replay != nil, err, want)
		}
	}
}

// R18: replays after refusals have a budget, which comes back by itself.
func TestR18_ReplaysHaveABudget(t *testing.T) {
	clk := clock.NewFake(start)
	s, _ := testSigner(t, HMACSHA256, clk)
	req := httptest.NewRequest("GET", "https://a.example/", nil)
	allowed := 0
	for range 7 {
		replay, err := s.Refused(req, nil, unauthorized("", ""))
		if replay != nil {
			allowed++
		}
		spent, is := errors.AsType[*renew.BudgetError](err)
		if (replay != nil) == is || is && !spent.RetryAt.Equal(start.Add(10*time.Minute)) {
			t.Errorf("Refused: replay %t, %v", replay != nil, err)
		}
	}
	if allowed != budget.DefaultUnits {
		t.Errorf("%d replays allowed, want %d", allowed, budget.DefaultUnits)
	}
	clk.Advance(10 * time.Minute)
	if replay, err := s.Refused(req, nil, unauthorized("", "")); replay == nil || err != nil {
		t.Errorf("after the window: replay %t, %v", replay != nil, err)
	}
}

// R29: a host whose clock is wrong gets through with one replay, and with none from then on.
func TestR29_WrongClock(t *testing.T) {
	for _, skew := range []time.Duration{-3 * time.Hour, 3 * time.Hour, 30 * time.Second} {
		serverClock := clock.NewFake(start)
		s, v := testSigner(t, Ed25519, clock.NewFake(start.Add(skew)))
		v.Clock = serverClock
		served, refused := 0, 0
		v.OnRefusal = func(*http.Request, *VerifyError) { refused++ }
		h, err := v.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { served++ }))
		if err != nil {
			t.Fatal(err)
		}
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Date", serverClock.Now().Wall.UTC().Format(http.TimeFormat))
			h.ServeHTTP(w, r)
		}))
		defer srv.Close()
		tr, err := renew.NewTransport(s, renew.TransportConfig{Origins: []string{srv.URL}, Header: "Signature"})
		if err != nil {
			t.Fatal(err)
		}
		for range 10 {
			resp, err := (&http.Client{Transport: tr}).Post(srv.URL, "text/plain", strings.NewReader("body"))
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
		}
		want := 1
		if skew.Abs() < time.Minute {
			want = 0
		}
		if served != 10 || refused != want {
			t.Errorf("skew %v: served %d, refused %d: want 10 and %d", skew, served, refused, want)
		}
	}
}
