package file_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/sources/file"
)

func ExampleSource() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "token") // in a pod: /var/run/secrets/kubernetes.io/serviceaccount/token
	_ = os.WriteFile(path, []byte("2YotnFZFEjr1zCsicMWpAA\n"), 0o600)

	src := &file.Source{Path: path}
	ts, err := renew.New(src, renew.Config{})
	if err != nil {
		panic(err)
	}
	defer ts.Close(context.Background())
	defer src.Watch(ts)() // a rotated token is in use within a second

	tok, err := ts.Token(context.Background())
	fmt.Println(tok.Type, tok.Value, len(tok.Value.Reveal()), err)
	// Output: Bearer [redacted] 22 <nil>
}
