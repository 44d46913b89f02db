package renew

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-f29168f7/renew/clock"
)

// deafTo plays a call that ignores its ctx until release is closed, from the
// n-th call on; granted before.
func deafTo(release <-chan struct{}, from int) func(context.Context, int, *Token) (*Token, error) {
	return func(_ context.Context, n int, _ *Token) (*Token, error) {
		if n >= from {
			<-release
		}
		return tokenOf(n), nil
	}
}

// soon returns a context that ends after a second.
func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	t.Cleanup(cancel)
	return ctx
}

// runningIn returns how many calls the CloseError in err counts; -1 when there is none.
func runningIn(err error) int {
	if ce, ok := errors.AsType[*CloseError](err); ok {
		return ce.Running
	}
	return -1
}

func TestR27_EverythingAnswersErrClosed(t *testing.T) {
	// After Close everything answers ErrClosed, at once, and starts nothing.
	synctest.Test(t, func(t *testing.T) {
		for _, used := range []bool{false, true} {
			src := &actor{}
			ts := start(t, src, Config{IdleAfter: time.Hour, CheckOnRead: used})
			var tok *Token
			if used {
				tok = must(t, ts)
			}
			for range 3 { // idempotent
				require.NoError(t, ts.Close(gone(t)))
			}
			calls := src.calls()
			for name, f := range map[string]func() (*Token, error){
				"Token":     func() (*Token, error) { return ts.Token(t.Context()) },
				"Wait":      func() (*Token, error) { return ts.Wait(t.Context()) },
				"Reject":    func() (*Token, error) { return ts.Reject(t.Context(), tok) },
				"slowToken": func() (*Token, error) { return ts.slowToken(t.Context()) },
			} {
				got, err := f()
				assert.ErrorIs(t, err, ErrClosed, name)
				assert.Nil(t, got, name)
			}
			assert.ErrorIs(t, ts.ready(), ErrClosed)
			ts.Reset()
			ts.rejudge()
			ts.tick()
			ts.ask()
			s := ts.Status()
			assert.Equal(t, StateClosed, s.State)
			assert.Equal(t, ActionNone, s.Next)
			time.Sleep(24 * time.Hour)
			assert.Equal(t, calls, src.calls())
			checkTokenSource(t, ts)
		}
	})
}

func TestR27_StopsTimers(t *testing.T) {
	// No timer is left after Close: not for the schedule, a deadline, a back-off, a pause, a flight, a revocation, nor the watcher's.
	for name, play := range map[string]func(context.Context, int, *Token) (*Token, error){
		"in service": nil, "down": inTurn(errUnavailable), "refused": inTurn(errForGood),
		"in flight": func(ctx context.Context, _ int, _ *Token) (*Token, error) { <-ctx.Done(); return nil, ctx.Err() },
	} {
		for _, managed := range []bool{false, true} {
			t.Run(fmt.Sprint(name, " managed=", managed), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					fake := clock.NewFake(time.Time{})
					fake.Settle = synctest.Wait
					src := revoker{actor: &actor{play: play}}
					var ts *TokenSource
					var end func(context.Context) error
					if managed {
						m := manage(t, Config{Clock: fake, RevokeOnClose: true})
						ts, end = adopt(t, m, "x", src, Config{}), m.Close
					} else {
						ts = start(t, src, Config{Clock: fake, RevokeOnClose: true})
						end = ts.Close
					}
					require.Zero(t, fake.Timers(), "New starts no timer")
					go func() { _, _ = ts.Token(t.Context()) }()
					synctest.Wait()
					fake.Advance(10 * time.Second)
					require.NoError(t, end(t.Context()))
					assert.Zero(t, fake.Timers())
					checkTokenSource(t, ts)
				})
			})
		}
	}
}

