package armor_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/sources/armor"
	"github.com/seed-f29168f7/renew/sources/armor/armortest"
)

// world is a Server, a Client for it, and what a trace says.
type world struct {
	*testing.T
	srv *armortest.Server
	c   *armor.Client
}

// inWorld runs f in a bubble.
func inWorld(t *testing.T, cfg armortest.Config, source func(*armortest.Server) armor.Source, change func(*armor.Options), f func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		srv := armortest.New(cfg)
		defer srv.Close()
		if source == nil {
			source = func(srv *armortest.Server) armor.Source { return fhAuth(srv) }
		}
		o := armor.Options{Source: source(srv), Transport: srv.Client().Transport}
		if change != nil {
			change(&o)
		}
		c, err := armor.New(o)
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := c.Close(context.Background()); err != nil {
				t.Errorf("Close: %v", err)
			}
		}()
		f(&world{t, srv, c})
	})
}

// thing asks for /thing and tells what came of it, in a word.
func (w *world) thing() string {
	w.Helper()
	resp, err := w.c.Get(w.Context(), w.srv.URL()+"/thing")
	if err == nil {
		_ = resp.Body.Close()
	}
	return verdict(err)
}

// verdict is what an error means, in a word.
func verdict(err error) string {
	se, _ := errors.AsType[*armor.StatusError](err)
	ie, _ := errors.AsType[*renew.IssueError](err)
	switch {
	case err == nil:
		return "ok"
	case se != nil && errors.Is(err, renew.ErrBudgetSpent):
		return fmt.Sprint(se.Status, " spent")
	case se != nil:
		return fmt.Sprint(se.Status)
	case errors.Is(err, renew.ErrBudgetSpent):
		return "spent"
	case errors.Is(err, renew.ErrInteractionRequired):
		return "person"
	case ie != nil && ie.Permanent:
		return ie.Kind.String() + " for good"
	case ie != nil:
		return ie.Kind.String()
	}
	return err.Error()
}

// row is one line of a trace: what was done, what came of it, and what the server saw of it.
type row struct {
	do   string
	want string // outcomes, and the calls that they took: "ok ok: thing authorize"
}

// play runs the rows. "n things" are n calls of /thing one after the other, "reset" is an operator's; others are durations to wait.
func (w *world) play(rows []row) {
	w.Helper()
	seen := len(w.srv.Calls())
	for i, r := range rows {
		var n int
		var got []string
		if _, err := fmt.Sscanf(r.do, "%d things", &n); err == nil {
			for range n {
				got = append(got, w.thing())
			}
		} else if r.do == "reset" {
			w.c.TokenSource().Reset()
			synctest.Wait()
		} else {
			d, err := time.ParseDuration(r.do)
			if err != nil {
				w.Fatal(err)
			}
			time.Sleep(d)
			synctest.Wait()
		}
		calls := w.srv.Calls()
		line := strings.TrimSpace(strings.Join(got, " ") + ": " + short(calls[seen:]))
		seen = len(calls)
		if line != r.want {
			w.Errorf("row %d, %s:\n got %s\nwant %s", i+1, r.do, line, r.want)
		}
		w.Logf("%-9s %s", r.do, line)
	}
	w.Logf("calls: authorize %d, token %d, me %d, reissue %d, login %d, factor %d, prompts %d, thing %d",
		w.srv.Count(armortest.Authorize), w.srv.Count(armortest.Token), w.srv.Count(armortest.Me), w.srv.Count(armortest.Reissue),
		w.srv.Count(armortest.Login), w.srv.Count(armortest.Factored), w.srv.Prompts(), w.srv.Count("GET /thing"))
}

// short names the calls in one word each: a whole login of v1 is "LOGIN", and "t" asks for /thing.
func short(calls []string) string {
	text := strings.Join(calls, " ")
	text = strings.ReplaceAll(text, "GET /thing", "t")
	text = strings.ReplaceAll(text, "authorize token me", "LOGIN")
	return strings.ReplaceAll(text, "login page factor me", "MFALOGIN")
}

var (
	unauthorized = armortest.Fault{Status: 401, Body: `{"Message":"Authorization has been denied for this request."}`}
	v2           = func(srv *armortest.Server) armor.Source { return adfs(srv) }
	interactive  = func(o *armor.Options) { o.Config.Interactive = true }
)

