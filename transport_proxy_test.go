package renew

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// proxyServer is a plain-http proxy that wants a Proxy-Authorization. It asks nobody, and answers for the
// origins itself.
type proxyServer struct {
	*httptest.Server
	want string
	mu   sync.Mutex
	seen []string
}

func newProxyServer(t *testing.T) *proxyServer {
	p := &proxyServer{want: bearer(1)}
	p.Server = httptest.NewServer(p)
	t.Cleanup(p.Close)
	return p
}

func (p *proxyServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen = append(p.seen, r.Method+" "+r.RequestURI+" "+r.Header.Get("Proxy-Authorization"))
	body, _ := io.ReadAll(r.Body)
	switch {
	case r.Method == http.MethodConnect:
		w.WriteHeader(http.StatusBadGateway)
	case r.Header.Get("Proxy-Authorization") != p.want:
		w.WriteHeader(http.StatusProxyAuthRequired)
	case r.URL.Path == "/unauthorized":
		w.WriteHeader(http.StatusUnauthorized)
	case r.URL.Path == "/away":
		http.Redirect(w, r, "http://other.example/there", http.StatusTemporaryRedirect)
	default:
		_, _ = io.WriteString(w, r.Host+" "+string(body))
	}
}

// took returns what the proxy has seen since the last call.
func (p *proxyServer) took() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	seen := p.seen
	p.seen = nil
	return seen
}

