// Package exec has a Source for a token that a command prints: a credential helper, gcloud, az, a Kubernetes
// exec plugin, an AWS credential_process.
//
// The command is started without a shell for each Issue, and ended with all its process group when it has printed
// its token, when ctx ends, or when it prints too much. Nothing that it prints is in an error. It
// may return the same token for long, out of a cache of its own (R11).
package exec

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/clock"
	"github.com/seed-f29168f7/renew/sources/internal/header"
)

// maxOutput bounds what a command may print: 1 MiB.
const maxOutput = 1 << 20

// waitDelay is how long the pipes of a command that has ended are read on, where a child of it holds them open.
const waitDelay = time.Second

const name = "exec"

// Source runs a command for a token. Use it by pointer. Its zero value is refused by Validate. Its fields may be changed until the
// first use; after it a Source is safe for concurrent use, if two of its commands may run at once.
type Source struct {
	// Args are the program and its arguments, without a shell: nothing in them is expanded. A program without a slash is looked up
	// in PATH. They are no place for a secret: other users of the machine can read them.
	Args []string
	// Env is the environment of the command, as KEY=value. Nil means this process's own; append to os.Environ to add to it.
	// It is not taken for a secret: who prints a Source sees it.
	Env []string
	// SecretEnv are more variables of the environment, by name: passwords and keys of the command. They hold over those of Env.
	SecretEnv map[string]renew.Secret
	// Dir is its working directory. Empty means this process's own.
	Dir string
	// Format is what the command prints. Zero is Text.
	Format Format
	// Type is the auth-scheme that the token is sent with. Empty means what the JSON format names as token_type, else Bearer.
	Type string
	// Clock tells whether a token has expired. Nil means clock.Real{}.
	Clock clock.Clock
	// InputVersion, when not nil, returns a number that changes when the command would print
	// another token: a refusal for good ends then (R23). It must not block.
	InputVersion func() uint64
}

// Source implements what its methods are for.
var _ interface {
	renew.Source
	renew.Validator
	renew.Describer
	renew.Authorizer
} = (*Source)(nil)

// Validate reports the first field that cannot work, as a *renew.ConfigError. The command is not started or looked for.
func (s *Source) Validate() error {
	wrong := func(field, format string, args ...any) error {
		return &renew.ConfigError{Field: "Source." + field, Reason: fmt.Sprintf(format, args...)}
	}
	switch {
	case len(s.Args) == 0 || s.Args[0] == "":
		return wrong("Args", "is empty: it must name the command")
	case strings.Contains(strings.Join(s.Args, ""), "\x00"):
		return wrong("Args", "has a NUL, which no argument can hold")
	case s.Format > AWS:
		return wrong("Format", "is %d: it must be Text, JSON, Kubernetes or AWS", s.Format)
	case s.Type != "" && !header.IsToken(s.Type):
		return wrong("Type", "is %q, which is not an auth-scheme", s.Type)
	}
	for i, kv := range s.Env {
		if k, _, ok := strings.Cut(kv, "="); !ok || k == "" || strings.Contains(kv, "\x00") {
			return wrong("Env", "has something else than KEY=value at %d", i) // not shown: it may be secret
		}
	}
	for k, v := range s.SecretEnv {
		if k == "" || strings.ContainsAny(k, "=\x00") || strings.Contains(v.Reveal(), "\x00") {
			return wrong("SecretEnv", "has a name that is empty or has an equals sign, or a NUL")
		}
	}
	return nil
}

// environ returns the environment of the command; nil means this process's own.
func (s *Source) environ() []string {
	env := s.Env
	if len(s.SecretEnv) > 0 && env == nil {
		env = os.Environ()
	}
	env = slices.Clip(env)
	for _, k := range slices.Sorted(maps.Keys(s.SecretEnv)) {
		env = append(env, k+"="+s.SecretEnv[k].Reveal()) // os/exec takes the last one of a name
	}
	return env
}

// Describe gives the name. There is no endpoint and no account.
func (s *Source) Describe() renew.Traits {
	return renew.Traits{Name: name, InputVersion: s.InputVersion}
}

// Authorize sets the Authorization header. It refuses the credentials of the AWS format, which sign a request and are never sent.
func (s *Source) Authorize(req *http.Request, t *renew.Token) error {
	if s.Format == AWS {
		return &renew.ConfigError{Field: "Source.Format", Reason: "is AWS, whose credentials sign requests and are not sent: read them with AWSCredentials"}
	}
	t.SetAuthHeader(req)
	return nil
}

// Issue runs the command and reads the token that it prints. It blocks until the command and its process group have ended, at the
// latest a second after ctx has. Every error is a *renew.IssueError: a command that cannot be started, fails, prints
// no token, half of one, or one that has expired is a transient fault. The error has the exit code and how much the command
// wrote to stderr, and nothing of either stream.
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
	out, err := s.run(ctx)
	if err != nil {
		return fail(renew.Transient, err)
	}
	tok, err := read(s.Format, out, s.now())
	if err != nil {
		return fail(renew.Transient, fmt.Errorf("%s: %w", s.program(), err))
	}
	if s.Type != "" {
		tok.Type = s.Type
	}
	return tok, nil
}

// errFlood ends a command that prints without end.
var errFlood = errors.New("it printed more than 1 MiB, which no token has")

// run runs the command once and returns what it printed.
func (s *Source) run(ctx context.Context) ([]byte, error) {
	inner, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	cmd := exec.CommandContext(inner, s.Args[0], s.Args[1:]...)
	stdout, stderr := &bounded{full: func() { cancel(errFlood) }}, new(counter)
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.WaitDelay = s.environ(), s.Dir, stdout, stderr, waitDelay
	group(cmd)
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("%s cannot be started: %w", s.program(), startError(err))
	}
	err := cmd.Wait()
	endGroup(cmd)
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case inner.Err() != nil:
		return nil, fmt.Errorf("%s: %w", s.program(), errFlood)
	case err != nil && !errors.Is(err, exec.ErrWaitDelay):
		// ErrWaitDelay: it ended well and left a child with its pipes, which has ended now too.
		return nil, fmt.Errorf("%s %s and wrote %d bytes to stderr, which are not shown: run it by hand", s.program(), ending(cmd), stderr.n)
	}
	return stdout.text, nil
}

// startError returns the part of an error that says why, without the arguments.
func startError(err error) error {
	if e, ok := errors.AsType[*exec.Error](err); ok {
		return e.Err
	}
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}

// ending says how a command ended that failed.
func ending(cmd *exec.Cmd) string {
	if code := cmd.ProcessState.ExitCode(); code >= 0 {
		return fmt.Sprintf("exited with code %d", code)
	}
	return "was ended by a signal"
}

// program names the command in errors.
func (s *Source) program() string { return fmt.Sprintf("%.80q", filepath.Base(s.Args[0])) }

func (s *Source) now() time.Time {
	if s.Clock == nil {
		return clock.Real{}.Now().Wall
	}
	return s.Clock.Now().Wall
}

// bounded keeps what is written to it, up to maxOutput, and then calls full once.
type bounded struct {
	text []byte
	full func()
}

func (b *bounded) Write(p []byte) (int, error) {
	if len(b.text)+len(p) > maxOutput {
		b.full()
		return 0, errFlood
	}
	b.text = append(b.text, p...)
	return len(p), nil
}

// counter counts what is written to it.
type counter struct{ n int64 }

func (c *counter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return len(p), nil
}