func TestR27_EndsFlights(t *testing.T) {
	// Close ends the flight's ctx and those who wait, whether the flight runs, pauses, or has not started; and it returns after the call has.
	for name, play := range map[string]func(context.Context, int, *Token) (*Token, error){
		"runs": func(ctx context.Context, _ int, _ *Token) (*Token, error) {
			<-ctx.Done()
			if !errors.Is(context.Cause(ctx), ErrClosed) {
				panic("the flight ended for another reason")
			}
			time.Sleep(3 * time.Second) // cleaning up
			return nil, ctx.Err()
		},
		"pauses":      inTurn(errUnavailable),
		"has not yet": inTurn(&IssueError{Kind: Throttled, RetryAfter: 20 * time.Second}),
		"brings one": func(ctx context.Context, n int, _ *Token) (*Token, error) {
			<-ctx.Done()
			return tokenOf(n), nil
		},
		"panics": func(ctx context.Context, _ int, _ *Token) (*Token, error) { <-ctx.Done(); panic("no") },
		"exits": func(ctx context.Context, _ int, _ *Token) (*Token, error) {
			<-ctx.Done()
			runtime.Goexit()
			return nil, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				src := &actor{play: play}
				ts := start(t, src, Config{})
				if name == "has not yet" {
					_, err := ts.Token(t.Context())
					require.Error(t, err)
				}
				var wg sync.WaitGroup
				for i := range 6 {
					wg.Go(func() {
						var err error
						switch i % 3 {
						case 0:
							_, err = ts.Token(t.Context())
						case 1:
							_, err = ts.Wait(t.Context())
						case 2:
							_, err = ts.Reject(t.Context(), nil)
						}
						assert.ErrorIs(t, err, ErrClosed)
					})
				}
				time.Sleep(time.Second / 10)
				begin := time.Now()
				require.NoError(t, ts.Close(t.Context()))
				want := time.Duration(0)
				if name == "runs" {
					want = 3 * time.Second
				}
				assert.Equal(t, want, time.Since(begin))
				wg.Wait()
				for _, s := range src.book() {
					assert.NotEqual(t, never, s.end, "a call runs after Close")
				}
				checkTokenSource(t, ts)
			})
		})
	}
}

func TestR27_WaitsForAbandonedCalls(t *testing.T) {
	// Close waits for calls that ignore their ctx, for as long as its own ctx lasts, and counts those that are left.
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		src := &actor{play: deafTo(release, 1)}
		ts := start(t, src, Config{FlightTimeout: time.Second})
		for ts.Status().Abandoned < maxAbandoned {
			_, err := ts.Token(t.Context())
			require.Error(t, err)
			time.Sleep(time.Second)
		}
		begin := time.Now()
		err := ts.Close(soon(t))
		assert.Equal(t, time.Second, time.Since(begin))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, maxAbandoned, runningIn(err))
		go func() {
			time.Sleep(time.Minute)
			close(release)
		}()
		begin = time.Now()
		require.NoError(t, ts.Close(t.Context()), "the second Close waits too, and finds them gone")
		assert.Equal(t, time.Minute, time.Since(begin))
		assert.Nil(t, ts.cur.Load(), "a late result is not published")
		checkTokenSource(t, ts)
	})
}

func TestR27_Revokes(t *testing.T) {
	// Close revokes, if asked and if the Source can: what is in service, what is held and what has expired, each once, after the flight has ended.
	for _, c := range []struct {
		name  string
		asked bool
		want  []string
	}{{"not asked", false, nil}, {"asked", true, []string{"token-1"}}} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				src := revoker{actor: &actor{}}
				ts := start(t, src, Config{RevokeOnClose: c.asked})
				must(t, ts)
				var wg sync.WaitGroup
				for range 3 {
					wg.Go(func() { assert.NoError(t, ts.Close(t.Context())) })
				}
				wg.Wait()
				require.NoError(t, ts.Close(t.Context()))
				assert.Equal(t, c.want, src.taken())
			})
		})
	}
	t.Run("nothing issued", func(t *testing.T) {
		src := revoker{actor: &actor{}}
		ts := start(t, src, Config{RevokeOnClose: true})
		require.NoError(t, ts.Close(t.Context()))
		assert.Empty(t, src.taken())
	})
	t.Run("no revoker", func(t *testing.T) {
		ts := start(t, &actor{}, Config{RevokeOnClose: true})
		must(t, ts)
		require.NoError(t, ts.Close(t.Context()))
	})
	t.Run("held", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			src := revoker{actor: &actor{play: func(_ context.Context, n int, _ *Token) (*Token, error) { return rotating(n), nil }}}
			ts := start(t, src, Config{RevokeOnClose: true, Hooks: Hooks{Rotated: func(context.Context, string, *Token) error { return errors.New("disk full") }}})
			_, err := ts.Token(t.Context())
			require.Error(t, err)
			require.NoError(t, ts.Close(t.Context()))
			assert.Equal(t, []string{"token-1"}, src.taken())
		})
	})
}

