package oauth2

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/sources/internal/leaktest"
)

// nothing and visitNothing are persons who are not there.
func nothing(context.Context, DevicePrompt) error { return nil }
func visitNothing(context.Context, string) error  { return nil }

// What the server says of a revocation, and what it means (RFC 7009, section 2.2).
func TestR27_AFailedRevocationIsNoSuccess(t *testing.T) {
	for _, tt := range []struct {
		name, body, contentType string
		status                  int
		fields                  []string
		ok                      bool
		kind                    renew.Kind
		pause                   time.Duration
		code                    string
	}{
		{name: "empty", status: 200, ok: true},
		{name: "an object", body: `{}`, contentType: "application/json", status: 200, ok: true},
		{name: "empty HTML", contentType: "text/html", status: 200, ok: true},
		{name: "no content", status: 204, ok: true},
		{name: "a page", body: `<!DOCTYPE html><form>`, contentType: "text/html", status: 200, kind: renew.Transient},
		{name: "a page as something else", body: ` <html>`, contentType: "text/plain", status: 200, kind: renew.Transient},
		{name: "200 with an error", body: `{"error":"invalid_client"}`, contentType: "application/json", status: 200, kind: renew.Refused, code: "invalid_client"},
		{name: "200 with an error that is an object", body: `{"error":{"code":"denied"}}`, contentType: "application/json", status: 200, kind: renew.Transient},
		{name: "200 with an error that is no code", body: `{"error":"` + strings.Repeat("x", 65) + `"}`, contentType: "application/json", status: 200, kind: renew.Transient},
		{name: "200 with an error twice", body: `{"error":"server_error","error":"server_error"}`, contentType: "application/json", status: 200, kind: renew.Transient},
		{name: "200 with half an error", body: `{"error":"invalid_cl`, contentType: "application/json", status: 200, kind: renew.Transient},
		{name: "200 with an error twice, in a form", body: `error=a&error=b`, contentType: "application/x-www-form-urlencoded", status: 200, kind: renew.Transient},
		{name: "200 without end", body: `{"error":"` + strings.Repeat("x", 1<<20) + `"}`, contentType: "application/json", status: 200, kind: renew.Transient},
		{name: "a page behind a byte order mark", body: "\ufeff<html>", contentType: "text/plain", status: 200, kind: renew.Transient},
		{name: "no error", body: `{"error":null}`, contentType: "application/json", status: 200, ok: true},
		{name: "text", body: `OK`, contentType: "text/plain", status: 200, ok: true},
		{name: "503", status: 503, fields: []string{"Retry-After", "7"}, kind: renew.Throttled, pause: 7 * time.Second},
		{name: "500", status: 500, kind: renew.Transient},
		{name: "unsupported_token_type", body: `{"error":"unsupported_token_type"}`, contentType: "application/json", status: 400, kind: renew.Refused, code: "unsupported_token_type"},
		{name: "invalid_client", body: `{"error":"invalid_client"}`, contentType: "application/json", status: 401, kind: renew.Refused, code: "invalid_client"},
		{name: "404", body: "<html>", contentType: "text/html", status: 404, kind: renew.Refused},
		{name: "403 of a proxy", body: "<html>", contentType: "text/html", status: 403, kind: renew.Transient},
		{name: "a redirect", status: 302, fields: []string{"Location", "/login"}, kind: renew.Invalid},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var forms []url.Values
			src := &RefreshToken{
				TokenURL: "https://issuer.example/t", RevocationURL: "https://issuer.example/r", ClientID: oddID, ClientSecret: renew.NewSecret(oddSecret), AuthStyle: InParams,
				HTTPClient: &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
					forms = append(forms, formOf(r))
					return reply(tt.status, tt.body, append([]string{"Content-Type", tt.contentType}, tt.fields...)...), nil
				})},
			}
			err := src.Revoke(t.Context(), &renew.Token{Value: renew.NewSecret("access-4711"), Refresh: renew.NewSecret(oddToken)})
			if (err == nil) != tt.ok {
				t.Fatalf("err = %v", err)
			}
			want := []url.Values{
				{"token": {oddToken}, "token_type_hint": {"refresh_token"}, "client_id": {oddID}, "client_secret": {oddSecret}},
				{"token": {"access-4711"}, "token_type_hint": {"access_token"}, "client_id": {oddID}, "client_secret": {oddSecret}},
			}
			if !slices.EqualFunc(forms, want, func(a, b url.Values) bool { return a.Encode() == b.Encode() }) {
				t.Errorf("sent %v, want %v", forms, want)
			}
			if err == nil {
				return
			}
			e, ok := errors.AsType[*renew.IssueError](err)
			if !ok || e.Kind != tt.kind || e.RetryAfter != tt.pause || e.Code != tt.code {
				t.Errorf("%#v: %v", e, err)
			}
			leaktest.Check(t, err, oddSecret, oddToken, "access-4711")
		})
	}
}

