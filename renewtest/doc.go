// Package renewtest helps to test programs that keep credentials with renew,
// and Sources for it. Nothing in it is a mock: requests, replies, connections
// and their failures are real.
//
// # Which to use when
//
//   - To test a program, a TokenSource, a Manager or a Transport against an issuer that misbehaves
//     on command, use an [Issuer]: a small true server with an OAuth 2 token
//     endpoint, a revocation endpoint and an API that wants a live token.
//   - To test a Source that you wrote, use [RunSource], or
//     [RunSourceInBubble] when nothing of it leaves the process: the kit
//     that every Source must pass. Each failure says which rule of CONTRACT.md was broken.
//   - To test a signer that you wrote (a renew.Authenticator that needs no issued token), use [RunSigner].
//   - To test that nothing you print or log holds a secret, use [Leaks].
//   - To test what your program does as time passes, without an issuer, use
//     package clock: clock.Fake and a renew.SourceFunc are enough.
//
// # In memory or over loopback
//
// An Issuer serves in memory from the start, over [net.Pipe], to those who use
// [Issuer.Client]. So it works in a [testing/synctest] bubble, where an issuer
// that hangs for an hour takes no time. Make it inside the bubble, and Close it there:
//
//	synctest.Test(t, func(t *testing.T) {
//		iss := renewtest.NewIssuer(renewtest.IssuerConfig{Life: time.Hour, Latency: 20 * time.Second})
//		defer iss.Close()
//		// iss.TokenURL(), iss.Client()
//	})
//
// Call [Issuer.Start] before anything else to listen on 127.0.0.1 as well: for programs that
// cannot be given an http.Client, and for tests that are not in a bubble and
// want real sockets. The rest of the API is the same.
//
// # Faults
//
// A [Fault] stands before the endpoint and may pause, answer, change or drop
// what goes by. [Issuer.Fail] puts one before the next n token requests. Faults may be
// set at any time, by any goroutine:
//
//	iss.Fail(renewtest.Drop(), 2)                          // two connections are reset,
//	iss.Fail(renewtest.RetryAfter(429, 30*time.Second), 1) // then a pause is asked for
//	iss.Fail(renewtest.Hang(), -1)                         // then it hangs,
//	iss.Heal()                                             // until now
//
// What happened is in [Issuer.Counts] and [Issuer.Events], neither of which
// holds a secret.
package renewtest
