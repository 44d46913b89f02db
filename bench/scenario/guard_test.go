package scenario

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/bench/contender"
	"github.com/seed-f29168f7/renew/clock"
)

// The guards hold what renew won in these scenarios, as far as it does not depend on the machine's mood: counts, and
// times of the bubble's clock. Each is named after the rule of CONTRACT.md that it is about; bash bench/mutants shows that they can fail.

// ours opens renew.
func ours(t *testing.T, s *issuer, set contender.Settings) contender.Source {
	t.Helper()
	for _, c := range contender.All() {
		if c.Name == contender.Ours {
			src := c.Open(s.fetch, set)
			t.Cleanup(src.Close)
			return src
		}
	}
	panic("renew is no contender")
}

// meter is a clock that counts. While held it stands still in Now, with whatever lock its caller has.
type meter struct {
	clock.Real
	readings atomic.Int64
	made     atomic.Int64 // timers, ever
	live     atomic.Int64 // timers that are set
	most     atomic.Int64 // that live ever was

	hold    atomic.Bool
	entered chan struct{}
	release chan struct{}
}

func newMeter() *meter {
	return &meter{entered: make(chan struct{}), release: make(chan struct{})}
}

func (m *meter) Now() clock.Instant {
	m.readings.Add(1)
	if m.hold.CompareAndSwap(true, false) {
		close(m.entered)
		<-m.release
	}
	return m.Real.Now()
}

func (m *meter) AfterFunc(d time.Duration, f func()) clock.Timer {
	m.made.Add(1)
	t := &meterTimer{meter: m}
	t.set(true)
	t.Timer = m.Real.AfterFunc(d, func() {
		t.set(false)
		f()
	})
	return t
}

// meterTimer is a timer that is counted while it is set.
type meterTimer struct {
	clock.Timer
	meter *meter
	on    atomic.Bool
}

func (t *meterTimer) set(on bool) {
	switch was := t.on.Swap(on); {
	case on && !was:
		n := t.meter.live.Add(1)
		for most := t.meter.most.Load(); n > most && !t.meter.most.CompareAndSwap(most, n); most = t.meter.most.Load() {
		}
	case !on && was:
		t.meter.live.Add(-1)
	}
}

func (t *meterTimer) Stop() bool {
	t.set(false)
	return t.Timer.Stop()
}

func (t *meterTimer) Reset(d time.Duration) bool {
	t.set(true)
	return t.Timer.Reset(d)
}

// open opens a TokenSource on the meter, with a seed.
func (m *meter) open(t *testing.T, s *issuer, seed uint64) *renew.TokenSource {
	t.Helper()
	ts, err := renew.New(renew.SourceFunc(func(ctx context.Context) (*renew.Token, error) {
		g, err := s.fetch(ctx)
		if err != nil {
			return nil, err
		}
		return &renew.Token{Value: renew.NewSecret(g.Text), Expiry: g.Expiry}, nil
	}), renew.Config{Clock: m, Rand: rand.New(rand.NewPCG(seed, seed)).Float64})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ts.Close(context.Background()) })
	return ts
}

func token(t *testing.T, ts *renew.TokenSource) *renew.Token {
	t.Helper()
	tok, err := ts.Token(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

func TestR1_ReadersTakeNoLockAndLookAtNoClock(t *testing.T) {
	// Readers read on while another goroutine stands still with the lock in its hand, and the clock is not asked for them.
	const reads = 1000
	m := newMeter()
	ts := m.open(t, &issuer{life: time.Hour}, 1)
	token(t, ts)
	m.hold.Store(true)
	status := make(chan struct{})
	go func() {
		defer close(status)
		ts.Status() // takes the lock, and then asks for the time
	}()
	<-m.entered
	before := m.readings.Load()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range reads {
			_, _ = ts.Token(context.Background())
		}
	}()
	select {
	case <-done:
		if n := m.readings.Load() - before; n != 0 {
			t.Errorf("%d reads looked at the clock %d times", reads, n)
		}
	case <-time.After(20 * time.Second):
		t.Error("readers wait for the lock")
	}
	close(m.release)
	<-status
	<-done
}

// fights returns how often goroutines have waited for a lock that renew gave back.
func fights() (n int64) {
	records := make([]runtime.BlockProfileRecord, 10_000)
	m, _ := runtime.MutexProfile(records)
	for _, r := range records[:min(m, len(records))] {
		frames := runtime.CallersFrames(r.Stack())
		for more := true; more; {
			var f runtime.Frame
			if f, more = frames.Next(); strings.HasPrefix(f.Function, "github.com/seed-f29168f7/renew.") {
				n += r.Count
				break
			}
		}
	}
	return n
}

func TestR1_ReadersMeetAtNoLock(t *testing.T) {
	// No lock at all is fought for by readers, be it the engine's or another.
	ts := newMeter().open(t, &issuer{life: time.Hour}, 1)
	token(t, ts)
	defer runtime.SetMutexProfileFraction(runtime.SetMutexProfileFraction(1))
	before := fights()
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			for range 100_000 {
				_, _ = ts.Token(context.Background())
			}
		})
	}
	wg.Wait()
	if n := fights() - before; n != 0 {
		t.Errorf("readers waited for a lock %d times", n)
	}
}

