package simulation

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"sync"
	"testing/synctest"
	"time"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/budget"
	"github.com/seed-f29168f7/renew/clock"
)

// forever is a span of time that does not end.
const forever = time.Duration(math.MaxInt64)

// world is all that there is beside the engine: the clock, the issuers, the callers.
type world struct {
	setup   setup
	clock   *watchedClock
	manager *renew.Manager
	oracle  *oracle
	tenants []*tenant // all that ever were
	slots   []*tenant // those that events name
	verbose bool

	mu       sync.Mutex // guards what follows, and issuers
	log      []record   // what happened since the oracle looked
	agenda   []due
	hookFail bool
	longLife bool           // from now on tokens live long
	wg       sync.WaitGroup // callers
}

// tenant is one TokenSource, from Add to Remove.
type tenant struct {
	name string
	set  tenantSetup
	src  *issuer
	ts   *renew.TokenSource
	got  []*renew.Token // by callers, the newest last; guarded by world.mu
	model
}

// due is something that sleeps.
type due struct {
	at   time.Duration
	wake chan struct{}
}

// what says what a record is of.
type what uint8

const (
	callStarts what = iota
	callEnds
	callerStarts
	callerEnds
	changes
	rotates
)

// record is one thing that was seen.
type record struct {
	what   what
	tenant *tenant
	call   *call
	caller *caller
	change renew.Change
	tok    *renew.Token
	err    error
}

// String shows a record to a person.
func (r record) String() string {
	switch r.what {
	case callStarts:
		if r.call.reissue {
			return fmt.Sprintf("%s: Reissue starts, %v for %v at %v", r.tenant.name, r.call.mode, r.call.long, r.call.began.Mono)
		}
		return fmt.Sprintf("%s: Issue starts, %v for %v", r.tenant.name, r.call.mode, r.call.long)
	case callEnds:
		return fmt.Sprintf("%s: the call ends, its context ended: %v", r.tenant.name, r.call.late)
	case callerStarts:
		return fmt.Sprintf("%s: %s", r.tenant.name, verbs[r.caller.verb])
	case callerEnds:
		gen := uint64(0)
		if r.caller.tok != nil {
			gen = r.caller.tok.Generation()
		}
		return fmt.Sprintf("%s: %s returns generation %d, %v", r.tenant.name, verbs[r.caller.verb], gen, r.caller.err)
	case changes:
		return fmt.Sprintf("%s: from %v to %v", r.tenant.name, r.change.From, r.change.To)
	}
	return fmt.Sprintf("%s: Rotated returns %v", r.tenant.name, r.err)
}

var verbs = map[op]string{token: "Token", wait: "Wait", reject: "Reject"}

// trace prints what happens, where one history is played.
func (w *world) trace(format string, args ...any) {
	if w.verbose {
		fmt.Printf("%14v  %s\n", w.clock.Now().Mono, fmt.Sprintf(format, args...))
	}
}

// caller is one Token, Wait or Reject.
type caller struct {
	tenant  *tenant
	verb    op // token, wait or reject
	rejects *renew.Token
	began   clock.Instant
	until   time.Duration // when its context ends
	cancel  context.CancelCauseFunc
	left    bool // its context has ended
	seen    uint64

	over  bool
	ended clock.Instant
	tok   *renew.Token
	err   error
}

// watchedClock is a Fake that notices a callback that panics, and one that is set
// for now again and again. In a long advance it lets the ticks of the Manager's watcher fall
// out: the hands of the clock do not part meanwhile, so they would do nothing.
type watchedClock struct {
	*clock.Fake
	w    *world
	at   time.Duration
	runs int

	leapTo time.Duration // guarded by world.mu, as is what follows
	ticks  []*watchTimer
}

// watchEvery is how often the watcher ticks; nothing else takes exactly as long.
const watchEvery = 900*time.Millisecond - 17

// watchTimer is the timer of a watcher.
type watchTimer struct {
	clock.Timer
	c   *watchedClock
	due time.Duration
}

func (t *watchTimer) Reset(d time.Duration) bool {
	now := t.c.Now().Mono
	t.c.w.mu.Lock()
	for now+d < t.c.leapTo {
		d += watchEvery
	}
	t.due = now + d
	t.c.w.mu.Unlock()
	return t.Timer.Reset(d)
}

// leap begins a long advance, land ends it, perhaps early.
func (c *watchedClock) leap(to time.Duration) {
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	c.leapTo = to
}

