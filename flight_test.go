package renew

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-f29168f7/renew/budget"
)

func TestR6_OneFlightForAll(t *testing.T) {
	// Readers, rejecters and the timer share one flight.
	synctest.Test(t, func(t *testing.T) {
		s := scriptOf(slow(time.Second, gives(time.Hour)))
		ts := open(t, s, Config{ReissueEvery: 10 * time.Minute, Rand: same(1)})
		var wg sync.WaitGroup
		everybody := func(f func() (*Token, error)) {
			for range 300 {
				wg.Go(func() {
					_, err := f()
					assert.NoError(t, err)
				})
			}
		}
		everybody(func() (*Token, error) { return ts.Token(t.Context()) })
		everybody(func() (*Token, error) { return ts.Wait(t.Context()) })
		wg.Wait()
		require.Equal(t, 1, s.count())

		bad := must(t, ts)
		time.Sleep(10*time.Minute - time.Second) // since the start of the request: the timer is due
		everybody(func() (*Token, error) { return ts.Reject(t.Context(), bad) })
		everybody(func() (*Token, error) { return ts.Token(t.Context()) })
		wg.Wait()
		assert.Equal(t, 2, s.count())
		assert.EqualValues(t, 2, must(t, ts).Generation())
	})
}

func TestR6_NoCallJoinsAnEndingFlight(t *testing.T) {
	// A call that comes while a flight ends gets that flight's outcome or one of its own, and never one that is over.
	s := scriptOf(gives(time.Hour))
	ts := open(t, s, Config{Budget: &budget.Budget{Units: 1 << 30}, Rate: budget.Rate{PerSecond: -1}})
	const rounds = 400
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			tok, err := ts.Token(context.Background())
			for range rounds {
				if !assert.NoError(t, err) {
					return
				}
				var next *Token
				next, err = ts.Reject(context.Background(), tok)
				if !assert.NoError(t, err) || !assert.Greater(t, next.Generation(), tok.Generation()) {
					return
				}
				tok = next
			}
		})
	}
	wg.Wait()
	assert.EqualValues(t, s.count(), ts.Status().Generation, "one call a generation")
}

func TestR7_NoCallerReachesTheFlight(t *testing.T) {
	// No caller's cancel, deadline or value reaches the Source; the flight goes on when nobody waits any more.
	type key struct{}
	synctest.Test(t, func(t *testing.T) {
		s := scriptOf(slow(10*time.Second, gives(time.Hour)))
		ts := open(t, s, Config{})
		ctx, cancel := context.WithTimeout(context.WithValue(t.Context(), key{}, "of the caller"), time.Second)
		defer cancel()
		_, err := ts.Token(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		its := s.call(1).ctx
		assert.Nil(t, its.Value(key{}))
		time.Sleep(9*time.Second - 1)
		assert.NoError(t, its.Err())
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		assert.EqualValues(t, 1, must(t, ts).Generation())
		assert.Equal(t, 1, s.count())
	})
}

func TestR7_Timeout(t *testing.T) {
	// A flight lasts at most 30 s, or as the Source states, or as the Config says.
	for _, c := range []struct {
		name          string
		trait, config time.Duration
		want          time.Duration
	}{
		{"default", 0, 0, 30 * time.Second},
		{"the Source's own", 5 * time.Minute, 0, 5 * time.Minute},
		{"the Config's", 5 * time.Minute, time.Second, time.Second},
	} {
		bubble(t, c.name, func(t *testing.T) {
			s := scriptOf(slow(time.Hour, gives(time.Hour)))
			s.traits.Timeout = c.trait
			ts := open(t, s, Config{FlightTimeout: c.config})
			began := time.Now()
			_, err := ts.Token(t.Context())
			assert.Equal(t, c.want, time.Since(began))
			assert.ErrorIs(t, err, errFlightTimeout)
			assert.ErrorIs(t, context.Cause(s.call(1).ctx), errFlightTimeout)
			assert.Equal(t, 1, s.count())
		})
	}
}

func TestR7_TimeoutBoundsRetries(t *testing.T) {
	// The retries of a flight are within its timeout: none is started that would come after it.
	synctest.Test(t, func(t *testing.T) {
		s := scriptOf(slow(600*time.Millisecond, fails(Transient)))
		ts := open(t, s, Config{FlightTimeout: time.Second, Rand: same(0.5)})
		began := time.Now()
		_, err := ts.Token(t.Context())
		require.Error(t, err)
		assert.Equal(t, time.Second, time.Since(began))
		assert.Equal(t, 2, s.count())
	})
}

func TestR7_InteractiveIssue(t *testing.T) {
	// An Issue that needs a person is started by a caller alone, and only where the Config allows it; never twice in a flight, never by a timer.
	person := Traits{Interactive: true}
	t.Run("not allowed", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := scriptOf(gives(time.Hour))
			s.traits = person
			ts := open(t, s, Config{})
			for _, f := range []func(context.Context) (*Token, error){ts.Token, ts.Wait} {
				_, err := f(t.Context())
				assert.ErrorIs(t, err, ErrInteractionRequired)
			}
			ts.Reset()
			time.Sleep(6 * time.Hour)
			assert.Zero(t, s.count())
		})
	})
	t.Run("no timer", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := scriptOf(gives(time.Hour))
			s.traits = person
			ts := open(t, s, Config{Interactive: true})
			must(t, ts)
			time.Sleep(6 * time.Hour)
			ts.Reset()
			time.Sleep(6 * time.Hour)
			assert.Equal(t, 1, s.count(), "neither schedule, nor deadline, nor Reset")
			must(t, ts)
			assert.Equal(t, 2, s.count(), "a caller")
		})
	})
	t.Run("never twice", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := scriptOf(fails(Transient))
			s.traits = person
			ts := open(t, s, Config{Interactive: true})
			_, err := ts.Token(t.Context())
			require.Error(t, err)
			time.Sleep(6 * time.Hour)
			assert.Equal(t, 1, s.count())
		})
	})
	t.Run("Reissue is scheduled", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := reissuing{scriptOf(gives(time.Hour)), []reply{gives(time.Hour)}}
			s.traits = person
			ts := open(t, s, Config{Interactive: true})
			first := must(t, ts)
			time.Sleep(6 * time.Hour)
			assert.Regexp(t, "^IR{7,10}$", s.steps())
			assert.Same(t, first, s.call(2).live)
		})
	})
	for _, c := range []struct {
		name    string
		reissue reply
		allowed bool
		want    string // calls within the life of the token
	}{
		{"no fallback after a refusal", fails(Refused), true, "IR"},
		{"no fallback after a refusal, not allowed", fails(Refused), false, "IR"},
		{"no fallback after what the Source calls final", fails(Invalid), true, "IR"},
		{"no retry as Issue", fails(Transient), true, "IRR+"},
		{"the Source says so itself", failsWith(ErrInteractionRequired), true, "IR"},
	} {
		bubble(t, c.name, func(t *testing.T) {
			s := reissuing{scriptOf(givesRefresh(time.Hour)), []reply{c.reissue}}
			ts := open(t, s, Config{Interactive: c.allowed})
			must(t, ts)
			ts.can |= needsPerson // from now on: the first Issue had to be allowed
			time.Sleep(6 * time.Hour)
			assert.Regexp(t, "^"+c.want+"$", s.steps())
			calls := s.count()
			_, err := ts.Token(t.Context())
			if !c.allowed {
				assert.ErrorIs(t, err, ErrInteractionRequired)
				assert.Equal(t, calls, s.count())
			}
		})
	}
}

