package crtauth

import (
	"errors"
	"net/http"
	"time"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/sources/internal/header"
)

// maxLife is the longest life that works: servers refuse a token whose two times are more
// than 600 s apart, and they date it back by backdated.
const (
	maxLife   = 598
	backdated = 2
)

// issued is what a token says of itself. Servers sign it and do not hide it.
type issued struct {
	from, to int64 // Unix seconds by the server's clock
	user     string
}

// readToken reads a token in either layout. Which one a server writes does not
// depend on the version of the protocol.
func readToken(text string) (*issued, error) {
	raw, err := decode(text)
	if err != nil {
		return nil, err
	}
	if raw[0] == 'v' {
		return readToken0(raw)
	}
	return readToken1(raw)
}

// life returns how long a token lives from the moment its response was sent, or 0 where it
// does not say anything that can be true: too long a life, another user. date is the Date
// of the reply or zero; one that is not within the token's times is not of the clock that made it, and shortens nothing.
//
// Servers count in whole seconds, so up to one of them may be gone already. The shortest
// tokens keep half their life.
func (t *issued) life(user string, date time.Time) time.Duration {
	seconds := t.to - t.from - backdated
	if seconds < 1 || seconds > maxLife || t.user != user {
		return 0
	}
	if left := t.to - date.Unix(); !date.IsZero() && left >= 1 {
		seconds = min(seconds, left)
	}
	life := time.Duration(seconds) * time.Second
	return max(life-time.Second, life/2)
}

// errToken is a token that cannot be sent.
var errToken = errors.New("the reply's token is empty, or cannot stand in a header")

// token makes the token of a reply. before is what passed from the start of Issue until the
// response was sent.
func token(h http.Header, user string, before time.Duration) (*renew.Token, error) {
	text, err := readHeader(h, methodToken)
	if err != nil {
		return nil, err
	}
	if !header.Visible(text) {
		return nil, errToken
	}
	tok := &renew.Token{Value: renew.NewSecret(text), Type: "chap"}
	if t, err := readToken(text); err == nil {
		if life := t.life(user, date(h)); life > 0 {
			tok.Life, tok.Expiry = before+life, time.Unix(t.to, 0)
		}
	}
	return tok, nil
}

// date returns the Date of a reply, or zero.
func date(h http.Header) time.Time {
	t, _ := http.ParseTime(h.Get("Date"))
	return t
}
