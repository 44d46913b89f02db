package digest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/budget"
	"github.com/seed-f29168f7/renew/clock"
	"github.com/seed-f29168f7/renew/sources/internal/leaktest"
	"github.com/seed-f29168f7/renew/sources/internal/lockout"
)

// inProcess sends requests to a handler, without a network.
type inProcess struct {
	http.Handler
	delay time.Duration
	sent  atomic.Int32
}

func (h *inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	h.sent.Add(1)
	in := r.Clone(r.Context())
	in.RequestURI = r.URL.RequestURI()
	if in.Body == nil {
		in.Body = http.NoBody
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, in)
	_, _ = io.Copy(io.Discard, in.Body)
	_ = in.Body.Close()
	if h.delay > 0 {
		time.Sleep(h.delay)
	}
	return w.Result(), nil
}

const origin = "https://api.example"

func clientOf(t *testing.T, s *Signer, h *inProcess) *http.Client {
	t.Helper()
	tr, err := renew.NewTransport(s, renew.TransportConfig{Origins: []string{origin}, Base: h})
	if err != nil {
		t.Fatal(err)
	}
	return &http.Client{Transport: tr}
}

func get(c *http.Client, path string) (int, error) {
	resp, err := c.Get(origin + path)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err
}

func mustGet(t *testing.T, c *http.Client, path string) {
	t.Helper()
	if status, err := get(c, path); status != 200 || err != nil {
		t.Fatalf("%s: %d, %v", path, status, err)
	}
}

// 50 requests at once on nonces that are good for one each: all succeed, with and without nextnonce.
func TestR29_OneTimeNonces(t *testing.T) {
	for _, next := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			p := newPeer()
			p.oneTime, p.next, p.extra = true, next, `opaque="x"`
			h := &inProcess{Handler: p, delay: time.Second}
			c := clientOf(t, signerFor(p), h)
			for range 3 {
				var wg sync.WaitGroup
				for range 50 {
					wg.Go(func() {
						if status, err := get(c, "/"); status != 200 || err != nil {
							t.Errorf("%d, %v", status, err)
						}
					})
				}
				wg.Wait()
			}
			// Without nextnonce each request takes two; with it, only those of the first round do.
			if most := map[bool]int32{false: 300, true: 200}[next]; h.sent.Load() > most {
				t.Errorf("nextnonce %v: 150 requests took %d, want at most %d", next, h.sent.Load(), most)
			}
		})
	}
}

// The counts of one nonce rise, and no two requests have the same.
func TestR29_NonceCounts(t *testing.T) {
	p := newPeer()
	h := &inProcess{Handler: p}
	c := clientOf(t, signerFor(p), h)
	mustGet(t, c, "/first")
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() { mustGet(t, c, "/many?x=1") })
	}
	wg.Wait()
	if p.made != 1 || h.sent.Load() != 102 {
		t.Errorf("%d nonces and %d requests, want 1 and 102", p.made, h.sent.Load())
	}
}

// The same without the network between, so that many signatures are made at the same moment.
func TestR29_NonceCountsAtOnce(t *testing.T) {
	p := newPeer()
	s := signerFor(p)
	mustGet(t, clientOf(t, s, &inProcess{Handler: p}), "/first")
	const workers, each = 8, 3000
	headers := make([][each]string, workers)
	begin := make(chan struct{})
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			<-begin
			for i := range each {
				req := httptest.NewRequest("GET", origin+"/many", nil)
				cred, err := s.Authenticate(req)
				if err != nil {
					t.Error(err)
					return
				}
				s.Answered(req, cred, nil)
				headers[w][i] = req.Header.Get("Authorization")
			}
		})
	}
	close(begin)
	wg.Wait()
	seen := make(map[string]bool)
	for w := range workers {
		for _, h := range headers[w] {
			_, rest, ok := strings.Cut(h, ", nc=")
			if !ok || seen[rest[:8]] {
				t.Fatalf("a count twice, or none: %q", rest)
			}
			seen[rest[:8]] = true
		}
	}
}

