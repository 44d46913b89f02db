package scenario

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"testing"
	"time"

	"github.com/seed-f29168f7/renew/bench/contender"
)

// Hour is the setting for scenarios in which no token ends.
var Hour = contender.Settings{Life: time.Hour}

// Lasting is a fetch of a token that lives for an hour.
func Lasting(context.Context) (contender.Grant, error) {
	return contender.Grant{Text: "token-0000000000", Expiry: time.Now().Add(Hour.Life)}, nil
}

// PerCPU are the numbers of goroutines a CPU that read at once.
var PerCPU = []int{1, 32, 512}

// BenchmarkReads reads the token of an open contender.
func BenchmarkReads(b *testing.B, src contender.Source, perCPU int) {
	ctx := context.Background()
	if err := src.Reader().Read(ctx); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.SetParallelism(perCPU)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		r := src.Reader()
		for pb.Next() {
			if err := r.Read(ctx); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// load is one column of scenario a.
type load struct{ cpus, perCPU int }

func (l load) String() string {
	return fmt.Sprintf("%d CPU × %d, ns", l.cpus, l.perCPU)
}

// loads returns the columns: as many CPUs as there are, at most 2.
func loads() []load {
	var all []load
	for cpus := 1; cpus <= min(2, runtime.NumCPU()); cpus++ {
		for _, n := range PerCPU {
			all = append(all, load{cpus, n})
		}
	}
	return all
}

// measure runs a benchmark. When the machine stands still during the first round, it would end after that one: then it is run again.
func measure(f func(b *testing.B)) (res testing.BenchmarkResult, err error) {
	const least = 1000
	for range 5 {
		if res = testing.Benchmark(f); res.N >= least {
			return res, nil
		}
	}
	return res, fmt.Errorf("the benchmark failed, or the machine is too busy: it ran %d times", res.N)
}

func runReads(o Options) (*Result, error) {
	r := &Result{Setup: "Readers call for a token that is valid for an hour, as fast as they can. Columns: CPUs × goroutines a CPU. Time is that of all calls together, divided by their number."}
	columns := loads()
	for _, l := range columns {
		r.Figures = append(r.Figures, Figure{Name: l.String(), Format: Nanos, Ratio: true})
	}
	r.Figures = append(r.Figures, Figure{Name: "allocs/op", Format: Count})
	was := runtime.GOMAXPROCS(0)
	defer runtime.GOMAXPROCS(was)
	repeats := o.repeats(5)
	for i := range repeats {
		for _, c := range contender.All() {
			o.Progress("a: repeat %d of %d: %s", i+1, repeats, c.Name)
			values, allocs := make([]float64, 0, len(r.Figures)), int64(0)
			src := c.Open(Lasting, Hour)
			for _, l := range columns {
				runtime.GOMAXPROCS(l.cpus)
				res, err := measure(func(b *testing.B) { BenchmarkReads(b, src, l.perCPU) })
				if err != nil {
					return nil, fmt.Errorf("%s: %w", c.Name, err)
				}
				values = append(values, float64(res.T.Nanoseconds())/float64(res.N))
				allocs = max(allocs, res.AllocsPerOp())
			}
			src.Close()
			r.add(c.Name, append(values, float64(allocs))...)
		}
	}
	worst, lead, crowd := 0.0, math.Inf(1), 0.0
	for i, l := range columns {
		ours, floor := r.of(contender.Ours, l.String()).Median, r.of(contender.Floor, l.String()).Median
		worst = max(worst, ours/floor)
		if best, ok := r.BestPeer(i); ok {
			lead = min(lead, best/ours)
		}
		if l.perCPU == PerCPU[len(PerCPU)-1] {
			crowd = max(crowd, ours/r.of(contender.Ours, load{l.cpus, 1}.String()).Median)
		}
	}
	allocs := r.of(contender.Ours, "allocs/op").Median
	r.goal(worst <= 2, "within 2 times the floor", "%.2f times at worst", worst)
	r.goal(allocs == 0, "0 allocations", "%.0f", allocs)
	r.goal(crowd <= 1.1, "no slower at 512 goroutines a CPU (up to a tenth, which is noise)", "%.2f times one goroutine", crowd)
	r.goal(lead >= 10, "at least 10 times ahead of every peer", "%.1f times the best peer at worst", lead)
	return r, nil
}
