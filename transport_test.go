package renew

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// tokens is a small Authenticator that behaves like a TokenSource: it puts token-<n> into a
// header, and a refusal of the current one makes the next.
type tokens struct {
	header  string // default Authorization
	n       atomic.Int64
	refused atomic.Int64
	made    atomic.Int64
}

func (a *tokens) Authenticate(req *http.Request) (Credential, error) {
	a.made.Add(1)
	n := a.n.Load()
	name := a.header
	if name == "" {
		name = "Authorization"
	}
	req.Header.Set(name, bearer(n))
	return &n, nil
}

func (a *tokens) Refused(_ *http.Request, c Credential, _ *http.Response) (Replay, error) {
	a.refused.Add(1)
	n := *c.(*int64)
	a.n.CompareAndSwap(n, n+1)
	if a.n.Load() == n {
		return nil, nil
	}
	return a.Authenticate, nil
}

// tokenMark is in every token of these tests and nowhere else.
const tokenMark = "s3cr3t"

func bearer(n int64) string { return fmt.Sprintf("Bearer %s-%d", tokenMark, n) }

// authFuncs is an Authenticator made of functions. A nil one does the least.
type authFuncs struct {
	authenticate func(*http.Request) (Credential, error)
	refused      func(*http.Request, Credential, *http.Response) (bool, error)
}

func (a authFuncs) Authenticate(req *http.Request) (Credential, error) {
	if a.authenticate != nil {
		return a.authenticate(req)
	}
	req.Header.Set("Authorization", bearer(0))
	return nil, nil
}

func (a authFuncs) Refused(req *http.Request, c Credential, resp *http.Response) (Replay, error) {
	if a.refused == nil {
		return nil, nil
	}
	retry, err := a.refused(req, c, resp)
	if !retry {
		return nil, err
	}
	return a.Authenticate, err
}

type baseFunc func(*http.Request) (*http.Response, error)

func (f baseFunc) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// answer is a base that reads and closes the body, as it must, and answers with a status.
func answer(status int) baseFunc {
	return func(req *http.Request) (*http.Response, error) {
		if req.Body != nil {
			_, _ = io.Copy(io.Discard, req.Body)
			_ = req.Body.Close()
		}
		return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("answer")), Request: req}, nil
	}
}

// untouchable is a base that must not be reached.
func untouchable(t *testing.T) baseFunc {
	return func(req *http.Request) (*http.Response, error) {
		t.Errorf("%s %s was sent", req.Method, req.URL)
		return answer(200)(req)
	}
}

// spyBody counts what is done to it.
type spyBody struct {
	io.Reader
	read, closed int
}

func newBody(text string) *spyBody { return &spyBody{Reader: strings.NewReader(text)} }

func (b *spyBody) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	b.read += n
	return n, err
}

func (b *spyBody) Close() error { b.closed++; return nil }

func newTransport(t testing.TB, auth Authenticator, cfg TransportConfig) *Transport {
	t.Helper()
	if cfg.Origins == nil {
		cfg.Origins = []string{"https://api.example"}
	}
	tr, err := NewTransport(auth, cfg)
	if err != nil {
		t.Fatalf("NewTransport: %v", err)
	}
	return tr
}

func newRequest(t testing.TB, method, url string, body io.Reader) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	return req
}

// site is a server that remembers every request it saw, as text.
type site struct {
	*httptest.Server
	mu   sync.Mutex
	seen []string
}

func newSite(t testing.TB, h http.HandlerFunc) *site {
	s := &site{}
	s.Server = httptest.NewServer(s.record(h))
	t.Cleanup(s.Close)
	return s
}

func (s *site) record(h http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		dump, _ := httputil.DumpRequest(r, true)
		s.mu.Lock()
		s.seen = append(s.seen, string(dump))
		s.mu.Unlock()
		h(w, r)
	})
}

func (s *site) log() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string{}, s.seen...)
}

// snapshot is a request taken apart, down to the spare capacity of its header values.
type snapshot struct {
	shallow http.Request
	url     url.URL
	header  http.Header
	trailer http.Header
}

func takeSnapshot(req *http.Request) snapshot {
	deep := func(h http.Header) http.Header {
		if h == nil {
			return nil
		}
		c := make(http.Header, len(h))
		for k, v := range h {
			c[k] = append([]string(nil), v[:cap(v)]...)
		}
		return c
	}
	return snapshot{shallow: *req, url: *req.URL, header: deep(req.Header), trailer: deep(req.Trailer)}
}

