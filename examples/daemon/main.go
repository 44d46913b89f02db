// Command daemon is a daemon of 50 workers whose credential renew keeps alive,
// and the judge of what renew promises about it.
//
//	go run ./examples/daemon        # from the root of the repository; about 20 s
//
// It needs nothing else: it starts an OAuth 2 issuer and a protected API on
// loopback, and workers that call the API through a renew.Transport with tokens
// of two seconds. Then it makes things go wrong, one after the other: steady state, the
// issuer away for three seconds, one revocation that all workers see at once, an
// API that refuses every fresh token until the failure budget (4 in 4 s here)
// stops the attempts, and recovery. Where the output is a terminal there is a live table, elsewhere
// plain lines. At the end stands a summary, with each promise kept, broken or not judged, and why. Verdicts
// go by the servers' own counts wherever the servers are ours.
//
// # See a promise broken
//
//	go run ./examples/daemon -break=one-flight
//	go run ./examples/daemon -list  # the names, one a line
//
// breaks that promise on purpose, by a mistake that daemons make: two token sources for one
// client, a worker that ignores 401s, a token in the log. Only the phases that
// show it are run, which takes less than 8 s. A check that cannot fail is worth nothing.
//
// # Against a server of yours
//
//	go run ./examples/daemon \
//		-token-url=https://login.example/oauth2/token -client-id=reports \
//		-client-secret-file=/run/secrets/reports -api=https://api.example/v1/ping \
//		-for=10m -workers=5
//
// The client credentials grant is used. The file is read at each token request, so
// the secret can be rotated meanwhile. http is for loopback only. Your
// server is not made to fail: what that would need is not judged, and the summary says so. One token is
// rejected on purpose, as if the API had refused it. The failure budget is the default one, 4 in
// 10 minutes.
//
// # Exit status
//
//	0    all that was judged is kept
//	1    a promise is broken (with -break: the one that was to be)
//	2    wrong flags
//	3    the run could not be carried out, or a break was not noticed
//	130  ended by Ctrl-C (or SIGTERM), and nothing that was judged by then is broken
//
// go run makes 1 of them all; build the program to tell them apart. Ctrl-C ends cleanly, with the summary; a
// second one kills.
//
// # Where to look
//
// daemon.go is what a program of yours would have: a Source, a TokenSource, a
// Transport, and Close at the end. phases.go is the walk, promises.go the
// judgement, break.go the mistakes, world.go the servers.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// The exit statuses.
const (
	exitKept        = 0
	exitBroken      = 1
	exitUsage       = 2
	exitFailed      = 3
	exitInterrupted = 130
)

// pauseMost is the longest pause between two calls of a worker with the embedded issuer.
const pauseMost = 200 * time.Millisecond

