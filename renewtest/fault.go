package renewtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A Fault stands before an endpoint. It may pause, answer by itself, or call
// next, with w and r or with others (whose context must come from r's). The request has been
// read when a Fault runs; r.Body can be read all the same. A Fault that panics with
// http.ErrAbortHandler ends the connection.
type Fault func(w http.ResponseWriter, r *http.Request, next http.Handler)

// script is the Faults to come.
type script struct {
	mu    sync.Mutex
	steps []step
}

type step struct {
	fault Fault
	n     int // how many requests are left; negative: all
}

func (s *script) add(f Fault, n int) {
	if n == 0 || f == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.steps = append(s.steps, step{f, n})
}

func (s *script) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.steps = nil
}

// take returns the Fault for the next request, or nil.
func (s *script) take() Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.steps) == 0 {
		return nil
	}
	f := s.steps[0].fault
	if s.steps[0].n > 0 {
		if s.steps[0].n--; s.steps[0].n == 0 {
			s.steps = s.steps[1:]
		}
	}
	return f
}

// Slow takes d longer than usual.
func Slow(d time.Duration) Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if exchangeOf(r).iss.Sleep(r.Context(), d) != nil {
			panic(http.ErrAbortHandler)
		}
		next.ServeHTTP(w, r)
	}
}

// Hang does not answer until the client leaves, or Release or Heal is called:
// then the request goes on.
func Hang() Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		iss := exchangeOf(r).iss
		iss.mu.Lock()
		release := iss.release
		iss.mu.Unlock()
		if iss.wait(r.Context(), release) != nil {
			panic(http.ErrAbortHandler)
		}
		next.ServeHTTP(w, r)
	}
}

// Status answers with a status, a header, which may be nil, and a line of text.
func Status(code int, header http.Header) Fault {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		maps.Copy(w.Header(), header.Clone())
		http.Error(w, http.StatusText(code), code)
	}
}

// RetryAfter answers 429 or 503 and asks for a pause, in whole seconds, rounded up.
func RetryAfter(code int, d time.Duration) Fault {
	seconds := int64((d + time.Second - 1) / time.Second)
	return Status(code, http.Header{"Retry-After": {strconv.FormatInt(seconds, 10)}})
}

// RetryAfterDate answers 429 or 503 and asks for a pause by naming its end, by
// the Issuer's wall clock.
func RetryAfterDate(code int, d time.Duration) Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		iss := exchangeOf(r).iss
		iss.mu.Lock()
		end := iss.wall().Add(d)
		iss.mu.Unlock()
		Status(code, http.Header{"Retry-After": {end.Format(http.TimeFormat)}})(w, r, next)
	}
}

// OAuthError answers with an error code in the form of RFC 6749, section 5.2.
func OAuthError(status int, code string) Fault {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) { writeError(w, status, code, "") }
}

// InvalidClient answers 401 invalid_client: the credentials are refused.
func InvalidClient() Fault { return OAuthError(http.StatusUnauthorized, "invalid_client") }

// Echo answers with the whole request in the reply, credentials included, as
// debug pages do: whoever puts replies into errors shows secrets then. With a code, the reply is an
// error as by OAuthError with the request as its description, else it is text.
func Echo(status int, code string) Fault {
	return func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		var b strings.Builder
		fmt.Fprintf(&b, "%s %s\n", r.Method, r.URL)
		for _, name := range slices.Sorted(maps.Keys(r.Header)) {
			fmt.Fprintf(&b, "%s: %s\n", name, strings.Join(r.Header[name], ", "))
		}
		fmt.Fprintf(&b, "\n%s\n", exchangeOf(r).sent)
		if code != "" {
			writeError(w, status, code, b.String())
			return
		}
		http.Error(w, b.String(), status)
	}
}

// HTML403 answers with a page as proxies and firewalls do.
func HTML403() Fault {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.WriteHeader(http.StatusForbidden)
		_, _ = w.Write([]byte("<!DOCTYPE html>\n<title>403 Forbidden</title>\n<h1>Access denied</h1>\n"))
	}
}

// Redirect answers with a redirect. With 307 and 308 clients send the request
// again with its body; with 302 and 303 they change it to GET.
func Redirect(code int, url string) Fault {
	return Status(code, http.Header{"Location": {url}})
}

// Drop ends the connection after the request was read, before it was judged:
// nothing is issued. For connections that end unread, see Issuer.DropConns.
func Drop() Fault {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) { drop(w) }
}

// DropReply ends the connection after the request was served: a token was
// issued, a refresh token was spent, and nobody knows.
func DropReply() Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		next.ServeHTTP(newReply(), r)
		drop(w)
	}
}

func drop(w http.ResponseWriter) {
	if c, _, err := http.NewResponseController(w).Hijack(); err == nil {
		reset(c)
		return
	}
	panic(http.ErrAbortHandler)
}

// Truncated serves the request, and ends the connection in the middle of the reply's body.
func Truncated() Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		p := newReply()
		next.ServeHTTP(p, r)
		body := p.body.Bytes()
		p.head(w)
		_, _ = w.Write(body[:len(body)/2])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
}

// Trickle serves the request, and sends the reply's body byte by byte with a
// pause between them.
func Trickle(interval time.Duration) Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		p := newReply()
		next.ServeHTTP(p, r)
		p.head(w)
		for _, c := range p.body.Bytes() {
			_, err := w.Write([]byte{c})
			if err == nil {
				err = http.NewResponseController(w).Flush()
			}
			if err == nil {
				err = exchangeOf(r).iss.Sleep(r.Context(), interval)
			}
			if err != nil {
				panic(http.ErrAbortHandler)
			}
		}
	}
}

// Huge serves the request with a reply of 2 MiB, more than anyone should read.
func Huge() Fault {
	return EditReply(func(reply map[string]any) { reply["a_padding"] = strings.Repeat("x", 2<<20) })
}

// EditReply changes the reply of a token request that is granted. A value of type
// json.RawMessage is sent as it is, even where it is no JSON.
func EditReply(edit func(reply map[string]any)) Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		x := exchangeOf(r)
		x.edit = append(x.edit, edit)
		next.ServeHTTP(w, r)
	}
}

// ExpiresIn states raw as the value of expires_in: `"3600"`, `3599.5`, `1e300`, `-1`, `null`, `NaN`.
func ExpiresIn(raw string) Fault {
	return EditReply(func(reply map[string]any) { reply["expires_in"] = json.RawMessage(raw) })
}

// Lives issues a token of that life. A negative one never ends.
func Lives(life time.Duration) Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		exchangeOf(r).life = &life
		next.ServeHTTP(w, r)
	}
}

// SameToken issues the token that the client got last once more, if it is
// still live, as metadata servers do.
func SameToken() Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		exchangeOf(r).same = true
		next.ServeHTTP(w, r)
	}
}

// reply is a http.ResponseWriter that keeps what is written.
type reply struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func newReply() *reply { return &reply{header: make(http.Header), status: http.StatusOK} }

func (p *reply) Header() http.Header         { return p.header }
func (p *reply) WriteHeader(status int)      { p.status = status }
func (p *reply) Write(b []byte) (int, error) { return p.body.Write(b) }

// head writes the header to w, with the length of the whole body.
func (p *reply) head(w http.ResponseWriter) {
	maps.Copy(w.Header(), p.header)
	w.Header().Set("Content-Length", strconv.Itoa(p.body.Len()))
	w.WriteHeader(p.status)
}
