package clock_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-f29168f7/renew/clock"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestR25_FakeStartsWhereItIsTold(t *testing.T) {
	zero := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		name  string
		start time.Time
		want  time.Time
	}{
		{"given", start, start},
		{"zero", time.Time{}, zero},
		{"another zone", start.In(time.FixedZone("", 3600)), start},
	} {
		t.Run(tt.name, func(t *testing.T) {
			now := clock.NewFake(tt.start).Now()
			if !now.Wall.Equal(tt.want) || now.Mono != 0 {
				t.Errorf("Now = %v, %v, want %v, 0s", now.Wall, now.Mono, tt.want)
			}
		})
	}
}

func TestR25_OrderIsDueTimeThenSetting(t *testing.T) {
	c := clock.NewFake(start)
	var log []string
	set := func(name string, d time.Duration) clock.Timer {
		return c.AfterFunc(d, func() { log = append(log, fmt.Sprint(name, " ", c.Now().Mono)) })
	}
	reset := set("reset", time.Second)
	set("b", 2*time.Second)
	set("past", -time.Hour)
	set("a", time.Second)
	set("now", 0)
	set("late", 2*time.Second+1)
	reset.Reset(2 * time.Second) // set anew: after b
	if len(log) != 0 {
		t.Fatalf("AfterFunc or Reset called %q", log)
	}
	c.Advance(0)
	if want := []string{"past 0s", "now 0s"}; !slices.Equal(log, want) {
		t.Errorf("Advance(0) ran %q, want %q", log, want)
	}
	c.Advance(2 * time.Second)
	want := []string{"past 0s", "now 0s", "a 1s", "b 2s", "reset 2s"}
	if !slices.Equal(log, want) {
		t.Errorf("ran %q, want %q", log, want)
	}
	if n := c.Timers(); n != 1 {
		t.Errorf("Timers = %d, want 1", n)
	}
	if d, ok := c.Next(); d != 1 || !ok {
		t.Errorf("Next = %v, %v, want 1ns, true", d, ok)
	}
	c.Advance(1)
	if d, ok := c.Next(); d != 0 || ok {
		t.Errorf("Next without timers = %v, %v, want 0s, false", d, ok)
	}
}

func TestR25_CascadeWithinTheSpan(t *testing.T) {
	c := clock.NewFake(start)
	var ran []time.Duration
	var again func()
	again = func() {
		ran = append(ran, c.Now().Mono)
		if got, want := c.Now().Wall, start.Add(c.Now().Mono); !got.Equal(want) {
			t.Errorf("Wall in a callback = %v, want %v", got, want)
		}
		c.AfterFunc(3*time.Second, again)
	}
	c.AfterFunc(3*time.Second, again)
	c.Advance(10 * time.Second)
	if want := []time.Duration{3 * time.Second, 6 * time.Second, 9 * time.Second}; !slices.Equal(ran, want) {
		t.Errorf("ran at %v, want %v", ran, want)
	}
	if now := c.Now(); now.Mono != 10*time.Second || !now.Wall.Equal(start.Add(10*time.Second)) {
		t.Errorf("after Advance(10s): %v, %v", now.Wall, now.Mono)
	}
	if d, _ := c.Next(); d != 2*time.Second {
		t.Errorf("Next = %v, want 2s", d)
	}
}

// The lock is free in a callback: it may use every method but Advance.
func TestR25_CallbackUsesTheClock(t *testing.T) {
	c := clock.NewFake(start)
	other := c.AfterFunc(time.Hour, func() { t.Error("stopped timer ran") })
	var self clock.Timer
	self = c.AfterFunc(time.Second, func() {
		if self.Stop() {
			t.Error("Stop in the timer's own call = true")
		}
		if !other.Stop() {
			t.Error("Stop of another timer = false")
		}
		if c.Timers() != 0 || c.Until(start) != -time.Second {
			t.Errorf("Timers = %d, Until(start) = %v", c.Timers(), c.Until(start))
		}
		c.Suspend(time.Minute)
	})
	c.Advance(2 * time.Hour)
	if now := c.Now(); now.Mono != 2*time.Hour || !now.Wall.Equal(start.Add(2*time.Hour+time.Minute)) {
		t.Errorf("after Advance: %v, %v", now.Wall, now.Mono)
	}
}

