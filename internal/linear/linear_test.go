package linear

import (
	"flag"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

var (
	histories = flag.Int("linear.n", 150, "histories of each test")
	firstSeed = flag.Uint64("linear.seed", 1, "seed of the first history")
	again     = flag.Int("linear.again", 0, "run the first seed that often, and no other")
	picture   = flag.String("linear.html", "", "file for a picture of a wrong history")
)

// tally counts what the histories of a test had, so that none proves nothing.
type tally struct{ answers, rejects, stale, errors, late, unseen atomic.Int64 }

func (c *tally) add(h *history) {
	for sum, n := range map[*atomic.Int64]int{
		&c.answers: h.answers, &c.rejects: h.rejected, &c.stale: h.stale, &c.errors: h.errors, &c.late: h.late, &c.unseen: h.unseen,
	} {
		sum.Add(int64(n))
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
				done.Add(1)
				var bad *violation
				if len(h.broken) == 0 {
					known := false
					if bad, known = judge(h.ops, failed.Load); !known && !failed.Load() {
						unknown.Add(1)
					}
					if bad == nil {
						total.add(h)
						continue
					}
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
	t.Logf("%d histories in %v (%.0f a second): %d answers and %d errors; %d rejects, %d of them stale; of late tokens %d were seen and %d were not",
		done.Load(), took.Round(time.Millisecond), float64(done.Load())/took.Seconds(), total.answers.Load(), total.errors.Load(),
		total.rejects.Load(), total.stale.Load(), total.late.Load(), total.unseen.Load())
	if u := unknown.Load(); u > 0 {
		t.Logf("%d histories: no order was found within %v, nor that there is none", u, limit)
		if u*50 > n { // a busy machine may be slow; a wrong TokenSource is undecided far more often
			t.Error("too many of them: the test proves too little")
		}
	}
	return &total
}

// report prints a wrong history.
func report(t *testing.T, h *history, bad *violation, after int64) {
	t.Helper()
	rule, text := strings.Join(h.broken[:min(len(h.broken), 8)], "\n  "), ""
	if bad != nil {
		rule, text = bad.rule, bad.text
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
	if *histories >= 50 && (total.late.Load() == 0 || total.unseen.Load() == 0) {
		t.Error("no token was late")
	}
}

func TestR22_Linearizable(t *testing.T) {
	// With a budget that is soon spent, all answers have one right order, in which a token that cannot be replaced stays in service.
	total := run(t, workload{workers: 8, ops: 25, units: 3, flight: 200 * time.Millisecond, fault: 0.2, reject: 0.03, revoke: 0.03}, nil)
	if *histories >= 50 && total.rejects.Load() == 0 {
		t.Error("nobody rejected anything")
	}
}

func TestR2_TheModelSees(t *testing.T) {
	// Each history that breaks a promise has no right order, the same one without the fault has one, and the report names the rule.
	flights := func(more ...*op) []*op {
		return append([]*op{
			{kind: launch, call: 0, ret: 2, flight: 1}, {kind: land, call: 3, ret: 10, flight: 1, token: 1},
			{kind: rejectBegin, call: 20, ret: 30, reject: 1}, {kind: rejectEnd, call: 20, ret: 30, reject: 1, token: 2, gen: 2},
			{kind: launch, call: 3, ret: 22, flight: 2}, {kind: land, call: 24, ret: 30, flight: 2, token: 2},
		}, more...)
	}
	reads := func(call, ret int64, token int, gen uint64) *op {
		return &op{kind: read, client: 1, call: call, ret: ret, token: token, gen: gen}
	}
	for _, c := range []struct {
		name, rule string // no rule: it is right
		ops        []*op
	}{
		{"readers before, between and after", "", flights(reads(4, 10, 1, 1), reads(11, 25, 1, 1), reads(26, 30, 2, 2), reads(31, 32, 2, 2))},
		{"a generation goes back", "R2", flights(reads(31, 32, 2, 2), reads(33, 34, 1, 1))},
		{"a rejected token is read before its successor", "R2", flights(reads(23, 24, 1, 1))},
		{"readers disagree", "R2", flights(reads(4, 11, 1, 1), &op{kind: read, client: 2, call: 12, ret: 13, token: 2, gen: 2})},
		{"a stale Reject starts a flight", "R17", flights(
			&op{kind: read, call: 40, ret: 50, reject: 1, token: 3, gen: 3},
			&op{kind: launch, call: 24, ret: 42, flight: 3}, &op{kind: land, call: 44, ret: 50, flight: 3, token: 3})},
		{"a stale Reject is a read", "", flights(&op{kind: read, call: 40, ret: 50, reject: 1, token: 2, gen: 2})},
		{"a Reject returns what it rejects", "R2", flights(
			&op{kind: rejectBegin, call: 40, ret: 50, reject: 2}, &op{kind: rejectEnd, call: 40, ret: 50, reject: 2, token: 2, gen: 2})},
		{"a generation is left out", "R11", flights(reads(31, 32, 2, 3))},
		{"an error beside a token", "R3", flights(reads(31, 32, 0, 0))},
		{"an error while there is none", "", flights(reads(21, 26, 0, 0))},
		{"two flights at once", "R6", flights(&op{kind: launch, call: 3, ret: 23, flight: 3})},
		{"a denied Reject keeps the token", "", flights(
			&op{kind: rejectBegin, call: 40, ret: 50, reject: 2, small: true, denied: true},
			&op{kind: rejectEnd, call: 40, ret: 50, reject: 2, small: true, denied: true}, reads(51, 52, 2, 2))},
		{"a denied Reject takes the token", "R3", flights(
			&op{kind: rejectBegin, call: 40, ret: 50, reject: 2, small: true, denied: true},
			&op{kind: rejectEnd, call: 40, ret: 50, reject: 2, small: true, denied: true}, reads(51, 52, 0, 0))},
	} {
		bad, known := judge(c.ops, func() bool { return false })
		switch {
		case !known:
			t.Errorf("%s: not decided", c.name)
		case c.rule == "" && bad != nil:
			t.Errorf("%s: %s\n%s", c.name, bad.rule, bad.text)
		case c.rule != "" && bad == nil:
			t.Errorf("%s: it has an order", c.name)
		case c.rule != "" && !strings.HasPrefix(bad.rule, c.rule):
			t.Errorf("%s: want %s\n%s\n%s", c.name, c.rule, bad.rule, bad.text)
		}
	}
}

func TestR8_TheModelSees(t *testing.T) {
	// A late token may land while nothing is in service, may be dropped while a token is, and must not replace it.
	base := func(more ...*op) []*op {
		return append([]*op{
			{kind: launch, call: 0, ret: 2, flight: 1}, {kind: expire, call: 2, ret: 20, flight: 1},
			{kind: launch, call: 2, ret: 20, flight: 2}, {kind: land, call: 30, ret: 40, flight: 2, token: 2},
		}, more...)
	}
	reads := func(call, ret int64, token int, gen uint64) *op {
		return &op{kind: read, client: 1, call: call, ret: ret, token: token, gen: gen}
	}
	for _, c := range []struct {
		name  string
		right bool
		ops   []*op
	}{
		{"before the next", true, base(&op{kind: land, call: 22, ret: forever, flight: 1, token: 1, late: true}, reads(23, 24, 1, 1), reads(39, 40, 2, 2))},
		{"dropped", true, base(&op{kind: land, call: 42, ret: forever, flight: 1, token: 1, late: true}, reads(39, 40, 2, 1), reads(43, 44, 2, 1))},
		{"replaces", false, base(&op{kind: land, call: 42, ret: 44, flight: 1, token: 1, late: true}, reads(39, 40, 2, 1), reads(43, 44, 1, 2))},
		{"goes back", false, base(&op{kind: land, call: 42, ret: 44, flight: 1, token: 1, late: true}, reads(39, 40, 2, 1), reads(43, 44, 1, 1))},
	} {
		if bad, known := judge(c.ops, func() bool { return false }); !known || c.right != (bad == nil) {
			t.Errorf("%s: want right %v, got %+v", c.name, c.right, bad)
		}
	}
}
