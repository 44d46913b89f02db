package input_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"testing"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/sources/internal/input"
	"github.com/seed-f29168f7/renew/sources/internal/leaktest"
)

const secret = `s3cr+t:%&=?"\ value`

func TestCheckWantsExactlyOne(t *testing.T) {
	fn := func(context.Context) (renew.Secret, error) { return renew.NewSecret("x"), nil }
	for _, tt := range []struct {
		name  string
		fixed renew.Secret
		fn    input.Func
		ok    bool
	}{
		{"neither", renew.Secret{}, nil, false},
		{"fixed", renew.NewSecret(secret), nil, true},
		{"func", renew.Secret{}, fn, true},
		{"both", renew.NewSecret(secret), fn, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := input.Check("T.Key", tt.fixed, tt.fn)
			if (err == nil) != tt.ok {
				t.Fatalf("Check = %v, want ok %v", err, tt.ok)
			}
			if ce, ok := errors.AsType[*renew.ConfigError](err); err != nil && (!ok || ce.Field != "T.Key") {
				t.Errorf("Check = %#v, want a ConfigError of T.Key", err)
			}
			leaktest.Check(t, err, secret)
		})
	}
}

func TestSecret(t *testing.T) {
	ret := func(text string, err error) input.Func {
		return func(context.Context) (renew.Secret, error) { return renew.NewSecret(text), err }
	}
	for _, tt := range []struct {
		name  string
		fixed renew.Secret
		fn    input.Func
		want  string
		wraps error
		fails bool
	}{
		{name: "fixed", fixed: renew.NewSecret(secret), want: secret},
		{name: "func", fn: ret(secret, nil), want: secret},
		{name: "func fails", fn: ret("", fs.ErrNotExist), wraps: fs.ErrNotExist, fails: true},
		{name: "func fails with a secret", fn: ret(secret, fs.ErrNotExist), wraps: fs.ErrNotExist, fails: true},
		{name: "func fails and shows the secret", fn: ret(secret, errors.New("cannot parse "+secret)), fails: true},
		{name: "func returns nothing", fn: ret("", nil), fails: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := input.Secret(t.Context(), "test", "T.Key", tt.fixed, tt.fn)
			if got.Reveal() != tt.want {
				t.Errorf("secret differs from the one given")
			}
			if (err != nil) != tt.fails || tt.wraps != nil && !errors.Is(err, tt.wraps) {
				t.Errorf("err = %v, want failure %v wrapping %v", err, tt.fails, tt.wraps)
			}
			if ie, ok := errors.AsType[*renew.IssueError](err); tt.fails && (!ok || ie.Kind != renew.Transient || !ie.Unsent || ie.Permanent) {
				t.Errorf("err = %#v, want a transient, unsent IssueError", err)
			}
			leaktest.Check(t, err, secret)
		})
	}
}

func TestSecretSaysWhyTheContextEnded(t *testing.T) {
	cause := errors.New("closed")
	ctx, cancel := context.WithCancelCause(t.Context())
	_, err := input.Secret(ctx, "test", "T.Key", renew.Secret{}, func(ctx context.Context) (renew.Secret, error) {
		cancel(cause)
		return renew.Secret{}, ctx.Err()
	})
	if !errors.Is(err, cause) {
		t.Errorf("err = %v, want one that wraps the cause", err)
	}
}

func Example() {
	missing := func(context.Context) (renew.Secret, error) { return renew.Secret{}, fs.ErrNotExist }
	_, err := input.Secret(context.Background(), "vault", "Login.Password", renew.Secret{}, missing)
	fmt.Println(err)
	// Output: renew: vault: PasswordFunc: file does not exist
}
