package interop

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/clock"
	"github.com/seed-f29168f7/renew/sources/oauth1"
)

// The three legs: temporary credentials, the person's consent, token credentials, and a request signed with these.
func TestOAuth1Flow(t *testing.T) {
	t.Parallel()
	p := newOAuth1Peer(t, oauth1Config{})
	// oauthlib decodes what comes in a query or a body twice, so only the header can carry an escape in a callback.
	const odd, plain = "http://127.0.0.1/back?state=a+b&x=%26%2525&y=é", "http://127.0.0.1/back?state=a+b&y=é"
	type client struct {
		name, callback string
		signer         oauth1.Signer
	}
	clients := []client{
		{"HMAC-SHA1", odd, oauth1.Signer{ClientKey: oddKey, ClientSecret: renew.NewSecret(oddSecret)}},
		{"HMAC-SHA256 in the body", plain, oauth1.Signer{ClientKey: oddKey, ClientSecret: renew.NewSecret(oddSecret), Method: oauth1.HMACSHA256, Placement: oauth1.Body}},
		{"RSA-SHA1 in the query", plain, oauth1.Signer{ClientKey: rsaKey, PrivateKey: p.key, Method: oauth1.RSASHA1, Placement: oauth1.Query}},
		{"PLAINTEXT", odd, oauth1.Signer{ClientKey: oddKey, ClientSecret: renew.NewSecret(oddSecret), Method: oauth1.Plaintext}},
	}
	person := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for i := range clients {
		c := &clients[i]
		t.Run(c.name, func(t *testing.T) {
			flow := &oauth1.Flow{TemporaryEndpoint: p.URL + "/initiate?step=1&odd=a%20b%2B", AuthorizationEndpoint: p.URL + "/authorize", TokenEndpoint: p.URL + "/token", Signer: &c.signer}
			temporary, err := flow.TemporaryCredentials(t.Context(), c.callback)
			if err != nil {
				t.Fatal(err)
			}
			page, err := flow.AuthorizeURL(temporary)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := person.Get(page.String())
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			back, err := resp.Location()
			if err != nil {
				t.Fatalf("status %d, %v", resp.StatusCode, err)
			}
			verifier, err := temporary.Verifier(back)
			if err != nil {
				t.Fatal(err)
			}
			if came, _ := url.Parse(c.callback); back.Query().Get("state") != "a b" || back.Query().Get("x") != came.Query().Get("x") {
				t.Errorf("the callback came back as %s", back)
			}

			// A wrong verifier spends nothing at this provider, and tells nobody anything.
			_, err = flow.TokenCredentials(t.Context(), temporary, renew.NewSecret("NotTheVerifierAtAll0001"))
			refusedFor(t, "a wrong verifier", err)

			got, err := flow.TokenCredentials(t.Context(), temporary, verifier)
			if err != nil {
				t.Fatal(err)
			}
			user, realms := got.Extra["user_id"], got.Extra["oauth_authorized_realms"]
			if user.Reveal() != "7 & 8" || realms.Reveal() != "things" {
				t.Errorf("user_id %q, realms %q", user.Reveal(), realms.Reveal())
			}
			_, err = flow.TokenCredentials(t.Context(), temporary, verifier)
			refusedFor(t, "temporary credentials used twice", err)

			signer := &oauth1.Signer{
				ClientKey: c.signer.ClientKey, ClientSecret: c.signer.ClientSecret, PrivateKey: c.signer.PrivateKey, Method: c.signer.Method,
				Token: got.Token, TokenSecret: got.Secret,
			}
			req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, p.URL+"/api/me", nil)
			if status, _ := send(t, p.client(t, signer), req); status != http.StatusOK {
				t.Errorf("the API answers %d with the new token", status)
			}
		})
	}

	// Out of band: the person reads the verifier from the page.
	flow := &oauth1.Flow{TemporaryEndpoint: p.URL + "/initiate", AuthorizationEndpoint: p.URL + "/authorize", TokenEndpoint: p.URL + "/token", Signer: &clients[0].signer}
	temporary, err := flow.TemporaryCredentials(t.Context(), oauth1.OutOfBand)
	if err != nil {
		t.Fatal(err)
	}
	page, err := flow.AuthorizeURL(temporary)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := person.Get(page.String())
	if err != nil {
		t.Fatal(err)
	}
	shown, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	form, _ := url.ParseQuery(string(shown))
	if err != nil || form.Get("oauth_verifier") == "" {
		t.Fatalf("the page shows %q, %v", shown, err)
	}
	if _, err := flow.TokenCredentials(t.Context(), temporary, renew.NewSecret(form.Get("oauth_verifier"))); err != nil {
		t.Fatal(err)
	}

	// A client that the provider does not know.
	flow.Signer = &oauth1.Signer{ClientKey: "NobodyKnowsThisClient", ClientSecret: renew.NewSecret(oddSecret)}
	_, err = flow.TemporaryCredentials(t.Context(), "")
	refusedFor(t, "an unknown client", err)

	// A clock an hour off. oauthlib's answer is a 400 in a form of its own.
	flow.Signer = &oauth1.Signer{ClientKey: oddKey, ClientSecret: renew.NewSecret(oddSecret), Clock: shifted{clock.Real{}, time.Hour}}
	_, err = flow.TemporaryCredentials(t.Context(), "")
	if e, ok := errors.AsType[*renew.IssueError](err); !ok || e.Status != http.StatusBadRequest || e.Permanent {
		t.Errorf("a wrong clock: %v, want a 400 that may pass", err)
	}
	if _, err = flow.TemporaryCredentials(t.Context(), ""); err != nil {
		t.Errorf("a wrong clock, once more: %v, want timestamps that follow the provider's", err)
	}

	n := len(clients)
	b := p.check(t, 3*n+3, map[string]int{"client": 1, "clock": 1, "verifier": n, "resource_owner": n})
	if b.ByPlace["query"] == 0 || b.ByPlace["body"] == 0 || b.ByMethod["RSA-SHA1"] != 3 || b.ByMethod["PLAINTEXT"] != 3 {
		t.Errorf("by place %v, by method %v", b.ByPlace, b.ByMethod)
	}
}

