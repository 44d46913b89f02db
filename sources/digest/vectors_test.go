package digest

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/sources/internal/challenge"
	"github.com/seed-f29168f7/renew/sources/internal/lockout"
)

// vectors is testdata/digest.json.
type vectors struct {
	About string `json:"about"`
	Cases []struct {
		Name    string        `json:"name"`
		Source  string        `json:"source"`
		Input   vectorInput   `json:"input"`
		Expect  vectorOutcome `json:"expect"`
		Printed struct {
			UsernameHash string `json:"username_hash"`
			Response     string `json:"response"`
			Why          string `json:"why"`
		} `json:"printed_in_rfc_but_wrong"`
	} `json:"cases"`
	Rspauth []struct {
		Name   string        `json:"name"`
		Source string        `json:"source"`
		Input  vectorInput   `json:"input"`
		Expect vectorOutcome `json:"expect"`
	} `json:"rspauth"`
	Captures []struct {
		Name            string        `json:"name"`
		Source          string        `json:"source"`
		WWWAuthenticate []string      `json:"www_authenticate"`
		Authorization   string        `json:"authorization"`
		Info            string        `json:"authentication_info"`
		Input           vectorInput   `json:"input"`
		Expect          vectorOutcome `json:"expect"`
	} `json:"captures"`
}

type vectorInput struct {
	Algorithm    *string `json:"algorithm"`
	Username     string  `json:"username"`
	Realm        string  `json:"realm"`
	Password     string  `json:"password"`
	Method       string  `json:"method"`
	URI          string  `json:"uri"`
	Nonce        string  `json:"nonce"`
	NC           string  `json:"nc"`
	Cnonce       string  `json:"cnonce"`
	QOP          string  `json:"qop"`
	Opaque       string  `json:"opaque"`
	Charset      string  `json:"charset"`
	Userhash     bool    `json:"userhash"`
	Body         string  `json:"body"`
	ResponseBody string  `json:"response_body"`
}

type vectorOutcome struct {
	HA1          string `json:"ha1"`
	HA2          string `json:"ha2"`
	Response     string `json:"response"`
	Rspauth      string `json:"rspauth"`
	UsernameHash string `json:"username_hash"`
	UsernameExt  string `json:"username_ext_value"`
	Realm        string `json:"realm_in_header"`
	Username     string `json:"username_in_header"`
}

