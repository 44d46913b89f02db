package digest

import (
	"net/http"
	"testing"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/sources/internal/lockout"
)

// unauthorized is a 401 with one challenge.
func unauthorized(challenge string) *http.Response {
	return &http.Response{StatusCode: 401, Header: http.Header{"Www-Authenticate": {challenge}}}
}

// What a first 401 to an answer says of the password. After a refusal only the server's word makes it one about the nonce.
func TestR18_WhatIsARefusal(t *testing.T) {
	const ours = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v" // of primed
	for _, tt := range []struct {
		name, challenge string
		free, costs     bool // whether it is excused
	}{
		{"the same nonce", `Digest realm="http-auth@example.org", nonce="` + ours + `", qop="auth"`, false, false},
		{"another nonce", `Digest realm="http-auth@example.org", nonce="n", qop="auth"`, true, false},
		{"another realm", `Digest realm="r", nonce="` + ours + `", qop="auth"`, true, false},
		{"stale", `Digest realm="http-auth@example.org", nonce="n", qop="auth", stale=true`, true, true},
		{"stale, the same nonce", `Digest realm="http-auth@example.org", nonce="` + ours + `", qop="auth", stale=TRUE`, true, true},
		{"no Digest", `Basic realm="r"`, false, false},
	} {
		for _, costs := range []bool{false, true} {
			s, req := primed(t, "SHA-256")
			c, err := s.Authenticate(req)
			if err != nil {
				t.Fatal(err)
			}
			cred := c.(*credential)
			want := tt.free
			if costs {
				want = tt.costs
				cred.attempt.End(lockout.Refused)
				r := lockout.Request{Origin: cred.origin, Path: req.URL.Path}
				if cred.attempt, _, err = s.gates.Begin(t.Context(), r, s.password); err != nil || !cred.attempt.Costs() {
					t.Fatalf("%v", err)
				}
			}
			replay, _ := s.Refused(req, cred, unauthorized(tt.challenge))
			if (replay != nil) != want {
				t.Errorf("%s, costs %v: a replay %v, want %v", tt.name, costs, replay != nil, want)
			}
			// Whatever it was, the nonce is not used again.
			if next, err := s.Authenticate(req); err != nil || next != renew.Credential(bare) {
				t.Errorf("%s, costs %v: the next request has an answer: %v", tt.name, costs, err)
			}
		}
	}
}
