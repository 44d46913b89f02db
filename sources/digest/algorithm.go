package digest

import (
	"crypto/md5"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"hash"
	"strconv"
	"strings"
)

// Algorithm is a hash function of Digest (RFC 7616, section 6.1). A stronger one is greater.
type Algorithm uint8

const (
	// MD5 is the one that all servers have (RFC 2617).
	MD5 Algorithm = iota
	// SHA256 is SHA-256.
	SHA256
	// SHA512256 is SHA-512/256 of FIPS 180-4, which is not SHA-512 cut short, though the example of RFC 7616, section
	// 3.9.2, is computed so (erratum 4897).
	SHA512256
)

// names are how the algorithms are written on the wire.
var names = [...]string{MD5: "MD5", SHA256: "SHA-256", SHA512256: "SHA-512-256"}

// String returns the name on the wire.
func (a Algorithm) String() string {
	if int(a) < len(names) {
		return names[a]
	}
	return "Algorithm(" + strconv.Itoa(int(a)) + ")"
}

// algorithmOf reads a name on the wire; sess says that it ends with -sess.
func algorithmOf(text string) (a Algorithm, sess, ok bool) {
	const suffix = "-sess"
	if n := len(text) - len(suffix); n > 0 && strings.EqualFold(text[n:], suffix) {
		text, sess = text[:n], true
	}
	for i, name := range names {
		if strings.EqualFold(text, name) {
			return Algorithm(i), sess, true
		}
	}
	return 0, false, false
}

// appendHex appends the hash of data in hexadecimal.
func (a Algorithm) appendHex(dst, data []byte) []byte {
	switch a {
	case SHA256:
		sum := sha256.Sum256(data)
		return hex.AppendEncode(dst, sum[:])
	case SHA512256:
		sum := sha512.Sum512_256(data)
		return hex.AppendEncode(dst, sum[:])
	}
	sum := md5.Sum(data)
	return hex.AppendEncode(dst, sum[:])
}

// newHash is for what is read in pieces.
func (a Algorithm) newHash() hash.Hash {
	switch a {
	case SHA256:
		return sha256.New()
	case SHA512256:
		return sha512.New512_256()
	}
	return md5.New()
}
