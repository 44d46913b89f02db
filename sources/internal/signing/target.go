package signing

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/seed-f29168f7/renew/sources/internal/header"
)

// Path returns the path of a request as it is sent: dot segments, doubled and escaped slashes stay what they are. An
// empty path is "/".
func Path(method string, u *url.URL) (string, error) {
	path := u.EscapedPath()
	switch {
	case !header.IsToken(method) || method == http.MethodConnect:
		return "", errors.New("the method is not a token, or is CONNECT, which has no path")
	case u.Opaque != "":
		return "", errors.New("the URL has an opaque part: set Path and RawPath instead")
	case path == "":
		return "/", nil
	case path == "*" && method == http.MethodOptions:
		return path, nil
	case path[0] != '/' || !header.Visible(path):
		return "", errors.New("the path does not begin with a slash, or is not visible ASCII")
	}
	return path, nil
}

// IsHost reports whether net/http sends host as it is.
func IsHost(host string) bool {
	return header.Visible(host) && !strings.ContainsAny(host, `%/?#@\,`)
}

// Serves reports whether host is among hosts, in any case. Nil serves every host.
func Serves(hosts []string, host string) bool {
	return hosts == nil || slices.ContainsFunc(hosts, func(h string) bool { return strings.EqualFold(h, host) })
}

// SetHeader sets a header of a client's request to a value of its own, and takes the same name in other letters off: net/http would
// send both.
func SetHeader(h http.Header, name, value string) {
	canonical := http.CanonicalHeaderKey(name)
	for key := range h {
		if key != canonical && http.CanonicalHeaderKey(key) == canonical {
			delete(h, key)
		}
	}
	h[canonical] = []string{value}
}
