package interop

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/sources/oauth2"
)

const (
	oidcID = "daemon:7 %41+&="
	// oidcSecret is ASCII, as the provider wants it, and has 32 bytes or more, as HS256 does.
	oidcSecret = "s:e+c%r%41&e=t?\"\\ ~ and some more of it"
	oidcTTL    = 5
	// oidcLeeway has the second that the provider may end a token early, since it counts iat and exp in whole
	// seconds, and half a second for a busy machine.
	oidcLeeway   = 1500 * time.Millisecond
	oidcCallback = "http://127.0.0.1/callback"
)

var oidcScopes = []string{"openid", "offline_access", "api"}

// consent asks the person anew: without it the provider gives no refresh token (OpenID Connect Core, section 11).
var consent = url.Values{"prompt": {"consent"}}

// oidcClient is the metadata of a client. An empty secret makes it a public one.
func oidcClient(id, secret, auth string, more map[string]any, grants ...string) map[string]any {
	c := map[string]any{
		"client_id": id, "token_endpoint_auth_method": auth, "grant_types": grants, "scope": strings.Join(oidcScopes, " "),
		"redirect_uris": []string{}, "response_types": []string{}, "application_type": "native",
	}
	if secret != "" {
		c["client_secret"] = secret
	}
	for _, grant := range grants {
		if grant == "authorization_code" {
			c["redirect_uris"], c["response_types"] = []string{oidcCallback}, []string{"code"}
		}
	}
	for name, value := range more {
		c[name] = value
	}
	return c
}

const deviceGrant = "urn:ietf:params:oauth:grant-type:device_code"

// check is what each run must show on the provider's side: all requests served, one token request at a time, and
// no refresh token used twice.
func (c oidcCount) check(t *testing.T, served int) {
	t.Helper()
	if c.TokenRequests == 0 || c.MostInFlight != 1 {
		t.Errorf("token requests = %d, in flight %d at most, want some, one at a time", c.TokenRequests, c.MostInFlight)
	}
	if c.APIRequests == 0 || c.APIRequests != served || c.APIFailed != 0 {
		t.Errorf("API requests = %d, failed = %d, answered 200 for the readers = %d; want all served", c.APIRequests, c.APIFailed, served)
	}
	if c.Reasons[refreshTokenReused] != 0 || c.GrantsRevoked != 0 {
		t.Errorf("refresh tokens used twice = %d, grants revoked = %d, want none", c.Reasons[refreshTokenReused], c.GrantsRevoked)
	}
}

