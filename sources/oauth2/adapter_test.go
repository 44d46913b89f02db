package oauth2

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/clock"
	"github.com/seed-f29168f7/renew/sources/internal/leaktest"
)

type xSource func() (*oauth2.Token, error)

func (f xSource) Token() (*oauth2.Token, error) { return f() }

func gives(t *oauth2.Token, err error) oauth2.TokenSource {
	return xSource(func() (*oauth2.Token, error) { return t, err })
}

func TestFromTokenSource(t *testing.T) {
	expiry := time.Now().Add(time.Hour) // with a monotonic reading, as x/oauth2 makes it
	for _, tt := range []struct {
		name string
		in   *oauth2.Token
		typ  string
		life time.Duration
		exp  time.Time
	}{
		{"expiry", &oauth2.Token{AccessToken: "abc", TokenType: "bearer", Expiry: expiry, ExpiresIn: 60}, "Bearer", 0, expiry.Round(0)},
		{"no expiry", &oauth2.Token{AccessToken: "abc"}, "Bearer", 0, time.Time{}},
		{"expires_in alone", &oauth2.Token{AccessToken: "abc", ExpiresIn: 60}, "Bearer", time.Minute, time.Time{}},
		{"expires_in without bounds", &oauth2.Token{AccessToken: "abc", ExpiresIn: math.MaxInt64}, "Bearer", 100 * 365 * 24 * time.Hour, time.Time{}},
		{"basic", &oauth2.Token{AccessToken: "abc", TokenType: "basic"}, "Basic", 0, time.Time{}},
		{"own", &oauth2.Token{AccessToken: "abc", TokenType: "FH-AUTH"}, "FH-AUTH", 0, time.Time{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.in.RefreshToken = "r"
			tok, err := FromTokenSource(gives(tt.in.WithExtra(map[string]any{"scope": "a b"}), nil)).Issue(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if tok.Value.Reveal() != "abc" || tok.Type != tt.typ || tok.Life != tt.life || tok.Expiry != tt.exp || tok.Refresh.Reveal() != "r" || tok.Attr("scope") != "a b" {
				t.Errorf("token %+v, life %v, expiry %v", tok, tok.Life, tok.Expiry)
			}
		})
	}
}

func TestFromTokenSourceBadTokens(t *testing.T) {
	for _, tt := range []struct {
		name string
		in   *oauth2.Token
		kind renew.Kind
	}{
		{"neither token nor error", nil, renew.Transient},
		{"empty", &oauth2.Token{}, renew.Transient},
		{"line break", &oauth2.Token{AccessToken: "a\r\nb"}, renew.Transient},
		{"type with a space", &oauth2.Token{AccessToken: "a", TokenType: "a b"}, renew.Transient},
		{"expired", &oauth2.Token{AccessToken: "a", ExpiresIn: -1}, renew.Transient},
		{"mac", &oauth2.Token{AccessToken: "a", TokenType: "mac"}, renew.Invalid},
		{"DPoP", &oauth2.Token{AccessToken: "a", TokenType: "DPoP"}, renew.Invalid},
		{"N_A", &oauth2.Token{AccessToken: "a", TokenType: "N_A"}, renew.Invalid},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := FromTokenSource(gives(tt.in, nil)).Issue(t.Context())
			if e := issueError(t, err); e.Kind != tt.kind || e.Permanent != (tt.kind == renew.Invalid) || e.Source == "" {
				t.Errorf("err = %#v, want %v", e, tt.kind)
			}
		})
	}
}

