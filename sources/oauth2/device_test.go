package oauth2

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/sources/internal/leaktest"
)

// roundTrip is a server in memory.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func reply(status int, body string, fields ...string) *http.Response {
	h := http.Header{"Content-Type": {"application/json"}}
	for i := 0; i+1 < len(fields); i += 2 {
		h.Set(fields[i], fields[i+1])
	}
	return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader(body))}
}

func formOf(r *http.Request) url.Values {
	body, _ := io.ReadAll(r.Body)
	form, _ := url.ParseQuery(string(body))
	return form
}

const deviceCode = "GmRhmhcxhwAzkoEqiMEg_DnyEysNkuNhszIySk9eS"

// pollAnswer is one poll: how the server answers, or how it does not.
type pollAnswer struct {
	status int
	body   string
	fields []string
	hang   bool // until the request is given up
	drop   bool // the connection fails
}

var (
	pending = pollAnswer{status: 400, body: `{"error":"authorization_pending"}`}
	slow    = pollAnswer{status: 400, body: `{"error":"slow_down"}`}
	granted = pollAnswer{status: 200, body: `{"access_token":"a1","refresh_token":"r1","expires_in":3600}`}
)

// A Prompt whose error has the user code in it, as that of a command would, gets it into no error.
func TestR30_UserCodeInNoError(t *testing.T) {
	src := &DeviceCode{DeviceAuthURL: "https://issuer.example/device", TokenURL: "https://issuer.example/token", ClientID: "id", AuthStyle: None}
	src.HTTPClient = &http.Client{Transport: roundTrip(func(*http.Request) (*http.Response, error) {
		return reply(200, `{"device_code":"`+deviceCode+`","user_code":"WDJB-MJHT","verification_uri":"https://x.example/d"}`), nil
	})}
	for text, shown := range map[string]bool{"no terminal": true, "write WDJB-MJHT": false} {
		why := errors.New(text)
		src.Prompt = func(context.Context, DevicePrompt) error { return why }
		_, err := src.Issue(t.Context())
		if e := issueError(t, err); e.Kind != renew.Transient || errors.Is(err, why) != shown || !strings.Contains(err.Error(), "Prompt") {
			t.Errorf("%s: %v", text, err)
		}
		leaktest.Check(t, err, "WDJB-MJHT", deviceCode)
	}
}

