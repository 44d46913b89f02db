package oauth2

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/clock"
	"github.com/seed-f29168f7/renew/sources/internal/header"
	"github.com/seed-f29168f7/renew/sources/internal/tokenendpoint"
	"github.com/seed-f29168f7/renew/sources/jwt"
)

// AuthorizationCode is a Source for the authorization code grant (RFC 6749, section 4.1) with PKCE (RFC 7636, S256), for
// programs on the person's own machine: the browser is sent back to a server on loopback that lives for one login (RFC 8252,
// section 7.3). Use it by pointer, for one TokenSource. Programs that have a web page of their own use
// [AuthorizationCode.Begin] and [AuthorizationCode.Exchange].
//
// The login asks a person, so it is interactive: renew.Config.Interactive must be set, and no timer starts one. The
// tokens that follow come by the refresh token of the login, by timer and without the person, where the server
// gave one (some want the scope offline_access).
type AuthorizationCode struct {
	// AuthURL is the authorization endpoint; its query may hold more parameters. It must be https, except on this machine.
	AuthURL string
	// TokenURL is the token endpoint. It must be https, except on this machine. A query is
	// sent, and shown nowhere. Set both or Issuer.
	TokenURL string
	// Issuer is the issuer identifier, a URL, in place of the other URLs: its metadata
	// (RFC 8414) is read at each use and names the endpoints, and
	// authorization responses that name another issuer are refused (RFC 9207). It must be https, except on this machine.
	Issuer string
	// RevocationURL is the revocation endpoint (RFC 7009). Only Revoke uses it, which fails without it.
	RevocationURL string
	// ClientID is the client identifier (RFC 6749, section 2.2). Any text can be sent.
	ClientID string
	// ClientSecret is the client's password. Set it or ClientSecretFunc, and neither with None or PrivateKeyJWT.
	ClientSecret renew.Secret
	// ClientSecretFunc is asked for the secret at each request, with its ctx. Its error is a
	// local fault; its text is shown, so it must not hold the secret.
	ClientSecretFunc func(context.Context) (renew.Secret, error)
	// AuthStyle says how id and secret are sent. Zero is InHeader. Public clients have None.
	AuthStyle AuthStyle
	// ClientAssertion and ClientAssertionFunc make the JWT of PrivateKeyJWT and ClientSecretJWT, as those of ClientCredentials.
	ClientAssertion     *jwt.Source
	ClientAssertionFunc func(context.Context) (renew.Secret, error)
	// Scopes are asked for, one a string. None means what the server gives by default.
	Scopes []string
	// AuthParams are more parameters of the authorization request, such as prompt or login_hint. They are not secret.
	// Those that this Source sets itself are refused.
	AuthParams url.Values
	// EndpointParams are more parameters of the token requests. They are not secret. Those that this Source sets itself are refused.
	EndpointParams url.Values
	// RedirectURL is where the browser is sent back to: http, a loopback host and any path. Without a port, or with port 0,
	// any free port is taken, which servers must allow (RFC 8252, section 7.3). Empty means http://127.0.0.1/callback.
	// A localhost listens on 127.0.0.1.
	RedirectURL string
	// Prompt is given the URL that the person must open on this machine. ctx is the login's. An error ends the login; its text is shown, unless
	// it has the URL's state in it. It should not wait for the person. Set it, Open, or both.
	Prompt func(ctx context.Context, authorizationURL string) error
	// Open opens the URL in a browser, after Prompt. An error ends the login where there is no Prompt. Nil means that no browser is
	// opened: this package starts no programs.
	Open func(ctx context.Context, authorizationURL string) error
	// Timeout is how long the person may take. Zero means 10 minutes; negative is an error.
	Timeout time.Duration
	// TokenType is the auth-scheme that tokens are sent with, whatever token_type the
	// replies name. Empty means that only Bearer, or none, is accepted (RFC 6749, section 7.1).
	TokenType string
	// AllowPlaintext allows http to other hosts: anyone on the way can read the secrets.
	AllowPlaintext bool
	// HTTPClient sends the requests. Nil means a client that all Sources use together. Redirects and
	// cookies are off in either. Leave its Timeout 0: ctx ends a request.
	HTTPClient *http.Client
	// Clock is the time of timeouts, and asked for a Retry-After date in a reply without Date. Nil means clock.Real{}.
	Clock clock.Clock
	// InputVersion, when not nil, returns a number that changes when ClientSecretFunc would return
	// another secret: a refusal for good ends then (R23). It must not block.
	InputVersion func() uint64

	used ledger
}

