package oauth2

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strings"
)

// methodS256 is the PKCE method that is used. There is no other: plain protects against nobody who can read the request (RFC 7636, section 7.2).
const methodS256 = "S256"

// newVerifier returns a fresh code verifier: 32 octets, as RFC 7636, section 4.1, recommends.
func newVerifier() string {
	var octets [32]byte
	_, _ = rand.Read(octets[:]) // never fails
	return verifierOf(octets[:])
}

func verifierOf(octets []byte) string { return base64.RawURLEncoding.EncodeToString(octets) }

// challengeOf returns the S256 code challenge of a verifier (RFC 7636, section 4.2).
func challengeOf(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// checkVerifier reports what is not a code verifier: 43 to 128 unreserved characters (RFC 7636, section 4.1).
func checkVerifier(verifier string) error {
	if len(verifier) < 43 || len(verifier) > 128 {
		return errors.New("the code verifier must have 43 to 128 characters (RFC 7636, section 4.1)")
	}
	const unreserved = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
	for i := range len(verifier) {
		if strings.IndexByte(unreserved, verifier[i]) < 0 {
			return errors.New("the code verifier has a character that is not unreserved (RFC 7636, section 4.1)")
		}
	}
	return nil
}

// checkMethods reports an issuer that says it cannot do S256.
func checkMethods(methods []string) error {
	for _, m := range methods {
		if m == methodS256 {
			return nil
		}
	}
	if len(methods) == 0 {
		return nil
	}
	return &MetadataError{"code_challenge_methods_supported", "lacks S256, which is the only PKCE method that this Source uses"}
}
