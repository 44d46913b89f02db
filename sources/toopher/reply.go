package toopher

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/seed-f29168f7/renew/sources/internal/jsonobject"
)

// maxReply is how many bytes of a reply are read, decompressed.
const maxReply = 1 << 20

// Pairing ties a user of the requester to a phone.
type Pairing struct {
	// ID names the pairing. It is never empty.
	ID string
	// Enabled is the reply's word; use Paired.
	Enabled bool
	// Pending says that the phone has not answered. It counts only with PendingKnown.
	Pending bool
	// PendingKnown says that the reply had a pending field. Older services send none.
	PendingKnown bool
	// User is whom the pairing belongs to.
	User User
	// Raw is the whole reply.
	Raw json.RawMessage
}

// PairingState is what a pairing's flags come to.
type PairingState uint8

// The states of a pairing.
const (
	// Waiting says that the phone has not answered yet.
	Waiting PairingState = iota
	// Paired says that the pairing can be used.
	Paired
	// Unpaired says that the user denied the pairing, or deactivated it later.
	Unpaired
	// Unclear says that the pairing cannot be used, and that the reply does not say whether that may change.
	Unclear
)

// String returns the state in words.
func (s PairingState) String() string {
	switch s {
	case Waiting:
		return "waiting"
	case Paired:
		return "paired"
	case Unpaired:
		return "denied or deactivated"
	case Unclear:
		return "not paired (cannot tell)"
	}
	return "PairingState(" + strconv.Itoa(int(s)) + ")"
}

// State returns what the flags come to. Only enabled and not pending is Paired.
func (p *Pairing) State() PairingState {
	switch {
	case p.PendingKnown && p.Pending:
		return Waiting
	case p.Enabled:
		return Paired
	case p.PendingKnown:
		return Unpaired
	}
	return Unclear
}

// Paired reports whether the pairing can be used.
func (p *Pairing) Paired() bool { return p.State() == Paired }

// Authentication is a request to a user's phone, and its answer.
type Authentication struct {
	// ID names the request. It is never empty.
	ID string
	// Pending says that there is no answer yet.
	Pending bool
	// Automated says that the phone answered without asking the user.
	Automated bool
	// Reason is Toopher's text for the answer, often empty.
	Reason string
	// ReasonCode is its number, 0 where the reply had none.
	ReasonCode int
	// Terminal is what the user logs in from.
	Terminal Terminal
	// Action is what the user was asked to allow; empty where the reply has none.
	Action Action
	// User is who was asked; empty where the reply has none.
	User User
	// Raw is the whole reply, or nil for one that came as a postback.
	Raw json.RawMessage

	// granted counts only when the request is not pending, so only Granted shows it.
	granted bool
}

// Granted reports whether the user, or the phone for the user, has allowed the
// action: granted and not pending.
func (a *Authentication) Granted() bool { return a.granted && !a.Pending }

// Denied reports whether there is an answer, and it is no.
func (a *Authentication) Denied() bool { return !a.granted && !a.Pending }

// Outcome returns the answer in words: undecided, granted or denied, the last
// two with "automatically" where the user was not asked.
func (a *Authentication) Outcome() string {
	if a.Pending {
		return "undecided"
	}
	text := "denied"
	if a.granted {
		text = "granted"
	}
	if a.Automated {
		text += " automatically"
	}
	return text
}

// Terminal is a device that a user logs in from.
type Terminal struct {
	// ID is Toopher's id of it.
	ID string
	// Name is shown to the user.
	Name string
	// RequesterSpecifiedID is the requester's own id of it, where the reply has one.
	RequesterSpecifiedID string
}

// Action is what a user is asked to allow.
type Action struct{ ID, Name string }

// User is a user of the requester.
type User struct {
	// ID is Toopher's id of the user.
	ID string
	// Name is the requester's name of the user.
	Name string
	// Enabled says that Toopher is on for the user. It counts only with EnabledKnown.
	Enabled bool
	// EnabledKnown says that the reply told.
	EnabledKnown bool
}

// ParsePairing reads a reply about a pairing. A required field that is missing
// or of the wrong JSON type is an error, as is a name that stands in the reply twice.
func ParsePairing(reply []byte) (*Pairing, error) {
	o, err := parseObject(reply)
	if err != nil {
		return nil, err
	}
	p := &Pairing{Raw: bytes.Clone(reply)}
	if p.ID, err = o.id("id"); err != nil {
		return nil, err
	}
	if p.Enabled, err = o.boolean("enabled"); err != nil {
		return nil, err
	}
	if _, ok := o["pending"]; ok {
		if p.Pending, err = o.boolean("pending"); err != nil {
			return nil, err
		}
		p.PendingKnown = true
	}
	user, err := o.child("user")
	if err != nil {
		return nil, err
	}
	if p.User, err = user.user(); err != nil {
		return nil, fmt.Errorf("user: %w", err)
	}
	return p, nil
}

