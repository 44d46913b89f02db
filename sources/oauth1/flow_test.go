package oauth1

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/clock"
	"github.com/seed-f29168f7/renew/renewtest"
)

// flowAt returns a Flow for a server.
func flowAt(link string, s *Signer) *Flow {
	return &Flow{TemporaryEndpoint: link + "/initiate?scope=a", AuthorizationEndpoint: link + "/authorize?lang=en", TokenEndpoint: link + "/token", Signer: s}
}

func TestFlow(t *testing.T) {
	for name, set := range map[string]func(s *Signer){
		"header":       func(*Signer) {},
		"query":        func(s *Signer) { s.Placement = Query },
		"body":         func(s *Signer) { s.Placement = Body },
		"HMAC-SHA512":  func(s *Signer) { s.Method = HMACSHA512 },
		"PLAINTEXT":    func(s *Signer) { s.Method = Plaintext },
		"with hashing": func(s *Signer) { s.BodyHash = BodyHashSHA1 },
	} {
		t.Run(name, func(t *testing.T) {
			p := newProvider()
			srv := httptest.NewServer(p)
			defer srv.Close()
			s := &Signer{ClientKey: p.clientKey, ClientSecret: secret(p.clientSecret)}
			set(s)
			f := flowAt(srv.URL, s)
			temporary, err := f.TemporaryCredentials(t.Context(), "https://client.example/ready?x=1&y=2")
			if err != nil {
				t.Fatal(err)
			}
			if p.last["oauth_callback"] != "https://client.example/ready?x=1&y=2" || temporary.Token.Reveal() != "temporary+1" || temporary.Secret.Reveal() != "temporary secret" || len(temporary.Extra) != 0 {
				t.Errorf("callback %q, credentials %q %q", p.last["oauth_callback"], temporary.Token.Reveal(), temporary.Secret.Reveal())
			}
			u, err := f.AuthorizeURL(temporary)
			if err != nil || u.String() != srv.URL+"/authorize?lang=en&oauth_token=temporary%2B1" {
				t.Errorf("AuthorizeURL = %v, %v", u, err)
			}
			back, _ := url.Parse("https://client.example/ready?x=1&y=2&oauth_token=temporary%2B1&oauth_verifier=verifier%3D1")
			verifier, err := temporary.Verifier(back)
			if err != nil {
				t.Fatal(err)
			}
			access, err := f.TokenCredentials(t.Context(), temporary, verifier)
			if err != nil || access.Token.Reveal() != "access%1" || access.Secret.Reveal() != "access secret" || access.Extra["user_id"].Reveal() != "42" {
				t.Fatalf("credentials %q %q, %v", access.Token.Reveal(), access.Secret.Reveal(), err)
			}
			// They sign requests from now on.
			signer := &Signer{ClientKey: p.clientKey, ClientSecret: secret(p.clientSecret), Token: access.Token, TokenSecret: access.Secret}
			tr, err := renew.NewTransport(signer, renew.TransportConfig{Origins: []string{srv.URL}})
			if err != nil {
				t.Fatal(err)
			}
			resp, err := (&http.Client{Transport: tr}).Get(srv.URL + "/me")
			if err != nil || resp.StatusCode != 200 {
				t.Fatalf("%v, %v", resp, err)
			}
			_ = resp.Body.Close()
			// The verifier works once.
			_, err = f.TokenCredentials(t.Context(), temporary, verifier)
			if e, ok := errors.AsType[*renew.IssueError](err); !ok || e.Kind != renew.Refused || e.Status != 401 {
				t.Errorf("the second time: %v", err)
			}
		})
	}
}

// A host whose clock is wrong: the first try is refused, and timestamps follow the server's Date from then on.
func TestFlowFollowsTheClock(t *testing.T) {
	p := newProvider()
	srv := httptest.NewServer(p)
	defer srv.Close()
	f := flowAt(srv.URL, &Signer{ClientKey: p.clientKey, ClientSecret: secret(p.clientSecret), Clock: clock.NewFake(time.Now().Add(-3 * time.Hour))})
	_, err := f.TemporaryCredentials(t.Context(), "")
	if e, ok := errors.AsType[*renew.IssueError](err); !ok || e.Kind != renew.Refused || !strings.Contains(err.Error(), "clock") {
		t.Errorf("the first try: %v, want a refusal that names the clock", err)
	}
	if _, err := f.TemporaryCredentials(t.Context(), ""); err != nil {
		t.Errorf("the second try: %v", err)
	}
}

