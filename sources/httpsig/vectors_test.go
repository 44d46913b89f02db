package httpsig

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/dunglas/httpsfv"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/clock"
)

// The golden file. Unknown names in it fail the test.
type vectorFile struct {
	About string `json:"about"`
	Keys  map[string]struct {
		Source string `json:"source"`
		JWK    *struct {
			Kty string `json:"kty"`
			Crv string `json:"crv"`
			N   string `json:"n"`
			E   string `json:"e"`
			D   string `json:"d"`
			P   string `json:"p"`
			Q   string `json:"q"`
			DP  string `json:"dp"`
			DQ  string `json:"dq"`
			QI  string `json:"qi"`
			X   string `json:"x"`
			Y   string `json:"y"`
		} `json:"jwk"`
		Base64 string `json:"base64"`
	} `json:"keys"`
	Messages map[string]vectorMessage `json:"messages"`
	Cases    []struct {
		Name           string          `json:"name"`
		Source         string          `json:"source"`
		Algorithm      Algorithm       `json:"algorithm"`
		KeyID          string          `json:"keyid"`
		Deterministic  bool            `json:"deterministic"`
		Message        string          `json:"message"`
		MessageInline  *vectorMessage  `json:"message_inline"`
		Label          string          `json:"label"`
		SignatureInput string          `json:"signature_input"`
		SignatureBase  string          `json:"signature_base"`
		Signature      string          `json:"signature"`
		StillValid     []vectorMessage `json:"still_valid_for"`
		NotValid       []vectorMessage `json:"not_valid_for"`
	} `json:"cases"`
	MustRefuse []struct {
		Why            string      `json:"why"`
		SignatureInput string      `json:"signature_input"`
		Headers        [][2]string `json:"headers"`
	} `json:"must_refuse"`
	ContentDigest []struct {
		Body  string `json:"body"`
		Value string `json:"value"`
	} `json:"content_digest"`
}

type vectorMessage struct {
	Why     string      `json:"why"`
	Method  string      `json:"method"`
	URL     string      `json:"url"`
	Status  int         `json:"status"`
	Headers [][2]string `json:"headers"`
	Body    string      `json:"body"`
}

func readVectors(t testing.TB) *vectorFile {
	t.Helper()
	data, err := os.ReadFile("testdata/http-message-signatures.json")
	if err != nil {
		t.Fatal(err)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	f := new(vectorFile)
	if err := dec.Decode(f); err != nil {
		t.Fatal(err)
	}
	return f
}

func number(s string) *big.Int {
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return new(big.Int).SetBytes(b)
}

// private returns a key's private half, or its secret.
func (f *vectorFile) private(t testing.TB, id string) (crypto.Signer, renew.Secret) {
	t.Helper()
	k, ok := f.Keys[id]
	if !ok {
		t.Fatalf("no key %q", id)
	}
	if k.JWK == nil {
		secret, err := base64.StdEncoding.DecodeString(k.Base64)
		if err != nil {
			t.Fatal(err)
		}
		return nil, renew.NewSecret(string(secret))
	}
	switch k.JWK.Kty + k.JWK.Crv {
	case "RSA":
		key := &rsa.PrivateKey{PublicKey: rsa.PublicKey{N: number(k.JWK.N), E: int(number(k.JWK.E).Int64())}, D: number(k.JWK.D), Primes: []*big.Int{number(k.JWK.P), number(k.JWK.Q)}}
		if err := key.Validate(); err != nil {
			t.Fatalf("%s: %v", id, err)
		}
		return key, renew.Secret{}
	case "ECP-256":
		key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), number(k.JWK.D).FillBytes(make([]byte, 32)))
		if err != nil {
			t.Fatal(err)
		}
		return key, renew.Secret{}
	case "OKPEd25519":
		key := ed25519.NewKeyFromSeed(number(k.JWK.D).FillBytes(make([]byte, 32)))
		return key, renew.Secret{}
	}
	t.Fatalf("key %q is of an unknown kind", id)
	return nil, renew.Secret{}
}

