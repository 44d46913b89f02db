package renew

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"runtime"
	"slices"
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

// This file argues about interleavings. Each test is named after a rule, states
// its invariant in the first line, and ends with checkTokenSource.

// actor is a Source whose calls a test plays. It keeps books on them.
type actor struct {
	// play answers the n-th call, from 1 up; live is nil in Issue. Nil means tokenOf(n).
	play   func(ctx context.Context, n int, live *Token) (*Token, error)
	traits Traits

	mu      sync.Mutex
	scenes  []scene
	running int
	most    int // calls that ran at once
	revoked []string
}

// scene is one call of an actor.
type scene struct {
	start, end time.Duration // end is never while it runs
	err        error
	reissue    bool
}

func (a *actor) Issue(ctx context.Context) (*Token, error) { return a.call(ctx, nil) }

func (a *actor) Describe() Traits { return a.traits }

func (a *actor) call(ctx context.Context, live *Token) (t *Token, err error) {
	a.mu.Lock()
	a.scenes = append(a.scenes, scene{start: clock.Real{}.Now().Mono, end: never, reissue: live != nil})
	n := len(a.scenes)
	a.running++
	a.most = max(a.most, a.running)
	a.mu.Unlock()
	defer func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.running--
		a.scenes[n-1].end, a.scenes[n-1].err = clock.Real{}.Now().Mono, err
	}()
	if a.play == nil {
		return tokenOf(n), nil
	}
	return a.play(ctx, n, live)
}

// calls returns how many calls there were.
func (a *actor) calls() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.scenes)
}

// book returns a copy of the calls so far.
func (a *actor) book() []scene {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.scenes)
}

// reissuer is an actor whose tokens can be reissued.
type reissuer struct{ *actor }

func (r reissuer) Reissue(ctx context.Context, live *Token) (*Token, error) {
	return r.call(ctx, live)
}

// revoker is an actor whose tokens can be revoked.
type revoker struct {
	*actor
	revoke func(ctx context.Context, t *Token) error // nil: succeeds
}

func (r revoker) Revoke(ctx context.Context, t *Token) error {
	r.mu.Lock()
	r.revoked = append(r.revoked, t.Value.Reveal())
	r.mu.Unlock()
	if r.revoke == nil {
		return nil
	}
	return r.revoke(ctx, t)
}

func (r revoker) taken() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.revoked)
}

// tokenOf returns a token of an hour, named after the call that made it.
func tokenOf(n int) *Token {
	return &Token{Value: NewSecret(fmt.Sprintf("token-%d", n)), Life: time.Hour}
}

// endless is tokenOf without an end: nothing replaces it but a Reject.
func endless(n int) *Token {
	return &Token{Value: NewSecret(fmt.Sprintf("token-%d", n))}
}

// rotating is tokenOf with a refresh token.
func rotating(n int) *Token {
	t := tokenOf(n)
	t.Refresh = NewSecret(fmt.Sprintf("refresh-%d", n))
	return t
}

