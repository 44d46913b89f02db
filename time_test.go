package renew

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-f29168f7/renew/budget"
	"github.com/seed-f29168f7/renew/clock"
)

// withFake runs f in a bubble, with a TokenSource on a Fake.
func withFake(t *testing.T, name string, s Source, cfg Config, f func(t *testing.T, ts *TokenSource, fake *clock.Fake)) {
	t.Helper()
	bubble(t, name, func(t *testing.T) {
		fake := newFake()
		fake.Advance(time.Hour) // running time and wall do not start together
		cfg.Clock = fake
		f(t, open(t, s, cfg), fake)
	})
}

// generation returns that of the token that readers see, or 0.
func generation(ts *TokenSource) uint64 {
	if t := ts.cur.Load(); t != nil {
		return t.Generation()
	}
	return 0
}

func TestR24_EitherHand(t *testing.T) {
	// A token is past its deadline as soon as either hand says so.
	at := clock.Instant{Wall: time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC), Mono: time.Hour}
	d := deadlineOf(time.Minute, 10*time.Second, at)
	for _, c := range []struct {
		wall, mono time.Duration
		past       bool
		left       time.Duration
	}{
		{0, 0, false, 50 * time.Second},
		{50*time.Second - 1, 50*time.Second - 1, false, 1},
		{50 * time.Second, 0, true, 0},
		{0, 50 * time.Second, true, 0},
		{-time.Hour, 49 * time.Second, false, time.Second},
		{49 * time.Second, 0, false, time.Second},
	} {
		now := clock.Instant{Wall: at.Wall.Add(c.wall), Mono: at.Mono + c.mono}
		assert.Equal(t, c.past, d.past(now), "%v, %v", c.wall, c.mono)
		assert.Equal(t, c.left, d.remaining(now), "%v, %v", c.wall, c.mono)
	}
	assert.False(t, deadline{}.past(clock.Instant{Wall: at.Wall.AddDate(200, 0, 0), Mono: never}), "a token without an end")
}

func TestR24_StepOrSuspendBeyondTheDeadline(t *testing.T) {
	// After the machine slept, or its clock was set forward, a token that has expired is served for at most 1 s of running time, and is replaced without a read.
	for name, move := range map[string]func(*clock.Fake, time.Duration){"step": (*clock.Fake).StepWall, "suspend": (*clock.Fake).Suspend} {
		s := scriptOf(gives(time.Hour))
		withFake(t, name, s, Config{}, func(t *testing.T, ts *TokenSource, fake *clock.Fake) {
			must(t, ts)
			fake.Advance(5*time.Minute + 333*time.Millisecond)
			move(fake, time.Hour)
			fake.Advance(time.Second)
			assert.EqualValues(t, 2, generation(ts))
			assert.Equal(t, 2, s.count())
		})
	}
}

func TestR24_StepForwardWithinTheLife(t *testing.T) {
	// A step forward within the life brings the deadline and the reissue nearer: no reader sees a gap or an old token.
	s := scriptOf(gives(time.Hour))
	withFake(t, "reissue", s, Config{Rand: same(0.5)}, func(t *testing.T, ts *TokenSource, fake *clock.Fake) {
		must(t, ts)
		fake.Advance(5 * time.Minute)
		fake.StepWall(50 * time.Minute) // 290 s are left
		fake.Advance(202 * time.Second)
		assert.Equal(t, 1, s.count())
		fake.Advance(3 * time.Second)
		assert.Equal(t, 2, s.count(), "at 0.7 of what was left")
		assert.EqualValues(t, 2, generation(ts))
	})
	withFake(t, "deadline", scriptOf(gives(time.Hour)), Config{ReissueEvery: -1}, func(t *testing.T, ts *TokenSource, fake *clock.Fake) {
		must(t, ts)
		fake.Advance(5 * time.Minute)
		fake.StepWall(50 * time.Minute)
		fake.Advance(5*time.Minute - 10*time.Second - 1)
		assert.EqualValues(t, 1, generation(ts))
		fake.Advance(1)
		assert.EqualValues(t, 0, generation(ts))
	})
}

