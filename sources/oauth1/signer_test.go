package oauth1

import (
	"cmp"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/budget"
	"github.com/seed-f29168f7/renew/clock"
	"github.com/seed-f29168f7/renew/renewtest"
)

func secret(text string) renew.Secret { return renew.NewSecret(text) }

func get(t *testing.T, link string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, link, nil)
	if err != nil {
		t.Fatal(err)
	}
	return req
}

// invalid checks that an error is of a request that cannot be signed, and what it says.
func invalid(t *testing.T, err error, want string) {
	t.Helper()
	e, ok := errors.AsType[*renew.IssueError](err)
	if !ok || e.Kind != renew.Invalid || !e.Permanent || !e.Unsent || e.Source != "oauth1" || !strings.Contains(err.Error(), want) {
		t.Errorf("error %#v %v, want one that says Invalid and %q", err, err, want)
	}
}

func TestValidate(t *testing.T) {
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := testKey()
	if err != nil {
		t.Fatal(err)
	}
	fromFunc := func(context.Context) (renew.Secret, error) { return secret("s"), nil }
	tokenFunc := func(context.Context) (Credentials, error) { return Credentials{}, nil }
	for field, set := range map[string]func(s *Signer){
		"":                     func(*Signer) {},
		"Signer.ClientKey":     func(s *Signer) { s.ClientKey = "" },
		"Signer.Method":        func(s *Signer) { s.Method = Plaintext + 1 },
		"Signer.Placement":     func(s *Signer) { s.Placement = Body + 1 },
		"Signer.BodyHash":      func(s *Signer) { s.BodyHash = BodyHashSHA256 + 1 },
		"Signer.BodyHash ":     func(s *Signer) { s.BodyHash, s.Method = BodyHashSHA1, Plaintext },
		"Signer.ClientSecret":  func(s *Signer) { s.ClientSecret = renew.Secret{} },
		"Signer.ClientSecret ": func(s *Signer) { s.ClientSecretFunc = fromFunc },
		"Signer.ClientSecret  ": func(s *Signer) {
			s.Method, s.PrivateKey = RSASHA1, NewKey(key)
		},
		"Signer.PrivateKey":    func(s *Signer) { s.PrivateKey = NewKey(key) },
		"Signer.PrivateKey ":   func(s *Signer) { s.Method, s.ClientSecret = RSASHA256, renew.Secret{} },
		"Signer.PrivateKey  ":  func(s *Signer) { s.Method, s.ClientSecret, s.PrivateKey = RSASHA256, renew.Secret{}, NewKey(curve) },
		"Signer.PrivateKey   ": func(s *Signer) { s.Method, s.ClientSecret, s.PrivateKey = RSASHA256, renew.Secret{}, NewKey(nil) },
		"Signer.ClientSecret   ": func(s *Signer) {
			s.Method, s.ClientSecret, s.PrivateKey, s.ClientSecretFunc = RSASHA1, renew.Secret{}, NewKey(key), fromFunc
		},
		"Signer.PrivateKey     ": func(s *Signer) {
			s.Method, s.ClientSecret, s.PrivateKey = RSASHA1, renew.Secret{}, NewKey((*rsa.PrivateKey)(nil))
		},
		"Signer.PrivateKey      ": func(s *Signer) {
			s.Method, s.ClientSecret, s.PrivateKey = RSASHA1, renew.Secret{}, NewKey(&rsa.PrivateKey{})
		},
		"Signer.TokenFunc":   func(s *Signer) { s.Token, s.TokenFunc = secret("t"), tokenFunc },
		"Signer.TokenFunc ":  func(s *Signer) { s.TokenSecret, s.TokenFunc = secret("t"), tokenFunc },
		"Signer.TokenSecret": func(s *Signer) { s.TokenSecret = secret("t") },
		"Signer.Realm":       func(s *Signer) { s.Realm, s.Placement = "r", Query },
		"Signer.Realm ":      func(s *Signer) { s.Realm = "a\r\nb" },
		"Signer.Realm  ":     func(s *Signer) { s.Realm = "b\u00fccher" },
		"Signer.Realm   ":    func(s *Signer) { s.Realm = "a\x7f" },
		"Signer.Budget":      func(s *Signer) { s.Budget = &budget.Budget{Units: -1} },
	} {
		s := &Signer{ClientKey: "k", ClientSecret: secret("s")}
		set(s)
		err := s.Validate()
		e, _ := errors.AsType[*renew.ConfigError](err)
		if want := strings.TrimSpace(field); (err == nil) != (want == "") || want != "" && (e == nil || e.Field != want) {
			t.Errorf("Validate = %v, want field %q", err, want)
		}
		if want := strings.TrimSpace(field); want != "" {
			if _, err := s.Authenticate(get(t, "https://a.example/")); err == nil {
				t.Errorf("%s: Authenticate signs with a Signer that Validate refuses", want)
			}
			if _, err := s.SignURL("GET", &url.URL{Scheme: "https", Host: "a.example"}); err == nil {
				t.Errorf("%s: SignURL signs with a Signer that Validate refuses", want)
			}
		}
	}
	if (*Signer)(nil).Validate() == nil {
		t.Error("a nil Signer is valid")
	}
}