// AuthorizationCode implements what its methods are for.
var _ interface {
	renew.Reissuer
	renew.Revoker
	renew.RefusalJudge
	renew.Validator
	renew.Describer
} = (*AuthorizationCode)(nil)

const authCodeName = "oauth2 authorization_code"

// reservedAuth are the parameters of an authorization request that this package sets itself.
var reservedAuth = []string{"response_type", "response_mode", "client_id", "client_secret", "redirect_uri", "scope", "state", "code_challenge", "code_challenge_method"}

func (s *AuthorizationCode) client() *client {
	return &client{
		name: authCodeName, typ: "AuthorizationCode", needs: "authorization_endpoint",
		issuer: s.Issuer, tokenURL: s.TokenURL, authURL: s.AuthURL, revocationURL: s.RevocationURL,
		clientID: s.ClientID, secret: s.ClientSecret, secretFunc: s.ClientSecretFunc,
		style: s.AuthStyle, assertion: s.ClientAssertion, assertionFunc: s.ClientAssertionFunc, scopes: s.Scopes, params: s.EndpointParams, sets: []string{"code", "redirect_uri", "code_verifier"}, tokenType: s.TokenType,
		allowPlaintext: s.AllowPlaintext, http: s.HTTPClient, clock: s.Clock,
	}
}

// Validate reports the first field that cannot work, as a *renew.ConfigError. That Prompt or Open is set
// and RedirectURL is on loopback counts for Issue, and so here; Begin and Exchange need neither.
func (s *AuthorizationCode) Validate() error {
	if err := s.check(); err != nil {
		return err
	}
	if s.Prompt == nil && s.Open == nil {
		return &renew.ConfigError{Field: "AuthorizationCode.Prompt", Reason: "is nil, and so is Open: the person must see the URL"}
	}
	if _, err := parseRedirect(s.RedirectURL); err != nil {
		return &renew.ConfigError{Field: "AuthorizationCode.RedirectURL", Reason: err.Error()}
	}
	return nil
}

// check is what Issue, Begin and Exchange need alike.
func (s *AuthorizationCode) check() error {
	c := s.client()
	if err := c.validate(); err != nil {
		return err
	}
	if err := c.checkOtherURL("AuthURL", s.AuthURL); err != nil {
		return err
	}
	for _, name := range reservedAuth {
		if s.AuthParams.Has(name) {
			return &renew.ConfigError{Field: "AuthorizationCode.AuthParams", Reason: "has " + name + ", which is set by this Source"}
		}
	}
	return c.checkTimeout(s.Timeout)
}

// Describe says that a person is needed, and how long a login may take. It names no account: what a server locks is the person's.
func (s *AuthorizationCode) Describe() renew.Traits {
	return renew.Traits{
		Name: authCodeName, Interactive: true, Timeout: max(timeoutOf(s.Timeout), 0) + ownMargin,
		Endpoint: tokenendpoint.Endpoint(s.client().place()), InputVersion: s.InputVersion,
	}
}

// Issue logs in: it listens on loopback, hands the URL to Prompt and Open, takes one answer of the authorization server, and trades its
// code. It blocks until the person is done, Timeout is over, or ctx ends. Every error is a *renew.IssueError; one of ctx's end wraps
// context.Cause(ctx). An error that the server sent through the browser is a refusal that is not permanent, with its Code.
func (s *AuthorizationCode) Issue(ctx context.Context) (*renew.Token, error) {
	c := s.client()
	if err := s.Validate(); err != nil {
		return nil, invalid(c, err)
	}
	began := c.time().Now().Mono
	ctx, stop := limited(ctx, c.time(), timeoutOf(s.Timeout), errLoginTimeout)
	defer stop()
	if ctx.Err() != nil {
		e := c.fail(renew.Transient, false, context.Cause(ctx))
		e.Unsent = true
		return nil, e
	}
	to, _ := parseRedirect(s.RedirectURL) // Validate has seen it
	l, err := listen(to)
	if err != nil {
		e := c.fail(renew.Transient, false, err)
		e.Unsent = true
		return nil, e
	}
	defer l.close(c.time())
	a, err := s.begin(ctx, c, l.url())
	if err != nil {
		return nil, err
	}
	l.serve(a)
	if err := s.show(ctx, a); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, c.fail(renew.Transient, false, err)
	}
	select {
	case query := <-l.answers:
		asked := c.time().Now().Mono
		tok, err := s.exchange(ctx, c, a, query)
		if err != nil {
			return nil, err
		}
		return waited(tok, asked-began), nil
	case <-ctx.Done():
		return nil, c.fail(renew.Transient, false, context.Cause(ctx))
	}
}

