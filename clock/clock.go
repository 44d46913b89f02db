// Package clock is the time that renew runs on: a wall reading, a monotonic
// reading and timers, so that a test can move each of them by hand.
//
// Programs use [Real], which is the default everywhere. Tests use [Fake], or
// Real inside a testing/synctest bubble.
package clock

import "time"

// Instant is one reading of a Clock: both hands, taken together.
//
// The two part ways when the machine is suspended (the wall moves, Mono does
// not) and when somebody sets the clock (the same).
type Instant struct {
	// Wall is the civil time, without a monotonic reading. It can jump both ways.
	Wall time.Time
	// Mono is the running time since an origin that is the same for every
	// reading of one Clock. It never goes back and is never negative.
	Mono time.Duration
}

// Clock tells the time and sets timers. An implementation is safe for
// concurrent use, and none of its methods block.
type Clock interface {
	// Now reads both hands.
	Now() Instant
	// Until returns how long it is until t, which may carry a monotonic reading
	// of the system's clock (the deadline of a context does).
	Until(t time.Time) time.Duration
	// AfterFunc calls f once, when d of running time has passed, on a goroutine of
	// the Clock's choice but never from within AfterFunc. A d of zero or less is
	// due at once. f must not block.
	AfterFunc(d time.Duration, f func()) Timer
}

// Timer is a call set by AfterFunc. *time.Timer is one.
type Timer interface {
	// Stop keeps f from being called and reports whether it did. It does not
	// wait for a call that has begun.
	Stop() bool
	// Reset sets the timer to d from now and reports whether it had been set: false
	// means that it had been stopped, or that a call has begun, which may then still
	// run beside the next.
	Reset(d time.Duration) bool
}

// Real is the clock of the system. All its values are one clock; the zero
// value is ready for use. In a testing/synctest bubble it is the bubble's clock,
// whose readings must not be compared with those taken outside.
type Real struct{}

// origin is where Real's Mono counts from. It is a constant in all but syntax:
// Budgets are shared between TokenSources, so all Reals must count from one point. It
// lies far back so that Mono is positive in a synctest bubble too, where it is the year 2000
// and times have no monotonic reading.
var origin = time.Now().Add(-60 * 365 * 24 * time.Hour)

// Now implements Clock.
func (Real) Now() Instant {
	t := time.Now()
	return Instant{Wall: t.Round(0), Mono: t.Sub(origin)}
}

// Until implements Clock.
func (Real) Until(t time.Time) time.Duration { return time.Until(t) }

// AfterFunc implements Clock. Each call of f has a goroutine of its own.
func (Real) AfterFunc(d time.Duration, f func()) Timer { return time.AfterFunc(d, f) }
