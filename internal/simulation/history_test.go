package simulation

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/seed-f29168f7/renew/budget"
)

// history is a set-up of setupSize bytes and events of eventSize bytes each. All bytes
// have a meaning, and zero is the plainest: so a history can be cut and blanked to shorten it.
type history []byte

const (
	setupSize = 24
	eventSize = 5
	maxEvents = 120
)

// generate makes the history of a seed.
func generate(seed uint64) history {
	r := rand.New(rand.NewPCG(seed, 0x5e7))
	h := make(history, setupSize+eventSize*(5+r.IntN(60)))
	for i := range h[:setupSize] {
		if r.IntN(5) < 2 { // most things as usual, or every history is odd in all ways
			h[i] = byte(r.Uint32())
		}
	}
	for i := setupSize; i < len(h); i++ {
		h[i] = byte(r.Uint32())
	}
	return h
}

// setup is the first part of a history.
type setup struct {
	tenants  []tenantSetup
	seed     uint64
	timeout  time.Duration // of a flight
	leeway   time.Duration
	rate     budget.Rate
	units    int
	window   time.Duration
	budgets  string // whose they are: "own", "shared" by pointer, "account"
	endpoint string // "one", "none", "each"
	changed  bool   // hooks
	rotated  bool
	revoke   bool
}

// tenantSetup is how one TokenSource is set up.
type tenantSetup struct {
	reissues, refresh, rotates bool
	life                       time.Duration // 0: no end
	expiryOnly                 bool
	every                      time.Duration
	idleAfter                  time.Duration
	hint                       bool
	checkOnRead                bool
	interactive, allowed       bool
}

// at returns byte i, or zero where the history is too short.
func (h history) at(i int) byte {
	if i < len(h) {
		return h[i]
	}
	return 0
}

// choose returns the element that a byte stands for; the first has the bytes that
// the others leave.
func choose[T any](b byte, list ...T) T {
	if n := int(b % 16); n < len(list) {
		return list[n]
	}
	return list[0]
}

func (h history) setup() setup {
	s := setup{
		seed:     uint64(h.at(1)) | uint64(h.at(2))<<8,
		timeout:  choose(h.at(3), 30*time.Second, 5*time.Second, 2*time.Minute, time.Second),
		leeway:   choose(h.at(4), 0, -1, 2*time.Second),
		rate:     choose(h.at(5), budget.Rate{}, budget.Rate{PerSecond: 0.5, Burst: 1}, budget.Rate{PerSecond: 5, Burst: 2}, budget.Rate{PerSecond: -1}),
		units:    choose(h.at(6), 4, 2, 1, 4),
		window:   choose(h.at(6), 10*time.Minute, time.Minute, 30*time.Second, time.Hour),
		budgets:  choose(h.at(7), "own", "shared", "account"),
		endpoint: choose(h.at(8), "one", "none", "each"),
		changed:  h.at(9)%2 == 1,
		rotated:  h.at(10)%2 == 1,
		revoke:   h.at(11)%2 == 1,
	}
	if s.budgets == "account" {
		s.units, s.window, s.endpoint = budget.DefaultUnits, budget.DefaultWindow, "one"
	}
	for i := range 1 + int(h.at(0)%3) {
		b := h[min(12+4*i, len(h)):]
		t := tenantSetup{
			reissues: b.at(0)&1 != 0, refresh: b.at(0)&2 != 0, rotates: b.at(0)&4 != 0,
			life: choose(b.at(1), time.Hour, 10*time.Minute, time.Minute, 10*time.Second, time.Second, 0, 24*time.Hour),
		}
		switch choose(b.at(2), "", "never", "every", "idle", "hint", "expiry", "check") {
		case "never":
			t.every = -1
		case "every":
			t.every = max(t.life/2, 45*time.Second)
		case "idle":
			t.idleAfter = 5 * time.Minute
		case "hint":
			t.hint = true
		case "expiry":
			t.expiryOnly = t.life > 0
		case "check":
			t.checkOnRead = true
		}
		t.interactive = b.at(3)%8 == 7
		t.allowed = t.interactive && b.at(3)%16 == 7
		s.tenants = append(s.tenants, t)
	}
	return s
}

// op is what happens.
type op uint8

