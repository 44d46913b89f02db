package toopher_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/sources/internal/leaktest"
	"github.com/seed-f29168f7/renew/sources/toopher"
	"github.com/seed-f29168f7/renew/sources/toopher/toophertest"
)

// everyCall makes each call of the API once, with arguments that are good.
func everyCall(c *toopher.Client) map[string]func(ctx context.Context) error {
	return map[string]func(ctx context.Context) error{
		"Pair":                   func(ctx context.Context) error { _, err := c.Pair(ctx, "silent otter", kim); return err },
		"PairSMS":                func(ctx context.Context) error { _, err := c.PairSMS(ctx, "555-0100", kim, ""); return err },
		"PairQR":                 func(ctx context.Context) error { _, err := c.PairQR(ctx, kim); return err },
		"PairingStatus":          func(ctx context.Context) error { _, err := c.PairingStatus(ctx, pairingID); return err },
		"Authenticate":           func(ctx context.Context) error { _, err := c.Authenticate(ctx, pairingID, "pc"); return err },
		"AuthenticateByUserName": func(ctx context.Context) error { _, err := c.AuthenticateByUserName(ctx, kim, cookie); return err },
		"AuthenticationStatus":   func(ctx context.Context) error { _, err := c.AuthenticationStatus(ctx, requestID); return err },
		"AuthenticateWithOTP":    func(ctx context.Context) error { _, err := c.AuthenticateWithOTP(ctx, requestID, "492039"); return err },
		"CreateUserTerminal":     func(ctx context.Context) error { return c.CreateUserTerminal(ctx, kim, "pc", cookie) },
		"SetUserEnabled":         func(ctx context.Context) error { return c.SetUserEnabled(ctx, kim, true) },
		"Raw":                    func(ctx context.Context) error { _, err := c.Raw(ctx, "GET", "/users/x"); return err },
	}
}

// isConfig checks for a typed error about the configuration or the arguments.
func isConfig(t *testing.T, what string, err error) {
	t.Helper()
	if e, ok := err.(*renew.ConfigError); !ok || e.Field == "" || e.Reason == "" {
		t.Errorf("%s: err = %v (%T), want a *renew.ConfigError", what, err, err)
	}
}

