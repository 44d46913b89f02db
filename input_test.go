package renew

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// ledger is an input that others write: its version, and how a call of the Source that finds it ends.
type ledger struct {
	version atomic.Uint64
	fault   atomic.Pointer[error]
	looks   atomic.Int64
}

func (l *ledger) write(fault error) {
	l.fault.Store(&fault)
	l.version.Add(1)
}

// source returns a Source of the input, whose tokens have no end.
func (l *ledger) source() *actor {
	return &actor{
		play: func(context.Context, int, *Token) (*Token, error) {
			if fault := l.fault.Load(); fault != nil && *fault != nil {
				return nil, *fault
			}
			return &Token{Value: NewSecret(fmt.Sprint("version-", l.version.Load()))}, nil
		},
		traits: Traits{WatchInput: true, InputVersion: func() uint64 { l.looks.Add(1); return l.version.Load() }},
	}
}

// R12: a watched input that has changed is read within a second, with nobody asking, for no unit, and the token stays in service.
func TestR12_WatchedInput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var input ledger
		src := input.source()
		ts := start(t, src, Config{})
		input.write(nil)
		time.Sleep(time.Hour)
		require.Zero(t, src.calls(), "New starts nothing, whatever changes")
		old := must(t, ts)
		time.Sleep(time.Hour)
		require.Equal(t, 1, src.calls(), "nothing has changed")

		input.write(nil)
		time.Sleep(time.Second)
		assert.Equal(t, "version-2", ts.cur.Load().Value.Reveal())
		assert.Equal(t, 2, src.calls())
		assert.EqualValues(t, old.Generation()+1, must(t, ts).Generation())

		// One that cannot be used yet: the token stays, and the next change is not held up by the pauses.
		for range 20 {
			input.write(errUnavailable)
			time.Sleep(time.Minute)
			require.Equal(t, "version-2", must(t, ts).Value.Reveal())
		}
		input.write(nil)
		time.Sleep(time.Second)
		assert.Equal(t, "version-23", must(t, ts).Value.Reveal())
		assert.Equal(t, StateReady, ts.Status().State)
		assert.Equal(t, 4, left(ts))

		// The same token again is no success, and is asked for once.
		calls := src.calls()
		src.play = func(context.Context, int, *Token) (*Token, error) {
			return &Token{Value: NewSecret("version-23")}, nil
		}
		input.write(nil)
		time.Sleep(time.Hour)
		assert.Equal(t, calls+1, src.calls())
		checkTokenSource(t, ts)

		require.NoError(t, ts.Close(t.Context()))
		looks := input.looks.Load()
		time.Sleep(time.Hour)
		assert.Equal(t, looks, input.looks.Load(), "Close ends it")
		assert.Empty(t, ts.set.hub.inputs)
	})
}

// R23: a watched input that has changed ends a refusal, for good or not, with nobody asking; a Reject's unit is spent once.
func TestR23_WatchedInputEndsARefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var input ledger
		src := input.source()
		ts := start(t, src, Config{})
		input.write(errForGood)
		_, err := ts.Token(t.Context())
		require.Error(t, err)
		time.Sleep(time.Hour)
		require.Equal(t, 1, src.calls(), "the timer leaves it alone")
		input.write(nil)
		time.Sleep(time.Second)
		require.Equal(t, 2, src.calls(), "nobody has asked")
		tok := must(t, ts)
		require.Equal(t, 2, src.calls())

		// Refused by a server, and the input has nothing else as yet.
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		_, _ = ts.Reject(ended, tok)
		time.Sleep(100 * time.Millisecond)
		calls := src.calls()
		input.write(nil)
		time.Sleep(time.Second)
		assert.Equal(t, calls+1, src.calls())
		assert.EqualValues(t, tok.Generation()+1, must(t, ts).Generation())
		checkTokenSource(t, ts)
	})
}

// R12, R16: who turned the schedule or the watcher off, or does not read, is not served by a look at the input.
func TestR16_WatchedInputThatNobodyReads(t *testing.T) {
	for name, cfg := range map[string]Config{
		"ReissueEvery off": {ReissueEvery: -1}, "WatchEvery off": {WatchEvery: -1}, "idle": {IdleAfter: time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var input ledger
				src := input.source()
				plain := src.play
				src.play = func(ctx context.Context, n int, live *Token) (*Token, error) {
					tok, err := plain(ctx, n, live)
					tok.Life = 10 * time.Hour // idleness is noticed at the reissue
					return tok, err
				}
				ts := start(t, src, cfg)
				must(t, ts)
				if cfg.IdleAfter > 0 {
					time.Sleep(9 * time.Hour)
				}
				calls := src.calls()
				input.write(nil)
				time.Sleep(30 * time.Minute)
				assert.Equal(t, calls, src.calls())
				checkTokenSource(t, ts)
			})
		})
	}
}

// What is to be watched must say its version.
func TestR23_WatchedInputNeedsAVersion(t *testing.T) {
	_, err := New(&actor{traits: Traits{WatchInput: true}}, Config{})
	var wrong *ConfigError
	require.ErrorAs(t, err, &wrong)
	assert.Equal(t, "Traits.WatchInput", wrong.Field)
}

// R10: an InputVersion that panics in the watcher is no change, and the watcher goes on.
func TestR10_WatchedInputPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var input ledger
		src := input.source()
		good := src.traits.InputVersion
		var broken atomic.Bool
		src.traits.InputVersion = func() uint64 {
			if broken.Load() {
				panic("gone")
			}
			return good()
		}
		ts := start(t, src, Config{})
		must(t, ts)
		broken.Store(true)
		time.Sleep(time.Minute)
		broken.Store(false)
		input.write(nil)
		time.Sleep(time.Second)
		assert.Equal(t, "version-1", must(t, ts).Value.Reveal())
		assert.Equal(t, 2, src.calls())
	})
}
