package renewtest

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/seed-f29168f7/renew"
)

// check is one thing that a Source must do right.
type check struct {
	name string
	run  func(k *kit)
}

func checks() []check {
	return []check{
		{"Validate", checkValidate},
		{"Issue", checkIssue},
		{"Unshared", checkUnshared},
		{"Cancelled", checkCancelled},
		{"Hang", checkHang},
		{"Concurrent", checkConcurrent},
		{"Break", checkBreak},
		{"Throttle", checkThrottle},
		{"Refuse", checkRefuse},
		{"Secrets", checkSecrets},
		{"Describe", checkDescribe},
		{"Reissue", checkReissue},
		{"ReissueCancelled", checkReissueCancelled},
		{"ReissueFails", checkReissueFails},
		{"Revoke", checkRevoke},
		{"RevokeCancelled", checkRevokeCancelled},
		{"Authorize", checkAuthorize},
	}
}

type issueFunc = func(ctx context.Context) (*renew.Token, error)

// checkValidate: the configuration of a Source that works is valid, also when asked twice.
func checkValidate(k *kit) {
	v, ok := as[renew.Validator](k.h.Source)
	if !ok {
		k.Skipf("the Source is no Validator")
	}
	for range 2 {
		if err := v.Validate(); err != nil {
			k.inspectError("the error of Validate", err)
			k.Fatalf("R23: Validate refuses a Source that is set up to work: %v", err)
		}
	}
}

// checkIssue: Issue returns a token that can be sent, another one each time.
func checkIssue(k *kit) {
	a := k.issue()
	if k.h.Accepted != nil && !k.h.Accepted(a) {
		k.Errorf("R11: the issuer does not accept the token that Issue returned")
	}
	b := k.issue()
	if !k.h.SameTokenOK && a.Value.Equal(b.Value) {
		k.Errorf("R11: two Issues returned the same Value: a Source keeps no cache (if its issuer does, set Harness.SameTokenOK)")
	}
}

// checkUnshared: a token, once returned, belongs to the caller.
func checkUnshared(k *kit) {
	a := k.issue()
	before := *a
	b := k.issue()
	if a == b && k.h.SameTokenOK {
		return // the same pointer again is allowed: the engine copies the token
	}
	if !sameToken(&before, a) {
		k.Fatalf("R1: the second Issue changed the token that the first had returned: make a new Token each time")
	}
	a.Value, a.Refresh = renew.NewSecret("written-by-the-caller"), renew.NewSecret("written-by-the-caller")
	a.Type, a.Life, a.Expiry = "Written-By-The-Caller", 1, time.Unix(1, 0)
	c, err := k.do("Issue", k.h.Source.Issue)
	if err != nil {
		k.Fatalf("R1: Issue failed after the caller changed the token of an earlier one: %v", err)
	}
	if c == nil || c.Value.Reveal() == "written-by-the-caller" || c.Refresh.Reveal() == "written-by-the-caller" ||
		c.Type == "Written-By-The-Caller" || c.Life == 1 || c.Expiry.Equal(time.Unix(1, 0)) {
		k.Fatalf("R1: what the caller wrote into a token came back from the next Issue: return a Token that nobody else holds")
	}
}

// checkCancelled: with a ctx that has ended, Issue does not start.
func checkCancelled(k *kit) {
	if k.traits.Interactive {
		k.Skipf("Issue needs a person")
	}
	k.refusesEndedCtx("Issue", k.h.Source.Issue, k.h.SameTokenOK && k.h.Hang == nil)
}

// checkHang: with an issuer that does not answer, Issue returns soon after its ctx ends.
func checkHang(k *kit) {
	if k.h.Hang == nil {
		k.Skipf("no Harness.Hang")
	}
	if !k.traits.Interactive {
		k.leavesHang("Issue", k.h.Source.Issue)
	}
	k.h.Heal()
	k.issue()
}

// refusesEndedCtx calls f with a ctx that has ended.
func (k *kit) refusesEndedCtx(name string, f issueFunc, maySucceed bool) {
	k.Helper()
	tok, err := k.do(name, func(ctx context.Context) (*renew.Token, error) {
		ctx, cancel := context.WithCancelCause(ctx)
		cancel(errStopped)
		return f(ctx)
	})
	if err == nil {
		if !maySucceed {
			k.Fatalf("R8: %s with a ctx that had ended returned no error: what nobody waits for must not be sent", name)
		}
		return
	}
	k.checkStopped(name, tok, err)
}

