package scenario

import (
	"bytes"
	"context"
	"io"
	"log"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-f29168f7/renew/bench/contender"
)

// api is a true server on loopback, over TLS, that refuses tokens.
type api struct {
	*httptest.Server
	good     atomic.Int64 // the number of the first token that is good
	requests atomic.Int64
}

// slow is how late every tenth answer comes: after the verdict.
const slow = 300 * time.Millisecond

func newAPI() *api {
	a := &api{}
	a.Server = httptest.NewUnstartedServer(a)
	a.Config.ErrorLog = log.New(io.Discard, "", 0) // connections end when the clients do
	a.StartTLS()
	return a
}

func (a *api) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	_, _ = io.Copy(io.Discard, req.Body) // the client's connection has ended if this fails
	ok := int64(number(strings.TrimPrefix(req.Header.Get("Authorization"), "Bearer "))) >= a.good.Load()
	if a.requests.Add(1)%10 == 0 {
		time.Sleep(slow)
	}
	if !ok {
		w.Header().Set("WWW-Authenticate", `Bearer realm="api", error="invalid_token"`)
		w.WriteHeader(http.StatusUnauthorized)
	}
}

// reply is what a request came to; status 0 is an error.
type reply struct {
	began, ended time.Time
	status       int
}

// workers is how many goroutines send requests.
const workers = 200

// drive sends requests from all workers until stop is closed, half of them with a body that can be sent again. Each worker is
// done with warm when it has its connection, which two answers show.
func drive(client *http.Client, url string, warm *sync.WaitGroup, stop <-chan struct{}, pace time.Duration) [][]reply {
	per := make([][]reply, workers)
	var wg sync.WaitGroup
	for i := range workers {
		wg.Go(func() {
			time.Sleep(rand.N(2 * pace))
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				method, body := http.MethodGet, io.Reader(nil)
				if (i+n)%2 == 0 {
					method, body = http.MethodPost, bytes.NewReader([]byte("a body that can be sent again"))
				}
				req, err := http.NewRequestWithContext(context.Background(), method, url, body)
				if err != nil {
					panic(err)
				}
				one := reply{began: time.Now()}
				if resp, err := client.Do(req); err == nil {
					_, _ = io.Copy(io.Discard, resp.Body) // it is empty
					_ = resp.Body.Close()
					one.status = resp.StatusCode
				}
				one.ended = time.Now()
				per[i] = append(per[i], one)
				if n == 1 {
					warm.Done()
				}
				time.Sleep(pace + rand.N(pace))
			}
		})
	}
	wg.Wait()
	return per
}

// stormOf warms a contender up, makes the server refuse what was issued, or everything, and lets it go on for a span.
func stormOf(c contender.Contender, takes, span time.Duration, everything bool) (s *issuer, at time.Time, per [][]reply) {
	server := newAPI()
	defer server.Close()
	s = &issuer{takes: takes, life: time.Hour}
	src := c.Open(s.fetch, Hour)
	defer src.Close()
	base := server.Client().Transport.(*http.Transport).Clone()
	base.MaxIdleConnsPerHost = workers
	defer base.CloseIdleConnections()
	client := &http.Client{Transport: src.Transport(base, server.URL)}
	stop := make(chan struct{})
	var warm sync.WaitGroup
	warm.Add(workers)
	go func() {
		defer close(stop)
		warm.Wait()
		time.Sleep(slow) // what began during the last handshakes has ended
		at = time.Now()
		if everything {
			server.good.Store(math.MaxInt64)
		} else {
			server.good.Store(int64(len(s.issued())))
		}
		time.Sleep(span)
	}()
	per = drive(client, server.URL+"/things", &warm, stop, 100*time.Millisecond)
	return s, at, per
}

// refused returns how many requests ended in 401 or in an error after at, and when the first worker, and when all, had a good answer to a
// request that began after at, and none but good ones since.
func refused(per [][]reply, at time.Time) (refusals, errors, first, all float64) {
	first = math.Inf(1)
	for _, list := range per {
		again := math.Inf(1)
		for _, one := range list {
			switch {
			case one.ended.Before(at):
			case one.status == http.StatusUnauthorized:
				refusals++
				again = math.Inf(1)
			case one.status == 0:
				errors++
				again = math.Inf(1)
			case !one.began.Before(at) && math.IsInf(again, 1):
				again = one.ended.Sub(at).Seconds()
			}
		}
		first, all = min(first, again), max(all, again)
	}
	return refusals, errors, first, all
}

func runStorm(o Options) (*Result, error) {
	const takes = 50 * time.Millisecond
	r := &Result{
		Setup: "200 goroutines send a request about every 150 ms to a TLS server on loopback; half have a body that can be sent again, and every tenth answer comes 300 ms after its verdict. The token lives for an " +
			"hour, a fetch takes 50 ms. First the server revokes the token once, and 3 s are looked at. Then two new servers refuse every token for 3 s: with a fetch of 50 ms, and with one of 5 ms. " +
			"A goroutine is well when a request that it began after the revocation was answered, and every later one; an answer may take 300 ms, and two where it took a replay.",
		Figures: []Figure{
			{Name: "fetches after the revocation", Format: Count},
			{Name: "requests in 401", Format: Count},
			{Name: "errors", Format: Count},
			{Name: "first worker well after", Format: Seconds, Ratio: true},
			{Name: "all well after", Format: Seconds},
			{Name: "refused for ever: fetches, the first included", Format: Count},
			{Name: "the same with a fast endpoint", Format: Count},
		},
	}
	repeats, span := o.repeats(2), o.span(3*time.Second)
	for i := range repeats {
		for _, c := range contender.All() {
			if c.NoFailures {
				r.none(c.Name, "it knows no failures")
				continue
			}
			if c.NoTransport != "" {
				r.none(c.Name, c.NoTransport)
				continue
			}
			o.Progress("d: repeat %d of %d: %s", i+1, repeats, c.Name)
			s, at, per := stormOf(c, takes, span, false)
			refusals, errors, first, all := refused(per, at)
			var forever [2]float64
			var wg sync.WaitGroup
			for i, takes := range []time.Duration{takes, takes / 10} {
				wg.Go(func() {
					s, _, _ := stormOf(c, takes, span, true)
					forever[i] = float64(s.count(time.Time{}, time.Now()))
				})
			}
			wg.Wait()
			r.add(c.Name, float64(s.count(at, time.Now())), refusals, errors, first, all, forever[0], forever[1])
		}
	}
	of := func(figure string) Stat { return r.of(contender.Ours, figure) }
	fetches, in401, errors := of("fetches after the revocation"), of("requests in 401"), of("errors")
	r.goal(fetches.Min == 1 && fetches.Max == 1, "exactly 1 fetch, late refusals of the old token included", "%.0f", fetches.Median)
	r.goal(in401.Max == 0 && errors.Max == 0, "0 requests with a rewindable body that end in 401", "%.0f, and %.0f errors", in401.Max, errors.Max)
	forever, fast := of("refused for ever: fetches, the first included"), of("the same with a fast endpoint")
	r.goal(forever.Max <= 5 && fast.Max <= 5, "the budget stops it where every token is refused (5 fetches with the first), not the endpoint's speed", "%.0f, and %.0f with a fast endpoint", forever.Max, fast.Max)
	return r, nil
}
