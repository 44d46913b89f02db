package renewtest

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-f29168f7/renew"
)

// recorder is a reporter that keeps what it is told.
type recorder struct {
	mu      sync.Mutex
	failed  []string
	skipped string
}

func (r *recorder) Helper()             {}
func (r *recorder) Logf(string, ...any) {}

func (r *recorder) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed = append(r.failed, fmt.Sprintf(format, args...))
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	runtime.Goexit()
}

func (r *recorder) Skipf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.skipped = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

// recordCheck runs the check of that name as RunSource does.
func recordCheck(t *testing.T, name string, h Harness) *recorder {
	t.Helper()
	i := slices.IndexFunc(checks(), func(c check) bool { return c.name == name })
	if i < 0 {
		t.Fatalf("no check %q", name)
	}
	r := new(recorder)
	done := make(chan struct{})
	go func() {
		defer close(done)
		runCheck(r, checks()[i], h)
	}()
	<-done
	return r
}

func newTestIssuer(t *testing.T, cfg IssuerConfig) *Issuer {
	cfg.ClientSecret = "Correct/Horse+Battery&Staple"
	iss := NewIssuer(cfg)
	t.Cleanup(iss.Close)
	return iss
}

func TestRunSourceGood(t *testing.T) {
	for name, cfg := range map[string]IssuerConfig{"plain": {}, "refresh": {Refresh: true}, "rotate": {Rotate: true}} {
		t.Run(name, func(t *testing.T) {
			t.Run("bubble", func(t *testing.T) {
				RunSourceInBubble(t, func(t *testing.T) Harness {
					iss := newTestIssuer(t, cfg)
					return iss.Harness(newGoodSource(iss))
				})
			})
			t.Run("loopback", func(t *testing.T) {
				RunSource(t, func(t *testing.T) Harness {
					iss := newTestIssuer(t, cfg)
					iss.Start()
					return iss.Harness(newGoodSource(iss))
				})
			})
		})
	}
}

type wrapper struct{ inner renew.Source }

func (w wrapper) Issue(ctx context.Context) (*renew.Token, error) { return w.inner.Issue(ctx) }
func (w wrapper) Unwrap() renew.Source                            { return w.inner }

