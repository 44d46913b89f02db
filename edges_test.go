package renew

// Edges that a review found, each under the rule that it belongs to.

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-f29168f7/renew/budget"
)

func TestR16_IdleAtTimeZero(t *testing.T) {
	// IdleAfter works on a clock that starts at 0.
	synctest.Test(t, func(t *testing.T) {
		fake := newFake()
		ts := start(t, scriptOf(gives(time.Hour)), Config{Clock: fake, IdleAfter: 10 * time.Minute})
		must(t, ts)
		for range 60 {
			fake.Advance(time.Minute)
		}
	})
}

func TestR31_RotatedIsNeverSkipped(t *testing.T) {
	// A hook that was not called is an error, also when its ctx has ended.
	var calls atomic.Int64
	ts := start(t, scriptOf(gives(time.Hour)), Config{Hooks: Hooks{Rotated: func(context.Context, string, *Token) error { calls.Add(1); return nil }}})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	n := 0
	for range 200000 {
		if ts.rotated(ctx, &Token{Refresh: NewSecret("r")}, nil) == nil {
			n++
		}
	}
	assert.Zero(t, calls.Load())
	assert.Zero(t, n, "told that the hook ran")
}

func TestR31_ExpiredNeedsALogin(t *testing.T) {
	// An interactive token that expires is told as a login that is required.
	synctest.Test(t, func(t *testing.T) {
		s := scriptOf(gives(time.Hour))
		s.traits.Interactive = true
		var states []State
		ts := start(t, s, Config{Interactive: true, Hooks: Hooks{Changed: func(c Change) { states = append(states, c.To) }}})
		must(t, ts)
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		st := ts.Status()
		t.Log(st.State, st.Next, st.Reason, states)
		assert.NotEqual(t, StateWaiting, st.State)
	})
	synctest.Test(t, func(t *testing.T) {
		s := reissuing{scriptOf(givesRefresh(time.Hour)), []reply{fails(Refused)}}
		s.traits.Interactive = true
		var states []State
		ts := start(t, s, Config{Interactive: true, Hooks: Hooks{Changed: func(c Change) { states = append(states, c.To) }}})
		must(t, ts)
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		st := ts.Status()
		t.Log(st.State, st.Next, st.Reason, states)
		assert.Equal(t, StateLoginRequired, st.State)
	})
	synctest.Test(t, func(t *testing.T) {
		s := scriptOf(gives(time.Hour))
		s.traits.Interactive = true
		ts := start(t, s, Config{})
		_, err := ts.Token(t.Context())
		t.Log(err)
		st := ts.Status()
		t.Log(st.State, st.Next, st.Reason)
	})
}

func TestR31_ReasonOfATokenThatEnds(t *testing.T) {
	// Status does not say of a token with an end that it has none.
	synctest.Test(t, func(t *testing.T) {
		ts := start(t, scriptOf(gives(time.Hour)), Config{ReissueEvery: -1})
		must(t, ts)
		st := ts.Status()
		assert.NotEqual(t, "the token has no end", st.Reason, "%v", st.Deadline)
	})
}

func TestR8_LateTokenEndsTheWaitForAFlight(t *testing.T) {
	// A late token that is published serves those who wait on the running flight.
	synctest.Test(t, func(t *testing.T) {
		s := scriptOf(deaf(35*time.Second, gives(time.Hour)), slow(time.Hour, gives(time.Hour)))
		ts := start(t, s, Config{})
		_, err := ts.Token(t.Context())
		require.Error(t, err)
		time.Sleep(2 * time.Second) // flight 2 runs
		w := ask(func() (*Token, error) { return ts.Token(context.Background()) })
		require.False(t, w.done())
		time.Sleep(5 * time.Second) // at 37 s; the late token came at 35 s
		require.NotNil(t, ts.cur.Load(), "the late token is in service")
		assert.True(t, w.done(), "a reader still waits although there is a token")
		<-w.ended
		w.done()
		t.Log(w.took, w.err)
	})
}

func TestR10_LoggerPanics(t *testing.T) {
	// A slog handler that panics kills nobody.
	ts := start(t, scriptOf(gives(time.Hour)), Config{Logger: slog.New(badHandler{})})
	must(t, ts)
	require.NoError(t, ts.Close(t.Context())) // waits for the log
}

