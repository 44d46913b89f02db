// Package challenge parses what servers say about authentication: WWW-Authenticate and
// Proxy-Authenticate (RFC 9110, section 11.6.1), and Authentication-Info and
// Proxy-Authentication-Info (section 11.6.3).
//
// The fields come from strangers: parsing takes a time that is linear in their length, and
// keeps at most 64 challenges of at most 64 parameters.
package challenge

import (
	"errors"
	"strings"

	"github.com/seed-f29168f7/renew/sources/internal/header"
)

// The bounds, per call of Parse and per challenge. Servers send fewer than ten of each.
const (
	maxChallenges = 64
	maxParams     = 64
)

// Challenge is one challenge. It has a Token68, or Params, or neither.
type Challenge struct {
	// Scheme is the auth-scheme as it was sent: compare it with Is.
	Scheme string
	// Token68 is the text that stands in place of parameters, as Negotiate has it. Empty means none.
	Token68 string
	// Params are the parameters, in their order.
	Params Params
}

// Is reports whether the challenge is of that scheme, in any case.
func (c Challenge) Is(scheme string) bool { return strings.EqualFold(c.Scheme, scheme) }

// Param is one parameter.
type Param struct {
	// Name is in lower case.
	Name string
	// Value is without its quotes and backslashes. It may hold any byte but control characters; a tab is allowed.
	Value string
}

// Params are parameters, no two of which have the same name.
type Params []Param

// Get returns the value of a parameter, whose name is given in lower case, and whether it is there.
func (p Params) Get(name string) (value string, ok bool) {
	for i := range p {
		if p[i].Name == name {
			return p[i].Value, true
		}
	}
	return "", false
}

// The faults. None quotes the field, which may hold what the client sent.
var (
	errEnd       = errors.New("challenge: text stands where a comma or the end should be")
	errScheme    = errors.New("challenge: no auth-scheme stands where one should")
	errSpace     = errors.New("challenge: something else than spaces stands behind an auth-scheme")
	errName      = errors.New("challenge: a parameter has no name")
	errEquals    = errors.New("challenge: a parameter has no equals sign")
	errValue     = errors.New("challenge: a parameter has no value")
	errQuote     = errors.New("challenge: a quoted text has no end")
	errControl   = errors.New("challenge: a quoted text has a control character")
	errTwice     = errors.New("challenge: a parameter is there twice")
	errManyParam = errors.New("challenge: too many parameters")
	errMany      = errors.New("challenge: too many challenges")
)

// Parse returns the challenges of the field lines, in their order. The same scheme may be there several times.
//
// The challenges that it returns are good, also beside an error, which is that of the first fault. A
// challenge with a fault is left out, and so is all behind it in its line, since nobody can say where it
// ends; the other lines are read.
func Parse(lines []string) ([]Challenge, error) {
	var all []Challenge
	var first error
	for _, line := range lines {
		s := scanner{text: line}
		for first != errMany {
			c, ok, err := s.challenge()
			if err == nil && ok && len(all) == maxChallenges {
				err = errMany
			}
			if err != nil && first == nil || err == errMany {
				first = err
			}
			if err != nil || !ok {
				break
			}
			all = append(all, c)
		}
	}
	return all, first
}

// ParseInfo returns the parameters of Authentication-Info or Proxy-Authentication-Info. With an error there are none.
func ParseInfo(lines []string) (Params, error) {
	var all Params
	for _, line := range lines {
		s := scanner{text: line}
		for s.item() {
			p, err := s.param()
			if err == nil {
				all, err = add(all, p)
			}
			if err == nil {
				err = s.end()
			}
			if err != nil {
				return nil, err
			}
		}
	}
	return all, nil
}

// add appends p, unless its name is there already or there are too many.
func add(all Params, p Param) (Params, error) {
	if _, twice := all.Get(p.Name); twice {
		return nil, errTwice
	}
	if len(all) == maxParams {
		return nil, errManyParam
	}
	return append(all, p), nil
}

// scanner reads one field line.
type scanner struct {
	text string
	pos  int
	// looked counts bytes that were looked at, those that were looked at twice too.
	looked int
}

