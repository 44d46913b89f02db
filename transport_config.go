package renew

import (
	"fmt"
	"maps"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strconv"
)

// TransportConfig says where the credential of a [Transport] may go, and how.
// Only Origins is required, or Proxy in its place.
type TransportConfig struct {
	// Origins are where the credential may go, as "https://api.example" or
	// "http://localhost:8080". Case, default ports and a trailing dot make no difference. None is
	// an error, and so is http to a host that is not loopback (localhost, *.localhost,
	// 127.0.0.0/8, ::1), unless AllowPlaintext names it.
	Origins []string
	// Proxy makes the credential one for a proxy (RFC 9110, section 11.7), such as "http://proxy.example:3128", which all
	// requests go through. What is said of 401 holds for 407 then, the default of Header is
	// Proxy-Authorization, every http origin is allowed, since the credential goes to the proxy, and the
	// plaintext rule is about the proxy. An https request goes out without the credential, through a tunnel whose
	// CONNECT is not seen by a RoundTripper: give Base a GetProxyConnectHeader for it. Origins must
	// be empty, and Base an *http.Transport or nil; a clone of it is used, with Proxy set. For a credential of the server
	// besides, make this Transport the Base of another one.
	Proxy string
	// AllowPlaintext names the origins among Origins, or the Proxy ("http://10.0.0.7:8080") to which the
	// credential may go over plain http although they are not loopback: anyone on the way can
	// read it. It adds no origin.
	AllowPlaintext []string
	// OnExisting says what happens to a request that carries Header already. A reverse
	// proxy needs Replace, or its clients could choose the credential.
	OnExisting Existing
	// Header is the header in which the Authenticator puts the credential. Empty means
	// Authorization, or Proxy-Authorization with a Proxy. It is what OnExisting looks at, and what is taken off a request that a redirect sends
	// elsewhere.
	Header string
	// Base sends the requests. Nil means http.DefaultTransport. It must not follow redirects. A 401
	// keeps its connection while the token is replaced: if the issuer is on the same host and the base has
	// MaxConnsPerHost, give the Source another one.
	Base http.RoundTripper
}

// Existing is what happens to a request that already carries the credential
// header. It carries it if the header is there at all, in any case and even
// with an empty value or with none: net/http takes an empty list for "do not set this".
type Existing uint8

const (
	// Keep sends the request as it is: with its own credential, no other, and
	// without looking at a 401. Redirects of it never get ours, and keep its own
	// only within the origin of the first request. Where the first request had
	// none, a header that turns up on a hop is replaced: a Location with a
	// password in it puts one there.
	Keep Existing = iota
	// Replace takes the header off and authenticates the request like any other.
	Replace
	// Refuse fails with an [*ExistingCredentialError].
	Refuse
)

// String returns the name of the constant.
func (e Existing) String() string {
	switch e {
	case Keep:
		return "Keep"
	case Replace:
		return "Replace"
	case Refuse:
		return "Refuse"
	}
	return "Existing(" + strconv.Itoa(int(e)) + ")"
}

