package oauth2

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/sources/internal/leaktest"
)

// Where metadata may be (RFC 8414, section 3.1; OpenID Connect Discovery 1.0, section 4).
func TestWellKnown(t *testing.T) {
	for issuer, want := range map[string][]string{
		"https://x.example":          {"https://x.example/.well-known/oauth-authorization-server", "https://x.example/.well-known/openid-configuration"},
		"https://x.example/":         {"https://x.example/.well-known/oauth-authorization-server", "https://x.example/.well-known/openid-configuration"},
		"https://x.example:8443/a/b": {"https://x.example:8443/.well-known/oauth-authorization-server/a/b", "https://x.example:8443/a/b/.well-known/openid-configuration", "https://x.example:8443/.well-known/openid-configuration/a/b"},
		"https://x.example/a%2Fb/":   {"https://x.example/.well-known/oauth-authorization-server/a%2Fb", "https://x.example/a%2Fb/.well-known/openid-configuration", "https://x.example/.well-known/openid-configuration/a%2Fb"},
	} {
		if got, err := wellKnown(issuer); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %q, %v, want %q", issuer, got, err, want)
		}
	}
	if _, err := wellKnown("https://x.example?a=b"); err == nil {
		t.Error("an issuer with a query is allowed")
	}
}

// An Issuer stands for the URLs, wherever its document is, and is asked at each use: an endpoint that moves is followed.
func TestIssuerInPlaceOfURLs(t *testing.T) {
	for place := range 3 {
		var token atomic.Value
		var asked []string
		var srv *httptest.Server
		srv = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked = append(asked, r.URL.Path)
			issuer := srv.URL + "/tenant"
			places, _ := wellKnown(issuer)
			switch srv.URL + r.URL.Path {
			case places[place]:
				if r.Method != http.MethodGet || r.Header.Get("Authorization") != "" {
					t.Errorf("%s with %v", r.Method, r.Header)
				}
				_, _ = fmt.Fprintf(w, `{"issuer":%q,"token_endpoint":%q,"revocation_endpoint":%q,"token_endpoint_auth_methods_supported":["client_secret_post"],"unknown":[1]}`,
					issuer, srv.URL+token.Load().(string), srv.URL+"/revoke")
			case srv.URL + token.Load().(string), srv.URL + "/revoke":
				if r.FormValue("client_id") != "id" || r.FormValue("client_secret") != oddSecret { // as the document says
					t.Errorf("client authentication: %v", r.Form)
				}
				_, _ = fmt.Fprint(w, `{"access_token":"abc"}`)
			default:
				http.NotFound(w, r)
			}
		}))
		t.Cleanup(srv.Close)
		src := &ClientCredentials{Issuer: srv.URL + "/tenant", ClientID: "id", ClientSecret: renew.NewSecret(oddSecret)}
		if err := src.Validate(); err != nil {
			t.Fatal(err)
		}
		for _, at := range []string{"/t1", "/t2"} {
			token.Store(at)
			tok, err := src.Issue(t.Context())
			if err != nil || asked[len(asked)-1] != at {
				t.Fatalf("place %d: %v after %v", place, err, asked)
			}
			if err := src.Revoke(t.Context(), tok); err != nil || asked[len(asked)-1] != "/revoke" {
				t.Errorf("place %d: revoke: %v after %v", place, err, asked)
			}
		}
		if want := 4 * (place + 2); len(asked) != want {
			t.Errorf("place %d: requests = %d, want %d", place, len(asked), want)
		}
	}
}

