package linear

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/budget"
	"github.com/seed-f29168f7/renew/clock"
)

// speed is how much faster the TokenSource's clock goes than the system's, so
// that back-off takes 10 ms and not 200.
const speed = 20

// fast is the system's clock, speed times as fast.
type fast struct{ clock.Real }

var origin = clock.Real{}.Now()

func (f fast) Now() clock.Instant {
	now := f.Real.Now()
	return clock.Instant{Wall: origin.Wall.Add(speed * (now.Mono - origin.Mono)), Mono: speed * (now.Mono - origin.Mono)}
}

func (f fast) Until(t time.Time) time.Duration { return speed * f.Real.Until(t) }

func (f fast) AfterFunc(d time.Duration, g func()) clock.Timer {
	return fastTimer{f.Real.AfterFunc(d/speed, g)}
}

type fastTimer struct{ clock.Timer }

func (t fastTimer) Reset(d time.Duration) bool { return t.Timer.Reset(d / speed) }

// workload is what one kind of history has.
type workload struct {
	workers, ops int
	units        int           // of the budget
	flight       time.Duration // flight timeout, of the system's clock
	fault, deaf  float64       // how many calls of Issue fail, or ignore the end of their ctx
	reject       float64       // how many operations reject a token that no server refused
	revoke       float64       // how many operations revoke the token, for all its holders
}

func (w workload) small() bool { return w.units < 1000 }

// history is one run: what the workers and the issuer saw, in the order of seq.
type history struct {
	workload
	seed uint64
	pace time.Duration // between two operations of a worker; 0: none
	seq  atomic.Int64
	// revoked: servers refuse tokens up to this one.
	revoked atomic.Int64
	stuck   atomic.Bool // somebody waited in vain
	ts      *renew.TokenSource

	mu     sync.Mutex
	ops    []*op
	calls  []*issued
	deaf   int
	unborn []context.Context // of calls that began after the end of their flight
	broken []string          // what is wrong without a look at the order

	answers, errors, rejected, stale, late, unseen int // for the tally
}

// issued is one call of Issue.
type issued struct {
	n           int
	ctx         context.Context
	entry, exit int64 // just after its start, just before its end; exit is 0 while it runs
	err         error
}

// errFault is what the issuer fails with.
var errFault = &renew.IssueError{Source: "linear", Kind: renew.Transient, Err: errors.New("a fault that passes")}

