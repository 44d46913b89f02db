package renew

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-f29168f7/renew/budget"
	"github.com/seed-f29168f7/renew/clock"
)

// counted is a Clock that counts its readings.
type counted struct {
	clock.Real
	readings atomic.Int64
}

func (c *counted) Now() clock.Instant {
	c.readings.Add(1)
	return c.Real.Now()
}

func TestR1_NoLockNoClock(t *testing.T) {
	// A read of a usable token neither takes the lock nor looks at the clock; CheckOnRead costs one reading a read.
	for _, checkOnRead := range []bool{false, true} {
		t.Run(fmt.Sprintf("CheckOnRead=%v", checkOnRead), func(t *testing.T) {
			const reads = 100
			clk := &counted{}
			ts := open(t, scriptOf(gives(time.Hour)), Config{Clock: clk, WatchEvery: -1, CheckOnRead: checkOnRead})
			must(t, ts)
			before := clk.readings.Load()
			ts.mu.Lock() // a reader that wants it stands still
			var done atomic.Bool
			go func() {
				for range reads {
					if _, err := ts.Token(context.Background()); err != nil {
						return
					}
				}
				done.Store(true)
			}()
			for i := 0; i < 1_000_000 && !done.Load(); i++ {
				runtime.Gosched()
			}
			stood := !done.Load()
			ts.mu.Unlock()
			require.False(t, stood, "the reader waited for the lock")
			want := 0
			if checkOnRead {
				want = reads
			}
			assert.EqualValues(t, want, clk.readings.Load()-before, "readings of the clock")
		})
	}
}

func TestR2_WithdrawnAtTheDeadline(t *testing.T) {
	// A token leaves service at its life less the leeway, counted from the start of the request, to the nanosecond.
	for _, c := range []struct {
		name         string
		life, leeway time.Duration
		want         time.Duration
	}{
		{"a twentieth", 100 * time.Second, 0, 95 * time.Second},
		{"at most 10 s", time.Hour, 0, time.Hour - 10*time.Second},
		{"at least 100 ms", time.Second, 0, 900 * time.Millisecond},
		{"less for shorter lives", 500 * time.Millisecond, 0, 475 * time.Millisecond},
		{"configured", time.Hour, time.Minute, 59 * time.Minute},
		{"never more than half the life", time.Minute, time.Hour, 30 * time.Second},
		{"none", time.Minute, -1, time.Minute},
	} {
		for _, checkOnRead := range []bool{false, true} {
			bubble(t, fmt.Sprintf("%s/CheckOnRead=%v", c.name, checkOnRead), func(t *testing.T) {
				const latency = 20 * time.Millisecond
				s := scriptOf(slow(latency, gives(c.life)))
				ts := open(t, s, Config{Leeway: c.leeway, ReissueEvery: -1, CheckOnRead: checkOnRead})
				first := must(t, ts)
				time.Sleep(c.want - latency - 1)
				assert.Same(t, first, must(t, ts), "a nanosecond before the deadline")
				time.Sleep(time.Nanosecond)
				synctest.Wait()
				assert.NotSame(t, first, must(t, ts), "at the deadline")
			})
		}
	}
}

func TestR2_DeadlineOfExpiry(t *testing.T) {
	// A token that has only an Expiry leaves service in time too, and keeps its Expiry as issued.
	synctest.Test(t, func(t *testing.T) {
		expiry := time.Now().Add(100 * time.Second)
		ts := open(t, scriptOf(returns(&Token{Value: NewSecret("a"), Expiry: expiry}, nil), gives(time.Hour)), Config{ReissueEvery: -1})
		first := must(t, ts)
		assert.Equal(t, expiry, first.Expiry)
		time.Sleep(95*time.Second - 1)
		assert.Same(t, first, must(t, ts))
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		assert.NotSame(t, first, must(t, ts))
	})
}

func TestR2_RejectedIsNotReturned(t *testing.T) {
	// From the moment of a Reject no reader gets the rejected token, also while its replacement is on the way.
	for _, checkOnRead := range []bool{false, true} {
		bubble(t, fmt.Sprintf("CheckOnRead=%v", checkOnRead), func(t *testing.T) {
			s := scriptOf(gives(time.Hour), slow(time.Second, gives(time.Hour)))
			ts := open(t, s, Config{CheckOnRead: checkOnRead})
			bad := must(t, ts)
			rejecter := ask(func() (*Token, error) { return ts.Reject(t.Context(), bad) })
			synctest.Wait()
			reader := ask(func() (*Token, error) { return ts.Token(t.Context()) })
			time.Sleep(time.Second)
			require.True(t, reader.done() && rejecter.done())
			require.NoError(t, reader.err)
			assert.EqualValues(t, 2, reader.tok.Generation())
			assert.Same(t, reader.tok, rejecter.tok)
		})
	}
}

