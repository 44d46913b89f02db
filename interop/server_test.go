package interop

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/ory/fosite"
	"github.com/ory/fosite/compose"
	"github.com/ory/fosite/storage"
	"golang.org/x/crypto/bcrypt"
)

// tokenLife is how long an access token lives at the server. The reply says 4 or 5
// seconds: fosite cuts what is left of the last second off expires_in.
const tokenLife = 5 * time.Second

// latency is how long a request is on its way to the server, and the reply of the token
// endpoint back. Without it two requests hardly ever meet, and few see the same revocation.
const latency = 25 * time.Millisecond

// redirectURI is where the person's browser would be sent after the login.
const redirectURI = "http://127.0.0.1/callback"

// server is an authorization server and an API that trusts it. What it decides is
// decided by fosite; ours is the mux, the latency and the books.
type server struct {
	*httptest.Server
	*books
	provider fosite.OAuth2Provider
	store    *storage.MemoryStore
	// granting is held while fosite grants or revokes: its MemoryStore deactivates a
	// refresh token under another lock than it reads it under. Requests are counted before they wait here.
	granting sync.Mutex
}

// newServer starts a server that knows one client. It ends with the test.
func newServer(t *testing.T, clientID, clientSecret string) *server {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(clientSecret), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	cfg := &fosite.Config{
		AccessTokenLifespan:  tokenLife,
		RefreshTokenLifespan: time.Hour,
		GlobalSecret:         key,
		EnforcePKCE:          true,
		// The API takes access tokens alone.
		DisableRefreshTokenValidation: true,
	}
	cfg.ClientSecretsHasher = &fosite.BCrypt{Config: cfg} // fosite sets it at the first request, without a lock
	s := &server{books: newBooks(), store: storage.NewMemoryStore()}
	s.store.Clients[clientID] = &fosite.DefaultClient{
		ID: clientID, Secret: hash, RedirectURIs: []string{redirectURI},
		GrantTypes:    fosite.Arguments{"client_credentials", "authorization_code", "refresh_token"},
		ResponseTypes: fosite.Arguments{"code"},
		Scopes:        fosite.Arguments{"api", "offline"},
	}
	s.provider = compose.Compose(cfg, s.store, compose.NewOAuth2HMACStrategy(cfg),
		compose.OAuth2AuthorizeExplicitFactory, compose.OAuth2PKCEFactory,
		compose.OAuth2ClientCredentialsGrantFactory, compose.OAuth2RefreshTokenGrantFactory,
		compose.OAuth2TokenIntrospectionFactory, compose.OAuth2TokenRevocationFactory)

	mux := http.NewServeMux()
	mux.HandleFunc("GET /authorize", s.authorize)
	mux.Handle("POST /token", s.countTokens(http.HandlerFunc(s.token)))
	mux.HandleFunc("POST /revoke", s.revoke)
	mux.Handle("/api", s.countAPI(http.HandlerFunc(s.api)))
	s.Server = httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

// authorize is the authorization endpoint: the person has logged in and agrees to all.
func (s *server) authorize(w http.ResponseWriter, r *http.Request) {
	req, err := s.provider.NewAuthorizeRequest(r.Context(), r)
	if err != nil {
		s.provider.WriteAuthorizeError(r.Context(), w, req, err)
		return
	}
	for _, scope := range req.GetRequestedScopes() {
		req.GrantScope(scope)
	}
	resp, err := s.provider.NewAuthorizeResponse(r.Context(), req, &fosite.DefaultSession{Subject: "person"})
	if err != nil {
		s.provider.WriteAuthorizeError(r.Context(), w, req, err)
		return
	}
	s.provider.WriteAuthorizeResponse(r.Context(), w, req, resp)
}

// token is the token endpoint.
func (s *server) token(w http.ResponseWriter, r *http.Request) {
	time.Sleep(latency)
	defer time.Sleep(latency)
	s.granting.Lock()
	defer s.granting.Unlock()
	req, err := s.provider.NewAccessRequest(r.Context(), r, &fosite.DefaultSession{})
	if err != nil {
		s.provider.WriteAccessError(r.Context(), w, req, err)
		return
	}
	if req.GetGrantTypes().ExactOne("client_credentials") {
		for _, scope := range req.GetRequestedScopes() {
			req.GrantScope(scope)
		}
	}
	resp, err := s.provider.NewAccessResponse(r.Context(), req)
	if err != nil {
		s.provider.WriteAccessError(r.Context(), w, req, err)
		return
	}
	s.provider.WriteAccessResponse(r.Context(), w, req, resp)
}

// revoke is the revocation endpoint of RFC 7009.
func (s *server) revoke(w http.ResponseWriter, r *http.Request) {
	s.granting.Lock()
	defer s.granting.Unlock()
	s.provider.WriteRevocationResponse(r.Context(), w, s.provider.NewRevocationRequest(r.Context(), r))
}

// api is the resource that the tokens are for.
func (s *server) api(w http.ResponseWriter, r *http.Request) {
	time.Sleep(latency)
	_, _, err := s.provider.IntrospectToken(r.Context(), fosite.AccessTokenFromRequest(r), fosite.AccessToken, &fosite.DefaultSession{}, "api")
	if err != nil {
		if errors.Is(err, fosite.ErrTokenExpired) {
			s.sawExpired()
		}
		w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
		http.Error(w, "the access token is not valid", http.StatusUnauthorized)
		return
	}
	_, _ = io.WriteString(w, "served\n")
}

// revokeAccessToken ends an access token and leaves its login alone, by the server's own
// storage. RFC 7009 cannot: fosite ends the login with it.
func (s *server) revokeAccessToken(t *testing.T, accessToken string) error {
	t.Helper()
	_, grant, err := s.provider.IntrospectToken(t.Context(), accessToken, fosite.AccessToken, &fosite.DefaultSession{})
	if err != nil {
		return fmt.Errorf("the token to revoke: %w", err)
	}
	s.granting.Lock()
	defer s.granting.Unlock()
	return s.store.RevokeAccessToken(t.Context(), grant.GetID())
}
