package hmac

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/clock"
	"github.com/seed-f29168f7/renew/sources/internal/header"
	"github.com/seed-f29168f7/renew/sources/internal/signing"
)

// The defaults of a Verifier.
const (
	DefaultWindow     = 5 * time.Minute
	DefaultMaxBody    = 10 << 20
	DefaultRemembered = 100_000
)

// Verifier judges requests that a [Signer], or another program by the same form, has signed. Its zero value is refused by
// Validate. Its fields may be changed until the first use; after it a Verifier is safe for concurrent use, as far as
// its functions are. Use it by pointer. Several processes that serve one host do not know which signatures the others have seen: a
// request can be replayed once to each of them.
type Verifier struct {
	// Wire is how signatures are written: the same as the Signer's.
	Wire Wire
	// Keys are the secrets by key id. To rotate, put the new one beside the old one, under an id of its own, until no
	// client uses the old one. With Plain and no key id in the request, each of them is tried. Set Keys or KeyFunc.
	Keys map[string]renew.Secret
	// KeyFunc is asked for the secret of a key id, which came with the request and is not verified yet; it is empty for a Plain
	// request without one. A zero Secret means that there is no such key, and the request is refused. An error is a local fault: the
	// answer is 503.
	KeyFunc func(ctx context.Context, keyID string) (renew.Secret, error)
	// Hosts are the Host fields that requests may name, with the port where there is one; case makes no difference. Nil
	// means any: then a request that was signed for another host with the same keys is taken here too.
	Hosts []string
	// Window is how far the date of a request may be from the Clock, into the past and into the future. Zero
	// means DefaultWindow, 5 minutes; negative is an error. The Plain form has no date. When the Clock is set back, requests that had left the
	// Window before come into it again, and may be replayed.
	Window time.Duration
	// MaxBody is how many bytes of a body are read and held; a longer one is refused with 413. Zero means DefaultMaxBody,
	// 10 MiB; negative is an error.
	MaxBody int64
	// MaxRemembered is how many signatures are remembered so that none is taken twice, at about 150 bytes each, each until its
	// date leaves the Window. Only what a key signed is remembered. When all places are taken requests are refused with 503, and
	// not forgotten: by default that is at more than 333 requests a second for 5 minutes. Zero means DefaultRemembered, 100,000; negative is an error. The Plain form has nothing to remember.
	MaxRemembered int
	// Message returns what the signature covers, in the Plain form alone. It must not change the request; GetBody returns the
	// body. Nil means the body. An error refuses the request with 400.
	Message func(*http.Request) ([]byte, error)
	// OnRefusal, when not nil, is told why a request is refused, which the client is not. It may be called by several
	// goroutines at once, and the answer waits for it.
	OnRefusal func(*http.Request, *VerifyError)
	// Clock tells the time. Nil means clock.Real{}.
	Clock clock.Clock

	guard signing.Guard
	valid atomic.Bool // Validate has found no fault
}

// VerifyError says why a request was refused. It holds nothing that came with the request.
type VerifyError struct {
	// Status is for the answer: 401; 400 for a body that breaks off or has no message, 413 for one that is too long, 503 when the
	// keys cannot be asked or the memory of signatures is full.
	Status int
	// Code is the error attribute of WWW-Authenticate, with status 401: "replayed", "time" or "invalid_signature".
	Code string
	// Reason is for the server's own log.
	Reason string
}

// Error says why.
func (e *VerifyError) Error() string { return "renew: hmac: request refused: " + e.Reason }

var _ renew.Validator = (*Verifier)(nil)

