// Package tokenendpoint asks an OAuth 2 token endpoint for a token, once, and
// reads the reply (RFC 6749, sections 3.2, 5.1 and 5.2).
//
// It keeps no cache, tries nothing twice, follows no redirect and does not probe
// for the right client authentication by failing: one call of [Request.Do] is
// one request at most. Errors are *renew.IssueError and hold no body, query,
// header or secret (R30).
package tokenendpoint

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/clock"
	"github.com/seed-f29168f7/renew/sources/internal/onehop"
)

// MaxReply is how many bytes of a reply are read, decompressed. A longer reply is an error.
const MaxReply = 1 << 20

// AuthStyle is how the client authenticates itself to the token endpoint.
type AuthStyle uint8

const (
	// InHeader sends client id and secret by the Basic scheme. RFC 6749, section 2.3.1,
	// says that every server which issued a client password must support it.
	InHeader AuthStyle = iota
	// InParams sends them as client_id and client_secret in the body. The same section
	// calls it NOT RECOMMENDED, for clients that cannot use the Basic scheme.
	InParams
	// None sends the client id in the body and no secret: public clients (RFC 6749,
	// section 3.2.1) and clients that authenticate by other means, such as a TLS
	// certificate (RFC 8705).
	None
	// PrivateKeyJWT and ClientSecretJWT send ClientAssertion in the body, and the client id beside it (RFC 7523,
	// section 2.2; OpenID Connect Core, section 9, has the names). Only the making of the JWT tells them apart.
	PrivateKeyJWT
	ClientSecretJWT
)

// assertionType is the client_assertion_type of a JWT (RFC 7523, section 2.2).
const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// Request is one request for a token. Its fields are not written to; a Request
// may be used again, and by many goroutines at once.
type Request struct {
	// Source is what IssueError.Source says.
	Source string
	// URL is the token endpoint. CheckURL says what it must be.
	URL string
	// AllowPlaintext allows an http URL to a host other than this one.
	AllowPlaintext bool
	// Form is the body: grant_type and what the grant needs, without the client's authentication.
	Form url.Values
	// AuthStyle says how ClientID and ClientSecret are sent.
	AuthStyle AuthStyle
	// ClientID is the client identifier. With None it is sent when it is not empty.
	ClientID string
	// ClientSecret is sent with InHeader and InParams.
	ClientSecret renew.Secret
	// ClientAssertion is the JWT that PrivateKeyJWT and ClientSecretJWT send. Each request needs a new one.
	ClientAssertion renew.Secret
	// TokenType, when not empty, is the auth-scheme of the token whatever token_type the reply names.
	TokenType string
	// GrantIsFinal says that nothing can replace the grant of this request: its
	// invalid_grant is permanent.
	GrantIsFinal bool
	// Client sends the request. Its CheckRedirect and Jar are not used. Nil means onehop.Own, whose
	// connections all such Requests use together. A Timeout ends the
	// request besides ctx.
	Client *http.Client
	// Clock is asked what time it is when Retry-After is a date and the reply has no Date. Nil means clock.Real{}.
	Clock clock.Clock
}

// Do sends the request and reads the reply. It blocks until the reply has been
// read or ctx has ended, whichever is first. Every error is a *renew.IssueError;
// when ctx has ended, it is transient and wraps context.Cause(ctx). A token has
// Life, counted from the start of the request, and never Expiry.
func (r *Request) Do(ctx context.Context) (*renew.Token, error) {
	a, e := r.send(ctx, r.build)
	if e == nil {
		var tok *renew.Token
		if tok, e = read(a.status, a.header, a.body, r.now(), r.TokenType); e == nil {
			return tok, nil
		}
	}
	return nil, r.named(e)
}

// Post sends the request to an endpoint that answers with something else than a token. It returns a
// reply with a 2xx and without an error code; blocking and errors are as those of Do.
func (r *Request) Post(ctx context.Context) (http.Header, []byte, error) {
	return r.reply(ctx, r.build)
}

