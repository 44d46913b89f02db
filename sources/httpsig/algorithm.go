package httpsig

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/asn1"
	"errors"
	"math/big"

	"github.com/seed-f29168f7/renew"
)

// Algorithm is a name of the HTTP Signature Algorithms Registry (RFC 9421, section 6.2.2).
type Algorithm string

// The algorithms of RFC 9421, section 3.3.
const (
	RSAPSSSHA512    Algorithm = "rsa-pss-sha512"
	RSAv15SHA256    Algorithm = "rsa-v1_5-sha256"
	HMACSHA256      Algorithm = "hmac-sha256"
	ECDSAP256SHA256 Algorithm = "ecdsa-p256-sha256"
	ECDSAP384SHA384 Algorithm = "ecdsa-p384-sha384"
	Ed25519         Algorithm = "ed25519"
)

// minRSA is the smallest RSA modulus that is taken, in bits (NIST SP 800-131A).
const minRSA = 2048

// algorithmOf returns the algorithm that is used with a public key where none is named.
func algorithmOf(public crypto.PublicKey) Algorithm {
	switch key := public.(type) {
	case ed25519.PublicKey:
		return Ed25519
	case *rsa.PublicKey:
		if key != nil && key.N != nil {
			return RSAPSSSHA512
		}
	case *ecdsa.PublicKey:
		switch {
		case key == nil:
		case key.Curve == elliptic.P256():
			return ECDSAP256SHA256
		case key.Curve == elliptic.P384():
			return ECDSAP384SHA384
		}
	}
	return ""
}

// fits says why a public key is not one for a, in words that follow the name of the key.
func (a Algorithm) fits(public crypto.PublicKey) error {
	own := algorithmOf(public)
	if own == RSAPSSSHA512 && a == RSAv15SHA256 { // RSA has two
		own = a
	}
	switch {
	case own == "":
		return errors.New("is no key that RFC 9421 knows an algorithm for: RSA, Ed25519, ECDSA with P-256 or P-384")
	case own != a:
		return errors.New("is a key for " + string(own) + " and not for " + string(a))
	}
	switch key := public.(type) {
	case *rsa.PublicKey:
		if key.N.BitLen() < minRSA {
			return errors.New("is an RSA key with fewer than 2048 bits")
		}
	case ed25519.PublicKey:
		if len(key) != ed25519.PublicKeySize {
			return errors.New("is an Ed25519 key of the wrong length")
		}
	}
	return nil
}

// pss is section 3.3.1: the salt has 64 bytes. Signatures with another salt are verified too, which are as good: github.com/yaronf/httpsign
// and others take the longest.
var (
	pss        = &rsa.PSSOptions{SaltLength: 64, Hash: crypto.SHA512}
	pssAnySalt = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthAuto}
)

// curveSize is the length of each of the two numbers of an ECDSA signature (sections 3.3.4 and 3.3.5).
func (a Algorithm) curveSize() int {
	if a == ECDSAP256SHA256 {
		return 32
	}
	return 48
}

// sign signs base with a private key that fits a.
func (a Algorithm) sign(key crypto.Signer, base []byte) ([]byte, error) {
	switch a {
	case RSAPSSSHA512:
		sum := sha512.Sum512(base)
		return key.Sign(rand.Reader, sum[:], pss)
	case RSAv15SHA256:
		sum := sha256.Sum256(base)
		return key.Sign(rand.Reader, sum[:], crypto.SHA256)
	case Ed25519:
		return key.Sign(rand.Reader, base, crypto.Hash(0))
	}
	der, err := key.Sign(rand.Reader, a.curveSum(base), a.curveHash())
	if err != nil {
		return nil, err
	}
	var pair struct{ R, S *big.Int }
	size := a.curveSize()
	if rest, err := asn1.Unmarshal(der, &pair); err != nil || len(rest) > 0 ||
		pair.R.Sign() < 0 || pair.S.Sign() < 0 || pair.R.BitLen() > 8*size || pair.S.BitLen() > 8*size {
		return nil, errors.New("the private key gave something that is not an ECDSA signature")
	}
	out := make([]byte, 2*size)
	pair.R.FillBytes(out[:size])
	pair.S.FillBytes(out[size:])
	return out, nil
}

func (a Algorithm) curveHash() crypto.Hash {
	if a == ECDSAP256SHA256 {
		return crypto.SHA256
	}
	return crypto.SHA384
}

func (a Algorithm) curveSum(base []byte) []byte {
	h := a.curveHash().New()
	h.Write(base)
	return h.Sum(nil)
}

// mac is section 3.3.3.
func mac(secret renew.Secret, base []byte) []byte {
	h := hmac.New(sha256.New, []byte(secret.Reveal()))
	h.Write(base)
	return h.Sum(nil)
}

// VerifyKey verifies signatures of one algorithm, which it is bound to: what a message says of the algorithm selects nothing. The
// zero VerifyKey is none.
type VerifyKey struct {
	algorithm Algorithm
	public    crypto.PublicKey
	secret    renew.Secret
}

// NewVerifyKey returns the key that verifies signatures of an ed25519.PublicKey, an *rsa.PublicKey of 2048 bits or
// more, or an *ecdsa.PublicKey with P-256 or P-384. An empty algorithm means the one of the key's type, for RSA RSAPSSSHA512. The
// error is a *renew.ConfigError.
func NewVerifyKey(algorithm Algorithm, public crypto.PublicKey) (VerifyKey, error) {
	if algorithm == "" {
		algorithm = algorithmOf(public)
	}
	if err := algorithm.fits(public); err != nil {
		return VerifyKey{}, &renew.ConfigError{Field: "VerifyKey", Reason: err.Error()}
	}
	return VerifyKey{algorithm: algorithm, public: public}, nil
}

// NewVerifySecret returns the key that verifies HMACSHA256 with a shared secret. Of an empty secret it is none.
func NewVerifySecret(secret renew.Secret) VerifyKey {
	if secret.IsZero() {
		return VerifyKey{}
	}
	return VerifyKey{algorithm: HMACSHA256, secret: secret}
}

// IsZero reports whether the key is none.
func (k VerifyKey) IsZero() bool { return k.algorithm == "" }

// Algorithm returns what the key is for.
func (k VerifyKey) Algorithm() Algorithm { return k.algorithm }

// verify reports whether the key made the signature of base.
func (k VerifyKey) verify(base, signature []byte) bool {
	switch k.algorithm {
	case HMACSHA256:
		return hmac.Equal(mac(k.secret, base), signature)
	case Ed25519:
		return ed25519.Verify(k.public.(ed25519.PublicKey), base, signature)
	case RSAPSSSHA512:
		sum := sha512.Sum512(base)
		return rsa.VerifyPSS(k.public.(*rsa.PublicKey), crypto.SHA512, sum[:], signature, pssAnySalt) == nil
	case RSAv15SHA256:
		sum := sha256.Sum256(base)
		return rsa.VerifyPKCS1v15(k.public.(*rsa.PublicKey), crypto.SHA256, sum[:], signature) == nil
	case ECDSAP256SHA256, ECDSAP384SHA384:
		size := k.algorithm.curveSize()
		if len(signature) != 2*size {
			return false
		}
		r, s := new(big.Int).SetBytes(signature[:size]), new(big.Int).SetBytes(signature[size:])
		return ecdsa.Verify(k.public.(*ecdsa.PublicKey), k.algorithm.curveSum(base), r, s)
	}
	return false
}
