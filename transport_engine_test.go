package renew

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// The tests in this file drive the Transport with the true engine.

// numbered is a Source whose tokens are numbered.
type numbered struct {
	prefix string
	n      atomic.Int64
}

func (c *numbered) Issue(context.Context) (*Token, error) {
	n := c.n.Add(1)
	return &Token{Value: NewSecret(fmt.Sprintf("%s%s-%d", c.prefix, tokenMark, n)), Life: time.Hour}, nil
}

func transportSource(t testing.TB, src Source) *TokenSource {
	t.Helper()
	ts, err := New(src, Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ts.Close(context.Background()) })
	return ts
}

func transportManager(t testing.TB) *Manager {
	t.Helper()
	m, err := NewManager(Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close(context.Background()) })
	return m
}

// R29: one revocation seen by 50 requests is one issue, and every request ends well.
func TestR29_Engine_OneRefreshForAll(t *testing.T) {
	var valid atomic.Pointer[string]
	set := func(n int) { s := fmt.Sprintf("Bearer %s-%d", tokenMark, n); valid.Store(&s) }
	set(1)
	s := newSite(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if r.Header.Get("Authorization") != *valid.Load() {
			w.WriteHeader(401)
		}
	})
	src := &numbered{}
	client, err := transportSource(t, src).Client(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	for round := 1; round <= 3; round++ {
		set(round)
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				resp, err := client.Do(newRequest(t, "POST", s.URL, strings.NewReader("body")))
				if err != nil || resp.StatusCode != 200 {
					t.Errorf("Do = %v, %v; want 200", resp, err)
					return
				}
				_ = resp.Body.Close()
			})
		}
		wg.Wait()
		if n := src.n.Load(); n != int64(round) {
			t.Errorf("issues = %d, want %d", n, round)
		}
	}
}

// R29: the refresh that an unreplayable request starts goes on without it.
func TestR29_Engine_UnreplayableStartsTheRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &numbered{}
		slow := SourceFunc(func(ctx context.Context) (*Token, error) {
			time.Sleep(time.Second)
			return src.Issue(ctx)
		})
		ts := transportSource(t, slow)
		sent := []string{}
		tr := newTransport(t, ts, TransportConfig{Base: baseFunc(func(out *http.Request) (*http.Response, error) {
			sent = append(sent, strings.TrimPrefix(out.Header.Get("Authorization"), "Bearer "+tokenMark))
			if len(sent) == 1 {
				return answer(401)(out)
			}
			return answer(200)(out)
		})})
		if _, err := ts.Token(t.Context()); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		resp, err := tr.RoundTrip(newRequest(t, "POST", "https://api.example", newBody("stream")))
		if err != nil || resp.StatusCode != 401 || time.Since(begin) != 0 {
			t.Fatalf("RoundTrip = %v, %v after %v; want the 401 at once", resp, err, time.Since(begin))
		}
		synctest.Wait()
		time.Sleep(time.Second)
		synctest.Wait()
		if n := src.n.Load(); n != 2 {
			t.Errorf("issues = %d after the refresh had its time, want 2", n)
		}
		resp, err = tr.RoundTrip(newRequest(t, "POST", "https://api.example", newBody("stream")))
		if err != nil || resp.StatusCode != 200 || strings.Join(sent, " ") != "-1 -2" {
			t.Errorf("RoundTrip = %v, %v, tokens sent %q; want 200 with the second", resp, err, sent)
		}
	})
}

