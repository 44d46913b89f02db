package renew_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"time"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/budget"
	"github.com/seed-f29168f7/renew/clock"
	"github.com/seed-f29168f7/renew/renewtest"
	"github.com/seed-f29168f7/renew/sources/oauth2"
)

// The common case: an API that wants OAuth 2 tokens. The same lines are in the README.
func Example() {
	issuer := renewtest.NewIssuer(renewtest.IssuerConfig{}) // stands for yours
	defer issuer.Close()
	issuer.Start()
	get := func(ctx context.Context) error {
		source := &oauth2.ClientCredentials{
			TokenURL:     issuer.TokenURL(),
			ClientID:     issuer.ClientID(),
			ClientSecret: renew.NewSecret(issuer.ClientSecret()),
		}
		tokens, err := renew.New(source, renew.Config{})
		if err != nil {
			return err
		}
		defer tokens.Close(ctx)
		client, err := tokens.Client(issuer.URL())
		if err != nil {
			return err
		}
		resp, err := client.Get(issuer.APIURL()) // from any number of goroutines
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		fmt.Println(resp.Status)
		return nil
	}
	if err := get(context.Background()); err != nil {
		fmt.Println(err)
	}
	// Output: 200 OK
}

// counter is a Source that numbers its tokens.
type counter struct{ n int }

func (c *counter) Issue(context.Context) (*renew.Token, error) {
	c.n++
	return &renew.Token{Value: renew.NewSecret(fmt.Sprint("token-", c.n)), Life: time.Hour}, nil
}

// A server that does not speak HTTP: ask for the token at each use, and say when it was refused.
func ExampleTokenSource_Reject() {
	ctx := context.Background()
	tokens, _ := renew.New(&counter{}, renew.Config{})
	defer tokens.Close(ctx)

	tok, _ := tokens.Token(ctx)
	fmt.Println(tok.HeaderValue())
	tok, _ = tokens.Reject(ctx, tok) // the server said no
	fmt.Println(tok.HeaderValue())
	// Output:
	// Bearer token-1
	// Bearer token-2
}

// At start-up, wait for the issuer; it may come up after the daemon does.
func ExampleTokenSource_Wait() {
	calls := 0
	source := renew.SourceFunc(func(context.Context) (*renew.Token, error) {
		if calls++; calls < 3 {
			return nil, errors.New("connection refused")
		}
		return &renew.Token{Value: renew.NewSecret("xyz")}, nil
	})
	tokens, _ := renew.New(source, renew.Config{})
	defer tokens.Close(context.Background())

	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_, err := tokens.Wait(ctx)
	fmt.Println(err, "after", calls, "calls")
	// Output: <nil> after 3 calls
}

// Many credentials with one life.
func ExampleManager() {
	ctx := context.Background()
	m, _ := renew.NewManager(renew.Config{Endpoint: "https://issuer.example/token"})
	defer m.Close(ctx)
	for _, tenant := range []string{"blue", "green"} {
		if _, err := m.Add(tenant, &counter{}, renew.Config{}); err != nil {
			fmt.Println(err)
		}
	}
	fmt.Println("ready:", m.Ready() == nil)
	fmt.Println(m.Wait(ctx), "ready:", m.Ready() == nil)
	for _, s := range m.Status() {
		fmt.Println(s.Name, s.State, s.Next)
	}
	// Output:
	// ready: false
	// <nil> ready: true
	// blue ready reissue
	// green ready reissue
}

// A test of a day takes no time with a clock that is moved by hand.
func ExampleConfig_clock() {
	ctx := context.Background()
	fake := clock.NewFake(time.Time{})
	tokens, _ := renew.New(&counter{}, renew.Config{Clock: fake, WatchEvery: -1})
	defer tokens.Close(ctx)
	fake.Settle = func() { settle(tokens) } // in a testing/synctest bubble: synctest.Wait

	first, _ := tokens.Token(ctx)
	due, _ := fake.Next()
	fmt.Println("reissued between 36 and 48 minutes:", due >= 36*time.Minute && due <= 48*time.Minute)
	fake.Advance(59*time.Minute + 50*time.Second) // the end of the hour, less a leeway of 10 s
	next, _ := tokens.Token(ctx)
	fmt.Println(first.HeaderValue(), "then another:", next.HeaderValue() != first.HeaderValue())
	// Output:
	// reissued between 36 and 48 minutes: true
	// Bearer token-1 then another: true
}

// settle waits until no flight is in progress.
func settle(tokens *renew.TokenSource) {
	for tokens.Status().Next == renew.ActionFlight {
		runtime.Gosched()
	}
}

// A wrong password is not tried until the account is locked.
func ExampleBudgetError() {
	refuse := renew.SourceFunc(func(context.Context) (*renew.Token, error) {
		return nil, &renew.IssueError{Source: "example", Code: "wrong password", Kind: renew.Refused}
	})
	fake := clock.NewFake(time.Time{})
	tokens, _ := renew.New(refuse, renew.Config{Clock: fake, Budget: &budget.Budget{Units: 2, Window: time.Minute}})
	defer tokens.Close(context.Background())
	fake.Settle = func() { settle(tokens) }

	var spent *renew.BudgetError
	for attempts := 0; !errors.As(lastError(tokens), &spent); attempts++ {
		fake.Advance(time.Second)
	}
	fmt.Println("units left:", tokens.Status().BudgetLeft)
	fmt.Println("tried again within", spent.RetryAt.Sub(fake.Now().Wall) <= time.Minute)
	// Output:
	// units left: 0
	// tried again within true
}

func lastError(tokens *renew.TokenSource) error {
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // look, do not wait
	_, err := tokens.Token(ctx)
	return err
}

// A reverse proxy in front of an API must replace what its clients send.
func ExampleNewTransport() {
	tokens, _ := renew.New(&counter{}, renew.Config{})
	defer tokens.Close(context.Background())
	transport, err := renew.NewTransport(tokens, renew.TransportConfig{
		Origins:    []string{"https://api.example"},
		OnExisting: renew.Replace,
	})
	fmt.Println(transport != nil, err)

	_, err = (&http.Client{Transport: transport}).Get("https://elsewhere.example/")
	var origin *renew.OriginError
	fmt.Println(errors.As(err, &origin), origin.Origin)
	// Output:
	// true <nil>
	// true https://elsewhere.example
}

func ExampleSecret() {
	password := renew.NewSecret("hunter2")
	fmt.Printf("%v %q %x\n", password, password, password)
	fmt.Println(len(password.Reveal()))
	// Output:
	// [redacted] [redacted] [redacted]
	// 7
}