func TestParseKeyErrors(t *testing.T) {
	for text, want := range map[string]string{
		"no key": "is not PEM",
		"-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n": "cannot be read",
		"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n":       "without a private key",
		"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n":       "cannot be read",
	} {
		if _, err := ParseKey(secret(text)); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "AAAA") {
			t.Errorf("ParseKey = %v, want %q", err, want)
		}
	}
}

func TestParseKeyOfAnotherKind(t *testing.T) {
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(curve)
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	if _, err := ParseKey(secret(string(text))); err == nil || !strings.Contains(err.Error(), "is not an RSA key") {
		t.Errorf("ParseKey = %v", err)
	}
}

// brokenKey is a key on a device that is gone.
type brokenKey struct{ crypto.Signer }

func (brokenKey) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return nil, errors.New("the device is gone")
}

func TestKeyDoesNotSign(t *testing.T) {
	key, err := testKey()
	if err != nil {
		t.Fatal(err)
	}
	s := &Signer{ClientKey: "k", Method: RSASHA256, PrivateKey: NewKey(brokenKey{key})}
	req := get(t, "https://a.example/")
	_, err = s.Authenticate(req)
	_, err2 := s.SignURL("GET", req.URL)
	for _, err := range []error{err, err2} {
		if e, ok := errors.AsType[*renew.IssueError](err); !ok || e.Kind != renew.Transient || !e.Unsent || !strings.Contains(err.Error(), "the device is gone") {
			t.Errorf("error %v, want a transient one", err)
		}
	}
	if req.Header.Get("Authorization") != "" {
		t.Error("a header was set all the same")
	}
}

// Called without a Transport, on a request that has no header at all.
func TestNilHeader(t *testing.T) {
	for _, place := range []Placement{Header, Query, Body} {
		s := testSigner(newProvider())
		s.Placement = place
		req := (&http.Request{Method: "POST", URL: &url.URL{Scheme: "https", Host: "a.example"}}).WithContext(t.Context())
		if _, err := s.Authenticate(req); err != nil {
			t.Errorf("placement %d: %v", place, err)
		}
	}
}

// The nonce has 130 bits, in a form that strict servers take, and is another one each time.
func TestNonce(t *testing.T) {
	form := regexp.MustCompile(`oauth_nonce="([A-Z2-7]{26})"`)
	seen := map[string]bool{}
	s := testSigner(newProvider())
	for range 100 {
		req := get(t, "https://a.example/")
		if _, err := s.Authenticate(req); err != nil {
			t.Fatal(err)
		}
		m := form.FindStringSubmatch(req.Header.Get("Authorization"))
		if m == nil || seen[m[1]] {
			t.Fatalf("nonce in %s: want a new one of 26 letters and digits", req.Header.Get("Authorization"))
		}
		seen[m[1]] = true
	}
}