func TestFromTokenSourceErrors(t *testing.T) {
	const secret = "a-secret-in-the-body"
	u, _ := url.Parse("https://issuer.example:443/token?key=" + secret)
	body := func(s string) []byte { return []byte(s + secret) }
	resp := func(status int, h http.Header) *http.Response {
		return &http.Response{StatusCode: status, Status: "401 " + secret, Header: h, Request: &http.Request{URL: u, Header: http.Header{"Authorization": {secret}}}}
	}
	for _, tt := range []struct {
		name string
		err  error
		want renew.IssueError
	}{
		{"invalid_client", &oauth2.RetrieveError{Response: resp(401, nil), Body: []byte(`{"error":"invalid_client","error_description":"` + secret + `"}`)},
			renew.IssueError{Host: "issuer.example", Status: 401, Code: "invalid_client", Kind: renew.Refused, Permanent: true}},
		{"wrapped", fmt.Errorf("google: %w", &oauth2.RetrieveError{Response: resp(400, nil), Body: []byte(`{"error":"invalid_grant"}`)}),
			renew.IssueError{Host: "issuer.example", Status: 400, Code: "invalid_grant", Kind: renew.Refused}},
		{"HTML 403", &oauth2.RetrieveError{Response: resp(403, nil), Body: body("<html>")},
			renew.IssueError{Host: "issuer.example", Status: 403, Kind: renew.Transient}},
		{"429", &oauth2.RetrieveError{Response: resp(429, http.Header{"Retry-After": {"7"}}), Body: body("")},
			renew.IssueError{Host: "issuer.example", Status: 429, Kind: renew.Throttled, RetryAfter: 7 * time.Second}},
		{"200 with an error", &oauth2.RetrieveError{Response: resp(200, nil), Body: []byte(`{"error":"invalid_scope"}`), ErrorCode: "invalid_scope"},
			renew.IssueError{Host: "issuer.example", Status: 200, Code: "invalid_scope", Kind: renew.Refused, Permanent: true}},
		{"200 with a token", &oauth2.RetrieveError{Response: resp(200, nil), Body: []byte(`{"access_token":"` + secret + `"}`)},
			renew.IssueError{Host: "issuer.example", Status: 200, Kind: renew.Transient}},
		{"no response", &oauth2.RetrieveError{ErrorCode: "invalid_client", ErrorDescription: secret},
			renew.IssueError{Code: "invalid_client", Kind: renew.Refused, Permanent: true}},
		{"nothing", &oauth2.RetrieveError{Body: body("")}, renew.IssueError{Kind: renew.Transient}},
		{"no request in the response", &oauth2.RetrieveError{Response: &http.Response{StatusCode: 500}}, renew.IssueError{Status: 500, Kind: renew.Transient}},
		{"unknown error", errors.New("cannot fetch " + u.String()), renew.IssueError{Kind: renew.Transient}},
		{"network", &url.Error{Op: "Post", URL: u.String(), Err: os.ErrDeadlineExceeded}, renew.IssueError{Kind: renew.Transient}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := FromTokenSource(gives(nil, tt.err)).Issue(t.Context())
			e := issueError(t, err)
			got := renew.IssueError{Host: e.Host, Status: e.Status, Code: e.Code, Kind: e.Kind, Permanent: e.Permanent, RetryAfter: e.RetryAfter, Unsent: e.Unsent}
			if got != tt.want || e.Source != adapterName {
				t.Errorf("got %#v (%v), want %#v", got, e, tt.want)
			}
			if _, ok := errors.AsType[*oauth2.RetrieveError](err); ok {
				t.Error("the error keeps the RetrieveError, and its body")
			}
			leaktest.Check(t, err, secret)
		})
	}
	// An error of renew is kept: it says when to try again.
	inner := &renew.BudgetError{RetryAt: time.Now()}
	_, err := FromTokenSource(gives(nil, inner)).Issue(t.Context())
	if !errors.Is(err, renew.ErrBudgetSpent) {
		t.Errorf("err = %v, want the BudgetError kept", err)
	}
}

// x/oauth2's own errors, as it makes them.
func TestFromTokenSourceOfXOAuth2(t *testing.T) {
	srv := newIssuer(t, always(400, `{"error":"invalid_client","error_description":"`+"shown by x/oauth2"+`"}`))
	cfg := clientcredentials.Config{ClientID: "id", ClientSecret: oddSecret, TokenURL: srv.URL, AuthStyle: oauth2.AuthStyleInHeader}
	_, err := FromTokenSource(cfg.TokenSource(t.Context())).Issue(t.Context())
	if e := issueError(t, err); e.Code != "invalid_client" || e.Host != strings.TrimPrefix(srv.URL, "http://") {
		t.Errorf("err = %#v", e)
	}
	leaktest.Check(t, err, oddSecret, "shown by x/oauth2")

	dead := httptest.NewServer(nil)
	dead.Close()
	cfg.TokenURL = dead.URL + "/?key=" + url.QueryEscape(oddSecret)
	_, err = FromTokenSource(cfg.TokenSource(t.Context())).Issue(t.Context())
	if e := issueError(t, err); e.Kind != renew.Transient || !e.Unsent {
		t.Errorf("err = %#v, want transient and unsent", e)
	}
	leaktest.Check(t, err, oddSecret)
}