func TestR7_SourceThatNeedsAPerson(t *testing.T) {
	// A Source that says only in Issue that a person is needed is not asked again by a timer; its Reissue's own fault is what is told.
	synctest.Test(t, func(t *testing.T) {
		s := reissuing{scriptOf(givesRefresh(time.Hour), failsWith(ErrInteractionRequired)), []reply{fails(Refused)}}
		ts := open(t, s, Config{})
		must(t, ts)
		time.Sleep(24 * time.Hour)
		assert.Equal(t, "IRI", s.steps())
		_, err := ts.Token(t.Context())
		assert.Equal(t, Refused, issueErrorIn(t, err).Kind)
		assert.Equal(t, StateLoginRequired, ts.Status().State)
	})
}

func TestR8_DeafSourceCostsTheTimeout(t *testing.T) {
	// A Source that ignores its ctx costs its waiters the timeout and no more (aws: one hung call blocks all for ever).
	synctest.Test(t, func(t *testing.T) {
		s := scriptOf(deaf(time.Hour, gives(time.Hour)), gives(time.Hour))
		ts := open(t, s, Config{Rand: same(0.5)})
		waiter := ask(func() (*Token, error) { return ts.Token(t.Context()) })
		time.Sleep(30 * time.Second)
		require.True(t, waiter.done())
		assert.ErrorIs(t, waiter.err, errFlightTimeout)
		assert.Equal(t, 1, ts.Status().Abandoned)
		assert.EqualValues(t, 1, must(t, ts).Generation(), "the next attempt is a new call")
	})
}

func TestR8_FourAbandonedCalls(t *testing.T) {
	// With 4 abandoned calls no flight starts (ErrHung), until one returns; then the timer goes on.
	synctest.Test(t, func(t *testing.T) {
		s := scriptOf(append(times(4, deaf(time.Hour, fails(Transient))), gives(time.Hour))...)
		ts := open(t, s, Config{})
		_, err := ts.Token(t.Context())
		require.Error(t, err)
		time.Sleep(50 * time.Minute)
		assert.Equal(t, 4, s.count())
		st := ts.Status()
		assert.Equal(t, 4, st.Abandoned)
		assert.Equal(t, StateHung, st.State)
		_, err = ts.Token(t.Context())
		assert.ErrorIs(t, err, ErrHung)
		assert.ErrorIs(t, err, errFlightTimeout, "and why")
		time.Sleep(11 * time.Minute)
		assert.Equal(t, 5, s.count(), "by timer")
		must(t, ts)
	})
}

func TestR8_ResetAllowsOneMore(t *testing.T) {
	// With 4 abandoned calls each Reset starts one flight more, and not two.
	synctest.Test(t, func(t *testing.T) {
		s := scriptOf(append(times(5, deaf(time.Hour, fails(Transient))), gives(time.Hour))...)
		ts := open(t, s, Config{})
		_, err := ts.Token(t.Context())
		require.Error(t, err)
		time.Sleep(10 * time.Minute)
		require.Equal(t, 4, s.count())
		ts.Reset()
		time.Sleep(10 * time.Minute)
		assert.Equal(t, 5, s.count())
		assert.Equal(t, 5, ts.Status().Abandoned)
		_, err = ts.Token(t.Context())
		assert.ErrorIs(t, err, ErrHung)
		ts.Reset()
		synctest.Wait()
		assert.Equal(t, 6, s.count())
		must(t, ts)
	})
}

