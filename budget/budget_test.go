package budget_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/seed-f29168f7/renew/budget"
)

// spend reserves and spends at one time, which must succeed.
func spend(t *testing.T, b *budget.Budget, now time.Duration) {
	t.Helper()
	if retryAt, ok := b.Reserve(now); !ok {
		t.Fatalf("Reserve(%v) = %v, false", now, retryAt)
	}
	b.Spend(now)
}

// answers checks Left, RetryAt and a failing Reserve, or that there is a unit.
func answers(t *testing.T, b *budget.Budget, now time.Duration, left int, retryAt time.Duration) {
	t.Helper()
	if got := b.Left(now); got != left {
		t.Errorf("Left(%v) = %d, want %d", now, got, left)
	}
	if got, ok := b.RetryAt(now); got != retryAt || ok != (left > 0) {
		t.Errorf("RetryAt(%v) = %v, %v, want %v, %v", now, got, ok, retryAt, left > 0)
	}
	if left == 0 {
		if got, ok := b.Reserve(now); got != retryAt || ok {
			t.Errorf("Reserve(%v) = %v, %v, want %v, false", now, got, ok, retryAt)
		}
	}
}

func TestBudget_Validate(t *testing.T) {
	for _, tt := range []struct {
		name string
		b    *budget.Budget
		ok   bool
	}{
		{"nil", nil, true},
		{"zero", &budget.Budget{}, true},
		{"set", &budget.Budget{Units: 1, Window: 1}, true},
		{"negative Units", &budget.Budget{Units: -1}, false},
		{"negative Window", &budget.Budget{Window: -1}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.b.Validate(); (err == nil) != tt.ok {
				t.Errorf("Validate = %v, want ok = %v", err, tt.ok)
			}
		})
	}
}

func TestR18_Defaults(t *testing.T) {
	for _, b := range []*budget.Budget{{}, {Units: -3, Window: -time.Second}} {
		if b.Span() != 10*time.Minute || b.Left(0) != 4 {
			t.Errorf("default = %d in %v, want 4 in 10m", b.Left(0), b.Span())
		}
	}
	for _, window := range []time.Duration{1, time.Second} { // the least there is, too
		if got := (&budget.Budget{Window: window}).Span(); got != window {
			t.Errorf("Span = %v, want %v", got, window)
		}
	}
	if got := unsafe.Sizeof(budget.Budget{}); got > 64 {
		t.Errorf("a Budget has %d bytes, want at most 64", got)
	}
}

func TestR18_WindowIsHalfOpen(t *testing.T) {
	const at = 5 * time.Second
	for _, origin := range []time.Duration{0, -time.Hour, time.Hour, -1 << 62} { // any origin will do
		b := &budget.Budget{Units: 1, Window: time.Minute}
		spend(t, b, origin+at)
		answers(t, b, origin+at, 0, origin+at+time.Minute)
		answers(t, b, origin+at+time.Minute-1, 0, origin+at+time.Minute)
		answers(t, b, origin+at+time.Minute, 1, origin+at+time.Minute)
		spend(t, b, origin+at+time.Minute)
	}
}

func TestR18_OpenReservationsCount(t *testing.T) {
	b := &budget.Budget{Units: 2, Window: time.Minute}
	for range 2 {
		if _, ok := b.Reserve(0); !ok {
			t.Fatal("no unit in a new Budget")
		}
	}
	answers(t, b, time.Hour, 0, time.Hour+time.Minute) // however old they are
	b.Release()
	answers(t, b, time.Hour, 1, time.Hour)
	b.Spend(time.Hour) // the unit is stamped at the end, not at the start
	answers(t, b, time.Hour, 1, time.Hour)
	spend(t, b, time.Hour+1)
	answers(t, b, time.Hour+time.Minute-1, 0, time.Hour+time.Minute)
	answers(t, b, time.Hour+time.Minute, 1, time.Hour+time.Minute)
}

func TestR18_WithoutAReservation(t *testing.T) {
	b := &budget.Budget{Units: 2, Window: time.Minute}
	b.Release()
	b.Release()
	answers(t, b, 0, 2, 0)
	b.Spend(0)
	answers(t, b, 0, 1, 0)
	b.Spend(0)
	b.Spend(1)
	answers(t, b, 1, 0, time.Minute) // the third is over the Units, and counts all the same:
	answers(t, b, time.Minute, 1, time.Minute)
	answers(t, b, time.Minute+1, 2, time.Minute+1)
}

