package crtauth_test

import (
	"context"
	"crypto/rsa"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/renewtest"
	"github.com/seed-f29168f7/renew/sources/crtauth"
	"github.com/seed-f29168f7/renew/sources/crtauth/crtauthtest"
)

// harness is the kit's, over a server without a network.
func harness(opts crtauthtest.Options, signer crtauth.Signer) renewtest.Harness {
	h, src := newServer(opts)
	if signer != nil {
		src.Signer = signer
	}
	k := keys()["k2048"]
	echo := func(w http.ResponseWriter, r *http.Request, code int) {
		w.Header().Set("X-CHAP", r.Header.Get("X-CHAP"))
		w.WriteHeader(code)
		_, _ = io.WriteString(w, "you sent "+r.Header.Get("X-CHAP"))
	}
	return renewtest.Harness{
		Source:      src,
		Secrets:     []string{k.PKCS1, k.OpenSSH, private("k2048").D.String()},
		SameTokenOK: true, // two tokens of one second are the same
		Accepted:    func(t *renew.Token) bool { return h.Accepts(t.Value.Reveal()) },
		Break:       func() { h.Intercept(answer(func(w http.ResponseWriter, r *http.Request) { echo(w, r, 500) })) },
		Throttle: func() {
			h.Intercept(answer(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Retry-After", "7")
				echo(w, r, 429)
			}))
		},
		Refuse: func() { h.Intercept(response(func(w http.ResponseWriter, r *http.Request) { echo(w, r, 403) })) },
		Hang:   func() { h.Intercept(answer(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })) },
		Heal:   func() { h.Intercept(nil) },
	}
}

func TestKit(t *testing.T) {
	for name, opts := range map[string]crtauthtest.Options{"python": {}, "java": {Java: true}} {
		t.Run(name, func(t *testing.T) {
			renewtest.RunSourceInBubble(t, func(*testing.T) renewtest.Harness { return harness(opts, nil) })
		})
	}
}

func TestKitAgent(t *testing.T) {
	renewtest.RunSource(t, func(t *testing.T) renewtest.Harness {
		_, path := keyring(t, "k2048_other", "k2048")
		return harness(crtauthtest.Options{}, crtauth.Signers{&crtauth.Agent{Socket: path}, pemKey("k2048_other")})
	})
}

// For an hour every call has a token that the server takes, and each login is one signature.
func TestR12_TokensAreRenewedBeforeTheyEnd(t *testing.T) {
	for _, lifetime := range []time.Duration{time.Second, 2 * time.Second, 5 * time.Second, time.Minute, 598 * time.Second} {
		t.Run(lifetime.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				time.Sleep(300 * time.Millisecond) // servers count whole seconds
				h, src := newServer(crtauthtest.Options{Lifetime: lifetime})
				key := &slow{Signer: src.Signer}
				src.Signer = key
				ts, err := renew.New(src, renew.Config{})
				require.NoError(t, err)
				tr, err := renew.NewTransport(ts, renew.TransportConfig{Origins: []string{origin}, Base: inProcess{h}})
				require.NoError(t, err)
				runs := min(time.Hour, 100*lifetime)
				calls := 0
				for start := time.Now(); time.Since(start) < runs; calls++ {
					req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, origin+"/x", nil)
					require.NoError(t, err)
					resp, err := tr.RoundTrip(req)
					require.NoError(t, err)
					if lifetime > time.Second {
						assert.Equal(t, 200, resp.StatusCode)
					}
					resp.Body.Close()
					time.Sleep(lifetime / 20)
				}
				c := h.Counts()
				t.Logf("%d calls, %+v", calls, c)
				if lifetime > time.Second { // a server counts whole seconds: one of its tokens may live for none
					assert.Zero(t, c.Unauthorized)
				}
				assert.EqualValues(t, c.Logins, key.signed.Load())
				lives := int(runs / lifetime)
				assert.GreaterOrEqual(t, c.Logins, lives)
				assert.Less(t, c.Logins, 4*lives+4, "a storm")
				require.NoError(t, ts.Close(t.Context()))
			})
		})
	}
}

// A server whose tokens never work is asked for one more, and then its 401 is the answer.
func TestR22_TokensThatNeverWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, src := newServer(crtauthtest.Options{Lifetime: 600 * time.Second})
		ts, err := renew.New(src, renew.Config{})
		require.NoError(t, err)
		tr, err := renew.NewTransport(ts, renew.TransportConfig{Origins: []string{origin}, Base: inProcess{h}})
		require.NoError(t, err)
		for range 50 {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, origin+"/x", nil)
			require.NoError(t, err)
			resp, err := tr.RoundTrip(req)
			require.NoError(t, err)
			assert.Equal(t, 401, resp.StatusCode)
			resp.Body.Close()
			time.Sleep(2 * time.Second) // tokens of one second are the same
		}
		assert.LessOrEqual(t, h.Counts().Logins, 6)
		require.NoError(t, ts.Close(t.Context()))
	})
}

