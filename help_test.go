package renew

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-f29168f7/renew/clock"
)

// script is a Source that answers as it was told, one reply a call of Issue; the
// last reply serves all further calls. It keeps a list of its calls, and notes when it
// was called while another call ran that had not been told to end (R6).
type script struct {
	traits Traits
	issues []reply

	mu       sync.Mutex // guards all below
	calls    []scripted
	made     [publishHeld]int // calls, by step
	running  map[int]context.Context
	breaches []string
}

// reply is how one call ends. n numbers the calls of the script, from 1 up.
type reply func(ctx context.Context, n int) (*Token, error)

// scripted is one call that was made.
type scripted struct {
	step step
	live *Token // what a Reissue was given
	at   time.Time
	ctx  context.Context
}

func scriptOf(issues ...reply) *script { return &script{issues: issues} }

func (s *script) Issue(ctx context.Context) (*Token, error) {
	return s.play(ctx, scripted{step: issue}, s.issues)
}

func (s *script) Describe() Traits { return s.traits }

// reissuing is a script that can also Reissue.
type reissuing struct {
	*script
	reissues []reply
}

func (s reissuing) Reissue(ctx context.Context, live *Token) (*Token, error) {
	return s.play(ctx, scripted{step: reissue, live: live}, s.reissues)
}

func (s *script) play(ctx context.Context, c scripted, replies []reply) (*Token, error) {
	c.at, c.ctx = time.Now(), ctx
	s.mu.Lock()
	s.calls = append(s.calls, c)
	s.made[c.step]++
	n, nth := len(s.calls), s.made[c.step]
	for other, its := range s.running {
		if its.Err() == nil {
			s.breaches = append(s.breaches, fmt.Sprintf("call %d started while call %d ran", n, other))
		}
	}
	if s.running == nil {
		s.running = make(map[int]context.Context)
	}
	s.running[n] = ctx
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.running, n)
	}()
	return replies[min(nth, len(replies))-1](ctx, n)
}

// count returns how many calls there were.
func (s *script) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.calls)
}

// call returns the n-th call, from 1 up.
func (s *script) call(n int) scripted {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[n-1]
}

// steps returns the calls in a word: I for Issue, R for Reissue.
func (s *script) steps() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var b []byte
	for _, c := range s.calls {
		b = append(b, "IR"[c.step])
	}
	return string(b)
}

// pauses returns the times between the starts of calls.
func (s *script) pauses() []time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []time.Duration
	for i := 1; i < len(s.calls); i++ {
		list = append(list, s.calls[i].at.Sub(s.calls[i-1].at))
	}
	return list
}

// named returns a token whose text says which call it came from.
func namedToken(n int) *Token { return &Token{Value: NewSecret(fmt.Sprintf("token-%d", n))} }

// gives replies with a token of that life.
func gives(life time.Duration) reply {
	return func(_ context.Context, n int) (*Token, error) {
		t := namedToken(n)
		t.Life = life
		return t, nil
	}
}

// givesRefresh replies with a token of that life and a refresh token.
func givesRefresh(life time.Duration) reply {
	return func(_ context.Context, n int) (*Token, error) {
		t := namedToken(n)
		t.Life, t.Refresh = life, NewSecret(fmt.Sprintf("refresh-%d", n))
		return t, nil
	}
}

// returns replies with exactly that.
func returns(t *Token, err error) reply {
	return func(context.Context, int) (*Token, error) { return t, err }
}

// fails replies with an error of that kind.
func fails(k Kind) reply { return returns(nil, &IssueError{Source: "script", Kind: k}) }

// failsWith replies with err.
func failsWith(err error) reply { return returns(nil, err) }

// slow gives r after d, unless ctx ends first.
func slow(d time.Duration, r reply) reply {
	return func(ctx context.Context, n int) (*Token, error) {
		select {
		case <-time.After(d):
			return r(ctx, n)
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// deaf gives r after d, whatever becomes of ctx.
func deaf(d time.Duration, r reply) reply {
	return func(ctx context.Context, n int) (*Token, error) {
		time.Sleep(d)
		return r(ctx, n)
	}
}

// times returns r n times.
func times(n int, r reply) []reply {
	list := make([]reply, n)
	for i := range list {
		list[i] = r
	}
	return list
}

// The errors that scripts answer with.
var (
	faultDial  = &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}
	faultReset = &net.OpError{Op: "read", Net: "tcp", Err: errors.New("connection reset by peer")}
	forGood    = &IssueError{Source: "script", Kind: Refused, Code: "invalid_client", Permanent: true}
)

// seeded returns a Config.Rand whose run can be repeated.
func seeded(seed uint64) func() float64 { return rand.New(rand.NewPCG(seed, 1)).Float64 }

// same is a Config.Rand that always draws u.
func same(u float64) func() float64 { return func() float64 { return u } }

// open makes a TokenSource that is checked and closed, and its script looked through, at the end of the test.
func open(t testing.TB, src Source, cfg Config) *TokenSource {
	t.Helper()
	ts := start(t, src, cfg)
	t.Cleanup(func() {
		if !ts.can.has(needsPerson) { // then there are faults after which nothing starts by itself
			checkTokenSource(t, ts)
		}
		if s := scriptIn(src); s != nil {
			assert.Empty(t, s.breaches, "R6: one flight at a time")
		}
	})
	return ts
}

// scriptIn finds the script in a Source.
func scriptIn(src Source) *script {
	switch s := src.(type) {
	case *script:
		return s
	case reissuing:
		return s.script
	}
	return nil
}

// asked is one Token, Wait or Reject on a goroutine of its own. Its answer is there
// once done has said so.
type asked struct {
	ended chan struct{}
	reply struct {
		tok  *Token
		err  error
		took time.Duration
	}
	tok  *Token
	err  error
	took time.Duration
}

// ask calls f on a goroutine of its own, in a bubble.
func ask(f func() (*Token, error)) *asked {
	a, began := &asked{ended: make(chan struct{})}, time.Now()
	go func() {
		defer close(a.ended)
		a.reply.tok, a.reply.err = f()
		a.reply.took = time.Since(began)
	}()
	return a
}

// done lets all work settle, and reports whether the answer has come.
func (a *asked) done() bool {
	synctest.Wait()
	select {
	case <-a.ended:
		a.tok, a.err, a.took = a.reply.tok, a.reply.err, a.reply.took
		return true
	default:
		return false
	}
}

// issueErrorIn returns the *IssueError within err.
func issueErrorIn(t testing.TB, err error) *IssueError {
	t.Helper()
	ie, ok := errors.AsType[*IssueError](err)
	require.Truef(t, ok, "want an *IssueError, have %v", err)
	return ie
}

// bubble runs f in a synctest bubble, as a subtest with a name.
func bubble(t *testing.T, name string, f func(t *testing.T)) {
	t.Helper()
	t.Run(name, func(t *testing.T) { synctest.Test(t, f) })
}

// newFake returns a Fake for a bubble: work settles before it moves on.
func newFake() *clock.Fake {
	fake := clock.NewFake(time.Time{})
	fake.Settle = synctest.Wait
	return fake
}