// slowly plays f after d, or the end of ctx.
func slowly(d time.Duration, f func(n int) (*Token, error)) func(context.Context, int, *Token) (*Token, error) {
	return func(ctx context.Context, n int, _ *Token) (*Token, error) {
		select {
		case <-time.After(d):
			return f(n)
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

func granted(n int) (*Token, error) { return tokenOf(n), nil }

// The errors that sources answer with.
var (
	errWrongPassword = &IssueError{Source: "actor", Status: 401, Code: "invalid_grant", Kind: Refused}
	errForGood       = &IssueError{Source: "actor", Status: 401, Code: "invalid_client", Kind: Refused, Permanent: true}
	errUnavailable   = &IssueError{Source: "actor", Status: 503, Kind: Transient}
	errDial          = &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}
)

// start makes a TokenSource that the end of the test closes.
func start(t testing.TB, src Source, cfg Config) *TokenSource {
	t.Helper()
	ts, err := New(src, cfg)
	require.NoError(t, err)
	t.Cleanup(func() { _ = ts.Close(context.Background()) })
	return ts
}

// manage makes a Manager that the end of the test closes.
func manage(t testing.TB, cfg Config) *Manager {
	t.Helper()
	m, err := NewManager(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { _ = m.Close(context.Background()) })
	return m
}

// adopt adds a TokenSource to m.
func adopt(t testing.TB, m *Manager, name string, src Source, cfg Config) *TokenSource {
	t.Helper()
	ts, err := m.Add(name, src, cfg)
	require.NoError(t, err)
	return ts
}

// must reads a token.
func must(t testing.TB, ts *TokenSource) *Token {
	t.Helper()
	tok, err := ts.Token(t.Context())
	require.NoError(t, err)
	return tok
}

// checkTokenSource checks what holds of a TokenSource between any two of its
// steps, whatever happened before.
func checkTokenSource(t testing.TB, ts *TokenSource) {
	t.Helper()
	ts.mu.Lock()
	defer ts.mu.Unlock()
	now := ts.now()
	ts.settle(now)
	r := ts.rare
	if r == nil {
		r = &rare{}
	}
	hung := r.abandoned >= maxAbandoned+r.allowance
	check := func(ok bool, invariant string) {
		t.Helper()
		if !ok {
			t.Errorf("%s; state %v, closed %v, serving %v, rejected %v, flying %v, busy %d, abandoned %d, error %v",
				invariant, ts.stateAt(now), ts.closed, ts.serving, ts.rejected, ts.flying(), ts.busy, r.abandoned, r.err)
		}
	}
	cur, checked := ts.cur.Load(), ts.checked.Load()
	check(cur == nil || cur == ts.live && ts.serving, "R2: readers see a token that is not in service")
	check(checked == nil || checked == ts.live && ts.serving, "R2: readers see a token that is not in service")
	check(!ts.serving || ts.unread || cur != nil || checked != nil, "R3: the token in service is hidden from readers")
	check(!ts.serving || ts.live != nil && ts.live.generation > 0 && ts.live.header != nil, "R11: what is in service was never prepared")
	check(!ts.serving || !ts.live.deadline.past(now), "R2: a token past its deadline is in service")
	check(!ts.serving || !ts.rejected, "R2: a rejected token is in service")
	check(!ts.flying() || ts.busy > 0, "R6: a flight runs that is not counted")
	check(!ts.flying() || !ts.flight.over, "R6: a flight runs that is over")
	check(r.abandoned >= 0 && r.abandoned <= maxAbandoned+1 && int(ts.busy) >= r.abandoned, "R8: the abandoned calls are counted wrong")
	check(r.err == nil || r.err.Err == nil || r.err.Error() != "", "R30: an error without words")
	if b := ts.usedBudget(); b != nil {
		check(b.Left(now.Mono) >= 0, "R18: less than nothing is left of the budget")
	}
	if ts.closed {
		check(!ts.serving && cur == nil && checked == nil, "R27: a token is in service after Close")
		check(!ts.armed, "R27: the timer is set after Close")
		check(ts.flight == nil || ts.flight.running, "R27: callers wait for a flight that will not start")
		return
	}
	at := ts.timerAt(now)
	check(ts.flying() || at > now.Mono || at == never, "R4: what is due was not done")
	check(!ts.flying() || ts.armed || ts.flight.timeout == never, "R7: a flight runs without a timeout")
	check(ts.armed || at == never, "R12: the timer is not set for what comes next")
	check(ts.armed || !ts.serving || ts.live.deadline == (deadline{}), "R2: the timer is not set for the deadline")
	check(r.err == nil || r.err.Kind == Refused || r.final || hung || ts.idling(now) || ts.armed, "R13: nothing will try again after a fault that may pass")
	check(ts.flight == nil || ts.flight.running || ts.flight.waiters > 0 || ts.armed || at == never, "R4: a flight waits for ever")
}

// checkHub checks what the TokenSources of a Manager share, while nothing happens.
func checkHub(t testing.TB, h *hub) {
	t.Helper()
	armed, lanes := 0, map[*lane]int{}
	h.all(func(ts *TokenSource) {
		checkTokenSource(t, ts)
		ts.mu.Lock()
		defer ts.mu.Unlock()
		if ts.armed {
			armed++
		}
		if l := ts.lane(); l != nil && !ts.closed {
			lanes[l]++
		}
	})
	h.mu.Lock()
	defer h.mu.Unlock()
	assert.Equal(t, armed, h.armed, "R24: the watcher counts timers that are set")
	assert.Len(t, h.lanes, len(lanes), "R26: lanes that nobody uses are forgotten")
	for _, l := range h.lanes {
		assert.Equal(t, lanes[l], l.users, "R20: users of the lane %v", l.key)
	}
}

func TestR17_NHoldersOneFlight(t *testing.T) {
	// However many holders reject one token, at the same time, there is one call of the Source a generation.
	const holders, rounds = 32, 200
	src := &actor{play: func(_ context.Context, n int, _ *Token) (*Token, error) {
		runtime.Gosched()
		return tokenOf(n), nil
	}}
	ts := start(t, src, Config{Budget: &budget.Budget{Units: rounds + 1}, Rate: budget.Rate{PerSecond: -1}})
	bad := must(t, ts)
	for round := range rounds {
		var next [holders]*Token
		var wg sync.WaitGroup
		for i := range holders {
			wg.Go(func() {
				tok, err := ts.Reject(t.Context(), bad)
				assert.NoError(t, err)
				next[i] = tok
			})
		}
		wg.Wait()
		for _, tok := range next {
			require.Same(t, next[0], tok)
		}
		require.Equal(t, bad.Generation()+1, next[0].Generation())
		require.Equal(t, round+2, src.calls())
		bad = next[0]
	}
	assert.EqualValues(t, rounds, ts.Status().Rejected)
	checkTokenSource(t, ts)
}

func TestR6_NeverTwoFlights(t *testing.T) {
	// Whoever asks, and whatever happens meanwhile, no two calls of a Source that heeds its ctx run at once.
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var mu sync.Mutex
				rnd := rand.New(rand.NewPCG(seed, 6))
				draw := func(n int) int {
					mu.Lock()
					defer mu.Unlock()
					return rnd.IntN(n)
				}
				src := reissuer{&actor{play: func(ctx context.Context, n int, live *Token) (*Token, error) {
					select {
					case <-time.After(time.Duration(draw(1500)) * time.Millisecond):
					case <-ctx.Done():
						return nil, context.Cause(ctx)
					}
					switch draw(10) {
					case 0:
						return nil, errUnavailable
					case 1:
						return nil, errDial
					case 2:
						if live != nil {
							return nil, errWrongPassword
						}
					case 3:
						panic("no")
					}
					tok := rotating(n)
					tok.Life = time.Duration(1+draw(10)) * time.Second
					return tok, nil
				}}}
				ts := start(t, src, Config{FlightTimeout: time.Second, Budget: &budget.Budget{Units: 1 << 20}, Rand: func() float64 { return float64(draw(1000)) / 1000 }})
				end := time.Now().Add(2 * time.Minute)
				var last atomic.Uint64
				var wg sync.WaitGroup
				for i := range 8 {
					wg.Go(func() {
						for time.Now().Before(end) {
							ctx, cancel := context.WithTimeout(t.Context(), time.Duration(1+draw(3000))*time.Millisecond)
							seen := last.Load()
							tok, err := ts.Token(ctx)
							if err == nil && i < 3 && draw(4) == 0 {
								tok, err = ts.Reject(ctx, tok)
							}
							cancel()
							if err == nil {
								assert.GreaterOrEqual(t, tok.Generation(), seen, "R11: generations only go up")
								last.CompareAndSwap(seen, tok.Generation())
							}
							if i == 7 && draw(20) == 0 {
								ts.Reset()
							}
							time.Sleep(time.Duration(draw(400)) * time.Millisecond)
							checkTokenSource(t, ts)
						}
					})
				}
				wg.Wait()
				var ended time.Duration
				for _, s := range src.book() { // a call that ends with its ctx may meet the next one, in no time
					require.GreaterOrEqual(t, s.start, ended, "a call began before the last one had ended")
					ended = s.end
				}
				assert.Greater(t, src.calls(), 30, "the test does something")
				checkTokenSource(t, ts)
				checkHub(t, ts.set.hub)
			})
		})
	}
}

