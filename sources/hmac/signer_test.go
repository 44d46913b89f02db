package hmac

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/budget"
	"github.com/seed-f29168f7/renew/clock"
	"github.com/seed-f29168f7/renew/sources/internal/leaktest"
)

var start = time.Unix(1767323045, 0)

func testSigner(clk clock.Clock) *Signer {
	return &Signer{KeyID: "k1", Secret: renew.NewSecret(testSecret), Clock: clk}
}

func testVerifier(clk clock.Clock) *Verifier {
	return &Verifier{Keys: map[string]renew.Secret{"k1": renew.NewSecret(testSecret)}, Clock: clk}
}

func TestR23_SignerValidate(t *testing.T) {
	secret := renew.NewSecret(testSecret)
	ask := func(context.Context) (renew.Secret, error) { return secret, nil }
	message := func(*http.Request) ([]byte, error) { return nil, nil }
	for _, tt := range []struct {
		name  string
		s     *Signer
		field string // empty: it is valid
	}{
		{"canonical", &Signer{KeyID: "k", Secret: secret}, ""},
		{"function", &Signer{KeyID: "k", SecretFunc: ask}, ""},
		{"plain", &Signer{Wire: Wire{Form: Plain, Algorithm: SHA1}, Secret: secret, Message: message}, ""},
		{"nil", nil, "Signer"},
		{"zero", &Signer{}, "Signer.KeyID"},
		{"no secret", &Signer{KeyID: "k"}, "Signer.Secret"},
		{"two secrets", &Signer{KeyID: "k", Secret: secret, SecretFunc: ask}, "Signer.Secret"},
		{"key id with a line break", &Signer{KeyID: "k\nx", Secret: secret}, "Signer.KeyID"},
		{"key id header without key id", &Signer{Wire: Wire{Form: Plain, KeyIDHeader: "X-Key"}, Secret: secret}, "Signer.KeyID"},
		{"SHA-1", &Signer{Wire: Wire{Algorithm: SHA1}, KeyID: "k", Secret: secret}, "Signer.Wire.Algorithm"},
		{"algorithm", &Signer{Wire: Wire{Algorithm: 9}, KeyID: "k", Secret: secret}, "Signer.Wire.Algorithm"},
		{"form", &Signer{Wire: Wire{Form: 2}, KeyID: "k", Secret: secret}, "Signer.Wire.Form"},
		{"date of plain", &Signer{Wire: Wire{Form: Plain, DateHeader: "D"}, Secret: secret}, "Signer.Wire.DateHeader"},
		{"message of canonical", &Signer{KeyID: "k", Secret: secret, Message: message}, "Signer.Message"},
		{"header", &Signer{Wire: Wire{Header: "a b"}, KeyID: "k", Secret: secret}, "Signer.Wire.Header"},
		{"header of net/http", &Signer{Wire: Wire{Header: "host"}, KeyID: "k", Secret: secret}, "Signer.Wire.Header"},
		{"one header twice", &Signer{Wire: Wire{KeyIDHeader: "x-hmac"}, KeyID: "k", Secret: secret}, "Signer.Wire.KeyIDHeader"},
		{"prefix", &Signer{Wire: Wire{Prefix: "a\r\n"}, KeyID: "k", Secret: secret}, "Signer.Wire.Prefix"},
		{"budget", &Signer{KeyID: "k", Secret: secret, Budget: &budget.Budget{Units: -1}}, "Signer.Budget"},
	} {
		err := tt.s.Validate()
		got, _ := errors.AsType[*renew.ConfigError](err)
		if (err == nil) != (tt.field == "") || got != nil && got.Field != tt.field {
			t.Errorf("%s: %v, want a ConfigError of %q", tt.name, err, tt.field)
		}
		leaktest.Check(t, err, testSecret)
		if tt.s != nil && tt.field != "" {
			if _, err := tt.s.Authenticate(httptest.NewRequest("GET", "https://a.example/", nil)); err == nil {
				t.Errorf("%s: Authenticate signs all the same", tt.name)
			}
		}
	}
}

// What cannot be signed is not sent, and the error says what to do.
func TestR29_Unsignable(t *testing.T) {
	for name, spoil := range map[string]func(*http.Request){
		"opaque":               func(r *http.Request) { r.URL.Opaque = "//x/y" },
		"path without a slash": func(r *http.Request) { r.URL.Path = "x" },
		"query with semicolon": func(r *http.Request) { r.URL.RawQuery = "a=1;b=2" },
		"query with half a %":  func(r *http.Request) { r.URL.RawQuery = "a=%z" },
		"method with a break":  func(r *http.Request) { r.Method = "GET\nx" },
		"CONNECT":              func(r *http.Request) { r.Method = "CONNECT" },
		"host with a break":    func(r *http.Request) { r.Host = "a\nb" },
		"host beyond ASCII":    func(r *http.Request) { r.Host = "b\u00fccher.example" },
		"host with a zone":     func(r *http.Request) { r.Host = "[fe80::1%25en0]" },
		"no host":              func(r *http.Request) { r.Host, r.URL.Host = "", "" },
		"no URL":               func(r *http.Request) { r.URL = nil },
		"body read once": func(r *http.Request) {
			r.Body, r.GetBody = io.NopCloser(strings.NewReader("x")), nil
		},
	} {
		req, err := http.NewRequest("GET", "https://a.example/", nil)
		if err != nil {
			t.Fatal(err)
		}
		spoil(req)
		_, err = testSigner(nil).Authenticate(req)
		e, ok := errors.AsType[*renew.IssueError](err)
		if !ok || e.Kind != renew.Invalid || !e.Permanent || !e.Unsent {
			t.Errorf("%s: %v, want an IssueError, invalid, permanent, unsent", name, err)
		}
		leaktest.Check(t, err, testSecret)
	}
}