// A wrong password goes out once. The next caller may try once more after one window, for a unit.
func TestR23_ArmorWrongPassword(t *testing.T) {
	inWorld(t, armortest.Config{}, nil, nil, func(w *world) {
		w.srv.SetPassword("another")
		w.play([]row{
			{"1 things", "refused for good: authorize"},
			{"6 things", strings.Repeat("refused for good ", 5) + "refused for good:"},
			{"599s", ":"},
			{"1 things", "refused for good:"},
			{"1s", ":"},
			{"2 things", "refused for good refused for good: authorize"},
		})
	})
}

// A 401 of authorize is final, so the login that would work now waits for the window, or for Reset.
func TestR23_ArmorAuthorizeRefusedOnce(t *testing.T) {
	inWorld(t, armortest.Config{}, nil, nil, func(w *world) {
		w.srv.Fail(armortest.Authorize, unauthorized, 1)
		w.play([]row{
			{"2 things", "refused for good refused for good: authorize"},
			{"600s", ":"},
			{"1 things", "ok: LOGIN t"},
		})
		if left := w.c.TokenSource().Status().BudgetLeft; left != 3 {
			w.Errorf("units left = %d, want 3", left)
		}
	})
	inWorld(t, armortest.Config{}, nil, nil, func(w *world) {
		w.srv.Fail(armortest.Authorize, unauthorized, 1)
		w.play([]row{{"1 things", "refused for good: authorize"}, {"reset", ": LOGIN"}, {"1 things", "ok: t"}})
	})
}

// A changed password ends a refusal for good at once.
func TestR23_ArmorChangedPassword(t *testing.T) {
	password, version := "wrong", uint64(1)
	source := func(srv *armortest.Server) armor.Source {
		s := fhAuth(srv)
		s.Password = renew.Secret{}
		s.PasswordFunc = func(context.Context) (renew.Secret, error) { return renew.NewSecret(password), nil }
		s.InputVersion = func() uint64 { return version }
		return s
	}
	inWorld(t, armortest.Config{}, source, nil, func(w *world) {
		w.play([]row{{"2 things", "refused for good refused for good: authorize"}})
		password, version = armortest.DefaultPassword, 2
		w.play([]row{{"1 things", "ok: LOGIN t"}})
	})
}

// One API call that answers 401 once is repeated after one login.
func TestR22_ArmorOneCallRefusedOnce(t *testing.T) {
	inWorld(t, armortest.Config{}, nil, nil, func(w *world) {
		w.play([]row{{"1 things", "ok: LOGIN t"}})
		w.srv.Fail(armortest.API, unauthorized, 1)
		w.play([]row{{"1 things", "ok: t LOGIN t"}, {"1 things", "ok: t"}})
		if left := w.c.TokenSource().Status().BudgetLeft; left != 3 {
			w.Errorf("units left = %d, want 3", left)
		}
	})
}

// One endpoint that refuses everybody, called 7 times: 4 logins, and the token stays in service for
// other endpoints. 601 s later a login works again.
func TestR18_ArmorOneEndpointAlwaysRefuses(t *testing.T) {
	inWorld(t, armortest.Config{}, nil, nil, func(w *world) {
		w.play([]row{{"1 things", "ok: LOGIN t"}})
		w.srv.Fail(armortest.API, unauthorized, -1)
		w.play([]row{
			{"4 things", "401 401 401 401: t LOGIN t t LOGIN t t LOGIN t t LOGIN t"},
			{"3 things", "401 spent 401 spent 401 spent: t t t"},
		})
		if err := w.c.Login(w.Context()); err != nil {
			w.Errorf("after that, Login: %v, want the token still in service", err)
		}
		if n := w.srv.Count(armortest.Authorize); n != 5 {
			w.Errorf("logins = %d, want the first and 4 that the budget allows", n)
		}
		time.Sleep(601 * time.Second)
		synctest.Wait()
		before := w.srv.Count(armortest.Authorize)
		w.play([]row{{"1 things", "401: t LOGIN t"}})
		if n := w.srv.Count(armortest.Authorize) - before; n != 1 {
			w.Errorf("logins = %d, want 1", n)
		}
	})
}