func TestR25_WallStepMovesTheWallAlone(t *testing.T) {
	for _, tt := range []struct {
		name string
		move func(*clock.Fake)
		want time.Duration
	}{
		{"step forward", func(c *clock.Fake) { c.StepWall(time.Hour) }, time.Hour},
		{"step back", func(c *clock.Fake) { c.StepWall(-time.Hour) }, -time.Hour},
		{"suspend", func(c *clock.Fake) { c.Suspend(time.Hour) }, time.Hour},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := clock.NewFake(start)
			settled, ran := 0, 0
			c.Settle = func() { settled++ }
			c.AfterFunc(time.Minute, func() { ran++ })
			tt.move(c)
			if settled != 2 {
				t.Errorf("settled %d times, want before and after", settled)
			}
			if now := c.Now(); now.Mono != 0 || !now.Wall.Equal(start.Add(tt.want)) {
				t.Errorf("Now = %v, %v", now.Wall, now.Mono)
			}
			if got := c.Until(start); got != -tt.want {
				t.Errorf("Until(start) = %v, want %v", got, -tt.want)
			}
			if d, _ := c.Next(); d != time.Minute || ran != 0 {
				t.Errorf("timer: next in %v, ran %d times, want 1m and 0", d, ran)
			}
			c.Advance(time.Minute)
			if now := c.Now(); ran != 1 || !now.Wall.Equal(start.Add(tt.want+time.Minute)) {
				t.Errorf("after Advance(1m): ran %d times, Wall %v", ran, now.Wall)
			}
		})
	}
}

// The work that a callback starts on other goroutines reads the time at which
// the callback was due, however long it takes to get there.
func TestR25_WorkSettlesBeforeTheNextCallback(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := clock.NewFake(start)
		c.Settle = synctest.Wait
		var log []string // no lock: one callback's work at a time
		work := func(i int) {
			reply := make(chan int)
			go func() {
				for range 20 {
					runtime.Gosched()
				}
				reply <- i
			}()
			<-reply
			log = append(log, fmt.Sprint(i, " ", c.Now().Mono))
			if i < 4 {
				c.AfterFunc(time.Second, func() { log = append(log, fmt.Sprint("after ", i, " ", c.Now().Mono)) })
			}
		}
		go work(0) // begun before Advance, so it settles at 0s
		for i := 1; i <= 4; i++ {
			c.AfterFunc(time.Duration(i)*time.Second, func() { go work(i) })
		}
		c.Advance(4 * time.Second)
		want := []string{"0 0s", "1 1s", "after 0 1s", "2 2s", "after 1 2s", "3 3s", "after 2 3s", "4 4s", "after 3 4s"}
		if !slices.Equal(log, want) {
			t.Errorf("ran %q, want %q", log, want)
		}
	})
}

// In a bubble who waits for another's Advance is durably blocked, so Settle ends.
func TestR25_AdvancesRunOneAfterAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := clock.NewFake(start)
		c.Settle = synctest.Wait
		inside := 0
		for i := range 10 {
			c.AfterFunc(time.Duration(i)*time.Second, func() {
				inside++
				runtime.Gosched()
				if inside != 1 {
					t.Error("two callbacks at once")
				}
				inside--
			})
		}
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() { c.Advance(2 * time.Second) })
		}
		wg.Wait()
		if got := c.Now().Mono; got != 10*time.Second {
			t.Errorf("5 Advances of 2s moved the clock by %v", got)
		}
		if n := c.Timers(); n != 0 {
			t.Errorf("Timers = %d, want 0", n)
		}
	})
}

