package crtauth

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/sources/crtauth/internal/vectors"
)

func load(t testing.TB) *vectors.File { return vectors.Load(t, "testdata/crtauth.json") }

func version(t testing.TB, v int) Version {
	switch v {
	case 0:
		return Version0
	case 1:
		return Version1
	}
	t.Fatalf("version %d", v)
	return 0
}

func TestVectorsKeys(t *testing.T) {
	f, ran := load(t), 0
	for name, k := range f.Keys {
		key := k.Private(t)
		assert.Equal(t, k.ModulusBytes, key.Size(), name)
		assert.Equal(t, k.PublicExponent, key.E, name)
		pub := publicRSA(must(ssh.ParsePublicKey(vectors.Hex(t, k.SSHBlobHex))))
		require.NotNil(t, pub, name)
		assert.True(t, pub.Equal(&key.PublicKey), name)
		fingerprint := Key{Public: pub}.Fingerprint().String()
		assert.Equal(t, k.FingerprintHex, fingerprint, name)
		assert.NotEqual(t, k.WrongFingerprint, fingerprint, name)
		ran++
	}
	vectors.Ran(t, "keys", ran, len(f.Keys))
}

func TestVectorsRequests(t *testing.T) {
	f, ran := load(t), 0
	for _, v := range f.Requests {
		assert.Equal(t, v.V1Encoded, request(Version1, v.Username), v.Name)
		assert.Equal(t, v.V1RawHex, hex.EncodeToString(must(decode(v.V1Encoded))), v.Name)
		assert.Equal(t, v.V0Encoded, request(Version0, v.Username), v.Name)
		assert.Equal(t, v.XCHAP, methodRequest+":"+request(Version1, v.Username), v.Name)
		assert.Equal(t, v.PythonClientSame, v.PythonClientEncoding == request(Version1, v.Username), v.Name)
		assert.Equal(t, v.UsernameUTF8Bytes, len(v.Username), v.Name)
		// What the server makes no challenge for is not asked for.
		err := (&Source{Origin: "https://host.example.com", User: v.Username, Signer: oneKey(t, f.Keys["k2048"])}).Validate()
		assert.Equal(t, v.ServerReadsV1.CreatesChallenge == true, err == nil, "%s: %v", v.Name, err)
		ran++
	}
	vectors.Ran(t, "requests", ran, len(f.Requests))
}

func TestVectorsRequestDetection(t *testing.T) {
	f, ran := load(t), 0
	for _, v := range f.Detection {
		assert.Equal(t, v.Version == 1, looksLikeVersion1(v.Request), v.Request)
		ran++
	}
	vectors.Ran(t, "request_version_detection_by_python_server", ran, len(f.Detection))
}

func TestVectorsChallenges(t *testing.T) {
	f, ran := load(t), 0
	for _, v := range f.Challenges {
		t.Run(v.Name, func(t *testing.T) {
			c, err := readChallenge(v.Challenge)
			require.NoError(t, err)
			assert.Equal(t, v.ChallengeHex, hex.EncodeToString(c.raw))
			assert.Equal(t, v.SignedBytesHex, hex.EncodeToString(c.signed))
			assert.Equal(t, version(t, v.ProtocolVersion), c.version)
			assert.Equal(t, v.Decoded.ValidFrom, c.from)
			assert.Equal(t, v.Decoded.ValidTo, c.to)
			assert.Equal(t, v.Decoded.FingerprintHex, c.fingerprint.String())
			assert.Equal(t, v.Decoded.ServerName, c.server)
			assert.Equal(t, v.Decoded.Username, c.user)
			now := time.Unix(v.ServerClock, 0)
			require.NoError(t, c.check(version(t, v.ProtocolVersion), v.ExpectedServerName, v.Username, now, now))
			keys, err := oneKey(t, f.Keys[v.Key]).Keys(t.Context())
			require.NoError(t, err)
			assert.Equal(t, c.fingerprint, keys[0].Fingerprint())
			signature, err := keys[0].sign(t.Context(), c.signed)
			require.NoError(t, err)
			assert.Equal(t, v.SignatureHex, hex.EncodeToString(signature))
			assert.Equal(t, v.Response, c.response(signature))
			assert.Equal(t, v.ResponseHex, hex.EncodeToString(must(decode(v.Response))))
			assert.Equal(t, v.XCHAPResponse, methodResponse+":"+v.Response)
			if v.Request != "" {
				assert.Equal(t, v.Request, request(Version1, v.Username))
			}
			tok, err := token(http.Header{"X-Chap": {v.XCHAPToken}}, v.Username, 0)
			require.NoError(t, err)
			assert.Equal(t, v.Token, tok.Value.Reveal())
			assert.Equal(t, 59*time.Second, tok.Life)
			assert.True(t, tok.Expiry.Equal(time.Unix(v.TokenDecoded.ValidTo, 0)))
		})
		ran++
	}
	vectors.Ran(t, "challenges", ran, len(f.Challenges))
}

