// Package oauth1 signs requests by OAuth 1.0a (RFC 5849): [Signer], for
// renew.NewTransport, and [Flow], which gets the token credentials of a person once. There is nothing to
// renew: each request, and each replay of one, has a signature with a nonce and a timestamp of its own.
package oauth1