func TestR8_LateResult(t *testing.T) {
	// A late result is taken only when nothing usable is published (cloud.google.com/go/auth: it replaces a newer token).
	t.Run("nothing usable", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := scriptOf(deaf(time.Minute, gives(time.Hour)), slow(10*time.Minute, gives(time.Hour)))
			ts := open(t, s, Config{})
			_, err := ts.Token(t.Context())
			require.Error(t, err)
			time.Sleep(30 * time.Second)
			synctest.Wait()
			assert.Equal(t, "token-1", must(t, ts).Value.Reveal())
			assert.EqualValues(t, 1, ts.Status().Generation)
			assert.Zero(t, ts.Status().Abandoned)
		})
	})
	t.Run("a newer token is published", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := scriptOf(deaf(time.Minute, gives(time.Hour)), gives(time.Hour))
			ts := open(t, s, Config{})
			_, err := ts.Token(t.Context())
			require.Error(t, err)
			must(t, ts)
			time.Sleep(time.Minute)
			synctest.Wait()
			assert.Equal(t, "token-2", must(t, ts).Value.Reveal())
			assert.EqualValues(t, 1, ts.Status().Generation)
		})
	})
	t.Run("past its deadline", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := scriptOf(deaf(time.Minute, gives(59*time.Second)), fails(Throttled))
			ts := open(t, s, Config{})
			_, err := ts.Token(t.Context())
			require.Error(t, err)
			time.Sleep(31 * time.Second)
			assert.Zero(t, ts.Status().Generation)
		})
	})
	t.Run("the rejected token once more", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			again := returns(&Token{Value: NewSecret("a"), Life: time.Hour}, nil)
			s := scriptOf(returns(&Token{Value: NewSecret("old"), Life: time.Hour}, nil), deaf(20*time.Minute, again), again, fails(Throttled))
			ts := open(t, s, Config{ReissueEvery: 30 * time.Minute, Rand: same(1)})
			must(t, ts)
			time.Sleep(40 * time.Minute)
			bad := must(t, ts)
			require.Equal(t, "a", bad.Value.Reveal(), "the flight after the hung one has it")
			_, err := ts.Reject(t.Context(), bad)
			require.Error(t, err)
			time.Sleep(12 * time.Minute)
			if tok := ts.cur.Load(); tok != nil {
				assert.NotEqual(t, "a", tok.Value.Reveal(), "the late call brought what a server refused")
			}
		})
	})
}

func TestR9_ThreeTriesInTheFirstFlight(t *testing.T) {
	// The first flight after New, Reset or a success tries a transient fault again, 3 tries in all, with the pauses of R13; later flights try once.
	synctest.Test(t, func(t *testing.T) {
		s := scriptOf(fails(Transient))
		ts := open(t, s, Config{Rand: same(0.5)})
		_, err := ts.Token(t.Context())
		require.Error(t, err)
		require.Equal(t, 3, s.count(), "after New")
		assert.Equal(t, []time.Duration{200 * time.Millisecond, 220 * time.Millisecond}, s.pauses())
		_, err = ts.Token(t.Context())
		require.Error(t, err)
		require.Equal(t, 4, s.count(), "a later flight")
		assert.Equal(t, 242*time.Millisecond, s.pauses()[2], "the pauses go on where the flight left them")
		ts.Reset()
		_, err = ts.Token(t.Context())
		require.Error(t, err)
		assert.Equal(t, 7, s.count(), "after Reset")
	})
	synctest.Test(t, func(t *testing.T) {
		var failing atomic.Bool
		s := scriptOf(gives(time.Minute), fails(Transient), fails(Transient), gives(time.Hour))
		ts := open(t, s, Config{Hooks: Hooks{Changed: func(c Change) {
			if c.To == StateFailing {
				failing.Store(true)
			}
		}}})
		must(t, ts)
		time.Sleep(time.Minute)
		assert.Equal(t, 4, s.count(), "after a success")
		assert.EqualValues(t, 2, ts.Status().Generation)
		assert.False(t, failing.Load(), "it was one flight")
	})
}

func TestR9_OneResetIsLatencyAndNoError(t *testing.T) {
	// One fault on the way is latency for those who wait, and not an error.
	synctest.Test(t, func(t *testing.T) {
		ts := open(t, scriptOf(failsWith(faultReset), gives(time.Hour)), Config{})
		began := time.Now()
		must(t, ts)
		assert.InDelta(t, 200*time.Millisecond, time.Since(began), float64(40*time.Millisecond))
	})
}

func TestR9_OnlyTransientFaultsAreTriedAgain(t *testing.T) {
	// Within a flight only transient faults are tried again.
	for _, kind := range []Kind{Throttled, Refused, Invalid} {
		bubble(t, kind.String(), func(t *testing.T) {
			s := scriptOf(fails(kind))
			ts := open(t, s, Config{})
			_, err := ts.Token(t.Context())
			assert.Equal(t, kind, issueErrorIn(t, err).Kind)
			assert.Equal(t, 1, s.count())
		})
	}
}

func TestR9_AFailedFlightFailsAll(t *testing.T) {
	// A failed flight fails all who waited for it, and is remembered: a later caller starts none.
	synctest.Test(t, func(t *testing.T) {
		s := scriptOf(slow(time.Second, fails(Throttled)))
		ts := open(t, s, Config{})
		var all []*asked
		for range 100 {
			all = append(all, ask(func() (*Token, error) { return ts.Token(t.Context()) }))
		}
		time.Sleep(time.Second)
		for _, a := range all {
			require.True(t, a.done())
			require.Error(t, a.err)
			assert.Equal(t, all[0].err, a.err)
		}
		require.Equal(t, 1, s.count())
		for range 100 {
			ask(func() (*Token, error) { return ts.Token(t.Context()) })
		}
		time.Sleep(time.Second)
		assert.Equal(t, 1, s.count())
	})
}

// tardy is a context of a caller that is slow: by the time that it says its
// deadline, all that was under way is over.
type tardy struct{ context.Context }

func (c tardy) Deadline() (time.Time, bool) {
	synctest.Wait()
	return c.Context.Deadline()
}

func TestR9_ARejecterHearsOfItsOwnFlight(t *testing.T) {
	// A Reject gets the outcome of the flight that it started, however soon that failed, and does not wait for a second attempt.
	synctest.Test(t, func(t *testing.T) {
		s := scriptOf(gives(time.Hour), fails(Refused))
		ts := open(t, s, Config{})
		began := time.Now()
		_, err := ts.Reject(tardy{t.Context()}, must(t, ts))
		assert.Equal(t, Refused, issueErrorIn(t, err).Kind)
		assert.Equal(t, began, time.Now())
		assert.Equal(t, 2, s.count())
	})
}