// When a DeviceCode polls, and how its login ends (RFC 8628, section 3.5).
func TestOauth2_DevicePolls(t *testing.T) {
	for _, tt := range []struct {
		name      string
		prompt    time.Duration
		device    string       // members beside the code, the user code and the page
		polls     []pollAnswer // the last one again and again
		when      []time.Duration
		kind      renew.Kind // of the error, unless wants is empty
		wants     string
		code      string
		permanent bool
		ends      time.Duration
	}{
		{name: "granted at once", polls: []pollAnswer{granted}, when: secs(5), ends: 5 * time.Second},
		{name: "interval of the server", device: `,"interval":2`, polls: []pollAnswer{pending, pending, granted}, when: secs(2, 4, 6), ends: 6 * time.Second},
		{name: "interval of 0 is the default", device: `,"interval":0`, polls: []pollAnswer{pending, granted}, when: secs(5, 10), ends: 10 * time.Second},
		{name: "interval as text", device: `,"interval":"3"`, polls: []pollAnswer{pending, granted}, when: secs(3, 6), ends: 6 * time.Second},
		{name: "slow_down adds 5 s for good", polls: []pollAnswer{slow, pending, slow, granted}, when: secs(5, 15, 25, 40), ends: 40 * time.Second},
		{name: "faults double it", polls: []pollAnswer{{status: 500}, {drop: true}, pending, granted}, when: secs(5, 15, 35, 55), ends: 55 * time.Second},
		{name: "a hang counts as a fault", polls: []pollAnswer{{hang: true}, granted}, when: secs(5, 45), ends: 45 * time.Second},
		{name: "Retry-After", polls: []pollAnswer{{status: 429, fields: []string{"Retry-After", "30"}}, granted}, when: secs(5, 35), ends: 35 * time.Second},
		{name: "HTML, then a token", polls: []pollAnswer{{status: 200, body: "<html>"}, granted}, when: secs(5, 15), ends: 15 * time.Second},
		{name: "a 200 with an error", polls: []pollAnswer{{status: 200, body: `{"error":"authorization_pending"}`}, granted}, when: secs(5, 10), ends: 10 * time.Second},
		{name: "denied", polls: []pollAnswer{pending, {status: 400, body: `{"error":"access_denied"}`}}, when: secs(5, 10), kind: renew.Refused, wants: "denied", code: "access_denied", ends: 10 * time.Second},
		{name: "denied, in Microsoft's words", polls: []pollAnswer{{status: 400, body: `{"error":"authorization_declined"}`}}, when: secs(5), kind: renew.Refused, wants: "denied", code: "authorization_declined", ends: 5 * time.Second},
		{name: "expired_token", polls: []pollAnswer{{status: 400, body: `{"error":"expired_token"}`}}, when: secs(5), kind: renew.Transient, wants: "log in again", code: "expired_token", ends: 5 * time.Second},
		{name: "expires_in", device: `,"expires_in":12`, polls: []pollAnswer{pending}, when: secs(5, 10), kind: renew.Transient, wants: "log in again", ends: 12 * time.Second},
		{name: "expires_in counts from the reply", device: `,"expires_in":12`, prompt: 4 * time.Second, polls: []pollAnswer{pending}, when: secs(9), kind: renew.Transient, wants: "log in again", ends: 12 * time.Second},
		{name: "expired while the Prompt showed it", device: `,"expires_in":12`, prompt: 20 * time.Second, polls: []pollAnswer{pending}, kind: renew.Transient, wants: "log in again", ends: 20 * time.Second},
		{name: "an interval below a second is a second", device: `,"interval":1e-9`, polls: []pollAnswer{pending, granted}, when: secs(1, 2), ends: 2 * time.Second},
		{name: "Retry-After is for one pause", polls: []pollAnswer{{status: 400, body: `{"error":"authorization_pending"}`, fields: []string{"Retry-After", "20"}}, pending, granted}, when: secs(5, 25, 30), ends: 30 * time.Second},
		{name: "Timeout", device: `,"expires_in":1800`, polls: []pollAnswer{{status: 503}}, when: secs(5, 15, 35), kind: renew.Transient, wants: "503", ends: 60 * time.Second},
		{name: "invalid_client", polls: []pollAnswer{{status: 401, body: `{"error":"invalid_client"}`}}, when: secs(5), kind: renew.Refused, wants: "invalid_client", code: "invalid_client", permanent: true, ends: 5 * time.Second},
		{name: "used code", polls: []pollAnswer{{status: 400, body: `{"error":"invalid_grant"}`}}, when: secs(5), kind: renew.Refused, wants: "invalid_grant", code: "invalid_grant", ends: 5 * time.Second},
		{name: "a redirect", polls: []pollAnswer{{status: 307, fields: []string{"Location", "https://elsewhere.example"}}}, when: secs(5), kind: renew.Invalid, wants: "redirects", permanent: true, ends: 5 * time.Second},
		{name: "a token that cannot be sent", polls: []pollAnswer{{status: 200, body: `{"access_token":"a","token_type":"mac"}`}}, when: secs(5), kind: renew.Invalid, wants: "token_type", permanent: true, ends: 5 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				var when []time.Duration
				src := &DeviceCode{
					DeviceAuthURL: "https://issuer.example/device", TokenURL: "https://issuer.example/token",
					ClientID: oddID, ClientSecret: renew.NewSecret(oddSecret), AuthStyle: InParams, Scopes: []string{"a", "b"},
					EndpointParams: url.Values{"audience": {"x"}}, Timeout: time.Minute,
					Prompt: func(context.Context, DevicePrompt) error { time.Sleep(tt.prompt); return nil },
				}
				src.HTTPClient = &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
					form := formOf(r)
					if form.Get("client_id") != oddID || form.Get("client_secret") != oddSecret {
						t.Errorf("client authentication: %v", form)
					}
					if r.URL.Path == "/device" {
						if form.Get("scope") != "a b" || form.Get("audience") != "x" || form.Has("grant_type") {
							t.Errorf("device request: %v", form)
						}
						return reply(200, `{"device_code":"`+deviceCode+`","user_code":"WDJB-MJHT","verification_uri":"https://x.example/d"`+tt.device+`}`), nil
					}
					if form.Get("grant_type") != "urn:ietf:params:oauth:grant-type:device_code" || form.Get("device_code") != deviceCode || form.Has("scope") {
						t.Errorf("poll: %v", form)
					}
					when = append(when, time.Since(start))
					p := tt.polls[min(len(when), len(tt.polls))-1]
					switch {
					case p.hang:
						<-r.Context().Done()
						return nil, r.Context().Err()
					case p.drop:
						return nil, io.ErrUnexpectedEOF
					}
					return reply(p.status, p.body, p.fields...), nil
				})}
				if err := src.Validate(); err != nil {
					t.Fatal(err)
				}
				tok, err := src.Issue(t.Context())
				if !slices.Equal(when, tt.when) {
					t.Errorf("polled at %v, want %v", when, tt.when)
				}
				if took := time.Since(start); took != tt.ends {
					t.Errorf("ended after %v, want %v", took, tt.ends)
				}
				if tt.wants == "" {
					if err != nil || tok.Value.Reveal() != "a1" || tok.Refresh.Reveal() != "r1" {
						t.Errorf("%v, %v", tok, err)
					}
					return
				}
				e := issueError(t, err)
				if e.Kind != tt.kind || e.Code != tt.code || e.Permanent != tt.permanent || !strings.Contains(err.Error(), tt.wants) {
					t.Errorf("%#v: %v, want %v %q %q", e, err, tt.kind, tt.code, tt.wants)
				}
				leaktest.Check(t, err, oddSecret, deviceCode)
			})
		})
	}
}