func TestR27_RevokesOnItsOwnContext(t *testing.T) {
	// Revocation has a ctx of its own: the end of Close's does not reach it, and the flight timeout bounds it.
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan error, 1)
		src := revoker{actor: &actor{}, revoke: func(ctx context.Context, _ *Token) error {
			begin := time.Now()
			<-ctx.Done()
			ended <- fmt.Errorf("after %v: %w", time.Since(begin), context.Cause(ctx))
			return context.Cause(ctx)
		}}
		ts := start(t, src, Config{RevokeOnClose: true, FlightTimeout: 20 * time.Second})
		must(t, ts)
		err := ts.Close(soon(t))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, 1, runningIn(err))
		err = ts.Close(t.Context())
		assert.NoError(t, err, "the second Close waits for the revocation of the first")
		select {
		case err := <-ended:
			assert.EqualError(t, err, "after 20s: timed out")
		default:
			t.Error("Close returned before the revocation had ended")
		}
	})
}

func TestR27_RevocationFails(t *testing.T) {
	// A revocation that fails, panics or exits is an error of Close, and wedges nothing.
	for name, c := range map[string]struct {
		revoke func(context.Context, *Token) error
		want   string
	}{
		"fails":  {func(context.Context, *Token) error { return errUnavailable }, "renew: close: revoke: renew: actor: 503"},
		"panics": {func(context.Context, *Token) error { panic("secret") }, "renew: close: revoke: renew: Revoke panicked with a string"},
		"exits":  {func(context.Context, *Token) error { runtime.Goexit(); return nil }, "renew: close: revoke: renew: Revoke called runtime.Goexit"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ts := start(t, revoker{actor: &actor{}, revoke: c.revoke}, Config{RevokeOnClose: true})
				must(t, ts)
				begin := time.Now()
				err := ts.Close(soon(t))
				assert.EqualError(t, err, c.want)
				assert.Zero(t, time.Since(begin))
				assert.Zero(t, runningIn(err))
				assert.NoError(t, ts.Close(soon(t)))
			})
		})
	}
}

func TestR27_RevokesLateResults(t *testing.T) {
	// A token that comes after Close, even after Close has given up waiting, is revoked, whoever brings it.
	for _, c := range []struct {
		name string
		hook bool // the token is held up by its Rotated hook, not by the Source
		ctx  func(testing.TB) context.Context
	}{
		{"while Close waits", false, func(t testing.TB) context.Context { return t.Context() }},
		{"after Close", false, soon}, {"after a Close that does not wait", false, gone},
		{"from its hook, after Close", true, soon}, {"from its hook, after a Close that does not wait", true, gone},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				src := revoker{actor: &actor{play: func(_ context.Context, n int, live *Token) (*Token, error) {
					if !c.hook && n == 2 {
						time.Sleep(30 * time.Minute)
					}
					return rotating(n), nil
				}}}
				ts := start(t, src, Config{RevokeOnClose: true, Hooks: Hooks{Rotated: func(ctx context.Context, _ string, tok *Token) error {
					if c.hook && tok.Value.Reveal() == "token-2" {
						<-ctx.Done()
						time.Sleep(time.Minute)
					}
					return nil
				}}})
				bad := must(t, ts)
				_, err := ts.Reject(soon(t), bad)
				require.Error(t, err)
				if err = ts.Close(c.ctx(t)); c.name != "while Close waits" {
					require.Error(t, err)
				} else {
					require.NoError(t, err)
				}
				time.Sleep(2 * time.Hour)
				synctest.Wait()
				assert.ElementsMatch(t, []string{"token-1", "token-2"}, src.taken())
				require.NoError(t, ts.Close(t.Context()))
				checkTokenSource(t, ts)
			})
		})
	}
}

