package lockout

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/budget"
	"github.com/seed-f29168f7/renew/clock"
)

// record is one attempt of a history.
type record struct {
	path       string
	seq        uint64
	costs      bool // a unit
	careful    bool // which comes back with an acceptance
	turn       bool // others waited for it
	verdict    Verdict
	begin, end time.Duration
	ended      bool
}

// keepsUnit reports whether the unit of an attempt that has ended stays spent.
func (r *record) keepsUnit() bool {
	return r.verdict != Unjudged && !(r.careful && r.verdict == Accepted)
}

// history is what a few requesters did to one gate, with a server that changes its mind.
type history struct {
	t    *testing.T
	seed uint64
	s    Gates
	b    budget.Budget

	mu        sync.Mutex
	all       []*record
	passwords bool            // the server takes the password
	refusing  map[string]bool // paths that refuse everybody
}

func (h *history) now() time.Duration { return clock.Real{}.Now().Mono }

func (h *history) errorf(format string, args ...any) {
	h.t.Helper()
	h.t.Errorf("seed %d, %v: %s", h.seed, h.now(), fmt.Sprintf(format, args...))
}

// begun checks the rules at the start of an attempt, with nothing but what the requesters saw.
func (h *history) begun(r *record) {
	turns, units, accepted, refused := 0, 0, false, false
	var good, bad uint64 // the latest verdicts, by their attempts
	for _, o := range h.all {
		if !o.ended && o.turn {
			turns++
		}
		if o.costs && (!o.ended || o.keepsUnit() && r.begin-o.end < budget.DefaultWindow) {
			units++
		}
		if o.ended && o.verdict == Accepted {
			accepted = true
			good = max(good, o.seq)
		}
		if o.ended && o.verdict == Refused {
			refused = true
			if o.path == r.path {
				bad = max(bad, o.seq)
			}
		}
	}
	switch {
	case r.turn && turns > 0:
		h.errorf("%d attempts at once, with a password that is not known to be good", turns+1)
	case r.costs && units >= budget.DefaultUnits:
		h.errorf("R18: unit %d of the window", units+1)
	case refused && !accepted && !r.costs:
		h.errorf("R18: an attempt for nothing after a refusal, and before any acceptance")
	case !r.turn && !accepted:
		h.errorf("an attempt beside others, before any acceptance")
	case bad > good && !r.costs:
		h.errorf("R18: an attempt for nothing at %s, which refused number %d, after the last acceptance of any, number %d", r.path, bad, good)
	}
}

func (h *history) request(rnd *rand.Rand) {
	path := []string{"/a", "/b", "/c"}[rnd.IntN(3)]
	ctx, cancel := context.WithCancel(h.t.Context())
	if rnd.IntN(3) == 0 {
		var stop func()
		ctx, stop = context.WithTimeout(ctx, time.Duration(rnd.Int64N(int64(20*time.Second))))
		defer stop()
	}
	defer cancel()
	r := at(path)
	r.Budget = &h.b
	h.mu.Lock() // so that the record is made with the attempt
	a, password, err := h.tryBegin(ctx, r)
	for err == nil && a == nil { // it has to wait: let go of the lock while it does
		h.mu.Unlock()
		time.Sleep(time.Duration(1 + rnd.Int64N(int64(time.Second))))
		h.mu.Lock()
		a, password, err = h.tryBegin(ctx, r)
	}
	if err != nil {
		defer h.mu.Unlock()
		var be *renew.BudgetError
		switch {
		case errors.As(err, &be):
			if !be.RetryAt.After(time.Now()) {
				h.errorf("R21: RetryAt is %v ago", time.Since(be.RetryAt))
			}
		case ctx.Err() == nil:
			h.errorf("%v", err)
		}
		return
	}
	if password.Reveal() != secret {
		h.errorf("another password")
	}
	rec := &record{path: path, seq: a.seq, costs: a.Costs(), careful: a.careful, turn: a.done != nil, begin: h.now()}
	h.begun(rec)
	h.all = append(h.all, rec)
	h.mu.Unlock()

	time.Sleep(time.Duration(rnd.Int64N(int64(20 * time.Second))))
	h.mu.Lock()
	defer h.mu.Unlock()
	switch n := rnd.IntN(10); {
	case n == 0:
		rec.verdict = Unknown
	case n == 1:
		rec.verdict = Unjudged
	case h.passwords && !h.refusing[path]:
		rec.verdict = Accepted
	default:
		rec.verdict = Refused
	}
	a.End(rec.verdict)
	rec.ended, rec.end = true, h.now()
	a.End(Verdict(rnd.IntN(4))) // too late
}

