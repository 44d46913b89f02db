package oauth1_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"time"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/clock"
	"github.com/seed-f29168f7/renew/sources/oauth1"
)

func ExampleSigner() {
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		scheme, params, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		fmt.Println("server:", scheme, strings.Count(params, "oauth_"), "parameters")
	}))
	defer server.Close()

	signer := &oauth1.Signer{
		ClientKey:    "dpf43f3p2l4k3l03",
		ClientSecret: renew.NewSecret("kd94hf93k423kf44"),
		Token:        renew.NewSecret("nnch734d00sl2jdk"), // leave both out for two-legged OAuth
		TokenSecret:  renew.NewSecret("pfkkdhi9sl3r4s00"),
	}
	transport, err := renew.NewTransport(signer, renew.TransportConfig{Origins: []string{server.URL}})
	if err != nil {
		panic(err)
	}
	client := &http.Client{Transport: transport}
	resp, err := client.PostForm(server.URL+"/status", url.Values{"text": {"Hello Ladies + Gentlemen"}})
	if err != nil {
		panic(err)
	}
	_ = resp.Body.Close()
	fmt.Println(resp.StatusCode)
	// Output:
	// server: OAuth 7 parameters
	// 200
}

func ExampleSigner_SignURL() {
	signer := &oauth1.Signer{
		ClientKey:    "dpf43f3p2l4k3l03",
		ClientSecret: renew.NewSecret("kd94hf93k423kf44"),
		Nonce:        func() string { return "fixed-so-that-the-output-is" }, // leave both out
		Clock:        clock.NewFake(time.Unix(1400000000, 0)),
	}
	link, err := signer.SignURL("GET", &url.URL{Scheme: "https", Host: "photos.example.net", Path: "/frame", RawQuery: "id=7"})
	if err != nil {
		panic(err)
	}
	for name := range strings.SplitSeq(link.RawQuery, "&") {
		fmt.Println(name)
	}
	// Output:
	// id=7
	// oauth_nonce=fixed-so-that-the-output-is
	// oauth_timestamp=1400000000
	// oauth_version=1.0
	// oauth_signature_method=HMAC-SHA1
	// oauth_consumer_key=dpf43f3p2l4k3l03
	// oauth_signature=jkxIcTTbNzJcLOzfVQLBAVTWq7A%3D
}

func ExampleFlow() {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/initiate":
			fmt.Fprint(w, "oauth_token=hh5s93j4hdidpola&oauth_token_secret=hdhd0244k9j7ao03&oauth_callback_confirmed=true")
		case "/token":
			fmt.Fprint(w, "oauth_token=nnch734d00sl2jdk&oauth_token_secret=pfkkdhi9sl3r4s00")
		}
	}))
	defer server.Close()

	client := oauth1.Signer{ClientKey: "dpf43f3p2l4k3l03", ClientSecret: renew.NewSecret("kd94hf93k423kf44")}
	flow := &oauth1.Flow{
		TemporaryEndpoint:     server.URL + "/initiate", // https, except on this machine
		AuthorizationEndpoint: server.URL + "/authorize",
		TokenEndpoint:         server.URL + "/token",
		Signer:                &client,
	}
	ctx := context.Background()
	temporary, err := flow.TemporaryCredentials(ctx, "https://printer.example.com/ready")
	if err != nil {
		panic(err)
	}
	page, err := flow.AuthorizeURL(temporary)
	if err != nil {
		panic(err)
	}
	fmt.Println("open", page.RequestURI())

	// The person agrees, and the browser comes back to:
	back, _ := url.Parse("https://printer.example.com/ready?oauth_token=hh5s93j4hdidpola&oauth_verifier=hfdp7dh39dks9884")
	verifier, err := temporary.Verifier(back)
	if err != nil {
		panic(err)
	}
	user, err := flow.TokenCredentials(ctx, temporary, verifier)
	if err != nil {
		panic(err)
	}
	signer := &oauth1.Signer{ClientKey: client.ClientKey, ClientSecret: client.ClientSecret, Token: user.Token, TokenSecret: user.Secret}
	fmt.Println(signer.Validate(), user.Token)
	// Output:
	// open /authorize?oauth_token=hh5s93j4hdidpola
	// <nil> [redacted]
}
