package crtauth_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh/agent"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/clock"
	"github.com/seed-f29168f7/renew/sources/crtauth"
	"github.com/seed-f29168f7/renew/sources/crtauth/crtauthtest"
	"github.com/seed-f29168f7/renew/sources/crtauth/internal/vectors"
	"github.com/seed-f29168f7/renew/sources/internal/leaktest"
)

// Every form of a key that can be read signs the same.
func TestPEMForms(t *testing.T) {
	k := keys()["k2048"]
	pass := func(text string) func(context.Context) (renew.Secret, error) {
		return func(context.Context) (renew.Secret, error) { return renew.NewSecret(text), nil }
	}
	file := filepath.Join(t.TempDir(), "id_rsa")
	require.NoError(t, os.WriteFile(file, []byte(k.OpenSSH), 0o600))
	for name, signer := range map[string]*crtauth.PEM{
		"PKCS#1":                      {Key: renew.NewSecret(k.PKCS1)},
		"PKCS#8":                      {Key: renew.NewSecret(k.PKCS8)},
		"OpenSSH":                     {Key: renew.NewSecret(k.OpenSSH)},
		"PKCS#1 encrypted":            {Key: renew.NewSecret(k.PKCS1Encrypted.PEM), Passphrase: renew.NewSecret(k.PKCS1Encrypted.Passphrase)},
		"OpenSSH encrypted":           {Key: renew.NewSecret(k.OpenSSHEncrypted.PEM), Passphrase: renew.NewSecret(k.OpenSSHEncrypted.Passphrase)},
		"encrypted, PassphraseFunc":   {Key: renew.NewSecret(k.PKCS1Encrypted.PEM), PassphraseFunc: pass(k.PKCS1Encrypted.Passphrase)},
		"a passphrase without a need": {Key: renew.NewSecret(k.PKCS1), Passphrase: renew.NewSecret("x")},
		"KeyFunc":                     {KeyFunc: pass(k.PKCS1)},
		"File":                        {KeyFunc: crtauth.File(file)},
	} {
		t.Run(name, func(t *testing.T) {
			h, src := newServer(crtauthtest.Options{})
			src.Signer = signer
			require.NoError(t, src.Validate())
			tok, err := src.Issue(t.Context())
			require.NoError(t, err)
			assert.True(t, h.Accepts(tok.Value.Reveal()))
		})
	}
}

// A key that cannot serve is told by Validate, and where a function brings it, before anything is sent.
func TestPEMRefused(t *testing.T) {
	k := keys()["k2048"]
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private("k2048"))
	require.NoError(t, err)
	unusable := vectors.Load(t, "testdata/crtauth.json").KeysNotUsable
	for name, tt := range map[string]struct{ key, pass, field, text string }{
		"ed25519":           {unusable["ed25519"].OpenSSH, "", "PEM.Key", "ed25519"},
		"ecdsa":             {unusable["ecdsa"].OpenSSH, "", "PEM.Key", "ecdsa"},
		"text":              {"not a key at all", "", "PEM.Key", "PKCS#1"},
		"half":              {k.PKCS1[:len(k.PKCS1)/2], "", "PEM.Key", "cannot be read"},
		"public":            {k.PublicLine, "", "PEM.Key", "private key"},
		"no passphrase":     {k.OpenSSHEncrypted.PEM, "", "PEM.Passphrase", "is encrypted"},
		"no passphrase, 1":  {k.PKCS1Encrypted.PEM, "", "PEM.Passphrase", "is encrypted"},
		"wrong passphrase":  {k.OpenSSHEncrypted.PEM, "hunter2-canary", "PEM.Passphrase", "does not open"},
		"encrypted PKCS#8":  {string(pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: pkcs8})), "x", "PEM.Key", "ssh-keygen -p"},
		"a key of 512 bits": {shortKey, "", "PEM.Key", "512 bits"},
	} {
		t.Run(name, func(t *testing.T) {
			h, src := newServer(crtauthtest.Options{})
			src.Signer = &crtauth.PEM{Key: renew.NewSecret(tt.key), Passphrase: renew.NewSecret(tt.pass)}
			err := src.Validate()
			ce, ok := errors.AsType[*renew.ConfigError](err)
			require.True(t, ok, "%v", err)
			assert.Equal(t, tt.field, ce.Field)
			assert.Contains(t, ce.Reason, tt.text)
			leaktest.Check(t, err, tt.key, "hunter2-canary")

			src.Signer = &crtauth.PEM{Passphrase: renew.NewSecret(tt.pass), KeyFunc: func(context.Context) (renew.Secret, error) { return renew.NewSecret(tt.key), nil }}
			require.NoError(t, src.Validate())
			e := fails(t, src)
			assert.True(t, e.Kind == renew.Invalid && e.Permanent && e.Unsent, "%v", e)
			leaktest.Check(t, e, tt.key, "hunter2-canary")
			assert.Zero(t, h.Counts())
		})
	}
	both := &crtauth.PEM{Key: renew.NewSecret(k.PKCS1), Passphrase: renew.NewSecret("x"), PassphraseFunc: func(context.Context) (renew.Secret, error) { return renew.Secret{}, nil }}
	assert.ErrorContains(t, both.Validate(), "set one of them")
}

