package signing

import (
	"net/http"
	"testing"
	"time"
)

// What is used is remembered until its own end, whatever the order in which it came.
func TestGuard(t *testing.T) {
	var g Guard
	for i, end := range []time.Duration{50, 10, 30, 20, 40} {
		if fresh, full := g.Use(Sum{byte(i)}, 0, end, 5); !fresh || full {
			t.Fatalf("entry %d: fresh %t, full %t", i, fresh, full)
		}
	}
	for _, st := range []struct {
		now         time.Duration
		id          byte
		fresh, full bool
		left        int
	}{
		{9, 9, false, true, 5},
		{9, 1, false, false, 5}, // known, though all places are taken
		{10, 9, true, false, 5},
		{29, 2, false, false, 4},
		{30, 2, true, false, 4},
		{49, 0, false, false, 3},
		{1000, 0, true, false, 1},
	} {
		fresh, full := g.Use(Sum{st.id}, st.now, 500, 5)
		if fresh != st.fresh || full != st.full || len(g.used) != st.left || len(g.ends) != st.left {
			t.Errorf("at %d, %d: fresh %t, full %t, %d and %d entries; want %+v", st.now, st.id, fresh, full, len(g.used), len(g.ends), st)
		}
	}
}

// R22: of the challenges, that of the scheme counts, and of its text the code.
func TestR22_Mendable(t *testing.T) {
	for _, tt := range []struct {
		fields []string
		want   bool
	}{
		{nil, true},
		{[]string{"X"}, true},
		{[]string{"Basic", `X realm="a", error="invalid_signature"`}, false},
		{[]string{`x error="invalid_signature"`}, false},
		{[]string{`Y error="invalid_signature"`}, true},
		{[]string{`X error="replayed"`}, true},
		{[]string{`X error="time"`}, true},
		{[]string{`X error="something else"`}, true},
		{[]string{`X error="`}, true},
	} {
		if got := Mendable(http.Header{"Www-Authenticate": tt.fields}, "X"); got != tt.want {
			t.Errorf("%q: %t, want %t", tt.fields, got, tt.want)
		}
	}
}
