// Package budget keeps a daemon from locking its own account, and from
// battering an issuer: a [Budget] of attempts that may follow a failure, and a
// [Pacer] for an endpoint.
//
// Nothing here reads a clock, waits or starts a goroutine: time comes in as a
// value, a monotonic reading with any origin, as long as all calls use the same
// one. A reading that is a little older than one seen before, because another
// goroutine was quicker, is taken as the newer one.
package budget

import (
	"fmt"
	"math"
	"sync"
	"time"
)

// The defaults of the zero Budget.
const (
	DefaultUnits  = 4
	DefaultWindow = 10 * time.Minute
)

// Budget allows at most Units attempts in every window of length Window, exactly:
// not on average, and not in windows that start at round times. Windows are half
// open, so a unit spent at t is free again at t+Window and not a nanosecond sooner.
//
// An attempt reserves its unit before it starts and spends it when it ends, since
// the server may count it at any moment between. So whichever moments the server
// picks, it counts at most Units in any window.
//
// The zero Budget is ready for use with the defaults. Its methods are safe for
// concurrent use and do not block. The fields may be changed until the first use,
// and it must not be copied after that: share it by pointer, with callers whose
// readings of time have one origin. It takes 8 bytes a spent unit beside its 64,
// and none when nothing was spent within the window.
type Budget struct {
	// Units is how many. Zero means DefaultUnits. Negative is an error, which
	// Validate reports; the methods take it as zero.
	Units int
	// Window is the length. Zero means DefaultWindow. Negative is an error, as
	// for Units.
	Window time.Duration

	mu   sync.Mutex // guards all below
	seen bool       // latest has been set
	open int32      // reservations
	// latest is the latest time seen. A call with an earlier one must neither
	// free nor stamp by it.
	latest time.Duration
	// spent holds when units were spent, oldest first: those of the last Window, and
	// only the newest Units, because older ones do not change any answer.
	spent []time.Duration
}

// Validate reports a negative field. A nil Budget is valid.
func (b *Budget) Validate() error {
	if b != nil && (b.Units < 0 || b.Window < 0) {
		return fmt.Errorf("has Units %d and Window %v: neither may be negative", b.Units, b.Window)
	}
	return nil
}

// Span returns the length of the window in effect: Window, or the default.
func (b *Budget) Span() time.Duration {
	if b.Window <= 0 {
		return DefaultWindow
	}
	return b.Window
}

// Reserve takes one unit, before the attempt it is for, and reports whether there
// was one. The caller then calls Spend or Release, once, when the attempt has
// ended; an open reservation counts until then.
//
// When ok is false, nothing was taken and retryAt, which is after now, is when the next
// unit is free, exactly, unless another caller takes it or a reservation is
// released first. Where open reservations alone use up the Units, no one can
// know: retryAt is then now+Window, when a unit would be free if an attempt
// ended now. When ok is true, retryAt is now.
func (b *Budget) Reserve(now time.Duration) (retryAt time.Duration, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	retryAt, ok = b.retryAt(now)
	if ok {
		b.open++
	}
	return retryAt, ok
}

// Spend turns one open reservation into a unit spent now, at the end of its
// attempt. Without an open reservation it records a unit all the same, as Charge(now, 1) does.
func (b *Budget) Spend(now time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.open = max(b.open-1, 0)
	b.charge(now, 1)
}

// Release gives one open reservation back, as if it had never been taken: its
// attempt was certainly not judged. Without an open reservation it does nothing.
func (b *Budget) Release() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.open = max(b.open-1, 0)
}

// Charge records n units spent now that nobody reserved, such as the further
// refusals within one attempt. They are counted although they may be more than
// were left, and delay later attempts: with n of Units or more, none starts for a
// whole Window. Zero and negative n record nothing.
func (b *Budget) Charge(now time.Duration, n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.charge(now, n)
}

// Left returns how many units could be reserved now, never below zero.
func (b *Budget) Left(now time.Duration) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.advance(now)
	return max(b.units()-int(b.open)-len(b.spent), 0)
}

// RetryAt returns what Reserve would, and takes nothing.
func (b *Budget) RetryAt(now time.Duration) (retryAt time.Duration, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.retryAt(now)
}

// All below require b.mu.

func (b *Budget) units() int {
	if b.Units <= 0 {
		return DefaultUnits
	}
	return b.Units
}

// advance notes now and drops the stamps that have left the window.
func (b *Budget) advance(now time.Duration) {
	if !b.seen || now > b.latest {
		b.seen, b.latest = true, now
	}
	expired := 0
	for _, at := range b.spent {
		// A difference below zero has overflowed: it is 292 years or more.
		if age := b.latest - at; age >= 0 && age < b.Span() {
			break
		}
		expired++
	}
	b.drop(expired)
}

// drop forgets the n oldest stamps, and their memory with the last.
func (b *Budget) drop(n int) {
	b.spent = b.spent[n:]
	if len(b.spent) == 0 {
		b.spent = nil
	}
}

func (b *Budget) retryAt(now time.Duration) (time.Duration, bool) {
	b.advance(now)
	free := b.units() - int(b.open) // what the stamps may use
	switch {
	case len(b.spent) < free:
		return now, true
	case free <= 0:
		return plus(b.latest, b.Span()), false
	default:
		// Room for one more when all but the newest free-1 have left.
		return plus(b.spent[len(b.spent)-free], b.Span()), false
	}
}

func (b *Budget) charge(now time.Duration, n int) {
	b.advance(now)
	n = min(n, b.units()) // more would push one another out
	for range n {
		b.spent = append(b.spent, b.latest)
	}
	if extra := len(b.spent) - b.units(); extra > 0 {
		b.drop(extra)
	}
}

// plus is t+d, or the end of time where that overflows. d is not negative.
func plus(t, d time.Duration) time.Duration {
	if t > math.MaxInt64-d {
		return math.MaxInt64
	}
	return t + d
}
