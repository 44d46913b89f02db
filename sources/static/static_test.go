package static_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/sources/internal/leaktest"
	"github.com/seed-f29168f7/renew/sources/static"
)

const secret = "personal-access-token-1234"

func TestIssue(t *testing.T) {
	expiry := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	fn := func(context.Context) (renew.Secret, error) { return renew.NewSecret(secret), nil }
	for _, tt := range []struct {
		name string
		src  *static.Source
		want renew.Token
	}{
		{"Token", static.Token(renew.NewSecret(secret)), renew.Token{}},
		{"type", &static.Source{Type: "PRIVATE-TOKEN", Value: renew.NewSecret(secret)}, renew.Token{Type: "PRIVATE-TOKEN"}},
		{"life and expiry", &static.Source{Value: renew.NewSecret(secret), Life: time.Hour, Expiry: expiry}, renew.Token{Life: time.Hour, Expiry: expiry}},
		{"func", &static.Source{ValueFunc: fn, Life: time.Minute}, renew.Token{Life: time.Minute}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.src.Validate(); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				tok, err := tt.src.Issue(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if tok.Value.Reveal() != secret || tok.Type != tt.want.Type || tok.Life != tt.want.Life || !tok.Expiry.Equal(tt.want.Expiry) || !tok.Refresh.IsZero() {
					t.Errorf("token %+v, want %+v", tok, tt.want)
				}
			}
		})
	}
}

func TestValueFuncIsAskedEachTime(t *testing.T) {
	n := 0
	src := &static.Source{ValueFunc: func(context.Context) (renew.Secret, error) {
		n++
		return renew.NewSecret(fmt.Sprint("value-", n)), nil
	}}
	for i := range 3 {
		if tok, err := src.Issue(t.Context()); err != nil || tok.Value.Reveal() != fmt.Sprint("value-", i+1) {
			t.Errorf("Issue %d: %v", i, err)
		}
	}
}

func TestFaultsAreLocal(t *testing.T) {
	ret := func(value string, err error) func(context.Context) (renew.Secret, error) {
		return func(context.Context) (renew.Secret, error) { return renew.NewSecret(value), err }
	}
	for name, fn := range map[string]func(context.Context) (renew.Secret, error){
		"error":      ret("", fs.ErrNotExist),
		"leak":       ret(secret, errors.New("bad value "+secret)),
		"empty":      ret("", nil),
		"line break": ret(secret+"\n", nil),
		"space":      ret("a "+secret, nil),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := (&static.Source{ValueFunc: fn}).Issue(t.Context())
			e, ok := err.(*renew.IssueError)
			if !ok || e.Kind != renew.Transient || e.Permanent || !e.Unsent || e.Source != "static" {
				t.Errorf("err = %#v, want a transient, unsent IssueError", err)
			}
			if name == "error" && !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("err = %v, want it to wrap the function's", err)
			}
			leaktest.Check(t, err, secret)
		})
	}
}

func TestValidate(t *testing.T) {
	fn := func(context.Context) (renew.Secret, error) { return renew.Secret{}, nil }
	value := renew.NewSecret(secret)
	for _, tt := range []struct {
		name  string
		src   *static.Source
		field string
	}{
		{"zero", &static.Source{}, "Source.Value"},
		{"both", &static.Source{Value: value, ValueFunc: fn}, "Source.Value"},
		{"empty Token", static.Token(renew.Secret{}), "Source.Value"},
		{"line break", static.Token(renew.NewSecret(secret + "\n")), "Source.Value"},
		{"not ASCII", static.Token(renew.NewSecret(secret + "é")), "Source.Value"},
		{"type", &static.Source{Type: "Bearer ", Value: value}, "Source.Type"},
		{"negative life", &static.Source{Value: value, Life: -1}, "Source.Life"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.src.Validate()
			if e, ok := err.(*renew.ConfigError); !ok || e.Field != tt.field {
				t.Errorf("Validate = %#v, want a ConfigError of %s", err, tt.field)
			}
			leaktest.Check(t, err, secret)
		})
	}
}

func TestDescribe(t *testing.T) {
	d := (&static.Source{InputVersion: func() uint64 { return 7 }}).Describe()
	if d.Name != "static" || d.Endpoint != "" || d.Account != "" || d.InputVersion() != 7 {
		t.Errorf("Describe = %+v", d)
	}
}

func TestSourcePrintsNoSecret(t *testing.T) {
	leaktest.Check(t, static.Token(renew.NewSecret(secret)), secret)
}

func ExampleToken() {
	src := static.Token(renew.NewSecret("ghp_1234567890"))
	tok, err := src.Issue(context.Background())
	fmt.Println(tok.HeaderValue(), tok.Value, err)
	// Output: Bearer ghp_1234567890 [redacted] <nil>
}

func ExampleSource() {
	file := func(context.Context) (renew.Secret, error) { // reads what a program beside the daemon writes
		return renew.NewSecret(strings.TrimSpace("from-the-file\n")), nil
	}
	src := &static.Source{Type: "FH-AUTH", ValueFunc: file, Life: 15 * time.Minute}
	tok, err := src.Issue(context.Background())
	fmt.Println(tok.Type, tok.Value, tok.Life, err)
	// Output: FH-AUTH [redacted] 15m0s <nil>
}
