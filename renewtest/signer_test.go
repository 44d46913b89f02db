package renewtest

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/budget"
	"github.com/seed-f29168f7/renew/clock"
)

const kitSecret = "Correct/Horse+Battery&Staple"

// macSigner is a signer that keeps the rules: Authorization is Kit, a nonce, and the HMAC of nonce, method, URI and body.
// What is set in it replaces a method.
type macSigner struct {
	secret renew.Secret
	budget *budget.Budget

	validate func() error
	sign     func(req *http.Request) (renew.Credential, error)
	refused  func(req *http.Request, c renew.Credential, resp *http.Response) (bool, error)
}

func (s *macSigner) Validate() error {
	if s.validate != nil {
		return s.validate()
	}
	return nil
}

func (s *macSigner) Authenticate(req *http.Request) (renew.Credential, error) {
	if s.sign != nil {
		return s.sign(req)
	}
	return s.good(req)
}

func (s *macSigner) good(req *http.Request) (renew.Credential, error) {
	return nil, s.signAs(req, rand.Text())
}

func (s *macSigner) signAs(req *http.Request, nonce string) error {
	var body []byte
	if req.Body != nil {
		if req.GetBody == nil {
			return errors.New("mac: no GetBody")
		}
		r, err := req.GetBody()
		if err != nil {
			return err
		}
		defer r.Close()
		if body, err = io.ReadAll(r); err != nil {
			return err
		}
	}
	if req.Header == nil {
		req.Header = make(http.Header)
	}
	req.Header.Set("Authorization", "Kit "+nonce+" "+macOf(s.secret.Reveal(), nonce, req.Method, req.URL.RequestURI(), body))
	return nil
}

func (s *macSigner) Refused(req *http.Request, c renew.Credential, resp *http.Response) (renew.Replay, error) {
	if s.refused != nil {
		retry, err := s.refused(req, c, resp)
		if !retry {
			return nil, err
		}
		return s.Authenticate, err
	}
	if req.Context().Err() != nil {
		return nil, nil
	}
	now := clock.Real{}.Now().Mono
	if _, ok := s.budget.Reserve(now); !ok {
		return nil, nil
	}
	s.budget.Spend(now)
	return s.Authenticate, nil
}

func macOf(secret, nonce, method, uri string, body []byte) string {
	m := hmac.New(sha256.New, []byte(secret))
	fmt.Fprintf(m, "%s\n%s\n%s\n%s", nonce, method, uri, body)
	return hex.EncodeToString(m.Sum(nil))
}

// macServer is the other side of macSigner.
type macServer struct {
	mu      sync.Mutex
	seen    map[string]bool
	lenient bool // about nonces
}

