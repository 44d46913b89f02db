package httpsig

import (
	"io"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/dunglas/httpsfv"

	"github.com/seed-f29168f7/renew/clock"
)

// Any signature fields, from strangers: no panic, and nothing is taken but what the key signed.
func FuzzVerify(f *testing.F) {
	s, v := testSigner(f, HMACSHA256, clock.NewFake(start))
	s.Nonce, v.Scheme = func() string { return "n" }, "https"
	good := signed(f, s, "POST", "/p?a=1", "body")
	input, signature, digest := good.Header.Get("Signature-Input"), good.Header.Get("Signature"), good.Header.Get("Content-Digest")
	f.Add(input, signature, digest, "/p?a=1", "body")
	for _, c := range readVectors(f).Cases {
		f.Add(c.SignatureInput, c.Signature, "md5=:AA==:", "/foo?param=Value&Pet=dog", "")
	}
	f.Add(`sig1=("@query-param";name="a" "x;bs" "host" "content-digest";key="sha-256");created=1767323045;keyid="k1"`, "sig1=:AA==:", "a=(1 2);b", "*", "x")
	f.Fuzz(func(t *testing.T, in, sig, dig, target, body string) {
		u, err := url.ParseRequestURI(target)
		if err != nil {
			return
		}
		r := httptest.NewRequest("POST", "/", strings.NewReader(body))
		r.URL, r.Host = u, "api.example"
		for name, value := range map[string]string{"Signature-Input": in, "Signature": sig, "Content-Digest": dig, "Content-Type": "text/plain"} {
			r.Header.Set(name, value)
		}
		fresh := &Verifier{Keys: v.Keys, Scheme: "https", Clock: v.Clock}
		got, err := fresh.VerifyRequest(r)
		if err != nil {
			return
		}
		if u.EscapedPath() != "/p" || u.RawQuery != "a=1" || body != "body" || got.Nonce != "n" || got.KeyID != "k1" || len(got.Components) != 6 {
			t.Errorf("taken: %+v of %q %q %q %q %q", got, in, sig, dig, target, body)
		}
		if left, _ := io.ReadAll(r.Body); string(left) != body {
			t.Errorf("the body reads %q", left)
		}
	})
}

// Any message and component: a value of one line or an error, and an identifier that reads as it was written.
func FuzzBase(f *testing.F) {
	f.Add(`@query-param;name="a"`, "GET", "h.example", "/p", "a=1&b=%20", "v")
	f.Add(`x;key="a"`, "POST", "H:443", "//a/%2F", "", "a=1, b;c=2")
	f.Add("x;bs", "OPTIONS", "[::1]:80", "*", "a=%0A", " v\n")
	f.Add("@target-uri", "GET\n", "a\nb", "", "\n", "\x00")
	f.Fuzz(func(t *testing.T, text, method, host, path, query, field string) {
		all, err := parseComponents([]string{text})
		if err != nil {
			return
		}
		c := all[0]
		item, err := httpsfv.UnmarshalItem([]string{c.id})
		if err != nil {
			t.Fatalf("%q is written as %q: %v", text, c.id, err)
		}
		if again, err := componentOf(item); err != nil || again.id != c.id || again.identity != c.identity {
			t.Fatalf("%q is written as %q, and that as %q: %v", text, c.id, again.id, err)
		}
		r := httptest.NewRequest("GET", "/", nil)
		r.Method, r.Host, r.RequestURI = method, host, ""
		if u, err := url.ParseRequestURI(path); err == nil {
			r.URL = u
		} else {
			r.URL = &url.URL{Path: path}
		}
		r.URL.RawQuery = query
		if c.name[0] != '@' {
			r.Header[c.field] = []string{field, field}
		}
		got, _, err := base(received(r, "https"), all, httpsfv.NewParams())
		if err != nil {
			return
		}
		if lines := strings.Split(string(got), "\n"); len(lines) != 2 || !strings.HasPrefix(lines[0], c.id+": ") || lines[1] != `"@signature-params": (`+c.id+")" {
			t.Errorf("base %q", got)
		}
	})
}

// Any Content-Digest: no panic, and a body passes only with its own digest there.
func FuzzContentDigest(f *testing.F) {
	f.Add(ContentDigest(SHA256, []byte("x")), "x")
	f.Add(ContentDigest(SHA512, nil)+", md5=:AAAA:", "")
	f.Add("sha-256=(1 2);a, sha-512=?1", "y")
	f.Fuzz(func(t *testing.T, field, body string) {
		if CheckContentDigest([]string{field}, []byte(body)) != nil {
			return
		}
		in := func(d Digest) bool {
			sum := strings.TrimPrefix(ContentDigest(d, []byte(body)), string(d)+"=:")
			return strings.Contains(field, strings.TrimRight(sum, "=:")[:40])
		}
		if !in(SHA256) && !in(SHA512) {
			t.Errorf("%q passes for %q", field, body)
		}
	})
}
