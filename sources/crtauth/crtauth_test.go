package crtauth_test

import (
	"context"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/clock"
	"github.com/seed-f29168f7/renew/sources/crtauth"
	"github.com/seed-f29168f7/renew/sources/crtauth/crtauthtest"
	"github.com/seed-f29168f7/renew/sources/internal/leaktest"
)

func TestLogin(t *testing.T) {
	for _, java := range []bool{false, true} {
		for _, version := range []crtauth.Version{crtauth.Version1, crtauth.Version0} {
			if java && version == crtauth.Version0 {
				continue // that server has version 1 alone
			}
			t.Run(fmt.Sprintf("java %t, version %d", java, version), func(t *testing.T) {
				h, src := newServer(crtauthtest.Options{Java: java})
				src.Version = version
				require.NoError(t, src.Validate())
				tok, err := src.Issue(t.Context())
				require.NoError(t, err)
				assert.True(t, h.Accepts(tok.Value.Reveal()))
				assert.InDelta(t, 58.5, tok.Life.Seconds(), 1)
				assert.False(t, tok.Expiry.IsZero())
				assert.Equal(t, crtauthtest.Counts{Challenges: 1, Logins: 1}, h.Counts())
			})
		}
	}
}

// What goes over the wire is the two requests and nothing of the rest of the URL.
func TestR28_RequestsAreBare(t *testing.T) {
	h, src := newServer(crtauthtest.Options{})
	var seen []*http.Request
	h.Intercept(func(_ http.ResponseWriter, r *http.Request) bool { seen = append(seen, r); return false })
	src.Origin = "https://someone:secret-word@api.example/v1/things?a=b"
	jar := jarFunc(func() { t.Error("the cookie jar was asked") })
	src.HTTPClient.Jar = jar
	_, err := src.Issue(t.Context())
	require.NoError(t, err)
	require.Len(t, seen, 2)
	for _, r := range seen {
		assert.Equal(t, http.MethodHead, r.Method)
		assert.Equal(t, "https://api.example/_auth", r.URL.String())
		assert.Nil(t, r.Body)
		assert.Len(t, r.Header, 1, "%v", r.Header)
		assert.Len(t, r.Header.Values("X-CHAP"), 1)
	}
	assert.Equal(t, "https://api.example/_auth", src.Describe().Endpoint)
	assert.Equal(t, "alice", src.Describe().Account)
	h.Intercept(answer(status(404)))
	e := fails(t, src)
	assert.Equal(t, "api.example", e.Host)
	leaktest.Check(t, e, "secret-word")
}

// jarFunc is a cookie jar that nobody may use.
type jarFunc func()

func (f jarFunc) SetCookies(*url.URL, []*http.Cookie) { f() }

func (f jarFunc) Cookies(*url.URL) []*http.Cookie { f(); return nil }

// closer is a body that tells of its end.
type closer struct {
	io.ReadCloser
	closed func()
}

func (c closer) Close() error { c.closed(); return c.ReadCloser.Close() }

// A server that does not take HEAD is asked by GET, once, and by GET from then on.
func TestMethods(t *testing.T) {
	for method, requests := range map[string]int{"HEAD": 2, "GET": 3} {
		h, src := newServer(crtauthtest.Options{Method: method})
		n, open := 0, 0
		h.Intercept(func(http.ResponseWriter, *http.Request) bool { n++; return false })
		src.HTTPClient.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
			resp, err := inProcess{h}.RoundTrip(r)
			open++
			resp.Body = closer{resp.Body, func() { open-- }}
			return resp, err
		})
		_, err := src.Issue(t.Context())
		require.NoError(t, err, method)
		assert.Equal(t, requests, n, method)
		assert.Zero(t, open, "%s: bodies are left open", method)
	}
	h, src := newServer(crtauthtest.Options{})
	n := 0
	h.Intercept(answer(func(w http.ResponseWriter, r *http.Request) { n++; w.WriteHeader(501) }))
	e := fails(t, src)
	assert.Equal(t, renew.Transient, e.Kind)
	assert.Equal(t, 2, n)

	h, src = newServer(crtauthtest.Options{Method: "POST"})
	e = fails(t, src)
	assert.True(t, e.Kind == renew.Refused && e.Permanent && e.Status == 405, "%v", e)
	assert.Equal(t, 2, h.Counts().Failed)
}

// A response that GET too is not taken for is not sent a third time.
func TestMethodOfTheResponse(t *testing.T) {
	h, src := newServer(crtauthtest.Options{Method: "GET"})
	n := 0
	h.Intercept(response(func(w http.ResponseWriter, _ *http.Request) { n++; w.WriteHeader(405) }))
	e := fails(t, src)
	assert.True(t, e.Status == 405 && n == 1, "%d responses, %v", n, e)
}

// A redirect is not followed, not even to the same host.
func TestR28_RedirectsAreNotFollowed(t *testing.T) {
	h, src := newServer(crtauthtest.Options{})
	n := 0
	h.Intercept(answer(func(w http.ResponseWriter, r *http.Request) {
		n++
		http.Redirect(w, r, "/_auth", http.StatusTemporaryRedirect)
	}))
	e := fails(t, src)
	assert.Equal(t, 1, n)
	assert.True(t, e.Kind == renew.Invalid && e.Permanent, "%v", e)
}

