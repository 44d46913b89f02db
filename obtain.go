package renew

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/seed-f29168f7/renew/clock"
)

// errPaused is the reason when nothing failed, but the issuer's endpoint wants a pause.
var errPaused = &IssueError{Source: "pacing", Kind: Throttled, Err: errors.New("the endpoint is called at its highest rate, or asked for a pause")}

// Wait is Token for start-up: it waits through back-off, pacing and a spent
// budget until ctx ends, and then returns the last failure together with the
// cause of ctx's end. A refusal for good, a wrong configuration, the need for a person, or Close
// ends it at once.
func (ts *TokenSource) Wait(ctx context.Context) (*Token, error) {
	var last error
	for {
		t, err := ts.obtain(ctx, never)
		if err == nil {
			return t, nil
		}
		if ctx.Err() != nil {
			if last != nil && !errors.Is(err, last) {
				err = fmt.Errorf("%w; %w", err, last)
			}
			return nil, err
		}
		ie, _ := errors.AsType[*IssueError](err)
		if errors.Is(err, ErrClosed) || errors.Is(err, ErrInteractionRequired) || ie != nil && (ie.Permanent || ie.Kind == Invalid) {
			return nil, err
		}
		last = err
	}
}

// Reject says that a server refused t, and returns the token to use instead. Only if t is the
// current token is it taken out of service and replaced, for a unit of the failure budget; however many holders reject it, there is one
// flight. A token that is no longer current costs nothing. Reject waits as Token does.
//
// When the token cannot be replaced now (the budget is spent: *BudgetError; the issuer refused for good; a
// person is needed) it stays in service until its deadline, and the error says why.
func (ts *TokenSource) Reject(ctx context.Context, t *Token) (*Token, error) {
	var flying waiting
	ts.mu.Lock()
	ts.noticeInput()
	now := ts.now()
	ts.settle(now)
	if !ts.closed && ts.serving && ts.live.is(t) {
		if r := ts.trouble(); r.counted != ts.live {
			r.counted = ts.live
			ts.count.rejects++
		}
		err := ts.reject(now)
		ts.settle(now)
		if err != nil {
			ts.mu.Unlock()
			return nil, err
		}
		if ts.flying() {
			flying = ts.flight.wait() // now: it may be over, and remembered, before obtain looks
		}
	}
	ts.mu.Unlock()
	var got *Token
	var err error
	if flying.result != nil {
		got, err = ts.await(ctx, flying)
	} else {
		got, err = ts.obtain(ctx, ts.set.flightTimeout)
	}
	if err == nil && got.is(t) {
		// It is in service still, or again: it cannot be replaced.
		ts.mu.Lock()
		defer ts.mu.Unlock()
		now := ts.now()
		if until, why := ts.blocked(now, true); !ts.spent(now) && why != nil {
			return nil, ts.refusal(now, until, why)
		}
		return nil, ts.budgetError(now)
	}
	return got, err
}

// budgetError says that the budget is spent, and until when.
func (ts *TokenSource) budgetError(now clock.Instant) *BudgetError {
	at, _ := ts.budget().RetryAt(now.Mono)
	e := &BudgetError{Name: ts.name, RetryAt: wallAt(now, max(at, now.Mono))}
	if last := ts.failing(); last != nil {
		e.Err = last
	}
	return e
}

// reject takes live out of service, unless it cannot be replaced, or the running
// flight is the only hope.
func (ts *TokenSource) reject(now clock.Instant) error {
	spent := ts.spent(now)
	if ts.flying() {
		if spent {
			return nil
		}
	} else {
		until, why := ts.blocked(now, true)
		if until == never || ts.rare != nil && ts.rare.final && now.Mono < ts.retryAt() {
			return ts.refusal(now, until, why)
		}
		if spent {
			return ts.budgetError(now)
		}
	}
	ts.rejected = true
	ts.trouble().owing = true
	ts.withdraw(now)
	return nil
}

// obtain returns the token in service, or waits for one: for the flight that
// runs, or for one that starts within patience from now.
func (ts *TokenSource) obtain(ctx context.Context, patience time.Duration) (*Token, error) {
	var waited *flight
	end, ends := ctx.Deadline() // foreign code: not under mu
	ts.mu.Lock()
	ts.noticeInput()
	if patience != never {
		patience += ts.now().Mono // a start that is put off again and again is not waited for longer
	}
	for {
		now := ts.now()
		ts.noteRead(now)
		ts.settle(now)
		switch {
		case ts.closed:
			ts.mu.Unlock()
			return nil, ErrClosed
		case waited != nil && waited.over:
			ts.mu.Unlock()
			return waited.token, waited.err
		case ts.serving:
			t := ts.live
			ts.mu.Unlock()
			return t, nil
		}
		var until time.Duration
		var why error
		if !ts.flying() {
			until, why = ts.launch(now, true)
			ts.settle(now)
			if ts.serving {
				continue
			}
		}
		if ts.flying() {
			w := ts.flight.wait()
			ts.mu.Unlock()
			return ts.await(ctx, w)
		}
		if why := ts.impatient(end, ends, now, until, patience, why); why != nil {
			ts.mu.Unlock()
			return nil, why
		}
		f := ts.pend()
		f.waiters++
		f.promised = until
		wake := f.wake
		ts.settle(now)
		ts.mu.Unlock()
		ended := false
		select {
		case <-wake:
		case <-ctx.Done():
			ended = true
		}
		ts.mu.Lock()
		f.waiters--
		if ended {
			ended := ts.ctxError(ctx)
			ts.settle(ts.now())
			ts.mu.Unlock()
			return nil, ended
		}
		waited = f
	}
}

