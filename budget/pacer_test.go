package budget_test

import (
	"cmp"
	"container/heap"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-f29168f7/renew/budget"
)

func TestRate_Validate(t *testing.T) {
	for _, tt := range []struct {
		rate budget.Rate
		ok   bool
	}{
		{budget.Rate{}, true},
		{budget.Rate{PerSecond: 0.01, Burst: 1}, true},
		{budget.Rate{PerSecond: -1}, true},
		{budget.Rate{PerSecond: math.Inf(1)}, true},
		{budget.Rate{PerSecond: math.NaN()}, false},
		{budget.Rate{Burst: -1}, false},
	} {
		if err := tt.rate.Validate(); (err == nil) != tt.ok {
			t.Errorf("%+v: Validate = %v, want ok = %v", tt.rate, err, tt.ok)
		}
	}
}

// What is left after a Rate's burst: the burst's size and the pause between later starts.
func TestR20_Rates(t *testing.T) {
	for _, tt := range []struct {
		rate      budget.Rate
		wantBurst int
		wantPause time.Duration
	}{
		{budget.Rate{}, 100, 20 * time.Millisecond},
		{budget.Rate{}, budget.DefaultBurst, time.Second / budget.DefaultPerSecond},
		{budget.Rate{PerSecond: 50, Burst: 1}, 1, 20 * time.Millisecond},
		{budget.Rate{Burst: 3}, 3, 20 * time.Millisecond},
		{budget.Rate{PerSecond: 10}, 20, 100 * time.Millisecond},
		{budget.Rate{PerSecond: 0.1}, 1, 10 * time.Second},
		{budget.Rate{PerSecond: math.NaN(), Burst: -7}, 100, 20 * time.Millisecond},
	} {
		t.Run(fmt.Sprint(tt.rate), func(t *testing.T) {
			const now = -5 * time.Hour // any origin will do
			p := budget.NewPacer(tt.rate)
			for i := range tt.wantBurst {
				if at := p.Urgent(now); at != now {
					t.Fatalf("start %d is %v late, want %d at once", i, at-now, tt.wantBurst)
				}
			}
			for i := range 3 {
				if at, want := p.Urgent(now), now+time.Duration(i+1)*tt.wantPause; at != want {
					t.Errorf("start %d after the burst: %v, want %v", i, at, want)
				}
			}
		})
	}
}

func TestR20_NoLimit(t *testing.T) {
	for _, r := range []budget.Rate{
		{PerSecond: -1}, {PerSecond: -1, Burst: 1}, {PerSecond: math.Inf(1)},
		{PerSecond: math.MaxFloat64}, {PerSecond: 1e300}, // a limit, and its burst is more than an int holds
	} {
		p := budget.NewPacer(r)
		for i := range 1000 {
			if at := p.Urgent(7); at != 7 {
				t.Fatalf("%+v: Urgent %d = %v, want 7ns", r, i, at)
			}
			if at, ok := p.Scheduled(7, i%2 == 0); at != 7 || !ok {
				t.Fatalf("%+v: Scheduled %d = %v, %v, want 7ns, true", r, i, at, ok)
			}
		}
	}
}

// A rate of next to nothing is the far future, not the past.
func TestR20_HardlyEver(t *testing.T) {
	p := budget.NewPacer(budget.Rate{PerSecond: 1e-300})
	if at, ok := p.Scheduled(time.Hour, false); at != time.Hour || !ok {
		t.Errorf("first Scheduled = %v, %v", at, ok)
	}
	for i := range 3 {
		if at, ok := p.Scheduled(time.Hour, i > 0); at != math.MaxInt64 || ok {
			t.Errorf("Scheduled = %v, %v, want the end of time", at, ok)
		}
		if at := p.Urgent(time.Hour); at != math.MaxInt64 {
			t.Errorf("Urgent = %v, want the end of time", at)
		}
	}
	p = budget.NewPacer(budget.Rate{PerSecond: 1e-300}) // its place is now, the token is not
	p.Urgent(time.Hour)
	if at, ok := p.Scheduled(time.Hour, false); at != math.MaxInt64 || ok {
		t.Errorf("Scheduled after Urgent = %v, %v, want the end of time", at, ok)
	}
}

