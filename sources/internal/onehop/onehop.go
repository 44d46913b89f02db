// Package onehop has the http.Client of sources: one that goes where it was sent, and no further.
package onehop

import (
	"net"
	"net/http"
	"time"
)

// Own serves those who bring no client. It is one for all, or each of many
// thousand TokenSources would keep connections of its own to one issuer.
// It has no timeout: ctx ends a request.
var Own = &http.Client{Transport: &http.Transport{
	Proxy:                  http.ProxyFromEnvironment,
	DialContext:            (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
	TLSHandshakeTimeout:    10 * time.Second,
	ForceAttemptHTTP2:      true,
	MaxIdleConnsPerHost:    8,
	IdleConnTimeout:        30 * time.Second,
	MaxResponseHeaderBytes: 64 << 10,
}}

// Client returns a copy of client that follows no redirect and keeps no cookies;
// nil stands for Own. A redirected request would carry credentials, which are
// meant for the host that was configured, to another one; and a cookie would tie
// one TokenSource's request to another's.
func Client(client *http.Client) *http.Client {
	if client == nil {
		client = Own
	}
	c := *client
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	c.Jar = nil
	return &c
}