// A file that is not there may come: no unit, and nothing is sent. A pipe is not waited for.
func TestPEMFileMissing(t *testing.T) {
	for path, text := range map[string]string{filepath.Join(t.TempDir(), "none"): "no such file", "/dev/zero": "is not a file", os.Args[0]: "longer than"} {
		h, src := newServer(crtauthtest.Options{})
		src.Signer = &crtauth.PEM{KeyFunc: crtauth.File(path)}
		e := fails(t, src)
		assert.True(t, e.Kind == renew.Transient && e.Unsent && !e.Permanent, "%v", e)
		assert.ErrorContains(t, e, text)
		assert.Zero(t, h.Counts())
	}
}

// shortKey has 512 bits: Go signs with no such key.
const shortKey = `-----BEGIN RSA PRIVATE KEY-----
MIIBOgIBAAJBAKj34GkxFhD90vcNLYLInFEX6Ppy1tPf9Cnzj4p4WGeKLs1Pt8Qu
KUpRKfFLfRYC9AIKjbJTWit+CqvjWYzvQwECAwEAAQJAIJLixBy2qpFoS4DSmoEm
o3qGy0t6z09AIJtH+5OeRV1be+N4cDYJKffGzDa88vQENZiRm0GRq6a+HPGQMd2k
TQIhAKMSvzIBnni7ot/OSie2TmJLY4SwTQAevXysE2RbFDYdAiEBCUEaRQnMnbp7
9mxDXDf6AU0cN/RPBjb9qSHDcWZHGzUCIG2Es59z8ugGrDY+pxLQnwfotadxd+Uy
v/Ow5T0q5gIJAiEAyS4RaI9YG8EWx/2w0T67ZUVAw8eOMB6BIUg0Xcu+3okCIBOs
/5OiPgoTdSy7bcF9IGpSE8ZgGKzgYQVZeN97YE00
-----END RSA PRIVATE KEY-----`

func TestLocal(t *testing.T) {
	h, src := newServer(crtauthtest.Options{})
	src.Signer = crtauth.Local(private("k2048"))
	require.NoError(t, src.Validate())
	_, err := src.Issue(t.Context())
	require.NoError(t, err)
	assert.Equal(t, 1, h.Counts().Logins)
	leaktest.Check(t, src, private("k2048").D.String(), private("k2048").Primes[0].String())

	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	ce, ok := errors.AsType[*renew.ConfigError](crtauth.Local(ec).(renew.Validator).Validate())
	require.True(t, ok)
	assert.Contains(t, ce.Reason, "ecdsa")

	for _, key := range []crypto.Signer{nil, (*rsa.PrivateKey)(nil), &rsa.PrivateKey{}} {
		signer := crtauth.Local(key)
		ce, ok := errors.AsType[*renew.ConfigError](signer.(renew.Validator).Validate())
		require.True(t, ok)
		assert.Contains(t, ce.Reason, "was given nil")
		_, err := signer.Keys(t.Context())
		assert.Equal(t, ce, err)
	}
}

