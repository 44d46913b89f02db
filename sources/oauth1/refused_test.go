package oauth1

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/budget"
	"github.com/seed-f29168f7/renew/clock"
)

// unauthorized returns a 401 with these header fields.
func unauthorized(fields ...string) *http.Response {
	h := http.Header{}
	for i := 0; i < len(fields); i += 2 {
		h.Add(fields[i], fields[i+1])
	}
	return &http.Response{StatusCode: http.StatusUnauthorized, Header: h}
}

// R22: a replay follows only a refusal that another nonce or timestamp may mend.
func TestR22_RefusedSaysWhatHelps(t *testing.T) {
	for text, retry := range map[string]bool{
		"":                                 true,
		"OAuth":                            true,
		`OAuth realm=x`:                    true,
		`OAuth oauth_problem="nonce_used"`: true,
		`OAuth realm="x", oauth_problem=timestamp_refused`: true,
		`OAuth oauth_problem="token_rejected"`:             false,
		`OAuth oauth_problem=signature_invalid, realm=x`:   false,
		`OAuth oauth_problem="consumer_key_unknown"`:       false,
		`OAuth oauth_problem="something else"`:             true,
	} {
		s := testSigner(newProvider())
		got, err := replays(s, get(t, "https://a.example/"), unauthorized("WWW-Authenticate", text))
		if err != nil || got != retry {
			t.Errorf("%s: retry %t, %v; want %t", text, got, err, retry)
		}
		if left := s.own.Left(clock.Real{}.Now().Mono); (left == 3) != retry {
			t.Errorf("%s: %d units left", text, left)
		}
	}
	s := testSigner(newProvider())
	if got, err := replays(s, get(t, "https://a.example/"), unauthorized("WWW-Authenticate", "Basic", "WWW-Authenticate", "OAuth oauth_problem=token_used")); got || err != nil {
		t.Errorf("the second field was not read: retry %t, %v", got, err)
	}
}

// R18: replays after refusals have a budget, the Signer's own or one that is shared, and it comes back by itself.
func TestR18_ReplaysHaveABudget(t *testing.T) {
	shared := &budget.Budget{Units: 3, Window: time.Minute}
	for name, tt := range map[string]struct {
		budget *budget.Budget
		units  int
		window time.Duration
	}{"own": {nil, 4, 10 * time.Minute}, "shared": {shared, 3, time.Minute}} {
		t.Run(name, func(t *testing.T) {
			clk := clock.NewFake(time.Unix(1400000000, 0).Add(-time.Hour))
			clk.Advance(time.Hour)
			signers := []*Signer{testSigner(newProvider())}
			if tt.budget != nil {
				signers = append(signers, testSigner(newProvider()))
			}
			for _, s := range signers {
				s.Clock, s.Budget = clk, tt.budget
			}
			allowed := 0
			for i := range tt.units + 3 {
				s := signers[i%len(signers)]
				ok, err := replays(s, get(t, "https://a.example/"), unauthorized())
				if ok {
					allowed++
				}
				spent, is := errors.AsType[*renew.BudgetError](err)
				if ok == is || is && !spent.RetryAt.Equal(time.Unix(1400000000, 0).Add(tt.window)) {
					t.Errorf("Refused = %t, %v", ok, err)
				}
			}
			if allowed != tt.units {
				t.Errorf("%d replays allowed, want %d", allowed, tt.units)
			}
			clk.Advance(tt.window)
			if ok, err := replays(signers[0], get(t, "https://a.example/"), unauthorized()); !ok || err != nil {
				t.Errorf("after the window: %t, %v", ok, err)
			}
		})
	}
}

// A request that cannot be sent again spends nothing; the clock is learned all the same.
func TestRefusedWithoutReplay(t *testing.T) {
	s := testSigner(newProvider())
	s.Clock = clock.NewFake(time.Unix(1400000000, 0))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	ahead := time.Unix(1400000000, 0).Add(time.Hour).UTC().Format(http.TimeFormat)
	ok, err := replays(s, get(t, "https://a.example/").WithContext(ctx), unauthorized("Date", ahead))
	if ok || err != nil || s.own.Left(s.now().Mono) != 4 || s.skew.Load() != 3600 {
		t.Errorf("Refused = %t, %v with %d units left and a skew of %d s", ok, err, s.own.Left(s.now().Mono), s.skew.Load())
	}
}

func TestTimestampFollowsTheServer(t *testing.T) {
	start := time.Unix(1400000000, 0)
	for _, tt := range []struct {
		name    string
		date    string
		want    int64
		problem string
	}{
		{name: "an hour ahead", date: start.Add(time.Hour).UTC().Format(http.TimeFormat), want: 3600},
		{name: "a day behind", date: start.Add(-24 * time.Hour).UTC().Format(http.TimeFormat), want: -86400},
		{name: "right", date: start.Add(59 * time.Second).UTC().Format(http.TimeFormat), want: 0},
		{name: "before 1970, where there is no timestamp", date: "Mon, 01 Jan 0001 00:00:00 GMT", want: 7},
		{name: "none", want: 7},
		{name: "nonsense", date: "yesterday", want: 7},
		{name: "another problem", date: start.Add(time.Hour).UTC().Format(http.TimeFormat), problem: "OAuth oauth_problem=token_expired", want: 7},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := testSigner(newProvider())
			s.Clock = clock.NewFake(start)
			s.skew.Store(7)
			if _, err := s.Refused(get(t, "https://a.example/"), nil, unauthorized("Date", tt.date, "WWW-Authenticate", tt.problem)); err != nil {
				t.Fatal(err)
			}
			if got := s.skew.Load(); got != tt.want {
				t.Errorf("skew %d, want %d", got, tt.want)
			}
		})
	}
}

// R29: a host whose clock is wrong gets through with one replay, and with none from then on.
func TestR29_WrongClock(t *testing.T) {
	p := newProvider()
	at := time.Unix(1400000000, 0)
	p.wall = func() time.Time { return at }
	srv := httptest.NewServer(p)
	defer srv.Close()
	s := testSigner(p)
	s.Clock = clock.NewFake(at.Add(-3 * time.Hour))
	tr, err := renew.NewTransport(s, renew.TransportConfig{Origins: []string{srv.URL}})
	if err != nil {
		t.Fatal(err)
	}
	for range 10 {
		resp, err := (&http.Client{Transport: tr}).Get(srv.URL)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != 200 {
			t.Fatalf("status %d", resp.StatusCode)
		}
	}
	if left := s.own.Left(s.now().Mono); p.served != 10 || left != 3 {
		t.Errorf("served %d, %d units left: want 10 and 3", p.served, left)
	}
}

// replays reports whether s wants a replay after the 401.
func replays(s *Signer, req *http.Request, resp *http.Response) (bool, error) {
	replay, err := s.Refused(req, nil, resp)
	return replay != nil, err
}