// Validate reports the first field that cannot work, as a *renew.ConfigError. Handler and Verify check the same.
func (v *Verifier) Validate() error {
	wrong := func(field, reason string) error {
		return &renew.ConfigError{Field: "Verifier." + field, Reason: reason}
	}
	if v == nil {
		return &renew.ConfigError{Field: "Verifier", Reason: "is nil"}
	}
	if err := v.Wire.validate("Verifier.Wire"); err != nil {
		return err
	}
	switch {
	case len(v.Keys) == 0 && v.KeyFunc == nil:
		return wrong("Keys", "is empty: it is needed, or KeyFunc")
	case len(v.Keys) > 0 && v.KeyFunc != nil:
		return wrong("Keys", "is set, and so is KeyFunc: set one of them")
	case v.Window < 0:
		return wrong("Window", "is negative: it must be positive, or 0 for 5 minutes")
	case v.MaxBody < 0:
		return wrong("MaxBody", "is negative: it must be positive, or 0 for 10 MiB")
	case v.MaxRemembered < 0:
		return wrong("MaxRemembered", "is negative: it must be positive, or 0 for 100,000")
	case v.Hosts != nil && v.Wire.Form == Plain:
		return wrong("Hosts", "is set, but the Plain form does not cover the host")
	case v.Message != nil && v.Wire.Form != Plain:
		return wrong("Message", "is set, but only the Plain form uses it: set Wire.Form to Plain")
	}
	for id, secret := range v.Keys {
		if secret.IsZero() {
			return wrong("Keys", "has an empty secret, which everybody knows")
		}
		if !header.Visible(id) && (id != "" || v.Wire.Form == Canonical) {
			return wrong("Keys", "has a key id with a space, a control character or something else than ASCII")
		}
	}
	return nil
}

type contextKey struct{}

// KeyID returns the id of the key that signed the request of a handler below [Verifier.Handler]. ok is false elsewhere.
func KeyID(ctx context.Context) (id string, ok bool) {
	id, ok = ctx.Value(contextKey{}).(string)
	return id, ok
}

// Handler returns a handler that gives to next what Verify takes, with the key id in the context (see [KeyID]) and the body
// to be read from its start. It answers everything else itself: a 401 with WWW-Authenticate, or another status of VerifyError, and
// no reason. Put it outermost: what changes the path before it, as http.StripPrefix does, breaks signatures. The error is a
// *renew.ConfigError.
func (v *Verifier) Handler(next http.Handler) (http.Handler, error) {
	if err := v.Validate(); err != nil {
		return nil, err
	}
	if next == nil {
		return nil, &renew.ConfigError{Field: "Handler", Reason: "is nil"}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, err := v.Verify(r)
		if refused, ok := errors.AsType[*VerifyError](err); ok {
			if v.OnRefusal != nil {
				v.OnRefusal(r, refused)
			}
			signing.Refusal{Status: refused.Status, Code: refused.Code}.Answer(w, scheme)
			return
		}
		if err != nil { // a field was changed after Handler had checked it
			http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
			return
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), contextKey{}, id)))
	}), nil
}

// Verify judges a request as a server received it and returns the id of the key that signed it, which with Plain may be empty. It reads
// the body, up to MaxBody, and leaves r with one that can be read from its start. A good signature is taken once. It blocks as long as the body
// takes to arrive (set http.Server.ReadTimeout), and KeyFunc. Errors are a *VerifyError, or a *renew.ConfigError.
func (v *Verifier) Verify(r *http.Request) (keyID string, err error) {
	if v == nil || !v.valid.Load() {
		if err := v.Validate(); err != nil {
			return "", err
		}
		v.valid.Store(true)
	}
	keyID, err = v.verify(r)
	if refusal, ok := errors.AsType[signing.Refusal](err); ok {
		return "", &VerifyError{Status: refusal.Status, Code: refusal.Code, Reason: refusal.Reason}
	}
	return keyID, err
}

func refuse(code, reason string) error {
	return signing.Refusal{Status: http.StatusUnauthorized, Code: code, Reason: reason}
}

func (v *Verifier) verify(r *http.Request) (string, error) {
	claim, err := v.claim(r)
	if err != nil {
		return "", err
	}
	if v.Wire.Form == Canonical {
		if err := v.judge(r, claim); err != nil {
			return "", err
		}
	}
	keys, err := v.candidates(r.Context(), claim.keyID)
	if err != nil {
		return "", err
	}
	message, err := v.message(r, claim)
	if err != nil {
		return "", err
	}
	for _, key := range keys {
		if !hmac.Equal(v.Wire.Algorithm.sum(key.secret, message), claim.sum) {
			continue
		}
		if v.Wire.Form == Canonical {
			return key.id, v.remember(claim)
		}
		return key.id, nil
	}
	return "", refuse(signing.CodeSignature, "no key of this server made the signature")
}

// claim is what the headers of a request say.
type claim struct {
	sum         []byte
	keyID, date string
	at          time.Time // what date says
}

