package renew

import (
	"context"
	"fmt"
	"net/http"
)

// Credential is what an [Authenticator] put on a request: opaque to
// everyone else, and pointer-shaped so that handing it over allocates nothing.
// For a TokenSource it is the *Token. It may be nil.
type Credential any

// Authenticator puts credentials on requests and learns from refusals. A
// [Transport] drives it; *TokenSource and *PerOrigin are Authenticators, and so
// are the signers that need no issued token. It must be safe for concurrent use.
//
// The requests that it is given are the Transport's own copies. Their headers
// may be set, added to and deleted; three things are shared with the caller's
// request and must be replaced, not written through: the URL, the Trailer, and
// the strings of a header value (Header["A"][0] = "x"). The body may be read
// through GetBody, never from Body.
type Authenticator interface {
	// Authenticate puts a credential on req. It may block until req.Context() ends. When it
	// fails, the request is not sent, and its error is what the caller gets.
	Authenticate(req *http.Request) (Credential, error)

	// Refused is told that the server answered req, which carried c, with a
	// 401. Where sending the request again can help, it returns what authenticates the replay, and the
	// Transport then sends it once; else it returns nil. It is not told of a second 401.
	//
	// It may block until req.Context() ends. That context has ended already when
	// the request cannot be sent again: then Refused starts what it has to start,
	// and returns without waiting for it, since the caller waits for the 401.
	// It may read the status and header of resp; the body belongs to the caller,
	// who gets it unread when there is no replay.
	Refused(req *http.Request, c Credential, resp *http.Response) (Replay, error)
}

// Replay puts the credential for one replay on req, as Authenticate does for a first
// request. It may belong to that replay alone, as the answer to a challenge does: a
// server may take each challenge once.
type Replay func(req *http.Request) (Credential, error)

// Answerer is an [Authenticator] that learns how requests end, as Digest does from
// Authentication-Info. For each credential that Authenticate or a [Replay] put on a request, either Refused
// or Answered is called, once: Answered for any answer but a first 401, and with a nil resp
// when there was none. The same holds as for Refused, but it must not block at all.
type Answerer interface {
	Answered(req *http.Request, c Credential, resp *http.Response)
}

// Authenticate puts the current token on req, which it changes: by the Source's
// own way where it is an [Authorizer], else as Authorization: <Type> <Value>. It
// waits for a token as Token does, with req.Context(). It is meant for
// a [Transport], and safe for concurrent use.
func (ts *TokenSource) Authenticate(req *http.Request) (Credential, error) {
	tok, err := ts.Token(req.Context())
	if err != nil {
		return nil, err
	}
	if a, ok := as[Authorizer](ts.src); ok {
		if err := a.Authorize(req, tok); err != nil {
			return nil, err
		}
		return tok, nil
	}
	tok.SetAuthHeader(req)
	return tok, nil
}

// Refused rejects the token that req carried, as Reject does, with
// req.Context(), unless the Source is a [RefusalJudge] and says that resp is not about
// the token. There is a replay when there is another token now.
func (ts *TokenSource) Refused(req *http.Request, c Credential, resp *http.Response) (Replay, error) {
	tok, ok := c.(*Token)
	if !ok || tok == nil {
		return nil, &ConfigError{"Credential", fmt.Sprintf("is a %T: a TokenSource takes back only the *Token that its Authenticate returned", c)}
	}
	if judge, ok := as[RefusalJudge](ts.src); ok && resp != nil && !judge.Refuses(tok, resp) {
		return nil, nil
	}
	next, err := ts.Reject(req.Context(), tok)
	if err != nil || next.Generation() == tok.Generation() {
		return nil, err
	}
	return ts.Authenticate, nil
}

// Client returns an http.Client that puts the token on requests to the origins
// ("https://api.example"), over a [Transport] with its defaults. The client has
// no timeout: set one, or give each request a context that ends.
func (ts *TokenSource) Client(origins ...string) (*http.Client, error) {
	t, err := NewTransport(ts, TransportConfig{Origins: origins})
	if err != nil {
		return nil, err
	}
	return &http.Client{Transport: t}, nil
}

// NewClient is New and Client in one call, with a zero Config. Close the
// TokenSource when the client is no longer used.
func NewClient(src Source, origins ...string) (*http.Client, *TokenSource, error) {
	ts, err := New(src, Config{})
	if err != nil {
		return nil, nil, err
	}
	c, err := ts.Client(origins...)
	if err != nil {
		// Nothing runs yet, so there is nothing to wait for and nothing to report.
		_ = ts.Close(context.Background())
		return nil, nil, err
	}
	return c, ts, nil
}
