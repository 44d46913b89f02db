// Package jsonobject reads replies that must be one JSON object.
package jsonobject

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
)

// Err is a text that is not one JSON object with nothing behind it. The parser's own errors
// are not passed on: some of them quote the text.
var Err = errors.New("it is not one JSON object")

// Members calls member with each name of the object that text is, and its value, in their order. A name may come
// more than once: which names count, whether their case does and whether they may repeat is for member to say, whose
// error ends the reading and is returned. The value is member's to keep. Any other error is Err.
//
// A byte order mark is skipped (RFC 8259, section 8.1). The time is linear in the text.
func Members(text []byte, member func(name string, value json.RawMessage) error) error {
	dec := json.NewDecoder(bytes.NewReader(bytes.TrimPrefix(text, []byte("\ufeff"))))
	if brace, err := dec.Token(); err != nil || brace != json.Delim('{') {
		return Err
	}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return Err
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return Err
		}
		if err := member(name.(string), value); err != nil { // the decoder takes only strings for names
			return err
		}
	}
	if _, err := dec.Token(); err != nil { // the closing brace
		return Err
	}
	if _, err := dec.Token(); err != io.EOF {
		return Err
	}
	return nil
}
