//go:build unix

package file

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/clock"
	"github.com/seed-f29168f7/renew/renewtest"
	"github.com/seed-f29168f7/renew/sources/internal/leaktest"
)

const secret = "a-token-in-a-file-0123456789"

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func jwtUntil(exp int64) string {
	b64 := base64.RawURLEncoding.EncodeToString
	return b64([]byte(`{"alg":"RS256"}`)) + "." + b64(fmt.Appendf(nil, `{"iat":1,"exp":%d}`, exp)) + ".c2ln"
}

func TestKit(t *testing.T) {
	renewtest.RunSourceInBubble(t, func(t *testing.T) renewtest.Harness {
		path := filepath.Join(t.TempDir(), "token")
		write(t, path, secret+"\n")
		return renewtest.Harness{
			Source: &Source{Path: path}, SameTokenOK: true,
			Break: func() { _ = os.Remove(path) }, Heal: func() { write(t, path, secret) },
		}
	})
}

func TestIssue(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	src := &Source{Path: path}
	exp := time.Now().Add(time.Hour).Unix()
	for _, tt := range []struct {
		name, text, want string // want "": an error
		exp              int64
		says             string
	}{
		{"plain", secret, secret, 0, ""}, {"newline", secret + "\n", secret, 0, ""}, {"CR LF", " " + secret + "\r\n\r\n", secret, 0, ""},
		{"JWT", jwtUntil(exp) + "\n", jwtUntil(exp), exp, ""}, {"JWE", "eyJhbGciOiJkaXIifQ..a.b.c", "eyJhbGciOiJkaXIifQ..a.b.c", 0, ""},
		{"JWT without exp", "eyJhbGciOiJSUzI1NiJ9.e30.c2ln", "eyJhbGciOiJSUzI1NiJ9.e30.c2ln", 0, ""},
		{"expired", jwtUntil(1000), "", 0, "expired"}, {"half a JWT", jwtUntil(exp)[:30], "", 0, "whole"}, {"its first letters", "eyJ", "", 0, "whole"},
		{"empty", "", "", 0, "empty"}, {"white", " \n", "", 0, "empty"}, {"two lines", secret + "\n" + secret, "", 0, "more than a token"}, {"NUL", secret + "\x00", "", 0, "more than a token"},
		{"large", strings.Repeat("a", maxFile), strings.Repeat("a", maxFile), 0, ""}, {"too large", strings.Repeat("a", maxFile+1), "", 0, "longer"},
	} {
		write(t, path, tt.text)
		tok, err := src.Issue(t.Context())
		if tt.want == "" {
			e, ok := err.(*renew.IssueError)
			if !ok || e.Kind != renew.Transient || e.Permanent || !e.Unsent || !strings.Contains(err.Error(), tt.says) || !strings.Contains(err.Error(), path) {
				t.Errorf("%s: %v", tt.name, err)
			}
			leaktest.Check(t, err, secret)
			continue
		}
		if err != nil || tok.Value.Reveal() != tt.want || tok.Life != 0 || tt.exp == 0 && !tok.Expiry.IsZero() || tt.exp != 0 && tok.Expiry.Unix() != tt.exp {
			t.Errorf("%s: %v, %v", tt.name, tok, err)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	_, err := src.Issue(t.Context())
	if e, ok := err.(*renew.IssueError); !ok || e.Kind != renew.Transient || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := src.Issue(t.Context()); err == nil || !strings.Contains(err.Error(), "is not a file") {
		t.Errorf("a pipe: %v", err)
	}
	t.Chdir(filepath.Dir(path))
	write(t, "relative", secret)
	if tok, err := (&Source{Path: "relative", Type: "Token"}).Issue(t.Context()); err != nil || tok.Type != "Token" {
		t.Errorf("relative: %v", err)
	}
}

// What every user can write to is refused, with what to do; that is over when it was done.
func TestModes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "dir")
	other := filepath.Join(filepath.Dir(dir), "other")
	path, link := filepath.Join(dir, "token"), filepath.Join(other, "link")
	for _, d := range []string{dir, other} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	write(t, path, secret)
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	chmod := func(path string, mode fs.FileMode) {
		t.Helper()
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		name      string
		dir, file fs.FileMode
		says      string
	}{
		{"private", 0o700, 0o600, ""}, {"readable", 0o755, 0o644, ""}, {"group", 0o770, 0o660, ""},
		{"file", 0o700, 0o602, "chmod o-w "}, {"file for all", 0o700, 0o666, "chmod o-w "},
		{"directory", 0o777, 0o600, "chmod o-w " + dir}, {"sticky", 0o777 | fs.ModeSticky, 0o600, ""},
	} {
		chmod(dir, tt.dir)
		chmod(path, tt.file)
		for _, p := range []string{path, link} {
			_, err := (&Source{Path: p}).Issue(t.Context())
			if tt.says == "" {
				if err != nil {
					t.Errorf("%s: %v", tt.name, err)
				}
				continue
			}
			e, ok := err.(*renew.IssueError)
			if !ok || e.Kind != renew.Invalid || !e.Permanent || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%s: %v, want %q", tt.name, err, tt.says)
			}
		}
	}
}

