package renew

import (
	"time"

	"github.com/seed-f29168f7/renew/budget"
	"github.com/seed-f29168f7/renew/clock"
)

// engine is the state of a TokenSource, guarded by its mu. Whoever changes it
// calls settle before unlocking: settle withdraws, starts and times out what is
// due, sets the one timer, and reports a change of state.
type engine struct {
	live   *Token        // the last token published, in service or not
	flight *flight       // the flight that runs, or that waits for its start
	timer  clock.Timer   // the one timer: deadline, next attempt, flight timeout
	next   time.Duration // when the schedule, or the back-off, wants the next attempt; never if it does not
	rare   *rare         // what most TokenSources do not have most of the time; nil then
	count  counts
	length uint16 // of the last successful flight, in lengthUnits
	busy   int16  // flights and calls of the Source that run
	state  State  // as last reported

	closed   bool
	serving  bool // live is in service
	rejected bool // a server refused live, and it is to be replaced
	unread   bool // nobody has read since it was set (Config.IdleAfter)
	skewed   bool // live looks expired by the local wall clock
	can      ability
	armed    bool // timer is set, or the input is watched; the hub's watcher runs while one is
}

// counts are the cumulative counters of Status.
type counts struct{ issues, reissues, failures, refusals, rejects uint32 }

// rare is the part of the state that exists only after something went wrong,
// or for options that few use.
type rare struct {
	budget *budget.Budget // of this TokenSource alone, built at first need
	lane   *lane          // of the Source itself, where no endpoint is named; built at first need

	// The trouble: what the last attempt ran into. err is nil after a success.
	err      *IssueError
	final    bool          // the timer leaves it alone (R23)
	person   bool          // only a person can help
	denied   bool          // the budget kept an attempt from following it
	at       time.Duration // when it ended
	failures int           // in a row, for the pauses; starts anew after a resume and when the token leaves service
	version  uint64        // Traits.InputVersion of that attempt

	owing bool          // the next attempt follows a refusal or a Reject: it costs a unit
	force bool          // Reset: the next attempt waits for nothing
	same  bool          // Reset: the next attempt may return the rejected value again
	gate  time.Duration // a pause that the issuer asked of this TokenSource

	refused      int           // refusals of Reissue in a row (R14)
	refusedToken *Token        // the token that was refused; it is not reissued again
	reissueOff   time.Duration // until then Reissue is not tried

	held    *candidate // a token whose Rotated hook failed
	counted *Token     // the token that counts.rejects counted last

	abandoned int // calls of the Source that ignored the end of their ctx and still run
	allowance int // Reset: so many more calls may be started

	readAt time.Duration // last read that was noted (Config.IdleAfter)

	idle    chan struct{} // closed when busy is 0, for Close
	revoked bool          // Close has taken the tokens to revoke
}

const (
	// maxAbandoned is how many calls of the Source may ignore the end of their ctx (R8).
	maxAbandoned = 4
	lengthUnit   = 10 * time.Millisecond
)

// trouble returns rare, and builds it at first need.
func (ts *TokenSource) trouble() *rare {
	if ts.rare == nil {
		ts.rare = &rare{}
	}
	return ts.rare
}

// failing returns the last failure, or nil.
func (ts *TokenSource) failing() *IssueError {
	if ts.rare == nil {
		return nil
	}
	return ts.rare.err
}

// flying reports whether a flight runs.
func (ts *TokenSource) flying() bool { return ts.flight != nil && ts.flight.running }

// waitedFor reports whether callers need a flight that has not started: a token
// that came late, or went back into service, serves them too.
func (ts *TokenSource) waitedFor() bool {
	return !ts.serving && ts.flight != nil && (ts.flight.waiters > 0 || ts.flight.asked)
}

// budget returns the failure budget of this TokenSource, and builds it at first need.
func (ts *TokenSource) budget() *budget.Budget {
	if b := ts.usedBudget(); b != nil {
		return b
	}
	r := ts.trouble()
	r.budget = &budget.Budget{}
	return r.budget
}

// usedBudget returns the failure budget, or nil while it was not needed: then it is whole.
func (ts *TokenSource) usedBudget() *budget.Budget {
	if ts.set.budget != nil {
		return ts.set.budget
	}
	if l := ts.set.lane; l.shared() {
		return &l.budget
	}
	if ts.rare == nil {
		return nil
	}
	return ts.rare.budget
}

// owing reports whether the next attempt costs a unit of the budget.
func (ts *TokenSource) owing() bool { return ts.rare != nil && ts.rare.owing }

// settle brings the TokenSource up to now.
func (ts *TokenSource) settle(now clock.Instant) {
	if ts.closed {
		return
	}
	if f := ts.flight; ts.flying() && now.Mono >= f.timeout {
		f.timeout = never
		f.cancel(errFlightTimeout)
	}
	if ts.serving && ts.live.deadline.past(now) {
		ts.withdraw(now)
	}
	if ts.detectIdleAt() <= now.Mono {
		ts.conceal(now)
		ts.expose()
	}
	if ts.timerAt(now) <= now.Mono {
		ts.launch(now, ts.waitedFor())
	}
	ts.restore(now)
	if f := ts.flight; f != nil && !f.running && f.waiters > 0 && (ts.serving || f.promised < ts.timerAt(now)) {
		f.wakeWaiters() // there is a token, or it starts later than they were told: they decide anew
	}
	ts.arm(now)
	ts.report(now)
}