// refusedFor wants the error of a refusal, which shows no secret.
func refusedFor(t *testing.T, what string, err error) {
	t.Helper()
	e, ok := errors.AsType[*renew.IssueError](err)
	if !ok || e.Kind != renew.Refused || e.Status != http.StatusUnauthorized {
		t.Errorf("%s: %v, want a refusal", what, err)
	}
	if err != nil && (strings.Contains(err.Error(), oddSecret) || strings.Contains(err.Error(), url.QueryEscape(oddSecret))) {
		t.Errorf("%s: the error shows a secret", what)
	}
}

// Every method, in every place, on requests of every shape.
func TestOAuth1Requests(t *testing.T) {
	t.Parallel()
	p := newOAuth1Peer(t, oauth1Config{})
	const form = "application/x-www-form-urlencoded"
	shapes := []struct {
		name, method, target, contentType, body string
		want                                    [][2]string
	}{
		{"plain GET", "GET", "/api/me", "", "", nil},
		{"odd query", "GET", "/api/things?" + url.Values{"q": {"a b+c%&=/?~*'()é☃", "", "a"}, "a&b": {"=;"}, "%41": {"%2B"}}.Encode(), "", "",
			[][2]string{{"%41", "%2B"}, {"a&b", "=;"}, {"q", ""}, {"q", "a"}, {"q", "a b+c%&=/?~*'()é☃"}}},
		{"query as others write it", "GET", "/api/things?z&y=&p=a+b&q=a%20b&r=%c3%a9&B=1&b=2&x=!*()/?:@,~", "", "",
			[][2]string{{"B", "1"}, {"b", "2"}, {"p", "a b"}, {"q", "a b"}, {"r", "é"}, {"x", "!*()/?:@,~"}, {"y", ""}, {"z", ""}}},
		{"odd path", "DELETE", "/api/r%20v/%C3%A9/a+b;c=1/~x?force=true", "", "", [][2]string{{"force", "true"}}},
		{"form", "POST", "/api/things?a=2&a=1", form, "a=3&a=&b=two+words&c=%26%3D%25&%C3%BC=%E2%98%83",
			[][2]string{{"a", ""}, {"a", "1"}, {"a", "2"}, {"a", "3"}, {"b", "two words"}, {"c", "&=%"}, {"ü", "☃"}}},
		{"form with a charset", "PUT", "/api/things", form + "; charset=utf-8", "a=%E2%82%AC", [][2]string{{"a", "€"}}},
		{"POST without a body", "POST", "/api/things?x=1", "", "", [][2]string{{"x", "1"}}},
		{"JSON", "POST", "/api/json?x=1", "application/json", `{"key": "a=1&b=é"}`, [][2]string{{"x", "1"}}},
		{"text that looks like a form", "PATCH", "/api/json", "text/plain", "a=1&b=2", nil},
	}
	methods := []oauth1.Method{oauth1.HMACSHA1, oauth1.HMACSHA256, oauth1.HMACSHA512, oauth1.RSASHA1, oauth1.RSASHA256, oauth1.RSASHA512, oauth1.Plaintext}
	sent, hashes := 0, 0
	byMethod := map[string]int{}
	for _, method := range methods {
		for _, place := range []oauth1.Placement{oauth1.Header, oauth1.Query, oauth1.Body} {
			for _, bodyHash := range []oauth1.BodyHash{oauth1.NoBodyHash, oauth1.BodyHashSHA1} {
				if method == oauth1.Plaintext && bodyHash != oauth1.NoBodyHash {
					continue
				}
				s := p.signer()
				s.Method, s.Placement, s.BodyHash = method, place, bodyHash
				switch {
				case method == oauth1.RSASHA1 || method == oauth1.RSASHA256 || method == oauth1.RSASHA512:
					s.ClientKey, s.ClientSecret, s.PrivateKey, s.TokenSecret = rsaKey, renew.Secret{}, p.key, renew.Secret{}
				case method == oauth1.Plaintext && place != oauth1.Header:
					s.ClientKey, s.ClientSecret, s.TokenSecret = plainKey, renew.NewSecret(plainSecret), renew.NewSecret(plainTokenSecret)
				}
				if place == oauth1.Header {
					s.Realm = `things, "quoted"`
				}
				c := p.client(t, s)
				for _, shape := range shapes {
					isForm := strings.HasPrefix(shape.contentType, form)
					if place == oauth1.Body && !isForm && shape.name != "POST without a body" {
						continue
					}
					var body io.Reader
					if shape.body != "" {
						body = strings.NewReader(shape.body)
					}
					req, err := http.NewRequestWithContext(t.Context(), shape.method, p.URL+shape.target, body)
					if err != nil {
						t.Fatal(err)
					}
					if shape.contentType != "" {
						req.Header.Set("Content-Type", shape.contentType)
					}
					status, got := send(t, c, req)
					slices.SortFunc(got.Params, func(a, b [2]string) int { return slices.Compare(a[:], b[:]) })
					if status != http.StatusOK || got.Method != shape.method || !slices.Equal(got.Params, shape.want) {
						t.Errorf("%v, placement %d, body hash %d, %s: status %d, the provider saw %s %q, want %q",
							method, place, bodyHash, shape.name, status, got.Method, got.Params, shape.want)
					}
					sent++
					byMethod[method.String()]++
					if bodyHash != oauth1.NoBodyHash && !isForm && place != oauth1.Body { // without a body, that of the empty string
						hashes++
					}
				}
			}
		}
	}
	b := p.check(t, sent, map[string]int{})
	for name, n := range byMethod {
		if b.ByMethod[name] != n {
			t.Errorf("%s: the provider accepted %d, want %d", name, b.ByMethod[name], n)
		}
	}
	if b.BodyHashes != hashes || hashes == 0 || b.ByPlace["header"] == 0 || b.ByPlace["query"] == 0 || b.ByPlace["body"] == 0 {
		t.Errorf("%d body hashes, want %d; by place %v", b.BodyHashes, hashes, b.ByPlace)
	}
	t.Logf("oauth1: %d body hashes, by place %v, by method %v", b.BodyHashes, b.ByPlace, b.ByMethod)
}

