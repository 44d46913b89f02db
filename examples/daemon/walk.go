package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/budget"
	"github.com/seed-f29168f7/renew/sources/oauth2"
)

const (
	// reissueMost is when a token is reissued, at the latest: see draw.
	reissueMost = life * 65 / 100
	// startWithin and stageWithin bound what must happen for the walk to go on.
	startWithin = 30 * time.Second
	stageWithin = 5 * time.Second
	closeWithin = 1500 * time.Millisecond
)

// walk is one run of the program.
type walk struct {
	opt    options
	screen *screen
	log    *slog.Logger
	world  *world // nil against a server of the user's
	daemon *daemon
	pulse  pulse
	facts  facts
	began  time.Time
	phase  string

	// Between phases.
	since     time.Time // re-authentications are counted from here; zero: not yet
	recovered time.Time // and until here; zero: until now
}

// phase is a part of the walk.
type phase struct {
	name string
	run  func(context.Context) error
}

func newWalk(opt options, s *screen) (*walk, error) {
	w := &walk{opt: opt, screen: s, began: time.Now()}
	w.facts.theirs = opt.theirs.given()
	w.log = slog.New(slog.NewTextHandler(s, &slog.HandlerOptions{ReplaceAttr: short}))
	set := setup{workers: opt.workers, pause: opt.pause}
	if opt.theirs.given() {
		set.api, set.source = opt.theirs.api, w.opt.theirs.source(s.hide)
	} else {
		var err error
		if w.world, err = newWorld(); err != nil {
			return nil, err
		}
		s.hide(w.world.secret)
		set.api = w.world.url
		set.source = &oauth2.ClientCredentials{
			TokenURL:     w.world.iss.TokenURL(),
			ClientID:     w.world.iss.ClientID(),
			ClientSecret: renew.NewSecret(w.world.secret),
		}
		set.config = renew.Config{
			Budget: &budget.Budget{Units: budgetUnits, Window: budgetWindow},
			Rand:   draw,
		}
	}
	if opt.broken != nil {
		opt.broken.change(&set)
	}
	var err error
	if w.daemon, err = newDaemon(set, w.log, s.hide); err != nil {
		if w.world != nil {
			w.world.close()
		}
		return nil, err
	}
	return w, nil
}

// draw makes renew reissue at 0.6 to 0.65 of a token's life, and not at up to 0.8: that leaves
// a token of 2 s half a second to spare, in which the machine may stand still without any
// request having to wait.
func draw() float64 { return rand.Float64() / 4 }

// short leaves out of the log what this program says already, or what is the
// same in each line.
func short(_ []string, a slog.Attr) slog.Attr {
	if a.Key == slog.TimeKey || a.Key == "deadline" || a.Key == "name" && a.Value.String() == "" {
		return slog.Attr{}
	}
	return a
}

// run walks through the phases, and ends the daemon. Its error is that of ctx, or
// says what kept a phase from being staged.
func (w *walk) run(ctx context.Context) error {
	painter, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { w.pulse.beat(painter) })
	wg.Go(func() { w.show(painter) })
	err := w.walk(ctx)
	switch {
	case ctx.Err() != nil:
		w.facts.absent = "the run was ended before"
		w.screen.say("interrupted: closing")
	case w.opt.broken != nil:
		w.facts.absent = "-break runs only what shows its own promise"
	case err != nil:
		w.facts.absent = "the run failed before"
	}
	w.finish(ctx, err == nil)
	stop()
	wg.Wait()
	if w.world != nil {
		w.world.close()
	}
	return err
}

