package renew

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"time"

	"github.com/seed-f29168f7/renew/clock"
)

// Token is an issued credential. A Source fills in the exported fields; from
// the moment a TokenSource has published it, a Token is immutable and safe for
// concurrent use. It prints without its secrets.
type Token struct {
	// Value is the credential as it is sent: visible ASCII, and not empty.
	Value Secret
	// Type is the auth-scheme as sent (RFC 9110, section 11.1): Bearer, FH-AUTH. Empty means Bearer.
	Type string
	// Life is how long the token lives, counted from the start of the request that got it
	// (RFC 6749's expires_in). It holds over Expiry. Zero means unknown; negative is an error.
	Life time.Duration
	// Expiry is the time the issuer named, never edited. Zero means unknown. A token with
	// neither Life nor Expiry lives until it is rejected.
	Expiry time.Time
	// ReissueAt is when the issuer would like to be asked again. Zero means it did not say.
	ReissueAt time.Time
	// Refresh is the refresh token, if the issuer gave one.
	Refresh Secret

	attrs map[string]string // not secret; never written after WithAttr made it

	// What follows is written before the token is published, and never after.

	// header returns the ready header value, shared by every request; nil in a
	// token that is not published. A func for the reason that Secret holds one.
	header     func() []string
	generation uint64
	deadline   deadline
}

// WithAttr returns a copy of t with the attribute set. Attributes are facts
// about a token that are not secret: its scope, the host it is for.
// It is for Sources, before they return the Token.
func (t *Token) WithAttr(key, value string) *Token {
	c := *t
	c.attrs = maps.Clone(t.attrs)
	if c.attrs == nil {
		c.attrs = make(map[string]string, 1)
	}
	c.attrs[key] = value
	c.header, c.deadline = nil, deadline{}
	return &c
}

// Attr returns an attribute of the token, or the empty string.
func (t *Token) Attr(key string) string { return t.attrs[key] }

// Generation numbers the tokens of one TokenSource, from 1 up. It is 0 for a
// token that no TokenSource has published.
func (t *Token) Generation() uint64 { return t.generation }

// HeaderValue returns the text for an Authorization header: "Bearer xyz". It
// is the credential itself: for gRPC metadata, WebSocket dials and database drivers.
func (t *Token) HeaderValue() string {
	if t.header == nil {
		return t.scheme() + " " + t.Value.Reveal()
	}
	return t.header()[0]
}

// SetAuthHeader sets the Authorization header of req. With a published token it
// allocates nothing: the value is shared with other requests, its capacity
// clipped so that an Add elsewhere cannot write into it.
func (t *Token) SetAuthHeader(req *http.Request) {
	if req.Header == nil {
		req.Header = make(http.Header, 1)
	}
	if t.header == nil {
		req.Header.Set("Authorization", t.HeaderValue())
		return
	}
	req.Header["Authorization"] = t.header()
}

// scheme returns the auth-scheme, with its default.
func (t *Token) scheme() string {
	if t.Type == "" {
		return "Bearer"
	}
	return t.Type
}

// deadline is when a token leaves service, by both hands of the clock: whichever
// says so first. The zero value is a token without one.
type deadline struct {
	wall int64         // nanoseconds since 1970
	mono time.Duration // a reading of the TokenSource's Clock
}

// past reports whether the deadline has come at now.
func (d deadline) past(now clock.Instant) bool {
	return d != deadline{} && (now.Mono >= d.mono || now.Wall.UnixNano() >= d.wall)
}

// prepare checks what a Source returned and makes the copy that is published:
// its header ready, its deadline set, its text stored once (R11). skewed says that the
// local wall clock is ahead of the issuer's.
func prepare(t *Token, start, now clock.Instant, leeway time.Duration) (ready *Token, skewed bool, err error) {
	switch {
	case t == nil:
		return nil, false, errors.New("the source returned neither a token nor an error")
	case t.Value.IsZero():
		return nil, false, errors.New("the token is empty")
	case !headerSafe(t.Value.Reveal()):
		return nil, false, errors.New("the token holds a character that cannot be sent in a header")
	case !isScheme(t.scheme()):
		return nil, false, fmt.Errorf("the token type %.40q is not an auth-scheme", t.Type)
	}
	l, err := lifetimeOf(t, start, now)
	if err != nil {
		return nil, false, err
	}
	c := *t
	c.Type, c.Life = t.scheme(), l.life
	c.attrs = maps.Clone(t.attrs)
	c.deadline = deadlineOf(l.life, leewayOf(leeway, l.life), start)
	if c.deadline.past(now) {
		return nil, false, fmt.Errorf("the token expired on its way: its life is %v, counted from the start of the request", l.life)
	}
	header := [1]string{c.Type + " " + t.Value.Reveal()}
	// Both funcs capture one pointer and nothing else: there are many tokens. A scheme has no space.
	c.Value = Secret{reveal: func() string { _, text, _ := strings.Cut(header[0], " "); return text }}
	c.header = func() []string { return header[:1:1] }
	return &c, l.skewed, nil
}

// headerSafe reports whether s can stand in a header field: visible ASCII, and
// spaces within (RFC 9110, section 5.5).
func headerSafe(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e {
			return false
		}
	}
	return s != "" && s[0] != ' ' && s[len(s)-1] != ' '
}

// isScheme reports whether s is a token in the sense of RFC 9110, section 5.6.2.
func isScheme(s string) bool {
	for i := range len(s) {
		if c := s[i]; !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0) {
			return false
		}
	}
	return s != ""
}

// is reports whether t and other are the same token of one TokenSource, or copies of it.
func (t *Token) is(other *Token) bool {
	return t == other || t != nil && other != nil && t.generation == other.generation && t.Value.Equal(other.Value)
}

// holds reports whether other has nothing that t has not.
func (t *Token) holds(other *Token) bool {
	return t.Value.Equal(other.Value) && (other.Refresh.IsZero() || t.Refresh.Equal(other.Refresh))
}
