//go:build unix

package exec_test

import (
	"context"
	"fmt"

	"github.com/seed-f29168f7/renew/sources/exec"
)

func ExampleSource() {
	src := &exec.Source{
		// gcloud config config-helper --format=json
		Args:   []string{"printf", "%s", `{"credential":{"access_token":"ya29.abc","token_expiry":"2999-01-01T00:00:00Z"}}`},
		Format: exec.JSON,
	}
	tok, err := src.Issue(context.Background())
	fmt.Println(tok.Value, tok.Expiry.UTC(), err)

	_, err = (&exec.Source{Args: []string{"false"}}).Issue(context.Background())
	fmt.Println(err)
	// Output:
	// [redacted] 2999-01-01 00:00:00 +0000 UTC <nil>
	// renew: exec: "false" exited with code 1 and wrote 0 bytes to stderr, which are not shown: run it by hand
}
