package toopher_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/sources/toopher"
	"github.com/seed-f29168f7/renew/sources/toopher/toophertest"
)

func Example() {
	service := toophertest.New("key", "secret") // stands for Toopher, and for a phone that answers at once
	service.Looks = 1
	base, stop, err := service.Start()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer stop()

	ctx := context.Background()
	client := &toopher.Client{Key: "key", Secret: renew.NewSecret("secret"), BaseURL: base}
	pairing, err := client.Pair(ctx, "silent otter", "kim@example.test")
	if err != nil {
		fmt.Println(err)
		return
	}
	if pairing, err = client.WaitForPairing(ctx, pairing.ID, toopher.Poll{}); err != nil || !pairing.Paired() {
		fmt.Println("not paired:", err)
		return
	}
	request, err := client.Authenticate(ctx, pairing.ID, "Kim's laptop", toopher.TerminalNameExtra("a-random-cookie"), toopher.ActionName("Log in"))
	if err != nil {
		fmt.Println(err)
		return
	}
	if request, err = client.WaitForAuthentication(ctx, request.ID, toopher.Poll{}); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(request.User.Name, request.Outcome(), request.Granted())
	// Output: kim@example.test granted true
}

// Nothing is stored: the user is known by name, the terminal by a cookie.
func ExampleClient_Login() {
	service := toophertest.New("key", "secret")
	service.Looks = 1
	base, stop, err := service.Start()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer stop()

	client := &toopher.Client{Key: "key", Secret: renew.NewSecret("secret"), BaseURL: base}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	answer, err := client.Login(ctx, toopher.Login{
		UserName:   "kim@example.test",
		TerminalID: "a-random-cookie",
		AskPhrase: func(_ context.Context, why error) (string, error) {
			fmt.Println("a phrase, please; unknown user:", errors.Is(why, toopher.ErrUserUnknown))
			return "silent otter", nil
		},
		AskTerminalName: func(context.Context, error) (string, error) {
			fmt.Println("a name for this computer, please")
			return "Kim's laptop", nil
		},
	})
	switch {
	case errors.Is(err, toopher.ErrUserDisabled):
		fmt.Println("opted out: the site's own policy decides")
	case err != nil:
		fmt.Println(err)
	default:
		fmt.Println(answer.Outcome())
	}
	// Output:
	// a phrase, please; unknown user: true
	// a name for this computer, please
	// granted
}

// The four errors are API errors, too.
func ExampleAPIError() {
	service := toophertest.New("key", "secret")
	base, stop, err := service.Start()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer stop()

	client := &toopher.Client{Key: "key", Secret: renew.NewSecret("secret"), BaseURL: base}
	_, err = client.AuthenticateByUserName(context.Background(), "nobody@example.test", "a-random-cookie")
	fmt.Println(errors.Is(err, toopher.ErrUserUnknown), errors.Is(err, toopher.ErrAPI))
	if e, ok := errors.AsType[*toopher.APIError](err); ok {
		fmt.Println(e.Status, e.Code, e.Message)
	}
	// Output:
	// true true
	// 409 705 No matching user exists.
}

// An unsigned error code, which anyone can post, is no opt-out.
func ExampleIframe_Postback() {
	frame := &toopher.Iframe{Client: &toopher.Client{Key: "key", Secret: renew.NewSecret("secret")}}
	form := url.Values{"error_code": {"704"}}
	_, err := frame.Postback(form, "the-token-in-the-session")
	fmt.Println(errors.Is(err, toopher.ErrUserDisabled))
	fmt.Println(err)
	// Output:
	// false
	// toopher: the postback is refused: the signature is missing or wrong
}