func (s snapshot) check(t *testing.T, req *http.Request) {
	t.Helper()
	now := takeSnapshot(req)
	if !reflect.DeepEqual(now.url, s.url) || !reflect.DeepEqual(now.header, s.header) || !reflect.DeepEqual(now.trailer, s.trailer) {
		t.Errorf("the caller's request changed:\n%v %v %v\nwas\n%v %v %v", now.url, now.header, now.trailer, s.url, s.header, s.trailer)
	}
	a, b := reflect.ValueOf(now.shallow), reflect.ValueOf(s.shallow)
	for i := range a.NumField() {
		name := a.Type().Field(i).Name
		switch a.Field(i).Kind() {
		case reflect.Map, reflect.Func, reflect.Pointer, reflect.Slice:
			if a.Field(i).Pointer() != b.Field(i).Pointer() {
				t.Errorf("the caller's request has another %s", name)
			}
		default:
			if !a.Field(i).Equal(b.Field(i)) {
				t.Errorf("the caller's request has another %s", name)
			}
		}
	}
}

// R28: the caller's request is never written to, whatever happens to it.
func TestR28_CallersRequestIsNeverWritten(t *testing.T) {
	// meddler writes wherever an Authenticator may.
	meddler := authFuncs{
		authenticate: func(req *http.Request) (Credential, error) {
			req.Header.Set("Authorization", bearer(1))
			req.Header.Add("Accept", "spoilt")
			req.Header.Del("X-Spare")
			req.Header["X-Spare"] = append(req.Header["X-Spare"], "spoilt")
			req.Method, req.Host, req.Body, req.ContentLength = "SPOILT", "spoilt", http.NoBody, 7
			return nil, nil
		},
		refused: func(req *http.Request, _ Credential, _ *http.Response) (bool, error) {
			req.Header.Set("A", "spoilt")
			return true, nil
		},
	}
	failing := authFuncs{authenticate: func(req *http.Request) (Credential, error) {
		req.Header.Set("Authorization", bearer(1))
		return nil, errors.New("no token")
	}}
	hop := func(req *http.Request) {
		req.Response = &http.Response{Request: newRequest(t, "GET", "https://api.example/before", nil)}
	}
	for _, tc := range []struct {
		name   string
		auth   Authenticator
		exists Existing
		status int
		edit   func(*http.Request)
	}{
		{name: "sent", auth: meddler, status: 200},
		{name: "replayed", auth: meddler, status: 401},
		{name: "not replayable", auth: meddler, status: 401, edit: func(req *http.Request) { req.GetBody = nil }},
		{name: "authentication fails", auth: failing, status: 200},
		{name: "own credential kept", auth: meddler, status: 401, edit: func(req *http.Request) { req.Header.Set("Authorization", "own") }},
		{name: "own credential replaced", auth: meddler, exists: Replace, status: 401, edit: func(req *http.Request) { req.Header.Set("Authorization", "own") }},
		{name: "own credential refused", auth: meddler, exists: Refuse, status: 401, edit: func(req *http.Request) { req.Header.Set("Authorization", "own") }},
		{name: "another origin", auth: meddler, status: 200, edit: func(req *http.Request) { req.URL.Host = "evil.example" }},
		{name: "hop", auth: meddler, status: 401, edit: hop},
		{name: "hop elsewhere", auth: meddler, status: 401, edit: func(req *http.Request) {
			hop(req)
			req.URL.Host = "evil.example"
			req.Header.Set("Authorization", "own")
		}},
		{name: "no header map", auth: meddler, status: 401, edit: func(req *http.Request) { req.Header = nil }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			req := newRequest(t, "POST", "https://api.example/p?q=1", strings.NewReader("body"))
			for i := range 6 {
				req.Header[http.CanonicalHeaderKey("x-"+strconv.Itoa(i))] = append(make([]string, 0, 4), "v")
			}
			req.Header["Accept"] = append(make([]string, 0, 4), "a", "b")
			req.Header["X-Spare"] = append(make([]string, 0, 4), "a")
			req.Trailer = http.Header{"Sum": nil}
			if tc.edit != nil {
				tc.edit(req)
			}
			before := takeSnapshot(req)
			tr := newTransport(t, tc.auth, TransportConfig{OnExisting: tc.exists, Base: baseFunc(func(out *http.Request) (*http.Response, error) {
				if out != req { // the caller's own is sent only as it is, and a base may not write to it
					for k := range out.Header {
						out.Header.Add(k, "spoilt below")
					}
				}
				return answer(tc.status)(out)
			})})
			resp, err := tr.RoundTrip(req)
			before.check(t, req)
			if err == nil && resp.Request != req {
				t.Error("Response.Request is not the caller's request")
			}
		})
	}
}

