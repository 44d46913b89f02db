package lockout

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/budget"
	"github.com/seed-f29168f7/renew/clock"
	"github.com/seed-f29168f7/renew/sources/internal/leaktest"
)

const secret = "correct horse battery"

// says returns a function that says one password.
func says(text string) func(context.Context) (renew.Secret, error) {
	return func(context.Context) (renew.Secret, error) { return renew.NewSecret(text), nil }
}

func at(path string) Request {
	return Request{Source: "test", Origin: Origin{"https", "api.example"}, Path: path}
}

// attempt makes one attempt, which must not have to wait.
func attempt(t *testing.T, s *Gates, r Request, v Verdict) {
	t.Helper()
	a, _, err := s.Begin(ended(), r, says(secret))
	if errors.Is(err, errEnded) {
		a, _, err = s.Begin(t.Context(), r, says(secret))
	}
	if err != nil {
		t.Fatalf("%s: %v", r.Path, err)
	}
	a.End(v)
}

var errEnded = errors.New("the caller went away")

// ended is a context that has ended: with it, only what flows freely begins.
func ended() context.Context {
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(errEnded)
	return ctx
}

// flows reports whether an attempt at a path needs to wait for no one.
func flows(t *testing.T, s *Gates, path string) bool {
	t.Helper()
	a, _, err := s.Begin(ended(), at(path), says(secret))
	if err == nil {
		a.End(Unknown)
	} else if !errors.Is(err, errEnded) {
		t.Fatal(err)
	}
	return err == nil
}

func spent(t *testing.T, s *Gates, r Request) *renew.BudgetError {
	t.Helper()
	a, _, err := s.Begin(t.Context(), r, says(secret))
	var be *renew.BudgetError
	if !errors.As(err, &be) {
		t.Fatalf("%s: %v, %v, want a BudgetError", r.Path, a, err)
	}
	leaktest.Check(t, be, secret)
	return be
}

func TestR18_WrongPassword(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s Gates
		var wg sync.WaitGroup
		var sent, atOnce, most, refusedForBudget atomic.Int32
		start := clock.Real{}.Now()
		for i := range 200 {
			wg.Go(func() {
				a, password, err := s.Begin(t.Context(), at(fmt.Sprint("/", i%7)), says(secret))
				if err != nil {
					var be *renew.BudgetError
					if !errors.As(err, &be) {
						t.Error(err)
						return
					}
					refusedForBudget.Add(1)
					// The first was free; the unit of the second comes back ten minutes after its end.
					if want := start.Wall.Add(2*time.Second + 10*time.Minute); !be.RetryAt.Equal(want) {
						t.Errorf("RetryAt is %v, want %v", be.RetryAt, want)
					}
					return
				}
				if password.Reveal() != secret {
					t.Error("not the password that was asked for")
				}
				sent.Add(1)
				most.Store(max(most.Load(), atOnce.Add(1)))
				time.Sleep(time.Second)
				atOnce.Add(-1)
				a.End(Refused)
			})
		}
		wg.Wait()
		if sent.Load() != 5 || most.Load() != 1 || refusedForBudget.Load() != 195 {
			t.Errorf("%d attempts, %d at once, %d told of the budget; want 5, 1, 195", sent.Load(), most.Load(), refusedForBudget.Load())
		}
		time.Sleep(time.Until(spent(t, &s, at("/")).RetryAt)) // R21: it works again by itself
		attempt(t, &s, at("/"), Refused)
		spent(t, &s, at("/"))
	})
}

func TestR18_AcceptedFlows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s Gates
		if flows(t, &s, "/") {
			t.Error("a password that was never accepted flows")
		}
		attempt(t, &s, at("/"), Accepted)
		var open []*Attempt
		for i := range 50 {
			a, _, err := s.Begin(ended(), at(fmt.Sprint("/", i)), says(secret))
			if err != nil {
				t.Fatal(err)
			}
			open = append(open, a)
		}
		for _, a := range open {
			a.End(Accepted)
		}
	})
}

