package migrate_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/clock"
	"github.com/seed-f29168f7/renew/sources/toopher"
	"github.com/seed-f29168f7/renew/sources/toopher/toophertest"
)

const (
	consumerKey    = "consumer key"
	consumerSecret = "consumer secret"
)

// toopherService stands for api.toopher.com, and for phones that allow what they are asked, at the first look.
func toopherService() (service *toophertest.Service, base string, stop func()) {
	service = toophertest.New(consumerKey, consumerSecret)
	service.Looks = 1
	base, stop, err := service.Start()
	check(err)
	return service, base, stop
}

// The demo, demo.py, is examples/toopher: go run ./examples/toopher. Its steps are these.
//
// Step 1: pair. In Python a pairing is true when it is enabled; ours has Paired, and State for the rest. The
// service answers no more often than it is asked: WaitForPairing asks until the phone has answered.
//
//	api = toopher.ToopherApi(consumer_key, consumer_secret, api_url=base)
//	pairing = api.pair('pairing phrase', 'username@yourservice.com')
//	status = api.get_pairing_status(pairing.id)
//	if status: ...  # also: enabled, and the user's id and name
func Example_toopherPythonPair() {
	_, base, stop := toopherService()
	defer stop()

	ctx := context.Background()
	api := &toopher.Client{Key: consumerKey, Secret: renew.NewSecret(consumerSecret), BaseURL: base} // without BaseURL: Toopher
	pairing := must(api.Pair(ctx, "pairing phrase", "username@yourservice.com"))
	fmt.Println(pairing.Paired(), pairing.State())

	status := must(api.PairingStatus(ctx, pairing.ID))
	fmt.Println(status.ID == pairing.ID, status.Paired(), status.Enabled, status.User.ID != "", status.User.Name)

	status = must(api.WaitForPairing(ctx, pairing.ID, toopher.Poll{}))
	fmt.Println(status.State())
	// Output:
	// false waiting
	// true true true true username@yourservice.com
	// paired
}

// The other ways to pair: by text message (the country is optional), and by a QR code, whose image is a call by its path.
// Version 2.0.0 has one pair for all of them, and takes a phrase with a digit in it for a number. In 1.1.0 any keyword is
// one more field; here the documented ones are functions, and Extra is any other.
//
//	api.pair_sms('555-555-5555', 'username', phone_country='1')
//	api.pair_qr('username')
//	api.pair('pairing phrase', 'username', user_id='...')
//	pairing.get_qr_code_image(api)
func Example_toopherPythonPairOtherwise() {
	service, base, stop := toopherService()
	defer stop()

	ctx := context.Background()
	api := &toopher.Client{Key: consumerKey, Secret: renew.NewSecret(consumerSecret), BaseURL: base}
	sms := must(api.PairSMS(ctx, "555-555-5555", "sms user", "1"))
	qr := must(api.PairQR(ctx, "qr user"))
	named := must(api.Pair(ctx, "pairing phrase", "new name", toopher.UserID(sms.User.ID), toopher.Extra("note", "any other")))
	fmt.Println(sms.User.Name, qr.User.Name, named.User.Name, "pairings:", service.Counts().Pairings)

	service.Fail(toophertest.Failure{Status: http.StatusOK, ContentType: "image/png", Body: "\x89PNG"})
	image := must(api.Raw(ctx, http.MethodGet, "/qr/pairings/"+url.PathEscape(qr.ID)))
	fmt.Printf("%q\n", image)
	// Output:
	// sms user qr user new name pairings: 3
	// "\x89PNG"
}

