// Package oauth1 signs requests by OAuth 1.0a (RFC 5849): [Signer], for
// renew.NewTransport, and [Flow], which gets the token credentials of a person once. There is nothing to
// renew: each request, and each replay of one, has a signature with a nonce and a timestamp of its own.
//
// The signing is this package's own. Of its 37 golden vectors, github.com/dghubble/oauth1 signs 24: it takes one of
// several parameters of a name, signs a URL without a path, a Host field and a form with a charset wrongly, always sends
// oauth_token, and has no body hash. github.com/mrjones/oauth signs 19: among what it gets wrong are default
// ports, upper case in a host, empty values and a query beside a form. Neither has HMAC-SHA512, PLAINTEXT or placement in the query or
// the body. internal/rivals counts both.
package oauth1