// What a kind of Source cannot do is skipped, with the reason.
func TestRunSourceSkips(t *testing.T) {
	static := func() (renew.SourceFunc, *renew.Token) {
		tok := &renew.Token{Value: renew.NewSecret("a-static-token")}
		return func(context.Context) (*renew.Token, error) { return tok, nil }, tok
	}
	interactive := func(t *testing.T, iss *Issuer) *badSource {
		s := &badSource{goodSource: newGoodSource(iss)}
		s.describe = func() renew.Traits { return renew.Traits{Interactive: true, Timeout: 5 * time.Minute} }
		s.issue = func(context.Context) (*renew.Token, error) { return nil, renew.ErrInteractionRequired }
		return s
	}
	for _, test := range []struct {
		name    string
		harness func(t *testing.T) Harness
		skipped map[string]string // by check, the start of the reason
	}{
		{"static", func(*testing.T) Harness {
			src, _ := static()
			return Harness{Source: src, SameTokenOK: true}
		}, map[string]string{
			"Validate": "the Source is no Validator", "Hang": "no Harness.Hang", "Break": "no Harness.Break",
			"Throttle": "no Harness.Throttle", "Refuse": "no Harness.Refuse", "Describe": "the Source is no Describer",
			"Reissue": "the Source is no Reissuer", "ReissueCancelled": "the Source is no Reissuer", "ReissueFails": "the Source is no Reissuer",
			"Revoke": "the Source is no Revoker", "RevokeCancelled": "the Source is no Revoker", "Authorize": "the Source is no Authorizer",
		}},
		{"wrapped", func(t *testing.T) Harness {
			iss := newTestIssuer(t, IssuerConfig{})
			return iss.Harness(wrapper{wrapper{newGoodSource(iss)}})
		}, map[string]string{}},
		{"works once", func(t *testing.T) Harness {
			iss := newTestIssuer(t, IssuerConfig{})
			s := &badSource{goodSource: newGoodSource(iss)}
			var spent atomic.Bool
			s.issue = func(ctx context.Context) (*renew.Token, error) {
				if spent.Load() {
					return nil, &renew.IssueError{Source: "once", Kind: renew.Refused, Err: renew.ErrInteractionRequired}
				}
				tok, err := s.goodSource.Issue(ctx)
				if err == nil {
					spent.Store(true)
				}
				return tok, err
			}
			s.reissue = func(ctx context.Context, _ *renew.Token) (*renew.Token, error) { return s.goodSource.Issue(ctx) }
			h := iss.Harness(s)
			h.Once = true
			return h
		}, map[string]string{"Issue": "Issue works only once", "Unshared": "Issue works only once"}},
		{"a person whom the test plays", func(t *testing.T) Harness {
			iss := newTestIssuer(t, IssuerConfig{Refresh: true})
			s := interactive(t, iss)
			s.issue = nil
			return iss.Harness(s)
		}, map[string]string{"Cancelled": "Issue needs a person", "Concurrent": "Issue needs a person"}},
		{"a person who is not there", func(t *testing.T) Harness {
			iss := newTestIssuer(t, IssuerConfig{Refresh: true})
			return iss.Harness(interactive(t, iss))
		}, map[string]string{
			"Issue": "Issue needs a person", "Unshared": "Issue needs a person", "Cancelled": "Issue needs a person", "Hang": "Issue needs a person",
			"Concurrent": "Issue needs a person", "Break": "Issue needs a person", "Throttle": "Issue needs a person", "Refuse": "Issue needs a person",
			"Secrets": "Issue needs a person", "Reissue": "Issue needs a person", "ReissueCancelled": "Issue needs a person", "ReissueFails": "Issue needs a person",
			"Revoke": "Issue needs a person", "RevokeCancelled": "Issue needs a person", "Authorize": "Issue needs a person",
		}},
		{"a person who is not there, and Live", func(t *testing.T) Harness {
			iss := newTestIssuer(t, IssuerConfig{Refresh: true})
			s := interactive(t, iss)
			s.issue = func(context.Context) (*renew.Token, error) { t.Error("Issue was called"); return nil, nil }
			h := iss.Harness(s)
			h.Live = s.goodSource.Issue
			return h
		}, map[string]string{
			"Issue": "Issue needs a person", "Unshared": "Issue needs a person", "Cancelled": "Issue needs a person", "Hang": "Issue needs a person",
			"Concurrent": "Issue needs a person", "Break": "Issue needs a person", "Throttle": "Issue needs a person", "Refuse": "Issue needs a person",
			"Secrets": "Issue needs a person",
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				for _, c := range checks() {
					r := recordCheck(t, c.name, test.harness(t))
					if len(r.failed) > 0 {
						t.Errorf("%s failed: %v", c.name, r.failed)
					}
					if r.skipped != test.skipped[c.name] {
						t.Errorf("%s skipped: %q, want %q", c.name, r.skipped, test.skipped[c.name])
					}
				}
			})
		})
	}
}

type badCase struct {
	name  string
	check string
	cfg   IssuerConfig
	make  func(s *badSource, h *Harness, iss *Issuer)
	want  string // is in the explanation
}

