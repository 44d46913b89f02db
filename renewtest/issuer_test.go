package renewtest

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-f29168f7/renew/clock"
)

// inBoth runs f with an Issuer in memory, in a bubble, and with one over loopback.
func inBoth(t *testing.T, cfg IssuerConfig, f func(t *testing.T, iss *Issuer)) {
	t.Helper()
	t.Run("bubble", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			iss := NewIssuer(cfg)
			defer iss.Close()
			f(t, iss)
		})
	})
	t.Run("loopback", func(t *testing.T) {
		iss := NewIssuer(cfg)
		iss.Start()
		defer iss.Close()
		f(t, iss)
	})
}

// answer is a reply of the Issuer, read whole.
type answer struct {
	status int
	header http.Header
	body   string
	reply  struct {
		AccessToken  string          `json:"access_token"`
		TokenType    string          `json:"token_type"`
		ExpiresIn    json.RawMessage `json:"expires_in"`
		ExpiresAt    int64           `json:"expires_at"`
		RefreshToken string          `json:"refresh_token"`
		Scope        string          `json:"scope"`
		Error        string          `json:"error"`
		Token        int             `json:"token"`
		Body         int             `json:"body"`
	}
}

func send(t *testing.T, c *http.Client, req *http.Request) (answer, error) {
	t.Helper()
	resp, err := c.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	a := answer{status: resp.StatusCode, header: resp.Header, body: string(body)}
	_ = json.Unmarshal(body, &a.reply)
	return a, err
}

// ask sends a token request with Basic authentication.
func ask(t *testing.T, iss *Issuer, ctx context.Context, form url.Values) (answer, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, "POST", iss.TokenURL(), strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(url.QueryEscape(iss.ClientID()), url.QueryEscape(iss.ClientSecret()))
	return send(t, iss.Client(), req)
}

var clientCredentials = url.Values{"grant_type": {"client_credentials"}}

func withRefresh(token string) url.Values {
	return url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}}
}

func mustAsk(t *testing.T, iss *Issuer, form url.Values) answer {
	t.Helper()
	a, err := ask(t, iss, context.Background(), form)
	if err != nil {
		t.Fatalf("token request: %v", err)
	}
	return a
}

// callAPI calls the API with an Authorization header.
func callAPI(t *testing.T, iss *Issuer, authorization string) answer {
	t.Helper()
	req, _ := http.NewRequest("POST", iss.APIURL()+"/things", strings.NewReader("12345"))
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	a, err := send(t, iss.Client(), req)
	if err != nil {
		t.Fatalf("API: %v", err)
	}
	return a
}

func TestIssuerGrants(t *testing.T) {
	inBoth(t, IssuerConfig{Life: 90*time.Second + 500*time.Millisecond, Extra: map[string]any{"x": 1}}, func(t *testing.T, iss *Issuer) {
		a := mustAsk(t, iss, url.Values{"grant_type": {"client_credentials"}, "scope": {"read write"}})
		if a.status != 200 || a.reply.AccessToken == "" || a.reply.TokenType != "Bearer" || string(a.reply.ExpiresIn) != "90" ||
			a.reply.Scope != "read write" || a.reply.RefreshToken != "" || !strings.Contains(a.body, `"x":1`) {
			t.Fatalf("reply = %d %s", a.status, a.body)
		}
		if h := a.header; h.Get("Cache-Control") != "no-store" || h.Get("Content-Type") != "application/json" {
			t.Errorf("header = %v", h)
		}
		if b := mustAsk(t, iss, clientCredentials); b.reply.AccessToken == a.reply.AccessToken {
			t.Error("two grants returned one access token")
		}
		if got := callAPI(t, iss, "Bearer "+a.reply.AccessToken); got.status != 200 || got.reply.Token != 1 || got.reply.Body != 5 {
			t.Errorf("API with a live token = %d %s", got.status, got.body)
		}
		if got := callAPI(t, iss, ""); got.status != 401 || got.header.Get("WWW-Authenticate") != `Bearer realm="renewtest"` {
			t.Errorf("API without a token = %d %v", got.status, got.header)
		}
		got := callAPI(t, iss, "Bearer nonsense")
		if got.status != 401 || got.header.Get("WWW-Authenticate") != `Bearer realm="renewtest", error="invalid_token"` {
			t.Errorf("API with a wrong token = %d %v", got.status, got.header)
		}
		if !iss.Revoke(a.reply.AccessToken) || iss.Revoke("nonsense") {
			t.Error("Revoke does not report what it knew")
		}
		if got := callAPI(t, iss, "Bearer "+a.reply.AccessToken); got.status != 401 {
			t.Errorf("API with a revoked token = %d", got.status)
		}
		c := iss.Counts()
		if c.TokenRequests != 2 || c.Issued != 2 || c.ByGrant["client_credentials"] != 2 || c.Refused != 0 || c.InFlight != 0 ||
			c.APIRequests != 4 || c.APIUnauthorized != 3 || c.MaxInFlight != 1 || c.MaxInFlightByClient[DefaultClientID] != 1 {
			t.Errorf("counts = %+v", c)
		}
	})
}

