package tokenendpoint

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/sources/internal/header"
	"github.com/seed-f29168f7/renew/sources/internal/jsonobject"
)

// MaxLife bounds every life, so that no deadline computed from one overflows: 100 years.
const MaxLife = 100 * 365 * 24 * time.Hour

// members are the parameters of a reply that are read, by name, each as JSON.
type members map[string]json.RawMessage

// wanted reports whether a parameter is read. RFC 6749, section 5.1: "The client
// MUST ignore unrecognized value names in the response."
func wanted(name string) bool {
	switch name {
	case "access_token", "token_type", "expires_in", "refresh_token", "scope", "issued_token_type", "error":
		return true
	}
	return false
}

// read tells what a reply means: a token, or an error without Source and Host. It
// is pure and its time is linear in the body.
func read(status int, h http.Header, body []byte, now time.Time, tokenType string) (*renew.Token, *renew.IssueError) {
	m, err := parse(h.Get("Content-Type"), body)
	code := errorCode(m)
	// Some servers answer 200 with an error parameter; a reply that says error is one.
	if status/100 == 2 && code == "" {
		var tok *renew.Token
		if err == nil {
			tok, err = m.token(tokenType)
		}
		if err == nil {
			return tok, nil
		}
		e := &renew.IssueError{Status: status, Err: fmt.Errorf("the reply is not in the protocol's form: %w", err)}
		if errors.Is(err, errTokenType) {
			e.Kind, e.Permanent, e.Err = renew.Invalid, true, err
		}
		return nil, e
	}
	pause, asked := RetryAfter(h, now)
	return nil, judge(status, code, pause, asked)
}

// parse returns the parameters of a body. The Content-Type is not trusted when the
// body is an object: some servers send JSON as text/html.
func parse(contentType string, body []byte) (members, error) {
	if len(body) > MaxReply {
		return nil, fmt.Errorf("it is longer than %d bytes", MaxReply)
	}
	// RFC 8259, section 8.1: a parser may ignore a byte order mark.
	body = bytes.TrimLeft(bytes.TrimPrefix(body, []byte("\ufeff")), " \t\r\n")
	if len(body) > 0 && body[0] == '{' {
		return parseObject(body, wanted)
	}
	if media, _, err := mime.ParseMediaType(contentType); err == nil && media == "application/x-www-form-urlencoded" && len(body) > 0 {
		return parseForm(string(body))
	}
	return nil, errNoObject
}

var (
	errNoObject = errors.New("it is not a JSON object")
	errTwice    = errors.New("a parameter stands in it twice")
)

// parseObject reads the wanted members of one object, and nothing may stand behind it. Names are compared
// exactly, and RFC 6749, section 3.2, holds: "Request and response parameters
// MUST NOT be included more than once", or two readers could see two tokens.
func parseObject(body []byte, wanted func(name string) bool) (members, error) {
	m := make(members, 8)
	err := jsonobject.Members(body, func(name string, value json.RawMessage) error {
		if !wanted(name) {
			return nil
		}
		return m.add(name, value)
	})
	if err != nil {
		return nil, err
	}
	return m, nil
}

// parseForm reads an application/x-www-form-urlencoded body, which GitHub and
// older servers send.
func parseForm(body string) (members, error) {
	values, err := url.ParseQuery(body)
	if err != nil {
		return nil, errors.New("it is not a form")
	}
	m := make(members, 8)
	for name, texts := range values {
		if !wanted(name) {
			continue
		}
		for _, text := range texts {
			value, _ := json.Marshal(text) // strings always marshal
			if err := m.add(name, value); err != nil {
				return nil, err
			}
		}
	}
	return m, nil
}

func (m members) add(name string, value json.RawMessage) error {
	if _, ok := m[name]; ok {
		return errTwice
	}
	m[name] = value
	return nil
}

// text returns a string parameter. A missing one, null and "" are empty.
func (m members) text(name string) (string, error) {
	value := m[name]
	if value == nil || string(value) == "null" {
		return "", nil
	}
	var s string
	if json.Unmarshal(value, &s) != nil {
		return "", errors.New(name + " is not a string")
	}
	return s, nil
}

// token makes a token of a successful reply (RFC 6749, section 5.1). Of the
// parameters that the RFC does not define it keeps issued_token_type (RFC 8693,
// section 2.2.1) and no other: they may be secret.
func (m members) token(tokenType string) (*renew.Token, error) {
	value, err := m.text("access_token")
	if err != nil {
		return nil, err
	}
	if value == "" {
		return nil, errors.New("it has no access_token")
	}
	if !header.Visible(value) {
		return nil, errors.New("the access_token cannot stand in a header")
	}
	typ, err := m.scheme(tokenType)
	if err != nil {
		return nil, err
	}
	life, err := m.life()
	if err != nil {
		return nil, err
	}
	refresh, err := m.text("refresh_token")
	if err != nil {
		return nil, err
	}
	if !between(refresh, 0x20, 0x7e) { // RFC 6749, appendix A.17: VSCHAR
		return nil, errors.New("the refresh_token is not ASCII text")
	}
	tok := &renew.Token{Value: renew.NewSecret(value), Type: typ, Life: life, Refresh: renew.NewSecret(refresh)}
	if scope := m.scope(); scope != "" {
		tok = tok.WithAttr("scope", scope)
	}
	if issued, err := m.text("issued_token_type"); err == nil && header.Visible(issued) {
		tok = tok.WithAttr("issued_token_type", issued)
	}
	return tok, nil
}

