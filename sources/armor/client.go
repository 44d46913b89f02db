package armor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/clock"
)

// Client sends requests to Armor's API. It logs in at the first request that needs
// it, keeps the token alive, and after a 401 logs in again and sends the request once more, as often as
// Options.Retries401 allows. It is safe for concurrent use. [New] makes one; Close ends it.
type Client struct {
	source Source
	ts     *renew.TokenSource
	http   *http.Client
	clock  clock.Clock

	mu     sync.RWMutex // guards header; the slices in it are never written to
	header http.Header
}

// New returns a Client. It sends nothing yet: see Login. Errors are *renew.ConfigError and *NoReissueError.
func New(o Options) (*Client, error) {
	cfg, err := o.config()
	if err != nil {
		return nil, err
	}
	persistent, err := checkHeaders("Options.Header", o.Header, true)
	if err != nil {
		return nil, err
	}
	origins, err := o.origins()
	if err != nil {
		return nil, err
	}
	ts, err := renew.New(o.Source, cfg)
	if err != nil {
		return nil, err
	}
	base := o.Transport
	if base == nil {
		base = ownTransport
	}
	plaintext := o.AllowPlaintext
	if origin := origins[len(origins)-1]; strings.HasPrefix(origin, "http://") { // the Source has allowed it
		plaintext = append(slices.Clone(plaintext), origin)
	}
	transport, err := renew.NewTransport(&caller{ts}, renew.TransportConfig{Origins: origins, AllowPlaintext: plaintext, OnExisting: renew.Replace, Base: base})
	if err != nil {
		_ = ts.Close(context.Background()) // nothing runs yet
		return nil, err
	}
	jar := o.Jar
	if jar == nil {
		jar, _ = cookiejar.New(nil) // without options there is no error
	}
	c := &Client{source: o.Source, ts: ts, clock: cfg.Clock, header: http.Header{
		"Accept":       {"application/json"},
		"Content-Type": {"application/json"},
	}}
	if c.clock == nil {
		c.clock = clock.Real{}
	}
	c.http = &http.Client{Transport: transport, Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for name, values := range persistent {
		c.set(name, values)
	}
	return c, nil
}

// Request is one call of the API.
type Request struct {
	// Method is the HTTP method, in any case. Empty means GET.
	Method string
	// URL is the whole URL. Its host must be among Options.Hosts.
	URL string
	// Data is sent as JSON. Nil means no body; Null, or json.RawMessage("null"), sends the word null.
	Data any
	// Header is for this request alone and wins over what the Client sends otherwise, Authorization and X-Account-Context
	// included. A name with no values (a nil slice) keeps that header from being sent, except Accept-Encoding, which is the
	// Transport's (http.Transport.DisableCompression). Names are compared without regard to case.
	Header http.Header
}

// Null is Data that is sent as null.
var Null = json.RawMessage("null")

// Do sends a request, with the token and the account, and returns the response whole: its status is below 400, and the caller closes
// its body. Redirects are not followed: a 3xx is such a response. Do blocks until the response's header is there or ctx ends, also for a
// login. It has no timeout of its own.
//
// A 401 leads to one login and one more sending of the same request, if the budget allows it. A request
// with an Authorization of its own is sent once.
//
// Errors: *StatusError for a status of 400 and more; *renew.ConfigError for a Request that cannot be sent; *renew.OriginError for a
// host that is not in the list; those of renew.TokenSource.Token when there is no token; else the network's, or the cause of ctx's end.
func (c *Client) Do(ctx context.Context, r Request) (*http.Response, error) {
	req, call, err := c.build(ctx, r)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if ue, ok := errors.AsType[*url.Error](err); ok {
			err = ue.Err // it would show the query
		}
		return nil, fmt.Errorf("armor: %s %s: %w", req.Method, req.URL.Host, err)
	}
	// What the caller gets of the request holds no credential and no body.
	resp.Request = &http.Request{Method: req.Method, URL: req.URL, Host: req.Host, Proto: req.Proto, ProtoMajor: req.ProtoMajor, ProtoMinor: req.ProtoMinor}
	if resp.StatusCode >= 400 {
		return nil, c.statusError(resp, call)
	}
	return resp, nil
}

// Get is Do with a URL alone.
func (c *Client) Get(ctx context.Context, url string) (*http.Response, error) {
	return c.Do(ctx, Request{URL: url})
}