// RFC 6749, sections 2.3.1, 3.2 and 5.2.
func TestIssuerClientAuthentication(t *testing.T) {
	const id, secret = "id: with/strange&%+é", "p:ä ss+/%=&word\""
	qid, qsecret := url.QueryEscape(id), url.QueryEscape(secret)
	basic := func(user, password string) string {
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
	}
	const grant = "grant_type=client_credentials"
	inForm := grant + "&client_id=" + qid + "&client_secret=" + qsecret
	tests := []struct {
		name, method, query, contentType string
		auth                             []string
		body                             string
		status                           int
		code                             string
	}{
		{name: "Basic, encoded", auth: []string{basic(qid, qsecret)}, body: grant, status: 200},
		{name: "Basic, lower case scheme", auth: []string{strings.Replace(basic(qid, qsecret), "Basic", "basic", 1)}, body: grant, status: 200},
		{name: "Basic and the same client_id in the form", auth: []string{basic(qid, qsecret)}, body: grant + "&client_id=" + qid, status: 200},
		{name: "in the form", body: inForm, status: 200},
		{name: "in the form, charset", contentType: "application/x-www-form-urlencoded; charset=utf-8", body: inForm, status: 200},
		{name: "unknown parameter", body: inForm + "&audience=x", status: 200},
		{name: "Basic, not encoded", auth: []string{basic(id, secret)}, body: grant, status: 401, code: "invalid_client"},
		{name: "Basic, wrong secret", auth: []string{basic(qid, qsecret+"x")}, body: grant, status: 401, code: "invalid_client"},
		{name: "Basic, prefix of the secret", auth: []string{basic(qid, url.QueryEscape(secret[:4]))}, body: grant, status: 401, code: "invalid_client"},
		{name: "Basic, unknown client", auth: []string{basic("nobody", qsecret)}, body: grant, status: 401, code: "invalid_client"},
		{name: "Basic, no secret", auth: []string{basic(qid, "")}, body: grant, status: 401, code: "invalid_client"},
		{name: "Basic, no colon", auth: []string{"Basic " + base64.StdEncoding.EncodeToString([]byte(qid))}, body: grant, status: 401, code: "invalid_client"},
		{name: "Basic, no base64", auth: []string{"Basic !!!"}, body: grant, status: 401, code: "invalid_client"},
		{name: "another scheme", auth: []string{"Bearer abc"}, body: grant, status: 401, code: "invalid_client"},
		{name: "wrong secret in the form", body: grant + "&client_id=" + qid + "&client_secret=x", status: 401, code: "invalid_client"},
		{name: "no authentication", body: grant, status: 401, code: "invalid_client"},
		{name: "client_id alone", body: grant + "&client_id=" + qid, status: 401, code: "invalid_client"},
		{name: "both ways", auth: []string{basic(qid, qsecret)}, body: inForm, status: 400, code: "invalid_request"},
		{name: "Basic and another client_id", auth: []string{basic(qid, qsecret)}, body: grant + "&client_id=x", status: 400, code: "invalid_request"},
		{name: "two headers", auth: []string{basic(qid, qsecret), basic(qid, qsecret)}, body: grant, status: 400, code: "invalid_request"},
		{name: "secret in the query", query: "?client_id=x&client_secret=y", body: inForm, status: 400, code: "invalid_request"},
		{name: "parameter twice", body: inForm + "&scope=a&scope=b", status: 400, code: "invalid_request"},
		{name: "form of another type", contentType: "application/json", body: inForm, status: 400, code: "invalid_request"},
		{name: "form broken", body: inForm + "&%zz", status: 400, code: "invalid_request"},
		{name: "form too long", body: inForm + "&x=" + strings.Repeat("y", maxForm), status: 400, code: "invalid_request"},
		{name: "no grant type", body: strings.TrimPrefix(inForm, grant), status: 400, code: "invalid_request"},
		{name: "unknown grant type", body: strings.Replace(inForm, "client_credentials", "password", 1), status: 400, code: "unsupported_grant_type"},
		{name: "bad scope", body: inForm + "&scope=a%22", status: 400, code: "invalid_scope"},
		{name: "GET", method: "GET", body: inForm, status: 405, code: "invalid_request"},
		{name: "no refresh token", body: strings.Replace(inForm, "client_credentials", "refresh_token", 1), status: 400, code: "invalid_request"},
		{name: "unknown refresh token", body: strings.Replace(inForm, "client_credentials", "refresh_token", 1) + "&refresh_token=x", status: 400, code: "invalid_grant"},
	}
	iss := NewIssuer(IssuerConfig{ClientID: id, ClientSecret: secret})
	defer iss.Close()
	issued, refused := 0, 0
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			method := "POST"
			if test.method != "" {
				method = test.method
			}
			req, _ := http.NewRequest(method, iss.TokenURL()+test.query, strings.NewReader(test.body))
			req.Header["Authorization"] = test.auth
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			if test.contentType != "" {
				req.Header.Set("Content-Type", test.contentType)
			}
			a, err := send(t, iss.Client(), req)
			if err != nil {
				t.Fatal(err)
			}
			if a.status != test.status || a.reply.Error != test.code || (a.reply.AccessToken != "") != (test.status == 200) {
				t.Errorf("reply = %d %s, want %d %s", a.status, a.body, test.status, test.code)
			}
			if challenged := a.header.Get("WWW-Authenticate") != ""; challenged != (a.status == 401) {
				t.Errorf("%d with WWW-Authenticate = %t", a.status, challenged)
			}
			switch a.status {
			case 200:
				issued++
			case 400, 401:
				refused++
			}
		})
	}
	if c := iss.Counts(); c.Issued != issued || c.Refused != refused || c.TokenRequests != len(tests) ||
		c.ByGrant["other"] != 1 || c.ByGrant["refresh_token"] != 2 {
		t.Errorf("counts = %+v, want %d issued, %d refused", c, issued, refused)
	}
	for _, e := range iss.Events() {
		if leaks := Leaks(e.String(), secret); leaks != nil {
			t.Errorf("event shows %v", leaks)
		}
	}
}

func TestIssuerTokenLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		iss := NewIssuer(IssuerConfig{Life: time.Minute, Skew: time.Hour, ExpiresAt: true, TokenType: "FH-AUTH"})
		defer iss.Close()
		a := mustAsk(t, iss, clientCredentials)
		if want := time.Now().Add(time.Hour + time.Minute).Unix(); a.reply.ExpiresAt != want {
			t.Errorf("expires_at = %d, want %d", a.reply.ExpiresAt, want)
		}
		if got, want := a.header.Get("Date"), time.Now().Add(time.Hour).UTC().Format(http.TimeFormat); got != want {
			t.Errorf("Date = %q, want %q", got, want)
		}
		if got := callAPI(t, iss, "Bearer "+a.reply.AccessToken).status; got != 401 {
			t.Errorf("API with another auth-scheme = %d", got)
		}
		time.Sleep(time.Minute - 1)
		if got := callAPI(t, iss, "FH-AUTH "+a.reply.AccessToken).status; got != 200 {
			t.Errorf("API before the end of the life = %d", got)
		}
		time.Sleep(time.Nanosecond)
		if got := callAPI(t, iss, "FH-AUTH "+a.reply.AccessToken).status; got != 401 {
			t.Errorf("API at the end of the life = %d", got)
		}
		iss.SetSkew(-time.Hour)
		if got, want := callAPI(t, iss, "").header.Get("Date"), time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat); got != want {
			t.Errorf("Date after SetSkew = %q, want %q", got, want)
		}
	})
}

// The Issuer's time is its Clock's: the wall for what it states, the running time for lives and pauses.
func TestIssuerOnAFakeClock(t *testing.T) {
	clk := clock.NewFake(time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC))
	iss := NewIssuer(IssuerConfig{Clock: clk, Life: time.Minute})
	defer iss.Close()
	a := mustAsk(t, iss, clientCredentials)
	if got, want := a.header.Get("Date"), "Wed, 02 Jan 2030 03:04:05 GMT"; got != want {
		t.Errorf("Date = %q, want %q", got, want)
	}
	clk.StepWall(time.Hour)
	if got, want := callAPI(t, iss, "").header.Get("Date"), "Wed, 02 Jan 2030 04:04:05 GMT"; got != want {
		t.Errorf("Date after a step = %q, want %q", got, want)
	}
	if !iss.Accepts(a.reply.AccessToken) {
		t.Error("a step of the wall clock ended a token")
	}
	clk.Advance(time.Minute)
	if iss.Accepts(a.reply.AccessToken) {
		t.Error("the token outlived its life")
	}
	iss.SetLatency(time.Minute)
	done := make(chan answer)
	go func() {
		a, _ := ask(t, iss, context.Background(), clientCredentials)
		done <- a
	}()
	if err := clk.WaitTimers(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	clk.Advance(time.Minute)
	if a := <-done; a.status != 200 || clk.Timers() != 0 {
		t.Errorf("slow request = %d, timers left = %d", a.status, clk.Timers())
	}
}

func TestIssuerStatesNoExpiry(t *testing.T) {
	for name, cfg := range map[string]IssuerConfig{"no life": {Life: -1, ExpiresAt: true}, "left out": {OmitExpiresIn: true}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				iss := NewIssuer(cfg)
				defer iss.Close()
				a := mustAsk(t, iss, clientCredentials)
				if strings.Contains(a.body, "expires") {
					t.Errorf("reply = %s", a.body)
				}
				time.Sleep(2 * time.Hour)
				if got, want := iss.Accepts(a.reply.AccessToken), cfg.Life < 0; got != want {
					t.Errorf("accepted after 2 h = %t, want %t", got, want)
				}
			})
		})
	}
}

func TestIssuerJWT(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		iss := NewIssuer(IssuerConfig{JWT: true, Life: time.Minute, Skew: time.Second})
		defer iss.Close()
		token := mustAsk(t, iss, clientCredentials).reply.AccessToken
		parts := strings.Split(token, ".")
		if len(parts) != 3 {
			t.Fatalf("token has %d parts", len(parts))
		}
		payload, err := base64.RawURLEncoding.DecodeString(parts[1])
		var claims struct {
			Sub      string
			Iat, Exp int64
		}
		if err = errors.Join(err, json.Unmarshal(payload, &claims)); err != nil {
			t.Fatal(err)
		}
		now := time.Now().Unix()
		if claims.Sub != DefaultClientID || claims.Iat != now+1 || claims.Exp != now+61 {
			t.Errorf("claims = %+v at %d", claims, now)
		}
		if callAPI(t, iss, "Bearer "+token).status != 200 || callAPI(t, iss, "Bearer "+parts[0]+"."+parts[1]+".x").status != 401 {
			t.Error("the API does not judge the JWT")
		}
	})
}

func TestIssuerRefreshRotation(t *testing.T) {
	inBoth(t, IssuerConfig{Rotate: true, Clients: map[string]string{"other": "other-secret"}}, func(t *testing.T, iss *Issuer) {
		first := mustAsk(t, iss, clientCredentials).reply
		second := mustAsk(t, iss, withRefresh(first.RefreshToken)).reply
		if second.AccessToken == "" || second.RefreshToken == "" || second.RefreshToken == first.RefreshToken {
			t.Fatalf("refreshed = %+v", second)
		}
		// The refresh token of one client is nothing to another, and that spends nothing.
		form := withRefresh(second.RefreshToken)
		form.Set("client_id", "other")
		form.Set("client_secret", "other-secret")
		req, _ := http.NewRequest("POST", iss.TokenURL(), strings.NewReader(form.Encode()))
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if a, err := send(t, iss.Client(), req); err != nil || a.reply.Error != "invalid_grant" {
			t.Errorf("refresh by another client = %v %s", err, a.body)
		}
		if !iss.Accepts(first.AccessToken) || !iss.Accepts(second.AccessToken) {
			t.Error("rotation ended an access token")
		}
		// Used again: the family ends.
		if a := mustAsk(t, iss, withRefresh(first.RefreshToken)); a.status != 400 || a.reply.Error != "invalid_grant" {
			t.Errorf("refresh token used again = %d %s", a.status, a.body)
		}
		if a := mustAsk(t, iss, withRefresh(second.RefreshToken)); a.reply.Error != "invalid_grant" {
			t.Errorf("refresh token of a revoked family = %d %s", a.status, a.body)
		}
		if iss.Accepts(first.AccessToken) || iss.Accepts(second.AccessToken) {
			t.Error("an access token of a revoked family is accepted")
		}
		if c := iss.Counts(); c.RefreshReuse != 1 || c.ByGrant["refresh_token"] != 4 || c.Issued != 2 {
			t.Errorf("counts = %+v", c)
		}
	})
}

