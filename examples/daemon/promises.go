package main

import (
	"fmt"
	"time"
)

// What is promised. The numbers are generous: a machine that is busy with other
// things is not a broken promise.
const (
	budgetUnits  = 4
	budgetWindow = 4 * time.Second
	// callsPerSecond is how many calls an issuer that is away gets at most.
	callsPerSecond = 10
	// backWithin is how soon all is well after an outage.
	backWithin = time.Second
	// stallMost is how long the machine may stand still before a wait is its fault: a token is
	// reissued long before its end, but not any longer.
	stallMost = 300 * time.Millisecond
)

// promise is something that renew promises. judge looks at recorded facts and
// at nothing else.
type promise struct {
	name  string
	means string
	judge func(*facts) verdict
}

// verdict is what became of a promise.
type verdict struct {
	state state
	why   string
}

type state uint8

const (
	notJudged state = iota
	kept
	broken
)

func (s state) String() string { return [...]string{"not judged", "kept", "broken"}[s] }

func keep(format string, args ...any) verdict   { return verdict{kept, fmt.Sprintf(format, args...)} }
func breach(format string, args ...any) verdict { return verdict{broken, fmt.Sprintf(format, args...)} }

// promises are in the order of the summary.
var promises = []promise{
	{"steady", "while tokens are reissued no request fails, and none waits for a token", judgeSteady},
	{"outage", fmt.Sprintf("while the issuer is away no request fails as long as the token lives; the issuer gets at most %d calls a second; all is well within %v of its return", callsPerSecond, backWithin), judgeOutage},
	{"revocation", "one revocation that all workers see costs one token request, and no request ends in 401", judgeRevocation},
	{"budget", fmt.Sprintf("at most %d re-authentications in every window of %v although every fresh token is refused; beyond that 401s go back as they come, and the token stays in service", budgetUnits, budgetWindow), judgeBudget},
	{"recovery", "once the API takes fresh tokens again and the window allows one, a single token request makes all well, by itself", judgeRecovery},
	{"one-flight", "there is never more than one token request in flight", judgeFlights},
	{"secret", "nothing that is printed or logged holds the client secret or a token", judgeSecret},
	{"clean-end", "Close ends a token request that hangs, and leaves no goroutine, timer or request behind", judgeEnd},
}

// facts are what was recorded. What was not is nil.
type facts struct {
	absent     string // why something was not recorded
	theirs     bool   // issuer and API are the user's
	steady     *steadyFacts
	outage     *outageFacts
	revocation *revocationFacts
	budget     *budgetFacts
	recovery   *recoveryFacts
	flights    *flightFacts
	secret     *secretFacts
	end        *endFacts
}

func (f *facts) none() verdict { return verdict{notJudged, f.absent} }

// noneOfTheirs is none for what cannot be done to a server of the user's.
func (f *facts) noneOfTheirs() verdict {
	if f.theirs {
		return verdict{notJudged, "needs the embedded issuer"}
	}
	return f.none()
}

type steadyFacts struct {
	took     time.Duration
	tokens   int // that were issued meanwhile
	requests int
	failed   int
	waited   int
	stall    time.Duration // how long the machine itself stood still, at most
}

// stalled reports whether requests waited, but perhaps for the machine.
func (f *steadyFacts) stalled() bool { return f.waited > 0 && f.stall > stallMost }

func judgeSteady(all *facts) verdict {
	f := all.steady
	switch {
	case f == nil:
		return all.none()
	case f.failed > 0:
		return breach("%d of %d requests failed", f.failed, f.requests)
	case f.stalled():
		return verdict{notJudged, fmt.Sprintf("%d requests waited for a token, but this machine stood still for %v", f.waited, f.stall.Round(time.Millisecond))}
	case f.waited > 0:
		return breach("%d of %d requests waited for a token", f.waited, f.requests)
	case f.tokens == 0:
		return verdict{notJudged, fmt.Sprintf("no token was due within %v; -for makes it longer", f.took.Round(time.Second))}
	}
	return keep("%s reissued under %d requests: none failed, none waited", count(f.tokens, "token"), f.requests)
}

type outageFacts struct {
	away     time.Duration
	calls    int  // that the issuer got while it was away
	early    bool // a request failed before the token's end
	failed   int  // requests, of those that began while it was away
	back     bool // a request succeeded after its return
	after    time.Duration
	relapsed int // requests that failed of those that began after that one
	stall    time.Duration
}

func judgeOutage(all *facts) verdict {
	f := all.outage
	if f == nil {
		return all.noneOfTheirs()
	}
	most := int(f.away.Seconds() * callsPerSecond)
	switch {
	case f.early:
		return breach("requests failed although the token was still good")
	case f.calls > most:
		return breach("the issuer got %d calls in %v, more than %d", f.calls, f.away.Round(time.Millisecond), most)
	case f.calls == 0:
		return breach("nobody called the issuer in %v", f.away.Round(time.Millisecond))
	case !f.back:
		return breach("no request has succeeded since")
	case f.after > backWithin+f.stall:
		return breach("well again %v after its return, later than %v", f.after.Round(time.Millisecond), backWithin)
	case f.relapsed > 0:
		return breach("%d requests failed after all was well again", f.relapsed)
	}
	return keep("%d calls in %v; no request failed before the token's end, %d after it; well again after %v",
		f.calls, f.away.Round(100*time.Millisecond), f.failed, f.after.Round(10*time.Millisecond))
}