func readVectors(t testing.TB) vectors {
	t.Helper()
	text, err := os.ReadFile("testdata/digest.json")
	if err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	var v vectors
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

// challenge writes what a server would have sent.
func (in vectorInput) challenge() string {
	b := appendQuoted([]byte("Digest realm="), in.Realm)
	b = appendQuoted(append(b, ", nonce="...), in.Nonce)
	if in.Algorithm != nil {
		b = append(b, ", algorithm="+*in.Algorithm...)
	}
	if in.QOP != "" {
		b = append(b, ", qop=\""+in.QOP+"\""...)
	}
	if in.Opaque != "" {
		b = appendQuoted(append(b, ", opaque="...), in.Opaque)
	}
	if in.Charset != "" {
		b = append(b, ", charset="+in.Charset...)
	}
	if in.Userhash {
		b = append(b, ", userhash=true"...)
	}
	return string(b)
}

// answer answers the challenge with the cnonce and the count of the vector.
func (in vectorInput) answer(t *testing.T, lines ...string) *answer {
	t.Helper()
	of, err := choose(lines, MD5, in.QOP == "auth-int", false, lockout.Origin{})
	if err != nil {
		t.Fatalf("%q: %v", lines, err)
	}
	se := &session{offer: of, cnonce: in.Cnonce}
	a := &answer{session: se, keys: se.keysOf(in.Username, renew.NewSecret(in.Password)), uri: in.URI}
	if in.NC != "" {
		n, err := strconv.ParseUint(in.NC, 16, 32)
		if err != nil {
			t.Fatal(err)
		}
		a.nc = uint32(n)
	}
	return a
}

// checkAnswer checks what the answer is made of, and the header.
func checkAnswer(t *testing.T, name string, a *answer, in vectorInput, want vectorOutcome) (header map[string]string) {
	t.Helper()
	bodyHash := a.session.algorithm.appendHex(nil, []byte(in.Body))
	if got := a.keys.ha1.Reveal(); want.HA1 != "" && got != want.HA1 {
		t.Errorf("%s: HA1 = %s, want %s", name, got, want.HA1)
	}
	if got := string(a.appendHA2(nil, in.Method, bodyHash)); want.HA2 != "" && got != want.HA2 {
		t.Errorf("%s: HA2 = %s, want %s", name, got, want.HA2)
	}
	text := a.header(in.Method, bodyHash)
	header, err := parts(text)
	if err != nil {
		t.Fatalf("%s: %s: %v", name, text, err)
	}
	if header["response"] != want.Response {
		t.Errorf("%s: response = %s, want %s", name, header["response"], want.Response)
	}
	if want.UsernameHash != "" && in.Userhash && header["username"] != want.UsernameHash {
		t.Errorf("%s: username = %s, want %s", name, header["username"], want.UsernameHash)
	}
	for _, part := range []string{"username*=" + want.UsernameExt, "realm=" + want.Realm, "username=" + want.Username} {
		if !strings.HasSuffix(part, "=") && !strings.Contains(text, part+",") {
			t.Errorf("%s: %s has not %s", name, text, part)
		}
	}
	for part, value := range map[string]string{"nc": in.NC, "cnonce": in.Cnonce, "qop": in.QOP, "uri": in.URI, "realm": in.Realm} {
		if header[part] != value {
			t.Errorf("%s: %s = %q, want %q", name, part, header[part], value)
		}
	}
	return header
}

func TestVectors_Cases(t *testing.T) {
	v := readVectors(t).Cases
	for _, tt := range v {
		header := checkAnswer(t, tt.Name, tt.Input.answer(t, tt.Input.challenge()), tt.Input, tt.Expect)
		if tt.Printed.Response != "" && (header["response"] == tt.Printed.Response || header["username"] == tt.Printed.UsernameHash) {
			t.Errorf("%s: the RFC's mistake: %s", tt.Name, tt.Printed.Why)
		}
		if header["opaque"] != tt.Input.Opaque {
			t.Errorf("%s: opaque = %q, want %q", tt.Name, header["opaque"], tt.Input.Opaque)
		}
		if tt.Input.Algorithm == nil && header["algorithm"] != "" {
			t.Errorf("%s: an algorithm that the server did not name", tt.Name)
		}
	}
	t.Logf("vectors cases: %d cases", len(v))
}

func TestVectors_Rspauth(t *testing.T) {
	v := readVectors(t).Rspauth
	for _, tt := range v {
		a := tt.Input.answer(t, tt.Input.challenge())
		bodyHash := a.session.algorithm.appendHex(nil, []byte(tt.Input.ResponseBody))
		if got := string(a.appendResponse(nil, "", bodyHash)); got != tt.Expect.Rspauth {
			t.Errorf("%s: rspauth = %s, want %s", tt.Name, got, tt.Expect.Rspauth)
		}
	}
	t.Logf("vectors rspauth: %d cases", len(v))
}

func TestVectors_Captures(t *testing.T) {
	v := readVectors(t).Captures
	for _, tt := range v {
		a := tt.Input.answer(t, tt.WWWAuthenticate...)
		header := checkAnswer(t, tt.Name, a, tt.Input, tt.Expect)
		if want, err := parts(tt.Authorization); err != nil || !maps.Equal(header, want) {
			t.Errorf("%s: the header is %v, and curl's %v, %v", tt.Name, header, want, err)
		}
		info, err := challenge.ParseInfo([]string{tt.Info})
		if err != nil || !a.proven(info) {
			t.Errorf("%s: the rspauth of the server is not believed: %v", tt.Name, err)
		}
		if got, _ := info.Get("rspauth"); got != tt.Expect.Rspauth {
			t.Errorf("%s: rspauth %q", tt.Name, got)
		}
		if tt.Expect.Rspauth != "" {
			other := *a
			other.uri += "x"
			if other.proven(info) {
				t.Errorf("%s: the rspauth of another request is believed", tt.Name)
			}
		}
	}
	t.Logf("vectors captures: %d cases", len(v))
}