func TestArgumentsAreCheckedBeforeTraffic(t *testing.T) {
	rt := &stub{status: 200}
	c := client(rt)
	ctx := t.Context()
	raw := func(method, path string, f ...toopher.Field) error {
		_, err := c.Raw(ctx, method, path, f...)
		return err
	}
	pair := func(phrase, user string, f ...toopher.Field) error {
		_, err := c.Pair(ctx, phrase, user, f...)
		return err
	}
	auth := func(id, name string, f ...toopher.Field) error {
		_, err := c.Authenticate(ctx, id, name, f...)
		return err
	}
	byName := func(user, extra string, f ...toopher.Field) error {
		_, err := c.AuthenticateByUserName(ctx, user, extra, f...)
		return err
	}
	sms := func(number, user string, f ...toopher.Field) error {
		_, err := c.PairSMS(ctx, number, user, "", f...)
		return err
	}
	status := func(id string) error { _, err := c.AuthenticationStatus(ctx, id); return err }
	pairing := func(id string) error { _, err := c.PairingStatus(ctx, id); return err }
	otp := func(id, code string, f ...toopher.Field) error {
		_, err := c.AuthenticateWithOTP(ctx, id, code, f...)
		return err
	}
	x := toopher.Extra
	for what, err := range map[string]error{
		"no phrase":            pair("", kim),
		"no user":              pair("p", ""),
		"no number":            sms("", kim),
		"no pairing id":        auth("", "pc"),
		"no terminal":          auth("p", ""),
		"empty terminal id":    auth("p", "", toopher.TerminalID("")),
		"no user name":         byName("", cookie),
		"no extra":             byName(kim, ""),
		"no request id":        status(""),
		"dot":                  status("."),
		"dots":                 pairing(".."),
		"no pairing":           pairing(""),
		"otp dots":             otp("..", "1"),
		"no otp":               otp("r", ""),
		"no terminal name":     c.CreateUserTerminal(ctx, kim, "", cookie),
		"no terminal extra":    c.CreateUserTerminal(ctx, kim, "pc", ""),
		"no user for terminal": c.CreateUserTerminal(ctx, "", "pc", cookie),
		"no user to enable":    c.SetUserEnabled(ctx, "", true),
		"overrides phrase":     pair("p", kim, x("pairing_phrase", "q")),
		"overrides user":       pair("p", kim, x("user_name", "eve")),
		"overrides pairing":    auth("p", "pc", x("pairing_id", "q")),
		"overrides terminal":   auth("p", "", toopher.TerminalID("t"), x("terminal_name", "q")),
		"adds a user":          auth("p", "pc", x("user_name", "eve")),
		"adds a pairing":       byName(kim, cookie, x("pairing_id", "q")),
		"adds a terminal":      byName(kim, cookie, x("terminal_name", "q")),
		"overrides the extra":  byName(kim, cookie, toopher.TerminalNameExtra("q")),
		"its later name":       byName(kim, cookie, x("requester_specified_terminal_id", "q")),
		"overrides number":     sms("1", kim, x("phone_number", "2")),
		"country by the way":   sms("1", kim, x("phone_country", "2")),
		"overrides otp":        otp("r", "1", toopher.OTP("2")),
		"overrides name_extra": c.CreateUserTerminal(ctx, kim, "pc", cookie, x("requester_specified_id", "q")),
		"oauth_":               pair("p", kim, x("oauth_nonce", "q")),
		"OAuth_":               pair("p", kim, x("OAuth_token", "q")),
		"oauth_ raw":           raw("POST", "/x", x("oauth_", "q")),
		"twice":                pair("p", kim, x("a", "1"), x("a", "2")),
		"no name":              pair("p", kim, x("", "1")),
		"format":               pair("p", kim, x("format", "xml")),
		"raw method":           raw("PUT", "/x"),
		"raw no path":          raw("GET", ""),
		"raw relative":         raw("GET", "x"),
		"raw dots":             raw("GET", "/a/../b"),
		"raw encoded dots":     raw("GET", "/a/%2e%2e/b"),
		"raw query":            raw("GET", "/a?b"),
		"raw fragment":         raw("GET", "/a#b"),
		"raw other host":       raw("GET", "//evil.example/x"),
		"raw blank":            raw("GET", "/a b"),
		"raw absolute":         raw("GET", "https://evil.example/"),
	} {
		isConfig(t, what, err)
	}
	if len(rt.sent) != 0 {
		t.Errorf("requests = %d, want none", len(rt.sent))
	}
}

func TestR28_ConfigurationIsCheckedBeforeTraffic(t *testing.T) {
	rt := &stub{status: 200}
	for what, change := range map[string]func(*toopher.Client){
		"key":       func(c *toopher.Client) { c.Key = "" },
		"secret":    func(c *toopher.Client) { c.Secret = renew.Secret{} },
		"no URL":    func(c *toopher.Client) { c.BaseURL = "://" },
		"no host":   func(c *toopher.Client) { c.BaseURL = "https:///v1" },
		"scheme":    func(c *toopher.Client) { c.BaseURL = "ftp://toopher.example" },
		"password":  func(c *toopher.Client) { c.BaseURL = "https://u:" + testSecret + "@toopher.example" },
		"query":     func(c *toopher.Client) { c.BaseURL = "https://toopher.example/v1?a=" + testSecret },
		"fragment":  func(c *toopher.Client) { c.BaseURL = "https://toopher.example/v1#" + testSecret },
		"plaintext": func(c *toopher.Client) { c.BaseURL = "http://toopher.example/v1" },
	} {
		c := client(rt)
		change(c)
		isConfig(t, what, c.Validate())
		for name, call := range everyCall(c) {
			err := call(t.Context())
			isConfig(t, what+", "+name, err)
			leaktest.Check(t, err, testSecret)
		}
		_, err := c.WaitForAuthentication(t.Context(), requestID, toopher.Poll{})
		isConfig(t, what+", poll", err)
		_, err = c.Login(t.Context(), toopher.Login{UserName: kim, TerminalID: cookie})
		isConfig(t, what+", login", err)
		_, err = (&toopher.Iframe{Client: c}).PairURL(kim, "")
		isConfig(t, what+", iframe", err)
	}
	if len(rt.sent) != 0 {
		t.Errorf("requests = %d, want none", len(rt.sent))
	}
	var none *toopher.Client
	isConfig(t, "nil", none.Validate())
	for name, call := range everyCall(none) {
		isConfig(t, "nil, "+name, call(t.Context()))
	}
}

