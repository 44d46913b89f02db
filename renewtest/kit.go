package renewtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/clock"
)

// Harness is a Source ready to be tested, and the handles by which the kit makes its
// issuer misbehave. Only Source is required; what a nil handle would have tested
// is not tested, and the test's log says so. [Issuer.Harness] fills in all of it.
type Harness struct {
	// Source is a fresh Source whose issuer is up. It may implement the optional
	// interfaces of package renew, itself or further down a chain of Unwrap methods.
	Source renew.Source
	// Clock tells whether a token has expired. Nil means clock.Real{}. The kit's own pauses and
	// limits always run on clock.Real (in a bubble that is the bubble's time).
	Clock clock.Clock
	// Secrets are the long-term secrets that the Source holds. They must appear in no error and no dump,
	// and neither may the tokens.
	Secrets []string
	// SameTokenOK says that the Source may return the same token again: static tokens, files,
	// metadata servers. Such a Source may also return the same pointer again, and without
	// Hang it may do so though its ctx has ended.
	SameTokenOK bool
	// Serial says that two Issues at once may refuse each other: then the kit looks for data races
	// and panics only.
	Serial bool
	// Once says that Issue spends what it is given, so that only the first Issue works and later ones return
	// ErrInteractionRequired (a refresh token that rotates and that nothing stores). It implies Serial.
	Once bool
	// Live returns a token for Reissue and Revoke, where Issue needs a person whom the test cannot play.
	Live func(ctx context.Context) (*renew.Token, error)
	// Accepted reports whether the issuer would accept the token now.
	Accepted func(t *renew.Token) bool

	// From the call of one of these, the issuer fails in a way that may pass (500, a reset), asks for a
	// pause (429), refuses the long-term credentials, or does not answer, until Heal is called. They are for all
	// calls that the Source makes. Break and Refuse test most when their replies repeat the request, as Echo does.
	Break, Throttle, Refuse, Hang func()
	// Heal makes the issuer well again. It is required with any of the four.
	Heal func()
}

// Harness returns a Harness for a Source that asks this Issuer. Change what differs.
func (iss *Issuer) Harness(src renew.Source) Harness {
	fail := func(f Fault) func() {
		return func() {
			iss.Fail(f, -1)
			iss.FailRevoke(f, -1)
		}
	}
	return Harness{
		Source:   src,
		Clock:    iss.clk,
		Secrets:  []string{iss.ClientSecret()},
		Accepted: func(t *renew.Token) bool { return iss.Accepts(t.Value.Reveal()) },
		Break:    fail(Echo(500, "")),
		Throttle: fail(RetryAfter(429, 7*time.Second)),
		Refuse:   fail(Echo(401, "invalid_client")),
		Hang:     fail(Hang()),
		Heal:     iss.Heal,
	}
}

// RunSource tests that a Source keeps the rules, one subtest a rule or two. newSource is
// called for each of them; it ends with t.Cleanup what it starts. A failure says
// which rule of CONTRACT.md was broken, and how. Run it under the race detector.
//
// It waits in real time, most of it a few hundredths of a second for each subtest with a
// hanging issuer; only a Source that does not return costs 10 s.
func RunSource(t *testing.T, newSource func(t *testing.T) Harness) {
	t.Helper()
	for _, c := range checks() {
		t.Run(c.name, func(t *testing.T) {
			runCheck(t, c, newSource(t))
		})
	}
}

// RunSourceInBubble is RunSource with each subtest in a synctest bubble: a goroutine that
// the Source leaves behind fails the test in any case, and pauses take no time.
// The Source must not leave the process: give it the Client of an Issuer that newSource makes.
func RunSourceInBubble(t *testing.T, newSource func(t *testing.T) Harness) {
	t.Helper()
	for _, c := range checks() {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				runCheck(t, c, newSource(t))
			})
		})
	}
}

// reporter is what the kit needs of a *testing.T. The kit's own tests have another one.
type reporter interface {
	Helper()
	Logf(format string, args ...any)
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Skipf(format string, args ...any)
}

