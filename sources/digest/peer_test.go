package digest

import (
	"crypto/md5"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
)

// peer is a server's side, written from RFC 7616 alone: it shares no code with the package.
type peer struct {
	user, password, realm string
	algorithm             string   // as in the challenge; empty: not sent
	qop                   string   // as in the challenge; empty: RFC 2069
	extra                 string   // more of the challenge
	before, after         []string // challenges beside
	oneTime               bool     // each nonce is taken once
	uses                  int      // a nonce is stale after so many; 0: never
	noStale               bool     // does not say stale, only a new nonce
	next                  bool     // gives nextnonce
	rspauth               bool
	badRspauth            bool
	sameNonce             string // given in each challenge
	proxy                 bool

	mu      sync.Mutex
	made    int
	nonces  map[string]map[uint64]bool // counts that were seen
	offered int                        // challenges
	judged  int                        // requests with a credential
	refused int                        // of them, those with a wrong response
	answers map[string]bool            // all that was ever sent
	info    map[string]string          // Authentication-Info, by Authorization
}

func newPeer() *peer {
	return &peer{user: "alice", password: "wonder land:1", realm: "the realm", algorithm: "SHA-256", qop: "auth",
		nonces: map[string]map[uint64]bool{}, answers: map[string]bool{}, info: map[string]string{}}
}

func peerHash(algorithm, text string) string {
	switch strings.TrimSuffix(strings.ToUpper(algorithm), "-SESS") {
	case "", "MD5":
		return fmt.Sprintf("%x", md5.Sum([]byte(text)))
	case "SHA-256":
		return fmt.Sprintf("%x", sha256.Sum256([]byte(text)))
	case "SHA-512-256":
		return fmt.Sprintf("%x", sha512.Sum512_256([]byte(text)))
	}
	panic(algorithm)
}

func (p *peer) nonce() string {
	if p.sameNonce != "" {
		if p.nonces[p.sameNonce] == nil {
			p.nonces[p.sameNonce] = map[uint64]bool{}
		}
		return p.sameNonce
	}
	p.made++
	n := "nonce=" + strconv.Itoa(p.made) + "=="
	p.nonces[n] = map[uint64]bool{}
	return n
}

var errStale = errors.New("stale")

var peerPart = regexp.MustCompile(`(?:^|, )([a-z*]+)=(?:"((?:[^"\\]|\\.)*)"|([^", ]+))`)
var peerEscape = regexp.MustCompile(`\\(.)`)

// parts reads an Authorization.
func parts(header string) (map[string]string, error) {
	rest, ok := strings.CutPrefix(header, "Digest ")
	if !ok {
		return nil, errors.New("no Digest")
	}
	out := map[string]string{}
	length := 0
	for _, m := range peerPart.FindAllStringSubmatch(rest, -1) {
		length += len(m[0])
		if _, twice := out[m[1]]; twice {
			return nil, fmt.Errorf("%s twice", m[1])
		}
		out[m[1]] = peerEscape.ReplaceAllString(m[2], "$1") + m[3]
		if quoted := strings.HasSuffix(m[0], `"`); quoted != strings.Contains(" username realm nonce uri response cnonce opaque ", " "+m[1]+" ") {
			return nil, fmt.Errorf("%s: quotes are wrong", m[1])
		}
	}
	if length != len(rest) {
		return nil, fmt.Errorf("cannot read all of it: %s", rest)
	}
	return out, nil
}