func TestR18_UnitsBack(t *testing.T) {
	for v, left := range map[Verdict]int{Unjudged: 4, Unknown: 3, Refused: 3, Accepted: 3} {
		synctest.Test(t, func(t *testing.T) {
			var s Gates
			r := at("/")
			r.Budget = &budget.Budget{}
			attempt(t, &s, r, Refused)
			now := func() time.Duration { return clock.Real{}.Now().Mono }
			if got := r.Budget.Left(now()); got != 4 {
				t.Errorf("the first refusal was not free: %d units left", got)
			}
			a, _, err := s.Begin(t.Context(), r, says(secret))
			if err != nil {
				t.Fatal(err)
			}
			if got := r.Budget.Left(now()); got != 3 {
				t.Errorf("%d units left during an attempt, want 3", got)
			}
			a.End(v)
			a.End(Refused) // too late
			if got := r.Budget.Left(now()); got != left {
				t.Errorf("verdict %d: %d units left, want %d", v, got, left)
			}
			if got := flows(t, &s, "/"); got != (v == Accepted) {
				t.Errorf("verdict %d: flows = %v", v, got)
			}
		})
	}
}

// The budget is shared between signers of one account, and so are its units.
func TestR18_SharedBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var one, two Gates
		r := at("/")
		r.Budget = &budget.Budget{Units: 2}
		for range 2 {
			attempt(t, &one, r, Refused)
			attempt(t, &two, r, Refused)
		}
		spent(t, &one, r)
		spent(t, &two, r)
	})
}

func TestR17_OldVerdicts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s Gates
		attempt(t, &s, at("/"), Accepted)
		begin := func() *Attempt {
			a, _, err := s.Begin(t.Context(), at("/"), says(secret))
			if err != nil {
				t.Fatal(err)
			}
			return a
		}
		first, second, third := begin(), begin(), begin()
		second.End(Accepted)
		first.End(Refused)
		if !flows(t, &s, "/") {
			t.Error("a refusal counts though a later request was accepted")
		}
		third.End(Refused)
		if flows(t, &s, "/") {
			t.Error("a refusal does not count though no later request was accepted")
		}
	})
	// An acceptance of a request that was sent before a refusal says nothing of the password of today.
	synctest.Test(t, func(t *testing.T) {
		var s Gates
		attempt(t, &s, at("/"), Accepted)
		old, _, _ := s.Begin(t.Context(), at("/"), says(secret))
		attempt(t, &s, at("/"), Refused)
		old.End(Accepted)
		if flows(t, &s, "/") {
			t.Error("an old acceptance counts")
		}
	})
}

// One revocation that many requests see at once is one refusal.
func TestR17_ManyRefusedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s Gates
		r := at("/")
		r.Budget = &budget.Budget{}
		attempt(t, &s, r, Accepted)
		var open []*Attempt
		for range 100 {
			a, _, err := s.Begin(t.Context(), r, says(secret))
			if err != nil {
				t.Fatal(err)
			}
			open = append(open, a)
		}
		for _, a := range open {
			a.End(Refused)
		}
		if got := r.Budget.Left(clock.Real{}.Now().Mono); got != 4 {
			t.Errorf("%d units left, want 4", got)
		}
		for range 4 {
			attempt(t, &s, r, Refused)
		}
		spent(t, &s, r)
	})
}

func TestR22_OnePathThatRefusesAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s Gates
		attempt(t, &s, at("/good"), Accepted)
		for range 5 { // one is free
			attempt(t, &s, at("/bad"), Refused)
		}
		spent(t, &s, at("/bad"))
		attempt(t, &s, at("/good"), Accepted) // the doubt costs nothing
		if !flows(t, &s, "/good") || !flows(t, &s, "/other") {
			t.Error("the good paths do not flow")
		}
		spent(t, &s, at("/bad"))
		time.Sleep(10 * time.Minute)
		attempt(t, &s, at("/bad"), Accepted)
		if !flows(t, &s, "/bad") {
			t.Error("a path that accepts again does not flow")
		}
	})
}

