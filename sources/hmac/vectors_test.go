package hmac

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/clock"
)

// read decodes a golden file. Unknown names in it fail the test.
func read(t *testing.T, file string, into any) {
	t.Helper()
	data, err := os.ReadFile("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		t.Fatal(err)
	}
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestVectorsRFC(t *testing.T) {
	var f struct {
		About string `json:"about"`
		Cases []struct {
			Name      string `json:"name"`
			Source    string `json:"source"`
			Alg       string `json:"alg"`
			Key       string `json:"key_hex"`
			Data      string `json:"data_hex"`
			MAC       string `json:"mac_hex"`
			Truncated int    `json:"truncated_bits"`
		} `json:"cases"`
	}
	read(t, "hmac.json", &f)
	algorithms := map[string]Algorithm{"sha1": SHA1, "sha256": SHA256}
	ran := 0
	for _, c := range f.Cases {
		a, ok := algorithms[c.Alg]
		if !ok {
			t.Fatalf("%s: unknown algorithm %q", c.Name, c.Alg)
		}
		secret, data := renew.NewSecret(string(unhex(t, c.Key))), unhex(t, c.Data)
		s := &Signer{Wire: Wire{Form: Plain, Algorithm: a}, Secret: secret}
		req, err := http.NewRequest("POST", "https://api.example/", bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Authenticate(req); err != nil {
			t.Fatalf("%s: %v", c.Name, err)
		}
		got := req.Header.Get("X-HMAC")
		if c.Truncated != 0 {
			got = got[:c.Truncated/4]
		}
		if got != c.MAC {
			t.Errorf("%s: HMAC %s, want %s", c.Name, got, c.MAC)
		}
		// And the other way round, where a shortened one is refused.
		arrived := httptest.NewRequest("POST", "/", bytes.NewReader(data))
		arrived.Header.Set("X-HMAC", c.MAC)
		v := &Verifier{Wire: s.Wire, Keys: map[string]renew.Secret{"": secret}}
		if _, err := v.Verify(arrived); (err == nil) != (c.Truncated == 0) {
			t.Errorf("%s: Verify: %v", c.Name, err)
		}
		ran++
	}
	if ran != len(f.Cases) || ran == 0 {
		t.Errorf("%d of %d cases ran", ran, len(f.Cases))
	}
	t.Logf("vectors cases: %d cases", ran)
}

// What canonical.py computed, signed and verified here.
func TestVectorsOwn(t *testing.T) {
	var f struct {
		Canonical []struct {
			Name      string `json:"name"`
			Algorithm string `json:"algorithm"`
			Method    string `json:"method"`
			Path      string `json:"path"`
			Query     string `json:"query"`
			Host      string `json:"host"`
			Date      string `json:"date"`
			Body      string `json:"body"`
			KeyID     string `json:"key_id"`
			Secret    string `json:"secret"`
			Canonical string `json:"canonical"`
			MAC       string `json:"mac_hex"`
		} `json:"canonical"`
		Plain []struct {
			Name      string `json:"name"`
			Algorithm string `json:"algorithm"`
			Body      string `json:"body"`
			Secret    string `json:"secret"`
			MAC       string `json:"mac_hex"`
		} `json:"plain"`
	}
	read(t, "canonical.json", &f)
	byName := map[string]Algorithm{}
	for a := range algorithms {
		byName[Algorithm(a).String()] = Algorithm(a)
	}
	ran := 0
	for _, c := range f.Canonical {
		a, ok := byName[c.Algorithm]
		if !ok {
			t.Fatalf("%s: unknown algorithm %q", c.Name, c.Algorithm)
		}
		at, err := time.Parse(time.RFC3339Nano, c.Date)
		if err != nil {
			t.Fatal(err)
		}
		clk := clock.NewFake(at)
		u, err := url.Parse("https://" + c.Host + c.Path)
		if err != nil {
			t.Fatal(err)
		}
		u.RawQuery = c.Query
		s := &Signer{Wire: Wire{Algorithm: a}, KeyID: c.KeyID, Secret: renew.NewSecret(c.Secret), Clock: clk}
		req, err := http.NewRequest(c.Method, u.String(), strings.NewReader(c.Body))
		if err != nil {
			t.Fatal(err)
		}
		message, date, err := s.message(req)
		if err != nil || string(message) != c.Canonical || date != c.Date {
			t.Errorf("%s: canonical form\n%s, want\n%s (date %s, %v)", c.Name, message, c.Canonical, date, err)
		}
		arrived := httptest.NewRequest(c.Method, "/", strings.NewReader(c.Body))
		target := c.Path
		if target == "" {
			target = "/"
		}
		if c.Query != "" {
			target += "?" + c.Query
		}
		if arrived.URL, err = url.ParseRequestURI(target); err != nil {
			t.Fatal(err)
		}
		arrived.Host = c.Host
		arrived.Header.Set("X-HMAC", c.MAC)
		arrived.Header.Set("X-HMAC-Date", c.Date)
		arrived.Header.Set("X-HMAC-Key-Id", c.KeyID)
		v := &Verifier{Wire: s.Wire, Keys: map[string]renew.Secret{c.KeyID: s.Secret}, Clock: clk}
		if id, err := v.Verify(arrived); err != nil || id != c.KeyID {
			t.Errorf("%s: Verify = %q, %v", c.Name, id, err)
		}
		if body, err := io.ReadAll(arrived.Body); err != nil || string(body) != c.Body {
			t.Errorf("%s: the handler reads %q, %v", c.Name, body, err)
		}
		ran++
	}
	if ran != len(f.Canonical) || ran == 0 {
		t.Errorf("%d of %d cases ran", ran, len(f.Canonical))
	}
	t.Logf("vectors canonical: %d cases", ran)
	ran = 0
	for _, c := range f.Plain {
		a, ok := byName[c.Algorithm]
		if !ok {
			t.Fatalf("%s: unknown algorithm %q", c.Name, c.Algorithm)
		}
		s := &Signer{Wire: Wire{Form: Plain, Algorithm: a}, Secret: renew.NewSecret(c.Secret)}
		req, err := http.NewRequest("POST", "https://api.example/", strings.NewReader(c.Body))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Authenticate(req); err != nil || req.Header.Get("X-HMAC") != c.MAC {
			t.Errorf("%s: HMAC %s, %v; want %s", c.Name, req.Header.Get("X-HMAC"), err, c.MAC)
		}
		ran++
	}
	if ran != len(f.Plain) || ran == 0 {
		t.Errorf("%d of %d cases ran", ran, len(f.Plain))
	}
	t.Logf("vectors plain: %d cases", ran)
}
