package jwt

import (
	"context"
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"io/fs"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/clock"
	"github.com/seed-f29168f7/renew/renewtest"
	"github.com/seed-f29168f7/renew/sources/internal/jws"
	"github.com/seed-f29168f7/renew/sources/internal/leaktest"
)

const testSecret = "0123456789abcdef0123456789abcdef-a-shared-secret"

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

var (
	rsaKey = sync.OnceValue(func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, 2048)) })
	ecKey  = sync.OnceValue(func() *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) })
)

// claims verifies a token and returns its header and claims.
func claims(t *testing.T, tok renew.Secret, alg Algorithm, key any) map[string]any {
	t.Helper()
	payload, err := jws.Verify(tok.Reveal(), string(alg), key)
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(payload, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestKit(t *testing.T) {
	text := renew.NewSecret(string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: must(x509.MarshalECPrivateKey(ecKey()))})))
	for name, src := range map[string]*Source{
		"secret": {Key: NewSecretKey(renew.NewSecret(testSecret)), Issuer: "me"},
		"PEM":    {Key: must(ParseKey(text)), Subject: "me", TokenType: "JWT"},
		"func":   {KeyFunc: func(context.Context) (Key, error) { return ParseKey(text) }, Claims: func(context.Context) (map[string]any, error) { return map[string]any{"a": 1}, nil }},
	} {
		t.Run(name, func(t *testing.T) {
			renewtest.RunSourceInBubble(t, func(*testing.T) renewtest.Harness {
				return renewtest.Harness{Source: src, Secrets: []string{testSecret, text.Reveal()}}
			})
		})
	}
}

func TestClaims(t *testing.T) {
	clk := clock.NewFake(time.Unix(1_700_000_000, 900_000_000))
	secret := NewSecretKey(renew.NewSecret(testSecret))
	for _, tt := range []struct {
		name string
		src  Source
		want string // without jti
		life time.Duration
	}{
		{"least", Source{}, `{"iat":1700000000,"exp":1700000300}`, 5*time.Minute - 900*time.Millisecond},
		{"all", Source{Issuer: "i", Subject: "s", Audience: []string{"a"}, Lifetime: time.Hour, Backdate: time.Minute},
			`{"iss":"i","sub":"s","aud":"a","iat":1699999940,"exp":1700003540}`, 59*time.Minute - 900*time.Millisecond},
		{"audiences", Source{Audience: []string{"a", "b"}, Lifetime: 2 * time.Second}, `{"aud":["a","b"],"iat":1700000000,"exp":1700000002}`, 1100 * time.Millisecond},
		{"more", Source{Issuer: "i", Claims: func(context.Context) (map[string]any, error) {
			return map[string]any{"scope": "x y", "sub": "s", "nested": map[string]any{"n": 1.5}}, nil
		}}, `{"iss":"i","sub":"s","scope":"x y","nested":{"n":1.5},"iat":1700000000,"exp":1700000300}`, 5*time.Minute - 900*time.Millisecond},
		{"odd", Source{Issuer: `:+%&=?"\ <é日>`}, `{"iss":":+%&=?\"\\ <é日>","iat":1700000000,"exp":1700000300}`, 5*time.Minute - 900*time.Millisecond},
	} {
		tt.src.Key, tt.src.Clock = secret, clk
		tok, err := tt.src.Issue(t.Context())
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		got := claims(t, tok.Value, HS256, []byte(testSecret))
		if jti, _ := got["jti"].(string); len(jti) < 22 {
			t.Errorf("%s: jti %q", tt.name, jti)
		}
		delete(got, "jti")
		var want map[string]any
		if err := json.Unmarshal([]byte(tt.want), &want); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) || tok.Life != tt.life || tok.Expiry.Unix() != int64(want["exp"].(float64)) {
			t.Errorf("%s: %v, life %v, want %v, %v", tt.name, got, tok.Life, want, tt.life)
		}
	}
}