func TestR9_RefreshTokenIsNotSentTwiceInAFlight(t *testing.T) {
	// A Reissue that may have reached the issuer is not sent again with the same refresh token within the flight: it goes on to Issue.
	for _, c := range []struct {
		name    string
		token   reply
		reissue []reply
		want    string
	}{
		{"may have reached", givesRefresh(time.Hour), []reply{failsWith(faultReset)}, "IRI"},
		{"said by the Source", givesRefresh(time.Hour), []reply{fails(Transient)}, "IRI"},
		{"a dial that failed", givesRefresh(time.Hour), []reply{failsWith(faultDial), givesRefresh(time.Hour)}, "IRR"},
		{"a dial that failed, then lost", givesRefresh(time.Hour), []reply{failsWith(faultDial), failsWith(faultReset)}, "IRRI"},
		{"unsent, says the Source", givesRefresh(time.Hour), []reply{failsWith(&IssueError{Unsent: true}), givesRefresh(time.Hour)}, "IRR"},
		{"no refresh token", gives(time.Hour), []reply{failsWith(faultReset), gives(time.Hour)}, "IRR"},
	} {
		bubble(t, c.name, func(t *testing.T) {
			s := reissuing{scriptOf(c.token), c.reissue}
			ts := open(t, s, Config{})
			must(t, ts)
			time.Sleep(58 * time.Minute)
			assert.Equal(t, c.want, s.steps())
			assert.EqualValues(t, 2, ts.Status().Generation)
			assert.Equal(t, 4, ts.Status().BudgetLeft, "no refusal, no unit")
		})
	}
}

func TestR9_IssueFailsToo(t *testing.T) {
	// Once a flight has gone on to Issue, it does not go back to the refresh token.
	synctest.Test(t, func(t *testing.T) {
		s := reissuing{scriptOf(givesRefresh(time.Minute), fails(Transient)), []reply{failsWith(faultReset)}}
		ts := open(t, s, Config{})
		must(t, ts)
		time.Sleep(2 * time.Minute)
		assert.Regexp(t, "^IRII(RI)+$", s.steps(), "three tries in the first flight, then Reissue and Issue in each")
	})
}

func TestR9_InteractiveSendsTheSameRefreshTokenAgain(t *testing.T) {
	// Where Issue needs a person, a Reissue that may have reached the issuer is sent again, with the same refresh token, at the next attempt.
	synctest.Test(t, func(t *testing.T) {
		s := reissuing{scriptOf(givesRefresh(time.Hour)), []reply{failsWith(faultReset), givesRefresh(time.Hour)}}
		s.traits.Interactive = true
		ts := open(t, s, Config{Interactive: true, ReissueEvery: 30 * time.Minute, Rand: same(1)})
		must(t, ts)
		time.Sleep(30 * time.Minute)
		synctest.Wait()
		require.Equal(t, "IR", s.steps())
		st := ts.Status()
		assert.Equal(t, ActionRetry, st.Next, "the flight is over, and another one follows")
		time.Sleep(10 * time.Minute)
		require.Equal(t, "IRR", s.steps())
		assert.True(t, s.call(2).live.Refresh.Equal(s.call(3).live.Refresh))
		assert.EqualValues(t, 2, ts.Status().Generation)
	})
}

// twisted is a script whose other methods can misbehave.
type twisted struct {
	*script
	describe, version, validate func()
}

func run(f func()) {
	if f != nil {
		f()
	}
}

func (s *twisted) Describe() Traits {
	run(s.describe)
	return Traits{InputVersion: func() uint64 { run(s.version); return 1 }}
}

func (s *twisted) Validate() error {
	run(s.validate)
	return nil
}

// mishaps are the ways in which foreign code ends badly.
var mishaps = map[string]func(){
	"panic":      func() { panic("password=hunter2") },
	"panic(nil)": func() { panic(nil) }, //nolint
	"Goexit":     runtime.Goexit,
}

func TestR10_IssueAndReissue(t *testing.T) {
	// A panic or Goexit in Issue or Reissue is an error for the waiters; the next call works (azcore: wedged; aws: the process dies).
	for name, mishap := range mishaps {
		bad := func(context.Context, int) (*Token, error) { mishap(); return nil, nil }
		bubble(t, "Issue/"+name, func(t *testing.T) {
			if name == "panic(nil)" {
				t.Setenv("GODEBUG", "panicnil=1") // as before Go 1.21: recover returns nil
			}
			s := scriptOf(append(times(3, bad), gives(time.Hour))...)
			ts := open(t, s, Config{})
			_, err := ts.Token(t.Context())
			pe, ok := errors.AsType[*PanicError](err)
			require.True(t, ok, "%v", err)
			assert.NotEmpty(t, pe.Error())
			assert.NotContains(t, err.Error(), "hunter2")
			must(t, ts)
			assert.Equal(t, 4, s.count())
		})
		bubble(t, "Reissue/"+name, func(t *testing.T) {
			s := reissuing{scriptOf(givesRefresh(time.Hour)), []reply{bad}}
			ts := open(t, s, Config{})
			first := must(t, ts)
			time.Sleep(50 * time.Minute)
			assert.Equal(t, "IRI", s.steps(), "the refresh token may be spent")
			assert.NotSame(t, first, must(t, ts))
		})
	}
}

// rude is an error whose methods do not return.
type rude struct{ mishap func() }

func (rude) Error() string { return "rude" }

func (r rude) Unwrap() error { r.mishap(); return nil }

func TestR10_MethodsOfAnError(t *testing.T) {
	// A Source's error whose methods panic or exit is an error for the waiters, as if the Source itself had done so; the next call works.
	for name, mishap := range mishaps {
		bubble(t, name, func(t *testing.T) {
			s := scriptOf(append(times(3, failsWith(rude{mishap})), gives(time.Hour))...)
			ts := open(t, s, Config{})
			_, err := ts.Token(t.Context())
			_, ok := errors.AsType[*PanicError](err)
			require.True(t, ok, "%v", err)
			assert.NotContains(t, err.Error(), "hunter2")
			must(t, ts)
			assert.Equal(t, 4, s.count())
		})
	}
}

