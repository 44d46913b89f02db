package oauth2

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/sources/internal/leaktest"
)

// rotating answers each refresh token with the next one, and revokes the login
// when it sees one again (RFC 9700, section 4.14.2).
func rotating(t *testing.T) *issuer {
	used, revoked := make(map[string]bool), false
	var mu sync.Mutex
	return newIssuer(t, func(n int, form url.Values) (int, string) {
		mu.Lock()
		defer mu.Unlock()
		r := form.Get("refresh_token")
		if revoked = revoked || used[r]; revoked {
			t.Errorf("refresh token %q came again: the login is revoked", r)
			return 400, `{"error":"invalid_grant"}`
		}
		used[r] = true
		return 200, fmt.Sprintf(`{"access_token":"a%d","expires_in":60,"refresh_token":"r%d"}`, n, n)
	})
}

func public(u, token string) *RefreshToken {
	return &RefreshToken{TokenURL: u, ClientID: "id", AuthStyle: None, RefreshToken: renew.NewSecret(token)}
}

// wantInteraction says that an Issue was refused without a request, because its
// refresh token was traded.
func wantInteraction(t *testing.T, err error) {
	t.Helper()
	e := issueError(t, err)
	if !errors.Is(err, renew.ErrInteractionRequired) || e.Kind != renew.Refused || !e.Permanent || !e.Unsent {
		t.Errorf("err = %#v, want ErrInteractionRequired, refused, permanent, unsent", e)
	}
	if !strings.Contains(err.Error(), "already rotated") || !strings.Contains(err.Error(), "log in again") {
		t.Errorf("err = %v, want it to say what to do", err)
	}
}

func TestRotatedTokenIsNeverSentAgain(t *testing.T) {
	srv := rotating(t)
	src := public(srv.URL, oddToken)
	tok, err := src.Issue(t.Context())
	if err != nil || tok.Refresh.Reveal() != "r1" {
		t.Fatalf("Issue = %+v, %v", tok, err)
	}
	first := tok
	for i := range 2 * maxRecent {
		if tok, err = src.Reissue(t.Context(), tok); err != nil || tok.Refresh.Reveal() != fmt.Sprint("r", i+2) {
			t.Fatalf("Reissue = %+v, %v", tok, err)
		}
	}
	n := len(srv.forms)
	// However many rotations ago it was: the configured token stays in the configuration.
	for range 3 {
		_, err = src.Issue(t.Context())
		wantInteraction(t, err)
		leaktest.Check(t, err, oddToken)
	}
	// The one before the last, as a Store has it that could not write the last.
	last := &renew.Token{Refresh: renew.NewSecret(fmt.Sprint("r", 2*maxRecent))}
	_, err = src.Reissue(t.Context(), last)
	if e := issueError(t, err); e.Kind != renew.Refused || e.Permanent || !e.Unsent || errors.Is(err, renew.ErrInteractionRequired) {
		t.Errorf("Reissue with a used token: %#v, want refused, unsent, so that Issue is asked", e)
	}
	if len(srv.forms) != n {
		t.Errorf("requests = %d, want none for used tokens", len(srv.forms)-n)
	}
	if got := srv.sent("refresh_token"); got[0] != oddToken || got[1] != first.Refresh.Reveal() {
		t.Errorf("sent %q first, want the configured token, then the reply's", got[:2])
	}
}

// RFC 6749, section 6: the server MAY issue a new refresh token. Without one the
// old one stays good, for Issue too.
func TestRefreshTokenIsCarriedOver(t *testing.T) {
	for name, member := range map[string]string{"missing": ``, "null": `,"refresh_token":null`, "empty": `,"refresh_token":""`, "the same": `,"refresh_token":"r0"`} {
		t.Run(name, func(t *testing.T) {
			srv := newIssuer(t, always(200, `{"access_token":"abc"`+member+`}`))
			src := public(srv.URL, "r0")
			tok, err := src.Issue(t.Context())
			for range 3 {
				if err != nil || tok.Refresh.Reveal() != "r0" {
					t.Fatalf("token %+v, %v, want refresh token r0", tok, err)
				}
				tok, err = src.Reissue(t.Context(), tok)
			}
			if _, err := src.Issue(t.Context()); err != nil {
				t.Errorf("Issue again: %v, want a token", err)
			}
			if got := srv.sent("refresh_token"); !slices.Equal(got, []string{"r0", "r0", "r0", "r0", "r0"}) {
				t.Errorf("sent %q, want r0 each time", got)
			}
		})
	}
}

// A server may begin to rotate late: the configured token is then spent by a Reissue.
func TestConfiguredTokenRotatedByReissue(t *testing.T) {
	srv := newIssuer(t, func(n int, _ url.Values) (int, string) {
		if n < 3 {
			return 200, `{"access_token":"abc"}`
		}
		return 200, fmt.Sprintf(`{"access_token":"abc","refresh_token":"r%d"}`, n)
	})
	src := public(srv.URL, "r0")
	tok, err := src.Issue(t.Context())
	for range 3 * maxRecent {
		if err != nil {
			t.Fatal(err)
		}
		tok, err = src.Reissue(t.Context(), tok)
	}
	_, err = src.Issue(t.Context())
	wantInteraction(t, err)
	if n := len(srv.forms); n != 1+3*maxRecent {
		t.Errorf("requests = %d, want none for the rotated token", n)
	}
}