func (w *walk) walk(ctx context.Context) error {
	if err := w.start(ctx); err != nil {
		return err
	}
	for _, p := range w.plan() {
		if !w.opt.broken.runs(p.name) {
			continue
		}
		w.phase = p.name
		if err := p.run(ctx); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	return nil
}

func (w *walk) plan() []phase {
	if w.world == nil {
		return []phase{{"steady", w.steady}, {"stand-in", w.standIn}}
	}
	return []phase{
		{"steady", w.steady}, {"outage", w.outage}, {"revocation", w.revocation},
		{"refused", w.refused}, {"window", w.window}, {"recovery", w.recovery},
	}
}

// start starts the workers, and waits until each has had an answer.
func (w *walk) start(ctx context.Context) error {
	w.phase = "start"
	b := w.opt.broken
	if b != nil {
		w.screen.say("breaking %s on purpose: %s", b.promise, b.does)
		if !b.runs("steady") && !b.runs("outage") && !b.runs("end") {
			w.world.holdTimer()
		}
	}
	if w.world != nil {
		w.screen.say("start: %d workers call the API with tokens of %v", w.opt.workers, life)
	} else {
		w.screen.say("start: %d workers call %s", w.opt.workers, w.opt.theirs.api)
	}
	d := w.daemon
	d.start()
	wait, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	for _, ts := range d.tokens {
		// Wait is for start-up: it waits through back-off, and ends at a refusal for good.
		if _, err := ts.Wait(wait); err != nil {
			return err
		}
	}
	if d.leaks {
		tok, err := d.tokens[0].Token(wait)
		if err != nil {
			return err
		}
		w.log.Warn("debug: sending", "authorization", tok.HeaderValue())
	}
	lap := d.tally.begin("start")
	if w.world == nil {
		return w.stage(ctx, requestTimeout+w.opt.pause*2, "the workers do not get answers", func() bool {
			return d.tally.look(lap).requests >= w.opt.workers
		})
	}
	return w.stage(ctx, stageWithin, "the workers do not get answers", func() bool { return d.tally.all(lap) })
}

// finish ends the daemon, and records how it ended.
func (w *walk) finish(ctx context.Context, well bool) {
	w.phase = "end"
	f := &endFacts{}
	if well && w.world != nil && w.opt.broken.runs("end") {
		w.screen.say("end: the issuer hangs; Close is called while a token request waits for it")
		w.world.iss.Fail(hang, -1)
		f.hung = w.until(ctx, life, func() bool { return w.world.iss.Counts().InFlight > 0 }) == nil
	}
	w.daemon.stop()
	bounded, cancel := context.WithTimeout(context.Background(), closeWithin)
	defer cancel()
	began := time.Now()
	if err := w.daemon.close(bounded); err != nil {
		f.closed = strings.ReplaceAll(strings.TrimPrefix(err.Error(), "renew: "), "\n", "; ")
	}
	f.took = time.Since(began)
	if w.world == nil {
		w.opt.theirs.close()
	}
	// What has been told to end may take a moment to be gone.
	background := context.Background()
	if w.until(background, time.Second, func() bool { return leftovers() == 0 }) != nil {
		f.left = leftovers()
	}
	if w.world != nil {
		iss := w.world.iss
		_ = w.until(background, time.Second, func() bool { return iss.Counts().InFlight == 0 })
		before := iss.Counts()
		f.inFlight = before.InFlight
		iss.Heal()
		if f.hung && f.closed == "" {
			began := time.Now()
			_ = w.sleep(ctx, reissueMost+2*latency) // in which the timer would have fired
			f.watched = time.Since(began)
		}
		after := iss.Counts()
		f.later = after.TokenRequests - before.TokenRequests + after.APIRequests - before.APIRequests
		w.facts.flights = &flightFacts{byIssuer: true, requests: after.TokenRequests, most: after.MaxInFlight}
	} else {
		m := w.daemon.meter.read()
		w.facts.flights = &flightFacts{requests: m.calls, most: m.most}
	}
	w.facts.end = f
	if !w.since.IsZero() && w.facts.budget != nil {
		until := w.recovered
		if until.IsZero() {
			until = time.Now()
		}
		w.facts.budget.at = w.world.requests(w.since, until)
	}
}

// until waits for cond, for d at most.
func (w *walk) until(ctx context.Context, d time.Duration, cond func() bool) error {
	deadline := time.Now().Add(d)
	for !cond() {
		if time.Now().After(deadline) {
			return errLate
		}
		if err := w.sleep(ctx, 2*time.Millisecond); err != nil {
			return err
		}
	}
	return ctx.Err()
}

var errLate = errors.New("it did not come about")

// stage is until for what the walk cannot do without.
func (w *walk) stage(ctx context.Context, d time.Duration, what string, cond func() bool) error {
	err := w.until(ctx, d, cond)
	if errors.Is(err, errLate) {
		return fmt.Errorf("%s within %v", what, d)
	}
	return err
}

func (w *walk) sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// settle waits until the requests that began in the lap have ended, and returns it.
func (w *walk) settle(ctx context.Context, l *lap) (lap, error) {
	err := w.stage(ctx, requestTimeout+time.Second, "requests do not end", func() bool { return w.daemon.tally.settled(l) })
	return w.daemon.tally.look(l), err
}

// pulse measures how long the machine stands still.
type pulse struct {
	mu    sync.Mutex
	worst time.Duration
}

const pulseEvery = 10 * time.Millisecond

func (p *pulse) beat(ctx context.Context) {
	t := time.NewTicker(pulseEvery)
	defer t.Stop()
	for last := time.Now(); ; {
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
		now := time.Now()
		p.mu.Lock()
		p.worst = max(p.worst, now.Sub(last)-pulseEvery)
		p.mu.Unlock()
		last = now
	}
}

// take returns the longest standstill since the last take.
func (p *pulse) take() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	worst := p.worst
	p.worst = 0
	return worst
}

// show paints until ctx ends.
func (w *walk) show(ctx context.Context) {
	for w.sleep(ctx, paintEvery/4) == nil {
		if w.screen.due() {
			w.screen.paint(w.table())
		}
	}
}