// leavesHang calls f while the issuer hangs.
func (k *kit) leavesHang(name string, f issueFunc) {
	k.Helper()
	k.h.Hang()
	c := k.start(name, f)
	k.sleep(settling)
	c.cancel(errStopped)
	c.finish()
	if c.err == nil && c.died == "" {
		k.Fatalf("R8: %s succeeded while the issuer hung and its ctx ended: Harness.Hang does not stop it", name)
	}
	k.checkStopped(name, c.tok, c.err)
}

// checkStopped checks the error of a call whose ctx has ended.
func (k *kit) checkStopped(name string, tok *renew.Token, err error) {
	k.Helper()
	if tok != nil {
		k.Errorf("R11: %s returned a token and an error: a Source returns one of them", name)
	}
	switch {
	case errors.Is(err, errStopped):
	case errors.Is(err, context.Canceled):
		k.Errorf("R7: after its ctx ended, the error of %s is context.Canceled and not the cause: return context.Cause(ctx), "+
			"which tells a timeout from a Close (error: %v)", name, err)
	default:
		k.Errorf("R7: after its ctx ended, the error of %s matches neither the ctx error nor its cause under errors.Is: wrap it with %%w (error: %v)", name, err)
	}
	if e, ok := errors.AsType[*renew.IssueError](err); ok && (e.Kind != renew.Transient || e.Permanent) {
		k.Errorf("R20: after its ctx ended, the error of %s says %v (permanent: %t): nobody judged the credentials, it is transient",
			name, e.Kind, e.Permanent)
	}
}

// checkConcurrent: Issue may be called by several goroutines, since a call that ignored its ctx may still run.
func checkConcurrent(k *kit) {
	if k.traits.Interactive {
		k.Skipf("Issue needs a person")
	}
	const n = 8
	var calls [n]*call
	for i := range calls {
		calls[i] = k.start("Issue", k.h.Source.Issue)
	}
	seen := make(map[string]bool)
	for _, c := range calls {
		c.finish()
		if c.err != nil {
			if !k.h.Serial && !k.h.Once {
				k.Fatalf("R8: one of %d Issues at once failed, though each alone works (Harness.Serial allows it): %v", n, c.err)
			}
			continue
		}
		k.checkToken("Issue", c.tok)
		if value := c.tok.Value.Reveal(); seen[value] && !k.h.SameTokenOK {
			k.Fatalf("R11: two of %d Issues at once returned the same Value", n)
		} else {
			seen[value] = true
		}
	}
}

// checkBreak: a fault that may pass says so, and passes.
func checkBreak(k *kit) {
	if k.h.Break == nil {
		k.Skipf("no Harness.Break")
	}
	if !k.traits.Interactive {
		k.h.Break()
		k.fails("Issue", k.h.Source.Issue, renew.Transient)
		k.h.Heal()
	}
	k.issue()
}

// checkThrottle: a request for a pause is handed on.
func checkThrottle(k *kit) {
	if k.h.Throttle == nil {
		k.Skipf("no Harness.Throttle")
	}
	if !k.traits.Interactive {
		k.h.Throttle()
		k.fails("Issue", k.h.Source.Issue, renew.Throttled)
		k.h.Heal()
	}
	k.issue()
}

// checkRefuse: a refusal of the credentials is told from a fault.
func checkRefuse(k *kit) {
	if k.h.Refuse == nil {
		k.Skipf("no Harness.Refuse")
	}
	if !k.traits.Interactive {
		k.h.Refuse()
		k.fails("Issue", k.h.Source.Issue, renew.Refused)
		k.h.Heal()
	}
	k.issue()
}

// fails calls f, which must fail with an *IssueError of that kind. An issuer that breaks may also throttle.
func (k *kit) fails(name string, f issueFunc, want renew.Kind) {
	k.Helper()
	tok, err := k.do(name, f)
	if err == nil {
		k.checkToken(name, tok) // (nil, nil) is worse
		k.Fatalf("R11: %s returned a token while the issuer answers with errors (%v is wanted)", name, want)
	}
	if tok != nil {
		k.Errorf("R11: %s returned a token and an error: a Source returns one of them", name)
	}
	e, ok := errors.AsType[*renew.IssueError](err)
	if !ok {
		k.Fatalf("R20: the error of %s is a %T and holds no *renew.IssueError: without its Kind a refusal cannot be told from an outage", name, err)
	}
	if e.Kind != want && (want != renew.Transient || e.Kind != renew.Throttled) {
		rule := map[renew.Kind]string{renew.Transient: "R20", renew.Throttled: "R20", renew.Refused: "R18"}[want]
		k.Fatalf("%s: the error of %s says %v, want %v: the budget and the pauses hang on it (error: %v)", rule, name, e.Kind, want, err)
	}
	if want != renew.Refused && e.Permanent {
		k.Errorf("R23: the error of %s says Permanent of a fault that passes: it would never be tried again", name)
	}
	if want == renew.Throttled && e.RetryAfter <= 0 {
		k.Errorf("R13: the error of %s has no RetryAfter, though the issuer asked for a pause", name)
	}
	if e.Source == "" {
		k.Errorf("R31: the error of %s does not say in Source what failed", name)
	}
}

