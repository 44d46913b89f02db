package oauth1

import (
	"crypto/rand"
	"crypto/rsa"
	"sync"
	"testing"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/budget"
	"github.com/seed-f29168f7/renew/renewtest"
)

var testKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

// testSigner returns a Signer that p takes.
func testSigner(p *provider) *Signer {
	return &Signer{
		ClientKey: p.clientKey, ClientSecret: renew.NewSecret(p.clientSecret),
		Token: renew.NewSecret("token of a user"), TokenSecret: renew.NewSecret(p.tokens["token of a user"]),
	}
}

func TestKit(t *testing.T) {
	for _, tt := range []struct {
		name string
		set  func(t *testing.T, s *Signer, p *provider, h *renewtest.SignerHarness)
	}{
		{"header", func(*testing.T, *Signer, *provider, *renewtest.SignerHarness) {}},
		{"two-legged HMAC-SHA256 with a realm", func(_ *testing.T, s *Signer, _ *provider, _ *renewtest.SignerHarness) {
			s.Method, s.Realm, s.OmitVersion = HMACSHA256, "the realm", true
			s.Token, s.TokenSecret = renew.Secret{}, renew.Secret{}
		}},
		{"query", func(_ *testing.T, s *Signer, _ *provider, _ *renewtest.SignerHarness) { s.Placement = Query }},
		{"body", func(_ *testing.T, s *Signer, _ *provider, h *renewtest.SignerHarness) {
			s.Placement, h.InBody = Body, true
		}},
		{"body hash", func(_ *testing.T, s *Signer, _ *provider, h *renewtest.SignerHarness) {
			s.BodyHash, h.ContentType = BodyHashSHA1, "application/json"
		}},
		{"unsigned bodies", func(_ *testing.T, _ *Signer, _ *provider, h *renewtest.SignerHarness) {
			h.ContentType = "application/json"
		}},
		{"RSA-SHA1", func(t *testing.T, s *Signer, p *provider, _ *renewtest.SignerHarness) {
			key, err := testKey()
			if err != nil {
				t.Fatal(err)
			}
			s.Method, s.ClientSecret, s.PrivateKey, p.rsa = RSASHA1, renew.Secret{}, NewKey(key), &key.PublicKey
		}},
		{"PLAINTEXT", func(_ *testing.T, s *Signer, _ *provider, _ *renewtest.SignerHarness) { s.Method = Plaintext }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			renewtest.RunSigner(t, func(t *testing.T) renewtest.SignerHarness {
				p := newProvider()
				s := testSigner(p)
				s.Budget = &budget.Budget{Units: 2}
				h := renewtest.SignerHarness{
					Signer: s, Verify: p.verify, Budget: s.Budget,
					Secrets: []string{p.clientSecret, p.tokens["token of a user"]},
				}
				tt.set(t, s, p, &h)
				return h
			})
		})
	}
}
