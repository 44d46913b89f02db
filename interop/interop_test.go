package interop

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/sources/oauth2"
)

const (
	clientID = "daemon:7 %41" // form-encoding is what keeps it whole
	// clientSecret has what breaks clients that leave out the form-encoding of
	// RFC 6749, section 2.3.1, or do it twice.
	clientSecret = "s:e+c%r%41&e=t?\"\\ ~é"

	readers = 200
	runs    = 12 * time.Second
	// pause is what a reader waits between two requests. It leaves room on a small or busy
	// machine: a request that takes as long as a token lives may be refused twice.
	pause = time.Second
)

func TestClientCredentials(t *testing.T) {
	t.Parallel()
	srv := newServer(t, clientID, clientSecret)
	var gaps gapCounter
	ts := newTokenSource(t, &oauth2.ClientCredentials{
		TokenURL: srv.URL + "/token", ClientID: clientID, ClientSecret: renew.NewSecret(clientSecret), Scopes: []string{"api"},
	}, renew.Config{Hooks: renew.Hooks{Changed: gaps.changed}})
	served := load(t, srv, ts, func(tok *renew.Token) error {
		status, _, err := srv.post(t, "/revoke", url.Values{"token": {tok.Value.Reveal()}, "token_type_hint": {"access_token"}})
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("status %d", status)
		}
		return err
	})
	c, st := srv.count(), ts.Status()
	report(t, c)
	check(t, c, served, 4)
	if st.Issues != uint64(c.tokens) || st.Reissues != 0 {
		t.Errorf("the TokenSource says %d issues, %d reissues; the server %d token requests", st.Issues, st.Reissues, c.tokens)
	}
	if c.replays == 0 || st.Rejected != 1 {
		t.Errorf("401s = %d, tokens rejected = %d; want some, and the revoked one", c.replays, st.Rejected)
	}
	if st.BudgetLeft != 3 {
		t.Errorf("units of the budget left = %d, want 3: one went for the revoked token", st.BudgetLeft)
	}
	if err := ts.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	gaps.check(t, c, st)
}

func TestRefreshTokenRotation(t *testing.T) {
	t.Parallel()
	srv := newServer(t, clientID, clientSecret)
	store := &tokenStore{tokens: []string{srv.login(t)}}
	first := &oauth2.RefreshToken{
		TokenURL: srv.URL + "/token", ClientID: clientID, ClientSecret: renew.NewSecret(clientSecret), RefreshTokenFunc: store.newest,
	}
	var gaps gapCounter
	ts := newTokenSource(t, first, renew.Config{Hooks: renew.Hooks{Rotated: store.rotated, Changed: gaps.changed}})
	served := load(t, srv, ts, func(tok *renew.Token) error { return srv.revokeAccessToken(t, tok.Value.Reveal()) })
	c, st := srv.count(), ts.Status()
	report(t, c)
	check(t, c, served, 4)
	if st.Issues != 1 || st.Reissues != uint64(c.tokens-1) {
		t.Errorf("the TokenSource says %d issues, %d reissues; want 1, and %d", st.Issues, st.Reissues, c.tokens-1)
	}
	// Each rotation ends the old access token before the new one has arrived, so readers are refused
	// while the flight is under way; that costs nothing.
	if c.replays == 0 || st.Rejected == 0 {
		t.Errorf("401s = %d, tokens rejected = %d; want some", c.replays, st.Rejected)
	}
	if st.BudgetLeft != 3 {
		t.Errorf("units of the budget left = %d, want 3: one went for the revoked token", st.BudgetLeft)
	}
	if len(store.tokens) != c.tokens+1 {
		t.Errorf("%d refresh tokens were stored, want the login's and %d", len(store.tokens), c.tokens)
	}
	if err := ts.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	gaps.check(t, c, st)

	// The next process goes on with what was stored: the login has survived.
	next := newTokenSource(t, &oauth2.RefreshToken{
		TokenURL: first.TokenURL, ClientID: clientID, ClientSecret: first.ClientSecret, RefreshTokenFunc: store.newest,
	}, renew.Config{Hooks: renew.Hooks{Rotated: store.rotated}})
	tok, err := next.Token(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := srv.get(t, tok); got != http.StatusOK {
		t.Errorf("the API answers %d to the next process, want 200", got)
	}
	if err := next.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if c := srv.count(); c.twice != 0 || c.refused != 0 {
		t.Errorf("after the restart: %v", c)
	}

	// All this has a meaning only if the server does watch for re-use.
	for _, tc := range []struct{ name, refresh string }{
		{"the first refresh token once more", store.tokens[0]},
		{"the newest one, never used, after that", store.tokens[len(store.tokens)-1]},
	} {
		status, reply, err := srv.post(t, "/token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {tc.refresh}})
		if err != nil || status != http.StatusBadRequest || !strings.Contains(reply, "invalid_grant") {
			t.Errorf("%s: status %d, %v; want 400 invalid_grant", tc.name, status, err)
		}
	}
	if got := srv.get(t, tok); got != http.StatusUnauthorized {
		t.Errorf("the API answers %d to the last access token of the dead login, want 401", got)
	}
	if c := srv.count(); c.twice != 1 {
		t.Errorf("refresh tokens used twice = %d after one was, want 1", c.twice)
	}
}

// The secret in any of the ways that a client may send it, and a wrong one.
func TestClientAuthentication(t *testing.T) {
	srv := newServer(t, clientID, clientSecret)
	for _, tc := range []struct {
		name   string
		style  oauth2.AuthStyle
		secret string
		want   bool
	}{
		{"in the header", oauth2.InHeader, clientSecret, true},
		{"in the body", oauth2.InParams, clientSecret, true},
		{"wrong, in the header", oauth2.InHeader, clientSecret + " ", false},
		{"wrong, in the body", oauth2.InParams, url.QueryEscape(clientSecret), false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			before := srv.count()
			ts := newTokenSource(t, &oauth2.ClientCredentials{
				TokenURL: srv.URL + "/token", ClientID: clientID, ClientSecret: renew.NewSecret(tc.secret), AuthStyle: tc.style, Scopes: []string{"api"},
			}, renew.Config{})
			tok, err := ts.Token(t.Context())
			switch {
			case tc.want && err != nil:
				t.Error(err)
			case tc.want:
				if got := srv.get(t, tok); got != http.StatusOK {
					t.Errorf("the API answers %d, want 200", got)
				}
			default:
				if ie, ok := asIssueError(err); !ok || ie.Code != "invalid_client" || !ie.Permanent {
					t.Errorf("Token = %v, want invalid_client for good", err)
				}
			}
			if c := srv.count(); c.tokens != before.tokens+1 {
				t.Errorf("token requests = %d, want 1", c.tokens-before.tokens)
			}
		})
	}
}

// load has 200 goroutines read through a Transport for 12 s, while the timer
// replaces the token every 3 s and the server revokes one in mid-run. It returns how many
// requests were answered 200.
func load(t *testing.T, srv *server, ts *renew.TokenSource, revoke func(*renew.Token) error) (served int) {
	t.Helper()
	base := &http.Transport{MaxIdleConnsPerHost: readers}
	defer base.CloseIdleConnections()
	tr, err := renew.NewTransport(ts, renew.TransportConfig{Origins: []string{srv.URL}, Base: base})
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: tr, Timeout: 10 * time.Second}
	ctx, cancel := context.WithTimeout(t.Context(), runs)
	defer cancel()
	var wg sync.WaitGroup
	var ok, bad atomic.Int64
	for reader := range readers {
		wg.Go(func() {
			// All ask at once while there is no token, and then one after the other.
			for n, wait := 0, pause*time.Duration(reader)/readers; ctx.Err() == nil; n, wait = n+1, pause {
				if err := read(t.Context(), client, srv.URL+"/api", fmt.Sprintf("%d.%d", reader, n)); err == nil {
					ok.Add(1)
				} else if bad.Add(1) <= 5 {
					t.Errorf("reader %d, request %d: %v", reader, n, err)
				}
				select {
				case <-ctx.Done():
				case <-time.After(wait):
				}
			}
		})
	}
	wg.Go(func() {
		if err := inMidRun(ctx, ts, revoke); err != nil {
			t.Errorf("the revocation: %v", err)
		}
	})
	wg.Wait()
	if n := bad.Load(); n > 0 {
		t.Errorf("%d requests failed", n)
	}
	quiet(t, ts)
	return int(ok.Load())
}

