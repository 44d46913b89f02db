package digest

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/seed-f29168f7/renew"
)

// FuzzChallenge gives the Signer a 401 of a stranger, and reads what it answers as a server would.
func FuzzChallenge(f *testing.F) {
	for _, tt := range readVectors(f).Captures {
		f.Add(strings.Join(tt.WWWAuthenticate, "\n"), tt.Info, "alice", "/a?b=c")
	}
	f.Add(`Digest realm="a \"q\" \\ r", nonce="n", qop="auth-int, auth", opaque="", userhash=true, domain="/x //y /z"`, `nextnonce="m"`, `a"b\c`, "/x")
	f.Add(`Digest realm=r, nonce=n, algorithm=md5`, `rspauth=""`, "J\u00e4s\u00f8n", "/")
	f.Fuzz(func(t *testing.T, challenges, info, user, path string) {
		s := &Signer{Username: user, Password: renew.NewSecret("the password")}
		if s.Validate() != nil {
			return
		}
		req, err := http.NewRequestWithContext(context.Background(), "GET", "https://api.example"+path, nil)
		if err != nil || req.URL.Host != "api.example" {
			return
		}
		c, err := s.Authenticate(req)
		if err != nil || req.Header["Authorization"] != nil {
			t.Fatalf("without a challenge: %v", err)
		}
		lines := strings.Split(challenges, "\n")
		replay, err := s.Refused(req, c, &http.Response{StatusCode: 401, Header: http.Header{"Www-Authenticate": lines}})
		if replay == nil {
			if err == nil {
				t.Fatal("neither an answer nor an error")
			}
			return
		}
		if c, err = replay(req); err != nil {
			t.Fatal(err)
		}
		cred := c.(*credential)
		first := check(t, cred, req)
		s.Answered(req, c, &http.Response{StatusCode: 200, Header: http.Header{"Authentication-Info": {info}}})
		// The next one: with that nonce or the next, and never the same answer.
		if c, err = s.Authenticate(req); err != nil {
			t.Fatal(err)
		}
		if next := c.(*credential); next.attempt != nil {
			second := check(t, next, req)
			if cred.session.qop != "" && first["nonce"] == second["nonce"] && first["nc"] >= second["nc"] {
				t.Fatalf("the count goes from %s to %s", first["nc"], second["nc"])
			}
		}
		s.Answered(req, c, nil)
	})
}

// check reads the header as a server would, and compares it with what was meant.
func check(t *testing.T, c *credential, req *http.Request) map[string]string {
	text := req.Header.Get("Authorization")
	for i := range len(text) {
		if text[i] < ' ' && text[i] != '\t' || text[i] == 0x7f {
			t.Fatalf("a control character in %q", text)
		}
	}
	header, err := parts(text)
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	se := c.session
	if header["realm"] != se.realm || header["nonce"] != se.nonce || header["opaque"] != se.opaque || header["uri"] != req.URL.RequestURI() || header["qop"] != se.qop {
		t.Fatalf("%q does not answer %+v", text, se.offer)
	}
	return header
}