// Step 2: authenticate. In Python a status is true when it is granted, and pending plays no part; Granted means
// granted and not pending. What the reply has beside the fields is in Raw.
//
//	auth = api.authenticate(pairing_id, 'my computer', action_name='Log in',
//	                        terminal_name_extra=cookie, automation_allowed=False, challenge_required=True)
//	status = api.get_authentication_status(auth.id)
//	if not status.pending and status.granted: ...
//	status.automated, status.reason  # and the terminal's id and name; what else the reply has, by name
func Example_toopherPythonAuthenticate() {
	service, base, stop := toopherService()
	defer stop()
	service.Looks = 2
	service.Script(toophertest.Decision{Grant: true}, toophertest.Decision{Reason: "not me"}, toophertest.Decision{Grant: true, Automated: true})

	ctx := context.Background()
	api := &toopher.Client{Key: consumerKey, Secret: renew.NewSecret(consumerSecret), BaseURL: base}
	poll := toopher.Poll{Interval: time.Millisecond} // leave it out for 2 s
	pairing := must(api.Pair(ctx, "pairing phrase", "username@yourservice.com"))
	must(api.WaitForPairing(ctx, pairing.ID, poll))

	auth := must(api.Authenticate(ctx, pairing.ID, "my computer",
		toopher.ActionName("Buy a boat"),
		toopher.TerminalNameExtra("a random cookie"),
		toopher.AutomationAllowed(false),
		toopher.ChallengeRequired(true)))
	fmt.Println(auth.Pending, auth.Granted(), auth.Denied())
	status := must(api.AuthenticationStatus(ctx, auth.ID)) // once; the phone has not answered yet
	fmt.Println(status.Pending, status.Granted(), status.Outcome())
	status = must(api.WaitForAuthentication(ctx, auth.ID, poll))
	fmt.Printf("%v automated: %v %q %s %s\n", status.Outcome(), status.Automated, status.Reason, status.Terminal.Name, status.Action.Name)
	var raw struct{ Action struct{ Name string } }
	check(json.Unmarshal(status.Raw, &raw))
	fmt.Println(raw.Action.Name)

	// The terminal by Toopher's id of it instead of a name.
	auth = must(api.Authenticate(ctx, pairing.ID, "", toopher.TerminalID(status.Terminal.ID)))
	status = must(api.AuthenticationStatus(ctx, auth.ID))
	fmt.Println(status.Outcome(), "automated:", status.Automated)
	// Output:
	// true false false
	// true false undecided
	// denied automated: false "not me" my computer Buy a boat
	// Buy a boat
	// granted automatically automated: true
}

// One-time passwords: with the request, which is answered at once, or afterwards. demo_bells_and_whistles.py does the second,
// with a code that comes as a text message.
//
//	api.authenticate(pairing_id, 'my computer', otp='492039')
//	auth = api.authenticate(pairing_id, 'my computer', use_sms_inband_reply=True)
//	api.authenticate_with_otp(auth.id, input('Enter the code: '))
func Example_toopherPythonOTP() {
	_, base, stop := toopherService()
	defer stop()

	ctx := context.Background()
	api := &toopher.Client{Key: consumerKey, Secret: renew.NewSecret(consumerSecret), BaseURL: base}
	pairing := must(api.PairSMS(ctx, "555-555-5555", "username@yourservice.com", ""))
	must(api.WaitForPairing(ctx, pairing.ID, toopher.Poll{}))

	auth := must(api.Authenticate(ctx, pairing.ID, "my computer", toopher.OTP("492039")))
	fmt.Println(auth.Outcome())
	auth = must(api.Authenticate(ctx, pairing.ID, "my computer", toopher.OTP("000000")))
	fmt.Println(auth.Outcome())

	auth = must(api.Authenticate(ctx, pairing.ID, "my computer", toopher.SMSInbandReply(true)))
	fmt.Println(auth.Outcome())
	auth = must(api.AuthenticateWithOTP(ctx, auth.ID, "492039"))
	fmt.Println(auth.Outcome())
	// Output:
	// granted
	// denied
	// undecided
	// granted
}

