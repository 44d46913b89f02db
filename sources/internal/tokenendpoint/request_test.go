package tokenendpoint

import (
	"bufio"
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/clock"
	"github.com/seed-f29168f7/renew/sources/internal/leaktest"
)

const (
	oddID     = `client:+%&=?"\ <é日>`
	oddSecret = `s3cr+t:%&=?"\ <value>/é日本`
)

const good = `{"access_token":"abc","token_type":"bearer","expires_in":60}`

// serve starts a server on loopback that answers every request with h and
// returns its URL and the count of requests.
func serve(t *testing.T, h http.HandlerFunc) (string, *atomic.Int32) {
	t.Helper()
	n := new(atomic.Int32)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n.Add(1)
		h(w, r)
	}))
	t.Cleanup(srv.Close)
	return srv.URL, n
}

func text(s string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, s) }
}

// do sends one request for a client with an odd id and secret.
func do(t *testing.T, ctx context.Context, u string, client *http.Client) (*renew.Token, *renew.IssueError) {
	t.Helper()
	r := &Request{Source: "test", URL: u, Form: url.Values{"grant_type": {"client_credentials"}}, ClientID: oddID, ClientSecret: renew.NewSecret(oddSecret), Client: client}
	tok, err := r.Do(ctx)
	leaktest.Check(t, err, oddSecret)
	if err == nil {
		return tok, nil
	}
	e, ok := err.(*renew.IssueError)
	if !ok || e.Source != "test" || e.Host != Host(u) {
		t.Fatalf("err = %#v, want an IssueError of this source and host", err)
	}
	return nil, e
}

// RFC 6749, section 2.3.1 and appendix B: id and secret are form-encoded before
// they go into the Basic scheme, and in the body like everything else.
func TestClientAuthenticationRoundTrips(t *testing.T) {
	for _, tt := range []struct {
		name   string
		style  AuthStyle
		secret string
	}{{"InHeader", InHeader, oddSecret}, {"InParams", InParams, oddSecret}, {"None", None, ""}} {
		t.Run(tt.name, func(t *testing.T) {
			u, n := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if r.Method != http.MethodPost || r.Header.Get("Accept") != "application/json" || r.Header.Get("Content-Type") != "application/x-www-form-urlencoded" {
					t.Errorf("%s with %v, want a POST of a form that accepts JSON", r.Method, r.Header)
				}
				if err := r.ParseForm(); err != nil {
					t.Error(err)
				}
				id, secret := r.PostForm.Get("client_id"), r.PostForm.Get("client_secret")
				if user, pass, ok := r.BasicAuth(); ok {
					if id != "" || secret != "" {
						t.Error("credentials in the body and in the header: RFC 6749, section 2.3, allows one method a request")
					}
					var err1, err2 error
					id, err1 = url.QueryUnescape(user)
					secret, err2 = url.QueryUnescape(pass)
					if err := errors.Join(err1, err2); err != nil {
						t.Error(err)
					}
				}
				if id != oddID || secret != tt.secret {
					t.Errorf("server saw id %q and secret %q, want %q and %q", id, secret, oddID, tt.secret)
				}
				if got := r.PostForm["grant_type"]; len(got) != 1 || got[0] != "client_credentials" {
					t.Errorf("grant_type = %q", got)
				}
				text(good)(w, r)
			})
			form := url.Values{"grant_type": {"client_credentials"}}
			r := &Request{URL: u, Form: form, AuthStyle: tt.style, ClientID: oddID, ClientSecret: renew.NewSecret(oddSecret)}
			if _, err := r.Do(t.Context()); err != nil {
				t.Fatal(err)
			}
			if n.Load() != 1 || len(form) != 1 {
				t.Errorf("requests = %d and form = %v, want 1 and the form as it was", n.Load(), form)
			}
		})
	}
}

// x/oauth2 sends every failed request twice, to find out the auth style.
func TestR19FailedRequestIsSentOnce(t *testing.T) {
	for _, status := range []int{400, 401, 403, 404, 429, 500, 503} {
		u, n := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
		if _, e := do(t, t.Context(), u, nil); e == nil || e.Status != status || n.Load() != 1 {
			t.Errorf("%d: err = %v after %d requests, want one", status, e, n.Load())
		}
	}
}

func TestRedirectIsNotFollowed(t *testing.T) {
	target := func(t *testing.T, start func(http.Handler) *httptest.Server) (*httptest.Server, *atomic.Int32) {
		n := new(atomic.Int32)
		srv := start(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { n.Add(1); text(good)(w, r) }))
		t.Cleanup(srv.Close)
		return srv, n
	}
	plain, plainHits := target(t, httptest.NewServer)
	secure, secureHits := target(t, httptest.NewTLSServer)
	jar, _ := cookiejar.New(nil) // never fails
	for _, status := range []int{300, 301, 302, 303, 304, 307, 308} {
		for name, to := range map[string]string{"other port": plain.URL, "other scheme": secure.URL, "other host": strings.Replace(plain.URL, "127.0.0.1", "localhost", 1), "same host": "/elsewhere"} {
			t.Run(fmt.Sprint(status, " ", name), func(t *testing.T) {
				u, n := serve(t, func(w http.ResponseWriter, r *http.Request) {
					if r.Header.Get("Cookie") != "" {
						t.Error("a cookie was sent")
					}
					http.SetCookie(w, &http.Cookie{Name: "sticky", Value: "1"})
					w.Header().Set("Location", to+"?leak="+url.QueryEscape(r.Header.Get("Authorization")))
					w.WriteHeader(status)
				})
				client := secure.Client() // trusts the target, has a jar, follows everything
				client.Jar = jar
				client.CheckRedirect = func(*http.Request, []*http.Request) error { return nil }
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second) // the redirect to itself has no other end
				defer cancel()
				for range 2 {
					_, e := do(t, ctx, u, client)
					if e == nil || e.Kind != renew.Invalid || !e.Permanent || e.Status != status || e.Unsent {
						t.Fatalf("err = %#v, want invalid and permanent", e)
					}
				}
				if n.Load() != 2 || plainHits.Load()+secureHits.Load() != 0 {
					t.Errorf("requests = %d, at the targets %d and %d, want 2, 0, 0", n.Load(), plainHits.Load(), secureHits.Load())
				}
				if client.Jar == nil || client.CheckRedirect == nil {
					t.Error("the caller's client was written to")
				}
			})
		}
	}
}

// The first byte of the reply is the end of certainty: before it Unsent tells
// what R18 gives the unit of the budget back for.
func TestR18Unsent(t *testing.T) {
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	secure := httptest.NewTLSServer(http.HandlerFunc(text(good)))
	secure.Config.ErrorLog = nil
	t.Cleanup(secure.Close)
	plain, _ := serve(t, text(good))
	hangUp, _ := serve(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	cut, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "1000")
		_, _ = io.WriteString(w, `{"access_`)
	})
	noDNS := &net.Dialer{Resolver: &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, errors.New("no network in this test")
	}}}
	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts by the backlog, says nothing
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = silent.Close() })
	opaque := func(err error) *http.Client {
		return &http.Client{Transport: roundTripper(func(*http.Request) (*http.Response, error) { return nil, err })}
	}
	for _, tt := range []struct {
		name   string
		url    string
		client *http.Client
		unsent bool
	}{
		{"refused connection", closed.URL, nil, true},
		{"DNS", "https://issuer.invalid/token", &http.Client{Transport: &http.Transport{DialContext: noDNS.DialContext}}, true},
		{"unknown authority", secure.URL, nil, true},
		{"TLS to a plain server", strings.Replace(plain, "http:", "https:", 1), nil, true},
		{"TLS handshake that hangs", "https://" + silent.Addr().String(), &http.Client{Transport: &http.Transport{TLSHandshakeTimeout: 50 * time.Millisecond}}, true},
		{"proxy refused", secure.URL, &http.Client{Transport: &http.Transport{Proxy: proxy(closed.URL)}}, true},
		{"proxy says no", secure.URL, &http.Client{Transport: &http.Transport{Proxy: proxy(plain)}}, true},
		{"hung up", hangUp, nil, false},
		{"reply cut short", cut, nil, false},
		{"RoundTripper: dial", plain, opaque(&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}), true},
		{"RoundTripper: DNS", plain, opaque(&net.DNSError{Err: "no such host", Name: "x"}), true},
		{"RoundTripper: certificate", plain, opaque(&tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}), true},
		{"RoundTripper: x509", plain, opaque(x509.UnknownAuthorityError{}), true},
		{"RoundTripper: no TLS there", plain, opaque(tls.RecordHeaderError{Msg: "x", Conn: &net.TCPConn{}}), true},
		{"RoundTripper: TLS fault later", plain, opaque(tls.RecordHeaderError{Msg: "x"}), false},
		{"RoundTripper: read", plain, opaque(&net.OpError{Op: "read", Err: syscall.ECONNRESET}), false},
		{"RoundTripper: unknown", plain, opaque(errors.New("x")), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, e := do(t, t.Context(), tt.url, tt.client)
			if e == nil || e.Unsent != tt.unsent || e.Kind != renew.Transient || e.Permanent {
				t.Fatalf("err = %#v (%v), want transient with Unsent %v", e, e, tt.unsent)
			}
			if pick[*url.Error](e) != nil {
				t.Errorf("%v holds a *url.Error", e)
			}
		})
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func proxy(raw string) func(*http.Request) (*url.URL, error) {
	return func(*http.Request) (*url.URL, error) { return url.Parse(raw) }
}