func TestVectorsPadded(t *testing.T) {
	f, ran := load(t), 0
	for _, v := range f.Padded {
		for _, same := range f.Challenges {
			if same.Name != v.SameAs {
				continue
			}
			c, err := readChallenge(v.Challenge)
			require.NoError(t, err, v.Name)
			assert.Equal(t, same.ChallengeHex, hex.EncodeToString(c.raw), v.Name)
			ran++
		}
	}
	vectors.Ran(t, "challenges_padded_input", ran, len(f.Padded))
}

// A challenge that must not be signed is not signed: the whole login runs, and the key is
// watched. This is what falls when the server name is not looked at.
func TestVectorsChallengesNegative(t *testing.T) {
	f, ran := load(t), 0
	want := map[string]error{
		"empty": errEmpty, "bad_base64": errBase64, "truncated": errTruncated, "trailing_bytes": errTrailing,
		"bad_magic": errMagic, "bad_version": errVersion, "bad_length": errLength, "bad_type": errType,
		"bad_padding": errPadding, "bad_window": errWindow, "not_yet_valid": errTimes,
	}
	for _, v := range f.Negative {
		t.Run(v.Name, func(t *testing.T) {
			key := &counting{Signer: oneKey(t, f.Keys[v.Key])}
			date := time.Unix(v.ClientClock, 0).UTC().Format(http.TimeFormat)
			responses := 0
			src := &Source{
				Origin: "https://" + v.ExpectedServerName, User: v.ExpectedUsername, Signer: key,
				HTTPClient: &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
					resp := &http.Response{StatusCode: 200, Header: http.Header{"Date": {date}}, Body: http.NoBody, Request: r}
					if strings.HasPrefix(r.Header.Get("X-CHAP"), "response:") {
						responses++
						resp.StatusCode = 403
						return resp, nil
					}
					resp.Header.Set("X-CHAP", "challenge:"+v.Challenge)
					return resp, nil
				})},
			}
			if raw, err := decode(v.Challenge); err == nil && raw[0] == 'v' || strings.HasPrefix(v.Name, "v0") {
				src.Version = Version0
			}
			_, err := src.Issue(t.Context())
			e, ok := errors.AsType[*renew.IssueError](err)
			require.True(t, ok, "%v", err)
			switch v.Expect {
			case "client_cannot_detect":
				assert.Equal(t, 1, responses)
				assert.Equal(t, renew.Refused, e.Kind)
				assert.Equal(t, 403, e.Status)
				return
			case "server_name_mismatch":
				got, ok := errors.AsType[*ServerNameError](err)
				require.True(t, ok, "%v", err)
				assert.Equal(t, v.ExpectedServerName, got.Want)
				assert.True(t, e.Permanent)
			case "username_mismatch":
				_, ok := errors.AsType[*UserNameError](err)
				require.True(t, ok, "%v", err)
				assert.True(t, e.Permanent)
			case "no_matching_key":
				got, ok := errors.AsType[*NoKeyError](err)
				require.True(t, ok, "%v", err)
				assert.Len(t, got.Have, 1)
				assert.True(t, e.Permanent)
			default:
				require.Contains(t, want, v.Expect)
				assert.ErrorIs(t, err, want[v.Expect])
			}
			assert.Zero(t, key.signatures, "signatures")
			assert.Zero(t, responses, "responses sent")
		})
		ran++
	}
	vectors.Ran(t, "challenges_negative", ran, len(f.Negative))
}

func TestVectorsTokens(t *testing.T) {
	f, ran := load(t), 0
	for _, v := range f.Tokens {
		got, err := readToken(v.Token)
		require.NoError(t, err, v.Name)
		assert.Equal(t, &issued{v.Decoded.ValidFrom, v.Decoded.ValidTo, v.Decoded.Username}, got, v.Name)
		assert.Equal(t, v.TokenHex, hex.EncodeToString(must(decode(v.Token))), v.Name)
		assert.Equal(t, v.Format == 0, must(decode(v.Token))[0] == 'v', v.Name)
		// A token that its own issuer refuses has no life that could be relied on.
		want := time.Duration(v.NominalLifetimeSeconds) * time.Second
		want = max(want-time.Second, want/2)
		if _, refused := v.IssuerAcceptsAtIssue.(string); refused {
			want = 0
		}
		assert.Equal(t, want, got.life(v.Decoded.Username, time.Time{}), v.Name)
		req := &http.Request{}
		require.NoError(t, new(Source).Authorize(req, &renew.Token{Value: renew.NewSecret(v.Token)}), v.Name)
		assert.Equal(t, v.AuthorizationHeader, req.Header.Get("Authorization"), v.Name)
		ran++
	}
	vectors.Ran(t, "tokens", ran, len(f.Tokens))
}

