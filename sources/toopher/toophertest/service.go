// Package toophertest is a Toopher service for tests and demonstrations: it checks
// signatures by RFC 5849 on its own, keeps pairings, terminals and requests in memory, and
// answers as the phones would, by a script.
package toophertest

import (
	"crypto/rand"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/seed-f29168f7/renew/clock"
)

// Decision is what a phone answers. The zero Decision is no.
type Decision struct {
	// Grant allows the pairing or the action.
	Grant bool
	// Automated answers without asking: the answer is in the first reply. It counts for an
	// authentication request that allows it.
	Automated bool
	// Reason is the text that goes with the answer of an authentication request.
	Reason string
}

// Failure is a reply that the service gives instead of its own, to a request whose signature it has
// checked.
type Failure struct {
	// Status is the HTTP status.
	Status int
	// ContentType is empty for application/json.
	ContentType string
	// RetryAfter is the header of that name, where it is not empty.
	RetryAfter string
	// Body is what is sent.
	Body string
}

// Error returns a Failure in the API's form.
func Error(status, code int, message string) Failure {
	return Failure{Status: status, Body: string(marshal(map[string]any{"error_code": code, "error_message": message}))}
}

// Counts are what the service has seen.
type Counts struct {
	// Requests are all that came; Signed those of them whose signature was right, and Refused
	// those with a 401.
	Requests, Signed, Refused int
	// Pairings, Authentications, Terminals are what was made.
	Pairings, Authentications, Terminals int
	// Looks are the questions for the state of a pairing or request.
	Looks int
	// Failures are the Failures that were given, and Errors the errors that the service found itself, by code.
	Failures int
	Errors   map[int]int
}

// Service is a Toopher service in memory: an http.Handler whose API is below /v1. Make it with New. Its
// fields may be changed until the first request. It is safe for concurrent use.
type Service struct {
	// Looks is how many times an open pairing or request is asked for until the phone has
	// answered: with 2, the second reply has the answer. Zero means that only Answer answers.
	Looks int
	// OTP is the one-time password that is right. New sets 492039.
	OTP string
	// Window is how far a timestamp may be from the Clock, both ways. New sets 10 minutes.
	Window time.Duration
	// Scheme is http or https, as clients write it. Empty means that of the connection.
	Scheme string
	// Clock judges timestamps. Nil means clock.Real{}.
	Clock clock.Clock

	key, secret string

	mu       sync.Mutex // guards all below; held while a request is served
	nonces   map[string]bool
	users    map[string]*user // by name
	pairings map[string]*pairing
	requests map[string]*request
	script   []Decision
	failures []Failure
	counts   Counts
}

// New returns a service that knows one requester.
func New(key, secret string) *Service {
	return &Service{
		OTP: "492039", Window: 10 * time.Minute, key: key, secret: secret,
		nonces: make(map[string]bool), users: make(map[string]*user), pairings: make(map[string]*pairing), requests: make(map[string]*request),
		counts: Counts{Errors: make(map[int]int)},
	}
}

// Start serves on a port of this machine, and returns the base URL and what ends it.
func (s *Service) Start() (baseURL string, stop func(), err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	server := &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(l) // returns when it is closed
	}()
	return "http://" + l.Addr().String() + "/v1", func() {
		_ = server.Close()
		<-done
	}, nil
}

// Script says what the phones answer to the next pairings and requests, in that order. When it
// is at its end, they allow.
func (s *Service) Script(d ...Decision) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.script = append(s.script, d...)
}

// Fail makes the service answer the next requests with these.
func (s *Service) Fail(f ...Failure) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failures = append(s.failures, f...)
}

// Answer answers an open pairing or request by its id, and reports whether there was one.
func (s *Service) Answer(id string, d Decision) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p, ok := s.pairings[id]; ok && p.pending {
		p.answer(d)
		return true
	}
	if r, ok := s.requests[id]; ok && r.pending {
		r.answer(d)
		return true
	}
	return false
}

// Deactivate ends a pairing, as its user can, and reports whether there was one.
func (s *Service) Deactivate(pairingID string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok := s.pairings[pairingID]
	if ok {
		p.pending, p.enabled, p.deactivated = false, false, true
	}
	return ok
}

// AddUser makes a user without a pairing. A search finds as many users as were added under the name.
func (s *Service) AddUser(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if u, ok := s.users[name]; ok {
		u.doubles++
		return
	}
	s.user(name)
}

