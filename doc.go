// Package renew keeps credentials alive inside long-running daemons.
//
// A daemon hands it a [Source], something that can obtain a credential, and gets
// back a [TokenSource]: safe for any number of goroutines, reissued on a timer
// before it expires, refreshed once when a server answers 401, and stopped
// by a failure budget before it can lock the account.
//
// # What to use first
//
// [New] keeps one credential; its [TokenSource.Client] is an http.Client that sends it.
// A [Manager] keeps many by name. A [Transport] puts any credential on requests, below an http.Client or a
// reverse proxy. Sources are in the packages below sources, one a protocol; [SourceFunc] makes one of a
// function. For other protocols (gRPC metadata, WebSocket and database dials) call [TokenSource.Token] for each
// use, and [TokenSource.Reject] when a server refuses the token.
//
// # What not to do
//
// Do not keep a Token: call Token each time, it costs a few nanoseconds. Do not retry
// Token in a loop: it waits as long as that makes sense, and its error says when the next attempt is; at start-up use
// [TokenSource.Wait]. Do not wrap a TokenSource in a cache of another library.
//
// # Errors
//
// [IssueError] says what an issuer's answer means, [BudgetError] until when the failure budget is spent,
// [ConfigError] what is wrong with a configuration, before anything is sent. [ErrClosed], [ErrHung] and
// [ErrInteractionRequired] are states. No error holds a secret.
//
// # Time
//
// All of it runs on a [github.com/seed-f29168f7/renew/clock.Clock], so that a
// program's tests can move the time by hand, or run in a testing/synctest bubble.
//
// # Promises
//
// The numbered rules R1 to R31 are in CONTRACT.md; each has tests that are named after it.
// The module is at v0: the API may change between minor versions, and CHANGELOG.md says how.
package renew