func TestR3_NoReaderWaitsForAFetch(t *testing.T) {
	// Scenario b, on the bubble's clock: no read takes any time, and there are at most 13 fetches for 10 expiries.
	const life, takes, pace = 500 * time.Millisecond, 100 * time.Millisecond, 2 * time.Millisecond
	most := 0
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			s := &issuer{takes: takes, life: life}
			src := ours(t, s, contender.Settings{Life: life, Seed: seed + 1})
			if err := src.Reader().Read(t.Context()); err != nil {
				t.Fatal(err)
			}
			got := readFor(src, 8, 10*life, pace, time.Nanosecond)
			if got.waited > 0 || got.errors > 0 {
				t.Errorf("seed %d: %d readers waited, the longest for %v; %d errors", seed, got.waited, got.latencies.At(1), got.errors)
			}
			most = max(most, s.count(time.Time{}, time.Now()))
		})
	}
	t.Logf("at most %d fetches for 10 expiries", most)
	if most > 13 {
		t.Errorf("%d fetches for 10 expiries", most)
	}
}

// outageOf plays scenario c on the bubble's clock, and returns what it came to and when the issuer was called, from the start of the outage.
func outageOf(t *testing.T, seed uint64, readers int, pace time.Duration) (f outageFigures, calls []time.Duration, m *meter) {
	synctest.Test(t, func(t *testing.T) {
		set := contender.Settings{Life: time.Second}
		s := &issuer{takes: 50 * time.Millisecond, life: set.Life, fails: 3 * time.Second}
		m = newMeter()
		ts := m.open(t, s, seed)
		token(t, ts)
		stop := make(chan struct{})
		time.AfterFunc(time.Second, s.begin)
		time.AfterFunc(7*time.Second, func() { close(stop) })
		f, _ = judgeOutage(s, readOutage(s, meterSource{ts: ts}, readers, stop, pace, 200*time.Millisecond), set.Leeway())
		for _, at := range s.calls {
			if after := at.Sub(s.outage()); after >= 0 && after < s.fails {
				calls = append(calls, after)
			}
		}
	})
	return f, calls, m
}

// meterSource is a TokenSource as a contender's Source, of which only Reader is asked.
type meterSource struct {
	contender.Source
	ts *renew.TokenSource
}

func (s meterSource) Reader() contender.Reader { return meterReader{s.ts} }

type meterReader struct{ ts *renew.TokenSource }

func (r meterReader) Read(ctx context.Context) error {
	_, err := r.ts.Token(ctx)
	return err
}

func (r meterReader) Token(ctx context.Context) (string, error) {
	t, err := r.ts.Token(ctx)
	if err != nil {
		return "", err
	}
	return t.Value.Reveal(), nil
}