func TestTwoLeggedHasNoToken(t *testing.T) {
	s := &Signer{ClientKey: "k", ClientSecret: secret("s")}
	req := get(t, "https://a.example/")
	if _, err := s.Authenticate(req); err != nil || strings.Contains(req.Header.Get("Authorization"), "oauth_token") {
		t.Errorf("header %s, %v; want no oauth_token", req.Header.Get("Authorization"), err)
	}
}

func TestRealmIsQuoted(t *testing.T) {
	s := &Signer{ClientKey: "k", ClientSecret: secret("s"), Realm: `a "b" \c`}
	req := get(t, "https://a.example/")
	if _, err := s.Authenticate(req); err != nil || !strings.HasPrefix(req.Header.Get("Authorization"), `OAuth realm="a \"b\" \\c", oauth_nonce=`) {
		t.Errorf("header %s, %v", req.Header.Get("Authorization"), err)
	}
}

// R29: what a signature covers and cannot be read twice is known before anything is sent.
func TestR29_BodyWithoutGetBody(t *testing.T) {
	for _, tt := range []struct {
		name, contentType string
		set               func(s *Signer)
		fails             bool
	}{
		{"form", "application/x-www-form-urlencoded", func(*Signer) {}, true},
		{"form in capitals", "Application/X-WWW-Form-URLEncoded ; charset=UTF-8", func(*Signer) {}, true},
		{"form in the body", "application/x-www-form-urlencoded", func(s *Signer) { s.Placement, s.Method = Body, Plaintext }, true},
		{"JSON hashed", "application/json", func(s *Signer) { s.BodyHash = BodyHashSHA256 }, true},
		{"JSON", "application/json", func(*Signer) {}, false},
		{"multipart", "multipart/form-data; boundary=x", func(*Signer) {}, false},
		{"PLAINTEXT", "application/x-www-form-urlencoded", func(s *Signer) { s.Method = Plaintext }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := 0
			srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { n++ }))
			defer srv.Close()
			s := testSigner(newProvider())
			tt.set(s)
			tr, err := renew.NewTransport(s, renew.TransportConfig{Origins: []string{srv.URL}})
			if err != nil {
				t.Fatal(err)
			}
			req, _ := http.NewRequestWithContext(t.Context(), "POST", srv.URL, io.MultiReader(strings.NewReader("a=1")))
			req.Header.Set("Content-Type", tt.contentType)
			resp, err := (&http.Client{Transport: tr}).Do(req)
			if err == nil {
				_ = resp.Body.Close()
			}
			if want := map[bool]int{true: 0, false: 1}[tt.fails]; (err != nil) != tt.fails || n != want {
				t.Errorf("error %v after %d requests, want an error: %t", err, n, tt.fails)
			}
			if tt.fails {
				invalid(t, err, "set Request.GetBody")
			}
		})
	}
}