// R26: no timer of a talk with an agent outlives it.
func TestR26_AgentLeavesNoTimer(t *testing.T) {
	clk := clock.NewFake(time.Unix(1700000000, 0))
	_, path := keyring(t, "k2048")
	keys, err := (&crtauth.Agent{Socket: path, Clock: clk}).Keys(t.Context())
	require.NoError(t, err)
	require.Len(t, keys, 1)
	_, err = keys[0].Sign(t.Context(), []byte("data"))
	require.NoError(t, err)
	assert.Zero(t, clk.Timers())
}

// An agent with an RSA key among others: each login lists the keys once and signs once.
func TestAgentSignsOnce(t *testing.T) {
	ring, path := keyring(t, "k2048_other", "k2048")
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	require.NoError(t, ring.Add(agent.AddedKey{PrivateKey: ec}))
	var asked [2]atomic.Int32
	counting := fakeAgent(t, func(conn net.Conn) {
		head := make([]byte, 5)
		if _, err := io.ReadFull(conn, head); err != nil {
			return
		}
		body := make([]byte, binary.BigEndian.Uint32(head)-1)
		if _, err := io.ReadFull(conn, body); err != nil {
			return
		}
		asked[(head[4]-11)/2].Add(1)
		out, err := net.Dial("unix", path)
		if err != nil {
			return
		}
		defer out.Close()
		_, _ = out.Write(append(head, body...))
		reply := make([]byte, 4)
		if _, err := io.ReadFull(out, reply); err != nil {
			return
		}
		_, _ = conn.Write(reply)
		_, _ = io.CopyN(conn, out, int64(binary.BigEndian.Uint32(reply)))
	})
	h, src := newServer(crtauthtest.Options{})
	src.Signer = &crtauth.Agent{Socket: counting}
	for range 3 {
		_, err := src.Issue(t.Context())
		require.NoError(t, err)
	}
	assert.EqualValues(t, 3, asked[0].Load(), "lists")
	assert.EqualValues(t, 3, asked[1].Load(), "signatures")
	assert.Equal(t, crtauthtest.Counts{Challenges: 3, Logins: 3}, h.Counts())

	src.Signer = nil // the default
	t.Setenv("SSH_AUTH_SOCK", path)
	_, err = src.Issue(t.Context())
	require.NoError(t, err)

	require.NoError(t, ring.Lock([]byte("x")))
	e := fails(t, src)
	assert.True(t, e.Kind == renew.Transient && e.Unsent && !e.Permanent, "%v", e)
	assert.ErrorContains(t, e, "ssh-add -X")
	require.NoError(t, ring.Unlock([]byte("x")))
	_, err = src.Issue(t.Context())
	require.NoError(t, err)
}

// frame is a message of an agent.
func frame(message ...byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(message))), message...)
}

// scripted answers list and sign with fixed bytes; nil closes.
func scripted(t *testing.T, list, sign []byte) string {
	return fakeAgent(t, func(conn net.Conn) {
		head := make([]byte, 5)
		if _, err := io.ReadFull(conn, head); err != nil {
			return
		}
		_, _ = io.CopyN(io.Discard, conn, int64(binary.BigEndian.Uint32(head))-1)
		if head[4] == 11 {
			_, _ = conn.Write(list)
			return
		}
		_, _ = conn.Write(sign)
	})
}