// impatient returns the error of a caller who does not wait for a flight that
// starts at until, or nil. Its patience lasts until then.
func (ts *TokenSource) impatient(end time.Time, ends bool, now clock.Instant, until, patience time.Duration, why error) error {
	hard := ts.rare != nil && ts.rare.final && why != error(errPaused)
	if errors.Is(why, ErrInteractionRequired) || hard {
		return ts.refusal(now, until, why)
	}
	if patience == never {
		return nil
	}
	if until > patience {
		return ts.refusal(now, until, why)
	}
	if ends && ts.set.hub.clock.Until(end) < until-now.Mono {
		return ts.refusal(now, until, why)
	}
	return nil
}

// refusal dresses the reason why no attempt starts before until.
func (ts *TokenSource) refusal(now clock.Instant, until time.Duration, why error) error {
	switch e := why.(type) {
	case *IssueError:
		c := *e
		c.NextAttempt, c.relayed = wallAt(now, max(until, now.Mono)), true
		return &c
	case *BudgetError:
		return e
	}
	if ie := ts.failing(); ie != nil {
		return fmt.Errorf("%w; the last attempt: %w", why, ie)
	}
	return why
}

// waiting is what a caller who has joined a flight waits for.
type waiting struct {
	result <-chan singleflight.Result
	served <-chan struct{}
}

// wait joins the flight. mu is held.
func (f *flight) wait() waiting { return waiting{f.join(), f.served} }

// await waits for a flight, or for a token that comes from elsewhere; ctx ends
// the wait and not the flight.
func (ts *TokenSource) await(ctx context.Context, w waiting) (*Token, error) {
	select {
	case r := <-w.result:
		t, _ := r.Val.(*Token)
		return t, r.Err
	case <-w.served:
		return ts.obtain(ctx, ts.set.flightTimeout)
	case <-ctx.Done():
	}
	select {
	case r := <-w.result: // both: the token is there
		t, _ := r.Val.(*Token)
		return t, r.Err
	default:
	}
	ts.mu.Lock()
	defer ts.mu.Unlock()
	return nil, ts.ctxError(ctx)
}

// ctxError says that a caller's ctx ended, with the last failure if there is one.
func (ts *TokenSource) ctxError(ctx context.Context) error {
	err := fmt.Errorf("renew: %swaiting for a token: %w", named(ts.name), ctx.Err())
	if cause := context.Cause(ctx); cause != nil && !errors.Is(ctx.Err(), cause) {
		err = fmt.Errorf("%w: %w", err, cause)
	}
	if last := ts.failing(); last != nil {
		err = fmt.Errorf("%w; the last attempt: %w", err, last)
	}
	return err
}

// Reset is for an operator: it forgets failures and refusals, and tries at once
// if there was trouble or the last token is gone. The attempt waits for no
// pause and costs no unit of the budget, but gives none back. With too many hung calls it
// allows one more. It does not block; an Issue that needs a person is not started by it.
func (ts *TokenSource) Reset() {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if ts.closed || ts.rare == nil && (ts.serving || ts.live == nil) {
		return
	}
	now := ts.now()
	r := ts.trouble()
	troubled := r.err != nil || r.refused > 0
	r.err, r.final, r.person, r.failures, r.owing, r.gate = nil, false, false, 0, false, 0
	r.refused, r.refusedToken, r.reissueOff = 0, nil, 0
	if r.abandoned >= maxAbandoned {
		r.allowance = r.abandoned - maxAbandoned + 1
	}
	if ts.rejected {
		r.same = true
	}
	if ts.live != nil && ts.serving && !troubled || ts.live == nil && !troubled {
		ts.settle(now)
		return
	}
	if !ts.flying() {
		r.force = true
		ts.launch(now, false)
	}
	ts.settle(now)
}

// ask starts a flight if there is no usable token, and waits for nothing.
func (ts *TokenSource) ask() {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	now := ts.now()
	ts.noteRead(now)
	ts.settle(now)
	if !ts.closed && !ts.serving && !ts.flying() {
		if _, why := ts.launch(now, true); why == errPaused && !ts.can.has(needsPerson) {
			ts.pend().asked = true
		}
		ts.settle(now)
	}
}

// ready returns nil if there is a usable token, or why there is none.
func (ts *TokenSource) ready() error {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	now := ts.now()
	ts.settle(now)
	switch {
	case ts.closed:
		return ErrClosed
	case ts.serving:
		return nil
	case ts.flying():
		if err := ts.failing(); err != nil {
			return err
		}
		return errNotYet
	}
	until, why := ts.blocked(now, true)
	if until > now.Mono {
		return ts.refusal(now, until, why)
	}
	if err := ts.failing(); err != nil {
		return err
	}
	return errNotYet
}

var errNotYet = errors.New("renew: no token has been issued yet")

// guard calls f, on a goroutine of its own, and makes an error of its panic or
// runtime.Goexit.
func guard(in string, f func() error) (err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		err = &PanicError{In: in} // what runtime.Goexit leaves
		defer func() {
			if v := recover(); v != nil {
				err = newPanicError(in, v)
			}
		}()
		err = f()
	}()
	<-done
	return err
}

// isNil reports whether src is nil, or an interface that holds a nil pointer or func.
func isNil(src Source) bool {
	if src == nil {
		return true
	}
	v := reflect.ValueOf(src)
	switch v.Kind() {
	case reflect.Pointer, reflect.Func, reflect.Map, reflect.Chan, reflect.Slice:
		return v.IsNil()
	}
	return false
}
