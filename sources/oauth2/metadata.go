package oauth2

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/sources/internal/tokenendpoint"
)

// Metadata is what an issuer publishes about itself: the part of RFC 8414, section 2, that Sources use.
// Its zero fields are what the issuer does not name.
type Metadata struct {
	// Issuer is the issuer identifier, equal to the one that was asked for.
	Issuer string
	// AuthURL, TokenURL, DeviceAuthURL and RevocationURL are the endpoints for authorization, tokens, device
	// authorization (RFC 8628, section 4) and revocation.
	AuthURL, TokenURL, DeviceAuthURL, RevocationURL string
	// AuthMethods are the client authentication methods of the token endpoint: client_secret_basic,
	// client_secret_post, none, private_key_jwt. Empty means client_secret_basic.
	AuthMethods []string
	// ChallengeMethods are the PKCE methods (RFC 7636). Empty means that the issuer does not say.
	ChallengeMethods []string
	// NamesIssuer says that authorization responses have an iss parameter (RFC 9207, section 3).
	NamesIssuer bool
}

// MetadataError says what is wrong with an issuer's metadata. It is wrapped in a *renew.IssueError of kind Invalid.
type MetadataError struct {
	// Member is the member of the document: "token_endpoint".
	Member string
	// Reason says what is wrong with it, without its text.
	Reason string
}

// Error names the member and says what is wrong.
func (e *MetadataError) Error() string { return "the issuer's metadata: " + e.Member + " " + e.Reason }

// FetchMetadata reads an issuer's metadata: the document of RFC 8414, section 3, or else that of OpenID Connect
// Discovery 1.0, section 4. The Sources of this package do so themselves where Issuer is set; this is for programs that
// want to look, or to fill in URLs once.
//
// issuer must be https, except on this machine, and so must the endpoints of the document, which must name exactly this
// issuer. Redirects are not followed. client may be nil. It blocks until ctx ends at the latest, and is safe
// for concurrent use. Errors are *renew.IssueError; a wrong document is Invalid and holds a [*MetadataError].
func FetchMetadata(ctx context.Context, issuer string, client *http.Client) (*Metadata, error) {
	return fetchMetadata(ctx, &tokenendpoint.Request{Source: "oauth2 metadata", Client: client}, issuer)
}

// fetchMetadata asks at each place where the document may be, until one has it.
func fetchMetadata(ctx context.Context, like *tokenendpoint.Request, issuer string) (*Metadata, error) {
	places, err := wellKnown(issuer)
	if err == nil {
		err = tokenendpoint.CheckURL(issuer, like.AllowPlaintext)
	}
	if err != nil {
		return nil, &renew.IssueError{Source: like.Source, Kind: renew.Invalid, Permanent: true, Unsent: true, Err: fmt.Errorf("the Issuer %w", err)}
	}
	var first error
	for _, place := range places {
		req := *like
		req.URL = place
		md, err := metadataAt(ctx, &req, issuer)
		if err == nil || !isAbsent(err) {
			return md, err
		}
		if first == nil {
			first = err
		}
	}
	return nil, first
}

// metadataAt asks at one place.
func metadataAt(ctx context.Context, req *tokenendpoint.Request, issuer string) (*Metadata, error) {
	_, body, err := req.Get(ctx)
	if err != nil {
		return nil, err
	}
	md, err := readMetadata(body, issuer, req.AllowPlaintext)
	if err == nil {
		return md, nil
	}
	e := &renew.IssueError{Source: req.Source, Host: tokenendpoint.Host(issuer), Status: http.StatusOK, Err: err}
	if _, ok := errors.AsType[*MetadataError](err); ok {
		e.Kind, e.Permanent = renew.Invalid, true
	}
	return nil, e
}

// isAbsent reports whether the answer may mean that the document is at another place: servers answer so, or by a redirect
// to a login, to what they do not know. A document that is wrong ends the search.
func isAbsent(err error) bool {
	e, ok := errors.AsType[*renew.IssueError](err)
	if _, wrong := errors.AsType[*MetadataError](err); !ok || wrong {
		return false
	}
	switch e.Status {
	case http.StatusOK, http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusGone:
		return true
	}
	return e.Status/100 == 3
}

// wellKnown returns where the metadata of an issuer may be, the most likely place first: RFC 8414, section 3.1, puts
// the well-known part between host and path, OpenID Connect Discovery behind the path.
func wellKnown(issuer string) ([]string, error) {
	u, err := url.Parse(issuer)
	switch {
	case err != nil:
		return nil, errors.New("is not a URL")
	case u.RawQuery != "" || u.ForceQuery:
		return nil, errors.New("has a query, which an issuer must not have (RFC 8414, section 2)")
	}
	path := strings.TrimSuffix(u.EscapedPath(), "/")
	base := u.Scheme + "://" + u.Host
	places := []string{base + "/.well-known/oauth-authorization-server" + path, base + path + "/.well-known/openid-configuration"}
	if path != "" {
		places = append(places, base+"/.well-known/openid-configuration"+path) // RFC 8414, section 5
	}
	return places, nil
}