func TestR13_OutageIsCheapAndShort(t *testing.T) {
	// Scenario c, on the bubble's clock, for many seeds: upstream calls, recovery, and no error that need not be. No retry has a timer of its own.
	var without, calls []float64
	worst := outageFigures{}
	made, live := int64(0), int64(0)
	for seed := range uint64(40) {
		f, _, m := outageOf(t, seed, 4, 10*time.Millisecond)
		worst.calls, worst.all = max(worst.calls, f.calls), max(worst.all, f.all)
		worst.needless, worst.expired, worst.late = worst.needless+f.needless, worst.expired+f.expired, worst.late+f.late
		without, calls = append(without, f.without), append(calls, f.calls)
		made, live = max(made, m.made.Load()), max(live, m.most.Load())
	}
	slices.Sort(without)
	slices.Sort(calls)
	median := without[len(without)/2]
	t.Logf("%.0f upstream calls at the median and %.0f at most, all well %.3f s after the end at worst, without a token for %.3f s at the median and %.3f s at worst; at most %d timers made, %d set at once",
		calls[len(calls)/2], worst.calls, worst.all, median, without[len(without)-1], made, live)
	if calls[len(calls)/2] > 10 || worst.calls > 11 { // about one run in forty has 11: the pauses are jittered
		t.Errorf("%.0f upstream calls in 3 s at the median, %.0f at most", calls[len(calls)/2], worst.calls)
	}
	if worst.all > 0.6 {
		t.Errorf("well again after %.3f s", worst.all)
	}
	if median > 2.4 {
		t.Errorf("%.3f s without a token at the median", median)
	}
	if worst.needless+worst.expired+worst.late > 0 {
		t.Errorf("%.0f needless errors, %.0f expired tokens, %.0f late calls", worst.needless, worst.expired, worst.late)
	}
	// One of the TokenSource, one of the watcher, and one of a pause within a flight; of those there are two a flight.
	if live > 3 {
		t.Errorf("%d timers are set at once", live)
	}
	if made > 6 {
		t.Errorf("%d timers were made", made)
	}
}

func TestR13_UpstreamCallsDoNotDependOnTheReaders(t *testing.T) {
	// With the same seed the issuer is called at the same moments, for one reader and for a thousand.
	for seed := range uint64(3) {
		_, one, _ := outageOf(t, seed, 1, 10*time.Millisecond)
		_, many, _ := outageOf(t, seed, 1000, 50*time.Millisecond)
		if len(one) == 0 || !slices.Equal(one, many) {
			t.Errorf("seed %d: one reader: %v, a thousand: %v", seed, one, many)
		}
	}
}

func TestR15_ShortTokensMakeNoStorm(t *testing.T) {
	// Scenario h, on the bubble's clock: at most 2 times the least possible.
	const span = 10 * time.Second
	for _, life := range []time.Duration{5 * time.Second, time.Second} {
		for seed := range uint64(20) {
			synctest.Test(t, func(t *testing.T) {
				s := &issuer{takes: 20 * time.Millisecond, life: life}
				src := ours(t, s, contender.Settings{Life: life, Seed: seed + 1})
				began := time.Now()
				if err := src.Reader().Read(t.Context()); err != nil {
					t.Fatal(err)
				}
				got := readFor(src, 8, span-time.Since(began), 50*time.Millisecond, time.Nanosecond)
				if n, least := s.count(time.Time{}, began.Add(span)), int(span/life); n > 2*least || got.errors > 0 || got.waited > 0 {
					t.Errorf("life %v, seed %d: %d fetches, the least is %d; %d errors, %d readers waited", life, seed, n, least, got.errors, got.waited)
				}
			})
		}
	}
}

func TestR17_OneRevocationIsOneFetch(t *testing.T) {
	// The core of scenario d: 200 holders reject one token, some of them long after it was replaced.
	synctest.Test(t, func(t *testing.T) {
		s := &issuer{takes: 50 * time.Millisecond, life: time.Hour}
		ts := newMeter().open(t, s, 1)
		old := token(t, ts)
		var wg sync.WaitGroup
		for i := range workers {
			wg.Go(func() {
				time.Sleep(time.Duration(i) * 5 * time.Millisecond)
				next, err := ts.Reject(context.Background(), old)
				if err != nil || next.Generation() != old.Generation()+1 {
					t.Errorf("holder %d: %v", i, err)
				}
			})
		}
		wg.Wait()
		if n := len(s.issued()); n != 2 {
			t.Errorf("%d fetches, the first included", n)
		}
	})
}

func TestR18_TheBudgetStopsAndNotTheEndpoint(t *testing.T) {
	// The end of scenario d: every token is refused, again and again. There are five fetches, however fast they are.
	for _, takes := range []time.Duration{50 * time.Millisecond, 5 * time.Millisecond, 0} {
		t.Run(fmt.Sprint(takes), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &issuer{takes: takes, life: time.Hour}
				ts := newMeter().open(t, s, 1)
				end := time.Now().Add(3 * time.Second)
				var wg sync.WaitGroup
				for range 20 {
					wg.Go(func() {
						for time.Now().Before(end) {
							if tok, err := ts.Token(context.Background()); err == nil {
								_, _ = ts.Reject(context.Background(), tok)
							}
							time.Sleep(20 * time.Millisecond)
						}
					})
				}
				wg.Wait()
				if n := len(s.calls); n != 5 {
					t.Errorf("%d fetches, the first included", n)
				}
			})
		})
	}
}
