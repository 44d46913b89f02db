package crtauthtest_test

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-f29168f7/renew/clock"
	"github.com/seed-f29168f7/renew/sources/crtauth/crtauthtest"
	"github.com/seed-f29168f7/renew/sources/crtauth/internal/vectors"
)

func load(t testing.TB) *vectors.File { return vectors.Load(t, "../testdata/crtauth.json") }

// at is a clock that stands still.
type at time.Time

func (a at) Now() clock.Instant                          { return clock.Instant{Wall: time.Time(a)} }
func (a at) Until(t time.Time) time.Duration             { return t.Sub(time.Time(a)) }
func (a at) AfterFunc(time.Duration, func()) clock.Timer { panic("not used") }

// options are those of the servers that the vectors were recorded on.
func options(t testing.TB, f *vectors.File, server string, now int64) crtauthtest.Options {
	users := map[string]*rsa.PublicKey{}
	for _, c := range f.Challenges {
		users[c.Username] = &f.Keys[c.Key].Private(t).PublicKey
	}
	return crtauthtest.Options{ServerName: server, Users: users, Secret: "test-secret", Clock: at(time.Unix(now, 0))}
}

// ask sends one message to the login and returns the status and the answer.
func ask(h http.Handler, chap string) (int, string) {
	req := httptest.NewRequest(http.MethodHead, "/_auth", nil)
	req.Header.Set("X-CHAP", chap)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, req)
	return w.Code, w.Header().Get("X-CHAP")
}

// call calls what tokens are asked for.
func call(h http.Handler, authorization string) int {
	req := httptest.NewRequest(http.MethodGet, "/x", nil)
	req.Header.Set("Authorization", authorization)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, req)
	return w.Code
}

// With the random bytes of the recording, the server says what the real ones said, byte for byte.
func TestVectorsChallenges(t *testing.T) {
	f, ran := load(t), 0
	for _, v := range f.Challenges {
		t.Run(v.Name, func(t *testing.T) {
			opts := options(t, f, v.ExpectedServerName, v.ServerClock)
			opts.Secret = v.ServerSecret
			opts.Java = strings.Contains(v.Issuer, "java")
			opts.Rand = bytes.NewReader(vectors.Hex(t, v.Decoded.UniqueDataHex))
			h := crtauthtest.NewHandler(opts)
			request := v.Username
			if v.ProtocolVersion == 1 {
				request = v1Request(v.Username)
			}
			if v.Request != "" {
				assert.Equal(t, v.Request, request)
			}
			status, chap := ask(h, "request:"+request)
			require.Equal(t, 200, status)
			assert.Equal(t, "challenge:"+v.Challenge, chap)
			status, chap = ask(h, v.XCHAPResponse)
			require.Equal(t, 200, status)
			assert.Equal(t, "token", v.ServerResult)
			assert.Equal(t, v.XCHAPToken, chap)
			assert.Equal(t, 200, call(h, "chap:"+v.Token))
			assert.Equal(t, crtauthtest.Counts{Challenges: 1, Logins: 1, Served: 1}, h.Counts())
		})
		ran++
	}
	vectors.Ran(t, "challenges", ran, len(f.Challenges))
}

func v1Request(user string) string {
	b := []byte{1, 'q', 0xa0 | byte(len(user))}
	if len(user) > 31 {
		b = []byte{1, 'q', 0xd9, byte(len(user))}
	}
	return base64.RawURLEncoding.EncodeToString(append(b, user...))
}

// The server reads requests as the one in Python does: the user comes back in the challenge.
func TestVectorsRequests(t *testing.T) {
	f, ran := load(t), 0
	h := crtauthtest.NewHandler(options(t, f, "host.example.com", 1700000000))
	asks := func(request, user string, version int, ok bool) {
		t.Helper()
		status, chap := ask(h, "request:"+request)
		if !ok {
			assert.Equal(t, 403, status, request)
			return
		}
		require.Equal(t, 200, status, request)
		raw, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(chap, "challenge:"))
		require.NoError(t, err)
		assert.Equal(t, version == 1, raw[0] == 1, request)
		assert.True(t, bytes.Contains(raw, []byte(user)), request)
	}
	for _, v := range f.Requests {
		ok := v.ServerReadsV1.CreatesChallenge == true
		require.True(t, v.ServerReadsV1.UsernameMatches)
		asks(v.V1Encoded, v.Username, v.ServerReadsV1.Version, ok)
		if !v.ServerReadsPython.UsernameMatches && len(v.PythonClientEncoding) <= 64 {
			asks(v.PythonClientEncoding, v.PythonClientEncoding, v.ServerReadsPython.Version, true)
		}
		ran++
	}
	vectors.Ran(t, "requests", ran, len(f.Requests))

	ran = 0
	for _, v := range f.Detection {
		asks(v.Request, v.Username, v.Version, true)
		ran++
	}
	vectors.Ran(t, "request_version_detection_by_python_server", ran, len(f.Detection))
}

