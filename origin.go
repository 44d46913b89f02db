package renew

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// origin is a scheme, host and port (RFC 9110, section 4.3.1) in the one form
// in which two of them can be compared with ==. It is made by originOf and
// parseOrigin.
type origin struct {
	scheme string // http or https
	host   string // as in url.URL.Host: lower case, IPv6 in brackets, the port only where it is not the default one
}

// String returns the origin as it is written in a configuration: https://api.example:8443.
func (o origin) String() string {
	// The % of an IPv6 zone is the one byte that a URL writes differently.
	return o.scheme + "://" + strings.Replace(o.host, "%", "%25", 1)
}

// explicit returns the origin with its port always written. It is not the form
// that originOf returns, but one that requests are often written with.
func (o origin) explicit() origin {
	if o.port() == "" {
		o.host += ":" + defaultPort(o.scheme)
	}
	return o
}

func (o origin) hostname() string { return (&url.URL{Host: o.host}).Hostname() }

func (o origin) port() string { return (&url.URL{Host: o.host}).Port() }

// loopback reports whether the host is this machine by its name alone:
// localhost and what is below it (RFC 6761, section 6.3), 127.0.0.0/8 and ::1.
func (o origin) loopback() bool {
	name := o.hostname()
	if name == "localhost" || strings.HasSuffix(name, ".localhost") {
		return true
	}
	addr, err := netip.ParseAddr(name)
	return err == nil && (addr == netip.IPv6Loopback() || addr.Is4() && addr.IsLoopback())
}

// parseOrigin reads an origin as a person writes it: scheme://host, or
// scheme://host:port. The error quotes nothing of the text, which may hold a
// password or a key.
func parseOrigin(text string) (origin, error) {
	u, err := url.Parse(text)
	if err != nil {
		return origin{}, errors.New("is not a URL")
	}
	o, err := originOf(u)
	switch {
	case err != nil:
		return origin{}, err
	case u.User != nil:
		return origin{}, errors.New("has a user name or a password in it")
	case u.Path != "" && u.Path != "/" || u.Opaque != "":
		return origin{}, errors.New("has a path: a credential is for a whole origin")
	case u.RawQuery != "" || u.ForceQuery || strings.Contains(text, "#"):
		return origin{}, errors.New("has a query or a fragment")
	}
	return o, nil
}

// originOf returns the origin that a request for u is sent to.
func originOf(u *url.URL) (origin, error) {
	scheme, err := lowerASCII(u.Scheme)
	if err != nil || defaultPort(scheme) == "" {
		return origin{}, errors.New("has a scheme that is neither http nor https")
	}
	// net/http writes Opaque into the request line in place of the path, where
	// it can name another host than the one that is dialled. A proxy believes it.
	if rest, ok := strings.CutPrefix(u.Opaque, "//"); ok {
		if end := strings.IndexAny(rest, "/?#"); end >= 0 {
			rest = rest[:end]
		}
		if rest != u.Host {
			return origin{}, errors.New("has an opaque part that names another host")
		}
	} else if u.Opaque != "" && u.Opaque[0] != '/' {
		return origin{}, errors.New("has an opaque part")
	}
	host, err := canonicalHost(u)
	if err != nil {
		return origin{}, err
	}
	port, err := canonicalPort(u.Port(), scheme)
	if err != nil {
		return origin{}, err
	}
	return origin{scheme: scheme, host: host + port}, nil
}

// canonicalHost returns the host of u in lower case, an IPv6 address in its
// shortest form in brackets, a name without its trailing dot.
func canonicalHost(u *url.URL) (string, error) {
	name, err := lowerASCII(u.Hostname())
	if err != nil {
		return "", errors.New("has a host outside ASCII: write it in its xn-- form")
	}
	if strings.HasPrefix(u.Host, "[") {
		// u.Hostname, since the zone is case-sensitive.
		addr, err := netip.ParseAddr(u.Hostname())
		if err != nil || !addr.Is6() || !plain(addr.Zone(), "-._~") {
			return "", errors.New("has an IPv6 address that cannot be read")
		}
		return "[" + addr.String() + "]", nil
	}
	name = strings.TrimSuffix(name, ".")
	if name == "" {
		return "", errors.New("has no host")
	}
	if !plain(name, "-._") || strings.HasPrefix(name, ".") || strings.HasSuffix(name, ".") {
		return "", errors.New("has a host that is neither a name nor an address (wildcards are not supported)")
	}
	return name, nil
}

// canonicalPort returns ":port", or nothing for the default port of scheme.
func canonicalPort(port, scheme string) (string, error) {
	if port == "" {
		return "", nil
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return "", errors.New("has a port outside 1 to 65535")
	}
	if port = strconv.FormatUint(n, 10); port == defaultPort(scheme) {
		return "", nil
	}
	return ":" + port, nil
}

func defaultPort(scheme string) string {
	switch scheme {
	case "http":
		return "80"
	case "https":
		return "443"
	}
	return ""
}

// lowerASCII is strings.ToLower for ASCII alone: in Unicode, letters outside
// ASCII have ones inside it as their lower case (the Kelvin sign has k).
func lowerASCII(s string) (string, error) {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return "", errors.New("not ASCII")
		}
	}
	return strings.ToLower(s), nil
}

// plain reports whether s has only ASCII letters, digits and the bytes of also.
func plain(s, also string) bool {
	for i := range len(s) {
		c := s[i]
		if ('a' > c || c > 'z') && ('A' > c || c > 'Z') && ('0' > c || c > '9') && strings.IndexByte(also, c) < 0 {
			return false
		}
	}
	return true
}

// sameOrigin reports whether both name one origin.
func sameOrigin(a, b *url.URL) bool {
	if a == nil || b == nil {
		return false
	}
	x, errX := originOf(a)
	y, errY := originOf(b)
	return errX == nil && errY == nil && x == y
}

// describeOrigin returns the origin of u for an error: without path, query and
// userinfo, whatever u holds. It is empty where u names none.
func describeOrigin(u *url.URL) string {
	if o, err := originOf(u); err == nil {
		return o.String()
	}
	host := u.Host[strings.LastIndexByte(u.Host, '@')+1:]
	if end := strings.IndexAny(host, "/?#\\"); end >= 0 {
		host = host[:end]
	}
	if u.Opaque != "" || u.Scheme == "" || host == "" {
		return ""
	}
	return u.Scheme + "://" + host
}

// OriginError says that a request was not sent, because it goes to an origin
// that its Transport was not given. It holds no path and no query.
type OriginError struct {
	// Origin is where the request would have gone; empty when its URL names no origin.
	Origin string
	// Allowed are the origins of the Transport, sorted.
	Allowed []string
}

// Error says where the request would have gone, what is allowed, and what to do.
func (e *OriginError) Error() string {
	if e.Origin == "" {
		return "renew: the URL of the request names no origin: it needs a scheme (http or https) and a host"
	}
	const most = 5
	allowed := strings.Join(e.Allowed[:min(len(e.Allowed), most)], ", ")
	if more := len(e.Allowed) - most; more > 0 {
		allowed += fmt.Sprintf(" and %d more", more)
	}
	return fmt.Sprintf("renew: %q is not among the origins that the credential is for (%s): add it to TransportConfig.Origins, or use another http.Client for it",
		e.Origin, allowed)
}
