package migrate_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/sources/oauth2"
)

// newOAuth2Server is an authorization server and an API that takes its tokens.
func newOAuth2Server() *httptest.Server {
	n := 0
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/token" {
			n++
			fmt.Println("token endpoint:", r.FormValue("grant_type"))
			fmt.Fprintf(w, `{"access_token":"token-%d","token_type":"Bearer","expires_in":3600,"refresh_token":"refresh-%d"}`, n, n)
			return
		}
		fmt.Fprint(w, "hello, ", r.Header.Get("Authorization"))
	}))
}

// show prints what the API says.
func show(client *http.Client, u string) {
	resp, err := client.Get(u)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	fmt.Println(string(text), err)
}

// From requests-oauthlib: a program that acts for itself.
func Example_oauth2ClientCredentials() {
	server := newOAuth2Server()
	defer server.Close()

	//	client = BackendApplicationClient(client_id="daemon")
	//	session = OAuth2Session(client=client)
	//	session.fetch_token(token_url, client_id="daemon", client_secret=secret)
	client, ts, err := renew.NewClient(&oauth2.ClientCredentials{
		TokenURL: server.URL + "/token", ClientID: "daemon", ClientSecret: renew.NewSecret("7Fjfp0ZBr1KtDRbnfVdmIw"),
	}, server.URL)
	if err != nil {
		panic(err)
	}
	defer ts.Close(context.Background())

	//	session.get(api_url)
	//	# TokenExpiredError after an hour: fetch_token again, in each place that calls
	show(client, server.URL+"/api") // the next token comes before this one ends, and after a 401
	// Output:
	// token endpoint: client_credentials
	// hello, Bearer token-1 <nil>
}

// From requests-oauthlib: a stored refresh token.
func Example_oauth2Refresh() {
	server := newOAuth2Server()
	defer server.Close()

	//	session = OAuth2Session("cli", token=stored, auto_refresh_url=token_url,
	//	                        auto_refresh_kwargs={"client_id": "cli"}, token_updater=store)
	ts, err := renew.New(&oauth2.RefreshToken{
		TokenURL: server.URL + "/token", ClientID: "cli", AuthStyle: oauth2.None, RefreshToken: renew.NewSecret("refresh-0"),
	}, renew.Config{Hooks: renew.Hooks{Rotated: func(_ context.Context, _ string, t *renew.Token) error {
		fmt.Println("store the next refresh token:", t.Refresh)
		return nil
	}}})
	if err != nil {
		panic(err)
	}
	defer ts.Close(context.Background())
	client, err := ts.Client(server.URL)
	if err != nil {
		panic(err)
	}

	//	session.get(api_url)
	show(client, server.URL+"/api")
	// Output:
	// token endpoint: refresh_token
	// store the next refresh token: [redacted]
	// hello, Bearer token-1 <nil>
}

// From requests-oauthlib: the authorization code of a web application. PKCE is always on here.
func Example_oauth2AuthorizationCode() {
	server := newOAuth2Server()
	defer server.Close()
	ctx := context.Background()

	//	session = OAuth2Session("web", redirect_uri="https://app.example/callback", scope=["profile"])
	//	url, state = session.authorization_url(auth_url)
	src := &oauth2.AuthorizationCode{
		AuthURL: server.URL + "/authorize", TokenURL: server.URL + "/token", ClientID: "web",
		ClientSecret: renew.NewSecret("gX1fBat3bV"), Scopes: []string{"profile"},
	}
	login, err := src.Begin(ctx, "https://app.example/callback")
	if err != nil {
		panic(err)
	}

	//	session.fetch_token(token_url, client_secret=secret, authorization_response=request.url)
	query := url.Values{"code": {"SplxlOBeZQQYbYS6WxSbIA"}, "state": {login.State}} // of the request to the callback
	tok, err := src.Exchange(ctx, login, query)
	if err != nil {
		panic(err)
	}

	//	session.get(api_url)
	client, ts, err := renew.NewClient(&oauth2.RefreshToken{
		TokenURL: src.TokenURL, ClientID: src.ClientID, ClientSecret: src.ClientSecret, RefreshToken: tok.Refresh,
	}, server.URL)
	if err != nil {
		panic(err)
	}
	defer ts.Close(ctx)
	show(client, server.URL+"/api")
	// Output:
	// token endpoint: authorization_code
	// token endpoint: refresh_token
	// hello, Bearer token-2 <nil>
}