// The window slides: in every 600 s there are at most 4 logins, where a fixed window would allow 8 around its end.
func TestR18_ArmorWindowSlides(t *testing.T) {
	inWorld(t, armortest.Config{}, nil, nil, func(w *world) {
		w.play([]row{{"1 things", "ok: LOGIN t"}, {"500s", ":"}})
		w.srv.Fail(armortest.API, unauthorized, -1)
		w.play([]row{{"5 things", "401 401 401 401 401 spent: t LOGIN t t LOGIN t t LOGIN t t LOGIN t t"}})
		time.Sleep(200 * time.Second) // 700 s after the start, 200 s after the last
		w.play([]row{{"2 things", "401 spent 401 spent: t t"}})
	})
}

// retries401 is the number of units.
func TestR18_ArmorRetries401(t *testing.T) {
	for _, n := range []int{1, 2, 100} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			inWorld(t, armortest.Config{}, nil, func(o *armor.Options) { o.Retries401 = n }, func(w *world) {
				w.play([]row{{"1 things", "ok: LOGIN t"}})
				w.srv.Fail(armortest.API, unauthorized, -1)
				for range n + 3 {
					w.thing()
				}
				if got := w.srv.Count(armortest.Authorize); got != n+1 {
					w.Errorf("logins = %d, want %d", got, n+1)
				}
				if got, want := w.srv.Count("GET /thing"), 1+2*n+3; got != want {
					w.Errorf("calls of /thing = %d, want %d", got, want)
				}
			})
		})
	}
}

// /me refuses every token: each call logs in once, for a unit from the second on, and none tries by itself.
func TestR18_ArmorMeAlwaysRefuses(t *testing.T) {
	inWorld(t, armortest.Config{}, nil, nil, func(w *world) {
		w.srv.Fail(armortest.Me, unauthorized, -1)
		w.play([]row{
			{"1 things", "refused: LOGIN"},
			{"60s", ":"},
			{"4 things", "refused refused refused refused: LOGIN LOGIN LOGIN LOGIN"},
			{"2 things", "spent spent:"},
			{"300s", ":"},
			{"1 things", "spent:"},
		})
		time.Sleep(301 * time.Second)
		w.play([]row{{"1 things", "refused: LOGIN"}})
	})
}

// /me breaks after each login: the password was judged each time, so each costs a unit, and so does each prompt.
func TestR18_ArmorLoginsThatBreakLaterAreCounted(t *testing.T) {
	inWorld(t, armortest.Config{}, nil, nil, func(w *world) {
		w.play([]row{{"1 things", "ok: LOGIN t"}})
		w.srv.Fail(armortest.Me, armortest.Fault{Status: 500}, -1)
		w.srv.Revoke()
		for range 20 {
			_ = w.thing()
			time.Sleep(25 * time.Second)
		}
		if n := w.srv.Count(armortest.Authorize); n != 5 {
			w.Errorf("logins in 500 s = %d, want the first and 4", n)
		}
	})
	inWorld(t, armortest.Config{Factor: armortest.LongPost}, v2, interactive, func(w *world) {
		w.play([]row{{"1 things", "ok: MFALOGIN t"}})
		w.srv.Fail(armortest.Me, armortest.Fault{Status: 500}, -1)
		w.srv.Revoke()
		for range 20 {
			_ = w.thing()
			time.Sleep(25 * time.Second)
		}
		if n := w.srv.Prompts(); n != 5 {
			w.Errorf("prompts in 500 s = %d, want the first and 4", n)
		}
	})
}

// A code that token refuses is a refusal, not for good: the next caller may try, for a unit.
func TestR23_ArmorTokenRefusedIsNotForGood(t *testing.T) {
	for _, status := range []int{400, 401} {
		inWorld(t, armortest.Config{}, nil, nil, func(w *world) {
			w.srv.Fail(armortest.Token, armortest.Fault{Status: status}, 2)
			w.play([]row{{"1 things", "refused: authorize token"}, {"60s", ":"}, {"2 things", "refused ok: authorize token LOGIN t"}})
			if left := w.c.TokenSource().Status().BudgetLeft; left != 2 {
				w.Errorf("%d: units left = %d, want 2", status, left)
			}
		})
	}
	inWorld(t, armortest.Config{}, nil, nil, func(w *world) {
		w.srv.Fail(armortest.Authorize, armortest.Fault{Status: 200, Body: `{"success":false}`}, 1)
		w.play([]row{{"2 things", "refused ok: authorize LOGIN t"}})
	})
}