func TestUnknownOutcomeSendsTheSameTokenAgain(t *testing.T) {
	srv := newIssuer(t, func(n int, _ url.Values) (int, string) {
		if n == 1 {
			return 0, ""
		}
		return 200, `{"access_token":"abc","refresh_token":"r1"}`
	})
	src := public(srv.URL, "r0")
	_, err := src.Issue(t.Context())
	if e := issueError(t, err); e.Kind != renew.Transient || e.Unsent {
		t.Fatalf("err = %#v, want transient, not unsent", e)
	}
	if _, err := src.Issue(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := srv.sent("refresh_token"); !slices.Equal(got, []string{"r0", "r0"}) {
		t.Errorf("sent %q, want r0 twice", got)
	}
}

// After a new login the function has a new token, and all works again.
func TestRefreshTokenFuncEndsIt(t *testing.T) {
	srv := rotating(t)
	stored := "login-1"
	src := &RefreshToken{TokenURL: srv.URL, ClientID: "id", AuthStyle: None, RefreshTokenFunc: func(context.Context) (renew.Secret, error) { return renew.NewSecret(stored), nil }}
	tok, err := src.Issue(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, err = src.Issue(t.Context())
	wantInteraction(t, err)

	stored = tok.Refresh.Reveal() // what Hooks.Rotated would have stored
	if tok, err = src.Issue(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err = src.Reissue(t.Context(), tok); err != nil { // and this one was not stored
		t.Fatal(err)
	}
	_, err = src.Issue(t.Context())
	wantInteraction(t, err)

	stored = "login-2"
	if _, err = src.Issue(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// A token that Reissue traded, and that the function then returns, is not sent either.
func TestTokenOnlyReissueKnewIsRemembered(t *testing.T) {
	srv := rotating(t)
	stored := "r0"
	src := &RefreshToken{TokenURL: srv.URL, ClientID: "id", AuthStyle: None, RefreshTokenFunc: func(context.Context) (renew.Secret, error) { return renew.NewSecret(stored), nil }}
	tok, err := src.Issue(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	stored = tok.Refresh.Reveal()
	if _, err = src.Reissue(t.Context(), tok); err != nil {
		t.Fatal(err)
	}
	_, err = src.Issue(t.Context())
	wantInteraction(t, err)
}

func TestReissueWithoutRefreshTokenIssues(t *testing.T) {
	srv := newIssuer(t, always(200, `{"access_token":"abc"}`))
	src := public(srv.URL, "r0")
	for _, live := range []*renew.Token{nil, {Value: renew.NewSecret("old")}} {
		if tok, err := src.Reissue(t.Context(), live); err != nil || tok.Refresh.Reveal() != "r0" {
			t.Errorf("Reissue(%v) = %v, %v", live, tok, err)
		}
	}
}

func TestRefreshTokenSendsOddText(t *testing.T) {
	srv := newIssuer(t, always(200, `{"access_token":"abc"}`))
	for _, style := range []AuthStyle{InHeader, InParams} {
		src := &RefreshToken{TokenURL: srv.URL, ClientID: oddID, ClientSecret: renew.NewSecret(oddSecret), AuthStyle: style, RefreshToken: renew.NewSecret(oddToken), Scopes: []string{"a", "b"}}
		if _, err := src.Issue(t.Context()); err != nil {
			t.Fatal(err)
		}
		want := url.Values{"grant_type": {"refresh_token"}, "client_id": {oddID}, "client_secret": {oddSecret}, "refresh_token": {oddToken}, "scope": {"a b"}}
		if got := srv.forms[len(srv.forms)-1]; got.Encode() != want.Encode() {
			t.Errorf("style %d: sent %v, want %v", style, got, want)
		}
	}
}

// The engine may call again while an abandoned call still runs (R8).
func TestConcurrentUse(t *testing.T) {
	srv := newIssuer(t, func(n int, _ url.Values) (int, string) {
		return 200, fmt.Sprintf(`{"access_token":"a%d","refresh_token":"r%d"}`, n, n)
	})
	var n atomic.Int32
	src := &RefreshToken{TokenURL: srv.URL, ClientID: "id", AuthStyle: None, RefreshTokenFunc: func(context.Context) (renew.Secret, error) {
		return renew.NewSecret(fmt.Sprint("login-", n.Add(1))), nil
	}}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			tok, err := src.Issue(t.Context())
			for range 10 {
				if err != nil {
					t.Error(err)
					return
				}
				tok, err = src.Reissue(t.Context(), tok)
			}
			src.Describe()
		})
	}
	wg.Wait()
	seen := make(map[string]bool)
	for _, r := range srv.sent("refresh_token") {
		if seen[r] {
			t.Errorf("%q was sent twice", r)
		}
		seen[r] = true
	}
	if len(src.used.recent) > maxRecent {
		t.Errorf("%d tokens remembered, want at most %d", len(src.used.recent), maxRecent)
	}
}

func TestLedgerKeepsNoText(t *testing.T) {
	var l ledger
	l.configure(renew.NewSecret(oddToken))
	l.trade(renew.NewSecret(oddToken))
	l.trade(renew.NewSecret(oddSecret))
	leaktest.Check(t, &l, oddToken, oddSecret)
	if !l.configured[sha256.Sum256([]byte(oddToken))] || len(l.recent) != 1 {
		t.Errorf("ledger %+v", &l)
	}
}
