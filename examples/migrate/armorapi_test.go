package migrate_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/clock"
	"github.com/seed-f29168f7/renew/sources/armor"
	"github.com/seed-f29168f7/renew/sources/armor/armortest"
)

const (
	username = armortest.DefaultUsername
	password = armortest.DefaultPassword
)

// armorServer stands for api.armor.com and sts.armor.com.
func armorServer(cfg armortest.Config) *armortest.Server {
	srv := armortest.New(cfg)
	srv.Start()
	return srv
}

// Version 1. The original logs in when it is made; ours at the first request that needs a token, or by
// Login. Both send authorize, token and a GET of /me.
//
//	from armorapi import *
//	aa = ArmorApi(username, password)
func Example_armorapiVersion1() {
	srv := armorServer(armortest.Config{})
	defer srv.Close()

	ctx := context.Background()
	aa := must(armor.New(armor.Options{Source: &armor.FHAuth{
		Username: username, Password: renew.NewSecret(password),
		BaseURL: srv.URL(), // not for the real one
	}}))
	defer aa.Close(ctx)

	fmt.Println("new:", srv.Calls())
	check(aa.Login(ctx))
	fmt.Println("login:", srv.Calls())
	// Output:
	// new: []
	// login: [authorize token me]
}

// Version 2, with a second factor. Config.Interactive says that a request may ask the person; no timer ever does.
// The original takes the first input of whatever page comes back for the token; ours goes by
// what the pages hold, so a denial is an error and not a bearer token.
//
//	aa = ArmorApi(username, password, auth=2)
func Example_armorapiVersion2() {
	srv := armorServer(armortest.Config{Factor: armortest.LongPost})
	defer srv.Close()

	ctx := context.Background()
	version2 := func() *armor.Client {
		return must(armor.New(armor.Options{
			Source: &armor.ADFS{
				Username: username, Password: renew.NewSecret(password),
				BaseURL: srv.URL(), LoginURL: srv.LoginURL(), // not for the real ones
			},
			Config: renew.Config{Interactive: true},
		}))
	}
	aa := version2()
	defer aa.Close(ctx)
	resp := must(aa.Get(ctx, srv.URL()+"/me"))
	fmt.Println(resp.StatusCode, len(text(resp)) > 0, "prompts:", srv.Prompts())

	srv.SetVerdict(armortest.Deny)
	denied := version2()
	defer denied.Close(ctx)
	err := denied.Login(ctx)
	e, _ := errors.AsType[*renew.IssueError](err)
	fmt.Println(e.Kind, e.Err, "prompts:", srv.Prompts())

	_, err = armor.New(armor.Options{Source: &armor.ADFS{Username: username, Password: renew.NewSecret(password)}})
	fmt.Println(err)
	// Output:
	// 200 true prompts: 1
	// refused the second factor was denied: log in again and approve it prompts: 2
	// renew: Options.Config.Interactive is false, but the Source needs a person for each login: set it to let calls ask for one
}

// The timer. Ours is built in: a Client trades its token every 10 minutes, times 0.9 to 1, for as long as it
// lives. The original's own timer fires once, and its README makes it for auth=2, where there is nothing
// to reissue; ours says so when it is made. There is no call for a reissue by hand: nobody needs to know when
// it is due.
//
//	import threading
//	timer = threading.Timer(600, aa.v1_reissue_authorisation_token)
//	timer.start()
func Example_armorapiTimer() {
	srv := armorServer(armortest.Config{})
	defer srv.Close()

	ctx := context.Background()
	reissued := make(chan bool, 3)
	aa := must(armor.New(armor.Options{
		Source: &armor.FHAuth{
			Username: username, Password: renew.NewSecret(password), BaseURL: srv.URL(),
			HTTPClient: &http.Client{Transport: hook{base: http.DefaultTransport, after: func(resp *http.Response) {
				if !strings.HasSuffix(resp.Request.URL.Path, "/reissue") {
					return
				}
				select {
				case reissued <- true:
				default: // enough
				}
			}}},
		},
		Config: renew.Config{ReissueEvery: 10 * time.Millisecond}, // leave it out for 10 minutes
	}))
	defer aa.Close(ctx)
	check(aa.Login(ctx))
	for range 3 {
		<-reissued // nobody asks for anything meanwhile
	}
	fmt.Println(srv.Calls()[:6], "logins:", srv.Count(armortest.Authorize))

	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	usual := must(armor.New(armor.Options{
		Source: &armor.FHAuth{Username: username, Password: renew.NewSecret(password), BaseURL: srv.URL()},
		Config: renew.Config{Clock: clock.NewFake(now), Rand: func() float64 { return 0.5 }},
	}))
	defer usual.Close(ctx)
	check(usual.Login(ctx))
	next := usual.TokenSource().Status()
	fmt.Println(next.Next, "after", next.NextAt.Sub(now))

	_, err := armor.New(armor.Options{
		Source: &armor.ADFS{Username: username, Password: renew.NewSecret(password)},
		Config: renew.Config{Interactive: true, ReissueEvery: armor.DefaultReissueEvery},
	})
	fmt.Println(err, errors.Is(err, armor.ErrNoReissue))
	// Output:
	// [authorize token me reissue reissue reissue] logins: 1
	// reissue after 9m30s
	// armor: an ID token of the AD FS cannot be reissued: leave Options.Config.ReissueEvery 0 or negative, or use FHAuth true
}