// show hands the URL to the person.
func (s *AuthorizationCode) show(ctx context.Context, a *Authorization) error {
	if s.Prompt != nil {
		if err := s.Prompt(ctx, a.URL); err != nil {
			return notShown("Prompt", err, a.State)
		}
	}
	if s.Open != nil {
		if err := s.Open(ctx, a.URL); err != nil && s.Prompt == nil {
			return notShown("Open", err, a.State)
		}
	}
	return nil
}

// Reissue gets the next token for the refresh token of live; without one it is renew.ErrInteractionRequired. It takes at most
// 30 s, and never asks the person. A refresh token that was traded for another is not sent again. Errors are as those of RefreshToken.Reissue.
func (s *AuthorizationCode) Reissue(ctx context.Context, live *renew.Token) (*renew.Token, error) {
	c := s.client()
	c.scopes = nil // a refresh keeps what was granted
	return c.reissue(ctx, &s.used, live)
}

// Authorization is a login that has begun: keep it with the person's session until the browser comes back, and use it once.
type Authorization struct {
	// URL is where to send the browser.
	URL string
	// RedirectURL is where the browser will come back to.
	RedirectURL string
	// State is what the answer must repeat (RFC 6749, section 10.12).
	State string
	// Verifier is the PKCE code verifier (RFC 7636), which must not leave this side.
	Verifier renew.Secret
	// Issuer is what an iss parameter of the answer must be (RFC 9207). Empty means that it is not checked.
	Issuer string
	// IssuerRequired says that the answer must have an iss parameter.
	IssuerRequired bool
}

// Begin starts a login for a program whose own page, at redirectURL, the browser comes back to: send the browser to the URL of
// the Authorization, and give what comes back to [AuthorizationCode.Exchange]. redirectURL must be https, except on this machine. Begin sends nothing
// but, with Issuer, the request for metadata, and blocks for that at most until ctx ends. Errors are *renew.IssueError. It is safe for concurrent use.
func (s *AuthorizationCode) Begin(ctx context.Context, redirectURL string) (*Authorization, error) {
	c := s.client()
	err := s.check()
	if err == nil {
		if why := tokenendpoint.CheckURL(redirectURL, s.AllowPlaintext); why != nil {
			err = fmt.Errorf("the redirectURL %w", why)
		}
	}
	if err != nil {
		return nil, invalid(c, err)
	}
	return s.begin(ctx, c, redirectURL)
}

// Exchange ends a login: query is that of the request that the browser made to the redirectURL. It checks state and iss, and trades the code for
// a token; give its Refresh to a [RefreshToken] Source. It blocks until the reply is read or ctx ends, and is safe for concurrent use.
// Errors are *renew.IssueError: an answer that is not of this login is Invalid, and nothing is sent.
func (s *AuthorizationCode) Exchange(ctx context.Context, a *Authorization, query url.Values) (*renew.Token, error) {
	c := s.client()
	err := s.check()
	switch {
	case err != nil:
	case a == nil:
		err = errors.New("the Authorization is nil: keep the one that Begin returned")
	case s.Issuer != "" && a.Issuer != s.Issuer:
		err = errors.New("the Authorization is of a login at another issuer: give it to the Source that began it")
	default:
		err = a.accept(query)
	}
	if err != nil {
		return nil, invalid(c, err)
	}
	return s.exchange(ctx, c, a, query)
}

// invalid is an error found before anything was sent.
func invalid(c *client, err error) error {
	e := c.fail(renew.Invalid, true, err)
	e.Unsent = true
	return e
}

// begin makes the authorization URL (RFC 6749, section 4.1.1; RFC 7636, section 4.3).
func (s *AuthorizationCode) begin(ctx context.Context, c *client, redirectURL string) (*Authorization, error) {
	md, err := c.endpoints(ctx)
	if err != nil {
		return nil, err
	}
	if err := checkMethods(md.ChallengeMethods); err != nil {
		return nil, invalid(c, err)
	}
	u, err := url.Parse(md.AuthURL)
	if err != nil {
		return nil, invalid(c, errors.New("AuthURL is not a URL"))
	}
	a := &Authorization{RedirectURL: redirectURL, State: rand.Text(), Issuer: md.Issuer, IssuerRequired: md.NamesIssuer}
	verifier := newVerifier()
	a.Verifier = renew.NewSecret(verifier)
	q := u.Query()
	for name, values := range s.AuthParams {
		q[name] = values
	}
	q.Set("response_type", "code")
	q.Set("client_id", s.ClientID)
	q.Set("redirect_uri", redirectURL)
	q.Set("state", a.State)
	q.Set("code_challenge", challengeOf(verifier))
	q.Set("code_challenge_method", methodS256)
	if len(s.Scopes) > 0 {
		q.Set("scope", strings.Join(s.Scopes, " "))
	}
	u.RawQuery = q.Encode()
	a.URL = u.String()
	return a, nil
}

