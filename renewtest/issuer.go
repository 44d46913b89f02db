package renewtest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/seed-f29168f7/renew/clock"
)

// The client that an Issuer knows when IssuerConfig names none.
const (
	DefaultClientID     = "test-client"
	DefaultClientSecret = "test-client-secret"
)

// IssuerConfig is how an Issuer behaves when it is well. The zero value is the
// one to start with.
type IssuerConfig struct {
	// Clock is the time of the Issuer: lives, pauses, dates. Nil means clock.Real{}. Lives are
	// measured by the clock's running time (Mono). So to model a client that is suspended or
	// whose clock is set, give the Issuer a Clock other than the client's.
	Clock clock.Clock
	// Skew is how far the Issuer's wall clock is ahead of Clock. It shows in the Date header
	// and in the absolute times that replies state (expires_at, exp, iat), never in how long a token lives.
	Skew time.Duration
	// Life is how long an access token lives. Zero means an hour. Negative means until it is
	// revoked; then no expiry is stated. expires_in states it in whole seconds, rounded down.
	Life time.Duration
	// ClientID and ClientSecret are the client that may ask. Empty means
	// DefaultClientID and DefaultClientSecret.
	ClientID, ClientSecret string
	// Clients are more clients, with the secret of each.
	Clients map[string]string
	// Refresh makes every grant reply with a refresh token. It stays good until it is revoked,
	// and the refresh_token grant does not repeat it.
	Refresh bool
	// Rotate makes the refresh_token grant replace the refresh token, and implies Refresh.
	// A refresh token that is used a second time revokes all tokens that descend from the same grant
	// (RFC 9700, section 4.14.2).
	Rotate bool
	// Latency is how long each token request takes. See also SetLatency.
	Latency time.Duration
	// TokenType is the token_type of replies and the auth-scheme that the API wants. Empty means Bearer.
	TokenType string
	// OmitExpiresIn leaves expires_in out of replies.
	OmitExpiresIn bool
	// ExpiresAt adds expires_at to replies: seconds since 1970, by the Issuer's wall clock.
	ExpiresAt bool
	// JWT makes access tokens JWTs (HS256, with a key that only the Issuer knows) with
	// the claims iss, sub, iat, exp and jti.
	JWT bool
	// Extra is added to the replies of the token endpoint.
	Extra map[string]any
	// Addr is the host and port in the URLs of an Issuer in memory. Empty means a loopback address
	// drawn at random, so that Issuers differ. It need not exist: it must be a loopback address
	// only to those who allow plaintext to no other.
	Addr string
}

// Issuer is a small true authorization server, and an API that wants its tokens:
//
//	POST /token   RFC 6749: client_credentials and refresh_token, with client authentication
//	              by Basic or in the form (section 2.3.1)
//	POST /revoke  RFC 7009
//	any  /api     and below: 200 and some JSON when the request carries a live token, else 401 (RFC 6750)
//
// An Issuer is made by NewIssuer and is safe for concurrent use. Nothing of it is for production.
type Issuer struct {
	cfg    IssuerConfig
	clk    clock.Clock
	mem    *memory
	srv    *http.Server
	client *http.Client
	key    []byte // of the JWTs
	start  clock.Instant

	life context.Context // ends at Close; all waits of handlers end with it
	end  context.CancelFunc
	wg   sync.WaitGroup // calls of srv.Serve

	tokenFaults, apiFaults, revokeFaults script

	mu      sync.Mutex // guards what follows; held for no wait
	addr    string     // host and port of URL
	started bool
	used    bool // a URL or the client was handed out
	closed  bool
	busy    int           // connections and handlers
	drained chan struct{} // closed when closed && busy == 0
	idle    map[net.Conn]struct{}
	live    map[net.Conn]struct{}
	down    bool
	drops   int // connections to close unread; negative: all
	release chan struct{}
	peers   []*Issuer
	latency time.Duration
	skew    time.Duration
	clients map[string]string
	books   books
	counts  Counts
	events  []Event
}