func TestGetBodyFails(t *testing.T) {
	broken := errors.New("the disk is gone")
	for _, getBody := range []func() (io.ReadCloser, error){
		func() (io.ReadCloser, error) { return nil, broken },
		func() (io.ReadCloser, error) { return io.NopCloser(failing{broken}), nil },
		func() (io.ReadCloser, error) { return failing{broken}, nil },
		func() (io.ReadCloser, error) {
			return struct {
				io.Reader
				io.Closer
			}{strings.NewReader("a=1"), failing{broken}}, nil
		},
	} {
		req, _ := http.NewRequestWithContext(t.Context(), "POST", "https://a.example/", strings.NewReader("a=1"))
		req.Header.Set("Content-Type", formType)
		req.GetBody = getBody
		_, err := testSigner(newProvider()).Authenticate(req)
		invalid(t, err, "the disk is gone")
		if !errors.Is(err, broken) || req.Header.Get("Authorization") != "" {
			t.Errorf("error %v, header %q", err, req.Header.Get("Authorization"))
		}
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }
func (f failing) Close() error             { return f.err }

func TestUnsignable(t *testing.T) {
	for link, want := range map[string]string{
		"ftp://a.example/":                       "neither http nor https",
		"https:///path":                          "has no host",
		"https://a.example/?a=%zz":               "the query has a %",
		"https://a.example/?a=%4":                "the query has a %",
		"https://a.example/?a=%4g":               "the query has a %",
		"https://a.example/?%g4=a":               "the query has a %",
		"https://a.example/?oauth_nonce=1":       "has oauth_nonce already",
		"https://a.example/?oauth%5Fsignature=1": "has oauth_signature already",
	} {
		u, err := url.Parse(link)
		if err != nil {
			t.Fatal(err)
		}
		s := testSigner(newProvider())
		for _, s.Placement = range []Placement{Header, Query} {
			_, err = s.Authenticate((&http.Request{Method: "GET", URL: u}).WithContext(t.Context()))
			invalid(t, err, want)
		}
		if _, err = s.SignURL("GET", u); err == nil {
			t.Errorf("SignURL signs %s", link)
		}
	}
	s := testSigner(newProvider())
	_, err := s.Authenticate((&http.Request{}).WithContext(t.Context()))
	invalid(t, err, "has no URL")
	_, err = s.SignURL("GET", nil)
	invalid(t, err, "is nil")
	_, err = s.Authenticate((&http.Request{URL: &url.URL{Scheme: "https", Host: "a.example", Opaque: "//a.example/b"}}).WithContext(t.Context()))
	invalid(t, err, "opaque")
	_, err = s.Authenticate((&http.Request{URL: &url.URL{Scheme: "https", Host: "b\u00fccher.example"}}).WithContext(t.Context()))
	invalid(t, err, "xn--")

	for _, host := range []string{"a b", "a\x7f", "\t"} {
		_, err = s.Authenticate((&http.Request{URL: &url.URL{Scheme: "https", Host: "a.example"}, Host: host}).WithContext(t.Context()))
		invalid(t, err, "not visible ASCII")
	}

	req, _ := http.NewRequestWithContext(t.Context(), "POST", "https://a.example/?password=hunter2", strings.NewReader("password=hunter2&a=%"))
	req.Header.Set("Content-Type", formType)
	_, err = s.Authenticate(req)
	invalid(t, err, "the form has a %")
	if strings.Contains(err.Error(), "hunter2") {
		t.Errorf("error %v shows the request", err)
	}

	s.Placement = Body
	_, err = s.Authenticate(get(t, "https://a.example/"))
	invalid(t, err, "Placement is Body")
	req, _ = http.NewRequestWithContext(t.Context(), "POST", "https://a.example/", strings.NewReader("{}"))
	req.Header.Set("Content-Type", "application/json")
	_, err = s.Authenticate(req)
	invalid(t, err, "Placement is Body")
}

// A parameter of the protocol stands in a request once, also where it is not signed (RFC 5849, section 3.1).
func TestProtocolParametersStandOnce(t *testing.T) {
	for _, method := range []Method{HMACSHA1, Plaintext} {
		for _, name := range []string{"oauth_consumer_key", "oauth_token", "oauth_signature_method", "oauth_timestamp",
			"oauth_nonce", "oauth_version", "oauth_signature", "oauth_body_hash", "oauth%5ftoken"} {
			s := testSigner(newProvider())
			s.Method = method
			for _, s.Placement = range []Placement{Header, Query} {
				_, err := s.Authenticate(get(t, "https://a.example/?a=%20&"+name+"=1"))
				invalid(t, err, strings.Replace(name, "%5f", "_", 1)+" already")
			}
			s.Placement = Body
			req, _ := http.NewRequestWithContext(t.Context(), "POST", "https://a.example/", strings.NewReader("a=1&"+name))
			req.Header.Set("Content-Type", formType)
			_, err := s.Authenticate(req)
			invalid(t, err, strings.Replace(name, "%5f", "_", 1)+" already")
		}
	}
	s := testSigner(newProvider())
	s.Method = Plaintext // covers no query, so one that nobody can read is the server's affair
	if _, err := s.Authenticate(get(t, "https://a.example/?a=%zz&oauth_x=1&%zz=1")); err != nil {
		t.Error(err)
	}
}

// What vectors have not: ports and zones that net/http does not send, and paths.
func TestBaseURI(t *testing.T) {
	for link, want := range map[string]string{
		"https://a.example:/x":                "https://a.example/x",
		"https://a.example:80/x":              "https://a.example:80/x",
		"http://a.example:443/x":              "http://a.example:443/x",
		"http://[fe80::1%25eth0]:8080/x":      "http://[fe80::1]:8080/x",
		"http://[FE80::1%25Eth0]/x":           "http://[fe80::1]/x",
		"https://u:p@a.example/a%2fb/%7E?x#y": "https://a.example/a%2fb/%7E",
		"https://a.example/a//b/../c;d=1/":    "https://a.example/a//b/../c;d=1/",
		"https://a.example/r\u00e9sum\u00e9":  "https://a.example/r%C3%A9sum%C3%A9",
	} {
		u, err := url.Parse(link)
		if err != nil {
			t.Fatal(err)
		}
		got, err := appendBaseURI(nil, "", u)
		if decoded, _ := url.PathUnescape(string(got)); err != nil || decoded != want {
			t.Errorf("%s: %s, %v; want %s", link, decoded, err, want)
		}
	}
	// Made by hand, and a Host field with a % that no zone begins with.
	got, err := appendBaseURI(nil, "A%b", &url.URL{Scheme: "HTTPS", Host: "a.example", Path: "x"})
	if want := "https%3A%2F%2Fa%25b%2Fx"; err != nil || string(got) != want {
		t.Errorf("%s, %v; want %s", got, err, want)
	}
}

// R30: PLAINTEXT is the secrets themselves, so it goes out encrypted, or to this machine.
func TestR30_PlaintextNeedsTLS(t *testing.T) {
	s := &Signer{ClientKey: "k", ClientSecret: secret("s"), Method: Plaintext}
	for link, ok := range map[string]bool{
		"https://a.example/": true, "http://localhost:1/": true, "http://LOCALHOST/": true, "http://127.0.0.1/": true, "http://[::1]:8/": true,
		"http://a.example/": false, "http://localhost.example/": false,
	} {
		if _, err := s.Authenticate(get(t, link)); (err == nil) != ok {
			t.Errorf("%s: %v, want ok %t", link, err, ok)
		} else if !ok {
			invalid(t, err, "use https")
		}
	}
	if _, err := s.Authenticate((&http.Request{URL: &url.URL{Scheme: "HTTPS", Host: "a.example"}}).WithContext(t.Context())); err != nil {
		t.Error(err)
	}
	s.AllowPlaintext = true
	if _, err := s.Authenticate(get(t, "http://a.example/")); err != nil {
		t.Error(err)
	}
}

// R30: a link is for somebody else, and a PLAINTEXT signature is the secrets themselves.
func TestR30_SignURLShowsNoSecret(t *testing.T) {
	s := &Signer{ClientKey: "k", ClientSecret: secret("client-secret"), Method: Plaintext, AllowPlaintext: true}
	got, err := s.SignURL("GET", &url.URL{Scheme: "https", Host: "a.example"})
	invalid(t, err, "another Method")
	if got != nil {
		t.Errorf("SignURL = %s", got)
	}
}

// A header that is there already is replaced, by whatever key it stands.
func TestHeaderIsReplaced(t *testing.T) {
	req := get(t, "https://a.example/")
	req.Header.Set("Authorization", "Basic x")
	if _, err := testSigner(newProvider()).Authenticate(req); err != nil || len(req.Header["Authorization"]) != 1 ||
		!strings.HasPrefix(req.Header.Get("Authorization"), "OAuth ") {
		t.Errorf("header %q, %v; want one", req.Header["Authorization"], err)
	}
}

// All but forms have a hash, and what has no body has that of the empty string (draft-eaton-oauth-bodyhash, sections 3.2 and 4.1).
func TestBodyHashes(t *testing.T) {
	const empty, emptySHA256, some = "2jmj7l5rSw0yVb%2FvlWAYkK%2FYBwk%3D", "47DEQpj8HBSa%2B%2FTImW%2B5JCeuQeRkm5NMpJWZG3hSuFU%3D", "vyGp6PvFo4RvsFtPoIWeCReyIC8%3D"
	for _, tt := range []struct {
		method, contentType, body string
		place                     Placement
		hash                      BodyHash
		want                      string
	}{
		{"GET", "", "", Header, BodyHashSHA1, empty},
		{"GET", "", "", Query, BodyHashSHA256, emptySHA256},
		{"POST", "application/json", "", Header, BodyHashSHA1, empty},
		{"POST", "application/json", "{}", Header, BodyHashSHA1, some},
		{"POST", "", "{}", Query, BodyHashSHA1, some},
		{"POST", formType, "", Header, BodyHashSHA1, ""},
		{"POST", formType, "a=1", Header, BodyHashSHA1, ""},
		{"POST", formType, "a=1", Body, BodyHashSHA1, ""},
		{"POST", "", "", Body, BodyHashSHA1, ""},
		{"GET", "", "", Header, NoBodyHash, ""},
		{"POST", "application/json", "{}", Header, NoBodyHash, ""},
	} {
		s := testSigner(newProvider())
		s.Placement, s.BodyHash = tt.place, tt.hash
		req, _ := http.NewRequestWithContext(t.Context(), tt.method, "https://a.example/", strings.NewReader(tt.body))
		if tt.contentType != "" {
			req.Header.Set("Content-Type", tt.contentType)
		}
		if _, err := s.Authenticate(req); err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(req.Body)
		_, got, found := strings.Cut(req.Header.Get("Authorization")+req.URL.RawQuery+string(text), "oauth_body_hash=")
		got = strings.TrimPrefix(got, `"`)
		if found != (tt.want != "") || !strings.HasPrefix(got, tt.want) {
			t.Errorf("%v: hash %.60s, want %s", tt, got, tt.want)
		}
	}
}

// Only a request that sends a form, or can be given one, takes the parameters in its body (RFC 5849, section 3.5.2).
func TestBodyNeedsAForm(t *testing.T) {
	for _, tt := range []struct {
		method, contentType, body string
		ok                        bool
	}{
		{"POST", "", "", true}, {"PUT", "", "", true}, {"PATCH", "", "", true}, {"POST", formType, "", true},
		{"POST", formType, "a=1", true}, {"POST", formType + "; charset=UTF-8", "a=1", true}, {"DELETE", formType, "a=1", true},
		{"GET", "", "", false}, {"GET", formType, "", false}, {"HEAD", formType, "", false}, {"DELETE", formType, "", false},
		{"POST", "text/plain", "", false}, {"POST", "", "a=1", false}, {"POST", "text/plain", "a=1", false},
	} {
		s := testSigner(newProvider())
		s.Placement = Body
		req, _ := http.NewRequestWithContext(t.Context(), tt.method, "https://a.example/", strings.NewReader(tt.body))
		if tt.contentType != "" {
			req.Header.Set("Content-Type", tt.contentType)
		}
		req.Header.Set("Content-Length", "3")
		req.TransferEncoding = []string{"chunked"}
		_, err := s.Authenticate(req)
		if !tt.ok {
			invalid(t, err, "Placement is Body")
			continue
		}
		if err != nil || req.TransferEncoding != nil || req.Header.Get("Content-Type") != cmp.Or(tt.contentType, formType) || req.Header.Get("Content-Length") != "" {
			t.Errorf("%v: %v, with %v", tt, err, req.Header)
			continue
		}
		for range 2 { // also when net/http sends it again
			sent, err := req.GetBody()
			if err != nil {
				t.Fatal(err)
			}
			text, _ := io.ReadAll(sent)
			if !strings.HasPrefix(string(text), tt.body) || !strings.Contains(string(text), "oauth_signature=") || int64(len(text)) != req.ContentLength {
				t.Errorf("%v: %d bytes of %d: %s", tt, len(text), req.ContentLength, text)
			}
		}
	}
}

func TestBodyStartsForm(t *testing.T) {
	p := newProvider()
	s := testSigner(p)
	s.Placement = Body
	srv := httptest.NewServer(p)
	defer srv.Close()
	tr, err := renew.NewTransport(s, renew.TransportConfig{Origins: []string{srv.URL}})
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Client{Transport: tr}).Post(srv.URL+"/x?a=b", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != 200 || p.served != 1 {
		t.Errorf("status %d, served %d: want 200 and 1", resp.StatusCode, p.served)
	}
}

// A Location that repeats the query brings the old parameters back; they are replaced.
func TestQueryRedirect(t *testing.T) {
	p := newProvider()
	s := testSigner(p)
	s.Placement = Query
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/x" {
			http.Redirect(w, r, "/x/?"+r.URL.RawQuery, http.StatusFound)
			return
		}
		p.ServeHTTP(w, r)
	}))
	defer srv.Close()
	tr, err := renew.NewTransport(s, renew.TransportConfig{Origins: []string{srv.URL}})
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Client{Transport: tr}).Get(srv.URL + "/x?b=%20&b=1&oauth_x=kept")
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != 200 || p.last["oauth_x"] != "kept" {
		t.Errorf("status %d, parameters %v", resp.StatusCode, p.last)
	}
}

