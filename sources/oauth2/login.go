package oauth2

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/clock"
	"github.com/seed-f29168f7/renew/sources/internal/tokenendpoint"
)

const (
	loginTimeout   = 10 * time.Minute // a person's time
	requestTimeout = 30 * time.Second // of one request, which must not take the person's time
	ownMargin      = 5 * time.Second  // what a flight gets beyond a login, so that the Source's own error gets out
)

var (
	errLoginTimeout   = errors.New("nobody finished the login in time: log in again")
	errRequestTimeout = errors.New("the server did not answer in time")
)

// timeoutOf returns how long a login may take.
func timeoutOf(configured time.Duration) time.Duration {
	if configured == 0 {
		return loginTimeout
	}
	return configured
}

// checkTimeout reports a Timeout that cannot be.
func (c *client) checkTimeout(d time.Duration) error {
	if d < 0 || d > tokenendpoint.MaxLife {
		return &renew.ConfigError{Field: c.typ + ".Timeout", Reason: fmt.Sprintf("is %v: it must be positive and at most %v, or 0 for %v", d, tokenendpoint.MaxLife, loginTimeout)}
	}
	return nil
}

// limited returns a context that ends with ctx, or after d by cause.
func limited(ctx context.Context, clk clock.Clock, d time.Duration, cause error) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	timer := clk.AfterFunc(d, func() { cancel(cause) })
	return ctx, func() {
		timer.Stop()
		cancel(nil)
	}
}

// pause waits for d, or until ctx ends; then it returns why.
func pause(ctx context.Context, clk clock.Clock, d time.Duration) error {
	done := make(chan struct{})
	timer := clk.AfterFunc(d, func() { close(done) })
	defer timer.Stop()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// notShown is the error of a function that shows a login to a person and failed. Its text is kept, unless it holds the
// secret, as that of a command does which quotes what it was called with.
func notShown(function string, err error, secret string) error {
	if strings.Contains(err.Error(), secret) {
		return errors.New("the function " + function + " failed with an error that is not shown, since it holds what is for the person alone")
	}
	return fmt.Errorf("the function %s: %w", function, err)
}

// reissue trades the refresh token of a login. It never asks the person, and takes no longer than requestTimeout, since a
// flight of this Source has a person's time.
func (c *client) reissue(ctx context.Context, used *ledger, live *renew.Token) (*renew.Token, error) {
	var why error
	switch {
	case live == nil || live.Refresh.IsZero():
		why = errNoRefresh
	case used.traded(live.Refresh):
		why = errRotated
	default:
		ctx, stop := limited(ctx, c.time(), requestTimeout, errRequestTimeout)
		defer stop()
		return c.trade(ctx, used, live.Refresh, false)
	}
	e := c.fail(renew.Refused, false, why)
	e.Unsent = true
	return nil, e
}

// waited adds the person's time to the life of a token: a TokenSource counts Life from the start of Issue, and the server counted
// from the last request. Without it a login that took longer than the token lives would fail.
func waited(tok *renew.Token, d time.Duration) *renew.Token {
	if tok.Life > 0 {
		tok.Life += d
	}
	return tok
}
