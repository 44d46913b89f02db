package simulation

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing/synctest"
	"time"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/budget"
	"github.com/seed-f29168f7/renew/clock"
)

// oracle checks the rules. It reads what was seen in the order in which it
// happened, and then looks at the world at rest.
type oracle struct {
	w        *world
	ledgers  map[string]*ledger
	paces    map[string]*pace
	movedAt  time.Duration // when the hands of the clock last parted
	hasMoved bool

	mu   sync.Mutex
	rule string // the first that was broken
	text string
}

// broken notes a broken rule; the first one counts.
func (o *oracle) broken(rule, format string, args ...any) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.rule == "" {
		o.rule, o.text = rule, fmt.Sprintf("at %v: ", o.w.clock.Now().Mono)+fmt.Sprintf(format, args...)
	}
}

// fell reports whether a rule was broken.
func (o *oracle) fell() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.rule != ""
}

// newModel returns the model of a new TokenSource. An empty pace is none.
func (o *oracle) newModel(ledgerKey, paceKey string) model {
	s := o.w.setup
	l := o.ledgers[ledgerKey]
	if l == nil {
		l = &ledger{real: s.budgetOf(), units: s.units, window: s.window, shared: ledgerKey == "all" && len(s.tenants) > 1}
		o.ledgers[ledgerKey] = l
	}
	m := model{ledger: l, values: map[string]uint64{}, notBefore: 0, notAfter: forever, lastCaller: -1, lastRead: -1}
	if paceKey != "" {
		if o.paces[paceKey] == nil {
			o.paces[paceKey] = newPace(s.rate, o.w.clock.Now().Mono)
		}
		m.pace = o.paces[paceKey]
	}
	return m
}

func newPace(r budget.Rate, now time.Duration) *pace {
	if r == (budget.Rate{}) {
		r = budget.Rate{PerSecond: budget.DefaultPerSecond, Burst: budget.DefaultBurst}
	}
	return &pace{perSecond: r.PerSecond, burst: float64(r.Burst), level: float64(r.Burst), last: now}
}

// slow reports whether the rate of the set-up holds flights up.
func (o *oracle) slow() bool { return o.w.setup.rate.PerSecond > 0 }

// grace reports whether the clock was moved so recently that it may not have been noticed.
func (o *oracle) grace(now time.Duration) bool {
	return o.hasMoved && now-o.movedAt <= time.Second
}

// look reads what happened, and checks the world at rest, until that leads to nothing more: to
// read, or to ask for Status, is an event too.
func (o *oracle) look() {
	for o.glance(); !o.fell(); o.glance() {
		synctest.Wait()
		o.w.mu.Lock()
		quiet := len(o.w.log) == 0
		o.w.mu.Unlock()
		if quiet {
			return
		}
	}
}

func (o *oracle) glance() {
	now := o.w.clock.Now()
	o.w.mu.Lock()
	log := o.w.log
	o.w.log = nil
	o.w.mu.Unlock()
	for _, r := range log {
		if r.tenant == nil || o.fell() {
			continue
		}
		o.w.trace("%v", r)
		r.tenant.age(now, o.grace(now.Mono))
		o.timeouts(r, now)
		switch r.what {
		case callStarts:
			o.callStarts(r.tenant, r.call, now)
		case callEnds:
			o.callEnds(r.tenant, r.call, now)
		case callerStarts:
			o.callerStarts(r.tenant, r.caller, now)
		case callerEnds:
			o.callerEnds(r.tenant, r.caller, now)
		case changes:
			o.changes(r.tenant, r.change)
		case rotates:
			o.rotates(r.tenant, r.tok, r.err, now)
		}
	}
	for _, t := range o.w.tenants {
		if o.fell() {
			return
		}
		t.age(now, o.grace(now.Mono))
		o.timeouts(record{tenant: t}, now)
		o.rest(t, now)
	}
	if !o.fell() {
		o.timers()
	}
}

// timeouts settles the calls whose flight has ended around them.
func (o *oracle) timeouts(r record, now clock.Instant) {
	for _, c := range r.tenant.running {
		if !c.settled && c.ctx.Err() != nil && (!c.over || c.late) && !(r.what == callEnds && r.call == c) {
			o.timedOut(r.tenant, c, now)
		}
	}
}

// timedOut settles a call whose context ended before it did.
func (o *oracle) timedOut(t *tenant, c *call, now clock.Instant) {
	if !t.closed && now.Mono < t.flight.began.Mono+o.w.setup.timeout {
		o.broken("R7", "%s: the context of a call ended %v after its flight began: %v", t.name, now.Mono-t.flight.began.Mono, context.Cause(c.ctx))
	}
	o.settle(t, c, verdict{judged: true}, now)
}

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
	t.flight = &flight{ctx: c.ctx, began: now, calls: []*call{c}, first: !t.failing}
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
	if last.reissue && !c.reissue {
		f.fellBack = &v
	}
	lost := last.reissue && !v.unsent && !last.live.Refresh.IsZero() && v.kind == renew.Transient && !v.held
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

// changes checks the reports of changes of state (R31).
func (o *oracle) changes(t *tenant, c renew.Change) {
	if c.From != t.state || c.To == c.From {
		o.broken("R31", "%s: a change from %v to %v is reported in %v", t.name, c.From, c.To, t.state)
	}
	t.state = c.To
	if c.Err != nil && strings.Contains(c.Err.Error(), secret) {
		o.broken("R30", "%s: a secret is reported: %v", t.name, c.Err)
	}
}

func (o *oracle) callerStarts(t *tenant, c *caller, now clock.Instant) {
	t.lastCaller, t.lastRead = now.Mono, now.Mono
	if t.failing && t.fault.final() && t.flight.over() && t.version != t.src.version && (c.verb == reject || !t.serving) {
		t.fault.permanent, t.fault.interaction = false, false
		if t.fault.kind == renew.Invalid {
			t.fault.kind = renew.Transient
		}
		t.notBefore, t.notAfter = min(t.notBefore, now.Mono), forever
	}
	if c.verb == reject || t.set.checkOnRead {
		t.age(now, false) // it looks at the clock
	}
	if c.verb != reject || !t.serving || t.closed || !t.isCurrent(c.rejects) {
		return
	}
	l := t.ledger
	switch spent := !l.free(now.Mono); {
	case spent, t.abandoned() >= 4+t.allowance && t.flight.over():
		return
	case t.flight.over():
		if t.failing && t.fault.final() && now.Mono < t.failedAt+l.window {
			return
		}
		if t.set.interactive && !t.set.allowed && !t.canReissue(t.set, now.Mono) {
			return
		}
	}
	if t.timed(t.set) && now.Mono >= t.notBefore && t.flight.over() {
		o.doubt(t) // the reissue may have begun at this instant, and be free
	}
	t.rejected, t.owing = true, true
	t.withdraw(now.Mono)
}

func (m *model) isCurrent(tok *renew.Token) bool {
	return m.tok != nil && tok.Generation() == m.gen && tok.Value.Equal(m.tok.Value)
}