// One of two revocations that fails is a failure, and the other one is still tried.
func TestR27_OneOfTwoRevocationsIsNone(t *testing.T) {
	for _, failing := range []string{"refresh_token", "access_token"} {
		n := 0
		srv := newIssuer(t, func(_ int, form url.Values) (int, string) {
			if n++; form.Get("token_type_hint") == failing {
				return 503, ""
			}
			return 200, ""
		})
		src := &ClientCredentials{TokenURL: srv.URL, RevocationURL: srv.URL, ClientID: "id", AuthStyle: None}
		err := src.Revoke(t.Context(), &renew.Token{Value: renew.NewSecret("a"), Refresh: renew.NewSecret("r")})
		if e := issueError(t, err); e.Status != 503 || n != 2 {
			t.Errorf("%s: %v after %d requests", failing, err, n)
		}
	}
}

// RevokeOnClose uses Revoke, and without a RevocationURL Close says that the token stays good.
func TestR27_RevokeOnClose(t *testing.T) {
	for _, configured := range []bool{true, false} {
		srv := newIssuer(t, always(200, `{"access_token":"abc","expires_in":3600}`))
		src := &ClientCredentials{TokenURL: srv.URL, ClientID: "id", ClientSecret: renew.NewSecret("s")}
		if configured {
			src.RevocationURL = srv.URL
		}
		ts, err := renew.New(src, renew.Config{RevokeOnClose: true})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ts.Token(t.Context()); err != nil {
			t.Fatal(err)
		}
		err = ts.Close(t.Context())
		if configured && (err != nil || !slices.Equal(srv.sent("token"), []string{"", "abc"})) {
			t.Errorf("Close: %v, sent %q", err, srv.sent("token"))
		}
		if !configured && (err == nil || !strings.Contains(err.Error(), "RevocationURL")) {
			t.Errorf("Close without RevocationURL: %v", err)
		}
	}
}

// No redirect of any endpoint is followed: where it leads, nothing arrives.
func TestR30_NoEndpointIsFollowedElsewhere(t *testing.T) {
	target := new(trap)
	plain, secure := httptest.NewServer(target), httptest.NewTLSServer(target)
	t.Cleanup(plain.Close)
	t.Cleanup(secure.Close)
	tries := 0
	for _, status := range []int{301, 302, 303, 307, 308} {
		for _, to := range []string{plain.URL, secure.URL, strings.Replace(plain.URL, "127.0.0.1", "localhost", 1)} {
			srv := httptest.NewServer(http.RedirectHandler(to+"/x", status))
			secret, token := renew.NewSecret(oddSecret), &renew.Token{Value: renew.NewSecret("a"), Refresh: renew.NewSecret(oddToken)}
			code := &AuthorizationCode{AuthURL: srv.URL, TokenURL: srv.URL, RevocationURL: srv.URL, ClientID: oddID, ClientSecret: secret, HTTPClient: secure.Client()}
			device := &DeviceCode{DeviceAuthURL: srv.URL, TokenURL: srv.URL, RevocationURL: srv.URL, ClientID: oddID, ClientSecret: secret, Prompt: nothing, HTTPClient: secure.Client()}
			exchange := &TokenExchange{TokenURL: srv.URL, RevocationURL: srv.URL, ClientID: oddID, ClientSecret: secret, SubjectToken: renew.NewSecret(oddToken), HTTPClient: secure.Client()}
			for name, f := range map[string]func() error{
				"device authorization": func() error { _, err := device.Issue(t.Context()); return err },
				"device refresh":       func() error { _, err := device.Reissue(t.Context(), token); return err },
				"token exchange":       func() error { _, err := exchange.Issue(t.Context()); return err },
				"code refresh":         func() error { _, err := code.Reissue(t.Context(), token); return err },
				"code": func() error {
					a := &Authorization{State: "s", Verifier: renew.NewSecret(newVerifier())}
					_, err := code.Exchange(t.Context(), a, url.Values{"code": {authCode}, "state": {"s"}})
					return err
				},
				"revocation": func() error {
					return exchange.Revoke(t.Context(), &renew.Token{Value: renew.NewSecret(oddToken)})
				},
				"metadata": func() error {
					_, err := (&ClientCredentials{Issuer: srv.URL, ClientID: oddID, ClientSecret: secret, HTTPClient: secure.Client()}).Issue(t.Context())
					return err
				},
			} {
				tries++
				err := f()
				if e := issueError(t, err); e.Kind != renew.Invalid || !strings.Contains(err.Error(), "redirects") {
					t.Errorf("%s, %d to %s: %v", name, status, to, err)
				}
				leaktest.Check(t, err, oddSecret, oddToken, authCode)
			}
			srv.Close()
		}
	}
	if tries != 5*3*7 || len(target.log) != 0 {
		t.Errorf("%d redirects, and what arrived: %q", tries, target.log)
	}
}