// The path is settable.
func TestPath(t *testing.T) {
	h, src := newServer(crtauthtest.Options{})
	src.HTTPClient.Transport = inProcess{http.StripPrefix("/base", h)}
	src.Path = "/base/_auth"
	_, err := src.Issue(t.Context())
	require.NoError(t, err)
}

// second is 1700000000 in Unix seconds, as uint32 and as uint64, and later is 20 s behind it.
const (
	second     = "\xce\x65\x53\xf1\x00"
	longSecond = "\xcf\x00\x00\x00\x00\x65\x53\xf1\x00"
	later      = "\xce\x65\x53\xf1\x14"
)

// challenge1 is a challenge of version 1 for alice, with its times as they are written and an HMAC of that length. Not all its
// forms are the shortest.
func challenge1(from, to string, hmac int) string {
	return "challenge : " + base64.RawURLEncoding.EncodeToString([]byte("\x01c\xc6\x00\x00\x00\x14"+strings.Repeat("u", 20)+from+to+
		"\xc4\x06\x4f\x08\x73\x3f\xfc\xe3\xabapi.example\xa5alice\xc4"+string(rune(hmac))+strings.Repeat("h", hmac)))
}

// Bytes are written in their shortest form: a challenge of 255 bytes with one byte of length, one of 256 with two.
func TestShortestForms(t *testing.T) {
	for size, form := range map[int]string{255: "\x01r\xc4\xff\x01c", 256: "\x01r\xc5\x01\x00\x01c"} {
		_, src := newServer(crtauthtest.Options{Clock: clock.NewFake(time.Unix(1700000000, 0))})
		src.ServerName = strings.Repeat("a", size-84)
		raw := "\x01c\xc4\x14" + strings.Repeat("u", 20) + second + later + "\xc4\x06\x4f\x08\x73\x3f\xfc\xe3\xd9" + string([]byte{byte(size - 84)}) +
			src.ServerName + "\xa5alice\xc4 " + strings.Repeat("h", 32)
		require.Len(t, raw, size)
		var sent string
		src.HTTPClient.Transport = inProcess{http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-CHAP", "challenge:"+base64.RawURLEncoding.EncodeToString([]byte(raw)))
			if text, ok := strings.CutPrefix(r.Header.Get("X-CHAP"), "response:"); ok {
				sent = text
				w.Header().Set("X-CHAP", "token:t")
			}
		})}
		_, err := src.Issue(t.Context())
		require.NoError(t, err)
		got, err := base64.RawURLEncoding.DecodeString(sent)
		require.NoError(t, err)
		assert.Equal(t, form, string(got[:len(form)]), "%d bytes", size)
	}
}

// token1 is a token in the layout of version 1.
func token1(from, to string, hmac int) string {
	return "token:" + base64.RawURLEncoding.EncodeToString([]byte("\x01t"+from+to+"\xa5alice\xc5\x00"+string(rune(hmac))+strings.Repeat("h", hmac)))
}

// Every form of a number is read, and an HMAC has 32 bytes.
func TestFormsOfMessages(t *testing.T) {
	for _, tt := range []struct {
		from string
		hmac int
		life time.Duration
	}{{second, 32, 17 * time.Second}, {longSecond, 32, 17 * time.Second}, {second, 31, 0}, {second, 33, 0}} {
		h, src := newServer(crtauthtest.Options{Clock: clock.NewFake(time.Unix(1700000000, 0))})
		h.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set("X-CHAP", challenge1(tt.from, later, 32))
			if strings.HasPrefix(r.Header.Get("X-CHAP"), "response:") {
				w.Header().Set("X-CHAP", token1(tt.from, later, tt.hmac))
			}
			return true
		})
		tok, err := src.Issue(t.Context())
		require.NoError(t, err)
		assert.Equal(t, tt.life, tok.Life, "%v", tt)
	}
}

