// Package lockout keeps signers with a password from locking its account.
//
// A password whose last verdict is good flows freely. Until it has been accepted once, and again after it was
// refused, attempts go one at a time, and the others wait for the verdict. The first refusal is free; each
// attempt that follows one takes a unit of a budget (R18), and without a unit nothing is sent (R21).
//
// One path that answers 401 to everybody must not take the good ones down (R22). So when a password that has been
// accepted is refused on a path, two things are kept apart: that path needs a unit for each further attempt, until it
// accepts; and the password is in doubt, until another path, once and for no unit, has accepted or refused it. If it
// accepts, all but the first path flow again. A path that accepts may be one that looks at no password, so this
// is free for two paths in a window of the budget: beyond, a path takes a unit unless it has accepted since the first refusal,
// and gets it back when it accepts. So a password that is no good costs one refusal and the
// units; one that was accepted before or seems to be, two and the units.
//
// Another password starts anew (R23), if it replaces one that is good; in place of one that is not, it does so once in a
// window of the budget, and takes units otherwise.
package lockout

import (
	"context"
	"hash/maphash"
	"net/http"
	"sync"
	"time"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/budget"
	"github.com/seed-f29168f7/renew/clock"
)

// Verdict is what became of an attempt.
type Verdict uint8

const (
	// Unknown: perhaps the password was judged, perhaps not. A unit stays spent, and nothing is learned.
	Unknown Verdict = iota
	// Unjudged: the password was certainly not judged. A unit comes back.
	Unjudged
	// Accepted: the password is good.
	Accepted
	// Refused: it is not.
	Refused
)

// Judge returns the verdict in the answer to an attempt; resp is nil when there was none. refusal is the
// status that refuses: 401, or 407 where it is a proxy that judges.
func Judge(resp *http.Response, refusal int) Verdict {
	if resp == nil {
		return Unknown
	}
	switch code := resp.StatusCode; {
	case code == refusal:
		return Refused
	case code == http.StatusProxyAuthRequired, code == http.StatusTooManyRequests, code >= 500:
		return Unjudged
	case code == http.StatusBadRequest, code == http.StatusForbidden, code == http.StatusRequestTimeout:
		return Unknown // before the password was looked at, or because of it: servers differ
	}
	return Accepted
}

// Gates are the gates of one signer: one for each origin and password. The zero Gates are ready for use, and safe for
// concurrent use. They must not be copied after the first use.
type Gates struct {
	mu  sync.Mutex
	all map[Origin]pair
	own budget.Budget
}

// pair are the gates of an origin: of the password in use, and of the one before it. A function that says the
// old one again, because it was slow or cannot make up its mind, does not start anew with it.
type pair struct {
	now, before *gate
	renewed     bool          // a password that was not good has been replaced
	at          time.Duration // when that was allowed to start anew
}

// Request is what an attempt is for.
type Request struct {
	// Source is what IssueError.Source says.
	Source string
	// Budget is what units are taken from. Nil means one of the Gates' own with the defaults.
	Budget *budget.Budget
	// Clock stamps them. Nil means clock.Real{}.
	Clock clock.Clock
	// Origin is what has the password, and Path what is asked of it.
	Origin Origin
	Path   string
}

// Begin starts an attempt with the password that ask returns. Where another one must end first, it waits, until ctx ends,
// and asks again then. The caller ends the attempt exactly once, with End.
//
// The error is ask's, the cause of ctx, or a *renew.BudgetError when there is no unit.
func (s *Gates) Begin(ctx context.Context, r Request, ask func(context.Context) (renew.Secret, error)) (*Attempt, renew.Secret, error) {
	path := hash(r.Path)
	for {
		password, err := ask(ctx)
		if err != nil {
			return nil, renew.Secret{}, err
		}
		a, wait, err := s.gate(r, password).try(ctx, path)
		if wait == nil {
			return a, password, err
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return nil, renew.Secret{}, context.Cause(ctx)
		}
	}
}

// gate returns the gate of a password at an origin.
func (s *Gates) gate(r Request, password renew.Secret) *gate {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.all[r.Origin]
	switch {
	case p.now.has(password):
		return p.now
	case p.before.has(password):
		p.now, p.before = p.before, p.now
	default:
		if r.Clock == nil {
			r.Clock = clock.Real{}
		}
		if r.Budget == nil {
			r.Budget = &s.own
		}
		g := &gate{source: r.Source, host: r.Origin.Host, budget: r.Budget, clock: r.Clock, password: password}
		g.free.Units, g.free.Window = freeRefusals, r.Budget.Span()
		if p.now != nil && !p.now.isGood() {
			// R23: what replaces a password that was not good starts anew. Once in a window: a function that
			// always says something else would never run out of first attempts.
			now := r.Clock.Now().Mono
			if p.renewed && now-p.at < r.Budget.Span() {
				g.state = bad
			} else {
				p.renewed, p.at = true, now
			}
		}
		p.now, p.before = g, p.now
	}
	if s.all == nil {
		s.all = make(map[Origin]pair)
	}
	s.all[r.Origin] = p
	return p.now
}

// state is what is known of a password.
type state uint8

const (
	unknown state = iota // never accepted, never refused
	good                 // accepted
	doubted              // accepted once, and since then refused on one path
	bad                  // refused, or in place of one that was not good
)

const (
	// maxSuspects is how many paths of each kind a gate remembers. Beyond, it forgets them and learns them anew.
	maxSuspects = 64
	// freeRefusals is how many refusals in a window need no unit: the first, and the one that tells a path that
	// refuses everybody from a password that is no good any more.
	freeRefusals = 2
)

// gate is what is known of one password at one origin.
type gate struct {
	source   string
	host     string
	budget   *budget.Budget
	clock    clock.Clock
	password renew.Secret

	mu    sync.Mutex // guards what follows
	state state
	// suspects are the paths that have refused the password after it had been accepted, as hashes.
	suspects map[uint64]struct{}
	// proven are paths that have accepted it since there are suspects.
	proven map[uint64]struct{}
	// free counts the refusals that took no unit.
	free     budget.Budget
	seq      uint64 // attempts so far
	accepted uint64 // the latest attempt that was accepted
	refused  uint64 // the latest that was refused
	turn     *Attempt
}

var seed = maphash.MakeSeed()

// hash is what is kept of a path, which may be long.
func hash(path string) uint64 { return maphash.String(seed, path) }

// has reports whether g, which may be nil, is the gate of password.
func (g *gate) has(password renew.Secret) bool {
	return g != nil && g.password.Reveal() == password.Reveal()
}

func (g *gate) isGood() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.state == good
}

// try starts an attempt. If another one must end first, it returns what is closed then.
func (g *gate) try(ctx context.Context, path uint64) (*Attempt, <-chan struct{}, error) {
	a := &Attempt{gate: g, path: path}
	g.mu.Lock()
	defer g.mu.Unlock()
	needs, careful := g.needsUnit(path)
	if g.state != good || needs {
		switch {
		case ctx.Err() != nil:
			return nil, nil, context.Cause(ctx)
		case g.turn != nil:
			return nil, g.turn.done, nil
		case needs:
			if err := g.reserve(); err != nil {
				return nil, nil, err
			}
			a.unit, a.careful = true, careful
		}
		a.done = make(chan struct{})
		g.turn = a
	}
	g.seq++
	a.seq = g.seq
	return a, nil, nil
}

