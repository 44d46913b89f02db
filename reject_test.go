package renew

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-f29168f7/renew/budget"
)

func TestR17_StaleTokenCostsNothing(t *testing.T) {
	// A token that is not the current one starts no flight, costs no unit, and yields the current one.
	ts := start(t, &actor{}, Config{})
	first := must(t, ts)
	second, err := ts.Reject(t.Context(), first)
	require.NoError(t, err)
	other := must(t, start(t, &actor{}, Config{}))
	left, calls := ts.Status().BudgetLeft, ts.Status().Issues
	copied := *first
	for name, stale := range map[string]*Token{
		"the last one": first, "a copy of it": &copied, "none": nil, "one made by hand": tokenOf(1), "the zero one": {}, "another's": other,
	} {
		got, err := ts.Reject(t.Context(), stale)
		require.NoError(t, err, name)
		assert.Same(t, second, got, name)
	}
	s := ts.Status()
	assert.Equal(t, left, s.BudgetLeft)
	assert.Equal(t, calls, s.Issues)
	assert.EqualValues(t, 1, s.Rejected)
	checkTokenSource(t, ts)
}

func TestR17_CopyOfTheCurrentToken(t *testing.T) {
	// A copy of the current token is the current token.
	ts := start(t, &actor{}, Config{})
	copied := *must(t, ts)
	got, err := ts.Reject(t.Context(), &copied)
	require.NoError(t, err)
	assert.EqualValues(t, 2, got.Generation())
}

func TestR17_OneRevocationOneFlight(t *testing.T) {
	// Holders that reject before, during and after the flight that their revocation started share that flight and one unit.
	synctest.Test(t, func(t *testing.T) {
		src := &actor{play: slowly(time.Second, granted)}
		ts := start(t, src, Config{})
		bad := must(t, ts)
		var wg sync.WaitGroup
		for i := range 50 {
			wg.Go(func() {
				time.Sleep(time.Duration(i) * 40 * time.Millisecond) // up to 2 s
				got, err := ts.Reject(t.Context(), bad)
				assert.NoError(t, err)
				assert.EqualValues(t, 2, got.Generation())
			})
		}
		wg.Wait()
		assert.Equal(t, 2, src.calls())
		s := ts.Status()
		assert.Equal(t, budget.DefaultUnits-1, s.BudgetLeft)
		assert.EqualValues(t, 1, s.Rejected)
		checkTokenSource(t, ts)
	})
}

func TestR17_RejectJoinsTheFlight(t *testing.T) {
	// A Reject while a scheduled reissue is in the air takes the token out of service and waits for that flight; it starts none.
	synctest.Test(t, func(t *testing.T) {
		src := &actor{play: slowly(10*time.Second, granted)}
		ts := start(t, src, Config{})
		bad := must(t, ts)
		for !flying(ts) {
			time.Sleep(time.Second)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			got, err := ts.Reject(t.Context(), bad)
			assert.NoError(t, err)
			assert.EqualValues(t, 2, got.Generation())
		}()
		synctest.Wait()
		assert.Nil(t, ts.cur.Load(), "a rejected token that is being replaced is out of service")
		<-done
		assert.Equal(t, 2, src.calls())
		assert.Equal(t, budget.DefaultUnits, ts.Status().BudgetLeft, "the flight did not follow the Reject")
	})
}

// flying reports whether a flight runs.
func flying(ts *TokenSource) bool {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	return ts.flying()
}

func TestR17_CallersContext(t *testing.T) {
	// The end of a rejecter's ctx ends its own wait, not the flight that its Reject started.
	synctest.Test(t, func(t *testing.T) {
		src := &actor{play: slowly(5*time.Second, granted)}
		ts := start(t, src, Config{})
		bad := must(t, ts)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begin := time.Now()
		_, err := ts.Reject(ctx, bad)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, time.Second, time.Since(begin))
		gone, leave := context.WithCancel(t.Context())
		leave()
		_, err = ts.Reject(gone, bad)
		require.ErrorIs(t, err, context.Canceled)
		assert.EqualValues(t, 2, must(t, ts).Generation())
		assert.Equal(t, 2, src.calls())
	})
}

