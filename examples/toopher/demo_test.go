package main

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/seed-f29168f7/renew/sources/toopher"
	"github.com/seed-f29168f7/renew/sources/toopher/toophertest"
)

const (
	key    = "demo-test-key"
	secret = "demo-test-secret-5Tq"
)

// outside is a service that the program does not start itself. It notes what is sent.
type outside struct {
	*toophertest.Service
	env map[string]string

	mu    sync.Mutex
	forms []url.Values
}

func newOutside(t *testing.T) *outside {
	t.Helper()
	o := &outside{Service: toophertest.New(key, secret)}
	o.Looks = 2
	l := start(t, o)
	o.env = map[string]string{"TOOPHER_CONSUMER_KEY": key, "TOOPHER_CONSUMER_SECRET": secret, "TOOPHER_BASE_URL": l}
	return o
}

func (o *outside) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	form, _ := url.ParseQuery(string(body))
	o.mu.Lock()
	o.forms = append(o.forms, form)
	o.mu.Unlock()
	r.Body = io.NopCloser(strings.NewReader(string(body)))
	o.Service.ServeHTTP(w, r)
}

// start serves on loopback.
func start(t *testing.T, h http.Handler) (baseURL string) {
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return server.URL + "/v1"
}

// talk runs the program with that input, and returns what it printed.
func talk(t *testing.T, env map[string]string, input ...string) (string, error) {
	t.Helper()
	var out strings.Builder
	in := strings.NewReader(strings.Join(append(input, ""), "\n"))
	err := run(t.Context(), in, &out, func(name string) string { return env[name] })
	return out.String(), err
}

// inOrder checks that the texts stand in the output, one after the other.
func inOrder(t *testing.T, out string, texts ...string) {
	t.Helper()
	rest := out
	for _, text := range texts {
		_, after, ok := strings.Cut(rest, text)
		if !ok {
			t.Fatalf("%q is not in the rest of the output:\n%s", text, rest)
		}
		rest = after
	}
}

func TestWalkWithTheEmbeddedService(t *testing.T) {
	out, err := talk(t, nil, "silent otter", "", "", "", "", "", "", "", "laptop", "", "", "")
	if err != nil {
		t.Fatal(err)
	}
	out = regexp.MustCompile(`127\.0\.0\.1:\d+`).ReplaceAllString(out, "HOST")
	want, err := os.ReadFile("testdata/walk.txt")
	if err != nil {
		t.Fatal(err)
	}
	if out != string(want) {
		t.Errorf("output:\n%s\nwant:\n%s", out, want)
	}
}

func TestWalkWithAnotherService(t *testing.T) {
	o := newOutside(t)
	o.Fail(toophertest.Error(400, 400, "The phrase is unknown."))
	o.Script(
		toophertest.Decision{Grant: true}, // the pairing
		toophertest.Decision{Reason: "Denied by user"},
		toophertest.Decision{Grant: true, Automated: true},
	)
	out, err := talk(t, o.env,
		"", "", "wrong phrase", "kim", // two empty phrases are asked for again
		"silent otter", "kim",
		"", "", // not yet, paired
		"", "", "", // the default terminal; not yet, denied
		"", "laptop", "", // granted automatically
		"", "", "", "") // the default terminal again; not yet, granted
	if err != nil {
		t.Fatal(err)
	}
	inOrder(t, out,
		"Pairing phrase", "Pairing phrase", "Pairing phrase", "User name [demo@toopher.com]",
		"The pairing was not made: toopher: POST /pairings/create: 400 API error 400: The phrase is unknown.",
		"Pairing phrase", "The phone has not agreed yet.", "Paired.",
		"Terminal name [my computer]", "The phone has not answered yet.", "The request was denied!", `The reason: "Denied by user"`,
		"The request was automatically granted!",
		"The phone has not answered yet.", "The request was granted!", "Bye.")
	if strings.Contains(out, "embedded") {
		t.Error("a service was started though one was named")
	}
	var names, ids []string
	for _, f := range o.forms {
		if f.Has("terminal_name_extra") {
			names, ids = append(names, f.Get("terminal_name")), append(ids, f.Get("terminal_name_extra"))
		}
	}
	if strings.Join(names, ",") != "my computer,laptop,my computer" || len(ids[0]) < 20 || ids[0] != ids[2] || ids[0] == ids[1] {
		t.Errorf("terminals %v with ids %v, want one id a name", names, ids)
	}
	if c := o.Counts(); c.Signed != c.Requests || c.Pairings != 1 || c.Authentications != 3 {
		t.Errorf("counts = %+v", c)
	}
	if strings.Contains(out, secret) || strings.Contains(out, ids[0]) {
		t.Error("the output has a secret")
	}
}

