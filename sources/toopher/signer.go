package toopher

import "github.com/seed-f29168f7/renew/sources/oauth1"

// signer returns what signs the requests of this requester: OAuth 1.0a in its
// two-legged form (RFC 5849, HMAC-SHA1 without a token).
func (c *Client) signer() *oauth1.Signer {
	return &oauth1.Signer{ClientKey: c.Key, ClientSecret: c.Secret, Nonce: c.Nonce, Clock: c.Clock}
}
