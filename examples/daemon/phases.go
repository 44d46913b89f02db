package main

import (
	"context"
	"time"

	"github.com/seed-f29168f7/renew/renewtest"
)

const (
	// restNeeds is about how long all but the steady state takes.
	restNeeds   = 13 * time.Second
	steadyLeast = 3 * time.Second
	steadyShort = 2200 * time.Millisecond // with a break
	steadyTries = 5
	awayFor     = 3 * time.Second
	calm        = 500 * time.Millisecond // in which all must be well after trouble
	showSpent   = 500 * time.Millisecond
)

var hang = renewtest.Hang()

// steady lets the daemon run, and once more when the machine itself stood still
// meanwhile: then nobody can tell whose fault a wait was.
func (w *walk) steady(ctx context.Context) error {
	for range steadyTries - 1 {
		if err := w.steadyOnce(ctx); err != nil || !w.facts.steady.stalled() {
			return err
		}
		w.screen.say("steady: this machine stood still for %v, so once more", w.facts.steady.stall.Round(time.Millisecond))
	}
	return w.steadyOnce(ctx)
}

func (w *walk) steadyOnce(ctx context.Context) error {
	d := w.opt.runFor
	switch {
	case w.opt.broken != nil:
		d = steadyShort
	case w.world != nil:
		d = max(w.opt.runFor-restNeeds, steadyLeast)
	}
	w.screen.say("steady: nothing happens, for %v", d)
	w.pulse.take()
	before := w.daemon.meter.read()
	l := w.daemon.tally.begin("steady")
	ended := w.sleep(ctx, d)
	tokens := w.daemon.meter.read().got - before.got
	if w.world != nil {
		tokens = len(w.world.requests(l.began, time.Now()))
	}
	w.daemon.tally.begin("after steady")
	got, err := w.settle(context.WithoutCancel(ctx), l)
	if err != nil {
		return err
	}
	failed := got.failed
	if w.world == nil { // what else fails at a server of the user's is none of our business
		failed = got.byKind[unauthorized] + got.byKind[noToken]
	}
	w.facts.steady = &steadyFacts{
		took: time.Since(l.began), tokens: tokens, requests: got.requests, failed: failed, waited: got.waits, stall: w.pulse.take(),
	}
	return ended
}

// outage takes the issuer off the network for longer than a token lives. The API stays.
func (w *walk) outage(ctx context.Context) error {
	iss, d := w.world.iss, w.daemon
	// Right after a token was issued, so that it is clear when there is none any more.
	had := d.meter.read().got
	if err := w.stage(ctx, stageWithin, "no token is reissued", func() bool { return d.meter.read().got > had }); err != nil {
		return err
	}
	w.screen.say("outage: the issuer is off the network for %v; the token has %v left", awayFor, life)
	w.pulse.take()
	l := d.tally.begin("outage")
	down, before := time.Now(), iss.Counts()
	iss.Down(true)
	err := w.sleep(ctx, awayFor)
	// The token left service a leeway before its end. The other leeway is for our own clock
	// readings, which come a little later than those of renew.
	end := d.meter.read().began.Add(life - 2*leeway)
	f := &outageFacts{away: time.Since(down), calls: iss.Counts().Dropped - before.Dropped}
	back := d.tally.begin("back")
	up := time.Now()
	iss.Down(false)
	if err != nil {
		return err
	}
	w.screen.say("outage: the issuer is back")
	err = w.until(ctx, 2*backWithin, func() bool { return !d.tally.look(back).firstOK.IsZero() })
	after := d.tally.begin("after the outage")
	if ctx.Err() != nil {
		return ctx.Err()
	}
	f.back = err == nil
	if err := w.sleep(ctx, calm); err != nil {
		return err
	}
	d.tally.begin("calm")
	got, err := w.settle(ctx, l)
	if err != nil {
		return err
	}
	f.failed, f.after, f.stall = got.failed, d.tally.look(back).firstOK.Sub(up), w.pulse.take()
	f.early = !got.firstFail.IsZero() && got.firstFail.Before(end)
	if got, err = w.settle(ctx, after); err != nil {
		return err
	}
	f.relapsed = got.failed
	w.facts.outage = f
	return nil
}

// hold makes the issuer see nothing of the timer from here on.
func (w *walk) hold(ctx context.Context) error {
	if !w.since.IsZero() {
		return nil
	}
	w.world.holdTimer()
	if err := w.stage(ctx, stageWithin, "no token is reissued", w.world.timerHeld); err != nil {
		return err
	}
	// It is in service when all workers have used it or could have.
	l := w.daemon.tally.begin("hold")
	if err := w.stage(ctx, stageWithin, "the workers do not get answers", func() bool { return w.daemon.tally.all(l) }); err != nil {
		return err
	}
	w.since = time.Now()
	return nil
}