// A client that signs all that it is sent gets the recorded answers.
func TestVectorsChallengesNegative(t *testing.T) {
	f, ran, signed := load(t), 0, 0
	for _, v := range f.Negative {
		ran++
		if v.ServerIfSignedAnyway == "" { // there is nothing to sign
			assert.Contains(t, []string{"empty", "not_base64"}, v.Name)
			continue
		}
		raw, err := base64.RawURLEncoding.DecodeString(v.Challenge)
		require.NoError(t, err, v.Name)
		h := crtauthtest.NewHandler(options(t, f, "host.example.com", 1700000000))
		status, _ := ask(h, "response:"+sign(t, f.Keys[v.Key].Private(t), raw, strings.HasPrefix(v.Name, "v0")))
		assert.Equal(t, want(v.ServerIfSignedAnyway), status, v.Name)
		signed++
	}
	assert.Equal(t, len(f.Negative)-2, signed)
	vectors.Ran(t, "challenges_negative", ran, len(f.Negative))
}

// sign makes a response without a look at what is signed.
func sign(t *testing.T, key *rsa.PrivateKey, challenge []byte, v0 bool) string {
	data := challenge
	if v0 && len(challenge) >= 28 {
		data = challenge[28:]
		if n := binary.BigEndian.Uint32(challenge[24:]); uint64(n) < uint64(len(data)) {
			data = data[:n]
		}
	}
	sum := sha1.Sum(data)
	signature, err := rsa.SignPKCS1v15(nil, key, crypto.SHA1, sum[:])
	require.NoError(t, err)
	be := binary.BigEndian
	var b []byte
	if v0 {
		b = be.AppendUint32([]byte{'r', 0, 0, 0}, uint32(len(signature)))
		b = be.AppendUint32(append(b, signature...), uint32(len(challenge)))
		b = append(append(b, challenge...), make([]byte, -len(challenge)&3)...)
	} else {
		b = be.AppendUint16([]byte{1, 'r', 0xc5}, uint16(len(challenge)))
		b = be.AppendUint16(append(append(b, challenge...), 0xc5), uint16(len(signature)))
		b = append(b, signature...)
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// want is the status of a recorded verdict: "token", or the status and why.
func want(verdict string) int {
	if verdict == "token" || verdict == "accepted" {
		return 200
	}
	code, _, _ := strings.Cut(verdict, " ")
	n, err := strconv.Atoi(code)
	if err != nil {
		panic(verdict)
	}
	return n
}

func TestVectorsServerVerdicts(t *testing.T) {
	f, ran := load(t), 0
	for _, v := range f.ServerVerdicts {
		opts := options(t, f, v.ServerName, v.ServerClock)
		opts.LowestVersion = v.LowestSupportedVersion
		if v.Name == "user_unknown" {
			delete(opts.Users, "alice")
		}
		h := crtauthtest.NewHandler(opts)
		status, chap := ask(h, "response:"+v.Response)
		assert.Equal(t, want(v.ServerResult), status, v.Name)
		assert.Equal(t, v.ServerResult == "token", strings.HasPrefix(chap, "token:"), v.Name)
		ran++
	}
	vectors.Ran(t, "responses_server_verdict", ran, len(f.ServerVerdicts))
}

// One second later than the last that is recorded, the answer is another one.
func TestChallengeEnds(t *testing.T) {
	f := load(t)
	for now, status := range map[int64]int{1699999998: 200, 1700000020: 200, 1700000021: 403} {
		h := crtauthtest.NewHandler(options(t, f, "host.example.com", now))
		got, _ := ask(h, f.Challenges[0].XCHAPResponse)
		assert.Equal(t, status, got, now)
	}
}

// The server in Java takes no signature without the zeros at its front, the one in Python does.
func TestShortSignature(t *testing.T) {
	f := load(t)
	key := f.Keys["k2048"].Private(t)
	for _, java := range []bool{false, true} {
		opts := options(t, f, "host.example.com", 1700000000)
		opts.Java = java
		h := crtauthtest.NewHandler(opts)
		for {
			_, chap := ask(h, "request:"+v1Request("alice"))
			raw, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(chap, "challenge:"))
			require.NoError(t, err)
			sum := sha1.Sum(raw)
			signature, err := rsa.SignPKCS1v15(nil, key, crypto.SHA1, sum[:])
			require.NoError(t, err)
			if signature[0] != 0 {
				continue // one in 256 has a zero
			}
			short := bytes.TrimLeft(signature, "\x00")
			be := binary.BigEndian
			b := append(be.AppendUint16([]byte{1, 'r', 0xc5}, uint16(len(raw))), raw...)
			b = append(be.AppendUint16(append(b, 0xc5), uint16(len(short))), short...)
			status, _ := ask(h, "response:"+base64.RawURLEncoding.EncodeToString(b))
			assert.Equal(t, map[bool]int{false: 200, true: 500}[java], status)
			break
		}
	}
}

func TestVectorsTokens(t *testing.T) {
	f, ran := load(t), 0
	for _, v := range f.Tokens {
		now := int64(1700000000)
		if v.ServerClockAtIssue != 0 {
			now = v.ServerClockAtIssue
		}
		opts := options(t, f, "host.example.com", now)
		opts.Secret = v.Secret
		opts.Java = v.Format == 1 // the server in Python never takes that layout
		_, refused := v.IssuerAcceptsAtIssue.(string)
		h := crtauthtest.NewHandler(opts)
		status := call(h, v.AuthorizationHeader)
		assert.Equal(t, !refused, status == 200, v.Name)
		assert.Equal(t, !refused, h.Accepts(v.Token), v.Name)
		opts.Java = !opts.Java
		assert.Equal(t, 401, call(crtauthtest.NewHandler(opts), v.AuthorizationHeader), v.Name)
		ran++
	}
	vectors.Ran(t, "tokens", ran, len(f.Tokens))
}

func TestVectorsTokensNegative(t *testing.T) {
	f, ran := load(t), 0
	for _, v := range f.TokensNegative {
		h := crtauthtest.NewHandler(options(t, f, "host.example.com", v.ServerClock))
		assert.Equal(t, want(v.PythonServer), call(h, "chap:"+v.Token), v.Name)
		ran++
	}
	vectors.Ran(t, "tokens_negative", ran, len(f.TokensNegative))
}

func TestVectorsHTTPStatusProbes(t *testing.T) {
	f, ran := load(t), 0
	opts := options(t, f, "127.0.0.1", time.Now().Unix())
	opts.Clock = nil
	srv := crtauthtest.NewServer(opts)
	defer srv.Close()
	for _, v := range f.HTTPStatusProbes.Probes {
		methods := []string{http.MethodGet}
		if v.Method != "" {
			methods = strings.Split(v.Method, ", ")
		}
		for _, method := range methods {
			req, err := http.NewRequestWithContext(t.Context(), method, srv.URL+v.Path, nil)
			require.NoError(t, err)
			what := v.Path
			if v.Header != nil {
				name, value, _ := strings.Cut(*v.Header, ": ")
				what += " " + *v.Header
				req.Header.Set(name, strings.ReplaceAll(value, "<token>", f.Tokens[0].Token))
			}
			resp, err := srv.Client().Do(req)
			require.NoError(t, err)
			body, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			resp.Body.Close()
			assert.Equal(t, v.Status, resp.StatusCode, "%s %s", method, what)
			if v.Body != nil {
				assert.Equal(t, *v.Body, string(body), what)
			}
			switch {
			case strings.HasPrefix(v.Reply, "v0 challenge"):
				assert.Regexp(t, "^challenge:dgAAA", resp.Header.Get("X-CHAP"), what)
			case strings.HasPrefix(v.Reply, "v1 challenge"):
				assert.Regexp(t, "^challenge:AWPE", resp.Header.Get("X-CHAP"), what)
			default:
				assert.Empty(t, v.Reply, what)
			}
		}
		ran++
	}
	vectors.Ran(t, "http_status_probes", ran, len(f.HTTPStatusProbes.Probes))
}

// A replay of what the recorded client sent gets the recorded statuses, and a token in the layout of that server.
func TestVectorsHTTPTranscripts(t *testing.T) {
	f, ran := load(t), 0
	for _, v := range f.HTTPTranscripts {
		opts := options(t, f, "127.0.0.1", 1700000000)
		opts.Java = strings.Contains(v.Peer, "java")
		h := crtauthtest.NewHandler(opts)
		assert.Equal(t, 401, call(h, ""))
		_, chap := ask(h, "request:"+v1Request("alice"))
		raw, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(chap, "challenge:"))
		require.NoError(t, err)
		status, chap := ask(h, "response:"+sign(t, f.Keys["k2048"].Private(t), raw, false))
		require.Equal(t, 200, status)
		token := strings.TrimPrefix(chap, "token:")
		recorded := ""
		for _, c := range v.Connections {
			if _, after, ok := strings.Cut(c.ServerSent, "token:"); ok {
				recorded = strings.Fields(after)[0]
			}
		}
		require.NotEmpty(t, recorded)
		assert.Equal(t, recorded[:3], token[:3], "the layout of the token")
		assert.Equal(t, 200, call(h, "chap:"+token))
		ran++
	}
	vectors.Ran(t, "http_transcripts", ran, len(f.HTTPTranscripts))
}

// Keys that change, and the hook before the login.
func TestHandler(t *testing.T) {
	f := load(t)
	h := crtauthtest.NewHandler(options(t, f, "host.example.com", 1700000000))
	_, before := ask(h, "request:"+v1Request("alice"))
	h.SetKey("alice", &f.Keys["k3072"].Private(t).PublicKey)
	_, after := ask(h, "request:"+v1Request("alice"))
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(after, "challenge:"))
	require.NoError(t, err)
	assert.NotEqual(t, before, after)
	assert.True(t, bytes.Contains(raw, vectors.Hex(t, f.Keys["k3072"].FingerprintHex)))
	h.Intercept(func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(418); return true })
	status, _ := ask(h, "request:alice")
	assert.Equal(t, 418, status)
	h.Intercept(nil)
	status, _ = ask(h, "request:alice")
	assert.Equal(t, 200, status)
}