// Two uses of one refresh token at once: one wins, the other is a reuse.
func TestIssuerRefreshRace(t *testing.T) {
	iss := NewIssuer(IssuerConfig{Rotate: true})
	defer iss.Close()
	token := iss.NewRefreshToken()
	var wg sync.WaitGroup
	var mu sync.Mutex
	good := 0
	for range 8 {
		wg.Go(func() {
			if a, err := ask(t, iss, context.Background(), withRefresh(token)); err == nil && a.status == 200 {
				mu.Lock()
				good++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if c := iss.Counts(); good != 1 || c.RefreshReuse != 7 {
		t.Errorf("granted = %d, reuses = %d, want 1 and 7", good, c.RefreshReuse)
	}
}

func TestIssuerRefreshKept(t *testing.T) {
	iss := NewIssuer(IssuerConfig{Refresh: true})
	defer iss.Close()
	token := mustAsk(t, iss, clientCredentials).reply.RefreshToken
	for range 2 {
		if a := mustAsk(t, iss, withRefresh(token)); a.status != 200 || a.reply.RefreshToken != "" {
			t.Errorf("refresh = %d %s", a.status, a.body)
		}
	}
	iss.RevokeAll()
	if a := mustAsk(t, iss, withRefresh(token)); a.status != 200 || !iss.Accepts(a.reply.AccessToken) {
		t.Errorf("refresh after RevokeAll = %d %s", a.status, a.body)
	}
	iss.Revoke(token)
	if a := mustAsk(t, iss, withRefresh(token)); a.reply.Error != "invalid_grant" {
		t.Errorf("refresh after Revoke = %d %s", a.status, a.body)
	}
}

func TestIssuerRevocationEndpoint(t *testing.T) {
	inBoth(t, IssuerConfig{Refresh: true, Clients: map[string]string{"other": "other-secret"}}, func(t *testing.T, iss *Issuer) {
		revoke := func(token, id, secret string) answer {
			req, _ := http.NewRequest("POST", iss.RevokeURL(), strings.NewReader(url.Values{"token": {token}}.Encode()))
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			req.SetBasicAuth(id, secret)
			a, err := send(t, iss.Client(), req)
			if err != nil {
				t.Fatal(err)
			}
			return a
		}
		first := mustAsk(t, iss, clientCredentials).reply
		if a := revoke(first.AccessToken, "other", "other-secret"); a.status != 400 || !iss.Accepts(first.AccessToken) {
			t.Errorf("revocation by another client = %d", a.status)
		}
		if a := revoke(first.AccessToken, DefaultClientID, "wrong"); a.status != 401 || !iss.Accepts(first.AccessToken) {
			t.Errorf("revocation with a wrong secret = %d", a.status)
		}
		if a := revoke("", DefaultClientID, DefaultClientSecret); a.reply.Error != "invalid_request" {
			t.Errorf("revocation of nothing = %d %s", a.status, a.body)
		}
		if a := revoke("unknown", DefaultClientID, DefaultClientSecret); a.status != 200 {
			t.Errorf("revocation of an unknown token = %d", a.status)
		}
		if a := revoke(first.AccessToken, DefaultClientID, DefaultClientSecret); a.status != 200 || iss.Accepts(first.AccessToken) {
			t.Errorf("revocation = %d", a.status)
		}
		second := mustAsk(t, iss, withRefresh(first.RefreshToken)).reply
		if a := revoke(first.RefreshToken, DefaultClientID, DefaultClientSecret); a.status != 200 || iss.Accepts(second.AccessToken) {
			t.Errorf("revocation of the refresh token = %d, or its access token is accepted", a.status)
		}
		if c := iss.Counts(); c.RevokeRequests != 6 || c.Revocations != 3 {
			t.Errorf("counts = %+v", c)
		}
	})
}

func TestIssuerRefuseFresh(t *testing.T) {
	iss := NewIssuer(IssuerConfig{})
	defer iss.Close()
	old := mustAsk(t, iss, clientCredentials).reply.AccessToken
	iss.RefuseFresh(true)
	fresh := mustAsk(t, iss, clientCredentials).reply.AccessToken
	if callAPI(t, iss, "Bearer "+old).status != 200 || callAPI(t, iss, "Bearer "+fresh).status != 401 {
		t.Error("RefuseFresh does not refuse the fresh token alone")
	}
	iss.RefuseFresh(false)
	if callAPI(t, iss, "Bearer "+fresh).status != 200 {
		t.Error("the fresh token is refused after RefuseFresh(false)")
	}
}

func TestIssuerSetClient(t *testing.T) {
	iss := NewIssuer(IssuerConfig{})
	defer iss.Close()
	iss.SetClient(iss.ClientID(), "changed")
	if a := mustAsk(t, iss, clientCredentials); a.status != 200 { // ask uses ClientSecret
		t.Errorf("with the new secret = %d", a.status)
	}
	iss.SetClient(iss.ClientID(), "")
	if a := mustAsk(t, iss, clientCredentials); a.reply.Error != "invalid_client" {
		t.Errorf("without a client = %d %s", a.status, a.body)
	}
}

// A hang of 20 s, a latency and a hang that only the client ends take no time in a bubble.
func TestIssuerTakesNoRealTimeInABubble(t *testing.T) {
	began := time.Now()
	synctest.Test(t, func(t *testing.T) {
		iss := NewIssuer(IssuerConfig{Latency: 20 * time.Second})
		defer iss.Close()
		start := time.Now()
		mustAsk(t, iss, clientCredentials)
		if d := time.Since(start); d != 20*time.Second {
			t.Errorf("latency = %v", d)
		}
		iss.SetLatency(0)
		iss.Fail(Slow(time.Hour), 1)
		iss.Fail(Hang(), -1)
		start = time.Now()
		mustAsk(t, iss, clientCredentials)
		if d := time.Since(start); d != time.Hour {
			t.Errorf("Slow = %v", d)
		}

		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if _, err := ask(t, iss, ctx, clientCredentials); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("hung request = %v", err)
		}
		synctest.Wait()
		if c := iss.Counts(); c.InFlight != 0 || c.Issued != 2 {
			t.Errorf("after the client left: in flight %d, issued %d", c.InFlight, c.Issued)
		}
		events := iss.Events()
		if e := events[2]; e.Status != 0 || !e.Fault || e.Took != 20*time.Second || e.Grant != "client_credentials" {
			t.Errorf("event of the hung request = %+v", e)
		}

		time.AfterFunc(time.Minute, iss.Heal)
		start = time.Now()
		if a := mustAsk(t, iss, clientCredentials); a.status != 200 || time.Since(start) != time.Minute {
			t.Errorf("released request = %d after %v", a.status, time.Since(start))
		}
	})
	if d := time.Since(began); d > 10*time.Second {
		t.Errorf("took %v", d)
	}
}

func TestIssuerReleaseKeepsTheFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		iss := NewIssuer(IssuerConfig{})
		defer iss.Close()
		iss.Fail(Hang(), -1)
		for range 2 {
			time.AfterFunc(time.Second, iss.Release)
			start := time.Now()
			if a := mustAsk(t, iss, clientCredentials); a.status != 200 || time.Since(start) != time.Second {
				t.Errorf("released request = %d after %v", a.status, time.Since(start))
			}
		}
	})
}

