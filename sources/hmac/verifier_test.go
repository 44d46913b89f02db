package hmac

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/clock"
	"github.com/seed-f29168f7/renew/renewtest"
	"github.com/seed-f29168f7/renew/sources/internal/leaktest"
)

// signed returns a request as a server receives it.
func signed(t testing.TB, s *Signer, method, target, body string) *http.Request {
	t.Helper()
	out, err := http.NewRequest(method, "https://api.example"+target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Authenticate(out); err != nil {
		t.Fatal(err)
	}
	in := httptest.NewRequest(method, target, strings.NewReader(body))
	in.Host, in.Header = "api.example", out.Header
	return in
}

// code returns the code of a refusal, its status where it has none, and "taken" for none.
func code(err error) string {
	e, ok := errors.AsType[*VerifyError](err)
	switch {
	case err == nil:
		return "taken"
	case !ok:
		return "another error: " + err.Error()
	case e.Code != "":
		return e.Code
	}
	return fmt.Sprint(e.Status)
}

// What an attacker may do to a request that was signed. All but the first must be refused.
func TestHmac_Attacks(t *testing.T) {
	set := func(name string, values ...string) func(*http.Request) {
		return func(r *http.Request) { r.Header[http.CanonicalHeaderKey(name)] = values }
	}
	add := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Add(name, value) }
	}
	path := func(target string) func(*http.Request) {
		return func(r *http.Request) {
			u, err := url.ParseRequestURI(target)
			if err != nil {
				t.Fatal(err)
			}
			r.URL = u
		}
	}
	for _, tt := range []struct {
		name   string
		change func(*http.Request)
		want   string
	}{
		{"nothing", func(*http.Request) {}, "taken"},
		{"a header that is not covered", add("X-Other", "1"), "taken"},
		{"parameters of different names exchanged", path("/a/b%2Fc/d?y=3&x=1&x=2"), "taken"},
		{"host in capitals", func(r *http.Request) { r.Host = "API.example" }, "taken"},
		{"method", func(r *http.Request) { r.Method = "PUT" }, "invalid_signature"},
		{"method in small letters", func(r *http.Request) { r.Method = "post" }, "invalid_signature"},
		{"path", path("/a/b%2Fd/d?x=1&x=2&y=3"), "invalid_signature"},
		{"escaped slash opened", path("/a/b/c/d?x=1&x=2&y=3"), "invalid_signature"},
		{"escaped slash in small letters", path("/a/b%2fc/d?x=1&x=2&y=3"), "invalid_signature"},
		{"slash escaped", path("/a%2Fb%2Fc/d?x=1&x=2&y=3"), "invalid_signature"},
		{"dot segments", path("/a/./b%2Fc/d?x=1&x=2&y=3"), "invalid_signature"},
		{"up and down", path("/a/x/../b%2Fc/d?x=1&x=2&y=3"), "invalid_signature"},
		{"doubled slash", path("//a/b%2Fc/d?x=1&x=2&y=3"), "invalid_signature"},
		{"slash at the end", path("/a/b%2Fc/d/?x=1&x=2&y=3"), "invalid_signature"},
		{"letter escaped", path("/%61/b%2Fc/d?x=1&x=2&y=3"), "invalid_signature"},
		{"duplicates exchanged", path("/a/b%2Fc/d?x=2&x=1&y=3"), "invalid_signature"},
		{"parameter more", path("/a/b%2Fc/d?x=1&x=2&y=3&z="), "invalid_signature"},
		{"parameter less", path("/a/b%2Fc/d?x=1&x=2"), "invalid_signature"},
		{"parameter joined", path("/a/b%2Fc/d?x=1%26x%3D2&y=3"), "invalid_signature"},
		{"query moved into the path", path("/a/b%2Fc/d%3Fx=1&x=2&y=3"), "invalid_signature"},
		{"semicolon", path("/a/b%2Fc/d?x=1&x=2&y=3;z=1"), "invalid_signature"},
		{"malformed query", path("/a/b%2Fc/d?x=1&x=2&y=3&%zz"), "invalid_signature"},
		{"host", func(r *http.Request) { r.Host = "api.example:443" }, "invalid_signature"},
		{"another host", func(r *http.Request) { r.Host = "evil.example" }, "invalid_signature"},
		{"host with a line break", func(r *http.Request) { r.Host = "api.example\n" }, "invalid_signature"},
		{"path with a line break", func(r *http.Request) { r.URL.Path, r.URL.RawPath = "/a\n", "" }, "invalid_signature"},
		{"method with a line break", func(r *http.Request) { r.Method = "POST\n/a" }, "invalid_signature"},
		{"body", func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader("other")) }, "invalid_signature"},
		{"body with a line break", func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader("the body\n")) }, "invalid_signature"},
		{"no body", func(r *http.Request) { r.Body = http.NoBody }, "invalid_signature"},
		{"no signature", set("X-HMAC"), "invalid_signature"},
		{"empty signature", set("X-HMAC", ""), "invalid_signature"},
		{"signature twice", func(r *http.Request) { r.Header.Add("X-HMAC", r.Header.Get("X-HMAC")) }, "invalid_signature"},
		{"signature shortened", func(r *http.Request) { r.Header.Set("X-HMAC", r.Header.Get("X-HMAC")[:32]) }, "invalid_signature"},
		{"the last digit of the signature", func(r *http.Request) {
			text := r.Header.Get("X-HMAC")
			digit := "0"
			if strings.HasSuffix(text, digit) {
				digit = "1"
			}
			r.Header.Set("X-HMAC", text[:len(text)-1]+digit)
		}, "invalid_signature"},
		{"the signature longer", func(r *http.Request) { r.Header.Set("X-HMAC", r.Header.Get("X-HMAC")+"00") }, "invalid_signature"},
		{"signature with a line break", func(r *http.Request) { r.Header.Set("X-HMAC", r.Header.Get("X-HMAC")+"\n") }, "invalid_signature"},
		{"no date", set("X-HMAC-Date"), "invalid_signature"},
		{"two dates", add("X-HMAC-Date", "2026-01-02T03:04:05Z"), "invalid_signature"},
		{"two dates in one field", func(r *http.Request) {
			r.Header.Set("X-HMAC-Date", r.Header.Get("X-HMAC-Date")+", 2026-01-02T03:04:05Z")
		}, "invalid_signature"},
		{"a Date beside ours", add("Date", "Fri, 02 Jan 2026 03:04:05 GMT"), "taken"},
		{"the same moment written differently", func(r *http.Request) {
			at, _ := time.Parse(time.RFC3339Nano, r.Header.Get("X-HMAC-Date"))
			r.Header.Set("X-HMAC-Date", at.In(time.FixedZone("", 3600)).Format(time.RFC3339Nano))
		}, "invalid_signature"},
		{"a later date", set("X-HMAC-Date", start.Add(time.Minute).UTC().Format(time.RFC3339Nano)), "invalid_signature"},
		{"no key id", set("X-HMAC-Key-Id"), "invalid_signature"},
		{"two key ids", add("X-HMAC-Key-Id", "k1"), "invalid_signature"},
		{"unknown key id", set("X-HMAC-Key-Id", "k9"), "invalid_signature"},
		{"key id of another key", set("X-HMAC-Key-Id", "k2"), "invalid_signature"},
		{"key id with a line break", set("X-HMAC-Key-Id", "k1\n"), "invalid_signature"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			clk := clock.NewFake(start)
			v := testVerifier(clk)
			v.Keys["k2"] = renew.NewSecret("another secret of that server")
			r := signed(t, testSigner(clk), "POST", "/a/b%2Fc/d?x=1&x=2&y=3", "the body")
			tt.change(r)
			id, err := v.Verify(r)
			if got := code(err); got != tt.want || err == nil && id != "k1" {
				t.Errorf("Verify = %q, %v; want %s", id, err, tt.want)
			}
			leaktest.Check(t, err, testSecret, "the body", r.Header.Get("X-HMAC"))
		})
	}
}

