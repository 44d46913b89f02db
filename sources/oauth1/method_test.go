package oauth1

import (
	"net/http"
	"testing"

	"github.com/seed-f29168f7/renew"
)

// A server that knows all methods verifies each by its name.
func TestEveryMethodIsVerified(t *testing.T) {
	key, err := testKey()
	if err != nil {
		t.Fatal(err)
	}
	names := []string{"HMAC-SHA1", "HMAC-SHA256", "HMAC-SHA512", "RSA-SHA1", "RSA-SHA256", "RSA-SHA512", "PLAINTEXT"}
	if len(names) != len(methods) {
		t.Fatalf("methods = %d, want %d", len(methods), len(names))
	}
	for i, name := range names {
		p := newProvider()
		p.rsa, p.scheme = &key.PublicKey, "https"
		s := testSigner(p)
		if s.Method = Method(i); s.Method.rsa() {
			s.ClientSecret, s.PrivateKey = renew.Secret{}, NewKey(key)
		}
		req := get(t, "https://a.example/things?a=b")
		if _, err := s.Authenticate(req); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		req.RequestURI, req.Host, req.Body = req.URL.RequestURI(), req.URL.Host, http.NoBody
		if err := p.verify(req); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := p.last["oauth_signature_method"]; got != name || s.Method.String() != name {
			t.Errorf("oauth_signature_method = %q, String = %q, want %q", got, s.Method, name)
		}
	}
}
