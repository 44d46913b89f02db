package oauth1

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/budget"
	"github.com/seed-f29168f7/renew/clock"
	"github.com/seed-f29168f7/renew/sources/internal/header"
	"github.com/seed-f29168f7/renew/sources/internal/input"
)

// name is what IssueError.Source says.
const name = "oauth1"

// Placement is where the protocol parameters go (RFC 5849, section 3.5).
type Placement uint8

const (
	// Header puts them into Authorization (section 3.5.1). It is the default and what to prefer.
	Header Placement = iota
	// Query appends them to the URL (section 3.5.3), where logs may keep them.
	Query
	// Body appends them to the form that the request sends (section 3.5.2). A POST, PUT or PATCH without
	// a body gets a form of them alone, unless its Content-Type is another; any other request fails.
	Body
)

// Signer signs requests (RFC 5849, section 3.4): a renew.Authenticator that needs no issued
// token, for renew.NewTransport. Its zero value is refused by Validate. Its fields may be changed until the first
// use; after it a Signer is safe for concurrent use, as far as its functions are. Use it by pointer.
type Signer struct {
	// ClientKey names the client: oauth_consumer_key. Any text can be sent.
	ClientKey string
	// ClientSecret is the client's shared secret. Set it or ClientSecretFunc, and neither with an RSA method.
	ClientSecret renew.Secret
	// ClientSecretFunc is asked for the secret at each signature, with the request's context. Its error is a
	// local fault; its text is shown, so it must not hold the secret.
	ClientSecretFunc func(context.Context) (renew.Secret, error)
	// PrivateKey signs with the RSA methods, and is not set with others.
	PrivateKey Key
	// Token names the resource owner: oauth_token. Empty means that there is none (two-legged),
	// and no oauth_token is sent.
	Token renew.Secret
	// TokenSecret is the secret of Token. It may be empty.
	TokenSecret renew.Secret
	// TokenFunc, in place of Token and TokenSecret, is asked for both at each signature. Its errors are as those of
	// ClientSecretFunc; to return no token is one.
	TokenFunc func(context.Context) (Credentials, error)
	// Method is how to sign. Zero is HMACSHA1.
	Method Method
	// Placement is where the parameters go. Zero is Header.
	Placement Placement
	// Realm, when not empty, is sent in the header, and is not signed (section 3.4.1.3.1). It needs Header.
	Realm string
	// BodyHash says whether bodies other than forms are signed by their hash. Zero is NoBodyHash. A request
	// without a body has the hash of the empty string; with Placement Body there is none, since all is forms.
	BodyHash BodyHash
	// OmitVersion leaves oauth_version out, which section 3.1 makes optional.
	OmitVersion bool
	// AllowPlaintext allows the method Plaintext over http to another host: anyone on the way
	// can read the secrets.
	AllowPlaintext bool
	// Budget is how many replays may follow refusals. Nil means a budget of this Signer's own with the
	// defaults, 4 in 10 minutes. Signers of one account, on one Clock, share one by pointer.
	Budget *budget.Budget
	// Nonce returns the nonce of a signature, another one each time. Nil means 130 bits of crypto/rand
	// as letters and digits. It is for tests.
	Nonce func() string
	// Clock tells the timestamp. Nil means clock.Real{}.
	Clock clock.Clock

	own  budget.Budget
	skew atomic.Int64 // seconds that the server's clock is ahead of ours, as its last refusal said
}

// Signer implements what its methods are for.
var _ interface {
	renew.Authenticator
	renew.Validator
} = (*Signer)(nil)