// A document that is wrong, or of another issuer, is a typed error, and no credential is sent anywhere.
func TestOauth2_WrongMetadata(t *testing.T) {
	const token = `,"token_endpoint":"https://x.example/token"`
	for _, tt := range []struct {
		name, body string // ISS is the issuer
		status     int
		member     string
		kind       renew.Kind
		permanent  bool
		asked      int
	}{
		{"another issuer", `{"issuer":"https://evil.example"` + token + `}`, 200, "issuer", renew.Invalid, true, 1},
		{"a slash more", `{"issuer":"ISS/"` + token + `}`, 200, "issuer", renew.Invalid, true, 1},
		{"no issuer", `{"token_endpoint":"https://x.example/token"}`, 200, "issuer", renew.Invalid, true, 1},
		{"issuer twice", `{"issuer":"ISS","issuer":"ISS"` + token + `}`, 200, "", renew.Transient, false, 2},
		{"http endpoint", `{"issuer":"ISS","token_endpoint":"http://x.example/token"}`, 200, "token_endpoint", renew.Invalid, true, 1},
		{"no endpoint", `{"issuer":"ISS"}`, 200, "token_endpoint", renew.Invalid, true, 1},
		{"a number", `{"issuer":"ISS","token_endpoint":1}`, 200, "token_endpoint", renew.Invalid, true, 1},
		{"methods as text", `{"issuer":"ISS"` + token + `,"token_endpoint_auth_methods_supported":"none"}`, 200, "token_endpoint_auth_methods_supported", renew.Invalid, true, 1},
		{"user in the endpoint", `{"issuer":"ISS","token_endpoint":"https://u:p@x.example/"}`, 200, "token_endpoint", renew.Invalid, true, 1},
		{"HTML", `<html>`, 200, "", renew.Transient, false, 2},
		{"truncated", `{"issuer":"ISS"`, 200, "", renew.Transient, false, 2},
		{"huge", `{"x":"` + strings.Repeat("a", 1<<20) + `"}`, 200, "", renew.Transient, false, 2},
		{"nothing there", ``, 404, "", renew.Invalid, true, 2},
		{"not allowed", ``, 401, "", renew.Transient, false, 2},
		{"an error of clients", `{"error":"invalid_client"}`, 401, "", renew.Invalid, true, 2},
		{"unwell", ``, 500, "", renew.Transient, false, 1},
		{"too many", ``, 429, "", renew.Throttled, false, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			asked := 0
			var srv *httptest.Server
			srv = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if asked++; r.Method != http.MethodGet || r.Header.Get("Authorization") != "" {
					t.Errorf("%s %s %v", r.Method, r.URL, r.Header)
				}
				w.WriteHeader(tt.status)
				_, _ = fmt.Fprint(w, strings.ReplaceAll(tt.body, "ISS", srv.URL))
			}))
			defer srv.Close()
			src := &ClientCredentials{Issuer: srv.URL, ClientID: "id", ClientSecret: renew.NewSecret(oddSecret)}
			_, err := src.Issue(t.Context())
			e := issueError(t, err)
			me, ok := errors.AsType[*MetadataError](err)
			// Nothing that a server judges was sent: no refresh token is spent (R9), and no unit of the budget (R18).
			if !e.Unsent || e.Kind != tt.kind || e.Permanent != tt.permanent || asked != tt.asked || ok != (tt.member != "") || ok && me.Member != tt.member {
				t.Errorf("%#v: %v after %d requests", e, err, asked)
			}
			if strings.Contains(err.Error(), "evil") {
				t.Errorf("the error quotes the document: %v", err)
			}
			leaktest.Check(t, err, oddSecret)
		})
	}
	if _, err := readMetadata([]byte(`{"issuer":"https://x.example","token_endpoint":"http://127.0.0.1/t"}`), "https://x.example", false); err == nil {
		t.Error("an https issuer sends the credentials to http")
	}
	_, err := FetchMetadata(t.Context(), "http://x.example", nil)
	if e := issueError(t, err); e.Kind != renew.Invalid || !e.Unsent {
		t.Errorf("http issuer: %v", err)
	}
}

// What servers answer where there is no document, and that no other answer sends the search on.
func TestMetadataAtTheNextPlace(t *testing.T) {
	for status, found := range map[int]bool{
		200: true, 301: true, 302: true, 307: true, 400: true, 401: true, 403: true, 404: true, 405: true, 410: true, 429: false, 500: false, 503: false,
	} {
		asked := 0
		client := &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			if asked++; asked == 1 {
				return reply(status, "<html>", "Location", "https://elsewhere.example/"), nil
			}
			if r.URL.String() != "https://x.example/.well-known/openid-configuration" {
				t.Errorf("%d: asked %s", status, r.URL)
			}
			return reply(200, `{"issuer":"https://x.example","token_endpoint":"https://x.example/t"}`), nil
		})}
		md, err := FetchMetadata(t.Context(), "https://x.example", client)
		if found != (err == nil) || found && (md.TokenURL != "https://x.example/t" || asked != 2) || !found && asked != 1 {
			t.Errorf("%d: %+v, %v after %d requests", status, md, err, asked)
		}
	}
}