// revocation revokes the token while every worker has a request at the API.
func (w *walk) revocation(ctx context.Context) error {
	w.screen.say("revocation: tokens live a minute from here on, so that the issuer sees nothing of the timer")
	if err := w.hold(ctx); err != nil {
		return err
	}
	iss, d := w.world.iss, w.daemon
	w.world.api.unpaid()
	l := d.tally.begin("revocation")
	var before renewtest.Counts
	err := w.world.api.gather(ctx, w.opt.workers, func() {
		w.screen.say("revocation: all %d workers have a request at the API: the token is revoked now", w.opt.workers)
		before = iss.Counts()
		iss.RevokeAll()
	})
	if err != nil {
		return err
	}
	after := d.tally.begin("after the revocation")
	// In a sound daemon they all succeed soon. In one that is not, there is nothing to wait for.
	if err := w.until(ctx, time.Second, func() bool { return d.tally.all(after) }); ctx.Err() != nil {
		return err
	}
	got, err := w.settle(ctx, l)
	if err != nil {
		return err
	}
	now := iss.Counts()
	w.facts.revocation = &revocationFacts{
		workers: w.opt.workers, seen: now.APIUnauthorized - before.APIUnauthorized,
		requests: now.TokenRequests - before.TokenRequests, ended401: w.world.api.unpaid(), failed: got.failed,
	}
	return nil
}

// refused makes the API refuse every fresh token, until the budget is spent.
func (w *walk) refused(ctx context.Context) error {
	if err := w.hold(ctx); err != nil {
		return err
	}
	iss, d := w.world.iss, w.daemon
	w.screen.say("refused: the API refuses every fresh token")
	d.tally.begin("refused")
	iss.RefuseFresh(true)
	iss.RevokeAll()
	err := w.stage(ctx, stageWithin, "the budget is not spent", func() bool {
		n := len(w.world.requests(w.since, time.Now()))
		return n > budgetUnits || n == budgetUnits && iss.Counts().InFlight == 0
	})
	if err != nil {
		return err
	}
	w.screen.say("refused: %d re-authentications; what comes now are 401s", len(w.world.requests(w.since, time.Now())))
	spent := d.tally.begin("budget spent")
	if err := w.sleep(ctx, showSpent); err != nil {
		return err
	}
	d.tally.begin("still refused")
	got, err := w.settle(ctx, spent)
	if err != nil {
		return err
	}
	w.facts.budget = &budgetFacts{
		spent: got.byKind[unauthorized], other: got.byKind[noToken] + got.byKind[elsewise], fine: got.byKind[fine],
	}
	return nil
}

// window waits until the first unit of the budget is free again.
func (w *walk) window(ctx context.Context) error {
	begun := w.world.requests(w.since, time.Now())
	w.screen.say("refused: until the window of %v has passed for the first of them", budgetWindow)
	err := w.until(ctx, budgetWindow+backWithin, func() bool {
		return len(w.world.requests(w.since, time.Now())) > len(begun) && w.world.iss.Counts().InFlight == 0
	})
	if ctx.Err() == nil && err == nil {
		w.screen.say("refused: one more re-authentication, whose token is refused too")
	}
	return ctx.Err()
}

// recovery makes the API take fresh tokens again. All that it has refused are
// dead, so that only another one can help.
func (w *walk) recovery(ctx context.Context) error {
	iss, d := w.world.iss, w.daemon
	w.screen.say("recovery: the API takes fresh tokens again, and none that was issued before")
	w.pulse.take()
	iss.RevokeAll()
	iss.Heal() // tokens live 2 s again, too
	healed := time.Now()
	l := d.tally.begin("until the window allows it")
	err := w.until(ctx, budgetWindow+backWithin, func() bool { return !d.tally.look(l).firstOK.IsZero() })
	if ctx.Err() != nil {
		return ctx.Err()
	}
	w.recovered = time.Now()
	f := &recoveryFacts{back: err == nil, after: time.Since(healed), stall: w.pulse.take()}
	w.facts.recovery = f
	if !f.back {
		return nil
	}
	w.recovered = d.tally.look(l).firstOK
	f.after, f.requests = w.recovered.Sub(healed), len(w.world.requests(healed, w.recovered))
	w.screen.say("recovery: all is well again")
	after := d.tally.begin("after the recovery")
	if err := w.sleep(ctx, calm); err != nil {
		return err
	}
	d.tally.begin("calm again")
	got, err := w.settle(ctx, after)
	f.relapsed = got.failed
	return err
}
