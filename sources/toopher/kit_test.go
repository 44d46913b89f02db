package toopher

import (
	"testing"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/budget"
	"github.com/seed-f29168f7/renew/renewtest"
	"github.com/seed-f29168f7/renew/sources/toopher/toophertest"
)

// What signs the requests of a Client, judged by a service that shares no code with it.
func TestKit(t *testing.T) {
	renewtest.RunSigner(t, func(*testing.T) renewtest.SignerHarness {
		const key, secret = "requester-key-7Q2x", "requester-secret-9LmW"
		signer := (&Client{Key: key, Secret: renew.NewSecret(secret)}).signer()
		signer.Budget = &budget.Budget{Units: 2}
		return renewtest.SignerHarness{
			Signer: signer, Verify: toophertest.New(key, secret).Verify, Budget: signer.Budget, Secrets: []string{secret},
		}
	})
}