// paid is a login attempt that must have cost a unit.
type paid struct{ start, end time.Duration }

// checkWindows fails when an issuer could have counted more than units of the
// attempts in a half-open window, whichever moment of each it picked.
func checkWindows(t testing.TB, attempts []paid, units int, window time.Duration) {
	t.Helper()
	for _, last := range attempts {
		within := 0
		for _, a := range attempts {
			if a.start <= last.start && a.end > last.start-window {
				within++
			}
		}
		if within > units {
			t.Fatalf("R18: %d attempts within %v, want at most %d", within, window, units)
		}
	}
}

func TestR18_BudgetHoldsUnderConcurrency(t *testing.T) {
	// TokenSources of one account, all refused or rejected all the time, never spend more than 4 units in any window of 10 minutes.
	for _, share := range []string{"account", "pointer"} {
		t.Run(share, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const sources, readers, long = 6, 3, 3 * time.Hour
				m, rnd, shared := manage(t, Config{}), rand.New(rand.NewPCG(18, 18)), &budget.Budget{}
				var mu sync.Mutex
				draw := func(n int) int {
					mu.Lock()
					defer mu.Unlock()
					return rnd.IntN(n)
				}
				end := time.Now().Add(long)
				var actors []*actor
				var wg sync.WaitGroup
				for i := range sources {
					// Tokens have no end, so that each call but the first follows a refusal or a Reject.
					src := &actor{play: func(ctx context.Context, n int, _ *Token) (*Token, error) {
						time.Sleep(time.Duration(draw(5000)) * time.Millisecond)
						switch draw(5) {
						case 0:
							return nil, errWrongPassword
						case 1:
							return nil, errDial
						case 2:
							return nil, errUnavailable
						case 3:
							return nil, errors.New("read: connection reset") // it may have been judged
						}
						return endless(n), nil
					}}
					if i == 0 { // the first call of each is free only while there was no refusal
						src.traits.InputVersion = func() uint64 { return 1 }
					}
					cfg := Config{Endpoint: "https://issuer.example", Account: "alice"}
					if share == "pointer" {
						cfg.Account, cfg.Budget = "", shared
					}
					actors = append(actors, src)
					ts := adopt(t, m, fmt.Sprint(i), src, cfg)
					for range readers {
						wg.Go(func() {
							for time.Now().Before(end) {
								if tok, err := ts.Token(t.Context()); err == nil {
									_, _ = ts.Reject(t.Context(), tok)
								}
								time.Sleep(time.Duration(1+draw(20_000)) * time.Millisecond)
							}
						})
					}
				}
				wg.Wait()
				var attempts []paid
				for _, src := range actors {
					follows := false // a refusal or a granted token, which was rejected at once
					for _, s := range src.book() {
						ie, _ := errors.AsType[*IssueError](s.err)
						judged := s.err == nil || !errors.Is(s.err, errDial) && (ie == nil || ie.Status < 500)
						if follows && judged {
							attempts = append(attempts, paid{s.start, s.end})
						}
						follows = follows || s.err == nil || ie != nil && ie.Kind == Refused
					}
				}
				checkWindows(t, attempts, budget.DefaultUnits, budget.DefaultWindow)
				// And it is used: nothing leaks, or there would be ever fewer.
				assert.Greater(t, len(attempts), 50, "of some 72 that 3 hours allow")
				time.Sleep(time.Hour)
				synctest.Wait()
				var left int
				m.each(func(ts *TokenSource) { left = ts.budget().Left(ts.now().Mono) })
				assert.Equal(t, budget.DefaultUnits, left, "reservations that were never settled")
				checkHub(t, m.hub)
			})
		})
	}
}