func TestWindow(t *testing.T) {
	for _, tt := range []struct {
		window, late time.Duration
		want         string
	}{
		{0, 5 * time.Minute, "taken"},
		{0, 5*time.Minute + 1, "time"},
		{0, -5 * time.Minute, "taken"},
		{0, -5*time.Minute - 1, "time"},
		{time.Second, time.Second, "taken"},
		{time.Second, 2 * time.Second, "time"},
		{0, 290 * 365 * 24 * time.Hour, "time"},
	} {
		v := testVerifier(clock.NewFake(start.Add(tt.late)))
		v.Window = tt.window
		_, err := v.Verify(signed(t, testSigner(clock.NewFake(start)), "GET", "/", ""))
		if got := code(err); got != tt.want {
			t.Errorf("window %v, %v late: %s, want %s", tt.window, tt.late, got, tt.want)
		}
	}
}

// A signature is taken once, for as long as its date is in the window, whatever the wall clock does.
func TestReplay(t *testing.T) {
	clk := clock.NewFake(start)
	v, s := testVerifier(clk), testSigner(clk)
	r := signed(t, s, "POST", "/", "x")
	again := func() string {
		c := r.Clone(t.Context())
		c.Body = io.NopCloser(strings.NewReader("x"))
		_, err := v.Verify(c)
		return code(err)
	}
	steps := []struct {
		after time.Duration
		want  string
	}{{0, "taken"}, {0, "replayed"}, {5 * time.Minute, "replayed"}, {1, "time"}}
	for _, st := range steps {
		clk.Advance(st.after)
		if got := again(); got != st.want {
			t.Errorf("at %v: %s, want %s", clk.Now().Wall.Sub(start), got, st.want)
		}
	}
	r = signed(t, s, "POST", "/", "x")
	first := again()
	clk.StepWall(time.Hour)
	middle := again()
	clk.StepWall(-time.Hour)
	if last := again(); first != "taken" || middle != "time" || last != "replayed" {
		t.Errorf("with a clock that steps away and back: %s, %s, %s", first, middle, last)
	}
	capital := signed(t, s, "POST", "/", "x")
	if _, err := v.Verify(capital); err != nil {
		t.Fatal(err)
	}
	capital.Header.Set("X-HMAC", strings.ToUpper(capital.Header.Get("X-HMAC")))
	if _, err := v.Verify(capital); code(err) != "replayed" {
		t.Errorf("in capitals: %v, want replayed", err)
	}
}

