// Package httpsig signs HTTP messages by RFC 9421 (HTTP Message Signatures) and covers their bodies by RFC 9530
// (Content-Digest): [Signer] is for renew.NewTransport, [Verifier] for servers, and for clients that check
// responses. There is nothing to renew: each request, and each replay of one, has a signature with a nonce and a time of its
// own.
//
// Components are written as in Signature-Input without the outer quotes: @method, content-type, or with parameters
// @query-param;name="id". All derived components of section 2.2 are known, and of the parameters key, bs and req; sf and tr are
// refused, as a component that the message does not have is.
//
// Structured fields (RFC 8941, RFC 9651) are read and written by github.com/dunglas/httpsfv. The rest is this package's own: of the
// kept libraries for RFC 9421, github.com/yaronf/httpsign v0.3.1 verifies 15 of our 17 golden messages (not those with a default port or an
// empty path), takes the time from time.Now and no crypto.Signer, and brings nine modules along; github.com/remitly-oss/httpsig-go v1.2.0
// verifies 10 of them (no repeated fields, among others).
package httpsig
