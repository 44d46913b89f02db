package armor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/clock"
	"github.com/seed-f29168f7/renew/sources/internal/onehop"
	"github.com/seed-f29168f7/renew/sources/internal/tokenendpoint"
)

// ownTransport serves those who bring no client: one for all, or each of many
// Sources would keep connections of its own. It uses no proxy unless one is configured
// by giving a client, since a proxy of the environment would see where a daemon goes.
var ownTransport = &http.Transport{
	DialContext:            (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
	TLSHandshakeTimeout:    10 * time.Second,
	ForceAttemptHTTP2:      true,
	MaxIdleConnsPerHost:    8,
	IdleConnTimeout:        30 * time.Second,
	MaxResponseHeaderBytes: 64 << 10,
}

// step is a part of a login: what its statuses mean depends on it.
type step uint8

const (
	stepAuthorize step = iota
	stepToken
	stepReissue
	stepMe
	stepPage // of the AD FS
)

// String names the step for errors.
func (s step) String() string {
	return [...]string{"authorize", "token", "reissue", "me", "the login page"}[s]
}

// login is what the exchanges of one login have in common.
type login struct {
	source string // for IssueError
	client *http.Client
	clock  clock.Clock
}

// newLogin returns a login whose exchanges follow no redirect by themselves. jar keeps
// the cookies of this login, or is nil for none.
func newLogin(source string, client *http.Client, jar http.CookieJar, clk clock.Clock) *login {
	if client == nil {
		client = &http.Client{Transport: ownTransport}
	}
	own := onehop.Client(client)
	own.Jar = jar
	if clk == nil {
		clk = clock.Real{}
	}
	return &login{source: source, client: own, clock: clk}
}

var errPassword = errors.New("user name or password is wrong, or the account is locked: set the right ones, and then Reset")

// answer is a reply, read whole.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// exchange sends one request and reads the reply, up to 1 MiB. Only of the first step of a login
// an error may say that nothing was sent.
func (l *login) exchange(ctx context.Context, at step, first bool, req *http.Request) (answer, *renew.IssueError) {
	fail := func(err error) *renew.IssueError {
		if ctx.Err() != nil {
			return &renew.IssueError{Err: context.Cause(ctx)}
		}
		e := tokenendpoint.Fault(err)
		if !first {
			e = judgedFault(at, e)
		}
		return e
	}
	if ctx.Err() != nil {
		e := fail(ctx.Err())
		e.Unsent = first
		return answer{}, l.at(req, e)
	}
	resp, err := l.client.Do(req.WithContext(ctx))
	if err != nil {
		return answer{}, l.at(req, fail(err))
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, tokenendpoint.MaxReply+1))
	if err != nil {
		e := fail(err)
		e.Unsent = false
		return answer{}, l.at(req, e)
	}
	if len(body) > tokenendpoint.MaxReply {
		return answer{}, l.at(req, &renew.IssueError{Err: fmt.Errorf("the reply of %v is longer than %d bytes", at, tokenendpoint.MaxReply)})
	}
	return answer{resp.StatusCode, resp.Header, body}, nil
}

// judgedFault makes an error of one that came after the credentials were accepted: the
// attempt was judged, so it must neither say nor look as if it had not been sent (R18).
func judgedFault(at step, e *renew.IssueError) *renew.IssueError {
	return &renew.IssueError{Kind: e.Kind, Err: fmt.Errorf("%v, after the credentials were accepted: %s", at, e.Err)}
}

// at fills in what the exchange knows of itself.
func (l *login) at(req *http.Request, e *renew.IssueError) *renew.IssueError {
	e.Source, e.Host = l.source, tokenendpoint.Host(req.URL.String())
	return e
}

