package toopher

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/seed-f29168f7/renew"
)

// Why [Client.Login] gives up.
var (
	// ErrPairingDenied says that the user did not agree to the pairing.
	ErrPairingDenied = errors.New("toopher: the user denied the pairing")
	// ErrTooManyRounds says that Login.Rounds were not enough. It comes with the last cause.
	ErrTooManyRounds = errors.New("toopher: still no authentication request after all rounds")
)

// Login is one login by the flow that stores nothing: the requester knows the user by
// name, and the terminal by a random id in a cookie.
type Login struct {
	// UserName is the requester's name of the user. Required.
	UserName string
	// TerminalID is the requester's secret id of the terminal: long and random, in a secure cookie. Users of
	// one browser may share it. It goes out as terminal_name_extra. Required.
	TerminalID string
	// Fields are more fields of the authentication request, such as [ActionName].
	Fields []Field
	// AskPhrase asks the user for a pairing phrase, where the user is unknown or the
	// pairing deactivated. why is that error, or that of Pair about the last phrase. Nil means that
	// Login returns the error instead.
	AskPhrase func(ctx context.Context, why error) (phrase string, err error)
	// AskTerminalName asks the user for a name of the terminal, where that is unknown. Nil
	// means that Login returns the error instead.
	AskTerminalName func(ctx context.Context, why error) (name string, err error)
	// Rounds is how many authentication requests Login tries to make, with what is
	// missing mended between them. Zero means 5; negative is an error.
	Rounds int
	// Answer and Paired say how to wait for the phone's answer to the login and to a pairing.
	Answer, Paired Poll
}

const loginRounds = 5

// Validate reports the first field that cannot work, as a *renew.ConfigError.
func (l Login) Validate() error {
	if err := need("Login", given{"UserName", l.UserName}, given{"TerminalID", l.TerminalID}); err != nil {
		return err
	}
	if l.Rounds < 0 {
		return &renew.ConfigError{Field: "Login.Rounds", Reason: "is negative: it must be positive, or 0 for 5"}
	}
	if err := l.Answer.Validate(); err != nil {
		return err
	}
	return l.Paired.Validate()
}

// Login asks the phone of a user to allow a login, and waits for the answer: look at Granted
// then. An unknown user is paired first, a deactivated pairing made anew, an unknown
// terminal created, each at most once a round.
//
// A user who has opted out is an error that matches ErrUserDisabled, never a grant: what
// that means is the requester's policy. Further errors are ErrPairingDenied,
// ErrTooManyRounds, those of the functions in l as they are, and those of the calls. It blocks as long as
// users take; ctx ends it.
func (c *Client) Login(ctx context.Context, l Login) (*Authentication, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if err := l.Validate(); err != nil {
		return nil, err
	}
	rounds := l.Rounds
	if rounds == 0 {
		rounds = loginRounds
	}
	var untaken error // what Pair said about the last phrase, if it did not take it
	for round := 1; ; round++ {
		a, err := c.AuthenticateByUserName(ctx, l.UserName, l.TerminalID, l.Fields...)
		if err == nil {
			return c.answer(ctx, a, l.Answer)
		}
		phrase := l.AskPhrase != nil && (errors.Is(err, ErrUserUnknown) || errors.Is(err, ErrPairingDeactivated))
		terminal := l.AskTerminalName != nil && errors.Is(err, ErrTerminalUnknown)
		switch {
		case !phrase && !terminal:
			return nil, err
		case round >= rounds:
			return nil, fmt.Errorf("%w: %w", ErrTooManyRounds, cmp.Or(untaken, err))
		case phrase:
			untaken, err = c.loginPair(ctx, l, cmp.Or(untaken, err))
		default:
			untaken, err = nil, c.loginTerminal(ctx, l, err)
		}
		if err != nil {
			return nil, err
		}
	}
}

// answer waits for the answer to a request, unless the reply that made it has it already.
func (c *Client) answer(ctx context.Context, a *Authentication, p Poll) (*Authentication, error) {
	if !a.Pending {
		return a, nil
	}
	return c.WaitForAuthentication(ctx, a.ID, p)
}

// loginPair pairs the user. A phrase that Toopher did not take is worth another round: it is
// returned as untaken. Everything else that goes wrong is err.
func (c *Client) loginPair(ctx context.Context, l Login, cause error) (untaken, err error) {
	phrase, err := l.AskPhrase(ctx, cause)
	if err != nil {
		return nil, err
	}
	pairing, err := c.Pair(ctx, phrase, l.UserName)
	if e, ok := errors.AsType[*APIError](err); ok && (e.Status == 400 || e.Status == 404 || e.Status == 409) && e.Kind != UserDisabled {
		return err, nil
	}
	if err != nil {
		return nil, err
	}
	if s := pairing.State(); s != Paired && s != Unpaired {
		if pairing, err = c.WaitForPairing(ctx, pairing.ID, l.Paired); err != nil {
			return nil, err
		}
	}
	if !pairing.Paired() {
		return nil, ErrPairingDenied
	}
	return nil, nil
}

// loginTerminal names the terminal.
func (c *Client) loginTerminal(ctx context.Context, l Login, why error) error {
	name, err := l.AskTerminalName(ctx, why)
	if err != nil {
		return err
	}
	return c.CreateUserTerminal(ctx, l.UserName, name, l.TerminalID)
}
