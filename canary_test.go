package renew_test

import (
	"bytes"
	"context"
	"encoding/gob"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"os"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/davecgh/go-spew/spew"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/budget"
	"github.com/seed-f29168f7/renew/clock"
	"github.com/seed-f29168f7/renew/renewtest"
)

// Secrets that must not be seen, with characters that escapes change.
const (
	canaryValue    = `value-7Zq"<canary>&+/=%41\end`
	canaryRefresh  = `refresh-9Xw"<canary>&+/=%42\end`
	canaryPassword = `password-5Kj"<canary>&+/=%43\end`
)

// canaries are all of them.
var canaries = []string{canaryValue, canaryRefresh, canaryPassword}

// bird is a Source full of canaries.
type bird struct {
	Password renew.Secret
	hidden   *renew.Secret
	answer   func(n int) (*renew.Token, error)
	revoke   error

	mu sync.Mutex
	n  int
}

func newBird(answer func(n int) (*renew.Token, error)) *bird {
	s := renew.NewSecret(canaryPassword)
	return &bird{Password: s, hidden: &s, answer: answer}
}

func (b *bird) Issue(context.Context) (*renew.Token, error) {
	b.mu.Lock()
	b.n++
	n := b.n
	b.mu.Unlock()
	if b.answer == nil {
		return canaryToken(), nil
	}
	return b.answer(n)
}

func (b *bird) Revoke(context.Context, *renew.Token) error { return b.revoke }

func canaryToken() *renew.Token {
	t := &renew.Token{Value: renew.NewSecret(canaryValue), Life: time.Hour, Refresh: renew.NewSecret(canaryRefresh), Expiry: time.Now().Add(time.Hour)}
	return t.WithAttr("scope", "read")
}

// leaky are errors whose own text has a canary where programs put one by accident.
func leaky() map[string]error {
	query := &url.Error{Op: "Post", URL: "https://user:" + url.QueryEscape(canaryPassword) + "@issuer.example/token?client_secret=" + url.QueryEscape(canaryPassword), Err: io.ErrUnexpectedEOF}
	plain := &url.Error{Op: "Get", URL: "https://issuer.example/?token=" + canaryValue, Err: errors.New("connection refused")}
	return map[string]error{
		"url.Error":                      query,
		"wrapped":                        fmt.Errorf("asking: %w", query),
		"unescaped":                      plain,
		"in an IssueError":               &renew.IssueError{Source: "bird", Kind: renew.Transient, Err: query},
		"wrapped in an IssueError":       &renew.IssueError{Source: "bird", Kind: renew.Refused, Err: fmt.Errorf("asking: %w", plain)},
		"an IssueError, wrapped":         fmt.Errorf("asking %w", &renew.IssueError{Kind: renew.Refused, Permanent: true, Err: query}),
		"a url.Error in a url.Error":     &url.Error{Op: "Get", URL: "https://proxy.example", Err: fmt.Errorf("proxy: %w", query)},
		"the same in an IssueError":      &renew.IssueError{Err: &url.Error{Op: "Get", URL: plain.URL, Err: query}},
		"joined":                         errors.Join(errors.New("first"), query, plain),
		"joined in an IssueError":        &renew.IssueError{Err: errors.Join(plain, query)},
		"two %w":                         fmt.Errorf("%w after %w", errors.New("first"), query),
		"url.Error around an IssueError": &url.Error{Op: "Post", URL: query.URL, Err: &renew.IssueError{Kind: renew.Refused, Code: "invalid_client"}},
	}
}

// tester records what testify prints.
type tester struct{ bytes.Buffer }

func (r *tester) Errorf(format string, args ...any) { fmt.Fprintf(r, format, args...) }

// holder has what it prints in fields that no method of theirs is asked about.
type holder struct {
	hidden any
	ptr    *any
	slice  []any
	byName map[string]any
}

