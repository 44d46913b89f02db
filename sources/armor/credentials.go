package armor

import (
	"context"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/sources/internal/input"
)

// credentials are the long-term secret of a login, gathered from a Source's fields.
type credentials struct {
	typ          string // the Go type, for ConfigError
	source       string // for IssueError
	username     string
	password     renew.Secret
	passwordFunc input.Func
}

// validate looks at what is known before the first login.
func (c credentials) validate() error {
	if why := unfit(c.username); why != "" {
		return &renew.ConfigError{Field: c.typ + ".Username", Reason: why}
	}
	if err := input.Check(c.typ+".Password", c.password, c.passwordFunc); err != nil {
		return err
	}
	if c.passwordFunc == nil {
		if why := unfit(c.password.Reveal()); why != "" {
			return &renew.ConfigError{Field: c.typ + ".Password", Reason: why}
		}
	}
	return nil
}

// read returns the password. Its errors are local faults: transient, and not sent.
func (c credentials) read(ctx context.Context) (renew.Secret, error) {
	password, err := input.Secret(ctx, c.source, "Password", c.password, c.passwordFunc)
	if err != nil {
		return renew.Secret{}, err
	}
	if why := unfit(password.Reveal()); why != "" {
		return renew.Secret{}, &renew.IssueError{Source: c.source, Unsent: true, Err: errors.New("the password " + why)}
	}
	return password, nil
}

// unfit says what is wrong with a credential, or nothing. Text that is not UTF-8 would go out as other text: JSON has no
// place for it.
func unfit(text string) string {
	switch {
	case text == "":
		return "is empty"
	case len(text) > MaxCredential:
		return fmt.Sprintf("has %d bytes: at most %d are allowed", len(text), MaxCredential)
	case !utf8.ValidString(text):
		return "is not UTF-8"
	}
	return ""
}
