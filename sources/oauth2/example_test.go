package oauth2_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"

	xoauth2 "golang.org/x/oauth2"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/sources/oauth2"
)

func ExampleClientCredentials() {
	issuer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, _, _ := r.BasicAuth()
		fmt.Println("issuer:", id, "asks by", r.FormValue("grant_type"), "for", r.FormValue("scope"))
		fmt.Fprint(w, `{"access_token":"2YotnFZFEjr1zCsicMWpAA","token_type":"bearer","expires_in":3600}`)
	}))
	defer issuer.Close()

	src := &oauth2.ClientCredentials{
		TokenURL:     issuer.URL + "/token", // https, except on this machine
		ClientID:     "daemon",
		ClientSecret: renew.NewSecret("7Fjfp0ZBr1KtDRbnfVdmIw"),
		Scopes:       []string{"jobs.read", "jobs.write"},
	}
	if err := src.Validate(); err != nil { // renew.New does this too
		panic(err)
	}
	tok, err := src.Issue(context.Background()) // and calls this when a token is due
	fmt.Println(tok.Type, tok.Value, tok.Life, err)
	// Output:
	// issuer: daemon asks by client_credentials for jobs.read jobs.write
	// Bearer [redacted] 1h0m0s <nil>
}

func ExampleRefreshToken() {
	n := 0
	issuer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n++
		fmt.Fprintf(w, `{"access_token":"a%d","expires_in":60,"refresh_token":"r%d"}`, n, n)
	}))
	defer issuer.Close()

	src := &oauth2.RefreshToken{
		TokenURL:     issuer.URL,
		ClientID:     "cli",
		AuthStyle:    oauth2.None, // a public client
		RefreshToken: renew.NewSecret("r0"),
	}
	ctx := context.Background()
	tok, _ := src.Issue(ctx)          // trades r0 for a1 and r1
	tok, err := src.Reissue(ctx, tok) // trades r1 for a2 and r2
	fmt.Println(tok.Life, err)

	_, err = src.Issue(ctx) // r0 is spent, and sending it again would revoke the login
	fmt.Println(errors.Is(err, renew.ErrInteractionRequired), n)
	// Output:
	// 1m0s <nil>
	// true 2
}

func ExampleFromTokenSource() {
	old := xoauth2.StaticTokenSource(&xoauth2.Token{AccessToken: "abc", TokenType: "bearer"})
	src := oauth2.FromTokenSource(old)
	tok, err := src.Issue(context.Background())
	fmt.Println(tok.Type, tok.Value, err)
	// Output: Bearer [redacted] <nil>
}

func ExampleToTokenSource() {
	// A library wants a token source of golang.org/x/oauth2. Give it no nil one:
	_, err := oauth2.ToTokenSource(context.Background(), nil).Token()
	fmt.Println(err)
	// Output: renew: ToTokenSource was given a nil renew.TokenSource
}
