package httpsig

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"github.com/dunglas/httpsfv"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/clock"
	"github.com/seed-f29168f7/renew/sources/internal/leaktest"
)

// signed returns a request as a server receives it.
func signed(t testing.TB, s *Signer, method, target, body string) *http.Request {
	t.Helper()
	out, err := http.NewRequest(method, "https://api.example"+target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		out.Header.Set("Content-Type", "text/plain")
	}
	if _, err := s.Authenticate(out); err != nil {
		t.Fatal(err)
	}
	in := httptest.NewRequest(method, target, strings.NewReader(body))
	in.Host, in.Header = "api.example", out.Header
	return in
}

// code returns the code of a refusal, its status where it has none, and "taken" for none.
func code(err error) string {
	e, ok := errors.AsType[*VerifyError](err)
	switch {
	case err == nil:
		return "taken"
	case !ok:
		return "another error: " + err.Error()
	case e.Code != "":
		return e.Code
	}
	return fmt.Sprint(e.Status)
}

// edit changes the text of a header.
func edit(name string, pairs ...string) func(*http.Request) {
	return func(r *http.Request) {
		r.Header.Set(name, strings.NewReplacer(pairs...).Replace(r.Header.Get(name)))
	}
}

// What an attacker may do to a request that was signed.
func TestHttpsig_Attacks(t *testing.T) {
	target := func(text string) func(*http.Request) {
		return func(r *http.Request) {
			u, err := url.ParseRequestURI(text)
			if err != nil {
				t.Fatal(err)
			}
			r.URL = u
		}
	}
	other := ContentDigest(SHA256, []byte("other"))
	for _, tt := range []struct {
		name   string
		change func(*http.Request)
		want   string
	}{
		{"nothing", func(*http.Request) {}, "taken"},
		{"a field that is not covered", func(r *http.Request) { r.Header.Set("X-Other", "1") }, "taken"},
		{"host in capitals, with the scheme's port", func(r *http.Request) { r.Host = "API.example:443" }, "taken"},
		{"a signature more, of nobody", func(r *http.Request) {
			r.Header.Add("Signature-Input", `x=("@method");created=1767323045;keyid="k9"`)
			r.Header.Add("Signature", "x=:AAAA:")
		}, "taken"},
		{"a malformed member more", func(r *http.Request) { r.Header.Add("Signature-Input", "x=1") }, "taken"},
		{"method", func(r *http.Request) { r.Method = "PUT" }, "invalid_signature"},
		{"method in small letters", func(r *http.Request) { r.Method = "post" }, "invalid_signature"},
		{"path", target("/a/b%2Fd?x=1&x=2"), "invalid_signature"},
		{"escaped slash opened", target("/a/b/c?x=1&x=2"), "invalid_signature"},
		{"escaped slash in small letters", target("/a/b%2fc?x=1&x=2"), "invalid_signature"},
		{"dot segments", target("/a/./b%2Fc?x=1&x=2"), "invalid_signature"},
		{"doubled slash", target("//a/b%2Fc?x=1&x=2"), "invalid_signature"},
		{"query exchanged", target("/a/b%2Fc?x=2&x=1"), "invalid_signature"},
		{"query more", target("/a/b%2Fc?x=1&x=2&"), "invalid_signature"},
		{"no query", target("/a/b%2Fc"), "invalid_signature"},
		{"path that ends the line", func(r *http.Request) { r.URL = &url.URL{Path: "/a\n\"@query\": ?"} }, "invalid_signature"},
		{"query that ends the line", func(r *http.Request) { r.URL.RawQuery = "x=1&x=2\n" }, "invalid_signature"},
		{"host", func(r *http.Request) { r.Host = "evil.example" }, "invalid_signature"},
		{"port", func(r *http.Request) { r.Host = "api.example:8443" }, "invalid_signature"},
		{"host that ends the line", func(r *http.Request) { r.Host = "api.example\n" }, "invalid_signature"},
		{"body", func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader("other")) }, "invalid_signature"},
		{"body and digest", func(r *http.Request) {
			r.Body = io.NopCloser(strings.NewReader("other"))
			r.Header.Set("Content-Digest", other)
		}, "invalid_signature"},
		{"a second digest", func(r *http.Request) { r.Header.Add("Content-Digest", other) }, "invalid_signature"},
		{"no body", func(r *http.Request) { r.Body, r.ContentLength = http.NoBody, 0 }, "invalid_signature"},
		{"no digest", func(r *http.Request) { r.Header.Del("Content-Digest") }, "invalid_signature"},
		{"content type", func(r *http.Request) { r.Header.Set("Content-Type", "text/html") }, "invalid_signature"},
		{"content type twice", func(r *http.Request) { r.Header.Add("Content-Type", "text/plain") }, "invalid_signature"},
		{"no signature", func(r *http.Request) { r.Header.Del("Signature") }, "invalid_signature"},
		{"no input", func(r *http.Request) { r.Header.Del("Signature-Input") }, "invalid_signature"},
		{"empty signature", func(r *http.Request) { r.Header.Set("Signature", "sig1=::") }, "invalid_signature"},
		{"signature that is a text", func(r *http.Request) { r.Header.Set("Signature", `sig1="abc"`) }, "invalid_signature"},
		{"signature with an empty list", func(r *http.Request) { r.Header.Set("Signature", `sig1=()`) }, "invalid_signature"},
		{"another label", edit("Signature", "sig1", "sig2"), "invalid_signature"},
		{"the label twice, the last of somebody else", func(r *http.Request) {
			r.Header.Add("Signature-Input", `sig1=("@method");created=1767323045;keyid="k1"`)
		}, "invalid_signature"},
		{"component less", edit("Signature-Input", `"@query" `, ""), "invalid_signature"},
		{"components in another order", edit("Signature-Input", `"@path" "@query"`, `"@query" "@path"`), "invalid_signature"},
		{"component more", edit("Signature-Input", `"@query"`, `"@query" "x-other"`), "invalid_signature"},
		{"component twice", edit("Signature-Input", `"@query"`, `"@query" "@query"`), "invalid_signature"},
		{"component with a parameter", edit("Signature-Input", `"content-type"`, `"content-type";sf`), "invalid_signature"},
		{"component of the request in a request", edit("Signature-Input", `"@path"`, `"@path";req`), "invalid_signature"},
		{"component that is a token", edit("Signature-Input", `"content-type"`, `content-type`), "invalid_signature"},
		{"the parameters as a component", edit("Signature-Input", `"@query"`, `"@query" "@signature-params"`), "invalid_signature"},
		{"created", edit("Signature-Input", "created=1767323045", "created=1767323046"), "invalid_signature"},
		{"created long ago", edit("Signature-Input", "created=1767323045", "created=1"), "time"},
		{"created as a text", edit("Signature-Input", "created=1767323045", `created="1767323045"`), "invalid_signature"},
		{"created as a decimal", edit("Signature-Input", "created=1767323045", "created=1767323045.0"), "invalid_signature"},
		{"created as a date", edit("Signature-Input", "created=1767323045", "created=@1767323045"), "invalid_signature"},
		{"no created", edit("Signature-Input", ";created=1767323045", ""), "invalid_signature"},
		{"expires", edit("Signature-Input", "expires=1767323345", "expires=1767323346"), "invalid_signature"},
		{"no expires", edit("Signature-Input", ";expires=1767323345", ""), "invalid_signature"},
		{"expires now", edit("Signature-Input", "expires=1767323345", "expires=1767323045"), "time"},
		{"nonce", edit("Signature-Input", `nonce="`, `nonce="x`), "invalid_signature"},
		{"key id", edit("Signature-Input", `keyid="k1"`, `keyid="k2"`), "invalid_signature"},
		{"unknown key id", edit("Signature-Input", `keyid="k1"`, `keyid="k9"`), "invalid_signature"},
		{"no key id", edit("Signature-Input", `;keyid="k1"`, ""), "invalid_signature"},
		{"algorithm", edit("Signature-Input", `keyid="k1"`, `keyid="k1";alg="hmac-sha256"`), "invalid_signature"},
		{"the right algorithm, unsigned", edit("Signature-Input", `keyid="k1"`, `keyid="k1";alg="ed25519"`), "invalid_signature"},
		{"a parameter more", edit("Signature-Input", `keyid="k1"`, `keyid="k1";x=1`), "invalid_signature"},
		{"a long input", func(r *http.Request) {
			r.Header.Set("Signature-Input", r.Header.Get("Signature-Input")+`;x="`+strings.Repeat("a", maxFields)+`"`)
		}, "invalid_signature"},
		{"many components", edit("Signature-Input", `"@query"`, `"@query"`+manyComponents()), "invalid_signature"},
		{"many signatures", func(r *http.Request) {
			for i := range maxClaims {
				r.Header.Add("Signature-Input", fmt.Sprintf(`x%d=();created=1767323045;keyid="k1"`, i))
				r.Header.Add("Signature", fmt.Sprintf("x%d=:AAAA:", i))
			}
		}, "invalid_signature"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, v := testSigner(t, Ed25519, clock.NewFake(start))
			v.Keys["k2"], v.Scheme = verifyKey(t, ECDSAP256SHA256), "https"
			r := signed(t, s, "POST", "/a/b%2Fc?x=1&x=2", "what it says")
			tt.change(r)
			got, err := v.VerifyRequest(r)
			if code(err) != tt.want || err == nil && got.KeyID != "k1" {
				t.Errorf("VerifyRequest = %+v, %v; want %s", got, err, tt.want)
			}
			leaktest.Check(t, err, "what it says", "k9")
		})
	}
}