// Starts are exact to the nanosecond, also where they are one nanosecond apart.
func TestR20_ANanosecondApart(t *testing.T) {
	p := budget.NewPacer(budget.Rate{PerSecond: 1e9, Burst: 1})
	for i := range time.Duration(3) {
		if at := p.Urgent(0); at != i {
			t.Errorf("start %d = %v, want %v", i, at, i)
		}
	}
	p = budget.NewPacer(budget.Rate{PerSecond: 1e9, Burst: 1})
	p.Urgent(0)
	if at, ok := p.Scheduled(0, false); at != 1 || ok {
		t.Errorf("Scheduled = %v, %v, want 1ns, false", at, ok)
	}
	if at, ok := p.Scheduled(1, true); at != 1 || !ok {
		t.Errorf("at that time: %v, %v, want 1ns, true", at, ok)
	}
}

// A caller whose reading is old starts at once where there is a token: the time it
// gets is its own reading, for which no timer is set.
func TestR20_StaleReadingsStartAtOnce(t *testing.T) {
	p := budget.NewPacer(budget.Rate{PerSecond: 1, Burst: 3})
	p.Urgent(time.Second)
	const stale = time.Second - time.Millisecond
	if at := p.Urgent(stale); at != stale {
		t.Errorf("Urgent = %v, want %v", at, stale)
	}
	if at, ok := p.Scheduled(stale, false); at != stale || !ok {
		t.Errorf("Scheduled = %v, %v, want %v, true", at, ok, stale)
	}
}

// However many scheduled callers are queued, an urgent one has the next start.
func TestR20_UrgentOvertakes(t *testing.T) {
	const pause = 100 * time.Millisecond
	p := budget.NewPacer(budget.Rate{PerSecond: 10, Burst: 1})
	queued := map[time.Duration]int{}
	for range 1000 {
		at, ok := p.Scheduled(0, false)
		if ok != (at == 0) {
			t.Fatalf("Scheduled = %v, %v", at, ok)
		}
		queued[at.Round(time.Microsecond)]++
	}
	for i := range 1000 {
		if n := queued[time.Duration(i)*pause]; n != 1 {
			t.Fatalf("%d scheduled callers at %v, want 1: they must be spread", n, time.Duration(i)*pause)
		}
	}
	now := 50 * time.Millisecond
	if at := p.Urgent(now); at != pause {
		t.Fatalf("Urgent = %v, want %v", at, pause)
	}
	if at := p.Urgent(now); at != 2*pause {
		t.Fatalf("second Urgent = %v, want %v", at, 2*pause)
	}
	// The scheduled callers whose tokens those were go to the end of the queue.
	for i := range 2 {
		want := time.Duration(1000+i) * pause
		if at, ok := p.Scheduled(time.Duration(1+i)*pause, true); at.Round(time.Microsecond) != want || ok {
			t.Errorf("overtaken caller = %v, %v, want %v, false", at, ok, want)
		}
	}
	if at, ok := p.Scheduled(3*pause, true); at != 3*pause || !ok {
		t.Errorf("next caller = %v, %v, want %v, true", at, ok, 3*pause)
	}
}

// A scheduled caller whose place is at once comes back when urgent ones have left a token.
func TestR20_ScheduledAfterUrgent(t *testing.T) {
	p := budget.NewPacer(budget.Rate{PerSecond: 10, Burst: 2})
	for range 4 {
		p.Urgent(0) // the last two at 0.1 s and 0.2 s
	}
	const want = 300 * time.Millisecond
	for _, waited := range []bool{false, true} {
		if at, ok := p.Scheduled(0, waited); at != want || ok {
			t.Errorf("Scheduled(0, %v) = %v, %v, want %v, false", waited, at, ok, want)
		}
	}
	if at, ok := p.Scheduled(want, true); at != want || !ok {
		t.Errorf("at that time: %v, %v, want %v, true", at, ok, want)
	}
}

// call is one event of a simulation: a caller that asks at the time.
type call struct {
	at      time.Duration
	id      int
	urgent  bool
	waited  bool
	arrived time.Duration
}

type calls []call

func (c calls) Len() int           { return len(c) }
func (c calls) Less(i, j int) bool { return cmp.Or(cmp.Compare(c[i].at, c[j].at), c[i].id-c[j].id) < 0 }
func (c calls) Swap(i, j int)      { c[i], c[j] = c[j], c[i] }
func (c *calls) Push(x any)        { *c = append(*c, x.(call)) }
func (c *calls) Pop() any {
	old := *c
	last := old[len(old)-1]
	*c = old[:len(old)-1]
	return last
}