func TestR17_SameTokenAgainIsRefused(t *testing.T) {
	// What was rejected is not handed out as its own replacement: the same value again is a refusal.
	synctest.Test(t, func(t *testing.T) {
		src := &actor{play: func(context.Context, int, *Token) (*Token, error) { return tokenOf(1), nil }}
		ts := start(t, src, Config{})
		bad := must(t, ts)
		got, err := ts.Reject(t.Context(), bad)
		require.ErrorIs(t, err, errSameToken)
		assert.Nil(t, got)
		ie, _ := errors.AsType[*IssueError](err)
		assert.Equal(t, Refused, ie.Kind)
		checkTokenSource(t, ts)
	})
}

func TestR17_OneValueTwoGenerations(t *testing.T) {
	// A token that came back with the same value, after a Reset, is another one: who rejects the first costs nothing.
	synctest.Test(t, func(t *testing.T) {
		src := &actor{play: func(context.Context, int, *Token) (*Token, error) { return tokenOf(1), nil }}
		ts := start(t, src, Config{})
		old := must(t, ts)
		_, err := ts.Reject(t.Context(), old)
		require.ErrorIs(t, err, errSameToken)
		ts.Reset()
		again := must(t, ts)
		require.EqualValues(t, 2, again.Generation())
		calls := len(src.book())
		got, err := ts.Reject(t.Context(), old)
		require.NoError(t, err)
		assert.Same(t, again, got)
		assert.Len(t, src.book(), calls)
		checkTokenSource(t, ts)
	})
}

// spend uses up the budget of ts with Rejects, and returns the token in service.
func spend(t *testing.T, ts *TokenSource) *Token {
	t.Helper()
	tok := must(t, ts)
	for range budget.DefaultUnits {
		next, err := ts.Reject(t.Context(), tok)
		require.NoError(t, err)
		tok = next
	}
	return tok
}

func TestR22_TokenStaysInService(t *testing.T) {
	// With the budget spent, Reject returns a BudgetError at once and the token serves on until its deadline, and no longer.
	synctest.Test(t, func(t *testing.T) {
		src := &actor{play: func(_ context.Context, n int, _ *Token) (*Token, error) {
			if n > 1+budget.DefaultUnits {
				return nil, errUnavailable
			}
			return tokenOf(n), nil
		}}
		ts := start(t, src, Config{Budget: &budget.Budget{Window: 24 * time.Hour}})
		issued := time.Now()
		tok := spend(t, ts)
		for range 10 {
			begin := time.Now()
			got, err := ts.Reject(t.Context(), tok)
			require.ErrorIs(t, err, ErrBudgetSpent)
			be, ok := errors.AsType[*BudgetError](err)
			require.True(t, ok)
			assert.Equal(t, issued.Add(24*time.Hour).Round(0), be.RetryAt)
			assert.Nil(t, got)
			assert.Zero(t, time.Since(begin))
			assert.Same(t, tok, must(t, ts))
		}
		assert.Equal(t, 1+budget.DefaultUnits, src.calls())
		time.Sleep(time.Hour - 10*time.Second - 1)
		assert.Same(t, tok, ts.cur.Load())
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		assert.Nil(t, ts.cur.Load(), "past its deadline")
		checkTokenSource(t, ts)
	})
}

func TestR22_RestoredWhenTheReplacementFails(t *testing.T) {
	// A Reject whose flight spends the last unit in vain puts the token back: what one server refuses, others take.
	for name, fault := range map[string]error{"refused": errWrongPassword, "transient": errors.New("reset"), "panic": nil} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				src := &actor{play: func(_ context.Context, n int, _ *Token) (*Token, error) {
					switch {
					case n == 1:
						return endless(n), nil
					case fault == nil:
						panic("no")
					}
					return nil, fault
				}}
				ts := start(t, src, Config{Budget: &budget.Budget{Units: 1}})
				tok := must(t, ts)
				_, err := ts.Reject(t.Context(), tok)
				require.Error(t, err)
				assert.Same(t, tok, must(t, ts), "the token is in service again")
				assert.Equal(t, 2, src.calls())
				assert.Equal(t, StateFailing, ts.Status().State)
				checkTokenSource(t, ts)
				// Nothing is wedged: a window later a Reject costs the next unit.
				time.Sleep(budget.DefaultWindow + time.Minute)
				calls := src.calls()
				_, _ = ts.Reject(t.Context(), must(t, ts))
				time.Sleep(budget.DefaultWindow)
				assert.Greater(t, src.calls(), calls)
				assert.Same(t, tok, must(t, ts))
				checkTokenSource(t, ts)
			})
		})
	}
}

