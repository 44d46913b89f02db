package budget_test

import (
	"fmt"
	"time"

	"github.com/seed-f29168f7/renew/budget"
)

// Two logins may follow a failure in any minute. Each is refused after a second.
func ExampleBudget() {
	b := &budget.Budget{Units: 2, Window: time.Minute}
	for _, now := range []time.Duration{0, 10 * time.Second, 20 * time.Second, 61 * time.Second} {
		retryAt, ok := b.Reserve(now)
		if !ok {
			fmt.Println(now, "no login before", retryAt)
			continue
		}
		ended := now + time.Second // log in here
		b.Spend(ended)
		fmt.Println(now, "login, left", b.Left(ended))
	}
	// Output:
	// 0s login, left 1
	// 10s login, left 0
	// 20s no login before 1m1s
	// 1m1s login, left 0
}

// Three credentials are due for reissue at once at an endpoint that takes one
// call a second. A reader that waits for a token overtakes those that are queued.
func ExamplePacer() {
	p := budget.NewPacer(budget.Rate{PerSecond: 1, Burst: 1})
	for i := range 3 {
		at, ok := p.Scheduled(0, false)
		fmt.Println("scheduled", i, at, ok)
	}
	fmt.Println("urgent", p.Urgent(500*time.Millisecond))
	at, ok := p.Scheduled(time.Second, true)
	fmt.Println("scheduled 1 comes back at 1s:", at, ok)
	// Output:
	// scheduled 0 0s true
	// scheduled 1 1s false
	// scheduled 2 2s false
	// urgent 1s
	// scheduled 1 comes back at 1s: 3s false
}
