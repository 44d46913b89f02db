package crtauthtest

import (
	"bytes"
	"crypto"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"hash"
	"io"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"time"
)

// What a server dates back, how long challenges live, and how far apart a token's times may be.
const (
	backdated     = 2
	challengeLife = 20
	tokenSpan     = 600
)

var errRefused = errors.New("refused")

// b64 is how servers write; decode is how they read: the one in Python drops what is not of
// either alphabet, the one in Java does not.
func b64(raw []byte) string { return base64.RawURLEncoding.EncodeToString(raw) }

func (h *Handler) decode(text string) ([]byte, bool) {
	if h.opts.Java {
		raw, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(text, "="))
		return raw, err == nil
	}
	text = strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9':
			return r
		case r == '-' || r == '+':
			return '-'
		case r == '_' || r == '/':
			return '_'
		}
		return -1
	}, text)
	raw, err := base64.RawURLEncoding.DecodeString(text)
	return raw, err == nil
}

func (h *Handler) mac(alg func() hash.Hash, data []byte) []byte {
	m := hmac.New(alg, []byte(h.opts.Secret))
	m.Write(data)
	return m.Sum(nil)
}

// readRequest tells the two versions apart as the server in Python does: what is base64 of a version up
// to 4, q, and a string that fits, is of version 1; all else is the name itself.
func (h *Handler) readRequest(message string) (user string, version int) {
	raw, ok := h.decode(message)
	if !ok || len(raw) < 3 || raw[0] > 4 || raw[1] != 'q' {
		return message, 0
	}
	length, name := 0, raw[3:]
	switch first := raw[2]; {
	case first&0xe0 == 0xa0:
		length = int(first & 0x1f)
	case first == 0xd9 && len(name) > 0:
		length, name = int(name[0]), name[1:]
	}
	if length == 0 || length > len(name) {
		return message, 0
	}
	return string(name[:length]), 1
}

// brokenBase64 reports whether the server in Python fails over a name: it pads it by its length and
// drops what is not base64 afterwards.
func brokenBase64(name string) bool {
	if len(name)%4 == 1 {
		return false
	}
	kept := 0
	for i := range len(name) {
		c := name[i]
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-_+/", c) >= 0 {
			kept++
		}
	}
	return kept%4 != len(name)%4
}

// challenge answers a request with 200, 403 or 500.
func (h *Handler) challenge(message string, now time.Time) (string, int) {
	user, version := h.readRequest(message)
	switch {
	case version == 0 && !h.opts.Java && brokenBase64(message):
		return "", http.StatusInternalServerError
	case len(user) > 64, version < h.opts.LowestVersion, version == 0 && h.opts.Java:
		return "", http.StatusForbidden
	}
	unique := make([]byte, 20)
	if _, err := io.ReadFull(h.opts.Rand, unique); err != nil {
		return "", http.StatusInternalServerError
	}
	fingerprint := h.mac(sha1.New, []byte(user))[:6] // of a user that is not known: made up
	if key := h.key(user); key != nil {
		fingerprint = keyFingerprint(key)
	}
	from, to := uint32(now.Unix()-backdated), uint32(now.Unix()+challengeLife)
	be := binary.BigEndian
	if version == 0 {
		p := append([]byte{'c', 0, 0, 0}, unique...)
		p = be.AppendUint32(be.AppendUint32(p, from), to)
		p = xdrString(xdrString(xdrString(p, fingerprint), []byte(h.opts.ServerName)), []byte(user))
		return b64(h.wrap(p)), http.StatusOK
	}
	b := append([]byte{1, 'c', 0xc4, 20}, unique...)
	b = be.AppendUint32(append(b, 0xce), from)
	b = be.AppendUint32(append(b, 0xce), to)
	b = append(append(b, 0xc4, 6), fingerprint...)
	b = h.str(h.str(b, h.opts.ServerName), user)
	return b64(append(append(b, 0xc4, 32), h.mac(sha256.New, b)...)), http.StatusOK
}

// wrap puts the magic, the HMAC and the length of version 0 before a payload.
func (h *Handler) wrap(payload []byte) []byte {
	return xdrString(append([]byte{'v', 0, 0, 0}, h.mac(sha1.New, payload)...), payload)
}