// Threads. Any number of goroutines use one Client, and what they find refused together is one login.
// In the original two reissues may post the same token, and a slow one overwrites a newer login's.
//
//	threads = [threading.Thread(target=aa.make_request, args=(url,)) for _ in range(20)]
func Example_armorapiThreads() {
	srv := armorServer(armortest.Config{})
	defer srv.Close()

	ctx := context.Background()
	aa := must(armor.New(armor.Options{Source: &armor.FHAuth{Username: username, Password: renew.NewSecret(password), BaseURL: srv.URL()}}))
	defer aa.Close(ctx)
	check(aa.Login(ctx))
	srv.Revoke()
	statuses := make(chan int)
	for range 20 {
		go func() {
			resp := must(aa.Get(ctx, srv.URL()+"/things"))
			text(resp)
			statuses <- resp.StatusCode
		}()
	}
	served := 0
	for range 20 {
		if <-statuses == http.StatusOK {
			served++
		}
	}
	fmt.Println("served:", served, "logins:", srv.Count(armortest.Authorize))
	// Output: served: 20 logins: 2
}

// retries401. A 401 leads to a login, at most so often in 10 minutes; then the caller gets the 401 itself, with
// the reason and the time of the next unit. The request is sent once more after the login; the original drops
// it and returns None. Its window begins anew after 10 minutes, so twice as many may pass at the
// border; ours is any window of 10 minutes.
//
//	aa = ArmorApi(username, password, retries401=2)
func Example_armorapiRetries401() {
	clk := clock.NewFake(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	srv := armorServer(armortest.Config{Clock: clk})
	defer srv.Close()
	srv.Fail(armortest.API, armortest.Fault{Status: http.StatusUnauthorized}, 5)

	ctx := context.Background()
	aa := must(armor.New(armor.Options{
		Source:     &armor.FHAuth{Username: username, Password: renew.NewSecret(password), BaseURL: srv.URL()},
		Retries401: 2, // 0 is 4, as in the original
		Config:     renew.Config{Clock: clk, ReissueEvery: -1},
	}))
	defer aa.Close(ctx)
	for range 3 {
		_, err := aa.Get(ctx, srv.URL()+"/things")
		logins := srv.Count(armortest.Authorize)
		if e, ok := errors.AsType[*armor.StatusError](err); ok {
			fmt.Println(e.Status, "logins:", logins, "budget spent:", errors.Is(err, renew.ErrBudgetSpent))
		}
		if e, ok := errors.AsType[*renew.BudgetError](err); ok {
			fmt.Println("the next one:", e.RetryAt.UTC().Format(time.TimeOnly))
		}
	}
	clk.Advance(10 * time.Minute)
	fmt.Println(must(aa.Get(ctx, srv.URL()+"/things")).StatusCode, "units:", aa.TokenSource().Status().BudgetLeft)

	_, err := armor.New(armor.Options{
		Source:     &armor.FHAuth{Username: username, Password: renew.NewSecret(password)},
		Retries401: 101,
	})
	fmt.Println(err)
	// Output:
	// 401 logins: 2 budget spent: false
	// 401 logins: 3 budget spent: false
	// 401 logins: 3 budget spent: true
	// the next one: 00:10:00
	// 200 units: 2
	// renew: Options.Retries401 is 101: it must be from 1 to 100, or 0 for 4
}

// A wrong password goes out once. The original sends it once for each of retries401 and
// once more, and locks the account.
//
//	aa = ArmorApi(username, "wrong")
func Example_armorapiWrongPassword() {
	srv := armorServer(armortest.Config{})
	defer srv.Close()

	ctx := context.Background()
	aa := must(armor.New(armor.Options{Source: &armor.FHAuth{Username: username, Password: renew.NewSecret("wrong"), BaseURL: srv.URL()}}))
	defer aa.Close(ctx)
	err := aa.Login(ctx)
	e, _ := errors.AsType[*renew.IssueError](err)
	fmt.Println(e.Kind, e.Status, "permanent:", e.Permanent, "sent:", srv.Count(armortest.Authorize))

	_, err = armor.New(armor.Options{Source: &armor.FHAuth{Username: username, Password: renew.NewSecret(strings.Repeat("x", 513))}})
	fmt.Println(err)
	// Output:
	// refused 401 permanent: true sent: 1
	// renew: FHAuth.Password has 513 bytes: at most 512 are allowed
}

// Accounts. Without one the first of the login is taken; ours keeps it when a later login lists them in another
// order. An account that is not the login's is an error with those that are; one that is no number is an error
// before any traffic, where the original finds out after the login.
//
//	aa = ArmorApi(username, password)
//	aa = ArmorApi(username, password, accountid='2000')
func Example_armorapiAccountID() {
	srv := armorServer(armortest.Config{})
	defer srv.Close()

	ctx := context.Background()
	for _, id := range []string{"", "2000", "22"} {
		aa := must(armor.New(armor.Options{Source: &armor.FHAuth{
			Username: username, Password: renew.NewSecret(password), AccountID: id, BaseURL: srv.URL(),
		}}))
		err := aa.Login(ctx)
		account, ok := aa.Account()
		fmt.Println(account.ID, ok, aa.Accounts())
		if e, ok := errors.AsType[*armor.AccountError](err); ok {
			fmt.Println(e)
		}
		check(aa.Close(ctx))
	}
	_, err := armor.New(armor.Options{Source: &armor.FHAuth{Username: username, Password: renew.NewSecret(password), AccountID: "abc"}})
	fmt.Println(err)
	// Output:
	// 1000 true [{1000 Account 1000} {2000 Account 2000}]
	// 2000 true [{1000 Account 1000} {2000 Account 2000}]
	// 0 false [{1000 Account 1000} {2000 Account 2000}]
	// armor: the account 22 is not among those of the login: set AccountID to one of 1000, 2000
	// renew: FHAuth.AccountID must be an account's number in decimal digits, or empty for the first account
}

// Requests. The original has GET, POST and PUT in any case, ours every method. The original sends the body {} where
// no data is given, also with a GET; ours sends none then, and null for Null.
//
//	aa.make_request(url)
//	aa.make_request(url, method='post', data={'key': 'value'})
//	aa.make_request(url, method='PUT', data=['a', 'b'])
//	aa.make_request(url, data=None)
func Example_armorapiMakeRequest() {
	srv := armorServer(armortest.Config{})
	defer srv.Close()

	ctx := context.Background()
	aa := must(armor.New(armor.Options{Source: &armor.FHAuth{Username: username, Password: renew.NewSecret(password), BaseURL: srv.URL()}}))
	defer aa.Close(ctx)
	url := srv.URL() + "/things"
	text(must(aa.Get(ctx, url)))
	for _, r := range []armor.Request{
		{URL: url, Method: "post", Data: map[string]string{"key": "value"}},
		{URL: url, Method: "PUT", Data: []string{"a", "b"}},
		{URL: url, Data: armor.Null},
		{URL: url, Method: "Delete"},
		{URL: url, Data: struct{}{}}, // {} as the original has it
	} {
		text(must(aa.Do(ctx, r)))
	}
	for _, r := range srv.Requests() {
		fmt.Printf("%s %q account %s\n", r.Method, r.Body, r.Header.Get("X-Account-Context"))
	}
	// Output:
	// GET "" account 1000
	// POST "{\"key\":\"value\"}" account 1000
	// PUT "[\"a\",\"b\"]" account 1000
	// GET "null" account 1000
	// DELETE "" account 1000
	// GET "{}" account 1000
}

// Headers of the session, and of one request, which win. None drops one for that request, a nil slice does so here. A
// request can have an Authorization and an account of its own, too; SetHeader takes neither.
//
//	aa.session.headers.update({'Range': 'entities=0-10; max=10'})
//	aa.make_request(url, headers={'Range': 'entities=10-20; max=10'})
//	aa.make_request(url, headers={'Range': None})
//	aa.make_request(url, headers={'X-Account-Context': '2000'})
func Example_armorapiHeaders() {
	srv := armorServer(armortest.Config{})
	defer srv.Close()

	ctx := context.Background()
	aa := must(armor.New(armor.Options{
		Source: &armor.FHAuth{Username: username, Password: renew.NewSecret(password), BaseURL: srv.URL()},
		Header: http.Header{"X-Trace": {"42"}}, // the same as SetHeader, from the start
	}))
	defer aa.Close(ctx)
	check(aa.SetHeader("Range", "entities=0-10; max=10"))
	url := srv.URL() + "/things"
	text(must(aa.Get(ctx, url)))
	for _, h := range []http.Header{
		{"range": {"entities=10-20; max=10"}},
		{"Range": nil},
		{"X-Account-Context": {"2000"}},
	} {
		text(must(aa.Do(ctx, armor.Request{URL: url, Header: h})))
	}
	for _, r := range srv.Requests() {
		fmt.Printf("%q %s %s %s\n", r.Header.Get("Range"), r.Header.Get("X-Account-Context"), r.Header.Get("X-Trace"), r.Header.Get("Accept"))
	}
	fmt.Println(aa.SetHeader("Authorization", "FH-AUTH mine"))
	// Output:
	// "entities=0-10; max=10" 1000 42 application/json
	// "entities=10-20; max=10" 1000 42 application/json
	// "" 1000 42 application/json
	// "entities=0-10; max=10" 2000 42 application/json
	// renew: SetHeader has Authorization, which the Client sets itself: give it with the one request that needs another
}

// Responses are *http.Response: status, header, and a body to be decoded and closed.
//
//	response = aa.make_request('https://api.armor.com/me')
//	response.headers['Content-Type']
//	response.json()['accounts'][0]['id']
func Example_armorapiResponse() {
	srv := armorServer(armortest.Config{})
	defer srv.Close()

	ctx := context.Background()
	aa := must(armor.New(armor.Options{Source: &armor.FHAuth{Username: username, Password: renew.NewSecret(password), BaseURL: srv.URL()}}))
	defer aa.Close(ctx)
	resp := must(aa.Get(ctx, srv.URL()+"/me"))
	defer resp.Body.Close()
	var me struct{ Accounts []struct{ ID int } }
	check(json.NewDecoder(resp.Body).Decode(&me))
	fmt.Println(resp.StatusCode, resp.Header.Get("Content-Type"), me.Accounts[0].ID)
	// Output: 200 application/json 1000
}

// Errors. A status of 400 and more is an error that has the response in it, as requests' HTTPError; it prints without
// the query of the URL. Ours waits for nothing by itself: RetryAfter says for how long to.
//
//	try:
//	    aa.make_request(url)
//	except requests.exceptions.HTTPError as e:
//	    e.response.status_code, e.response.headers, e.response.json()
func Example_armorapiErrors() {
	srv := armorServer(armortest.Config{})
	defer srv.Close()
	srv.Fail(armortest.API, armortest.Fault{Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"30"}}, Body: `{"ErrorCode":"E42","Message":"Slow down."}`}, 1)

	ctx := context.Background()
	aa := must(armor.New(armor.Options{Source: &armor.FHAuth{Username: username, Password: renew.NewSecret(password), BaseURL: srv.URL()}}))
	defer aa.Close(ctx)
	_, err := aa.Get(ctx, srv.URL()+"/things?key=private")
	if e, ok := errors.AsType[*armor.StatusError](err); ok {
		fmt.Println(e.Status, e.Code, e.Message(), e.RetryAfter, text(e.Response()))
		fmt.Println(strings.Contains(err.Error(), "private"))
	}
	// Output:
	// 429 E42 Slow down. 30s {"ErrorCode":"E42","Message":"Slow down."}
	// false
}

