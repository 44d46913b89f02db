// Package file has a Source for a token in a file that somebody else writes and rotates: a Kubernetes
// service account token in a projected volume, the sink of a Vault agent, a token that a cron job fetches.
//
// There is no issuer, so nothing is sent. The file may hold the same token for long; a TokenSource then knows
// that nothing was renewed (R11), and asks more often the nearer the end of the token is.
package file

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/clock"
	"github.com/seed-f29168f7/renew/sources/internal/header"
	"github.com/seed-f29168f7/renew/sources/internal/jws"
)

// maxFile bounds a file with a token: 1 MiB.
const maxFile = 1 << 20

const name = "file"

// Source reads a token from a file. Use it by pointer. Its zero value is refused by Validate. Its fields may be changed until
// the first use; after it a Source is safe for concurrent use.
type Source struct {
	// Path is the file. A relative one counts from the working directory at each read. Symbolic links are
	// followed at each read, so that a link or a directory of links may be swapped (Kubernetes does so).
	Path string
	// Type is the auth-scheme that the token is sent with. Empty means Bearer.
	Type string
	// Clock tells whether the token has expired, and how long ago the file was written. Nil means clock.Real{}.
	Clock clock.Clock
}

// Source implements what its methods are for.
var _ interface {
	renew.Source
	renew.Validator
	renew.Describer
} = (*Source)(nil)

// Validate reports the first field that cannot work, as a *renew.ConfigError. The file need not be there yet.
func (s *Source) Validate() error {
	switch {
	case s.Path == "":
		return &renew.ConfigError{Field: "Source.Path", Reason: "is empty: it must name the file with the token"}
	case s.Type != "" && !header.IsToken(s.Type):
		return &renew.ConfigError{Field: "Source.Type", Reason: fmt.Sprintf("is %q, which is not an auth-scheme", s.Type)}
	}
	return nil
}

// Describe gives the name, and has the TokenSource look at the file at each look of its watcher, 0.9 s apart, so that a
// rotated token is in use within a second with nobody asking. A refusal for good ends too when the file, or who may write to it,
// has changed (R23). There is no endpoint and no account.
func (s *Source) Describe() renew.Traits {
	return renew.Traits{Name: name, InputVersion: s.version, WatchInput: true}
}

// Issue reads the token. White space at both ends is dropped. A JWT that says when it ends (RFC 7519, section 4.1.4) gets that as its
// Expiry; its signature is not checked. Every error is a *renew.IssueError: a file that is not there, is empty, is
// being written or holds an expired token is a transient fault. One that every user of the machine can write to, or replace, is
// refused until its mode is changed: they could choose which token this program sends.
//
// A file that was written less than a tenth of a second ago is left alone until it is older, a second at most: nobody can see that
// half of a token is not the whole. Issue blocks that long, and as long as the file system does.
func (s *Source) Issue(ctx context.Context) (*renew.Token, error) {
	fail := func(kind renew.Kind, err error) (*renew.Token, error) {
		return nil, &renew.IssueError{Source: name, Kind: kind, Permanent: kind == renew.Invalid, Unsent: true, Err: err}
	}
	if ctx.Err() != nil {
		return fail(renew.Transient, context.Cause(ctx))
	}
	if err := s.Validate(); err != nil {
		return fail(renew.Invalid, err)
	}
	if err := s.rest(ctx); err != nil {
		return fail(renew.Transient, err)
	}
	tok, err := s.read()
	if _, unsafe := errors.AsType[*modeError](err); unsafe {
		return fail(renew.Invalid, err)
	}
	if err != nil {
		return fail(renew.Transient, err)
	}
	return tok, nil
}

// quiet is how long a file must have been left alone before it is read.
const quiet = 100 * time.Millisecond

// rest waits until nobody has written to the file for that long.
func (s *Source) rest(ctx context.Context) error {
	for range 10 {
		info, err := os.Stat(s.Path)
		if err != nil {
			return err
		}
		age := s.clk().Now().Wall.Sub(info.ModTime())
		if age < 0 || age >= quiet {
			return nil
		}
		over := make(chan struct{})
		timer := s.clk().AfterFunc(quiet-age, func() { close(over) })
		select {
		case <-over:
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		}
	}
	return fmt.Errorf("%s is being written", s.Path)
}

