package armor

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"math"
	"strconv"
	"strings"
	"time"
)

// maxJWTLife bounds a life, so that no deadline computed from it overflows.
const maxJWTLife = 365 * 24 * time.Hour

// jwtLife returns how long an ID token lives and when it ends, from its claims exp and, where
// it is there, iat (RFC 7519, sections 4.1.4 and 4.1.6). Without iat, now counts. The
// signature is not checked: the times serve for planning, and Armor judges the token.
func jwtLife(token string, now time.Time) (life time.Duration, expiry time.Time, err error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return 0, time.Time{}, errors.New("the ID token is not a JWT")
	}
	claims, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[1], "="))
	if err != nil {
		return 0, time.Time{}, errors.New("the claims of the ID token are not base64url")
	}
	m, err := object(claims, "exp", "iat")
	if err != nil {
		return 0, time.Time{}, errors.New("the claims of the ID token cannot be read")
	}
	exp, ok := numericDate(m["exp"])
	if !ok {
		return 0, time.Time{}, errors.New("the ID token has no exp that is a time")
	}
	begin := float64(now.UnixNano()) / 1e9
	if value := m["iat"]; !absent(value) {
		if begin, ok = numericDate(value); !ok {
			return 0, time.Time{}, errors.New("the ID token has an iat that is not a time")
		}
	}
	if exp <= begin {
		return 0, time.Time{}, errors.New("the ID token has expired")
	}
	seconds := min(exp-begin, maxJWTLife.Seconds())
	life = max(time.Duration(seconds*float64(time.Second)), 1)
	whole, part := math.Modf(exp)
	return life, time.Unix(int64(whole), int64(part*1e9)), nil
}

// numericDate reads seconds since 1970 (RFC 7519, section 2), up to the year 9999.
func numericDate(value json.RawMessage) (float64, bool) {
	n, err := strconv.ParseFloat(string(value), 64)
	return n, err == nil && n > 0 && n < 253402300800
}
