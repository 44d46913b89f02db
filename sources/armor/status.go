package armor

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/seed-f29168f7/renew/sources/internal/tokenendpoint"
)

// StatusError is a response with a status of 400 or more. It holds the response, and prints
// without its body, its headers and the query of its URL.
type StatusError struct {
	// Status is the HTTP status.
	Status int
	// Method and Host say what was asked of whom.
	Method, Host string
	// Code and Reference are Armor's error code and the number of the failure for its support; empty
	// where the body has none, or one that is not a plain word.
	Code, Reference string
	// RetryAfter is the pause that the server asked for; 0 means it did not say.
	RetryAfter time.Duration
	// Err is why a 401 led to no further attempt: a *renew.BudgetError, or how the login failed. It is nil where
	// there was such an attempt, or none was due.
	Err error

	response func() *http.Response // a func, so that dumps of an error do not show it
	message  func() string
}

// Response returns the response. Its body can be read, has up to 1 MiB, and need not be closed.
func (e *StatusError) Response() *http.Response { return e.response() }

// Message returns what the body says in words, or nothing. It is the server's text: it may repeat
// what was sent, so it is not part of Error.
func (e *StatusError) Message() string { return e.message() }

// Error says who answered what.
func (e *StatusError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "armor: %s %s: %d", e.Method, e.Host, e.Status)
	if text := http.StatusText(e.Status); text != "" {
		b.WriteString(" " + text)
	}
	if e.Code != "" {
		b.WriteString(", code " + e.Code)
	}
	if e.Reference != "" {
		b.WriteString(", reference " + e.Reference)
	}
	if e.Err != nil {
		b.WriteString(": " + e.Err.Error())
	}
	return b.String()
}

// Unwrap returns why a 401 led to no further attempt, or nil.
func (e *StatusError) Unwrap() error { return e.Err }

// statusError reads the body of a failed response and closes it.
func (c *Client) statusError(resp *http.Response, made *call) error {
	body, _ := io.ReadAll(io.LimitReader(resp.Body, tokenendpoint.MaxReply)) // what came is what there is
	_ = resp.Body.Close()
	resp.Body = io.NopCloser(bytes.NewReader(body))
	e := &StatusError{Status: resp.StatusCode, Method: resp.Request.Method, Host: resp.Request.URL.Host, Err: made.refused,
		response: func() *http.Response { return resp }}
	e.RetryAfter, _ = tokenendpoint.RetryAfter(resp.Header, c.clock.Now().Wall)
	said := explain(body)
	e.Code, e.Reference = made.unlike(said.code), made.unlike(said.reference)
	e.message = func() string { return said.message }
	return e
}

// explanation is what an error body says. Armor has several forms of them.
type explanation struct{ code, reference, message string }

// explain reads an error body, leniently.
func explain(body []byte) explanation {
	m, err := object(body, "errorcode", "error", "referenceid", "message", "errormessage", "error_description", "detail")
	if err != nil {
		return explanation{}
	}
	first := func(accept func(string) bool, names ...string) string {
		for _, name := range names {
			if s := scalar(m[name]); s != "" && accept(s) {
				return s
			}
		}
		return ""
	}
	const most = 4 << 10
	return explanation{
		code:      first(isWord, "errorcode", "error"),
		reference: first(isWord, "referenceid"),
		message:   first(func(s string) bool { return len(s) <= most }, "message", "errormessage", "error_description", "detail"),
	}
}

// scalar returns a string, or a number as text.
func scalar(value json.RawMessage) string {
	if s, ok := stringOf(value); ok {
		return s
	}
	var n json.Number
	if absent(value) || json.Unmarshal(value, &n) != nil {
		return ""
	}
	return n.String()
}

// isWord reports whether s can be shown: a short word, too short and too plain to repeat
// a request in.
func isWord(s string) bool {
	for i := range len(s) {
		c := s[i]
		if ('a' > c || c > 'z') && ('A' > c || c > 'Z') && ('0' > c || c > '9') && c != '_' && c != '-' && c != '.' {
			return false
		}
	}
	return s != "" && len(s) <= 64
}

// unlike returns word, unless it repeats a token that was sent.
func (c *call) unlike(word string) string {
	for _, s := range c.sent {
		if token := s.Reveal(); token != "" && (strings.Contains(word, token) || len(word) >= 8 && strings.Contains(token, word)) {
			return ""
		}
	}
	return word
}
