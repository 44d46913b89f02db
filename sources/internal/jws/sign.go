package jws

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
)

// Sign returns the compact form of payload, signed with the algorithm. header has what stands in
// the JOSE header beside alg, which is set here; it is not written to. Check must
// have found nothing wrong with the key. It blocks as long as the key's Sign does, and wraps its error.
//
// The signature is verified before it is returned: a device that has another key than it
// says, or a fault while it signs (which can give the key away), is noticed here.
func Sign(name string, key any, header map[string]any, payload []byte) (string, error) {
	full := make(map[string]any, len(header)+1)
	for k, v := range header {
		full[k] = v
	}
	full["alg"] = name
	protected, err := json.Marshal(full)
	if err != nil {
		return "", fmt.Errorf("the header is not JSON: a value of type %T", err)
	}
	return signRaw(name, key, protected, payload)
}

// signRaw signs a JOSE header given as text.
func signRaw(name string, key any, protected, payload []byte) (string, error) {
	input := base64.RawURLEncoding.EncodeToString(protected) + "." + base64.RawURLEncoding.EncodeToString(payload)
	sig, err := algs[name].sign(input, key)
	if err != nil {
		return "", err
	}
	compact := input + "." + base64.RawURLEncoding.EncodeToString(sig)
	if _, err := Verify(compact, name, key); err != nil {
		return "", fmt.Errorf("what was signed does not verify with the public key: %w", err)
	}
	return compact, nil
}

// sign makes the signature of RFC 7515, section 5.1. The library signs with a secret; with all other keys
// it takes those of the standard library only, and a key may as well be in a device.
func (a alg) sign(input string, key any) ([]byte, error) {
	signer, ok := key.(crypto.Signer)
	if !ok {
		return a.method.Sign(input, key)
	}
	message, opts := []byte(input), crypto.SignerOpts(a.hash)
	if a.hash != 0 {
		h := a.hash.New()
		h.Write(message)
		message = h.Sum(nil)
	}
	if a.family == rsaPSS {
		// RFC 7518, section 3.5: "The size of the salt value is the same size as the hash function output".
		opts = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: a.hash}
	}
	sig, err := signer.Sign(rand.Reader, message, opts)
	if err != nil {
		return nil, fmt.Errorf("the private key did not sign: %w", err)
	}
	if a.family == ecKey {
		return flat(sig, signer.Public().(*ecdsa.PublicKey))
	}
	return sig, nil
}

// flat turns the signature of crypto.Signer, which is ASN.1, into that of RFC 7518, section 3.4: R and S,
// each as long as the curve's order.
func flat(sig []byte, key *ecdsa.PublicKey) ([]byte, error) {
	var rs struct{ R, S *big.Int }
	order := key.Params().N
	rest, err := asn1.Unmarshal(sig, &rs)
	if err != nil || len(rest) > 0 || rs.R.Sign() <= 0 || rs.S.Sign() <= 0 || rs.R.Cmp(order) >= 0 || rs.S.Cmp(order) >= 0 {
		return nil, errors.New("the private key returned a signature that is not in the form of ECDSA")
	}
	size := (order.BitLen() + 7) / 8
	out := make([]byte, 2*size)
	rs.R.FillBytes(out[:size])
	rs.S.FillBytes(out[size:])
	return out, nil
}
