package simulation

// What the end of a call leads to: a token in service, or a failure and a pause.

import (
	"slices"
	"time"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/clock"
)

func (o *oracle) callEnds(t *tenant, c *call, now clock.Instant) {
	t.running = slices.DeleteFunc(t.running, func(other *call) bool { return other == c })
	if t.abandoned() < 4 {
		t.allowance = 0
	}
	switch {
	case c.settled:
		o.late(t, c, now)
	case c.late:
		if v := t.verdictOf(c, now); v.ok || v.kind != renew.Transient {
			o.doubt(t)
		}
		o.timedOut(t, c, now)
	default:
		if now.Mono >= t.flight.began.Mono+o.w.setup.timeout {
			o.doubt(t)
		}
		o.settle(t, c, t.verdictOf(c, now), now)
	}
}

// doubt notes that two things happened at one instant: what is checked exactly is left
// out until the next success.
func (o *oracle) doubt(t *tenant) {
	t.unsure, t.ledger.unsure = true, true
}

// settle takes the end of a call, in time or not.
func (o *oracle) settle(t *tenant, c *call, v verdict, now clock.Instant) {
	c.settled = true
	if c.charged {
		t.ledger.open--
		if v.judged {
			t.ledger.spend(now.Mono, 1)
		}
	}
	if v.refusals > 1 {
		t.ledger.over = true
		t.ledger.spend(now.Mono, v.refusals-1)
	}
	t.flight.last = v
	if t.closed {
		return
	}
	if v.same {
		switch {
		case t.rejected:
			v = verdict{kind: renew.Refused, judged: true, refusals: 1}
			t.flight.last = v
		case t.serving:
			o.sameAgain(t, now)
			return
		default:
			v = verdict{judged: true, retryAfter: time.Second}
			t.flight.last = v
		}
	}
	if !v.ok {
		o.fails(t, c, v, now)
		t.flight.owing, t.flight.same = t.owing, t.same
		return
	}
	if c.brings() && o.w.setup.rotated {
		t.candidate = c
		return
	}
	o.publish(t, c, now)
}

// publish checks and notes that a token goes into service.
func (o *oracle) publish(t *tenant, c *call, now clock.Instant) {
	if t.flight != nil {
		length := now.Mono - t.flight.began.Mono
		t.publish(c, now, length, length)
	} else { // a flight without a call, which began nobody knows when
		t.publish(c, now, 0, now.Mono-c.began.Mono)
	}
	t.moved = o.grace(now.Mono) || o.movedSince(c.began.Mono)
	t.unsure = t.blind
}

// movedSince reports whether the hands of the clock parted after an instant.
func (o *oracle) movedSince(at time.Duration) bool { return o.hasMoved && o.movedAt >= at }

// rotates takes a call of the Rotated hook.
func (o *oracle) rotates(t *tenant, tok *renew.Token, err error, now clock.Instant) {
	c := t.candidate
	if c == nil {
		c = t.held
	}
	if t.closed {
		return
	}
	if c == nil || !c.tok.Value.Equal(tok.Value) {
		if !t.unsure && t.abandoned() == 0 {
			o.broken("R31", "%s: Rotated is called with a token that is not to be published", t.name)
		}
		return
	}
	t.candidate = nil
	if err == nil {
		if t.held == c { // it is published by a flight without a call
			t.flight = nil
		}
		o.publish(t, c, now)
		return
	}
	first := t.held != c
	t.held = c
	if first {
		if t.refusedBase == c.tok {
			t.refusedBase = nil // it was issued once more
		}
		o.fails(t, c, verdict{judged: true}, now)
		t.flight.owing, t.flight.same = t.owing, t.same
	} else {
		t.failing, t.fault, t.failedAt, t.failures = true, verdict{judged: true}, now.Mono, t.failures+1
	}
	if t.flight != nil {
		t.flight.last = verdict{judged: true, held: true}
	}
	// Flights without a call follow, which cannot be seen.
	t.notBefore, t.notAfter, t.held = now.Mono, forever, c
}

// sameAgain takes the token in service once more (R11).
func (o *oracle) sameAgain(t *tenant, now clock.Instant) {
	t.forgive(false)
	t.unsure = t.blind
	t.notBefore, t.notAfter = forever, forever
	if left := t.remaining(now); left != forever {
		pause := max(left/2, time.Second)
		t.notBefore, t.notAfter = now.Mono+pause, now.Mono+pause
	} else if t.set.every > 0 {
		t.notBefore, t.notAfter = now.Mono+t.set.every*9/10-time.Microsecond, now.Mono+t.set.every+time.Microsecond
	}
}

