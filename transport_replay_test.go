package renew

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// R29: a 401 is answered with one replay, whose body and length are those of the first.
func TestR29_ReplayRewindsTheBody(t *testing.T) {
	text := strings.Repeat("0123456789", 20_000)
	for _, tc := range []struct {
		name string
		body func() io.Reader
		want string
	}{
		{"none", func() io.Reader { return nil }, ""},
		{"NoBody", func() io.Reader { return http.NoBody }, ""},
		{"bytes", func() io.Reader { return bytes.NewReader([]byte(text)) }, text},
		{"string", func() io.Reader { return strings.NewReader(text) }, text},
		{"buffer", func() io.Reader { return bytes.NewBufferString(text) }, text},
		{"empty", func() io.Reader { return strings.NewReader("") }, ""},
	} {
		for _, method := range []string{"GET", "POST", "PUT", "DELETE", "PROPFIND"} {
			t.Run(method+" "+tc.name, func(t *testing.T) {
				var bodies []string
				var lengths []int64
				s := newSite(t, func(w http.ResponseWriter, r *http.Request) {
					b, _ := io.ReadAll(r.Body)
					bodies, lengths = append(bodies, string(b)), append(lengths, r.ContentLength)
					if r.Header.Get("Authorization") != bearer(1) {
						http.Error(w, "no", http.StatusUnauthorized)
					}
				})
				auth := &tokens{}
				client := &http.Client{Transport: newTransport(t, auth, TransportConfig{Origins: []string{s.URL}})}
				resp, err := client.Do(newRequest(t, method, s.URL, tc.body()))
				if err != nil {
					t.Fatal(err)
				}
				_ = resp.Body.Close()
				if resp.StatusCode != 200 || len(bodies) != 2 || bodies[0] != tc.want || bodies[1] != tc.want ||
					lengths[0] != int64(len(tc.want)) || lengths[1] != lengths[0] {
					t.Errorf("status %d after %d requests of lengths %v, want 200 after 2 of %d", resp.StatusCode, len(bodies), lengths, len(tc.want))
				}
				if auth.made.Load() != 2 || auth.refused.Load() != 1 {
					t.Errorf("Authenticate, Refused called %d, %d times; want 2, 1", auth.made.Load(), auth.refused.Load())
				}
			})
		}
	}
}

// R29: with a body that cannot be sent again the refresh is started and the 401 not held back.
func TestR29_UnreplayableBody(t *testing.T) {
	type key struct{}
	for _, tc := range []struct {
		name    string
		getBody func() (io.ReadCloser, error)
	}{
		{"no GetBody", nil},
		{"GetBody fails", func() (io.ReadCloser, error) { return nil, errors.New("gone") }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const text = "the server's own words"
				started := 0
				auth := authFuncs{refused: func(req *http.Request, _ Credential, resp *http.Response) (bool, error) {
					started++
					if req.Context().Value(key{}) != "trace" || req.Header.Get("Authorization") == "" || resp.StatusCode != 401 {
						t.Errorf("Refused got %v %v %v, want the request as it was sent and the 401", req.Context(), req.Header, resp)
					}
					select { // as Reject waits for its flight
					case <-req.Context().Done():
						return false, context.Cause(req.Context())
					case <-time.After(time.Hour):
						return true, nil
					}
				}}
				of401 := newBody(text)
				tr := newTransport(t, auth, TransportConfig{Base: baseFunc(func(out *http.Request) (*http.Response, error) {
					resp, err := answer(401)(out)
					resp.Body = of401
					return resp, err
				})})
				b := newBody("body")
				req := newRequest(t, "POST", "https://api.example", b).WithContext(context.WithValue(t.Context(), key{}, "trace"))
				req.GetBody = tc.getBody
				begin := time.Now()
				resp, err := tr.RoundTrip(req)
				if err != nil || resp.StatusCode != 401 || started != 1 || time.Since(begin) != 0 {
					t.Fatalf("RoundTrip = %v, %v after %v, Refused called %d times; want the 401 at once, 1", resp, err, time.Since(begin), started)
				}
				if got, err := io.ReadAll(resp.Body); string(got) != text || err != nil || of401.closed != 0 {
					t.Errorf("body = %q, %v, closed %d times; want it whole", got, err, of401.closed)
				}
				if b.closed != 1 || req.Context().Err() != nil {
					t.Errorf("the request's body closed %d times, its context %v", b.closed, req.Context().Err())
				}
			})
		})
	}
}

