package interop

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"math/big"
	"net/http"
	"testing"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/sources/jwt"
	"github.com/seed-f29168f7/renew/sources/oauth2"
)

// jwkSet is the key set that a client is registered with (RFC 7517). It is written here and not by package jwt.
func jwkSet(t *testing.T, key crypto.Signer) map[string]any {
	t.Helper()
	text := base64.RawURLEncoding.EncodeToString
	var jwk map[string]any
	switch public := key.Public().(type) {
	case *rsa.PublicKey:
		jwk = map[string]any{"kty": "RSA", "n": text(public.N.Bytes()), "e": text(big.NewInt(int64(public.E)).Bytes())}
	case *ecdsa.PublicKey:
		point, err := public.ECDH()
		if err != nil {
			t.Fatal(err)
		}
		xy := point.Bytes()[1:]
		jwk = map[string]any{"kty": "EC", "crv": "P-256", "x": text(xy[:len(xy)/2]), "y": text(xy[len(xy)/2:])}
	case ed25519.PublicKey:
		jwk = map[string]any{"kty": "OKP", "crv": "Ed25519", "x": text(public)}
	default:
		t.Fatalf("no JWK of a %T", public)
	}
	return map[string]any{"jwks": map[string]any{"keys": []any{jwk}}}
}

// signingKeys are a key of each kind, by the algorithm.
func signingKeys(t *testing.T) map[jwt.Algorithm]crypto.Signer {
	t.Helper()
	r, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	e, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return map[jwt.Algorithm]crypto.Signer{jwt.RS256: r, jwt.PS256: r, jwt.ES256: e, jwt.EdDSA: ed}
}

