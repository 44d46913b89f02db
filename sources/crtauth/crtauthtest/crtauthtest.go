// Package crtauthtest is a crtauth server for tests. It is as strict as the two real ones, the
// one in Python and the one in Java, and takes and refuses what they do: the times of
// challenges and tokens, HMACs, signatures, both layouts of the token, the statuses. It shares
// no code with the client and is held to the same recorded data.
package crtauthtest

import (
	"crypto/rand"
	"crypto/rsa"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"time"

	"github.com/seed-f29168f7/renew/clock"
)

// Options say what a server is like. The zero value is a server in Python named 127.0.0.1, as
// NewServer's URL has it, that knows nobody.
type Options struct {
	// ServerName is the name in its challenges. Empty means 127.0.0.1.
	ServerName string
	// Users has the key of each user.
	Users map[string]*rsa.PublicKey
	// Secret is what HMACs are made with. Empty means a fixed one.
	Secret string
	// Lifetime of tokens, in whole seconds. Zero means 60 s. Above 598 s no token works: real servers have that fault.
	Lifetime time.Duration
	// Java makes it the server in Java: version 1 and its token alone, no signature that lacks the zeros at
	// its front, 500 for whatever is wrong.
	Java bool
	// LowestVersion is the lowest version of the protocol that is taken, 0 or 1.
	LowestVersion int
	// Protected is what tokens are asked for. The request has the user in its X-User header. Nil
	// means a handler that answers "hello <user>".
	Protected http.Handler
	// Method, when not empty, is the one method that the login takes; others get 405.
	Method string
	// NoDate leaves the Date header out.
	NoDate bool
	// Clock is the server's. Nil means clock.Real{}.
	Clock clock.Clock
	// Rand makes challenges unique. Nil means crypto/rand.
	Rand io.Reader
}

// Counts is what a Handler has seen.
type Counts struct {
	Challenges   int // that it made
	Logins       int // responses that it answered with a token
	Refused      int // responses that it refused
	Failed       int // other requests to the login that it did not serve
	Served       int // requests with a good token
	Unauthorized int // requests without one
}

// Handler is the server without a network. It is safe for concurrent use.
type Handler struct {
	opts Options
	clk  clock.Clock

	mu        sync.Mutex // guards what follows; not held across a call of a func of the test's
	users     map[string]*rsa.PublicKey
	counts    Counts
	intercept func(w http.ResponseWriter, r *http.Request) bool
}

// Server is a Handler that listens on 127.0.0.1. Close it.
type Server struct {
	*httptest.Server
	*Handler
}

// NewServer starts a server.
func NewServer(opts Options) *Server {
	h := NewHandler(opts)
	return &Server{httptest.NewServer(h), h}
}

// NewHandler makes a server without a network.
func NewHandler(opts Options) *Handler {
	if opts.ServerName == "" {
		opts.ServerName = "127.0.0.1"
	}
	if opts.Secret == "" {
		opts.Secret = "crtauthtest"
	}
	if opts.Lifetime == 0 {
		opts.Lifetime = time.Minute
	}
	if opts.Rand == nil {
		opts.Rand = rand.Reader
	}
	if opts.Clock == nil {
		opts.Clock = clock.Real{}
	}
	if opts.Protected == nil {
		opts.Protected = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, "hello "+r.Header.Get("X-User"))
		})
	}
	return &Handler{opts: opts, clk: opts.Clock, users: maps.Clone(opts.Users)}
}

// Counts returns what has happened so far.
func (h *Handler) Counts() Counts {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.counts
}

// SetKey gives a user another key, or takes it away where key is nil.
func (h *Handler) SetKey(user string, key *rsa.PublicKey) {
	h.mu.Lock()
	defer h.mu.Unlock()
	users := maps.Clone(h.users)
	if users == nil {
		users = make(map[string]*rsa.PublicKey)
	}
	users[user] = key
	h.users = users
}