func manyComponents() string {
	var b strings.Builder
	for i := range maxComponents {
		fmt.Fprintf(&b, ` "x-%d"`, i)
	}
	return b.String()
}

// A body that was added to a request without one is not covered, so it is refused; also one that says it has no length.
func TestHttpsig_BodyAdded(t *testing.T) {
	for _, length := range []int64{5, -1, 0} {
		s, v := testSigner(t, Ed25519, clock.NewFake(start))
		v.Scheme = "https"
		r := signed(t, s, "POST", "/", "")
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader("added")), length
		if _, err := v.VerifyRequest(r); code(err) != "invalid_signature" {
			t.Errorf("length %d: %v", length, err)
		}
	}
}

// A key serves its own algorithm: what the message says selects nothing.
func TestHttpsig_AlgorithmIsBoundToTheKey(t *testing.T) {
	algorithms := []Algorithm{RSAPSSSHA512, RSAv15SHA256, HMACSHA256, ECDSAP256SHA256, ECDSAP384SHA384, Ed25519}
	for _, signs := range algorithms {
		for _, verifies := range algorithms {
			for _, says := range []bool{false, true} {
				s, v := testSigner(t, signs, clock.NewFake(start))
				v.Scheme, s.SendAlgorithm = "https", says
				v.Keys["k1"] = verifyKey(t, verifies)
				_, err := v.VerifyRequest(signed(t, s, "GET", "/", ""))
				if (err == nil) != (signs == verifies) {
					t.Errorf("%s with a key for %s: %v", signs, verifies, err)
				}
			}
		}
	}
	// A good signature that names another algorithm than its own.
	for says, want := range map[Algorithm]string{RSAPSSSHA512: "taken", RSAv15SHA256: "invalid_signature", HMACSHA256: "invalid_signature", "none": "invalid_signature"} {
		s, v := testSigner(t, RSAPSSSHA512, clock.NewFake(start))
		v.Required = []string{}
		r := httptest.NewRequest("GET", "/", nil)
		params := httpsfv.NewParams()
		params.Add("created", start.Unix())
		params.Add("keyid", "k1")
		params.Add("alg", string(says))
		text, list, err := base(received(r, ""), known("@method"), params)
		if err != nil {
			t.Fatal(err)
		}
		sum, err := s.sign(t.Context(), text)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Signature-Input", "sig1="+list)
		r.Header.Set("Signature", "sig1=:"+base64.StdEncoding.EncodeToString(sum)+":")
		if _, err := v.VerifyRequest(r); code(err) != want {
			t.Errorf("alg=%s: %v, want %s", says, err, want)
		}
	}
	// The classic: a public key taken for a secret.
	public, err := x509.MarshalPKIXPublicKey(testKeys()[RSAPSSSHA512].Public())
	if err != nil {
		t.Fatal(err)
	}
	s, v := testSigner(t, HMACSHA256, clock.NewFake(start))
	s.Secret, v.Keys["k1"] = renew.NewSecret(string(public)), verifyKey(t, RSAPSSSHA512)
	if _, err := v.VerifyRequest(signed(t, s, "GET", "/", "")); code(err) != "invalid_signature" {
		t.Errorf("a public key as a secret: %v", err)
	}
}