// A server that gives everybody the same nonce: the counts go on, they do not begin anew with each challenge.
func TestR29_SameNonceAgain(t *testing.T) {
	p := newPeer()
	p.sameNonce = "always"
	c := clientOf(t, signerFor(p), &inProcess{Handler: p})
	var wg sync.WaitGroup
	for range 30 {
		wg.Go(func() { mustGet(t, c, "/") })
	}
	wg.Wait()
}

// A stale nonce, said or not, is no refusal: no unit is spent, and the caller notices nothing.
func TestR18_StaleIsNoRefusal(t *testing.T) {
	for _, silent := range []bool{false, true} {
		p := newPeer()
		p.uses, p.noStale = 3, silent
		h := &inProcess{Handler: p}
		s := signerFor(p)
		s.Budget = &budget.Budget{Units: 1}
		c := clientOf(t, s, h)
		for range 30 {
			mustGet(t, c, "/")
		}
		if left := s.Budget.Left(clock.Real{}.Now().Mono); left != 1 {
			t.Errorf("%d units left", left)
		}
		if got := h.sent.Load(); got != 30+10 {
			t.Errorf("%d requests, want 40: one more for each nonce", got)
		}
	}
}

func TestR18_WrongPasswordAnswersFiveTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer()
		h := &inProcess{Handler: p, delay: time.Second}
		s := signerFor(p)
		s.Password = renew.NewSecret("wrong password")
		c := clientOf(t, s, h)
		var wg sync.WaitGroup
		for range 200 {
			wg.Go(func() {
				if status, err := get(c, "/"); status != 401 || err != nil {
					t.Errorf("%d, %v", status, err)
				}
			})
		}
		wg.Wait()
		if p.refused != 5 || p.judged != 5 {
			t.Errorf("%d wrong answers, want 5", p.refused)
		}
		before := h.sent.Load()
		_, err := get(c, "/")
		var be *renew.BudgetError
		if !errors.As(err, &be) || h.sent.Load() != before {
			t.Fatalf("R21: %v after %d requests, want a BudgetError and none", err, h.sent.Load()-before)
		}
		leaktest.Check(t, err, "wrong password")
		time.Sleep(time.Until(be.RetryAt))
		p.password = "wrong password" // the account gets the password that we have
		mustGet(t, c, "/")
		mustGet(t, c, "/")
		if p.refused != 5 {
			t.Errorf("%d wrong answers", p.refused)
		}
	})
}

// A password that is changed at the server: the nonce may be old, so one answer more is worth it, and no more.
func TestR18_PasswordChanged(t *testing.T) {
	p := newPeer()
	c := clientOf(t, signerFor(p), &inProcess{Handler: p})
	mustGet(t, c, "/")
	p.password = "another"
	for range 20 {
		_, _ = get(c, "/")
	}
	if p.refused != 6 {
		t.Errorf("%d wrong answers, want 6: one to the old nonce, the free one and four", p.refused)
	}
}

func TestR23_PasswordFunc(t *testing.T) {
	p := newPeer()
	var now atomic.Pointer[string]
	old := "old"
	now.Store(&old)
	s := &Signer{Username: p.user, PasswordFunc: func(context.Context) (renew.Secret, error) { return renew.NewSecret(*now.Load()), nil }}
	c := clientOf(t, s, &inProcess{Handler: p})
	for range 10 {
		if _, err := get(c, "/"); err != nil && !errors.Is(err, renew.ErrBudgetSpent) {
			t.Fatal(err)
		}
	}
	if p.refused != 5 {
		t.Errorf("%d wrong answers, want 5", p.refused)
	}
	now.Store(&p.password)
	mustGet(t, c, "/") // R23: another password ends it at once
	// And from there on: the same nonce, with the next password.
	p.mu.Lock()
	p.password = "third"
	p.mu.Unlock()
	now.Store(&p.password)
	mustGet(t, c, "/")
	if p.refused != 5 {
		t.Errorf("the old password was used with the old nonce: %d wrong answers", p.refused)
	}
	failing := errors.New("the vault is closed")
	s.PasswordFunc = func(context.Context) (renew.Secret, error) { return renew.Secret{}, failing }
	var ie *renew.IssueError
	if _, err := get(c, "/"); !errors.Is(err, failing) || !errors.As(err, &ie) || ie.Kind != renew.Transient {
		t.Errorf("the function's error: %v", err)
	}
}

