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

	ts, err := renew.New(&file.Source{Path: path}, renew.Config{})
	if err != nil {
		panic(err)
	}
	defer ts.Close(context.Background())

	tok, err := ts.Token(context.Background())
	fmt.Println(tok.Type, tok.Value, len(tok.Value.Reveal()), err)
	// Output: Bearer [redacted] 22 <nil>
}