func TestRequired(t *testing.T) {
	for _, tt := range []struct {
		name            string
		covers, require []string
		want            string
	}{
		{"the same", []string{"@method", "x-a"}, []string{"x-a", "@method"}, "taken"},
		{"more", []string{"@method", "x-a"}, []string{"@method"}, "taken"},
		{"less", []string{"@method"}, []string{"@method", "x-a"}, "invalid_signature"},
		{"the target for its parts", []string{"@method", "@target-uri"}, nil, "taken"},
		{"not for others", []string{"@target-uri"}, nil, "invalid_signature"},
		{"parts for the target", []string{"@method", "@authority", "@path", "@query", "@scheme"}, []string{"@target-uri"}, "invalid_signature"},
		{"a parameter", []string{`@query-param;name="q"`}, []string{`@query-param;name="q"`}, "taken"},
		{"another parameter", []string{`@query-param;name="q"`}, []string{`@query-param;name="r"`}, "invalid_signature"},
		{"a member for a field", []string{`x-d;key="a"`}, []string{"x-d"}, "invalid_signature"},
		{"a member", []string{`x-d;key="a"`}, []string{`x-d;key="a"`}, "taken"},
		{"bytes for a field", []string{"x-a;bs"}, []string{"x-a"}, "invalid_signature"},
		{"nothing", []string{"@method"}, []string{}, "taken"},
	} {
		s, v := testSigner(t, HMACSHA256, clock.NewFake(start))
		s.Components, v.Required, v.Scheme = tt.covers, tt.require, "https"
		out, err := http.NewRequest("GET", "https://api.example/?q=1&r=2", nil)
		if err != nil {
			t.Fatal(err)
		}
		out.Header = http.Header{"X-A": {"1"}, "X-D": {"a=1, b=2", "c;x"}}
		if _, err := s.Authenticate(out); err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		in := httptest.NewRequest("GET", "/?q=1&r=2", nil)
		in.Host, in.Header = "api.example", out.Header
		if _, err := v.VerifyRequest(in); code(err) != tt.want {
			t.Errorf("%s: %v, want %s", tt.name, err, tt.want)
		}
	}
}

// @target-uri stands for its parts, of the same message.
func TestTargetStandsForItsParts(t *testing.T) {
	for _, tt := range []struct {
		covered, required string
		ok                bool
	}{
		{"@target-uri", "@path", true}, {"@target-uri", "@scheme", true}, {"@target-uri", "@method", false},
		{"@target-uri;req", "@query;req", true}, {"@target-uri;req", "@path", false}, {"@target-uri", "@path;req", false},
	} {
		covered, err := parseComponents([]string{tt.covered})
		required, rerr := parseComponents([]string{tt.required})
		if err != nil || rerr != nil {
			t.Fatal(err, rerr)
		}
		if err := covers(covered, required); (err == nil) != tt.ok {
			t.Errorf("%s for %s: %v", tt.covered, tt.required, err)
		}
	}
}