// expose shows live to the readers, in the way that the Config asks for, or
// takes it from them.
func (ts *TokenSource) expose() {
	var cur, checked *Token
	switch {
	case !ts.serving || ts.closed || ts.unread:
	case ts.set.checkOnRead:
		checked = ts.live
	default:
		cur = ts.live
	}
	ts.cur.Store(cur)
	ts.checked.Store(checked)
}

// withdraw takes live out of service. What follows has the pauses of a
// TokenSource without a token, from their beginning.
func (ts *TokenSource) withdraw(now clock.Instant) {
	ts.serving = false
	ts.conceal(now)
	ts.expose()
	if ts.failing() != nil {
		ts.hasten(now)
		return
	}
	ts.next = now.Mono
	if ts.rare != nil { // a flight that has failed tries may be running
		ts.rare.failures = 0
	}
}

// hasten starts the pauses anew: the next attempt is not further away than the
// first of them.
func (ts *TokenSource) hasten(now clock.Instant) {
	ts.rare.failures = 0
	ts.next = min(ts.next, now.Mono+jitter(coldPause(1), ts.set.hub.rand()))
}

// restore puts a rejected token back into service when it cannot be replaced,
// because the budget is spent or the issuer refused for good: what one server refuses, others may take (R2, R22).
func (ts *TokenSource) restore(now clock.Instant) {
	if !ts.rejected || ts.serving || ts.flying() || !ts.owing() || ts.live.deadline.past(now) {
		return
	}
	if ts.rare.final {
		if now.Mono >= ts.retryAt() {
			return // a caller may try, and is about to
		}
	} else if !ts.spent(now) {
		return
	}
	ts.serving, ts.rejected = true, false
	if ts.failing() == nil { // else the back-off goes on
		ts.rare.owing = false
		left := ts.live.deadline.remaining(now)
		if left == never {
			left = 0 // it has no end
		}
		ts.next = never
		if after := reissueAfter(left, 0, ts.set.reissueEvery, 0, 0, ts.set.hub.rand()); after != never {
			ts.next = now.Mono + after
		}
	}
	ts.expose()
}

// blocked says until when no attempt may start, and why; zero means that one
// may start now. A caller may try again what the timer leaves alone.
func (ts *TokenSource) blocked(now clock.Instant, byCaller bool) (until time.Duration, why error) {
	r := ts.rare
	if r != nil && r.abandoned >= maxAbandoned+r.allowance {
		return never, ErrHung
	}
	if ts.can.has(needsPerson) && !(byCaller && ts.set.interactive) && !ts.canReissue(now) {
		return never, ErrInteractionRequired
	}
	if r == nil {
		return ts.lane().gate(), errPaused
	}
	if r.force && !r.owing {
		return 0, nil
	}
	until = max(r.gate, ts.lane().gate())
	switch {
	case r.err == nil:
		why = errPaused
	case !r.final:
		until, why = max(until, ts.next), r.err
	case byCaller:
		why = errPaused
		if at := ts.retryAt(); at > until {
			until, why = at, r.err
		}
	default:
		until, why = never, r.err
	}
	if r.owing {
		if at, free := ts.budget().RetryAt(now.Mono); !free && at > until {
			until, why = at, ts.budgetError(now)
			if at-now.Mono >= ts.budget().Span() {
				// Perhaps attempts in progress have the units, and give them back: ask again soon.
				until = min(at, now.Mono+ts.set.flightTimeout+1)
			}
		}
	}
	return until, why
}

// retryAt returns from when on a caller may try again what was refused for good (R23).
func (ts *TokenSource) retryAt() time.Duration {
	return ts.rare.at + min(ts.budget().Span(), maxLife)
}

// canReissue reports whether the next attempt trades a token instead of
// issuing one (R14).
func (ts *TokenSource) canReissue(now clock.Instant) bool {
	base := ts.base()
	if base == nil {
		return false
	}
	if r := ts.rare; r != nil && (now.Mono < r.reissueOff || r.refusedToken == base) {
		return false
	}
	if base.Refresh.IsZero() && (!ts.serving || ts.owing()) {
		return false
	}
	return ts.can.has(reissues)
}

// ability is what a Source can do, as New found it: the chain of wrapped Sources
// is foreign code, and not asked under mu.
type ability uint8

const (
	needsPerson  ability = 1 << iota // Issue is interactive
	reissues                         // it is a Reissuer
	revokes                          // it is a Revoker
	watchesInput                     // its input is written by others (Traits.WatchInput)
)

func (a ability) has(b ability) bool { return a&b != 0 }