// Validate reports the first field that cannot work, as a *renew.ConfigError. Authenticate
// and SignURL check the same.
func (s *Signer) Validate() error {
	wrong := func(field, reason string) error {
		return &renew.ConfigError{Field: "Signer." + field, Reason: reason}
	}
	switch {
	case s == nil:
		return &renew.ConfigError{Field: "Signer", Reason: "is nil"}
	case s.ClientKey == "":
		return wrong("ClientKey", "is empty")
	case s.Method > Plaintext:
		return wrong("Method", "is "+s.Method.String()+": it must be one of the constants of this package")
	case s.Placement > Body:
		return wrong("Placement", "is "+strconv.Itoa(int(s.Placement))+": it must be Header, Query or Body")
	case s.BodyHash > BodyHashSHA256:
		return wrong("BodyHash", "is "+strconv.Itoa(int(s.BodyHash))+": it must be NoBodyHash, BodyHashSHA1 or BodyHashSHA256")
	case s.BodyHash != NoBodyHash && s.Method == Plaintext:
		return wrong("BodyHash", "is set, but PLAINTEXT signs nothing, so nobody would notice a changed hash")
	case s.Method.rsa() && (!s.ClientSecret.IsZero() || s.ClientSecretFunc != nil):
		return wrong("ClientSecret", "is set, but "+s.Method.String()+" signs with PrivateKey alone")
	case !s.Method.rsa() && s.PrivateKey.signer != nil:
		return wrong("PrivateKey", "is set, but "+s.Method.String()+" does not use it")
	case s.TokenFunc != nil && (!s.Token.IsZero() || !s.TokenSecret.IsZero()):
		return wrong("TokenFunc", "is set, and so is Token or TokenSecret: set one of them")
	case s.Token.IsZero() && !s.TokenSecret.IsZero():
		return wrong("TokenSecret", "is set without Token")
	case s.Realm != "" && s.Placement != Header:
		return wrong("Realm", "is set, but only the header has a place for it")
	case !header.Printable(s.Realm):
		return wrong("Realm", "has a control character or something else than ASCII")
	}
	if err := s.Budget.Validate(); err != nil {
		return wrong("Budget", err.Error())
	}
	if s.Method.rsa() {
		if err := s.PrivateKey.validate(); err != nil {
			return wrong("PrivateKey", err.Error())
		}
		return nil
	}
	return input.Check("Signer.ClientSecret", s.ClientSecret, s.ClientSecretFunc)
}

// Authenticate signs req, which it changes, with a nonce and a timestamp of its own for each
// call. It blocks as long as the functions of the Signer do. Where the signature covers the body (forms; with
// BodyHash, others too) it is read through GetBody and not consumed; without a GetBody that fails.
// The Credential is nil. Errors are a *renew.ConfigError, or a *renew.IssueError: Invalid for a request that
// cannot be signed, Transient where a function of the Signer failed.
//
// A request that already has parameters of the protocol in its query or form is refused (the form of a PLAINTEXT request is
// read for Body alone). When a server redirects to a URL that repeats those of Query, they are replaced.
func (s *Signer) Authenticate(req *http.Request) (renew.Credential, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	if req.URL == nil {
		return nil, unsignable(errors.New("the request has no URL"))
	}
	token, err := s.token(req.Context())
	if err != nil {
		return nil, err
	}
	return nil, s.authenticate(req, token)
}

// authenticate is Authenticate with a token, and with more protocol parameters.
func (s *Signer) authenticate(req *http.Request, token Credentials, extra ...param) error {
	e, err := s.readEntity(req)
	if err != nil {
		return unsignable(err)
	}
	u := req.URL
	if s.Placement == Query && req.Response != nil {
		u = withoutProtocol(u)
	}
	m := message{method: req.Method, host: req.Host, url: u}
	var room [24]param
	params, err := s.sign(req.Context(), room[:0], &m, e, token, extra)
	if err != nil {
		return err
	}
	switch s.Placement {
	case Header:
		if req.Header == nil {
			req.Header = make(http.Header, 1)
		}
		req.Header["Authorization"] = []string{headerOf(s.Realm, params)}
	case Query:
		req.URL = withQuery(u, params)
	case Body:
		replaceBody(req, joined(e.form, params))
	}
	return nil
}

