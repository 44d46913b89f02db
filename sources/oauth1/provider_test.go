package oauth1

import (
	"bytes"
	"crypto"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"net/url"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"
)

// What follows is a server's side, written from RFC 5849 alone: it shares no code with the
// package, and takes the standard library's encoders and parsers where the package has its own.

func peerEncode(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

// peerParams reads a query or a form.
func peerParams(text string) ([][2]string, error) {
	var out [][2]string
	for _, piece := range strings.Split(text, "&") {
		if piece == "" {
			continue
		}
		name, value, _ := strings.Cut(piece, "=")
		n, err := url.QueryUnescape(name)
		if err != nil {
			return nil, err
		}
		v, err := url.QueryUnescape(value)
		if err != nil {
			return nil, err
		}
		out = append(out, [2]string{n, v})
	}
	return out, nil
}

func peerBase(method, scheme, host, requestURI string, params [][2]string) string {
	path, _, _ := strings.Cut(requestURI, "?")
	if path == "" {
		path = "/"
	}
	host = strings.ToLower(host)
	if port := map[string]string{"http": ":80", "https": ":443"}[scheme]; strings.HasSuffix(host, port) {
		host = host[:len(host)-len(port)]
	}
	var encoded [][2]string
	for _, p := range params {
		if p[0] != "oauth_signature" && p[0] != "realm" {
			encoded = append(encoded, [2]string{peerEncode(p[0]), peerEncode(p[1])})
		}
	}
	sort.Slice(encoded, func(i, j int) bool {
		if encoded[i][0] != encoded[j][0] {
			return encoded[i][0] < encoded[j][0]
		}
		return encoded[i][1] < encoded[j][1]
	})
	var texts []string
	for _, p := range encoded {
		texts = append(texts, p[0]+"="+p[1])
	}
	return strings.ToUpper(method) + "&" + peerEncode(scheme+"://"+host+path) + "&" + peerEncode(strings.Join(texts, "&"))
}

// peerVerify reports whether a signature is right.
func peerVerify(method, base, clientSecret, tokenSecret string, key *rsa.PublicKey, signature string) bool {
	secrets := peerEncode(clientSecret) + "&" + peerEncode(tokenSecret)
	mac := func(h func() hash.Hash) bool {
		m := hmac.New(h, []byte(secrets))
		m.Write([]byte(base))
		return base64.StdEncoding.EncodeToString(m.Sum(nil)) == signature
	}
	raw, _ := base64.StdEncoding.DecodeString(signature)
	switch method {
	case "HMAC-SHA1":
		return mac(sha1.New)
	case "HMAC-SHA256":
		return mac(sha256.New)
	case "HMAC-SHA512":
		return mac(sha512.New)
	case "RSA-SHA1":
		sum := sha1.Sum([]byte(base))
		return key != nil && rsa.VerifyPKCS1v15(key, crypto.SHA1, sum[:], raw) == nil
	case "RSA-SHA256":
		sum := sha256.Sum256([]byte(base))
		return key != nil && rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], raw) == nil
	case "RSA-SHA512":
		sum := sha512.Sum512([]byte(base))
		return key != nil && rsa.VerifyPKCS1v15(key, crypto.SHA512, sum[:], raw) == nil
	case "PLAINTEXT":
		return signature == secrets
	}
	return false
}

// provider is a server: it checks signatures, refuses nonces that it has seen and timestamps that are
// more than five minutes off, and hands out credentials.
type provider struct {
	scheme       string // of its URLs
	clientKey    string
	clientSecret string
	rsa          *rsa.PublicKey
	wall         func() time.Time

	mu       sync.Mutex
	tokens   map[string]string // token: secret, of both kinds
	verifier map[string]string // temporary token: verifier
	nonces   map[string]bool
	served   int
	last     map[string]string // the protocol parameters of the last request that was right
}

