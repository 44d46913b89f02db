package hmac

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/budget"
	"github.com/seed-f29168f7/renew/clock"
	"github.com/seed-f29168f7/renew/sources/internal/header"
	"github.com/seed-f29168f7/renew/sources/internal/input"
	"github.com/seed-f29168f7/renew/sources/internal/signing"
)

// name is what IssueError.Source says.
const name = "hmac"

// scheme is the auth-scheme of our verifier's challenges.
const scheme = "HMAC"

// Signer signs requests with a shared secret: a renew.Authenticator that needs no issued token, for
// renew.NewTransport. Give renew.TransportConfig.Header the name of the signature's header, which is X-HMAC unless
// Wire.Header says otherwise. Its zero value is refused by Validate. Its fields may be changed until the first use; after
// it a Signer is safe for concurrent use, as far as its functions are. Use it by pointer.
type Signer struct {
	// Wire is how the signature is written. Zero is the Canonical form with its defaults.
	Wire Wire
	// KeyID names the key: visible ASCII. The Canonical form needs it; with Plain, empty means that none is sent.
	KeyID string
	// Secret is the shared secret. Its text is the key, byte by byte. Set it or SecretFunc.
	Secret renew.Secret
	// SecretFunc is asked for the secret at each signature, with the request's context. Its error is a local
	// fault; its text is shown, so it must not hold the secret.
	SecretFunc func(context.Context) (renew.Secret, error)
	// Message returns what to sign, in the Plain form alone. It must not read Body nor change the request: GetBody returns a
	// body to read. Nil means the body. Its error's text is shown.
	Message func(*http.Request) ([]byte, error)
	// Budget is how many replays may follow refusals. Nil means a budget of this Signer's own with the
	// defaults, 4 in 10 minutes. Signers of one account, on one Clock, share one by pointer.
	Budget *budget.Budget
	// Clock tells the date. Nil means clock.Real{}.
	Clock clock.Clock

	retry signing.Retry
	last  atomic.Int64 // the date signed last, in Unix nanoseconds
}

// Signer implements what its methods are for.
var _ interface {
	renew.Authenticator
	renew.Validator
} = (*Signer)(nil)

// Validate reports the first field that cannot work, as a *renew.ConfigError. Authenticate checks the same.
func (s *Signer) Validate() error {
	wrong := func(field, reason string) error {
		return &renew.ConfigError{Field: "Signer." + field, Reason: reason}
	}
	if s == nil {
		return &renew.ConfigError{Field: "Signer", Reason: "is nil"}
	}
	if err := s.Wire.validate("Signer.Wire"); err != nil {
		return err
	}
	switch {
	case s.KeyID == "" && s.Wire.Form == Canonical:
		return wrong("KeyID", "is empty: the Canonical form signs it, so that a server can tell keys apart")
	case s.KeyID == "" && s.Wire.KeyIDHeader != "":
		return wrong("KeyID", "is empty, but Wire.KeyIDHeader is set")
	case s.KeyID != "" && !header.Visible(s.KeyID):
		return wrong("KeyID", "has a space, a control character or something else than ASCII")
	case s.Message != nil && s.Wire.Form != Plain:
		return wrong("Message", "is set, but only the Plain form uses it: set Wire.Form to Plain")
	}
	if err := s.Budget.Validate(); err != nil {
		return wrong("Budget", err.Error())
	}
	return input.Check("Signer.Secret", s.Secret, s.SecretFunc)
}

