//go:build !race

package renew

import (
	"context"
	"flag"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-f29168f7/renew/budget"
	"github.com/seed-f29168f7/renew/clock"
)

// What 100,000 TokenSources do in hours and days, on a Fake. It is not built under the race detector, with which
// this would take minutes; pacing_test.go and time_test.go run the same code under it with a few TokenSources.
// Tokens of an hour, with which R20's day has 3.4 million flights and takes some minutes:
//
//	go test -run R20_ADayOfMany -v . -scale.life=1h

var scaleLife = flag.Duration("scale.life", 8*time.Hour, "how long the tokens of TestR20_ADayOfMany live")

// crowdSize is how many TokenSources the Manager of a crowd has.
const crowdSize = 100_000

// meter is an issuer's endpoint. It plays the start of each call to a bucket that holds a
// burst and fills at the rate: in no span of time there were more calls than
// burst + rate × span if, and only if, none finds the bucket empty.
type meter struct {
	rate budget.Rate

	mu     sync.Mutex // guards all below
	level  float64
	lowest float64 // that level ever was
	last   time.Duration
	calls  int
	gaps   int // calls by a TokenSource that had lost its token
	peak   int // goroutines, at most, in a call
}

// call notes the start of a call.
func (s *meter) call(at time.Duration, gap bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.level = min(s.level+s.rate.PerSecond*(at-s.last).Seconds(), float64(s.rate.Burst)) - 1
	s.lowest, s.last = min(s.lowest, s.level), at
	s.peak = max(s.peak, runtime.NumGoroutine())
	s.calls++
	if gap {
		s.gaps++
	}
}

// tenant is the Source of one TokenSource of a crowd. It keeps books on when it was called.
type tenant struct {
	crowd *crowd
	meter *meter
	ts    *TokenSource

	n              uint32 // calls
	first, last    time.Duration
	nearest, apart time.Duration // the least and the greatest time from one call to the next
}

func (s *tenant) Issue(context.Context) (*Token, error) {
	at := s.crowd.fake.Now().Mono
	s.meter.call(at, s.n > 0 && s.ts.cur.Load() == nil)
	if s.n == 0 {
		s.first, s.nearest = at, never
	} else {
		s.nearest, s.apart = min(s.nearest, at-s.last), max(s.apart, at-s.last)
	}
	s.last = at
	s.n++
	return &Token{Value: NewSecret(fmt.Sprintf("%016d", s.n)), Life: s.crowd.life}, nil
}

// Reissue keeps the books as Issue does.
func (s *tenant) Reissue(ctx context.Context, _ *Token) (*Token, error) { return s.Issue(ctx) }

// crowd is a Manager with many TokenSources, at several endpoints with one rate.
type crowd struct {
	fake    *clock.Fake
	m       *Manager
	life    time.Duration
	meters  []meter
	tenants []tenant
	idle    int // goroutines, before the first flight
}

// newCrowd makes a crowd, in a bubble. Its TokenSources are new: they do nothing.
func newCrowd(t *testing.T, endpoints int, life time.Duration, rate budget.Rate) *crowd {
	t.Helper()
	c := &crowd{fake: newFake(), life: life, meters: make([]meter, endpoints), tenants: make([]tenant, crowdSize)}
	c.m = manage(t, Config{Clock: c.fake, Rate: rate, Rand: seeded(20)})
	for i := range c.meters {
		c.meters[i] = meter{rate: rate, level: float64(rate.Burst)}
	}
	for i := range c.tenants {
		s := &c.tenants[i]
		s.crowd, s.meter = c, &c.meters[i%endpoints]
		s.ts = adopt(t, c.m, fmt.Sprint(i), s, Config{Endpoint: fmt.Sprint("https://issuer.example/", i%endpoints)})
	}
	c.idle = runtime.NumGoroutine()
	return c
}

// ask asks for all tokens at one instant, as Manager.Wait does.
func (c *crowd) ask() {
	for i := range c.tenants {
		c.tenants[i].ts.ask()
	}
	synctest.Wait()
}

// calls returns how many calls there were.
func (c *crowd) calls() int {
	sum := 0
	for i := range c.meters {
		sum += c.meters[i].calls
	}
	return sum
}

// peak returns how many goroutines there were at most, beside those at rest.
func (c *crowd) peak() int {
	most := 0
	for i := range c.meters {
		most = max(most, c.meters[i].peak-c.idle)
	}
	return most
}

// ready returns how many readers find a token.
func (c *crowd) ready() int {
	sum := 0
	for i := range c.tenants {
		if c.tenants[i].ts.cur.Load() != nil {
			sum++
		}
	}
	return sum
}

// check checks what holds of a crowd whose TokenSources have their tokens, between flights.
func (c *crowd) check(t *testing.T) {
	t.Helper()
	lowest := 0.0
	for i := range c.meters {
		lowest = min(lowest, c.meters[i].lowest)
	}
	assert.Greater(t, lowest, -1e-6, "R20: a span with more calls than the rate of an endpoint allows")
	assert.Equal(t, crowdSize, c.ready(), "R12: all have a token")
	assert.Equal(t, crowdSize+1, c.fake.Timers(), "R26: one timer each, and the watcher's")
	assertIdle(t, c.idle)
}

// assertIdle fails when a goroutine of the engine is left. idle is how many goroutines there
// were before; the runtime may have made one or two of its own since.
func assertIdle(t *testing.T, idle int) {
	t.Helper()
	assert.LessOrEqual(t, runtime.NumGoroutine(), idle+8, "R26: no goroutine between flights")
	assert.Zero(t, len(engineGoroutines()), "R26: no goroutine between flights")
}

