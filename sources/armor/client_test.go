package armor_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/budget"
	"github.com/seed-f29168f7/renew/sources/armor"
	"github.com/seed-f29168f7/renew/sources/armor/armortest"
	"github.com/seed-f29168f7/renew/sources/internal/leaktest"
)

// Options that cannot work are refused by New, before any traffic.
func TestNewRefuses(t *testing.T) {
	v1 := func() armor.Source { return &armor.FHAuth{Username: "u", Password: renew.NewSecret("p")} }
	v2 := func() armor.Source { return &armor.ADFS{Username: "u", Password: renew.NewSecret("p")} }
	for _, tt := range []struct {
		name  string
		o     armor.Options
		field string
	}{
		{"no source", armor.Options{}, "Options.Source"},
		{"nil source", armor.Options{Source: (*armor.ADFS)(nil)}, "Options.Source"},
		{"bad source", armor.Options{Source: &armor.FHAuth{Username: "u", Password: renew.NewSecret(strings.Repeat("p", 513))}}, "FHAuth.Password"},
		{"account", armor.Options{Source: &armor.FHAuth{Username: "u", Password: renew.NewSecret("p"), AccountID: "abc"}}, "FHAuth.AccountID"},
		{"retries401 of -1", armor.Options{Source: v1(), Retries401: -1}, "Options.Retries401"},
		{"retries401 of 101", armor.Options{Source: v1(), Retries401: 101}, "Options.Retries401"},
		{"two budgets", armor.Options{Source: v1(), Retries401: 4, Config: renew.Config{Budget: &budget.Budget{}}}, "Options.Retries401"},
		{"not interactive", armor.Options{Source: v2()}, "Options.Config.Interactive"},
		{"MFA, not interactive", armor.Options{Source: &armor.FHAuth{Username: "u", Password: renew.NewSecret("p"), MFA: true}}, "Options.Config.Interactive"},
		{"plain host", armor.Options{Source: v1(), Hosts: []string{"http://api.armor.com"}}, "TransportConfig.Origins[0]"},
		{"host with a path", armor.Options{Source: v1(), Hosts: []string{"api.armor.com/x"}}, "TransportConfig.Origins[0]"},
		{"wildcard", armor.Options{Source: v1(), Hosts: []string{"*.armor.com"}}, "TransportConfig.Origins[0]"},
		{"empty host", armor.Options{Source: v1(), Hosts: []string{""}}, "Options.Hosts[0]"},
		{"Authorization for ever", armor.Options{Source: v1(), Header: http.Header{"authorization": {"x"}}}, "Options.Header"},
		{"account for ever", armor.Options{Source: v1(), Header: http.Header{"x-account-context": {"5"}}}, "Options.Header"},
		{"bad name", armor.Options{Source: v1(), Header: http.Header{"a b": {"x"}}}, "Options.Header"},
		{"one name twice", armor.Options{Source: v1(), Header: http.Header{"range": {"x"}, "Range": {"y"}}}, "Options.Header"},
		{"bad config", armor.Options{Source: v1(), Config: renew.Config{FlightTimeout: -1}}, "Config.FlightTimeout"},
	} {
		c, err := armor.New(tt.o)
		ce, ok := err.(*renew.ConfigError)
		if c != nil || !ok || ce.Field != tt.field {
			t.Errorf("%s: %#v, want a ConfigError of %s", tt.name, err, tt.field)
		}
	}
	_, err := armor.New(armor.Options{Source: v2(), Config: renew.Config{Interactive: true, ReissueEvery: time.Minute}})
	if _, ok := err.(*armor.NoReissueError); !ok || !errors.Is(err, armor.ErrNoReissue) || !strings.Contains(err.Error(), "ReissueEvery") {
		t.Errorf("a reissue asked of v2: %#v, want a NoReissueError", err)
	}
	for _, n := range []int{0, 1, 100} {
		c, err := armor.New(armor.Options{Source: v1(), Retries401: n})
		if err != nil {
			t.Fatalf("retries401 of %d: %v", n, err)
		}
		want := n
		if n == 0 {
			want = 4
		}
		if left := c.TokenSource().Status().BudgetLeft; left != want {
			t.Errorf("retries401 of %d: units = %d, want %d", n, left, want)
		}
		_ = c.Close(t.Context())
	}
}