// NewIssuer returns an Issuer that serves in memory, to its Client. Close it.
func NewIssuer(cfg IssuerConfig) *Issuer {
	if cfg.Clock == nil {
		cfg.Clock = clock.Real{}
	}
	if cfg.Life == 0 {
		cfg.Life = time.Hour
	}
	if cfg.ClientID == "" {
		cfg.ClientID = DefaultClientID
	}
	if cfg.ClientSecret == "" {
		cfg.ClientSecret = DefaultClientSecret
	}
	if cfg.TokenType == "" {
		cfg.TokenType = "Bearer"
	}
	if cfg.Addr == "" {
		var b [3]byte
		_, _ = rand.Read(b[:])
		// Port 1 answers nobody, so that a request that misses the Client fails.
		cfg.Addr = fmt.Sprintf("127.%d.%d.%d:1", b[0], b[1], 1+b[2]%254)
	}
	cfg.Refresh = cfg.Refresh || cfg.Rotate
	cfg.Clients, cfg.Extra = maps.Clone(cfg.Clients), maps.Clone(cfg.Extra)
	iss := &Issuer{
		cfg:     cfg,
		clk:     cfg.Clock,
		mem:     newMemory(cfg.Addr),
		key:     []byte(rand.Text()),
		start:   cfg.Clock.Now(),
		addr:    cfg.Addr,
		drained: make(chan struct{}),
		idle:    make(map[net.Conn]struct{}),
		live:    make(map[net.Conn]struct{}),
		release: make(chan struct{}),
		latency: cfg.Latency,
		skew:    cfg.Skew,
		clients: map[string]string{cfg.ClientID: cfg.ClientSecret},
		books:   newBooks(),
	}
	maps.Copy(iss.clients, cfg.Clients)
	iss.life, iss.end = context.WithCancel(context.Background())
	iss.srv = &http.Server{
		Handler:     iss,
		ConnState:   iss.connState,
		BaseContext: func(net.Listener) context.Context { return iss.life },
	}
	iss.client = &http.Client{Transport: &http.Transport{DialContext: iss.dial}}
	iss.serve(iss.mem)
	return iss
}

func (iss *Issuer) serve(ln net.Listener) {
	iss.wg.Go(func() { _ = iss.srv.Serve(gate{ln, iss.drop}) }) // ends at Close
}

// Start makes the Issuer listen on a port of 127.0.0.1 too, which then stands in its
// URLs. It panics when it comes after the first use of the Issuer, or when no port can be had.
func (iss *Issuer) Start() {
	iss.mu.Lock()
	defer iss.mu.Unlock()
	if iss.started || iss.used || iss.closed {
		panic("renewtest: Issuer.Start must come once, and before any other use")
	}
	var lc net.ListenConfig
	ln, err := lc.Listen(iss.life, "tcp", "127.0.0.1:0")
	if err != nil {
		panic("renewtest: Issuer.Start: " + err.Error())
	}
	iss.started, iss.addr = true, ln.Addr().String()
	iss.serve(ln)
}

// URL returns the base of the Issuer's URLs: http://host:port, without a slash.
func (iss *Issuer) URL() string {
	iss.mu.Lock()
	defer iss.mu.Unlock()
	iss.used = true
	return "http://" + iss.addr
}

// TokenURL returns the URL of the token endpoint.
func (iss *Issuer) TokenURL() string { return iss.URL() + "/token" }

// RevokeURL returns the URL of the revocation endpoint.
func (iss *Issuer) RevokeURL() string { return iss.URL() + "/revoke" }

// APIURL returns the URL of the API.
func (iss *Issuer) APIURL() string { return iss.URL() + "/api" }

// ClientID returns the id of the first client.
func (iss *Issuer) ClientID() string { return iss.cfg.ClientID }

// ClientSecret returns the secret that the first client has now.
func (iss *Issuer) ClientSecret() string {
	iss.mu.Lock()
	defer iss.mu.Unlock()
	return iss.clients[iss.cfg.ClientID]
}

// Client returns the client that reaches the Issuer, always the same one. It dials nobody else, except
// Issuers given to Reach and, after Start, the network. Its Transport is an
// *http.Transport, which may be wrapped.
func (iss *Issuer) Client() *http.Client { return iss.client }

// Reach lets the Client reach other Issuers in memory too, after a redirect for instance.
func (iss *Issuer) Reach(others ...*Issuer) {
	iss.mu.Lock()
	defer iss.mu.Unlock()
	iss.peers = append(iss.peers, others...)
}

func (iss *Issuer) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	iss.mu.Lock()
	iss.used = true
	started := iss.started
	all := append([]*Issuer{iss}, iss.peers...)
	iss.mu.Unlock()
	for _, to := range all {
		to.mu.Lock()
		mine, down, inMemory := to.addr == addr, to.down, !to.started
		to.mu.Unlock()
		switch {
		case mine && down:
			return nil, refused(addr)
		case mine && inMemory:
			return to.mem.dial(ctx)
		}
	}
	if !started {
		return nil, refused(addr)
	}
	var d net.Dialer
	return d.DialContext(ctx, network, addr)
}

// Close ends all connections and waits for all that the Issuer runs; hung and
// slow requests end without a reply. It may be called more than once. A Fault must not call it.
func (iss *Issuer) Close() {
	iss.mu.Lock()
	iss.closed = true
	iss.settle()
	iss.mu.Unlock()
	iss.end()
	_ = iss.srv.Close() // ends the Client's idle connections too, by their other end
	iss.wg.Wait()
	<-iss.drained
}

// settle closes drained once nothing runs any more. mu is held.
func (iss *Issuer) settle() {
	if !iss.closed || iss.busy > 0 {
		return
	}
	select {
	case <-iss.drained:
	default:
		close(iss.drained)
	}
}

// enter counts a handler in. It reports false when the Issuer is closed.
func (iss *Issuer) enter() bool {
	iss.mu.Lock()
	defer iss.mu.Unlock()
	if iss.closed {
		return false
	}
	iss.busy++
	return true
}