// The reasons for which an answer is not one of this login.
var (
	errAnswerForm   = errors.New("what came back has a parameter twice, or neither a code nor an error")
	errAnswerState  = errors.New("what came back has not the state of this login: it is another one's, or forged")
	errAnswerIssuer = errors.New("what came back names another issuer, or none (RFC 9207): the login was mixed up with one elsewhere")
)

// accept reports whether an answer is one of this login. It is pure. Without this check an attacker could have the program use a code
// of his choice (RFC 6749, section 10.12; RFC 9207, section 2.4).
func (a *Authorization) accept(query url.Values) error {
	for _, name := range []string{"code", "state", "iss", "error"} {
		if len(query[name]) > 1 {
			return errAnswerForm
		}
	}
	if a.State == "" || subtle.ConstantTimeCompare([]byte(query.Get("state")), []byte(a.State)) != 1 {
		return errAnswerState
	}
	if a.Issuer != "" && (query.Has("iss") || a.IssuerRequired) && query.Get("iss") != a.Issuer {
		return errAnswerIssuer
	}
	code := query.Get("code")
	if (code == "") == (query.Get("error") == "") || code != "" && !visible(code) {
		return errAnswerForm
	}
	return nil
}

// exchange trades the code of an accepted answer (RFC 6749, section 4.1.3), or says which error came.
func (s *AuthorizationCode) exchange(ctx context.Context, c *client, a *Authorization, query url.Values) (*renew.Token, error) {
	if code := query.Get("error"); code != "" {
		if strings.Contains(code, a.State) {
			code = ""
		}
		return nil, answered(c, tokenendpoint.ErrorCode(code))
	}
	if err := checkVerifier(a.Verifier.Reveal()); err != nil {
		return nil, invalid(c, err)
	}
	ctx, stop := limited(ctx, c.time(), requestTimeout, errRequestTimeout)
	defer stop()
	c.scopes = nil // the code has them
	return c.post(ctx, "authorization_code", url.Values{
		"code": {query.Get("code")}, "redirect_uri": {a.RedirectURL}, "code_verifier": {a.Verifier.Reveal()},
	}, false)
}

// answered is the error that the authorization server sent through the browser (RFC 6749, section 4.1.2.1). A person may
// decide otherwise next time, so it is not permanent.
func answered(c *client, code string) error {
	e := tokenendpoint.Meaning(code)
	e.Source, e.Host, e.Permanent = c.name, tokenendpoint.Host(c.place()), false
	e.Err = errors.New("the authorization server answered with an error in place of a code")
	if code == "access_denied" {
		e.Err = errors.New("the person, or the authorization server, denied the login")
	}
	return e
}

// parseRedirect returns the URL of the loopback server, without a port where any will do.
func parseRedirect(raw string) (*url.URL, error) {
	if raw == "" {
		raw = "http://127.0.0.1/callback"
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil || !header.Visible(raw):
		return nil, errors.New("is not a URL")
	case u.Scheme != "http" || !slices.Contains([]string{"127.0.0.1", "::1", "localhost"}, u.Hostname()):
		return nil, errors.New("must start with http://127.0.0.1, http://[::1] or http://localhost: it is on this machine (RFC 8252, section 7.3)")
	case !isPort(u.Port()):
		return nil, errors.New("has a port above 65535")
	case u.User != nil || strings.ContainsAny(raw, "?#"):
		return nil, errors.New("must have no user name, query or fragment")
	case u.Path == "":
		u.Path = "/"
	}
	return u, nil
}

// isPort reports whether a TCP server can be asked for a port.
func isPort(port string) bool {
	_, err := strconv.ParseUint(port, 10, 16)
	return port == "" || err == nil
}

// Revoke tells the server that t is no longer wanted, first its refresh token and then its access token, and
// fails unless the server says that both are gone. It blocks until ctx ends at the latest. Errors are *renew.IssueError.
func (s *AuthorizationCode) Revoke(ctx context.Context, t *renew.Token) error {
	return s.client().revoke(ctx, t)
}

// Refuses reports whether a 401 is about the token (RFC 6750, section 3.1). It does not block.
func (s *AuthorizationCode) Refuses(t *renew.Token, resp *http.Response) bool {
	return refuses(t, resp)
}
