//go:build unix

package exec

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/renewtest"
	"github.com/seed-f29168f7/renew/sources/internal/leaktest"
)

const secret = "a-secret-that-the-command-prints-0123456789"

// The commands of these tests are the test binary itself, told by its environment what to do.
const modeVar, addrVar = "RENEW_EXEC_TEST_MODE", "RENEW_EXEC_TEST_ADDR"

func TestMain(m *testing.M) {
	if mode := os.Getenv(modeVar); mode != "" {
		os.Exit(play(mode))
	}
	os.Exit(m.Run())
}

// play is what a command does. It returns its exit code.
func play(mode string) int {
	if path, ok := strings.CutPrefix(mode, "file:"); ok { // the mode stands in a file
		text, err := os.ReadFile(path)
		if err != nil {
			return 99
		}
		mode = string(text)
	}
	switch mode {
	case "token":
		fmt.Println(rand.Text() + rand.Text())
	case "same":
		fmt.Println(secret)
	case "args":
		fmt.Print(strings.Join(os.Args[1:], "|") + "|" + os.Getenv("EXTRA"))
	case "fail":
		fmt.Print(secret)
		fmt.Fprint(os.Stderr, secret)
		return 7
	case "killed":
		fmt.Print(secret)
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	case "nothing":
	case "half":
		fmt.Print("eyJhbGciOiJSUzI1NiJ9.eyJleHAi")
	case "garbage":
		fmt.Print("\x00\xff " + secret)
	case "flood":
		signal.Ignore(syscall.SIGPIPE)
		for {
			_, _ = os.Stdout.WriteString(strings.Repeat(secret, 1000))
		}
	case "noise":
		_, _ = os.Stderr.WriteString(strings.Repeat("x", 3<<20))
		fmt.Print(secret)
	case "dial": // says that it is there, and stays until the test ends the connection
		conn, err := net.Dial("tcp", os.Getenv(addrVar))
		if err != nil {
			return 98
		}
		signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGPIPE)
		_, _ = conn.Write([]byte("x"))
		_, _ = io.Copy(io.Discard, conn)
	case "hang", "fork": // a child holds the pipes
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), modeVar+"=dial")
		child.Stdout, child.Stderr = os.Stdout, os.Stderr
		if child.Start() != nil {
			return 97
		}
		if mode == "hang" {
			_ = child.Wait()
			return 0
		}
		fmt.Print(secret)
	}
	return 0
}

// command returns a Source whose command does what mode says.
func command(mode string, env ...string) *Source {
	return &Source{Args: []string{os.Args[0]}, Env: append(append(os.Environ(), env...), modeVar+"="+mode)}
}

func TestKit(t *testing.T) {
	renewtest.RunSource(t, func(t *testing.T) renewtest.Harness {
		path := filepath.Join(t.TempDir(), "mode")
		mode := func(s string) func() {
			return func() {
				if err := os.WriteFile(path, []byte(s), 0o600); err != nil {
					t.Error(err)
				}
			}
		}
		mode("token")()
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		return renewtest.Harness{Source: command("file:"+path, addrVar+"="+l.Addr().String()), Secrets: []string{secret}, Break: mode("fail"), Hang: mode("hang"), Heal: mode("token")}
	})
}

func TestIssue(t *testing.T) {
	src := command("args", "EXTRA=e;*")
	src.Args = append(src.Args, "$HOME", "a;b", "*", "`x`")
	src.Type = "Token"
	tok, err := src.Issue(t.Context())
	if err != nil || tok.Value.Reveal() != "$HOME|a;b|*|`x`|e;*" || tok.Type != "Token" {
		t.Errorf("%v, %v: want the arguments as they are", tok, err)
	}
	if tok, err := command("noise").Issue(t.Context()); err != nil || tok.Value.Reveal() != secret {
		t.Errorf("3 MiB on stderr: %v", err)
	}
}

func TestFaults(t *testing.T) {
	for mode, says := range map[string]string{
		"fail": "exited with code 7 and wrote 43 bytes to stderr", "killed": "ended by a signal", "nothing": "printed nothing", "half": "beginning of a JWT",
		"garbage": "more than a token", "flood": "more than 1 MiB",
	} {
		tok, err := command(mode).Issue(t.Context())
		e, ok := err.(*renew.IssueError)
		if !ok || tok != nil || e.Kind != renew.Transient || e.Permanent || !e.Unsent || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", mode, err)
		}
		leaktest.Check(t, err, secret)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "plain"), []byte(secret), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, program := range []string{filepath.Join(dir, "missing"), filepath.Join(dir, "plain"), "no-such-program-in-the-path"} {
		_, err := (&Source{Args: []string{program, secret}}).Issue(t.Context())
		if e, ok := err.(*renew.IssueError); !ok || e.Kind != renew.Transient || !strings.Contains(err.Error(), "cannot be started") {
			t.Errorf("%s: %v", program, err)
		}
		leaktest.Check(t, err, secret)
	}
}

