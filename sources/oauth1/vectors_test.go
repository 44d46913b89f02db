package oauth1

import (
	"bytes"
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/clock"
)

// The golden file. Unknown names in it fail the test.
type vectorFile struct {
	Format  int               `json:"format"`
	Title   string            `json:"title"`
	HowMade string            `json:"how_made"`
	Reading map[string]string `json:"reading"`
	Keys    map[string]struct {
		Warning string `json:"warning"`
		Private string `json:"private_pkcs8_pem"`
		Public  string `json:"public_spki_pem"`
	} `json:"keys"`
	BaseStringURIs []struct {
		Method        string `json:"method"`
		RequestLine   string `json:"request_line"`
		Scheme        string `json:"scheme"`
		HostHeader    string `json:"host_header"`
		BaseStringURI string `json:"base_string_uri"`
		Source        string `json:"source"`
	} `json:"base_string_uri_examples"`
	Vectors  []vector `json:"vectors"`
	Negative []struct {
		Vector string `json:"vector"`
		What   string `json:"what"`
		Change struct {
			Method          *string            `json:"method"`
			URL             *string            `json:"url"`
			Body            *string            `json:"body"`
			SignatureMethod *string            `json:"signature_method"`
			Credentials     *vectorCredentials `json:"credentials"`
		} `json:"change"`
		Signature  string `json:"signature"`
		MustVerify bool   `json:"must_verify"`
	} `json:"negative"`
}

type vectorCredentials struct {
	ClientKey    string  `json:"client_key"`
	ClientSecret string  `json:"client_secret"`
	Token        *string `json:"token"`
	TokenSecret  string  `json:"token_secret"`
	Callback     *string `json:"callback"`
	Verifier     *string `json:"verifier"`
	RSAKey       string  `json:"rsa_key"`
}

type vector struct {
	ID              string            `json:"id"`
	Source          string            `json:"source"`
	Tags            []string          `json:"tags"`
	Notes           string            `json:"notes"`
	Method          string            `json:"method"`
	URL             string            `json:"url"`
	Headers         map[string]string `json:"headers"`
	Body            *string           `json:"body"`
	Credentials     vectorCredentials `json:"credentials"`
	SignatureMethod string            `json:"signature_method"`
	Nonce           string            `json:"nonce"`
	Timestamp       string            `json:"timestamp"`
	Version         *string           `json:"version"`
	Realm           *string           `json:"realm"`
	Transmission    string            `json:"transmission"`
	Expect          struct {
		BaseStringURI              *string           `json:"base_string_uri"`
		NormalizedParams           *string           `json:"normalized_params"`
		BaseString                 *string           `json:"base_string"`
		SigningKey                 *string           `json:"signing_key"`
		Signature                  string            `json:"signature"`
		OAuthParams                map[string]string `json:"oauth_params"`
		Authorization              *string           `json:"authorization"`
		SignedBody                 *string           `json:"signed_body"`
		PublishedSignature         string            `json:"published_signature"`
		PublishedSignatureIsCorect *bool             `json:"published_signature_is_correct"`
	} `json:"expect"`
}

