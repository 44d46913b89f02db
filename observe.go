package renew

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/seed-f29168f7/renew/budget"
	"github.com/seed-f29168f7/renew/clock"
)

// State is what a TokenSource can do for its readers.
type State uint8

// The states of a TokenSource.
const (
	// StateNew: nobody has asked for a token yet.
	StateNew State = iota
	// StateReady: there is a usable token.
	StateReady
	// StateFailing: there is a usable token, but the last attempt to replace it failed.
	StateFailing
	// StateWaiting: there is no usable token, and nothing has failed: one is on its way.
	StateWaiting
	// StateDown: there is no usable token; the attempts fail and go on.
	StateDown
	// StateRefused: there is no usable token; the issuer refused the credentials.
	StateRefused
	// StateBudgetSpent: there is no usable token, and the failure budget forbids an attempt.
	StateBudgetSpent
	// StateHung: there is no usable token, and too many calls of the Source do not return.
	StateHung
	// StateLoginRequired: there is no usable token, and only a person can get one.
	StateLoginRequired
	// StateClosed: Close was called.
	StateClosed
)

var stateNames = [...]string{"new", "ready", "failing", "waiting", "down", "refused", "budget spent", "hung", "login required", "closed"}

// String returns the state in a word or two.
func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return fmt.Sprintf("State(%d)", uint8(s))
}

// MarshalText returns the state in a word or two, for JSON.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Usable reports whether readers get a token.
func (s State) Usable() bool { return s == StateReady || s == StateFailing }

// level is how loud a change to the state is logged.
func (s State) level() slog.Level {
	switch s {
	case StateFailing:
		return slog.LevelWarn
	case StateDown, StateRefused, StateBudgetSpent, StateHung, StateLoginRequired:
		return slog.LevelError
	}
	return slog.LevelInfo
}

// Hooks are functions that a TokenSource calls when something changes. Those of
// one Manager run in order, one at a time, on a goroutine of their own; a hook that does
// not return holds up the others, Close, and flights that bring a new refresh token, but no reader. A panic in
// a hook is contained. A hook must not call Close or Remove. Any of them may be nil.
type Hooks struct {
	// Changed is called once for each change of state.
	Changed func(Change)
	// Rotated is called with a token that brings a new refresh token, before the
	// token is published: the place to store it. ctx ends with the flight. While it returns an error the
	// token is kept but not published, and Rotated is called again at the next
	// attempt, without asking the issuer again.
	Rotated func(ctx context.Context, name string, t *Token) error
}

// isZero reports whether there is no hook.
func (h Hooks) isZero() bool { return h.Changed == nil && h.Rotated == nil }

// Change is a change of state. It holds no secret.
type Change struct {
	// Name is the name of the TokenSource within its Manager, or empty.
	Name string
	// From and To are the states before and after.
	From, To State
	// At is the time of the change.
	At time.Time
	// Generation numbers the last token published; 0 means none.
	Generation uint64
	// Deadline is when the token leaves service; zero when it has none.
	Deadline time.Time
	// Err is the failure behind the state, or nil.
	Err error
}

// Action is what a TokenSource does next by itself.
type Action string

// The actions.
const (
	ActionNone    Action = "none"    // nothing, until somebody asks
	ActionFlight  Action = "flight"  // one is in progress
	ActionReissue Action = "reissue" // the token in service is to be replaced
	ActionRetry   Action = "retry"   // after a failure
)

// Status is a snapshot of a TokenSource, without secrets. It marshals to JSON.
type Status struct {
	Name       string    // within its Manager, or empty
	State      State     //
	Generation uint64    // of the last token published; 0: none
	Deadline   time.Time // when the token in service leaves it; zero: it has no end, or there is none
	Expiry     time.Time // as the issuer said; zero: it did not
	Warning    string    // what is odd but works, such as a clock that is ahead

	Next   Action    // what happens next by itself
	NextAt time.Time // and when; zero: now, or never
	Reason string    // why, in words

	Failures   int           // attempts that failed since the last success, resume, or the moment the token left service
	BudgetLeft int           // units of the failure budget that are free
	RetryAt    time.Time     // when the next unit is free; zero: now
	LastError  string        // of the last failure that is not over; empty: none
	ErrorAge   time.Duration // how long ago that was
	Abandoned  int           // calls of the Source that ignored the end of their context and still run

	Issues   uint64 // calls of Issue so far
	Reissues uint64 // calls of Reissue so far
	Failed   uint64 // calls that failed for another reason than a refusal so far
	Refused  uint64 // calls whose credentials were refused so far
	Rejected uint64 // tokens that a server refused so far, each once
}