// What each failure means: its kind, whether it is for good, and what the text says to do.
func TestFailures(t *testing.T) {
	header := func(values ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			for _, v := range values {
				w.Header().Add("X-CHAP", v)
			}
		}
	}
	for _, tt := range []struct {
		name      string
		intercept func(http.ResponseWriter, *http.Request) bool
		version   crtauth.Version
		kind      renew.Kind
		permanent bool
		text      string
	}{
		{"404", answer(status(404)), 0, renew.Refused, true, "another Path"},
		{"401", answer(status(401)), 0, renew.Refused, true, "another Path"},
		{"request 403", answer(status(403)), 0, renew.Refused, false, "try Version0"},
		{"request 403, version 0", answer(status(403)), crtauth.Version0, renew.Refused, false, "try Version1"},
		{"request 400", answer(status(400)), 0, renew.Refused, false, "this version of the protocol"},
		{"request 500", answer(status(500)), 0, renew.Transient, false, "log"},
		{"request 500, version 0", answer(status(500)), crtauth.Version0, renew.Transient, false, "try Version1"},
		{"502", answer(status(502)), 0, renew.Transient, false, "502"},
		{"418", answer(status(418)), 0, renew.Transient, false, "418"},
		{"response 403", response(status(403)), 0, renew.Refused, true, "another key"},
		{"response 404", response(status(404)), 0, renew.Refused, true, "another Path"},
		{"response 500", response(status(500)), 0, renew.Transient, false, "in Java"},
		{"response 400", response(status(400)), 0, renew.Transient, false, "400"},
		{"no header", answer(status(200)), 0, renew.Transient, false, "no X-CHAP"},
		{"two headers", answer(header("challenge:AWPE", "challenge:AWPE")), 0, renew.Transient, false, "more than one"},
		{"another method", answer(header("token:AWPE")), 0, renew.Transient, false, "not the one"},
		{"upper case", answer(header("Challenge:AWPE")), 0, renew.Transient, false, "not the one"},
		{"no colon", answer(header("challenge")), 0, renew.Transient, false, "not the one"},
		{"9 kB", answer(header("challenge:" + strings.Repeat("A", 9<<10))), 0, renew.Transient, false, "8 kB"},
		{"stray bits in the base64", answer(header("challenge:AWP")), 0, renew.Transient, false, "not base64"},
		{"a line break in the base64", answer(header("challenge:AW\nPE")), 0, renew.Transient, false, "not base64"},
		{"nothing but padding", answer(header("challenge:====")), 0, renew.Transient, false, "it is empty"},
		{"a window of no time", answer(header(challenge1(second, second, 32))), 0, renew.Transient, false, "ends before it begins"},
		{"an HMAC of 31 bytes", answer(header(challenge1(second, later, 31))), 0, renew.Transient, false, "wrong length"},
		{"an HMAC of 33 bytes", answer(header(challenge1(second, later, 33))), 0, renew.Transient, false, "wrong length"},
		{"a time beyond all years", answer(header(challenge1(second, "\xcf\xff\xff\xff\xff\xff\xff\xff\xff", 32))), 0, renew.Transient, false, "wrong length"},
		{"not a challenge", answer(header("challenge:AWPE")), 0, renew.Transient, false, "ends too soon"},
		{"no token", response(status(200)), 0, renew.Transient, false, "no X-CHAP"},
		{"another challenge", response(header("challenge:AWPE")), 0, renew.Transient, false, "not the one"},
		{"an empty token", response(header("token:")), 0, renew.Transient, false, "empty"},
		{"a token with a blank", response(header("token:a b")), 0, renew.Transient, false, "cannot stand"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h, src := newServer(crtauthtest.Options{})
			src.Version = tt.version
			h.Intercept(tt.intercept)
			e := fails(t, src)
			assert.Equal(t, tt.kind, e.Kind, "%v", e)
			assert.Equal(t, tt.permanent, e.Permanent, "%v", e)
			assert.False(t, e.Unsent, "%v", e)
			assert.ErrorContains(t, e, tt.text)
			assert.Equal(t, "api.example", e.Host)
		})
	}
}

func TestThrottled(t *testing.T) {
	h, src := newServer(crtauthtest.Options{})
	for code, want := range map[int]time.Duration{429: 7 * time.Second, 503: 7 * time.Second} {
		h.Intercept(answer(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(code)
		}))
		e := fails(t, src)
		assert.Equal(t, renew.Throttled, e.Kind)
		assert.Equal(t, want, e.RetryAfter)
	}
}

// A server that cannot be reached was not sent anything.
func TestUnsent(t *testing.T) {
	srv := httptest.NewServer(http.NotFoundHandler())
	srv.Close()
	_, src := newServer(crtauthtest.Options{})
	src.Origin, src.HTTPClient = srv.URL, nil
	e := fails(t, src)
	assert.True(t, e.Unsent && e.Kind == renew.Transient, "%v", e)
}

// What the connection's trace saw counts, where there is one: a dial that fails may be the second of one request.
func TestR18_UnsentByTheTrace(t *testing.T) {
	dial := &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("refused")}
	for _, tt := range []struct {
		name            string
		asked, got, end bool
		err             error
		unsent          bool
	}{
		{"no trace, dial", false, false, false, dial, true},
		{"no trace, broken off", false, false, false, io.ErrUnexpectedEOF, false},
		{"no trace, ended", false, false, true, context.Canceled, false},
		{"no connection", true, false, false, io.ErrUnexpectedEOF, true},
		{"no connection, ended", true, false, true, context.Canceled, true},
		{"connected, then another dial", true, true, false, dial, false},
		{"connected, ended", true, true, true, context.Canceled, false},
	} {
		_, src := newServer(crtauthtest.Options{})
		ended := errors.New("ended")
		ctx, cancel := context.WithCancelCause(t.Context())
		src.HTTPClient.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
			trace := httptrace.ContextClientTrace(r.Context())
			if tt.asked {
				trace.GetConn("api.example:443")
			}
			if tt.got {
				trace.GotConn(httptrace.GotConnInfo{})
			}
			if tt.end {
				cancel(ended)
			}
			return nil, tt.err
		})
		_, err := src.Issue(ctx)
		cancel(nil)
		e, ok := errors.AsType[*renew.IssueError](err)
		require.True(t, ok)
		assert.True(t, e.Unsent == tt.unsent && e.Kind == renew.Transient, "%s: %v", tt.name, e)
		assert.Equal(t, tt.end, errors.Is(err, ended), tt.name)
		if tt.got {
			_, looksUnsent := errors.AsType[*net.OpError](err)
			assert.False(t, looksUnsent, "%s: the engine would take its type for a dial", tt.name)
		}
	}
}