// An agent that misbehaves costs a typed error that says what to do, no unit, and no request where it shows at once.
func TestAgentMisbehaves(t *testing.T) {
	f := vectors.Load(t, "testdata/crtauth.json")
	list := vectors.Hex(t, f.AgentTranscript[0].ReplyHex)
	var sha2 []byte
	for _, v := range f.AgentTranscript {
		if v.SignatureFormat == "rsa-sha2-256" {
			sha2 = vectors.Hex(t, v.ReplyHex)
		}
	}
	str := func(b []byte) []byte { return frame(b...) }
	signature := func(format string, blob []byte) []byte {
		return frame(append([]byte{14}, str(append(str([]byte(format)), str(blob)...))...)...)
	}
	for _, tt := range []struct {
		name       string
		list, sign []byte
		text       string
		final      bool
		challenges int
	}{
		{"closes", nil, nil, "does not list its keys", false, 0},
		{"SUCCESS for a list", frame(6), nil, "does not list its keys", false, 0},
		{"FAILURE for a list", frame(5), nil, "does not list its keys", false, 0},
		{"an empty message", frame(), nil, "does not list its keys", false, 0},
		{"4 GiB", []byte{0xff, 0xff, 0xff, 0xff, 12}, nil, "too large", false, 0},
		{"16 MiB and a byte", []byte{1, 0, 0, 1, 12}, nil, "too large", false, 0},
		{"300 kB that do not come", []byte{0, 4, 0x93, 0xe0, 12}, nil, "does not list its keys", false, 0},
		{"a billion keys", frame(12, 0x7f, 0xff, 0xff, 0xff), nil, "too many keys", false, 0},
		{"a key of 4 GiB", frame(12, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff), nil, "does not list its keys", false, 0},
		{"trailing bytes", frame(12, 0, 0, 0, 0, 1), nil, "shows no RSA key", false, 0},
		{"no keys", frame(12, 0, 0, 0, 0), nil, "shows no RSA key", false, 0},
		{"half a list", list[:len(list)/2], nil, "does not list its keys", false, 0},
		{"SUCCESS for a signature", list, frame(6), "does not sign", false, 1},
		{"FAILURE for a signature", list, frame(5), "does not sign", false, 1},
		{"a list for a signature", list, list, "does not sign", false, 1},
		{"no signature", list, frame(14), "does not sign", false, 1},
		{"SHA-2", list, sha2, "another method", true, 1},
		{"a wrong signature", list, signature("ssh-rsa", make([]byte, 256)), "not one of this key", false, 1},
		{"a signature too long", list, signature("ssh-rsa", make([]byte, 257)), "longer than the key", false, 1},
		{"an empty signature", list, signature("ssh-rsa", nil), "not one of this key", false, 1},
		{"SHA-2 under the name of SHA-1", list, signature("ssh-rsa", sha2[len(sha2)-256:]), "not one of this key", false, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h, src := newServer(crtauthtest.Options{})
			path := scripted(t, tt.list, tt.sign)
			src.Signer = &crtauth.Agent{Socket: path}
			e := fails(t, src)
			assert.ErrorContains(t, e, tt.text)
			assert.Equal(t, tt.final, e.Permanent, "%v", e)
			assert.Equal(t, tt.final, e.Kind == renew.Invalid, "%v", e)
			assert.True(t, e.Unsent, "no unit: %v", e)
			assert.Equal(t, crtauthtest.Counts{Challenges: tt.challenges}, h.Counts())

			// With a key to fall back on, that is used.
			src.Signer = crtauth.Signers{&crtauth.Agent{Socket: path}, pemKey("k2048")}
			_, err := src.Issue(t.Context())
			assert.NoError(t, err)
		})
	}
}

// A frame that claims 4 GiB is not made room for.
func TestAgentAllocatesNothing(t *testing.T) {
	path := scripted(t, []byte{0xff, 0xff, 0xff, 0xff, 12}, nil)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := (&crtauth.Agent{Socket: path}).Keys(t.Context())
	runtime.ReadMemStats(&after)
	require.Error(t, err)
	assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(1<<20))
}

func TestAgentMissing(t *testing.T) {
	h, src := newServer(crtauthtest.Options{})
	src.Signer = nil
	for socket, text := range map[string]string{"": "SSH_AUTH_SOCK is not set", filepath.Join(t.TempDir(), "none"): "cannot be talked to"} {
		t.Setenv("SSH_AUTH_SOCK", socket)
		require.NoError(t, src.Validate(), "it may start later")
		e := fails(t, src)
		assert.True(t, e.Kind == renew.Transient && e.Unsent && !e.Permanent, "%v", e)
		assert.ErrorContains(t, e, text)
		assert.ErrorContains(t, e, "Agent.Socket")
	}
	assert.Zero(t, h.Counts())

	// Another key to fall back on, that is not the right one, does not make it final: the agent may have it.
	src.Signer = crtauth.Signers{&crtauth.Agent{}, pemKey("k2048_other")}
	e := fails(t, src)
	_, ok := errors.AsType[*crtauth.NoKeyError](e)
	assert.True(t, ok && e.Kind == renew.Transient && !e.Permanent, "%v", e)
}