func TestR10_NilContextWedgesNothing(t *testing.T) {
	// A caller that panics with a nil ctx leaves no lock behind.
	synctest.Test(t, func(t *testing.T) {
		ts := start(t, scriptOf(failsWith(faultDial)), Config{})
		_, _ = ts.Token(t.Context())
		func() {
			defer func() { t.Log("recovered:", recover()) }()
			var none context.Context
			_, _ = ts.Token(none)
		}()
		ok := ts.mu.TryLock()
		assert.True(t, ok, "the mutex is held for ever")
		ts.mu.TryLock()
		ts.mu.Unlock()
	})
}

func TestR21_ReleasedUnitIsNoticed(t *testing.T) {
	// A unit that another TokenSource gives back is noticed long before the window ends.
	synctest.Test(t, func(t *testing.T) {
		b := &budget.Budget{Units: 1}
		srcA := scriptOf(fails(Refused), slow(10*time.Second, failsWith(faultDial)))
		srcA.traits.Interactive = true // no timer retries it
		a := start(t, srcA, Config{Budget: b, Interactive: true})
		srcB := scriptOf(fails(Refused), gives(time.Hour))
		bb := start(t, srcB, Config{Budget: b})
		_, err := a.Token(t.Context())
		require.Error(t, err)
		_, err = bb.Token(t.Context())
		require.Error(t, err)
		time.Sleep(time.Second)
		wa := ask(func() (*Token, error) { return a.Token(context.Background()) })
		require.False(t, wa.done())
		wb := ask(func() (*Token, error) { return bb.Wait(context.Background()) })
		require.False(t, wb.done())
		time.Sleep(11 * time.Second)
		require.True(t, wa.done())
		t.Log("a:", wa.err)
		assert.Equal(t, 1, b.Left(bb.now().Mono))
		time.Sleep(60 * time.Second)
		assert.True(t, wb.done(), "the unit has been free for a minute: left %d", b.Left(bb.now().Mono))
		<-wb.ended
		wb.done()
		t.Log(wb.took)
	})
}

func TestR22_RefusedForGoodStaysInService(t *testing.T) {
	// A rejected token whose replacement is refused for good goes back into service.
	synctest.Test(t, func(t *testing.T) {
		s := scriptOf(gives(time.Hour), failsWith(forGood))
		ts := start(t, s, Config{})
		tok := must(t, ts)
		_, err := ts.Reject(t.Context(), tok)
		t.Log(err)
		_, err = ts.Token(t.Context())
		assert.NoError(t, err, "Reject's doc: it stays in service until its deadline")
	})
}

func TestR5_ManagerWaitEndsAtARefusalForGood(t *testing.T) {
	// Manager.Wait ends at a refusal for good, however many others are down.
	synctest.Test(t, func(t *testing.T) {
		m := manage(t, Config{})
		for i := range 64 {
			adopt(t, m, fmt.Sprintf("a%02d", i), scriptOf(failsWith(faultDial)), Config{})
		}
		adopt(t, m, "z", scriptOf(failsWith(forGood)), Config{})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		begin := time.Now()
		err := m.Wait(ctx)
		require.Error(t, err)
		assert.Less(t, time.Since(begin), time.Minute)
	})
}

func TestR20_ResetThenRejectTakesNoPlaces(t *testing.T) {
	// With the budget spent, a Reset and a Reject take no places of the shared pacer.
	synctest.Test(t, func(t *testing.T) {
		b := &budget.Budget{Units: 1}
		m := manage(t, Config{Rate: budget.Rate{PerSecond: 0.1, Burst: 2}, Endpoint: "e"})
		s := scriptOf(gives(100*time.Second), failsWith(faultDial))
		ts := adopt(t, m, "a", s, Config{Budget: b})
		tok := must(t, ts)
		time.Sleep(86 * time.Second) // failing
		l := ts.lane()
		for range 3 {
			l.endpoint.pacer.Urgent(ts.now().Mono)
		}
		ts.Reset()
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := ts.Reject(ctx, tok)
		t.Log(err)
		_, ok := b.Reserve(ts.now().Mono)
		require.True(t, ok)
		b.Spend(ts.now().Mono)
		var slots []time.Duration
		places, lastSlot := 0, time.Duration(0)
		for range 20 {
			time.Sleep(10 * time.Second)
			ts.mu.Lock()
			if ts.flight != nil {
				slots = append(slots, ts.flight.slot-ts.now().Mono)
				if ts.flight.slot != lastSlot {
					lastSlot = ts.flight.slot
					places++
				}
			}
			ts.mu.Unlock()
		}
		t.Log(slots)
		assert.Less(t, places, 3, "places taken at the pacer that the whole endpoint shares, with the budget spent")
	})
}