// R22: an endpoint that refuses every token costs the budget and no more; then
// its 401s go back as they come, and the token stays in service for the others.
func TestR22_Engine_BudgetSpent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &numbered{}
		ts := transportSource(t, src)
		tr := newTransport(t, ts, TransportConfig{Base: baseFunc(func(out *http.Request) (*http.Response, error) {
			if out.URL.Path == "/bad" {
				return answer(401)(out)
			}
			return answer(200)(out)
		})})
		for i := range 40 {
			resp, err := tr.RoundTrip(newRequest(t, "GET", "https://api.example/bad", nil))
			if err != nil || resp.StatusCode != 401 {
				t.Fatalf("request %d: %v, %v; want the server's 401", i, resp, err)
			}
			if got, _ := io.ReadAll(resp.Body); string(got) != "answer" {
				t.Errorf("request %d: body %q, want it whole", i, got)
			}
		}
		if n := src.n.Load(); n < 2 || n > 6 {
			t.Errorf("issues = %d for 40 refusals, want the budget's 4 or so", n)
		}
		if resp, err := tr.RoundTrip(newRequest(t, "GET", "https://api.example/good", nil)); err != nil || resp.StatusCode != 200 {
			t.Errorf("the good endpoint = %v, %v; want 200", resp, err)
		}
	})
}

// R29: no token, no request; the error is the TokenSource's.
func TestR29_Engine_NoTokenNoRequest(t *testing.T) {
	refused := &IssueError{Source: "test", Code: "invalid_client", Kind: Refused, Permanent: true}
	ts := transportSource(t, SourceFunc(func(context.Context) (*Token, error) { return nil, refused }))
	client := &http.Client{Transport: newTransport(t, ts, TransportConfig{Base: untouchable(t)})}
	_, err := client.Do(newRequest(t, "GET", "https://api.example", nil))
	if ie, ok := errors.AsType[*IssueError](err); !ok || ie.Code != "invalid_client" {
		t.Errorf("Do = %v, want the *IssueError", err)
	}
}

// own is a Source with its own way to put a token on a request, below a wrapper.
type own struct {
	numbered
	err error
}

func (o *own) Authorize(req *http.Request, t *Token) error {
	req.Header.Set("X-Chap", "own:"+t.Value.Reveal())
	return o.err
}

type wrapped struct{ Source }

func (w wrapped) Unwrap() Source { return w.Source }

// R28: a Source that is an Authorizer puts its tokens on requests in its own way.
func TestR28_Engine_Authorizer(t *testing.T) {
	src := &own{}
	ts := transportSource(t, wrapped{src})
	req := newRequest(t, "GET", "https://api.example", nil)
	cred, err := ts.Authenticate(req)
	if tok, ok := cred.(*Token); err != nil || !ok || tok.Generation() != 1 || req.Header.Get("X-Chap") != "own:"+tokenMark+"-1" || req.Header.Get("Authorization") != "" {
		t.Errorf("Authenticate = %v, %v with %v", cred, err, req.Header)
	}
	src.err = errors.New("cannot sign")
	if _, err := ts.Authenticate(req); !errors.Is(err, src.err) {
		t.Errorf("Authenticate = %v, want the Authorizer's error", err)
	}
}

// A TokenSource takes back only what it gave, and an older token costs nothing.
func TestR29_Engine_Refused(t *testing.T) {
	src := &numbered{}
	ts := transportSource(t, src)
	req := newRequest(t, "GET", "https://api.example", nil)
	for _, c := range []Credential{nil, "token", (*Token)(nil)} {
		if replay, err := ts.Refused(req, c, nil); replay != nil || err == nil {
			t.Errorf("Refused(%T) = %v, %v; want an error", c, replay != nil, err)
		}
	}
	first, err := ts.Authenticate(req)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if replay, err := ts.Refused(req, first, nil); replay == nil || err != nil {
			t.Errorf("Refused = %v, %v; want a replay", replay != nil, err)
		}
	}
	if n := src.n.Load(); n != 2 {
		t.Errorf("issues = %d after three refusals of one token, want 2", n)
	}
}

// judged is numbered that takes a 401 for its own only where the server names the token.
type judged struct{ numbered }

func (*judged) Refuses(t *Token, resp *http.Response) bool {
	return t.Generation() > 0 && resp.Header.Get("WWW-Authenticate") == `Bearer error="invalid_token"`
}

