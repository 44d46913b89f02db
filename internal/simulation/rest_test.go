package simulation

// What the oracle checks while nothing happens: all that was due has been done.

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/clock"
)

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
	if t.unsure {
		return
	}
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
	if t.ledger.shared || t.ledger.unsure || o.grace(now.Mono) { // the budget, or the clock, may have changed without its knowing
		o.doubt(t)
		o.resync(t)
		return
	}
	if t.failing && t.fault.final() {
		if now.Mono >= t.failedAt+t.ledger.window {
			return
		}
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
