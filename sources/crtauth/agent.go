package crtauth

import (
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/clock"
)

// How long an agent may take. It lists its keys without asking anybody; a signature may need a
// person, and the server waits 20 s for it.
const (
	listTimeout = 5 * time.Second
	signTimeout = 18 * time.Second
)

// Agent is a Signer of the keys in an ssh-agent (draft-ietf-sshm-ssh-agent). Each login
// asks it once for its keys and once for a signature, over connections of their own that end with ctx.
// Use it by pointer.
//
// All its troubles are taken as passing and cost nothing, except an agent that signs by
// another method than SHA-1, which is final.
type Agent struct {
	// Socket is the path of the agent's socket. Empty means $SSH_AUTH_SOCK, read at each login.
	Socket string
	// Timeout is how long a signature may take. Zero means 18 s: challenges live for 20. Negative is
	// an error. The list of keys has 5 s, or this where it is less.
	Timeout time.Duration
	// Clock runs the timeouts. Nil means clock.Real{}.
	Clock clock.Clock
}

// Agent implements what its methods are for.
var _ interface {
	Signer
	renew.Validator
} = (*Agent)(nil)

// Validate reports a negative Timeout, as a *renew.ConfigError. It does not look for the agent,
// which may start later.
func (a *Agent) Validate() error {
	if a.Timeout < 0 {
		return &renew.ConfigError{Field: "Agent.Timeout", Reason: fmt.Sprintf("is %v: it must be positive, or 0 for %v", a.Timeout, signTimeout)}
	}
	return nil
}

// Keys returns the RSA keys of the agent. An agent without any is an error: a locked one
// shows none.
func (a *Agent) Keys(ctx context.Context) ([]Key, error) {
	limit := a.timeout()
	var list []*agent.Key
	err := a.ask(ctx, min(limit, listTimeout), "list its keys", func(c agent.Agent) (err error) {
		list, err = c.List()
		return err
	})
	if err != nil {
		return nil, err
	}
	var keys []Key
	for _, key := range list {
		if public := publicRSA(key); public != nil {
			keys = append(keys, Key{Public: public, Sign: func(ctx context.Context, data []byte) ([]byte, error) {
				return a.sign(ctx, limit, key, data)
			}})
		}
	}
	if len(keys) == 0 {
		return nil, a.trouble(fmt.Errorf("shows no RSA key of %d bits or more, and %d others: add one (ssh-add FILE), or unlock the agent (ssh-add -X)", minBits, len(list)))
	}
	return keys, nil
}

// publicRSA returns the key, or nil where it cannot serve: other types, certificates, keys that are too short
// or too long.
func publicRSA(key ssh.PublicKey) *rsa.PublicKey {
	if key.Type() != ssh.KeyAlgoRSA {
		return nil
	}
	parsed, err := ssh.ParsePublicKey(key.Marshal())
	if err != nil {
		return nil
	}
	public, ok := parsed.(ssh.CryptoPublicKey)
	if !ok {
		return nil
	}
	pub, ok := public.CryptoPublicKey().(*rsa.PublicKey)
	if !ok || checkSize("", pub) != nil {
		return nil
	}
	return pub
}

// sign asks for a signature with SHA-1, and takes the wrapper off that SSH has around it.
func (a *Agent) sign(ctx context.Context, limit time.Duration, key ssh.PublicKey, data []byte) ([]byte, error) {
	var signature *ssh.Signature
	err := a.ask(ctx, limit, "sign (was the key removed, or its use not allowed, or does this system forbid SHA-1 signatures? a PEM needs no agent)", func(c agent.Agent) (err error) {
		signature, err = c.Sign(key, data)
		return err
	})
	if err != nil {
		return nil, err
	}
	if signature.Format != ssh.KeyAlgoRSA {
		return nil, &renew.ConfigError{Field: "Agent", Reason: "signs by another method than ssh-rsa with SHA-1, the one that crtauth has: use another agent, or a PEM"}
	}
	return signature.Blob, nil
}

// trouble makes an error that follows the agent's name.
func (a *Agent) trouble(err error) error {
	return fmt.Errorf("the ssh-agent at %s %w", a.socket(), err)
}

func (a *Agent) socket() string {
	if a.Socket != "" {
		return a.Socket
	}
	return os.Getenv("SSH_AUTH_SOCK")
}

func (a *Agent) timeout() time.Duration {
	if a.Timeout > 0 {
		return a.Timeout
	}
	return signTimeout
}

// errSlow is the end of a timeout.
var errSlow = errors.New("the agent's timeout has passed")

// ask connects to the agent, and lets talk ask it one thing. It blocks until that is answered,
// the timeout has passed, or ctx has ended, whose cause it then returns. task is what the agent was asked to
// do, for the error.
func (a *Agent) ask(ctx context.Context, limit time.Duration, task string, talk func(agent.Agent) error) error {
	path := a.socket()
	if path == "" {
		return errors.New("there is no ssh-agent: SSH_AUTH_SOCK is not set (start an agent, set Agent.Socket, or use a PEM)")
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	own, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	clk := a.Clock
	if clk == nil {
		clk = clock.Real{}
	}
	timer := clk.AfterFunc(limit, func() { cancel(errSlow) })
	defer timer.Stop()
	err := exchange(own, path, talk)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(context.Cause(own), errSlow):
		return a.trouble(fmt.Errorf("has not answered for %v: does it wait for somebody to allow the use of the key?", limit))
	}
	if e, ok := errors.AsType[*net.OpError](err); ok { // its text would repeat the path
		return a.trouble(fmt.Errorf("cannot be talked to (%s: %w): start it, or set Agent.Socket to where it is", e.Op, e.Err))
	}
	return a.trouble(fmt.Errorf("does not %s: %w", task, err))
}

// exchange connects, and closes the connection when talk is done or ctx ends.
func exchange(ctx context.Context, path string, talk func(agent.Agent) error) error {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	// Without its Close, or the library would read in a goroutine that an agent which answers twice can hold for ever.
	return talk(agent.NewClient(struct{ io.ReadWriter }{conn}))
}