func TestR27_GoexitInALateRevocation(t *testing.T) {
	// A Revoke that exits its goroutine, called for a late result, does not make Close wait for ever.
	synctest.Test(t, func(t *testing.T) {
		src := revoker{actor: &actor{play: func(_ context.Context, n int, _ *Token) (*Token, error) {
			time.Sleep(time.Minute)
			return tokenOf(n), nil
		}}, revoke: func(context.Context, *Token) error { runtime.Goexit(); return nil }}
		ts := start(t, src, Config{RevokeOnClose: true})
		_, err := ts.Token(soon(t))
		require.Error(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		assert.NoError(t, ts.Close(ctx))
	})
}

func TestR27_ConcurrentClosesAllWait(t *testing.T) {
	// Each of several Closes waits for the calls and for the revocation.
	synctest.Test(t, func(t *testing.T) {
		src := revoker{actor: &actor{play: func(ctx context.Context, n int, _ *Token) (*Token, error) {
			if n == 2 {
				<-ctx.Done()
				time.Sleep(time.Second)
				return nil, ctx.Err()
			}
			return tokenOf(n), nil
		}}, revoke: func(context.Context, *Token) error { time.Sleep(5 * time.Second); return nil }}
		ts := start(t, src, Config{RevokeOnClose: true})
		bad := must(t, ts)
		go func() { _, _ = ts.Reject(t.Context(), bad) }()
		synctest.Wait()
		begin := time.Now()
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				assert.NoError(t, ts.Close(t.Context()))
				assert.Equal(t, 6*time.Second, time.Since(begin))
			})
		}
		wg.Wait()
		assert.Equal(t, []string{"token-1"}, src.taken())
	})
}

func TestR27_WaitsForHooks(t *testing.T) {
	// Close returns after the hooks have run, or counts the one that does not return.
	synctest.Test(t, func(t *testing.T) {
		var last State
		ts := start(t, &actor{}, Config{Hooks: Hooks{Changed: func(c Change) {
			time.Sleep(time.Minute)
			last = c.To
		}}})
		must(t, ts)
		err := ts.Close(soon(t))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, 1, runningIn(err))
		require.NoError(t, ts.Close(t.Context()))
		assert.Equal(t, StateClosed, last)
	})
}

// engineGoroutines returns the stacks of goroutines that the engine started.
func engineGoroutines() (stacks []string) {
	buf := make([]byte, 1<<20)
	for stack := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
		_, by, _ := strings.Cut(stack, "created by ")
		if strings.HasPrefix(by, "github.com/seed-f29168f7/renew.(*") || strings.HasPrefix(by, "golang.org/x/sync/") {
			stacks = append(stacks, stack)
		}
	}
	return stacks
}

func TestR27_NoGoroutineIsLeft(t *testing.T) {
	// Between flights there is no goroutine of the engine, and after Close none of a well-behaved Source.
	synctest.Test(t, func(t *testing.T) {
		src := revoker{actor: &actor{play: slowly(time.Second, func(n int) (*Token, error) { return rotating(n), nil })}}
		ts := start(t, src, Config{RevokeOnClose: true, Hooks: Hooks{Changed: func(Change) {}}})
		must(t, ts)
		synctest.Wait()
		assert.Empty(t, engineGoroutines(), "between flights")
		for range 50 {
			go func() { _, _ = ts.Reject(t.Context(), ts.cur.Load()) }()
		}
		synctest.Wait()
		assert.NotEmpty(t, engineGoroutines(), "the flight; else this test sees nothing")
		require.NoError(t, ts.Close(t.Context()))
		synctest.Wait()
		assert.Empty(t, engineGoroutines(), "after Close")
	})
}
