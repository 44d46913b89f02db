package leaktest_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/renewtest"
	"github.com/seed-f29168f7/renew/sources/internal/leaktest"
)

const secret = "s3cr+t:%&=?\"\\ <value> \u00fc"

// A search that finds nothing proves nothing, so the search is tested first.
func TestTextsSeesWhatIsHiddenInside(t *testing.T) {
	type deep struct {
		Next any
		body []byte
	}
	holders := map[string]any{
		"error text":      errors.New(secret),
		"wrapped":         &renew.IssueError{Err: fmt.Errorf("x: %w", errors.New(secret))},
		"unexported body": &deep{Next: &deep{Next: &deep{Next: &deep{body: []byte(secret)}}}},
		"map":             &deep{Next: &deep{Next: &deep{Next: map[string][]string{"k": {secret}}}}},
	}
	for name, v := range holders {
		found := false
		for _, text := range leaktest.Texts(v) {
			found = found || renewtest.Leaks(text, secret) != nil
		}
		if !found {
			t.Errorf("%s: not found", name)
		}
	}
	leaktest.Check(t, &renew.Token{Value: renew.NewSecret(secret)}, secret)
}
