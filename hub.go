package renew

import (
	"context"
	"fmt"
	"math/rand/v2"
	"reflect"
	"sync"
	"time"

	"github.com/seed-f29168f7/renew/budget"
	"github.com/seed-f29168f7/renew/clock"
)

// hub is what the TokenSources of one Manager share: the clock, the watcher,
// the endpoints and the hooks. A TokenSource made by New has one of its own.
type hub struct {
	clock  clock.Clock
	rate   budget.Rate
	every  time.Duration // of the watcher; 0: off
	events *events       // nil when nobody observes

	randMu sync.Mutex
	source func() float64 // guarded by randMu; nil: the global one

	// all calls f for each TokenSource.
	all func(f func(*TokenSource))

	mu        sync.Mutex // guards what follows; the innermost lock but for those of lanes and budgets
	endpoints map[endpointKey]*endpoint
	settings  *settings     // the last one made, to share
	armed     int           // TokenSources whose timer is set
	timer     clock.Timer   // the watcher's
	offset    time.Duration // wall less mono, as last judged
	closed    bool
}

// newHub builds a hub from the shared fields of a Config.
func newHub(cfg Config) *hub {
	h := &hub{clock: cfg.Clock, rate: cfg.Rate, every: cfg.WatchEvery, source: cfg.Rand}
	if h.clock == nil {
		h.clock = clock.Real{}
	}
	switch {
	case h.every == 0:
		h.every = defaultWatchEvery
	case h.every < 0:
		h.every = 0
	}
	if cfg.Logger != nil || !cfg.Hooks.isZero() {
		h.events = &events{logger: cfg.Logger, hooks: cfg.Hooks}
	}
	return h
}

// rand returns a number in [0, 1).
func (h *hub) rand() float64 {
	if h.source == nil {
		return rand.Float64()
	}
	h.randMu.Lock()
	defer h.randMu.Unlock()
	return min(max(h.source(), 0), 1)
}

// settingsOf returns the settings of a Config, shared with the last TokenSource
// if they are equal.
func (h *hub) settingsOf(s settings) *settings {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.settings == nil || *h.settings != s {
		h.settings = &s
	}
	return h.settings
}

// stepLeast is the difference between the hands that counts as a suspend or a step.
const stepLeast = 100 * time.Millisecond

// watch counts the TokenSources whose timer is set; while there is one, the
// watcher compares the hands of the clock (R24).
func (h *hub) watch(armed bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !armed {
		h.armed--
		return
	}
	if h.armed++; h.armed == 1 && h.every > 0 {
		h.offset = handsApart(h.clock.Now())
		h.wind()
	}
}

// wind sets the watcher's timer.
func (h *hub) wind() {
	if h.timer == nil {
		h.timer = h.clock.AfterFunc(h.every, h.tick)
	} else {
		h.timer.Reset(h.every)
	}
}

// tick is the watcher: it looks whether the hands have moved apart.
func (h *hub) tick() {
	h.mu.Lock()
	if h.armed == 0 || h.closed {
		h.mu.Unlock()
		return
	}
	now := h.clock.Now()
	apart := handsApart(now)
	moved := (apart - h.offset).Abs() > stepLeast
	if moved {
		h.offset = apart
	}
	h.wind()
	h.mu.Unlock()
	if moved {
		h.all(func(ts *TokenSource) { ts.rejudge(now) })
	}
}

// handsApart returns how far the wall is ahead of the monotonic reading.
func handsApart(now clock.Instant) time.Duration {
	return time.Duration(now.Wall.UnixNano()) - now.Mono
}

// close stops the watcher for good.
func (h *hub) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	if h.timer != nil {
		h.timer.Stop()
	}
}

// flush waits for the hooks to have run, or for ctx to end.
func (h *hub) flush(ctx context.Context) error {
	if h.events == nil {
		return nil
	}
	if err := h.events.flush(ctx); err != nil {
		return &CloseError{Running: 1, Err: fmt.Errorf("a hook: %w", err)}
	}
	return nil
}

// endpointKey names an endpoint, or is the Source that stands for one.
type endpointKey struct {
	name string
	src  Source
}

// endpoint is an issuer's endpoint: the unit of pacing (R20).
type endpoint struct {
	key   endpointKey
	lanes map[string]*lane // guarded by the hub's mu
	users int              // guarded by the hub's mu
	pacer *budget.Pacer

	mu     sync.Mutex
	closed time.Duration // until then the issuer asked for a pause
}

// lane is an account at an endpoint: the unit of lock-out. Sources that name no account
// share a lane without a name, which has no pause and no budget of its own.
type lane struct {
	endpoint *endpoint
	account  string
	users    int // guarded by the hub's mu

	mu     sync.Mutex
	closed time.Duration
	budget budget.Budget
}

// lane returns the lane of an endpoint and account, and counts one user more.
func (h *hub) lane(name, account string, src Source) *lane {
	key := endpointKey{name: name}
	shareable := true
	if name == "" {
		if shareable = reflect.ValueOf(src).Comparable(); shareable {
			key.src = src
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	var e *endpoint
	if shareable {
		e = h.endpoints[key]
	}
	if e == nil {
		e = &endpoint{key: key, lanes: make(map[string]*lane, 1), pacer: budget.NewPacer(h.rate)}
		if shareable {
			if h.endpoints == nil {
				h.endpoints = make(map[endpointKey]*endpoint, 1)
			}
			h.endpoints[key] = e
		}
	}
	l := e.lanes[account]
	if l == nil {
		l = &lane{endpoint: e, account: account}
		e.lanes[account] = l
	}
	e.users++
	l.users++
	return l
}

// leave counts one user less, and forgets what nobody uses.
func (h *hub) leave(l *lane) {
	h.mu.Lock()
	defer h.mu.Unlock()
	e := l.endpoint
	if l.users--; l.users == 0 {
		delete(e.lanes, l.account)
	}
	if e.users--; e.users == 0 && h.endpoints[e.key] == e {
		delete(h.endpoints, e.key)
	}
}

// shared reports whether the lane is that of a named account.
func (l *lane) shared() bool { return l.account != "" }

// accountBudget returns the budget of a named account.
func (l *lane) accountBudget() *budget.Budget { return &l.budget }

// gate returns until when the issuer asked for a pause.
func (l *lane) gate() time.Duration {
	l.mu.Lock()
	at := l.closed
	l.mu.Unlock()
	l.endpoint.mu.Lock()
	defer l.endpoint.mu.Unlock()
	return max(at, l.endpoint.closed)
}

// close notes a pause that the issuer asked for: of everybody, or of this account.
func (l *lane) close(until time.Duration, everybody bool) {
	switch {
	case everybody:
		l.endpoint.mu.Lock()
		defer l.endpoint.mu.Unlock()
		l.endpoint.closed = max(l.endpoint.closed, until)
	case l.shared():
		l.mu.Lock()
		defer l.mu.Unlock()
		l.closed = max(l.closed, until)
	}
}

func (l *lane) urgent(now clock.Instant) time.Duration { return l.endpoint.pacer.Urgent(now.Mono) }

func (l *lane) scheduled(now clock.Instant, waited bool) (time.Duration, bool) {
	return l.endpoint.pacer.Scheduled(now.Mono, waited)
}