func (s *macServer) verify(r *http.Request) error {
	words := strings.Fields(r.Header.Get("Authorization"))
	if len(words) != 3 || words[0] != "Kit" {
		return errors.New("no credential")
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	if words[2] != macOf(kitSecret, words[1], r.Method, r.RequestURI, body) {
		return errors.New("wrong signature")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen[words[1]] && !s.lenient {
		return errors.New("nonce used")
	}
	s.seen[words[1]] = true
	return nil
}

func newMac() (*macSigner, *macServer, SignerHarness) {
	s := &macSigner{secret: renew.NewSecret(kitSecret), budget: &budget.Budget{Units: 2}}
	srv := &macServer{seen: make(map[string]bool)}
	return s, srv, SignerHarness{Signer: s, Verify: srv.verify, Secrets: []string{kitSecret}, Budget: s.budget}
}

// Signers of other kinds pass: a password (no nonce), a challenge (nothing at first), the body (no header).
func TestRunSignerGood(t *testing.T) {
	for name, make := range map[string]func(t *testing.T) SignerHarness{
		"mac": func(*testing.T) SignerHarness {
			_, _, h := newMac()
			return h
		},
		"password": func(*testing.T) SignerHarness {
			s, _, h := newMac()
			s.sign = func(req *http.Request) (renew.Credential, error) {
				if req.Header == nil {
					req.Header = http.Header{}
				}
				req.SetBasicAuth("user", kitSecret)
				return nil, nil
			}
			s.refused = func(*http.Request, renew.Credential, *http.Response) (bool, error) { return false, nil }
			h.SameCredentialOK, h.Budget = true, nil
			h.Verify = func(r *http.Request) error {
				if _, password, _ := r.BasicAuth(); password != kitSecret {
					return errors.New("password")
				}
				return nil
			}
			return h
		},
		"challenge": func(*testing.T) SignerHarness {
			s, srv, h := newMac()
			var asked atomic.Bool
			s.sign = func(req *http.Request) (renew.Credential, error) {
				if !asked.Load() {
					return nil, nil
				}
				return s.good(req)
			}
			s.refused = func(req *http.Request, _ renew.Credential, resp *http.Response) (bool, error) {
				asked.Store(true)
				return req.Context().Err() == nil && resp.Header.Get("WWW-Authenticate") != "", nil
			}
			h.Verify, h.Budget = srv.verify, nil
			h.Challenge = func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("WWW-Authenticate", "Kit")
				w.WriteHeader(http.StatusUnauthorized)
			}
			return h
		},
		"in the body": func(*testing.T) SignerHarness {
			s, _, h := newMac()
			s.sign = func(req *http.Request) (renew.Credential, error) { return nil, signBody(req, true) }
			h.InBody = true
			seen := sync.Map{}
			h.Verify = func(r *http.Request) error {
				body, _ := io.ReadAll(r.Body)
				i := bytes.LastIndex(body, []byte("&nonce="))
				if i < 0 {
					return errors.New("no nonce")
				}
				if _, used := seen.LoadOrStore(string(body[i:]), true); used {
					return errors.New("nonce used")
				}
				return nil
			}
			return h
		},
	} {
		t.Run(name, func(t *testing.T) { RunSigner(t, make) })
	}
}

// signBody appends a nonce to the body.
func signBody(req *http.Request, closeOld bool) error {
	if req.GetBody == nil {
		return errors.New("mac: no GetBody")
	}
	r, err := req.GetBody()
	if err != nil {
		return err
	}
	defer r.Close()
	text, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	text = append(text, "&nonce="+rand.Text()...)
	if closeOld {
		_ = req.Body.Close()
	}
	req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(text)), int64(len(text))
	return nil
}

// recordSignerCheck runs the check of that name as RunSigner does, in a bubble.
func recordSignerCheck(t *testing.T, name string, make func() SignerHarness) *recorder {
	t.Helper()
	i := slices.IndexFunc(signerChecks(), func(c signerCheck) bool { return c.name == name })
	if i < 0 {
		t.Fatalf("no check %q", name)
	}
	r := new(recorder)
	synctest.Test(t, func(*testing.T) {
		done := newDone()
		go func() {
			defer close(done)
			runSignerCheck(r, signerChecks()[i], make())
		}()
		<-done
	})
	return r
}

func newDone() chan struct{} { return make(chan struct{}) }

// shownSigner has its secret in the open.
type shownSigner struct {
	*macSigner
	Password string
}