func TestR10_NewContainsThem(t *testing.T) {
	// A panic in Validate or Describe, while New runs, is an error.
	for name, mishap := range mishaps {
		t.Run(name, func(t *testing.T) {
			for _, src := range []*twisted{{describe: mishap}, {validate: mishap}} {
				var err error
				done := make(chan struct{})
				go func() {
					defer close(done)
					err = errors.New("the goroutine of the caller was lost")
					_, err = New(src, Config{})
				}()
				<-done
				_, ok := errors.AsType[*PanicError](err)
				assert.True(t, ok, "%v", err)
			}
		})
	}
}

func TestR10_DescribeLater(t *testing.T) {
	// A Describe or InputVersion that breaks after New wedges nothing and kills nobody's goroutine.
	for name, mishap := range mishaps {
		for _, where := range []string{"Describe", "InputVersion"} {
			bubble(t, where+"/"+name, func(t *testing.T) {
				s := &twisted{script: scriptOf(deaf(time.Minute, fails(Transient)), failsWith(forGood), gives(time.Hour))}
				ts := open(t, s, Config{})
				if where == "Describe" {
					s.describe = mishap
				} else {
					s.version = mishap
				}
				for _, f := range []func(context.Context) (*Token, error){ts.Token, ts.Token, ts.Token} {
					waiter := ask(func() (*Token, error) { return f(t.Context()) })
					time.Sleep(31 * time.Second)
					require.True(t, waiter.done(), "wedged")
					require.Error(t, waiter.err, "its goroutine was lost")
				}
				s.describe, s.version = nil, nil
				ts.Reset()
				time.Sleep(time.Hour / 2)
				tok, err := ts.Token(t.Context())
				if where == "InputVersion" || err == nil {
					require.NoError(t, err)
					assert.NotNil(t, tok)
				}
			})
		}
	}
}

func TestR10_InputVersionOfARefusal(t *testing.T) {
	// An InputVersion that breaks while a refusal for good is looked at again counts as unchanged: callers hear of the refusal.
	for name, mishap := range mishaps {
		check := func(t *testing.T, s *twisted, ts *TokenSource, f func(context.Context) (*Token, error)) {
			t.Helper()
			calls := s.count()
			s.version = mishap
			caller := ask(func() (*Token, error) { return f(t.Context()) })
			require.True(t, caller.done(), "wedged")
			assert.True(t, issueErrorIn(t, caller.err).Permanent)
			assert.Equal(t, calls, s.count())
			checkTokenSource(t, ts)
		}
		bubble(t, name+"/cold", func(t *testing.T) {
			s := &twisted{script: scriptOf(failsWith(forGood))}
			ts := open(t, s, Config{})
			_, err := ts.Token(t.Context())
			require.Error(t, err)
			check(t, s, ts, ts.Token)
			check(t, s, ts, ts.Wait)
		})
		bubble(t, name+"/Reject", func(t *testing.T) {
			s := &twisted{script: scriptOf(gives(time.Hour), failsWith(forGood))}
			ts := open(t, s, Config{Rand: same(0.5)})
			bad := must(t, ts)
			time.Sleep(45 * time.Minute)
			check(t, s, ts, func(ctx context.Context) (*Token, error) { return ts.Reject(ctx, bad) })
		})
	}
}

func TestR10_Hooks(t *testing.T) {
	// A panic or Goexit in a hook costs at most its own effect: readers, flights, later hooks and Close go on.
	for name, mishap := range mishaps {
		bubble(t, "Changed/"+name, func(t *testing.T) {
			var seen []State
			var mu sync.Mutex
			ts := open(t, scriptOf(gives(time.Hour)), Config{Hooks: Hooks{Changed: func(c Change) {
				mu.Lock()
				seen = append(seen, c.To)
				mu.Unlock()
				mishap()
			}}})
			must(t, ts)
			time.Sleep(6 * time.Hour)
			must(t, ts)
			require.NoError(t, ts.Close(t.Context()))
			mu.Lock()
			defer mu.Unlock()
			assert.Equal(t, []State{StateReady, StateClosed}, seen)
		})
		bubble(t, "Rotated/"+name, func(t *testing.T) {
			broken := true
			s := reissuing{script: scriptOf(givesRefresh(time.Hour))}
			ts := open(t, s, Config{Hooks: Hooks{Rotated: func(context.Context, string, *Token) error {
				if broken {
					mishap()
				}
				return nil
			}}})
			_, err := ts.Token(t.Context())
			pe, ok := errors.AsType[*PanicError](err)
			require.True(t, ok, "%v", err)
			if name == "panic" {
				assert.Equal(t, "string", pe.Type)
			}
			synctest.Wait()
			broken = false
			_, err = ts.Wait(t.Context())
			require.NoError(t, err)
			assert.Equal(t, 1, s.count(), "the token was kept")
		})
	}
}

