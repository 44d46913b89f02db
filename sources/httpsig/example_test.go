package httpsig_test

import (
	"crypto/ed25519"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/clock"
	"github.com/seed-f29168f7/renew/sources/httpsig"
)

func Example() {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		panic(err)
	}
	key, err := httpsig.NewVerifyKey(httpsig.Ed25519, public)
	if err != nil {
		panic(err)
	}
	verifier := &httpsig.Verifier{Keys: map[string]httpsig.VerifyKey{"daemon-7": key}}
	handler, err := verifier.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		verified, _ := httpsig.FromContext(r.Context())
		body, _ := io.ReadAll(r.Body)
		fmt.Println("server:", verified.KeyID, verified.Components, string(body))
	}))
	if err != nil {
		panic(err)
	}
	server := httptest.NewServer(handler)
	defer server.Close()

	signer := &httpsig.Signer{KeyID: "daemon-7", PrivateKey: httpsig.NewKey(private)}
	transport, err := renew.NewTransport(signer, renew.TransportConfig{Origins: []string{server.URL}, Header: "Signature"})
	if err != nil {
		panic(err)
	}
	client := &http.Client{Transport: transport}
	resp, err := client.Post(server.URL+"/orders", "application/json", strings.NewReader(`{"n":1}`))
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
	// server: daemon-7 ["@method" "@authority" "@path" "@query" "content-digest" "content-type"] {"n":1}
	// 200
	// 401 Signature error="invalid_signature"
}

// A server that asks for certain components.
func ExampleSigner() {
	signer := &httpsig.Signer{
		KeyID:      "my-key",
		Secret:     renew.NewSecret("a shared secret"),
		Components: []string{"@method", "@target-uri", "date", `@query-param;name="page"`},
		Tag:        "my-app",
		Nonce:      func() string { return "fixed-so-that-the-output-is" }, // leave both out
		Clock:      clock.NewFake(time.Unix(1767323045, 0)),
	}
	req, err := http.NewRequest("GET", "https://api.example/list?page=2", nil)
	if err != nil {
		panic(err)
	}
	req.Header.Set("Date", "Fri, 02 Jan 2026 03:04:05 GMT")
	if _, err := signer.Authenticate(req); err != nil { // a renew.Transport does this
		panic(err)
	}
	fmt.Println(strings.ReplaceAll(req.Header.Get("Signature-Input"), ";", "\n  ;"))
	fmt.Println(req.Header.Get("Signature"))
	// Output:
	// sig1=("@method" "@target-uri" "date" "@query-param"
	//   ;name="page")
	//   ;created=1767323045
	//   ;expires=1767323345
	//   ;nonce="fixed-so-that-the-output-is"
	//   ;keyid="my-key"
	//   ;tag="my-app"
	// sig1=:Y5u8+TagdrudN0gmV/1BZAQmUJHJJ5/LkRddEgSA4jE=:
}
