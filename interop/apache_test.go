package interop

import (
	"crypto/md5"
	_ "embed"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"text/template"
	"time"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/sources/basic"
	"github.com/seed-f29168f7/renew/sources/digest"
)

//go:embed testdata/apache.conf
var apacheConf string

const (
	apacheUser     = "alice"
	apachePassword = "wonder land:1"
)

// apache is Apache httpd with Basic and Digest, on two ports of loopback.
type apache struct {
	Dir, Modules, Origin, Other string
	Here, There, Proxy          string // host:port
	TLSPort                     string // where the proxy makes tunnels to
	Root                        bool
	stop                        func()
}

// freePort returns a port of loopback that nobody listens on.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// newApache starts Apache, and ends it with the test if it was not stopped before.
func newApache(t *testing.T, tlsPort string) *apache {
	t.Helper()
	path, err := exec.LookPath("/usr/sbin/apache2") // not in everybody's PATH
	if err != nil {
		missing(t, "apache2 is not installed: it comes with the package apache2")
	}
	dir, err := os.MkdirTemp("", "apache")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil { // its workers have another user, if we are root
		t.Fatal(err)
	}
	a := &apache{Dir: dir, Modules: "/usr/lib/apache2/modules", Here: freePort(t), There: freePort(t), Proxy: freePort(t), TLSPort: tlsPort, Root: os.Getuid() == 0}
	a.Origin, a.Other = "http://"+a.Here, "http://"+a.There
	var conf strings.Builder
	if err := template.Must(template.New("").Parse(apacheConf)).Execute(&conf, a); err != nil {
		t.Fatal(err)
	}
	var digests strings.Builder // as htdigest writes them
	for _, realm := range []string{"peer, with comma", "stale", "onetime", "both", "proxy"} {
		fmt.Fprintf(&digests, "%s:%s:%x\n", apacheUser, realm, md5.Sum([]byte(apacheUser+":"+realm+":"+apachePassword)))
	}
	crypt, err := exec.Command("htpasswd", "-nbB", apacheUser, apachePassword).Output()
	if err != nil {
		t.Fatalf("htpasswd, of the package apache2-utils: %v", err)
	}
	for name, text := range map[string]string{"httpd.conf": conf.String(), "digests": digests.String(), "passwords": string(crypt), "page.txt": "served\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(path, "-f", filepath.Join(dir, "httpd.conf"), "-DFOREGROUND")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	a.stop = sync.OnceFunc(func() {
		_ = cmd.Process.Signal(syscall.SIGWINCH) // it ends what it serves, and writes its log
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
			_ = cmd.Process.Kill()
			<-ended
		}
	})
	t.Cleanup(a.stop)
	for _, addr := range []string{a.Here, a.There, a.Proxy} {
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			conn, err := net.Dial("tcp", addr)
			if err == nil {
				conn.Close()
				break
			}
			if time.Now().After(deadline) {
				log, _ := os.ReadFile(filepath.Join(dir, "error.log"))
				t.Fatalf("apache2 does not listen: %v\n%s", err, log)
			}
		}
	}
	return a
}

// entry is a line of Apache's access log: what it served, and with which credential.
type entry struct{ path, status, authorization string }

// log returns Apache's own access log of a port. Apache must have been stopped.
func (a *apache) log(t *testing.T, name string) []entry {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(a.Dir, name))
	if err != nil {
		t.Fatal(err)
	}
	var out []entry
	for line := range strings.Lines(string(text)) {
		f := strings.SplitN(strings.TrimSpace(line), " ", 3)
		if len(f) != 3 {
			t.Fatalf("%s: %q", name, line)
		}
		out = append(out, entry{f[0], f[1], strings.TrimPrefix(f[2], "-")})
	}
	return out
}

func apacheClient(t *testing.T, a *apache, auth renew.Authenticator) *http.Client {
	t.Helper()
	tr, err := renew.NewTransport(auth, renew.TransportConfig{Origins: []string{a.Origin}})
	if err != nil {
		t.Fatal(err)
	}
	return &http.Client{Transport: tr, Timeout: time.Minute}
}

func apacheGet(c *http.Client, url string) (int, error) {
	resp, err := c.Get(url)
	if err != nil {
		return 0, err
	}
	resp.Body.Close()
	return resp.StatusCode, nil
}

