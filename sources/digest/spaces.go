package digest

import (
	"sync"

	"github.com/seed-f29168f7/renew/sources/internal/lockout"
)

// spaces are the protection spaces that are known (RFC 7616, section 1; RFC 9110, section 11.5): of each origin, by realm.
type spaces struct {
	mu  sync.Mutex
	all map[lockout.Origin]*known
}

// known is what is known of an origin.
type known struct {
	digest bool     // it has offered Digest, so that Basic would be a step down
	spaces []*space // the last one to be used first
}

// space is a realm of an origin, and the nonces that its next requests may use.
type space struct {
	realm string
	// shared has been accepted without word of another: all may use it.
	shared *session
	// fresh are unused, mostly from nextnonce. Each is for one request, since it may be good for one only.
	fresh []*session
	// recent are the last that were made of challenges. A nonce that comes again, here or in shared, must not be counted
	// from one again.
	recent []*session
}

const (
	maxSpaces = 16 // of an origin
	maxFresh  = 64 // of a space
	maxRecent = 16 // of a space
)

// take returns a session for a request, or nil when none is known. path is escaped.
func (s *spaces) take(o lockout.Origin, path string) *session {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.all[o]
	if k == nil {
		return nil
	}
	var best *space
	longest := -1
	for _, sp := range k.spaces {
		if next := sp.next(); next != nil && !(next.basic && k.digest) {
			if n := next.covers(path); n > longest {
				best, longest = sp, n
			}
		}
	}
	if best == nil {
		return nil
	}
	next := best.next()
	if n := len(best.fresh); n > 0 {
		best.fresh[n-1] = nil
		best.fresh = best.fresh[:n-1]
	}
	return next
}

// next is the session that the next request would use.
func (sp *space) next() *session {
	if n := len(sp.fresh); n > 0 {
		return sp.fresh[n-1]
	}
	if sp.shared != nil && sp.shared.usedUp() {
		return nil
	}
	return sp.shared
}

// open returns the session of a challenge.
func (s *spaces) open(o lockout.Origin, of offer, cnonce func() string) *session {
	s.mu.Lock()
	defer s.mu.Unlock()
	sp := s.space(o, of.realm)
	if se := sp.shared; se != nil && se.continues(&of) && !se.usedUp() {
		return se
	}
	for _, se := range sp.recent {
		if se.continues(&of) && !se.usedUp() {
			return se
		}
	}
	se := &session{offer: of, cnonce: cnonce()}
	if len(sp.recent) == maxRecent {
		sp.recent = append(sp.recent[:0], sp.recent[1:]...)
	}
	sp.recent = append(sp.recent, se)
	return se
}

// continues reports whether a challenge is the one that the session has answered already.
func (s *session) continues(of *offer) bool {
	return s.basic == of.basic && s.nonce == of.nonce && s.algorithm == of.algorithm && s.sess == of.sess && s.qop == of.qop &&
		s.opaque == of.opaque && s.userhash == of.userhash
}

// share lets all requests use a session that was accepted.
func (s *spaces) share(o lockout.Origin, se *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.space(o, se.realm).shared = se
}

// add adds a session that is for one request.
func (s *spaces) add(o lockout.Origin, se *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sp := s.space(o, se.realm)
	sp.shared = nil
	if len(sp.fresh) < maxFresh {
		sp.fresh = append(sp.fresh, se)
	}
}

// drop forgets a session that is no good any more.
func (s *spaces) drop(o lockout.Origin, se *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sp := s.find(o, se.realm); sp != nil && sp.shared == se {
		sp.shared = nil
	}
}

// forget forgets all sessions of a realm: after a refusal the next attempt begins with a new challenge, so that
// what it ends with is a verdict about the password and not about an old nonce.
func (s *spaces) forget(o lockout.Origin, realm string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sp := s.find(o, realm); sp != nil {
		sp.shared, sp.fresh = nil, nil
	}
}

// sawDigest notes that an origin offers Digest, or reports that it has.
func (s *spaces) sawDigest(o lockout.Origin, now bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.origin(o)
	k.digest = k.digest || now
	return k.digest
}

// The rest needs s.mu.

func (s *spaces) origin(o lockout.Origin) *known {
	if s.all == nil {
		s.all = make(map[lockout.Origin]*known)
	}
	k := s.all[o]
	if k == nil {
		k = &known{}
		s.all[o] = k
	}
	return k
}

func (s *spaces) find(o lockout.Origin, realm string) *space {
	k := s.all[o]
	if k == nil {
		return nil
	}
	for _, sp := range k.spaces {
		if sp.realm == realm {
			return sp
		}
	}
	return nil
}

// space finds or makes the space of a realm, and puts it first.
func (s *spaces) space(o lockout.Origin, realm string) *space {
	k := s.origin(o)
	at := -1
	for i, sp := range k.spaces {
		if sp.realm == realm {
			at = i
		}
	}
	if at < 0 {
		if len(k.spaces) < maxSpaces {
			k.spaces = append(k.spaces, nil)
		}
		at = len(k.spaces) - 1
		k.spaces[at] = &space{realm: realm}
	}
	sp := k.spaces[at]
	copy(k.spaces[1:at+1], k.spaces[:at])
	k.spaces[0] = sp
	return sp
}
