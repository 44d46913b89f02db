// Package leaktest looks for secrets where none may be: in errors and tokens as
// they are printed, and in every text that can be reached from them. It is for
// tests of Sources (R30).
package leaktest

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"testing"
)

// Check fails t when v, printed or walked, holds one of the secrets in any form
// of Find. A nil v holds nothing.
func Check(t testing.TB, v any, secrets ...string) {
	t.Helper()
	for _, secret := range secrets {
		for _, text := range Texts(v) {
			if form := Find(text, secret); form != "" {
				t.Errorf("a %T holds a secret, %s: %s", v, form, strings.ReplaceAll(text, secret, "<SECRET>"))
				break
			}
		}
	}
}

// Find returns the name of the form in which text holds the secret, or the empty
// string. The forms are plain, URL-encoded, quoted, JSON, hex and base64 in both
// alphabets at all three alignments, the latter also of the URL-encoded secret,
// as RFC 6749, section 2.3.1, puts it into the Basic scheme.
func Find(text, secret string) string {
	if len(secret) < 8 {
		return "not looked for: fewer than 8 bytes match by chance"
	}
	lower := strings.ToLower(text)
	for _, form := range []struct{ name, secret string }{{"", secret}, {" of the URL-encoded secret", url.QueryEscape(secret)}} {
		s := form.secret
		for _, f := range []struct{ name, text string }{
			{"plain", s}, {"query-escaped", url.QueryEscape(s)}, {"path-escaped", url.PathEscape(s)},
			{"quoted", inner(strconv.Quote(s))}, {"quoted in ASCII", inner(strconv.QuoteToASCII(s))}, {"JSON", inner(jsonText(s))},
		} {
			if strings.Contains(text, f.text) {
				return f.name + form.name
			}
		}
		if strings.Contains(lower, hex.EncodeToString([]byte(s))) {
			return "hex" + form.name
		}
		for align := range 3 {
			for _, enc := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
				// What only the secret decides: whole groups of three bytes, behind align bytes that belong to something else.
				skip := (3 - align) % 3
				whole := s[skip : skip+(len(s)-skip)/3*3]
				if strings.Contains(text, enc.EncodeToString([]byte(whole))) {
					return "base64" + form.name
				}
			}
		}
	}
	return ""
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

func inner(quoted string) string { return quoted[1 : len(quoted)-1] }

func jsonText(s string) string {
	b, _ := json.Marshal(s) // strings always marshal
	return string(b)
}
