package renew

import (
	"math"
	"time"

	"github.com/seed-f29168f7/renew/clock"
)

// land takes the outcome of a try and decides what follows: the token is
// published, the flight tries again after a pause, or it ends with an error for all who wait.
func (f *flight) land(out outcome) (again bool, pause time.Duration) {
	ts := f.ts
	ts.mu.Lock()
	defer ts.mu.Unlock()
	now := ts.now()
	defer func() {
		if !again {
			ts.done()
		}
		ts.settle(now)
	}()
	if ts.closed {
		switch r := ts.trouble(); {
		case out.got == nil || f.try.step == publishHeld:
		case r.revoked:
			ts.revokeLate(out.got.token)
		default:
			r.held = out.got // for Close to revoke
		}
		if out.err != nil {
			ts.chargeFor(f, now, classify(out.err, out.source))
		} else {
			ts.chargeFor(f, now, failure{})
		}
		f.end(nil, ErrClosed)
		return false, 0
	}
	if ts.live != f.try.live && out.got != nil && out.err == nil && ts.live.holds(out.got.token) {
		out.got, out.same = nil, true // a late result of another call was quicker
	}
	switch {
	case out.err == nil && !out.same:
		ts.chargeFor(f, now, failure{})
		ts.length = uint16(min((now.Mono-f.began.Mono+lengthUnit-1)/lengthUnit, math.MaxUint16))
		ts.publish(now, out.got, f.try.step)
		f.end(ts.live, nil)
		return false, 0
	case out.same && !ts.rejected:
		ts.chargeFor(f, now, failure{})
		if ts.serving {
			ts.sameAgain(now)
			f.end(ts.live, nil)
			return false, 0
		}
		out.err = &IssueError{Source: out.source, Kind: Transient, RetryAfter: sameTokenLeast, Err: errSameToken}
	case out.same:
		out.err = &IssueError{Source: out.source, Kind: Refused, Err: errSameToken}
	}
	if out.got != nil { // its Rotated hook failed
		ts.trouble().held = out.got
	}
	fail := classify(out.err, out.source)
	ts.chargeFor(f, now, fail)
	return f.fail(now, fail, out)
}

// fail decides what a failed try leads to.
func (f *flight) fail(now clock.Instant, fail failure, out outcome) (again bool, pause time.Duration) {
	ts, was := f.ts, f.try.step
	r := ts.trouble()
	if was == issue && f.fellBack != nil && fail.interaction {
		// There was no Issue to fall back to: what counts is how the Reissue failed.
		fail = *f.fellBack
		fail.interaction = fail.Kind == Refused
		fail.Permanent = fail.Permanent || fail.interaction // or Wait would ask without a pause
		f.tries = 0
	} else if fail.Kind == Refused {
		ts.count.refusals++
	} else {
		ts.count.failures++
	}
	r.owing = r.owing || fail.refusals() > 0
	if was == reissue && (fail.Kind == Refused || fail.final()) {
		r.refused++
		r.refusedToken = f.try.base
		r.reissueOff = now.Mono + reissueOffFor(r.refused, min(ts.budget().Span(), maxLife))
		if !ts.can.has(needsPerson) && f.ctx.Err() == nil {
			return f.fallBack(now, fail)
		}
		fail.interaction = ts.can.has(needsPerson) && !ts.set.interactive
		fail.Permanent = fail.interaction
	}
	lost := was == reissue && out.got == nil && !fail.Unsent && !f.try.base.Refresh.IsZero()
	if f.ctx.Err() == nil && (f.tries > 0 || lost) && fail.Kind == Transient && !fail.final() {
		next := ts.nextTry(now)
		if lost {
			f.fellBack = &fail
		}
		if f.fellBack != nil && next.step == reissue {
			next.step = issue // the refresh token may be spent: it is not sent again in this flight (R9)
		}
		r.failures++
		pause = fail.pause(r.failures, ts.serving, ts.remaining(now), ts.life(), ts.set.hub.rand())
		if lost { // it goes on to Issue within the flight, as after a refusal
			pause = fail.pause(1, false, 0, 0, ts.set.hub.rand())
		}
		pause = max(pause, ts.lane().gate()-now.Mono)
		person := next.step == issue && ts.can.has(needsPerson)
		if !person && now.Mono+pause < f.timeout && ts.reserve(now, &next) {
			f.tries = max(f.tries-1, 0)
			f.try = next
			return true, pause
		}
		r.failures--
	}
	ts.fail(now, fail, out.version)
	f.end(nil, ts.refusal(now, ts.nextAttempt(now), fail.IssueError))
	return false, 0
}

// fallBack follows a refused Reissue with an Issue in the same flight, for a
// unit of the budget (R14).
func (f *flight) fallBack(now clock.Instant, fail failure) (again bool, pause time.Duration) {
	ts := f.ts
	next := ts.nextTry(now)
	next.step = issue
	if ts.reserve(now, &next) {
		f.try, f.fellBack = next, &fail
		return true, 0
	}
	ts.fail(now, fail, 0)
	ts.rare.denied, ts.rare.final = true, false
	f.end(nil, ts.budgetError(now))
	return false, 0
}

