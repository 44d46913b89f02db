package oauth2

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/renewtest"
	"github.com/seed-f29168f7/renew/sources/internal/jws"
	"github.com/seed-f29168f7/renew/sources/internal/leaktest"
	"github.com/seed-f29168f7/renew/sources/jwt"
)

// longSecret is long enough for HS512 and as odd as oddSecret.
const longSecret = oddSecret + oddSecret + oddSecret

var clientKey = sync.OnceValue(func() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return key
})

// claimsOf verifies a JWT that was sent and returns its claims.
func claimsOf(compact, alg string, key any) (map[string]any, error) {
	payload, err := jws.Verify(compact, alg, key)
	if err != nil {
		return nil, err
	}
	var m map[string]any
	return m, json.Unmarshal(payload, &m)
}

// withAuth returns each Source of this package with the fields of its client set.
func withAuth(tokenURL, id string, secret renew.Secret, style AuthStyle, assertion *jwt.Source) map[string]renew.Source {
	return map[string]renew.Source{
		"client_credentials": &ClientCredentials{TokenURL: tokenURL, ClientID: id, ClientSecret: secret, AuthStyle: style, ClientAssertion: assertion},
		"refresh_token":      &RefreshToken{TokenURL: tokenURL, ClientID: id, ClientSecret: secret, AuthStyle: style, ClientAssertion: assertion, RefreshToken: renew.NewSecret(oddToken)},
		"jwt-bearer": &JWTBearer{TokenURL: tokenURL, ClientID: id, ClientSecret: secret, AuthStyle: style, ClientAssertion: assertion,
			Assertion: &jwt.Source{Key: jwt.NewKey(clientKey()), Issuer: "svc"}},
	}
}