func TestR24_StepBackProlongsNothing(t *testing.T) {
	// A step back prolongs no token, and shortens none.
	for _, back := range []time.Duration{time.Minute, 24 * time.Hour, 50 * 365 * 24 * time.Hour} {
		withFake(t, back.String(), scriptOf(gives(time.Hour)), Config{ReissueEvery: -1}, func(t *testing.T, ts *TokenSource, fake *clock.Fake) {
			must(t, ts)
			fake.Advance(5 * time.Minute)
			fake.StepWall(-back)
			fake.Advance(55*time.Minute - 10*time.Second - 1)
			assert.EqualValues(t, 1, generation(ts))
			fake.Advance(1)
			assert.EqualValues(t, 0, generation(ts))
		})
	}
	s := scriptOf(gives(time.Hour))
	withFake(t, "the schedule", s, Config{Rand: same(0.5)}, func(t *testing.T, ts *TokenSource, fake *clock.Fake) {
		must(t, ts)
		fake.StepWall(-24 * time.Hour)
		fake.Advance(42*time.Minute - 1)
		assert.Equal(t, 1, s.count())
		fake.Advance(1)
		assert.Equal(t, 2, s.count())
	})
}

func TestR24_ASlewAddsUp(t *testing.T) {
	// A wall clock that drifts by less than 100 ms at a time is noticed when that adds up.
	withFake(t, "forward", scriptOf(gives(time.Hour)), Config{ReissueEvery: -1}, func(t *testing.T, ts *TokenSource, fake *clock.Fake) {
		must(t, ts)
		for range 1000 {
			fake.StepWall(60 * time.Millisecond)
			fake.Advance(time.Second)
		}
		fake.Advance(time.Hour - 10*time.Second - 1060*time.Second - time.Millisecond)
		assert.EqualValues(t, 1, generation(ts))
		fake.Advance(101 * time.Millisecond)
		assert.EqualValues(t, 0, generation(ts))
	})
}

func TestR24_WatchEvery(t *testing.T) {
	// The watcher compares the hands every 0.9 s, or as the Config says; negative turns it off, and CheckOnRead does without.
	for _, c := range []struct {
		every, noticed time.Duration
	}{{0, 900 * time.Millisecond}, {10 * time.Second, 10 * time.Second}, {-1, 54*time.Minute + 50*time.Second}} {
		withFake(t, fmt.Sprint(c.every), scriptOf(gives(time.Hour), fails(Throttled)), Config{WatchEvery: c.every, ReissueEvery: -1}, func(t *testing.T, ts *TokenSource, fake *clock.Fake) {
			must(t, ts)
			fake.Advance(5 * time.Minute)
			ticked := 5 * time.Minute
			if c.every >= 0 {
				ticked %= c.noticed // since the last look
			} else {
				ticked = 0
			}
			fake.Suspend(2 * time.Hour)
			fake.Advance(c.noticed - ticked - 1)
			assert.EqualValues(t, 1, generation(ts))
			fake.Advance(1)
			assert.EqualValues(t, 0, generation(ts))
		})
	}
	s := scriptOf(gives(time.Hour))
	withFake(t, "CheckOnRead", s, Config{WatchEvery: -1, CheckOnRead: true, ReissueEvery: -1}, func(t *testing.T, ts *TokenSource, fake *clock.Fake) {
		first := must(t, ts)
		fake.Suspend(time.Hour - 10*time.Second - 1)
		assert.Same(t, first, must(t, ts))
		fake.Suspend(1)
		assert.NotSame(t, first, must(t, ts), "at once, with no timer run")
	})
}

func TestR24_OneWatcher(t *testing.T) {
	// A Manager has one watcher, which re-judges all its tokens, and none while nothing is timed.
	synctest.Test(t, func(t *testing.T) {
		fake := newFake()
		m := manage(t, Config{Clock: fake})
		var all []*TokenSource
		for i := range 20 {
			ts := adopt(t, m, fmt.Sprint(i), scriptOf(gives(time.Hour)), Config{})
			must(t, ts)
			all = append(all, ts)
		}
		assert.Equal(t, 21, fake.Timers())
		fake.Suspend(2 * time.Hour)
		fake.Advance(time.Second)
		for _, ts := range all {
			assert.EqualValues(t, 2, generation(ts))
		}
		checkHub(t, m.hub)
		for i := range all {
			require.NoError(t, m.Remove(t.Context(), fmt.Sprint(i)))
		}
		must(t, adopt(t, m, "no end", scriptOf(gives(0)), Config{}))
		fake.Advance(time.Second)
		assert.Zero(t, fake.Timers(), "nothing is timed")
		ts := adopt(t, m, "later", scriptOf(gives(time.Hour)), Config{})
		must(t, ts)
		fake.Suspend(2 * time.Hour)
		fake.Advance(time.Second)
		assert.EqualValues(t, 2, generation(ts), "it watches again")
	})
}

