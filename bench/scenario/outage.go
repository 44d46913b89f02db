package scenario

import (
	"context"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/seed-f29168f7/renew/bench/contender"
)

// What a call of scenario c came to.
const (
	served  = iota // a token that had not expired when the call began
	expired        // a token that had
	failed
)

// call is one call of a reader.
type call struct {
	began, ended time.Time
	limit        time.Time // of its context
	came         int
}

// readOutage lets readers read until stop is closed, each call with a limit of its own.
func readOutage(s *issuer, src contender.Source, readers int, stop <-chan struct{}, pace, limit time.Duration) [][]call {
	per := make([][]call, readers)
	for i := range per {
		per[i] = make([]call, 0, 4096)
	}
	runtime.GC()
	var wg sync.WaitGroup
	for i := range readers {
		wg.Go(func() {
			r := src.Reader()
			time.Sleep(rand.N(pace))
			for {
				select {
				case <-stop:
					return
				default:
				}
				c := call{began: time.Now()}
				c.limit = c.began.Add(limit)
				ctx, cancel := context.WithDeadline(context.Background(), c.limit)
				text, err := r.Token(ctx)
				c.ended = time.Now()
				cancel()
				if err != nil {
					c.came = failed
				} else if g := s.issued(); !c.began.Before(g[number(text)].expiry) {
					c.came = expired
				}
				per[i] = append(per[i], c)
				time.Sleep(pace)
			}
		})
	}
	wg.Wait()
	return per
}

// outageFigures are the columns of scenario c, in their order.
type outageFigures struct {
	calls, errors, needless, expired, late, without, first, all float64
}

// judgeOutage says what the calls of all readers came to.
func judgeOutage(s *issuer, per [][]call, leeway time.Duration) (f outageFigures, l *Histogram) {
	const late = 100 * time.Millisecond // beyond the limit: less is noise
	began := s.outage()
	end := began.Add(s.fails)
	f.calls = float64(s.count(began, end))
	grants := s.issued()
	var good []time.Time
	var latencies []time.Duration
	f.first = math.Inf(1)
	for _, list := range per {
		again := math.Inf(1)
		for _, c := range list {
			latencies = append(latencies, c.ended.Sub(c.began))
			if c.ended.Sub(c.limit) > late {
				f.late++
			}
			switch c.came {
			case failed:
				f.errors++
				if usable(grants, c, leeway) {
					f.needless++
				}
			case expired:
				f.expired++
			case served:
				good = append(good, c.ended)
				if !c.ended.Before(end) {
					again = min(again, c.ended.Sub(end).Seconds())
				}
			}
		}
		f.first, f.all = min(f.first, again), max(f.all, again)
	}
	slices.SortFunc(good, time.Time.Compare)
	for i := range len(good) - 1 {
		f.without = max(f.without, good[i+1].Sub(good[i]).Seconds())
	}
	return f, newHistogram(latencies)
}

// usable reports whether a token was there, from before the call began until it ended, that was not within its leeway.
func usable(grants []grant, c call, leeway time.Duration) bool {
	for _, g := range grants {
		if g.at.Before(c.began) && c.ended.Before(g.expiry.Add(-leeway)) {
			return true
		}
	}
	return false
}

func runOutage(o Options) (*Result, error) {
	const life, takes, down = time.Second, 50 * time.Millisecond, 3 * time.Second
	const pace, limit = 10 * time.Millisecond, 200 * time.Millisecond
	set := contender.Settings{Life: life}
	r := &Result{
		Setup: "64 goroutines read every 10 ms, each call with a context of 200 ms. Tokens live for 1 s, a fetch takes 50 ms. Just after a token was issued the issuer fails for 3 s, so that the least " +
			"possible time without a token is 2.05 s. A needless error is one while there was a token with more than the leeway of 100 ms left; an expired token is one that had expired when the call began; a " +
			"late call is one that ended 100 ms after its context or later.",
		Figures: []Figure{
			{Name: "upstream calls", Format: Count},
			{Name: "errors", Format: Count},
			{Name: "needless errors", Format: Count},
			{Name: "expired tokens", Format: Count},
			{Name: "late calls", Format: Count},
			{Name: "time without a token", Format: Seconds, Ratio: true},
			{Name: "first reader well after", Format: Seconds},
			{Name: "all well after", Format: Seconds},
		},
		Latencies: map[string]*Histogram{},
	}
	repeats := o.repeats(3)
	for i := range repeats {
		for _, c := range contender.All() {
			if c.NoFailures {
				r.none(c.Name, "it knows no failures")
				continue
			}
			o.Progress("c: repeat %d of %d: %s", i+1, repeats, c.Name)
			s := &issuer{takes: takes, life: life, fails: down}
			src := c.Open(s.fetch, set)
			stop := make(chan struct{})
			time.AfterFunc(o.span(time.Second), s.begin)
			go func() {
				defer close(stop)
				for s.outage().IsZero() {
					time.Sleep(10 * time.Millisecond)
				}
				time.Sleep(down + o.span(1500*time.Millisecond))
			}()
			f, l := judgeOutage(s, readOutage(s, src, readers, stop, pace, limit), set.Leeway())
			src.Close()
			r.Latencies[c.Name] = r.Latencies[c.Name].merge(l)
			r.add(c.Name, f.calls, f.errors, f.needless, f.expired, f.late, f.without, f.first, f.all)
		}
	}
	of := func(figure string) Stat { return r.of(contender.Ours, figure) }
	r.goal(of("upstream calls").Median <= 10, "at most 10 upstream calls in the 3 s", "%.0f (%.0f to %.0f)", of("upstream calls").Median, of("upstream calls").Min, of("upstream calls").Max)
	r.goal(of("all well after").Median <= 0.6, "everyone well within 0.6 s of its end", "%s at the median, %s at worst", Seconds(of("all well after").Median), Seconds(of("all well after").Max))
	r.goal(of("needless errors").Max == 0, "0 errors while a token was usable", "%.0f", of("needless errors").Max)
	r.goal(of("expired tokens").Max == 0, "0 expired tokens", "%.0f", of("expired tokens").Max)
	r.goal(of("late calls").Max == 0, "0 calls past their deadline", "%.0f", of("late calls").Max)
	r.goal(of("time without a token").Median <= 2.4, "time without a token at most 2.4 s", "%s at the median", Seconds(of("time without a token").Median))
	return r, nil
}
