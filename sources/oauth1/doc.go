// Package oauth1 signs requests by OAuth 1.0a (RFC 5849): [Signer], for
// renew.NewTransport, and [Flow], which gets the token credentials of a person once. There is nothing to
// renew: each request, and each replay of one, has a signature with a nonce and a timestamp of its own.
//
// The signing is this package's own. Of the kept libraries, github.com/dghubble/oauth1 signs duplicate parameters, a URL
// without a path, a Host field and a form with a charset wrongly and always sends oauth_token, and
// github.com/mrjones/oauth fails 17 of the 33 golden vectors that could be put to it, among them default ports and the order of
// parameters; neither has PLAINTEXT or placement in the query or the body.
package oauth1
