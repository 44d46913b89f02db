package crtauth

import "encoding/binary"

// xdr reads the messages of version 0: numbers of four bytes, big-endian, and texts with
// their length before them and zeros up to a multiple of four behind.
type xdr struct{ reader }

// magic reads the byte that says what follows, and its three zeros.
func (r *xdr) magic(want byte, otherwise error) {
	b := r.take(4)
	switch {
	case r.err != nil:
	case b[0] != want:
		r.fail(otherwise)
	case b[1] != 0 || b[2] != 0 || b[3] != 0:
		r.fail(errPadding)
	}
}

// opaque reads bytes with their length before them.
func (r *xdr) opaque() []byte {
	b := r.take(r.number(4))
	for _, zero := range r.take(uint64(-len(b) & 3)) {
		if zero != 0 {
			r.fail(errPadding)
		}
	}
	return b
}

// readPayload reads what version 0 has around its challenge and its token: magic,
// HMAC, and the payload, which it returns.
func readPayload(raw []byte) ([]byte, error) {
	r := xdr{reader{rest: raw}}
	r.magic('v', errVersion)
	r.take(20)
	payload := r.opaque()
	r.end()
	return payload, r.err
}

// readChallenge0 reads a challenge of version 0. Its payload is what is signed.
func readChallenge0(raw []byte) (*challenge, error) {
	payload, err := readPayload(raw)
	if err != nil {
		return nil, err
	}
	r := xdr{reader{rest: payload}}
	r.magic('c', errMagic)
	r.take(20)
	c := &challenge{version: Version0, raw: raw, signed: payload, from: int64(r.number(4)), to: int64(r.number(4))}
	fingerprint := r.opaque()
	if len(fingerprint) != len(c.fingerprint) {
		r.fail(errLength)
	}
	copy(c.fingerprint[:], fingerprint)
	c.server = string(r.opaque())
	c.user = string(r.opaque())
	r.end()
	return c, r.err
}

// readToken0 reads a token in the layout of version 0.
func readToken0(raw []byte) (*issued, error) {
	payload, err := readPayload(raw)
	if err != nil {
		return nil, err
	}
	r := xdr{reader{rest: payload}}
	r.magic('t', errMagic)
	t := &issued{from: int64(r.number(4)), to: int64(r.number(4)), user: string(r.opaque())}
	r.end()
	return t, r.err
}

// appendOpaque writes bytes with their length before them and padding behind.
func appendOpaque(b, data []byte) []byte {
	b = append(binary.BigEndian.AppendUint32(b, uint32(len(data))), data...)
	return append(b, make([]byte, -len(data)&3)...)
}
