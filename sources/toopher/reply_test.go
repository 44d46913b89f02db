package toopher_test

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"

	"github.com/seed-f29168f7/renew/sources/toopher"
)

// without returns JSON of an object with changes: nil takes a name away.
func without(fields, changes map[string]any) string {
	all := maps.Clone(fields)
	for name, value := range changes {
		if value == nil {
			delete(all, name)
		} else {
			all[name] = value
		}
	}
	text, err := json.Marshal(all)
	if err != nil {
		panic(err)
	}
	return string(text)
}

var goodAuthentication = map[string]any{
	"id": "r", "pending": false, "granted": true, "automated": false, "reason": "", "terminal": map[string]any{"id": "t", "name": ""},
}

var goodPairing = map[string]any{"id": "p", "pending": false, "enabled": true, "user": map[string]any{"id": "u", "name": "n"}}

func TestRequiredFields(t *testing.T) {
	if a, err := toopher.ParseAuthentication([]byte(without(goodAuthentication, nil))); err != nil || !a.Granted() {
		t.Fatalf("%+v, %v", a, err)
	}
	if p, err := toopher.ParsePairing([]byte(without(goodPairing, nil))); err != nil || !p.Paired() {
		t.Fatalf("%+v, %v", p, err)
	}
	null := json.RawMessage("null")
	wrong := map[string][]any{
		"id":        {nil, "", 7, null, true, []string{"r"}, map[string]string{}},
		"pending":   {nil, "false", 0, null, map[string]string{}},
		"granted":   {nil, "true", "", 1, null, []bool{true}},
		"enabled":   {nil, "true", 1, null, "yes"},
		"automated": {nil, "false", 0, null},
		"reason":    {nil, 0, null, false},
		"terminal":  {nil, "t", null, []any{}, map[string]any{}, map[string]any{"id": "t"}, map[string]any{"name": "n"}, map[string]any{"id": "", "name": "n"}, map[string]any{"id": 1, "name": "n"}, map[string]any{"id": "t", "name": 1}},
		"user":      {nil, "u", null, map[string]any{}, map[string]any{"id": "u"}, map[string]any{"name": "n"}, map[string]any{"id": "", "name": "n"}},
	}
	for name, values := range wrong {
		for _, value := range values {
			if _, ok := goodAuthentication[name]; ok {
				text := without(goodAuthentication, map[string]any{name: value})
				if a, err := toopher.ParseAuthentication([]byte(text)); err == nil {
					t.Errorf("%s is read as %+v", text, a)
				} else if !strings.Contains(err.Error(), name) {
					t.Errorf("%s: %v does not name %s", text, err, name)
				}
			}
			if _, ok := goodPairing[name]; ok && (name != "pending" || value != nil) {
				text := without(goodPairing, map[string]any{name: value})
				if p, err := toopher.ParsePairing([]byte(text)); err == nil {
					t.Errorf("%s is read as %+v", text, p)
				}
			}
		}
	}
}

// Two readers of one text must not see two answers.
func TestAmbiguousReplies(t *testing.T) {
	good := without(goodAuthentication, map[string]any{"granted": nil})
	for name, text := range map[string]string{
		"other case":      strings.Replace(good, `{`, `{"Granted": true, `, 1),
		"twice":           strings.Replace(without(goodAuthentication, nil), `{`, `{"granted": false, `, 1),
		"twice, escaped":  strings.Replace(without(goodAuthentication, nil), `{`, `{"gr\u0061nted": false, `, 1),
		"more behind":     without(goodAuthentication, nil) + `{}`,
		"text behind":     without(goodAuthentication, nil) + `x`,
		"array around":    `[` + without(goodAuthentication, nil) + `]`,
		"terminal twice":  strings.Replace(without(goodAuthentication, nil), `"terminal":{`, `"terminal":{"id":"other",`, 1),
		"not JSON inside": strings.Replace(without(goodAuthentication, nil), `true`, `True`, 1),
	} {
		if a, err := toopher.ParseAuthentication([]byte(text)); err == nil {
			t.Errorf("%s: %s is read as %+v", name, text, a)
		}
	}
	if a, err := toopher.ParseAuthentication([]byte("\ufeff \n" + without(goodAuthentication, nil) + "\r\n")); err != nil || !a.Granted() {
		t.Errorf("a byte order mark and blanks: %v", err)
	}
}

func TestOptionalFields(t *testing.T) {
	for text, code := range map[any]int{7: 7, "7": 7, "0": 0, -1: 0, 1.5: 0, "x": 0, "": 0, "9999999999": 0, "+7": 0} {
		a, err := toopher.ParseAuthentication([]byte(without(goodAuthentication, map[string]any{"reason_code": text})))
		if err != nil || a.ReasonCode != code {
			t.Errorf("reason_code %v: %+v, %v, want %d", text, a, err, code)
		}
	}
	a, err := toopher.ParseAuthentication([]byte(without(goodAuthentication, map[string]any{"action": 7, "user": "x", "reason_code": true})))
	if err != nil || a.Action != (toopher.Action{}) || a.User != (toopher.User{}) {
		t.Errorf("wrong types of optional fields: %+v, %v", a, err)
	}
	for name, want := range map[string][3]any{
		"toopher_authentication_enabled": {true, true, true},
		"disable_toopher_auth":           {true, false, true},
		"something_else":                 {true, false, false},
	} {
		p, err := toopher.ParsePairing([]byte(without(goodPairing, map[string]any{"user": map[string]any{"id": "u", "name": "n", name: want[0]}})))
		if err != nil || p.User.Enabled != want[1] || p.User.EnabledKnown != want[2] {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
	}
}

func TestRawIsTheWholeReply(t *testing.T) {
	text := []byte(without(goodAuthentication, map[string]any{"totp_valid": true}))
	a, err := toopher.ParseAuthentication(text)
	if err != nil {
		t.Fatal(err)
	}
	text[0] = 'x' // what the caller does with the buffer later
	var raw struct {
		Valid bool `json:"totp_valid"`
	}
	if err := json.Unmarshal(a.Raw, &raw); err != nil || !raw.Valid {
		t.Errorf("Raw = %s, %v", a.Raw, err)
	}
}

func TestCreateUserTerminalTakesAnyJSON(t *testing.T) {
	for body, ok := range map[string]bool{`{}`: true, `{"id": "t"}`: true, `[]`: true, `null`: true, ``: false, `<html>`: false, `{}{}`: false} {
		err := client(&stub{status: 200, body: body}).CreateUserTerminal(t.Context(), kim, "pc", cookie)
		if (err == nil) != ok {
			t.Errorf("%q: %v", body, err)
		}
		if !ok {
			checkKind(t, err, "Api")
		}
	}
}

func TestNames(t *testing.T) {
	for _, k := range []toopher.Kind{toopher.Other, toopher.UserDisabled, toopher.UserUnknown, toopher.TerminalUnknown, toopher.PairingDeactivated} {
		if strings.HasPrefix(k.String(), "Kind(") {
			t.Errorf("%d has no name", k)
		}
	}
	if toopher.Kind(99).String() != "Kind(99)" || toopher.PairingState(99).String() != "PairingState(99)" {
		t.Error("unknown values have names")
	}
	e := &toopher.APIError{Kind: 99}
	if e.Is(toopher.ErrUserDisabled) || e.Is(nil) || !e.Is(toopher.ErrAPI) || e.Error() == "" {
		t.Error("an error of an unknown kind is matched wrongly")
	}
}