// quiet waits until no flight runs, nor will for a second, so that server and
// TokenSource have counted the same. Close would also end a rotation half-way, and with it the login.
func quiet(t *testing.T, ts *renew.TokenSource) {
	t.Helper()
	for range 1000 {
		if st := ts.Status(); st.Next == renew.ActionReissue && time.Until(st.NextAt) > time.Second {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("no quiet moment: %+v", ts.Status())
}

// gapCounter counts how often a TokenSource was left without a usable token.
type gapCounter struct{ atomic.Int64 }

func (g *gapCounter) changed(c renew.Change) {
	if c.From.Usable() && !c.To.Usable() && c.To != renew.StateClosed {
		g.Add(1)
	}
}

// check wants two reissues or more by timer: of all token requests, those that were neither the
// first, nor for the revoked token, nor for one that had run out. The TokenSource has been closed.
func (g *gapCounter) check(t *testing.T, c count, st renew.Status) {
	t.Helper()
	ranOut := int(g.Load()) - int(st.Rejected)
	if got := c.tokens - 2 - ranOut; got < 2 {
		t.Errorf("reissues by timer = %d, want 2 or more: %d tokens ran out", got, ranOut)
	}
}

// inMidRun revokes the current token when a third of the run is over, a little after the timer
// has replaced it: so no request is refused twice, for which a Transport has no answer.
func inMidRun(ctx context.Context, ts *renew.TokenSource, revoke func(*renew.Token) error) error {
	time.Sleep(runs / 3)
	before := ts.Status().Generation
	for ts.Status().Generation == before {
		if ctx.Err() != nil {
			return fmt.Errorf("no token was reissued after a third of the run: %w", ctx.Err())
		}
		time.Sleep(10 * time.Millisecond)
	}
	time.Sleep(500 * time.Millisecond)
	tok, err := ts.Token(ctx)
	if err != nil {
		return err
	}
	return revoke(tok)
}

// read makes one request.
func read(ctx context.Context, client *http.Client, url, id string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	req.Header.Set(requestID, id)
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", resp.StatusCode)
	}
	return nil
}

// check is what each run must show on the server's side. least is how many tokens it
// takes: one when all was cold, one after a refusal, and the others by timer, every 2.4 s to 4 s.
func check(t *testing.T, c count, served, least int) {
	t.Helper()
	if c.api == 0 || c.api != served || c.failed != 0 {
		t.Errorf("API requests = %d, failed = %d, answered 200 for the readers = %d; want all served", c.api, c.failed, served)
	}
	if c.most != 1 {
		t.Errorf("token requests in flight = %d at most, want 1", c.most)
	}
	if c.twice != 0 {
		t.Errorf("refresh tokens used twice = %d, want 0", c.twice)
	}
	if c.refused != 0 {
		t.Errorf("token requests refused = %d, want 0", c.refused)
	}
	if c.tokens < least || c.tokens > 8 {
		t.Errorf("token requests = %d, want %d to 8", c.tokens, least)
	}
}
