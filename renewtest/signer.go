package renewtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/budget"
	"github.com/seed-f29168f7/renew/clock"
)

// SignerHarness is a signer ready to be tested, and what the kit must know of its
// scheme. A signer is an Authenticator that needs no issued token: Basic, Digest, OAuth 1,
// HMAC, HTTP message signatures. Signer and Verify are required.
type SignerHarness struct {
	// Signer is a fresh Authenticator that can sign for any origin.
	Signer renew.Authenticator
	// Verify is the server's judgement of a request as it arrived, whose body it may read. It should
	// be strict, remember nonces, and be written apart from the signer. It may be called by several goroutines. TLS is never
	// used: the scheme of the URL was http.
	Verify func(req *http.Request) error
	// Challenge answers a request that Verify refuses, where a signer learns from such an answer (Digest): it writes a 401.
	// Then the first request may come without a credential. Nil means a plain 401, and that each request has one.
	Challenge func(w http.ResponseWriter, req *http.Request)
	// Header is where the signer puts its credential. Empty means Authorization. It is TransportConfig.Header.
	Header string
	// ContentType is that of the bodies, which are forms. Empty means application/x-www-form-urlencoded.
	ContentType string
	// InBody says that the credential is appended to the body, so that requests without one cannot be signed.
	InBody bool
	// SameCredentialOK says that two requests may look the same: the scheme has no nonce.
	SameCredentialOK bool
	// Secrets are what the signer holds. They must appear in no error and no dump.
	Secrets []string
	// Budget is the budget that limits the signer's replays, if it has one. The signer is on clock.Real then.
	Budget *budget.Budget
}

// RunSigner tests that a signer keeps the rules, one subtest a rule or two, through a
// renew.Transport and a server in memory. newSigner is called for each of them. A failure says which rule of
// CONTRACT.md was broken, and how. Run it under the race detector.
func RunSigner(t *testing.T, newSigner func(t *testing.T) SignerHarness) {
	t.Helper()
	for _, c := range signerChecks() {
		t.Run(c.name, func(t *testing.T) {
			runSignerCheck(t, c, newSigner(t))
		})
	}
}

// signerKit is one check at work on one SignerHarness.
type signerKit struct {
	*kit
	h    SignerHarness
	here *site // the origin that the credential is for
	away *site // another one
	base *http.Transport
}

// runSignerCheck runs one check, and then looks for goroutines.
func runSignerCheck(r reporter, c signerCheck, h SignerHarness) {
	r.Helper()
	if h.Signer == nil || h.Verify == nil {
		r.Fatalf("renewtest: SignerHarness.Signer or SignerHarness.Verify is nil")
	}
	if h.Header == "" {
		h.Header = "Authorization"
	}
	if h.ContentType == "" {
		h.ContentType = "application/x-www-form-urlencoded"
	}
	k := &signerKit{kit: &kit{reporter: r, h: Harness{Secrets: h.Secrets}, clk: clock.Real{}, told: make(map[string]bool)}, h: h}
	k.tag = fmt.Sprintf("%p", k)
	k.here, k.away = newSite(h, "127.0.0.1:8001"), newSite(h, "127.0.0.1:8002")
	k.base = &http.Transport{DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
		for _, s := range []*site{k.here, k.away} {
			if s.addr == addr {
				return s.mem.dial(ctx)
			}
		}
		return nil, refused(addr)
	}}
	defer func() {
		k.base.CloseIdleConnections()
		k.here.close()
		k.away.close()
	}()
	c.run(k)
	k.checkGoroutines()
}

// site is a server in memory that keeps what arrived.
type site struct {
	h    SignerHarness
	addr string
	mem  *memory
	srv  *http.Server
	done chan struct{}

	mu     sync.Mutex
	got    []arrival
	refuse int               // requests to answer with a 401 though they are right; negative: all
	moved  map[string]string // by path: where it redirects to
}

// arrival is a request as it arrived.
type arrival struct {
	method, uri string
	header      http.Header
	body        string
	verdict     error
}

// looks returns all of an arrival that a credential could be in.
func (a arrival) looks() string {
	return fmt.Sprintf("%s %s\n%v\n%s", a.method, a.uri, a.header, a.body)
}

// refusal is the body of the 401s.
const refusal = "the server's own 401"

func newSite(h SignerHarness, addr string) *site {
	s := &site{h: h, addr: addr, mem: newMemory(addr), done: make(chan struct{}), moved: make(map[string]string)}
	s.srv = &http.Server{Handler: s}
	go func() {
		defer close(s.done)
		_ = s.srv.Serve(s.mem) // it always ends with ErrServerClosed
	}()
	return s
}

func (s *site) close() {
	_ = s.srv.Close()
	<-s.done
}

func (s *site) url(path string) string { return "http://" + s.addr + path }

