package interop

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
)

// requestID is the header that tells a request from its replay: both carry the same value.
const requestID = "X-Request-Id"

// books are the server's counters, kept around fosite and not within it.
type books struct {
	mu sync.Mutex // guards what follows

	unserved map[string]struct{} // API requests whose last answer was not 200
	api      map[string]struct{} // API requests, each once
	replays  int                 // answers 401 of the API
	expired  int                 // among them: the token had expired

	requests map[string]int            // token requests by grant type
	refused  int                       // answers of the token endpoint other than 200
	flying   map[string]int            // token requests now, by client
	most     int                       // the highest that any of flying was
	sent     map[[sha256.Size]byte]int // how often each refresh token was sent, by hash
}

func newBooks() *books {
	return &books{
		unserved: map[string]struct{}{}, api: map[string]struct{}{},
		requests: map[string]int{}, flying: map[string]int{}, sent: map[[sha256.Size]byte]int{},
	}
}

// count is a copy of the counters.
type count struct {
	api, failed      int // API requests, and those among them that got no 200 in the end
	replays, expired int
	tokens           int // token requests of a TokenSource: not those of a login
	refused          int
	most             int
	twice            int // refresh tokens that were sent more than once
}

// String is the line that the tests log.
func (c count) String() string {
	return fmt.Sprintf("server: %d API requests, %d failed, %d token requests, at most %d in flight, %d refresh tokens used twice"+
		" (%d answers 401 to API requests, %d of them to an expired token; %d token requests refused)",
		c.api, c.failed, c.tokens, c.most, c.twice, c.replays, c.expired, c.refused)
}

func (b *books) count() count {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := count{
		api: len(b.api), failed: len(b.unserved), replays: b.replays, expired: b.expired,
		tokens: b.requests["client_credentials"] + b.requests["refresh_token"], refused: b.refused, most: b.most,
	}
	for _, n := range b.sent {
		if n > 1 {
			c.twice++
		}
	}
	return c
}

func (b *books) sawExpired() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.expired++
}

// countAPI counts requests and what became of them.
func (b *books) countAPI(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := r.Header.Get(requestID)
		b.mu.Lock()
		if id == "" { // of a client that names none: each is one of its own
			id = fmt.Sprintf("#%d", len(b.api))
		}
		b.api[id] = struct{}{}
		b.unserved[id] = struct{}{}
		b.mu.Unlock()
		sw := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		next.ServeHTTP(sw, r)
		b.mu.Lock()
		defer b.mu.Unlock()
		switch sw.status {
		case http.StatusOK:
			delete(b.unserved, id)
		case http.StatusUnauthorized:
			b.replays++
		}
	})
}

// countTokens counts token requests, how many a client has at once, and refresh
// tokens that are sent again.
func (b *books) countTokens(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
		if err != nil {
			http.Error(w, "cannot read the request", http.StatusBadRequest)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		form, _ := url.ParseQuery(string(body)) // fosite judges it
		client, _, ok := r.BasicAuth()
		if !ok {
			client = form.Get("client_id")
		}
		b.mu.Lock()
		b.requests[form.Get("grant_type")]++
		if token := form.Get("refresh_token"); token != "" {
			b.sent[sha256.Sum256([]byte(token))]++
		}
		b.flying[client]++
		b.most = max(b.most, b.flying[client])
		b.mu.Unlock()
		sw := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		next.ServeHTTP(sw, r)
		b.mu.Lock()
		defer b.mu.Unlock()
		b.flying[client]--
		if sw.status != http.StatusOK {
			b.refused++
		}
	})
}

// statusWriter remembers the status.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}
