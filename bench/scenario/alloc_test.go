//go:build !race

package scenario

import (
	"context"
	"testing"

	"github.com/seed-f29168f7/renew/bench/contender"
)

// The race detector allocates on its own account.

func TestR1_ReadsAllocateNothing(t *testing.T) {
	r := ours(t, &issuer{life: Hour.Life}, Hour).Reader()
	if n := testing.AllocsPerRun(1000, func() { _ = r.Read(context.Background()) }); n != 0 {
		t.Errorf("a read allocates %v times", n)
	}
}

func TestR28_RequestsAllocateWhatACopyDoes(t *testing.T) {
	// No more than the floor: the copy of the request, its header, and the map's buckets.
	perRequest := func(src contender.Source) float64 {
		rt, req := src.Transport(NewIdle(), apiOrigin), UsualRequest()
		return testing.AllocsPerRun(1000, func() {
			if _, err := rt.RoundTrip(req); err != nil {
				t.Fatal(err)
			}
		})
	}
	floor := contender.All()[0].Open((&issuer{life: Hour.Life}).fetch, Hour)
	defer floor.Close()
	least, got := perRequest(floor), perRequest(ours(t, &issuer{life: Hour.Life}, Hour))
	if got > least || got > 3 {
		t.Errorf("a request allocates %v times, the floor's %v times", got, least)
	}
}
