package renew

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// Transport is an http.RoundTripper that puts a credential on each request and,
// when the server answers 401, sends it once more with a new one. Make it with
// [NewTransport]. It is safe for concurrent use, below an http.Client or an
// httputil.ReverseProxy and above any other RoundTripper.
//
// Where credentials go. Only to the origins of its configuration. A request for
// another one is not sent, and fails with an [*OriginError]. A redirect that leads
// to another one is followed without the credential header and without
// looking at a 401; when a later redirect leads back, the request is
// authenticated anew. The origin is that of the request's URL, which is where
// the connection goes. Over plain http through a proxy it is the Host field's instead, since that is
// whom the proxy asks; a base that is no *http.Transport and has a proxy must see to that itself.
//
// What happens on 401. The token is rejected, and the request sent once more
// with its replacement. A second 401 goes to the caller and rejects nothing. The
// caller gets the server's own 401, its body unread, in two more cases. There is
// no replacement: the failure budget is spent, or the issuer fails. Or the body
// cannot be sent again, because the request has no GetBody or that fails: then the
// refresh is started, and the 401 not held back for it. If the request's context
// ends during the wait for a replacement, RoundTrip returns an error that matches
// the context's, since the body of the 401 could no longer be read.
//
// What is never done. The caller's request is not changed, and nothing that the
// caller can reach (Response.Request is the caller's own request) has the
// credential in it, but for an httptrace.ClientTrace in its context, which sees what is written. No request that should carry the credential goes out
// without it because authentication failed.
type Transport struct {
	auth    Authenticator
	learns  Answerer // auth, where it is one; else nil
	base    http.RoundTripper
	header  string // canonical
	refusal int    // the status that refuses a credential: 401, or 407 of a proxy
	proxy   bool   // the credential is for the proxy that base sends http requests through
	exists  Existing
	allowed []string            // sorted
	origins map[origin]struct{} // as originOf writes them, and with the default port spelt out
}

// maxDrain is how much of a 401's body is read so that its connection can be
// used again. Beyond it, a new connection is cheaper.
const maxDrain = 64 << 10

// errNotHeld is why the context that Refused gets for a request that cannot be
// sent again has ended.
var errNotHeld = errors.New("renew: the request cannot be sent again, so its 401 is not held back")

// RoundTrip implements http.RoundTripper. It may block, for a token and for the
// answer, until req.Context() ends. Beside the errors of the Authenticator and
// of the base, it returns *OriginError, *ExistingCredentialError, and
// *ConfigError for a Transport that NewTransport did not make.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if t == nil || t.auth == nil {
		return unsent(req, &ConfigError{"Transport", "has no Authenticator: make it with NewTransport"})
	}
	if req.URL == nil {
		return unsent(req, &OriginError{Allowed: slices.Clone(t.allowed)})
	}
	target, hop := t.target(req), req.Response != nil
	allowed := t.allows(target)
	if !allowed && !hop && !t.proxy {
		return unsent(req, &OriginError{Origin: describeOrigin(target), Allowed: slices.Clone(t.allowed)})
	}
	out, carries := t.copy(req)
	switch {
	case !allowed:
		return t.send(req, out)
	case carries && t.exists == Refuse:
		return unsent(req, &ExistingCredentialError{Header: t.header, Origin: describeOrigin(req.URL)})
	case t.exists == Keep && !hop && carries:
		return t.send(req, req)
	case t.exists == Keep && hop:
		if first := firstOf(req); t.value(first) != nil {
			if (t.proxy || sameOrigin(first.URL, req.URL)) && slices.Equal(t.value(first), t.value(req)) {
				return t.send(req, req)
			}
			return t.send(req, out)
		}
	}
	cred, err := t.authenticate(t.auth.Authenticate, out)
	if err != nil {
		return nil, err
	}
	resp, err := t.exchange(req, out, cred, false)
	if err == nil && resp != nil && resp.StatusCode == t.refusal {
		return t.refused(req, out, cred, resp)
	}
	return resp, err
}

