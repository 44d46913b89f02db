package signing

import (
	"context"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/budget"
	"github.com/seed-f29168f7/renew/clock"
	"github.com/seed-f29168f7/renew/sources/internal/challenge"
)

// maxSkew is how far the server's Date may be from our clock before timestamps follow the server. Verifiers
// mostly allow 5 minutes.
const maxSkew = time.Minute

// Retry decides whether a signer replays after a 401, and keeps what it learned of the server's clock. The
// zero Retry is ready; it is safe for concurrent use and does not block.
type Retry struct {
	own  budget.Budget
	skew atomic.Int64 // how far the server's clock is ahead of ours, as its last refusal said
}

// Follow notes how far the server's Date is from ours.
func (r *Retry) Follow(h http.Header, now clock.Instant) {
	date, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		return
	}
	ahead := date.Sub(now.Wall)
	if ahead.Abs() < maxSkew {
		ahead = 0
	}
	r.skew.Store(int64(ahead.Truncate(time.Second)))
}

// Wall is the time to sign with: ours, or the server's where that is known to differ.
func (r *Retry) Wall(now clock.Instant) time.Time {
	return now.Wall.Add(time.Duration(r.skew.Load()))
}

// Allow reports whether there may be a replay, and spends a unit of b for it; b nil means the Retry's own budget. It is no when
// ctx has ended. Where no unit is left, the error is a *renew.BudgetError.
func (r *Retry) Allow(ctx context.Context, b *budget.Budget, now clock.Instant) (bool, error) {
	if ctx.Err() != nil {
		return false, nil
	}
	if b == nil {
		b = &r.own
	}
	if at, ok := b.Reserve(now.Mono); !ok {
		return false, &renew.BudgetError{RetryAt: now.Wall.Add(at - now.Mono)}
	}
	// At once: a replay costs its unit whatever becomes of it.
	b.Spend(now.Mono)
	return true, nil
}

// The codes with which our verifiers say why they refuse.
const (
	CodeReplayed  = "replayed"          // the same signature came before
	CodeTime      = "time"              // signed too long ago, or in the future
	CodeSignature = "invalid_signature" // anything else
)

// Mendable reports whether a new signature with the same key may be taken and does no harm: no challenge of that auth-scheme says that the
// signature is wrong. One that came before has been served: then it is for requests that may be served twice.
func Mendable(req *http.Request, resp *http.Response, scheme string) bool {
	all, _ := challenge.Parse(resp.Header.Values("WWW-Authenticate")) // what cannot be read says nothing
	return !slices.ContainsFunc(all, func(c challenge.Challenge) bool {
		code, _ := c.Params.Get("error")
		return c.Is(scheme) && (code == CodeSignature || code == CodeReplayed && !repeatable(req))
	})
}

// repeatable reports whether net/http too sends a request twice, when a connection dies: those that change nothing, and those that
// the server tells apart.
func repeatable(req *http.Request) bool {
	switch req.Method {
	case "", http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return true
	}
	return req.Header.Get("Idempotency-Key") != "" || req.Header.Get("X-Idempotency-Key") != ""
}