// R29: where nothing can be done about a 401 it is the server's own, with a body of any size unread.
func TestR29_The401ComesBackWhole(t *testing.T) {
	large := strings.Repeat("0123456789abcdef", 1<<16) // 1 MiB
	for _, tc := range []struct {
		name string
		auth authFuncs
	}{
		{"Refused says no", authFuncs{}},
		{"Refused fails", authFuncs{refused: func(*http.Request, Credential, *http.Response) (bool, error) { return false, errors.New("down") }}},
		{"Refused fails and says yes", authFuncs{refused: func(*http.Request, Credential, *http.Response) (bool, error) { return true, errors.New("down") }}},
		{"budget spent", authFuncs{refused: func(*http.Request, Credential, *http.Response) (bool, error) { return false, &BudgetError{} }}},
		{"no new credential", authFuncs{
			authenticate: func() func(req *http.Request) (Credential, error) {
				n := 0
				return func(req *http.Request) (Credential, error) {
					if n++; n == 2 {
						return nil, errors.New("lost again")
					}
					return nil, nil
				}
			}(),
			refused: func(*http.Request, Credential, *http.Response) (bool, error) { return true, nil },
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newSite(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
				w.WriteHeader(401)
				_, _ = io.WriteString(w, large)
			})
			again := newBody("again")
			req := newRequest(t, "POST", s.URL, strings.NewReader("body"))
			req.GetBody = func() (io.ReadCloser, error) { return again, nil }
			resp, err := newTransport(t, tc.auth, TransportConfig{Origins: []string{s.URL}}).RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if resp.StatusCode != 401 || string(got) != large || err != nil || resp.Header.Get("WWW-Authenticate") == "" {
				t.Errorf("RoundTrip = %d with %d bytes, %v; want the 401 with %d", resp.StatusCode, len(got), err, len(large))
			}
			if len(s.log()) != 1 || again.closed != 1 || again.read != 0 {
				t.Errorf("%d requests, the new body closed %d times; want 1, 1", len(s.log()), again.closed)
			}
		})
	}
}

// R29: before the replay the 401 is drained, at most 64 KiB of it, and closed.
func TestR29_The401IsDrainedBounded(t *testing.T) {
	for _, tc := range []struct {
		name       string
		length     int64 // as announced
		size, want int
	}{
		{"small", 100, 100, 100},
		{"small, unannounced", -1, 100, 100},
		{"limit", maxDrain, maxDrain, maxDrain},
		{"large, unannounced", -1, 10 << 20, maxDrain},
		{"large", 10 << 20, 10 << 20, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			of401, calls := &spyBody{Reader: io.LimitReader(zeros{}, int64(tc.size))}, 0
			tr := newTransport(t, &tokens{}, TransportConfig{Base: baseFunc(func(out *http.Request) (*http.Response, error) {
				if calls++; calls == 2 {
					if of401.closed != 1 {
						t.Errorf("the 401 was closed %d times before the replay, want 1", of401.closed)
					}
					return answer(200)(out)
				}
				resp, err := answer(401)(out)
				resp.Body, resp.ContentLength = of401, tc.length
				return resp, err
			})})
			resp, err := tr.RoundTrip(newRequest(t, "GET", "https://api.example", nil))
			if err != nil || resp.StatusCode != 200 || of401.read != tc.want || of401.closed != 1 {
				t.Errorf("RoundTrip = %v, %v; %d bytes read, closed %d times; want %d, 1", resp, err, of401.read, of401.closed, tc.want)
			}
		})
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// R29: a small 401 leaves its connection to the replay.
func TestR29_ReplayUsesTheSameConnection(t *testing.T) {
	var conns atomic.Int64
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != bearer(1) {
			http.Error(w, strings.Repeat("no", 10_000), http.StatusUnauthorized)
		}
	}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			conns.Add(1)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	resp, err := newTransport(t, &tokens{}, TransportConfig{Origins: []string{s.URL}, Base: s.Client().Transport}).RoundTrip(newRequest(t, "GET", s.URL, nil))
	if err != nil || resp.StatusCode != 200 {
		t.Fatalf("RoundTrip = %v, %v", resp, err)
	}
	_ = resp.Body.Close()
	if n := conns.Load(); n != 1 {
		t.Errorf("connections = %d, want 1", n)
	}
}