func TestR11_WhatIsNeverPublished(t *testing.T) {
	// No token, an empty or unsendable one, and one that has expired already: an error, and never published.
	var typed *IssueError
	for _, c := range []struct {
		name string
		tok  *Token
		err  error
	}{
		{"nothing", nil, nil},
		{"a nil error of a type", nil, typed},
		{"empty", &Token{Life: time.Hour}, nil},
		{"line break", &Token{Value: NewSecret("a\r\nX-Admin: 1"), Life: time.Hour}, nil},
		{"not ASCII", &Token{Value: NewSecret("töken"), Life: time.Hour}, nil},
		{"tab", &Token{Value: NewSecret("a\tb"), Life: time.Hour}, nil},
		{"NUL", &Token{Value: NewSecret("a\x00b"), Life: time.Hour}, nil},
		{"space at the end", &Token{Value: NewSecret("a "), Life: time.Hour}, nil},
		{"only a space", &Token{Value: NewSecret(" "), Life: time.Hour}, nil},
		{"a type with a space", &Token{Value: NewSecret("a"), Type: "Bearer b", Life: time.Hour}, nil},
		{"a type with a line break", &Token{Value: NewSecret("a"), Type: "B\nearer", Life: time.Hour}, nil},
		{"negative life", &Token{Value: NewSecret("a"), Life: -1}, nil},
		{"expired", &Token{Value: NewSecret("a"), Expiry: time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC)}, nil},
		{"expired now", &Token{Value: NewSecret("a"), Expiry: time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)}, nil},
		{"an error beside a token", &Token{Value: NewSecret("a"), Life: time.Hour}, errors.New("but")},
	} {
		bubble(t, c.name, func(t *testing.T) {
			s := scriptOf(returns(c.tok, c.err))
			ts := open(t, s, Config{})
			tok, err := ts.Token(t.Context())
			assert.Nil(t, tok)
			require.Error(t, err)
			_, panicked := errors.AsType[*PanicError](err)
			assert.False(t, panicked, "it was looked for, and not run into")
			assert.Zero(t, ts.Status().Generation)
			assert.Nil(t, ts.cur.Load())
		})
	}
	bubble(t, "expired on its way", func(t *testing.T) {
		ts := open(t, scriptOf(slow(9500*time.Millisecond, gives(10*time.Second))), Config{})
		_, err := ts.Token(t.Context())
		assert.Error(t, err)
	})
}

func TestR11_GenerationsGoUp(t *testing.T) {
	// Each new token has the next generation, whichever way it came.
	synctest.Test(t, func(t *testing.T) {
		s := reissuing{scriptOf(givesRefresh(time.Hour)), []reply{givesRefresh(time.Hour), fails(Refused)}}
		ts := open(t, s, Config{})
		last := uint64(0)
		for i := range 20 {
			tok := must(t, ts)
			require.GreaterOrEqual(t, tok.Generation(), last)
			last = tok.Generation()
			if i%5 == 4 {
				_, _ = ts.Reject(t.Context(), tok)
			}
			time.Sleep(30 * time.Minute)
		}
		assert.Greater(t, last, uint64(8))
		assert.Equal(t, strings.Count(s.steps(), "I")+strings.Count(s.steps(), "R")-ofRefused(ts), int(ts.Status().Generation))
	})
}

func ofRefused(ts *TokenSource) int { return int(ts.Status().Refused) }

func TestR11_SameValueIsNoSuccess(t *testing.T) {
	// A Source that returns the token in service again has not succeeded: the generation stays, the next try comes at half of what remains, at least 1 s later.
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		s := scriptOf(func(context.Context, int) (*Token, error) { // as metadata servers do: one token for its whole life
			n := time.Since(began) / time.Hour
			return &Token{Value: NewSecret(fmt.Sprint("of hour ", n)), Expiry: began.Add((n + 1) * time.Hour)}, nil
		})
		ts := open(t, s, Config{Rand: same(0.5)})
		first := must(t, ts)
		time.Sleep(42 * time.Minute) // 0.7 of the life
		synctest.Wait()
		require.Equal(t, 2, s.count())
		assert.Same(t, first, must(t, ts))
		assert.Empty(t, ts.Status().LastError, "no failure either")
		deadline := time.Hour - 10*time.Second
		left := deadline - 42*time.Minute
		for left > 4*time.Second {
			time.Sleep(left/2 - time.Millisecond)
			synctest.Wait()
			calls := s.count()
			time.Sleep(2 * time.Millisecond)
			synctest.Wait()
			require.Equal(t, calls+1, s.count(), "with %v left", left)
			left = deadline - time.Since(began)
		}
		for _, p := range s.pauses() {
			assert.GreaterOrEqual(t, p, time.Second)
		}
		time.Sleep(left + 20*time.Second)
		tok, err := ts.Wait(t.Context())
		require.NoError(t, err)
		assert.EqualValues(t, 2, tok.Generation())
	})
}

func TestR11_SameValueWithAnotherEnd(t *testing.T) {
	// The same value again is no success with a later expiry or a longer life either: generation and deadline stay.
	for name, end := range map[string]func(n int, tok *Token){
		"expiry": func(n int, tok *Token) { tok.Expiry = time.Now().Add(time.Duration(n) * time.Hour) },
		"life":   func(n int, tok *Token) { tok.Life = time.Duration(n) * time.Hour },
	} {
		bubble(t, name, func(t *testing.T) {
			s := scriptOf(func(_ context.Context, n int) (*Token, error) {
				tok := &Token{Value: NewSecret("a")}
				end(n, tok)
				return tok, nil
			})
			ts := open(t, s, Config{})
			first, before := must(t, ts), ts.Status()
			time.Sleep(55 * time.Minute)
			require.Greater(t, s.count(), 1)
			assert.Same(t, first, must(t, ts))
			assert.Equal(t, before.Deadline, ts.Status().Deadline)
		})
	}
}

func TestR11_SameValueWithoutAnEnd(t *testing.T) {
	// Where the token in service has no end, the same value again is asked for once more after ReissueEvery, and without that never.
	synctest.Test(t, func(t *testing.T) {
		s := scriptOf(returns(&Token{Value: NewSecret("a")}, nil))
		ts := open(t, s, Config{ReissueEvery: 10 * time.Minute, Rand: same(0.5)})
		must(t, ts)
		time.Sleep(time.Hour)
		require.Equal(t, 7, s.count())
		for _, p := range s.pauses() {
			assert.Equal(t, 9*time.Minute+30*time.Second, p)
		}
		next := ts.Status()
		assert.Equal(t, ActionReissue, next.Next)
		assert.WithinDuration(t, s.call(7).at.Add(9*time.Minute+30*time.Second), next.NextAt, 0)
		assert.EqualValues(t, 1, next.Generation)
		assert.Zero(t, next.Failed)
	})
	synctest.Test(t, func(t *testing.T) {
		s := scriptOf(func(context.Context, int) (*Token, error) {
			return &Token{Value: NewSecret("a"), ReissueAt: time.Now().Add(time.Minute)}, nil
		})
		ts := open(t, s, Config{})
		must(t, ts)
		time.Sleep(24 * time.Hour)
		assert.Equal(t, 2, s.count(), "the hint was followed once")
		assert.Equal(t, ActionNone, ts.Status().Next)
	})
}

