package renew

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/seed-f29168f7/renew/clock"
)

// flight is one Issue or Reissue in progress, with its retries, shared by all
// who wait for it. It exists from the moment somebody waits for it, or it has a place at the
// pacer; it ends when over. Its fields are guarded by the TokenSource's mu, except those
// that only its own goroutine uses.
type flight struct {
	ts *TokenSource

	// Until it starts.
	waiters  int           // callers that wait for the start
	asked    bool          // it is to start with nobody waiting (Manager.Wait)
	promised time.Duration // when they were told that it starts
	wake     chan struct{} // closed when it starts, ends, or starts later than promised
	slot     time.Duration // its place at the pacer; 0: none
	urgent   bool          // the place is one of a caller, not of the schedule

	// From its start.
	running bool
	group   singleflight.Group // serves this flight and no other (R6)
	ctx     context.Context
	cancel  context.CancelCauseFunc
	began   clock.Instant
	timeout time.Duration
	served  chan struct{} // closed when a token was published that the flight did not bring
	try     try
	tries   int // that remain, the one in progress not counted
	// fellBack is how the Reissue failed before this Issue.
	fellBack *failure

	// At its end.
	over  bool
	token *Token
	err   error
}

// step is what a try does.
type step uint8

const (
	issue step = iota
	reissue
	publishHeld // the token is here already; its Rotated hook failed
)

// try is one call of the Source within a flight.
type try struct {
	step step
	base *Token     // what is reissued; the newest refresh token that is known
	live *Token     // in service, or last there: the same value again is no success
	unit bool       // a unit of the budget is reserved for it
	same bool       // the same value again is a success, after Reset
	held *candidate // what publishHeld publishes
}

// candidate is a token that is ready to be published.
type candidate struct {
	token  *Token
	start  clock.Instant
	skewed bool
}

// outcome is what a try came to: a candidate, or an error; with an error there
// may be a candidate that is held back.
type outcome struct {
	got     *candidate
	err     error
	same    bool // the token in service, once more
	version uint64
	source  string
}

var (
	errFlightTimeout = errors.New("timed out")
	errSameToken     = errors.New("the source returned the same token again")
)

// join returns the channel on which the flight's outcome arrives. The first
// call starts it, under mu; a flight that runs ends only under mu, so that a
// later call under mu always joins it.
func (f *flight) join() <-chan singleflight.Result { return f.group.DoChan("", f.fly) }

// wakeWaiters makes the callers that wait for the start look again.
func (f *flight) wakeWaiters() {
	close(f.wake)
	f.wake = make(chan struct{})
	f.promised = never
}

// pend returns the flight that has not started, and makes it if there is none.
func (ts *TokenSource) pend() *flight {
	if ts.flight == nil {
		ts.flight = &flight{ts: ts, wake: make(chan struct{}), promised: never}
	}
	return ts.flight
}

// launch starts a flight, or says until when it cannot start, and why.
func (ts *TokenSource) launch(now clock.Instant, byCaller bool) (until time.Duration, why error) {
	if until, why = ts.blocked(now, byCaller); until > now.Mono {
		if ts.flight != nil {
			until = max(until, ts.flight.slot)
		}
		return until, why
	}
	f := ts.pend()
	if slot := ts.place(f, now); slot > now.Mono {
		return slot, errPaused
	}
	f.slot, f.urgent = 0, false
	t := ts.nextTry(now)
	if !ts.reserve(now, &t) {
		at, _ := ts.budget().RetryAt(now.Mono)
		return at, ts.budgetError(now)
	}
	f.running, f.try, f.began, f.served = true, t, now, make(chan struct{})
	f.timeout = now.Mono + ts.set.flightTimeout
	f.ctx, f.cancel = context.WithCancelCause(context.Background())
	if ts.failing() == nil && !(t.step == issue && ts.can.has(needsPerson)) {
		f.tries = 2
	}
	if ts.rare != nil {
		ts.rare.force = false
	}
	ts.busy++
	f.wakeWaiters()
	f.join()
	return 0, nil
}

// slotLasts is for how long a place at the pacer may be used late. Older ones
// lapse, or those whose callers have left would add up to a burst.
const slotLasts = time.Second

