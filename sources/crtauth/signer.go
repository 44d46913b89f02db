package crtauth

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/seed-f29168f7/renew"
)

// minBits and maxBits bound the keys that are used: Go checks no shorter ones, and longer
// ones would only burn time.
const (
	minBits = 1024
	maxBits = 16384
)

// Signer has the keys of a user: [Agent], [PEM], [Local], or [Signers] for several.
type Signer interface {
	// Keys returns the RSA keys, best first. It is called at the start of each login, before
	// anything is sent, and may block until ctx ends. It may return keys and an error: then the keys are
	// used, and the error is told when none of them is the right one.
	//
	// An error is taken as trouble on this machine that may pass, unless it is a
	// *renew.ConfigError, which is taken as final, or a *renew.IssueError. It must hold no secret.
	Keys(ctx context.Context) ([]Key, error)
}

// Key is one RSA key.
type Key struct {
	// Public is the public half.
	Public *rsa.PublicKey
	// Sign makes a signature of data: RSASSA-PKCS1-v1_5 with SHA-1, as a big-endian number
	// without the wrapper that SSH has. It may lack zeros at its front; they are
	// put back. It is called once for a login and may block until ctx ends. Errors are as those of Keys.
	Sign func(ctx context.Context, data []byte) ([]byte, error)
}

// Fingerprint names a key: the first 6 bytes of the SHA-1 of its SSH form, which starts with
// the text ssh-rsa (the specification leaves that out, but all servers have it).
type Fingerprint [6]byte

// String returns it in hexadecimal.
func (f Fingerprint) String() string { return hex.EncodeToString(f[:]) }

// Fingerprint returns the fingerprint of the key.
func (k Key) Fingerprint() Fingerprint {
	blob, err := ssh.NewPublicKey(k.Public)
	if err != nil {
		return Fingerprint{} // ssh takes every RSA key that is not nil
	}
	sum := sha1.Sum(blob.Marshal())
	return Fingerprint(sum[:])
}

// sign makes the signature as it is sent: as long as the modulus. It is checked, so that a key or
// an agent that signs by another method is found out here and not by the server.
func (k Key) sign(ctx context.Context, data []byte) ([]byte, error) {
	blob, err := k.Sign(ctx, data)
	if err != nil {
		return nil, err
	}
	size := k.Public.Size()
	if len(blob) > size {
		return nil, errors.New("the signature is longer than the key")
	}
	blob = append(bytes.Repeat([]byte{0}, size-len(blob)), blob...)
	sum := sha1.Sum(data)
	if rsa.VerifyPKCS1v15(k.Public, crypto.SHA1, sum[:], blob) != nil {
		return nil, errors.New("the signature is not one of this key with SHA-1, the one kind that crtauth has")
	}
	return blob, nil
}

// NoKeyError says that none of the keys is the one that the server has for the user.
type NoKeyError struct {
	// Want is the key that the server asks for. For a user that it does not know it makes one up.
	Want Fingerprint
	// Have are the RSA keys that were looked at.
	Have []Fingerprint
	// User is the user who wants to log in.
	User string
	// Err is what kept other keys from being looked at, or nil.
	Err error
}

// Error names the three reasons that there can be.
func (e *NoKeyError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "no key here has the fingerprint %v that the server asks for: it does not know user %q, or the key is not loaded (ssh-add loads one), or it has another key of that user; ", e.Want, e.User)
	switch {
	case len(e.Have) == 0:
		b.WriteString("there is no RSA key here")
	case len(e.Have) > 8:
		fmt.Fprintf(&b, "the RSA keys here are %v and %d more", e.Have[:8], len(e.Have)-8)
	default:
		fmt.Fprintf(&b, "the RSA keys here are %v", e.Have)
	}
	if e.Err != nil {
		b.WriteString("; " + strings.TrimPrefix(e.Err.Error(), "renew: "))
	}
	return b.String()
}

// Unwrap returns what kept other keys from being looked at.
func (e *NoKeyError) Unwrap() error { return e.Err }

// Signers tries several in their order: an agent, and a key in a file when there is no agent or
// it has not the key or does not sign.
type Signers []Signer

// Validate reports that there is none, or what is wrong with one of them, as a *renew.ConfigError.
func (s Signers) Validate() error {
	if len(s) == 0 {
		return &renew.ConfigError{Field: "Signers", Reason: "is empty: it must have an Agent, a PEM or a Local"}
	}
	for i, signer := range s {
		if signer == nil {
			return &renew.ConfigError{Field: fmt.Sprintf("Signers[%d]", i), Reason: "is nil"}
		}
		if v, ok := signer.(renew.Validator); ok {
			if err := v.Validate(); err != nil {
				return err
			}
		}
	}
	return nil
}

// Keys returns the keys of all of them, and the errors of those that have none.
func (s Signers) Keys(ctx context.Context) (keys []Key, err error) {
	var failed []error
	for _, signer := range s {
		more, err := signer.Keys(ctx)
		keys = append(keys, more...)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err != nil {
			failed = append(failed, err)
		}
	}
	switch len(failed) {
	case 0:
		return keys, nil
	case 1:
		return keys, failed[0]
	}
	return keys, errors.Join(failed...)
}

// Local returns a Signer of a key that this process can use: an *rsa.PrivateKey, or what a
// hardware module or a key service offers as a crypto.Signer. Its Sign is called with a SHA-1 sum. It
// gets no context, so a login lasts as long as it does.
func Local(key crypto.Signer) Signer {
	return &local{key: func() crypto.Signer { return key }}
}

// local holds the key behind a func, where no dump finds it.
type local struct{ key func() crypto.Signer }

// Validate reports a key that cannot serve, as a *renew.ConfigError.
func (l *local) Validate() error {
	_, err := l.public()
	return err
}

func (l *local) public() (*rsa.PublicKey, error) {
	key := l.key()
	if private, ok := key.(*rsa.PrivateKey); key == nil || ok && (private == nil || private.N == nil) {
		return nil, &renew.ConfigError{Field: "Local", Reason: "was given nil: it needs an RSA key"}
	}
	pub, ok := key.Public().(*rsa.PublicKey)
	if !ok {
		return nil, &renew.ConfigError{Field: "Local", Reason: fmt.Sprintf("has a %T: crtauth takes RSA keys alone", key.Public())}
	}
	return pub, checkSize("Local", pub)
}

// checkSize says that a key is too short or too long.
func checkSize(field string, pub *rsa.PublicKey) error {
	if bits := pub.N.BitLen(); bits < minBits || bits > maxBits {
		return &renew.ConfigError{Field: field, Reason: fmt.Sprintf("is an RSA key of %d bits: it must have %d to %d", bits, minBits, maxBits)}
	}
	return nil
}

// Keys returns the key.
func (l *local) Keys(context.Context) ([]Key, error) {
	pub, err := l.public()
	if err != nil {
		return nil, err
	}
	return []Key{{Public: pub, Sign: func(_ context.Context, data []byte) ([]byte, error) {
		sum := sha1.Sum(data)
		return l.key().Sign(rand.Reader, sum[:], crypto.SHA1)
	}}}, nil
}