// A body is not sent before there is a token.
func TestLoginBeforeTheBody(t *testing.T) {
	bodies := atomic.Int32{}
	h, src := newServer(crtauthtest.Options{Protected: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		if string(b) == "hello crtauth body" {
			bodies.Add(1)
		}
	})})
	ts, err := renew.New(src, renew.Config{})
	require.NoError(t, err)
	defer ts.Close(t.Context())
	tr, err := renew.NewTransport(ts, renew.TransportConfig{Origins: []string{origin}, Base: inProcess{h}})
	require.NoError(t, err)
	// A reader of its own kind: it can be sent once only.
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, origin+"/thing", struct{ io.Reader }{strings.NewReader("hello crtauth body")})
	require.NoError(t, err)
	resp, err := tr.RoundTrip(req)
	require.NoError(t, err)
	assert.Equal(t, 200, resp.StatusCode)
	assert.EqualValues(t, 1, bodies.Load())
	assert.Zero(t, h.Counts().Unauthorized)
}

// The token of one origin goes to no other.
func TestR28_TokenPerOrigin(t *testing.T) {
	var servers [2]*crtauthtest.Server
	var sent [2][]string
	for i := range servers {
		opts := crtauthtest.Options{Secret: string(rune('a' + i)), Users: map[string]*rsa.PublicKey{"alice": &private("k2048").PublicKey}}
		opts.Protected = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { sent[i] = append(sent[i], r.Header.Get("Authorization")) })
		servers[i] = crtauthtest.NewServer(opts)
		defer servers[i].Close()
	}
	m, err := renew.NewManager(renew.Config{})
	require.NoError(t, err)
	defer m.Close(t.Context())
	auth := crtauth.PerOrigin(m, crtauth.Source{User: "alice", Signer: pemKey("k2048")}, renew.Config{})
	tr, err := renew.NewTransport(auth, renew.TransportConfig{Origins: []string{servers[0].URL, servers[1].URL}})
	require.NoError(t, err)
	client := &http.Client{Transport: tr}
	for range 3 {
		for _, srv := range servers {
			resp, err := client.Get(srv.URL + "/x")
			require.NoError(t, err)
			resp.Body.Close()
			assert.Equal(t, 200, resp.StatusCode)
		}
	}
	for i, srv := range servers {
		assert.Equal(t, crtauthtest.Counts{Challenges: 1, Logins: 1, Served: 3}, srv.Counts())
		require.Len(t, sent[i], 3)
		assert.True(t, strings.HasPrefix(sent[i][0], "chap:"))
	}
	assert.NotEqual(t, sent[0][0], sent[1][0])

	// A name for all origins would undo the check of the server's name.
	auth = crtauth.PerOrigin(m, crtauth.Source{User: "alice", Signer: pemKey("k2048"), ServerName: "127.0.0.1"}, renew.Config{})
	_, err = auth.New("https://api.example")
	ce, ok := errors.AsType[*renew.ConfigError](err)
	require.True(t, ok)
	assert.Equal(t, "Source.ServerName", ce.Field)
}

// R17: a 401 in the very second of the login: servers make a token of the user and the second, and the same one again
// would count as a refusal (R11), so the next login waits for the next second.
func TestR17_RejectedInTheSecondOfItsLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, src := newServer(crtauthtest.Options{})
		ts, err := renew.New(src, renew.Config{})
		require.NoError(t, err)
		tok, err := ts.Token(t.Context())
		require.NoError(t, err)
		began := time.Now()
		next, err := ts.Reject(t.Context(), tok)
		require.NoError(t, err)
		assert.NotEqual(t, tok.Value.Reveal(), next.Value.Reveal())
		assert.Equal(t, time.Second, time.Since(began))
		assert.InDelta(t, tok.Life+time.Second, next.Life, float64(10*time.Millisecond), "life is counted from the start of the call, which waited")
		assert.Equal(t, crtauthtest.Counts{Challenges: 2, Logins: 2}, h.Counts())
		assert.Equal(t, 3, ts.Status().BudgetLeft, "one unit for the login that followed the 401")

		// The wait ends with its context, and nothing is sent.
		ctx, cancel := context.WithCancelCause(t.Context())
		mine := errors.New("shutting down")
		cancel(mine)
		_, err = src.Issue(ctx)
		require.ErrorIs(t, err, mine)
		assert.Equal(t, crtauthtest.Counts{Challenges: 2, Logins: 2}, h.Counts())
		require.NoError(t, ts.Close(t.Context()))
	})
}

// An agent that comes late costs no unit: the timer gets the token when it is there.
func TestR18_AgentTroubleCostsNoUnit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var down atomic.Bool
		h, src := newServer(crtauthtest.Options{})
		good := src.Signer
		src.Signer = signerFunc(func(ctx context.Context) ([]crtauth.Key, error) {
			if down.Load() {
				return nil, errors.New("the agent is locked")
			}
			return good.Keys(ctx)
		})
		ts, err := renew.New(src, renew.Config{})
		require.NoError(t, err)
		tok, err := ts.Token(t.Context())
		require.NoError(t, err)
		down.Store(true)
		time.Sleep(1200 * time.Millisecond) // or the next token would be the same
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		_, err = ts.Reject(ctx, tok)
		require.ErrorContains(t, err, "locked")
		assert.Equal(t, 4, ts.Status().BudgetLeft)
		time.Sleep(5 * time.Minute)
		assert.Equal(t, 4, ts.Status().BudgetLeft)
		assert.Equal(t, 1, h.Counts().Challenges, "nothing is sent without a key")
		down.Store(false)
		time.Sleep(time.Minute)
		_, err = ts.Token(t.Context())
		require.NoError(t, err)
		require.NoError(t, ts.Close(t.Context()))
	})
}