func readVectors(t *testing.T) *vectorFile {
	t.Helper()
	data, err := os.ReadFile("testdata/oauth1.json")
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

var methodNames = map[string]Method{
	"HMAC-SHA1": HMACSHA1, "HMAC-SHA256": HMACSHA256, "HMAC-SHA512": HMACSHA512,
	"RSA-SHA1": RSASHA1, "RSA-SHA256": RSASHA256, "PLAINTEXT": Plaintext,
}

// signer makes the Signer that a vector is about, and the parameters of the flow that it sends too.
func (f *vectorFile) signer(t *testing.T, v *vector) (*Signer, []param) {
	t.Helper()
	method, ok := methodNames[v.SignatureMethod]
	if !ok {
		t.Fatalf("unknown method %s", v.SignatureMethod)
	}
	at, err := strconv.ParseInt(v.Timestamp, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	c := v.Credentials
	s := &Signer{
		ClientKey: c.ClientKey, ClientSecret: renew.NewSecret(c.ClientSecret), TokenSecret: renew.NewSecret(c.TokenSecret),
		Method: method, OmitVersion: v.Version == nil,
		Nonce: func() string { return v.Nonce },
		Clock: clock.NewFake(time.Unix(at, 0)),
	}
	if c.Token != nil {
		s.Token = renew.NewSecret(*c.Token)
	}
	if c.RSAKey != "" {
		if s.PrivateKey, err = ParseKey(renew.NewSecret(f.Keys[c.RSAKey].Private)); err != nil {
			t.Fatal(err)
		}
	}
	if v.Realm != nil {
		s.Realm = *v.Realm
	}
	if _, ok := v.Expect.OAuthParams["oauth_body_hash"]; ok {
		s.BodyHash = BodyHashSHA1
	}
	switch v.Transmission {
	case "header":
	case "body":
		s.Placement = Body
	default:
		t.Fatalf("unknown transmission %q", v.Transmission)
	}
	if err := s.Validate(); err != nil {
		t.Fatal(err)
	}
	var extra []param
	if c.Callback != nil {
		extra = append(extra, param{"oauth_callback", escape(*c.Callback)})
	}
	if c.Verifier != nil {
		extra = append(extra, param{"oauth_verifier", escape(*c.Verifier)})
	}
	return s, extra
}

func (v *vector) request(t *testing.T) *http.Request {
	t.Helper()
	var body io.Reader
	if v.Body != nil {
		body = strings.NewReader(*v.Body)
	}
	req, err := http.NewRequestWithContext(context.Background(), v.Method, v.URL, body)
	if err != nil {
		t.Fatal(err)
	}
	for k, val := range v.Headers {
		if k == "Host" {
			req.Host = val
		} else {
			req.Header.Set(k, val)
		}
	}
	return req
}

// base returns the base string of a request as Authenticate makes it.
func (s *Signer) baseOf(t *testing.T, req *http.Request, extra []param) string {
	t.Helper()
	e, err := s.readEntity(req)
	if err != nil {
		t.Fatal(err)
	}
	m := message{method: req.Method, host: req.Host, url: req.URL}
	base, err := m.base(s.protocol(nil, Credentials{Token: s.Token, Secret: s.TokenSecret}, e.hash, extra), e.form)
	if err != nil {
		t.Fatal(err)
	}
	return string(base)
}

// readHeader returns the parameters of an Authorization header, and its realm.
func readHeader(t *testing.T, text string) (map[string]string, *string) {
	t.Helper()
	rest, ok := strings.CutPrefix(text, "OAuth ")
	if !ok {
		t.Fatalf("no OAuth scheme: %q", text)
	}
	params := map[string]string{}
	var realm *string
	for _, field := range strings.Split(rest, ", ") {
		k, v, _ := strings.Cut(field, "=")
		v = strings.Trim(v, `"`)
		if k == "realm" {
			realm = &v
			continue
		}
		decoded, err := url.PathUnescape(v)
		if err != nil {
			t.Fatal(err)
		}
		if _, twice := params[k]; twice {
			t.Errorf("%s stands twice in the header", k)
		}
		params[k] = decoded
	}
	return params, realm
}

func TestVectors(t *testing.T) {
	f := readVectors(t)
	ran := 0
	for _, v := range f.Vectors {
		t.Run(v.ID, func(t *testing.T) {
			ran++
			s, extra := f.signer(t, &v)
			req := v.request(t)
			if want := v.Expect.BaseString; want != nil {
				base := s.baseOf(t, req, extra)
				if base != *want {
					t.Errorf("base string\n%s\nwant\n%s", base, *want)
				}
				parts := strings.Split(base, "&")
				if uri, _ := url.PathUnescape(parts[1]); uri != *v.Expect.BaseStringURI {
					t.Errorf("base string URI %s, want %s", uri, *v.Expect.BaseStringURI)
				}
				if params, _ := url.PathUnescape(parts[2]); params != *v.Expect.NormalizedParams {
					t.Errorf("parameters %s, want %s", params, *v.Expect.NormalizedParams)
				}
			}
			if want := v.Expect.SigningKey; want != nil {
				if key, err := s.secrets(t.Context(), Credentials{Secret: s.TokenSecret}); err != nil || string(key) != *want {
					t.Errorf("signing key %q, %v; want %q", key, err, *want)
				}
			}
			var err error
			if extra == nil {
				_, err = s.Authenticate(req)
			} else {
				err = s.authenticate(req, Credentials{Token: s.Token, Secret: s.TokenSecret}, extra...)
			}
			if err != nil {
				t.Fatal(err)
			}
			var sent map[string]string
			if want := v.Expect.Authorization; want != nil {
				got := req.Header.Get("Authorization")
				params, realm := readHeader(t, got)
				if (realm == nil) != (v.Realm == nil) || realm != nil && *realm != *v.Realm {
					t.Errorf("realm %v, want %v", realm, v.Realm)
				}
				wanted, _ := readHeader(t, *want)
				if !maps.Equal(params, wanted) {
					t.Errorf("header %s, want %s", got, *want)
				}
				if strings.HasPrefix(v.ID, "g") && got != *want { // the order of python-oauthlib is ours too
					t.Errorf("header\n%s, want\n%s", got, *want)
				}
				sent = params
			} else {
				body, err := io.ReadAll(req.Body)
				if err != nil || string(body) != *v.Expect.SignedBody || req.ContentLength != int64(len(body)) {
					t.Errorf("body %q of length %d, %v; want %q", body, req.ContentLength, err, *v.Expect.SignedBody)
				}
				if a := req.Header.Get("Authorization"); a != "" {
					t.Errorf("Authorization is %q, want none", a)
				}
				sent = map[string]string{}
				pairs, _ := peerParams(string(body))
				for _, p := range pairs {
					if strings.HasPrefix(p[0], "oauth_") {
						sent[p[0]] = p[1]
					}
				}
			}
			if !maps.Equal(sent, v.Expect.OAuthParams) {
				t.Errorf("parameters %v, want %v", sent, v.Expect.OAuthParams)
			}
			if got := sent["oauth_signature"]; got != v.Expect.Signature {
				t.Errorf("signature %s, want %s", got, v.Expect.Signature)
			}
			if right := v.Expect.PublishedSignatureIsCorect; right != nil && *right != (sent["oauth_signature"] == v.Expect.PublishedSignature) {
				t.Errorf("signature %s, published %s, which is right: %t", sent["oauth_signature"], v.Expect.PublishedSignature, *right)
			}
			if !f.peerVerifies(t, &v, v.Expect.Signature) {
				t.Error("the tests' own verifier refuses the vector")
			}
		})
	}
	t.Logf("vectors vectors: %d cases", ran)
	if ran != len(f.Vectors) || ran == 0 {
		t.Errorf("%d cases ran of %d", ran, len(f.Vectors))
	}
}

// peerVerifies asks the server's side of these tests about a vector.
func (f *vectorFile) peerVerifies(t *testing.T, v *vector, signature string) bool {
	t.Helper()
	req := v.request(t)
	params, err := peerParams(req.URL.RawQuery)
	if err != nil {
		t.Fatal(err)
	}
	form := strings.HasPrefix(req.Header.Get("Content-Type"), "application/x-www-form-urlencoded")
	if v.Body != nil && form {
		more, err := peerParams(*v.Body)
		if err != nil {
			t.Fatal(err)
		}
		params = append(params, more...)
	}
	for k, val := range v.Expect.OAuthParams {
		if k == "oauth_signature_method" {
			val = v.SignatureMethod
		}
		if h, ok := v.Expect.OAuthParams["oauth_body_hash"]; ok && !strings.Contains(peerHashes(*v.Body), h) {
			return false
		}
		params = append(params, [2]string{k, val})
	}
	var key *rsa.PublicKey
	if name := v.Credentials.RSAKey; name != "" {
		block, _ := pem.Decode([]byte(f.Keys[name].Public))
		parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		key = parsed.(*rsa.PublicKey)
	}
	base := peerBase(v.Method, req.URL.Scheme, req.Host, req.URL.RequestURI(), params)
	return peerVerify(v.SignatureMethod, base, v.Credentials.ClientSecret, v.Credentials.TokenSecret, key, signature)
}

// unlisted are two vectors that the negative list is about and the list of vectors leaves out. They
// are told in full by their signatures, which TestNegativeVectors computes before it changes anything.
func unlisted() []vector {
	token, form := "tok", "pairing_phrase=awkward+turtle&user_name=jdoe%40example.test"
	one := "1.0"
	list := []vector{
		{
			ID: "g03-form-post", Method: "POST", URL: "https://api.example.test/v1/pairings/create", Body: &form,
			Headers:         map[string]string{"Content-Type": "application/x-www-form-urlencoded"},
			Credentials:     vectorCredentials{ClientKey: "test-key", ClientSecret: "test-secret"},
			SignatureMethod: "HMAC-SHA1", Nonce: "n-b6ac7e11669bdf74",
		},
		{
			ID: "g24-hmac-sha256-get", Method: "GET", URL: "https://api.example.test/h?x=1",
			Credentials:     vectorCredentials{ClientKey: "test-key", ClientSecret: "test-secret", Token: &token, TokenSecret: "tok-secret"},
			SignatureMethod: "HMAC-SHA256", Nonce: "n-951bb2c1d38cc209",
		},
	}
	for i := range list {
		v := &list[i]
		v.Timestamp, v.Version, v.Transmission = "1400000000", &one, "header"
		v.Expect.OAuthParams = map[string]string{
			"oauth_consumer_key": "test-key", "oauth_nonce": v.Nonce, "oauth_timestamp": v.Timestamp,
			"oauth_version": one, "oauth_signature_method": v.SignatureMethod,
		}
		if v.Credentials.Token != nil {
			v.Expect.OAuthParams["oauth_token"] = *v.Credentials.Token
		}
	}
	return list
}

func TestNegativeVectors(t *testing.T) {
	f := readVectors(t)
	byID := map[string]vector{}
	for _, v := range append(f.Vectors, unlisted()...) {
		byID[v.ID] = v
	}
	ran := 0
	for _, n := range f.Negative {
		t.Run(n.Vector+" "+n.What, func(t *testing.T) {
			ran++
			v, ok := byID[n.Vector]
			if !ok {
				t.Fatalf("no vector %s", n.Vector)
			}
			s, _ := f.signer(t, &v)
			signed := func(v *vector, s *Signer) string {
				req := v.request(t)
				if _, err := s.Authenticate(req); err != nil {
					t.Fatal(err)
				}
				params, _ := readHeader(t, req.Header.Get("Authorization"))
				return params["oauth_signature"]
			}
			if got := signed(&v, s); got != n.Signature || !f.peerVerifies(t, &v, n.Signature) {
				t.Fatalf("before the change: signature %s, want %s, and that it verifies", got, n.Signature)
			}
			for to, from := range map[*string]*string{&v.Method: n.Change.Method, &v.URL: n.Change.URL, &v.SignatureMethod: n.Change.SignatureMethod} {
				if from != nil {
					*to = *from
				}
			}
			if n.Change.Body != nil {
				v.Body = n.Change.Body
			}
			if n.Change.Credentials != nil {
				v.Credentials = *n.Change.Credentials
			}
			if f.peerVerifies(t, &v, n.Signature) != n.MustVerify {
				t.Errorf("the signature verifies: %t, want %t", !n.MustVerify, n.MustVerify)
			}
			changed, _ := f.signer(t, &v)
			if got := signed(&v, changed); (got == n.Signature) != n.MustVerify {
				t.Errorf("the changed request has the signature %s, as before", got)
			}
		})
	}
	t.Logf("vectors negative: %d cases", ran)
	if ran != len(f.Negative) || ran == 0 {
		t.Errorf("%d cases ran of %d", ran, len(f.Negative))
	}
}

func TestBaseStringURIVectors(t *testing.T) {
	f := readVectors(t)
	ran := 0
	for _, e := range f.BaseStringURIs {
		t.Run(e.Source+" "+e.RequestLine, func(t *testing.T) {
			ran++
			u, err := url.ParseRequestURI(e.RequestLine)
			if err != nil {
				t.Fatal(err)
			}
			u.Scheme, u.Host = e.Scheme, "10.0.0.1"
			got, err := appendBaseURI(nil, e.HostHeader, u)
			if decoded, _ := url.PathUnescape(string(got)); err != nil || decoded != e.BaseStringURI {
				t.Errorf("%s, %v; want %s", decoded, err, e.BaseStringURI)
			}
		})
	}
	t.Logf("vectors base_string_uri_examples: %d cases", ran)
	if ran != len(f.BaseStringURIs) || ran == 0 {
		t.Errorf("%d cases ran of %d", ran, len(f.BaseStringURIs))
	}
}

// The file's key is the one that ParseKey reads in its other form too.
func TestParseKey(t *testing.T) {
	f := readVectors(t)
	text := f.Keys["rsa_test_only"].Private
	block, _ := pem.Decode([]byte(text))
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	pkcs1 := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(parsed.(*rsa.PrivateKey))})
	k, err := ParseKey(renew.NewSecret(string(pkcs1)))
	if err != nil || !parsed.(*rsa.PrivateKey).Equal(k.signer()) {
		t.Errorf("PKCS #1: %v", err)
	}
}

func peerHashes(body string) string {
	return peerSHA1(body) + " " + peerSHA256(body)
}
