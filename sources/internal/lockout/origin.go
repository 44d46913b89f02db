package lockout

import (
	"errors"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

var (
	errProxyURL  = errors.New("is not the URL of a proxy: write http://host:port or https://host:port")
	errProxyUser = errors.New("has a user name or a password in it: set Username and Password")
	errProxyPath = errors.New("has a path, a query or a fragment: write http://host:port or https://host:port")
)

// Origin is what has a password: scheme, host and port, or a proxy.
type Origin struct{ Scheme, Host string }

// OriginOf returns the origin of u, in one form for all spellings, as renew.Transport takes them for the same: a redirect
// could else make a new one, with a first attempt of its own, of each.
func OriginOf(u *url.URL) Origin {
	o := Origin{strings.ToLower(u.Scheme), strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")}
	if strings.HasPrefix(u.Host, "[") {
		if addr, err := netip.ParseAddr(u.Hostname()); err == nil {
			o.Host = addr.String()
		}
		o.Host = "[" + o.Host + "]"
	}
	port := u.Port()
	if port == "" {
		return o
	}
	if n, err := strconv.Atoi(port); err == nil {
		port = strconv.Itoa(n)
	}
	if (o.Scheme != "http" || port != "80") && (o.Scheme != "https" || port != "443") {
		o.Host += ":" + port
	}
	return o
}

// ProxyOrigin returns the origin of a proxy from its URL. The error quotes nothing of it: it may hold a password.
func ProxyOrigin(text string) (Origin, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.Opaque != "" || u.Scheme != "http" && u.Scheme != "https":
		return Origin{}, errProxyURL
	case u.User != nil:
		return Origin{}, errProxyUser
	case u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "":
		return Origin{}, errProxyPath
	}
	return OriginOf(u), nil
}
