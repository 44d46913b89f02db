package renew

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
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
	"github.com/seed-f29168f7/renew/clock"
)

// witness notes the changes that hooks are told, and that one runs at a time.
type witness struct {
	mu      sync.Mutex
	changes []Change
	running atomic.Int32
	overlap atomic.Bool
	slow    time.Duration
}

func (w *witness) changed(c Change) {
	if w.running.Add(1) > 1 {
		w.overlap.Store(true)
	}
	defer w.running.Add(-1)
	if w.slow > 0 {
		time.Sleep(w.slow)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.changes = append(w.changes, c)
}

// steps returns the states in order: "new ready closed".
func (w *witness) steps() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var b strings.Builder
	for i, c := range w.changes {
		if i == 0 {
			b.WriteString(c.From.String())
		}
		b.WriteString(", " + c.To.String())
	}
	return b.String()
}

func TestR31_EachState(t *testing.T) {
	// Status names each state, what comes next and why, with the last error and its age; and what it says is what readers get.
	failing := func(err error) func(context.Context, int, *Token) (*Token, error) {
		return func(_ context.Context, n int, _ *Token) (*Token, error) {
			if n == 1 {
				return tokenOf(n), nil
			}
			return nil, err
		}
	}
	for want, c := range map[State]struct {
		play   func(context.Context, int, *Token) (*Token, error)
		do     func(t *testing.T, ts *TokenSource)
		next   Action
		reason string
		err    string
	}{
		StateNew:     {nil, func(*testing.T, *TokenSource) {}, ActionNone, "nobody has asked", ""},
		StateReady:   {nil, func(t *testing.T, ts *TokenSource) { must(t, ts) }, ActionReissue, "schedule", ""},
		StateFailing: {failing(errUnavailable), func(t *testing.T, ts *TokenSource) { must(t, ts); time.Sleep(50 * time.Minute) }, ActionRetry, "failed", "503"},
		StateWaiting: {slowly(10*time.Second, granted), func(t *testing.T, ts *TokenSource) {
			bad := must(t, ts)
			_, _ = ts.Reject(gone(t), bad)
		}, ActionFlight, "flight", ""},
		StateDown:    {inTurn(errUnavailable), func(t *testing.T, ts *TokenSource) { _, _ = ts.Token(t.Context()) }, ActionRetry, "failed", "503"},
		StateRefused: {inTurn(errForGood), func(t *testing.T, ts *TokenSource) { _, _ = ts.Token(t.Context()) }, ActionNone, "refused: a caller may try from", "invalid_client"},
		StateBudgetSpent: {inTurn(errWrongPassword), func(t *testing.T, ts *TokenSource) {
			for range 10 {
				_, _ = ts.Token(t.Context())
			}
		}, ActionNone, "refused: a caller may try from", "invalid_grant"},
		StateHung: {nil, func(t *testing.T, ts *TokenSource) {
			for range 10 {
				_, _ = ts.Token(t.Context())
			}
		}, ActionNone, "no attempt", "timed out"},
		StateLoginRequired: {inTurn(ErrInteractionRequired), func(t *testing.T, ts *TokenSource) { _, _ = ts.Token(t.Context()) }, ActionNone, "", "person"},
		StateClosed:        {nil, func(t *testing.T, ts *TokenSource) { must(t, ts); _ = ts.Close(t.Context()) }, ActionNone, "closed", ""},
	} {
		t.Run(want.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				play := c.play
				if want == StateHung {
					release := make(chan struct{}) // of this bubble
					play = deafTo(release, 1)
					defer close(release)
				}
				ts := start(t, &actor{play: play}, Config{FlightTimeout: 20 * time.Second})
				c.do(t, ts)
				synctest.Wait()
				s := ts.Status()
				assert.Equal(t, want, s.State)
				assert.Equal(t, c.next, s.Next)
				assert.Contains(t, s.Reason, c.reason)
				assert.Contains(t, s.LastError, c.err)
				assert.Equal(t, c.err == "", s.LastError == "", s.LastError)
				assert.Equal(t, want == StateHung, s.Abandoned == maxAbandoned)
				assert.Equal(t, want == StateBudgetSpent, s.BudgetLeft == 0 && !s.RetryAt.IsZero())
				if s.Next == ActionReissue || s.Next == ActionRetry {
					assert.True(t, s.NextAt.After(time.Now()))
				}
				assert.Equal(t, s.State.Usable(), ts.cur.Load() != nil, "usable")
				assert.Equal(t, s.State.Usable(), !s.Deadline.IsZero())
				time.Sleep(time.Millisecond)
				if c.err != "" && want != StateDown && want != StateHung {
					assert.Equal(t, s.ErrorAge+time.Millisecond, ts.Status().ErrorAge)
				}
				js, err := json.Marshal(s)
				require.NoError(t, err)
				assert.Contains(t, string(js), `"State":"`+want.String()+`"`)
				assert.NotContains(t, string(js), "token-")
				checkTokenSource(t, ts)
			})
		})
	}
}

