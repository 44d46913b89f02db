package oauth2

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/sources/internal/leaktest"
)

const (
	oddID     = `client:+%&=?"\ <é日>`
	oddSecret = `s3cr+t:%&=?"\ <value>/é日本`
	oddToken  = `r3fr+sh:%&=?"\ <token>/0123`
)

// issuer is a token endpoint on loopback. It decodes the client's
// authentication by the rule of RFC 6749, section 2.3.1, and answers by reply.
type issuer struct {
	*httptest.Server
	mu    sync.Mutex
	forms []url.Values // each request's form, with the client's id and secret wherever they came from
	reply func(n int, form url.Values) (status int, body string)
}

func newIssuer(t testing.TB, reply func(n int, form url.Values) (int, string)) *issuer {
	s := &issuer{reply: reply}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	form := r.PostForm
	if user, pass, ok := r.BasicAuth(); ok {
		id, err1 := url.QueryUnescape(user)
		secret, err2 := url.QueryUnescape(pass)
		if errors.Join(err1, err2) != nil || form.Has("client_id") || form.Has("client_secret") {
			http.Error(w, "bad client authentication", http.StatusBadRequest)
			return
		}
		form.Set("client_id", id)
		form.Set("client_secret", secret)
	}
	s.mu.Lock()
	s.forms = append(s.forms, form)
	n := len(s.forms)
	s.mu.Unlock()
	status, body := s.reply(n, form)
	if status == 0 { // the outcome stays unknown to the client
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body)
}

// sent returns the parameter of each request.
func (s *issuer) sent(name string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for _, form := range s.forms {
		out = append(out, form.Get(name))
	}
	return out
}

func always(status int, body string) func(int, url.Values) (int, string) {
	return func(int, url.Values) (int, string) { return status, body }
}

func issueError(t *testing.T, err error) *renew.IssueError {
	t.Helper()
	e, ok := err.(*renew.IssueError)
	if !ok {
		t.Fatalf("err = %#v, want a *renew.IssueError", err)
	}
	return e
}

func TestClientCredentialsIssue(t *testing.T) {
	srv := newIssuer(t, always(200, `{"access_token":"abc","token_type":"bearer","expires_in":3599.5,"refresh_token":"not wanted","scope":"a b"}`))
	params := url.Values{"audience": {"https://api.example"}, "resource": {"urn:1", "urn:2"}}
	for _, style := range []AuthStyle{InHeader, InParams, None} {
		src := &ClientCredentials{TokenURL: srv.URL + "/token?v=1", ClientID: oddID, AuthStyle: style, Scopes: []string{"a", "b"}, EndpointParams: params}
		if style != None {
			src.ClientSecret = renew.NewSecret(oddSecret)
		}
		if err := src.Validate(); err != nil {
			t.Fatal(err)
		}
		tok, err := src.Issue(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if tok.Value.Reveal() != "abc" || tok.Type != "Bearer" || tok.Life != 3599500*time.Millisecond || tok.Attr("scope") != "a b" || !tok.Expiry.IsZero() {
			t.Errorf("style %d: token %+v", style, tok)
		}
		// RFC 6749, section 4.4.3.
		if !tok.Refresh.IsZero() {
			t.Errorf("style %d: the token has a refresh token, want it dropped", style)
		}
		form := srv.forms[len(srv.forms)-1]
		want := url.Values{"grant_type": {"client_credentials"}, "client_id": {oddID}, "scope": {"a b"}, "audience": {"https://api.example"}, "resource": {"urn:1", "urn:2"}}
		if style != None {
			want.Set("client_secret", oddSecret)
		}
		if form.Encode() != want.Encode() {
			t.Errorf("style %d: sent %v, want %v", style, form, want)
		}
	}
	if len(params) != 2 {
		t.Errorf("EndpointParams = %v: the caller's map was written to", params)
	}
}

func TestSecretFuncIsAskedEachTime(t *testing.T) {
	srv := newIssuer(t, always(200, `{"access_token":"abc"}`))
	n := 0
	src := &ClientCredentials{TokenURL: srv.URL, ClientID: "id", ClientSecretFunc: func(context.Context) (renew.Secret, error) {
		n++
		return renew.NewSecret(fmt.Sprint("secret-", n)), nil
	}}
	for range 2 {
		if _, err := src.Issue(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if got := srv.sent("client_secret"); !slices.Equal(got, []string{"secret-1", "secret-2"}) {
		t.Errorf("secrets sent = %q, want secret-1 and secret-2", got)
	}
}

// A secret that cannot be read is a local fault: transient, nothing sent, no unit of the budget.
func TestSecretFuncFails(t *testing.T) {
	srv := newIssuer(t, always(200, `{"access_token":"abc"}`))
	fails := func(context.Context) (renew.Secret, error) { return renew.Secret{}, fs.ErrNotExist }
	empty := func(context.Context) (renew.Secret, error) { return renew.Secret{}, nil }
	leaks := func(context.Context) (renew.Secret, error) {
		return renew.NewSecret(oddSecret), errors.New("cannot use " + oddSecret)
	}
	good := renew.NewSecret(oddSecret)
	for name, src := range map[string]renew.Source{
		"client secret fails":  &ClientCredentials{TokenURL: srv.URL, ClientID: "id", ClientSecretFunc: fails},
		"client secret empty":  &ClientCredentials{TokenURL: srv.URL, ClientID: "id", ClientSecretFunc: empty},
		"client secret leaks":  &ClientCredentials{TokenURL: srv.URL, ClientID: "id", ClientSecretFunc: leaks},
		"refresh: its client":  &RefreshToken{TokenURL: srv.URL, ClientID: "id", ClientSecretFunc: fails, RefreshToken: good},
		"refresh token fails":  &RefreshToken{TokenURL: srv.URL, ClientID: "id", ClientSecret: good, RefreshTokenFunc: fails},
		"refresh token leaks":  &RefreshToken{TokenURL: srv.URL, ClientID: "id", ClientSecret: good, RefreshTokenFunc: leaks},
		"refresh token absent": &RefreshToken{TokenURL: srv.URL, ClientID: "id", AuthStyle: None, RefreshTokenFunc: empty},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := src.Issue(t.Context())
			e := issueError(t, err)
			if e.Kind != renew.Transient || e.Permanent || !e.Unsent {
				t.Errorf("err = %#v, want transient and unsent", e)
			}
			if strings.Contains(name, "fails") && !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("err = %v, want it to wrap the function's", err)
			}
			leaktest.Check(t, err, oddSecret)
		})
	}
	if n := len(srv.forms); n != 0 {
		t.Errorf("requests = %d, want 0", n)
	}
}