func TestR2_RejectedDuringAFlight(t *testing.T) {
	// A token that is rejected while its scheduled replacement is on the way is not served again (aws: Invalidate during a flight).
	synctest.Test(t, func(t *testing.T) {
		s := scriptOf(gives(time.Hour), slow(10*time.Second, gives(time.Hour)))
		ts := open(t, s, Config{ReissueEvery: 10 * time.Minute, Rand: same(1)})
		bad := must(t, ts)
		time.Sleep(10*time.Minute + time.Second)
		require.Equal(t, 2, s.count(), "the reissue is in flight")
		rejecter := ask(func() (*Token, error) { return ts.Reject(t.Context(), bad) })
		require.False(t, rejecter.done())
		reader := ask(func() (*Token, error) { return ts.Token(t.Context()) })
		require.False(t, reader.done(), "the rejected token is not served meanwhile")
		time.Sleep(10 * time.Second)
		require.True(t, rejecter.done() && reader.done())
		require.NoError(t, rejecter.err)
		assert.EqualValues(t, 2, rejecter.tok.Generation())
		assert.Same(t, rejecter.tok, reader.tok)
		assert.Equal(t, 2, s.count(), "the Reject joined the flight")
	})
}

func TestR3_NothingBlocksAReader(t *testing.T) {
	// While a usable token exists every read returns at once, whatever becomes of its reissue.
	const life = time.Hour
	for _, c := range []struct {
		name  string
		reply reply
	}{
		{"in flight", slow(20*time.Second, gives(life))},
		{"failing", fails(Transient)},
		{"refused", fails(Refused)},
		{"throttled", fails(Throttled)},
		{"invalid", fails(Invalid)},
		{"hung", slow(10*time.Hour, gives(life))},
		{"deaf", deaf(10*time.Hour, gives(life))},
		{"panicking", func(context.Context, int) (*Token, error) { panic("at the reissue") }},
		{"exiting", func(context.Context, int) (*Token, error) { runtime.Goexit(); return nil, nil }},
		{"nothing", returns(nil, nil)},
	} {
		for _, cfg := range []Config{{}, {CheckOnRead: true}, {IdleAfter: 3 * time.Hour}} {
			bubble(t, fmt.Sprintf("%s/CheckOnRead=%v/IdleAfter=%v", c.name, cfg.CheckOnRead, cfg.IdleAfter), func(t *testing.T) {
				s := scriptOf(gives(life), c.reply)
				ts := open(t, s, cfg)
				must(t, ts)
				for end := time.Now().Add(life - 11*time.Second); time.Now().Before(end); time.Sleep(7 * time.Second) {
					before := time.Now()
					must(t, ts)
					require.Equal(t, before, time.Now(), "the reader was held up")
				}
				assert.Greater(t, s.count(), 1, "a reissue was tried")
			})
		}
	}
}

func TestR3_LateTokenServesThoseWhoWait(t *testing.T) {
	// A caller that waits for the next attempt gets a token that turns up before it, and the attempt is not made.
	for _, c := range []struct {
		name   string
		script *script
		calls  int
	}{
		{"through back-off", scriptOf(deaf(31*time.Second, gives(time.Hour)), fails(Throttled)), 2},
		{"with too many hung calls", scriptOf(deaf(151*time.Second, gives(time.Hour)), deaf(10*time.Minute, fails(Transient))), 4},
	} {
		bubble(t, c.name, func(t *testing.T) {
			ts := open(t, c.script, Config{})
			tok, err := ts.Wait(t.Context())
			require.NoError(t, err)
			assert.Equal(t, "token-1", tok.Value.Reveal(), "it came late")
			assert.Contains(t, []time.Duration{31 * time.Second, 151 * time.Second}, time.Since(c.script.call(1).at), "at once")
			time.Sleep(10 * time.Second)
			assert.Equal(t, c.calls, c.script.count(), "an attempt that nobody needs")
			assert.Same(t, tok, must(t, ts))
		})
	}
}

func TestR4_WaitsForTheFlight(t *testing.T) {
	// Without a usable token a reader waits for the flight that runs.
	synctest.Test(t, func(t *testing.T) {
		s := scriptOf(slow(3*time.Second, gives(time.Hour)))
		ts := open(t, s, Config{})
		first := ask(func() (*Token, error) { return ts.Token(t.Context()) })
		time.Sleep(time.Second)
		second := ask(func() (*Token, error) { return ts.Token(t.Context()) })
		time.Sleep(time.Minute)
		require.True(t, first.done() && second.done())
		require.NoError(t, first.err)
		require.NoError(t, second.err)
		assert.Same(t, first.tok, second.tok)
		assert.Equal(t, 2*time.Second, second.took)
		assert.Equal(t, 1, s.count())
	})
}