// Get asks for what is at the URL, without Form and client authentication; otherwise it does as Post.
func (r *Request) Get(ctx context.Context) (http.Header, []byte, error) {
	return r.reply(ctx, r.buildGet)
}

func (r *Request) reply(ctx context.Context, build builder) (http.Header, []byte, error) {
	a, e := r.send(ctx, build)
	if e == nil {
		e = judgeReply(a, r.now())
	}
	if e != nil {
		return nil, nil, r.named(e)
	}
	return a.header, a.body, nil
}

// named says in an error who asked whom, and makes it fit the grant.
func (r *Request) named(e *renew.IssueError) *renew.IssueError {
	e.Source, e.Host = r.Source, Host(r.URL)
	if e.Code == codeInvalidGrant && e.Kind == renew.Refused {
		e.Permanent = r.GrantIsFinal
	}
	if !known(e.Code) && r.echoed(e.Code) {
		e.Code = ""
	}
	return e
}

// answer is a reply as it came.
type answer struct {
	status int
	header http.Header
	body   []byte // at most MaxReply+1 bytes
}

// builder makes an HTTP request, without network.
type builder = func(context.Context) (*http.Request, error)

func (r *Request) send(ctx context.Context, build builder) (answer, *renew.IssueError) {
	if ctx.Err() != nil {
		e := fault(ctx, ctx.Err())
		e.Unsent = true
		return answer{}, e
	}
	var w wire
	req, err := build(httptrace.WithClientTrace(ctx, w.trace()))
	if err != nil {
		return answer{}, &renew.IssueError{Kind: renew.Invalid, Permanent: true, Unsent: true, Err: err}
	}
	resp, err := onehop.Client(r.Client).Do(req)
	if err != nil {
		e := fault(ctx, err)
		e.Unsent = w.unsent(err)
		if !e.Unsent && beforeSending(e.Err) {
			e.Err = errors.New(e.Err.Error()) // its type alone would say unsent, also to the engine
		}
		return answer{}, e
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, MaxReply+1))
	if err != nil {
		e := fault(ctx, err)
		e.Status = resp.StatusCode
		return answer{}, e
	}
	return answer{resp.StatusCode, resp.Header, body}, nil
}

