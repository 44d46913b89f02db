package oauth2

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/clock"
	"github.com/seed-f29168f7/renew/sources/internal/input"
	"github.com/seed-f29168f7/renew/sources/internal/tokenendpoint"
	"github.com/seed-f29168f7/renew/sources/jwt"
)

// The token type identifiers of RFC 8693, section 3.
const (
	AccessTokenType  = "urn:ietf:params:oauth:token-type:access_token"
	RefreshTokenType = "urn:ietf:params:oauth:token-type:refresh_token"
	IDTokenType      = "urn:ietf:params:oauth:token-type:id_token"
	SAML1TokenType   = "urn:ietf:params:oauth:token-type:saml1"
	SAML2TokenType   = "urn:ietf:params:oauth:token-type:saml2"
	JWTTokenType     = "urn:ietf:params:oauth:token-type:jwt"
)

// TokenExchange is a Source that trades a token of another party (RFC 8693): a workload's identity for an access
// token of a cloud, a caller's token for one with which to call on. Use it by pointer.
//
// The subject token often lives shorter than the daemon: give SubjectTokenFunc, which may be the Token method of
// another TokenSource or read a file. A refresh token in the reply is dropped: the subject token gets the next one.
type TokenExchange struct {
	// TokenURL is the token endpoint. It must be https, except on this machine. A query is
	// sent, and shown nowhere. Set it or Issuer.
	TokenURL string
	// Issuer is the issuer identifier, a URL, in place of TokenURL and RevocationURL: its metadata
	// (RFC 8414) is read at each use and names the endpoints. It must be https, except on this machine.
	Issuer string
	// RevocationURL is the revocation endpoint (RFC 7009). Only Revoke uses it, which fails without it.
	RevocationURL string
	// ClientID is the client identifier (RFC 6749, section 2.2). Any text can be sent. Empty means that
	// the client does not authenticate itself, since some servers know it by the subject token; then AuthStyle may stay zero.
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
	// SubjectToken is the token to trade. Set it or SubjectTokenFunc.
	SubjectToken renew.Secret
	// SubjectTokenFunc is asked for the subject token at each Issue, with its ctx. Its error is a
	// local fault, tried again; its text is shown, so it must not hold the token.
	SubjectTokenFunc func(context.Context) (renew.Secret, error)
	// SubjectTokenType says what the subject token is: JWTTokenType or another URI. Empty means AccessTokenType.
	SubjectTokenType string
	// ActorToken is the token of the one that acts for the subject, if the server is to know. At most one of it and ActorTokenFunc is set.
	ActorToken renew.Secret
	// ActorTokenFunc is asked for the actor token, as SubjectTokenFunc is for the subject token.
	ActorTokenFunc func(context.Context) (renew.Secret, error)
	// ActorTokenType says what the actor token is. Empty means AccessTokenType. Without an actor token it must be empty.
	ActorTokenType string
	// RequestedTokenType says what is wanted; a reply with another issued_token_type is an error. Empty means what the server gives.
	// RefreshTokenType is refused.
	RequestedTokenType string
	// Resources are the URIs of the services that the token is for, without fragment (RFC 8707). None means that the server decides.
	Resources []string
	// Audiences are the names of the services that the token is for. None means that the server decides.
	Audiences []string
	// Scopes are asked for, one a string. None means what the server gives by default.
	Scopes []string
	// EndpointParams are more parameters of the request. They are not secret. Those that this Source sets itself are refused.
	EndpointParams url.Values
	// TokenType is the auth-scheme that tokens are sent with, whatever token_type the
	// replies name: of an ID token, for which it is N_A, Bearer where the server it is for wants that. Empty means that
	// only Bearer, or none, is accepted. N_A itself is no auth-scheme and is refused (RFC 8693, section 2.2.1).
	TokenType string
	// AllowPlaintext allows http to other hosts: anyone on the way can read the secrets.
	AllowPlaintext bool
	// HTTPClient sends the requests. Nil means a client that all Sources use together. Redirects and
	// cookies are off in either. Leave its Timeout 0: ctx ends a request.
	HTTPClient *http.Client
	// Clock is asked only for a Retry-After date in a reply without Date. Nil means clock.Real{}.
	Clock clock.Clock
	// InputVersion, when not nil, returns a number that changes when one of the functions would return
	// another secret: a refusal for good ends then (R23). It must not block.
	InputVersion func() uint64
}

// TokenExchange implements what its methods are for.
var _ interface {
	renew.Source
	renew.Revoker
	renew.RefusalJudge
	renew.Validator
	renew.Describer
} = (*TokenExchange)(nil)

const exchangeName = "oauth2 token exchange"

func (s *TokenExchange) client() *client {
	return &client{
		name: exchangeName, typ: "TokenExchange", anonymous: true,
		issuer: s.Issuer, tokenURL: s.TokenURL, revocationURL: s.RevocationURL, clientID: s.ClientID, secret: s.ClientSecret, secretFunc: s.ClientSecretFunc,
		style: s.AuthStyle, assertion: s.ClientAssertion, assertionFunc: s.ClientAssertionFunc, scopes: s.Scopes, params: s.EndpointParams, tokenType: s.TokenType,
		sets:           []string{"subject_token", "subject_token_type", "actor_token", "actor_token_type", "requested_token_type", "resource", "audience"},
		allowPlaintext: s.AllowPlaintext, http: s.HTTPClient, clock: s.Clock,
	}
}

