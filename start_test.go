package renew

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/seed-f29168f7/renew/clock"
)

func TestR26_NewStartsNothing(t *testing.T) {
	// New and Add start no goroutine and no timer, and call nothing of the Source; between flights there is one timer, the watcher's beside it, and no goroutine.
	synctest.Test(t, func(t *testing.T) {
		fake := clock.NewFake(time.Time{})
		fake.Settle = synctest.Wait
		src := reissuer{&actor{}}
		m := manage(t, Config{Clock: fake, Logger: quiet})
		alone := start(t, src, Config{Clock: fake, Logger: quiet, Hooks: Hooks{Changed: func(Change) {}}})
		var all []*TokenSource
		for i := range 10 {
			all = append(all, adopt(t, m, fmt.Sprint(i), src, Config{}))
		}
		assert.Zero(t, fake.Timers())
		fake.Advance(24 * time.Hour)
		assert.Zero(t, fake.Timers())
		assert.Empty(t, engineGoroutines())
		assert.Zero(t, src.calls())

		for i, ts := range all {
			must(t, ts)
			synctest.Wait()
			assert.Equal(t, i+2, fake.Timers(), "one each, and the watcher's")
		}
		must(t, alone)
		synctest.Wait()
		assert.Equal(t, len(all)+1+2, fake.Timers())
		assert.Empty(t, engineGoroutines(), "between flights")
		fake.Advance(24 * time.Hour)
		assert.Equal(t, len(all)+1+2, fake.Timers(), "after many flights")
		assert.Empty(t, engineGoroutines(), "after many flights")
		assert.Greater(t, src.calls(), 11*24)
	})
}
