package basic

import (
	"encoding/base64"
	"errors"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Charset is how user name and password become bytes (RFC 7617, section 2.1). Neither is normalized: they are sent
// as they are given, and most servers compare bytes.
type Charset uint8

const (
	// UTF8 is what a server means that says charset="UTF-8", and what most others take.
	UTF8 Charset = iota
	// Latin1 is ISO 8859-1, for servers from before RFC 7617. What it has no character for is refused.
	Latin1
)

// String returns the name of the constant.
func (c Charset) String() string {
	switch c {
	case UTF8:
		return "UTF8"
	case Latin1:
		return "Latin1"
	}
	return "Charset(" + strconv.Itoa(int(c)) + ")"
}

var (
	errNoURL   = errors.New("the request has no URL")
	errColon   = errors.New("has a colon, which ends the user name on the wire (RFC 7617, section 2)")
	errControl = errors.New("has a control character, which RFC 7617, section 2, forbids (a line break at the end of a file?)")
	errUTF8    = errors.New("is not UTF-8")
	errLatin1  = errors.New("has a character that ISO 8859-1 has not: set Charset to UTF8, if the server takes it")
)

func checkUsername(s string, c Charset) error {
	if strings.Contains(s, ":") {
		return errColon
	}
	return checkText(s, c)
}

// checkText checks that s can be sent. Control characters are those of RFC 5234, appendix B.1, and of ISO 8859-1.
func checkText(s string, c Charset) error {
	if !utf8.ValidString(s) {
		return errUTF8
	}
	for _, r := range s {
		switch {
		case r < ' ', 0x7f <= r && r <= 0x9f:
			return errControl
		case c == Latin1 && r > 0xff:
			return errLatin1
		}
	}
	return nil
}

// encode returns the header's value for texts that were checked.
func encode(username, password string, c Charset) string {
	const scheme = "Basic "
	pair := make([]byte, 0, 128)
	if c == Latin1 {
		for _, r := range username + ":" + password {
			pair = append(pair, byte(r))
		}
	} else {
		pair = append(append(append(pair, username...), ':'), password...)
	}
	out := make([]byte, len(scheme), len(scheme)+base64.StdEncoding.EncodedLen(len(pair)))
	copy(out, scheme)
	return string(base64.StdEncoding.AppendEncode(out, pair))
}