func (o *oracle) callerEnds(t *tenant, c *caller, now clock.Instant) {
	t.pending = slices.DeleteFunc(t.pending, func(other *caller) bool { return other == c })
	if c.err != nil {
		o.callerFails(t, c, now)
		return
	}
	tok := c.tok
	if tok == nil {
		o.broken("R11", "%s: neither a token nor an error", t.name)
		return
	}
	gen, known := t.values[tok.Value.Reveal()]
	switch {
	case t.unsure:
	case !known:
		o.broken("R11", "%s: a token that no call has published, of generation %d", t.name, tok.Generation())
	case gen != tok.Generation():
		o.broken("R11", "%s: the token of generation %d is given as %d", t.name, gen, tok.Generation())
	}
	if tok.Generation() < c.seen {
		o.broken("R11", "%s: generation %d after %d", t.name, tok.Generation(), c.seen)
	}
	t.seen = max(t.seen, tok.Generation())
	if c.verb == reject && tok.Generation() == c.rejects.Generation() && tok.Value.Equal(c.rejects.Value) {
		o.broken("R17", "%s: Reject returns the token that it was given", t.name)
	}
	if t.unsure || tok.Generation() != t.gen {
		return
	}
	if t.served > 0 && now.Mono > t.start.Mono+t.served {
		o.broken("R2", "%s: a token %v past its deadline", t.name, now.Mono-t.start.Mono-t.served)
	}
	if t.served > 0 && now.Wall.After(t.start.Wall.Add(t.served)) && (!o.grace(now.Mono) || t.set.checkOnRead) {
		o.broken("R2", "%s: a token %v past its deadline by the wall clock", t.name, now.Wall.Sub(t.start.Wall)-t.served)
	}
	if t.rejected && !t.restorable(now) && c.began.Mono > t.withdrawn {
		o.broken("R2", "%s: a rejected token that can be replaced", t.name)
	}
}

// restorable reports whether a rejected token may be in service again (R22).
func (m *model) restorable(now clock.Instant) bool {
	return m.serving || !m.ledger.free(now.Mono) || m.ledger.unsure || m.failing && m.fault.final() || m.ledger.shared
}

// callerFails checks the error that a caller got.
func (o *oracle) callerFails(t *tenant, c *caller, now clock.Instant) {
	err := c.err
	if strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, err.Error()), secret) {
		o.broken("R30", "%s: a secret in an error: %v", t.name, err)
	}
	if errors.Is(err, renew.ErrClosed) {
		if !t.closed {
			o.broken("R27", "%s: ErrClosed before Close", t.name)
		}
		return
	}
	if t.closed && c.began.Mono > t.lastRead {
		o.broken("R27", "%s: after Close: %v", t.name, err)
	}
	if p, ok := errors.AsType[*renew.PanicError](err); ok && !t.panicked() {
		o.broken("R10", "%s: %v\n%s", t.name, p, p.Stack)
	}
	left := c.left || c.until <= now.Mono
	ie, _ := errors.AsType[*renew.IssueError](err)
	be, _ := errors.AsType[*renew.BudgetError](err)
	person := errors.Is(err, renew.ErrInteractionRequired)
	if c.verb == wait && !left && !person && !(ie != nil && (ie.Permanent || ie.Kind == renew.Invalid)) {
		o.broken("R5", "%s: Wait ends with %v", t.name, err)
	}
	if t.unsure || t.closed {
		return
	}
	if be != nil && ie == nil || be != nil && errors.Is(err, renew.ErrBudgetSpent) {
		if l := t.ledger; !l.unsure && l.open == 0 && !l.shared && t.flight.over() {
			if l.free(now.Mono) {
				o.broken("R21", "%s: the budget is said to be spent, and %d of %d units are", t.name, l.count(now.Mono), l.units)
			} else if want := now.Wall.Add(l.retryAt(now.Mono) - now.Mono); !be.RetryAt.Equal(want) {
				o.broken("R21", "%s: the next unit is free at %v, the error says %v", t.name, want, be.RetryAt)
			}
		}
	}
	if c.verb == token && !left && c.began.Mono == now.Mono {
		o.impatient(t, c, err, now)
	}
}

// impatient checks an error that came at once: an attempt that starts soon is waited for (R4).
func (o *oracle) impatient(t *tenant, c *caller, err error, now clock.Instant) {
	if t.serving && t.withdrawn != now.Mono && !o.grace(now.Mono) {
		o.broken("R3", "%s: an error while there is a token: %v", t.name, err)
	}
	if t.failedAt == now.Mono || t.fault.final() || t.owing || o.slow() || t.abandoned() >= 4 || t.set.interactive || o.grace(now.Mono) {
		return
	}
	patience := min(o.w.setup.timeout, c.until-now.Mono)
	soonest := max(t.notAfter, t.gates().most)
	if soonest != forever && soonest-now.Mono < patience {
		o.broken("R4", "%s: the next attempt comes within %v, and the caller has %v: %v", t.name, soonest-now.Mono, patience, err)
	}
}