func newProvider() *provider {
	return &provider{
		scheme: "http", clientKey: "the client", clientSecret: "client/secret+of&tests",
		tokens: map[string]string{"token of a user": "token/secret+of&tests"}, verifier: map[string]string{}, nonces: map[string]bool{},
		wall: time.Now,
	}
}

// verify judges a request as it arrived. The body is read, and put back.
func (p *provider) verify(r *http.Request) error {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	all, err := peerParams(r.URL.RawQuery)
	if err != nil {
		return err
	}
	form := strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded")
	if form {
		more, err := peerParams(string(body))
		if err != nil {
			return err
		}
		all = append(all, more...)
	}
	if text, ok := strings.CutPrefix(r.Header.Get("Authorization"), "OAuth "); ok {
		for _, field := range strings.Split(text, ", ") {
			k, v, _ := strings.Cut(field, "=")
			v, err := url.PathUnescape(strings.Trim(v, `"`))
			if err != nil {
				return err
			}
			all = append(all, [2]string{k, v})
		}
	}
	o := map[string]string{}
	for _, q := range all {
		if _, twice := o[q[0]]; twice && strings.HasPrefix(q[0], "oauth_") {
			return fmt.Errorf("%s twice", q[0])
		}
		if strings.HasPrefix(q[0], "oauth_") {
			o[q[0]] = q[1]
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	secret := ""
	if token, ok := o["oauth_token"]; ok {
		if secret, ok = p.tokens[token]; !ok {
			return errors.New("unknown token")
		}
	}
	at, err := strconv.ParseInt(o["oauth_timestamp"], 10, 64)
	if err != nil || p.wall().Sub(time.Unix(at, 0)).Abs() > 5*time.Minute {
		return errors.New("timestamp")
	}
	if p.nonces[o["oauth_nonce"]] || len(o["oauth_nonce"]) < 20 {
		return errors.New("nonce")
	}
	if h, ok := o["oauth_body_hash"]; ok {
		sum := sha1.Sum(body)
		if form || h != base64.StdEncoding.EncodeToString(sum[:]) {
			return errors.New("body hash")
		}
	}
	base := peerBase(r.Method, p.scheme, r.Host, r.RequestURI, all)
	if o["oauth_consumer_key"] != p.clientKey || !peerVerify(o["oauth_signature_method"], base, p.clientSecret, secret, p.rsa, o["oauth_signature"]) {
		return errors.New("signature")
	}
	p.nonces[o["oauth_nonce"]] = true
	p.served++
	p.last = o
	return nil
}

// ServeHTTP has the endpoints of the flow, and anything else for signed requests.
func (p *provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Date", p.wall().UTC().Format(http.TimeFormat))
	if err := p.verify(r); err != nil {
		w.Header().Set("WWW-Authenticate", "OAuth")
		http.Error(w, err.Error(), http.StatusUnauthorized)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch r.URL.Path {
	case "/initiate":
		p.tokens["temporary+1"] = "temporary secret"
		p.verifier["temporary+1"] = "verifier=1"
		fmt.Fprint(w, "oauth_token=temporary%2B1&oauth_token_secret=temporary+secret&oauth_callback_confirmed=true")
	case "/token":
		token := p.last["oauth_token"]
		if v, ok := p.verifier[token]; !ok || v != p.last["oauth_verifier"] {
			http.Error(w, "", http.StatusUnauthorized)
			return
		}
		delete(p.verifier, token)
		delete(p.tokens, token)
		p.tokens["access%1"] = "access secret"
		fmt.Fprint(w, "oauth_token=access%251&oauth_token_secret=access%20secret&user_id=42\n")
	default:
		fmt.Fprint(w, "served")
	}
}

func peerSHA1(s string) string {
	sum := sha1.Sum([]byte(s))
	return base64.StdEncoding.EncodeToString(sum[:])
}

func peerSHA256(s string) string {
	sum := sha256.Sum256([]byte(s))
	return base64.StdEncoding.EncodeToString(sum[:])
}
