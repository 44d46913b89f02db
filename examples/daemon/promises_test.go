package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-f29168f7/renew"
)

func TestVerdicts(t *testing.T) {
	steady := steadyFacts{took: 5 * time.Second, tokens: 3, requests: 1000}
	outage := outageFacts{away: 3 * time.Second, calls: 12, failed: 200, back: true, after: 300 * time.Millisecond}
	revocation := revocationFacts{workers: 50, seen: 50, requests: 1}
	spent := budgetFacts{at: seconds(0, 1, 1, 1, 4), spent: 100}
	recovery := recoveryFacts{back: true, after: time.Second, requests: 1}
	flights := flightFacts{byIssuer: true, requests: 10, most: 1}
	secret := secretFacts{known: 10, output: 1000}
	end := endFacts{hung: true, took: time.Millisecond, watched: time.Second}

	with := func(f *facts, change func(*facts)) *facts {
		// Each case has its own copies.
		s, o, r, b, c, l, h, e := steady, outage, revocation, spent, recovery, flights, secret, end
		*f = facts{steady: &s, outage: &o, revocation: &r, budget: &b, recovery: &c, flights: &l, secret: &h, end: &e}
		if change != nil {
			change(f)
		}
		return f
	}
	for _, tc := range []struct {
		name   string
		change func(*facts)
		want   map[string]state // of those that are not kept
	}{
		{"all is well", nil, nil},

		{"a request failed", func(f *facts) { f.steady.failed = 1 }, map[string]state{"steady": broken}},
		{"a request waited", func(f *facts) { f.steady.waited = 1 }, map[string]state{"steady": broken}},
		{"waited, after a short stall", func(f *facts) { f.steady.waited, f.steady.stall = 1, stallMost }, map[string]state{"steady": broken}},
		{"waited, but the machine stood still", func(f *facts) { f.steady.waited, f.steady.stall = 1, stallMost+1 }, map[string]state{"steady": notJudged}},
		{"failed, and the machine stood still", func(f *facts) { f.steady.failed, f.steady.stall = 1, stallMost+1 }, map[string]state{"steady": broken}},
		{"no token was due", func(f *facts) { f.steady.tokens = 0 }, map[string]state{"steady": notJudged}},

		{"failed with a live token", func(f *facts) { f.outage.early = true }, map[string]state{"outage": broken}},
		{"as many calls as may be", func(f *facts) { f.outage.calls = 30 }, nil},
		{"a storm", func(f *facts) { f.outage.calls = 31 }, map[string]state{"outage": broken}},
		{"no call at all", func(f *facts) { f.outage.calls = 0 }, map[string]state{"outage": broken}},
		{"never back", func(f *facts) { f.outage.back = false }, map[string]state{"outage": broken}},
		{"back at the last moment", func(f *facts) { f.outage.after = backWithin }, nil},
		{"back too late", func(f *facts) { f.outage.after = backWithin + 1 }, map[string]state{"outage": broken}},
		{"late by a stall", func(f *facts) { f.outage.after, f.outage.stall = backWithin+1, 1 }, nil},
		{"a relapse", func(f *facts) { f.outage.relapsed = 1 }, map[string]state{"outage": broken}},

		{"two token requests", func(f *facts) { f.revocation.requests = 2 }, map[string]state{"revocation": broken}},
		{"none", func(f *facts) { f.revocation.requests = 0 }, map[string]state{"revocation": broken}},
		{"not all saw it", func(f *facts) { f.revocation.seen = 49 }, map[string]state{"revocation": broken}},
		{"a 401 at the end", func(f *facts) { f.revocation.ended401 = 1 }, map[string]state{"revocation": broken}},
		{"another failure", func(f *facts) { f.revocation.failed = 1 }, map[string]state{"revocation": broken}},
		{"a stand-in", func(f *facts) { f.revocation.standIn, f.revocation.seen = true, 0 }, nil},
		{"a stand-in that joined the timer's flight", func(f *facts) { f.revocation.standIn, f.revocation.requests = true, 0 }, nil},
		{"a stand-in, two requests", func(f *facts) { f.revocation.standIn, f.revocation.requests = true, 2 }, map[string]state{"revocation": broken}},

		{"five within the window", func(f *facts) { f.budget.at = seconds(0, 1, 1, 1, 3.999) }, map[string]state{"budget": broken}},
		{"three", func(f *facts) { f.budget.at = seconds(0, 1, 1) }, map[string]state{"budget": broken}},
		{"no 401 came back", func(f *facts) { f.budget.spent = 0 }, map[string]state{"budget": broken}},
		{"something else came back", func(f *facts) { f.budget.other = 1 }, map[string]state{"budget": broken}},
		{"a refused token worked", func(f *facts) { f.budget.fine = 1 }, map[string]state{"budget": broken}},

		{"no recovery", func(f *facts) { f.recovery.back = false }, map[string]state{"recovery": broken}},
		{"late", func(f *facts) { f.recovery.after = budgetWindow + backWithin + 1 }, map[string]state{"recovery": broken}},
		{"by two requests", func(f *facts) { f.recovery.requests = 2 }, map[string]state{"recovery": broken}},
		{"by none", func(f *facts) { f.recovery.requests = 0 }, map[string]state{"recovery": broken}},
		{"and a relapse", func(f *facts) { f.recovery.relapsed = 1 }, map[string]state{"recovery": broken}},

		{"two at once", func(f *facts) { f.flights.most = 2 }, map[string]state{"one-flight": broken}},
		{"two at once, by our own count", func(f *facts) { f.flights.most, f.flights.byIssuer = 2, false }, map[string]state{"one-flight": broken}},
		{"no flight", func(f *facts) { f.flights.requests = 0 }, map[string]state{"one-flight": notJudged}},

		{"a leak", func(f *facts) { f.secret.leaks = []string{"in base64"} }, map[string]state{"secret": broken}},
		{"no secret yet", func(f *facts) { f.secret.known = 0 }, map[string]state{"secret": notJudged}},

		{"Close gave up", func(f *facts) { f.end.closed = "1 calls still running" }, map[string]state{"clean-end": broken}},
		{"a goroutine is left", func(f *facts) { f.end.left = 1 }, map[string]state{"clean-end": broken}},
		{"a request is left", func(f *facts) { f.end.inFlight = 1 }, map[string]state{"clean-end": broken}},
		{"a request after Close", func(f *facts) { f.end.later = 1 }, map[string]state{"clean-end": broken}},

		{"nothing was recorded", func(f *facts) { *f = facts{absent: "the run was ended before"} }, map[string]state{
			"steady": notJudged, "outage": notJudged, "revocation": notJudged, "budget": notJudged, "recovery": notJudged,
			"one-flight": notJudged, "secret": notJudged, "clean-end": notJudged,
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := with(new(facts), tc.change)
			for _, p := range promises {
				want, ok := tc.want[p.name]
				if !ok {
					want = kept
				}
				if got := p.judge(f); got.state != want || got.why == "" {
					t.Errorf("%s is %v: %s; want %v", p.name, got.state, got.why, want)
				}
			}
		})
	}
}