// A connection that was got and lost, and a dial that then fails, leave it open
// whether the request arrived.
func TestR18RetryingRoundTripperIsNotUnsent(t *testing.T) {
	u, _ := serve(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	retrying := roundTripper(func(r *http.Request) (*http.Response, error) {
		if _, err := http.DefaultTransport.RoundTrip(r); err == nil {
			t.Error("the first try answered, want it cut")
		}
		return nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
	})
	if _, e := do(t, t.Context(), u, &http.Client{Transport: retrying}); e == nil || e.Unsent || beforeSending(e) {
		t.Errorf("err = %#v, want Unsent false", e)
	}
}

func TestContextEndsTheRequest(t *testing.T) {
	cause := errors.New("the flight's time is over")
	stop := make(chan struct{})
	trickle, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		for {
			if _, err := io.WriteString(w, " "); err != nil {
				return
			}
			_ = http.NewResponseController(w).Flush()
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	})
	hang, _ := serve(t, func(http.ResponseWriter, *http.Request) { <-stop })
	t.Cleanup(func() { close(stop) }) // before the servers close
	for _, tt := range []struct {
		name, url string
		after     time.Duration
		unsent    bool
	}{
		{"before it began", hang, -1, true},
		{"while the server thinks", hang, 30 * time.Millisecond, false},
		{"while the reply trickles", trickle, 60 * time.Millisecond, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			if tt.after < 0 {
				cancel(cause)
			} else {
				time.AfterFunc(tt.after, func() { cancel(cause) })
			}
			start := time.Now()
			_, e := do(t, ctx, tt.url, nil)
			if e == nil || !errors.Is(e, cause) || e.Kind != renew.Transient || e.Unsent != tt.unsent {
				t.Errorf("err = %#v (%v), want transient, wrapping the cause, Unsent %v", e, e, tt.unsent)
			}
			if took := time.Since(start); took > 5*time.Second {
				t.Errorf("it took %v after the end of the context", took)
			}
		})
	}
}

func TestClientTimeoutOfTheCaller(t *testing.T) {
	stop := make(chan struct{})
	hang, _ := serve(t, func(http.ResponseWriter, *http.Request) { <-stop })
	t.Cleanup(func() { close(stop) })
	_, e := do(t, t.Context(), hang, &http.Client{Timeout: 30 * time.Millisecond})
	if e == nil || !errors.Is(e, os.ErrDeadlineExceeded) && !errors.Is(e, context.DeadlineExceeded) || e.Kind != renew.Transient || e.Unsent {
		t.Errorf("err = %#v (%v), want a transient timeout", e, e)
	}
}

func TestReplyIsBounded(t *testing.T) {
	long := `{"access_token":"abc","x":"` + strings.Repeat("x", 3*MaxReply) + `"}`
	for name, h := range map[string]http.HandlerFunc{
		"plain": text(long),
		"gzip": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			_, _ = io.WriteString(z, long)
			_ = z.Close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			u, _ := serve(t, h)
			_, e := do(t, t.Context(), u, nil)
			checkForm(t, e)
		})
	}
	u, _ := serve(t, text(`{"access_token":"abc","x":"`+strings.Repeat("x", MaxReply-100)+`"}`))
	if _, e := do(t, t.Context(), u, nil); e != nil {
		t.Errorf("a reply just below the limit: %v", e)
	}
}