// Any text can be a client id or a secret, by each way of client authentication and in each grant.
func TestOddClientsInEveryStyle(t *testing.T) {
	signer := &jwt.Source{Key: jwt.NewKey(clientKey())}
	for _, tt := range []struct {
		style  AuthStyle
		signer *jwt.Source
	}{{InHeader, nil}, {InParams, nil}, {None, nil}, {PrivateKeyJWT, signer}, {ClientSecretJWT, nil}, {ClientSecretJWT, &jwt.Source{Algorithm: jwt.HS512, Lifetime: time.Minute}}} {
		for _, odd := range []string{":", "+", "%", "&", "=", "?", `"`, `\`, " ", "é", "日本語", "%2B", "a b+c", "a&grant_type=x", "\x7f", "Ünï:cødé\U0001F511", oddID} {
			srv := newIssuer(t, always(200, `{"access_token":"abc","expires_in":60}`))
			var secret renew.Secret
			text := odd + longSecret
			if tt.style == InHeader || tt.style == InParams || tt.style == ClientSecretJWT {
				secret = renew.NewSecret(text)
			}
			for grant, src := range withAuth(srv.URL+"/t?a=b", odd, secret, tt.style, tt.signer) {
				if err := src.(renew.Validator).Validate(); err != nil {
					t.Errorf("style %d, %q, %s: %v", tt.style, odd, grant, err)
					continue
				}
				if _, err := src.Issue(t.Context()); err != nil {
					t.Errorf("style %d, %q, %s: %v", tt.style, odd, grant, err)
					continue
				}
				form := srv.forms[len(srv.forms)-1]
				if form.Get("client_id") != odd || len(form["client_id"]) != 1 || len(form["grant_type"]) != 1 || !strings.HasSuffix(form.Get("grant_type"), grant) {
					t.Errorf("style %d, %q, %s: sent %q", tt.style, odd, grant, form)
				}
				switch tt.style {
				case InHeader, InParams:
					if form.Get("client_secret") != text {
						t.Errorf("style %d, %s: secret %q", tt.style, grant, form.Get("client_secret"))
					}
					continue
				case None:
					if form.Has("client_secret") || form.Has("client_assertion") {
						t.Errorf("None, %s: sent %q", grant, form)
					}
					continue
				}
				key, alg := any([]byte(text)), "HS256"
				if tt.style == PrivateKeyJWT {
					key, alg = clientKey(), "ES256"
				} else if tt.signer != nil {
					alg = "HS512"
				}
				claims, err := claimsOf(form.Get("client_assertion"), alg, key)
				if err != nil || claims["iss"] != odd || claims["sub"] != odd || claims["aud"] != srv.URL+"/t?a=b" || form.Get("client_assertion_type") != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" || form.Has("client_secret") {
					t.Errorf("style %d, %q, %s: %v, %v, %q", tt.style, odd, grant, claims, err, form)
				}
			}
		}
	}
}

// Each try has a JWT of its own, and what the fields say is in it.
func TestClientAssertionIsNewEachTime(t *testing.T) {
	n := 0
	srv := newIssuer(t, func(i int, _ url.Values) (int, string) {
		if n++; n%2 == 1 {
			return 503, ""
		}
		return 200, `{"access_token":"abc"}`
	})
	signer := &jwt.Source{Key: jwt.NewKey(clientKey()), Audience: []string{"https://issuer.example"}, Issuer: "other", KeyID: "k1", Type: "client-authentication+jwt", Lifetime: 30 * time.Second}
	jtis := map[any]bool{}
	for _, src := range withAuth(srv.URL, "id", renew.Secret{}, PrivateKeyJWT, signer) {
		for range 4 {
			_, _ = src.Issue(t.Context()) // every other one fails
			form := srv.forms[len(srv.forms)-1]
			claims, err := claimsOf(form.Get("client_assertion"), "ES256", clientKey())
			if err != nil {
				t.Fatal(err)
			}
			jtis[claims["jti"]] = true
			if claims["aud"] != "https://issuer.example" || claims["iss"] != "other" || claims["sub"] != "id" || claims["exp"].(float64)-claims["iat"].(float64) != 30 {
				t.Errorf("claims %v", claims)
			}
			if form.Has("assertion") {
				grant, err := claimsOf(form.Get("assertion"), "ES256", clientKey())
				if err != nil || jtis[grant["jti"]] || grant["aud"] != srv.URL || grant["iss"] != "svc" {
					t.Errorf("assertion %v, %v", grant, err)
				}
				jtis[grant["jti"]] = true
			}
		}
	}
	if len(jtis) != 4*4 {
		t.Errorf("%d different jti in 16 JWTs", len(jtis))
	}
	if signer.Subject != "" || len(signer.Audience) != 1 {
		t.Error("the caller's signer was written to")
	}
}

func TestClientAuthIsValidated(t *testing.T) {
	key := jwt.NewKey(clientKey())
	fn := func(context.Context) (renew.Secret, error) { return renew.NewSecret("x.y.z"), nil }
	long := renew.NewSecret(longSecret)
	for _, tt := range []struct {
		name   string
		change func(*ClientCredentials)
		field  string // empty: valid
	}{
		{"private key", func(s *ClientCredentials) { s.AuthStyle, s.ClientAssertion = PrivateKeyJWT, &jwt.Source{Key: key} }, ""},
		{"by func", func(s *ClientCredentials) { s.AuthStyle, s.ClientAssertionFunc = PrivateKeyJWT, fn }, ""},
		{"client secret", func(s *ClientCredentials) { s.AuthStyle, s.ClientSecret = ClientSecretJWT, long }, ""},
		{"client secret by func", func(s *ClientCredentials) { s.AuthStyle, s.ClientSecretFunc = ClientSecretJWT, fn }, ""},
		{"neither", func(s *ClientCredentials) { s.AuthStyle = PrivateKeyJWT }, "ClientAssertion"},
		{"both", func(s *ClientCredentials) {
			s.AuthStyle, s.ClientAssertion, s.ClientAssertionFunc = PrivateKeyJWT, &jwt.Source{Key: key}, fn
		}, "ClientAssertion"},
		{"private key and secret", func(s *ClientCredentials) {
			s.AuthStyle, s.ClientAssertion, s.ClientSecret = PrivateKeyJWT, &jwt.Source{Key: key}, long
		}, "AuthStyle"},
		{"no key", func(s *ClientCredentials) { s.AuthStyle, s.ClientAssertion = PrivateKeyJWT, &jwt.Source{} }, "ClientAssertion"},
		{"wrong curve", func(s *ClientCredentials) {
			s.AuthStyle, s.ClientAssertion = PrivateKeyJWT, &jwt.Source{Key: key, Algorithm: jwt.ES512}
		}, "ClientAssertion"},
		{"short secret", func(s *ClientCredentials) {
			s.AuthStyle, s.ClientSecret = ClientSecretJWT, renew.NewSecret(longSecret[:31])
		}, "ClientAssertion"},
		{"short for HS512", func(s *ClientCredentials) {
			s.AuthStyle, s.ClientSecret, s.ClientAssertion = ClientSecretJWT, renew.NewSecret(longSecret[:63]), &jwt.Source{Algorithm: jwt.HS512}
		}, "ClientAssertion"},
		{"secret and a key", func(s *ClientCredentials) {
			s.AuthStyle, s.ClientSecret, s.ClientAssertion = ClientSecretJWT, long, &jwt.Source{Key: key}
		}, "ClientAssertion"},
		{"secret and an RSA algorithm", func(s *ClientCredentials) {
			s.AuthStyle, s.ClientSecret, s.ClientAssertion = ClientSecretJWT, long, &jwt.Source{Algorithm: jwt.RS256}
		}, "ClientAssertion"},
		{"secret and a func", func(s *ClientCredentials) {
			s.AuthStyle, s.ClientSecret, s.ClientAssertionFunc = ClientSecretJWT, long, fn
		}, "ClientAssertionFunc"},
		{"no secret", func(s *ClientCredentials) { s.AuthStyle = ClientSecretJWT }, "ClientSecret"},
		{"a key and another style", func(s *ClientCredentials) { s.ClientSecret, s.ClientAssertion = long, &jwt.Source{Key: key} }, "AuthStyle"},
		{"unknown style", func(s *ClientCredentials) { s.AuthStyle = 5 }, "AuthStyle"},
		{"reserved", func(s *ClientCredentials) {
			s.ClientSecret, s.EndpointParams = long, url.Values{"client_assertion": {"x"}}
		}, "EndpointParams"},
	} {
		s := &ClientCredentials{TokenURL: "https://issuer.example", ClientID: "id"}
		tt.change(s)
		for typ, src := range map[string]renew.Validator{"ClientCredentials": s,
			"RefreshToken": &RefreshToken{TokenURL: s.TokenURL, ClientID: s.ClientID, ClientSecret: s.ClientSecret, ClientSecretFunc: s.ClientSecretFunc, AuthStyle: s.AuthStyle,
				ClientAssertion: s.ClientAssertion, ClientAssertionFunc: s.ClientAssertionFunc, EndpointParams: s.EndpointParams, RefreshToken: long},
			"JWTBearer": &JWTBearer{TokenURL: s.TokenURL, ClientID: s.ClientID, ClientSecret: s.ClientSecret, ClientSecretFunc: s.ClientSecretFunc, AuthStyle: s.AuthStyle,
				ClientAssertion: s.ClientAssertion, ClientAssertionFunc: s.ClientAssertionFunc, EndpointParams: s.EndpointParams, AssertionFunc: fn},
		} {
			err := src.Validate()
			e, ok := err.(*renew.ConfigError)
			if (err == nil) != (tt.field == "") || err != nil && (!ok || e.Field != typ+"."+tt.field) {
				t.Errorf("%s, %s: %v, want %q", tt.name, typ, err, tt.field)
			}
			leaktest.Check(t, err, longSecret, longSecret[:31])
		}
	}
}

// What the functions return is checked before anything is sent.
func TestClientAssertionFails(t *testing.T) {
	srv := newIssuer(t, always(200, `{"access_token":"abc"}`))
	returns := func(s string, err error) func(context.Context) (renew.Secret, error) {
		return func(context.Context) (renew.Secret, error) { return renew.NewSecret(s), err }
	}
	for _, tt := range []struct {
		name string
		src  renew.Source
		kind renew.Kind
		is   error
	}{
		{"func fails", &ClientCredentials{TokenURL: srv.URL, ClientID: "id", AuthStyle: PrivateKeyJWT, ClientAssertionFunc: returns("", fs.ErrNotExist)}, renew.Transient, fs.ErrNotExist},
		{"line break", &ClientCredentials{TokenURL: srv.URL, ClientID: "id", AuthStyle: PrivateKeyJWT, ClientAssertionFunc: returns(oddSecret+"\n", nil)}, renew.Transient, nil},
		{"short secret", &ClientCredentials{TokenURL: srv.URL, ClientID: "id", AuthStyle: ClientSecretJWT, ClientSecretFunc: returns(longSecret[:31], nil)}, renew.Invalid, nil},
		{"secret fails", &ClientCredentials{TokenURL: srv.URL, ClientID: "id", AuthStyle: ClientSecretJWT, ClientSecretFunc: returns("", fs.ErrNotExist)}, renew.Transient, fs.ErrNotExist},
		{"key fails", &RefreshToken{TokenURL: srv.URL, ClientID: "id", AuthStyle: PrivateKeyJWT, RefreshToken: renew.NewSecret(oddToken),
			ClientAssertion: &jwt.Source{KeyFunc: func(context.Context) (jwt.Key, error) { return jwt.Key{}, fs.ErrNotExist }}}, renew.Transient, fs.ErrNotExist},
		{"assertion fails", &JWTBearer{TokenURL: srv.URL, AssertionFunc: returns("", io.ErrClosedPipe)}, renew.Transient, io.ErrClosedPipe},
		{"assertion with a space", &JWTBearer{TokenURL: srv.URL, AssertionFunc: returns("a b", nil)}, renew.Transient, nil},
		{"no assertion", &JWTBearer{TokenURL: srv.URL}, renew.Invalid, nil},
	} {
		_, err := tt.src.Issue(t.Context())
		e := issueError(t, err)
		if e.Kind != tt.kind || e.Permanent != (tt.kind == renew.Invalid) || !e.Unsent || !strings.HasPrefix(e.Source, "oauth2 ") || tt.is != nil && !errors.Is(err, tt.is) {
			t.Errorf("%s: %#v", tt.name, err)
		}
		leaktest.Check(t, err, oddSecret, longSecret[:31])
	}
	if n := len(srv.forms); n != 0 {
		t.Errorf("requests = %d, want 0", n)
	}
}

// jwtFront stands before an issuer that knows client secrets only: it checks the JWTs of a request and
// replaces them. What is wrong goes on with a wrong secret.
type jwtFront struct {
	iss   *renewtest.Issuer
	inner http.RoundTripper
	alg   string
	key   any

	mu   sync.Mutex
	seen map[any]bool
}

func (f *jwtFront) RoundTrip(req *http.Request) (*http.Response, error) {
	text, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	form, err := url.ParseQuery(string(text))
	if err != nil {
		return nil, err
	}
	secret, name := f.iss.ClientSecret(), "client_assertion"
	if form.Has("assertion") {
		name = "assertion"
		form.Set("grant_type", "client_credentials")
	}
	claims, err := claimsOf(form.Get(name), f.alg, f.key)
	f.mu.Lock()
	switch {
	case req.URL.String() == f.iss.RevokeURL() && !form.Has("client_id"): // who does not authenticate itself may revoke what it holds
	case err != nil || claims["iss"] != f.iss.ClientID() || claims["aud"] != f.iss.TokenURL() || f.seen[claims["jti"]]:
		secret = "wrong"
	default:
		f.seen[claims["jti"]] = true
	}
	f.mu.Unlock()
	form.Set("client_id", f.iss.ClientID())
	form.Set("client_secret", secret)
	for _, name := range []string{"client_assertion", "client_assertion_type", "assertion"} {
		form.Del(name)
	}
	sent := req.Clone(req.Context())
	sent.Body, sent.ContentLength = io.NopCloser(strings.NewReader(form.Encode())), int64(len(form.Encode()))
	return f.inner.RoundTrip(sent)
}

func TestKitJWT(t *testing.T) {
	for name, make := range map[string]func(iss *renewtest.Issuer, c *http.Client) (src renew.Source, alg string, key any){
		"private_key_jwt": func(iss *renewtest.Issuer, c *http.Client) (renew.Source, string, any) {
			return &ClientCredentials{TokenURL: iss.TokenURL(), RevocationURL: iss.RevokeURL(), ClientID: iss.ClientID(), AuthStyle: PrivateKeyJWT, ClientAssertion: &jwt.Source{Key: jwt.NewKey(clientKey())}, HTTPClient: c}, "ES256", clientKey()
		},
		"client_secret_jwt": func(iss *renewtest.Issuer, c *http.Client) (renew.Source, string, any) {
			return &RefreshToken{TokenURL: iss.TokenURL(), RevocationURL: iss.RevokeURL(), ClientID: iss.ClientID(), AuthStyle: ClientSecretJWT, ClientSecret: renew.NewSecret(longSecret),
				RefreshToken: renew.NewSecret(iss.NewRefreshToken()), HTTPClient: c}, "HS256", []byte(longSecret)
		},
		"jwt-bearer": func(iss *renewtest.Issuer, c *http.Client) (renew.Source, string, any) {
			return &JWTBearer{TokenURL: iss.TokenURL(), RevocationURL: iss.RevokeURL(), Assertion: &jwt.Source{Key: jwt.NewKey(clientKey()), Issuer: iss.ClientID()}, HTTPClient: c}, "ES256", clientKey()
		},
	} {
		t.Run(name, func(t *testing.T) {
			renewtest.RunSourceInBubble(t, func(t *testing.T) renewtest.Harness {
				iss := renewtest.NewIssuer(renewtest.IssuerConfig{Refresh: true})
				t.Cleanup(iss.Close)
				c := *iss.Client()
				src, alg, key := make(iss, &c)
				c.Transport = &jwtFront{iss: iss, inner: iss.Client().Transport, alg: alg, key: key, seen: map[any]bool{}}
				h := iss.Harness(src)
				h.Secrets = append(h.Secrets, longSecret)
				return h
			})
		})
	}
}

func TestJWTBearerIssue(t *testing.T) {
	srv := newIssuer(t, always(200, `{"access_token":"abc","token_type":"bearer","expires_in":3600,"refresh_token":"not wanted","scope":"a"}`))
	src := &JWTBearer{TokenURL: srv.URL, Assertion: &jwt.Source{Key: jwt.NewKey(clientKey()), Issuer: "svc", Subject: "user", Audience: []string{"x"}}, Scopes: []string{"a"}}
	tok, err := src.Issue(t.Context())
	if err != nil || tok.Value.Reveal() != "abc" || tok.Life != time.Hour || !tok.Refresh.IsZero() || tok.Attr("scope") != "a" {
		t.Errorf("%+v, %v", tok, err)
	}
	form := srv.forms[0]
	claims, err := claimsOf(form.Get("assertion"), "ES256", clientKey())
	if err != nil || claims["aud"] != "x" || claims["sub"] != "user" || form.Get("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer" || form.Get("scope") != "a" || form.Has("client_id") || len(form) != 3 {
		t.Errorf("%v, %v, %v", form, claims, err)
	}
	if d := src.Describe(); d.Account != "svc" || d.Endpoint != srv.URL || d.Name != "oauth2 jwt-bearer" {
		t.Errorf("%+v", d)
	}
	// Nothing else is left than another assertion of the same key: for good.
	srv.reply = always(400, `{"error":"invalid_grant"}`)
	if e := issueError(t, func() error { _, err := src.Issue(t.Context()); return err }()); !e.Permanent || e.Kind != renew.Refused {
		t.Errorf("%#v", e)
	}
	// What comes from a function is another one next time.
	for name, src := range map[string]*JWTBearer{
		"AssertionFunc": {TokenURL: srv.URL, AssertionFunc: func(context.Context) (renew.Secret, error) { return renew.NewSecret("x.y.z"), nil }},
		"KeyFunc":       {TokenURL: srv.URL, Assertion: &jwt.Source{KeyFunc: func(context.Context) (jwt.Key, error) { return jwt.NewKey(clientKey()), nil }}},
	} {
		if e := issueError(t, func() error { _, err := src.Issue(t.Context()); return err }()); e.Permanent || e.Kind != renew.Refused || e.Code != "invalid_grant" {
			t.Errorf("%s: %#v", name, e)
		}
	}
}

// An issuer that repeats the JWT as its error code gets it into no error.
func TestJWTIsInNoError(t *testing.T) {
	srv := newIssuer(t, func(_ int, form url.Values) (int, string) {
		jwt := form.Get("client_assertion") + form.Get("assertion")
		return 400, `{"error":"` + jwt[:60] + `","error_description":"` + jwt + `"}`
	})
	for _, src := range []renew.Source{
		&ClientCredentials{TokenURL: srv.URL, ClientID: "id", AuthStyle: PrivateKeyJWT, ClientAssertion: &jwt.Source{Key: jwt.NewKey(clientKey())}},
		&JWTBearer{TokenURL: srv.URL, Assertion: &jwt.Source{Key: jwt.NewKey(clientKey())}},
	} {
		_, err := src.Issue(t.Context())
		form := srv.forms[len(srv.forms)-1]
		sent := form.Get("client_assertion") + form.Get("assertion")
		if e := issueError(t, err); e.Code != "" {
			t.Errorf("Code = %q", e.Code)
		}
		leaktest.Check(t, err, sent, sent[:60])
	}
}

func TestJWTBearerValidate(t *testing.T) {
	fn := func(context.Context) (renew.Secret, error) { return renew.NewSecret("x.y.z"), nil }
	good := &jwt.Source{Key: jwt.NewKey(clientKey())}
	for name, tt := range map[string]struct {
		src   JWTBearer
		field string
	}{
		"good": {JWTBearer{Assertion: good}, ""}, "func": {JWTBearer{AssertionFunc: fn}, ""}, "none": {JWTBearer{Assertion: good, AuthStyle: None}, ""}, "public": {JWTBearer{Assertion: good, AuthStyle: None, ClientID: "id"}, ""},
		"neither": {JWTBearer{}, "Assertion"}, "both": {JWTBearer{Assertion: good, AssertionFunc: fn}, "Assertion"}, "no key": {JWTBearer{Assertion: &jwt.Source{}}, "Assertion"},
		"secret without id": {JWTBearer{Assertion: good, ClientSecret: renew.NewSecret("x")}, "ClientID"}, "style without id": {JWTBearer{Assertion: good, AuthStyle: InParams}, "ClientID"},
		"id without secret": {JWTBearer{Assertion: good, ClientID: "id"}, "ClientSecret"}, "JWT without id": {JWTBearer{Assertion: good, AuthStyle: PrivateKeyJWT, ClientAssertion: good}, "ClientID"},
		"reserved": {JWTBearer{Assertion: good, EndpointParams: url.Values{"assertion": {"x"}}}, "EndpointParams"},
	} {
		tt.src.TokenURL = "https://issuer.example"
		err := tt.src.Validate()
		e, ok := err.(*renew.ConfigError)
		if (err == nil) != (tt.field == "") || err != nil && (!ok || e.Field != "JWTBearer."+tt.field) {
			t.Errorf("%s: %v, want %q", name, err, tt.field)
		}
	}
	if (&JWTBearer{}).Validate() == nil {
		t.Error("the zero JWTBearer is valid")
	}
}
