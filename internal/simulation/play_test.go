package simulation

import (
	"context"
	"fmt"
	"runtime/debug"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-f29168f7/renew"
)

// broken is what a history did to the contract.
type broken struct{ rule, text string }

// play plays a history in a bubble, and returns the rule that was broken, or nil.
func play(t *testing.T, h history) (b *broken) {
	done := make(chan struct{})
	var w *world
	go func() {
		defer close(done)
		defer func() {
			if v := recover(); v != nil && b == nil { // the bubble has a goroutine that never ends
				b = &broken{"R27", fmt.Sprint(v)}
			}
		}()
		synctest.Test(t, func(*testing.T) {
			w = newWorld(h.setup())
			w.verbose = *flagHistory != "" || *flagN == 1
			defer func() {
				if v := recover(); v != nil {
					b = &broken{"R10", fmt.Sprintf("%v\n%s", v, debug.Stack())}
				}
			}()
			for _, e := range h.events() {
				w.trace("-- %v", e)
				w.do(e)
				synctest.Wait()
				w.oracle.look()
				if w.oracle.fell() {
					break
				}
			}
			if !w.oracle.fell() {
				w.end()
			}
			if w.oracle.fell() {
				b = &broken{w.oracle.rule, w.oracle.text}
				w.abandon()
			}
		})
	}()
	<-done
	return b
}

// tenantOf returns the tenant of an event, or nil.
func (w *world) tenantOf(e event) *tenant { return w.slots[e.who%len(w.slots)] }

// do makes an event happen.
func (w *world) do(e event) {
	now := w.clock.Now().Mono
	switch e.op {
	case advance:
		w.advance(now + e.long)
		return
	case next:
		if at, some := w.nextDue(); some {
			w.advance(at)
		}
		return
	case hook:
		w.mu.Lock()
		defer w.mu.Unlock()
		w.hookFail = !w.hookFail
		return
	case step:
		w.settleClock()
		w.moveClock(e.step())
		return
	case suspend:
		w.settleClock()
		w.moveClock(e.long + 150*time.Millisecond)
		return
	case ready:
		w.oracle.look()
		for _, t := range w.tenants {
			t.age(w.clock.Now(), false) // it looks at the clock
		}
		_ = w.manager.Ready()
		return
	case closeAll:
		w.closeAll(e.long)
		return
	}
	t := w.tenantOf(e)
	if t == nil {
		return
	}
	w.mu.Lock()
	var newest, older *renew.Token
	if n := len(t.got); n > 0 {
		newest, older = t.got[n-1], t.got[int(e.k)%n]
	}
	pending := append([]*caller(nil), t.pending...)
	w.mu.Unlock()
	switch e.op {
	case token:
		w.ask(t, token, nil, forever)
	case tokenFor:
		w.ask(t, token, nil, e.long)
	case wait:
		w.ask(t, wait, nil, e.long)
	case reject:
		if newest != nil {
			w.ask(t, reject, newest, forever)
		}
	case rejectLeft:
		if newest != nil {
			w.ask(t, reject, newest, 0)
		}
	case rejectStale:
		if older != nil {
			w.stale(t, older)
		}
	case cancel:
		if len(pending) > 0 {
			c := pending[int(e.k)%len(pending)]
			c.left = true
			c.cancel(context.Canceled)
		}
	case reset:
		w.oracle.reset(t)
		t.ts.Reset()
	case behave:
		w.mu.Lock()
		defer w.mu.Unlock()
		for range e.times() {
			t.src.queue = append(t.src.queue, behaviour{e.mode, e.takes()})
		}
	case weather:
		w.mu.Lock()
		defer w.mu.Unlock()
		t.src.weather = behaviour{e.mode, e.takes()}
	case clear:
		w.mu.Lock()
		defer w.mu.Unlock()
		t.src.weather, t.src.queue = behaviour{}, nil
	case revoke:
		w.mu.Lock()
		defer w.mu.Unlock()
		if t.src.last != nil {
			t.src.revoked[t.src.last.Value.Reveal()] = true
		}
	case input:
		w.mu.Lock()
		defer w.mu.Unlock()
		t.src.version++
	case status:
		w.oracle.status(t, t.ts.Status())
	case waitAll:
		w.waitAll(e.long)
	case remove, replace:
		slot := e.who % len(w.slots)
		t.closed = true
		w.slots[slot] = nil
		w.wg.Go(func() {
			ctx, cancel := w.timed(e.long)
			defer cancel()
			_ = w.manager.Remove(ctx, t.name)
		})
		synctest.Wait()
		if e.op == replace {
			w.add(slot)
		}
	}
}

// takes is how long a call takes: mostly less than a flight may.
func (e event) takes() time.Duration {
	if e.k&0x80 == 0 {
		return e.long % time.Second
	}
	return min(e.long, 2*time.Hour)
}

// stale rejects a token that may be an old one: then nothing happens (R17).
func (w *world) stale(t *tenant, tok *renew.Token) {
	w.oracle.look()
	if !t.serving || t.failing || t.unsure || t.isCurrent(tok) || w.oracle.grace(w.clock.Now().Mono) || t.set.idleAfter > 0 {
		w.ask(t, reject, tok, forever)
		return
	}
	calls := t.src.calls()
	w.ask(t, reject, tok, forever)
	synctest.Wait()
	if n := t.src.calls() - calls; n > 0 {
		w.oracle.broken("R17", "%s: the Reject of generation %d, which is not current, led to %d calls", t.name, tok.Generation(), n)
	}
	w.oracle.look()
	for _, c := range t.pending {
		if c.verb == reject && c.rejects == tok {
			w.oracle.broken("R17", "%s: the Reject of generation %d, which is not current, waits", t.name, tok.Generation())
		}
	}
}

