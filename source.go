package renew

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// TokenSource keeps one credential alive: it issues it at the first read,
// reissues it by timer before it expires, refreshes it once when a server has
// refused it, and stops before it locks the account. All its methods are safe
// for concurrent use. [New] and [Manager.Add] make one; [TokenSource.Close] ends it.
type TokenSource struct {
	// cur is the token that readers take without a look at the clock, or nil.
	// Timers withdraw it at its deadline; flights publish it (R1).
	cur atomic.Pointer[Token]
	// checked is the same under Config.CheckOnRead: readers look at the clock first.
	checked atomic.Pointer[Token]

	// These never change.
	set  *settings // shared between TokenSources that are configured alike
	src  Source
	name string

	mu sync.Mutex // guards engine; not held across a call of src, a hook, a log or a wait
	engine
}

// Token returns a usable token: one that no server has refused and that is not
// past its deadline. While there is one it returns at once: one atomic load, no
// lock, no clock reading.
//
// Without one it starts a flight, or waits for the one that runs, or for the next one when that starts within
// the flight timeout and within ctx; otherwise it fails at once, and the error says when the next attempt is. ctx ends the wait of
// this caller and nothing else; values of ctx do not reach the Source.
//
// Errors: *IssueError, *BudgetError (ErrBudgetSpent), ErrInteractionRequired,
// ErrHung, ErrClosed, or the cause of ctx's end together with the last failure.
func (ts *TokenSource) Token(ctx context.Context) (t *Token, err error) {
	// In this form the compiler puts it into its callers.
	if t = ts.cur.Load(); t == nil {
		t, err = ts.slowToken(ctx)
	}
	return t, err
}

func (ts *TokenSource) slowToken(ctx context.Context) (*Token, error) {
	if t := ts.checked.Load(); t != nil && !t.deadline.past(ts.now()) {
		return t, nil
	}
	return ts.obtain(ctx, ts.set.flightTimeout)
}

// Source obtains one credential from an issuer. It keeps no cache, does not
// retry and has no schedule: a [TokenSource] has those.
//
// A TokenSource never calls its Source twice at once, except that a call which
// ignored the end of its ctx may still be running (R8). Issue should return
// soon after ctx ends. The Token it returns is copied, so a Source may return
// the same pointer again.
//
// A Source says what an error means by returning an [*IssueError]; any other
// error is taken as transient. [ErrInteractionRequired] says that this Issue
// cannot be done without a person.
//
// A Source that wraps another one should have a method Unwrap() Source: the
// optional interfaces below are looked for along that chain, outermost first.
type Source interface {
	Issue(ctx context.Context) (*Token, error)
}

// SourceFunc makes a Source of a function.
type SourceFunc func(ctx context.Context) (*Token, error)

// Issue implements Source.
func (f SourceFunc) Issue(ctx context.Context) (*Token, error) { return f(ctx) }

// Reissuer is a Source that can trade a live token, or its refresh token, for
// the next one. live is a token that this Source issued before; it may be past
// its deadline when it has a refresh token.
type Reissuer interface {
	Source
	Reissue(ctx context.Context, live *Token) (*Token, error)
}

// Revoker is a Source that can tell the issuer that a token is no longer wanted.
// It is called by Close when Config.RevokeOnClose is set.
type Revoker interface {
	Revoke(ctx context.Context, t *Token) error
}

// Authorizer is a Source whose tokens go on a request in a form of their own.
// req is a copy that may be changed, except that its URL is shared with the
// caller's request: replace it, do not write through it. Without an Authorizer
// the request gets Authorization: <Type> <Value>.
type Authorizer interface {
	Authorize(req *http.Request, t *Token) error
}

// RefusalJudge is a Source that knows which 401s are about its token. Refuses reports whether resp refuses t;
// where it does not, the 401 goes to the caller and t stays in service. Without a RefusalJudge every 401
// refuses the token. It may read the status and header of resp, must not block, and may be called by several
// goroutines at once.
type RefusalJudge interface {
	Refuses(t *Token, resp *http.Response) bool
}

// Validator is a Source, or another part of a configuration, that can be
// checked before it is used. New and Add call it.
type Validator interface {
	Validate() error
}

// Describer is a Source that knows something about itself. Describe is called
// often, by any goroutine; it must be cheap and say the same each time.
type Describer interface {
	Describe() Traits
}

// Traits is what a Source knows about itself. The zero value says nothing.
type Traits struct {
	// Name says what the Source is, for errors and Status: "oauth2 client_credentials".
	// Empty means the name of its Go type.
	Name string
	// Timeout is how long one flight may take, where the default of 30 s is
	// wrong (a person who approves a login needs minutes).
	Timeout time.Duration
	// Interactive says that Issue needs a person: no timer starts it, and it is never tried twice.
	Interactive bool
	// Endpoint is the issuer's endpoint, the unit of pacing. Empty means the Source itself.
	Endpoint string
	// Account is the unit of lock-out at the endpoint. Within a Manager, TokenSources with one non-empty
	// account at one endpoint share a failure budget and the pauses that a 429 asks for. Name the endpoint too: without
	// one each Source is its own.
	Account string
	// InputVersion, when not nil, returns a number that changes when the long-term
	// credential (a file, a secret) has changed: a refusal for good ends then.
	// It is called at each flight, and by callers after a refusal: by several goroutines at once. It must not
	// block and must not call the TokenSource.
	InputVersion func() uint64
	// WatchInput says that the input is written by others at any time, as a file is: while there is a token, or a failure,
	// InputVersion is called at each look of the watcher (Config.WatchEvery), and a change makes the next attempt due at once, as one
	// of the schedule. It needs InputVersion.
	WatchInput bool
}

// as finds the first T along the chain of wrapped Sources.
func as[T any](src Source) (T, bool) {
	for s := src; s != nil; {
		if t, ok := s.(T); ok {
			return t, true
		}
		w, ok := s.(interface{ Unwrap() Source })
		if !ok {
			break
		}
		s = w.Unwrap()
	}
	var zero T
	return zero, false
}