// slowBody lets time pass while it is read: an attacker may send the last byte when he likes.
type slowBody struct {
	io.Reader
	pass func()
}

func (b slowBody) Read(p []byte) (int, error) {
	b.pass()
	return b.Reader.Read(p)
}

// A copy whose body ends after its date has left the window, and the memory, is not taken.
func TestHmac_ReplayByASlowBody(t *testing.T) {
	clk := clock.NewFake(start)
	v, s := testVerifier(clk), testSigner(clk)
	r := signed(t, s, "POST", "/", "x")
	c := r.Clone(t.Context())
	if _, err := v.Verify(r); err != nil {
		t.Fatal(err)
	}
	c.Body = io.NopCloser(slowBody{strings.NewReader("x"), func() {
		clk.Advance(10 * time.Minute)
		if _, err := v.Verify(signed(t, s, "GET", "/", "")); err != nil {
			t.Error(err)
		}
	}})
	if _, err := v.Verify(c); code(err) != "time" {
		t.Errorf("%v, want time", err)
	}
}

// A clock that is set back makes dates good again: what was taken is remembered for as long.
func TestHmac_ReplayAfterTheClockIsSetBack(t *testing.T) {
	for _, back := range []time.Duration{10 * time.Second, time.Hour} {
		clk := clock.NewFake(start)
		v, s := testVerifier(clk), testSigner(clk)
		r := signed(t, s, "POST", "/", "x")
		c := r.Clone(t.Context())
		c.Body = io.NopCloser(strings.NewReader("x"))
		if _, err := v.Verify(r); err != nil {
			t.Fatal(err)
		}
		clk.StepWall(-back)
		clk.Advance(back + 5*time.Minute)
		if _, err := v.Verify(c); code(err) != "replayed" {
			t.Errorf("%v back: %v, want replayed", back, err)
		}
	}
}

// The memory of signatures is bounded, is not filled by strangers, and empties by itself.
func TestReplayMemoryIsBounded(t *testing.T) {
	clk := clock.NewFake(start)
	v, s := testVerifier(clk), testSigner(clk)
	v.MaxRemembered = 3
	stranger := testSigner(clk)
	stranger.Secret = renew.NewSecret("a guess")
	for range 10 {
		if _, err := v.Verify(signed(t, stranger, "GET", "/", "")); code(err) != "invalid_signature" {
			t.Fatal(err)
		}
	}
	var got []string
	for range 5 {
		_, err := v.Verify(signed(t, s, "GET", "/", ""))
		got = append(got, code(err))
	}
	if want := "[taken taken taken 503 503]"; fmt.Sprint(got) != want {
		t.Errorf("%v, want %s", got, want)
	}
	clk.Advance(5*time.Minute + time.Microsecond)
	if _, err := v.Verify(signed(t, s, "GET", "/", "")); err != nil {
		t.Errorf("after the window: %v", err)
	}
}