func xdrString(b, data []byte) []byte {
	b = append(binary.BigEndian.AppendUint32(b, uint32(len(data))), data...)
	return append(b, make([]byte, -len(data)&3)...)
}

// str writes a string. The server in Python does not know str8.
func (h *Handler) str(b []byte, s string) []byte {
	switch {
	case len(s) < 32:
		b = append(b, 0xa0|byte(len(s)))
	case h.opts.Java:
		b = append(b, 0xd9, byte(len(s)))
	default:
		b = binary.BigEndian.AppendUint16(append(b, 0xda), uint16(len(s)))
	}
	return append(b, s...)
}

// keyFingerprint is the first 6 bytes of the SHA-1 of the key's SSH form, which is written out here.
func keyFingerprint(key *rsa.PublicKey) []byte {
	var blob []byte
	for _, part := range [][]byte{[]byte("ssh-rsa"), mpint(big.NewInt(int64(key.E))), mpint(key.N)} {
		blob = append(binary.BigEndian.AppendUint32(blob, uint32(len(part))), part...)
	}
	sum := sha1.Sum(blob)
	return sum[:6]
}

func mpint(n *big.Int) []byte {
	b := n.Bytes()
	if len(b) > 0 && b[0]&0x80 != 0 {
		b = slices.Insert(b, 0, 0)
	}
	return b
}

// judgeResponse makes a token of a good response.
func (h *Handler) judgeResponse(message string, now time.Time) (string, error) {
	raw, ok := h.decode(message)
	if !ok || len(raw) == 0 {
		return "", errRefused
	}
	var c asked
	var signature []byte
	switch {
	case raw[0] == 1:
		r := lax{rest: raw[1:]}
		r.expect('r')
		message := r.data()
		signature = r.data() // what follows is not looked at
		c = h.readChallenge1(message, &r)
		ok = !r.bad
	case raw[0] == 'r' && !h.opts.Java && h.opts.LowestVersion == 0:
		r := lax{rest: raw[4*min(1, len(raw)/4):]}
		signature = r.opaque()
		message := r.opaque()
		c = h.readChallenge0(message, &r)
		ok = !r.bad
	default:
		return "", errRefused
	}
	switch key := h.key(c.user); {
	case !ok, c.server != h.opts.ServerName, key == nil,
		now.Before(time.Unix(c.from, 0)), now.After(time.Unix(c.to, 0)),
		!h.verify(key, c.signed, signature):
		return "", errRefused
	}
	return h.token(c.user, now), nil
}

// verify checks a signature. Only the server in Python takes one that lacks zeros at its front.
func (h *Handler) verify(key *rsa.PublicKey, data, signature []byte) bool {
	if short := key.Size() - len(signature); short > 0 && !h.opts.Java {
		signature = append(bytes.Repeat([]byte{0}, short), signature...)
	}
	sum := sha1.Sum(data)
	return rsa.VerifyPKCS1v15(key, crypto.SHA1, sum[:], signature) == nil
}

// token makes a token in the server's layout.
func (h *Handler) token(user string, now time.Time) string {
	from, to := uint32(now.Unix()-backdated), uint32(now.Unix()+int64(h.opts.Lifetime/time.Second))
	be := binary.BigEndian
	if !h.opts.Java {
		p := be.AppendUint32(be.AppendUint32([]byte{'t', 0, 0, 0}, from), to)
		return b64(h.wrap(xdrString(p, []byte(user))))
	}
	b := be.AppendUint32([]byte{1, 't', 0xce}, from)
	b = h.str(be.AppendUint32(append(b, 0xce), to), user)
	return b64(append(append(b, 0xc4, 32), h.mac(sha256.New, b)...))
}

