package oauth1

import (
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"strconv"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/sources/internal/privatekey"
)

// Method is how requests are signed. The server says which it takes.
type Method uint8

// The methods. RFC 5849, section 3.4, has HMAC-SHA1, RSA-SHA1 and PLAINTEXT; the others are
// the same with a hash of SHA-2, which servers have added.
const (
	HMACSHA1   Method = iota // section 3.4.2
	HMACSHA256               // as HMAC-SHA1, with SHA-256
	HMACSHA512               // as HMAC-SHA1, with SHA-512
	RSASHA1                  // section 3.4.3: PKCS #1 v1.5 with Signer.PrivateKey
	RSASHA256                // as RSA-SHA1, with SHA-256
	RSASHA512                // as RSA-SHA1, with SHA-512
	Plaintext                // section 3.4.4: the secrets themselves, so over TLS only
)

// methods has what there is to know of each Method.
var methods = [...]struct {
	name string
	hash crypto.Hash
	new  func() hash.Hash // of HMAC
}{
	HMACSHA1:   {"HMAC-SHA1", crypto.SHA1, sha1.New},
	HMACSHA256: {"HMAC-SHA256", crypto.SHA256, sha256.New},
	HMACSHA512: {"HMAC-SHA512", crypto.SHA512, sha512.New},
	RSASHA1:    {"RSA-SHA1", crypto.SHA1, nil},
	RSASHA256:  {"RSA-SHA256", crypto.SHA256, nil},
	RSASHA512:  {"RSA-SHA512", crypto.SHA512, nil},
	Plaintext:  {"PLAINTEXT", 0, nil},
}

// String returns the name as oauth_signature_method has it: HMAC-SHA1.
func (m Method) String() string {
	if m > Plaintext {
		return "Method(" + strconv.Itoa(int(m)) + ")"
	}
	return methods[m].name
}

func (m Method) rsa() bool { return m == RSASHA1 || m == RSASHA256 || m == RSASHA512 }

// signature signs a base string. secrets is the key of section 3.4.2, which is also the
// signature of PLAINTEXT.
func (m Method) signature(base, secrets []byte, key Key) (string, error) {
	var sum []byte
	switch {
	case m == Plaintext:
		return string(secrets), nil
	case m.rsa():
		h := methods[m].hash.New()
		h.Write(base)
		var err error
		// A Hash as SignerOpts asks an RSA key for PKCS #1 v1.5.
		if sum, err = key.signer().Sign(rand.Reader, h.Sum(nil), methods[m].hash); err != nil {
			return "", fmt.Errorf("the private key did not sign: %w", err)
		}
	default:
		mac := hmac.New(methods[m].new, secrets)
		mac.Write(base)
		var room [sha512.Size]byte
		sum = mac.Sum(room[:0])
	}
	return base64.StdEncoding.EncodeToString(sum), nil
}

// BodyHash says whether a body that is no form is covered by the signature, by way of its hash in
// oauth_body_hash. It is an extension (draft-eaton-oauth-bodyhash); without it such a body is not signed at all.
type BodyHash uint8

const (
	// NoBodyHash leaves such bodies unsigned, as RFC 5849 does.
	NoBodyHash BodyHash = iota
	// BodyHashSHA1 is the draft's, for every Method.
	BodyHashSHA1
	// BodyHashSHA256 is what some servers want with HMAC-SHA256 and RSA-SHA256.
	BodyHashSHA256
)

func (b BodyHash) new() hash.Hash {
	if b == BodyHashSHA256 {
		return sha256.New()
	}
	return sha1.New()
}

// Key is an RSA private key. It prints as its zero value does, without the key. The zero Key is none.
type Key struct {
	signer func() crypto.Signer // a func for the reason that renew.Secret holds one
}

// NewKey returns the Key of an *rsa.PrivateKey, or of a key that a device or an agent keeps.
// Signer.Validate refuses one whose public half is not RSA, and nil.
func NewKey(signer crypto.Signer) Key { return Key{func() crypto.Signer { return signer }} }

// ParseKey reads the first private key of a PEM text, unencrypted, as PKCS #8 ("PRIVATE KEY") or
// PKCS #1 ("RSA PRIVATE KEY"). Its errors hold nothing of the text.
func ParseKey(text renew.Secret) (Key, error) {
	wrong := func(reason string) (Key, error) {
		return Key{}, &renew.ConfigError{Field: "Key", Reason: reason}
	}
	key, err := privatekey.Parse(text)
	if err != nil {
		return wrong(err.Error())
	}
	private, ok := key.(*rsa.PrivateKey)
	if !ok {
		return wrong("is not an RSA key")
	}
	return NewKey(private), nil
}

// validate says what is wrong with a key, in words that follow the name of the field.
func (k Key) validate() error {
	unset := errors.New("is not set: the RSA methods sign with it; make it with NewKey or ParseKey")
	if k.signer == nil {
		return unset
	}
	signer := k.signer()
	if private, ok := signer.(*rsa.PrivateKey); signer == nil || ok && (private == nil || private.N == nil) {
		return unset
	}
	if _, ok := signer.Public().(*rsa.PublicKey); !ok {
		return errors.New("is not an RSA key")
	}
	return nil
}
