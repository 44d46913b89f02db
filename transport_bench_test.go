package renew

import (
	"net/http"
	"testing"
)

// published is an Authenticator that does what TokenSource.Authenticate does
// with a token that is there: one load, and the ready header value.
type published struct{ tok *Token }

func newPublished() published {
	value := []string{bearer(0)}
	value = value[:1:1]
	return published{&Token{generation: 1, header: func() []string { return value }}}
}

func (p published) Authenticate(req *http.Request) (Credential, error) {
	p.tok.SetAuthHeader(req)
	return p.tok, nil
}

func (p published) Refused(*http.Request, Credential, *http.Response) (Replay, error) {
	return nil, nil
}

// noop is a base that costs nothing.
func noop() baseFunc {
	resp := &http.Response{StatusCode: 200, Body: http.NoBody}
	return func(*http.Request) (*http.Response, error) { return resp, nil }
}

// usualRequest has the seven headers that fit with ours into a map of the smallest size.
func usualRequest(t testing.TB) *http.Request {
	req := newRequest(t, "GET", "https://api.example/v1/things?q=1", nil)
	for _, k := range []string{"Accept", "Accept-Encoding", "Accept-Language", "Content-Type", "User-Agent", "X-Request-Id", "Traceparent"} {
		req.Header.Set(k, "value")
	}
	return req
}

func BenchmarkR28_RoundTrip(b *testing.B) {
	tr, req := newTransport(b, newPublished(), TransportConfig{Base: noop()}), usualRequest(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := tr.RoundTrip(req); err != nil {
			b.Fatal(err)
		}
	}
}

// The floor: the cheapest correct way to send a copy with one more header, by
// itself, with no origin, no 401 and nothing to look for.
func BenchmarkR28_Floor(b *testing.B) {
	base, req, value := http.RoundTripper(noop()), usualRequest(b), []string{bearer(0)}
	b.ReportAllocs()
	for b.Loop() {
		out := req.WithContext(req.Context())
		out.Header = make(http.Header, len(req.Header)+1)
		for k, v := range req.Header {
			out.Header[k] = v[:len(v):len(v)]
		}
		out.Header["Authorization"] = value
		resp, err := base.RoundTrip(out)
		if err != nil {
			b.Fatal(err)
		}
		resp.Request = req
	}
}

// For scale: what most round trippers do.
func BenchmarkR28_Clone(b *testing.B) {
	base, req, value := http.RoundTripper(noop()), usualRequest(b), bearer(0)
	b.ReportAllocs()
	for b.Loop() {
		out := req.Clone(req.Context())
		out.Header.Set("Authorization", value)
		if _, err := base.RoundTrip(out); err != nil {
			b.Fatal(err)
		}
	}
}
