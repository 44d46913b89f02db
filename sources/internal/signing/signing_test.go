package signing

import (
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/seed-f29168f7/renew/clock"
)

// What is used is remembered until its own end, whatever the order in which it came.
func TestGuard(t *testing.T) {
	var g Guard
	at := func(d time.Duration) clock.Instant { return clock.Instant{Wall: time.Unix(0, int64(d)), Mono: d} }
	use := func(id byte, now, end time.Duration) string {
		err := g.Use(Sum{id}, at(now), at(end).Wall, 5)
		if r, ok := errors.AsType[Refusal](err); ok {
			return r.Code + strings.TrimPrefix(strconv.Itoa(r.Status), "401")
		}
		return fmt.Sprint(err)
	}
	for i, end := range []time.Duration{50, 10, 30, 20, 40} {
		if got := use(byte(i), 0, end); got != "<nil>" {
			t.Fatalf("entry %d: %s", i, got)
		}
	}
	for _, st := range []struct {
		now  time.Duration
		id   byte
		end  time.Duration
		want string
		left int
	}{
		{10, 9, 500, "503", 5},
		{10, 1, 500, "replayed", 5}, // known, though all places are taken
		{11, 9, 500, "<nil>", 5},
		{10, 1, 10, "time", 5}, // forgotten by a later reading of the clock
		{30, 2, 500, "replayed", 4},
		{31, 2, 500, "<nil>", 4},
		{50, 0, 500, "replayed", 3},
		{1000, 0, 999, "time", 0},
		{1000, 0, 1000, "<nil>", 1},
	} {
		got := use(st.id, st.now, st.end)
		if got != st.want || len(g.used) != st.left || len(g.ends) != st.left {
			t.Errorf("at %d, %d: %s, %d and %d entries; want %+v", st.now, st.id, got, len(g.used), len(g.ends), st)
		}
	}
}

// Neither clock alone makes the Guard forget.
func TestGuardHasTwoClocks(t *testing.T) {
	base := time.Unix(1000, 0)
	for _, st := range []struct {
		wall, mono time.Duration
		forgotten  bool
	}{{10, 10, false}, {11, 10, false}, {10, 11, false}, {11, 11, true}, {-100, 11, false}, {100, 5, false}} {
		var g Guard
		if err := g.Use(Sum{1}, clock.Instant{Wall: base}, base.Add(10), 9); err != nil {
			t.Fatal(err)
		}
		err := g.Use(Sum{1}, clock.Instant{Wall: base.Add(st.wall), Mono: st.mono}, base.Add(500), 9)
		if (err == nil) != st.forgotten {
			t.Errorf("%+v: %v", st, err)
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
		{[]string{`X error="replayed"`}, false},
		{[]string{`X error="time"`}, true},
		{[]string{`X error="something else"`}, true},
		{[]string{`X error="`}, true},
		{[]string{`Basic realm="a", X realm="b", error="invalid_signature"`}, false},
		{[]string{`X error=invalid_signature`}, false},
		{[]string{`X realm="error=\"invalid_signature\""`}, true},
	} {
		req, err := http.NewRequest("POST", "https://a.example/", nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := Mendable(req, &http.Response{Header: http.Header{"Www-Authenticate": tt.fields}}, "X"); got != tt.want {
			t.Errorf("%q: %t, want %t", tt.fields, got, tt.want)
		}
	}
}

// R29: what a server has seen before it has served, so that only what may be served twice is sent again.
func TestR29_Replayed(t *testing.T) {
	for _, tt := range []struct {
		method, key string
		want        bool
	}{
		{"GET", "", true}, {"", "", true}, {"HEAD", "", true}, {"OPTIONS", "", true}, {"TRACE", "", true},
		{"POST", "", false}, {"PUT", "", false}, {"DELETE", "", false}, {"get", "", false},
		{"POST", "Idempotency-Key", true}, {"POST", "X-Idempotency-Key", true},
	} {
		req := &http.Request{Method: tt.method, Header: http.Header{}}
		if tt.key != "" {
			req.Header.Set(tt.key, "1")
		}
		resp := &http.Response{Header: http.Header{"Www-Authenticate": {`X error="replayed"`}}}
		if got := Mendable(req, resp, "X"); got != tt.want {
			t.Errorf("%s %s: %t, want %t", tt.method, tt.key, got, tt.want)
		}
	}
}

// A limit as large as there is means none.
func TestTakeBodyWithoutLimit(t *testing.T) {
	data, again, err := TakeBody(io.NopCloser(strings.NewReader("all of it")), math.MaxInt64)
	if err != nil || string(data) != "all of it" {
		t.Fatalf("%q, %v", data, err)
	}
	if text, err := io.ReadAll(again); err != nil || string(text) != "all of it" {
		t.Errorf("again: %q, %v", text, err)
	}
}