func TestBaseURL(t *testing.T) {
	for base, want := range map[string]string{
		"":                                   "https://api.toopher.com/v1/users/x",
		"https://toopher.example/v1//":       "https://toopher.example/v1/users/x",
		"https://toopher.example":            "https://toopher.example/users/x",
		"http://localhost:8080/v1/":          "http://localhost:8080/v1/users/x",
		"http://127.0.0.1/api":               "http://127.0.0.1/api/users/x",
		"https://toopher-api.appspot.com/v1": "https://toopher-api.appspot.com/v1/users/x",
	} {
		rt := &stub{status: 200, body: "{}"}
		c := client(rt)
		c.BaseURL = base
		if _, err := c.Raw(t.Context(), "GET", "/users/x"); err != nil || rt.sent[0].url != want {
			t.Errorf("%q: %v, sent to %v, want %s", base, err, rt.sent, want)
		}
	}
	rt := &stub{status: 200, body: "{}"}
	c := client(rt)
	c.BaseURL, c.AllowPlaintext = "http://toopher.example/v1", true
	if _, err := c.Raw(t.Context(), "GET", "/users/x"); err != nil || len(rt.sent) != 1 {
		t.Errorf("AllowPlaintext: %v, %d requests", err, len(rt.sent))
	}
}

func TestIDsAreEscaped(t *testing.T) {
	for id, want := range map[string]string{
		"a/b":                 "a%2Fb",
		"../users":            "..%2Fusers",
		"a b?c#d%2e":          "a%20b%3Fc%23d%252e",
		"x/../../y":           "x%2F..%2F..%2Fy",
		"é;=&":                "%C3%A9%3B=&",
		"...":                 "...",
		"line\r\nInjected: x": "line%0D%0AInjected:%20x",
	} {
		s, c := service(t, at(1418000000))
		var urls []string
		next := c.HTTPClient.Transport
		c.HTTPClient.Transport = roundTripper(func(r *http.Request) (*http.Response, error) {
			urls = append(urls, r.URL.String())
			return next.RoundTrip(r)
		})
		_, err := c.AuthenticationStatus(t.Context(), id)
		_, err2 := c.PairingStatus(t.Context(), id)
		_, err3 := c.AuthenticateWithOTP(t.Context(), id, "1")
		for i, err := range []error{err, err2, err3} {
			// 404 and not 401: the path that was sent is the one that was signed.
			if e := checkKind(t, err, "Api"); e.Status != 404 || !strings.Contains(e.Path, "/"+want) {
				t.Errorf("%q: call %d: %v", id, i, err)
			}
		}
		if len(urls) != 3 || urls[0] != "https://api.toopher.com/v1/authentication_requests/"+want || urls[1] != "https://api.toopher.com/v1/pairings/"+want ||
			urls[2] != "https://api.toopher.com/v1/authentication_requests/"+want+"/otp_auth" {
			t.Errorf("%q was sent as %v, want %s", id, urls, want)
		}
		if n := s.Counts(); n.Refused != 0 || n.Signed != 3 {
			t.Errorf("%q: counts %+v", id, n)
		}
	}
}

