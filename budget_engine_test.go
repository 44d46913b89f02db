package renew

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-f29168f7/renew/budget"
)

// left returns how many units are left.
func left(ts *TokenSource) int { return ts.Status().BudgetLeft }

// inTurn plays the errors in turn, nil for a token without an end; the last one repeats.
func inTurn(errs ...error) func(context.Context, int, *Token) (*Token, error) {
	return func(_ context.Context, n int, _ *Token) (*Token, error) {
		if err := errs[min(n, len(errs))-1]; err != nil {
			return nil, err
		}
		return endless(n), nil
	}
}

func TestR18_FirstRefusalIsFree(t *testing.T) {
	// The attempt that nothing bad came before costs nothing, even if it is refused; the next one costs a unit.
	synctest.Test(t, func(t *testing.T) {
		ts := start(t, &actor{play: inTurn(errWrongPassword)}, Config{})
		_, err := ts.Token(t.Context())
		require.NotErrorIs(t, err, ErrBudgetSpent)
		assert.Equal(t, 4, left(ts))
		for want := 3; want >= 0; want-- {
			_, err := ts.Token(t.Context())
			ie, _ := errors.AsType[*IssueError](err)
			require.NotNil(t, ie)
			assert.Equal(t, "invalid_grant", ie.Code)
			assert.Equal(t, want, left(ts))
			time.Sleep(30 * time.Second)
		}
		_, err = ts.Token(t.Context())
		require.ErrorIs(t, err, ErrBudgetSpent)
		checkTokenSource(t, ts)
	})
}

func TestR18_GivenBackOnlyIfNotJudged(t *testing.T) {
	// The unit of an attempt is given back if the attempt was certainly not judged, and kept if it may have been.
	for _, c := range []struct {
		name string
		err  error
		back bool
	}{
		{"granted", nil, false},
		{"refused", errWrongPassword, false},
		{"refused for good", errForGood, false},
		{"plain error", errors.New("read: connection reset"), false},
		{"timeout of the request", context.DeadlineExceeded, false},
		{"408", &IssueError{Status: 408, Kind: Transient}, false},
		{"a proxy's 403", &IssueError{Status: 403, Kind: Transient}, false},
		{"invalid reply", &IssueError{Status: 200, Kind: Invalid}, false},
		{"refused, then 503", &IssueError{Status: 503, Kind: Transient, Refusals: 1}, false},
		{"dial", fmt.Errorf("post: %w", errDial), true},
		{"TLS", fmt.Errorf("post: %w", x509.UnknownAuthorityError{}), true},
		{"unsent", &IssueError{Unsent: true}, true},
		{"429", &IssueError{Status: 429, Kind: Throttled}, true},
		{"throttled", &IssueError{Kind: Throttled, RetryAfter: time.Minute}, true},
		{"500", &IssueError{Status: 500, Kind: Transient}, true},
		{"503", &IssueError{Status: 503, Kind: Throttled, RetryAfter: time.Minute}, true},
		{"a person is needed", ErrInteractionRequired, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				src := &actor{}
				src.play = func(_ context.Context, n int, _ *Token) (*Token, error) {
					switch n {
					case 1:
						return endless(n), nil
					case 2:
						time.Sleep(time.Second)
						if c.err != nil {
							return nil, c.err
						}
						return endless(n), nil
					}
					return nil, &IssueError{Kind: Throttled, Status: 429} // no try follows it, and it costs nothing
				}
				ts := start(t, src, Config{})
				bad, done := must(t, ts), make(chan struct{})
				go func() {
					defer close(done)
					_, _ = ts.Reject(t.Context(), bad)
				}()
				synctest.Wait()
				assert.Equal(t, 3, left(ts), "reserved before the attempt")
				<-done
				want := 3
				if c.back {
					want = 4
				}
				assert.Equal(t, want, left(ts))
			})
		})
	}
}

func TestR18_TimeoutKeepsTheUnit(t *testing.T) {
	// An attempt that ran into the flight's timeout keeps its unit: a slow issuer may have counted it.
	synctest.Test(t, func(t *testing.T) {
		src := &actor{play: func(ctx context.Context, n int, _ *Token) (*Token, error) {
			if n == 1 {
				return endless(n), nil
			}
			<-ctx.Done()
			return nil, context.Cause(ctx)
		}}
		ts := start(t, src, Config{})
		_, err := ts.Reject(t.Context(), must(t, ts))
		require.Error(t, err)
		assert.Equal(t, 3, left(ts))
	})
}