// SignURL returns u with the protocol parameters appended to its query, whatever Placement
// says: a signed link for somebody else to follow with that method, such as the address of an iframe. PLAINTEXT makes
// none: its signature is the secrets themselves. u is not changed, and there is no body to sign or hash. The functions of the Signer are called with a context that does not end.
// Errors are as those of Authenticate.
func (s *Signer) SignURL(method string, u *url.URL) (*url.URL, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	switch {
	case u == nil:
		return nil, unsignable(errors.New("the URL is nil"))
	case s.Method == Plaintext:
		return nil, unsignable(errors.New("a link signed by PLAINTEXT would hand the secrets to whoever follows it: set another Method"))
	}
	ctx := context.Background()
	token, err := s.token(ctx)
	if err != nil {
		return nil, err
	}
	var room [24]param
	params, err := s.sign(ctx, room[:0], &message{method: method, url: u}, entity{}, token, nil)
	if err != nil {
		return nil, err
	}
	return withQuery(u, params), nil
}

// token returns the token to sign with; a zero one where there is none.
func (s *Signer) token(ctx context.Context) (Credentials, error) {
	if s.TokenFunc == nil {
		return Credentials{Token: s.Token, Secret: s.TokenSecret}, nil
	}
	var got Credentials
	_, err := input.Secret(ctx, name, "Token", renew.Secret{}, func(ctx context.Context) (renew.Secret, error) {
		var err error
		got, err = s.TokenFunc(ctx)
		return got.Token, err
	})
	if err != nil {
		return Credentials{}, err
	}
	return got, nil
}

// sign appends the protocol parameters to dst, the signature last.
func (s *Signer) sign(ctx context.Context, dst []param, m *message, e entity, token Credentials, extra []param) ([]param, error) {
	if s.Method == Plaintext && !s.AllowPlaintext && !private(m.url) {
		return nil, unsignable(errors.New("PLAINTEXT over http would send the secrets in the clear: use https, or another Method (AllowPlaintext allows it)"))
	}
	if err := m.unsigned(e.form); err != nil {
		return nil, unsignable(err)
	}
	secrets, err := s.secrets(ctx, token)
	if err != nil {
		return nil, err
	}
	dst = s.protocol(dst, token, e.hash, extra)
	var base []byte
	if s.Method != Plaintext {
		if base, err = m.base(dst, e.form); err != nil {
			return nil, unsignable(err)
		}
	}
	signature, err := s.Method.signature(base, secrets, s.PrivateKey)
	if err != nil {
		return nil, &renew.IssueError{Source: name, Kind: renew.Transient, Unsent: true, Err: err}
	}
	return append(dst, param{"oauth_signature", escape(signature)}), nil
}

// secrets returns the two shared secrets, encoded and joined (section 3.4.2): the "&" is there
// even when a secret is empty.
func (s *Signer) secrets(ctx context.Context, token Credentials) ([]byte, error) {
	if s.Method.rsa() {
		return nil, nil
	}
	client, err := input.Secret(ctx, name, "ClientSecret", s.ClientSecret, s.ClientSecretFunc)
	if err != nil {
		return nil, err
	}
	c, t := client.Reveal(), token.Secret.Reveal()
	b := make([]byte, 0, len(c)+len(t)+32)
	b = append(appendEscaped(b, c), '&')
	return appendEscaped(b, t), nil
}

// protocol appends the protocol parameters without the signature (section 3.1).
func (s *Signer) protocol(dst []param, token Credentials, bodyHash string, extra []param) []param {
	var nonce string
	if s.Nonce != nil {
		nonce = escape(s.Nonce())
	} else {
		// Letters and digits, 26 of them: python-oauthlib takes no others, and 20 to 30.
		nonce = rand.Text()
	}
	timestamp := strconv.FormatInt(s.now().Wall.Unix()+s.skew.Load(), 10)
	dst = append(dst, param{"oauth_nonce", nonce}, param{"oauth_timestamp", timestamp})
	if !s.OmitVersion {
		dst = append(dst, param{"oauth_version", "1.0"})
	}
	dst = append(dst, param{"oauth_signature_method", methods[s.Method].name}, param{"oauth_consumer_key", escape(s.ClientKey)})
	if !token.Token.IsZero() {
		dst = append(dst, param{"oauth_token", escape(token.Token.Reveal())})
	}
	dst = append(dst, extra...)
	if bodyHash != "" {
		dst = append(dst, param{"oauth_body_hash", escape(bodyHash)})
	}
	return dst
}