// Authenticate signs req, which it changes: with a date of its own in the Canonical form, and for each call another one. It
// blocks as long as the functions of the Signer do. The body is read through GetBody and not consumed; without a GetBody that fails,
// except in the Plain form with a Message that does not read it. The Credential is nil. Errors are a *renew.ConfigError, or
// a *renew.IssueError: Invalid for a request that cannot be signed, Transient where SecretFunc failed.
func (s *Signer) Authenticate(req *http.Request) (renew.Credential, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	if req.URL == nil {
		return nil, unsignable(errors.New("the request has no URL"))
	}
	message, date, err := s.message(req)
	if err != nil {
		return nil, unsignable(err)
	}
	secret, err := input.Secret(req.Context(), name, "Secret", s.Secret, s.SecretFunc)
	if err != nil {
		return nil, err
	}
	if req.Header == nil {
		req.Header = make(http.Header, 3)
	}
	if date != "" {
		signing.SetHeader(req.Header, s.Wire.dateHeader(), date)
	}
	if s.KeyID != "" {
		signing.SetHeader(req.Header, s.Wire.keyIDHeader(), s.KeyID)
	}
	signing.SetHeader(req.Header, s.Wire.header(), s.Wire.write(s.Wire.Algorithm.sum(secret, message)))
	return nil, nil
}

// message returns what the signature covers, and the date where that is part of it.
func (s *Signer) message(req *http.Request) (message []byte, date string, err error) {
	if s.Wire.Form == Plain {
		message, err = s.plain(req)
		return message, "", err
	}
	sum := sha256.New()
	if err := signing.ReadBody(req, sum); err != nil {
		return nil, "", err
	}
	method, host := or(req.Method, http.MethodGet), or(req.Host, req.URL.Host)
	date = s.date()
	message, err = canonical(method, host, req.URL, date, s.KeyID, sum.Sum(nil))
	return message, date, err
}

func (s *Signer) plain(req *http.Request) ([]byte, error) {
	if s.Message != nil {
		return s.Message(req)
	}
	var body bytes.Buffer
	err := signing.ReadBody(req, &body)
	return body.Bytes(), err
}

// date returns the time to sign with. No two calls get the same, or two equal requests at one moment would be a replay to the server.
func (s *Signer) date() string {
	at := s.retry.Wall(s.now()).UnixNano()
	for {
		last := s.last.Load()
		// Only readings of one moment are kept apart: after a step of the clock the date steps too.
		if at <= last && last-at < int64(time.Second) {
			at = last + 1
		}
		if s.last.CompareAndSwap(last, at) {
			return time.Unix(0, at).UTC().Format(time.RFC3339Nano)
		}
	}
}

// Refused says whether another signature can help, as a 401 mostly does not: in the Canonical form when the date was not
// the server's, or when net/http sent a request twice because a connection died; in the Plain form when SecretFunc may have another
// secret now. So there is a replay, unless
//
//   - the server names another reason, as the Verifier of this package does: error="invalid_signature";
//   - it names error="replayed", which says that a copy has been served, and the request must not be served twice: it is neither
//     GET, HEAD, OPTIONS nor TRACE and has no Idempotency-Key;
//   - the form is Plain and the secret fixed, so that the replay would be the same request;
//   - the budget has no unit: each replay spends one when it is allowed, so that a key which is no good
//     any more costs at most 4 further refusals in 10 minutes. The error is a *renew.BudgetError then;
//   - the context has ended.
//
// Requests that are refused together spend a unit each, and those that find none get their 401 back.
//
// When the reply's Date is more than a minute from the Clock, dates follow the server from then on, for
// all requests of this Signer, so that a host with a wrong clock works too. Refused does not block.
func (s *Signer) Refused(req *http.Request, _ renew.Credential, resp *http.Response) (renew.Replay, error) {
	if s.Wire.Form == Plain && s.SecretFunc == nil || !signing.Mendable(req, resp, scheme) {
		return nil, nil
	}
	now := s.now()
	s.retry.Follow(resp.Header, now)
	if ok, err := s.retry.Allow(req.Context(), s.Budget, now); !ok {
		return nil, err
	}
	return s.Authenticate, nil
}

// unsignable is the error of a request that cannot be signed and was not sent.
func unsignable(err error) error {
	return &renew.IssueError{Source: name, Kind: renew.Invalid, Permanent: true, Unsent: true, Err: err}
}

func (s *Signer) now() clock.Instant {
	if s.Clock == nil {
		return clock.Real{}.Now()
	}
	return s.Clock.Now()
}
