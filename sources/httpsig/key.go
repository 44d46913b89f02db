package httpsig

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/sources/internal/privatekey"
)

// Key is a private key. It prints as its zero value does, without the key. The zero Key is none.
type Key struct {
	signer func() crypto.Signer // a func for the reason that renew.Secret holds one
}

// NewKey returns the Key of an ed25519.PrivateKey, an *rsa.PrivateKey, an *ecdsa.PrivateKey, or of a key that a device or an
// agent keeps. Signer.Validate refuses one that RFC 9421 has no algorithm for, and nil.
func NewKey(signer crypto.Signer) Key { return Key{func() crypto.Signer { return signer }} }

// ParseKey reads the first private key of a PEM text, unencrypted, as PKCS #8 ("PRIVATE KEY"), PKCS #1 ("RSA PRIVATE KEY") or
// SEC 1 ("EC PRIVATE KEY"). Its errors, each a *renew.ConfigError, hold nothing of the text.
func ParseKey(text renew.Secret) (Key, error) {
	wrong := func(reason string) (Key, error) {
		return Key{}, &renew.ConfigError{Field: "Key", Reason: reason}
	}
	key, err := privatekey.Parse(text)
	if err != nil {
		return wrong(err.Error())
	}
	switch key := key.(type) {
	case *rsa.PrivateKey:
		return NewKey(key), nil
	case *ecdsa.PrivateKey:
		return NewKey(key), nil
	case ed25519.PrivateKey:
		return NewKey(key), nil
	}
	return wrong("is of a kind that RFC 9421 has no algorithm for")
}

// isSet reports whether there is a key.
func (k Key) isSet() bool { return k.signer != nil }

// public returns the public half of a key that is set, or nil.
func (k Key) public() crypto.PublicKey {
	if signer := k.signer(); signer != nil {
		return signer.Public()
	}
	return nil
}