func TestR18_PanicKeepsTheUnit(t *testing.T) {
	// An attempt that ended in a panic may have been judged: it keeps its unit, each try its own.
	synctest.Test(t, func(t *testing.T) {
		src := &actor{play: func(_ context.Context, n int, _ *Token) (*Token, error) {
			if n == 2 {
				panic("no")
			}
			return endless(n), nil
		}}
		ts := start(t, src, Config{})
		_, err := ts.Reject(t.Context(), must(t, ts))
		require.NoError(t, err)
		assert.Equal(t, 3, src.calls())
		assert.Equal(t, 2, left(ts))
	})
}

func TestR18_StampedAtTheEnd(t *testing.T) {
	// A unit is free again one window after its attempt ended, to the nanosecond.
	synctest.Test(t, func(t *testing.T) {
		src := &actor{play: slowly(20*time.Second, func(n int) (*Token, error) { return endless(n), nil })}
		ts := start(t, src, Config{Budget: &budget.Budget{Units: 1}})
		tok, err := ts.Reject(t.Context(), must(t, ts))
		require.NoError(t, err)
		ended := time.Now()
		_, err = ts.Reject(t.Context(), tok)
		be, ok := errors.AsType[*BudgetError](err)
		require.True(t, ok, "%v", err)
		assert.Equal(t, ended.Add(budget.DefaultWindow).Round(0), be.RetryAt)
		assert.Equal(t, be.RetryAt, ts.Status().RetryAt)
		time.Sleep(budget.DefaultWindow - 1)
		_, err = ts.Reject(t.Context(), tok)
		require.ErrorIs(t, err, ErrBudgetSpent)
		time.Sleep(time.Nanosecond)
		_, err = ts.Reject(t.Context(), tok)
		require.NoError(t, err)
	})
}

func TestR18_ScheduleIsFree(t *testing.T) {
	// Scheduled reissues that succeed cost nothing, and neither do their transient failures.
	synctest.Test(t, func(t *testing.T) {
		src := reissuer{&actor{play: func(_ context.Context, n int, _ *Token) (*Token, error) {
			if n%5 == 0 {
				return nil, errUnavailable
			}
			return tokenOf(n), nil
		}}}
		ts := start(t, src, Config{WatchEvery: -1})
		must(t, ts)
		for range 7 * 24 {
			time.Sleep(time.Hour)
			require.Equal(t, 4, left(ts))
		}
		assert.Greater(t, src.calls(), 200)
	})
}

func TestR18_FallbackCosts(t *testing.T) {
	// The Issue that follows a refused Reissue is a login attempt that follows a refusal: it costs one unit.
	synctest.Test(t, func(t *testing.T) {
		src := reissuer{&actor{}}
		src.play = func(_ context.Context, n int, live *Token) (*Token, error) {
			if live != nil {
				return nil, errWrongPassword
			}
			return tokenOf(n), nil
		}
		ts := start(t, src, Config{Budget: &budget.Budget{Window: 24 * time.Hour}})
		must(t, ts)
		time.Sleep(50 * time.Minute)
		assert.EqualValues(t, 2, must(t, ts).Generation())
		assert.Equal(t, 3, left(ts))
		checkTokenSource(t, ts)
	})
}

func TestR18_SuccessGivesNothingBack(t *testing.T) {
	// A success does not refill the budget.
	ts := start(t, &actor{}, Config{})
	spend(t, ts)
	assert.Zero(t, left(ts))
	ts.Reset()
	must(t, ts)
	assert.Zero(t, left(ts), "nor does Reset")
}