// R28: nobody can copy our credential from the response.
func TestR28_ResponseHasTheCallersRequest(t *testing.T) {
	for _, status := range []int{200, 302, 401, 500} {
		tr := newTransport(t, &tokens{}, TransportConfig{Base: answer(status)})
		req := newRequest(t, "GET", "https://api.example", nil)
		resp, err := tr.RoundTrip(req)
		if err != nil || resp.Request != req || resp.Request.Header.Get("Authorization") != "" {
			t.Errorf("%d: Response.Request = %v, %v; want the caller's own", status, resp.Request, err)
		}
	}
}

// R29: an Add below, or in the Authenticator, does not reach a slice that is shared.
func TestR29_AddBelowDoesNotReachTheCallersSlice(t *testing.T) {
	shared := append(make([]string, 0, 8), "a")
	spare := shared[:8]
	tr := newTransport(t, &tokens{}, TransportConfig{Base: baseFunc(func(out *http.Request) (*http.Response, error) {
		out.Header.Add("Accept", "b")
		return answer(200)(out)
	})})
	for range 2 {
		req := newRequest(t, "GET", "https://api.example", nil)
		req.Header["Accept"] = shared
		if _, err := tr.RoundTrip(req); err != nil {
			t.Fatal(err)
		}
	}
	if spare[1] != "" {
		t.Errorf("the caller's spare capacity holds %q, want nothing", spare[1])
	}
}

// R28: over real servers, across redirects of every kind, no credential arrives
// anywhere else, and each hop at home has a fresh one.
func TestR28_RedirectsLeakNothing(t *testing.T) {
	for _, header := range []string{"Authorization", "X-Chap"} { // net/http itself would forward the second
		for _, code := range []int{301, 302, 303, 307, 308} {
			t.Run(fmt.Sprint(header, code), func(t *testing.T) {
				var home, second, evil *site
				var tls *httptest.Server
				to := func(target string) http.HandlerFunc {
					return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, target, code) }
				}
				second = newSite(t, func(w http.ResponseWriter, r *http.Request) { to(home.URL+"/back-again")(w, r) })
				evil = newSite(t, func(w http.ResponseWriter, r *http.Request) {
					switch r.URL.Path {
					case "/in":
						to("/within")(w, r)
					case "/challenge":
						w.WriteHeader(401)
					default:
						to(home.URL+"/back")(w, r)
					}
				})
				home = newSite(t, func(w http.ResponseWriter, r *http.Request) {
					switch r.URL.Path {
					case "/start":
						to("/same")(w, r)
					case "/same":
						to(evil.URL+"/in")(w, r)
					case "/back":
						to(second.URL+"/other")(w, r)
					case "/back-again":
						to(evil.URL+"/challenge")(w, r)
					}
				})
				secure := &site{}
				tls = httptest.NewTLSServer(secure.record(to(evil.URL + "/plain")))
				t.Cleanup(tls.Close)

				auth := &tokens{header: header}
				tr := newTransport(t, auth, TransportConfig{Origins: []string{home.URL, second.URL, tls.URL}, Header: header, Base: tls.Client().Transport})
				client := &http.Client{Transport: tr}
				for _, start := range []string{home.URL + "/start", tls.URL + "/start"} {
					resp, err := client.Do(newRequest(t, "POST", start, strings.NewReader("body")))
					if err != nil {
						t.Fatal(err)
					}
					_ = resp.Body.Close()
					if resp.StatusCode != 401 || resp.Request.URL.Path != "/challenge" {
						t.Errorf("%s ended with %d of %s, want the 401 of /challenge", start, resp.StatusCode, resp.Request.URL)
					}
					for r := resp.Request; r != nil; r = r.Response.Request {
						if strings.Contains(fmt.Sprint(r.Header), tokenMark) {
							t.Errorf("the credential can be read in the request for %s", r.URL)
						}
						if r.Response == nil {
							break
						}
					}
				}
				for name, s := range map[string]*site{"home": home, "second": second, "tls": secure} {
					for _, dump := range s.log() {
						if strings.Count(dump, tokenMark) != 1 {
							t.Errorf("%s got %q, want one credential", name, dump)
						}
					}
				}
				if n := len(home.log()); n != 6 {
					t.Errorf("home saw %d requests, want 6", n)
				}
				for _, dump := range evil.log() {
					if strings.Contains(dump, tokenMark) {
						t.Errorf("elsewhere got %q", dump)
					}
				}
				if n := len(evil.log()); n != 5 {
					t.Errorf("elsewhere saw %d requests, want 5", n)
				}
				if n := auth.refused.Load(); n != 0 {
					t.Errorf("Refused was called %d times for a 401 from elsewhere, want 0", n)
				}
				if n := auth.made.Load(); n != 9 {
					t.Errorf("Authenticate was called %d times, want 9: once a hop at home", n)
				}
			})
		}
	}
}

