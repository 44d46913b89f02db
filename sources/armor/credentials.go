package armor

import (
	"context"
	"errors"
	"fmt"

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
	if why := wrongLength(len(c.username)); why != "" {
		return &renew.ConfigError{Field: c.typ + ".Username", Reason: why}
	}
	if err := input.Check(c.typ+".Password", c.password, c.passwordFunc); err != nil {
		return err
	}
	if c.passwordFunc == nil {
		if why := wrongLength(len(c.password.Reveal())); why != "" {
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
	if why := wrongLength(len(password.Reveal())); why != "" {
		return renew.Secret{}, &renew.IssueError{Source: c.source, Unsent: true, Err: errors.New("the password " + why)}
	}
	return password, nil
}

// wrongLength says what is wrong with a credential of n bytes, or nothing.
func wrongLength(n int) string {
	switch {
	case n == 0:
		return "is empty"
	case n > MaxCredential:
		return fmt.Sprintf("has %d bytes: at most %d are allowed", n, MaxCredential)
	}
	return ""
}