// read reads the token once.
func (s *Source) read() (*renew.Token, error) {
	if err := s.checkMode(); err != nil {
		return nil, err
	}
	// Without O_NONBLOCK the open of a pipe would wait for its writer.
	f, err := os.OpenFile(s.Path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	before, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !before.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a file", s.Path)
	}
	if err := fileMode(s.Path, before); err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	after, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case len(text) > maxFile:
		return nil, fmt.Errorf("%s is longer than %d bytes, which no token is", s.Path, maxFile)
	case int64(len(text)) != after.Size() || !before.ModTime().Equal(after.ModTime()):
		return nil, fmt.Errorf("%s is being written", s.Path)
	}
	value := strings.TrimSpace(string(text))
	switch {
	case value == "":
		return nil, fmt.Errorf("%s is empty", s.Path)
	case !header.Visible(value):
		return nil, fmt.Errorf("%s holds more than a token: white space within, a control character or something else than ASCII", s.Path)
	}
	expiry, err := jws.Expiry(value, s.clk().Now().Wall)
	if errors.Is(err, jws.ErrExpired) {
		return nil, fmt.Errorf("the token in %s has expired by the local clock: see to whatever rotates it", s.Path)
	}
	if err != nil {
		return nil, fmt.Errorf("%s begins with a JWT and does not hold a whole one: %w", s.Path, err)
	}
	return &renew.Token{Value: renew.NewSecret(value), Type: s.Type, Expiry: expiry}, nil
}

// modeError says that others can write to the file, and what to do.
type modeError struct{ path, chmod, why string }

func (e *modeError) Error() string {
	return fmt.Sprintf("%s, so every user of this machine could choose the token that is sent: chmod %s %s", e.why, e.chmod, e.path)
}

const worldWritable = 0o002

// checkMode refuses directories in which everybody can replace the file: the one of the path, and the one of the
// file that it links to. With the sticky bit only an owner can.
func (s *Source) checkMode() error {
	if runtime.GOOS == "windows" { // whose modes do not say who may write
		return nil
	}
	for _, dir := range s.directories() {
		info, err := os.Stat(dir)
		if err != nil {
			return err
		}
		if info.Mode().Perm()&worldWritable != 0 && info.Mode()&fs.ModeSticky == 0 {
			return &modeError{dir, "o-w", "the directory " + dir + " is writable for all and has no sticky bit"}
		}
	}
	return nil
}

// fileMode refuses a file that everybody can write to.
func fileMode(path string, info fs.FileInfo) error {
	if runtime.GOOS != "windows" && info.Mode().Perm()&worldWritable != 0 {
		return &modeError{path, "o-w", path + " is writable for all"}
	}
	return nil
}

// directories returns the directory of the path and, where it is another one, that of the file behind its links.
func (s *Source) directories() []string {
	dirs := []string{filepath.Dir(s.Path)}
	if real, err := filepath.EvalSymlinks(s.Path); err == nil && filepath.Dir(real) != dirs[0] {
		dirs = append(dirs, filepath.Dir(real))
	}
	return dirs
}

var seed = maphash.MakeSeed()

// version returns a number that changes when the file, the file behind its links, or who may write to them has changed: by
// what the file system says, without a look inside. It reads no clock and does not open the file.
func (s *Source) version() uint64 {
	var h maphash.Hash
	h.SetSeed(seed)
	for _, path := range append(s.directories(), s.Path) {
		h.WriteString(path)
		info, err := os.Stat(path)
		if err != nil {
			h.WriteString("none")
			continue
		}
		if path == s.Path { // a directory's own times change with its other files
			fmt.Fprint(&h, info.Size(), info.ModTime().UnixNano(), identity(info))
		}
		fmt.Fprint(&h, info.Mode())
	}
	return h.Sum64()
}

func (s *Source) clk() clock.Clock {
	if s.Clock == nil {
		return clock.Real{}
	}
	return s.Clock
}