// R22: the second 401 goes to the caller and rejects nothing.
func TestR22_SecondRefusalGoesToTheCaller(t *testing.T) {
	s := newSite(t, func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, r.Header.Get("Authorization"), http.StatusUnauthorized)
	})
	auth := &tokens{}
	resp, err := newTransport(t, auth, TransportConfig{Origins: []string{s.URL}}).RoundTrip(newRequest(t, "POST", s.URL, strings.NewReader("body")))
	if err != nil {
		t.Fatal(err)
	}
	got, _ := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if resp.StatusCode != 401 || string(got) != bearer(1)+"\n" {
		t.Errorf("RoundTrip = %d %q, want the second 401", resp.StatusCode, got)
	}
	if len(s.log()) != 2 || auth.refused.Load() != 1 || auth.made.Load() != 2 || auth.n.Load() != 1 {
		t.Errorf("requests, refusals = %d, %d; want 2, 1", len(s.log()), auth.refused.Load())
	}
}

// R29: when the request's context ends while a token is awaited, the caller gets that, as a
// timeout where it is one; the body of the 401 could not be read any more.
func TestR29_ContextEndsDuringTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		issuer := errors.New("issuer is down")
		wait := authFuncs{refused: func(req *http.Request, _ Credential, _ *http.Response) (bool, error) {
			<-req.Context().Done()
			return false, issuer
		}}
		of401 := newBody("no")
		tr := newTransport(t, wait, TransportConfig{Base: baseFunc(func(out *http.Request) (*http.Response, error) {
			resp, err := answer(401)(out)
			resp.Body = of401
			return resp, err
		})})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		again := newBody("again")
		req := newRequest(t, "POST", "https://api.example/hush", strings.NewReader("body")).WithContext(ctx)
		req.GetBody = func() (io.ReadCloser, error) { return again, nil }
		_, err := (&http.Client{Transport: tr}).Do(req)
		ue, ok := errors.AsType[*url.Error](err)
		if !ok || !ue.Timeout() || !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, issuer) {
			t.Errorf("Do = %v; want a timeout that has both causes", err)
		}
		if want := "renew: https://api.example answered 401, and the request ended before there was a new credential: issuer is down"; ok && ue.Err.Error() != want {
			t.Errorf("text = %v\nwant %v", ue.Err, want)
		}
		if of401.closed != 1 || again.closed != 1 {
			t.Errorf("bodies closed %d, %d times; want 1, 1", of401.closed, again.closed)
		}

		ctx, stop := context.WithCancelCause(t.Context())
		mine := errors.New("shutting down")
		stop(mine)
		_, err = tr.RoundTrip(newRequest(t, "GET", "https://api.example", nil).WithContext(ctx))
		te, ok := errors.AsType[interface {
			error
			Timeout() bool
		}](err)
		if !errors.Is(err, mine) || !ok || te.Timeout() {
			t.Errorf("RoundTrip = %v; want the cause of the cancel, and no timeout", err)
		}

		// A client's own timeout is a timeout, whichever of its two timers net/http hears first.
		_, err = (&http.Client{Transport: tr, Timeout: time.Second}).Do(newRequest(t, "GET", "https://api.example", nil))
		if ue, ok := errors.AsType[*url.Error](err); !ok || !ue.Timeout() {
			t.Errorf("Do = %v; want the client's timeout", err)
		}
	})
}

// learner is tokens that note how each request ended that carried one.
type learner struct {
	tokens
	t     *testing.T
	heard []string
}

func (a *learner) Refused(req *http.Request, c Credential, resp *http.Response) (Replay, error) {
	a.note(req, c, "refused", resp)
	return a.tokens.Refused(req, c, resp)
}

func (a *learner) Answered(req *http.Request, c Credential, resp *http.Response) {
	a.note(req, c, "answered", resp)
}

func (a *learner) note(req *http.Request, c Credential, how string, resp *http.Response) {
	n := *c.(*int64)
	if req.Header.Get("Authorization") != bearer(n) {
		a.t.Errorf("%s with %v and token %d", how, req.Header, n)
	}
	status := 0
	if resp != nil {
		status = resp.StatusCode
	}
	a.heard = append(a.heard, fmt.Sprint(how, " ", n, " ", status))
}

