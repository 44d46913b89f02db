package hmac

import (
	"bytes"
	"encoding/hex"
	"errors"
	"net/url"
	"strings"

	"github.com/seed-f29168f7/renew/sources/internal/header"
	"github.com/seed-f29168f7/renew/sources/internal/signing"
)

// version is the first line of the Canonical form, which tells it from later ones.
const version = "renew-hmac-1"

// canonical returns the lines that the Canonical form covers. host is the Host field, date and keyID are values of
// headers, bodySum is the SHA-256 of the body. Whatever comes in, no value can end its line.
func canonical(method, host string, u *url.URL, date, keyID string, bodySum []byte) ([]byte, error) {
	path, err := signing.Path(method, u)
	if err != nil {
		return nil, err
	}
	query, err := canonicalQuery(u.RawQuery)
	if err != nil {
		return nil, err
	}
	switch {
	case !signing.IsHost(host):
		return nil, errors.New("the host is empty or not ASCII: write an international name in its xn-- form")
	case !header.Visible(date):
		return nil, errors.New("the date is empty or not visible ASCII")
	case !header.Visible(keyID):
		return nil, errors.New("the key id is empty or not visible ASCII")
	}
	return bytes.Join([][]byte{
		[]byte(version), []byte(method), []byte(path), []byte(query),
		[]byte(strings.ToLower(host)), []byte(date), []byte(hex.EncodeToString(bodySum)), []byte(keyID),
	}, []byte{'\n'}), nil
}

// canonicalQuery sorts by name. Parameters of one name keep their order, since handlers take the first.
func canonicalQuery(raw string) (string, error) {
	values, err := url.ParseQuery(raw)
	if err != nil { // its text has the query
		return "", errors.New("the query is malformed: it has a semicolon, or a % that escapes nothing")
	}
	return values.Encode(), nil
}