// Only a refusal is about the clock: a server that is broken, or something before it, may have any.
func TestFlowKeepsItsClock(t *testing.T) {
	for _, status := range []int{302, 503} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Date", time.Now().Add(time.Hour).UTC().Format(http.TimeFormat))
			w.WriteHeader(status)
			fmt.Fprint(w, "oauth_problem=timestamp_refused")
		}))
		f := flowAt(srv.URL, &Signer{ClientKey: "k", ClientSecret: secret("s")})
		_, err := f.TemporaryCredentials(t.Context(), "")
		srv.Close()
		e, ok := errors.AsType[*renew.IssueError](err)
		if !ok || f.Signer.skew.Load() != 0 || status == 302 && e.Code != "" {
			t.Errorf("%d: %v, and timestamps are %d s ahead", status, err, f.Signer.skew.Load())
		}
	}
}

// What is no text is no token.
func TestCredentialsAreText(t *testing.T) {
	for _, value := range []string{"%7f", "%00", "%0a", "%1f", "%ff"} {
		if got, err := parseCredentials("oauth_token=a" + value + "&oauth_token_secret=b"); err == nil {
			t.Errorf("%s was read as %q", value, got.Token.Reveal())
		}
	}
}

func TestFlowOutOfBand(t *testing.T) {
	p := newProvider()
	srv := httptest.NewServer(p)
	defer srv.Close()
	f := flowAt(srv.URL, &Signer{ClientKey: p.clientKey, ClientSecret: secret(p.clientSecret)})
	if _, err := f.TemporaryCredentials(t.Context(), ""); err != nil || p.last["oauth_callback"] != "oob" {
		t.Errorf("callback %q, %v; want oob", p.last["oauth_callback"], err)
	}
}

func TestFlowValidate(t *testing.T) {
	for field, set := range map[string]func(f *Flow){
		"":                            func(*Flow) {},
		"Flow.TemporaryEndpoint":      func(f *Flow) { f.TemporaryEndpoint = "" },
		"Flow.AuthorizationEndpoint":  func(f *Flow) { f.AuthorizationEndpoint = "http://a.example/" },
		"Flow.AuthorizationEndpoint ": func(f *Flow) { f.AuthorizationEndpoint = "ftp://a.example/" },
		"Flow.TokenEndpoint":          func(f *Flow) { f.TokenEndpoint = "https://a.example/#x" },
		"Flow.TokenEndpoint ":         func(f *Flow) { f.TokenEndpoint = "https://u:p@a.example/" },
		"Flow.TokenEndpoint  ":        func(f *Flow) { f.TokenEndpoint = "https://a\x00" },
		"Flow.TokenEndpoint   ":       func(f *Flow) { f.TokenEndpoint = "https:///x" },
		"Flow.Signer":                 func(f *Flow) { f.Signer = nil },
		"Flow.Signer ":                func(f *Flow) { f.Signer.Token = secret("t") },
		"Signer.ClientKey":            func(f *Flow) { f.Signer.ClientKey = "" },
	} {
		f := flowAt("https://a.example", &Signer{ClientKey: "k", ClientSecret: secret("s")})
		set(f)
		want := strings.TrimSpace(field)
		err := f.Validate()
		e, _ := errors.AsType[*renew.ConfigError](err)
		if (err == nil) != (want == "") || want != "" && (e == nil || e.Field != want) {
			t.Errorf("Validate = %v, want field %q", err, want)
		}
		if want == "" {
			continue
		}
		_, err1 := f.TemporaryCredentials(t.Context(), "")
		_, err2 := f.AuthorizeURL(Credentials{Token: secret("t")})
		_, err3 := f.TokenCredentials(t.Context(), Credentials{Token: secret("t")}, secret("v"))
		if err1 == nil || err2 == nil || err3 == nil {
			t.Errorf("%s: a method works all the same: %v, %v, %v", want, err1, err2, err3)
		}
	}
	if (*Flow)(nil).Validate() == nil {
		t.Error("a nil Flow is valid")
	}
	f := flowAt("http://a.example", &Signer{ClientKey: "k", ClientSecret: secret("s")})
	f.AllowPlaintext = true
	if err := f.Validate(); err != nil {
		t.Errorf("AllowPlaintext: %v", err)
	}
	_, err := f.AuthorizeURL(Credentials{})
	invalid(t, err, "temporary token is empty")
	_, err = f.TokenCredentials(t.Context(), Credentials{}, secret("v"))
	invalid(t, err, "temporary token is empty")
	_, err = f.TokenCredentials(t.Context(), Credentials{Token: secret("t")}, renew.Secret{})
	invalid(t, err, "verifier is empty")
}