func TestSecretFuncFails(t *testing.T) {
	s := &Signer{KeyID: "k1", SecretFunc: func(context.Context) (renew.Secret, error) { return renew.Secret{}, errors.New("the vault is shut") }}
	_, err := s.Authenticate(httptest.NewRequest("GET", "https://a.example/", nil))
	if e, ok := errors.AsType[*renew.IssueError](err); !ok || e.Kind != renew.Transient || !e.Unsent || !strings.Contains(err.Error(), "the vault is shut") {
		t.Errorf("err = %v, want transient and unsent", err)
	}
}

// Requests that are signed at one moment have different dates, and the dates stay at the clock.
func TestDatesDiffer(t *testing.T) {
	clk := clock.NewFake(start)
	s := testSigner(clk)
	seen := map[string]bool{}
	for range 1000 {
		d := s.date()
		if seen[d] {
			t.Fatalf("the date %s twice", d)
		}
		seen[d] = true
		if at, err := time.Parse(time.RFC3339Nano, d); err != nil || at.Sub(start) > time.Microsecond {
			t.Fatalf("date %s: %v", d, err)
		}
	}
	clk.StepWall(-time.Hour)
	if at, _ := time.Parse(time.RFC3339Nano, s.date()); !at.Equal(start.Add(-time.Hour)) {
		t.Errorf("after a step of the clock: %v", at)
	}
}

// A header of the same name in other letters would be sent beside ours.
func TestOtherLetters(t *testing.T) {
	req := httptest.NewRequest("GET", "https://a.example/", nil)
	req.Header = http.Header{"x-hmac": {"old"}, "X-hMAC-Key-ID": {"other"}, "X-Hmac-Date": {"a", "b"}}
	if _, err := testSigner(nil).Authenticate(req); err != nil {
		t.Fatal(err)
	}
	if len(req.Header) != 3 || len(req.Header["X-Hmac-Date"]) != 1 || req.Header.Get("X-HMAC-Key-Id") != "k1" {
		t.Errorf("header %v", req.Header)
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

// R22: a replay follows only a refusal that another date may mend.
func TestR22_RefusedSaysWhatHelps(t *testing.T) {
	ask := func(context.Context) (renew.Secret, error) { return renew.NewSecret(testSecret), nil }
	for _, tt := range []struct {
		name, challenge string
		s               *Signer
		replay          bool
	}{
		{"no reason", "", testSigner(nil), true},
		{"another scheme", `Bearer error="invalid_signature"`, testSigner(nil), true},
		{"no code", `HMAC realm="x"`, testSigner(nil), true},
		{"unknown code", `HMAC error="whatever"`, testSigner(nil), true},
		{"time", `HMAC error="time"`, testSigner(nil), true},
		{"replayed", `hmac error="replayed"`, testSigner(nil), true},
		{"signature", `HMAC error="invalid_signature"`, testSigner(nil), false},
		{"plain", "", &Signer{Wire: Wire{Form: Plain}, Secret: renew.NewSecret(testSecret)}, false},
		{"plain, secret may change", "", &Signer{Wire: Wire{Form: Plain}, SecretFunc: ask}, true},
	} {
		replay, err := tt.s.Refused(httptest.NewRequest("GET", "https://a.example/", nil), nil, unauthorized(tt.challenge, ""))
		if err != nil || (replay != nil) != tt.replay {
			t.Errorf("%s: replay %t, %v; want %t", tt.name, replay != nil, err, tt.replay)
		}
	}
}

// R18: replays after refusals have a budget, which comes back by itself.
func TestR18_ReplaysHaveABudget(t *testing.T) {
	clk := clock.NewFake(start)
	s := testSigner(clk)
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
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if replay, err := s.Refused(req.WithContext(ctx), nil, unauthorized("", "")); replay != nil || err != nil {
		t.Errorf("with an ended context: replay %t, %v", replay != nil, err)
	}
	if replay, err := s.Refused(req, nil, unauthorized("", "")); replay == nil || err != nil {
		t.Errorf("after the window: replay %t, %v", replay != nil, err)
	}
}

// R29: a host whose clock is wrong gets through with one replay, and with none from then on.
func TestR29_WrongClock(t *testing.T) {
	serverClock := clock.NewFake(start)
	v := testVerifier(serverClock)
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
	s := testSigner(clock.NewFake(start.Add(-3 * time.Hour)))
	tr, err := renew.NewTransport(s, renew.TransportConfig{Origins: []string{srv.URL}, Header: "X-HMAC"})
	if err != nil {
		t.Fatal(err)
	}
	for range 10 {
		resp, err := (&http.Client{Transport: tr}).Post(srv.URL+"/a?"+url.Values{"b": {"c d"}}.Encode(), "text/plain", strings.NewReader("body"))
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("status %d", resp.StatusCode)
		}
	}
	if served != 10 || refused != 1 {
		t.Errorf("served %d, refused %d: want 10 and 1", served, refused)
	}
}