func TestAuthenticationErrorsAskAgain(t *testing.T) {
	o := newOutside(t)
	o.Looks = 1
	failing := map[int]toophertest.Failure{
		2: toophertest.Error(409, 704, "The specified user has disabled Toopher authentication."), // the first initiate
		4: {Status: 503, ContentType: "text/html", Body: "<html>away</html>"},                     // the first status
	}
	var n atomic.Int32
	counting := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if f, ok := failing[int(n.Add(1)-1)]; ok {
			o.Fail(f)
		}
		o.ServeHTTP(w, r)
	})
	o.env["TOOPHER_BASE_URL"] = start(t, counting) + "/"
	out, err := talk(t, o.env, "silent otter", "", "", "first", "second", "", "", "")
	if err != nil {
		t.Fatal(err)
	}
	inOrder(t, out, "Paired.", "Terminal name",
		"The request was not made: toopher: POST /authentication_requests/initiate: 409 user disabled 704",
		"Terminal name", "Answer the request", "The answer could not be asked for: toopher: GET /authentication_requests/",
		"Answer the request", "The request was granted!")
}

func TestPairingEnds(t *testing.T) {
	o := newOutside(t)
	o.Script(toophertest.Decision{})
	if _, err := talk(t, o.env, "silent otter", "", "", "", ""); !errors.Is(err, toopher.ErrPairingDenied) {
		t.Errorf("err = %v, want that the pairing was denied", err)
	}
	var n atomic.Int32
	o.env["TOOPHER_BASE_URL"] = start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n.Add(1) == 2 {
			o.Fail(toophertest.Error(404, 404, "No such pairing."))
		}
		o.ServeHTTP(w, r)
	}))
	if _, err := talk(t, o.env, "silent otter", "", "", "", ""); !errors.Is(err, toopher.ErrAPI) {
		t.Errorf("err = %v, want the API error of the pairing's status", err)
	}
}

func TestWhatIsMissingIsAskedFor(t *testing.T) {
	for _, tt := range []struct {
		missing []string
		input   []string
		want    []string
		not     string
	}{
		{[]string{"TOOPHER_CONSUMER_SECRET"}, []string{"", secret}, []string{"Consumer secret: ", "Consumer secret: "}, "Consumer key"},
		{[]string{"TOOPHER_CONSUMER_KEY"}, []string{key}, []string{"Consumer key: "}, "Consumer secret"},
		{[]string{"TOOPHER_CONSUMER_KEY", "TOOPHER_CONSUMER_SECRET"}, []string{key, "", secret}, []string{"Consumer key: ", "Consumer secret: ", "Consumer secret: "}, "embedded"},
	} {
		o := newOutside(t)
		for _, name := range tt.missing {
			delete(o.env, name)
		}
		out, err := talk(t, o.env, append(tt.input, "silent otter", "", "", "")...)
		if err != nil {
			t.Fatal(err)
		}
		inOrder(t, out, append(tt.want, "Paired.")...)
		if strings.Contains(out, tt.not) {
			t.Errorf("without %v the output has %q:\n%s", tt.missing, tt.not, out)
		}
	}
}

func TestInputEndsAnywhere(t *testing.T) {
	lines := []string{"silent otter", "", "", "", "", "", "", ""}
	for n := range lines {
		out, err := talk(t, nil, lines[:n]...)
		if err != nil || !strings.HasSuffix(out, "\nBye.\n") {
			t.Errorf("after %d lines: %v, %q", n, err, out)
		}
	}
}

func TestCtrlC(t *testing.T) {
	in, keyboard := io.Pipe() // nobody types
	defer keyboard.Close()
	out, screen := io.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() {
		done <- run(ctx, in, screen, func(string) string { return "" })
		screen.Close()
	}()
	var seen strings.Builder
	buf := make([]byte, 512)
	for {
		n, err := out.Read(buf)
		seen.Write(buf[:n])
		if err != nil {
			break
		}
		if strings.Contains(seen.String(), "Pairing phrase") {
			cancel()
		}
	}
	if err := <-done; err != nil || !strings.HasSuffix(seen.String(), "Bye.\n") {
		t.Errorf("err = %v, output %q", err, seen.String())
	}
}

func TestWrongBaseURL(t *testing.T) {
	env := map[string]string{"TOOPHER_CONSUMER_KEY": key, "TOOPHER_CONSUMER_SECRET": secret, "TOOPHER_BASE_URL": "http://toopher.example/v1"}
	if _, err := talk(t, env, "silent otter"); err == nil || !strings.Contains(err.Error(), "https") || strings.Contains(err.Error(), secret) {
		t.Errorf("err = %v, want that it must be https", err)
	}
}
