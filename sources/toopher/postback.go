package toopher

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/seed-f29168f7/renew"
)

// Why [Iframe.Postback] refuses a postback. Each refusal is a *PostbackError, which matches
// ErrPostback and one of the others. None of them says anything about the user: do not let in
// who comes with one.
var (
	// ErrPostback is matched by every refusal.
	ErrPostback = errors.New("toopher: the postback is refused")
	// ErrPostbackForm says that the fields cannot be read.
	ErrPostbackForm = errors.New("the fields cannot be read")
	// ErrPostbackSignature says that Toopher did not sign these fields.
	ErrPostbackSignature = errors.New("the signature is missing or wrong")
	// ErrPostbackToken says that the postback belongs to another session, or that this session has no request token.
	ErrPostbackToken = errors.New("the request token is missing or another one")
	// ErrPostbackTime says that the postback is too old, or from the future.
	ErrPostbackTime = errors.New("the time is missing, too long ago or in the future")
)

// PostbackError is a refused postback. It holds nothing of the postback, and above all not
// the signature that would have been right.
type PostbackError struct {
	// Reason is one of the four sentinels.
	Reason error
}

// Error says why.
func (e *PostbackError) Error() string { return ErrPostback.Error() + ": " + e.Reason.Error() }

// Is matches ErrPostback.
func (e *PostbackError) Is(target error) bool { return target == ErrPostback }

// Unwrap returns the reason.
func (e *PostbackError) Unwrap() error { return e.Reason }

// Postback is what an iframe posted, signed by Toopher, for this session, in time.
type Postback struct {
	// Authentication is the answer to an authentication request; or nil.
	Authentication *Authentication
	// Pairing is a pairing that was made or changed; or nil.
	Pairing *Pairing
	// User is a user whose settings were changed; or nil.
	User *User
	// Metadata is the requester_metadata of the URL.
	Metadata string
	// Fields are all signed fields, the first value of each.
	Fields map[string]string
}

// Granted reports whether the user has allowed the action. Compare
// Authentication.User.Name with the user who logs in too, unless the request token
// was made for that user alone.
func (p *Postback) Granted() bool { return p.Authentication != nil && p.Authentication.Granted() }

// postbackFields are those that cannot be dropped: they decide what a postback means.
var postbackFields = []string{
	"toopher_sig", "timestamp", "session_token", "resource_type", "error_code", "error_message",
	"id", "pending", "granted", "automated", "enabled", "name", "user_name", "toopher_iframe_data", "iframe_postback_data",
}

// Postback checks what an iframe posted, and reads it. form is the decoded form
// of the POST (http.Request.PostForm), with the fields themselves or one field toopher_iframe_data that holds
// them. requestToken is the one that the session keeps; forget it there, so that no postback counts twice.
//
// The order of the checks is fixed: the signature, the request token, the time, and only then
// what the postback says. What Toopher says by an error_code is an *APIError, as for a call: one that
// matches ErrUserDisabled comes from Toopher and not from the browser. So is a postback that is signed and
// not in the form. It does not block.
func (f *Iframe) Postback(form url.Values, requestToken string) (*Postback, error) {
	if err := f.Validate(); err != nil {
		return nil, err
	}
	signed, signature, err := f.signed(form)
	if err != nil {
		return nil, &PostbackError{err}
	}
	if !validSignature(f.Client.Secret, signed, signature) {
		return nil, &PostbackError{ErrPostbackSignature}
	}
	token := signed["session_token"]
	if requestToken == "" || subtle.ConstantTimeCompare([]byte(token), []byte(requestToken)) != 1 {
		return nil, &PostbackError{ErrPostbackToken}
	}
	if !f.inTime(signed["timestamp"], f.Client.clock().Now().Wall) {
		return nil, &PostbackError{ErrPostbackTime}
	}
	p, e := readPostback(signed)
	if e != nil {
		e.Path = "iframe postback"
		e.Message = shown(e.Message, f.Client.Secret, fields{{"session_token", token}})
		return nil, e
	}
	return p, nil
}

// signed returns the fields that the signature is over, and the signature.
func (f *Iframe) signed(form url.Values) (map[string]string, string, error) {
	for _, name := range [...]string{"toopher_iframe_data", "iframe_postback_data"} {
		data, ok := form[name]
		if !ok || len(data) == 0 {
			continue
		}
		if len(data[0]) > maxReply {
			return nil, "", ErrPostbackForm
		}
		inner, err := url.ParseQuery(data[0])
		if err != nil {
			return nil, "", ErrPostbackForm
		}
		form = inner
		break
	}
	fields := make(map[string]string, len(form))
	for name, values := range form {
		if len(values) > 0 && !slices.Contains(f.Drop, name) {
			fields[name] = values[0]
		}
	}
	signature := fields["toopher_sig"]
	delete(fields, "toopher_sig")
	return fields, signature, nil
}