// child accepts the command's child, and returns a function that waits for its end.
func child(t *testing.T, l net.Listener) (ended func()) {
	t.Helper()
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		if _, err := conn.Read(make([]byte, 1)); err == nil {
			t.Error("the child wrote")
		}
	}
}

// The end of ctx ends the command and what it has started, and Issue says why.
func TestHangingCommandEndsWithItsGroup(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithCancelCause(t.Context())
	done, cause := make(chan error, 1), errors.New("no longer wanted")
	go func() {
		_, err := command("hang", addrVar+"="+l.Addr().String()).Issue(ctx)
		done <- err
	}()
	ended := child(t, l)
	cancel(cause)
	if err := <-done; !errors.Is(err, cause) {
		t.Errorf("%v, want the cause", err)
	}
	ended() // returns when its process is gone
}

// A command that has printed its token and left a child with its pipes gives the token, and the child ends.
func TestForkingCommandGivesItsToken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan error, 1)
	go func() {
		tok, err := command("fork", addrVar+"="+l.Addr().String()).Issue(t.Context())
		if err == nil && tok.Value.Reveal() != secret {
			err = errors.New("another token")
		}
		done <- err
	}()
	// The child may be ended before it has dialed: then there is nothing to wait for.
	go func() {
		if err := <-done; err != nil {
			t.Error(err)
		}
		close(done)
		_ = l.Close()
	}()
	if conn, err := l.Accept(); err == nil {
		defer conn.Close()
		if text, _ := io.ReadAll(conn); len(text) > 1 {
			t.Error("the child wrote")
		}
	}
	<-done
}

func TestR11_TheSameTokenAgain(t *testing.T) {
	ts, err := renew.New(command("same"), renew.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ts.Close(context.Background()) }()
	tok, err := ts.Token(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if next, err := ts.Reject(t.Context(), tok); err == nil && next.Generation() != 1 {
		t.Error("the same token passed for another one")
	}
	if n := ts.Status().Generation; n != 1 {
		t.Errorf("generation %d, want 1", n)
	}
}

// SecretEnv reaches the command, over Env and beside this process's own, and is in no dump.
func TestSecretEnv(t *testing.T) {
	extra := map[string]renew.Secret{"EXTRA": renew.NewSecret(secret)}
	given := command("args", "EXTRA=plain")
	given.SecretEnv = extra
	t.Setenv(modeVar, "args")
	t.Setenv("EXTRA", "plain")
	for name, src := range map[string]*Source{"over Env": given, "over this process's own": {Args: []string{os.Args[0]}, SecretEnv: extra}} {
		tok, err := src.Issue(t.Context())
		if err != nil || tok.Value.Reveal() != "|"+secret {
			t.Errorf("%s: %v, %v", name, tok, err)
		}
		leaktest.Check(t, src, secret)
	}
}

func TestValidate(t *testing.T) {
	for _, tt := range []struct {
		src   Source
		field string
	}{
		{Source{Args: []string{"x"}, Env: []string{"A=", "B=c=d"}}, ""}, {Source{}, "Args"}, {Source{Args: []string{""}}, "Args"}, {Source{Args: []string{"x", "a\x00b"}}, "Args"},
		{Source{Args: []string{"x"}, Env: []string{secret}}, "Env"}, {Source{Args: []string{"x"}, Env: []string{"=x"}}, "Env"}, {Source{Args: []string{"x"}, Env: []string{"a=\x00"}}, "Env"},
		{Source{Args: []string{"x"}, SecretEnv: map[string]renew.Secret{"A": renew.NewSecret("b=c")}}, ""}, {Source{Args: []string{"x"}, SecretEnv: map[string]renew.Secret{"": renew.NewSecret(secret)}}, "SecretEnv"},
		{Source{Args: []string{"x"}, SecretEnv: map[string]renew.Secret{"A=": renew.NewSecret(secret)}}, "SecretEnv"}, {Source{Args: []string{"x"}, SecretEnv: map[string]renew.Secret{"A": renew.NewSecret(secret + "\x00")}}, "SecretEnv"},
		{Source{Args: []string{"x"}, Format: AWS + 1}, "Format"}, {Source{Args: []string{"x"}, Type: "a b"}, "Type"},
	} {
		err := tt.src.Validate()
		e, ok := err.(*renew.ConfigError)
		if (err == nil) != (tt.field == "") || err != nil && (!ok || e.Field != "Source."+tt.field) {
			t.Errorf("%v, want %q", err, tt.field)
		}
		leaktest.Check(t, err, secret)
		if tt.field != "" {
			if _, err := tt.src.Issue(t.Context()); err == nil {
				t.Errorf("%s: issued", tt.field)
			}
		}
	}
}