// A request target that cannot stand in a line is not replaced by another one.
func TestRequestTarget(t *testing.T) {
	for target, ok := range map[string]bool{"/a": true, "https://h/a": true, "/a\n": false, "/\u00fc": false} {
		r := httptest.NewRequest("GET", "/", nil)
		r.RequestURI = target
		if got, err := received(r, "").derived("@request-target"); (err == nil) != ok || ok && got != target {
			t.Errorf("%q: %q, %v", target, got, err)
		}
	}
}

func TestWindow(t *testing.T) {
	for _, tt := range []struct {
		window, life, late time.Duration
		want               string
	}{
		{0, -1, 5 * time.Minute, "taken"},
		{0, -1, 5*time.Minute + 1, "time"},
		{0, -1, -5 * time.Minute, "taken"},
		{0, -1, -5*time.Minute - 1, "time"},
		{time.Second, -1, 2 * time.Second, "time"},
		{0, 0, 5*time.Minute - 1, "taken"},
		{time.Hour, 0, 5 * time.Minute, "time"},
		{0, 10 * time.Second, 10*time.Second - 1, "taken"},
		{0, 10 * time.Second, 10 * time.Second, "time"},
	} {
		clk := clock.NewFake(start)
		s, v := testSigner(t, HMACSHA256, clk)
		v.Window, s.Life, v.Scheme = tt.window, tt.life, "https"
		r := signed(t, s, "GET", "/", "")
		v.Clock = clock.NewFake(start.Add(tt.late))
		if _, err := v.VerifyRequest(r); code(err) != tt.want {
			t.Errorf("window %v, life %v, %v late: %v, want %s", tt.window, tt.life, tt.late, err, tt.want)
		}
	}
}

// replay sends the same bytes again.
func replay(t testing.TB, v *Verifier, r *http.Request, body string) string {
	c := r.Clone(t.Context())
	c.Body = io.NopCloser(strings.NewReader(body))
	_, err := v.VerifyRequest(c)
	return code(err)
}

func TestReplay(t *testing.T) {
	for _, a := range []Algorithm{HMACSHA256, ECDSAP256SHA256} {
		clk := clock.NewFake(start)
		s, v := testSigner(t, a, clk)
		s.Life, v.Scheme = -1, "https"
		r := signed(t, s, "POST", "/", "x")
		for _, st := range []struct {
			after time.Duration
			want  string
		}{{0, "taken"}, {0, "replayed"}, {5 * time.Minute, "replayed"}, {1, "time"}} {
			clk.Advance(st.after)
			if got := replay(t, v, r, "x"); got != st.want {
				t.Errorf("%s at %v: %s, want %s", a, clk.Now().Wall.Sub(start), got, st.want)
			}
		}
		r = signed(t, s, "POST", "/", "x")
		first := replay(t, v, r, "x")
		clk.StepWall(time.Hour)
		middle := replay(t, v, r, "x")
		clk.StepWall(-time.Hour)
		if last := replay(t, v, r, "x"); first != "taken" || middle != "time" || last != "replayed" {
			t.Errorf("with a clock that steps away and back: %s, %s, %s", first, middle, last)
		}
	}
}

// An ECDSA signature can be changed into another good one by everybody: r, n-s. That is a replay all the same, also without a nonce.
func TestHttpsig_ReplayOfATwin(t *testing.T) {
	for _, nonce := range []string{"", "n-1"} {
		s, v := testSigner(t, ECDSAP256SHA256, clock.NewFake(start))
		s.Nonce, v.Scheme = func() string { return nonce }, "https"
		r := signed(t, s, "GET", "/", "")
		if got := replay(t, v, r, ""); got != "taken" {
			t.Fatal(got)
		}
		text := strings.Trim(strings.TrimPrefix(r.Header.Get("Signature"), "sig1="), ":")
		sum, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		twin := new(big.Int).Sub(elliptic.P256().Params().N, new(big.Int).SetBytes(sum[32:]))
		twin.FillBytes(sum[32:])
		r.Header.Set("Signature", "sig1=:"+base64.StdEncoding.EncodeToString(sum)+":")
		if got := replay(t, v, r, ""); got != "replayed" {
			t.Errorf("nonce %q: the twin is %s, want replayed", nonce, got)
		}
	}
}

// A request with two signatures is one request: the second cannot be sent alone later.
func TestReplayByTheOtherSignature(t *testing.T) {
	s, v := testSigner(t, Ed25519, clock.NewFake(start))
	v.Scheme = "https"
	r := signed(t, s, "GET", "/", "")
	first := r.Header.Clone()
	s.Label = "sig2"
	second := signed(t, s, "GET", "/", "").Header
	for _, name := range []string{"Signature", "Signature-Input"} {
		r.Header[name] = []string{first.Get(name), second.Get(name)}
	}
	if got := replay(t, v, r, ""); got != "taken" {
		t.Fatal(got)
	}
	for _, h := range []http.Header{first, second} {
		r.Header = h
		if got := replay(t, v, r, ""); got != "replayed" {
			t.Errorf("one of two signatures alone: %s, want replayed", got)
		}
	}
}