func TestR11_SameValueAfterTheDeadline(t *testing.T) {
	// The token that left service is not published again because the Source returned it once more; it is asked again 1 s later at the earliest.
	synctest.Test(t, func(t *testing.T) {
		s := scriptOf(returns(&Token{Value: NewSecret("a"), Life: time.Minute}, nil))
		ts := open(t, s, Config{})
		must(t, ts)
		time.Sleep(58 * time.Second)
		synctest.Wait()
		assert.Nil(t, ts.cur.Load())
		calls := s.count()
		time.Sleep(5 * time.Second)
		assert.LessOrEqual(t, s.count()-calls, 5)
		assert.EqualValues(t, 1, ts.Status().Generation)
	})
}

func TestR11_SameValueAfterAReject(t *testing.T) {
	// After a Reject the same token again counts as a refusal.
	synctest.Test(t, func(t *testing.T) {
		s := scriptOf(returns(&Token{Value: NewSecret("a"), Life: time.Hour}, nil))
		ts := open(t, s, Config{})
		bad := must(t, ts)
		_, err := ts.Reject(t.Context(), bad)
		assert.Equal(t, Refused, issueErrorIn(t, err).Kind)
		assert.EqualValues(t, 1, ts.Status().Refused)
		assert.EqualValues(t, 1, ts.Status().Generation)
		assert.Equal(t, 2, s.count())
	})
}

func TestR31_WhatASourceIsCalled(t *testing.T) {
	// An error names its Source: as that describes itself, else by its type.
	described := scriptOf(failsWith(errors.New("no")))
	described.traits.Name = "mine"
	for want, src := range map[string]Source{
		"mine":             described,
		"*renew.script":    scriptOf(failsWith(errors.New("no"))),
		"renew.SourceFunc": SourceFunc(func(context.Context) (*Token, error) { return nil, errors.New("no") }),
	} {
		bubble(t, want, func(t *testing.T) {
			_, err := open(t, src, Config{}).Token(t.Context())
			assert.Equal(t, want, issueErrorIn(t, err).Source)
		})
	}
}

func TestR10_APanicKeepsItsStack(t *testing.T) {
	// A panic of the Source keeps the stack that led to it, and its value's type.
	synctest.Test(t, func(t *testing.T) {
		_, err := open(t, scriptOf(func(context.Context, int) (*Token, error) { panic("no") }), Config{}).Token(t.Context())
		panicked, ok := errors.AsType[*PanicError](err)
		require.True(t, ok)
		assert.Contains(t, string(panicked.Stack), "TestR10_APanicKeepsItsStack")
		assert.Equal(t, "string", panicked.Type)
	})
}

func TestR7_ATimeoutSaysHowLong(t *testing.T) {
	// The error of a flight that was too slow says after how long it was ended.
	synctest.Test(t, func(t *testing.T) {
		_, err := open(t, scriptOf(deaf(10*time.Second, gives(time.Hour))), Config{FlightTimeout: 7 * time.Second}).Token(t.Context())
		assert.ErrorContains(t, err, "timed out after 7s")
	})
}

func TestR31_ALateResultWaitsForRotated(t *testing.T) {
	// While Rotated fails the result of an abandoned call is not published either, though nothing is in service; it is kept.
	synctest.Test(t, func(t *testing.T) {
		var mended atomic.Bool
		s := scriptOf(deaf(40*time.Second, givesRefresh(time.Hour)), fails(Transient))
		ts := open(t, s, Config{Hooks: Hooks{Rotated: func(context.Context, string, *Token) error {
			if mended.Load() {
				return nil
			}
			return errors.New("disk full")
		}}})
		_, err := ts.Token(t.Context())
		require.Error(t, err)
		time.Sleep(5 * time.Minute)
		require.Zero(t, ts.Status().Abandoned, "it has come")
		assert.Nil(t, ts.cur.Load())
		assert.Zero(t, ts.Status().Generation)
		calls := s.count()
		mended.Store(true)
		time.Sleep(time.Minute)
		assert.Equal(t, "token-1", must(t, ts).Value.Reveal())
		assert.Equal(t, calls, s.count())
	})
}

func TestR31_RotatedIsNotAskedPastTheDeadline(t *testing.T) {
	// A token that Rotated holds back until its deadline is given up: the Source is asked for another.
	synctest.Test(t, func(t *testing.T) {
		s := scriptOf(givesRefresh(time.Minute))
		ts := open(t, s, Config{Hooks: Hooks{Rotated: func(_ context.Context, _ string, tok *Token) error {
			n := 0
			_, _ = fmt.Sscanf(tok.Value.Reveal(), "token-%d", &n)
			assert.Less(t, time.Since(s.call(n).at), time.Minute-3*time.Second, "token-%d", n)
			if n < 3 {
				return errors.New("disk full")
			}
			return nil
		}}})
		_, err := ts.Token(t.Context())
		require.Error(t, err)
		time.Sleep(3 * time.Minute)
		assert.GreaterOrEqual(t, s.count(), 3)
		assert.NotZero(t, ts.Status().Generation)
	})
}

func TestR20_ThrottledWithoutAPauseOutlastsAReject(t *testing.T) {
	// After a 429 that names no pause nothing is sent for as long as a pause without a token may last, also for a caller who rejects the token in service.
	synctest.Test(t, func(t *testing.T) {
		s := scriptOf(gives(time.Hour), fails(Throttled), gives(time.Hour))
		ts := open(t, s, Config{Rand: same(0.5)})
		first := must(t, ts)
		time.Sleep(42 * time.Minute)
		synctest.Wait()
		require.Equal(t, 2, s.count())
		caller := ask(func() (*Token, error) { return ts.Reject(t.Context(), first) })
		require.False(t, caller.done())
		time.Sleep(coldMost)
		require.True(t, caller.done())
		assert.NoError(t, caller.err)
		assert.Equal(t, coldMost, s.pauses()[1])
	})
}

