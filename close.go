package renew

import (
	"context"
	"errors"
	"fmt"
)

// Close ends the TokenSource: it stops the timer, ends the flight, waits for it and for
// calls of the Source that were abandoned, and revokes the tokens if Config.RevokeOnClose asks for it. From then on
// everything answers ErrClosed. Close may be called again and by several goroutines; each call waits.
//
// ctx bounds the wait. When it ends first, Close returns a *CloseError that counts the
// calls that still run; revocation then goes on by itself for no longer than a flight may take.
func (ts *TokenSource) Close(ctx context.Context) error {
	ts.shut()
	err := ts.drain(ctx)
	if ts.name == "" { // made by New: the hub is its own
		ts.set.hub.close()
	}
	return errors.Join(err, ts.set.hub.flush(ctx))
}

// shut closes the TokenSource without waiting.
func (ts *TokenSource) shut() {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if ts.closed {
		return
	}
	ts.closed, ts.serving = true, false
	ts.expose()
	if ts.timer != nil {
		ts.timer.Stop()
	}
	ts.watched(false)
	ts.forgetInput()
	if f := ts.flight; f != nil {
		if f.running {
			f.cancel(ErrClosed)
		} else {
			f.wakeWaiters()
			ts.flight = nil
		}
	}
	ts.report(ts.now())
	ts.set.hub.leave(ts.lane())
}

// drain waits for the calls in progress, then revokes.
func (ts *TokenSource) drain(ctx context.Context) error {
	var ended error
	ts.mu.Lock()
	for ts.busy > 0 && ended == nil {
		r := ts.trouble()
		if r.idle == nil {
			r.idle = make(chan struct{})
		}
		idle := r.idle
		ts.mu.Unlock()
		select {
		case <-idle:
		case <-ctx.Done():
			ended = context.Cause(ctx)
		}
		ts.mu.Lock()
	}
	tokens := ts.toRevoke() // before another Close can see that nothing runs
	running := int(ts.busy)
	if len(tokens) > 0 {
		ts.busy++
	}
	ts.mu.Unlock()
	if len(tokens) == 0 {
		if ended != nil {
			return &CloseError{Running: running, Err: ended}
		}
		return nil
	}
	result := make(chan error, 1)
	go func() {
		err := ts.revoke(tokens)
		ts.mu.Lock()
		ts.done()
		ts.mu.Unlock()
		result <- err
	}()
	select {
	case err := <-result:
		if err = errors.Join(ended, err); err != nil {
			return &CloseError{Running: running, Err: err}
		}
		return nil
	case <-ctx.Done():
		return &CloseError{Running: running + 1, Err: context.Cause(ctx)}
	}
}

// toRevoke returns the tokens that are to be revoked, once.
func (ts *TokenSource) toRevoke() []*Token {
	if !ts.set.revokeOnClose || ts.live == nil && ts.rare == nil {
		return nil
	}
	r := ts.trouble()
	if r.revoked {
		return nil
	}
	r.revoked = true
	if !ts.can.has(revokes) {
		return nil
	}
	var tokens []*Token
	if ts.live != nil {
		tokens = append(tokens, ts.live)
	}
	if r.held != nil {
		tokens = append(tokens, r.held.token)
	}
	return tokens
}

// revokeLate revokes a token that came after Close had taken the others. mu is held.
func (ts *TokenSource) revokeLate(t *Token) {
	if !ts.set.revokeOnClose {
		return
	}
	ts.busy++ // a Close that still waits, waits for this too
	go func() {
		_ = ts.revoke([]*Token{t}) // nobody is left to hear of it
		ts.mu.Lock()
		defer ts.mu.Unlock()
		ts.done()
	}()
}

// revoke revokes the tokens, on a context of its own that lasts as long as a flight may.
func (ts *TokenSource) revoke(tokens []*Token) (err error) {
	r, ok := as[Revoker](ts.src)
	if !ok {
		return nil
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	timer := ts.set.hub.clock.AfterFunc(ts.set.flightTimeout, func() { cancel(errFlightTimeout) })
	defer timer.Stop()
	for _, t := range tokens {
		err = errors.Join(err, revokeOne(ctx, r, t))
	}
	return err
}

// revokeOne survives a panic in Revoke.
func revokeOne(ctx context.Context, r Revoker, t *Token) error {
	if err := guard("Revoke", func() error { return r.Revoke(ctx, t) }); err != nil {
		host, cause := withoutURL(err)
		if host != "" {
			return fmt.Errorf("revoke at %s: %w", host, cause)
		}
		return fmt.Errorf("revoke: %w", cause)
	}
	return nil
}