// R29: where the Source says that a 401 is not about the token, it goes to the caller and the token
// stays; also through a wrapper.
func TestR29_Engine_RefusalJudge(t *testing.T) {
	src := &judged{}
	ts := transportSource(t, wrapped{src})
	for _, tc := range []struct {
		says   string
		issues int64
		sent   int
	}{{`Bearer error="insufficient_scope"`, 1, 1}, {"", 1, 1}, {`Bearer error="invalid_token"`, 2, 2}} {
		sent := 0
		tr := newTransport(t, ts, TransportConfig{Base: baseFunc(func(out *http.Request) (*http.Response, error) {
			sent++
			resp, err := answer(401)(out)
			resp.Header = http.Header{"Www-Authenticate": {tc.says}}
			return resp, err
		})})
		resp, err := tr.RoundTrip(newRequest(t, "GET", "https://api.example", nil))
		if err != nil || resp.StatusCode != 401 || sent != tc.sent || src.n.Load() != tc.issues {
			t.Errorf("%s: %v, %v after %d requests and %d issues; want the 401 after %d and %d", tc.says, resp, err, sent, src.n.Load(), tc.sent, tc.issues)
		}
	}
}

// The one-liners check their origins, and work.
func TestR28_Engine_Clients(t *testing.T) {
	s := newSite(t, func(http.ResponseWriter, *http.Request) {})
	client, ts, err := NewClient(&numbered{}, s.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ts.Close(context.Background()) }()
	resp, err := client.Do(newRequest(t, "GET", s.URL, nil))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if log := s.log(); len(log) != 1 || !strings.Contains(log[0], "Authorization: Bearer "+tokenMark+"-1\r\n") {
		t.Errorf("the server saw %q", log)
	}
	for _, origins := range [][]string{nil, {"http://api.example"}, {s.URL + "/path"}} {
		if c, ts, err := NewClient(&numbered{}, origins...); c != nil || ts != nil || err == nil {
			t.Errorf("NewClient(%q) = %v, %v, %v; want an error", origins, c, ts, err)
		}
	}
	if c, ts, err := NewClient(nil, s.URL); c != nil || ts != nil || err == nil {
		t.Errorf("NewClient(nil) = %v, %v, %v; want an error", c, ts, err)
	}
}

// R28: PerOrigin makes one TokenSource an origin, however many ask first, and a
// token goes to its own origin alone.
func TestR28_Engine_PerOrigin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := transportManager(t)
		var mu sync.Mutex
		made, sent := map[string]int{}, map[string]int{}
		p := &PerOrigin{Manager: m, New: func(origin string) (Source, error) {
			time.Sleep(time.Second) // until all wait
			mu.Lock()
			defer mu.Unlock()
			made[origin]++
			return &numbered{prefix: origin + "/"}, nil
		}}
		refuse := true
		tr := newTransport(t, p, TransportConfig{Origins: []string{"https://a.example", "https://b.example:8443"}, Base: baseFunc(func(out *http.Request) (*http.Response, error) {
			mu.Lock()
			defer mu.Unlock()
			got := out.Header.Get("Authorization")
			sent[got]++
			if refuse && strings.HasSuffix(got, "-1") {
				return answer(401)(out)
			}
			return answer(200)(out)
		})})
		var wg sync.WaitGroup
		for i := range 60 {
			target := []string{"https://a.example/x", "https://A.example.:443/y", "https://b.example:8443"}[i%3]
			wg.Go(func() {
				resp, err := tr.RoundTrip(newRequest(t, "GET", target, nil))
				if err != nil || resp.StatusCode != 200 {
					t.Errorf("%s: %v, %v; want 200", target, resp, err)
				}
			})
		}
		wg.Wait()
		if fmt.Sprint(made) != "map[https://a.example:1 https://b.example:8443:1]" {
			t.Errorf("New was called %v, want once an origin", made)
		}
		a, b := "Bearer https://a.example/"+tokenMark, "Bearer https://b.example:8443/"+tokenMark
		if len(sent) != 4 || sent[a+"-2"] != 40 || sent[b+"-2"] != 20 || sent[a+"-1"] > 40 || sent[b+"-1"] > 20 {
			t.Errorf("sent %v, want each origin its own tokens", sent)
		}
		if _, ok := m.TokenSource("https://b.example:8443"); !ok {
			t.Error("the Manager does not have it by the origin's name")
		}
	})
}

