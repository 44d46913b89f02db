package toopher_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strconv"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/clock"
	"github.com/seed-f29168f7/renew/sources/toopher"
	"github.com/seed-f29168f7/renew/sources/toopher/toophertest"
)

// inBubble runs f with a service and a client on the bubble's clock. looked returns when each question for a
// state came, in seconds from the start.
func inBubble(t *testing.T, f func(t *testing.T, s *toophertest.Service, c *toopher.Client, looked func() []float64)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s, c := service(t, clock.Real{})
		start, next := time.Now(), c.HTTPClient.Transport
		var times []float64
		c.HTTPClient.Transport = roundTripper(func(r *http.Request) (*http.Response, error) {
			if r.Method == http.MethodGet {
				times = append(times, time.Since(start).Seconds())
			}
			return next.RoundTrip(r)
		})
		f(t, s, c, func() []float64 { return times })
		synctest.Wait()
	})
}

// paired makes a pairing that can be used, and one request for it.
func paired(t *testing.T, s *toophertest.Service, c *toopher.Client) (*toopher.Pairing, *toopher.Authentication) {
	t.Helper()
	p, err := c.Pair(t.Context(), "silent otter", kim)
	if err != nil {
		t.Fatal(err)
	}
	s.Answer(p.ID, toophertest.Decision{Grant: true})
	a, err := c.Authenticate(t.Context(), p.ID, "pc")
	if err != nil {
		t.Fatal(err)
	}
	return p, a
}

func equal(t *testing.T, got []float64, want ...float64) {
	t.Helper()
	ok := len(got) == len(want)
	for i := range got {
		ok = ok && got[i] == want[i]
	}
	if !ok {
		t.Errorf("asked at %v s, want %v", got, want)
	}
}

func TestPoll(t *testing.T) {
	for _, d := range []toophertest.Decision{{Grant: true}, {Reason: "Denied by user"}} {
		inBubble(t, func(t *testing.T, s *toophertest.Service, c *toopher.Client, looked func() []float64) {
			_, a := paired(t, s, c)
			time.AfterFunc(5*time.Second, func() { s.Answer(a.ID, d) })
			a, err := c.WaitForAuthentication(t.Context(), a.ID, toopher.Poll{})
			if err != nil || a.Pending || a.Granted() != d.Grant || a.Reason != d.Reason {
				t.Errorf("%+v, %v", a, err)
			}
			equal(t, looked(), 0, 2, 4, 6)
		})
	}
}

func TestPollPairing(t *testing.T) {
	for _, grant := range []bool{true, false} {
		inBubble(t, func(t *testing.T, s *toophertest.Service, c *toopher.Client, looked func() []float64) {
			p, err := c.Pair(t.Context(), "silent otter", kim)
			if err != nil {
				t.Fatal(err)
			}
			time.AfterFunc(2500*time.Millisecond, func() { s.Answer(p.ID, toophertest.Decision{Grant: grant}) })
			p, err = c.WaitForPairing(t.Context(), p.ID, toopher.Poll{Interval: time.Second})
			if err != nil || p.Paired() != grant || (p.State() == toopher.Unpaired) == grant {
				t.Errorf("%+v, %v", p, err)
			}
			equal(t, looked(), 0, 1, 2, 3)
		})
	}
}

// A service that does not say whether a pairing is pending is asked on until it is paired.
func TestPollUnclearPairing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		c := client(roundTripper(func(*http.Request) (*http.Response, error) {
			n++
			return reply(200, "", `{"id": "p", "enabled": `+strconv.FormatBool(n == 3)+`, "user": {"id": "u", "name": "n"}}`), nil
		}))
		if p, err := c.WaitForPairing(t.Context(), "p", toopher.Poll{}); err != nil || !p.Paired() || n != 3 {
			t.Errorf("%+v, %v after %d requests", p, err, n)
		}
	})
}

func TestPollBacksOff(t *testing.T) {
	busy := toophertest.Failure{Status: 503, ContentType: "text/html", Body: "away"}
	inBubble(t, func(t *testing.T, s *toophertest.Service, c *toopher.Client, looked func() []float64) {
		_, a := paired(t, s, c)
		s.Fail(toophertest.Error(429, 429, "slow down"), busy, busy, busy)
		time.AfterFunc(19500*time.Millisecond, func() { s.Answer(a.ID, toophertest.Decision{Grant: true}) })
		a, err := c.WaitForAuthentication(t.Context(), a.ID, toopher.Poll{Interval: time.Second, Back: 5 * time.Second})
		if err != nil || !a.Granted() {
			t.Errorf("%+v, %v", a, err)
		}
		// 2, 4, 5, 5 s after faults; then every second again.
		equal(t, looked(), 0, 2, 6, 11, 16, 17, 18, 19, 20)
	})
	inBubble(t, func(t *testing.T, s *toophertest.Service, c *toopher.Client, looked func() []float64) {
		_, a := paired(t, s, c)
		s.Fail(toophertest.Failure{Status: 429, RetryAfter: "17"})
		s.Looks = 1
		if a, err := c.WaitForAuthentication(t.Context(), a.ID, toopher.Poll{}); err != nil || !a.Granted() {
			t.Errorf("%+v, %v", a, err)
		}
		equal(t, looked(), 0, 17)
	})
}

