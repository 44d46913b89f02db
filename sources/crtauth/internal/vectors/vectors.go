// Package vectors reads the golden vectors of testdata/crtauth.json for the tests of
// package crtauth and its test server. They are recorded data: what the servers in Python and Java, and OpenSSH's
// agent, sent and answered.
package vectors

import (
	"bytes"
	"crypto/rsa"
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"

	"golang.org/x/crypto/ssh"
)

// File is the whole file. Each list is run whole by some test.
type File struct {
	About, Warning string
	Provenance     struct {
		Python, Java, Randomness string
		SSHAgent                 string `json:"ssh_agent"`
	}
	Conventions   struct{ Base64, Clock, Expect, Signature string }
	Keys          map[string]Key
	KeysNotUsable map[string]UnusableKey `json:"keys_not_usable"`

	Requests         []Request
	Detection        []Detection      `json:"request_version_detection_by_python_server"`
	Challenges       []Challenge      `json:"challenges"`
	Padded           []Padded         `json:"challenges_padded_input"`
	Negative         []Negative       `json:"challenges_negative"`
	Tokens           []Token          `json:"tokens"`
	TokensNegative   []TokenNegative  `json:"tokens_negative"`
	ServerVerdicts   []Verdict        `json:"responses_server_verdict"`
	AgentTranscript  []AgentStep      `json:"ssh_agent_transcript"`
	HTTPTranscripts  []HTTPTranscript `json:"http_transcripts"`
	HTTPStatusProbes struct {
		About  string
		Probes []Probe
	} `json:"http_status_probes"`
}

// Key is an RSA key.
type Key struct {
	Warning          string
	PKCS1            string                            `json:"private_pem_pkcs1"`
	PKCS8            string                            `json:"private_pem_pkcs8"`
	OpenSSH          string                            `json:"private_pem_openssh"`
	PKCS1Encrypted   *struct{ Passphrase, PEM string } `json:"private_pem_pkcs1_encrypted"`
	OpenSSHEncrypted *struct{ Passphrase, PEM string } `json:"private_pem_openssh_encrypted"`
	FingerprintHex   string                            `json:"fingerprint_hex"`
	WrongFingerprint string                            `json:"fingerprint_hex_wrong_formula_without_type_string"`
	ModulusBytes     int                               `json:"modulus_bytes"`
	PublicExponent   int                               `json:"public_exponent"`
	PublicLine       string                            `json:"public_line"`
	SSHBlobHex       string                            `json:"ssh_blob_hex"`
}

// UnusableKey is a key of another kind.
type UnusableKey struct {
	Warning    string
	OpenSSH    string `json:"private_pem_openssh"`
	PublicLine string `json:"public_line"`
}

// Request is a first message.
type Request struct {
	Name                 string
	Username             string
	UsernameUTF8Bytes    int    `json:"username_utf8_bytes"`
	V0Encoded            string `json:"v0_encoded"`
	V1Encoded            string `json:"v1_encoded"`
	V1RawHex             string `json:"v1_raw_hex"`
	XCHAP                string `json:"x_chap"`
	PythonClientEncoding string `json:"python_client_encoding"`
	PythonClientSame     bool   `json:"python_client_same"`
	ServerReadsPython    struct {
		UsernameMatches bool `json:"username_matches"`
		Version         int
	} `json:"server_reads_python_client_encoding_as"`
	ServerReadsV1 struct {
		CreatesChallenge any  `json:"creates_challenge"` // true, or the error
		UsernameMatches  bool `json:"username_matches"`
		Version          int
	} `json:"server_reads_v1_as"`
}

// Detection is how a server reads a request.
type Detection struct {
	Request, Username string
	Version           int
}

// Challenge is a whole login.
type Challenge struct {
	Name               string
	Issuer             string
	Key                string
	ProtocolVersion    int `json:"protocol_version"`
	Username           string
	ExpectedServerName string `json:"expected_server_name"`
	ServerClock        int64  `json:"server_clock"`
	ServerSecret       string `json:"server_secret"`
	ServerResult       string `json:"server_result"`
	Request            string
	Challenge          string
	ChallengeHex       string `json:"challenge_hex"`
	Decoded            struct {
		Version        int
		Magic          string
		UniqueDataHex  string `json:"unique_data_hex"`
		ValidFrom      int64  `json:"valid_from"`
		ValidTo        int64  `json:"valid_to"`
		FingerprintHex string `json:"fingerprint_hex"`
		ServerName     string `json:"server_name"`
		Username       string
		PayloadHex     string `json:"payload_hex"`
		HMACHex        string `json:"hmac_hex"`
		HMACAlg        string `json:"hmac_alg"`
	}
	SignedBytesHex string `json:"signed_bytes_hex"`
	SignatureHex   string `json:"signature_hex"`
	Response       string
	ResponseHex    string `json:"response_hex"`
	XCHAPResponse  string `json:"x_chap_response"`
	Token          string
	TokenHex       string       `json:"token_hex"`
	TokenFormat    int          `json:"token_format"`
	TokenDecoded   TokenDecoded `json:"token_decoded"`
	XCHAPToken     string       `json:"x_chap_token"`
}

