package simulation

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"time"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/clock"
)

// mode is how a call of the Source ends.
type mode uint8

const (
	works mode = iota
	refuses
	refusesTwice // twice within one call
	refusesForGood
	throttles // 429
	throttlesBare
	unavailable // 503 with Retry-After
	breaks      // 500
	breaksFor   // 502 with Retry-After
	resets      // the connection, after the request
	dialFails
	plainError
	hangs     // until its context ends
	deafWorks // longer than the flight, whatever becomes of its context
	deafBreaks
	panics
	exits // runtime.Goexit
	givesNil
	givesEmpty
	givesUnsafe
	givesExpired
	givesSame // as the last time
	isInvalid
	needsPerson
	badConfig
)

var modeNames = [...]string{"works", "refuses", "refuses twice", "refuses for good", "429", "429 without a time", "503 with a time", "500", "502 with a time",
	"connection reset", "dial fails", "plain error", "hangs", "deaf, works", "deaf, breaks", "panics", "exits", "nil token", "empty token", "unsafe token",
	"expired token", "same token", "invalid reply", "needs a person", "bad configuration"}

func (m mode) String() string { return modeNames[m] }

// modeTable has the modes as often as they are to occur.
var modeTable = []mode{works, works, works, works, works, works, works, works, works, works, refuses, refuses, refuses, refuses, refuses, refuses,
	refusesTwice, refusesForGood, refusesForGood, throttles, throttles, throttlesBare, unavailable, unavailable, breaks, breaks, breaks, breaks, breaksFor,
	resets, resets, resets, dialFails, plainError, plainError, hangs, hangs, hangs, deafWorks, deafWorks, deafWorks, deafBreaks, panics, exits, givesNil, givesEmpty,
	givesUnsafe, givesExpired, givesSame, givesSame, givesSame, isInvalid, needsPerson, badConfig}

// behaviour is a mode, and how long a call takes.
type behaviour struct {
	mode mode
	long time.Duration
}

// call is one call of a Source.
type call struct {
	tenant  *tenant
	reissue bool
	live    *renew.Token // what is reissued
	ctx     context.Context
	behaviour
	version uint64
	began   clock.Instant

	// At its end.
	over  bool
	ended clock.Instant
	late  bool // its context had ended
	tok   *renew.Token

	// Of the oracle.
	charged, settled bool
	base             *renew.Token // what there was to reissue when it began
	was              *renew.Token // the token of the last generation then
	same             bool         // the same value again is a success
}

// issuer is the Source of a tenant, and the server behind it.
type issuer struct {
	w *world
	t *tenant

	// Guarded by w.mu.
	queue   []behaviour
	weather behaviour
	version uint64
	n       int
	last    *renew.Token
	revoked map[string]bool
	revokes int
	// panicked: it has panicked, or called runtime.Goexit.
	panicked bool
}

// reissuer is an issuer that can Reissue.
type reissuer struct{ *issuer }

func (s *issuer) Issue(ctx context.Context) (*renew.Token, error) { return s.call(ctx, nil) }

func (s reissuer) Reissue(ctx context.Context, live *renew.Token) (*renew.Token, error) {
	return s.call(ctx, live)
}

// Revoke is called by Close.
func (s *issuer) Revoke(context.Context, *renew.Token) error {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	s.revokes++
	return nil
}

func (s *issuer) Describe() renew.Traits {
	return renew.Traits{Name: "simulated", Interactive: s.t.set.interactive, InputVersion: func() uint64 {
		s.w.mu.Lock()
		defer s.w.mu.Unlock()
		return s.version
	}}
}

// secret stands in all that must not be printed.
const secret = "S3CRET"

