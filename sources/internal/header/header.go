// Package header says which text may stand in the header of a request.
package header

// Visible reports whether s can be sent as credentials after an auth-scheme: it
// is not empty and holds visible ASCII only (%x21-7E; VCHAR of RFC 5234,
// appendix B.1). A space, a line break or a NUL would end the credentials or the
// header line and let an issuer write the rest of the request.
func Visible(s string) bool {
	for i := range len(s) {
		if s[i] < 0x21 || s[i] > 0x7e {
			return false
		}
	}
	return s != ""
}

// Printable reports whether s holds visible ASCII and spaces only (%x20-7E), as a quoted-string does (RFC 9110, section 5.6.4) and a
// String of RFC 8941, section 3.3.3. It may be empty.
func Printable(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e {
			return false
		}
	}
	return true
}

// IsToken reports whether s is a token of RFC 9110, section 5.6.2, which is the
// form of an auth-scheme (section 11.1).
func IsToken(s string) bool {
	for i := range len(s) {
		if !tchar(s[i]) {
			return false
		}
	}
	return s != ""
}

// tchar is RFC 9110's: letters, digits and fifteen marks.
func tchar(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return true
	}
	switch c {
	case '!', '#', '$', '%', '&', '\'', '*', '+', '-', '.', '^', '_', '`', '|', '~':
		return true
	}
	return false
}
