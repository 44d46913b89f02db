// Package migrate puts the documented usage of what renew replaces beside ours, one system a file,
// step by step. Every step is an Example that go test ./migrate runs against the embedded test
// servers: above our Go lines stand those of the original, in Python. Each option of an original
// appears, with where it went, or with the sentence why ours does not have it.
//
//	system                                    file                       ours
//	armorapi 0.0.3                            armorapi_test.go           sources/armor
//	requests-crtauth 0.4                      requests_crtauth_test.go   sources/crtauth
//	ToopherPython 1.1.0 (and 2.0.0)           toopher_python_test.go     sources/toopher, examples/toopher
//	requests-oauthlib 2.0, its OAuth 1 half   oauth1_session_test.go     sources/oauth1
//
// What holds for all of them:
//
//   - The originals work for every host that a request names. Ours sends credentials to the origins that it was
//     given, and never after a redirect to another one.
//   - The originals have no timeouts, or one for each step. Ours takes a context with every call.
//   - The originals raise whatever went wrong. Ours returns typed errors, and none of them holds a secret.
//   - The originals log secrets at debug level. Ours logs changes of state, by renew.Config.Logger, without them.
package migrate
