package oauth1

import (
	"net/http"
	"testing"
)

// BenchmarkSign is one HMAC-SHA1 signature of a plain GET.
func BenchmarkSign(b *testing.B) {
	s := testSigner(newProvider())
	req, err := http.NewRequestWithContext(b.Context(), http.MethodGet, "https://api.example.test/v1/me?x=1", nil)
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

// A signature takes 15 allocations; this is them and some room.
func TestSignAllocations(t *testing.T) {
	s := testSigner(newProvider())
	s.ClientKey = "client-key"
	req := get(t, "https://api.example.test/v1/me?x=1")
	if n := testing.AllocsPerRun(200, func() { _, _ = s.Authenticate(req) }); n > 20 {
		t.Errorf("%v allocations, want at most 20", n)
	}
}
