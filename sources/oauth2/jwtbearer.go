package oauth2

import (
	"cmp"
	"context"
	"net/http"
	"net/url"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/clock"
	"github.com/seed-f29168f7/renew/sources/internal/tokenendpoint"
	"github.com/seed-f29168f7/renew/sources/jwt"
)

// JWTBearer is a Source for the JWT bearer grant (RFC 7523, section 2.1): a JWT that says for whom the token is, signed by
// somebody whom the server trusts, for an access token. Service accounts of Google, server-to-server flows of
// Salesforce and DocuSign, and federation between clouds work so. Use it by pointer.
type JWTBearer struct {
	// TokenURL is the token endpoint. It must be https, except on this machine. A query is
	// sent, and shown nowhere. Set it or Issuer.
	TokenURL string
	// Issuer is the issuer identifier, a URL, in place of TokenURL and RevocationURL: its metadata
	// (RFC 8414) is read at each use and names the endpoints. It must be https, except on this machine.
	Issuer string
	// RevocationURL is the revocation endpoint (RFC 7009). Only Revoke uses it, which fails without it.
	RevocationURL string
	// Assertion signs the JWT of the grant, a new one for each request. Set Issuer and Subject in it; where Audience is
	// not set it is the token endpoint. Set it or AssertionFunc.
	Assertion *jwt.Source
	// AssertionFunc is asked for the JWT at each Issue, with its ctx: for one that others sign. Most servers take each one
	// once only. Its error is a local fault, tried again; its text is shown, so it must not hold the JWT.
	AssertionFunc func(context.Context) (renew.Secret, error)
	// ClientID is the client identifier. Empty means that the client does not authenticate itself, which RFC 7521,
	// section 4.1, allows here; then AuthStyle may stay zero.
	ClientID string
	// ClientSecret is the client's password. Set it or ClientSecretFunc, and neither with None or PrivateKeyJWT.
	ClientSecret renew.Secret
	// ClientSecretFunc is asked for the secret at each Issue, with its ctx. Its errors are as those of AssertionFunc.
	ClientSecretFunc func(context.Context) (renew.Secret, error)
	// AuthStyle says how a client that has an id authenticates itself. Zero is InHeader.
	AuthStyle AuthStyle
	// ClientAssertion and ClientAssertionFunc are as those of ClientCredentials. They are about the client, and not the grant.
	ClientAssertion     *jwt.Source
	ClientAssertionFunc func(context.Context) (renew.Secret, error)
	// Scopes are asked for, one a string. None means what the server gives by default. Some servers, Google's
	// among them, want the scope as a claim of the Assertion instead.
	Scopes []string
	// EndpointParams are more parameters of the request. They are not secret. Those that this
	// Source sets itself are refused.
	EndpointParams url.Values
	// TokenType is the auth-scheme that tokens are sent with, whatever token_type the
	// replies name. Empty means that only Bearer, or none, is accepted (RFC 6749, section 7.1).
	TokenType string
	// AllowPlaintext allows http to another host: anyone on the way can read the JWT.
	AllowPlaintext bool
	// HTTPClient sends the requests. Nil means a client that all Sources use together. Redirects and
	// cookies are off in either. Leave its Timeout 0: ctx ends a request.
	HTTPClient *http.Client
	// Clock is asked for the times of a JWT, and for a Retry-After date in a reply without Date. Nil means clock.Real{}.
	Clock clock.Clock
	// InputVersion, when not nil, returns a number that changes when one of the functions would return
	// something else: a refusal for good ends then (R23). It must not block.
	InputVersion func() uint64
}

// JWTBearer implements what its methods are for.
var _ interface {
	renew.Source
	renew.Revoker
	renew.RefusalJudge
	renew.Validator
	renew.Describer
} = (*JWTBearer)(nil)

const jwtBearerName = "oauth2 jwt-bearer"

