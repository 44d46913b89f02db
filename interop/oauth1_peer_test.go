package interop

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/sources/oauth1"
)

// The clients and the token that every provider knows. oauthlib wants names of 20 to 30 letters and
// digits; the secrets have what breaks clients that encode too little or too much.
const (
	oddKey    = "ClientWithOddSecret01"
	plainKey  = "ClientWithPlainSecret1"
	rsaKey    = "ClientWithPrivateKey01"
	oddSecret = "s&e=c%r%41+t/é \"~"
	// plainSecret survives being decoded twice. oauthlib does that to PLAINTEXT signatures in queries and bodies.
	plainSecret = "plainsecret-1.0_~"

	accessToken      = "AccessTokenOfAlice0001"
	oddTokenSecret   = "t&o=k%e%42+n/ü"
	plainTokenSecret = "plaintokensecret-2"
)

// oauth1Config is what a provider is told. Its zero value has the usual clients, no limit for clocks but
// oauthlib's own, and does not say why it refuses.
type oauth1Config struct {
	ClockLimit int    `json:"clock_limit"` // seconds
	Problems   bool   `json:"problems"`
	Toopher    string `json:"toopher"` // host and port
}

// oauth1Books are the counts of the provider.
type oauth1Books struct {
	Requests   int            `json:"requests"`
	Accepted   int            `json:"accepted"`
	ByMethod   map[string]int `json:"by_method"`
	ByPlace    map[string]int `json:"by_place"`
	BodyHashes int            `json:"body_hashes"`
	Refused    map[string]int `json:"refused"` // by reason
}

func (b oauth1Books) refused() (n int) {
	for _, times := range b.Refused {
		n += times
	}
	return n
}

func (b oauth1Books) String() string {
	var why []string
	for _, reason := range slices.Sorted(maps.Keys(b.Refused)) {
		why = append(why, fmt.Sprintf("%s %d", reason, b.Refused[reason]))
	}
	if why == nil {
		why = []string{"none"}
	}
	return fmt.Sprintf("oauth1: server: %d requests, %d signatures accepted, %d refused (%s)", b.Requests, b.Accepted, b.refused(), strings.Join(why, ", "))
}

// oauth1Peer is a running provider.
type oauth1Peer struct {
	URL string
	key oauth1.Key // of rsaKey
}

// newOAuth1Peer starts a provider, and ends it with the test.
func newOAuth1Peer(t *testing.T, cfg oauth1Config) *oauth1Peer {
	t.Helper()
	if cfg.ClockLimit == 0 {
		cfg.ClockLimit = 600
	}
	private, public := newRSAKey(t)
	_, nobody := newRSAKey(t)
	clients := map[string]map[string]string{
		oddKey: {"secret": oddSecret}, plainKey: {"secret": plainSecret}, rsaKey: {"rsa": public},
	}
	tokens := map[string]map[string]string{
		oddKey: {accessToken: oddTokenSecret}, plainKey: {accessToken: plainTokenSecret}, rsaKey: {accessToken: ""},
	}
	line, err := json.Marshal(struct {
		oauth1Config
		Clients any    `json:"clients"`
		Tokens  any    `json:"tokens"`
		Nobody  string `json:"rsa_nobody"`
	}{cfg, clients, tokens, nobody})
	if err != nil {
		t.Fatal(err)
	}

	// The system's Python, for which Debian's packages are, and nothing of the user's.
	cmd := exec.Command("/usr/bin/python3", "-I", "testdata/oauth1/provider.py")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); errors.Is(err, fs.ErrNotExist) {
		missing(t, "/usr/bin/python3 is not installed: it comes with the package python3")
	} else if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = stdin.Close() // at which it ends
		_ = cmd.Wait()
		if t.Failed() && stderr.Len() > 0 {
			t.Logf("the provider's standard error:\n%s", &stderr)
		}
	})
	if _, err := stdin.Write(append(line, '\n')); err != nil {
		t.Fatal(err)
	}
	answer, err := bufio.NewReader(stdout).ReadString('\n')
	answer = strings.TrimSpace(answer)
	if module, ok := strings.CutPrefix(answer, "missing "); ok {
		missing(t, "Python's %s is not installed: it comes with the packages python3-oauthlib, python3-jwt and python3-cryptography", module)
	}
	if err != nil || !strings.HasPrefix(answer, "http://127.0.0.1:") {
		t.Fatalf("the provider said %q, %v", answer, err)
	}
	return &oauth1Peer{URL: answer, key: oauth1.NewKey(private)}
}

// newRSAKey returns a key, and its public half as PEM.
func newRSAKey(t *testing.T) (*rsa.PrivateKey, string) {
	t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&private.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return private, string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// books asks the provider for its counts.
func (p *oauth1Peer) books(t *testing.T) oauth1Books {
	t.Helper()
	resp, err := http.Get(p.URL + "/counts")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var b oauth1Books
	if err := json.NewDecoder(resp.Body).Decode(&b); err != nil {
		t.Fatal(err)
	}
	return b
}

// check logs what the provider has counted, and wants so many signatures accepted, and refused for these reasons.
func (p *oauth1Peer) check(t *testing.T, accepted int, refused map[string]int) oauth1Books {
	t.Helper()
	b := p.books(t)
	report(t, b)
	if b.Requests == 0 || b.Requests != b.Accepted+b.refused() || b.Accepted != accepted || !maps.Equal(b.Refused, refused) {
		t.Errorf("want %d accepted, refused %v", accepted, refused)
	}
	return b
}

// signer returns a Signer of the client with the odd secret and its token.
func (p *oauth1Peer) signer() *oauth1.Signer {
	return &oauth1.Signer{
		ClientKey: oddKey, ClientSecret: renew.NewSecret(oddSecret),
		Token: renew.NewSecret(accessToken), TokenSecret: renew.NewSecret(oddTokenSecret),
	}
}

// client returns an http.Client that signs by a Transport, with room for many connections.
func (p *oauth1Peer) client(t *testing.T, s *oauth1.Signer) *http.Client {
	t.Helper()
	base := &http.Transport{MaxIdleConnsPerHost: readers}
	t.Cleanup(base.CloseIdleConnections)
	tr, err := renew.NewTransport(s, renew.TransportConfig{Origins: []string{p.URL}, Base: base})
	if err != nil {
		t.Fatal(err)
	}
	return &http.Client{Transport: tr}
}

// seen is what the provider says of a request that it accepted.
type seen struct {
	Method string      `json:"method"`
	Params [][2]string `json:"params"`
}

// send sends a request and returns the status, and of a 200 what the provider saw.
func send(t *testing.T, c *http.Client, req *http.Request) (int, seen) {
	t.Helper()
	resp, err := c.Do(req)
	if err != nil {
		t.Error(err)
		return 0, seen{}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Error(err)
		return 0, seen{}
	}
	var s seen
	if resp.StatusCode == http.StatusOK {
		if err := json.Unmarshal(body, &s); err != nil {
			t.Errorf("the provider answers %q: %v", body, err)
		}
	}
	return resp.StatusCode, s
}
