package main

import (
	"context"
	"crypto/rand"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/seed-f29168f7/renew/renewtest"
)

// How the embedded issuer behaves when it is well.
const (
	life    = 2 * time.Second        // of a token
	latency = 100 * time.Millisecond // of a token request, so that a wait for one can be seen
	leeway  = life / 20              // how long before its end renew takes such a token out of service
)

// world is the embedded issuer, and the API that wants its tokens. They listen on
// ports of their own, so that one can be away without the other.
type world struct {
	iss    *renewtest.Issuer
	born   time.Time // what Event.At counts from
	secret string
	api    *api
	srv    *http.Server
	url    string // of the API
	held   int    // Counts.Faults before holdTimer; -1: not called
	served sync.WaitGroup
}

func newWorld() (*world, error) {
	var lc net.ListenConfig
	ln, err := lc.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	w := &world{born: time.Now(), secret: rand.Text(), held: -1, url: "http://" + ln.Addr().String() + "/api/work"}
	w.iss = renewtest.NewIssuer(renewtest.IssuerConfig{Life: life, Latency: latency, ClientID: "daemon", ClientSecret: w.secret})
	w.iss.Start()
	w.api = &api{next: w.iss, refused: make(map[string]struct{})}
	w.srv = &http.Server{Handler: w.api, ReadHeaderTimeout: 5 * time.Second}
	w.served.Go(func() { _ = w.srv.Serve(ln) }) // ends at close
	return w, nil
}

func (w *world) close() {
	_ = w.srv.Close()
	w.served.Wait()
	w.iss.Close()
}

// at is the time of an event of the issuer, as the rest of the program has it.
func (w *world) at(e renewtest.Event) time.Time { return w.born.Add(e.At) }

// requests returns when the token requests came that began after since and not after until.
func (w *world) requests(since, until time.Time) []time.Time {
	var list []time.Time
	for _, e := range w.iss.Events() {
		if at := w.at(e); e.Endpoint == "token" && at.After(since) && !at.After(until) {
			list = append(list, at)
		}
	}
	return list
}

// holdTimer makes tokens live a minute from now on. Once one of them is in service,
// the timer has nothing to do: what the issuer sees then are re-authentications and nothing else.
func (w *world) holdTimer() {
	if w.held < 0 {
		w.held = w.iss.Counts().Faults
		w.iss.Fail(renewtest.Lives(time.Minute), -1)
	}
}

// timerHeld reports whether such a token was issued.
func (w *world) timerHeld() bool {
	c := w.iss.Counts()
	return w.held >= 0 && c.Faults > w.held && c.InFlight == 0
}

// api stands before the Issuer's API. It keeps a book of its own, and can
// gather requests until all workers have one there.
type api struct {
	next http.Handler

	mu      sync.Mutex
	refused map[string]struct{} // requests, by their id, whose last answer was a 401
	gate    *gate
}

// gate holds requests back.
type gate struct {
	want, waiting int
	full          chan struct{} // closed when want requests wait
	open          chan struct{} // closed to let them go
}

func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	g := a.gate
	if g != nil {
		if g.waiting++; g.waiting == g.want {
			close(g.full)
		}
	}
	a.mu.Unlock()
	if g != nil {
		select {
		case <-g.open:
		case <-r.Context().Done():
			return
		}
	}
	seen := &status{ResponseWriter: w}
	a.next.ServeHTTP(seen, r)
	id := r.Header.Get(requestID)
	a.mu.Lock()
	defer a.mu.Unlock()
	if seen.code == http.StatusUnauthorized {
		a.refused[id] = struct{}{}
	} else {
		delete(a.refused, id)
	}
}

// gather holds the requests back until want of them are there and f has run.
func (a *api) gather(ctx context.Context, want int, f func()) error {
	g := &gate{want: want, full: make(chan struct{}), open: make(chan struct{})}
	a.mu.Lock()
	a.gate = g
	a.mu.Unlock()
	defer func() {
		a.mu.Lock()
		a.gate = nil
		a.mu.Unlock()
		close(g.open)
	}()
	timeout := time.NewTimer(requestTimeout)
	defer timeout.Stop()
	select {
	case <-g.full:
		f()
		return nil
	case <-timeout.C:
		return errors.New("the workers did not all call the API")
	case <-ctx.Done():
		return ctx.Err()
	}
}

// unpaid returns how many requests had a 401 as their last answer so far, and begins anew.
func (a *api) unpaid() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := len(a.refused)
	clear(a.refused)
	return n
}

// status notes the status of a reply.
type status struct {
	http.ResponseWriter
	code int
}

func (s *status) WriteHeader(code int) {
	s.code = code
	s.ResponseWriter.WriteHeader(code)
}

// Unwrap lets http.ResponseController find the rest.
func (s *status) Unwrap() http.ResponseWriter { return s.ResponseWriter }