// prints calls f with v in each way that programs print values.
func prints(v any, f func(how, text string)) {
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%p", "%08.3f", "%T"} {
		f(verb, fmt.Sprintf(verb, v))
	}
	f("Sprint", fmt.Sprint(v))
	for how, marshal := range map[string]func(any) ([]byte, error){
		"JSON": json.Marshal, "XML": xml.Marshal,
		"gob": func(v any) ([]byte, error) {
			var b bytes.Buffer
			err := gob.NewEncoder(&b).Encode(v)
			return b.Bytes(), err
		},
		"slog text": func(v any) ([]byte, error) {
			var b bytes.Buffer
			slog.New(slog.NewTextHandler(&b, nil)).Info("x", "v", v)
			return b.Bytes(), nil
		},
		"slog JSON": func(v any) ([]byte, error) {
			var b bytes.Buffer
			slog.New(slog.NewJSONHandler(&b, nil)).Info("x", "v", v)
			return b.Bytes(), nil
		},
		"slog group": func(v any) ([]byte, error) {
			var b bytes.Buffer
			slog.New(slog.NewTextHandler(&b, nil)).WithGroup("g").With("w", v).Info("x", slog.Group("h", "v", v))
			return b.Bytes(), nil
		},
	} {
		out, err := marshal(v) // not everything has each form
		f(how, string(out))
		f(how+"'s error", fmt.Sprint(err))
	}
	for _, methods := range []bool{false, true} {
		c := spew.ConfigState{Indent: " ", DisableMethods: methods, DisablePointerMethods: methods, MaxDepth: 12, SpewKeys: true}
		f("spew.Sdump", c.Sdump(v))
		f("spew %#+v", c.Sprintf("%#+v", v))
	}
	if typ := reflect.TypeOf(v); typ != nil {
		var rec tester
		other := reflect.New(typ).Elem()
		if typ.Kind() == reflect.Pointer {
			other = reflect.New(typ.Elem())
		}
		assert.Equal(&rec, other.Interface(), v)
		assert.EqualValues(&rec, other.Interface(), v)
		assert.Nil(&rec, v)
		assert.Contains(&rec, []any{v}, "other")
		f("testify", rec.String())
	}
}

// output is what was printed, each text once, and how. It is searched as a whole, since a search takes time.
type output map[string]string

func (o output) add(how, text string) { o[text] = how }

// silent fails when a canary shows.
func (o output) silent(t *testing.T, what string) {
	t.Helper()
	var all strings.Builder
	for text := range o {
		all.WriteString(text + "\n")
	}
	if len(renewtest.Leaks(all.String(), canaries...)) == 0 {
		return
	}
	for text, how := range o {
		for _, leak := range renewtest.Leaks(text, canaries...) {
			t.Errorf("R30: %s under %s shows %s", what, how, leak)
		}
	}
}

// print prints v in each form, and what it wraps.
func (o output) print(what string, v any) {
	forms := map[string]any{"": v, " in a struct": holder{v, &v, []any{v}, map[string]any{"k": v}}, " in a struct by pointer": &holder{hidden: v}}
	if val := reflect.ValueOf(v); val.Kind() == reflect.Pointer && !val.IsNil() {
		forms[" by value"] = val.Elem().Interface()
	} else if val.IsValid() {
		ptr := reflect.New(val.Type())
		ptr.Elem().Set(val)
		forms[" by pointer"] = ptr.Interface()
	}
	for form, v := range forms {
		prints(v, func(how, text string) { o.add(what+how+form, text) })
	}
	switch e := v.(type) {
	case interface{ Unwrap() error }:
		if e.Unwrap() != nil {
			o.print(what, e.Unwrap())
		}
	case interface{ Unwrap() []error }:
		for _, cause := range e.Unwrap() {
			o.print(what, cause)
		}
	}
}

// checkSilent fails when a print of v, in any form, shows a canary.
func checkSilent(t *testing.T, what string, v any) {
	t.Helper()
	o := output{}
	o.print("", v)
	o.silent(t, what)
}

