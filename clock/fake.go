package clock

import (
	"bytes"
	"container/heap"
	"context"
	"fmt"
	"math"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Fake is a Clock that stands still until it is told to move. Its runs repeat
// exactly: callbacks run one at a time, in the order in which they are due,
// and the work of each can come to rest before the next (see Settle).
//
// Its two hands can part: StepWall sets the wall clock, and Suspend puts the
// machine to sleep.
//
// A Fake is made by NewFake and is safe for concurrent use. Only Advance,
// StepWall and Suspend call anything (callbacks and Settle); no lock that the
// other methods need is held meanwhile.
type Fake struct {
	// Settle is called, on the goroutine that moves the clock, before the hands
	// move and after each callback, StepWall and Suspend. It returns when the work
	// that these started has come to rest, so that a later callback finds its
	// effects and no earlier time is read late. In a testing/synctest bubble set it
	// to synctest.Wait. Nil means that there is nothing to wait for, which is right
	// where callbacks do all their work themselves. It may be set until the first use.
	Settle func()

	// advancing is held for the whole of an Advance. It is a channel of capacity
	// one and not a mutex, for who waits on a mutex is not durably blocked, and
	// synctest.Wait would wait for it for ever.
	advancing chan struct{}
	// runner is the goroutine whose Advance runs callbacks, or 0. To know it costs ten times what
	// a callback does, so it is noted only without Settle: in a bubble a callback that waits
	// for itself is a deadlock, which synctest reports.
	runner atomic.Uint64

	mu      sync.Mutex // guards all below; never held while something is called
	wall    time.Time  // without a monotonic reading
	mono    time.Duration
	timers  fakeTimers
	set     uint64 // how many times a timer has been set: the order of ties
	waiters []*fakeWaiter
}

// fakeWaiter is one call of WaitTimers.
type fakeWaiter struct {
	n       int
	reached chan struct{} // closed, under Fake.mu, when there are n timers
}

// NewFake returns a Fake whose wall clock shows start and whose running time is
// zero. The zero Time means 2000-01-01 00:00:00 UTC, as in a testing/synctest
// bubble. A monotonic reading in start is dropped.
func NewFake(start time.Time) *Fake {
	if start.IsZero() {
		start = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	return &Fake{advancing: make(chan struct{}, 1), wall: start.Round(0)}
}

// Now implements Clock. In a callback it is the time at which that was due.
func (f *Fake) Now() Instant {
	f.mu.Lock()
	defer f.mu.Unlock()
	return Instant{Wall: f.wall, Mono: f.mono}
}

// Until implements Clock: it is t less the wall, whatever t's monotonic reading.
func (f *Fake) Until(t time.Time) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return t.Sub(f.wall)
}

// AfterFunc implements Clock. A call that is due at once is left to the next
// Advance, which may be Advance(0): AfterFunc itself calls nothing, so it may be
// used while holding locks that call needs.
func (f *Fake) AfterFunc(d time.Duration, call func()) Timer {
	t := &fakeTimer{clock: f, call: call, index: -1}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.schedule(t, d)
	return t
}

// Advance moves both hands on by d, stopping at each timer that falls due on the
// way to run its callback on the calling goroutine; callbacks due at one time run in the
// order in which they were set. A timer that a callback sets within the span is run too. At the
// end both hands have moved by d exactly (and the wall by what callbacks
// stepped it).
//
// Zero runs what is due already. A negative d panics: running time never goes
// back. Several calls of Advance run one after another, and a callback must not
// call it (that panics, or without an end waits for itself where Settle is set), nor set a timer of zero each time it runs, or Advance never ends.
func (f *Fake) Advance(d time.Duration) {
	if d < 0 {
		panic(fmt.Sprintf("clock: Fake.Advance by %v: running time never goes back; StepWall moves the wall", d))
	}
	select {
	case f.advancing <- struct{}{}:
	default:
		if id := f.runner.Load(); id != 0 && id == goroutineID() {
			panic("clock: Fake.Advance in a callback of the same Fake")
		}
		f.advancing <- struct{}{}
	}
	defer func() {
		f.runner.Store(0)
		<-f.advancing
	}()

	f.settle()
	f.mu.Lock()
	end := later(f.mono, d)
	f.mu.Unlock()
	for {
		call, due := f.next(end)
		if !due {
			return
		}
		if f.Settle == nil && f.runner.Load() == 0 {
			f.runner.Store(goroutineID())
		}
		call()
		f.settle()
	}
}

// StepWall moves the wall clock by d, in either direction, as when somebody sets
// the time. The running time stays, and no timer runs. It may be used in a
// callback. Where Settle is synctest.Wait, which one goroutine may call at a
// time, it must not run beside another goroutine's Advance.
func (f *Fake) StepWall(d time.Duration) {
	f.settle()
	f.mu.Lock()
	f.wall = f.wall.Add(d)
	f.mu.Unlock()
	f.settle()
}

// Suspend puts the machine to sleep for d: the wall clock moves on, and the
// running time and all timers stand still. By the wall, timers then run late by
// d. A negative d panics. See StepWall for where it may be used.
func (f *Fake) Suspend(d time.Duration) {
	if d < 0 {
		panic(fmt.Sprintf("clock: Fake.Suspend for %v", d))
	}
	f.StepWall(d)
}

// Timers returns how many timers are set: neither run nor stopped.
func (f *Fake) Timers() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.timers)
}