// The host that is called must be the server that the challenge is from; case and one dot at the end
// do not matter, an override holds over it, and nothing is signed otherwise.
func TestCrtauth_ServerName(t *testing.T) {
	for _, tt := range []struct {
		origin, override, server string
		ok                       bool
	}{
		{"https://api.example", "", "api.example", true},
		{"https://API.Example:8443", "", "api.EXAMPLE", true},
		{"https://api.example.", "", "api.example", true},
		{"https://api.example", "", "api.example.", true},
		{"https://alias.example", "api.example", "api.example", true},
		{"https://alias.example", "API.example.", "api.example", true},
		{"https://[2001:db8::1]", "api.example", "api.example", true},
		{"https://zz.example", "", "ZA.eXample", false},
		{"https://az.example", "", "AZ.example", true},
		{"https://api.example", ".", ".", false},
		{"https://api.example", "", "other.example", false},
		{"https://api.example", "", "api.example.evil.example", false},
		{"https://api.example", "", "example", false},
		{"https://api.example", "", "evilapi.example", false},
		{"https://api.example", "", "evil.api.example", false},
		{"https://api.example", "", "api.example:443", false},
		{"https://api.example", "", "api.example..", false},
		{"https://api.example", "", "*.example", false},
		{"https://api.example", "other.example", "api.example", false},
		{"https://\u212aey.example", "", "key.example", false}, // the Kelvin sign is no k
		{"https://127.0.0.1", "", "localhost", false},
	} {
		h, src := newServer(crtauthtest.Options{ServerName: tt.server})
		key := &slow{Signer: src.Signer}
		src.Origin, src.ServerName, src.Signer = tt.origin, tt.override, key
		require.NoError(t, src.Validate())
		_, err := src.Issue(t.Context())
		if tt.ok {
			assert.NoError(t, err, "%v", tt)
			continue
		}
		e, _ := errors.AsType[*renew.IssueError](err)
		got, ok := errors.AsType[*crtauth.ServerNameError](err)
		require.True(t, ok, "%v: %v", tt, err)
		assert.Equal(t, tt.server, got.Got)
		assert.True(t, e.Permanent && e.Kind == renew.Invalid, "%v", e)
		assert.ErrorContains(t, err, "ServerName")
		assert.Zero(t, key.signed.Load(), "%v: signed all the same", tt)
		assert.Equal(t, crtauthtest.Counts{Challenges: 1}, h.Counts())
	}
}

// A server that relays the challenge of another one gets no signature.
func TestCrtauth_RelayedChallenge(t *testing.T) {
	bank, src := newServer(crtauthtest.Options{ServerName: "bank.example"})
	key := &slow{Signer: src.Signer}
	evil := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { bank.ServeHTTP(w, r) })
	src.Origin, src.Signer, src.HTTPClient.Transport = "https://evil.example", key, inProcess{evil}
	e := fails(t, src)
	_, ok := errors.AsType[*crtauth.ServerNameError](e)
	assert.True(t, ok, "%v", e)
	assert.Zero(t, key.signed.Load())
	assert.Zero(t, bank.Counts().Logins)
}

// A version that was not asked for is refused, both ways.
func TestNoDowngrade(t *testing.T) {
	for _, asked := range []crtauth.Version{crtauth.Version1, crtauth.Version0} {
		other := crtauth.Version0
		if asked == crtauth.Version0 {
			other = crtauth.Version1
		}
		h, src := newServer(crtauthtest.Options{})
		key := &slow{Signer: src.Signer}
		src.Signer, src.Version = key, asked
		src.HTTPClient.Transport = inProcess{http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r.Header.Set("X-CHAP", "request:"+map[crtauth.Version]string{crtauth.Version0: "alice", crtauth.Version1: "AXGlYWxpY2U"}[other])
			h.ServeHTTP(w, r)
		})}
		e := fails(t, src)
		assert.True(t, e.Permanent && e.Kind == renew.Invalid, "%v", e)
		assert.ErrorContains(t, e, fmt.Sprintf("set Version to Version%d", 1-other))
		assert.Zero(t, key.signed.Load())
	}
}

