package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-f29168f7/renew/renewtest"
)

// built is the folder of the program, once that is built.
var built string

// build builds the program once.
var build = sync.OnceValues(func() (exe string, err error) {
	if built, err = os.MkdirTemp("", "daemon"); err != nil {
		return "", err
	}
	exe = filepath.Join(built, "daemon.exe")
	if out, err := exec.Command("go", "build", "-o", exe, ".").CombinedOutput(); err != nil {
		return "", errors.New(string(out))
	}
	return exe, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if built != "" {
		_ = os.RemoveAll(built)
	}
	os.Exit(code)
}

// skip skips a test, but not in CI, where all must run.
func skip(t *testing.T, reason string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal("skipped in CI: " + reason)
	}
	t.Skip(reason)
}

// command returns the program, ready to be started.
func command(t *testing.T, args ...string) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	if testing.Short() {
		skip(t, "takes seconds")
	}
	t.Parallel()
	exe, err := build()
	if err != nil {
		t.Fatalf("go build: %v", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, exe, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	return cmd, &out
}

// finish waits for the program, and returns what became of each promise.
func finish(t *testing.T, cmd *exec.Cmd, out *bytes.Buffer, want int) map[string]string {
	t.Helper()
	_ = cmd.Wait()
	if got := cmd.ProcessState.ExitCode(); got != want {
		t.Errorf("exit status %d, want %d\n%s", got, want, out)
	}
	if strings.Contains(out.String(), "\x1b") {
		t.Error("the output is no terminal, and yet there is a table on it")
	}
	became := make(map[string]string)
	for _, m := range regexp.MustCompile(`(?m)^  (kept|broken|not judged) +([a-z-]+) +(.*)$`).FindAllStringSubmatch(out.String(), -1) {
		became[m[2]] = m[1] + ": " + m[3]
	}
	if len(became) != len(promises) {
		t.Errorf("the summary has %d promises, want %d\n%s", len(became), len(promises), out)
	}
	return became
}

func start(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
}

func TestRunKeepsAll(t *testing.T) {
	cmd, out := command(t, "-for=1s")
	start(t, cmd)
	for name, what := range finish(t, cmd, out, exitKept) {
		if !strings.HasPrefix(what, "kept") {
			t.Errorf("%s is %s\n%s", name, what, out)
		}
	}
}

func TestRunNoticesEachBreak(t *testing.T) {
	for _, b := range breaks {
		t.Run(b.promise, func(t *testing.T) {
			cmd, out := command(t, "-break="+b.promise, "-workers=20")
			start(t, cmd)
			if what := finish(t, cmd, out, exitBroken)[b.promise]; !strings.HasPrefix(what, "broken") {
				t.Errorf("%s is %s", b.promise, what)
			}
		})
	}
}

// Against a server that is not ours, whose secret is rotated meanwhile.
func TestRunAgainstTheirs(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	secret := func(text string) {
		if err := os.WriteFile(file, []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	iss := renewtest.NewIssuer(renewtest.IssuerConfig{Life: 2 * time.Second, Latency: 50 * time.Millisecond})
	iss.Start()
	t.Cleanup(iss.Close)
	secret(iss.ClientSecret())
	cmd, out := command(t, "-token-url="+iss.TokenURL(), "-client-id="+iss.ClientID(), "-client-secret-file="+file,
		"-api="+iss.APIURL(), "-for=4s", "-pause=50ms", "-workers=10")
	start(t, cmd)
	for began := time.Now(); iss.Counts().Issued == 0 && time.Since(began) < 10*time.Second; {
		time.Sleep(5 * time.Millisecond)
	}
	secret("another") // the next token is due in a second
	iss.SetClient(iss.ClientID(), "another")
	became := finish(t, cmd, out, exitKept)
	for name, want := range map[string]string{
		"steady": "kept", "revocation": "kept: stand-in", "one-flight": "kept", "secret": "kept", "clean-end": "kept",
		"outage": "not judged: needs the embedded issuer", "budget": "not judged: needs the embedded issuer", "recovery": "not judged: needs the embedded issuer",
	} {
		if got := became[name]; !strings.HasPrefix(got, want) {
			t.Errorf("%s is %s; want %s\n%s", name, got, want, out)
		}
	}
	if c := iss.Counts(); c.Refused > 0 || c.APIUnauthorized > 0 {
		t.Errorf("counts = %+v; want nothing refused", c)
	}
}

func TestRunAgainstTheirsRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte("wrong"), 0o600); err != nil {
		t.Fatal(err)
	}
	iss := renewtest.NewIssuer(renewtest.IssuerConfig{})
	iss.Start()
	t.Cleanup(iss.Close)
	cmd, out := command(t, "-token-url="+iss.TokenURL(), "-client-id="+iss.ClientID(), "-client-secret-file="+file, "-api="+iss.APIURL())
	start(t, cmd)
	finish(t, cmd, out, exitFailed)
	if !strings.Contains(out.String(), "401 invalid_client") || iss.Counts().TokenRequests != 1 {
		t.Errorf("%d token requests; want 1, and the reason:\n%s", iss.Counts().TokenRequests, out)
	}
}

func TestRunIsInterrupted(t *testing.T) {
	if runtime.GOOS == "windows" {
		skip(t, "a process cannot be sent a Ctrl-C here")
	}
	cmd, out := command(t)
	start(t, cmd)
	time.Sleep(time.Second)
	began := time.Now()
	_ = cmd.Process.Signal(os.Interrupt)
	became := finish(t, cmd, out, exitInterrupted)
	if took := time.Since(began); took > 5*time.Second || !strings.HasPrefix(became["clean-end"], "kept") || became["budget"] != "not judged: the run was ended before" {
		t.Errorf("took %v\n%s", took, out)
	}
}
