package crtauth

import (
	"crypto/rsa"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"golang.org/x/crypto/ssh"
)

// The messages of draft-ietf-sshm-ssh-agent, sections 3.5 and 3.6, that are used.
const (
	agentFailure = 5
	agentList    = 11
	agentKeys    = 12
	agentSign    = 13
	agentSigned  = 14
)

// maxFrame is the longest message of an agent that is read. OpenSSH has the same bound.
const maxFrame = 256 << 10

// keyRSA is the one type of key, and the one method of signing, that crtauth has.
const keyRSA = "ssh-rsa"

// errOtherMethod is a signature by another method than keyRSA.
var errOtherMethod = errors.New("signed by another method than ssh-rsa")

// readFrame reads one message: its length, and then itself. It holds no more than
// maxFrame, whatever length is claimed. The errors of this file follow "the ssh-agent".
func readFrame(r io.Reader) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, ended(err)
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > maxFrame {
		return nil, fmt.Errorf("claims to answer with %d bytes, more than the %d that an agent may", n, maxFrame)
	}
	frame := make([]byte, n)
	if _, err := io.ReadFull(r, frame); err != nil {
		return nil, ended(err)
	}
	return frame, nil
}

// ended says in words that a connection was closed.
func ended(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("closed the connection before it had answered")
	}
	return err
}

// open returns what is in a message, which must be of type want.
func open(frame []byte, want byte) (*wire, error) {
	r := &wire{reader{rest: frame}}
	switch got := r.byte(); {
	case r.err != nil:
		return nil, errors.New("sent an empty message")
	case got == want:
		return r, nil
	case got == agentFailure && want == agentSigned:
		return nil, errors.New("refuses to sign: the key was removed, nobody allowed its use, the agent was locked, or this system forbids SHA-1 signatures (then use a PEM)")
	case got == agentFailure:
		return nil, errors.New("refuses to list its keys")
	default:
		return nil, fmt.Errorf("answered with a message of type %d, where %d was due", got, want)
	}
}

// wire reads the forms of SSH (RFC 4251, section 5).
type wire struct{ reader }

// string reads bytes with their length before them.
func (r *wire) string() []byte { return r.take(r.number(4)) }

// closed says what was wrong with a message.
func (r *wire) closed() error {
	r.end()
	if r.err == nil {
		return nil
	}
	return fmt.Errorf("sent a message that cannot be read: %w", r.err)
}

// readIdentities reads the list of keys: those that can serve, and how many cannot.
func readIdentities(frame []byte) (found []identity, others int, err error) {
	r, err := open(frame, agentKeys)
	if err != nil {
		return nil, 0, err
	}
	for n := r.number(4); n > 0 && r.err == nil; n-- {
		blob := r.string()
		r.string() // the comment
		if r.err != nil {
			break
		}
		if pub := publicRSA(blob); pub != nil {
			found = append(found, identity{blob, pub})
		} else {
			others++
		}
	}
	if err := r.closed(); err != nil {
		return nil, 0, err
	}
	return found, others, nil
}

// publicRSA reads a public key. It returns nil for all that cannot serve: other types,
// certificates, keys that are too short or too long.
func publicRSA(blob []byte) *rsa.PublicKey {
	if r := (wire{reader{rest: blob}}); string(r.string()) != keyRSA {
		return nil
	}
	key, err := ssh.ParsePublicKey(blob)
	if err != nil {
		return nil
	}
	crypto, ok := key.(ssh.CryptoPublicKey)
	if !ok {
		return nil
	}
	pub, ok := crypto.CryptoPublicKey().(*rsa.PublicKey)
	if !ok || checkSize("", pub) != nil {
		return nil
	}
	return pub
}

// signRequest asks for a signature. The flags are 0: SHA-1.
func signRequest(blob, data []byte) []byte {
	message := appendString(appendString([]byte{agentSign}, blob), data)
	return append(message, 0, 0, 0, 0)
}

// readSignature reads a signature, and takes the wrapper off that SSH has around it.
func readSignature(frame []byte) ([]byte, error) {
	r, err := open(frame, agentSigned)
	if err != nil {
		return nil, err
	}
	in := wire{reader{rest: r.string()}}
	if err := r.closed(); err != nil {
		return nil, err
	}
	method, signature := in.string(), in.string()
	if err := in.closed(); err != nil {
		return nil, err
	}
	if string(method) != keyRSA {
		return nil, errOtherMethod
	}
	return signature, nil
}

// appendString writes bytes with their length before them.
func appendString(b, data []byte) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(data))), data...)
}
