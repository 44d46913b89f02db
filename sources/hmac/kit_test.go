package hmac

import (
	"net/http"
	"testing"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/budget"
	"github.com/seed-f29168f7/renew/renewtest"
)

const testSecret = "correct horse battery staple"

func TestKit(t *testing.T) {
	for _, tt := range []struct {
		name string
		wire Wire
		set  func(s *Signer, v *Verifier, h *renewtest.SignerHarness)
	}{
		{"canonical", Wire{}, func(*Signer, *Verifier, *renewtest.SignerHarness) {}},
		{"canonical SHA-512, base64 and other headers", Wire{Algorithm: SHA512, Base64: true, Prefix: "sig ", Header: "Authorization", KeyIDHeader: "X-Key", DateHeader: "x-date"},
			func(*Signer, *Verifier, *renewtest.SignerHarness) {}},
		{"plain", Wire{Form: Plain}, func(s *Signer, _ *Verifier, h *renewtest.SignerHarness) {
			s.KeyID, h.SameCredentialOK, h.Budget = "", true, nil
		}},
		{"plain SHA-1 with a message", Wire{Form: Plain, Algorithm: SHA1, Header: "X-Hub-Signature", Prefix: "sha1="}, func(s *Signer, v *Verifier, h *renewtest.SignerHarness) {
			h.SameCredentialOK = true
			s.Message = func(r *http.Request) ([]byte, error) { return []byte(r.Method + r.URL.RequestURI()), nil }
			v.Message = s.Message
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			renewtest.RunSigner(t, func(*testing.T) renewtest.SignerHarness {
				s := &Signer{Wire: tt.wire, KeyID: "k1", Secret: renew.NewSecret(testSecret), Budget: &budget.Budget{Units: 2}}
				v := &Verifier{Wire: tt.wire, Keys: map[string]renew.Secret{"k1": renew.NewSecret(testSecret)}}
				h := renewtest.SignerHarness{
					Signer: s, Budget: s.Budget, Header: s.Wire.header(), Secrets: []string{testSecret},
					Verify: func(r *http.Request) error {
						_, err := v.Verify(r)
						return err
					},
				}
				tt.set(s, v, &h)
				return h
			})
		})
	}
}