// Counts returns what the service has seen.
func (s *Service) Counts() Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.counts
	c.Errors = make(map[int]int, len(s.counts.Errors))
	for code, n := range s.counts.Errors {
		c.Errors[code] = n
	}
	return c
}

// Verify checks the signature, the time and the nonce of a request as ServeHTTP does, whatever its path, and
// reads its body. The nonce is used up by it.
func (s *Service) Verify(r *http.Request) error {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody))
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err = s.admit(r, string(body))
	return err
}

// maxBody is how much of a body is read.
const maxBody = 1 << 20

// ServeHTTP implements http.Handler.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts.Requests++
	if err != nil {
		s.fail(w, &problem{400, 400, "The body cannot be read."})
		return
	}
	params, err := s.admit(r, string(body))
	if err != nil {
		s.counts.Refused++
		s.fail(w, &problem{401, 401, "Not a valid OAuth signed request"})
		return
	}
	s.counts.Signed++
	if len(s.failures) > 0 {
		f := s.failures[0]
		s.failures = s.failures[1:]
		s.counts.Failures++
		f.write(w)
		return
	}
	f, wrong := formOf(params)
	var reply any
	if wrong == nil {
		reply, wrong = s.route(r.Method, strings.Split(strings.TrimPrefix(r.URL.EscapedPath(), "/v1/"), "/"), f)
	}
	if wrong != nil {
		s.fail(w, wrong)
		return
	}
	Failure{Status: 200, Body: string(marshal(reply))}.write(w)
}

func (f Failure) write(w http.ResponseWriter) {
	if f.ContentType == "" {
		f.ContentType = "application/json"
	}
	w.Header().Set("Content-Type", f.ContentType)
	if f.RetryAfter != "" {
		w.Header().Set("Retry-After", f.RetryAfter)
	}
	w.WriteHeader(f.Status)
	_, _ = io.WriteString(w, f.Body) // the client may be gone
}

// fail answers with an error.
func (s *Service) fail(w http.ResponseWriter, p *problem) {
	s.counts.Errors[p.code]++
	Error(p.status, p.code, p.message).write(w)
}

// admit checks the signature, the time and the nonce of a request, and returns its parameters.
func (s *Service) admit(r *http.Request, body string) ([]pair, error) {
	scheme := s.Scheme
	switch {
	case scheme != "":
	case r.TLS != nil:
		scheme = "https"
	default:
		scheme = "http"
	}
	m := message{
		method: r.Method, url: scheme + "://" + r.Host + r.URL.EscapedPath(), query: r.URL.RawQuery,
		authorization: strings.Join(r.Header.Values("Authorization"), ","),
	}
	media, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	if strings.EqualFold(strings.TrimSpace(media), "application/x-www-form-urlencoded") {
		m.form = body
	} else if body != "" {
		return nil, errRequest("a body that is no form")
	}
	params, err := verify(m, func(key string) (string, bool) { return s.secret, key == s.key })
	if err != nil {
		return nil, err
	}
	at, err := strconv.ParseInt(params["oauth_timestamp"], 10, 64)
	if err != nil || at < 0 || at > 1<<40 {
		return nil, errRequest("no timestamp")
	}
	if off := s.now().Sub(time.Unix(at, 0)).Abs(); off > s.Window {
		return nil, errRequest("a timestamp outside the window")
	}
	once := params["oauth_timestamp"] + " " + params["oauth_nonce"]
	if s.nonces[once] {
		return nil, errRequest("a nonce that was used")
	}
	s.nonces[once] = true
	text := m.form
	if r.Method == http.MethodGet {
		text = m.query
	}
	return readForm(text)
}

func (s *Service) now() time.Time {
	if s.Clock == nil {
		return clock.Real{}.Now().Wall
	}
	return s.Clock.Now().Wall
}

// errRequest is why a request is refused. Clients are not told.
type errRequest string

func (e errRequest) Error() string { return string(e) }

// decide takes the next decision of the script.
func (s *Service) decide() Decision {
	if len(s.script) == 0 {
		return Decision{Grant: true}
	}
	d := s.script[0]
	s.script = s.script[1:]
	return d
}

// newID returns a random UUID.
func newID() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails
	const hex = "0123456789abcdef"
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	var out []byte
	for i, c := range b {
		if slices.Contains([]int{4, 6, 8, 10}, i) {
			out = append(out, '-')
		}
		out = append(out, hex[c>>4], hex[c&15])
	}
	return string(out)
}
