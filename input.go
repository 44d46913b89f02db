package renew

import (
	"maps"
	"slices"
	"strings"

	"github.com/seed-f29168f7/renew/clock"
)

// noticeInput ends a refusal for good if the credential input has changed since
// (R23). mu is held; not while the Source is asked.
func (ts *TokenSource) noticeInput() {
	if r := ts.rare; ts.closed || r == nil || !r.final || ts.flying() {
		return
	}
	ts.mu.Unlock()
	version, known := inputVersion(ts.src)
	ts.mu.Lock()
	if r := ts.rare; known && r != nil && r.final && !ts.flying() && version != r.version {
		ts.changed(version, ts.now())
	}
}

// changed ends a refusal for good, and the pause after a failure: the input is another one now. mu is held.
func (ts *TokenSource) changed(version uint64, now clock.Instant) {
	if r := ts.rare; r != nil && r.final {
		r.final, r.person, r.version = false, false, version
	}
	ts.next = now.Mono
}

// inputVersion asks the Source for the version of its credential input. A panic
// there counts as "not known".
func inputVersion(src Source) (v uint64, known bool) {
	_ = guard("InputVersion", func() error {
		if d, ok := as[Describer](src); ok {
			if f := d.Describe().InputVersion; f != nil {
				v, known = f(), true
			}
		}
		return nil
	})
	return v, known
}

// noteInput notes the version of an input that the watcher looks at (Traits.WatchInput), as a call of the Source is
// about to find it. mu is held.
func (ts *TokenSource) noteInput(version uint64) {
	if !ts.can.has(watchesInput) || ts.closed {
		return
	}
	h := ts.set.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.inputs == nil {
		h.inputs = make(map[*TokenSource]uint64)
	}
	h.inputs[ts] = version
}

// forgetInput ends that. mu is held.
func (ts *TokenSource) forgetInput() {
	h := ts.set.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.inputs, ts)
}

// lookAtInputs starts attempts for the inputs that have changed. No lock is held.
func (h *hub) lookAtInputs() {
	h.mu.Lock()
	inputs := maps.Clone(h.inputs)
	h.mu.Unlock()
	for _, ts := range slices.SortedFunc(maps.Keys(inputs), func(a, b *TokenSource) int { return strings.Compare(a.name, b.name) }) {
		ts.lookAtInput(inputs[ts])
	}
}

// lookAtInput starts an attempt if the input is not what the last call of the Source found. It is as one of the
// schedule: it costs no unit of its own, and the token stays in service meanwhile. What keeps it from starting now is
// looked at anew the next time.
func (ts *TokenSource) lookAtInput(found uint64) {
	version, known := inputVersion(ts.src)
	if !known || version == found {
		return
	}
	ts.mu.Lock()
	defer ts.mu.Unlock()
	now := ts.now()
	if ts.closed || ts.flying() || !ts.begun() || ts.set.reissueEvery < 0 || ts.idling(now) {
		return
	}
	ts.changed(version, now)
	ts.launch(now, false)
	ts.settle(now)
}