func TestVectorsTokensNegative(t *testing.T) {
	f, ran := load(t), 0
	for _, v := range f.TokensNegative {
		_, err := readToken(v.Token)
		assert.Equal(t, strings.HasPrefix(v.ClientParse, "ok"), err == nil, v.Name)
		// A token that cannot be read is used all the same, if it can be sent.
		tok, err := token(http.Header{"X-Chap": {"token:" + v.Token}}, "alice", 0)
		switch {
		case v.Token == "":
			assert.ErrorIs(t, err, errToken, v.Name)
		default:
			require.NoError(t, err, v.Name)
			assert.Equal(t, v.Token, tok.Value.Reveal(), v.Name)
			assert.Equal(t, v.ClientParse == "unparsable", tok.Life == 0, v.Name)
		}
		ran++
	}
	vectors.Ran(t, "tokens_negative", ran, len(f.TokensNegative))
}

// The recorded agent answers our Agent: its questions must be the recorded ones, byte for byte.
func TestVectorsAgentTranscript(t *testing.T) {
	f, ran := load(t), 0
	challenges := map[string]*challenge{}
	signatures := map[string]string{}
	for _, v := range f.Challenges {
		challenges[v.Name] = must(readChallenge(v.Challenge))
		signatures[v.Name] = v.SignatureHex
	}
	for _, v := range f.AgentTranscript {
		question, answer := vectors.Hex(t, v.RequestHex), vectors.Hex(t, v.ReplyHex)
		if v.Step == "list identities" {
			a := &Agent{Socket: recorded(t, question, answer)}
			keys, err := a.Keys(t.Context())
			require.NoError(t, err)
			assert.Len(t, keys, 3)
			for _, key := range keys {
				known := false
				for _, k := range f.Keys {
					known = known || k.FingerprintHex == key.Fingerprint().String()
				}
				assert.True(t, known)
			}
			ran++
			continue
		}
		// What was asked: the key, the data, the flags. Ours are 0, whatever the recorded ones are.
		var asked struct {
			Type  byte
			Blob  []byte
			Data  []byte
			Flags uint32
		}
		require.NoError(t, ssh.Unmarshal(question[4:], &asked))
		assert.EqualValues(t, v.Flags, asked.Flags, v.ChallengeVector)
		if c := challenges[v.ChallengeVector]; c != nil {
			assert.Equal(t, c.signed, asked.Data, v.ChallengeVector)
		}
		copy(question[len(question)-4:], []byte{0, 0, 0, 0})
		blob, err := ssh.ParsePublicKey(asked.Blob)
		require.NoError(t, err)
		a := &Agent{Socket: recorded(t, question, answer)}
		signature, err := a.sign(t.Context(), time.Minute, blob, asked.Data)
		switch {
		case v.ReplyHex == "0000000105":
			assert.ErrorContains(t, err, "does not sign")
		case v.SignatureFormat == ssh.KeyAlgoRSA:
			require.NoError(t, err, v.ChallengeVector)
			key := Key{Public: publicRSA(blob), Sign: func(context.Context, []byte) ([]byte, error) { return signature, nil }}
			full, err := key.sign(t.Context(), asked.Data)
			require.NoError(t, err, v.ChallengeVector)
			if want := signatures[v.ChallengeVector]; want != "" {
				assert.Equal(t, v.SignatureEqualsVector, want == hex.EncodeToString(full), v.ChallengeVector)
			}
			// An agent that leaves the zeros at the front out gives the same signature.
			key.Sign = func(context.Context, []byte) ([]byte, error) {
				return []byte(strings.TrimLeft(string(signature), "\x00")), nil
			}
			padded, err := key.sign(t.Context(), asked.Data)
			require.NoError(t, err, v.ChallengeVector)
			assert.Equal(t, full, padded)
			if v.ChallengeVector == "v1_signature_leading_zero" {
				assert.Zero(t, full[0])
			}
		default:
			wrong, ok := errors.AsType[*renew.ConfigError](err)
			assert.True(t, ok && wrong.Field == "Agent", "%s: %v", v.SignatureFormat, err)
		}
		ran++
	}
	vectors.Ran(t, "ssh_agent_transcript", ran, len(f.AgentTranscript))
}

