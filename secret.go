package renew

import (
	"crypto/subtle"
	"fmt"
	"io"
	"log/slog"
)

// redacted stands in every output where a secret would have stood.
const redacted = "[redacted]"

// Secret holds text that must not be shown: a token, a password, a key. It
// prints as [redacted] under every verb of fmt, in JSON and text, in slog, and
// in dumps that follow unexported fields and pointers. [Secret.Reveal] is the
// one way out, and easy to grep for. The zero Secret holds the empty text.
// A Secret is immutable and safe for concurrent use.
type Secret struct {
	// reveal is a func and not a string because fmt, testify's diffs and go-spew
	// read unexported fields and follow pointers, but stop at a func.
	reveal func() string
}

// NewSecret returns a Secret that holds text.
func NewSecret(text string) Secret {
	if text == "" {
		return Secret{}
	}
	return Secret{reveal: func() string { return text }}
}

// Reveal returns the text.
func (s Secret) Reveal() string {
	if s.reveal == nil {
		return ""
	}
	return s.reveal()
}

// IsZero reports whether the Secret holds no text.
func (s Secret) IsZero() bool { return s.reveal == nil }

// Equal reports whether both hold the same text, in a time that depends only on
// the lengths.
func (s Secret) Equal(other Secret) bool {
	return subtle.ConstantTimeCompare([]byte(s.Reveal()), []byte(other.Reveal())) == 1
}

// String returns "[redacted]".
func (s Secret) String() string { return redacted }

// GoString returns "[redacted]".
func (s Secret) GoString() string { return redacted }

// Format writes "[redacted]" for every verb and flag.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalText returns "[redacted]", for JSON, XML and their like.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// UnmarshalText takes the text as the secret, so that a Secret can stand in a
// configuration that is read from JSON. What MarshalText wrote is refused: the
// secret was lost when it was written.
func (s *Secret) UnmarshalText(text []byte) error {
	if string(text) == redacted {
		return &ConfigError{Field: "Secret", Reason: "is the text [redacted]: the configuration was written by a program that hid it"}
	}
	*s = NewSecret(string(text))
	return nil
}

// LogValue returns "[redacted]" for slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }
