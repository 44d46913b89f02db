package toopher

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/clock"
)

// ErrNoAnswer says that a phone did not answer in time.
var ErrNoAnswer = errors.New("toopher: the phone did not answer in time")

// Poll says how to ask for an answer again and again. The zero Poll is ready for use.
type Poll struct {
	// Interval is the pause between a reply and the next request. Zero means 2 s; negative is an error.
	Interval time.Duration
	// Limit is when to give up, counted from the call. Zero means Toopher's advice: 90 s for an
	// authentication, 2 minutes for a pairing. Negative means that ctx alone ends it.
	Limit time.Duration
	// Back is the longest pause after 429s, 5xx and faults of the network. These double the pause each
	// time, and a longer Retry-After holds. Zero means 30 s; negative is an error.
	Back time.Duration
}

const (
	pollInterval        = 2 * time.Second
	pollBack            = 30 * time.Second
	authenticationLimit = 90 * time.Second
	pairingLimit        = 2 * time.Minute
)

// WaitForAuthentication asks for the answer to a request until there is one, granted or
// not. It backs off at 429s, 5xx and faults of the network, and stops at any other error. When the limit
// is reached, the error matches ErrNoAnswer; when ctx ends, it wraps its cause. Both wrap the last
// fault too, if the last request failed. It blocks all that time.
func (c *Client) WaitForAuthentication(ctx context.Context, requestID string, p Poll) (*Authentication, error) {
	return poll(ctx, c, p, authenticationLimit, func(ctx context.Context) (*Authentication, bool, error) {
		a, err := c.AuthenticationStatus(ctx, requestID)
		return a, err == nil && !a.Pending, err
	})
}

// WaitForPairing asks how a pairing is until the phone has answered: look at State
// then. A pairing of which the service does not say whether it is pending (Unclear) is asked for until
// it is Paired. Errors are as those of WaitForAuthentication.
func (c *Client) WaitForPairing(ctx context.Context, pairingID string, p Poll) (*Pairing, error) {
	return poll(ctx, c, p, pairingLimit, func(ctx context.Context) (*Pairing, bool, error) {
		pairing, err := c.PairingStatus(ctx, pairingID)
		if err != nil {
			return nil, false, err
		}
		state := pairing.State()
		return pairing, state == Paired || state == Unpaired, nil
	})
}

// Validate reports a negative time as a *renew.ConfigError.
func (p Poll) Validate() error {
	switch {
	case p.Interval < 0:
		return &renew.ConfigError{Field: "Poll.Interval", Reason: "is negative: it must be positive, or 0 for 2s"}
	case p.Back < 0:
		return &renew.ConfigError{Field: "Poll.Back", Reason: "is negative: it must be positive, or 0 for 30s"}
	}
	return nil
}

// poll calls ask until it is done.
func poll[T any](ctx context.Context, c *Client, p Poll, limit time.Duration, ask func(context.Context) (T, bool, error)) (T, error) {
	var none T
	if err := c.Validate(); err != nil {
		return none, err
	}
	if err := p.Validate(); err != nil {
		return none, err
	}
	p = p.filled(limit)
	ctx, stop := limited(ctx, c.clock(), p.Limit)
	defer stop()
	faults := 0
	for {
		got, done, err := ask(ctx)
		switch {
		case ctx.Err() != nil && !done:
			return none, ended(ctx, err)
		case done:
			return got, nil
		case err == nil:
			faults = 0
		case !passing(err):
			return none, err
		default:
			faults++
		}
		if pause(ctx, c.clock(), p.next(faults, err)) != nil {
			return none, ended(ctx, err)
		}
	}
}

// filled returns p with its defaults.
func (p Poll) filled(limit time.Duration) Poll {
	if p.Interval == 0 {
		p.Interval = pollInterval
	}
	if p.Back == 0 {
		p.Back = pollBack
	}
	if p.Limit == 0 {
		p.Limit = limit
	}
	return p
}

// next is how long to pause after so many faults running, the last of which was err.
func (p Poll) next(faults int, err error) time.Duration {
	if faults == 0 {
		return p.Interval
	}
	d := p.Interval
	for range faults {
		if d = 2 * d; d >= p.Back || d <= 0 {
			d = max(p.Back, p.Interval)
			break
		}
	}
	if e, ok := errors.AsType[*APIError](err); ok {
		d = max(d, e.RetryAfter)
	}
	return d
}

// passing reports whether a fault may pass by itself.
func passing(err error) bool {
	if e, ok := errors.AsType[*APIError](err); ok {
		return e.Status == 429 || e.Status >= 500
	}
	e, ok := errors.AsType[*renew.IssueError](err)
	return ok && e.Kind == renew.Transient
}

// limited returns a context that ends with ctx, or after limit, by ErrNoAnswer.
func limited(ctx context.Context, clk clock.Clock, limit time.Duration) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	if limit < 0 {
		return ctx, func() { cancel(nil) }
	}
	timer := clk.AfterFunc(limit, func() { cancel(ErrNoAnswer) })
	return ctx, func() {
		timer.Stop()
		cancel(nil)
	}
}

// ended is why ctx has ended, with the last fault if that says more.
func ended(ctx context.Context, last error) error {
	cause := context.Cause(ctx)
	if last == nil || errors.Is(last, cause) {
		return cause
	}
	return fmt.Errorf("%w; the last fault: %w", cause, last)
}
