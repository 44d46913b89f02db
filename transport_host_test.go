package renew

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// R28: a proxy takes a plain http request to the host that its Host field names, whatever URL it is for. A
// client of a reverse proxy chooses that field.
func TestR28_HostFieldBeforeAProxy(t *testing.T) {
	p := newProxyServer(t)
	at, _ := url.Parse(p.URL)
	direct := newSite(t, func(http.ResponseWriter, *http.Request) {})
	const cluster = "http://api.example:8080"
	proxied := &http.Transport{Proxy: http.ProxyURL(at)}
	below, err := NewTransport(&tokens{header: "Proxy-Authorization"}, TransportConfig{Proxy: p.URL})
	require.NoError(t, err)
	for _, tc := range []struct {
		name, url, host string
		base            http.RoundTripper
		hop, sent, bare bool
		origin          string
	}{
		{name: "the same", url: cluster, host: "api.example:8080", base: proxied, sent: true},
		{name: "the same in other words", url: cluster, host: "API.example.:8080", base: proxied, sent: true},
		{name: "another origin of ours", url: cluster, host: "also.example", base: proxied, sent: true},
		{name: "another host", url: cluster, host: "evil.example", base: proxied, origin: "http://evil.example"},
		{name: "another port", url: cluster, host: "api.example", base: proxied, origin: "http://api.example"},
		{name: "no host", url: cluster, host: "a b", base: proxied, origin: "http://a b"},
		{name: "another host, through a Transport for the proxy", url: cluster, host: "evil.example", base: below, origin: "http://evil.example"},
		{name: "another host, two Transports down", url: cluster, host: "evil.example",
			base: newTransport(t, &tokens{header: "X-Two"}, TransportConfig{Origins: []string{cluster}, AllowPlaintext: []string{cluster}, Header: "X-Two", Base: proxied}), origin: "http://evil.example"},
		{name: "a redirect within the origin", url: cluster, host: "evil.example", base: proxied, hop: true, bare: true},
		{name: "no proxy", url: direct.URL, host: "evil.example", base: &http.Transport{}, sent: true},
		{name: "a proxy that this request does not go through", url: direct.URL, host: "evil.example",
			base: &http.Transport{Proxy: func(*http.Request) (*url.URL, error) { return nil, nil }}, sent: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			auth := &tokens{}
			auth.n.Store(1)
			tr := newTransport(t, auth, TransportConfig{Base: tc.base, Origins: []string{cluster, direct.URL, "http://also.example"},
				AllowPlaintext: []string{cluster, "http://also.example"}})
			t.Cleanup(tr.CloseIdleConnections)
			req := newRequest(t, "GET", tc.url, nil)
			req.Host = tc.host
			if tc.hop {
				req.Response = &http.Response{Request: newRequest(t, "GET", tc.url, nil)}
			}
			resp, err := tr.RoundTrip(req)
			if resp != nil {
				_ = resp.Body.Close()
			}
			var elsewhere *OriginError
			if errors.As(err, &elsewhere) != (tc.origin != "") || elsewhere != nil && elsewhere.Origin != tc.origin || elsewhere == nil && err != nil {
				t.Errorf("RoundTrip = %v, want an OriginError about %q", err, tc.origin)
			}
			if got, want := auth.made.Load() > 0, tc.sent; got != want {
				t.Errorf("a credential was put on the request: %t, want %t", got, want)
			}
			if got := p.took(); tc.origin != "" && len(got) > 0 {
				t.Errorf("the proxy saw %q", got)
			} else if tc.bare && len(got) != 1 {
				t.Errorf("the proxy saw %q, want the redirect followed without the credential", got)
			}
		})
	}
}

// R28: through a reverse proxy that leaves the Host field as its client wrote it, and an https tunnel, which is
// made by the URL.
func TestR28_ReverseProxyBeforeAProxy(t *testing.T) {
	p := newProxyServer(t)
	at, _ := url.Parse(p.URL)
	auth := &tokens{}
	tr := newTransport(t, auth, TransportConfig{Base: &http.Transport{Proxy: http.ProxyURL(at)}, OnExisting: Replace,
		Origins: []string{"http://api.example", "https://api.example"}, AllowPlaintext: []string{"http://api.example"}})
	t.Cleanup(tr.CloseIdleConnections)
	target, _ := url.Parse("http://api.example")
	var failed error
	front := httputil.NewSingleHostReverseProxy(target)
	front.Transport = tr
	front.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, err error) { failed = err; w.WriteHeader(502) }
	req := httptest.NewRequestWithContext(t.Context(), "GET", "/", nil)
	req.Host = "evil.example"
	front.ServeHTTP(httptest.NewRecorder(), req)
	if got := p.took(); len(got) > 0 || auth.made.Load() > 0 || fmt.Sprintf("%T", failed) != "*renew.OriginError" {
		t.Errorf("the proxy saw %q, and the error is %v", got, failed)
	}
	req = newRequest(t, "GET", "https://api.example/", nil)
	req.Host = "other.example"
	if resp, err := tr.RoundTrip(req); err == nil {
		_ = resp.Body.Close()
		t.Error("the proxy does not tunnel, and yet there was an answer")
	}
	if got, want := p.took(), []string{"CONNECT api.example:443 "}; !slices.Equal(got, want) {
		t.Errorf("the proxy saw %q, want %q", got, want)
	}
}
