package tokenendpoint

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/sources/internal/header"
	"github.com/seed-f29168f7/renew/sources/internal/leaktest"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestExpiresIn(t *testing.T) {
	const centuries = MaxLife
	for _, tt := range []struct {
		in   string // the member's JSON, or empty for none
		want time.Duration
		ok   bool
	}{
		{``, 0, true},
		{`null`, 0, true},
		{`3600`, time.Hour, true},
		{`"3600"`, time.Hour, true},
		{`" 3600 "`, time.Hour, true},
		{`3599.5`, 3599500 * time.Millisecond, true},
		{`"3599.5"`, 3599500 * time.Millisecond, true},
		{`1e3`, 1000 * time.Second, true},
		{`"1E+3"`, 1000 * time.Second, true},
		{`0.001`, time.Millisecond, true},
		{`3153600000`, centuries, true},
		{`9223372036854775807`, centuries, true},
		{`9223372036.9`, centuries, true}, // as nanoseconds, more than an int64
		{`18446744073709551616`, centuries, true},
		{`1e300`, centuries, true},
		{`1e999`, centuries, true},
		{`"1e999"`, centuries, true},
		{strings.Repeat("9", 5000), centuries, true},
		{`0`, 0, false},
		{`-0`, 0, false},
		{`0.0`, 0, false},
		{`1e-30`, 0, false}, // less than a nanosecond must not become "unknown"
		{`-1`, 0, false},
		{`-4294966296`, 0, false},
		{`-1e300`, 0, false},
		{`-1e999`, 0, false},
		{`"-5"`, 0, false},
		{`""`, 0, false},
		{`"soon"`, 0, false},
		{`"NaN"`, 0, false},
		{`"Inf"`, 0, false},
		{`"+Inf"`, 0, false},
		{`"infinity"`, 0, false},
		{`"0x10"`, 0, false},
		{`"0x1p4"`, 0, false},
		{`"1_000"`, 0, false},
		{`"1h"`, 0, false},
		{`"1."`, 0, false},
		{`".5"`, 0, false},
		{`"1e"`, 0, false},
		{`"--1"`, 0, false},
		{`true`, 0, false},
		{`{}`, 0, false},
		{`[3600]`, 0, false},
	} {
		t.Run(fmt.Sprintf("%.30s", tt.in), func(t *testing.T) {
			body := `{"access_token":"abc"}`
			if tt.in != "" {
				body = `{"access_token":"abc","expires_in":` + tt.in + `}`
			}
			tok, e := read(200, nil, []byte(body), noon, "")
			if !tt.ok {
				checkForm(t, e)
				return
			}
			if e != nil {
				t.Fatalf("read: %v, want a life of %v", e, tt.want)
			}
			if tok.Life != tt.want || !tok.Expiry.IsZero() {
				t.Errorf("Life = %v, Expiry = %v, want %v and none", tok.Life, tok.Expiry, tt.want)
			}
		})
	}
}

// checkForm says that a reply was taken as not in the protocol's form.
func checkForm(t *testing.T, e *renew.IssueError) {
	t.Helper()
	if e == nil {
		t.Fatal("got a token, want an error")
	}
	if e.Kind != renew.Transient || e.Permanent || e.Unsent || e.Err == nil || !strings.Contains(e.Err.Error(), "not in the protocol's form") {
		t.Errorf("got %#v (%v), want a transient error of form", e, e)
	}
}