// ParseAuthentication reads a reply about an authentication request, as strictly as ParsePairing.
// Required are id, pending, granted, automated, reason, terminal.id and terminal.name.
// Of the others, one of the wrong type is as if it were not there, and is in Raw.
func ParseAuthentication(reply []byte) (*Authentication, error) {
	o, err := parseObject(reply)
	if err != nil {
		return nil, err
	}
	a := &Authentication{Raw: bytes.Clone(reply)}
	if a.ID, err = o.id("id"); err != nil {
		return nil, err
	}
	if a.Pending, err = o.boolean("pending"); err != nil {
		return nil, err
	}
	if a.granted, err = o.boolean("granted"); err != nil {
		return nil, err
	}
	if a.Automated, err = o.boolean("automated"); err != nil {
		return nil, err
	}
	if a.Reason, err = o.text("reason"); err != nil {
		return nil, err
	}
	terminal, err := o.child("terminal")
	if err != nil {
		return nil, err
	}
	if a.Terminal.ID, err = terminal.id("id"); err != nil {
		return nil, fmt.Errorf("terminal: %w", err)
	}
	if a.Terminal.Name, err = terminal.text("name"); err != nil {
		return nil, fmt.Errorf("terminal: %w", err)
	}
	a.Terminal.RequesterSpecifiedID, _ = terminal.text("requester_specified_id")
	a.ReasonCode = o.code("reason_code")
	if action, err := o.child("action"); err == nil {
		a.Action.ID, _ = action.text("id")
		a.Action.Name, _ = action.text("name")
	}
	if user, err := o.child("user"); err == nil {
		if u, err := user.user(); err == nil {
			a.User = u
		}
	}
	return a, nil
}

// parseUsers reads the list that a search for users returns.
func parseUsers(reply []byte) ([]User, error) {
	var list []json.RawMessage
	if err := json.Unmarshal(reply, &list); err != nil || list == nil {
		return nil, errors.New("the reply is not a JSON array")
	}
	users := make([]User, len(list))
	for i, raw := range list {
		o, err := parseObject(raw)
		if err != nil {
			return nil, err
		}
		if users[i], err = o.user(); err != nil {
			return nil, err
		}
	}
	return users, nil
}

// object is a JSON object, by name.
type object map[string]json.RawMessage

var errJSON = errors.New("the reply is not one JSON object")

// parseObject reads one object and nothing behind it. Names are compared exactly:
// encoding/json would take "Granted" for granted, and the last of two.
func parseObject(body []byte) (object, error) {
	o := make(object, 8)
	err := jsonobject.Members(body, func(name string, value json.RawMessage) error {
		if _, ok := o[name]; ok {
			return errors.New("the reply has a name twice")
		}
		o[name] = value
		return nil
	})
	switch {
	case errors.Is(err, jsonobject.Err):
		return nil, errJSON
	case err != nil:
		return nil, err
	}
	return o, nil
}

// value returns a field of the given type, by the first byte of its JSON.
func (o object) value(name, typ, first string) (json.RawMessage, error) {
	v, ok := o[name]
	switch {
	case !ok:
		return nil, errors.New("the reply has no " + name)
	case len(v) == 0 || !bytes.ContainsAny(v[:1], first):
		return nil, errors.New("the reply's " + name + " is not " + typ)
	}
	return v, nil
}

func (o object) boolean(name string) (bool, error) {
	v, err := o.value(name, "true or false", "tf")
	return string(v) == "true", err
}

func (o object) text(name string) (string, error) {
	v, err := o.value(name, "a string", `"`)
	if err != nil {
		return "", err
	}
	var s string
	if json.Unmarshal(v, &s) != nil {
		return "", errJSON
	}
	return s, nil
}

// id is text that is not empty.
func (o object) id(name string) (string, error) {
	s, err := o.text(name)
	if err == nil && s == "" {
		err = errors.New("the reply's " + name + " is empty")
	}
	return s, err
}

func (o object) child(name string) (object, error) {
	v, err := o.value(name, "an object", "{")
	if err != nil {
		return nil, err
	}
	return parseObject(v)
}

// code returns a number that may also be a string of digits, and 0 for anything else.
func (o object) code(name string) int {
	v := string(o[name])
	if s, err := o.text(name); err == nil {
		v = s
	}
	return codeOf(v)
}

// codeOf reads a code of up to nine digits; 0 stands for anything else.
func codeOf(s string) int {
	if len(s) == 0 || len(s) > 9 {
		return 0
	}
	n := 0
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0
		}
		n = n*10 + int(s[i]-'0')
	}
	return n
}

func (o object) user() (u User, err error) {
	if u.ID, err = o.id("id"); err != nil {
		return User{}, err
	}
	if u.Name, err = o.text("name"); err != nil {
		return User{}, err
	}
	if on, err := o.boolean("toopher_authentication_enabled"); err == nil {
		u.Enabled, u.EnabledKnown = on, true
	} else if off, err := o.boolean("disable_toopher_auth"); err == nil {
		u.Enabled, u.EnabledKnown = !off, true
	}
	return u, nil
}

// anyJSON accepts what is JSON, whatever it says.
func anyJSON(reply []byte) (struct{}, error) {
	if !json.Valid(reply) {
		return struct{}{}, errors.New("the reply is not JSON")
	}
	return struct{}{}, nil
}
