package armor_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/sources/armor"
	"github.com/seed-f29168f7/renew/sources/armor/armortest"
	"github.com/seed-f29168f7/renew/sources/internal/leaktest"
)

// inADFS runs f in a bubble with a Server and a Source for it.
func inADFS(t *testing.T, cfg armortest.Config, f func(t *testing.T, srv *armortest.Server, src *armor.ADFS)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		srv := armortest.New(cfg)
		defer srv.Close()
		f(t, srv, adfs(srv))
	})
}

// The ways to the token, and the requests that each takes.
func TestADFSLogins(t *testing.T) {
	for _, tt := range []struct {
		name  string
		cfg   armortest.Config
		calls string
		takes time.Duration
	}{
		{"no second factor", armortest.Config{}, "login page me", 0},
		{"long post", armortest.Config{Factor: armortest.LongPost, Answers: 40 * time.Second}, "login page factor me", 40 * time.Second},
		{"polled", armortest.Config{Factor: armortest.Polled, Answers: 12 * time.Second}, "login page factor factor factor factor me", 15 * time.Second},
		{"polled, in French", armortest.Config{Factor: armortest.Polled, Words: "Identifiez-vous « ici » & <maintenant>", Number: "07"}, "login page factor me", 0},
		{"number", armortest.Config{Factor: armortest.Polled, Number: "42", Answers: 6 * time.Second}, "login page factor factor factor me", 10 * time.Second},
		{"code, long post", armortest.Config{Factor: armortest.LongPost, Code: "123456"}, "login page factor me", 0},
		{"code, polled", armortest.Config{Factor: armortest.Polled, Code: "123456"}, "login page factor me", 0},
		{"no iat", armortest.Config{NoIssuedAt: true}, "login page me", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inADFS(t, tt.cfg, func(t *testing.T, srv *armortest.Server, src *armor.ADFS) {
				var numbers []string
				src.ShowNumber = func(_ context.Context, n string) { numbers = append(numbers, n) }
				src.Code = func(context.Context) (renew.Secret, error) { return renew.NewSecret("123456"), nil }
				start := time.Now()
				tok, err := src.Issue(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if d := time.Since(start); d != tt.takes {
					t.Errorf("took %v, want %v", d, tt.takes)
				}
				if tok.Type != "Bearer" || tok.Life < time.Hour-time.Second-tt.takes || tok.Life > time.Hour+tt.takes || !tok.Expiry.Equal(start.Add(tt.takes+time.Hour)) || tok.Attr("account") != "1000" {
					t.Errorf("token %v, life %v, expiry %v", tok.Type, tok.Life, tok.Expiry)
				}
				if a, ok := src.Account(); !ok || a.ID != 1000 || len(src.Accounts()) != 2 {
					t.Errorf("account %v of %v", a, src.Accounts())
				}
				if got := strings.Join(srv.Calls(), " "); got != tt.calls {
					t.Errorf("calls %s, want %s", got, tt.calls)
				}
				if srv.TooSoon() != 0 {
					t.Errorf("polls that came too soon = %d", srv.TooSoon())
				}
				if tt.cfg.Number == "42" && !slices.Equal(numbers, []string{"42"}) {
					t.Errorf("numbers shown %v, want 42 once", numbers)
				}
			})
		})
	}
}

// The forms, as they are sent.
func TestADFSOnTheWire(t *testing.T) {
	inADFS(t, armortest.Config{Factor: armortest.LongPost}, func(t *testing.T, srv *armortest.Server, src *armor.ADFS) {
		var forms []string
		srv.Fail(armortest.Login, armortest.Fault{Header: http.Header{"Set-Cookie": {"wide=1; Path=/"}}}, 1) // /me must not get it
		src.ClientID, src.RedirectURI, src.LoginURL = "d467ba47", "https://api.armor.com/?x=y", srv.LoginURL()+"?domain_hint=a"
		src.HTTPClient = &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			var text []byte
			if r.Body != nil {
				text, _ = io.ReadAll(r.Body)
				r.Body = io.NopCloser(bytes.NewReader(text))
			}
			context, _, _ := strings.Cut(string(text), "Context=")
			forms = append(forms, fmt.Sprintf("%s %s %s %q cookie %v", r.Method, r.Header.Get("Content-Type"), r.URL.RawQuery, context, r.Header.Get("Cookie") != ""))
			return srv.Client().Transport.RoundTrip(r)
		})}
		if _, err := src.Issue(t.Context()); err != nil {
			t.Fatal(err)
		}
		const query = "client_id=d467ba47&domain_hint=a&redirect_uri=https%3A%2F%2Fapi.armor.com%2F%3Fx%3Dy&response_mode=form_post&response_type=id_token"
		want := []string{
			`POST application/x-www-form-urlencoded ` + query + ` "AuthMethod=FormsAuthentication&Password=correct+horse+battery+staple&UserName=user%40example.com" cookie false`,
			`GET  ` + query + ` "" cookie true`,
			`POST application/x-www-form-urlencoded ` + query + ` "AuthMethod=AzureMfaServerAuthentication&" cookie true`,
			`GET application/json  "" cookie false`,
		}
		if !slices.Equal(forms, want) {
			t.Errorf("got:\n%s\nwant:\n%s", strings.Join(forms, "\n"), strings.Join(want, "\n"))
		}
	})
}