// Check returns the *renew.BudgetError that Begin would fail with now, for those who must send something else first. It takes
// nothing and does not wait.
func (s *Gates) Check(o Origin, path string, password renew.Secret) error {
	s.mu.Lock()
	p := s.all[o]
	s.mu.Unlock()
	g := p.now
	if !g.has(password) {
		g = p.before
	}
	if !g.has(password) {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if needs, _ := g.needsUnit(hash(path)); !needs {
		return nil
	}
	now := g.clock.Now()
	if at, ok := g.budget.RetryAt(now.Mono); !ok {
		return g.spent(now, at)
	}
	return nil
}

// needsUnit reports whether an attempt at a path needs a unit; careful says that only other paths are the reason. It needs g.mu.
func (g *gate) needsUnit(path uint64) (needs, careful bool) {
	if _, suspect := g.suspects[path]; suspect || g.state == bad {
		return true, false
	}
	if _, proven := g.proven[path]; proven || len(g.suspects) == 0 {
		return false, false
	}
	careful = g.free.Left(g.clock.Now().Mono) == 0
	return careful, careful
}

// reserve takes a unit of the budget. It needs g.mu.
func (g *gate) reserve() error {
	now := g.clock.Now()
	at, ok := g.budget.Reserve(now.Mono)
	if ok {
		return nil
	}
	return g.spent(now, at)
}

// spent is the error of a budget that has no unit until at.
func (g *gate) spent(now clock.Instant, at time.Duration) error {
	return &renew.BudgetError{
		RetryAt: now.Wall.Add(at - now.Mono),
		Err:     &renew.IssueError{Source: g.source, Host: g.host, Kind: renew.Refused, Err: errRefused},
	}
}

// Attempt is one request with the password. It is over when End was called.
type Attempt struct {
	gate    *gate
	seq     uint64
	path    uint64        // as a hash
	unit    bool          // one is reserved
	careful bool          // it comes back when the path accepts
	done    chan struct{} // of an attempt that others wait for, else nil
	ended   bool          // guarded by gate.mu
	wire    wire
}

// Costs reports whether the attempt has taken a unit: the password was refused before.
func (a *Attempt) Costs() bool { return a.unit }

// Holds reports whether the attempt was made with that password.
func (a *Attempt) Holds(password renew.Secret) bool { return a.gate.has(password) }

// End says what became of the attempt. All but the first call do nothing. It does not block.
func (a *Attempt) End(v Verdict) {
	g := a.gate
	g.mu.Lock()
	defer g.mu.Unlock()
	if a.ended {
		return
	}
	a.ended = true
	if v == Unknown && a.wire.unsent() {
		v = Unjudged
	}
	if a.unit {
		if v == Unjudged || v == Accepted && a.careful {
			g.budget.Release()
		} else {
			g.budget.Spend(g.clock.Now().Mono)
		}
	}
	switch v {
	case Accepted:
		g.accept(a)
	case Refused:
		g.refuse(a)
	}
	if g.turn == a {
		g.turn = nil
		close(a.done)
	}
}

// accept and refuse need g.mu. An attempt that was sent before the latest one with the opposite verdict
// says nothing about the password of today (R17).

func (g *gate) accept(a *Attempt) {
	g.accepted = max(g.accepted, a.seq)
	if a.seq < g.refused {
		return
	}
	g.state = good
	delete(g.suspects, a.path)
	if len(g.suspects) == 0 {
		g.proven = nil
		return
	}
	if g.proven == nil || len(g.proven) == maxSuspects {
		g.proven = make(map[uint64]struct{})
	}
	g.proven[a.path] = struct{}{}
}

func (g *gate) refuse(a *Attempt) {
	g.refused = max(g.refused, a.seq)
	if a.seq < g.accepted {
		return
	}
	if _, proven := g.proven[a.path]; proven {
		g.proven = nil // the password is no good any more, or all of them may be next
	}
	_, known := g.suspects[a.path]
	if known || g.state == bad {
		return
	}
	if !a.unit {
		g.free.Charge(g.clock.Now().Mono, 1)
	}
	if g.state == unknown {
		g.state = bad
		return
	}
	if g.suspects == nil || len(g.suspects) == maxSuspects {
		g.suspects = make(map[uint64]struct{})
	}
	g.suspects[a.path] = struct{}{}
	g.state++ // from good to doubted to bad
}