// R28: a request that began with the caller's own credential keeps it within its
// origin, loses it on the way out, and never gets ours in its place.
func TestR28_RedirectsOfKeptCredentials(t *testing.T) {
	var home, second, evil *site
	evil = newSite(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, home.URL+"/end", http.StatusFound) })
	second = newSite(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, evil.URL, http.StatusFound) })
	home = newSite(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/start":
			http.Redirect(w, r, "/same", http.StatusFound)
		case "/same":
			http.Redirect(w, r, second.URL, http.StatusFound)
		}
	})
	auth := &tokens{header: "X-Chap"}
	tr := newTransport(t, auth, TransportConfig{Origins: []string{home.URL, second.URL}, Header: "X-Chap"})
	req := newRequest(t, "GET", home.URL+"/start", nil)
	req.Header.Set("X-Chap", "own")
	resp, err := (&http.Client{Transport: tr}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	for i, dump := range home.log() {
		if !strings.Contains(dump, "X-Chap: own\r\n") {
			t.Errorf("request %d at home is %q, want the caller's own credential", i, dump)
		}
	}
	if len(home.log()) != 3 || len(second.log()) != 1 || len(evil.log()) != 1 {
		t.Fatalf("requests = %d, %d, %d; want 3, 1, 1", len(home.log()), len(second.log()), len(evil.log()))
	}
	for _, dump := range append(second.log(), evil.log()...) {
		if strings.Contains(dump, "X-Chap") {
			t.Errorf("another origin got %q", dump)
		}
	}
	if n := auth.made.Load(); n != 0 {
		t.Errorf("Authenticate was called %d times, want 0", n)
	}
}

// R28: on a hop, a header that the caller did not write is not the caller's.
func TestR28_RedirectCannotChooseTheCredential(t *testing.T) {
	for _, exists := range []Existing{Keep, Replace} {
		var home *site
		home = newSite(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/start" { // net/http makes an Authorization header of this
				http.Redirect(w, r, strings.Replace(home.URL, "://", "://evil:evil@", 1)+"/end", http.StatusFound)
			}
		})
		tr := newTransport(t, &tokens{}, TransportConfig{Origins: []string{home.URL}, OnExisting: exists})
		resp, err := (&http.Client{Transport: tr}).Do(newRequest(t, "GET", home.URL+"/start", nil))
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if log := home.log(); len(log) != 2 || !strings.Contains(log[1], bearer(0)) || strings.Contains(log[1], "Basic") {
			t.Errorf("%v: home saw %q, want our credential on both", exists, log)
		}
	}
}

// A caller who ties a request to its own response gets no endless loop.
func TestR28_RedirectChainInALoop(t *testing.T) {
	tr := newTransport(t, &tokens{}, TransportConfig{Base: answer(200)})
	req := newRequest(t, "GET", "https://api.example", nil)
	req.Response = &http.Response{Request: req}
	if _, err := tr.RoundTrip(req); err != nil {
		t.Error(err)
	}
}