// Close ends what hangs, sleeps or waits, and leaves no goroutine behind: else the bubble fails.
func TestIssuerCloseEndsAll(t *testing.T) {
	inBoth(t, IssuerConfig{}, func(t *testing.T, iss *Issuer) {
		before := runtime.NumGoroutine()
		iss.Fail(Hang(), 2)
		iss.Fail(Slow(time.Hour), 1)
		iss.Fail(Trickle(time.Hour), 1)
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				if a, err := ask(t, iss, context.Background(), clientCredentials); err == nil {
					t.Errorf("request during Close = %d", a.status)
				}
			})
		}
		for iss.Counts().Faults < 4 {
			time.Sleep(time.Millisecond)
		}
		iss.Close()
		wg.Wait()
		iss.Close()
		if _, err := ask(t, iss, context.Background(), clientCredentials); err == nil {
			t.Error("a closed Issuer answers")
		}
		for i := 0; runtime.NumGoroutine() > before; i++ {
			if i == 1000 {
				t.Fatalf("goroutines = %d, before = %d", runtime.NumGoroutine(), before)
			}
			time.Sleep(time.Millisecond)
		}
	})
}

// Kept-alive connections of another client do not outlive Close either.
func TestIssuerCloseEndsOthersConnections(t *testing.T) {
	iss := NewIssuer(IssuerConfig{})
	iss.Start()
	c, err := net.Dial("tcp", strings.TrimPrefix(iss.URL(), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "GET /api HTTP/1.1\r\nHost: x\r\n\r\n")
	if resp, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || resp.StatusCode != 401 {
		t.Fatalf("reply = %v %v", resp, err)
	}
	iss.Close()
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	var timeout net.Error
	if _, err := io.Copy(io.Discard, c); errors.As(err, &timeout) && timeout.Timeout() {
		t.Error("the connection outlived Close")
	}
}

func TestIssuerFaults(t *testing.T) {
	for _, test := range []struct {
		name   string
		fault  Fault
		check  func(a answer, err error) bool
		issued int
	}{
		{"Status", Status(503, http.Header{"X": {"y"}}), func(a answer, err error) bool {
			return err == nil && a.status == 503 && a.header.Get("X") == "y"
		}, 0},
		{"RetryAfter", RetryAfter(429, 1500*time.Millisecond), func(a answer, err error) bool {
			return err == nil && a.status == 429 && a.header.Get("Retry-After") == "2"
		}, 0},
		{"RetryAfterDate", RetryAfterDate(503, time.Minute), func(a answer, err error) bool {
			at, perr := http.ParseTime(a.header.Get("Retry-After"))
			date, derr := http.ParseTime(a.header.Get("Date"))
			d := at.Sub(date)
			return err == nil && perr == nil && derr == nil && a.status == 503 && d >= 59*time.Second && d <= 61*time.Second
		}, 0},
		{"OAuthError", OAuthError(400, "invalid_scope"), func(a answer, err error) bool {
			return err == nil && a.status == 400 && a.reply.Error == "invalid_scope"
		}, 0},
		{"InvalidClient", InvalidClient(), func(a answer, err error) bool {
			return err == nil && a.status == 401 && a.reply.Error == "invalid_client" && a.header.Get("WWW-Authenticate") != ""
		}, 0},
		{"Echo", Echo(500, ""), func(a answer, err error) bool {
			return err == nil && a.status == 500 && len(Leaks(a.body, DefaultClientSecret)) > 0 && strings.Contains(a.body, "grant_type=client_credentials")
		}, 0},
		{"Echo with a code", Echo(401, "invalid_client"), func(a answer, err error) bool {
			return err == nil && a.reply.Error == "invalid_client" && len(Leaks(a.body, DefaultClientSecret)) > 0
		}, 0},
		{"HTML403", HTML403(), func(a answer, err error) bool {
			return err == nil && a.status == 403 && strings.HasPrefix(a.header.Get("Content-Type"), "text/html")
		}, 0},
		{"Redirect", Redirect(303, "/api"), func(a answer, err error) bool {
			return err == nil && a.status == 401 && a.reply.Error == "" // of the API
		}, 0},
		{"Drop", Drop(), func(_ answer, err error) bool { return err != nil }, 0},
		{"DropReply", DropReply(), func(_ answer, err error) bool { return err != nil }, 1},
		{"Truncated", Truncated(), func(a answer, err error) bool {
			return errors.Is(err, io.ErrUnexpectedEOF) && a.status == 200 && a.body != "" && a.header.Get("Content-Length") != strconv.Itoa(len(a.body))
		}, 1},
		{"Trickle", Trickle(time.Millisecond), func(a answer, err error) bool {
			return err == nil && a.reply.AccessToken != ""
		}, 1},
		{"Huge", Huge(), func(a answer, err error) bool {
			return err == nil && len(a.body) > 1<<20 && a.reply.AccessToken != ""
		}, 1},
		{"ExpiresIn", ExpiresIn("3599.5"), func(a answer, err error) bool {
			return err == nil && string(a.reply.ExpiresIn) == "3599.5"
		}, 1},
		{"ExpiresIn that is no JSON", ExpiresIn("0x10"), func(a answer, err error) bool {
			return err == nil && strings.Contains(a.body, `"expires_in":0x10,`)
		}, 1},
		{"EditReply", EditReply(func(r map[string]any) { delete(r, "token_type") }), func(a answer, err error) bool {
			return err == nil && a.reply.AccessToken != "" && a.reply.TokenType == ""
		}, 1},
		{"Lives", Lives(7 * time.Second), func(a answer, err error) bool {
			return err == nil && string(a.reply.ExpiresIn) == "7"
		}, 1},
		{"panic", func(http.ResponseWriter, *http.Request, http.Handler) { panic(http.ErrAbortHandler) }, func(_ answer, err error) bool {
			return err != nil
		}, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBoth(t, IssuerConfig{}, func(t *testing.T, iss *Issuer) {
				iss.Fail(nil, -1)
				iss.Fail(test.fault, 0)
				iss.Fail(test.fault, 1)
				a, err := ask(t, iss, context.Background(), clientCredentials)
				if !test.check(a, err) {
					t.Errorf("reply = %d %v %.300s, error %v", a.status, a.header, a.body, err)
				}
				if c := iss.Counts(); c.Issued != test.issued || c.Faults != 1 {
					t.Errorf("issued = %d, faults = %d, want %d and 1", c.Issued, c.Faults, test.issued)
				}
				if a := mustAsk(t, iss, clientCredentials); a.status != 200 {
					t.Errorf("after the fault = %d", a.status)
				}
			})
		})
	}
}