// send is exchange for a JSON API: it returns the body of a 200, and what any other
// reply means as an error. body is sent as JSON, or nothing for nil.
func (l *login) send(ctx context.Context, at step, method, url string, body any, set http.Header) ([]byte, *renew.IssueError) {
	var payload []byte
	if body != nil {
		payload, _ = json.Marshal(body) // maps of strings always marshal
	}
	req, err := http.NewRequest(method, url, bytes.NewReader(payload))
	if err != nil {
		return nil, &renew.IssueError{Source: l.source, Kind: renew.Invalid, Permanent: true, Unsent: true, Err: errors.New("the URL cannot be requested")}
	}
	for name, values := range set {
		req.Header[name] = values
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("Content-Type", "application/json")
	first := at == stepAuthorize || at == stepReissue
	ans, e := l.exchange(ctx, at, first, req)
	if e != nil {
		return nil, e
	}
	if e := judge(at, first, ans, l.clock.Now().Wall); e != nil {
		return nil, l.at(req, e)
	}
	return ans.body, nil
}

// malformed is the error for a reply that is not in the protocol's form.
func (l *login) malformed(at step, url string, err error) *renew.IssueError {
	return &renew.IssueError{Source: l.source, Host: tokenendpoint.Host(url), Err: fmt.Errorf("the reply of %v is not in the protocol's form: %w", at, err)}
}

// judge tells what a status means, or returns nil for 200. After the first step of a login the credentials
// were judged: then a 5xx stands in the text alone, since as a Status it would say that
// they were not (R18).
func judge(at step, first bool, ans answer, now time.Time) *renew.IssueError {
	e := &renew.IssueError{Status: ans.status}
	pause, asked := tokenendpoint.RetryAfter(ans.header, now)
	e.RetryAfter = pause
	switch {
	case ans.status == http.StatusOK:
		return nil
	case ans.status/100 == 3:
		e.Kind, e.Permanent = renew.Invalid, true
		e.Err = fmt.Errorf("%v redirects, which is not followed: configure the address it has now", at)
	case ans.status == http.StatusTooManyRequests, ans.status == http.StatusServiceUnavailable && asked:
		e.Kind, e.Err = renew.Throttled, fmt.Errorf("%v asks for a pause", at)
	case ans.status >= 500:
		e.Err = fmt.Errorf("%v failed", at)
		if !first {
			e.Status, e.Err = 0, fmt.Errorf("%v answered %d after the credentials were accepted", at, ans.status)
		}
	case ans.status == http.StatusUnauthorized && first && at != stepReissue:
		e.Kind, e.Permanent, e.Err = renew.Refused, true, errPassword
	case ans.status == http.StatusUnauthorized:
		e.Kind, e.Err = renew.Refused, fmt.Errorf("%v refuses what the step before gave out", at)
	case ans.status == http.StatusBadRequest && at == stepToken:
		e.Kind, e.Err = renew.Refused, errors.New("token refuses the code: it is wrong, used, or older than 2 minutes")
	case ans.status == http.StatusForbidden && at == stepMe:
		e.Kind, e.Permanent = renew.Refused, true
		e.Err = errors.New("the user may not see its accounts: ask for that permission in Armor's portal")
	case ans.status == http.StatusNotFound:
		e.Kind, e.Permanent = renew.Refused, true
		e.Err = fmt.Errorf("there is no %v at this address: look at the URL", at)
	default:
		e.Err = fmt.Errorf("%v answered with a status that its protocol does not have", at)
	}
	return e
}

// me asks for the accounts with a token, and chooses one.
func (l *login) me(ctx context.Context, base string, tok *renew.Token, c *choice, wanted string) (*renew.Token, error) {
	id, err := accountID(wanted)
	if err != nil {
		return nil, &renew.IssueError{Source: l.source, Kind: renew.Invalid, Permanent: true, Unsent: true, Err: fmt.Errorf("AccountID %w", err)}
	}
	url := base + "/me"
	body, e := l.send(ctx, stepMe, http.MethodGet, url, nil, http.Header{"Authorization": {tok.HeaderValue()}})
	if e != nil {
		return nil, e
	}
	list, err := accountsOf(body)
	if err != nil {
		return nil, l.malformed(stepMe, url, err)
	}
	id, err = c.choose(id, list)
	if err != nil {
		return nil, &renew.IssueError{Source: l.source, Host: tokenendpoint.Host(url), Kind: renew.Invalid, Permanent: true, Err: err}
	}
	return withAccount(tok, id), nil
}
