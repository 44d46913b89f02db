package renew

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-f29168f7/renew/budget"
	"github.com/seed-f29168f7/renew/clock"
)

// picky is a Source with a Validate.
type picky struct {
	actor
	validate func() error
	describe func() Traits
}

func (p *picky) Validate() error { return p.validate() }

func (p *picky) Describe() Traits {
	if p.describe == nil {
		return Traits{}
	}
	return p.describe()
}

// wrapper is a Source around another one.
type wrapper struct{ inner Source }

func (w wrapper) Issue(ctx context.Context) (*Token, error) { return w.inner.Issue(ctx) }
func (w wrapper) Unwrap() Source                            { return w.inner }

// fieldOf returns the field that a ConfigError in err names.
func fieldOf(err error) string {
	ce, _ := errors.AsType[*ConfigError](err)
	if ce == nil {
		return ""
	}
	return ce.Field
}

func TestConfig_BadSource(t *testing.T) {
	// A Source that cannot work is a typed error of New and Add, and never a panic, then or later.
	wrong := &ConfigError{Field: "picky.URL", Reason: "is empty"}
	valid := func() error { return nil }
	var nilFunc SourceFunc
	var nilActor *actor
	for name, c := range map[string]struct {
		src  Source
		want string // the field of the ConfigError; else the type of the error
	}{
		"nil":                {nil, "Source"},
		"nil pointer":        {nilActor, "Source"},
		"nil func":           {nilFunc, "Source"},
		"Validate fails":     {&picky{validate: func() error { return wrong }}, "picky.URL"},
		"wrapped":            {wrapper{&picky{validate: func() error { return wrong }}}, "picky.URL"},
		"Validate panics":    {&picky{validate: func() error { panic("no") }}, "*renew.PanicError"},
		"Describe panics":    {&picky{validate: valid, describe: func() Traits { panic("no") }}, "*renew.PanicError"},
		"negative timeout":   {&actor{traits: Traits{Timeout: -1}}, "Traits.Timeout"},
		"timeout of forever": {&actor{traits: Traits{Timeout: math.MaxInt64}}, "Traits.Timeout"},
	} {
		t.Run(name, func(t *testing.T) {
			m := manage(t, Config{})
			for _, make := range []func() (*TokenSource, error){
				func() (*TokenSource, error) { return New(c.src, Config{}) },
				func() (*TokenSource, error) { return m.Add("x", c.src, Config{}) },
			} {
				ts, err := make()
				require.Error(t, err)
				assert.Nil(t, ts)
				if got := fieldOf(err); got != "" {
					assert.Equal(t, c.want, got)
				} else {
					assert.Equal(t, c.want, fmt.Sprintf("%T", err))
				}
				assert.NotContains(t, err.Error(), "no\n")
			}
			assert.Empty(t, m.Status())
		})
	}
}

func TestConfig_WrappedNil(t *testing.T) {
	// A chain of wrappers that ends in nil is an error for who asks, and no panic.
	synctest.Test(t, func(t *testing.T) {
		ts, err := New(wrapper{nil}, Config{})
		if err != nil {
			return
		}
		t.Cleanup(func() { _ = ts.Close(context.Background()) })
		_, err = ts.Token(t.Context())
		require.Error(t, err)
		pe, ok := errors.AsType[*PanicError](err)
		assert.True(t, ok && pe.Type != "", "%v", err)
	})
}