func TestFromTokenSourceNil(t *testing.T) {
	src := FromTokenSource(nil)
	if _, ok := src.(renew.Validator).Validate().(*renew.ConfigError); !ok {
		t.Error("a nil token source is valid, want a ConfigError")
	}
	_, err := src.Issue(t.Context())
	if e := issueError(t, err); e.Kind != renew.Invalid {
		t.Errorf("err = %#v, want invalid", e)
	}
	if err := FromTokenSource(gives(nil, nil)).(renew.Validator).Validate(); err != nil {
		t.Error(err)
	}
	if d := src.(renew.Describer).Describe(); d.Name != adapterName {
		t.Errorf("Describe = %+v", d)
	}
}

func TestFromTokenSourceAfterTheEnd(t *testing.T) {
	cause := errors.New("closed")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	called := false
	_, err := FromTokenSource(xSource(func() (*oauth2.Token, error) { called = true; return nil, nil })).Issue(ctx)
	if e := issueError(t, err); !errors.Is(err, cause) || !e.Unsent || called {
		t.Errorf("err = %#v, called %v, want the cause without a call", e, called)
	}
}

// at is a clock that stands still.
type at struct {
	clock.Real
	wall time.Time
}

func (c at) Now() clock.Instant { return clock.Instant{Wall: c.wall} }

func TestToTokenSource(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	expiry := now.Add(time.Hour)
	for _, tt := range []struct {
		name string
		in   *renew.Token
		want time.Time
	}{
		{"expiry of the issuer", &renew.Token{Expiry: expiry}, expiry},
		{"both", &renew.Token{Expiry: expiry, Life: time.Minute}, expiry},
		{"life alone", &renew.Token{Life: time.Hour}, now.Add(askAgain)},
		{"neither", &renew.Token{}, now.Add(askAgain)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.in.Value, tt.in.Type, tt.in.Refresh = renew.NewSecret("abc"), "FH-AUTH", renew.NewSecret("stays here")
			src := &toTokenSource{ctx: t.Context(), clock: at{wall: now}, token: func(ctx context.Context) (*renew.Token, error) {
				if ctx != t.Context() {
					t.Error("another context than the one given")
				}
				return tt.in.WithAttr("scope", "a b"), nil
			}}
			got, err := src.Token()
			if err != nil {
				t.Fatal(err)
			}
			if got.AccessToken != "abc" || got.Type() != "FH-AUTH" || !got.Expiry.Equal(tt.want) || got.RefreshToken != "" || got.Extra("scope") != "a b" {
				t.Errorf("got %+v, want expiry %v", got, tt.want)
			}
		})
	}
}

// ReuseTokenSource is not to be used, but oauth2.NewClient does it unasked: it must
// come back well before the token's end.
func TestToTokenSourceUnderReuse(t *testing.T) {
	calls := 0
	src := &toTokenSource{ctx: t.Context(), clock: at{wall: time.Now().Add(-askAgain + 10*time.Second)}, token: func(context.Context) (*renew.Token, error) {
		calls++
		return &renew.Token{Value: renew.NewSecret(fmt.Sprint("a", calls)), Life: time.Hour}, nil
	}}
	reuse := oauth2.ReuseTokenSource(nil, src) // 5 s after each call of src
	for range 3 {
		if _, err := reuse.Token(); err != nil {
			t.Fatal(err)
		}
	}
	if calls != 3 {
		t.Errorf("calls = %d, want one each time: 5 s are over", calls)
	}
}

func TestToTokenSourceErrors(t *testing.T) {
	_, err := ToTokenSource(t.Context(), nil).Token()
	if _, ok := errors.AsType[*renew.ConfigError](err); !ok {
		t.Errorf("nil TokenSource: %v, want a ConfigError", err)
	}
	src := &toTokenSource{ctx: t.Context(), clock: clock.Real{}, token: func(context.Context) (*renew.Token, error) { return nil, renew.ErrClosed }}
	if _, err := src.Token(); !errors.Is(err, renew.ErrClosed) {
		t.Errorf("err = %v, want ErrClosed", err)
	}
}