// fails takes a failed call.
func (o *oracle) fails(t *tenant, c *call, v verdict, now clock.Instant) {
	f := t.flight
	fellBack := !c.reissue && f != nil && f.fellBack != nil && v.interaction
	switch {
	case fellBack: // there was no Issue to fall back to: what counts is how the Reissue failed
		v = *f.fellBack
		v.interaction = v.kind == renew.Refused
		v.permanent = v.permanent || v.interaction
	case v.kind == renew.Refused:
		t.refused++
	default:
		t.failed++
	}
	t.owing = t.owing || v.refusals > 0
	if c.reissue && (v.kind == renew.Refused || v.final()) {
		t.reissueRefused++
		t.refusedBase = c.base
		t.reissueOff = now.Mono + reissueOff(t.reissueRefused, t.ledger.window)
		if !t.set.interactive {
			t.fallback, t.fault, t.failedAt = true, v, now.Mono
			t.denied = false
			return
		}
		v.interaction = !t.set.allowed
		v.permanent = v.interaction
	}
	t.failing, t.fault, t.denied, t.failedAt, t.version = true, v, false, now.Mono, c.version
	t.failures, t.fewest = t.failures+1, t.fewest+1
	least, most := t.pauses(v, now)
	t.notBefore, t.notAfter = now.Mono+least, now.Mono+most
	if o.grace(now.Mono) { // the move of the clock is about to be noticed, perhaps
		t.fewest, t.notBefore = 0, min(t.notBefore, now.Mono+159*time.Millisecond)
	}
	if v.retryAfter > 0 {
		t.gate = gate{now.Mono + v.retryAfter, now.Mono + v.retryAfter}
	}
	if v.kind == renew.Throttled {
		g := gate{now.Mono + v.retryAfter, now.Mono + v.retryAfter}
		if v.retryAfter == 0 {
			g = gate{now.Mono + min(least, 30*time.Second), now.Mono + min(most, 30*time.Second)}
		}
		t.gate = g
		if v.endpoint && t.pace != nil {
			t.pace.gate = t.pace.gate.later(g)
		} else if o.w.setup.budgets == "account" {
			t.ledger.gate = t.ledger.gate.later(g)
		}
	}
}

// reissueOff is for how long Reissue is not tried after n refusals in a row (R14).
func reissueOff(n int, window time.Duration) time.Duration {
	if n < 2 {
		return 0
	}
	off := window
	for range n - 2 {
		off = min(2*off, 24*time.Hour)
	}
	return off
}

// fallen sees what followed a refused Reissue: an Issue in the same flight, unless the budget forbids it.
func (o *oracle) fallen(t *tenant, now clock.Instant) {
	if !t.fallback || !t.flight.over() {
		return
	}
	t.fallback = false
	if t.closed || t.unsure {
		return
	}
	if t.ledger.free(now.Mono) && !t.ledger.unsure && t.ledger.open == 0 && now.Mono < t.flight.began.Mono+o.w.setup.timeout {
		o.broken("R14", "%s: no Issue follows the refused Reissue, though the budget allows one", t.name)
	}
	t.failing, t.denied = true, true
	t.fault.permanent, t.fault.interaction = false, false
	if t.fault.kind == renew.Invalid {
		t.fault.kind = renew.Refused
	}
	t.failures, t.fewest = t.failures+1, t.fewest+1
	t.notBefore, t.notAfter = t.failedAt+159*time.Millisecond, forever
}

// late takes the result of a call whose flight is over (R8).
func (o *oracle) late(t *tenant, c *call, now clock.Instant) {
	if c.tok == nil || c.mode != deafWorks || t.closed || !t.usable(c, now) {
		return
	}
	if t.tok != nil && c.tok.Value.Equal(t.tok.Value) {
		return
	}
	if c.brings() && o.w.setup.rotated || o.grace(now.Mono) {
		// Its hook is refused, for nobody waits; it may be held, and published by a flight without a call.
		o.doubt(t)
		t.blind = true
		return
	}
	if t.serving {
		if c.brings() {
			o.doubt(t) // it may be held, for its refresh token
			t.blind = true
		}
		return
	}
	f := t.flight
	t.publish(c, now, 0, 0)
	t.flight, t.moved = f, true
}