const (
	// patience is how long a Source may take to return after its ctx has ended. It is far
	// more than any needs, so that a busy machine fails no test.
	patience = 10 * time.Second
	// settling is how long the kit lets a call get under way before it ends its ctx.
	settling = 30 * time.Millisecond
	// callTimeout is how long a call may take, unless the Source's Traits say otherwise.
	callTimeout = 30 * time.Second
)

// errStopped is the cause with which the kit ends a ctx.
var errStopped = errors.New("renewtest: the kit ended this ctx")

// kit is one check at work on one Harness.
type kit struct {
	reporter
	h      Harness
	clk    clock.Clock // of the kit itself
	traits described
	tag    string // a profiler label on all goroutines that calls of the Source start

	tokens []string // values that were issued: secrets from then on
	told   map[string]bool
}

// runCheck runs one check, and then looks for goroutines.
func runCheck(r reporter, c check, h Harness) {
	r.Helper()
	if h.Source == nil {
		r.Fatalf("renewtest: Harness.Source is nil")
	}
	if h.Heal == nil && (h.Break != nil || h.Throttle != nil || h.Refuse != nil || h.Hang != nil) {
		r.Fatalf("renewtest: Harness.Heal is nil, though the harness can make the issuer fail")
	}
	if h.Clock == nil {
		h.Clock = clock.Real{}
	}
	k := &kit{reporter: r, h: h, clk: clock.Real{}, told: make(map[string]bool)}
	k.tag = fmt.Sprintf("%p", k)
	k.traits = k.describe()
	c.run(k)
	k.checkGoroutines()
}

// as finds the first T along the chain of wrapped Sources, as the engine does.
func as[T any](src renew.Source) (T, bool) {
	for src != nil {
		if t, ok := src.(T); ok {
			return t, true
		}
		w, ok := src.(interface{ Unwrap() renew.Source })
		if !ok {
			break
		}
		src = w.Unwrap()
	}
	var zero T
	return zero, false
}

// sleep waits for d of the kit's time.
func (k *kit) sleep(d time.Duration) {
	done := make(chan struct{})
	k.clk.AfterFunc(d, func() { close(done) })
	<-done
}

// call is one call of the Source's, on a goroutine of its own.
type call struct {
	k      *kit
	name   string // "Issue"
	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  clock.Timer
	done   chan struct{}

	// Written before done is closed.
	tok  *renew.Token
	err  error
	died string // how it ended, if it did not return
}

// start calls f. The ctx ends with errStopped by stop, or after callTimeout.
func (k *kit) start(name string, f func(ctx context.Context) (*renew.Token, error)) *call {
	c := &call{k: k, name: name, done: make(chan struct{})}
	c.ctx, c.cancel = context.WithCancelCause(context.Background())
	timeout := callTimeout
	if k.traits.Timeout > 0 {
		timeout = k.traits.Timeout
	}
	c.timer = k.clk.AfterFunc(timeout, func() { c.cancel(fmt.Errorf("renewtest: %s took longer than %v", name, timeout)) })
	go func() {
		defer close(c.done)
		returned := false
		defer func() {
			switch v := recover(); {
			case v != nil:
				c.died = fmt.Sprintf("panicked with a %T", v)
			case !returned:
				c.died = "called runtime.Goexit (t.FailNow does)"
			}
		}()
		labelled(k.tag, func() { c.tok, c.err = f(c.ctx) })
		returned = true
	}()
	return c
}

// finish waits until the call has returned, which it must soon after its ctx has ended.
func (c *call) finish() {
	c.k.Helper()
	defer c.cancel(errStopped)
	defer c.timer.Stop()
	late := make(chan struct{})
	select {
	case <-c.done:
	case <-c.ctx.Done():
		guard := c.k.clk.AfterFunc(patience, func() { close(late) })
		defer guard.Stop()
		select {
		case <-c.done:
		case <-late:
			if c.name == "Describe" {
				c.k.Fatalf("R7: Describe has not returned after %v: it is called often, by any goroutine, and must be cheap", callTimeout+patience)
			}
			c.k.Fatalf("R8: %s has not returned %v after its ctx ended: pass ctx to all that can block", c.name, patience)
		}
	}
	if c.died != "" {
		c.k.Fatalf("R10: %s %s: it must return an error instead", c.name, c.died)
	}
	if c.tok != nil {
		c.k.issued(c.tok)
		c.k.inspect("the token that "+c.name+" returned", c.tok)
	}
	if c.err != nil {
		c.k.inspectError("the error of "+c.name, c.err)
	}
}

// do calls f and waits for it.
func (k *kit) do(name string, f func(ctx context.Context) (*renew.Token, error)) (*renew.Token, error) {
	k.Helper()
	c := k.start(name, f)
	c.finish()
	return c.tok, c.err
}

// good calls f, which must return a token that can be used.
func (k *kit) good(name string, f func(ctx context.Context) (*renew.Token, error)) *renew.Token {
	k.Helper()
	tok, err := k.do(name, f)
	if err != nil {
		k.Fatalf("R11: %s failed though the issuer is up: %v", name, err)
	}
	k.checkToken(name, tok)
	return tok
}

// issue issues a token. It skips the check when that needs a person.
func (k *kit) issue() *renew.Token {
	k.Helper()
	if k.traits.Interactive && k.h.Live != nil {
		k.needPerson()
	}
	tok, err := k.do("Issue", k.h.Source.Issue)
	if errors.Is(err, renew.ErrInteractionRequired) {
		k.needPerson()
	}
	if err != nil {
		k.Fatalf("R11: Issue failed though the issuer is up: %v", err)
	}
	k.checkToken("Issue", tok)
	return tok
}

// needPerson skips the check, if the Source said that it would need a person.
func (k *kit) needPerson() {
	k.Helper()
	switch {
	case k.traits.Interactive:
		k.Skipf("Issue needs a person")
	case k.h.Once && len(k.tokens) > 0:
		k.Skipf("Issue works only once")
	}
	k.Fatalf("R7: Issue returned ErrInteractionRequired, but Describe does not say Interactive: " +
		"then a timer starts Issue though nobody is there (if Issue can work only once, set Harness.Once)")
}

// live returns a token for Reissue and Revoke.
func (k *kit) live() *renew.Token {
	k.Helper()
	if k.h.Live == nil {
		return k.issue()
	}
	tok, err := k.h.Live(context.Background())
	if err != nil || tok == nil {
		k.Fatalf("renewtest: Harness.Live returned (%v, %v)", tok, err)
	}
	k.issued(tok)
	return tok
}

// issued remembers the secrets of a token, so that they are looked for.
func (k *kit) issued(tok *renew.Token) {
	for _, s := range []string{tok.Value.Reveal(), tok.Refresh.Reveal()} {
		if len(s) >= 8 && !slices.Contains(k.tokens, s) { // shorter ones are found by chance
			k.tokens = append(k.tokens, s)
		}
	}
}

// checkToken checks a token that a Source returned without an error.
func (k *kit) checkToken(name string, tok *renew.Token) {
	k.Helper()
	if tok == nil {
		k.Fatalf("R11: %s returned (nil, nil): a Source returns a token or an error", name)
	}
	value := tok.Value.Reveal()
	if value == "" {
		k.Fatalf("R11: %s returned a token with an empty Value", name)
	}
	for i := range len(value) {
		if c := value[i]; c < '!' || c > '~' {
			k.Fatalf("R11: %s returned a Value with byte 0x%02x at offset %d of %d: only visible ASCII can be sent in a header",
				name, c, i, len(value))
		}
	}
	for i := range len(tok.Type) {
		if !isTchar(tok.Type[i]) {
			k.Fatalf("R11: %s returned the Type %q, which is no auth-scheme (RFC 9110, section 11.1)", name, tok.Type)
		}
	}
	if tok.Life < 0 {
		k.Fatalf("R11: %s returned a token already expired: Life is %v", name, tok.Life)
	}
	if now := k.h.Clock.Now().Wall; tok.Life == 0 && !tok.Expiry.IsZero() && !tok.Expiry.After(now) {
		k.Fatalf("R11: %s returned a token already expired: Expiry is %v ago, and Life is not known (R12: derive it from exp - iat, or from the Date header)",
			name, now.Sub(tok.Expiry))
	}
}

// isTchar reports whether c may stand in a token (RFC 9110, section 5.6.2).
func isTchar(c byte) bool {
	return isAlnum(c) || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}

func isAlnum(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}
