package armor

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
)

var (
	errNotObject = errors.New("it is not one JSON object") // of the parser's own errors some quote the text
	errTwice     = errors.New("a member that matters stands in it twice")
)

// object reads one JSON object and nothing behind it, and returns the members that
// are asked for, by name in lower case: Armor writes names in several cases. A member that
// stands there twice is refused, since two readers could see two tokens. Its time
// is linear in the text.
func object(text []byte, names ...string) (map[string]json.RawMessage, error) {
	// RFC 8259, section 8.1: a parser may ignore a byte order mark.
	dec := json.NewDecoder(bytes.NewReader(bytes.TrimPrefix(text, []byte("\ufeff"))))
	if brace, err := dec.Token(); err != nil || brace != json.Delim('{') {
		return nil, errNotObject
	}
	members := make(map[string]json.RawMessage, len(names))
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return nil, errNotObject
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return nil, errNotObject
		}
		for _, name := range names {
			if !strings.EqualFold(name, key.(string)) { // the decoder takes only strings for names
				continue
			}
			if _, ok := members[name]; ok {
				return nil, errTwice
			}
			members[name] = value
		}
	}
	if _, err := dec.Token(); err != nil { // the closing brace
		return nil, errNotObject
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, errNotObject
	}
	return members, nil
}

// absent reports whether a member is missing or null, which Armor writes for the same.
func absent(value json.RawMessage) bool { return value == nil || string(value) == "null" }

// stringOf returns a member that is a string.
func stringOf(value json.RawMessage) (string, bool) {
	var s string
	if absent(value) || json.Unmarshal(value, &s) != nil {
		return "", false
	}
	return s, true
}
