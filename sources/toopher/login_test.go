package toopher_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"testing"

	"github.com/seed-f29168f7/renew/sources/toopher"
	"github.com/seed-f29168f7/renew/sources/toopher/toophertest"
)

// guest answers the questions of a login, and notes them with their reasons.
type guest struct{ asked []string }

func (g *guest) note(what string, why error) {
	for name, sentinel := range sentinels {
		if sentinel != nil && errors.Is(why, sentinel) {
			g.asked = append(g.asked, what+" for "+name)
			return
		}
	}
	g.asked = append(g.asked, what)
}

func (g *guest) login() toopher.Login {
	return toopher.Login{
		UserName: kim, TerminalID: cookie,
		AskPhrase: func(_ context.Context, why error) (string, error) {
			g.note("phrase", why)
			return "silent otter", nil
		},
		AskTerminalName: func(_ context.Context, why error) (string, error) {
			g.note("name", why)
			return "Kim’s laptop", nil
		},
	}
}

func (g *guest) wasAsked(t *testing.T, want ...string) {
	t.Helper()
	if !slices.Equal(g.asked, want) {
		t.Errorf("asked for %q, want %q", g.asked, want)
	}
}

func TestLoginOfAStranger(t *testing.T) {
	inBubble(t, func(t *testing.T, s *toophertest.Service, c *toopher.Client, _ func() []float64) {
		s.Looks = 2
		g := &guest{}
		l := g.login()
		l.Fields = []toopher.Field{toopher.ActionName("Wire €500")}
		a, err := c.Login(t.Context(), l)
		if err != nil || !a.Granted() || a.Action.Name != "Wire €500" || a.Terminal.Name != "Kim’s laptop" || a.User.Name != kim {
			t.Errorf("%+v, %v", a, err)
		}
		g.wasAsked(t, "phrase for UserUnknown", "name for TerminalUnknown")
		// The second time nothing is asked.
		g.asked = nil
		s.Script(toophertest.Decision{Grant: true, Automated: true})
		before := s.Counts().Looks
		if a, err = c.Login(t.Context(), l); err != nil || !a.Granted() || !a.Automated || s.Counts().Looks != before {
			t.Errorf("%+v, %v", a, err)
		}
		g.wasAsked(t)
		if n := s.Counts(); n.Pairings != 1 || n.Terminals != 1 || n.Authentications != 2 {
			t.Errorf("counts = %+v", n)
		}
	})
}

func TestLoginAfterADeactivation(t *testing.T) {
	inBubble(t, func(t *testing.T, s *toophertest.Service, c *toopher.Client, _ func() []float64) {
		s.Looks = 1
		p, _ := paired(t, s, c)
		s.Deactivate(p.ID)
		g := &guest{}
		s.Script(toophertest.Decision{Grant: true}, toophertest.Decision{Reason: "Denied by user"})
		a, err := c.Login(t.Context(), g.login())
		if err != nil || a.Granted() || !a.Denied() {
			t.Errorf("%+v, %v, want a denial", a, err)
		}
		g.wasAsked(t, "phrase for PairingDeactivated", "name for TerminalUnknown")
	})
}

func TestLoginOfOneWhoOptedOut(t *testing.T) {
	s, c := service(t, at(1418000000))
	s.AddUser(kim)
	if err := c.SetUserEnabled(t.Context(), kim, false); err != nil {
		t.Fatal(err)
	}
	g := &guest{}
	a, err := c.Login(t.Context(), g.login())
	if a != nil {
		t.Errorf("a result: %+v", a)
	}
	checkKind(t, err, "UserDisabled")
	g.wasAsked(t)
}

