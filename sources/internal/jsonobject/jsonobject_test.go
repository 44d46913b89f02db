package jsonobject

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

func read(text string) (string, error) {
	var b strings.Builder
	err := Members([]byte(text), func(name string, value json.RawMessage) error {
		b.WriteString(name + "=" + string(value) + ";")
		return nil
	})
	return b.String(), err
}

func TestMembers(t *testing.T) {
	for text, want := range map[string]string{
		`{}`:                                   "",
		" {\n} ":                               "",
		"\ufeff{\"a\": 1}":                     "a=1;",
		`{"a":1,"b":"x","a":[1, {}],"A":null}`: `a=1;b="x";a=[1, {}];A=null;`,
		`{"\u0061":{"b":2}}`:                   `a={"b":2};`,
	} {
		if got, err := read(text); got != want || err != nil {
			t.Errorf("Members(%q) = %q, %v, want %q", text, got, err, want)
		}
	}
	for _, text := range []string{
		"", "null", "1", `"a"`, "[]", "{", "}", `{"a"}`, `{"a":}`, `{"a":1,}`, `{"a":1`, `{"a":1}}`, `{"a":1}{`, `{"a":1} x`, `{1:2}`,
		`{"a" 1}`, "\ufeff\ufeff{}", "{} {}", `{"secret`, `{'a':1}`,
	} {
		if _, err := read(text); err != Err {
			t.Errorf("Members(%q) = %v, want Err", text, err)
		}
	}
}

func TestMemberEndsTheReading(t *testing.T) {
	stop := errors.New("stop")
	n := 0
	err := Members([]byte(`{"a":1,"b":2,`), func(string, json.RawMessage) error { n++; return stop })
	if err != stop || n != 1 {
		t.Errorf("Members = %v after %d members, want its own error after 1", err, n)
	}
}

// What is read is what encoding/json reads, and neither reads more than the other.
func FuzzMembers(f *testing.F) {
	for _, text := range []string{`{"a":1}`, `{"a":{"b":[1,"2",null]},"a":true}`, "\ufeff{}", `{"a":1}x`, `[{}]`, `{"\ud800":"\u0000"}`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		last := make(map[string]json.RawMessage)
		err := Members(text, func(name string, value json.RawMessage) error {
			last[name] = value
			return nil
		})
		var want map[string]json.RawMessage
		plain := json.Unmarshal([]byte(strings.TrimPrefix(string(text), "\ufeff")), &want)
		if ok := plain == nil && want != nil; ok != (err == nil) {
			t.Fatalf("Members = %v, encoding/json = %v", err, plain)
		}
		if err != nil {
			return
		}
		if len(last) != len(want) {
			t.Fatalf("%d names, want %d", len(last), len(want))
		}
		for name, value := range want {
			if string(last[name]) != string(value) {
				t.Errorf("%q = %s, want %s", name, last[name], value)
			}
		}
	})
}
