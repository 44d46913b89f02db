package toopher_test

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/clock"
	"github.com/seed-f29168f7/renew/sources/internal/leaktest"
	"github.com/seed-f29168f7/renew/sources/toopher"
)

const (
	frameSecret = "iframe-secret-4"
	frameToken  = "rt-51c0"
	frameNow    = 1418000010
)

// sign signs a postback as the service does, and returns its form.
func sign(secret string, fields map[string]string) url.Values {
	var b strings.Builder
	form := make(url.Values)
	for i, name := range slices.Sorted(maps.Keys(fields)) {
		if i > 0 {
			b.WriteByte('&')
		}
		b.WriteString(url.QueryEscape(name) + "=" + url.QueryEscape(fields[name]))
		form.Set(name, fields[name])
	}
	mac := hmac.New(sha1.New, []byte(secret))
	mac.Write([]byte(b.String()))
	form.Set("toopher_sig", base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	return form
}

// granted is a postback of an answer, with changes: an empty value takes a name away.
func granted(changes map[string]string) map[string]string {
	fields := map[string]string{
		"id": "r", "pending": "false", "granted": "true", "automated": "false", "user_name": "kim",
		"session_token": frameToken, "timestamp": strconv.Itoa(frameNow - 10), "resource_type": "authentication_request",
	}
	for name, value := range changes {
		if value == "" {
			delete(fields, name)
		} else {
			fields[name] = value
		}
	}
	return fields
}

func newFrame() *toopher.Iframe {
	return &toopher.Iframe{Client: &toopher.Client{Key: "iframe-key-3", Secret: renew.NewSecret(frameSecret), Clock: at(frameNow)}}
}

// The one rule that everything else rests on: before the signature holds, nothing that a browser
// posted says anything, least of all an error code that means opted out.
func TestToopher_SignatureIsCheckedFirst(t *testing.T) {
	f := newFrame()
	signed := sign(frameSecret, granted(map[string]string{"error_code": "704", "error_message": "The user has disabled Toopher."}))
	if _, err := f.Postback(signed, frameToken); !errors.Is(err, toopher.ErrUserDisabled) || errors.Is(err, toopher.ErrPostback) {
		t.Fatalf("signed: %v, want the user's opt-out", err)
	}
	forge := func(change func(url.Values)) url.Values {
		form := maps.Clone(signed)
		change(form)
		return form
	}
	for name, form := range map[string]url.Values{
		"unsigned":              forge(func(v url.Values) { v.Del("toopher_sig") }),
		"empty signature":       forge(func(v url.Values) { v.Set("toopher_sig", "") }),
		"wrong signature":       forge(func(v url.Values) { v.Set("toopher_sig", "AAAAAAAAAAAAAAAAAAAAAAAAAAA=") }),
		"another secret":        sign("another", granted(map[string]string{"error_code": "704"})),
		"key with an ampersand": sign(frameSecret+"&", granted(map[string]string{"error_code": "704"})),
		"code alone":            {"error_code": {"704"}},
		"code and message":      {"error_code": {"704"}, "error_message": {"x"}, "session_token": {frameToken}, "timestamp": {strconv.Itoa(frameNow)}},
		"code added":            forge(func(v url.Values) { v.Set("error_code", "705") }),
		"code by the data":      {"toopher_iframe_data": {"error_code=704"}},
		"code beside the data":  {"toopher_iframe_data": {sign("another", granted(nil)).Encode()}, "error_code": {"704"}},
		"nothing":               {},
	} {
		p, err := f.Postback(form, frameToken)
		if p != nil || !errors.Is(err, toopher.ErrPostbackSignature) || errors.Is(err, toopher.ErrAPI) || errors.Is(err, toopher.ErrUserDisabled) {
			t.Errorf("%s: %+v, %v, want a refused signature and nothing else", name, p, err)
		}
	}
}

// Each check comes before the next: what fails several is told the first.
func TestToopher_OrderOfTheChecks(t *testing.T) {
	f := newFrame()
	old := map[string]string{"timestamp": "1400000000", "session_token": "other", "error_code": "704", "resource_type": "x"}
	for _, tt := range []struct {
		name string
		form url.Values
		want error
	}{
		{"all wrong", sign("another", granted(old)), toopher.ErrPostbackSignature},
		{"token, time, code", sign(frameSecret, granted(old)), toopher.ErrPostbackToken},
		{"time, code", sign(frameSecret, granted(map[string]string{"timestamp": "1400000000", "error_code": "704"})), toopher.ErrPostbackTime},
		{"code, type", sign(frameSecret, granted(map[string]string{"error_code": "704", "resource_type": "x"})), toopher.ErrUserDisabled},
		{"type", sign(frameSecret, granted(map[string]string{"resource_type": "x"})), toopher.ErrAPI},
	} {
		p, err := f.Postback(tt.form, frameToken)
		if p != nil || !errors.Is(err, tt.want) {
			t.Errorf("%s: %+v, %v, want %v", tt.name, p, err, tt.want)
		}
		leaktest.Check(t, err, frameSecret, frameToken, tt.form.Get("toopher_sig"))
	}
}

func TestRequestToken(t *testing.T) {
	f := newFrame()
	for _, tt := range []struct{ session, posted string }{{"", frameToken}, {"", ""}, {"other", frameToken}, {frameToken, ""}, {frameToken + "x", frameToken}} {
		form := sign(frameSecret, granted(map[string]string{"session_token": tt.posted}))
		if p, err := f.Postback(form, tt.session); p != nil || !errors.Is(err, toopher.ErrPostbackToken) || !errors.Is(err, toopher.ErrPostback) {
			t.Errorf("session %q, posted %q: %v", tt.session, tt.posted, err)
		}
	}
	// An empty one that is there and signed.
	fields := granted(nil)
	fields["session_token"] = ""
	if _, err := f.Postback(sign(frameSecret, fields), ""); !errors.Is(err, toopher.ErrPostbackToken) {
		t.Errorf("both empty: %v", err)
	}
	if a, b := toopher.NewRequestToken(), toopher.NewRequestToken(); a == b || len(a) < 22 {
		t.Errorf("request tokens %q, %q", a, b)
	}
}

func TestPostbackTime(t *testing.T) {
	for _, tt := range []struct {
		made      string
		ttl, skew time.Duration
		ok        bool
	}{
		{"1418000010", 0, 0, true},
		{"1417999711", 0, 0, true}, // 299 s
		{"1417999710", 0, 0, false},
		{"1417999911", 100 * time.Second, 0, true},
		{"1417999910", 100 * time.Second, 0, false},
		{"1418000040", 0, 0, true}, // 30 s ahead
		{"1418000041", 0, 0, false},
		{"1418000011", 0, -1, false},
		{"1418000010", 0, -1, true},
		{"1418000110", 0, 100 * time.Second, true},
		{"1418003600", 0, 0, false},
		{"", 0, 0, false},
		{"-1418000010", 0, 0, false},
		{"+1418000010", 0, 0, false},
		{"1418000010.0", 0, 0, false},
		{"1418000010 ", 0, 0, false},
		{"0x54848", 0, 0, false},
		{"now", 0, 0, false},
		{"999999999999", 0, 0, false},
		{"9223372036854775807", 0, 0, false},
		{"92233720368547758070", 0, 0, false},
		{"00000000001418000010", 0, 0, false},
	} {
		f := newFrame()
		f.TTL, f.Skew = tt.ttl, tt.skew
		p, err := f.Postback(sign(frameSecret, granted(map[string]string{"timestamp": tt.made})), frameToken)
		if ok := err == nil && p.Granted(); ok != tt.ok || !ok && !errors.Is(err, toopher.ErrPostbackTime) {
			t.Errorf("made at %q, TTL %v, Skew %v: %v, want ok %v", tt.made, tt.ttl, tt.skew, err, tt.ok)
		}
	}
}

func TestPostbackFields(t *testing.T) {
	f := newFrame()
	good := sign(frameSecret, granted(map[string]string{
		"requester_metadata": "a=b&c", "reason": "Because ~*", "reason_code": "100", "terminal_id": "t", "terminal_name": "pc",
		"terminal_requester_specified_id": cookie, "pairing_user_id": "u", "user_toopher_authentication_enabled": "true", "action_id": "a", "action_name": "Log In",
	}))
	p, err := f.Postback(good, frameToken)
	if err != nil {
		t.Fatal(err)
	}
	want := toopher.Authentication{
		ID: "r", Reason: "Because ~*", ReasonCode: 100, Terminal: toopher.Terminal{ID: "t", Name: "pc", RequesterSpecifiedID: cookie},
		Action: toopher.Action{ID: "a", Name: "Log In"}, User: toopher.User{ID: "u", Name: "kim", Enabled: true, EnabledKnown: true},
	}
	a := p.Authentication
	if !a.Granted() || a.ID != want.ID || a.Reason != want.Reason || a.ReasonCode != want.ReasonCode || a.Terminal != want.Terminal || a.Action != want.Action || a.User != want.User || p.Metadata != "a=b&c" {
		t.Errorf("%+v", a)
	}
	if _, ok := p.Fields["toopher_sig"]; ok || p.Fields["terminal_name"] != "pc" {
		t.Errorf("fields = %v", p.Fields)
	}
	// The first value wins, here and for who signs.
	twice := maps.Clone(good)
	twice["granted"] = []string{"true", "false"}
	if p, err := f.Postback(twice, frameToken); err != nil || !p.Granted() {
		t.Errorf("a second value: %v", err)
	}
	twice["granted"] = []string{"false", "true"}
	if _, err := f.Postback(twice, frameToken); !errors.Is(err, toopher.ErrPostbackSignature) {
		t.Errorf("another first value: %v", err)
	}
	for name, change := range map[string]map[string]string{
		"no id":             {"id": ""},
		"no granted":        {"granted": ""},
		"True":              {"granted": "True"},
		"1":                 {"granted": "1"},
		"no pending":        {"pending": ""},
		"no automated":      {"automated": ""},
		"no type":           {"resource_type": ""},
		"pairing without":   {"resource_type": "pairing"},
		"user without":      {"resource_type": "requester_user"},
		"pairing's pending": {"resource_type": "pairing", "enabled": "true", "pending": "no"},
		"error text alone":  {"error_message": "x"},
		"error code 0":      {"error_code": "0"},
		"error code x":      {"error_code": "x"},
	} {
		p, err := f.Postback(sign(frameSecret, granted(change)), frameToken)
		if p != nil {
			t.Errorf("%s: %+v", name, p)
		}
		checkKind(t, err, "Api")
	}
	// Pending and granted is no grant.
	if p, err := f.Postback(sign(frameSecret, granted(map[string]string{"pending": "true"})), frameToken); err != nil || p.Granted() {
		t.Errorf("pending and granted: %v", err)
	}
	if p, err := f.Postback(sign(frameSecret, granted(map[string]string{"resource_type": "pairing", "enabled": "true", "pending": "true"})), frameToken); err != nil || p.Pairing.Paired() || p.Granted() {
		t.Errorf("a pending pairing: %v", err)
	}
	if _, err := f.Postback(url.Values{"toopher_iframe_data": {"a=%zz"}}, frameToken); !errors.Is(err, toopher.ErrPostbackForm) {
		t.Errorf("data that is no form: %v", err)
	}
	if _, err := f.Postback(url.Values{"toopher_iframe_data": {strings.Repeat("a", 1<<20+1)}}, frameToken); !errors.Is(err, toopher.ErrPostbackForm) {
		t.Errorf("long data: %v", err)
	}
}

func TestPostbackDrops(t *testing.T) {
	f := newFrame()
	form := sign(frameSecret, granted(nil))
	form.Set("csrf_token", "x")
	if _, err := f.Postback(form, frameToken); !errors.Is(err, toopher.ErrPostbackSignature) {
		t.Errorf("a field of the framework: %v", err)
	}
	f.Drop = []string{"csrf_token"}
	p, err := f.Postback(form, frameToken)
	if err != nil || !p.Granted() || p.Fields["csrf_token"] != "" {
		t.Errorf("dropped: %+v, %v", p, err)
	}
	for _, name := range []string{"toopher_sig", "timestamp", "session_token", "error_code", "granted", "pending", "resource_type"} {
		f.Drop = []string{name}
		isConfig(t, name, f.Validate())
		_, err := f.Postback(form, frameToken)
		isConfig(t, name, err)
	}
}

func TestIframeURLArguments(t *testing.T) {
	f := newFrame()
	url1 := func(user, token string, extra ...toopher.Field) error {
		_, err := f.AuthenticateURL(user, "", token, extra...)
		return err
	}
	url2 := func(extra ...toopher.Field) error { _, err := f.PairURL("kim", "", extra...); return err }
	_, err := f.ManageUserURL("", "")
	x := toopher.Extra
	for what, err := range map[string]error{
		"no user": err, "no user to authenticate": url1("", frameToken), "no request token": url1("kim", ""),
		"overrides the token": url1("kim", frameToken, x("session_token", "y")), "overrides the user": url1("kim", frameToken, x("username", "eve")),
		"overrides expires": url2(x("expires", "9999999999")), "overrides v": url2(x("v", "1")), "oauth_": url2(x("oauth_token", "t")),
		"reset e-mail": url2(x("reset_email", "eve@example.test")),
	} {
		isConfig(t, what, err)
	}
	for _, ttl := range []time.Duration{-1, time.Millisecond, time.Second - 1} {
		f := newFrame()
		f.TTL = ttl
		_, err := f.PairURL("kim", "")
		isConfig(t, ttl.String(), err)
	}
	var none *toopher.Iframe
	isConfig(t, "nil", none.Validate())
	isConfig(t, "no client", (&toopher.Iframe{}).Validate())
}

func TestIframeURL(t *testing.T) {
	f := newFrame()
	f.Client.BaseURL = "http://localhost:9/v1/"
	text, err := f.AuthenticateURL("kim", "", frameToken, toopher.ActionName(""), toopher.AutomationAllowed(false))
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	if u.Host != "localhost:9" || u.Path != "/v1/web/authenticate" || q.Get("expires") != strconv.Itoa(frameNow+300) || q.Get("v") != "2" ||
		q.Has("action_name") || q.Get("automation_allowed") != "false" || !q.Has("reset_email") || q.Get("oauth_signature") == "" || q.Has("oauth_token") {
		t.Errorf("URL = %s", text)
	}
	again, _ := f.AuthenticateURL("kim", "", frameToken)
	if v, _ := url.Parse(again); v.Query().Get("oauth_nonce") == q.Get("oauth_nonce") {
		t.Error("two URLs have one nonce")
	}
	if strings.Contains(text, frameSecret) {
		t.Error("the URL has the secret")
	}
}

// The clock that the system's Real is by default.
func TestPostbackOfNow(t *testing.T) {
	f := newFrame()
	f.Client.Clock = nil
	now := strconv.FormatInt(clock.Real{}.Now().Wall.Unix(), 10)
	if p, err := f.Postback(sign(frameSecret, granted(map[string]string{"timestamp": now})), frameToken); err != nil || !p.Granted() {
		t.Errorf("%+v, %v", p, err)
	}
}