func TestR22_SpentUnderConcurrency(t *testing.T) {
	// While holders reject every token, a budget of k is exactly k replacements, and readers never lack a token once they are spent.
	for _, units := range []int{1, 4} {
		src := &actor{play: func(_ context.Context, n int, _ *Token) (*Token, error) { return endless(n), nil }}
		ts := start(t, src, Config{Budget: &budget.Budget{Units: units, Window: 24 * time.Hour}})
		must(t, ts)
		var wg sync.WaitGroup
		var refusals atomic.Int64
		for range 16 {
			wg.Go(func() {
				for range 50 {
					tok, err := ts.Token(t.Context())
					if !assert.NoError(t, err) {
						return
					}
					next, err := ts.Reject(t.Context(), tok)
					if err != nil {
						refusals.Add(1)
						assert.ErrorIs(t, err, ErrBudgetSpent)
						continue
					}
					assert.Greater(t, next.Generation(), tok.Generation())
				}
			})
		}
		wg.Wait()
		assert.Equal(t, 1+units, src.calls())
		assert.Positive(t, refusals.Load())
		assert.EqualValues(t, 1+units, must(t, ts).Generation())
		assert.EqualValues(t, 1+units, ts.Status().Rejected, "each token that was refused counts once")
		checkTokenSource(t, ts)
	}
}

