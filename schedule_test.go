package renew

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-f29168f7/renew/budget"
	"github.com/seed-f29168f7/renew/clock"
)

func TestR12_ReissueAfter(t *testing.T) {
	// A token is reissued at the issuer's hint, else at 0.6 to 0.8 of its life; early enough for the last flight's length; never before half its life.
	const h, m, s = time.Hour, time.Minute, time.Second
	for _, c := range []struct {
		name                              string
		life, leeway, every, hint, flight time.Duration
		u                                 float64
		want                              time.Duration
	}{
		{"the earliest", h, 10 * s, 0, 0, 0, 0, 36 * m},
		{"the middle", h, 10 * s, 0, 0, 0, 0.5, 42 * m},
		{"the latest", h, 10 * s, 0, 0, 0, 1, 48 * m},
		{"no end", 0, 0, 0, 0, 0, 0.5, never},
		{"hint", h, 10 * s, 0, 50 * m, 0, 0, 50 * m},
		{"hint before half the life", h, 10 * s, 0, 5 * m, 0, 0, 30 * m},
		{"hint past the deadline", h, 10 * s, 0, 2 * h, 0, 0, h - 10*s},
		{"hint past what a slow flight allows", h, 10 * s, 0, 59 * m, 100 * s, 0, h - 10*s - 120*s},
		{"hint without an end", 0, 0, 0, 7 * m, 0, 0, 7 * m},
		{"hint that has passed, without an end", 0, 0, 0, 1, 0, 0, s},
		{"slow flight", 100 * s, 5 * s, 0, 0, 20 * s, 1, 71 * s},
		{"slow flight that does not matter", 100 * s, 5 * s, 0, 0, 20 * s, 0, 60 * s},
		{"flight longer than the life", 100 * s, 5 * s, 0, 0, h, 0.5, 50 * s},
		{"every", 15 * m, 10 * s, 10 * m, 0, 0, 1, 10 * m},
		{"every, jittered", 15 * m, 10 * s, 10 * m, 0, 0, 0, 9 * m},
		{"every over the hint", 15 * m, 10 * s, 10 * m, 14 * m, 0, 1, 10 * m},
		{"every beyond the life", 15 * m, 10 * s, h, 0, 0, 1, 15*m - 10*s},
		{"every, often", 15 * m, 10 * s, m, 0, 0, 1, m},
		{"every, without an end", 0, 0, 10 * m, 0, 0, 1, 10 * m},
		{"every off", h, 10 * s, -1, 50 * m, 0, 0.5, never},
		{"a life that has no end in practice", maxLife, 10 * s, 0, 0, 0, 1, maxLife / 10 * 8},
	} {
		t.Run(c.name, func(t *testing.T) {
			assert.InDelta(t, c.want, reissueAfter(c.life, c.leeway, c.every, c.hint, c.flight, c.u), float64(time.Microsecond))
		})
	}
}

func TestR12_Lifetime(t *testing.T) {
	// Life holds over Expiry; an Expiry alone counts from the start of the request; what looks expired by the local wall clock alone does not matter where there is a Life.
	start := clock.Instant{Wall: time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC), Mono: time.Hour}
	now := clock.Instant{Wall: start.Wall.Add(time.Second), Mono: start.Mono + time.Second}
	at := func(d time.Duration) time.Time { return start.Wall.Add(d) }
	for _, c := range []struct {
		name string
		tok  Token
		want lifetime
		err  string
	}{
		{"life", Token{Life: time.Minute}, lifetime{time.Minute, false}, ""},
		{"life over expiry", Token{Life: time.Minute, Expiry: at(time.Hour)}, lifetime{time.Minute, false}, ""},
		{"expiry", Token{Expiry: at(time.Hour)}, lifetime{time.Hour, false}, ""},
		{"an expiry as soon as there is", Token{Expiry: at(1)}, lifetime{1, false}, ""},
		{"neither", Token{}, lifetime{}, ""},
		{"expired by the wall alone", Token{Life: time.Minute, Expiry: at(-time.Hour)}, lifetime{time.Minute, true}, ""},
		{"expired on its way by the wall alone", Token{Life: time.Minute, Expiry: at(time.Second)}, lifetime{time.Minute, true}, ""},
		{"expired", Token{Expiry: at(-time.Hour)}, lifetime{}, "expired 1h0m0s before it was asked for"},
		{"expired at once", Token{Expiry: at(0)}, lifetime{}, "expired"},
		{"negative", Token{Life: -time.Second}, lifetime{}, "negative"},
		{"longer than any daemon", Token{Life: never}, lifetime{maxLife, false}, ""},
		{"an expiry in the year 9999", Token{Expiry: time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)}, lifetime{maxLife, false}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := lifetimeOf(&c.tok, start, now)
			assert.Equal(t, c.want, got)
			if c.err == "" {
				assert.NoError(t, err)
			} else {
				assert.ErrorContains(t, err, c.err)
			}
		})
	}
}

