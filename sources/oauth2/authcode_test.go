package oauth2

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/sources/internal/leaktest"
)

const authCode = "SplxlOBeZQQYbYS6WxSbIA"

// get opens a page as a browser does, and keeps no connection.
func get(t *testing.T, method, u string) (int, string, http.Header) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, u, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		t.Error(err)
		return 0, "", nil
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text), resp.Header
}

// A login on loopback: what the browser is sent with, what does not end the login, what does, and what is sent for the token.
func TestLoopbackLogin(t *testing.T) {
	srv := newIssuer(t, always(200, `{"access_token":"a1","refresh_token":"r1","expires_in":3600}`))
	var redirect string
	var pages []int
	src := &AuthorizationCode{
		AuthURL: srv.URL + "/authorize?tenant=1", TokenURL: srv.URL, ClientID: oddID, ClientSecret: renew.NewSecret(oddSecret), Scopes: []string{"a", "b"},
		AuthParams: url.Values{"prompt": {"consent"}}, EndpointParams: url.Values{"audience": {"x"}}, RedirectURL: "http://127.0.0.1/deep/path",
	}
	src.Prompt = func(_ context.Context, raw string) error {
		u, err := url.Parse(raw)
		if err != nil {
			return err
		}
		q := u.Query()
		redirect = q.Get("redirect_uri")
		state := q.Get("state")
		if len(state) < 22 || len(q.Get("code_challenge")) != 43 {
			t.Errorf("state %q, challenge %q", state, q.Get("code_challenge"))
		}
		for name, want := range map[string]string{
			"tenant": "1", "prompt": "consent", "response_type": "code", "client_id": oddID, "scope": "a b", "code_challenge_method": "S256",
		} {
			if q.Get(name) != want {
				t.Errorf("%s = %q, want %q", name, q.Get(name), want)
			}
		}
		good := url.Values{"code": {authCode}, "state": {state}}.Encode()
		base := strings.TrimSuffix(redirect, "/deep/path")
		for _, bad := range []struct{ method, url string }{
			{"GET", base + "/favicon.ico"}, {"GET", base + "/?" + good}, {"GET", base + "/deep/path/?" + good},
			{"POST", redirect + "?" + good}, {"HEAD", redirect + "?" + good},
			{"GET", redirect}, {"GET", redirect + "?code=evil&state=x"}, {"GET", redirect + "?code=evil"}, {"GET", redirect + "?error=access_denied"},
			{"GET", redirect + "?" + good + "&code=evil"}, {"GET", redirect + "?" + good + "&state=" + state}, {"GET", redirect + "?" + good + "&error=x"},
			{"GET", redirect + "?state=" + state}, {"GET", redirect + "?%zz&" + good}, {"GET", redirect + "?code=%00&state=" + state},
		} {
			status, text, _ := get(t, bad.method, bad.url)
			if pages = append(pages, status); status < 400 || strings.Contains(text, state) || strings.Contains(text, "evil") {
				t.Errorf("%s %s: %d %q", bad.method, bad.url, status, text)
			}
		}
		status, text, h := get(t, "GET", redirect+"?"+good)
		if status != 200 || !strings.Contains(text, "close this window") || strings.Contains(text, authCode) || h.Get("Cache-Control") != "no-store" || h.Get("Referrer-Policy") != "no-referrer" {
			t.Errorf("%d %q %v", status, text, h)
		}
		if status, _, _ := get(t, "GET", redirect+"?"+good); status != http.StatusGone {
			t.Errorf("the answer came twice: %d, want 410", status)
		}
		return nil
	}
	src.Open = func(context.Context, string) error { return errors.New("no browser here") } // the Prompt is enough
	tok, err := src.Issue(t.Context())
	if err != nil || tok.Value.Reveal() != "a1" || tok.Refresh.Reveal() != "r1" {
		t.Fatalf("%v, %v", tok, err)
	}
	if len(pages) != 15 {
		t.Errorf("pages = %d", len(pages))
	}
	form := srv.forms[0]
	verifier := form.Get("code_verifier")
	form.Del("code_verifier")
	want := url.Values{"grant_type": {"authorization_code"}, "code": {authCode}, "redirect_uri": {redirect}, "client_id": {oddID}, "client_secret": {oddSecret}, "audience": {"x"}}
	if form.Encode() != want.Encode() || checkVerifier(verifier) != nil || len(srv.forms) != 1 {
		t.Errorf("sent %v, want %v", form, want)
	}
	if !strings.HasPrefix(redirect, "http://127.0.0.1:") || strings.HasPrefix(redirect, "http://127.0.0.1:0/") {
		t.Errorf("redirect_uri = %s", redirect)
	}
	if resp, err := http.Get(redirect); err == nil { // the server lives for one login
		_ = resp.Body.Close()
		t.Error("the loopback server is still there")
	}
}