func TestSignURL(t *testing.T) {
	s := &Signer{
		ClientKey: "iframe-key-3", ClientSecret: secret("iframe-secret-4"), Placement: Header, Realm: "not sent",
		Nonce: func() string { return "ifr00003" }, Clock: clock.NewFake(time.Unix(1418000000, 0)),
	}
	u, err := url.Parse("https://api.toopher.com/v1/web/manage_user?username=kim&reset_email=kim%40example.test&expires=1418000300&v=2")
	if err != nil {
		t.Fatal(err)
	}
	before := *u
	got, err := s.SignURL("", u)
	const want = "https://api.toopher.com/v1/web/manage_user?username=kim&reset_email=kim%40example.test&expires=1418000300&v=2" +
		"&oauth_nonce=ifr00003&oauth_timestamp=1418000000&oauth_version=1.0&oauth_signature_method=HMAC-SHA1&oauth_consumer_key=iframe-key-3" +
		"&oauth_signature=GAgMvMpshTgzbky%2Fq3HywS9vztg%3D"
	if err != nil || got.String() != want {
		t.Errorf("SignURL = %s, %v; want %s", got, err, want)
	}
	if *u != before {
		t.Error("SignURL changed the URL that it was given")
	}
	for query, want := range map[string]string{"": "oauth_nonce=", "a&": "a&oauth_nonce=", "&": "&oauth_nonce="} {
		got, err := s.SignURL("GET", &url.URL{Scheme: "https", Host: "a.example", RawQuery: query})
		if err != nil || !strings.HasPrefix(got.RawQuery, want) {
			t.Errorf("query %q became %v, %v; want %q first", query, got, err, want)
		}
	}
}

