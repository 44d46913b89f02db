package digest

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/sources/internal/challenge"
)

// session is a nonce and what belongs to it. All requests with one nonce have the same cnonce and another nc.
type session struct {
	offer
	cnonce string
	nc     atomic.Uint32
	keys   atomic.Pointer[keys]
	// trusted says that an answer with this nonce was accepted, or that the nonce came with an acceptance. When it is
	// refused later, its age may be the reason.
	trusted atomic.Bool
}

// maxCount is how many requests one nonce is for. A count is never used twice: it has 32 bits (RFC 7616, section 3.4), and those in flight need room.
const maxCount = 1 << 31

// usedUp reports whether there are no more counts.
func (s *session) usedUp() bool { return s.nc.Load() >= maxCount }

// keys are what a session has of one password.
type keys struct {
	password renew.Secret
	ha1      renew.Secret // of -sess, the session's; of Basic, the whole header
	prefix   string       // of the header: the same for all requests
}

// keysOf returns the keys of a password, which it computes once.
func (s *session) keysOf(username string, password renew.Secret) *keys {
	if k := s.keys.Load(); k != nil && k.password.Reveal() == password.Reveal() {
		return k
	}
	k := &keys{password: password}
	if s.basic {
		k.ha1 = renew.NewSecret("Basic " + base64.StdEncoding.EncodeToString([]byte(username+":"+password.Reveal())))
	} else {
		ha1 := s.algorithm.appendHex(nil, []byte(username+":"+s.realm+":"+password.Reveal()))
		if s.sess {
			ha1 = s.algorithm.appendHex(nil, []byte(string(ha1)+":"+s.nonce+":"+s.cnonce))
		}
		k.ha1 = renew.NewSecret(string(ha1))
		k.prefix = string(s.appendPrefix(nil, username))
	}
	s.keys.Store(k)
	return k
}

// appendPrefix appends the header up to the uri (RFC 7616, section 3.4).
func (s *session) appendPrefix(b []byte, username string) []byte {
	switch {
	case s.userhash:
		b = append(b, `Digest username="`...)
		b = s.algorithm.appendHex(b, []byte(username+":"+s.realm))
		b = append(b, `", userhash=true`...)
	case s.utf8 && !ascii(username):
		b = append(b, `Digest username*=`...)
		b = appendExtValue(b, username)
	default:
		b = append(b, `Digest username=`...)
		b = appendQuoted(b, username)
	}
	b = appendQuoted(append(b, `, realm=`...), s.realm)
	b = appendQuoted(append(b, `, nonce=`...), s.nonce)
	if s.named {
		b = append(append(b, `, algorithm=`...), s.algorithm.String()...)
		if s.sess {
			b = append(b, "-sess"...)
		}
	}
	if s.hasOpaque {
		b = appendQuoted(append(b, `, opaque=`...), s.opaque)
	}
	if s.qop != "" {
		b = append(append(b, `, qop=`...), s.qop...)
		b = appendQuoted(append(b, `, cnonce=`...), s.cnonce)
	}
	return append(b, `, uri=`...)
}

// answer is what was sent with one request, and all that its rspauth is made of.
type answer struct {
	session *session
	keys    *keys
	nc      uint32
	uri     string
}

// header returns the header's value for one request, with a number of its own. bodyHash is nil unless qop is auth-int.
func (a *answer) header(method string, bodyHash []byte) string {
	s := a.session
	if s.basic {
		return a.keys.ha1.Reveal()
	}
	var room [1024]byte
	b := append(room[:0], a.keys.prefix...)
	b = appendQuoted(b, a.uri)
	if s.qop != "" {
		b = appendCount(append(b, `, nc=`...), a.nc)
	}
	b = append(b, `, response="`...)
	b = a.appendResponse(b, method, bodyHash)
	return string(append(b, '"'))
}

// appendResponse appends the response, or with an empty method the rspauth (RFC 7616, sections 3.4.1 and 3.5).
func (a *answer) appendResponse(dst []byte, method string, bodyHash []byte) []byte {
	s := a.session
	var room [512]byte
	var hashRoom [64]byte
	ha2 := a.appendHA2(hashRoom[:0], method, bodyHash)
	b := append(append(room[:0], a.keys.ha1.Reveal()...), ':')
	b = append(append(b, s.nonce...), ':')
	if s.qop != "" {
		b = append(appendCount(b, a.nc), ':')
		b = append(append(b, s.cnonce...), ':')
		b = append(append(b, s.qop...), ':')
	}
	return s.algorithm.appendHex(dst, append(b, ha2...))
}

// appendHA2 appends the hash of A2 (RFC 7616, section 3.4.3).
func (a *answer) appendHA2(dst []byte, method string, bodyHash []byte) []byte {
	var room [512]byte
	b := append(append(append(room[:0], method...), ':'), a.uri...)
	if a.session.qop == "auth-int" {
		b = append(append(b, ':'), bodyHash...)
	}
	return a.session.algorithm.appendHex(dst, b)
}

// proven reports whether the rspauth in an answer is that of a server which knows the password. There may be none, and the
// one of auth-int, which an answer to auth may have too (RFC 7616, section 3.5), covers a body that was not read: both are taken.
func (a *answer) proven(info challenge.Params) bool {
	rspauth, has := info.Get("rspauth")
	qop, _ := info.Get("qop")
	if !has || a.session.basic || a.session.qop == "auth-int" || strings.EqualFold(qop, "auth-int") {
		return true
	}
	var room [64]byte
	return strings.EqualFold(rspauth, string(a.appendResponse(room[:0], "", nil)))
}

var (
	errNoGetBody = errors.New("the server wants a signature of the body (auth-int), but the request has no GetBody: set it, or send the body as a *bytes.Reader")
	errTarget    = errors.New("the URL of the request cannot be sent to a proxy")
	errBody      = errors.New("the body could not be read for its signature")
)

// hashBody returns the hash of the body of req, which is left unread.
func (s *session) hashBody(req *http.Request) ([]byte, error) {
	if s.qop != "auth-int" {
		return nil, nil
	}
	if req.Body == nil || req.Body == http.NoBody {
		return s.algorithm.appendHex(nil, nil), nil
	}
	if req.GetBody == nil {
		return nil, invalid(errNoGetBody)
	}
	body, err := req.GetBody()
	if err == nil {
		h := s.algorithm.newHash()
		_, err = io.Copy(h, body)
		if closed := body.Close(); err == nil {
			err = closed
		}
		if err == nil {
			return hex.AppendEncode(nil, h.Sum(nil)), nil
		}
	}
	return nil, &renew.IssueError{Source: name, Kind: renew.Transient, Unsent: true, Err: errors.Join(errBody, err)}
}

// target returns the request-target as it is sent: to a proxy, in absolute form (RFC 9112, section 3.2.2).
func target(req *http.Request, proxy bool) (string, error) {
	if !proxy {
		return req.URL.RequestURI(), nil
	}
	// net/http changes the host on the way (names outside ASCII, zones of IPv6), so it is asked.
	var b strings.Builder
	if err := (&http.Request{URL: req.URL, Host: req.Host}).WriteProxy(&b); err != nil {
		return "", invalid(errTarget)
	}
	line, _, _ := strings.Cut(b.String(), " HTTP/1.1\r\n")
	return strings.TrimPrefix(line, "GET "), nil
}