func (f *vectorFile) verifyKey(t testing.TB, id string, a Algorithm) VerifyKey {
	t.Helper()
	private, secret := f.private(t, id)
	if private == nil {
		return NewVerifySecret(secret)
	}
	key, err := NewVerifyKey(a, private.Public())
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func headerOf(fields [][2]string) http.Header {
	h := http.Header{}
	for _, f := range fields {
		if f[0] != "Host" {
			h.Add(f[0], f[1])
		}
	}
	return h
}

// request makes the request as a server has it.
func (m vectorMessage) request(t testing.TB) *http.Request {
	t.Helper()
	u, err := url.Parse(m.URL)
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest(m.Method, "/", strings.NewReader(m.Body))
	r.URL, r.Host, r.RequestURI, r.Header = u, u.Host, "", headerOf(m.Headers)
	return r
}

func (m vectorMessage) response() *http.Response {
	return &http.Response{StatusCode: m.Status, Header: headerOf(m.Headers), Body: io.NopCloser(strings.NewReader(m.Body))}
}

// verify judges a message with one signature at the time of its creation.
func (m vectorMessage) verify(t testing.TB, v *Verifier, input, signature string) (*Verified, error) {
	t.Helper()
	if m.Status != 0 {
		resp := m.response()
		resp.Header.Set("Signature-Input", input)
		resp.Header.Set("Signature", signature)
		return v.VerifyResponse(resp)
	}
	r := m.request(t)
	r.Header.Set("Signature-Input", input)
	r.Header.Set("Signature", signature)
	got, err := v.VerifyRequest(r)
	if body, rerr := io.ReadAll(r.Body); rerr != nil || string(body) != m.Body {
		t.Errorf("after the verification the body reads %q, %v", body, rerr)
	}
	return got, err
}

func (m vectorMessage) message(t testing.TB) *message {
	if m.Status != 0 {
		return answered(m.response())
	}
	return received(m.request(t), "https")
}

func TestVectors(t *testing.T) {
	f := readVectors(t)
	ran, more := 0, 0
	for _, c := range f.Cases {
		t.Run(c.Name, func(t *testing.T) {
			m, ok := f.Messages[c.Message]
			if c.MessageInline != nil {
				m, ok = *c.MessageInline, true
			}
			if !ok {
				t.Fatalf("no message %q", c.Message)
			}
			dict, err := httpsfv.UnmarshalDictionary([]string{c.SignatureInput})
			if err != nil {
				t.Fatal(err)
			}
			member, _ := dict.Get(c.Label)
			list := member.(httpsfv.InnerList)
			covered, err := componentsOf(list.Items)
			if err != nil {
				t.Fatal(err)
			}
			text, params, err := base(m.message(t), covered, list.Params)
			if err != nil || string(text) != c.SignatureBase || c.Label+"="+params != c.SignatureInput {
				t.Errorf("signature base\n%s\nwant\n%s\n(parameters %s, %v)", text, c.SignatureBase, params, err)
			}
			created, _ := list.Params.Get("created")
			v := &Verifier{
				Keys: map[string]VerifyKey{c.KeyID: f.verifyKey(t, c.KeyID, c.Algorithm)}, Required: []string{},
				Scheme: "https", Label: c.Label, Clock: clock.NewFake(time.Unix(created.(int64), 0)),
			}
			got, err := m.verify(t, v, c.SignatureInput, c.Signature)
			if err != nil || got.KeyID != c.KeyID || got.Algorithm != c.Algorithm || len(got.Components) != len(list.Items) {
				t.Errorf("verification: %+v, %v", got, err)
			}
			// Another signature of the same, which for some algorithms is the same signature.
			private, secret := f.private(t, c.KeyID)
			s := &Signer{KeyID: c.KeyID, Algorithm: c.Algorithm, Secret: secret}
			if private != nil {
				s.PrivateKey = NewKey(private)
			}
			if err := s.Validate(); err != nil {
				t.Fatal(err)
			}
			sum, err := s.sign(t.Context(), text)
			if err != nil {
				t.Fatal(err)
			}
			ours := c.Label + "=:" + base64.StdEncoding.EncodeToString(sum) + ":"
			if (ours == c.Signature) != c.Deterministic {
				t.Errorf("our signature %s, want %s: deterministic is %t", ours, c.Signature, c.Deterministic)
			}
			again := func(m vectorMessage, signature string) error {
				fresh := &Verifier{Keys: v.Keys, Required: v.Required, Scheme: "https", Clock: v.Clock}
				_, err := m.verify(t, fresh, c.SignatureInput, signature)
				return err
			}
			if err := again(m, ours); err != nil {
				t.Errorf("our signature: %v", err)
			}
			for _, other := range c.StillValid {
				if err := again(other, c.Signature); err != nil {
					t.Errorf("%s: %v", other.Why, err)
				}
				more++
			}
			for _, other := range c.NotValid {
				if err := again(other, c.Signature); err == nil {
					t.Errorf("taken: %s", other.Why)
				}
				more++
			}
			ran++
		})
	}
	if ran != len(f.Cases) || ran == 0 {
		t.Errorf("%d of %d cases ran", ran, len(f.Cases))
	}
	t.Logf("vectors cases: %d cases, with %d messages that differ", ran, more)
}

// What each message that must be refused is refused for.
func TestVectorsMustRefuse(t *testing.T) {
	f := readVectors(t)
	want := map[string]string{
		"the same component twice":            "the signature covers a component twice",
		"upper-case field name":               "a component has a name that is not a field in lower case, nor a derived one",
		"covered field is not in the message": "the message does not have a covered field",
		"@query-param without name":           "@query-param has no name",
		"@status in a request":                "a component is derived in no way that RFC 9421 knows, or not from this kind of message",
		"field value with a line break":       "a covered field has a line break, a control character or something else than ASCII",
	}
	ran := 0
	for _, c := range f.MustRefuse {
		reason, ok := want[c.Why]
		if !ok {
			t.Errorf("no outcome is written down for %q", c.Why)
			continue
		}
		m := vectorMessage{Method: "GET", URL: "https://example.com/foo?a=b", Headers: append([][2]string{{"Host", "example.com"}, {"Content-Type", "text/plain"}}, c.Headers...)}
		dict, err := httpsfv.UnmarshalDictionary([]string{c.SignatureInput})
		if err != nil {
			t.Fatal(err)
		}
		member, _ := dict.Get("sig")
		list := member.(httpsfv.InnerList)
		covered, err := componentsOf(list.Items)
		if err == nil {
			_, _, err = base(m.message(t), covered, list.Params)
		}
		if err == nil || err.Error() != reason {
			t.Errorf("%s: %v, want %s", c.Why, err, reason)
		}
		// And as a message that arrives. Its key is one that a verifier would not refuse.
		v := &Verifier{Keys: map[string]VerifyKey{"k": NewVerifySecret(renew.NewSecret("s"))}, Required: []string{}, Clock: clock.NewFake(time.Unix(1, 0))}
		_, err = m.verify(t, v, c.SignatureInput+`;keyid="k"`, "sig=:AAAA:")
		if e, ok := errors.AsType[*VerifyError](err); !ok || e.Reason != reason || e.Status != http.StatusUnauthorized {
			t.Errorf("%s, arriving: %v, want %s", c.Why, err, reason)
		}
		ran++
	}
	if ran != len(f.MustRefuse) || ran != len(want) {
		t.Errorf("%d of %d cases ran, and %d outcomes are written down", ran, len(f.MustRefuse), len(want))
	}
	t.Logf("vectors must_refuse: %d cases", ran)
}

func TestVectorsContentDigest(t *testing.T) {
	f := readVectors(t)
	ran := 0
	for _, c := range f.ContentDigest {
		algorithm, _, _ := strings.Cut(c.Value, "=")
		if got := ContentDigest(Digest(algorithm), []byte(c.Body)); got != c.Value {
			t.Errorf("digest of %q: %s, want %s", c.Body, got, c.Value)
		}
		if err := CheckContentDigest([]string{c.Value}, []byte(c.Body)); err != nil {
			t.Errorf("%q: %v", c.Body, err)
		}
		if err := CheckContentDigest([]string{c.Value}, []byte(c.Body+" ")); err == nil {
			t.Errorf("%q with a space more has the same digest", c.Body)
		}
		ran++
	}
	if ran != len(f.ContentDigest) || ran == 0 {
		t.Errorf("%d of %d cases ran", ran, len(f.ContentDigest))
	}
	t.Logf("vectors content_digest: %d cases", ran)
}