func (v *Verifier) claim(r *http.Request) (c claim, err error) {
	one := func(name string, needed bool) (string, error) {
		switch values := r.Header.Values(name); {
		case len(values) == 1:
			return values[0], nil
		case len(values) > 1:
			return "", refuse(signing.CodeSignature, "the request has "+name+" more than once")
		case needed:
			return "", refuse(signing.CodeSignature, "the request has no "+name)
		}
		return "", nil
	}
	text, err := one(v.Wire.header(), true)
	if err != nil {
		return c, err
	}
	if c.sum, err = v.Wire.read(text); err != nil {
		return c, refuse(signing.CodeSignature, err.Error())
	}
	if c.keyID, err = one(v.Wire.keyIDHeader(), v.Wire.Form == Canonical); err != nil || v.Wire.Form == Plain {
		return c, err
	}
	if c.date, err = one(v.Wire.dateHeader(), true); err != nil {
		return c, err
	}
	if c.at, err = time.Parse(time.RFC3339Nano, c.date); err != nil {
		return c, refuse(signing.CodeSignature, "the date is not in the form of RFC 3339")
	}
	return c, nil
}

func (v *Verifier) window() time.Duration {
	if v.Window == 0 {
		return DefaultWindow
	}
	return v.Window
}

// judge looks at what can be judged before the body is read.
func (v *Verifier) judge(r *http.Request, c claim) error {
	if !signing.Serves(v.Hosts, r.Host) {
		return refuse(signing.CodeSignature, "the request is for another host")
	}
	if c.at.Sub(v.now().Wall).Abs() > v.window() {
		return refuse(signing.CodeTime, "the date is too far from this server's clock")
	}
	return nil
}

type key struct {
	id     string
	secret renew.Secret
}

// candidates returns the keys that may have made the signature, in an order that does not change.
func (v *Verifier) candidates(ctx context.Context, id string) ([]key, error) {
	if v.KeyFunc == nil && id == "" && v.Wire.Form == Plain {
		var all []key
		for _, id := range slices.Sorted(maps.Keys(v.Keys)) {
			all = append(all, key{id, v.Keys[id]})
		}
		return all, nil
	}
	secret := v.Keys[id]
	if v.KeyFunc != nil {
		var err error
		if secret, err = v.KeyFunc(ctx, id); err != nil { // its text is not ours to show
			return nil, signing.Refusal{Status: http.StatusServiceUnavailable, Reason: "KeyFunc failed"}
		}
	}
	if secret.IsZero() {
		return nil, refuse(signing.CodeSignature, "no key of this server has that id")
	}
	return []key{{id, secret}}, nil
}

// message reads the body and returns what the signature covers.
func (v *Verifier) message(r *http.Request, c claim) ([]byte, error) {
	limit := v.MaxBody
	if limit == 0 {
		limit = DefaultMaxBody
	}
	body, again, err := signing.TakeBody(r.Body, limit)
	if err != nil {
		return nil, err
	}
	r.Body = again
	switch {
	case v.Wire.Form == Canonical:
		sum := sha256.Sum256(body)
		message, err := canonical(r.Method, r.Host, r.URL, c.date, c.keyID, sum[:])
		if err != nil {
			return nil, refuse(signing.CodeSignature, err.Error())
		}
		return message, nil
	case v.Message == nil:
		return body, nil
	}
	return v.plain(r, body)
}

// plain asks Message, which may read the body from GetBody or, on a server, from Body.
func (v *Verifier) plain(r *http.Request, body []byte) ([]byte, error) {
	give := func() io.ReadCloser { return io.NopCloser(bytes.NewReader(body)) }
	r.Body, r.GetBody = give(), func() (io.ReadCloser, error) { return give(), nil }
	message, err := v.Message(r)
	r.Body = give()
	if err != nil {
		return nil, signing.Refusal{Status: http.StatusBadRequest, Reason: "Message failed"}
	}
	return message, nil
}

// remember takes a signature once.
func (v *Verifier) remember(c claim) error {
	limit := v.MaxRemembered
	if limit == 0 {
		limit = DefaultRemembered
	}
	return v.guard.Use(sha256.Sum256(c.sum), v.now(), c.at.Add(v.window()), limit)
}

func (v *Verifier) now() clock.Instant {
	if v.Clock == nil {
		return clock.Real{}.Now()
	}
	return v.Clock.Now()
}
