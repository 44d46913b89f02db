package oauth2

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"golang.org/x/oauth2"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/clock"
	"github.com/seed-f29168f7/renew/sources/internal/header"
	"github.com/seed-f29168f7/renew/sources/internal/tokenendpoint"
)

// FromTokenSource makes a Source of a token source of golang.org/x/oauth2. ts should fetch
// a token at each call: what it serves from a cache of its own is no fresh token, and
// neither a reissue nor a rejection gets past the cache. Of clientcredentials.Config, for
// example, give it a SourceFunc that calls Token(ctx), or use [ClientCredentials].
// Set AuthStyle in its Endpoint too: x/oauth2 otherwise finds it out by failing.
//
// Token of x/oauth2 takes no context. Issue therefore returns only when it does; a
// TokenSource bounds what its waiters lose by that (R8).
//
// The token has Expiry as ts computed it from the local clock, and no Life. Errors become
// *renew.IssueError by the rules of this package, without body or response; of an error
// that is not known to hold nothing secret, the type alone is kept.
func FromTokenSource(ts oauth2.TokenSource) renew.Source { return &fromTokenSource{ts: ts} }

const adapterName = "x/oauth2 TokenSource"

type fromTokenSource struct{ ts oauth2.TokenSource }

// Validate reports a nil token source.
func (s *fromTokenSource) Validate() error {
	if s.ts == nil {
		return &renew.ConfigError{Field: "FromTokenSource", Reason: "was given a nil oauth2.TokenSource"}
	}
	return nil
}

// Describe gives the name; the endpoint is not known.
func (s *fromTokenSource) Describe() renew.Traits { return renew.Traits{Name: adapterName} }

// Issue calls Token.
func (s *fromTokenSource) Issue(ctx context.Context) (*renew.Token, error) {
	if s.ts == nil {
		return nil, &renew.IssueError{Source: adapterName, Kind: renew.Invalid, Permanent: true, Unsent: true, Err: s.Validate()}
	}
	if ctx.Err() != nil {
		return nil, &renew.IssueError{Source: adapterName, Unsent: true, Err: context.Cause(ctx)}
	}
	t, err := s.ts.Token()
	if err != nil {
		return nil, fromError(err)
	}
	tok, e := fromToken(t)
	if e != nil {
		e.Source = adapterName
		return nil, e
	}
	return tok, nil
}

// Refuses reports whether a 401 is about the token (RFC 6750, section 3.1).
func (s *fromTokenSource) Refuses(t *renew.Token, resp *http.Response) bool { return refuses(t, resp) }

// fromToken makes a Token of one of x/oauth2.
func fromToken(t *oauth2.Token) (*renew.Token, *renew.IssueError) {
	bad := func(reason string) (*renew.Token, *renew.IssueError) {
		return nil, &renew.IssueError{Err: errors.New(reason)}
	}
	switch {
	case t == nil:
		return bad("it returned neither a token nor an error")
	case !header.Visible(t.AccessToken):
		return bad("its access token is empty or cannot stand in a header")
	case !header.IsToken(t.Type()):
		return bad("its token type is not an auth-scheme")
	case needsMore(t.Type()):
		return nil, &renew.IssueError{Kind: renew.Invalid, Permanent: true, Err: errors.New("its token type needs more than a header")}
	case t.Expiry.IsZero() && t.ExpiresIn < 0:
		return bad("its token has expired")
	}
	tok := &renew.Token{
		Value:   renew.NewSecret(t.AccessToken),
		Type:    t.Type(),
		Expiry:  t.Expiry.Round(0), // without the reading of the monotonic clock
		Refresh: renew.NewSecret(t.RefreshToken),
	}
	if t.Expiry.IsZero() {
		// Expiry holds over ExpiresIn, which counts from a moment that is not known when ts has a cache.
		tok.Life = time.Duration(min(t.ExpiresIn, int64(tokenendpoint.MaxLife/time.Second))) * time.Second
	}
	if scope, ok := t.Extra("scope").(string); ok && scope != "" {
		tok = tok.WithAttr("scope", scope)
	}
	return tok, nil
}

