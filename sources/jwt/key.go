package jwt

import (
	"crypto"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/sources/internal/jws"
	"github.com/seed-f29168f7/renew/sources/internal/privatekey"
)

// Key is what signs: a private key or a shared secret. It prints without the key. The zero Key
// is none. A Key is as safe for concurrent use as its crypto.Signer is.
type Key struct {
	hidden func() any // []byte or crypto.Signer; a func for the reason that renew.Secret holds one
}

// NewKey returns the Key of a private key of the standard library (*rsa.PrivateKey, *ecdsa.PrivateKey,
// ed25519.PrivateKey), or of one that a device, an agent or a service keeps. Validate refuses nil, and weak keys.
func NewKey(signer crypto.Signer) Key { return Key{func() any { return signer }} }

// NewSecretKey returns the Key of a shared secret, for HS256, HS384 and HS512. Its bytes are taken as they
// are: decode one that is given in base64 first.
func NewSecretKey(secret renew.Secret) Key {
	if secret.IsZero() {
		return Key{}
	}
	return Key{func() any { return []byte(secret.Reveal()) }}
}

// ParseKey reads the first private key of a PEM text, unencrypted, as PKCS #8 ("PRIVATE KEY", RFC 5958), PKCS #1
// ("RSA PRIVATE KEY", RFC 8017) or SEC 1 ("EC PRIVATE KEY", RFC 5915). What stands before it, such as EC PARAMETERS
// or a certificate, is passed over. Its errors are *renew.ConfigError and hold nothing of the text.
func ParseKey(text renew.Secret) (Key, error) {
	wrong := func(reason string) (Key, error) {
		return Key{}, &renew.ConfigError{Field: "Key", Reason: reason}
	}
	key, err := privatekey.Parse(text)
	if err != nil {
		return wrong(err.Error())
	}
	signer, ok := key.(crypto.Signer)
	if !ok || jws.Default(signer) == "" {
		return wrong("is a private key of a kind that no algorithm takes: it must be RSA, EC on P-256, P-384 or P-521, or Ed25519")
	}
	return NewKey(signer), nil
}

// Thumbprint returns the SHA-256 thumbprint of the public key (RFC 7638) in base64url, which many servers use as the key
// id. It is empty for a shared secret, and for the zero Key.
func (k Key) Thumbprint() string { return jws.Thumbprint(k.reveal()) }

// IsZero reports whether k is the zero Key, which is none.
func (k Key) IsZero() bool { return k.hidden == nil }

// reveal returns the key, or nil.
func (k Key) reveal() any {
	if k.hidden == nil {
		return nil
	}
	return k.hidden()
}
