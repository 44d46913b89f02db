package renew

import (
	"context"
	"runtime"
	"sync/atomic"
	"testing"
	"time"
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
