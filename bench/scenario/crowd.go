package scenario

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-f29168f7/renew/bench/contender"
)

// generations is a Crowd that keeps its tokens fresh in the background, and counts them.
type generations interface{ Generation(i int) uint64 }

// heap returns the bytes of live objects, and the goroutines.
func heap() (bytes, goroutines int) {
	var m runtime.MemStats
	for range 3 {
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc), runtime.NumGoroutine()
}

func runCrowd(o Options) (*Result, error) {
	// What is the caller's own: "Bearer " and 16 digits in their size class, a name in its, and the pointer in the caller's list.
	const own = 24 + 16 + 8
	many, reissues := 100_000, uint64(10)
	if o.Quick {
		many, reissues = 20_000, 2
	}
	short := many / 5 // tokens that are reissued; all of them would only take longer
	const life = 5 * time.Second
	var n atomic.Uint64
	var ends atomic.Bool // the tokens that are issued now live for a short time
	fetch := func(context.Context) (contender.Grant, error) {
		g := contender.Grant{Text: fmt.Sprintf("%016d", n.Add(1)), Expiry: time.Now().Add(1000 * time.Hour)}
		if ends.Load() {
			g.Expiry = time.Now().Add(life)
		}
		return g, nil
	}
	keepGoroutines(short)
	r := &Result{
		Setup: fmt.Sprintf("%d credentials in one process, each with a token of 16 bytes, each read once. Bytes of live heap a token, the text, the name and the caller's own pointer included. "+
			"A fifth of the tokens live for %v only: where a contender reissues them without their being read, what each of them takes is measured again after it was reissued %d times.", many, life, reissues),
		Figures: []Figure{
			{Name: "bytes a token", Format: Count, Ratio: true},
			{Name: "goroutines a token", Format: func(v float64) string { return fmt.Sprintf("%.4f", v) }},
			{Name: "fresh without being read", Format: yesNo},
			{Name: "bytes a token after the reissues", Format: Count},
			{Name: "goroutines a token after the reissues", Format: func(v float64) string { return fmt.Sprintf("%.4f", v) }},
		},
	}
	for _, c := range contender.All() {
		o.Progress("f: %s", c.Name)
		before, idle := heap()
		crowd := c.Crowd(fetch, contender.Settings{Life: life}, many)
		for i := range many {
			ends.Store(i >= many-short)
			if err := crowd.Read(i); err != nil {
				return nil, fmt.Errorf("%s: %w", c.Name, err)
			}
		}
		first, running := heap()
		bytes, later, laterRunning := float64(first-before)/float64(many), math.NaN(), math.NaN()
		counted, fresh := crowd.(generations)
		if fresh {
			for i := many - short; i < many; {
				if counted.Generation(i) > reissues {
					i++
					continue
				}
				time.Sleep(100 * time.Millisecond)
			}
			ends.Store(false)
			time.Sleep(life) // all have one of the long lives now
			then, still := heap()
			later, laterRunning = bytes+float64(then-first)/float64(short), perToken(still-idle, many)
		}
		crowd.Close()
		runtime.KeepAlive(crowd)
		r.add(c.Name, bytes, perToken(running-idle, many), truth(fresh), later, laterRunning)
	}
	first, then := r.of(contender.Ours, "bytes a token").Median-own, r.of(contender.Ours, "bytes a token after the reissues").Median-own
	r.goal(first <= 512 && then <= 512, "at most 512 bytes of heap a token beside its text, its name and the caller's pointer, also after each was reissued ten times", "%.0f, and %.0f after %d reissues", first, then, reissues)
	g := max(r.of(contender.Ours, "goroutines a token").Median, r.of(contender.Ours, "goroutines a token after the reissues").Median)
	r.goal(g < 0.001, "0 goroutines a token", "%.4f", g)
	return r, nil
}

// keepGoroutines makes the runtime have n goroutines at hand: it keeps what it needs for each that ever ran at the same time, which
// is not to be counted for the tokens.
func keepGoroutines(n int) {
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for range n {
		wg.Go(func() { <-stop })
	}
	close(stop)
	wg.Wait()
}

// perToken returns how many goroutines there are a token, beside those of the runtime's own.
func perToken(more, many int) float64 { return float64(max(more, 0)) / float64(many) }

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func yesNo(v float64) string {
	if v == 0 {
		return "no"
	}
	return "yes"
}