// What a request sends: methods, bodies and headers, and what wins over what.
func TestRequests(t *testing.T) {
	own := renew.NewSecret("Bearer own-token-12345,assertion")
	for _, tt := range []struct {
		name   string
		req    armor.Request
		method string
		body   string
		header map[string]string // "-" for a header that must not be there
		login  bool
	}{
		{"GET", armor.Request{}, "GET", "", map[string]string{"Accept": "application/json", "Content-Type": "application/json", "X-Account-Context": "1000", "Range": "entities=0-10; max=10"}, true},
		{"lower case", armor.Request{Method: "delete"}, "DELETE", "", nil, true},
		{"any method", armor.Request{Method: "Patch", Data: []int{1}}, "PATCH", `[1]`, nil, true},
		{"object", armor.Request{Method: "POST", Data: map[string]any{"a": `"<&>`, "b": nil}}, "POST", `{"a":"\"\u003c\u0026\u003e","b":null}`, nil, true},
		{"null", armor.Request{Method: "POST", Data: armor.Null}, "POST", "null", nil, true},
		{"body of a GET", armor.Request{Data: map[string]int{}}, "GET", "{}", nil, true},
		{"zero", armor.Request{Method: "PUT", Data: 0}, "PUT", "0", nil, true},
		{"the call's value wins", armor.Request{Header: http.Header{"range": {"x"}, "ACCEPT": {"text/csv"}}}, "GET", "", map[string]string{"Range": "x", "Accept": "text/csv"}, true},
		{"nil drops", armor.Request{Header: http.Header{"RANGE": nil, "content-type": {}}}, "GET", "", map[string]string{"Range": "-", "Content-Type": "-", "Accept": "application/json"}, true},
		{"another account", armor.Request{Header: http.Header{"x-account-context": {"2000"}}}, "GET", "", map[string]string{"X-Account-Context": "2000"}, true},
		{"no account", armor.Request{Header: http.Header{"X-ACCOUNT-CONTEXT": nil}}, "GET", "", map[string]string{"X-Account-Context": "-"}, true},
		{"own token", armor.Request{Header: http.Header{"authorization": {own.Reveal()}}}, "GET", "", map[string]string{"Authorization": own.Reveal(), "X-Account-Context": "1000"}, true},
		{"no token", armor.Request{Header: http.Header{"AUTHORIZATION": nil}}, "GET", "", map[string]string{"Authorization": "-", "X-Account-Context": "1000"}, true},
		{"own token and account", armor.Request{Header: http.Header{"Authorization": {"x"}, "X-Account-Context": {"7"}}}, "GET", "", map[string]string{"Authorization": "x", "X-Account-Context": "7"}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got *http.Request
			inWorld(t, armortest.Config{}, nil, func(o *armor.Options) {
				base := o.Transport
				o.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
					got = r
					return base.RoundTrip(r)
				})
				o.Header = http.Header{"range": {"entities=0-10; max=10"}}
			}, func(w *world) {
				before := fmt.Sprint(tt.req)
				tt.req.URL = w.srv.URL() + "/a/b?c=d"
				resp, err := w.c.Do(w.Context(), tt.req)
				_, refused := errors.AsType[*armor.StatusError](err)
				_, own := tt.header["Authorization"]
				if (err != nil) != own || err != nil && !refused {
					w.Fatalf("Do: %v", err)
				}
				if err == nil {
					_ = resp.Body.Close()
				}
				reqs := w.srv.Requests()
				if len(reqs) != 1 || reqs[0].Method != tt.method || reqs[0].Body != tt.body || reqs[0].Query != "c=d" || reqs[0].Path != "/a/b" {
					w.Errorf("the server got %+v", reqs)
				}
				for name, want := range tt.header {
					if values, text := got.Header.Values(name), strings.Join(got.Header.Values(name), "|"); text != want && (want != "-" || len(values) > 0) {
						w.Errorf("%s = %q, want %q", name, values, want)
					}
				}
				if login := w.srv.Count(armortest.Authorize) > 0; login != tt.login {
					w.Errorf("logged in: %v, want %v", login, tt.login)
				}
				tt.req.URL = ""
				if after := fmt.Sprint(tt.req); after != before {
					w.Errorf("the caller's request was written to: %s", after)
				}
				// Nothing of the call sticks.
				if resp, err := w.c.Get(w.Context(), w.srv.URL()+"/x"); err == nil {
					_ = resp.Body.Close()
				}
				if got.Header.Get("Range") != "entities=0-10; max=10" || got.Header.Get("X-Account-Context") != "1000" || !strings.HasPrefix(got.Header.Get("Authorization"), "FH-AUTH ") {
					w.Errorf("the next call sends %v", got.Header)
				}
			})
		})
	}
}