// The strongest is answered, in one line or in many, and nothing weaker in its place.
func TestChoose(t *testing.T) {
	md5 := `Digest realm="r", nonce="1", algorithm=MD5, qop="auth"`
	sha := `Digest realm="r", nonce="2", algorithm=sha-256, qop="auth,auth-int"`
	sha512 := `Digest realm="r", nonce="3", algorithm=SHA-512-256-sess, qop="auth-int"`
	for _, tt := range []struct {
		name               string
		lines              []string
		weakest            Algorithm
		integrity, basic   bool
		nonce, qop, failed string
	}{
		{"one line", []string{md5 + ", " + sha + ", Basic realm=\"b\""}, MD5, false, true, "2", "auth", ""},
		{"many lines", []string{"Negotiate", md5, sha512, sha}, MD5, false, false, "3", "auth-int", ""},
		{"equals: the first", []string{md5, strings.Replace(md5, `"1"`, `"4"`, 1)}, MD5, false, false, "1", "auth", ""},
		{"integrity", []string{md5, sha}, MD5, true, false, "2", "auth-int", ""},
		{"no integrity", []string{md5}, MD5, true, true, "", "", "no"},
		{"no RFC 2069 for integrity", []string{`Digest realm="r", nonce="5"`}, MD5, true, false, "", "", "no"},
		{"too weak", []string{md5}, SHA256, false, false, "", "", "no"},
		{"not too weak", []string{md5, sha}, SHA256, false, false, "2", "auth", ""},
		{"unknown algorithm", []string{`Digest realm="r", nonce="1", algorithm=SHA-3, qop="auth"`, md5}, MD5, false, false, "1", "auth", ""},
		{"unknown qop", []string{`Digest realm="r", nonce="1", qop="auth-conf"`}, MD5, false, false, "", "", "no"},
		{"sess without qop", []string{`Digest realm="r", nonce="1", algorithm=MD5-sess`}, MD5, false, false, "", "", "no"},
		{"RFC 2069", []string{`Digest realm="r", nonce="1"`}, MD5, false, false, "1", "", ""},
		{"spaces in qop", []string{`Digest realm="r", nonce="1", qop="AUTH-INT , AUTH"`}, MD5, false, false, "1", "auth", ""},
		{"no realm", []string{`Digest nonce="1"`}, MD5, false, false, "", "", "no"},
		{"no nonce", []string{`Digest realm="r", nonce=""`}, MD5, false, false, "", "", "no"},
		{"long nonce", []string{`Digest realm="r", nonce="` + strings.Repeat("n", maxText+1) + `"`}, MD5, false, false, "", "", "no"},
		{"Basic, not allowed", []string{`Basic realm="r"`}, MD5, false, false, "", "", "no"},
		{"Basic, allowed", []string{`Basic realm="r"`}, MD5, false, true, "", "", ""},
		{"Digest before Basic", []string{`Basic realm="r"`, md5}, MD5, false, true, "1", "auth", ""},
		{"broken line", []string{`Digest realm="r`, md5}, MD5, false, false, "1", "auth", ""},
		{"nothing", nil, MD5, false, true, "", "", "no"},
	} {
		of, err := choose(tt.lines, tt.weakest, tt.integrity, tt.basic, lockout.Origin{})
		if of.nonce != tt.nonce || of.qop != tt.qop || (err != nil) != (tt.failed != "") {
			t.Errorf("%s: nonce %q, qop %q, %v", tt.name, of.nonce, of.qop, err)
		}
	}
}