// One bad Source for each thing that the kit says; each proves that its check can fail.
var badSources = []badCase{
	{name: "no Source", check: "Issue", want: "Harness.Source is nil",
		make: func(_ *badSource, h *Harness, _ *Issuer) { h.Source = nil }},
	{name: "no Heal", check: "Issue", want: "Harness.Heal is nil",
		make: func(_ *badSource, h *Harness, _ *Issuer) { h.Heal = nil }},
	{name: "Live fails", check: "Reissue", want: "Harness.Live returned (<nil>, no one there)",
		make: func(_ *badSource, h *Harness, _ *Issuer) {
			h.Live = func(context.Context) (*renew.Token, error) { return nil, errors.New("no one there") }
		}},

	{name: "Validate refuses", check: "Validate", want: "R23: Validate refuses a Source that is set up to work: nope",
		make: func(s *badSource, _ *Harness, _ *Issuer) { s.validate = func() error { return errors.New("nope") } }},
	{name: "Validate refuses the second time", check: "Validate", want: "R23: Validate refuses a Source that is set up to work: twice",
		make: func(s *badSource, _ *Harness, _ *Issuer) {
			n := 0
			s.validate = func() error {
				if n++; n > 1 {
					return errors.New("twice")
				}
				return nil
			}
		}},
	{name: "Validate shows the secret", check: "Validate", want: "R30: the text of the error of Validate shows one of Harness.Secrets: secret 1 of 1, as it is",
		make: func(s *badSource, _ *Harness, _ *Issuer) {
			s.validate = func() error { return errors.New("bad secret " + s.Secret.Reveal()) }
		}},

	{name: "nil, nil", check: "Issue", want: "R11: Issue returned (nil, nil): a Source returns a token or an error",
		make: func(s *badSource, _ *Harness, _ *Issuer) {
			s.issue = func(context.Context) (*renew.Token, error) { return nil, nil }
		}},
	{name: "an error though the issuer is up", check: "Issue", want: "R11: Issue failed though the issuer is up: not today",
		make: func(s *badSource, _ *Harness, _ *Issuer) {
			s.issue = func(context.Context) (*renew.Token, error) { return nil, errors.New("not today") }
		}},
	{name: "empty Value", check: "Issue", want: "R11: Issue returned a token with an empty Value",
		make: func(s *badSource, _ *Harness, _ *Issuer) {
			s.editToken(func(t *renew.Token) { t.Value = renew.Secret{} })
		}},
	{name: "line break in the Value", check: "Issue", want: "R11: Issue returned a Value with byte 0x0a at offset 29 of 30: only visible ASCII",
		make: func(s *badSource, _ *Harness, _ *Issuer) {
			s.editToken(func(t *renew.Token) { t.Value = renew.NewSecret(t.Value.Reveal() + "\n") })
		}},
	{name: "space in the Type", check: "Issue", want: `R11: Issue returned the Type "Bearer x", which is no auth-scheme`,
		make: func(s *badSource, _ *Harness, _ *Issuer) { s.editToken(func(t *renew.Token) { t.Type = "Bearer x" }) }},
	{name: "negative Life", check: "Issue", want: "R11: Issue returned a token already expired: Life is -1s",
		make: func(s *badSource, _ *Harness, _ *Issuer) { s.editToken(func(t *renew.Token) { t.Life = -time.Second }) }},
	{name: "expired", check: "Issue", want: "R11: Issue returned a token already expired: Expiry is 1m0s ago, and Life is not known (R12",
		make: func(s *badSource, _ *Harness, _ *Issuer) {
			s.editToken(func(t *renew.Token) { t.Life, t.Expiry = 0, time.Now().Add(-time.Minute) })
		}},
	{name: "a cache", check: "Issue", want: "R11: two Issues returned the same Value",
		make: func(s *badSource, _ *Harness, _ *Issuer) {
			var tok *renew.Token
			s.issue = func(ctx context.Context) (*renew.Token, error) {
				if tok == nil {
					var err error
					if tok, err = s.goodSource.Issue(ctx); err != nil {
						return nil, err
					}
				}
				c := *tok
				return &c, nil
			}
		}},
	{name: "a token of somebody else's", check: "Issue", want: "R11: the issuer does not accept the token that Issue returned",
		make: func(s *badSource, _ *Harness, _ *Issuer) {
			s.editToken(func(t *renew.Token) { t.Value = renew.NewSecret(newValue("x")) })
		}},
	{name: "panic", check: "Issue", want: "R10: Issue panicked with a string: it must return an error instead",
		make: func(s *badSource, _ *Harness, _ *Issuer) {
			s.issue = func(context.Context) (*renew.Token, error) { panic("oh") }
		}},
	{name: "Goexit", check: "Issue", want: "R10: Issue called runtime.Goexit",
		make: func(s *badSource, _ *Harness, _ *Issuer) {
			s.issue = func(context.Context) (*renew.Token, error) { runtime.Goexit(); return nil, nil }
		}},
	{name: "a person without Interactive", check: "Issue", want: "R7: Issue returned ErrInteractionRequired, but Describe does not say Interactive",
		make: func(s *badSource, _ *Harness, _ *Issuer) {
			s.issue = func(context.Context) (*renew.Token, error) { return nil, renew.ErrInteractionRequired }
		}},

	{name: "never works, though Once", check: "Issue", want: "R7: Issue returned ErrInteractionRequired, but Describe does not say Interactive",
		make: func(s *badSource, h *Harness, _ *Issuer) {
			h.Once = true
			s.issue = func(context.Context) (*renew.Token, error) { return nil, renew.ErrInteractionRequired }
		}},

	{name: "one Token for all", check: "Unshared", want: "R1: the second Issue changed the token that the first had returned",
		make: func(s *badSource, _ *Harness, _ *Issuer) {
			shared := new(renew.Token)
			s.issue = func(ctx context.Context) (*renew.Token, error) {
				t, err := s.goodSource.Issue(ctx)
				if err != nil {
					return nil, err
				}
				*shared = *t
				return shared, nil
			}
		}},
	{name: "the caller writes into the Source's own Token", check: "Unshared", want: "R1: what the caller wrote into a token came back from the next Issue",
		make: func(s *badSource, h *Harness, _ *Issuer) {
			h.SameTokenOK = true
			var first *renew.Token
			s.issue = func(ctx context.Context) (*renew.Token, error) {
				if first == nil {
					var err error
					first, err = s.goodSource.Issue(ctx)
					return first, err
				}
				c := *first
				return &c, nil
			}
		}},
	{name: "the caller breaks the Source", check: "Unshared", want: "R1: Issue failed after the caller changed the token of an earlier one: expired",
		make: func(s *badSource, _ *Harness, _ *Issuer) {
			var last *renew.Token
			s.issue = func(ctx context.Context) (_ *renew.Token, err error) {
				if last != nil && last.Life == 1 {
					return nil, errors.New("expired")
				}
				t, err := s.goodSource.Issue(ctx)
				if last == nil {
					last = t
				}
				return t, err
			}
		}},

	{name: "sends though its ctx has ended", check: "Cancelled", want: "R8: Issue with a ctx that had ended returned no error",
		make: func(s *badSource, _ *Harness, _ *Issuer) {
			s.issue = func(context.Context) (*renew.Token, error) { return s.goodSource.Issue(context.Background()) }
		}},
	{name: "hides the cause", check: "Cancelled", want: "R7: after its ctx ended, the error of Issue is context.Canceled and not the cause",
		make: func(s *badSource, _ *Harness, _ *Issuer) {
			s.issue = func(ctx context.Context) (*renew.Token, error) { return nil, ctx.Err() }
		}},
	{name: "hides the ctx error", check: "Cancelled", want: "R7: after its ctx ended, the error of Issue matches neither the ctx error nor its cause",
		make: func(s *badSource, _ *Harness, _ *Issuer) {
			s.editError(func(err error) error { return fmt.Errorf("request: %v", err) })
		}},
	{name: "takes a cancel for a refusal", check: "Cancelled", want: "R20: after its ctx ended, the error of Issue says refused (permanent: true)",
		make: func(s *badSource, _ *Harness, _ *Issuer) {
			s.editError(func(err error) error {
				return &renew.IssueError{Source: "bad", Kind: renew.Refused, Permanent: true, Err: err}
			})
		}},
	{name: "a token and an error", check: "Cancelled", want: "R11: Issue returned a token and an error",
		make: func(s *badSource, _ *Harness, _ *Issuer) {
			s.issue = func(ctx context.Context) (*renew.Token, error) { return new(renew.Token), context.Cause(ctx) }
		}},

	{name: "ignores its ctx", check: "Hang", want: "R8: Issue has not returned 10s after its ctx ended: pass ctx to all that can block",
		make: func(s *badSource, _ *Harness, _ *Issuer) {
			s.issue = func(context.Context) (*renew.Token, error) { return s.goodSource.Issue(context.Background()) }
		}},
	{name: "Hang does nothing", check: "Hang", want: "Harness.Hang does not stop it",
		make: func(_ *badSource, h *Harness, _ *Issuer) { h.Hang = func() {} }},
	{name: "leaves a goroutine behind", check: "Issue", want: "R27: goroutines that the Source started have not ended",
		make: func(s *badSource, _ *Harness, iss *Issuer) {
			s.issue = func(ctx context.Context) (*renew.Token, error) {
				go func() { <-iss.life.Done() }() // ends with the test, so that its bubble can
				return s.goodSource.Issue(ctx)
			}
		}},

	{name: "two at once", check: "Concurrent", want: "R8: one of 8 Issues at once failed, though each alone works (Harness.Serial allows it): busy",
		make: func(s *badSource, _ *Harness, iss *Issuer) {
			iss.SetLatency(time.Second)
			var busy atomic.Bool
			s.issue = func(ctx context.Context) (*renew.Token, error) {
				if !busy.CompareAndSwap(false, true) {
					return nil, errors.New("busy")
				}
				defer busy.Store(false)
				return s.goodSource.Issue(ctx)
			}
		}},
	{name: "one token for two at once", check: "Concurrent", want: "R11: two of 8 Issues at once returned the same Value",
		make: func(_ *badSource, _ *Harness, iss *Issuer) { iss.Fail(SameToken(), -1) }},

	{name: "an error without a kind", check: "Break", want: "R20: the error of Issue is a *errors.errorString and holds no *renew.IssueError",
		make: func(s *badSource, _ *Harness, _ *Issuer) {
			s.editError(func(error) error { return errors.New("500") })
		}},
	{name: "takes a fault for a refusal", check: "Break", want: "R20: the error of Issue says refused, want transient",
		make: func(s *badSource, _ *Harness, _ *Issuer) {
			s.editError(func(error) error { return &renew.IssueError{Source: "bad", Kind: renew.Refused} })
		}},
	{name: "gives up on a fault", check: "Break", want: "R23: the error of Issue says Permanent of a fault that passes",
		make: func(s *badSource, _ *Harness, _ *Issuer) {
			s.editError(func(error) error { return &renew.IssueError{Source: "bad", Permanent: true} })
		}},
	{name: "does not say who", check: "Break", want: "R31: the error of Issue does not say in Source what failed",
		make: func(s *badSource, _ *Harness, _ *Issuer) {
			s.editError(func(error) error { return &renew.IssueError{} })
		}},
	{name: "Break does nothing", check: "Break", want: "R11: Issue returned a token while the issuer answers with errors (transient is wanted)",
		make: func(_ *badSource, h *Harness, _ *Issuer) { h.Break = func() {} }},
	{name: "nil, nil of a fault", check: "Break", want: "R11: Issue returned (nil, nil)",
		make: func(s *badSource, _ *Harness, _ *Issuer) { s.editError(func(error) error { return nil }) }},
	{name: "a token and an error of a fault", check: "Break", want: "R11: Issue returned a token and an error",
		make: func(s *badSource, _ *Harness, _ *Issuer) {
			s.issue = func(ctx context.Context) (*renew.Token, error) {
				_, err := s.goodSource.Issue(ctx)
				return new(renew.Token), err
			}
		}},
	{name: "does not recover", check: "Break", want: "R11: Issue failed though the issuer is up: remembered",
		make: func(s *badSource, _ *Harness, _ *Issuer) {
			failed := false
			s.issue = func(ctx context.Context) (*renew.Token, error) {
				if failed {
					return nil, errors.New("remembered")
				}
				t, err := s.goodSource.Issue(ctx)
				failed = err != nil
				return t, err
			}
		}},
	{name: "body in the error's text", check: "Break", want: "R30: the text of the error of Issue shows one of Harness.Secrets: secret 1 of 1, in base64",
		make: func(s *badSource, _ *Harness, _ *Issuer) {
			s.editError(func(error) error {
				// What the issuer of Harness.Break answers: the request with its Authorization header.
				body := "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(s.ID+":"+s.Secret.Reveal()))
				return &renew.IssueError{Source: "bad", Err: errors.New(body)}
			})
		}},
	{name: "body in a field deep within the error", check: "Break", want: "R30: the error of Issue under %#v shows one of Harness.Secrets: secret 1 of 1, as it is",
		make: func(s *badSource, _ *Harness, _ *Issuer) {
			s.editError(func(err error) error {
				return &renew.IssueError{Source: "bad", Err: errors.Join(err, &bodyError{s.Secret.Reveal()})}
			})
		}},

	{name: "misses a request for a pause", check: "Throttle", want: "R20: the error of Issue says transient, want throttled",
		make: func(s *badSource, _ *Harness, _ *Issuer) {
			s.editError(func(error) error { return &renew.IssueError{Source: "bad"} })
		}},
	{name: "loses the pause", check: "Throttle", want: "R13: the error of Issue has no RetryAfter",
		make: func(s *badSource, _ *Harness, _ *Issuer) {
			s.editError(func(error) error { return &renew.IssueError{Source: "bad", Kind: renew.Throttled} })
		}},
	{name: "misses a refusal", check: "Refuse", want: "R18: the error of Issue says transient, want refused",
		make: func(s *badSource, _ *Harness, _ *Issuer) {
			s.editError(func(error) error { return &renew.IssueError{Source: "bad"} })
		}},

	{name: "a secret in a string", check: "Secrets", want: "R30: the Source under %+v shows one of Harness.Secrets: secret 1 of 1, as it is",
		make: func(s *badSource, h *Harness, iss *Issuer) {
			h.Source = struct {
				renew.Source
				password string
			}{s, iss.ClientSecret()}
		}},
	{name: "keeps a token in a string", check: "Secrets", want: "R30: the Source after an Issue under %+v shows a token: as it is",
		make: func(s *badSource, h *Harness, _ *Issuer) {
			k := &keeper{badSource: s}
			h.Source = k
		}},
	{name: "secret in an attribute", check: "Issue", want: "R30: the token that Issue returned under %+v shows one of Harness.Secrets",
		make: func(s *badSource, _ *Harness, _ *Issuer) {
			s.issue = func(ctx context.Context) (*renew.Token, error) {
				t, err := s.goodSource.Issue(ctx)
				if err != nil {
					return nil, err
				}
				return t.WithAttr("secret", s.Secret.Reveal()), nil
			}
		}},

	{name: "Describe changes", check: "Describe", want: "R20: Describe says something else when asked again",
		make: func(s *badSource, _ *Harness, _ *Issuer) {
			var n atomic.Int64
			s.describe = func() renew.Traits { return renew.Traits{Account: fmt.Sprint(n.Add(1))} }
		}},
	{name: "Describe changes with an Issue", check: "Describe", want: "R20: Describe says something else after an Issue",
		make: func(s *badSource, _ *Harness, _ *Issuer) {
			var n atomic.Int64
			s.issue = func(ctx context.Context) (*renew.Token, error) { n.Add(1); return s.goodSource.Issue(ctx) }
			s.describe = func() renew.Traits {
				return renew.Traits{InputVersion: func() uint64 { return uint64(n.Load()) }}
			}
		}},
	{name: "Describe asks the issuer", check: "Describe", want: "R7: Describe has not returned after 40s",
		make: func(s *badSource, _ *Harness, _ *Issuer) {
			s.describe = func() renew.Traits {
				t, _ := s.goodSource.Issue(context.Background())
				if t == nil {
					return renew.Traits{}
				}
				return renew.Traits{Endpoint: "x"}
			}
		}},
	{name: "negative Timeout", check: "Describe", want: "R7: Describe says a Timeout of -1s",
		make: func(s *badSource, _ *Harness, _ *Issuer) {
			s.describe = func() renew.Traits { return renew.Traits{Timeout: -time.Second} }
		}},
	{name: "secret as the Account", check: "Describe", want: "R30: what Describe returned under %v shows one of Harness.Secrets",
		make: func(s *badSource, _ *Harness, _ *Issuer) {
			s.describe = func() renew.Traits { return renew.Traits{Account: s.Secret.Reveal()} }
		}},

	{name: "Reissue fails", check: "Reissue", want: "R11: Reissue failed though the issuer is up: no",
		make: func(s *badSource, _ *Harness, _ *Issuer) {
			s.reissue = func(context.Context, *renew.Token) (*renew.Token, error) { return nil, errors.New("no") }
		}},
	{name: "Reissue nil, nil", check: "Reissue", want: "R11: Reissue returned (nil, nil)",
		make: func(s *badSource, _ *Harness, _ *Issuer) {
			s.reissue = func(context.Context, *renew.Token) (*renew.Token, error) { return nil, nil }
		}},
	{name: "Reissue returns its argument", check: "Reissue", want: "R1: Reissue returned the live token itself",
		make: func(s *badSource, _ *Harness, _ *Issuer) {
			s.reissue = func(_ context.Context, live *renew.Token) (*renew.Token, error) { return live, nil }
		}},
	{name: "Reissue writes to its argument", check: "Reissue", cfg: IssuerConfig{Rotate: true}, want: "R1: Reissue wrote to the live token, which readers share",
		make: func(s *badSource, _ *Harness, _ *Issuer) {
			s.reissue = func(ctx context.Context, live *renew.Token) (*renew.Token, error) {
				next, err := s.goodSource.Reissue(ctx, live)
				if err == nil {
					live.Refresh = next.Refresh
				}
				return next, err
			}
		}},
	{name: "Reissue returns a copy", check: "Reissue", want: "R11: Reissue returned the Value of the live token",
		make: func(s *badSource, _ *Harness, _ *Issuer) {
			s.reissue = func(_ context.Context, live *renew.Token) (*renew.Token, error) { c := *live; return &c, nil }
		}},
	{name: "Reissue loses the refresh token", check: "Reissue", cfg: IssuerConfig{Refresh: true}, want: "R14: Reissue lost the refresh token",
		make: func(s *badSource, _ *Harness, _ *Issuer) {
			s.reissue = func(ctx context.Context, live *renew.Token) (*renew.Token, error) {
				next, err := s.goodSource.Reissue(ctx, live)
				if err == nil {
					next.Refresh = renew.Secret{}
				}
				return next, err
			}
		}},
	{name: "Reissue keeps a refresh token that was rotated", check: "Reissue", cfg: IssuerConfig{Rotate: true}, want: "R11: Reissue failed though the issuer is up: renew: good: 400 invalid_grant",
		make: func(s *badSource, _ *Harness, _ *Issuer) {
			s.reissue = func(ctx context.Context, live *renew.Token) (*renew.Token, error) {
				next, err := s.goodSource.Reissue(ctx, live)
				if err == nil {
					next.Refresh = live.Refresh
				}
				return next, err
			}
		}},
	{name: "Reissue invents a token", check: "Reissue", want: "R11: the issuer does not accept the token that Reissue returned",
		make: func(s *badSource, _ *Harness, _ *Issuer) {
			s.reissue = func(context.Context, *renew.Token) (*renew.Token, error) {
				return &renew.Token{Value: renew.NewSecret(newValue("x"))}, nil
			}
		}},
	{name: "Reissue sends though its ctx has ended", check: "ReissueCancelled", want: "R8: Reissue with a ctx that had ended returned no error",
		make: func(s *badSource, _ *Harness, _ *Issuer) {
			s.reissue = func(_ context.Context, live *renew.Token) (*renew.Token, error) {
				return s.goodSource.Reissue(context.Background(), live)
			}
		}},
	{name: "Reissue ignores its ctx", check: "ReissueCancelled", want: "R8: Reissue has not returned 10s after its ctx ended",
		make: func(s *badSource, _ *Harness, _ *Issuer) {
			s.reissue = func(ctx context.Context, live *renew.Token) (*renew.Token, error) {
				if ctx.Err() != nil {
					return nil, context.Cause(ctx)
				}
				return s.goodSource.Reissue(context.Background(), live)
			}
		}},
	{name: "Reissue takes a fault for a refusal", check: "ReissueFails", want: "R20: the error of Reissue says refused, want transient",
		make: func(s *badSource, _ *Harness, _ *Issuer) {
			s.editError(func(error) error { return &renew.IssueError{Source: "bad", Kind: renew.Refused} })
		}},
	{name: "Reissue misses a refusal", check: "ReissueFails", want: "R18: the error of Reissue says throttled, want refused",
		make: func(s *badSource, h *Harness, _ *Issuer) {
			h.Throttle = nil
			s.editError(func(error) error { return &renew.IssueError{Source: "bad", Kind: renew.Throttled} })
		}},

	{name: "Revoke fails", check: "Revoke", want: "R27: Revoke failed though the issuer is up: no",
		make: func(s *badSource, _ *Harness, _ *Issuer) {
			s.revoke = func(context.Context, *renew.Token) error { return errors.New("no") }
		}},
	{name: "Revoke does nothing", check: "Revoke", want: "R27: the issuer still accepts a token after Revoke",
		make: func(s *badSource, _ *Harness, _ *Issuer) {
			s.revoke = func(context.Context, *renew.Token) error { return nil }
		}},
	{name: "Revoke writes to the token", check: "Revoke", want: "R1: Revoke wrote to the token, which readers share",
		make: func(s *badSource, _ *Harness, _ *Issuer) {
			s.revoke = func(ctx context.Context, t *renew.Token) error {
				err := s.goodSource.Revoke(ctx, t)
				t.Value = renew.Secret{}
				return err
			}
		}},
	{name: "Revoke ignores its ctx", check: "RevokeCancelled", want: "R8: Revoke has not returned 10s after its ctx ended",
		make: func(s *badSource, _ *Harness, _ *Issuer) {
			s.revoke = func(ctx context.Context, t *renew.Token) error {
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
				return s.goodSource.Revoke(context.Background(), t)
			}
		}},
	{name: "Revoke sends though its ctx has ended", check: "RevokeCancelled", want: "R8: Revoke with a ctx that had ended returned no error",
		make: func(s *badSource, _ *Harness, _ *Issuer) {
			s.revoke = func(_ context.Context, t *renew.Token) error { return s.goodSource.Revoke(context.Background(), t) }
		}},
	{name: "Revoke swallows errors", check: "RevokeCancelled", want: "R27: Revoke returned no error though the issuer answers with errors",
		make: func(s *badSource, _ *Harness, _ *Issuer) {
			s.revoke = func(ctx context.Context, t *renew.Token) error {
				err := s.goodSource.Revoke(ctx, t)
				if ctx.Err() == nil {
					return nil
				}
				return err
			}
		}},

	{name: "Authorize fails", check: "Authorize", want: "R28: Authorize failed for a GET with a live token: no",
		make: func(s *badSource, _ *Harness, _ *Issuer) {
			s.authorize = func(*http.Request, *renew.Token) error { return errors.New("no") }
		}},
	{name: "Authorize writes to the URL", check: "Authorize", want: "R28: Authorize wrote to the URL, which the caller's request shares",
		make: func(s *badSource, _ *Harness, _ *Issuer) {
			s.authorize = func(req *http.Request, t *renew.Token) error {
				req.URL.RawQuery += "&access_token=" + t.Value.Reveal()
				return nil
			}
		}},
	{name: "Authorize writes to the token", check: "Authorize", want: "R1: Authorize wrote to the token, which readers share",
		make: func(s *badSource, _ *Harness, _ *Issuer) {
			s.authorize = func(req *http.Request, t *renew.Token) error {
				t.Type = "Bearer2"
				t.SetAuthHeader(req)
				return nil
			}
		}},
	{name: "Authorize does nothing", check: "Authorize", want: "R29: Authorize put nothing on the request",
		make: func(s *badSource, _ *Harness, _ *Issuer) {
			s.authorize = func(*http.Request, *renew.Token) error { return nil }
		}},
}

