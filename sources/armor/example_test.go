package armor_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/sources/armor"
	"github.com/seed-f29168f7/renew/sources/armor/armortest"
)

// A daemon that reads from the API. The token is traded for the next one every 10 minutes, and a 401 leads to one login.
func ExampleClient() {
	srv := armortest.New(armortest.Config{}) // in the place of https://api.armor.com
	defer srv.Close()

	client, err := armor.New(armor.Options{
		Source: &armor.FHAuth{
			Username: "user@example.com", Password: renew.NewSecret("correct horse battery staple"),
			BaseURL: srv.URL(), HTTPClient: srv.Client(), // leave these two out for the real one
		},
		Retries401: 4,
		Transport:  srv.Client().Transport, // and this
	})
	if err != nil {
		panic(err)
	}
	ctx := context.Background()
	defer func() { _ = client.Close(ctx) }()

	resp, err := client.Do(ctx, armor.Request{
		Method: "post",
		URL:    srv.URL() + "/things",
		Data:   map[string]string{"name": "a thing"},
		Header: http.Header{"Range": {"entities=0-10; max=10"}, "Accept": nil}, // nil: do not send it
	})
	if err != nil {
		panic(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	account, _ := client.Account()
	fmt.Println(resp.StatusCode, resp.Header.Get("X-Range"), account.ID)
	fmt.Print(string(body))
	// Output:
	// 200 entities=0-10; max=10 1000
	// {"account":"1000","body":"{\"name\":\"a thing\"}","method":"POST","path":"/things"}
}

// A response of 400 and more is an error that has the response in it.
func ExampleStatusError() {
	srv := armortest.New(armortest.Config{})
	defer srv.Close()
	srv.Fail(armortest.API, armortest.Fault{Status: 429, Header: http.Header{"Retry-After": {"30"}}, Body: `{"ErrorCode":"E42"}`}, 1)

	client, err := armor.New(armor.Options{
		Source: &armor.FHAuth{
			Username: "user@example.com", Password: renew.NewSecret("correct horse battery staple"),
			BaseURL: srv.URL(), HTTPClient: srv.Client(),
		},
		Transport: srv.Client().Transport,
	})
	if err != nil {
		panic(err)
	}
	ctx := context.Background()
	defer func() { _ = client.Close(ctx) }()

	_, err = client.Get(ctx, srv.URL()+"/things")
	if se, ok := errors.AsType[*armor.StatusError](err); ok {
		body, _ := io.ReadAll(se.Response().Body)
		fmt.Println(se.Status, se.Code, se.RetryAfter, string(body))
	}
	// Output: 429 E42 30s {"ErrorCode":"E42"}
}

// The AD FS shows a number, and the person enters it on the phone.
func ExampleADFS() {
	srv := armortest.New(armortest.Config{Factor: armortest.Polled, Number: "42"})
	defer srv.Close()

	src := &armor.ADFS{
		Username: "user@example.com", Password: renew.NewSecret("correct horse battery staple"),
		ShowNumber: func(_ context.Context, number string) { fmt.Println("enter", number, "on your phone") },
		BaseURL:    srv.URL(), LoginURL: srv.LoginURL(), HTTPClient: srv.Client(), // leave these out for the real ones
	}
	client, err := armor.New(armor.Options{
		Source:    src,
		Transport: srv.Client().Transport,
		Config:    renew.Config{Interactive: true}, // calls may ask a person
	})
	if err != nil {
		panic(err)
	}
	ctx := context.Background()
	defer func() { _ = client.Close(ctx) }()

	fmt.Println(client.Login(ctx), client.Accounts())

	_, err = armor.New(armor.Options{Source: src, Config: renew.Config{Interactive: true, ReissueEvery: armor.DefaultReissueEvery}})
	fmt.Println(errors.Is(err, armor.ErrNoReissue))
	// Output:
	// enter 42 on your phone
	// <nil> [{1000 Account 1000} {2000 Account 2000}]
	// true
}

// Without a Client: a Source for renew.New, and an http.Client of one's own.
func ExampleFHAuth() {
	srv := armortest.New(armortest.Config{})
	defer srv.Close()

	src := &armor.FHAuth{
		Username: "user@example.com",
		PasswordFunc: func(context.Context) (renew.Secret, error) {
			return renew.NewSecret("correct horse battery staple"), nil
		},
		AccountID: "22",
		BaseURL:   srv.URL(), HTTPClient: srv.Client(),
	}
	ts, err := renew.New(src, renew.Config{ReissueEvery: armor.DefaultReissueEvery})
	if err != nil {
		panic(err)
	}
	ctx := context.Background()
	defer func() { _ = ts.Close(ctx) }()

	_, err = ts.Token(ctx)
	if ae, ok := errors.AsType[*armor.AccountError](err); ok {
		fmt.Println(ae.ID, "is not one of", ae.Valid)
	}
	// Output: 22 is not one of [1000 2000]
}
