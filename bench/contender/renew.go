package contender

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/budget"
)

var renewContender = Contender{
	Name:   Ours,
	Module: "github.com/seed-f29168f7/renew",
	How:    "renew.New with a zero Config, and renew.NewTransport; a Manager for many",
	Open: func(fetch Fetch, s Settings) Source {
		cfg := renew.Config{FlightTimeout: s.Timeout}
		if s.Seed != 0 {
			cfg.Rand = rand.New(rand.NewPCG(s.Seed, s.Seed)).Float64
		}
		ts := must(renew.New(renewSource(fetch), cfg))
		return simple{renewReader{ts}, func(base http.RoundTripper, origin string) http.RoundTripper {
			return must(renew.NewTransport(ts, renew.TransportConfig{Origins: []string{origin}, Base: base}))
		}, func() { closeWithin(ts) }}
	},
	Crowd: func(fetch Fetch, s Settings, n int) Crowd {
		// All are read at once: the pace at which that asks the issuer is not what is measured.
		m := must(renew.NewManager(renew.Config{Endpoint: "https://issuer.example/token", Rate: budget.Rate{PerSecond: -1}}))
		c := &renewCrowd{manager: m, list: make([]*renew.TokenSource, n)}
		src := renewSource(fetch)
		for i := range c.list {
			c.list[i] = must(m.Add(fmt.Sprint("tenant-", i), src, renew.Config{}))
		}
		return c
	},
}

func renewSource(fetch Fetch) renew.Source {
	return renew.SourceFunc(func(ctx context.Context) (*renew.Token, error) {
		g, err := fetch(ctx)
		if err != nil {
			return nil, err
		}
		return &renew.Token{Value: renew.NewSecret(g.Text), Expiry: g.Expiry}, nil
	})
}

type renewReader struct{ *renew.TokenSource }

func (r renewReader) Read(ctx context.Context) error {
	_, err := r.TokenSource.Token(ctx)
	return err
}

func (r renewReader) Token(ctx context.Context) (string, error) {
	t, err := r.TokenSource.Token(ctx)
	if err != nil {
		return "", err
	}
	return t.Value.Reveal(), nil
}

type renewCrowd struct {
	manager *renew.Manager
	list    []*renew.TokenSource
}

func (c *renewCrowd) Read(i int) error {
	_, err := c.list[i].Token(context.Background())
	return err
}

func (c *renewCrowd) Close() { closeWithin(c.manager) }

// Generation returns how many tokens the i-th has had.
func (c *renewCrowd) Generation(i int) uint64 {
	t, err := c.list[i].Token(context.Background())
	if err != nil {
		return 0
	}
	return t.Generation()
}

// closeWithin does not wait for calls that hang on purpose.
func closeWithin(c interface{ Close(context.Context) error }) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = c.Close(ctx) // what still runs ends with its fetch
}

// must is for configurations that are written here.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
