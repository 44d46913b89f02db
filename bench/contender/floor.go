package contender

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

var floorContender = Contender{
	Name:       Floor,
	How:        "a bare atomic.Pointer behind the same interface, one fetch an expiry by timer, a header set on a copied request",
	NoFailures: true,
	Open: func(fetch Fetch, _ Settings) Source {
		f := &floor{fetch: fetch}
		return simple{f, f.transport, f.close}
	},
	Crowd: func(fetch Fetch, _ Settings, n int) Crowd {
		return newCrowd(n, func() *bare { return &bare{} }, func(b *bare) error {
			if b.cur.Load() != nil {
				return nil
			}
			g, err := fetch(context.Background())
			if err == nil {
				b.cur.Store(&floorToken{g.Text, nil})
			}
			return err
		})
	},
}

// bare is a token and no way to refresh it.
type bare struct{ cur atomic.Pointer[floorToken] }

type floorToken struct {
	text   string
	header []string
}

// floor is the least that has the same effect as long as nothing fails: it hands out what it has, and fetches so that
// the next token comes just before the end of the last one.
type floor struct {
	bare
	fetch Fetch

	mu     sync.Mutex // guards what follows
	timer  *time.Timer
	closed bool
}

// just is how long before the end of its life the floor's token is replaced.
const just = 10 * time.Millisecond

func (f *floor) Read(ctx context.Context) error {
	if f.cur.Load() != nil {
		return nil
	}
	return f.first(ctx)
}

func (f *floor) Token(ctx context.Context) (string, error) {
	if err := f.Read(ctx); err != nil {
		return "", err
	}
	return f.cur.Load().text, nil
}

func (f *floor) first(ctx context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.cur.Load() != nil {
		return nil
	}
	return f.refresh(ctx)
}

// refresh fetches and sets the timer. mu is held.
func (f *floor) refresh(ctx context.Context) error {
	began := time.Now()
	g, err := f.fetch(ctx)
	if err != nil {
		return err
	}
	f.cur.Store(&floorToken{g.Text, []string{"Bearer " + g.Text}})
	f.timer = time.AfterFunc(max(time.Until(g.Expiry)-time.Since(began)-just, 0), func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if !f.closed {
			_ = f.refresh(context.Background()) // it knows no failures
		}
	})
	return nil
}

func (f *floor) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	if f.timer != nil {
		f.timer.Stop()
	}
}

func (f *floor) transport(base http.RoundTripper, _ string) http.RoundTripper {
	return floorTransport{f, base}
}

// floorTransport is the cheapest correct way to send a copy with one header more.
type floorTransport struct {
	*floor
	base http.RoundTripper
}

func (t floorTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := t.Read(req.Context()); err != nil {
		return nil, err
	}
	out := req.WithContext(req.Context())
	out.Header = make(http.Header, len(req.Header)+1)
	for k, v := range req.Header {
		out.Header[k] = v[:len(v):len(v)]
	}
	out.Header["Authorization"] = t.cur.Load().header
	resp, err := t.base.RoundTrip(out)
	if resp != nil {
		resp.Request = req
	}
	return resp, err
}