// api asks the API through a Transport, and returns the status.
func (p *oidcProvider) api(t *testing.T, ts *renew.TokenSource) int {
	t.Helper()
	client, err := ts.Client(p.issuer)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Get(p.issuer + "/api")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

// closeAndRevoke closes the TokenSource, and wants its tokens to be good at the provider before and gone after.
func (p *oidcProvider) closeAndRevoke(t *testing.T, ts *renew.TokenSource) {
	t.Helper()
	tok, err := ts.Token(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	tokens := []string{tok.Value.Reveal()}
	if !tok.Refresh.IsZero() {
		tokens = append(tokens, tok.Refresh.Reveal())
	}
	for i, token := range tokens {
		if !p.active(t, token) {
			t.Errorf("token %d is not active before Close", i)
		}
	}
	if err := ts.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i, token := range tokens {
		if p.active(t, token) {
			t.Errorf("token %d is active after Close, which revokes", i)
		}
	}
	if c := p.count(t); c.Revocations < len(tokens) {
		t.Errorf("revocations = %d, want %d or more", c.Revocations, len(tokens))
	}
}

// Client credentials: 200 goroutines through some expiries and a revocation.
func TestOIDCClientCredentials(t *testing.T) {
	t.Parallel()
	p := newOIDCProvider(t, oidcConfig{AccessTokenTTL: oidcTTL, Clients: []map[string]any{
		oidcClient(oidcID, oidcSecret, "client_secret_basic", nil, "client_credentials"),
	}})
	src := &oauth2.ClientCredentials{
		TokenURL: p.issuer + "/token", RevocationURL: p.issuer + "/token/revocation",
		ClientID: oidcID, ClientSecret: renew.NewSecret(oidcSecret), Scopes: []string{"api"},
	}
	var gaps gapCounter
	ts := newTokenSource(t, src, renew.Config{Leeway: oidcLeeway, RevokeOnClose: true, Hooks: renew.Hooks{Changed: gaps.changed}})
	served := load(t, p.server(), ts, func(tok *renew.Token) error { return src.Revoke(t.Context(), tok) })
	c, st := p.count(t), ts.Status()
	c.check(t, served)
	if c.TokenRequests < 4 || c.TokenRequests > 12 || c.ByGrant["client_credentials"] != c.TokenRequests || c.ByClientAuth["client_secret_basic"] != c.TokenRequests {
		t.Errorf("token requests = %d, want 4 to 12, all of client credentials", c.TokenRequests)
	}
	if st.Issues != uint64(c.TokenRequests) || c.API401 == 0 || st.Rejected != 1 || st.BudgetLeft != 3 {
		t.Errorf("issues = %d, answers 401 = %d, rejected = %d, units left = %d; want as many as token requests, some, the revoked one, and 3",
			st.Issues, c.API401, st.Rejected, st.BudgetLeft)
	}
	p.closeAndRevoke(t, ts)
	c = p.count(t)
	report(t, c)
	gaps.check(t, count{tokens: c.TokenRequests}, st)
}

// oidcLogin has the scripted person log in by the authorization code flow with PKCE, as a program with a
// page of its own does, and returns the query that the browser came back with.
func oidcLogin(t *testing.T, src *oauth2.AuthorizationCode) (*oauth2.Authorization, url.Values) {
	t.Helper()
	a, err := src.Begin(t.Context(), oidcCallback)
	if err != nil {
		t.Fatal(err)
	}
	_, back, err := browse(t.Context(), a.URL, oidcCallback)
	if err != nil || back == nil {
		t.Fatalf("the login ended elsewhere: %v", err)
	}
	return a, back.Query()
}

// Refresh with rotation: 200 goroutines, and no refresh token is used twice. Then one is, to show that the provider looks.
func TestOIDCRefreshTokenRotation(t *testing.T) {
	t.Parallel()
	p := newOIDCProvider(t, oidcConfig{AccessTokenTTL: oidcTTL, Clients: []map[string]any{
		oidcClient(oidcID, oidcSecret, "client_secret_post", nil, "authorization_code", "refresh_token"),
	}})
	login := &oauth2.AuthorizationCode{
		Issuer: p.issuer, ClientID: oidcID, ClientSecret: renew.NewSecret(oidcSecret), AuthStyle: oauth2.InParams, Scopes: oidcScopes, AuthParams: consent,
	}
	a, query := oidcLogin(t, login)
	first, err := login.Exchange(t.Context(), a, query)
	if err != nil {
		t.Fatal(err)
	}
	if first.Refresh.IsZero() {
		t.Fatal("the login brought no refresh token")
	}
	store := &tokenStore{tokens: []string{first.Refresh.Reveal()}}
	src := func() *oauth2.RefreshToken {
		return &oauth2.RefreshToken{
			Issuer: p.issuer, ClientID: oidcID, ClientSecret: renew.NewSecret(oidcSecret), AuthStyle: oauth2.InParams, RefreshTokenFunc: store.newest,
		}
	}
	var gaps gapCounter
	ts := newTokenSource(t, src(), renew.Config{Leeway: oidcLeeway, Hooks: renew.Hooks{Rotated: store.rotated, Changed: gaps.changed}})
	served := load(t, p.server(), ts, func(tok *renew.Token) error { return p.end(t.Context(), tok.Value.Reveal()) })
	c, st := p.count(t), ts.Status()
	c.check(t, served)
	refreshes := c.ByGrant["refresh_token"]
	if refreshes < 4 || refreshes > 12 || c.TokenRequests != refreshes+1 || c.ByGrant["authorization_code"] != 1 {
		t.Errorf("tokens by grant = %v of %d requests, want 1 by a login, 4 to 12 by refresh", c.ByGrant, c.TokenRequests)
	}
	if st.Issues != 1 || st.Reissues != uint64(refreshes-1) || len(store.tokens) != refreshes+1 {
		t.Errorf("issues = %d, reissues = %d, stored %d; want 1, %d, and the login's beside %d", st.Issues, st.Reissues, len(store.tokens), refreshes-1, refreshes)
	}
	if c.API401 == 0 || st.Rejected != 1 || st.BudgetLeft != 3 {
		t.Errorf("answers 401 = %d, rejected = %d, units left = %d; want some, the revoked one, and 3", c.API401, st.Rejected, st.BudgetLeft)
	}
	if err := ts.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	gaps.check(t, count{tokens: refreshes}, st)

	// The next process goes on with what was stored: the grant is alive.
	next := newTokenSource(t, src(), renew.Config{Leeway: oidcLeeway, Hooks: renew.Hooks{Rotated: store.rotated}})
	if got := p.api(t, next); got != http.StatusOK {
		t.Errorf("the API answers %d to the next process, want 200", got)
	}
	tok, err := next.Token(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := next.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	c = p.count(t)
	report(t, c)
	c.check(t, served+1)
	newest := store.tokens[len(store.tokens)-1]
	if !p.active(t, newest) || !p.active(t, tok.Value.Reveal()) {
		t.Error("the grant is not alive at the end")
	}

	// All this has a meaning only if the provider does watch for re-use.
	for _, tc := range []struct{ name, refresh string }{
		{"the first refresh token once more", store.tokens[0]},
		{"the newest one, never used, after that", newest},
	} {
		status, reply, err := p.post(t.Context(), "/token", oidcID, oidcSecret, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {tc.refresh}})
		if err != nil || status != http.StatusBadRequest || reply["error"] != "invalid_grant" {
			t.Errorf("%s: status %d, %v, %v; want 400 invalid_grant", tc.name, status, reply["error"], err)
		}
	}
	if p.active(t, newest) || p.active(t, tok.Value.Reveal()) {
		t.Error("tokens of the grant are active after the re-use")
	}
	if c := p.count(t); c.Reasons[refreshTokenReused] != 1 || c.GrantsRevoked != 1 {
		t.Errorf("refresh tokens used twice = %d, grants revoked = %d after one was, want 1 of each", c.Reasons[refreshTokenReused], c.GrantsRevoked)
	}
}

// refreshed waits until the timer, and nobody who reads, has traded the refresh token twice; and looks that the person was not asked again.
func (p *oidcProvider) refreshed(t *testing.T, ts *renew.TokenSource) {
	t.Helper()
	waitFor(t, func() bool { return ts.Status().Generation >= 3 })
	if got := p.api(t, ts); got != http.StatusOK {
		t.Errorf("the API answers %d after two refreshes, want 200", got)
	}
	st, c := ts.Status(), p.count(t)
	if st.Issues != 1 || st.Rejected != 0 || st.BudgetLeft != 4 {
		t.Errorf("issues = %d, rejected = %d, units left = %d; want 1, 0 and 4", st.Issues, st.Rejected, st.BudgetLeft)
	}
	if c.Logins != 1 || c.ByGrant["refresh_token"] < 2 || c.MostInFlight != 1 || c.Reasons[refreshTokenReused] != 0 {
		t.Errorf("logins = %d, tokens by grant %v, in flight %d, used twice %d; want one login, two refreshes or more, one at a time, none",
			c.Logins, c.ByGrant, c.MostInFlight, c.Reasons[refreshTokenReused])
	}
}

// keepWaiting returns when a device has heard that the person is not done yet.
func (p *oidcProvider) keepWaiting(ctx context.Context) error {
	for {
		c, err := p.read(ctx)
		if err != nil || c.Errors["authorization_pending"] > 0 {
			return err
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// Device flow: the device polls as it is told to, the person approves after longer than a token lives, and then the timer refreshes.
// The device has a secret, and signs a JWT with it for each of these requests.
func TestOIDCDeviceFlow(t *testing.T) {
	t.Parallel()
	p := newOIDCProvider(t, oidcConfig{AccessTokenTTL: oidcTTL, Interval: 1, SlowDowns: 1, Clients: []map[string]any{
		oidcClient("tv", oidcSecret, "client_secret_jwt", nil, deviceGrant, "refresh_token"),
	}})
	var person sync.WaitGroup
	defer person.Wait()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	src := &oauth2.DeviceCode{
		Issuer: p.issuer, ClientID: "tv", ClientSecret: renew.NewSecret(oidcSecret), AuthStyle: oauth2.ClientSecretJWT,
		Scopes: oidcScopes, EndpointParams: consent, Timeout: time.Minute,
		Prompt: func(_ context.Context, prompt oauth2.DevicePrompt) error {
			person.Go(func() {
				if err := p.keepWaiting(ctx); err != nil {
					t.Errorf("no poll was answered with authorization_pending: %v", err)
				}
				page, _, err := browse(ctx, prompt.VerificationURIComplete, "")
				if err != nil {
					t.Errorf("the approval: %v", err)
				}
				if strings.Contains(page, prompt.UserCode) {
					t.Error("the last page still asks for the code")
				}
			})
			return nil
		},
	}
	ts := newTokenSource(t, src, renew.Config{Leeway: oidcLeeway, Interactive: true, RevokeOnClose: true})
	if got := p.api(t, ts); got != http.StatusOK {
		t.Errorf("the API answers %d, want 200", got)
	}
	c := p.count(t)
	if c.DeviceAuthorizations != 1 || c.Errors["slow_down"] != 1 || c.Errors["authorization_pending"] == 0 || c.ByGrant[deviceGrant] != 1 {
		t.Errorf("device authorizations = %d, polls refused %v, tokens %v; want 1, one slow_down and some pending, one", c.DeviceAuthorizations, c.Errors, c.ByGrant)
	}
	if c.EarlyPolls != 0 {
		t.Errorf("%d polls came before the interval was over", c.EarlyPolls)
	}
	p.refreshed(t, ts)
	p.closeAndRevoke(t, ts)
	report(t, p.count(t))
}

// Authorization code with PKCE on a loopback redirect: a browser logs in, after longer than a token lives, comes back to
// the port that the Source listens on, and then the timer refreshes.
func TestOIDCAuthorizationCode(t *testing.T) {
	t.Parallel()
	p := newOIDCProvider(t, oidcConfig{AccessTokenTTL: oidcTTL, Clients: []map[string]any{
		oidcClient("desktop", "", "none", nil, "authorization_code", "refresh_token"),
	}})
	var browser sync.WaitGroup
	defer browser.Wait()
	src := &oauth2.AuthorizationCode{
		Issuer: p.issuer, ClientID: "desktop", AuthStyle: oauth2.None, Scopes: oidcScopes, AuthParams: consent, Timeout: time.Minute,
		Open: func(_ context.Context, authorizationURL string) error {
			browser.Go(func() {
				time.Sleep((oidcTTL + 1) * time.Second)
				page, _, err := browse(t.Context(), authorizationURL, "")
				if err != nil || !strings.Contains(page, "You can close this window") {
					t.Errorf("the browser ends at %q, %v", page, err)
				}
			})
			return nil
		},
	}
	ts := newTokenSource(t, src, renew.Config{Leeway: oidcLeeway, Interactive: true, RevokeOnClose: true})
	if got := p.api(t, ts); got != http.StatusOK {
		t.Errorf("the API answers %d, want 200", got)
	}
	if c := p.count(t); c.ByGrant["authorization_code"] != 1 || c.refused() != 0 {
		t.Errorf("tokens by grant %v, refused %v; want one by code", c.ByGrant, c.Errors)
	}
	p.refreshed(t, ts)
	p.closeAndRevoke(t, ts)
	report(t, p.count(t))
}

// A code works once, and with its verifier only: the provider checks PKCE.
func TestOIDCAuthorizationCodeRefused(t *testing.T) {
	t.Parallel()
	p := newOIDCProvider(t, oidcConfig{AccessTokenTTL: oidcTTL, Clients: []map[string]any{
		oidcClient("desktop", "", "none", nil, "authorization_code", "refresh_token"),
	}})
	src := &oauth2.AuthorizationCode{Issuer: p.issuer, ClientID: "desktop", AuthStyle: oauth2.None, Scopes: oidcScopes}
	refused := func(name string, err error) {
		t.Helper()
		if e, ok := asIssueError(err); !ok || e.Code != "invalid_grant" || e.Kind != renew.Refused {
			t.Errorf("%s: %v, want invalid_grant", name, err)
		}
	}
	a, query := oidcLogin(t, src)
	if _, err := src.Exchange(t.Context(), a, query); err != nil {
		t.Fatal(err)
	}
	_, err := src.Exchange(t.Context(), a, query)
	refused("the code once more", err)

	a, query = oidcLogin(t, src)
	a.Verifier = renew.NewSecret(strings.Repeat("x", 43))
	_, err = src.Exchange(t.Context(), a, query)
	refused("another verifier", err)

	// The provider names itself in the answer (RFC 9207), and answers that name another one are not sent on.
	a, query = oidcLogin(t, src)
	if query.Get("iss") != p.issuer {
		t.Errorf("iss = %q, want %q", query.Get("iss"), p.issuer)
	}
	before := p.count(t).TokenRequests
	query.Set("iss", "https://elsewhere.example")
	if _, err = src.Exchange(t.Context(), a, query); err == nil || !strings.Contains(err.Error(), "another issuer") {
		t.Errorf("an answer of another issuer: %v", err)
	}
	c := p.count(t)
	if c.TokenRequests != before {
		t.Error("the code of another issuer's answer was sent")
	}
	report(t, c)
}

// The person says no: a refusal that is not for good.
func TestOIDCDenied(t *testing.T) {
	t.Parallel()
	p := newOIDCProvider(t, oidcConfig{AccessTokenTTL: oidcTTL, Deny: true, Clients: []map[string]any{
		oidcClient("desktop", "", "none", nil, "authorization_code", "refresh_token"),
		oidcClient("tv", "", "none", nil, deviceGrant, "refresh_token"),
	}})
	var person sync.WaitGroup
	defer person.Wait()
	for name, src := range map[string]renew.Source{
		"authorization code": &oauth2.AuthorizationCode{
			Issuer: p.issuer, ClientID: "desktop", AuthStyle: oauth2.None, Scopes: oidcScopes, Timeout: time.Minute,
			Open: func(_ context.Context, authorizationURL string) error {
				person.Go(func() {
					if page, _, err := browse(t.Context(), authorizationURL, ""); err != nil || !strings.Contains(page, "access_denied") {
						t.Errorf("the browser ends at %q, %v", page, err)
					}
				})
				return nil
			},
		},
		"device code": &oauth2.DeviceCode{
			Issuer: p.issuer, ClientID: "tv", AuthStyle: oauth2.None, Scopes: oidcScopes, Timeout: time.Minute,
			Prompt: func(_ context.Context, prompt oauth2.DevicePrompt) error {
				person.Go(func() {
					// The provider answers the person's no with an error page of its own.
					if page, _, err := browse(t.Context(), prompt.VerificationURIComplete, ""); err == nil {
						t.Errorf("the browser ends at %q, want an error page", page)
					}
				})
				return nil
			},
		},
	} {
		ts := newTokenSource(t, src, renew.Config{Interactive: true})
		_, err := ts.Token(t.Context())
		if e, ok := asIssueError(err); !ok || e.Code != "access_denied" || e.Kind != renew.Refused || e.Permanent {
			t.Errorf("%s: %v, want access_denied, and not for good", name, err)
		}
	}
	c := p.count(t)
	report(t, c)
	if c.Logins != 0 || c.AccessTokens != 0 || c.Errors["access_denied"] != 1 {
		t.Errorf("logins = %d, access tokens = %d, refused %v; want none, none, and the device once", c.Logins, c.AccessTokens, c.Errors)
	}
}

// The secret in the header and in the body, and a wrong one; and an API that wants more than the token is good for.
func TestOIDCClientAuthentication(t *testing.T) {
	t.Parallel()
	p := newOIDCProvider(t, oidcConfig{AccessTokenTTL: 60, Clients: []map[string]any{
		oidcClient(oidcID, oidcSecret, "client_secret_basic", nil, "client_credentials"),
	}})
	for _, tc := range []struct {
		name   string
		style  oauth2.AuthStyle
		secret string
		scopes []string
		want   int // of the API; 0: no token
	}{
		{"in the header", oauth2.InHeader, oidcSecret, []string{"api"}, http.StatusOK},
		{"in the body", oauth2.InParams, oidcSecret, []string{"api"}, http.StatusOK},
		{"without the scope", oauth2.InHeader, oidcSecret, nil, http.StatusForbidden},
		{"wrong, in the header", oauth2.InHeader, oidcSecret + " ", nil, 0},
		{"wrong, in the body", oauth2.InParams, url.QueryEscape(oidcSecret), nil, 0},
	} {
		before := p.count(t).TokenRequests
		ts := newTokenSource(t, &oauth2.ClientCredentials{
			Issuer: p.issuer, ClientID: oidcID, ClientSecret: renew.NewSecret(tc.secret), AuthStyle: tc.style, Scopes: tc.scopes,
		}, renew.Config{})
		if tc.want == 0 {
			_, err := ts.Token(t.Context())
			if e, ok := asIssueError(err); !ok || e.Code != "invalid_client" || !e.Permanent {
				t.Errorf("%s: %v, want invalid_client for good", tc.name, err)
			}
		} else if got := p.api(t, ts); got != tc.want || ts.Status().Rejected != 0 {
			t.Errorf("%s: the API answers %d, %d tokens rejected; want %d and none", tc.name, got, ts.Status().Rejected, tc.want)
		}
		if n := p.count(t).TokenRequests - before; n != 1 {
			t.Errorf("%s: token requests = %d, want 1", tc.name, n)
		}
	}
	report(t, p.count(t))
}

// The metadata is the provider's discovery document; and grants that it does not have are refused for good.
func TestOIDCMetadata(t *testing.T) {
	t.Parallel()
	p := newOIDCProvider(t, oidcConfig{AccessTokenTTL: 60, Clients: []map[string]any{
		oidcClient(oidcID, oidcSecret, "client_secret_basic", nil, "client_credentials"),
	}})
	md, err := oauth2.FetchMetadata(t.Context(), p.issuer, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, got := range map[string]string{
		"":                  md.Issuer,
		"/auth":             md.AuthURL,
		"/token":            md.TokenURL,
		"/device/auth":      md.DeviceAuthURL,
		"/token/revocation": md.RevocationURL,
	} {
		if got != p.issuer+name {
			t.Errorf("%q, want %q", got, p.issuer+name)
		}
	}
	if got := fmt.Sprint(md.ChallengeMethods, md.AuthMethods); got != "[S256] [client_secret_basic client_secret_post client_secret_jwt private_key_jwt none]" || !md.NamesIssuer {
		t.Errorf("methods = %s, iss = %t", got, md.NamesIssuer)
	}

	// The same provider by another name is another issuer.
	other := strings.Replace(p.issuer, "127.0.0.1", "localhost", 1)
	var wrong *oauth2.MetadataError
	if _, err := oauth2.FetchMetadata(t.Context(), other, nil); !errors.As(err, &wrong) || wrong.Member != "issuer" {
		t.Errorf("FetchMetadata(%q) = %v, want a MetadataError about issuer", other, err)
	}

	for name, src := range map[string]renew.Source{
		"token exchange": &oauth2.TokenExchange{
			Issuer: p.issuer, ClientID: oidcID, ClientSecret: renew.NewSecret(oidcSecret), SubjectToken: renew.NewSecret("subject"),
		},
		"JWT bearer": &oauth2.JWTBearer{
			Issuer: p.issuer, ClientID: oidcID, ClientSecret: renew.NewSecret(oidcSecret),
			AssertionFunc: func(context.Context) (renew.Secret, error) { return renew.NewSecret("a.b.c"), nil },
		},
	} {
		_, err = src.Issue(t.Context())
		if e, ok := asIssueError(err); !ok || e.Code != "unsupported_grant_type" || !e.Permanent {
			t.Errorf("%s: %v, want unsupported_grant_type for good", name, err)
		}
	}
	c := p.count(t)
	report(t, c)
	if c.Discoveries < 4 || c.Errors["unsupported_grant_type"] != 2 {
		t.Errorf("metadata documents = %d, refused %v; want 4 or more, and both grants", c.Discoveries, c.Errors)
	}
}