// samples returns values of each exported type, full of canaries; nil for what
// has no value of its own.
func samples(t *testing.T) map[string][]any {
	quiet := slog.New(slog.NewJSONHandler(io.Discard, nil))
	still := clock.NewFake(time.Time{}) // nothing moves while it is printed
	ts, err := renew.New(newBird(nil), renew.Config{Clock: still, Logger: quiet, CheckOnRead: true})
	require.NoError(t, err)
	m, err := renew.NewManager(renew.Config{Clock: still, Endpoint: "https://issuer.example", Logger: quiet})
	require.NoError(t, err)
	managed, err := m.Add("x", newBird(nil), renew.Config{Account: "alice"})
	require.NoError(t, err)
	down, err := m.Add("down", newBird(func(int) (*renew.Token, error) { return nil, leaky()["wrapped in an IssueError"] }), renew.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { _ = m.Close(context.Background()); _ = ts.Close(context.Background()) })
	tok, err := ts.Token(t.Context())
	require.NoError(t, err)
	_, err = managed.Token(t.Context())
	require.NoError(t, err)
	_, issueErr := down.Token(t.Context())
	require.Error(t, issueErr)
	tr, err := renew.NewTransport(managed, renew.TransportConfig{Origins: []string{"https://api.example"}})
	require.NoError(t, err)
	per := &renew.PerOrigin{Manager: m, Config: renew.Config{}, New: func(string) (renew.Source, error) { return newBird(nil), nil }}
	req := func(target string) *http.Request {
		r, err := http.NewRequestWithContext(t.Context(), "GET", target, nil)
		require.NoError(t, err)
		return r
	}
	_, originErr := tr.RoundTrip(req("https://u:" + url.QueryEscape(canaryPassword) + "@evil.example/" + url.PathEscape(canaryValue) + "?q=" + url.QueryEscape(canaryPassword)))
	refusing, err := renew.NewTransport(ts, renew.TransportConfig{Origins: []string{"https://api.example"}, OnExisting: renew.Refuse})
	require.NoError(t, err)
	carrying := req("https://api.example/?q=" + url.QueryEscape(canaryPassword))
	carrying.Header.Set("Authorization", "Bearer "+canaryValue)
	_, existingErr := refusing.RoundTrip(carrying)
	_, configErr := renew.NewTransport(ts, renew.TransportConfig{Origins: []string{"https://u:" + url.QueryEscape(canaryPassword) + "@api.example"}})
	_, panicErr := renew.New(telltale{}, renew.Config{})
	cause, ok := errors.AsType[*renew.PanicError](panicErr)
	require.True(t, ok)
	perErr := &renew.PerOriginError{Origin: "https://api.example", Err: issueErr}
	cfg := renew.Config{Budget: &budget.Budget{}, Logger: quiet, Rand: func() float64 { return float64(len(canaryValue)) },
		Hooks: renew.Hooks{Changed: func(renew.Change) { _ = canaryValue }}}
	secret := renew.NewSecret(canaryValue)
	for name, err := range map[string]error{"originErr": originErr, "existingErr": existingErr, "configErr": configErr} {
		require.Error(t, err, name)
	}
	ie, ok := errors.AsType[*renew.IssueError](issueErr)
	require.True(t, ok)
	return map[string][]any{
		"Secret":      {secret, &secret, []renew.Secret{secret}, map[string]renew.Secret{"k": secret}, struct{ s renew.Secret }{secret}},
		"Token":       {tok, canaryToken(), canaryToken().WithAttr("a", "b")},
		"TokenSource": {ts, managed, down},
		"Manager":     {m},
		"Transport":   {tr, refusing},
		"PerOrigin":   {per},
		"Config":      {cfg}, "TransportConfig": {renew.TransportConfig{Origins: []string{"https://api.example"}}},
		"Hooks": {cfg.Hooks}, "Traits": {renew.Traits{InputVersion: func() uint64 { return uint64(len(canaryPassword)) }}},
		"SourceFunc": {renew.SourceFunc(func(context.Context) (*renew.Token, error) { return canaryToken(), nil })},
		"IssueError": {issueErr, ie}, "BudgetError": {&renew.BudgetError{Name: "x", Err: ie}}, "ConfigError": {configErr},
		"PanicError": {panicErr, cause}, "CloseError": {&renew.CloseError{Running: 1, Err: ie}},
		"NotReadyError": {m.Ready(), &renew.NotReadyError{Sources: map[string]error{"x": ie}}}, "OriginError": {originErr},
		"ExistingCredentialError": {existingErr}, "PerOriginError": {perErr},
		"Status": {ts.Status(), down.Status(), m.Status()}, "Change": {renew.Change{Err: ie}},
		"State": {renew.StateReady}, "Kind": {renew.Refused}, "Action": {renew.ActionRetry}, "Existing": {renew.Replace},
		"Credential": {renew.Credential(tok)}, "Replay": {renew.Replay(ts.Authenticate)},
		// Interfaces have no values of their own.
		"Source": nil, "Reissuer": nil, "Revoker": nil, "Authorizer": nil, "Validator": nil, "Describer": nil, "Authenticator": nil, "Answerer": nil, "RefusalJudge": nil,
	}
}