func TestConfig_Fields(t *testing.T) {
	// Negative is off where the field says so and an error elsewhere; what would overflow is an error; the error names the field.
	const huge = time.Duration(math.MaxInt64)
	for _, c := range []struct {
		name string
		cfg  Config
		want string // empty: fine
	}{
		{"zero", Config{}, ""},
		{"Leeway off", Config{Leeway: -1}, ""},
		{"ReissueEvery off", Config{ReissueEvery: -1}, ""},
		{"IdleAfter off", Config{IdleAfter: -1}, ""},
		{"WatchEvery off", Config{WatchEvery: -1}, ""},
		{"Rate off", Config{Rate: budget.Rate{PerSecond: -1}}, ""},
		{"FlightTimeout", Config{FlightTimeout: -1}, "Config.FlightTimeout"},
		{"smallest", Config{Leeway: math.MinInt64, ReissueEvery: math.MinInt64, IdleAfter: math.MinInt64, WatchEvery: math.MinInt64}, ""},
		{"huge Leeway", Config{Leeway: huge}, "Config.Leeway"},
		{"huge ReissueEvery", Config{ReissueEvery: huge}, "Config.ReissueEvery"},
		{"huge IdleAfter", Config{IdleAfter: huge}, "Config.IdleAfter"},
		{"huge FlightTimeout", Config{FlightTimeout: huge}, "Config.FlightTimeout"},
		{"huge WatchEvery", Config{WatchEvery: huge}, "Config.WatchEvery"},
		{"Budget units", Config{Budget: &budget.Budget{Units: -1}}, "Config.Budget"},
		{"Budget window", Config{Budget: &budget.Budget{Window: -1}}, "Config.Budget"},
		{"Rate", Config{Rate: budget.Rate{PerSecond: math.NaN()}}, "Config.Rate"},
		{"Burst", Config{Rate: budget.Rate{Burst: -1}}, "Config.Rate"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ts, err := New(&actor{}, c.cfg)
				_, merr := NewManager(c.cfg)
				assert.Equal(t, c.want, fieldOf(err))
				assert.Equal(t, c.want, fieldOf(merr))
				assert.Equal(t, c.want, fieldOf(c.cfg.Validate()))
				if c.want != "" {
					assert.Contains(t, err.Error(), c.want)
					assert.Nil(t, ts)
					return
				}
				t.Cleanup(func() { _ = ts.Close(context.Background()) })
				must(t, ts)
				time.Sleep(3 * time.Hour)
				must(t, ts)
				checkTokenSource(t, ts)
			})
		})
	}
}

func TestConfig_Names(t *testing.T) {
	// A name is not empty and not taken; what belongs to the Manager as a whole is refused in Add.
	m := manage(t, Config{})
	adopt(t, m, "a", &actor{}, Config{})
	for want, add := range map[string]func() (*TokenSource, error){
		"name":              func() (*TokenSource, error) { return m.Add("", &actor{}, Config{}) },
		"name ":             func() (*TokenSource, error) { return m.Add("a", &actor{}, Config{}) },
		"Config.Rate":       func() (*TokenSource, error) { return m.Add("b", &actor{}, Config{Rate: budget.Rate{Burst: 1}}) },
		"Config.WatchEvery": func() (*TokenSource, error) { return m.Add("b", &actor{}, Config{WatchEvery: 1}) },
		"Config.Clock":      func() (*TokenSource, error) { return m.Add("b", &actor{}, Config{Clock: clock.Real{}}) },
		"Config.Rand":       func() (*TokenSource, error) { return m.Add("b", &actor{}, Config{Rand: func() float64 { return 0 }}) },
		"Config.Logger":     func() (*TokenSource, error) { return m.Add("b", &actor{}, Config{Logger: quiet}) },
		"Config.Hooks": func() (*TokenSource, error) {
			return m.Add("b", &actor{}, Config{Hooks: Hooks{Changed: func(Change) {}}})
		},
		"Config.Leeway": func() (*TokenSource, error) { return m.Add("b", &actor{}, Config{Leeway: math.MaxInt64}) },
	} {
		ts, err := add()
		assert.Equal(t, strings.TrimSpace(want), fieldOf(err), want)
		assert.Nil(t, ts)
	}
	assert.Len(t, m.Status(), 1)
	checkHub(t, m.hub)
}

