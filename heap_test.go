//go:build !race

package renew

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/seed-f29168f7/renew/budget"
	"github.com/seed-f29168f7/renew/clock"
)

// The guards of memory are not built under the race detector, which changes the
// size of the heap. .ci/run runs them without it.

// heapInUse returns the bytes of live heap objects.
func heapInUse() int {
	var m runtime.MemStats
	for range 3 {
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// perToken is a Source whose tokens have a text of one size.
type perToken struct{ n uint32 }

func (s *perToken) Issue(context.Context) (*Token, error) {
	s.n++
	return &Token{Value: NewSecret(fmt.Sprintf("%016d", s.n)), Life: time.Hour}, nil
}

// Reissue keeps the way of Issue: another call, another text.
func (s *perToken) Reissue(ctx context.Context, _ *Token) (*Token, error) { return s.Issue(ctx) }

// textSize is what "Bearer " and 16 digits take, in their size class.
const textSize = 24

func TestR26_HeapOfMany(t *testing.T) {
	// Of 100,000 TokenSources in one Manager each takes at most 512 bytes beside its text, its Source and its name, also after ten reissues.
	const most = 512
	for name, endpoint := range map[string]string{"one endpoint": "https://issuer.example/token", "no endpoint": ""} {
		t.Run(name, func(t *testing.T) {
			// Two populations: all under the real clock, whose timers have their true size, and some under
			// one that can be moved, to see what the reissues add.
			var first, grown int
			for _, fake := range []*clock.Fake{nil, clock.NewFake(time.Time{})} {
				many := 100_000
				if endpoint == "" || fake != nil { // it is the same each, and sooner done
					many = 10_000
				}
				// Fixtures first, so that they do not count.
				names, sources, all := make([]string, many), make([]perToken, many), make([]*TokenSource, many)
				for i := range names {
					names[i] = fmt.Sprintf("tenant-%d", i)
				}
				before := heapInUse()
				cfg := Config{Endpoint: endpoint, Rate: budget.Rate{PerSecond: 1e9, Burst: 1e9}}
				if fake != nil {
					cfg.Clock = fake
				}
				m := manage(t, cfg)
				each := func() int { return (heapInUse()-before)/many - textSize }
				for i := range all {
					all[i] = adopt(t, m, names[i], &sources[i], Config{})
				}
				for _, ts := range all {
					if _, err := ts.Token(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				issued := each()
				if fake == nil {
					first = issued
					m.Status()
					assert.LessOrEqual(t, each(), most, "after a look at the Status of each")
				} else {
					reissueAll(t, fake, all)
					grown = each() - issued
				}
				runtime.KeepAlive(names)
				runtime.KeepAlive(sources)
				_ = m.Close(context.Background())
			}
			t.Logf("%d bytes each after the first issue, %d more after ten reissues", first, grown)
			assert.LessOrEqual(t, first, most, "after the first issue")
			assert.LessOrEqual(t, first+grown, most, "after ten reissues of each")
		})
	}
}

// reissueAll moves the clock until each has been reissued ten times.
func reissueAll(t *testing.T, fake *clock.Fake, all []*TokenSource) {
	t.Helper()
	idle := runtime.NumGoroutine()
	settle := func(flights int) {
		for runtime.NumGoroutine() > idle+flights {
			runtime.Gosched()
		}
	}
	fake.Settle = func() { settle(100) } // timers may be a little ahead of flights
	for range 10 {
		fake.Advance(50 * time.Minute) // a life is an hour, of which 0.6 to 0.8 are served
		settle(0)
	}
	for _, ts := range all {
		if tok := ts.cur.Load(); tok == nil || tok.Generation() < 11 {
			t.Fatalf("token %v, want generation 11 or more", tok)
		}
	}
}

func TestR26_HeapOfOne(t *testing.T) {
	// A TokenSource alone takes at most 2 KB.
	synctest.Test(t, func(t *testing.T) {
		const many, most = 500, 2048
		sources, all := make([]perToken, many), make([]*TokenSource, many)
		before := heapInUse()
		for i := range all {
			all[i] = start(t, &sources[i], Config{WatchEvery: time.Hour}) // each has a watcher of its own
			must(t, all[i])
		}
		time.Sleep(9 * time.Hour)
		synctest.Wait()
		each := (heapInUse()-before)/many - textSize
		t.Logf("%d bytes each", each)
		assert.LessOrEqual(t, each, most)
		runtime.KeepAlive(sources)
	})
}