// R28: a direct request elsewhere is not sent, and its error tells nothing of path and query.
func TestR28_DirectRequestElsewhere(t *testing.T) {
	for _, target := range []string{
		"https://evil.example/hush?hush=hush#hush",
		"http://api.example/hush",
		"https://api.example:444/hush",
		"https://sub.api.example/hush",
		"https://example/hush",
		"https://api.example.evil.example/hush",
		"https://user:hush@evil.example/hush",
		"https://api.example@evil.example/hush",
		"https://api.example%2eevil.example/hush",
		"/hush",
	} {
		t.Run(target, func(t *testing.T) {
			u, err := url.Parse(target)
			if err != nil {
				return // so nobody can ask for it
			}
			b := newBody("body")
			auth := &tokens{}
			tr := newTransport(t, auth, TransportConfig{Base: untouchable(t)})
			resp, err := tr.RoundTrip((&http.Request{Method: "POST", URL: u, Body: b}).WithContext(t.Context()))
			oe, ok := errors.AsType[*OriginError](err)
			if !ok || resp != nil {
				t.Fatalf("RoundTrip = %v, %v; want an *OriginError", resp, err)
			}
			if strings.Contains(err.Error(), "hush") || len(oe.Allowed) != 1 || oe.Allowed[0] != "https://api.example" {
				t.Errorf("error = %v, allowed %q", err, oe.Allowed)
			}
			if b.closed != 1 || auth.made.Load() != 0 {
				t.Errorf("body closed %d times, Authenticate called %d times; want 1, 0", b.closed, auth.made.Load())
			}
		})
	}
}

// R28: the same origin in other words is the same origin.
func TestR28_DirectRequestInOtherWords(t *testing.T) {
	tr := newTransport(t, &tokens{}, TransportConfig{Base: answer(200)})
	for _, u := range []url.URL{
		{Scheme: "https", Host: "api.example:443"}, {Scheme: "HTTPS", Host: "API.Example."}, {Scheme: "https", Host: "api.example:0443"},
		{Scheme: "https", Host: "api.example", Opaque: "//api.example/%2F"},
	} {
		if _, err := tr.RoundTrip((&http.Request{Method: "GET", URL: &u}).WithContext(t.Context())); err != nil {
			t.Errorf("%v: %v", &u, err)
		}
	}
}

// R28: OnExisting says what happens to a request that carries the header already.
func TestR28_OnExisting(t *testing.T) {
	for _, tc := range []struct {
		name   string
		exists Existing
		header http.Header
		want   string // the header as sent, or "refused"
	}{
		{"keep", Keep, http.Header{"Authorization": {"own"}}, "own"},
		{"keep none", Keep, http.Header{}, bearer(0)},
		{"keep an empty value", Keep, http.Header{"Authorization": {""}}, ""},
		{"keep an empty list", Keep, http.Header{"Authorization": nil}, ""},
		{"keep in another case", Keep, http.Header{"authorization": {"own"}}, "own"},
		{"replace", Replace, http.Header{"Authorization": {"own"}}, bearer(0)},
		{"replace several", Replace, http.Header{"Authorization": {"own", "too"}}, bearer(0)},
		{"replace in another case", Replace, http.Header{"authorization": {"own"}, "AUTHORIZATION": {"own"}}, bearer(0)},
		{"replace an empty list", Replace, http.Header{"Authorization": nil}, bearer(0)},
		{"refuse", Refuse, http.Header{"Authorization": {"own"}}, "refused"},
		{"refuse in another case", Refuse, http.Header{"authorization": {"own"}}, "refused"},
		{"refuse an empty list", Refuse, http.Header{"Authorization": {}}, "refused"},
		{"refuse none", Refuse, http.Header{"Proxy-Authorization": {"own"}}, bearer(0)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var sent []string
			auth := &tokens{}
			tr := newTransport(t, auth, TransportConfig{OnExisting: tc.exists, Base: baseFunc(func(out *http.Request) (*http.Response, error) {
				for k, v := range out.Header {
					if strings.EqualFold(k, "Authorization") {
						sent = append(sent, v...)
					}
				}
				return answer(401)(out)
			})})
			b := newBody("")
			req := newRequest(t, "POST", "https://api.example", b)
			req.Header = tc.header
			_, err := tr.RoundTrip(req)
			if tc.want == "refused" {
				ee, ok := errors.AsType[*ExistingCredentialError](err)
				if !ok || ee.Header != "Authorization" || ee.Origin != "https://api.example" || sent != nil || b.closed != 1 || strings.Contains(err.Error(), "own") {
					t.Errorf("err = %v, sent %q, body closed %d times", err, sent, b.closed)
				}
				return
			}
			if err != nil || strings.Join(sent, ",") != tc.want {
				t.Errorf("sent %q, %v; want %q", sent, err, tc.want)
			}
			if ours := tc.want == bearer(0); ours != (auth.refused.Load() == 1) {
				t.Errorf("Refused was called %d times for the 401 of %q", auth.refused.Load(), tc.want)
			}
		})
	}
}