// Many copies of one request at once: one is taken.
func TestReplayRace(t *testing.T) {
	clk := clock.NewFake(start)
	v := testVerifier(clk)
	r := signed(t, testSigner(clk), "POST", "/", "x")
	var taken atomic.Int32
	var wg sync.WaitGroup
	for range 16 {
		c := r.Clone(t.Context())
		c.Body = io.NopCloser(strings.NewReader("x"))
		wg.Go(func() {
			if _, err := v.Verify(c); err == nil {
				taken.Add(1)
			}
		})
	}
	wg.Wait()
	if taken.Load() != 1 {
		t.Errorf("%d of 16 copies taken, want 1", taken.Load())
	}
}

func TestRotation(t *testing.T) {
	clk := clock.NewFake(start)
	old, next := renew.NewSecret("the old secret"), renew.NewSecret("the new secret")
	v := &Verifier{Keys: map[string]renew.Secret{"2025": old, "2026": next}, Clock: clk}
	h, err := v.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, ok := KeyID(r.Context())
		_, _ = fmt.Fprint(w, id, ok)
	}))
	if err != nil {
		t.Fatal(err)
	}
	for id, secret := range v.Keys {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, signed(t, &Signer{KeyID: id, Secret: secret, Clock: clk}, "GET", "/", ""))
		if w.Code != http.StatusOK || w.Body.String() != id+"true" {
			t.Errorf("%s: %d %s", id, w.Code, w.Body)
		}
	}
	if id, ok := KeyID(t.Context()); ok || id != "" {
		t.Error("a context without a key id has one")
	}
	// Plain requests without a key id are tried with each.
	plain := Wire{Form: Plain}
	v = &Verifier{Wire: plain, Keys: map[string]renew.Secret{"2025": old, "2026": next}}
	for id, secret := range v.Keys {
		if got, err := v.Verify(signed(t, &Signer{Wire: plain, Secret: secret}, "POST", "/", "x")); got != id || err != nil {
			t.Errorf("plain, %s: %q, %v", id, got, err)
		}
	}
	if _, err := v.Verify(signed(t, &Signer{Wire: plain, Secret: renew.NewSecret("a guess")}, "POST", "/", "x")); code(err) != "invalid_signature" {
		t.Errorf("plain, a guess: %v", err)
	}
}

func TestKeyFunc(t *testing.T) {
	clk := clock.NewFake(start)
	v := &Verifier{Clock: clk, KeyFunc: func(_ context.Context, id string) (renew.Secret, error) {
		switch id {
		case "k1":
			return renew.NewSecret(testSecret), nil
		case "broken":
			return renew.Secret{}, errors.New("the database of " + testSecret)
		}
		return renew.Secret{}, nil
	}}
	for id, want := range map[string]string{"k1": "taken", "broken": "503", "k9": "invalid_signature"} {
		_, err := v.Verify(signed(t, &Signer{KeyID: id, Secret: renew.NewSecret(testSecret), Clock: clk}, "GET", "/", ""))
		if got := code(err); got != want {
			t.Errorf("%s: %s, want %s", id, got, want)
		}
		leaktest.Check(t, err, testSecret)
	}
}

func TestHosts(t *testing.T) {
	clk := clock.NewFake(start)
	for want, hosts := range map[string][]string{"taken": {"x.example", "API.example"}, "invalid_signature": {"api.example:443"}} {
		v := testVerifier(clk)
		v.Hosts = hosts
		if _, err := v.Verify(signed(t, testSigner(clk), "GET", "/", "")); code(err) != want {
			t.Errorf("%v: %v, want %s", hosts, err, want)
		}
	}
}

