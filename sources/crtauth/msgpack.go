package crtauth

import (
	"encoding/binary"
	"math"
)

// maxTime is the year 9999 in Unix seconds: a later time is no time.
const maxTime = 253402300799

// msgpack reads the forms of msgpack that crtauth has, one value after the other.
// Servers in Python write str16 where str8 would do, so all lengths are taken.
type msgpack struct{ reader }

// expect reads a byte that must be want.
func (r *msgpack) expect(want byte, otherwise error) {
	if got := r.byte(); r.err == nil && got != want {
		r.fail(otherwise)
	}
}

// bin reads a value of the bin family.
func (r *msgpack) bin() []byte {
	switch form := r.byte(); form {
	case 0xc4, 0xc5, 0xc6:
		return r.take(r.number(1 << (form - 0xc4)))
	}
	r.fail(errType)
	return nil
}

// binOf reads a value of the bin family that must be that long.
func (r *msgpack) binOf(length int) []byte {
	b := r.bin()
	if r.err == nil && len(b) != length {
		r.fail(errLength)
	}
	if r.err != nil {
		return make([]byte, length)
	}
	return b
}

// str reads a string in any of its four forms.
func (r *msgpack) str() string {
	switch form := r.byte(); {
	case form&0xe0 == 0xa0:
		return string(r.take(uint64(form & 0x1f)))
	case 0xd9 <= form && form <= 0xdb:
		return string(r.take(r.number(1 << (form - 0xd9))))
	}
	r.fail(errType)
	return ""
}

// time reads Unix seconds: any unsigned form of an integer.
func (r *msgpack) time() int64 {
	var n uint64
	switch form := r.byte(); {
	case form < 0x80:
		n = uint64(form)
	case 0xcc <= form && form <= 0xcf:
		n = r.number(1 << (form - 0xcc))
	default:
		r.fail(errType)
	}
	if n > maxTime {
		r.fail(errLength)
		return 0
	}
	return int64(n)
}

// readChallenge1 reads a challenge of version 1: version, magic, 20 random bytes, two times,
// fingerprint, server name, user, HMAC. All of it is signed.
func readChallenge1(raw []byte) (*challenge, error) {
	r := msgpack{reader{rest: raw}}
	r.expect(1, errVersion)
	r.expect('c', errMagic)
	r.binOf(20)
	c := &challenge{version: Version1, raw: raw, signed: raw, from: r.time(), to: r.time()}
	copy(c.fingerprint[:], r.binOf(len(c.fingerprint)))
	c.server = r.str()
	c.user = r.str()
	r.binOf(32)
	r.end()
	return c, r.err
}

// readToken1 reads a token in the layout of version 1.
func readToken1(raw []byte) (*issued, error) {
	r := msgpack{reader{rest: raw}}
	r.expect(1, errVersion)
	r.expect('t', errMagic)
	t := &issued{from: r.time(), to: r.time(), user: r.str()}
	r.binOf(32)
	r.end()
	return t, r.err
}

// appendStr writes a string in its shortest form: str8 from 32 bytes on, which servers read.
// Names are short (maxUser).
func appendStr(b []byte, s string) []byte {
	if len(s) < 32 {
		return append(append(b, 0xa0|byte(len(s))), s...)
	}
	return append(append(b, 0xd9, byte(len(s))), s...)
}

// appendBin writes bytes in their shortest form. A header holds far less than bin16 can.
func appendBin(b, data []byte) []byte {
	if len(data) <= math.MaxUint8 {
		return append(append(b, 0xc4, byte(len(data))), data...)
	}
	return append(binary.BigEndian.AppendUint16(append(b, 0xc5), uint16(len(data))), data...)
}