// R28: what cannot work is found at construction, and says which field it is.
func TestR28_ConfigErrors(t *testing.T) {
	ok := []string{"https://api.example"}
	var none *TokenSource
	for _, tc := range []struct {
		name  string
		auth  Authenticator
		cfg   TransportConfig
		field string
	}{
		{"no authenticator", nil, TransportConfig{Origins: ok}, "Authenticator"},
		{"nil TokenSource", none, TransportConfig{Origins: ok}, "Authenticator"},
		{"zero PerOrigin", &PerOrigin{}, TransportConfig{Origins: ok}, "PerOrigin.Manager"},
		{"nil PerOrigin", (*PerOrigin)(nil), TransportConfig{Origins: ok}, "PerOrigin"},
		{"no origins", &tokens{}, TransportConfig{}, "TransportConfig.Origins"},
		{"bad origin", &tokens{}, TransportConfig{Origins: []string{ok[0], "https://me:hush@b.example"}}, "TransportConfig.Origins[1]"},
		{"plaintext", &tokens{}, TransportConfig{Origins: []string{"http://api.example"}}, "TransportConfig.Origins[0]"},
		{"plaintext on another port", &tokens{}, TransportConfig{Origins: []string{"http://api.example:81"}, AllowPlaintext: []string{"http://api.example"}}, "TransportConfig.Origins[0]"},
		{"plaintext that is not", &tokens{}, TransportConfig{Origins: ok, AllowPlaintext: ok}, "TransportConfig.AllowPlaintext[0]"},
		{"bad plaintext", &tokens{}, TransportConfig{Origins: ok, AllowPlaintext: []string{"api.example"}}, "TransportConfig.AllowPlaintext[0]"},
		{"header", &tokens{}, TransportConfig{Origins: ok, Header: "X Auth"}, "TransportConfig.Header"},
		{"header with a line break", &tokens{}, TransportConfig{Origins: ok, Header: "X\r\nY"}, "TransportConfig.Header"},
		{"OnExisting", &tokens{}, TransportConfig{Origins: ok, OnExisting: 3}, "TransportConfig.OnExisting"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tr, err := NewTransport(tc.auth, tc.cfg)
			ce, ok := errors.AsType[*ConfigError](err)
			if !ok || ce.Field != tc.field || tr != nil || strings.Contains(err.Error(), "hush") {
				t.Errorf("NewTransport = %v, %v; want a *ConfigError for %s", tr, err, tc.field)
			}
		})
	}
	if tr := newTransport(t, &tokens{}, TransportConfig{Header: "x-chap"}); tr.header != "X-Chap" {
		t.Errorf("header = %q, want it canonical", tr.header)
	}
	for _, cfg := range []TransportConfig{
		{Origins: []string{"http://api.example:80", "https://b.example"}, AllowPlaintext: []string{"http://API.example"}},
		{Origins: []string{"http://localhost:1", "http://[::1]:1", "http://127.0.0.1:1"}},
	} {
		if _, err := NewTransport(&tokens{}, cfg); err != nil {
			t.Errorf("NewTransport(%v): %v", cfg.Origins, err)
		}
	}
}

// A Transport that NewTransport did not make answers with an error, and closes the body.
func TestR28_ZeroTransport(t *testing.T) {
	for _, tr := range []*Transport{nil, {}} {
		b := newBody("")
		_, err := tr.RoundTrip(newRequest(t, "POST", "https://api.example", b))
		if _, ok := errors.AsType[*ConfigError](err); !ok || b.closed != 1 {
			t.Errorf("err = %v, body closed %d times", err, b.closed)
		}
		tr.CloseIdleConnections()
	}
	b := newBody("")
	_, err := newTransport(t, &tokens{}, TransportConfig{}).RoundTrip(&http.Request{Body: b})
	if _, ok := errors.AsType[*OriginError](err); !ok || b.closed != 1 {
		t.Errorf("without a URL: err = %v, body closed %d times", err, b.closed)
	}
}