func TestR31_DeadlineExpiryWarning(t *testing.T) {
	// Status has the deadline, the expiry as the issuer said it, and a warning where the local clock is ahead.
	synctest.Test(t, func(t *testing.T) {
		expiry := time.Now().Add(-time.Minute)
		ts := start(t, SourceFunc(func(context.Context) (*Token, error) {
			return &Token{Value: NewSecret("v"), Life: time.Hour, Expiry: expiry}, nil
		}), Config{})
		must(t, ts)
		s := ts.Status()
		assert.True(t, s.Expiry.Equal(expiry))
		assert.True(t, s.Deadline.Equal(time.Now().Add(time.Hour-10*time.Second)))
		assert.Contains(t, s.Warning, "ahead")
	})
}

func TestR31_CountersAreCumulative(t *testing.T) {
	// The counters only grow, over successes and Reset.
	synctest.Test(t, func(t *testing.T) {
		src := reissuer{&actor{}}
		src.play = func(_ context.Context, n int, live *Token) (*Token, error) {
			switch {
			case live != nil && n%2 == 0:
				return nil, errWrongPassword
			case n%5 == 0:
				return nil, errUnavailable
			}
			return rotating(n), nil
		}
		ts := start(t, src, Config{WatchEvery: -1, Budget: &budget.Budget{Units: 1 << 20}})
		var last Status
		for i := range 200 {
			tok := must(t, ts)
			if i%10 == 0 {
				_, _ = ts.Reject(t.Context(), tok)
				ts.Reset()
			}
			time.Sleep(20 * time.Minute)
			s := ts.Status()
			for _, pair := range [][2]uint64{{last.Issues, s.Issues}, {last.Reissues, s.Reissues}, {last.Failed, s.Failed}, {last.Refused, s.Refused}, {last.Rejected, s.Rejected}} {
				require.LessOrEqual(t, pair[0], pair[1])
			}
			last = s
		}
		issues, reissues, failed, refused := 0, 0, 0, 0
		for _, s := range src.book() {
			ie, _ := errors.AsType[*IssueError](s.err)
			switch {
			case ie != nil && ie.Kind == Refused:
				refused++
			case ie != nil:
				failed++
			}
			if s.reissue {
				reissues++
			} else {
				issues++
			}
		}
		assert.Equal(t, []uint64{uint64(issues), uint64(reissues), uint64(failed), uint64(refused), 20},
			[]uint64{last.Issues, last.Reissues, last.Failed, last.Refused, last.Rejected})
		assert.Positive(t, failed*refused*reissues*issues)
	})
}

func TestR31_StatusTakesNothing(t *testing.T) {
	// Looking at a TokenSource that has had no trouble takes no memory and starts nothing.
	src := &actor{}
	ts := start(t, src, Config{})
	assert.Equal(t, budget.DefaultUnits, ts.Status().BudgetLeft)
	must(t, ts)
	assert.Equal(t, budget.DefaultUnits, ts.Status().BudgetLeft)
	assert.Nil(t, ts.rare)
	assert.Equal(t, 1, src.calls())
}

func TestR31_StatusBlocksNobody(t *testing.T) {
	// Status answers while a flight, a hook or a call hangs, and readers do not wait for who looks.
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		hook := make(chan struct{})
		ts := start(t, &actor{play: deafTo(release, 2)}, Config{Hooks: Hooks{Changed: func(Change) { <-hook }}})
		tok := must(t, ts)
		time.Sleep(50 * time.Minute)
		begin := time.Now()
		for range 100 {
			assert.True(t, ts.Status().State.Usable())
			assert.Same(t, tok, must(t, ts))
		}
		assert.Zero(t, time.Since(begin))
		// Even a Status that never ends: readers take no lock.
		ts.mu.Lock()
		assert.Same(t, tok, must(t, ts))
		ts.mu.Unlock()
		close(release)
		close(hook)
	})
}