func TestR23_FinalAndPacedGetsThrough(t *testing.T) {
	// After the window a caller gets through a busy pacer.
	synctest.Test(t, func(t *testing.T) {
		m := manage(t, Config{Rate: budget.Rate{PerSecond: 0.1, Burst: 1}, Endpoint: "e"})
		s := scriptOf(failsWith(forGood), gives(time.Hour))
		ts := adopt(t, m, "a", s, Config{})
		_, err := ts.Token(t.Context())
		require.Error(t, err)
		time.Sleep(11 * time.Minute)
		l := ts.lane()
		l.endpoint.pacer.Urgent(ts.now().Mono) // another one of the endpoint
		_, err = ts.Token(t.Context())
		for range 100 {
			if err == nil {
				break
			}
			time.Sleep(12 * time.Second)
			_, err = ts.Token(t.Context())
		}
		assert.NoError(t, err)
	})
}

func TestR31_HookKeepsItsToken(t *testing.T) {
	// Nothing writes into the token that the Rotated hook was given.
	kept := make(chan *Token, 100)
	go func() {
		for tok := range kept {
			for range 1000 {
				_ = tok.Generation()
			}
		}
	}()
	s := reissuing{scriptOf(givesRefresh(time.Hour)), []reply{givesRefresh(time.Hour)}}
	ts := start(t, s, Config{Hooks: Hooks{Rotated: func(_ context.Context, _ string, tok *Token) error { kept <- tok; return nil }}})
	tok := must(t, ts)
	for range 3 {
		tok, _ = ts.Reject(t.Context(), tok)
		if tok == nil {
			break
		}
	}
	time.Sleep(50 * time.Millisecond)
}

func TestR20_EndlessTokensArePaced(t *testing.T) {
	// Tokens without an end, reissued often, are paced.
	for _, every := range []time.Duration{time.Millisecond, 10 * time.Millisecond} {
		bubble(t, every.String(), func(t *testing.T) {
			s := scriptOf(slow(time.Microsecond, gives(0)))
			ts := start(t, s, Config{ReissueEvery: every})
			must(t, ts)
			time.Sleep(10 * time.Second)
			assert.Less(t, s.count(), 700, "calls in 10 s; the rate is 50 a second, burst 100")
		})
	}
}

func TestR5_WaitDoesNotSpin(t *testing.T) {
	// Wait makes no rounds while the pacer wants a moment.
	m := manage(t, Config{Rate: budget.Rate{PerSecond: 0.5, Burst: 1}, Endpoint: "e"})
	src := &reading{script: scriptOf(failsWith(forGood), gives(time.Hour))}
	ts := adopt(t, m, "a", src, Config{Budget: &budget.Budget{Window: 100 * time.Millisecond}})
	_, err := ts.Token(t.Context())
	require.Error(t, err)
	time.Sleep(200 * time.Millisecond) // the window has passed; the pacer's next start is in 1.8 s
	before := src.described.Load()
	begin := time.Now()
	_, err = ts.Wait(t.Context())
	t.Logf("%v after %v; %d rounds", err, time.Since(begin), src.described.Load()-before)
	assert.Less(t, src.described.Load()-before, int64(50))
}

type reading struct {
	*script
	described atomic.Int64
}

func (r *reading) Describe() Traits { r.described.Add(1); return Traits{} }

