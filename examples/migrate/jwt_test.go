package migrate_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"time"

	gojwt "github.com/golang-jwt/jwt/v5"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/clock"
	"github.com/seed-f29168f7/renew/sources/jwt"
)

// A JWT that the program signs itself, in the header of each request, as tutorials of PyJWT show it.
func Example_jwtInAHeader() {
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	keyText := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: must(x509.MarshalPKCS8PrivateKey(key))}))
	seen := map[string]bool{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var claims gojwt.RegisteredClaims
		raw, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		token, err := gojwt.ParseWithClaims(raw, &claims, func(*gojwt.Token) (any, error) { return &key.PublicKey, nil },
			gojwt.WithValidMethods([]string{"ES256"}), gojwt.WithAudience("appstoreconnect-v1"), gojwt.WithExpirationRequired(), gojwt.WithoutClaimsValidation())
		if err != nil {
			http.Error(w, err.Error(), http.StatusUnauthorized)
			return
		}
		known := seen[claims.ID]
		seen[claims.ID] = true
		fmt.Fprint(w, token.Header["kid"], " ", claims.Issuer, " ", claims.ExpiresAt.Sub(claims.IssuedAt.Time), " known: ", known)
	}))
	defer server.Close()

	//	import jwt, time, requests
	//
	//	def token():
	//	    now = int(time.time())
	//	    return jwt.encode({"iss": "issuer-1", "aud": "appstoreconnect-v1", "iat": now, "exp": now + 600},
	//	                      key_text, algorithm="ES256", headers={"kid": "key-1"})
	clk := clock.NewFake(time.Unix(1700000000, 0))
	ts := must(renew.New(&jwt.Source{
		Key:      must(jwt.ParseKey(renew.NewSecret(keyText))),
		KeyID:    "key-1",
		Issuer:   "issuer-1",
		Audience: []string{"appstoreconnect-v1"},
		Lifetime: 10 * time.Minute,
		Clock:    clk,
	}, renew.Config{Clock: clk, FlightTimeout: time.Hour})) // which the clock of this test runs through faster than a key can sign
	defer func() { _ = ts.Close(context.Background()) }()
	client := must(ts.Client(server.URL))

	//	t = token()   # signed anew for each request, or kept by hand until it is too old
	//	r = requests.get(url + "/v1/apps", headers={"Authorization": "Bearer " + t})
	//	print(r.text)
	fmt.Println(text(must(client.Get(server.URL + "/v1/apps"))))
	fmt.Println(text(must(client.Get(server.URL + "/v1/apps")))) // the same token

	// Nine minutes later another one is in service, signed by timer.
	clk.Advance(9 * time.Minute)
	for ts.Status().Generation < 2 { // it is being signed
		runtime.Gosched()
	}
	fmt.Println(text(must(client.Get(server.URL + "/v1/apps"))))
	// Output:
	// key-1 issuer-1 10m0s known: false
	// key-1 issuer-1 10m0s known: true
	// key-1 issuer-1 10m0s known: false
}
