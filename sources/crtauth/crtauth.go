// Package crtauth has a Source for servers that speak crtauth, Spotify's
// challenge and response by SSH keys: the user proves with an RSA key, most often
// one in ssh-agent, who it is, and gets a token of a minute or so for one origin.
//
// The protocol has no RFC; "the specification" in this package's comments is
// PROTOCOL.md of github.com/spotify/crtauth, as far as its servers keep to it. A login is two
// requests to /_auth: "request" brings a challenge, "response" its signature and, in the
// reply, the token. Both versions of the protocol are spoken, and both layouts of the
// token are read.
//
// A token belongs to one origin, so a client that calls several uses [PerOrigin].
// A Source logs in once for each Issue and keeps nothing: give it to renew.New, or to
// PerOrigin, which keep the token alive. It follows no redirect, sends no body and signs
// nothing before it has checked that the challenge is for this user and from the server that
// was called; without that check one server could use another's challenge.
//
// Errors are *renew.IssueError. No error holds a token, a challenge, a signature or a header.
package crtauth

import (
	"context"
	"crypto/fips140"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/clock"
	"github.com/seed-f29168f7/renew/sources/internal/tokenendpoint"
)

// Version is a version of the protocol. It is never changed by what a server
// answers: a challenge of another version is an error.
type Version uint8

const (
	// Version1 is the version of servers since 0.99.0. It is the default.
	Version1 Version = iota
	// Version0 is for servers older than that.
	Version0
)

// maxUser is how many bytes of UTF-8 a user name may have.
const maxUser = 64

// flightTimeout is how long a login may take: a person may have to allow each
// signature, and a challenge that ended meanwhile is asked for once more.
const flightTimeout = 45 * time.Second

// Source logs one user in to one origin. Its fields may be changed until the first
// use; after it a Source is safe for concurrent use, as far as its Signer is. Use it by pointer.
type Source struct {
	// Origin is the URL of the service: https, except on this machine. Only scheme, host and
	// port are used; a user name, a path and a query in it are left out. Required.
	Origin string
	// User is the user name, 1 to 64 bytes of UTF-8. Empty means $USER.
	User string
	// Signer has the user's key. Nil means &Agent{}: the ssh-agent at $SSH_AUTH_SOCK. Use
	// Signers for an agent with a key to fall back on.
	Signer Signer
	// Version of the protocol. Zero is Version1.
	Version Version
	// Path of the login, not escaped, from the root of the origin. Empty means /_auth.
	Path string
	// ServerName is the name that challenges must come with, where it is not the host of Origin: behind an
	// alias or a load balancer. Empty means that host. Letters, case apart, must match exactly;
	// there are no wildcards.
	ServerName string
	// AllowPlaintext allows http to another host: anyone on the way can use the token until it ends.
	AllowPlaintext bool
	// HTTPClient sends the requests. Nil means a client that all Sources use together. Redirects and
	// cookies are off in either. Leave its Timeout 0: ctx ends a request.
	HTTPClient *http.Client
	// Clock tells how long the signature took, and the time where a server does not. Nil means clock.Real{}.
	Clock clock.Clock
	// InputVersion, when not nil, returns a number that changes when the key has changed: a
	// refusal for good ends then (R23). It must not block.
	InputVersion func() uint64

	loggedIn int64 // by sync/atomic: when the last login was done, by the Clock's monotonic reading; 0 for never
}

// Source implements what its methods are for.
var _ interface {
	renew.Source
	renew.Authorizer
	renew.Validator
	renew.Describer
} = (*Source)(nil)

// PerOrigin returns an Authenticator that logs in to each origin by itself: each has a
// copy of template with its own Origin, and a TokenSource in m with cfg. A token is never sent
// to another origin than the one that issued it.
//
// template.Origin is not used, and ServerName must be empty, since one name for several
// origins would let one of them use another's challenge: where an origin has an alias, set
// the New of a renew.PerOrigin of your own. Errors come from its Validate, from New, or with the first request.
func PerOrigin(m *renew.Manager, template Source, cfg renew.Config) *renew.PerOrigin {
	return &renew.PerOrigin{
		Manager: m,
		Config:  cfg,
		New: func(origin string) (renew.Source, error) {
			if template.ServerName != "" {
				return nil, &renew.ConfigError{Field: "Source.ServerName", Reason: "is set in the template of PerOrigin, where it would hold for every origin: set the New of a renew.PerOrigin yourself"}
			}
			s := template
			s.Origin, s.loggedIn = origin, 0
			return &s, nil
		},
	}
}

// Validate reports the first field that cannot work, as a *renew.ConfigError. It reads a
// key that is at hand, and asks neither an agent nor a function.
func (s *Source) Validate() error {
	wrong := func(field, format string, args ...any) error {
		return &renew.ConfigError{Field: "Source." + field, Reason: fmt.Sprintf(format, args...)}
	}
	u, err := s.endpoint()
	if err != nil {
		return wrong("Origin", "%s", err)
	}
	switch {
	case fips140.Enforced():
		return wrong("Version", "cannot be spoken: crtauth signs with SHA-1, which GODEBUG=fips140=only forbids")
	case s.Version > Version0:
		return wrong("Version", "is %d: it must be Version1 or Version0", s.Version)
	case s.Path != "" && s.Path[0] != '/':
		return wrong("Path", "must start with a slash, as /_auth does")
	case s.ServerName != "" && !isServerName(s.ServerName):
		return wrong("ServerName", "is %.60q: a server name is 1 to 255 letters, digits, dots and hyphens, without a port", s.ServerName)
	}
	if _, err := netip.ParseAddr(u.Hostname()); err == nil && strings.Contains(u.Hostname(), ":") && s.ServerName == "" {
		return wrong("ServerName", "is empty, and the host is an IPv6 address, which no server can have for its name: set the name that the server has")
	}
	if err := s.checkUser(); err != nil {
		return err
	}
	if v, ok := s.signer().(renew.Validator); ok {
		return v.Validate()
	}
	return nil
}

