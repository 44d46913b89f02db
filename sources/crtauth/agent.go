package crtauth

import (
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

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
	reply, err := a.ask(ctx, min(limit, listTimeout), []byte{agentList})
	if err != nil {
		return nil, err
	}
	found, others, err := readIdentities(reply)
	if err != nil {
		return nil, a.trouble(err)
	}
	if len(found) == 0 {
		return nil, a.trouble(fmt.Errorf("shows no RSA key of %d bits or more, and %d others: add one (ssh-add FILE), or unlock the agent (ssh-add -X)", minBits, others))
	}
	keys := make([]Key, len(found))
	for i, id := range found {
		keys[i] = Key{Public: id.public, Sign: func(ctx context.Context, data []byte) ([]byte, error) {
			reply, err := a.ask(ctx, limit, signRequest(id.blob, data))
			if err != nil {
				return nil, err
			}
			signature, err := readSignature(reply)
			switch {
			case errors.Is(err, errOtherMethod):
				return nil, &renew.ConfigError{Field: "Agent", Reason: "signs by another method than ssh-rsa with SHA-1, the one that crtauth has: use another agent, or a PEM"}
			case err != nil:
				return nil, a.trouble(err)
			}
			return signature, nil
		}}
	}
	return keys, nil
}

// identity is an RSA key of an agent.
type identity struct {
	blob   []byte // as the agent wants to be asked for it
	public *rsa.PublicKey
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

// ask sends one message to the agent and returns its answer. It blocks until that is there,
// the timeout has passed, or ctx has ended, whose cause it then returns.
func (a *Agent) ask(ctx context.Context, limit time.Duration, message []byte) ([]byte, error) {
	path := a.socket()
	if path == "" {
		return nil, errors.New("there is no ssh-agent: SSH_AUTH_SOCK is not set (start an agent, set Agent.Socket, or use a PEM)")
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	own, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	clk := a.Clock
	if clk == nil {
		clk = clock.Real{}
	}
	timer := clk.AfterFunc(limit, func() { cancel(errSlow) })
	defer timer.Stop()
	reply, err := exchange(own, path, message)
	switch {
	case err == nil:
		return reply, nil
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case errors.Is(context.Cause(own), errSlow):
		return nil, a.trouble(fmt.Errorf("has not answered for %v: does it wait for somebody to allow the use of the key?", limit))
	}
	if e, ok := errors.AsType[*net.OpError](err); ok { // its text would repeat the path
		err = fmt.Errorf("cannot be talked to (%s: %w): start it, or set Agent.Socket to where it is", e.Op, e.Err)
	}
	return nil, a.trouble(err)
}

// exchange connects, writes one message and reads one. It ends with ctx.
func exchange(ctx context.Context, path string, message []byte) ([]byte, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if _, err := conn.Write(appendString(nil, message)); err != nil {
		return nil, err
	}
	return readFrame(conn)
}