func TestHeader(t *testing.T) {
	thumb := NewKey(ecKey()).Thumbprint()
	if len(thumb) != 43 || NewSecretKey(renew.NewSecret(testSecret)).Thumbprint() != "" || (Key{}).Thumbprint() != "" {
		t.Errorf("thumbprint %q", thumb)
	}
	for _, tt := range []struct {
		src  Source
		want string
	}{
		{Source{}, `{"alg":"ES256","typ":"JWT"}`},
		{Source{KeyID: `k"1`, Type: "at+jwt"}, `{"alg":"ES256","kid":"k\"1","typ":"at+jwt"}`},
		{Source{KeyIDFunc: Key.Thumbprint}, `{"alg":"ES256","kid":"` + thumb + `","typ":"JWT"}`},
	} {
		tt.src.Key = NewKey(ecKey())
		tok, err := tt.src.Assertion(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		head, _, _ := strings.Cut(tok.Reveal(), ".")
		if got := string(must(base64.RawURLEncoding.DecodeString(head))); got != tt.want {
			t.Errorf("%s, want %s", got, tt.want)
		}
	}
}

func TestEveryAlgorithm(t *testing.T) {
	secret := strings.Repeat(testSecret, 2)
	_, ed, _ := ed25519.GenerateKey(rand.Reader)
	p384, p521 := must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader)), must(ecdsa.GenerateKey(elliptic.P521(), rand.Reader))
	keys := map[Algorithm]any{
		HS256: []byte(secret), HS384: []byte(secret), HS512: []byte(secret), RS256: rsaKey(), RS384: rsaKey(), RS512: rsaKey(), PS256: rsaKey(), PS384: rsaKey(), PS512: rsaKey(),
		ES256: ecKey(), ES384: p384, ES512: p521, EdDSA: ed,
	}
	defaults := []Algorithm{HS256, RS256, ES256, ES384, ES512, EdDSA}
	for alg, raw := range keys {
		key := NewSecretKey(renew.NewSecret(secret))
		if s, ok := raw.(crypto.Signer); ok {
			key = NewKey(s)
		}
		for _, set := range []Algorithm{alg, ""} {
			if set == "" && !slices.Contains(defaults, alg) {
				continue
			}
			src := &Source{Key: key, Algorithm: set}
			tok, err := src.Issue(t.Context())
			if err != nil {
				t.Errorf("%s, set %q: %v", alg, set, err)
				continue
			}
			claims(t, tok.Value, alg, raw)
			leaktest.Check(t, src, secret)
		}
	}
}

// The key shows in no dump of a Source, whatever holds it.
func TestKeyPrintsNothing(t *testing.T) {
	seed := "an ed25519 seed has 32 bytes: 32"
	leaktest.Check(t, &Source{Key: NewKey(ed25519.NewKeyFromSeed([]byte(seed)))}, seed)
	leaktest.Check(t, &Source{Key: NewSecretKey(renew.NewSecret(testSecret))}, testSecret)
}

func TestJwt_JTIIsNewEachTime(t *testing.T) {
	src, seen := &Source{Key: NewSecretKey(renew.NewSecret(testSecret))}, map[any]bool{}
	for range 1000 {
		tok, err := src.Issue(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		seen[claims(t, tok.Value, HS256, []byte(testSecret))["jti"]] = true
	}
	if len(seen) != 1000 {
		t.Errorf("%d different jti in 1000 tokens", len(seen))
	}
}

// A daemon runs for two hours on tokens of five minutes: each is replaced in time, with no traffic.
func TestR12_SelfSignedTokensInService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ts, err := renew.New(&Source{Key: NewSecretKey(renew.NewSecret(testSecret)), Backdate: 30 * time.Second}, renew.Config{})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = ts.Close(context.Background()) }()
		var last uint64
		for range 240 {
			tok, err := ts.Token(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if exp := int64(claims(t, tok.Value, HS256, []byte(testSecret))["exp"].(float64)); exp <= time.Now().Unix() {
				t.Fatalf("an expired token at %v", time.Now())
			}
			last = tok.Generation()
			time.Sleep(30 * time.Second)
		}
		if last < 30 || last > 60 {
			t.Errorf("%d tokens in two hours of tokens that live 4m30s", last)
		}
	})
}

