package oauth1

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/sources/internal/onehop"
	"github.com/seed-f29168f7/renew/sources/internal/tokenendpoint"
)

// OutOfBand is the callback of a client that cannot be called back: the server shows the
// verifier to the person, who types it in (RFC 5849, section 2.1).
const OutOfBand = "oob"

// Credentials are a token and its secret: temporary ones while a person is asked, token
// credentials afterwards, whose fields go into Signer.Token and Signer.TokenSecret.
type Credentials struct {
	Token  renew.Secret
	Secret renew.Secret
	// Extra are the other parameters of the reply, such as user_id, by name. Any of them may be secret.
	Extra map[string]renew.Secret
}

// Flow gets token credentials from a person, once: the redirection-based authorization of RFC 5849, section 2.
// TemporaryCredentials, then the person goes to AuthorizeURL and comes back to the callback with a
// verifier, then TokenCredentials. It keeps nothing between the steps; the caller keeps the temporary
// credentials. Use it by pointer. Its fields may be changed until the first use; after it a Flow is safe for concurrent use.
//
// The methods that send block until the reply is read or ctx ends. They follow no redirect, keep no cookie and
// try nothing twice. Their errors are a *renew.ConfigError, or a *renew.IssueError whose Code is the
// server's oauth_problem where it states a known one.
type Flow struct {
	// TemporaryEndpoint, AuthorizationEndpoint and TokenEndpoint are the server's (section 2), https
	// except on this machine. Their queries are kept, and signed.
	TemporaryEndpoint, AuthorizationEndpoint, TokenEndpoint string
	// Signer signs with the client's credentials. It has no Token and no TokenFunc.
	Signer *Signer
	// AllowPlaintext allows http to another host: anyone on the way can read the replies, which hold secrets.
	AllowPlaintext bool
	// HTTPClient sends the requests. Nil means a client that all Sources use together. Redirects and
	// cookies are off in either.
	HTTPClient *http.Client
}

// Validate reports the first field that cannot work, as a *renew.ConfigError.
func (f *Flow) Validate() error {
	if f == nil {
		return &renew.ConfigError{Field: "Flow", Reason: "is nil"}
	}
	for _, e := range []struct{ field, url string }{
		{"TemporaryEndpoint", f.TemporaryEndpoint},
		{"AuthorizationEndpoint", f.AuthorizationEndpoint},
		{"TokenEndpoint", f.TokenEndpoint},
	} {
		if reason := wrongURL(e.url, f.AllowPlaintext); reason != "" {
			return &renew.ConfigError{Field: "Flow." + e.field, Reason: reason}
		}
	}
	if f.Signer == nil {
		return &renew.ConfigError{Field: "Flow.Signer", Reason: "is nil: it signs with the client's credentials"}
	}
	if !f.Signer.Token.IsZero() || f.Signer.TokenFunc != nil {
		return &renew.ConfigError{Field: "Flow.Signer", Reason: "has a token already: give it the client's credentials alone"}
	}
	return f.Signer.Validate()
}

// wrongURL says why an endpoint cannot be used, without a word of it, or nothing.
func wrongURL(raw string, allowPlaintext bool) string {
	u, err := url.Parse(raw)
	switch {
	case raw == "":
		return "is empty: it must be a URL"
	case err != nil:
		return "is not a URL"
	case u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "":
		return "must start with https:// and a host"
	case u.User != nil || strings.Contains(raw, "#"):
		return "has a user name or a fragment, which is not sent"
	case !allowPlaintext && !private(u):
		return "must start with https://: http would show the secrets to anyone on the way (AllowPlaintext allows it)"
	}
	return ""
}

// TemporaryCredentials asks for temporary credentials (section 2.1). callback is the URL that the
// person's browser comes back to, or OutOfBand; empty means OutOfBand. A server that does not confirm the callback speaks an
// older protocol, in which an attacker can have a victim approve the attacker's own request: the error is Invalid.
//
// After a refusal the timestamps of the Signer follow the server's Date where this host's clock is more than a minute
// off, so that another try works. That holds for TokenCredentials too.
func (f *Flow) TemporaryCredentials(ctx context.Context, callback string) (Credentials, error) {
	if err := f.Validate(); err != nil {
		return Credentials{}, err
	}
	if callback == "" {
		callback = OutOfBand
	}
	got, err := f.post(ctx, f.TemporaryEndpoint, Credentials{}, param{"oauth_callback", escape(callback)})
	if err != nil {
		return Credentials{}, err
	}
	if confirmed := got.Extra["oauth_callback_confirmed"]; confirmed.Reveal() != "true" {
		return Credentials{}, &renew.IssueError{Source: name, Host: tokenendpoint.Host(f.TemporaryEndpoint), Status: http.StatusOK,
			Kind: renew.Invalid, Permanent: true,
			Err: errors.New("the reply has no oauth_callback_confirmed=true: the server speaks OAuth 1.0 without revision A, which is not safe")}
	}
	delete(got.Extra, "oauth_callback_confirmed")
	return got, nil
}

