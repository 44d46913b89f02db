package renewtest

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// No token request makes the Issuer panic, and none is granted without the secret, which the fuzzer cannot guess.
func FuzzTokenRequest(f *testing.F) {
	const form = "application/x-www-form-urlencoded"
	f.Add("POST", "", form, "Basic CREDENTIALS", "grant_type=client_credentials", true)
	f.Add("POST", "", form, "", "grant_type=client_credentials&client_id=test-client&client_secret=SECRET", true)
	f.Add("POST", "", form, "", "grant_type=client_credentials&client_id=test-client&client_secret=SECRET", false)
	f.Add("POST", "", form, "Basic dGVzdC1jbGllbnQ6", "grant_type=refresh_token&refresh_token=x", false)
	f.Add("GET", "client_secret=%", "text/plain; a=\"", "Basic !", "a=b&a=c;%zz", false)
	f.Add("POST", "", form, "Bearer x", "client_id=test-client&grant_type=client_credentials&client_secret=", false)
	iss := NewIssuer(IssuerConfig{ClientSecret: rand.Text()})
	f.Cleanup(iss.Close)
	secret := iss.ClientSecret()
	credentials := base64.StdEncoding.EncodeToString([]byte(DefaultClientID + ":" + secret))

	f.Fuzz(func(t *testing.T, method, query, contentType, auth, body string, give bool) {
		if give {
			body = strings.ReplaceAll(body, "SECRET", secret)
			auth = strings.ReplaceAll(auth, "CREDENTIALS", credentials)
		}
		req := &http.Request{
			Method: method,
			URL:    &url.URL{Path: "/token", RawQuery: query},
			Header: http.Header{"Content-Type": {contentType}},
			Body:   io.NopCloser(strings.NewReader(body)),
		}
		if auth != "" {
			req.Header.Set("Authorization", auth)
		}
		rec := httptest.NewRecorder()
		iss.ServeHTTP(rec, req)

		var reply struct {
			AccessToken string `json:"access_token"`
			Error       string `json:"error"`
		}
		if err := json.Unmarshal(rec.Body.Bytes(), &reply); err != nil {
			t.Fatalf("reply = %d %q: %v", rec.Code, rec.Body, err)
		}
		granted := rec.Code == http.StatusOK
		if granted != (reply.AccessToken != "") || granted == (reply.Error != "") {
			t.Errorf("reply = %d %s", rec.Code, rec.Body)
		}
		if granted && (!strings.Contains(body, secret) && !strings.Contains(auth, credentials) || method != "POST") {
			t.Errorf("granted without the secret: %s %q %q", method, auth, body)
		}
		if c := iss.Counts(); c.InFlight != 0 {
			t.Errorf("in flight = %d", c.InFlight)
		}
	})
}