func TestR4_PacedStartIsWaitedFor(t *testing.T) {
	// Token waits for a start that is paced and near, also after a refusal for good.
	synctest.Test(t, func(t *testing.T) {
		m := manage(t, Config{Rate: budget.Rate{PerSecond: 0.5, Burst: 1}, Endpoint: "e"})
		ts := adopt(t, m, "a", scriptOf(failsWith(forGood), gives(time.Hour)), Config{Budget: &budget.Budget{Window: 100 * time.Millisecond}})
		_, err := ts.Token(t.Context())
		require.Error(t, err)
		time.Sleep(200 * time.Millisecond)
		_, err = ts.Token(t.Context())
		assert.NoError(t, err)
	})
}

func TestR4_WaitersDoNotSpin(t *testing.T) {
	// Callers that wait look at the clock a few times, not all the time. In real time: a bubble that spins never ends.
	clk := &counted{}
	m := manage(t, Config{Clock: clk, WatchEvery: -1, Rate: budget.Rate{PerSecond: 0.4, Burst: 1}, Endpoint: "e"})
	a := adopt(t, m, "a", scriptOf(slow(100*time.Millisecond, returns(nil, &IssueError{Kind: Throttled, Status: 503, RetryAfter: time.Second}))), Config{})
	b := adopt(t, m, "b", scriptOf(gives(time.Hour)), Config{})
	go func() { _, _ = a.Token(t.Context()) }() // takes the one start that is free
	time.Sleep(50 * time.Millisecond)
	done := make(chan error)
	go func() { _, err := b.Token(t.Context()); done <- err }() // its place is in 2.5 s
	time.Sleep(150 * time.Millisecond)                          // the endpoint asked everybody for a pause of 1 s
	before := clk.readings.Load()
	go func() { _, _ = b.Token(t.Context()) }()
	time.Sleep(500 * time.Millisecond)
	n := clk.readings.Load() - before
	t.Log("readings of the clock in 0.5 s with two callers waiting:", n)
	assert.Less(t, n, int64(100))
	<-done
}

func TestR23_LongWindowDoesNotOverflow(t *testing.T) {
	// The longest window is no window of zero.
	synctest.Test(t, func(t *testing.T) {
		s := scriptOf(failsWith(forGood))
		ts := start(t, s, Config{Budget: &budget.Budget{Window: 1<<63 - 1}})
		for range 10 {
			_, _ = ts.Token(t.Context())
		}
		assert.Equal(t, 1, s.count(), "R23: attempts at one instant after a refusal for good")
	})
}

func TestR18_AnotherSourcesFailureIsNoVerdict(t *testing.T) {
	// A failure of a TokenSource that a Source uses is no verdict of its own issuer.
	synctest.Test(t, func(t *testing.T) {
		a := start(t, scriptOf(failsWith(forGood), gives(time.Hour)), Config{})
		n := 0
		b := start(t, SourceFunc(func(ctx context.Context) (*Token, error) {
			n++
			tok, err := a.Token(ctx)
			if err != nil {
				return nil, fmt.Errorf("the subject token: %w", err)
			}
			return &Token{Value: tok.Value, Life: time.Hour}, nil
		}), Config{})
		_, err := b.Token(t.Context())
		t.Log(err)
		a.Reset() // the operator mended a
		must(t, a)
		time.Sleep(time.Second)
		_, err = b.Token(t.Context())
		t.Log(b.Status())
		assert.NoError(t, err, "b's own issuer has never been asked")
	})
}

func TestR12_RestoredKeepsReissueEvery(t *testing.T) {
	// A token that goes back into service keeps its ReissueEvery.
	synctest.Test(t, func(t *testing.T) {
		b := &budget.Budget{Units: 1}
		m := manage(t, Config{Rate: budget.Rate{PerSecond: 0.1, Burst: 1}, Endpoint: "e"})
		s := scriptOf(gives(0))
		ts := adopt(t, m, "a", s, Config{Budget: b, ReissueEvery: 10 * time.Minute})
		tok := must(t, ts)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := ts.Reject(ctx, tok)
		t.Log(err)
		_, ok := b.Reserve(ts.now().Mono)
		require.True(t, ok)
		b.Spend(ts.now().Mono)
		time.Sleep(2 * time.Hour)
		assert.Greater(t, s.count(), 5)
	})
}

