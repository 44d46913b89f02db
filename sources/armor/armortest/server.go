package armortest

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/seed-f29168f7/renew/clock"
)

// The user that a Server knows when Config names none.
const (
	DefaultUsername = "user@example.com"
	DefaultPassword = "correct horse battery staple"
)

// Config is how a Server behaves when it is well. The zero value is the one to start with.
type Config struct {
	// Clock is the time of codes and tokens. Nil means clock.Real{}.
	Clock clock.Clock
	// Username and Password are the one user. Empty means DefaultUsername and DefaultPassword.
	Username, Password string
	// Accounts are the ids of /me, in that order. Nil means 1000 and 2000.
	Accounts []int64
	// Life is how long an FH-AUTH token lives. Zero means 15 minutes.
	Life time.Duration
	// ExpiresIn is written as expires_in, as JSON: "15", `"900"`, "null". Empty means Life in seconds, "-" leaves it out.
	ExpiresIn string
	// KeepOld leaves a token alive that was reissued.
	KeepOld bool
	// Factor is what the AD FS wants after user name and password.
	Factor Factor
	// Answers is how long the person takes to approve: the time that a long POST hangs, or until the polled pages
	// say so. Zero means at once.
	Answers time.Duration
	// Number is shown on the polled pages for the person to enter, from the first post on; where Answers is zero, on the first
	// page too. Empty means none.
	Number string
	// Code, when not empty, is what the person's device shows: the pages ask for it instead of an approval.
	Code string
	// IDLife is how long an ID token lives. Zero means an hour.
	IDLife time.Duration
	// NoIssuedAt leaves iat out of ID tokens.
	NoIssuedAt bool
	// Words stands in the pages wherever one speaks to the person. Empty means English.
	Words string
}

// Factor is the second factor of the AD FS.
type Factor uint8

const (
	// NoFactor asks for none: the token comes after user name and password.
	NoFactor Factor = iota
	// LongPost answers the post of the MFA page when the person has answered.
	LongPost
	// Polled answers with the same page, with a fresh context, until the person has answered.
	Polled
)

// Verdict is what the person does with a prompt.
type Verdict uint8

const (
	// Approve lets the login in.
	Approve Verdict = iota
	// Deny refuses it.
	Deny
	// Ignore does nothing: the login waits until it gives up.
	Ignore
)

// Route is a kind of request.
type Route string

// The routes, as Calls names them. Requests of the API have their method and path instead.
const (
	Authorize Route = "authorize"
	Token     Route = "token"
	Reissue   Route = "reissue"
	Me        Route = "me"
	API       Route = "api"    // whatever has no other route
	Login     Route = "login"  // the AD FS: user name and password
	Factored  Route = "factor" // the AD FS: the second factor
	Page      Route = "page"   // the AD FS: any GET
	Foreign   Route = "foreign"
)

// Fault is what a Server answers instead of what it would.
type Fault struct {
	// Status is the status. Zero means that the request is answered as usual.
	Status int
	// Header is added to the reply.
	Header http.Header
	// Body is the body.
	Body string
	// Echo repeats the request in the body, headers and all, as careless servers do.
	Echo bool
	// Hang answers nothing until the client leaves or the Server is closed or healed.
	Hang bool
}

// Request is a request of the API, as it came.
type Request struct {
	Method, Path, Query string
	// Header is without Authorization.
	Header http.Header
	Body   string
}

// Server is a small Armor. New makes one; it is safe for concurrent use.
type Server struct {
	cfg    Config
	clk    clock.Clock
	conns  *pipes
	srv    *http.Server
	client *http.Client
	life   context.Context
	end    context.CancelFunc
	wg     sync.WaitGroup

	mu       sync.Mutex // guards what follows; held for no wait
	addr     string
	password string
	accounts []int64
	verdict  Verdict
	faults   map[Route][]fault
	heal     chan struct{}
	codes    map[string]time.Duration // by code: when it was given out
	tokens   map[string]time.Duration // FH-AUTH and ID tokens alike: when they end
	bearer   map[string]bool          // those of them that are ID tokens
	sessions map[string]*session      // by cookie
	calls    []string
	requests []Request
	prompts  int
	tooSoon  int
	closed   bool
}

type fault struct {
	Fault
	n int // how often; negative: for ever
}

// New returns a Server that serves in memory, to its Client. Close it.
func New(cfg Config) *Server {
	if cfg.Clock == nil {
		cfg.Clock = clock.Real{}
	}
	if cfg.Username == "" {
		cfg.Username = DefaultUsername
	}
	if cfg.Password == "" {
		cfg.Password = DefaultPassword
	}
	if cfg.Accounts == nil {
		cfg.Accounts = []int64{1000, 2000}
	}
	if cfg.Life == 0 {
		cfg.Life = 15 * time.Minute
	}
	if cfg.IDLife == 0 {
		cfg.IDLife = time.Hour
	}
	if cfg.Words == "" {
		cfg.Words = "Sign in"
	}
	var b [2]byte
	_, _ = rand.Read(b[:])
	s := &Server{
		cfg: cfg, clk: cfg.Clock, conns: newPipes(),
		addr:     fmt.Sprintf("127.1.%d.%d:1", b[0], 1+b[1]%254), // nobody else answers there
		password: cfg.Password, accounts: slices.Clone(cfg.Accounts),
		faults: make(map[Route][]fault), heal: make(chan struct{}),
		codes: make(map[string]time.Duration), tokens: make(map[string]time.Duration), bearer: make(map[string]bool),
		sessions: make(map[string]*session),
	}
	s.life, s.end = context.WithCancel(context.Background())
	s.srv = &http.Server{Handler: http.HandlerFunc(s.serve), BaseContext: func(net.Listener) context.Context { return s.life }}
	s.client = &http.Client{Transport: &http.Transport{DialContext: s.dial}}
	s.wg.Go(func() { _ = s.srv.Serve(s.conns) }) // ends at Close
	return s
}