func (iss *Issuer) leave() {
	iss.mu.Lock()
	defer iss.mu.Unlock()
	iss.busy--
	iss.settle()
}

// connState keeps the connections, so that Down can end them and Close can wait for them.
func (iss *Issuer) connState(c net.Conn, state http.ConnState) {
	iss.mu.Lock()
	defer iss.mu.Unlock()
	delete(iss.idle, c)
	switch state {
	case http.StateNew:
		iss.busy++
		iss.live[c] = struct{}{}
		if iss.closed { // accepted while Close ran, and missed by it
			_ = c.Close()
		}
	case http.StateIdle:
		iss.idle[c] = struct{}{}
	case http.StateClosed, http.StateHijacked:
		if _, ok := iss.live[c]; ok {
			delete(iss.live, c)
			iss.busy--
			iss.settle()
		}
	}
}

// drop reports whether a connection that was just accepted is to be closed unread.
func (iss *Issuer) drop() bool {
	iss.mu.Lock()
	defer iss.mu.Unlock()
	switch {
	case iss.down || iss.drops < 0:
	case iss.drops > 0:
		iss.drops--
	default:
		return false
	}
	iss.counts.Dropped++
	return true
}

// Down takes the whole Issuer off the network, or back on: connections are cut, the Client's
// dials are refused, and those of others are closed unread.
func (iss *Issuer) Down(down bool) {
	iss.mu.Lock()
	iss.down = down
	var cut []net.Conn
	if down {
		cut = slices.Collect(maps.Keys(iss.live))
	}
	iss.mu.Unlock()
	for _, c := range cut {
		reset(c)
	}
	if down {
		iss.client.CloseIdleConnections()
	}
}

// DropConns closes the next n connections unread, the idle ones at once so that
// the next request needs a new one. A negative n means all, until Heal. To end a
// connection after the request was read, use the Faults Drop and DropReply.
func (iss *Issuer) DropConns(n int) {
	iss.mu.Lock()
	iss.drops = n
	cut := slices.Collect(maps.Keys(iss.idle))
	iss.mu.Unlock()
	iss.client.CloseIdleConnections()
	for _, c := range cut {
		reset(c)
	}
}

// Fail puts f before the next n requests to the token endpoint, or, when n is
// negative, before all of them until Heal. What was set by earlier calls comes first.
func (iss *Issuer) Fail(f Fault, n int) { iss.tokenFaults.add(f, n) }

// FailAPI is Fail for the API. A Fault can look at the path of the request.
func (iss *Issuer) FailAPI(f Fault, n int) { iss.apiFaults.add(f, n) }

// FailRevoke is Fail for the revocation endpoint.
func (iss *Issuer) FailRevoke(f Fault, n int) { iss.revokeFaults.add(f, n) }

// Heal ends all that Fail, FailAPI, FailRevoke, Down, DropConns and
// RefuseFresh started, and releases what hangs.
func (iss *Issuer) Heal() {
	for _, s := range []*script{&iss.tokenFaults, &iss.apiFaults, &iss.revokeFaults} {
		s.clear()
	}
	iss.mu.Lock()
	iss.down, iss.drops = false, 0
	iss.books.refuseFresh = false
	iss.mu.Unlock()
	iss.Release()
}

// Release lets the requests that hang now go on; they are answered as if nothing had happened.
func (iss *Issuer) Release() {
	iss.mu.Lock()
	defer iss.mu.Unlock()
	close(iss.release)
	iss.release = make(chan struct{})
}

// SetLatency sets how long each token request takes from now on.
func (iss *Issuer) SetLatency(d time.Duration) {
	iss.mu.Lock()
	defer iss.mu.Unlock()
	iss.latency = d
}

// SetSkew sets how far the Issuer's wall clock is ahead.
func (iss *Issuer) SetSkew(d time.Duration) {
	iss.mu.Lock()
	defer iss.mu.Unlock()
	iss.skew = d
}

// SetClient gives a client, known or not, a secret. An empty one takes the client away.
func (iss *Issuer) SetClient(id, secret string) {
	iss.mu.Lock()
	defer iss.mu.Unlock()
	if secret == "" {
		delete(iss.clients, id)
		return
	}
	iss.clients[id] = secret
}

var errIssuerClosed = errors.New("renewtest: the Issuer is closed")

// Sleep waits for d on the Issuer's Clock. It ends early with an error when ctx
// ends or the Issuer is closed. It is for Faults.
func (iss *Issuer) Sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	done := make(chan struct{})
	timer := iss.clk.AfterFunc(d, func() { close(done) })
	defer timer.Stop()
	return iss.wait(ctx, done)
}

// wait waits for ch.
func (iss *Issuer) wait(ctx context.Context, ch <-chan struct{}) error {
	select {
	case <-ch:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-iss.life.Done():
		return errIssuerClosed
	}
}

// wall returns the time as the Issuer states it. mu is held.
func (iss *Issuer) wall() time.Time { return iss.clk.Now().Wall.Add(iss.skew).UTC() }