// TokenDecoded is what a token says.
type TokenDecoded struct {
	ValidFrom  int64 `json:"valid_from"`
	ValidTo    int64 `json:"valid_to"`
	Username   string
	PayloadHex string `json:"payload_hex"`
	HMACHex    string `json:"hmac_hex"`
}

// Padded is the challenge of another vector, with padding.
type Padded struct {
	Name, Challenge string
	SameAs          string `json:"same_as"`
}

// Negative is a challenge that a strict client does not sign.
type Negative struct {
	Name, Challenge, Expect, Key, Note string
	ClientClock                        int64  `json:"client_clock"`
	ExpectedServerName                 string `json:"expected_server_name"`
	ExpectedUsername                   string `json:"expected_username"`
	PythonClient                       string `json:"python_client"`
	ServerIfSignedAnyway               string `json:"server_if_signed_anyway"`
}

// Token is a good token.
type Token struct {
	Name, Token, Issuer, Secret string
	AuthorizationHeader         string `json:"authorization_header"`
	ConfiguredLifetime          int64  `json:"configured_lifetime"`
	NominalLifetimeSeconds      int64  `json:"nominal_lifetime_seconds"`
	Decoded                     TokenDecoded
	Format                      int
	HMACAlg                     string `json:"hmac_alg"`
	IssuerAcceptsAtIssue        any    `json:"issuer_accepts_at_issue"` // true, or the error
	ServerClockAtIssue          int64  `json:"server_clock_at_issue"`
	TokenHex                    string `json:"token_hex"`
}

// TokenNegative is a token that a server refuses, or that cannot be read.
type TokenNegative struct {
	Name, Token  string
	ClientParse  string `json:"client_parse"`
	PythonServer string `json:"python_server"`
	ServerClock  int64  `json:"server_clock"`
}

// Verdict is what a server says of a response.
type Verdict struct {
	Name, Response         string
	LowestSupportedVersion int    `json:"lowest_supported_version"`
	ServerClock            int64  `json:"server_clock"`
	ServerName             string `json:"server_name"`
	ServerResult           string `json:"server_result"`
}

// AgentStep is a message to an agent, and its answer.
type AgentStep struct {
	Step                  string
	RequestHex            string `json:"request_hex"`
	ReplyHex              string `json:"reply_hex"`
	ChallengeVector       string `json:"challenge_vector"`
	Flags                 int
	SignatureFormat       string `json:"signature_format"`
	SignatureEqualsVector bool   `json:"signature_equals_vector"`
}

// HTTPTranscript is what went over the wire.
type HTTPTranscript struct {
	Peer        string
	Connections []struct {
		ClientSent string `json:"client_sent"`
		ServerSent string `json:"server_sent"`
	}
}

// Probe is one request to a server, and the status of its answer.
type Probe struct {
	Path   string
	Method string
	Header *string
	Status int
	Body   *string
	Reply  string
	Note   string
}

// Load reads the file. A key that no field has fails the test.
func Load(t testing.TB, path string) *File {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	f := new(File)
	if err := dec.Decode(f); err != nil {
		t.Fatal(err)
	}
	return f
}

// Ran reports how many cases of a list were run, and fails when that is not all of them.
func Ran(t testing.TB, list string, ran, length int) {
	t.Helper()
	t.Logf("vectors %s: %d cases", list, ran)
	if ran != length || ran == 0 {
		t.Errorf("vectors %s: %d cases run, the list has %d", list, ran, length)
	}
}

// Private returns the private key.
func (k Key) Private(t testing.TB) *rsa.PrivateKey {
	t.Helper()
	key, err := ssh.ParseRawPrivateKey([]byte(k.PKCS1))
	if err != nil {
		t.Fatal(err)
	}
	return key.(*rsa.PrivateKey)
}

// Hex decodes hexadecimal text.
func Hex(t testing.TB, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
