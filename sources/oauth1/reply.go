package oauth1

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/sources/internal/tokenendpoint"
)

// readReply tells what a reply of the temporary or the token endpoint means: credentials, or an
// error without Source and Host. It is pure and its time is linear in the body.
func readReply(status int, h http.Header, body []byte, now time.Time) (Credentials, *renew.IssueError) {
	if len(body) > tokenendpoint.MaxReply {
		return Credentials{}, &renew.IssueError{Status: status, Err: errors.New("the reply is longer than 1 MiB")}
	}
	text := strings.TrimSpace(string(body)) // some servers end the form with a line break
	got, err := parseCredentials(text)
	if status/100 == 2 && err == nil {
		return got, nil
	}
	// Some servers report problems in the body, also with status 200.
	problem := problemIn(append(h.Values("WWW-Authenticate"), text))
	if status/100 == 2 && problem == "" {
		return Credentials{}, &renew.IssueError{Status: status, Err: err}
	}
	pause, asked := tokenendpoint.RetryAfter(h, now)
	return Credentials{}, judge(status, problem, pause, asked)
}

// judge is the table of what a failure means.
func judge(status int, problem string, pause time.Duration, asked bool) *renew.IssueError {
	e := &renew.IssueError{Status: status, Code: problem, RetryAfter: pause}
	switch {
	case status/100 == 3:
		e.Kind, e.Permanent, e.Code = renew.Invalid, true, ""
		e.Err = errors.New("the endpoint redirects, which is not followed: configure the address it has now")
	case status == http.StatusTooManyRequests, status == http.StatusServiceUnavailable && asked:
		e.Kind = renew.Throttled
	case status < 200, status == http.StatusRequestTimeout, status >= 500:
		e.Kind = renew.Transient
	case problem == problemNonce, problem == problemTimestamp:
		e.Kind = renew.Refused
		e.Err = errors.New("the server refuses the nonce or the timestamp: look at this host's clock, and try again")
	case problem != "":
		e.Kind, e.Permanent = renew.Refused, true
	case status == http.StatusNotFound:
		e.Kind, e.Permanent = renew.Refused, true
		e.Err = errors.New("there is no endpoint of the protocol at this address")
	case status == http.StatusUnauthorized:
		// RFC 5849, section 3.2: a wrong client or signature, a token or verifier that is no good, a nonce, a timestamp.
		e.Kind = renew.Refused
		e.Err = errors.New("the server refuses the signature or the credentials: check the client's key and secret, the Method, and this host's clock; a verifier works once")
	default:
		e.Kind = renew.Transient
		e.Err = errors.New("the reply has no error code of the protocol: look at this host's clock, and try again")
	}
	return e
}

// parseCredentials reads the form of RFC 5849, sections 2.1 and 2.3. The Content-Type is not looked at: many servers
// send another.
func parseCredentials(text string) (Credentials, error) {
	fail := func(reason string) (Credentials, error) {
		return Credentials{}, errors.New("the reply is not in the protocol's form: it " + reason)
	}
	p, err := parseOnce(text)
	if err != nil {
		return fail(err.Error())
	}
	token := p["oauth_token"]
	secret, ok := p["oauth_token_secret"]
	switch {
	case token.IsZero():
		return fail("has no oauth_token")
	case !ok:
		return fail("has no oauth_token_secret")
	}
	delete(p, "oauth_token")
	delete(p, "oauth_token_secret")
	return Credentials{Token: token, Secret: secret, Extra: p}, nil
}

// parseOnce reads a form in which no parameter stands twice: two readers could see two
// tokens. Where names are given, others are left out and may repeat. Values are text: UTF-8, without control
// characters. The error, which holds nothing of the form, follows the word for it.
func parseOnce(text string, only ...string) (map[string]renew.Secret, error) {
	p := make(map[string]renew.Secret, 4)
	err := split(text, func(name, value string) error {
		n, err := unescape(name)
		if err != nil {
			return errNotForm
		}
		if len(only) > 0 && !slices.Contains(only, n) {
			return nil
		}
		v, err := unescape(value)
		if err != nil {
			return errNotForm
		}
		if _, twice := p[n]; twice {
			return errTwice
		}
		if !isText(v) {
			return errNotText
		}
		p[n] = renew.NewSecret(v)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return p, nil
}

var (
	errNotForm = errors.New("is not a form")
	errTwice   = errors.New("has a parameter twice")
	errNotText = errors.New("has a value that is not text")
)

func isText(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] == 0x7f {
			return false
		}
	}
	return utf8.ValidString(s)
}