// judgeToken returns the user of a good token.
func (h *Handler) judgeToken(text string, now time.Time) (string, error) {
	raw, ok := h.decode(text)
	if !ok {
		return "", errRefused
	}
	var from, to int64
	var user string
	r := lax{rest: raw}
	if h.opts.Java {
		r.expect(1)
		r.expect('t')
		from, to, user = r.int(), r.int(), string(r.data())
		r.checkHMAC(h, raw)
	} else {
		p := lax{rest: h.unwrap(raw, &r)}
		p.expect('t')
		p.take(3)
		from, to, user = p.u32(), p.u32(), string(p.opaque())
		r.bad = r.bad || p.bad
	}
	if r.bad || time.Unix(to, 0).Before(now) || time.Unix(from, 0).After(now) || to-from > tokenSpan {
		return "", errRefused
	}
	return user, nil
}

// asked is what a server reads in a challenge that comes back.
type asked struct {
	signed       []byte
	from, to     int64
	server, user string
}

func (h *Handler) readChallenge1(raw []byte, outer *lax) (c asked) {
	r := lax{rest: raw}
	r.expect(1)
	r.expect('c')
	r.data()
	c = asked{signed: raw, from: r.int(), to: r.int()}
	r.data()
	c.server, c.user = string(r.data()), string(r.data())
	r.checkHMAC(h, raw)
	outer.bad = outer.bad || r.bad
	return c
}

func (h *Handler) readChallenge0(raw []byte, outer *lax) (c asked) {
	payload := h.unwrap(raw, outer)
	r := lax{rest: payload}
	r.expect('c')
	r.take(23)
	c = asked{signed: payload, from: r.u32(), to: r.u32()}
	r.opaque()
	c.server, c.user = string(r.opaque()), string(r.opaque())
	outer.bad = outer.bad || r.bad
	return c
}

// unwrap returns the payload of version 0, whose HMAC must be right.
func (h *Handler) unwrap(raw []byte, outer *lax) []byte {
	r := lax{rest: raw}
	r.expect('v')
	r.take(3)
	sum := r.take(20)
	payload := r.opaque()
	outer.bad = outer.bad || r.bad || !hmac.Equal(sum, h.mac(sha1.New, payload))
	return payload
}

// lax reads messages as the real servers do: they look neither at padding nor at what follows, take strings
// for bytes and the other way round, and negative numbers.
type lax struct {
	rest []byte
	bad  bool
}

func (r *lax) take(n int) []byte {
	if r.bad || n < 0 || n > len(r.rest) {
		r.bad = true
		return nil
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

func (r *lax) number(bytes int) (n int64) {
	for _, b := range r.take(bytes) {
		n = n<<8 | int64(b)
	}
	return n
}

func (r *lax) u32() int64 { return r.number(4) }

func (r *lax) expect(want byte) {
	if r.number(1) != int64(want) {
		r.bad = true
	}
}

// opaque reads a string of version 0.
func (r *lax) opaque() []byte {
	n := r.u32()
	b := r.take(int(n))
	r.take(int(-n & 3))
	return b
}

// data reads a string or bytes of version 1.
func (r *lax) data() []byte {
	switch form := r.number(1); {
	case form&0xe0 == 0xa0:
		return r.take(int(form & 0x1f))
	case 0xc4 <= form && form <= 0xc6:
		return r.take(int(r.number(1 << (form - 0xc4))))
	case 0xd9 <= form && form <= 0xdb:
		return r.take(int(r.number(1 << (form - 0xd9))))
	}
	r.bad = true
	return nil
}

// int reads a number of version 1.
func (r *lax) int() int64 {
	switch form := r.number(1); {
	case form < 0x80:
		return form
	case form >= 0xe0:
		return form - 0x100
	case 0xcc <= form && form <= 0xcf:
		return r.number(1 << (form - 0xcc))
	case 0xd0 <= form && form <= 0xd3:
		bytes := 1 << (form - 0xd0)
		shift := 64 - 8*bytes
		return r.number(bytes) << shift >> shift
	}
	r.bad = true
	return 0
}

// checkHMAC reads the HMAC of version 1. It is taken to be the end of the message, as the server in Python
// has it, so that bytes behind it make it wrong.
func (r *lax) checkHMAC(h *Handler, message []byte) {
	sum := r.data()
	if end := len(message) - 34; r.bad || end < 0 || !hmac.Equal(sum, h.mac(sha256.New, message[:end])) {
		r.bad = true
	}
}
