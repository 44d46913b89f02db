package oauth1

import (
	"errors"
	"net/netip"
	"net/url"
	"strings"
)

// message is what a signature covers, without the parameters of the form and the protocol's own.
type message struct {
	method string
	host   string // the Host field of the request; empty means the URL's host
	url    *url.URL
}

// appendBase appends the signature base string (RFC 5849, section 3.4.1.1) with all the parameters, which are
// sorted and encoded once.
func (m *message) appendBase(dst []byte, sorted []param) ([]byte, error) {
	method := m.method
	if method == "" {
		method = "GET"
	}
	dst = appendEscaped(dst, strings.ToUpper(method))
	dst = append(dst, '&')
	dst, err := appendBaseURI(dst, m.host, m.url)
	if err != nil {
		return nil, err
	}
	dst = append(dst, '&')
	for i, p := range sorted {
		if i > 0 {
			dst = append(dst, "%26"...)
		}
		dst = appendEscaped(dst, p.name)
		dst = append(dst, "%3D"...)
		dst = appendEscaped(dst, p.value)
	}
	return dst, nil
}

// appendBaseURI appends the base string URI (RFC 5849, section 3.4.1.2), encoded: scheme
// and host in lower case, the port unless it is the default one, the path as it is sent.
// Userinfo, query and fragment are not part of it. host, when not empty, takes the place of
// the URL's: it is what the Host header says.
func appendBaseURI(dst []byte, host string, u *url.URL) ([]byte, error) {
	scheme := strings.ToLower(u.Scheme)
	if host == "" {
		host = u.Host
	}
	switch {
	case scheme != "https" && scheme != "http":
		return nil, errors.New("the URL has a scheme that is neither http nor https")
	case host == "":
		return nil, errors.New("the URL has no host")
	case u.Opaque != "":
		return nil, errors.New("the URL has an opaque part: set Path and RawPath instead")
	}
	for i := range len(host) {
		if host[i] <= 0x20 || host[i] >= 0x7f {
			return nil, errors.New("the host is not visible ASCII: write it in its xn-- form")
		}
	}
	host = strings.ToLower(host)
	// An IPv6 address without a port ends in "]", so it has neither suffix.
	if scheme == "https" {
		host = strings.TrimSuffix(host, ":443")
	} else {
		host = strings.TrimSuffix(host, ":80")
	}
	host = strings.TrimSuffix(host, ":") // the empty port
	if zone, end := strings.IndexByte(host, '%'), strings.LastIndexByte(host, ']'); 0 <= zone && zone < end {
		host = host[:zone] + host[end:] // net/http does not send the zone of an address
	}
	dst = appendEscaped(dst, scheme)
	dst = append(dst, "%3A%2F%2F"...)
	dst = appendEscaped(dst, host)
	path := u.EscapedPath()
	if !strings.HasPrefix(path, "/") {
		dst = append(dst, "%2F"...)
	}
	return appendEscaped(dst, path), nil
}

// private reports whether what goes to u cannot be read on the way: by https, or not leaving this machine.
func private(u *url.URL) bool {
	ip, err := netip.ParseAddr(u.Hostname())
	return strings.EqualFold(u.Scheme, "https") || strings.EqualFold(u.Hostname(), "localhost") || err == nil && ip.IsLoopback()
}