// What a challenge names as its domain narrows where a nonce goes, and never widens it to another origin.
func TestR28_Domain(t *testing.T) {
	o := lockout.Origin{Scheme: "https", Host: "api.example"}
	of, err := choose([]string{`Digest realm="r", nonce="1", domain="/a/b https://API.example:443/c https://other.example/ //other.example/d http://api.example/e f mailto:x"`}, MD5, false, false, o)
	if err != nil || fmt.Sprint(of.domain) != "[/a/b /c]" {
		t.Errorf("domain %q, %v", of.domain, err)
	}
	for path, want := range map[string]int{"/a/b": 4, "/a/bc": 4, "/a": -1, "/c/d": 2, "/d": -1} {
		if got := of.covers(path); got != want {
			t.Errorf("covers(%s) = %d, want %d", path, got, want)
		}
	}
	var s Signer
	se := &session{offer: of}
	s.spaces.share(o, se)
	if s.spaces.take(lockout.Origin{Scheme: "https", Host: "other.example"}, "/c") != nil {
		t.Error("a session of another origin")
	}
	if s.spaces.take(o, "/c/1") != se || s.spaces.take(o, "/x") != nil {
		t.Error("the domain is not kept")
	}
}

// Two realms of one origin: each path gets the nonce of its own, and one realm's challenge is no refusal of the other's answer.
func TestR18_TwoRealms(t *testing.T) {
	one, two := newPeer(), newPeer()
	one.extra, two.extra, two.realm = `domain="/one"`, `domain="/two/"`, `the "second" \ realm`
	mux := http.NewServeMux()
	mux.Handle("/one/", one)
	mux.Handle("/two/", two)
	h := &inProcess{Handler: mux}
	s := signerFor(one)
	s.Budget = &budget.Budget{Units: 1}
	c := clientOf(t, s, h)
	for range 5 {
		mustGet(t, c, "/one/x")
		mustGet(t, c, "/two/x")
	}
	if h.sent.Load() != 12 {
		t.Errorf("%d requests, want 12", h.sent.Load())
	}
	// Without the domains, the wrong one is tried first; no unit is spent for it.
	one.extra, two.extra = "", ""
	s = signerFor(one)
	s.Budget = &budget.Budget{Units: 1}
	c = clientOf(t, s, h)
	for range 5 {
		mustGet(t, c, "/one/x")
		mustGet(t, c, "/two/x")
	}
	if left := s.Budget.Left(clock.Real{}.Now().Mono); left != 1 {
		t.Errorf("%d units left", left)
	}
}

func TestUserNames(t *testing.T) {
	for _, user := range []string{"alice", `a"l\ice`, "J\u00e4s\u00f8n Doe", "a:b", "a%20b'c", ""} {
		for _, extra := range []string{"", `charset=UTF-8`, `charset="utf-8", userhash=TRUE`} {
			p := newPeer()
			p.user, p.extra = user, extra
			c := clientOf(t, signerFor(p), &inProcess{Handler: p})
			mustGet(t, c, "/")
		}
	}
}

// The body is signed with auth-int, and a body that cannot be read twice is not sent unsigned.
func TestR29_AuthInt(t *testing.T) {
	p := newPeer()
	p.qop = "auth-int"
	h := &inProcess{Handler: p}
	s := signerFor(p)
	c := clientOf(t, s, h)
	post := func(body io.Reader) error {
		resp, err := c.Post(origin+"/", "text/plain", body)
		if err != nil {
			return err
		}
		resp.Body.Close()
		if resp.StatusCode != 200 {
			return errors.New(resp.Status)
		}
		return nil
	}
	if err := post(strings.NewReader("hello")); err != nil {
		t.Error(err)
	}
	if err := post(strings.NewReader(strings.Repeat("long ", 1e5))); err != nil {
		t.Error(err)
	}
	before := h.sent.Load()
	var ie *renew.IssueError
	if err := post(io.MultiReader(strings.NewReader("once"))); !errors.As(err, &ie) || ie.Kind != renew.Invalid || !errors.Is(err, errNoGetBody) {
		t.Errorf("a body without GetBody: %v", err)
	}
	broken := errors.New("broken")
	req, _ := http.NewRequest("POST", origin+"/", strings.NewReader("x"))
	req.GetBody = func() (io.ReadCloser, error) { return nil, broken }
	if _, err := c.Do(req); !errors.Is(err, broken) {
		t.Errorf("a body whose GetBody fails: %v", err)
	}
	if h.sent.Load() != before {
		t.Error("it was sent all the same")
	}
}