// checkSecrets: the Source itself can be printed.
func checkSecrets(k *kit) {
	k.inspect("the Source", k.h.Source)
	k.issue()
	k.inspect("the Source after an Issue", k.h.Source)
}

// described is what Describe returned, with the InputVersion of that moment.
type described struct {
	renew.Traits
	version uint64
}

// describe calls Describe, if there is one.
func (k *kit) describe() (said described) {
	k.Helper()
	d, ok := as[renew.Describer](k.h.Source)
	if !ok {
		return described{}
	}
	_, _ = k.do("Describe", func(context.Context) (*renew.Token, error) {
		said.Traits = d.Describe()
		if said.InputVersion != nil {
			said.version = said.InputVersion()
		}
		return nil, nil
	})
	return said
}

// checkDescribe: Describe is cheap, and says the same each time.
func checkDescribe(k *kit) {
	d, ok := as[renew.Describer](k.h.Source)
	if !ok {
		k.Skipf("the Source is no Describer")
	}
	if k.traits.Timeout < 0 {
		k.Errorf("R7: Describe says a Timeout of %v", k.traits.Timeout)
	}
	k.inspect("what Describe returned", k.traits.Traits)
	k.inspectText("the Name, Endpoint or Account that Describe returned", k.traits.Name+"\n"+k.traits.Endpoint+"\n"+k.traits.Account)
	same := func(when string) {
		k.Helper()
		if !sameTraits(k.traits, k.describe()) {
			k.Errorf("R20: Describe says something else %s: budgets and pacing are keyed by it", when)
		}
	}
	same("when asked again")
	if k.h.Hang != nil {
		k.h.Hang()
		same("while the issuer hangs")
		k.h.Heal()
	}
	done := make(chan struct{})
	go func() { // for the race detector: Describe is called by any goroutine, at any time
		defer close(done)
		for range 100 {
			d.Describe()
		}
	}()
	if !k.traits.Interactive {
		k.issue()
	}
	<-done
	same("after an Issue")
}

func sameTraits(a, b described) bool {
	return (a.InputVersion == nil) == (b.InputVersion == nil) && a.version == b.version &&
		a.Name == b.Name && a.Timeout == b.Timeout && a.Interactive == b.Interactive && a.Endpoint == b.Endpoint && a.Account == b.Account
}

// reissuer returns the Source's Reissuer, or skips the check.
func (k *kit) reissuer() renew.Reissuer {
	k.Helper()
	r, ok := as[renew.Reissuer](k.h.Source)
	if !ok {
		k.Skipf("the Source is no Reissuer")
	}
	return r
}

// reissue returns Reissue on live, and fails the check if it writes to live.
func (k *kit) reissue(r renew.Reissuer, live *renew.Token) issueFunc {
	return func(ctx context.Context) (*renew.Token, error) {
		before := *live
		tok, err := r.Reissue(ctx, live)
		if !sameToken(&before, live) {
			k.Errorf("R1: Reissue wrote to the live token, which readers share: make a new one")
		}
		return tok, err
	}
}

// checkReissue: Reissue returns the next token, and the one after it.
func checkReissue(k *kit) {
	r := k.reissuer()
	live := k.live()
	for range 2 { // the second time with what the first one returned
		next := k.good("Reissue", k.reissue(r, live))
		if next == live {
			k.Fatalf("R1: Reissue returned the live token itself: make a new one")
		}
		if !k.h.SameTokenOK && next.Value.Equal(live.Value) {
			k.Errorf("R11: Reissue returned the Value of the live token: it has not succeeded (if its issuer does so, set Harness.SameTokenOK)")
		}
		if !live.Refresh.IsZero() && next.Refresh.IsZero() {
			k.Fatalf("R14: Reissue lost the refresh token: where the reply has none, the old one is kept")
		}
		if k.h.Accepted != nil && !k.h.Accepted(next) {
			k.Errorf("R11: the issuer does not accept the token that Reissue returned")
		}
		live = next
	}
}