// verify judges a request as it arrived.
func (p *peer) verify(r *http.Request) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	header := r.Header.Get(p.field("Authorization"))
	if header == "" {
		return errors.New("no credential")
	}
	p.judged++
	a, err := parts(header)
	if err != nil {
		return err
	}
	if p.qop != "" && p.answers[header] {
		return errors.New("the same credential came twice")
	}
	p.answers[header] = true
	name := p.user
	if a["userhash"] == "true" {
		name = peerHash(p.algorithm, p.user+":"+p.realm)
	} else if ext, ok := a["username*"]; ok {
		if a["username"], err = url.PathUnescape(strings.TrimPrefix(ext, "UTF-8''")); err != nil {
			return err
		}
	}
	switch uri := r.RequestURI; {
	case a["username"] != name:
		return fmt.Errorf("user name %q", a["username"])
	case a["realm"] != p.realm:
		return fmt.Errorf("realm %q", a["realm"])
	case a["uri"] != uri:
		return fmt.Errorf("uri %q, and the request is for %q", a["uri"], uri)
	case a["algorithm"] != p.algorithm:
		return fmt.Errorf("algorithm %q", a["algorithm"])
	case strings.Contains(p.extra, "opaque") != (a["opaque"] != ""):
		return fmt.Errorf("opaque %q", a["opaque"])
	case p.qop == "" && (a["qop"] != "" || a["nc"] != "" || a["cnonce"] != ""):
		return errors.New("qop, nc or cnonce, which were not asked for")
	}
	ha1 := peerHash(p.algorithm, p.user+":"+p.realm+":"+p.password)
	if strings.HasSuffix(p.algorithm, "-sess") {
		ha1 = peerHash(p.algorithm, ha1+":"+a["nonce"]+":"+a["cnonce"])
	}
	a2 := r.Method + ":" + a["uri"]
	proof := ":" + a["uri"]
	if a["qop"] == "auth-int" {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return err
		}
		a2 += ":" + peerHash(p.algorithm, string(body))
	}
	middle := ":" + a["nonce"] + ":"
	if p.qop != "" {
		middle += a["nc"] + ":" + a["cnonce"] + ":" + a["qop"] + ":"
	}
	if want := peerHash(p.algorithm, ha1+middle+peerHash(p.algorithm, a2)); a["response"] != want {
		p.refused++
		return errors.New("the response is wrong")
	}
	seen, known := p.nonces[a["nonce"]]
	if !known || p.oneTime && len(seen) > 0 || p.uses > 0 && len(seen) >= p.uses {
		return errStale
	}
	if p.qop != "" {
		nc, err := strconv.ParseUint(a["nc"], 16, 64)
		if err != nil || len(a["nc"]) != 8 || seen[nc] || nc == 0 || nc > uint64(len(seen))+100 {
			return fmt.Errorf("nc %q after %d", a["nc"], len(seen))
		}
		seen[nc] = true
	}
	var info []string
	if p.rspauth {
		info = append(info, fmt.Sprintf("rspauth=%q", peerHash(p.algorithm, ha1+middle+peerHash(p.algorithm, proof))))
	}
	if p.badRspauth {
		info = append(info, fmt.Sprintf("rspauth=%q", hex.EncodeToString([]byte("somebody else"))))
	}
	if p.next {
		info = append(info, fmt.Sprintf("nextnonce=%q", p.nonce()))
	}
	p.info[header] = strings.Join(info, ", ")
	return nil
}

// challenge answers a request that verify refuses.
func (p *peer) challenge(w http.ResponseWriter, r *http.Request) { p.challengeFor(w, r, nil) }

func (p *peer) challengeFor(w http.ResponseWriter, _ *http.Request, why error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.offered++
	line := fmt.Sprintf("Digest realm=%q, nonce=%q", p.realm, p.nonce())
	if p.algorithm != "" {
		line += ", algorithm=" + p.algorithm
	}
	if p.qop != "" {
		line += fmt.Sprintf(", qop=%q", p.qop)
	}
	if p.extra != "" {
		line += ", " + p.extra
	}
	if errors.Is(why, errStale) && !p.noStale {
		line += ", stale=true"
	}
	for _, text := range p.before {
		w.Header().Add(p.field("Authenticate"), text)
	}
	w.Header().Add(p.field("Authenticate"), line)
	for _, text := range p.after {
		w.Header().Add(p.field("Authenticate"), text)
	}
	status := http.StatusUnauthorized
	if p.proxy {
		status = http.StatusProxyAuthRequired
	}
	w.WriteHeader(status)
}

func (p *peer) field(name string) string {
	switch {
	case p.proxy:
		return "Proxy-" + name
	case name == "Authenticate":
		return "WWW-Authenticate"
	}
	return name
}

// ServeHTTP makes a server of it.
func (p *peer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := p.verify(r); err != nil {
		p.challengeFor(w, r, err)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if info := p.info[r.Header.Get(p.field("Authorization"))]; info != "" {
		w.Header().Set(p.field("Authentication-Info"), info)
	}
	_, _ = io.WriteString(w, "served")
}
