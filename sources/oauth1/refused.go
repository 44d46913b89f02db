package oauth1

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/clock"
)

// maxSkew is how far the server's Date may be from our clock before timestamps follow the server. The
// strictest servers that are known allow 5 minutes.
const maxSkew = time.Minute

// Refused decides whether another signature can help. RFC 5849, section 3.2, has a 401 for
// wrong credentials, which a replay does not mend, and also for a nonce that was used (net/http sends a request again
// by itself when a connection dies) and for a timestamp that is too old or too new, which it does. Most servers
// do not say which it was. So there is a replay, unless
//
//   - the server names another reason, in oauth_problem of WWW-Authenticate;
//   - the budget has no unit: each replay spends one when it is allowed, so that a key which is no good
//     any more costs at most 4 further refusals in 10 minutes. The error is a *renew.BudgetError then;
//   - the context has ended.
//
// Requests that are refused together spend a unit each, and those that find none get their 401 back.
//
// When the reply's Date is more than a minute from the Clock, timestamps follow the server from then on, for
// all requests of this Signer, so that a host with a wrong clock works too. Refused does not block.
func (s *Signer) Refused(req *http.Request, _ renew.Credential, resp *http.Response) (renew.Replay, error) {
	switch problemIn(resp.Header.Values("WWW-Authenticate")) {
	case "", problemNonce, problemTimestamp:
	default:
		return nil, nil
	}
	now := s.now()
	s.follow(resp.Header, now)
	if req.Context().Err() != nil {
		return nil, nil
	}
	b := s.Budget
	if b == nil {
		b = &s.own
	}
	if at, ok := b.Reserve(now.Mono); !ok {
		return nil, &renew.BudgetError{RetryAt: now.Wall.Add(at - now.Mono)}
	}
	// At once and not at the replay's end: what comes of it makes no difference.
	b.Spend(now.Mono)
	return s.Authenticate, nil
}

// follow notes how far the server's clock is from ours.
func (s *Signer) follow(h http.Header, now clock.Instant) {
	date, err := http.ParseTime(h.Get("Date"))
	if err != nil || date.Unix() <= 0 { // a timestamp is positive (section 3.3)
		return
	}
	ahead := date.Sub(now.Wall)
	if ahead.Abs() < maxSkew {
		ahead = 0
	}
	s.skew.Store(int64(ahead / time.Second))
}

// Of the problems that servers report, those that a new nonce or timestamp mends.
const (
	problemNonce     = "nonce_used"
	problemTimestamp = "timestamp_refused"
)

// problems are the values of oauth_problem (OAuth Problem Reporting, an extension). A value that is
// not among them is not looked at: the server's text may hold what was sent.
var problems = []string{
	problemNonce, problemTimestamp,
	"version_rejected", "parameter_absent", "parameter_rejected", "signature_method_rejected", "signature_invalid",
	"consumer_key_unknown", "consumer_key_rejected", "consumer_key_refused",
	"token_used", "token_expired", "token_revoked", "token_rejected",
	"verifier_invalid", "additional_authorization_required", "permission_unknown", "permission_denied", "user_refused",
}

// problemIn returns the oauth_problem of texts, which are WWW-Authenticate fields or form bodies, or nothing.
func problemIn(texts []string) string {
	for _, text := range texts {
		_, rest, found := strings.Cut(text, "oauth_problem=")
		if !found {
			continue
		}
		rest = strings.TrimPrefix(rest, `"`)
		if end := strings.IndexAny(rest, "\"&, \t\r\n"); end >= 0 {
			rest = rest[:end]
		}
		if slices.Contains(problems, rest) {
			return rest
		}
	}
	return ""
}
