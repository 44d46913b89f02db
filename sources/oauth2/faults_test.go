package oauth2

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
	"testing"
	"time"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/sources/internal/leaktest"
)

// trap is where redirects lead. It keeps all that it is sent.
type trap struct {
	mu  sync.Mutex
	log []string
}

func (s *trap) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body) // what arrived counts
	s.mu.Lock()
	s.log = append(s.log, fmt.Sprint(r.Method, r.URL, r.Header, string(body)))
	s.mu.Unlock()
	_, _ = io.WriteString(w, `{"access_token":"from the trap"}`)
}

// echo repeats in the reply all that was sent, as a debugging proxy or an
// error page does: it is the worst that a body can hold.
func echo(r *http.Request) string {
	body, _ := io.ReadAll(r.Body) // what arrived counts
	id, secret, _ := r.BasicAuth()
	form, _ := url.ParseQuery(string(body)) // sent by this package
	return strings.Join([]string{r.Header.Get("Authorization"), id, secret, string(body), form.Get("client_secret"), form.Get("refresh_token"), oddSecret, oddToken}, " ")
}

// TestR30NoFaultShowsASecret drives the Sources, in every auth style, into every fault
// and looks for the secrets in each error, in every form.
func TestR30NoFaultShowsASecret(t *testing.T) {
	target := new(trap)
	plain, secure := httptest.NewServer(target), httptest.NewTLSServer(target)
	t.Cleanup(plain.Close)
	t.Cleanup(secure.Close)

	fixed := func(status int, contentType, format string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			text := echo(r)
			w.Header().Set("Content-Type", contentType)
			w.Header().Set("WWW-Authenticate", `Basic realm="`+url.QueryEscape(text)+`"`)
			w.Header().Set("Retry-After", url.QueryEscape(text))
			w.WriteHeader(status)
			_, _ = fmt.Fprintf(w, format, text)
		}
	}
	type fault struct {
		kind renew.Kind
		h    http.Handler
	}
	faults := map[string]fault{
		"200 HTML":         {renew.Transient, fixed(200, "text/html", "<html>%s</html>")},
		"200 empty object": {renew.Transient, fixed(200, "application/json", `{"x":%q}`)},
		"200 token unsafe": {renew.Transient, fixed(200, "application/json", `{"access_token":%q}`)},
		"200 token_type":   {renew.Invalid, fixed(200, "application/json", `{"access_token":"abc","token_type":%q}`)},
		"200 expires_in":   {renew.Transient, fixed(200, "application/json", `{"access_token":"abc","expires_in":%q}`)},
		"200 wrong types":  {renew.Transient, fixed(200, "application/json", `{"access_token":[%q]}`)},
		"200 no JSON":      {renew.Transient, fixed(200, "application/json", `{"access_token":%s}`)},
		"200 trailing":     {renew.Transient, fixed(200, "application/json", `{"access_token":"abc"} %s`)},
		"200 form":         {renew.Transient, fixed(200, "application/x-www-form-urlencoded", `error=&x=%%zz%s`)},
		"400 description":  {renew.Refused, fixed(400, "application/json", `{"error":"invalid_request","error_description":%q}`)},
		"400 code":         {renew.Transient, fixed(400, "application/json", `{"error":%q}`)},
		"400 HTML":         {renew.Transient, fixed(400, "text/html", "%s")},
		"401 HTML":         {renew.Refused, fixed(401, "text/html", "%s")},
		"401 code":         {renew.Refused, fixed(401, "application/json", `{"error":"invalid_client","error_uri":%q}`)},
		"403 HTML":         {renew.Transient, fixed(403, "text/html", "%s")},
		"404":              {renew.Refused, fixed(404, "text/html", "%s")},
		"429":              {renew.Throttled, fixed(429, "text/html", "%s")},
		"500":              {renew.Transient, fixed(500, "text/html", "%s")},
		"503":              {renew.Transient, fixed(503, "text/html", "%s")},
		"error code is the secret": {renew.Refused, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, secret, ok := r.BasicAuth() // form-encoded, so all its characters may stand in a code
			if !ok {
				secret = url.QueryEscape(oddSecret)
			}
			w.WriteHeader(400)
			_, _ = fmt.Fprintf(w, `{"error":%q}`, secret[:min(len(secret), 64)])
		})},
		"huge": {renew.Transient, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			text := echo(r)
			_, _ = io.WriteString(w, `{"access_token":"abc","x":"`+strings.Repeat(text, 3<<19/len(text))+`"}`)
		})},
		"truncated": {renew.Transient, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			text := echo(r)
			w.Header().Set("Content-Length", "100000")
			_, _ = io.WriteString(w, `{"access_token":"`+text)
		})},
		"hung up": {renew.Transient, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })},
		"trickled": {renew.Transient, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			for _, c := range echo(r) {
				if _, err := fmt.Fprintf(w, "%c", c); err != nil {
					return
				}
				_ = http.NewResponseController(w).Flush()
				select {
				case <-r.Context().Done():
					return
				case <-time.After(20 * time.Millisecond):
				}
			}
		})},
	}
	for _, status := range []int{301, 302, 303, 307, 308} {
		for name, to := range map[string]string{"port": plain.URL, "scheme": secure.URL, "host": strings.Replace(plain.URL, "127.0.0.1", "localhost", 1)} {
			faults[fmt.Sprintf("%d to another %s", status, name)] = fault{renew.Invalid, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Location", to+"/?q="+url.QueryEscape(echo(r)))
				w.WriteHeader(status)
			})}
		}
	}

	for name, f := range faults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := httptest.NewServer(f.h)
			t.Cleanup(srv.Close)
			timeout := time.Minute
			if name == "trickled" {
				timeout = 300 * time.Millisecond
			}
			tryAll(t, srv.URL, secure.Client(), timeout, f.kind, false)
		})
	}
	t.Run("malformed HTTP", func(t *testing.T) {
		t.Parallel()
		tryAll(t, rawEcho(t), nil, time.Minute, renew.Transient, false)
	})
	t.Run("before sending", func(t *testing.T) {
		dead := httptest.NewServer(nil)
		dead.Close()
		noDNS := &net.Dialer{Resolver: &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
			return nil, errors.New("no network in this test")
		}}}
		tryAll(t, dead.URL, nil, time.Minute, renew.Transient, true)
		tryAll(t, "https://issuer.invalid", &http.Client{Transport: &http.Transport{DialContext: noDNS.DialContext}}, time.Minute, renew.Transient, true)
		tryAll(t, secure.URL, nil, time.Minute, renew.Transient, true)
		tryAll(t, strings.Replace(plain.URL, "http:", "https:", 1), nil, time.Minute, renew.Transient, true)
	})
	t.Cleanup(func() {
		for _, entry := range target.log {
			t.Errorf("a redirect was followed: %s", entry)
		}
	})
}