func TestErrors(t *testing.T) {
	good := NewSecretKey(renew.NewSecret(testSecret))
	weak := NewSecretKey(renew.NewSecret(testSecret[:31]))
	keys := func(k Key, err error) func(context.Context) (Key, error) {
		return func(context.Context) (Key, error) { return k, err }
	}
	more := func(m map[string]any, err error) func(context.Context) (map[string]any, error) {
		return func(context.Context) (map[string]any, error) { return m, err }
	}
	for _, tt := range []struct {
		name string
		src  Source
		kind renew.Kind
		is   error
	}{
		{"no key", Source{}, renew.Invalid, nil},
		{"the key cannot be read", Source{KeyFunc: keys(Key{}, fs.ErrNotExist)}, renew.Transient, fs.ErrNotExist},
		{"a weak key comes", Source{KeyFunc: keys(weak, nil)}, renew.Invalid, nil},
		{"no key comes", Source{KeyFunc: keys(Key{}, nil)}, renew.Invalid, nil},
		{"the key is for another algorithm", Source{KeyFunc: keys(good, nil), Algorithm: ES256}, renew.Invalid, nil},
		{"claims fail", Source{Key: good, Claims: more(nil, io.ErrClosedPipe)}, renew.Transient, io.ErrClosedPipe},
		{"claims set exp", Source{Key: good, Claims: more(map[string]any{"exp": testSecret}, nil)}, renew.Invalid, nil},
		{"claims are no JSON", Source{Key: good, Claims: more(map[string]any{"x": func() {}}, nil)}, renew.Invalid, nil},
		{"the device fails", Source{Key: NewKey(broken{ecKey()})}, renew.Transient, io.ErrNoProgress},
	} {
		tok, err := tt.src.Issue(t.Context())
		e, ok := err.(*renew.IssueError)
		if !ok || tok != nil || e.Kind != tt.kind || e.Permanent != (tt.kind == renew.Invalid) || !e.Unsent || tt.is != nil && !errors.Is(err, tt.is) {
			t.Errorf("%s: %#v", tt.name, err)
		}
		leaktest.Check(t, err, testSecret, testSecret[:31])
	}
	cause := errors.New("stop")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	for name, src := range map[string]*Source{"plain": {Key: good}, "key": {KeyFunc: keys(Key{}, io.EOF)}, "claims": {Key: good, Claims: more(nil, io.EOF)}} {
		if _, err := src.Issue(ctx); !errors.Is(err, cause) {
			t.Errorf("%s: %v, want the cause", name, err)
		}
	}
}

type broken struct{ crypto.Signer }

func (broken) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return nil, io.ErrNoProgress
}

func TestValidate(t *testing.T) {
	good := NewSecretKey(renew.NewSecret(testSecret))
	fn := func(context.Context) (Key, error) { return good, nil }
	for _, tt := range []struct {
		name  string
		src   Source
		field string // empty: valid
	}{
		{"zero", Source{}, "Key"}, {"good", Source{Key: good}, ""}, {"func", Source{KeyFunc: fn}, ""}, {"both", Source{Key: good, KeyFunc: fn}, "Key"},
		{"nil signer", Source{Key: NewKey(nil)}, "Key"}, {"nil key", Source{Key: NewKey((*rsa.PrivateKey)(nil))}, "Key"}, {"no secret", Source{Key: NewSecretKey(renew.Secret{})}, "Key"},
		{"short secret", Source{Key: NewSecretKey(renew.NewSecret(testSecret[:31]))}, "Key"}, {"short for HS512", Source{Key: good, Algorithm: HS512}, "Key"},
		{"weak RSA", Source{Key: NewKey(must(rsa.GenerateKey(rand.Reader, 1024)))}, "Key"},
		{"curve", Source{Key: NewKey(ecKey()), Algorithm: ES384}, "Key"}, {"RSA as HS256", Source{Key: NewKey(rsaKey()), Algorithm: HS256}, "Key"},
		{"none", Source{Key: good, Algorithm: "none"}, "Algorithm"},
		{"lifetime", Source{Key: good, Lifetime: time.Second}, "Lifetime"}, {"part of a second", Source{Key: good, Lifetime: 2500 * time.Millisecond}, "Lifetime"}, {"negative", Source{Key: good, Lifetime: -time.Hour}, "Lifetime"},
		{"shortest", Source{Key: good, Lifetime: 2 * time.Second}, ""}, {"backdate", Source{Key: good, Backdate: time.Minute}, ""},
		{"backdate too far", Source{Key: good, Backdate: 299 * time.Second}, "Backdate"}, {"negative backdate", Source{Key: good, Backdate: -time.Second}, "Backdate"},
		{"audience", Source{Key: good, Audience: []string{"a", ""}}, "Audience"}, {"token type", Source{Key: good, TokenType: "a b"}, "TokenType"},
		{"two key ids", Source{Key: good, KeyID: "a", KeyIDFunc: Key.Thumbprint}, "KeyID"},
	} {
		err := tt.src.Validate()
		e, ok := err.(*renew.ConfigError)
		if (err == nil) != (tt.field == "") || err != nil && (!ok || e.Field != "Source."+tt.field) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.field)
		}
		leaktest.Check(t, err, testSecret, testSecret[:31])
	}
}

func block(typ string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: typ, Bytes: der}))
}

