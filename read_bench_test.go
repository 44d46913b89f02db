package renew

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// reader is how programs hold a TokenSource: behind an interface of their own.
type reader interface {
	Token(ctx context.Context) (*Token, error)
}

// floor is the least that a reader can cost: a bare atomic load behind an interface call.
type floor struct{ cur atomic.Pointer[Token] }

func (f *floor) Token(context.Context) (*Token, error) { return f.cur.Load(), nil }

func newFloor() *floor {
	f := &floor{}
	f.cur.Store(namedToken(1))
	return f
}

func TestR1_NoAllocation(t *testing.T) {
	// A read allocates nothing.
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	for _, cfg := range []Config{{}, {CheckOnRead: true}, {IdleAfter: time.Minute}} {
		t.Run(fmt.Sprintf("CheckOnRead=%v,IdleAfter=%v", cfg.CheckOnRead, cfg.IdleAfter), func(t *testing.T) {
			var r reader = open(t, scriptOf(gives(time.Hour)), cfg)
			_, err := r.Token(t.Context())
			require.NoError(t, err)
			assert.Zero(t, testing.AllocsPerRun(1000, func() { _, _ = r.Token(context.Background()) }))
		})
	}
}

// benchmarkReads reads on one goroutine, and on 1,000.
func benchmarkReads(b *testing.B, r reader) {
	ctx := context.Background()
	if _, err := r.Token(ctx); err != nil {
		b.Fatal(err)
	}
	b.Run("goroutines=1", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = r.Token(ctx)
		}
	})
	b.Run("goroutines=1000", func(b *testing.B) {
		b.ReportAllocs()
		b.SetParallelism(max(1000/runtime.GOMAXPROCS(0), 1))
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				_, _ = r.Token(ctx)
			}
		})
	})
}

// BenchmarkR1_Token is to be read beside BenchmarkR1_Floor.
func BenchmarkR1_Token(b *testing.B) {
	benchmarkReads(b, open(b, scriptOf(gives(time.Hour)), Config{}))
}

// BenchmarkR1_CheckOnRead has one reading of the clock.
func BenchmarkR1_CheckOnRead(b *testing.B) {
	benchmarkReads(b, open(b, scriptOf(gives(time.Hour)), Config{CheckOnRead: true}))
}

func BenchmarkR1_Floor(b *testing.B) { benchmarkReads(b, newFloor()) }