func TestReadToken(t *testing.T) {
	const form = "application/x-www-form-urlencoded; charset=utf-8"
	type want struct {
		value, typ, refresh, scope, issued string
		life                               time.Duration
	}
	for _, tt := range []struct {
		name, contentType, body, override string
		want                              want
	}{
		{name: "RFC 6749 section 5.1", contentType: "application/json;charset=UTF-8",
			body: `{"access_token":"2YotnFZFEjr1zCsicMWpAA","token_type":"example-is-bearer","expires_in":3600,"refresh_token":"tGzv3JOkF0XG5Qx2TlKWIA","example_parameter":"example_value"}`, override: "Bearer",
			want: want{"2YotnFZFEjr1zCsicMWpAA", "Bearer", "tGzv3JOkF0XG5Qx2TlKWIA", "", "", time.Hour}},
		{name: "no token_type", body: `{"access_token":"a"}`, want: want{value: "a", typ: "Bearer"}},
		{name: "null members", body: `{"access_token":"a","token_type":null,"refresh_token":null,"scope":null,"expires_in":null,"error":null}`, want: want{value: "a", typ: "Bearer"}},
		{name: "empty error", body: `{"access_token":"a","error":""}`, want: want{value: "a", typ: "Bearer"}},
		{name: "BEARER", body: `{"access_token":"a","token_type":"BEARER"}`, want: want{value: "a", typ: "Bearer"}},
		{name: "override", body: `{"access_token":"xoxb-1","token_type":"bot"}`, override: "Bearer", want: want{value: "xoxb-1", typ: "Bearer"}},
		{name: "scope and issued_token_type", body: `{"access_token":"a","scope":"read write","issued_token_type":"urn:ietf:params:oauth:token-type:access_token"}`,
			want: want{"a", "Bearer", "", "read write", "urn:ietf:params:oauth:token-type:access_token", 0}},
		{name: "scope as an array", body: `{"access_token":"a","scope":["read","write"]}`, want: want{value: "a", typ: "Bearer", scope: "read write"}},
		{name: "scope of another type", body: `{"access_token":"a","scope":7}`, want: want{value: "a", typ: "Bearer"}},
		{name: "scope with a line break", body: `{"access_token":"a","scope":"a\nb"}`, want: want{value: "a", typ: "Bearer"}},
		{name: "names are case sensitive", body: `{"Access_Token":"wrong","ACCESS_TOKEN":"wrong","access_token":"a"}`, want: want{value: "a", typ: "Bearer"}},
		{name: "unknown members, twice", body: `{"x":1,"access_token":"a","x":{"access_token":"b"}}`, want: want{value: "a", typ: "Bearer"}},
		{name: "object sent as HTML", contentType: "text/html", body: `{"access_token":"a"}`, want: want{value: "a", typ: "Bearer"}},
		{name: "object sent as a form", contentType: form, body: `{"access_token":"a"}`, want: want{value: "a", typ: "Bearer"}},
		{name: "byte order mark and space", body: "\ufeff \r\n{\"access_token\":\"a\"}\n\n", want: want{value: "a", typ: "Bearer"}},
		{name: "escaped text", body: `{"access_token":"\u0061\/b","refresh_token":"a b\"c"}`, want: want{value: "a/b", typ: "Bearer", refresh: `a b"c`}},
		{name: "form", contentType: form, body: "access_token=a%2Bb&token_type=bearer&expires_in=60&scope=repo%20user&refresh_token=r%25+1",
			want: want{"a+b", "Bearer", "r% 1", "repo user", "", time.Minute}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tok, e := read(200, http.Header{"Content-Type": {tt.contentType}}, []byte(tt.body), noon, tt.override)
			if e != nil {
				t.Fatal(e)
			}
			got := want{tok.Value.Reveal(), tok.Type, tok.Refresh.Reveal(), tok.Attr("scope"), tok.Attr("issued_token_type"), tok.Life}
			if got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestReadKeepsNoOtherParameter(t *testing.T) {
	body := `{"access_token":"a","id_token":"identity-secret","cookie":"cookie-secret","instance_url":"https://x/?key=url-secret"}`
	tok, e := read(200, nil, []byte(body), noon, "")
	if e != nil {
		t.Fatal(e)
	}
	leaktest.Check(t, tok, "identity-secret", "cookie-secret", "url-secret")
	for _, name := range []string{"id_token", "cookie", "instance_url", "access_token", "refresh_token"} {
		if tok.Attr(name) != "" {
			t.Errorf("Attr(%q) is set, want it left out", name)
		}
	}
}

func TestReadOddReplies(t *testing.T) {
	const form = "application/x-www-form-urlencoded"
	big := `{"access_token":"a","x":"` + strings.Repeat("x", MaxReply) + `"}`
	for _, tt := range []struct{ name, contentType, body string }{
		{"empty", "", ""},
		{"space", "", " \n"},
		{"HTML", "text/html", "<html>log in</html>"},
		{"array", "", `[{"access_token":"a"}]`},
		{"string", "", `"access_token"`},
		{"null", "", `null`},
		{"number", "", `7`},
		{"truncated name", "", `{"access_tok`},
		{"truncated value", "", `{"access_token":"abc`},
		{"truncated object", "", `{"access_token":"abc"`},
		{"trailing comma", "", `{"access_token":"abc",}`},
		{"trailing text", "", `{"access_token":"abc"} ok`},
		{"two objects", "", `{"access_token":"abc"}{"access_token":"def"}`},
		{"wrong bracket", "", `{"access_token":"abc"]`},
		{"unquoted", "", `{access_token:"abc"}`},
		{"name is a number", "", `{1:2}`},
		{"too deep", "", `{"access_token":"a","x":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + `}`},
		{"too long", "", big},
		{"no access_token", "", `{"token_type":"Bearer","expires_in":60}`},
		{"access_token empty", "", `{"access_token":""}`},
		{"access_token null", "", `{"access_token":null}`},
		{"access_token a number", "", `{"access_token":12345}`},
		{"access_token an object", "", `{"access_token":{"v":"a"}}`},
		{"access_token twice", "", `{"access_token":"a","access_token":"b"}`},
		{"access_token twice, escaped", "", `{"access_token":"a","access\u005ftoken":"b"}`},
		{"expires_in twice", "", `{"access_token":"a","expires_in":1,"expires_in":3600}`},
		{"access_token with a line break", "", `{"access_token":"a\r\nX-Evil: 1"}`},
		{"access_token with a space", "", `{"access_token":"a b"}`},
		{"access_token not ASCII", "", `{"access_token":"ä"}`},
		{"access_token not UTF-8", "", "{\"access_token\":\"a\xff\"}"},
		{"token_type a number", "", `{"access_token":"a","token_type":1}`},
		{"refresh_token a number", "", `{"access_token":"a","refresh_token":1}`},
		{"refresh_token with a NUL", "", `{"access_token":"a","refresh_token":"a\u0000b"}`},
		{"error an object", "", `{"error":{"code":401,"message":"x"}}`},
		{"form without its type", "text/plain", "access_token=a"},
		{"form, broken", form, "access_token=%zz"},
		{"form, access_token twice", form, "access_token=a&access_token=b"},
		{"form, empty", form, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, e := read(200, http.Header{"Content-Type": {tt.contentType}}, []byte(tt.body), noon, "")
			checkForm(t, e)
		})
	}
}

// RFC 6749, section 7.1: a token of a type that is not understood must not be used.
func TestReadRefusesTokenTypes(t *testing.T) {
	for _, typ := range []string{"mac", "MAC", "DPoP", "dpop", "N_A", "pop", "bot", "bad\r\ntype", "a b"} {
		body := fmt.Sprintf(`{"access_token":"a","token_type":%q}`, typ)
		_, e := read(200, nil, []byte(body), noon, "")
		if e == nil || e.Kind != renew.Invalid || !e.Permanent || e.Status != 200 {
			t.Errorf("token_type %q: %#v, want invalid and permanent", typ, e)
			continue
		}
		if strings.Contains(e.Error(), typ) {
			t.Errorf("token_type %q: %v quotes the issuer's text", typ, e)
		}
	}
}

func TestErrorCode(t *testing.T) {
	for _, tt := range []struct{ name, value, want string }{
		{"code", `"invalid_grant"`, "invalid_grant"},
		{"extension", `"urn:x:error 7!"`, "urn:x:error 7!"},
		{"64 characters", `"` + strings.Repeat("e", 64) + `"`, strings.Repeat("e", 64)},
		{"65 characters", `"` + strings.Repeat("e", 65) + `"`, ""},
		{"quote", `"a\"b"`, ""},
		{"backslash", `"a\\b"`, ""},
		{"line break", `"a\nrenew: forged"`, ""},
		{"escape", `"a\u001b[31m"`, ""},
		{"DEL", `"a\u007f"`, ""},
		{"not ASCII", `"é"`, ""},
		{"spaces", `"  "`, ""},
		{"empty", `""`, ""},
		{"number", `7`, ""},
		{"object", `{"message":"x"}`, ""},
		{"null", `null`, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := Classify(400, nil, []byte(`{"error":`+tt.value+`,"error_description":"never shown"}`), noon)
			if e.Code != tt.want {
				t.Errorf("Code = %q, want %q", e.Code, tt.want)
			}
			if want := map[bool]renew.Kind{true: renew.Transient, false: renew.Refused}[tt.want == ""]; e.Kind != want {
				t.Errorf("Kind = %v, want %v", e.Kind, want)
			}
			if strings.Contains(e.Error(), "never shown") {
				t.Errorf("%v shows the error_description", e)
			}
		})
	}
}

func TestRetryAfter(t *testing.T) {
	for _, tt := range []struct {
		name, field, date string
		want              time.Duration
		asked             bool
	}{
		{"none", "", "", 0, false},
		{"seconds", "120", "", 2 * time.Minute, true},
		{"zero", "0", "", 0, true},
		{"negative", "-30", "", 0, true},
		{"fraction", "1.5", "", 1500 * time.Millisecond, true},
		{"space", " 7 ", "", 7 * time.Second, true},
		{"more than an hour", "3601", "", time.Hour, true},
		{"overflow", "99999999999999999999", "", time.Hour, true},
		{"negative overflow", "-99999999999999999999", "", 0, true},
		{"words", "soon", "", 0, false},
		{"NaN", "NaN", "", 0, false},
		{"date, by the clock", "Sun, 01 Mar 2026 12:01:00 GMT", "", time.Minute, true},
		{"date, by the reply's Date", "Sun, 01 Mar 2026 15:00:30 GMT", "Sun, 01 Mar 2026 15:00:00 GMT", 30 * time.Second, true},
		{"date, bad Date", "Sun, 01 Mar 2026 12:01:00 GMT", "yesterday", time.Minute, true},
		{"date in the past", "Sun, 01 Mar 2026 11:00:00 GMT", "", 0, true},
		{"date far off", "Sun, 01 Mar 2426 12:00:00 GMT", "", time.Hour, true},
		{"RFC 850 date", "Sunday, 01-Mar-26 12:02:00 GMT", "", 2 * time.Minute, true},
		{"asctime date", "Sun Mar  1 12:03:00 2026", "", 3 * time.Minute, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := http.Header{}
			if tt.field != "" {
				h.Set("Retry-After", tt.field)
			}
			if tt.date != "" {
				h.Set("Date", tt.date)
			}
			got, asked := RetryAfter(h, noon)
			if got != tt.want || asked != tt.asked {
				t.Errorf("RetryAfter = %v, %v, want %v, %v", got, asked, tt.want, tt.asked)
			}
		})
	}
}

func TestClassify(t *testing.T) {
	const html = "<html>no</html>"
	code := func(c string) string { return `{"error":"` + c + `"}` }
	for _, tt := range []struct {
		name       string
		status     int
		retryAfter string
		body       string

		kind      renew.Kind
		permanent bool
		code      string
		pause     time.Duration
	}{
		{"408", 408, "", html, renew.Transient, false, "", 0},
		{"408 that blames the client", 408, "", code("invalid_client"), renew.Transient, false, "invalid_client", 0},
		{"500", 500, "", html, renew.Transient, false, "", 0},
		{"500 that blames the client", 500, "", code("invalid_client"), renew.Transient, false, "invalid_client", 0},
		{"502", 502, "", html, renew.Transient, false, "", 0},
		{"502 with Retry-After", 502, "9", html, renew.Transient, false, "", 9 * time.Second},
		{"503", 503, "", html, renew.Transient, false, "", 0},
		{"503 with Retry-After", 503, "9", html, renew.Throttled, false, "", 9 * time.Second},
		{"503 with Retry-After 0", 503, "0", html, renew.Throttled, false, "", 0},
		{"503 with a Retry-After of words", 503, "soon", html, renew.Transient, false, "", 0},
		{"504", 504, "", html, renew.Transient, false, "", 0},
		{"599", 599, "", "", renew.Transient, false, "", 0},
		{"700", 700, "", "", renew.Transient, false, "", 0},
		{"101", 101, "", "", renew.Transient, false, "", 0},
		{"429", 429, "", html, renew.Throttled, false, "", 0},
		{"429 with Retry-After", 429, "3", html, renew.Throttled, false, "", 3 * time.Second},
		{"429 with a code", 429, "3", code("invalid_request"), renew.Throttled, false, "invalid_request", 3 * time.Second},
		{"temporarily_unavailable", 400, "", code("temporarily_unavailable"), renew.Transient, false, "temporarily_unavailable", 0},
		{"server_error", 400, "4", code("server_error"), renew.Transient, false, "server_error", 4 * time.Second},
		{"401", 401, "", html, renew.Refused, false, "", 0},
		{"401 empty", 401, "", "", renew.Refused, false, "", 0},
		{"401 invalid_client", 401, "", code("invalid_client"), renew.Refused, true, "invalid_client", 0},
		{"401 unknown code", 401, "", code("who_knows"), renew.Refused, false, "who_knows", 0},
		{"400 invalid_client", 400, "", code("invalid_client"), renew.Refused, true, "invalid_client", 0},
		{"403 invalid_client", 403, "", code("invalid_client"), renew.Refused, true, "invalid_client", 0},
		{"400 invalid_grant", 400, "", code("invalid_grant"), renew.Refused, false, "invalid_grant", 0},
		{"403 invalid_grant", 403, "", code("invalid_grant"), renew.Refused, false, "invalid_grant", 0},
		{"400 unauthorized_client", 400, "", code("unauthorized_client"), renew.Refused, true, "unauthorized_client", 0},
		{"403 access_denied", 403, "", code("access_denied"), renew.Refused, true, "access_denied", 0},
		{"400 invalid_scope", 400, "", code("invalid_scope"), renew.Refused, true, "invalid_scope", 0},
		{"400 invalid_request", 400, "", code("invalid_request"), renew.Refused, true, "invalid_request", 0},
		{"400 unsupported_grant_type", 400, "", code("unsupported_grant_type"), renew.Refused, true, "unsupported_grant_type", 0},
		{"400 unknown code", 400, "", code("who_knows"), renew.Refused, false, "who_knows", 0},
		{"200 with a code", 200, "", `{"error":"invalid_client","access_token":"a"}`, renew.Refused, true, "invalid_client", 0},
		{"200 with an unknown code", 200, "", code("bad_verification_code"), renew.Refused, false, "bad_verification_code", 0},
		{"404", 404, "", html, renew.Refused, true, "", 0},
		{"404 unknown code", 404, "", code("who_knows"), renew.Refused, true, "who_knows", 0},
		{"404 invalid_grant", 404, "", code("invalid_grant"), renew.Refused, false, "invalid_grant", 0},
		{"403 HTML", 403, "", html, renew.Transient, false, "", 0},
		{"400 HTML", 400, "", html, renew.Transient, false, "", 0},
		{"400 invalid JSON", 400, "", `{"error":"invalid_client"`, renew.Transient, false, "", 0},
		{"400 with two codes", 400, "", `{"error":"invalid_client","error":"server_error"}`, renew.Transient, false, "", 0},
		{"400 with a number for a code", 400, "", `{"error":1}`, renew.Transient, false, "", 0},
		{"405", 405, "", html, renew.Transient, false, "", 0},
		{"413", 413, "", html, renew.Transient, false, "", 0},
		{"301", 301, "", html, renew.Invalid, true, "", 0},
		{"302", 302, "", code("invalid_client"), renew.Invalid, true, "", 0},
		{"308", 308, "", "", renew.Invalid, true, "", 0},
		{"200 HTML", 200, "", html, renew.Transient, false, "", 0},
		{"204", 204, "", "", renew.Transient, false, "", 0},
		{"a token that was not wanted", 200, "", `{"access_token":"a"}`, renew.Transient, false, "", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := http.Header{}
			if tt.retryAfter != "" {
				h.Set("Retry-After", tt.retryAfter)
			}
			e := Classify(tt.status, h, []byte(tt.body), noon)
			if e.Kind != tt.kind || e.Permanent != tt.permanent || e.Code != tt.code || e.RetryAfter != tt.pause || e.Status != tt.status || e.Unsent {
				t.Errorf("got kind %v, permanent %v, code %q, pause %v, status %d, unsent %v; want %v, %v, %q, %v, %d, false",
					e.Kind, e.Permanent, e.Code, e.RetryAfter, e.Status, e.Unsent, tt.kind, tt.permanent, tt.code, tt.pause, tt.status)
			}
		})
	}
	// Every known code is in the table above.
	for _, c := range slices.Sorted(maps.Keys(meaning)) {
		if e := Classify(400, nil, []byte(code(c)), noon); e.Code != c || e.Kind == renew.Invalid {
			t.Errorf("%s: %#v", c, e)
		}
	}
}

// The time to read a reply is linear in its length: these take milliseconds
// together, and minutes where each byte costs a look at the others.
func TestReadIsLinear(t *testing.T) {
	fill := func(unit string) string { return strings.Repeat(unit, 1<<18/len(unit)) }
	start := time.Now()
	for _, body := range []string{
		`{"access_token":"a","expires_in":` + fill("9")[100:] + `}`,
		`{"access_token":"a","expires_in":0.` + fill("0")[100:] + `1}`,
		`{"access_token":"a","expires_in":"` + fill("1")[100:] + `"}`,
		`{"access_token":"a","expires_in":1e` + fill("9")[100:] + `}`,
		`{` + fill(`"a":1,`)[100:],
		`{"x":` + fill("["),
		`{"x":` + fill(`{"":`),
		`{"access_token":"` + fill(`\u0061`)[200:] + `"}`,
		fill(" "), fill("\ufeff"), "{" + fill("\n"), fill("a&"), fill("%61="), fill("{"), `{"` + fill(`\`),
	} {
		for _, contentType := range []string{"application/json", "application/x-www-form-urlencoded"} {
			_, _ = read(200, http.Header{"Content-Type": {contentType}}, []byte(body), noon, "")
		}
	}
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("30 replies of 256 KiB took %v, want seconds at most", took)
	}
}

// FuzzReply: whatever an issuer sends, the answer is a sound token or a sound error.
func FuzzReply(f *testing.F) {
	for _, body := range []string{
		`{"access_token":"a","token_type":"Bearer","expires_in":3599.5,"refresh_token":"r","scope":"a b"}`,
		`{"access_token":"a","expires_in":"1e300"}`, `{"access_token":"a","expires_in":-4294966296}`, `{"access_token":"a","expires_in":1e-10}`,
		`{"error":"invalid_client","error_description":"x"}`, `{"error":{"a":1}}`, `[`, `{"a":[[[{}]]]}`, "access_token=a&expires_in=5", "\ufeff{}",
	} {
		for _, status := range []int{200, 302, 400, 503} {
			f.Add(status, "application/json", "5", "", []byte(body))
			f.Add(status, "application/x-www-form-urlencoded", "Sun, 01 Mar 2026 12:01:00 GMT", "Sun, 01 Mar 2026 12:00:00 GMT", []byte(body))
		}
	}
	f.Fuzz(func(t *testing.T, status int, contentType, retryAfter, date string, body []byte) {
		h := http.Header{"Content-Type": {contentType}, "Retry-After": {retryAfter}, "Date": {date}}
		tok, e := read(status, h, body, noon, "")
		if (tok == nil) == (e == nil) {
			t.Fatalf("token %v and error %v, want exactly one", tok, e)
		}
		if e != nil {
			if e.Kind > renew.Invalid || e.RetryAfter < 0 || e.RetryAfter > time.Hour || len(e.Code) > 64 || e.Status != status {
				t.Errorf("unsound error %#v", e)
			}
			if text := e.Error(); len(text) > 300 || strings.ContainsAny(text, "\r\n\x1b\x00") {
				t.Errorf("unsound text %q", text)
			}
			if e.Permanent && e.Kind != renew.Refused && e.Kind != renew.Invalid {
				t.Errorf("%v is permanent", e.Kind)
			}
			return
		}
		if status/100 != 2 {
			t.Errorf("a token of a %d", status)
		}
		if tok.Life < 0 || tok.Life > MaxLife || !tok.Expiry.IsZero() || tok.Type != "Bearer" || !header.Visible(tok.Value.Reveal()) {
			t.Errorf("unsound token: life %v, expiry %v, type %q", tok.Life, tok.Expiry, tok.Type)
		}
		if len(tok.Value.Reveal())+len(tok.Refresh.Reveal()) > 3*MaxReply {
			t.Error("a token longer than its reply")
		}
		again, e := read(status, h, body, noon, "")
		if e != nil || !again.Value.Equal(tok.Value) || again.Life != tok.Life || !again.Refresh.Equal(tok.Refresh) {
			t.Error("the same reply, read twice, differs")
		}
	})
}

// FuzzSeconds: every number that the grammar takes is a Duration in range, and in order.
func FuzzSeconds(f *testing.F) {
	for _, s := range []string{"3600", "1e300", "-1e999", "0x10", "1_0", "Inf", "NaN", "1.5e-3", "+1", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, ok := seconds(s)
		if !ok {
			if d != 0 {
				t.Errorf("seconds(%q) = %v without being a number", s, d)
			}
			return
		}
		if d > MaxLife || d < -MaxLife {
			t.Errorf("seconds(%q) = %v, out of range", s, d)
		}
		if strings.HasPrefix(s, "-") && d > 0 || !strings.HasPrefix(s, "-") && d < 0 {
			t.Errorf("seconds(%q) = %v, of the wrong sign", s, d)
		}
	})
}

func ExampleClassify() {
	e := Classify(400, nil, []byte(`{"error":"invalid_grant","error_description":"not shown"}`), noon)
	e.Source, e.Host = "oauth2 refresh_token", "issuer.example"
	var err error = e
	fmt.Println(err)
	refused, ok := errors.AsType[*renew.IssueError](err)
	fmt.Println(ok, refused.Kind, refused.Permanent)
	// Output:
	// renew: oauth2 refresh_token at issuer.example: 400 invalid_grant
	// true refused false
}