// One broken signer for each thing that the kit says of signers; each proves that its check can fail.
var badSigners = []struct {
	name  string
	check string
	make  func(s *macSigner, srv *macServer, h *SignerHarness)
	want  string // is in the explanation
}{
	{"no Verify", "Sign", func(_ *macSigner, _ *macServer, h *SignerHarness) { h.Verify = nil },
		"SignerHarness.Signer or SignerHarness.Verify is nil"},
	{"Validate refuses", "Validate", func(s *macSigner, _ *macServer, _ *SignerHarness) {
		s.validate = func() error { return errors.New("nope") }
	}, "R23: Validate refuses a signer that is set up to work: nope"},
	{"Validate shows the secret", "Validate", func(s *macSigner, _ *macServer, _ *SignerHarness) {
		s.validate = func() error { return errors.New("nope: " + kitSecret) }
	}, "R30: the text of the error of Validate shows one of Harness.Secrets"},
	{"Validate refuses at NewTransport", "Sign", func(s *macSigner, _ *macServer, _ *SignerHarness) {
		s.validate = func() error { return errors.New("nope") }
	}, "R23: NewTransport refuses a signer that is set up to work: nope"},
	{"a wrong signature", "Sign", func(s *macSigner, _ *macServer, _ *SignerHarness) { s.secret = renew.NewSecret("another") },
		"R29: the server answered 401 to a GET after 2 requests: wrong signature"},
	{"forgets the query", "Sign", func(s *macSigner, _ *macServer, _ *SignerHarness) {
		s.sign = func(req *http.Request) (renew.Credential, error) {
			u := *req.URL
			req.URL.RawQuery = "" // the query is forgotten
			defer func(q string) { req.URL.RawQuery = q }(u.RawQuery)
			return s.good(req)
		}
	}, "R29: the server answered 401 to a GET"},
	{"signs only what was refused before", "Sign", func(s *macSigner, _ *macServer, _ *SignerHarness) {
		s.sign = func(req *http.Request) (renew.Credential, error) {
			if s.budget.Left(clock.Real{}.Now().Mono) == 2 {
				return nil, nil
			}
			return s.good(req)
		}
	}, "R22: one GET of / took 2 requests"},
	{"fails", "Sign", func(s *macSigner, _ *macServer, _ *SignerHarness) {
		s.sign = func(*http.Request) (renew.Credential, error) { return nil, errors.New("not today") }
	}, "R29: a GET could not be sent"},
	{"panics", "Sign", func(s *macSigner, _ *macServer, _ *SignerHarness) {
		s.sign = func(*http.Request) (renew.Credential, error) { panic("oh") }
	}, "R10: a request through a Transport panicked with a string"},

	{"fails when called directly", "Untouched", func(s *macSigner, _ *macServer, _ *SignerHarness) {
		s.sign = func(*http.Request) (renew.Credential, error) { return nil, errors.New("not today") }
	}, "R29: Authenticate failed for a GET: not today"},
	{"writes to the URL", "Untouched", func(s *macSigner, _ *macServer, _ *SignerHarness) {
		s.sign = func(req *http.Request) (renew.Credential, error) {
			req.URL.RawQuery += "&sig=1"
			return s.good(req)
		}
	}, "R28: Authenticate wrote to the URL"},
	{"writes into a header value", "Untouched", func(s *macSigner, _ *macServer, _ *SignerHarness) {
		s.sign = func(req *http.Request) (renew.Credential, error) {
			req.Header["Authorization"][0] = "Kit"
			return nil, nil
		}
	}, "R28: Authenticate wrote into a header value"},
	{"writes to the Trailer", "Untouched", func(s *macSigner, _ *macServer, _ *SignerHarness) {
		s.sign = func(req *http.Request) (renew.Credential, error) {
			req.Trailer["X-Sig"] = nil
			return s.good(req)
		}
	}, "R28: Authenticate wrote to the Trailer"},
	{"reads the body", "Untouched", func(s *macSigner, _ *macServer, _ *SignerHarness) {
		s.sign = func(req *http.Request) (renew.Credential, error) {
			if req.Body != nil {
				_, _ = io.ReadAll(req.Body)
			}
			return s.good(req)
		}
	}, "R29: Authenticate read the body itself"},
	{"leaves a body open", "Untouched", func(s *macSigner, _ *macServer, _ *SignerHarness) {
		s.sign = func(req *http.Request) (renew.Credential, error) {
			if req.GetBody != nil {
				_, _ = req.GetBody()
			}
			return s.good(req)
		}
	}, "R28: Authenticate left 1 of 2 bodies open"},
	{"drops the old body", "Untouched", func(s *macSigner, _ *macServer, h *SignerHarness) {
		h.InBody = true
		s.sign = func(req *http.Request) (renew.Credential, error) { return nil, signBody(req, false) }
	}, "R28: Authenticate replaced the body and did not close the old one"},
	{"puts nothing", "Untouched", func(s *macSigner, _ *macServer, _ *SignerHarness) {
		s.sign = func(*http.Request) (renew.Credential, error) { return nil, nil }
	}, "R29: Authenticate put nothing on a GET"},

	{"one nonce for all", "Fresh", func(s *macSigner, srv *macServer, _ *SignerHarness) {
		srv.lenient = true
		s.sign = func(req *http.Request) (renew.Credential, error) { return nil, s.signAs(req, "nonce") }
	}, "R29: two requests have the same credential"},
	{"replays the same", "Fresh", func(s *macSigner, _ *macServer, _ *SignerHarness) {
		var last string
		again := false
		s.sign = func(req *http.Request) (renew.Credential, error) {
			if again {
				req.Header.Set("Authorization", last)
				return nil, nil
			}
			_, err := s.good(req)
			last = req.Header.Get("Authorization")
			return nil, err
		}
		s.refused = func(*http.Request, renew.Credential, *http.Response) (bool, error) { again = true; return true, nil }
	}, "R29: the replay after a 401 has the credential that was refused"},

	{"cuts the body", "Body", func(s *macSigner, _ *macServer, _ *SignerHarness) {
		s.sign = func(req *http.Request) (renew.Credential, error) { cut(req); return s.good(req) }
	}, "R29: the body of a POST arrived with 7 bytes"},
	{"cuts the body of the replay", "Body", func(s *macSigner, _ *macServer, _ *SignerHarness) {
		s.sign = func(req *http.Request) (renew.Credential, error) {
			if s.budget.Left(clock.Real{}.Now().Mono) < 2 {
				cut(req)
			}
			return s.good(req)
		}
	}, "R29: the body of the replay of a POST arrived with 7 bytes"},
	{"hashes the start of the body", "Body", func(s *macSigner, _ *macServer, _ *SignerHarness) {
		s.sign = func(req *http.Request) (renew.Credential, error) {
			whole := req.Body
			cut(req)
			_, err := s.good(req)
			req.Body, req.ContentLength = whole, int64(len(longForm))
			return nil, err
		}
	}, "R29: the server refuses a POST with a long body: wrong signature"},

	{"reads what can be read once", "BodyOnce", func(s *macSigner, _ *macServer, _ *SignerHarness) {
		s.sign = func(req *http.Request) (renew.Credential, error) {
			_, _ = io.ReadAll(req.Body)
			return nil, errors.New("cannot be signed")
		}
	}, "R29: a POST without GetBody failed after its body was read"},
	{"signs an empty body instead", "BodyOnce", func(s *macSigner, _ *macServer, _ *SignerHarness) {
		s.sign = func(req *http.Request) (renew.Credential, error) {
			body := req.Body
			req.Body = nil
			_, err := s.good(req)
			req.Body = body
			return nil, err
		}
	}, "R29: a POST without GetBody went out, and the server refuses it"},
	{"cuts what can be read once", "BodyOnce", func(s *macSigner, _ *macServer, _ *SignerHarness) {
		s.sign = func(req *http.Request) (renew.Credential, error) { cut(req); return s.good(req) }
	}, "R29: the body of a POST without GetBody arrived with 7 bytes"},

	{"shows itself in the Referer", "Redirect", func(s *macSigner, _ *macServer, _ *SignerHarness) {
		s.sign = func(req *http.Request) (renew.Credential, error) {
			if req.URL.Path == "/start" {
				req.URL.RawQuery = "sig=" + rand.Text()
			}
			return s.good(req)
		}
	}, "R28: the Referer of a redirect shows more than the caller's URL"},
	{"the first URL only", "Redirect", func(s *macSigner, _ *macServer, h *SignerHarness) {
		h.Budget = nil
		s.refused = func(*http.Request, renew.Credential, *http.Response) (bool, error) { return false, nil }
		var first *url.URL
		s.sign = func(req *http.Request) (renew.Credential, error) {
			if first == nil {
				first = req.URL
			}
			defer func(u *url.URL) { req.URL = u }(req.URL)
			req.URL = first
			return s.good(req)
		}
	}, "R29: the server answered 401 to a GET"},

	{"eats the 401", "Refused", func(s *macSigner, _ *macServer, _ *SignerHarness) {
		s.refused = func(_ *http.Request, _ renew.Credential, resp *http.Response) (bool, error) {
			_, _ = io.ReadAll(resp.Body)
			return false, nil
		}
	}, "R22: the answer is a 401 with 0 bytes, want the server's own 401"},
	{"a bare replay", "Refused", func(s *macSigner, _ *macServer, _ *SignerHarness) {
		s.sign = func(req *http.Request) (renew.Credential, error) {
			if s.budget.Left(clock.Real{}.Now().Mono) < 2 {
				return nil, nil
			}
			return s.good(req)
		}
	}, "R29: request 2 had no good credential: no credential"},
	{"replays for ever", "Budget", func(s *macSigner, _ *macServer, _ *SignerHarness) {
		s.refused = func(*http.Request, renew.Credential, *http.Response) (bool, error) { return true, nil }
	}, "R18: 5 replays followed refusals, and the budget has 2 units"},
	{"sends nothing when it is spent", "Budget", func(s *macSigner, _ *macServer, _ *SignerHarness) {
		s.sign = func(req *http.Request) (renew.Credential, error) {
			if s.budget.Left(clock.Real{}.Now().Mono) == 0 {
				return nil, renew.ErrBudgetSpent
			}
			return s.good(req)
		}
	}, "R21: a refused request ended with 0"},

	{"spends for nothing", "Ended", func(s *macSigner, _ *macServer, _ *SignerHarness) {
		s.refused = func(*http.Request, renew.Credential, *http.Response) (bool, error) {
			s.budget.Charge(clock.Real{}.Now().Mono, 1)
			return true, nil
		}
	}, "R18: Refused spent a unit for a replay that cannot be"},
	{"an error of its own at the end", "Ended", func(s *macSigner, _ *macServer, _ *SignerHarness) {
		s.sign = func(req *http.Request) (renew.Credential, error) {
			if req.Context().Err() != nil {
				return nil, errors.New("too late")
			}
			return s.good(req)
		}
	}, "R7: after its ctx ended, the error of Authenticate matches neither"},
	{"fails in general", "Ended", func(s *macSigner, _ *macServer, _ *SignerHarness) {
		s.sign = func(req *http.Request) (renew.Credential, error) {
			if req.Context().Err() != nil {
				return nil, context.Cause(req.Context())
			}
			return nil, errors.New("not today")
		}
	}, "R29: Authenticate failed for a GET: not today"},
	{"a Credential that shows", "Ended", func(s *macSigner, _ *macServer, _ *SignerHarness) {
		s.sign = func(req *http.Request) (renew.Credential, error) {
			_, err := s.good(req)
			return &struct{ Password string }{kitSecret}, err
		}
	}, "R30: the Credential under %v shows"},

	{"one at a time", "Concurrent", func(s *macSigner, _ *macServer, _ *SignerHarness) {
		var n atomic.Int32
		s.sign = func(req *http.Request) (renew.Credential, error) {
			if n.Add(1) == 5 {
				return nil, errors.New("busy")
			}
			return s.good(req)
		}
	}, "R29: one of 8 requests at once failed"},
	{"refused among others", "Concurrent", func(s *macSigner, _ *macServer, _ *SignerHarness) {
		s.secret = renew.NewSecret("another")
	}, "R29: one of 8 requests at once failed, though each alone works: 401 Unauthorized"},
	{"one nonce at once", "Concurrent", func(s *macSigner, srv *macServer, _ *SignerHarness) {
		srv.lenient = true
		s.sign = func(req *http.Request) (renew.Credential, error) { return nil, s.signAs(req, "nonce") }
	}, "R29: two requests at once have the same credential"},

	{"a secret in the open", "Secrets", func(s *macSigner, _ *macServer, h *SignerHarness) {
		h.Signer = shownSigner{s, kitSecret}
	}, "R30: the signer under %v shows one of Harness.Secrets"},
	{"a secret in an error", "Secrets", func(s *macSigner, _ *macServer, _ *SignerHarness) {
		s.sign = func(req *http.Request) (renew.Credential, error) {
			if req.URL.Scheme == "ftp" {
				return nil, errors.New("no ftp with " + kitSecret)
			}
			return s.good(req)
		}
	}, "R30: the text of the error of Authenticate shows one of Harness.Secrets"},
	{"a panic for an odd request", "Secrets", func(s *macSigner, _ *macServer, _ *SignerHarness) {
		s.sign = func(req *http.Request) (renew.Credential, error) {
			if req.Header == nil {
				req.Header["X"] = nil
			}
			return s.good(req)
		}
	}, "R10: Authenticate panicked"},
}

// cut makes the body "cut off".
func cut(req *http.Request) {
	if req.Body == nil {
		return
	}
	const text = "cut=off"
	req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil }
	req.Body, _ = req.GetBody()
	req.ContentLength = int64(len(text))
}

func TestRunSignerBad(t *testing.T) {
	for _, bad := range badSigners {
		t.Run(bad.check+" "+bad.name, func(t *testing.T) {
			r := recordSignerCheck(t, bad.check, func() SignerHarness {
				s, srv, h := newMac()
				bad.make(s, srv, &h)
				return h
			})
			if !slices.ContainsFunc(r.failed, func(text string) bool { return strings.Contains(text, bad.want) }) {
				t.Errorf("failures %q, want one with %q", r.failed, bad.want)
			}
		})
	}
}

// Each check fails for some broken signer.
func TestRunSignerBadCoversChecks(t *testing.T) {
	for _, c := range signerChecks() {
		if !slices.ContainsFunc(badSigners, func(b struct {
			name  string
			check string
			make  func(s *macSigner, srv *macServer, h *SignerHarness)
			want  string
		}) bool {
			return b.check == c.name
		}) {
			t.Errorf("no broken signer for %s", c.name)
		}
	}
}
