package jwt_test

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"strings"
	"time"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/sources/jwt"
)

func ExampleSource() {
	private := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)) // jwt.ParseKey reads one from PEM
	src := &jwt.Source{
		Key:      jwt.NewKey(private),
		KeyID:    "2026-03",
		Issuer:   "app-1",
		Audience: []string{"https://api.example"},
		Lifetime: 10 * time.Minute,
		Backdate: 30 * time.Second, // the server's clock may be behind
	}
	ts, err := renew.New(src, renew.Config{}) // signs the next token before one expires
	if err != nil {
		panic(err)
	}
	defer ts.Close(context.Background())

	tok, err := ts.Token(context.Background())
	fmt.Println(tok.Type, tok.Value, tok.Life > 9*time.Minute, strings.Count(tok.Value.Reveal(), "."), err)
	// Output: Bearer [redacted] true 2 <nil>
}

func ExampleParseKey() {
	_, err := jwt.ParseKey(renew.NewSecret(`-----BEGIN PRIVATE KEY-----\nMC4C`))
	fmt.Println(err)
	// Output: renew: Key is not PEM: give the text that begins with -----BEGIN, with its line breaks (not \n)
}