func TestR31_ChangesOnceEach(t *testing.T) {
	// Hooks and slog are told of each change of state once, in order, and of no retry of a long outage.
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		w := &witness{}
		var down atomic.Bool
		src := &actor{play: func(_ context.Context, n int, _ *Token) (*Token, error) {
			if down.Load() {
				return nil, errUnavailable
			}
			return tokenOf(n), nil
		}}
		m := manage(t, Config{Hooks: Hooks{Changed: w.changed}, Logger: slog.New(slog.NewJSONHandler(&log, nil))})
		ts := adopt(t, m, "x", src, Config{})
		must(t, ts)
		time.Sleep(10 * time.Hour)
		synctest.Wait()
		assert.Equal(t, "new, ready", w.steps(), "reissues are no changes")
		down.Store(true)
		failed := src.calls()
		time.Sleep(10 * time.Hour)
		assert.Greater(t, src.calls()-failed, 100)
		down.Store(false)
		time.Sleep(time.Hour)
		_, err := ts.Reject(t.Context(), must(t, ts))
		require.NoError(t, err)
		require.NoError(t, m.Close(t.Context()))
		want := "new, ready, failing, down, ready, waiting, ready, closed"
		assert.Equal(t, want, w.steps())
		var logged []string
		for line := range strings.Lines(log.String()) {
			var rec struct{ Level, To, From, Name, Msg, Err string }
			require.NoError(t, json.Unmarshal([]byte(line), &rec))
			if len(logged) == 0 {
				logged = append(logged, rec.From)
			}
			logged = append(logged, rec.To)
			assert.Equal(t, "x", rec.Name)
			assert.Equal(t, map[string]string{"failing": "WARN", "down": "ERROR"}[rec.To] != "", rec.Err != "")
			assert.Equal(t, map[string]string{"failing": "WARN", "down": "ERROR", "": ""}[rec.To], strings.TrimPrefix(rec.Level, "INFO"))
		}
		assert.Equal(t, want, strings.Join(logged, ", "))
		for i, c := range w.changes {
			if i > 0 {
				assert.Equal(t, w.changes[i-1].To, c.From)
				assert.False(t, c.At.Before(w.changes[i-1].At))
			}
			assert.Equal(t, c.To.Usable(), !c.Deadline.IsZero(), c.To)
			assert.Equal(t, c.To == StateFailing || c.To == StateDown, c.Err != nil, c.To)
		}
	})
}

func TestR31_ReadyOnceForEachFlight(t *testing.T) {
	// A Source that fails now and then is reported when it fails and when it is well, and not in between.
	synctest.Test(t, func(t *testing.T) {
		w := &witness{}
		ts := start(t, &actor{play: inTurn(errUnavailable, errUnavailable, errUnavailable, errUnavailable, errUnavailable, nil)}, Config{Hooks: Hooks{Changed: w.changed}})
		_, err := ts.Wait(t.Context())
		require.NoError(t, err)
		synctest.Wait()
		assert.Equal(t, "new, down, ready", w.steps())
	})
}

func TestR31_HooksOneAtATimeAndElsewhere(t *testing.T) {
	// Hooks of a Manager run one at a time, in order for each name, never on a reader's goroutine; a slow one holds up no reader and no flight.
	synctest.Test(t, func(t *testing.T) {
		w := &witness{slow: time.Second}
		m := manage(t, Config{Hooks: Hooks{Changed: w.changed}})
		begin := time.Now()
		for i := range 20 {
			ts := adopt(t, m, fmt.Sprint(i), &actor{}, Config{})
			tok := must(t, ts)
			_, err := ts.Reject(t.Context(), tok)
			require.NoError(t, err)
		}
		assert.Zero(t, time.Since(begin), "nobody waited for a hook")
		require.NoError(t, m.Close(t.Context()))
		assert.False(t, w.overlap.Load())
		last := map[string]State{}
		for _, c := range w.changes {
			assert.Equal(t, last[c.Name], c.From)
			last[c.Name] = c.To
		}
		assert.Len(t, last, 20)
		for name, s := range last {
			assert.Equal(t, StateClosed, s, name)
		}
	})
}