// R29: of each credential on a request an Answerer hears once how that ended, whatever the base does.
func TestR29_AnswererHearsEachEnd(t *testing.T) {
	const fails, nothing, both, panics = -1, -2, -3, -4
	for _, tc := range []struct {
		answers []int
		want    []string
	}{
		{[]int{200}, []string{"answered 0 200"}},
		{[]int{500}, []string{"answered 0 500"}},
		{[]int{407}, []string{"answered 0 407"}},
		{[]int{401, 204}, []string{"refused 0 401", "answered 1 204"}},
		{[]int{401, 403}, []string{"refused 0 401", "answered 1 403"}},
		{[]int{401, 401}, []string{"refused 0 401", "answered 1 401"}},
		{[]int{fails}, []string{"answered 0 0"}},
		{[]int{nothing}, []string{"answered 0 0"}},
		{[]int{both}, []string{"answered 0 0"}},
		{[]int{panics}, []string{"answered 0 0"}},
		{[]int{401, fails}, []string{"refused 0 401", "answered 1 0"}},
		{[]int{401, panics}, []string{"refused 0 401", "answered 1 0"}},
	} {
		auth, n := &learner{t: t}, 0
		tr := newTransport(t, auth, TransportConfig{Base: baseFunc(func(out *http.Request) (*http.Response, error) {
			n++
			switch status := tc.answers[n-1]; status {
			case fails:
				return nil, io.ErrUnexpectedEOF
			case nothing:
				return nil, nil
			case both:
				resp, _ := answer(401)(out)
				return resp, io.ErrUnexpectedEOF
			case panics:
				panic("base")
			default:
				return answer(status)(out)
			}
		})})
		func() {
			defer func() { _ = recover() }()
			_, _ = tr.RoundTrip(newRequest(t, "GET", "https://api.example", nil))
		}()
		if !slices.Equal(auth.heard, tc.want) {
			t.Errorf("answers %v: heard %q, want %q", tc.answers, auth.heard, tc.want)
		}
	}
}

// R29: a replay carries what Refused made for it, and not what the next request would.
func TestR29_ReplayIsBoundToItsRefusal(t *testing.T) {
	var sent []string
	tr := newTransport(t, challenged{}, TransportConfig{Base: baseFunc(func(out *http.Request) (*http.Response, error) {
		sent = append(sent, out.Header.Get("Authorization"))
		resp, err := answer(map[bool]int{true: 401, false: 200}[len(sent) == 1])(out)
		resp.Header = http.Header{"Www-Authenticate": {"once"}}
		return resp, err
	})})
	if _, err := tr.RoundTrip(newRequest(t, "GET", "https://api.example", nil)); err != nil {
		t.Fatal(err)
	}
	if want := []string{"", "answer to once"}; !slices.Equal(sent, want) {
		t.Errorf("sent %q, want %q", sent, want)
	}
}

// challenged answers each challenge in the replay that it led to, and nothing before.
type challenged struct{}

func (challenged) Authenticate(*http.Request) (Credential, error) { return nil, nil }

func (challenged) Refused(_ *http.Request, _ Credential, resp *http.Response) (Replay, error) {
	text := "answer to " + resp.Header.Get("WWW-Authenticate")
	return func(req *http.Request) (Credential, error) {
		req.Header.Set("Authorization", text)
		return nil, nil
	}, nil
}

// R29: many requests through one client while tokens are revoked under them: each
// ends well, and what was shared among them was only read.
func TestR29_ConcurrentReplays(t *testing.T) {
	var valid atomic.Int64
	s := newSite(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		if r.Header.Get("Authorization") != bearer(valid.Load()) {
			http.Error(w, "no", http.StatusUnauthorized)
			return
		}
		_, _ = fmt.Fprintf(w, "%s %s", r.Header.Get("X-Shared"), b)
	})
	auth := &tokens{}
	client := &http.Client{Transport: newTransport(t, auth, TransportConfig{Origins: []string{s.URL}, Base: &http.Transport{MaxIdleConnsPerHost: 50}})}
	t.Cleanup(client.CloseIdleConnections)
	shared := append(make([]string, 0, 4), "all")
	const workers, rounds = 50, 4
	for round := range rounds {
		valid.Store(int64(round))
		errs := make(chan error, workers)
		for i := range workers {
			go func() {
				want := fmt.Sprint("body ", i)
				req, err := http.NewRequestWithContext(t.Context(), "POST", s.URL, strings.NewReader(want))
				if err != nil {
					errs <- err
					return
				}
				req.Header["X-Shared"] = shared
				resp, err := client.Do(req)
				if err != nil {
					errs <- err
					return
				}
				got, err := io.ReadAll(resp.Body)
				_ = resp.Body.Close()
				if string(got) != "all "+want {
					err = fmt.Errorf("%d %q, %v; want %q", resp.StatusCode, got, err, "all "+want)
				}
				errs <- err
			}()
		}
		for range workers {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
		if n := auth.n.Load(); n != int64(round) {
			t.Errorf("round %d: token %d, want one new token a revocation", round, n)
		}
	}
}