func TestR4_WaitsForTheNextFlight(t *testing.T) {
	// Without a usable token a reader waits for the next attempt when that starts within the flight timeout and within its ctx.
	for _, c := range []struct {
		name       string
		retryAfter time.Duration
		patience   time.Duration // of the reader's ctx; 0: none
		waits      bool
	}{
		{"starts soon", 29 * time.Second, 0, true},
		{"starts after the flight timeout", 31 * time.Second, 0, false},
		{"ctx lasts", 10 * time.Second, 11 * time.Second, true},
		{"ctx ends before", 10 * time.Second, 9 * time.Second, false},
	} {
		bubble(t, c.name, func(t *testing.T) {
			refused := &IssueError{Source: "script", Kind: Throttled, Status: 429, RetryAfter: c.retryAfter}
			s := scriptOf(failsWith(refused), gives(time.Hour))
			ts := open(t, s, Config{})
			_, err := ts.Token(t.Context())
			next := time.Now().Add(c.retryAfter)
			assert.Equal(t, next, issueErrorIn(t, err).NextAttempt.Local(), "the one who started the flight")

			ctx := t.Context()
			if c.patience > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, c.patience)
				defer cancel()
			}
			began := time.Now()
			tok, err := ts.Token(ctx)
			if c.waits {
				require.NoError(t, err)
				assert.EqualValues(t, 1, tok.Generation())
				assert.Equal(t, next, time.Now())
				assert.Equal(t, 2, s.count())
				return
			}
			assert.Equal(t, began, time.Now(), "it fails at once")
			ie := issueErrorIn(t, err)
			assert.Equal(t, 429, ie.Status)
			assert.Equal(t, next, ie.NextAttempt.Local())
			assert.Equal(t, 1, s.count(), "a later caller starts none")
		})
	}
}

func TestR4_FailsAtOnce(t *testing.T) {
	// Where no attempt can start soon a reader fails at once, with the reason and the time of the next attempt.
	began := func() time.Time { return time.Now() }
	for _, c := range []struct {
		name   string
		open   func(t *testing.T) *TokenSource
		reason error
		next   time.Duration // from now; 0: none is named
	}{
		{"paced", func(t *testing.T) *TokenSource {
			m := manage(t, Config{Rate: budget.Rate{PerSecond: 0.01, Burst: 1}, Endpoint: "issuer"})
			must(t, adopt(t, m, "a", scriptOf(gives(time.Hour)), Config{}))
			return adopt(t, m, "b", scriptOf(gives(time.Hour)), Config{})
		}, errPaused.Err, 100 * time.Second},
		{"budget spent", func(t *testing.T) *TokenSource {
			b := &budget.Budget{Units: 1, Window: time.Hour}
			ts := open(t, scriptOf(fails(Refused)), Config{Budget: b})
			_, err := ts.Token(t.Context())
			require.Error(t, err)
			_, err = ts.Token(t.Context()) // waits for the second attempt, which spends the unit
			require.Error(t, err)
			return ts
		}, ErrBudgetSpent, time.Hour},
		{"refused for good", func(t *testing.T) *TokenSource {
			ts := open(t, scriptOf(failsWith(forGood)), Config{})
			_, err := ts.Token(t.Context())
			require.Error(t, err)
			return ts
		}, nil, 10 * time.Minute},
		{"hung", func(t *testing.T) *TokenSource {
			ts := open(t, scriptOf(deaf(time.Hour, gives(time.Hour))), Config{})
			_, err := ts.Token(t.Context())
			require.Error(t, err)
			time.Sleep(3 * time.Minute)
			return ts
		}, ErrHung, 0},
		{"needs a person", func(t *testing.T) *TokenSource {
			s := scriptOf(gives(time.Hour))
			s.traits.Interactive = true
			return open(t, s, Config{})
		}, ErrInteractionRequired, 0},
		{"closed", func(t *testing.T) *TokenSource {
			ts := open(t, scriptOf(gives(time.Hour)), Config{})
			_ = ts.Close(t.Context())
			return ts
		}, ErrClosed, 0},
	} {
		bubble(t, c.name, func(t *testing.T) {
			ts := c.open(t)
			calls := ts.Status().Issues
			now := began()
			_, err := ts.Token(t.Context())
			require.Error(t, err)
			assert.Equal(t, now, time.Now(), "at once")
			assert.Equal(t, calls, ts.Status().Issues, "no attempt")
			if c.reason != nil {
				assert.ErrorIs(t, err, c.reason)
			}
			var next time.Time
			if ie, ok := errors.AsType[*IssueError](err); ok {
				next = ie.NextAttempt
			}
			if be, ok := errors.AsType[*BudgetError](err); ok {
				next = be.RetryAt
			}
			if c.next != 0 {
				assert.WithinDuration(t, now.Add(c.next), next, 0)
			}
		})
	}
}