// A refused reissue is followed by a login within the same flight, for a unit; nobody notices.
func TestR18_ArmorReissueRefused(t *testing.T) {
	inWorld(t, armortest.Config{}, nil, nil, func(w *world) {
		w.srv.Fail(armortest.Reissue, unauthorized, 1)
		w.play([]row{{"1 things", "ok: LOGIN t"}, {"610s", ": reissue LOGIN"}, {"1 things", "ok: t"}})
		if left := w.c.TokenSource().Status().BudgetLeft; left != 3 {
			w.Errorf("units left = %d, want 3", left)
		}
	})
}

// v2 with a /me that refuses every token: one prompt for one call, and 5 in all in one window.
func TestR18_ArmorADFSMeAlwaysRefuses(t *testing.T) {
	inWorld(t, armortest.Config{Factor: armortest.LongPost}, v2, interactive, func(w *world) {
		w.srv.Fail(armortest.Me, unauthorized, -1)
		w.play([]row{
			{"1 things", "refused: MFALOGIN"},
			{"60s", ":"},
			{"6 things", "refused refused refused refused spent spent: MFALOGIN MFALOGIN MFALOGIN MFALOGIN"},
		})
		if n := w.srv.Prompts(); n != 5 {
			w.Errorf("prompts = %d, want 5", n)
		}
	})
}

// v2: one endpoint that always answers 401 costs the person 4 prompts beside the first one.
func TestR18_ArmorADFSOneEndpointAlwaysRefuses(t *testing.T) {
	inWorld(t, armortest.Config{Factor: armortest.LongPost}, v2, interactive, func(w *world) {
		w.srv.Fail(armortest.API, unauthorized, -1)
		w.play([]row{
			{"1 things", "401: MFALOGIN t MFALOGIN t"},
			{"6 things", "401 401 401 401 spent 401 spent 401 spent: t MFALOGIN t t MFALOGIN t t MFALOGIN t t t t"},
		})
		if n := w.srv.Prompts(); n != 5 {
			w.Errorf("prompts = %d, want 5", n)
		}
	})
}

// v2: a wrong password asks nobody, and is sent once.
func TestR23_ArmorADFSWrongPassword(t *testing.T) {
	inWorld(t, armortest.Config{Factor: armortest.Polled}, v2, interactive, func(w *world) {
		w.srv.SetPassword("another")
		w.play([]row{{"3 things", "refused for good refused for good refused for good: login"}})
		if n := w.srv.Prompts(); n != 0 {
			w.Errorf("prompts = %d, want none", n)
		}
	})
}

// 50 goroutines with one dead token make one login.
func TestR17_ArmorOneLoginForMany(t *testing.T) {
	inWorld(t, armortest.Config{}, nil, nil, func(w *world) {
		w.play([]row{{"1 things", "ok: LOGIN t"}})
		w.srv.Revoke()
		outcomes := make(chan string, 50)
		for range cap(outcomes) {
			go func() { outcomes <- w.thing() }()
		}
		for range cap(outcomes) {
			if got := <-outcomes; got != "ok" {
				w.Errorf("a call: %s, want ok", got)
			}
		}
		if n := w.srv.Count(armortest.Authorize); n != 2 {
			w.Errorf("logins = %d, want 2", n)
		}
	})
}

// The timer trades the token of 15 minutes every 9 to 10, for a day, without a password and without traffic.
func TestR12_ArmorReissuesEveryTenMinutes(t *testing.T) {
	for _, keep := range []bool{false, true} {
		t.Run(fmt.Sprint("old token kept ", keep), func(t *testing.T) {
			inWorld(t, armortest.Config{KeepOld: keep}, nil, nil, func(w *world) {
				w.play([]row{{"1 things", "ok: LOGIN t"}})
				time.Sleep(24 * time.Hour)
				if n := w.srv.Count(armortest.Reissue); n < 144 || n > 160 {
					w.Errorf("reissues in a day = %d, want 144 to 160", n)
				}
				if n := w.srv.Count(armortest.Authorize); n != 1 {
					w.Errorf("logins = %d, want 1", n)
				}
				w.play([]row{{"1 things", "ok: t"}})
				if reqs := w.srv.Requests(); reqs[len(reqs)-1].Header.Get(armor.AccountHeader) != "1000" {
					w.Error("after reissues the account is gone")
				}
			})
		})
	}
}

