package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/seed-f29168f7/renew"
)

const (
	requestTimeout = 5 * time.Second
	// requestID tells requests apart in the API's book. A replay has the same one.
	requestID = "X-Request-Id"
	// maxReasons bounds how many reasons for failures are told apart.
	maxReasons = 12
)

// start starts the workers.
func (d *daemon) start() {
	for i := range d.workers {
		d.wg.Go(func() { d.work(i) })
	}
}

// work calls the API until the daemon stops.
func (d *daemon) work(worker int) {
	for n := 0; ; n++ {
		d.call(worker, n)
		pause := time.NewTimer(d.pause/2 + rand.N(d.pause))
		select {
		case <-pause.C:
		case <-d.quit:
			pause.Stop()
			return
		}
	}
}

// call calls the API once.
func (d *daemon) call(worker, n int) {
	ctx, cancel := context.WithTimeout(d.life, requestTimeout)
	defer cancel()
	lap := d.tally.enter()
	status, err := d.get(context.WithValue(ctx, lapKey{}, lap), worker, n)
	if d.life.Err() != nil {
		d.tally.drop(lap) // we ended it ourselves
		return
	}
	d.tally.leave(lap, worker, judge(status, err))
}

func (d *daemon) get(ctx context.Context, worker, n int) (status int, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.api, nil)
	if err != nil {
		return 0, err
	}
	req.Header.Set(requestID, fmt.Sprintf("%d-%d", worker, n))
	if d.bare {
		tok, err := d.tokens[worker%len(d.tokens)].Token(ctx)
		if err != nil {
			return 0, err
		}
		tok.SetAuthHeader(req)
	}
	resp, err := d.clients[worker%len(d.clients)].Do(req)
	if err != nil {
		return 0, err
	}
	defer func() { _ = resp.Body.Close() }()
	_, err = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20))
	return resp.StatusCode, err
}

// kind is how a request ended.
type kind uint8

const (
	fine         kind = iota
	unauthorized      // a 401 came back
	noToken           // it was not sent
	elsewise          // it has nothing to do with the token
)

// outcome is how a request ended, and why.
type outcome struct {
	kind kind
	why  string // without addresses and URLs: few reasons, and no secrets
}

// judge names an outcome.
func judge(status int, err error) outcome {
	if err == nil {
		switch {
		case status == http.StatusUnauthorized:
			return outcome{unauthorized, "the API answered 401"}
		case status >= 400:
			return outcome{elsewise, fmt.Sprintf("the API answered %d", status)}
		}
		return outcome{}
	}
	if ie, ok := errors.AsType[*renew.IssueError](err); ok {
		why := "no token: " + ie.Kind.String()
		if ie.Status != 0 {
			why += fmt.Sprintf(", the issuer answered %d %s", ie.Status, ie.Code)
		}
		return outcome{noToken, why}
	}
	for _, e := range []error{renew.ErrBudgetSpent, renew.ErrHung, renew.ErrClosed} {
		if errors.Is(err, e) {
			return outcome{noToken, "no token: " + e.Error()}
		}
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return outcome{elsewise, fmt.Sprintf("no answer within %v", requestTimeout)}
	}
	if oe, ok := errors.AsType[*net.OpError](err); ok {
		return outcome{elsewise, oe.Op + ": " + oe.Err.Error()}
	}
	if ue, ok := errors.AsType[*url.Error](err); ok {
		err = ue.Err
	}
	return outcome{elsewise, err.Error()}
}

// tally counts requests, lap by lap. A request belongs to the lap in which it began.
type tally struct {
	workers int

	mu   sync.Mutex // guards all below, laps included
	laps []*lap
}

// lap is a stretch of the run.
type lap struct {
	name      string
	began     time.Time
	open      int // requests in progress
	requests  int // that ended
	failed    int
	byKind    [elsewise + 1]int
	why       map[string]int
	waits     int // requests that waited for a token
	firstOK   time.Time
	firstFail time.Time
	served    map[int]struct{} // workers with a request that succeeded
}

type lapKey struct{}

func newTally(workers int) *tally {
	t := &tally{workers: workers}
	t.begin("start")
	return t
}

// begin begins a lap.
func (t *tally) begin(name string) *lap {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := &lap{name: name, began: time.Now(), why: make(map[string]int), served: make(map[int]struct{})}
	t.laps = append(t.laps, l)
	return l
}

func (t *tally) enter() *lap {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.laps[len(t.laps)-1]
	l.open++
	return l
}

// drop takes a request back.
func (t *tally) drop(l *lap) {
	t.mu.Lock()
	defer t.mu.Unlock()
	l.open--
}

func (t *tally) leave(l *lap, worker int, o outcome) {
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	l.open--
	l.requests++
	l.byKind[o.kind]++
	if o.kind == fine {
		if l.firstOK.IsZero() {
			l.firstOK = now
		}
		l.served[worker] = struct{}{}
		return
	}
	if l.firstFail.IsZero() {
		l.firstFail = now
	}
	l.failed++
	if _, known := l.why[o.why]; !known && len(l.why) >= maxReasons {
		o.why = "other reasons"
	}
	l.why[o.why]++
}

// waited notes that the request of ctx waited for a token.
func (t *tally) waited(ctx context.Context) {
	l, ok := ctx.Value(lapKey{}).(*lap)
	if !ok {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	l.waits++
}

// look returns what l has now.
func (t *tally) look(l *lap) lap {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := *l
	c.why, c.served = maps.Clone(l.why), maps.Clone(l.served)
	return c
}

// total returns the sum of all laps, and in which of them requests failed for each reason.
func (t *tally) total() (sum lap, where map[string][]string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	sum.why, where = make(map[string]int), make(map[string][]string)
	for _, l := range t.laps {
		sum.requests += l.requests
		sum.failed += l.failed
		sum.open += l.open
		for why, n := range l.why {
			sum.why[why] += n
			if w := where[why]; len(w) == 0 || w[len(w)-1] != l.name {
				where[why] = append(w, l.name)
			}
		}
	}
	return sum, where
}

// all reports whether every worker has had a request that began in l and succeeded.
func (t *tally) all(l *lap) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(l.served) == t.workers
}

// settled reports whether the requests that began in l have ended.
func (t *tally) settled(l *lap) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return l.open == 0
}

// phase returns the name of the lap.
func (t *tally) phase() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.laps[len(t.laps)-1].name
}