// options are the flags.
type options struct {
	runFor  time.Duration
	workers int
	pause   time.Duration
	broken  *breakage // nil: nothing is broken on purpose
	theirs  theirs
}

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, stdout *os.File, stderr io.Writer) int {
	opt, list, err := parse(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return exitKept
	case err != nil:
		return exitUsage
	case list:
		for _, b := range breaks {
			_, _ = fmt.Fprintln(stdout, b.promise)
		}
		return exitKept
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // the next Ctrl-C kills

	w, err := newWalk(opt, newScreen(stdout, isTerminal(stdout)))
	if err != nil {
		_, _ = fmt.Fprintln(stderr, "daemon:", err)
		return exitFailed
	}
	err = w.run(ctx)
	verdicts := w.summary()
	if err != nil && ctx.Err() == nil {
		_, _ = fmt.Fprintln(stderr, "daemon:", err)
		return exitFailed
	}
	return exitStatus(verdicts, opt.broken, ctx.Err() != nil)
}

// exitStatus is what the verdicts come to.
func exitStatus(verdicts map[string]verdict, b *breakage, interrupted bool) int {
	any := false
	for _, v := range verdicts {
		any = any || v.state == broken
	}
	switch {
	case b != nil && verdicts[b.promise].state == broken:
		return exitBroken
	case interrupted && (b != nil || !any):
		return exitInterrupted
	case b != nil:
		return exitFailed
	case any:
		return exitBroken
	}
	return exitKept
}

// parse reads the flags. It has told stderr what is wrong when it returns an error.
func parse(args []string, stderr io.Writer) (opt options, list bool, err error) {
	fs := flag.NewFlagSet("daemon", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.Usage = func() { usage(fs) }
	fs.DurationVar(&opt.runFor, "for", 20*time.Second, "how long to run, about: the steady state is made to fit. The whole walk takes 16s at least; -break has its own times")
	fs.IntVar(&opt.workers, "workers", 50, "how many `workers` call the API")
	fs.DurationVar(&opt.pause, "pause", 0, "pause of a worker between two calls (default 100ms, or 1s against a server of yours)")
	name := fs.String("break", "", "break this `promise` on purpose: exit status 1")
	fs.BoolVar(&list, "list", false, "print what -break can break, one name a line, and exit")
	fs.StringVar(&opt.theirs.tokenURL, "token-url", "", "`URL` of your token endpoint, instead of the embedded issuer")
	fs.StringVar(&opt.theirs.clientID, "client-id", "", "`id` of your client")
	fs.StringVar(&opt.theirs.secretFile, "client-secret-file", "", "`file` with its secret, read at each token request")
	fs.StringVar(&opt.theirs.api, "api", "", "`URL` that the workers GET with the token")
	fs.StringVar(&opt.theirs.scopes, "scopes", "", "`scopes` to ask your server for, with spaces between them")
	if err := fs.Parse(args); err != nil {
		return opt, list, err
	}
	wrong := func(format string, args ...any) (options, bool, error) {
		err := fmt.Errorf(format, args...)
		_, _ = fmt.Fprintf(stderr, "daemon: %v (-help says more)\n", err)
		return opt, list, err
	}
	switch {
	case fs.NArg() > 0:
		return wrong("%q is not a flag", fs.Arg(0))
	case opt.workers < 1 || opt.workers > 1000:
		return wrong("-workers is %d: it must be 1 to 1000", opt.workers)
	case opt.runFor <= 0:
		return wrong("-for is %v: it must be positive", opt.runFor)
	case opt.pause < 0:
		return wrong("-pause is %v: it must be positive, or 0 for the default", opt.pause)
	}
	if err := opt.theirs.check(); err != nil {
		return wrong("%w", err)
	}
	if *name != "" {
		if opt.broken = breakOf(*name); opt.broken == nil {
			return wrong("-break=%s: there is no such promise", *name)
		}
		if opt.theirs.given() {
			return wrong("-break is for the embedded issuer: it would do harm to yours")
		}
	}
	if opt.pause > pauseMost && !opt.theirs.given() {
		return wrong("-pause is %v: with the embedded issuer it must be at most %v, or there is too little to see", opt.pause, pauseMost)
	}
	if opt.pause == 0 {
		opt.pause = 100 * time.Millisecond
		if opt.theirs.given() {
			opt.pause = time.Second
		}
	}
	return opt, list, nil
}

func usage(fs *flag.FlagSet) {
	out := fs.Output()
	_, _ = fmt.Fprint(out, "daemon keeps a credential alive under 50 workers, makes things go wrong, and judges what renew promises.\n\nFlags:\n")
	fs.PrintDefaults()
	_, _ = fmt.Fprint(out, "\nPromises, each with what -break does to it:\n")
	for _, p := range promises {
		_, _ = fmt.Fprintf(out, "  %s\n    \t%s\n", p.name, p.means)
		if b := breakOf(p.name); b != nil {
			_, _ = fmt.Fprintf(out, "    \t-break: %s\n", b.does)
		}
	}
	_, _ = fmt.Fprint(out, "\nExit status: 0 kept, 1 broken, 2 wrong flags, 3 not carried out or a break not noticed, 130 Ctrl-C.\n")
}
