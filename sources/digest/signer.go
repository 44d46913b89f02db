package digest

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/budget"
	"github.com/seed-f29168f7/renew/clock"
	"github.com/seed-f29168f7/renew/sources/internal/challenge"
	"github.com/seed-f29168f7/renew/sources/internal/input"
	"github.com/seed-f29168f7/renew/sources/internal/lockout"
)

// name is what IssueError.Source says.
const name = "digest"

// Signer answers challenges of Digest (RFC 7616): a renew.Authenticator that needs no issued token, for
// renew.NewTransport. Its zero value is refused by Validate. Its fields may be changed until the first use; after it
// a Signer is safe for concurrent use, as far as its functions are. Use it by pointer.
//
// It answers MD5, SHA-256 and SHA-512-256, each with -sess too, qop auth and auth-int, the form without qop, and
// userhash. Of several challenges it answers the strongest. A domain in a challenge narrows where a nonce is used; it never
// sends one to another origin (R28).
//
// While the password has not been accepted, a 401 keeps its connection until its answer's turn has come: with
// http.Transport.MaxConnsPerHost on the base, send one request alone first.
type Signer struct {
	// Username must be UTF-8 without control characters. It is not taken for a secret.
	Username string
	// Password must be UTF-8 without control characters. Set it or PasswordFunc.
	Password renew.Secret
	// PasswordFunc is asked for the password at each request and at each answer, with the request's context, and again after a wait or a
	// refusal: when it says another one then, the request is sent once more. It should keep what is slow to get. Its error is a local fault; its text is shown, so it must not
	// hold the password.
	PasswordFunc func(context.Context) (renew.Secret, error)
	// Weakest is the weakest algorithm to answer. Zero is MD5, which is all that many servers have. A challenge with a
	// weaker one is left alone.
	Weakest Algorithm
	// Integrity asks for auth-int, which signs the body of the request, and leaves challenges without it alone. Without it auth is
	// preferred, and auth-int used where there is nothing else. The body is read through GetBody; a request without one fails.
	Integrity bool
	// AllowBasic answers a challenge of Basic (RFC 7617), which sends the password itself, where a server has never
	// offered Digest. The Username must have no colon then.
	AllowBasic bool
	// Proxy makes the credential one for a proxy: it is the proxy's URL, such as "http://proxy.example:3128", and the
	// same as TransportConfig.Proxy. Empty means that it is for the servers.
	Proxy string
	// BadRspauth, when not nil, is told of an answer whose rspauth is wrong (RFC 7616, section 3.5): the server, or someone on
	// the way, does not know the password. The caller has the answer at about the same time, and nothing can hold it back. It is not
	// taken for an acceptance, and its nonces are not used. The error is a *renew.IssueError; it must not block.
	//
	// The rspauth of auth-int covers the body and is not checked, and one that is missing is no fault: most servers send none.
	BadRspauth func(req *http.Request, err error)
	// Budget is how many answers may follow refusals. Nil means a budget of this Signer's own with the defaults, 4
	// in 10 minutes. Signers of one account, on one Clock, share one by pointer.
	Budget *budget.Budget
	// Cnonce returns the client's nonce for a new nonce of the server. Nil means 130 bits of crypto/rand as letters and
	// digits. It is for tests.
	Cnonce func() string
	// Clock tells when answers were refused. Nil means clock.Real{}.
	Clock clock.Clock

	gates  lockout.Gates
	spaces spaces
}

// Signer implements what its methods are for.
var _ interface {
	renew.Authenticator
	renew.Answerer
	renew.Validator
} = (*Signer)(nil)

// credential is what a request carries. bare stands for nothing.
type credential struct {
	answer
	attempt *lockout.Attempt
	origin  lockout.Origin
	replay  bool // it answers the challenge of its own 401
}

var bare = &credential{}

var (
	errNoURL   = errors.New("the request has no URL")
	errControl = errors.New("has a control character (a line break at the end of a file?)")
	errUTF8    = errors.New("is not UTF-8")
	errRspauth = errors.New("the rspauth is wrong: the answer does not come from a server that knows the password")
)

// Validate reports the first field that cannot work, as a *renew.ConfigError. Authenticate checks the same.
func (s *Signer) Validate() error {
	wrong := func(field, reason string) error {
		return &renew.ConfigError{Field: "Signer." + field, Reason: reason}
	}
	if s == nil {
		return &renew.ConfigError{Field: "Signer", Reason: "is nil"}
	}
	if err := checkText(s.Username); err != nil {
		return wrong("Username", err.Error())
	}
	if s.AllowBasic && strings.Contains(s.Username, ":") {
		return wrong("Username", "has a colon, which Basic cannot send: it must not be with AllowBasic")
	}
	if err := input.Check("Signer.Password", s.Password, s.PasswordFunc); err != nil {
		return err
	}
	if err := checkText(s.Password.Reveal()); err != nil {
		return wrong("Password", err.Error())
	}
	if s.Weakest > SHA512256 {
		return wrong("Weakest", "is "+s.Weakest.String()+": it must be one of the constants of this package")
	}
	if s.Proxy != "" {
		if _, err := lockout.ProxyOrigin(s.Proxy); err != nil {
			return wrong("Proxy", err.Error())
		}
	}
	if err := s.Budget.Validate(); err != nil {
		return wrong("Budget", err.Error())
	}
	return nil
}