func TestR2_Leeway(t *testing.T) {
	// The leeway is what was configured, but no more than half the life; none where that is negative; else a twentieth of the life, from 0.1 s (for lives under a second: less) to 10 s.
	const ms = time.Millisecond
	for _, c := range []struct{ configured, life, want time.Duration }{
		{0, time.Hour, 10 * time.Second},
		{0, 200 * time.Second, 10 * time.Second},
		{0, 199 * time.Second, 9950 * ms},
		{0, 2 * time.Second, 100 * ms},
		{0, time.Second, 100 * ms},
		{0, time.Second - 20, 50*ms - 1},
		{1, time.Hour, 1},
		{time.Minute, time.Hour, time.Minute},
		{time.Minute, 90 * time.Second, 45 * time.Second},
		{-1, time.Hour, 0},
	} {
		assert.Equal(t, c.want, leewayOf(c.configured, c.life), "Leeway %v, life %v", c.configured, c.life)
	}
}

func TestR12_TimerStarts(t *testing.T) {
	// The reissue starts by timer, without traffic, at the time that was planned from the start of the request.
	const latency = 2 * time.Second
	hinted := func(after time.Duration) reply {
		return func(_ context.Context, n int) (*Token, error) {
			tok := namedToken(n)
			tok.Life, tok.ReissueAt = time.Hour, time.Now().Add(after-latency)
			return tok, nil
		}
	}
	for _, c := range []struct {
		name  string
		reply reply
		cfg   Config
		want  time.Duration
	}{
		{"by life", gives(time.Hour), Config{Rand: same(0.25)}, 39 * time.Minute},
		{"by hint", hinted(45 * time.Minute), Config{Rand: same(0.25)}, 45 * time.Minute},
		{"ReissueEvery", gives(15 * time.Minute), Config{ReissueEvery: 10 * time.Minute, Rand: same(0.5)}, 9*time.Minute + 30*time.Second},
		{"as late as a flight of 2 s allows", gives(20 * time.Second), Config{Leeway: 4 * time.Second, Rand: same(0.999)}, 13600 * time.Millisecond},
	} {
		bubble(t, c.name, func(t *testing.T) {
			s := scriptOf(slow(latency, c.reply))
			ts := open(t, s, c.cfg)
			must(t, ts)
			next := ts.Status()
			assert.Equal(t, ActionReissue, next.Next)
			assert.WithinDuration(t, s.call(1).at.Add(c.want), next.NextAt, 0)
			time.Sleep(c.want)
			synctest.Wait()
			require.Equal(t, 2, s.count())
			assert.Equal(t, c.want, s.pauses()[0])
		})
	}
}

func TestR12_DrawnOnceAToken(t *testing.T) {
	// The moment of the reissue is drawn when the token comes: no look at the TokenSource moves it.
	synctest.Test(t, func(t *testing.T) {
		ts := open(t, scriptOf(gives(time.Hour)), Config{Rand: seeded(12)})
		must(t, ts)
		planned := ts.Status().NextAt
		for range 35 { // minutes
			time.Sleep(time.Minute)
			_, err := ts.Wait(t.Context())
			require.NoError(t, err)
			_, err = ts.Reject(t.Context(), &Token{Value: NewSecret("stale")})
			require.NoError(t, err)
			ts.rejudge()
			require.Equal(t, planned, ts.Status().NextAt)
		}
	})
}

func TestR12_ADayWithoutTraffic(t *testing.T) {
	// A token of an hour is reissued 30 to 40 times a day, each time at a moment drawn anew, and never serves past its deadline.
	synctest.Test(t, func(t *testing.T) {
		s := scriptOf(slow(time.Second, gives(time.Hour)))
		ts := open(t, s, Config{Rand: seeded(1), WatchEvery: -1})
		must(t, ts)
		time.Sleep(24 * time.Hour)
		assert.InDelta(t, 35, s.count(), 6)
		different := map[time.Duration]bool{}
		for _, p := range s.pauses() {
			assert.GreaterOrEqual(t, p, 36*time.Minute)
			assert.LessOrEqual(t, p, 48*time.Minute)
			different[p] = true
		}
		assert.Greater(t, len(different), 20)
		assert.Zero(t, ts.Status().Failed)
	})
}

