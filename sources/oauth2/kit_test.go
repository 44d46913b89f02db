package oauth2_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/renewtest"
	"github.com/seed-f29168f7/renew/sources/oauth2"
)

// front stands before an Issuer, which knows two grants, and speaks more of them: what it is asked for by another grant
// it asks the Issuer for by client_credentials. So the Issuer's faults and books are those of each grant.
type front struct {
	issuer *renewtest.Issuer
	// device answers the device authorization requests that the Issuer has let through.
	device string
}

var grants = map[string]string{
	"urn:ietf:params:oauth:grant-type:token-exchange": "subject_token",
	"urn:ietf:params:oauth:grant-type:device_code":    "device_code",
	"authorization_code":                              "code_verifier",
}

func (f *front) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, err
	}
	r = r.Clone(r.Context())
	isDevice := r.URL.Path == "/device"
	grant := form.Get("grant_type")
	if isDevice || form.Get(grants[grant]) != "" {
		r.URL.Path = "/token"
		form = url.Values{"grant_type": {"client_credentials"}, "client_id": form["client_id"], "client_secret": form["client_secret"]}
		for name := range form {
			if form.Get(name) == "" {
				form.Del(name)
			}
		}
	}
	text := form.Encode()
	r.Body, r.ContentLength = io.NopCloser(strings.NewReader(text)), int64(len(text))
	r.GetBody = nil
	resp, err := f.issuer.Client().Transport.RoundTrip(r)
	if err != nil || !isDevice || resp.StatusCode != http.StatusOK {
		return resp, err
	}
	_ = resp.Body.Close()
	resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader([]byte(f.device))), int64(len(f.device))
	return resp, nil
}

// newFront returns an Issuer with a front. Its refresh tokens stay good, since the kit uses one several times.
func newFront(t *testing.T) (*renewtest.Issuer, *http.Client) {
	iss := renewtest.NewIssuer(renewtest.IssuerConfig{Refresh: true, Extra: map[string]any{"issued_token_type": oauth2.AccessTokenType}})
	t.Cleanup(iss.Close)
	return iss, &http.Client{Transport: &front{iss, `{"device_code":"GmRhmhcxhwAzkoEqiMEg_DnyEysNkuNhszIySk9eS","user_code":"WDJB-MJHT","verification_uri":"https://example.com/device","expires_in":1800,"interval":5}`}}
}

func TestKitTokenExchange(t *testing.T) {
	renewtest.RunSourceInBubble(t, func(t *testing.T) renewtest.Harness {
		iss, client := newFront(t)
		const subject = "subject-token-5d8a77"
		h := iss.Harness(&oauth2.TokenExchange{
			TokenURL: iss.TokenURL(), RevocationURL: iss.RevokeURL(), ClientID: iss.ClientID(), ClientSecret: renew.NewSecret(iss.ClientSecret()),
			SubjectToken: renew.NewSecret(subject), HTTPClient: client,
		})
		h.Secrets = append(h.Secrets, subject)
		return h
	})
}

// unattended is a login whose person is the test: so the kit tests what it leaves to persons elsewhere.
type unattended struct{ renew.Reissuer }

func (u unattended) Unwrap() renew.Source { return u.Reissuer }

func (u unattended) Describe() renew.Traits {
	d := u.Reissuer.(renew.Describer).Describe()
	d.Interactive = false
	return d
}

// attended and unattended, a Source passes the kit.
func kitOfLogin(t *testing.T, run func(*testing.T, func(*testing.T) renewtest.Harness), source func(iss *renewtest.Issuer, client *http.Client) renew.Reissuer) {
	t.Run("unattended", func(t *testing.T) {
		run(t, func(t *testing.T) renewtest.Harness {
			iss, client := newFront(t)
			return iss.Harness(unattended{source(iss, client)})
		})
	})
	t.Run("attended", func(t *testing.T) {
		run(t, func(t *testing.T) renewtest.Harness {
			iss, client := newFront(t)
			return iss.Harness(source(iss, client))
		})
	})
}

func TestKitDeviceCode(t *testing.T) {
	kitOfLogin(t, renewtest.RunSourceInBubble, func(iss *renewtest.Issuer, client *http.Client) renew.Reissuer {
		return &oauth2.DeviceCode{
			DeviceAuthURL: iss.URL() + "/device", TokenURL: iss.TokenURL(), RevocationURL: iss.RevokeURL(),
			ClientID: iss.ClientID(), ClientSecret: renew.NewSecret(iss.ClientSecret()), HTTPClient: client,
			Prompt: func(_ context.Context, p oauth2.DevicePrompt) error {
				if p.UserCode != "WDJB-MJHT" || p.VerificationURI != "https://example.com/device" {
					return fmt.Errorf("prompted with %+v", p)
				}
				return nil
			},
		}
	})
}

// visit is a person whose browser comes straight back with a code.
func visit(ctx context.Context, authorizationURL string) error {
	u, err := url.Parse(authorizationURL)
	if err != nil {
		return err
	}
	back := u.Query().Get("redirect_uri") + "?" + url.Values{"code": {"SplxlOBeZQQYbYS6WxSbIA"}, "state": {u.Query().Get("state")}}.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, back, nil)
	if err != nil {
		return err
	}
	resp, err := browser.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if text, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != http.StatusOK || !strings.Contains(string(text), "close this window") {
		return errors.New("the page is not the one for the person")
	}
	return nil
}

// browser keeps no connections, which would outlive the test.
var browser = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

func TestKitAuthorizationCode(t *testing.T) {
	kitOfLogin(t, renewtest.RunSource, func(iss *renewtest.Issuer, client *http.Client) renew.Reissuer {
		return &oauth2.AuthorizationCode{
			AuthURL: iss.URL() + "/authorize", TokenURL: iss.TokenURL(), RevocationURL: iss.RevokeURL(),
			ClientID: iss.ClientID(), ClientSecret: renew.NewSecret(iss.ClientSecret()), HTTPClient: client, Open: visit,
		}
	})
}