func TestR25_MisusePanics(t *testing.T) {
	for _, tt := range []struct {
		name   string
		misuse func(*clock.Fake)
		want   string
	}{
		{"Advance in a callback", func(c *clock.Fake) {
			c.AfterFunc(0, func() { c.Advance(1) })
			c.Advance(1)
		}, "in a callback"},
		{"Advance back", func(c *clock.Fake) { c.Advance(-1) }, "never goes back"},
		{"Suspend back", func(c *clock.Fake) { c.Suspend(-1) }, "Suspend for -1ns"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := clock.NewFake(start)
			func() {
				defer func() {
					if got := fmt.Sprint(recover()); !strings.Contains(got, tt.want) {
						t.Errorf("panic %q, want one that says %q", got, tt.want)
					}
				}()
				tt.misuse(c)
			}()
			before := c.Now().Mono
			c.Advance(time.Second) // the clock is not wedged
			if got := c.Now().Mono - before; got != time.Second {
				t.Errorf("Advance(1s) after the panic moved by %v", got)
			}
		})
	}
}

func TestR25_WaitTimers(t *testing.T) {
	t.Run("reached", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := clock.NewFake(start)
			done := make(chan error, 1)
			go func() { done <- c.WaitTimers(t.Context(), 2) }()
			timer := c.AfterFunc(time.Hour, func() {})
			synctest.Wait() // ends: the waiter is durably blocked
			select {
			case err := <-done:
				t.Fatalf("WaitTimers(2) with one timer = %v", err)
			default:
			}
			timer.Stop()
			c.AfterFunc(time.Hour, func() {})
			timer.Reset(time.Hour)
			if err := <-done; err != nil {
				t.Errorf("WaitTimers = %v", err)
			}
		})
	})
	t.Run("ctx ends", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := clock.NewFake(start)
			cause := errors.New("enough")
			ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, cause)
			defer cancel()
			if err := c.WaitTimers(ctx, 1); !errors.Is(err, cause) {
				t.Errorf("WaitTimers = %v, want %v", err, cause)
			}
			c.AfterFunc(0, func() {}) // wakes nobody
			if err := c.WaitTimers(ctx, 1); err != nil {
				t.Errorf("WaitTimers with the timer set = %v", err)
			}
		})
	})
}

// Overflow is the far future, not the past.
func TestR25_FarTimers(t *testing.T) {
	const end = 1<<63 - 1
	c := clock.NewFake(start)
	c.Advance(time.Second)
	c.AfterFunc(end, func() { t.Error("a timer of 292 years ran") })
	c.Advance(time.Hour)
	if d, _ := c.Next(); d < 290*365*24*time.Hour {
		t.Errorf("Next = %v", d)
	}
}

// A run with many timers, some stopped and some reset, is the same each time.
func TestR25_RunsRepeat(t *testing.T) {
	run := func() []string {
		c := clock.NewFake(start)
		var log []string
		var timers []clock.Timer
		for i := range 1000 {
			timers = append(timers, c.AfterFunc(time.Duration(i*7919%1000)*time.Millisecond, func() {
				log = append(log, fmt.Sprint(i, c.Now().Mono))
				timers[(i*31+7)%len(timers)].Reset(time.Duration(i) * time.Millisecond)
				timers[(i*17+3)%len(timers)].Stop()
			}))
		}
		c.Advance(3 * time.Second)
		return log
	}
	first := run()
	if len(first) < 500 {
		t.Fatalf("only %d calls", len(first))
	}
	for range 3 {
		if !slices.Equal(run(), first) {
			t.Fatal("two runs differ")
		}
	}
}

