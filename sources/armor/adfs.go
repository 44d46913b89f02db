package armor

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"time"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/clock"
	"github.com/seed-f29168f7/renew/sources/internal/header"
	"github.com/seed-f29168f7/renew/sources/internal/tokenendpoint"
)

const (
	adfsName     = "armor AD FS"
	pollEvery    = 5 * time.Second // between two posts of the polled variant
	maxPages     = 60              // of one login: five minutes of the polled variant
	maxRedirects = 5               // in a row
	ownMargin    = 5 * time.Second // what a flight gets beyond Timeout, so that the Source's own error gets out
)

// ADFS is a Source for ID tokens of Armor's AD FS, with a second factor: user name and
// password go into its login form, the person approves on the phone or enters a code, and the
// last page has the token. Tokens go on requests as "Authorization: Bearer <token>" and [AccountHeader].
//
// Each login asks a person, so it is interactive: renew.Config.Interactive must be set, and no timer starts
// one. PasswordFunc can veto a login by returning an error. There is no reissue: an expired token means a new login.
type ADFS struct {
	// Username is the user, at most 512 bytes of UTF-8. It is no secret: it is the unit of lock-out, which Describe names.
	Username string
	// Password is the user's, at most 512 bytes of UTF-8. Set it or PasswordFunc.
	Password renew.Secret
	// PasswordFunc is asked for the password at each Issue, with its ctx. Its error is a local
	// fault, and nothing is sent then; its text is shown, so it must not hold the password.
	PasswordFunc func(context.Context) (renew.Secret, error)
	// AccountID is the account to act for, in decimal digits. Empty or "0" means the first one of the first
	// login; it is kept from then on.
	AccountID string
	// ShowNumber is given the number that the person must enter on the phone, once for each number; ctx is
	// the login's. It must not block. Without it, a page with a number ends the login.
	ShowNumber func(ctx context.Context, number string)
	// Code is asked for the code of the person's device, where the page wants one. It may block until ctx ends. Its
	// error ends the login; its text is shown, so it must not hold the code. Without it, such a page ends the login.
	Code func(ctx context.Context) (renew.Secret, error)
	// Timeout is how long one login may take. Zero means 2 minutes. Negative is an error. A login has at most 60 pages, so where the
	// AD FS is polled, more than 5 minutes make no difference.
	Timeout time.Duration
	// LoginURL is the authorization endpoint of the AD FS; its query may hold more parameters. Empty means
	// DefaultLoginURL. It must be https, except on this machine.
	LoginURL string
	// ClientID and RedirectURI are what the AD FS knows the client by. Empty means DefaultClientID and DefaultRedirectURI.
	ClientID, RedirectURI string
	// BaseURL is the API, without a slash at its end. Empty means DefaultBaseURL. It must be https, except on this machine.
	BaseURL string
	// AllowPlaintext allows http to other hosts: anyone on the way can read the password.
	AllowPlaintext bool
	// HTTPClient sends the requests. Nil means a client that all Sources use together, without a proxy. Each login
	// has cookies of its own, which are thrown away after it. Leave its Timeout 0: ctx ends a request.
	HTTPClient *http.Client
	// Clock is the time of pauses, of Timeout, and of ID tokens that do not say when they were issued. Nil means clock.Real{}.
	Clock clock.Clock
	// InputVersion, when not nil, returns a number that changes when PasswordFunc would return
	// another password: a refusal for good ends then (R23). It must not block.
	InputVersion func() uint64

	choice choice
}

// ADFS implements what its methods are for.
var _ Source = (*ADFS)(nil)

func (s *ADFS) credentials() credentials {
	return credentials{"ADFS", adfsName, s.Username, s.Password, s.PasswordFunc}
}

func (s *ADFS) baseURL() string {
	return strings.TrimSuffix(orDefault(s.BaseURL, DefaultBaseURL), "/")
}

func (s *ADFS) loginURL() string { return orDefault(s.LoginURL, DefaultLoginURL) }