// Next returns the running time until the earliest timer: zero when it is due
// already. It is false when no timer is set. Advancing by it runs that timer.
func (f *Fake) Next() (time.Duration, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.timers) == 0 {
		return 0, false
	}
	return f.timers[0].due - f.mono, true
}

// WaitTimers blocks until at least n timers are set at one time, or ctx ends,
// whose cause it then returns. With n timers set, or n zero or negative, it
// returns nil at once. It is for tests outside a bubble, where the code
// under test sets its timers on goroutines of its own: advancing before they are
// set would miss them. In a bubble it is durably blocked, in the sense of testing/synctest.
func (f *Fake) WaitTimers(ctx context.Context, n int) error {
	f.mu.Lock()
	if len(f.timers) >= n {
		f.mu.Unlock()
		return nil
	}
	w := &fakeWaiter{n: n, reached: make(chan struct{})}
	f.waiters = append(f.waiters, w)
	f.mu.Unlock()

	select {
	case <-w.reached:
		return nil
	case <-ctx.Done():
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if i := slices.Index(f.waiters, w); i >= 0 {
		f.waiters = slices.Delete(f.waiters, i, i+1)
		return context.Cause(ctx)
	}
	return nil // reached at the same moment
}

func (f *Fake) settle() {
	if f.Settle != nil {
		f.Settle()
	}
}

// next moves the hands to the earliest timer due by end, which it takes out, or
// to end when there is none.
func (f *Fake) next(end time.Duration) (call func(), due bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	to := end
	if len(f.timers) > 0 && f.timers[0].due <= end {
		t := heap.Pop(&f.timers).(*fakeTimer)
		to, call, due = t.due, t.call, true
	}
	f.wall = f.wall.Add(to - f.mono)
	f.mono = to
	return call, due
}

// schedule sets t, which must not be in the heap. It requires f.mu.
func (f *Fake) schedule(t *fakeTimer, d time.Duration) {
	t.due = later(f.mono, max(d, 0))
	f.set++
	t.set = f.set
	heap.Push(&f.timers, t)
	f.waiters = slices.DeleteFunc(f.waiters, func(w *fakeWaiter) bool {
		if len(f.timers) < w.n {
			return false
		}
		close(w.reached)
		return true
	})
}

// fakeTimer is one timer. Its fields but clock and call are guarded by clock.mu.
type fakeTimer struct {
	clock *Fake
	call  func()
	due   time.Duration
	set   uint64
	index int // in clock.timers; -1 when it is not set
}

// Stop implements Timer.
func (t *fakeTimer) Stop() bool {
	t.clock.mu.Lock()
	defer t.clock.mu.Unlock()
	return t.unset()
}

// Reset implements Timer. It counts as setting the timer anew in the order of ties.
func (t *fakeTimer) Reset(d time.Duration) bool {
	t.clock.mu.Lock()
	defer t.clock.mu.Unlock()
	was := t.unset()
	t.clock.schedule(t, d)
	return was
}

// unset takes t out of the heap and reports whether it was there. It requires
// clock.mu.
func (t *fakeTimer) unset() bool {
	if t.index < 0 {
		return false
	}
	heap.Remove(&t.clock.timers, t.index)
	return true
}

// fakeTimers is a heap.Interface, earliest first, that tells each timer its place.
type fakeTimers []*fakeTimer

func (h fakeTimers) Len() int { return len(h) }

func (h fakeTimers) Less(i, j int) bool {
	if h[i].due != h[j].due {
		return h[i].due < h[j].due
	}
	return h[i].set < h[j].set
}

func (h fakeTimers) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *fakeTimers) Push(x any) {
	t := x.(*fakeTimer)
	t.index = len(*h)
	*h = append(*h, t)
}

func (h *fakeTimers) Pop() any {
	old := *h
	t := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	t.index = -1
	return t
}

// later is t+d, or the end of time where that overflows. d is not negative.
func later(t, d time.Duration) time.Duration {
	if t > math.MaxInt64-d {
		return math.MaxInt64
	}
	return t + d
}

// goroutineID tells a callback that calls Advance, which would wait for itself
// for ever, from another goroutine that may wait. Nothing else may depend on it:
// the runtime has no such number to give but in the first line of a stack trace.
func goroutineID() uint64 {
	var buf [64]byte
	line := bytes.TrimPrefix(buf[:runtime.Stack(buf[:], false)], []byte("goroutine "))
	digits, _, _ := bytes.Cut(line, []byte(" "))
	id, err := strconv.ParseUint(string(digits), 10, 64)
	if err != nil {
		return 0
	}
	return id
}
