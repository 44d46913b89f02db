// Package static has a Source for credentials that are made elsewhere: a
// personal access token, an API key, what a program beside the daemon provides.
//
// There is no issuer, so nothing is sent. The same value may come again; a
// TokenSource then knows that nothing was renewed (R11).
package static

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/sources/internal/header"
	"github.com/seed-f29168f7/renew/sources/internal/input"
)

// Source gives out a value that is fixed, or that a function knows. Its zero value
// is refused by Validate. Its fields may be changed until the first use; after it
// a Source is safe for concurrent use, as far as its functions are.
//
// A function that knows the expiry of each value is better made a renew.SourceFunc.
type Source struct {
	// Type is the auth-scheme that the value is sent with. Empty means Bearer.
	Type string
	// Value is the credential: visible ASCII. Set it or ValueFunc.
	Value renew.Secret
	// ValueFunc is asked for the credential at each Issue, with its ctx. Its error is a local
	// fault, tried again; its text is shown, so it must not hold the credential.
	ValueFunc func(context.Context) (renew.Secret, error)
	// Life is how long a value lives, counted from the Issue that returned it. Zero means
	// unknown: with Expiry zero too, it lives until it is rejected. Negative is an error.
	Life time.Duration
	// Expiry is when the value ends, by the wall clock. Zero means unknown. Life holds over it.
	Expiry time.Time
	// InputVersion, when not nil, returns a number that changes when ValueFunc would return
	// another value: a refusal for good ends then (R23). It must not block.
	InputVersion func() uint64
}

// Source implements what its methods are for.
var _ interface {
	renew.Source
	renew.Validator
	renew.Describer
} = (*Source)(nil)

// Token returns a Source of one bearer token that never changes and never expires.
func Token(value renew.Secret) *Source { return &Source{Value: value} }

// Validate reports the first field that cannot work, as a *renew.ConfigError.
func (s *Source) Validate() error {
	switch {
	case s.Type != "" && !header.IsToken(s.Type):
		return &renew.ConfigError{Field: "Source.Type", Reason: fmt.Sprintf("is %q, which is not an auth-scheme", s.Type)}
	case s.Life < 0:
		return &renew.ConfigError{Field: "Source.Life", Reason: fmt.Sprintf("is %v: it must be positive, or 0 for unknown", s.Life)}
	}
	if err := input.Check("Source.Value", s.Value, s.ValueFunc); err != nil {
		return err
	}
	if s.ValueFunc == nil && !header.Visible(s.Value.Reveal()) {
		return &renew.ConfigError{Field: "Source.Value", Reason: "cannot stand in a header: it has a space, a control character or something else than ASCII (a line break at the end of a file?)"}
	}
	return nil
}

// Describe gives the name. There is no endpoint and no account.
func (s *Source) Describe() renew.Traits {
	return renew.Traits{Name: "static", InputVersion: s.InputVersion}
}

// Issue returns the value. It blocks as long as ValueFunc does. Errors are
// *renew.IssueError: the function's own are transient, as is a value that cannot
// stand in a header. Without a function and with a good Value there are none.
func (s *Source) Issue(ctx context.Context) (*renew.Token, error) {
	value, err := input.Secret(ctx, "static", "Value", s.Value, s.ValueFunc)
	if err != nil {
		return nil, err
	}
	if !header.Visible(value.Reveal()) {
		return nil, &renew.IssueError{Source: "static", Unsent: true, Err: errors.New("the value is empty or cannot stand in a header")}
	}
	return &renew.Token{Value: value, Type: s.Type, Life: s.Life, Expiry: s.Expiry}, nil
}