func (s *JWTBearer) client() *client {
	return &client{
		name: jwtBearerName, typ: "JWTBearer", anonymous: true,
		issuer: s.Issuer, tokenURL: s.TokenURL, revocationURL: s.RevocationURL, clientID: s.ClientID, secret: s.ClientSecret, secretFunc: s.ClientSecretFunc,
		style: s.AuthStyle, assertion: s.ClientAssertion, assertionFunc: s.ClientAssertionFunc, scopes: s.Scopes, params: s.EndpointParams, tokenType: s.TokenType,
		allowPlaintext: s.AllowPlaintext, http: s.HTTPClient, clock: s.Clock,
	}
}

// Validate reports the first field that cannot work, as a *renew.ConfigError.
func (s *JWTBearer) Validate() error {
	c := s.client()
	if err := c.validate(); err != nil {
		return err
	}
	switch {
	case s.Assertion == nil && s.AssertionFunc == nil:
		return &renew.ConfigError{Field: "JWTBearer.Assertion", Reason: "is not set: it is needed, or AssertionFunc"}
	case s.Assertion != nil && s.AssertionFunc != nil:
		return &renew.ConfigError{Field: "JWTBearer.Assertion", Reason: "is set, and so is AssertionFunc: set one of them"}
	case s.Assertion != nil:
		return within("JWTBearer.Assertion", c.addressed(*s.Assertion, c.place()).Validate())
	}
	return nil
}

// Describe says that the client, or the issuer of the JWT where there is none, is the unit of lock-out at the endpoint.
func (s *JWTBearer) Describe() renew.Traits {
	t := renew.Traits{Name: jwtBearerName, Endpoint: tokenendpoint.Endpoint(s.client().place()), Account: s.ClientID, InputVersion: s.InputVersion}
	if s.Assertion != nil {
		t.Account = cmp.Or(t.Account, s.Assertion.Issuer)
	}
	return t
}

// Issue asks for an access token with a new assertion. It blocks until the reply is read or ctx ends, and as long
// as the functions and keys do. Every error is a *renew.IssueError; one of ctx's end wraps context.Cause(ctx). A refusal of the
// assertion (invalid_grant) is permanent only where its key is fixed.
//
// A refresh token in the reply is dropped: RFC 7521, section 4.1, has the client ask with a new assertion instead.
func (s *JWTBearer) Issue(ctx context.Context) (*renew.Token, error) {
	if err := s.Validate(); err != nil {
		return nil, &renew.IssueError{Source: jwtBearerName, Kind: renew.Invalid, Permanent: true, Unsent: true, Err: err}
	}
	c := s.client()
	md, err := c.endpoints(ctx)
	if err != nil {
		return nil, err
	}
	var src *jwt.Source
	if s.Assertion != nil {
		src = c.addressed(*s.Assertion, md.TokenURL) // which is where it goes, and nowhere else
	}
	assertion, err := assertionOf(ctx, c.name, "Assertion", src, s.AssertionFunc)
	if err != nil {
		return nil, err
	}
	fixed := s.Assertion != nil && s.Assertion.KeyFunc == nil
	tok, err := c.postTo(ctx, md, "urn:ietf:params:oauth:grant-type:jwt-bearer", url.Values{"assertion": {assertion.Reveal()}}, fixed)
	if err != nil {
		return nil, err
	}
	tok.Refresh = renew.Secret{}
	return tok, nil
}

// Revoke tells the server that t is no longer wanted, and fails unless the server says that it is gone. It blocks until ctx
// ends at the latest. Errors are *renew.IssueError.
func (s *JWTBearer) Revoke(ctx context.Context, t *renew.Token) error {
	return s.client().revoke(ctx, t)
}

// Refuses reports whether a 401 is about the token (RFC 6750, section 3.1). It does not block.
func (s *JWTBearer) Refuses(t *renew.Token, resp *http.Response) bool { return refuses(t, resp) }