// Zero storage, step by step as in the README. In 1.1.0 "except ToopherApiError" misses the four; here
// all of them match ErrAPI, too.
//
//	try:
//	    auth = api.authenticate_by_user_name('username', cookie, action_name='Log in')
//	except UserDisabledError: ...
//	except UserUnknownError: api.pair(phrase, 'username')
//	except TerminalUnknownError: api.create_user_terminal('username', 'my computer', cookie)
//	except PairingDeactivatedError: api.pair(phrase, 'username')
func Example_toopherPythonZeroStorage() {
	service, base, stop := toopherService()
	defer stop()

	ctx := context.Background()
	api := &toopher.Client{Key: consumerKey, Secret: renew.NewSecret(consumerSecret), BaseURL: base}
	const user, cookie = "username@yourservice.com", "a random cookie"
	var pairing *toopher.Pairing
	pair := func() {
		pairing = must(api.Pair(ctx, "pairing phrase", user))
		pairing = must(api.WaitForPairing(ctx, pairing.ID, toopher.Poll{}))
	}
	deactivated := false
	for range 6 { // the bound is the caller's, as it is in the original
		auth, err := api.AuthenticateByUserName(ctx, user, cookie, toopher.ActionName("Log in"))
		fmt.Print(errors.Is(err, toopher.ErrAPI), " ")
		switch {
		case errors.Is(err, toopher.ErrUserDisabled):
			fmt.Println("disabled: the site's own policy")
			check(api.SetUserEnabled(ctx, user, true))
		case errors.Is(err, toopher.ErrUserUnknown):
			fmt.Println("unknown user: pair")
			pair()
		case errors.Is(err, toopher.ErrTerminalUnknown):
			fmt.Println("unknown terminal: name it")
			check(api.CreateUserTerminal(ctx, user, "my computer", cookie))
		case errors.Is(err, toopher.ErrPairingDeactivated):
			fmt.Println("pairing deactivated: pair again")
			pair()
		case err != nil:
			panic(err)
		case !deactivated:
			deactivated = true
			fmt.Println(must(api.WaitForAuthentication(ctx, auth.ID, toopher.Poll{})).Outcome(), auth.Terminal.Name)
			check(api.SetUserEnabled(ctx, user, false))
			service.Deactivate(pairing.ID)
		default:
			fmt.Println(must(api.WaitForAuthentication(ctx, auth.ID, toopher.Poll{})).Outcome())
		}
	}
	// Output:
	// true unknown user: pair
	// true unknown terminal: name it
	// false granted my computer
	// true disabled: the site's own policy
	// true pairing deactivated: pair again
	// false granted
}

// The same in one call: Login does what the README leaves to the reader, in bounded rounds.
func Example_toopherPythonZeroStorageLogin() {
	_, base, stop := toopherService()
	defer stop()

	ctx := context.Background()
	api := &toopher.Client{Key: consumerKey, Secret: renew.NewSecret(consumerSecret), BaseURL: base}
	auth := must(api.Login(ctx, toopher.Login{
		UserName: "username@yourservice.com", TerminalID: "a random cookie",
		Fields: []toopher.Field{toopher.ActionName("Log in")},
		AskPhrase: func(_ context.Context, why error) (string, error) {
			fmt.Println("a phrase:", errors.Is(why, toopher.ErrUserUnknown))
			return "pairing phrase", nil
		},
		AskTerminalName: func(_ context.Context, why error) (string, error) {
			fmt.Println("a name:", errors.Is(why, toopher.ErrTerminalUnknown))
			return "my computer", nil
		},
	}))
	fmt.Println(auth.Outcome(), auth.Terminal.Name)
	// Output:
	// a phrase: true
	// a name: true
	// granted my computer
}

// Users who opt out. The search by name must find one user, in both.
//
//	api.set_toopher_enabled_for_user('username', False)
func Example_toopherPythonSetEnabled() {
	service, base, stop := toopherService()
	defer stop()

	ctx := context.Background()
	api := &toopher.Client{Key: consumerKey, Secret: renew.NewSecret(consumerSecret), BaseURL: base}
	service.AddUser("one@yourservice.com")
	service.AddUser("two@yourservice.com")
	service.AddUser("two@yourservice.com")

	check(api.SetUserEnabled(ctx, "one@yourservice.com", false))
	_, err := api.AuthenticateByUserName(ctx, "one@yourservice.com", "a random cookie")
	fmt.Println(errors.Is(err, toopher.ErrUserDisabled))
	fmt.Println(errors.Is(api.SetUserEnabled(ctx, "two@yourservice.com", true), toopher.ErrSeveralUsers))
	fmt.Println(errors.Is(api.SetUserEnabled(ctx, "nobody@yourservice.com", true), toopher.ErrNoUser))
	// Output:
	// true
	// true
	// true
}