// Times are judged by the server's own clock where it tells, else by the local one with five minutes of allowance.
func TestChallengeTimes(t *testing.T) {
	for _, tt := range []struct {
		skew   time.Duration // of the server's clock
		noDate bool
		want   string
	}{
		{0, false, ""},
		{24 * time.Hour, false, ""},
		{-24 * time.Hour, false, ""},
		{0, true, ""},
		{290 * time.Second, true, ""},
		{-310 * time.Second, true, ""}, // challenges live for 20 s
		{310 * time.Second, true, "set the clock of this machine"},
		{-330 * time.Second, true, "set the clock of this machine"},
	} {
		server := clock.NewFake(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).Add(tt.skew))
		h, src := newServer(crtauthtest.Options{Clock: server, NoDate: tt.noDate})
		src.Clock = clock.NewFake(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
		if tt.want == "" {
			tok, err := src.Issue(t.Context())
			require.NoError(t, err, "%v", tt)
			assert.Equal(t, 59*time.Second, tok.Life, "the local clock does not matter")
			assert.True(t, h.Accepts(tok.Value.Reveal()))
			continue
		}
		e := fails(t, src)
		assert.Equal(t, renew.Transient, e.Kind)
		assert.ErrorContains(t, e, tt.want)
	}
}

// A server whose Date is not within the challenge's own times has clocks that differ; they get set.
func TestChallengeTimesByTheDate(t *testing.T) {
	for shift, ok := range map[time.Duration]bool{-4 * time.Second: false, -3 * time.Second: true, 20 * time.Second: true, 21 * time.Second: false} {
		h, src := newServer(crtauthtest.Options{Clock: clock.NewFake(time.Unix(1700000000, 0))})
		h.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
			if strings.HasPrefix(r.Header.Get("X-CHAP"), "request:") {
				w.Header().Set("Date", time.Unix(1700000000, 0).Add(shift).UTC().Format(http.TimeFormat))
			}
			return false
		})
		if ok {
			_, err := src.Issue(t.Context())
			require.NoError(t, err, "%v", shift)
			continue
		}
		e := fails(t, src)
		assert.True(t, e.Kind == renew.Transient && !e.Permanent && !e.Unsent, "%v: %v", shift, e)
		assert.ErrorContains(t, e, "set the clocks of the servers")
	}
}

