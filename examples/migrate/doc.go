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
//	requests-oauthlib 2.0, its OAuth 2 half   oauth2_test.go             sources/oauth2
//	requests.auth: Basic, Digest, proxies     requests_auth_test.go      sources/basic, sources/digest
//	an HMAC of the body in a header           hmac_test.go               sources/hmac
//	a JWT of PyJWT in a header                jwt_test.go                sources/jwt
//
// What holds for all of them:
//
//   - An auth object of requests gives its credentials to whatever host is called, and where redirects lead. Ours gives
//     them to the origins that it was told, and to no other.
//   - The originals wait for ever, unless each request is given a timeout. Ours takes a context with every call.
//   - The originals raise whatever went wrong within them. Ours returns typed errors, and none of them holds a secret.
//   - All but ToopherPython write tokens into the debug log. Ours logs changes of state, by renew.Config.Logger.
package migrate