// Errors of New reach all who waited, are typed, and are not remembered.
func TestR28_Engine_PerOriginNewFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cause := errors.New("no key for it")
		calls := 0
		var src Source
		p := &PerOrigin{Manager: transportManager(t), New: func(string) (Source, error) {
			time.Sleep(time.Second)
			if calls++; calls == 1 {
				return nil, cause
			}
			return src, nil
		}}
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				_, err := p.Authenticate(newRequest(t, "GET", "https://a.example", nil))
				if pe, ok := errors.AsType[*PerOriginError](err); !ok || pe.Origin != "https://a.example" || !errors.Is(err, cause) {
					t.Errorf("Authenticate = %v, want a *PerOriginError with the cause", err)
				}
			})
		}
		wg.Wait()
		if calls != 1 {
			t.Errorf("New was called %d times, want 1", calls)
		}
		_, err := p.Authenticate(newRequest(t, "GET", "https://a.example", nil))
		if _, ok := errors.AsType[*ConfigError](err); !ok {
			t.Errorf("Authenticate with a nil Source = %v, want a *ConfigError", err)
		}
		src = &numbered{}
		if _, err := p.Authenticate(newRequest(t, "GET", "https://a.example", nil)); err != nil {
			t.Errorf("Authenticate once New works: %v", err)
		}
	})
}

// A waiter's context ends its own wait, and nobody else's.
func TestR28_Engine_PerOriginWaiterLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &PerOrigin{Manager: transportManager(t), New: func(string) (Source, error) {
			time.Sleep(time.Minute)
			return &numbered{}, nil
		}}
		var wg sync.WaitGroup
		defer wg.Wait()
		wg.Go(func() {
			if _, err := p.Authenticate(newRequest(t, "GET", "https://a.example", nil)); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begin := time.Now()
		_, err := p.Authenticate(newRequest(t, "GET", "https://a.example", nil).WithContext(ctx))
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) != time.Second {
			t.Errorf("Authenticate = %v after %v, want the deadline after 1s", err, time.Since(begin))
		}
	})
}

// A panic in New goes on in the goroutine that called it; the others get an error and nothing is wedged.
func TestR28_Engine_PerOriginNewPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		p := &PerOrigin{Manager: transportManager(t), New: func(string) (Source, error) {
			time.Sleep(time.Second)
			if calls++; calls == 1 {
				panic("hush")
			}
			return &numbered{}, nil
		}}
		var wg sync.WaitGroup
		var panics, errs atomic.Int64
		for range 10 {
			wg.Go(func() {
				defer func() {
					if recover() == "hush" {
						panics.Add(1)
					}
				}()
				_, err := p.Authenticate(newRequest(t, "GET", "https://a.example", nil))
				if pe, ok := errors.AsType[*PanicError](err); ok && pe.Type == "string" && !strings.Contains(err.Error(), "hush") {
					errs.Add(1)
				}
			})
		}
		wg.Wait()
		if panics.Load() != 1 || errs.Load() != 9 {
			t.Errorf("panics, errors = %d, %d; want 1, 9", panics.Load(), errs.Load())
		}
		if _, err := p.Authenticate(newRequest(t, "GET", "https://a.example", nil)); err != nil {
			t.Errorf("Authenticate after the panic: %v", err)
		}
	})
}

