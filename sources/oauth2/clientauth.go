package oauth2

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/sources/internal/header"
	"github.com/seed-f29168f7/renew/sources/internal/input"
	"github.com/seed-f29168f7/renew/sources/jwt"
)

// validateAuth reports what is wrong with the fields by which the client authenticates itself.
func (c *client) validateAuth() error {
	wrong := func(field, format string, args ...any) error {
		return &renew.ConfigError{Field: c.typ + "." + field, Reason: fmt.Sprintf(format, args...)}
	}
	secret := !c.secret.IsZero() || c.secretFunc != nil
	assertion := c.assertion != nil || c.assertionFunc != nil
	switch {
	case c.clientID == "" && !c.anonymous:
		return wrong("ClientID", "is empty")
	case c.clientID == "" && (secret || assertion):
		return wrong("ClientID", "is empty, but there is a client secret or a client assertion: they authenticate a client")
	case c.clientID == "" && c.style != None && c.style != InHeader:
		return wrong("ClientID", "is empty, but AuthStyle authenticates a client: set it, or leave AuthStyle zero")
	case c.style > ClientSecretJWT:
		return wrong("AuthStyle", "is %d: it must be InHeader, InParams, None, PrivateKeyJWT or ClientSecretJWT", c.style)
	case c.style == None && secret:
		return wrong("AuthStyle", "is None, which sends no secret, but one is set")
	case c.style == PrivateKeyJWT && secret:
		return wrong("AuthStyle", "is PrivateKeyJWT, which uses no client secret, but one is set")
	case c.style == PrivateKeyJWT && !assertion:
		return wrong("ClientAssertion", "is not set: PrivateKeyJWT needs it, or ClientAssertionFunc")
	case c.assertion != nil && c.assertionFunc != nil:
		return wrong("ClientAssertion", "is set, and so is ClientAssertionFunc: set one of them")
	case c.style == ClientSecretJWT && c.assertionFunc != nil:
		return wrong("ClientAssertionFunc", "is set, but ClientSecretJWT signs with the client secret: use PrivateKeyJWT for a JWT that is made elsewhere")
	case c.style != PrivateKeyJWT && c.style != ClientSecretJWT && assertion:
		return wrong("AuthStyle", "sends no JWT, but ClientAssertion or ClientAssertionFunc is set: use PrivateKeyJWT or ClientSecretJWT")
	case c.clientID == "":
		return nil
	}
	if c.style == InHeader || c.style == InParams || c.style == ClientSecretJWT {
		if err := input.Check(c.typ+".ClientSecret", c.secret, c.secretFunc); err != nil {
			return err
		}
	}
	switch {
	case c.style == ClientSecretJWT && c.assertion != nil && (c.assertion.KeyFunc != nil || !c.assertion.Key.IsZero()):
		return wrong("ClientAssertion", "has a key, but ClientSecretJWT signs with the client secret")
	case c.style == ClientSecretJWT && c.secretFunc == nil, c.style == PrivateKeyJWT && c.assertion != nil:
		return within(c.typ+".ClientAssertion", c.signer(c.style, c.secret).Validate())
	}
	return nil
}

// within says of a ConfigError of package jwt which field it is about.
func within(field string, err error) error {
	if e, ok := errors.AsType[*renew.ConfigError](err); ok {
		return &renew.ConfigError{Field: field, Reason: "cannot be signed: its " + strings.TrimPrefix(e.Field, "Source.") + " " + e.Reason}
	}
	return err
}

// authenticate returns the secret or the JWT that goes into the next request.
func (c *client) authenticate(ctx context.Context, style AuthStyle) (secret, assertion renew.Secret, err error) {
	switch style {
	case InHeader, InParams:
		secret, err = input.Secret(ctx, c.name, "ClientSecret", c.secret, c.secretFunc)
		return secret, renew.Secret{}, err
	case PrivateKeyJWT:
		assertion, err = assertionOf(ctx, c.name, "ClientAssertion", c.signer(style, renew.Secret{}), c.assertionFunc)
		return renew.Secret{}, assertion, err
	case ClientSecretJWT:
		if secret, err = input.Secret(ctx, c.name, "ClientSecret", c.secret, c.secretFunc); err != nil {
			return renew.Secret{}, renew.Secret{}, err
		}
		assertion, err = assertionOf(ctx, c.name, "ClientAssertion", c.signer(style, secret), nil)
		return renew.Secret{}, assertion, err
	}
	return renew.Secret{}, renew.Secret{}, nil
}

// signer returns what signs the JWT that authenticates the client: RFC 7523, section 3, has iss and sub name the client, and
// aud the server. That is the one that was configured, and never an endpoint that metadata name: an issuer which
// names the token endpoint of another one there would get JWTs that the other one takes.
func (c *client) signer(style AuthStyle, secret renew.Secret) *jwt.Source {
	var src jwt.Source
	if c.assertion != nil {
		src = *c.assertion
	}
	if style == ClientSecretJWT {
		src.Key = jwt.NewSecretKey(secret)
		src.Algorithm = cmp.Or(src.Algorithm, jwt.HS256)
	}
	src.Issuer, src.Subject = cmp.Or(src.Issuer, c.clientID), cmp.Or(src.Subject, c.clientID)
	return c.addressed(src, c.place())
}

// addressed fills in whom a JWT is for, and the clock.
func (c *client) addressed(src jwt.Source, audience string) *jwt.Source {
	if len(src.Audience) == 0 {
		src.Audience = []string{audience}
	}
	if src.Clock == nil {
		src.Clock = c.clock
	}
	return &src
}

// assertionOf returns a JWT to send: fn's where that is set, else one that src signs. Errors are
// *renew.IssueError of the Source with the name; nothing was sent.
func assertionOf(ctx context.Context, name, field string, src *jwt.Source, fn input.Func) (renew.Secret, error) {
	if fn == nil {
		assertion, err := src.Assertion(ctx)
		if e, ok := errors.AsType[*renew.IssueError](err); ok {
			e.Source = name
			e.Err = fmt.Errorf("%s: %w", field, e.Err)
		}
		return assertion, err
	}
	assertion, err := input.Secret(ctx, name, field, renew.Secret{}, fn)
	if err == nil && !header.Visible(assertion.Reveal()) {
		err = &renew.IssueError{Source: name, Kind: renew.Transient, Unsent: true,
			Err: fmt.Errorf("%sFunc returned a text with spaces, line breaks or other than ASCII, which no JWT has", field)}
	}
	return assertion, err
}
