package toopher_test

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/clock"
	"github.com/seed-f29168f7/renew/sources/toopher"
	"github.com/seed-f29168f7/renew/sources/toopher/internal/vectors"
	"github.com/seed-f29168f7/renew/sources/toopher/toophertest"
)

const (
	testKey    = "requester-key-7Q2x"
	testSecret = "requester-secret-9LmW"
)

func load(t testing.TB) *vectors.File { return vectors.Load(t, "testdata/toopher.json") }

// roundTripper is a function as an http.RoundTripper.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// reply makes a response.
func reply(status int, contentType, body string) *http.Response {
	return &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {contentType}}, Body: io.NopCloser(strings.NewReader(body))}
}

// stub answers every request with the same reply, and keeps what was sent.
type stub struct {
	status      int
	contentType string
	body        string
	header      http.Header
	err         error

	mu   sync.Mutex
	sent []sent
}

type sent struct {
	method, url, body string
	header            http.Header
}

func (s *stub) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		body, _ = io.ReadAll(r.Body)
		_ = r.Body.Close()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent = append(s.sent, sent{r.Method, r.URL.String(), string(body), r.Header.Clone()})
	if s.err != nil {
		return nil, s.err
	}
	resp := reply(s.status, s.contentType, s.body)
	for name, values := range s.header {
		resp.Header[name] = values
	}
	return resp, nil
}

// client returns a Client whose requests go to rt.
func client(rt http.RoundTripper) *toopher.Client {
	return &toopher.Client{Key: testKey, Secret: renew.NewSecret(testSecret), HTTPClient: &http.Client{Transport: rt}}
}

// service returns a test service and a Client of it, which share a clock.
func service(t *testing.T, clk clock.Clock) (*toophertest.Service, *toopher.Client) {
	t.Helper()
	s := toophertest.New(testKey, testSecret)
	s.Scheme, s.Clock = "https", clk
	c := client(direct{s})
	c.Clock = clk
	return s, c
}

// direct serves requests without a network.
type direct struct{ handler http.Handler }

func (d direct) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	w := &recorder{header: make(http.Header)}
	in := r.Clone(r.Context())
	in.Host = r.URL.Host
	if in.Body == nil {
		in.Body = http.NoBody
	}
	d.handler.ServeHTTP(w, in)
	resp := reply(w.status, "", w.body.String())
	resp.Header = w.header
	return resp, nil
}

type recorder struct {
	status int
	header http.Header
	body   strings.Builder
}

func (w *recorder) Header() http.Header { return w.header }
func (w *recorder) WriteHeader(s int)   { w.status = s }
func (w *recorder) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = 200
	}
	return w.body.Write(b)
}

// at is a clock that stands at a unix time.
func at(seconds int64) *clock.Fake { return clock.NewFake(time.Unix(seconds, 0).UTC()) }