func TestR4_WokenWhenTheNextFlightMovesAway(t *testing.T) {
	// A reader that waits for an attempt hears at once, at the latest at that attempt's time, that it was put off beyond its patience.
	synctest.Test(t, func(t *testing.T) {
		m := manage(t, Config{Endpoint: "issuer", Account: "a", Rand: same(0.5)})
		fast, slowed := scriptOf(fails(Transient)), scriptOf(failsWith(&IssueError{Kind: Throttled, Status: 429, RetryAfter: time.Minute}))
		a, b := adopt(t, m, "a", fast, Config{}), adopt(t, m, "b", slowed, Config{})
		_, err := a.Token(t.Context())
		require.Error(t, err)
		reader := ask(func() (*Token, error) { return a.Token(t.Context()) })
		require.False(t, reader.done(), "it waits for the next attempt")
		_, err = b.Token(t.Context())
		require.Error(t, err)
		calls := fast.count()
		time.Sleep(time.Second)
		require.True(t, reader.done(), "it was not told")
		assert.WithinDuration(t, time.Now().Add(59*time.Second), issueErrorIn(t, reader.err).NextAttempt, 0)
		assert.Equal(t, calls, fast.count())
	})
}

func TestR4_CtxEndsOnlyItsOwnWait(t *testing.T) {
	// A reader whose ctx ends leaves, with its cause and the last failure; the others and the flight stay.
	why := errors.New("the user went away")
	synctest.Test(t, func(t *testing.T) {
		s := scriptOf(slow(5*time.Second, gives(time.Hour)))
		ts := open(t, s, Config{})
		ctx, cancel := context.WithCancelCause(t.Context())
		leaves := ask(func() (*Token, error) { return ts.Token(ctx) })
		stays := ask(func() (*Token, error) { return ts.Token(t.Context()) })
		time.Sleep(time.Second)
		cancel(why)
		require.True(t, leaves.done())
		assert.ErrorIs(t, leaves.err, context.Canceled)
		assert.ErrorIs(t, leaves.err, why)
		assert.False(t, stays.done())
		time.Sleep(4 * time.Second)
		require.True(t, stays.done())
		assert.NoError(t, stays.err)
		assert.Equal(t, 1, s.count())
	})
}