func TestR12_SkewedClock(t *testing.T) {
	// A token that looks expired by the local wall clock alone is published, with a warning that goes when the clock is right.
	synctest.Test(t, func(t *testing.T) {
		var ahead atomic.Int64 // of the issuer's clock
		ahead.Store(int64(2 * time.Hour))
		s := scriptOf(func(_ context.Context, n int) (*Token, error) {
			tok := namedToken(n)
			tok.Life, tok.Expiry = time.Hour, time.Now().Add(time.Hour-time.Duration(ahead.Load()))
			return tok, nil
		})
		ts := open(t, s, Config{Rand: same(0.5)})
		first := must(t, ts)
		assert.Contains(t, ts.Status().Warning, "clock")
		time.Sleep(41 * time.Minute)
		assert.Same(t, first, must(t, ts))
		ahead.Store(0)
		time.Sleep(2 * time.Minute)
		assert.NotSame(t, first, must(t, ts))
		assert.Empty(t, ts.Status().Warning)
	})
}

func TestR13_ColdPause(t *testing.T) {
	// Without a usable token the pause is 0.2 s, grows a tenth for the first 3 s, then doubles up to 30 s.
	want, since := 200*time.Millisecond, time.Duration(0)
	for n := 1; n <= 100; n++ {
		got := coldPause(n)
		require.InDelta(t, want, got, float64(time.Microsecond), "pause %d", n)
		if since < 3*time.Second {
			want = want * 11 / 10
		} else {
			want = min(2*want, 30*time.Second)
		}
		since += got
	}
	assert.Equal(t, 30*time.Second, coldPause(1<<40))
}

func TestR13_UsablePause(t *testing.T) {
	// While a token is usable the pause is an eighth of what remains, from 1 s (less for shorter lives) to 5 minutes.
	for _, c := range []struct{ remaining, life, want time.Duration }{
		{8 * time.Minute, time.Hour, time.Minute},
		{24 * time.Hour, 48 * time.Hour, 5 * time.Minute},
		{never, 0, 5 * time.Minute},
		{4 * time.Second, time.Hour, time.Second},
		{0, time.Hour, time.Second},
		{0, time.Second, 40 * time.Millisecond},
	} {
		assert.Equal(t, c.want, usablePause(c.remaining, c.life), "%v of %v", c.remaining, c.life)
	}
}

func TestR13_PauseOfAFailure(t *testing.T) {
	// Pauses vary by a fifth, and are never shorter than Retry-After; a 429 without it asks for 5 s.
	const in, cold = true, false
	transient, minute := IssueError{}, IssueError{RetryAfter: time.Minute}
	for _, c := range []struct {
		name     string
		err      IssueError
		n        int
		service  bool
		u        float64
		want     time.Duration
		remained time.Duration
	}{
		{"cold, short", transient, 1, cold, 0, 160 * time.Millisecond, 0},
		{"cold, long", transient, 1, cold, 1, 240 * time.Millisecond, 0},
		{"cold, late", transient, 50, cold, 0.5, 30 * time.Second, 0},
		{"usable, short", transient, 1, in, 0, 48 * time.Second, 8 * time.Minute},
		{"usable, long", transient, 9, in, 1, 72 * time.Second, 8 * time.Minute},
		{"Retry-After", minute, 1, cold, 1, time.Minute, 0},
		{"Retry-After, usable", minute, 1, in, 0, time.Minute, time.Minute},
		{"a Retry-After that is shorter", IssueError{RetryAfter: 1}, 1, cold, 0, 160 * time.Millisecond, 0},
		{"429", IssueError{Kind: Throttled}, 1, cold, 0, 5 * time.Second, 0},
		{"429, usable", IssueError{Kind: Throttled}, 1, in, 0, 48 * time.Second, 8 * time.Minute},
		{"429 with Retry-After", IssueError{Kind: Throttled, RetryAfter: 2 * time.Second}, 1, cold, 0, 2 * time.Second, 0},
		{"refused", IssueError{Kind: Refused}, 1, in, 0, 160 * time.Millisecond, 8 * time.Minute},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := failure{IssueError: &c.err}.pause(c.n, c.service, c.remained, time.Hour, c.u)
			assert.InDelta(t, c.want, got, float64(time.Microsecond))
		})
	}
}