func TestFunctions(t *testing.T) {
	p := newProvider()
	p.scheme = "https"
	calls := 0
	s := testSigner(p)
	s.ClientSecret, s.Token, s.TokenSecret = renew.Secret{}, renew.Secret{}, renew.Secret{}
	type key struct{}
	s.ClientSecretFunc = func(ctx context.Context) (renew.Secret, error) {
		calls += ctx.Value(key{}).(int)
		return secret(p.clientSecret), nil
	}
	s.TokenFunc = func(ctx context.Context) (Credentials, error) {
		calls += ctx.Value(key{}).(int)
		return Credentials{Token: secret("token of a user"), Secret: secret(p.tokens["token of a user"])}, nil
	}
	req := httptest.NewRequestWithContext(context.WithValue(t.Context(), key{}, 1), "GET", "https://a.example/x?y=z", nil)
	req.RequestURI = req.URL.RequestURI()
	if _, err := s.Authenticate(req); err != nil || p.verify(req) != nil || calls != 2 {
		t.Errorf("error %v after %d calls of the functions", err, calls)
	}
	s.ClientSecretFunc = func(context.Context) (renew.Secret, error) { return secret(p.clientSecret), nil }
	s.TokenFunc = func(context.Context) (Credentials, error) { return Credentials{Token: secret("a token")}, nil }
	if link, err := s.SignURL("GET", &url.URL{Scheme: "https", Host: "a.example"}); err != nil || link.Query().Get("oauth_token") != "a token" {
		t.Errorf("SignURL = %v, %v; want the token of TokenFunc in it", link, err)
	}
	down := errors.New("the vault is down")
	for name, set := range map[string]func(s *Signer){
		"ClientSecretFunc: the vault is down": func(s *Signer) {
			s.ClientSecretFunc = func(context.Context) (renew.Secret, error) { return renew.Secret{}, down }
		},
		"TokenFunc: the vault is down": func(s *Signer) {
			s.TokenFunc = func(context.Context) (Credentials, error) { return Credentials{}, down }
		},
		"TokenFunc returned an empty secret": func(s *Signer) {
			s.TokenFunc = func(context.Context) (Credentials, error) { return Credentials{}, nil }
		},
		"ClientSecretFunc returned an empty secret": func(s *Signer) {
			s.ClientSecretFunc = func(context.Context) (renew.Secret, error) { return renew.Secret{}, nil }
		},
	} {
		s := &Signer{ClientKey: "k", ClientSecretFunc: s.ClientSecretFunc, TokenFunc: s.TokenFunc}
		set(s)
		req := get(t, "https://a.example/")
		_, err := s.Authenticate(req)
		e, ok := errors.AsType[*renew.IssueError](err)
		if !ok || e.Kind != renew.Transient || !e.Unsent || !strings.Contains(err.Error(), name) || req.Header.Get("Authorization") != "" {
			t.Errorf("error %v, want a transient one with %q", err, name)
		}
	}
}

// R30: neither the Signer nor its key nor credentials show a secret in a dump.
func TestR30_NothingShows(t *testing.T) {
	f := readVectors(t)
	text := f.Keys["rsa_test_only"].Private
	key, err := ParseKey(secret(text))
	if err != nil {
		t.Fatal(err)
	}
	private, _ := testKey()
	for _, v := range []any{
		&Signer{ClientKey: "k", PrivateKey: NewKey(private), TokenSecret: secret("token-secret")},
		key, NewKey(private), Credentials{Token: secret("token-value"), Secret: secret("token-secret"), Extra: map[string]renew.Secret{"x": secret("extra-value")}},
		&Flow{Signer: &Signer{ClientSecret: secret("client-secret")}},
	} {
		for _, out := range dumps(v) {
			if leaks := renewtest.Leaks(out, "token-secret", "token-value", "extra-value", "client-secret", private.D.String(), private.Primes[0].String()); leaks != nil {
				t.Errorf("a %T shows %v in %s", v, leaks, out)
			}
		}
	}
}