// A POST that cannot be sent twice learns the nonce for the next one.
func TestR29_NonceOfAnUnrepeatableRequest(t *testing.T) {
	p := newPeer()
	c := clientOf(t, signerFor(p), &inProcess{Handler: p})
	for i, want := range []int{401, 200, 200} {
		resp, err := c.Post(origin+"/", "text/plain", io.MultiReader(strings.NewReader("once")))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("request %d: %d, want %d", i, resp.StatusCode, want)
		}
	}
}

func TestRspauth(t *testing.T) {
	for _, bad := range []bool{false, true} {
		p := newPeer()
		p.rspauth, p.badRspauth, p.next = !bad, bad, true
		var told []error
		s := signerFor(p)
		s.BadRspauth = func(req *http.Request, err error) {
			if req.URL.Path != "/x" {
				t.Error("not the request")
			}
			told = append(told, err)
		}
		h := &inProcess{Handler: p}
		c := clientOf(t, s, h)
		mustGet(t, c, "/x")
		mustGet(t, c, "/x")
		if want := map[bool]int{true: 2}[bad]; len(told) != want {
			t.Errorf("told %v, want %d errors", told, want)
		}
		for _, err := range told {
			var ie *renew.IssueError
			if !errors.As(err, &ie) || ie.Kind != renew.Invalid || ie.Host != "api.example" || !errors.Is(err, errRspauth) {
				t.Errorf("%v", err)
			}
		}
		// A nonce from somebody who does not know the password is not used.
		if want := map[bool]int32{false: 3, true: 4}[bad]; h.sent.Load() != want {
			t.Errorf("bad %v: %d requests, want %d", bad, h.sent.Load(), want)
		}
	}
}

func TestR28_Basic(t *testing.T) {
	offers := `Basic realm="b"`
	var got []string
	h := &inProcess{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = append(got, r.Header.Get("Authorization"))
		if _, _, ok := r.BasicAuth(); !ok {
			w.Header().Set("WWW-Authenticate", offers)
			w.WriteHeader(401)
		}
	})}
	s := &Signer{Username: "u", Password: renew.NewSecret("the password")}
	if status, _ := get(clientOf(t, s, h), "/"); status != 401 || strings.Join(got, "") != "" {
		t.Errorf("Basic that was not allowed: %d, %q", status, got)
	}
	s.AllowBasic = true
	c := clientOf(t, s, h)
	mustGet(t, c, "/")
	got = nil
	mustGet(t, c, "/")
	if len(got) != 1 || got[0] != "Basic dTp0aGUgcGFzc3dvcmQ=" {
		t.Errorf("Basic that was allowed: %q", got)
	}
	// Once a server has offered Digest, Basic is a step down that somebody else may have made.
	s = &Signer{Username: "u", Password: renew.NewSecret("the password"), AllowBasic: true, Weakest: SHA256}
	c = clientOf(t, s, h)
	offers = `Digest realm="r", nonce="1", algorithm=SHA-256, qop="auth"`
	_, _ = get(c, "/")
	offers, got = `Basic realm="b"`, nil
	_, _ = get(c, "/")
	for _, header := range got {
		if strings.HasPrefix(header, "Basic") {
			t.Errorf("a step down to Basic: %q", got)
		}
	}
}

