//go:build !race

package renew

import (
	"context"
	"flag"
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-f29168f7/renew/budget"
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
type perToken struct {
	n    uint32 // calls
	long bool   // its tokens live so long that none is reissued
}

func (s *perToken) Issue(context.Context) (*Token, error) {
	s.n++
	life := time.Hour
	if s.long {
		life *= 1000
	}
	return &Token{Value: NewSecret(fmt.Sprintf("%016d", s.n)), Life: life}, nil
}

// Reissue keeps the way of Issue: another call, another text.
func (s *perToken) Reissue(ctx context.Context, _ *Token) (*Token, error) { return s.Issue(ctx) }

// textSize is what "Bearer " and 16 digits take, in their size class.
const textSize = 24

// scaleReissued is a tenth of them by default: all of them take ten times as long, and say the same.
var scaleReissued = flag.Int("scale.reissued", 10_000, "how many of its 100,000 TokenSources TestR26_HeapOfMany reissues ten times")

func TestR26_HeapOfMany(t *testing.T) {
	// Of 100,000 TokenSources in one Manager each takes at most 512 bytes beside its text, its Source and its name, also after ten reissues, and no goroutine.
	const most = 512
	for name, endpoint := range map[string]string{"one endpoint": "https://issuer.example/token", "no endpoint": ""} {
		bubble(t, name, func(t *testing.T) { // on the system's timers, for their true size
			many, reissued := crowdSize, *scaleReissued
			if endpoint == "" { // it is the same each, and sooner done
				reissued /= 5
			}
			// Fixtures first, so that they do not count.
			names, sources, all := make([]string, many), make([]perToken, many), make([]*TokenSource, many)
			for i := range names {
				names[i] = fmt.Sprintf("tenant-%d", i)
				sources[i].long = i >= reissued
			}
			before, idle := heapInUse(), runtime.NumGoroutine()
			m := manage(t, Config{Endpoint: endpoint, Rate: budget.Rate{PerSecond: 1e9, Burst: 1e9}})
			taken := func() int {
				synctest.Wait()
				return heapInUse() - before - many*textSize
			}
			for i := range all {
				all[i] = adopt(t, m, names[i], &sources[i], Config{})
			}
			for _, ts := range all {
				must(t, ts)
			}
			issued := taken()
			assertIdle(t, idle)
			assert.LessOrEqual(t, issued/many, most, "after the first issue")
			m.Status()
			assert.LessOrEqual(t, taken()/many, most, "after a look at the Status of each")

			issued = taken()
			time.Sleep(10 * 50 * time.Minute) // a life is an hour, of which 0.6 to 0.8 are served
			grown := taken() - issued
			assertIdle(t, idle)
			for i := range reissued {
				require.GreaterOrEqual(t, generation(all[i]), uint64(11))
			}
			t.Logf("%d bytes each of %d; ten reissues of %d add %d bytes each", issued/many, many, reissued, grown/reissued)
			assert.LessOrEqual(t, issued/many+grown/reissued, most, "after ten reissues")
			runtime.KeepAlive(names)
			runtime.KeepAlive(sources)
		})
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