// Status returns a snapshot. It never blocks a reader.
func (ts *TokenSource) Status() Status {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	now := ts.now()
	ts.settle(now)
	s := Status{
		Name: ts.name, State: ts.stateAt(now), Next: ActionNone, BudgetLeft: budget.DefaultUnits,
		Issues: uint64(ts.count.issues), Reissues: uint64(ts.count.reissues), Failed: uint64(ts.count.failures),
		Refused: uint64(ts.count.refusals), Rejected: uint64(ts.count.rejects),
	}
	if t := ts.live; t != nil {
		s.Generation, s.Expiry = t.generation, t.Expiry
		if ts.serving && t.deadline != (deadline{}) {
			s.Deadline = wallAt(now, now.Mono+t.deadline.remaining(now))
		}
	}
	if ts.skewed {
		s.Warning = "the token looks expired by the local clock, which is ahead of the issuer's: its life is counted from the request instead"
	}
	if b := ts.usedBudget(); b != nil {
		s.BudgetLeft = b.Left(now.Mono)
		if at, free := b.RetryAt(now.Mono); !free {
			s.RetryAt = wallAt(now, at)
		}
	}
	if r := ts.rare; r != nil {
		s.Failures, s.Abandoned = r.failures, r.abandoned
		if r.err != nil {
			s.LastError, s.ErrorAge = r.err.Error(), now.Mono-r.at
		}
	}
	ts.describeNext(&s, now)
	return s
}

// describeNext says what happens next, and why.
func (ts *TokenSource) describeNext(s *Status, now clock.Instant) {
	at := ts.timerAt(now)
	switch {
	case ts.closed:
		s.Reason = "closed"
	case ts.flying():
		s.Next, s.Reason = ActionFlight, "a flight is in progress"
	case at != never && ts.failing() != nil:
		s.Next, s.NextAt, s.Reason = ActionRetry, wallAt(now, at), "the last attempt failed"
	case at != never:
		s.Next, s.NextAt, s.Reason = ActionReissue, wallAt(now, at), "on schedule"
	case ts.live == nil && ts.failing() == nil:
		s.Reason = "nobody has asked for a token yet"
	case ts.idling(now):
		s.Reason = "nobody reads"
	case ts.failing() != nil:
		s.Reason = "refused: the next caller may try"
		if until, _ := ts.blocked(now, true); until == never {
			s.Reason = "no attempt can succeed by itself"
		} else if until > now.Mono {
			s.Reason = "refused: a caller may try from " + wallAt(now, until).UTC().Format(time.RFC3339)
		}
	case s.State == StateLoginRequired:
		s.Reason = "a person must log in"
	case ts.serving && ts.live.deadline == (deadline{}):
		s.Reason = "the token has no end"
	default:
		s.Reason = "the next caller asks"
	}
}

// stateAt derives the state.
func (ts *TokenSource) stateAt(now clock.Instant) State {
	r := ts.rare
	switch {
	case ts.closed:
		return StateClosed
	case ts.serving && ts.failing() != nil:
		return StateFailing
	case ts.serving:
		return StateReady
	case r != nil && r.abandoned >= maxAbandoned+r.allowance:
		return StateHung
	case r != nil && r.err != nil && r.person, ts.live != nil && ts.can.has(needsPerson) && !ts.flying() && !ts.canReissue(now):
		return StateLoginRequired
	case r != nil && r.err != nil && r.owing && ts.spent(now):
		return StateBudgetSpent
	case r != nil && r.err != nil && (r.final || r.err.Kind == Refused):
		return StateRefused
	case r != nil && r.err != nil:
		return StateDown
	case ts.live == nil:
		return StateNew
	}
	return StateWaiting
}