// Of a user's server, the summary says what could not be judged, and why.
func TestVerdictsOfTheirs(t *testing.T) {
	f := &facts{theirs: true, absent: "the run was ended before"}
	for _, p := range promises {
		want := f.absent
		switch p.name {
		case "outage", "budget", "recovery":
			want = "needs the embedded issuer"
		case "one-flight", "secret":
			continue
		}
		if got := p.judge(f); got.state != notJudged || got.why != want {
			t.Errorf("%s is %v: %s; want not judged: %s", p.name, got.state, got.why, want)
		}
	}
}

func TestMostWithin(t *testing.T) {
	for _, tc := range []struct {
		at   []time.Time
		want int
	}{
		{nil, 0},
		{seconds(0), 1},
		{seconds(0, 4), 1}, // half open
		{seconds(0, 3.999), 2},
		{seconds(0, 1, 2, 3, 4, 5, 6), 4},
		{seconds(0, 0, 0, 10, 10), 3},
	} {
		if got := mostWithin(tc.at, 4*time.Second); got != tc.want {
			t.Errorf("mostWithin(%v) = %d, want %d", tc.at, got, tc.want)
		}
	}
}

func seconds(at ...float64) []time.Time {
	list := make([]time.Time, len(at))
	for i, s := range at {
		list[i] = time.Unix(1000, 0).Add(time.Duration(s * float64(time.Second)))
	}
	return list
}