// v2: no timer logs in. The next call after the end of the token's life does.
func TestR7_ArmorADFSTimerAsksNobody(t *testing.T) {
	inWorld(t, armortest.Config{Factor: armortest.LongPost}, v2, interactive, func(w *world) {
		w.play([]row{{"1 things", "ok: MFALOGIN t"}, {"24h", ":"}, {"1 things", "ok: MFALOGIN t"}})
	})
}

// v1 with MFA: reissues need nobody, a refused one starts no login, the next caller does.
func TestR7_ArmorMFAReissuesAlone(t *testing.T) {
	mfa := func(srv *armortest.Server) armor.Source {
		s := fhAuth(srv)
		s.MFA = true
		return s
	}
	inWorld(t, armortest.Config{}, mfa, interactive, func(w *world) {
		w.play([]row{{"1 things", "ok: LOGIN t"}, {"601s", ": reissue"}})
		w.srv.Fail(armortest.Reissue, unauthorized, -1)
		w.play([]row{{"1h", ": reissue"}, {"1 things", "ok: LOGIN t"}})
	})
}

// 403 and 429 never lead to a login, and the pause is handed on.
func TestR20_ArmorPausesAreNotRefusals(t *testing.T) {
	inWorld(t, armortest.Config{}, nil, nil, func(w *world) {
		w.play([]row{{"1 things", "ok: LOGIN t"}})
		w.srv.Fail(armortest.API, armortest.Fault{Status: 429, Header: http.Header{"Retry-After": {"17"}}}, 1)
		_, err := w.c.Get(w.Context(), w.srv.URL()+"/thing")
		if se, ok := errors.AsType[*armor.StatusError](err); !ok || se.RetryAfter != 17*time.Second {
			w.Errorf("429: %v, want a pause of 17 s", err)
		}
		w.srv.Fail(armortest.API, armortest.Fault{Status: 429}, 1)
		w.srv.Fail(armortest.API, armortest.Fault{Status: 403}, 1)
		w.play([]row{{"3 things", "429 403 ok: t t t"}})
	})
	inWorld(t, armortest.Config{}, nil, nil, func(w *world) {
		w.srv.Fail(armortest.Authorize, armortest.Fault{Status: 429, Header: http.Header{"Retry-After": {"20"}}}, 1)
		start := time.Now()
		// The flight of 30 s waits for the pause, and the caller with it.
		w.play([]row{{"2 things", "throttled ok: authorize LOGIN t"}})
		if d := time.Since(start); d < 20*time.Second {
			w.Errorf("the second authorize came after %v, want 20 s", d)
		}
	})
}

// Redirects are not followed: neither by a login nor by an API call.
func TestR28_ArmorRedirectsAreNotFollowed(t *testing.T) {
	away := armortest.Fault{Status: 307, Header: http.Header{"Location": {"http://127.0.0.1:9/elsewhere"}}}
	for _, r := range []armortest.Route{armortest.Authorize, armortest.Token, armortest.Me, armortest.Login, armortest.Page, armortest.Factored} {
		t.Run(string(r), func(t *testing.T) {
			source, change := v2, interactive
			if slices.Contains([]armortest.Route{armortest.Authorize, armortest.Token, armortest.Me}, r) {
				source, change = nil, nil
			}
			inWorld(t, armortest.Config{Factor: armortest.LongPost}, source, change, func(w *world) {
				w.srv.Fail(r, away, -1)
				if got := w.thing(); got != "invalid for good" {
					w.Errorf("the login: %s, want invalid for good", got)
				}
				if n := w.srv.Count(armortest.Foreign); n != 0 {
					w.Errorf("requests to the other host = %d, want none", n)
				}
			})
		})
	}
	inWorld(t, armortest.Config{}, nil, nil, func(w *world) {
		w.srv.Fail(armortest.API, away, 1)
		resp, err := w.c.Do(w.Context(), armor.Request{Method: "PUT", URL: w.srv.URL() + "/thing", Data: 1})
		if err != nil || resp.StatusCode != 307 {
			w.Fatalf("Do = %v, want the 307 itself", err)
		}
		_ = resp.Body.Close()
		if n := w.srv.Count(armortest.Foreign); n != 0 {
			w.Errorf("requests to the other host = %d, want none", n)
		}
	})
}