// place returns the flight's place at the pacer of its endpoint. A caller's
// overtakes those of the schedule.
func (ts *TokenSource) place(f *flight, now clock.Instant) time.Duration {
	l := ts.lane()
	if l == nil {
		if l = ts.soloLane(now); l == nil {
			return now.Mono
		}
	}
	if !ts.serving {
		if !f.urgent || now.Mono-f.slot > slotLasts {
			f.slot, f.urgent = l.endpoint.pacer.Urgent(now.Mono), true
		}
		return f.slot
	}
	if f.slot > now.Mono {
		return f.slot
	}
	at, ok := l.endpoint.pacer.Scheduled(now.Mono, f.slot != 0)
	if ok {
		return now.Mono
	}
	f.slot = at
	return at
}

// nextTry decides what the next call of the Source is.
func (ts *TokenSource) nextTry(now clock.Instant) try {
	t := try{step: issue, base: ts.base(), live: ts.live, same: ts.rare != nil && ts.rare.same}
	switch {
	case ts.rare != nil && ts.rare.held != nil && !ts.rare.held.token.deadline.past(now):
		t.step, t.held = publishHeld, ts.rare.held
	case ts.canReissue(now):
		t.step = reissue
	}
	return t
}

// fly is the flight: tries, and the pauses between them. It runs on the goroutine
// of the singleflight group.
func (f *flight) fly() (any, error) {
	var out outcome
	for {
		out = f.attempt(out.source)
		again, pause := f.land(out)
		if !again {
			return f.token, f.err
		}
		f.pause(pause)
		f.pause(f.queue())
	}
}

// queue takes a place at the pacer for a further try, and returns how long it is
// until then.
func (f *flight) queue() time.Duration {
	f.ts.mu.Lock()
	defer f.ts.mu.Unlock()
	l := f.ts.lane()
	if l == nil {
		return 0
	}
	now := f.ts.now()
	return l.endpoint.pacer.Urgent(now.Mono) - now.Mono
}

// pause sleeps for d, or until the flight is to end.
func (f *flight) pause(d time.Duration) {
	if d <= 0 {
		return
	}
	done := make(chan struct{})
	t := f.ts.set.hub.clock.AfterFunc(d, func() { close(done) })
	defer t.Stop()
	select {
	case <-done:
	case <-f.ctx.Done():
	}
}

// call is one call of the Source. Its goroutine may outlive the flight.
type call struct {
	ts     *TokenSource
	try    try
	start  clock.Instant
	result chan outcome // takes the one outcome without blocking

	// Guarded by ts.mu.
	source    string // what the Source calls itself; empty until it has said so
	over      bool
	abandoned bool
}

// attempt makes one call and waits for its outcome, or for the end of the
// flight: then the call is abandoned. source is what the Source called itself
// before: it is asked for nothing here, since only a call may hang or panic.
func (f *flight) attempt(source string) outcome {
	ts := f.ts
	if f.ctx.Err() != nil {
		return outcome{err: &IssueError{Source: source, Unsent: true, Err: context.Cause(f.ctx)}, source: source}
	}
	c := &call{ts: ts, try: f.try, start: ts.now(), result: make(chan outcome, 1)}
	ts.mu.Lock()
	ts.busy++
	switch c.try.step {
	case issue:
		ts.count.issues++
	case reissue:
		ts.count.reissues++
	}
	ts.mu.Unlock()
	go c.run(f.ctx)
	select {
	case out := <-c.result:
		return out
	case <-f.ctx.Done():
	}
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if c.over {
		return <-c.result
	}
	c.abandoned = true
	ts.trouble().abandoned++
	cause := context.Cause(f.ctx)
	if errors.Is(cause, errFlightTimeout) {
		cause = fmt.Errorf("%w after %v", errFlightTimeout, ts.set.flightTimeout)
	}
	return outcome{err: cause, source: c.source}
}

// run calls the Source, survives its panic, and delivers the outcome.
func (c *call) run(ctx context.Context) {
	out := outcome{err: &PanicError{In: "the source"}} // what runtime.Goexit leaves
	defer func() {
		if v := recover(); v != nil {
			out.err = newPanicError("the source", v)
		}
		c.deliver(out)
	}()
	done := c.do(ctx)
	out.got, out.source, out.version = done.got, done.source, done.version
	if done.err != nil {
		_ = classify(done.err, done.source) // an error's methods are foreign code too: if they panic or exit, then here
	}
	out = done
}