// readMetadata reads a document. It is pure, and its errors hold nothing of the document.
func readMetadata(body []byte, issuer string, allowPlaintext bool) (*Metadata, error) {
	o, err := tokenendpoint.ParseObject(body, "issuer", "authorization_endpoint", "token_endpoint", "device_authorization_endpoint",
		"revocation_endpoint", "token_endpoint_auth_methods_supported", "code_challenge_methods_supported", "authorization_response_iss_parameter_supported")
	if err != nil {
		return nil, fmt.Errorf("the issuer's metadata: %w", err)
	}
	md := &Metadata{NamesIssuer: o.True("authorization_response_iss_parameter_supported")}
	for member, field := range map[string]*string{
		"issuer": &md.Issuer, "authorization_endpoint": &md.AuthURL, "token_endpoint": &md.TokenURL,
		"device_authorization_endpoint": &md.DeviceAuthURL, "revocation_endpoint": &md.RevocationURL,
	} {
		if *field, err = o.Text(member); err != nil {
			return nil, &MetadataError{member, "is not a string"}
		}
	}
	for member, field := range map[string]*[]string{
		"token_endpoint_auth_methods_supported": &md.AuthMethods, "code_challenge_methods_supported": &md.ChallengeMethods,
	} {
		if *field, err = o.Texts(member); err != nil {
			return nil, &MetadataError{member, "is not an array of strings"}
		}
	}
	// RFC 8414, section 3.3: "MUST be identical".
	if md.Issuer != issuer {
		return nil, &MetadataError{"issuer", "is not the Issuer that was asked for, letter for letter: configure the one that the server calls itself, if you trust it"}
	}
	for _, endpoint := range []struct{ member, url string }{
		{"authorization_endpoint", md.AuthURL}, {"token_endpoint", md.TokenURL},
		{"device_authorization_endpoint", md.DeviceAuthURL}, {"revocation_endpoint", md.RevocationURL},
	} {
		if endpoint.url == "" {
			continue
		}
		err := tokenendpoint.CheckURL(endpoint.url, allowPlaintext)
		if err == nil && isHTTPS(issuer) && !isHTTPS(endpoint.url) && !allowPlaintext {
			err = errors.New("is not https, though the issuer is")
		}
		if err != nil {
			return nil, &MetadataError{endpoint.member, err.Error()}
		}
	}
	return md, nil
}

func isHTTPS(raw string) bool { return len(raw) > 8 && strings.EqualFold(raw[:8], "https://") }

// checkURLs reports an Issuer or URL that cannot be used. Exactly one of Issuer and TokenURL is set.
func (c *client) checkURLs() error {
	wrong := func(field, reason string) error {
		return &renew.ConfigError{Field: c.typ + "." + field, Reason: reason}
	}
	switch {
	case c.issuer != "" && c.tokenURL != "":
		return wrong("Issuer", "is set, and so is TokenURL: set one of them")
	case c.issuer != "" && c.revocationURL != "":
		return wrong("Issuer", "is set, and so is RevocationURL, which comes from its metadata: set one of them")
	case c.issuer != "":
		_, err := wellKnown(c.issuer)
		if err == nil {
			err = tokenendpoint.CheckURL(c.issuer, c.allowPlaintext)
		}
		if err != nil {
			return wrong("Issuer", err.Error())
		}
		return nil
	}
	if err := tokenendpoint.CheckURL(c.tokenURL, c.allowPlaintext); err != nil {
		return wrong("TokenURL", err.Error())
	}
	if c.revocationURL != "" {
		if err := tokenendpoint.CheckURL(c.revocationURL, c.allowPlaintext); err != nil {
			return wrong("RevocationURL", err.Error())
		}
	}
	return nil
}

// endpoints returns the endpoints: those that are configured, or what the issuer says now.
func (c *client) endpoints(ctx context.Context) (*Metadata, error) {
	if c.issuer == "" {
		return &Metadata{AuthURL: c.authURL, TokenURL: c.tokenURL, DeviceAuthURL: c.deviceAuthURL, RevocationURL: c.revocationURL}, nil
	}
	ctx, stop := limited(ctx, c.time(), requestTimeout, errRequestTimeout)
	defer stop()
	md, err := fetchMetadata(ctx, &tokenendpoint.Request{Source: c.name, AllowPlaintext: c.allowPlaintext, Client: c.http, Clock: c.clock}, c.issuer)
	if err != nil {
		return nil, withoutMetadata(err)
	}
	for _, need := range []struct{ member, url string }{
		{"token_endpoint", md.TokenURL}, {"device_authorization_endpoint", md.DeviceAuthURL}, {"authorization_endpoint", md.AuthURL},
	} {
		if need.url == "" && (need.member == "token_endpoint" || need.member == c.needs) {
			return nil, invalid(c, &MetadataError{need.member, "is missing: this issuer does not offer what the Source needs"})
		}
	}
	return md, nil
}

// withoutMetadata says of an error that no credential was sent, and so none was refused: a refresh token may go
// out in the same flight (R9), and no unit of the budget is spent (R18).
func withoutMetadata(err error) error {
	e, ok := errors.AsType[*renew.IssueError](err)
	if !ok {
		return err
	}
	e.Unsent = true
	if e.Kind == renew.Refused {
		e.Kind, e.Code = renew.Transient, ""
		if e.Permanent {
			e.Kind = renew.Invalid
		}
	}
	return e
}

// styleAt returns how the client authenticates itself: not at all where it has no id. The default gives way to what an issuer's
// metadata asks for; whatever else is configured holds.
func (c *client) styleAt(md *Metadata) AuthStyle {
	if c.clientID == "" {
		return None
	}
	if c.style == InHeader && len(md.AuthMethods) > 0 && !slices.Contains(md.AuthMethods, "client_secret_basic") &&
		slices.Contains(md.AuthMethods, "client_secret_post") {
		return InParams
	}
	return c.style
}