func TestNothingIsSentTwiceByItself(t *testing.T) {
	for name, answer := range map[string]*stub{
		"401":        {status: 401, body: `{"error_code": 401, "error_message": "Not a valid OAuth signed request"}`},
		"401 nonce":  {status: 401, header: http.Header{"Www-Authenticate": {`OAuth oauth_problem="nonce_used"`}}},
		"429":        {status: 429},
		"503":        {status: 503},
		"no network": {err: &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}},
		"reset":      {err: &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}},
	} {
		c := client(answer)
		for call, do := range everyCall(c) {
			answer.sent = nil
			if err := do(t.Context()); err == nil || len(answer.sent) != 1 {
				t.Errorf("%s: %s: %v, %d requests, want 1", name, call, err, len(answer.sent))
			}
		}
		c.RepeatGets = 2
		for call, do := range everyCall(c) {
			answer.sent = nil
			_ = do(t.Context())
			want := 1
			if answer.err != nil && answer.sent[0].method == "GET" {
				want = 3
			}
			if len(answer.sent) != want {
				t.Errorf("%s: %s with RepeatGets 2: %d requests, want %d", name, call, len(answer.sent), want)
			}
			nonces := make(map[string]bool)
			for _, s := range answer.sent {
				nonces[s.header.Get("Authorization")] = true
			}
			if len(nonces) != want {
				t.Errorf("%s: %s: %d signatures for %d requests", name, call, len(nonces), want)
			}
		}
	}
}

func TestGetIsRepeated(t *testing.T) {
	s, c := service(t, at(1418000000))
	next, n := c.HTTPClient.Transport, 0
	c.HTTPClient.Transport = roundTripper(func(r *http.Request) (*http.Response, error) {
		resp, err := next.RoundTrip(r) // the service sees it: the same nonce again would be refused
		if n++; n == 1 {
			return nil, io.ErrUnexpectedEOF
		}
		return resp, err
	})
	c.RepeatGets = 1
	_, err := c.AuthenticationStatus(t.Context(), "r")
	if e := checkKind(t, err, "Api"); e.Status != 404 || s.Counts().Signed != 2 {
		t.Errorf("err = %v, counts %+v, want a 404 at the second request", err, s.Counts())
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	for _, status := range []int{301, 302, 303, 307, 308} {
		n := 0
		c := client(roundTripper(func(*http.Request) (*http.Response, error) {
			if n++; n > 1 {
				return reply(500, "", ""), nil
			}
			resp := reply(status, "", "")
			resp.Header.Set("Location", "https://api.toopher.com/v1/elsewhere")
			return resp, nil
		}))
		for call, do := range everyCall(c) {
			n = 0
			err := do(t.Context())
			if e := checkKind(t, err, "Api"); e.Status != status || n != 1 {
				t.Errorf("%d: %s: %v, %d requests", status, call, err, n)
			}
		}
	}
}

func TestR30_RepliesAreBounded(t *testing.T) {
	long := `{"id": "` + strings.Repeat("x", 1<<20) + `"}`
	for _, status := range []int{200, 409, 500} {
		for call, do := range everyCall(client(&stub{status: status, body: long})) {
			err := do(t.Context())
			if e := checkKind(t, err, "Api"); e.Status != status || !strings.Contains(err.Error(), "longer than 1 MiB") || len(err.Error()) > 600 {
				t.Errorf("%s: %d: %v", call, status, err)
			}
		}
	}
	// One that does not end is left.
	var read atomic.Int64
	c := client(roundTripper(func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(endless{&read})}, nil
	}))
	_, err := c.PairingStatus(t.Context(), "p")
	checkKind(t, err, "Api")
	if read.Load() > 1<<21 {
		t.Errorf("read = %d bytes", read.Load())
	}
}

// endless is a body without an end, up to where a test would not end either.
type endless struct{ read *atomic.Int64 }

