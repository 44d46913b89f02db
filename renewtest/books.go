package renewtest

import (
	"crypto/rand"
	"time"
)

// books are the tokens that an Issuer has issued. The Issuer's mu guards them.
type books struct {
	access  map[string]*access
	refresh map[string]*refresh
	last    map[string]*access // by client
	issued  int

	refuseFresh bool
	freshAfter  int // tokens with a higher number are fresh
}

// family is all that descends from one grant.
type family struct {
	client  string
	revoked bool
}

type access struct {
	value   string
	family  *family
	number  int
	until   time.Duration // by the Clock's running time, which is negative in a bubble
	endless bool
	revoked bool
}

type refresh struct {
	family *family
	used   bool // and replaced
}

func newBooks() books {
	return books{
		access:  make(map[string]*access),
		refresh: make(map[string]*refresh),
		last:    make(map[string]*access),
	}
}

// newValue makes the text of a token that cannot be guessed.
func newValue(prefix string) string { return prefix + "-" + rand.Text() }

func (t *access) ended(now time.Duration) bool {
	return t.revoked || t.family.revoked || !t.endless && now >= t.until
}

func (b *books) newAccess(fam *family, now, life time.Duration, value string) *access {
	b.issued++
	t := &access{value: value, family: fam, number: b.issued, until: now + life, endless: life < 0}
	b.access[value], b.last[fam.client] = t, t
	return t
}

func (b *books) newRefresh(fam *family) string {
	value := newValue("rt")
	b.refresh[value] = &refresh{family: fam}
	return value
}

// useRefresh trades a refresh token in and returns its family, or nil when it is
// not good. A second use of a rotated one ends the family.
func (b *books) useRefresh(value, client string, rotate bool) (fam *family, reused bool) {
	r := b.refresh[value]
	if r == nil || r.family.client != client {
		return nil, false
	}
	if r.used {
		r.family.revoked = true
		return nil, true
	}
	if r.family.revoked {
		return nil, false
	}
	r.used = rotate
	return r.family, false
}

// liveAccess returns the access token if the API accepts it.
func (b *books) liveAccess(value string, now time.Duration) *access {
	t := b.access[value]
	if t == nil || t.ended(now) || b.refuseFresh && t.number > b.freshAfter {
		return nil
	}
	return t
}

func (b *books) owner(value string) (client string, known bool) {
	if t := b.access[value]; t != nil {
		return t.family.client, true
	}
	if r := b.refresh[value]; r != nil {
		return r.family.client, true
	}
	return "", false
}

func (b *books) revoke(value string) bool {
	if t := b.access[value]; t != nil {
		t.revoked = true
		return true
	}
	if r := b.refresh[value]; r != nil {
		r.family.revoked = true
		return true
	}
	return false
}
