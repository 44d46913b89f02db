package scenario

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/seed-f29168f7/renew/bench/contender"
)

// apiOrigin is where the requests of scenario g go.
const apiOrigin = "https://api.example"

// idle is a RoundTripper that does nothing.
type idle struct{ resp *http.Response }

func (i idle) RoundTrip(*http.Request) (*http.Response, error) { return i.resp, nil }

// NewIdle returns a RoundTripper that does nothing.
func NewIdle() http.RoundTripper {
	return idle{&http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: http.NoBody}}
}

// UsualRequest has seven headers, as one of an API client has.
func UsualRequest() *http.Request {
	req, err := http.NewRequest(http.MethodGet, apiOrigin+"/v1/things?q=1", nil)
	if err != nil {
		panic(err)
	}
	for _, k := range []string{"Accept", "Accept-Encoding", "Accept-Language", "Content-Type", "User-Agent", "X-Request-Id", "Traceparent"} {
		req.Header.Set(k, "value")
	}
	return req
}

// BenchmarkRequests sends requests through the transport of an open contender.
func BenchmarkRequests(b *testing.B, src contender.Source) {
	rt, req := src.Transport(NewIdle(), apiOrigin), UsualRequest()
	if _, err := rt.RoundTrip(req); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.ResetTimer()
	for b.Loop() {
		if _, err := rt.RoundTrip(req); err != nil {
			b.Fatal(err)
		}
	}
}

func runRequests(o Options) (*Result, error) {
	r := &Result{
		Setup: "One goroutine sends one GET with seven headers, again and again, with a token that is valid for an hour.",
		Figures: []Figure{
			{Name: "ns/op", Format: Nanos, Ratio: true},
			{Name: "allocs/op", Format: Count},
			{Name: "bytes/op", Format: Count},
		},
	}
	repeats := o.repeats(7)
	for i := range repeats {
		for _, c := range contender.All() {
			if c.NoTransport != "" {
				r.none(c.Name, c.NoTransport)
				continue
			}
			o.Progress("g: repeat %d of %d: %s", i+1, repeats, c.Name)
			src := c.Open(Lasting, Hour)
			res, err := measure(func(b *testing.B) { BenchmarkRequests(b, src) })
			src.Close()
			if err != nil {
				return nil, fmt.Errorf("%s: %w", c.Name, err)
			}
			r.add(c.Name, float64(res.T.Nanoseconds())/float64(res.N), float64(res.AllocsPerOp()), float64(res.AllocedBytesPerOp()))
		}
	}
	ours, floor, allocs := r.of(contender.Ours, "ns/op").Median, r.of(contender.Floor, "ns/op").Median, r.of(contender.Ours, "allocs/op").Median
	r.goal(allocs <= 3, "at most 3 allocations", "%.0f", allocs)
	r.goal(ours <= 1.4*floor, "within 1.4 times the floor", "%.2f times", ours/floor)
	return r, nil
}
