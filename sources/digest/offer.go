package digest

import (
	"errors"
	"net/url"
	"strings"

	"github.com/seed-f29168f7/renew/sources/internal/challenge"
	"github.com/seed-f29168f7/renew/sources/internal/lockout"
)

// offer is a challenge that can be answered: of Digest (RFC 7616, section 3.3), or of Basic where that is allowed.
type offer struct {
	basic     bool // the rest but realm is empty then
	realm     string
	nonce     string
	opaque    string
	hasOpaque bool
	algorithm Algorithm
	named     bool // the algorithm was named: it is repeated then
	sess      bool
	qop       string // auth, auth-int, or empty for RFC 2069
	userhash  bool
	utf8      bool
	stale     bool
	domain    []string // paths at the origin; nil means all of it
}

// maxText bounds what is kept of a challenge and sent back.
const maxText = 8 << 10

var (
	errNone = errors.New("the server offers no challenge of Digest that this program can answer (no algorithm, or quality of protection, " +
		"that is known and allowed): see Signer.Weakest, Signer.Integrity and Signer.AllowBasic")
	errDowngrade = errors.New("the server offered Digest before, and offers only Basic now: the password is not sent in the clear")
)

// choose returns the best offer of the field lines: the strongest algorithm that is no weaker than weakest, and of
// equals the first. Basic comes last, if it is allowed.
func choose(lines []string, weakest Algorithm, integrity, basic bool, o lockout.Origin) (best offer, err error) {
	// What was not understood is left out; the rest can be answered.
	challenges, _ := challenge.Parse(lines)
	found := false
	for _, c := range challenges {
		if !c.Is("Digest") {
			continue
		}
		next, ok := read(c.Params, integrity, o)
		if ok && next.algorithm >= weakest && (!found || next.algorithm > best.algorithm) {
			best, found = next, true
		}
	}
	for _, c := range challenges {
		if found || !basic || !c.Is("Basic") {
			continue
		}
		if realm, ok := c.Params.Get("realm"); ok && len(realm) <= maxText {
			best, found = offer{basic: true, realm: strings.Clone(realm)}, true
		}
	}
	if !found {
		return offer{}, errNone
	}
	return best, nil
}

// offersDigest reports whether there is any challenge of Digest.
func offersDigest(lines []string) bool {
	challenges, _ := challenge.Parse(lines)
	for _, c := range challenges {
		if c.Is("Digest") {
			return true
		}
	}
	return false
}

// read reads a challenge of Digest; false if it cannot be answered.
func read(p challenge.Params, integrity bool, o lockout.Origin) (of offer, ok bool) {
	realm, hasRealm := p.Get("realm")
	nonce, hasNonce := p.Get("nonce")
	if !hasRealm || !hasNonce || nonce == "" {
		return of, false
	}
	opaque, hasOpaque := p.Get("opaque")
	if len(realm) > maxText || len(nonce) > maxText || len(opaque) > maxText {
		return of, false
	}
	// Copies: a part of the field would keep all of it in memory.
	of.realm, of.nonce, of.opaque, of.hasOpaque = strings.Clone(realm), strings.Clone(nonce), strings.Clone(opaque), hasOpaque
	if name, named := p.Get("algorithm"); named {
		of.named = true
		if of.algorithm, of.sess, ok = algorithmOf(name); !ok {
			return of, false
		}
	}
	if list, has := p.Get("qop"); has {
		if of.qop = quality(list, integrity); of.qop == "" {
			return of, false
		}
	} else if of.sess || integrity {
		return of, false // -sess needs the cnonce, which RFC 2069 has not
	}
	of.userhash = flag(p, "userhash")
	of.stale = flag(p, "stale")
	charset, _ := p.Get("charset")
	of.utf8 = strings.EqualFold(charset, "UTF-8")
	if domain, has := p.Get("domain"); has && strings.TrimSpace(domain) != "" {
		of.domain = paths(domain, o)
	}
	return of, true
}

// quality chooses from a list of qop: auth, unless integrity asks for auth-int or there is nothing else.
func quality(list string, integrity bool) string {
	auth, authInt := false, false
	for item := range strings.SplitSeq(list, ",") {
		switch item = strings.TrimSpace(item); {
		case strings.EqualFold(item, "auth"):
			auth = true
		case strings.EqualFold(item, "auth-int"):
			authInt = true
		}
	}
	switch {
	case auth && !integrity:
		return "auth"
	case authInt:
		return "auth-int"
	}
	return ""
}

func flag(p challenge.Params, name string) bool {
	v, _ := p.Get(name)
	return strings.EqualFold(v, "true")
}

// maxDomain is how many URIs of a domain are kept.
const maxDomain = 64

// paths returns the paths of a domain that are at the origin: the others get nothing from us (R28).
func paths(domain string, o lockout.Origin) []string {
	kept := []string{}
	if len(domain) > maxText {
		return kept
	}
	for text := range strings.FieldsSeq(strings.Clone(domain)) {
		u, err := url.Parse(text)
		if err != nil || len(kept) == maxDomain {
			continue
		}
		path := u.EscapedPath()
		switch {
		case u.Scheme == "" && u.Host == "" && strings.HasPrefix(path, "/"):
			kept = append(kept, path)
		case u.Host != "" && lockout.OriginOf(u) == o:
			kept = append(kept, "/"+strings.TrimPrefix(path, "/"))
		}
	}
	return kept
}

// covers returns how much of path, which is escaped, the offer's domain has as a prefix; -1 for nothing.
func (of *offer) covers(path string) int {
	if of.domain == nil {
		return 0
	}
	longest := -1
	for _, p := range of.domain {
		if strings.HasPrefix(path, p) {
			longest = max(longest, len(p))
		}
	}
	return longest
}
