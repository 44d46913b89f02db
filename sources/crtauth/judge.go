package crtauth

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/sources/internal/tokenendpoint"
)

// judgeRequest tells what the status of a request's reply means; nil is a success. Servers
// answer nearly everything with 403, so the text names what can be wrong.
func judgeRequest(status int, h http.Header, now time.Time, v Version) *renew.IssueError {
	e := judge(status, h, now)
	switch {
	case e == nil:
	case status == http.StatusForbidden || status == http.StatusBadRequest:
		other := "Version0"
		if v == Version0 {
			other = "Version1"
		}
		// Not for good: a server whose directory is down answers the same.
		e.Kind = renew.Refused
		e.Err = fmt.Errorf("the server does not take the user name, or not this version of the protocol (try %s), or cannot look the user up", other)
	case status == http.StatusInternalServerError && v == Version0:
		e.Err = errors.New("the server failed, as it does in version 0 over some user names, with a dot or an @ for one: try Version1")
	case status == http.StatusInternalServerError:
		e.Err = errors.New("the server failed: see its log")
	}
	return e
}

// judgeResponse does the same for a response.
func judgeResponse(status int, h http.Header, now time.Time) *renew.IssueError {
	e := judge(status, h, now)
	switch {
	case e == nil:
	case status == http.StatusForbidden:
		e.Kind, e.Permanent = renew.Refused, true
		e.Err = errors.New("the server refused the signature: it has another key for the user, or its clock is off, or servers behind one address have different secrets or names")
	case status == http.StatusInternalServerError:
		e.Err = errors.New("the server failed: see its log (one in Java answers so, too, when it refuses the signature)")
	}
	return e
}

// judge is what both steps have in common.
func judge(status int, h http.Header, now time.Time) *renew.IssueError {
	switch status {
	case http.StatusNotFound, http.StatusMethodNotAllowed:
		return &renew.IssueError{Status: status, Kind: renew.Refused, Permanent: true,
			Err: errors.New("this is not a crtauth server, or its login is at another Path")}
	case http.StatusUnauthorized:
		return &renew.IssueError{Status: status, Kind: renew.Refused, Permanent: true,
			Err: errors.New("the server wants a token here too: its login is at another Path, or it is older than 0.99.0 and takes HEAD alone")}
	}
	if status/100 == 2 {
		return nil
	}
	return tokenendpoint.Classify(status, h, nil, now)
}

// notInForm is a reply that is not what the protocol has there. A proxy's page may be the
// reason, so it is taken as passing.
func notInForm(status int, err error) *renew.IssueError {
	return &renew.IssueError{Status: status, Kind: renew.Transient, Err: err}
}