// checkUser checks the user name.
func (s *Source) checkUser() error {
	user, what := s.user(), "is"
	if s.User == "" {
		what = "is taken from $USER, which is"
	}
	wrong := func(format string, args ...any) error {
		return &renew.ConfigError{Field: "Source.User", Reason: what + " " + fmt.Sprintf(format, args...)}
	}
	switch {
	case user == "":
		return wrong("empty: set the name that the server knows the user by")
	case len(user) > maxUser:
		return wrong("%d bytes long: servers take %d at most", len(user), maxUser)
	case !utf8.ValidString(user):
		return wrong("not UTF-8")
	case s.Version == Version0 && !bareName(user):
		return wrong("a name with control characters, or blanks at an end, which version 0 cannot send: use Version1")
	case s.Version == Version0 && looksLikeVersion1(user):
		return wrong("a name that servers read as a request of version 1: use Version1")
	}
	return nil
}

// Describe names the endpoint, and the user as the unit of lock-out.
func (s *Source) Describe() renew.Traits {
	t := renew.Traits{Name: "crtauth", Timeout: flightTimeout, Account: s.user(), InputVersion: s.InputVersion}
	if u, err := s.endpoint(); err == nil {
		t.Endpoint = u.String()
	}
	return t
}

// Issue logs in. It blocks until the token is there or ctx has ended, which also ends the wait
// for an agent. Every error is a *renew.IssueError; one of ctx's end wraps context.Cause(ctx).
// The agent is asked to sign once, and once more only when the server refuses a
// response that took longer than 15 s, since challenges live for 20 s.
//
// The keys are looked for before anything is sent. Trouble with an agent, or a function that
// fails, is transient and costs no unit of the budget. In the errors are a [*NoKeyError],
// a [*ServerNameError] or a [*UserNameError] where one of them is the reason.
//
// Servers make a token of the user and the second: within a second of the last login they would give out the same one
// again, so Issue waits until that second is over.
//
// Life is what the token says, less the second that servers round it by, but at least half
// of it, plus what passed before the response was sent: the engine counts from the start of Issue. A token
// whose layout is not known is used as it is, with an unknown life.
func (s *Source) Issue(ctx context.Context) (*renew.Token, error) {
	waited, e := s.waitForAnotherSecond(ctx)
	if e == nil {
		var tok *renew.Token
		if tok, e = s.login(ctx); e == nil {
			s.note(tok)
			if tok.Life > 0 {
				tok.Life += waited
			}
			return tok, nil
		}
	}
	e.Source = "crtauth"
	if u, err := s.endpoint(); err == nil {
		e.Host = tokenendpoint.Host(u.String())
	}
	return nil, e
}

// note remembers when a login was done. One whose token is to be reissued within the second must not wait.
func (s *Source) note(tok *renew.Token) {
	var now time.Duration
	if tok.Life == 0 || tok.Life >= 2*time.Second {
		now = s.clock().Now().Mono
	}
	atomic.StoreInt64(&s.loggedIn, int64(now))
}

// waitForAnotherSecond blocks while a server would give out the token of the last login again, and returns how long.
func (s *Source) waitForAnotherSecond(ctx context.Context) (time.Duration, *renew.IssueError) {
	last := time.Duration(atomic.LoadInt64(&s.loggedIn))
	left := last + time.Second - s.clock().Now().Mono
	if last == 0 || left <= 0 {
		return 0, nil
	}
	over := make(chan struct{})
	timer := s.clock().AfterFunc(left, func() { close(over) })
	defer timer.Stop()
	select {
	case <-over:
		return left, nil
	case <-ctx.Done():
		return 0, &renew.IssueError{Kind: renew.Transient, Unsent: true, Err: context.Cause(ctx)}
	}
}

// Authorize sets "Authorization: chap:<token>", the token byte for byte as the server
// sent it. There is no blank, so renew.Token's own header would not do.
func (s *Source) Authorize(req *http.Request, t *renew.Token) error {
	if req.Header == nil {
		req.Header = make(http.Header, 1)
	}
	req.Header.Set("Authorization", "chap:"+t.Value.Reveal())
	return nil
}

// endpoint returns the URL of the login. Its errors follow the name of the field.
func (s *Source) endpoint() (*url.URL, error) {
	if s.Origin == "" {
		return nil, fmt.Errorf("is empty: it must be the URL of the service")
	}
	given, err := url.Parse(s.Origin)
	if err != nil {
		return nil, fmt.Errorf("is not a URL")
	}
	u := &url.URL{Scheme: given.Scheme, Host: given.Host, Path: s.Path}
	if u.Path == "" {
		u.Path = "/_auth"
	}
	return u, tokenendpoint.CheckURL(u.String(), s.AllowPlaintext)
}

func (s *Source) user() string {
	if s.User != "" {
		return s.User
	}
	return os.Getenv("USER")
}

func (s *Source) signer() Signer {
	if s.Signer != nil {
		return s.Signer
	}
	return &Agent{Clock: s.Clock}
}

func (s *Source) clock() clock.Clock {
	if s.Clock != nil {
		return s.Clock
	}
	return clock.Real{}
}
