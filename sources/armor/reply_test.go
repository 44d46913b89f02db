package armor

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/seed-f29168f7/renew/sources/internal/header"
	"github.com/seed-f29168f7/renew/sources/internal/leaktest"
)

func TestExpiresIn(t *testing.T) {
	for _, tt := range []struct {
		in   string // the member's JSON, or empty for none
		want time.Duration
	}{
		{`15`, 15 * time.Minute}, {`1`, time.Minute}, {`5`, 5 * time.Minute}, {`60`, mostLife},
		{`61`, 61 * time.Second}, {`600`, 10 * time.Minute}, {`900`, mostLife}, {`901`, mostLife}, {`1800`, mostLife}, {`86400`, mostLife},
		{`86401`, mostLife}, {`1e300`, mostLife}, {`1e999`, mostLife}, {`9223372036854775807`, mostLife},
		{`"15"`, 15 * time.Minute}, {`"300"`, 5 * time.Minute}, {`"0600"`, 10 * time.Minute},
		{`0.5`, 30 * time.Second}, {`300.5`, 300500 * time.Millisecond}, {`1e2`, 100 * time.Second},
		{``, mostLife}, {`null`, mostLife}, {`0`, mostLife}, {`-1`, mostLife}, {`-0`, mostLife}, {`1e-30`, mostLife}, {`""`, mostLife}, {`" 15"`, mostLife},
		{`"-5"`, mostLife}, {`"1e2"`, mostLife}, {`"300.5"`, mostLife}, {`"soon"`, mostLife}, {`true`, mostLife}, {`[300]`, mostLife}, {`{"s":300}`, mostLife},
		{`"` + strings.Repeat("9", 5000) + `"`, mostLife},
	} {
		var raw json.RawMessage
		if tt.in != "" {
			raw = json.RawMessage(tt.in)
		}
		if got := lifeOf(raw); got != tt.want {
			t.Errorf("expires_in %.40s: %v, want %v", tt.in, got, tt.want)
		}
	}
}

func TestTokenReply(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want string // the token, or empty for an error
	}{
		{`{"access_token":"abc","token_type":"Bearer","expires_in":15}`, "abc"},
		{"\ufeff" + `{"Access_Token":"a+/=","id_token":null}`, "a+/="},
		{`{"access_token":"abc","token_type":["mac"]}`, "abc"},
		{`{"access_token":""}`, ""},
		{`{"access_token":null}`, ""},
		{`{"access_token":123}`, ""},
		{`{"access_token":["abc"]}`, ""},
		{`{"access_token":{"value":"abc"}}`, ""},
		{`{"access_token":true}`, ""},
		{`{"access_token":"a b"}`, ""},
		{`{"access_token":"a\r\nHost: evil"}`, ""},
		{`{"access_token":"äbc"}`, ""},
		{`{"access_token":"abc","access_token":"def"}`, ""},
		{`{"access_token":"abc","ACCESS_TOKEN":"def"}`, ""},
		{`{}`, ""}, {`[]`, ""}, {`"abc"`, ""}, {`null`, ""}, {``, ""}, {`<html>`, ""},
		{`{"access_token":"abc"`, ""}, {`{"access_token":"abc"}{}`, ""}, {`{"access_token":"abc"} x`, ""},
	} {
		tok, err := tokenOf([]byte(tt.in))
		if (err == nil) != (tt.want != "") || err == nil && (tok.Value.Reveal() != tt.want || tok.Type != "FH-AUTH") {
			t.Errorf("%s: %v, %v, want %q", tt.in, tok, err, tt.want)
		}
		leaktest.Check(t, err, "abc")
	}
}

func TestAuthorizeReply(t *testing.T) {
	for _, tt := range []struct {
		in, want string
		refused  bool
	}{
		{in: `{"redirect_uri":null,"code":"a+/=","success":true}`, want: "a+/="},
		{in: `{"code":"a","expiresIn":120}`, want: "a"},
		{in: `{"code":"a","success":null}`, want: "a"},
		{in: `{"code":"a","success":false}`, refused: true},
		{in: `{"success":false}`, refused: true},
		{in: `{"code":"a","success":"true"}`}, {in: `{"code":"a","success":1}`},
		{in: `{"success":true}`}, {in: `{"code":""}`}, {in: `{"code":null}`}, {in: `{"code":1}`}, {in: `{"code":"a","Code":"b"}`}, {in: `[]`}, {in: ``},
	} {
		got, err := authorizeCode([]byte(tt.in))
		if got != tt.want || (err == nil) != (tt.want != "") || errors.Is(err, errNoSuccess) != tt.refused {
			t.Errorf("%s: %q, %v, want %q, refused %v", tt.in, got, err, tt.want, tt.refused)
		}
	}
}

func FuzzTokenReply(f *testing.F) {
	for _, s := range []string{`{"access_token":"abc","expires_in":15}`, `{"access_token":"abc","expires_in":"900"}`, `{"code":"x","success":false}`, `{"a":[[[`, "\ufeff{}", `{"access_token":"\u0000"}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		tok, err := tokenOf(body)
		switch {
		case (tok == nil) == (err == nil):
			t.Fatalf("%v, %v: want one of them", tok, err)
		case err == nil && (!header.Visible(tok.Value.Reveal()) || tok.Life <= 0 || tok.Life > mostLife):
			t.Fatalf("a token that cannot be used: life %v", tok.Life)
		}
		if code, err := authorizeCode(body); (code == "") == (err == nil) {
			t.Fatalf("code %q, %v", code, err)
		}
		e := explain(body)
		if e.code != "" && !isWord(e.code) || e.reference != "" && !isWord(e.reference) || len(e.message) > 4<<10 {
			t.Fatalf("explained as %+v", e)
		}
	})
}

func TestExplain(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want explanation
	}{
		{`{"ErrorCode":"E12","Message":"Broken.","Detail":null,"ReferenceId":"a1-b2"}`, explanation{"E12", "a1-b2", "Broken."}},
		{`{"ErrorCode":4012,"Message":"Broken."}`, explanation{"4012", "", "Broken."}},
		{`{"Message":"No."}`, explanation{"", "", "No."}},
		{`{"error":"invalid_token","error_description":"gone","status":401}`, explanation{"invalid_token", "", "gone"}},
		{`{"message":"gateway"}`, explanation{"", "", "gateway"}},
		{`{"error":"Not Found","detail":"d","message":"m","statusCode":404}`, explanation{"", "", "m"}}, // no word: it is not shown
		{`{"errorMessage":"e"}`, explanation{"", "", "e"}},
		{`{"ErrorCode":"` + strings.Repeat("a", 65) + `"}`, explanation{}},
		{`{"ErrorCode":{"a":1},"Message":["x"]}`, explanation{}},
		{`<html>`, explanation{}}, {``, explanation{}},
	} {
		if got := explain([]byte(tt.in)); got != tt.want {
			t.Errorf("%s: %+v, want %+v", tt.in, got, tt.want)
		}
	}
}
