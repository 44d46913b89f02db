package oauth2

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/seed-f29168f7/renew"
)

// Which 401s refuse the token (RFC 6750, section 3.1).
func TestRefuses(t *testing.T) {
	for _, tt := range []struct {
		typ   string
		lines []string
		want  bool
	}{
		{"", nil, true},
		{"", []string{`Bearer`}, true},
		{"", []string{`Bearer realm="x"`}, true},
		{"", []string{`Bearer realm="x", error="invalid_token", error_description="expired"`}, true},
		{"", []string{`bearer error=invalid_token`}, true},
		{"", []string{`Bearer error="insufficient_scope", scope="a b"`}, false},
		{"", []string{`Bearer error="invalid_request"`}, false},
		{"Bearer", []string{`BEARER realm="a, b", ERROR="insufficient_scope"`}, false},
		{"", []string{`Basic realm="x"`, `Bearer error="insufficient_scope"`}, false},
		{"", []string{`Bearer error="insufficient_scope", Bearer error="invalid_token"`}, true},
		{"", []string{`Bearer error="insufficient_scope", Bearer realm="other"`}, true},
		{"", []string{`Bearer error="something_else"`}, true},
		{"", []string{`Basic error="insufficient_scope"`}, true},
		{"", []string{`Bearer realm="error=insufficient_scope"`}, true},
		{"", []string{`Bearer error="insufficient_scope`}, true},
		{"DPoP", []string{`DPoP error="insufficient_scope"`, `Bearer error="invalid_token"`}, false},
	} {
		resp := &http.Response{StatusCode: 401, Header: http.Header{"Www-Authenticate": tt.lines}}
		if got := refuses(&renew.Token{Type: tt.typ}, resp); got != tt.want {
			t.Errorf("%q %q: %v, want %v", tt.typ, tt.lines, got, tt.want)
		}
	}
}

// A 401 with invalid_token refreshes the token and is replayed; one with insufficient_scope or invalid_request, and any 403, goes to the caller
// and costs no request to the issuer.
func TestR29_OnlyARefusedTokenIsRefreshed(t *testing.T) {
	for _, tt := range []struct {
		status  int
		code    string
		issues  int
		answers int // of the API
		want    int
	}{
		{401, "invalid_token", 2, 2, 200},
		{401, "insufficient_scope", 1, 1, 401},
		{401, "invalid_request", 1, 1, 401},
		{403, "insufficient_scope", 1, 1, 403},
		{403, "invalid_token", 1, 1, 403},
	} {
		t.Run(fmt.Sprint(tt.status, " ", tt.code), func(t *testing.T) {
			srv := newIssuer(t, nil)
			srv.reply = func(n int, _ url.Values) (int, string) {
				return 200, fmt.Sprintf(`{"access_token":"a%d","expires_in":3600}`, n)
			}
			answers := 0
			api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				answers++
				if r.Header.Get("Authorization") == "Bearer a1" {
					w.Header().Set("WWW-Authenticate", `Bearer realm="api", error="`+tt.code+`"`)
					w.WriteHeader(tt.status)
				}
			}))
			defer api.Close()
			client, ts, err := renew.NewClient(&ClientCredentials{TokenURL: srv.URL, ClientID: "id", ClientSecret: renew.NewSecret("s")}, api.URL)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = ts.Close(t.Context()) }()
			resp, err := client.Get(api.URL)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if resp.StatusCode != tt.want || answers != tt.answers || len(srv.sent("client_id")) != tt.issues {
				t.Errorf("status %d after %d requests and %d issues, want %d, %d, %d", resp.StatusCode, answers, len(srv.sent("client_id")), tt.want, tt.answers, tt.issues)
			}
		})
	}
}
