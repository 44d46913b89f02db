package basic

import (
	"context"
	"encoding/base64"
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
	"testing/synctest"
	"time"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/budget"
	"github.com/seed-f29168f7/renew/clock"
	"github.com/seed-f29168f7/renew/renewtest"
	"github.com/seed-f29168f7/renew/sources/internal/leaktest"
)

const password = "open: sesame \u00a3"

// verify is a server's judgement, by the standard library.
func verify(user, password string) func(*http.Request) error {
	return func(r *http.Request) error {
		if u, p, ok := r.BasicAuth(); !ok || u != user || p != password {
			return errors.New("not the user name and the password")
		}
		return nil
	}
}

func TestKit(t *testing.T) {
	for _, tt := range []struct {
		name string
		set  func(*Signer)
	}{
		{"fixed", func(*Signer) {}},
		{"function", func(s *Signer) {
			fixed := s.Password
			s.Password, s.PasswordFunc = renew.Secret{}, func(context.Context) (renew.Secret, error) { return fixed, nil }
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			renewtest.RunSigner(t, func(*testing.T) renewtest.SignerHarness {
				s := &Signer{Username: "Aladdin", Password: renew.NewSecret(password)}
				tt.set(s)
				return renewtest.SignerHarness{
					Signer: s, Verify: verify("Aladdin", password), SameCredentialOK: true,
					Secrets: []string{password, base64.StdEncoding.EncodeToString([]byte("Aladdin:" + password))},
				}
			})
		})
	}
}

// header returns what s puts on a request.
func header(t *testing.T, s *Signer) (string, error) {
	t.Helper()
	req, _ := http.NewRequestWithContext(t.Context(), "GET", "https://api.example/a", nil)
	c, err := s.Authenticate(req)
	if err != nil {
		return "", err
	}
	s.Answered(req, c, &http.Response{StatusCode: 200})
	return req.Header.Get("Authorization"), nil
}

func TestHeader(t *testing.T) {
	for _, tt := range []struct {
		user, password string
		charset        Charset
		want           string
	}{
		{"Aladdin", "open sesame", UTF8, "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="}, // RFC 7617, section 2
		{"test", "123\u00a3", UTF8, "Basic dGVzdDoxMjPCow=="},                  // RFC 7617, section 2.1
		{"test", "123\u00a3", Latin1, "Basic dGVzdDoxMjOj"},
		{"", "a:b:", UTF8, "Basic OmE6Yjo="},
		{"x", strings.Repeat("y", 300), UTF8, "Basic " + base64.StdEncoding.EncodeToString([]byte("x:"+strings.Repeat("y", 300)))},
	} {
		got, err := header(t, &Signer{Username: tt.user, Password: renew.NewSecret(tt.password), Charset: tt.charset})
		if got != tt.want || err != nil {
			t.Errorf("%q and %q in %v: %q, %v, want %q", tt.user, tt.password, tt.charset, got, err, tt.want)
		}
	}
}

func TestValidate(t *testing.T) {
	good := func() *Signer { return &Signer{Username: "u", Password: renew.NewSecret(password)} }
	if err := good().Validate(); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		field string
		set   func(*Signer)
	}{
		{"Signer.Username", func(s *Signer) { s.Username = "a:b" }},
		{"Signer.Username", func(s *Signer) { s.Username = "a\nb" }},
		{"Signer.Username", func(s *Signer) { s.Username = "a\x7f" }},
		{"Signer.Username", func(s *Signer) { s.Username = "a\u0085" }},
		{"Signer.Username", func(s *Signer) { s.Username = "a\xff" }},
		{"Signer.Username", func(s *Signer) { s.Username, s.Charset = "\u20ac", Latin1 }},
		{"Signer.Password", func(s *Signer) { s.Password = renew.Secret{} }},
		{"Signer.Password", func(s *Signer) { s.Password = renew.NewSecret("ends with a line\n") }},
		{"Signer.Password", func(s *Signer) { s.Password, s.Charset = renew.NewSecret("\u20ac"), Latin1 }},
		{"Signer.Password", func(s *Signer) {
			s.PasswordFunc = func(context.Context) (renew.Secret, error) { return s.Password, nil }
		}},
		{"Signer.Charset", func(s *Signer) { s.Charset = 2 }},
		{"Signer.Proxy", func(s *Signer) { s.Proxy = "proxy.example:3128" }},
		{"Signer.Proxy", func(s *Signer) { s.Proxy = "http://u:p@proxy.example" }},
		{"Signer.Proxy", func(s *Signer) { s.Proxy = "http://proxy.example/path" }},
		{"Signer.Proxy", func(s *Signer) { s.Proxy = "socks5://proxy.example" }},
		{"Signer.Budget", func(s *Signer) { s.Budget = &budget.Budget{Units: -1} }},
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
		leaktest.Check(t, err, password)
	}
	if _, err := good().Authenticate(&http.Request{}); err == nil {
		t.Error("a request without a URL")
	}
	if _, err := good().Refused(&http.Request{}, nil, nil); err == nil {
		t.Error("a Credential of nobody is taken back")
	}
	good().Answered(&http.Request{}, 7, nil)
}