// R29: a request is never sent without its credential because authentication failed.
func TestR29_AuthenticationFails(t *testing.T) {
	cause := errors.New("no token")
	tr := newTransport(t, authFuncs{authenticate: func(*http.Request) (Credential, error) { return nil, cause }}, TransportConfig{Base: untouchable(t)})
	b := newBody("body")
	resp, err := (&http.Client{Transport: tr}).Do(newRequest(t, "POST", "https://api.example", b))
	if !errors.Is(err, cause) || resp != nil || b.closed == 0 {
		t.Errorf("Do = %v, %v, body closed %d times; want the cause, once", resp, err, b.closed)
	}
}

// A panic in the Authenticator is not swallowed, and leaves nothing open.
func TestR29_AuthenticatorPanics(t *testing.T) {
	for _, in := range []string{"Authenticate", "Refused", "the second Authenticate"} {
		t.Run(in, func(t *testing.T) {
			calls := 0
			auth := authFuncs{
				authenticate: func(*http.Request) (Credential, error) {
					if calls++; in == "Authenticate" || calls == 2 {
						panic(in)
					}
					return nil, nil
				},
				refused: func(*http.Request, Credential, *http.Response) (bool, error) {
					if in == "Refused" {
						panic(in)
					}
					return true, nil
				},
			}
			b, again, of401 := newBody(""), newBody(""), newBody("")
			tr := newTransport(t, auth, TransportConfig{Base: baseFunc(func(out *http.Request) (*http.Response, error) {
				resp, err := answer(401)(out)
				resp.Body = of401
				return resp, err
			})})
			req := newRequest(t, "POST", "https://api.example", b)
			req.GetBody = func() (io.ReadCloser, error) { return again, nil }
			defer func() {
				if r := recover(); r != in {
					t.Errorf("recovered %v, want %s", r, in)
				}
				if b.closed != 1 || in != "Authenticate" && (again.closed != 1 || of401.closed != 1) {
					t.Errorf("bodies closed %d, %d, %d times; want 1 each", b.closed, again.closed, of401.closed)
				}
			}()
			_, _ = tr.RoundTrip(req)
		})
	}
}

// What the base returns comes through, sound or not.
func TestR28_BaseErrors(t *testing.T) {
	cause := errors.New("reset")
	tr := newTransport(t, &tokens{}, TransportConfig{Base: baseFunc(func(*http.Request) (*http.Response, error) { return nil, cause })})
	if resp, err := tr.RoundTrip(newRequest(t, "GET", "https://api.example", nil)); err != cause || resp != nil {
		t.Errorf("RoundTrip = %v, %v; want the base's error", resp, err)
	}
	tr = newTransport(t, &tokens{}, TransportConfig{Base: baseFunc(func(*http.Request) (*http.Response, error) { return nil, nil })})
	if resp, err := tr.RoundTrip(newRequest(t, "GET", "https://api.example", nil)); err != nil || resp != nil {
		t.Errorf("RoundTrip = %v, %v; want the base's nothing", resp, err)
	}
	tr = newTransport(t, &tokens{}, TransportConfig{Base: baseFunc(func(*http.Request) (*http.Response, error) { return &http.Response{StatusCode: 401}, nil })})
	if resp, err := tr.RoundTrip(newRequest(t, "GET", "https://api.example", nil)); err != nil || resp.StatusCode != 401 {
		t.Errorf("RoundTrip = %v, %v; want the second 401, without a body", resp, err)
	}
}

type idler struct {
	baseFunc
	closed int
}

func (i *idler) CloseIdleConnections() { i.closed++ }

func TestR28_CloseIdleConnectionsIsForwarded(t *testing.T) {
	base := &idler{baseFunc: answer(200)}
	(&http.Client{Transport: newTransport(t, &tokens{}, TransportConfig{Base: base})}).CloseIdleConnections()
	newTransport(t, &tokens{}, TransportConfig{Base: answer(200)}).CloseIdleConnections()
	if base.closed != 1 {
		t.Errorf("the base was asked %d times, want 1", base.closed)
	}
}

