package renew

import "context"

// Hooks are functions that a TokenSource calls when something changes. They run
// in order, one at a time, never on the goroutine of a reader.
type Hooks struct {
	// Changed is called once for each change of state.
	Changed func(Change)
	// Rotated is called with a token that brings a new refresh token, before the
	// token is published. While it returns an error the token is kept, not
	// published, and Rotated is called again at the next attempt.
	Rotated func(ctx context.Context, name string, t *Token) error
}

// Change is a change of state.
type Change struct {
	Name string
}