// Through a proxy: other fields, and the request-target in absolute form.
func TestProxy(t *testing.T) {
	p := newPeer()
	p.proxy, p.next, p.rspauth = true, true, true
	server := httptest.NewServer(p)
	defer server.Close()
	s := signerFor(p)
	s.Proxy = server.URL
	s.BadRspauth = func(_ *http.Request, err error) { t.Error(err) }
	tr, err := renew.NewTransport(s, renew.TransportConfig{Proxy: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	defer tr.CloseIdleConnections()
	for range 3 {
		resp, err := (&http.Client{Transport: tr}).Get("http://server.example:8080/a%20b?x=1&y=%C3%A9")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 200 {
			t.Errorf("%s", resp.Status)
		}
	}
	if p.judged != 3 || p.offered != 1 {
		t.Errorf("%d answers to %d challenges", p.judged, p.offered)
	}
}

func TestValidate(t *testing.T) {
	good := func() *Signer { return &Signer{Username: "u", Password: renew.NewSecret("the password")} }
	if err := good().Validate(); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		field string
		set   func(*Signer)
	}{
		{"Signer.Username", func(s *Signer) { s.Username = "a\nb" }},
		{"Signer.Username", func(s *Signer) { s.Username = "\xff" }},
		{"Signer.Username", func(s *Signer) { s.Username, s.AllowBasic = "a:b", true }},
		{"Signer.Password", func(s *Signer) { s.Password = renew.Secret{} }},
		{"Signer.Password", func(s *Signer) { s.Password = renew.NewSecret("a line\n") }},
		{"Signer.Weakest", func(s *Signer) { s.Weakest = 3 }},
		{"Signer.Proxy", func(s *Signer) { s.Proxy = "http://u:p@proxy.example" }},
		{"Signer.Budget", func(s *Signer) { s.Budget = &budget.Budget{Window: -1} }},
		{"Signer", nil},
	} {
		var s *Signer
		if tt.set != nil {
			s = good()
			tt.set(s)
		}
		_, err := s.Authenticate(&http.Request{})
		var ce *renew.ConfigError
		if !errors.As(err, &ce) || ce.Field != tt.field {
			t.Errorf("%v, want a ConfigError of %s", err, tt.field)
		}
		leaktest.Check(t, err, "the password")
	}
	if _, err := good().Authenticate(&http.Request{}); err == nil {
		t.Error("a request without a URL")
	}
	if _, err := good().Refused(&http.Request{}, nil, nil); err == nil {
		t.Error("a Credential of nobody is taken back")
	}
	good().Answered(&http.Request{}, 7, nil)
}

// Whatever servers make up, what is kept of them is bounded.
func TestSpaces_Bounds(t *testing.T) {
	var s spaces
	o := lockout.Origin{Host: "x"}
	for i := range 1000 {
		realm := fmt.Sprint(i % 40)
		se := s.open(o, offer{realm: realm, nonce: fmt.Sprint(i)}, func() string { return "c" })
		s.add(o, se)
	}
	for range 200 {
		s.add(o, &session{offer: offer{realm: "0"}})
	}
	k := s.all[o]
	if len(k.spaces) > maxSpaces {
		t.Errorf("%d spaces", len(k.spaces))
	}
	for _, sp := range k.spaces {
		if len(sp.fresh) > maxFresh || len(sp.recent) > maxRecent {
			t.Errorf("%d and %d sessions", len(sp.fresh), len(sp.recent))
		}
	}
	if k.spaces[0].realm != "0" {
		t.Errorf("the last one used is not the first: %s", k.spaces[0].realm)
	}
}

func TestAlgorithm_String(t *testing.T) {
	if got := fmt.Sprint(MD5, SHA256, SHA512256, Algorithm(9)); got != "MD5 SHA-256 SHA-512-256 Algorithm(9)" {
		t.Error(got)
	}
}