// What replies mean. The secret in a body must not show.
func TestReplies(t *testing.T) {
	const leak = "very-secret-text"
	type result struct {
		kind      renew.Kind
		permanent bool
		code      string
		text      string
	}
	good := "oauth_token=t&oauth_token_secret=" + leak + "&oauth_callback_confirmed=true"
	for _, tt := range []struct {
		name   string
		status int
		header string
		body   string
		want   *result
	}{
		{"good", 200, "", good, nil},
		{"good, 201, with a line break", 201, "", good + "\r\n", nil},
		{"empty secret", 200, "", "oauth_token=t&oauth_token_secret=&oauth_callback_confirmed=true", nil},
		{"not confirmed", 200, "", "oauth_token=t&oauth_token_secret=" + leak, &result{renew.Invalid, true, "", "oauth_callback_confirmed"}},
		{"confirmed false", 200, "", strings.Replace(good, "true", "false", 1), &result{renew.Invalid, true, "", "oauth_callback_confirmed"}},
		{"confirmed TRUE", 200, "", strings.Replace(good, "true", "TRUE", 1), &result{renew.Invalid, true, "", "oauth_callback_confirmed"}},
		{"empty", 200, "", "", &result{renew.Transient, false, "", "has no oauth_token"}},
		{"no token", 200, "", "oauth_token=&oauth_token_secret=" + leak, &result{renew.Transient, false, "", "has no oauth_token"}},
		{"no secret", 200, "", "oauth_token=t", &result{renew.Transient, false, "", "has no oauth_token_secret"}},
		{"two tokens", 200, "", good + "&oauth_token=" + leak, &result{renew.Transient, false, "", "twice"}},
		{"two tokens, one escaped", 200, "", good + "&oauth%5ftoken=" + leak, &result{renew.Transient, false, "", "twice"}},
		{"two of anything", 200, "", good + "&x=" + leak + "&x=" + leak, &result{renew.Transient, false, "", "twice"}},
		{"bad escape", 200, "", good + "%zz", &result{renew.Transient, false, "", "is not a form"}},
		{"control character", 200, "", strings.Replace(good, "=t&", "=t%0a"+leak+"&", 1), &result{renew.Transient, false, "", "is not text"}},
		{"not UTF-8", 200, "", good + "&x=%ff" + leak, &result{renew.Transient, false, "", "is not text"}},
		{"JSON", 200, "", `{"oauth_token":"` + leak + `"}`, &result{renew.Transient, false, "", "has no oauth_token"}},
		{"HTML", 200, "", "<html><a href=\"?a=" + leak + "\">", &result{renew.Transient, false, "", "has no oauth_token"}},
		{"huge", 200, "", good + "&x=" + strings.Repeat("x", 1<<20), &result{renew.Transient, false, "", "longer than 1 MiB"}},
		{"a problem with 200", 200, "", "oauth_problem=user_refused&x=" + leak, &result{renew.Refused, true, "user_refused", ""}},
		{"refused", 401, "OAuth realm=\"" + leak + "\"", leak, &result{renew.Refused, false, "", "check the client's key"}},
		{"refused by name", 401, "OAuth oauth_problem=\"consumer_key_unknown\"", leak, &result{renew.Refused, true, "consumer_key_unknown", ""}},
		{"refused in the body", 400, "", "oauth_problem=signature_method_rejected", &result{renew.Refused, true, "signature_method_rejected", ""}},
		{"nonce", 401, "OAuth oauth_problem=nonce_used", "", &result{renew.Refused, false, "nonce_used", "clock"}},
		{"timestamp", 400, "", "oauth_problem=timestamp_refused&oauth_acceptable_timestamps=1-2", &result{renew.Refused, false, "timestamp_refused", "clock"}},
		{"an unknown problem", 401, "OAuth oauth_problem=" + leak, "", &result{renew.Refused, false, "", "check"}},
		{"a proxy", 403, "", "<html>" + leak, &result{renew.Transient, false, "", "no error code"}},
		{"not there", 404, "", "", &result{renew.Refused, true, "", "no endpoint"}},
		{"elsewhere", 302, "", good, &result{renew.Invalid, true, "", "redirects"}},
		{"throttled", 429, "", "", &result{renew.Throttled, false, "", ""}},
		{"busy", 503, "", good, &result{renew.Throttled, false, "", ""}},
		{"down", 502, "OAuth oauth_problem=nonce_used", leak, &result{renew.Transient, false, "nonce_used", ""}},
		{"slow", 408, "", "", &result{renew.Transient, false, "", ""}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			requests := 0
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				requests++
				if r.Header.Get("Cookie") != "" {
					t.Error("a cookie was sent")
				}
				if tt.header != "" {
					w.Header().Set("WWW-Authenticate", tt.header)
				}
				if tt.status == 429 || tt.status == 503 {
					w.Header().Set("Retry-After", "7")
				}
				http.SetCookie(w, &http.Cookie{Name: "a", Value: "b"})
				w.Header().Set("Location", "/initiate")
				w.WriteHeader(tt.status)
				_, _ = io.WriteString(w, tt.body)
			}))
			defer srv.Close()
			f := flowAt(srv.URL, &Signer{ClientKey: "k", ClientSecret: secret("client-secret-text")})
			jar, _ := cookiejar.New(nil)
			f.HTTPClient = &http.Client{Jar: jar}
			_, err := f.TemporaryCredentials(t.Context(), "")
			if requests != 1 {
				t.Errorf("%d requests, want 1", requests)
			}
			if tt.want == nil {
				if err != nil {
					t.Error(err)
				}
				return
			}
			e, ok := errors.AsType[*renew.IssueError](err)
			if !ok || e.Source != "oauth1" || e.Host == "" || e.Status != tt.status {
				t.Fatalf("error %#v, want an IssueError with its place", err)
			}
			if got := (result{e.Kind, e.Permanent, e.Code, tt.want.text}); got != *tt.want || !strings.Contains(err.Error(), tt.want.text) {
				t.Errorf("%v, permanent %t, %q: %v; want %v", e.Kind, e.Permanent, e.Code, err, *tt.want)
			}
			if (e.RetryAfter == 7*time.Second) != (e.Kind == renew.Throttled) {
				t.Errorf("pause %v", e.RetryAfter)
			}
			for _, out := range append(dumps(err), err.Error()) {
				if leaks := renewtest.Leaks(out, leak, "client-secret-text"); leaks != nil {
					t.Errorf("the error shows %v: %s", leaks, out)
				}
			}
			// Where the reply is read, the confirmation of the callback is not part of it.
			if _, err := f.TokenCredentials(t.Context(), Credentials{Token: secret("t")}, secret("v")); (err == nil) != (tt.want.text == "oauth_callback_confirmed") {
				t.Errorf("as a reply of the token endpoint: %v", err)
			}
		})
	}
}