// checkReissueCancelled: Reissue honours its ctx.
func checkReissueCancelled(k *kit) {
	r := k.reissuer()
	live := k.live()
	k.refusesEndedCtx("Reissue", k.reissue(r, live), k.h.SameTokenOK && k.h.Hang == nil)
	if k.h.Hang != nil {
		k.leavesHang("Reissue", k.reissue(r, live))
		k.h.Heal()
	}
}

// checkReissueFails: the errors of Reissue say what they mean.
func checkReissueFails(k *kit) {
	r := k.reissuer()
	live := k.live()
	for _, fault := range []struct {
		begin func()
		want  renew.Kind
	}{{k.h.Break, renew.Transient}, {k.h.Throttle, renew.Throttled}, {k.h.Refuse, renew.Refused}} {
		if fault.begin == nil {
			continue
		}
		fault.begin()
		k.fails("Reissue", k.reissue(r, live), fault.want)
		k.h.Heal()
	}
	k.good("Reissue", k.reissue(r, live)) // none of them spent the token
}

// revoker returns the Source's Revoker, or skips the check.
func (k *kit) revoker() renew.Revoker {
	k.Helper()
	r, ok := as[renew.Revoker](k.h.Source)
	if !ok {
		k.Skipf("the Source is no Revoker")
	}
	return r
}

// revoke returns Revoke on t, and fails the check if it writes to t.
func (k *kit) revoke(r renew.Revoker, t *renew.Token) issueFunc {
	return func(ctx context.Context) (*renew.Token, error) {
		before := *t
		err := r.Revoke(ctx, t)
		if !sameToken(&before, t) {
			k.Errorf("R1: Revoke wrote to the token, which readers share")
		}
		return nil, err
	}
}

// checkRevoke: a revoked token is not accepted any more.
func checkRevoke(k *kit) {
	r := k.revoker()
	tok := k.live()
	if _, err := k.do("Revoke", k.revoke(r, tok)); err != nil {
		k.Fatalf("R27: Revoke failed though the issuer is up: %v", err)
	}
	if k.h.Accepted != nil && k.h.Accepted(tok) {
		k.Errorf("R27: the issuer still accepts a token after Revoke")
	}
}

// checkRevokeCancelled: Revoke honours its ctx, and its errors show no secret.
func checkRevokeCancelled(k *kit) {
	r := k.revoker()
	tok := k.live()
	k.refusesEndedCtx("Revoke", k.revoke(r, tok), false)
	if k.h.Hang != nil {
		k.leavesHang("Revoke", k.revoke(r, tok))
		k.h.Heal()
	}
	if k.h.Break != nil {
		k.h.Break()
		if _, err := k.do("Revoke", k.revoke(r, tok)); err == nil {
			k.Errorf("R27: Revoke returned no error though the issuer answers with errors")
		}
		k.h.Heal()
	}
}

// checkAuthorize: Authorize writes to the request, and to nothing that the request shares.
func checkAuthorize(k *kit) {
	a, ok := as[renew.Authorizer](k.h.Source)
	if !ok {
		k.Skipf("the Source is no Authorizer")
	}
	tok := k.live()
	shared := &url.URL{Scheme: "https", Host: "api.example", Path: "/things", RawQuery: "a=b"}
	urlBefore, tokBefore := *shared, *tok
	req := &http.Request{Method: http.MethodGet, URL: shared, Header: make(http.Header), Host: "api.example"}
	_, err := k.do("Authorize", func(context.Context) (*renew.Token, error) { return nil, a.Authorize(req, tok) })
	if err != nil {
		k.Fatalf("R28: Authorize failed for a GET with a live token: %v", err)
	}
	if *shared != urlBefore {
		k.Errorf("R28: Authorize wrote to the URL, which the caller's request shares: replace req.URL instead")
	}
	if !sameToken(&tokBefore, tok) {
		k.Errorf("R1: Authorize wrote to the token, which readers share")
	}
	if len(req.Header) == 0 && *req.URL == urlBefore {
		k.Errorf("R29: Authorize put nothing on the request: it would be sent without its credential")
	}
}

// sameToken compares what a Source can write.
func sameToken(a, b *renew.Token) bool {
	return a.Value.Equal(b.Value) && a.Refresh.Equal(b.Refresh) && a.Type == b.Type &&
		a.Life == b.Life && a.Expiry.Equal(b.Expiry) && a.ReissueAt.Equal(b.ReissueAt)
}
