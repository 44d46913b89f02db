package renew

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/seed-f29168f7/renew/clock"
)

// This file decides and does nothing: values in, values out, no clock inside.

// never is a monotonic reading that does not come.
const never = time.Duration(math.MaxInt64)

// lifetime is what a token's own fields say about its life.
type lifetime struct {
	life   time.Duration // 0: it has no end
	skewed bool          // Expiry has passed by the local wall clock, but Life says otherwise
}

// lifetimeOf reads the life of a token whose request started at start (R12).
func lifetimeOf(t *Token, start, now clock.Instant) (lifetime, error) {
	switch {
	case t.Life < 0:
		return lifetime{}, fmt.Errorf("the token has a negative life of %v", t.Life)
	case t.Life > 0:
		return lifetime{min(t.Life, maxLife), !t.Expiry.IsZero() && !t.Expiry.After(now.Wall)}, nil
	case t.Expiry.IsZero():
		return lifetime{}, nil
	}
	life := t.Expiry.Sub(start.Wall)
	if life <= 0 {
		return lifetime{}, fmt.Errorf("the token expired %v before it was asked for, by the local clock; a source that states Life instead does not depend on that clock", -life)
	}
	return lifetime{min(life, maxLife), false}, nil
}

// leewayOf returns how long before the end of its life a token leaves service (R2).
func leewayOf(configured, life time.Duration) time.Duration {
	switch {
	case configured < 0:
		return 0
	case configured > 0:
		return min(configured, life/2)
	}
	leeway := min(10*time.Second, life/20)
	if life >= time.Second {
		leeway = max(leeway, 100*time.Millisecond)
	}
	return leeway
}

// deadlineOf returns when a token of that life leaves service, by both hands.
func deadlineOf(life, leeway time.Duration, start clock.Instant) deadline {
	if life == 0 {
		return deadline{}
	}
	served := life - leeway
	return deadline{wall: start.Wall.Add(served).UnixNano(), mono: start.Mono + served}
}

// remaining returns how long it is until the deadline, by the hand that says
// sooner; never where there is none.
func (d deadline) remaining(now clock.Instant) time.Duration {
	if d == (deadline{}) {
		return never
	}
	return min(d.mono-now.Mono, time.Duration(d.wall-now.Wall.UnixNano()))
}

// reissueAfter returns how long after the start of its request a token is
// reissued, or never (R12). hint is the issuer's wish, or 0; flight is the length of the
// last flight; u is a draw from [0, 1), one a token.
func reissueAfter(life, leeway, every, hint, flight time.Duration, u float64) time.Duration {
	var at time.Duration
	switch {
	case every < 0:
		return never
	case every > 0:
		at = scale(every, 0.9+0.1*u)
	case hint > 0:
		at = max(hint, life/2, usableLeast) // a hint that is always in the past makes no storm
	case life > 0:
		at = scale(life, 0.6+0.2*u)
	default:
		return never
	}
	if life > 0 {
		latest := life - leeway - min(scale(flight, 1.2), life)
		at = min(at, max(latest, life/2))
	}
	return at
}

// scale multiplies a duration without overflow.
func scale(d time.Duration, by float64) time.Duration {
	f := float64(d) * by
	if f >= math.MaxInt64 {
		return never
	}
	return time.Duration(f)
}

// jitter spreads d by ± 20 %; u is a draw from [0, 1).
func jitter(d time.Duration, u float64) time.Duration { return scale(d, 0.8+0.4*u) }

const (
	coldFirst   = 200 * time.Millisecond
	coldSlow    = 3 * time.Second // for that long the pause grows by a tenth, then it doubles
	coldMost    = 30 * time.Second
	usableLeast = time.Second
	usableMost  = 5 * time.Minute
	// throttledLeast is the shortest pause after a 429 that names none.
	throttledLeast = 5 * time.Second
	// retryAfterMost bounds the pause that an issuer can ask for.
	retryAfterMost = time.Hour
	// sameTokenLeast is the shortest pause after a Source returned the token that it had returned before.
	sameTokenLeast = time.Second
)

// usablePause returns the pause before the next attempt while a token is in
// service: an eighth of what remains, within bounds that let three attempts fit
// into a short life (R13). Without jitter.
func usablePause(remaining, life time.Duration) time.Duration {
	if remaining == never {
		return usableMost
	}
	return min(max(remaining/8, min(usableLeast, life/25)), usableMost)
}

