package jws

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"math/big"
)

// JWK returns the public half of a key as a JSON Web Key (RFC 7517) in the form that RFC 7638, section 3, hashes:
// the required members only, in order, without spaces. It is empty for a shared secret, and for a key that Default knows no algorithm for.
func JWK(key any) string {
	if Default(key) == "" {
		return ""
	}
	b64 := base64.RawURLEncoding.EncodeToString
	switch k := public(key).(type) {
	case *rsa.PublicKey:
		return fmt.Sprintf(`{"e":%q,"kty":"RSA","n":%q}`, b64(big.NewInt(int64(k.E)).Bytes()), b64(k.N.Bytes()))
	case *ecdsa.PublicKey:
		point, err := k.Bytes() // 4, x, y: each of the curve's length
		if err != nil {
			return ""
		}
		half := len(point) / 2
		return fmt.Sprintf(`{"crv":%q,"kty":"EC","x":%q,"y":%q}`, k.Params().Name, b64(point[1:1+half]), b64(point[1+half:]))
	case ed25519.PublicKey:
		return fmt.Sprintf(`{"crv":"Ed25519","kty":"OKP","x":%q}`, b64(k))
	}
	return ""
}

// Thumbprint returns the SHA-256 thumbprint of a key's public half (RFC 7638) in base64url, or
// the empty string where JWK does.
func Thumbprint(key any) string {
	jwk := JWK(key)
	if jwk == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(jwk))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