func (s *ADFS) timeout() time.Duration {
	if s.Timeout == 0 {
		return personsPause
	}
	return s.Timeout
}

// Validate reports the first field that cannot work, as a *renew.ConfigError.
func (s *ADFS) Validate() error {
	if err := s.credentials().validate(); err != nil {
		return err
	}
	if _, err := accountID(s.AccountID); err != nil {
		return &renew.ConfigError{Field: "ADFS.AccountID", Reason: err.Error()}
	}
	if s.Timeout < 0 {
		return &renew.ConfigError{Field: "ADFS.Timeout", Reason: fmt.Sprintf("is %v: it must be positive, or 0 for 2 minutes", s.Timeout)}
	}
	if err := checkURL("ADFS.LoginURL", s.loginURL(), s.AllowPlaintext); err != nil {
		return err
	}
	return checkBase("ADFS.BaseURL", s.baseURL(), s.AllowPlaintext)
}

// Describe says that a person is needed, and that the user is the unit of lock-out at the AD FS.
func (s *ADFS) Describe() renew.Traits {
	return renew.Traits{
		Name: adfsName, Interactive: true, Timeout: max(s.timeout(), 0) + ownMargin,
		Endpoint: tokenendpoint.Endpoint(s.loginURL()), Account: s.Username, InputVersion: s.InputVersion,
	}
}

// Authorize puts token and account on req. A request that names an account already, or has the header with no
// value, keeps it.
func (s *ADFS) Authorize(req *http.Request, t *renew.Token) error { return authorize(req, t) }

// Account returns the account that was chosen; false before the first login. It does not block.
func (s *ADFS) Account() (Account, bool) { return s.choice.account() }

// Accounts returns the accounts that the last login found, in Armor's order; none before. It does not block.
func (s *ADFS) Accounts() []Account { return s.choice.accounts() }

// errSlow is why a login that took longer than Timeout ended.
var errSlow = errors.New("the login took too long: nobody approved it, or the AD FS is slow")

// Issue logs in. It blocks until the person has approved, Timeout is over, or ctx ends. Every error is a
// *renew.IssueError; one of ctx's end wraps context.Cause(ctx), one of the account wraps an [*AccountError].
//
// The login form again is a refusal for good. A second factor that is denied or not given, and a
// 401 of /me, are refusals that are not. A page that cannot be understood is a fault that may pass.
func (s *ADFS) Issue(ctx context.Context) (*renew.Token, error) {
	password, err := s.credentials().read(ctx)
	if err != nil {
		return nil, err
	}
	target, err := s.target()
	if err != nil {
		return nil, err
	}
	jar, _ := cookiejar.New(nil) // without options there is no error
	l := newLogin(adfsName, s.HTTPClient, jar, s.Clock)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	timer := l.clock.AfterFunc(s.timeout(), func() { cancel(errSlow) })
	defer timer.Stop()
	d := &dance{ADFS: s, login: l, target: target}
	tok, e := d.run(ctx, password)
	if e != nil {
		return nil, e
	}
	l.client.Jar = nil
	return l.me(ctx, s.baseURL(), tok, &s.choice, s.AccountID)
}

// target returns the URL of the login with its parameters.
func (s *ADFS) target() (*url.URL, error) {
	u, err := url.Parse(s.loginURL())
	if err != nil || checkURL("", s.loginURL(), s.AllowPlaintext) != nil {
		return nil, &renew.IssueError{Source: adfsName, Kind: renew.Invalid, Permanent: true, Unsent: true, Err: errors.New("LoginURL cannot be used")}
	}
	q := u.Query()
	q.Set("response_type", "id_token")
	q.Set("response_mode", "form_post")
	q.Set("client_id", orDefault(s.ClientID, DefaultClientID))
	q.Set("redirect_uri", orDefault(s.RedirectURI, DefaultRedirectURI))
	u.RawQuery = q.Encode()
	return u, nil
}

// dance is one login at the AD FS.
type dance struct {
	*ADFS
	*login
	target *url.URL

	begun  bool   // something was sent
	passed bool   // user name and password were accepted
	number string // the number that was shown
	asked  bool   // a code was sent
}