func TestR22_RestoredTokenIsReissuedOnSchedule(t *testing.T) {
	// A token that stays in service because the budget is spent is still reissued by timer, free of charge.
	synctest.Test(t, func(t *testing.T) {
		src := &actor{}
		ts := start(t, src, Config{Budget: &budget.Budget{Window: 24 * time.Hour}})
		tok := spend(t, ts)
		_, err := ts.Reject(t.Context(), tok)
		require.ErrorIs(t, err, ErrBudgetSpent)
		time.Sleep(time.Hour - time.Minute)
		assert.Greater(t, must(t, ts).Generation(), tok.Generation())
		assert.Zero(t, ts.Status().BudgetLeft)
	})
}

func TestR22_RestoredByAnothersSpending(t *testing.T) {
	// A rejected token that waits for its replacement goes back into service when another TokenSource spends the last unit.
	synctest.Test(t, func(t *testing.T) {
		shared := &budget.Budget{Units: 2}
		src := &actor{play: func(_ context.Context, n int, _ *Token) (*Token, error) {
			if n == 1 {
				return endless(n), nil
			}
			return nil, errDial // never judged: it keeps its unit
		}}
		ts, greedy := start(t, src, Config{Budget: shared}), start(t, &actor{}, Config{Budget: shared})
		tok := must(t, ts)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := ts.Reject(ctx, tok)
		require.Error(t, err)
		require.Nil(t, ts.cur.Load())
		for range 2 {
			_, err := greedy.Reject(t.Context(), must(t, greedy))
			require.NoError(t, err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		assert.Same(t, tok, ts.cur.Load())
		checkTokenSource(t, ts)
	})
}

func TestR22_RejectDuringFlightWithSpentBudget(t *testing.T) {
	// With the budget spent, a Reject during a scheduled flight waits for that flight; when it brings the same token, the answer is a BudgetError and never the token that was rejected.
	synctest.Test(t, func(t *testing.T) {
		shared := &budget.Budget{Units: 1, Window: 24 * time.Hour}
		same := &actor{play: slowly(time.Minute, func(int) (*Token, error) { return tokenOf(1), nil })}
		fresh := &actor{play: slowly(time.Minute, granted)}
		cfg := Config{Budget: shared, FlightTimeout: 2 * time.Minute}
		a, b := start(t, same, cfg), start(t, fresh, cfg)
		greedy := start(t, &actor{}, cfg)
		must(t, a)
		must(t, b)
		_, err := greedy.Reject(t.Context(), must(t, greedy))
		require.NoError(t, err)
		for !flying(a) {
			time.Sleep(time.Second)
		}
		tok := must(t, a)
		got, err := a.Reject(t.Context(), tok)
		require.ErrorIs(t, err, ErrBudgetSpent)
		assert.Nil(t, got)
		assert.Same(t, tok, must(t, a), "in service all the time")
		for !flying(b) {
			time.Sleep(time.Second)
		}
		got, err = b.Reject(t.Context(), must(t, b))
		require.NoError(t, err)
		assert.Same(t, must(t, b), got)
		checkTokenSource(t, a)
		checkTokenSource(t, b)
	})
}

func TestR22_RefusedForGoodKeepsTheToken(t *testing.T) {
	// A token that cannot be replaced, because the issuer refused for good or a person is needed, is not taken down by a Reject.
	for name, fault := range map[string]error{"for good": errForGood, "person": ErrInteractionRequired} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				src := &actor{play: func(_ context.Context, n int, _ *Token) (*Token, error) {
					if n == 1 {
						return tokenOf(n), nil
					}
					return nil, fault
				}}
				ts := start(t, src, Config{})
				tok := must(t, ts)
				for ts.Status().State != StateFailing { // until the scheduled reissue
					time.Sleep(time.Minute)
				}
				begin := time.Now()
				for range 3 {
					_, err := ts.Reject(t.Context(), tok)
					require.Error(t, err)
					if fault == ErrInteractionRequired {
						require.ErrorIs(t, err, ErrInteractionRequired)
					}
				}
				assert.Zero(t, time.Since(begin))
				assert.Same(t, tok, ts.cur.Load())
				checkTokenSource(t, ts)
			})
		})
	}
}
