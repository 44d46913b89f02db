package digest

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/budget"
	"github.com/seed-f29168f7/renew/clock"
)

// Servers of all kinds, requesters who go away, bodies that cannot be sent again, and answers that are lost. A good password takes no
// unit and is never refused, a wrong one is sent as often as the rules allow, no answer comes twice, and whoever waits ends.
func TestR18_RandomServers(t *testing.T) {
	accepted := 0
	for seed := range uint64(150) {
		synctest.Test(t, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 0))
			p := newPeer()
			p.oneTime, p.next, p.noStale, p.rspauth = rnd.IntN(2) == 0, rnd.IntN(2) == 0, rnd.IntN(2) == 0, rnd.IntN(2) == 0
			p.uses = rnd.IntN(4)
			p.algorithm = []string{"", "MD5", "MD5-sess", "SHA-256", "SHA-512-256-sess"}[rnd.IntN(5)]
			s := signerFor(p)
			s.Budget = &budget.Budget{}
			wrong := rnd.IntN(3) == 0
			if wrong {
				s.Password = renew.NewSecret("wrong password")
			}
			var mu sync.Mutex
			answers, lost := map[string]bool{}, 0
			h := &inProcess{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				mu.Lock()
				fate, header := rnd.IntN(12), r.Header.Get("Authorization")
				if header != "" && answers[header] {
					t.Errorf("seed %d: the same answer came twice", seed)
				}
				answers[header] = true
				mu.Unlock()
				if fate == 0 { // it was not judged
					w.WriteHeader(http.StatusServiceUnavailable)
					return
				}
				p.ServeHTTP(w, r)
				if fate == 1 && header != "" {
					mu.Lock()
					lost++
					mu.Unlock()
					panic(http.ErrAbortHandler) // it was judged, and the answer is lost
				}
			}), delay: time.Second}
			c := clientOf(t, s, h)
			var wg sync.WaitGroup
			for i := range uint64(8) {
				wg.Go(func() {
					rnd := rand.New(rand.NewPCG(seed, i+1))
					for range 8 {
						ctx, cancel := context.WithTimeout(t.Context(), time.Duration(1+rnd.IntN(20))*time.Second)
						var body io.Reader
						switch rnd.IntN(3) {
						case 0:
							body = strings.NewReader("again")
						case 1:
							body = stream()
						}
						req, err := http.NewRequestWithContext(ctx, "POST", origin+"/", body)
						if err != nil {
							t.Error(err)
						}
						func() {
							defer func() { _ = recover() }()
							resp, err := c.Do(req)
							switch {
							case err == nil:
								resp.Body.Close()
								if resp.StatusCode == http.StatusOK {
									mu.Lock()
									accepted++
									mu.Unlock()
								}
							case errors.Is(err, renew.ErrBudgetSpent):
								if !wrong {
									t.Errorf("seed %d: %v", seed, err)
								}
							case ctx.Err() == nil:
								t.Errorf("seed %d: %v", seed, err)
							}
						}()
						cancel()
						time.Sleep(time.Duration(rnd.Int64N(int64(time.Second))))
					}
				})
			}
			wg.Wait()
			left := s.Budget.Left(clock.Real{}.Now().Mono)
			if !wrong && (p.refused > 0 || left != budget.DefaultUnits) {
				t.Errorf("seed %d: a good password was refused %d times, and %d units are left", seed, p.refused, left)
			}
			// One may be taken for an answer with a nonce that was too old, and those that were lost before the first refusal say nothing.
			if wrong && p.refused > 6+lost {
				t.Errorf("seed %d: %d wrong answers, %d of them lost", seed, p.refused, lost)
			}
		})
	}
	t.Logf("%d requests were served", accepted)
}
