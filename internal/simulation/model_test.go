package simulation

import (
	"context"
	"slices"
	"time"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/budget"
	"github.com/seed-f29168f7/renew/clock"
)

// This file is what the oracle believes: one model a TokenSource, written from
// CONTRACT.md and from nothing else.

// model is what is known of one TokenSource.
type model struct {
	ledger  *ledger
	pace    *pace // nil: it names no endpoint
	pending []*caller
	running []*call
	seen    uint64 // the newest generation that any caller has got
	values  map[string]uint64
	closed  bool
	blind   bool // for good
	unsure  bool // two things happened at one instant, and either order is right

	// The token.
	gen               uint64
	tok               *renew.Token
	start             clock.Instant
	served, leeway    time.Duration // how long after start it leaves service (0: it does not), and its life goes on for then
	serving, rejected bool
	same              bool          // Reset: the rejected value may come again
	withdrawn         time.Duration // when the last one left service
	held              *call         // its Rotated hook failed
	candidate         *call         // its Rotated hook is about to be called

	// The trouble.
	owing, failing, denied bool
	fault                  verdict
	fewest, failures       int // in a row; the clock's moves start the count anew, and when that is seen is not exact
	failedAt               time.Duration
	version                uint64
	gate                   gate
	force                  bool // Reset: the next flight waits for nothing
	allowance              int
	fallback               bool // a Reissue was refused, and what follows is not seen yet
	reissueRefused         int
	reissueOff             time.Duration
	refusedBase            *renew.Token

	// When the next flight may start by itself, and by when it must.
	notBefore, notAfter time.Duration
	moved               bool // the clock was moved since the token was published
	flight              *flight
	lastRead            time.Duration
	lastCaller          time.Duration
	crowd               time.Duration // until then Manager.Wait may have callers of its own
	booked              bool          // Manager.Wait has asked for a flight that the rate holds up

	// Of Status and the hooks.
	state                             renew.State
	issues, reissues, failed, refused uint64
}

// flight is the calls that share a context.
type flight struct {
	ctx      context.Context
	began    clock.Instant
	tried    bool // it may have begun before its first call, with the Rotated hook of a token that was held
	calls    []*call
	last     verdict // of the last call
	first    bool    // nothing had failed when it began
	retries  int
	fellBack *verdict // how the Reissue ended that this Issue follows
	same     bool     // in a further try the rejected value may come again
	owing    bool     // a further try has a unit reserved
	lost     []string // refresh tokens that may have reached the issuer
}

func (f *flight) over() bool { return f == nil || f.ctx.Err() != nil }

// verdict is what the end of a call means.
type verdict struct {
	kind                   renew.Kind
	permanent, interaction bool
	unsent, judged         bool
	refusals               int
	retryAfter             time.Duration
	endpoint               bool // the pause is everybody's
	ok, same               bool
	held                   bool // there is a token, and its Rotated hook failed
}

func (v verdict) final() bool { return v.permanent || v.kind == renew.Invalid || v.interaction }

// verdictOf says what the end of a call means, by the table of errors.
func (m *model) verdictOf(c *call, now clock.Instant) verdict {
	v := verdict{judged: true}
	asked := min(c.long, 40*time.Minute)
	switch c.mode {
	case refuses:
		v.kind, v.refusals = renew.Refused, 1
	case refusesTwice:
		v.kind, v.refusals = renew.Refused, 2
	case refusesForGood:
		v.kind, v.refusals, v.permanent = renew.Refused, 1, true
	case throttles:
		v.kind, v.judged, v.retryAfter = renew.Throttled, false, asked
	case throttlesBare:
		v.kind, v.judged = renew.Throttled, false
	case unavailable:
		v.kind, v.judged, v.retryAfter, v.endpoint = renew.Throttled, false, asked, true
	case breaks:
		v.judged = false
	case breaksFor:
		v.judged, v.retryAfter = false, asked
	case dialFails:
		v.judged, v.unsent = false, true
	case isInvalid, badConfig:
		v.kind = renew.Invalid
	case needsPerson:
		v.kind, v.permanent, v.interaction, v.judged = renew.Refused, true, true, false
	case works, givesSame, deafWorks:
		switch {
		case !m.usable(c, now):
		case m.sameAs(c):
			v.same = true
		default:
			v.ok = true
		}
	}
	return v
}