// exportedTypes returns the names of the exported types of the root package.
func exportedTypes(t *testing.T) []string {
	t.Helper()
	files, err := os.ReadDir(".")
	require.NoError(t, err)
	var names []string
	for _, file := range files {
		if !strings.HasSuffix(file.Name(), ".go") || strings.HasSuffix(file.Name(), "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), file.Name(), nil, parser.SkipObjectResolution)
		require.NoError(t, err)
		ast.Inspect(f, func(n ast.Node) bool {
			if spec, ok := n.(*ast.TypeSpec); ok && spec.Name.IsExported() {
				names = append(names, spec.Name.Name)
			}
			_, body := n.(*ast.BlockStmt)
			return !body
		})
	}
	return names
}

func TestR30_EveryTypeIsSilent(t *testing.T) {
	// No exported type shows a secret, however it is printed; a new exported type must be listed in samples.
	synctest.Test(t, everyTypeIsSilent)
}

func everyTypeIsSilent(t *testing.T) {
	all, names, o := samples(t), exportedTypes(t), output{}
	synctest.Wait()
	assert.Greater(t, len(names), 30)
	for _, name := range names {
		values, listed := all[name]
		if !listed {
			t.Errorf("R30: the exported type %s is not in samples: add a value of it, full of canaries", name)
		}
		for _, v := range values {
			o.print(name+" ", v)
		}
		delete(all, name)
	}
	o.silent(t, "an exported type")
	assert.Empty(t, all, "listed, and not exported any more")
}

func TestR30_TheSearchFinds(t *testing.T) {
	// The search finds a canary under each way of printing that can show one, or it would pass whatever was shown.
	type open struct{ Value string }
	found := map[string]bool{}
	for _, v := range []any{open{canaryValue}, &open{canaryValue}, holder{hidden: canaryValue}, errors.New(canaryValue), canaryValue} {
		prints(v, func(how, text string) {
			found[how] = found[how] || len(renewtest.Leaks(text, canaries...)) > 0
		})
	}
	for _, how := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "Sprint", "JSON", "XML", "gob", "slog text", "slog JSON", "slog group", "spew.Sdump", "spew %#+v", "testify"} {
		assert.True(t, found[how], how)
	}
}

