// Package oauth2 has Sources for OAuth 2 (RFC 6749): [ClientCredentials] for a
// daemon that acts for itself, [JWTBearer] for one that has a key instead, [RefreshToken] for one that acts for a person who
// has logged in once, [AuthorizationCode] and [DeviceCode] for logins by a person in a browser on this machine
// or another one, [TokenExchange] to trade another party's token, and adapters from and to golang.org/x/oauth2.
//
// Each of them takes its endpoints one by one, or all of them from an Issuer, whose metadata
// (RFC 8414, OpenID Connect Discovery) it reads at each use. Each of them tells a 401 that refuses the token from one that does not
// (RFC 6750), and revokes tokens (RFC 7009) where renew.Config.RevokeOnClose asks for it.
//
// A Source asks the token endpoint once for each Issue or Reissue and keeps no
// token: give it to renew.New, which keeps the credential alive. It follows no
// redirect, keeps no cookie and does not find out the client authentication by
// failing. What an error means is in its Kind: RFC 6749, section 5.2, has the
// codes. No error holds a reply's body, its error_description (which may repeat
// what was sent), a query or a header.
//
// The zero values of the Sources are refused by Validate. Their fields may be
// changed until the first use; after it they are safe for concurrent use, as far
// as the functions in their fields are.
package oauth2

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/clock"
	"github.com/seed-f29168f7/renew/sources/internal/header"
	"github.com/seed-f29168f7/renew/sources/internal/input"
	"github.com/seed-f29168f7/renew/sources/internal/tokenendpoint"
	"github.com/seed-f29168f7/renew/sources/jwt"
)

// AuthStyle is how the client authenticates itself to the token endpoint. It is
// never guessed: an issuer may count a wrong guess as a failed login.
type AuthStyle uint8

const (
	// InHeader sends client id and secret by the Basic scheme, each form-encoded
	// first. It is the default: RFC 6749, section 2.3.1, says that servers which issue client passwords must support
	// it. It gives way to InParams where an Issuer's metadata names client_secret_post and not client_secret_basic.
	InHeader = AuthStyle(tokenendpoint.InHeader)
	// InParams sends client_id and client_secret in the body. The same section
	// calls it not recommended, for clients that cannot use the Basic scheme.
	InParams = AuthStyle(tokenendpoint.InParams)
	// None sends the client id alone: public clients (RFC 6749, section 3.2.1), and
	// clients that authenticate by the TLS certificate of HTTPClient (RFC 8705).
	None = AuthStyle(tokenendpoint.None)
	// PrivateKeyJWT sends a JWT that the client's private key signs, made by ClientAssertion or
	// ClientAssertionFunc for each request (RFC 7523, section 2.2; OpenID Connect Core, section 9: private_key_jwt).
	PrivateKeyJWT = AuthStyle(tokenendpoint.PrivateKeyJWT)
	// ClientSecretJWT sends a JWT that is signed with the client secret, which itself stays here (the
	// same section: client_secret_jwt). The secret has 32 bytes or more, as HS256 needs.
	ClientSecretJWT = AuthStyle(tokenendpoint.ClientSecretJWT)
)

// client is what the Sources of this package have in common, gathered from
// their fields.
type client struct {
	name           string // for errors
	typ            string // the Go type, for ConfigError
	issuer         string
	tokenURL       string
	authURL        string
	deviceAuthURL  string
	revocationURL  string
	needs          string // a member that an issuer's metadata must have
	clientID       string
	secret         renew.Secret
	secretFunc     input.Func
	style          AuthStyle
	assertion      *jwt.Source
	assertionFunc  input.Func
	anonymous      bool // an empty clientID is allowed: no client authenticates itself then
	scopes         []string
	params         url.Values
	sets           []string // parameters that this Source sets itself, beside reserved
	tokenType      string
	allowPlaintext bool
	http           *http.Client
	clock          clock.Clock
}

// reserved are the parameters that the Sources set themselves.
var reserved = []string{"grant_type", "client_id", "client_secret", "client_assertion", "client_assertion_type", "assertion", "scope", "refresh_token"}

func (c *client) validate() error {
	wrong := func(field, format string, args ...any) error {
		return &renew.ConfigError{Field: c.typ + "." + field, Reason: fmt.Sprintf(format, args...)}
	}
	if err := c.checkURLs(); err != nil {
		return err
	}
	if err := c.validateAuth(); err != nil {
		return err
	}
	for i, scope := range c.scopes {
		if !isScope(scope) {
			return wrong("Scopes", "has %q at %d, which is not a scope: one a string, no spaces (RFC 6749, section 3.3)", scope, i)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.params)) {
		if slices.Contains(reserved, name) || slices.Contains(c.sets, name) {
			return wrong("EndpointParams", "has %s, which is set by this Source", name)
		}
	}
	if c.tokenType != "" && !header.IsToken(c.tokenType) {
		return wrong("TokenType", "is %q, which is not an auth-scheme", c.tokenType)
	}
	return nil
}

// isScope reports whether s is a scope-token: RFC 6749, section 3.3, has
// 1*( %x21 / %x23-5B / %x5D-7E ).
func isScope(s string) bool { return header.Visible(s) && !strings.ContainsAny(s, `"\`) }

// post asks the token endpoint once. set has the parameters of the grant; final
// says that invalid_grant is permanent.
func (c *client) post(ctx context.Context, grant string, set url.Values, final bool) (*renew.Token, error) {
	md, err := c.endpoints(ctx)
	if err != nil {
		return nil, err
	}
	return c.postTo(ctx, md, grant, set, final)
}

// postTo is post where the endpoints are known.
func (c *client) postTo(ctx context.Context, md *Metadata, grant string, set url.Values, final bool) (*renew.Token, error) {
	form := maps.Clone(c.params)
	if form == nil {
		form = make(url.Values, 4)
	}
	maps.Copy(form, set)
	form.Set("grant_type", grant)
	if len(c.scopes) > 0 {
		form.Set("scope", strings.Join(c.scopes, " "))
	}
	req, err := c.request(ctx, md, md.TokenURL, form)
	if err != nil {
		return nil, err
	}
	req.GrantIsFinal = final
	return req.Do(ctx)
}

// request makes a request that the client authenticates.
func (c *client) request(ctx context.Context, md *Metadata, endpoint string, form url.Values) (*tokenendpoint.Request, error) {
	style := c.styleAt(md)
	secret, assertion, err := c.authenticate(ctx, style)
	if err != nil {
		return nil, err
	}
	return &tokenendpoint.Request{
		Source: c.name, URL: endpoint, AllowPlaintext: c.allowPlaintext, Form: form,
		AuthStyle: tokenendpoint.AuthStyle(style), ClientID: c.clientID, ClientSecret: secret, ClientAssertion: assertion,
		TokenType: c.tokenType, Client: c.http, Clock: c.clock,
	}, nil
}

// fail makes an error that this package found itself, before or behind what was sent.
func (c *client) fail(kind renew.Kind, permanent bool, err error) *renew.IssueError {
	return &renew.IssueError{Source: c.name, Host: tokenendpoint.Host(c.place()), Kind: kind, Permanent: permanent, Err: err}
}

// place is the URL that the Source is known by.
func (c *client) place() string { return cmp.Or(c.tokenURL, c.issuer) }

// time returns the Clock, with its default.
func (c *client) time() clock.Clock {
	if c.clock == nil {
		return clock.Real{}
	}
	return c.clock
}
