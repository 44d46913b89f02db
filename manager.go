package renew

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
)

// Manager holds many TokenSources by name, with one life: one Close, one
// Status, one watcher of the clock, and one pace for each issuer endpoint.
// It is safe for concurrent use. [NewManager] makes one.
type Manager struct {
	hub *hub
	cfg Config

	mu      sync.RWMutex // guards what follows; taken before the mu of a TokenSource
	sources map[string]*TokenSource
	closed  bool
}

// NewManager returns an empty Manager. The fields of cfg are the defaults of its
// TokenSources, except for the last group, which holds for all. It starts nothing.
// The error is a *ConfigError.
func NewManager(cfg Config) (*Manager, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	m := &Manager{hub: newHub(cfg), cfg: cfg, sources: make(map[string]*TokenSource)}
	m.hub.all = m.each
	return m, nil
}

// each calls f for every TokenSource.
func (m *Manager) each(f func(*TokenSource)) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for _, ts := range m.sources {
		f(ts)
	}
}

// New returns a TokenSource of its own for src. It starts nothing: the first
// Token, Wait or Reject does. The error is a *ConfigError, or what src.Validate returned.
func New(src Source, cfg Config) (*TokenSource, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	h := newHub(cfg)
	ts, err := h.add("", src, cfg)
	if err != nil {
		return nil, err
	}
	h.all = func(f func(*TokenSource)) { f(ts) }
	return ts, nil
}

// add builds a TokenSource that shares h.
func (h *hub) add(name string, src Source, cfg Config) (*TokenSource, error) {
	if isNil(src) {
		return nil, &ConfigError{"Source", "is nil: pass the Source that issues the credential"}
	}
	var traits Traits
	var abilities ability
	if err := guard("the source", func() error {
		if v, ok := as[Validator](src); ok {
			if err := v.Validate(); err != nil {
				return err
			}
		}
		if d, ok := as[Describer](src); ok {
			traits = d.Describe()
		}
		if traits.Interactive {
			abilities |= needsPerson
		}
		if _, ok := as[Reissuer](src); ok {
			abilities |= reissues
		}
		if _, ok := as[Revoker](src); ok {
			abilities |= revokes
		}
		if traits.WatchInput {
			abilities |= watchesInput
		}
		return nil
	}); err != nil {
		return nil, err
	}
	if traits.WatchInput && traits.InputVersion == nil {
		return nil, &ConfigError{"Traits.WatchInput", "of the source is set, but it has no InputVersion to look at"}
	}
	if traits.Timeout < 0 || traits.Timeout > maxLife {
		return nil, &ConfigError{"Traits.Timeout", fmt.Sprintf("of the source is %v: it must be positive, or 0 for the default", traits.Timeout)}
	}
	set := settings{
		hub:    h,
		leeway: cfg.Leeway, reissueEvery: cfg.ReissueEvery, idleAfter: max(cfg.IdleAfter, 0), flightTimeout: cfg.FlightTimeout,
		budget: cfg.Budget, interactive: cfg.Interactive, revokeOnClose: cfg.RevokeOnClose, checkOnRead: cfg.CheckOnRead,
	}
	if set.flightTimeout == 0 {
		set.flightTimeout = traits.Timeout
	}
	if set.flightTimeout == 0 {
		set.flightTimeout = defaultFlightTimeout
	}
	key := laneKey{endpointKey{name: cmp.Or(cfg.Endpoint, traits.Endpoint)}, cmp.Or(cfg.Account, traits.Account)}
	if key.endpoint.name == "" && key.account != "" {
		key.endpoint = endpointOf(src)
	}
	if key != (laneKey{}) {
		set.lane = h.join(key)
	}
	ts := &TokenSource{name: name, src: src, set: h.settingsOf(set)}
	ts.can = abilities
	ts.next = never
	return ts, nil
}

// Add makes a TokenSource for src and keeps it under name. Zero fields of cfg
// take the Manager's values. It starts nothing. The error is a *ConfigError (an empty or
// duplicate name, a bad field), what src.Validate returned, or ErrClosed.
func (m *Manager) Add(name string, src Source, cfg Config) (*TokenSource, error) {
	if name == "" {
		return nil, &ConfigError{"name", "is empty: each TokenSource of a Manager has a name"}
	}
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if field := cfg.shared(); field != "" {
		return nil, &ConfigError{"Config." + field, "belongs to the Manager as a whole: set it in NewManager"}
	}
	ts, err := m.hub.add(name, src, cfg.over(m.cfg)) // calls src: not under mu
	if err != nil {
		return nil, err
	}
	if err := m.keep(ts); err != nil {
		m.hub.leave(ts.set.lane)
		return nil, err
	}
	return ts, nil
}