// usable reports whether the token of a call may be published.
func (m *model) usable(c *call, now clock.Instant) bool {
	if c.tok == nil {
		return false
	}
	served, ok := servedOf(c)
	return ok && (served == 0 || !past(c.began, served, now))
}

// sameAs reports whether a call returned what was in service when it began, or is by now, with nothing new.
func (m *model) sameAs(c *call) bool {
	for _, tok := range []*renew.Token{c.was, m.tok} {
		if tok != nil && !(c.same && tok == c.was) && c.tok.Value.Equal(tok.Value) && (c.tok.Refresh.IsZero() || c.tok.Refresh.Equal(tok.Refresh)) {
			return true
		}
	}
	return false
}

// brings reports whether a call brings a refresh token that was not there when it began.
func (c *call) brings() bool {
	return !c.tok.Refresh.IsZero() && (c.was == nil || !c.was.Refresh.Equal(c.tok.Refresh))
}

// servedOf returns for how long a token serves; false when its expiry came before its request.
func servedOf(c *call) (time.Duration, bool) {
	life := lifeOf(c)
	if life < 0 {
		return 0, false
	}
	return life - leewayOf(c.tenant, life), true
}

// lifeOf returns the life of a call's token; zero: it has no end.
func lifeOf(c *call) time.Duration {
	life := c.tok.Life
	if life == 0 && !c.tok.Expiry.IsZero() {
		if life = c.tok.Expiry.Sub(c.began.Wall); life <= 0 {
			return -1
		}
	}
	return life
}

func leewayOf(t *tenant, life time.Duration) time.Duration {
	switch set := t.src.w.setup.leeway; {
	case set < 0:
		return 0
	case set > 0:
		return min(set, life/2)
	case life >= time.Second:
		return max(min(10*time.Second, life/20), 100*time.Millisecond)
	}
	return min(10*time.Second, life/20)
}

// past reports whether a token that serves for that long has left service.
func past(start clock.Instant, served time.Duration, now clock.Instant) bool {
	return now.Mono >= start.Mono+served || !now.Wall.Before(start.Wall.Add(served))
}

// remaining returns how long the token in service remains there.
func (m *model) remaining(now clock.Instant) time.Duration {
	if m.served == 0 {
		return forever
	}
	return min(m.start.Mono+m.served-now.Mono, m.start.Wall.Add(m.served).Sub(now.Wall))
}

// coldPauses returns the bounds of the pause after the n-th failure in a row without a
// usable token: 0.2 s growing by a tenth for 3 s, then doubling up to 30 s. Whether the pause that
// passes the 3 s is doubled is nobody's business.
func coldPauses(n int) (least, most time.Duration) {
	least, most = 200*time.Millisecond, 200*time.Millisecond
	sum, slow := time.Duration(0), false
	for range max(n, 1) - 1 {
		least = grow(least, slow)
		sum += most
		slow = sum >= 3*time.Second
		most = grow(most, slow)
	}
	return least, most
}

func grow(pause time.Duration, double bool) time.Duration {
	if double {
		return min(2*pause, 30*time.Second)
	}
	return min(pause+pause/10, 30*time.Second)
}

