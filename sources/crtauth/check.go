package crtauth

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// clockAllowance is how wrong the local clock may be where the server does not say what time it is.
const clockAllowance = 300 * time.Second

// ServerNameError says that a challenge was made by, or for, another server than the one that
// was called. It was not signed: whoever sent it may want to use the answer elsewhere.
type ServerNameError struct {
	// Got is the name in the challenge, as it came.
	Got string
	// Want is the name that it must have: Source.ServerName, or the host of Source.Origin.
	Want string
}

// Error shows both names.
func (e *ServerNameError) Error() string {
	return fmt.Sprintf("the challenge is from server %.260q and not from %q, so it was not signed: if that is the name of this server, set ServerName; "+
		"if not, somebody relays the challenge of another one", e.Got, e.Want)
}

// UserNameError says that a challenge is for another user.
type UserNameError struct {
	// Got is the user in the challenge, as it came.
	Got string
	// Want is the user who wants to log in.
	Want string
}

// Error shows both names.
func (e *UserNameError) Error() string {
	return fmt.Sprintf("the challenge is for user %.70q and not for %q, so it was not signed: the server mixes up its users, or misreads the request (is Version right?)", e.Got, e.Want)
}

// Errors of the version and of the time.
var (
	errOlder = errors.New("the server answered with a challenge of version 0, which was not asked for: if it is older than 0.99.0, set Version to Version0")
	errNewer = errors.New("the server answered with a challenge of version 1, though version 0 was asked for: set Version to Version1")
	errTimes = errors.New("the challenge is not valid at the time that the server itself gives: set the clocks of the servers behind this address")
	errLocal = errors.New("the challenge is more than five minutes off the local clock: set the clock of this machine, or the server's")
)

// check says why a challenge must not be signed. serverTime is the Date of the reply; where
// that is zero, now counts, with an allowance.
func (c *challenge) check(v Version, server, user string, serverTime, now time.Time) error {
	switch {
	case c.version != v && v == Version1:
		return errOlder
	case c.version != v:
		return errNewer
	case !sameServer(c.server, server):
		return &ServerNameError{Got: c.server, Want: server}
	case c.user != user:
		return &UserNameError{Got: c.user, Want: user}
	}
	from, to := time.Unix(c.from, 0), time.Unix(c.to, 0)
	if !serverTime.IsZero() {
		if from.After(serverTime.Add(time.Second)) || serverTime.After(to) {
			return errTimes
		}
		return nil
	}
	if from.Add(-clockAllowance).After(now) || now.After(to.Add(clockAllowance)) {
		return errLocal
	}
	return nil
}

// sameServer compares two server names: letters of ASCII without their case, without the one dot
// that may stand at the end, and otherwise exactly. An empty name is nobody's.
func sameServer(a, b string) bool {
	a, b = lowerName(a), lowerName(b)
	return a == b && a != ""
}

func lowerName(name string) string {
	lower := []byte(strings.TrimSuffix(name, "."))
	for i, c := range lower {
		if 'A' <= c && c <= 'Z' {
			lower[i] = c + 'a' - 'A'
		}
	}
	return string(lower)
}

// isServerName reports whether a server can have that name.
func isServerName(name string) bool {
	for i := range len(name) {
		if c := name[i]; !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '.' || c == '_') {
			return false
		}
	}
	return 0 < len(name) && len(name) <= 255
}
