package interop

import (
	"context"
	"crypto/rsa"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/sources/crtauth"
	"github.com/seed-f29168f7/renew/sources/crtauth/crtauthtest"
)

// tool returns the path of one of OpenSSH's programs. Without it the test is skipped, but not in CI.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		missing(t, "%s is not installed: it comes with the package openssh-client", name)
	}
	return path
}

// sshAgent is a running ssh-agent of OpenSSH with a key of each kind, and a socket before its own
// that counts what it is asked.
type sshAgent struct {
	socket string // the agent's own
	proxy  string // where the Source goes
	keys   map[string]string
	public *rsa.PublicKey
	add    func(args ...string)

	lists, signatures atomic.Int64
}

// newSSHAgent starts an agent, and ends it with the test.
func newSSHAgent(t *testing.T) *sshAgent {
	t.Helper()
	agent, keygen, add := tool(t, "ssh-agent"), tool(t, "ssh-keygen"), tool(t, "ssh-add")
	dir, err := os.MkdirTemp("", "agent") // t.TempDir may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	a := &sshAgent{socket: filepath.Join(dir, "s"), proxy: filepath.Join(dir, "p"), keys: map[string]string{}}

	cmd := exec.Command(agent, "-D", "-a", a.socket)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	a.add = func(args ...string) {
		t.Helper()
		c := exec.Command(add, args...)
		c.Env = append(os.Environ(), "SSH_AUTH_SOCK="+a.socket, "SSH_ASKPASS_REQUIRE=force", "SSH_ASKPASS="+askpass(t), "DISPLAY=none")
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("ssh-add %v: %v: %s", args, err, out)
		}
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		conn, err := net.Dial("unix", a.socket)
		if err == nil {
			conn.Close()
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("ssh-agent does not listen: %v", err)
		}
	}
	keyDir := t.TempDir()
	for _, kind := range []string{"ed25519", "ecdsa", "rsa"} {
		a.keys[kind] = filepath.Join(keyDir, kind)
		if out, err := exec.Command(keygen, "-q", "-t", kind, "-N", "", "-f", a.keys[kind]).CombinedOutput(); err != nil {
			t.Fatalf("ssh-keygen: %v: %s", err, out)
		}
		a.add("-q", a.keys[kind])
	}
	line, err := os.ReadFile(a.keys["rsa"] + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey(line)
	if err != nil {
		t.Fatal(err)
	}
	a.public = key.(ssh.CryptoPublicKey).CryptoPublicKey().(*rsa.PublicKey)
	a.serveProxy(t)
	return a
}

// askpass is a program that says the passphrase that an agent is locked with.
func askpass(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "askpass")
	if err := os.WriteFile(path, []byte("#!/bin/sh\necho lock-word\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

// serveProxy hands each message to the agent, and counts those that were answered with what was asked for.
func (a *sshAgent) serveProxy(t *testing.T) {
	listen(t, a.proxy, func(in net.Conn) {
		out, err := net.Dial("unix", a.socket)
		if err != nil {
			return
		}
		defer out.Close()
		for {
			question, err := copyFrame(out, in)
			if err != nil {
				return
			}
			answer, err := copyFrame(in, out)
			if err != nil {
				return
			}
			switch {
			case question == 11 && answer == 12:
				a.lists.Add(1)
			case question == 13 && answer == 14:
				a.signatures.Add(1)
			}
		}
	})
}

// listen serves a socket until the test ends.
func listen(t *testing.T, path string, serve func(net.Conn)) {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer conn.Close()
				serve(conn)
			})
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
}

// copyFrame hands one message on, and returns its type.
func copyFrame(to io.Writer, from io.Reader) (byte, error) {
	head := make([]byte, 5)
	if _, err := io.ReadFull(from, head); err != nil {
		return 0, err
	}
	if _, err := to.Write(head); err != nil {
		return 0, err
	}
	_, err := io.CopyN(to, from, int64(binary.BigEndian.Uint32(head))-1)
	return head[4], err
}

// login is a server that knows the agent's RSA key, and a Source for it.
func (a *sshAgent) login(t *testing.T, opts crtauthtest.Options) (*crtauthtest.Server, *crtauth.Source) {
	t.Helper()
	opts.Users = map[string]*rsa.PublicKey{"alice": a.public}
	srv := crtauthtest.NewServer(opts)
	t.Cleanup(srv.Close)
	return srv, &crtauth.Source{Origin: srv.URL, User: "alice", Signer: &crtauth.Agent{Socket: a.proxy}}
}

// The agent of OpenSSH logs in: one list and one signature a login, by both versions, at both servers.
func TestSSHAgent(t *testing.T) {
	t.Parallel()
	a := newSSHAgent(t)
	logins := int64(0)
	for _, tt := range []struct {
		java    bool
		version crtauth.Version
	}{{false, crtauth.Version1}, {false, crtauth.Version0}, {true, crtauth.Version1}} {
		srv, src := a.login(t, crtauthtest.Options{Java: tt.java})
		src.Version = tt.version
		for range 5 {
			tok, err := src.Issue(t.Context())
			if err != nil {
				t.Fatalf("%+v: %v", tt, err)
			}
			if !srv.Accepts(tok.Value.Reveal()) {
				t.Errorf("%+v: the server does not take the token", tt)
			}
			logins++
		}
		if c := srv.Counts(); c.Logins != 5 || c.Refused != 0 {
			t.Errorf("%+v: %+v", tt, c)
		}
	}
	report(t, fmt.Sprintf("ssh-agent: %d signatures served for %d logins, %d lists of keys", a.signatures.Load(), logins, a.lists.Load()))
	if got := a.signatures.Load(); got == 0 || got != logins || a.lists.Load() != logins {
		t.Errorf("signatures = %d, lists = %d, want %d of each", got, a.lists.Load(), logins)
	}
}