func secs(n ...int) (out []time.Duration) {
	for _, n := range n {
		out = append(out, time.Duration(n)*time.Second)
	}
	return out
}

// The end of ctx ends a login at once, with its cause.
func TestDeviceEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		why := errors.New("closing")
		src := &DeviceCode{
			DeviceAuthURL: "https://issuer.example/device", TokenURL: "https://issuer.example/token", ClientID: "id", AuthStyle: None,
			Prompt: func(context.Context, DevicePrompt) error { return nil },
			HTTPClient: &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
				if r.URL.Path == "/device" {
					return reply(200, `{"device_code":"c","user_code":"u","verification_uri":"https://x.example","expires_in":1800}`), nil
				}
				return reply(400, pending.body), nil
			})},
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(12*time.Second, func() { cancel(why) })
		start := time.Now()
		_, err := src.Issue(ctx)
		if e := issueError(t, err); !errors.Is(err, why) || e.Kind != renew.Transient || time.Since(start) != 12*time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		src.Prompt = func(context.Context, DevicePrompt) error { return why }
		if _, err := src.Issue(t.Context()); !errors.Is(err, why) {
			t.Errorf("Prompt failed, and the login said %v", err)
		}
	})
}

// What a device authorization reply must be.
func TestReadDevice(t *testing.T) {
	good := func(change string, value any) string {
		m := map[string]any{"device_code": "c", "user_code": "u", "verification_uri": "https://x.example/d"}
		if change != "" {
			m[change] = value
		}
		text, _ := json.Marshal(m)
		return string(text)
	}
	for _, tt := range []struct {
		body string
		want string // in the error; empty: none
	}{
		{good("", nil), ""},
		{good("verification_uri_complete", "https://x.example/d?user_code=u#f"), ""},
		{`{"device_code":"c","user_code":"u","verification_url":"https://www.google.com/device"}`, ""},
		{good("device_code", ""), "device_code"}, {good("device_code", 1), "device_code"}, {good("device_code", "a\x00"), "device_code"},
		{good("user_code", nil), "user_code"}, {good("user_code", "\x1b[2J"), "user_code"}, {good("user_code", []string{"u"}), "user_code"},
		{good("verification_uri", ""), "verification_uri"}, {good("verification_uri", "http://x.example"), "verification_uri"},
		{good("verification_uri", "javascript:alert(1)"), "verification_uri"}, {good("verification_uri", "https://x.example/\n"), "verification_uri"},
		{good("verification_uri_complete", "ftp://x"), "verification_uri_complete"},
		{good("expires_in", -1), "expired"}, {good("expires_in", "soon"), "expires_in"}, {good("interval", []int{5}), "interval"},
		{`{"device_code":"c","device_code":"d"}`, "twice"}, {`<html>`, "JSON"}, {``, "JSON"}, {good("", nil)[:20], "JSON"}, {good("", nil) + "{}", "JSON"},
		{`{"x":"` + strings.Repeat("a", 1<<20) + `"}`, "longer"},
	} {
		d, err := readDevice([]byte(tt.body), false)
		if (err == nil) != (tt.want == "") || err != nil && (d != nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%.60q: %v, want %q", tt.body, err, tt.want)
		}
	}
}