// A reply without end is left after MaxReply bytes, and its connection closed.
func TestEndlessReplyIsLeft(t *testing.T) {
	sent := make(chan int, 1)
	u, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		chunk, total := []byte(strings.Repeat(" ", 1<<16)), 0
		for {
			n, err := w.Write(chunk)
			if total += n; err != nil || total > 1<<28 {
				sent <- total
				return
			}
		}
	})
	_, e := do(t, t.Context(), u, nil)
	checkForm(t, e)
	select {
	case n := <-sent:
		if n > MaxReply+1<<25 { // what the sockets' buffers hold comes on top
			t.Errorf("the server sent %d bytes, want little more than %d", n, MaxReply)
		}
	case <-time.After(10 * time.Second):
		t.Error("the connection is still open")
	}
}

// Whatever body an error had, the connection serves the next request: it was
// read to its end and closed.
func TestBodyIsDrained(t *testing.T) {
	var conns atomic.Int32
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, strings.Repeat("no ", 100_000))
	}))
	srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			conns.Add(1)
		}
	}
	srv.Start()
	t.Cleanup(srv.Close)
	for range 5 {
		if _, e := do(t, t.Context(), srv.URL, srv.Client()); e == nil {
			t.Fatal("got a token")
		}
	}
	if n := conns.Load(); n != 1 {
		t.Errorf("connections for 5 requests in a row = %d, want 1", n)
	}
}

// What net/http says of a malformed reply quotes it, and the reply may be an echo.
func TestMalformedReplyIsNotQuoted(t *testing.T) {
	echo := func(before string) string {
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
					req, err := http.ReadRequest(bufio.NewReader(c))
					if err == nil {
						_, _ = fmt.Fprintf(c, before, req.Header.Get("Authorization"))
					}
				}()
			}
		}()
		return "http://" + l.Addr().String()
	}
	for name, before := range map[string]string{
		"status line":    "%s\r\n\r\n",
		"status code":    "HTTP/1.1 %s\r\n\r\n",
		"header line":    "HTTP/1.1 200 OK\r\n%s\r\n\r\n",
		"content length": "HTTP/1.1 200 OK\r\nContent-Length: %s\r\n\r\n",
		"encoding":       "HTTP/1.1 200 OK\r\nTransfer-Encoding: %s\r\n\r\n",
		"chunk":          "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%s\r\n",
		"reason":         "HTTP/1.1 403 %s\r\nContent-Length: 0\r\n\r\n",
		"location":       "HTTP/1.1 302 Found\r\nLocation: http://[%s\r\nContent-Length: 0\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			_, e := do(t, t.Context(), echo(before), nil)
			if e == nil || e.Unsent {
				t.Fatalf("err = %#v, want a failure after sending", e)
			}
		})
	}
}

func TestErrorCodeThatEchoesTheRequest(t *testing.T) {
	const secret = "long-enough-secret"
	for _, tt := range []struct{ code, want string }{
		{secret, ""},
		{"x" + secret + "x", ""},
		{secret[:12], ""},
		{"bXlpZDpsb25nLWVub3VnaC1zZWNyZXQ=", ""}, // base64 of myid:long-enough-secret
		{"the-refresh-token", ""},
		{"incorrect_client_credentials", "incorrect_client_credentials"},
		{"invalid_client", "invalid_client"},
	} {
		u, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = fmt.Fprintf(w, `{"error":%q}`, tt.code)
		})
		r := &Request{URL: u, Form: url.Values{"grant_type": {"client_credentials"}, "refresh_token": {"the-refresh-token"}}, ClientID: "myid", ClientSecret: renew.NewSecret(secret)}
		_, err := r.Do(t.Context())
		if e, ok := errors.AsType[*renew.IssueError](err); !ok || e.Code != tt.want || e.Kind != renew.Refused {
			t.Errorf("code %q: %#v, want code %q, refused", tt.code, err, tt.want)
		}
	}
}

func TestGrantIsFinal(t *testing.T) {
	for _, final := range []bool{false, true} {
		for status, refused := range map[int]bool{400: true, 429: false, 503: false} {
			u, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(status)
				_, _ = io.WriteString(w, `{"error":"invalid_grant"}`)
			})
			_, err := (&Request{URL: u, GrantIsFinal: final}).Do(t.Context())
			if e, ok := errors.AsType[*renew.IssueError](err); !ok || e.Permanent != (final && refused) {
				t.Errorf("%d, final %v: %#v, want permanent %v", status, final, err, final && refused)
			}
		}
	}
}