// rawEcho answers with what it was sent, which is no HTTP.
func rawEcho(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				if r, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
					_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\n%s\r\n\r\n", echo(r))
				}
			}()
		}
	}()
	return "http://" + l.Addr().String()
}

// tryAll calls the Sources in every auth style; each call must fail as wanted.
func tryAll(t *testing.T, u string, client *http.Client, timeout time.Duration, kind renew.Kind, unsent bool) {
	t.Helper()
	u += "/token?key=" + url.QueryEscape(oddSecret)
	for _, style := range []AuthStyle{InHeader, InParams} {
		secret, refresh := renew.NewSecret(oddSecret), renew.NewSecret(oddToken)
		cc := &ClientCredentials{TokenURL: u, ClientID: oddID, ClientSecret: secret, AuthStyle: style, HTTPClient: client}
		rt := &RefreshToken{TokenURL: u, ClientID: oddID, ClientSecret: secret, AuthStyle: style, RefreshToken: refresh, HTTPClient: client}
		leaktest.Check(t, cc.Validate(), oddSecret, oddToken)
		for name, call := range map[string]func(context.Context) (*renew.Token, error){
			"ClientCredentials": cc.Issue,
			"RefreshToken":      rt.Issue,
			"Reissue": func(ctx context.Context) (*renew.Token, error) {
				return rt.Reissue(ctx, &renew.Token{Refresh: refresh})
			},
			"TokenExchange": (&TokenExchange{TokenURL: u, ClientID: oddID, ClientSecret: secret, AuthStyle: style, SubjectToken: refresh, HTTPClient: client}).Issue,
			"AuthorizationCode": func(ctx context.Context) (*renew.Token, error) {
				src := &AuthorizationCode{AuthURL: u, TokenURL: u, ClientID: oddID, ClientSecret: secret, AuthStyle: style, HTTPClient: client}
				return src.Exchange(ctx, &Authorization{State: "s", Verifier: renew.NewSecret(newVerifier())}, url.Values{"code": {"code for one login"}, "state": {"s"}})
			},
			"DeviceCode": (&DeviceCode{DeviceAuthURL: u, TokenURL: u, ClientID: oddID, ClientSecret: secret, AuthStyle: style, Prompt: nothing, HTTPClient: client}).Issue,
		} {
			ctx, cancel := context.WithTimeout(t.Context(), timeout)
			tok, err := call(ctx)
			cancel()
			if err == nil {
				t.Errorf("%s, style %d: got %v, want an error", name, style, tok)
				continue
			}
			e := issueError(t, err)
			kind := kind
			if name == "DeviceCode" && e.Status == 200 {
				kind = renew.Transient // what would be a bad token is no device authorization reply
			}
			if e.Kind != kind || e.Unsent != unsent {
				t.Errorf("%s, style %d: %#v (%v), want %v, unsent %v", name, style, e, e, kind, unsent)
			}
			leaktest.Check(t, err, oddSecret, oddToken)
			if strings.Contains(err.Error(), "?") || strings.Contains(err.Error(), "key=") {
				t.Errorf("%s, style %d: %v shows the query", name, style, err)
			}
		}
	}
}