func TestIssuerDropReset(t *testing.T) {
	iss := NewIssuer(IssuerConfig{})
	iss.Start()
	defer iss.Close()
	iss.Fail(Drop(), 1)
	if _, err := ask(t, iss, context.Background(), clientCredentials); !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, io.EOF) {
		t.Errorf("dropped request = %v", err)
	}
}

func TestIssuerTrickleTakesTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		iss := NewIssuer(IssuerConfig{})
		defer iss.Close()
		iss.Fail(Trickle(time.Second), 1)
		start := time.Now()
		a := mustAsk(t, iss, clientCredentials)
		if d := time.Since(start); d != time.Duration(len(a.body)-1)*time.Second {
			t.Errorf("%d bytes took %v", len(a.body), d)
		}
	})
}

func TestIssuerSameToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		iss := NewIssuer(IssuerConfig{Life: time.Minute})
		defer iss.Close()
		iss.Fail(SameToken(), -1)
		a := mustAsk(t, iss, clientCredentials).reply
		time.Sleep(20 * time.Second)
		if b := mustAsk(t, iss, clientCredentials).reply; b.AccessToken != a.AccessToken || string(b.ExpiresIn) != "40" {
			t.Errorf("second reply = %+v", b)
		}
		time.Sleep(40 * time.Second)
		if b := mustAsk(t, iss, clientCredentials).reply; b.AccessToken == a.AccessToken {
			t.Error("a token that has ended was issued again")
		}
	})
}

func TestIssuerFaultsInOrder(t *testing.T) {
	iss := NewIssuer(IssuerConfig{})
	defer iss.Close()
	iss.Fail(Status(500, nil), 2)
	iss.Fail(Status(502, nil), 1)
	iss.Fail(Status(503, nil), -1)
	iss.Fail(Status(504, nil), 1)
	iss.FailAPI(Status(418, nil), 1)
	iss.FailRevoke(Status(419, nil), 1)
	var got []int
	for range 6 {
		got = append(got, mustAsk(t, iss, clientCredentials).status)
	}
	iss.Heal()
	got = append(got, mustAsk(t, iss, clientCredentials).status, callAPI(t, iss, "").status)
	if want := "[500 500 502 503 503 503 200 401]"; fmt.Sprint(got) != want {
		t.Errorf("statuses = %v, want %s", got, want)
	}
}

func TestIssuerFaultsOfTheOthers(t *testing.T) {
	iss := NewIssuer(IssuerConfig{})
	defer iss.Close()
	iss.FailAPI(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if r.URL.Path == "/api/things" {
			w.WriteHeader(418)
			return
		}
		next.ServeHTTP(w, r)
	}, 1)
	iss.FailRevoke(Status(419, nil), 1)
	if got := callAPI(t, iss, "").status; got != 418 {
		t.Errorf("API = %d", got)
	}
	resp, err := iss.Client().PostForm(iss.RevokeURL(), nil)
	if err != nil || resp.StatusCode != 419 {
		t.Errorf("revocation = %v %v", resp, err)
	}
	if err == nil {
		resp.Body.Close()
	}
	if resp, err := iss.Client().Get(iss.URL() + "/nothing"); err != nil || resp.StatusCode != 404 {
		t.Errorf("unknown path = %v %v", resp, err)
	}
}