// bodyError shows its body under %#v alone.
type bodyError struct{ body string }

func (*bodyError) Error() string { return "bad reply" }

// keeper keeps the last token as text.
type keeper struct {
	*badSource
	last string
}

func (s *keeper) Issue(ctx context.Context) (*renew.Token, error) {
	t, err := s.badSource.Issue(ctx)
	if err == nil {
		s.last = t.Value.Reveal()
	}
	return t, err
}

func TestRunSourceBad(t *testing.T) {
	for _, test := range badSources {
		t.Run(test.check+"/"+test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				iss := newTestIssuer(t, test.cfg)
				s := &badSource{goodSource: newGoodSource(iss)}
				h := iss.Harness(s)
				test.make(s, &h, iss)
				r := recordCheck(t, test.check, h)
				if r.skipped != "" || !slices.ContainsFunc(r.failed, func(f string) bool { return strings.Contains(f, test.want) }) {
					t.Errorf("skipped %q, failures %q,\nwant %q", r.skipped, r.failed, test.want)
				}
				for _, f := range r.failed {
					if leaks := Leaks(f, iss.ClientSecret()); leaks != nil && !strings.Contains(test.name, "secret") && !strings.Contains(test.name, "body") {
						t.Errorf("the report itself shows %v", leaks)
					}
				}
			})
		})
	}
}