func (p *proxyServer) client(t *testing.T, auth Authenticator, cfg TransportConfig) *http.Client {
	cfg.Proxy = p.URL
	tr, err := NewTransport(auth, cfg)
	require.NoError(t, err)
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

// R29: a 407 is to a proxy's credential what a 401 is to a server's, and a 401 is not.
func TestR29_ProxyRefuses(t *testing.T) {
	p := newProxyServer(t)
	c := p.client(t, &tokens{header: "Proxy-Authorization"}, TransportConfig{})
	for _, tc := range []struct {
		url    string
		status int
		body   string
		tokens []string
	}{
		{"http://api.example/a", 200, "api.example once", []string{bearer(0), bearer(1)}},
		{"http://api.example/unauthorized", 401, "", []string{bearer(1)}},
	} {
		resp, err := c.Post(tc.url, "text/plain", strings.NewReader("once"))
		require.NoError(t, err)
		body, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != tc.status || string(body) != tc.body || resp.Request.Header.Get("Proxy-Authorization") != "" {
			t.Errorf("%s: %d %q, want %d %q", tc.url, resp.StatusCode, body, tc.status, tc.body)
		}
		var want []string
		for _, token := range tc.tokens {
			want = append(want, "POST "+tc.url+" "+token)
		}
		if got := p.took(); !slices.Equal(got, want) {
			t.Errorf("%s: the proxy saw %q, want %q", tc.url, got, want)
		}
	}
}

// R29: a request that ends during the wait for the proxy's next credential says who waited for what.
func TestR29_ProxyWaitEnds(t *testing.T) {
	p := newProxyServer(t)
	ctx, cancel := context.WithCancel(t.Context())
	auth := authFuncs{refused: func(*http.Request, Credential, *http.Response) (bool, error) {
		cancel()
		return false, ctx.Err()
	}}
	_, err := p.client(t, auth, TransportConfig{}).Do(newRequest(t, "GET", "http://api.example/", nil).WithContext(ctx))
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorContains(t, err, "the proxy answered 407, and the request ended")
}

// R28: the credential of a proxy goes to the proxy with every http request, to any origin and after a
// redirect too, and past it with none: the caller's http.Transport may know ways around it.
func TestR28_ProxyCredentialGoesToTheProxy(t *testing.T) {
	p, auth := newProxyServer(t), &tokens{header: "Proxy-Authorization"}
	auth.n.Store(1)
	direct := &http.Transport{} // no proxy
	resp, err := p.client(t, auth, TransportConfig{Base: direct}).Get("http://api.example/away")
	require.NoError(t, err)
	_ = resp.Body.Close()
	want := []string{"GET http://api.example/away " + bearer(1), "GET http://other.example/there " + bearer(1)}
	if got := p.took(); resp.StatusCode != 200 || !slices.Equal(got, want) {
		t.Errorf("status %d, the proxy saw %q, want %q", resp.StatusCode, got, want)
	}
	if direct.Proxy != nil {
		t.Error("the caller's http.Transport was changed")
	}
}

// R28: no credential of a proxy goes into a tunnel, where the server at its other end would read it.
func TestR28_ProxyCredentialStaysOutOfTunnels(t *testing.T) {
	p, auth := newProxyServer(t), &tokens{header: "Proxy-Authorization"}
	c := p.client(t, auth, TransportConfig{})
	if resp, err := c.Get("https://api.example/"); err == nil {
		_ = resp.Body.Close()
		t.Error("the proxy does not tunnel, and yet there was an answer")
	}
	if got, want := p.took(), []string{"CONNECT api.example:443 "}; !slices.Equal(got, want) {
		t.Errorf("the proxy saw %q, want %q", got, want)
	}
	tr := c.Transport.(*Transport)
	tr.base = baseFunc(func(out *http.Request) (*http.Response, error) {
		if h := out.Header.Get("Proxy-Authorization"); h != "" {
			t.Errorf("an https request went out with %q", h)
		}
		return answer(407)(out)
	})
	for _, own := range []string{"", "the caller's own"} {
		req := newRequest(t, "GET", "https://api.example/", nil)
		if own != "" {
			req.Header.Set("Proxy-Authorization", own)
		}
		resp, err := tr.RoundTrip(req)
		if err != nil || resp.StatusCode != 407 || auth.made.Load() != 0 || auth.refused.Load() != 0 {
			t.Errorf("RoundTrip = %v, %v; want the 407, and the Authenticator left alone", resp, err)
		}
	}
}

// R28: what a caller says to the proxy itself is kept or replaced, like any credential.
func TestR28_ProxyExistingCredential(t *testing.T) {
	for exists, want := range map[Existing]string{Keep: "the caller's own", Replace: bearer(1)} {
		p, auth := newProxyServer(t), &tokens{header: "Proxy-Authorization"}
		p.want = want
		auth.n.Store(1)
		req := newRequest(t, "GET", "http://api.example/", nil)
		req.Header.Set("Proxy-Authorization", "the caller's own")
		resp, err := p.client(t, auth, TransportConfig{OnExisting: exists}).Do(req)
		require.NoError(t, err)
		_ = resp.Body.Close()
		if got := p.took(); resp.StatusCode != 200 || len(got) != 1 {
			t.Errorf("%v: the proxy saw %q, want %q", exists, got, want)
		}
	}
}

// R28: what cannot be a proxy's configuration is refused, with the field and what to do.
func TestR28_ProxyConfig(t *testing.T) {
	const local = "http://127.0.0.1:3128"
	for name, tc := range map[string]struct {
		cfg   TransportConfig
		field string
	}{
		"loopback":         {TransportConfig{Proxy: local, Base: &http.Transport{}}, ""},
		"allowed":          {TransportConfig{Proxy: "http://proxy.example:3128", AllowPlaintext: []string{"http://proxy.example:3128"}}, ""},
		"https":            {TransportConfig{Proxy: "https://proxy.example"}, ""},
		"plaintext":        {TransportConfig{Proxy: "http://proxy.example:3128"}, "TransportConfig.Proxy"},
		"no scheme":        {TransportConfig{Proxy: "proxy.example:3128"}, "TransportConfig.Proxy"},
		"socks":            {TransportConfig{Proxy: "socks5://127.0.0.1:1080"}, "TransportConfig.Proxy"},
		"password in it":   {TransportConfig{Proxy: "http://u:" + tokenMark + "@127.0.0.1:3128"}, "TransportConfig.Proxy"},
		"origins too":      {TransportConfig{Proxy: local, Origins: []string{"http://127.0.0.1"}}, "TransportConfig.Origins"},
		"another base":     {TransportConfig{Proxy: local, Base: answer(200)}, "TransportConfig.Base"},
		"a nil base in it": {TransportConfig{Proxy: local, Base: (*http.Transport)(nil)}, "TransportConfig.Base"},
	} {
		_, err := NewTransport(&tokens{}, tc.cfg)
		if tc.field == "" {
			require.NoError(t, err, name)
			continue
		}
		var wrong *ConfigError
		require.ErrorAs(t, err, &wrong, name)
		if wrong.Field != tc.field || strings.Contains(err.Error(), tokenMark) {
			t.Errorf("%s: %v, want it about %s", name, err, tc.field)
		}
	}
}