// Issue implements renew.Source.
func (h *history) Issue(ctx context.Context) (*renew.Token, error) {
	h.mu.Lock()
	if ctx.Err() != nil { // its flight has timed out before it called: there was no call
		h.unborn = append(h.unborn, ctx)
		h.mu.Unlock()
		return nil, ctx.Err()
	}
	c := &issued{n: len(h.calls) + 1, ctx: ctx, entry: h.seq.Add(1)}
	for _, other := range h.calls {
		if other.exit == 0 && other.ctx.Err() == nil && ctx.Err() == nil {
			h.broken = append(h.broken, fmt.Sprintf("R6: call %d of Issue began while call %d ran, whose flight had not ended", c.n, other.n))
		}
	}
	h.calls = append(h.calls, c)
	rnd := rand.New(rand.NewPCG(h.seed, 1<<20+uint64(c.n)))
	deaf := rnd.Float64() < h.workload.deaf && h.deaf < 2
	if deaf {
		h.deaf++
	}
	h.mu.Unlock()

	var err error
	latency := time.Duration(rnd.Int64N(int64(2 * time.Millisecond)))
	switch {
	case deaf:
		time.Sleep(h.flight + time.Duration(rnd.Int64N(int64(2*h.flight))))
	case rnd.IntN(4) == 0:
		runtime.Gosched()
	default:
		wait := time.NewTimer(latency)
		defer wait.Stop()
		select {
		case <-wait.C:
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	if err == nil && rnd.Float64() < h.fault {
		err = errFault
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if deaf {
		h.deaf--
	}
	c.exit, c.err = h.seq.Add(1), err
	if err != nil {
		return nil, err
	}
	return &renew.Token{Value: renew.NewSecret("token-" + strconv.Itoa(c.n))}, nil
}

// tokenOf returns the number of the call of Issue that made t.
func tokenOf(t *renew.Token) int {
	n, _ := strconv.Atoi(strings.TrimPrefix(t.Value.Reveal(), "token-"))
	return n
}

// record runs one history and returns it.
func record(w workload, seed uint64) (*history, error) {
	h := &history{workload: w, seed: seed}
	h.pace = []time.Duration{0, 300 * time.Microsecond, 2 * time.Millisecond, 5 * time.Millisecond}[rand.New(rand.NewPCG(seed, 0)).IntN(4)]
	ts, err := renew.New(h, renew.Config{
		FlightTimeout: speed * w.flight,
		Budget:        &budget.Budget{Units: w.units, Window: 24 * time.Hour},
		Rate:          budget.Rate{PerSecond: -1},
		WatchEvery:    -1,
		Clock:         fast{},
	})
	if err != nil {
		return nil, err
	}
	h.ts = ts
	var all sync.WaitGroup
	for i := range w.workers {
		all.Go(func() { h.work(i) })
	}
	all.Wait()
	if !h.stuck.Load() { // no flight is left half-way, if it can be helped
		h.reads(0, rand.New(rand.NewPCG(0, 0)))
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := ts.Close(ctx); err != nil {
		h.broken = append(h.broken, fmt.Sprintf("R27: %v", err))
		return h, nil
	}
	h.check()
	h.addFlights()
	h.prune()
	return h, nil
}

// work is one worker: it reads, and rejects what it holds.
func (h *history) work(client int) {
	rnd := rand.New(rand.NewPCG(h.seed, 1+uint64(client)))
	var held *renew.Token
	var kept []*renew.Token
	for range h.workload.ops {
		if h.stuck.Load() {
			return
		}
		if h.pace > 0 {
			time.Sleep(time.Duration(rnd.Int64N(int64(2 * h.pace))))
		} else if rnd.IntN(2) == 0 {
			runtime.Gosched()
		}
		at := rnd.Float64()
		if held != nil && at >= 1-h.revoke && int64(tokenOf(held)) > h.revoked.Load() {
			h.revoked.Store(int64(tokenOf(held)))
		}
		var got *renew.Token
		switch {
		case held != nil && (int64(tokenOf(held)) <= h.revoked.Load() || at < h.reject):
			got = h.rejects(client, held, rnd)
		case len(kept) > 0 && at < h.reject+0.15:
			got = h.rejects(client, kept[rnd.IntN(len(kept))], rnd)
		default:
			got = h.reads(client, rnd)
		}
		if got != nil && got != held {
			held, kept = got, append(kept, got)
		}
	}
}

// patience is how long a caller waits who has time. No flight and no pause is as long.
const patience = 10 * time.Second

// caller returns the ctx of a caller, who seldom has little patience.
func caller(rnd *rand.Rand) (context.Context, context.CancelFunc) {
	if rnd.IntN(8) == 0 {
		return context.WithTimeoutCause(context.Background(), time.Duration(rnd.IntN(4000))*time.Microsecond, errHasty)
	}
	return context.WithTimeout(context.Background(), patience)
}

var errHasty = errors.New("in a hurry")

// waited notes a caller whose patience was not enough, and ends the history.
func (h *history) waited(ctx context.Context, o *op) {
	if ctx.Err() != nil && context.Cause(ctx) != errHasty && o.token == 0 {
		h.stuck.Store(true)
		h.mu.Lock()
		defer h.mu.Unlock()
		h.broken = append(h.broken, fmt.Sprintf("R4, R8: after %v: %v", patience, o))
	}
}

func (h *history) reads(client int, rnd *rand.Rand) *renew.Token {
	ctx, cancel := caller(rnd)
	defer cancel()
	get := h.ts.Token
	if rnd.IntN(16) == 0 {
		get = h.ts.Wait
	}
	o := &op{kind: read, client: client, small: h.small()}
	o.call = h.seq.Add(1)
	t, err := get(ctx)
	o.ret = h.seq.Add(1)
	o.answered(t, err)
	h.waited(ctx, o)
	h.add(o)
	return t
}

func (h *history) rejects(client int, bad *renew.Token, rnd *rand.Rand) *renew.Token {
	ctx, cancel := caller(rnd)
	defer cancel()
	begin := &op{kind: rejectBegin, client: client, reject: tokenOf(bad), rejectGen: bad.Generation(), small: h.small()}
	begin.call = h.seq.Add(1)
	t, err := h.ts.Reject(ctx, bad)
	begin.ret = h.seq.Add(1)
	begin.answered(t, err)
	end := *begin
	end.kind = rejectEnd
	h.waited(ctx, &end)
	h.add(begin, &end)
	return t
}

// answered notes what a call returned.
func (o *op) answered(t *renew.Token, err error) {
	o.err = err
	if err == nil {
		o.token, o.gen = tokenOf(t), t.Generation()
	}
	o.denied = o.small && errors.Is(err, renew.ErrBudgetSpent)
	o.hung = errors.Is(err, renew.ErrHung)
}

func (h *history) add(ops ...*op) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = append(h.ops, ops...)
}

// timedOut reports whether a flight was told to end before it was over. Its end
// cancels ctx without a cause, and only the first cancellation counts.
func timedOut(ctx context.Context) bool {
	return !errors.Is(context.Cause(ctx), context.Canceled)
}

// addFlights adds what the flights did. Calls of one flight share a ctx, and a
// flight begins after the one before has ended: that bounds what nobody saw.
func (h *history) addFlights() {
	seen, gens := map[int]int64{}, map[int]uint64{} // when a token was first in somebody's hands, and what it was
	newest := uint64(0)
	for _, o := range h.ops {
		if o.token != 0 {
			if at, ok := seen[o.token]; !ok || o.ret < at {
				seen[o.token] = o.ret
			}
			gens[o.token] = o.gen
			newest = max(newest, o.gen)
		}
	}
	// Where each generation was seen, no other token was published, late or not, but perhaps the last one.
	gapless := newest == uint64(len(gens))
	before := int64(0) // the flight before had not ended yet
	for i, flight := 0, 1; i < len(h.calls); flight++ {
		first := h.calls[i]
		for i++; i < len(h.calls) && h.calls[i].ctx == first.ctx; i++ {
		}
		last, next := h.calls[i-1], int64(forever)
		if i < len(h.calls) {
			next = h.calls[i].entry
		}
		h.ops = append(h.ops, &op{kind: launch, call: before, ret: first.entry, flight: flight})
		before = last.exit
		late := timedOut(first.ctx)
		if late {
			before = last.entry
		}
		switch {
		case last.err == nil:
			ret, ok := seen[last.n]
			if !ok {
				ret = forever
			}
			if !late {
				ret = min(ret, next)
			}
			landing := &op{kind: land, call: last.exit, ret: ret, flight: flight, token: last.n, late: late}
			switch {
			case ok && late:
				h.late++
			case late:
				h.unseen++
			}
			if ok || !late || !gapless {
				h.ops = append(h.ops, landing)
			}
			if late {
				h.ops = append(h.ops, &op{kind: expire, call: before, ret: next, flight: flight})
			}
		default:
			h.ops = append(h.ops, &op{kind: fail, call: before, ret: next, flight: flight})
		}
		if h.small() && (late || last.err != nil) {
			h.ops = append(h.ops, &op{kind: restore, call: before, ret: next, flight: flight})
		}
	}
	for _, ctx := range h.unborn {
		// Its flight may have cost a unit, which nobody saw.
		if h.small() && !slices.ContainsFunc(h.calls, func(c *issued) bool { return c.ctx == ctx }) {
			h.ops = append(h.ops, &op{kind: restore, ret: forever, open: true})
		}
	}
	for _, o := range h.ops {
		if o.kind >= launch {
			o.client = h.workers + int(o.kind-launch)
		}
		if o.call > o.ret {
			h.broken = append(h.broken, fmt.Sprintf("R6, R8: %v, and the time for it is over before it begins (%d to %d)", o, o.call, o.ret))
		}
	}
}

// check counts what callers were told, and looks for what is wrong in any order.
func (h *history) check() {
	gens, tokens := map[int]uint64{}, map[uint64]int{}
	for _, o := range h.ops {
		switch {
		case o.kind == rejectBegin:
			h.rejected++
			continue
		case o.token == 0:
			h.errors++
			if !h.small() && errors.Is(o.err, renew.ErrBudgetSpent) {
				h.broken = append(h.broken, fmt.Sprintf("R22: %v, and there is budget", o))
			}
			continue
		case o.kind == rejectEnd && o.token == o.reject:
			h.broken = append(h.broken, fmt.Sprintf("R2: %v", o))
		case o.kind == rejectEnd && o.gen <= o.rejectGen:
			h.broken = append(h.broken, fmt.Sprintf("R2: %v, which was of generation %d", o, o.rejectGen))
		}
		h.answers++
		if g, ok := gens[o.token]; ok && g != o.gen {
			h.broken = append(h.broken, fmt.Sprintf("R11: token %d has the generations %d and %d", o.token, g, o.gen))
		}
		if n, ok := tokens[o.gen]; ok && n != o.token {
			h.broken = append(h.broken, fmt.Sprintf("R11: generation %d has the tokens %d and %d", o.gen, n, o.token))
		}
		gens[o.token], tokens[o.gen] = o.gen, o.token
	}
}

// prune leaves out what another operation says already, which saves the search most of its steps.
func (h *history) prune() {
	seen := map[uint64]int64{} // by generation
	for _, o := range h.ops {
		if at, ok := seen[o.gen]; o.kind <= rejectEnd && o.token != 0 && (!ok || o.ret < at) {
			seen[o.gen] = o.ret
		}
	}
	for _, o := range h.ops {
		// Whoever answers a Reject with a newer token reads. The order of its halves says no more: in between
		// there is no way back to the rejected one.
		if o.kind == rejectEnd && o.token != 0 {
			o.kind = read
		}
	}
	all := slices.Clone(h.ops)
	h.ops = slices.DeleteFunc(h.ops, func(o *op) bool {
		switch o.kind {
		case rejectBegin: // of a token that somebody knew a newer one of: nothing happens
			for gen, at := range seen {
				if at < o.call && gen > o.rejectGen {
					h.stale++
					o.stale = true
					break
				}
			}
			return o.stale && o.token != 0
		case read: // the same answer, in a shorter time
			for _, other := range all {
				if other != o && other.kind == read && other.token == o.token && other.gen == o.gen && o.call <= other.call && other.ret <= o.ret {
					return true
				}
			}
		}
		return false
	})
}

// violation is a history that has no right order.
type violation struct {
	rule string
	text string
	info porcupine.LinearizationInfo
}

// An order is found at once where there is one. That there is none can take long to show: quick is for how
// long a whole history is looked at, and limit for how long its shortest beginning that has none within quick.
const quick, limit = 300 * time.Millisecond, 4 * time.Second

// judge looks for the order, until stop. known is false when the time did not suffice.
func judge(ops []*op, stop func() bool) (bad *violation, known bool) {
	ordered := func(ops []*op, limit time.Duration) porcupine.CheckResult {
		return porcupine.CheckOperationsTimeout(model, operations(ops), limit)
	}
	if ordered(ops, quick) == porcupine.Ok {
		return nil, true
	}
	var ends []int64
	for _, o := range ops {
		if o.ret != forever {
			ends = append(ends, o.ret)
		}
	}
	slices.Sort(ends)
	ends = slices.Compact(ends)
	// What has no order has none when it goes on.
	n := sort.Search(len(ends), func(i int) bool { return stop() || ordered(until(ops, ends[i]), quick) != porcupine.Ok })
	if stop() {
		return nil, false
	}
	if n < len(ends) {
		if begin := until(ops, ends[n]); ordered(begin, limit) == porcupine.Illegal {
			_, info := porcupine.CheckOperationsVerbose(model, operations(begin), limit)
			return explain(begin, info), true
		}
	}
	if stop() {
		return nil, false
	}
	switch result, info := porcupine.CheckOperationsVerbose(model, operations(ops), limit); result {
	case porcupine.Ok:
		return nil, true
	case porcupine.Illegal:
		return explain(ops, info), true
	}
	return nil, false
}

// until returns what was known of a history at the given moment.
func until(ops []*op, end int64) []*op {
	var known []*op
	for _, o := range ops {
		switch {
		case o.call > end:
		case o.ret <= end:
			known = append(known, o)
		case o.kind != read && o.kind != rejectEnd: // it may have happened
			open := *o
			open.ret, open.open = forever, true
			known = append(known, &open)
		}
	}
	return known
}

func operations(ops []*op) []porcupine.Operation {
	out := make([]porcupine.Operation, len(ops))
	for i, o := range ops {
		out[i] = porcupine.Operation{ClientId: o.client, Input: o, Call: o.call, Return: o.ret}
	}
	return out
}

// shown is how many operations of a wrong history are printed.
const shown = 24

// explain says where the longest order ends, and why.
func explain(ops []*op, info porcupine.LinearizationInfo) *violation {
	var longest []porcupine.Operation
	for _, part := range info.PartialLinearizationsOperations() {
		for _, order := range part {
			if len(order) > len(longest) {
				longest = order
			}
		}
	}
	states, placed := []state{{}}, map[*op]bool{}
	for _, p := range longest {
		o := p.Input.(*op)
		placed[o] = true
		var next []state
		for _, s := range states {
			then, _ := s.step(o)
			next = append(next, then...)
		}
		states = next
	}
	var rest []*op
	var must *op
	for _, o := range ops {
		if placed[o] {
			continue
		}
		rest = append(rest, o)
		if must == nil || o.ret < must.ret {
			must = o
		}
	}
	v := &violation{info: info, rule: "the history is wrong"}
	if must == nil {
		return v
	}
	var b strings.Builder
	b.WriteString("  the last operations, by their ends, those that have one first:\n")
	byEnd := slices.Clone(ops)
	slices.SortStableFunc(byEnd, func(a, b *op) int { return cmp.Compare(a.ret, b.ret) })
	for _, o := range byEnd[max(len(byEnd)-shown, 0):] {
		mark := "  "
		if o == must {
			mark = "=>"
		}
		fmt.Fprintf(&b, "  %s %s %v\n", mark, o.when(), o)
	}
	for _, s := range states {
		fmt.Fprintf(&b, "  the best order of %d of %d operations leads to: %v; next could be\n", len(longest), len(ops), s)
		for _, o := range rest {
			if o.call > must.ret {
				continue
			}
			_, why := s.step(o)
			if o == must {
				v.rule = cmp.Or(why, v.rule)
			}
			fmt.Fprintf(&b, "    %v, but: %s\n", o, cmp.Or(why, "then the rest has no order"))
		}
	}
	v.text = b.String()
	return v
}

func (o *op) when() string {
	if o.ret == forever {
		return fmt.Sprintf("%5d to   ...", o.call)
	}
	return fmt.Sprintf("%5d to %5d", o.call, o.ret)
}
