package signing

import (
	"container/heap"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/seed-f29168f7/renew/clock"
)

// Sum names what may be used once: a hash, so that a Guard holds no text of a request.
type Sum [32]byte

// Guard remembers what was used, for as long as it would be taken again. The zero Guard is empty and
// ready. It is safe for concurrent use and does not block. It takes about 150 bytes an entry.
type Guard struct {
	mu   sync.Mutex // guards all below
	now  clock.Instant
	used map[Sum]struct{}
	ends queue
}

// Use notes id, which is good until end, that included. The error is a Refusal: of an id that was used before, of one
// whose end has passed, and with status 503 when limit entries are remembered and none has ended.
//
// An entry is forgotten when its end has passed by the wall clock and by the monotonic one, so that a step of the wall clock
// brings nothing back that it has not outlived. now is a reading of this moment, and not of when the request came: what ends while its
// body arrives may be forgotten already.
func (g *Guard) Use(id Sum, now clock.Instant, end time.Time, limit int) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if now.Mono < g.now.Mono { // somebody read the clock later and was here first
		now = g.now
	}
	g.now = now
	for len(g.ends) > 0 && now.Wall.After(g.ends[0].wall) && now.Mono > g.ends[0].mono {
		delete(g.used, heap.Pop(&g.ends).(entry).id)
	}
	_, seen := g.used[id]
	switch {
	case seen:
		return Refusal{Status: http.StatusUnauthorized, Code: CodeReplayed, Reason: "the signature, or its nonce, was used before"}
	case now.Wall.After(end):
		return Refusal{Status: http.StatusUnauthorized, Code: CodeTime, Reason: "the signature ended while the request arrived"}
	case len(g.ends) >= limit:
		return Refusal{Status: http.StatusServiceUnavailable, Reason: "MaxRemembered signatures are remembered"}
	}
	if g.used == nil {
		g.used = make(map[Sum]struct{})
	}
	g.used[id] = struct{}{}
	heap.Push(&g.ends, entry{id, end, now.Mono + end.Sub(now.Wall)})
	return nil
}

type entry struct {
	id   Sum
	wall time.Time
	mono time.Duration
}

// queue has the entry that ends first by the wall clock at its head.
type queue []entry

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].wall.Before(q[j].wall) }
func (q queue) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)        { *q = append(*q, x.(entry)) }
func (q *queue) Pop() any {
	last := len(*q) - 1
	e := (*q)[last]
	*q = (*q)[:last]
	return e
}

// Refusal is why a verifier does not take a request: a status for the client, and a reason that holds nothing of it.
type Refusal struct {
	Status int    // 400, 401, 413 or 503
	Code   string // one of the codes, with status 401
	Reason string
}

func (r Refusal) Error() string { return r.Reason }

// Answer writes the refusal. Beside the status and the code it says nothing: the reason is for the server's own log.
func (r Refusal) Answer(w http.ResponseWriter, scheme string) {
	switch r.Status {
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", scheme+" error="+strconv.Quote(r.Code))
	case http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", "1")
	case http.StatusRequestEntityTooLarge:
		w.Header().Set("Connection", "close")
	}
	http.Error(w, http.StatusText(r.Status), r.Status)
}