func (e endless) Read(b []byte) (int, error) {
	if e.read.Add(int64(len(b))) > 1<<26 {
		return 0, io.EOF
	}
	return copy(b, strings.Repeat(" ", len(b))), nil
}

func TestMessagesAreOneShortLine(t *testing.T) {
	body := `{"error_code": 1, "error_message": "a\r\nSet-Cookie: x\u001b[31m\u2028\u202e` + strings.Repeat("é", 5000) + `"}`
	_, err := client(&stub{status: 400, body: body}).PairingStatus(t.Context(), "p")
	e := checkKind(t, err, "Api")
	if strings.ContainsAny(e.Message, "\r\n\x1b\u2028\u202e") || len([]rune(e.Message)) > 303 {
		t.Errorf("message = %q", e.Message)
	}
}

func TestR30_ErrorsHoldNoSecret(t *testing.T) {
	const phrase, otp = "silent otter 9Qz", "49203977"
	secrets := []string{testSecret, phrase, otp, "cookie-secret-8f2a"}
	calls := func(c *toopher.Client) []error {
		_, err1 := c.Pair(t.Context(), phrase, kim)
		_, err2 := c.AuthenticateByUserName(t.Context(), kim, "cookie-secret-8f2a", toopher.OTP(otp))
		_, err3 := c.AuthenticateWithOTP(t.Context(), requestID, otp)
		return []error{err1, err2, err3, c.CreateUserTerminal(t.Context(), kim, "pc", "cookie-secret-8f2a"), c.SetUserEnabled(t.Context(), kim, true)}
	}
	// A server that shows what it was sent, as it came and as it was signed.
	echo := roundTripper(func(r *http.Request) (*http.Response, error) {
		var body []byte
		if r.Body != nil {
			body, _ = io.ReadAll(r.Body)
		}
		text := fmt.Sprintf(`{"error_code": 400, "error_message": %q}`, "expected "+string(body)+" "+strings.ReplaceAll(string(body), "+", "%20")+" "+testSecret)
		return reply(400, "application/json", text), nil
	})
	dropped := roundTripper(func(r *http.Request) (*http.Response, error) {
		return nil, fmt.Errorf("proxy says: %s %s", r.Header.Get("Authorization"), testSecret)
	})
	for name, rt := range map[string]http.RoundTripper{"echo": echo, "dropped": dropped} {
		for i, err := range calls(client(rt)) {
			if err == nil {
				t.Fatalf("%s: call %d succeeds", name, i)
			}
			leaktest.Check(t, err, secrets...)
			if strings.Contains(err.Error(), "OAuth ") || strings.Contains(err.Error(), "oauth_") {
				t.Errorf("%s: %v shows the header", name, err)
			}
		}
	}
	for _, form := range []string{"plain " + phrase, "form silent+otter+9Qz", "base silent%2520otter%25209Qz", "path silent%20otter%209Qz"} {
		_, err := client(&stub{status: 400, body: fmt.Sprintf(`{"error_message": %q}`, form)}).Pair(t.Context(), phrase, kim)
		if e := checkKind(t, err, "Api"); e.Message != "" {
			t.Errorf("message %q is shown", e.Message)
		}
	}
	leaktest.Check(t, client(echo), testSecret)
	leaktest.Check(t, &toopher.Iframe{Client: client(echo)}, testSecret)
}

func TestTransportErrors(t *testing.T) {
	refused := &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	_, err := client(&stub{err: refused}).Pair(t.Context(), "p", kim)
	e, ok := errors.AsType[*renew.IssueError](err)
	if !ok || !errors.Is(err, syscall.ECONNREFUSED) || !e.Unsent || e.Kind != renew.Transient || errors.Is(err, toopher.ErrAPI) {
		t.Errorf("err = %#v, want a transient *renew.IssueError around the cause, unsent", err)
	}
	if want := "renew: toopher POST /pairings/create at api.toopher.com: "; !strings.HasPrefix(err.Error(), want) {
		t.Errorf("err = %v, want %s...", err, want)
	}
	gone, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("the user left")
	cancel(cause)
	rt := &stub{status: 200}
	for call, do := range everyCall(client(rt)) {
		if err := do(gone); !errors.Is(err, cause) {
			t.Errorf("%s: err = %v, want the context's cause", call, err)
		}
	}
	if len(rt.sent) != 0 {
		t.Errorf("requests = %d with a context that had ended", len(rt.sent))
	}
}

