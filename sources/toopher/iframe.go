package toopher

import (
	"crypto/rand"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/seed-f29168f7/renew"
)

// Iframe makes the signed URLs of Toopher's own pages, which a website shows in an
// iframe, and checks what those pages post back. It sends nothing itself. Like a
// Client, it is safe for concurrent use after its fields are set.
type Iframe struct {
	// Client has the key, the secret, the base URL and the clock. Required.
	Client *Client
	// TTL is how long a URL can be used, and for how long after its making a postback counts. Zero means
	// 5 minutes, as version 2.0.0 of the original has it; version 1.1.0 has 100 s. It is cut to
	// whole seconds; less than one is an error.
	TTL time.Duration
	// Skew is how far in the future the time of a postback may be: the clocks of two
	// machines differ. Zero means 30 s, negative none.
	Skew time.Duration
	// Drop names fields that the website's own framework adds to a postback (a CSRF token), which
	// are not signed. They do not come back, and cannot be fields of Toopher's.
	Drop []string
}

const (
	iframeTTL  = 5 * time.Minute
	iframeSkew = 30 * time.Second
)

// Validate reports the first field that cannot work, as a *renew.ConfigError.
func (f *Iframe) Validate() error {
	if f == nil {
		return &renew.ConfigError{Field: "toopher.Iframe", Reason: "is nil"}
	}
	if err := f.Client.Validate(); err != nil {
		return err
	}
	if f.TTL != 0 && f.TTL < time.Second {
		return &renew.ConfigError{Field: "Iframe.TTL", Reason: "is less than a second: it must be that or more, or 0 for 5m"}
	}
	for _, name := range f.Drop {
		if slices.Contains(postbackFields, name) {
			return &renew.ConfigError{Field: "Iframe.Drop", Reason: "names " + name + ", which is Toopher's: without it a postback could say anything"}
		}
	}
	return nil
}

// ttl returns TTL in whole seconds.
func (f *Iframe) ttl() int64 {
	if f.TTL == 0 {
		return int64(iframeTTL / time.Second)
	}
	return int64(f.TTL / time.Second)
}

// NewRequestToken returns a random request token: keep it in the user's session, give it to
// AuthenticateURL and then to Postback, once.
func NewRequestToken() string { return rand.Text() }

// AuthenticateURL returns the URL of the page that asks a user to allow a login.
// The request token comes back in the postback. The reset e-mail is where Toopher sends a link to
// a user without the phone; it may be empty. Fields go in before the signature, such as [ActionName] (the
// default is left to Toopher), [AutomationAllowed], [RequesterMetadata] or Extra("allow_inline_pairing", "false").
func (f *Iframe) AuthenticateURL(userName, resetEmail, requestToken string, extra ...Field) (string, error) {
	const call = "Iframe.AuthenticateURL"
	if err := need(call, given{"user name", userName}, given{"request token", requestToken}); err != nil {
		return "", err
	}
	own := fields{{"username", userName}, {"reset_email", resetEmail}, {"session_token", requestToken}}
	return f.url(call, "/web/authenticate", own, extra)
}

// PairURL returns the URL of the page on which a user pairs a phone. For a postback that can be
// checked, add Extra("session_token", NewRequestToken()).
func (f *Iframe) PairURL(userName, resetEmail string, extra ...Field) (string, error) {
	return f.user("Iframe.PairURL", "/web/pair", userName, resetEmail, extra)
}

// ManageUserURL returns the URL of the page on which a user manages pairings.
func (f *Iframe) ManageUserURL(userName, resetEmail string, extra ...Field) (string, error) {
	return f.user("Iframe.ManageUserURL", "/web/manage_user", userName, resetEmail, extra)
}

func (f *Iframe) user(call, path, userName, resetEmail string, extra []Field) (string, error) {
	if err := need(call, given{"user name", userName}); err != nil {
		return "", err
	}
	return f.url(call, path, fields{{"username", userName}, {"reset_email", resetEmail}}, extra)
}

// url signs base, path and query.
func (f *Iframe) url(call, path string, own fields, extra []Field) (string, error) {
	if err := f.Validate(); err != nil {
		return "", err
	}
	all, err := own.with(call, extra, "expires", "v")
	if err != nil {
		return "", err
	}
	expires := f.Client.clock().Now().Wall.Unix() + f.ttl()
	all = append(all, Field{"expires", strconv.FormatInt(expires, 10)}, Field{"v", "2"})
	u, err := url.Parse(f.Client.base() + path + "?" + all.encode())
	if err != nil {
		return "", &renew.ConfigError{Field: "Client.BaseURL", Reason: "is not a URL"}
	}
	if u, err = f.Client.signer().SignURL("GET", u); err != nil {
		return "", err
	}
	return u.String(), nil
}
