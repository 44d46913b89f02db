package httpsig

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"hash"

	"github.com/dunglas/httpsfv"
)

// Digest is an algorithm of Content-Digest (RFC 9530, section 5) that withstands attackers. The others that are registered do not, and
// are not looked at.
type Digest string

// The algorithms of Content-Digest.
const (
	SHA256 Digest = "sha-256"
	SHA512 Digest = "sha-512"
)

// maxDigest bounds a Content-Digest field.
const maxDigest = 4 << 10

func (d Digest) new() hash.Hash {
	switch d {
	case SHA256:
		return sha256.New()
	case SHA512:
		return sha512.New()
	}
	return nil
}

// ContentDigest returns the Content-Digest field of a body. An unknown algorithm gives an empty text.
func ContentDigest(algorithm Digest, body []byte) string {
	h := algorithm.new()
	if h == nil {
		return ""
	}
	h.Write(body)
	return algorithm.field(h)
}

func (d Digest) field(h hash.Hash) string {
	return string(d) + "=:" + base64.StdEncoding.EncodeToString(h.Sum(nil)) + ":"
}

// CheckContentDigest reports whether a body is the one of its Content-Digest fields: nil when there is a sha-256 or a sha-512, and
// all of them are right. Other algorithms are not looked at. It says nothing about who wrote the field: a signature must cover it.
func CheckContentDigest(fields []string, body []byte) error {
	size := 0
	for _, f := range fields {
		size += len(f)
	}
	if size > maxDigest {
		return errors.New("httpsig: the Content-Digest is too long")
	}
	dict, err := httpsfv.UnmarshalDictionary(fields)
	if err != nil {
		return errors.New("httpsig: the Content-Digest is malformed")
	}
	known := 0
	for _, d := range []Digest{SHA256, SHA512} {
		member, ok := dict.Get(string(d))
		if !ok {
			continue
		}
		item, _ := member.(httpsfv.Item)
		sum, ok := item.Value.([]byte)
		h := d.new()
		h.Write(body)
		if !ok || !bytes.Equal(sum, h.Sum(nil)) {
			return errors.New("httpsig: the body is not the one of the Content-Digest")
		}
		known++
	}
	if known == 0 {
		return errors.New("httpsig: the Content-Digest has neither sha-256 nor sha-512")
	}
	return nil
}
