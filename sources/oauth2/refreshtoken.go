package oauth2

import (
	"context"
	"crypto/sha256"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"sync"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/clock"
	"github.com/seed-f29168f7/renew/sources/internal/input"
	"github.com/seed-f29168f7/renew/sources/internal/tokenendpoint"
	"github.com/seed-f29168f7/renew/sources/jwt"
)

// RefreshToken is a Source for the refresh token grant (RFC 6749, section 6):
// somebody logged in once, and the refresh token of that login gets access
// tokens from then on. Issue uses the refresh token that is configured, Reissue
// the one that came with the live token. Use it by pointer, for one TokenSource.
//
// Many servers rotate: each refresh token works once, and the reply has the next.
// A server that sees a used one again takes it for stolen and revokes every token
// of that login (RFC 9700, section 4.14.2). So a refresh token that was
// traded for another is never sent again: Issue then fails at once with an error
// that is renew.ErrInteractionRequired. A daemon that must outlive its process stores
// the new token in renew.Hooks.Rotated and reads it back in RefreshTokenFunc.
type RefreshToken struct {
	// TokenURL is the token endpoint. It must be https, except on this machine. A query is
	// sent, and shown nowhere. Set it or Issuer.
	TokenURL string
	// Issuer is the issuer identifier, a URL, in place of TokenURL and RevocationURL: its metadata
	// (RFC 8414) is read at each use and names the endpoints. It must be https, except on this machine.
	Issuer string
	// RevocationURL is the revocation endpoint (RFC 7009). Only Revoke uses it, which fails without it.
	RevocationURL string
	// ClientID is the client identifier that the refresh token was issued to.
	ClientID string
	// ClientSecret is the client's password. Set it or ClientSecretFunc, and neither with None or PrivateKeyJWT.
	ClientSecret renew.Secret
	// ClientSecretFunc is asked for the secret at each request, with its ctx. Its error is a
	// local fault, tried again; its text is shown, so it must not hold the secret.
	ClientSecretFunc func(context.Context) (renew.Secret, error)
	// AuthStyle says how id and secret are sent. Zero is InHeader. Public clients have None.
	AuthStyle AuthStyle
	// ClientAssertion makes the JWT of PrivateKeyJWT and ClientSecretJWT, a new one for each request. Where they are not set,
	// its Issuer and Subject are the ClientID and its Audience is the TokenURL, or the Issuer where that is set instead.
	// PrivateKeyJWT needs it or ClientAssertionFunc; ClientSecretJWT only where HS256 or DefaultLifetime is wrong, and without a key.
	ClientAssertion *jwt.Source
	// ClientAssertionFunc is asked for that JWT at each request with PrivateKeyJWT, with its ctx: for one that others sign, such as
	// the token of a Kubernetes service account. Its errors are as those of ClientSecretFunc.
	ClientAssertionFunc func(context.Context) (renew.Secret, error)
	// RefreshToken is the refresh token to start with. Set it or RefreshTokenFunc.
	RefreshToken renew.Secret
	// RefreshTokenFunc is asked for the refresh token at each Issue, with its ctx. It should
	// return the newest one that was stored. Its errors are as those of ClientSecretFunc.
	RefreshTokenFunc func(context.Context) (renew.Secret, error)
	// Scopes narrow what the tokens may do. RFC 6749, section 6: they must not exceed what
	// was granted, and none means all of it.
	Scopes []string
	// EndpointParams are more parameters of the request. They are not secret. Those that this
	// Source sets itself are refused.
	EndpointParams url.Values
	// TokenType is the auth-scheme that tokens are sent with, whatever token_type the
	// replies name. Empty means that only Bearer, or none, is accepted (RFC 6749, section 7.1).
	TokenType string
	// AllowPlaintext allows http to another host: anyone on the way can read the secrets.
	AllowPlaintext bool
	// HTTPClient sends the requests. Nil means a client that all Sources use together. Redirects and
	// cookies are off in either. Leave its Timeout 0: ctx ends a request.
	HTTPClient *http.Client
	// Clock is asked for the times of a JWT, and for a Retry-After date in a reply without Date. Nil means clock.Real{}.
	Clock clock.Clock
	// InputVersion, when not nil, returns a number that changes when RefreshTokenFunc or
	// ClientSecretFunc would return another secret: a refusal for good ends then (R23). It must not block.
	InputVersion func() uint64

	used ledger
}

// RefreshToken implements what its methods are for.
var _ interface {
	renew.Reissuer
	renew.Revoker
	renew.RefusalJudge
	renew.Validator
	renew.Describer
} = (*RefreshToken)(nil)

func (s *RefreshToken) client() *client {
	return &client{
		name: "oauth2 refresh_token", typ: "RefreshToken",
		issuer: s.Issuer, tokenURL: s.TokenURL, revocationURL: s.RevocationURL, clientID: s.ClientID, secret: s.ClientSecret, secretFunc: s.ClientSecretFunc,
		style: s.AuthStyle, assertion: s.ClientAssertion, assertionFunc: s.ClientAssertionFunc, scopes: s.Scopes, params: s.EndpointParams, tokenType: s.TokenType,
		allowPlaintext: s.AllowPlaintext, http: s.HTTPClient, clock: s.Clock,
	}
}

// Validate reports the first field that cannot work, as a *renew.ConfigError.
func (s *RefreshToken) Validate() error {
	if err := s.client().validate(); err != nil {
		return err
	}
	return input.Check("RefreshToken.RefreshToken", s.RefreshToken, s.RefreshTokenFunc)
}