func checkText(text string) error {
	if !utf8.ValidString(text) {
		return errUTF8
	}
	for _, r := range text {
		if r < ' ' || 0x7f <= r && r <= 0x9f {
			return errControl
		}
	}
	return nil
}

// Authenticate puts Authorization on req (Proxy-Authorization with a Proxy), if a nonce is known for it; else req goes
// out as it is, to get a challenge. With auth-int it reads the body through GetBody. Until the password has been accepted it blocks while
// another request waits for the verdict, until req.Context() ends; and it blocks as long as PasswordFunc does.
//
// Errors are a *renew.ConfigError, a *renew.BudgetError when the password was refused and there is no unit left, the cause of the
// context, or a *renew.IssueError: Transient where PasswordFunc or the body failed, Invalid where its password cannot
// be used or the body cannot be signed.
func (s *Signer) Authenticate(req *http.Request) (renew.Credential, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	if req.URL == nil {
		return nil, invalid(errNoURL)
	}
	o, path := s.place(req)
	se := s.spaces.take(o, cmp.Or(req.URL.EscapedPath(), "/"))
	if se == nil {
		password, err := s.password(req.Context())
		if err == nil {
			err = s.gates.Check(o, path, password)
		}
		if err != nil {
			return nil, err
		}
		return bare, nil
	}
	return s.answer(req, se, false)
}

// place returns whose the credential of req is, and what path the password's verdict is about: to a proxy all are the same.
func (s *Signer) place(req *http.Request) (lockout.Origin, string) {
	if s.Proxy == "" {
		return lockout.OriginOf(req.URL), req.URL.Path
	}
	o, _ := lockout.ProxyOrigin(s.Proxy) // Validate has checked it
	return o, ""
}

// answer puts the header on req, as soon as the password may be used.
func (s *Signer) answer(req *http.Request, se *session, replay bool) (renew.Credential, error) {
	bodyHash, err := se.hashBody(req)
	if err != nil {
		return nil, err
	}
	uri, err := target(req, s.Proxy != "")
	if err != nil {
		return nil, err
	}
	o, path := s.place(req)
	r := lockout.Request{Source: name, Budget: s.Budget, Clock: s.Clock, Origin: o, Path: path}
	a, password, err := s.gates.Begin(req.Context(), r, s.password)
	if err != nil {
		return nil, err
	}
	c := &credential{attempt: a, origin: o, replay: replay}
	c.session, c.keys = se, se.keysOf(s.Username, password)
	c.nc, c.uri = se.nc.Add(1), uri
	method := req.Method
	if method == "" {
		method = http.MethodGet
	}
	if req.Header == nil {
		req.Header = make(http.Header, 1)
	}
	req.Header[s.field("Authorization")] = []string{c.header(method, bodyHash)}
	a.Watch(req)
	return c, nil
}

// password returns a password that can be used.
func (s *Signer) password(ctx context.Context) (renew.Secret, error) {
	password, err := input.Secret(ctx, name, "Signer.Password", s.Password, s.PasswordFunc)
	if err != nil {
		return renew.Secret{}, err
	}
	if err := checkText(password.Reveal()); err != nil {
		return renew.Secret{}, &renew.IssueError{Source: name, Kind: renew.Invalid, Unsent: true, Err: fmt.Errorf("the password of PasswordFunc %w", err)}
	}
	return password, nil
}

// Refused reads the challenge, and returns what answers it: with a nonce that no other request uses, so that a server which takes
// each nonce once takes this answer. There is no replay when the password was refused, unless PasswordFunc says another one, nor
// when there is no challenge that can be answered; the error says so then. When req.Context() has ended, the nonce is kept for a
// later request. Refused blocks as long as PasswordFunc does; the Replay as Authenticate.
func (s *Signer) Refused(req *http.Request, c renew.Credential, resp *http.Response) (renew.Replay, error) {
	cred, err := credentialOf(c)
	if err != nil {
		return nil, err
	}
	o, _ := s.place(req)
	lines := resp.Header.Values(s.challenges())
	best, err := choose(lines, s.Weakest, s.Integrity, s.AllowBasic, o)
	if seen := s.spaces.sawDigest(o, offersDigest(lines)); seen && err == nil && best.basic {
		err = errDowngrade
	}
	again := req.Context().Err() == nil
	refused := cred.attempt != nil && (err != nil || !cred.excused(best, again))
	s.settle(cred, refused, again)
	if err != nil {
		return nil, invalid(err)
	}
	if s.Proxy != "" {
		best.domain = nil // it has no meaning there (RFC 7616, section 3.3)
	}
	se := s.spaces.open(o, best, s.cnonce)
	if !again {
		if !refused {
			s.spaces.add(o, se)
		}
		return nil, nil
	}
	if refused {
		if s.PasswordFunc == nil {
			return nil, nil
		}
		if password, err := s.password(req.Context()); err != nil || cred.attempt.Holds(password) {
			return nil, err
		}
	}
	return func(req *http.Request) (renew.Credential, error) { return s.answer(req, se, true) }, nil
}

