package jws

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math/big"
	"os"
	"slices"
	"testing"
	"time"
)

// vectorJWK is a key of the file.
type vectorJWK struct {
	Kty, Crv, K, N, E, D, P, Q, DP, DQ, QI, X, Y string
}

type vectorFile struct {
	About string
	Cases []struct {
		Name, Source, Alg           string
		Deterministic               bool
		JWK                         vectorJWK
		Protected, Payload, Compact string
	}
	MustRefuse []struct {
		Why, Compact, Note string
		JWK                *vectorJWK
	} `json:"must_refuse"`
	Thumbprints []struct {
		Source, SHA256 string
		JWK            vectorJWK
	}
}

func load(t testing.TB) vectorFile {
	t.Helper()
	text, err := os.ReadFile("testdata/jws.json")
	if err != nil {
		t.Fatal(err)
	}
	var f vectorFile
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&f); err != nil {
		t.Fatal(err)
	}
	return f
}

// ran says how many cases of a list were run, which must be all.
func ran(t *testing.T, list string, n, length int) {
	t.Helper()
	if n != length || n == 0 {
		t.Errorf("vectors %s: %d of %d cases", list, n, length)
	}
	t.Logf("vectors %s: %d cases", list, n)
}

func bytesOf(t testing.TB, s string) []byte {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// key returns the private key, or the public one where there is no more.
func (k vectorJWK) key(t testing.TB) any {
	t.Helper()
	number := func(s string) *big.Int { return new(big.Int).SetBytes(bytesOf(t, s)) }
	switch k.Kty {
	case "oct":
		return bytesOf(t, k.K)
	case "RSA":
		pub := rsa.PublicKey{N: number(k.N), E: int(number(k.E).Int64())}
		if k.D == "" {
			return &pub
		}
		private := &rsa.PrivateKey{PublicKey: pub, D: number(k.D), Primes: []*big.Int{number(k.P), number(k.Q)}}
		private.Precompute()
		if err := private.Validate(); err != nil {
			t.Fatal(err)
		}
		return private
	case "EC":
		curve := map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-521": elliptic.P521()}[k.Crv]
		if k.D == "" {
			return must(ecdsa.ParseUncompressedPublicKey(curve, slices.Concat([]byte{4}, bytesOf(t, k.X), bytesOf(t, k.Y))))
		}
		return must(ecdsa.ParseRawPrivateKey(curve, bytesOf(t, k.D)))
	case "OKP":
		if k.D == "" {
			return ed25519.PublicKey(bytesOf(t, k.X))
		}
		return ed25519.NewKeyFromSeed(bytesOf(t, k.D))
	}
	t.Fatalf("kty %q", k.Kty)
	return nil
}

// latin1 turns the text of a vector, whose code points are bytes, into those.
func latin1(s string) []byte {
	var out []byte
	for _, r := range s {
		out = append(out, byte(r))
	}
	return out
}

func TestJws_VectorsCases(t *testing.T) {
	f, n := load(t), 0
	for _, v := range f.Cases {
		key := v.JWK.key(t)
		if err := Check(v.Alg, key); err != nil {
			t.Errorf("%s: the key %v", v.Name, err)
			continue
		}
		payload, err := Verify(v.Compact, v.Alg, key)
		if err != nil || !bytes.Equal(payload, latin1(v.Payload)) {
			t.Errorf("%s: Verify = %q, %v", v.Name, payload, err)
		}
		compact, err := signRaw(v.Alg, key, latin1(v.Protected), latin1(v.Payload))
		if err != nil {
			t.Errorf("%s: %v", v.Name, err)
		}
		if (compact == v.Compact) != v.Deterministic {
			t.Errorf("%s: signed %s, want %s, deterministic %v", v.Name, compact, v.Compact, v.Deterministic)
		}
		// No other algorithm takes the token, with this key or none.
		for other := range algs {
			if _, err := Verify(v.Compact, other, key); other != v.Alg && !errors.Is(err, ErrAlgorithm) {
				t.Errorf("%s as %s: %v, want it refused", v.Name, other, err)
			}
		}
		n++
	}
	ran(t, "cases", n, len(f.Cases))
}

func TestJws_VectorsMustRefuse(t *testing.T) {
	// What is said of each when it is verified, and when it is read for its times: nil means that those can be read,
	// since only the signature is wrong, which is not looked at then.
	want := map[string]struct{ verify, times error }{
		"alg none (RFC 7515 A.5) with any key": {ErrAlgorithm, ErrAlgorithm},
		"alg None in another case":             {ErrAlgorithm, ErrAlgorithm},
		"payload changed":                      {ErrSignature, ErrTimes},
		"algorithm confusion: HS256 made with the PEM of an RSA public key as the secret": {ErrAlgorithm, nil},
		"ECDSA signature of zeros (CVE-2022-21449 form)":                                  {ErrSignature, nil},
		"two parts only":              {ErrForm, ErrForm},
		"padded base64url":            {ErrForm, ErrForm},
		"standard base64 alphabet":    {ErrForm, ErrForm},
		"unknown critical header":     {ErrCritical, ErrCritical},
		"duplicate alg in the header": {ErrHeader, ErrHeader},
	}
	f, n := load(t), 0
	now := time.Unix(1300000000, 0)
	for _, v := range f.MustRefuse {
		w, ok := want[v.Why]
		if !ok {
			t.Errorf("%s: no expected outcome", v.Why)
			continue
		}
		keys := []any{f.Cases[0].JWK.key(t), f.Cases[1].JWK.key(t), f.Cases[2].JWK.key(t), f.Cases[4].JWK.key(t)}
		if v.JWK != nil {
			keys = []any{v.JWK.key(t)}
		}
		for _, key := range keys {
			if payload, err := Verify(v.Compact, Default(key), key); !errors.Is(err, w.verify) || payload != nil {
				t.Errorf("%s: Verify = %v, want %v", v.Why, err, w.verify)
			}
			for alg := range algs {
				if _, err := Verify(v.Compact, alg, key); err == nil {
					t.Errorf("%s: accepted as %s", v.Why, alg)
				}
			}
			for _, name := range []string{"none", "None", "nOnE", ""} {
				if _, err := Verify(v.Compact, name, key); err == nil {
					t.Errorf("%s: accepted as %q", v.Why, name)
				}
			}
		}
		if _, _, err := Times(v.Compact, now); !errors.Is(err, w.times) {
			t.Errorf("%s: Times = %v, want %v", v.Why, err, w.times)
		}
		n++
	}
	ran(t, "must_refuse", n, len(f.MustRefuse))
}

func TestVectorsThumbprints(t *testing.T) {
	f, n := load(t), 0
	for _, v := range f.Thumbprints {
		if got := Thumbprint(v.JWK.key(t)); got != v.SHA256 {
			t.Errorf("%s: %s, want %s", v.Source, got, v.SHA256)
		}
		n++
	}
	ran(t, "thumbprints", n, len(f.Thumbprints))
}