// Validate reports the first field that cannot work, as a *renew.ConfigError.
func (s *TokenExchange) Validate() error {
	if err := s.client().validate(); err != nil {
		return err
	}
	if err := input.Check("TokenExchange.SubjectToken", s.SubjectToken, s.SubjectTokenFunc); err != nil {
		return err
	}
	wrong := func(field, format string, args ...any) error {
		return &renew.ConfigError{Field: "TokenExchange." + field, Reason: fmt.Sprintf(format, args...)}
	}
	switch {
	case !s.ActorToken.IsZero() && s.ActorTokenFunc != nil:
		return wrong("ActorToken", "is set, and so is ActorTokenFunc: set one of them")
	case s.ActorTokenType != "" && !s.hasActor():
		return wrong("ActorTokenType", "is set, but there is no actor token (RFC 8693, section 2.1)")
	case s.RequestedTokenType == RefreshTokenType:
		return wrong("RequestedTokenType", "is a refresh token, which no request can be sent with")
	case strings.EqualFold(s.TokenType, "N_A"):
		return wrong("TokenType", "is N_A, which says that a token is no access token: name the auth-scheme to send it with")
	}
	for i, resource := range s.Resources {
		if u, err := url.Parse(resource); err != nil || !u.IsAbs() || strings.Contains(resource, "#") {
			return wrong("Resources", "has at %d what is not an absolute URI without fragment (RFC 8693, section 2.1)", i)
		}
	}
	return nil
}

func (s *TokenExchange) hasActor() bool { return !s.ActorToken.IsZero() || s.ActorTokenFunc != nil }

// Describe says that the client is the unit of lock-out at the endpoint. Without a ClientID there is none.
func (s *TokenExchange) Describe() renew.Traits {
	return renew.Traits{
		Name: exchangeName, Endpoint: tokenendpoint.Endpoint(s.client().place()), Account: s.ClientID, InputVersion: s.InputVersion,
	}
}

// Issue trades the subject token. It blocks until the reply is read or ctx ends. Every error is a *renew.IssueError; one
// of ctx's end wraps context.Cause(ctx). A refusal of the subject token (invalid_grant; RFC 8693, section 2.2.2, has
// invalid_request) is permanent only where SubjectToken is fixed.
//
// The token has the attribute issued_token_type.
func (s *TokenExchange) Issue(ctx context.Context) (*renew.Token, error) {
	c := s.client()
	form := url.Values{"subject_token_type": {orDefault(s.SubjectTokenType)}}
	subject, err := input.Secret(ctx, c.name, "SubjectToken", s.SubjectToken, s.SubjectTokenFunc)
	if err != nil {
		return nil, err
	}
	form.Set("subject_token", subject.Reveal())
	if s.hasActor() {
		actor, err := input.Secret(ctx, c.name, "ActorToken", s.ActorToken, s.ActorTokenFunc)
		if err != nil {
			return nil, err
		}
		form.Set("actor_token", actor.Reveal())
		form.Set("actor_token_type", orDefault(s.ActorTokenType))
	}
	if s.RequestedTokenType != "" {
		form.Set("requested_token_type", s.RequestedTokenType)
	}
	if len(s.Resources) > 0 {
		form["resource"] = s.Resources
	}
	if len(s.Audiences) > 0 {
		form["audience"] = s.Audiences
	}
	fixed := s.SubjectTokenFunc == nil && s.ActorTokenFunc == nil
	tok, err := c.post(ctx, "urn:ietf:params:oauth:grant-type:token-exchange", form, fixed)
	if err != nil {
		if e, ok := errors.AsType[*renew.IssueError](err); ok && e.Code == "invalid_request" && !fixed {
			e.Permanent = false
		}
		return nil, err
	}
	if why := s.judgeIssued(tok.Attr("issued_token_type")); why != nil {
		e := c.fail(renew.Invalid, true, why)
		e.Status = http.StatusOK
		return nil, e
	}
	tok.Refresh = renew.Secret{}
	return tok, nil
}

// judgeIssued checks the issued_token_type of a reply, which RFC 8693, section 2.2.1, requires. It does not quote it.
func (s *TokenExchange) judgeIssued(issued string) error {
	switch {
	case issued == "":
		return errors.New("the reply does not say which type of token was issued (RFC 8693, section 2.2.1): is this a token exchange endpoint?")
	case s.RequestedTokenType != "" && issued != s.RequestedTokenType:
		return errors.New("the reply has another type of token than RequestedTokenType: ask for one that the server issues")
	case issued == RefreshTokenType:
		return errors.New("the reply has a refresh token in place of an access token: set RequestedTokenType")
	}
	return nil
}

// orDefault returns a token type identifier, with its default.
func orDefault(typ string) string {
	if typ == "" {
		return AccessTokenType
	}
	return typ
}

// Revoke tells the server that t is no longer wanted, first its refresh token and then its access token, and
// fails unless the server says that both are gone. It blocks until ctx ends at the latest. Errors are *renew.IssueError.
func (s *TokenExchange) Revoke(ctx context.Context, t *renew.Token) error {
	return s.client().revoke(ctx, t)
}

// Refuses reports whether a 401 is about the token (RFC 6750, section 3.1). It does not block.
func (s *TokenExchange) Refuses(t *renew.Token, resp *http.Response) bool { return refuses(t, resp) }