// simulate runs the callers to their ends. Each reading of time is late by up to
// stale. It returns when each started.
func simulate(t *testing.T, p *budget.Pacer, r *rand.Rand, stale time.Duration, queue calls) (starts []time.Duration, asked int, urgentWait time.Duration) {
	t.Helper()
	heap.Init(&queue)
	for len(queue) > 0 {
		if asked++; asked > 2_000_000 {
			t.Fatalf("%d callers still wait after %d questions", len(queue), asked)
		}
		c := heap.Pop(&queue).(call)
		now := c.at
		if stale > 0 {
			now -= time.Duration(r.Int64N(int64(stale)))
		}
		if c.urgent {
			at := c.at + max(p.Urgent(now)-now, 0) // a timer is set by the stale reading
			urgentWait = max(urgentWait, at-c.arrived)
			starts = append(starts, at)
			continue
		}
		at, ok := p.Scheduled(now, c.waited)
		if ok {
			starts = append(starts, c.at)
			continue
		}
		if at <= now {
			t.Fatalf("Scheduled(%v) = %v, false: not after now", now, at)
		}
		c.at, c.waited = c.at+at-now, true
		heap.Push(&queue, c)
	}
	return starts, asked, urgentWait
}

// checkRate fails when some interval, both ends counted, holds more than burst + rate × its length
// starts. The length may be slack longer, and by the rounding to a nanosecond at both ends.
func checkRate(t *testing.T, starts []time.Duration, perSecond float64, burst int, slack time.Duration) {
	t.Helper()
	slices.Sort(starts)
	// The number in [i, j] less what is allowed is over(j) - over(i) + 1 - burst.
	over := func(i int) float64 { return float64(i) - perSecond*starts[i].Seconds() }
	least := math.Inf(1)
	for i := range starts {
		least = min(least, over(i))
		if n := over(i) - least + 1 - float64(burst); n > (slack+2).Seconds()*perSecond+1e-6 {
			t.Fatalf("an interval that ends at %v holds %.3f starts too many", starts[i], n)
		}
	}
}

func TestR20_RateIsNeverExceeded(t *testing.T) {
	const callers = 10_000
	for _, tt := range []struct {
		name      string
		perSecond float64
		burst     int
		urgent    float64       // share of the callers
		spread    time.Duration // over which callers come
		stale     time.Duration
	}{
		{"all scheduled at once", 50, 100, 0, 0, 0},
		{"all urgent at once", 50, 100, 1, 0, 0},
		{"a mix at once", 50, 100, 0.3, 0, 0},
		{"a mix over time", 50, 100, 0.3, 150 * time.Second, 0},
		{"more urgent than the rate", 50, 10, 0.7, 100 * time.Second, 0},
		{"a burst of one", 333, 1, 0.2, 20 * time.Second, 0},
		{"less than the rate", 50, 5, 0.5, 1000 * time.Second, 0},
		{"readings out of order", 50, 100, 0.3, 150 * time.Second, time.Millisecond},
		{"fast, out of order", 1e5, 10, 0.3, 10 * time.Millisecond, 10 * time.Microsecond},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(20, 20))
			var queue calls
			for id := range callers {
				var at time.Duration
				if tt.spread > 0 {
					at = time.Duration(r.Int64N(int64(tt.spread)))
				}
				queue = append(queue, call{at: at, arrived: at, id: id, urgent: r.Float64() < tt.urgent})
			}
			p := budget.NewPacer(budget.Rate{PerSecond: tt.perSecond, Burst: tt.burst})
			starts, asked, _ := simulate(t, p, r, tt.stale, queue)
			if len(starts) != callers {
				t.Fatalf("%d of %d callers started", len(starts), callers)
			}
			// The rate holds for the readings given; those of the starts are that much later.
			checkRate(t, starts, tt.perSecond, tt.burst, tt.stale)
			last := slices.Max(starts)
			ideal := max(tt.spread, time.Duration((callers-float64(tt.burst))/tt.perSecond*float64(time.Second)))
			t.Logf("%d questions; all started by %v, at best %v", asked, last, ideal)
			if asked > 5*callers {
				t.Errorf("%d callers asked %d times", callers, asked)
			}
			if limit := ideal + ideal/10 + time.Second; last > limit {
				t.Errorf("the last started at %v, want by %v: the rate is not used", last, limit)
			}
		})
	}
}

// A herd of scheduled callers costs an urgent one no more than the next start.
func TestR20_UrgentDoesNotWaitForTheHerd(t *testing.T) {
	var queue calls
	for id := range 9000 {
		queue = append(queue, call{id: id})
	}
	const every = 200 * time.Millisecond // a tenth of the rate
	for i := range 900 {
		at := time.Duration(i) * every
		queue = append(queue, call{id: 9000 + i, at: at, arrived: at, urgent: true})
	}
	p := budget.NewPacer(budget.Rate{})
	starts, _, wait := simulate(t, p, nil, 0, queue)
	checkRate(t, starts, 50, 100, 0)
	if wait > 20*time.Millisecond {
		t.Errorf("an urgent caller waited %v, want at most 20ms", wait)
	}
}

