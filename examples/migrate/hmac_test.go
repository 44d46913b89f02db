package migrate_test

import (
	stdhmac "crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/sources/hmac"
)

// bodyServer is the server that stays as it is: it wants the hex of HMAC-SHA256 of the body in X-HMAC.
func bodyServer(key string) *httptest.Server {
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mac := stdhmac.New(sha256.New, []byte(key))
		mac.Write(body)
		want := hex.EncodeToString(mac.Sum(nil))
		if !stdhmac.Equal([]byte(r.Header.Get("X-HMAC")), []byte(want)) {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		fmt.Printf("server: %s %q %s...\n", r.Method, body, want[:16])
	}))
}

// The HMAC of the body in a header, as tutorials show it with requests. The server notices no difference.
func Example_hmacBody() {
	server := bodyServer("my secret key")
	defer server.Close()

	//	import hashlib, hmac, requests
	//
	//	def sign(body):
	//	    return hmac.new(b"my secret key", body, hashlib.sha256).hexdigest()
	signer := &hmac.Signer{
		Wire:   hmac.Wire{Form: hmac.Plain},
		Secret: renew.NewSecret("my secret key"),
	}
	transport, err := renew.NewTransport(signer, renew.TransportConfig{Origins: []string{server.URL}, Header: "X-HMAC"})
	if err != nil {
		panic(err)
	}
	client := &http.Client{Transport: transport}

	//	body = b'{"amount": 100}'
	//	r = requests.post(url + "/orders", data=body, headers={"X-HMAC": sign(body), "Content-Type": "application/json"})
	//	print(r.status_code)
	resp, err := client.Post(server.URL+"/orders", "application/json", strings.NewReader(`{"amount": 100}`))
	if err != nil {
		panic(err)
	}
	_ = resp.Body.Close()
	fmt.Println(resp.StatusCode)

	//	r = requests.get(url + "/orders", headers={"X-HMAC": sign(b"")})
	//	print(r.status_code)
	resp, err = client.Get(server.URL + "/orders")
	if err != nil {
		panic(err)
	}
	_ = resp.Body.Close()
	fmt.Println(resp.StatusCode)
	// Output:
	// server: POST "{\"amount\": 100}" ff4cf9dd539f7ad8...
	// 200
	// server: GET "" 4f47d0dd3d648757...
	// 200
}

// The server's half moves first: it takes what the old clients send, and refuses the rest with a 401.
func Example_hmacServer() {
	//	@app.before_request
	//	def check():
	//	    want = hmac.new(KEY, request.get_data(), hashlib.sha256).hexdigest()
	//	    if not hmac.compare_digest(request.headers.get("X-HMAC", ""), want):
	//	        abort(401)
	verifier := &hmac.Verifier{
		Wire: hmac.Wire{Form: hmac.Plain},
		Keys: map[string]renew.Secret{"": renew.NewSecret("my secret key")},
	}
	handler, err := verifier.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Printf("handler: %q\n", body)
	}))
	if err != nil {
		panic(err)
	}
	server := httptest.NewServer(handler)
	defer server.Close()

	for _, key := range []string{"my secret key", "a guess"} {
		mac := stdhmac.New(sha256.New, []byte(key))
		mac.Write([]byte("hello"))
		req, err := http.NewRequest(http.MethodPost, server.URL, strings.NewReader("hello"))
		if err != nil {
			panic(err)
		}
		req.Header.Set("X-HMAC", hex.EncodeToString(mac.Sum(nil)))
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			panic(err)
		}
		_ = resp.Body.Close()
		fmt.Println(resp.StatusCode)
	}
	// Output:
	// handler: "hello"
	// 200
	// 401
}

// When both ends have moved they can go on to the form that covers the whole request: a copy of one, or one with another path or
// query, is refused, which the HMAC of a body alone cannot do.
func Example_hmacWholeRequest() {
	verifier := &hmac.Verifier{Keys: map[string]renew.Secret{
		"shop":      renew.NewSecret("my secret key"),
		"shop-2026": renew.NewSecret("my next secret key"), // both, until no client uses the first
	}}
	handler, err := verifier.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		id, _ := hmac.KeyID(r.Context())
		fmt.Println("handler:", id, r.Method, r.URL)
	}))
	if err != nil {
		panic(err)
	}
	var seen http.Header
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = r.Header.Clone() // somebody on the way listens
		handler.ServeHTTP(w, r)
	}))
	defer server.Close()

	signer := &hmac.Signer{KeyID: "shop-2026", Secret: renew.NewSecret("my next secret key")}
	transport, err := renew.NewTransport(signer, renew.TransportConfig{Origins: []string{server.URL}, Header: "X-HMAC"})
	if err != nil {
		panic(err)
	}
	resp, err := (&http.Client{Transport: transport}).Get(server.URL + "/orders?page=1")
	if err != nil {
		panic(err)
	}
	_ = resp.Body.Close()
	fmt.Println(resp.StatusCode)

	copied := seen
	for _, path := range []string{"/orders?page=1", "/orders?page=2"} {
		req, err := http.NewRequest(http.MethodGet, server.URL+path, nil)
		if err != nil {
			panic(err)
		}
		req.Header = copied.Clone()
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			panic(err)
		}
		_ = resp.Body.Close()
		fmt.Println(resp.StatusCode, resp.Header.Get("WWW-Authenticate"))
	}
	// Output:
	// handler: shop-2026 GET /orders?page=1
	// 200
	// 401 HMAC error="replayed"
	// 401 HMAC error="invalid_signature"
}