// A password that has been accepted and is no good any more: one refusal a path for two paths, and the units.
func TestR22_PasswordChangedElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s Gates
		attempt(t, &s, at("/a"), Accepted)
		attempt(t, &s, at("/a"), Refused)
		attempt(t, &s, at("/b"), Refused)
		for _, path := range []string{"/c", "/d", "/a", "/b"} {
			attempt(t, &s, at(path), Refused)
		}
		for _, path := range []string{"/a", "/b", "/c", "/e"} {
			spent(t, &s, at(path))
		}
	})
}

// A server with a path that looks at no password, and a wrong one: each of the other paths is no first attempt of its own.
func TestR18_OpenPathBesideMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s Gates
		for window := 1; window <= 3; window++ {
			sent := 0
			for i := range 20 * maxSuspects {
				attempt(t, &s, at("/open"), Accepted)
				a, _, err := s.Begin(t.Context(), at(fmt.Sprint("/", i%(2*maxSuspects))), says(secret))
				if err == nil {
					sent++
					a.End(Refused)
				} else if !errors.Is(err, renew.ErrBudgetSpent) {
					t.Fatal(err)
				}
			}
			if sent != freeRefusals+budget.DefaultUnits {
				t.Errorf("%d wrong attempts in window %d, want %d", sent, window, freeRefusals+budget.DefaultUnits)
			}
			time.Sleep(budget.DefaultWindow)
		}
		if g := s.all[at("/").Origin].now; len(g.suspects) > maxSuspects || len(g.proven) > maxSuspects {
			t.Errorf("%d and %d paths are remembered", len(g.suspects), len(g.proven))
		}
	})
}

// One path that refuses many requests at once is one path.
func TestR22_OnePathAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s Gates
		attempt(t, &s, at("/good"), Accepted)
		var open []*Attempt
		for range 50 {
			a, _, err := s.Begin(t.Context(), at("/bad"), says(secret))
			if err != nil {
				t.Fatal(err)
			}
			open = append(open, a)
		}
		for _, a := range open {
			a.End(Refused)
		}
		attempt(t, &s, at("/good"), Accepted)
		for i := range 10 {
			if !flows(t, &s, fmt.Sprint("/other/", i)) {
				t.Errorf("/other/%d does not flow", i)
			}
		}
	})
}

// Many paths that refuse everybody: those that have accepted flow, and the others go one by one while there is a unit, and take none.
func TestR22_ManyPaths(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s Gates
		r := at("/good")
		r.Budget = &budget.Budget{}
		begin := func(path string) *Attempt {
			t.Helper()
			r.Path = path
			a, _, err := s.Begin(t.Context(), r, says(secret))
			if err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			return a
		}
		begin("/good").End(Accepted)
		for _, path := range []string{"/bad/1", "/bad/2", "/bad/3"} {
			begin(path).End(Refused)
			begin("/good").End(Accepted)
		}
		for i := range 3 * maxSuspects {
			a := begin(fmt.Sprint("/other/", i))
			if !a.Costs() {
				t.Fatalf("%d: no unit is reserved", i)
			}
			a.End(Accepted)
			begin("/good").End(Accepted)
		}
		if left := r.Budget.Left(clock.Real{}.Now().Mono); left != 3 {
			t.Errorf("%d units are left, want 3: one for /bad/3", left)
		}
		for _, path := range []string{"/bad/1", "/bad/2", "/bad/3"} {
			begin(path).End(Refused)
			begin("/good").End(Accepted)
		}
		r.Path = "/another"
		spent(t, &s, r)
		begin("/good").End(Accepted)
		time.Sleep(budget.DefaultWindow)
		begin("/another").End(Accepted)
	})
}