// reserve takes a unit of the budget for a try that costs one, and reports
// whether the try may be made.
func (ts *TokenSource) reserve(now clock.Instant, t *try) bool {
	if !ts.owing() || t.step == publishHeld {
		return true
	}
	_, t.unit = ts.budget().Reserve(now.Mono)
	return t.unit
}

// chargeFor settles the unit that was reserved for the try, and those for
// refusals beyond the first (R18, R19).
func (ts *TokenSource) chargeFor(f *flight, now clock.Instant, fail failure) {
	if f.try.unit {
		f.try.unit = false
		if fail.IssueError == nil || fail.judged() {
			ts.budget().Spend(now.Mono)
		} else {
			ts.budget().Release()
		}
	}
	if fail.IssueError != nil && fail.refusals() > 1 {
		ts.budget().Charge(now.Mono, fail.refusals()-1)
	}
}

// fail remembers why the flight failed, and when the next attempt may start.
func (ts *TokenSource) fail(now clock.Instant, fail failure, version uint64) {
	r := ts.trouble()
	r.err, r.final, r.person, r.denied = fail.IssueError, fail.final(), fail.interaction, false
	r.at, r.version = now.Mono, version
	r.failures++
	pause := fail.pause(r.failures, ts.serving, ts.remaining(now), ts.life(), ts.set.hub.rand())
	ts.next = now.Mono + pause
	if fail.RetryAfter > 0 {
		r.gate = now.Mono + fail.RetryAfter // it outlasts pauses that start anew
	}
	if fail.Kind == Throttled {
		// What the issuer asked for, and not the pause of who has a token still: others have none.
		gate := fail.RetryAfter
		if gate == 0 {
			gate = min(pause, coldMost)
		}
		r.gate = now.Mono + gate
		ts.lane().close(r.gate, fail.Status == 503)
	}
}

// publish puts a token into service and plans its reissue.
func (ts *TokenSource) publish(now clock.Instant, c *candidate, by step) {
	copied := *c.token // the Rotated hook has the other one
	t := &copied
	t.generation = 1
	if ts.live != nil {
		t.generation = ts.live.generation + 1
	}
	ts.live, ts.serving, ts.rejected, ts.skewed = t, true, false, c.skewed
	hint := time.Duration(0)
	if !t.ReissueAt.IsZero() {
		hint = min(max(t.ReissueAt.Sub(c.start.Wall), 1), maxLife)
	}
	after := reissueAfter(t.Life, leewayOf(ts.set.leeway, t.Life), ts.set.reissueEvery, hint, ts.lastFlight(), ts.set.hub.rand())
	ts.next = never
	if after != never {
		ts.next = max(c.start.Mono+after, now.Mono)
	}
	ts.forgive(by)
	if ts.next != never && ts.next-ts.set.idleAfter <= now.Mono {
		ts.conceal(now)
	} else {
		ts.unread = false
	}
	ts.expose()
}

// forgive forgets the trouble after a success, and frees what is not needed any more.
func (ts *TokenSource) forgive(by step) {
	r := ts.rare
	if r == nil {
		return
	}
	keep := rare{abandoned: r.abandoned, allowance: r.allowance, readAt: r.readAt, budget: r.budget, lane: r.lane, idle: r.idle}
	if by != reissue {
		keep.refused, keep.reissueOff = r.refused, r.reissueOff
	}
	if keep == (rare{}) && ts.set.idleAfter == 0 {
		ts.rare = nil
		return
	}
	*r = keep
}

// sameAgain plans the next attempt after the Source returned the token in
// service once more: no success, and no failure (R11).
func (ts *TokenSource) sameAgain(now clock.Instant) {
	ts.forgive(issue)
	ts.next = never
	if p := sameTokenPause(ts.remaining(now)); p != never {
		ts.next = now.Mono + p
	} else if ts.set.reissueEvery > 0 {
		ts.next = now.Mono + reissueAfter(0, 0, ts.set.reissueEvery, 0, 0, ts.set.hub.rand())
	}
}

// end records the outcome for the callers that wait.
func (f *flight) end(t *Token, err error) {
	f.token, f.err, f.over, f.running = t, err, true, false
	f.ts.flight = nil
	f.cancel(nil)
	close(f.wake)
}

// remaining returns how long the token in service remains there.
func (ts *TokenSource) remaining(now clock.Instant) time.Duration {
	if !ts.serving {
		return 0
	}
	return ts.live.deadline.remaining(now)
}

// life returns the life of the last token.
func (ts *TokenSource) life() time.Duration {
	if ts.live == nil {
		return 0
	}
	return ts.live.Life
}

// nextAttempt returns when the next attempt may start after a failure: by the
// timer or, where that leaves it alone, by a caller.
func (ts *TokenSource) nextAttempt(now clock.Instant) time.Duration {
	until, _ := ts.blocked(now, true)
	return until
}