func TestR23_InputVersion(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "token")
	src := &Source{Path: path}
	seen := map[uint64]string{src.version(): "no file"}
	step := func(name string, do func() error) {
		t.Helper()
		if err := do(); err != nil {
			t.Fatal(err)
		}
		v := src.version()
		if was, ok := seen[v]; ok {
			t.Errorf("%s looks as %s did", name, was)
		}
		seen[v] = name
		if again := src.version(); again != v {
			t.Errorf("%s: two versions", name)
		}
	}
	step("written", func() error { return os.WriteFile(path, []byte("one"), 0o600) })
	step("touched", func() error { return os.Chtimes(path, time.Unix(5, 0), time.Unix(5, 0)) })
	step("chmod", func() error { return os.Chmod(path, 0o640) })
	step("chmod of the directory", func() error { return os.Chmod(dir, 0o711) })
	step("replaced by one alike", func() error {
		next := filepath.Join(dir, "next")
		return errors.Join(os.WriteFile(next, []byte("two"), 0o640), os.Chmod(next, 0o640), os.Chtimes(next, time.Unix(5, 0), time.Unix(5, 0)), os.Rename(next, path))
	})
	step("removed", func() error { return errors.Join(os.Remove(path), os.Chmod(dir, 0o700), os.Chmod(dir, 0o701)) })
}

// swap does as the kubelet: a new directory, and one rename of the link to it.
func swap(t *testing.T, dir, version, text string) {
	t.Helper()
	next := filepath.Join(dir, "..data_tmp")
	if err := errors.Join(os.Mkdir(filepath.Join(dir, version), 0o755), os.WriteFile(filepath.Join(dir, version, "token"), []byte(text), 0o600),
		os.Symlink(version, next), os.Rename(next, filepath.Join(dir, "..data"))); err != nil {
		t.Fatal(err)
	}
}

// A rotated token is in use within a second, with nobody asking, by swap of a link and by writing in place; half of a
// token is not taken.
func TestR12_RotatedWithinASecond(t *testing.T) {
	dir := t.TempDir()
	swap(t, dir, "..1", secret+"1")
	path := filepath.Join(dir, "token")
	if err := os.Symlink(filepath.Join("..data", "token"), path); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		ts, err := renew.New(&Source{Path: path}, renew.Config{})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = ts.Close(context.Background()) }()
		value := func() string {
			t.Helper()
			tok, err := ts.Token(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return tok.Value.Reveal()
		}
		if value() != secret+"1" {
			t.Fatal("not the first token")
		}
		time.Sleep(time.Minute)
		if ts.Status().Generation != 1 {
			t.Error("the same token is another generation")
		}
		swap(t, dir, "..2", secret+"2")
		time.Sleep(time.Second)
		if got := ts.Status().Generation; got != 2 || value() != secret+"2" {
			t.Errorf("a second after the swap: generation %d", got)
		}
		time.Sleep(time.Minute)

		// In place: half of a JWT first, then all of it.
		whole := jwtUntil(time.Now().Add(10 * time.Minute).Unix())
		write(t, path, whole[:len(whole)/2])
		time.Sleep(time.Minute)
		if value() != secret+"2" || ts.Status().Generation != 2 {
			t.Error("half of a token was taken")
		}
		write(t, path, whole)
		time.Sleep(time.Second)
		if value() != whole {
			t.Error("the whole token was not taken within a second")
		}

		// Gone, and back with another one while nothing can be read.
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		time.Sleep(11 * time.Minute)
		if _, err := ts.Token(t.Context()); err == nil {
			t.Error("an expired token is in use")
		}
		write(t, path, secret+"3")
		time.Sleep(time.Second)
		if value() != secret+"3" {
			t.Error("the token that came back was not taken within a second")
		}
		if left := ts.Status().BudgetLeft; left != 4 {
			t.Errorf("%d units left, want all: rotations cost none", left)
		}
	})
}

