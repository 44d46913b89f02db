package oauth2_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"

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

func ExampleTokenExchange() {
	sts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Println("sts:", r.FormValue("subject_token_type"), "for", r.FormValue("audience"))
		fmt.Fprint(w, `{"access_token":"eyJhbGciOiJFUzI1NiJ9","issued_token_type":"urn:ietf:params:oauth:token-type:access_token","token_type":"Bearer","expires_in":60}`)
	}))
	defer sts.Close()

	src := &oauth2.TokenExchange{
		TokenURL:         sts.URL,
		AuthStyle:        oauth2.None, // the subject token says who asks
		SubjectTokenType: oauth2.JWTTokenType,
		SubjectTokenFunc: func(ctx context.Context) (renew.Secret, error) { // another TokenSource, or a file
			return renew.NewSecret("accVkjcJyb4BWCxGsndESCJQbdFMogUC5PbRDqceLTC"), nil
		},
		Audiences: []string{"urn:example:cooperation-context"},
	}
	tok, err := src.Issue(context.Background())
	fmt.Println(tok.Type, tok.Value, tok.Life, err)
	// Output:
	// sts: urn:ietf:params:oauth:token-type:jwt for urn:example:cooperation-context
	// Bearer [redacted] 1m0s <nil>
}

func ExampleDeviceCode() {
	issuer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/device" {
			fmt.Fprint(w, `{"device_code":"GmRhmhcxhwAzkoEqiMEg","user_code":"WDJB-MJHT","verification_uri":"https://example.com/device","expires_in":1800,"interval":0.1}`)
			return
		}
		fmt.Fprint(w, `{"access_token":"2YotnFZFEjr1zCsicMWpAA","refresh_token":"tGzv3JOkF0XG5Qx2TlKWIA","expires_in":3600}`)
	}))
	defer issuer.Close()

	src := &oauth2.DeviceCode{
		DeviceAuthURL: issuer.URL + "/device",
		TokenURL:      issuer.URL + "/token",
		ClientID:      "1406020730",
		AuthStyle:     oauth2.None, // a public client
		Prompt: func(_ context.Context, p oauth2.DevicePrompt) error {
			_, err := fmt.Println("Open", p.VerificationURI, "and enter", p.UserCode)
			return err
		},
	}
	ts, err := renew.New(src, renew.Config{Interactive: true}) // a read may ask the person
	if err != nil {
		panic(err)
	}
	defer ts.Close(context.Background())
	tok, err := ts.Token(context.Background()) // later ones come by the refresh token, by timer
	fmt.Println(tok.Type, tok.Value, err)
	// Output:
	// Open https://example.com/device and enter WDJB-MJHT
	// Bearer [redacted] <nil>
}

func ExampleAuthorizationCode() {
	issuer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Println("issuer:", r.FormValue("grant_type"), len(r.FormValue("code_verifier")))
		fmt.Fprint(w, `{"access_token":"2YotnFZFEjr1zCsicMWpAA","refresh_token":"tGzv3JOkF0XG5Qx2TlKWIA","expires_in":3600}`)
	}))
	defer issuer.Close()

	src := &oauth2.AuthorizationCode{
		AuthURL:   issuer.URL + "/authorize",
		TokenURL:  issuer.URL + "/token",
		ClientID:  "s6BhdRkqt3",
		AuthStyle: oauth2.None,
		Prompt: func(ctx context.Context, authorizationURL string) error {
			return visit(ctx, authorizationURL) // a program shows it, a person opens it
		},
	}
	tok, err := src.Issue(context.Background()) // renew.New with Config.Interactive calls this
	fmt.Println(tok.Type, tok.Value, err)
	// Output:
	// issuer: authorization_code 43
	// Bearer [redacted] <nil>
}

func ExampleAuthorizationCode_Begin() {
	issuer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, `{"access_token":"2YotnFZFEjr1zCsicMWpAA","refresh_token":"tGzv3JOkF0XG5Qx2TlKWIA"}`)
	}))
	defer issuer.Close()
	src := &oauth2.AuthorizationCode{AuthURL: issuer.URL + "/authorize", TokenURL: issuer.URL + "/token", ClientID: "s6BhdRkqt3", AuthStyle: oauth2.None}
	ctx := context.Background()

	// Send the browser to login.URL, and keep login in the person's session.
	login, _ := src.Begin(ctx, "https://app.example/callback")
	// The browser comes back: this is its query.
	query := url.Values{"code": {"SplxlOBeZQQYbYS6WxSbIA"}, "state": {login.State}}
	tok, err := src.Exchange(ctx, login, query)
	// A RefreshToken Source with tok.Refresh keeps the login alive.
	fmt.Println(tok.Value, tok.Refresh, err)
	// Output: [redacted] [redacted] <nil>
}

func ExampleFetchMetadata() {
	var issuer *httptest.Server
	issuer = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"issuer":%q,"token_endpoint":"http://127.0.0.1/token"}`, issuer.URL)
	}))
	defer issuer.Close()

	md, err := oauth2.FetchMetadata(context.Background(), issuer.URL, nil)
	fmt.Println(md.TokenURL, err)
	// A Source needs only the Issuer; it reads the metadata itself.
	src := &oauth2.ClientCredentials{Issuer: issuer.URL, ClientID: "daemon", ClientSecret: renew.NewSecret("7Fjfp0ZBr1KtDRbnfVdmIw")}
	fmt.Println(src.Validate())
	// Output:
	// http://127.0.0.1/token <nil>
	// <nil>
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