// An error that comes back is shown to the person and to the caller.
func TestLoopbackErrors(t *testing.T) {
	for _, tt := range []struct {
		query, code, page string
		kind              renew.Kind
	}{
		{"error=access_denied&error_description=secret-text", "access_denied", "access_denied", renew.Refused},
		{"error=invalid_scope", "invalid_scope", "invalid_scope", renew.Refused},
		{"error=server_error", "server_error", "server_error", renew.Transient},
		{"error=%3Cscript%3E", "<script>", "&lt;script&gt;", renew.Refused},
		{"error=%00", "", "did not say why", renew.Transient},
	} {
		src := &AuthorizationCode{AuthURL: "https://issuer.example/a", TokenURL: "https://issuer.example/t", ClientID: "id", AuthStyle: None}
		src.Open = func(_ context.Context, raw string) error {
			u, _ := url.Parse(raw)
			_, text, _ := get(t, "GET", u.Query().Get("redirect_uri")+"?"+tt.query+"&state="+u.Query().Get("state"))
			if !strings.Contains(text, tt.page) || strings.Contains(text, "secret-text") || strings.Contains(text, "<script>") {
				t.Errorf("%s: page %q", tt.query, text)
			}
			return nil
		}
		_, err := src.Issue(t.Context())
		if e := issueError(t, err); e.Code != tt.code || e.Kind != tt.kind || e.Permanent || strings.Contains(err.Error(), "secret-text") {
			t.Errorf("%s: %#v: %v", tt.query, e, err)
		}
	}
}

// Issue ends with its ctx, with a Prompt that fails, and where the port is taken.
func TestLoopbackEnds(t *testing.T) {
	src := &AuthorizationCode{AuthURL: "https://issuer.example/a", TokenURL: "https://issuer.example/t", ClientID: "id", AuthStyle: None}
	why := errors.New("closing")
	ctx, cancel := context.WithCancelCause(t.Context())
	var redirect string
	src.Prompt = func(_ context.Context, raw string) error {
		u, _ := url.Parse(raw)
		redirect = u.Query().Get("redirect_uri")
		taken := &AuthorizationCode{AuthURL: src.AuthURL, TokenURL: src.TokenURL, ClientID: "id", AuthStyle: None, RedirectURL: redirect, Open: src.Prompt}
		_, err := taken.Issue(t.Context())
		if e := issueError(t, err); e.Kind != renew.Transient || !e.Unsent || !strings.Contains(err.Error(), "RedirectURL") {
			t.Errorf("the port is taken: %v", err)
		}
		cancel(why)
		return nil
	}
	_, err := src.Issue(ctx)
	if e := issueError(t, err); !errors.Is(err, why) || e.Kind != renew.Transient {
		t.Errorf("ctx ended: %v", err)
	}
	src.Prompt, src.Open = nil, func(context.Context, string) error { return why }
	if _, err := src.Issue(t.Context()); !errors.Is(err, why) || issueError(t, err).Kind != renew.Transient {
		t.Errorf("Open failed: %v", err)
	}
	for _, leaks := range []func(u *url.URL) error{
		func(u *url.URL) error { return errors.New("exec: browser " + u.String()) },
		func(u *url.URL) error { return errors.New("state " + u.Query().Get("state")) },
	} {
		var state string
		src.Open = func(_ context.Context, raw string) error {
			u, _ := url.Parse(raw)
			state = u.Query().Get("state")
			return leaks(u)
		}
		_, err := src.Issue(t.Context())
		if e := issueError(t, err); e.Kind != renew.Transient || !strings.Contains(err.Error(), "Open") {
			t.Errorf("Open failed: %v", err)
		}
		leaktest.Check(t, err, state)
	}
	src.Open, src.Timeout = func(context.Context, string) error { return nil }, time.Millisecond
	if _, err := src.Issue(t.Context()); !errors.Is(err, errLoginTimeout) {
		t.Errorf("nobody came: %v", err)
	}
}

