package renew

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-f29168f7/renew/budget"
)

// starts returns when calls of all the actors started, in order.
func starts(actors ...*actor) []time.Duration {
	var all []time.Duration
	for _, a := range actors {
		for _, s := range a.book() {
			all = append(all, s.start)
		}
	}
	slices.Sort(all)
	return all
}

// checkRate fails when more calls started in some span of time than the rate allows.
func checkRate(t testing.TB, at []time.Duration, r budget.Rate) {
	t.Helper()
	for i := range at {
		for j := i; j < len(at); j++ {
			if most := float64(r.Burst) + r.PerSecond*(at[j]-at[i]).Seconds() + 1e-6; float64(j-i+1) > most {
				t.Fatalf("R20: %d calls in %v, want at most %.1f", j-i+1, at[j]-at[i], most)
			}
		}
	}
}

func TestR20_OneEndpointOneRate(t *testing.T) {
	// All TokenSources of a Manager with one endpoint share its rate: cold reads, schedules, and each try within a flight.
	for name, play := range map[string]func(context.Context, int, *Token) (*Token, error){
		"well": nil,
		"down": inTurn(errUnavailable),
		"dial": inTurn(errDial, errDial, errDial, nil),
		"refused": func(_ context.Context, n int, live *Token) (*Token, error) {
			if live != nil {
				return nil, errWrongPassword // and an Issue follows in the same flight
			}
			return &Token{Value: NewSecret(fmt.Sprint("t", n)), Life: time.Minute}, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rate := budget.Rate{PerSecond: 5, Burst: 10}
				m := manage(t, Config{Rate: rate, Rand: func() float64 { return 0.5 }})
				var actors []*actor
				for i := range 40 {
					a := &actor{play: play}
					actors = append(actors, a)
					cfg := Config{Endpoint: "https://issuer.example"}
					if i%2 == 0 { // a Source says it just as well as the Config
						a.traits.Endpoint, cfg.Endpoint = cfg.Endpoint, ""
					}
					ts := adopt(t, m, fmt.Sprint(i), reissuer{a}, cfg)
					go func() { _, _ = ts.Token(t.Context()) }()
				}
				time.Sleep(3 * time.Minute)
				at := starts(actors...)
				checkRate(t, at, rate)
				assert.GreaterOrEqual(t, len(at), 40)
				assert.Equal(t, at[0], at[9], "the burst is used")
				assert.Greater(t, at[len(at)-1]-at[0], 5*time.Second, "there was something to pace")
				checkHub(t, m.hub)
			})
		})
	}
}

func TestR20_EndpointsDoNotShare(t *testing.T) {
	// Another endpoint has another rate; Config.Endpoint holds over the Source's; where none is named, the Source itself is the endpoint.
	synctest.Test(t, func(t *testing.T) {
		m := manage(t, Config{Rate: budget.Rate{PerSecond: 0.001, Burst: 1}})
		named := func(name string) *actor { return &actor{traits: Traits{Endpoint: name}} }
		both := &actor{}
		for i, c := range []struct {
			src  *actor
			cfg  Config
			free bool
		}{
			{named("a"), Config{}, true},
			{named("a"), Config{}, false},
			{named("a"), Config{Endpoint: "b"}, true},
			{named("b"), Config{}, false},
			{&actor{}, Config{}, true},
			{&actor{}, Config{}, true},
			{both, Config{Account: "x"}, true},
			{both, Config{Account: "y"}, false},
		} {
			ts := adopt(t, m, fmt.Sprint(i), c.src, c.cfg)
			_, err := ts.Token(t.Context())
			assert.Equal(t, c.free, err == nil, "%d: %v", i, err)
		}
		// A TokenSource made by New is alone.
		must(t, start(t, named("a"), Config{Rate: budget.Rate{PerSecond: 0.001, Burst: 1}}))
	})
}

func TestR20_SourceItselfIsPaced(t *testing.T) {
	// Without a named endpoint, the flights of one Source are paced all the same.
	synctest.Test(t, func(t *testing.T) {
		rate := budget.Rate{PerSecond: 2, Burst: 4}
		src := &actor{}
		ts := start(t, src, Config{Rate: rate, Budget: &budget.Budget{Units: 1 << 20}})
		begin := time.Now()
		tok := must(t, ts)
		for range 40 {
			next, err := ts.Reject(t.Context(), tok)
			require.NoError(t, err)
			tok = next
		}
		// The first call, before the endpoint was made, is on top of the burst.
		checkRate(t, starts(src)[1:], rate)
		assert.Greater(t, time.Since(begin), 15*time.Second)
	})
}

func TestR20_NoLimit(t *testing.T) {
	// A negative rate is no limit.
	synctest.Test(t, func(t *testing.T) {
		m := manage(t, Config{Rate: budget.Rate{PerSecond: -1}, Endpoint: "https://issuer.example"})
		begin := time.Now()
		for i := range 300 {
			must(t, adopt(t, m, fmt.Sprint(i), &actor{}, Config{}))
		}
		assert.Zero(t, time.Since(begin))
	})
}