func TestTimeout(t *testing.T) {
	for _, tt := range []struct{ set, want time.Duration }{{0, 30 * time.Second}, {5 * time.Second, 5 * time.Second}, {-1, time.Minute}} {
		synctest.Test(t, func(t *testing.T) {
			c := client(roundTripper(func(r *http.Request) (*http.Response, error) {
				<-r.Context().Done()
				return nil, r.Context().Err()
			}))
			c.Timeout = tt.set
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			start := time.Now()
			_, err := c.PairingStatus(ctx, "p")
			if _, ok := errors.AsType[*renew.IssueError](err); !ok || time.Since(start) != tt.want {
				t.Errorf("Timeout %v: %v after %v, want an error after %v", tt.set, err, time.Since(start), tt.want)
			}
		})
	}
}

// A body that never ends is left at the timeout.
func TestTimeoutInTheBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := client(roundTripper(func(r *http.Request) (*http.Response, error) {
			in, out := io.Pipe()
			context.AfterFunc(r.Context(), func() { out.CloseWithError(r.Context().Err()) })
			return &http.Response{StatusCode: 200, Header: http.Header{}, Body: in}, nil
		}))
		start := time.Now()
		_, err := c.PairingStatus(t.Context(), "p")
		if _, ok := errors.AsType[*renew.IssueError](err); !ok || time.Since(start) != 30*time.Second || !strings.Contains(err.Error(), "Client.Timeout") {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		synctest.Wait()
	})
}

func TestSetUserEnabled(t *testing.T) {
	s, c := service(t, at(1418000000))
	s.AddUser(kim)
	p, err := c.Pair(t.Context(), "silent otter", kim)
	if err != nil {
		t.Fatal(err)
	}
	s.Answer(p.ID, toophertest.Decision{Grant: true})
	auth := func() error { _, err := c.Authenticate(t.Context(), p.ID, "pc"); return err }
	if err := auth(); err != nil {
		t.Fatal(err)
	}
	if err := c.SetUserEnabled(t.Context(), kim, false); err != nil {
		t.Fatal(err)
	}
	checkKind(t, auth(), "UserDisabled")
	if err := c.SetUserEnabled(t.Context(), kim, true); err != nil {
		t.Fatal(err)
	}
	if err := auth(); err != nil {
		t.Error(err)
	}
	if err := c.SetUserEnabled(t.Context(), "nobody", true); !errors.Is(err, toopher.ErrNoUser) || !errors.Is(err, toopher.ErrAPI) {
		t.Errorf("err = %v, want ErrNoUser", err)
	}
	s.AddUser(kim)
	if err := c.SetUserEnabled(t.Context(), kim, false); !errors.Is(err, toopher.ErrSeveralUsers) || !errors.Is(err, toopher.ErrAPI) {
		t.Errorf("err = %v, want ErrSeveralUsers", err)
	}
	if err := auth(); err != nil {
		t.Errorf("after a search that found two: %v", err)
	}
	rt := &stub{status: 200, body: `[{"id": "u", "name": "` + kim + `pton"}]`}
	if err := client(rt).SetUserEnabled(t.Context(), kim, false); !errors.Is(err, toopher.ErrNoUser) || len(rt.sent) != 1 {
		t.Errorf("somebody else was found: %v, %d requests", err, len(rt.sent))
	}
	for _, bad := range []string{`[{"id": "..", "name": "` + kim + `"}]`, `[{"id": 7, "name": "` + kim + `"}]`, `{}`, `null`, `[null]`} {
		rt := &stub{status: 200, body: bad}
		checkKind(t, client(rt).SetUserEnabled(t.Context(), kim, false), "Api")
		if len(rt.sent) != 1 {
			t.Errorf("%s: %d requests, want the search alone", bad, len(rt.sent))
		}
	}
}