// Visitors who send nothing, or half a request, hold up neither the login nor its end.
func TestLoopbackIsNotHeldUp(t *testing.T) {
	srv := newIssuer(t, always(200, `{"access_token":"a1"}`))
	src := &AuthorizationCode{AuthURL: srv.URL, TokenURL: srv.URL, ClientID: "id", AuthStyle: None}
	var held []net.Conn
	src.Open = func(ctx context.Context, raw string) error {
		u, _ := url.Parse(raw)
		back, _ := url.Parse(u.Query().Get("redirect_uri"))
		for i := range 8 {
			conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", back.Host)
			if err != nil {
				return err
			}
			held = append(held, conn)
			if i%2 == 0 {
				if _, err := io.WriteString(conn, "GET "+back.Path+"?code=evil HTTP/1.1\r\nX: "); err != nil {
					return err
				}
			}
		}
		status, _, _ := get(t, "GET", back.String()+"?"+url.Values{"code": {authCode}, "state": {u.Query().Get("state")}}.Encode())
		if status != 200 {
			t.Errorf("status = %d", status)
		}
		return nil
	}
	if _, err := src.Issue(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i, conn := range held { // the server has let go of each
		_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second)) // less than the server's own timeouts
		if text, err := io.ReadAll(conn); errors.Is(err, os.ErrDeadlineExceeded) || strings.Contains(string(text), " 200 ") {
			t.Errorf("%d: %q, %v", i, text, err)
		}
		_ = conn.Close()
	}
}

// A server that sends the state back as its error gets it into no error.
func TestR30_StateInNoError(t *testing.T) {
	s := &AuthorizationCode{TokenURL: "https://issuer.example", ClientID: "id", AuthStyle: None, AuthURL: "https://issuer.example"}
	a, err := s.Begin(t.Context(), "https://app.example/")
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Exchange(t.Context(), a, url.Values{"error": {"x-" + a.State}, "state": {a.State}})
	if e := issueError(t, err); e.Code != "" || e.Kind != renew.Refused && e.Kind != renew.Transient {
		t.Errorf("%#v", e)
	}
	leaktest.Check(t, err, a.State)
}

