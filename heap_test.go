package renew

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/seed-f29168f7/renew/clock"
)

// heapInUse returns the bytes of live heap objects.
func heapInUse() uint64 {
	var m runtime.MemStats
	for range 3 {
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// perToken is a Source whose tokens are counted apart: their text is in text.
type perToken struct{ n uint32 }

func (s *perToken) Issue(context.Context) (*Token, error) {
	s.n++
	return &Token{Value: NewSecret(fmt.Sprintf("%016d", s.n)), Life: time.Hour}, nil
}

// TestR26_HeapOfMany holds what a TokenSource takes between flights, in a
// Manager of 100,000, after one issue and after ten reissues of each.
func TestR26_HeapOfMany(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector changes the size of the heap; .ci/run runs this without it")
	}
	const many = 100_000
	for _, endpoint := range []string{"https://issuer.example/token", ""} {
		t.Run("endpoint="+endpoint, func(t *testing.T) {
			// Fixtures first, so that they do not count: sources, names and the text of tokens.
			names, sources := make([]string, many), make([]perToken, many)
			for i := range names {
				names[i] = fmt.Sprintf("tenant-%d", i)
			}
			m, err := NewManager(Config{Endpoint: endpoint})
			if err != nil {
				t.Fatal(err)
			}
			m.hub.rate.PerSecond = 1e12
			before := heapInUse()
			all := make([]*TokenSource, many)
			for i := range all {
				if all[i], err = m.Add(names[i], &sources[i], Config{}); err != nil {
					t.Fatal(err)
				}
			}
			runtime.KeepAlive(all)
			if _, err := all[0].Token(t.Context()); err != nil {
				t.Fatal(err)
			}
			for _, ts := range all {
				if _, err := ts.Token(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			text := uint64(24) // "Bearer " and 16 digits, in their size class
			after := heapInUse()
			t.Logf("after the first issue: %d bytes each", (after-before)/many-text-8)
			runtime.KeepAlive(names)
			_ = m.Close(context.Background())
		})
	}
	_ = clock.Real{}
}
