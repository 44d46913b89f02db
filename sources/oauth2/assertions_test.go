package oauth2

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/sources/jwt"
)

// asserted is a JWT that arrived: where, in which parameter, and its claims.
type asserted struct {
	at, param, aud, jti, iss string
}

// assertionServer is an issuer in memory that notes each JWT that arrives at any host.
type assertionServer struct {
	t        *testing.T
	metadata string
	arrived  []asserted
}

func (s *assertionServer) RoundTrip(r *http.Request) (*http.Response, error) {
	if strings.HasPrefix(r.URL.Path, "/.well-known/") {
		return reply(200, s.metadata), nil
	}
	form := formOf(r)
	for _, param := range []string{"client_assertion", "assertion"} {
		if !form.Has(param) {
			continue
		}
		claims, err := claimsOf(form.Get(param), "ES256", clientKey())
		if err != nil {
			s.t.Errorf("%s at %s: %v", param, r.URL, err)
			continue
		}
		text := func(name string) string { v, _ := claims[name].(string); return v }
		s.arrived = append(s.arrived, asserted{r.URL.Host + r.URL.Path, param, text("aud"), text("jti"), text("iss")})
	}
	switch r.URL.Path {
	case "/device":
		return reply(200, `{"device_code":"`+deviceCode+`","user_code":"WDJB-MJHT","verification_uri":"https://x.example/d"}`), nil
	case "/revoke":
		return reply(200, ""), nil
	}
	return reply(200, `{"access_token":"a1","refresh_token":"r1","issued_token_type":"`+AccessTokenType+`"}`), nil
}

// reissueAndRevoke is what follows an Issue.
func reissueAndRevoke(t *testing.T, src renew.Source, tok *renew.Token) {
	if s, ok := src.(renew.Reissuer); ok {
		if _, err := s.Reissue(t.Context(), tok); err != nil {
			t.Errorf("Reissue: %v", err)
		}
	}
	if err := src.(renew.Revoker).Revoke(t.Context(), tok); err != nil {
		t.Errorf("Revoke: %v", err)
	}
}

// issueOf logs in without a browser where src is an AuthorizationCode.
func issueOf(t *testing.T, src renew.Source) (*renew.Token, error) {
	s, ok := src.(*AuthorizationCode)
	if !ok {
		return src.Issue(t.Context())
	}
	a, err := s.Begin(t.Context(), "https://app.example/back")
	if err != nil {
		return nil, err
	}
	return s.Exchange(t.Context(), a, url.Values{"code": {authCode}, "state": {a.State}})
}

