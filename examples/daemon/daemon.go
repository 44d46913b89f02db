package main

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/seed-f29168f7/renew"
)

// setup is how the daemon is built. A break changes it.
type setup struct {
	source  renew.Source
	config  renew.Config
	api     string // what the workers GET
	workers int
	pause   time.Duration

	// Mistakes, for break.go.
	wrap    func(renew.Source) renew.Source // nil: none
	sources int                             // TokenSources for the one client; 0 means 1
	bare    bool                            // workers put the token on by themselves, and ignore 401s
	leaks   bool                            // the log gets a token
}

// daemon is the program that renew is for: workers that call an API with a token
// that somebody else keeps alive.
type daemon struct {
	setup
	tally   *tally
	meter   *meter
	tokens  []*renew.TokenSource // one, unless a break wants more
	clients []*http.Client       // of the same number
	pool    *http.Transport      // connections to the API

	quit chan struct{} // closed to stop the workers
	wg   sync.WaitGroup
	halt context.CancelFunc // ends what they do
	life context.Context
}

func newDaemon(s setup, log *slog.Logger, learn func(string)) (*daemon, error) {
	s.sources = max(s.sources, 1)
	s.config.Logger = log
	origin, err := originOf(s.api)
	if err != nil {
		return nil, err
	}
	d := &daemon{setup: s, tally: newTally(s.workers), quit: make(chan struct{})}
	d.life, d.halt = context.WithCancel(context.Background())
	src := s.source
	if s.wrap != nil {
		src = s.wrap(src)
	}
	d.meter = &meter{src: src, learn: learn}
	d.pool = http.DefaultTransport.(*http.Transport).Clone()
	d.pool.MaxIdleConns, d.pool.MaxIdleConnsPerHost = 0, s.workers
	for range s.sources {
		ts, err := renew.New(d.meter, s.config)
		if err != nil {
			return nil, err
		}
		tr, err := renew.NewTransport(&stopwatch{ts: ts, meter: d.meter, tally: d.tally},
			renew.TransportConfig{Origins: []string{origin}, Base: d.pool})
		if err != nil {
			return nil, err
		}
		client := &http.Client{Transport: tr}
		if s.bare {
			client = &http.Client{Transport: d.pool}
		}
		d.tokens, d.clients = append(d.tokens, ts), append(d.clients, client)
	}
	return d, nil
}

// originOf returns the scheme, host and port of a URL.
func originOf(text string) (string, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		return "", errors.New("-api is not a URL such as https://api.example/v1/ping")
	}
	return u.Scheme + "://" + u.Host, nil
}

// status is that of the TokenSource, or of the first.
func (d *daemon) status() renew.Status { return d.tokens[0].Status() }

// stop lets the workers finish the calls that they make, for two seconds at most. It may be called again.
func (d *daemon) stop() {
	select {
	case <-d.quit:
	default:
		close(d.quit)
	}
	late := time.AfterFunc(2*time.Second, d.halt)
	defer late.Stop()
	d.wg.Wait()
	d.halt()
}

// close ends the credential. The workers have been stopped.
func (d *daemon) close(ctx context.Context) error {
	var errs []error
	for _, ts := range d.tokens {
		errs = append(errs, ts.Close(ctx))
	}
	d.pool.CloseIdleConnections()
	return errors.Join(errs...)
}

// leftovers returns how many goroutines of renew or its Sources there are.
func leftovers() int {
	buf := make([]byte, 1<<20)
	for {
		n := runtime.Stack(buf, true)
		if n < len(buf) {
			buf = buf[:n]
			break
		}
		buf = make([]byte, 2*len(buf))
	}
	count := 0
	for stack := range strings.SplitSeq(string(buf), "\n\n") {
		if strings.Contains(stack, "github.com/seed-f29168f7/renew.") || strings.Contains(stack, "github.com/seed-f29168f7/renew/sources/") {
			count++
		}
	}
	return count
}

// meter is the Source with a look at the clock around it. It tells what calls a
// TokenSource made, without asking the TokenSource.
type meter struct {
	src   renew.Source
	learn func(secret string) // is told every token, to find it where it should not be

	mu      sync.Mutex
	calls   int
	running int
	most    int       // that ran at once
	got     int       // that returned a token
	began   time.Time // of the last one that did
	ended   time.Time
}

// Unwrap lets renew find what the Source says about itself.
func (m *meter) Unwrap() renew.Source { return m.src }

// Issue implements renew.Source.
func (m *meter) Issue(ctx context.Context) (*renew.Token, error) {
	began := time.Now()
	m.mu.Lock()
	m.calls++
	m.running++
	m.most = max(m.most, m.running)
	m.mu.Unlock()
	tok, err := m.src.Issue(ctx)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.running--
	if err == nil {
		m.learn(tok.Value.Reveal())
		m.got, m.began, m.ended = m.got+1, began, time.Now()
	}
	return tok, err
}

// reading is what a meter shows.
type reading struct {
	calls, got, most int
	began, ended     time.Time
}

func (m *meter) read() reading {
	m.mu.Lock()
	defer m.mu.Unlock()
	return reading{m.calls, m.got, m.most, m.began, m.ended}
}

// waitCounts is from when on a wait for a token counts as one.
const waitCounts = 20 * time.Millisecond

// stopwatch is the TokenSource as the Transport sees it, with a look at the
// clock around it: a request waited for a token when it took a while to get one, and one
// came in meanwhile. A busy machine alone does not make it so.
type stopwatch struct {
	ts    *renew.TokenSource
	meter *meter
	tally *tally
}

// Authenticate implements renew.Authenticator.
func (s *stopwatch) Authenticate(req *http.Request) (renew.Credential, error) {
	began := time.Now()
	cred, err := s.ts.Authenticate(req)
	if time.Since(began) >= waitCounts && s.meter.read().ended.After(began) {
		s.tally.waited(req.Context())
	}
	return cred, err
}

// Refused implements renew.Authenticator.
func (s *stopwatch) Refused(req *http.Request, c renew.Credential, resp *http.Response) (renew.Replay, error) {
	replay, err := s.ts.Refused(req, c, resp)
	if replay == nil || err != nil {
		return nil, err
	}
	return s.Authenticate, nil
}
