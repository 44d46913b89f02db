package renew

import (
	"context"
	"errors"
	"sync"
)

// TokenSource keeps one credential alive. This one is a stand-in, just enough
// to drive a Transport.
type TokenSource struct {
	src Source

	mu     sync.Mutex
	tok    *Token
	gen    uint64
	flight *standInFlight
}

type standInFlight struct {
	done chan struct{}
	tok  *Token
	err  error
}

// New returns a TokenSource for src.
func New(src Source, cfg Config) (*TokenSource, error) {
	if src == nil {
		return nil, &ConfigError{"Source", "is nil"}
	}
	return &TokenSource{src: src}, cfg.Validate()
}

// Token returns a usable token.
func (ts *TokenSource) Token(ctx context.Context) (*Token, error) { return ts.get(ctx, nil) }

// Wait is Token for start-up.
func (ts *TokenSource) Wait(ctx context.Context) (*Token, error) { return ts.get(ctx, nil) }

// Reject says that a server refused t.
func (ts *TokenSource) Reject(ctx context.Context, t *Token) (*Token, error) { return ts.get(ctx, t) }

func (ts *TokenSource) get(ctx context.Context, bad *Token) (*Token, error) {
	ts.mu.Lock()
	if ts.tok != nil && ts.tok != bad {
		defer ts.mu.Unlock()
		return ts.tok, nil
	}
	f := ts.flight
	if f == nil {
		f = &standInFlight{done: make(chan struct{})}
		ts.flight = f
		go ts.fly(f)
	}
	ts.mu.Unlock()
	select {
	case <-f.done:
		return f.tok, f.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (ts *TokenSource) fly(f *standInFlight) {
	tok, err := ts.src.Issue(context.Background())
	ts.mu.Lock()
	if err == nil {
		c := *tok
		ts.gen++
		c.generation = ts.gen
		value := []string{c.HeaderValue()}
		c.header = func() []string { return value }
		ts.tok, f.tok = &c, &c
	}
	f.err = err
	ts.flight = nil
	ts.mu.Unlock()
	close(f.done)
}

// Close ends it.
func (ts *TokenSource) Close(ctx context.Context) error { return nil }

// Manager keeps TokenSources by name.
type Manager struct {
	mu sync.Mutex
	m  map[string]*TokenSource
}

// NewManager returns a Manager.
func NewManager(cfg Config) (*Manager, error) {
	return &Manager{m: map[string]*TokenSource{}}, cfg.Validate()
}

// Add adds a TokenSource.
func (m *Manager) Add(name string, src Source, cfg Config) (*TokenSource, error) {
	ts, err := New(src, cfg)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.m[name]; ok {
		return nil, errors.New("renew: there is one of that name")
	}
	m.m[name] = ts
	return ts, nil
}

// TokenSource returns the one of that name.
func (m *Manager) TokenSource(name string) (*TokenSource, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	ts, ok := m.m[name]
	return ts, ok
}

// Close closes all.
func (m *Manager) Close(ctx context.Context) error { return nil }