// One that is there by the origin's name is used, added by hand or by another PerOrigin just now.
func TestR28_Engine_PerOriginUsesWhatIsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := transportManager(t)
		if _, err := m.Add("https://hand.example", &numbered{prefix: "hand"}, Config{}); err != nil {
			t.Fatal(err)
		}
		newP := func() *PerOrigin {
			return &PerOrigin{Manager: m, New: func(origin string) (Source, error) {
				if origin == "https://hand.example" {
					t.Error("New was called for a TokenSource that is there")
				}
				time.Sleep(time.Second)
				return &numbered{}, nil
			}}
		}
		req := newRequest(t, "GET", "https://hand.example", nil)
		if _, err := newP().Authenticate(req); err != nil || !strings.Contains(req.Header.Get("Authorization"), "hand") {
			t.Errorf("Authenticate = %v with %v", err, req.Header)
		}
		var wg sync.WaitGroup
		defer wg.Wait()
		for range 2 {
			wg.Go(func() {
				if _, err := newP().Authenticate(newRequest(t, "GET", "https://both.example", nil)); err != nil {
					t.Error(err)
				}
			})
		}
	})
}

// A request whose look into the Manager was just too early makes no second one.
func TestR28_Engine_PerOriginLooksAgain(t *testing.T) {
	calls := 0
	p := &PerOrigin{Manager: transportManager(t), New: func(string) (Source, error) { calls++; return &numbered{}, nil }}
	first, err := p.add("https://a.example")
	if err != nil {
		t.Fatal(err)
	}
	if second, err := p.add("https://a.example"); second != first || err != nil || calls != 1 {
		t.Errorf("add = %v, %v, New called %d times; want the first, 1", second, err, calls)
	}
}

// What ends the Manager ends its PerOrigin, for origins known and new.
func TestR28_Engine_PerOriginOfAClosedManager(t *testing.T) {
	p := &PerOrigin{Manager: transportManager(t), New: func(string) (Source, error) { return &numbered{}, nil }}
	if _, err := p.Authenticate(newRequest(t, "GET", "https://a.example", nil)); err != nil {
		t.Fatal(err)
	}
	if err := p.Manager.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, target := range []string{"https://a.example", "https://b.example"} {
		if _, err := p.Authenticate(newRequest(t, "GET", target, nil)); !errors.Is(err, ErrClosed) {
			t.Errorf("Authenticate for %s after Close = %v, want ErrClosed", target, err)
		}
	}
}

// Missing fields, foreign credentials and URLs without an origin are errors, not panics.
func TestR28_Engine_PerOriginMisused(t *testing.T) {
	req := newRequest(t, "GET", "https://a.example", nil)
	var none *PerOrigin
	source := func(string) (Source, error) { return &numbered{}, nil }
	for _, p := range []*PerOrigin{none, {}, {Manager: transportManager(t)}, {New: source}} {
		if _, err := p.Authenticate(req); err == nil {
			t.Error("Authenticate without a field = nil, want a *ConfigError")
		} else if _, ok := errors.AsType[*ConfigError](err); !ok {
			t.Errorf("Authenticate without a field = %v, want a *ConfigError", err)
		}
	}
	p := &PerOrigin{Manager: transportManager(t), New: source}
	if replay, err := p.Refused(req, "foreign", nil); replay != nil || err == nil {
		t.Errorf("Refused = %v, %v; want an error", replay != nil, err)
	}
	if _, err := p.Authenticate(newRequest(t, "GET", "/path", nil)); err == nil {
		t.Error("Authenticate without an origin = nil, want an error")
	}
}

func BenchmarkR28_Engine_RoundTrip(b *testing.B) {
	tr, req := newTransport(b, transportSource(b, &numbered{}), TransportConfig{Base: noop()}), usualRequest(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := tr.RoundTrip(req); err != nil {
			b.Fatal(err)
		}
	}
}