func (c *watchedClock) land() {
	c.leap(0)
	for _, t := range c.ticks {
		if left := t.due - c.Now().Mono; left > watchEvery {
			t.Reset(left % watchEvery)
		}
	}
}

func (c *watchedClock) AfterFunc(d time.Duration, f func()) clock.Timer {
	timer := c.Fake.AfterFunc(d, func() {
		defer func() {
			if v := recover(); v != nil {
				c.w.oracle.broken("R10", "a timer's callback panicked: %v\n%s", v, debug.Stack())
			}
		}()
		if now := c.Now().Mono; now != c.at {
			c.at, c.runs = now, 0
		}
		if c.runs++; c.runs > 1000 {
			c.w.oracle.broken("R13", "a timer runs again and again at one instant")
			return // or Advance would never end
		}
		f()
	})
	if d != watchEvery {
		return timer
	}
	t := &watchTimer{Timer: timer, c: c, due: c.Now().Mono + d}
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	c.ticks = append(c.ticks, t)
	return t
}

// newWorld builds a world in a bubble.
func newWorld(s setup) *world {
	w := &world{setup: s}
	w.clock = &watchedClock{Fake: clock.NewFake(time.Time{}), w: w}
	w.clock.Settle = synctest.Wait
	w.oracle = &oracle{w: w, ledgers: map[string]*ledger{}, paces: map[string]*pace{}}
	cfg := renew.Config{Clock: w.clock, Rand: rand.New(rand.NewPCG(s.seed, 1)).Float64, Rate: s.rate, FlightTimeout: s.timeout, Leeway: s.leeway,
		RevokeOnClose: s.revoke, WatchEvery: watchEvery}
	if s.changed {
		cfg.Hooks.Changed = func(c renew.Change) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.log = append(w.log, record{what: changes, tenant: w.named(c.Name), change: c})
		}
	}
	if s.rotated {
		cfg.Hooks.Rotated = func(_ context.Context, name string, tok *renew.Token) (err error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			if w.hookFail {
				err = errors.New("no space left")
			}
			w.log = append(w.log, record{what: rotates, tenant: w.named(name), tok: tok, err: err})
			return err
		}
	}
	w.manager, _ = renew.NewManager(cfg)
	w.slots = make([]*tenant, len(s.tenants))
	for i := range s.tenants {
		w.add(i)
	}
	return w
}

// named returns the tenant of that name; names are never used again.
func (w *world) named(name string) *tenant {
	for _, t := range w.tenants {
		if t.name == name {
			return t
		}
	}
	return nil
}

// add puts a new tenant into a slot.
func (w *world) add(slot int) {
	set := w.setup.tenants[slot]
	t := &tenant{name: fmt.Sprintf("%d-%d", slot, len(w.tenants)), set: set}
	t.src = &issuer{w: w, t: t, revoked: map[string]bool{}}
	var src renew.Source = t.src
	if set.reissues {
		src = reissuer{t.src}
	}
	cfg := renew.Config{ReissueEvery: set.every, IdleAfter: set.idleAfter, CheckOnRead: set.checkOnRead, Interactive: set.allowed}
	ledgerKey, paceKey := t.name, "one"
	switch w.setup.budgets {
	case "shared":
		ledgerKey = "all"
	case "account":
		ledgerKey, cfg.Account = "all", "robot"
	}
	switch w.setup.endpoint {
	case "one":
		cfg.Endpoint = "one"
	case "each":
		cfg.Endpoint = fmt.Sprint(slot)
		paceKey = cfg.Endpoint
	default:
		paceKey = ""
	}
	t.model = w.oracle.newModel(ledgerKey, paceKey)
	if w.setup.budgets != "account" {
		cfg.Budget = t.ledger.real
	}
	w.tenants = append(w.tenants, t)
	w.slots[slot] = t
	ts, err := w.manager.Add(t.name, src, cfg)
	if err != nil {
		if !errors.Is(err, renew.ErrClosed) {
			w.oracle.broken("R26", "Add: %v", err)
		}
		w.slots[slot] = nil
		w.tenants = w.tenants[:len(w.tenants)-1]
		return
	}
	t.ts = ts
}

