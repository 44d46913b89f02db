package scenario

import (
	"context"
	"math/rand/v2"
	"runtime"
	"sync"
	"time"

	"github.com/seed-f29168f7/renew/bench/contender"
)

// readers is how many goroutines read at a modest pace.
const readers = 64

// sample is what the readers of one run saw.
type sample struct {
	latencies *Histogram
	errors    int
	waited    int // readers with a call of at least waits
}

// readFor lets readers read at a pace for a span, and takes the times.
func readFor(src contender.Source, readers int, span, pace, waits time.Duration) sample {
	per := make([][]time.Duration, readers)
	errs := make([]int, readers)
	for i := range per {
		per[i] = make([]time.Duration, 0, 2*int(span/pace))
	}
	runtime.GC()
	end := time.Now().Add(span)
	var wg sync.WaitGroup
	for i := range readers {
		wg.Go(func() {
			r, ctx := src.Reader(), context.Background()
			time.Sleep(rand.N(pace)) // they do not start as one
			for {
				began := time.Now()
				if !began.Before(end) {
					return
				}
				err := r.Read(ctx)
				per[i] = append(per[i], time.Since(began))
				if err != nil {
					errs[i]++
				}
				time.Sleep(pace)
			}
		})
	}
	wg.Wait()
	var s sample
	var all []time.Duration
	for i, list := range per {
		h := newHistogram(list)
		if h.above(waits) > 0 {
			s.waited++
		}
		s.errors += errs[i]
		all = append(all, list...)
	}
	s.latencies = newHistogram(all)
	return s
}

func runStall(o Options) (*Result, error) {
	const life, takes, pace = 500 * time.Millisecond, 100 * time.Millisecond, 2 * time.Millisecond
	span := o.span(5 * time.Second)
	expiries := int(span / life)
	r := &Result{
		Setup: "64 goroutines read every 2 ms for 5 s, from the end of the first fetch on. A fetch takes 100 ms, and the token expires 500 ms after its end: 10 expiries. " +
			"A reader waited when one of its calls took 50 ms or more.",
		Figures: []Figure{
			{Name: "p50", Format: Seconds},
			{Name: "p99", Format: Seconds},
			{Name: "p99.9", Format: Seconds, Ratio: true},
			{Name: "max", Format: Seconds},
			{Name: "readers that waited", Format: Count},
			{Name: "fetches", Format: Count},
			{Name: "errors", Format: Count},
		},
		Latencies: map[string]*Histogram{},
	}
	repeats := o.repeats(3)
	for i := range repeats {
		for _, c := range contender.All() {
			o.Progress("b: repeat %d of %d: %s", i+1, repeats, c.Name)
			s := &issuer{takes: takes, life: life}
			src := c.Open(s.fetch, contender.Settings{Life: life})
			if err := src.Reader().Read(context.Background()); err != nil {
				return nil, err
			}
			got := readFor(src, readers, span, pace, takes/2)
			fetches := s.count(time.Time{}, time.Now())
			src.Close()
			l := got.latencies
			r.Latencies[c.Name] = r.Latencies[c.Name].merge(l)
			r.add(c.Name, l.At(0.5), l.At(0.99), l.At(0.999), l.At(1), float64(got.waited), float64(fetches), float64(got.errors))
		}
	}
	ours, floor := r.of(contender.Ours, "p99.9").Median, r.of(contender.Floor, "p99.9").Median
	waited, fetches := r.of(contender.Ours, "readers that waited").Median, r.of(contender.Ours, "fetches").Median
	r.goal(waited == 0, "no reader waits for a fetch", "%.0f of %d", waited, readers)
	r.goal(ours <= 2*floor, "p99.9 within 2 times the floor's", "%s, the floor %s", Seconds(ours), Seconds(floor))
	r.goal(int(fetches) <= expiries+3, "at most 13 fetches, the first included, for 10 expiries", "%.0f for %d", fetches, expiries)
	return r, nil
}