// A body that is too long or breaks off is refused, and is not read without end.
func TestBodyIsBounded(t *testing.T) {
	clk := clock.NewFake(start)
	for _, tt := range []struct {
		name string
		body io.Reader
		want string
	}{
		{"at the limit", strings.NewReader("12345678"), "taken"},
		{"beyond it", strings.NewReader("123456789"), "413"},
		{"without end", endless{}, "413"},
		{"broken", iotest.ErrReader(errors.New(testSecret)), "400"},
	} {
		v := testVerifier(clk)
		v.MaxBody = 8
		r := signed(t, testSigner(clk), "POST", "/", "12345678")
		r.Body = io.NopCloser(tt.body)
		_, err := v.Verify(r)
		if got := code(err); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
		leaktest.Check(t, err, testSecret)
	}
	// What is refused by its headers has its body left unread.
	r := signed(t, testSigner(clk), "POST", "/", "")
	r.Header.Set("X-HMAC-Key-Id", "k9")
	r.Body = io.NopCloser(iotest.ErrReader(errors.New("it was read")))
	if _, err := testVerifier(clk).Verify(r); code(err) != "invalid_signature" {
		t.Errorf("the body of an unknown key: %v", err)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// Message gets the body by either way, and the handler gets it once more.
func TestMessage(t *testing.T) {
	wire := Wire{Form: Plain}
	for name, open := range map[string]func(*http.Request) (io.ReadCloser, error){
		"GetBody": func(r *http.Request) (io.ReadCloser, error) { return r.GetBody() },
		"Body":    func(r *http.Request) (io.ReadCloser, error) { return r.Body, nil },
	} {
		v := &Verifier{Wire: wire, Keys: map[string]renew.Secret{"": renew.NewSecret(testSecret)}, Message: func(r *http.Request) ([]byte, error) {
			body, err := open(r)
			if err != nil {
				return nil, err
			}
			text, err := io.ReadAll(body)
			return append([]byte(r.URL.Path+" "), text...), err
		}}
		s := &Signer{Wire: wire, Secret: renew.NewSecret(testSecret), Message: func(r *http.Request) ([]byte, error) { return []byte(r.URL.Path + " the body"), nil }}
		r := signed(t, s, "POST", "/p", "the body")
		if _, err := v.Verify(r); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if text, err := io.ReadAll(r.Body); string(text) != "the body" || err != nil {
			t.Errorf("%s: the handler reads %q, %v", name, text, err)
		}
	}
	v := &Verifier{Wire: wire, Keys: map[string]renew.Secret{"": renew.NewSecret(testSecret)}, Message: func(*http.Request) ([]byte, error) { return nil, errors.New(testSecret) }}
	_, err := v.Verify(signed(t, &Signer{Wire: wire, Secret: renew.NewSecret(testSecret)}, "POST", "/p", ""))
	if code(err) != "400" {
		t.Errorf("a Message that fails: %v", err)
	}
	leaktest.Check(t, err, testSecret)
}

// Through a real server: bytes on the wire, as an attacker writes them.
func TestServer(t *testing.T) {
	var why atomic.Value
	v := testVerifier(nil)
	v.OnRefusal = func(_ *http.Request, err *VerifyError) { why.Store(err.Reason) }
	h, err := v.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		id, _ := KeyID(r.Context())
		_, _ = fmt.Fprintf(w, "%s %s %d %q", id, r.URL.EscapedPath(), r.ContentLength, body)
	}))
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(h)
	defer srv.Close()
	host := strings.TrimPrefix(srv.URL, "http://")
	raw := func(target, body string, lines ...string) *http.Response {
		u, err := url.ParseRequestURI(target)
		if err != nil {
			t.Fatal(err)
		}
		req := &http.Request{Method: "POST", Host: host, URL: u, Header: http.Header{}}
		if body != "" {
			req.Body = io.NopCloser(strings.NewReader(body))
			req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(body)), nil }
		}
		if _, err := testSigner(nil).Authenticate(req); err != nil {
			t.Fatal(err)
		}
		conn, err := net.Dial("tcp", host)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		text := "POST " + target + " HTTP/1.1\r\n" + strings.Join(lines, "\r\n") + "\r\n"
		for name, values := range req.Header {
			text += name + ": " + values[0] + "\r\n"
		}
		_, _ = fmt.Fprintf(conn, "%sContent-Length: %d\r\nConnection: close\r\n\r\n%s", text, len(body), body)
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		return resp
	}
	for _, tt := range []struct {
		name, target, body string
		lines              []string
		status             int
		want               string
	}{
		{"good", "/a%2Fb//c/../d?x=1&x=2", "hello", []string{"Host: " + host}, 200, `k1 /a%2Fb//c/../d 5 "hello"`},
		{"no body", "//", "", []string{"Host: " + host}, 200, `k1 // 0 ""`},
		{"two hosts", "/", "", []string{"Host: " + host, "Host: evil.example"}, 400, "400 Bad Request"},
		{"another host", "/", "", []string{"Host: evil.example"}, 401, "Unauthorized\n"},
		{"our headers twice", "/", "", []string{"Host: " + host, "x-hmac-date: 2026-01-02T03:04:05Z"}, 401, "Unauthorized\n"},
		{"our headers twice, in other letters", "/", "", []string{"Host: " + host, "X-HMAC-KEY-ID: k1"}, 401, "Unauthorized\n"},
	} {
		resp := raw(tt.target, tt.body, tt.lines...)
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != tt.status || string(body) != tt.want {
			t.Errorf("%s: %d %q, %v; want %d %q (%v)", tt.name, resp.StatusCode, body, err, tt.status, tt.want, why.Load())
		}
		if challenge := resp.Header.Get("WWW-Authenticate"); (tt.status == 401) != (challenge == `HMAC error="invalid_signature"`) {
			t.Errorf("%s: WWW-Authenticate %q", tt.name, challenge)
		}
		if found := renewtest.Leaks(fmt.Sprint(resp.Header, string(body)), testSecret); found != nil {
			t.Errorf("%s: the answer shows %v", tt.name, found)
		}
	}
}

