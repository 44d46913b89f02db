package oauth2

import (
	"bytes"
	"context"
	"errors"
	"mime"
	"net/http"
	"net/url"

	"github.com/seed-f29168f7/renew"
)

// errPage is a 200 that no revocation endpoint sends.
var errPage = errors.New("the reply is a page, so nobody can tell that the token was revoked: check RevocationURL")

// revoke revokes the refresh token of t, which ends the access token too on many servers, and then
// the access token (RFC 7009, section 2.1). Both are tried. A token that the server does not know counts as revoked (section 2.2).
func (c *client) revoke(ctx context.Context, t *renew.Token) error {
	md, err := c.endpoints(ctx)
	if err != nil {
		return err
	}
	if md.RevocationURL == "" {
		reason := "RevocationURL is not set, so the token stays good until it expires"
		if c.issuer != "" {
			reason = "the issuer's metadata names no revocation endpoint, so the token stays good until it expires"
		}
		e := c.fail(renew.Invalid, true, errors.New(reason))
		e.Unsent = true
		return e
	}
	var refresh error
	if !t.Refresh.IsZero() {
		refresh = c.revokeOne(ctx, md, t.Refresh, "refresh_token")
	}
	access := c.revokeOne(ctx, md, t.Value, "access_token")
	if refresh != nil && access != nil {
		return errors.Join(refresh, access)
	}
	if refresh != nil {
		return refresh
	}
	return access
}

func (c *client) revokeOne(ctx context.Context, md *Metadata, token renew.Secret, hint string) error {
	req, err := c.request(ctx, md, md.RevocationURL, url.Values{"token": {token.Reveal()}, "token_type_hint": {hint}})
	if err != nil {
		return err
	}
	h, body, err := req.Post(ctx)
	if err != nil {
		return err
	}
	if isPage(h, body) {
		e := c.fail(renew.Transient, false, errPage)
		e.Status = http.StatusOK
		return e
	}
	return nil
}

// isPage reports whether a reply is HTML: a login form or a portal that stands before the server. The body of a
// revocation means nothing otherwise (RFC 7009, section 2.2).
func isPage(h http.Header, body []byte) bool {
	body = bytes.TrimLeft(bytes.TrimPrefix(body, []byte("\ufeff")), " \t\r\n")
	media, _, _ := mime.ParseMediaType(h.Get("Content-Type"))
	return len(body) > 0 && (media == "text/html" || media == "application/xhtml+xml" || body[0] == '<')
}