// counting is a server that knows one password and counts.
type counting struct {
	good    atomic.Pointer[string]
	asked   atomic.Int32
	atOnce  atomic.Int32
	most    atomic.Int32
	refuses string // a path that refuses all
}

func (c *counting) RoundTrip(r *http.Request) (*http.Response, error) {
	c.asked.Add(1)
	c.most.Store(max(c.most.Load(), c.atOnce.Add(1)))
	time.Sleep(time.Second)
	c.atOnce.Add(-1)
	status := 200
	if _, p, _ := r.BasicAuth(); p != *c.good.Load() || c.refuses != "" && r.URL.Path == c.refuses {
		status = 401
	}
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: http.NoBody}, nil
}

func newCounting(good string) *counting {
	c := &counting{}
	c.good.Store(&good)
	return c
}

func (c *counting) client(t *testing.T, s *Signer) *http.Client {
	t.Helper()
	tr, err := renew.NewTransport(s, renew.TransportConfig{Origins: []string{"https://api.example"}, Base: c})
	if err != nil {
		t.Fatal(err)
	}
	return &http.Client{Transport: tr}
}

func get(c *http.Client, path string) (int, error) {
	resp, err := c.Get("https://api.example" + path)
	if err != nil {
		return 0, err
	}
	resp.Body.Close()
	return resp.StatusCode, nil
}

func TestR18_WrongPasswordAsksFiveTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := newCounting("another")
		c := srv.client(t, &Signer{Username: "u", Password: renew.NewSecret(password)})
		var wg sync.WaitGroup
		var answers, budgets atomic.Int32
		for range 200 {
			wg.Go(func() {
				status, err := get(c, "/")
				switch {
				case err == nil && status == 401:
					answers.Add(1)
				case errors.Is(err, renew.ErrBudgetSpent):
					budgets.Add(1)
					leaktest.Check(t, err, password)
				default:
					t.Errorf("%d, %v", status, err)
				}
			})
		}
		wg.Wait()
		if srv.asked.Load() != 5 || answers.Load() != 5 || budgets.Load() != 195 || srv.most.Load() != 1 {
			t.Errorf("%d requests, %d at once, %d answers, %d BudgetErrors", srv.asked.Load(), srv.most.Load(), answers.Load(), budgets.Load())
		}
		_, err := get(c, "/")
		var be *renew.BudgetError
		if !errors.As(err, &be) {
			t.Fatal(err)
		}
		good := password // the operator gives the account the password that we have
		srv.good.Store(&good)
		time.Sleep(time.Until(be.RetryAt) - 1)
		if _, err := get(c, "/"); !errors.Is(err, renew.ErrBudgetSpent) {
			t.Errorf("before RetryAt: %v", err)
		}
		time.Sleep(time.Nanosecond)
		if status, err := get(c, "/"); status != 200 || err != nil {
			t.Errorf("R21: at RetryAt: %d, %v", status, err)
		}
		before := srv.asked.Load()
		for range 50 {
			wg.Go(func() { _, _ = get(c, "/") })
		}
		wg.Wait()
		if srv.asked.Load() != before+50 || srv.most.Load() < 40 {
			t.Errorf("an accepted password does not flow: %d at once", srv.most.Load())
		}
	})
}

func TestR22_OnePathThatRefusesAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := newCounting(password)
		srv.refuses = "/admin"
		c := srv.client(t, &Signer{Username: "u", Password: renew.NewSecret(password)})
		for range 20 {
			if status, err := get(c, "/good"); status != 200 {
				t.Fatalf("/good: %d, %v", status, err)
			}
			if status, err := get(c, "/admin"); status != 401 && !errors.Is(err, renew.ErrBudgetSpent) {
				t.Fatalf("/admin: %d, %v", status, err)
			}
		}
		if got := srv.asked.Load(); got != 20+5 {
			t.Errorf("%d requests, want 20 good ones and 5 refused", got)
		}
	})
}