// Describe names the endpoint. It names no account: what a server locks is the login
// behind the refresh token, and many of those may belong to one client. Where the
// client is what gets locked or throttled, set Config.Account.
func (s *RefreshToken) Describe() renew.Traits {
	return renew.Traits{
		Name:         "oauth2 refresh_token",
		Endpoint:     tokenendpoint.Endpoint(s.client().place()),
		InputVersion: s.InputVersion,
	}
}

// Issue gets a token for the configured refresh token. It blocks until the reply is
// read or ctx ends. Every error is a *renew.IssueError; one of ctx's end wraps
// context.Cause(ctx). When the configured token was traded for another one before,
// the error is renew.ErrInteractionRequired and nothing is sent. When the outcome of an
// earlier request is not known, the same refresh token is sent again.
func (s *RefreshToken) Issue(ctx context.Context) (*renew.Token, error) {
	c := s.client()
	configured, err := input.Secret(ctx, c.name, "RefreshToken", s.RefreshToken, s.RefreshTokenFunc)
	if err != nil {
		return nil, err
	}
	if s.used.configure(configured) {
		return nil, &renew.IssueError{
			Source: c.name, Host: tokenendpoint.Host(c.place()), Kind: renew.Refused, Permanent: true, Unsent: true,
			Err: errRotated,
		}
	}
	return c.trade(ctx, &s.used, configured, true)
}

// Reissue gets the next token for the refresh token of live, or does as Issue where live
// has none. The next token has the reply's refresh token, or the one that was sent
// where the reply has none: RFC 6749, section 6, lets the server issue a new one, in
// which case "the client MUST discard the old refresh token". Errors are as those of
// Issue, except that a refusal of the refresh token is not permanent: Issue may have another.
func (s *RefreshToken) Reissue(ctx context.Context, live *renew.Token) (*renew.Token, error) {
	if live == nil || live.Refresh.IsZero() {
		return s.Issue(ctx)
	}
	c := s.client()
	if s.used.traded(live.Refresh) {
		return nil, &renew.IssueError{
			Source: c.name, Host: tokenendpoint.Host(c.place()), Kind: renew.Refused, Unsent: true,
			Err: errors.New("the live token's refresh token was traded for another one before"),
		}
	}
	return c.trade(ctx, &s.used, live.Refresh, false)
}

// trade sends a refresh token and remembers it when another one came back.
func (c *client) trade(ctx context.Context, used *ledger, refresh renew.Secret, final bool) (*renew.Token, error) {
	tok, err := c.post(ctx, "refresh_token", url.Values{"refresh_token": {refresh.Reveal()}}, final)
	if err != nil {
		return nil, err
	}
	switch {
	case tok.Refresh.IsZero():
		tok.Refresh = refresh
	case !tok.Refresh.Equal(refresh):
		used.trade(refresh)
	}
	return tok, nil
}

// interactionError is renew.ErrInteractionRequired, with the reason.
type interactionError string

const (
	errRotated   interactionError = "the stored refresh token was already rotated: a person must log in again"
	errNoRefresh interactionError = "the login brought no refresh token (some servers want the scope offline_access): a person must log in again"
)

func (e interactionError) Error() string { return string(e) }

func (interactionError) Unwrap() error { return renew.ErrInteractionRequired }

// ledger remembers, by their hashes, the refresh tokens that were traded for
// another one and must not be sent again. The zero ledger is empty.
type ledger struct {
	mu sync.Mutex // guards what follows; held for a few instructions, never across a request
	// configured has the tokens that Issue was given, and whether they were traded. It grows
	// by one for each different value of RefreshToken or RefreshTokenFunc.
	configured map[[sha256.Size]byte]bool
	// recent has the last tokens traded by Reissue, oldest first: one of them comes
	// back when Hooks.Rotated stored it and could not store its successor.
	recent [][sha256.Size]byte
}

// maxRecent bounds recent: a token that rotated that often since is not stored anywhere by accident.
const maxRecent = 16

// configure notes that Issue was given a token, and reports whether it was traded.
func (l *ledger) configure(token renew.Secret) (traded bool) {
	h := sha256.Sum256([]byte(token.Reveal()))
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.has(h) {
		return true
	}
	if l.configured == nil {
		l.configured = make(map[[sha256.Size]byte]bool, 1)
	}
	l.configured[h] = false
	return false
}

// traded reports whether a token was traded.
func (l *ledger) traded(token renew.Secret) bool {
	h := sha256.Sum256([]byte(token.Reveal()))
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.has(h)
}

// trade notes that a token was traded.
func (l *ledger) trade(token renew.Secret) {
	h := sha256.Sum256([]byte(token.Reveal()))
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.configured[h]; ok {
		l.configured[h] = true
		return
	}
	if len(l.recent) == maxRecent {
		l.recent = slices.Delete(l.recent, 0, 1)
	}
	l.recent = append(l.recent, h)
}

// has is called with mu held.
func (l *ledger) has(h [sha256.Size]byte) bool {
	return l.configured[h] || slices.Contains(l.recent, h)
}

// Revoke tells the server that t is no longer wanted, first its refresh token and then its access token, and
// fails unless the server says that both are gone. It blocks until ctx ends at the latest. Errors are *renew.IssueError.
func (s *RefreshToken) Revoke(ctx context.Context, t *renew.Token) error {
	return s.client().revoke(ctx, t)
}

// Refuses reports whether a 401 is about the token (RFC 6750, section 3.1). It does not block.
func (s *RefreshToken) Refuses(t *renew.Token, resp *http.Response) bool { return refuses(t, resp) }
