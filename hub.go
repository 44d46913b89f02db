package renew

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
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
	lanes     map[laneKey]*lane
	left      []*lane                 // without users; forgotten when there is nothing to remember
	swept     time.Duration           // when that was last looked at
	settings  *settings               // the last one made, to share
	armed     int                     // TokenSources whose timer is set, or whose input is watched
	inputs    map[*TokenSource]uint64 // those whose input is watched, and its version as the last call of the Source found it
	timer     clock.Timer             // the watcher's
	offset    time.Duration           // wall less mono, as last judged
	closed    bool
}

// newHub builds a hub from the shared fields of a Config.
func newHub(cfg Config) *hub {
	h := &hub{clock: cfg.Clock, rate: cfg.Rate, every: cfg.WatchEvery, source: cfg.Rand,
		endpoints: make(map[endpointKey]*endpoint), lanes: make(map[laneKey]*lane)}
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
	if u := h.source(); u > 0 { // neither negative nor NaN
		return min(u, 1)
	}
	return 0
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

// watch counts the TokenSources whose timer is set, or whose input is watched; while there is one, the
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

// tick is the watcher: it looks whether the hands have moved apart, and whether inputs have changed.
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
	inputs := len(h.inputs) > 0
	h.mu.Unlock()
	if moved {
		h.all((*TokenSource).rejudge)
	}
	if inputs {
		h.lookAtInputs()
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
	h.sweep(h.clock.Now().Mono)
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
	users int // lanes; guarded by the hub's mu
	pacer *budget.Pacer

	mu     sync.Mutex
	closed time.Duration // until then the issuer asked everybody for a pause
}

// laneKey names an account at an endpoint.
type laneKey struct {
	endpoint endpointKey
	account  string
}

// lane is an account at an endpoint: the unit of lock-out. Sources that name no
// account share a lane without a name, which has neither a pause nor a budget.
type lane struct {
	key      laneKey
	endpoint *endpoint
	users    int           // TokenSources; guarded by the hub's mu
	leftAt   time.Duration // when the last of them left; guarded by the hub's mu

	mu     sync.Mutex
	closed time.Duration // until then the issuer asked this account for a pause
	budget budget.Budget
}

// join returns a lane, made at first need, and counts one user more.
func (h *hub) join(key laneKey) *lane {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sweep(h.clock.Now().Mono)
	l := h.lanes[key]
	if l == nil {
		e := h.endpoints[key.endpoint]
		if e == nil {
			e = &endpoint{key: key.endpoint, pacer: budget.NewPacer(h.rate)}
			h.endpoints[e.key] = e
		}
		e.users++
		l = &lane{key: key, endpoint: e}
		h.lanes[key] = l
	}
	l.users++
	return l
}

// leave counts one user less, and forgets what nobody uses.
func (h *hub) leave(l *lane) {
	if l == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if l.users--; l.users > 0 {
		return
	}
	now := h.clock.Now().Mono
	l.leftAt = now
	h.left = append(h.left, l)
	h.sweep(now)
}

// sweepEvery is how often lanes without users are looked at, and how long one is
// kept at least, so that the pace of its endpoint is not forgotten.
const sweepEvery = 5 * time.Second

// sweep forgets the lanes without users that have nothing to remember: leaving
// and coming back must win neither units of a budget nor a way around a pause. mu is held.
func (h *hub) sweep(now time.Duration) {
	if len(h.left) == 0 || now-h.swept < sweepEvery && !h.closed {
		return
	}
	h.swept = now
	h.left = slices.DeleteFunc(h.left, func(l *lane) bool {
		if l.users > 0 || h.lanes[l.key] != l {
			return true // it came back, or is forgotten
		}
		remembers := now-l.leftAt < sweepEvery || l.gate() > now || l.budget.Left(now) < budget.DefaultUnits
		if remembers && !h.closed {
			return false
		}
		delete(h.lanes, l.key)
		if l.endpoint.users--; l.endpoint.users == 0 {
			delete(h.endpoints, l.endpoint.key)
		}
		return true
	})
}

// shared reports whether the lane is that of a named account.
func (l *lane) shared() bool { return l != nil && l.key.account != "" }

// gate returns until when the issuer asked for a pause.
func (l *lane) gate() time.Duration {
	if l == nil {
		return 0
	}
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
	case l == nil:
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

// lane returns the lane of a TokenSource, or nil: a Source that names no endpoint
// needs none while its flights are far apart.
func (ts *TokenSource) lane() *lane {
	if ts.set.lane == nil && ts.rare != nil {
		return ts.rare.lane
	}
	return ts.set.lane
}

// soloFlights is how many times closer than the rate allows the flights of a
// TokenSource may get before its Source becomes an endpoint of its own. It is
// above 1 because several TokenSources may have one Source.
const soloFlights = 16

// soloLane makes the Source an endpoint of its own when its flights are so close
// that they could exceed the rate; before, it returns nil. Most Sources never
// get there, and a lane takes more memory than a TokenSource.
func (ts *TokenSource) soloLane(now clock.Instant) *lane {
	h := ts.set.hub
	perSecond := cmp.Or(h.rate.PerSecond, budget.DefaultPerSecond)
	apart := min((now.Mono - ts.lastStart()).Seconds(), math.MaxFloat64)
	if every := ts.set.reissueEvery; every > 0 {
		apart = min(apart, every.Seconds()) // a token without an end leaves no trace of its start
	}
	if perSecond < 0 || apart >= soloFlights/perSecond {
		return nil
	}
	r := ts.trouble()
	r.lane = h.join(laneKey{endpoint: endpointOf(ts.src)})
	return r.lane
}

// endpointOf returns the key of a Source that stands for its own endpoint.
func endpointOf(src Source) endpointKey {
	if !reflect.ValueOf(src).Comparable() {
		src = &soleSource{src}
	}
	return endpointKey{src: src}
}

// soleSource makes a key of a Source that cannot be compared.
type soleSource struct{ Source }

// lastStart returns when the last flight began, as far as it left a trace.
func (ts *TokenSource) lastStart() time.Duration {
	last := time.Duration(math.MinInt64 / 2)
	if ts.rare != nil && ts.rare.err != nil {
		last = ts.rare.at
	}
	if t := ts.live; t != nil && t.deadline != (deadline{}) {
		last = max(last, t.deadline.mono-t.Life+leewayOf(ts.set.leeway, t.Life))
	}
	return last
}