func TestR18_Shared(t *testing.T) {
	// TokenSources of one account at one endpoint share a budget, and so do those that are given one by pointer; others do not.
	m := manage(t, Config{})
	alice := Config{Endpoint: "https://a.example", Account: "alice"}
	traits := &actor{traits: Traits{Endpoint: "https://a.example", Account: "alice"}}
	one := adopt(t, m, "one", &actor{}, alice)
	two := adopt(t, m, "two", traits, Config{})
	shared := &budget.Budget{Units: 7}
	byPointer := adopt(t, m, "by pointer", &actor{}, Config{Budget: shared})
	alsoByPointer := start(t, &actor{}, Config{Budget: shared})
	others := map[string]*TokenSource{
		"another account":  adopt(t, m, "bob", &actor{}, Config{Endpoint: "https://a.example", Account: "bob"}),
		"another endpoint": adopt(t, m, "b", &actor{}, Config{Endpoint: "https://b.example", Account: "alice"}),
		"no account":       adopt(t, m, "none", &actor{}, Config{Endpoint: "https://a.example"}),
		"no account again": adopt(t, m, "none 2", &actor{}, Config{Endpoint: "https://a.example"}),
	}
	spend(t, one)
	assert.Zero(t, left(two))
	_, err := two.Reject(t.Context(), must(t, two))
	require.ErrorIs(t, err, ErrBudgetSpent)
	assert.Equal(t, "two", func() string { be, _ := errors.AsType[*BudgetError](err); return be.Name }())
	for name, ts := range others {
		assert.Equal(t, 4, left(ts), name)
	}
	spend(t, byPointer)
	assert.Equal(t, 3, left(alsoByPointer))
	spend(t, others["no account"])
	assert.Equal(t, 4, left(others["no account again"]))
}

func TestR19_EachRefusalBeyondTheFirst(t *testing.T) {
	// An attempt that was refused in n exchanges spends n-1 units beside its own, also the first attempt, also if it ended otherwise.
	for _, c := range []struct {
		name string
		err  *IssueError
		want int // left after the first attempt
	}{
		{"none", &IssueError{Kind: Refused}, 4},
		{"one", &IssueError{Kind: Refused, Refusals: 1}, 4},
		{"two", &IssueError{Kind: Refused, Refusals: 2}, 3},
		{"three for good", &IssueError{Kind: Refused, Permanent: true, Refusals: 3}, 2},
		{"more than there are", &IssueError{Kind: Refused, Refusals: 1 << 40}, 0},
		{"negative", &IssueError{Kind: Refused, Refusals: -3}, 4},
		{"two, then 500", &IssueError{Kind: Throttled, Status: 503, Refusals: 2}, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ts := start(t, &actor{play: inTurn(c.err)}, Config{})
				ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
				defer cancel()
				_, err := ts.Token(ctx)
				require.Error(t, err)
				assert.Equal(t, c.want, left(ts))
				checkTokenSource(t, ts)
			})
		})
	}
}

func TestR19_NextAttemptIsOwed(t *testing.T) {
	// After an attempt in which credentials were refused, however it ended, the next attempt costs a unit.
	synctest.Test(t, func(t *testing.T) {
		ts := start(t, &actor{play: inTurn(&IssueError{Kind: Throttled, Status: 503, Refusals: 1, RetryAfter: time.Second}, nil)}, Config{})
		_, err := ts.Token(t.Context())
		require.Error(t, err)
		require.Equal(t, 4, left(ts))
		must(t, ts)
		assert.Equal(t, 3, left(ts))
	})
}

func TestR19_RefusedAttemptsArePaced(t *testing.T) {
	// Callers do not turn refusals into a storm: each attempt waits for the back-off, and the pauses grow.
	synctest.Test(t, func(t *testing.T) {
		src := &actor{play: inTurn(errWrongPassword)}
		ts := start(t, src, Config{Budget: &budget.Budget{Units: 1 << 20}})
		end := time.Now().Add(time.Minute)
		for time.Now().Before(end) {
			_, _ = ts.Token(t.Context())
			time.Sleep(time.Millisecond)
		}
		book := src.book()
		assert.Less(t, len(book), 25, "attempts of callers that ask a thousand times a second")
		assert.Greater(t, len(book), 10)
		for i := range book[1:] {
			assert.GreaterOrEqual(t, book[i+1].start-book[i].end, 160*time.Millisecond)
		}
		assert.Greater(t, book[len(book)-1].start-book[len(book)-2].end, 5*time.Second)
	})
}

