package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/sources/toopher"
	"github.com/seed-f29168f7/renew/sources/toopher/toophertest"
)

const (
	defaultUser     = "demo@toopher.com"
	defaultTerminal = "my computer"
	// looks is how many times the phone of the embedded service is asked until it answers.
	looks = 2
)

// errBye is the end of the input, or Ctrl-C.
var errBye = errors.New("the user has left")

// demo talks to the user.
type demo struct {
	lines  <-chan string
	out    io.Writer
	client *toopher.Client
	// terminals has the secret id of each terminal by its name: one who knows it could pass for the terminal.
	terminals map[string]string
}

// run is the program. It returns nil when the user leaves.
func run(ctx context.Context, in io.Reader, out io.Writer, getenv func(string) string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	d := &demo{lines: readLines(ctx, in), out: out, terminals: make(map[string]string)}
	stop, err := d.connect(ctx, getenv)
	defer stop()
	if err == nil {
		err = d.walk(ctx)
	}
	if errors.Is(err, errBye) || ctx.Err() != nil {
		d.say("\nBye.")
		return nil
	}
	return err
}

// connect makes the client, and the embedded service where none is named.
func (d *demo) connect(ctx context.Context, getenv func(string) string) (stop func(), err error) {
	stop = func() {}
	key, secret, base := getenv("TOOPHER_CONSUMER_KEY"), getenv("TOOPHER_CONSUMER_SECRET"), getenv("TOOPHER_BASE_URL")
	if key == "" && secret == "" && base == "" {
		key, secret = "demo-key", rand.Text()
		service := toophertest.New(key, secret)
		service.Looks = looks
		if base, stop, err = service.Start(); err != nil {
			return func() {}, err
		}
		d.say("No TOOPHER_CONSUMER_KEY, TOOPHER_CONSUMER_SECRET or TOOPHER_BASE_URL is set: this is the")
		d.say("embedded service at %s. Its phone allows everything, when it is asked for the second time.", base)
	}
	if key == "" {
		if key, err = d.insist(ctx, "Consumer key: "); err != nil {
			return stop, err
		}
	}
	if secret == "" {
		if secret, err = d.insist(ctx, "Consumer secret: "); err != nil {
			return stop, err
		}
	}
	d.client = &toopher.Client{Key: key, Secret: renew.NewSecret(secret), BaseURL: base, RepeatGets: 1}
	return stop, d.client.Validate()
}

// walk is what the user sees: a pairing, and then authentication requests without an end.
func (d *demo) walk(ctx context.Context) error {
	d.say("\nStep 1: pair a phone\n--------------------")
	pairing, err := d.pair(ctx)
	if err != nil {
		return err
	}
	d.say("\nStep 2: log in\n--------------")
	for {
		a, err := d.authenticate(ctx, pairing.ID)
		if err != nil {
			return err
		}
		if err := d.answer(ctx, a.ID); err != nil {
			return err
		}
		if err := d.enter(ctx, "\nPress Enter to log in again, or Ctrl-C to leave. "); err != nil {
			return err
		}
	}
}

// pair asks for a phrase until the service takes one, and waits until the phone has agreed.
func (d *demo) pair(ctx context.Context) (*toopher.Pairing, error) {
	var pairing *toopher.Pairing
	for pairing == nil {
		phrase, err := d.insist(ctx, "Pairing phrase that the phone shows: ")
		if err != nil {
			return nil, err
		}
		user, err := d.ask(ctx, "User name ["+defaultUser+"]: ", defaultUser)
		if err != nil {
			return nil, err
		}
		if pairing, err = d.client.Pair(ctx, phrase, user); err != nil {
			if err := d.failed(ctx, "The pairing was not made", err); err != nil {
				return nil, err
			}
		}
	}
	for {
		if err := d.enter(ctx, "Allow the pairing on the phone, then press Enter. "); err != nil {
			return nil, err
		}
		status, err := d.client.PairingStatus(ctx, pairing.ID)
		if err != nil {
			return nil, err
		}
		switch status.State() {
		case toopher.Paired:
			d.say("Paired.")
			return status, nil
		case toopher.Unpaired:
			return nil, toopher.ErrPairingDenied
		}
		d.say("The phone has not agreed yet.")
	}
}

// authenticate asks for a terminal until the service takes the request.
func (d *demo) authenticate(ctx context.Context, pairingID string) (*toopher.Authentication, error) {
	for {
		name, err := d.ask(ctx, "Terminal name ["+defaultTerminal+"]: ", defaultTerminal)
		if err != nil {
			return nil, err
		}
		id, ok := d.terminals[name]
		if !ok {
			id = rand.Text()
			d.terminals[name] = id
		}
		a, err := d.client.Authenticate(ctx, pairingID, name, toopher.TerminalNameExtra(id))
		if err == nil {
			return a, nil
		}
		if err := d.failed(ctx, "The request was not made", err); err != nil {
			return nil, err
		}
	}
}

// answer asks for the phone's answer until there is one, and tells it.
func (d *demo) answer(ctx context.Context, id string) error {
	for {
		if err := d.enter(ctx, "Answer the request on the phone, then press Enter. "); err != nil {
			return err
		}
		a, err := d.client.AuthenticationStatus(ctx, id)
		switch {
		case err != nil:
			if err := d.failed(ctx, "The answer could not be asked for", err); err != nil {
				return err
			}
		case a.Pending:
			d.say("The phone has not answered yet.")
		default:
			d.tell(a)
			return nil
		}
	}
}

func (d *demo) tell(a *toopher.Authentication) {
	how, what := "", "denied"
	if a.Automated {
		how = "automatically "
	}
	if a.Granted() {
		what = "granted"
	}
	d.say("The request was %s%s!", how, what)
	if a.Reason != "" {
		d.say("The reason: %q", a.Reason)
	}
}

// failed tells what went wrong, and returns what ends the program.
func (d *demo) failed(ctx context.Context, what string, err error) error {
	if ctx.Err() != nil {
		return errBye
	}
	d.say("%s: %v", what, err)
	return nil
}

func (d *demo) say(format string, args ...any) { _, _ = fmt.Fprintf(d.out, format+"\n", args...) }

// ask reads a line; an empty one is other.
func (d *demo) ask(ctx context.Context, question, other string) (string, error) {
	_, _ = fmt.Fprint(d.out, question)
	select {
	case line, ok := <-d.lines:
		if !ok {
			return "", errBye
		}
		if line = strings.TrimSpace(line); line == "" {
			line = other
		}
		return line, nil
	case <-ctx.Done():
		return "", errBye
	}
}

// insist asks until a line is not empty.
func (d *demo) insist(ctx context.Context, question string) (string, error) {
	for {
		line, err := d.ask(ctx, question, "")
		if err != nil || line != "" {
			return line, err
		}
	}
}

func (d *demo) enter(ctx context.Context, question string) error {
	_, err := d.ask(ctx, question, "")
	return err
}

// readLines reads in as lines are wanted, so that Ctrl-C need not wait for one. Its goroutine ends with ctx, or
// with a Read that has begun.
func readLines(ctx context.Context, in io.Reader) <-chan string {
	lines := make(chan string)
	go func() {
		defer close(lines)
		scanner := bufio.NewScanner(in)
		for scanner.Scan() {
			select {
			case lines <- scanner.Text():
			case <-ctx.Done():
				return
			}
		}
	}()
	return lines
}
