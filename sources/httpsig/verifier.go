package httpsig

import (
	"context"
	"crypto/sha256"
	"errors"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/clock"
	"github.com/seed-f29168f7/renew/sources/internal/signing"
)

// The defaults of a Verifier.
const (
	DefaultWindow     = 5 * time.Minute
	DefaultMaxBody    = 10 << 20
	DefaultRemembered = 100_000
)

// Verifier judges requests that were signed by RFC 9421, and responses. Its zero value is refused by Validate. Its fields may be changed until
// the first use; after it a Verifier is safe for concurrent use, as far as its functions are. Use it by pointer. Several
// processes that serve one host do not know which requests the others have seen: one can be replayed once to each of them.
type Verifier struct {
	// Keys are what verifies, by key id, each bound to its algorithm. To rotate, put the new key beside the old one, under an id of its own,
	// until nobody signs with the old one. Set Keys or KeyFunc.
	Keys map[string]VerifyKey
	// KeyFunc is asked for the key of a key id, which came with the message and is not verified yet. A zero VerifyKey means that
	// there is none, and the message is refused. An error is a local fault: the answer is 503.
	KeyFunc func(ctx context.Context, keyID string) (VerifyKey, error)
	// Required are the components that a signature must cover; it may cover more. Nil means for requests @method, @authority, @path and @query, and of
	// one with a body content-digest and, where it has one, content-type; for responses @status, and of one with a body
	// content-digest. @target-uri stands for @scheme, @authority, @path and @query. What is not covered anybody on the way can change.
	Required []string
	// Hosts are the values of @authority that requests may have: in any case, with the port where it is not the scheme's own. Nil
	// means any: then a request that was signed for another host with the same keys is taken here too. Required must have @authority or
	// @target-uri.
	Hosts []string
	// Label is the label of the signature to judge. Empty means any. With several, one good signature is enough; somebody on the way
	// who takes one off can send the request once by each.
	Label string
	// Tag is the tag that the signature must have. Empty means any, and none.
	Tag string
	// Scheme is what @scheme and @target-uri say, and tells the default port: https, where a proxy ends TLS. Empty means by the connection.
	Scheme string
	// Window is how far created may be from the Clock, into the past and into the future. Zero means DefaultWindow, 5 minutes; negative
	// is an error. A signature without created is refused, and so is one that is past its expires. When the Clock is set back, requests
	// that had left the Window before come into it again, and may be replayed.
	Window time.Duration
	// MaxBody is how many bytes of a body are read and held, for its Content-Digest; a longer one is refused with 413. Zero
	// means DefaultMaxBody, 10 MiB; negative is an error.
	MaxBody int64
	// MaxRemembered is how many requests are remembered so that none is taken twice, at about 150 bytes each, each until its created
	// leaves the Window or it expires: by key id and nonce, or by all that is signed where there is no nonce. Only what a key signed is remembered. When all
	// places are taken requests are refused with 503, and not forgotten: by default that is at more than 333 requests a second for 5
	// minutes. Zero means DefaultRemembered, 100,000; negative is an
	// error. Responses are not remembered.
	MaxRemembered int
	// OnRefusal, when not nil, is told why a request is refused, which the client is not. It may be called by several
	// goroutines at once, and the answer waits for it.
	OnRefusal func(*http.Request, *VerifyError)
	// Clock tells the time. Nil means clock.Real{}.
	Clock clock.Clock

	guard signing.Guard
	ready atomic.Pointer[[]component] // Required, once Validate has found no fault
}

// Verified is what a good signature says.
type Verified struct {
	Label, KeyID, Tag, Nonce string
	Algorithm                Algorithm
	Created                  time.Time
	// Expires is zero when the signature does not say it.
	Expires time.Time
	// Components are the covered ones, as they stand in Signature-Input.
	Components []string
}

// VerifyError says why a message was refused. It holds nothing of it.
type VerifyError struct {
	// Status is for the answer to a request: 401; 400 for a body that breaks off, 413 for one that is too long, 503 when the
	// keys cannot be asked or the memory of requests is full.
	Status int
	// Code is the error attribute of WWW-Authenticate, with status 401: "replayed", "time" or "invalid_signature".
	Code string
	// Reason is for the server's own log.
	Reason string
}

// Error says why.
func (e *VerifyError) Error() string { return "renew: httpsig: message refused: " + e.Reason }

var _ renew.Validator = (*Verifier)(nil)