func TestR4_CtxEndsTheWaitForTheNextFlight(t *testing.T) {
	// A reader whose ctx is cancelled while it waits for the next attempt leaves with its cause and the last failure.
	synctest.Test(t, func(t *testing.T) {
		ts := open(t, scriptOf(fails(Throttled)), Config{})
		_, err := ts.Token(t.Context())
		require.Error(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		leaves := ask(func() (*Token, error) { return ts.Token(ctx) })
		time.Sleep(time.Second)
		require.False(t, leaves.done())
		cancel()
		require.True(t, leaves.done())
		assert.ErrorIs(t, leaves.err, context.Canceled)
		assert.Equal(t, Throttled, issueErrorIn(t, leaves.err).Kind)
	})
}

func TestR4_PacedIsATimerNotAGoroutine(t *testing.T) {
	// Reissues that wait for their place at the pacer hold no goroutine.
	synctest.Test(t, func(t *testing.T) {
		m := manage(t, Config{Rate: budget.Rate{PerSecond: 1, Burst: 50}, Endpoint: "issuer", Rand: same(0.5)})
		var scripts []*script
		for i := range 50 {
			s := scriptOf(gives(time.Hour))
			must(t, adopt(t, m, fmt.Sprint(i), s, Config{}))
			scripts = append(scripts, s)
		}
		reissued := func() (n int) {
			for _, s := range scripts {
				n += s.count() - 1
			}
			return n
		}
		synctest.Wait()
		before := runtime.NumGoroutine()
		// All want their reissue at 0.7 of the life; 20 urgent flights of another come first.
		time.Sleep(42*time.Minute - time.Millisecond)
		l := m.hub.lanes[laneKey{endpoint: endpointKey{name: "issuer"}}]
		for range 45 {
			l.endpoint.pacer.Urgent(clock.Real{}.Now().Mono)
		}
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		assert.LessOrEqual(t, reissued(), 6)
		assert.Less(t, runtime.NumGoroutine(), before+10, "44 wait for their place")
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		assert.Equal(t, 50, reissued())
	})
}

func TestR5_WaitsThroughBackOff(t *testing.T) {
	// Wait waits through back-off, pacing and a spent budget, until there is a token.
	for _, c := range []struct {
		name    string
		replies []reply
	}{
		{"transient", append(times(20, fails(Transient)), gives(time.Hour))},
		{"throttled", []reply{failsWith(&IssueError{Kind: Throttled, RetryAfter: 59 * time.Minute}), gives(time.Hour)}},
		{"refused until the budget is spent", append(times(7, fails(Refused)), gives(time.Hour))},
		{"panicking", append(times(3, func(context.Context, int) (*Token, error) { panic(1) }), gives(time.Hour))},
	} {
		bubble(t, c.name, func(t *testing.T) {
			s := scriptOf(c.replies...)
			ts := open(t, s, Config{})
			tok, err := ts.Wait(t.Context())
			require.NoError(t, err)
			assert.EqualValues(t, 1, tok.Generation())
			assert.Equal(t, len(c.replies), s.count())
		})
	}
}

func TestR5_ReturnsTheLastCauseWithTheCtxError(t *testing.T) {
	// When ctx ends, Wait returns its error, its cause and why the last attempt failed.
	why := errors.New("start-up took too long")
	synctest.Test(t, func(t *testing.T) {
		s := scriptOf(append(times(5, fails(Transient)), failsWith(&IssueError{Kind: Transient, Status: 502, Host: "issuer.example"}))...)
		ts := open(t, s, Config{})
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, why)
		defer cancel()
		began := time.Now()
		_, err := ts.Wait(ctx)
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.ErrorIs(t, err, why)
		assert.Equal(t, 502, issueErrorIn(t, err).Status)
		assert.Equal(t, time.Minute, time.Since(began))
	})
}

func TestR5_EndsAtOnce(t *testing.T) {
	// A refusal for good, a wrong configuration, the need for a person, or Close ends Wait at once.
	for _, c := range []struct {
		name string
		err  error
		want error
	}{
		{"refused for good", forGood, nil},
		{"invalid", &IssueError{Kind: Invalid}, nil},
		{"bad configuration", &ConfigError{Field: "Client.Secret", Reason: "is empty"}, nil},
		{"a person", ErrInteractionRequired, ErrInteractionRequired},
	} {
		bubble(t, c.name, func(t *testing.T) {
			s := scriptOf(failsWith(c.err))
			ts := open(t, s, Config{})
			for range 2 { // the one that finds out, and the one that comes later
				began := time.Now()
				_, err := ts.Wait(t.Context())
				require.Error(t, err)
				if c.want != nil {
					assert.ErrorIs(t, err, c.want)
				}
				assert.Equal(t, began, time.Now())
				assert.Equal(t, 1, s.count())
			}
		})
	}
	for _, c := range []struct {
		name string
		s    *script
	}{
		{"closed in flight", scriptOf(slow(20*time.Second, gives(time.Hour)))},
		{"closed in back-off", scriptOf(failsWith(&IssueError{Kind: Throttled, RetryAfter: time.Hour}))},
	} {
		bubble(t, c.name, func(t *testing.T) {
			ts := open(t, c.s, Config{})
			waiter := ask(func() (*Token, error) { return ts.Wait(t.Context()) })
			time.Sleep(10 * time.Second)
			require.False(t, waiter.done())
			_ = ts.Close(t.Context())
			require.True(t, waiter.done())
			assert.ErrorIs(t, waiter.err, ErrClosed)
		})
	}
}

func TestR4_ManyReadersOfAnOutage(t *testing.T) {
	// Readers do not make attempts: 60 of them through an outage cause no more calls than none would (azcore: 60 serial calls).
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		s := scriptOf(func(ctx context.Context, n int) (*Token, error) {
			if time.Since(began) < time.Minute {
				return slow(10*time.Millisecond, failsWith(faultDial))(ctx, n)
			}
			return gives(time.Hour)(ctx, n)
		})
		ts := open(t, s, Config{Rand: seeded(1)})
		var wg sync.WaitGroup
		for range 60 {
			wg.Go(func() {
				for {
					if _, err := ts.Token(t.Context()); err == nil {
						return
					}
					time.Sleep(100 * time.Millisecond)
				}
			})
		}
		wg.Wait()
		assert.LessOrEqual(t, s.count(), 18)
		assert.Less(t, time.Since(began), 96*time.Second)
	})
}