func TestR19_ChargeBeyondTheUnits(t *testing.T) {
	b := &budget.Budget{Units: 3, Window: time.Minute}
	b.Charge(0, 0)
	b.Charge(0, -5)
	answers(t, b, 0, 3, 0)
	b.Charge(0, 1)
	answers(t, b, 0, 2, 0)
	b.Charge(1, 1_000_000_000) // costs no memory
	answers(t, b, 1, 0, time.Minute+1)
	answers(t, b, time.Minute, 0, time.Minute+1)
	answers(t, b, time.Minute+1, 3, time.Minute+1)

	// A charge while reservations are open.
	for range 2 {
		b.Reserve(time.Hour)
	}
	b.Charge(time.Hour, 2)
	answers(t, b, time.Hour, 0, time.Hour+time.Minute)
	b.Spend(time.Hour + 1)
	b.Release()
	answers(t, b, time.Hour+1, 0, time.Hour+time.Minute)
	answers(t, b, time.Hour+time.Minute, 2, time.Hour+time.Minute)
}

// heapWith returns the bytes that live on the heap while b does.
func heapWith(b *budget.Budget) int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	runtime.KeepAlive(b)
	return int64(m.HeapAlloc)
}

// A Budget keeps no more stamps than Units, however many are charged within one
// window, and no memory when the window is empty.
func TestR18_Memory(t *testing.T) {
	const many, bytes = 1_000_000, 8_000_000 // of that many stamps
	b := &budget.Budget{}
	empty := heapWith(b)
	for range many {
		b.Charge(0, 1)
	}
	if got := heapWith(b) - empty; got > bytes/2 {
		t.Errorf("%d units charged to a Budget of %d hold %d bytes", many, budget.DefaultUnits, got)
	}
	answers(t, b, 0, 0, budget.DefaultWindow)

	b = &budget.Budget{Units: many}
	b.Charge(0, many)
	if got := heapWith(b) - empty; got < bytes/2 {
		t.Fatalf("%d stamps hold %d bytes: what follows proves nothing", many, got)
	}
	answers(t, b, budget.DefaultWindow, many, budget.DefaultWindow)
	if got := heapWith(b) - empty; got > bytes/2 {
		t.Errorf("%d bytes are held when all stamps have left the window", got)
	}
}

// A goroutine that read the time before another one frees nothing by it, and
// stamps with the newer reading.
func TestR18_StaleReadings(t *testing.T) {
	b := &budget.Budget{Units: 1, Window: time.Minute}
	answers(t, b, 10, 1, 10)
	if _, ok := b.Reserve(4); !ok {
		t.Fatal("no unit in a new Budget")
	}
	b.Spend(5)
	answers(t, b, 7, 0, time.Minute+10)
	answers(t, b, time.Minute+9, 0, time.Minute+10)
	answers(t, b, time.Minute+10, 1, time.Minute+10)
	// What a newer reading has freed stays free.
	answers(t, b, time.Minute+5, 1, time.Minute+5)
}

func TestR18_HugeWindow(t *testing.T) {
	b := &budget.Budget{Units: 1, Window: 1<<63 - 1}
	spend(t, b, time.Hour)
	answers(t, b, 2*time.Hour, 0, 1<<63-1)

	// Two readings so far apart that their difference overflows.
	b = &budget.Budget{Units: 1}
	spend(t, b, -1<<62)
	answers(t, b, 1<<62+1, 1, 1<<62+1)
}

// The stated time is exact: a nanosecond earlier there is no unit, and at it
// there is one.
func TestR21_RetryAtIsExact(t *testing.T) {
	const window = time.Minute
	b := &budget.Budget{Units: 4, Window: window}
	spent := []time.Duration{3, 7 * time.Second, 7*time.Second + 1, 40 * time.Second}
	for _, at := range spent {
		spend(t, b, at)
	}
	for _, at := range spent {
		answers(t, b, at+window-1, 0, at+window)
		answers(t, b, at+window, 1, at+window)
		spend(t, b, at+window)
	}
	// An open reservation keeps its place: it takes two stamps to leave.
	b = &budget.Budget{Units: 3, Window: window}
	b.Reserve(0)
	spend(t, b, 1)
	spend(t, b, 2)
	b.Charge(3, 1)
	answers(t, b, 3, 0, 2+window)
	b.Spend(4) // still so when it is spent
	answers(t, b, 4, 0, 2+window)
	answers(t, b, 2+window-1, 0, 2+window)
	answers(t, b, 2+window, 1, 2+window)
}