// spent reports whether the failure budget is spent.
func (ts *TokenSource) spent(now clock.Instant) bool {
	_, free := ts.budget().RetryAt(now.Mono)
	return !free
}

// report notes a change of state, and tells who wants to know.
func (ts *TokenSource) report(now clock.Instant) {
	if ts.set.hub.events == nil {
		return
	}
	to := ts.stateAt(now)
	if to == ts.state {
		return
	}
	c := Change{Name: ts.name, From: ts.state, To: to, At: now.Wall}
	ts.state = to
	if ts.live != nil {
		c.Generation = ts.live.generation
		if ts.serving && ts.live.deadline != (deadline{}) {
			c.Deadline = wallAt(now, ts.live.deadline.mono)
		}
	}
	if err := ts.failing(); err != nil && to != StateClosed {
		c.Err = err
	}
	ts.set.hub.events.post(func() { ts.set.hub.events.changed(c) })
}

// rotated tells the Rotated hook about a new refresh token, and waits for it.
func (ts *TokenSource) rotated(ctx context.Context, t, base *Token) error {
	e := ts.set.hub.events
	if e == nil || e.hooks.Rotated == nil || t.Refresh.IsZero() || base != nil && base.Refresh.Equal(t.Refresh) {
		return nil
	}
	var err error
	done := make(chan struct{})
	e.post(func() {
		defer close(done)
		if ctx.Err() != nil {
			err = context.Cause(ctx) // nobody waits for it any more
			return
		}
		err = guard("Rotated", func() error { return e.hooks.Rotated(ctx, ts.name, t) })
	})
	select {
	case <-done:
	case <-ctx.Done():
		return fmt.Errorf("the Rotated hook did not end in time: %w", context.Cause(ctx))
	}
	if err != nil {
		return fmt.Errorf("the Rotated hook failed, the token is kept until it succeeds: %w", err)
	}
	return nil
}

// events runs hooks and logs in order, one at a time, on a goroutine that exists while
// there are any.
type events struct {
	logger *slog.Logger
	hooks  Hooks

	mu      sync.Mutex
	queue   []func()
	running bool
}

// post adds a job. It does not block.
func (e *events) post(job func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.queue = append(e.queue, job)
	if !e.running {
		e.running = true
		go e.drain()
	}
}

// drain runs the jobs until there are none.
func (e *events) drain() {
	clean := false
	defer func() {
		if !clean { // runtime.Goexit in a hook took this goroutine
			go e.drain()
		}
	}()
	for {
		e.mu.Lock()
		if len(e.queue) == 0 {
			e.queue, e.running, clean = nil, false, true
			e.mu.Unlock()
			return
		}
		job := e.queue[0]
		e.queue = e.queue[1:]
		e.mu.Unlock()
		e.run(job)
	}
}

// run runs one job and contains its panic.
func (e *events) run(job func()) {
	defer func() {
		if v := recover(); v != nil && e.logger != nil {
			defer func() { _ = recover() }() // it may be the logger that panics
			p := newPanicError("a hook", v)
			e.logger.Error("renew: hook panicked", "type", p.Type, "stack", string(p.Stack))
		}
	}()
	job()
}

// changed logs a change and calls the hook.
func (e *events) changed(c Change) {
	if e.logger != nil {
		attrs := []slog.Attr{
			slog.String("name", c.Name), slog.String("from", c.From.String()), slog.String("to", c.To.String()),
			slog.Uint64("generation", c.Generation),
		}
		if !c.Deadline.IsZero() {
			attrs = append(attrs, slog.Time("deadline", c.Deadline))
		}
		if c.Err != nil {
			attrs = append(attrs, slog.String("err", c.Err.Error()))
		}
		e.logger.LogAttrs(context.Background(), c.To.level(), "renew: "+c.To.String(), attrs...)
	}
	if e.hooks.Changed != nil {
		e.hooks.Changed(c)
	}
}

// flush waits until the jobs posted so far have run, or ctx ends.
func (e *events) flush(ctx context.Context) error {
	e.mu.Lock()
	idle := !e.running
	e.mu.Unlock()
	if idle { // no job is to be blamed for a ctx that has ended already
		return nil
	}
	done := make(chan struct{})
	e.post(func() { close(done) })
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