// needsMore reports whether requests with a token of the type need more than the
// token: a signature (MAC), a proof (DPoP, RFC 9449). N_A is no access token at all
// (RFC 8693, section 2.2.1). Others go out with the type as the auth-scheme, as
// x/oauth2 itself sends them.
func needsMore(typ string) bool {
	return strings.EqualFold(typ, "mac") || strings.EqualFold(typ, "dpop") || strings.EqualFold(typ, "n_a")
}

// fromError makes an IssueError of what Token returned.
func fromError(err error) *renew.IssueError {
	re, ok := errors.AsType[*oauth2.RetrieveError](err)
	if !ok {
		e := tokenendpoint.Fault(err)
		e.Source = adapterName
		return e
	}
	status, body, h := http.StatusBadRequest, re.Body, http.Header(nil)
	if re.Response != nil {
		status, h = re.Response.StatusCode, re.Response.Header
	} else if re.ErrorCode != "" {
		body, _ = json.Marshal(map[string]string{"error": re.ErrorCode}) // strings always marshal
	}
	e := tokenendpoint.Classify(status, h, body, clock.Real{}.Now().Wall)
	e.Source = adapterName
	switch {
	case re.Response == nil:
		e.Status = 0
	case re.Response.Request != nil && re.Response.Request.URL != nil:
		e.Host = tokenendpoint.Host(re.Response.Request.URL.String())
	}
	return e
}

// ToTokenSource makes a token source of golang.org/x/oauth2 of a TokenSource, for
// libraries that take one. Its Token waits as renew's does, until ctx ends, and is safe
// for concurrent use.
//
// Do not put oauth2.ReuseTokenSource around it, which oauth2.NewClient does too: it keeps a
// token that was reissued or rejected until that expires. Use renew's own Transport, or
// &oauth2.Transport{Source: ...}. Where a token has no expiry of the issuer's (all
// that came with expires_in: only the TokenSource knows when it began), Expiry is
// 15 s ahead of each call, so that what caches all the same asks again soon; the
// TokenSource answers from memory.
//
// x/oauth2 has no way to report a 401. Where a server refused t, reject the token
// that is current if it is still the same one:
//
//	cur, err := ts.Token(ctx)
//	if err == nil && cur.Value.Reveal() == t.AccessToken {
//		_, err = ts.Reject(ctx, cur)
//	}
//
// The refresh token is not given out: only the TokenSource may use it. Errors are those of TokenSource.Token.
func ToTokenSource(ctx context.Context, ts *renew.TokenSource) oauth2.TokenSource {
	t := &toTokenSource{ctx: ctx, clock: clock.Real{}}
	if ts != nil {
		t.token = ts.Token
	}
	return t
}

// toTokenSource keeps a context, as x/oauth2's own sources do: Token takes none.
type toTokenSource struct {
	ctx   context.Context
	token func(context.Context) (*renew.Token, error) // nil when there is no TokenSource
	clock clock.Clock
}

// askAgain is how far ahead the Expiry is of a token without one. x/oauth2 stops
// using a token 10 s before its Expiry.
const askAgain = 15 * time.Second

// Token implements oauth2.TokenSource.
func (s *toTokenSource) Token() (*oauth2.Token, error) {
	if s.token == nil {
		return nil, &renew.ConfigError{Field: "ToTokenSource", Reason: "was given a nil renew.TokenSource"}
	}
	tok, err := s.token(s.ctx)
	if err != nil {
		return nil, err
	}
	t := &oauth2.Token{AccessToken: tok.Value.Reveal(), TokenType: tok.Type, Expiry: tok.Expiry}
	if t.Expiry.IsZero() {
		t.Expiry = s.clock.Now().Wall.Add(askAgain)
	}
	if scope := tok.Attr("scope"); scope != "" {
		t = t.WithExtra(map[string]any{"scope": scope})
	}
	return t, nil
}