// Errors. The original has a message; ours has code, message and status too, and a reply that is no JSON is an error with
// its status. A 401 is tried once: a POST asks a person something. The original waits for ever; ours
// 30 s (Client.Timeout), or as long as the context lasts.
//
//	try:
//	    api.pair('wrong phrase', 'username')
//	except ToopherApiError as e:
//	    print(e)
func Example_toopherPythonErrors() {
	service, base, stop := toopherService()
	defer stop()
	service.Fail(toophertest.Error(http.StatusBadRequest, 600, "The phrase is not known."), toophertest.Failure{Status: http.StatusBadGateway, ContentType: "text/html", Body: "<html>"})

	ctx := context.Background()
	api := &toopher.Client{Key: consumerKey, Secret: renew.NewSecret(consumerSecret), BaseURL: base}
	for range 2 {
		_, err := api.Pair(ctx, "wrong phrase", "username")
		e, _ := errors.AsType[*toopher.APIError](err)
		fmt.Printf("%d %d %q\n", e.Status, e.Code, e.Message)
	}
	wrong := &toopher.Client{Key: consumerKey, Secret: renew.NewSecret("another"), BaseURL: base}
	_, err := wrong.Pair(ctx, "pairing phrase", "username")
	fmt.Println(err, service.Counts().Refused)
	_, err = api.Pair(ctx, "", "username") // the original sends it
	fmt.Println(err)
	// Output:
	// 400 600 "The phrase is not known."
	// 502 0 ""
	// toopher: POST /pairings/create: 401 API error 401: Not a valid OAuth signed request (check key, secret, base URL and this machine's clock) 1
	// renew: toopher: Pair: pairing_phrase is empty: it is needed
}

// What has no call of its own here is under api.advanced in 2.0.0: Raw signs a GET or a POST to any path, and returns
// the body.
//
//	api.advanced.users.get_by_name('username')
//	api.advanced.user_terminals.get_by_id(terminal_id)
//	api.advanced.raw.post('/pairings/' + pairing_id + '/send_reset_link', reset_email=email)
func Example_toopherPythonAdvanced() {
	service, base, stop := toopherService()
	defer stop()

	ctx := context.Background()
	api := &toopher.Client{Key: consumerKey, Secret: renew.NewSecret(consumerSecret), BaseURL: base}
	service.AddUser("username")
	var users []struct{ Name string }
	check(json.Unmarshal(must(api.Raw(ctx, http.MethodGet, "/users", toopher.Extra("name", "username"))), &users))
	fmt.Println(users)
	_, err := api.Raw(ctx, http.MethodPost, "/pairings/no-such-pairing/send_reset_link", toopher.Extra("reset_email", "user@example.org"))
	fmt.Println(errors.Is(err, toopher.ErrAPI), service.Counts().Signed)
	// Output:
	// [{username}]
	// true 2
}

// The iframe's pages. Every option of auth_uri is a field; ttl is Iframe.TTL, 100 s in 1.1.0 and 5 minutes in 2.0.0 and
// in ours. Where no e-mail, token or metadata is given, 2.0.0 sends the word None; ours sends
// nothing, and wants a request token. The names in the README (auth_uri, login_uri, pair_uri, validate) and in the code
// (get_authentication_url, get_user_management_url, validate_postback) are of several versions.
//
//	iframe = toopher.ToopherIframe(key, secret, api_uri=base)
//	iframe.get_user_management_url('username', 'user@example.org', ttl=100)
//	iframe.pair_uri('username', 'user@example.org')
//	iframe.login_uri('username', 'user@example.org', request_token)
//	iframe.auth_uri('username', 'user@example.org', 'Buy a boat', False, True, request_token, 'metadata', 100)
func Example_toopherPythonIframe() {
	const base = "http://localhost:8080/v1"
	iframe := &toopher.Iframe{
		Client: &toopher.Client{Key: consumerKey, Secret: renew.NewSecret(consumerSecret), BaseURL: base, Clock: clock.NewFake(time.Unix(1418000000, 0))},
		TTL:    100 * time.Second,
	}
	const user, email = "username", "user@example.org"
	token := toopher.NewRequestToken() // into the user's session
	for _, link := range []string{
		must(iframe.ManageUserURL(user, email)),
		must(iframe.PairURL(user, email)),
		must(iframe.AuthenticateURL(user, email, token)),
		must(iframe.AuthenticateURL(user, email, token, toopher.ActionName("Buy a boat"), toopher.AutomationAllowed(false),
			toopher.ChallengeRequired(true), toopher.RequesterMetadata("metadata"), toopher.Extra("allow_inline_pairing", "false"))),
	} {
		fmt.Println(followed(link, token))
	}
	_, err := iframe.AuthenticateURL(user, email, "")
	fmt.Println(err)
	// Output:
	// /web/manage_user right v=2 ttl=100 reset_email=user@example.org username=username
	// /web/pair right v=2 ttl=100 reset_email=user@example.org username=username
	// /web/authenticate right v=2 ttl=100 reset_email=user@example.org session_token=(the token) username=username
	// /web/authenticate right v=2 ttl=100 action_name=Buy a boat allow_inline_pairing=false automation_allowed=false challenge_required=true requester_metadata=metadata reset_email=user@example.org session_token=(the token) username=username
	// renew: toopher: Iframe.AuthenticateURL: request token is empty: it is needed
}

