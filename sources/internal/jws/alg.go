// Package jws signs and reads JSON Web Signatures in their compact form
// (RFC 7515, section 3.1), which JSON Web Tokens are (RFC 7519).
//
// The algorithm is always the caller's choice and never the token's: what a header
// names is compared with it, so that "none" (RFC 7515, appendix A.5) and a key of
// another kind have no way in (RFC 8725, section 3.1). Errors hold nothing of a token or a key.
package jws

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"errors"
	"fmt"
	"reflect"

	"github.com/golang-jwt/jwt/v5"
)

// family is the kind of key that an algorithm takes.
type family uint8

const (
	hmacKey family = iota
	rsaPKCS1
	rsaPSS
	ecKey
	edKey
)

// alg is what there is to know of an algorithm.
type alg struct {
	family family
	hash   crypto.Hash // 0 for EdDSA, which hashes by itself
	curve  elliptic.Curve
	method jwt.SigningMethod
}

// algs has the algorithms of RFC 7518, section 3.1, and RFC 8037, section 3.1, without "none".
var algs = map[string]alg{
	"HS256": {hmacKey, crypto.SHA256, nil, jwt.SigningMethodHS256},
	"HS384": {hmacKey, crypto.SHA384, nil, jwt.SigningMethodHS384},
	"HS512": {hmacKey, crypto.SHA512, nil, jwt.SigningMethodHS512},
	"RS256": {rsaPKCS1, crypto.SHA256, nil, jwt.SigningMethodRS256},
	"RS384": {rsaPKCS1, crypto.SHA384, nil, jwt.SigningMethodRS384},
	"RS512": {rsaPKCS1, crypto.SHA512, nil, jwt.SigningMethodRS512},
	"PS256": {rsaPSS, crypto.SHA256, nil, jwt.SigningMethodPS256},
	"PS384": {rsaPSS, crypto.SHA384, nil, jwt.SigningMethodPS384},
	"PS512": {rsaPSS, crypto.SHA512, nil, jwt.SigningMethodPS512},
	"ES256": {ecKey, crypto.SHA256, elliptic.P256(), jwt.SigningMethodES256},
	"ES384": {ecKey, crypto.SHA384, elliptic.P384(), jwt.SigningMethodES384},
	"ES512": {ecKey, crypto.SHA512, elliptic.P521(), jwt.SigningMethodES512},
	"EdDSA": {edKey, 0, nil, jwt.SigningMethodEdDSA},
}

// minRSA is the shortest RSA key: RFC 7518, sections 3.3 and 3.5, "A key of size 2048 bits or larger MUST be used".
const minRSA = 2048

// Known reports whether name is an algorithm that this package signs and verifies with.
func Known(name string) bool { _, ok := algs[name]; return ok }

// Default returns the algorithm that goes with a key where none is named, or the empty
// string for a key that no algorithm takes: HS256, RS256, the one of the curve, EdDSA.
func Default(key any) string {
	if missing(key) {
		return ""
	}
	switch k := public(key).(type) {
	case []byte:
		return "HS256"
	case *rsa.PublicKey:
		return "RS256"
	case *ecdsa.PublicKey:
		switch k.Curve {
		case elliptic.P256():
			return "ES256"
		case elliptic.P384():
			return "ES384"
		case elliptic.P521():
			return "ES512"
		}
	case ed25519.PublicKey:
		return "EdDSA"
	}
	return ""
}

// Check reports why an algorithm cannot be used with a key, in words that follow the
// name of the key's field. A key is the []byte of a secret, a crypto.Signer, or a public key
// as the standard library has it.
func Check(name string, key any) error {
	if missing(key) {
		return errors.New("is nil, or a key without content")
	}
	a, ok := algs[name]
	if !ok {
		return errors.New("goes with no algorithm that is known")
	}
	switch k := public(key).(type) {
	case []byte:
		// RFC 7518, section 3.2: "A key of the same size as the hash output or larger MUST be used".
		if a.family == hmacKey && len(k) < a.hash.Size() {
			return fmt.Errorf("has %d bytes: %s needs %d or more (RFC 7518, section 3.2)", len(k), name, a.hash.Size())
		}
		if a.family == hmacKey {
			return nil
		}
	case *rsa.PublicKey:
		if a.family == rsaPKCS1 || a.family == rsaPSS {
			if bits := k.N.BitLen(); bits < minRSA {
				return fmt.Errorf("has %d bits: %s needs %d or more (RFC 7518, section 3.3)", bits, name, minRSA)
			}
			return nil
		}
	case *ecdsa.PublicKey:
		if a.family == ecKey {
			if k.Curve != a.curve {
				return fmt.Errorf("is on another curve than %s, which %s needs (RFC 7518, section 3.4)", a.curve.Params().Name, name)
			}
			if _, err := k.ECDH(); err != nil {
				return errors.New("is no point of its curve")
			}
			return nil
		}
	case ed25519.PublicKey:
		if a.family == edKey {
			if len(k) != ed25519.PublicKeySize {
				return errors.New("is an Ed25519 key of the wrong length")
			}
			return nil
		}
	}
	return fmt.Errorf("is not %s, which %s needs", a.family, name)
}

// String says what the key must be.
func (f family) String() string {
	switch f {
	case hmacKey:
		return "a shared secret"
	case rsaPKCS1, rsaPSS:
		return "an RSA key"
	case ecKey:
		return "an EC key"
	}
	return "an Ed25519 key"
}

// public returns the public half of a signer, and any other key as it is. The key is not missing.
func public(key any) any {
	if s, ok := key.(crypto.Signer); ok {
		return s.Public()
	}
	return key
}

// missing reports whether a key is nil, also in the way of a nil *rsa.PrivateKey, or has nothing
// in it, where its Public would panic.
func missing(key any) bool {
	switch k := key.(type) {
	case nil:
		return true
	case ed25519.PrivateKey:
		return len(k) != ed25519.PrivateKeySize
	case *rsa.PrivateKey:
		return k == nil || k.N == nil
	case *rsa.PublicKey:
		return k == nil || k.N == nil
	case *ecdsa.PrivateKey:
		return k == nil || missing(&k.PublicKey)
	case *ecdsa.PublicKey:
		//lint:ignore SA1019 whether there is a point is asked, and the methods panic without one
		return k == nil || k.Curve == nil || k.X == nil || k.Y == nil
	}
	v := reflect.ValueOf(key)
	switch v.Kind() {
	case reflect.Pointer:
		return v.IsNil()
	case reflect.Slice:
		return v.Len() == 0
	}
	return false
}
