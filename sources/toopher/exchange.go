package toopher

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/clock"
	"github.com/seed-f29168f7/renew/sources/internal/onehop"
	"github.com/seed-f29168f7/renew/sources/internal/tokenendpoint"
)

// errTimeout is the cause of a request's end by Client.Timeout.
var errTimeout = errors.New("no complete reply within Client.Timeout")

// call sends one request and returns the body of its reply, if that is a success.
func (c *Client) call(ctx context.Context, method, path string, f fields) ([]byte, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	for left := c.RepeatGets; ; left-- {
		body, err := c.exchange(ctx, method, path, f)
		fault, ok := errors.AsType[*renew.IssueError](err)
		if !ok || fault.Kind != renew.Transient || method != http.MethodGet || left <= 0 || ctx.Err() != nil {
			return body, err
		}
	}
}

// exchange signs and sends a request once.
func (c *Client) exchange(ctx context.Context, method, path string, f fields) ([]byte, error) {
	fail := func(kind renew.Kind, unsent bool, err error) error {
		return &renew.IssueError{Source: "toopher " + method + " " + path, Host: tokenendpoint.Host(c.base()), Kind: kind, Permanent: kind == renew.Invalid, Unsent: unsent, Err: err}
	}
	if ctx.Err() != nil {
		return nil, fail(renew.Transient, true, context.Cause(ctx))
	}
	client, err := c.client()
	if err != nil {
		return nil, err
	}
	bounded, stop := c.bounded(ctx)
	defer stop()
	req, err := newRequest(bounded, method, c.base()+path, f)
	if err != nil {
		return nil, fail(renew.Invalid, true, err)
	}
	// Whatever ended a context knows why better than the error of the exchange.
	broken := func(err error) error {
		if bounded.Err() != nil {
			return fail(renew.Transient, false, context.Cause(bounded))
		}
		if wrong, ok := errors.AsType[*renew.ConfigError](err); ok {
			return wrong
		}
		if e, ok := errors.AsType[*renew.IssueError](err); ok { // the signer's
			return fail(e.Kind, e.Unsent, e.Err)
		}
		e := tokenendpoint.Fault(err)
		return fail(e.Kind, e.Unsent, e.Err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, broken(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxReply+1))
	if err != nil {
		return nil, broken(err)
	}
	if e := judge(resp.StatusCode, resp.Header, body, c.clock().Now().Wall); e != nil {
		e.Method, e.Path = method, path
		e.Message = shown(e.Message, c.Secret, f)
		return nil, e
	}
	return body, nil
}

// newRequest makes a request that is not signed yet. Its errors quote nothing.
func newRequest(ctx context.Context, method, address string, f fields) (*http.Request, error) {
	var body io.Reader
	switch {
	case len(f) == 0:
	case method == http.MethodGet:
		address += "?" + f.encode()
	default:
		body = strings.NewReader(f.encode())
	}
	req, err := http.NewRequestWithContext(ctx, method, address, body)
	if err != nil {
		return nil, errors.New("the address cannot be requested")
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	req.Header.Set("Accept", "application/json")
	return req, nil
}

// client returns what sends requests signed: the Transport of renew, with redirects and cookies off. A
// signature is valid for one URL only.
func (c *Client) client() (*http.Client, error) {
	hop := onehop.Client(c.HTTPClient)
	cfg := renew.TransportConfig{Origins: []string{c.origin()}, Base: hop.Transport}
	if c.AllowPlaintext && strings.HasPrefix(c.origin(), "http:") {
		cfg.AllowPlaintext = cfg.Origins
	}
	t, err := renew.NewTransport(once{c.signer()}, cfg)
	if err != nil {
		return nil, err
	}
	hop.Transport = t
	return hop, nil
}

// once is an Authenticator whose requests are not sent again after a 401: a POST asks a
// person something, and a signature that was refused is refused again.
type once struct{ renew.Authenticator }

func (once) Refused(*http.Request, renew.Credential, *http.Response) (renew.Replay, error) {
	return nil, nil
}

// bounded returns a context that ends with ctx, or after the Timeout.
func (c *Client) bounded(ctx context.Context) (context.Context, func()) {
	timeout := c.Timeout
	if timeout == 0 {
		timeout = defaultTimeout
	}
	ctx, cancel := context.WithCancelCause(ctx)
	if timeout < 0 {
		return ctx, func() { cancel(nil) }
	}
	timer := c.clock().AfterFunc(timeout, func() { cancel(errTimeout) })
	return ctx, func() {
		timer.Stop()
		cancel(nil)
	}
}

// judge tells what a reply means: nil for a success, whose body may still be anything.
func judge(status int, h http.Header, body []byte, now time.Time) *APIError {
	var e *APIError
	switch {
	case status/100 == 2 && len(body) <= maxReply:
		return nil
	case len(body) > maxReply:
		e = &APIError{Status: status, Err: errors.New("the reply is longer than 1 MiB")}
	case status/100 == 3:
		e = &APIError{Status: status, Err: errors.New("it redirects, which is not followed: configure the address that the API has now")}
	default:
		e = readError(status, body)
	}
	e.RetryAfter, _ = tokenendpoint.RetryAfter(h, now)
	return e
}

// confidential are the fields that let someone in, or keep terminals apart.
var confidential = []string{"pairing_phrase", "otp", "terminal_name_extra", "name_extra", "requester_specified_terminal_id", "session_token", "security_answer"}

// shown returns the message of a server as it may be shown: one line, or nothing when it
// quotes a secret of the request. Servers that refuse a signature like to show what they signed.
func shown(message string, secret renew.Secret, f fields) string {
	quotes := func(s string) bool {
		if s == "" {
			return false
		}
		forms := []string{s, url.QueryEscape(s), url.PathEscape(s)}
		forms = append(forms, url.QueryEscape(forms[1]), url.QueryEscape(forms[2]))
		return slices.ContainsFunc(forms, func(form string) bool { return strings.Contains(message, form) })
	}
	if quotes(secret.Reveal()) {
		return ""
	}
	for _, field := range f {
		if slices.Contains(confidential, field.Name) && quotes(field.Value) {
			return ""
		}
	}
	return oneLine(message)
}

// pause waits for d, or until ctx ends, and then returns its cause.
func pause(ctx context.Context, clk clock.Clock, d time.Duration) error {
	done := make(chan struct{})
	timer := clk.AfterFunc(d, func() { close(done) })
	defer timer.Stop()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
