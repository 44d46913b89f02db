package simulation

import (
	"context"
	"encoding/hex"
	"flag"
	"fmt"
	"runtime"
	"runtime/pprof"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var (
	flagN       = flag.Int("sim.n", histories, "how many histories to play")
	flagSeed    = flag.Uint64("sim.seed", 1, "the seed of the first history; the others follow")
	flagHistory = flag.String("sim.history", "", "play this history, in hexadecimal, and no other")
)

// TestSimulation plays random histories, and finds no rule broken.
func TestSimulation(t *testing.T) {
	if *flagHistory != "" {
		h, err := hex.DecodeString(*flagHistory)
		if err != nil {
			t.Fatalf("-sim.history: %v", err)
		}
		if b := play(t, h); b != nil {
			t.Errorf("simulation: %s broken: %s\nhistory:\n%v", b.rule, b.text, history(h))
		}
		return
	}
	t.Setenv("GODEBUG", "tracebacklabels=1")
	began := time.Now()
	var played, events atomic.Int64
	var found sync.Once
	var stop atomic.Bool
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for !stop.Load() {
				i := played.Add(1) - 1
				if i >= int64(*flagN) {
					return
				}
				seed := *flagSeed + uint64(i)
				h := generate(seed)
				events.Add(int64(len(h.events())))
				var b *broken
				// A crash of the process prints the labels of the goroutine that it was on.
				pprof.Do(t.Context(), pprof.Labels("seed", fmt.Sprintf("%#x", seed)), func(context.Context) { b = play(t, h) })
				if b != nil {
					found.Do(func() {
						stop.Store(true)
						report(t, seed, h, b)
					})
				}
			}
		})
	}
	wg.Wait()
	n := min(played.Load(), int64(*flagN))
	took := time.Since(began)
	t.Logf("%d histories, %d events, %.0f histories a second", n, events.Load(), float64(n)/took.Seconds())
}

// report shortens a history that broke a rule, and prints it.
func report(t *testing.T, seed uint64, h history, b *broken) {
	short, why := shorten(t, h, b)
	t.Errorf("simulation: %s broken: %s\nseed: %#x\nshortened from %d to %d events:\n%vplay it again:\n  go test ./internal/simulation -run 'TestSimulation$' -sim.history %s\nthe whole:\n  go test ./internal/simulation -run 'TestSimulation$' -sim.n 1 -sim.seed %#x",
		why.rule, why.text, seed, len(h.events()), len(short.events()), short, hex.EncodeToString(short), seed)
}

// shorten cuts events and blanks bytes for as long as the same rule breaks.
func shorten(t *testing.T, h history, b *broken) (history, *broken) {
	try := func(candidate history) bool {
		got := play(t, candidate)
		if got == nil || got.rule != b.rule {
			return false
		}
		h, b = candidate, got
		return true
	}
	for size := len(h.events()) / 2; size > 0; {
		cut := false
		for from := setupSize; from+size*eventSize <= len(h); {
			candidate := append(append(history(nil), h[:from]...), h[from+size*eventSize:]...)
			if try(candidate) {
				cut = true
			} else {
				from += size * eventSize
			}
		}
		if !cut || size > 1 {
			size /= 2
		}
	}
	for i := range h {
		if h[i] != 0 {
			candidate := append(history(nil), h...)
			candidate[i] = 0
			try(candidate)
		}
	}
	return h, b
}

// FuzzSimulation looks for a history that breaks a rule.
func FuzzSimulation(f *testing.F) {
	for seed := range uint64(20) {
		f.Add([]byte(generate(seed)))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		h := history(data)
		if b := play(t, h); b != nil {
			t.Errorf("simulation: %s broken: %s\nplay it again:\n  go test ./internal/simulation -run 'TestSimulation$' -sim.history %s\nhistory:\n%v",
				b.rule, b.text, strings.ToLower(hex.EncodeToString(h)), h)
		}
	})
}
