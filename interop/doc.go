// Package interop runs renew against an authorization server that was not
// written for it: github.com/ory/fosite v0.49.0, over loopback, judged by counters
// on the server's side. It has tests only. It is a module of its own because the
// server pulls a tree (OpenTelemetry, gRPC) that no user of renew should download.
//
// Why fosite. It issues the refresh token grant as RFC 9700, section 4.14.2, wants
// it: each refresh token works once, a used one that comes back ends the whole
// login, and a rotation ends the old access token too. It also has the
// authorization code flow with PKCE, introspection, revocation (RFC 7009), form-encoded
// Basic client authentication (RFC 6749, section 2.3.1), and a store in memory.
//
// Why not github.com/go-oauth2/oauth2/v4 v4.5.4, which is lighter (207 packages
// linked and 79 lines of go.sum, against 448 and 852). It rotates refresh tokens but
// does not detect their re-use: a used one is unknown, and the login lives on.
// The fault that the test is for would not be seen.
//
// The npm package oidc-provider 8.8.1, which is certified for OpenID Connect, has what fosite lacks in part: logins by a
// browser and by a device, client authentication by JWT, introspection and revocation. testdata/oidc has its lock file
// and the script that makes a provider of it; RENEW_OIDC_PROVIDER names the folder with its node_modules.
//
// Other peers, each a process of its own that a test starts: OpenSSH's ssh-agent for sources/crtauth,
// python-oauthlib (testdata/oauth1/provider.py) for sources/oauth1 and sources/toopher, and Apache httpd
// (testdata/apache.conf) for sources/basic and sources/digest. Where one is not
// installed its tests skip and say what is missing.
package interop