// panicked reports whether the Source of a tenant ever panicked or exited.
func (t *tenant) panicked() bool { return t.src.panicked }

// rest checks a TokenSource while nothing happens.
func (o *oracle) rest(t *tenant, now clock.Instant) {
	o.fallen(t, now)
	if t.closed {
		for _, c := range t.pending {
			o.broken("R27", "%s: a caller waits after Close, since %v", t.name, c.began.Mono)
		}
		return
	}
	if t.unsure {
		o.resync(t)
		return
	}
	flying := !t.flight.over()
	if flying && now.Mono > t.flight.began.Mono+o.w.setup.timeout {
		o.broken("R7", "%s: a flight runs for %v", t.name, now.Mono-t.flight.began.Mono)
	}
	o.restore(t, now)
	if t.serving && !o.grace(now.Mono) {
		for _, c := range t.pending {
			if c.verb != reject {
				o.broken("R3", "%s: a reader waits while there is a token", t.name)
			}
		}
		o.probe(t)
	}
	for _, c := range t.pending {
		switch {
		case c.left:
			o.broken("R4", "%s: a caller whose context has ended waits", t.name)
		case c.verb != wait && !flying && now.Mono-max(c.began.Mono, o.flightEnd(t)) > o.w.setup.timeout:
			o.broken("R4", "%s: a caller has waited for %v, and no flight runs", t.name, now.Mono-c.began.Mono)
		}
	}
	o.overdue(t, now, flying)
}

// flightEnd returns when the last flight was over, at the latest.
func (o *oracle) flightEnd(t *tenant) time.Duration {
	if t.flight == nil {
		return 0
	}
	return t.failedAt
}

// overdue checks that what is due has been done (R12, R13).
func (o *oracle) overdue(t *tenant, now clock.Instant, flying bool) {
	if flying || !t.timed(t.set) || t.set.idleAfter > 0 || o.slow() || t.held != nil || t.fallback {
		return
	}
	if t.abandoned() >= 4+t.allowance || t.set.interactive && (o.grace(now.Mono) || !t.canReissue(t.set, now.Mono)) {
		return
	}
	by := max(t.notAfter, t.gates().most)
	if t.owing && t.ledger.unsure {
		return
	}
	if t.owing && !t.ledger.free(now.Mono) || t.owing && (t.ledger.shared || t.ledger.over) {
		return
	}
	if t.owing {
		by = max(by, t.freeAt())
	}
	if by == forever || now.Mono <= by+time.Microsecond {
		return
	}
	rule, why := "R12", "the token is not reissued"
	if t.failing {
		rule, why = "R13", "nothing tries again after the failure"
	}
	if o.hasMoved && by-o.movedAt <= 2*time.Second {
		rule = "R24"
	}
	o.broken(rule, "%s: %s: it was due %v ago", t.name, why, now.Mono-by)
}

// freeAt returns when the last unit that was spent made room, at the latest.
func (m *model) freeAt() (at time.Duration) {
	for _, s := range m.ledger.spent {
		at = max(at, s+m.ledger.window)
	}
	return at
}

// restore notes a rejected token that went back into service (R22).
func (o *oracle) restore(t *tenant, now clock.Instant) {
	if !t.rejected || t.serving || !t.flight.over() || !t.owing || t.served > 0 && past(t.start, t.served, now) {
		return
	}
	if t.failing && t.fault.final() {
		if now.Mono >= t.failedAt+t.ledger.window {
			return
		}
	} else if t.ledger.shared || t.ledger.unsure { // another one may have spent it, and this one may not know
		o.doubt(t)
		return
	} else if t.ledger.free(now.Mono) {
		return
	}
	t.serving, t.rejected = true, false
	if !t.failing {
		t.owing = false
		t.notBefore, t.notAfter = now.Mono, forever
	}
}

