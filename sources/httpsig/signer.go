package httpsig

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/dunglas/httpsfv"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/budget"
	"github.com/seed-f29168f7/renew/clock"
	"github.com/seed-f29168f7/renew/sources/internal/header"
	"github.com/seed-f29168f7/renew/sources/internal/input"
	"github.com/seed-f29168f7/renew/sources/internal/signing"
)

// name is what IssueError.Source says.
const name = "httpsig"

// DefaultLife is how long a signature is good where Signer.Life is zero.
const DefaultLife = 5 * time.Minute

// DefaultLabel is the label of a signature where Signer.Label is empty.
const DefaultLabel = "sig1"

// Signer signs requests (RFC 9421): a renew.Authenticator that needs no issued token, for renew.NewTransport. Give
// renew.TransportConfig.Header the name Signature. Its zero value is refused by Validate. Its fields may be changed until the
// first use; after it a Signer is safe for concurrent use, as far as its key and functions are. Use it by pointer.
type Signer struct {
	// KeyID names the key to the server: visible ASCII and spaces.
	KeyID string
	// PrivateKey signs, with every algorithm but HMACSHA256. Set it, or Secret, or SecretFunc.
	PrivateKey Key
	// Secret is the shared secret of HMACSHA256. Its text is the key, byte by byte.
	Secret renew.Secret
	// SecretFunc is asked for the secret at each signature, with the request's context. Its error is a local
	// fault; its text is shown, so it must not hold the secret.
	SecretFunc func(context.Context) (renew.Secret, error)
	// Algorithm is how to sign. Empty means the one of the key's type: RSAPSSSHA512 for RSA, HMACSHA256 for a secret.
	Algorithm Algorithm
	// Components are what the signature covers, in this order. Nil means @method, @authority, @path and @query, and of a request
	// with a body its Content-Digest and, where it has one, Content-Type. An empty list covers nothing and is an error. A request that
	// lacks one of them is not sent. Content-Digest is computed, where it is covered.
	Components []string
	// Digest is the algorithm of Content-Digest. Empty means SHA256.
	Digest Digest
	// Label tells signatures of one message apart. Empty means sig1.
	Label string
	// Tag, when not empty, names the application that the signature is for: visible ASCII and spaces.
	Tag string
	// Life is how long a signature is good: expires is created and so much, in whole seconds. Zero means DefaultLife, 5 minutes; negative means
	// that no expires is sent, and the server alone decides.
	Life time.Duration
	// SendAlgorithm says the algorithm in the signature, for servers that ask for it. They should know it by the key.
	SendAlgorithm bool
	// Budget is how many replays may follow refusals. Nil means a budget of this Signer's own with the
	// defaults, 4 in 10 minutes. Signers of one account, on one Clock, share one by pointer.
	Budget *budget.Budget
	// Nonce returns the nonce of a signature, another one each time. Nil means 130 bits of crypto/rand
	// as letters and digits. It is for tests.
	Nonce func() string
	// Clock tells created. Nil means clock.Real{}.
	Clock clock.Clock

	retry signing.Retry
	ready atomic.Pointer[[]component] // Components, once Validate has found no fault
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
	switch {
	case s == nil:
		return &renew.ConfigError{Field: "Signer", Reason: "is nil"}
	case s.KeyID == "" || !header.Printable(s.KeyID):
		return wrong("KeyID", "is empty, or has something else than visible ASCII and spaces")
	case !header.Printable(s.Tag):
		return wrong("Tag", "has something else than visible ASCII and spaces")
	case !isLabel(s.label()):
		return wrong("Label", "is not a key of RFC 8941: small letters, digits, _ - . and *, and a letter or * first")
	case s.Digest != "" && s.Digest.new() == nil:
		return wrong("Digest", "is neither sha-256 nor sha-512")
	case s.Life > 0 && s.Life < time.Second:
		return wrong("Life", "is shorter than a second, in which expires is counted")
	case s.Components != nil && len(s.Components) == 0:
		return wrong("Components", "is an empty list, which would cover nothing: leave it nil for the default")
	}
	if err := s.Budget.Validate(); err != nil {
		return wrong("Budget", err.Error())
	}
	if s.Components != nil {
		if _, err := parseComponents(s.Components); err != nil {
			return wrong("Components", "cannot be covered: "+err.Error())
		}
	}
	if !s.PrivateKey.isSet() {
		if s.Algorithm != "" && s.Algorithm != HMACSHA256 {
			return wrong("Algorithm", "is "+string(s.Algorithm)+", which signs with PrivateKey, and that is not set")
		}
		return input.Check("Signer.Secret", s.Secret, s.SecretFunc)
	}
	if !s.Secret.IsZero() || s.SecretFunc != nil {
		return wrong("PrivateKey", "is set, and so is Secret or SecretFunc: set one of them")
	}
	if err := s.algorithm().fits(s.PrivateKey.public()); err != nil {
		return wrong("PrivateKey", err.Error())
	}
	return nil
}

// isLabel reports whether s can be a key of RFC 8941, section 3.1.2.
func isLabel(s string) bool {
	dict := httpsfv.NewDictionary()
	dict.Add(s, httpsfv.NewItem(true))
	_, err := httpsfv.Marshal(dict)
	return err == nil
}

func (s *Signer) label() string {
	if s.Label == "" {
		return DefaultLabel
	}
	return s.Label
}