func TestR23_AnotherPassword(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s Gates
		r := at("/")
		r.Budget = &budget.Budget{}
		for range 5 {
			attempt(t, &s, r, Refused)
		}
		spent(t, &s, r)
		a, _, err := s.Begin(t.Context(), r, says("another"))
		if err != nil {
			t.Fatalf("another password does not start anew: %v", err)
		}
		if a.Holds(renew.NewSecret(secret)) || !a.Holds(renew.NewSecret("another")) {
			t.Error("Holds does not know the password of the attempt")
		}
		spent(t, &s, r) // the old one is still spent, however often the function changes its mind
		a.End(Refused)
		if _, _, err := s.Begin(t.Context(), r, says("another")); !errors.Is(err, renew.ErrBudgetSpent) {
			t.Errorf("the other password is refused, and then: %v", err)
		}
		a, _, err = s.Begin(t.Context(), Request{Source: "test", Origin: Origin{"https", "other.example"}}, says(secret))
		if err != nil {
			t.Fatalf("another origin knows nothing of this one: %v", err)
		}
		a.End(Accepted)
	})
}

// A function that says another wrong password each time, one by one or all at once: two are free, and then it takes units.
func TestR18_AlwaysAnotherPassword(t *testing.T) {
	for _, atOnce := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			var s Gates
			var asked, sent atomic.Int32
			ask := func(context.Context) (renew.Secret, error) {
				return renew.NewSecret(fmt.Sprint("password ", asked.Add(1))), nil
			}
			round := func() {
				var wg sync.WaitGroup
				for range 100 {
					try := func() {
						a, _, err := s.Begin(t.Context(), at("/"), ask)
						if err != nil {
							if !errors.Is(err, renew.ErrBudgetSpent) {
								t.Error(err)
							}
							return
						}
						sent.Add(1)
						if atOnce {
							time.Sleep(time.Second)
						}
						a.End(Refused)
					}
					if atOnce {
						wg.Go(try)
					} else {
						try()
					}
				}
				wg.Wait()
			}
			round()
			if got := sent.Load(); got != 6 {
				t.Errorf("at once %v: %d attempts, want 6: the first, the one in its place, and 4 units", atOnce, got)
			}
			time.Sleep(10 * time.Minute)
			round()
			if got := sent.Load(); got != 11 {
				t.Errorf("at once %v: %d attempts in two windows, want 11", atOnce, got)
			}
		})
	}
}

// Those who wait ask for the password again, so that none of them sends one that was replaced meanwhile.
func TestR23_WaitersAskAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s Gates
		var current atomic.Pointer[string]
		set := func(text string) { current.Store(&text) }
		ask := func(context.Context) (renew.Secret, error) { return renew.NewSecret(*current.Load()), nil }
		set("old")
		first, _, err := s.Begin(t.Context(), at("/"), ask)
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				a, password, err := s.Begin(t.Context(), at("/"), ask)
				if err != nil || password.Reveal() != "new" {
					t.Errorf("a waiter got %q, %v", password.Reveal(), err)
					return
				}
				a.End(Accepted)
			})
		}
		synctest.Wait()
		set("new")
		first.End(Refused)
		wg.Wait()
	})
}

func TestBegin_EndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s Gates
		first, _, err := s.Begin(t.Context(), at("/"), says(secret))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		done := make(chan error)
		go func() {
			_, _, err := s.Begin(ctx, at("/"), says(secret))
			done <- err
		}()
		synctest.Wait()
		cancel(errEnded)
		if err := <-done; !errors.Is(err, errEnded) {
			t.Errorf("a waiter whose context ended: %v", err)
		}
		go func() {
			a, _, err := s.Begin(t.Context(), at("/"), says(secret))
			if err == nil {
				a.End(Unknown)
			}
			done <- err
		}()
		synctest.Wait()
		first.End(Unknown) // no answer came
		if err := <-done; err != nil {
			t.Errorf("the turn was not passed on: %v", err)
		}
		if _, _, err := s.Begin(t.Context(), at("/"), func(context.Context) (renew.Secret, error) {
			return renew.Secret{}, errEnded
		}); !errors.Is(err, errEnded) {
			t.Errorf("the error of the function is lost: %v", err)
		}
	})
}