func TestIssuerDown(t *testing.T) {
	inBoth(t, IssuerConfig{}, func(t *testing.T, iss *Issuer) {
		mustAsk(t, iss, clientCredentials) // leaves a connection that is kept alive
		iss.Down(true)
		if _, err := ask(t, iss, context.Background(), clientCredentials); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("request to an Issuer that is down = %v", err)
		}
		var op *net.OpError
		if _, err := ask(t, iss, context.Background(), clientCredentials); !errors.As(err, &op) || op.Op != "dial" {
			t.Errorf("request to an Issuer that is down = %v", err)
		}
		iss.Down(false)
		if a := mustAsk(t, iss, clientCredentials); a.status != 200 {
			t.Errorf("up again = %d", a.status)
		}
		if c := iss.Counts(); c.TokenRequests != 2 {
			t.Errorf("token requests = %d, want 2", c.TokenRequests)
		}
	})
}

func TestIssuerDownCutsAndTurnsAwayOthers(t *testing.T) {
	iss := NewIssuer(IssuerConfig{})
	iss.Start()
	defer iss.Close()
	iss.Fail(Hang(), -1)
	done := make(chan error)
	go func() {
		_, err := ask(t, iss, context.Background(), clientCredentials)
		done <- err
	}()
	for iss.Counts().Faults == 0 {
		time.Sleep(time.Millisecond)
	}
	iss.Down(true)
	if err := <-done; err == nil {
		t.Error("a request in flight was not cut")
	}
	resp, err := http.Get(iss.APIURL()) // by another client
	if err == nil {
		resp.Body.Close()
		t.Errorf("another client was answered %d", resp.StatusCode)
	}
	if c := iss.Counts(); c.Dropped == 0 {
		t.Error("dropped = 0")
	}
}

func TestIssuerDropConns(t *testing.T) {
	inBoth(t, IssuerConfig{}, func(t *testing.T, iss *Issuer) {
		mustAsk(t, iss, clientCredentials)
		iss.DropConns(2)
		for range 2 {
			if _, err := ask(t, iss, context.Background(), clientCredentials); err == nil {
				t.Error("a dropped connection was answered")
			}
		}
		if a := mustAsk(t, iss, clientCredentials); a.status != 200 {
			t.Errorf("after the dropped connections = %d", a.status)
		}
		if c := iss.Counts(); c.TokenRequests != 2 || c.Dropped != 2 {
			t.Errorf("token requests = %d, dropped = %d, want 2 and 2", c.TokenRequests, c.Dropped)
		}
	})
}

func TestIssuerCountsInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		iss := NewIssuer(IssuerConfig{Latency: time.Second, Clients: map[string]string{"b": "b-secret"}})
		defer iss.Close()
		var wg sync.WaitGroup
		for i := range 5 {
			id, secret := DefaultClientID, DefaultClientSecret
			if i >= 3 {
				id, secret = "b", "b-secret"
			}
			wg.Go(func() {
				form := url.Values{"grant_type": {"client_credentials"}, "client_id": {id}, "client_secret": {secret}}
				resp, err := iss.Client().PostForm(iss.TokenURL(), form)
				if err != nil {
					t.Error(err)
					return
				}
				resp.Body.Close()
			})
		}
		time.Sleep(time.Second / 2)
		if c := iss.Counts(); c.InFlight != 5 {
			t.Errorf("in flight = %d, want 5", c.InFlight)
		}
		wg.Wait()
		mustAsk(t, iss, clientCredentials) // lowers no maximum
		c := iss.Counts()
		if c.InFlight != 0 || c.MaxInFlight != 5 || c.MaxInFlightByClient[DefaultClientID] != 3 || c.MaxInFlightByClient["b"] != 2 {
			t.Errorf("counts = %+v", c)
		}
		c.ByGrant["x"] = 1
		if iss.Counts().ByGrant["x"] != 0 {
			t.Error("Counts shares a map")
		}
	})
}

func TestIssuerReach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := NewIssuer(IssuerConfig{Addr: "127.0.0.1:1"}), NewIssuer(IssuerConfig{})
		defer a.Close()
		defer b.Close()
		if a.URL() != "http://127.0.0.1:1" || a.URL() == b.URL() {
			t.Errorf("URLs = %s, %s", a.URL(), b.URL())
		}
		a.Fail(Redirect(307, b.TokenURL()), -1)
		if _, err := ask(t, a, context.Background(), clientCredentials); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("redirect to a stranger = %v", err)
		}
		a.Reach(b)
		if got := mustAsk(t, a, clientCredentials); got.reply.Error != "invalid_client" || b.Counts().TokenRequests != 1 {
			t.Errorf("redirect = %d %s", got.status, got.body) // net/http does not send Basic credentials to another host
		}
	})
}

// In memory, the Client leaves the process for nobody.
func TestIssuerInMemoryStaysInside(t *testing.T) {
	inside, outside := NewIssuer(IssuerConfig{}), NewIssuer(IssuerConfig{})
	defer inside.Close()
	outside.Start()
	defer outside.Close()
	resp, err := inside.Client().Get(outside.APIURL())
	if err == nil {
		resp.Body.Close()
	}
	if !errors.Is(err, syscall.ECONNREFUSED) || outside.Counts().APIRequests != 0 {
		t.Errorf("request to the network = %v", err)
	}
	resp, err = outside.Client().Get(inside.APIURL())
	if err == nil {
		resp.Body.Close()
		t.Error("the network reaches an Issuer in memory")
	}
	outside.Reach(inside)
	if resp, err = outside.Client().Get(inside.APIURL()); err != nil || resp.StatusCode != 401 {
		t.Fatalf("request to an Issuer given to Reach = %v", err)
	}
	resp.Body.Close()
}

