package migrate_test

import (
	"cmp"
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
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
)

// oauth1Secrets are what a server knows of a client: the secret, and the secrets of tokens by token ("" for no token).
type oauth1Secrets struct {
	client string
	tokens map[string]string
	key    *rsa.PublicKey
}

// oauth1Verify checks the signature of a request by RFC 5849, sections 3.4 and 3.5. It returns the protocol's
// parameters, and where they were.
func oauth1Verify(r *http.Request, body string, known oauth1Secrets) (params map[string]string, where string, err error) {
	type param struct{ name, value string }
	var all []param
	params = make(map[string]string)
	read := func(text, place string) error {
		for piece := range strings.SplitSeq(text, "&") {
			if piece == "" {
				continue
			}
			rawName, rawValue, _ := strings.Cut(piece, "=")
			name, err := url.QueryUnescape(rawName)
			value, err2 := url.QueryUnescape(rawValue)
			if err := cmp.Or(err, err2); err != nil {
				return err
			}
			if strings.HasPrefix(name, "oauth_") {
				if _, twice := params[name]; twice || where != "" && where != place {
					return errors.New("a parameter of the protocol twice, or at two places")
				}
				params[name], where = value, place
			}
			if name != "oauth_signature" {
				all = append(all, param{oauth1Escape(name), oauth1Escape(value)})
			}
		}
		return nil
	}
	if text, ok := strings.CutPrefix(r.Header.Get("Authorization"), "OAuth "); ok {
		for piece := range strings.SplitSeq(text, ", ") {
			name, quoted, _ := strings.Cut(piece, "=")
			if name == "realm" {
				continue
			}
			if err := read(name+"="+strings.ReplaceAll(strings.Trim(quoted, `"`), "+", "%2B"), "header"); err != nil {
				return nil, "", err
			}
		}
	}
	if err := read(r.URL.RawQuery, "query"); err != nil {
		return nil, "", err
	}
	if strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded") {
		if err := read(body, "body"); err != nil {
			return nil, "", err
		}
	}
	slices.SortFunc(all, func(a, b param) int {
		return cmp.Or(strings.Compare(a.name, b.name), strings.Compare(a.value, b.value))
	})
	joined := make([]string, len(all))
	for i, p := range all {
		joined[i] = p.name + "=" + p.value
	}
	base := r.Method + "&" + oauth1Escape("http://"+r.Host+r.URL.EscapedPath()) + "&" + oauth1Escape(strings.Join(joined, "&"))
	tokenSecret, ok := known.tokens[params["oauth_token"]]
	if !ok && params["oauth_token"] != "" {
		return nil, "", errors.New("the token is unknown")
	}
	secrets := oauth1Escape(known.client) + "&" + oauth1Escape(tokenSecret)
	if !oauth1Right(params["oauth_signature_method"], base, secrets, known.key, params["oauth_signature"]) {
		return nil, "", errors.New("the signature is wrong")
	}
	return params, where, nil
}

// oauth1Right reports whether a signature is right.
func oauth1Right(method, base, secrets string, key *rsa.PublicKey, signature string) bool {
	given, err := base64.StdEncoding.DecodeString(signature)
	mac := func(h func() hash.Hash) bool {
		m := hmac.New(h, []byte(secrets))
		m.Write([]byte(base))
		return err == nil && hmac.Equal(m.Sum(nil), given)
	}
	public := func(h crypto.Hash) bool {
		sum := h.New()
		sum.Write([]byte(base))
		return err == nil && key != nil && rsa.VerifyPKCS1v15(key, h, sum.Sum(nil), given) == nil
	}
	switch method {
	case "HMAC-SHA1":
		return mac(sha1.New)
	case "HMAC-SHA256":
		return mac(sha256.New)
	case "HMAC-SHA512":
		return mac(sha512.New)
	case "RSA-SHA1":
		return public(crypto.SHA1)
	case "RSA-SHA256":
		return public(crypto.SHA256)
	case "RSA-SHA512":
		return public(crypto.SHA512)
	case "PLAINTEXT":
		return signature == secrets
	}
	return false
}

// oauth1Escape is section 3.6.
func oauth1Escape(s string) string {
	return strings.ReplaceAll(url.QueryEscape(s), "+", "%20")
}

// provider is an OAuth 1.0a server, with a person who agrees to everything.
type provider struct {
	*httptest.Server

	mu        sync.Mutex
	known     oauth1Secrets
	callbacks map[string]string // by temporary token
	nonces    map[string]bool
	refuse    int    // how many requests get a 401 all the same
	confirmed string // of the reply of request_token
	granted   string // the reply of access_token
}

// newProvider knows the client "client key" and the token "token".
func newProvider(key *rsa.PublicKey) *provider {
	p := &provider{
		known:     oauth1Secrets{client: "client/secret", tokens: map[string]string{"token": "token+secret"}, key: key},
		callbacks: make(map[string]string), nonces: make(map[string]bool),
		confirmed: "&oauth_callback_confirmed=true",
		granted:   "oauth_token=access&oauth_token_secret=access%20secret&user_id=42",
	}
	p.Server = httptest.NewServer(p)
	return p
}

func (p *provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r.URL.Path == "/authorize" { // the person's browser
		token := r.URL.Query().Get("oauth_token")
		http.Redirect(w, r, p.callbacks[token]+"?oauth_token="+url.QueryEscape(token)+"&oauth_verifier=verifier", http.StatusFound)
		return
	}
	raw := must(io.ReadAll(r.Body))
	params, where, err := oauth1Verify(r, string(raw), p.known)
	switch {
	case err == nil && p.nonces[params["oauth_nonce"]]:
		err = errors.New("the nonce was used")
	case err == nil && p.refuse > 0:
		p.refuse--
		err = errors.New("not now")
	case err == nil && params["oauth_consumer_key"] != "client key":
		err = errors.New("the client is unknown")
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusUnauthorized)
		return
	}
	p.nonces[params["oauth_nonce"]] = true
	switch r.URL.Path {
	case "/request_token":
		p.callbacks["temporary"], p.known.tokens["temporary"] = params["oauth_callback"], "temporary secret"
		fmt.Fprint(w, "oauth_token=temporary&oauth_token_secret=temporary+secret"+p.confirmed)
	case "/access_token":
		if params["oauth_token"] != "temporary" || params["oauth_verifier"] != "verifier" {
			http.Error(w, "", http.StatusUnauthorized)
			return
		}
		delete(p.known.tokens, "temporary")
		p.known.tokens["access"] = "access secret"
		fmt.Fprint(w, p.granted)
	case "/moved":
		http.Redirect(w, r, "/things?id=7", http.StatusFound)
	default:
		fmt.Fprintf(w, "%s %s %s", r.Method, where, params["oauth_signature_method"])
		if token := params["oauth_token"]; token != "" {
			fmt.Fprintf(w, " token=%s", token)
		}
		if hash := params["oauth_body_hash"]; hash != "" {
			sum := sha1.Sum(raw)
			fmt.Fprintf(w, " body hash right=%v", hash == base64.StdEncoding.EncodeToString(sum[:]))
		}
		if nonce := params["oauth_nonce"]; nonce == "abc" { // a fixed one
			fmt.Fprintf(w, " nonce=%s timestamp=%s", nonce, params["oauth_timestamp"])
		}
		if realm, ok := strings.CutPrefix(r.Header.Get("Authorization"), `OAuth realm="`); ok {
			realm, _, _ = strings.Cut(realm, `"`)
			fmt.Fprintf(w, " realm=%s", realm)
		}
	}
}
