package renewtest

import (
	"context"
	"net"
	"sync"
	"syscall"
)

// memory is a net.Listener within the process. A connection is a net.Pipe, so
// all of its waits are waits on channels, as a synctest bubble needs.
type memory struct {
	addr  string
	conns chan net.Conn
	done  chan struct{} // closed by Close
	once  sync.Once
}

func newMemory(addr string) *memory {
	return &memory{addr: addr, conns: make(chan net.Conn), done: make(chan struct{})}
}

// dial connects to the listener. It waits until the connection is accepted.
func (m *memory) dial(ctx context.Context) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case m.conns <- server:
		return client, nil
	case <-m.done:
		return nil, refused(m.addr)
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (m *memory) Accept() (net.Conn, error) {
	select {
	case c := <-m.conns:
		return c, nil
	case <-m.done:
		return nil, net.ErrClosed
	}
}

func (m *memory) Close() error {
	m.once.Do(func() { close(m.done) })
	return nil
}

func (m *memory) Addr() net.Addr { return memoryAddr(m.addr) }

type memoryAddr string

func (memoryAddr) Network() string  { return "tcp" }
func (a memoryAddr) String() string { return string(a) }

// refused is the error of a dial that nobody answers.
func refused(addr string) error {
	return &net.OpError{Op: "dial", Net: "tcp", Addr: memoryAddr(addr), Err: syscall.ECONNREFUSED}
}

// gate is a listener that closes unread what the Issuer wants dropped.
type gate struct {
	net.Listener
	drop func() bool
}

func (g gate) Accept() (net.Conn, error) {
	for {
		c, err := g.Listener.Accept()
		if err != nil || !g.drop() {
			return c, err
		}
		reset(c)
	}
}

// reset ends a connection at once: over TCP the other side sees a reset, over
// a pipe the end of the stream.
func reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Close()
}