type revocationFacts struct {
	standIn  bool // a token was rejected on purpose; no server refused it
	workers  int
	seen     int // 401s that the API answered
	requests int // to the token endpoint
	ended401 int // requests whose last answer was a 401, by the API's book
	failed   int
}

func judgeRevocation(all *facts) verdict {
	f := all.revocation
	switch {
	case f == nil:
		return all.none()
	case f.requests > 1:
		return breach("%d token requests for one revocation", f.requests)
	case f.ended401 > 0:
		return breach("%d requests ended in 401", f.ended401)
	case f.failed > 0:
		return breach("%d requests failed", f.failed)
	case f.standIn:
		return keep("stand-in: %d workers rejected one token on purpose: %s, by our own count", f.workers, count(f.requests, "token request"))
	case f.seen < f.workers:
		return breach("only %d of %d workers saw it", f.seen, f.workers)
	case f.requests == 0:
		return breach("nobody asked for another token")
	}
	return keep("%s got a 401 at once: 1 token request, and every request ended well", count(f.workers, "worker"))
}

type budgetFacts struct {
	at    []time.Time // of the token requests that were re-authentications, by the issuer's clock
	spent int         // 401s that went back to the workers while the budget was spent
	other int         // requests that failed otherwise
	fine  int         // requests that succeeded, which none could
}

func judgeBudget(all *facts) verdict {
	f := all.budget
	if f == nil {
		return all.noneOfTheirs()
	}
	most := mostWithin(f.at, budgetWindow)
	switch {
	case most > budgetUnits:
		return breach("%d re-authentications within %v", most, budgetWindow)
	case most < budgetUnits:
		return breach("only %d re-authentications within %v, though there was reason for more", most, budgetWindow)
	case f.fine > 0:
		return breach("%d requests succeeded with tokens that the API refuses", f.fine)
	case f.other > 0:
		return breach("%d requests did not get their 401 back while the budget was spent", f.other)
	case f.spent == 0:
		return breach("no request got an answer while the budget was spent")
	}
	return keep("%d re-authentications, at most %d within %v; then %d 401s went back as they came", len(f.at), most, budgetWindow, f.spent)
}

// mostWithin returns how many of the times lie within one window, at most. They
// are in order. A window is half open: what is exactly its length apart is not within it.
func mostWithin(at []time.Time, window time.Duration) int {
	most, first := 0, 0
	for i := range at {
		for at[i].Sub(at[first]) >= window {
			first++
		}
		most = max(most, i-first+1)
	}
	return most
}

type recoveryFacts struct {
	back     bool
	after    time.Duration // from the moment at which the API took fresh tokens again
	requests int           // to the token endpoint by then
	relapsed int           // requests that failed of those that began after that
	stall    time.Duration
}

func judgeRecovery(all *facts) verdict {
	f := all.recovery
	switch {
	case f == nil:
		return all.noneOfTheirs()
	case !f.back:
		return breach("no request has succeeded within %v", f.after.Round(100*time.Millisecond))
	case f.after > budgetWindow+backWithin+f.stall:
		return breach("well again after %v, though the window is %v", f.after.Round(time.Millisecond), budgetWindow)
	case f.requests != 1:
		return breach("it took %d token requests", f.requests)
	case f.relapsed > 0:
		return breach("%d requests failed after all was well again", f.relapsed)
	}
	return keep("well again after %v, by 1 token request", f.after.Round(10*time.Millisecond))
}

type flightFacts struct {
	byIssuer bool // else by our own count
	requests int
	most     int
}

func judgeFlights(all *facts) verdict {
	f := all.flights
	by := "by our own count"
	if f != nil && f.byIssuer {
		by = "by the issuer's count"
	}
	switch {
	case f == nil || f.requests == 0:
		return verdict{notJudged, "there was no token request"}
	case f.most > 1:
		return breach("%d token requests at once, %s", f.most, by)
	}
	return keep("%s, never two at once, %s", count(f.requests, "token request"), by)
}

type secretFacts struct {
	known  int // secrets that were looked for
	output int // bytes
	leaks  []string
}

func judgeSecret(all *facts) verdict {
	f := all.secret
	switch {
	case f == nil || f.known == 0:
		return verdict{notJudged, "there was nothing to hide yet"}
	case len(f.leaks) > 0:
		return breach("the output holds a secret or a token, %s", f.leaks[0])
	}
	return keep("%d bytes of output hold none of %d secrets and tokens", f.output, f.known)
}

type endFacts struct {
	hung     bool // a token request hung at the issuer when Close was called
	closed   string
	took     time.Duration
	inFlight int // token requests that the issuer still had after that
	left     int // goroutines
	watched  time.Duration
	later    int // requests that came meanwhile
}

func judgeEnd(all *facts) verdict {
	f := all.end
	switch {
	case f == nil:
		return all.none()
	case f.closed != "":
		return breach("Close gave up after %v: %s", f.took.Round(100*time.Millisecond), f.closed)
	case f.inFlight > 0:
		return breach("the issuer still has %s", count(f.inFlight, "token request"))
	case f.left > 0:
		return breach("%s still running", count(f.left, "goroutine"))
	case f.later > 0:
		return breach("%s after Close", count(f.later, "request"))
	}
	what := ""
	if f.hung {
		what = ", with a token request that hung"
	}
	if f.watched > 0 {
		what += fmt.Sprintf("; no request in the %v after that", f.watched.Round(100*time.Millisecond))
	}
	return keep("Close took %v%s; nothing is left running", f.took.Round(time.Millisecond), what)
}

// count says "1 token", "2 tokens".
func count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}