func TestIssuerStartOnce(t *testing.T) {
	for name, use := range map[string]func(*Issuer){
		"started": (*Issuer).Start,
		"used":    func(iss *Issuer) { iss.URL() },
		"closed":  (*Issuer).Close,
	} {
		t.Run(name, func(t *testing.T) {
			iss := NewIssuer(IssuerConfig{})
			defer iss.Close()
			use(iss)
			defer func() {
				if recover() == nil {
					t.Error("Start did not panic")
				}
			}()
			iss.Start()
		})
	}
}

func TestIssuerEventsAreBounded(t *testing.T) {
	iss := NewIssuer(IssuerConfig{})
	defer iss.Close()
	for i := range 3 * maxEvents {
		iss.record(Event{At: time.Duration(i)})
	}
	events := iss.Events()
	if n := len(events); n > maxEvents || n < maxEvents*9/10 || events[n-1].At != 3*maxEvents-1 {
		t.Errorf("events = %d, last %v", n, events[n-1])
	}
	if got := (Event{At: 1500 * time.Millisecond, Endpoint: "token", Grant: "client_credentials", ClientID: "c", Status: 401, Code: "invalid_client", Fault: true}).String(); got != "1.5s token client_credentials c 401 invalid_client fault" {
		t.Errorf("event = %q", got)
	}
}

// An Issuer can be mounted in another server, and a Fault may use w as any handler does.
func TestIssuerServeHTTP(t *testing.T) {
	iss := NewIssuer(IssuerConfig{})
	serve := func(method, path string, header http.Header, body io.Reader) (rec *httptest.ResponseRecorder, panicked any) {
		defer func() { panicked = recover() }()
		rec = httptest.NewRecorder()
		req := httptest.NewRequest(method, path, body)
		req.Header = header
		iss.ServeHTTP(rec, req)
		return rec, nil
	}
	two := http.Header{"Authorization": {"Bearer a", "Bearer b"}}
	if rec, _ := serve("GET", "/api", two, nil); rec.Code != 401 || strings.Contains(rec.Header().Get("WWW-Authenticate"), "error") {
		t.Errorf("two Authorization headers = %d %v", rec.Code, rec.Header())
	}
	if rec, _ := serve("POST", "/api", http.Header{}, io.LimitReader(zeros{}, maxAPIBody+1)); rec.Code != 400 {
		t.Errorf("endless body = %d", rec.Code)
	}
	for name, f := range map[string]Fault{
		"Write": func(w http.ResponseWriter, _ *http.Request, _ http.Handler) { _, _ = w.Write([]byte("x")) },
		"Flush": func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			_ = http.NewResponseController(w).Flush()
		},
	} {
		iss.Fail(f, 1)
		rec, _ := serve("POST", "/token", http.Header{}, nil)
		if e := iss.Events(); rec.Code != 200 || rec.Header().Get("Date") == "" || e[len(e)-1].Status != 200 {
			t.Errorf("%s = %d %v", name, rec.Code, rec.Header())
		}
	}
	iss.Fail(Drop(), 1)
	if _, panicked := serve("POST", "/token", http.Header{}, nil); panicked != http.ErrAbortHandler {
		t.Errorf("Drop without a connection = %v", panicked)
	}
	iss.Fail(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		next.ServeHTTP(w, r.WithContext(context.Background()))
	}, 1)
	if _, panicked := serve("POST", "/token", http.Header{}, nil); panicked == nil {
		t.Error("a Fault that loses the context did not panic")
	}
	iss.Fail(EditReply(func(reply map[string]any) { reply["x"] = func() {} }), 1)
	form := strings.NewReader(clientCredentials.Encode() + "&client_id=" + DefaultClientID + "&client_secret=" + DefaultClientSecret)
	if _, panicked := serve("POST", "/token", http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, form); panicked == nil {
		t.Error("a reply that has no JSON form did not panic")
	}
	if c := iss.Counts(); c.InFlight != 0 {
		t.Errorf("in flight after panics = %d", c.InFlight)
	}
	iss.Close()
	if _, panicked := serve("GET", "/api", two, nil); panicked != http.ErrAbortHandler {
		t.Errorf("ServeHTTP after Close = %v", panicked)
	}
}

// Close waits for handlers, also for those that another server runs.
func TestIssuerCloseWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		iss := NewIssuer(IssuerConfig{})
		var ended atomic.Int32
		tidy := func(d time.Duration) Fault {
			return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
				defer func() {
					time.Sleep(d)
					ended.Add(1)
				}()
				Hang()(w, r, next)
			}
		}
		iss.Fail(tidy(time.Second), 1)
		iss.FailRevoke(tidy(2*time.Second), 1)
		go func() { _, _ = ask(t, iss, context.Background(), clientCredentials) }()
		go func() {
			defer func() { _ = recover() }()
			iss.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("POST", "/revoke", nil))
		}()
		synctest.Wait()
		iss.Close()
		if n := ended.Load(); n != 2 {
			t.Errorf("handlers that ended before Close returned = %d, want 2", n)
		}
	})
}

func TestIssuerHeal(t *testing.T) {
	iss := NewIssuer(IssuerConfig{})
	defer iss.Close()
	for name, fail := range map[string]func(){
		"Fail":        func() { iss.Fail(Drop(), -1) },
		"FailAPI":     func() { iss.FailAPI(Drop(), -1) },
		"Down":        func() { iss.Down(true) },
		"DropConns":   func() { iss.DropConns(-1) },
		"RefuseFresh": func() { iss.RefuseFresh(true) },
	} {
		fail()
		iss.Heal()
		a, err := ask(t, iss, context.Background(), clientCredentials)
		if err != nil || callAPI(t, iss, "Bearer "+a.reply.AccessToken).status != 200 {
			t.Errorf("after %s and Heal: %v %d", name, err, a.status)
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

func TestMemoryDialHonoursCtx(t *testing.T) {
	cause := errors.New("cause")
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(cause)
	if _, err := newMemory("x").dial(ctx); !errors.Is(err, cause) {
		t.Errorf("dial = %v, want %v", err, cause)
	}
}
