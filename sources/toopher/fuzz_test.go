package toopher_test

import (
	"errors"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/seed-f29168f7/renew/sources/internal/leaktest"
	"github.com/seed-f29168f7/renew/sources/toopher"
)

func FuzzReply(f *testing.F) {
	vectors := load(f)
	for _, v := range vectors.Endpoints {
		f.Add([]byte(v.Response.Body))
	}
	for _, v := range vectors.BadSuccess.Cases {
		f.Add([]byte(v.Body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if a, err := toopher.ParseAuthentication(body); err == nil {
			if a.ID == "" || a.Terminal.ID == "" || a.Granted() && (a.Pending || a.Denied()) || string(a.Raw) != string(body) {
				t.Errorf("%q is read as %+v", body, a)
			}
			if a.Granted() && !strings.Contains(string(body), "true") {
				t.Errorf("%q is granted", body)
			}
		} else if a != nil {
			t.Errorf("%q: a result with an error", body)
		}
		if p, err := toopher.ParsePairing(body); err == nil {
			if p.ID == "" || p.User.ID == "" || p.Paired() && (!p.Enabled || p.PendingKnown && p.Pending) {
				t.Errorf("%q is read as %+v", body, p)
			}
		} else if p != nil {
			t.Errorf("%q: a result with an error", body)
		}
		rt := &stub{status: 200, body: string(body)}
		if err := client(rt).SetUserEnabled(t.Context(), kim, false); err != nil && len(rt.sent) == 1 && !errors.Is(err, toopher.ErrAPI) {
			t.Errorf("%q: %v", body, err)
		}
	})
}

func FuzzErrorBody(f *testing.F) {
	for _, v := range load(f).Errors {
		f.Add(v.Status, []byte(v.Body))
	}
	f.Add(409, []byte(`{"error_code": "00705", "error_message": "requester-secret-9LmW"}`))
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		if status < 300 || status > 599 {
			status = 400 + int(uint(status)%200)
		}
		_, err := client(&stub{status: status, body: string(body)}).Pair(t.Context(), "silent otter 9Qz", kim)
		e, ok := err.(*toopher.APIError)
		if !ok || e.Status != status || e.Code < 0 || !errors.Is(err, toopher.ErrAPI) {
			t.Fatalf("%d %q: %v", status, body, err)
		}
		if text := err.Error(); strings.ContainsAny(text, "\r\n\x00\x1b") || len(text) > 2000 {
			t.Errorf("%q makes an error of %q", body, text)
		}
		leaktest.Check(t, err, testSecret)
		matched := 0
		for _, sentinel := range sentinels {
			if sentinel != nil && errors.Is(err, sentinel) {
				matched++
			}
		}
		if (matched == 1) != (e.Kind != toopher.Other) || matched > 1 {
			t.Errorf("%q matches %d kinds and is %v", body, matched, e.Kind)
		}
	})
}

// The fields are posted as they are, and signed, so that what is behind the signature is reached too.
func FuzzPostback(f *testing.F) {
	for _, text := range []string{
		"id=r&pending=false&granted=true&automated=false&resource_type=authentication_request", "id=p&enabled=true&resource_type=pairing",
		"id=u&name=~n*&resource_type=requester_user", "error_code=704", "error_message=x", "toopher_sig=A&granted=true", "timestamp=9&a=b&a=c", "a=%zz;&session_token=",
	} {
		f.Add(text, true)
	}
	f.Add("error_code=704", false)
	f.Fuzz(func(t *testing.T, text string, nested bool) {
		frame := newFrame()
		form, err := url.ParseQuery(text)
		if !nested && err != nil {
			return
		}
		posted := form
		if nested {
			posted = url.Values{"toopher_iframe_data": {text}}
		}
		if p, err := frame.Postback(posted, frameToken); p != nil || !errors.Is(err, toopher.ErrPostback) || errors.Is(err, toopher.ErrAPI) {
			t.Errorf("%q, which nobody signed: %+v, %v", text, p, err)
		}
		fields := map[string]string{"session_token": frameToken, "timestamp": strconv.Itoa(frameNow)}
		for name, values := range form {
			fields[name] = values[0]
		}
		delete(fields, "toopher_sig")
		delete(fields, "toopher_iframe_data")
		delete(fields, "iframe_postback_data")
		signed := sign(frameSecret, fields)
		if nested {
			signed = url.Values{"toopher_iframe_data": {signed.Encode()}}
		}
		p, err := frame.Postback(signed, frameToken)
		switch {
		case errors.Is(err, toopher.ErrPostbackSignature):
			t.Errorf("%q: the signature is refused", text)
		case err == nil && (fields["session_token"] != frameToken || fields["error_code"] != "" || p.Granted() != (fields["granted"] == "true" && fields["pending"] == "false" && p.Authentication != nil)):
			t.Errorf("%q is read as %+v", text, p)
		case err != nil && (p != nil || !errors.Is(err, toopher.ErrPostback) && !errors.Is(err, toopher.ErrAPI)):
			t.Errorf("%q: %+v, %v (%T)", text, p, err, err)
		}
		if err != nil && strings.Contains(err.Error(), frameSecret) {
			t.Errorf("%q: %v has the secret", text, err)
		}
		other := newFrame()
		other.Client.Secret = client(nil).Secret
		if _, err := other.Postback(signed, frameToken); !errors.Is(err, toopher.ErrPostbackSignature) {
			t.Errorf("%q with another secret: %v", text, err)
		}
	})
}