// An agent in service: a client that calls for some seconds, with tokens of 3 s, while the agent is locked, and
// loses its key, and gets it back.
func TestSSHAgentInService(t *testing.T) {
	t.Parallel()
	a := newSSHAgent(t)
	srv, src := a.login(t, crtauthtest.Options{Lifetime: 3 * time.Second})
	ts, err := renew.New(src, renew.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer ts.Close(t.Context())
	client, err := ts.Client(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	get := func() (int, error) {
		resp, err := client.Get(srv.URL + "/things")
		if err != nil {
			return 0, err
		}
		defer resp.Body.Close()
		return resp.StatusCode, nil
	}
	served := func() {
		t.Helper()
		if code, err := get(); err != nil || code != http.StatusOK {
			t.Fatalf("status %d, %v", code, err)
		}
	}
	served()
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		served()
	}

	for _, trouble := range []struct {
		name         string
		begin, end   func()
		text, remedy string
	}{
		{"locked", func() { a.add("-x") }, func() { a.add("-X") }, "shows no RSA key", "ssh-add -X"},
		{"key removed", func() { a.add("-q", "-d", a.keys["rsa"]) }, func() { a.add("-q", a.keys["rsa"]) }, "2 others", "ssh-add FILE"},
	} {
		trouble.begin()
		_, err := src.Issue(t.Context())
		local(t, trouble.name, err, trouble.text, trouble.remedy)
		waitFor(t, func() bool { _, err := get(); return err != nil }) // the token ends
		if _, err := get(); err == nil || !strings.Contains(err.Error(), trouble.remedy) {
			t.Errorf("%s: the client's error is %v", trouble.name, err)
		}
		if st := ts.Status(); st.BudgetLeft != 4 {
			t.Errorf("%s: units left = %d, want 4", trouble.name, st.BudgetLeft)
		}
		trouble.end()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		if _, err := ts.Wait(ctx); err != nil { // without anybody's help
			t.Errorf("%s: not well again: %v", trouble.name, err)
		}
		cancel()
		served()
	}
	c := srv.Counts()
	report(t, fmt.Sprintf("ssh-agent in service: %d signatures served, %d logins, %d calls served, %d refused", a.signatures.Load(), c.Logins, c.Served, c.Unauthorized))
	if c.Logins == 0 || a.signatures.Load() != int64(c.Logins) || c.Refused != 0 {
		t.Errorf("%+v, with %d signatures", c, a.signatures.Load())
	}
}

// The key is removed between the list and the signature.
func TestSSHAgentKeyRemovedMeanwhile(t *testing.T) {
	t.Parallel()
	a := newSSHAgent(t)
	srv, src := a.login(t, crtauthtest.Options{})
	srv.Intercept(func(http.ResponseWriter, *http.Request) bool {
		srv.Intercept(nil)
		a.add("-q", "-d", a.keys["rsa"])
		return false
	})
	_, err := src.Issue(t.Context())
	local(t, "removed meanwhile", err, "does not sign", "was the key removed")

	// With the same key in a file the login goes on.
	a.add("-q", a.keys["rsa"])
	srv.Intercept(func(http.ResponseWriter, *http.Request) bool {
		srv.Intercept(nil)
		a.add("-q", "-d", a.keys["rsa"])
		return false
	})
	src.Signer = crtauth.Signers{src.Signer, &crtauth.PEM{KeyFunc: crtauth.File(a.keys["rsa"])}}
	if _, err := src.Issue(t.Context()); err != nil {
		t.Error(err)
	}
}

// A socket that takes connections and never answers, and none at all.
func TestSSHAgentSilent(t *testing.T) {
	t.Parallel()
	a := newSSHAgent(t)
	_, src := a.login(t, crtauthtest.Options{})
	dir := t.TempDir()
	silent := filepath.Join(dir, "silent")
	listen(t, silent, func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) })

	src.Signer = &crtauth.Agent{Socket: silent, Timeout: 300 * time.Millisecond}
	_, err := src.Issue(t.Context())
	local(t, "silent", err, "has not answered", "allow")

	src.Signer = &crtauth.Agent{Socket: silent}
	stop := errors.New("stop")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 300*time.Millisecond, stop)
	defer cancel()
	start := time.Now()
	if _, err = src.Issue(ctx); !errors.Is(err, stop) || time.Since(start) > 3*time.Second {
		t.Errorf("after %v: %v", time.Since(start), err)
	}

	src.Signer = &crtauth.Agent{Socket: filepath.Join(dir, "none")}
	_, err = src.Issue(t.Context())
	local(t, "no socket", err, "cannot be talked to", "start it")

	src.Signer = crtauth.Signers{src.Signer, &crtauth.PEM{KeyFunc: crtauth.File(a.keys["rsa"])}}
	if _, err := src.Issue(t.Context()); err != nil {
		t.Errorf("with a key to fall back on: %v", err)
	}
}

// local checks the error of trouble with an agent: it passes, costs no unit, and says what to do.
func local(t *testing.T, name string, err error, texts ...string) {
	t.Helper()
	e, ok := errors.AsType[*renew.IssueError](err)
	if !ok {
		t.Fatalf("%s: the error is %v", name, err)
	}
	if e.Kind != renew.Transient || e.Permanent || !e.Unsent {
		t.Errorf("%s: kind %v, permanent %t, unsent %t", name, e.Kind, e.Permanent, e.Unsent)
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("%s: the error does not say %q: %v", name, text, err)
		}
	}
}

// waitFor waits until something is so.
func waitFor(t *testing.T, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !so(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it did not come about")
		}
	}
}
