package armor_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/sources/armor"
	"github.com/seed-f29168f7/renew/sources/armor/armortest"
	"github.com/seed-f29168f7/renew/sources/internal/leaktest"
)

// seen is one request as a scripted server got it.
type seen struct{ method, path, auth, account, media, body string }

// scripted answers each path with a reply.
func scripted(t *testing.T, replies map[string]string) (url string, got func() []seen) {
	t.Helper()
	var mu sync.Mutex
	var list []seen
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		list = append(list, seen{r.Method, r.URL.Path, r.Header.Get("Authorization"), strings.Join(r.Header.Values(armor.AccountHeader), ","), r.Header.Get("Content-Type"), string(body)})
		_, _ = io.WriteString(w, replies[r.URL.Path])
	}))
	t.Cleanup(srv.Close)
	return srv.URL, func() []seen {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(list)
	}
}

// What goes over the wire, byte by byte.
func TestFHAuthOnTheWire(t *testing.T) {
	url, got := scripted(t, map[string]string{
		"/v/auth/authorize":     `{"redirect_uri":null,"code":"a+/%3D=","success":true}`,
		"/v/auth/token":         `{"access_token":"0123456789abcdef","id_token":"x","expires_in":15,"token_type":"Bearer"}`,
		"/v/me":                 `{"accounts":[{"id":1000},{"id":22}]}`,
		"/v/auth/token/reissue": `{"access_token":"fedcba9876543210","id_token":null,"expires_in":600}`,
	})
	src := &armor.FHAuth{Username: `us"er`, Password: renew.NewSecret(`pa"ss\`), AccountID: "22", BaseURL: url + "/v/"}
	if err := src.Validate(); err != nil {
		t.Fatal(err)
	}
	tok, err := src.Issue(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if tok.Life != 15*time.Minute || tok.HeaderValue() != "FH-AUTH 0123456789abcdef" {
		t.Errorf("token %v %s, want FH-AUTH and 15 minutes", tok.Life, tok.Type)
	}
	next, err := src.Reissue(t.Context(), tok)
	if err != nil {
		t.Fatal(err)
	}
	if next.Life != 10*time.Minute || next.HeaderValue() != "FH-AUTH fedcba9876543210" {
		t.Errorf("token %v %s, want FH-AUTH and 10 minutes", next.Life, next.Type)
	}
	const media = "application/json"
	want := []seen{
		{"POST", "/v/auth/authorize", "", "", media, `{"password":"pa\"ss\\","username":"us\"er"}`},
		{"POST", "/v/auth/token", "", "", media, `{"code":"a+/%3D=","grant_type":"authorization_code"}`},
		{"GET", "/v/me", "FH-AUTH 0123456789abcdef", "", media, ""},
		{"POST", "/v/auth/token/reissue", "FH-AUTH 0123456789abcdef", "22", media, `{"token":"0123456789abcdef"}`},
	}
	if !slices.Equal(got(), want) {
		t.Errorf("got %+v\nwant %+v", got(), want)
	}
	for _, tok := range []*renew.Token{tok, next} {
		req := httptest.NewRequest("GET", "https://api.armor.com/x", nil)
		if err := src.Authorize(req, tok); err != nil || req.Header.Get("Authorization") != tok.HeaderValue() || req.Header.Get(armor.AccountHeader) != "22" {
			t.Errorf("Authorize: %v, %v", req.Header, err)
		}
		req.Header = http.Header{armor.AccountHeader: nil}
		if err := src.Authorize(req, tok); err != nil || req.Header[armor.AccountHeader] != nil {
			t.Errorf("Authorize overrides the account of the request: %v, %v", req.Header, err)
		}
	}
	if a, ok := src.Account(); !ok || a.ID != 22 || len(src.Accounts()) != 2 {
		t.Errorf("account %v, %v of %v", a, ok, src.Accounts())
	}
}

// What each status of each step means. A login that was judged does not say that it was not.
func TestFHAuthStatuses(t *testing.T) {
	type verdict struct {
		kind      renew.Kind
		permanent bool
		status    int
	}
	steps := []armortest.Route{armortest.Authorize, armortest.Token, armortest.Reissue, armortest.Me}
	for _, tt := range []struct {
		status int
		want   [4]verdict // of authorize, token, reissue, me
	}{
		{400, [4]verdict{{renew.Transient, false, 400}, {renew.Refused, false, 400}, {renew.Transient, false, 400}, {renew.Transient, false, 400}}},
		{401, [4]verdict{{renew.Refused, true, 401}, {renew.Refused, false, 401}, {renew.Refused, false, 401}, {renew.Refused, false, 401}}},
		{403, [4]verdict{{renew.Transient, false, 403}, {renew.Transient, false, 403}, {renew.Transient, false, 403}, {renew.Refused, true, 403}}},
		{404, [4]verdict{{renew.Refused, true, 404}, {renew.Refused, true, 404}, {renew.Refused, true, 404}, {renew.Refused, true, 404}}},
		{408, [4]verdict{{renew.Transient, false, 408}, {renew.Transient, false, 408}, {renew.Transient, false, 408}, {renew.Transient, false, 408}}},
		{418, [4]verdict{{renew.Transient, false, 418}, {renew.Transient, false, 418}, {renew.Transient, false, 418}, {renew.Transient, false, 418}}},
		{429, [4]verdict{{renew.Throttled, false, 429}, {renew.Throttled, false, 429}, {renew.Throttled, false, 429}, {renew.Throttled, false, 429}}},
		{302, [4]verdict{{renew.Invalid, true, 302}, {renew.Invalid, true, 302}, {renew.Invalid, true, 302}, {renew.Invalid, true, 302}}},
		{204, [4]verdict{{renew.Transient, false, 204}, {renew.Transient, false, 204}, {renew.Transient, false, 204}, {renew.Transient, false, 204}}},
		{500, [4]verdict{{renew.Transient, false, 500}, {renew.Transient, false, 0}, {renew.Transient, false, 500}, {renew.Transient, false, 0}}},
		{503, [4]verdict{{renew.Transient, false, 503}, {renew.Transient, false, 0}, {renew.Transient, false, 503}, {renew.Transient, false, 0}}},
	} {
		for i, step := range steps {
			t.Run(fmt.Sprint(tt.status, " of ", step), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					srv := armortest.New(armortest.Config{})
					defer srv.Close()
					src := fhAuth(srv)
					tok, err := src.Issue(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					srv.Fail(step, armortest.Fault{Status: tt.status, Echo: tt.status != 204}, -1)
					if step == armortest.Reissue {
						_, err = src.Reissue(t.Context(), tok)
					} else {
						_, err = src.Issue(t.Context())
					}
					e, ok := err.(*renew.IssueError)
					if want := tt.want[i]; !ok || e.Kind != want.kind || e.Permanent != want.permanent || e.Status != want.status || e.Unsent || e.Source == "" || e.Host == "" || e.Err == nil {
						t.Errorf("%#v, want %+v", err, want)
					}
					leaktest.Check(t, err, armortest.DefaultPassword, tok.Value.Reveal())
				})
			})
		}
	}
}

// Replies of 200 that are not what they should be, and where they stop the login.
func TestFHAuthBadReplies(t *testing.T) {
	huge := `{"code":"` + strings.Repeat("a", 1<<20) + `"}`
	for _, tt := range []struct {
		step armortest.Route
		body string
		kind renew.Kind
		path string // of what was called last
	}{
		{armortest.Authorize, `{"code":"abc","success":false}`, renew.Refused, "authorize"},
		{armortest.Authorize, `{"success":true}`, renew.Transient, "authorize"},
		{armortest.Authorize, `<html>secret-in-a-page</html>`, renew.Transient, "authorize"},
		{armortest.Authorize, huge, renew.Transient, "authorize"},
		{armortest.Token, `{"access_token":null}`, renew.Transient, "token"},
		{armortest.Token, `{"access_token":["secret-in-a-page"]}`, renew.Transient, "token"},
		{armortest.Token, `{"access_token":"a\u0000b"}`, renew.Transient, "token"},
		{armortest.Token, huge, renew.Transient, "token"},
		{armortest.Me, `{"accounts":[]}`, renew.Invalid, "me"},
		{armortest.Me, `{"accounts":[{"id":"secret-in-a-page"}]}`, renew.Transient, "me"},
		{armortest.Me, `{"accounts":[{"id":77}]}`, renew.Invalid, "me"},
	} {
		t.Run(fmt.Sprintf("%s %.30s", tt.step, tt.body), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := armortest.New(armortest.Config{})
				defer srv.Close()
				src := fhAuth(srv)
				src.AccountID = "1000"
				srv.Fail(tt.step, armortest.Fault{Status: 200, Body: tt.body}, -1)
				tok, err := src.Issue(t.Context())
				e, ok := err.(*renew.IssueError)
				if tok != nil || !ok || e.Kind != tt.kind || e.Permanent != (tt.kind == renew.Invalid) || e.Unsent {
					t.Errorf("%v, %#v, want %v", tok, err, tt.kind)
				}
				if calls := srv.Calls(); calls[len(calls)-1] != tt.path {
					t.Errorf("calls %v, want the last to be %s", calls, tt.path)
				}
				if _, ok := errors.AsType[*armor.AccountError](err); ok != (tt.kind == renew.Invalid) {
					t.Errorf("%#v, want an AccountError where the account is wrong", err)
				}
				leaktest.Check(t, err, armortest.DefaultPassword, "secret-in-a-page")
			})
		})
	}
}

// A login that was accepted and then cut off was judged: the error must not look unsent.
func TestR18_ArmorALaterDialIsNotUnsent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := armortest.New(armortest.Config{})
		defer srv.Close()
		src := fhAuth(srv)
		n := 0
		src.HTTPClient = &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			if n++; n > 1 {
				return (&http.Transport{}).RoundTrip(r) // nobody listens there
			}
			return srv.Client().Transport.RoundTrip(r)
		})}
		_, err := src.Issue(t.Context())
		e, ok := err.(*renew.IssueError)
		if !ok || e.Kind != renew.Transient || e.Unsent || n != 2 {
			t.Fatalf("%#v after %d requests, want a transient fault that was sent", err, n)
		}
		if strings.Contains(fmt.Sprintf("%T", e.Err), "net.") {
			t.Errorf("the cause is a %T, from which the engine would read that nothing was sent", e.Err)
		}
	})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestValidate(t *testing.T) {
	long := renew.NewSecret(strings.Repeat("p", 513))
	for _, tt := range []struct {
		name   string
		v1     func(*armor.FHAuth)
		v2     func(*armor.ADFS)
		field  string // of both, without the type; empty for valid
		length string
	}{
		{name: "good", v1: func(*armor.FHAuth) {}, v2: func(*armor.ADFS) {}},
		{name: "512 bytes", v1: func(s *armor.FHAuth) { s.Username = strings.Repeat("u", 512) }, v2: func(s *armor.ADFS) { s.Password = renew.NewSecret(strings.Repeat("p", 512)) }},
		{name: "user of 513 bytes", v1: func(s *armor.FHAuth) { s.Username = strings.Repeat("u", 513) }, v2: func(s *armor.ADFS) { s.Username = strings.Repeat("é", 257) }, field: "Username"},
		{name: "password of 513 bytes", v1: func(s *armor.FHAuth) { s.Password = long }, v2: func(s *armor.ADFS) { s.Password = long }, field: "Password"},
		{name: "no user", v1: func(s *armor.FHAuth) { s.Username = "" }, v2: func(s *armor.ADFS) { s.Username = "" }, field: "Username"},
		{name: "no password", v1: func(s *armor.FHAuth) { s.Password = renew.Secret{} }, v2: func(s *armor.ADFS) { s.Password = renew.Secret{} }, field: "Password"},
		{name: "account", v1: func(s *armor.FHAuth) { s.AccountID = "abc" }, v2: func(s *armor.ADFS) { s.AccountID = "-1" }, field: "AccountID"},
		{name: "plain http", v1: func(s *armor.FHAuth) { s.BaseURL = "http://api.armor.com" }, v2: func(s *armor.ADFS) { s.BaseURL = "http://api.armor.com" }, field: "BaseURL"},
		{name: "query", v1: func(s *armor.FHAuth) { s.BaseURL = "https://api.armor.com/?a=b" }, v2: func(s *armor.ADFS) { s.BaseURL = "https://api.armor.com/?a=b" }, field: "BaseURL"},
		{name: "user in the URL", v1: func(s *armor.FHAuth) { s.BaseURL = "https://a:b@api.armor.com" }, v2: func(s *armor.ADFS) { s.BaseURL = "https://a:b@api.armor.com" }, field: "BaseURL"},
		{name: "plain http of the login", v2: func(s *armor.ADFS) { s.LoginURL = "http://sts.armor.com/" }, field: "LoginURL"},
		{name: "timeout", v2: func(s *armor.ADFS) { s.Timeout = -1 }, field: "Timeout"},
		{name: "plain http allowed", v1: func(s *armor.FHAuth) { s.BaseURL, s.AllowPlaintext = "http://10.0.0.7", true }, v2: func(s *armor.ADFS) { s.LoginURL, s.AllowPlaintext = "http://10.0.0.7", true }},
	} {
		check := func(typ string, err error) {
			t.Helper()
			ce, ok := err.(*renew.ConfigError)
			if (err == nil) != (tt.field == "") || err != nil && (!ok || ce.Field != typ+"."+tt.field) {
				t.Errorf("%s: %#v, want a ConfigError of %s.%s", tt.name, err, typ, tt.field)
			}
			leaktest.Check(t, err, long.Reveal(), "https://a:b@api.armor.com")
		}
		if tt.v1 != nil {
			s := &armor.FHAuth{Username: "user", Password: renew.NewSecret("password")}
			tt.v1(s)
			check("FHAuth", s.Validate())
		}
		s := &armor.ADFS{Username: "user", Password: renew.NewSecret("password")}
		tt.v2(s)
		check("ADFS", s.Validate())
	}
}

// A password that comes from a function is judged before anything is sent.
func TestPasswordFunc(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := armortest.New(armortest.Config{})
		defer srv.Close()
		long := strings.Repeat("p", 513)
		veto := errors.New("not at night")
		for _, tt := range []struct {
			password string
			err      error
		}{{long, nil}, {"", nil}, {"", veto}, {long, errors.New("bad " + long)}} {
			f := func(context.Context) (renew.Secret, error) { return renew.NewSecret(tt.password), tt.err }
			v1, v2 := fhAuth(srv), adfs(srv)
			v1.Password, v1.PasswordFunc = renew.Secret{}, f
			v2.Password, v2.PasswordFunc = renew.Secret{}, f
			for _, src := range []armor.Source{v1, v2} {
				if err := src.Validate(); err != nil {
					t.Fatal(err)
				}
				_, err := src.Issue(t.Context())
				e, ok := err.(*renew.IssueError)
				if !ok || !e.Unsent || e.Kind != renew.Transient || tt.err == veto && !errors.Is(err, veto) {
					t.Errorf("%#v, want an unsent fault", err)
				}
				leaktest.Check(t, err, long)
			}
		}
		if calls := srv.Calls(); len(calls) != 0 {
			t.Errorf("calls %v, want none", calls)
		}
	})
}

func TestDescribe(t *testing.T) {
	v := func() uint64 { return 7 }
	d := (&armor.FHAuth{Username: "u", InputVersion: v}).Describe()
	if d.Endpoint != armor.DefaultBaseURL || d.Account != "u" || d.Interactive || d.Timeout != 0 || d.InputVersion() != 7 {
		t.Errorf("FHAuth: %+v", d)
	}
	if d := (&armor.FHAuth{MFA: true}).Describe(); !d.Interactive || d.Timeout != 2*time.Minute {
		t.Errorf("FHAuth with MFA: %+v", d)
	}
	if d := (&armor.ADFS{Username: "u", InputVersion: v}).Describe(); !d.Interactive || d.Timeout < 2*time.Minute || d.Endpoint != armor.DefaultLoginURL || d.Account != "u" || d.InputVersion() != 7 {
		t.Errorf("ADFS: %+v", d)
	}
}

// With MFA, authorize answers only when the person has approved, and the engine waits for it.
func TestFHAuthWaitsForThePerson(t *testing.T) {
	mfa := func(srv *armortest.Server) armor.Source {
		s := fhAuth(srv)
		s.MFA = true
		return s
	}
	inWorld(t, armortest.Config{}, mfa, interactive, func(w *world) {
		w.srv.Fail(armortest.Authorize, armortest.Fault{Hang: true}, 1)
		start := time.Now()
		if got := w.thing(); got != "transient" || time.Since(start) != 2*time.Minute {
			w.Errorf("nobody approves: %s after %v, want transient after 2 minutes", got, time.Since(start))
		}
	})
}

// The account is chosen once. A login that finds it gone fails, and the next one that finds it again works.
func TestAccountIsKept(t *testing.T) {
	inWorld(t, armortest.Config{Accounts: []int64{10, 20}}, nil, nil, func(w *world) {
		account := func() string {
			resp, err := w.c.Get(w.Context(), w.srv.URL()+"/thing")
			if err != nil {
				return verdict(err)
			}
			defer resp.Body.Close()
			var said struct{ Account string }
			_ = json.NewDecoder(resp.Body).Decode(&said)
			return said.Account
		}
		if _, ok := w.c.Account(); ok || len(w.c.Accounts()) != 0 {
			w.Error("there is an account before the first login")
		}
		if got := account(); got != "10" {
			w.Errorf("account %s, want the first", got)
		}
		w.srv.SetAccounts(20, 10)
		w.srv.Revoke()
		if got := account(); got != "10" {
			w.Errorf("after the order changed: %s, want 10", got)
		}
		w.srv.SetAccounts(20)
		w.srv.Revoke()
		_, err := w.c.Get(w.Context(), w.srv.URL()+"/thing")
		ae, ok := errors.AsType[*armor.AccountError](err)
		if !ok || ae.ID != 10 || !ae.Gone || !slices.Equal(ae.Valid, []int64{20}) {
			w.Errorf("gone: %v, want an AccountError that lists 20", err)
		}
		w.srv.SetAccounts(20, 10)
		w.c.TokenSource().Reset()
		if got := account(); got != "10" {
			w.Errorf("back again: %s, want 10", got)
		}
		if a, ok := w.c.Account(); !ok || a.ID != 10 || a.Name != "Account 10" || len(w.c.Accounts()) != 2 {
			w.Errorf("account %v of %v", a, w.c.Accounts())
		}
	})
}

func TestAccountNotListed(t *testing.T) {
	for id, want := range map[string]string{"2000": "ok", "0": "ok", "99": "invalid for good"} {
		source := func(srv *armortest.Server) armor.Source {
			s := fhAuth(srv)
			s.AccountID = id
			return s
		}
		inWorld(t, armortest.Config{}, source, nil, func(w *world) {
			if got := w.thing(); got != want {
				w.Errorf("account %s: %s, want %s", id, got, want)
			}
			_ = w.thing()
			if n := w.srv.Count(armortest.Authorize); n != 1 {
				w.Errorf("account %s: logins = %d, want 1", id, n)
			}
		})
	}
}

// The test server is strict: a code works once, and for two minutes; a reissued token is dead or not, as set.
func TestServerIsStrict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := armortest.New(armortest.Config{})
		defer srv.Close()
		post := func(path, media, body string) (int, map[string]any) {
			resp, err := srv.Client().Post(srv.URL()+path, media, strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			var m map[string]any
			_ = json.NewDecoder(resp.Body).Decode(&m)
			return resp.StatusCode, m
		}
		login := fmt.Sprintf(`{"UserName":%q,"PASSWORD":%q}`, armortest.DefaultUsername, armortest.DefaultPassword)
		code := func() string {
			_, m := post("/auth/authorize", "application/json", login)
			b, _ := json.Marshal(map[string]any{"code": m["code"], "grant_type": "authorization_code"})
			return string(b)
		}
		token := func(body string) int {
			status, _ := post("/auth/token", "application/json", body)
			return status
		}
		a := code()
		if got := []int{token(a), token(a)}; !slices.Equal(got, []int{200, 400}) {
			t.Errorf("a code used twice: %v", got)
		}
		b, c := code(), code()
		time.Sleep(2 * time.Minute)
		if got := token(b); got != 200 {
			t.Errorf("a code of 2 minutes: %d", got)
		}
		time.Sleep(time.Nanosecond)
		if got := token(c); got != 400 {
			t.Errorf("a code of more than 2 minutes: %d", got)
		}
		if status, _ := post("/auth/authorize", "text/plain", login); status != 415 {
			t.Errorf("not JSON by name: %d", status)
		}
		if status, _ := post("/auth/token", "application/json", "x"); status != 500 {
			t.Errorf("not JSON: %d", status)
		}
		if status, _ := post("/auth/authorize", "application/json", `{"username":"x","password":"y"}`); status != 401 {
			t.Errorf("a wrong password: %d", status)
		}
	})
}

// A reply that is cut off within is a fault that was sent, and shows nothing.
func TestFHAuthCutOff(t *testing.T) {
	src := &armor.FHAuth{Username: "u", Password: renew.NewSecret(armortest.DefaultPassword), HTTPClient: &http.Client{Transport: roundTrip(func(*http.Request) (*http.Response, error) {
		resp := respond(200, "")
		resp.Body = io.NopCloser(io.MultiReader(strings.NewReader(`{"code":"secret`), cutOff{}))
		return resp, nil
	})}}
	_, err := src.Issue(t.Context())
	e, ok := err.(*renew.IssueError)
	if !ok || e.Kind != renew.Transient || e.Unsent || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%#v, want a fault that was sent", err)
	}
	leaktest.Check(t, err, armortest.DefaultPassword, `{"code":"secret`)
}

type cutOff struct{}

func (cutOff) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }
