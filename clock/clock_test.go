package clock_test

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-f29168f7/renew/clock"
)

var clocks = []struct {
	name string
	new  func() clock.Clock
}{
	{"Real", func() clock.Clock { return clock.Real{} }},
	{"Fake", func() clock.Clock { return clock.NewFake(time.Now()) }},
}

func TestR25_ReadingsOfEveryClock(t *testing.T) {
	for _, tt := range clocks {
		t.Run(tt.name, func(t *testing.T) {
			c := tt.new()
			last := c.Now()
			for range 10_000 {
				now := c.Now()
				if now.Mono < last.Mono {
					t.Fatalf("Mono went from %v back to %v", last.Mono, now.Mono)
				}
				// == compares the monotonic reading too, which Round strips.
				if now.Wall != now.Wall.Round(0) {
					t.Fatalf("Wall = %v has a monotonic reading", now.Wall)
				}
				last = now
			}
			if d := c.Until(last.Wall.Add(time.Hour)); d > time.Hour || d < 59*time.Minute {
				t.Errorf("Until(an hour from now) = %v", d)
			}
		})
	}
}

func TestR25_RealsAreOneClock(t *testing.T) {
	a := clock.Real{}.Now()
	b := new(clock.Real).Now()
	if b.Mono < a.Mono || b.Mono-a.Mono > time.Minute {
		t.Errorf("two Reals read %v and then %v: want one origin", a.Mono, b.Mono)
	}
}

func TestR25_RealInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, start := clock.Real{}, clock.Real{}.Now()
		var ran atomic.Int64
		timer := c.AfterFunc(time.Hour, func() { ran.Store(int64(c.Now().Mono - start.Mono)) })
		if got := c.Until(time.Now().Add(time.Minute)); got != time.Minute {
			t.Errorf("Until = %v, want 1m", got)
		}
		time.Sleep(24 * time.Hour)
		if got := time.Duration(ran.Load()); got != time.Hour {
			t.Errorf("timer of 1h ran after %v", got)
		}
		now := c.Now()
		if got := now.Mono - start.Mono; got != 24*time.Hour {
			t.Errorf("Mono moved by %v in 24h", got)
		}
		if got := now.Wall.Sub(start.Wall); got != 24*time.Hour {
			t.Errorf("Wall moved by %v in 24h", got)
		}
		if timer.Stop() {
			t.Error("Stop of a timer that ran = true")
		}
	})
}

// TestR25_TimersOfEveryClock runs in a bubble, where both clocks can be moved
// without waiting, and holds Fake to what time.Timer answers.
func TestR25_TimersOfEveryClock(t *testing.T) {
	for _, tt := range clocks {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := tt.new()
				move := func(d time.Duration) {
					time.Sleep(d)
					if f, ok := c.(*clock.Fake); ok {
						f.Advance(d)
					}
					synctest.Wait()
				}
				var calls atomic.Int64
				timer := c.AfterFunc(time.Second, func() { calls.Add(1) })
				steps := []struct {
					name      string
					do        func() bool
					want      bool
					wantCalls int64
				}{
					{"Reset while set", func() bool { return timer.Reset(2 * time.Second) }, true, 0},
					{"after 1 s", func() bool { move(time.Second); return true }, true, 0},
					{"after 2 s", func() bool { move(time.Second); return true }, true, 1},
					{"Stop after the call", func() bool { return timer.Stop() }, false, 1},
					{"Reset after the call", func() bool { return timer.Reset(time.Second) }, false, 1},
					{"Stop while set", func() bool { return timer.Stop() }, true, 1},
					{"Stop again", func() bool { return timer.Stop() }, false, 1},
					{"nothing runs when stopped", func() bool { move(time.Minute); return true }, true, 1},
					{"Reset after Stop", func() bool { return timer.Reset(time.Second) }, false, 1},
					{"it runs again", func() bool { move(time.Second); return true }, true, 2},
					{"Reset to the past", func() bool { return timer.Reset(-time.Hour) }, false, 2},
					{"is due at once", func() bool { move(0); return true }, true, 3},
				}
				for _, s := range steps {
					if got := s.do(); got != s.want {
						t.Errorf("%s: got %v, want %v", s.name, got, s.want)
					}
					if got := calls.Load(); got != s.wantCalls {
						t.Errorf("%s: calls = %d, want %d", s.name, got, s.wantCalls)
					}
				}
			})
		})
	}
}
