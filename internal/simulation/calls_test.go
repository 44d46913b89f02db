package simulation

// What the oracle checks when a call of the Source starts: may a flight start now, and is this what it should do next.

import (
	"slices"
	"time"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/clock"
)

func (o *oracle) callStarts(t *tenant, c *call, now clock.Instant) {
	if c.reissue {
		t.reissues++
	} else {
		t.issues++
	}
	if t.closed {
		o.broken("R27", "%s: the source is called after Close", t.name)
	}
	for _, other := range t.running {
		if other.ctx.Err() == nil {
			o.broken("R6", "%s: two calls at once", t.name)
		}
	}
	if n := t.abandoned(); n >= 4+t.allowance {
		o.broken("R8", "%s: a call starts while %d do not return", t.name, n)
	}
	if t.held != nil && !past(t.held.began, must(servedOf(t.held)), now) && must(servedOf(t.held)) > 0 {
		o.broken("R31", "%s: the issuer is asked although a token is held for its Rotated hook", t.name)
	}
	if t.set.interactive && !c.reissue {
		if !t.set.allowed {
			o.broken("R7", "%s: an interactive Issue that is not allowed", t.name)
		} else if !t.asked(now.Mono) && !t.force {
			o.broken("R7", "%s: an interactive Issue that nobody waits for", t.name)
		}
	}
	if f := t.flight; f != nil && f.ctx == c.ctx {
		o.further(t, f, c, now)
	} else {
		o.first(t, c, now)
	}
	t.running, c.base, c.was, c.same = append(t.running, c), t.base(), t.tok, t.same
	if len(t.flight.calls) > 1 {
		c.same = t.flight.same
	}
	if owing := len(t.flight.calls) == 1 && t.owing || len(t.flight.calls) > 1 && t.flight.owing; owing {
		l := t.ledger
		if !l.free(now.Mono) && !l.unsure && !(l.over && l.shared) {
			o.broken("R18", "%s: an attempt beyond the budget: %d spent in %v, %d in progress, of %d", t.name, l.count(now.Mono), l.window, l.open, l.units)
		}
		l.open++
		c.charged = true
	}
	if t.pace != nil && !t.pace.start(now.Mono) {
		o.broken("R20", "%s: the endpoint is called faster than %v a second, burst %v", t.name, t.pace.perSecond, t.pace.burst)
	}
}

func must[T any](v T, _ bool) T { return v }

// asked reports whether somebody asked for the flight that starts now.
func (m *model) asked(now time.Duration) bool {
	return len(m.pending) > 0 || m.lastCaller == now || now <= m.crowd || m.booked
}

// first checks the first call of a flight.
func (o *oracle) first(t *tenant, c *call, now clock.Instant) {
	if t.flight != nil && t.flight.ctx.Err() == nil {
		o.broken("R6", "%s: a flight starts while another one runs", t.name)
	}
	o.fallen(t, now)
	t.age(now, false) // what starts a flight looks at the clock
	byCaller := t.asked(now.Mono)
	at := now.Mono
	switch {
	case t.unsure || t.force:
	case t.failing && t.fault.final() && byCaller && c.version != t.version: // the credential input has changed
	case t.failing && t.fault.final() && !byCaller:
		o.broken("R23", "%s: the timer tries what was refused for good", t.name)
	case t.failing && t.fault.final() && at < t.failedAt+t.ledger.window:
		o.broken("R23", "%s: what was refused for good is tried again after %v", t.name, at-t.failedAt)
	case t.failing && t.fault.final(): // a caller may try now
	case t.failing && t.fault.kind == renew.Refused && !t.denied && !byCaller:
		o.broken("R13", "%s: the timer retries a refusal", t.name)
	case at < t.notBefore && t.failing:
		o.broken("R9", "%s: a flight starts %v after a failure, %v too early", t.name, at-t.failedAt, t.notBefore-at)
	case at < t.notBefore && !t.moved && !byCaller:
		o.broken("R12", "%s: a reissue %v after the request, %v too early", t.name, at-t.start.Mono, t.notBefore-at)
	}
	if !t.force && !t.unsure {
		if at < t.gates().least {
			o.broken("R20", "%s: a flight starts although the issuer asked for a pause", t.name)
		}
	}
	if idle := t.set.idleAfter; idle > 0 && t.serving && !t.failing && !byCaller && !t.force && !t.moved && t.set.every == 0 && at-t.lastRead > idle+t.life() { // not every read of a token is noted
		o.broken("R16", "%s: a token is reissued that nobody has read for %v", t.name, at-t.lastRead)
	}
	if want := t.canReissue(t.set, at); want != c.reissue && !t.unsure && !o.grace(at) {
		if c.reissue {
			o.broken("R14", "%s: a Reissue that is not to be tried", t.name)
		} else {
			o.broken("R14", "%s: an Issue where Reissue was possible", t.name)
		}
	}
	t.flight = &flight{ctx: c.ctx, began: now, tried: t.held != nil, calls: []*call{c}, first: !t.failing}
	t.force, t.booked = false, false
	t.note(c)
}

// note notes the refresh token that a call sends.
func (m *model) note(c *call) {
	if !c.reissue || c.live.Refresh.IsZero() {
		return
	}
	m.flight.lost = append(m.flight.lost, c.live.Refresh.Reveal())
}

// further checks a call that is not the first of its flight.
func (o *oracle) further(t *tenant, f *flight, c *call, now clock.Instant) {
	last := f.calls[len(f.calls)-1]
	f.calls = append(f.calls, c)
	defer t.note(c)
	v := f.last
	lost := last.reissue && !v.unsent && !last.live.Refresh.IsZero() && v.kind == renew.Transient && !v.held
	if last.reissue && !c.reissue && (lost || v.kind == renew.Refused || v.final()) {
		f.fellBack = &v
	}
	switch {
	case t.unsure:
	case last.reissue && (v.kind == renew.Refused || v.final()):
		if c.reissue {
			o.broken("R14", "%s: a Reissue follows a refused one", t.name)
		}
		t.fallback = false
		return
	case v.kind == renew.Refused || v.final():
		o.broken("R9", "%s: an attempt follows a refusal within the flight", t.name)
	case v.kind == renew.Throttled:
		o.broken("R20", "%s: an attempt follows a pause that the issuer asked for within the flight", t.name)
	case !lost && (f.retries >= 2 || !f.first):
		o.broken("R9", "%s: call %d of a flight, the first since a success: %v", t.name, len(f.calls), f.first)
	case now.Mono < t.notBefore && !lost:
		o.broken("R13", "%s: a second try %v after the first, %v too early", t.name, now.Mono-last.ended.Mono, t.notBefore-now.Mono)
	}
	f.retries++
	if c.reissue && slices.Contains(f.lost, c.live.Refresh.Reveal()) && !v.unsent {
		o.broken("R9", "%s: a refresh token that may have reached the issuer is sent again in the same flight", t.name)
	}
}