// AuthorizeURL returns where to send the person (section 2.2): the AuthorizationEndpoint with
// the temporary token in its query. It sends nothing.
func (f *Flow) AuthorizeURL(temporary Credentials) (*url.URL, error) {
	if err := f.Validate(); err != nil {
		return nil, err
	}
	if temporary.Token.IsZero() {
		return nil, unsignable(errors.New("the temporary token is empty: ask TemporaryCredentials for one"))
	}
	u, err := url.Parse(f.AuthorizationEndpoint)
	if err != nil { // Validate has parsed it
		return nil, unsignable(errors.New("the AuthorizationEndpoint is not a URL"))
	}
	return withQuery(u, []param{{"oauth_token", escape(temporary.Token.Reveal())}}), nil
}

// Verifier reads the URL to which the person came back (section 2.2), and returns the verifier. It
// must be for these temporary credentials, or the answer belongs to somebody else's request. The error is a
// *renew.IssueError, Refused when the person said no.
func (c Credentials) Verifier(callback *url.URL) (renew.Secret, error) {
	fail := func(kind renew.Kind, code, reason string) (renew.Secret, error) {
		return renew.Secret{}, &renew.IssueError{Source: name, Kind: kind, Code: code, Permanent: true, Unsent: true, Err: errors.New(reason)}
	}
	if callback == nil {
		return fail(renew.Invalid, "", "the callback has no URL")
	}
	p, err := parseOnce(callback.RawQuery, "oauth_token", "oauth_verifier", "oauth_problem")
	if err != nil {
		return fail(renew.Invalid, "", "the query of the callback "+err.Error())
	}
	token, verifier := p["oauth_token"], p["oauth_verifier"]
	switch {
	case c.Token.IsZero() || token.IsZero() || !token.Equal(c.Token):
		return fail(renew.Invalid, "", "the callback is not for these temporary credentials: it answers another request")
	case verifier.IsZero():
		return fail(renew.Refused, problemIn([]string{"oauth_problem=" + p["oauth_problem"].Reveal()}), "the callback has no oauth_verifier: the person did not agree")
	}
	return verifier, nil
}

// TokenCredentials trades the temporary credentials and the verifier for token credentials
// (section 2.3). Both are spent then, also when the server refuses.
func (f *Flow) TokenCredentials(ctx context.Context, temporary Credentials, verifier renew.Secret) (Credentials, error) {
	if err := f.Validate(); err != nil {
		return Credentials{}, err
	}
	switch {
	case temporary.Token.IsZero():
		return Credentials{}, unsignable(errors.New("the temporary token is empty: ask TemporaryCredentials for one"))
	case verifier.IsZero():
		return Credentials{}, unsignable(errors.New("the verifier is empty: it comes with the callback, or the person reads it from the server's page"))
	}
	return f.post(ctx, f.TokenEndpoint, temporary, param{"oauth_verifier", escape(verifier.Reveal())})
}

// post sends one signed request and reads the credentials in the reply.
func (f *Flow) post(ctx context.Context, endpoint string, token Credentials, extra param) (Credentials, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, nil)
	if err != nil {
		return Credentials{}, unsignable(errors.New("the endpoint cannot be requested")) // err would show the query
	}
	if err := f.Signer.authenticate(req, token, extra); err != nil {
		return Credentials{}, err
	}
	fail := func(e *renew.IssueError) (Credentials, error) {
		e.Source, e.Host = name, tokenendpoint.Host(endpoint)
		return Credentials{}, e
	}
	resp, err := onehop.Client(f.HTTPClient).Do(req)
	if err != nil {
		return fail(fault(ctx, err))
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, tokenendpoint.MaxReply+1))
	if err != nil {
		e := fault(ctx, err)
		e.Status, e.Unsent = resp.StatusCode, false
		return fail(e)
	}
	now := f.Signer.now()
	got, e := readReply(resp.StatusCode, resp.Header, body, now.Wall)
	if e != nil {
		if resp.StatusCode/100 == 4 {
			f.Signer.follow(resp.Header, now)
		}
		return fail(e)
	}
	return got, nil
}

// fault tells what a failed exchange means. When ctx has ended, that is why.
func fault(ctx context.Context, err error) *renew.IssueError {
	if ctx.Err() != nil {
		return &renew.IssueError{Kind: renew.Transient, Err: context.Cause(ctx)}
	}
	return tokenendpoint.Fault(err)
}