func TestR13_WhatAnErrorMeans(t *testing.T) {
	// Each error of a Source has one meaning; a URL, whose query may be secret, is dropped.
	secret := "https://issuer.example:8443/token?client_secret=hunter2"
	in := func(e IssueError) error { return fmt.Errorf("while issuing: %w", &e) }
	for _, c := range []struct {
		name  string
		err   error
		want  IssueError // Kind, Permanent, Unsent, RetryAfter, Host
		final bool       // the timer leaves it alone
		spend bool       // the attempt keeps a reserved unit
	}{
		{"plain", errors.New("no"), IssueError{}, false, true},
		{"timeout", context.DeadlineExceeded, IssueError{}, false, true},
		{"reset", faultReset, IssueError{}, false, true},
		{"dial", faultDial, IssueError{Unsent: true}, false, false},
		{"dial, in a URL", &url.Error{Op: "Post", URL: secret, Err: faultDial}, IssueError{Unsent: true, Host: "issuer.example:8443"}, false, false},
		{"reset, in a URL", &url.Error{Op: "Post", URL: secret, Err: faultReset}, IssueError{Host: "issuer.example:8443"}, false, true},
		{"name", &net.DNSError{Err: "no such host"}, IssueError{Unsent: true}, false, false},
		{"certificate", &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}, IssueError{Unsent: true}, false, false},
		{"authority", x509.UnknownAuthorityError{}, IssueError{Unsent: true}, false, false},
		{"hostname", x509.HostnameError{Certificate: &x509.Certificate{}}, IssueError{Unsent: true}, false, false},
		{"not TLS", tls.RecordHeaderError{Msg: "first record"}, IssueError{Unsent: true}, false, false},
		{"dial, within an IssueError", &IssueError{Kind: Transient, Err: faultDial}, IssueError{Unsent: true}, false, false},
		{"dial, in a URL, within an IssueError", in(IssueError{Err: &url.Error{Op: "Post", URL: secret, Err: faultDial}}), IssueError{Unsent: true, Host: "issuer.example:8443"}, false, false},
		{"a host and a URL", in(IssueError{Host: "its own", Err: &url.Error{Op: "Post", URL: secret, Err: faultReset}}), IssueError{Host: "its own"}, false, true},
		{"408", in(IssueError{Status: 408}), IssueError{}, false, true},
		{"429, by a Source that calls it transient", in(IssueError{Status: 429}), IssueError{}, false, false},
		{"499", in(IssueError{Status: 499}), IssueError{}, false, true},
		{"500", in(IssueError{Status: 500}), IssueError{}, false, false},
		{"503", in(IssueError{Status: 503}), IssueError{}, false, false},
		{"temporarily_unavailable", in(IssueError{Status: 400, Code: "temporarily_unavailable"}), IssueError{}, false, true},
		{"429", in(IssueError{Status: 429, Kind: Throttled, RetryAfter: time.Minute}), IssueError{Kind: Throttled, RetryAfter: time.Minute}, false, false},
		{"503 with Retry-After", in(IssueError{Status: 503, Kind: Throttled, RetryAfter: time.Second}), IssueError{Kind: Throttled, RetryAfter: time.Second}, false, false},
		{"Retry-After of a year", in(IssueError{RetryAfter: 365 * 24 * time.Hour}), IssueError{RetryAfter: time.Hour}, false, true},
		{"Retry-After below zero", in(IssueError{RetryAfter: -time.Hour}), IssueError{}, false, true},
		{"401", in(IssueError{Status: 401, Kind: Refused, Code: "invalid_grant"}), IssueError{Kind: Refused}, false, true},
		{"for good", in(IssueError{Status: 401, Kind: Refused, Code: "invalid_client", Permanent: true}), IssueError{Kind: Refused, Permanent: true}, true, true},
		{"invalid_scope", in(IssueError{Status: 400, Kind: Refused, Code: "invalid_scope", Permanent: true}), IssueError{Kind: Refused, Permanent: true}, true, true},
		{"a 403 of a proxy", in(IssueError{Status: 403}), IssueError{}, false, true},
		{"a token that cannot be sent", in(IssueError{Status: 200, Kind: Invalid}), IssueError{Kind: Invalid}, true, true},
		{"configuration", fmt.Errorf("x: %w", &ConfigError{"Client.ID", "is empty"}), IssueError{Kind: Invalid, Permanent: true}, true, true},
		{"a person", fmt.Errorf("x: %w", ErrInteractionRequired), IssueError{Kind: Refused, Permanent: true}, true, false},
		{"a person, in an IssueError", in(IssueError{Kind: Refused, Err: ErrInteractionRequired}), IssueError{Kind: Refused}, true, false},
		{"a panic", &PanicError{In: "the source", Type: "string"}, IssueError{}, false, true},
		{"a nil of a type", (*IssueError)(nil), IssueError{}, false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := classify(c.err, "a source")
			got := IssueError{Kind: f.Kind, Permanent: f.Permanent, Unsent: f.Unsent, RetryAfter: f.RetryAfter, Host: f.Host}
			assert.Equal(t, c.want, got)
			assert.Equal(t, c.final, f.final(), "final")
			assert.Equal(t, c.spend, f.judged(), "judged")
			assert.Equal(t, "a source", f.Source)
			assert.NotContains(t, f.Error(), "hunter2")
			again := classify(f.IssueError, "another")
			assert.Equal(t, f.IssueError, again.IssueError, "it keeps its meaning")
		})
	}
	t.Run("the Source's own words stay", func(t *testing.T) {
		its := &IssueError{Source: "mine", NextAttempt: time.Now(), Err: errors.New("x")}
		f := classify(its, "a source")
		assert.Equal(t, "mine", f.Source)
		assert.Zero(t, f.NextAttempt, "this is the engine's to say")
		assert.NotZero(t, its.NextAttempt, "an error that the Source may share is not written")
		assert.ErrorIs(t, f, its.Err)
	})
}

