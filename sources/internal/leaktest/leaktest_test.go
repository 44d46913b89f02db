package leaktest_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/sources/internal/leaktest"
)

const secret = "s3cr+t:%&=?\"\\ <value> \u00fc"

// A search that finds nothing proves nothing, so the search is tested first.
func TestFindSeesEveryForm(t *testing.T) {
	js, _ := json.Marshal(map[string]string{"k": "before" + secret + "after"})
	texts := map[string]string{
		"plain": "x" + secret + "y", "query": "a=" + url.QueryEscape(secret), "path": "/" + url.PathEscape(secret),
		"quoted": fmt.Sprintf("%q", secret), "ascii": fmt.Sprintf("%+q", secret), "json": string(js),
		"hex": fmt.Sprintf("%x", "pre"+secret), "HEX": fmt.Sprintf("%X", secret),
	}
	for i := range 6 {
		text := []byte(strings.Repeat("x", i) + secret + "tail")
		texts[fmt.Sprint("base64 at ", i)] = base64.StdEncoding.EncodeToString(text)
		texts[fmt.Sprint("base64url at ", i)] = base64.URLEncoding.EncodeToString(text)
		basic := strings.Repeat("x", i) + ":" + url.QueryEscape(secret)
		texts[fmt.Sprint("basic at ", i)] = base64.StdEncoding.EncodeToString([]byte(basic))
	}
	for name, text := range texts {
		if leaktest.Find(text, secret) == "" {
			t.Errorf("%s: not found in %q", name, text)
		}
	}
	if form := leaktest.Find("401 invalid_client", secret); form != "" {
		t.Errorf("found %s where there is none", form)
	}
}

func TestTextsSeesWhatIsHiddenInside(t *testing.T) {
	type deep struct {
		Next any
		body []byte
	}
	holders := map[string]any{
		"error text":      errors.New(secret),
		"wrapped":         &renew.IssueError{Err: fmt.Errorf("x: %w", errors.New(secret))},
		"unexported body": &deep{Next: &deep{body: []byte(secret)}},
		"map":             &deep{Next: map[string][]string{"k": {secret}}},
	}
	for name, v := range holders {
		found := false
		for _, text := range leaktest.Texts(v) {
			found = found || leaktest.Find(text, secret) != ""
		}
		if !found {
			t.Errorf("%s: not found", name)
		}
	}
	leaktest.Check(t, &renew.Token{Value: renew.NewSecret(secret)}, secret)
}