func TestR27_CloseAgainstEverything(t *testing.T) {
	// After any Close has returned, no call runs, nothing is in service, and everybody who waited has an answer.
	for seed := range uint64(300) {
		src := reissuer{&actor{play: func(ctx context.Context, n int, _ *Token) (*Token, error) {
			for range n % 5 {
				runtime.Gosched()
			}
			if n%3 == 0 {
				return nil, errUnavailable
			}
			if n%4 == 0 {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return rotating(n), nil
		}}}
		ts, err := New(src, Config{Budget: &budget.Budget{Units: 1 << 20}, RevokeOnClose: true,
			Hooks: Hooks{Changed: func(Change) {}, Rotated: func(context.Context, string, *Token) error { return nil }}})
		require.NoError(t, err)
		everything := []func(){
			func() {
				for {
					tok, err := ts.Token(t.Context())
					if errors.Is(err, ErrClosed) {
						return
					}
					_, _ = ts.Reject(t.Context(), tok)
				}
			},
			func() { _, _ = ts.Wait(t.Context()) },
			func() { ts.Reset() },
			func() { ts.Status() },
			func() { ts.rejudge() },
			func() { ts.tick() },
		}
		rnd := rand.New(rand.NewPCG(seed, 27))
		var wg sync.WaitGroup
		for _, f := range everything {
			wg.Go(f)
			wg.Go(f)
		}
		for range 2 {
			spin := rnd.IntN(400)
			wg.Go(func() {
				for range spin {
					runtime.Gosched()
				}
				assert.NoError(t, ts.Close(context.Background()))
				ts.mu.Lock()
				assert.Zero(t, ts.busy, "calls that run after Close")
				ts.mu.Unlock()
				_, err := ts.Token(t.Context())
				assert.ErrorIs(t, err, ErrClosed)
			})
		}
		wg.Wait()
		checkTokenSource(t, ts)
	}
}

func TestR27_ManagerAgainstEverything(t *testing.T) {
	// A TokenSource that Add returned is closed by Manager.Close or Remove, whichever way the three meet.
	for range 200 {
		m, err := NewManager(Config{Endpoint: "https://issuer.example"})
		require.NoError(t, err)
		var mu sync.Mutex
		var added []*TokenSource
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() {
				for j := range 4 {
					name := fmt.Sprintf("%d-%d", i, j)
					ts, err := m.Add(name, &actor{}, Config{Account: fmt.Sprint(j)})
					if err != nil {
						assert.ErrorIs(t, err, ErrClosed)
						return
					}
					mu.Lock()
					added = append(added, ts)
					mu.Unlock()
					_, _ = ts.Token(t.Context())
					if j%2 == 0 {
						if err := m.Remove(t.Context(), name); err != nil {
							assert.ErrorIs(t, err, ErrUnknown)
						}
					}
				}
			})
		}
		wg.Go(func() { _ = m.Wait(t.Context()) })
		wg.Go(func() { _ = m.Ready(); m.Status() })
		wg.Go(func() { m.hub.tick() })
		wg.Go(func() { runtime.Gosched(); assert.NoError(t, m.Close(context.Background())) })
		wg.Wait()
		require.NoError(t, m.Close(context.Background()))
		for _, ts := range added {
			_, err := ts.Token(t.Context())
			assert.ErrorIs(t, err, ErrClosed)
			checkTokenSource(t, ts)
		}
		m.hub.mu.Lock()
		assert.Zero(t, m.hub.armed)
		assert.Empty(t, m.hub.lanes)
		assert.Empty(t, m.hub.endpoints)
		m.hub.mu.Unlock()
	}
}

