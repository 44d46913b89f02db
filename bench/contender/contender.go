// Package contender puts renew, the libraries that a user would pick in its place, and the least that can be done at
// all behind one small interface. Each is used as its own documentation says.
package contender

import (
	"context"
	"net/http"
	"time"
)

// Grant is what the issuer answers: a token, and the end of its life. Every contender is told the same.
type Grant struct {
	Text   string
	Expiry time.Time
}

// Fetch asks the issuer for a token.
type Fetch func(ctx context.Context) (Grant, error)

// Settings is what a user knows of an issuer when writing the configuration.
type Settings struct {
	// Life is how long the tokens live. What a contender can be told about refreshing ahead is derived from it, by ahead and Leeway.
	Life time.Duration
	// Timeout is how long one fetch may take, for contenders that have such a setting. Zero means their default.
	Timeout time.Duration
	// Seed of the jitter, for contenders that have one to set. Zero means their default.
	Seed uint64
}

// ahead is how long before the end of its life a token is refreshed in the background, by the contenders that
// leave it to the user: as renew does by itself, after 70 % of the life on average.
func (s Settings) ahead() time.Duration { return 3 * s.Life / 10 }

// Leeway is how long before the end of its life a token is no longer handed out, by the contenders that leave it
// to the user and refresh while callers wait: as renew does by itself. Scenarios judge by it what a usable token is.
func (s Settings) Leeway() time.Duration {
	leeway := min(10*time.Second, s.Life/20)
	if s.Life >= time.Second {
		leeway = max(leeway, 100*time.Millisecond)
	}
	return leeway
}

// Contender is one library, or the floor.
type Contender struct {
	Name string
	// Module has it; empty for the floor.
	Module string
	// How says in a line how it is used.
	How string
	// Open returns one credential, kept by the contender. Nothing was fetched yet.
	Open func(fetch Fetch, s Settings) Source
	// Crowd returns n credentials in the form that takes the least memory.
	Crowd func(fetch Fetch, s Settings, n int) Crowd
	// NoTransport says why it puts no token on requests; empty if it does.
	NoTransport string
	// NoFailures marks the floor: it knows how to read and to fetch, and nothing of what can go wrong.
	NoFailures bool
}

// Source is one credential.
type Source interface {
	// Reader returns a reader for one goroutine.
	Reader() Reader
	// Transport puts the token on requests to origin, which base sends. It is nil where Contender.NoTransport says why.
	Transport(base http.RoundTripper, origin string) http.RoundTripper
	// Close stops what runs in the background.
	Close()
}

// Reader is how one goroutine reads. Where the contender has no way to be told, the end of ctx is ignored.
type Reader interface {
	// Read is the contender's own call: its result stays in the contender's own type.
	Read(ctx context.Context) error
	// Token also returns the token's text.
	Token(ctx context.Context) (string, error)
}

// Crowd is many credentials.
type Crowd interface {
	Read(i int) error
	Close()
}

// All returns the contenders: the floor, renew, and the peers by name.
func All() []Contender {
	return []Contender{floorContender, renewContender, awsContender, azcoreContender, gcpContender, k8sContender, smithyContender, xoauth2Contender}
}

// Ours and Floor are the names of those that are no peers.
const (
	Ours  = "renew"
	Floor = "floor"
)

// simple is a Source whose one Reader serves all goroutines.
type simple struct {
	reader Reader
	carry  func(base http.RoundTripper, origin string) http.RoundTripper
	stop   func()
}

func (s simple) Reader() Reader { return s.reader }

func (s simple) Transport(base http.RoundTripper, origin string) http.RoundTripper {
	if s.carry == nil {
		return nil
	}
	return s.carry(base, origin)
}

func (s simple) Close() {
	if s.stop != nil {
		s.stop()
	}
}

// crowd is a Crowd of contenders that are objects of their own.
type crowd[T any] struct {
	list []T
	read func(T) error
}

func newCrowd[T any](n int, make1 func() T, read func(T) error) Crowd {
	c := crowd[T]{make([]T, n), read}
	for i := range c.list {
		c.list[i] = make1()
	}
	return c
}

func (c crowd[T]) Read(i int) error { return c.read(c.list[i]) }

func (c crowd[T]) Close() {}
