// Package hmac signs requests with a shared secret (HMAC, RFC 2104), and verifies them: [Signer] is for
// renew.NewTransport, [Verifier] for servers. There is nothing to renew: each request has a signature of its own.
//
// Nobody has standardised how a request is put into an HMAC. This package has two forms. [Canonical] is the default and what to
// use where both ends can be chosen; the signature covers eight lines, joined by LF, with none at the end:
//
//	renew-hmac-1            the version of the form
//	POST                    the method
//	/things/a%2Fb           the path as it is sent; "/" when it is empty
//	a=1&b=2&b=1&c=x+y       the query, sorted by name; parameters of one name keep their order
//	api.example:8443        the Host field in lower case, with the port if it has one
//	2026-01-02T03:04:05.1Z  the value of DateHeader: RFC 3339, UTC
//	e3b0c442...             the SHA-256 of the body, in lower-case hex
//	partner-7               the value of KeyIDHeader
//
// The query is split at "&", decoded as a form and encoded again, as [net/url.Values.Encode] does, and as Python does by
// urlencode(sorted(parse_qsl(query, keep_blank_values=True), key=lambda p: p[0])). Headers other than these, Content-Type among them, and trailers are not
// covered: anybody on the way can change them. testdata/canonical.py is the form in 30 lines of Python.
//
// [Plain] is the form of most tutorials and web hooks, for servers that exist: the HMAC of the body, or of what Signer.Message returns,
// alone. It covers neither method, path nor time, so whoever sees a request can send it again, and elsewhere. Use no secret
// for both forms: who can choose a body that Plain signs could choose the eight lines. For a standard
// with the strength of Canonical see package httpsig.
package hmac