// Intercept makes f look at each request to the login first; what it returns true for, it has
// answered. Nil ends that.
func (h *Handler) Intercept(f func(w http.ResponseWriter, r *http.Request) bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.intercept = f
}

// Accepts reports whether a token is good now.
func (h *Handler) Accepts(token string) bool {
	_, err := h.judgeToken(token, h.clk.Now().Wall)
	return err == nil
}

func (h *Handler) count(f func(c *Counts)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f(&h.counts)
}

func (h *Handler) key(user string) *rsa.PublicKey {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.users[user]
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	now := h.clk.Now().Wall
	w.Header().Set("Date", now.UTC().Format(http.TimeFormat))
	if h.opts.NoDate {
		w.Header()["Date"] = nil
	}
	if r.URL.Path != "/_auth" {
		h.protect(w, r, now)
		return
	}
	h.mu.Lock()
	intercept := h.intercept
	h.mu.Unlock()
	switch {
	case intercept != nil && intercept(w, r):
	case h.opts.Method != "" && r.Method != h.opts.Method:
		h.fail(w, http.StatusMethodNotAllowed, "")
	default:
		h.login(w, r, now)
	}
}

// protect serves what tokens are asked for.
func (h *Handler) protect(w http.ResponseWriter, r *http.Request, now time.Time) {
	values := r.Header.Values("Authorization")
	if len(values) == 1 {
		if text, ok := strings.CutPrefix(values[0], "chap:"); ok {
			if user, err := h.judgeToken(text, now); err == nil {
				h.count(func(c *Counts) { c.Served++ })
				r = r.Clone(r.Context())
				r.Header.Set("X-User", user)
				h.opts.Protected.ServeHTTP(w, r)
				return
			}
		}
	}
	h.count(func(c *Counts) { c.Unauthorized++ })
	w.Header().Set("Content-Type", "text/plain")
	w.WriteHeader(http.StatusUnauthorized)
	_, _ = io.WriteString(w, "Unauthorized")
}

// fail answers a request to the login that is not served.
func (h *Handler) fail(w http.ResponseWriter, status int, body string) {
	h.count(func(c *Counts) { c.Failed++ })
	h.answer(w, status, body)
}

func (h *Handler) answer(w http.ResponseWriter, status int, body string) {
	if body != "" {
		w.Header().Set("Content-Type", "text/plain")
	}
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body)
}

// refusedBody is the body of a 403.
const refusedBody = "Failed to authenticate user"

// login serves a request to the login.
func (h *Handler) login(w http.ResponseWriter, r *http.Request, now time.Time) {
	refused := http.StatusForbidden
	if h.opts.Java {
		refused = http.StatusInternalServerError
	}
	values := r.Header.Values("X-CHAP")
	if len(values) == 0 {
		h.fail(w, http.StatusForbidden, "")
		return
	}
	method, message, ok := strings.Cut(values[0], ":")
	switch {
	case !ok:
		h.fail(w, http.StatusInternalServerError, "")
	case method == "request":
		challenge, status := h.challenge(message, now)
		switch {
		case status == http.StatusForbidden:
			h.fail(w, refused, refusedBody)
		case status != http.StatusOK:
			h.fail(w, status, "")
		default:
			h.count(func(c *Counts) { c.Challenges++ })
			w.Header().Set("X-CHAP", "challenge:"+challenge)
			w.WriteHeader(http.StatusOK)
		}
	case method == "response":
		token, err := h.judgeResponse(message, now)
		if err != nil {
			h.count(func(c *Counts) { c.Refused++ })
			h.answer(w, refused, refusedBody)
			return
		}
		h.count(func(c *Counts) { c.Logins++ })
		w.Header().Set("X-CHAP", "token:"+token)
		w.WriteHeader(http.StatusOK)
	case h.opts.Java:
		h.fail(w, http.StatusBadRequest, "")
	default:
		h.fail(w, http.StatusForbidden, refusedBody)
	}
}
