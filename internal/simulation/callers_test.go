package simulation

// What callers ask for, and what they may get.

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/clock"
)

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