func TestR18_AnotherSourcesFailureIsTransient(t *testing.T) {
	// The failure of another TokenSource, whatever it was, is a transient one of this Source, which has sent nothing; it is kept as the cause.
	for name, err := range map[string]error{
		"its budget is spent":                     &BudgetError{Name: "other", Err: forGood},
		"its budget is spent, none knows by what": &BudgetError{Name: "other"},
		"refused":       &IssueError{Source: "other", Kind: Refused, Permanent: true, relayed: true},
		"throttled":     &IssueError{Source: "other", Kind: Throttled, Status: 429, RetryAfter: time.Hour, relayed: true},
		"hung":          fmt.Errorf("other: %w", ErrHung),
		"hung, and why": fmt.Errorf("%w: %w", ErrHung, forGood),
	} {
		t.Run(name, func(t *testing.T) {
			err := fmt.Errorf("the subject token: %w", err)
			f := classify(err, "a source")
			assert.Equal(t, &IssueError{Source: "a source", Kind: Transient, Unsent: true, Err: err}, f.IssueError)
			assert.False(t, f.interaction)
			assert.False(t, f.final())
			assert.False(t, f.judged())
			assert.Zero(t, f.refusals())
		})
	}
}

// outage is a Source whose issuer is away until then.
func outage(until time.Time, life time.Duration) *script {
	return scriptOf(func(ctx context.Context, n int) (*Token, error) {
		if time.Now().Before(until) {
			return nil, faultDial
		}
		return gives(life)(ctx, n)
	})
}

func TestR13_OutageOfThreeSeconds(t *testing.T) {
	// An outage of 3 s costs about ten calls, and it is over for the readers within 0.6 s of the issuer's return.
	synctest.Test(t, func(t *testing.T) {
		total, worst := 0, time.Duration(0)
		for seed := range uint64(100) {
			back := time.Now().Add(3 * time.Second)
			s := outage(back, time.Hour)
			ts, err := New(s, Config{Rand: seeded(seed)})
			require.NoError(t, err)
			_, err = ts.Wait(t.Context())
			require.NoError(t, err)
			late := time.Since(back)
			assert.LessOrEqual(t, late, 600*time.Millisecond, "seed %d", seed)
			assert.LessOrEqual(t, s.count()-1, 12, "calls that failed, seed %d", seed)
			total, worst = total+s.count()-1, max(worst, late)
			require.NoError(t, ts.Close(t.Context()))
		}
		assert.InDelta(t, 10, float64(total)/100, 1.5, "calls on average")
		t.Logf("%d calls that failed in 100 outages; well again after %v at the latest", total, worst)
	})
}

func TestR13_ALongOutageIsNotBattered(t *testing.T) {
	// A day without the issuer costs about one call in 30 s, and the token comes within 36 s of its return.
	synctest.Test(t, func(t *testing.T) {
		back := time.Now().Add(6 * time.Hour)
		s := outage(back, time.Hour)
		ts := open(t, s, Config{Rand: seeded(7)})
		_, err := ts.Wait(t.Context())
		require.NoError(t, err)
		assert.LessOrEqual(t, time.Since(back), 36*time.Second)
		assert.InDelta(t, 6*120, s.count(), 6*120/10)
	})
}

func TestR13_OutageWhileATokenServes(t *testing.T) {
	// A failed reissue leaves the token in service; the timer retries with pauses of an eighth of what remains; after the deadline they are short again.
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		s := scriptOf(gives(time.Hour), failsWith(faultDial))
		ts := open(t, s, Config{Rand: same(0.5)})
		first := must(t, ts)
		deadline := began.Add(time.Hour - 10*time.Second)
		for time.Now().Before(deadline.Add(-time.Second)) {
			require.Same(t, first, must(t, ts))
			time.Sleep(time.Second)
		}
		assert.Equal(t, StateFailing, ts.Status().State)
		want := 42 * time.Minute
		for i := 2; i <= s.count(); i++ {
			at := s.call(i).at.Sub(began)
			require.InDelta(t, want, at, float64(time.Millisecond), "call %d", i)
			want = at + max((deadline.Sub(began)-at)/8, time.Second)
		}
		assert.Less(t, s.count(), 60)
		time.Sleep(2 * time.Second)
		calls := s.count()
		assert.Equal(t, StateDown, ts.Status().State)
		time.Sleep(2 * time.Second)
		assert.InDelta(t, 7, s.count()-calls, 3, "the pauses are those of a cold start")
	})
}