func TestApache(t *testing.T) {
	behind := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Proxy-Authorization") != "" {
			t.Error("R28: the password of the proxy went into the tunnel")
		}
	}))
	defer behind.Close()
	_, tlsPort, _ := net.SplitHostPort(behind.Listener.Addr().String())
	a := newApache(t, tlsPort)
	var mismatches []error
	newDigest := func() *digest.Signer {
		return &digest.Signer{Username: apacheUser, Password: renew.NewSecret(apachePassword),
			BadRspauth: func(_ *http.Request, err error) { mismatches = append(mismatches, err) }}
	}
	newBasic := func() *basic.Signer {
		return &basic.Signer{Username: apacheUser, Password: renew.NewSecret(apachePassword)}
	}
	ok := func(c *http.Client, path string) {
		t.Helper()
		if status, err := apacheGet(c, a.Origin+path); status != 200 || err != nil {
			t.Errorf("%s: %d, %v", path, status, err)
		}
	}

	c := apacheClient(t, a, newBasic())
	for range 3 {
		ok(c, "/basic/ok")
	}
	c = apacheClient(t, a, newDigest())
	for range 5 {
		ok(c, "/digest/ok?x=1&y=%20z")
	}
	c = apacheClient(t, a, newDigest())
	for range 5 {
		ok(c, "/onetime/next")
	}
	c = apacheClient(t, a, newDigest())
	for range 3 {
		ok(c, "/both/ok")
	}
	c = apacheClient(t, a, newDigest())
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() { ok(c, "/onetime/many") })
	}
	wg.Wait()
	for range 50 {
		wg.Go(func() { ok(c, "/onetime/again") })
	}
	wg.Wait()

	// Nonces that Apache takes for 2 seconds, with the next one in each answer: a pause makes them stale.
	c = apacheClient(t, a, newDigest())
	for range 2 {
		for range 10 {
			ok(c, "/stale/ok")
		}
		time.Sleep(3500 * time.Millisecond)
	}
	ok(c, "/stale/ok")

	// Redirects to another origin.
	ok(apacheClient(t, a, newBasic()), "/basic/away")
	c = apacheClient(t, a, newDigest())
	ok(c, "/digest/before") // so that the next one carries an answer
	ok(c, "/digest/away")

	// A wrong password: five login attempts, and then nothing.
	wrong := func(auth renew.Authenticator, path string) {
		t.Helper()
		c := apacheClient(t, a, auth)
		for i := range 10 {
			status, err := apacheGet(c, a.Origin+path)
			if i < 5 && (status != 401 || err != nil) || i >= 5 && !errors.Is(err, renew.ErrBudgetSpent) {
				t.Errorf("%s, request %d with a wrong password: %d, %v", path, i+1, status, err)
			}
		}
	}
	d, b := newDigest(), newBasic()
	d.Password, b.Password = renew.NewSecret("wrong"), renew.NewSecret("wrong")
	wrong(d, "/digest/wrong")
	wrong(b, "/basic/wrong")

	// A path that refuses everybody does not take the good ones down.
	c = apacheClient(t, a, newBasic())
	for range 10 {
		ok(c, "/basic/beside")
		if status, err := apacheGet(c, a.Origin+"/nobody/x"); status != 401 && !errors.Is(err, renew.ErrBudgetSpent) {
			t.Errorf("/nobody: %d, %v", status, err)
		}
	}

	// Through a proxy: requests with Digest, whose uri is in absolute form then, and tunnels with Basic.
	proxy := "http://" + a.Proxy
	for _, password := range []string{apachePassword, "wrong"} {
		d := newDigest()
		d.Password, d.Proxy = renew.NewSecret(password), proxy
		tr, err := renew.NewTransport(d, renew.TransportConfig{Proxy: proxy})
		if err != nil {
			t.Fatal(err)
		}
		b := newBasic()
		b.Password, b.Proxy = renew.NewSecret(password), proxy
		tunnels := behind.Client().Transport.(*http.Transport).Clone()
		u, _ := url.Parse(proxy)
		tunnels.Proxy, tunnels.DisableKeepAlives = http.ProxyURL(u), true
		tunnels.GetProxyConnectHeader, tunnels.OnProxyConnectResponse = b.GetProxyConnectHeader, b.OnProxyConnectResponse
		for i := range 10 {
			status, err := apacheGet(&http.Client{Transport: tr}, a.Other+"/landed/by/proxy?x=%20y")
			_, tunnelErr := apacheGet(&http.Client{Transport: tunnels}, behind.URL)
			var refused *renew.IssueError
			switch {
			case password == apachePassword:
				if status != 200 || err != nil || tunnelErr != nil {
					t.Errorf("through the proxy: %d, %v; tunnel: %v", status, err, tunnelErr)
				}
			case i < 5:
				if status != 407 || err != nil || !errors.As(tunnelErr, &refused) || refused.Status != 407 {
					t.Errorf("wrong password for the proxy: %d, %v; tunnel: %v", status, err, tunnelErr)
				}
			case !errors.Is(err, renew.ErrBudgetSpent) || !errors.Is(tunnelErr, renew.ErrBudgetSpent):
				t.Errorf("wrong password for the proxy, request %d: %d, %v; tunnel: %v", i+1, status, err, tunnelErr)
			}
		}
		tr.CloseIdleConnections()
		tunnels.CloseIdleConnections()
	}
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	a.stop()

	count := map[string]int{} // by path, with a credential or bare, and status
	log := a.log(t, "here.log")
	seen := map[string]bool{}
	refused := 0
	for _, e := range log {
		kind := "bare"
		if e.authorization != "" {
			kind, _, _ = strings.Cut(e.authorization, " ")
		}
		if kind == "Digest" {
			if seen[e.authorization] {
				t.Errorf("the same answer came twice: %v", e)
			}
			seen[e.authorization] = true
			if !strings.Contains(e.authorization, "qop=auth") {
				t.Errorf("no qop: %v", e)
			}
		}
		if e.status == "401" {
			refused++
		}
		count[e.path+" "+kind+" "+e.status]++
	}
	for what, want := range map[string]int{
		"/basic/ok Basic 200": 3, "/basic/ok bare 401": 0,
		"/digest/ok Digest 200": 5, "/digest/ok bare 401": 1, "/digest/ok Digest 401": 0,
		"/onetime/next Digest 200": 5, "/onetime/next bare 401": 1, "/onetime/next Digest 401": 0, // nextnonce
		"/both/ok Digest 200": 3, "/both/ok bare 401": 1, "/both/ok Basic 200": 0, "/both/ok Basic 401": 0,
		"/onetime/many Digest 200": 50, "/onetime/again Digest 200": 50,
		"/stale/ok Digest 200": 21, "/stale/ok bare 401": 1, "/stale/ok Digest 401": 2, // once for each pause
		"/basic/away Basic 302": 1, "/digest/away Digest 302": 1,
		"/digest/wrong Digest 401": 5, "/digest/wrong bare 401": 5,
		"/basic/wrong Basic 401": 5, "/basic/wrong bare 401": 0,
		"/basic/beside Basic 200": 10, "/nobody/x Basic 401": 5,
	} {
		if count[what] != want {
			t.Errorf("the log of apache2 has %d of %q, want %d", count[what], what, want)
		}
	}
	landed := a.log(t, "there.log")
	for _, e := range landed {
		if e.authorization != "" {
			t.Errorf("R28: a credential went to another origin: %s", e.path)
		}
	}
	if len(landed) != 12 {
		t.Errorf("%d requests at the other origin, want 2 by redirects and 10 by the proxy", len(landed))
	}
	proxied := map[string]int{}
	for _, e := range a.log(t, "proxy.log") {
		kind, _, _ := strings.Cut(e.authorization, " ")
		what := "tunnel"
		if strings.Contains(e.path, "/landed/by/proxy") {
			what = "request"
		}
		if kind == "" {
			kind = "bare"
		}
		proxied[what+" "+kind+" "+e.status]++
	}
	for what, want := range map[string]int{
		"request bare 407": 6, "request Digest 200": 10, "request Digest 407": 5,
		"tunnel Basic 200": 10, "tunnel Basic 407": 5, "tunnel bare 407": 0,
	} {
		if proxied[what] != want {
			t.Errorf("the log of the proxy has %d of %q, want %d: %v", proxied[what], what, want, proxied)
		}
	}
	if len(mismatches) > 0 {
		t.Errorf("the rspauth of apache2 is not believed: %v", mismatches)
	}
	report(t, fmt.Sprintf("apache: server: %d requests, %d of them 401, %d different Digest answers, %d at the other origin without a credential, 5 of each wrong password; by its proxy %v",
		len(log), refused, len(seen), len(landed), proxied))
}