// unsigned reports a parameter that every signature sets and that the query or the form has already. One that cannot be
// decoded is none.
func (m *message) unsigned(form string) error {
	for _, text := range [...]string{m.url.RawQuery, form} {
		err := split(text, func(name, _ string) error {
			if n, err := unescape(name); err == nil && isProtocol(n) {
				return errors.New("the request has " + n + " already: section 3.1 of RFC 5849 allows it once, and the Signer sets it")
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// base returns the base string of m with the protocol parameters and those of a form.
func (m *message) base(protocol []param, form string) ([]byte, error) {
	var room [32]param
	all, err := appendParams(room[:0], m.url.RawQuery)
	if err != nil {
		return nil, errors.New("the query " + err.Error())
	}
	if all, err = appendParams(all, form); err != nil {
		return nil, errors.New("the form " + err.Error())
	}
	all = append(all, protocol...)
	sortParams(all)
	return m.appendBase(make([]byte, 0, 768), all)
}

// isProtocol reports whether a parameter is one that every signature sets.
func isProtocol(name string) bool {
	switch name {
	case "oauth_consumer_key", "oauth_token", "oauth_signature_method", "oauth_timestamp",
		"oauth_nonce", "oauth_version", "oauth_signature", "oauth_body_hash":
		return true
	}
	return false
}

// headerOf returns the header of section 3.5.1.
func headerOf(realm string, params []param) string {
	n := len(realm) + 32
	for _, p := range params {
		n += len(p.name) + len(p.value) + 5
	}
	var b strings.Builder
	b.Grow(n)
	b.WriteString("OAuth ")
	if realm != "" {
		b.WriteString(`realm="`)
		for i := range len(realm) {
			if realm[i] == '"' || realm[i] == '\\' {
				b.WriteByte('\\')
			}
			b.WriteByte(realm[i])
		}
		b.WriteString(`", `)
	}
	for i, p := range params {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(p.name)
		b.WriteString(`="`)
		b.WriteString(p.value)
		b.WriteByte('"')
	}
	return b.String()
}

// joined returns a query or form with params behind it.
func joined(text string, params []param) string {
	var b strings.Builder
	b.WriteString(text)
	follows := text != "" && !strings.HasSuffix(text, "&")
	for _, p := range params {
		if follows {
			b.WriteByte('&')
		}
		follows = true
		b.WriteString(p.name)
		b.WriteByte('=')
		b.WriteString(p.value)
	}
	return b.String()
}

// withQuery returns a copy of u with params behind its query.
func withQuery(u *url.URL, params []param) *url.URL {
	c := *u
	c.RawQuery = joined(u.RawQuery, params)
	return &c
}

// withoutProtocol returns a copy of u whose query has no parameter of the protocol.
func withoutProtocol(u *url.URL) *url.URL {
	var kept []string
	for piece := range strings.SplitSeq(u.RawQuery, "&") {
		raw, _, _ := strings.Cut(piece, "=")
		if decoded, err := unescape(raw); err != nil || !isProtocol(decoded) {
			kept = append(kept, piece)
		}
	}
	c := *u
	c.RawQuery = strings.Join(kept, "&")
	return &c
}

// unsignable is the error of a request that cannot be signed and was not sent.
func unsignable(err error) error {
	return &renew.IssueError{Source: name, Kind: renew.Invalid, Permanent: true, Unsent: true, Err: err}
}

func (s *Signer) now() clock.Instant {
	if s.Clock == nil {
		return clock.Real{}.Now()
	}
	return s.Clock.Now()
}