// NewTransport returns a Transport that puts the credentials of auth on requests
// to cfg.Origins. The error is a [*ConfigError], or what the Validate method of auth
// returns where it has one.
func NewTransport(auth Authenticator, cfg TransportConfig) (*Transport, error) {
	if ts, ok := auth.(*TokenSource); auth == nil || ok && ts == nil {
		return nil, &ConfigError{"Authenticator", "is nil: give NewTransport a *TokenSource or another Authenticator"}
	}
	if v, ok := auth.(Validator); ok {
		if err := v.Validate(); err != nil {
			return nil, err
		}
	}
	header, refusal := "Authorization", http.StatusUnauthorized
	if cfg.Proxy != "" {
		header, refusal = "Proxy-Authorization", http.StatusProxyAuthRequired
	}
	if cfg.Header == "" {
		cfg.Header = header
	}
	if !plain(cfg.Header, "!#$%&'*+-.^_`|~") { // a token of RFC 9110, section 5.6.2
		return nil, &ConfigError{"TransportConfig.Header", "is not the name of a header"}
	}
	if cfg.OnExisting > Refuse {
		return nil, &ConfigError{"TransportConfig.OnExisting", "is " + cfg.OnExisting.String() + ": it must be Keep, Replace or Refuse"}
	}
	origins, err := cfg.origins()
	if err != nil {
		return nil, err
	}
	if cfg.Proxy != "" {
		if cfg.Base, err = through(cfg.Base, cfg.Proxy); err != nil {
			return nil, err
		}
	}
	t := &Transport{
		auth:    auth,
		base:    cfg.Base,
		refusal: refusal,
		proxy:   cfg.Proxy != "",
		header:  textproto.CanonicalMIMEHeaderKey(cfg.Header),
		exists:  cfg.OnExisting,
		origins: origins,
	}
	t.learns, _ = auth.(Answerer)
	for o := range origins {
		t.allowed = append(t.allowed, o.String())
	}
	slices.Sort(t.allowed)
	for o := range maps.Clone(origins) {
		origins[o.explicit()] = struct{}{}
	}
	return t, nil
}

// origins reads and judges Origins, or Proxy, and AllowPlaintext.
func (c TransportConfig) origins() (map[origin]struct{}, error) {
	field := func(i int) string { return fmt.Sprintf("TransportConfig.Origins[%d]", i) }
	if c.Proxy != "" {
		if len(c.Origins) != 0 {
			return nil, &ConfigError{"TransportConfig.Origins", "is set beside Proxy: a credential is for one of them; for both, make one Transport the Base of the other"}
		}
		c.Origins = []string{c.Proxy}
		field = func(int) string { return "TransportConfig.Proxy" }
	}
	plaintextField := func(i int) string { return fmt.Sprintf("TransportConfig.AllowPlaintext[%d]", i) }
	read := func(field func(i int) string, texts []string) ([]origin, error) {
		list := make([]origin, len(texts))
		for i, text := range texts {
			o, err := parseOrigin(text)
			if err != nil {
				return nil, &ConfigError{field(i), err.Error() + ": write scheme://host or scheme://host:port"}
			}
			list[i] = o
		}
		return list, nil
	}
	plaintext, err := read(plaintextField, c.AllowPlaintext)
	if err != nil {
		return nil, err
	}
	for i, o := range plaintext {
		if o.scheme != "http" {
			return nil, &ConfigError{plaintextField(i), "is " + o.String() + ", which is not plaintext: name http origins only"}
		}
	}
	list, err := read(field, c.Origins)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, &ConfigError{"TransportConfig.Origins", "is empty: name the origins that the credential is for, such as https://api.example"}
	}
	set := make(map[origin]struct{}, len(list))
	for i, o := range list {
		if o.scheme == "http" && !o.loopback() && !slices.Contains(plaintext, o) {
			return nil, &ConfigError{field(i),
				"is " + o.String() + ", where anyone on the way can read the credential: use https, or name it in TransportConfig.AllowPlaintext too"}
		}
		set[o] = struct{}{}
	}
	return set, nil
}

// through returns a clone of base that sends every request through the proxy, whose URL was judged before.
func through(base http.RoundTripper, proxy string) (http.RoundTripper, error) {
	if base == nil {
		base = http.DefaultTransport
	}
	t, ok := base.(*http.Transport)
	if !ok || t == nil {
		return nil, &ConfigError{"TransportConfig.Base", fmt.Sprintf("is a %T: with a Proxy it must be an *http.Transport or nil, so that no request with the credential can go past the proxy", base)}
	}
	u, err := url.Parse(proxy)
	if err != nil {
		return nil, &ConfigError{"TransportConfig.Proxy", "is not a URL"}
	}
	t = t.Clone()
	t.Proxy = http.ProxyURL(u)
	return t, nil
}