// Two logins share no cookie, and a jar of the caller's is not used.
func TestADFSCookiesEndWithTheLogin(t *testing.T) {
	inADFS(t, armortest.Config{}, func(t *testing.T, srv *armortest.Server, src *armor.ADFS) {
		var first []string
		jar := &countingJar{}
		src.HTTPClient = &http.Client{
			Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
				if r.Method == http.MethodPost {
					first = append(first, r.Header.Get("Cookie"))
				}
				return srv.Client().Transport.RoundTrip(r)
			}),
			Jar: jar,
		}
		for range 2 {
			if _, err := src.Issue(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if !slices.Equal(first, []string{"", ""}) {
			t.Errorf("cookies of the first posts: %q, want none", first)
		}
		if jar.n != 0 {
			t.Errorf("uses of the caller's jar = %d, want none", jar.n)
		}
	})
}

// What ends a login without a token: the kind, the requests, and how long it takes.
func TestADFSFailures(t *testing.T) {
	page := func(body string) armortest.Fault { return armortest.Fault{Status: 200, Body: body} }
	const token = "eyJh.secretclaims.c2ln"
	input := `<input type="hidden" name="id_token" value="` + token + `">`
	jwt := func(claims string) string {
		return `<input name="id_token" value="eyJh.` + base64.RawURLEncoding.EncodeToString([]byte(claims)) + `.c2ln">`
	}
	callback := errors.New("no device")
	for _, tt := range []struct {
		name      string
		cfg       armortest.Config
		change    func(srv *armortest.Server, src *armor.ADFS)
		kind      renew.Kind
		permanent bool
		calls     string
		takes     time.Duration
		says      string
	}{
		{"wrong password", armortest.Config{Words: "falsches Kennwort"}, func(srv *armortest.Server, _ *armor.ADFS) { srv.SetPassword("x") }, renew.Refused, true, "login", 0, "wrong"},
		{"long post, denied", armortest.Config{Factor: armortest.LongPost, Answers: 9 * time.Second, Words: "отказано"}, func(srv *armortest.Server, _ *armor.ADFS) { srv.SetVerdict(armortest.Deny) }, renew.Refused, false, "login page factor", 9 * time.Second, "denied"},
		{"long post, ignored", armortest.Config{Factor: armortest.LongPost}, func(srv *armortest.Server, _ *armor.ADFS) { srv.SetVerdict(armortest.Ignore) }, renew.Transient, false, "login page factor", 2 * time.Minute, "too long"},
		{"long post, ignored for 10 s", armortest.Config{Factor: armortest.LongPost}, func(srv *armortest.Server, src *armor.ADFS) {
			srv.SetVerdict(armortest.Ignore)
			src.Timeout = 10 * time.Second
		}, renew.Transient, false, "login page factor", 10 * time.Second, "too long"},
		{"long post, the page again", armortest.Config{Factor: armortest.LongPost}, func(srv *armortest.Server, _ *armor.ADFS) {
			srv.Fail(armortest.Factored, page(`<form><input name="Context" value="c"></form>`), 1)
		}, renew.Refused, false, "login page factor", 0, "denied, or not given"},
		{"polled, denied", armortest.Config{Factor: armortest.Polled, Answers: 7 * time.Second}, func(srv *armortest.Server, _ *armor.ADFS) { srv.SetVerdict(armortest.Deny) }, renew.Refused, false, "login page factor factor factor", 10 * time.Second, "denied"},
		{"polled, ignored", armortest.Config{Factor: armortest.Polled}, func(srv *armortest.Server, src *armor.ADFS) {
			srv.SetVerdict(armortest.Ignore)
			src.Timeout = 118 * time.Second // no post is due at its end
		}, renew.Transient, false, "login page" + strings.Repeat(" factor", 24), 118 * time.Second, "too long"},
		{"polled, password asked again", armortest.Config{Factor: armortest.Polled}, func(srv *armortest.Server, _ *armor.ADFS) {
			srv.Fail(armortest.Factored, page(`<form><input name="UserName"><input name="Password"></form>`), 1)
		}, renew.Refused, false, "login page factor", 0, "again"},
		{"number without ShowNumber", armortest.Config{Factor: armortest.Polled, Number: "42", Answers: time.Hour}, nil, renew.Invalid, true, "login page factor", 0, "ShowNumber"},
		{"code without Code", armortest.Config{Factor: armortest.Polled, Code: "1"}, nil, renew.Invalid, true, "login page", 0, "ADFS.Code"},
		{"wrong code", armortest.Config{Factor: armortest.Polled, Code: "1"}, func(_ *armortest.Server, src *armor.ADFS) {
			src.Code = func(context.Context) (renew.Secret, error) { return renew.NewSecret("123456"), nil }
		}, renew.Refused, false, "login page factor", 0, "denied"},
		{"a code twice", armortest.Config{Factor: armortest.Polled, Code: "1"}, func(srv *armortest.Server, src *armor.ADFS) {
			src.Code = func(context.Context) (renew.Secret, error) { return renew.NewSecret("123456"), nil }
			srv.Fail(armortest.Factored, page(`<form><input name="Context" value="c"><input name="VerificationCode"></form>`), 1)
		}, renew.Refused, false, "login page factor", 0, "not accepted"},
		{"a code asked for later, and not accepted", armortest.Config{Factor: armortest.LongPost}, func(srv *armortest.Server, src *armor.ADFS) {
			src.Code = func(context.Context) (renew.Secret, error) { return renew.NewSecret("123456"), nil }
			srv.Fail(armortest.Factored, page(`<form><input name="Context" value="c"><input name="VerificationCode"></form>`), 2)
		}, renew.Refused, false, "login page factor factor", 0, "not accepted"},
		{"no code", armortest.Config{Factor: armortest.Polled, Code: "1"}, func(_ *armortest.Server, src *armor.ADFS) {
			src.Code = func(context.Context) (renew.Secret, error) { return renew.Secret{}, nil }
		}, renew.Transient, false, "login page", 0, "empty code"},
		{"Code fails", armortest.Config{Factor: armortest.Polled, Code: "1"}, func(_ *armortest.Server, src *armor.ADFS) {
			src.Code = func(context.Context) (renew.Secret, error) { return renew.Secret{}, callback }
		}, renew.Transient, false, "login page", 0, "no device"},
		{"Code leaks", armortest.Config{Factor: armortest.Polled, Code: "1"}, func(_ *armortest.Server, src *armor.ADFS) {
			src.Code = func(context.Context) (renew.Secret, error) {
				return renew.NewSecret("code-87654321"), errors.New("bad code-87654321")
			}
		}, renew.Transient, false, "login page", 0, "not shown"},
		{"Code hangs", armortest.Config{Factor: armortest.Polled, Code: "1"}, func(_ *armortest.Server, src *armor.ADFS) {
			src.Code = func(ctx context.Context) (renew.Secret, error) { <-ctx.Done(); return renew.Secret{}, ctx.Err() }
		}, renew.Transient, false, "login page", 2 * time.Minute, "too long"},
		{"wrong client", armortest.Config{}, func(srv *armortest.Server, _ *armor.ADFS) {
			srv.Fail(armortest.Page, page(`<form action="https://amp.armor.com/"><input name="error" value="invalid_client"></form>`), 1)
		}, renew.Refused, true, "login page", 0, "ClientID"},
		{"page without a token, in Chinese", armortest.Config{}, func(srv *armortest.Server, _ *armor.ADFS) {
			srv.Fail(armortest.Page, page(`<html><body><h1>发生错误</h1></body></html>`), 1)
		}, renew.Transient, false, "login page", 0, "neither"},
		{"two tokens", armortest.Config{}, func(srv *armortest.Server, _ *armor.ADFS) { srv.Fail(armortest.Page, page(input+input), 1) }, renew.Transient, false, "login page", 0, "more than one"},
		{"a token that is no JWT", armortest.Config{}, func(srv *armortest.Server, _ *armor.ADFS) { srv.Fail(armortest.Page, page(input), 1) }, renew.Transient, false, "login page", 0, "claims"},
		{"an expired token", armortest.Config{}, func(srv *armortest.Server, _ *armor.ADFS) {
			srv.Fail(armortest.Page, page(jwt(`{"exp":1000,"iat":2000}`)), 1)
		}, renew.Transient, false, "login page", 0, "expired"},
		{"a token with a line break", armortest.Config{}, func(srv *armortest.Server, _ *armor.ADFS) {
			srv.Fail(armortest.Page, page("<input name=id_token value='a.b\r\n.c'>"), 1)
		}, renew.Transient, false, "login page", 0, "header"},
		{"10 MB", armortest.Config{}, func(srv *armortest.Server, _ *armor.ADFS) {
			srv.Fail(armortest.Page, page(strings.Repeat("<p>x</p>", 10<<17)+input), 1)
		}, renew.Transient, false, "login page", 0, "longer than"},
		{"redirects without end", armortest.Config{}, func(srv *armortest.Server, _ *armor.ADFS) {
			srv.Fail(armortest.Page, armortest.Fault{Status: 302, Header: http.Header{"Location": {"/adfs/oauth2/authorize"}}}, -1)
		}, renew.Transient, false, "login page page page page page", 0, "too often"},
		{"token in a redirect elsewhere", armortest.Config{}, func(srv *armortest.Server, _ *armor.ADFS) {
			srv.Fail(armortest.Page, armortest.Fault{Status: 302, Header: http.Header{"Location": {"https://amp.armor.com/#id_token=" + token}}}, -1)
		}, renew.Invalid, true, "login page", 0, "another host"},
		{"401 at first", armortest.Config{}, func(srv *armortest.Server, _ *armor.ADFS) {
			srv.Fail(armortest.Login, armortest.Fault{Status: 401, Echo: true}, 1)
		}, renew.Refused, true, "login", 0, "wrong"},
		{"401 later", armortest.Config{}, func(srv *armortest.Server, _ *armor.ADFS) {
			srv.Fail(armortest.Page, armortest.Fault{Status: 401, Echo: true}, 1)
		}, renew.Refused, false, "login page", 0, "refuses"},
		{"500 at first", armortest.Config{}, func(srv *armortest.Server, _ *armor.ADFS) {
			srv.Fail(armortest.Login, armortest.Fault{Status: 500, Echo: true}, 1)
		}, renew.Transient, false, "login", 0, "500"},
		{"500 later", armortest.Config{Factor: armortest.LongPost}, func(srv *armortest.Server, _ *armor.ADFS) {
			srv.Fail(armortest.Factored, armortest.Fault{Status: 500, Echo: true}, 1)
		}, renew.Transient, false, "login page factor", 0, "answered 500"},
		{"pages without end", armortest.Config{Factor: armortest.Polled}, func(srv *armortest.Server, src *armor.ADFS) {
			srv.SetVerdict(armortest.Ignore)
			src.Timeout = time.Hour
		}, renew.Transient, false, "login page" + strings.Repeat(" factor", 59), 295 * time.Second, "more than 60 pages"},
		{"no account", armortest.Config{}, func(srv *armortest.Server, src *armor.ADFS) { src.AccountID = "77" }, renew.Invalid, true, "login page me", 0, "1000, 2000"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inADFS(t, tt.cfg, func(t *testing.T, srv *armortest.Server, src *armor.ADFS) {
				if tt.change != nil {
					tt.change(srv, src)
				}
				start := time.Now()
				tok, err := src.Issue(t.Context())
				e, ok := err.(*renew.IssueError)
				if tok != nil || !ok || e.Kind != tt.kind || e.Permanent != tt.permanent || e.Unsent || e.Source == "" || e.Host == "" || !strings.Contains(err.Error(), tt.says) {
					t.Errorf("%v, %#v (%v), want %v that says %q", tok, err, err, tt.kind, tt.says)
				}
				if got := strings.Join(srv.Calls(), " "); got != tt.calls {
					t.Errorf("calls %s, want %s", got, tt.calls)
				}
				if d := time.Since(start); d != tt.takes {
					t.Errorf("took %v, want %v", d, tt.takes)
				}
				if later := strings.HasSuffix(tt.name, "later"); later && e != nil && e.Status >= 500 {
					t.Errorf("status %d, from which the engine would read that nothing was judged", e.Status)
				}
				leaktest.Check(t, err, armortest.DefaultPassword, token, "code-87654321", "发生错误")
			})
		})
	}
}

// A caller's end of ctx ends a login within a pause and within a long post, with its cause.
func TestADFSEndsWithItsContext(t *testing.T) {
	gone := errors.New("the daemon stops")
	for _, factor := range []armortest.Factor{armortest.LongPost, armortest.Polled} {
		inADFS(t, armortest.Config{Factor: factor}, func(t *testing.T, srv *armortest.Server, src *armor.ADFS) {
			srv.SetVerdict(armortest.Ignore)
			ctx, cancel := context.WithCancelCause(t.Context())
			time.AfterFunc(7*time.Second, func() { cancel(gone) })
			start := time.Now()
			if _, err := src.Issue(ctx); !errors.Is(err, gone) || time.Since(start) != 7*time.Second {
				t.Errorf("%v after %v, want the cause after 7 s", err, time.Since(start))
			}
		})
	}
}

// countingJar counts how often it is used.
type countingJar struct{ n int }

func (j *countingJar) SetCookies(*url.URL, []*http.Cookie) { j.n++ }

func (j *countingJar) Cookies(*url.URL) []*http.Cookie { j.n++; return nil }
