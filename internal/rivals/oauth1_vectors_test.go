package rivals

import (
	"bytes"
	"context"
	"crypto"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"hash"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	_ "crypto/sha1"
	_ "crypto/sha256"
	_ "crypto/sha512"

	dghubble "github.com/dghubble/oauth1"
	mrjones "github.com/mrjones/oauth"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/clock"
	"github.com/seed-f29168f7/renew/sources/oauth1"
)

// vectorFile is the part of the golden file that rivals are asked about.
type vectorFile struct {
	Keys map[string]struct {
		Private string `json:"private_pkcs8_pem"`
	} `json:"keys"`
	Vectors []vector `json:"vectors"`
}

type vector struct {
	ID          string            `json:"id"`
	Method      string            `json:"method"`
	URL         string            `json:"url"`
	Headers     map[string]string `json:"headers"`
	Body        *string           `json:"body"`
	Credentials struct {
		ClientKey    string  `json:"client_key"`
		ClientSecret string  `json:"client_secret"`
		Token        string  `json:"token"`
		TokenSecret  string  `json:"token_secret"`
		Callback     *string `json:"callback"`
		Verifier     *string `json:"verifier"`
		RSAKey       string  `json:"rsa_key"`
	} `json:"credentials"`
	SignatureMethod string  `json:"signature_method"`
	Nonce           string  `json:"nonce"`
	Timestamp       string  `json:"timestamp"`
	Version         *string `json:"version"`
	Realm           *string `json:"realm"`
	Transmission    string  `json:"transmission"`
	Expect          struct {
		BaseStringURI    string            `json:"base_string_uri"`
		NormalizedParams string            `json:"normalized_params"`
		Signature        string            `json:"signature"`
		OAuthParams      map[string]string `json:"oauth_params"`
	} `json:"expect"`

	key *rsa.PrivateKey
}

func readVectors(t *testing.T) []vector {
	t.Helper()
	data, err := os.ReadFile("../../sources/oauth1/testdata/oauth1.json")
	if err != nil {
		t.Fatal(err)
	}
	var f vectorFile
	if err := json.Unmarshal(data, &f); err != nil {
		t.Fatal(err)
	}
	for i := range f.Vectors {
		v := &f.Vectors[i]
		if v.Credentials.RSAKey == "" {
			continue
		}
		block, _ := pem.Decode([]byte(f.Keys[v.Credentials.RSAKey].Private))
		key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		v.key = key.(*rsa.PrivateKey)
	}
	return f.Vectors
}

// request returns the request of a vector, unsigned.
func (v *vector) request() (*http.Request, error) {
	var body io.Reader
	if v.Body != nil {
		body = strings.NewReader(*v.Body)
	}
	req, err := http.NewRequest(v.Method, v.URL, body)
	if err != nil {
		return nil, err
	}
	for name, value := range v.Headers {
		if name == "Host" {
			req.Host = value
		} else {
			req.Header.Set(name, value)
		}
	}
	return req, nil
}

// capture keeps what is sent, and answers as a token endpoint does.
type capture struct{ sent *http.Request }

func (c *capture) RoundTrip(req *http.Request) (*http.Response, error) {
	c.sent = req
	const form = "oauth_token=t&oauth_token_secret=s&oauth_callback_confirmed=true"
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(form)), Request: req}, nil
}

// Do implements the client of github.com/mrjones/oauth.
func (c *capture) Do(req *http.Request) (*http.Response, error) { return c.RoundTrip(req) }

// errHasNot says that a library has no such thing.
var errHasNot = errors.New("the library has no such method, placement or body hash")