// A promise that cannot be broken on purpose is not known to be checked.
func TestEachPromiseHasABreak(t *testing.T) {
	known := []string{"start", "end"}
	for _, p := range (&walk{world: &world{}}).plan() {
		known = append(known, p.name)
	}
	if len(breaks) != len(promises) {
		t.Errorf("%d breaks, %d promises", len(breaks), len(promises))
	}
	for _, p := range promises {
		b := breakOf(p.name)
		if b == nil {
			t.Errorf("nothing breaks %s", p.name)
			continue
		}
		for _, phase := range b.phases {
			if !slices.Contains(known, phase) {
				t.Errorf("the break of %s needs the phase %s, which there is not", p.name, phase)
			}
		}
	}
}

func TestExitStatus(t *testing.T) {
	b := breakOf("budget")
	kept, broken, none := verdict{state: kept}, verdict{state: broken}, verdict{}
	for _, tc := range []struct {
		name        string
		verdicts    map[string]verdict
		b           *breakage
		interrupted bool
		want        int
	}{
		{"kept", map[string]verdict{"steady": kept, "budget": none}, nil, false, exitKept},
		{"broken", map[string]verdict{"steady": broken, "budget": kept}, nil, false, exitBroken},
		{"Ctrl-C", map[string]verdict{"steady": kept}, nil, true, exitInterrupted},
		{"Ctrl-C, broken by then", map[string]verdict{"steady": broken}, nil, true, exitBroken},
		{"the break was noticed", map[string]verdict{"budget": broken}, b, false, exitBroken},
		{"the break was not noticed", map[string]verdict{"budget": kept}, b, false, exitFailed},
		{"another promise is broken instead", map[string]verdict{"budget": kept, "steady": broken}, b, false, exitFailed},
		{"the break was not judged", map[string]verdict{"budget": none}, b, false, exitFailed},
		{"Ctrl-C before the break", map[string]verdict{"budget": none}, b, true, exitInterrupted},
	} {
		if got := exitStatus(tc.verdicts, tc.b, tc.interrupted); got != tc.want {
			t.Errorf("%s: exit status %d, want %d", tc.name, got, tc.want)
		}
	}
}

func TestParse(t *testing.T) {
	for _, tc := range []struct{ args, want string }{
		{"", ""},
		{"-workers=1 -for=1m -pause=1ms", ""},
		{"-break=budget", ""},
		{"-break=nothing", "no such promise"},
		{"-workers=0", "-workers is 0"},
		{"-for=-1s", "-for is"},
		{"-pause=1s", "at most 200ms"},
		{"now", `"now" is not a flag`},
		{"-token-url=http://127.0.0.1:1/ -client-id=x -api=http://127.0.0.1:1/", "-client-secret-file is missing"},
		{"-token-url=http://127.0.0.1:1/ -client-id=x -client-secret-file=y -api=http://127.0.0.1:1/ -pause=1m", ""},
		{"-token-url=http://127.0.0.1:1/ -client-id=x -client-secret-file=y -api=http://127.0.0.1:1/ -break=budget", "do harm"},
	} {
		var b bytes.Buffer
		_, _, err := parse(strings.Fields(tc.args), &b)
		if got := b.String(); (err != nil) != (tc.want != "") || !strings.Contains(got, tc.want) {
			t.Errorf("%s: %v, %q; want %q", tc.args, err, got, tc.want)
		}
	}
}