// recorded is a socket on which one question gets one answer, and any other question none.
func recorded(t *testing.T, question, answer []byte) string {
	path := filepath.Join(t.TempDir(), "agent")
	l, err := net.Listen("unix", path)
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		got := make([]byte, len(question))
		if _, err := io.ReadFull(conn, got); assert.NoError(t, err) && assert.Equal(t, question, got) {
			_, _ = conn.Write(answer)
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return path
}

// The recorded servers answer our Source: what it sends must be what their client sent, and
// so must the header that it puts on the request.
func TestVectorsHTTPTranscripts(t *testing.T) {
	f, ran := load(t), 0
	for _, v := range f.HTTPTranscripts {
		type pair struct {
			req  *http.Request
			resp *http.Response
		}
		var pairs []pair
		for _, conn := range v.Connections {
			reqs, resps := bufio.NewReader(strings.NewReader(conn.ClientSent)), bufio.NewReader(strings.NewReader(conn.ServerSent))
			for {
				req, err := http.ReadRequest(reqs)
				if err == io.EOF {
					break
				}
				require.NoError(t, err)
				_, err = io.Copy(io.Discard, req.Body)
				require.NoError(t, err)
				resp, err := http.ReadResponse(resps, req)
				require.NoError(t, err)
				_, err = io.Copy(io.Discard, resp.Body)
				require.NoError(t, err)
				pairs = append(pairs, pair{req, resp})
			}
		}
		require.Len(t, pairs, 4, "without a token, request, response, with the token")
		next := 1
		src := &Source{
			Origin: "http://" + pairs[0].req.Host, User: "alice", Signer: oneKey(t, f.Keys["k2048"]),
			HTTPClient: &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
				p := pairs[next]
				next++
				assert.Equal(t, p.req.Method, r.Method)
				assert.Equal(t, p.req.URL.Path, r.URL.Path)
				assert.Equal(t, p.req.Header.Values("X-CHAP"), r.Header.Values("X-CHAP"))
				assert.Nil(t, r.Body, "a body")
				p.resp.Body = http.NoBody
				return p.resp, nil
			})},
		}
		require.NoError(t, src.Validate())
		tok, err := src.Issue(t.Context())
		require.NoError(t, err, v.Peer)
		assert.Equal(t, 3, next, "exchanges")
		assert.InDelta(t, 4, tok.Life.Seconds(), 0.9, "7 s between its times: 2 of backdating, 1 for rounding")
		req := &http.Request{Header: http.Header{"Authorization": {"Basic Zm9vOmJhcg=="}}}
		require.NoError(t, src.Authorize(req, tok))
		assert.Equal(t, pairs[3].req.Header.Values("Authorization"), req.Header.Values("Authorization"))
		ran++
	}
	vectors.Ran(t, "http_transcripts", ran, len(f.HTTPTranscripts))
}

// Keys that cannot serve are told at start-up.
func TestVectorsKeysNotUsable(t *testing.T) {
	f, ran := load(t), 0
	for name, k := range f.KeysNotUsable {
		err := (&PEM{Key: renew.NewSecret(k.OpenSSH)}).Validate()
		ce, ok := errors.AsType[*renew.ConfigError](err)
		require.True(t, ok, name)
		assert.Equal(t, "PEM.Key", ce.Field)
		assert.Contains(t, ce.Reason, name)
		ran++
	}
	vectors.Ran(t, "keys_not_usable", ran, len(f.KeysNotUsable))
}

// oneKey is a Signer of one of the vectors' keys.
func oneKey(t testing.TB, k vectors.Key) Signer { return Local(k.Private(t)) }

// counting counts the signatures of a Signer.
type counting struct {
	Signer
	signatures int
}

func (c *counting) Keys(ctx context.Context) ([]Key, error) {
	keys, err := c.Signer.Keys(ctx)
	for i := range keys {
		sign := keys[i].Sign
		keys[i].Sign = func(ctx context.Context, data []byte) ([]byte, error) {
			c.signatures++
			return sign(ctx, data)
		}
	}
	return keys, err
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// Each byte that a sender does not choose must be as it is: one challenge has one form.
func TestVersion0Padding(t *testing.T) {
	f := load(t)
	for _, v := range f.Challenges {
		if v.ProtocolVersion != 0 {
			continue
		}
		raw := vectors.Hex(t, v.ChallengeHex)
		fingerprint := 28 + 4 + 20 + 8 + 4
		for _, at := range []int{1, 2, 3, 29, fingerprint + 6, fingerprint + 7} {
			raw[at] = 1
			_, err := readChallenge(encode(raw))
			assert.ErrorIs(t, err, errPadding, "%s, byte %d", v.Name, at)
			raw[at] = 0
		}
		_, err := readChallenge(encode(raw))
		assert.NoError(t, err)
	}
}