// byRenew sends a vector's request by sources/oauth1. It is the control of the judge.
func byRenew(v *vector, wire *capture) error {
	at, err := strconv.ParseInt(v.Timestamp, 10, 64)
	if err != nil {
		return err
	}
	c := v.Credentials
	s := &oauth1.Signer{
		ClientKey: c.ClientKey, OmitVersion: v.Version == nil,
		Nonce: func() string { return v.Nonce }, Clock: clock.NewFake(time.Unix(at, 0)),
	}
	if v.key == nil {
		s.ClientSecret = renew.NewSecret(c.ClientSecret)
	} else {
		s.PrivateKey = oauth1.NewKey(v.key)
	}
	for s.Method.String() != v.SignatureMethod {
		s.Method++
	}
	if v.Transmission == "body" {
		s.Placement = oauth1.Body
	}
	if _, ok := v.Expect.OAuthParams["oauth_body_hash"]; ok {
		s.BodyHash = oauth1.BodyHashSHA1
	}
	if v.Realm != nil {
		s.Realm = *v.Realm
	}
	token := oauth1.Credentials{Token: renew.NewSecret(c.Token), Secret: renew.NewSecret(c.TokenSecret)}
	flow := &oauth1.Flow{TemporaryEndpoint: v.URL, AuthorizationEndpoint: v.URL, TokenEndpoint: v.URL, Signer: s, HTTPClient: &http.Client{Transport: wire}}
	switch {
	case c.Callback != nil:
		_, err = flow.TemporaryCredentials(context.Background(), *c.Callback)
		return err
	case c.Verifier != nil:
		_, err = flow.TokenCredentials(context.Background(), token, renew.NewSecret(*c.Verifier))
		return err
	}
	s.Token, s.TokenSecret = token.Token, token.Secret
	req, err := v.request()
	if err != nil {
		return err
	}
	if _, err := s.Authenticate(req); err != nil {
		return err
	}
	wire.sent = req
	return nil
}

// byDghubble sends a vector's request by github.com/dghubble/oauth1, with the signers that it has.
func byDghubble(v *vector, wire *capture) error {
	c := v.Credentials
	cfg := &dghubble.Config{
		ConsumerKey: c.ClientKey, ConsumerSecret: c.ClientSecret, HTTPClient: &http.Client{Transport: wire}, Noncer: fixedNonce(v.Nonce),
		Endpoint: dghubble.Endpoint{RequestTokenURL: v.URL, AccessTokenURL: v.URL},
	}
	switch v.SignatureMethod {
	case "HMAC-SHA1":
	case "HMAC-SHA256":
		cfg.Signer = &dghubble.HMAC256Signer{ConsumerSecret: c.ClientSecret}
	case "RSA-SHA1":
		cfg.Signer = &dghubble.RSASigner{PrivateKey: v.key}
	default:
		return errHasNot
	}
	if v.Realm != nil {
		cfg.Realm = *v.Realm
	}
	if _, hashed := v.Expect.OAuthParams["oauth_body_hash"]; hashed || v.Transmission != "header" {
		return errHasNot
	}
	switch {
	case c.Callback != nil:
		cfg.CallbackURL = *c.Callback
		_, _, err := cfg.RequestToken()
		return err
	case c.Verifier != nil:
		_, _, err := cfg.AccessToken(c.Token, c.TokenSecret, *c.Verifier)
		return err
	}
	req, err := v.request()
	if err != nil {
		return err
	}
	_, err = dghubbleTransport(cfg, dghubble.NewToken(c.Token, c.TokenSecret), wire).RoundTrip(req)
	return err
}

// byMrjones sends a vector's request by github.com/mrjones/oauth.
func byMrjones(v *vector, wire *capture) error {
	c := v.Credentials
	name, hashName, ok := strings.Cut(v.SignatureMethod, "-")
	hashes := map[string]crypto.Hash{"SHA1": crypto.SHA1, "SHA256": crypto.SHA256}
	if !ok || hashes[hashName] == 0 || v.Transmission != "header" {
		return errHasNot
	}
	_, hashed := v.Expect.OAuthParams["oauth_body_hash"]
	provider := mrjones.ServiceProvider{RequestTokenUrl: v.URL, AccessTokenUrl: v.URL, HttpMethod: v.Method, BodyHash: hashed}
	consumer := mrjones.NewCustomConsumer(c.ClientKey, c.ClientSecret, hashes[hashName], provider, nil)
	if name == "RSA" {
		consumer = mrjones.NewCustomRSAConsumer(c.ClientKey, v.key, hashes[hashName], provider, nil)
	}
	consumer.HttpClient = wire
	switch {
	case c.Callback != nil:
		_, _, err := consumer.GetRequestTokenAndUrl(*c.Callback)
		return err
	case c.Verifier != nil:
		_, err := consumer.AuthorizeToken(&mrjones.RequestToken{Token: c.Token, Secret: c.TokenSecret}, *c.Verifier)
		return err
	}
	req, err := v.request()
	if err != nil {
		return err
	}
	rt, err := consumer.MakeRoundTripper(&mrjones.AccessToken{Token: c.Token, Secret: c.TokenSecret})
	if err != nil {
		return err
	}
	_, err = rt.RoundTrip(req)
	return err
}