// Requests that cannot be sent, or may not, are refused without traffic and without a login.
func TestRequestsThatAreNotSent(t *testing.T) {
	inWorld(t, armortest.Config{}, nil, nil, func(w *world) {
		for _, tt := range []struct {
			name string
			req  armor.Request
			want string // the field of a ConfigError, or "host"
		}{
			{"no URL", armor.Request{}, "Request.URL"},
			{"no URL at all", armor.Request{URL: "http://[::1"}, "Request.URL"},
			{"user in the URL", armor.Request{URL: "https://secret:word@api.armor.com/"}, "Request.URL"},
			{"method", armor.Request{URL: w.srv.URL(), Method: "G T"}, "Request.Method"},
			{"data", armor.Request{URL: w.srv.URL(), Data: make(chan int)}, "Request.Data"},
			{"data that says too much", armor.Request{URL: w.srv.URL(), Data: leaky{}}, "Request.Data"},
			{"header twice", armor.Request{URL: w.srv.URL(), Header: http.Header{"a": nil, "A": nil}}, "Request.Header"},
			{"Host", armor.Request{URL: w.srv.URL(), Header: http.Header{"Host": {"evil.example"}}}, "Request.Header"},
			{"other host", armor.Request{URL: "https://evil.example/?q=secret-query"}, "host"},
			{"longer host", armor.Request{URL: "https://api.armor.com.evil.example/"}, "host"},
			{"host below", armor.Request{URL: "https://x.api.armor.com/"}, "host"},
			{"plain http", armor.Request{URL: "http://api.armor.com/"}, "host"},
			{"other port", armor.Request{URL: "https://api.armor.com:8443/"}, "host"},
			{"not http", armor.Request{URL: "file:///etc/passwd"}, "host"},
			{"own token to another host", armor.Request{URL: "https://evil.example/", Header: http.Header{"Authorization": {"own-token-12345"}, "X-Account-Context": nil}}, "host"},
			{"no host", armor.Request{URL: "/me"}, "host"},
		} {
			_, err := w.c.Do(w.Context(), tt.req)
			ce, _ := errors.AsType[*renew.ConfigError](err)
			oe, _ := errors.AsType[*renew.OriginError](err)
			if tt.want == "host" && oe == nil || tt.want != "host" && (ce == nil || ce.Field != tt.want) {
				w.Errorf("%s: %#v, want %s", tt.name, err, tt.want)
			}
			leaktest.Check(w, err, "secret-query", "secret:word", "own-token-12345", "said-too-much")
		}
		if calls := w.srv.Calls(); len(calls) != 0 {
			w.Errorf("calls %v, want none", calls)
		}
	})
}

type leaky struct{}

func (leaky) MarshalJSON() ([]byte, error) { return nil, errors.New("said-too-much") }

// The hosts of Armor are allowed by default; Hosts adds to them or narrows them.
func TestHosts(t *testing.T) {
	urls := func() (out []string) {
		for _, h := range armor.DefaultHosts() {
			out = append(out, "https://"+h+"/x", "https://"+strings.ToUpper(h)+":443/x")
		}
		return out
	}
	for _, tt := range []struct {
		name     string
		hosts    []string
		good     []string
		bad      []string
		plain    []string
		wantGood int
	}{
		{"default", nil, urls(), []string{"https://other.example/"}, nil, 22},
		{"more", append(armor.DefaultHosts(), "other.example:8443"), append(urls(), "https://other.example:8443/"), []string{"https://other.example/"}, nil, 23},
		{"fewer", []string{"api.armor.com"}, []string{"https://api.armor.com/"}, []string{"https://amp.armor.com/"}, nil, 1},
		{"none but the base", []string{}, []string{"https://api.armor.com/"}, []string{"https://amp.armor.com/"}, nil, 1},
		{"plain", []string{"http://10.0.0.7:80"}, []string{"http://10.0.0.7/"}, []string{"https://10.0.0.7/"}, []string{"http://10.0.0.7"}, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var reached []string
			c, err := armor.New(armor.Options{
				Source: &armor.FHAuth{Username: "u", Password: renew.NewSecret("p"), HTTPClient: &http.Client{Transport: roundTrip(fakeLogin)}},
				Hosts:  tt.hosts, AllowPlaintext: tt.plain,
				Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
					reached = append(reached, r.URL.String())
					return respond(200, "{}"), nil
				}),
			})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = c.Close(context.Background()) }()
			for _, u := range append(slices.Clone(tt.good), tt.bad...) {
				_, err := c.Get(t.Context(), u)
				if _, refused := errors.AsType[*renew.OriginError](err); refused != slices.Contains(tt.bad, u) || err != nil && !refused {
					t.Errorf("%s: %v", u, err)
				}
			}
			if len(reached) != tt.wantGood {
				t.Errorf("reached %d, want %d: %v", len(reached), tt.wantGood, reached)
			}
		})
	}
}

