package challenge

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// vectors is testdata/www-authenticate.json.
type vectors struct {
	About      string `json:"about"`
	WellFormed []struct {
		vector
		Expect []expected `json:"expect"`
	} `json:"well_formed"`
	Malformed []struct {
		vector
		Why     string     `json:"why"`
		Lenient []expected `json:"lenient_clients_read"`
	} `json:"malformed"`
	Linear []struct {
		Name     string `json:"name"`
		Prefix   string `json:"prefix"`
		Repeat   []any  `json:"repeat"`
		Numbered []any  `json:"repeat_numbered"`
	} `json:"must_be_linear"`
	Info []struct {
		Header string      `json:"header"`
		Value  string      `json:"value"`
		Params [][2]string `json:"params"`
		Source string      `json:"source"`
	} `json:"authentication_info"`
}

type vector struct {
	Name   string   `json:"name"`
	Source string   `json:"source"`
	Values []string `json:"values"`
	Note   string   `json:"note"`
}

type expected struct {
	Scheme  string      `json:"scheme"`
	Token68 *string     `json:"token68"`
	Params  [][2]string `json:"params"`
}

func readVectors(t testing.TB) vectors {
	t.Helper()
	text, err := os.ReadFile("testdata/www-authenticate.json")
	if err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	var v vectors
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

// plainly writes challenges so that they can be compared and read.
func plainly(cs []Challenge) []string {
	out := []string{}
	for _, c := range cs {
		out = append(out, fmt.Sprintf("%s [%s] %q", c.Scheme, c.Token68, c.Params))
	}
	return out
}

func (e expected) challenge() Challenge {
	c := Challenge{Scheme: e.Scheme, Params: params(e.Params)}
	if e.Token68 != nil {
		c.Token68 = *e.Token68
	}
	return c
}

func params(pairs [][2]string) Params {
	var out Params
	for _, p := range pairs {
		out = append(out, Param{p[0], p[1]})
	}
	return out
}

func TestVectors_WellFormed(t *testing.T) {
	v := readVectors(t).WellFormed
	for _, tt := range v {
		got, err := Parse(tt.Values)
		var want []Challenge
		for _, e := range tt.Expect {
			want = append(want, e.challenge())
		}
		if err != nil || !slices.Equal(plainly(got), plainly(want)) {
			t.Errorf("%s: Parse = %v, %v\nwant %v", tt.Name, plainly(got), err, plainly(want))
		}
	}
	t.Logf("vectors well_formed: %d cases", len(v))
}

// What is made of the malformed cases: the fault, and what stood before it.
var malformed = map[string]struct {
	err  error
	kept []string // the schemes
}{
	"quote-not-closed":       {errQuote, nil},
	"escape-at-the-end":      {errQuote, nil},
	"text-after-quotes":      {errEnd, nil},
	"nginx-unescaped-quotes": {errEnd, nil},
	"param-without-scheme":   {errScheme, nil},
	"param-after-token68":    {errScheme, []string{"X"}},
	"twice-in-other-case":    {errTwice, nil},
	"value-with-equals":      {errEnd, nil},
	"tab-after-scheme":       {errSpace, nil},
	"nul":                    {errControl, nil},
	"line-feed":              {errControl, nil},
	"no-name":                {errName, nil},
	"two-challenge-one-bad":  {errQuote, []string{"Basic"}},
	"semicolon":              {errEnd, nil},
}

func TestVectors_Malformed(t *testing.T) {
	v := readVectors(t).Malformed
	for _, tt := range v {
		want, known := malformed[tt.Name]
		if !known {
			t.Errorf("%s: what is to be made of it? %s", tt.Name, tt.Why)
			continue
		}
		got, err := Parse(tt.Values)
		var schemes []string
		for _, c := range got {
			schemes = append(schemes, c.Scheme)
		}
		if !errors.Is(err, want.err) || !slices.Equal(schemes, want.kept) {
			t.Errorf("%s: Parse keeps %v with %v, want %v with %v", tt.Name, schemes, err, want.kept, want.err)
		}
		// A fault in one line costs nothing in the others.
		around := slices.Concat([]string{"First"}, tt.Values, []string{"Last"})
		got, err = Parse(around)
		if !errors.Is(err, want.err) || len(got) != len(want.kept)+2 || got[0].Scheme != "First" || got[len(got)-1].Scheme != "Last" {
			t.Errorf("%s between two others: Parse = %v, %v", tt.Name, plainly(got), err)
		}
	}
	if len(v) != len(malformed) {
		t.Errorf("%d outcomes for %d cases", len(malformed), len(v))
	}
	t.Logf("vectors malformed: %d cases", len(v))
}

// unfold writes a case of must_be_linear, n times as long as it stands there.
func unfold(prefix string, repeat, numbered []any, n float64) string {
	var b strings.Builder
	b.WriteString(prefix)
	if repeat != nil {
		b.WriteString(strings.Repeat(repeat[0].(string), int(n*repeat[1].(float64))))
	} else {
		for i := range int(n * numbered[1].(float64)) {
			fmt.Fprintf(&b, numbered[0].(string), i)
		}
	}
	return b.String()
}

// checkWork fails when a line was looked at more often than three times, or took more memory than a few times its length.
func checkWork(t *testing.T, name, line string) {
	t.Helper()
	s := scanner{text: line}
	kept := 0
	for kept <= maxChallenges {
		_, ok, err := s.challenge()
		if err != nil || !ok {
			break
		}
		kept++
	}
	if most := 3*len(line) + 100*maxParams; s.looked > most {
		t.Errorf("%s: %d bytes were looked at %d times, want at most %d", name, len(line), s.looked, most)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, _ = Parse([]string{line})
	_, _ = ParseInfo([]string{line})
	runtime.ReadMemStats(&after)
	if got, most := after.TotalAlloc-before.TotalAlloc, uint64(16*len(line)+64<<10); got > most {
		t.Errorf("%s: %d bytes took %d bytes of memory, want at most %d", name, len(line), got, most)
	}
}

func TestVectors_MustBeLinear(t *testing.T) {
	v := readVectors(t).Linear
	for _, tt := range v {
		for _, n := range []float64{1, 5} {
			checkWork(t, tt.Name, unfold(tt.Prefix, tt.Repeat, tt.Numbered, n))
		}
	}
	t.Logf("vectors must_be_linear: %d cases", len(v))
}

// TestLinear is about a megabyte of each thing that the grammar can have many of.
func TestLinear(t *testing.T) {
	for name, line := range map[string]string{
		"token68":                            "X " + strings.Repeat("a", 1<<20),
		"token68, not ended":                 "X " + strings.Repeat("a", 1<<20) + ";",
		"scheme":                             strings.Repeat("a", 1<<20),
		"equals":                             "X a" + strings.Repeat("=", 1<<20),
		"spaces":                             "X" + strings.Repeat(" ", 1<<20) + "a=1",
		"spaces in between":                  "X a" + strings.Repeat(" ", 1<<20) + "=1",
		"quoted":                             `X a="` + strings.Repeat("b ", 1<<19) + `"`,
		"quotes":                             `X a=` + strings.Repeat(`"`, 1<<20),
		"schemes that are almost parameters": strings.Repeat("a , ", 1<<18),
		"long parameters":                    "X " + strings.Repeat(strings.Repeat("a", 1<<14)+"=1,", 64),
	} {
		checkWork(t, name, line)
	}
}

func TestVectors_AuthenticationInfo(t *testing.T) {
	v := readVectors(t).Info
	for _, tt := range v {
		got, err := ParseInfo([]string{tt.Value})
		if want := params(tt.Params); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: ParseInfo = %q, %v, want %q", tt.Value, got, err, want)
		}
	}
	t.Logf("vectors authentication_info: %d cases", len(v))
}

func TestParseInfo(t *testing.T) {
	for _, tt := range []struct {
		lines []string
		want  Params
		err   error
	}{
		{nil, nil, nil},
		{[]string{"", " , "}, nil, nil},
		{[]string{"a=1", `B = "2"`}, Params{{"a", "1"}, {"b", "2"}}, nil},
		{[]string{"a=1, A=2"}, nil, errTwice},
		{[]string{"a=1", "a=1"}, nil, errTwice},
		{[]string{"a=1 b=2"}, nil, errEnd},
		{[]string{"a"}, nil, errEquals},
		{[]string{"a="}, nil, errValue},
		{[]string{"a=,b=1"}, nil, errValue},
		{[]string{"Digest a=1"}, nil, errEquals},
		{[]string{`a="1`}, nil, errQuote},
	} {
		got, err := ParseInfo(tt.lines)
		if !errors.Is(err, tt.err) || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("ParseInfo(%q) = %q, %v, want %q, %v", tt.lines, got, err, tt.want, tt.err)
		}
	}
}