// A Retry-After date counts from the clock that was given.
func TestRetryAfterByTheClock(t *testing.T) {
	u, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Date"] = nil
		w.Header().Set("Retry-After", noon.Add(90*time.Second).Format(http.TimeFormat))
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	_, err := (&Request{URL: u, Clock: stopped{}}).Do(t.Context())
	if e, ok := errors.AsType[*renew.IssueError](err); !ok || e.Kind != renew.Throttled || e.RetryAfter != 90*time.Second {
		t.Errorf("err = %#v, want throttled for 90 s", err)
	}
}

// stopped is a clock at noon.
type stopped struct{ clock.Real }

func (stopped) Now() clock.Instant { return clock.Instant{Wall: noon} }

func TestCheckURL(t *testing.T) {
	for _, tt := range []struct {
		url string
		ok  bool
	}{
		{"https://issuer.example/token", true},
		{"https://issuer.example:8443/token?api-version=1", true},
		{"http://127.0.0.1:80/token", true},
		{"http://127.9.9.9/token", true},
		{"http://[::1]:8080/token", true},
		{"http://[::ffff:127.0.0.1]/token", true},
		{"http://localhost/token", true},
		{"http://LOCALHOST/token", true},
		{"", false},
		{"issuer.example/token", false},
		{"//issuer.example/token", false},
		{"https:issuer.example", false},
		{"https:///token", false},
		{"https://:443/token", false},
		{"ftp://issuer.example/token", false},
		{"file:///etc/passwd", false},
		{"https://issuer.example/%zz", false},
		{"https://issuer.example:port/", false},
		{"https://issuer.example/token\n", false},
		{"https://user@issuer.example/token", false},
		{"https://user:hunter2hunter2@issuer.example/token", false},
		{"https://issuer.example/token#", false},
		{"https://issuer.example/token#fragment", false},
		{"http://issuer.example/token", false},
		{"http://localhost.evil.example/token", false},
		{"http://127.0.0.1.evil.example/token", false},
		{"http://10.0.0.1/token", false},
	} {
		err := CheckURL(tt.url, false)
		if (err == nil) != tt.ok {
			t.Errorf("CheckURL(%q) = %v, want ok %v", tt.url, err, tt.ok)
		}
		leaktest.Check(t, err, "hunter2hunter2", "issuer.example")
		if !tt.ok {
			if _, e := do(t, t.Context(), tt.url, nil); e == nil || e.Kind != renew.Invalid || !e.Permanent || !e.Unsent {
				t.Errorf("Do(%q): %#v, want invalid, permanent, unsent", tt.url, e)
			}
		}
	}
	if err := CheckURL("http://issuer.example/token", true); err != nil {
		t.Errorf("http, allowed: %v", err)
	}
}

func TestHostAndEndpoint(t *testing.T) {
	for _, tt := range []struct{ url, host, endpoint string }{
		{"https://issuer.example/token?key=1", "issuer.example", "https://issuer.example/token"},
		{"https://issuer.example:443/token", "issuer.example", "https://issuer.example:443/token"},
		{"http://issuer.example:80/", "issuer.example", "http://issuer.example:80/"},
		{"https://issuer.example:80/", "issuer.example:80", "https://issuer.example:80/"},
		{"https://[::1]:8443/t", "[::1]:8443", "https://[::1]:8443/t"},
		{"https://user:pw@issuer.example/", "issuer.example", "https://user:pw@issuer.example/"},
		{"%zz", "", "%zz"},
	} {
		if host, endpoint := Host(tt.url), Endpoint(tt.url); host != tt.host || endpoint != tt.endpoint {
			t.Errorf("%s: %q, %q, want %q, %q", tt.url, host, endpoint, tt.host, tt.endpoint)
		}
	}
}

func ExampleRequest_Do() {
	issuer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"access_token":"2YotnFZFEjr1zCsicMWpAA","expires_in":"3599.5"}`)
	}))
	defer issuer.Close()
	req := &Request{
		Source:       "example",
		URL:          issuer.URL,
		Form:         url.Values{"grant_type": {"client_credentials"}},
		ClientID:     "id",
		ClientSecret: renew.NewSecret("secret"),
	}
	tok, err := req.Do(context.Background())
	fmt.Println(tok.Type, tok.Value, tok.Life, err)
	// Output: Bearer [redacted] 59m59.5s <nil>
}