func TestR30_RevealIsTheOneWayOut(t *testing.T) {
	// A Secret still holds its text; what MarshalText wrote is not taken for it.
	s := renew.NewSecret(canaryValue)
	assert.Equal(t, canaryValue, s.Reveal())
	js, err := json.Marshal(s)
	require.NoError(t, err)
	assert.Equal(t, `"[redacted]"`, string(js))
	var back renew.Secret
	ce, ok := errors.AsType[*renew.ConfigError](json.Unmarshal(js, &back))
	assert.True(t, ok && ce.Field == "Secret")
	require.NoError(t, json.Unmarshal([]byte(`"plain"`), &back))
	assert.Equal(t, "plain", back.Reveal())
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		assert.Equal(t, "[redacted]", fmt.Sprintf(verb, s), verb)
	}
}

func TestR30_WhatTheEngineSays(t *testing.T) {
	// No error, log line, Change or Status of an engine that is driven through failures shows a secret.
	faults := maps.All(leaky())
	answers := map[string]func(int) (*renew.Token, error){
		"panic with text":     func(int) (*renew.Token, error) { panic(canaryPassword) },
		"panic with an error": func(int) (*renew.Token, error) { panic(errors.New(canaryPassword)) },
		"panic with a secret": func(int) (*renew.Token, error) { panic(renew.NewSecret(canaryPassword)) },
		"unsendable":          func(int) (*renew.Token, error) { return &renew.Token{Value: renew.NewSecret(canaryValue + "\n")}, nil },
		"expired": func(int) (*renew.Token, error) {
			tok := canaryToken()
			tok.Life, tok.Expiry = 0, time.Unix(0, 0)
			return tok, nil
		},
		"the same for ever": func(int) (*renew.Token, error) { return canaryToken(), nil },
	}
	for name, fault := range faults {
		answers[name] = func(n int) (*renew.Token, error) {
			if n == 1 {
				return canaryToken(), nil
			}
			return nil, fault
		}
		answers[name+", cold"] = func(int) (*renew.Token, error) { return nil, fault }
	}
	for name, answer := range answers {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				var mu sync.Mutex
				var seen []any
				see := func(v any) {
					if v != nil {
						mu.Lock()
						defer mu.Unlock()
						seen = append(seen, v)
					}
				}
				src := newBird(answer)
				src.revoke = leaky()["url.Error"]
				m, err := renew.NewManager(renew.Config{RevokeOnClose: true, Logger: slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{AddSource: true, Level: slog.LevelDebug})),
					Hooks: renew.Hooks{Changed: func(c renew.Change) { see(c) }, Rotated: func(_ context.Context, _ string, _ *renew.Token) error {
						if strings.HasPrefix(name, "the same") {
							return leaky()["wrapped"]
						}
						return nil
					}}})
				require.NoError(t, err)
				ts, err := m.Add("x", src, renew.Config{})
				require.NoError(t, err)
				for range 6 {
					ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
					tok, err := ts.Token(ctx)
					see(err)
					_, err = ts.Reject(ctx, tok)
					see(err)
					_, err = ts.Wait(ctx)
					see(err)
					cancel()
					see(ts.Status())
					see(m.Ready())
					time.Sleep(17 * time.Minute)
				}
				see(m.Close(t.Context()))
				_, err = ts.Token(t.Context())
				see(err)
				synctest.Wait()
				o := output{}
				for i, v := range seen {
					o.add("%+v", fmt.Sprintf("%+v %#v %v", v, v, v))
					if i == 0 {
						o.print("", v)
					}
				}
				o.add("the log", log.String())
				o.silent(t, "what the engine says")
				assert.NotEmpty(t, log.String())
			})
		})
	}
}

func TestR30_WhatNewSays(t *testing.T) {
	// The panic of a Validate or Describe does not tell its text.
	_, err := renew.New(telltale{}, renew.Config{})
	require.Error(t, err)
	checkSilent(t, "the error of New", err)
}

// telltale is a Source that panics with a canary before it is used.
type telltale struct{}

func (telltale) Issue(context.Context) (*renew.Token, error) { return nil, nil }
func (telltale) Validate() error                             { panic(canaryPassword) }
