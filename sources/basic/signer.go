package basic

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"weak"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/budget"
	"github.com/seed-f29168f7/renew/clock"
	"github.com/seed-f29168f7/renew/sources/internal/input"
	"github.com/seed-f29168f7/renew/sources/internal/lockout"
)

// name is what IssueError.Source says.
const name = "basic"

// Signer puts user name and password on requests (RFC 7617): a renew.Authenticator that needs no issued
// token, for renew.NewTransport. Its zero value is refused by Validate. Its fields may be changed until the
// first use; after it a Signer is safe for concurrent use, as far as its function is. Use it by pointer.
type Signer struct {
	// Username is the user-id. It may be empty, and must have no colon and no control character. It is not
	// taken for a secret.
	Username string
	// Password must have no control character (section 2). Set it or PasswordFunc.
	Password renew.Secret
	// PasswordFunc is asked for the password at each request, with its context, and again after each wait for another one and after a refusal:
	// when it says another password then, the request is sent once more. It should keep what is slow to get. Its error is a local fault; its text is shown, so it must
	// not hold the password.
	PasswordFunc func(context.Context) (renew.Secret, error)
	// Charset is how user name and password are encoded. Zero is UTF8.
	Charset Charset
	// Proxy makes the credential one for a proxy: it is the proxy's URL, such as
	// "http://proxy.example:3128", and the same as TransportConfig.Proxy. Empty means that it is for the servers.
	Proxy string
	// AllowPlaintext allows GetProxyConnectHeader for a Proxy that is reached over plain http and is not loopback: anyone
	// on the way can read the password. For requests, TransportConfig.AllowPlaintext says so.
	AllowPlaintext bool
	// Budget is how many attempts may follow refusals. Nil means a budget of this Signer's own with the
	// defaults, 4 in 10 minutes. Signers of one account, on one Clock, share one by pointer.
	Budget *budget.Budget
	// Clock tells when attempts were refused. Nil means clock.Real{}.
	Clock clock.Clock

	gates lockout.Gates

	mu      sync.Mutex                       // guards tunnels
	tunnels map[weak.Pointer[string]]*tunnel // by the header value that was sent, which no dump can follow (R30)
}

// Signer implements what its methods are for.
var _ interface {
	renew.Authenticator
	renew.Answerer
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
	if s.Charset > Latin1 {
		return wrong("Charset", "is "+s.Charset.String()+": it must be UTF8 or Latin1")
	}
	if err := checkUsername(s.Username, s.Charset); err != nil {
		return wrong("Username", err.Error())
	}
	if err := input.Check("Signer.Password", s.Password, s.PasswordFunc); err != nil {
		return err
	}
	if err := checkText(s.Password.Reveal(), s.Charset); err != nil {
		return wrong("Password", err.Error())
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

// Authenticate puts Authorization on req, or Proxy-Authorization with a Proxy. Until the password has been accepted it
// blocks while another request waits for the verdict, until req.Context() ends; and it blocks as long as PasswordFunc does.
// Errors are a *renew.ConfigError, a *renew.BudgetError when the password was refused and there is no unit left, the cause of
// the context, or a *renew.IssueError: Transient where PasswordFunc failed, Invalid where its password cannot be sent.
func (s *Signer) Authenticate(req *http.Request) (renew.Credential, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	if req.URL == nil {
		return nil, &renew.IssueError{Source: name, Kind: renew.Invalid, Permanent: true, Unsent: true, Err: errNoURL}
	}
	o, header, path := lockout.OriginOf(req.URL), "Authorization", req.URL.Path
	if s.Proxy != "" {
		// To a proxy all requests are the same.
		o, _ = lockout.ProxyOrigin(s.Proxy) // Validate has checked it
		header, path = "Proxy-Authorization", ""
	}
	a, value, err := s.begin(req.Context(), o, path)
	if err != nil {
		return nil, err
	}
	if req.Header == nil {
		req.Header = make(http.Header, 1)
	}
	req.Header[header] = []string{value}
	a.Watch(req)
	return a, nil
}

// begin waits for the right to send the password, and returns it as the header's value.
func (s *Signer) begin(ctx context.Context, o lockout.Origin, path string) (*lockout.Attempt, string, error) {
	r := lockout.Request{Source: name, Budget: s.Budget, Clock: s.Clock, Origin: o, Path: path}
	a, password, err := s.gates.Begin(ctx, r, s.password)
	if err != nil {
		return nil, "", err
	}
	return a, encode(s.Username, password.Reveal(), s.Charset), nil
}

// password returns a password that can be sent.
func (s *Signer) password(ctx context.Context) (renew.Secret, error) {
	password, err := input.Secret(ctx, name, "Signer.Password", s.Password, s.PasswordFunc)
	if err != nil {
		return renew.Secret{}, err
	}
	if err := checkText(password.Reveal(), s.Charset); err != nil {
		return renew.Secret{}, &renew.IssueError{Source: name, Kind: renew.Invalid, Unsent: true, Err: fmt.Errorf("the password of PasswordFunc %w", err)}
	}
	return password, nil
}

// Refused notes that the password is refused. There is a replay only when PasswordFunc says another one, which is asked
// for unless req.Context() has ended. It blocks as long as PasswordFunc does.
func (s *Signer) Refused(req *http.Request, c renew.Credential, _ *http.Response) (renew.Replay, error) {
	a, err := attemptOf(c)
	if err != nil {
		return nil, err
	}
	a.End(lockout.Refused)
	if s.PasswordFunc == nil || req.Context().Err() != nil {
		return nil, nil
	}
	password, err := s.password(req.Context())
	if err != nil || a.Holds(password) {
		return nil, err
	}
	return s.Authenticate, nil
}

// Answered notes what became of a request. It does not block.
func (s *Signer) Answered(_ *http.Request, c renew.Credential, resp *http.Response) {
	if a, err := attemptOf(c); err == nil {
		a.End(lockout.Judge(resp, s.refusal()))
	}
}

// refusal is the status that refuses the password.
func (s *Signer) refusal() int {
	if s.Proxy != "" {
		return http.StatusProxyAuthRequired
	}
	return http.StatusUnauthorized
}

func attemptOf(c renew.Credential) (*lockout.Attempt, error) {
	a, ok := c.(*lockout.Attempt)
	if !ok || a == nil {
		return nil, &renew.ConfigError{Field: "Credential", Reason: fmt.Sprintf("is a %T: a Signer takes back only what its Authenticate returned", c)}
	}
	return a, nil
}