func TestR23_VerifierValidate(t *testing.T) {
	keys := map[string]renew.Secret{"k": renew.NewSecret(testSecret)}
	ask := func(context.Context, string) (renew.Secret, error) { return renew.Secret{}, nil }
	message := func(*http.Request) ([]byte, error) { return nil, nil }
	for _, tt := range []struct {
		v     *Verifier
		field string
	}{
		{&Verifier{Keys: keys}, ""},
		{&Verifier{KeyFunc: ask}, ""},
		{&Verifier{Wire: Wire{Form: Plain}, Keys: map[string]renew.Secret{"": renew.NewSecret("x")}, Message: message}, ""},
		{nil, "Verifier"},
		{&Verifier{}, "Verifier.Keys"},
		{&Verifier{Keys: keys, KeyFunc: ask}, "Verifier.Keys"},
		{&Verifier{Keys: map[string]renew.Secret{"k": {}}}, "Verifier.Keys"},
		{&Verifier{Keys: map[string]renew.Secret{"": renew.NewSecret("x")}}, "Verifier.Keys"},
		{&Verifier{Keys: map[string]renew.Secret{"a b": renew.NewSecret("x")}}, "Verifier.Keys"},
		{&Verifier{Keys: keys, Window: -1}, "Verifier.Window"},
		{&Verifier{Keys: keys, MaxBody: -1}, "Verifier.MaxBody"},
		{&Verifier{Keys: keys, MaxRemembered: -1}, "Verifier.MaxRemembered"},
		{&Verifier{Keys: keys, Message: message}, "Verifier.Message"},
		{&Verifier{Keys: keys, Wire: Wire{Form: Plain}, Hosts: []string{"a"}}, "Verifier.Hosts"},
		{&Verifier{Keys: keys, Wire: Wire{Algorithm: SHA1}}, "Verifier.Wire.Algorithm"},
	} {
		err := tt.v.Validate()
		got, _ := errors.AsType[*renew.ConfigError](err)
		if (err == nil) != (tt.field == "") || got != nil && got.Field != tt.field {
			t.Errorf("%v, want a ConfigError of %q", err, tt.field)
		}
		if _, herr := tt.v.Handler(http.NotFoundHandler()); (herr == nil) != (err == nil) {
			t.Errorf("Handler: %v, Validate: %v", herr, err)
		}
		_, verr := tt.v.Verify(httptest.NewRequest("GET", "/", nil))
		if _, is := errors.AsType[*renew.ConfigError](verr); is != (err != nil) {
			t.Errorf("Verify: %v, Validate: %v", verr, err)
		}
		leaktest.Check(t, err, testSecret)
		leaktest.Check(t, tt.v, testSecret)
	}
	if _, err := (&Verifier{Keys: keys}).Handler(nil); err == nil {
		t.Error("Handler takes nil")
	}
}