func TestTerminalIDInPlaceOfAName(t *testing.T) {
	s, c := service(t, at(1418000000))
	p, err := c.Pair(t.Context(), "silent otter", kim)
	if err != nil {
		t.Fatal(err)
	}
	s.Answer(p.ID, toophertest.Decision{Grant: true})
	a, err := c.Authenticate(t.Context(), p.ID, "pc", toopher.TerminalNameExtra(cookie))
	if err != nil {
		t.Fatal(err)
	}
	if b, err := c.Authenticate(t.Context(), p.ID, "", toopher.TerminalID(a.Terminal.ID)); err != nil || b.Terminal != a.Terminal {
		t.Errorf("by id: %+v, %v", b, err)
	}
	if b, err := c.Authenticate(t.Context(), p.ID, "new name", toopher.TerminalID(a.Terminal.ID)); err != nil || b.Terminal.Name != "new name" || b.Terminal.ID != a.Terminal.ID {
		t.Errorf("renamed: %+v, %v", b, err)
	}
}

func TestOTP(t *testing.T) {
	s, c := service(t, at(1418000000))
	p, _ := c.Pair(t.Context(), "silent otter", kim)
	s.Answer(p.ID, toophertest.Decision{Grant: true})
	for otp, granted := range map[string]bool{"492039": true, "000000": false} {
		a, err := c.Authenticate(t.Context(), p.ID, "pc", toopher.SMSInbandReply(true))
		if err != nil || !a.Pending {
			t.Fatalf("%+v, %v", a, err)
		}
		if a, err = c.AuthenticateWithOTP(t.Context(), a.ID, otp); err != nil || a.Granted() != granted || a.Denied() == granted {
			t.Errorf("OTP %s: %+v, %v", otp, a, err)
		}
		if a, err = c.Authenticate(t.Context(), p.ID, "pc", toopher.OTP(otp)); err != nil || a.Granted() != granted {
			t.Errorf("OTP %s at once: %+v, %v", otp, a, err)
		}
	}
}

// The four errors as the service finds them by itself.
func TestServiceErrors(t *testing.T) {
	s, c := service(t, at(1418000000))
	_, err := c.AuthenticateByUserName(t.Context(), kim, cookie)
	checkKind(t, err, "UserUnknown")
	p, err := c.Pair(t.Context(), "silent otter", kim)
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Authenticate(t.Context(), p.ID, "pc")
	if e := checkKind(t, err, "PairingDeactivated"); e.Code != 601 {
		t.Errorf("code = %d, want 601: by the text", e.Code)
	}
	s.Answer(p.ID, toophertest.Decision{Grant: true})
	_, err = c.AuthenticateByUserName(t.Context(), kim, cookie)
	checkKind(t, err, "TerminalUnknown")
	if err := c.CreateUserTerminal(t.Context(), kim, "pc", cookie); err != nil {
		t.Fatal(err)
	}
	if _, err = c.AuthenticateByUserName(t.Context(), kim, cookie); err != nil {
		t.Fatal(err)
	}
	s.Deactivate(p.ID)
	_, err = c.AuthenticateByUserName(t.Context(), kim, cookie)
	if e := checkKind(t, err, "PairingDeactivated"); e.Code != 707 {
		t.Errorf("code = %d, want 707", e.Code)
	}
	_, err = c.Authenticate(t.Context(), "nothing", "pc")
	if e := checkKind(t, err, "Api"); e.Status != 404 {
		t.Errorf("err = %v", err)
	}
}

