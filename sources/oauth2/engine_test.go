package oauth2_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	xoauth2 "golang.org/x/oauth2"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/renewtest"
	"github.com/seed-f29168f7/renew/sources/oauth2"
)

func TestKitClientCredentials(t *testing.T) {
	for name, style := range map[string]oauth2.AuthStyle{"InHeader": oauth2.InHeader, "InParams": oauth2.InParams} {
		t.Run(name, func(t *testing.T) {
			renewtest.RunSourceInBubble(t, func(t *testing.T) renewtest.Harness {
				iss := renewtest.NewIssuer(renewtest.IssuerConfig{Refresh: true})
				t.Cleanup(iss.Close)
				return iss.Harness(&oauth2.ClientCredentials{
					TokenURL: iss.TokenURL(), RevocationURL: iss.RevokeURL(), ClientID: iss.ClientID(), ClientSecret: renew.NewSecret(iss.ClientSecret()), AuthStyle: style, HTTPClient: iss.Client(),
				})
			})
		})
	}
}

func TestKitRefreshToken(t *testing.T) {
	for name, rotate := range map[string]bool{"kept": false, "rotating": true} {
		t.Run(name, func(t *testing.T) {
			renewtest.RunSourceInBubble(t, func(t *testing.T) renewtest.Harness {
				iss := renewtest.NewIssuer(renewtest.IssuerConfig{Refresh: true, Rotate: rotate})
				t.Cleanup(iss.Close)
				src := &oauth2.RefreshToken{
					TokenURL: iss.TokenURL(), RevocationURL: iss.RevokeURL(), ClientID: iss.ClientID(), ClientSecret: renew.NewSecret(iss.ClientSecret()), HTTPClient: iss.Client(),
				}
				if rotate { // each Issue of the kit is a new login
					src.RefreshTokenFunc = func(context.Context) (renew.Secret, error) { return renew.NewSecret(iss.NewRefreshToken()), nil }
				} else {
					src.RefreshToken = renew.NewSecret(iss.NewRefreshToken())
				}
				h := iss.Harness(src)
				h.Secrets = append(h.Secrets, src.RefreshToken.Reveal())
				return h
			})
		})
	}
}

// A daemon with a stored refresh token lives for a day on a server that rotates, sends none
// twice, and says what to do when the login is revoked.
func TestR14RotationInService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		iss := renewtest.NewIssuer(renewtest.IssuerConfig{Rotate: true, Life: time.Hour})
		defer iss.Close()
		rotated := ""
		ts, err := renew.New(&oauth2.RefreshToken{
			TokenURL: iss.TokenURL(), ClientID: iss.ClientID(), ClientSecret: renew.NewSecret(iss.ClientSecret()),
			RefreshToken: renew.NewSecret(iss.NewRefreshToken()), HTTPClient: iss.Client(),
		}, renew.Config{Hooks: renew.Hooks{Rotated: func(_ context.Context, _ string, t *renew.Token) error {
			rotated = t.Refresh.Reveal()
			return nil
		}}})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = ts.Close(context.Background()) }()
		if _, err := ts.Token(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(24 * time.Hour)
		if tok, err := ts.Token(t.Context()); err != nil || !iss.Accepts(tok.Value.Reveal()) || tok.Refresh.Reveal() != rotated {
			t.Errorf("after a day: %v, %v", tok, err)
		}
		if c := iss.Counts(); c.RefreshReuse != 0 || c.TokenRequests < 25 || c.TokenRequests > 42 {
			t.Errorf("reuses = %d, requests = %d, want 0 and 25 to 42", c.RefreshReuse, c.TokenRequests)
		}
		iss.Revoke(rotated)
		time.Sleep(2 * time.Hour)
		n := iss.Counts().TokenRequests
		_, err = ts.Token(t.Context())
		if !errors.Is(err, renew.ErrInteractionRequired) {
			t.Errorf("after the login was revoked: %v, want ErrInteractionRequired", err)
		}
		time.Sleep(24 * time.Hour)
		if c := iss.Counts(); c.RefreshReuse != 0 || c.TokenRequests != n {
			t.Errorf("reuses = %d, requests in a day = %d, want none", c.RefreshReuse, c.TokenRequests-n)
		}
	})
}

// A reissue after a 401 whose metadata cannot be had has sent no refresh token: the same flight tries again with it, and nobody notices.
func TestR9_MetadataFaultSpendsNoRefreshToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		iss := renewtest.NewIssuer(renewtest.IssuerConfig{Rotate: true, Life: time.Hour})
		defer iss.Close()
		asked := 0
		ts, err := renew.New(&oauth2.RefreshToken{
			Issuer: iss.URL(), ClientID: iss.ClientID(), ClientSecret: renew.NewSecret(iss.ClientSecret()), RefreshToken: renew.NewSecret(iss.NewRefreshToken()),
			HTTPClient: &http.Client{Transport: withMetadata(func(r *http.Request) (*http.Response, error) {
				if r.Method != http.MethodGet {
					return iss.Client().Transport.RoundTrip(r)
				}
				if asked++; asked == 2 { // of the first reissue
					return &http.Response{StatusCode: http.StatusBadGateway, Header: http.Header{}, Body: http.NoBody}, nil
				}
				body := fmt.Sprintf(`{"issuer":%q,"token_endpoint":%q}`, iss.URL(), iss.TokenURL())
				return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))}, nil
			})},
		}, renew.Config{})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = ts.Close(context.Background()) }()
		live, err := ts.Token(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		tok, err := ts.Reject(t.Context(), live)
		if err != nil || tok.Generation() != 2 || asked != 3 || ts.Status().LastError != "" {
			t.Errorf("%v, %v after %d requests for metadata; status %+v", tok, err, asked, ts.Status())
		}
		if c := iss.Counts(); c.RefreshReuse != 0 || c.TokenRequests != 2 {
			t.Errorf("reuses = %d, requests = %d, want 0 and 2", c.RefreshReuse, c.TokenRequests)
		}
	})
}

// withMetadata is an issuer in memory.
type withMetadata func(*http.Request) (*http.Response, error)

func (f withMetadata) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// x/oauth2 sees the token of the day, also through the cache that oauth2.NewClient puts around a source.
func TestToTokenSourceFollowsTheTokenSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		iss := renewtest.NewIssuer(renewtest.IssuerConfig{Life: time.Minute})
		defer iss.Close()
		ts, err := renew.New(&oauth2.ClientCredentials{
			TokenURL: iss.TokenURL(), ClientID: iss.ClientID(), ClientSecret: renew.NewSecret(iss.ClientSecret()), HTTPClient: iss.Client(),
		}, renew.Config{})
		if err != nil {
			t.Fatal(err)
		}
		src := oauth2.ToTokenSource(t.Context(), ts)
		cached := xoauth2.ReuseTokenSource(nil, src)
		for i := range 100 {
			for name, s := range map[string]xoauth2.TokenSource{"direct": src, "cached": cached} {
				tok, err := s.Token()
				if err != nil || !tok.Valid() || !iss.Accepts(tok.AccessToken) {
					t.Fatalf("%s, at %d s: %v, want a live token", name, 3*i, err)
				}
			}
			time.Sleep(3 * time.Second)
		}
		if err := ts.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := src.Token(); !errors.Is(err, renew.ErrClosed) {
			t.Errorf("after Close: %v, want ErrClosed", err)
		}
	})
}