const (
	advance op = iota
	next       // advance to the next thing that is due
	token
	tokenFor // with a deadline
	wait
	reject      // the newest token that a caller got
	rejectStale // an older one
	rejectLeft  // the newest, with a context that has ended
	cancel      // a caller leaves
	reset
	behave  // the next calls of the Source
	weather // all calls of it, from now on
	clear
	revoke // at the issuer: callers who get the token reject it
	step   // the wall clock
	suspend
	input // the credential input changes
	hook  // Rotated fails, or works again
	status
	ready
	waitAll // Manager.Wait
	replace // Remove, and Add again
	remove
	closeAll
)

// often is how often the ops occur, in 64ths or so.
var often = []struct {
	op op
	n  int
	as string
}{
	{advance, 10, "advance"}, {next, 10, "advance to the next timer"}, {token, 6, "Token"}, {tokenFor, 5, "Token"}, {wait, 2, "Wait"},
	{reject, 5, "Reject of the newest token"}, {rejectStale, 2, "Reject of an older token"}, {rejectLeft, 1, "Reject with an ended context"},
	{cancel, 3, "a caller leaves"}, {reset, 1, "Reset"}, {behave, 10, "next calls"}, {weather, 3, "all calls"}, {clear, 3, "the issuer is well"},
	{revoke, 2, "the issuer revokes the token"}, {step, 2, "the wall clock steps"}, {suspend, 2, "suspend"}, {input, 1, "the credential input changes"},
	{hook, 2, "Rotated fails, or works again"}, {status, 2, "Status"}, {ready, 1, "Ready"}, {waitAll, 1, "Manager.Wait"}, {replace, 1, "Remove and Add"},
	{remove, 1, "Remove"},
}

// opTable maps a byte to an op.
var opTable = func() (table []op) {
	for _, o := range often {
		for range o.n {
			table = append(table, o.op)
		}
	}
	return table
}()

// event is one thing that happens.
type event struct {
	op   op
	who  int // the tenant
	k    byte
	long time.Duration
	mode mode
}

// events returns the second part of a history.
func (h history) events() []event {
	var list []event
	for i := setupSize; i+eventSize <= len(h) && len(list) < maxEvents; i += eventSize {
		e := event{op: opTable[int(h[i])%len(opTable)], who: int(h[i+1] % 4), k: h[i+2]}
		if h[i] >= 252 { // rarely, since little can follow
			e.op = closeAll
		}
		a := uint16(h[i+3]) | uint16(h[i+4])<<8
		if a > 0 { // from a millisecond to a day, as evenly as an eye looks at it
			e.long = time.Duration(float64(time.Millisecond) * math.Exp2(float64(a)/65535*26.36))
		}
		e.mode = modeTable[int(e.k>>2)%len(modeTable)]
		list = append(list, e)
	}
	return list
}

// String shows the history to a person.
func (h history) String() string {
	var b strings.Builder
	s := h.setup()
	fmt.Fprintf(&b, "  flights of at most %v, leeway %v, rate %+v, %d units in %v (%s), endpoint %s, hooks %v %v, revoke on close %v\n",
		s.timeout, s.leeway, s.rate, s.units, s.window, s.budgets, s.endpoint, s.changed, s.rotated, s.revoke)
	for i, t := range s.tenants {
		fmt.Fprintf(&b, "  source %d: %+v\n", i, t)
	}
	for i, e := range h.events() {
		fmt.Fprintf(&b, "  %3d %v\n", i, e)
	}
	return b.String()
}

// String shows the event to a person.
func (e event) String() string {
	name := "Manager.Close"
	for _, o := range often {
		if o.op == e.op {
			name = o.as
		}
	}
	switch e.op {
	case advance, closeAll:
		return fmt.Sprintf("%s %v", name, e.long)
	case suspend:
		return fmt.Sprintf("%s %v", name, e.step().Abs())
	case step:
		return fmt.Sprintf("%s by %v", name, e.step())
	case tokenFor, wait, waitAll:
		return fmt.Sprintf("%s, source %d, at most %v", name, e.who, e.long)
	case behave:
		return fmt.Sprintf("%s, source %d: %d times %v, each %v", name, e.who, e.times(), e.mode, e.takes())
	case weather:
		return fmt.Sprintf("%s, source %d: %v, each %v", name, e.who, e.mode, e.takes())
	case next, hook, ready:
		return name
	}
	return fmt.Sprintf("%s, source %d", name, e.who)
}

// times is how many calls a behaviour holds for.
func (e event) times() int { return 1 + int(e.k&3) }

// step is by how much the wall clock is set: at least what the watcher must notice.
func (e event) step() time.Duration {
	d := e.long + 150*time.Millisecond
	if e.k%2 == 1 {
		return -d
	}
	return d
}
