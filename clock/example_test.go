package clock_test

import (
	"fmt"
	"time"

	"github.com/seed-f29168f7/renew/clock"
)

// A token that lives for an hour is reissued after 45 minutes; the test of it takes no time.
func ExampleFake() {
	c := clock.NewFake(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
	c.AfterFunc(45*time.Minute, func() {
		fmt.Println("reissue at", c.Now().Wall.Format(time.TimeOnly))
		c.AfterFunc(10*time.Minute, func() { fmt.Println("again at", c.Now().Wall.Format(time.TimeOnly)) })
	})
	c.Advance(time.Hour)
	fmt.Println("now", c.Now().Wall.Format(time.TimeOnly), "after", c.Now().Mono)
	// Output:
	// reissue at 12:45:00
	// again at 12:55:00
	// now 13:00:00 after 1h0m0s
}

// A laptop sleeps for eight hours, and then somebody sets its clock back.
func ExampleFake_Suspend() {
	c := clock.NewFake(time.Date(2026, 3, 1, 22, 0, 0, 0, time.UTC))
	c.AfterFunc(time.Minute, func() { fmt.Println("timer at", c.Now().Wall.Format(time.TimeOnly)) })
	c.Suspend(8 * time.Hour)
	fmt.Println("awake at", c.Now().Wall.Format(time.TimeOnly), "after", c.Now().Mono)
	c.Advance(time.Minute)
	c.StepWall(-time.Hour)
	fmt.Println("set to", c.Now().Wall.Format(time.TimeOnly), "after", c.Now().Mono)
	// Output:
	// awake at 06:00:00 after 0s
	// timer at 06:01:00
	// set to 05:01:00 after 1m0s
}
