package crtauth_test

import (
	"context"
	"crypto/rsa"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh/agent"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/sources/crtauth"
	"github.com/seed-f29168f7/renew/sources/crtauth/crtauthtest"
	"github.com/seed-f29168f7/renew/sources/crtauth/internal/vectors"
	"github.com/seed-f29168f7/renew/sources/internal/leaktest"
)

// keys are the vectors' keys, read once.
var keys = sync.OnceValue(func() map[string]vectors.Key {
	return vectors.Load(new(failing), "testdata/crtauth.json").Keys
})

// failing panics where a test would fail.
type failing struct{ testing.TB }

func (*failing) Helper()           {}
func (*failing) Fatal(args ...any) { panic(args) }

func private(name string) *rsa.PrivateKey { return keys()[name].Private(new(failing)) }

func pemKey(name string) *crtauth.PEM { return &crtauth.PEM{Key: renew.NewSecret(keys()[name].PKCS1)} }

// inProcess sends requests to a handler without a network. A request whose ctx has ended fails, as
// net/http's would.
type inProcess struct{ http.Handler }

func (p inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	w := httptest.NewRecorder()
	p.ServeHTTP(w, r)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	resp := w.Result()
	resp.Request = r
	return resp, nil
}

// origin is what the servers without a network are called.
const origin = "https://api.example"

// newServer is a server without a network that knows alice by k2048, and her Source.
func newServer(opts crtauthtest.Options) (*crtauthtest.Handler, *crtauth.Source) {
	if opts.ServerName == "" {
		opts.ServerName = "api.example"
	}
	if opts.Users == nil {
		opts.Users = map[string]*rsa.PublicKey{"alice": &private("k2048").PublicKey}
	}
	h := crtauthtest.NewHandler(opts)
	return h, &crtauth.Source{
		Origin: origin, User: "alice", Signer: pemKey("k2048"), Clock: opts.Clock,
		HTTPClient: &http.Client{Transport: inProcess{h}},
	}
}

// fails returns the error of an Issue, which must be an *IssueError without secrets and without what went over the wire.
func fails(t *testing.T, src *crtauth.Source) *renew.IssueError {
	t.Helper()
	var said []string
	client := src.HTTPClient
	defer func() { src.HTTPClient = client }()
	if client != nil {
		hear := func(values []string) {
			for _, v := range values {
				if _, message, ok := strings.Cut(v, ":"); ok && len(strings.TrimSpace(message)) > 3 {
					said = append(said, strings.TrimSpace(message))
				}
			}
		}
		c := *client
		c.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
			if said := r.Header.Values("X-CHAP"); !strings.HasPrefix(said[0], "request:") { // the user, whom errors may name
				hear(said)
			}
			resp, err := client.Transport.RoundTrip(r)
			if err == nil {
				hear(resp.Header.Values("X-CHAP"))
			}
			return resp, err
		})
		src.HTTPClient = &c
	}
	tok, err := src.Issue(t.Context())
	require.Error(t, err)
	require.Nil(t, tok)
	e, ok := errors.AsType[*renew.IssueError](err)
	require.True(t, ok, "a %T", err)
	require.Equal(t, "crtauth", e.Source)
	leaktest.Check(t, err, append(said, keys()["k2048"].PKCS1, keys()["k2048"].PKCS8)...)
	return e
}

// response makes f answer the responses, and leaves the requests to the server.
func response(f http.HandlerFunc) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if len(r.Header.Get("X-CHAP")) < 9 || r.Header.Get("X-CHAP")[:9] != "response:" {
			return false
		}
		f(w, r)
		return true
	}
}

// answer makes f answer all.
func answer(f http.HandlerFunc) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool { f(w, r); return true }
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

// slow is a Signer that does something before each signature, and counts them.
type slow struct {
	crtauth.Signer
	before func(ctx context.Context) error
	signed atomic.Int32
}

func (s *slow) Keys(ctx context.Context) ([]crtauth.Key, error) {
	keys, err := s.Signer.Keys(ctx)
	for i := range keys {
		sign := keys[i].Sign
		keys[i].Sign = func(ctx context.Context, data []byte) ([]byte, error) {
			s.signed.Add(1)
			if s.before != nil {
				if err := s.before(ctx); err != nil {
					return nil, err
				}
			}
			return sign(ctx, data)
		}
	}
	return keys, err
}

// fakeAgent listens on a socket and gives each connection to serve. It returns the path.
func fakeAgent(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "agent")
	l, err := net.Listen("unix", path)
	require.NoError(t, err)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer conn.Close()
				serve(conn)
			})
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
	return path
}

// keyring is an agent of package ssh/agent with the named keys.
func keyring(t *testing.T, names ...string) (agent.Agent, string) {
	t.Helper()
	ring := agent.NewKeyring()
	for _, name := range names {
		require.NoError(t, ring.Add(agent.AddedKey{PrivateKey: private(name)}))
	}
	return ring, fakeAgent(t, func(conn net.Conn) { _ = agent.ServeAgent(ring, conn) })
}