// Validate reports the first field that cannot work, as a *renew.ConfigError. The other methods check the same.
func (v *Verifier) Validate() error {
	wrong := func(field, reason string) error {
		return &renew.ConfigError{Field: "Verifier." + field, Reason: reason}
	}
	switch {
	case v == nil:
		return &renew.ConfigError{Field: "Verifier", Reason: "is nil"}
	case len(v.Keys) == 0 && v.KeyFunc == nil:
		return wrong("Keys", "is empty: it is needed, or KeyFunc")
	case len(v.Keys) > 0 && v.KeyFunc != nil:
		return wrong("Keys", "is set, and so is KeyFunc: set one of them")
	case v.Label != "" && !isLabel(v.Label):
		return wrong("Label", "is not a key of RFC 8941")
	case v.Scheme != "" && v.Scheme != "https" && v.Scheme != "http":
		return wrong("Scheme", "is neither https nor http")
	case v.Window < 0:
		return wrong("Window", "is negative: it must be positive, or 0 for 5 minutes")
	case v.MaxBody < 0:
		return wrong("MaxBody", "is negative: it must be positive, or 0 for 10 MiB")
	case v.MaxRemembered < 0:
		return wrong("MaxRemembered", "is negative: it must be positive, or 0 for 100,000")
	}
	for _, key := range v.Keys {
		if key.IsZero() {
			return wrong("Keys", "has a zero VerifyKey: make it with NewVerifyKey or NewVerifySecret")
		}
	}
	required, err := parseComponents(v.Required)
	switch {
	case err != nil:
		return wrong("Required", "cannot be covered: "+err.Error())
	case v.Hosts != nil && v.Required != nil && covers(required, known("@authority")) != nil:
		return wrong("Hosts", "is set, but Required has neither @authority nor @target-uri, so that anybody can change the host")
	}
	return nil
}

// required returns Required, which is parsed once when all else is validated; nil where it is nil.
func (v *Verifier) required() ([]component, error) {
	if v != nil {
		if c := v.ready.Load(); c != nil {
			return *c, nil
		}
	}
	if err := v.Validate(); err != nil {
		return nil, err
	}
	var c []component
	if v.Required != nil {
		c, _ = parseComponents(v.Required) // Validate has seen it succeed
	}
	v.ready.Store(&c)
	return c, nil
}

// VerifyRequest judges a request as a server received it. Where its signature covers content-digest it reads the body, up to
// MaxBody, and leaves r with one that can be read from its start. A good request is taken once. It blocks as long as the body takes to
// arrive (set http.Server.ReadTimeout), and KeyFunc. Errors are a *VerifyError, or a *renew.ConfigError.
func (v *Verifier) VerifyRequest(r *http.Request) (*Verified, error) {
	required, err := v.required()
	if err != nil {
		return nil, err
	}
	body := &entity{body: &r.Body, length: r.ContentLength, fields: r.Header.Values("Content-Digest")}
	if required == nil {
		required = defaults(body.present(), r.Header)
	}
	m := received(r, v.Scheme)
	if host, err := m.authority(); v.Hosts != nil && (err != nil || !signing.Serves(v.Hosts, host)) {
		return nil, public(refuse("the request is for another host"))
	}
	got, err := v.judge(r.Context(), m, required, body)
	// All of them: else one that was judged second could be sent again alone.
	for _, g := range got {
		if err = v.remember(g); err != nil {
			break
		}
	}
	if err != nil {
		return nil, public(err)
	}
	return got[0].Verified, nil
}

// VerifyResponse judges a response as a client got it. Its body is dealt with as by VerifyRequest. A component with the parameter req is
// of resp.Request, which behind a renew.Transport is the request without its own signature. A response that net/http has decompressed cannot
// be judged by its Content-Digest: set Accept-Encoding or http.Transport.DisableCompression. Responses are not remembered: to tie one to
// its request, require components of it ("@path;req") and a nonce of it.
func (v *Verifier) VerifyResponse(resp *http.Response) (*Verified, error) {
	required, err := v.required()
	if err != nil {
		return nil, err
	}
	ctx := context.Background()
	if resp.Request != nil {
		ctx = resp.Request.Context()
	}
	body := &entity{body: &resp.Body, length: resp.ContentLength, fields: resp.Header.Values("Content-Digest"), changed: resp.Uncompressed}
	if required == nil {
		required = responseComponents[:1]
		if body.present() {
			required = responseComponents
		}
	}
	got, err := v.judge(ctx, answered(resp), required, body)
	if err != nil {
		return nil, public(err)
	}
	return got[0].Verified, nil
}

// public makes a refusal what callers are told.
func public(err error) error {
	if r, ok := errors.AsType[signing.Refusal](err); ok {
		return &VerifyError{Status: r.Status, Code: r.Code, Reason: r.Reason}
	}
	return err
}

func refuse(reason string) error {
	return signing.Refusal{Status: http.StatusUnauthorized, Code: signing.CodeSignature, Reason: reason}
}

// good is a signature that a key made of this message.
type good struct {
	*Verified
	once signing.Sum // what must not come again
}

// judge returns the good signatures among those that Label and Tag select. There is at least one, or the error of the first.
func (v *Verifier) judge(ctx context.Context, m *message, required []component, body *entity) (all []*good, err error) {
	claims, err := claimsOf(m.header, v.Label, v.Tag)
	if err != nil {
		return nil, refuse(err.Error())
	}
	var first error
	for _, c := range claims {
		g, err := v.judgeOne(ctx, m, c, required, body)
		if err == nil {
			all = append(all, g)
		} else if first == nil {
			first = err
		}
	}
	if len(all) == 0 {
		return nil, first
	}
	return all, nil
}