// 200 goroutines sign at once by one Signer, and no nonce is the same.
func TestOAuth1Burst(t *testing.T) {
	t.Parallel()
	p := newOAuth1Peer(t, oauth1Config{})
	c := p.client(t, p.signer())
	const each = 5
	var wg sync.WaitGroup
	for range readers {
		wg.Go(func() {
			for range each {
				req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, p.URL+"/api/me", nil)
				if status, _ := send(t, c, req); status != http.StatusOK {
					t.Errorf("status %d", status)
				}
			}
		})
	}
	wg.Wait()
	p.check(t, readers*each, map[string]int{})
}

// The bytes of one request work once. What was signed cannot be changed.
func TestOAuth1ReplayedAndTamperedWith(t *testing.T) {
	t.Parallel()
	p := newOAuth1Peer(t, oauth1Config{Problems: true})
	bytesOf := func(change func(*http.Request)) []byte {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.URL+"/api/things?x=1", strings.NewReader("a=1"))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if _, err := p.signer().Authenticate(req); err != nil {
			t.Fatal(err)
		}
		change(req)
		var b bytes.Buffer
		if err := req.Write(&b); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	wire := func(raw []byte) (int, string) {
		conn, err := net.Dial("tcp", strings.TrimPrefix(p.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := conn.Write(raw); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		return resp.StatusCode, resp.Header.Get("WWW-Authenticate")
	}
	raw := bytesOf(func(*http.Request) {})
	for i, want := range []int{200, 401, 401} {
		if status, why := wire(raw); status != want || want == 401 && !strings.Contains(why, "nonce_used") {
			t.Errorf("the same bytes, time %d: status %d, %s", i+1, status, why)
		}
	}
	for name, change := range map[string]func(*http.Request){
		"query":  func(r *http.Request) { r.URL.RawQuery = "x=2" },
		"path":   func(r *http.Request) { r.URL.Path = "/api/thingz" },
		"method": func(r *http.Request) { r.Method = http.MethodPut },
		"host":   func(r *http.Request) { r.Host = "another.test" },
		"form":   func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader("a=2")) },
	} {
		if status, why := wire(bytesOf(change)); status != 401 || !strings.Contains(why, "signature_invalid") {
			t.Errorf("%s changed: status %d, %s", name, status, why)
		}
	}

	// JSON is covered by its hash alone, and oauthlib knows SHA-1 only.
	for name, tt := range map[string]struct {
		hash oauth1.BodyHash
		sent string
		want int
	}{
		"as it was signed":    {oauth1.BodyHashSHA1, `{"a":1}`, 200},
		"changed":             {oauth1.BodyHashSHA1, `{"a":2}`, 401},
		"hashed by SHA-256":   {oauth1.BodyHashSHA256, `{"a":1}`, 401},
		"changed, not hashed": {oauth1.NoBodyHash, `{"a":2}`, 200},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.URL+"/api/json", strings.NewReader(`{"a":1}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		s := p.signer()
		s.BodyHash = tt.hash
		if _, err := s.Authenticate(req); err != nil {
			t.Fatal(err)
		}
		req.Body = io.NopCloser(strings.NewReader(tt.sent))
		if status, _ := send(t, http.DefaultClient, req); status != tt.want {
			t.Errorf("JSON %s: status %d, want %d", name, status, tt.want)
		}
	}
	p.check(t, 3, map[string]int{"nonce": 2, "signature": 5, "body_hash": 2})
}

// A host whose clock is off: one request is refused, and its replay and all that follow are not, by
// oauthlib's own limit and by a stricter one, whether or not the provider says what is wrong.
func TestOAuth1WrongClock(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		off  time.Duration
		cfg  oauth1Config
	}{
		{"an hour", time.Hour, oauth1Config{}},
		{"five minutes", 5 * time.Minute, oauth1Config{ClockLimit: 120, Problems: true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := newOAuth1Peer(t, tt.cfg)
			for _, off := range []time.Duration{tt.off, -tt.off} {
				s := p.signer()
				s.Clock = shifted{clock.Real{}, off}
				// Without a Transport nothing is learned.
				req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, p.URL+"/api/me", nil)
				if _, err := s.Authenticate(req); err != nil {
					t.Fatal(err)
				}
				if status, _ := send(t, http.DefaultClient, req); status != http.StatusUnauthorized {
					t.Errorf("%v: status %d, want 401", off, status)
				}
				c := p.client(t, s)
				for range 5 {
					req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, p.URL+"/api/me", nil)
					if status, _ := send(t, c, req); status != http.StatusOK {
						t.Errorf("%v: status %d", off, status)
					}
				}
			}
			p.check(t, 10, map[string]int{"clock": 4})
		})
	}
}

// shifted is a clock whose wall reading is off.
type shifted struct {
	clock.Clock
	off time.Duration
}

func (s shifted) Now() clock.Instant {
	now := s.Clock.Now()
	now.Wall = now.Wall.Add(s.off)
	return now
}

// Credentials that are no good: the caller gets the provider's 401, and the budget ends the replays. A provider
// that says what is wrong gets none.
func TestOAuth1WrongCredentials(t *testing.T) {
	t.Parallel()
	const times, units = 10, 4
	stranger, _ := newRSAKey(t)
	byKey := func(s *oauth1.Signer, client string, method oauth1.Method) {
		s.ClientKey, s.ClientSecret, s.Method, s.PrivateKey = client, renew.Secret{}, method, oauth1.NewKey(stranger)
	}
	for name, says := range map[string]bool{"without a reason": false, "with a reason": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newOAuth1Peer(t, oauth1Config{Problems: says})
			sent := times
			if !says {
				sent += units
			}
			want := map[string]int{}
			for _, tt := range []struct {
				name, reason string
				wrong        func(*oauth1.Signer)
			}{
				{"secret", "signature", func(s *oauth1.Signer) { s.ClientSecret = renew.NewSecret(oddSecret + " ") }},
				{"token secret", "signature", func(s *oauth1.Signer) { s.TokenSecret = renew.NewSecret(url.QueryEscape(oddTokenSecret)) }},
				{"client", "client", func(s *oauth1.Signer) { s.ClientKey = "NobodyKnowsThisClient" }},
				{"token", "resource_owner", func(s *oauth1.Signer) { s.Token = renew.NewSecret("AccessTokenOfNobody0001") }},
				{"token of another client", "signature", func(s *oauth1.Signer) { s.ClientKey, s.ClientSecret = plainKey, renew.NewSecret(plainSecret) }},
				{"private key", "signature", func(s *oauth1.Signer) { byKey(s, rsaKey, oauth1.RSASHA1) }},
				{"method, for a client without a key", "signature", func(s *oauth1.Signer) { byKey(s, oddKey, oauth1.RSASHA256) }},
				{"secret, sent in the clear", "signature", func(s *oauth1.Signer) { s.Method, s.TokenSecret = oauth1.Plaintext, renew.NewSecret("another") }},
			} {
				s := p.signer()
				tt.wrong(s)
				c := p.client(t, s)
				for range times {
					req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, p.URL+"/api/me", nil)
					if status, _ := send(t, c, req); status != http.StatusUnauthorized {
						t.Errorf("wrong %s: status %d", tt.name, status)
					}
				}
				want[tt.reason] += sent
				if b := p.books(t); !maps.Equal(b.Refused, want) {
					t.Fatalf("wrong %s: refused %v, want %v", tt.name, b.Refused, want)
				}
			}
			p.check(t, 0, want)
		})
	}
}