// A response that is not answered, or by an error that is no refusal, is not sent again, also when it was late.
func TestResponseFails(t *testing.T) {
	for name, f := range map[string]http.HandlerFunc{
		"lost": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"500":  status(500),
		"404":  status(404),
	} {
		clk := clock.NewFake(time.Unix(1700000000, 0))
		h, src := newServer(crtauthtest.Options{Clock: clk})
		h.Intercept(response(f))
		src.HTTPClient.Transport = roundTrip(func(r *http.Request) (resp *http.Response, err error) {
			defer func() {
				if recover() != nil {
					err = io.ErrUnexpectedEOF
				}
			}()
			return inProcess{h}.RoundTrip(r)
		})
		key := &slow{Signer: src.Signer, before: func(context.Context) error { clk.Advance(19 * time.Second); return nil }}
		src.Signer = key
		e := fails(t, src)
		assert.False(t, e.Unsent, "%s: %v", name, e)
		assert.EqualValues(t, 1, key.signed.Load(), name)
		assert.Equal(t, 1, h.Counts().Challenges, name)
		assert.Equal(t, name == "lost", errors.Is(e, io.ErrUnexpectedEOF), name)
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// Of several keys that do not sign the first says why, and none is asked when the login has ended.
func TestSeveralKeysDoNotSign(t *testing.T) {
	_, src := newServer(crtauthtest.Options{})
	ended := errors.New("the login has ended")
	ctx, cancel := context.WithCancelCause(t.Context())
	first := &slow{Signer: src.Signer, before: func(context.Context) error { return errors.New("the first broke") }}
	second := &slow{Signer: src.Signer, before: func(context.Context) error { return errors.New("the second broke") }}
	src.Signer = crtauth.Signers{first, second}
	e := fails(t, src)
	assert.ErrorContains(t, e, "the first broke")
	assert.True(t, e.Kind == renew.Transient && e.Unsent && second.signed.Load() == 1, "%v", e)

	first.before = func(context.Context) error { cancel(ended); return errors.New("the first broke") }
	_, err := src.Issue(ctx)
	assert.ErrorIs(t, err, ended)
	assert.EqualValues(t, 1, second.signed.Load())
	_, err = src.Issue(ctx)
	assert.ErrorIs(t, err, ended, "it had ended before it began")
	assert.EqualValues(t, 2, first.signed.Load())
	ie, ok := errors.AsType[*renew.IssueError](err)
	assert.True(t, ok && ie.Kind == renew.Transient && ie.Unsent, "%v", err)
}

// keysFunc is a Signer of somebody's own.
type keysFunc func(context.Context) ([]crtauth.Key, error)

func (f keysFunc) Keys(ctx context.Context) ([]crtauth.Key, error) { return f(ctx) }

// Of many keys the error shows eight, and of none says so.
func TestNoKeyErrorIsShort(t *testing.T) {
	for n, want := range map[int]string{0: "there is no RSA key here", 1: "are [000000000000]", 8: "000000000000]", 10: "000000000000] and 2 more"} {
		text := (&crtauth.NoKeyError{User: "alice", Want: crtauth.Fingerprint{1}, Have: make([]crtauth.Fingerprint, n)}).Error()
		assert.True(t, strings.HasSuffix(text, want), text)
		assert.Equal(t, min(n, 8), strings.Count(text, "000000000000"), text)
	}
}

// When the login has ended no further Signer is asked, and nothing is sent.
func TestSignersEndWithTheLogin(t *testing.T) {
	h, src := newServer(crtauthtest.Options{})
	ended := errors.New("the login has ended")
	ctx, cancel := context.WithCancelCause(t.Context())
	src.Signer = crtauth.Signers{
		keysFunc(func(ctx context.Context) ([]crtauth.Key, error) { cancel(ended); return pemKey("k2048").Keys(ctx) }),
		keysFunc(func(context.Context) ([]crtauth.Key, error) { t.Error("the second was asked"); return nil, nil }),
	}
	_, err := src.Issue(ctx)
	assert.ErrorIs(t, err, ended)
	assert.Zero(t, h.Counts())
}

// What a Signer of somebody's own returns is told, and not written to. One without keys and without an error is one too.
func TestSignerWithoutKeys(t *testing.T) {
	h, src := newServer(crtauthtest.Options{})
	src.Signer = keysFunc(func(context.Context) ([]crtauth.Key, error) { return nil, nil })
	e := fails(t, src)
	assert.True(t, e.Kind == renew.Transient && e.Unsent, "%v", e)
	assert.ErrorContains(t, e, "the Signer has no key")

	own := &renew.IssueError{Source: "vault", Kind: renew.Throttled, RetryAfter: time.Minute}
	src.Signer = keysFunc(func(context.Context) ([]crtauth.Key, error) { return nil, own })
	e = fails(t, src)
	assert.True(t, e.Kind == renew.Throttled && e.RetryAfter == time.Minute, "%v", e)
	assert.Equal(t, "vault", own.Source)
	assert.Empty(t, own.Host)

	// Where others could not be looked at, that is told beside what is missing.
	src.User = "mallory"
	src.Signer = keysFunc(func(ctx context.Context) ([]crtauth.Key, error) {
		keys, err := pemKey("k2048").Keys(ctx)
		return keys, errors.Join(err, errors.New("the agent is away"))
	})
	e = fails(t, src)
	assert.ErrorContains(t, e, "the agent is away")
	assert.ErrorContains(t, e, "does not know user")
	assert.True(t, e.Kind == renew.Transient && e.Unsent, "%v", e)
	assert.Equal(t, crtauthtest.Counts{Challenges: 1}, h.Counts())
}

// Life is counted from the response, whatever came before it.
func TestR12_LifeCountsFromTheResponse(t *testing.T) {
	clk := clock.NewFake(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	h, src := newServer(crtauthtest.Options{Clock: clk, Lifetime: 3 * time.Second})
	src.Signer = &slow{Signer: src.Signer, before: func(context.Context) error { clk.Advance(12 * time.Second); return nil }}
	h.Intercept(func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.HasPrefix(r.Header.Get("X-CHAP"), "response:") {
			clk.Advance(500 * time.Millisecond) // the token is a while on its way
		}
		return false
	})
	tok, err := src.Issue(t.Context())
	require.NoError(t, err)
	assert.Equal(t, 12*time.Second+2*time.Second, tok.Life)
	clk.Advance(tok.Life - 12*time.Second - 500*time.Millisecond)
	assert.True(t, h.Accepts(tok.Value.Reveal()))
	clk.Advance(time.Second + 1)
	assert.False(t, h.Accepts(tok.Value.Reveal()))
}

// What a token says is believed only where it can be true.
func TestLife(t *testing.T) {
	for _, tt := range []struct {
		lifetime time.Duration
		want     time.Duration
	}{
		{time.Second, 500 * time.Millisecond},
		{2 * time.Second, time.Second},
		{598 * time.Second, 597 * time.Second},
		{599 * time.Second, 0}, // no server takes that token
		{600 * time.Second, 0},
	} {
		for _, java := range []bool{false, true} {
			_, src := newServer(crtauthtest.Options{Clock: clock.NewFake(time.Unix(1700000000, 0)), Lifetime: tt.lifetime, Java: java})
			tok, err := src.Issue(t.Context())
			require.NoError(t, err)
			assert.Equal(t, tt.want, tok.Life, "%v", tt)
			assert.Equal(t, tt.want == 0, tok.Expiry.IsZero())
		}
	}
	// The Date of the reply may shorten it, and only that.
	for shift, want := range map[time.Duration]time.Duration{0: 59 * time.Second, 20 * time.Second: 39 * time.Second, -time.Second: 59 * time.Second, time.Hour: 59 * time.Second, -time.Hour: 59 * time.Second} {
		h, src := newServer(crtauthtest.Options{Clock: clock.NewFake(time.Unix(1700000000, 0))})
		h.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
			if strings.HasPrefix(r.Header.Get("X-CHAP"), "response:") {
				w.Header().Set("Date", time.Unix(1700000000, 0).Add(shift).UTC().Format(http.TimeFormat))
			}
			return false
		})
		tok, err := src.Issue(t.Context())
		require.NoError(t, err)
		assert.Equal(t, want, tok.Life, "%v", shift)
	}
	// A token of no known layout is used as it came.
	h, src := newServer(crtauthtest.Options{})
	h.Intercept(response(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-CHAP", "token : some+text/of.theirs= ")
	}))
	tok, err := src.Issue(t.Context())
	require.NoError(t, err)
	assert.Equal(t, "some+text/of.theirs=", tok.Value.Reveal())
	assert.Zero(t, tok.Life)
	req := &http.Request{}
	require.NoError(t, src.Authorize(req, tok))
	assert.Equal(t, "chap:some+text/of.theirs=", req.Header.Get("Authorization"))
}

