// Package jwt has a Source of JSON Web Tokens (RFC 7519) that the program signs itself: for servers
// that take such a token as it is (GitHub Apps, App Store Connect, Google APIs), and for the assertions of
// RFC 7523, which package oauth2 sends to a token endpoint.
//
// Nothing is sent to get a token. Every token has a new jti, and its times come from the Clock.
package jwt

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/clock"
	"github.com/seed-f29168f7/renew/sources/internal/header"
	"github.com/seed-f29168f7/renew/sources/internal/jws"
)

// DefaultLifetime is the life of a token where none is set.
const DefaultLifetime = 5 * time.Minute

const name = "jwt"

// Source signs tokens. Use it by pointer. Its zero value is refused by Validate. Its fields may be changed until
// the first use; after it a Source is safe for concurrent use, as far as its functions and its key are.
type Source struct {
	// Key signs. Set it or KeyFunc. Validate refuses keys that are weak or of the wrong kind: RSA below
	// 2048 bits, a secret shorter than the hash (RFC 7518, section 3.2), another curve than the Algorithm's.
	Key Key
	// KeyFunc is asked for the key at each token, with its ctx: for keys that rotate. Its error is a
	// local fault, tried again; its text is shown, so it must not hold the key.
	KeyFunc func(context.Context) (Key, error)
	// Algorithm is how the key signs. Empty means the usual one of the key.
	Algorithm Algorithm
	// KeyID is the header kid (RFC 7515, section 4.1.4): which of its keys the server shall take. Empty means none.
	KeyID string
	// KeyIDFunc, when not nil, names the kid of the key that is about to sign, where KeyFunc's keys have
	// names of their own (Key.Thumbprint is one). KeyID must be empty then.
	KeyIDFunc func(Key) string
	// Type is the header typ (RFC 7515, section 4.1.9). Empty means JWT.
	Type string
	// Issuer, Subject and Audience are the claims iss, sub and aud (RFC 7519, section 4.1). Empty means that
	// the token has none. One audience is sent as a string, several as an array.
	Issuer, Subject string
	Audience        []string
	// Lifetime is exp less iat, in whole seconds, at least 2 s. Zero means DefaultLifetime. Many servers have a longest one.
	Lifetime time.Duration
	// Backdate is how far iat lies before the token is made, in whole seconds and less than Lifetime: for servers whose clock is behind.
	// exp moves with it, since servers limit exp less iat. Zero means not at all; negative is an error.
	Backdate time.Duration
	// Claims, when not nil, returns more claims for each token. They are not secret. It must not return jti, iat or
	// exp, nor those that a field sets. Its error is a local fault, tried again; its text is shown.
	Claims func(context.Context) (map[string]any, error)
	// TokenType is the auth-scheme that the tokens are sent with. Empty means Bearer.
	TokenType string
	// Clock tells iat and exp. Nil means clock.Real{}.
	Clock clock.Clock
	// InputVersion, when not nil, returns a number that changes when KeyFunc would return
	// another key: a refusal for good ends then (R23). It must not block.
	InputVersion func() uint64
}

// Source implements what its methods are for.
var _ interface {
	renew.Source
	renew.Validator
	renew.Describer
} = (*Source)(nil)

// Validate reports the first field that cannot work, as a *renew.ConfigError. It calls none of the functions; what
// they return is checked for each token.
func (s *Source) Validate() error {
	wrong := func(field, format string, args ...any) error {
		return &renew.ConfigError{Field: "Source." + field, Reason: fmt.Sprintf(format, args...)}
	}
	switch {
	case s.Key.IsZero() && s.KeyFunc == nil:
		return wrong("Key", "is not set: it is needed, or KeyFunc (make one with NewKey, ParseKey or NewSecretKey)")
	case !s.Key.IsZero() && s.KeyFunc != nil:
		return wrong("Key", "is set, and so is KeyFunc: set one of them")
	case s.Algorithm != "" && !jws.Known(string(s.Algorithm)):
		return wrong("Algorithm", "is %q, which is not one of those that this package has", s.Algorithm)
	case s.KeyID != "" && s.KeyIDFunc != nil:
		return wrong("KeyID", "is set, and so is KeyIDFunc: set one of them")
	case s.TokenType != "" && !header.IsToken(s.TokenType):
		return wrong("TokenType", "is %q, which is not an auth-scheme", s.TokenType)
	case s.Lifetime != 0 && (s.Lifetime < 2*time.Second || s.Lifetime%time.Second != 0):
		return wrong("Lifetime", "is %v: it must be in whole seconds and at least 2s, or 0 for %v", s.Lifetime, DefaultLifetime)
	case s.Backdate < 0 || s.Backdate%time.Second != 0 || s.Backdate > s.lifetime()-2*time.Second:
		return wrong("Backdate", "is %v: it must be in whole seconds, 0 or more, and 2s or more below the Lifetime of %v", s.Backdate, s.lifetime())
	case slices.Contains(s.Audience, ""):
		return wrong("Audience", "has an empty one")
	}
	if s.KeyFunc == nil {
		key := s.Key.reveal()
		if err := jws.Check(s.algorithm(key), key); err != nil {
			return wrong("Key", "%s", err)
		}
	}
	return nil
}

// Describe gives the name. There is no endpoint and no account.
func (s *Source) Describe() renew.Traits {
	return renew.Traits{Name: name, InputVersion: s.InputVersion}
}