// pauses returns the bounds of the pause after a failure.
func (m *model) pauses(v verdict, now clock.Instant) (least, most time.Duration) {
	least, _ = coldPauses(m.fewest)
	_, most = coldPauses(m.failures)
	if m.serving && v.kind != renew.Refused {
		pause := 5 * time.Minute
		if left := m.remaining(now); left != forever {
			pause = min(max(left/8, min(time.Second, m.life()/25)), pause)
		}
		if pause = max(pause, 0); m.served > 0 && past(m.start, m.served, now) { // whether that was noticed is not known
			least, most = min(least, pause), max(most, pause)
		} else {
			least, most = pause, pause
		}
	}
	least, most = max(least*8/10, v.retryAfter), max(most*12/10, v.retryAfter)
	if v.kind == renew.Throttled && v.retryAfter == 0 {
		least, most = max(least, 5*time.Second), max(most, 5*time.Second)
	}
	const tolerance = 10 * time.Microsecond // one of us rounds
	return least - tolerance, most + tolerance
}

// life returns the life of the token in service.
func (m *model) life() time.Duration {
	if m.tok == nil {
		return 0
	}
	return m.served + m.leeway
}

// base returns the newest token there is.
func (m *model) base() *renew.Token {
	if m.held != nil {
		return m.held.tok
	}
	return m.tok
}

// canReissue reports whether the next call is a Reissue (R14).
func (m *model) canReissue(set tenantSetup, now time.Duration) bool {
	base := m.base()
	return set.reissues && base != nil && now >= m.reissueOff && m.refusedBase != base && (!base.Refresh.IsZero() || m.serving && !m.owing)
}

// age takes the token out of service when its time has come.
func (m *model) age(now clock.Instant, grace bool) {
	if !m.serving || m.served == 0 || !past(m.start, m.served, now) || m.closed {
		return
	}
	ahead := now.Wall.Sub(m.start.Wall) > now.Mono-m.start.Mono
	if now.Mono < m.start.Mono+m.served && grace {
		return // the wall says so, and has just been set
	}
	failures, by := m.failures, m.notAfter
	m.withdraw(now.Mono)
	if ahead { // when it was noticed is not known
		m.failures, m.notAfter = max(m.failures, failures), by
	}
}

// withdraw takes the token out of service.
func (m *model) withdraw(now time.Duration) {
	m.serving, m.withdrawn = false, now
	if m.failing {
		m.hasten(now, 0)
		return
	}
	m.notBefore, m.notAfter = now, now
}

// hasten starts the pauses anew; that is noticed within slack.
func (m *model) hasten(now, slack time.Duration) {
	m.fewest = 0
	if slack == 0 {
		m.failures = 0
	}
	m.notBefore = min(m.notBefore, now+160*time.Millisecond)
	m.notAfter = min(m.notAfter, now+slack+241*time.Millisecond)
}

// publish puts the token of a call into service. Its flight was as long as that, at least and at most.
func (m *model) publish(c *call, now clock.Instant, shortest, longest time.Duration) {
	life := lifeOf(c)
	byReissue := c.reissue && m.held != c
	m.gen++
	m.tok, m.start = c.tok, c.began
	m.served, _ = servedOf(c)
	m.leeway = leewayOf(c.tenant, life)
	if !m.serving {
		m.lastRead = now.Mono // nobody can have read it before
	}
	m.serving, m.rejected, m.moved = true, false, false
	m.values[c.tok.Value.Reveal()] = m.gen
	m.forgive(byReissue)
	least, most := m.schedule(c.tenant.set, life, leewayOf(c.tenant, life), hintOf(c), shortest, longest)
	m.notBefore, m.notAfter = plus(c.began.Mono, least), plus(c.began.Mono, most)
	m.notAfter = max(m.notAfter, now.Mono)
}

// hintOf returns the issuer's hint, from the start of the request.
func hintOf(c *call) time.Duration {
	if c.tok.ReissueAt.IsZero() {
		return 0
	}
	return max(c.tok.ReissueAt.Sub(c.began.Wall), 1)
}