// A response that is refused is made anew when it may have come too late, once, and never otherwise.
func TestR19_LateResponse(t *testing.T) {
	for _, tt := range []struct {
		name                 string
		first, second        time.Duration // of the signature
		ok                   bool
		signatures, refusals int
		permanent            bool
	}{
		{"in time", 14 * time.Second, 0, true, 1, 0, false},
		{"late, then in time", 21 * time.Second, time.Second, true, 2, 0, false},
		{"late twice", 25 * time.Second, 25 * time.Second, false, 2, 2, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			clk := clock.NewFake(time.Unix(1700000000, 0))
			_, src := newServer(crtauthtest.Options{Clock: clk})
			key := &slow{Signer: src.Signer}
			key.before = func(context.Context) error {
				clk.Advance(map[int32]time.Duration{1: tt.first, 2: tt.second}[key.signed.Load()])
				return nil
			}
			src.Signer = key
			if tt.ok {
				_, err := src.Issue(t.Context())
				require.NoError(t, err)
			} else {
				e := fails(t, src)
				assert.Equal(t, tt.refusals, e.Refusals)
				assert.Equal(t, tt.permanent, e.Permanent)
				assert.ErrorContains(t, e, "sign faster")
			}
			assert.EqualValues(t, tt.signatures, key.signed.Load())
		})
	}
	for age, signatures := range map[time.Duration]int32{0: 1, 15 * time.Second: 1, 15*time.Second + 1: 2} {
		clk := clock.NewFake(time.Unix(1700000000, 0))
		h, src := newServer(crtauthtest.Options{Clock: clk})
		h.Intercept(response(status(403)))
		key := &slow{Signer: src.Signer}
		key.before = func(context.Context) error {
			if key.signed.Load() == 1 {
				clk.Advance(age)
			}
			return nil
		}
		src.Signer = key
		e := fails(t, src)
		assert.Equal(t, signatures, key.signed.Load(), "%v", age)
		assert.True(t, e.Permanent && e.Kind == renew.Refused, "%v", e)
		assert.Equal(t, signatures == 2, e.Refusals == 2)
	}
}

// R18: a login whose first response was refused, as too late, was judged by the server, whatever comes after.
func TestR18_LateRefusalCostsAUnit(t *testing.T) {
	for name, tt := range map[string]struct {
		agent, dial error
		status      int
		kind        renew.Kind
	}{
		"the agent fails":       {agent: errors.New("nobody was there to allow it"), kind: renew.Transient},
		"the server is gone":    {dial: &net.OpError{Op: "dial", Err: io.EOF}, kind: renew.Transient},
		"the server fails":      {status: 503, kind: renew.Transient},
		"the server has enough": {status: 429, kind: renew.Throttled},
	} {
		clk := clock.NewFake(time.Unix(1700000000, 0))
		h, src := newServer(crtauthtest.Options{Clock: clk})
		key := &slow{Signer: src.Signer}
		key.before = func(context.Context) error {
			if key.signed.Load() == 1 {
				clk.Advance(25 * time.Second)
				return nil
			}
			return tt.agent
		}
		src.Signer = key
		src.HTTPClient.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
			if h.Counts().Refused == 1 && tt.dial != nil {
				return nil, tt.dial
			}
			return inProcess{h}.RoundTrip(r)
		})
		h.Intercept(func(w http.ResponseWriter, _ *http.Request) bool {
			if h.Counts().Refused == 1 && tt.status != 0 {
				w.WriteHeader(tt.status)
				return true
			}
			return false
		})
		e := fails(t, src)
		assert.Equal(t, tt.kind, e.Kind, "%s: %v", name, e)
		assert.Equal(t, 1, e.Refusals, "%s: %v", name, e)
		assert.False(t, e.Unsent, "%s: %v", name, e)
		assert.Equal(t, 1, h.Counts().Refused, name)
	}
}

// A user that the server does not know looks like another key: the error names what it can be.
func TestNoKey(t *testing.T) {
	_, src := newServer(crtauthtest.Options{})
	src.User = "mallory"
	e := fails(t, src)
	assert.True(t, e.Permanent && e.Kind == renew.Refused, "%v", e)
	for _, text := range []string{"does not know user", "ssh-add", "another key", "4f08733ffce3"} {
		assert.ErrorContains(t, e, text)
	}
	_, src = newServer(crtauthtest.Options{Users: map[string]*rsa.PublicKey{"alice": &private("k3072").PublicKey}})
	src.Signer = crtauth.Signers{pemKey("k2048"), pemKey("k2048_other")}
	got, ok := errors.AsType[*crtauth.NoKeyError](fails(t, src))
	require.True(t, ok)
	assert.Equal(t, "299d89e3861d", got.Want.String())
	assert.Equal(t, "[4f08733ffce3 1ab9055079bf]", fmt.Sprint(got.Have))
}