func TestJudge(t *testing.T) {
	for code, want := range map[int]Verdict{
		200: Accepted, 204: Accepted, 301: Accepted, 304: Accepted, 404: Accepted, 409: Accepted,
		400: Unknown, 403: Unknown, 408: Unknown,
		401: Refused, 407: Unjudged, 429: Unjudged, 500: Unjudged, 503: Unjudged, 599: Unjudged,
	} {
		if got := Judge(&http.Response{StatusCode: code}, 401); got != want {
			t.Errorf("Judge(%d, 401) = %d, want %d", code, got, want)
		}
	}
	if got := Judge(&http.Response{StatusCode: 407}, 407); got != Refused {
		t.Errorf("Judge(407, 407) = %d", got)
	}
	if got := Judge(&http.Response{StatusCode: 401}, 407); got != Accepted {
		t.Errorf("the server's 401 through a proxy: %d: the proxy has accepted", got)
	}
	if got := Judge(nil, 401); got != Unknown {
		t.Errorf("no answer: %d", got)
	}
}

// A unit comes back when the request never got a connection, and not when it was cut off behind it.
func TestR18_Watch(t *testing.T) {
	broken := errors.New("no route")
	for _, tt := range []struct {
		name string
		dial func() (net.Conn, error)
		left int
	}{
		{"dial", func() (net.Conn, error) { return nil, broken }, 4},
		{"cut off", func() (net.Conn, error) {
			client, server := net.Pipe()
			go func() {
				_, _ = server.Read(make([]byte, 1))
				server.Close()
			}()
			return client, nil
		}, 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var s Gates
			r := at("/")
			r.Budget = &budget.Budget{}
			attempt(t, &s, r, Refused)
			a, _, err := s.Begin(t.Context(), r, says(secret))
			if err != nil {
				t.Fatal(err)
			}
			base := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return tt.dial() }}
			defer base.CloseIdleConnections()
			req, _ := http.NewRequestWithContext(t.Context(), "GET", "http://api.example/", nil)
			a.Watch(req)
			if resp, err := base.RoundTrip(req); err == nil {
				resp.Body.Close()
				t.Fatal("answered")
			}
			a.End(Judge(nil, 401))
			if got := r.Budget.Left(clock.Real{}.Now().Mono); got != tt.left {
				t.Errorf("%d units left, want %d", got, tt.left)
			}
		})
	}
	// A RoundTripper that knows nothing of traces: nobody can say that it did not send.
	var s Gates
	r := at("/")
	r.Budget = &budget.Budget{}
	attempt(t, &s, r, Refused)
	a, _, _ := s.Begin(t.Context(), r, says(secret))
	a.Watch(&http.Request{})
	a.End(Unknown)
	if got := r.Budget.Left(clock.Real{}.Now().Mono); got != 3 {
		t.Errorf("%d units left, want 3", got)
	}
}

func TestOriginOf(t *testing.T) {
	for text, want := range map[string]Origin{
		"https://API.example:443/x": {"https", "api.example"},
		"http://api.example.:80":    {"http", "api.example"},
		"https://api.example:80":    {"https", "api.example:80"},
		"http://[::1]:8080/":        {"http", "[::1]:8080"},
		"https://api.example:00443": {"https", "api.example"},
		"https://api.example:":      {"https", "api.example"},
		"https://api.example.:0844": {"https", "api.example:844"},
		"https://u:p@api.example":   {"https", "api.example"},
		"http://[0:0::1]:80/":       {"http", "[::1]"},
		"http://[FE80::1%25Eth0]":   {"http", "[fe80::1%Eth0]"},
	} {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := OriginOf(u); got != want {
			t.Errorf("OriginOf(%s) = %v, want %v", text, got, want)
		}
	}
}