// slowBody lets time pass while it is read: an attacker may send the last byte when he likes.
type slowBody struct {
	io.Reader
	pass func()
}

func (b slowBody) Read(p []byte) (int, error) {
	b.pass()
	return b.Reader.Read(p)
}

// A copy whose body ends after its signature has, and is forgotten, is not taken.
func TestHttpsig_ReplayByASlowBody(t *testing.T) {
	for _, life := range []time.Duration{-1, time.Minute} {
		clk := clock.NewFake(start)
		s, v := testSigner(t, Ed25519, clk)
		v.Scheme, s.Life = "https", life
		r := signed(t, s, "POST", "/", "x")
		c := r.Clone(t.Context())
		if got := replay(t, v, r, "x"); got != "taken" {
			t.Fatal(got)
		}
		c.Body = io.NopCloser(slowBody{strings.NewReader("x"), func() {
			clk.Advance(10 * time.Minute)
			if _, err := v.VerifyRequest(signed(t, s, "GET", "/", "")); err != nil {
				t.Error(err)
			}
		}})
		if _, err := v.VerifyRequest(c); code(err) != "time" {
			t.Errorf("life %v: %v, want time", life, err)
		}
	}
}

// What expires while its body arrives is not taken; and what has expired takes no place in the memory.
func TestHttpsig_Expires(t *testing.T) {
	clk := clock.NewFake(start)
	s, v := testSigner(t, Ed25519, clk)
	v.Scheme, v.MaxRemembered, s.Life = "https", 1, time.Minute
	for _, st := range []struct {
		wait, slow time.Duration
		want       string
	}{{0, time.Minute - 1, "taken"}, {0, 0, "503"}, {1, 0, "taken"}, {time.Minute, time.Minute, "time"}, {0, 0, "taken"}} {
		clk.Advance(st.wait)
		r := signed(t, s, "POST", "/", "x")
		r.Body = io.NopCloser(slowBody{strings.NewReader("x"), sync.OnceFunc(func() { clk.Advance(st.slow) })})
		if _, err := v.VerifyRequest(r); code(err) != st.want {
			t.Errorf("%+v: %v", st, err)
		}
	}
}

// A clock that is set back makes times good again: what was taken is remembered for as long.
func TestHttpsig_ReplayAfterTheClockIsSetBack(t *testing.T) {
	for _, back := range []time.Duration{10 * time.Second, time.Hour} {
		clk := clock.NewFake(start)
		s, v := testSigner(t, Ed25519, clk)
		v.Scheme, s.Life = "https", -1
		r := signed(t, s, "GET", "/", "")
		if got := replay(t, v, r, ""); got != "taken" {
			t.Fatal(got)
		}
		clk.StepWall(-back)
		clk.Advance(back + 5*time.Minute)
		if got := replay(t, v, r, ""); got != "replayed" {
			t.Errorf("%v back: %s, want replayed", back, got)
		}
	}
}

func TestReplayMemoryIsBounded(t *testing.T) {
	clk := clock.NewFake(start)
	s, v := testSigner(t, HMACSHA256, clk)
	v.MaxRemembered, v.Scheme = 3, "https"
	stranger := &Signer{KeyID: "k1", Secret: renew.NewSecret("a guess"), Clock: clk}
	for range 10 {
		if _, err := v.VerifyRequest(signed(t, stranger, "GET", "/", "")); code(err) != "invalid_signature" {
			t.Fatal(err)
		}
	}
	var got []string
	for range 5 {
		_, err := v.VerifyRequest(signed(t, s, "GET", "/", ""))
		got = append(got, code(err))
	}
	if want := "[taken taken taken 503 503]"; fmt.Sprint(got) != want {
		t.Errorf("%v, want %s", got, want)
	}
	clk.Advance(5*time.Minute + time.Second)
	if _, err := v.VerifyRequest(signed(t, s, "GET", "/", "")); err != nil {
		t.Errorf("after the window: %v", err)
	}
}

func TestReplayRace(t *testing.T) {
	s, v := testSigner(t, Ed25519, clock.NewFake(start))
	v.Scheme = "https"
	r := signed(t, s, "POST", "/", "x")
	var taken atomic.Int32
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			if replay(t, v, r, "x") == "taken" {
				taken.Add(1)
			}
		})
	}
	wg.Wait()
	if taken.Load() != 1 {
		t.Errorf("%d of 16 copies taken, want 1", taken.Load())
	}
}

// What is longer than the limit is refused before it is read, however well it is signed.
func TestLongFields(t *testing.T) {
	for size, want := range map[int]string{maxFields - 1000: "taken", maxFields: "invalid_signature"} {
		s, v := testSigner(t, HMACSHA256, clock.NewFake(start))
		s.Tag, v.Scheme = strings.Repeat("a", size), "https"
		if _, err := v.VerifyRequest(signed(t, s, "GET", "/", "")); code(err) != want {
			t.Errorf("a tag of %d bytes: %v, want %s", size, err, want)
		}
	}
}

