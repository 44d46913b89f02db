package basic

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"
	"weak"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/clock"
	"github.com/seed-f29168f7/renew/sources/internal/lockout"
)

// connectTime is when a CONNECT is given up. An http.Transport gives it up after a minute, and tells nobody.
const connectTime = 70 * time.Second

// verdictTime is how long a CONNECT waits for the verdict of others. The context does not end it: net/http lets a dial
// go on when its request has ended.
const verdictTime = 2 * connectTime

// tunnel is a CONNECT whose answer is awaited.
type tunnel struct {
	attempt *lockout.Attempt
	timer   clock.Timer
}

var (
	errOtherProxy = errors.New("the request goes through another proxy than Signer.Proxy: the password is not for that one")
	errUserinfo   = errors.New("the URL of the proxy has a user name or a password in it: leave it out, the Signer has them")
	errPlaintext  = errors.New("anyone on the way to the proxy can read the password: use an https proxy, or set Signer.AllowPlaintext")
	errNoVerdict  = errors.New("the proxy did not answer those that asked before: nobody knows whether the password is good")
	errRefused    = errors.New("the proxy refuses user name or password: correct them, or wait")
)

// GetProxyConnectHeader is for http.Transport.GetProxyConnectHeader: it puts Proxy-Authorization on the CONNECT that opens a
// tunnel for an https request (RFC 9110, section 9.3.6). The same Signer must be set as
// OnProxyConnectResponse, or nobody says whether the password is good, and each tunnel waits over a minute for the one before.
//
// It blocks as Authenticate does, and at most 140 s: the context ends only with the dial, which net/http lets go on when its
// request has ended. The errors are the same, and a *renew.IssueError that is Transient after that time, and Invalid for a proxy
// that is not Proxy. One over plain http must be loopback, or AllowPlaintext set.
func (s *Signer) GetProxyConnectHeader(ctx context.Context, proxy *url.URL, _ string) (http.Header, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	if s.Proxy == "" {
		return nil, &renew.ConfigError{Field: "Signer.Proxy", Reason: "is empty: name the proxy that the password is for"}
	}
	o, _ := lockout.ProxyOrigin(s.Proxy) // Validate has checked it
	var err error
	switch {
	case proxy == nil || lockout.OriginOf(proxy) != o:
		err = errOtherProxy
	case proxy.User != nil:
		err = errUserinfo
	case o.Scheme == "http" && !s.AllowPlaintext && !loopback(proxy.Hostname()):
		err = errPlaintext
	}
	if err != nil {
		return nil, &renew.IssueError{Source: name, Host: o.Host, Kind: renew.Invalid, Permanent: true, Unsent: true, Err: err}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer s.clock().AfterFunc(verdictTime, func() {
		cancel(&renew.IssueError{Source: name, Host: o.Host, Kind: renew.Transient, Unsent: true, Err: errNoVerdict})
	}).Stop()
	defer cancel(nil)
	a, value, err := s.begin(ctx, o, "")
	if err != nil {
		return nil, err
	}
	values := []string{value}
	key, t := weak.Make(&values[0]), &tunnel{attempt: a}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tunnels == nil {
		s.tunnels = make(map[weak.Pointer[string]]*tunnel)
	}
	s.tunnels[key] = t
	t.timer = s.clock().AfterFunc(connectTime, func() { s.answered(key, nil) })
	return http.Header{"Proxy-Authorization": values}, nil
}

// OnProxyConnectResponse is for http.Transport.OnProxyConnectResponse: it notes whether the proxy took the password. For a 407
// it returns a *renew.IssueError with the Kind Refused, in place of the text that net/http would make of it. It does not block.
func (s *Signer) OnProxyConnectResponse(_ context.Context, _ *url.URL, req *http.Request, resp *http.Response) error {
	if values := req.Header["Proxy-Authorization"]; len(values) == 1 {
		s.answered(weak.Make(&values[0]), resp)
	}
	if resp.StatusCode != http.StatusProxyAuthRequired {
		return nil
	}
	o, _ := lockout.ProxyOrigin(s.Proxy) // it may not have been checked: there is no Host then
	return &renew.IssueError{Source: name, Host: o.Host, Status: resp.StatusCode, Kind: renew.Refused, Err: errRefused}
}

// answered ends the tunnel's attempt; resp is nil when there was no answer.
func (s *Signer) answered(key weak.Pointer[string], resp *http.Response) {
	s.mu.Lock()
	t := s.tunnels[key]
	delete(s.tunnels, key)
	s.mu.Unlock()
	if t == nil {
		return
	}
	t.timer.Stop()
	t.attempt.End(lockout.Judge(resp, http.StatusProxyAuthRequired))
}

func (s *Signer) clock() clock.Clock {
	if s.Clock == nil {
		return clock.Real{}
	}
	return s.Clock
}

// loopback reports whether the host is this machine by its name alone, as renew.TransportConfig has it.
func loopback(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}
