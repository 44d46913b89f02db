package hmac

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"hash"
	"strconv"
	"strings"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/sources/internal/header"
)

// Algorithm is the hash function of the HMAC.
type Algorithm uint8

const (
	// SHA256 is the default.
	SHA256 Algorithm = iota
	// SHA384 is HMAC-SHA-384 (RFC 4231).
	SHA384
	// SHA512 is HMAC-SHA-512 (RFC 4231).
	SHA512
	// SHA1 is for existing servers alone, and for the Plain form alone.
	SHA1
)

var algorithms = [...]struct {
	name string
	new  func() hash.Hash
}{
	SHA256: {"SHA256", sha256.New},
	SHA384: {"SHA384", sha512.New384},
	SHA512: {"SHA512", sha512.New},
	SHA1:   {"SHA1", sha1.New},
}

// String returns the name of the constant.
func (a Algorithm) String() string {
	if int(a) < len(algorithms) {
		return algorithms[a].name
	}
	return "Algorithm(" + strconv.Itoa(int(a)) + ")"
}

// sum returns the HMAC of data.
func (a Algorithm) sum(secret renew.Secret, data []byte) []byte {
	mac := hmac.New(algorithms[a].new, []byte(secret.Reveal()))
	mac.Write(data)
	return mac.Sum(nil)
}

// Form is what a signature covers.
type Form uint8

const (
	// Canonical covers the method, path, query, host, time and body, as the comment of the package lists them.
	Canonical Form = iota
	// Plain covers the body alone, or what a Message function returns.
	Plain
)

// Wire is how a signature is written, for a Signer and its Verifier alike. The zero value is ready for use.
type Wire struct {
	// Form is what the signature covers. Zero is Canonical.
	Form Form
	// Algorithm is the hash function. Zero is SHA256.
	Algorithm Algorithm
	// Header has the signature. Empty means X-HMAC.
	Header string
	// KeyIDHeader has the key id. Empty means X-HMAC-Key-Id.
	KeyIDHeader string
	// DateHeader has the time of the signature, in the Canonical form. Empty means X-HMAC-Date.
	DateHeader string
	// Prefix stands before the signature: "sha256=" for some web hooks, "HMAC " for an auth-scheme. Empty means none.
	Prefix string
	// Base64 writes the signature in standard base64 with padding (RFC 4648, section 4), and not in lower-case hex.
	Base64 bool
}

const (
	defaultHeader      = "X-HMAC"
	defaultKeyIDHeader = "X-HMAC-Key-Id"
	defaultDateHeader  = "X-HMAC-Date"
)

func or(s, fallback string) string {
	if s == "" {
		return fallback
	}
	return s
}

func (w *Wire) header() string      { return or(w.Header, defaultHeader) }
func (w *Wire) keyIDHeader() string { return or(w.KeyIDHeader, defaultKeyIDHeader) }
func (w *Wire) dateHeader() string  { return or(w.DateHeader, defaultDateHeader) }

// validate reports the first field that cannot work. owner is the type that has the Wire.
func (w *Wire) validate(owner string) error {
	wrong := func(field, reason string) error {
		return &renew.ConfigError{Field: owner + "." + field, Reason: reason}
	}
	switch {
	case w.Form > Plain:
		return wrong("Form", "is "+strconv.Itoa(int(w.Form))+": it must be Canonical or Plain")
	case int(w.Algorithm) >= len(algorithms):
		return wrong("Algorithm", "is "+w.Algorithm.String()+": it must be one of the constants of this package")
	case w.Algorithm == SHA1 && w.Form != Plain:
		return wrong("Algorithm", "is SHA1, which is for the Plain form of existing servers: use SHA256")
	case w.DateHeader != "" && w.Form == Plain:
		return wrong("DateHeader", "is set, but the Plain form has no date")
	case strings.HasPrefix(w.Prefix, " ") || !header.Printable(w.Prefix):
		return wrong("Prefix", "cannot stand in a header: it begins with a space, or has something else than visible ASCII and spaces")
	}
	names := []struct{ field, name string }{
		{"Header", w.header()}, {"KeyIDHeader", w.keyIDHeader()}, {"DateHeader", w.dateHeader()},
	}
	for i, n := range names {
		switch strings.ToLower(n.name) {
		case "host", "content-length", "transfer-encoding", "connection", "trailer":
			return wrong(n.field, "is a header that net/http writes itself: choose another one")
		}
		if !header.IsToken(n.name) {
			return wrong(n.field, "is not the name of a header")
		}
		for _, other := range names[:i] {
			if strings.EqualFold(other.name, n.name) {
				return wrong(n.field, "is the same header as "+other.field)
			}
		}
	}
	return nil
}

// write returns the text of a signature.
func (w *Wire) write(sum []byte) string {
	if w.Base64 {
		return w.Prefix + base64.StdEncoding.EncodeToString(sum)
	}
	return w.Prefix + hex.EncodeToString(sum)
}

var errSignature = errors.New("the signature is not in its form")

// read returns the bytes of a signature, of any length.
func (w *Wire) read(text string) ([]byte, error) {
	rest, ok := strings.CutPrefix(text, w.Prefix)
	if !ok || len(rest) > 128 {
		return nil, errSignature
	}
	sum, err := hex.DecodeString(rest)
	if w.Base64 {
		sum, err = base64.StdEncoding.Strict().DecodeString(rest)
	}
	if err != nil || strings.ContainsAny(rest, "\r\n") { // which base64 skips
		return nil, errSignature
	}
	return sum, nil
}