func TestServiceRefuses(t *testing.T) {
	clk := at(1418000000)
	for what, change := range map[string]func(*toopher.Client){
		"secret":    func(c *toopher.Client) { c.Secret = renew.NewSecret("another") },
		"key":       func(c *toopher.Client) { c.Key = "another" },
		"too early": func(c *toopher.Client) { c.Clock = at(1418000000 - 601) },
		"too late":  func(c *toopher.Client) { c.Clock = at(1418000000 + 601) },
		"nonce": func(c *toopher.Client) {
			c.Nonce = func() string { return "once" }
			_, _ = c.PairingStatus(t.Context(), "p")
		},
	} {
		s, c := service(t, clk)
		change(c)
		_, err := c.PairingStatus(t.Context(), "p")
		if e := checkKind(t, err, "Api"); e.Status != 401 || e.Code != 401 || s.Counts().Refused != 1 || !strings.Contains(err.Error(), "check key, secret") {
			t.Errorf("%s: %v, counts %+v", what, err, s.Counts())
		}
	}
}

// Over a real connection: what net/http makes of the request is what was signed.
func TestOverTheNetwork(t *testing.T) {
	s := toophertest.New(testKey, testSecret)
	base, stop, err := s.Start()
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	c := &toopher.Client{Key: testKey, Secret: renew.NewSecret(testSecret), BaseURL: base}
	p, err := c.Pair(t.Context(), "silent otter ~*'()&=+%", "kïm+a;b@example.test")
	if err != nil {
		t.Fatal(err)
	}
	s.Answer(p.ID, toophertest.Decision{Grant: true})
	if p, err = c.PairingStatus(t.Context(), p.ID); err != nil || !p.Paired() {
		t.Errorf("%+v, %v", p, err)
	}
	if err := c.SetUserEnabled(t.Context(), "kïm+a;b@example.test", false); err != nil {
		t.Error(err)
	}
	if _, err := c.AuthenticationStatus(t.Context(), "a/b c"); err == nil || s.Counts().Refused != 0 {
		t.Errorf("%v, %+v", err, s.Counts())
	}
}

// A POST whose reply never comes may have been heard: it is not sent again.
func TestPostIsSentOnceOverTheNetwork(t *testing.T) {
	var n atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n.Add(1) == 1 {
			_, _ = io.WriteString(w, `{"id": "p", "enabled": true, "user": {"id": "u", "name": "n"}}`)
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)
		panic(http.ErrAbortHandler) // on a connection that is in use already
	}))
	defer server.Close()
	c := &toopher.Client{Key: testKey, Secret: renew.NewSecret(testSecret), BaseURL: server.URL, RepeatGets: 5, HTTPClient: server.Client()}
	if _, err := c.PairingStatus(t.Context(), "p"); err != nil {
		t.Fatal(err)
	}
	_, err := c.Pair(t.Context(), "silent otter", kim)
	e, ok := errors.AsType[*renew.IssueError](err)
	if !ok || e.Unsent || n.Load() != 2 {
		t.Errorf("err = %v, requests %d, want one POST that may have been heard", err, n.Load())
	}
}

func TestCookiesAreOff(t *testing.T) {
	rt := &stub{status: 200, body: `{}`, header: http.Header{"Set-Cookie": {"a=b"}}}
	c := client(rt)
	for range 2 {
		if _, err := c.Raw(t.Context(), "GET", "/x"); err != nil {
			t.Fatal(err)
		}
	}
	if rt.sent[1].header.Get("Cookie") != "" {
		t.Error("a cookie was sent back")
	}
}

// One Client serves many goroutines; each request has a nonce of its own.
func TestManyGoroutines(t *testing.T) {
	s, c := service(t, at(1418000000))
	p, err := c.Pair(t.Context(), "silent otter", kim)
	if err != nil {
		t.Fatal(err)
	}
	s.Answer(p.ID, toophertest.Decision{Grant: true})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 5 {
				a, err := c.Authenticate(t.Context(), p.ID, "pc")
				if err == nil {
					_, err = c.AuthenticationStatus(t.Context(), a.ID)
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if n := s.Counts(); n.Signed != 81 || n.Refused != 0 {
		t.Errorf("counts = %+v", n)
	}
}
