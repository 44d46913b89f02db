package scenario

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/seed-f29168f7/renew/bench/contender"
)

// issuer is what all contenders fetch from: in process, so that nothing but its scripted behaviour takes time.
type issuer struct {
	takes time.Duration // one fetch
	life  time.Duration // of a token, from the end of its fetch
	fails time.Duration // how long it fails, once begun

	mu     sync.Mutex // guards what follows
	calls  []time.Time
	grants []grant
	arm    bool      // the next success begins the outage
	down   time.Time // when it began; zero: it has not
}

// grant is a token that was issued.
type grant struct{ at, expiry time.Time }

var errDown = errors.New("the issuer is down")

func (s *issuer) fetch(ctx context.Context) (contender.Grant, error) {
	if err := ctx.Err(); err != nil {
		return contender.Grant{}, err // nothing would be sent
	}
	s.mu.Lock()
	now := time.Now()
	s.calls = append(s.calls, now)
	failing := !s.down.IsZero() && now.Sub(s.down) < s.fails
	s.mu.Unlock()
	if err := sleep(ctx, s.takes); err != nil {
		return contender.Grant{}, err
	}
	if failing {
		return contender.Grant{}, errDown
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	g := grant{at: time.Now()}
	g.expiry = g.at.Add(s.life)
	s.grants = append(s.grants, g)
	if s.arm && s.down.IsZero() {
		s.down = g.at
	}
	return contender.Grant{Text: fmt.Sprintf("token-%010d", len(s.grants)-1), Expiry: g.expiry}, nil
}

// sleep waits, at most until ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// number returns the index of a token among the grants, from its text.
func number(text string) int {
	var n int
	if _, err := fmt.Sscanf(text, "token-%d", &n); err != nil {
		return -1
	}
	return n
}

// count returns how many fetches began in [from, to).
func (s *issuer) count(from, to time.Time) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, at := range s.calls {
		if !at.Before(from) && at.Before(to) {
			n++
		}
	}
	return n
}

// begin makes the next token the last one before the outage.
func (s *issuer) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.arm = true
}

// outage returns when it began, or the zero time.
func (s *issuer) outage() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.down
}

// issued returns what was issued.
func (s *issuer) issued() []grant {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.grants[:len(s.grants):len(s.grants)]
}
