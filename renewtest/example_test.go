package renewtest_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/seed-f29168f7/renew/renewtest"
)

// An Issuer is a true server: ask it for a token, and use the token at its API.
func ExampleIssuer() {
	iss := renewtest.NewIssuer(renewtest.IssuerConfig{Life: 10 * time.Minute})
	defer iss.Close()

	resp, err := iss.Client().PostForm(iss.TokenURL(), url.Values{
		"grant_type":    {"client_credentials"},
		"client_id":     {iss.ClientID()},
		"client_secret": {iss.ClientSecret()},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer resp.Body.Close()
	var reply struct {
		AccessToken string `json:"access_token"`
		ExpiresIn   int    `json:"expires_in"`
	}
	_ = json.NewDecoder(resp.Body).Decode(&reply)
	fmt.Println("token request:", resp.StatusCode, "for", reply.ExpiresIn, "s")

	call := func() {
		req, _ := http.NewRequest(http.MethodGet, iss.APIURL(), nil)
		req.Header.Set("Authorization", "Bearer "+reply.AccessToken)
		resp, err := iss.Client().Do(req)
		if err != nil {
			fmt.Println(err)
			return
		}
		resp.Body.Close()
		fmt.Printf("API: %d, challenge %q\n", resp.StatusCode, resp.Header.Get("WWW-Authenticate"))
	}
	call()
	iss.RevokeAll()
	call()
	// Output:
	// token request: 200 for 600 s
	// API: 200, challenge ""
	// API: 401, challenge "Bearer realm=\"renewtest\", error=\"invalid_token\""
}

// Faults come in the order in which they were set.
func ExampleIssuer_Fail() {
	iss := renewtest.NewIssuer(renewtest.IssuerConfig{})
	defer iss.Close()
	iss.Fail(renewtest.RetryAfter(429, 30*time.Second), 1)
	iss.Fail(renewtest.HTML403(), -1) // until Heal

	ask := func() {
		resp, err := iss.Client().PostForm(iss.TokenURL(), url.Values{
			"grant_type":    {"client_credentials"},
			"client_id":     {iss.ClientID()},
			"client_secret": {iss.ClientSecret()},
		})
		if err != nil {
			fmt.Println(err)
			return
		}
		resp.Body.Close()
		fmt.Printf("%d %q\n", resp.StatusCode, resp.Header.Get("Retry-After"))
	}
	ask()
	ask()
	ask()
	iss.Heal()
	ask()
	c := iss.Counts()
	fmt.Println("requests:", c.TokenRequests, "faults:", c.Faults, "issued:", c.Issued)
	// Output:
	// 429 "30"
	// 403 ""
	// 403 ""
	// 200 ""
	// requests: 4 faults: 3 issued: 1
}

// A Fault of your own: the API serves one path badly.
func ExampleFault() {
	iss := renewtest.NewIssuer(renewtest.IssuerConfig{})
	defer iss.Close()
	iss.FailAPI(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if r.URL.Path == "/api/broken" {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		next.ServeHTTP(w, r)
	}, -1)

	for _, path := range []string{"/broken", "/fine"} {
		resp, err := iss.Client().Get(iss.APIURL() + path)
		if err != nil {
			fmt.Println(err)
			return
		}
		resp.Body.Close()
		fmt.Println(path, resp.StatusCode)
	}
	// Output:
	// /broken 502
	// /fine 401
}

func ExampleLeaks() {
	secret := "correct horse battery staple"
	req, _ := http.NewRequest(http.MethodGet, "https://api.example/", nil)
	req.SetBasicAuth("me", secret)
	log := fmt.Sprintf("request failed: %v", req.Header)

	for _, leak := range renewtest.Leaks(log, secret) {
		fmt.Println(leak)
	}
	fmt.Println(renewtest.Leaks("request failed: 401", secret) == nil)
	// Output:
	// secret 1 of 1, in base64
	// true
}
