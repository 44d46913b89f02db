package renew

import "context"

// TokenSource keeps one credential alive.
type TokenSource struct{}

// New returns a TokenSource for src.
func New(src Source, cfg Config) (*TokenSource, error) { panic("skeleton") }

// Token returns a usable token.
func (ts *TokenSource) Token(ctx context.Context) (*Token, error) { panic("skeleton") }

// Wait is Token for start-up.
func (ts *TokenSource) Wait(ctx context.Context) (*Token, error) { panic("skeleton") }

// Reject says that a server refused t.
func (ts *TokenSource) Reject(ctx context.Context, t *Token) (*Token, error) { panic("skeleton") }

// Close ends it.
func (ts *TokenSource) Close(ctx context.Context) error { panic("skeleton") }