// table returns what to paint: rows, and the same in a line.
func (w *walk) table() (rows []string, line string) {
	sum, _ := w.daemon.tally.total()
	s, m := w.daemon.status(), w.daemon.meter.read()
	token := s.State.String()
	if s.Generation > 0 {
		token = fmt.Sprintf("number %d, %s", s.Generation, s.State)
	}
	next := string(s.Next)
	for _, t := range []struct {
		format string
		at     time.Time
		in     *string
	}{{", %.1fs left", s.Deadline, &token}, {" in %.1fs", s.NextAt, &next}} {
		if left := time.Until(t.at); !t.at.IsZero() && left > 0 {
			*t.in += fmt.Sprintf(t.format, left.Seconds())
		}
	}
	asked := fmt.Sprintf("%s, %d granted, at most %d at once", count(m.calls, "token request"), m.got, m.most)
	if w.world != nil {
		c := w.world.iss.Counts()
		asked = fmt.Sprintf("%s, %d granted, %d dropped, %d in flight, at most %d at once",
			count(c.TokenRequests, "token request"), c.Issued, c.Dropped, c.InFlight, c.MaxInFlight)
	}
	if s.LastError != "" {
		next += "; " + s.LastError
	}
	phase := w.daemon.tally.phase()
	rows = []string{
		"",
		fmt.Sprintf("  renew    %.0fs, %s", time.Since(w.began).Seconds(), phase),
		fmt.Sprintf("  requests %d, %d failed, %d in progress, %s", sum.requests, sum.failed, sum.open, count(w.opt.workers, "worker")),
		"  token    " + token,
		"  next     " + next,
		"  issuer   " + asked,
		"  budget   " + count(s.BudgetLeft, "unit") + " left",
	}
	return rows, fmt.Sprintf("%s: %d requests, %d failed; token %s; %s", phase, sum.requests, sum.failed, token, asked)
}

// summary prints what became of the run and of each promise.
func (w *walk) summary() map[string]verdict {
	var b strings.Builder
	sum, where := w.daemon.tally.total()
	s, m := w.daemon.status(), w.daemon.meter.read()
	fmt.Fprintf(&b, "\nsummary after %.1fs\n", time.Since(w.began).Seconds())
	fmt.Fprintf(&b, "  requests  %d, %d failed\n", sum.requests, sum.failed)
	for _, why := range sortedByCount(sum.why) {
		fmt.Fprintf(&b, "            %6d  %s (%s)\n", sum.why[why], why, strings.Join(where[why], ", "))
	}
	issues, reissues := s.Issues, s.Reissues
	for _, ts := range w.daemon.tokens[1:] {
		more := ts.Status()
		issues, reissues = issues+more.Issues, reissues+more.Reissues
	}
	fmt.Fprintf(&b, "  issues    %d, of which %d got a token\n", issues, m.got)
	fmt.Fprintf(&b, "  reissues  %d: this grant has none, the timer issues again\n", reissues)
	if w.world != nil {
		c := w.world.iss.Counts()
		fmt.Fprintf(&b, "  issuer    %s seen, %s issued, %s dropped; the API answered 401 to %d of %d\n",
			count(c.TokenRequests, "token request"), count(c.Issued, "token"), count(c.Dropped, "connection"), c.APIUnauthorized, c.APIRequests)
	}
	fmt.Fprintf(&b, "  flights   at most %d at once\n", w.facts.flights.most)
	if f := w.facts.budget; f != nil {
		fmt.Fprintf(&b, "  budget    %s used, at most %d within %v\n", count(len(f.at), "unit"), mostWithin(f.at, budgetWindow), budgetWindow)
	} else if s.BudgetLeft >= 0 {
		fmt.Fprintf(&b, "  budget    %s used within the last window\n", count(max(budgetUnits-s.BudgetLeft, 0), "unit"))
	}
	b.WriteString("promises\n")
	verdicts := make(map[string]verdict, len(promises))
	show := func(p promise) {
		v := p.judge(&w.facts)
		verdicts[p.name] = v
		fmt.Fprintf(&b, "  %-10s  %-10s  %s\n", v.state, p.name, v.why)
	}
	// The secrets come last: all other text has passed by then.
	var last promise
	for _, p := range promises {
		if p.name == "secret" {
			last = p
			continue
		}
		show(p)
	}
	w.screen.end(b.String())
	b.Reset()
	w.facts.secret = w.screen.found()
	show(last)
	w.screen.end(b.String())
	return verdicts
}

// sortedByCount returns the reasons, the most frequent first.
func sortedByCount(why map[string]int) []string {
	list := make([]string, 0, len(why))
	for reason := range why {
		list = append(list, reason)
	}
	slices.SortFunc(list, func(a, b string) int {
		if why[a] != why[b] {
			return why[b] - why[a]
		}
		return strings.Compare(a, b)
	})
	return list
}