// A function that says another password after a refusal is worth a replay, and the other password starts anew.
func TestR23_PasswordFunc(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := newCounting("new")
		var asked atomic.Int32
		now := "old"
		s := &Signer{Username: "u", PasswordFunc: func(context.Context) (renew.Secret, error) {
			if asked.Add(1) == 2 {
				now = "new"
			}
			return renew.NewSecret(now), nil
		}}
		c := srv.client(t, s)
		if status, err := get(c, "/"); status != 200 || err != nil || srv.asked.Load() != 2 {
			t.Errorf("%d, %v after %d requests", status, err, srv.asked.Load())
		}
		srv = newCounting("another") // and one that says the same again is not
		if status, err := get(srv.client(t, s), "/"); status != 401 || err != nil || srv.asked.Load() != 1 {
			t.Errorf("%d, %v after %d requests with the same password", status, err, srv.asked.Load())
		}
	})
	failing := errors.New("the vault is closed")
	s := &Signer{Username: "u", PasswordFunc: func(context.Context) (renew.Secret, error) { return renew.Secret{}, failing }}
	var ie *renew.IssueError
	if _, err := header(t, s); !errors.Is(err, failing) || !errors.As(err, &ie) || ie.Kind != renew.Transient {
		t.Errorf("the function's error: %v", err)
	}
	s.PasswordFunc = func(context.Context) (renew.Secret, error) { return renew.NewSecret("line\n"), nil }
	if _, err := header(t, s); !errors.As(err, &ie) || ie.Kind != renew.Invalid {
		t.Errorf("a password that cannot be sent: %v", err)
	}
}

// proxy is one that wants a password, for requests and for tunnels.
type proxy struct {
	*httptest.Server
	connects, plain atomic.Int32
	refuses         atomic.Bool
	target          string
}

func newProxy(t *testing.T) *proxy {
	p := &proxy{}
	p.Server = httptest.NewServer(p)
	t.Cleanup(p.Close)
	return p
}

func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	tunnel := r.Method == http.MethodConnect
	if tunnel {
		p.connects.Add(1)
	} else {
		p.plain.Add(1)
	}
	want := "Basic " + base64.StdEncoding.EncodeToString([]byte("u:"+password))
	if p.refuses.Load() || r.Header.Get("Proxy-Authorization") != want {
		w.Header().Set("Proxy-Authenticate", `Basic realm="proxy"`)
		w.WriteHeader(http.StatusProxyAuthRequired)
		return
	}
	if !tunnel {
		w.WriteHeader(http.StatusTeapot)
		return
	}
	server, err := net.Dial("tcp", p.target)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	client, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		server.Close()
		return
	}
	_, _ = io.WriteString(client, "HTTP/1.1 200 OK\r\n\r\n")
	var wg sync.WaitGroup
	for _, c := range [][2]net.Conn{{client, server}, {server, client}} {
		wg.Go(func() {
			_, _ = io.Copy(c[0], c[1])
			c[0].Close()
		})
	}
	wg.Wait()
}

// tunnelling returns a client that goes through p with s.
func (p *proxy) tunnelling(t *testing.T, s *Signer, server *httptest.Server) *http.Client {
	u, _ := url.Parse(p.URL)
	base := server.Client().Transport.(*http.Transport).Clone()
	base.Proxy = http.ProxyURL(u)
	base.DisableKeepAlives = true
	base.GetProxyConnectHeader, base.OnProxyConnectResponse = s.GetProxyConnectHeader, s.OnProxyConnectResponse
	t.Cleanup(base.CloseIdleConnections)
	return &http.Client{Transport: base}
}

func TestR28_Tunnel(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Proxy-Authorization") != "" {
			t.Error("the server sees the password of the proxy")
		}
	}))
	defer server.Close()
	p := newProxy(t)
	p.target = server.Listener.Addr().String()
	s := &Signer{Username: "u", Password: renew.NewSecret(password), Proxy: p.URL}
	c := p.tunnelling(t, s, server)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			resp, err := c.Get(server.URL)
			if err != nil {
				t.Error(err)
				return
			}
			resp.Body.Close()
		})
	}
	wg.Wait()
	if got := p.connects.Load(); got != 20 {
		t.Errorf("%d tunnels, want 20", got)
	}
	if n := len(s.tunnels); n != 0 {
		t.Errorf("%d tunnels are not forgotten", n)
	}

	// R18: a proxy that refuses is asked five times, and then no more.
	wrong := &Signer{Username: "u", Password: renew.NewSecret("wrong password"), Proxy: p.URL}
	c = p.tunnelling(t, wrong, server)
	p.connects.Store(0)
	for i := range 10 {
		_, err := c.Get(server.URL)
		var ie *renew.IssueError
		if i < 5 && (!errors.As(err, &ie) || ie.Kind != renew.Refused || ie.Status != 407) || i >= 5 && !errors.Is(err, renew.ErrBudgetSpent) {
			t.Errorf("request %d: %v", i+1, err)
		}
		leaktest.Check(t, err, "wrong password")
	}
	if got := p.connects.Load(); got != 5 {
		t.Errorf("%d tunnels with a wrong password, want 5", got)
	}
}

