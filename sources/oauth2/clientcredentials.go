package oauth2

import (
	"context"
	"net/http"
	"net/url"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/clock"
	"github.com/seed-f29168f7/renew/sources/internal/tokenendpoint"
	"github.com/seed-f29168f7/renew/sources/jwt"
)

// ClientCredentials is a Source for the client credentials grant (RFC 6749,
// section 4.4): the daemon's own id and secret for an access token. Use it by
// pointer.
type ClientCredentials struct {
	// TokenURL is the token endpoint. It must be https, except on this machine. A query is
	// sent, and shown nowhere. Set it or Issuer.
	TokenURL string
	// Issuer is the issuer identifier, a URL, in place of TokenURL and RevocationURL: its metadata
	// (RFC 8414) is read at each use and names the endpoints. It must be https, except on this machine.
	Issuer string
	// RevocationURL is the revocation endpoint (RFC 7009). Only Revoke uses it, which fails without it.
	RevocationURL string
	// ClientID is the client identifier (RFC 6749, section 2.2). Any text can be sent.
	ClientID string
	// ClientSecret is the client's password. Set it or ClientSecretFunc, and neither with None or PrivateKeyJWT.
	ClientSecret renew.Secret
	// ClientSecretFunc is asked for the secret at each Issue, with its ctx. Its error is a
	// local fault, tried again; its text is shown, so it must not hold the secret.
	ClientSecretFunc func(context.Context) (renew.Secret, error)
	// AuthStyle says how id and secret are sent. Zero is InHeader.
	AuthStyle AuthStyle
	// ClientAssertion makes the JWT of PrivateKeyJWT and ClientSecretJWT, a new one for each request. Where they are not set,
	// its Issuer and Subject are the ClientID and its Audience is the TokenURL, or the Issuer where that is set instead.
	// PrivateKeyJWT needs it or ClientAssertionFunc; ClientSecretJWT only where HS256 or DefaultLifetime is wrong, and without a key.
	ClientAssertion *jwt.Source
	// ClientAssertionFunc is asked for that JWT at each request with PrivateKeyJWT, with its ctx: for one that others sign, such as
	// the token of a Kubernetes service account. Its errors are as those of ClientSecretFunc.
	ClientAssertionFunc func(context.Context) (renew.Secret, error)
	// Scopes are asked for, one a string. None means what the server gives by default.
	Scopes []string
	// EndpointParams are more parameters of the request, such as audience or resource
	// (RFC 8707). They are not secret. Those that this Source sets itself are refused.
	EndpointParams url.Values
	// TokenType is the auth-scheme that tokens are sent with, whatever token_type the
	// replies name. Empty means that only Bearer, or none, is accepted (RFC 6749, section 7.1).
	TokenType string
	// AllowPlaintext allows http to another host: anyone on the way can read the secret.
	AllowPlaintext bool
	// HTTPClient sends the requests. Nil means a client that all Sources use together. Redirects and
	// cookies are off in either. Leave its Timeout 0: ctx ends a request.
	HTTPClient *http.Client
	// Clock is asked for the times of a JWT, and for a Retry-After date in a reply without Date. Nil means clock.Real{}.
	Clock clock.Clock
	// InputVersion, when not nil, returns a number that changes when ClientSecretFunc would return
	// another secret: a refusal for good ends then (R23). It must not block.
	InputVersion func() uint64
}

// ClientCredentials implements what its methods are for.
var _ interface {
	renew.Source
	renew.Revoker
	renew.RefusalJudge
	renew.Validator
	renew.Describer
} = (*ClientCredentials)(nil)

func (s *ClientCredentials) client() *client {
	return &client{
		name: "oauth2 client_credentials", typ: "ClientCredentials",
		issuer: s.Issuer, tokenURL: s.TokenURL, revocationURL: s.RevocationURL, clientID: s.ClientID, secret: s.ClientSecret, secretFunc: s.ClientSecretFunc,
		style: s.AuthStyle, assertion: s.ClientAssertion, assertionFunc: s.ClientAssertionFunc, scopes: s.Scopes, params: s.EndpointParams, tokenType: s.TokenType,
		allowPlaintext: s.AllowPlaintext, http: s.HTTPClient, clock: s.Clock,
	}
}

// Validate reports the first field that cannot work, as a *renew.ConfigError.
func (s *ClientCredentials) Validate() error { return s.client().validate() }

// Describe says that the client is the unit of lock-out at the endpoint.
func (s *ClientCredentials) Describe() renew.Traits {
	return renew.Traits{
		Name:         "oauth2 client_credentials",
		Endpoint:     tokenendpoint.Endpoint(s.client().place()),
		Account:      s.ClientID,
		InputVersion: s.InputVersion,
	}
}

// Issue asks for an access token. It blocks until the reply is read or ctx ends.
// Every error is a *renew.IssueError; one of ctx's end wraps context.Cause(ctx).
//
// A refresh token in the reply is dropped. RFC 6749, section 4.4.3: "A refresh
// token SHOULD NOT be included", and id and secret are all that a new token needs.
func (s *ClientCredentials) Issue(ctx context.Context) (*renew.Token, error) {
	tok, err := s.client().post(ctx, "client_credentials", nil, true)
	if err != nil {
		return nil, err
	}
	tok.Refresh = renew.Secret{}
	return tok, nil
}

// Revoke tells the server that t is no longer wanted, first its refresh token and then its access token, and
// fails unless the server says that both are gone. It blocks until ctx ends at the latest. Errors are *renew.IssueError.
func (s *ClientCredentials) Revoke(ctx context.Context, t *renew.Token) error {
	return s.client().revoke(ctx, t)
}

// Refuses reports whether a 401 is about the token (RFC 6750, section 3.1). It does not block.
func (s *ClientCredentials) Refuses(t *renew.Token, resp *http.Response) bool {
	return refuses(t, resp)
}
