package rivals

import (
	"io"
	"net/http"
	"strings"
	"testing"

	icholy "github.com/icholy/digest"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/sources/digest"
)

// digestServer gives its challenges, and takes any answer to them.
type digestServer struct {
	challenges []string
}

func (s *digestServer) RoundTrip(req *http.Request) (*http.Response, error) {
	resp := &http.Response{Request: req, StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(""))}
	if req.Header["Authorization"] != nil {
		return resp, nil
	}
	resp.StatusCode = http.StatusUnauthorized
	resp.Header["Www-Authenticate"] = s.challenges
	return resp, nil
}

const (
	digestUser, digestPassword = "Mufasa", "Circle of Life"
	digestOrigin               = "https://api.example.test"
	digestChallenge            = `Digest realm="http-auth@example.org", qop="auth", algorithm=SHA-256, nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"`
)

// digestTransports are the libraries, each before a server of its own.
func digestTransports(tb testing.TB, challenges ...string) map[string]http.RoundTripper {
	tb.Helper()
	ours, err := renew.NewTransport(&digest.Signer{Username: digestUser, Password: renew.NewSecret(digestPassword)},
		renew.TransportConfig{Origins: []string{digestOrigin}, Base: &digestServer{challenges: challenges}})
	if err != nil {
		tb.Fatal(err)
	}
	return map[string]http.RoundTripper{
		"renew":  ours,
		"icholy": &icholy.Transport{Username: digestUser, Password: digestPassword, Transport: &digestServer{challenges: challenges}},
	}
}

func digestRequest(tb testing.TB) *http.Request {
	tb.Helper()
	req, err := http.NewRequest(http.MethodGet, digestOrigin+"/dir/index.html", nil)
	if err != nil {
		tb.Fatal(err)
	}
	return req
}

func answered(tb testing.TB, t http.RoundTripper, req *http.Request) bool {
	tb.Helper()
	resp, err := t.RoundTrip(req)
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// BenchmarkDigest is one GET with a nonce that is known, through the Transport of each library.
func BenchmarkDigest(b *testing.B) {
	for name, t := range digestTransports(b, digestChallenge) {
		b.Run(name, func(b *testing.B) {
			req := digestRequest(b)
			b.ReportAllocs()
			for b.Loop() {
				if !answered(b, t, req) {
					b.Fatal("not answered")
				}
			}
		})
	}
}

func TestDigestAllocations(t *testing.T) {
	got := map[string]float64{}
	for name, tr := range digestTransports(t, digestChallenge) {
		req := digestRequest(t)
		got[name] = testing.AllocsPerRun(200, func() {
			if !answered(t, tr, req) {
				t.Fatalf("%s: not answered", name)
			}
		})
	}
	t.Logf("digest: allocations a request: %v", got)
	if got["renew"] >= got["icholy"] {
		t.Errorf("renew takes %v allocations a request, the rival %v", got["renew"], got["icholy"])
	}
}

// Challenges that servers send, and who answers them.
func TestDigestChallenges(t *testing.T) {
	const nonce = `nonce="n1", `
	total := map[string]int{}
	for _, tt := range []struct{ name, lines string }{
		{"SHA-256", digestChallenge},
		{"MD5", `Digest realm="r", ` + nonce + `qop="auth"`},
		{"RFC 2069", `Digest realm="r", nonce="n1"`},
		{"MD5-sess", `Digest realm="r", ` + nonce + `algorithm=MD5-sess, qop="auth"`},
		{"SHA-512-256", `Digest realm="r", ` + nonce + `algorithm=SHA-512-256, qop="auth"`},
		{"a space in qop", `Digest realm="r", ` + nonce + `qop="auth, auth-int"`},
		{"auth-int alone", `Digest realm="r", ` + nonce + `qop="auth-int"`},
		{"behind another scheme", `Negotiate, Basic realm="b", Digest realm="r", ` + nonce + `qop="auth"`},
		{"two in one line", `Digest realm="r", nonce="n2", algorithm=SHA-256, qop="auth", Digest realm="r", ` + nonce + `algorithm=MD5, qop="auth"`},
		{"two lines, the first unknown", "Digest realm=\"r\", nonce=\"n2\", algorithm=SHA-3, qop=\"auth\"\nDigest realm=\"r\", " + nonce + `algorithm=MD5, qop="auth"`},
		{"a comma and quotes in the realm", `Digest realm="a, \"b\"", ` + nonce + `qop="auth"`},
	} {
		for name, tr := range digestTransports(t, strings.Split(tt.lines, "\n")...) {
			ok := answered(t, tr, digestRequest(t))
			if ok {
				total[name]++
			} else {
				t.Logf("digest: %s does not answer: %s", name, tt.name)
			}
			if !ok && name == "renew" {
				t.Errorf("renew does not answer: %s", tt.name)
			}
		}
	}
	t.Logf("digest: of 11 challenges, answered: %v", total)
	if total["icholy"] != 8 {
		t.Errorf("the rival answers %d: say so where it is written that it answers 8", total["icholy"])
	}
}
