package renewtest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"runtime/pprof"
	"slices"
	"strings"
	"time"
)

// inspect prints v in all the ways that programs do and looks for secrets.
func (k *kit) inspect(what string, v any) {
	k.Helper()
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		k.inspectText(what+" under "+verb, fmt.Sprintf(verb, v))
	}
	if b, err := json.Marshal(v); err == nil { // not everything has a JSON form
		k.inspectText(what+" in JSON", string(b))
	}
	var text, js bytes.Buffer
	slog.New(slog.NewTextHandler(&text, nil)).Info("x", "v", v)
	slog.New(slog.NewJSONHandler(&js, nil)).Info("x", "v", v)
	k.inspectText(what+" in slog's text", text.String())
	k.inspectText(what+" in slog's JSON", js.String())
}

// inspectError inspects an error and all that it wraps: a %#v follows one pointer only.
func (k *kit) inspectError(what string, err error) {
	k.Helper()
	k.inspectText("the text of "+strings.TrimPrefix(what, "the text of "), err.Error())
	k.inspect(what, err)
	switch e := err.(type) { //nolint:errorlint // this is the walk
	case interface{ Unwrap() error }:
		if cause := e.Unwrap(); cause != nil {
			k.inspectError(what, cause)
		}
	case interface{ Unwrap() []error }:
		for _, cause := range e.Unwrap() {
			if cause != nil {
				k.inspectError(what, cause)
			}
		}
	}
}

// inspectText looks for secrets in a text, and reports each kind of output once.
func (k *kit) inspectText(what, text string) {
	k.Helper()
	for _, leak := range Leaks(text, k.h.Secrets...) {
		k.leaked(what, "one of Harness.Secrets: "+leak)
	}
	for _, leak := range Leaks(text, k.tokens...) {
		_, how, _ := strings.Cut(leak, ", ")
		k.leaked(what, "a token: "+how)
	}
}

func (k *kit) leaked(what, which string) {
	k.Helper()
	if line := what + " shows " + which; !k.told[line] {
		k.told[line] = true
		k.Errorf("R30: %s", line)
	}
}

// labelName is the profiler label that marks the goroutines of one kit.
const labelName = "renewtest"

// labelled runs f with a profiler label, which the goroutines that f starts inherit.
func labelled(tag string, f func()) {
	pprof.Do(context.Background(), pprof.Labels(labelName, tag), func(context.Context) { f() })
}

// checkGoroutines fails when goroutines that calls of the Source started do not end.
func (k *kit) checkGoroutines() {
	k.Helper()
	var left []string
	for pause := time.Millisecond; pause < patience; pause *= 2 { // 16 s in all
		if left = goroutines(k.tag); len(left) == 0 {
			return
		}
		k.sleep(pause)
	}
	k.Errorf("R27: goroutines that the Source started have not ended, though its calls have returned:\n%s", strings.Join(left, "\n\n"))
}

// goroutines returns the stacks of the goroutines with the label, except those of connections
// that http.Transport keeps for the next request.
func goroutines(tag string) []string {
	var b bytes.Buffer
	_ = pprof.Lookup("goroutine").WriteTo(&b, 1)
	stacks := strings.Split(b.String(), "\n\n")
	label := fmt.Sprintf("%q:%q", labelName, tag)
	return slices.DeleteFunc(stacks, func(s string) bool {
		return !strings.Contains(s, label) ||
			strings.Contains(s, "(*persistConn).readLoop") || strings.Contains(s, "(*persistConn).writeLoop") ||
			strings.Contains(s, "lientConn).readLoop") // of HTTP/2, under its several names
	})
}