func respond(status int, body string) *http.Response {
	return &http.Response{StatusCode: status, Header: make(http.Header), Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body))}
}

// fakeLogin answers the three calls of a login.
func fakeLogin(r *http.Request) (*http.Response, error) {
	switch r.URL.Path {
	case "/auth/authorize":
		return respond(200, `{"code":"abc","success":true}`), nil
	case "/auth/token":
		return respond(200, `{"access_token":"0123456789abcdef0123456789abcdef","expires_in":15}`), nil
	}
	return respond(200, `{"accounts":[{"id":1000}]}`), nil
}

// The response comes whole, and the replay after a login has the identical body, once.
func TestR29_ArmorReplay(t *testing.T) {
	inWorld(t, armortest.Config{}, nil, nil, func(w *world) {
		if err := w.c.Login(w.Context()); err != nil {
			w.Fatal(err)
		}
		w.srv.Revoke()
		data := map[string]string{"big": strings.Repeat("x", 100_000)}
		resp, err := w.c.Do(w.Context(), armor.Request{Method: "POST", URL: w.srv.URL() + "/echo", Data: data, Header: http.Header{"Range": {"entities=0-10"}}})
		if err != nil {
			w.Fatal(err)
		}
		defer resp.Body.Close()
		want, _ := json.Marshal(data)
		var said struct{ Method, Body string }
		if err := json.NewDecoder(resp.Body).Decode(&said); err != nil || said.Method != "POST" || said.Body != string(want) {
			w.Errorf("the server says %s, %d bytes, %v", said.Method, len(said.Body), err)
		}
		if resp.StatusCode != 200 || resp.Header.Get("X-Range") != "entities=0-10" || resp.Request.URL.Path != "/echo" {
			w.Errorf("response %d, %v", resp.StatusCode, resp.Header)
		}
		reqs := w.srv.Requests()
		if len(reqs) != 2 || reqs[0].Body != reqs[1].Body || fmt.Sprint(reqs[0].Header) != fmt.Sprint(reqs[1].Header) {
			w.Errorf("requests %d, want two that are alike", len(reqs))
		}
		if n := w.srv.Count(armortest.Authorize); n != 2 {
			w.Errorf("logins = %d, want 2", n)
		}
	})
}

// An Authorization of the caller's own that is refused is no reason for a login.
func TestR22_ArmorOwnTokenRefused(t *testing.T) {
	inWorld(t, armortest.Config{}, nil, nil, func(w *world) {
		_, err := w.c.Do(w.Context(), armor.Request{URL: w.srv.URL() + "/thing", Header: http.Header{"Authorization": {"Bearer own-token-12345"}}})
		if got := verdict(err); got != "401" {
			w.Errorf("own token: %s, want 401", got)
		}
		w.play([]row{{"1 things", "ok: t"}})
		if n := w.srv.Count(armortest.Authorize); n != 1 {
			w.Errorf("logins = %d, want 1, for the account", n)
		}
	})
}