func TestR7_ARefusedReissueLeavesTheLoginToACaller(t *testing.T) {
	// Where a person may log in, a refused Reissue is not the last word, whatever the Source called it: the next caller without a token starts the login.
	for name, refused := range map[string]reply{"refused": fails(Refused), "for good": failsWith(forGood)} {
		bubble(t, name, func(t *testing.T) {
			s := reissuing{scriptOf(givesRefresh(time.Hour)), []reply{refused}}
			s.traits.Interactive = true
			ts := open(t, s, Config{Interactive: true, Rand: same(0.5)})
			first := must(t, ts)
			time.Sleep(43 * time.Minute)
			require.Equal(t, "IR", s.steps())
			_, err := ts.Reject(t.Context(), first)
			require.NoError(t, err)
			assert.Equal(t, "IRI", s.steps())
		})
	}
}

func TestR9_NoPersonIsAskedTwiceInAFlight(t *testing.T) {
	// Where the Issue after a lost Reissue says that it needs a person, the flight ends: it is not asked again.
	synctest.Test(t, func(t *testing.T) {
		s := reissuing{scriptOf(givesRefresh(time.Hour), failsWith(ErrInteractionRequired)), []reply{failsWith(faultReset), givesRefresh(time.Hour)}}
		ts := open(t, s, Config{Rand: same(0.5)})
		bad := must(t, ts)
		_, err := ts.Reject(t.Context(), bad)
		require.Error(t, err)
		assert.Equal(t, "IRI", s.steps())
	})
}

func TestR9_InteractiveTriesAReissueAgain(t *testing.T) {
	// Where Issue needs a person, a Reissue that was never sent is tried again within the flight, as anywhere.
	synctest.Test(t, func(t *testing.T) {
		s := reissuing{scriptOf(givesRefresh(time.Hour)), []reply{failsWith(faultDial), givesRefresh(time.Hour)}}
		s.traits.Interactive = true
		ts := open(t, s, Config{Interactive: true})
		_, err := ts.Reject(t.Context(), must(t, ts))
		assert.NoError(t, err)
		assert.Equal(t, "IRR", s.steps())
	})
}

func TestR7_TheFaultOfTheReissueIsTold(t *testing.T) {
	// When the Issue after a refused Reissue says that it needs a person, callers hear why the Reissue was refused.
	synctest.Test(t, func(t *testing.T) {
		s := reissuing{
			scriptOf(givesRefresh(time.Hour), failsWith(ErrInteractionRequired)),
			[]reply{failsWith(&IssueError{Source: "script", Kind: Refused, Code: "invalid_grant"})},
		}
		ts := open(t, s, Config{})
		_, err := ts.Reject(t.Context(), must(t, ts))
		assert.Equal(t, "invalid_grant", issueErrorIn(t, err).Code)
		assert.Equal(t, "IRI", s.steps())
	})
}

func TestR31_RotatedAloneIsAskedAgain(t *testing.T) {
	// When Rotated fails for the token of the Issue that followed a lost Reissue, Rotated is asked again, and not the Source.
	synctest.Test(t, func(t *testing.T) {
		s := reissuing{scriptOf(givesRefresh(time.Hour)), []reply{failsWith(faultReset)}}
		failed := false
		ts := open(t, s, Config{Hooks: Hooks{Rotated: func(_ context.Context, _ string, tok *Token) error {
			if tok.Value.Reveal() == "token-3" && !failed {
				failed = true
				return errors.New("disk full")
			}
			return nil
		}}})
		tok, err := ts.Reject(t.Context(), must(t, ts))
		require.NoError(t, err)
		assert.True(t, failed)
		assert.Equal(t, "token-3", tok.Value.Reveal())
		assert.Equal(t, "IRI", s.steps())
	})
}

func TestR13_RotatedIsNotHurried(t *testing.T) {
	// When Rotated fails after a Reissue while the old token serves, it is asked again after the pause of a token in service.
	synctest.Test(t, func(t *testing.T) {
		var asked []time.Time
		s := reissuing{scriptOf(givesRefresh(time.Hour)), []reply{givesRefresh(time.Hour)}}
		ts := open(t, s, Config{Rand: same(0.5), Hooks: Hooks{Rotated: func(_ context.Context, _ string, tok *Token) error {
			if tok.Value.Reveal() == "token-1" {
				return nil
			}
			if asked = append(asked, time.Now()); len(asked) == 1 {
				return errors.New("disk full")
			}
			return nil
		}}})
		must(t, ts)
		time.Sleep(50 * time.Minute)
		synctest.Wait()
		require.Len(t, asked, 2)
		left := time.Hour - 10*time.Second - 42*time.Minute
		assert.InDelta(t, left/8, asked[1].Sub(asked[0]), float64(time.Microsecond))
	})
}

func TestR20_OldPlacesLapse(t *testing.T) {
	// Places at an endpoint whose callers have left do not add up to a burst: callers who come later take new ones.
	synctest.Test(t, func(t *testing.T) {
		m := manage(t, Config{Endpoint: "https://issuer.example", Rate: budget.Rate{PerSecond: 1, Burst: 1}})
		s := scriptOf(gives(0))
		var all []*TokenSource
		for i := range 10 {
			ts := adopt(t, m, fmt.Sprint(i), SourceFunc(s.Issue), Config{})
			all = append(all, ts)
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			_, err := ts.Token(ctx)
			cancel()
			require.Equal(t, i > 0, err != nil, "%v", err)
		}
		time.Sleep(time.Minute)
		before := s.count()
		for _, ts := range all {
			ask(func() (*Token, error) { return ts.Token(t.Context()) })
		}
		time.Sleep(time.Second / 2)
		synctest.Wait()
		assert.LessOrEqual(t, s.count()-before, 1)
		time.Sleep(time.Minute)
		assert.Equal(t, 10, s.count())
	})
}
