package scenario

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/seed-f29168f7/renew/bench/contender"
)

func runShort(o Options) (*Result, error) {
	const takes, pace = 20 * time.Millisecond, 50 * time.Millisecond
	span := o.span(10 * time.Second)
	lives := []time.Duration{5 * time.Second, time.Second}
	r := &Result{Setup: "64 goroutines read every 50 ms for 10 s; a fetch takes 20 ms. All contenders run at the same time, since nothing but fetches is counted. " +
		"The least possible is one fetch a life. x/oauth2 is here twice: with an early expiry that suits the life, and with its own of 10 s."}
	name := func(life time.Duration) string { return fmt.Sprintf("fetches, life of %v", life) }
	failed := func(life time.Duration) string { return fmt.Sprintf("errors, life of %v", life) }
	for _, life := range lives {
		r.Figures = append(r.Figures, Figure{Name: name(life), Format: Count, Ratio: true}, Figure{Name: failed(life), Format: Count})
	}
	all := append(contender.All(), contender.XOAuth2Default)
	values := make([][]float64, len(all))
	for _, life := range lives {
		o.Progress("h: a life of %v", life)
		var wg sync.WaitGroup
		for i, c := range all {
			wg.Go(func() {
				s := &issuer{takes: takes, life: life}
				src := c.Open(s.fetch, contender.Settings{Life: life})
				defer src.Close()
				began := time.Now()
				_ = src.Reader().Read(context.Background())
				got := readFor(src, readers, span-time.Since(began), pace, takes)
				values[i] = append(values[i], float64(s.count(time.Time{}, began.Add(span))), float64(got.errors))
			})
		}
		wg.Wait()
	}
	for i, c := range all {
		r.add(c.Name, values[i]...)
	}
	for _, life := range lives {
		least := float64(span / life)
		got := r.of(contender.Ours, name(life)).Median
		r.goal(got <= 2*least, fmt.Sprintf("at most 2 times the least possible with a life of %v", life), "%.0f, the least %.0f", got, least)
	}
	return r, nil
}
