package armor

import (
	"encoding/json"
	"errors"
	"strings"

	"github.com/seed-f29168f7/renew/sources/internal/jsonobject"
)

var errTwice = errors.New("a member that matters stands in it twice")

// object reads one JSON object and nothing behind it, and returns the members that
// are asked for, by name in lower case: Armor writes names in several cases. A member that
// stands there twice is refused, since two readers could see two tokens. Its time
// is linear in the text.
func object(text []byte, names ...string) (map[string]json.RawMessage, error) {
	members := make(map[string]json.RawMessage, len(names))
	err := jsonobject.Members(text, func(key string, value json.RawMessage) error {
		for _, name := range names {
			if !strings.EqualFold(name, key) {
				continue
			}
			if _, ok := members[name]; ok {
				return errTwice
			}
			members[name] = value
		}
		return nil
	})
	if err != nil {
		return nil, err
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