// run posts the login form, and then answers pages until one has the token.
func (d *dance) run(ctx context.Context, password renew.Secret) (*renew.Token, *renew.IssueError) {
	fields := url.Values{"UserName": {d.Username}, "Password": {password.Reveal()}, "AuthMethod": {methodForms}}
	to := d.target
	for range maxPages {
		reply, from, e := d.post(ctx, to, fields)
		if e != nil {
			return nil, e
		}
		p, err := readPage(reply.body)
		if err != nil {
			return nil, d.fail(renew.Transient, err)
		}
		if p.kind == pageToken {
			return d.tokenOf(p.token, reply.header)
		}
		pending, e := d.judgePage(&p)
		if e != nil {
			return nil, e
		}
		fields = p.form()
		if e := d.answer(ctx, &p, fields); e != nil {
			return nil, e
		}
		if pending {
			if e := d.pause(ctx); e != nil {
				return nil, e
			}
		}
		to = d.formTarget(from, p.action)
	}
	return nil, d.fail(renew.Transient, fmt.Errorf("the login has more than %d pages", maxPages))
}

// judgePage says whether a page without a token can be answered, and whether it means "not yet".
func (d *dance) judgePage(p *page) (pending bool, e *renew.IssueError) {
	first := !d.passed
	switch {
	case p.kind == pageLogin && first:
		e = d.fail(renew.Refused, errPassword)
		e.Permanent = true
		return false, e
	case p.kind == pageLogin:
		return false, d.fail(renew.Refused, errors.New("the AD FS asks for the password again after it had accepted it"))
	case p.kind == pageRefused:
		e = d.fail(renew.Refused, errors.New("the AD FS refuses this client: look at ClientID and RedirectURI"))
		e.Permanent = true
		return false, e
	case p.kind == pageOther:
		return false, d.fail(renew.Transient, errors.New("the page has neither a token nor a form that is known"))
	}
	d.passed = true
	switch {
	case first:
		return false, nil
	case p.failed:
		return false, d.fail(renew.Refused, errors.New("the second factor was denied: log in again and approve it"))
	case p.code && d.asked:
		return false, d.fail(renew.Refused, errors.New("the code was not accepted: log in again with a fresh one"))
	case p.code:
		return false, nil
	case p.method == methodServer:
		return false, d.fail(renew.Refused, errors.New("the second factor was denied, or not given in time: log in again and approve it"))
	}
	return true, nil
}

// answer does what a page wants of the person before its form is posted.
func (d *dance) answer(ctx context.Context, p *page, fields url.Values) *renew.IssueError {
	if p.number != "" && p.number != d.number {
		if d.ShowNumber == nil {
			return d.fail(renew.Invalid, errors.New("the person must enter a number that the page shows: set ADFS.ShowNumber"))
		}
		d.number = p.number
		d.ShowNumber(ctx, p.number)
	}
	if !p.code {
		return nil
	}
	if d.Code == nil {
		return d.fail(renew.Invalid, errors.New("the page wants a verification code: set ADFS.Code"))
	}
	code, err := d.Code(ctx)
	switch {
	case ctx.Err() != nil:
		return d.fail(renew.Transient, context.Cause(ctx))
	case err != nil && !code.IsZero() && strings.Contains(err.Error(), code.Reveal()):
		return d.fail(renew.Transient, errors.New("the function Code failed with an error that is not shown, since it holds the code"))
	case err != nil:
		return d.fail(renew.Transient, fmt.Errorf("the function Code: %w", err))
	case code.IsZero():
		return d.fail(renew.Transient, errors.New("the function Code returned an empty code"))
	}
	d.asked = true
	fields.Set("VerificationCode", code.Reveal())
	return nil
}

// pause waits before the next post of the polled variant.
func (d *dance) pause(ctx context.Context) *renew.IssueError {
	done := make(chan struct{})
	timer := d.clock.AfterFunc(pollEvery, func() { close(done) })
	defer timer.Stop()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return d.fail(renew.Transient, context.Cause(ctx))
	}
}