func TestR21_SpentBudget(t *testing.T) {
	// Spent: nothing reaches the issuer, and the error has the exact time of the next unit; then it works again by itself.
	synctest.Test(t, func(t *testing.T) {
		src := &actor{play: inTurn(errWrongPassword, errWrongPassword, errWrongPassword, errWrongPassword, errWrongPassword, nil)}
		ts := start(t, src, Config{})
		var spentFirst time.Time
		for src.calls() < 5 {
			_, err := ts.Token(t.Context())
			require.Error(t, err)
			if src.calls() == 2 && spentFirst.IsZero() {
				spentFirst = time.Now()
			}
		}
		free := spentFirst.Add(budget.DefaultWindow)
		for time.Now().Before(free.Add(-31 * time.Second)) {
			_, err := ts.Token(t.Context())
			be, ok := errors.AsType[*BudgetError](err)
			require.True(t, ok, "%v", err)
			require.Equal(t, free.Round(0), be.RetryAt)
			require.Equal(t, errWrongPassword.Code, codeOf(err), "%v", err)
			time.Sleep(10 * time.Second)
		}
		assert.Equal(t, StateBudgetSpent, ts.Status().State)
		require.Equal(t, 5, src.calls())
		tok, err := ts.Wait(t.Context())
		require.NoError(t, err)
		assert.Equal(t, free, time.Now(), "not a nanosecond early, and not late")
		assert.EqualValues(t, 1, tok.Generation())
		checkTokenSource(t, ts)
	})
}

// codeOf returns the protocol's error code of the IssueError within err.
func codeOf(err error) string {
	ie, _ := errors.AsType[*IssueError](err)
	if ie == nil {
		return ""
	}
	return ie.Code
}

func TestR21_TimerWaitsForTheUnit(t *testing.T) {
	// A reissue that the budget keeps from its fallback is tried again by the timer when a unit is free, with nobody asking.
	synctest.Test(t, func(t *testing.T) {
		shared := &budget.Budget{Units: 1}
		src := reissuer{&actor{}}
		src.play = func(_ context.Context, n int, live *Token) (*Token, error) {
			if live != nil {
				return nil, errWrongPassword
			}
			return tokenOf(n), nil
		}
		ts, greedy := start(t, src, Config{Budget: shared}), start(t, &actor{}, Config{Budget: shared})
		must(t, ts)
		for src.calls() < 2 { // until the schedule has it reissued; the budget is spent all the time
			if tok := must(t, greedy); shared.Left(ts.now().Mono) > 0 {
				_, err := greedy.Reject(t.Context(), tok)
				require.NoError(t, err)
			}
			time.Sleep(time.Second)
		}
		at := ts.Status().RetryAt
		require.NotZero(t, at)
		assert.Equal(t, StateFailing, ts.Status().State)
		time.Sleep(time.Until(at) - 1)
		synctest.Wait()
		require.Equal(t, 2, src.calls())
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		assert.EqualValues(t, 2, must(t, ts).Generation())
	})
}

func TestR23_RefusedForGood(t *testing.T) {
	// Refused for good: no timer tries again; in each budget window one caller may, for a unit.
	for name, fault := range map[string]*IssueError{
		"invalid_client": errForGood,
		"not found":      {Status: 404, Kind: Refused, Permanent: true},
		"invalid":        {Status: 200, Kind: Invalid, Err: errors.New("token_type mac")},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				src := &actor{play: inTurn(fault)}
				ts := start(t, src, Config{})
				_, err := ts.Token(t.Context())
				require.Error(t, err)
				time.Sleep(24 * time.Hour)
				require.Equal(t, 1, src.calls(), "no timer tries again")
				begin, least := time.Now(), 4
				for time.Since(begin) < 5*budget.DefaultWindow {
					_, err := ts.Token(t.Context())
					least = min(least, left(ts))
					ie, ok := errors.AsType[*IssueError](err)
					require.True(t, ok, "%v", err)
					require.Equal(t, fault.Status, ie.Status)
					window := time.Since(begin).Truncate(budget.DefaultWindow)
					require.Equal(t, window+budget.DefaultWindow, ie.NextAttempt.Sub(begin))
					time.Sleep(time.Minute)
				}
				assert.Equal(t, 6, src.calls(), "one a window")
				if fault.Kind == Refused {
					assert.Equal(t, 3, least, "for a unit")
				}
				checkTokenSource(t, ts)
			})
		})
	}
}

