package toopher

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/seed-f29168f7/renew"
)

// Field is an additional field of a call. The functions that return one name
// those that Toopher has documented; [Extra] makes any other.
type Field struct{ Name, Value string }

// Extra is a field by its name. A call refuses a name that is empty, that starts
// with oauth_, that it sets itself, and that it is given twice.
func Extra(name, value string) Field { return Field{name, value} }

// UserID is Toopher's id of the user to pair. With it, the user gets the name of the call.
func UserID(id string) Field { return Field{"user_id", id} }

// TerminalID is Toopher's id of the terminal. With it, the terminal name of
// Authenticate may be empty; one that is not renames the terminal.
func TerminalID(id string) Field { return Field{"terminal_id", id} }

// TerminalNameExtra is the requester's secret id of the terminal, such as a random cookie. It keeps
// terminals of the same name apart, and is strongly advised.
func TerminalNameExtra(id string) Field { return Field{"terminal_name_extra", id} }

// ActionName is what the user is asked to allow. Empty leaves it to Toopher ("Log in").
func ActionName(name string) Field { return Field{"action_name", name} }

// AutomationAllowed says whether the phone may answer without asking. Toopher's default is true.
func AutomationAllowed(allowed bool) Field {
	return Field{"automation_allowed", strconv.FormatBool(allowed)}
}

// ChallengeRequired asks for more than a tap on the phone. Toopher's default is false.
func ChallengeRequired(required bool) Field {
	return Field{"challenge_required", strconv.FormatBool(required)}
}

// OTP is a one-time password (RFC 6238) from the phone. The answer is then final at once.
func OTP(code string) Field { return Field{"otp", code} }

// SMSInbandReply asks Toopher to send a code by SMS that the user types in, for
// AuthenticateWithOTP.
func SMSInbandReply(use bool) Field {
	return Field{"use_sms_inband_reply", strconv.FormatBool(use)}
}

// RequesterMetadata is text that comes back in the signed postback of an iframe.
func RequesterMetadata(text string) Field { return Field{"requester_metadata", text} }

// fields are the parameters of a request, in the order in which they are sent.
type fields []Field

// with adds the caller's fields to the call's own. call is the call's name, for
// the error, and reserved are names that the call decides about without always sending them.
func (own fields) with(call string, extra []Field, reserved ...string) (fields, error) {
	all := slices.Clone(own)
	for _, f := range extra {
		if f.Name == "action_name" && f.Value == "" {
			continue
		}
		same := func(g Field) bool { return g.Name == f.Name }
		reason := ""
		switch {
		case f.Name == "":
			reason = "has a field without a name"
		case len(f.Name) >= 6 && strings.EqualFold(f.Name[:6], "oauth_"):
			reason = "starts with oauth_, which is for the signature"
		case f.Name == "format":
			reason = "would change the form of the reply, which must be JSON"
		case slices.ContainsFunc(own, same) || slices.Contains(reserved, f.Name):
			reason = "is set by the call itself"
		case slices.ContainsFunc(all, same):
			reason = "stands in the call twice"
		}
		if reason != "" {
			return nil, &renew.ConfigError{Field: fmt.Sprintf("toopher: %s: extra field %.40q", call, f.Name), Reason: reason + ": leave it out"}
		}
		all = append(all, f)
	}
	return all, nil
}

// encode writes the fields as application/x-www-form-urlencoded, in their order.
func (f fields) encode() string {
	var b strings.Builder
	for i, field := range f {
		if i > 0 {
			b.WriteByte('&')
		}
		b.WriteString(url.QueryEscape(field.Name) + "=" + url.QueryEscape(field.Value))
	}
	return b.String()
}

// has reports whether there is a field of the name that is not empty.
func (f fields) has(name string) bool {
	return slices.ContainsFunc(f, func(g Field) bool { return g.Name == name && g.Value != "" })
}

// given is an argument that must not be empty.
type given struct{ name, value string }

// need reports the first empty argument as a *renew.ConfigError.
func need(call string, args ...given) error {
	for _, a := range args {
		if a.value == "" {
			return &renew.ConfigError{Field: "toopher: " + call + ": " + a.name, Reason: "is empty: it is needed"}
		}
	}
	return nil
}

// segment makes one segment of a path of an id. url.PathEscape leaves dots alone,
// and a path with a segment of dots names something else.
func segment(call, name, id string) (string, error) {
	switch id {
	case "":
		return "", need(call, given{name, id})
	case ".", "..":
		return "", &renew.ConfigError{Field: "toopher: " + call + ": " + name, Reason: "is made of dots: it is no id"}
	}
	return url.PathEscape(id), nil
}