func TestR13_ThreeAttemptsFit(t *testing.T) {
	// Between the latest reissue of a short token and its deadline three attempts fit, whatever the jitter.
	for _, life := range []time.Duration{500 * time.Millisecond, time.Second, 1100 * time.Millisecond, 1500 * time.Millisecond,
		2 * time.Second, 3 * time.Second, 5 * time.Second, 7 * time.Second, 10 * time.Second, 15 * time.Second, 20 * time.Second, time.Minute} {
		for _, u := range []float64{0, 0.5, 0.999999} {
			bubble(t, fmt.Sprintf("%v/%v", life, u), func(t *testing.T) {
				s := scriptOf(gives(life), failsWith(faultDial))
				ts := open(t, s, Config{Rand: same(u)})
				must(t, ts)
				time.Sleep(life - leewayOf(0, life) - 1)
				synctest.Wait()
				assert.GreaterOrEqual(t, s.count()-1, 3)
				assert.LessOrEqual(t, s.count()-1, 30)
				assert.NotNil(t, ts.cur.Load())
			})
		}
	}
}

func TestR13_RetryAfterIsHonoured(t *testing.T) {
	// No attempt is made before Retry-After has passed, whatever the kind of the error, also when the token leaves service meanwhile; an hour is the most.
	for _, c := range []struct {
		name       string
		err        IssueError
		life, want time.Duration
	}{
		{"503, cold", IssueError{Status: 503, Kind: Throttled, RetryAfter: 90 * time.Second}, 0, 90 * time.Second},
		{"500, cold", IssueError{Status: 500, RetryAfter: 90 * time.Second}, 0, 90 * time.Second},
		{"a year", IssueError{Status: 500, RetryAfter: 9000 * time.Hour}, 0, time.Hour},
		{"429, the token leaves service", IssueError{Status: 429, Kind: Throttled, RetryAfter: 10 * time.Minute}, time.Minute, 10 * time.Minute},
		{"500, the token leaves service", IssueError{Status: 500, RetryAfter: 10 * time.Minute}, time.Minute, 10 * time.Minute},
	} {
		bubble(t, c.name, func(t *testing.T) {
			s := scriptOf(failsWith(&c.err), gives(24*time.Hour))
			first := 1
			if c.life > 0 {
				s.issues = append([]reply{gives(c.life)}, s.issues...)
				first = 2
			}
			ts := open(t, s, Config{})
			_, err := ts.Token(t.Context())
			if c.life > 0 {
				require.NoError(t, err)
			}
			time.Sleep(2 * time.Hour)
			require.Greater(t, s.count(), first)
			assert.Equal(t, c.want, s.pauses()[first-1])
		})
	}
}

func TestR13_TheTimerRetriesTransientFaultsOnly(t *testing.T) {
	// After a cold failure the timer goes on by itself, with nobody asking, but not after a refusal.
	for _, c := range []struct {
		kind  Kind
		calls int
	}{{Transient, 4}, {Throttled, 2}, {Refused, 1}, {Invalid, 1}} {
		bubble(t, c.kind.String(), func(t *testing.T) {
			s := scriptOf(append(times(max(c.calls-1, 1), fails(c.kind)), gives(24*time.Hour))...)
			ts := open(t, s, Config{})
			_, err := ts.Token(t.Context())
			require.Error(t, err)
			time.Sleep(3 * time.Hour)
			assert.Equal(t, c.calls, s.count())
		})
	}
}

func TestR13_AFailedReissueTakesNothingAway(t *testing.T) {
	// However a reissue fails, the token stays in service until its deadline.
	for _, kind := range []Kind{Transient, Throttled, Refused, Invalid} {
		bubble(t, kind.String(), func(t *testing.T) {
			s := scriptOf(gives(time.Hour), fails(kind))
			ts := open(t, s, Config{})
			first := must(t, ts)
			time.Sleep(time.Hour - 10*time.Second - 1)
			require.Greater(t, s.count(), 1)
			assert.Same(t, first, ts.cur.Load())
			time.Sleep(time.Nanosecond)
			synctest.Wait()
			assert.Nil(t, ts.cur.Load())
		})
	}
}