func TestValidate(t *testing.T) {
	fn := func(context.Context) (renew.Secret, error) { return renew.NewSecret("x"), nil }
	good := func() *ClientCredentials {
		return &ClientCredentials{TokenURL: "https://issuer.example/token", ClientID: "id", ClientSecret: renew.NewSecret(oddSecret)}
	}
	for _, tt := range []struct {
		name   string
		change func(*ClientCredentials)
		field  string // empty: valid
	}{
		{"good", func(*ClientCredentials) {}, ""},
		{"everything", func(s *ClientCredentials) {
			s.Scopes, s.EndpointParams, s.TokenType = []string{"https://api.example/read", "a:b"}, url.Values{"audience": {"x"}}, "FH-AUTH"
		}, ""},
		{"no URL", func(s *ClientCredentials) { s.TokenURL = "" }, "TokenURL"},
		{"bad URL", func(s *ClientCredentials) { s.TokenURL = "https://%zz" }, "TokenURL"},
		{"scheme", func(s *ClientCredentials) { s.TokenURL = "ldap://issuer.example" }, "TokenURL"},
		{"plain http", func(s *ClientCredentials) { s.TokenURL = "http://issuer.example" }, "TokenURL"},
		{"plain http, allowed", func(s *ClientCredentials) { s.TokenURL, s.AllowPlaintext = "http://issuer.example", true }, ""},
		{"plain http on loopback", func(s *ClientCredentials) { s.TokenURL = "http://[::1]:1/" }, ""},
		{"fragment", func(s *ClientCredentials) { s.TokenURL += "#x" }, "TokenURL"},
		{"userinfo", func(s *ClientCredentials) {
			s.TokenURL = "https://a:" + url.QueryEscape(oddSecret) + "@issuer.example/"
		}, "TokenURL"},
		{"no client id", func(s *ClientCredentials) { s.ClientID = "" }, "ClientID"},
		{"no secret", func(s *ClientCredentials) { s.ClientSecret = renew.Secret{} }, "ClientSecret"},
		{"secret twice", func(s *ClientCredentials) { s.ClientSecretFunc = fn }, "ClientSecret"},
		{"secret by func", func(s *ClientCredentials) { s.ClientSecret, s.ClientSecretFunc = renew.Secret{}, fn }, ""},
		{"public", func(s *ClientCredentials) { s.ClientSecret, s.AuthStyle = renew.Secret{}, None }, ""},
		{"public with a secret", func(s *ClientCredentials) { s.AuthStyle = None }, "AuthStyle"},
		{"public with a func", func(s *ClientCredentials) {
			s.ClientSecret, s.ClientSecretFunc, s.AuthStyle = renew.Secret{}, fn, None
		}, "AuthStyle"},
		{"unknown style", func(s *ClientCredentials) { s.AuthStyle = 5 }, "AuthStyle"},
		{"two scopes in one", func(s *ClientCredentials) { s.Scopes = []string{"a b"} }, "Scopes"},
		{"empty scope", func(s *ClientCredentials) { s.Scopes = []string{"a", ""} }, "Scopes"},
		{"scope with a quote", func(s *ClientCredentials) { s.Scopes = []string{`a"b`} }, "Scopes"},
		{"reserved grant_type", func(s *ClientCredentials) { s.EndpointParams = url.Values{"grant_type": {"password"}} }, "EndpointParams"},
		{"reserved client_secret", func(s *ClientCredentials) { s.EndpointParams = url.Values{"client_secret": {oddSecret}} }, "EndpointParams"},
		{"reserved refresh_token", func(s *ClientCredentials) { s.EndpointParams = url.Values{"refresh_token": {oddSecret}} }, "EndpointParams"},
		{"token type", func(s *ClientCredentials) { s.TokenType = "a b" }, "TokenType"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cc := good()
			tt.change(cc)
			rt := &RefreshToken{
				TokenURL: cc.TokenURL, ClientID: cc.ClientID, ClientSecret: cc.ClientSecret, ClientSecretFunc: cc.ClientSecretFunc, AuthStyle: cc.AuthStyle,
				Scopes: cc.Scopes, EndpointParams: cc.EndpointParams, TokenType: cc.TokenType, AllowPlaintext: cc.AllowPlaintext, RefreshToken: renew.NewSecret(oddToken),
			}
			for typ, src := range map[string]renew.Validator{"ClientCredentials": cc, "RefreshToken": rt} {
				err := src.Validate()
				leaktest.Check(t, err, oddSecret, oddToken)
				if tt.field == "" {
					if err != nil {
						t.Errorf("%s: %v, want it valid", typ, err)
					}
					continue
				}
				if e, ok := err.(*renew.ConfigError); !ok || e.Field != typ+"."+tt.field {
					t.Errorf("%s: %#v, want a ConfigError of %s", typ, err, tt.field)
				}
			}
		})
	}
	for _, rt := range []*RefreshToken{
		{TokenURL: "https://x/", ClientID: "id", AuthStyle: None},
		{TokenURL: "https://x/", ClientID: "id", AuthStyle: None, RefreshToken: renew.NewSecret("x"), RefreshTokenFunc: fn},
	} {
		if e, ok := rt.Validate().(*renew.ConfigError); !ok || e.Field != "RefreshToken.RefreshToken" {
			t.Errorf("neither or both refresh tokens: %v", rt.Validate())
		}
	}
	for _, zero := range []renew.Validator{&ClientCredentials{}, &RefreshToken{}} {
		if zero.Validate() == nil {
			t.Errorf("the zero %T is valid, want it refused", zero)
		}
	}
}