// Issue signs a token. It blocks as long as the functions and the key do. Every error is a *renew.IssueError: of
// a function and of the key transient, as nothing was sent; of a configuration that cannot work Invalid and
// permanent. The end of ctx is noticed before the key signs and wraps context.Cause(ctx).
func (s *Source) Issue(ctx context.Context) (*renew.Token, error) {
	t, err := s.sign(ctx)
	if err != nil {
		return nil, err
	}
	return &renew.Token{Value: t.compact, Type: s.TokenType, Life: t.life, Expiry: t.expiry}, nil
}

// Assertion signs a token and returns its text: for the AssertionFunc of package oauth2, or wherever else a
// JWT is sent in a request's body. Each call makes a new one. It blocks and fails as Issue does.
func (s *Source) Assertion(ctx context.Context) (renew.Secret, error) {
	t, err := s.sign(ctx)
	return t.compact, err
}

// signed is a token just made.
type signed struct {
	compact renew.Secret
	life    time.Duration
	expiry  time.Time
}

func (s *Source) sign(ctx context.Context) (signed, error) {
	if err := s.Validate(); err != nil {
		return signed{}, invalid(err)
	}
	key, err := s.key(ctx)
	if err != nil {
		return signed{}, err
	}
	now := s.now()
	claims, expiry := s.registered(now)
	if err := s.more(ctx, claims); err != nil {
		return signed{}, err
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		// The text of err may quote a value.
		return signed{}, invalid(fmt.Errorf("the claims cannot be written as JSON (%T)", err))
	}
	if ctx.Err() != nil {
		return signed{}, local(context.Cause(ctx))
	}
	compact, err := jws.Sign(s.algorithm(key.reveal()), key.reveal(), s.header(key), payload)
	if err != nil {
		return signed{}, local(err)
	}
	return signed{renew.NewSecret(compact), expiry.Sub(now), expiry}, nil
}

// key returns the key that signs, checked.
func (s *Source) key(ctx context.Context) (Key, error) {
	if s.KeyFunc == nil {
		return s.Key, nil
	}
	key, err := s.KeyFunc(ctx)
	switch {
	case err != nil && ctx.Err() != nil:
		return Key{}, local(context.Cause(ctx))
	case err != nil:
		return Key{}, local(fmt.Errorf("KeyFunc: %w", err))
	}
	raw := key.reveal()
	if err := jws.Check(s.algorithm(raw), raw); err != nil {
		return Key{}, invalid(fmt.Errorf("the key that KeyFunc returned %w", err))
	}
	return key, nil
}

// registered returns the claims that the fields set (RFC 7519, section 4.1), and exp as a time. Times are in whole
// seconds: some servers read nothing else.
func (s *Source) registered(now time.Time) (map[string]any, time.Time) {
	iat := now.Add(-s.Backdate).Unix()
	exp := iat + int64(s.lifetime()/time.Second)
	claims := map[string]any{"jti": rand.Text(), "iat": iat, "exp": exp}
	if s.Issuer != "" {
		claims["iss"] = s.Issuer
	}
	if s.Subject != "" {
		claims["sub"] = s.Subject
	}
	switch len(s.Audience) {
	case 0:
	case 1:
		claims["aud"] = s.Audience[0]
	default:
		claims["aud"] = s.Audience
	}
	return claims, time.Unix(exp, 0)
}

// more adds what Claims returns.
func (s *Source) more(ctx context.Context, claims map[string]any) error {
	if s.Claims == nil {
		return nil
	}
	extra, err := s.Claims(ctx)
	switch {
	case err != nil && ctx.Err() != nil:
		return local(context.Cause(ctx))
	case err != nil:
		return local(fmt.Errorf("the function Claims: %w", err))
	}
	for _, claim := range slices.Sorted(maps.Keys(extra)) {
		if _, ok := claims[claim]; ok {
			return invalid(fmt.Errorf("the function Claims returned %.40q, which is set by this Source", claim))
		}
		claims[claim] = extra[claim]
	}
	return nil
}

// header returns what stands in the JOSE header beside alg.
func (s *Source) header(key Key) map[string]any {
	h := map[string]any{"typ": "JWT"}
	if s.Type != "" {
		h["typ"] = s.Type
	}
	kid := s.KeyID
	if s.KeyIDFunc != nil {
		kid = s.KeyIDFunc(key)
	}
	if kid != "" {
		h["kid"] = kid
	}
	return h
}

func (s *Source) algorithm(key any) string {
	if s.Algorithm == "" {
		return jws.Default(key)
	}
	return string(s.Algorithm)
}

func (s *Source) lifetime() time.Duration {
	if s.Lifetime == 0 {
		return DefaultLifetime
	}
	return s.Lifetime
}

func (s *Source) now() time.Time {
	if s.Clock == nil {
		return clock.Real{}.Now().Wall
	}
	return s.Clock.Now().Wall
}

// local is a fault that may pass by itself.
func local(err error) *renew.IssueError {
	return &renew.IssueError{Source: name, Kind: renew.Transient, Unsent: true, Err: err}
}

// invalid is a configuration that cannot work.
func invalid(err error) *renew.IssueError {
	return &renew.IssueError{Source: name, Kind: renew.Invalid, Permanent: true, Unsent: true, Err: err}
}