// schedule returns the bounds of the reissue, from the start of the request (R12).
func (m *model) schedule(set tenantSetup, life, leeway, hint, shortest, longest time.Duration) (least, most time.Duration) {
	switch {
	case set.every < 0:
		return forever, forever
	case set.every > 0:
		least, most = set.every*9/10, set.every
	case hint > 0:
		least = max(hint, life/2, time.Second)
		most = least
	case life > 0:
		least, most = life*6/10, life*8/10
	default:
		return forever, forever
	}
	if life > 0 {
		// The length of the flight is kept in steps of 10 ms.
		least = min(least, max(life-leeway-(longest+10*time.Millisecond)*12/10, life/2))
		most = min(most, max(life-leeway-shortest*12/10, life/2))
	}
	return least - 10*time.Microsecond, most + 10*time.Microsecond
}

// forgive forgets the trouble after a success.
func (m *model) forgive(byReissue bool) {
	m.failing, m.owing, m.denied, m.fewest, m.failures, m.fault, m.gate = false, false, false, 0, 0, verdict{}, gate{}
	m.force, m.same, m.held, m.refusedBase, m.fallback = false, false, nil, nil, false
	if byReissue {
		m.reissueRefused, m.reissueOff = 0, 0
	}
}

// timed reports whether the timer drives the next flight.
func (m *model) timed(set tenantSetup) bool {
	switch {
	case m.failing:
		return !m.fault.final() && (m.fault.kind != renew.Refused || m.denied)
	case m.tok == nil:
		return false
	}
	return set.every >= 0
}

// abandoned returns how many calls run although their context has ended.
func (m *model) abandoned() (n int) {
	for _, c := range m.running {
		if c.ctx.Err() != nil {
			n++
		}
	}
	return n
}

func plus(t, d time.Duration) time.Duration {
	if d > forever-t {
		return forever
	}
	return t + d
}

// gate is until when the issuer asked for a pause; where it named no time, that is known within bounds.
type gate struct{ least, most time.Duration }

func (g gate) later(other gate) gate {
	return gate{max(g.least, other.least), max(g.most, other.most)}
}

// gates returns the pause that holds for a TokenSource: its own, its account's, its endpoint's.
func (m *model) gates() gate {
	g := m.gate.later(m.ledger.gate)
	if m.pace != nil {
		g = g.later(m.pace.gate)
	}
	return g
}

// ledger is a failure budget, as the oracle keeps it.
type ledger struct {
	real   *budget.Budget
	units  int
	window time.Duration
	spent  []time.Duration
	open   int
	gate   gate // of the account
	over   bool // an attempt was refused twice
	unsure bool
	shared bool
}

// count returns how many units are spent in the window that ends now.
func (l *ledger) count(now time.Duration) (n int) {
	for _, at := range l.spent {
		if now-at < l.window {
			n++
		}
	}
	return n
}

// free reports whether a unit is free.
func (l *ledger) free(now time.Duration) bool { return l.count(now)+l.open < l.units }

// spend notes n units.
func (l *ledger) spend(now time.Duration, n int) {
	for range min(n, l.units) {
		l.spent = append(l.spent, now)
	}
	l.spent = slices.Clone(l.spent[max(0, len(l.spent)-l.units):])
}

// retryAt returns when a unit is free, with no attempt in progress.
func (l *ledger) retryAt(now time.Duration) time.Duration {
	if l.free(now) {
		return now
	}
	if k := l.units - l.open; k > 0 && len(l.spent) >= k {
		return l.spent[len(l.spent)-k] + l.window
	}
	return now + l.window
}

// pace is the rate of an endpoint.
type pace struct {
	perSecond, burst, level float64
	last                    time.Duration
	gate                    gate
}

// start notes a call, and reports whether the rate allowed it.
func (p *pace) start(now time.Duration) bool {
	if p.perSecond < 0 {
		return true
	}
	// A place may be used up to a second late.
	p.level = min(p.burst+p.perSecond+1, p.level+p.perSecond*(now-p.last).Seconds()) - 1
	p.last = now
	return p.level >= -1e-6
}