func (s *Signer) algorithm() Algorithm {
	switch {
	case s.Algorithm != "":
		return s.Algorithm
	case s.PrivateKey.isSet():
		return algorithmOf(s.PrivateKey.public())
	}
	return HMACSHA256
}

// Authenticate signs req, which it changes: it sets Signature-Input and Signature, in place of what was there, and Content-Digest where that is
// covered. Each call has a nonce and a time of its own. It blocks as long as the key and the functions of the Signer do. Where
// Content-Digest is covered the body is read through GetBody and not consumed; without a GetBody that fails. The Credential is nil. Errors are a
// *renew.ConfigError, or a *renew.IssueError: Invalid for a request that cannot be signed, Transient where the key or a
// function of the Signer failed.
func (s *Signer) Authenticate(req *http.Request) (renew.Credential, error) {
	components, err := s.components()
	if err != nil {
		return nil, err
	}
	if req.URL == nil {
		return nil, unsignable(errors.New("the request has no URL"))
	}
	if req.Header == nil {
		req.Header = make(http.Header, 3)
	}
	if components == nil {
		components = defaults(signing.HasBody(req), req.Header)
	}
	if err := s.digest(req, components); err != nil {
		return nil, unsignable(err)
	}
	text, list, err := base(sent(req), components, s.params())
	if err != nil {
		return nil, unsignable(err)
	}
	signature, err := s.sign(req.Context(), text)
	if err != nil {
		return nil, err
	}
	signing.SetHeader(req.Header, "Signature-Input", s.label()+"="+list)
	signing.SetHeader(req.Header, "Signature", s.label()+"=:"+base64.StdEncoding.EncodeToString(signature)+":")
	return nil, nil
}

// components returns the configured ones, which are validated and parsed once; nil where there are none.
func (s *Signer) components() ([]component, error) {
	if s != nil {
		if c := s.ready.Load(); c != nil {
			return *c, nil
		}
	}
	if err := s.Validate(); err != nil {
		return nil, err
	}
	var c []component
	if s.Components != nil {
		c, _ = parseComponents(s.Components) // Validate has seen it succeed
	}
	s.ready.Store(&c)
	return c, nil
}

// defaults returns what is covered of a request where the configuration does not say.
func defaults(body bool, h http.Header) []component {
	switch {
	case !body:
		return requestComponents[:4]
	case len(h["Content-Type"]) == 0:
		return requestComponents[:5]
	}
	return requestComponents
}

// digest sets Content-Digest where it is covered.
func (s *Signer) digest(req *http.Request, components []component) error {
	if !slices.ContainsFunc(components, func(c component) bool { return c.name == "content-digest" }) {
		return nil
	}
	algorithm := s.Digest
	if algorithm == "" {
		algorithm = SHA256
	}
	h := algorithm.new()
	if err := signing.ReadBody(req, h); err != nil {
		return err
	}
	signing.SetHeader(req.Header, "Content-Digest", algorithm.field(h))
	return nil
}

// params returns the parameters of section 2.3.
func (s *Signer) params() *httpsfv.Params {
	params := httpsfv.NewParams()
	created := s.retry.Wall(s.now()).Unix()
	params.Add("created", created)
	switch {
	case s.Life == 0:
		params.Add("expires", created+int64(DefaultLife/time.Second))
	case s.Life > 0:
		params.Add("expires", created+int64(s.Life/time.Second))
	}
	if s.Nonce != nil {
		params.Add("nonce", s.Nonce())
	} else {
		params.Add("nonce", rand.Text())
	}
	params.Add("keyid", s.KeyID)
	if s.SendAlgorithm {
		params.Add("alg", string(s.algorithm()))
	}
	if s.Tag != "" {
		params.Add("tag", s.Tag)
	}
	return params
}

func (s *Signer) sign(ctx context.Context, base []byte) ([]byte, error) {
	if !s.PrivateKey.isSet() {
		secret, err := input.Secret(ctx, name, "Secret", s.Secret, s.SecretFunc)
		if err != nil {
			return nil, err
		}
		return mac(secret, base), nil
	}
	signature, err := s.algorithm().sign(s.PrivateKey.signer(), base)
	if err != nil {
		return nil, &renew.IssueError{Source: name, Kind: renew.Transient, Unsent: true, Err: errors.New("the private key did not sign: " + err.Error())}
	}
	return signature, nil
}

// scheme is the auth-scheme of our verifier's challenges.
const scheme = "Signature"

// Refused says whether another signature can help, as a 401 mostly does not: when created was not by the server's clock, or when
// net/http sent a request twice because a connection died. So there is a replay, with a nonce of its own and the same key, unless
//
//   - the server names another reason, as the Verifier of this package does: error="invalid_signature";
//   - it names error="replayed", which says that a copy has been served, and the request must not be served twice: it is neither
//     GET, HEAD, OPTIONS nor TRACE and has no Idempotency-Key;
//   - the budget has no unit: each replay spends one when it is allowed, so that a key which is no good
//     any more costs at most 4 further refusals in 10 minutes. The error is a *renew.BudgetError then;
//   - the context has ended.
//
// Requests that are refused together spend a unit each, and those that find none get their 401 back.
//
// When the reply's Date is more than a minute from the Clock, created follows the server from then on, for
// all requests of this Signer, so that a host with a wrong clock works too. Refused does not block.
func (s *Signer) Refused(req *http.Request, _ renew.Credential, resp *http.Response) (renew.Replay, error) {
	if !signing.Mendable(req, resp, scheme) {
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