// keep takes a new TokenSource in.
func (m *Manager) keep(ts *TokenSource) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return ErrClosed
	}
	if _, dup := m.sources[ts.name]; dup {
		return &ConfigError{"name", fmt.Sprintf("%q is taken: remove the TokenSource of that name first", ts.name)}
	}
	m.sources[ts.name] = ts
	return nil
}

// TokenSource returns the TokenSource of that name.
func (m *Manager) TokenSource(name string) (*TokenSource, bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	ts, ok := m.sources[name]
	return ts, ok
}

// Remove takes a TokenSource out of the Manager and closes it, as its Close does. The
// name is free at once. The error is ErrUnknown or a *CloseError.
func (m *Manager) Remove(ctx context.Context, name string) error {
	m.mu.Lock()
	ts, ok := m.sources[name]
	delete(m.sources, name)
	m.mu.Unlock()
	if !ok {
		return fmt.Errorf("%w: %q", ErrUnknown, name)
	}
	return ts.Close(ctx)
}

// all returns the TokenSources in the order of their names.
func (m *Manager) all() []*TokenSource {
	m.mu.RLock()
	list := make([]*TokenSource, 0, len(m.sources))
	for _, ts := range m.sources {
		list = append(list, ts)
	}
	m.mu.RUnlock()
	slices.SortFunc(list, func(a, b *TokenSource) int { return strings.Compare(a.name, b.name) })
	return list
}

// atOnce is how many TokenSources a Manager closes at a time. All their flights have been ended by then.
const atOnce = 64

// Wait asks for every token and waits until all are usable, as TokenSource.Wait
// does for one. The first refusal for good, or ctx, ends it; the error is
// a *NotReadyError with what is known of each that has none, or ErrClosed.
func (m *Manager) Wait(ctx context.Context) error {
	m.mu.RLock()
	closed := m.closed
	m.mu.RUnlock()
	if closed {
		return ErrClosed
	}
	list := m.all()
	for _, ts := range list {
		ts.ask()
	}
	g, gctx := errgroup.WithContext(ctx)
	for _, ts := range list {
		if ts.ready() == nil {
			continue
		}
		g.Go(func() error {
			if _, err := ts.Wait(gctx); err != nil {
				if now, ok := m.TokenSource(ts.name); errors.Is(err, ErrClosed) && (!ok || now != ts) {
					return nil // it was removed
				}
				return &NotReadyError{Sources: map[string]error{ts.name: err}}
			}
			return nil
		})
	}
	err := g.Wait()
	if err == nil {
		return nil
	}
	if rest := m.Ready(); rest != nil {
		if first, ok := errors.AsType[*NotReadyError](err); ok {
			if all, ok := errors.AsType[*NotReadyError](rest); ok {
				for name, err := range first.Sources {
					all.Sources[name] = err
				}
			}
		}
		return rest
	}
	return err
}

// Ready is for a readiness probe: nil when every TokenSource has a usable token, else
// a *NotReadyError that says which have none, and why; ErrClosed after Close. It does not block
// and starts nothing.
func (m *Manager) Ready() error {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.closed {
		return ErrClosed
	}
	var missing map[string]error
	for name, ts := range m.sources {
		if err := ts.ready(); err != nil {
			if missing == nil {
				missing = make(map[string]error)
			}
			missing[name] = err
		}
	}
	if missing != nil {
		return &NotReadyError{Sources: missing}
	}
	return nil
}

// Status returns a snapshot of every TokenSource, in the order of their names.
func (m *Manager) Status() []Status {
	list := m.all()
	out := make([]Status, len(list))
	for i, ts := range list {
		out[i] = ts.Status()
	}
	return out
}

// Close closes every TokenSource, as its Close does, and the Manager. It is idempotent;
// ctx bounds the wait for all of them. The error joins a *CloseError for each that did not end.
func (m *Manager) Close(ctx context.Context) error {
	m.mu.Lock()
	m.closed = true
	m.mu.Unlock()
	list := m.all()
	for _, ts := range list {
		ts.shut() // all flights end now, not one after the other
	}
	m.hub.close()
	errs := make([]error, len(list)+1)
	var g errgroup.Group
	g.SetLimit(atOnce)
	for i, ts := range list {
		g.Go(func() error {
			if err := ts.drain(ctx); err != nil {
				errs[i] = fmt.Errorf("%q: %w", ts.name, err)
			}
			return nil
		})
	}
	_ = g.Wait()
	errs[len(list)] = m.hub.flush(ctx)
	return errors.Join(errs...)
}
