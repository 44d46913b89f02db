package toopher

import (
	"errors"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// What errors.Is finds in an [*APIError]. Every one of them matches ErrAPI, the four
// kinds match their own too.
var (
	// ErrAPI says that Toopher answered, and not with what was asked for.
	ErrAPI = errors.New("toopher: API error")
	// ErrUserDisabled says that the user has opted out. What that means for a login is
	// the requester's own policy.
	ErrUserDisabled = errors.New("toopher: the user has disabled Toopher")
	// ErrUserUnknown says that there is no such user: pair first.
	ErrUserUnknown = errors.New("toopher: the user is unknown")
	// ErrTerminalUnknown says that the user has no such terminal: create it first.
	ErrTerminalUnknown = errors.New("toopher: the terminal is unknown")
	// ErrPairingDeactivated says that the pairing was never authorized, or is not any more: pair again.
	ErrPairingDeactivated = errors.New("toopher: the pairing is deactivated")
)

// What errors.Is finds in the *APIError of [Client.SetUserEnabled].
var (
	// ErrNoUser says that the search by name found nobody.
	ErrNoUser = errors.New("there is no user with that name")
	// ErrSeveralUsers says that the search by name found more than one.
	ErrSeveralUsers = errors.New("there are several users with that name")
)

// Kind is which of the errors that Toopher tells apart an [APIError] is.
type Kind uint8

// The kinds.
const (
	// Other is every API error that is none of the four.
	Other Kind = iota
	// UserDisabled is code 704.
	UserDisabled
	// UserUnknown is code 705.
	UserUnknown
	// TerminalUnknown is code 706.
	TerminalUnknown
	// PairingDeactivated is code 707, or a message that says so.
	PairingDeactivated
)

// kinds has what is known of each kind, by its number.
var kinds = [...]struct {
	text     string
	sentinel error
	advice   string
}{
	Other:              {"API error", nil, ""},
	UserDisabled:       {"user disabled", ErrUserDisabled, "follow your policy for users who opted out"},
	UserUnknown:        {"user unknown", ErrUserUnknown, "pair the user first"},
	TerminalUnknown:    {"terminal unknown", ErrTerminalUnknown, "create the user's terminal first"},
	PairingDeactivated: {"pairing deactivated", ErrPairingDeactivated, "pair the user again"},
}

// String returns the kind in words.
func (k Kind) String() string {
	if int(k) < len(kinds) {
		return kinds[k].text
	}
	return "Kind(" + strconv.Itoa(int(k)) + ")"
}

// APIError says that Toopher answered with an error, or with something that is
// not in the form of its API. It holds no body, query, header or secret.
type APIError struct {
	// Kind tells the four distinct errors apart.
	Kind Kind
	// Code is Toopher's error_code, or 0 when the reply had none that can be read.
	Code int
	// Message is Toopher's error_message: one line, shortened to 300 characters. It is empty when
	// there was none, or when it repeated a secret of the request.
	Message string
	// Status is the HTTP status, or 0 for the postback of an iframe.
	Status int
	// Method and Path are those of the request. The path is below the base URL and escaped.
	Method, Path string
	// RetryAfter is the pause that the reply asked for; 0 means none.
	RetryAfter time.Duration
	// Err says what is wrong with a reply that is not in the API's form, or is nil.
	Err error
}

// Error says what was asked, what came back, and what to do.
func (e *APIError) Error() string {
	var b strings.Builder
	b.WriteString("toopher: " + strings.TrimSpace(e.Method+" "+e.Path) + ":")
	if e.Status != 0 {
		b.WriteString(" " + strconv.Itoa(e.Status))
	}
	b.WriteString(" " + e.Kind.String())
	if e.Code != 0 {
		b.WriteString(" " + strconv.Itoa(e.Code))
	}
	if e.Message != "" {
		b.WriteString(": " + e.Message)
	}
	if e.Err != nil {
		b.WriteString(": " + e.Err.Error())
	}
	if advice := e.advice(); advice != "" {
		b.WriteString(" (" + advice + ")")
	}
	return b.String()
}

func (e *APIError) advice() string {
	switch {
	case int(e.Kind) < len(kinds) && kinds[e.Kind].advice != "":
		return kinds[e.Kind].advice
	case e.Status == 401:
		return "check key, secret, base URL and this machine's clock"
	case e.Status == 403:
		return "the requester may not do this"
	case e.Status == 429:
		return "slow down"
	case e.Status >= 500:
		return "try again later"
	}
	return ""
}

// Is matches ErrAPI, and the sentinel of the kind.
func (e *APIError) Is(target error) bool {
	if target == ErrAPI {
		return true
	}
	return target != nil && int(e.Kind) < len(kinds) && kinds[e.Kind].sentinel == target
}

// Unwrap returns what is wrong with the reply.
func (e *APIError) Unwrap() error { return e.Err }

// kindOf tells the kind by the code first, and else by the text: older services
// have no code for a pairing that cannot be used.
func kindOf(code int, message string) Kind {
	switch code {
	case 704:
		return UserDisabled
	case 705:
		return UserUnknown
	case 706:
		return TerminalUnknown
	case 707:
		return PairingDeactivated
	}
	message = strings.ToLower(message)
	for _, text := range [...]string{"pairing has not been authorized", "pairing has been deactivated"} {
		if strings.Contains(message, text) {
			return PairingDeactivated
		}
	}
	return Other
}

// readError makes an error of the body of a reply that is one. A body that is not in
// the form leaves code and message empty: the status says enough. The message is as it came.
func readError(status int, body []byte) *APIError {
	e := &APIError{Status: status}
	o, err := parseObject(body)
	if err != nil {
		e.Err = err
		return e
	}
	e.Code = o.code("error_code")
	text, _ := o.text("error_message") // not a string: as if there were none
	e.Kind, e.Message = kindOf(e.Code, text), text
	return e
}

// maxMessage is how many characters of a message are kept.
const maxMessage = 300

// oneLine makes foreign text fit for a log: no control characters, not long.
func oneLine(s string) string {
	var b strings.Builder
	n := 0
	for _, r := range s {
		if n == maxMessage {
			b.WriteString("...")
			break
		}
		if unicode.IsControl(r) || r == utf8.RuneError || unicode.Is(unicode.Cf, r) || r == '\u2028' || r == '\u2029' {
			r = ' '
		}
		b.WriteRune(r)
		n++
	}
	return strings.TrimSpace(b.String())
}