// A file that is being written is left alone for a moment: half of a token cannot be told from a whole one.
func TestHalfWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	clk := clock.NewFake(time.Unix(1700000000, 0))
	src := &Source{Path: path, Clock: clk}
	wrote := func(text string, at time.Time) {
		t.Helper()
		write(t, path, text)
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	wrote(secret[:10], clk.Now().Wall)
	go func() {
		_ = clk.WaitTimers(t.Context(), 1)
		wrote(secret, clk.Now().Wall)
		clk.Advance(quiet)
	}()
	tok, err := src.Issue(t.Context())
	if err != nil || tok.Value.Reveal() != secret {
		t.Errorf("%v, %v: want the whole token", tok, err)
	}
	// It is old by now, and read at once. One from the future is too: the clock of its writer is another.
	wrote("old", clk.Now().Wall.Add(-quiet))
	if tok, err := src.Issue(t.Context()); err != nil || tok.Value.Reveal() != "old" {
		t.Errorf("%v, %v", tok, err)
	}
	wrote("future", clk.Now().Wall.Add(time.Hour))
	if tok, err := src.Issue(t.Context()); err != nil || tok.Value.Reveal() != "future" {
		t.Errorf("%v, %v", tok, err)
	}
	// The wait ends with ctx.
	wrote("new", clk.Now().Wall)
	ctx, cancel := context.WithCancelCause(t.Context())
	mine := errors.New("shutting down")
	go func() {
		_ = clk.WaitTimers(t.Context(), 1)
		cancel(mine)
	}()
	if _, err := src.Issue(ctx); !errors.Is(err, mine) {
		t.Errorf("%v, want the cause of ctx", err)
	}
}

func TestR11_TheSameTokenAfterAReject(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	write(t, path, secret)
	synctest.Test(t, func(t *testing.T) {
		ts, err := renew.New(&Source{Path: path}, renew.Config{})
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
		// Somebody refused it, so the timer goes on looking, and nobody has to ask again.
		write(t, path, secret+"2")
		time.Sleep(time.Hour)
		if next, err := ts.Token(t.Context()); err != nil || next.Value.Reveal() != secret+"2" || next.Generation() != 2 {
			t.Errorf("%v, %v", next, err)
		}
	})
}

func TestValidate(t *testing.T) {
	for field, src := range map[string]*Source{"Path": {}, "Type": {Path: "x", Type: "a b"}} {
		if e, ok := src.Validate().(*renew.ConfigError); !ok || e.Field != "Source."+field {
			t.Errorf("%s: %v", field, src.Validate())
		}
		if _, err := src.Issue(t.Context()); err == nil {
			t.Errorf("%s: issued", field)
		}
	}
}

func FuzzRead(f *testing.F) {
	for _, s := range []string{secret, "\n", "eyJ", jwtUntil(9999999999), "a\x00b", "eyJ" + strings.Repeat(".", 4)} {
		f.Add(s)
	}
	path := filepath.Join(f.TempDir(), "token")
	f.Fuzz(func(t *testing.T, text string) {
		write(t, path, text)
		tok, err := (&Source{Path: path}).Issue(t.Context())
		if err != nil {
			if len(text) > 100 {
				leaktest.Check(t, err, text)
			}
			return
		}
		if tok.Value.Reveal() != strings.TrimSpace(text) || !tok.Expiry.IsZero() && !tok.Expiry.After(time.Now()) {
			t.Fatalf("%q: %v", text, tok)
		}
	})
}