// A failed response is an error that can be read, and that shows nothing.
func TestStatusError(t *testing.T) {
	inWorld(t, armortest.Config{}, nil, nil, func(w *world) {
		fail := func(status int, f armortest.Fault) *armor.StatusError {
			f.Status = status
			w.srv.Fail(armortest.API, f, 1)
			_, err := w.c.Get(w.Context(), w.srv.URL()+"/thing?key=secret-query")
			se, ok := err.(*armor.StatusError)
			if !ok {
				w.Fatalf("%d: %#v, want a StatusError", status, err)
			}
			leaktest.Check(w, err, "secret-query", "secret-in-a-body", "secret-in-a-header")
			return se
		}
		const body = `{"ErrorCode":"E77","Message":"secret-in-a-body","Detail":null,"ReferenceId":"a1b2"}`
		se := fail(500, armortest.Fault{Body: body, Header: http.Header{"X-Secret": {"secret-in-a-header"}}})
		host := strings.TrimPrefix(w.srv.URL(), "http://")
		if got, want := se.Error(), "armor: GET "+host+": 500 Internal Server Error, code E77, reference a1b2"; got != want {
			w.Errorf("%s\nwant %s", got, want)
		}
		resp := se.Response()
		text, err := io.ReadAll(resp.Body)
		if string(text) != body || err != nil || resp.StatusCode != 500 || resp.Header.Get("X-Secret") == "" || se.Message() != "secret-in-a-body" {
			w.Errorf("the response is not whole: %q, %v", text, err)
		}
		if resp.Request.Header.Get("Authorization") != "" || resp.Request.URL.RawQuery != "key=secret-query" {
			w.Error("the response's request has a token, or no query")
		}
		if se := fail(404, armortest.Fault{Body: "<html>secret-in-a-body</html>"}); se.Code != "" || se.Message() != "" {
			w.Errorf("HTML: %v", se)
		}
		if se := fail(503, armortest.Fault{Header: http.Header{"Retry-After": {"5"}}}); se.RetryAfter != 5*time.Second {
			w.Errorf("503: %v", se.RetryAfter)
		}
		if se := fail(403, armortest.Fault{Body: strings.Repeat("x", 3<<20)}); true {
			if text, err := io.ReadAll(se.Response().Body); len(text) != 1<<20 || err != nil {
				w.Errorf("a long body: %d bytes, %v", len(text), err)
			}
		}
		// A server that repeats the token where an error code should be.
		tok, _ := w.c.TokenSource().Token(w.Context())
		se = fail(400, armortest.Fault{Echo: true})
		if se.Code != "" || se.Reference != "" {
			w.Errorf("code %q and reference %q repeat the token", se.Code, se.Reference)
		}
		leaktest.Check(w, se, tok.Value.Reveal())
	})
}

// The 401 that comes back says why there was no login.
func TestR22_ArmorThe401SaysWhy(t *testing.T) {
	inWorld(t, armortest.Config{}, nil, func(o *armor.Options) { o.Retries401 = 1 }, func(w *world) {
		w.play([]row{{"1 things", "ok: LOGIN t"}})
		w.srv.Fail(armortest.API, unauthorized, -1)
		w.play([]row{{"1 things", "401: t LOGIN t"}})
		_, err := w.c.Get(w.Context(), w.srv.URL()+"/thing")
		be, ok := errors.AsType[*renew.BudgetError](err)
		if !ok || !errors.Is(err, renew.ErrBudgetSpent) || time.Until(be.RetryAt) != 10*time.Minute || !strings.Contains(err.Error(), "401 Unauthorized: renew: failure budget spent until") {
			w.Errorf("%v, want the time of the next unit", err)
		}
	})
}

// Each Client has cookies of its own, which stay; SetHeader stays too, and can be undone.
func TestWhatStays(t *testing.T) {
	inWorld(t, armortest.Config{}, nil, nil, func(w *world) {
		w.srv.Fail(armortest.API, armortest.Fault{Header: http.Header{"Set-Cookie": {"lb=7; Path=/"}}}, 1)
		w.play([]row{{"2 things", "ok ok: LOGIN t t"}})
		if reqs := w.srv.Requests(); reqs[0].Header.Get("Cookie") != "" || reqs[1].Header.Get("Cookie") != "lb=7" {
			w.Errorf("cookies: %v", reqs)
		}
		for _, values := range [][]string{{"a"}, {"b", "c"}, nil} {
			if err := w.c.SetHeader("x-Range", values...); err != nil {
				w.Fatal(err)
			}
			_ = w.thing()
			reqs := w.srv.Requests()
			if got := reqs[len(reqs)-1].Header.Values("X-Range"); !slices.Equal(got, values) {
				w.Errorf("X-Range = %v, want %v", got, values)
			}
		}
		if err := w.c.SetHeader("Authorization", "x"); err == nil {
			w.Error("SetHeader takes Authorization")
		}
	})
}

