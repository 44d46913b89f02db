package oauth2

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/clock"
	"github.com/seed-f29168f7/renew/sources/internal/header"
	"github.com/seed-f29168f7/renew/sources/internal/tokenendpoint"
	"github.com/seed-f29168f7/renew/sources/jwt"
)

// DeviceCode is a Source for the device authorization grant (RFC 8628): a person opens a page on another device, enters a
// code and approves. Use it by pointer, for one TokenSource.
//
// The login asks a person, so it is interactive: renew.Config.Interactive must be set, and no timer starts one. The
// tokens that follow come by the refresh token of the login, by timer and without the person, where the server
// gave one (some want the scope offline_access).
type DeviceCode struct {
	// DeviceAuthURL is the device authorization endpoint (RFC 8628, section 3.1). It must be https, except on this machine.
	DeviceAuthURL string
	// TokenURL is the token endpoint. It must be https, except on this machine. A query is
	// sent, and shown nowhere. Set both or Issuer.
	TokenURL string
	// Issuer is the issuer identifier, a URL, in place of the other URLs: its metadata
	// (RFC 8414) is read at each use and names the endpoints. It must be https, except on this machine.
	Issuer string
	// RevocationURL is the revocation endpoint (RFC 7009). Only Revoke uses it, which fails without it.
	RevocationURL string
	// ClientID is the client identifier (RFC 6749, section 2.2). Any text can be sent.
	ClientID string
	// ClientSecret is the client's password. Set it or ClientSecretFunc, and neither with None or PrivateKeyJWT.
	ClientSecret renew.Secret
	// ClientSecretFunc is asked for the secret at each request, with its ctx. Its error is a
	// local fault; its text is shown, so it must not hold the secret.
	ClientSecretFunc func(context.Context) (renew.Secret, error)
	// AuthStyle says how id and secret are sent. Zero is InHeader. Public clients have None.
	AuthStyle AuthStyle
	// ClientAssertion and ClientAssertionFunc make the JWT of PrivateKeyJWT and ClientSecretJWT, as those of ClientCredentials.
	ClientAssertion     *jwt.Source
	ClientAssertionFunc func(context.Context) (renew.Secret, error)
	// Scopes are asked for, one a string. None means what the server gives by default.
	Scopes []string
	// EndpointParams are more parameters of the device authorization request, such as audience. They are not
	// secret. Those that this Source sets itself are refused.
	EndpointParams url.Values
	// Prompt shows the person where to go and what to enter. Required. ctx is the login's; an error ends the login, and its
	// text is shown, unless it has the user code in it. The server is not polled before Prompt returns, so it should not wait for the person.
	Prompt func(ctx context.Context, p DevicePrompt) error
	// Timeout is how long the person may take. Zero means 10 minutes; negative is an error. The
	// server's expires_in ends the login too.
	Timeout time.Duration
	// TokenType is the auth-scheme that tokens are sent with, whatever token_type the
	// replies name. Empty means that only Bearer, or none, is accepted (RFC 6749, section 7.1).
	TokenType string
	// AllowPlaintext allows http to other hosts: anyone on the way can read the secrets.
	AllowPlaintext bool
	// HTTPClient sends the requests. Nil means a client that all Sources use together. Redirects and
	// cookies are off in either. Leave its Timeout 0: ctx ends a request.
	HTTPClient *http.Client
	// Clock is the time of pauses and timeouts, and asked for a Retry-After date in a reply without Date. Nil means clock.Real{}.
	Clock clock.Clock
	// InputVersion, when not nil, returns a number that changes when ClientSecretFunc would return
	// another secret: a refusal for good ends then (R23). It must not block.
	InputVersion func() uint64

	used ledger
}

// DevicePrompt is what a person needs to know to approve (RFC 8628, section 3.2). All of it is visible ASCII; UserCode may have spaces.
type DevicePrompt struct {
	// UserCode is to be entered at VerificationURI.
	UserCode string
	// VerificationURI is short enough to be typed.
	VerificationURI string
	// VerificationURIComplete has the code in it, for a QR code. Empty means that the server gave none.
	VerificationURIComplete string
	// ExpiresIn is how long the code can be used. Zero means that the server did not say.
	ExpiresIn time.Duration
}

