package renewtest_test

import (
	"errors"
	"net/http"
	"testing"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/renewtest"
)

// keySigner stands for the signer that you wrote.
type keySigner struct{ key renew.Secret }

func (s keySigner) Authenticate(req *http.Request) (renew.Credential, error) {
	if req.Header == nil {
		req.Header = make(http.Header, 1)
	}
	req.Header["Api-Key"] = []string{s.key.Reveal()}
	return nil, nil
}

// Refused: the same key again would be refused again.
func (s keySigner) Refused(*http.Request, renew.Credential, *http.Response) (renew.Replay, error) {
	return nil, nil
}

// TestKeySigner is the test of a signer without a nonce, which has a header of its own.
func TestKeySigner(t *testing.T) {
	const key = "from-the-configuration"
	renewtest.RunSigner(t, func(*testing.T) renewtest.SignerHarness {
		return renewtest.SignerHarness{
			Signer: keySigner{renew.NewSecret(key)},
			Verify: func(r *http.Request) error { // the server's side
				if r.Header.Get("Api-Key") != key {
					return errors.New("wrong key")
				}
				return nil
			},
			Header:           "Api-Key",
			SameCredentialOK: true,
			Secrets:          []string{key},
		}
	})
}

func ExampleRunSigner() {
	// See TestKeySigner above; go test runs it.
}