// attempt is a login: the server may count it at any time from began to ended.
type attempt struct{ began, ended time.Duration }

// checkWindows fails when some window of the length holds more than units
// attempts. A half-open window that holds the most can be moved to start at one of
// them, so those are all there are to look at.
func checkWindows(t *testing.T, stamps []time.Duration, units int, window time.Duration) {
	t.Helper()
	slices.Sort(stamps)
	for i, from := range stamps {
		n := 0
		for _, at := range stamps[i:] {
			if at-from < window {
				n++
			}
		}
		if n > units {
			t.Fatalf("window from %v holds %d, want at most %d: %v", from, n, units, stamps[i:i+n])
		}
	}
}

// Random histories of overlapping attempts, judged by every window: by the ends of
// the attempts, and by moments picked within each as a server might.
func TestR18_EveryWindow(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 18))
		units, window := 1+r.IntN(5), time.Duration(1+r.IntN(50))
		b := &budget.Budget{Units: units, Window: window}
		var now time.Duration
		var open []time.Duration
		var done []attempt
		denied := 0
		for range 300 {
			now += time.Duration(r.IntN(4))
			switch {
			case len(open) == 0 || r.IntN(3) > 0:
				stale := now - time.Duration(r.IntN(3)) // time has not gone back: the reading is old
				retryAt, ok := b.Reserve(stale)
				if ok {
					open = append(open, now)
				} else if denied++; retryAt <= stale {
					t.Fatalf("seed %d: Reserve(%v) = %v, false", seed, stale, retryAt)
				}
			default:
				i := r.IntN(len(open))
				if r.IntN(4) == 0 {
					b.Release()
				} else {
					b.Spend(now)
					done = append(done, attempt{open[i], now})
				}
				open = slices.Delete(open, i, i+1)
			}
		}
		if len(done) < units || denied == 0 {
			t.Fatalf("seed %d: %d attempts, %d denied: the history proves nothing", seed, len(done), denied)
		}
		ends, judged := make([]time.Duration, len(done)), make([]time.Duration, len(done))
		for i, a := range done {
			ends[i] = a.ended
			judged[i] = a.began + time.Duration(r.Int64N(int64(a.ended-a.began)+1))
		}
		checkWindows(t, ends, units, window)
		checkWindows(t, judged, units, window)
	}
}

// Many goroutines share one Budget and one clock, which runs while they work, so
// that their readings are late by different amounts.
func TestR18_Concurrent(t *testing.T) {
	const units, window = 4, 1000 * time.Nanosecond
	b := &budget.Budget{Units: units, Window: window}
	var clock atomic.Int64
	now := func() time.Duration { return time.Duration(clock.Add(1)) }
	var mu sync.Mutex
	var stamps []time.Duration
	var wg sync.WaitGroup
	for g := range 16 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(g), 0))
			for range 2000 {
				if _, ok := b.Reserve(now() - time.Duration(r.IntN(200))); !ok {
					continue
				}
				if r.IntN(4) == 0 {
					b.Release()
					continue
				}
				at := now()
				b.Spend(at)
				mu.Lock()
				stamps = append(stamps, at)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(stamps) < 2*units {
		t.Fatalf("only %d attempts", len(stamps))
	}
	checkWindows(t, stamps, units, window)
	later := now() + window
	if got := b.Left(later); got != units {
		t.Errorf("Left = %d in the end, want %d", got, units)
	}
}

// Looking and taking are one step: of goroutines that reserve the last unit at one
// moment, in lockstep so that they meet, one has it. (The race detector slows the
// code enough for them to meet nearly always; without it they seldom do.)
func TestR18_ReserveIsOneStep(t *testing.T) {
	const goroutines, rounds = 2, 30_000
	b := &budget.Budget{Units: 1}
	var arrived, taken atomic.Int64
	meet := func(n int64) { // all goroutines come here n times before one goes on
		arrived.Add(1)
		for arrived.Load() < n*goroutines {
			runtime.Gosched()
		}
	}
	var wg sync.WaitGroup
	for range goroutines {
		wg.Go(func() {
			for round := range int64(rounds) {
				meet(2*round + 1)
				_, ok := b.Reserve(0)
				if ok {
					taken.Add(1)
				}
				meet(2*round + 2)
				if ok {
					b.Release()
				}
			}
		})
	}
	wg.Wait()
	if got := taken.Load(); got != rounds {
		t.Errorf("%d took the last unit in %d rounds, want one each", got, rounds)
	}
}

