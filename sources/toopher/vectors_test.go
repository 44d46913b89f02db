package toopher_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/sources/internal/leaktest"
	"github.com/seed-f29168f7/renew/sources/toopher"
	"github.com/seed-f29168f7/renew/sources/toopher/internal/vectors"
)

const (
	pairingID = "0b6f4c1e-52d3-4a53-8c0a-6f2f2f9b7d31"
	requestID = "c3a0e5d4-9a0f-4f0b-8f44-5c1de0a7b9e2"
	userID    = "7d1c9a02-3b55-4f0e-9d53-0a6c3f1e2b10"
	kim       = "kim@example.test"
	cookie    = "cookie-8f2a"
)

// calls make the request of each vector, by its id.
var calls = map[string]func(ctx context.Context, c *toopher.Client) (any, error){
	"pair-phrase": func(ctx context.Context, c *toopher.Client) (any, error) { return c.Pair(ctx, "silent otter", kim) },
	"pair-phrase-extras": func(ctx context.Context, c *toopher.Client) (any, error) {
		return c.Pair(ctx, "silent otter", "kim+new@example.test", toopher.UserID(userID))
	},
	"pairing-status-enabled":          pairingStatus,
	"pairing-status-denied":           pairingStatus,
	"pairing-status-no-pending-field": pairingStatus,
	"authenticate": func(ctx context.Context, c *toopher.Client) (any, error) {
		return c.Authenticate(ctx, pairingID, "my computer", toopher.ActionName(""))
	},
	"authenticate-action-and-extras": func(ctx context.Context, c *toopher.Client) (any, error) {
		return c.Authenticate(ctx, pairingID, "my computer", toopher.ActionName("Wire €500"), toopher.TerminalNameExtra(cookie),
			toopher.AutomationAllowed(false), toopher.ChallengeRequired(true), toopher.RequesterMetadata("ref=1&x"))
	},
	"authenticate-with-otp-inline": func(ctx context.Context, c *toopher.Client) (any, error) {
		return c.Authenticate(ctx, pairingID, "my computer", toopher.OTP("492039"))
	},
	"authenticate-by-user-name-python": func(ctx context.Context, c *toopher.Client) (any, error) {
		c.EmptyFields = true
		return c.AuthenticateByUserName(ctx, kim, cookie)
	},
	"authenticate-by-user-name-lean": func(ctx context.Context, c *toopher.Client) (any, error) {
		return c.AuthenticateByUserName(ctx, kim, cookie)
	},
	"authenticate-by-user-name-action": func(ctx context.Context, c *toopher.Client) (any, error) {
		return c.AuthenticateByUserName(ctx, kim, cookie, toopher.ActionName("Change e-mail"))
	},
	"auth-status-pending":           authenticationStatus,
	"auth-status-granted":           authenticationStatus,
	"auth-status-granted-automated": authenticationStatus,
	"auth-status-denied":            authenticationStatus,
	"auth-status-unknown-fields":    authenticationStatus,
	"create-user-terminal": func(ctx context.Context, c *toopher.Client) (any, error) {
		return nil, c.CreateUserTerminal(ctx, kim, "Kim’s laptop", cookie)
	},
	"pair-qr": func(ctx context.Context, c *toopher.Client) (any, error) { return c.PairQR(ctx, kim) },
	"pair-sms": func(ctx context.Context, c *toopher.Client) (any, error) {
		return c.PairSMS(ctx, "555-0100", kim, "1")
	},
	"otp-auth": func(ctx context.Context, c *toopher.Client) (any, error) {
		return c.AuthenticateWithOTP(ctx, requestID, "492039")
	},
	// The search alone; TestSetUserEnabled has both steps.
	"user-search-by-name": raw("GET", "/users", toopher.Extra("name", "kim+a@example.test")),
	"user-disable-1.1.0":  raw("POST", "/users/"+userID, toopher.Extra("disable_toopher_auth", "true")),
	"user-enable-1.1.0":   raw("POST", "/users/"+userID, toopher.Extra("disable_toopher_auth", "false")),
	"v2-user-create":      raw("POST", "/users/create", toopher.Extra("name", kim)),
	"v2-user-get":         raw("GET", "/users/"+userID),
	"v2-user-disable":     raw("POST", "/users/"+userID, toopher.Extra("toopher_authentication_enabled", "false")),
	"v2-user-reset":       raw("POST", "/users/reset", toopher.Extra("user_name", kim)),
	"v2-authenticate-user-name": func(ctx context.Context, c *toopher.Client) (any, error) {
		body, err := c.Raw(ctx, "POST", "/authentication_requests/initiate", toopher.Extra("user_name", kim), toopher.Extra("requester_specified_terminal_id", cookie))
		if err != nil {
			return nil, err
		}
		return toopher.ParseAuthentication(body)
	},
	"v2-user-terminal-create":    raw("POST", "/user_terminals/create", toopher.Extra("user_name", kim), toopher.Extra("name", "Kim’s laptop"), toopher.Extra("name_extra", cookie)),
	"v2-user-terminal-get":       raw("GET", "/user_terminals/e2f7b6a1-1d2c-4b3a-9e8f-7a6b5c4d3e2f"),
	"v2-pairing-reset-link":      raw("POST", "/pairings/"+pairingID+"/generate_reset_link", toopher.Extra("security_question", "Pet?"), toopher.Extra("security_answer", "Rex")),
	"v2-pairing-send-reset-link": raw("POST", "/pairings/"+pairingID+"/send_reset_link", toopher.Extra("reset_email", kim)),
	"v2-pairing-qr-image":        raw("GET", "/qr/pairings/"+pairingID),
	"v2-raw-post-empty":          raw("POST", "/x"),
}

