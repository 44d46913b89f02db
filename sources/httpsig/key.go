package httpsig

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"

	"github.com/seed-f29168f7/renew"
)

// Key is a private key. It prints as its zero value does, without the key. The zero Key is none.
type Key struct {
	signer func() crypto.Signer // a func for the reason that renew.Secret holds one
}

// NewKey returns the Key of an ed25519.PrivateKey, an *rsa.PrivateKey, an *ecdsa.PrivateKey, or of a key that a device or an
// agent keeps. Signer.Validate refuses one that RFC 9421 has no algorithm for, and nil.
func NewKey(signer crypto.Signer) Key { return Key{func() crypto.Signer { return signer }} }

// ParseKey reads the first block of a PEM text, unencrypted, as PKCS #8 ("PRIVATE KEY"), PKCS #1 ("RSA PRIVATE KEY") or
// SEC 1 ("EC PRIVATE KEY"). Its errors, each a *renew.ConfigError, hold nothing of the text.
func ParseKey(text renew.Secret) (Key, error) {
	wrong := func(reason string) (Key, error) {
		return Key{}, &renew.ConfigError{Field: "Key", Reason: reason}
	}
	block, _ := pem.Decode([]byte(text.Reveal()))
	if block == nil {
		return wrong("is not PEM: give the text that begins with -----BEGIN")
	}
	var key any
	var err error
	switch block.Type {
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	default:
		return wrong("is PEM of another type than PRIVATE KEY: convert it with openssl pkcs8 -topk8 -nocrypt")
	}
	if err != nil {
		return wrong("cannot be read (is it encrypted?)")
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
