package renewtest

import (
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/budget"
)

// signerCheck is one thing that a signer must do right.
type signerCheck struct {
	name string
	run  func(k *signerKit)
}

func signerChecks() []signerCheck {
	return []signerCheck{
		{"Validate", checkSignerValidate},
		{"Sign", checkSign},
		{"Untouched", checkUntouched},
		{"Fresh", checkFresh},
		{"Body", checkBodyWhole},
		{"BodyOnce", checkBodyOnce},
		{"Redirect", checkRedirect},
		{"Refused", checkRefused},
		{"Budget", checkBudget},
		{"Ended", checkEnded},
		{"Concurrent", checkSignerConcurrent},
		{"Secrets", checkSignerSecrets},
	}
}

// longForm is a body that takes more than one read.
var longForm = "first=1&" + strings.Repeat("name=value+%26+more&", 5000) + "last=2"

// checkSignerValidate: the configuration of a signer that works is valid, also when asked twice.
func checkSignerValidate(k *signerKit) {
	v, ok := k.h.Signer.(renew.Validator)
	if !ok {
		k.Skipf("the signer is no Validator")
	}
	for range 2 {
		if err := k.try("Validate", func(context.Context) error { return v.Validate() }); err != nil {
			k.Fatalf("R23: Validate refuses a signer that is set up to work: %v", err)
		}
	}
}

// checkSign: the server takes what is signed, at the first try, with and without query and body.
func checkSign(k *signerKit) {
	c := k.client()
	for _, path := range []string{"/", "/a%20b/c?x=1&y=%20&x=2", "/a?e=&~=%C3%A9"} {
		for _, text := range []string{"", "a=1&b=two+words"} {
			m := k.request(context.Background(), k.here.url(path), text)
			got := k.served(c, m)
			if len(got) > k.most() {
				k.Errorf("R22: one %s of %s took %d requests", m.req.Method, path, len(got))
			}
		}
	}
}

// checkUntouched: of what a Transport's copy shares with the caller's request, nothing is written to.
func checkUntouched(k *signerKit) {
	for _, text := range []string{"", "a=1&b=two+words"} {
		m := k.request(context.Background(), k.here.url("/things?a=b"), text)
		m.req.Header[k.h.Header] = []string{"old"} // a value that the copy shares
		m.req.Trailer = http.Header{"X-Trailer": nil}
		header, target := m.req.Header.Clone(), *m.req.URL
		out := m.req.WithContext(m.req.Context()) // as Transport does
		out.Header = make(http.Header)
		for name, values := range m.req.Header {
			out.Header[name] = values[:len(values):len(values)]
		}
		err := k.try("Authenticate", func(context.Context) error {
			return k.sign(out)
		})
		if err != nil {
			k.Fatalf("R29: Authenticate failed for a %s: %v", m.req.Method, err)
		}
		switch {
		case *m.req.URL != target:
			k.Errorf("R28: Authenticate wrote to the URL, which the caller's request shares: replace req.URL instead")
		case !maps.EqualFunc(m.req.Header, header, slices.Equal):
			k.Errorf("R28: Authenticate wrote into a header value, which the caller's request shares: set a new one")
		case !maps.EqualFunc(m.req.Trailer, http.Header{"X-Trailer": nil}, slices.Equal):
			k.Errorf("R28: Authenticate wrote to the Trailer, which the caller's request shares")
		}
		if m.reads.Load() > 0 {
			k.Errorf("R29: Authenticate read the body itself, which can be read only once: read what GetBody returns")
		}
		if opened, shut := m.opened.Load(), m.shut.Load(); !k.h.InBody && opened != shut {
			k.Errorf("R28: Authenticate left %d of %d bodies open that GetBody had returned", opened-shut, opened)
		}
		if k.h.InBody && m.closes.Load() == 0 {
			k.Errorf("R28: Authenticate replaced the body and did not close the old one")
		}
		same := *out.URL == target && maps.EqualFunc(out.Header, header, slices.Equal) && out.Body == m.req.Body
		if same && k.h.Challenge == nil {
			k.Errorf("R29: Authenticate put nothing on a %s: it would be sent without its credential", m.req.Method)
		}
	}
}

// checkFresh: each request looks different, and so does a replay.
func checkFresh(k *signerKit) {
	if k.h.SameCredentialOK {
		k.Skipf("the scheme has no nonce")
	}
	c := k.client()
	seen := make(map[string]bool)
	for range 3 {
		for _, a := range k.served(c, k.request(context.Background(), k.here.url("/fresh"), "")) {
			if a.verdict == nil && seen[a.looks()] {
				k.Fatalf("R29: two requests have the same credential: a nonce is used once (if the scheme has none, set SignerHarness.SameCredentialOK)")
			}
			seen[a.looks()] = true
		}
	}
	k.here.refuseNext(1)
	if _, err := k.send(c, k.request(context.Background(), k.here.url("/fresh"), "")); err != nil {
		k.Fatalf("R29: a refused request ended with an error, and not with the server's answer: %v", err)
	}
	for _, a := range k.here.take() {
		if seen[a.looks()] && (a.verdict == nil || k.h.Challenge == nil) {
			k.Fatalf("R29: the replay after a 401 has the credential that was refused: sign it anew")
		}
		seen[a.looks()] = true
	}
}

