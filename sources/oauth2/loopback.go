package oauth2

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"html"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/seed-f29168f7/renew/clock"
	"github.com/seed-f29168f7/renew/sources/internal/tokenendpoint"
)

// loopback is the server that one login's browser comes back to. It takes one answer; whatever else asks it
// for something gets an error page and changes nothing.
type loopback struct {
	redirect url.URL
	listener net.Listener
	server   *http.Server
	answers  chan url.Values // takes the one answer without blocking
	ended    chan struct{}   // closed when Serve has returned; nil before serve

	mu    sync.Mutex // guards taken
	taken bool
}

// listen opens the port of a redirect URL.
func listen(to *url.URL) (*loopback, error) {
	host, port := to.Hostname(), to.Port()
	if host == "localhost" {
		host = "127.0.0.1"
	}
	if port == "" {
		port = "0"
	}
	listener, err := net.Listen("tcp", net.JoinHostPort(host, port))
	if err != nil {
		return nil, fmt.Errorf("RedirectURL cannot be listened on: %w", err)
	}
	l := &loopback{redirect: *to, listener: listener, answers: make(chan url.Values, 1)}
	_, port, _ = net.SplitHostPort(listener.Addr().String()) // an address of a TCP listener has a port
	l.redirect.Host = net.JoinHostPort(to.Hostname(), port)
	return l, nil
}

// url is the redirect URL with its port.
func (l *loopback) url() string { return l.redirect.String() }

// serve begins to take requests.
func (l *loopback) serve(a *Authorization) {
	l.ended = make(chan struct{})
	l.server = &http.Server{
		Handler:           http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { l.handle(w, r, a) }),
		ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second, MaxHeaderBytes: 64 << 10,
		ErrorLog: log.New(io.Discard, "", 0), // it would quote requests
	}
	l.server.SetKeepAlivesEnabled(false)
	go func() {
		defer close(l.ended)
		_ = l.server.Serve(l.listener) // it says that close has ended it
	}()
}

// close ends the server. It waits a second at most for the page to reach the browser.
func (l *loopback) close(clk clock.Clock) {
	if l.server == nil {
		_ = l.listener.Close()
		return
	}
	ctx, stop := limited(context.Background(), clk, time.Second, errors.New("closing"))
	defer stop()
	if l.server.Shutdown(ctx) != nil {
		_ = l.server.Close()
	}
	<-l.ended
}

// handle judges one request.
func (l *loopback) handle(w http.ResponseWriter, r *http.Request, a *Authorization) {
	if r.URL.Path != l.redirect.Path {
		page(w, http.StatusNotFound, "There is nothing here.")
		return
	}
	if r.Method != http.MethodGet {
		w.Header().Set("Allow", http.MethodGet)
		page(w, http.StatusMethodNotAllowed, "This page cannot be used that way.")
		return
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		err = errAnswerForm
	} else {
		err = a.accept(query)
	}
	if err != nil {
		page(w, http.StatusBadRequest, "The login goes on without this answer: "+err.Error()+".")
		return
	}
	l.mu.Lock()
	again := l.taken
	l.taken = true
	l.mu.Unlock()
	if again {
		page(w, http.StatusGone, "This login has been answered already. You can close this window.")
		return
	}
	text := "The program has the answer to this login. You can close this window."
	if query.Get("error") != "" {
		text = "The login failed: " + cmp.Or(tokenendpoint.ErrorCode(query.Get("error")), "the server did not say why") + ". You can close this window."
	}
	page(w, http.StatusOK, text)
	l.answers <- query
}

// page writes a page for the person. It loads nothing, and neither caches nor other sites learn its address, which has the code.
func page(w http.ResponseWriter, status int, text string) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, "<!DOCTYPE html><title>Login</title><p>%s</p>\n", html.EscapeString(text))
}
