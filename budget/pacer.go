package budget

import (
	"fmt"
	"math"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// The defaults of the zero Rate.
const (
	DefaultPerSecond = 50
	DefaultBurst     = 100
)

// Rate is how often an endpoint may be called: in t seconds at most
// Burst + PerSecond × t times.
type Rate struct {
	// PerSecond is the calls a second in the long run, which need not be whole.
	// Zero means DefaultPerSecond. Negative, and positive infinity, mean no
	// limit. NaN is an error.
	PerSecond float64
	// Burst is how many calls may start at one time after a quiet spell. Zero
	// means what two seconds allow, and at least 1 (so DefaultBurst, where PerSecond is
	// zero too). Negative is an error.
	Burst int
}

// Validate reports a field that cannot work.
func (r Rate) Validate() error {
	if math.IsNaN(r.PerSecond) || r.Burst < 0 {
		return fmt.Errorf("has PerSecond %v and Burst %d: PerSecond must be a number, and Burst not negative", r.PerSecond, r.Burst)
	}
	return nil
}

// effective fills in the defaults, also for what Validate refuses. It is false
// when there is no limit.
func (r Rate) effective() (Rate, bool) {
	switch {
	case r.PerSecond < 0 || r.PerSecond >= math.MaxFloat64:
		return r, false
	case r.PerSecond == 0 || math.IsNaN(r.PerSecond):
		r.PerSecond = DefaultPerSecond
	}
	if r.Burst <= 0 {
		r.Burst = int(min(max(1, 2*r.PerSecond), math.MaxInt32))
	}
	return r, true
}

// Pacer spreads the calls of one endpoint so that their Rate is never exceeded.
// It only says when; the caller sets the timer. Urgent callers, for whom somebody waits,
// overtake scheduled ones, however many of those are queued.
//
// A Pacer is made by NewPacer, is safe for concurrent use and does not block or
// allocate. The times it returns are exact to the nanosecond; one that is not
// after now means that the caller may start at once.
//
// It paces by the rules, not by its callers: a start that is granted and not used
// is gone, and while urgent callers use up the whole rate, scheduled ones wait.
type Pacer struct {
	perSecond float64 // 0: no limit, and the rest is unused

	mu     sync.Mutex // guards all below
	seen   bool       // latest has been set
	latest time.Duration
	// main has the tokens. Every start takes one, so it alone decides.
	main *rate.Limiter
	// sched has the places of scheduled callers: when each may ask main. Its rate is main's, so
	// that they do not all ask at once and yet use all that urgent callers leave.
	sched *rate.Limiter
}

// NewPacer returns a Pacer whose burst is whole. Fields that Validate refuses
// count as zero.
func NewPacer(r Rate) *Pacer {
	r, limited := r.effective()
	if !limited {
		return &Pacer{}
	}
	limit := rate.Limit(r.PerSecond)
	return &Pacer{perSecond: r.PerSecond, main: rate.NewLimiter(limit, r.Burst), sched: rate.NewLimiter(limit, r.Burst)}
}

// Urgent returns when a caller for whom somebody waits starts: at once, or at the next start
// that no earlier urgent caller has. It is the caller's, who does not ask again.
func (p *Pacer) Urgent(now time.Duration) (at time.Duration) {
	if p.perSecond == 0 {
		return now
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.advance(now)
	if wait := reserve(p.main, t); wait > 0 {
		return plus(t, wait)
	}
	return now
}

// Scheduled asks for a caller that can wait, such as a reissue by timer; waited is
// false the first time. When ok is true it starts now, and at is now. Otherwise it
// calls again at at, which is after now, with waited true, and so on until ok is true.
func (p *Pacer) Scheduled(now time.Duration, waited bool) (at time.Duration, ok bool) {
	if p.perSecond == 0 {
		return now, true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.advance(now)
	if !waited {
		if wait := reserve(p.sched, t); wait > 0 {
			return plus(t, wait), false
		}
	}
	if p.main.AllowN(instant(t), 1) {
		return now, true
	}
	short := 1 - p.main.TokensAt(instant(t))
	at = plus(t, p.wait(short))
	// Urgent callers had its token, so it needs a new place. Where less than half a
	// token is missing they had not: an earlier caller's timer was late, or its own
	// a nanosecond early. It keeps its turn, or it would go behind the whole queue.
	if waited && short >= 0.5 {
		at = max(at, plus(t, reserve(p.sched, t)))
	}
	return at, false
}

// advance notes now and returns the latest time seen. x/time/rate must not see
// time go back: it would count the span that follows twice. It requires p.mu.
func (p *Pacer) advance(now time.Duration) time.Duration {
	if !p.seen || now > p.latest {
		p.seen, p.latest = true, now
	}
	return p.latest
}

// wait returns how long it takes to fill in the part of main's tokens that is
// short: at least 1 ns.
func (p *Pacer) wait(short float64) time.Duration {
	ns := math.Ceil(short / p.perSecond * float64(time.Second))
	if ns >= math.MaxInt64 {
		return math.MaxInt64
	}
	return max(time.Duration(ns), 1)
}

// reserve takes the next token of l and returns how long it is until then.
func reserve(l *rate.Limiter, t time.Duration) time.Duration {
	at := instant(t)
	return l.ReserveN(at, 1).DelayFrom(at)
}

// instant is t as x/time/rate wants it. Any origin will do.
func instant(t time.Duration) time.Time { return time.Unix(0, 0).Add(t) }
