// Package leaktest looks for secrets in errors and tokens (R30): as they are
// printed, and in every text that can be reached from them, also by a program
// that unwraps an error or a dump that follows its fields. It is for tests.
package leaktest

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/seed-f29168f7/renew/renewtest"
)

// Check fails t when v, printed or walked, holds one of the secrets in any form
// that renewtest.Leaks knows. A nil v holds nothing.
func Check(t testing.TB, v any, secrets ...string) {
	t.Helper()
	text := strings.Join(Texts(v), "\n") // at once, which is faster than one by one
	if found := renewtest.Leaks(text, secrets...); found != nil {
		t.Errorf("a %T holds %v, in %d bytes of text", v, found, len(text))
	}
}

// Texts returns what v prints as, and every text that can be reached from it
// through fields (unexported ones too), pointers, slices and maps. It stops at
// funcs, as fmt and go-spew do.
func Texts(v any) []string {
	if v == nil {
		return nil
	}
	out := []string{fmt.Sprintf("%v", v), fmt.Sprintf("%+v", v), fmt.Sprintf("%#v", v), fmt.Sprintf("%q", v), fmt.Sprintf("%x", v)}
	if b, err := json.Marshal(v); err == nil {
		out = append(out, string(b))
	}
	w := walker{seen: make(map[place]bool)}
	w.walk(reflect.ValueOf(v), 0)
	return append(out, w.texts...)
}

type walker struct {
	seen  map[place]bool
	texts []string
}

// place is a pointer that was followed. A struct and its first field share an address.
type place struct {
	address uintptr
	typ     reflect.Type
}

func (w *walker) walk(v reflect.Value, depth int) {
	if depth > 40 {
		return
	}
	switch v.Kind() {
	case reflect.String:
		w.texts = append(w.texts, v.String())
	case reflect.Pointer:
		at := place{v.Pointer(), v.Type()}
		if v.IsNil() || w.seen[at] {
			return
		}
		w.seen[at] = true
		w.walk(v.Elem(), depth+1)
	case reflect.Interface:
		w.walk(v.Elem(), depth+1)
	case reflect.Struct:
		for i := range v.NumField() {
			w.walk(v.Field(i), depth+1)
		}
	case reflect.Slice, reflect.Array:
		if v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Uint8 {
			w.texts = append(w.texts, string(v.Bytes()))
			return
		}
		for i := range v.Len() {
			w.walk(v.Index(i), depth+1)
		}
	case reflect.Map:
		for it := v.MapRange(); it.Next(); {
			w.walk(it.Key(), depth+1)
			w.walk(it.Value(), depth+1)
		}
	}
}