// build makes the HTTP request, without network.
func (c *Client) build(ctx context.Context, r Request) (*http.Request, *call, error) {
	wrong := func(field, reason string) error {
		return &renew.ConfigError{Field: "Request." + field, Reason: reason}
	}
	u, err := url.Parse(r.URL)
	switch {
	case err != nil || r.URL == "":
		return nil, nil, wrong("URL", "is not a URL")
	case u.User != nil:
		return nil, nil, wrong("URL", "has a user name in it: the Client logs in by itself")
	}
	var body []byte
	if r.Data != nil {
		if body, err = json.Marshal(r.Data); err != nil {
			return nil, nil, wrong("Data", fmt.Sprintf("is a %T that cannot be written as JSON", r.Data)) // err may quote it
		}
	}
	own, err := checkHeaders("Request.Header", r.Header, false)
	if err != nil {
		return nil, nil, err
	}
	call := &call{}
	req, err := http.NewRequestWithContext(context.WithValue(ctx, callKey{}, call), orDefault(strings.ToUpper(r.Method), http.MethodGet), r.URL, bytes.NewReader(body))
	if err != nil {
		return nil, nil, wrong("Method", "is not an HTTP method")
	}
	c.mu.RLock()
	req.Header, call.overrides = merge(c.header, own)
	c.mu.RUnlock()
	return req, call, nil
}

// merge returns what a request sends: the headers of the Client, and over them those of the
// call. An empty list stays one: net/http then sends neither that header nor one of its own in its
// place. What the token would set is left for the moment when the token is there.
func merge(persistent, own http.Header) (sent, overrides http.Header) {
	sent, overrides = make(http.Header, len(persistent)+len(own)+2), make(http.Header)
	for name, values := range persistent {
		sent[name] = slices.Clip(values)
	}
	for name, values := range own {
		if name == "Authorization" || name == AccountHeader {
			overrides[name] = values
			continue
		}
		sent[name] = slices.Clone(values)
	}
	return sent, overrides
}

// SetHeader makes the Client send a header with every request from now on; without values it is
// sent no more. Names are compared without regard to case. The error is a *renew.ConfigError: Authorization and
// X-Account-Context can only be given with a request.
func (c *Client) SetHeader(name string, values ...string) error {
	h, err := checkHeaders("SetHeader", http.Header{name: values}, true)
	if err != nil {
		return err
	}
	for name, values := range h {
		c.set(name, values)
	}
	return nil
}

func (c *Client) set(name string, values []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.header[name] = slices.Clone(values)
}

// Login logs in, if that has not been done, and blocks until it is done, has failed, or ctx ends. Errors are those
// of renew.TokenSource.Token. There is no need to call it, except to know early.
func (c *Client) Login(ctx context.Context) error {
	_, err := c.ts.Token(ctx)
	return err
}

// Account returns the account that requests are for; false before the first login.
func (c *Client) Account() (Account, bool) { return c.source.Account() }

// Accounts returns the accounts that the last login found, in Armor's order; none before.
func (c *Client) Accounts() []Account { return c.source.Accounts() }

// TokenSource returns what keeps the token alive, for its Status, Reset and Wait. Close closes it.
func (c *Client) TokenSource() *renew.TokenSource { return c.ts }

// Close ends the token's life within the daemon: what runs is ended and waited for until ctx ends. Afterwards
// requests fail with renew.ErrClosed. It may be called more than once. Errors are those of renew.TokenSource.Close.
func (c *Client) Close(ctx context.Context) error { return c.ts.Close(ctx) }

// call is what one Do hands down to its caller, and learns from it.
type call struct {
	overrides http.Header    // Authorization and AccountHeader of the call's own
	refused   error          // why there was no other token after a 401
	sent      []renew.Secret // what went out as Authorization, without the scheme
}

type callKey struct{}

// caller is the Authenticator of a Client.
type caller struct{ ts *renew.TokenSource }

// Authenticate puts the token on req, and over it what the call has of its own. Where
// the call has all of it, no token is needed.
func (a *caller) Authenticate(req *http.Request) (renew.Credential, error) {
	c, _ := req.Context().Value(callKey{}).(*call)
	var own http.Header
	if c != nil {
		own = c.overrides
	}
	_, ownToken := own["Authorization"]
	_, ownAccount := own[AccountHeader]
	var cred renew.Credential
	if !ownToken || !ownAccount {
		var err error
		if cred, err = a.ts.Authenticate(req); err != nil {
			return nil, err
		}
	}
	for name, values := range own {
		if len(values) == 0 {
			delete(req.Header, name)
			continue
		}
		req.Header[name] = slices.Clone(values)
	}
	if c != nil {
		_, token, _ := strings.Cut(req.Header.Get("Authorization"), " ")
		c.sent = append(c.sent, renew.NewSecret(token))
	}
	if ownToken {
		return nil, nil // what a server says of it is not about our token
	}
	return cred, nil
}

// Refused rejects the token that req carried, and notes why there is no other one.
func (a *caller) Refused(req *http.Request, cred renew.Credential, resp *http.Response) (renew.Replay, error) {
	if cred == nil {
		return nil, nil
	}
	replay, err := a.ts.Refused(req, cred, resp)
	if c, ok := req.Context().Value(callKey{}).(*call); ok {
		c.refused = err
	}
	if replay == nil || err != nil {
		return nil, err
	}
	return a.Authenticate, nil
}