// calls returns how many calls the Source has had.
func (s *issuer) calls() int {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	return s.n
}

// settleClock lets a second pass since the clock was last moved, so that two moves do not hide each other.
func (w *world) settleClock() {
	if w.oracle.hasMoved {
		w.advance(max(w.clock.Now().Mono, w.oracle.movedAt+time.Second+time.Millisecond))
	}
}

// moveClock parts the hands of the clock.
func (w *world) moveClock(d time.Duration) {
	now := w.clock.Now().Mono
	w.clock.StepWall(d)
	w.oracle.movedAt, w.oracle.hasMoved = now, true
	for _, t := range w.tenants {
		t.moved, t.fewest = true, 0
		if t.failing && !t.fault.final() && t.abandoned() < 4+t.allowance { // else no timer is set, and nothing watches
			t.hasten(now, 900*time.Millisecond)
		}
		if !t.failing && t.tok != nil {
			t.notBefore = now
			if t.serving && t.served > 0 && past(t.start, t.served, w.clock.Now()) && t.timed(t.set) {
				t.notAfter = min(t.notAfter, now+900*time.Millisecond)
			}
		}
	}
}

// timed returns a context that ends after d of running time.
func (w *world) timed(d time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_ = w.sleep(ctx, max(d, 1))
		cancel()
	}()
	return ctx, cancel
}

// waitAll is Manager.Wait, for no longer than d.
func (w *world) waitAll(d time.Duration) {
	now := w.clock.Now().Mono
	for _, t := range w.tenants {
		t.lastCaller, t.lastRead = now, now
		t.crowd = max(t.crowd, now+d) // its goroutines are callers too
		t.booked = !t.set.interactive
	}
	w.wg.Go(func() {
		ctx, cancel := w.timed(d)
		defer cancel()
		_ = w.manager.Wait(ctx)
	})
}

// closeAll closes the Manager, and does not wait for it.
func (w *world) closeAll(d time.Duration) {
	for i, t := range w.slots {
		if t != nil {
			t.closed = true
		}
		w.slots[i] = nil
	}
	w.wg.Go(func() {
		ctx, cancel := w.timed(d)
		defer cancel()
		_ = w.manager.Close(ctx)
	})
}

// end lets all be well, and checks that every state has a way out (R10, R23), that no unit
// of a budget is lost (R18), and that Close leaves nothing behind (R27).
func (w *world) end() {
	w.mu.Lock()
	w.hookFail, w.longLife = false, true
	for _, t := range w.tenants {
		t.src.weather, t.src.queue, t.src.revoked = behaviour{}, nil, map[string]bool{}
	}
	w.mu.Unlock()
	w.advance(w.clock.Now().Mono + 4*time.Hour) // deaf calls return, windows end
	for _, t := range w.slots {
		if t == nil || t.set.interactive && !t.set.allowed || w.oracle.fell() {
			continue
		}
		for try := 0; ; try++ {
			w.ask(t, token, nil, 10*time.Minute)
			w.advance(w.clock.Now().Mono + 11*time.Minute)
			s := t.ts.Status()
			if s.State.Usable() || w.oracle.fell() {
				break
			}
			if try == 20 {
				w.oracle.broken("R23", "%s: no way out: %+v", t.name, s)
				return
			}
			w.advance(w.clock.Now().Mono + 30*time.Minute)
		}
		if !w.oracle.fell() {
			w.oracle.status(t, t.ts.Status())
		}
	}
	if w.oracle.fell() {
		return
	}
	w.closeAll(4 * time.Hour)
	synctest.Wait()
	w.oracle.look()
	if w.oracle.fell() {
		return
	}
	w.advance(w.clock.Now().Mono + 5*time.Hour)
	w.wg.Wait()
	for _, t := range w.tenants {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if _, err := t.ts.Token(ctx); err != renew.ErrClosed {
			w.oracle.broken("R27", "%s: Token after Close: %v", t.name, err)
		}
		if t.closed && len(t.running) > 0 {
			w.oracle.broken("R27", "%s: Close has returned and %d calls run", t.name, len(t.running))
		}
	}
	if n := w.clock.Timers(); n > 0 && !w.oracle.fell() {
		w.oracle.broken("R27", "%d timers are set after Close", n)
	}
}

// abandon ends a world in which a rule was broken.
func (w *world) abandon() {
	w.mu.Lock()
	for _, t := range w.tenants {
		t.src.weather, t.src.queue = behaviour{}, nil
		for _, c := range t.pending {
			c.cancel(context.Canceled)
		}
	}
	w.mu.Unlock()
	w.closeAll(time.Hour)
	synctest.Wait()
	for range 100 { // without the oracle
		at, some := w.nextDue()
		if !some {
			break
		}
		w.clock.Advance(at - w.clock.Now().Mono)
		w.wakeUp(at)
		synctest.Wait()
	}
}
