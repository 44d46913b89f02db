package header_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/seed-f29168f7/renew/sources/internal/header"
)

func TestEveryByte(t *testing.T) {
	const marks = "!#$%&'*+-.^_`|~"
	const alnum = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	for c := range 256 {
		for _, s := range []string{string([]byte{byte(c)}), "a" + string([]byte{byte(c)}), string([]byte{byte(c)}) + "a"} {
			if got, want := header.Visible(s), c > ' ' && c < 0x7f; got != want {
				t.Errorf("Visible(%q) = %v, want %v", s, got, want)
			}
			if got, want := header.Printable(s), c >= ' ' && c < 0x7f; got != want {
				t.Errorf("Printable(%q) = %v, want %v", s, got, want)
			}
			if got, want := header.IsToken(s), strings.IndexByte(alnum+marks, byte(c)) >= 0; got != want {
				t.Errorf("IsToken(%q) = %v, want %v", s, got, want)
			}
		}
	}
	if header.Visible("") || header.IsToken("") || !header.Printable("") {
		t.Error("the empty text is Printable, and neither Visible nor a token")
	}
}

func Example() {
	fmt.Println(header.IsToken("FH-AUTH"), header.Visible("abc.def"), header.Visible("abc\r\nHost: evil"))
	// Output: true true false
}
