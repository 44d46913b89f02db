// Command toopher is the demonstration of the Toopher API: it pairs a phone with a user, and then asks the
// phone to allow logins, as often as you like.
//
//	go run ./examples/toopher        # from the root of the repository
//
// It needs nothing else: it starts a Toopher service on loopback, whose phone is as patient as
// yours. It allows whatever it is asked, but only when it is asked for the second time.
//
// # Against another service
//
//	TOOPHER_CONSUMER_KEY=... TOOPHER_CONSUMER_SECRET=... TOOPHER_BASE_URL=https://... go run ./examples/toopher
//
// With any of the three set, nothing is started. The key or the secret is asked for when it is not set; the base URL is
// Toopher's own then. The secret is shown as you type it.
//
// The end of the input and Ctrl-C end it.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the next Ctrl-C kills
	if err := run(ctx, os.Stdin, os.Stdout, os.Getenv); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "toopher:", err)
		os.Exit(1)
	}
}