// sleep waits for d of running time, or for ctx.
func (w *world) sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	wake := make(chan struct{})
	if d != forever {
		w.mu.Lock()
		w.agenda = append(w.agenda, due{w.clock.Now().Mono + d, wake})
		w.mu.Unlock()
	}
	select {
	case <-wake:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// timedContext is a context whose deadline is one of the simulated clock.
type timedContext struct {
	context.Context
	at time.Time
}

func (c timedContext) Deadline() (time.Time, bool) { return c.at, !c.at.IsZero() }

// ask starts a caller. long is until its context ends; forever for one without a deadline, zero
// for one that has ended.
func (w *world) ask(t *tenant, verb op, rejected *renew.Token, long time.Duration) {
	now := w.clock.Now()
	ctx, cancel := context.WithCancelCause(context.Background())
	c := &caller{tenant: t, verb: verb, rejects: rejected, began: now, until: forever, cancel: cancel, seen: t.seen}
	timed := timedContext{Context: ctx}
	switch {
	case long == 0:
		c.until, c.left = now.Mono, true
		cancel(context.DeadlineExceeded)
	case long != forever:
		c.until, timed.at = now.Mono+long, now.Wall.Add(long)
	}
	w.mu.Lock()
	t.pending = append(t.pending, c)
	w.log = append(w.log, record{what: callerStarts, tenant: t, caller: c})
	w.mu.Unlock()
	w.wg.Go(func() { w.call(timed, c) })
}

// call is the goroutine of a caller.
func (w *world) call(ctx context.Context, c *caller) {
	var tok *renew.Token
	var err error
	defer func() {
		if v := recover(); v != nil {
			w.oracle.broken("R10", "a caller panicked: %v\n%s", v, debug.Stack())
		}
	}()
	switch c.verb {
	case wait:
		tok, err = c.tenant.ts.Wait(ctx)
	case reject:
		tok, err = c.tenant.ts.Reject(ctx, c.rejects)
	default:
		tok, err = c.tenant.ts.Token(ctx)
	}
	w.mu.Lock()
	c.over, c.ended, c.tok, c.err = true, w.clock.Now(), tok, err
	w.log = append(w.log, record{what: callerEnds, tenant: c.tenant, caller: c})
	again := false
	if tok != nil {
		c.tenant.got = append(c.tenant.got, tok)
		again = c.verb != reject && c.tenant.src.revoked[tok.Value.Reveal()]
	}
	w.mu.Unlock()
	if again { // a server answered 401
		w.ask(c.tenant, reject, tok, 20*time.Second)
	}
}

// nextDue returns when the next thing is due, of the engine, an issuer or a caller.
func (w *world) nextDue() (at time.Duration, some bool) {
	now := w.clock.Now().Mono
	at = forever
	if d, ok := w.clock.Next(); ok {
		at = now + d
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, d := range w.agenda {
		at = min(at, d.at)
	}
	for _, t := range w.tenants {
		for _, c := range t.pending {
			if !c.left {
				at = min(at, c.until)
			}
		}
	}
	return max(at, now), at != forever
}

// advance moves the clock to an instant, stops at all that is due on the way, and
// lets the oracle look there.
func (w *world) advance(to time.Duration) {
	synctest.Wait()
	w.oracle.look()
	w.clock.leap(to)
	defer w.clock.land()
	for range mostStops {
		if w.oracle.fell() {
			return
		}
		at, some := w.nextDue()
		last := !some || at > to
		if last {
			at = to
		}
		w.clock.Advance(at - w.clock.Now().Mono)
		w.wakeUp(at)
		synctest.Wait()
		w.oracle.look()
		if last || at == to && !w.isDue(to) {
			return
		}
	}
}

// mostStops bounds the work of one advance: then it ends sooner.
const mostStops = 400

// isDue reports whether something is due still.
func (w *world) isDue(to time.Duration) bool {
	at, some := w.nextDue()
	return some && at <= to
}

// wakeUp ends the sleeps and the contexts that end by now, in an order that repeats.
func (w *world) wakeUp(now time.Duration) {
	w.mu.Lock()
	var wake []chan struct{}
	w.agenda = slices.DeleteFunc(w.agenda, func(d due) bool {
		if d.at <= now {
			wake = append(wake, d.wake)
		}
		return d.at <= now
	})
	var leave []*caller
	for _, t := range w.tenants {
		for _, c := range t.pending {
			if !c.left && c.until <= now {
				c.left = true
				leave = append(leave, c)
			}
		}
	}
	w.mu.Unlock()
	for _, ch := range wake {
		close(ch)
		synctest.Wait()
	}
	for _, c := range leave {
		c.cancel(context.DeadlineExceeded)
		synctest.Wait()
	}
}

// budgetOf returns a Budget as the history has it.
func (s setup) budgetOf() *budget.Budget { return &budget.Budget{Units: s.units, Window: s.window} }
