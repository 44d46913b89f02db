package digest

import (
	"net/http"
	"testing"

	"github.com/seed-f29168f7/renew"
)

// primed returns a Signer that knows a nonce.
func primed(tb testing.TB, algorithm string) (*Signer, *http.Request) {
	tb.Helper()
	s := &Signer{Username: "Mufasa", Password: renew.NewSecret("Circle of Life")}
	req, err := http.NewRequest("GET", "https://api.example/dir/index.html", nil)
	if err != nil {
		tb.Fatal(err)
	}
	c, err := s.Authenticate(req)
	if err != nil {
		tb.Fatal(err)
	}
	replay, err := s.Refused(req, c, &http.Response{StatusCode: 401, Header: http.Header{"Www-Authenticate": {
		`Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm=` + algorithm +
			`, nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"`}}})
	if err != nil {
		tb.Fatal(err)
	}
	if c, err = replay(req); err != nil {
		tb.Fatal(err)
	}
	s.Answered(req, c, &http.Response{StatusCode: 200})
	return s, req
}

// BenchmarkHeader is a request with a nonce that is known, and its answer.
func BenchmarkHeader(b *testing.B) {
	for _, algorithm := range []string{"MD5", "SHA-256"} {
		b.Run(algorithm, func(b *testing.B) {
			s, req := primed(b, algorithm)
			resp := &http.Response{StatusCode: 200}
			b.ReportAllocs()
			for b.Loop() {
				c, err := s.Authenticate(req)
				if err != nil {
					b.Fatal(err)
				}
				s.Answered(req, c, resp)
			}
		})
	}
}

func TestAllocations(t *testing.T) {
	s, req := primed(t, "SHA-256")
	resp := &http.Response{StatusCode: 200}
	got := testing.AllocsPerRun(100, func() {
		c, err := s.Authenticate(req)
		if err != nil {
			t.Fatal(err)
		}
		s.Answered(req, c, resp)
	})
	if got > 4 {
		t.Errorf("a header from a known nonce takes %v allocations, want at most 4", got)
	}
}