// base returns the newest token there is, published or held.
func (ts *TokenSource) base() *Token {
	if ts.rare != nil && ts.rare.held != nil {
		return ts.rare.held.token
	}
	return ts.live
}

// timed reports whether the timer drives the next attempt, with nobody asking.
func (ts *TokenSource) timed(now clock.Instant) bool {
	if !ts.begun() || ts.idling(now) {
		return false
	}
	if err := ts.failing(); err != nil {
		return !ts.rare.final && (err.Kind != Refused || ts.rare.denied)
	}
	return ts.set.reissueEvery >= 0
}

// begun reports whether somebody has asked: New starts nothing.
func (ts *TokenSource) begun() bool { return ts.live != nil || ts.failing() != nil }

// idling reports whether nobody has read for so long that nothing is to be
// done (R16).
func (ts *TokenSource) idling(now clock.Instant) bool {
	return ts.set.idleAfter > 0 && ts.unread && now.Mono-ts.rare.readAt >= ts.set.idleAfter
}

// timerAt returns when the next attempt is to start by itself: by schedule, by
// back-off, or because callers wait for it.
func (ts *TokenSource) timerAt(now clock.Instant) time.Duration {
	if ts.flying() {
		return never
	}
	at := never
	if ts.waitedFor() {
		at, _ = ts.blocked(now, true)
	} else if ts.timed(now) {
		at, _ = ts.blocked(now, false)
		if ts.rare == nil || !ts.rare.force {
			at = max(at, ts.next)
		}
	}
	if f := ts.flight; f != nil && at != never {
		at = max(at, f.slot)
	}
	return at
}

// detectIdleAt returns from when on reads must be noted, so that it is known at
// the time of the reissue whether anybody still reads. One that was noted since is enough.
func (ts *TokenSource) detectIdleAt() time.Duration {
	if ts.set.idleAfter <= 0 || !ts.serving || ts.unread || ts.next == never {
		return never
	}
	at := ts.next - ts.set.idleAfter
	if ts.rare != nil && ts.rare.readAt >= at {
		return never
	}
	return at
}

// conceal makes the next read be noted (Config.IdleAfter). Up to now reads were
// not, and the last may be a moment ago.
func (ts *TokenSource) conceal(now clock.Instant) {
	if ts.set.idleAfter > 0 && !ts.unread {
		ts.unread = true
		ts.trouble().readAt = now.Mono
	}
}

// noteRead notes a read, where reads count.
func (ts *TokenSource) noteRead(now clock.Instant) {
	if ts.set.idleAfter <= 0 {
		return
	}
	ts.trouble().readAt = now.Mono
	if ts.unread {
		ts.unread = false
		ts.expose()
	}
}

// arm sets the timer for what comes next.
func (ts *TokenSource) arm(now clock.Instant) {
	at := min(ts.timerAt(now), ts.detectIdleAt())
	if ts.flying() {
		at = min(at, ts.flight.timeout)
	}
	if ts.serving {
		if left := ts.live.deadline.remaining(now); left != never {
			at = min(at, now.Mono+left)
		}
	}
	ts.watched(at != never || ts.can.has(watchesInput) && ts.begun())
	switch {
	case at == never && ts.timer != nil:
		ts.timer.Stop()
	case at == never:
	case ts.timer == nil:
		ts.timer = ts.set.hub.clock.AfterFunc(max(at-now.Mono, 0), ts.tick)
	default:
		ts.timer.Reset(max(at-now.Mono, 0))
	}
}

// watched notes whether there is something for the hub's watcher to look at, and tells it.
func (ts *TokenSource) watched(armed bool) {
	if armed != ts.armed {
		ts.armed = armed
		ts.set.hub.watch(armed)
	}
}

// tick is the timer's callback. A late or needless one does no harm: settle
// looks at the time, not at who called.
func (ts *TokenSource) tick() {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	ts.settle(ts.now())
}

// rejudge is called after the hands of the clock moved apart: the machine
// slept, or somebody set the clock (R24).
func (ts *TokenSource) rejudge() {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	now := ts.now()
	if ts.failing() != nil && !ts.rare.final {
		ts.hasten(now)
	}
	if ts.serving && ts.failing() == nil && ts.next != never {
		left := ts.live.deadline.remaining(now)
		if left > 0 && left != never && ts.next > now.Mono+left-ts.lastFlight() {
			ts.next = min(ts.next, now.Mono+reissueAfter(left, 0, 0, 0, ts.lastFlight(), ts.set.hub.rand()))
		}
	}
	ts.settle(now)
}

// lastFlight returns how long the last successful flight took.
func (ts *TokenSource) lastFlight() time.Duration {
	return time.Duration(ts.length) * lengthUnit
}

// wallAt returns a monotonic reading as civil time; zero for never.
func wallAt(now clock.Instant, mono time.Duration) time.Time {
	if mono == never {
		return time.Time{}
	}
	return now.Wall.Add(mono - now.Mono)
}

// now reads the clock.
func (ts *TokenSource) now() clock.Instant { return ts.set.hub.clock.Now() }
