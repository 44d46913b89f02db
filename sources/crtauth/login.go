package crtauth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/clock"
	"github.com/seed-f29168f7/renew/sources/internal/onehop"
)

// lateAfter is the age of a challenge from which a refused response may have come too late:
// challenges live for 20 s, less the way of both messages.
const lateAfter = 15 * time.Second

// login is one Issue at work.
type login struct {
	*Source
	http  *exchanger
	clk   clock.Clock
	user  string
	name  string        // of the server, as it must be in the challenge
	start time.Duration // when Issue began, by the Clock's running time

	keys    []Key
	keysErr error // why there are not more keys
}

// login logs in: the keys first, then the challenge and its response, and those once
// more when the response may have come too late.
func (s *Source) login(ctx context.Context) (*renew.Token, *renew.IssueError) {
	if ctx.Err() != nil {
		return nil, &renew.IssueError{Kind: renew.Transient, Unsent: true, Err: context.Cause(ctx)}
	}
	l := &login{Source: s, clk: s.clock(), user: s.user(), name: s.ServerName}
	l.start = l.clk.Now().Mono
	endpoint, err := s.endpoint()
	if err == nil {
		err = s.checkUser()
	}
	if err != nil {
		return nil, &renew.IssueError{Kind: renew.Invalid, Permanent: true, Unsent: true, Err: err}
	}
	if l.name == "" {
		l.name = endpoint.Hostname()
	}
	l.http = &exchanger{client: onehop.Client(s.HTTPClient), url: endpoint.String(), method: http.MethodHead, clk: l.clk}
	if l.keys, l.keysErr = s.signer().Keys(ctx); len(l.keys) == 0 {
		if l.keysErr == nil {
			l.keysErr = errors.New("the Signer has no key")
		}
		return nil, localFault(ctx, l.keysErr)
	}
	tok, age, e := l.once(ctx)
	if e == nil || !tooLate(e, age) {
		return tok, e
	}
	if tok, age, e = l.once(ctx); e == nil {
		return tok, nil
	}
	e.Refusals, e.Unsent = 1, false // the first was judged, whatever became of the second
	if e.Kind == renew.Refused {
		e.Refusals = 2
	}
	if tooLate(e, age) {
		e.Permanent = false
		e.Err = fmt.Errorf("the server refused two responses; the last signature took %v, and challenges live for about 20s: sign faster (is somebody asked to allow it?)", age.Round(time.Second))
	}
	return nil, e
}

// tooLate reports whether a response may have been refused because it took too long.
func tooLate(e *renew.IssueError, age time.Duration) bool {
	return e.Status == http.StatusForbidden && age > lateAfter
}

// once is one challenge and its response. age is how old the challenge was when its
// response was answered, or 0 where none was sent.
func (l *login) once(ctx context.Context) (tok *renew.Token, age time.Duration, e *renew.IssueError) {
	resp, e := l.http.send(ctx, methodRequest, request(l.Version, l.user))
	if e == nil {
		e = judgeRequest(resp.status, resp.header, resp.at.Wall, l.Version)
	}
	if e != nil {
		return nil, 0, e
	}
	challenged := resp.at
	c, e := l.read(resp)
	if e != nil {
		return nil, 0, e
	}
	signature, e := l.sign(ctx, c)
	if e != nil {
		return nil, 0, e
	}
	resp, e = l.http.send(ctx, methodResponse, c.response(signature))
	if e == nil {
		e = judgeResponse(resp.status, resp.header, resp.at.Wall)
	}
	if e != nil {
		return nil, l.clk.Now().Mono - challenged.Mono, e
	}
	tok, err := token(resp.header, l.user, resp.sent-l.start)
	if err != nil {
		return nil, 0, notInForm(resp.status, err)
	}
	return tok, 0, nil
}

// read reads a challenge, and says why it must not be signed.
func (l *login) read(resp *response) (*challenge, *renew.IssueError) {
	text, err := readHeader(resp.header, methodChallenge)
	if err != nil {
		return nil, notInForm(resp.status, err)
	}
	c, err := readChallenge(text)
	if err != nil {
		return nil, notInForm(resp.status, fmt.Errorf("the challenge cannot be read: %w", err))
	}
	if err := c.check(l.Version, l.name, l.user, date(resp.header), resp.at.Wall); err != nil {
		e := &renew.IssueError{Status: resp.status, Kind: renew.Invalid, Permanent: true, Err: err}
		if errors.Is(err, errTimes) || errors.Is(err, errLocal) { // clocks get set
			e.Kind, e.Permanent = renew.Transient, false
		}
		return nil, e
	}
	return c, nil
}

// sign makes the signature with the first key that is the right one and can.
func (l *login) sign(ctx context.Context, c *challenge) ([]byte, *renew.IssueError) {
	missing := &NoKeyError{Want: c.fingerprint, User: l.user, Err: l.keysErr}
	var failed error
	for _, key := range l.keys {
		fingerprint := key.Fingerprint()
		missing.Have = append(missing.Have, fingerprint)
		if fingerprint != c.fingerprint {
			continue
		}
		signature, err := key.sign(ctx, c.signed)
		if err == nil {
			return signature, nil
		}
		if ctx.Err() != nil {
			return nil, localFault(ctx, err)
		}
		if failed == nil {
			failed = err
		}
	}
	switch {
	case failed != nil:
		return nil, localFault(ctx, failed)
	case l.keysErr != nil: // the right key may be where none could be looked at
		return nil, localFault(ctx, missing)
	}
	return nil, &renew.IssueError{Kind: renew.Refused, Permanent: true, Err: missing}
}

// localFault is trouble with the keys. Nothing was judged, so it costs no unit: Unsent says so, also after the
// challenge was asked for.
func localFault(ctx context.Context, err error) *renew.IssueError {
	if ctx.Err() != nil {
		return &renew.IssueError{Kind: renew.Transient, Unsent: true, Err: context.Cause(ctx)}
	}
	if e, ok := errors.AsType[*renew.IssueError](err); ok {
		c := *e
		return &c
	}
	e := &renew.IssueError{Kind: renew.Transient, Unsent: true, Err: err}
	if _, final := errors.AsType[*renew.ConfigError](err); final {
		e.Kind, e.Permanent = renew.Invalid, true
	}
	return e
}