func TestR4_ContextEndsBesideReset(t *testing.T) {
	// A ctx that ends beside a Reset is no data race.
	ts := start(t, scriptOf(returns(nil, &IssueError{Kind: Throttled, RetryAfter: 10 * time.Second})), Config{})
	_, _ = ts.Token(t.Context())
	for range 3000 {
		var wg, ready sync.WaitGroup
		ctx, cancel := context.WithCancel(t.Context())
		for range 8 {
			ready.Add(1)
			wg.Go(func() { ready.Done(); _, _ = ts.Token(ctx) })
		}
		ready.Wait()
		time.Sleep(20 * time.Microsecond)
		go cancel()
		ts.Reset()
		wg.Wait()
	}
}

func TestR17_RejectOfACopy(t *testing.T) {
	// A copy with another attribute is still the same token.
	synctest.Test(t, func(t *testing.T) {
		ts := start(t, scriptOf(gives(time.Hour)), Config{})
		tok := must(t, ts)
		got, err := ts.Reject(t.Context(), tok.WithAttr("host", "a"))
		t.Log(got.Value.Reveal(), tok.Value.Reveal(), err)
	})
}

// badHandler is a slog.Handler that panics.
type badHandler struct{ slog.Handler }

func (badHandler) Enabled(context.Context, slog.Level) bool  { return true }
func (badHandler) Handle(context.Context, slog.Record) error { panic("no") }

func TestR13_PausesStartAnewInMidFlight(t *testing.T) {
	// When the token leaves service between two tries, the pauses start anew: the next one is the first of them.
	synctest.Test(t, func(t *testing.T) {
		dies := deaf(45*time.Millisecond, fails(Transient))
		s := scriptOf(gives(time.Second), dies, dies, dies, gives(time.Hour))
		ts := open(t, s, Config{Rand: same(0.5), ReissueEvery: 850 * time.Millisecond}) // 0.9 s is the deadline
		must(t, ts)
		time.Sleep(3 * time.Second)
		synctest.Wait()
		require.GreaterOrEqual(t, s.count(), 4)
		assert.Equal(t, coldPause(1), s.call(4).at.Sub(s.call(3).at)-45*time.Millisecond)
	})
}

func TestR8_LateTokenReplacesNoHeldOne(t *testing.T) {
	// A token that came late does not take the place of one that was issued after it and waits for its Rotated hook.
	synctest.Test(t, func(t *testing.T) {
		var ok atomic.Bool
		src := scriptOf(deaf(40*time.Second, givesRefresh(time.Hour)), givesRefresh(time.Hour))
		ts := open(t, src, Config{Hooks: Hooks{Rotated: func(context.Context, string, *Token) error {
			if !ok.Load() {
				return errors.New("disk full")
			}
			return nil
		}}})
		_, err := ts.Token(t.Context())
		require.Error(t, err)
		time.Sleep(time.Minute)
		synctest.Wait()
		ok.Store(true)
		time.Sleep(time.Minute)
		assert.Equal(t, "token-2", must(t, ts).Value.Reveal())
		assert.Equal(t, 2, src.count())
	})
}

func TestR24_AResumePostponesNothing(t *testing.T) {
	// A small step of the clock does not put off the reissue, however long flights take.
	synctest.Test(t, func(t *testing.T) {
		fake := newFake()
		var calls []time.Duration
		ts := start(t, SourceFunc(func(context.Context) (*Token, error) {
			calls = append(calls, fake.Now().Mono)
			done := make(chan struct{})
			fake.AfterFunc(9*time.Second, func() { close(done) })
			<-done
			return &Token{Value: NewSecret(fmt.Sprint("token-", len(calls))), Life: 20 * time.Second}, nil
		}), Config{Clock: fake, Rand: same(0.99)})
		a := ask(func() (*Token, error) { return ts.Token(t.Context()) })
		fake.Advance(9 * time.Second)
		require.True(t, a.done())
		fake.StepWall(200 * time.Millisecond)
		fake.Advance(20 * time.Second)
		require.GreaterOrEqual(t, len(calls), 2)
		assert.Equal(t, 10*time.Second, calls[1], "half of its life, for flights are long")
		fake.Advance(time.Minute)
	})
}