func TestR20_ADayOfMany(t *testing.T) {
	// In 24 hours of 100,000 TokenSources no endpoint is called faster than its rate in any span, no token is missing for a moment, and none is reissued off its schedule.
	synctest.Test(t, func(t *testing.T) {
		const endpoints, day = 20, 24 * time.Hour
		life := *scaleLife
		// A tenth more than is needed in the long run: the first reissues are due while some still have nothing.
		need := crowdSize / endpoints / (0.7 * life.Seconds())
		c := newCrowd(t, endpoints, life, budget.Rate{PerSecond: 1.1 * need, Burst: 10})
		c.ask()
		c.fake.Advance(day)
		c.check(t)
		gaps := 0
		for i := range c.meters {
			gaps += c.meters[i].gaps
		}
		assert.Zero(t, gaps, "tokens that were missing when the next was issued")
		nearest, apart := never, time.Duration(0)
		least, most := 0, 0 // what the schedule allows
		for i := range c.tenants {
			s := &c.tenants[i]
			nearest, apart = min(nearest, s.nearest), max(apart, s.apart)
			least += int((day - s.first) / scale(life, 0.8)) // the times at the pacer may cost one
			most += 1 + int((day-s.first)/scale(life, 0.6))
		}
		assert.GreaterOrEqual(t, nearest, scale(life, 0.6), "R12: the next call comes no sooner than its schedule")
		assert.Less(t, apart, life-leewayOf(0, life), "the next call comes before the deadline")
		assert.GreaterOrEqual(t, c.calls(), least)
		assert.LessOrEqual(t, c.calls(), most)
		t.Logf("%d calls of %d in %v, no burst, no gap; at most %d goroutines more than at rest", c.calls(), crowdSize, day, c.peak())
	})
}

func TestR20_AllAtOnce(t *testing.T) {
	// 100,000 TokenSources that are asked at one instant get their tokens at the pace of their endpoints, without losing time, and those that wait for their place have no goroutine.
	synctest.Test(t, func(t *testing.T) {
		const endpoints = 4
		rate := budget.Rate{PerSecond: budget.DefaultPerSecond, Burst: budget.DefaultBurst}
		c := newCrowd(t, endpoints, 8*time.Hour, rate)
		c.ask()
		assert.Equal(t, endpoints*rate.Burst, c.calls(), "the burst is used")
		assertIdle(t, c.idle)
		took := time.Duration(float64(crowdSize/endpoints-rate.Burst) / rate.PerSecond * float64(time.Second))
		c.fake.Advance(took - 10*time.Millisecond)
		assert.Equal(t, crowdSize-endpoints, c.ready(), "one is left at each endpoint")
		c.fake.Advance(10 * time.Millisecond)
		c.check(t)
		assert.Equal(t, crowdSize, c.calls())
		assert.LessOrEqual(t, c.peak(), 2*endpoints*rate.Burst, "R4: two goroutines a flight of the burst, and none for a wait")
		t.Logf("%d asked at once: all have a token after %v; at most %d goroutines more than at rest", crowdSize, took, c.peak())
	})
}

func TestR24_SuspendOfMany(t *testing.T) {
	// After a sleep of 8 hours the tokens of 100,000 TokenSources, all expired, are withdrawn within 1 s of running time, and replaced at the pace of their endpoints, without a burst above it.
	synctest.Test(t, func(t *testing.T) {
		const endpoints = 20
		rate := budget.Rate{PerSecond: budget.DefaultPerSecond, Burst: budget.DefaultBurst}
		took := time.Duration(float64(crowdSize/endpoints-rate.Burst) / rate.PerSecond * float64(time.Second))
		c := newCrowd(t, endpoints, time.Hour, rate)
		c.ask()
		c.fake.Advance(took + 5*time.Minute)
		c.check(t)
		require.Equal(t, crowdSize, c.calls(), "nothing was due before the sleep")

		c.fake.Suspend(8 * time.Hour)
		c.fake.Advance(time.Second)
		stale := 0
		for i := range c.tenants {
			if generation(c.tenants[i].ts) == 1 {
				stale++
			}
		}
		assert.Zero(t, stale, "expired tokens that readers still find")
		c.fake.Advance(took)
		c.check(t)
		assert.Equal(t, 2*crowdSize, c.calls(), "one call each")
		t.Logf("%d slept 8h: all withdrawn within 1s, replaced within %v", crowdSize, took+time.Second)
	})
}

// benchmarkLive runs f on Managers of 1,000 and of 100,000 TokenSources with a token in service.
func benchmarkLive(b *testing.B, f func(b *testing.B, m *Manager, many int)) {
	for _, many := range []int{1000, crowdSize} {
		b.Run(fmt.Sprint("live=", many), func(b *testing.B) {
			sources := make([]perToken, many)
			m := manage(b, Config{Endpoint: "https://issuer.example/token", Rate: budget.Rate{PerSecond: -1}})
			for i := range sources {
				must(b, adopt(b, m, fmt.Sprint(i), &sources[i], Config{}))
			}
			b.ReportAllocs()
			f(b, m, many)
		})
	}
}

// BenchmarkR24_WatcherTick is what a look of the watcher costs while nothing has moved: the same for any number.
func BenchmarkR24_WatcherTick(b *testing.B) {
	benchmarkLive(b, func(b *testing.B, m *Manager, _ int) {
		for b.Loop() {
			m.hub.tick()
		}
	})
}

// BenchmarkR24_RejudgeAll is what it costs to judge all tokens anew, after a suspend or step that left them usable.
func BenchmarkR24_RejudgeAll(b *testing.B) {
	benchmarkLive(b, func(b *testing.B, m *Manager, many int) {
		for b.Loop() {
			m.each((*TokenSource).rejudge)
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(many), "ns/TokenSource")
	})
}
