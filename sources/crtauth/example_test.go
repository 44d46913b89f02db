package crtauth_test

import (
	"context"
	"crypto/rsa"
	"fmt"
	"io"
	"net/http"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/sources/crtauth"
	"github.com/seed-f29168f7/renew/sources/crtauth/crtauthtest"
)

// A client that logs in to each service by itself, with a key in ssh-agent where there is an
// agent that has it, and else with one in a file.
func ExamplePerOrigin() {
	srv := crtauthtest.NewServer(crtauthtest.Options{
		Users: map[string]*rsa.PublicKey{"alice": &private("k2048").PublicKey},
	})
	defer srv.Close()

	m, err := renew.NewManager(renew.Config{})
	if err != nil {
		panic(err)
	}
	defer m.Close(context.Background())
	auth := crtauth.PerOrigin(m, crtauth.Source{
		User: "alice", // $USER where it is left out
		Signer: crtauth.Signers{
			&crtauth.Agent{Socket: "/nowhere"}, // $SSH_AUTH_SOCK where it is left out
			&crtauth.PEM{Key: renew.NewSecret(keys()["k2048"].OpenSSH)},
		},
	}, renew.Config{})
	transport, err := renew.NewTransport(auth, renew.TransportConfig{Origins: []string{srv.URL}})
	if err != nil {
		panic(err)
	}
	client := &http.Client{Transport: transport}
	for range 3 {
		resp, err := client.Get(srv.URL + "/things")
		if err != nil {
			panic(err)
		}
		text, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		fmt.Println(resp.StatusCode, string(text))
	}
	fmt.Println("logins:", srv.Counts().Logins)
	// Output:
	// 200 hello alice
	// 200 hello alice
	// 200 hello alice
	// logins: 1
}