// DeviceCode implements what its methods are for.
var _ interface {
	renew.Reissuer
	renew.Revoker
	renew.RefusalJudge
	renew.Validator
	renew.Describer
} = (*DeviceCode)(nil)

const deviceName = "oauth2 device_code"

func (s *DeviceCode) client() *client {
	return &client{
		name: deviceName, typ: "DeviceCode", needs: "device_authorization_endpoint",
		issuer: s.Issuer, tokenURL: s.TokenURL, deviceAuthURL: s.DeviceAuthURL, revocationURL: s.RevocationURL,
		clientID: s.ClientID, secret: s.ClientSecret, secretFunc: s.ClientSecretFunc,
		style: s.AuthStyle, assertion: s.ClientAssertion, assertionFunc: s.ClientAssertionFunc, scopes: s.Scopes, params: s.EndpointParams, sets: []string{"device_code"}, tokenType: s.TokenType,
		allowPlaintext: s.AllowPlaintext, http: s.HTTPClient, clock: s.Clock,
	}
}

// Validate reports the first field that cannot work, as a *renew.ConfigError.
func (s *DeviceCode) Validate() error {
	c := s.client()
	if err := c.validate(); err != nil {
		return err
	}
	if s.Prompt == nil {
		return &renew.ConfigError{Field: "DeviceCode.Prompt", Reason: "is nil: it must show the person where to go"}
	}
	if err := c.checkOtherURL("DeviceAuthURL", s.DeviceAuthURL); err != nil {
		return err
	}
	return c.checkTimeout(s.Timeout)
}

// checkOtherURL checks an endpoint that an Issuer stands for too.
func (c *client) checkOtherURL(field, raw string) error {
	if c.issuer != "" {
		if raw != "" {
			return &renew.ConfigError{Field: c.typ + "." + field, Reason: "is set, and so is Issuer, whose metadata names it: set one of them"}
		}
		return nil
	}
	if err := tokenendpoint.CheckURL(raw, c.allowPlaintext); err != nil {
		return &renew.ConfigError{Field: c.typ + "." + field, Reason: err.Error()}
	}
	return nil
}

// Describe says that a person is needed, and how long a login may take. It names no account: what a server locks is the person's.
func (s *DeviceCode) Describe() renew.Traits {
	return renew.Traits{
		Name: deviceName, Interactive: true, Timeout: max(timeoutOf(s.Timeout), 0) + ownMargin,
		Endpoint: tokenendpoint.Endpoint(s.client().place()), InputVersion: s.InputVersion,
	}
}

// Issue logs in. It blocks until the person has approved or denied, the time is over, or ctx ends. Every error is a
// *renew.IssueError; one of ctx's end wraps context.Cause(ctx). A denial is a refusal that is not permanent; a code that
// nobody used in time is transient.
//
// Between two polls it pauses as the server says, 5 s by default and 1 s at least, and 5 s more after each slow_down; twice as long
// after each fault of the network or the server (RFC 8628, section 3.5).
func (s *DeviceCode) Issue(ctx context.Context) (*renew.Token, error) {
	c := s.client()
	if s.Prompt == nil {
		e := c.fail(renew.Invalid, true, s.Validate())
		e.Unsent = true
		return nil, e
	}
	began := c.time().Now().Mono
	ctx, stop := limited(ctx, c.time(), timeoutOf(s.Timeout), errLoginTimeout)
	defer stop()
	md, err := c.endpoints(ctx)
	if err != nil {
		return nil, err
	}
	d, err := c.askDevice(ctx, md)
	if err != nil {
		return nil, err
	}
	if d.prompt.ExpiresIn > 0 {
		var stop func()
		ctx, stop = limited(ctx, c.time(), d.prompt.ExpiresIn, errLoginTimeout)
		defer stop()
	}
	if err := s.Prompt(ctx, d.prompt); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, c.fail(renew.Transient, false, notShown("Prompt", err, d.prompt.UserCode))
	}
	return c.poll(ctx, md, d, began)
}