func TestDescribe(t *testing.T) {
	version := func() uint64 { return 7 }
	cc := (&ClientCredentials{TokenURL: "https://issuer.example/token?key=hidden-in-query", ClientID: "id", InputVersion: version}).Describe()
	if cc.Name != "oauth2 client_credentials" || cc.Endpoint != "https://issuer.example/token" || cc.Account != "id" || cc.InputVersion() != 7 || cc.Interactive {
		t.Errorf("ClientCredentials: %+v", cc)
	}
	rt := (&RefreshToken{TokenURL: "https://issuer.example/token?key=hidden-in-query", ClientID: "id"}).Describe()
	if rt.Name != "oauth2 refresh_token" || rt.Endpoint != "https://issuer.example/token" || rt.Account != "" || rt.InputVersion != nil || rt.Interactive {
		t.Errorf("RefreshToken: %+v", rt)
	}
	// R14 asks whether a Source can reissue: this one cannot.
	if _, ok := any(&ClientCredentials{}).(renew.Reissuer); ok {
		t.Error("ClientCredentials is a Reissuer, want a Source that only issues")
	}
}

func TestTokenTypeOverride(t *testing.T) {
	srv := newIssuer(t, always(200, `{"access_token":"xoxb","token_type":"bot"}`))
	src := &ClientCredentials{TokenURL: srv.URL, ClientID: "id", ClientSecret: renew.NewSecret("x")}
	_, err := src.Issue(t.Context())
	if e := issueError(t, err); e.Kind != renew.Invalid || !e.Permanent {
		t.Errorf("err = %#v, want invalid and permanent", e)
	}
	src.TokenType = "Bearer"
	if tok, err := src.Issue(t.Context()); err != nil || tok.Type != "Bearer" {
		t.Errorf("with TokenType: %v, %v", tok, err)
	}
}

// The grant is all that client credentials have; a refresh token that a Reissue sent may have a successor in Issue's hands.
func TestInvalidGrantIsPermanentWhereNothingElseIsLeft(t *testing.T) {
	srv := newIssuer(t, always(400, `{"error":"invalid_grant"}`))
	cc := &ClientCredentials{TokenURL: srv.URL, ClientID: "id", ClientSecret: renew.NewSecret("x")}
	rt := &RefreshToken{TokenURL: srv.URL, ClientID: "id", AuthStyle: None, RefreshToken: renew.NewSecret("r0")}
	_, err1 := cc.Issue(t.Context())
	_, err2 := rt.Issue(t.Context())
	_, err3 := rt.Reissue(t.Context(), &renew.Token{Refresh: renew.NewSecret("r1")})
	for i, want := range []bool{true, true, false} {
		e := issueError(t, []error{err1, err2, err3}[i])
		if e.Kind != renew.Refused || e.Code != "invalid_grant" || e.Permanent != want {
			t.Errorf("%d: %#v, want refused, permanent %v", i, e, want)
		}
	}
}
