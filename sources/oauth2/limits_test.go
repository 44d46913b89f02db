package oauth2

import (
	"errors"
	"net/http"
	"net/url"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-f29168f7/renew"
)

// A server that does not answer takes 30 s of a login, and not the person's ten minutes.
func TestOauth2_ASilentServerEndsARequest(t *testing.T) {
	const at = "https://issuer.example/"
	hangs := &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		<-r.Context().Done()
		return nil, r.Context().Err()
	})}
	device := &DeviceCode{DeviceAuthURL: at, TokenURL: at, ClientID: "id", AuthStyle: None, Prompt: nothing, HTTPClient: hangs}
	code := &AuthorizationCode{AuthURL: at, TokenURL: at, ClientID: "id", AuthStyle: None, Open: visitNothing, HTTPClient: hangs}
	byIssuer := &DeviceCode{Issuer: at, ClientID: "id", AuthStyle: None, Prompt: nothing, HTTPClient: hangs}
	live := &renew.Token{Refresh: renew.NewSecret(oddToken)}
	for name, call := range map[string]func(t *testing.T) error{
		"device authorization": func(t *testing.T) error { _, err := device.Issue(t.Context()); return err },
		"device refresh":       func(t *testing.T) error { _, err := device.Reissue(t.Context(), live); return err },
		"code refresh":         func(t *testing.T) error { _, err := code.Reissue(t.Context(), live); return err },
		"metadata":             func(t *testing.T) error { _, err := byIssuer.Issue(t.Context()); return err },
		"code": func(t *testing.T) error {
			a := &Authorization{State: "s", Verifier: renew.NewSecret(newVerifier())}
			_, err := code.Exchange(t.Context(), a, url.Values{"code": {authCode}, "state": {"s"}})
			return err
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			err := call(t)
			if e := issueError(t, err); !errors.Is(err, errRequestTimeout) || e.Kind != renew.Transient || time.Since(start) != requestTimeout {
				t.Errorf("%s: %v after %v", name, err, time.Since(start))
			}
		})
	}
}

// A login says that it needs a person, and leaves room for its own error behind the person's time.
func TestR7_LoginsSayThatTheyNeedAPerson(t *testing.T) {
	for _, tt := range []struct {
		src  renew.Describer
		want time.Duration
	}{
		{&DeviceCode{}, 10*time.Minute + 5*time.Second}, {&DeviceCode{Timeout: time.Minute}, 65 * time.Second},
		{&AuthorizationCode{}, 10*time.Minute + 5*time.Second}, {&AuthorizationCode{Timeout: time.Minute}, 65 * time.Second},
	} {
		if d := tt.src.Describe(); !d.Interactive || d.Timeout != tt.want || d.Account != "" {
			t.Errorf("%T: %+v, want a person and %v", tt.src, d, tt.want)
		}
	}
	for _, d := range []renew.Traits{(&ClientCredentials{}).Describe(), (&RefreshToken{}).Describe(), (&JWTBearer{}).Describe(), (&TokenExchange{}).Describe()} {
		if d.Interactive || d.Timeout != 0 {
			t.Errorf("%+v", d)
		}
	}
}

// A refresh of a login asks for no scope, which keeps what was granted (RFC 6749, section 6).
func TestRefreshOfALoginKeepsItsScope(t *testing.T) {
	srv := newIssuer(t, always(200, `{"access_token":"a2"}`))
	live := &renew.Token{Refresh: renew.NewSecret(oddToken)}
	for _, src := range []renew.Reissuer{
		&AuthorizationCode{AuthURL: srv.URL, TokenURL: srv.URL, ClientID: "id", AuthStyle: None, Scopes: []string{"a"}, EndpointParams: url.Values{"audience": {"x"}}},
		&DeviceCode{DeviceAuthURL: srv.URL, TokenURL: srv.URL, ClientID: "id", AuthStyle: None, Scopes: []string{"a"}, EndpointParams: url.Values{"audience": {"x"}}},
	} {
		tok, err := src.Reissue(t.Context(), live)
		form := srv.forms[len(srv.forms)-1]
		_, ofCode := src.(*AuthorizationCode)
		if err != nil || !tok.Refresh.Equal(live.Refresh) || form.Has("scope") || form.Get("grant_type") != "refresh_token" || form.Has("audience") != ofCode {
			t.Errorf("%T: %v, %v, sent %v", src, tok, err, form)
		}
	}
}