// Hosts. The original compares the host of a URL with a list of its own, which cannot be changed, and lets redirects
// and http through. Ours has the same list, which Options.Hosts replaces (another region's API, fewer hosts),
// wants https, and follows no redirect. Nothing is sent where a URL is refused.
//
//	aa.make_request('https://example.org/')  # ValueError: domain not on api whitelist
func Example_armorapiHosts() {
	srv := armorServer(armortest.Config{})
	defer srv.Close()
	srv.Fail(armortest.API, armortest.Fault{Status: http.StatusTemporaryRedirect, Header: http.Header{"Location": {"https://example.org/"}}}, 1)

	ctx := context.Background()
	source := func() *armor.FHAuth {
		return &armor.FHAuth{Username: username, Password: renew.NewSecret(password), BaseURL: srv.URL()}
	}
	aa := must(armor.New(armor.Options{Source: source()}))
	defer aa.Close(ctx)
	fmt.Println(len(armor.DefaultHosts()), armor.DefaultHosts()[2])
	for _, url := range []string{"https://example.org/", "http://api.armor.com/things"} {
		_, err := aa.Get(ctx, url)
		e, ok := errors.AsType[*renew.OriginError](err)
		fmt.Println(ok, e.Origin, "calls:", len(srv.Calls()))
	}
	resp := must(aa.Get(ctx, srv.URL()+"/things"))
	fmt.Println(resp.StatusCode, resp.Header.Get("Location"), text(resp), "left for another host:", srv.Count(armortest.Foreign))

	eu := must(armor.New(armor.Options{Source: source(), Hosts: []string{"api.eu.example"}}))
	defer eu.Close(ctx)
	_, err := eu.Get(ctx, "https://api.armor.com/me")
	e, _ := errors.AsType[*renew.OriginError](err)
	fmt.Println(slices.Contains(e.Allowed, "https://api.eu.example"), e.Origin)
	// Output:
	// 11 api.armor.com
	// true https://example.org calls: 0
	// true http://api.armor.com calls: 0
	// 307 https://example.org/  left for another host: 0
	// true https://api.armor.com
}

