package interop

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// The example daemon, built as a user builds it, against a server that neither of the two was written for.
func TestDaemonBinary(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	dir := t.TempDir()
	binary := filepath.Join(dir, "daemon.exe") // Windows wants the ending, others do not mind
	build := exec.CommandContext(ctx, "go", "build", "-o", binary, "./daemon")
	build.Dir = filepath.Join("..", "examples")
	build.Env = append(os.Environ(), "GOWORK=off")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	secretFile := filepath.Join(dir, "secret")
	if err := os.WriteFile(secretFile, []byte(clientSecret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}

	srv := newServer(t, clientID, clientSecret)
	daemon := exec.CommandContext(ctx, binary, "-token-url", srv.URL+"/token", "-client-id", clientID, "-client-secret-file", secretFile,
		"-api", srv.URL+"/api", "-scopes", "api", "-for", "8s", "-workers", "20", "-pause", "200ms")
	daemon.Cancel = func() error { return daemon.Process.Signal(syscall.SIGTERM) } // it ends with a summary
	daemon.WaitDelay = 5 * time.Second
	out, err := daemon.CombinedOutput()
	if err != nil {
		t.Errorf("daemon: %v\n%s", err, out)
	}
	c := srv.count()
	report(t, c)
	check(t, c, c.api, 3)
}