func TestR13_ARunCanBeRepeated(t *testing.T) {
	// With one seed every run is the same, and with another it is not: all randomness comes from Config.Rand.
	run := func(seed uint64) (pauses []time.Duration) {
		synctest.Test(t, func(t *testing.T) {
			s := outage(time.Now().Add(10*time.Minute), time.Hour)
			ts := open(t, s, Config{Rand: seeded(seed), WatchEvery: -1})
			_, _ = ts.Wait(t.Context())
			time.Sleep(24 * time.Hour)
			pauses = s.pauses()
		})
		return pauses
	}
	first := run(1)
	assert.Equal(t, first, run(1))
	assert.NotEqual(t, first, run(2))
}

func TestR14_RefusedReissueFallsBack(t *testing.T) {
	// A refused Reissue falls back to Issue within the same flight; that Issue spends a unit.
	for _, kind := range []Kind{Refused, Invalid} {
		bubble(t, kind.String(), func(t *testing.T) {
			s := reissuing{scriptOf(gives(time.Hour)), []reply{fails(kind)}}
			ts := open(t, s, Config{Rand: same(0.5)})
			must(t, ts)
			time.Sleep(42 * time.Minute)
			synctest.Wait()
			require.Equal(t, "IRI", s.steps())
			assert.Zero(t, s.pauses()[1], "at once")
			assert.EqualValues(t, 2, ts.Status().Generation)
			if kind == Refused {
				assert.Equal(t, 3, ts.Status().BudgetLeft)
			}
		})
	}
}

func TestR14_NoUnitNoFallback(t *testing.T) {
	// Without a free unit there is no fallback: the token stays in service, and the Issue follows when a unit is free.
	synctest.Test(t, func(t *testing.T) {
		b := &budget.Budget{Units: 1, Window: 10 * time.Minute}
		s := reissuing{scriptOf(gives(time.Hour)), []reply{fails(Refused)}}
		ts := open(t, s, Config{Rand: same(0.5), Budget: b})
		must(t, ts)
		time.Sleep(42*time.Minute - time.Second)
		b.Charge(clock.Real{}.Now().Mono, 1)
		time.Sleep(2 * time.Second)
		assert.Equal(t, "IR", s.steps())
		must(t, ts)
		time.Sleep(10*time.Minute - time.Second)
		synctest.Wait()
		assert.Equal(t, "IRI", s.steps())
		assert.EqualValues(t, 2, ts.Status().Generation)
	})
}

func TestR14_RefusedTwiceIsOffForAWindow(t *testing.T) {
	// A Reissue refused twice running is off for one budget window, doubling up to a day; scheduled Issues take its place, and are free. A success or Reset ends it.
	synctest.Test(t, func(t *testing.T) {
		const window = time.Hour
		b := &budget.Budget{Window: window}
		s := reissuing{scriptOf(gives(10 * time.Minute)), []reply{fails(Refused)}}
		ts := open(t, s, Config{Rand: same(0.5), Budget: b, WatchEvery: -1})
		must(t, ts)
		time.Sleep(7*24*time.Hour + time.Minute)
		var refusals []time.Time
		for n := range s.count() {
			if c := s.call(n + 1); c.step == reissue {
				refusals = append(refusals, c.at)
			}
		}
		want := []time.Duration{0, window, 2 * window, 4 * window, 8 * window, 16 * window, 24 * window, 24 * window, 24 * window}
		for i := 1; i < len(refusals); i++ {
			off := refusals[i].Sub(refusals[i-1])
			assert.GreaterOrEqual(t, off, want[min(i-1, 8)], "refusal %d", i)
			assert.LessOrEqual(t, off, want[min(i-1, 8)]+8*time.Minute, "refusal %d", i)
		}
		assert.GreaterOrEqual(t, len(refusals), 11)
		assert.Equal(t, 4, ts.Status().BudgetLeft, "the scheduled Issues were free")

		calls := len(s.steps())
		ts.Reset()
		time.Sleep(10 * time.Minute)
		assert.Regexp(t, "^R", s.steps()[calls:], "Reset: Reissue is tried again")
	})
}

func TestR14_OffFor(t *testing.T) {
	// The first refusal in a row costs nothing; the second one window, and each further one twice as long, up to a day.
	const window, day = 10 * time.Minute, 24 * time.Hour
	for n, want := range map[int]time.Duration{1: 0, 2: window, 3: 2 * window, 4: 4 * window, 9: 128 * window, 10: day, 1 << 40: day} {
		assert.Equal(t, want, reissueOffFor(n, window), "refusal %d", n)
	}
	assert.Equal(t, 2*day, reissueOffFor(3, 2*day), "a window of two days is not cut to one")
}

