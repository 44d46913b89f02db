package interop

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/sources/toopher"
	"github.com/seed-f29168f7/renew/sources/toopher/toophertest"
)

// Every call of the Toopher client, with the signature of each request judged by the provider. It hands what is
// right on to toophertest, under the same host, which answers as Toopher would.
func TestOAuth1Toopher(t *testing.T) {
	t.Parallel()
	service := toophertest.New(oddKey, oddSecret)
	service.Looks = 2
	base, stop, err := service.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	address := strings.TrimSuffix(strings.TrimPrefix(base, "http://"), "/v1")
	p := newOAuth1Peer(t, oauth1Config{Toopher: address})
	c := &toopher.Client{Key: oddKey, Secret: renew.NewSecret(oddSecret), BaseURL: p.URL + "/v1"}
	ctx, user := t.Context(), "kim+a&b=c@example.test é"

	accepted := 0
	// call makes one call, and wants so many of its requests accepted.
	call := func(name string, requests int, do func() error) {
		t.Helper()
		if err := do(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		accepted += requests
		if b := p.books(t); b.Accepted != accepted || b.refused() != 0 {
			t.Fatalf("%s: the provider has accepted %d signatures, want %d, and refused %v", name, b.Accepted, accepted, b.Refused)
		}
	}
	poll := toopher.Poll{Interval: time.Millisecond}
	var pairing *toopher.Pairing
	var request *toopher.Authentication
	call("Pair", 1, func() (err error) {
		pairing, err = c.Pair(ctx, "awkward turtle & co", user, toopher.Extra("odd name*", "100% (sure)~"))
		return err
	})
	call("PairSMS", 1, func() error { _, err := c.PairSMS(ctx, "+1 555 0100", "lee", "49"); return err })
	call("PairQR", 1, func() error { _, err := c.PairQR(ctx, "ada", toopher.UserID("u/1")); return err })
	call("Pair once more", 1, func() (err error) { pairing, err = c.Pair(ctx, "calm otter", user); return err })
	call("WaitForPairing", 2, func() (err error) { pairing, err = c.WaitForPairing(ctx, pairing.ID, poll); return err })
	call("PairingStatus", 1, func() error {
		got, err := c.PairingStatus(ctx, pairing.ID)
		if err == nil && (!got.Paired() || got.User.Name != user) {
			err = errors.New("not paired, or somebody else")
		}
		return err
	})
	call("Authenticate", 1, func() (err error) {
		request, err = c.Authenticate(ctx, pairing.ID, "Kim's laptop", toopher.TerminalNameExtra("cookie=/+"), toopher.ActionName("Pay 5 €"),
			toopher.AutomationAllowed(false), toopher.ChallengeRequired(true), toopher.SMSInbandReply(false))
		return err
	})
	call("AuthenticationStatus", 1, func() error { _, err := c.AuthenticationStatus(ctx, request.ID); return err })
	call("WaitForAuthentication", 1, func() (err error) { // the second look, which has the answer
		request, err = c.WaitForAuthentication(ctx, request.ID, poll)
		if err == nil && !request.Granted() {
			err = errors.New("not granted")
		}
		return err
	})
	call("CreateUserTerminal", 1, func() error { return c.CreateUserTerminal(ctx, user, "a desk", "cookie 2") })
	call("AuthenticateByUserName", 1, func() (err error) {
		request, err = c.AuthenticateByUserName(ctx, user, "cookie 2")
		return err
	})
	call("AuthenticateWithOTP", 1, func() error {
		got, err := c.AuthenticateWithOTP(ctx, request.ID, service.OTP)
		if err == nil && !got.Granted() {
			err = errors.New("not granted")
		}
		return err
	})
	call("EmptyFields", 1, func() error {
		empty := &toopher.Client{Key: c.Key, Secret: c.Secret, BaseURL: c.BaseURL + "/", EmptyFields: true}
		_, err := empty.AuthenticateByUserName(ctx, user, "cookie 2")
		return err
	})
	call("SetUserEnabled", 4, func() error {
		return errors.Join(c.SetUserEnabled(ctx, user, false), c.SetUserEnabled(ctx, user, true))
	})
	call("Raw", 2, func() error {
		_, err := c.Raw(ctx, http.MethodGet, "/users", toopher.Extra("name", user))
		_, err2 := c.Raw(ctx, http.MethodPost, "/pairings/create/qr", toopher.Extra("user_name", "grace"))
		return errors.Join(err, err2)
	})
	call("Login", 9, func() error { // unknown user, Pair, two looks; unknown terminal, its name; the request, two looks
		_, err := c.Login(ctx, toopher.Login{
			UserName: "new " + user, TerminalID: "cookie 3", Answer: poll, Paired: poll,
			AskPhrase:       func(context.Context, error) (string, error) { return "brave newt", nil },
			AskTerminalName: func(context.Context, error) (string, error) { return "a phone box", nil },
		})
		return err
	})

	// An error of Toopher comes through; its request was signed right all the same.
	_, err = c.PairingStatus(ctx, "no such/pairing")
	if e, ok := errors.AsType[*toopher.APIError](err); !ok || e.Status != http.StatusNotFound {
		t.Errorf("%v, want 404", err)
	}
	accepted++
	toService := service.Counts()
	if toService.Requests != accepted || toService.Signed != accepted || toService.Refused != 0 {
		t.Errorf("toophertest has seen %+v, want %d requests", toService, accepted)
	}

	// The addresses of the iframes, which a browser goes to, once.
	frame := &toopher.Iframe{Client: c}
	token := toopher.NewRequestToken()
	browse := func(address string) int {
		t.Helper()
		resp, err := http.Get(address)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		_, _ = io.Copy(io.Discard, resp.Body)
		return resp.StatusCode
	}
	frames := map[string]func() (string, error){
		"AuthenticateURL": func() (string, error) {
			return frame.AuthenticateURL(user, "kim+reset@example.test", token, toopher.ActionName("Pay 5 €"),
				toopher.AutomationAllowed(true), toopher.RequesterMetadata(`{"a": "b&c=d%"}`), toopher.Extra("allow_inline_pairing", "false"))
		},
		"PairURL":       func() (string, error) { return frame.PairURL(user, "", toopher.Extra("session_token", token)) },
		"ManageUserURL": func() (string, error) { return frame.ManageUserURL(user, "kim@example.test") },
	}
	for name, sign := range frames {
		address := func() string { // another nonce each time
			t.Helper()
			s, err := sign()
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		once := address()
		for i, want := range []int{http.StatusOK, http.StatusUnauthorized} {
			if status := browse(once); status != want {
				t.Errorf("%s, time %d: status %d, want %d", name, i+1, status, want)
			}
		}
		for _, forgery := range [][2]string{{"username=" + url.QueryEscape(user), "username=mallory"}, {"expires=1", "expires=2"}, {"&v=2", "&v=1"}} {
			right := address()
			forged := strings.Replace(right, forgery[0], forgery[1], 1)
			if status := browse(forged); forged == right || status != http.StatusUnauthorized {
				t.Errorf("%s with %s: status %d", name, forgery[1], status)
			}
		}
	}
	accepted += len(frames)

	// A wrong secret.
	wrong := &toopher.Client{Key: oddKey, Secret: renew.NewSecret(url.QueryEscape(oddSecret)), BaseURL: c.BaseURL}
	_, err = wrong.PairQR(ctx, "ada")
	if e, ok := errors.AsType[*toopher.APIError](err); !ok || e.Status != http.StatusUnauthorized {
		t.Errorf("a wrong secret: %v, want 401", err)
	}
	if got := service.Counts().Requests; got != toService.Requests {
		t.Errorf("%d requests came through after the last that was right", got-toService.Requests)
	}
	p.check(t, accepted, map[string]int{"nonce": len(frames), "signature": 3*len(frames) + 1})
}