func TestOutcome(t *testing.T) {
	refused := &net.OpError{Op: "dial", Addr: &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 1234}, Err: errors.New("connection refused")}
	for _, tc := range []struct {
		status int
		err    error
		want   outcome
	}{
		{200, nil, outcome{}},
		{401, nil, outcome{unauthorized, "the API answered 401"}},
		{500, nil, outcome{elsewise, "the API answered 500"}},
		{0, &url.Error{Op: "Get", URL: "http://x/?secret", Err: refused}, outcome{elsewise, "dial: connection refused"}},
		{0, &url.Error{Op: "Get", URL: "http://x/?secret", Err: errors.New("odd")}, outcome{elsewise, "odd"}},
		{0, &url.Error{Op: "Get", URL: "http://x/", Err: &renew.IssueError{Err: refused}}, outcome{noToken, "no token: transient"}},
		{0, &renew.IssueError{Kind: renew.Refused, Status: 401, Code: "invalid_client"}, outcome{noToken, "no token: refused, the issuer answered 401 invalid_client"}},
		{0, &renew.BudgetError{}, outcome{noToken, "no token: renew: failure budget spent"}},
		{0, fmt.Errorf("x: %w", context.DeadlineExceeded), outcome{elsewise, "no answer within 5s"}},
	} {
		if got := judge(tc.status, tc.err); got != tc.want {
			t.Errorf("judge(%d, %v) = %v, want %v", tc.status, tc.err, got, tc.want)
		}
	}
}

// A request belongs to the lap in which it began.
func TestTally(t *testing.T) {
	ty := newTally(2)
	first := ty.begin("first")
	a, b := ty.enter(), ty.enter()
	second := ty.begin("second")
	c := ty.enter()
	ty.leave(a, 0, outcome{})
	ty.leave(b, 1, outcome{kind: unauthorized, why: "the API answered 401"})
	ty.waited(context.WithValue(t.Context(), lapKey{}, c))
	if got := ty.look(first); got.requests != 2 || got.failed != 1 || got.byKind[unauthorized] != 1 || got.waits != 0 || !ty.settled(first) || ty.all(first) {
		t.Errorf("first lap = %+v", got)
	}
	if got := ty.look(second); got.requests != 0 || got.open != 1 || got.waits != 1 || ty.settled(second) {
		t.Errorf("second lap = %+v", got)
	}
	ty.drop(c)
	for i := range 100 {
		ty.leave(ty.enter(), 0, outcome{elsewise, fmt.Sprint("reason ", i)})
	}
	sum, where := ty.total()
	if sum.requests != 102 || sum.failed != 101 || len(sum.why) > maxReasons+2 || where["other reasons"][0] != "second" {
		t.Errorf("total = %+v in %v", sum, where)
	}
}

// The table is taken away before a line is printed, and put back after it.
func TestScreenOnATerminal(t *testing.T) {
	var out bytes.Buffer
	s := newScreen(&out, true)
	s.paint([]string{"one", "two"}, "line")
	s.say("hello")
	s.end("bye\n")
	got := out.String()
	const table = "\x1b[?7lone\ntwo\n\x1b[?7h"
	const wipe = "\x1b[2A\x1b[J"
	if want := table + wipe + got[len(table+wipe):len(table+wipe)+9] + "hello\n" + table + wipe + "bye\n"; got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestScreenElsewhere(t *testing.T) {
	var out bytes.Buffer
	s := newScreen(&out, false)
	s.paint([]string{"one", "two"}, "before anything has happened")
	s.paint([]string{"one", "two"}, "line")
	_, _ = fmt.Fprint(s, "a\nb\n")
	if got := out.String(); strings.Contains(got, "\x1b") || strings.Contains(got, "one") || strings.Count(got, "\n") != 3 || !strings.Contains(got, "log: b") {
		t.Errorf("got %q", got)
	}
}

func TestScreenFindsSecrets(t *testing.T) {
	var out bytes.Buffer
	s := newScreen(&out, false)
	s.hide("correct horse battery staple")
	for i := range 2 * maxTokens {
		s.hide(fmt.Sprintf("token-number-%d-of-many", i))
	}
	s.say("nothing to see")
	if got := s.found(); got.leaks != nil || got.known != 2*maxTokens+1 || got.output != out.Len() {
		t.Errorf("found %+v", got)
	}
	req, _ := http.NewRequest(http.MethodGet, "http://127.0.0.1/", nil)
	req.SetBasicAuth("me", "correct horse battery staple") // the first one is looked for as long as we run
	s.say("%v", req.Header)
	if got := s.found(); !slices.Equal(got.leaks, []string{"in base64"}) {
		t.Errorf("found %+v", got)
	}
}