// challenge reads the next one; false at the end of the line.
func (s *scanner) challenge() (c Challenge, ok bool, err error) {
	if !s.item() {
		return c, false, nil
	}
	if c.Scheme = s.span(isToken); c.Scheme == "" {
		return c, false, errScheme
	}
	spaces := s.span(isSpace)
	if s.end() == nil {
		return c, true, nil
	}
	if strings.Trim(spaces, " ") != "" || spaces == "" {
		if s.peek() == '=' {
			return c, false, errScheme // a parameter
		}
		return c, false, errSpace
	}
	if c.Token68, ok = s.token68(); ok {
		return c, true, nil
	}
	for {
		p, err := s.param()
		if err == nil {
			c.Params, err = add(c.Params, p)
		}
		if err == nil {
			err = s.end()
		}
		if err != nil {
			return c, false, err
		}
		if !s.item() || !s.startsParam() {
			return c, true, nil
		}
	}
}

// item goes to the next item of a list, past commas and white space; false at the end.
func (s *scanner) item() bool {
	s.span(isSeparator)
	return s.pos < len(s.text)
}

// end checks that the item ends here. It stops before the comma.
func (s *scanner) end() error {
	s.span(isSpace)
	if s.pos < len(s.text) && s.text[s.pos] != ',' {
		return errEnd
	}
	return nil
}

// startsParam looks whether a parameter follows, and not another challenge.
func (s *scanner) startsParam() bool {
	at := s.pos
	defer func() { s.pos = at }()
	s.span(isToken)
	s.span(isSpace)
	return s.peek() == '='
}

// token68 reads a token68 (RFC 9110, section 11.2), which is all of its challenge; if there is none, it stays where it is.
func (s *scanner) token68() (string, bool) {
	at := s.pos
	text := s.span(isToken68)
	s.span(isEquals)
	whole := s.text[at:s.pos]
	if text == "" || s.end() != nil {
		s.pos = at
		return "", false
	}
	return whole, true
}

// param reads a parameter. Its value is a token or a quoted-string.
func (s *scanner) param() (p Param, err error) {
	if p.Name = strings.ToLower(s.span(isToken)); p.Name == "" {
		return p, errName
	}
	s.span(isSpace)
	if s.peek() != '=' {
		return p, errEquals
	}
	s.pos++
	s.span(isSpace)
	if s.peek() == '"' {
		p.Value, err = s.quoted()
		return p, err
	}
	if p.Value = s.span(isToken); p.Value == "" {
		return p, errValue
	}
	return p, nil
}

// quoted reads a quoted-string (RFC 9110, section 5.6.4) and takes it out of its quotes.
func (s *scanner) quoted() (string, error) {
	s.pos++
	plain := s.span(isQuotedText)
	if s.peek() == '"' {
		s.pos++
		return plain, nil
	}
	b := []byte(plain)
	for s.pos < len(s.text) {
		switch c := s.text[s.pos]; {
		case c == '"':
			s.pos++
			return string(b), nil
		case c != '\\':
			return "", errControl
		case s.pos+1 == len(s.text):
			return "", errQuote
		case isControl(s.text[s.pos+1]):
			return "", errControl
		}
		b = append(b, s.text[s.pos+1])
		s.pos += 2
		b = append(b, s.span(isQuotedText)...)
	}
	return "", errQuote
}

// peek returns the next byte, or NUL at the end.
func (s *scanner) peek() byte {
	if s.pos == len(s.text) {
		return 0
	}
	return s.text[s.pos]
}

// span goes past the bytes of a kind and returns them.
func (s *scanner) span(is func(byte) bool) string {
	at := s.pos
	for s.pos < len(s.text) && is(s.text[s.pos]) {
		s.pos++
	}
	s.looked += s.pos - at + 1
	return s.text[at:s.pos]
}

func isSpace(c byte) bool     { return c == ' ' || c == '\t' }
func isSeparator(c byte) bool { return c == ',' || isSpace(c) }
func isEquals(c byte) bool    { return c == '=' }
func isControl(c byte) bool   { return c < ' ' && c != '\t' || c == 0x7f }

func isQuotedText(c byte) bool { return c != '"' && c != '\\' && !isControl(c) }

func isToken(c byte) bool { return c < 0x80 && header.IsToken(string(rune(c))) }

func isToken68(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return true
	}
	return strings.IndexByte("-._~+/", c) >= 0
}