// coldPause returns the pause after the n-th failure in a row without a usable
// token, n from 1 up (R13). Without jitter.
func coldPause(n int) time.Duration {
	b := backoff.ExponentialBackOff{
		InitialInterval: coldFirst,
		Multiplier:      1.1,
		MaxInterval:     coldMost,
		Stop:            backoff.Stop,
		Clock:           stopped{},
	}
	b.Reset()
	pause, sum := b.NextBackOff(), time.Duration(0)
	for range min(n, 64) - 1 {
		if sum += pause; sum >= coldSlow {
			b.Multiplier = 2
		}
		pause = b.NextBackOff()
	}
	return pause
}

// stopped is the clock of a back-off whose own notion of elapsed time is not used.
type stopped struct{}

func (stopped) Now() time.Time { return time.Time{} }

// reissueOffFor returns for how long Reissue is not tried after the n-th
// refusal in a row (R14).
func reissueOffFor(n int, window time.Duration) time.Duration {
	if n < 2 {
		return 0
	}
	off := window
	for range min(n-2, 32) {
		off = min(2*off, max(window, 24*time.Hour))
	}
	return off
}

// sameTokenPause returns when to try again after the Source returned the
// token in service once more (R11).
func sameTokenPause(remaining time.Duration) time.Duration {
	if remaining == never {
		return never
	}
	return max(remaining/2, sameTokenLeast)
}

// failure is what an error of a Source means.
type failure struct {
	*IssueError
	// interaction: the Source says that only a person can help.
	interaction bool
}

var errNilError = errors.New("the source returned a nil *IssueError as an error")

// classify gives an error of a Source its meaning. The result holds no text
// that the Source did not put into an IssueError or a plain error: the URL of a
// *url.Error, with its query, is dropped wherever it is.
func classify(err error, source string) failure {
	ie, ok := errors.AsType[*IssueError](err)
	if ok && ie == nil { // a nil pointer in an error is not nil, and its Unwrap would panic
		err, ok = errNilError, false
	}
	if spent, isSpent := errors.AsType[*BudgetError](err); isSpent && spent != nil || ok && ie.relayed || errors.Is(err, ErrHung) {
		// Another TokenSource has failed, which the Source depends on: its own issuer was not asked.
		return failure{&IssueError{Source: source, Kind: Transient, Unsent: true, Err: err}, false}
	}
	if ok {
		c := *ie
		if c.Source == "" {
			c.Source = source
		}
		host, cause := withoutURL(c.Err)
		c.Host, c.Err = cmp.Or(c.Host, host), cause
		c.NextAttempt = time.Time{}
		c.RetryAfter = min(max(c.RetryAfter, 0), retryAfterMost)
		c.Unsent = c.Unsent || neverSent(err)
		return failure{&c, errors.Is(err, ErrInteractionRequired)}
	}
	c := &IssueError{Source: source, Kind: Transient, Unsent: neverSent(err)}
	c.Host, c.Err = withoutURL(err)
	if errors.Is(err, ErrInteractionRequired) {
		c.Kind, c.Permanent = Refused, true
		return failure{c, true}
	}
	if _, ok := errors.AsType[*ConfigError](err); ok {
		c.Kind, c.Permanent = Invalid, true
	}
	return failure{c, false}
}

// refusals returns in how many exchanges of the attempt the credentials were
// refused, however it ended (R19).
func (f failure) refusals() int {
	if f.Kind == Refused && !f.interaction {
		return max(f.Refusals, 1)
	}
	return max(f.Refusals, 0)
}

// judged reports whether the issuer may have judged the credentials: then the
// attempt keeps its unit of the budget (R18).
func (f failure) judged() bool {
	return f.refusals() > 0 || !f.Unsent && !f.interaction && f.Kind != Throttled && f.Status != 429 && f.Status < 500
}

// final reports whether the timer must leave it alone (R23).
func (f failure) final() bool { return f.Permanent || f.Kind == Invalid || f.interaction }

// pause returns how long to wait after the n-th failure in a row.
func (f failure) pause(n int, inService bool, remaining, life time.Duration, u float64) time.Duration {
	pause := coldPause(n)
	if inService && f.Kind != Refused {
		pause = usablePause(remaining, life)
	}
	pause = max(jitter(pause, u), f.RetryAfter)
	if f.Kind == Throttled && f.RetryAfter == 0 {
		pause = max(pause, throttledLeast)
	}
	return pause
}
