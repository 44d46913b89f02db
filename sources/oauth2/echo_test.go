package oauth2

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/sources/internal/leaktest"
	"github.com/seed-f29168f7/renew/sources/jwt"
)

// A server that answers each request with what was sent to it, as error code and as text, gets none of it into an error: not
// the code, the verifier, the device code, the tokens, the assertions or the secret of any grant, nor of a revocation.
func TestR30_NoEchoOfAnyGrant(t *testing.T) {
	signer := &jwt.Source{Key: jwt.NewKey(clientKey())}
	token := &renew.Token{Value: renew.NewSecret("access-token-4711-0815"), Refresh: renew.NewSecret(oddToken)}
	const at = "https://issuer.example/"
	secret := renew.NewSecret(oddSecret)
	for name, tt := range map[string]struct {
		sent []string // what is looked for, at least
		do   func(*testing.T, *http.Client) error
	}{
		"code": {[]string{"code", "code_verifier", "client_secret"}, func(t *testing.T, c *http.Client) error {
			s := &AuthorizationCode{AuthURL: at, TokenURL: at, ClientID: "id", ClientSecret: secret, AuthStyle: InParams, HTTPClient: c}
			a := &Authorization{State: "s", Verifier: renew.NewSecret(newVerifier())}
			_, err := s.Exchange(t.Context(), a, url.Values{"code": {authCode}, "state": {"s"}})
			return err
		}},
		"refresh of a login": {[]string{"refresh_token", "client_assertion"}, func(t *testing.T, c *http.Client) error {
			s := &AuthorizationCode{AuthURL: at, TokenURL: at, ClientID: "id", AuthStyle: PrivateKeyJWT, ClientAssertion: signer, HTTPClient: c}
			_, err := s.Reissue(t.Context(), token)
			return err
		}},
		"device": {[]string{"device_code", "client_secret"}, func(t *testing.T, c *http.Client) error {
			_, err := (&DeviceCode{DeviceAuthURL: at + "device", TokenURL: at, ClientID: "id", ClientSecret: secret, AuthStyle: InParams, Prompt: nothing, HTTPClient: c}).Issue(t.Context())
			return err
		}},
		"exchange": {[]string{"subject_token", "actor_token"}, func(t *testing.T, c *http.Client) error {
			_, err := (&TokenExchange{TokenURL: at, AuthStyle: None, SubjectToken: secret, ActorTokenFunc: func(context.Context) (renew.Secret, error) { return token.Refresh, nil }, HTTPClient: c}).Issue(t.Context())
			return err
		}},
		"assertion": {[]string{"assertion", "client_assertion"}, func(t *testing.T, c *http.Client) error {
			_, err := (&JWTBearer{TokenURL: at, Assertion: signer, ClientID: "id", AuthStyle: PrivateKeyJWT, ClientAssertion: signer, HTTPClient: c}).Issue(t.Context())
			return err
		}},
		"revocation": {[]string{"token"}, func(t *testing.T, c *http.Client) error {
			return (&ClientCredentials{TokenURL: at, RevocationURL: at, ClientID: "id", AuthStyle: None, HTTPClient: c}).Revoke(t.Context(), &renew.Token{Value: token.Value})
		}},
	} {
		for _, param := range tt.sent {
			for _, short := range []int{20, 60, 1 << 20} {
				synctest.Test(t, func(t *testing.T) {
					var seen string
					err := tt.do(t, &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
						if r.URL.Path == "/device" {
							return reply(200, `{"device_code":"`+deviceCode+`","user_code":"WDJB-MJHT","verification_uri":"https://x.example/d"}`), nil
						}
						seen = formOf(r).Get(param)
						text := url.Values{"error": {seen[:min(short, len(seen))]}, "error_description": {seen}}.Encode()
						resp := reply(400, text, "Content-Type", "application/x-www-form-urlencoded", "X-Echo", seen)
						resp.Body = io.NopCloser(strings.NewReader(text))
						return resp, nil
					})})
					if len(seen) < 20 || err == nil {
						t.Fatalf("%s: %s was not sent, or was taken: %v", name, param, err)
					}
					leaktest.Check(t, err, seen, seen[:20])
				})
			}
		}
	}
}
