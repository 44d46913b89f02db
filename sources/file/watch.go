package file

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/clock"
)

// every is how often Watch looks. A change is taken when two looks in a row agree on it, and so within
// twice that: less than a second.
const every = 400 * time.Millisecond

// Watch has ts take a new token from the file within a second of running time, though nothing was refused and
// nobody reads: without it a TokenSource looks when the token is due, or was rejected. ts must have been made
// with this Source. The old token is rejected then, which costs a unit of ts's failure budget each time (4 in 10 minutes by default); when
// ts has no token, it is reset and tries at once. Content that is half written, or is no usable token, changes nothing.
//
// Watch returns at once. It runs by a timer of the Clock and reads what the file system says of the file; it
// ends when ts is closed, or by stop, which may be called more than once and does not wait for a look in progress.
func (s *Source) Watch(ts *renew.TokenSource) (stop func()) {
	w := &watcher{src: s, ts: ts, taken: s.version()}
	w.before = w.taken
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timer = s.clk().AfterFunc(every, w.look)
	return w.stop
}

// watcher is one Watch.
type watcher struct {
	src *Source
	ts  *renew.TokenSource

	// Only look uses these, which runs once at a time.
	taken  uint64 // the version whose token ts has, or was offered
	before uint64 // the version of the last look

	mu      sync.Mutex // guards what follows; not held while a file is read or ts is called
	timer   clock.Timer
	stopped bool
}

func (w *watcher) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopped = true
	w.timer.Stop()
}

// look is called by the timer.
func (w *watcher) look() {
	version := w.src.version()
	if version != w.taken && version == w.before {
		switch err := w.offer(); {
		case errors.Is(err, renew.ErrClosed):
			w.stop()
		case err == nil:
			w.taken = version
		}
	}
	w.before = version
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.stopped {
		w.timer.Reset(every)
	}
}

// ended is a ctx that waits for nothing.
var ended = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// offer has the TokenSource read the file, if there is another token in it. An error means that it should be
// tried again at the next look.
func (w *watcher) offer() error {
	next, err := w.src.read()
	if err != nil {
		return err
	}
	live, err := w.ts.Token(ended)
	switch {
	case errors.Is(err, renew.ErrClosed):
		return err
	case err != nil:
		w.ts.Reset()
		return nil
	case live.Value.Equal(next.Value):
		return nil
	}
	// The ctx has ended: Reject starts the flight and returns.
	_, err = w.ts.Reject(ended, live)
	if errors.Is(err, renew.ErrBudgetSpent) {
		return err
	}
	return nil
}
