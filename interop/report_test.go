package interop

import (
	"fmt"
	"os"
	"testing"
)

// missing ends a test that has no peer: skipped with the reason, but not in CI, where it fails.
func missing(t *testing.T, format string, args ...any) {
	t.Helper()
	reason := fmt.Sprintf(format, args...)
	if os.Getenv("CI") != "" {
		t.Fatal("in CI every peer is there: " + reason)
	}
	t.Skip(reason)
}

// report logs what a peer served, by its own count, and adds it to the file that RENEW_SERVED names, if it does:
// go test shows no log of a test that passed.
func report(t *testing.T, served any) {
	t.Helper()
	t.Log(served)
	path := os.Getenv("RENEW_SERVED")
	if path == "" {
		return
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := fmt.Fprintf(f, "%s: %v\n", t.Name(), served); err != nil {
		t.Fatal(err)
	}
}