// script runs data as a program of timers: three bytes an operation. What a
// callback does depends on its timer's number.
func script(afterFunc func(time.Duration, func()) clock.Timer, advance func(time.Duration), now func() time.Duration, data []byte) []string {
	var log []string
	var timers []clock.Timer
	set := func(d time.Duration) {
		i, calls := len(timers), 0
		timers = append(timers, nil)
		timers[i] = afterFunc(d, func() {
			calls++
			log = append(log, fmt.Sprint("call ", i, " at ", now()))
			switch {
			case calls > 3:
			case i%4 == 1:
				log = append(log, fmt.Sprint("again ", timers[i].Reset(time.Duration(i%3))))
			case i%4 == 2:
				log = append(log, fmt.Sprint("stop ", timers[i/2].Stop()))
			case i%4 == 3:
				log = append(log, fmt.Sprint("move ", timers[i/3].Reset(time.Duration(i%5-1))))
			}
		})
	}
	for ; len(data) >= 3; data = data[3:] {
		d := time.Duration(int8(data[2]))
		if op := data[0] % 4; op == 0 || len(timers) == 0 {
			set(d)
			continue
		}
		i := int(data[1]) % len(timers)
		switch data[0] % 4 {
		case 1:
			log = append(log, fmt.Sprint("Stop ", i, timers[i].Stop()))
		case 2:
			log = append(log, fmt.Sprint("Reset ", i, timers[i].Reset(d)))
		case 3:
			advance(max(d, 0))
			log = append(log, fmt.Sprint("now ", now()))
		}
	}
	return log
}

// model is a Fake made as plainly as can be: an unsorted list.
type model struct {
	now    time.Duration
	set    int
	timers []*modelTimer
}

type modelTimer struct {
	m    *model
	due  time.Duration
	set  int
	call func()
}

func (m *model) afterFunc(d time.Duration, call func()) clock.Timer {
	t := &modelTimer{m: m, call: call}
	t.Reset(d)
	return t
}

func (t *modelTimer) Stop() bool {
	n := len(t.m.timers)
	t.m.timers = slices.DeleteFunc(t.m.timers, func(o *modelTimer) bool { return o == t })
	return len(t.m.timers) < n
}

func (t *modelTimer) Reset(d time.Duration) bool {
	was := t.Stop()
	t.m.set++
	t.due, t.set = t.m.now+max(d, 0), t.m.set
	t.m.timers = append(t.m.timers, t)
	return was
}

func (m *model) advance(d time.Duration) {
	end := m.now + d
	for len(m.timers) > 0 {
		first := slices.MinFunc(m.timers, func(a, b *modelTimer) int {
			if a.due != b.due {
				return int(a.due - b.due)
			}
			return a.set - b.set
		})
		if first.due > end {
			break
		}
		first.Stop()
		m.now = first.due
		first.call()
	}
	m.now = end
}

func FuzzFakeAgainstModel(f *testing.F) {
	f.Add([]byte{0, 0, 5, 0, 0, 5, 3, 0, 5})
	f.Add([]byte{0, 0, 5, 0, 0, 3, 0, 0, 3, 0, 0, 0, 1, 2, 0, 2, 1, 255, 3, 0, 0, 3, 0, 100, 2, 0, 1, 3, 0, 1})
	long := make([]byte, 300)
	for i, x := 0, uint32(1); i < len(long); i++ {
		x = x*1664525 + 1013904223
		long[i] = byte(x >> 24)
	}
	f.Add(long)
	f.Fuzz(func(t *testing.T, data []byte) {
		c, m := clock.NewFake(start), &model{}
		got := script(c.AfterFunc, c.Advance, func() time.Duration { return c.Now().Mono }, data)
		want := script(m.afterFunc, m.advance, func() time.Duration { return m.now }, data)
		if !slices.Equal(got, want) {
			t.Errorf("Fake ran\n%s\nmodel ran\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		if c.Timers() != len(m.timers) {
			t.Errorf("Timers = %d, want %d", c.Timers(), len(m.timers))
		}
	})
}

// The price of an hour of 100,000 timers, each of which runs once and sets itself anew.
func BenchmarkFake(b *testing.B) {
	const timers = 100_000
	c := clock.NewFake(start)
	for i := range timers {
		var t clock.Timer
		t = c.AfterFunc(time.Duration(i)*time.Millisecond, func() { t.Reset(time.Hour) })
	}
	b.ReportAllocs()
	for b.Loop() {
		c.Advance(time.Hour)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/timers, "ns/timer")
}