// Reissue gets the next token for the refresh token of live; without one it is renew.ErrInteractionRequired. It takes at most
// 30 s, and never asks the person. A refresh token that was traded for another is not sent again. Errors are as those of RefreshToken.Reissue.
func (s *DeviceCode) Reissue(ctx context.Context, live *renew.Token) (*renew.Token, error) {
	c := s.client()
	c.params, c.scopes = nil, nil // they were for the login; a refresh keeps what was granted
	return c.reissue(ctx, &s.used, live)
}

// device is a device authorization response.
type device struct {
	code     string
	prompt   DevicePrompt
	interval time.Duration
}

// askDevice makes the device authorization request.
func (c *client) askDevice(ctx context.Context, md *Metadata) (*device, error) {
	form := maps.Clone(c.params)
	if form == nil {
		form = make(url.Values, 2)
	}
	if len(c.scopes) > 0 {
		form.Set("scope", strings.Join(c.scopes, " "))
	}
	ctx, stop := limited(ctx, c.time(), requestTimeout, errRequestTimeout)
	defer stop()
	req, err := c.request(ctx, md, md.DeviceAuthURL, form)
	if err != nil {
		return nil, err
	}
	// RFC 8628, section 3.1: client_id is a parameter, unless the client authenticates itself by other means.
	_, body, err := req.Post(ctx)
	if err != nil {
		return nil, err
	}
	d, err := readDevice(body, c.allowPlaintext)
	if err != nil {
		e := c.fail(renew.Transient, false, fmt.Errorf("the device authorization reply is not in the protocol's form: %w", err))
		e.Status = http.StatusOK
		return nil, e
	}
	return d, nil
}

// pollDefault is the interval between two polls where the server names none (RFC 8628, section 3.2), and
// what slow_down adds (section 3.5).
const pollDefault = 5 * time.Second

// pollLeast is the shortest interval, whatever the server names.
const pollLeast = time.Second

// readDevice reads a device authorization response (RFC 8628, section 3.2). It is pure; its errors quote nothing. What
// will be shown to a person holds no control character, which a terminal might obey.
func readDevice(body []byte, allowPlaintext bool) (*device, error) {
	o, err := tokenendpoint.ParseObject(body, "device_code", "user_code", "verification_uri", "verification_url", "verification_uri_complete", "expires_in", "interval")
	if err != nil {
		return nil, err
	}
	d := &device{}
	var url string // as Google names it
	for name, field := range map[string]*string{
		"device_code": &d.code, "user_code": &d.prompt.UserCode, "verification_uri": &d.prompt.VerificationURI,
		"verification_url": &url, "verification_uri_complete": &d.prompt.VerificationURIComplete,
	} {
		if *field, err = o.Text(name); err != nil {
			return nil, err
		}
	}
	if d.prompt.VerificationURI == "" {
		d.prompt.VerificationURI = url
	}
	if d.prompt.ExpiresIn, err = o.Seconds("expires_in"); err != nil {
		return nil, err
	}
	if d.interval, err = o.Seconds("interval"); err != nil {
		return nil, err
	}
	shown := d.prompt.VerificationURIComplete
	switch {
	case d.code == "" || !visible(d.code):
		return nil, errors.New("device_code is missing or is not ASCII text")
	case d.prompt.UserCode == "" || !visible(d.prompt.UserCode):
		return nil, errors.New("user_code is missing or is not ASCII text")
	case !isPageURL(d.prompt.VerificationURI, allowPlaintext):
		return nil, errors.New("verification_uri is missing or is not an https URL")
	case shown != "" && !isPageURL(shown, allowPlaintext):
		return nil, errors.New("verification_uri_complete is not an https URL")
	case d.prompt.ExpiresIn < 0:
		return nil, errors.New("expires_in says that the code has expired")
	}
	if d.interval <= 0 {
		d.interval = pollDefault
	}
	d.interval = max(d.interval, pollLeast)
	return d, nil
}

