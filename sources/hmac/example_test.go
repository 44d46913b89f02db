package hmac_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/sources/hmac"
)

// Both ends are ours: method, path, query, host, time and body are covered, and no request is taken twice.
func Example() {
	verifier := &hmac.Verifier{Keys: map[string]renew.Secret{
		"partner-7":      renew.NewSecret("the old secret"),
		"partner-7-2026": renew.NewSecret("the new secret"), // both, until nobody uses the old one
	}}
	handler, err := verifier.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		id, _ := hmac.KeyID(r.Context())
		body, _ := io.ReadAll(r.Body)
		fmt.Println("server:", id, r.URL, string(body))
	}))
	if err != nil {
		panic(err)
	}
	server := httptest.NewServer(handler)
	defer server.Close()

	signer := &hmac.Signer{KeyID: "partner-7-2026", Secret: renew.NewSecret("the new secret")}
	transport, err := renew.NewTransport(signer, renew.TransportConfig{Origins: []string{server.URL}, Header: "X-HMAC"})
	if err != nil {
		panic(err)
	}
	client := &http.Client{Transport: transport}
	resp, err := client.Post(server.URL+"/orders?dry-run=1", "application/json", strings.NewReader(`{"n":1}`))
	if err != nil {
		panic(err)
	}
	_ = resp.Body.Close()
	fmt.Println(resp.StatusCode)

	resp, err = http.Get(server.URL + "/orders")
	if err != nil {
		panic(err)
	}
	_ = resp.Body.Close()
	fmt.Println(resp.StatusCode, resp.Header.Get("WWW-Authenticate"))
	// Output:
	// server: partner-7-2026 /orders?dry-run=1 {"n":1}
	// 200
	// 401 HMAC error="invalid_signature"
}

// A server that exists wants the HMAC of the body, as many web hooks do.
func ExampleSigner_plain() {
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		fmt.Println("server:", r.Header.Get("X-Hub-Signature-256"))
	}))
	defer server.Close()

	signer := &hmac.Signer{
		Wire:   hmac.Wire{Form: hmac.Plain, Header: "X-Hub-Signature-256", Prefix: "sha256="},
		Secret: renew.NewSecret("It's a Secret to Everybody"),
	}
	transport, err := renew.NewTransport(signer, renew.TransportConfig{Origins: []string{server.URL}, Header: signer.Wire.Header})
	if err != nil {
		panic(err)
	}
	resp, err := (&http.Client{Transport: transport}).Post(server.URL, "text/plain", strings.NewReader("Hello, World!"))
	if err != nil {
		panic(err)
	}
	_ = resp.Body.Close()
	// Output:
	// server: sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17
}