func TestR14_RefusedOnceIsNotOff(t *testing.T) {
	// Only refusals that follow one another count: a Reissue that succeeded starts the count anew.
	synctest.Test(t, func(t *testing.T) {
		s := reissuing{scriptOf(gives(10 * time.Minute)), []reply{fails(Refused), gives(10 * time.Minute), fails(Refused), gives(10 * time.Minute)}}
		ts := open(t, s, Config{Rand: same(0.5)})
		must(t, ts)
		time.Sleep(50 * time.Minute)
		assert.Equal(t, "IRIRRIRRRR", s.steps())
	})
}

func TestR14_AfterARejectOnlyWithARefreshToken(t *testing.T) {
	// After a Reject, or past the deadline, a token without a refresh token is not reissued: there is nothing to trade.
	for _, c := range []struct {
		name string
		tok  reply
		want string
	}{{"without", gives(time.Hour), "II"}, {"with", givesRefresh(time.Hour), "IR"}} {
		bubble(t, "rejected/"+c.name, func(t *testing.T) {
			s := reissuing{scriptOf(c.tok), []reply{c.tok}}
			ts := open(t, s, Config{})
			_, err := ts.Reject(t.Context(), must(t, ts))
			require.NoError(t, err)
			assert.Equal(t, c.want, s.steps())
		})
		bubble(t, "past the deadline/"+c.name, func(t *testing.T) {
			s := reissuing{scriptOf(c.tok), []reply{c.tok}}
			ts := open(t, s, Config{ReissueEvery: -1})
			must(t, ts)
			time.Sleep(time.Hour)
			must(t, ts)
			assert.Equal(t, c.want, s.steps())
		})
	}
}

func TestR15_TokensOfOneSecond(t *testing.T) {
	// Tokens of one second work without a storm: fetches near the least possible, never two at once, and a steady reader sees no gap.
	for _, latency := range []time.Duration{0, 50 * time.Millisecond} {
		bubble(t, latency.String(), func(t *testing.T) {
			const span = time.Hour
			gaps := atomic.Int64{}
			s := scriptOf(slow(latency, gives(time.Second)))
			ts := open(t, s, Config{Rand: seeded(1), WatchEvery: -1, Hooks: Hooks{Changed: func(c Change) {
				if !c.To.Usable() && c.To != StateClosed {
					gaps.Add(1)
				}
			}}})
			must(t, ts)
			for end := time.Now().Add(span); time.Now().Before(end); time.Sleep(777 * time.Millisecond) {
				if ts.cur.Load() == nil {
					gaps.Add(1)
				}
			}
			assert.Zero(t, gaps.Load(), "times without a token")
			assert.LessOrEqual(t, s.count(), int(span/(600*time.Millisecond))+1)
			assert.GreaterOrEqual(t, s.count(), int(span/(900*time.Millisecond)))
			assert.Zero(t, ts.Status().Failed)
		})
	}
}

func TestR15_TokensUnderFiveMinutesAreKept(t *testing.T) {
	// A short token is kept for its life, and not fetched for each read (MSAL never caches those under 5 minutes; go-authkit never refreshes).
	for _, life := range []time.Duration{5 * time.Second, time.Minute, 5 * time.Minute} {
		bubble(t, life.String(), func(t *testing.T) {
			s := scriptOf(gives(life))
			ts := open(t, s, Config{Rand: same(0.5)})
			for end := time.Now().Add(100 * life); time.Now().Before(end); time.Sleep(life / 20) {
				must(t, ts)
			}
			assert.InDelta(t, 100/0.7, s.count(), 3)
		})
	}
}

func TestR15_TokensWithoutExpiry(t *testing.T) {
	// A token that has no end is replaced by a Reject and by nothing else.
	synctest.Test(t, func(t *testing.T) {
		s := reissuing{scriptOf(gives(0)), []reply{gives(0)}}
		ts := open(t, s, Config{})
		first := must(t, ts)
		assert.Zero(t, ts.Status().Deadline)
		time.Sleep(20 * 365 * 24 * time.Hour)
		assert.Same(t, first, must(t, ts))
		assert.Equal(t, "I", s.steps())
		next, err := ts.Reject(t.Context(), first)
		require.NoError(t, err)
		assert.NotSame(t, first, next)
		assert.Equal(t, 2, s.count())
	})
}

func TestR15_AHintThatHasPassedIsNoStorm(t *testing.T) {
	// Hints that are always in the past, as where the local clock is ahead, do not make a storm.
	for _, life := range []time.Duration{0, time.Minute} {
		bubble(t, life.String(), func(t *testing.T) {
			s := scriptOf(func(_ context.Context, n int) (*Token, error) {
				tok := namedToken(n)
				tok.Life, tok.ReissueAt = life, time.Now().Add(-time.Hour)
				return tok, nil
			})
			ts := open(t, s, Config{})
			must(t, ts)
			time.Sleep(time.Minute)
			assert.LessOrEqual(t, s.count(), 61)
		})
	}
}