func TestR3_NoLockAcrossForeignCode(t *testing.T) {
	// The mutex is free while the Source or the hook Rotated runs: neither can hold up anybody else.
	synctest.Test(t, func(t *testing.T) {
		var ts *TokenSource
		var mu sync.Mutex // guards seen
		var seen []string
		look := func(where string) {
			time.Sleep(time.Nanosecond) // until everybody else stands still
			mu.Lock()
			defer mu.Unlock()
			seen = append(seen, where)
			if assert.True(t, ts.mu.TryLock(), where) {
				ts.mu.Unlock()
			}
		}
		looking := func(where string) []reply {
			return []reply{func(_ context.Context, n int) (*Token, error) { look(where); return rotating(n), nil }}
		}
		ts = start(t, reissuing{scriptOf(looking("Issue")...), looking("Reissue")}, Config{Hooks: Hooks{
			Rotated: func(context.Context, string, *Token) error { look("Rotated"); return nil },
		}})
		_, err := ts.Reject(t.Context(), must(t, ts))
		require.NoError(t, err)
		mu.Lock()
		defer mu.Unlock()
		assert.Equal(t, []string{"Issue", "Rotated", "Reissue", "Rotated"}, seen)
	})
}

func TestR3_ReadersAgainstReissues(t *testing.T) {
	// While tokens are reissued without a pause, a reader that has seen one token never waits and never sees an older one.
	var ts *TokenSource
	src := &actor{play: func(_ context.Context, n int, _ *Token) (*Token, error) { return tokenOf(n), nil }}
	ts = start(t, src, Config{Budget: &budget.Budget{Units: 1 << 20}, Rate: budget.Rate{PerSecond: -1}})
	must(t, ts)
	var stop atomic.Bool
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			var seen uint64
			for !stop.Load() {
				tok := ts.cur.Load()
				if !assert.NotNil(t, tok) || !assert.GreaterOrEqual(t, tok.Generation(), seen) {
					return
				}
				seen = tok.Generation()
			}
		})
	}
	for range 500 { // what the timer does
		ts.mu.Lock()
		ts.next = ts.now().Mono
		var ch <-chan struct{}
		if ts.settle(ts.now()); ts.flying() {
			ch = ts.flight.ctx.Done()
		}
		ts.mu.Unlock()
		if ch != nil {
			<-ch // closed at the end of the flight
		}
	}
	stop.Store(true)
	wg.Wait()
	assert.Greater(t, src.calls(), 100)
	checkTokenSource(t, ts)
}