func TestFlowFaults(t *testing.T) {
	f := flowAt("http://127.0.0.1:1", &Signer{ClientKey: "k", ClientSecret: secret("s")})
	_, err := f.TemporaryCredentials(t.Context(), "")
	if e, ok := errors.AsType[*renew.IssueError](err); !ok || e.Kind != renew.Transient || !e.Unsent || e.Host != "127.0.0.1:1" || strings.Contains(err.Error(), "scope") {
		t.Errorf("error %v, want a transient one that says unsent, without the query", err)
	}

	stop := errors.New("the daemon stops")
	hang := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/token" { // half a reply
			fmt.Fprint(w, "oauth_token=")
			_ = http.NewResponseController(w).Flush()
		}
		<-hang
	}))
	defer srv.Close()
	defer close(hang)
	f = flowAt(srv.URL, f.Signer)
	for _, call := range []func(context.Context) error{
		func(ctx context.Context) error { _, err := f.TemporaryCredentials(ctx, ""); return err },
		func(ctx context.Context) error {
			_, err := f.TokenCredentials(ctx, Credentials{Token: secret("t")}, secret("v"))
			return err
		},
	} {
		ctx, cancel := context.WithCancelCause(t.Context())
		done := make(chan error)
		go func() { done <- call(ctx) }()
		cancel(stop)
		if e, ok := errors.AsType[*renew.IssueError](<-done); !ok || e.Kind != renew.Transient || !errors.Is(e, stop) {
			t.Errorf("after the end of ctx: %v", e)
		}
	}
	srv2 := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		fmt.Fprint(w, "oauth_token=")
	}))
	defer srv2.Close()
	f = flowAt(srv2.URL, f.Signer)
	_, err = f.TemporaryCredentials(t.Context(), "")
	if e, ok := errors.AsType[*renew.IssueError](err); !ok || e.Kind != renew.Transient || e.Status != 200 || e.Unsent {
		t.Errorf("a reply that breaks off: %v", err)
	}
}

