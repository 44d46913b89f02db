package oauth2

import (
	"net/http"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/sources/internal/challenge"
)

// refuses reports whether a 401 refuses the token (RFC 6750, section 3.1). It does unless a
// challenge of the token's scheme says that something else is wrong: insufficient_scope, which another token of the same login
// does not mend, or invalid_request. Where the server names no error, or contradicts itself, the token is taken as refused.
func refuses(t *renew.Token, resp *http.Response) bool {
	scheme := "Bearer"
	if t.Type != "" {
		scheme = t.Type
	}
	challenges, _ := challenge.Parse(resp.Header.Values("WWW-Authenticate")) // what cannot be read says nothing
	other := false
	for _, c := range challenges {
		if !c.Is(scheme) {
			continue
		}
		switch code, _ := c.Params.Get("error"); code {
		case "insufficient_scope", "invalid_request":
			other = true
		default:
			return true
		}
	}
	return !other
}
