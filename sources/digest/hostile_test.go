package digest

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/sources/internal/lockout"
)

// stream is a body that can be read once: no request with it can be sent again.
func stream() io.Reader { return io.MultiReader(strings.NewReader("once")) }

// The answer of a request that cannot be sent again is a login attempt too. A new nonce in its 401 is not word enough that
// the password was not judged, if the nonce before it was as new.
func TestR18_UnrepeatableRequestsWithAWrongPassword(t *testing.T) {
	for _, accepted := range []bool{false, true} {
		for _, next := range []bool{false, true} {
			p := newPeer()
			p.next = next
			c := clientOf(t, signerFor(p), &inProcess{Handler: p})
			if accepted {
				for range 10 {
					mustGet(t, c, "/")
				}
			}
			p.password = "another"
			for range 60 {
				resp, err := c.Post(origin+"/", "text/plain", stream())
				if err == nil {
					resp.Body.Close()
				}
			}
			// One to a nonce that may have been too old, if there was one, the free one, and four.
			want := 5
			if accepted {
				want = 6
			}
			if p.refused != want {
				t.Errorf("accepted %v, nextnonce %v: %d wrong answers, want %d", accepted, next, p.refused, want)
			}
		}
	}
}

// A server that takes each nonce once and does not say stale, and requests that cannot be sent again: no unit is spent for the
// nonce that was used up.
func TestR18_UnrepeatableRequestsAndAnOldNonce(t *testing.T) {
	p := newPeer()
	p.oneTime, p.noStale = true, true
	c := clientOf(t, signerFor(p), &inProcess{Handler: p})
	for i := range 40 {
		resp, err := c.Post(origin+"/", "text/plain", stream())
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if want := []int{401, 200}[i%2]; resp.StatusCode != want {
			t.Errorf("request %d: %d, want %d", i, resp.StatusCode, want)
		}
	}
}

// A hook that panics does not leave the others waiting for the verdict.
func TestR10_PanicsLeaveNoWaiterBehind(t *testing.T) {
	for _, in := range []string{"BadRspauth", "Cnonce"} {
		synctest.Test(t, func(t *testing.T) {
			p := newPeer()
			p.badRspauth, p.next = in == "BadRspauth", true
			s := signerFor(p)
			calls := 0
			s.BadRspauth = func(*http.Request, error) { panic("a hook") }
			if in == "Cnonce" {
				s.Cnonce = func() string {
					if calls++; calls == 4 { // after three challenges, that of the first nextnonce
						panic("a hook")
					}
					return fmt.Sprint("cnonce", calls)
				}
			}
			c := clientOf(t, s, &inProcess{Handler: p, delay: time.Second})
			var wg sync.WaitGroup
			for range 3 {
				wg.Go(func() {
					defer func() { _ = recover() }()
					_, _ = get(c, "/")
				})
			}
			wg.Wait() // a deadlock ends the bubble
		})
	}
}

// What is kept of a challenge does not hold on to the rest of its field.
func TestR30_ChallengesHoldNoMemory(t *testing.T) {
	s := &Signer{Username: "u", Password: renew.NewSecret("the password"), AllowBasic: true}
	req, _ := http.NewRequest("GET", origin+"/", nil)
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	for i := range 64 {
		filling := strings.Repeat("x", 1<<17)
		challenge := fmt.Sprintf(`Digest realm="r%d", nonce="n%d", opaque="o", algorithm=MD5, qop="auth", domain="/", x="%s"`, i%16, i, filling)
		if i%16 == 15 {
			challenge = fmt.Sprintf(`Basic realm="r%d", x="%s"`, i, filling)
		}
		replay, err := s.Refused(req, bare, unauthorized(challenge))
		if replay == nil {
			if i%16 == 15 {
				continue // a step down
			}
			t.Fatal(err)
		}
		c, err := replay(req)
		if err != nil {
			t.Fatal(err)
		}
		s.Answered(req, c, &http.Response{StatusCode: 200, Header: http.Header{"Authentication-Info": {fmt.Sprintf(`nextnonce="m%d", x="%s"`, i, filling)}}})
	}
	if after := heap(); after > before+(2<<20) {
		t.Errorf("64 challenges hold %d MB", (after-before)>>20)
	}
	runtime.KeepAlive(s)
}

// A server that offered only Basic at first, and then Digest: from then on it gets no password in the clear.
func TestR28_NoBasicAfterDigest(t *testing.T) {
	s := &Signer{Username: "u", Password: renew.NewSecret("the password"), AllowBasic: true}
	req, _ := http.NewRequest("GET", origin+"/", nil)
	replay, err := s.Refused(req, bare, unauthorized(`Basic realm="b"`))
	if err != nil {
		t.Fatal(err)
	}
	c, err := replay(req)
	if err != nil {
		t.Fatal(err)
	}
	s.Answered(req, c, &http.Response{StatusCode: 200})
	if header, err := s.Authenticate(req); err != nil || header == renew.Credential(bare) {
		t.Fatalf("Basic, which is all that the server has, is not used again: %v", err)
	}
	// The answer to a request that was under way meanwhile.
	if _, err := s.Refused(req, bare, unauthorized(`Digest realm="d", nonce="1", qop="auth"`)); err != nil {
		t.Fatal(err)
	}
	req, _ = http.NewRequest("GET", origin+"/", nil)
	if _, err := s.Authenticate(req); err != nil || req.Header.Get("Authorization") != "" {
		t.Errorf("the password in the clear, after Digest was offered: %v", err)
	}
}