func TestR20_NoCallerGetsAroundAPause(t *testing.T) {
	// A caller who may try again what was refused for good still waits for the pause that the endpoint asked of another account.
	synctest.Test(t, func(t *testing.T) {
		m := manage(t, Config{Endpoint: "https://issuer.example"})
		refused := scriptOf(failsWith(forGood), gives(time.Hour))
		a := adopt(t, m, "a", refused, Config{})
		b := adopt(t, m, "b", scriptOf(failsWith(&IssueError{Kind: Throttled, Status: 503, RetryAfter: 20 * time.Minute}), gives(time.Hour)), Config{})
		_, err := a.Token(t.Context())
		require.Error(t, err)
		_, err = b.Token(t.Context())
		require.Error(t, err)
		time.Sleep(15 * time.Minute)
		_, err = a.Token(t.Context())
		assert.Equal(t, 5*time.Minute, time.Until(issueErrorIn(t, err).NextAttempt))
		assert.Equal(t, 1, refused.count())
		time.Sleep(5 * time.Minute)
		must(t, a)
	})
}

func TestR11_TheSameByTwoCalls(t *testing.T) {
	// When a late call has published a token, a flight that returns the same value has not succeeded.
	synctest.Test(t, func(t *testing.T) {
		one := &Token{Value: NewSecret("one"), Life: time.Hour}
		ts := open(t, scriptOf(deaf(40*time.Second, returns(one, nil)), slow(20*time.Second, returns(one, nil)), gives(time.Hour)), Config{})
		_, err := ts.Token(t.Context())
		require.Error(t, err)
		time.Sleep(time.Minute)
		tok := must(t, ts)
		assert.Equal(t, "one", tok.Value.Reveal())
		assert.Equal(t, uint64(1), tok.Generation())
		time.Sleep(2 * time.Second)
	})
}

func TestR7_NobodyIsAskedLater(t *testing.T) {
	// A Manager.Wait that has ended leaves no login of a person behind for the end of a pause.
	synctest.Test(t, func(t *testing.T) {
		m := manage(t, Config{Endpoint: "https://issuer.example"})
		busy := adopt(t, m, "busy", scriptOf(failsWith(&IssueError{Kind: Throttled, Status: 503, RetryAfter: time.Minute}), gives(time.Hour)), Config{})
		_, err := busy.Token(t.Context())
		require.Error(t, err)
		login := scriptOf(gives(time.Hour))
		login.traits.Interactive = true
		adopt(t, m, "login", login, Config{Interactive: true})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.Error(t, m.Wait(ctx))
		time.Sleep(time.Hour)
		assert.Zero(t, login.count())
	})
}

func TestR4_PatienceIsNotRenewed(t *testing.T) {
	// When the start that a caller waits for is put off beyond the flight timeout from when it came, it hears so, and does not wait as long again.
	synctest.Test(t, func(t *testing.T) {
		m := manage(t, Config{Endpoint: "https://issuer.example"})
		pause := failsWith(&IssueError{Kind: Throttled, Status: 503, RetryAfter: 20 * time.Second})
		later := adopt(t, m, "later", scriptOf(slow(15*time.Second, pause), gives(time.Hour)), Config{})
		first := ask(func() (*Token, error) { return later.Token(t.Context()) })
		require.False(t, first.done())
		now := adopt(t, m, "now", scriptOf(pause, gives(time.Hour)), Config{})
		_, err := now.Token(t.Context())
		require.Error(t, err)
		caller := ask(func() (*Token, error) {
			return adopt(t, m, "caller", scriptOf(gives(time.Hour)), Config{}).Token(t.Context())
		})
		require.False(t, caller.done(), "20 s: it waits")
		time.Sleep(21 * time.Second)
		require.True(t, first.done())
		require.True(t, caller.done(), "35 s: it does not")
		assert.Equal(t, 20*time.Second, caller.took)
		assert.Equal(t, 14*time.Second, time.Until(issueErrorIn(t, caller.err).NextAttempt))
		time.Sleep(time.Minute)
	})
}

