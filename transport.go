package renew

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/textproto"
	"slices"
	"strconv"
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
// the connection goes; the Host field does not change it.
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
// credential in it. No request that should carry the credential goes out
// without it because authentication failed.
type Transport struct {
	auth    Authenticator
	accept  Accepter // auth, where it is one; else nil
	base    http.RoundTripper
	header  string // canonical
	exists  Existing
	allowed []string            // sorted
	origins map[origin]struct{} // as originOf writes them, and with the default port spelt out
}

// TransportConfig says where the credential of a [Transport] may go, and how.
// Only Origins is required.
type TransportConfig struct {
	// Origins are where the credential may go, as "https://api.example" or
	// "http://localhost:8080". Case, default ports and a trailing dot make no difference. None is
	// an error, and so is http to a host that is not loopback (localhost, *.localhost,
	// 127.0.0.0/8, ::1), unless AllowPlaintext names it.
	Origins []string
	// AllowPlaintext names the origins among Origins ("http://10.0.0.7:8080") to which the
	// credential may go over plain http although they are not loopback: anyone on the way can
	// read it. It adds no origin.
	AllowPlaintext []string
	// OnExisting says what happens to a request that carries Header already. A reverse
	// proxy needs Replace, or its clients could choose the credential.
	OnExisting Existing
	// Header is the header in which the Authenticator puts the credential. Empty means
	// Authorization. It is what OnExisting looks at, and what is taken off a request that a redirect sends
	// elsewhere.
	Header string
	// Base sends the requests. Nil means http.DefaultTransport. It must not follow redirects. A 401
	// keeps its connection while the token is replaced: if the issuer is on the same host and the base has
	// MaxConnsPerHost, give the Source another one.
	Base http.RoundTripper
}

// Existing is what happens to a request that already carries the credential
// header. It carries it if the header is there at all, in any case and even
// with an empty value or with none: net/http takes an empty list for "do not set this".
type Existing uint8

const (
	// Keep sends the request as it is: with its own credential, no other, and
	// without looking at a 401. Redirects of it never get ours, and keep its own
	// only within the origin of the first request. Where the first request had
	// none, a header that turns up on a hop is replaced: a Location with a
	// password in it puts one there.
	Keep Existing = iota
	// Replace takes the header off and authenticates the request like any other.
	Replace
	// Refuse fails with an [*ExistingCredentialError].
	Refuse
)

// String returns the name of the constant.
func (e Existing) String() string {
	switch e {
	case Keep:
		return "Keep"
	case Replace:
		return "Replace"
	case Refuse:
		return "Refuse"
	}
	return "Existing(" + strconv.Itoa(int(e)) + ")"
}

// maxDrain is how much of a 401's body is read so that its connection can be
// used again. Beyond it, a new connection is cheaper.
const maxDrain = 64 << 10

// errNotHeld is why the context that Refused gets for a request that cannot be
// sent again has ended.
var errNotHeld = errors.New("renew: the request cannot be sent again, so its 401 is not held back")

// NewTransport returns a Transport that puts the credentials of auth on requests
// to cfg.Origins. The error is a [*ConfigError], or what the Validate method of auth
// returns where it has one.
func NewTransport(auth Authenticator, cfg TransportConfig) (*Transport, error) {
	if ts, ok := auth.(*TokenSource); auth == nil || ok && ts == nil {
		return nil, &ConfigError{"Authenticator", "is nil: give NewTransport a *TokenSource or another Authenticator"}
	}
	if v, ok := auth.(Validator); ok {
		if err := v.Validate(); err != nil {
			return nil, err
		}
	}
	if cfg.Header == "" {
		cfg.Header = "Authorization"
	}
	if !plain(cfg.Header, "!#$%&'*+-.^_`|~") { // a token of RFC 9110, section 5.6.2
		return nil, &ConfigError{"TransportConfig.Header", "is not the name of a header"}
	}
	if cfg.OnExisting > Refuse {
		return nil, &ConfigError{"TransportConfig.OnExisting", "is " + cfg.OnExisting.String() + ": it must be Keep, Replace or Refuse"}
	}
	origins, err := cfg.origins()
	if err != nil {
		return nil, err
	}
	t := &Transport{
		auth:    auth,
		base:    cfg.Base,
		header:  textproto.CanonicalMIMEHeaderKey(cfg.Header),
		exists:  cfg.OnExisting,
		origins: origins,
	}
	t.accept, _ = auth.(Accepter)
	for o := range origins {
		t.allowed = append(t.allowed, o.String())
	}
	slices.Sort(t.allowed)
	for o := range maps.Clone(origins) {
		origins[o.explicit()] = struct{}{}
	}
	return t, nil
}

