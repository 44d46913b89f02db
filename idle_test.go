package renew

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-f29168f7/renew/clock"
)

func TestR16_OffByDefault(t *testing.T) {
	// Without IdleAfter a token that nobody reads is kept fresh.
	for _, idleAfter := range []time.Duration{0, -1} {
		bubble(t, fmt.Sprint(idleAfter), func(t *testing.T) {
			s := scriptOf(gives(time.Hour))
			ts := open(t, s, Config{IdleAfter: idleAfter})
			must(t, ts)
			time.Sleep(6 * time.Hour)
			assert.Greater(t, s.count(), 6)
			assert.NotNil(t, ts.cur.Load())
		})
	}
}

func TestR16_StopsWithoutReaders(t *testing.T) {
	// A token that nobody has read for IdleAfter is not reissued, nor is it tried again; the next read starts again.
	for _, idleAfter := range []time.Duration{time.Minute, 30 * time.Minute, 2 * time.Hour} {
		for _, cfg := range []Config{{}, {CheckOnRead: true}} {
			cfg.IdleAfter, cfg.Rand = idleAfter, same(0.5)
			bubble(t, fmt.Sprintf("%v/CheckOnRead=%v", idleAfter, cfg.CheckOnRead), func(t *testing.T) {
				s := scriptOf(gives(time.Hour))
				ts := open(t, s, cfg)
				must(t, ts)
				time.Sleep(12 * time.Hour)
				kept := s.count() - 1 // reissues since the read
				assert.LessOrEqual(t, kept, int((idleAfter+42*time.Minute)/(42*time.Minute)))
				assert.Equal(t, "nobody reads", ts.Status().Reason)
				time.Sleep(12 * time.Hour)
				assert.Equal(t, kept+1, s.count(), "it has stopped")
				must(t, ts)
				assert.Equal(t, kept+2, s.count(), "the next read starts again")
			})
		}
	}
}

func TestR16_StopsRetrying(t *testing.T) {
	// During an outage the retries stop too when nobody reads.
	synctest.Test(t, func(t *testing.T) {
		s := scriptOf(gives(time.Hour), failsWith(faultDial))
		ts := open(t, s, Config{IdleAfter: 30 * time.Minute})
		for range 50 {
			must(t, ts)
			time.Sleep(time.Minute)
		}
		time.Sleep(2 * time.Hour)
		calls := s.count()
		require.Greater(t, calls, 1)
		time.Sleep(2 * time.Hour)
		assert.Equal(t, calls, s.count())
	})
}

func TestR16_NeverStopsUnderAReader(t *testing.T) {
	// While somebody reads at least once in IdleAfter, the token is kept fresh and the reader never waits, also during faults.
	for _, idleAfter := range []time.Duration{time.Minute, 10 * time.Minute, 45 * time.Minute, 3 * time.Hour} {
		for _, every := range []time.Duration{idleAfter / 10, idleAfter / 3, idleAfter * 9 / 10} {
			bubble(t, fmt.Sprintf("%v/%v", idleAfter, every), func(t *testing.T) {
				s := scriptOf(slow(time.Second, gives(time.Hour)), slow(time.Second, fails(Transient)), slow(time.Second, fails(Transient)), slow(time.Second, gives(time.Hour)))
				ts := open(t, s, Config{IdleAfter: idleAfter, Rand: seeded(3), WatchEvery: -1})
				must(t, ts)
				for end := time.Now().Add(9 * time.Hour); time.Now().Before(end); time.Sleep(every) {
					before := time.Now()
					must(t, ts)
					require.Equal(t, before, time.Now(), "a cold read: nobody was thought to read")
				}
			})
		}
	}
}

func TestR16_OneReadOfAPeriodTakesTheLock(t *testing.T) {
	// At most the first read of each period takes the lock.
	for _, idleAfter := range []time.Duration{10 * time.Minute, 3 * time.Hour} {
		bubble(t, idleAfter.String(), func(t *testing.T) {
			s := scriptOf(gives(time.Hour))
			ts := open(t, s, Config{IdleAfter: idleAfter, Rand: same(0.5), WatchEvery: -1})
			must(t, ts)
			slow, reads := 0, 0
			for end := time.Now().Add(6 * time.Hour); time.Now().Before(end); time.Sleep(4 * time.Second) {
				if reads++; ts.cur.Load() == nil {
					slow++
				}
				must(t, ts)
			}
			assert.LessOrEqual(t, slow, s.count(), "of %d reads", reads)
		})
	}
}

func TestR16_FromTheBeginningOfTime(t *testing.T) {
	// A clock whose running time starts at zero is no special case.
	synctest.Test(t, func(t *testing.T) {
		fake := newFake()
		s := scriptOf(gives(time.Hour))
		ts := open(t, s, Config{IdleAfter: 3 * time.Hour, Clock: fake, Rand: same(0.5)})
		require.Equal(t, clock.Instant{Wall: fake.Now().Wall}, fake.Now())
		must(t, ts)
		fake.Advance(24 * time.Hour)
		assert.Equal(t, 5, s.count(), "reissued for 3 h")
		assert.Equal(t, "nobody reads", ts.Status().Reason)
		must(t, ts)
	})
}
