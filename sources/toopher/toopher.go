// Package toopher is a client of the Toopher API, version 1: a second factor
// that asks a user's phone whether a login is meant.
//
// A [Client] pairs users with phones, asks a phone to allow an action and reads its
// answer. [Client.WaitForAuthentication] and [Client.WaitForPairing] poll for answers,
// [Client.Login] is the whole flow of a requester who stores nothing. [Iframe] signs
// the URLs of Toopher's own pages, and checks what those post back.
//
// It is no Source: there is no token. Every request is signed by itself, by
// OAuth 1.0a with HMAC-SHA1 and without a token (RFC 5849, package oauth1).
//
// Answers of Toopher that are errors are *APIError, wrong arguments and fields
// *renew.ConfigError before any traffic, and all that keeps a request or its reply from
// getting through is a *renew.IssueError. None of them holds a secret, a body, a query or a header.
package toopher

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/clock"
	"github.com/seed-f29168f7/renew/sources/internal/tokenendpoint"
)

// DefaultBaseURL is where Toopher's API is.
const DefaultBaseURL = "https://api.toopher.com/v1"

// Client calls the Toopher API as one requester. Key and Secret are required.
// Use it by pointer. Its fields may be changed until the first use; after it a
// Client is safe for concurrent use, as far as what is in its fields is.
type Client struct {
	// Key is the requester's consumer key.
	Key string
	// Secret is the consumer secret. It signs, and is never sent.
	Secret renew.Secret
	// BaseURL is what all paths are below. Empty means DefaultBaseURL. Slashes at its end are dropped.
	BaseURL string
	// AllowPlaintext allows an http BaseURL to another host than this one: anyone on the way can
	// read what is asked and change what is answered, as replies are not signed.
	AllowPlaintext bool
	// HTTPClient sends the requests. Nil means a client of this package. Redirects and cookies are off in
	// either. Its Timeout, when set, holds beside that of this Client.
	HTTPClient *http.Client
	// Timeout is how long one request may take with its reply. Zero means 30 s, negative no limit.
	Timeout time.Duration
	// RepeatGets is how many times a GET is sent again at once when it did not get through, each
	// time with a new nonce and signature. Zero and less mean never. A POST is never sent again.
	RepeatGets int
	// EmptyFields makes AuthenticateByUserName send empty pairing_id and terminal_name too, as the
	// Python client does. The service needs neither.
	EmptyFields bool
	// Nonce returns a new nonce for each request. Nil means random ones.
	Nonce func() string
	// Clock gives the time of signatures, timeouts and polling. Nil means clock.Real{}.
	Clock clock.Clock
}

// defaultTimeout is how long a request may take where the Client does not say.
const defaultTimeout = 30 * time.Second

// Validate reports the first field that cannot work, as a *renew.ConfigError.
// Every call does the same before it sends anything.
func (c *Client) Validate() error {
	if c == nil {
		return &renew.ConfigError{Field: "toopher.Client", Reason: "is nil"}
	}
	if c.Key == "" {
		return &renew.ConfigError{Field: "Client.Key", Reason: "is empty: it must be the requester's consumer key"}
	}
	if c.Secret.IsZero() {
		return &renew.ConfigError{Field: "Client.Secret", Reason: "is empty: it must be the requester's consumer secret"}
	}
	if err := checkBase(c.base(), c.AllowPlaintext); err != nil {
		return &renew.ConfigError{Field: "Client.BaseURL", Reason: err.Error()}
	}
	return nil
}

// checkBase says why paths cannot be below a URL, without quoting it.
func checkBase(base string, allowPlaintext bool) error {
	if strings.ContainsAny(base, "?#") {
		return errors.New("has a query or a fragment: paths are put behind it")
	}
	return tokenendpoint.CheckURL(base, allowPlaintext)
}

// base returns the base URL without slashes at its end.
func (c *Client) base() string {
	if c.BaseURL == "" {
		return DefaultBaseURL
	}
	return strings.TrimRight(c.BaseURL, "/")
}

// origin returns the origin of the base URL. Validate has accepted it.
func (c *Client) origin() string {
	u, err := url.Parse(c.base())
	if err != nil {
		return ""
	}
	return u.Scheme + "://" + u.Host
}

func (c *Client) clock() clock.Clock {
	if c.Clock == nil {
		return clock.Real{}
	}
	return c.Clock
}