// origins reads and judges Origins and AllowPlaintext.
func (c TransportConfig) origins() (map[origin]struct{}, error) {
	read := func(field string, texts []string) ([]origin, error) {
		list := make([]origin, len(texts))
		for i, text := range texts {
			o, err := parseOrigin(text)
			if err != nil {
				return nil, &ConfigError{fmt.Sprintf("TransportConfig.%s[%d]", field, i), err.Error() + ": write scheme://host or scheme://host:port"}
			}
			list[i] = o
		}
		return list, nil
	}
	plaintext, err := read("AllowPlaintext", c.AllowPlaintext)
	if err != nil {
		return nil, err
	}
	for i, o := range plaintext {
		if o.scheme != "http" {
			return nil, &ConfigError{fmt.Sprintf("TransportConfig.AllowPlaintext[%d]", i), "is " + o.String() + ", which is not plaintext: name http origins only"}
		}
	}
	list, err := read("Origins", c.Origins)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, &ConfigError{"TransportConfig.Origins", "is empty: name the origins that the credential is for, such as https://api.example"}
	}
	set := make(map[origin]struct{}, len(list))
	for i, o := range list {
		if o.scheme == "http" && !o.loopback() && !slices.Contains(plaintext, o) {
			return nil, &ConfigError{fmt.Sprintf("TransportConfig.Origins[%d]", i),
				"is " + o.String() + ", where anyone on the way can read the credential: use https, or name it in TransportConfig.AllowPlaintext too"}
		}
		set[o] = struct{}{}
	}
	return set, nil
}

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
	allowed, hop := t.allows(req), req.Response != nil
	if !allowed && !hop {
		return unsent(req, &OriginError{Origin: describeOrigin(req.URL), Allowed: slices.Clone(t.allowed)})
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
			if sameOrigin(first.URL, req.URL) && slices.Equal(t.value(first), t.value(req)) {
				return t.send(req, req)
			}
			return t.send(req, out)
		}
	}
	cred, err := t.authenticate(out)
	if err != nil {
		return nil, err
	}
	resp, err := t.send(req, out)
	if err != nil || resp == nil {
		return resp, err
	}
	if resp.StatusCode == http.StatusUnauthorized {
		return t.refused(req, out, cred, resp)
	}
	if t.accept != nil {
		t.accept.Accepted(out, cred, resp)
	}
	return resp, nil
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
		return nil, &waitError{origin: describeOrigin(req.URL), ctx: context.Cause(req.Context()), err: err}
	}
	if again == nil {
		return resp, nil
	}
	discard(resp)
	resp, err = t.send(req, again)
	if err == nil && resp != nil && resp.StatusCode != http.StatusUnauthorized && t.accept != nil {
		t.accept.Accepted(again, cred, resp)
	}
	return resp, err
}

// prepare reports the 401 to the Authenticator and returns the replay, with body
// as its body and ready to be sent; nil when there is none, body is closed then.
// All that can fail is done here, while the 401 can still be handed back whole.
func (t *Transport) prepare(req *http.Request, body io.ReadCloser, sent *http.Request, cred Credential, resp *http.Response) (again *http.Request, next Credential, err error) {
	retry := false
	defer func() { // also when Refused panics
		if !retry {
			closeBody(body)
		}
	}()
	retry, err = t.auth.Refused(sent, cred, resp)
	if retry = retry && err == nil; !retry {
		return nil, nil, err
	}
	again, _ = t.copy(req)
	again.Body = body
	if next, err = t.authenticate(again); err != nil {
		return nil, nil, err
	}
	return again, next, nil
}

// authenticate puts a credential on out. It closes the body when there is none.
func (t *Transport) authenticate(out *http.Request) (Credential, error) {
	body, done := out.Body, false
	defer func() { // also when Authenticate panics
		if !done {
			closeBody(body)
		}
	}()
	cred, err := t.auth.Authenticate(out)
	done = err == nil
	return cred, err
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

// allows reports whether the credential may go where req goes. Requests are
// mostly written as the configuration is, so the first look mostly finds it.
func (t *Transport) allows(req *http.Request) bool {
	if req.URL.Opaque == "" {
		if _, ok := t.origins[origin{req.URL.Scheme, req.URL.Host}]; ok {
			return true
		}
	}
	o, err := originOf(req.URL)
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
	origin string
	ctx    error // why the context ended
	err    error // what the Authenticator said
}

func (e *waitError) Error() string {
	return "renew: " + e.origin + " answered 401, and the request ended before there was a new credential: " + bare(e.err)
}

func (e *waitError) Unwrap() []error { return []error{e.ctx, e.err} }

func (e *waitError) Timeout() bool { return errors.Is(e.ctx, context.DeadlineExceeded) }