func TestR23_WaitEndsAtOnce(t *testing.T) {
	// Wait does not wait for what cannot come.
	synctest.Test(t, func(t *testing.T) {
		ts := start(t, &actor{play: inTurn(errForGood)}, Config{})
		begin := time.Now()
		for range 3 {
			_, err := ts.Wait(t.Context())
			require.Equal(t, errForGood.Code, codeOf(err), "%v", err)
		}
		assert.Zero(t, time.Since(begin))
		assert.EqualValues(t, 1, ts.Status().Issues)
	})
}

func TestR23_ResetEndsIt(t *testing.T) {
	// Reset ends a refusal for good at once, for no unit, and once only.
	synctest.Test(t, func(t *testing.T) {
		src := &actor{play: inTurn(errForGood, errForGood, nil)}
		ts := start(t, src, Config{})
		_, err := ts.Token(t.Context())
		require.Error(t, err)
		for want := 2; want <= 3; want++ {
			ts.Reset()
			synctest.Wait()
			require.Equal(t, want, src.calls())
			require.Equal(t, 4, left(ts))
		}
		assert.EqualValues(t, 1, must(t, ts).Generation())
		ts.Reset()
		synctest.Wait()
		assert.Equal(t, 3, src.calls(), "there is nothing to forget")
	})
}

func TestR23_ChangedInputEndsIt(t *testing.T) {
	// A changed credential input ends a refusal for good at once: for Token, Wait and Reject, for one attempt a change.
	type way func(context.Context, *TokenSource, *Token) (*Token, error)
	for name, asks := range map[string]way{
		"Token":  func(ctx context.Context, ts *TokenSource, _ *Token) (*Token, error) { return ts.Token(ctx) },
		"Wait":   func(ctx context.Context, ts *TokenSource, _ *Token) (*Token, error) { return ts.Wait(ctx) },
		"Reject": func(ctx context.Context, ts *TokenSource, old *Token) (*Token, error) { return ts.Reject(ctx, old) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var version atomic.Uint64
				version.Store(5)
				src := &actor{traits: Traits{InputVersion: version.Load}}
				src.play = func(_ context.Context, n int, _ *Token) (*Token, error) {
					if n == 1 && name == "Reject" || version.Load() == 7 {
						return tokenOf(n), nil
					}
					return nil, errForGood
				}
				ts := start(t, src, Config{Budget: &budget.Budget{Window: 24 * time.Hour}})
				var tok *Token
				if name == "Reject" { // the token is in service when its scheduled reissue is refused
					tok = must(t, ts)
					for ts.Status().State != StateFailing {
						time.Sleep(time.Second)
					}
				}
				_, err := asks(t.Context(), ts, tok)
				require.Equal(t, errForGood.Code, codeOf(err), "%v", err)
				calls := src.calls()
				version.Store(6)
				for range 5 {
					_, err := asks(t.Context(), ts, tok)
					require.Equal(t, errForGood.Code, codeOf(err), "%v", err)
				}
				require.Equal(t, calls+1, src.calls(), "one attempt for one change")
				version.Store(7)
				began := time.Now()
				got, err := asks(t.Context(), ts, tok)
				require.NoError(t, err)
				assert.Zero(t, time.Since(began), "no pause is left of the refusal")
				assert.NotSame(t, tok, got)
				checkTokenSource(t, ts)
			})
		})
	}
}

func TestR23_PanicInInputVersionIsNoChange(t *testing.T) {
	// An InputVersion that panics does not end a refusal for good.
	synctest.Test(t, func(t *testing.T) {
		var broken atomic.Bool
		src := &actor{play: inTurn(errForGood), traits: Traits{InputVersion: func() uint64 {
			if broken.Load() {
				panic("no")
			}
			return 5
		}}}
		ts := start(t, src, Config{})
		for range 5 {
			_, err := ts.Token(t.Context())
			require.Equal(t, errForGood.Code, codeOf(err), "%v", err)
			broken.Store(true)
		}
		assert.Equal(t, 1, src.calls())
	})
}

