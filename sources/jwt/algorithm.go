package jwt

// Algorithm is the name of a signature algorithm, as the header alg has it (RFC 7518, section 3.1, and RFC 8037,
// section 3.1). The empty one means the usual one of the key: HS256, RS256, ES256, ES384 or ES512 by
// the curve, EdDSA. "none" is not one.
type Algorithm string

// The algorithms.
const (
	HS256 Algorithm = "HS256" // HMAC with SHA-256; the secret has 32 bytes or more
	HS384 Algorithm = "HS384" // HMAC with SHA-384; 48 bytes or more
	HS512 Algorithm = "HS512" // HMAC with SHA-512; 64 bytes or more
	RS256 Algorithm = "RS256" // RSA PKCS #1 v1.5 with SHA-256; the key has 2048 bits or more
	RS384 Algorithm = "RS384" // the same with SHA-384
	RS512 Algorithm = "RS512" // the same with SHA-512
	PS256 Algorithm = "PS256" // RSA PSS with SHA-256; 2048 bits or more
	PS384 Algorithm = "PS384" // the same with SHA-384
	PS512 Algorithm = "PS512" // the same with SHA-512
	ES256 Algorithm = "ES256" // ECDSA on P-256
	ES384 Algorithm = "ES384" // ECDSA on P-384
	ES512 Algorithm = "ES512" // ECDSA on P-521
	EdDSA Algorithm = "EdDSA" // Ed25519
)
