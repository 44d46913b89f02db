// Package input reads the long-term secrets of Sources: a fixed
// [renew.Secret], or a function that is asked at each use.
package input

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/seed-f29168f7/renew"
)

// Func is where a secret comes from that can change: a file, a vault.
type Func = func(context.Context) (renew.Secret, error)

// Check reports, as a *renew.ConfigError, that not exactly one of the fixed
// secret and its function is set. field is the field of the fixed one, with its
// type ("ClientCredentials.ClientSecret"); the function's is the same with Func
// behind it.
func Check(field string, fixed renew.Secret, fn Func) error {
	switch {
	case fixed.IsZero() && fn == nil:
		return &renew.ConfigError{Field: field, Reason: "is not set: it is needed, or " + short(field) + "Func"}
	case !fixed.IsZero() && fn != nil:
		return &renew.ConfigError{Field: field, Reason: "is set, and so is " + short(field) + "Func: set one of them"}
	}
	return nil
}

// Secret returns the fixed secret, or asks fn when that is set. A failure of fn
// and an empty secret are local faults: transient, and certainly not sent. The
// error wraps context.Cause(ctx) when ctx has ended, and else fn's, unless fn returned
// the secret with it and its text holds it. source is what IssueError.Source says, field as in Check.
//
// It blocks as long as fn does, and is as safe for concurrent use as fn is.
func Secret(ctx context.Context, source, field string, fixed renew.Secret, fn Func) (renew.Secret, error) {
	if fn == nil {
		return fixed, nil
	}
	name := short(field) + "Func"
	secret, err := fn(ctx)
	switch {
	case err != nil && ctx.Err() != nil:
		err = context.Cause(ctx)
	case err != nil && !secret.IsZero() && strings.Contains(err.Error(), secret.Reveal()):
		err = errors.New(name + " failed with an error that is not shown, since it holds the secret")
	case err != nil:
		err = fmt.Errorf("%s: %w", name, err)
	case secret.IsZero():
		err = errors.New(name + " returned an empty secret")
	default:
		return secret, nil
	}
	return renew.Secret{}, &renew.IssueError{Source: source, Kind: renew.Transient, Unsent: true, Err: err}
}

// short returns the name of the field without its type.
func short(field string) string { return field[strings.LastIndexByte(field, '.')+1:] }