// Start makes the Server listen on a port of 127.0.0.1 too, which then stands in its URLs. It must come before
// any other use, and panics when no port can be had.
func (s *Server) Start() {
	ln, err := new(net.ListenConfig).Listen(s.life, "tcp", "127.0.0.1:0")
	if err != nil {
		panic("armortest: " + err.Error())
	}
	s.mu.Lock()
	s.addr = ln.Addr().String()
	s.mu.Unlock()
	s.wg.Go(func() { _ = s.srv.Serve(ln) }) // ends at Close
}

// Close ends all connections and waits for all that the Server runs. It may be called more than once.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.end()
	_ = s.srv.Close()
	s.client.CloseIdleConnections()
	s.wg.Wait()
}

// URL returns the base of the API: http://host:port, without a slash.
func (s *Server) URL() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return "http://" + s.addr
}

// LoginURL returns the authorization endpoint of the AD FS.
func (s *Server) LoginURL() string { return s.URL() + "/adfs/oauth2/authorize" }

// Client returns the client that reaches the Server, in memory. Its Transport is an *http.Transport.
func (s *Server) Client() *http.Client { return s.client }

// SetPassword gives the user another password.
func (s *Server) SetPassword(password string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.password = password
}

// SetAccounts replaces the ids of /me.
func (s *Server) SetAccounts(ids ...int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.accounts = slices.Clone(ids)
}

// SetVerdict says what the person does from now on. A new Server's approves.
func (s *Server) SetVerdict(v Verdict) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.verdict = v
}

// Revoke ends all tokens that were given out.
func (s *Server) Revoke() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.tokens)
}

// Fail answers the next n requests of a route with f, those after them as before; a negative n means all until Heal. Faults of one
// route are used one after the other.
func (s *Server) Fail(r Route, f Fault, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults[r] = append(s.faults[r], fault{f, n})
}

// Heal drops all faults and lets hung requests go.
func (s *Server) Heal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.faults)
	close(s.heal)
	s.heal = make(chan struct{})
}

// Accepts reports whether the API would take the token now.
func (s *Server) Accepts(token string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.alive(token)
}

// Calls returns what was asked, in order: the names of routes, and the method and path of other requests.
func (s *Server) Calls() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}

// Count returns how many of Calls are called name.
func (s *Server) Count(name Route) int {
	n := 0
	for _, c := range s.Calls() {
		if c == string(name) {
			n++
		}
	}
	return n
}

// Prompts returns how often the person was asked.
func (s *Server) Prompts() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.prompts
}

// TooSoon returns how many posts of the polled pages came sooner than 5 s after the last one.
func (s *Server) TooSoon() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tooSoon
}

// Requests returns what the API was asked, in order.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

func (s *Server) now() time.Duration { return s.clk.Now().Mono }

// alive requires mu.
func (s *Server) alive(token string) bool {
	end, ok := s.tokens[token]
	return ok && s.now() < end
}

// routeOf tells what a request is, with its form read.
func (s *Server) routeOf(r *http.Request) Route {
	switch {
	case r.Host != strings.TrimPrefix(s.URL(), "http://"):
		return Foreign
	case r.URL.Path == "/auth/authorize":
		return Authorize
	case r.URL.Path == "/auth/token":
		return Token
	case r.URL.Path == "/auth/token/reissue":
		return Reissue
	case r.URL.Path == "/me":
		return Me
	case r.URL.Path != "/adfs/oauth2/authorize":
		return API
	case r.Method != http.MethodPost:
		return Page
	}
	if r.PostFormValue("AuthMethod") == "FormsAuthentication" {
		return Login
	}
	return Factored
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return
	}
	s.wg.Add(1) // under mu, so that it comes before the Wait of Close
	s.mu.Unlock()
	defer s.wg.Done()
	route := s.routeOf(r)
	name := string(route)
	if route == API {
		name = r.Method + " " + r.URL.Path
	}
	s.mu.Lock()
	s.calls = append(s.calls, name)
	f, heal := s.nextFault(route), s.heal
	s.mu.Unlock()
	if f.Hang {
		select {
		case <-r.Context().Done():
		case <-heal:
		}
		return
	}
	maps.Copy(w.Header(), f.Header)
	if f.Status != 0 {
		w.WriteHeader(f.Status)
		if f.Echo {
			echo(w, r)
		}
		_, _ = io.WriteString(w, f.Body)
		return
	}
	switch route {
	case Authorize, Token, Reissue:
		s.auth(w, r, route)
	case Me:
		s.me(w, r)
	case API:
		s.api(w, r)
	case Foreign:
		w.WriteHeader(http.StatusTeapot)
	default:
		s.adfs(w, r, route)
	}
}

// echo says in an error body all that was sent.
func echo(w io.Writer, r *http.Request) {
	var b strings.Builder
	_ = r.Write(&b)
	b.WriteString(r.PostForm.Encode())
	_, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	_ = json.NewEncoder(w).Encode(map[string]string{"ErrorCode": token, "ReferenceId": token, "Message": b.String(), "error": token})
}

// nextFault requires mu.
func (s *Server) nextFault(r Route) Fault {
	list := s.faults[r]
	if len(list) == 0 {
		return Fault{}
	}
	f := list[0].Fault
	if list[0].n--; list[0].n == 0 {
		s.faults[r] = list[1:]
	}
	return f
}