// Many goroutines, with logins, reissues and SetHeader between them: for the race detector.
func TestConcurrentUse(t *testing.T) {
	inWorld(t, armortest.Config{}, nil, nil, func(w *world) {
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				for range 20 {
					if got := w.thing(); got != "ok" {
						w.Errorf("a call: %s", got)
					}
					_ = w.c.SetHeader("X-Number", fmt.Sprint(i))
					w.c.Accounts()
					_, _ = w.c.Account()
					time.Sleep(time.Minute)
				}
			})
		}
		wg.Wait()
		if n := w.srv.Count(armortest.Authorize); n != 1 {
			w.Errorf("logins = %d, want 1", n)
		}
	})
}

func TestR27_ArmorClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := armortest.New(armortest.Config{})
		defer srv.Close()
		c, err := armor.New(armor.Options{Source: fhAuth(srv), Transport: srv.Client().Transport})
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := c.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := c.Get(t.Context(), srv.URL()+"/thing"); !errors.Is(err, renew.ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
		if err := c.Login(t.Context()); !errors.Is(err, renew.ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	})
}

// A ctx that ends ends the call, and the error says why.
func TestDoEndsWithItsContext(t *testing.T) {
	inWorld(t, armortest.Config{}, nil, nil, func(w *world) {
		if err := w.c.Login(w.Context()); err != nil {
			w.Fatal(err)
		}
		for _, r := range []armortest.Route{armortest.API, armortest.Authorize} {
			w.srv.Revoke()
			w.srv.Fail(r, armortest.Fault{Hang: true}, -1)
			ctx, cancel := context.WithTimeout(w.Context(), 3*time.Second)
			start := time.Now()
			_, err := w.c.Get(ctx, w.srv.URL()+"/thing?key=secret-query")
			cancel()
			if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 3*time.Second {
				w.Errorf("%s hangs: %v after %v", r, err, time.Since(start))
			}
			leaktest.Check(w, err, "secret-query", armortest.DefaultPassword)
			w.srv.Heal()
			synctest.Wait()
		}
	})
}

// Nothing that can be printed shows a secret.
func TestR30_ArmorPrintsNoSecret(t *testing.T) {
	inWorld(t, armortest.Config{}, nil, nil, func(w *world) {
		resp, err := w.c.Do(w.Context(), armor.Request{Method: "POST", URL: w.srv.URL() + "/thing", Data: "own-data-12345"})
		if err != nil {
			w.Fatal(err)
		}
		_ = resp.Body.Close()
		tok, _ := w.c.TokenSource().Token(w.Context())
		secrets := []string{armortest.DefaultPassword, tok.Value.Reveal(), "own-data-12345"}
		leaktest.Check(w, resp.Request, secrets...)
		leaktest.Check(w, w.c.TokenSource().Status(), secrets...)
		var b bytes.Buffer
		fmt.Fprintf(&b, "%+v %#v", fhAuth(w.srv), adfs(w.srv))
		for _, s := range secrets {
			if strings.Contains(b.String(), s) {
				w.Errorf("the Sources print a secret")
			}
		}
	})
}

// Over real sockets, with the Client's own connections.
func TestOverLoopback(t *testing.T) {
	for name, factor := range map[string]armortest.Factor{"v1": armortest.NoFactor, "v2": armortest.LongPost} {
		t.Run(name, func(t *testing.T) {
			srv := armortest.New(armortest.Config{Factor: factor})
			defer srv.Close()
			srv.Start()
			var src armor.Source
			if factor == armortest.NoFactor {
				s := fhAuth(srv)
				s.HTTPClient, src = nil, s
			} else {
				s := adfs(srv)
				s.HTTPClient, src = nil, s
			}
			c, err := armor.New(armor.Options{Source: src, Hosts: []string{srv.URL()}, Config: renew.Config{Interactive: true}})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = c.Close(context.Background()) }()
			for range 2 {
				resp, err := c.Get(t.Context(), srv.URL()+"/thing")
				if err != nil {
					t.Fatal(err)
				}
				_ = resp.Body.Close()
				srv.Revoke()
			}
			if n := srv.Count(armortest.Me); n != 2 {
				t.Errorf("logins = %d, want 2", n)
			}
		})
	}
}
