package oauth1

import (
	"cmp"
	"errors"
	"slices"
	"strings"
)

const upperHex = "0123456789ABCDEF"

// unreserved reports whether c stands for itself (RFC 5849, section 3.6: letters,
// digits, "-", ".", "_" and "~"; all else is encoded).
func unreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '.' || c == '_' || c == '~'
}

func allUnreserved(s string) bool {
	for i := range len(s) {
		if !unreserved(s[i]) {
			return false
		}
	}
	return true
}

// appendEscaped appends s as RFC 5849, section 3.6, encodes it: byte by byte, with
// upper-case digits, a blank as %20.
func appendEscaped(dst []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; unreserved(c) {
			dst = append(dst, c)
		} else {
			dst = append(dst, '%', upperHex[c>>4], upperHex[c&15])
		}
	}
	return dst
}

// escape is appendEscaped for a string of its own; s itself where nothing changes.
func escape(s string) string {
	if allUnreserved(s) {
		return s
	}
	return string(appendEscaped(make([]byte, 0, len(s)+16), s))
}

var errEscape = errors.New("has a % that two hexadecimal digits do not follow: servers read that differently, so no signature is sure to hold")

// unescape decodes a name or a value of a query or a form: "+" is a blank.
func unescape(s string) (string, error) {
	if strings.IndexByte(s, '%') < 0 && strings.IndexByte(s, '+') < 0 {
		return s, nil
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '+':
			b = append(b, ' ')
		case '%':
			if len(s)-i < 3 || unhex(s[i+1]) > 15 || unhex(s[i+2]) > 15 {
				return "", errEscape
			}
			b = append(b, unhex(s[i+1])<<4|unhex(s[i+2]))
			i += 2
		default:
			b = append(b, s[i])
		}
	}
	return string(b), nil
}

// unhex returns the value of a hexadecimal digit, or 255.
func unhex(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10
	}
	return 255
}

// param is a parameter with its name and value encoded as by escape.
type param struct{ name, value string }

// split calls f with the name and the value of each parameter of a query or a form, as they
// stand there, in their order, until f fails. Pieces end at "&" alone, a ";" is part of one. Empty pieces are no
// parameters, and a name without "=" has the empty value (RFC 5849, section 3.4.1.3.1, by way of HTML 4).
func split(text string, f func(name, value string) error) error {
	for text != "" {
		var piece string
		piece, text, _ = strings.Cut(text, "&")
		if piece == "" {
			continue
		}
		name, value, _ := strings.Cut(piece, "=")
		if err := f(name, value); err != nil {
			return err
		}
	}
	return nil
}

// appendParams appends the parameters of a query or a form, decoded and encoded anew.
func appendParams(params []param, text string) ([]param, error) {
	err := split(text, func(name, value string) error {
		n, err := unescape(name)
		if err != nil {
			return err
		}
		v, err := unescape(value)
		if err != nil {
			return err
		}
		params = append(params, param{escape(n), escape(v)})
		return nil
	})
	return params, err
}

// sortParams sorts by name, and by value where names are equal, as bytes (RFC 5849,
// section 3.4.1.3.2). To sort joined "name=value" texts would be wrong: "=" comes behind "-" and digits.
func sortParams(params []param) {
	slices.SortFunc(params, func(a, b param) int {
		return cmp.Or(strings.Compare(a.name, b.name), strings.Compare(a.value, b.value))
	})
}