// post sends a form, follows redirects without it, and returns the page and where it came from.
func (d *dance) post(ctx context.Context, to *url.URL, fields url.Values) (reply answer, from *url.URL, e *renew.IssueError) {
	method, form := http.MethodPost, fields.Encode()
	for range maxRedirects + 1 {
		req, err := http.NewRequest(method, to.String(), strings.NewReader(form))
		if err != nil {
			return answer{}, nil, d.fail(renew.Transient, errors.New("the AD FS names an address that cannot be requested"))
		}
		if method == http.MethodPost {
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		req.Header.Set("Accept", "text/html")
		first := !d.begun
		d.begun = true
		ans, e := d.exchange(ctx, stepPage, first, req)
		if e != nil {
			return answer{}, nil, e
		}
		if ans.status/100 != 3 {
			if e := judge(stepPage, first, ans, d.clock.Now().Wall); e != nil {
				return answer{}, nil, d.at(req, e)
			}
			return ans, to, nil
		}
		next, why := redirect(d.target, to, method, ans)
		if why != nil {
			return answer{}, nil, d.fail(renew.Invalid, why)
		}
		method, form, to = http.MethodGet, "", next
	}
	return answer{}, nil, d.fail(renew.Transient, errors.New("the AD FS redirects too often"))
}

// redirect says where a redirect leads: only within the origin of the AD FS, and never with the form.
func redirect(home, from *url.URL, method string, ans answer) (*url.URL, error) {
	if method == http.MethodPost && (ans.status == http.StatusTemporaryRedirect || ans.status == http.StatusPermanentRedirect) {
		return nil, errors.New("the AD FS wants the form sent to another address, which is not done: configure the address it has now")
	}
	location := ans.header.Get("Location")
	next, err := from.Parse(location)
	if location == "" || err != nil {
		return nil, errors.New("the AD FS redirects to no address")
	}
	if !sameOrigin(home, next) {
		return nil, errors.New("the AD FS redirects to another host, which is not followed")
	}
	return next, nil
}

// formTarget returns where a form goes: its own action where that is within the origin of the
// AD FS, else the address of the login.
func (d *dance) formTarget(from *url.URL, action string) *url.URL {
	to, err := from.Parse(action)
	if err != nil || !sameOrigin(d.target, to) {
		return d.target
	}
	to.Fragment, to.RawFragment = "", ""
	return to
}

// sameOrigin reports whether u has home's scheme, host and port, and no user name.
func sameOrigin(home, u *url.URL) bool {
	return u.Scheme == home.Scheme && u.User == nil && u.Opaque == "" && strings.EqualFold(u.Hostname(), home.Hostname()) && portOf(u) == portOf(home)
}

// portOf returns the port, with the scheme's own where none is written.
func portOf(u *url.URL) string {
	if port := u.Port(); port != "" {
		return port
	}
	return map[string]string{"https": "443", "http": "80"}[u.Scheme]
}

// tokenOf makes a token of the ID token of the last page.
func (d *dance) tokenOf(value string, h http.Header) (*renew.Token, *renew.IssueError) {
	if !header.Visible(value) {
		return nil, d.fail(renew.Transient, errors.New("the ID token cannot stand in a header"))
	}
	now, err := http.ParseTime(h.Get("Date")) // the AD FS's own clock, where it says (R12)
	if err != nil {
		now = d.clock.Now().Wall
	}
	life, expiry, err := jwtLife(value, now)
	if err != nil {
		return nil, d.fail(renew.Transient, err)
	}
	return &renew.Token{Value: renew.NewSecret(value), Type: "Bearer", Life: life, Expiry: expiry}, nil
}

func (d *dance) fail(kind renew.Kind, err error) *renew.IssueError {
	return &renew.IssueError{Source: adfsName, Host: tokenendpoint.Host(d.target.String()), Kind: kind, Permanent: kind == renew.Invalid, Err: err}
}