func TestR28_NoOtherProxy(t *testing.T) {
	s := &Signer{Username: "u", Password: renew.NewSecret(password), Proxy: "http://127.0.0.1:3128"}
	for text, want := range map[string]error{
		"http://127.0.0.1:3129":     errOtherProxy,
		"https://127.0.0.1:3128":    errOtherProxy,
		"http://u:p@127.0.0.1:3128": errUserinfo,
	} {
		u, _ := url.Parse(text)
		if h, err := s.GetProxyConnectHeader(t.Context(), u, "x:443"); h != nil || !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", text, err, want)
		}
	}
	if _, err := s.GetProxyConnectHeader(t.Context(), nil, "x:443"); !errors.Is(err, errOtherProxy) {
		t.Errorf("no proxy: %v", err)
	}
	far := &Signer{Username: "u", Password: renew.NewSecret(password), Proxy: "http://proxy.example:3128"}
	u, _ := url.Parse(far.Proxy)
	if _, err := far.GetProxyConnectHeader(t.Context(), u, "x:443"); !errors.Is(err, errPlaintext) {
		t.Errorf("plaintext: %v", err)
	}
	far.AllowPlaintext = true
	if h, err := far.GetProxyConnectHeader(t.Context(), u, "x:443"); err != nil || len(h) != 1 {
		t.Errorf("allowed plaintext: %v", err)
	}
	var ce *renew.ConfigError
	noProxy := &Signer{Username: "u", Password: renew.NewSecret(password)}
	if _, err := noProxy.GetProxyConnectHeader(t.Context(), u, ""); !errors.As(err, &ce) {
		t.Errorf("without Proxy: %v", err)
	}
}

// A tunnel whose answer never comes is given up: those that wait for its verdict go on.
func TestTunnel_WithoutAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Signer{Username: "u", Password: renew.NewSecret(password), Proxy: "http://localhost:3128"}
		u, _ := url.Parse(s.Proxy)
		for range 3 {
			before := clock.Real{}.Now().Mono
			if _, err := s.GetProxyConnectHeader(t.Context(), u, ""); err != nil {
				t.Fatal(err)
			}
			if took := (clock.Real{}).Now().Mono - before; took != 0 && took != connectTime {
				t.Errorf("waited %v", took)
			}
		}
		time.Sleep(connectTime)
		synctest.Wait()
		if len(s.tunnels) != 0 {
			t.Errorf("%d tunnels are not forgotten", len(s.tunnels))
		}
	})
}

// The requests to a plain http server through a proxy, and the tunnels through it, are of one account.
func TestProxy_Requests(t *testing.T) {
	p := newProxy(t)
	s := &Signer{Username: "u", Password: renew.NewSecret(password), Proxy: p.URL}
	tr, err := renew.NewTransport(s, renew.TransportConfig{Proxy: p.URL})
	if err != nil {
		t.Fatal(err)
	}
	defer tr.CloseIdleConnections()
	c := &http.Client{Transport: tr}
	do := func() (int, error) {
		resp, err := c.Get("http://server.example/")
		if err != nil {
			return 0, err
		}
		resp.Body.Close()
		return resp.StatusCode, nil
	}
	if status, err := do(); status != http.StatusTeapot || err != nil {
		t.Fatalf("%d, %v", status, err)
	}
	p.refuses.Store(true)
	p.plain.Store(0)
	for range 10 {
		if status, err := do(); status != 407 && !errors.Is(err, renew.ErrBudgetSpent) {
			t.Errorf("%d, %v", status, err)
		}
	}
	if got := p.plain.Load(); got != 5 {
		t.Errorf("%d requests, want 5", got)
	}
	u, _ := url.Parse(p.URL)
	// The doubt is about a password that was accepted on one path only: a tunnel is the same path.
	if _, err := s.GetProxyConnectHeader(t.Context(), u, ""); !errors.Is(err, renew.ErrBudgetSpent) {
		t.Errorf("a tunnel: %v", err)
	}
}

func TestCharset_String(t *testing.T) {
	if got := fmt.Sprint(UTF8, Latin1, Charset(9)); got != "UTF8 Latin1 Charset(9)" {
		t.Error(got)
	}
}

func BenchmarkAuthenticate(b *testing.B) {
	s := &Signer{Username: "Aladdin", Password: renew.NewSecret("open sesame")}
	req, _ := http.NewRequest("GET", "https://api.example/a", nil)
	b.ReportAllocs()
	for range b.N {
		c, err := s.Authenticate(req)
		if err != nil {
			b.Fatal(err)
		}
		s.Answered(req, c, &http.Response{StatusCode: 200})
	}
}