func pairingStatus(ctx context.Context, c *toopher.Client) (any, error) {
	return c.PairingStatus(ctx, pairingID)
}

func authenticationStatus(ctx context.Context, c *toopher.Client) (any, error) {
	return c.AuthenticationStatus(ctx, requestID)
}

func raw(method, path string, extra ...toopher.Field) func(context.Context, *toopher.Client) (any, error) {
	return func(ctx context.Context, c *toopher.Client) (any, error) { return c.Raw(ctx, method, path, extra...) }
}

func TestVectorEndpoints(t *testing.T) {
	f, ran := load(t), 0
	for _, v := range f.Endpoints {
		ran++
		t.Run(v.ID, func(t *testing.T) {
			call, ok := calls[v.ID]
			if !ok {
				t.Fatal("no call is known for this vector")
			}
			seconds, err := strconv.ParseInt(v.Request.OAuth.Timestamp, 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			body := v.Response.Body
			if v.Response.BodyBase64 != nil {
				body = string(v.Response.BodyBase64)
			}
			rt := &stub{status: v.Response.Status, contentType: v.Response.Headers["Content-Type"], body: body}
			c := client(rt)
			c.Key, c.Secret = v.Request.OAuth.ConsumerKey, renew.NewSecret(v.Request.OAuth.ConsumerSecret)
			c.BaseURL, c.Clock, c.Nonce = f.BaseURL, at(seconds), func() string { return v.Request.OAuth.Nonce }
			got, err := call(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			checkRequest(t, v.Request, rt.sent)
			checkParsed(t, v, got)
		})
	}
	vectors.Ran(t, "endpoints", ran, len(f.Endpoints))
	if len(calls) != len(f.Endpoints) {
		t.Errorf("calls = %d, vectors = %d", len(calls), len(f.Endpoints))
	}
}

// checkRequest compares what was sent: all of it but the order of the header's parameters and of the fields.
func checkRequest(t *testing.T, want vectors.Request, sent []sent) {
	t.Helper()
	if len(sent) != 1 {
		t.Fatalf("requests = %d, want 1", len(sent))
	}
	got, wantURL, wantBody := sent[0], want.URL, ""
	if want.Query != nil {
		wantURL = strings.TrimSuffix(want.URL, "?"+*want.Query) + "?" + *want.Query
	}
	if want.Body != nil {
		wantBody = *want.Body
	}
	if got.method != want.Method || got.url != wantURL {
		t.Errorf("sent %s %s, want %s %s", got.method, got.url, want.Method, wantURL)
	}
	if sorted(got.body) != sorted(wantBody) {
		t.Errorf("body = %s, want %s", got.body, wantBody)
	}
	if got.header.Get("Content-Type") != want.Headers["Content-Type"] {
		t.Errorf("Content-Type = %q", got.header.Get("Content-Type"))
	}
	params := make(map[string]string)
	rest, ok := strings.CutPrefix(got.header.Get("Authorization"), "OAuth ")
	for piece := range strings.SplitSeq(rest, ", ") {
		name, value, _ := strings.Cut(piece, "=")
		text, err := url.PathUnescape(strings.Trim(value, `"`))
		if err != nil {
			t.Error(err)
		}
		params[name] = text
	}
	if !ok || !reflect.DeepEqual(params, want.OAuth.Params) {
		t.Errorf("oauth parameters = %v, want %v", params, want.OAuth.Params)
	}
}

func sorted(form string) string {
	pieces := strings.Split(form, "&")
	slices.Sort(pieces)
	return strings.Join(pieces, "&")
}

// checkParsed compares what was read of a reply, field by field of the vector.
func checkParsed(t *testing.T, v vectors.Endpoint, got any) {
	t.Helper()
	var want map[string]any
	if err := json.Unmarshal(v.Parsed, &want); err != nil {
		t.Fatal(err)
	}
	var have map[string]any
	switch got := got.(type) {
	case *toopher.Pairing:
		have = map[string]any{"id": got.ID, "enabled": got.Enabled, "user_id": got.User.ID, "user_name": got.User.Name, "pending": nil}
		if got.PendingKnown {
			have["pending"] = got.Pending
		}
		if !bytes.Equal(got.Raw, []byte(v.Response.Body)) {
			t.Errorf("Raw = %s", got.Raw)
		}
	case *toopher.Authentication:
		have = map[string]any{
			"id": got.ID, "pending": got.Pending, "granted": got.Granted(), "automated": got.Automated, "reason": got.Reason,
			"terminal_id": got.Terminal.ID, "terminal_name": got.Terminal.Name, "terminal_requester_specified_id": got.Terminal.RequesterSpecifiedID,
			"reason_code": float64(got.ReasonCode), "action": map[string]any{"id": got.Action.ID, "name": got.Action.Name},
			"user": map[string]any{"id": got.User.ID, "name": got.User.Name, "toopher_authentication_enabled": got.User.Enabled && got.User.EnabledKnown},
		}
		if !bytes.Equal(got.Raw, []byte(v.Response.Body)) {
			t.Errorf("Raw = %s", got.Raw)
		}
	case []byte:
		text := v.Response.Body
		if v.Response.BodyBase64 != nil {
			text = string(v.Response.BodyBase64)
		}
		if string(got) != text {
			t.Errorf("body = %q, want %q", got, text)
		}
		return
	case nil:
	default:
		t.Fatalf("a %T", got)
	}
	for name, value := range want {
		if !reflect.DeepEqual(have[name], value) {
			t.Errorf("%s = %v, want %v", name, have[name], value)
		}
	}
}

var sentinels = map[string]error{
	"Api": nil, "UserDisabled": toopher.ErrUserDisabled, "UserUnknown": toopher.ErrUserUnknown,
	"TerminalUnknown": toopher.ErrTerminalUnknown, "PairingDeactivated": toopher.ErrPairingDeactivated,
}

// checkKind checks that err is an API error, of that kind and of no other.
func checkKind(t *testing.T, err error, kind string) *toopher.APIError {
	t.Helper()
	e, ok := errors.AsType[*toopher.APIError](err)
	if !ok || !errors.Is(err, toopher.ErrAPI) {
		t.Fatalf("err = %v (%T), want an API error", err, err)
	}
	if _, known := sentinels[kind]; !known {
		t.Fatalf("kind %q is not known", kind)
	}
	for name, sentinel := range sentinels {
		if sentinel != nil && errors.Is(err, sentinel) != (name == kind) {
			t.Errorf("errors.Is(err, %v) = %v, want %v", sentinel, errors.Is(err, sentinel), name == kind)
		}
	}
	return e
}

func TestVectorErrors(t *testing.T) {
	f, ran := load(t), 0
	for _, v := range f.Errors {
		ran++
		t.Run(v.ID, func(t *testing.T) {
			rt := &stub{status: v.Status, contentType: v.ContentType, body: v.Body}
			_, err := client(rt).AuthenticationStatus(t.Context(), requestID)
			if !v.Expect.IsAPIError {
				t.Fatal("every vector expects an API error")
			}
			e := checkKind(t, err, v.Expect.Kind)
			code, message := 0, ""
			if v.Expect.ErrorCode != nil {
				code = *v.Expect.ErrorCode
			}
			if v.Expect.Message != nil {
				message = *v.Expect.Message
			}
			if e.Code != code || e.Message != message || e.Status != v.Expect.HTTPStatus || e.Method != "GET" || e.Path != "/authentication_requests/"+requestID {
				t.Errorf("error = %+v, want code %d, message %q, status %d", e, code, message, v.Expect.HTTPStatus)
			}
			if len(rt.sent) != 1 {
				t.Errorf("requests = %d, want 1", len(rt.sent))
			}
		})
	}
	vectors.Ran(t, "errors", ran, len(f.Errors))
}

func TestVectorErrorCodes(t *testing.T) {
	f, ran := load(t), 0
	for code, kind := range f.ErrorCodes {
		ran++
		_, err := client(&stub{status: 409, body: `{"error_code": ` + code + `, "error_message": "x"}`}).PairingStatus(t.Context(), "p")
		checkKind(t, err, kind)
	}
	vectors.Ran(t, "error_codes", ran, len(f.ErrorCodes))
	ran = 0
	for _, text := range f.ErrorTexts {
		ran++
		_, err := client(&stub{status: 409, body: `{"error_code": 1, "error_message": "The ` + strings.ToUpper(text) + `!"}`}).PairingStatus(t.Context(), "p")
		checkKind(t, err, "PairingDeactivated")
	}
	vectors.Ran(t, "error_texts_meaning_pairing_deactivated", ran, len(f.ErrorTexts))
}

func TestVectorBadSuccessReplies(t *testing.T) {
	f, ran := load(t), 0
	for _, v := range f.BadSuccess.Cases {
		ran++
		t.Run(v.ID, func(t *testing.T) {
			c := client(&stub{status: v.Status, contentType: "application/json", body: v.Body})
			_, err := c.AuthenticationStatus(t.Context(), requestID)
			checkKind(t, err, v.Expect.Kind)
			a, err := c.Authenticate(t.Context(), pairingID, "my computer")
			checkKind(t, err, v.Expect.Kind)
			if a != nil {
				t.Errorf("result = %+v, want none", a)
			}
		})
	}
	vectors.Ran(t, "bad_success_replies", ran, len(f.BadSuccess.Cases))
}

func TestVectorUserSearch(t *testing.T) {
	f, ran := load(t), 0
	for _, v := range f.UserSearch {
		ran++
		rt := &stub{status: 200, body: string(v.Reply)}
		err := client(rt).SetUserEnabled(t.Context(), kim, false)
		checkKind(t, err, v.Expect)
		if !strings.Contains(err.Error(), v.MessageAbout) {
			t.Errorf("%s: err = %v, want it to say %q", v.ID, err, v.MessageAbout)
		}
		if len(rt.sent) != 1 {
			t.Errorf("%s: requests = %d, want the search alone", v.ID, len(rt.sent))
		}
	}
	vectors.Ran(t, "user_search", ran, len(f.UserSearch))
}

func TestVectorOutcomes(t *testing.T) {
	f, ran := load(t), 0
	for _, v := range f.Outcomes {
		ran++
		text, _ := json.Marshal(map[string]any{
			"id": "r", "pending": v.Pending, "granted": v.Granted, "automated": v.Automated, "reason": "",
			"terminal": map[string]string{"id": "t", "name": "n"},
		})
		a, err := toopher.ParseAuthentication(text)
		if err != nil {
			t.Fatal(err)
		}
		granted, denied := strings.HasPrefix(v.Outcome, "granted"), strings.HasPrefix(v.Outcome, "denied")
		if a.Outcome() != v.Outcome || a.Granted() != granted || a.Denied() != denied {
			t.Errorf("%+v: outcome %q, granted %v, denied %v", v, a.Outcome(), a.Granted(), a.Denied())
		}
	}
	vectors.Ran(t, "authentication_outcomes", ran, len(f.Outcomes))
	ran = 0
	for _, v := range f.PairOutcomes {
		ran++
		fields := map[string]any{"id": "p", "enabled": v.Enabled, "user": map[string]string{"id": "u", "name": "n"}}
		if v.Pending != nil {
			fields["pending"] = *v.Pending
		}
		text, _ := json.Marshal(fields)
		p, err := toopher.ParsePairing(text)
		if err != nil {
			t.Fatal(err)
		}
		if p.State().String() != v.Outcome || p.Paired() != (v.Outcome == "paired") {
			t.Errorf("%+v: state %v, paired %v", v, p.State(), p.Paired())
		}
	}
	vectors.Ran(t, "pairing_outcomes", ran, len(f.PairOutcomes))
}

func iframe(t *testing.T, now int64, ttl int, secret string) *toopher.Iframe {
	t.Helper()
	f := load(t)
	return &toopher.Iframe{
		Client: &toopher.Client{Key: f.Iframe.ConsumerKey, Secret: renew.NewSecret(secret), Clock: at(now)},
		TTL:    time.Duration(ttl) * time.Second,
	}
}

func TestVectorIframeURLs(t *testing.T) {
	f, ran := load(t), 0
	for _, v := range f.Iframe.URLs {
		ran++
		t.Run(v.ID, func(t *testing.T) {
			frame := iframe(t, v.Now, v.TTL, f.Iframe.ConsumerSecret)
			frame.Client.Nonce = func() string { return v.Nonce }
			param := make(map[string]string)
			var extra []toopher.Field
			for _, p := range v.Params {
				param[p[0]] = p[1]
				switch p[0] {
				case "username", "reset_email", "expires", "v":
				case "session_token":
				default:
					extra = append(extra, toopher.Extra(p[0], p[1]))
				}
			}
			var got string
			var err error
			switch v.Path {
			case "/web/authenticate":
				got, err = frame.AuthenticateURL(param["username"], param["reset_email"], param["session_token"], extra...)
			case "/web/pair":
				got, err = frame.PairURL(param["username"], param["reset_email"], extra...)
			case "/web/manage_user":
				got, err = frame.ManageUserURL(param["username"], param["reset_email"], extra...)
			default:
				t.Fatalf("path %s is not known", v.Path)
			}
			if err != nil {
				t.Fatal(err)
			}
			gotBase, gotQuery, _ := strings.Cut(got, "?")
			wantBase, wantQuery, _ := strings.Cut(v.SignedURL, "?")
			if gotBase != wantBase || sorted(gotQuery) != sorted(wantQuery) {
				t.Errorf("URL = %s, want %s", got, v.SignedURL)
			}
		})
	}
	vectors.Ran(t, "iframe_optional.urls", ran, len(f.Iframe.URLs))
}

func TestVectorPostbacks(t *testing.T) {
	f, ran := load(t), 0
	for _, v := range f.Iframe.Postback.Cases {
		ran++
		t.Run(v.ID, func(t *testing.T) {
			frame := iframe(t, v.Now, v.TTL, v.ConsumerSecret)
			plain, err := url.ParseQuery(v.Form)
			if err != nil {
				t.Fatal(err)
			}
			for name, value := range v.Fields {
				if plain.Get(name) != value {
					t.Errorf("field %s of the vector is not in its form", name)
				}
			}
			for name, form := range map[string]url.Values{
				"1.1.0": plain, "2.0.0": {"toopher_iframe_data": {v.Form}}, "2.0.0 README": {"iframe_postback_data": {v.Form}},
			} {
				p, err := frame.Postback(form, v.RequestToken)
				checkPostback(t, name, v, p, err)
			}
		})
	}
	vectors.Ran(t, "iframe_optional.postback.cases", ran, len(f.Iframe.Postback.Cases))
}

func checkPostback(t *testing.T, form string, v vectors.Postback, p *toopher.Postback, err error) {
	t.Helper()
	leaktest.Check(t, err, v.ConsumerSecret, v.Fields["toopher_sig"], "rt-51c0")
	switch v.Expect.Error {
	case "Signature":
		if p != nil || !errors.Is(err, toopher.ErrPostback) || errors.Is(err, toopher.ErrAPI) || errors.Is(err, toopher.ErrUserDisabled) {
			t.Errorf("%s: %+v, %v, want a refusal and nothing else", form, p, err)
		}
	case "":
		if err != nil {
			t.Errorf("%s: %v", form, err)
			return
		}
		got := map[bool]string{p.Authentication != nil: "authentication_request", p.Pairing != nil: "pairing", p.User != nil: "requester_user"}[true]
		if got != v.Expect.Result || p.Granted() != v.Expect.Granted {
			t.Errorf("%s: %s, granted %v, want %s, %v", form, got, p.Granted(), v.Expect.Result, v.Expect.Granted)
		}
	default:
		if p != nil || errors.Is(err, toopher.ErrPostback) {
			t.Errorf("%s: %+v, %v, want an API error", form, p, err)
		}
		checkKind(t, err, v.Expect.Error)
	}
}
