package armor

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/clock"
	"github.com/seed-f29168f7/renew/sources/internal/tokenendpoint"
)

const (
	fhAuth       = "FH-AUTH" // the auth-scheme
	fhAuthName   = "armor FH-AUTH"
	attrAccount  = "account"
	personsPause = 2 * time.Minute // what a person gets to approve a login
)

// FHAuth is a Source for Armor's own tokens: user name and password are traded for
// a code, the code for a token of 15 minutes, and the token for the next one before it ends.
// Tokens go on requests as "Authorization: FH-AUTH <token>" and [AccountHeader].
type FHAuth struct {
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
	// MFA says that a person approves each login, on a phone for instance: authorize then answers only when
	// that is done. The Source is interactive then, and a login may take 2 minutes. Reissues need nobody.
	MFA bool
	// BaseURL is the API, without a slash at its end. Empty means DefaultBaseURL. It must be https, except on this machine.
	BaseURL string
	// AllowPlaintext allows http to another host: anyone on the way can read the password.
	AllowPlaintext bool
	// HTTPClient sends the requests. Nil means a client that all Sources use together, without a proxy. Redirects and
	// cookies are off in either. Leave its Timeout 0: ctx ends a request.
	HTTPClient *http.Client
	// Clock is asked only for a Retry-After date in a reply without Date. Nil means clock.Real{}.
	Clock clock.Clock
	// InputVersion, when not nil, returns a number that changes when PasswordFunc would return
	// another password: a refusal for good ends then (R23). It must not block.
	InputVersion func() uint64

	choice choice
}

// FHAuth implements what its methods are for.
var _ interface {
	Source
	renew.Reissuer
} = (*FHAuth)(nil)

func (s *FHAuth) credentials() credentials {
	return credentials{"FHAuth", fhAuthName, s.Username, s.Password, s.PasswordFunc}
}

func (s *FHAuth) baseURL() string {
	return strings.TrimSuffix(orDefault(s.BaseURL, DefaultBaseURL), "/")
}

func (s *FHAuth) login() *login { return newLogin(fhAuthName, s.HTTPClient, nil, s.Clock) }

// Validate reports the first field that cannot work, as a *renew.ConfigError.
func (s *FHAuth) Validate() error {
	if err := s.credentials().validate(); err != nil {
		return err
	}
	if _, err := accountID(s.AccountID); err != nil {
		return &renew.ConfigError{Field: "FHAuth.AccountID", Reason: err.Error()}
	}
	return checkBase("FHAuth.BaseURL", s.baseURL(), s.AllowPlaintext)
}

// Describe says that the user is the unit of lock-out at the API.
func (s *FHAuth) Describe() renew.Traits {
	t := renew.Traits{Name: fhAuthName, Endpoint: tokenendpoint.Endpoint(s.baseURL()), Account: s.Username, InputVersion: s.InputVersion}
	if s.MFA {
		t.Interactive, t.Timeout = true, personsPause
	}
	return t
}

// Issue logs in: authorize, token, and /me for the accounts. It blocks until the
// last reply is read, a person has approved (MFA), or ctx ends. Every error is a *renew.IssueError; one of
// ctx's end wraps context.Cause(ctx), one of the account wraps an [*AccountError].
//
// A 401 of authorize is permanent; a 400 or 401 of token, a 401 of /me and success:false are refusals
// that are not; a 403 of /me is permanent.
func (s *FHAuth) Issue(ctx context.Context) (*renew.Token, error) {
	password, err := s.credentials().read(ctx)
	if err != nil {
		return nil, err
	}
	l, base := s.login(), s.baseURL()
	url := base + "/auth/authorize"
	body, e := l.send(ctx, stepAuthorize, http.MethodPost, url, map[string]string{"username": s.Username, "password": password.Reveal()}, nil)
	if e != nil {
		return nil, e
	}
	code, err := authorizeCode(body)
	if err != nil {
		e := l.malformed(stepAuthorize, url, err)
		if errors.Is(err, errNoSuccess) {
			e.Kind, e.Err = renew.Refused, err
		}
		return nil, e
	}
	tok, e := l.token(ctx, stepToken, base+"/auth/token", map[string]string{"code": code, "grant_type": "authorization_code"}, nil)
	if e != nil {
		return nil, e
	}
	return l.me(ctx, base, tok, &s.choice, s.AccountID)
}

// Reissue trades a live token for the next one, which is for the same account. It blocks until the
// reply is read or ctx ends. Errors are as those of Issue; a 401 is a refusal, not permanent.
func (s *FHAuth) Reissue(ctx context.Context, live *renew.Token) (*renew.Token, error) {
	h := http.Header{"Authorization": {live.HeaderValue()}}
	if id := live.Attr(attrAccount); id != "" {
		h[AccountHeader] = []string{id}
	}
	tok, e := s.login().token(ctx, stepReissue, s.baseURL()+"/auth/token/reissue", map[string]string{"token": live.Value.Reveal()}, h)
	if e != nil {
		return nil, e
	}
	if id := live.Attr(attrAccount); id != "" {
		tok = tok.WithAttr(attrAccount, id)
	}
	return tok, nil
}

// token asks for a token and reads the reply.
func (l *login) token(ctx context.Context, at step, url string, body map[string]string, set http.Header) (*renew.Token, *renew.IssueError) {
	reply, e := l.send(ctx, at, http.MethodPost, url, body, set)
	if e != nil {
		return nil, e
	}
	tok, err := tokenOf(reply)
	if err != nil {
		return nil, l.malformed(at, url, err)
	}
	return tok, nil
}

// Authorize puts token and account on req. A request that names an account already, or has the header with no
// value, keeps it.
func (s *FHAuth) Authorize(req *http.Request, t *renew.Token) error { return authorize(req, t) }

// Account returns the account that was chosen; false before the first login. It does not block.
func (s *FHAuth) Account() (Account, bool) { return s.choice.account() }

// Accounts returns the accounts that the last login found, in Armor's order; none before. It does not block.
func (s *FHAuth) Accounts() []Account { return s.choice.accounts() }

func authorize(req *http.Request, t *renew.Token) error {
	t.SetAuthHeader(req)
	if _, ok := req.Header[AccountHeader]; !ok && t.Attr(attrAccount) != "" {
		req.Header[AccountHeader] = []string{t.Attr(attrAccount)}
	}
	return nil
}

// withAccount notes on a token for whom it acts.
func withAccount(tok *renew.Token, id int64) *renew.Token {
	return tok.WithAttr(attrAccount, strconv.FormatInt(id, 10))
}