func (v *Verifier) judgeOne(ctx context.Context, m *message, c claim, required []component, body *entity) (*good, error) {
	if err := v.judgeTime(c, v.now().Wall); err != nil {
		return nil, err
	}
	covered, err := componentsOf(c.list.Items)
	if err != nil {
		return nil, refuse(err.Error())
	}
	if err := covers(covered, required); err != nil {
		return nil, refuse(err.Error())
	}
	key, err := v.key(ctx, c)
	if err != nil {
		return nil, err
	}
	text, _, err := base(m, covered, c.list.Params)
	if err != nil {
		return nil, refuse(err.Error())
	}
	if !key.verify(text, c.signature) {
		return nil, refuse("the key did not make the signature")
	}
	got := &good{Verified: &Verified{Label: c.label, KeyID: c.keyID, Tag: c.tag, Nonce: c.nonce, Algorithm: key.algorithm, Created: time.Unix(c.created, 0)}}
	if c.expires != nil {
		got.Expires = time.Unix(*c.expires, 0)
	}
	for _, component := range covered {
		got.Components = append(got.Components, component.id)
		if component.name == "content-digest" && !component.req {
			if err := body.check(v.maxBody()); err != nil {
				return nil, err
			}
		}
	}
	if got.once = sha256.Sum256(append([]byte("base "), text...)); c.nonce != "" {
		got.once = sha256.Sum256([]byte("nonce " + c.keyID + "\n" + c.nonce)) // neither has a line break
	}
	return got, nil
}

func (v *Verifier) window() time.Duration {
	if v.Window == 0 {
		return DefaultWindow
	}
	return v.Window
}

func (v *Verifier) maxBody() int64 {
	if v.MaxBody == 0 {
		return DefaultMaxBody
	}
	return v.MaxBody
}

func (v *Verifier) judgeTime(c claim, now time.Time) error {
	wrong := func(reason string) error {
		return signing.Refusal{Status: http.StatusUnauthorized, Code: signing.CodeTime, Reason: reason}
	}
	switch {
	case time.Unix(c.created, 0).Sub(now).Abs() > v.window():
		return wrong("created is too far from this server's clock")
	case c.expires != nil && !now.Before(time.Unix(*c.expires, 0)):
		return wrong("the signature has expired")
	}
	return nil
}

func (v *Verifier) key(ctx context.Context, c claim) (VerifyKey, error) {
	key := v.Keys[c.keyID]
	if v.KeyFunc != nil {
		var err error
		if key, err = v.KeyFunc(ctx, c.keyID); err != nil { // its text is not ours to show
			return key, signing.Refusal{Status: http.StatusServiceUnavailable, Reason: "KeyFunc failed"}
		}
	}
	switch {
	case key.IsZero():
		return key, refuse("there is no key of that id")
	case c.algorithm != "" && c.algorithm != key.algorithm:
		return key, refuse("the signature names another algorithm than its key is for")
	}
	return key, nil
}

// inTarget are the components that @target-uri has in it.
var inTarget = []string{"@scheme", "@authority", "@path", "@query"}

// covers says what of required is not among covered.
func covers(covered, required []component) error {
	has := func(i identity) bool {
		return slices.ContainsFunc(covered, func(c component) bool { return c.identity == i })
	}
	for _, want := range required {
		if target := (identity{name: "@target-uri", req: want.req}); slices.Contains(inTarget, want.name) && has(target) {
			continue
		}
		if !has(want.identity) {
			return errors.New("the signature does not cover " + want.id)
		}
	}
	return nil
}

// remember takes a request once.
func (v *Verifier) remember(g *good) error {
	limit := v.MaxRemembered
	if limit == 0 {
		limit = DefaultRemembered
	}
	end := g.Created.Add(v.window())
	if last := g.Expires.Add(-1); !g.Expires.IsZero() && last.Before(end) { // at Expires it is no good any more
		end = last
	}
	return v.guard.Use(g.once, v.now(), end, limit)
}

func (v *Verifier) now() clock.Instant {
	if v.Clock == nil {
		return clock.Real{}.Now()
	}
	return v.Clock.Now()
}

type contextKey struct{}

// FromContext returns what the signature of a request says to a handler below [Verifier.Handler]. ok is false elsewhere.
func FromContext(ctx context.Context) (v *Verified, ok bool) {
	v, ok = ctx.Value(contextKey{}).(*Verified)
	return v, ok
}

// Handler returns a handler that gives to next what VerifyRequest takes, with the Verified in the context (see [FromContext]) and the
// body to be read from its start. It answers everything else itself: a 401 with WWW-Authenticate, or another status of VerifyError, and
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
		verified, err := v.VerifyRequest(r)
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
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), contextKey{}, verified)))
	}), nil
}