// The JWT of PrivateKeyJWT arrives at every endpoint of every Source, each time a new one, for the server as it is
// configured (RFC 7523, section 3), and the JWT of a grant beside it.
func TestOauth2_ClientAssertionAtEachEndpoint(t *testing.T) {
	const issuer, token, device, revoke = "https://issuer.example", "https://issuer.example/token", "https://issuer.example/device", "https://issuer.example/revoke"
	signer := &jwt.Source{Key: jwt.NewKey(clientKey())}
	subject := renew.NewSecret(oddToken)
	for _, tt := range []struct {
		src  renew.Source
		want []string
	}{
		{&ClientCredentials{TokenURL: token, RevocationURL: revoke, ClientID: "id", AuthStyle: PrivateKeyJWT, ClientAssertion: signer}, []string{"token", "revoke"}},
		{&ClientCredentials{Issuer: issuer, ClientID: "id", AuthStyle: PrivateKeyJWT, ClientAssertion: signer}, []string{"token", "revoke"}},
		{&RefreshToken{TokenURL: token, RevocationURL: revoke, ClientID: "id", AuthStyle: PrivateKeyJWT, ClientAssertion: signer, RefreshToken: subject}, []string{"token", "token", "revoke", "revoke"}},
		{&RefreshToken{Issuer: issuer, ClientID: "id", AuthStyle: PrivateKeyJWT, ClientAssertion: signer, RefreshToken: subject}, []string{"token", "token", "revoke", "revoke"}},
		{&JWTBearer{TokenURL: token, RevocationURL: revoke, ClientID: "id", AuthStyle: PrivateKeyJWT, ClientAssertion: signer, Assertion: &jwt.Source{Key: jwt.NewKey(clientKey()), Issuer: "svc"}}, []string{"token", "revoke"}},
		{&JWTBearer{Issuer: issuer, ClientID: "id", AuthStyle: PrivateKeyJWT, ClientAssertion: signer, Assertion: &jwt.Source{Key: jwt.NewKey(clientKey()), Issuer: "svc"}}, []string{"token", "revoke"}},
		{&TokenExchange{TokenURL: token, RevocationURL: revoke, ClientID: "id", AuthStyle: PrivateKeyJWT, ClientAssertion: signer, SubjectToken: subject}, []string{"token", "revoke"}},
		{&TokenExchange{Issuer: issuer, ClientID: "id", AuthStyle: PrivateKeyJWT, ClientAssertion: signer, SubjectToken: subject}, []string{"token", "revoke"}},
		{&DeviceCode{TokenURL: token, DeviceAuthURL: device, RevocationURL: revoke, ClientID: "id", AuthStyle: PrivateKeyJWT, ClientAssertion: signer, Prompt: nothing}, []string{"device", "token", "token", "revoke", "revoke"}},
		{&DeviceCode{Issuer: issuer, ClientID: "id", AuthStyle: PrivateKeyJWT, ClientAssertion: signer, Prompt: nothing}, []string{"device", "token", "token", "revoke", "revoke"}},
		{&AuthorizationCode{AuthURL: issuer + "/a", TokenURL: token, RevocationURL: revoke, ClientID: "id", AuthStyle: PrivateKeyJWT, ClientAssertion: signer, Open: visitNothing}, []string{"token", "token", "revoke", "revoke"}},
		{&AuthorizationCode{Issuer: issuer, ClientID: "id", AuthStyle: PrivateKeyJWT, ClientAssertion: signer, Open: visitNothing}, []string{"token", "token", "revoke", "revoke"}},
	} {
		synctest.Test(t, func(t *testing.T) {
			srv := &assertionServer{t: t, metadata: `{"issuer":"` + issuer + `","authorization_endpoint":"` + issuer + `/a","token_endpoint":"` + token +
				`","device_authorization_endpoint":"` + device + `","revocation_endpoint":"` + revoke + `"}`}
			configured := setClient(tt.src, &http.Client{Transport: srv})
			if err := tt.src.(renew.Validator).Validate(); err != nil {
				t.Fatal(err)
			}
			tok, err := issueOf(t, tt.src)
			if err != nil {
				t.Fatalf("%T: %v", tt.src, err)
			}
			reissueAndRevoke(t, tt.src, tok)
			var at []string
			jtis := map[string]bool{}
			for _, a := range srv.arrived {
				if len(a.jti) < 22 || jtis[a.jti] {
					t.Errorf("%T: jti %q of %+v", tt.src, a.jti, a)
				}
				jtis[a.jti] = true
				if a.param == "assertion" {
					if a.at != "issuer.example/token" || a.aud != token || a.iss != "svc" {
						t.Errorf("%T: grant %+v", tt.src, a)
					}
					continue
				}
				at = append(at, strings.TrimPrefix(a.at, "issuer.example/"))
				if a.aud != configured || a.iss != "id" {
					t.Errorf("%T: %+v, want aud %s", tt.src, a, configured)
				}
			}
			if !slices.Equal(at, tt.want) {
				t.Errorf("%T: client assertions at %q, want %q", tt.src, at, tt.want)
			}
			if _, ok := tt.src.(*JWTBearer); ok && len(srv.arrived) != len(at)+1 {
				t.Errorf("%T: no assertion of the grant: %+v", tt.src, srv.arrived)
			}
		})
	}
}

// setClient sets the HTTPClient and returns which server the Source was given.
func setClient(src renew.Source, client *http.Client) string {
	switch s := src.(type) {
	case *ClientCredentials:
		s.HTTPClient = client
		return s.client().place()
	case *RefreshToken:
		s.HTTPClient = client
		return s.client().place()
	case *JWTBearer:
		s.HTTPClient = client
		return s.client().place()
	case *TokenExchange:
		s.HTTPClient = client
		return s.client().place()
	case *DeviceCode:
		s.HTTPClient = client
		return s.client().place()
	case *AuthorizationCode:
		s.HTTPClient = client
		return s.client().place()
	}
	return ""
}

// An issuer whose metadata name the token endpoint of another one gets no JWT that the other one would take: the
// audience is who was configured and never what metadata say.
func TestOauth2_ClientAssertionIsForNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := &assertionServer{t: t, metadata: `{"issuer":"https://evil.example","token_endpoint":"https://honest.example/token",` +
			`"device_authorization_endpoint":"https://evil.example/device","revocation_endpoint":"https://evil.example/revoke"}`}
		src := &DeviceCode{
			Issuer: "https://evil.example", ClientID: "id", AuthStyle: PrivateKeyJWT, ClientAssertion: &jwt.Source{Key: jwt.NewKey(clientKey())},
			Prompt: func(context.Context, DevicePrompt) error { return nil }, HTTPClient: &http.Client{Transport: srv},
		}
		tok, err := src.Issue(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := src.Revoke(t.Context(), tok); err != nil {
			t.Fatal(err)
		}
		evil := 0
		for _, a := range srv.arrived {
			if strings.HasPrefix(a.at, "evil.example") {
				evil++
			}
			if a.aud != "https://evil.example" {
				t.Errorf("a JWT for %s arrived at %s", a.aud, a.at)
			}
		}
		if evil != 3 {
			t.Errorf("%d JWTs at the issuer, want 3: %+v", evil, srv.arrived)
		}
	})
}