// do calls the Source and makes a candidate of its token.
func (c *call) do(ctx context.Context) outcome {
	ts := c.ts
	out := outcome{source: sourceName(ts.src)}
	out.version, _ = inputVersion(ts.src)
	ts.mu.Lock()
	c.source = out.source
	if c.try.step != publishHeld {
		ts.noteInput(out.version)
	}
	ts.mu.Unlock()
	if c.try.step == publishHeld {
		out.got, out.err = c.try.held, ts.rotated(ctx, c.try.held.token, c.try.live)
		return out
	}
	var t *Token
	if r, ok := as[Reissuer](ts.src); ok && c.try.step == reissue {
		t, out.err = r.Reissue(ctx, c.try.base)
	} else {
		t, out.err = ts.src.Issue(ctx)
	}
	if out.err != nil {
		return out
	}
	ready, skewed, err := prepare(t, c.start, ts.now(), ts.set.leeway)
	if err != nil {
		out.err = &IssueError{Source: out.source, Kind: Transient, Err: err}
		return out
	}
	if live := c.try.live; live != nil && !c.try.same && live.holds(ready) {
		out.same = true
		return out
	}
	out.got = &candidate{token: ready, start: c.start, skewed: skewed}
	if c.rotates(ready) {
		out.err = ts.rotated(ctx, ready, c.try.live)
	}
	return out
}

// rotates reports whether the token brings a refresh token that the last one
// published had not. One that is held was published by no one.
func (c *call) rotates(t *Token) bool {
	return !t.Refresh.IsZero() && (c.try.live == nil || !t.Refresh.Equal(c.try.live.Refresh))
}

// deliver hands the outcome to the flight, or, if that has ended, to the
// TokenSource.
func (c *call) deliver(out outcome) {
	ts := c.ts
	ts.mu.Lock()
	c.over = true
	if !c.abandoned {
		c.result <- out
		ts.done()
		ts.mu.Unlock()
		return
	}
	if ts.rare.abandoned--; ts.rare.abandoned < maxAbandoned {
		ts.rare.allowance = 0
	}
	now := ts.now()
	held := ts.rare.held
	fresh := out.got != nil && !ts.closed && !out.got.token.deadline.past(now) &&
		!(ts.rejected && out.got.token.Value.Equal(ts.live.Value)) &&
		(held == nil || c.start.Mono > held.start.Mono) // what is held is newer: its refresh token is the one that works
	switch {
	case fresh && !ts.serving && out.err == nil:
		ts.publish(now, out.got, c.try.step)
		if ts.flying() {
			close(ts.flight.served) // those who wait for it need not
			ts.flight.served = make(chan struct{})
		}
	case fresh && ts.live == c.try.live && c.rotates(out.got.token):
		// Its Rotated hook ran into the end of the flight, or a token is in service. It is
		// held: its refresh token is the only good one.
		ts.trouble().held = out.got
	case ts.closed && out.got != nil && c.try.step != publishHeld: // what is held is Close's
		ts.revokeLate(out.got.token)
	}
	ts.settle(now)
	ts.done()
	ts.mu.Unlock()
}

// done counts one call or flight less, and tells Close.
func (ts *TokenSource) done() {
	if ts.busy--; ts.busy == 0 && ts.rare != nil && ts.rare.idle != nil {
		close(ts.rare.idle)
		ts.rare.idle = nil
	}
}

// newPanicError keeps what is safe to keep of a panic.
func newPanicError(in string, v any) *PanicError {
	return &PanicError{In: in, Type: fmt.Sprintf("%T", v), Stack: debug.Stack()}
}

// sourceName says what a Source is, for errors.
func sourceName(src Source) (name string) {
	name = fmt.Sprintf("%T", src)
	defer func() { _ = recover() }() // Describe is foreign code
	if d, ok := as[Describer](src); ok {
		if n := d.Describe().Name; n != "" {
			name = n
		}
	}
	return name
}