// The trailer is filled in while the body is read, so the copy must share it; on a replay too.
func TestR28_TrailersArrive(t *testing.T) {
	var trailers []string
	s := newSite(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		trailers = append(trailers, r.Trailer.Get("Sum"))
		if r.Header.Get("Authorization") == bearer(0) {
			w.WriteHeader(401)
		}
	})
	first := newRequest(t, "POST", s.URL, nil)
	first.Trailer = http.Header{"Sum": nil}
	req := first.Clone(t.Context())
	n := 0
	req.GetBody = func() (io.ReadCloser, error) {
		n++
		return io.NopCloser(io.MultiReader(strings.NewReader("body"), atEOF(func() { req.Trailer.Set("Sum", strconv.Itoa(n)) }))), nil
	}
	req.Body, _ = req.GetBody()
	req.ContentLength = -1
	resp, err := (&http.Client{Transport: newTransport(t, &tokens{}, TransportConfig{Origins: []string{s.URL}})}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != 200 || fmt.Sprint(trailers) != "[1 2]" {
		t.Errorf("status %d, trailers %v; want 200, [1 2]", resp.StatusCode, trailers)
	}
}

// atEOF is an empty reader that calls the function when it is read.
type atEOF func()

func (f atEOF) Read([]byte) (int, error) { f(); return 0, io.EOF }

// Below a reverse proxy: the client's own credential is replaced, ours
// does not come back to it, streams get the 401 at once and are right the next time.
func TestR28_ReverseProxy(t *testing.T) {
	auth := &tokens{}
	revoked := bearer(0)
	back := newSite(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		if got := r.Header.Values("Authorization"); len(got) != 1 || got[0] == revoked || !strings.Contains(got[0], tokenMark) {
			w.Header().Set("WWW-Authenticate", "Bearer")
			w.WriteHeader(401)
			return
		}
		_, _ = fmt.Fprintf(w, "%s %s", r.Method, b)
	})
	target, _ := url.Parse(back.URL)
	tr := newTransport(t, auth, TransportConfig{Origins: []string{back.URL}, OnExisting: Replace})
	proxy := httptest.NewServer(&httputil.ReverseProxy{
		Transport: tr,
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(target) },
		ModifyResponse: func(resp *http.Response) error {
			if strings.Contains(fmt.Sprint(resp.Request.Header), tokenMark) {
				t.Error("ModifyResponse can read the credential")
			}
			return nil
		},
	})
	t.Cleanup(proxy.Close)
	call := func(method, text string) (int, string) {
		req := newRequest(t, method, proxy.URL, strings.NewReader(text))
		if text == "" {
			req = newRequest(t, method, proxy.URL, nil)
		}
		req.Header.Set("Authorization", "Bearer chosen-by-the-client")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		dump, _ := httputil.DumpResponse(resp, true)
		if bytes.Contains(dump, []byte(tokenMark)) {
			t.Errorf("the credential came back: %q", dump)
		}
		return resp.StatusCode, string(dump[bytes.Index(dump, []byte("\r\n\r\n"))+4:])
	}
	if status, _ := call("POST", "stream"); status != 401 {
		t.Errorf("a stream with a revoked token = %d, want the server's own 401", status)
	}
	if status, got := call("POST", "stream"); status != 200 || got != "POST stream" {
		t.Errorf("the next stream = %d %q, want 200", status, got)
	}
	revoked = bearer(1)
	if status, got := call("GET", ""); status != 200 || got != "GET " {
		t.Errorf("a GET with a revoked token = %d %q, want 200 by a replay", status, got)
	}
	for _, dump := range back.log() {
		if strings.Contains(dump, "chosen-by-the-client") {
			t.Errorf("the client's credential went through: %q", dump)
		}
	}
}

// Two Transports on top of each other put two credentials on a request.
func TestR28_TransportsNest(t *testing.T) {
	var got http.Header
	inner := newTransport(t, &tokens{header: "X-Two"}, TransportConfig{Header: "X-Two", Base: baseFunc(func(out *http.Request) (*http.Response, error) {
		got = maps.Clone(out.Header)
		return answer(200)(out)
	})})
	outer := newTransport(t, &tokens{}, TransportConfig{Base: inner})
	req := newRequest(t, "GET", "https://api.example", nil)
	resp, err := outer.RoundTrip(req)
	if err != nil || got.Get("Authorization") == "" || got.Get("X-Two") == "" || resp.Request != req {
		t.Errorf("sent %v, %v; want two credentials", got, err)
	}
}

func TestExistingString(t *testing.T) {
	if got := fmt.Sprint(Keep, Replace, Refuse, Existing(9)); got != "Keep Replace Refuse Existing(9)" {
		t.Errorf("names = %s", got)
	}
}