func TestParseKey(t *testing.T) {
	_, ed, _ := ed25519.GenerateKey(rand.Reader)
	p224 := must(ecdsa.GenerateKey(elliptic.P224(), rand.Reader))
	pkcs8 := func(k any) string { return block("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(k))) }
	sec1 := block("EC PRIVATE KEY", must(x509.MarshalECPrivateKey(ecKey())))
	for name, tt := range map[string]struct {
		text string
		want crypto.Signer // nil: an error
		says string
	}{
		"PKCS #1":        {block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey())), rsaKey(), ""},
		"PKCS #8 RSA":    {pkcs8(rsaKey()), rsaKey(), ""},
		"PKCS #8 EC":     {pkcs8(ecKey()), ecKey(), ""},
		"Ed25519":        {pkcs8(ed), ed, ""},
		"SEC 1":          {sec1, ecKey(), ""},
		"of openssl":     {block("EC PARAMETERS", []byte{6, 8}) + sec1, ecKey(), ""},
		"CR LF":          {strings.ReplaceAll(sec1, "\n", "\r\n"), ecKey(), ""},
		"P-224":          {pkcs8(p224), nil, "P-256"},
		"X25519":         {pkcs8(must(ecdh.X25519().GenerateKey(rand.Reader))), nil, "Ed25519"},
		"public":         {block("PUBLIC KEY", must(x509.MarshalPKIXPublicKey(ecKey().Public()))), nil, "without a private key"},
		"encrypted":      {block("ENCRYPTED PRIVATE KEY", []byte("x")), nil, "encrypted"},
		"encrypted, old": {"-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n", nil, "encrypted"},
		"OpenSSH":        {block("OPENSSH PRIVATE KEY", []byte("x")), nil, "without a private key"},
		"garbage within": {block("PRIVATE KEY", []byte("garbage")), nil, "cannot be read"},
		"one line":       {strings.ReplaceAll(sec1, "\n", `\n`), nil, "line breaks"},
		"empty":          {"", nil, "not PEM"}, "text": {"secret text", nil, "not PEM"}, "long": {strings.Repeat("x", 1<<20+1), nil, "1 MiB"},
	} {
		key, err := ParseKey(renew.NewSecret(tt.text))
		if tt.want == nil {
			if e, ok := err.(*renew.ConfigError); !ok || e.Field != "Key" || !strings.Contains(e.Reason, tt.says) {
				t.Errorf("%s: %v", name, err)
			}
			if len(tt.text) > 40 && len(tt.text) < 10_000 { // what is longer takes long to look for
				leaktest.Check(t, err, tt.text[30:])
			}
			continue
		}
		if err != nil || !reflect.DeepEqual(key.reveal().(crypto.Signer).Public(), tt.want.Public()) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDescribe(t *testing.T) {
	d := (&Source{InputVersion: func() uint64 { return 7 }}).Describe()
	if d.Name != "jwt" || d.InputVersion() != 7 || d.Endpoint != "" || d.Account != "" {
		t.Errorf("%+v", d)
	}
}

func FuzzParseKey(f *testing.F) {
	_, ed, _ := ed25519.GenerateKey(rand.Reader)
	for typ, der := range map[string][]byte{"EC PRIVATE KEY": must(x509.MarshalECPrivateKey(ecKey())), "PRIVATE KEY": must(x509.MarshalPKCS8PrivateKey(ed)), "RSA PRIVATE KEY": {0x30, 0}} {
		f.Add(block(typ, der))
	}
	f.Fuzz(func(t *testing.T, text string) {
		key, err := ParseKey(renew.NewSecret(text))
		if err != nil {
			if key.hidden != nil {
				t.Fatal("a key and an error")
			}
			if len(text) > 100 {
				leaktest.Check(t, err, text)
			}
			return
		}
		// What can be read has an algorithm and a thumbprint, and can be checked. It is not made to sign, which is
		// different each time and would look like news to the fuzzer.
		if len(key.Thumbprint()) != 43 {
			t.Fatal("no thumbprint")
		}
		if err := (&Source{Key: key}).Validate(); err != nil && strings.Contains(err.Error(), "algorithm") {
			t.Fatal(err)
		}
	})
}

// A key without content has no thumbprint, and asking for it does not panic.
func TestJwt_KeyWithoutContentHasNoThumbprint(t *testing.T) {
	for i, key := range []Key{{}, NewKey(nil), NewKey(&rsa.PrivateKey{}), NewKey((*rsa.PrivateKey)(nil)), NewKey(&ecdsa.PrivateKey{}), NewKey(ed25519.PrivateKey{}), NewSecretKey(renew.NewSecret("s"))} {
		if got := key.Thumbprint(); got != "" {
			t.Errorf("%d: %q", i, got)
		}
		if i < 6 && (&Source{Key: key}).Validate() == nil {
			t.Errorf("%d is valid", i)
		}
	}
}