func (s *issuer) call(ctx context.Context, live *renew.Token) (tok *renew.Token, err error) {
	w := s.w
	w.mu.Lock()
	c := &call{tenant: s.t, reissue: live != nil, live: live, ctx: ctx, behaviour: s.weather, version: s.version, began: w.clock.Now()}
	if len(s.queue) > 0 {
		c.behaviour, s.queue = s.queue[0], s.queue[1:]
	}
	s.n++
	tok = s.mint(c.began)
	s.panicked = s.panicked || c.mode == panics || c.mode == exits
	w.log = append(w.log, record{what: callStarts, tenant: s.t, call: c})
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		c.over, c.ended, c.late, c.tok = true, w.clock.Now(), ctx.Err() != nil, tok
		if c.mode == works || c.mode == deafWorks {
			s.last = tok
		}
		w.log = append(w.log, record{what: callEnds, tenant: s.t, call: c})
	}()
	deaf, long := context.WithoutCancel(ctx), c.long
	if c.mode != deafWorks && c.mode != deafBreaks {
		deaf = ctx
	} else {
		long += w.setup.timeout
	}
	if c.mode == hangs {
		long = forever
	}
	if err := w.sleep(deaf, long); err != nil {
		return nil, err
	}
	asked := min(c.long, 40*time.Minute)
	switch c.mode {
	case works, deafWorks:
		return tok, nil
	case refuses:
		return nil, &renew.IssueError{Kind: renew.Refused, Status: 401, Code: "invalid_grant"}
	case refusesTwice:
		return nil, &renew.IssueError{Kind: renew.Refused, Status: 401, Refusals: 2}
	case refusesForGood:
		return nil, &renew.IssueError{Kind: renew.Refused, Status: 401, Code: "invalid_client", Permanent: true}
	case throttles:
		return nil, &renew.IssueError{Kind: renew.Throttled, Status: 429, RetryAfter: asked}
	case throttlesBare:
		return nil, &renew.IssueError{Kind: renew.Throttled, Status: 429}
	case unavailable:
		return nil, &renew.IssueError{Kind: renew.Throttled, Status: 503, RetryAfter: asked}
	case breaks:
		return nil, &renew.IssueError{Status: 500}
	case breaksFor:
		return nil, &renew.IssueError{Status: 502, RetryAfter: asked}
	case resets:
		return nil, &net.OpError{Op: "read", Net: "tcp", Err: errors.New("connection reset by peer")}
	case dialFails:
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}
	case plainError, deafBreaks:
		return nil, errors.New("something else")
	case panics:
		panic(secret)
	case exits:
		runtime.Goexit()
	case givesNil:
		return nil, nil
	case givesEmpty:
		tok.Value = renew.Secret{}
	case givesUnsafe:
		tok.Value = renew.NewSecret(tok.Value.Reveal() + "\r\n")
	case givesExpired:
		tok.Life, tok.Expiry = 0, c.began.Wall.Add(-time.Second)
	case givesSame:
		w.mu.Lock()
		defer w.mu.Unlock()
		if s.last != nil {
			tok = s.last
		}
	case isInvalid:
		return nil, &renew.IssueError{Kind: renew.Invalid, Status: 200}
	case needsPerson:
		return nil, renew.ErrInteractionRequired
	case badConfig:
		return nil, &renew.ConfigError{Field: "Source.File", Reason: "is not there"}
	}
	return tok, nil
}

// mint makes the next token.
func (s *issuer) mint(began clock.Instant) *renew.Token {
	set := s.t.set
	tok := &renew.Token{Value: renew.NewSecret(fmt.Sprintf("%s-%s-%d", secret, s.t.name, s.n))}
	life := set.life
	if s.w.longLife {
		life = 100 * time.Hour
	}
	if set.expiryOnly {
		tok.Expiry = began.Wall.Add(life)
	} else {
		tok.Life = life
	}
	if set.hint && life > 0 {
		tok.ReissueAt = began.Wall.Add(life * 11 / 20)
	}
	if set.refresh {
		n := 0
		if set.rotates {
			n = s.n
		}
		tok.Refresh = renew.NewSecret(fmt.Sprintf("%s-%s-refresh-%d", secret, s.t.name, n))
	}
	return tok
}