func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	a := arrival{method: r.Method, uri: r.RequestURI, header: r.Header.Clone(), body: string(body), verdict: err}
	r.Body = io.NopCloser(bytes.NewReader(body))
	if err == nil {
		a.verdict = s.h.Verify(r)
	}
	s.mu.Lock()
	s.got = append(s.got, a)
	to, redirects := s.moved[r.URL.Path]
	refuse := s.refuse != 0 && a.verdict == nil
	if refuse && s.refuse > 0 {
		s.refuse--
	}
	s.mu.Unlock()
	switch {
	case redirects:
		http.Redirect(w, r, to, http.StatusTemporaryRedirect)
	case (refuse || a.verdict != nil) && s.h.Challenge != nil:
		s.h.Challenge(w, r)
	case refuse || a.verdict != nil:
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, refusal)
	default:
		_, _ = io.WriteString(w, "served")
	}
}

// take returns what has arrived since the last call.
func (s *site) take() []arrival {
	s.mu.Lock()
	defer s.mu.Unlock()
	got := s.got
	s.got = nil
	return got
}

func (s *site) refuseNext(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuse = n
}

// watched is a body that counts who reads and who closes it.
type watched struct {
	io.Reader
	reads, closes *atomic.Int32
}

func (w watched) Read(p []byte) (int, error) {
	w.reads.Add(1)
	return w.Reader.Read(p)
}

func (w watched) Close() error {
	w.closes.Add(1)
	return nil
}

// message is a request of the kit's, and what is known of its bodies.
type message struct {
	req           *http.Request
	text          string
	reads, closes atomic.Int32 // of req.Body
	opened        atomic.Int32 // calls of GetBody
	shut          atomic.Int32 // bodies of GetBody that were closed
}

// request makes a request. An empty text means no body, unless the scheme needs one.
func (k *signerKit) request(ctx context.Context, url, text string) *message {
	k.Helper()
	m := &message{text: text}
	method := http.MethodGet
	if m.text == "" && k.h.InBody {
		m.text = "a=1"
	}
	if m.text != "" {
		method = http.MethodPost
	}
	req, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		k.Fatalf("renewtest: %v", err)
	}
	req.Header.Set("X-Kit", "one")
	if m.text != "" {
		req.Header.Set("Content-Type", k.h.ContentType)
		req.ContentLength = int64(len(m.text))
		req.Body = watched{strings.NewReader(m.text), &m.reads, &m.closes}
		req.GetBody = func() (io.ReadCloser, error) {
			m.opened.Add(1)
			return watched{strings.NewReader(m.text), new(atomic.Int32), &m.shut}, nil
		}
	}
	m.req = req
	return m
}

// checkBody checks that a body arrived whole.
func (k *signerKit) checkBody(what, got, want string) {
	k.Helper()
	if k.h.InBody {
		got = got[:min(len(got), len(want))]
	}
	if got != want {
		k.Errorf("R29: the body of %s arrived with %d bytes that are not the %d which the caller sent", what, len(got), len(want))
	}
}

// try calls f on a goroutine of its own: a panic is a failure of the signer, and its error is looked through for secrets.
func (k *signerKit) try(name string, f func(ctx context.Context) error) error {
	k.Helper()
	_, err := k.do(name, func(ctx context.Context) (*renew.Token, error) { return nil, f(ctx) })
	return err
}

// client returns a client whose Transport has the signer.
func (k *signerKit) client() *http.Client {
	k.Helper()
	tr, err := renew.NewTransport(k.h.Signer, renew.TransportConfig{Origins: []string{k.here.url("")}, Header: k.h.Header, Base: k.base})
	if err != nil {
		k.inspectError("the error of NewTransport", err)
		k.Fatalf("R23: NewTransport refuses a signer that is set up to work: %v", err)
	}
	return &http.Client{Transport: tr}
}

// outcome is what a client got.
type outcome struct {
	status int
	body   string
}

// send sends m, and returns the answer with its body read.
func (k *signerKit) send(c *http.Client, m *message) (outcome, error) {
	k.Helper()
	var a outcome
	err := k.try("a request through a Transport", func(ctx context.Context) error {
		resp, err := c.Do(m.req.WithContext(ctx))
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		a = outcome{resp.StatusCode, string(body)}
		return err
	})
	return a, err
}

// served sends a request that the server must take, and returns how it arrived in the end.
func (k *signerKit) served(c *http.Client, m *message) []arrival {
	k.Helper()
	a, err := k.send(c, m)
	if err != nil {
		k.Fatalf("R29: a %s could not be sent: %v", m.req.Method, err)
	}
	got := k.here.take()
	if a.status != http.StatusOK {
		why := errors.New("no request arrived")
		if len(got) > 0 {
			why = got[len(got)-1].verdict
		}
		k.Fatalf("R29: the server answered %d to a %s after %d requests: %v", a.status, m.req.Method, len(got), why)
	}
	return got
}

// most is how many requests one call may take: with a challenge, the first may be without a credential.
func (k *signerKit) most() int {
	if k.h.Challenge != nil {
		return 2
	}
	return 1
}