// Readings that go back do not count a span of time twice.
func TestR20_StaleReadings(t *testing.T) {
	for _, tt := range []struct {
		name string
		ask  func(p *budget.Pacer, now time.Duration) (time.Duration, bool)
	}{
		{"urgent", func(p *budget.Pacer, now time.Duration) (time.Duration, bool) { return p.Urgent(now), true }},
		{"scheduled", func(p *budget.Pacer, now time.Duration) (time.Duration, bool) { return p.Scheduled(now, true) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			const perSecond, burst = 1000, 1
			p := budget.NewPacer(budget.Rate{PerSecond: perSecond, Burst: burst})
			starts := 0
			for now := time.Duration(0); now < time.Second; now += 100 * time.Microsecond {
				for _, back := range []time.Duration{0, 300 * time.Microsecond, 100 * time.Microsecond} {
					if at, ok := tt.ask(p, now-back); ok && at < time.Second {
						starts++
					}
				}
			}
			if starts > perSecond+burst || starts < perSecond/2 {
				t.Errorf("%d starts in a second, want at most %d and no less than half of that", starts, perSecond+burst)
			}
		})
	}
}

// With a burst of one, a late timer makes the next caller's token late. That one
// waits for it, and does not go behind the queue.
func TestR20_LateTimersKeepTheirTurn(t *testing.T) {
	const pause, late = 100 * time.Millisecond, 10 * time.Millisecond
	p := budget.NewPacer(budget.Rate{PerSecond: 10, Burst: 1})
	for range 1000 {
		p.Scheduled(0, false)
	}
	if at, ok := p.Scheduled(pause+late, true); !ok {
		t.Fatalf("late caller = %v, false", at)
	}
	at, ok := p.Scheduled(2*pause, true)
	if at.Round(time.Microsecond) != 2*pause+late || ok {
		t.Fatalf("the next = %v, %v, want %v, false", at, ok, 2*pause+late)
	}
	if at, ok := p.Scheduled(at, true); !ok {
		t.Errorf("at that time = %v, false", at)
	}
}

func TestR20_Concurrent(t *testing.T) {
	const perSecond, burst, step = 1000, 10, 50 * time.Microsecond
	p := budget.NewPacer(budget.Rate{PerSecond: perSecond, Burst: burst})
	var clock atomic.Int64
	var mu sync.Mutex
	var starts []time.Duration
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			waited := false
			for i := range 2000 {
				now := time.Duration(clock.Add(int64(step)))
				var at time.Duration
				ok := true
				if (i+g)%50 == 0 {
					at = p.Urgent(now)
				} else if at, ok = p.Scheduled(now, waited); !ok {
					if at <= now {
						t.Errorf("Scheduled(%v) = %v, false", now, at)
					}
				}
				waited = !ok
				if ok {
					mu.Lock()
					starts = append(starts, at)
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	end := time.Duration(clock.Load())
	n := 0
	for _, at := range starts {
		if at <= end {
			n++
		}
	}
	if limit := burst + int(perSecond*end.Seconds()); n > limit || n < limit/2 {
		t.Errorf("%d starts in %v, want at most %d and no less than half of that", n, end, limit)
	}
}

func TestR20_NoAllocation(t *testing.T) {
	p := budget.NewPacer(budget.Rate{})
	var now time.Duration
	if n := testing.AllocsPerRun(1000, func() {
		now += time.Millisecond
		p.Urgent(now)
		p.Scheduled(now, false)
		p.Scheduled(now, true)
	}); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

func BenchmarkPacer(b *testing.B) {
	for _, tt := range []struct {
		name string
		ask  func(p *budget.Pacer, now time.Duration)
	}{
		{"Urgent", func(p *budget.Pacer, now time.Duration) { p.Urgent(now) }},
		{"Scheduled", func(p *budget.Pacer, now time.Duration) { p.Scheduled(now, false) }},
	} {
		b.Run(tt.name, func(b *testing.B) {
			p := budget.NewPacer(budget.Rate{})
			var now time.Duration
			b.ReportAllocs()
			for b.Loop() {
				now += 10 * time.Millisecond
				tt.ask(p, now)
			}
		})
	}
}
