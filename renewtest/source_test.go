package renewtest

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/seed-f29168f7/renew"
)

// goodSource is a Source that keeps all rules: client credentials, and a refresh token where one is given.
type goodSource struct {
	TokenURL, RevokeURL string
	ID                  string
	Secret              renew.Secret
	Client              *http.Client
}

func newGoodSource(iss *Issuer) *goodSource {
	return &goodSource{
		TokenURL: iss.TokenURL(), RevokeURL: iss.RevokeURL(),
		ID: iss.ClientID(), Secret: renew.NewSecret(iss.ClientSecret()), Client: iss.Client(),
	}
}

func (s *goodSource) Validate() error {
	if s.TokenURL == "" {
		return &renew.ConfigError{Field: "TokenURL", Reason: "is empty"}
	}
	return nil
}

func (s *goodSource) Describe() renew.Traits {
	return renew.Traits{Name: "good", Endpoint: s.TokenURL, Account: s.ID, InputVersion: func() uint64 { return 7 }}
}

func (s *goodSource) Issue(ctx context.Context) (*renew.Token, error) {
	return s.token(ctx, url.Values{"grant_type": {"client_credentials"}}, renew.Secret{})
}

func (s *goodSource) Reissue(ctx context.Context, live *renew.Token) (*renew.Token, error) {
	if live.Refresh.IsZero() {
		return s.Issue(ctx)
	}
	return s.token(ctx, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {live.Refresh.Reveal()}}, live.Refresh)
}

func (s *goodSource) Revoke(ctx context.Context, t *renew.Token) error {
	_, err := s.post(ctx, s.RevokeURL, url.Values{"token": {t.Value.Reveal()}})
	return err
}

func (s *goodSource) Authorize(req *http.Request, t *renew.Token) error {
	t.SetAuthHeader(req)
	return nil
}

func (s *goodSource) token(ctx context.Context, form url.Values, kept renew.Secret) (*renew.Token, error) {
	body, err := s.post(ctx, s.TokenURL, form)
	if err != nil {
		return nil, err
	}
	var reply struct {
		AccessToken  string `json:"access_token"`
		TokenType    string `json:"token_type"`
		ExpiresIn    int64  `json:"expires_in"`
		RefreshToken string `json:"refresh_token"`
	}
	if err := json.Unmarshal(body, &reply); err != nil {
		return nil, s.err(0, "", renew.Transient, errors.New("the reply is no JSON"))
	}
	t := &renew.Token{
		Value: renew.NewSecret(reply.AccessToken), Type: reply.TokenType,
		Life: time.Duration(reply.ExpiresIn) * time.Second, Refresh: kept,
	}
	if reply.RefreshToken != "" {
		t.Refresh = renew.NewSecret(reply.RefreshToken)
	}
	return t, nil
}

func (s *goodSource) err(status int, code string, kind renew.Kind, cause error) *renew.IssueError {
	return &renew.IssueError{Source: "good", Status: status, Code: code, Kind: kind, Err: cause}
}

func (s *goodSource) post(ctx context.Context, to string, form url.Values) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, s.err(0, "", renew.Invalid, err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(url.QueryEscape(s.ID), url.QueryEscape(s.Secret.Reveal()))
	resp, err := s.Client.Do(req)
	if err == nil {
		defer resp.Body.Close()
		var body []byte
		if body, err = io.ReadAll(io.LimitReader(resp.Body, 1<<20)); err == nil {
			return body, s.judge(resp, body)
		}
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	e := s.err(0, "", renew.Transient, err)
	var op *net.OpError
	e.Unsent = errors.As(err, &op) && op.Op == "dial"
	return nil, e
}

func (s *goodSource) judge(resp *http.Response, body []byte) error {
	var reply struct{ Error string }
	_ = json.Unmarshal(body, &reply)
	switch status := resp.StatusCode; {
	case status == http.StatusOK:
		return nil
	case status == http.StatusTooManyRequests:
		e := s.err(status, "", renew.Throttled, nil)
		seconds, _ := strconv.Atoi(resp.Header.Get("Retry-After"))
		e.RetryAfter = time.Duration(seconds) * time.Second
		return e
	case reply.Error != "":
		e := s.err(status, reply.Error, renew.Refused, nil)
		e.Permanent = reply.Error == "invalid_client"
		return e
	default:
		return s.err(status, "", renew.Transient, nil)
	}
}

// badSource is a goodSource with one fault: the funcs that are set replace its methods.
type badSource struct {
	*goodSource
	issue     func(ctx context.Context) (*renew.Token, error)
	reissue   func(ctx context.Context, live *renew.Token) (*renew.Token, error)
	revoke    func(ctx context.Context, t *renew.Token) error
	authorize func(req *http.Request, t *renew.Token) error
	describe  func() renew.Traits
	validate  func() error
}

func (s *badSource) Issue(ctx context.Context) (*renew.Token, error) {
	if s.issue != nil {
		return s.issue(ctx)
	}
	return s.goodSource.Issue(ctx)
}

func (s *badSource) Reissue(ctx context.Context, live *renew.Token) (*renew.Token, error) {
	if s.reissue != nil {
		return s.reissue(ctx, live)
	}
	return s.goodSource.Reissue(ctx, live)
}

func (s *badSource) Revoke(ctx context.Context, t *renew.Token) error {
	if s.revoke != nil {
		return s.revoke(ctx, t)
	}
	return s.goodSource.Revoke(ctx, t)
}

func (s *badSource) Authorize(req *http.Request, t *renew.Token) error {
	if s.authorize != nil {
		return s.authorize(req, t)
	}
	return s.goodSource.Authorize(req, t)
}

func (s *badSource) Describe() renew.Traits {
	if s.describe != nil {
		return s.describe()
	}
	return s.goodSource.Describe()
}

func (s *badSource) Validate() error {
	if s.validate != nil {
		return s.validate()
	}
	return s.goodSource.Validate()
}

// editToken changes what Issue returns.
func (s *badSource) editToken(edit func(t *renew.Token)) {
	s.issue = func(ctx context.Context) (*renew.Token, error) {
		t, err := s.goodSource.Issue(ctx)
		if err == nil {
			edit(t)
		}
		return t, err
	}
}

// editError changes the errors of Issue, Reissue and Revoke.
func (s *badSource) editError(edit func(err error) error) {
	s.issue = func(ctx context.Context) (*renew.Token, error) {
		t, err := s.goodSource.Issue(ctx)
		if err != nil {
			err = edit(err)
		}
		return t, err
	}
	s.reissue = func(ctx context.Context, live *renew.Token) (*renew.Token, error) {
		t, err := s.goodSource.Reissue(ctx, live)
		if err != nil {
			err = edit(err)
		}
		return t, err
	}
}
