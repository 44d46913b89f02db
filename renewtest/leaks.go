package renewtest

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"html"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Leaks looks for secrets in output, which may be a log, an error's text or a dump,
// and returns what it found, in words that do not repeat the secret: "secret 1 of
// 2, in base64". Nil means that it found none.
//
// It finds a secret as it is, percent-encoded, and escaped as in JSON, Go strings and
// HTML; in hex, and as the numbers of its bytes (what fmt makes of a []byte); in base64 with either
// alphabet and at each of the three alignments, so also within longer text such as
// Basic credentials; and in hex and base64 after it was percent-encoded. Empty
// secrets are ignored. Secrets of a few bytes will be found by chance.
func Leaks(output string, secrets ...string) []string {
	texts := []view{{"as it is", output}}
	for _, escape := range []struct {
		how  string
		undo func(string) string
	}{
		{"percent-encoded", unpercent},
		{"percent-encoded", func(s string) string { return unpercent(strings.ReplaceAll(s, "+", " ")) }},
		{"with escapes", unbackslash},
		{"with HTML escapes", html.UnescapeString},
	} {
		for s, n := output, 0; n < maxNested; n++ {
			undone := escape.undo(s)
			if undone == s {
				break
			}
			s = undone
			texts = append(texts, view{escape.how, s})
		}
	}
	hexText, numbers := hexOnly(output), numbersOnly(output)

	var found []string
	for i, secret := range secrets {
		if secret == "" {
			continue
		}
		report := func(how string) {
			line := fmt.Sprintf("secret %d of %d, %s", i+1, len(secrets), how)
			if !slices.Contains(found, line) {
				found = append(found, line)
			}
		}
		if v := slices.IndexFunc(texts, func(v view) bool { return strings.Contains(v.text, secret) }); v >= 0 {
			report(texts[v].how)
		}
		if strings.Contains(numbers, numbersOnly(fmt.Sprint([]byte(secret)))) {
			report("as the numbers of its bytes")
		}
		for _, s := range []string{secret, url.QueryEscape(secret), url.PathEscape(secret)} {
			if strings.Contains(hexText, hex.EncodeToString([]byte(s))) {
				report("in hex")
			}
			for _, core := range base64Cores(s) {
				if slices.ContainsFunc(texts, func(v view) bool { return strings.Contains(v.text, core) }) {
					report("in base64")
				}
			}
		}
	}
	return found
}

// view is the output after one kind of escape was undone: easier than to spell a
// secret in every way that the escape allows.
type view struct{ how, text string }

// maxNested is how often one kind of escape is looked through: JSON within JSON within JSON.
const maxNested = 3

// base64Cores returns what must stand in the base64 of any text that contains s:
// for each of its three alignments, and both alphabets, the characters that depend on s alone.
func base64Cores(s string) []string {
	var cores []string
	for offset := range 3 {
		padded := append(make([]byte, offset), s...)
		first := (offset*8 + 5) / 6 // characters that depend on what comes before
		end := len(padded) * 8 / 6  // and the rest on what comes after
		if end-first < 4 {
			continue // too short to mean anything
		}
		for _, enc := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			cores = append(cores, enc.EncodeToString(padded)[first:end])
		}
	}
	return cores
}

// hexOnly returns s in lower case and without what stands between bytes in hex:
// "0x73, 0x65" and "73:65" become "7365".
func hexOnly(s string) string {
	return strings.NewReplacer("0x", "", `\x`, "", " ", "", ",", "", ":", "", "-", "", "\n", "").Replace(strings.ToLower(s))
}

// numbersOnly returns the words of s with one space around each, and with the hex numbers of Go
// syntax, which have no leading zeros, in decimal: "{0x73, 0x9}" becomes " 115 9 ".
func numbersOnly(s string) string {
	words := strings.FieldsFunc(s, func(r rune) bool { return r < utf8.RuneSelf && !isAlnum(byte(r)) })
	for i, word := range words {
		if digits, ok := strings.CutPrefix(word, "0x"); ok && len(digits) <= 2 {
			if n, err := strconv.ParseUint(digits, 16, 8); err == nil {
				words[i] = strconv.FormatUint(n, 10)
			}
		}
	}
	return " " + strings.Join(words, " ") + " "
}

// unpercent undoes percent-encoding, and leaves alone what is none.
func unpercent(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+3 <= len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+3], 16, 8); err == nil {
				b.WriteByte(byte(n))
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// unbackslash undoes the escapes of JSON and of Go strings, and leaves alone what is none.
func unbackslash(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		if s[0] != '\\' || len(s) == 1 {
			b.WriteByte(s[0])
			s = s[1:]
			continue
		}
		switch c := s[1]; c {
		case '/', '\'', '"', '\\':
			b.WriteByte(c)
			s = s[2:]
			continue
		}
		r, multibyte, rest, err := strconv.UnquoteChar(s, 0)
		if err != nil && strings.HasPrefix(s, `\u`) { // a half of a surrogate pair, which Go strings do not have
			r, rest, err = unsurrogate(s)
			multibyte = true
		}
		switch {
		case err != nil:
			b.WriteByte(s[0])
			rest = s[1:]
		case multibyte || r < utf8.RuneSelf:
			b.WriteRune(r)
		default:
			b.WriteByte(byte(r))
		}
		s = rest
	}
	return b.String()
}

// unsurrogate reads `\ud83d\ude00`.
func unsurrogate(s string) (r rune, rest string, err error) {
	if len(s) < 12 || s[6:8] != `\u` {
		return 0, s, strconv.ErrSyntax
	}
	hi, err1 := strconv.ParseUint(s[2:6], 16, 16)
	lo, err2 := strconv.ParseUint(s[8:12], 16, 16)
	r = utf16.DecodeRune(rune(hi), rune(lo))
	if err1 != nil || err2 != nil || r == utf8.RuneError {
		return 0, s, strconv.ErrSyntax
	}
	return r, s[12:], nil
}
