package rivals

import (
	"context"
	"io"
	"maps"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	dghubble "github.com/dghubble/oauth1"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/sources/oauth1"
)

// The work: one plain GET, signed by HMAC-SHA1 with a token and sent by the Transport of each library, which
// copies the request. The network is an answer that is ready.
const (
	target                 = "https://api.example.test/v1/me?x=1"
	clientKey, clientSec   = "client-key-7Q2x", "client-secret-9LmW"
	accessToken, accessSec = "access-token-31Fd", "access-secret-K8sv"
)

// fixedNonce is the nonce of a test.
type fixedNonce string

func (n fixedNonce) Nonce() string { return string(n) }

// ready answers at once.
type ready struct {
	authorization string
	resp          *http.Response
}

func newReady() *ready {
	return &ready{resp: &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(""))}}
}

func (r *ready) RoundTrip(req *http.Request) (*http.Response, error) {
	r.authorization = req.Header["Authorization"][0]
	return r.resp, nil
}

func renewTransport(tb testing.TB, nonce func() string, base http.RoundTripper) http.RoundTripper {
	tb.Helper()
	t, err := renew.NewTransport(&oauth1.Signer{
		ClientKey: clientKey, ClientSecret: renew.NewSecret(clientSec),
		Token: renew.NewSecret(accessToken), TokenSecret: renew.NewSecret(accessSec), Nonce: nonce,
	}, renew.TransportConfig{Origins: []string{"https://api.example.test"}, Base: base})
	if err != nil {
		tb.Fatal(err)
	}
	return t
}

func dghubbleTransport(cfg *dghubble.Config, token *dghubble.Token, base http.RoundTripper) http.RoundTripper {
	ctx := context.WithValue(context.Background(), dghubble.HTTPClient, &http.Client{Transport: base})
	return cfg.Client(ctx, token).Transport
}

func dghubbleGet(noncer dghubble.Noncer, base http.RoundTripper) http.RoundTripper {
	cfg := dghubble.NewConfig(clientKey, clientSec)
	cfg.Noncer = noncer
	return dghubbleTransport(cfg, dghubble.NewToken(accessToken, accessSec), base)
}

func get(tb testing.TB) *http.Request {
	tb.Helper()
	req, err := http.NewRequest(http.MethodGet, target, nil)
	if err != nil {
		tb.Fatal(err)
	}
	return req
}

// sign sends one request.
func sign(tb testing.TB, rt http.RoundTripper, req *http.Request) {
	if _, err := rt.RoundTrip(req); err != nil {
		tb.Fatal(err)
	}
}

// Both do the same work: with one nonce at one time, their headers have the same content.
func TestOAuth1SameWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const nonce = "UYT667SGDVFNBXBCQWER2345AB"
		ours, theirs := newReady(), newReady()
		sign(t, renewTransport(t, func() string { return nonce }, ours), get(t))
		sign(t, dghubbleGet(fixedNonce(nonce), theirs), get(t))
		a, b := fields(ours.authorization), fields(theirs.authorization)
		if len(a) != 7 || !maps.Equal(a, b) {
			t.Errorf("renew sends\n%s, the rival\n%s", ours.authorization, theirs.authorization)
		}
	})
}

// fields returns what stands in a header.
func fields(header string) map[string]string {
	m := map[string]string{}
	for field := range strings.SplitSeq(strings.TrimPrefix(header, "OAuth "), ", ") {
		name, value, _ := strings.Cut(field, "=")
		m[name] = value
	}
	return m
}

// renew allocates less for a signed request than its rival.
func TestOAuth1Allocations(t *testing.T) {
	allocations := func(rt http.RoundTripper) float64 {
		req := get(t)
		return testing.AllocsPerRun(200, func() { sign(t, rt, req) })
	}
	ours := allocations(renewTransport(t, nil, newReady()))
	theirs := allocations(dghubbleGet(nil, newReady()))
	t.Logf("oauth1: allocations for a signed GET: renew %v, github.com/dghubble/oauth1 %v", ours, theirs)
	if ours >= theirs {
		t.Errorf("renew allocates %v times, the rival %v", ours, theirs)
	}
}

func BenchmarkOAuth1(b *testing.B) {
	for name, rt := range map[string]http.RoundTripper{
		"renew": renewTransport(b, nil, newReady()), "dghubble": dghubbleGet(nil, newReady()),
	} {
		b.Run(name, func(b *testing.B) {
			req := get(b)
			b.ReportAllocs()
			for b.Loop() {
				sign(b, rt, req)
			}
		})
	}
}

// BenchmarkOAuth1Ratio takes turns and compares the fastest turn of each, which a busy machine disturbs least. It prints
// how many times as long the rival takes.
func BenchmarkOAuth1Ratio(b *testing.B) {
	ours, theirs := renewTransport(b, nil, newReady()), dghubbleGet(nil, newReady())
	req := get(b)
	const turn = 100
	measure := func(rt http.RoundTripper, best time.Duration) time.Duration {
		start := time.Now()
		for range turn {
			sign(b, rt, req)
		}
		return min(best, time.Since(start))
	}
	our, their := time.Hour, time.Hour
	for b.Loop() {
		our, their = measure(ours, our), measure(theirs, their)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(our)/turn, "renew-ns/op")
	b.ReportMetric(float64(their)/turn, "dghubble-ns/op")
	b.ReportMetric(float64(their)/float64(our), "dghubble/renew")
}
