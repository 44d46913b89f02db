package oauth2

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/clock"
)

// A person who takes longer than the token lives gets a token all the same: its life begins with the request that brought it.
func TestR12_LifeOfADeviceLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		polls := 0
		src := &DeviceCode{
			DeviceAuthURL: "https://issuer.example/device", TokenURL: "https://issuer.example/token", ClientID: "id", AuthStyle: None,
			Prompt: func(context.Context, DevicePrompt) error { return nil },
			HTTPClient: &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
				if r.URL.Path == "/device" {
					return reply(200, `{"device_code":"c","user_code":"u","verification_uri":"https://x.example"}`), nil
				}
				if polls++; polls < 12 {
					return reply(400, `{"error":"authorization_pending"}`), nil
				}
				time.Sleep(2 * time.Second) // the reply's way
				return reply(200, `{"access_token":"a1","expires_in":30}`), nil
			})},
		}
		ts, err := renew.New(src, renew.Config{Interactive: true, Leeway: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = ts.Close(context.Background()) }()
		asked := time.Now().Add(time.Minute)
		if _, err := ts.Token(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got, want := ts.Status().Deadline, asked.Add(29*time.Second); !got.Equal(want) {
			t.Errorf("the deadline is %v, want %v: 30 s after the last poll was sent, less the leeway", got, want)
		}
	})
}

func TestR12_LifeOfALoginOnLoopback(t *testing.T) {
	clk := clock.NewFake(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		clk.Advance(2 * time.Second) // the reply's way
		_, _ = w.Write([]byte(`{"access_token":"a1","expires_in":300}`))
	}))
	defer srv.Close()
	src := &AuthorizationCode{
		AuthURL: srv.URL + "/authorize", TokenURL: srv.URL, ClientID: "id", AuthStyle: None, Clock: clk,
		Prompt: func(_ context.Context, raw string) error {
			u, err := url.Parse(raw)
			if err != nil {
				return err
			}
			clk.Advance(9 * time.Minute)
			get(t, http.MethodGet, u.Query().Get("redirect_uri")+"?"+url.Values{"code": {authCode}, "state": {u.Query().Get("state")}}.Encode())
			return nil
		},
	}
	tok, err := src.Issue(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if want := 9*time.Minute + 300*time.Second; tok.Life != want {
		t.Errorf("the life, counted from the start of Issue, is %v, want %v", tok.Life, want)
	}
}