// A program with a page of its own brings the answer.
func TestOauth2_BeginAndExchange(t *testing.T) {
	srv := newIssuer(t, always(200, `{"access_token":"a1","refresh_token":"r1"}`))
	src := &AuthorizationCode{AuthURL: srv.URL + "/a", TokenURL: srv.URL, ClientID: "id", AuthStyle: None}
	a, err := src.Begin(t.Context(), "https://app.example/back?x=y")
	if err != nil {
		t.Fatal(err)
	}
	b, _ := src.Begin(t.Context(), "https://app.example/back?x=y")
	if a.State == b.State || a.Verifier.Equal(b.Verifier) {
		t.Error("two logins share their state or verifier")
	}
	leaktest.Check(t, a.Verifier, a.Verifier.Reveal())
	for name, q := range map[string]url.Values{
		"no state": {"code": {"c"}}, "another's state": {"code": {"c"}, "state": {b.State}}, "longer state": {"code": {"c"}, "state": {a.State + "x"}},
		"no code": {"state": {a.State}}, "two codes": {"code": {"c", "d"}, "state": {a.State}},
	} {
		_, err := src.Exchange(t.Context(), a, q)
		if e := issueError(t, err); e.Kind != renew.Invalid || !e.Unsent {
			t.Errorf("%s: %v", name, err)
		}
		leaktest.Check(t, err, a.State, b.State)
	}
	a.Issuer = "https://issuer.example"
	for iss, want := range map[string]bool{"https://issuer.example": true, "https://issuer.example/": false, "": false} {
		q := url.Values{"code": {"c"}, "state": {a.State}, "iss": {iss}}
		if got := a.accept(q) == nil; got != want {
			t.Errorf("iss %q accepted: %v (RFC 9207)", iss, got)
		}
	}
	q := url.Values{"code": {"c"}, "state": {a.State}}
	if a.accept(q) != nil {
		t.Error("no iss is refused, though the issuer does not say that it sends one")
	}
	a.IssuerRequired = true
	if !errors.Is(a.accept(q), errAnswerIssuer) {
		t.Error("no iss is accepted, though the issuer says that it sends one")
	}
	q.Set("iss", a.Issuer)
	if len(srv.forms) != 0 {
		t.Errorf("requests = %d, want none for wrong answers", len(srv.forms))
	}
	tok, err := src.Exchange(t.Context(), a, q)
	if err != nil || tok.Refresh.Reveal() != "r1" || srv.forms[0].Get("redirect_uri") != "https://app.example/back?x=y" {
		t.Errorf("%v, %v", tok, err)
	}
	if err := new(Authorization).accept(url.Values{"code": {"c"}}); !errors.Is(err, errAnswerState) {
		t.Errorf("an Authorization without state accepts an answer without one: %v", err)
	}
	other := &AuthorizationCode{Issuer: "https://other.example", ClientID: "id", AuthStyle: None}
	other.HTTPClient = &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		t.Errorf("the code of another login was on its way to %s", r.URL)
		return nil, io.ErrUnexpectedEOF
	})}
	for name, f := range map[string]func() error{
		"of another Source":  func() error { _, err := other.Exchange(t.Context(), a, q); return err },
		"zero Authorization": func() error { _, err := src.Exchange(t.Context(), &Authorization{}, q); return err },
		"nil Authorization":  func() error { _, err := src.Exchange(t.Context(), nil, q); return err },
		"http redirect":      func() error { _, err := src.Begin(t.Context(), "http://app.example/back"); return err },
	} {
		if e := issueError(t, f()); e.Kind != renew.Invalid || !e.Unsent {
			t.Errorf("%s: %v", name, e)
		}
	}
}

func FuzzRedirect(f *testing.F) {
	f.Add("code=c&state=s&iss=https%3A%2F%2Fissuer.example", true)
	f.Add("error=access_denied&state=s", false)
	f.Add("state=s&state=t&code=c;d", true)
	f.Fuzz(func(t *testing.T, raw string, required bool) {
		query, err := url.ParseQuery(raw)
		if err != nil {
			return
		}
		a := &Authorization{State: "s", Issuer: "https://issuer.example", IssuerRequired: required}
		if err := a.accept(query); err != nil {
			return
		}
		if !slices.Equal(query["state"], []string{"s"}) || query.Has("iss") && query.Get("iss") != a.Issuer || required && !query.Has("iss") {
			t.Errorf("accepted %q", raw)
		}
		if code := query.Get("code"); (code == "") == (query.Get("error") == "") || len(query["code"]) > 1 || strings.ContainsFunc(code, func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Errorf("accepted %q", raw)
		}
		if code := tokenCode(query); strings.ContainsFunc(code, func(r rune) bool { return r < ' ' || r > '~' }) || len(code) > 64 {
			t.Errorf("the error code %q would be shown", code)
		}
	})
}

// tokenCode is the code of the error that an answer leads to.
func tokenCode(query url.Values) string {
	if query.Get("error") == "" {
		return ""
	}
	s := &AuthorizationCode{TokenURL: "https://issuer.example"}
	_, err := s.exchange(context.Background(), s.client(), &Authorization{State: "state-4711"}, query)
	e, ok := errors.AsType[*renew.IssueError](err)
	if !ok {
		return "\x00 no IssueError"
	}
	return e.Code
}
