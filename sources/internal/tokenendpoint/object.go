package tokenendpoint

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/seed-f29168f7/renew"
)

// Object is the wanted members of a JSON object that came from an endpoint.
type Object struct{ m members }

// ParseObject reads one JSON object of at most MaxReply bytes and keeps the named members. Its errors quote nothing.
func ParseObject(body []byte, names ...string) (Object, error) {
	if len(body) > MaxReply {
		return Object{}, fmt.Errorf("it is longer than %d bytes", MaxReply)
	}
	m, err := parseObject(body, func(name string) bool { return slices.Contains(names, name) })
	return Object{m}, err
}

// Text returns a string. A missing one, null and "" are empty.
func (o Object) Text(name string) (string, error) { return o.m.text(name) }

// Texts returns an array of strings. A missing one and null are empty.
func (o Object) Texts(name string) (list []string, err error) {
	if value := o.m[name]; value != nil && json.Unmarshal(value, &list) != nil {
		return nil, errors.New(name + " is not an array of strings")
	}
	return list, nil
}

// True reports whether a member is true. Anything else is not.
func (o Object) True(name string) bool { return string(o.m[name]) == "true" }

// Seconds returns a number of seconds, which may be a string too. A missing one and null are 0; 100 years is the most.
func (o Object) Seconds(name string) (time.Duration, error) {
	value := string(o.m[name])
	if value == "" || value == "null" {
		return 0, nil
	}
	if value[0] == '"' {
		var err error
		if value, err = o.m.text(name); err != nil {
			return 0, err
		}
	}
	d, ok := seconds(value)
	if !ok {
		return 0, errors.New(name + " is not a number")
	}
	return d, nil
}

// judgeReply tells what a reply means that should hold no token: nil, or an error without Source and Host. A 2xx
// passes only if it says no error in any form; one whose parameters cannot be read may say one.
func judgeReply(a answer, now time.Time) *renew.IssueError {
	m, err := parse(a.header.Get("Content-Type"), a.body)
	code := errorCode(m)
	if a.status/100 != 2 || code != "" {
		pause, asked := RetryAfter(a.header, now)
		return judge(a.status, code, pause, asked)
	}
	if says := string(m["error"]); says != "" && says != "null" && says != `""` && says != "false" {
		err = errors.New("its error is no code")
	}
	if err == nil || errors.Is(err, errNoObject) { // what is there beside parameters is for the caller
		return nil
	}
	return &renew.IssueError{Status: a.status, Err: fmt.Errorf("the reply is not in the protocol's form: %w", err)}
}

// ErrorCode returns the error code that a redirect or a reply names, or the empty string where the text cannot
// be one (RFC 6749, sections 4.1.2.1 and 5.2).
func ErrorCode(text string) string {
	value, _ := json.Marshal(text) // strings always marshal
	return errorCode(members{"error": value})
}

// Meaning returns the error that a code means which came with no HTTP status, without Source and Host.
func Meaning(code string) *renew.IssueError {
	e := judge(http.StatusBadRequest, code, 0, false)
	e.Status = 0
	return e
}