func TestR22_RestoredOnlyWithinTheWindow(t *testing.T) {
	// A Reject that may try again what was refused for good waits through a pause that the endpoint asks for; it is not
	// told that a budget is spent which is not.
	synctest.Test(t, func(t *testing.T) {
		m := manage(t, Config{Endpoint: "https://issuer.example"})
		src := scriptOf(gives(time.Hour), failsWith(forGood), gives(time.Hour))
		ts := adopt(t, m, "ts", src, Config{})
		tok := must(t, ts)
		_, err := ts.Reject(t.Context(), tok)
		assert.Equal(t, forGood.Code, issueErrorIn(t, err).Code)
		_, err = ts.Reject(t.Context(), tok)
		assert.Equal(t, 10*time.Minute, time.Until(issueErrorIn(t, err).NextAttempt), "it is in service, and cannot be replaced")
		time.Sleep(12 * time.Minute)
		busy := adopt(t, m, "busy", scriptOf(failsWith(&IssueError{Kind: Throttled, Status: 503, RetryAfter: time.Second}), gives(time.Hour)), Config{})
		_, err = busy.Token(t.Context())
		require.Error(t, err)
		a := ask(func() (*Token, error) { return ts.Reject(t.Context(), tok) })
		require.False(t, a.done())
		ts.Status()
		time.Sleep(time.Second)
		require.True(t, a.done())
		require.NoError(t, a.err)
		assert.Equal(t, uint64(2), a.tok.Generation())
	})
}

func TestR20_ARetryHeedsAPause(t *testing.T) {
	// A further try within a flight waits for a pause that the endpoint has asked of another account meanwhile.
	synctest.Test(t, func(t *testing.T) {
		m := manage(t, Config{Endpoint: "https://issuer.example"})
		src := scriptOf(slow(time.Second, fails(Transient)), gives(time.Hour))
		a := ask(func() (*Token, error) { return adopt(t, m, "retries", src, Config{}).Token(t.Context()) })
		require.False(t, a.done())
		busy := adopt(t, m, "busy", scriptOf(failsWith(&IssueError{Kind: Throttled, Status: 503, RetryAfter: 10 * time.Second}), gives(time.Hour)), Config{})
		_, err := busy.Token(t.Context())
		require.Error(t, err)
		time.Sleep(10 * time.Second)
		require.True(t, a.done())
		require.NoError(t, a.err)
		assert.Equal(t, 10*time.Second, src.call(2).at.Sub(src.call(1).at))
	})
}

func TestR8_NewerLateTokenIsHeld(t *testing.T) {
	// Of two tokens that come late and wait for their Rotated hook, the one that was asked for later is kept.
	synctest.Test(t, func(t *testing.T) {
		var ok atomic.Bool
		src := scriptOf(deaf(40*time.Second, givesRefresh(time.Hour)), deaf(40*time.Second, givesRefresh(time.Hour)), fails(Transient))
		ts := open(t, src, Config{Hooks: Hooks{Rotated: func(context.Context, string, *Token) error {
			if !ok.Load() {
				return errors.New("disk full")
			}
			return nil
		}}})
		_, err := ts.Token(t.Context())
		require.Error(t, err)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		ok.Store(true)
		time.Sleep(time.Minute)
		assert.Equal(t, "token-2", must(t, ts).Value.Reveal())
	})
}

func TestR27_NothingIsRevokedBeforeClose(t *testing.T) {
	// A token that comes late and is not wanted is dropped, and not revoked while the TokenSource is open.
	synctest.Test(t, func(t *testing.T) {
		src := revoker{actor: &actor{play: func(_ context.Context, n int, _ *Token) (*Token, error) {
			if n == 1 {
				time.Sleep(40 * time.Second) // whatever its ctx says
			}
			return tokenOf(n), nil
		}}}
		ts := start(t, src, Config{RevokeOnClose: true})
		_, err := ts.Token(t.Context())
		require.Error(t, err)
		time.Sleep(time.Minute)
		assert.Equal(t, "token-2", must(t, ts).Value.Reveal())
		assert.Empty(t, src.taken())
	})
}