// buildGet makes the HTTP request of Get.
func (r *Request) buildGet(ctx context.Context) (*http.Request, error) {
	if err := CheckURL(r.URL, r.AllowPlaintext); err != nil {
		return nil, fmt.Errorf("the URL %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.URL, nil)
	if err != nil {
		return nil, errors.New("the URL cannot be requested") // err would show the query
	}
	req.Header.Set("Accept", "application/json")
	return req, nil
}

// build makes the HTTP request, without network.
func (r *Request) build(ctx context.Context) (*http.Request, error) {
	if err := CheckURL(r.URL, r.AllowPlaintext); err != nil {
		return nil, fmt.Errorf("the URL of the endpoint %w", err)
	}
	form := maps.Clone(r.Form)
	if form == nil {
		form = make(url.Values, 2)
	}
	switch {
	case r.AuthStyle == InParams:
		form.Set("client_id", r.ClientID)
		form.Set("client_secret", r.ClientSecret.Reveal())
	case r.AuthStyle == None && r.ClientID != "":
		form.Set("client_id", r.ClientID)
	case r.AuthStyle == PrivateKeyJWT || r.AuthStyle == ClientSecretJWT:
		// RFC 7521, section 4.2, leaves client_id out or has it name the same client; some servers need it.
		form.Set("client_id", r.ClientID)
		form.Set("client_assertion_type", assertionType)
		form.Set("client_assertion", r.ClientAssertion.Reveal())
	case r.AuthStyle > ClientSecretJWT:
		return nil, errors.New("the AuthStyle is none of those defined")
	}
	// RFC 6749, section 3.2: requests to the token endpoint are POSTs.
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.URL, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, errors.New("the URL of the endpoint cannot be requested") // err would show the query
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json") // without it GitHub answers with a form
	if r.AuthStyle == InHeader {
		req.SetBasicAuth(r.basic())
	}
	return req, nil
}

// basic returns the user-id and password of the Basic scheme. RFC 6749, section
// 2.3.1: both are encoded by the application/x-www-form-urlencoded algorithm
// before they go into the scheme, so that an id may hold a colon.
func (r *Request) basic() (user, password string) {
	return url.QueryEscape(r.ClientID), url.QueryEscape(r.ClientSecret.Reveal())
}

// echoed reports whether an error code, which the issuer chose, repeats
// something that this request sent.
func (r *Request) echoed(code string) bool {
	if code == "" {
		return false
	}
	user, password := r.basic()
	sent := []string{r.ClientSecret.Reveal(), r.ClientAssertion.Reveal(), base64.StdEncoding.EncodeToString([]byte(user + ":" + password))}
	for name, values := range r.Form {
		if name != "grant_type" && name != "scope" { // GitHub has a code incorrect_client_credentials
			sent = append(sent, values...)
		}
	}
	for _, s := range sent {
		for _, s := range []string{s, url.QueryEscape(s)} {
			if s != "" && strings.Contains(code, s) || len(code) >= 8 && strings.Contains(s, code) {
				return true
			}
		}
	}
	return false
}

func (r *Request) now() time.Time {
	if r.Clock == nil {
		return clock.Real{}.Now().Wall
	}
	return r.Clock.Now().Wall
}

// wire is what a request's trace saw of the connection. net/http may still call
// the trace of a dial that it goes on with after the request has ended.
type wire struct {
	asked atomic.Bool // a connection was asked for, so this client calls traces
	got   atomic.Bool // a connection was there, ready to be written to
}

func (w *wire) trace() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		GetConn: func(string) { w.asked.Store(true) },
		GotConn: func(httptrace.GotConnInfo) { w.got.Store(true) },
	}
}

// unsent reports whether a request that failed with err certainly never reached
// the issuer. The trace knows best: no connection (DNS, dial, proxy and TLS are
// before it), nothing sent. Without one, a RoundTripper of somebody's own, the
// error must tell.
func (w *wire) unsent(err error) bool {
	if w.asked.Load() {
		return !w.got.Load()
	}
	return beforeSending(err)
}

// CheckURL reports why an endpoint's URL cannot be used, in words that
// follow the name of a field and that hold nothing of the URL.
func CheckURL(raw string, allowPlaintext bool) error {
	u, err := url.Parse(raw)
	switch {
	case raw == "":
		return errors.New("is empty: it must be a URL that starts with https://")
	case err != nil:
		return errors.New("is not a URL")
	case u.Scheme != "https" && u.Scheme != "http":
		return errors.New("must start with https://")
	case u.Hostname() == "":
		return errors.New("has no host")
	case u.User != nil:
		return errors.New("has a user name in it: client authentication has fields of its own")
	case strings.Contains(raw, "#"):
		// RFC 6749, section 3.2: "The endpoint URI MUST NOT include a fragment component."
		return errors.New("has a fragment, which an endpoint must not have")
	case u.Scheme == "http" && !allowPlaintext && !loopback(u.Hostname()):
		return errors.New("must start with https://: http would send the credentials in the clear (AllowPlaintext allows it)")
	}
	return nil
}

// loopback reports whether host is this machine.
func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && ip.IsLoopback()
}

// Host returns the host of a URL, with its port when it is not the scheme's own.
func Host(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return ""
	}
	if u.Scheme == "https" && u.Port() == "443" || u.Scheme == "http" && u.Port() == "80" {
		return strings.TrimSuffix(u.Host, ":"+u.Port())
	}
	return u.Host
}

// Endpoint returns the URL without its query, which may hold a key: the unit of pacing.
func Endpoint(raw string) string {
	endpoint, _, _ := strings.Cut(raw, "?")
	return endpoint
}