func TestValidateIssuer(t *testing.T) {
	for field, src := range map[string]renew.Validator{
		"ClientCredentials.Issuer":         &ClientCredentials{Issuer: "https://x.example", TokenURL: "https://x.example", ClientID: "id", AuthStyle: None},
		"RefreshToken.Issuer":              &RefreshToken{Issuer: "http://x.example", ClientID: "id", AuthStyle: None},
		"TokenExchange.Issuer":             &TokenExchange{Issuer: "https://x.example?a", AuthStyle: None, SubjectToken: renew.NewSecret("s")},
		"DeviceCode.DeviceAuthURL":         &DeviceCode{Issuer: "https://x.example", DeviceAuthURL: "https://x.example", ClientID: "id", AuthStyle: None, Prompt: nothing},
		"AuthorizationCode.AuthURL":        &AuthorizationCode{TokenURL: "https://x.example", ClientID: "id", AuthStyle: None},
		"AuthorizationCode.Prompt":         &AuthorizationCode{Issuer: "https://x.example", ClientID: "id", AuthStyle: None},
		"AuthorizationCode.AuthParams":     &AuthorizationCode{Issuer: "https://x.example", ClientID: "id", AuthStyle: None, AuthParams: url.Values{"state": {"x"}}},
		"AuthorizationCode.RedirectURL":    &AuthorizationCode{Issuer: "https://x.example", ClientID: "id", AuthStyle: None, RedirectURL: "https://app.example/", Open: visitNothing},
		"AuthorizationCode.RedirectURL ":   &AuthorizationCode{Issuer: "https://x.example", ClientID: "id", AuthStyle: None, RedirectURL: "http://127.0.0.1:70000/", Open: visitNothing},
		"AuthorizationCode.Timeout":        &AuthorizationCode{Issuer: "https://x.example", ClientID: "id", AuthStyle: None, Timeout: -1},
		"DeviceCode.Prompt":                &DeviceCode{Issuer: "https://x.example", ClientID: "id", AuthStyle: None},
		"AuthorizationCode.Timeout ":       &AuthorizationCode{Issuer: "https://x.example", ClientID: "id", AuthStyle: None, Timeout: math.MaxInt64},
		"TokenExchange.RequestedTokenType": &TokenExchange{TokenURL: "https://x.example", AuthStyle: None, SubjectToken: renew.NewSecret("s"), RequestedTokenType: RefreshTokenType},
		"DeviceCode.Timeout":               &DeviceCode{Issuer: "https://x.example", ClientID: "id", AuthStyle: None, Prompt: nothing, Timeout: -1},
		"RefreshToken.RevocationURL":       &RefreshToken{TokenURL: "https://x.example", RevocationURL: "http://x.example", ClientID: "id", AuthStyle: None},
		"TokenExchange.SubjectToken":       &TokenExchange{TokenURL: "https://x.example", AuthStyle: None},
		"TokenExchange.TokenType":          &TokenExchange{TokenURL: "https://x.example", AuthStyle: None, SubjectToken: renew.NewSecret("s"), TokenType: "n_a"},
		"TokenExchange.ActorTokenType":     &TokenExchange{TokenURL: "https://x.example", AuthStyle: None, SubjectToken: renew.NewSecret("s"), ActorTokenType: JWTTokenType},
		"TokenExchange.Resources":          &TokenExchange{TokenURL: "https://x.example", AuthStyle: None, SubjectToken: renew.NewSecret("s"), Resources: []string{"api"}},
		"TokenExchange.EndpointParams":     &TokenExchange{TokenURL: "https://x.example", AuthStyle: None, SubjectToken: renew.NewSecret("s"), EndpointParams: url.Values{"audience": {"x"}}},
		"TokenExchange.ClientID ":          &TokenExchange{TokenURL: "https://x.example", AuthStyle: InParams, SubjectToken: renew.NewSecret("s")},
		"TokenExchange.ClientID":           &TokenExchange{TokenURL: "https://x.example", ClientSecret: renew.NewSecret("s"), SubjectToken: renew.NewSecret("s")},
	} {
		if e, ok := errors.AsType[*renew.ConfigError](src.Validate()); !ok || e.Field != strings.TrimSpace(field) {
			t.Errorf("%s: %v", field, src.Validate())
		}
	}
}

func FuzzMetadata(f *testing.F) {
	f.Add([]byte(`{"issuer":"https://x.example","token_endpoint":"https://x.example/t","code_challenge_methods_supported":["S256"]}`))
	f.Add([]byte(`{"issuer":"https://x.example","token_endpoint":"http://127.0.0.1/","authorization_endpoint":"javascript:"}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		md, err := readMetadata(body, "https://x.example", false)
		if err != nil {
			return
		}
		if md.Issuer != "https://x.example" {
			t.Errorf("accepted the issuer %q", md.Issuer)
		}
		for _, endpoint := range []string{md.AuthURL, md.TokenURL, md.DeviceAuthURL, md.RevocationURL} {
			if u, err := url.Parse(endpoint); endpoint != "" && (err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil) {
				t.Errorf("accepted the endpoint %q", endpoint)
			}
		}
	})
}