// A nonce that has no counts left is not used any more.
func TestR29_NonceCountsEnd(t *testing.T) {
	p := newPeer()
	s := signerFor(p)
	c := clientOf(t, s, &inProcess{Handler: p})
	mustGet(t, c, "/")
	o := lockout.Origin{Scheme: "https", Host: "api.example"}
	se := s.spaces.take(o, "/")
	se.nc.Store(maxCount - 1)
	req, _ := http.NewRequest("GET", origin+"/", nil)
	for i, want := range []bool{true, false, false} {
		cred, err := s.Authenticate(req)
		if err != nil {
			t.Fatal(err)
		}
		if got := cred != renew.Credential(bare); got != want {
			t.Errorf("request %d has an answer: %v, count %x", i, got, se.nc.Load())
		}
		s.Answered(req, cred, &http.Response{StatusCode: 200})
	}
	// The same nonce once more, from the server: a new cnonce, or nothing, but no count twice.
	again := s.spaces.open(o, se.offer, func() string { return "another" })
	if again == se {
		t.Error("the nonce goes on")
	}
}

// The uri is the request-target as net/http writes it.
func TestTarget(t *testing.T) {
	for _, text := range []string{
		"http://server.example/a%20b?x=%C3%A9", "http://server.example", "http://[fe80::1%25eth0]:8080/x", "http://[::1]/",
		"http://SERVER.example:80/x?", "http://server.example//x/../y", "http://b\u00fccher.example/x",
	} {
		req, err := http.NewRequest("GET", text, nil)
		if err != nil {
			t.Fatal(err)
		}
		var wire strings.Builder
		if err := req.WriteProxy(&wire); err != nil {
			t.Fatal(err)
		}
		want := strings.Split(wire.String(), " ")[1]
		if got, err := target(req, true); got != want || err != nil {
			t.Errorf("target(%s) = %s, %v, net/http writes %s", text, got, err, want)
		}
	}
	req := &http.Request{Method: "OPTIONS", URL: &url.URL{Scheme: "http", Host: "x", Path: "*"}}
	if got, err := target(req, false); got != "*" || err != nil {
		t.Errorf("target = %s, %v", got, err)
	}
	req = &http.Request{Method: "POST", URL: &url.URL{Scheme: "http", Host: "x", Path: "/"}, Host: "named.example", Body: http.NoBody}
	if got, err := target(req, true); got != "http://named.example/" || err != nil {
		t.Errorf("target = %s, %v", got, err)
	}
	req.Host = "a\x00b"
	if _, err := target(req, true); !errors.Is(err, errTarget) {
		t.Errorf("a host that cannot be sent: %v", err)
	}
}

// A nonce that is in use is counted on when it comes again, however many others came between.
func TestR29_NonceInUseComesAgain(t *testing.T) {
	s, req := primed(t, "SHA-256")
	o := lockout.Origin{Scheme: "https", Host: "api.example"}
	se := s.spaces.take(o, "/")
	for i := range 2 * maxRecent {
		if _, err := s.Refused(req, bare, unauthorized(fmt.Sprintf(`Digest realm="http-auth@example.org", nonce="%d", qop="auth"`, i))); err != nil {
			t.Fatal(err)
		}
	}
	if again := s.spaces.open(o, se.offer, s.cnonce); again != se {
		t.Error("it is counted from one again")
	}
}

// Two 401 with the same nonce, and the first answer is under way still.
func TestR29_NonceOfTwoChallenges(t *testing.T) {
	s := &Signer{Username: "u", Password: renew.NewSecret("the password")}
	req, _ := http.NewRequest("GET", origin+"/", nil)
	const challenge = `Digest realm="r", nonce="n", qop="auth"`
	var counts []string
	for range 2 {
		replay, err := s.Refused(req, bare, unauthorized(challenge))
		if err != nil {
			t.Fatal(err)
		}
		c, err := replay(req)
		if err != nil {
			t.Fatal(err)
		}
		header, err := parts(req.Header.Get("Authorization"))
		if err != nil {
			t.Fatal(err)
		}
		counts = append(counts, header["nc"])
		s.Answered(req, c, nil) // no answer came
	}
	if fmt.Sprint(counts) != "[00000001 00000002]" {
		t.Errorf("the counts are %v", counts)
	}
}

// A URL without a path is one for "/".
func TestDomain_EmptyPath(t *testing.T) {
	p := newPeer()
	p.extra = `domain="/"`
	h := &inProcess{Handler: p}
	c := clientOf(t, signerFor(p), h)
	for range 3 {
		mustGet(t, c, "")
	}
	if got := h.sent.Load(); got != 4 {
		t.Errorf("%d requests, want 4", got)
	}
}

// An answer whose rspauth covers its body, though auth was asked for, cannot be judged, and is not called a fake.
func TestRspauth_OfTheBody(t *testing.T) {
	s, req := primed(t, "MD5")
	s.BadRspauth = func(_ *http.Request, err error) { t.Error(err) }
	c, err := s.Authenticate(req)
	if err != nil {
		t.Fatal(err)
	}
	s.Answered(req, c, &http.Response{StatusCode: 200, Header: http.Header{"Authentication-Info": {`qop=auth-int, rspauth="00"`}}})
}
