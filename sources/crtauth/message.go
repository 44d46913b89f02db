package crtauth

import (
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
)

// maxHeader bounds an X-CHAP header.
const maxHeader = 8 << 10

// The methods of an X-CHAP header: "the method and the message, with a colon between".
const (
	methodRequest   = "request"
	methodChallenge = "challenge"
	methodResponse  = "response"
	methodToken     = "token"
)

// What can be wrong with a message. None of these quotes it.
var (
	errNoHeader   = errors.New("the reply has no X-CHAP header: there is no crtauth server at this address, or something before it answers")
	errTwoHeaders = errors.New("the reply has more than one X-CHAP header")
	errLongHeader = errors.New("the reply's X-CHAP header is longer than 8 kB")
	errMethod     = errors.New("the reply's X-CHAP header is not the one that this step is answered with")

	errEmpty     = errors.New("it is empty")
	errBase64    = errors.New("it is not base64")
	errTruncated = errors.New("it ends too soon")
	errTrailing  = errors.New("it has bytes behind its end")
	errMagic     = errors.New("it is another kind of message")
	errVersion   = errors.New("it is of no version that is known")
	errType      = errors.New("a field has the wrong type")
	errLength    = errors.New("a field has the wrong length")
	errPadding   = errors.New("its padding is not zero")
	errWindow    = errors.New("it ends before it begins")
)

// readHeader returns the message of a reply's X-CHAP header.
func readHeader(h http.Header, method string) (string, error) {
	values := h.Values("X-CHAP")
	switch {
	case len(values) == 0:
		return "", errNoHeader
	case len(values) > 1:
		return "", errTwoHeaders
	case len(values[0]) > maxHeader:
		return "", errLongHeader
	}
	got, message, ok := strings.Cut(values[0], ":")
	if !ok || strings.Trim(got, " \t") != method {
		return "", errMethod
	}
	return strings.Trim(message, " \t"), nil
}

// encode is base64 as the specification has it: URL-safe, without padding.
func encode(raw []byte) string { return base64.RawURLEncoding.EncodeToString(raw) }

// decode reads base64 with or without padding, and nothing that is not base64.
func decode(text string) ([]byte, error) {
	text = strings.TrimRight(text, "=")
	if strings.ContainsAny(text, "\r\n") { // the decoder would skip them
		return nil, errBase64
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	switch {
	case err != nil:
		return nil, errBase64
	case len(raw) == 0:
		return nil, errEmpty
	}
	return raw, nil
}

// challenge is what a server asks to be signed.
type challenge struct {
	version     Version
	raw         []byte // the whole message, as it goes back
	signed      []byte // the part that is signed
	from, to    int64  // when it is valid, in Unix seconds by the server's clock
	fingerprint Fingerprint
	server      string
	user        string
}

// readChallenge reads a challenge of either version, strictly: what is signed has one
// meaning, and starts with bytes that no other use of an SSH key signs.
func readChallenge(text string) (*challenge, error) {
	raw, err := decode(text)
	if err != nil {
		return nil, err
	}
	var c *challenge
	switch raw[0] {
	case 1:
		c, err = readChallenge1(raw)
	case 'v':
		c, err = readChallenge0(raw)
	default:
		err = errVersion
	}
	switch {
	case err != nil:
		return nil, err
	case c.from >= c.to:
		return nil, errWindow
	}
	return c, nil
}

// request is the first message: who wants to log in.
func request(v Version, user string) string {
	if v == Version0 {
		return user
	}
	return encode(appendStr([]byte{1, 'q'}, user))
}

// response is the second message: the challenge as it came, and its signature.
func (c *challenge) response(signature []byte) string {
	if c.version == Version0 {
		raw := appendOpaque([]byte{'r', 0, 0, 0}, signature)
		return encode(appendOpaque(raw, c.raw))
	}
	return encode(appendBin(appendBin([]byte{1, 'r'}, c.raw), signature))
}

// bareName reports whether a name can stand in a header as it is.
func bareName(user string) bool {
	for i := range len(user) {
		if user[i] < 0x20 || user[i] == 0x7f {
			return false
		}
	}
	return strings.Trim(user, " ") == user
}

// looksLikeVersion1 reports whether servers take a bare user name for a request of
// version 1: base64 of a version up to 4, the magic and a string that fits.
func looksLikeVersion1(user string) bool {
	raw, err := base64.RawURLEncoding.DecodeString(user)
	if err != nil || len(raw) < 3 || raw[0] > 4 || raw[1] != 'q' {
		return false
	}
	r := msgpack{reader{rest: raw[2:]}}
	switch first := raw[2]; {
	case first&0xe0 == 0xa0, first == 0xd9:
		name := r.str()
		return r.err == nil && name != ""
	}
	return false
}