func TestR31_HooksThatPanicOrExit(t *testing.T) {
	// A panic or Goexit in a hook is contained: the next change is told, tokens are published, Close returns.
	for name, fail := range map[string]func(){"panic": func() { panic("canary") }, "exit": runtime.Goexit} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var calls atomic.Int32
				var log bytes.Buffer
				ts := start(t, &actor{}, Config{Logger: slog.New(slog.NewTextHandler(&log, nil)), Hooks: Hooks{Changed: func(Change) {
					calls.Add(1)
					fail()
				}}})
				_, err := ts.Reject(t.Context(), must(t, ts))
				require.NoError(t, err)
				require.NoError(t, ts.Close(t.Context()))
				assert.EqualValues(t, 4, calls.Load(), "ready, waiting, ready, closed")
				assert.NotContains(t, log.String(), "canary")
			})
		})
	}
}

func TestR31_RotatedBeforeItIsPublished(t *testing.T) {
	// Rotated sees a new refresh token before any reader sees the token that came with it, and is not called for an old one.
	synctest.Test(t, func(t *testing.T) {
		var ts *TokenSource
		var stored []string
		src := reissuer{&actor{}}
		src.play = func(_ context.Context, n int, live *Token) (*Token, error) {
			tok := rotating(n)
			if n%3 == 0 {
				tok.Refresh = live.Refresh // not rotated
			}
			return tok, nil
		}
		hook := func(_ context.Context, name string, tok *Token) error {
			assert.Equal(t, "x", name)
			if cur := ts.cur.Load(); cur != nil {
				assert.NotEqual(t, tok.Value.Reveal(), cur.Value.Reveal())
			}
			time.Sleep(time.Second)
			stored = append(stored, tok.Refresh.Reveal())
			return nil
		}
		m := manage(t, Config{Hooks: Hooks{Rotated: hook}})
		ts = adopt(t, m, "x", src, Config{})
		for range 6 {
			tok := must(t, ts)
			assert.Contains(t, stored, tok.Refresh.Reveal())
			time.Sleep(50 * time.Minute)
		}
		synctest.Wait()
		assert.Equal(t, []string{"refresh-1", "refresh-2", "refresh-4", "refresh-5"}, stored[:4])
	})
}

func TestR31_RotatedErrorHoldsTheToken(t *testing.T) {
	// While Rotated fails the token is kept and not published, and Rotated is asked again with it, without another call of the Source and for no unit.
	for _, c := range []struct {
		name string
		fail func() error
	}{
		{"error", func() error { return errors.New("disk full") }},
		{"panic", func() error { panic("no") }},
		{"exit", func() error { runtime.Goexit(); return nil }},
	} {
		for _, when := range []string{"Issue", "Reissue", "Reject"} {
			t.Run(c.name+" at "+when, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					want, failures := 1, 6
					if when != "Issue" {
						want = 2
					}
					asked := 0
					src := reissuer{&actor{play: func(_ context.Context, n int, _ *Token) (*Token, error) { return rotating(n), nil }}}
					ts := start(t, src, Config{Hooks: Hooks{Rotated: func(_ context.Context, _ string, tok *Token) error {
						if tok.Value.Reveal() != fmt.Sprintf("token-%d", want) {
							return nil
						}
						if asked++; asked <= failures {
							return c.fail()
						}
						return nil
					}}})
					switch when {
					case "Reissue":
						must(t, ts)
						for src.calls() < 2 {
							time.Sleep(time.Second)
						}
						synctest.Wait()
						assert.Equal(t, "token-1", must(t, ts).Value.Reveal())
					case "Reject":
						_, err := ts.Reject(t.Context(), must(t, ts))
						require.Error(t, err)
						assert.Nil(t, ts.cur.Load())
					}
					deadline := time.Now().Add(59 * time.Minute)
					for ts.Status().Generation < uint64(want) && time.Now().Before(deadline) {
						_, _ = ts.Token(t.Context())
						time.Sleep(time.Second)
					}
					assert.Equal(t, fmt.Sprintf("token-%d", want), must(t, ts).Value.Reveal())
					assert.Equal(t, failures+1, asked)
					assert.Equal(t, want, src.calls(), "calls of the Source")
					if when != "Reject" {
						assert.Equal(t, 4, left(ts))
					} else {
						assert.Equal(t, 3, left(ts))
					}
					checkTokenSource(t, ts)
				})
			})
		}
	}
}