// endless is a reply that does not stop.
type endless struct{ read int }

func (e *endless) Read(p []byte) (int, error) { e.read += len(p); return len(p), nil }
func (e *endless) Close() error               { return nil }

func (e *endless) RoundTrip(req *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: 200, Header: http.Header{}, Body: e, Request: req}, nil
}

// R30: a reply is read up to 1 MiB.
func TestR30_EndlessReply(t *testing.T) {
	body := new(endless)
	f := flowAt("https://a.example", &Signer{ClientKey: "k", ClientSecret: secret("s")})
	f.HTTPClient = &http.Client{Transport: body, Timeout: 20 * time.Second}
	_, err := f.TemporaryCredentials(t.Context(), "")
	if err == nil || !strings.Contains(err.Error(), "longer than 1 MiB") || body.read > 2<<20 {
		t.Errorf("error %v after %d bytes", err, body.read)
	}
}

func TestVerifier(t *testing.T) {
	temporary := Credentials{Token: secret("t 1"), Secret: secret("s")}
	for query, want := range map[string]string{
		"oauth_token=t%201&oauth_verifier=v%2B1":            "",
		"a=1&a=2&oauth_verifier=v%2B1&oauth_token=t+1":      "",
		"oauth_verifier=v":                                  "is not for these",
		"oauth_token=t+1":                                   "did not agree",
		"oauth_token=t+1&oauth_problem=permission_denied":   "permission_denied",
		"oauth_token=t+2&oauth_verifier=v":                  "is not for these",
		"oauth_token=t+1&oauth_token=t+2&oauth_verifier=v":  "twice",
		"oauth_token=t+1&oauth_verifier=v&oauth_verifier=w": "twice",
		"oauth_token=t+1&oauth_verifier=%zz":                "is not a form",
		"oauth_token=t+1&oauth_verifier=%00":                "is not text",
		"":                                                  "is not for these",
	} {
		got, err := temporary.Verifier(&url.URL{RawQuery: query})
		if want == "" && (err != nil || got.Reveal() != "v+1") {
			t.Errorf("%s: %q, %v", query, got.Reveal(), err)
		}
		if want != "" && (err == nil || !strings.Contains(err.Error(), want) || !got.IsZero()) {
			t.Errorf("%s: %v, want %q", query, err, want)
		}
	}
	if _, err := temporary.Verifier(nil); err == nil {
		t.Error("a nil URL has a verifier")
	}
	if _, err := (Credentials{}).Verifier(&url.URL{RawQuery: "oauth_token=&oauth_verifier=v"}); err == nil {
		t.Error("empty credentials take an empty token")
	}
}
