package crtauth

import (
	"bytes"
	"encoding/hex"
	"io"
	"net/http"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// A challenge that is taken has one reading: written again in the shortest form it reads the same, and what
// is signed starts with bytes that mark it as a challenge.
func FuzzChallenge(f *testing.F) {
	v := load(f)
	for _, c := range v.Challenges {
		f.Add(c.Challenge)
	}
	for _, c := range v.Negative {
		f.Add(c.Challenge)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := readChallenge(text)
		if err != nil {
			return
		}
		want := []byte{1, 'c'}
		if c.version == Version0 {
			want = []byte{'c', 0, 0, 0}
		}
		if !bytes.HasPrefix(c.signed, want) {
			t.Fatalf("what is signed starts with %x", c.signed[:min(4, len(c.signed))])
		}
		if !bytes.Contains(c.raw, c.signed) || len(c.server)+len(c.user) > len(c.raw) {
			t.Fatal("it holds what the message does not")
		}
		if again, err := readChallenge(encode(c.raw)); err != nil || again.user != c.user || again.server != c.server {
			t.Fatalf("read again: %v", err)
		}
		if c.from >= c.to || c.from < 0 || c.to > maxTime {
			t.Fatalf("valid from %d to %d", c.from, c.to)
		}
		_ = c.check(c.version, "host.example.com", "alice", time.Time{}, time.Unix(1700000000, 0))
		if _, err := decode(c.response([]byte("signature"))); err != nil {
			t.Fatal(err)
		}
	})
}

// Whatever a token says, its life is one that servers give, and none that ends before it begins.
func FuzzToken(f *testing.F) {
	v := load(f)
	for _, tok := range v.Tokens {
		f.Add(tok.Token, int64(1700000000))
	}
	for _, tok := range v.TokensNegative {
		f.Add(tok.Token, tok.ServerClock)
	}
	f.Fuzz(func(t *testing.T, text string, date int64) {
		tok, err := readToken(text)
		if err != nil {
			return
		}
		for _, d := range []time.Time{{}, time.Unix(date, 0)} {
			if life := tok.life(tok.user, d); life < 0 || life > (maxLife-1)*time.Second {
				t.Fatalf("life = %v", life)
			}
		}
		if tok.life(tok.user+"x", time.Time{}) != 0 {
			t.Fatal("another user's token has a life")
		}
	})
}

// A header gives a message that can be used, or an error.
func FuzzHeader(f *testing.F) {
	for _, text := range []string{"challenge:AWPE", "token:abc", "token: abc ", "token", ":", "", " token :x", "token:a:b", "token:a b"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		h := http.Header{"X-Chap": {text}, "Date": {"Sun, 06 Nov 1994 08:49:37 GMT"}}
		tok, err := token(h, "alice", time.Second)
		if err != nil {
			return
		}
		value := tok.Value.Reveal()
		if value == "" || len(text) > maxHeader || !bytes.Contains([]byte(text), []byte(value)) || bytes.ContainsAny([]byte(value), " \t\r\n\x00") {
			t.Fatalf("token %q", value)
		}
		if tok.Life < 0 || tok.Life > maxLife*time.Second {
			t.Fatalf("life = %v", tok.Life)
		}
	})
}

// What an agent sends, for either question, gives keys that can serve, a signature, or an error.
func FuzzAgentFrame(f *testing.F) {
	for _, v := range load(f).AgentTranscript {
		f.Add(must(hex.DecodeString(v.ReplyHex)))
	}
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 12})
	f.Add([]byte{0, 0, 0, 1, 6})
	k := load(f).Keys["k2048"]
	key := must(ssh.NewPublicKey(&k.Private(f).PublicKey))
	f.Fuzz(func(t *testing.T, reply []byte) {
		client := func() agent.Agent {
			return agent.NewClient(struct {
				io.Reader
				io.Writer
			}{bytes.NewReader(reply), io.Discard})
		}
		if list, err := client().List(); err == nil {
			for _, found := range list {
				if public := publicRSA(found); public != nil && (Key{Public: public}).Fingerprint() == (Fingerprint{}) {
					t.Fatal("a key that cannot serve")
				}
			}
		}
		if signature, err := client().Sign(key, nil); err == nil && len(signature.Blob) > len(reply) {
			t.Fatal("a signature longer than its message")
		}
	})
}
