package oauth2

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/seed-f29168f7/renew"
)

// pkceVectors is the whole file: an unknown key fails the test.
type pkceVectors struct {
	About string `json:"about"`
	Cases []struct {
		Name, Source, Verifier, Challenge, Method string
	} `json:"cases"`
	MustRefuse []struct {
		Why, Verifier, Method string
	} `json:"must_refuse"`
	OctetsExample struct {
		Source string `json:"source"`
		Octets []int  `json:"octets"`
	} `json:"octets_example"`
}

func TestPKCEVectors(t *testing.T) {
	text, err := os.ReadFile("testdata/pkce.json")
	if err != nil {
		t.Fatal(err)
	}
	var v pkceVectors
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&v); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, c := range v.Cases {
		n++
		if c.Method != methodS256 {
			t.Errorf("%s: method %q", c.Name, c.Method)
		}
		if err := checkVerifier(c.Verifier); err != nil {
			t.Errorf("%s: %v", c.Name, err)
		}
		if got := challengeOf(c.Verifier); got != c.Challenge {
			t.Errorf("%s: challenge %s, want %s", c.Name, got, c.Challenge)
		}
	}
	t.Logf("vectors cases: %d cases", n)
	if n != len(v.Cases) || n == 0 {
		t.Errorf("cases run = %d of %d", n, len(v.Cases))
	}

	// What the package makes of each: the text that its error must hold.
	outcome := map[string]string{
		"42 characters":                       "43 to 128",
		"129 characters":                      "43 to 128",
		"character outside unreserved":        "not unreserved",
		"plain method where S256 is possible": "S256",
	}
	n = 0
	for _, c := range v.MustRefuse {
		n++
		want, ok := outcome[c.Why]
		if !ok {
			t.Errorf("%s: no outcome is known", c.Why)
			continue
		}
		sent := 0
		srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { sent++ }))
		src := &AuthorizationCode{AuthURL: srv.URL + "/auth", TokenURL: srv.URL, ClientID: "id", AuthStyle: None}
		if c.Method != "" { // the issuer offers that method alone; where S256 is offered too, it is S256
			err = checkMethods([]string{c.Method})
			if both := checkMethods([]string{c.Method, methodS256}); both != nil {
				t.Errorf("%s: %v, want S256 to be used", c.Why, both)
			}
			a, e := src.Begin(t.Context(), "https://app.example/back")
			if e != nil || !strings.Contains(a.URL, "code_challenge_method=S256") {
				t.Errorf("%s: %v, %v", c.Why, a, e)
			}
		} else {
			a := &Authorization{State: "s", RedirectURL: "https://app.example/back", Verifier: renew.NewSecret(c.Verifier)}
			_, err = src.Exchange(t.Context(), a, url.Values{"state": {"s"}, "code": {"c"}})
		}
		srv.Close()
		if err == nil || !strings.Contains(err.Error(), want) || sent != 0 {
			t.Errorf("%s: err = %v after %d requests, want %q and none", c.Why, err, sent, want)
		}
	}
	t.Logf("vectors must_refuse: %d cases", n)
	if n != len(v.MustRefuse) || n != len(outcome) {
		t.Errorf("cases run = %d of %d, outcomes = %d", n, len(v.MustRefuse), len(outcome))
	}

	octets := make([]byte, len(v.OctetsExample.Octets))
	for i, o := range v.OctetsExample.Octets {
		octets[i] = byte(o)
	}
	if got := verifierOf(octets); got != v.Cases[0].Verifier {
		t.Errorf("the verifier of the octets is %s, want %s", got, v.Cases[0].Verifier)
	}
	t.Logf("vectors octets_example: %d cases", 1)
}

func TestVerifiersAreFreshAndGood(t *testing.T) {
	seen := make(map[string]bool)
	for range 100 {
		v := newVerifier()
		if err := checkVerifier(v); err != nil || seen[v] {
			t.Fatalf("verifier %q: %v, seen before: %v", v, err, seen[v])
		}
		seen[v] = true
	}
}

func TestMethodsOfTheIssuer(t *testing.T) {
	if err := checkMethods(nil); err != nil {
		t.Errorf("an issuer that does not say: %v", err)
	}
	if _, ok := errors.AsType[*MetadataError](checkMethods([]string{"plain"})); !ok {
		t.Error("plain alone is not a *MetadataError")
	}
}
