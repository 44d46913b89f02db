package simulation

import (
	"context"
	"fmt"
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
	if !t.closed && !t.flight.tried && now.Mono < t.flight.began.Mono+o.w.setup.timeout {
		o.broken("R7", "%s: the context of a call ended %v after its flight began: %v", t.name, now.Mono-t.flight.began.Mono, context.Cause(c.ctx))
	}
	o.settle(t, c, verdict{judged: true}, now)
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