// followed tells what Toopher would see of a link.
func followed(link, token string) string {
	r := must(http.NewRequest(http.MethodGet, link, nil))
	r.Host = r.URL.Host
	signature := "wrong"
	if _, where, err := oauth1Verify(r, "", oauth1Secrets{client: consumerSecret}); err == nil && where == "query" {
		signature = "right"
	}
	q := r.URL.Query()
	ttl := must(strconv.ParseInt(q.Get("expires"), 10, 64)) - 1418000000
	what := []string{strings.TrimPrefix(r.URL.Path, "/v1"), signature, "v=" + q.Get("v"), fmt.Sprintf("ttl=%d", ttl)}
	for _, name := range slices.Sorted(maps.Keys(q)) {
		if name != "v" && name != "expires" && !strings.HasPrefix(name, "oauth_") {
			what = append(what, strings.ReplaceAll(name+"="+q.Get(name), token, "(the token)"))
		}
	}
	return strings.Join(what, " ")
}

// The iframe's postback. 2.0.0 looks at error_code before the signature, and counts "the user has opted out" as
// granted: whoever posts error_code=704 is logged in. Ours checks the signature, then the token, then the time, and
// reads the rest after that. A postback without a request token is refused; the original skips that check.
//
//	data = iframe.validate_postback(request.POST, request_token, ttl=100)
//	data['pending'], data['granted']
//	iframe.process_postback(request.POST, request_token)    # 2.0.0
//	iframe.is_authentication_granted(request.POST, request_token)
func Example_toopherPythonPostback() {
	now := time.Unix(1418000000, 0)
	iframe := &toopher.Iframe{
		Client: &toopher.Client{Key: consumerKey, Secret: renew.NewSecret(consumerSecret), Clock: clock.NewFake(now)},
		TTL:    100 * time.Second,
		Drop:   []string{"csrf_token"}, // what the site's own framework adds
	}
	const token = "the session's request token"
	answer := url.Values{
		"resource_type": {"authentication_request"}, "id": {"request id"}, "user_name": {"username"}, "requester_metadata": {"metadata"},
		"pending": {"false"}, "granted": {"true"}, "automated": {"false"}, "session_token": {token}, "timestamp": {"1417999990"},
	}
	show := func(form url.Values, requestToken string) {
		p, err := iframe.Postback(form, requestToken)
		switch {
		case errors.Is(err, toopher.ErrPostback):
			fmt.Println("refused:", errors.Unwrap(err))
		case errors.Is(err, toopher.ErrUserDisabled):
			fmt.Println("opted out: the site's own policy")
		case err != nil:
			fmt.Println(err)
		default:
			fmt.Println("granted:", p.Granted(), p.Fields["user_name"], p.Metadata)
		}
	}
	good := postback(answer, nil)
	good.Set("csrf_token", "the site's own")
	show(good, token)
	show(postback(answer, url.Values{"granted": {"false"}}), token)
	show(url.Values{"toopher_iframe_data": {postback(answer, nil).Encode()}}, token) // 2.0.0's form
	show(postback(answer, url.Values{"error_code": {"704"}, "error_message": {"disabled"}}), token)

	show(url.Values{"error_code": {"704"}, "error_message": {"disabled"}}, token)
	forged := postback(answer, url.Values{"granted": {"false"}})
	forged.Set("granted", "true")
	show(forged, token)
	show(good, "another session's")
	show(good, "")
	show(postback(answer, url.Values{"timestamp": {"1417999900"}}), token)
	show(postback(answer, url.Values{"timestamp": {"1418000099"}}), token)
	// Output:
	// granted: true username metadata
	// granted: false username metadata
	// granted: true username metadata
	// opted out: the site's own policy
	// refused: the signature is missing or wrong
	// refused: the signature is missing or wrong
	// refused: the request token is missing or another one
	// refused: the request token is missing or another one
	// refused: the time is missing, too long ago or in the future
	// refused: the time is missing, too long ago or in the future
}

// postback is what the page posts: fields and changes, signed as Toopher does.
func postback(fields, changes url.Values) url.Values {
	form := maps.Clone(fields)
	maps.Copy(form, changes)
	mac := hmac.New(sha1.New, []byte(consumerSecret))
	mac.Write([]byte(form.Encode())) // sorted by name
	form.Set("toopher_sig", base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	return form
}