// checkBodyWhole: the body is sent whole, also in a replay.
func checkBodyWhole(k *signerKit) {
	c := k.client()
	for _, refuse := range []int{0, 1} {
		k.here.refuseNext(refuse)
		m := k.request(context.Background(), k.here.url("/upload"), longForm)
		if _, err := k.send(c, m); err != nil {
			k.Fatalf("R29: a POST could not be sent: %v", err)
		}
		got := k.here.take()
		for i, a := range got {
			k.checkBody([]string{"a POST", "the replay of a POST"}[min(i, 1)], a.body, m.text)
			if a.verdict != nil && (i > 0 || k.h.Challenge == nil) {
				k.Errorf("R29: the server refuses a POST with a long body: %v", a.verdict)
			}
		}
		if len(got) == 0 || len(got) > 2 {
			k.Errorf("R22: one POST took %d requests", len(got))
		}
	}
}

// checkBodyOnce: a body that can be read only once is sent whole with a credential that does not cover it, or not at all.
func checkBodyOnce(k *signerKit) {
	c := k.client()
	m := k.request(context.Background(), k.here.url("/upload"), longForm)
	m.req.GetBody = nil
	_, err := k.send(c, m)
	got := k.here.take()
	if err != nil {
		if m.reads.Load() > 0 {
			k.Errorf("R29: a POST without GetBody failed after its body was read: what a signature needs and cannot have is known before")
		}
		return
	}
	if len(got) != 1 {
		k.Fatalf("R29: a POST whose body can be read only once took %d requests", len(got))
	}
	k.checkBody("a POST without GetBody", got[0].body, m.text)
	if got[0].verdict != nil && k.h.Challenge == nil {
		k.Errorf("R29: a POST without GetBody went out, and the server refuses it: fail before sending where the signature covers the body (%v)", got[0].verdict)
	}
}

// checkRedirect: no credential goes to another origin, and a way back is signed anew.
func checkRedirect(k *signerKit) {
	c := k.client()
	k.here.moved["/start"] = k.away.url("/else?from=here")
	k.away.moved["/else"] = k.here.url("/end?from=away")
	m := k.request(context.Background(), k.here.url("/start"), "")
	start := m.req.URL.String()
	got := k.served(c, m)
	if last := got[len(got)-1]; last.verdict != nil || !strings.HasPrefix(last.uri, "/end?from=away") {
		k.Fatalf("R28: the redirect back to the origin ended at %s: %v", last.uri, last.verdict)
	}
	elsewhere := k.away.take()
	if len(elsewhere) != 1 {
		k.Fatalf("renewtest: %d requests arrived at the other origin, want 1", len(elsewhere))
	}
	a := elsewhere[0]
	for name, values := range a.header {
		switch name {
		case "User-Agent", "Accept-Encoding", "Content-Type", "Content-Length", "X-Kit":
		case "Referer":
			if values[0] != start {
				k.Errorf("R28: the Referer of a redirect shows more than the caller's URL")
			}
		default:
			k.Errorf("R28: the header %s went to another origin with a redirect", name)
		}
	}
	if a.uri != "/else?from=here" {
		k.Errorf("R28: the query of a redirect to another origin was added to")
	}
	if a.body != m.text {
		k.Errorf("R28: the body of a redirect to another origin was added to")
	}
	k.inspectText("what went to another origin", a.looks())
}

// checkRefused: a server that refuses everything is asked twice at most, and its answer is the caller's.
func checkRefused(k *signerKit) {
	c := k.client()
	k.here.refuseNext(-1)
	m := k.request(context.Background(), k.here.url("/no"), "")
	a, err := k.send(c, m)
	if err != nil {
		k.Fatalf("R29: a refused request ended with an error, and not with the server's 401: %v", err)
	}
	got := k.here.take()
	if a.status != http.StatusUnauthorized || k.h.Challenge == nil && a.body != refusal {
		k.Errorf("R22: the answer is a %d with %d bytes, want the server's own 401", a.status, len(a.body))
	}
	if len(got) > 2 {
		k.Errorf("R22: one request became %d", len(got))
	}
	for i, a := range got {
		if a.verdict != nil && (i > 0 || k.h.Challenge == nil) {
			k.Errorf("R29: request %d had no good credential: %v", i+1, a.verdict)
		}
	}
}

// checkBudget: a server that refuses everything does not make the signer replay for ever.
func checkBudget(k *signerKit) {
	if k.h.Budget == nil {
		k.Skipf("no SignerHarness.Budget")
	}
	units := k.h.Budget.Units
	if units <= 0 {
		units = budget.DefaultUnits
	}
	c := k.client()
	k.here.refuseNext(-1)
	replays := 0
	for range units + 3 {
		a, err := k.send(c, k.request(context.Background(), k.here.url("/no"), ""))
		if err != nil || a.status != http.StatusUnauthorized {
			k.Fatalf("R21: a refused request ended with %d, %v; want the server's 401", a.status, err)
		}
		replays += len(k.here.take()) - 1
	}
	if replays > units {
		k.Errorf("R18: %d replays followed refusals, and the budget has %d units", replays, units)
	}
}