// Client authentication by JWT, with a key of each kind and with the client secret: the provider takes each JWT once.
func TestOIDCClientAssertion(t *testing.T) {
	t.Parallel()
	keys := signingKeys(t)
	cfg := oidcConfig{AccessTokenTTL: 60, Latency: 1, Clients: []map[string]any{
		oidcClient(oidcID, oidcSecret, "client_secret_jwt", nil, "client_credentials"),
	}}
	for alg, key := range keys {
		cfg.Clients = append(cfg.Clients, oidcClient(string(alg), "", "private_key_jwt", jwkSet(t, key), "client_credentials"))
	}
	p := newOIDCProvider(t, cfg)
	source := func(alg jwt.Algorithm) *oauth2.ClientCredentials {
		return &oauth2.ClientCredentials{
			TokenURL: p.issuer + "/token", ClientID: string(alg), AuthStyle: oauth2.PrivateKeyJWT, Scopes: []string{"api"},
			ClientAssertion: &jwt.Source{Key: jwt.NewKey(keys[alg]), Algorithm: alg},
		}
	}
	byIssuer := source(jwt.ES256)
	byIssuer.TokenURL, byIssuer.Issuer = "", p.issuer
	toIssuer := source(jwt.ES256)
	toIssuer.ClientAssertion.Audience = []string{p.issuer} // as RFC 7523bis wants it
	bySecret := &oauth2.ClientCredentials{
		TokenURL: p.issuer + "/token", ClientID: oidcID, ClientSecret: renew.NewSecret(oidcSecret), AuthStyle: oauth2.ClientSecretJWT, Scopes: []string{"api"},
	}
	good := map[string]*oauth2.ClientCredentials{"by the issuer's metadata": byIssuer, "to the issuer": toIssuer, "by the secret": bySecret}
	for alg := range keys {
		good[string(alg)] = source(alg)
	}
	const each = 3 // JWTs, each with a jti of its own
	for name, src := range good {
		ts := newTokenSource(t, src, renew.Config{})
		if got := p.api(t, ts); got != http.StatusOK {
			t.Errorf("%s: the API answers %d, want 200", name, got)
		}
		for range each - 1 {
			if _, err := src.Issue(t.Context()); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	c := p.count(t)
	if c.ByClientAuth["private_key_jwt"] != each*(len(good)-1) || c.ByClientAuth["client_secret_jwt"] != each || c.refused() != 0 {
		t.Errorf("tokens by client authentication %v, refused %v; want %d and %d, and none", c.ByClientAuth, c.Errors, each*(len(good)-1), each)
	}

	refused := func(name string, src *oauth2.ClientCredentials) {
		t.Helper()
		if _, err := src.Issue(t.Context()); err == nil {
			t.Errorf("%s: the provider takes it", name)
		} else if e, ok := asIssueError(err); !ok || e.Code != "invalid_client" || e.Kind != renew.Refused {
			t.Errorf("%s: %v, want invalid_client", name, err)
		}
	}
	once := source(jwt.ES256)
	fixed, err := (&jwt.Source{
		Key: jwt.NewKey(keys[jwt.ES256]), Issuer: string(jwt.ES256), Subject: string(jwt.ES256), Audience: []string{p.issuer},
	}).Assertion(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	once.ClientAssertion, once.ClientAssertionFunc = nil, func(context.Context) (renew.Secret, error) { return fixed, nil }
	if _, err := once.Issue(t.Context()); err != nil {
		t.Errorf("a JWT that was made elsewhere: %v", err)
	}
	refused("the same JWT once more", once)
	otherKey := source(jwt.ES256)
	otherKey.ClientAssertion = &jwt.Source{Key: jwt.NewKey(keys[jwt.RS256])}
	refused("another client's key", otherKey)
	otherAudience := source(jwt.ES256)
	otherAudience.ClientAssertion.Audience = []string{"https://elsewhere.example"}
	refused("for another server", otherAudience)
	otherSecret := *bySecret
	otherSecret.ClientSecret = renew.NewSecret(oidcSecret + " ")
	refused("another secret", &otherSecret)

	c = p.count(t)
	report(t, c)
	if c.Reasons[assertionReused] != 1 || c.Errors["invalid_client"] != 4 {
		t.Errorf("refused %v for %v, want 4, of them 1 for a JWT used twice", c.Errors, c.Reasons)
	}
}

// A login and its refreshes with private_key_jwt: rotated by timer, with a fresh JWT each time, and revoked with one.
func TestOIDCClientAssertionRefresh(t *testing.T) {
	t.Parallel()
	key := signingKeys(t)[jwt.ES256]
	p := newOIDCProvider(t, oidcConfig{AccessTokenTTL: oidcTTL, Clients: []map[string]any{
		oidcClient("daemon", "", "private_key_jwt", jwkSet(t, key), "authorization_code", "refresh_token"),
	}})
	assertion := &jwt.Source{Key: jwt.NewKey(key)}
	login := &oauth2.AuthorizationCode{
		Issuer: p.issuer, ClientID: "daemon", AuthStyle: oauth2.PrivateKeyJWT, ClientAssertion: assertion, Scopes: oidcScopes, AuthParams: consent,
	}
	a, query := oidcLogin(t, login)
	first, err := login.Exchange(t.Context(), a, query)
	if err != nil {
		t.Fatal(err)
	}
	ts := newTokenSource(t, &oauth2.RefreshToken{
		Issuer: p.issuer, ClientID: "daemon", AuthStyle: oauth2.PrivateKeyJWT, ClientAssertion: assertion, RefreshToken: first.Refresh,
	}, renew.Config{Leeway: oidcLeeway, RevokeOnClose: true})
	if got := p.api(t, ts); got != http.StatusOK {
		t.Errorf("the API answers %d, want 200", got)
	}
	p.refreshed(t, ts)
	p.closeAndRevoke(t, ts)
	c := p.count(t)
	report(t, c)
	if c.refused() != 0 || c.ByClientAuth["private_key_jwt"] != c.TokenRequests {
		t.Errorf("tokens by client authentication %v of %d requests, refused %v", c.ByClientAuth, c.TokenRequests, c.Errors)
	}
}