// The session. What requests' session has goes into Options.Transport (proxies, verify, cert, adapters, hooks) and
// Options.Jar (cookies); a timeout is the context's. A request of the session that goes around
// make_request is one of any http.Client over the same TokenSource: the token and the account go along.
// The original takes proxies and .netrc from the environment; ours takes neither unless the Transport does.
//
//	aa.session.proxies = {'https': 'http://proxy:3128'}
//	aa.session.hooks['response'].append(log)
//	aa.session.get(url, timeout=5, stream=True)
func Example_armorapiSession() {
	srv := armorServer(armortest.Config{})
	defer srv.Close()

	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	aa := must(armor.New(armor.Options{
		Source: &armor.FHAuth{Username: username, Password: renew.NewSecret(password), BaseURL: srv.URL()},
		Transport: hook{
			base: &http.Transport{Proxy: nil}, // http.ProxyURL(...), TLSClientConfig, ...
			after: func(resp *http.Response) {
				fmt.Println("hook:", resp.Request.Method, resp.Request.URL.Path, resp.StatusCode)
			},
		},
	}))
	defer aa.Close(ctx)
	text(must(aa.Get(ctx, srv.URL()+"/things")))

	client := must(aa.TokenSource().Client(srv.URL()))
	resp := must(client.Get(srv.URL() + "/stream"))
	fmt.Println(text(resp))
	// Output:
	// hook: GET /things 200
	// {"account":"1000","body":"","method":"GET","path":"/stream"}
}

// hook is a RoundTripper that is told of responses.
type hook struct {
	base  http.RoundTripper
	after func(*http.Response)
}

func (h hook) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := h.base.RoundTrip(req)
	if err == nil {
		h.after(resp)
	}
	return resp, err
}

// Logging. The original writes the code, tokens and all headers of the session at debug level. Ours
// writes one record for each change of state.
//
//	logging.basicConfig(level=logging.DEBUG)
func Example_armorapiLogging() {
	srv := armorServer(armortest.Config{})
	defer srv.Close()

	ctx := context.Background()
	short := &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey || a.Key == "deadline" {
			return slog.Attr{}
		}
		return a
	}}
	aa := must(armor.New(armor.Options{
		Source: &armor.FHAuth{Username: username, Password: renew.NewSecret(password), BaseURL: srv.URL()},
		Config: renew.Config{Logger: slog.New(slog.NewTextHandler(os.Stdout, short))},
	}))
	check(aa.Login(ctx))
	check(aa.Close(ctx)) // waits for what is still to be logged
	// Output:
	// level=INFO msg="renew: ready" name="" from=new to=ready generation=1
	// level=INFO msg="renew: closed" name="" from=ready to=closed generation=1
}