func TestUserDefault(t *testing.T) {
	h, src := newServer(crtauthtest.Options{})
	src.User = ""
	t.Setenv("USER", "alice")
	require.NoError(t, src.Validate())
	_, err := src.Issue(t.Context())
	require.NoError(t, err)
	assert.Equal(t, 1, h.Counts().Logins)
	t.Setenv("USER", "")
	ce, ok := errors.AsType[*renew.ConfigError](src.Validate())
	require.True(t, ok)
	assert.Equal(t, "Source.User", ce.Field)
	assert.Contains(t, ce.Reason, "$USER")
	e := fails(t, src)
	assert.True(t, e.Kind == renew.Invalid && e.Unsent, "%v", e)
}

func TestValidate(t *testing.T) {
	good := crtauth.Source{Origin: "https://api.example", User: "alice", Signer: pemKey("k2048")}
	require.NoError(t, good.Validate())
	for field, change := range map[string]func(s *crtauth.Source){
		"Source.Origin":       func(s *crtauth.Source) { s.Origin = "" },
		"Source.Origin ":      func(s *crtauth.Source) { s.Origin = "http://api.example" },
		"Source.Origin  ":     func(s *crtauth.Source) { s.Origin = "api.example" },
		"Source.Origin   ":    func(s *crtauth.Source) { s.Origin = "https://" },
		"Source.Origin    ":   func(s *crtauth.Source) { s.Origin = "https://api.example:x" },
		"Source.Version":      func(s *crtauth.Source) { s.Version = 2 },
		"Source.Path":         func(s *crtauth.Source) { s.Path = "_auth" },
		"Source.ServerName":   func(s *crtauth.Source) { s.ServerName = "api.example:443" },
		"Source.ServerName ":  func(s *crtauth.Source) { s.Origin = "https://[::1]" },
		"Source.ServerName  ": func(s *crtauth.Source) { s.ServerName = strings.Repeat("a", 256) },
		"Source.User":         func(s *crtauth.Source) { s.User = strings.Repeat("u", 65) },
		"Source.User ":        func(s *crtauth.Source) { s.User = "\xff" },
		"Source.User  ":       func(s *crtauth.Source) { s.User, s.Version = "al\nice", crtauth.Version0 },
		"Source.User   ":      func(s *crtauth.Source) { s.User, s.Version = "alice ", crtauth.Version0 },
		"Source.User    ":     func(s *crtauth.Source) { s.User, s.Version = "AXGjYWJj", crtauth.Version0 },
		"Source.User     ":    func(s *crtauth.Source) { s.User, s.Version = "alice\x7f", crtauth.Version0 },
		"Source.User      ":   func(s *crtauth.Source) { s.User, s.Version = "AXHZAWE", crtauth.Version0 }, // str8
		"Source.User       ":  func(s *crtauth.Source) { s.User, s.Version = "BHGhYQ", crtauth.Version0 },  // version 4
		"Signers":             func(s *crtauth.Source) { s.Signer = crtauth.Signers{} },
		"Signers[1]":          func(s *crtauth.Source) { s.Signer = crtauth.Signers{&crtauth.Agent{}, nil} },
		"Agent.Timeout":       func(s *crtauth.Source) { s.Signer = crtauth.Signers{&crtauth.Agent{Timeout: -1}} },
		"PEM.Key":             func(s *crtauth.Source) { s.Signer = &crtauth.PEM{} },
		"Local":               func(s *crtauth.Source) { s.Signer = crtauth.Local(nil) },
	} {
		s := good
		change(&s)
		ce, ok := errors.AsType[*renew.ConfigError](s.Validate())
		require.True(t, ok, field)
		assert.Equal(t, strings.TrimSpace(field), ce.Field)
	}
	for _, change := range []func(s *crtauth.Source){
		func(s *crtauth.Source) { s.Origin = "http://127.0.0.1:8080" },
		func(s *crtauth.Source) { s.Origin = "http://localhost" },
		func(s *crtauth.Source) { s.Origin, s.AllowPlaintext = "http://api.example", true },
		func(s *crtauth.Source) { s.User = strings.Repeat("å", 32) },
		func(s *crtauth.Source) { s.User, s.Version = "jane.doe", crtauth.Version0 },
		func(s *crtauth.Source) { s.User, s.Version = "AXE", crtauth.Version0 },    // ends behind the magic
		func(s *crtauth.Source) { s.User, s.Version = "AXGg", crtauth.Version0 },   // an empty name
		func(s *crtauth.Source) { s.User, s.Version = "BXGhYQ", crtauth.Version0 }, // version 5
	} {
		s := good
		change(&s)
		assert.NoError(t, s.Validate())
	}
}