func TestR31_HeldTokenOutlived(t *testing.T) {
	// A held token that runs out is replaced by its own refresh token, which is newer than any that was stored; and Rotated hears of that one.
	synctest.Test(t, func(t *testing.T) {
		var stored []string
		var ok atomic.Bool
		src := reissuer{&actor{}}
		src.play = func(_ context.Context, n int, live *Token) (*Token, error) {
			tok := rotating(n)
			tok.Life = time.Minute
			if n > 2 && live != nil {
				assert.NotEqual(t, "refresh-1", live.Refresh.Reveal(), "the old one was spent")
				tok.Refresh = live.Refresh
			}
			return tok, nil
		}
		ts := start(t, src, Config{Hooks: Hooks{Rotated: func(_ context.Context, _ string, tok *Token) error {
			if tok.Refresh.Reveal() != "refresh-1" && !ok.Load() {
				return errors.New("disk full")
			}
			stored = append(stored, tok.Refresh.Reveal())
			return nil
		}}})
		must(t, ts)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		assert.Equal(t, []string{"refresh-1"}, stored)
		ok.Store(true)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		tok := must(t, ts)
		assert.Equal(t, []string{"refresh-1", tok.Refresh.Reveal()}, stored, "nothing is published that was not stored")
	})
}

func TestR31_HungHookHoldsUpNoReader(t *testing.T) {
	// A Rotated that hangs costs the flight its timeout, and no reader the token in service.
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		src := reissuer{&actor{play: func(_ context.Context, n int, _ *Token) (*Token, error) { return rotating(n), nil }}}
		ts := start(t, src, Config{Hooks: Hooks{Rotated: func(_ context.Context, _ string, tok *Token) error {
			if tok.Value.Reveal() != "token-1" {
				<-release // whatever its ctx says
			}
			return nil
		}}})
		must(t, ts)
		time.Sleep(50 * time.Minute)
		begin := time.Now()
		assert.Equal(t, "token-1", must(t, ts).Value.Reveal())
		assert.Zero(t, time.Since(begin))
		s := ts.Status()
		assert.Equal(t, StateFailing, s.State)
		assert.Contains(t, s.LastError, "time")
		close(release)
		time.Sleep(9 * time.Minute)
		assert.Equal(t, "token-2", must(t, ts).Value.Reveal(), "what was held is published in the end")
		for _, s := range src.book()[:2] {
			assert.NoError(t, s.err)
		}
		checkTokenSource(t, ts)
	})
}

func TestR31_FakeClockRun(t *testing.T) {
	// With a Fake clock and a Rand of its own, a run and what it reports repeat exactly.
	run := func(t *testing.T) (changes []Change, s Status) {
		synctest.Test(t, func(t *testing.T) {
			fake := clock.NewFake(time.Time{})
			fake.Settle = synctest.Wait
			w := &witness{}
			src := &actor{play: func(_ context.Context, n int, _ *Token) (*Token, error) {
				if n%4 == 0 || n > 20 && n < 60 {
					return nil, errUnavailable
				}
				return tokenOf(n), nil
			}}
			ts := start(t, src, Config{Clock: fake, WatchEvery: -1, Rand: func() float64 { return 0.25 }, Hooks: Hooks{Changed: w.changed}})
			must(t, ts)
			fake.Advance(48 * time.Hour)
			synctest.Wait()
			s, changes = ts.Status(), w.changes
		})
		return changes, s
	}
	changes, s := run(t)
	again, s2 := run(t)
	require.Greater(t, len(changes), 10)
	assert.Equal(t, fmt.Sprint(changes), fmt.Sprint(again))
	assert.Equal(t, s, s2)
}

func TestR31_LateRotationIsNotLost(t *testing.T) {
	// A Reissue that ends after its flight, while the old token is in service, leaves its refresh token: the next attempt uses that, and not the spent one.
	synctest.Test(t, func(t *testing.T) {
		src := reissuer{&actor{}}
		spent := map[string]bool{}
		src.play = func(_ context.Context, n int, live *Token) (*Token, error) {
			if live != nil {
				if assert.False(t, spent[live.Refresh.Reveal()], "a refresh token is used again") {
					spent[live.Refresh.Reveal()] = true
				}
			}
			if n == 2 {
				time.Sleep(40 * time.Second) // whatever its ctx says
			}
			return rotating(n), nil
		}
		ts := start(t, src, Config{})
		must(t, ts)
		time.Sleep(59 * time.Minute)
		assert.Equal(t, "token-2", must(t, ts).Value.Reveal())
		time.Sleep(24 * time.Hour)
		must(t, ts)
		checkTokenSource(t, ts)
	})
}
