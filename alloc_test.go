//go:build !race

package renew

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The guards of allocations are not built under the race detector, which
// allocates on its own account. .ci/run runs them without it.

func TestR1_NoAllocation(t *testing.T) {
	// A read allocates nothing.
	for _, cfg := range []Config{{}, {CheckOnRead: true}, {IdleAfter: time.Minute}} {
		t.Run(fmt.Sprintf("CheckOnRead=%v,IdleAfter=%v", cfg.CheckOnRead, cfg.IdleAfter), func(t *testing.T) {
			var r reader = open(t, scriptOf(gives(time.Hour)), cfg)
			_, err := r.Token(t.Context())
			require.NoError(t, err)
			assert.Zero(t, testing.AllocsPerRun(1000, func() { _, _ = r.Token(context.Background()) }))
		})
	}
}

// R28: the copy of a request with up to seven headers is 3 allocations and about 720 bytes.
func TestR28_CopyIsCheap(t *testing.T) {
	tr, req := newTransport(t, newPublished(), TransportConfig{Base: noop()}), usualRequest(t)
	const runs = 1000
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	n := testing.AllocsPerRun(runs-1, func() { // and once to warm up
		if _, err := tr.RoundTrip(req); err != nil {
			t.Fatal(err)
		}
	})
	runtime.ReadMemStats(&after)
	if size := (after.TotalAlloc - before.TotalAlloc) / runs; n > 3 || size > 768 {
		t.Errorf("RoundTrip = %v allocations, %d bytes; want at most 3 and about 720", n, size)
	}
}

// R28: the true TokenSource costs no allocation beyond the copy.
func TestR28_Engine_TokenSourceIsCheap(t *testing.T) {
	ts := transportSource(t, &numbered{})
	tr, req := newTransport(t, ts, TransportConfig{Base: noop()}), usualRequest(t)
	if n := testing.AllocsPerRun(1000, func() {
		if _, err := tr.RoundTrip(req); err != nil {
			t.Fatal(err)
		}
	}); n > 3 {
		t.Errorf("RoundTrip = %v allocations, want at most 3", n)
	}
}
