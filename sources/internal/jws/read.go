package jws

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/seed-f29168f7/renew/sources/internal/jsonobject"
)

// maxToken bounds what is looked at.
const maxToken = 1 << 20

// maxLife bounds a life, so that no deadline computed from it overflows: 100 years.
const maxLife = 100 * 365 * 24 * time.Hour

// Why a token was refused. They hold nothing of it.
var (
	ErrForm      = errors.New("it is not a JWS in compact form")
	ErrHeader    = errors.New("its JOSE header cannot be read")
	ErrAlgorithm = errors.New("its alg is not the one that is expected")
	ErrCritical  = errors.New("it has a crit header: extensions are not known here")
	ErrSignature = errors.New("its signature is wrong")
	ErrClaims    = errors.New("its claims cannot be read")
	ErrTimes     = errors.New("its exp, or its iat, is not a time that can be used")
	ErrExpired   = errors.New("it has expired")
)

// parts are a token, split and decoded.
type parts struct {
	alg          string
	payload      []byte
	signature    []byte
	signingInput string
}

// split reads the compact form, and the header so far as it must be understood. Its time is
// linear in the token, whatever stands in it.
func split(compact string) (parts, error) {
	if len(compact) > maxToken {
		return parts{}, ErrForm
	}
	head, rest, ok1 := strings.Cut(compact, ".")
	body, tail, ok2 := strings.Cut(rest, ".")
	if !ok1 || !ok2 || head == "" || strings.Contains(tail, ".") {
		return parts{}, ErrForm
	}
	header, err1 := decode(head)
	payload, err2 := decode(body)
	signature, err3 := decode(tail)
	if err := errors.Join(err1, err2, err3); err != nil {
		return parts{}, ErrForm
	}
	m, err := object(header)
	if err != nil {
		return parts{}, ErrHeader
	}
	var name string
	if json.Unmarshal(m["alg"], &name) != nil {
		return parts{}, ErrHeader
	}
	// RFC 7515, section 4.1.11: what is named there must be understood, and nothing is.
	if m["crit"] != nil {
		return parts{}, ErrCritical
	}
	return parts{alg: name, payload: payload, signature: signature, signingInput: compact[:len(head)+1+len(body)]}, nil
}

// decode reads base64url without padding (RFC 7515, section 2), in its one form: no line
// breaks, and no bits that are not used.
func decode(s string) ([]byte, error) {
	if strings.ContainsAny(s, "\r\n") { // the decoder skips them
		return nil, ErrForm
	}
	return base64.RawURLEncoding.Strict().DecodeString(s)
}

// Verify returns the payload of a token whose header names the algorithm and whose signature fits
// the key: a public key, a crypto.Signer for its public half, or the []byte of a secret. It looks at
// no claim. Its errors are those of this package.
func Verify(compact, name string, key any) ([]byte, error) {
	if Check(name, key) != nil {
		return nil, ErrAlgorithm
	}
	p, err := split(compact)
	switch {
	case err != nil:
		return nil, err
	case p.alg != name:
		return nil, ErrAlgorithm
	case algs[name].method.Verify(p.signingInput, p.signature, public(key)) != nil:
		return nil, ErrSignature
	}
	return p.payload, nil
}

// Times returns how long a JWT lives and when it ends, from its claims exp and, where it is there, iat
// (RFC 7519, sections 4.1.4 and 4.1.6). Without iat, now counts. The signature is not
// checked: the times serve for planning, and the server judges the token. A token that
// no server should take (alg none) is refused all the same. A life is positive and at most 100 years.
func Times(compact string, now time.Time) (life time.Duration, expiry time.Time, err error) {
	p, err := split(compact)
	if err != nil {
		return 0, time.Time{}, err
	}
	if !Known(p.alg) {
		return 0, time.Time{}, ErrAlgorithm
	}
	m, err := object(p.payload)
	if err != nil {
		return 0, time.Time{}, ErrClaims
	}
	exp, ok := numericDate(m["exp"])
	if !ok {
		return 0, time.Time{}, ErrTimes
	}
	begin := float64(now.UnixNano()) / 1e9
	if value := m["iat"]; value != nil && string(value) != "null" {
		if begin, ok = numericDate(value); !ok {
			return 0, time.Time{}, ErrTimes
		}
	}
	if exp <= begin {
		return 0, time.Time{}, ErrExpired
	}
	life = max(time.Duration(min(exp-begin, maxLife.Seconds())*float64(time.Second)), 1)
	whole, part := math.Modf(exp)
	return life, time.Unix(int64(whole), int64(part*1e9)), nil
}

// numericDate reads seconds since 1970 (RFC 7519, section 2), up to the year 9999.
func numericDate(value json.RawMessage) (float64, bool) {
	n, err := strconv.ParseFloat(string(value), 64)
	return n, err == nil && n > 0 && n < 253402300800
}

var errTwice = errors.New("a name stands in it twice")

// object reads one JSON object. A name that stands in it twice is refused, as RFC 7515, section 4, allows: two readers
// could see two algorithms.
func object(text []byte) (map[string]json.RawMessage, error) {
	if len(text) > 0 && text[0] == 0xef { // the reader skips a byte order mark, which other readers refuse
		return nil, jsonobject.Err
	}
	m := make(map[string]json.RawMessage, 8)
	err := jsonobject.Members(text, func(name string, value json.RawMessage) error {
		if _, twice := m[name]; twice {
			return errTwice
		}
		m[name] = value
		return nil
	})
	return m, err
}