func TestR23_NoStateLacksAWayOut(t *testing.T) {
	// Out of every bad state a Reset, and time with a caller, lead back to a token once the issuer is well.
	hang := errors.New("hang")
	for name, fault := range map[string]error{
		"transient": errUnavailable, "dial": errDial, "refused": errWrongPassword, "for good": errForGood, "invalid": &IssueError{Kind: Invalid},
		"throttled": &IssueError{Status: 429, Kind: Throttled, RetryAfter: 1000 * time.Hour}, "person": ErrInteractionRequired,
		"panic": nil, "many refusals": &IssueError{Kind: Refused, Refusals: 100}, "hung": hang,
	} {
		for _, way := range []string{"Reset", "time"} {
			for _, had := range []string{"no token", "a token", "an endless token"} {
				t.Run(fmt.Sprint(name, ", ", had, ", ", way), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						var well atomic.Bool
						well.Store(had != "no token")
						release := make(chan struct{})
						src := &actor{play: func(_ context.Context, n int, _ *Token) (*Token, error) {
							switch {
							case well.Load() && had == "an endless token":
								return endless(n), nil
							case well.Load():
								return tokenOf(n), nil
							case fault == nil:
								panic("no")
							case fault == hang:
								<-release // whatever its ctx says
							}
							return nil, fault
						}}
						ts := start(t, src, Config{WatchEvery: -1})
						if well.Load() {
							must(t, ts)
							well.Store(false)
							_, _ = ts.Reject(t.Context(), must(t, ts))
						}
						for range 60 {
							ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
							if tok, err := ts.Token(ctx); err == nil {
								_, _ = ts.Reject(ctx, tok)
							}
							cancel()
							time.Sleep(2 * time.Minute)
						}
						time.Sleep(time.Second) // not together with a timer: a Reset leaves the flight that runs alone
						synctest.Wait()
						checkTokenSource(t, ts)
						well.Store(true)
						if way == "Reset" {
							ts.Reset()
						} else {
							close(release)
							time.Sleep(time.Hour)
							if tok, err := ts.Token(t.Context()); err != nil || tok.Generation() == 1 {
								// One window after the caller's last attempt, at most.
								_, _ = ts.Reject(t.Context(), tok)
								time.Sleep(budget.DefaultWindow)
							}
						}
						synctest.Wait()
						tok, err := ts.Token(t.Context())
						require.NoError(t, err)
						if tok.Generation() == 1 && had != "no token" {
							tok, err = ts.Reject(t.Context(), tok)
							require.NoError(t, err)
							assert.EqualValues(t, 2, tok.Generation())
						}
						checkTokenSource(t, ts)
						if way == "Reset" {
							close(release)
						}
					})
				})
			}
		}
	}
}

func TestR23_ProxysForbiddenIsTransient(t *testing.T) {
	// A 4xx without a protocol's error code is a fault that may pass: the timer tries again, and no unit is spent.
	synctest.Test(t, func(t *testing.T) {
		forbidden := &IssueError{Status: 403, Kind: Transient}
		src := &actor{play: inTurn(forbidden, forbidden, forbidden, nil)}
		ts := start(t, src, Config{})
		_, err := ts.Token(t.Context())
		require.Error(t, err)
		time.Sleep(time.Minute)
		assert.NotNil(t, ts.cur.Load(), "with nobody asking")
		assert.Equal(t, 4, left(ts))
	})
}

func TestR23_WaitEndsWhereOnlyAPersonHelps(t *testing.T) {
	// Wait ends, and does not spin, where the Reissue was refused and the Issue needs a person.
	for name, traits := range map[string]Traits{"said by Issue": {}, "said by Describe": {Interactive: true}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				src := reissuer{&actor{traits: traits}}
				src.play = func(_ context.Context, n int, live *Token) (*Token, error) {
					switch {
					case n == 1:
						tok := rotating(n)
						tok.Life = 5 * time.Minute
						return tok, nil
					case live != nil:
						return nil, errWrongPassword
					}
					return nil, ErrInteractionRequired
				}
				ts := start(t, src, Config{Interactive: true})
				must(t, ts)
				time.Sleep(5 * time.Minute)
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				begin := time.Now()
				_, err := ts.Wait(ctx)
				require.Error(t, err)
				assert.Zero(t, time.Since(begin))
				assert.Equal(t, StateLoginRequired, ts.Status().State)
				checkTokenSource(t, ts)
			})
		})
	}
}
