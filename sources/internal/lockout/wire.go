package lockout

import (
	"errors"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
)

var errRefused = errors.New("the user name or the password is refused: correct it, or wait")

// wire notes whether a request got as far as a connection.
type wire struct{ asked, got atomic.Bool }

// unsent reports whether the request was certainly not sent: it asked for a connection and got none, because the dial
// or TLS failed. A RoundTripper that does not say is not believed to have failed early.
func (w *wire) unsent() bool { return w.asked.Load() && !w.got.Load() }

// Watch notes how far req gets, where that decides about a unit. It changes the context of req.
func (a *Attempt) Watch(req *http.Request) {
	if !a.unit {
		return
	}
	*req = *req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{
		GetConn: func(string) { a.wire.asked.Store(true) },
		GotConn: func(httptrace.GotConnInfo) { a.wire.got.Store(true) },
	}))
}