// judge says what is wrong with a signed request, measured by the vector's base string and keys. A library may
// choose the nonce and the timestamp, and may send oauth_version where the vector has none; realm is not signed and not looked at.
func (v *vector) judge(sent *http.Request) error {
	params, err := v.protocol(sent)
	if err != nil {
		return err
	}
	for name, want := range v.Expect.OAuthParams {
		got, ok := params[name]
		free := name == "oauth_nonce" || name == "oauth_timestamp" || name == "oauth_signature"
		if !ok || got == "" || !free && got != want {
			return fmt.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	for name, value := range params {
		if _, ok := v.Expect.OAuthParams[name]; !ok && (name != "oauth_version" || value != "1.0") {
			return fmt.Errorf("%s is sent, which has no place here", name)
		}
	}
	if v.SignatureMethod == "PLAINTEXT" {
		if params["oauth_signature"] != v.Expect.Signature {
			return errors.New("another signature")
		}
		return nil
	}
	signature, err := base64.StdEncoding.DecodeString(params["oauth_signature"])
	if err != nil {
		return err
	}
	method, base := crypto.SHA1, []byte(v.base(params))
	switch {
	case strings.HasSuffix(v.SignatureMethod, "SHA256"):
		method = crypto.SHA256
	case strings.HasSuffix(v.SignatureMethod, "SHA512"):
		method = crypto.SHA512
	}
	if v.key != nil {
		h := method.New()
		h.Write(base)
		return rsa.VerifyPKCS1v15(&v.key.PublicKey, method, h.Sum(nil), signature)
	}
	mac := hmac.New(func() hash.Hash { return method.New() }, []byte(escape(v.Credentials.ClientSecret)+"&"+escape(v.Credentials.TokenSecret)))
	mac.Write(base)
	if !bytes.Equal(mac.Sum(nil), signature) {
		return errors.New("another signature")
	}
	return nil
}

// protocol returns the protocol parameters that were sent in the place that the vector names, decoded.
func (v *vector) protocol(sent *http.Request) (map[string]string, error) {
	if sent == nil {
		return nil, errors.New("nothing was sent")
	}
	params := map[string]string{}
	add := func(name, value string) error {
		value, err := url.PathUnescape(value)
		if _, twice := params[name]; twice || err != nil {
			return fmt.Errorf("%s is sent twice, or is not encoded", name)
		}
		params[name] = value
		return nil
	}
	if v.Transmission == "body" {
		body, err := io.ReadAll(sent.Body)
		if err != nil {
			return nil, err
		}
		for pair := range strings.SplitSeq(string(body), "&") {
			if name, value, _ := strings.Cut(pair, "="); strings.HasPrefix(name, "oauth_") {
				if err := add(name, value); err != nil {
					return nil, err
				}
			}
		}
		return params, nil
	}
	text, ok := strings.CutPrefix(sent.Header.Get("Authorization"), "OAuth ")
	if !ok {
		return nil, errors.New("there is no header of OAuth")
	}
	for field := range strings.SplitSeq(text, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(field), "=")
		if name == "realm" {
			continue
		}
		if err := add(name, strings.Trim(value, `"`)); err != nil {
			return nil, err
		}
	}
	return params, nil
}

// base returns the vector's base string with the parameters that the library was free to choose.
func (v *vector) base(params map[string]string) string {
	var pairs [][2]string
	for pair := range strings.SplitSeq(v.Expect.NormalizedParams, "&") {
		name, value, _ := strings.Cut(pair, "=")
		if name == "oauth_nonce" || name == "oauth_timestamp" {
			value = escape(params[name])
		}
		pairs = append(pairs, [2]string{name, value})
	}
	if version, ok := params["oauth_version"]; ok && v.Version == nil {
		pairs = append(pairs, [2]string{"oauth_version", escape(version)})
	}
	slices.SortFunc(pairs, func(a, b [2]string) int { return slices.Compare(a[:], b[:]) })
	var joined []string
	for _, p := range pairs {
		joined = append(joined, p[0]+"="+p[1])
	}
	return strings.ToUpper(v.Method) + "&" + escape(v.Expect.BaseStringURI) + "&" + escape(strings.Join(joined, "&"))
}

// escape is RFC 5849, section 3.6.
func escape(s string) string {
	return strings.NewReplacer("+", "%20", "%7E", "~").Replace(url.QueryEscape(s))
}

// What sources/oauth1/doc.go and ARCHITECTURE.md say of the kept libraries: how many golden vectors each signs as
// they want, with what it has itself, and which it does not.
func TestOAuth1Vectors(t *testing.T) {
	vectors := readVectors(t)
	const has = 37
	if len(vectors) != has {
		t.Fatalf("%d vectors, want %d", len(vectors), has)
	}
	doc, err := os.ReadFile("../../sources/oauth1/doc.go")
	if err != nil {
		t.Fatal(err)
	}
	claim := strings.Join(strings.Fields(strings.ReplaceAll(string(doc), "//", "")), " ")
	for _, tt := range []struct {
		name  string
		send  func(*vector, *capture) error
		right int
		wrong []string
		claim string
	}{
		{"renew/sources/oauth1", byRenew, has, nil, "its %d golden vectors"},
		{"github.com/dghubble/oauth1", byDghubble, 24, []string{
			"g01-two-legged-get", "g04-query-and-form-duplicates", "g14-no-path", "g25-hmac-sha256-form", "g26-hmac-sha512",
			"g29-rsa-sha256", "g31-plaintext-no-token", "g32-body-hash-json", "g34-body-hash-sha256-method", "g40-body-signature",
			"g43-host-header-wins", "g44-form-with-charset", "rfc5849-3.4.1.1-odd-parameters",
		}, "github.com/dghubble/oauth1 signs %d:"},
		{"github.com/mrjones/oauth", byMrjones, 19, []string{
			"g04-query-and-form-duplicates", "g07-empty-values", "g10-port-443-https", "g11-port-80-http", "g13-mixed-case", "g14-no-path",
			"g23-sort-order", "g26-hmac-sha512", "g31-plaintext-no-token", "g34-body-hash-sha256-method", "g38-lowercase-method",
			"g40-body-signature", "g41-ipv6-host", "g43-host-header-wins", "g44-form-with-charset", "rfc5849-3.4.1.1-odd-parameters",
			"twitter-creating-a-signature-1", "twitter-creating-a-signature-1.1",
		}, "github.com/mrjones/oauth signs %d:"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			wrong := map[string]string{}
			for _, v := range vectors {
				wire := new(capture)
				err := tt.send(&v, wire)
				if err == nil {
					err = v.judge(wire.sent)
				}
				if err != nil {
					wrong[v.ID] = err.Error()
				}
			}
			right := len(vectors) - len(wrong)
			t.Logf("vectors vectors: %d cases; %s signs %d right", len(vectors), tt.name, right)
			for _, id := range slices.Sorted(maps.Keys(wrong)) {
				t.Logf("%s: %s", id, wrong[id])
			}
			if ids := slices.Sorted(maps.Keys(wrong)); right != tt.right || !slices.Equal(ids, tt.wrong) {
				t.Errorf("%d right, want %d; wrong are\n%q, want\n%q", right, tt.right, ids, tt.wrong)
			}
			if !strings.Contains(claim, fmt.Sprintf(tt.claim, right)) {
				t.Errorf("sources/oauth1/doc.go does not say "+tt.claim, right)
			}
		})
	}
}