func TestR20_PausesReachWhoTheyAreFor(t *testing.T) {
	// A 429 pauses the TokenSources of the same endpoint and account, a 503 those of the endpoint, each for as long as the issuer said.
	const a, b = "https://a.example", "https://b.example"
	for name, c := range map[string]struct {
		status int
		paused [5]bool // itself, same account, other account, no account, other endpoint
	}{
		"429": {429, [5]bool{true, true, false, false, false}},
		"503": {503, [5]bool{true, true, true, true, false}},
	} {
		for _, held := range []string{"cold", "with a token in service"} {
			t.Run(name+" "+held, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					m := manage(t, Config{WatchEvery: -1})
					hit, life, throttled := &actor{}, time.Hour, 1
					if held != "cold" { // so long that its back-off is minutes
						life, throttled = 100*time.Hour, 2
					}
					hit.play = func(_ context.Context, n int, _ *Token) (*Token, error) {
						if n == throttled {
							return nil, &IssueError{Status: c.status, Kind: Throttled, RetryAfter: 20 * time.Second}
						}
						return &Token{Value: NewSecret(fmt.Sprint("t", n)), Life: life}, nil
					}
					itself := adopt(t, m, "itself", hit, Config{Endpoint: a, Account: "alice"})
					sources := []*TokenSource{
						itself,
						adopt(t, m, "same account", &actor{}, Config{Endpoint: a, Account: "alice"}),
						adopt(t, m, "other account", &actor{}, Config{Endpoint: a, Account: "bob"}),
						adopt(t, m, "no account", &actor{}, Config{Endpoint: a}),
						adopt(t, m, "other endpoint", &actor{}, Config{Endpoint: b, Account: "alice"}),
					}
					tok, _ := itself.Token(t.Context())
					for hit.calls() < throttled {
						next := itself.Status().NextAt
						time.Sleep(time.Until(next))
						synctest.Wait()
					}
					begin := time.Now()
					var wg sync.WaitGroup
					for i, ts := range sources {
						wg.Go(func() {
							_, err := ts.Reject(t.Context(), tok) // a cold read for all but the first
							assert.NoError(t, err)
							want := time.Duration(0)
							if c.paused[i] {
								want = 20 * time.Second
							}
							assert.Equal(t, want, time.Since(begin), ts.name)
						})
					}
					wg.Wait()
					checkHub(t, m.hub)
				})
			})
		}
	}
}

// gone returns a context that has ended.
func gone(t testing.TB) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

func TestR20_ThrottledWithoutAPause(t *testing.T) {
	// A 429 that names no pause means at least 5 s, and no unit of the budget.
	synctest.Test(t, func(t *testing.T) {
		src := &actor{play: inTurn(&IssueError{Status: 429, Kind: Throttled}, nil)}
		ts := start(t, src, Config{})
		_, err := ts.Token(t.Context())
		require.Error(t, err)
		must(t, ts)
		at := starts(src)
		assert.GreaterOrEqual(t, at[1]-at[0], 5*time.Second)
		assert.Less(t, at[1]-at[0], 7*time.Second)
		assert.Equal(t, 4, left(ts))
	})
}

func TestR20_ServerFaultsSpendNothing(t *testing.T) {
	// An outage of hours costs no unit, even where the attempts owe one.
	synctest.Test(t, func(t *testing.T) {
		down := func(_ context.Context, n int, _ *Token) (*Token, error) {
			if n == 1 {
				return endless(n), nil
			}
			return nil, []error{errUnavailable, errDial, &IssueError{Status: 502}}[n%3]
		}
		src := &actor{play: down}
		ts := start(t, src, Config{})
		bad := must(t, ts)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Hour)
		defer cancel()
		_, err := ts.Reject(ctx, bad)
		require.Error(t, err)
		time.Sleep(3 * time.Hour)
		assert.Greater(t, src.calls(), 100)
		assert.Less(t, src.calls(), 1000)
		assert.Equal(t, 4, left(ts))
	})
}

func TestR20_ColdReadOvertakes(t *testing.T) {
	// A cold read, and a Reject, do not queue behind the scheduled reissues that wait for the limiter.
	synctest.Test(t, func(t *testing.T) {
		const many = 60
		m := manage(t, Config{Rate: budget.Rate{PerSecond: 1, Burst: 1}, Endpoint: "https://issuer.example",
			FlightTimeout: time.Hour, Rand: func() float64 { return 0.5 }})
		var crowd []*TokenSource
		for i := range many {
			ts := adopt(t, m, fmt.Sprint(i), &actor{}, Config{})
			crowd = append(crowd, ts)
			go func() { _, _ = ts.Token(t.Context()) }()
		}
		time.Sleep(2 * time.Minute)
		// All are due at once, as after a resume.
		for _, ts := range crowd {
			ts.mu.Lock()
			ts.next = ts.now().Mono
			ts.settle(ts.now())
			ts.mu.Unlock()
		}
		time.Sleep(1500 * time.Millisecond)
		begin := time.Now()
		must(t, adopt(t, m, "cold", &actor{}, Config{}))
		assert.LessOrEqual(t, time.Since(begin), 2*time.Second, "a cold read")
		begin = time.Now()
		last := crowd[many-1]
		_, err := last.Reject(t.Context(), must(t, last))
		require.NoError(t, err)
		assert.LessOrEqual(t, time.Since(begin), 2*time.Second, "a Reject")
		// And the schedule is served too.
		time.Sleep(2 * many * time.Second)
		for _, ts := range crowd {
			assert.EqualValues(t, 2, must(t, ts).Generation())
		}
		checkHub(t, m.hub)
	})
}

func TestR20_PacedFlightIsATimer(t *testing.T) {
	// A flight that waits for its place has a timer, and no goroutine.
	synctest.Test(t, func(t *testing.T) {
		m := manage(t, Config{Rate: budget.Rate{PerSecond: 0.1, Burst: 1}, Endpoint: "https://issuer.example", FlightTimeout: time.Hour})
		for i := range 50 {
			adopt(t, m, fmt.Sprint(i), &actor{}, Config{}).ask()
		}
		synctest.Wait()
		assert.Empty(t, engineGoroutines())
		assert.Len(t, m.Ready().(*NotReadyError).Sources, 49)
	})
}
