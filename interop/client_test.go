package interop

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	xoauth2 "golang.org/x/oauth2"

	"github.com/seed-f29168f7/renew"
)

// newTokenSource makes a TokenSource that ends with the test.
func newTokenSource(t *testing.T, src renew.Source, cfg renew.Config) *renew.TokenSource {
	t.Helper()
	ts, err := renew.New(src, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := ts.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return ts
}

func asIssueError(err error) (*renew.IssueError, bool) { return errors.AsType[*renew.IssueError](err) }

// tokenStore is where the daemon of the test keeps its refresh tokens. A real one
// needs the newest alone.
type tokenStore struct {
	mu     sync.Mutex
	tokens []string // oldest first
}

func (s *tokenStore) newest(context.Context) (renew.Secret, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return renew.NewSecret(s.tokens[len(s.tokens)-1]), nil
}

func (s *tokenStore) rotated(_ context.Context, _ string, t *renew.Token) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens = append(s.tokens, t.Refresh.Reveal())
	return nil
}

// login does what a person and a browser do: the authorization code flow with
// PKCE. It returns the refresh token.
func (s *server) login(t *testing.T) string {
	t.Helper()
	cfg := &xoauth2.Config{
		ClientID: clientID, ClientSecret: clientSecret, RedirectURL: redirectURI, Scopes: []string{"api", "offline"},
		Endpoint: xoauth2.Endpoint{AuthURL: s.URL + "/authorize", TokenURL: s.URL + "/token", AuthStyle: xoauth2.AuthStyleInHeader},
	}
	verifier, state := xoauth2.GenerateVerifier(), "no-other-tab"
	browser := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, cfg.AuthCodeURL(state, xoauth2.S256ChallengeOption(verifier)), nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := browser.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	back, err := resp.Location()
	if err != nil || back.Query().Get("state") != state || back.Query().Get("code") == "" {
		t.Fatalf("the authorization endpoint answered %d with %v, %s", resp.StatusCode, err, back.Query().Get("error"))
	}
	tok, err := cfg.Exchange(t.Context(), back.Query().Get("code"), xoauth2.VerifierOption(verifier))
	if err != nil {
		t.Fatal(err)
	}
	if tok.RefreshToken == "" {
		t.Fatal("the login brought no refresh token")
	}
	return tok.RefreshToken
}

// post sends a form with the client's credentials, by hand and not through renew.
func (s *server) post(t *testing.T, path string, form url.Values) (status int, reply string, err error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+path, strings.NewReader(form.Encode()))
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(url.QueryEscape(clientID), url.QueryEscape(clientSecret))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	return resp.StatusCode, string(body), err
}

// get asks the API with a token by hand, and returns the status.
func (s *server) get(t *testing.T, tok *renew.Token) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+"/api", nil)
	if err != nil {
		t.Fatal(err)
	}
	tok.SetAuthHeader(req)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}