// excused reports whether the first 401 to c is about its nonce and not about the password: the server calls it stale, wants
// another realm, or has another nonce by now. The last two are a guess, which is good only where a verdict follows:
// again says that there is a replay; without one, the nonce must have been good before. After a refusal, when each
// attempt takes a unit, only the server's word counts.
func (c *credential) excused(best offer, again bool) bool {
	if best.stale {
		return true
	}
	other := best.realm != c.session.realm || best.nonce != c.session.nonce
	return other && !c.attempt.Costs() && (again || c.session.trusted.Load())
}

// settle ends the attempt of a first 401.
func (s *Signer) settle(cred *credential, refused, again bool) {
	switch {
	case cred.attempt == nil:
	case refused:
		s.spaces.forget(cred.origin, cred.session.realm)
		cred.attempt.End(lockout.Refused)
	default:
		s.spaces.drop(cred.origin, cred.session)
		if !again { // no verdict follows: the other nonces may not be an excuse each
			s.spaces.forget(cred.origin, cred.session.realm)
		}
		cred.attempt.End(lockout.Unjudged)
	}
}

// Answered notes what became of a request, and the nonce that the server gave for the next one. It does not block.
func (s *Signer) Answered(req *http.Request, c renew.Credential, resp *http.Response) {
	cred, err := credentialOf(c)
	if err != nil || cred.attempt == nil {
		return
	}
	verdict := lockout.Judge(resp, s.refusal())
	defer func() { cred.attempt.End(verdict) }() // also when a hook panics
	switch verdict {
	case lockout.Refused: // the answer to a replay
		best, err := choose(resp.Header.Values(s.challenges()), s.Weakest, s.Integrity, s.AllowBasic, cred.origin)
		if err == nil && best.stale {
			verdict = lockout.Unknown // the nonce was too old by then; the next request gets another
		} else {
			s.spaces.forget(cred.origin, cred.session.realm)
		}
	case lockout.Accepted:
		s.learn(req, cred, resp)
	}
}

// learn takes the next nonce from an answer that was not a refusal. It ends the attempt where the answer is no acceptance.
func (s *Signer) learn(req *http.Request, cred *credential, resp *http.Response) {
	info, err := challenge.ParseInfo(resp.Header.Values(s.field("Authentication-Info")))
	if err != nil {
		info = nil // it may help, and need not be there
	}
	if !cred.proven(info) {
		s.spaces.drop(cred.origin, cred.session)
		cred.attempt.End(lockout.Unknown) // before the hook, which may take its time
		if s.BadRspauth != nil {
			s.BadRspauth(req, &renew.IssueError{Source: name, Host: cred.origin.Host, Status: resp.StatusCode, Kind: renew.Invalid, Err: errRspauth})
		}
		return
	}
	se := cred.session
	se.trusted.Store(true)
	if next, has := info.Get("nextnonce"); has && next != "" && len(next) <= maxText && !se.basic {
		of := se.offer
		of.nonce, of.stale = strings.Clone(next), false
		if se = s.spaces.open(cred.origin, of, s.cnonce); se != cred.session {
			se.trusted.Store(true)
			s.spaces.add(cred.origin, se)
			return
		}
	}
	s.spaces.share(cred.origin, se)
}

func (s *Signer) cnonce() string {
	if s.Cnonce != nil {
		return s.Cnonce()
	}
	return rand.Text()
}

// field returns the name of a header field as the server's or the proxy's.
func (s *Signer) field(name string) string {
	if s.Proxy != "" {
		return "Proxy-" + name
	}
	return name
}

func (s *Signer) challenges() string {
	if s.Proxy != "" {
		return "Proxy-Authenticate"
	}
	return "Www-Authenticate"
}

func (s *Signer) refusal() int {
	if s.Proxy != "" {
		return http.StatusProxyAuthRequired
	}
	return http.StatusUnauthorized
}

func credentialOf(c renew.Credential) (*credential, error) {
	cred, ok := c.(*credential)
	if !ok || cred == nil {
		return nil, &renew.ConfigError{Field: "Credential", Reason: fmt.Sprintf("is a %T: a Signer takes back only what its Authenticate returned", c)}
	}
	return cred, nil
}

// invalid is the error of a request that cannot be authenticated.
func invalid(err error) error {
	return &renew.IssueError{Source: name, Kind: renew.Invalid, Permanent: true, Unsent: true, Err: err}
}