func TestPollGoesOnAfterNetworkFaults(t *testing.T) {
	inBubble(t, func(t *testing.T, s *toophertest.Service, c *toopher.Client, looked func() []float64) {
		_, a := paired(t, s, c)
		s.Looks = 1
		next, n := c.HTTPClient.Transport, 0
		c.HTTPClient.Transport = roundTripper(func(r *http.Request) (*http.Response, error) {
			if n++; n <= 2 {
				return nil, &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}
			}
			return next.RoundTrip(r)
		})
		if a, err := c.WaitForAuthentication(t.Context(), a.ID, toopher.Poll{Interval: time.Second}); err != nil || !a.Granted() {
			t.Errorf("%+v, %v", a, err)
		}
		equal(t, looked(), 6) // 2 s and 4 s after the faults
	})
}

func TestPollStopsAtOtherErrors(t *testing.T) {
	for _, f := range []toophertest.Failure{
		toophertest.Error(409, 707, "Not allowed: This pairing has been deactivated."),
		toophertest.Error(401, 401, "Not a valid OAuth signed request"),
		toophertest.Error(404, 404, "No such authentication request."),
		{Status: 200, Body: `{"id": "r", "pending": false, "granted": "true"}`},
	} {
		inBubble(t, func(t *testing.T, s *toophertest.Service, c *toopher.Client, looked func() []float64) {
			_, a := paired(t, s, c)
			s.Fail(f)
			a, err := c.WaitForAuthentication(t.Context(), a.ID, toopher.Poll{})
			if e, ok := errors.AsType[*toopher.APIError](err); !ok || e.Status != f.Status || a != nil {
				t.Errorf("%+v, %v, want the %d", a, err, f.Status)
			}
			equal(t, looked(), 0)
		})
	}
	isConfig(t, "dots", func() error {
		_, err := client(&stub{}).WaitForAuthentication(t.Context(), "..", toopher.Poll{})
		return err
	}())
}

func TestPollGivesUp(t *testing.T) {
	waits := map[string]func(ctx context.Context, c *toopher.Client, p toopher.Poll) error{
		"authentication": func(ctx context.Context, c *toopher.Client, p toopher.Poll) error {
			_, err := c.WaitForAuthentication(ctx, requestID, p)
			return err
		},
		"pairing": func(ctx context.Context, c *toopher.Client, p toopher.Poll) error {
			_, err := c.WaitForPairing(ctx, pairingID, p)
			return err
		},
	}
	pending := map[string]string{
		"authentication": `{"id": "r", "pending": true, "granted": true, "automated": false, "reason": "", "terminal": {"id": "t", "name": "n"}}`,
		"pairing":        `{"id": "p", "pending": true, "enabled": true, "user": {"id": "u", "name": "n"}}`,
	}
	cause := errors.New("the user left")
	for _, tt := range []struct {
		what    string
		poll    toopher.Poll
		timeout time.Duration // of ctx
		status  int
		after   time.Duration
		want    error
	}{
		{"authentication", toopher.Poll{}, 0, 200, 90 * time.Second, toopher.ErrNoAnswer},
		{"pairing", toopher.Poll{}, 0, 200, 2 * time.Minute, toopher.ErrNoAnswer},
		{"authentication", toopher.Poll{Limit: 7 * time.Second}, 0, 200, 7 * time.Second, toopher.ErrNoAnswer},
		{"authentication", toopher.Poll{Limit: 7 * time.Second}, 0, 503, 7 * time.Second, toopher.ErrAPI},
		{"authentication", toopher.Poll{}, 3 * time.Second, 200, 3 * time.Second, cause},
		{"authentication", toopher.Poll{}, 3 * time.Second, 503, 3 * time.Second, toopher.ErrAPI},
		{"pairing", toopher.Poll{Limit: -1}, time.Hour, 200, time.Hour, cause},
	} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			if tt.timeout > 0 {
				time.AfterFunc(tt.timeout, func() { cancel(cause) })
			}
			start := time.Now()
			err := waits[tt.what](ctx, client(&stub{status: tt.status, body: pending[tt.what]}), tt.poll)
			if !errors.Is(err, tt.want) || time.Since(start) != tt.after {
				t.Errorf("%s %+v: %v after %v, want %v after %v", tt.what, tt.poll, err, time.Since(start), tt.want, tt.after)
			}
			if tt.status != 200 && !errors.Is(err, toopher.ErrNoAnswer) && !errors.Is(err, cause) {
				t.Errorf("%v does not say what ended it", err)
			}
		})
	}
}

// The limit also ends a request that hangs.
func TestPollLimitEndsARequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := client(roundTripper(func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		}))
		start := time.Now()
		_, err := c.WaitForAuthentication(t.Context(), "r", toopher.Poll{Limit: 9 * time.Second})
		if !errors.Is(err, toopher.ErrNoAnswer) || time.Since(start) != 9*time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

func TestPollIsValidated(t *testing.T) {
	rt := &stub{}
	for _, p := range []toopher.Poll{{Interval: -1}, {Back: -1}} {
		_, err := client(rt).WaitForPairing(t.Context(), "p", p)
		isConfig(t, "poll", err)
		_, err = client(rt).Login(t.Context(), toopher.Login{UserName: kim, TerminalID: cookie, Paired: p})
		isConfig(t, "login", err)
		_, err = client(rt).Login(t.Context(), toopher.Login{UserName: kim, TerminalID: cookie, Answer: p})
		isConfig(t, "login", err)
	}
	if len(rt.sent) != 0 {
		t.Errorf("requests = %d", len(rt.sent))
	}
	var e *renew.ConfigError
	if !errors.As(toopher.Login{UserName: kim, TerminalID: cookie, Rounds: -1}.Validate(), &e) {
		t.Error("Rounds of -1 is accepted")
	}
	isConfig(t, "no user", toopher.Login{TerminalID: cookie}.Validate())
	isConfig(t, "no terminal", toopher.Login{UserName: kim}.Validate())
}