// checkEnded: with a context that has ended nobody waits.
func checkEnded(k *signerKit) {
	ended := func(ctx context.Context) context.Context {
		ctx, cancel := context.WithCancelCause(ctx)
		cancel(errStopped)
		return ctx
	}
	err := k.try("Authenticate", func(ctx context.Context) error {
		return k.sign(k.request(ended(ctx), k.here.url("/"), "").req)
	})
	if err != nil { // it may also sign, since that takes no time
		k.checkStopped("Authenticate", nil, err)
	}
	var cred renew.Credential
	m := k.request(context.Background(), k.here.url("/"), "")
	if err := k.try("Authenticate", func(context.Context) (err error) {
		cred, err = k.h.Signer.Authenticate(m.req)
		return err
	}); err != nil {
		k.Fatalf("R29: Authenticate failed for a %s: %v", m.req.Method, err)
	}
	k.inspect("the Credential", cred)
	var left int
	if k.h.Budget != nil {
		left = k.h.Budget.Left(k.clk.Now().Mono)
	}
	_ = k.try("Refused", func(ctx context.Context) error {
		_, err := k.h.Signer.Refused(m.req.WithContext(ended(ctx)), cred, k.unauthorized())
		return err
	})
	if k.h.Budget != nil && k.h.Budget.Left(k.clk.Now().Mono) < left {
		k.Errorf("R18: Refused spent a unit for a replay that cannot be: its context had ended")
	}
}

// sign lets the signer authenticate req, which is not sent.
func (k *signerKit) sign(req *http.Request) error {
	cred, err := k.h.Signer.Authenticate(req)
	if a, ok := k.h.Signer.(renew.Answerer); ok && err == nil {
		a.Answered(req, cred, nil)
	}
	return err
}

// unauthorized returns a 401 that was not sent.
func (k *signerKit) unauthorized() *http.Response {
	return &http.Response{StatusCode: http.StatusUnauthorized, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(refusal))}
}

// checkSignerConcurrent: one signer serves many goroutines.
func checkSignerConcurrent(k *signerKit) {
	const workers, each = 8, 4
	c := k.client()
	var wg sync.WaitGroup
	errs := make(chan error, workers*each)
	for range workers {
		wg.Go(func() {
			for range each {
				m := k.request(context.Background(), k.here.url("/many?x=1"), "a=1&b=2")
				resp, err := c.Do(m.req)
				if err != nil {
					errs <- err
					continue
				}
				_ = resp.Body.Close()
				if resp.StatusCode != http.StatusOK {
					errs <- errors.New(resp.Status)
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		k.Fatalf("R29: one of %d requests at once failed, though each alone works: %v", workers, err)
	}
	seen := make(map[string]bool)
	for _, a := range k.here.take() {
		if a.verdict == nil && seen[a.looks()] && !k.h.SameCredentialOK {
			k.Fatalf("R29: two requests at once have the same credential")
		}
		seen[a.looks()] = true
	}
}

// checkSignerSecrets: the signer can be printed, and its errors hold no secret.
func checkSignerSecrets(k *signerKit) {
	k.inspect("the signer", k.h.Signer)
	c := k.client()
	k.served(c, k.request(context.Background(), k.here.url("/"), ""))
	k.here.refuseNext(1)
	if _, err := k.send(c, k.request(context.Background(), k.here.url("/"), "")); err != nil {
		k.Fatalf("R29: a refused request ended with an error, and not with the server's answer: %v", err)
	}
	k.inspect("the signer after a refusal", k.h.Signer)
	failing := errors.New("the body's own error")
	for _, spoil := range []func(*http.Request){
		func(r *http.Request) { r.GetBody = nil },
		func(r *http.Request) { r.GetBody = func() (io.ReadCloser, error) { return nil, failing } },
		func(r *http.Request) {
			r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(failingReader{failing}), nil }
		},
		func(r *http.Request) { r.Header.Set("Content-Type", "application/json") },
		func(r *http.Request) { r.URL = &url.URL{Scheme: "ftp", Host: "files.example", Path: "/x"} },
		func(r *http.Request) { r.URL = &url.URL{} },
		func(r *http.Request) { r.URL.RawQuery = "a=%zz&;=%" },
		func(r *http.Request) { r.Header = nil },
		func(r *http.Request) { r.Method = "" },
	} {
		// Whether it can be signed depends on the scheme. It must not panic, nor show a secret in its error.
		_ = k.try("Authenticate", func(ctx context.Context) error {
			m := k.request(ctx, k.here.url("/odd"), "a=1")
			spoil(m.req)
			return k.sign(m.req)
		})
	}
}

// failingReader is a body that breaks.
type failingReader struct{ err error }

func (f failingReader) Read([]byte) (int, error) { return 0, f.err }
