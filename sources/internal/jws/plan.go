package jws

import (
	"errors"
	"strings"
	"time"
)

// Expiry returns when a token ends that may be a JWT or anything else: the zero Time where that cannot be seen. Its
// errors say that the token cannot be used: it has expired, or it begins as a JWT and does not go on as one, as
// when only half of it was written. It is for tokens that somebody else issued some time ago, whose iat is no help.
func Expiry(token string, now time.Time) (time.Time, error) {
	// All JOSE headers begin with {" and so with eyJ. Five parts are a JWE, which only its reader can look into.
	if !strings.HasPrefix(token, "eyJ") || strings.Count(token, ".") == 4 {
		return time.Time{}, nil
	}
	_, expiry, err := Times(token, now)
	switch {
	case err == nil && !expiry.After(now):
		return time.Time{}, ErrExpired
	case errors.Is(err, ErrForm), errors.Is(err, ErrHeader), errors.Is(err, ErrClaims), errors.Is(err, ErrExpired):
		return time.Time{}, err
	case err != nil: // no exp, or an algorithm that is not known here: the server judges
		return time.Time{}, nil
	}
	return expiry, nil
}