// An agent that never answers ends with ctx, and with its own timeout, after which the next signer serves.
func TestR8_AgentHangs(t *testing.T) {
	list := vectors.Hex(t, vectors.Load(t, "testdata/crtauth.json").AgentTranscript[0].ReplyHex)
	for _, first := range []string{"list", "sign"} {
		t.Run(first, func(t *testing.T) {
			asked, gone := make(chan struct{}, 8), make(chan struct{}, 8)
			path := fakeAgent(t, func(conn net.Conn) {
				head := make([]byte, 5)
				if _, err := io.ReadFull(conn, head); err != nil {
					return
				}
				if first == "sign" && head[4] == 11 {
					_, _ = conn.Write(list)
					return
				}
				asked <- struct{}{}
				_, _ = io.Copy(io.Discard, conn) // until the client closes
				gone <- struct{}{}
			})
			clk := clock.NewFake(time.Unix(1700000000, 0))
			_, src := newServer(crtauthtest.Options{Clock: clk})
			src.Signer = &crtauth.Agent{Socket: path, Clock: clk}
			stop := errors.New("stop")
			ctx, cancel := context.WithCancelCause(t.Context())
			go func() { <-asked; cancel(stop) }()
			_, err := src.Issue(ctx)
			e, ok := errors.AsType[*renew.IssueError](err)
			require.True(t, ok)
			assert.ErrorIs(t, err, stop)
			assert.True(t, e.Kind == renew.Transient && e.Unsent, "%v", e)
			<-gone

			limit := map[string]time.Duration{"list": 5 * time.Second, "sign": 18 * time.Second}[first]
			go func() { <-asked; clk.Advance(limit) }()
			e = fails(t, src)
			assert.ErrorContains(t, e, "has not answered for "+limit.String())
			assert.True(t, e.Kind == renew.Transient && e.Unsent, "%v", e)
			<-gone

			src.Signer = crtauth.Signers{src.Signer, pemKey("k2048")}
			go func() { <-asked; clk.Advance(limit) }()
			_, err = src.Issue(t.Context())
			require.NoError(t, err)
			<-gone
		})
	}
}

// A Signer of somebody's own decides what its errors mean; what it says by no type of ours is local and passes.
func TestOwnSigner(t *testing.T) {
	for _, tt := range []struct {
		err       error
		kind      renew.Kind
		permanent bool
	}{
		{errors.New("the token is not plugged in"), renew.Transient, false},
		{&renew.ConfigError{Field: "HSM", Reason: "has no slot 7"}, renew.Invalid, true},
		{&renew.IssueError{Kind: renew.Refused, Permanent: true}, renew.Refused, true},
		{nil, renew.Transient, false}, // and no key
	} {
		h, src := newServer(crtauthtest.Options{})
		src.Signer = signerFunc(func(context.Context) ([]crtauth.Key, error) { return nil, tt.err })
		e := fails(t, src)
		assert.Equal(t, tt.kind, e.Kind)
		assert.Equal(t, tt.permanent, e.Permanent)
		assert.Zero(t, h.Counts())
		if tt.err == nil {
			continue
		}
		src.Signer = &slow{Signer: pemKey("k2048"), before: func(context.Context) error { return tt.err }}
		e = fails(t, src)
		assert.Equal(t, tt.kind, e.Kind)
	}
}

type signerFunc func(context.Context) ([]crtauth.Key, error)

func (f signerFunc) Keys(ctx context.Context) ([]crtauth.Key, error) { return f(ctx) }

// Signatures of keys that are longer, and users that have them, work too.
func TestLongKey(t *testing.T) {
	h, src := newServer(crtauthtest.Options{Java: true, Users: map[string]*rsa.PublicKey{strings.Repeat("u", 64): &private("k3072").PublicKey}})
	src.User, src.Signer = strings.Repeat("u", 64), pemKey("k3072")
	_, err := src.Issue(t.Context())
	require.NoError(t, err)
	assert.Equal(t, 1, h.Counts().Logins)
}