func TestConfig_BadTokens(t *testing.T) {
	// What cannot be sent, or has no life left, is an error with a reason, and is never published; nothing lives for ever by overflow.
	const never = time.Duration(math.MaxInt64)
	now := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) // the start of a bubble
	value := NewSecret("v")
	for name, c := range map[string]struct {
		tok  *Token
		want string // within the error; empty: published
	}{
		"nil":                  {nil, "neither a token nor an error"},
		"zero":                 {&Token{}, "empty"},
		"line break":           {&Token{Value: NewSecret("a\r\nX-Evil: 1")}, "cannot be sent"},
		"NUL":                  {&Token{Value: NewSecret("a\x00")}, "cannot be sent"},
		"not ASCII":            {&Token{Value: NewSecret("ä")}, "cannot be sent"},
		"space at the end":     {&Token{Value: NewSecret("a ")}, "cannot be sent"},
		"only spaces":          {&Token{Value: NewSecret("  ")}, "cannot be sent"},
		"DEL":                  {&Token{Value: NewSecret("a\x7f")}, "cannot be sent"},
		"type with a break":    {&Token{Value: value, Type: "Bearer\r\nX: 1"}, "auth-scheme"},
		"type with a space":    {&Token{Value: value, Type: "Bear er"}, "auth-scheme"},
		"negative life":        {&Token{Value: value, Life: -1}, "negative life"},
		"most negative life":   {&Token{Value: value, Life: math.MinInt64}, "negative life"},
		"huge life":            {&Token{Value: value, Life: never}, ""},
		"expiry in the past":   {&Token{Value: value, Expiry: now.Add(-time.Second)}, "expired"},
		"expiry of 1970":       {&Token{Value: value, Expiry: time.Unix(0, 0)}, "expired"},
		"expiry of year 1":     {&Token{Value: value, Expiry: time.Time{}.Add(1)}, "expired"},
		"expiry now":           {&Token{Value: value, Expiry: now}, "expired"},
		"expiry in year 9999":  {&Token{Value: value, Expiry: time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)}, ""},
		"expiry far away":      {&Token{Value: value, Expiry: time.Unix(math.MaxInt64/2, 0)}, ""},
		"hint in the past":     {&Token{Value: value, Life: time.Hour, ReissueAt: time.Unix(0, 0)}, ""},
		"hint far away":        {&Token{Value: value, Life: time.Hour, ReissueAt: time.Unix(math.MaxInt64/2, 0)}, ""},
		"a nanosecond":         {&Token{Value: value, Life: 1}, ""},
		"no life":              {&Token{Value: value}, ""},
		"expired by our clock": {&Token{Value: value, Life: time.Hour, Expiry: now.Add(-time.Hour)}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ts := start(t, SourceFunc(func(context.Context) (*Token, error) { return c.tok, nil }), Config{WatchEvery: -1})
				tok, err := ts.Token(t.Context())
				if c.want != "" {
					require.Error(t, err)
					assert.Contains(t, err.Error(), c.want)
					assert.NotContains(t, err.Error(), "Evil")
					_, ok := errors.AsType[*IssueError](err)
					assert.True(t, ok, "%T", err)
					assert.Zero(t, ts.Status().Generation)
					return
				}
				require.NoError(t, err)
				unknown := c.tok.Life == 0 && c.tok.Expiry.IsZero()
				assert.Equal(t, unknown, ts.Status().Deadline.IsZero(), "only a token without a life has no deadline")
				assert.LessOrEqual(t, tok.Life, maxLife)
				if !unknown {
					assert.NotEqual(t, ActionNone, ts.Status().Next, "it is to be reissued")
				}
				checkTokenSource(t, ts)
			})
		})
	}
}

func TestConfig_OddRand(t *testing.T) {
	// A Rand that leaves [0, 1) bends no schedule out of its bounds, and one that panics is no storm.
	for _, odd := range []float64{-1e9, 1, 1e9, math.Inf(1), math.Inf(-1), math.NaN()} {
		synctest.Test(t, func(t *testing.T) {
			src := &actor{}
			ts := start(t, src, Config{WatchEvery: -1, Rand: func() float64 { return odd }})
			must(t, ts)
			time.Sleep(24 * time.Hour)
			assert.GreaterOrEqual(t, src.calls(), 24, "%v", odd)
			assert.LessOrEqual(t, src.calls(), 49, "%v", odd)
			checkTokenSource(t, ts)
		})
	}
}

func TestConfig_ZeroValues(t *testing.T) {
	// Zero values that nobody made answer, and do not panic, where they have an error to answer with.
	var kind Kind = 99
	assert.NotEmpty(t, kind.String())
	assert.NotEmpty(t, State(99).String())
	for _, err := range []error{&IssueError{}, &BudgetError{}, &ConfigError{}, &PanicError{}, &CloseError{}, &NotReadyError{}, &OriginError{}, &PerOriginError{Err: ErrClosed}} {
		assert.True(t, strings.HasPrefix(err.Error(), "renew: "), "%T: %v", err, err)
	}
	tok := &Token{}
	assert.Equal(t, "Bearer ", tok.HeaderValue())
	assert.Empty(t, tok.Attr("x"))
}