func TestParse_Edges(t *testing.T) {
	for _, tt := range []struct {
		line string
		want string
		err  error
	}{
		{"X a = \"1\"\t,\tb\t=\t2", `[X [] [{"a" "1"} {"b" "2"}]]`, nil},
		{"X a==, Y", `[X [a==] [] Y [] []]`, nil},
		{"X a= \"1\"", `[X [] [{"a" "1"}]]`, nil},
		{"X a=1 Y", `[]`, errEnd},
		{"X,, ,Y a=1,,b=2,", `[X [] [] Y [] [{"a" "1"} {"b" "2"}]]`, nil},
		{"X a=1, Y b=2", `[X [] [{"a" "1"}] Y [] [{"b" "2"}]]`, nil},
		{"X a=1, Y zz==", `[X [] [{"a" "1"}] Y [zz==] []]`, nil},
		{"X a=1,Y", `[X [] [{"a" "1"}] Y [] []]`, nil},
		{"X a=1, =2", `[]`, errName},
		{"X =", `[]`, errName},
		{`X a="\` + "\x01" + `"`, `[]`, errControl},
		{`X a="` + "\x7f" + `"`, `[]`, errControl},
		{`X a="b` + "\t" + `c"`, `[X [] [{"a" "b\tc"}]]`, nil},
		{"X\u00e9 a=1", `[]`, errSpace},
		{"X/Y", `[]`, errSpace},
		{"\u00e9", `[]`, errScheme},
	} {
		got, err := Parse([]string{tt.line})
		if text := fmt.Sprint(plainly(got)); text != tt.want || !errors.Is(err, tt.err) {
			t.Errorf("Parse(%q) = %s, %v, want %s, %v", tt.line, text, err, tt.want, tt.err)
		}
	}
}

func TestParse_Bounds(t *testing.T) {
	list := func(item string, n int) string { return strings.TrimSuffix(strings.Repeat(item+", ", n), ", ") }
	if got, err := Parse([]string{list("X", maxChallenges)}); len(got) != maxChallenges || err != nil {
		t.Errorf("%d challenges, %v, want %d", len(got), err, maxChallenges)
	}
	// The last error counts: the first fault does not end the bound.
	if got, err := Parse([]string{"=", list("X", 40), list("Y", 40), "Z"}); len(got) != maxChallenges || !errors.Is(err, errMany) {
		t.Errorf("%d challenges, %v, want %d and %v", len(got), err, maxChallenges, errMany)
	}
	var b strings.Builder
	for i := range maxParams {
		fmt.Fprintf(&b, "p%d=1,", i)
	}
	if got, err := Parse([]string{"X " + b.String()}); err != nil || len(got) != 1 || len(got[0].Params) != maxParams {
		t.Errorf("a challenge of %d parameters: %v", maxParams, err)
	}
	if got, err := Parse([]string{"W, X " + b.String() + "q=1, Y"}); !errors.Is(err, errManyParam) || len(got) != 1 {
		t.Errorf("a challenge of %d parameters: %v, %v", maxParams+1, plainly(got), err)
	}
}

func TestChallenge_Is(t *testing.T) {
	c := Challenge{Scheme: "dIgEsT"}
	if !c.Is("Digest") || c.Is("Basic") {
		t.Error("Is compares schemes wrongly")
	}
	if v, ok := (Params{{"a", ""}}).Get("a"); v != "" || !ok {
		t.Error("an empty value is not there")
	}
	if _, ok := (Params{{"a", ""}}).Get("b"); ok {
		t.Error("what is not there is there")
	}
}

// quote writes a value as a quoted-string.
func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// write writes challenges as a field line.
func write(cs []Challenge) string {
	var items []string
	for _, c := range cs {
		item := c.Scheme
		if c.Token68 != "" {
			item += " " + c.Token68
		}
		for i, p := range c.Params {
			if i > 0 {
				item += ","
			}
			item += " " + p.Name + "=" + quote(p.Value)
		}
		items = append(items, item)
	}
	return strings.Join(items, ", ")
}

func FuzzParse(f *testing.F) {
	v := readVectors(f)
	for _, tt := range v.WellFormed {
		f.Add(strings.Join(tt.Values, "\n"))
	}
	for _, tt := range v.Malformed {
		f.Add(strings.Join(tt.Values, "\n"))
	}
	f.Fuzz(func(t *testing.T, text string) {
		lines := strings.Split(text, "\n")
		got, err := Parse(lines)
		for _, c := range got {
			if !isTokenText(c.Scheme) || c.Token68 != "" && c.Params != nil || len(c.Params) > maxParams {
				t.Fatalf("Parse(%q) has %+v", lines, c)
			}
			for i, p := range c.Params {
				if !isTokenText(p.Name) || p.Name != strings.ToLower(p.Name) || strings.ContainsFunc(p.Value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
					t.Fatalf("Parse(%q) has the parameter %q", lines, p)
				}
				if _, twice := c.Params[:i].Get(p.Name); twice {
					t.Fatalf("Parse(%q) has %q twice", lines, p.Name)
				}
			}
		}
		if len(got) > maxChallenges {
			t.Fatalf("%d challenges", len(got))
		}
		// What was understood means the same when it is written anew, and in one line as in many.
		again, err2 := Parse([]string{write(got)})
		if err2 != nil || !slices.Equal(plainly(again), plainly(got)) {
			t.Fatalf("Parse(%q) = %v, %v; written anew: %v, %v", lines, plainly(got), err, plainly(again), err2)
		}
		s := scanner{text: text}
		for range maxChallenges + 1 {
			if _, ok, err := s.challenge(); err != nil || !ok {
				break
			}
		}
		if s.looked > 3*len(text)+100*maxParams {
			t.Fatalf("%d bytes took %d looks", len(text), s.looked)
		}
	})
}

func isTokenText(s string) bool {
	for i := range len(s) {
		if !isToken(s[i]) {
			return false
		}
	}
	return s != ""
}

func FuzzParseInfo(f *testing.F) {
	for _, tt := range readVectors(f).Info {
		f.Add(tt.Value)
	}
	f.Add(`a=1, a=2`)
	f.Add("\ta=1")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := ParseInfo([]string{text})
		if err != nil && got != nil || len(got) > maxParams {
			t.Fatalf("ParseInfo(%q) = %q, %v", text, got, err)
		}
		// The same list behind a scheme is a challenge with the same parameters, if it begins with one.
		text = strings.TrimLeft(text, " \t")
		cs, err2 := Parse([]string{"X " + text})
		if err == nil && len(got) > 0 && (err2 != nil || len(cs) != 1 || !slices.Equal(cs[0].Params, got)) && !strings.HasPrefix(text, ",") {
			t.Fatalf("ParseInfo(%q) = %q, and as a challenge %v, %v", text, got, plainly(cs), err2)
		}
	})
}

func BenchmarkParse(b *testing.B) {
	for name, line := range map[string]string{
		"digest":   `Digest realm="peer, with comma", nonce="DH+pONFgBgA=13b0dbfc224b335411d68336566f4fcc19aa47cf", algorithm=MD5, domain="/digest/ /digest2/", qop="auth"`,
		"100k":     `X a="` + strings.Repeat(`\"`, 50_000) + `"`,
		"1M":       `X a="` + strings.Repeat(`\"`, 500_000) + `"`,
		"1Mcommas": strings.Repeat(",", 1_000_000),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(line)))
			for range b.N {
				if _, err := Parse([]string{line}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