// CloseIdleConnections forwards to the base, where that has such a method.
// http.Client.CloseIdleConnections calls it.
func (t *Transport) CloseIdleConnections() {
	if t == nil {
		return
	}
	if c, ok := t.roundTripper().(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// refused deals with the first 401, whose body is unread. It returns that same
// 401, or the answer to the replay.
func (t *Transport) refused(req, sent *http.Request, cred Credential, resp *http.Response) (*http.Response, error) {
	settled := false // false at the end only when the Authenticator panicked
	defer func() {
		if !settled {
			closeBody(resp.Body)
		}
	}()
	body, ok := rewind(req)
	if !ok {
		ctx, cancel := context.WithCancelCause(req.Context())
		cancel(errNotHeld)
		// The caller gets the 401 whatever it says: it was told not to wait.
		_, _ = t.auth.Refused(sent.WithContext(ctx), cred, resp)
		settled = true
		return resp, nil
	}
	again, cred, err := t.prepare(req, body, sent, cred, resp)
	settled = true
	if err != nil && req.Context().Err() != nil {
		closeBody(resp.Body)
		who := describeOrigin(req.URL)
		if t.proxy {
			who = "the proxy"
		}
		return nil, &waitError{who: who, status: t.refusal, ctx: context.Cause(req.Context()), err: err}
	}
	if again == nil {
		return resp, nil
	}
	discard(resp)
	return t.exchange(req, again, cred, true)
}

// prepare reports the 401 to the Authenticator and returns the replay, with body
// as its body and ready to be sent; nil when there is none, body is closed then.
// All that can fail is done here, while the 401 can still be handed back whole.
func (t *Transport) prepare(req *http.Request, body io.ReadCloser, sent *http.Request, cred Credential, resp *http.Response) (again *http.Request, next Credential, err error) {
	var replay Replay
	defer func() { // also when Refused panics
		if replay == nil {
			closeBody(body)
		}
	}()
	made, err := t.auth.Refused(sent, cred, resp)
	if made == nil || err != nil {
		return nil, nil, err
	}
	replay = made
	again, _ = t.copy(req)
	again.Body = body
	if next, err = t.authenticate(replay, again); err != nil {
		return nil, nil, err
	}
	return again, next, nil
}

// authenticate lets put put a credential on out. It closes the body when there is none.
func (t *Transport) authenticate(put Replay, out *http.Request) (Credential, error) {
	body, done := out.Body, false
	defer func() { // also when put panics
		if !done {
			closeBody(body)
		}
	}()
	cred, err := put(out)
	done = err == nil
	return cred, err
}

// exchange sends out, which carries cred, and tells the Answerer how that ended, unless it
// is the first 401, of which Refused is told.
func (t *Transport) exchange(req, out *http.Request, cred Credential, last bool) (resp *http.Response, err error) {
	if t.learns == nil {
		return t.send(req, out)
	}
	defer func() { // also when the base panics
		switch {
		case resp == nil || err != nil:
			t.learns.Answered(out, cred, nil)
		case last || resp.StatusCode != t.refusal:
			t.learns.Answered(out, cred, resp)
		}
	}()
	return t.send(req, out)
}

// send sends out, which is req or a copy of it. It takes the copy out of the
// response: the credential is in it.
func (t *Transport) send(req, out *http.Request) (*http.Response, error) {
	resp, err := t.roundTripper().RoundTrip(out)
	if resp != nil {
		resp.Request = req
	}
	return resp, err
}

func (t *Transport) roundTripper() http.RoundTripper {
	if t.base == nil {
		return http.DefaultTransport
	}
	return t.base
}

// target returns the URL by which the origin of req is judged. It is that of req, unless a proxy is asked
// for it in plain http: net/http writes the Host field into the request line then, and the proxy goes there.
func (t *Transport) target(req *http.Request) *url.URL {
	if req.Host == "" || req.Host == req.URL.Host || req.URL.Scheme != "http" || !asksProxy(t.roundTripper(), req) {
		return req.URL
	}
	u := *req.URL
	u.Host = req.Host
	return &u
}

// asksProxy reports whether base sends req, which is for http, to a proxy that reads it.
func asksProxy(base http.RoundTripper, req *http.Request) bool {
	switch b := base.(type) {
	case *Transport:
		return b != nil && asksProxy(b.roundTripper(), req)
	case *http.Transport:
		if b == nil || b.Proxy == nil {
			return false
		}
		u, err := b.Proxy(req)
		return err == nil && u != nil && (u.Scheme == "http" || u.Scheme == "https")
	}
	return false
}

// allows reports whether the credential may go to u. Requests are
// mostly written as the configuration is, so the first look mostly finds it.
func (t *Transport) allows(u *url.URL) bool {
	if t.proxy {
		return strings.EqualFold(u.Scheme, "http")
	}
	if u.Opaque == "" {
		if _, ok := t.origins[origin{u.Scheme, u.Host}]; ok {
			return true
		}
	}
	o, err := originOf(u)
	if err != nil {
		return false
	}
	_, ok := t.origins[o]
	return ok
}

// copy returns a copy of req without the credential header, and whether req
// carries it. The map is the copy's own, with room for one header more; the
// values are shared, clipped so that an Add to the copy makes a new slice. The
// Trailer is shared because net/http lets the caller fill it while the body is
// read.
func (t *Transport) copy(req *http.Request) (out *http.Request, carries bool) {
	out = req.WithContext(req.Context())
	out.Header = make(http.Header, len(req.Header)+1)
	for k, v := range req.Header {
		if t.names(k) {
			carries = true
			continue
		}
		out.Header[k] = v[:len(v):len(v)]
	}
	return out, carries
}

// names reports whether k is the credential header. A key that is not canonical
// goes on the wire all the same.
func (t *Transport) names(k string) bool {
	return len(k) == len(t.header) && strings.EqualFold(k, t.header)
}

// value returns the credential header of req: nil when req does not carry it,
// and not nil when it carries an empty one.
func (t *Transport) value(req *http.Request) []string {
	for k, v := range req.Header {
		if t.names(k) {
			return append([]string{}, v...)
		}
	}
	return nil
}

// firstOf returns the request that a chain of redirects began with, which is the
// one that the caller wrote. The bound is for a caller who ties the chain into a loop.
func firstOf(req *http.Request) *http.Request {
	for range 100 {
		if req.Response == nil || req.Response.Request == nil {
			break
		}
		req = req.Response.Request
	}
	return req
}

// rewind returns the body of req for another attempt; false when there is none.
func rewind(req *http.Request) (io.ReadCloser, bool) {
	if req.Body == nil || req.Body == http.NoBody {
		return req.Body, true
	}
	if req.GetBody == nil {
		return nil, false
	}
	body, err := req.GetBody()
	return body, err == nil
}

// discard closes the body of resp, after reading what little there is of it so
// that the connection can be used again.
func discard(resp *http.Response) {
	if resp.Body != nil && resp.ContentLength <= maxDrain {
		_, _ = io.CopyN(io.Discard, resp.Body, maxDrain)
	}
	closeBody(resp.Body)
}

// closeBody closes a body that may be nil. Nothing can be done about an error.
func closeBody(body io.Closer) {
	if body != nil {
		_ = body.Close()
	}
}

// unsent closes the body, as a RoundTripper must, and returns err.
func unsent(req *http.Request, err error) (*http.Response, error) {
	closeBody(req.Body)
	return nil, err
}

// ExistingCredentialError says that a request was not sent, because it carries a
// credential of its own and TransportConfig.OnExisting is Refuse.
type ExistingCredentialError struct {
	// Header is the name of the header.
	Header string
	// Origin is where the request would have gone.
	Origin string
}

// Error says which header it is, and what to do.
func (e *ExistingCredentialError) Error() string {
	return fmt.Sprintf("renew: a request to %s carries %s already: leave the header off, or set TransportConfig.OnExisting to Keep or Replace", e.Origin, e.Header)
}

// waitError says that the request's context ended while a refused token was
// being replaced. It is a timeout where the context's end is one, since url.Error
// asks it directly.
type waitError struct {
	who    string // that refused
	status int
	ctx    error // why the context ended
	err    error // what the Authenticator said
}

func (e *waitError) Error() string {
	return fmt.Sprintf("renew: %s answered %d, and the request ended before there was a new credential: %s", e.who, e.status, bare(e.err))
}

func (e *waitError) Unwrap() []error { return []error{e.ctx, e.err} }

func (e *waitError) Timeout() bool { return errors.Is(e.ctx, context.DeadlineExceeded) }
