package renew

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"runtime/debug"
	"sync"
)

// PerOrigin is an [Authenticator] with one TokenSource for each origin, for
// protocols whose tokens belong to one origin, like crtauth. It makes them at the
// first request to an origin, and keeps them in the Manager under the
// origin's name ("https://api.example:8443"; the default port is left off), so
// that Status shows them, Remove ends one of them and Close all. One that was added by
// hand under such a name is used as it is.
//
// Use it by pointer. Its fields may be changed until the first request; it is
// safe for concurrent use.
type PerOrigin struct {
	// Manager keeps the TokenSources. Required.
	Manager *Manager
	// Config is given to Manager.Add for each.
	Config Config
	// New returns the Source for an origin. Required. It is called once for all requests that
	// wait for the same origin, in the goroutine of the first; when it fails they all get its
	// error in a [*PerOriginError], and the next request calls it again.
	New func(origin string) (Source, error)

	mu     sync.Mutex         // guards the map; not held across New or Add
	making map[string]*making // by origin
}

// making is one TokenSource being made. The goroutine that put it into the map
// writes ts and err before it closes done; others read them after.
type making struct {
	done chan struct{}
	ts   *TokenSource
	err  error
}

// originCredential remembers whose token it is: the name may belong to another
// TokenSource by the time of the 401.
type originCredential struct {
	ts   *TokenSource
	cred Credential
}

// Validate reports a missing field as a *ConfigError. NewTransport calls it.
func (p *PerOrigin) Validate() error {
	switch {
	case p == nil:
		return &ConfigError{"PerOrigin", "is nil"}
	case p.Manager == nil:
		return &ConfigError{"PerOrigin.Manager", "is nil: it keeps the token sources; make one with NewManager"}
	case p.New == nil:
		return &ConfigError{"PerOrigin.New", "is nil: it must return the Source for an origin"}
	}
	return p.Config.Validate()
}

// Authenticate puts the token of req's origin on req.
func (p *PerOrigin) Authenticate(req *http.Request) (Credential, error) {
	ts, err := p.tokenSource(req.Context(), req.URL)
	if err != nil {
		return nil, err
	}
	cred, err := ts.Authenticate(req)
	if err != nil {
		return nil, err
	}
	return &originCredential{ts, cred}, nil
}

// Refused rejects the token that req carried.
func (p *PerOrigin) Refused(req *http.Request, c Credential, resp *http.Response) (Replay, error) {
	oc, ok := c.(*originCredential)
	if !ok {
		return nil, &ConfigError{"Credential", fmt.Sprintf("is a %T: a PerOrigin takes back only what its Authenticate returned", c)}
	}
	replay, err := oc.ts.Refused(req, oc.cred, resp)
	if replay == nil || err != nil {
		return nil, err
	}
	return p.Authenticate, nil
}

// tokenSource returns the TokenSource of u's origin. ctx ends only this
// caller's wait for another one's New.
func (p *PerOrigin) tokenSource(ctx context.Context, u *url.URL) (*TokenSource, error) {
	if p == nil || p.Manager == nil || p.New == nil {
		return nil, p.Validate()
	}
	o, err := originOf(u)
	if err != nil {
		return nil, &PerOriginError{Origin: describeOrigin(u), Err: fmt.Errorf("the URL %w", err)}
	}
	name := o.String()
	if ts, ok := p.Manager.TokenSource(name); ok {
		return ts, nil
	}
	p.mu.Lock()
	m, wait := p.making[name]
	if !wait {
		if p.making == nil {
			p.making = make(map[string]*making)
		}
		m = &making{done: make(chan struct{})}
		p.making[name] = m
	}
	p.mu.Unlock()
	if !wait {
		p.make(name, m)
		return m.ts, m.err
	}
	select {
	case <-m.done:
		return m.ts, m.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// make fills in m and lets its waiters go, also when New panics: the panic goes
// on in this goroutine, and they get a PanicError.
func (p *PerOrigin) make(name string, m *making) {
	m.err = &PanicError{In: "PerOrigin.New"} // what Goexit leaves
	defer func() {
		r := recover()
		if r != nil {
			m.err = &PanicError{In: "PerOrigin.New", Type: fmt.Sprintf("%T", r), Stack: debug.Stack()}
		}
		if m.err != nil {
			m.ts, m.err = nil, &PerOriginError{Origin: name, Err: m.err}
		}
		p.mu.Lock()
		delete(p.making, name)
		p.mu.Unlock()
		close(m.done)
		if r != nil {
			panic(r)
		}
	}()
	m.ts, m.err = p.add(name)
}

// add finds or makes the TokenSource of that name. It looks again first: the
// caller's own look may be older than the last one's success.
func (p *PerOrigin) add(name string) (*TokenSource, error) {
	if ts, ok := p.Manager.TokenSource(name); ok {
		return ts, nil
	}
	src, err := p.New(name)
	if err != nil {
		return nil, err
	}
	if isNil(src) {
		return nil, &ConfigError{"PerOrigin.New", "returned neither a Source nor an error"}
	}
	ts, err := p.Manager.Add(name, src, p.Config)
	if err != nil {
		// Another user of the Manager may have been faster.
		if ts, ok := p.Manager.TokenSource(name); ok {
			return ts, nil
		}
		return nil, err
	}
	return ts, nil
}

// PerOriginError says that there is no TokenSource for an origin, and why.
type PerOriginError struct {
	// Origin is the origin, as PerOrigin.New got it.
	Origin string
	// Err is what PerOrigin.New or Manager.Add returned.
	Err error
}

// Error names the origin and says why.
func (e *PerOriginError) Error() string {
	return "renew: no token source for " + e.Origin + ": " + bare(e.Err)
}

// Unwrap returns the cause.
func (e *PerOriginError) Unwrap() error { return e.Err }