func TestLoginWithoutQuestions(t *testing.T) {
	s, c := service(t, at(1418000000))
	l := toopher.Login{UserName: kim, TerminalID: cookie}
	_, err := c.Login(t.Context(), l)
	checkKind(t, err, "UserUnknown")
	p, _ := paired(t, s, c)
	_, err = c.Login(t.Context(), l)
	checkKind(t, err, "TerminalUnknown")
	s.Deactivate(p.ID)
	_, err = c.Login(t.Context(), l)
	checkKind(t, err, "PairingDeactivated")
	if n := s.Counts(); n.Requests != 5 {
		t.Errorf("requests = %d, want 5: nothing is tried twice", n.Requests)
	}
}

func TestLoginPairingDenied(t *testing.T) {
	inBubble(t, func(t *testing.T, s *toophertest.Service, c *toopher.Client, _ func() []float64) {
		s.Looks = 2
		s.Script(toophertest.Decision{})
		if _, err := c.Login(t.Context(), (&guest{}).login()); !errors.Is(err, toopher.ErrPairingDenied) {
			t.Errorf("err = %v", err)
		}
	})
}

func TestLoginPhraseIsAskedForAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, s *toophertest.Service, c *toopher.Client, _ func() []float64) {
		s.Looks = 1
		g := &guest{}
		l := g.login()
		var whys []error
		ask := l.AskPhrase
		l.AskPhrase = func(ctx context.Context, why error) (string, error) {
			whys = append(whys, why)
			if len(whys) == 1 {
				s.Fail(toophertest.Error(400, 400, "Wrong phrase.")) // to the Pair that follows
			}
			return ask(ctx, why)
		}
		a, err := c.Login(t.Context(), l)
		if err != nil || !a.Granted() {
			t.Errorf("%+v, %v", a, err)
		}
		if len(whys) != 2 || !errors.Is(whys[0], toopher.ErrUserUnknown) {
			t.Fatalf("asked because of %v", whys)
		}
		if e, ok := errors.AsType[*toopher.APIError](whys[1]); !ok || e.Message != "Wrong phrase." {
			t.Errorf("asked again because of %v, want what Pair said", whys[1])
		}
	})
}

func TestLoginIsBounded(t *testing.T) {
	for rounds, want := range map[int]int{0: 5, 1: 1, 3: 3} {
		inBubble(t, func(t *testing.T, _ *toophertest.Service, c *toopher.Client, _ func() []float64) {
			// A service that says for ever that the terminal is unknown, whatever is created.
			c.HTTPClient.Transport = roundTripper(func(r *http.Request) (*http.Response, error) {
				if r.URL.Path == "/v1/user_terminals/create" {
					return reply(200, "", "{}"), nil
				}
				return reply(409, "", `{"error_code": 706, "error_message": "No matching terminal exists."}`), nil
			})
			n := 0
			l := toopher.Login{UserName: kim, TerminalID: cookie, Rounds: rounds, AskTerminalName: func(context.Context, error) (string, error) {
				n++
				return "pc", nil
			}}
			_, err := c.Login(t.Context(), l)
			if !errors.Is(err, toopher.ErrTooManyRounds) || !errors.Is(err, toopher.ErrTerminalUnknown) || n != want-1 {
				t.Errorf("Rounds %d: %v after %d questions, want %d", rounds, err, n, want-1)
			}
		})
	}
}

func TestLoginQuestionsFail(t *testing.T) {
	left := errors.New("the user left")
	s, c := service(t, at(1418000000))
	l := (&guest{}).login()
	l.AskPhrase = func(context.Context, error) (string, error) { return "", left }
	if _, err := c.Login(t.Context(), l); !errors.Is(err, left) {
		t.Errorf("err = %v", err)
	}
	l.AskPhrase = func(context.Context, error) (string, error) { return "", nil }
	_, err := c.Login(t.Context(), l)
	isConfig(t, "empty phrase", err)
	paired(t, s, c)
	l.AskTerminalName = func(context.Context, error) (string, error) { return "", fmt.Errorf("wrapped: %w", left) }
	if _, err := c.Login(t.Context(), l); !errors.Is(err, left) {
		t.Errorf("err = %v", err)
	}
}