func TestR24_ResumeStartsThePausesAnew(t *testing.T) {
	// After a resume the next attempt is not further away than the first pause; what the issuer asked for stays.
	resume := func(t *testing.T, fake *clock.Fake) {
		t.Helper()
		fake.Suspend(time.Hour)
		fake.Advance(900*time.Millisecond + 240*time.Millisecond)
	}
	s := scriptOf(failsWith(faultDial))
	withFake(t, "cold", s, Config{Rand: same(0.999)}, func(t *testing.T, ts *TokenSource, fake *clock.Fake) {
		go func() { _, _ = ts.Token(context.Background()) }()
		fake.Advance(10 * time.Minute)
		calls := s.count()
		fake.Advance(5 * time.Second)
		require.Equal(t, calls, s.count(), "the pauses are long by now")
		resume(t, fake)
		fake.Advance(2 * time.Second)
		assert.GreaterOrEqual(t, s.count()-calls, 4, "the pauses are those of the beginning")
	})
	served := scriptOf(gives(10*time.Hour), failsWith(faultDial), gives(10*time.Hour))
	withFake(t, "in service", served, Config{Rand: same(0.5)}, func(t *testing.T, ts *TokenSource, fake *clock.Fake) {
		must(t, ts)
		fake.Advance(7*time.Hour + time.Second)
		require.Equal(t, 2, served.count())
		resume(t, fake)
		assert.Equal(t, 3, served.count())
		assert.EqualValues(t, 2, generation(ts))
	})
	asked := scriptOf(failsWith(&IssueError{Kind: Throttled, Status: 429, RetryAfter: 10 * time.Minute}), gives(time.Hour))
	withFake(t, "Retry-After", asked, Config{}, func(t *testing.T, ts *TokenSource, fake *clock.Fake) {
		_, err := ts.Token(t.Context())
		require.Error(t, err)
		resume(t, fake)
		assert.Equal(t, 1, asked.count())
		fake.Advance(10 * time.Minute)
		assert.Equal(t, 2, asked.count())
	})
}

func TestR24_IntervalsAreMonotonic(t *testing.T) {
	// A step of the wall clock neither ends a flight nor frees a unit of the budget.
	for _, step := range []time.Duration{24 * time.Hour, -24 * time.Hour} {
		hung := scriptOf(func(ctx context.Context, _ int) (*Token, error) {
			<-ctx.Done()
			return nil, context.Cause(ctx)
		})
		withFake(t, fmt.Sprint("flight/", step), hung, Config{}, func(t *testing.T, ts *TokenSource, fake *clock.Fake) {
			waiter := ask(func() (*Token, error) { return ts.Token(t.Context()) })
			require.False(t, waiter.done())
			fake.StepWall(step)
			fake.Advance(30*time.Second - 1)
			require.False(t, waiter.done())
			fake.Advance(1)
			require.True(t, waiter.done())
			assert.ErrorIs(t, waiter.err, errFlightTimeout)
		})
		b := &budget.Budget{Units: 1, Window: 10 * time.Minute}
		s := scriptOf(gives(0))
		withFake(t, fmt.Sprint("budget/", step), s, Config{Budget: b}, func(t *testing.T, ts *TokenSource, fake *clock.Fake) {
			tok, err := ts.Reject(t.Context(), must(t, ts))
			require.NoError(t, err)
			fake.StepWall(step)
			fake.Advance(10*time.Minute - 1)
			_, err = ts.Reject(t.Context(), tok)
			assert.ErrorIs(t, err, ErrBudgetSpent)
			fake.Advance(1)
			_, err = ts.Reject(t.Context(), tok)
			assert.NoError(t, err)
		})
	}
}

func TestR24_StepDuringARequest(t *testing.T) {
	// A clock that is set while the first request is under way (at boot, from 1970) costs a retry and no error.
	synctest.Test(t, func(t *testing.T) {
		fake := clock.NewFake(time.Date(1970, 1, 1, 0, 0, 5, 0, time.UTC))
		fake.Settle = synctest.Wait
		s := scriptOf(func(ctx context.Context, n int) (*Token, error) {
			if n == 1 {
				done := make(chan struct{})
				fake.AfterFunc(time.Second, func() { close(done) })
				<-done
			}
			return gives(time.Hour)(ctx, n)
		})
		ts := open(t, s, Config{Clock: fake})
		reader := ask(func() (*Token, error) { return ts.Token(t.Context()) })
		require.False(t, reader.done())
		fake.StepWall(56 * 365 * 24 * time.Hour)
		fake.Advance(2 * time.Second)
		require.True(t, reader.done())
		require.NoError(t, reader.err)
		assert.Equal(t, 2, s.count())
	})
}
