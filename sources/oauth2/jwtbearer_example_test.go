package oauth2_test

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/seed-f29168f7/renew/sources/jwt"
	"github.com/seed-f29168f7/renew/sources/oauth2"
)

// A service account: its key signs who it is, and the token endpoint gives an access token for that.
func ExampleJWTBearer() {
	issuer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Println("issuer:", r.FormValue("grant_type"), strings.Count(r.FormValue("assertion"), "."))
		fmt.Fprint(w, `{"access_token":"2YotnFZFEjr1zCsicMWpAA","expires_in":3600}`)
	}))
	defer issuer.Close()

	src := &oauth2.JWTBearer{
		TokenURL: issuer.URL + "/token",
		Assertion: &jwt.Source{ // its audience is the TokenURL
			Key:    jwt.NewKey(ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))), // jwt.ParseKey reads PEM
			KeyID:  "k1",
			Issuer: "jobs@project.example",
			Claims: func(context.Context) (map[string]any, error) {
				return map[string]any{"scope": "storage.read"}, nil
			},
		},
	}
	tok, err := src.Issue(context.Background())
	fmt.Println(tok.Value, tok.Life, err)
	// Output:
	// issuer: urn:ietf:params:oauth:grant-type:jwt-bearer 2
	// [redacted] 1h0m0s <nil>
}

// The client proves who it is with its key, and no secret leaves the process.
func ExampleClientCredentials_privateKeyJWT() {
	issuer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Println("issuer:", r.FormValue("client_id"), r.FormValue("client_assertion_type"))
		fmt.Fprint(w, `{"access_token":"2YotnFZFEjr1zCsicMWpAA","expires_in":3600}`)
	}))
	defer issuer.Close()

	src := &oauth2.ClientCredentials{
		TokenURL:  issuer.URL + "/token",
		ClientID:  "daemon",
		AuthStyle: oauth2.PrivateKeyJWT,
		ClientAssertion: &jwt.Source{
			Key:      jwt.NewKey(ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))),
			Audience: []string{issuer.URL}, // where the server wants its issuer identifier
		},
	}
	tok, err := src.Issue(context.Background())
	fmt.Println(tok.Value, tok.Life, err)
	// Output:
	// issuer: daemon urn:ietf:params:oauth:client-assertion-type:jwt-bearer
	// [redacted] 1h0m0s <nil>
}
