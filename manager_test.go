package renew

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-f29168f7/renew/budget"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// missing returns the names in the NotReadyError within err, sorted.
func missing(err error) (names []string) {
	if nr, ok := errors.AsType[*NotReadyError](err); ok {
		for name := range nr.Sources {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func TestManager_KeepsByName(t *testing.T) {
	// A name leads to its TokenSource until Remove closes it; then the name is free.
	m := manage(t, Config{})
	b, a := adopt(t, m, "b", &actor{}, Config{}), adopt(t, m, "a", &actor{}, Config{})
	got, ok := m.TokenSource("a")
	assert.True(t, ok)
	assert.Same(t, a, got)
	must(t, a)
	status := m.Status()
	require.Len(t, status, 2)
	assert.Equal(t, []string{"a", "b"}, []string{status[0].Name, status[1].Name})
	assert.Equal(t, []State{StateReady, StateNew}, []State{status[0].State, status[1].State})
	require.NoError(t, m.Remove(t.Context(), "a"))
	_, ok = m.TokenSource("a")
	assert.False(t, ok)
	_, err := a.Token(t.Context())
	require.ErrorIs(t, err, ErrClosed)
	err = m.Remove(t.Context(), "a")
	require.ErrorIs(t, err, ErrUnknown)
	assert.Contains(t, err.Error(), `"a"`)
	must(t, adopt(t, m, "a", &actor{}, Config{}))
	must(t, b)
	checkHub(t, m.hub)
}

func TestManager_Defaults(t *testing.T) {
	// A zero field of Add means the Manager's; another value holds over it.
	shared := &budget.Budget{}
	m := manage(t, Config{Leeway: 3, ReissueEvery: 4, IdleAfter: 5, FlightTimeout: 6, Budget: shared, Endpoint: "e", Account: "a",
		Interactive: true, RevokeOnClose: true, CheckOnRead: true})
	got := *adopt(t, m, "all", &actor{traits: Traits{Endpoint: "E", Account: "A", Timeout: 66}}, Config{}).set
	assert.Equal(t, laneKey{endpointKey{name: "e"}, "a"}, got.lane.key)
	got.lane = nil
	assert.Equal(t, settings{hub: m.hub, leeway: 3, reissueEvery: 4, idleAfter: 5, flightTimeout: 6, budget: shared,
		interactive: true, revokeOnClose: true, checkOnRead: true}, got)
	own := &budget.Budget{}
	got = *adopt(t, m, "own", &actor{}, Config{Leeway: -1, ReissueEvery: -1, IdleAfter: -1, FlightTimeout: 9, Budget: own, Endpoint: "f", Account: "b"}).set
	assert.Equal(t, laneKey{endpointKey{name: "f"}, "b"}, got.lane.key)
	got.lane = nil
	assert.Equal(t, settings{hub: m.hub, leeway: -1, reissueEvery: -1, flightTimeout: 9, budget: own,
		interactive: true, revokeOnClose: true, checkOnRead: true}, got)
	m = manage(t, Config{})
	assert.Equal(t, time.Minute, adopt(t, m, "x", &actor{traits: Traits{Timeout: time.Minute}}, Config{}).set.flightTimeout)
	assert.Equal(t, defaultFlightTimeout, adopt(t, m, "y", &actor{}, Config{}).set.flightTimeout)
}

func TestManager_Wait(t *testing.T) {
	// Wait starts all flights at once and returns nil when all have a usable token, however many there are.
	synctest.Test(t, func(t *testing.T) {
		m := manage(t, Config{Rate: budget.Rate{PerSecond: -1}})
		require.NoError(t, m.Wait(t.Context()), "none is all")
		var actors []*actor
		for i := range 3*atOnce + 1 {
			a := &actor{play: slowly(10*time.Second, granted)}
			if i%7 == 0 {
				a.play = slowly(5*time.Second, func(n int) (*Token, error) {
					if n < 3 {
						return nil, errUnavailable
					}
					return tokenOf(n), nil
				})
			}
			actors = append(actors, a)
			adopt(t, m, fmt.Sprint(i), a, Config{})
		}
		assert.Len(t, missing(m.Ready()), len(actors))
		begin := time.Now()
		require.NoError(t, m.Wait(t.Context()))
		assert.Less(t, time.Since(begin), 20*time.Second)
		for _, at := range starts(actors...)[:len(actors)] {
			assert.Equal(t, starts(actors[0])[0], at)
		}
		require.NoError(t, m.Ready())
		checkHub(t, m.hub)
	})
}

func TestManager_WaitFails(t *testing.T) {
	// The first refusal for good, or the end of ctx, ends Wait, and the error says what is known of each that has no token.
	synctest.Test(t, func(t *testing.T) {
		m := manage(t, Config{})
		adopt(t, m, "good", &actor{}, Config{})
		adopt(t, m, "down", &actor{play: inTurn(errUnavailable)}, Config{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		err := m.Wait(ctx)
		assert.Equal(t, []string{"down"}, missing(err))
		nr, _ := errors.AsType[*NotReadyError](err)
		assert.ErrorIs(t, nr.Sources["down"], context.DeadlineExceeded)
		ie, ok := errors.AsType[*IssueError](nr.Sources["down"])
		assert.True(t, ok && ie.Status == 503, "the last failure too: %v", nr.Sources["down"])
		assert.Contains(t, err.Error(), `"down"`)

		adopt(t, m, "bad", &actor{play: slowly(time.Second, func(int) (*Token, error) { return nil, errForGood })}, Config{})
		adopt(t, m, "slow", &actor{play: slowly(20*time.Second, granted)}, Config{})
		begin := time.Now()
		err = m.Wait(t.Context())
		assert.Equal(t, time.Second, time.Since(begin))
		assert.Equal(t, []string{"bad", "down", "slow"}, missing(err))
		nr, _ = errors.AsType[*NotReadyError](err)
		assert.Equal(t, "invalid_client", codeOf(nr.Sources["bad"]))
		assert.Equal(t, []string{"bad", "down", "slow"}, missing(m.Ready()))
		time.Sleep(time.Minute)
		assert.Equal(t, []string{"bad", "down"}, missing(m.Ready()), "Ready starts nothing, and what was started goes on")
	})
}

func TestManager_ReadyStartsNothing(t *testing.T) {
	// Ready and Status look, and start nothing.
	m := manage(t, Config{})
	src := &actor{}
	ts := adopt(t, m, "a", src, Config{})
	for range 3 {
		assert.Equal(t, []string{"a"}, missing(m.Ready()))
		m.Status()
	}
	assert.Zero(t, src.calls())
	assert.Nil(t, ts.rare, "and take no memory")
}

func TestManager_Close(t *testing.T) {
	// Close closes all, side by side, says which did not end, and may be called again; then all answer ErrClosed.
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		m := manage(t, Config{})
		for i := range 3 {
			ts := adopt(t, m, fmt.Sprint("deaf ", i), &actor{play: deafTo(release, 1)}, Config{})
			go func() { _, err := ts.Token(t.Context()); assert.ErrorIs(t, err, ErrClosed) }()
		}
		slow := &actor{play: func(ctx context.Context, _ int, _ *Token) (*Token, error) {
			<-ctx.Done()
			time.Sleep(time.Second / 2)
			return nil, ctx.Err()
		}}
		for i := range 100 {
			ts := adopt(t, m, fmt.Sprint("slow ", i), slow, Config{})
			go func() { _, _ = ts.Token(t.Context()) }()
		}
		idle := adopt(t, m, "idle", &actor{}, Config{})
		waiter := make(chan error, 1)
		go func() { waiter <- m.Wait(t.Context()) }()
		synctest.Wait()
		begin := time.Now()
		err := m.Close(soon(t))
		assert.Equal(t, time.Second, time.Since(begin))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		for i := range 3 {
			assert.Contains(t, err.Error(), fmt.Sprintf("%q: renew: close: 1 calls still running", fmt.Sprint("deaf ", i)))
		}
		assert.NotContains(t, err.Error(), "slow")
		assert.ErrorIs(t, <-waiter, ErrClosed)
		assert.ErrorIs(t, m.Ready(), ErrClosed)
		assert.ErrorIs(t, m.Wait(t.Context()), ErrClosed)
		_, err = idle.Token(t.Context())
		require.ErrorIs(t, err, ErrClosed)
		_, err = m.Add("new", &actor{}, Config{})
		require.ErrorIs(t, err, ErrClosed)
		close(release)
		require.NoError(t, m.Close(t.Context()))
		require.NoError(t, m.Remove(t.Context(), "idle"))
		checkHub(t, m.hub)
	})
}

func TestManager_RemoveWhileItIsWaitedFor(t *testing.T) {
	// Who waits for a TokenSource that is removed gets ErrClosed; a Wait for all does not fail for what is not there any more.
	synctest.Test(t, func(t *testing.T) {
		m := manage(t, Config{})
		ts := adopt(t, m, "leaves", &actor{play: slowly(10*time.Second, granted)}, Config{})
		adopt(t, m, "stays", &actor{play: slowly(20*time.Second, granted)}, Config{})
		one, all := make(chan error, 1), make(chan error, 1)
		go func() { _, err := ts.Token(t.Context()); one <- err }()
		go func() { all <- m.Wait(t.Context()) }()
		time.Sleep(time.Second)
		require.NoError(t, m.Remove(t.Context(), "leaves"))
		assert.ErrorIs(t, <-one, ErrClosed)
		assert.NoError(t, <-all)
		require.NoError(t, m.Ready())
		checkHub(t, m.hub)
	})
}

func TestManager_AddCallsTheSourceUnlocked(t *testing.T) {
	// Validate and Describe may use the Manager: Add calls them without a lock.
	m := manage(t, Config{})
	var seen atomic.Int32
	look := func() error {
		m.Status()
		m.TokenSource("x")
		seen.Add(1)
		return m.Ready()
	}
	_, err := m.Add("x", &picky{validate: look}, Config{})
	require.NoError(t, err)
	assert.Positive(t, seen.Load())
}