// Each check has a bad Source that fails it.
func TestRunSourceEachCheckCanFail(t *testing.T) {
	for _, c := range checks() {
		if !slices.ContainsFunc(badSources, func(b badCase) bool { return b.check == c.name }) {
			t.Errorf("no bad Source for %s", c.name)
		}
	}
}

// Two Issues that refuse each other pass with Serial.
func TestRunSourceSerial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		iss := newTestIssuer(t, IssuerConfig{})
		iss.Fail(InvalidClient(), 7)
		h := iss.Harness(newGoodSource(iss))
		h.Serial = true
		if r := recordCheck(t, "Concurrent", h); len(r.failed) > 0 {
			t.Errorf("failed: %v", r.failed)
		}
	})
}

// A Source that reads a file, as a user would test it.
func TestRunSourceFile(t *testing.T) {
	RunSource(t, func(t *testing.T) Harness {
		path := filepath.Join(t.TempDir(), "token")
		write := func() { _ = os.WriteFile(path, []byte("token-from-a-file\n"), 0o600) }
		write()
		return Harness{
			Source: renew.SourceFunc(func(ctx context.Context) (*renew.Token, error) {
				b, err := os.ReadFile(path)
				if err != nil {
					return nil, &renew.IssueError{Source: "file", Err: err}
				}
				return &renew.Token{Value: renew.NewSecret(strings.TrimSpace(string(b)))}, nil
			}),
			SameTokenOK: true,
			Break:       func() { os.Remove(path) },
			Heal:        write,
		}
	})
}
