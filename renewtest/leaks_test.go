package renewtest

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestLeaks(t *testing.T) {
	const secret = `p&ss "wörd"/+%` + "\t"
	percentAll := func(s string) string {
		var b strings.Builder
		for i := range len(s) {
			fmt.Fprintf(&b, "%%%02x", s[i])
		}
		return b.String()
	}
	quoted, _ := json.Marshal(secret)
	twice, _ := json.Marshal(string(quoted))
	jsonBytes, _ := json.Marshal([]int{112, 38, 115, 115, 32, 34, 119, 195, 182, 114, 100, 34, 47, 43, 37, 9})
	tests := []struct {
		name, output, want string // want is how, or empty for no leak
	}{
		{"as it is", "x" + secret + "y", "as it is"},
		{"query", "a=" + url.QueryEscape(secret) + "&b", "percent-encoded"},
		{"query, lower case", strings.ToLower(url.QueryEscape(secret)), "percent-encoded"},
		{"path", "/" + url.PathEscape(secret) + "/", "percent-encoded"},
		{"percent, all bytes", percentAll(secret), "percent-encoded"},
		{"percent, twice", url.QueryEscape(url.QueryEscape(secret)), "percent-encoded"},
		{"JSON", string(quoted), "with escapes"},
		{"JSON, twice", string(twice), "with escapes"},
		{"%q", fmt.Sprintf("%q", secret), "with escapes"},
		{"%+q", fmt.Sprintf("%+q", secret), "with escapes"},
		{"HTML", html.EscapeString(secret), "with HTML escapes"},
		{"base64", "x" + base64.StdEncoding.EncodeToString([]byte(secret)), "in base64"},
		{"base64 for URLs", base64.RawURLEncoding.EncodeToString([]byte(secret)), "in base64"},
		{"base64, second alignment", base64.StdEncoding.EncodeToString([]byte("a" + secret + "bc")), "in base64"},
		{"base64, third alignment", base64.URLEncoding.EncodeToString([]byte("ab" + secret + "c")), "in base64"},
		{"Basic of RFC 6749", base64.StdEncoding.EncodeToString([]byte("id:" + url.QueryEscape(secret))), "in base64"},
		{"base64 in a query", url.QueryEscape(base64.StdEncoding.EncodeToString([]byte(secret))), "in base64"},
		{"hex", hex.EncodeToString([]byte(secret)), "in hex"},
		{"hex, upper case", strings.ToUpper(hex.EncodeToString([]byte(secret))), "in hex"},
		{"% x", fmt.Sprintf("% x", secret), "in hex"},
		{"%#x", fmt.Sprintf("%#x", secret), "in hex"},
		{"% #x", fmt.Sprintf("% #x", secret), "in hex"},
		{"hex.Dump", hex.EncodeToString([]byte(secret))[:16] + "\n" + hex.EncodeToString([]byte(secret))[16:], "in hex"},
		{"%#v of bytes", fmt.Sprintf("%#v", []byte(secret)), "as the numbers of its bytes"},
		{"%v of bytes", fmt.Sprint([]byte(secret)), "as the numbers of its bytes"},
		{"JSON of numbers", string(jsonBytes), "as the numbers of its bytes"},
		{"nothing", "all is well 100% \\ \\u12 %zz %4", ""},
		{"empty", "", ""},
		{"half of it", secret[:len(secret)/2], ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := Leaks(test.output, "", "another-secret", secret)
			if test.want == "" {
				if got != nil {
					t.Errorf("Leaks = %q, want none", got)
				}
				return
			}
			if !slices.Contains(got, "secret 3 of 3, "+test.want) || strings.Contains(strings.Join(got, ""), "secret 1") ||
				strings.Contains(strings.Join(got, ""), "secret 2") {
				t.Errorf("Leaks = %q, want %q", got, test.want)
			}
		})
	}
	if got := Leaks(`"\ud83d\ude00 smile"`, "😀 smile"); len(got) != 1 {
		t.Errorf("Leaks of a surrogate pair = %q", got)
	}
	if got := Leaks(`\ud83d \ud83dzzzzzz \xff\q \`, "zzzz\xff"); got != nil {
		t.Errorf("Leaks of broken escapes = %q", got)
	}
	if got := Leaks("one two", "one", "two", "one"); len(got) != 3 {
		t.Errorf("Leaks of three = %q", got)
	}
}

// Whatever stands around a secret, and however it is written, it is found.
func FuzzLeaks(f *testing.F) {
	f.Add("id:", "a secret of the client", "\n")
	f.Add("\\", "p&ss w%rd+/=\\\"", "%")
	f.Add("%2", "5ecret\x00\xff", "u0041")
	f.Fuzz(func(t *testing.T, before, secret, after string) {
		if len(secret) < 6 {
			return
		}
		whole := before + secret + after
		quoted, _ := json.Marshal(whole)
		written := map[string]string{
			"plain":       whole,
			"base64":      base64.StdEncoding.EncodeToString([]byte(whole)),
			"base64url":   base64.RawURLEncoding.EncodeToString([]byte(whole)),
			"base64 form": base64.StdEncoding.EncodeToString([]byte(before + url.QueryEscape(secret) + after)),
			"hex":         hex.EncodeToString([]byte(whole)),
			"numbers":     fmt.Sprint([]byte(whole)),
			"dump":        fmt.Sprintf("%#v", []byte(whole)),
		}
		written["query"], written["path"] = url.QueryEscape(whole), url.PathEscape(whole)
		written["quoted"] = strconv.QuoteToASCII(whole)
		if utf8.ValidString(whole) { // JSON replaces the rest
			written["JSON"] = string(quoted)
		}
		for how, output := range written {
			got := Leaks(output, secret)
			if len(got) == 0 {
				t.Errorf("not found in %s: %q", how, output)
			}
			for _, line := range got {
				if len(secret) > 30 && strings.Contains(line, secret) {
					t.Errorf("the report repeats the secret: %q", line)
				}
			}
		}
	})
}