// validSignature reports whether Toopher signed the fields, in a time that tells
// nothing of the right signature. The service encodes them anew before it signs, and "~" as its language does:
// both ways are tried.
func validSignature(secret renew.Secret, fields map[string]string, signature string) bool {
	var b strings.Builder
	for i, name := range slices.Sorted(maps.Keys(fields)) {
		if i > 0 {
			b.WriteByte('&')
		}
		b.WriteString(url.QueryEscape(name) + "=" + url.QueryEscape(fields[name]))
	}
	plain := b.String()
	right := 0
	for _, text := range [...]string{plain, strings.ReplaceAll(plain, "~", "%7E")} {
		mac := hmac.New(sha1.New, []byte(secret.Reveal()))
		mac.Write([]byte(text))
		want := base64.StdEncoding.EncodeToString(mac.Sum(nil))
		right |= subtle.ConstantTimeCompare([]byte(want), []byte(signature))
	}
	return right == 1
}

// inTime reports whether a postback of that time still counts, and does already.
func (f *Iframe) inTime(timestamp string, now time.Time) bool {
	// Twelve digits reach to the year 33658, and keep all that follows from overflowing.
	if len(timestamp) == 0 || len(timestamp) > 12 || strings.Trim(timestamp, "0123456789") != "" {
		return false
	}
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil {
		return false
	}
	skew := f.Skew
	if skew == 0 {
		skew = iframeSkew
	}
	made := time.Unix(seconds, 0)
	return now.Unix()-seconds < f.ttl() && made.Sub(now) <= max(skew, 0)
}

// readPostback reads fields that are Toopher's beyond doubt. The message of an error is as it came.
func readPostback(fields map[string]string) (*Postback, *APIError) {
	if _, failed := fields["error_code"]; failed || fields["error_message"] != "" {
		code, message := codeOf(fields["error_code"]), fields["error_message"]
		return nil, &APIError{Kind: kindOf(code, message), Code: code, Message: message}
	}
	r := flat{fields: fields}
	p := &Postback{Metadata: fields["requester_metadata"], Fields: fields}
	switch fields["resource_type"] {
	case "authentication_request":
		p.Authentication = r.authentication()
	case "pairing":
		p.Pairing = r.pairing()
	case "requester_user":
		p.User = &User{ID: r.text("id"), Name: r.text("name")}
		p.User.Enabled, p.User.EnabledKnown = r.enabled("toopher_authentication_enabled")
	default:
		r.err = errors.New("the resource_type is none that is known")
	}
	if r.err != nil {
		return nil, &APIError{Err: r.err}
	}
	return p, nil
}

// flat reads the fields of a postback. err is the first thing that is wrong.
type flat struct {
	fields map[string]string
	err    error
}

// text returns a field that must not be empty.
func (r *flat) text(name string) string {
	v := r.fields[name]
	if v == "" && r.err == nil {
		r.err = errors.New("the postback's " + name + " is missing or empty")
	}
	return v
}

// flag returns a field that must be true or false.
func (r *flat) flag(name string) bool {
	v := r.fields[name]
	if v != "true" && v != "false" && r.err == nil {
		r.err = errors.New("the postback's " + name + " is neither true nor false")
	}
	return v == "true"
}

// enabled returns a flag that may be missing.
func (r *flat) enabled(name string) (on, known bool) {
	v := r.fields[name]
	return v == "true", v == "true" || v == "false"
}

func (r *flat) authentication() *Authentication {
	a := &Authentication{
		ID: r.text("id"), Pending: r.flag("pending"), granted: r.flag("granted"), Automated: r.flag("automated"),
		Reason: r.fields["reason"], ReasonCode: codeOf(r.fields["reason_code"]),
		Terminal: Terminal{r.fields["terminal_id"], r.fields["terminal_name"], r.fields["terminal_requester_specified_id"]},
		Action:   Action{r.fields["action_id"], r.fields["action_name"]},
		User:     User{ID: r.fields["pairing_user_id"], Name: r.fields["user_name"]},
	}
	a.User.Enabled, a.User.EnabledKnown = r.enabled("user_toopher_authentication_enabled")
	return a
}

func (r *flat) pairing() *Pairing {
	p := &Pairing{
		ID: r.text("id"), Enabled: r.flag("enabled"),
		User: User{ID: r.fields["pairing_user_id"], Name: r.fields["user_name"]},
	}
	if _, p.PendingKnown = r.fields["pending"]; p.PendingKnown {
		p.Pending = r.flag("pending")
	}
	p.User.Enabled, p.User.EnabledKnown = r.enabled("user_toopher_authentication_enabled")
	return p
}
