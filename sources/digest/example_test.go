package digest_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/sources/digest"
)

// A client that answers the challenges of one server.
func ExampleSigner() {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := r.Header.Get("Authorization")
		if header == "" {
			w.Header().Set("WWW-Authenticate", `Digest realm="files", nonce="5d2a", algorithm=SHA-256, qop="auth"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_, count, _ := strings.Cut(header, ", nc=")
		fmt.Fprintln(w, "served: request", count[:8], "of this nonce")
	}))
	defer server.Close()

	transport, err := renew.NewTransport(&digest.Signer{
		Username: "Mufasa",
		Password: renew.NewSecret("Circle of Life"), // or PasswordFunc, from a file or a vault
	}, renew.TransportConfig{Origins: []string{server.URL}})
	if err != nil {
		fmt.Println(err)
		return
	}
	client := &http.Client{Transport: transport}
	for range 2 { // the second needs no challenge
		resp, err := client.Get(server.URL + "/list")
		if err != nil {
			fmt.Println(err)
			return
		}
		_, _ = io.Copy(os.Stdout, resp.Body)
		resp.Body.Close()
	}
	// Output:
	// served: request 00000001 of this nonce
	// served: request 00000002 of this nonce
}