// errTokenType is a token that cannot be sent. It does not quote the type, which
// is the issuer's text.
var errTokenType = errors.New("the reply's token_type is not Bearer, and how to send another type is not known")

// scheme returns the auth-scheme. RFC 6749, section 7.1: "The client MUST NOT use
// an access token if it does not understand the token type", and section 5.1: the
// type is case insensitive. A reply without one is taken as Bearer, since many
// servers leave it out.
func (m members) scheme(override string) (string, error) {
	typ, err := m.text("token_type")
	switch {
	case override != "":
		return override, nil
	case err != nil:
		return "", err
	case typ == "" || strings.EqualFold(typ, "bearer"):
		return "Bearer", nil
	}
	return "", errTokenType
}

// life returns how long the token lives. RFC 6749, section 5.1: expires_in is "the
// lifetime in seconds"; servers send it as a number, a fraction or a string. A missing
// one is 0, unknown. Zero and less are refused, since an expired token would pass for
// one that never expires, and so is what is no number. 100 years is the most.
func (m members) life() (time.Duration, error) {
	value := m["expires_in"]
	if value == nil || string(value) == "null" {
		return 0, nil
	}
	text := string(value)
	if text[0] == '"' {
		var err error
		if text, err = m.text("expires_in"); err != nil {
			return 0, err
		}
	}
	d, ok := seconds(strings.TrimSpace(text))
	switch {
	case !ok:
		return 0, errors.New("expires_in is not a number")
	case d <= 0:
		return 0, errors.New("expires_in says that the token has expired")
	}
	return min(d, MaxLife), nil
}

// scope returns the scope. Where it is not in the form of RFC 6749, section 3.3, it is
// left out: nothing depends on it. Twitch sends an array of strings.
func (m members) scope() string {
	s, err := m.text("scope")
	if err != nil {
		var list []string
		if json.Unmarshal(m["scope"], &list) != nil {
			return ""
		}
		s = strings.Join(list, " ")
	}
	if !between(s, 0x20, 0x7e) {
		return ""
	}
	return s
}

// errorCode returns the reply's protocol error code, or the empty string. RFC 6749,
// section 5.2: its characters are %x20-21 / %x23-5B / %x5D-7E. A longer text than
// 64 of them is no code.
func errorCode(m members) string {
	code, err := m.text("error")
	if err != nil || len(code) > 64 || !between(code, 0x20, 0x7e) || strings.ContainsAny(code, `"\`) || strings.TrimSpace(code) == "" {
		return ""
	}
	return code
}

// RetryAfter returns the pause that a reply asks for (RFC 9110, section 10.2.3), and
// whether it asks for one. The field is a number of seconds or a date; a date counts from
// the reply's own Date, so that the local clock does not matter, and without one from
// now. The pause is at least 0 and at most an hour.
func RetryAfter(h http.Header, now time.Time) (time.Duration, bool) {
	text := strings.TrimSpace(h.Get("Retry-After"))
	d, ok := seconds(text)
	if !ok {
		at, err := http.ParseTime(text)
		if err != nil {
			return 0, false
		}
		if date, err := http.ParseTime(h.Get("Date")); err == nil {
			now = date
		}
		d = at.Sub(now)
	}
	return min(max(d, 0), time.Hour), true
}

// seconds reads a decimal number of seconds in the form of RFC 8259, section 6. It
// stops at plus and minus the longest life, where a Duration cannot overflow.
func seconds(text string) (time.Duration, bool) {
	if !isNumber(text) {
		return 0, false
	}
	f, _ := strconv.ParseFloat(text, 64) // linear in the text; out of range is an infinity
	const most = float64(MaxLife / time.Second)
	return time.Duration(min(max(f, -most), most) * float64(time.Second)), true
}

// isNumber reports whether text is a number of RFC 8259, section 6, leading zeros
// allowed. strconv alone would take Inf, NaN, 0x10 and 1_000 too.
func isNumber(text string) bool {
	text = strings.TrimPrefix(text, "-")
	text, ok := digits(text)
	if !ok {
		return false
	}
	if rest, found := strings.CutPrefix(text, "."); found {
		if text, ok = digits(rest); !ok {
			return false
		}
	}
	if text != "" && (text[0] == 'e' || text[0] == 'E') {
		text = text[1:]
		if text != "" && (text[0] == '+' || text[0] == '-') {
			text = text[1:]
		}
		if text, ok = digits(text); !ok {
			return false
		}
	}
	return text == ""
}

// digits cuts the digits off the front of text and reports whether there were any.
func digits(text string) (rest string, ok bool) {
	rest = strings.TrimLeft(text, "0123456789")
	return rest, len(rest) < len(text)
}

// between reports whether every byte of s is in the range.
func between(s string, low, high byte) bool {
	for i := range len(s) {
		if s[i] < low || s[i] > high {
			return false
		}
	}
	return true
}