// probe reads, where a read has no effect.
func (o *oracle) probe(t *tenant) {
	if t.set.idleAfter > 0 {
		return
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	tok, err := t.ts.Token(ended)
	if err != nil || tok.Generation() != t.gen || !tok.Value.Equal(t.tok.Value) {
		rule := "R3"
		if err == nil {
			rule = "R8"
		}
		o.broken(rule, "%s: a reader wants generation %d, and gets %v, %v", t.name, t.gen, tok, err)
	}
}

// reset takes a call of Reset, before it is made.
func (o *oracle) reset(t *tenant) {
	now := o.w.clock.Now()
	o.look()
	if o.grace(now.Mono) {
		o.doubt(t) // it may look at the clock, or not
	}
	troubled := t.failing || t.reissueRefused > 0
	t.failing, t.owing, t.denied, t.fewest, t.failures, t.fault, t.gate = false, false, false, 0, 0, verdict{}, gate{}
	t.reissueRefused, t.reissueOff, t.refusedBase = 0, 0, nil
	if n := t.abandoned(); n >= 4 {
		t.allowance = n - 3
	}
	t.same = t.same || t.rejected
	if t.tok != nil && t.serving && !troubled || t.tok == nil && !troubled || !t.flight.over() {
		return
	}
	t.force, t.notBefore, t.notAfter = true, now.Mono, forever
}

// resync asks Status where two orders were possible.
func (o *oracle) resync(t *tenant) {
	s := t.ts.Status()
	t.serving = s.State.Usable()
	t.rejected = t.rejected && !t.serving
	t.notBefore, t.notAfter = 0, forever
	if s.Generation != t.gen || t.candidate != nil || t.held != nil {
		t.gen = s.Generation // its token is not known
	}
}

// timers checks that there is no timer beyond one a TokenSource, the watcher's, and one a flight.
func (o *oracle) timers() {
	most := 1
	for _, t := range o.w.tenants {
		if !t.closed {
			most++
		}
		if !t.flight.over() || t.unsure || t.closed && o.w.setup.revoke || t.held != nil || t.candidate != nil {
			most++
		}
	}
	if n := o.w.clock.Timers(); n > most {
		o.broken("R26", "%d timers are set, and at most %d are needed", n, most)
	}
}

// status checks what Status says (R31).
func (o *oracle) status(t *tenant, s renew.Status) {
	if strings.Contains(fmt.Sprintf("%+v", s), secret) {
		o.broken("R30", "%s: a secret in Status: %+v", t.name, s)
	}
	if t.closed {
		if s.State != renew.StateClosed {
			o.broken("R31", "%s: %v after Close", t.name, s.State)
		}
		return
	}
	if t.unsure || o.grace(o.w.clock.Now().Mono) || t.ledger.unsure {
		return
	}
	if s.Generation != t.gen {
		o.broken("R31", "%s: generation %d in Status, want %d", t.name, s.Generation, t.gen)
	}
	if s.State.Usable() != t.serving && !t.rejected {
		o.broken("R31", "%s: Status says %v, in service: %v", t.name, s.State, t.serving)
	}
	if s.Issues != t.issues || s.Reissues != t.reissues {
		o.broken("R31", "%s: Status counts %d and %d calls, there were %d and %d", t.name, s.Issues, s.Reissues, t.issues, t.reissues)
	}
	if s.Abandoned != t.abandoned() {
		o.broken("R31", "%s: Status counts %d abandoned calls, there are %d", t.name, s.Abandoned, t.abandoned())
	}
	if l := t.ledger; l.open == 0 && !l.shared && !l.over && t.flight.over() {
		if want := max(l.units-l.count(o.w.clock.Now().Mono), 0); s.BudgetLeft != want {
			o.broken("R18", "%s: %d units are free, want %d", t.name, s.BudgetLeft, want)
		}
	}
}