// model is a Budget made as plainly as can be: it keeps every stamp for ever.
type model struct {
	units, open int
	window      time.Duration
	latest      time.Duration
	stamps      []time.Duration
}

func (m *model) used(at time.Duration) int {
	n := m.open
	for _, s := range m.stamps {
		if s+m.window > at {
			n++
		}
	}
	return n
}

func (m *model) retryAt(now time.Duration) (time.Duration, bool) {
	m.latest = max(m.latest, now)
	if m.used(m.latest) < m.units {
		return now, true
	}
	if m.open >= m.units {
		return m.latest + m.window, false
	}
	at := m.latest
	for m.used(at) >= m.units {
		at++
	}
	return at, false
}

func (m *model) charge(now time.Duration, n int) {
	m.latest = max(m.latest, now)
	for range n {
		m.stamps = append(m.stamps, m.latest)
	}
}

func FuzzBudgetAgainstModel(f *testing.F) {
	f.Add(uint8(2), uint8(10), []byte{0, 0, 0, 0, 1, 3, 0, 9, 1, 0, 0, 1})
	f.Add(uint8(3), uint8(5), []byte{0, 0, 3, 9, 0, 1, 0, 4, 2, 0, 0, 1, 1, 1, 1, 1, 4, 250, 0, 5, 5, 0})
	f.Add(uint8(1), uint8(7), []byte{1, 0, 1, 0, 2, 0, 2, 0, 0, 7, 1, 255, 0, 7, 0, 1})
	f.Fuzz(func(t *testing.T, units, window uint8, data []byte) {
		m := &model{units: 1 + int(units%8), window: 1 + time.Duration(window%64)}
		b := &budget.Budget{Units: m.units, Window: m.window}
		var now time.Duration
		for ; len(data) >= 2 && len(m.stamps) < 500; data = data[2:] {
			now = max(now+time.Duration(int8(data[1])%16), 0)
			var op, got, want string
			switch data[0] % 6 {
			case 0:
				op = "Reserve"
				got = fmt.Sprint(b.Reserve(now))
				at, ok := m.retryAt(now)
				if ok {
					m.open++
				}
				want = fmt.Sprint(at, ok)
			case 1:
				op = "Spend"
				b.Spend(now)
				m.open = max(m.open-1, 0)
				m.charge(now, 1)
			case 2:
				op = "Release"
				b.Release()
				m.open = max(m.open-1, 0)
			case 3:
				op = "Charge"
				n := int(data[0]/6) - 5
				b.Charge(now, n)
				m.charge(now, max(n, 0))
			case 4:
				op = "RetryAt"
				got = fmt.Sprint(b.RetryAt(now))
				want = fmt.Sprint(m.retryAt(now))
			case 5:
				op = "Left"
				got = fmt.Sprint(b.Left(now))
				m.latest = max(m.latest, now)
				want = fmt.Sprint(max(m.units-m.used(m.latest), 0))
			}
			if got != want {
				t.Fatalf("%s at %v = %s, want %s (%d in %d; model %+v)", op, now, got, want, m.units, m.window, m)
			}
		}
	})
}

func BenchmarkBudget(b *testing.B) {
	for _, units := range []int{4, 1000} {
		b.Run(fmt.Sprint(units, " units"), func(b *testing.B) {
			bu := &budget.Budget{Units: units, Window: time.Second}
			var now time.Duration
			b.ReportAllocs()
			for b.Loop() {
				now += time.Second / time.Duration(units)
				if _, ok := bu.Reserve(now); !ok {
					b.Fatal("no unit")
				}
				bu.Spend(now)
			}
		})
		b.Run(fmt.Sprint(units, " units, none left"), func(b *testing.B) {
			bu := &budget.Budget{Units: units}
			bu.Charge(0, units)
			b.ReportAllocs()
			for b.Loop() {
				if _, ok := bu.Reserve(1); ok {
					b.Fatal("a unit")
				}
			}
		})
	}
}