// tryBegin is Begin for one look: it returns nothing where Begin would wait.
func (h *history) tryBegin(ctx context.Context, r Request) (*Attempt, renew.Secret, error) {
	password := renew.NewSecret(secret)
	a, wait, err := h.s.gate(r, password).try(ctx, hash(r.Path))
	if wait != nil {
		return nil, password, nil
	}
	return a, password, err
}

func TestR18_RandomHistories(t *testing.T) {
	attempts, costly := 0, 0
	for seed := range uint64(300) {
		synctest.Test(t, func(t *testing.T) {
			h := &history{t: t, seed: seed, refusing: map[string]bool{}}
			rnd := rand.New(rand.NewPCG(seed, 0))
			h.passwords = rnd.IntN(2) == 0
			h.refusing["/b"] = rnd.IntN(2) == 0
			var wg sync.WaitGroup
			for i := range uint64(6) {
				wg.Go(func() {
					rnd := rand.New(rand.NewPCG(seed, i+1))
					for range 12 {
						h.request(rnd)
						time.Sleep(time.Duration(rnd.Int64N(int64(3 * time.Minute))))
						if i == 0 && rnd.IntN(4) == 0 {
							h.mu.Lock()
							h.passwords = !h.passwords
							h.mu.Unlock()
						}
					}
				})
			}
			wg.Wait()
			for _, r := range h.all {
				attempts++
				if r.costs {
					costly++
				}
			}
			// In every window, and not only in those that end with an attempt.
			var spent []time.Duration
			for _, r := range h.all {
				if r.costs && r.keepsUnit() {
					spent = append(spent, r.end)
				}
			}
			slices.Sort(spent)
			for i := budget.DefaultUnits; i < len(spent); i++ {
				if spent[i]-spent[i-budget.DefaultUnits] < budget.DefaultWindow {
					h.errorf("R18: %d units in %v", budget.DefaultUnits+1, spent[i]-spent[i-budget.DefaultUnits])
				}
			}
			// R21: it works again by itself, and nothing was kept.
			time.Sleep(budget.DefaultWindow)
			if left := h.b.Left(h.now()); left != budget.DefaultUnits {
				h.errorf("%d units are left after a quiet window", left)
			}
			for range 2 {
				for _, path := range []string{"/a", "/b", "/c"} {
					r := at(path)
					r.Budget = &h.b
					attempt(t, &h.s, r, Accepted)
				}
			}
			for _, path := range []string{"/a", "/b", "/c"} {
				if !flows(t, &h.s, path) {
					h.errorf("%s does not flow, though it was accepted", path)
				}
			}
		})
	}
	t.Logf("%d attempts, %d for a unit", attempts, costly)
	if costly < 1000 {
		t.Error("that is no test of units")
	}
}

// Any number of requesters, some of whom go away: whoever waits gets an attempt, the budget's error or the end of its context.
func TestR4_NoWaiterIsLeftBehind(t *testing.T) {
	for seed := range uint64(100) {
		synctest.Test(t, func(t *testing.T) {
			var s Gates
			var wg sync.WaitGroup
			for i := range uint64(50) {
				wg.Go(func() {
					rnd := rand.New(rand.NewPCG(seed, i))
					ctx := t.Context()
					if rnd.IntN(2) == 0 {
						var stop func()
						ctx, stop = context.WithTimeout(ctx, time.Duration(rnd.Int64N(int64(20*time.Second))))
						defer stop()
					}
					a, _, err := s.Begin(ctx, at(fmt.Sprint("/", rnd.IntN(3))), says(secret))
					if err != nil {
						if ctx.Err() == nil && !errors.Is(err, renew.ErrBudgetSpent) {
							t.Errorf("seed %d: %v", seed, err)
						}
						return
					}
					time.Sleep(time.Duration(rnd.Int64N(int64(5 * time.Second))))
					a.End(Verdict(rnd.IntN(4)))
				})
			}
			wg.Wait() // a waiter that is left behind is a deadlock of the bubble
		})
	}
}
