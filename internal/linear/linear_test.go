package linear

import (
	"flag"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

var (
	histories = flag.Int("linear.n", 100, "histories a test")
	firstSeed = flag.Uint64("linear.seed", 1, "seed of the first history")
	again     = flag.Int("linear.again", 0, "run the first seed that often, and no other")
	picture   = flag.String("linear.html", "", "file for a picture of a wrong history")
)

// tally counts what the histories of a test had, so that none proves nothing.
type tally struct{ ops, rejects, stale, errors, late, dropped atomic.Int64 }

func (c *tally) add(h *history) {
	newest := 0
	slices.SortStableFunc(h.ops, func(a, b *op) int { return int(a.call - b.call) })
	seen := map[int]bool{}
	for _, o := range h.ops {
		switch {
		case o.kind == rejectBegin && o.reject < newest:
			c.stale.Add(1)
		case o.kind == rejectBegin:
			c.rejects.Add(1)
		case o.kind == read && o.token == 0:
			c.errors.Add(1)
		}
		if o.kind <= rejectEnd && o.kind != rejectBegin {
			c.ops.Add(1)
			newest = max(newest, o.token)
			seen[o.token] = true
		}
	}
	for _, o := range h.ops {
		if o.kind == land && o.late {
			if seen[o.token] {
				c.late.Add(1)
			} else {
				c.dropped.Add(1)
			}
		}
	}
}

// run records and judges histories until one is wrong.
func run(t *testing.T, w workload, more func(*history)) *tally {
	t.Helper()
	began := time.Now()
	var next, done, unknown atomic.Int64
	var total tally
	var failed atomic.Bool
	var all sync.WaitGroup
	n := int64(max(*histories, 1))
	if *again > 0 {
		n = int64(*again)
	}
	for range 4 * runtime.GOMAXPROCS(0) { // they mostly sleep
		all.Go(func() {
			for i := next.Add(1) - 1; i < n && !failed.Load(); i = next.Add(1) - 1 {
				seed := *firstSeed + uint64(i)
				if *again > 0 {
					seed = *firstSeed
				}
				h, err := record(w, seed)
				if err != nil {
					t.Errorf("seed %d: %v", seed, err)
					failed.Store(true)
					return
				}
				if more != nil {
					more(h)
				}
				bad, known := judge(h.ops)
				done.Add(1)
				if !known {
					unknown.Add(1)
				}
				if bad == nil && len(h.broken) == 0 {
					total.add(h)
					continue
				}
				if !failed.CompareAndSwap(false, true) {
					return
				}
				report(t, h, bad, done.Load())
			}
		})
	}
	all.Wait()
	took := time.Since(began)
	t.Logf("%d histories in %v (%.0f a second): %d answers, %d rejects, %d stale ones, %d errors, %d late tokens published and %d not seen",
		done.Load(), took.Round(time.Millisecond), float64(done.Load())/took.Seconds(), total.ops.Load(), total.rejects.Load(), total.stale.Load(),
		total.errors.Load(), total.late.Load(), total.dropped.Load())
	if u := unknown.Load(); u > 0 {
		t.Logf("%d histories were not decided within %v", u, limit)
		if u*20 > n {
			t.Error("too many of them: the test proves too little")
		}
	}
	return &total
}

// report prints a wrong history.
func report(t *testing.T, h *history, bad *violation, after int64) {
	t.Helper()
	rule, text := strings.Join(h.broken, "\n  "), ""
	if bad != nil {
		text = bad.text
		if rule == "" {
			rule = bad.rule
		} else {
			rule += "\n  " + bad.rule
		}
		if *picture != "" {
			if f, err := os.Create(*picture); err != nil {
				t.Error(err)
			} else {
				if err := porcupine.Visualize(model, bad.info, f); err != nil {
					t.Error(err)
				}
				_ = f.Close()
			}
		}
	}
	t.Errorf("seed %d, history %d, pace %v\n  %s\n%s", h.seed, after, h.pace, rule, text)
}

func TestR17_Linearizable(t *testing.T) {
	// With holders that reject what they hold, current or not, all answers have one right order, and each revocation is one call of Issue.
	total := run(t, workload{workers: 8, ops: 25, units: 1 << 20, flight: 5 * time.Second, reject: 0.03, revoke: 0.03}, func(h *history) {
		if calls, want := len(h.calls), int(h.ts.Status().Rejected)+1; calls != want {
			h.broken = append(h.broken, "R17: calls of Issue are not one more than the tokens that were rejected")
		}
	})
	if *histories >= 50 && (total.rejects.Load() == 0 || total.stale.Load() == 0) {
		t.Error("nobody rejected anything")
	}
}

func TestR8_Linearizable(t *testing.T) {
	// With an issuer that fails, or answers after its flight has ended, all answers have one right order, and no late token replaces one in service.
	total := run(t, workload{workers: 8, ops: 30, units: 1 << 20, flight: 15 * time.Millisecond, fault: 0.1, deaf: 0.3, reject: 0.02, revoke: 0.02}, nil)
	if *histories >= 50 && (total.late.Load() == 0 || total.dropped.Load() == 0) {
		t.Error("no token was late")
	}
}

func TestR22_Linearizable(t *testing.T) {
	// With a budget that is soon spent, all answers have one right order, in which a token that cannot be replaced stays in service.
	total := run(t, workload{workers: 8, ops: 25, units: 3, flight: 100 * time.Millisecond, fault: 0.2, reject: 0.03, revoke: 0.03}, nil)
	if *histories >= 50 && total.rejects.Load() == 0 {
		t.Error("nobody rejected anything")
	}
}
