package armor

import (
	"encoding/json"
	"errors"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/sources/internal/header"
)

const (
	// mostLife is how long an FH-AUTH token lives at most, and what is taken where
	// the reply says nothing that makes sense.
	mostLife = 15 * time.Minute
	// absurd is where expires_in stops to make sense.
	absurd = 86400
	// mostMinutes is where expires_in stops to be minutes: replies have been seen with 15, 900 and 1800.
	mostMinutes = 60
)

// errNoSuccess is an authorize reply with success false: the credentials were judged.
var errNoSuccess = errors.New("the reply says that the login did not succeed")

// authorizeCode reads the reply of authorize.
func authorizeCode(body []byte) (string, error) {
	m, err := object(body, "code", "success")
	if err != nil {
		return "", err
	}
	if value := m["success"]; !absent(value) {
		switch string(value) {
		case "true":
		case "false":
			return "", errNoSuccess
		default:
			return "", errors.New("success is neither true nor false")
		}
	}
	code, ok := stringOf(m["code"])
	if !ok || code == "" {
		return "", errors.New("it has no code")
	}
	return code, nil
}

// tokenOf reads the reply of token and of reissue. token_type is not looked at: it
// says Bearer, while the scheme is FH-AUTH.
func tokenOf(body []byte) (*renew.Token, error) {
	m, err := object(body, "access_token", "expires_in")
	if err != nil {
		return nil, err
	}
	value, ok := stringOf(m["access_token"])
	switch {
	case !ok || value == "":
		return nil, errors.New("it has no access_token")
	case !header.Visible(value):
		return nil, errors.New("the access_token cannot stand in a header")
	}
	return &renew.Token{Value: renew.NewSecret(value), Type: fhAuth, Life: lifeOf(m["expires_in"])}, nil
}

// lifeOf reads expires_in: a number, or digits in a string. Up to 60 it means
// minutes, above seconds.
func lifeOf(value json.RawMessage) time.Duration {
	text := string(value)
	if s, ok := stringOf(value); ok {
		if strings.Trim(s, "0123456789") != "" {
			return mostLife
		}
		text = s
	}
	n, err := strconv.ParseFloat(text, 64) // linear in the text
	unit := time.Second
	if n <= mostMinutes {
		unit = time.Minute
	}
	if err != nil || math.IsNaN(n) || n <= 0 || n > absurd {
		return mostLife
	}
	life := min(time.Duration(n*float64(unit)), mostLife)
	if life <= 0 { // less than a nanosecond
		return mostLife
	}
	return life
}
