package signing

import (
	"container/heap"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// Sum names what may be used once: a hash, so that a Guard holds no text of a request.
type Sum [32]byte

// Guard remembers what was used, for as long as it would be taken again. The zero Guard is empty and
// ready. It is safe for concurrent use and does not block. It takes about 120 bytes an entry.
type Guard struct {
	mu   sync.Mutex // guards all below
	used map[Sum]struct{}
	ends queue
}

// Use notes id until the monotonic time end, and reports whether it was new. full says that limit entries are
// remembered and none has ended: then nothing is noted, and the caller must refuse.
func (g *Guard) Use(id Sum, now, end time.Duration, limit int) (fresh, full bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for len(g.ends) > 0 && g.ends[0].at <= now {
		delete(g.used, heap.Pop(&g.ends).(entry).id)
	}
	if _, seen := g.used[id]; seen {
		return false, false
	}
	if len(g.ends) >= limit {
		return false, true
	}
	if g.used == nil {
		g.used = make(map[Sum]struct{})
	}
	g.used[id] = struct{}{}
	heap.Push(&g.ends, entry{id, end})
	return true, false
}

type entry struct {
	id Sum
	at time.Duration
}

// queue has the entry that ends first at its head.
type queue []entry

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].at < q[j].at }
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
