package httpsig

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/budget"
	"github.com/seed-f29168f7/renew/clock"
	"github.com/seed-f29168f7/renew/renewtest"
)

const testSecret = "correct horse battery staple"

var start = time.Unix(1767323045, 0)

// testKeys are private keys by algorithm, made once.
var testKeys = sync.OnceValue(func() map[Algorithm]crypto.Signer {
	must := func(key crypto.Signer, err error) crypto.Signer {
		if err != nil {
			panic(err)
		}
		return key
	}
	private := must(rsa.GenerateKey(rand.Reader, 2048))
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	return map[Algorithm]crypto.Signer{
		RSAPSSSHA512: private, RSAv15SHA256: private, Ed25519: must(edwards, err),
		ECDSAP256SHA256: must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)),
		ECDSAP384SHA384: must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader)),
	}
})

func verifyKey(t testing.TB, a Algorithm) VerifyKey {
	t.Helper()
	if a == HMACSHA256 {
		return NewVerifySecret(renew.NewSecret(testSecret))
	}
	key, err := NewVerifyKey(a, testKeys()[a].Public())
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// testSigner returns a Signer with an algorithm, and the Verifier that takes it.
func testSigner(t testing.TB, a Algorithm, clk clock.Clock) (*Signer, *Verifier) {
	t.Helper()
	s := &Signer{KeyID: "k1", Algorithm: a, Clock: clk}
	if a == HMACSHA256 {
		s.Secret = renew.NewSecret(testSecret)
	} else {
		s.PrivateKey = NewKey(testKeys()[a])
	}
	return s, &Verifier{Keys: map[string]VerifyKey{"k1": verifyKey(t, a)}, Clock: clk}
}

func TestKit(t *testing.T) {
	for _, tt := range []struct {
		name string
		a    Algorithm
		set  func(s *Signer, v *Verifier)
	}{
		{"hmac-sha256", HMACSHA256, func(*Signer, *Verifier) {}},
		{"ed25519 with everything", Ed25519, func(s *Signer, v *Verifier) {
			s.Components = []string{"@method", "@target-uri", "@request-target", "host", "content-digest", "x-kit;bs"}
			s.Digest, s.Label, s.Tag, s.Life, s.SendAlgorithm = SHA512, "own", "app", -1, true
			v.Required, v.Tag, v.Label = s.Components, "app", "own"
		}},
		{"ecdsa-p256-sha256", ECDSAP256SHA256, func(*Signer, *Verifier) {}},
		{"ecdsa-p384-sha384", ECDSAP384SHA384, func(*Signer, *Verifier) {}},
		{"rsa-pss-sha512", RSAPSSSHA512, func(*Signer, *Verifier) {}},
		{"rsa-v1_5-sha256", RSAv15SHA256, func(*Signer, *Verifier) {}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			renewtest.RunSigner(t, func(t *testing.T) renewtest.SignerHarness {
				s, v := testSigner(t, tt.a, nil)
				s.Budget = &budget.Budget{Units: 2}
				tt.set(s, v)
				return renewtest.SignerHarness{
					Signer: s, Budget: s.Budget, Header: "Signature", Secrets: []string{testSecret},
					Verify: func(r *http.Request) error {
						_, err := v.VerifyRequest(r)
						return err
					},
				}
			})
		})
	}
}