// A request that was signed for another host with the same key is not taken.
func TestHttpsig_Hosts(t *testing.T) {
	for _, tt := range []struct {
		hosts []string
		host  string
		want  string
	}{
		{nil, "api.example", "taken"},
		{[]string{"x.example", "API.example"}, "api.example", "taken"},
		{[]string{"api.example"}, "api.example:443", "taken"},
		{[]string{"api.example"}, "api.example:8443", "invalid_signature"},
		{[]string{"x.example"}, "api.example", "invalid_signature"},
		{[]string{}, "api.example", "invalid_signature"},
	} {
		s, v := testSigner(t, HMACSHA256, clock.NewFake(start))
		v.Scheme, v.Hosts = "https", tt.hosts
		out, err := http.NewRequest("GET", "https://"+tt.host+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Authenticate(out); err != nil {
			t.Fatal(err)
		}
		in := httptest.NewRequest("GET", "/", nil)
		in.Host, in.Header = tt.host, out.Header
		if _, err := v.VerifyRequest(in); code(err) != tt.want {
			t.Errorf("%v, host %s: %v, want %s", tt.hosts, tt.host, err, tt.want)
		}
	}
}

func TestKeyFunc(t *testing.T) {
	clk := clock.NewFake(start)
	s, v := testSigner(t, HMACSHA256, clk)
	key := v.Keys["k1"]
	v.Keys, v.Scheme = nil, "https"
	v.KeyFunc = func(_ context.Context, id string) (VerifyKey, error) {
		switch id {
		case "k1":
			return key, nil
		case "broken":
			return key, errors.New("the database of " + testSecret)
		}
		return VerifyKey{}, nil
	}
	for id, want := range map[string]string{"k1": "taken", "broken": "503", "k9": "invalid_signature"} {
		s.KeyID = id
		_, err := v.VerifyRequest(signed(t, s, "GET", "/", ""))
		if code(err) != want {
			t.Errorf("%s: %v, want %s", id, err, want)
		}
		leaktest.Check(t, err, testSecret)
	}
}

func TestBodyIsBounded(t *testing.T) {
	for _, tt := range []struct {
		name string
		body io.Reader
		want string
	}{
		{"at the limit", strings.NewReader("12345678"), "taken"},
		{"beyond it", strings.NewReader("123456789"), "413"},
		{"without end", endless{}, "413"},
		{"broken", iotest.ErrReader(errors.New(testSecret)), "400"},
	} {
		s, v := testSigner(t, HMACSHA256, clock.NewFake(start))
		v.MaxBody, v.Scheme = 8, "https"
		r := signed(t, s, "POST", "/", "12345678")
		r.Body = io.NopCloser(tt.body)
		_, err := v.VerifyRequest(r)
		if code(err) != tt.want {
			t.Errorf("%s: %v, want %s", tt.name, err, tt.want)
		}
		leaktest.Check(t, err, testSecret)
	}
	// What no key signed has its body left unread.
	s, v := testSigner(t, HMACSHA256, clock.NewFake(start))
	s.Secret = renew.NewSecret("a guess")
	r := signed(t, s, "POST", "/", "12345678")
	r.Body = io.NopCloser(iotest.ErrReader(errors.New("it was read")))
	if _, err := v.VerifyRequest(r); code(err) != "invalid_signature" {
		t.Errorf("the body of a stranger: %v", err)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func TestContentDigest(t *testing.T) {
	right256, right512 := ContentDigest(SHA256, []byte("x")), ContentDigest(SHA512, []byte("x"))
	for _, tt := range []struct {
		fields []string
		ok     bool
	}{
		{[]string{right256}, true},
		{[]string{right256, right512}, true},
		{[]string{right256 + ", " + right512 + ", md5=:AAAA:, x"}, true},
		{[]string{right256, ContentDigest(SHA512, nil)}, false},
		{[]string{ContentDigest(SHA256, nil), right256}, true}, // the last of one name counts (RFC 8941, section 4.2.2)
		{nil, false},
		{[]string{""}, false},
		{[]string{"md5=:AAAA:"}, false},
		{[]string{"sha-256"}, false},
		{[]string{`sha-256="abc"`}, false},
		{[]string{"sha-256=::"}, false},
		{[]string{"sha-256=(:AAAA:)"}, false},
		{[]string{right256 + ", a=:" + strings.Repeat("A", maxDigest) + ":"}, false},
		{[]string{"SHA-256=:AAAA:"}, false},
	} {
		if err := CheckContentDigest(tt.fields, []byte("x")); (err == nil) != tt.ok {
			t.Errorf("%.80q: %v, want ok %t", tt.fields, err, tt.ok)
		}
	}
	if got := ContentDigest("md5", nil); got != "" {
		t.Errorf("md5: %s", got)
	}
}

// A response that is tied to its request.
func TestResponse(t *testing.T) {
	secret := renew.NewSecret(testSecret)
	answer := func() *http.Response {
		req, err := http.NewRequest("POST", "https://api.example/orders?x=1", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Nonce", "n-1")
		return &http.Response{StatusCode: 201, Request: req, Header: http.Header{"Content-Digest": {ContentDigest(SHA256, []byte("made"))}}, Body: io.NopCloser(strings.NewReader("made"))}
	}
	sign := func(resp *http.Response, components ...string) {
		covered, err := parseComponents(components)
		if err != nil {
			t.Fatal(err)
		}
		params := httpsfv.NewParams()
		params.Add("created", start.Unix())
		params.Add("keyid", "k1")
		text, list, err := base(answered(resp), covered, params)
		if err != nil {
			t.Fatal(err)
		}
		resp.Header.Set("Signature-Input", "sig1="+list)
		resp.Header.Set("Signature", "sig1=:"+base64.StdEncoding.EncodeToString(mac(secret, text))+":")
	}
	tied := []string{"@status", "content-digest", "@method;req", "@path;req", "x-nonce;req"}
	for _, tt := range []struct {
		name     string
		required []string
		change   func(*http.Response)
		ok       bool
	}{
		{"default", nil, func(*http.Response) {}, true},
		{"tied", tied, func(*http.Response) {}, true},
		{"status", nil, func(r *http.Response) { r.StatusCode = 200 }, false},
		{"body", nil, func(r *http.Response) { r.Body = io.NopCloser(strings.NewReader("gone")) }, false},
		{"decompressed", nil, func(r *http.Response) { r.Uncompressed = true }, false},
		{"of another request", tied, func(r *http.Response) { r.Request.Header.Set("X-Nonce", "n-2") }, false},
		{"of no request", tied, func(r *http.Response) { r.Request = nil }, false},
		{"not covered", []string{"@query;req"}, func(*http.Response) {}, false},
	} {
		v := &Verifier{Keys: map[string]VerifyKey{"k1": NewVerifySecret(secret)}, Required: tt.required, Clock: clock.NewFake(start)}
		resp := answer()
		sign(resp, tied...)
		tt.change(resp)
		got, err := v.VerifyResponse(resp)
		if (err == nil) != tt.ok || err == nil && got.KeyID != "k1" {
			t.Errorf("%s: %+v, %v; want ok %t", tt.name, got, err, tt.ok)
		}
		if body, _ := io.ReadAll(resp.Body); tt.ok && string(body) != "made" {
			t.Errorf("%s: the body reads %q", tt.name, body)
		}
	}
	resp := answer()
	sign(resp, "@status")
	v := &Verifier{Keys: map[string]VerifyKey{"k1": NewVerifySecret(secret)}, Clock: clock.NewFake(start)}
	if _, err := v.VerifyResponse(resp); code(err) != "invalid_signature" {
		t.Errorf("a body without digest: %v", err)
	}
}

func TestR23_VerifierValidate(t *testing.T) {
	key := NewVerifySecret(renew.NewSecret(testSecret))
	keys := map[string]VerifyKey{"k": key}
	ask := func(context.Context, string) (VerifyKey, error) { return key, nil }
	for _, tt := range []struct {
		v     *Verifier
		field string
	}{
		{&Verifier{Keys: keys}, ""},
		{&Verifier{KeyFunc: ask, Required: []string{`@query-param;name="a"`, "x-y;bs"}}, ""},
		{nil, "Verifier"},
		{&Verifier{}, "Verifier.Keys"},
		{&Verifier{Keys: keys, KeyFunc: ask}, "Verifier.Keys"},
		{&Verifier{Keys: map[string]VerifyKey{"k": NewVerifySecret(renew.Secret{})}}, "Verifier.Keys"},
		{&Verifier{Keys: keys, Label: "A"}, "Verifier.Label"},
		{&Verifier{Keys: keys, Scheme: "ftp"}, "Verifier.Scheme"},
		{&Verifier{Keys: keys, Window: -1}, "Verifier.Window"},
		{&Verifier{Keys: keys, MaxBody: -1}, "Verifier.MaxBody"},
		{&Verifier{Keys: keys, MaxRemembered: -1}, "Verifier.MaxRemembered"},
		{&Verifier{Keys: keys, Required: []string{"Content-Type"}}, "Verifier.Required"},
		{&Verifier{Keys: keys, Required: []string{"a", "a"}}, "Verifier.Required"},
		{&Verifier{Keys: keys, Hosts: []string{"a"}, Required: []string{"@target-uri"}}, ""},
		{&Verifier{Keys: keys, Hosts: []string{"a"}, Required: []string{"@path"}}, "Verifier.Hosts"},
	} {
		err := tt.v.Validate()
		got, _ := errors.AsType[*renew.ConfigError](err)
		if (err == nil) != (tt.field == "") || got != nil && got.Field != tt.field {
			t.Errorf("%v, want a ConfigError of %q", err, tt.field)
		}
		if _, herr := tt.v.Handler(http.NotFoundHandler()); (herr == nil) != (err == nil) {
			t.Errorf("Handler: %v, Validate: %v", herr, err)
		}
		_, qerr := tt.v.VerifyRequest(httptest.NewRequest("GET", "/", nil))
		_, perr := tt.v.VerifyResponse(&http.Response{StatusCode: 200})
		for _, verr := range []error{qerr, perr} {
			if _, is := errors.AsType[*renew.ConfigError](verr); is != (err != nil) {
				t.Errorf("verified: %v, Validate: %v", verr, err)
			}
		}
		leaktest.Check(t, err, testSecret)
		leaktest.Check(t, tt.v, testSecret)
	}
}

func TestKeys(t *testing.T) {
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	p521, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		a      Algorithm
		public any
	}{
		"small RSA":          {"", &small.PublicKey},
		"P-521":              {"", &p521.PublicKey},
		"nil":                {"", nil},
		"nil RSA":            {RSAv15SHA256, (*rsa.PublicKey)(nil)},
		"nil RSA, PSS":       {RSAPSSSHA512, (*rsa.PublicKey)(nil)},
		"nil ECDSA":          {ECDSAP256SHA256, (*ecdsa.PublicKey)(nil)},
		"short Ed25519":      {"", ed25519.PublicKey("short")},
		"another algorithm":  {Ed25519, testKeys()[RSAPSSSHA512].Public()},
		"another curve":      {ECDSAP384SHA384, testKeys()[ECDSAP256SHA256].Public()},
		"unknown algorithm":  {"none", testKeys()[Ed25519].Public()},
		"HMAC and a key":     {HMACSHA256, testKeys()[Ed25519].Public()},
		"a secret as a text": {HMACSHA256, "secret"},
	} {
		if key, err := NewVerifyKey(tt.a, tt.public); err == nil || !key.IsZero() {
			t.Errorf("%s: %+v, %v", name, key, err)
		}
	}
}

// Through real servers, and with Content-Length and Host covered as net/http writes them.
func TestServer(t *testing.T) {
	s, v := testSigner(t, Ed25519, nil)
	s.Components = []string{"@method", "@target-uri", "@request-target", "host", "content-length", "content-digest"}
	h, err := v.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got, _ := FromContext(r.Context())
		body, _ := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(w, "%s %s %s %q", r.Proto, got.KeyID, got.Algorithm, body)
	}))
	if err != nil {
		t.Fatal(err)
	}
	v.Required = s.Components
	for _, http2 := range []bool{false, true} {
		srv := httptest.NewUnstartedServer(h)
		srv.EnableHTTP2 = http2
		srv.StartTLS()
		defer srv.Close()
		tr, err := renew.NewTransport(s, renew.TransportConfig{Origins: []string{srv.URL}, Header: "Signature", Base: srv.Client().Transport})
		if err != nil {
			t.Fatal(err)
		}
		for _, body := range []string{"", "hello"} {
			resp, err := (&http.Client{Transport: tr}).Post(srv.URL+"/a%2Fb//c/../d?x=1", "text/plain", strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			text, _ := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if want := fmt.Sprintf("%s k1 ed25519 %q", resp.Proto, body); resp.StatusCode != 200 || string(text) != want {
				t.Errorf("HTTP/2 %t: %d %s, want %s", http2, resp.StatusCode, text, want)
			}
		}
		resp, err := srv.Client().Get(srv.URL)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != 401 || resp.Header.Get("WWW-Authenticate") != `Signature error="invalid_signature"` {
			t.Errorf("without a signature: %d %v", resp.StatusCode, resp.Header)
		}
	}
	if _, ok := FromContext(t.Context()); ok {
		t.Error("a context without a signature has one")
	}
}

// A signature of a stranger may cover 64 parts of one long field or query: each is parsed once, so that a request costs about as
// much as it is long. Counted in allocations, which a busy machine does not change.
func TestHttpsig_CostOfAStranger(t *testing.T) {
	for _, kind := range []string{"member", "parameter"} {
		cost := func(components int) float64 {
			_, v := testSigner(t, HMACSHA256, clock.NewFake(start))
			v.Required = []string{}
			r := httptest.NewRequest("GET", "/", nil)
			var covered, values strings.Builder
			for i := range components {
				if kind == "member" {
					fmt.Fprintf(&covered, ` "x-d";key="k%d"`, i)
					fmt.Fprintf(&values, "k%d=1, ", i)
				} else {
					fmt.Fprintf(&covered, ` "@query-param";name="k%d"`, i)
					fmt.Fprintf(&values, "k%d=1&", i)
				}
			}
			if kind == "member" {
				r.Header.Set("X-D", values.String()+strings.Repeat("a=1,", 5000)+"z")
			} else {
				r.URL.RawQuery = values.String() + strings.Repeat("a=%20&", 5000)
			}
			for i := range maxClaims {
				r.Header.Add("Signature-Input", fmt.Sprintf(`s%d=(%s);created=%d;keyid="k1"`, i, covered.String()[1:], start.Unix()))
				r.Header.Add("Signature", fmt.Sprintf("s%d=:AAAA:", i))
			}
			return testing.AllocsPerRun(1, func() {
				_, err := v.VerifyRequest(r)
				if e, ok := errors.AsType[*VerifyError](err); !ok || e.Reason != "the key did not make the signature" {
					t.Fatalf("%s: %v", kind, err)
				}
			})
		}
		if one, many := cost(1), cost(maxComponents); many > 2*one {
			t.Errorf("%s: %.0f allocations for one component and %.0f for %d", kind, one, many, maxComponents)
		}
	}
}