// visible reports whether s is visible ASCII and spaces.
func visible(s string) bool { return header.Visible(strings.ReplaceAll(s, " ", "_")) }

// isPageURL reports whether a person may be sent to a URL.
func isPageURL(raw string, allowPlaintext bool) bool {
	raw, _, _ = strings.Cut(raw, "#")
	return header.Visible(raw) && tokenendpoint.CheckURL(raw, allowPlaintext) == nil
}

// poll asks for the token until there is one, or an answer that is final.
func (c *client) poll(ctx context.Context, md *Metadata, d *device, began time.Duration) (*renew.Token, error) {
	c.params, c.scopes = nil, nil // they belong to the device authorization request
	interval, wait := d.interval, d.interval
	var fault error // what went wrong last, if the server did not answer
	for {
		if why := pause(ctx, c.time(), wait); why != nil {
			return nil, c.ended(why, fault)
		}
		asked := c.time().Now().Mono
		tok, err := c.pollOnce(ctx, md, d.code)
		if err == nil {
			return waited(tok, asked-began), nil
		}
		e, ok := errors.AsType[*renew.IssueError](err)
		if !ok {
			return nil, err
		}
		if ctx.Err() != nil {
			return nil, c.ended(context.Cause(ctx), fault)
		}
		next, fin := nextPoll(interval, e)
		if fin != nil {
			return nil, fin
		}
		interval, wait, fault = next, max(next, e.RetryAfter), nil
		if e.Code == "" {
			fault = err
		}
	}
}

// pollOnce asks once. A server that does not answer must not keep the login from asking again.
func (c *client) pollOnce(ctx context.Context, md *Metadata, code string) (*renew.Token, error) {
	ctx, stop := limited(ctx, c.time(), requestTimeout, errRequestTimeout)
	defer stop()
	req, err := c.request(ctx, md, md.TokenURL, url.Values{
		"grant_type": {"urn:ietf:params:oauth:grant-type:device_code"}, "device_code": {code},
	})
	if err != nil {
		return nil, err
	}
	return req.Do(ctx)
}

// nextPoll says what an error of a poll means (RFC 8628, section 3.5): the interval from then on, or that the login is over. It is pure.
func nextPoll(interval time.Duration, e *renew.IssueError) (time.Duration, *renew.IssueError) {
	switch {
	case e.Code == "slow_down":
		return min(interval+pollDefault, tokenendpoint.MaxLife), nil
	case e.Code == "authorization_pending":
		return interval, nil
	case e.Code == "expired_token":
		e.Err = errLoginTimeout
		return 0, e
	case e.Code == "access_denied", e.Code == "authorization_declined": // as Microsoft has it
		e.Permanent = false // the person may decide otherwise next time
		e.Err = errors.New("the person denied the login")
		return 0, e
	case e.Kind == renew.Transient || e.Kind == renew.Throttled:
		return min(2*interval, tokenendpoint.MaxLife), nil
	}
	return 0, e
}

// ended is the error of a login that was given up, with the last fault if there was one.
func (c *client) ended(why, fault error) error {
	if fault != nil {
		why = fmt.Errorf("%w; the last fault: %w", why, fault)
	}
	return c.fail(renew.Transient, false, why)
}

// Revoke tells the server that t is no longer wanted, first its refresh token and then its access token, and
// fails unless the server says that both are gone. It blocks until ctx ends at the latest. Errors are *renew.IssueError.
func (s *DeviceCode) Revoke(ctx context.Context, t *renew.Token) error {
	return s.client().revoke(ctx, t)
}

// Refuses reports whether a 401 is about the token (RFC 6750, section 3.1). It does not block.
func (s *DeviceCode) Refuses(t *renew.Token, resp *http.Response) bool { return refuses(t, resp) }
