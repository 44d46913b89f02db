package renew

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// States that errors.Is can ask for.
var (
	// ErrClosed is returned by everything after Close.
	ErrClosed = errors.New("renew: closed")
	// ErrHung says that too many calls of the Source ignored the end of their
	// context; no new one starts until one of them returns, or Reset is called.
	ErrHung = errors.New("renew: calls of the source do not return")
	// ErrInteractionRequired says that only a person can get the next token, and
	// Config.Interactive does not allow to ask one. A Source returns it from Issue
	// to say the same.
	ErrInteractionRequired = errors.New("renew: a person must log in")
	// ErrBudgetSpent is matched by every *BudgetError.
	ErrBudgetSpent = errors.New("renew: failure budget spent")
	// ErrUnknown says that a Manager has no TokenSource of that name.
	ErrUnknown = errors.New("renew: no token source of that name")
)

// Kind says what an error means for the next attempt.
type Kind uint8

// The kinds of failure.
const (
	// Transient: a fault that may pass by itself; the timer retries with back-off.
	Transient Kind = iota
	// Throttled: the issuer asked for a pause (429, or 503 with Retry-After).
	Throttled
	// Refused: the issuer judged the credentials and said no; the next attempt costs a unit of the budget.
	Refused
	// Invalid: the answer, or the configuration, cannot work.
	Invalid
)

// String returns the kind in a word.
func (k Kind) String() string {
	switch k {
	case Transient:
		return "transient"
	case Throttled:
		return "throttled"
	case Refused:
		return "refused"
	case Invalid:
		return "invalid"
	}
	return "Kind(" + strconv.Itoa(int(k)) + ")"
}

// IssueError is a failure to get a token. Sources return it to say what a
// failure means; the TokenSource returns it with NextAttempt filled in. It
// holds no body, query, header or token.
type IssueError struct {
	// Source is what failed ("oauth2 client_credentials").
	Source string
	// Host is the issuer's host, with its port when it is not the default one.
	Host string
	// Status is the HTTP status of the reply, or 0.
	Status int
	// Code is the protocol's error code ("invalid_client"), or empty.
	Code string
	// Kind says what the failure means.
	Kind Kind
	// Permanent says that no attempt can succeed until something outside changes.
	Permanent bool
	// RetryAfter is the pause that the issuer asked for, from the moment of its reply; 0 means it did not say.
	RetryAfter time.Duration
	// Unsent says that the request certainly never reached the issuer (the dial or TLS failed).
	// Dial errors of package net are recognised without it.
	Unsent bool
	// Refusals is in how many exchanges of this one attempt the credentials were refused; 0 counts as 1 when Kind is Refused.
	Refusals int
	// NextAttempt is when the next attempt may start. Zero means that none is planned. The TokenSource sets it.
	NextAttempt time.Time
	// Err is the cause, or nil. Its text is part of the error's: it must hold no secret.
	Err error

	// relayed: a TokenSource has returned it. For a Source that uses another TokenSource it
	// is no verdict of its own issuer.
	relayed bool
}

// Error says what failed, where, and how the issuer answered.
func (e *IssueError) Error() string { return "renew: " + e.text() }

func (e *IssueError) text() string {
	var b strings.Builder
	b.WriteString(e.Source)
	if e.Source == "" {
		b.WriteString("issue")
	}
	if e.Host != "" {
		b.WriteString(" at " + e.Host)
	}
	b.WriteString(":")
	if e.Status != 0 {
		b.WriteString(" " + strconv.Itoa(e.Status))
	}
	if e.Code != "" {
		b.WriteString(" " + e.Code)
	}
	switch {
	case e.Err != nil && e.Status == 0 && e.Code == "":
		b.WriteString(" " + bare(e.Err))
	case e.Err != nil:
		b.WriteString(": " + bare(e.Err))
	case e.Status == 0 && e.Code == "":
		b.WriteString(" " + e.Kind.String())
	}
	if !e.NextAttempt.IsZero() {
		b.WriteString("; next attempt at " + e.NextAttempt.UTC().Format(time.RFC3339Nano))
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *IssueError) Unwrap() error { return e.Err }

// BudgetError says that the failure budget is spent: nothing is sent to the
// issuer until RetryAt. It matches ErrBudgetSpent.
type BudgetError struct {
	// Name is the name of the TokenSource within its Manager, or empty.
	Name string
	// RetryAt is the time at which the next unit is free.
	RetryAt time.Time
	// Err is the failure that spent the budget last, or nil.
	Err error
}

// Error says when the next unit is free, and why the budget is spent.
func (e *BudgetError) Error() string {
	s := "renew: " + named(e.Name) + "failure budget spent until " + e.RetryAt.UTC().Format(time.RFC3339Nano)
	if e.Err != nil {
		s += ": " + bare(e.Err)
	}
	return s
}

// Is matches ErrBudgetSpent.
func (e *BudgetError) Is(target error) bool { return target == ErrBudgetSpent }

// Unwrap returns the failure that spent the budget last.
func (e *BudgetError) Unwrap() error { return e.Err }

// ConfigError says which field of a configuration is wrong and what it must be.
type ConfigError struct {
	// Field is the field's name, with its type where that helps: "Config.Leeway".
	Field string
	// Reason says what is wrong and what to do.
	Reason string
}

// Error says which field is wrong, and what it must be.
func (e *ConfigError) Error() string { return "renew: " + e.Field + " " + e.Reason }

// PanicError is a panic, or a runtime.Goexit, in code that renew was given: a
// Source, a hook. It keeps no text of the panic's value, which may be secret.
type PanicError struct {
	// In is what panicked: "Issue", "Rotated".
	In string
	// Type is the Go type of the panic's value, or empty for runtime.Goexit.
	Type string
	// Stack is the stack of the goroutine that panicked.
	Stack []byte
}

// Error says what panicked, without the panic's text.
func (e *PanicError) Error() string {
	if e.Type == "" {
		return "renew: " + e.In + " called runtime.Goexit"
	}
	return "renew: " + e.In + " panicked with a " + e.Type
}

// CloseError says what Close could not end or revoke in its time.
type CloseError struct {
	// Running is how many calls of Sources and hooks were still running.
	Running int
	// Err is the end of Close's context, failed revocations, or both.
	Err error
}

// Error says how many calls were left running, and why.
func (e *CloseError) Error() string {
	s := "renew: close"
	if e.Running > 0 {
		s += fmt.Sprintf(": %d calls still running", e.Running)
	}
	if e.Err != nil {
		s += ": " + bare(e.Err)
	}
	return s
}

// Unwrap returns the cause.
func (e *CloseError) Unwrap() error { return e.Err }

// NotReadyError says which TokenSources of a Manager have no usable token.
type NotReadyError struct {
	// Sources has an error a name.
	Sources map[string]error
}

// bare returns the text of an error without this package's prefix, which
// stands once at the front.
func bare(err error) string { return strings.TrimPrefix(err.Error(), "renew: ") }

// named returns the name as a prefix, or nothing.
func named(name string) string {
	if name == "" {
		return ""
	}
	return name + ": "
}

// Error names them, and says why.
func (e *NotReadyError) Error() string {
	var b strings.Builder
	b.WriteString("renew: not ready")
	for i, name := range slices.Sorted(maps.Keys(e.Sources)) {
		if i == 10 {
			fmt.Fprintf(&b, "; and %d more", len(e.Sources)-i)
			break
		}
		b.WriteString("; " + strconv.Quote(name) + ": " + bare(e.Sources[name]))
	}
	return b.String()
}