func FuzzDevice(f *testing.F) {
	f.Add([]byte(`{"device_code":"c","user_code":"u","verification_uri":"https://x.example/d","expires_in":1800,"interval":5}`))
	f.Add([]byte(`{"device_code":"c","user_code":"\u001b[2J","verification_uri":"http://x","expires_in":-1e99,"interval":"1e400"}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		d, err := readDevice(body, false)
		if err != nil {
			if strings.Contains(err.Error(), "\x1b") {
				t.Errorf("the error quotes the reply: %q", err)
			}
			return
		}
		if d.interval <= 0 || d.prompt.ExpiresIn < 0 || d.code == "" {
			t.Errorf("%+v", d)
		}
		for _, text := range []string{d.prompt.UserCode, d.prompt.VerificationURI} {
			if text == "" || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) {
				t.Errorf("%q would be shown", text)
			}
		}
		if !strings.HasPrefix(strings.ToLower(d.prompt.VerificationURI), "http") {
			t.Errorf("a person would be sent to %q", d.prompt.VerificationURI)
		}
		for range 100 { // no interval overflows
			next, _ := nextPoll(d.interval, &renew.IssueError{Kind: renew.Transient})
			if next < d.interval {
				t.Fatalf("the pause went from %v to %v", d.interval, next)
			}
			d.interval = next
		}
	})
}

// The refresh grant of a login runs by timer, with the token that rotates, and never asks the person.
func TestR7_RefreshOfALoginByTimer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		prompts, n := 0, 0
		var mu sync.Mutex // guards n and sent
		var sent []string
		seen := func() []string {
			mu.Lock()
			defer mu.Unlock()
			return slices.Clone(sent)
		}
		src := &DeviceCode{
			DeviceAuthURL: "https://issuer.example/device", TokenURL: "https://issuer.example/token", ClientID: "id", AuthStyle: None,
			Scopes: []string{"a"},
			Prompt: func(context.Context, DevicePrompt) error { prompts++; return nil },
			HTTPClient: &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
				form := formOf(r)
				if r.URL.Path == "/device" {
					return reply(200, `{"device_code":"c","user_code":"u","verification_uri":"https://x.example","expires_in":1800}`), nil
				}
				mu.Lock()
				defer mu.Unlock()
				if form.Get("grant_type") == "refresh_token" {
					sent = append(sent, form.Get("refresh_token"))
					if form.Has("scope") {
						t.Errorf("a refresh asks for the scope %v", form)
					}
				}
				n++
				if n > 4 { // the login was revoked
					return reply(400, `{"error":"invalid_grant"}`), nil
				}
				return reply(200, fmt.Sprintf(`{"access_token":"a%d","refresh_token":"r%d","expires_in":3600}`, n, n)), nil
			})},
		}
		ts, err := renew.New(src, renew.Config{Interactive: true})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = ts.Close(context.Background()) }()
		if _, err := ts.Token(t.Context()); err != nil {
			t.Fatal(err)
		}
		for len(seen()) < 3 {
			time.Sleep(time.Minute)
			synctest.Wait()
		}
		if tok, err := ts.Token(t.Context()); err != nil || tok.Value.Reveal() != "a4" || prompts != 1 {
			t.Errorf("%v, %v after %d prompts", tok, err, prompts)
		}
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		if got := seen(); !slices.Equal(got[:4], []string{"r1", "r2", "r3", "r4"}) || prompts != 1 {
			t.Errorf("sent %q with %d prompts", got, prompts)
		}
	})
}

// A login without a refresh token, or with one that was traded, says that a person is needed and sends nothing.
func TestReissueOfALoginNeedsARefreshToken(t *testing.T) {
	n := 0
	srv := newIssuer(t, func(int, url.Values) (int, string) {
		n++
		return 200, fmt.Sprintf(`{"access_token":"a%d","refresh_token":"r%d"}`, n, n)
	})
	for name, src := range map[string]renew.Reissuer{
		"device": &DeviceCode{DeviceAuthURL: srv.URL, TokenURL: srv.URL, ClientID: "id", AuthStyle: None},
		"code":   &AuthorizationCode{AuthURL: srv.URL, TokenURL: srv.URL, ClientID: "id", AuthStyle: None},
	} {
		t.Run(name, func(t *testing.T) {
			n = 0
			live := &renew.Token{Value: renew.NewSecret("a"), Refresh: renew.NewSecret("r0")}
			if _, err := src.Reissue(t.Context(), live); err != nil {
				t.Fatal(err)
			}
			for _, live := range []*renew.Token{live, nil, {Value: renew.NewSecret("a")}} {
				_, err := src.Reissue(t.Context(), live)
				if e := issueError(t, err); !errors.Is(err, renew.ErrInteractionRequired) || !e.Unsent || e.Kind != renew.Refused {
					t.Errorf("Reissue of %v: %v", live, err)
				}
			}
			if n != 1 {
				t.Errorf("requests = %d, want 1", n)
			}
		})
	}
}
