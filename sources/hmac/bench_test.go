package hmac

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

func BenchmarkSign(b *testing.B) {
	s := testSigner(nil)
	req, err := http.NewRequest("POST", "https://api.example/orders?page=2", strings.NewReader(strings.Repeat("x", 1000)))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Authenticate(req); err != nil {
			b.Fatal(err)
		}
	}
}

// It verifies what it signs, since nothing is taken twice: the time is that of both.
func BenchmarkSignAndVerify(b *testing.B) {
	s, v := testSigner(nil), testVerifier(nil)
	v.MaxRemembered = 1 << 30
	body := strings.Repeat("x", 1000)
	b.ReportAllocs()
	for b.Loop() {
		r := signed(b, s, "POST", "/orders?page=2", body)
		if _, err := v.Verify(r); err != nil {
			b.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, r.Body)
	}
}
