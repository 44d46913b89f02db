package crtauth

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/clock"
	"github.com/seed-f29168f7/renew/sources/internal/tokenendpoint"
)

// exchanger sends the messages of one login.
type exchanger struct {
	client *http.Client
	url    string
	method string // HEAD, until a server does not take it
	clk    clock.Clock
}

// response is a server's answer without its body, which is never read.
type response struct {
	status int
	header http.Header
	sent   time.Duration // when its request was sent, by the running time
	at     clock.Instant // when it came
}

// send sends one message. HEAD is what all servers in Python take; one that answers it with
// 405 or 501 is asked by GET, as the specification has it.
func (x *exchanger) send(ctx context.Context, method, message string) (*response, *renew.IssueError) {
	resp, e := x.once(ctx, method+":"+message)
	if e == nil && x.method == http.MethodHead && (resp.status == http.StatusMethodNotAllowed || resp.status == http.StatusNotImplemented) {
		x.method = http.MethodGet
		resp, e = x.once(ctx, method+":"+message)
	}
	return resp, e
}

func (x *exchanger) once(ctx context.Context, text string) (*response, *renew.IssueError) {
	var connected, traced atomic.Bool // net/http may call the trace after the request has ended
	req, err := http.NewRequestWithContext(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn: func(string) { traced.Store(true) },
		GotConn: func(httptrace.GotConnInfo) { connected.Store(true) },
	}), x.method, x.url, nil)
	if err != nil {
		return nil, &renew.IssueError{Kind: renew.Invalid, Permanent: true, Unsent: true, Err: errors.New("the address of the login cannot be requested")}
	}
	req.Header.Set("X-CHAP", text)
	sent := x.clk.Now().Mono
	resp, err := x.client.Do(req)
	if err != nil {
		return nil, fault(ctx, err, traced.Load(), connected.Load())
	}
	_ = resp.Body.Close() // all that counts is in the header
	return &response{status: resp.StatusCode, header: resp.Header, sent: sent, at: x.clk.Now()}, nil
}

// fault tells what a failed exchange means. Where the trace was called, it knows best whether
// anything was sent.
func fault(ctx context.Context, err error, traced, connected bool) *renew.IssueError {
	if ctx.Err() != nil {
		return &renew.IssueError{Kind: renew.Transient, Unsent: !connected && traced, Err: context.Cause(ctx)}
	}
	e := tokenendpoint.Fault(err)
	if traced {
		if e.Unsent && connected {
			e.Err = errors.New(e.Err.Error()) // its type alone would say unsent, also to the engine
		}
		e.Unsent = !connected
	}
	return e
}
