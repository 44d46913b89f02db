package hmac

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/seed-f29168f7/renew/clock"
)

// Any request line and headers: eight lines or an error, and what is signed can be taken apart in one way only.
func FuzzCanonical(f *testing.F) {
	f.Add("GET", "api.example:8443", "/a%2Fb//../c", "b=2&a=1&a=0&&x", "2026-01-02T03:04:05Z", "k1")
	f.Add("POST\n/", "a\nb", "*", "a=%0A;b", "d\nd", "k\nk")
	f.Add("GET", "h", "/", "", "2026\n", "k")
	f.Add("GET", "h", "/", "", "2026", "k\n")
	f.Add("GET", "h\n", "/", "", "2026", "k")
	f.Add("GET\n", "h", "/", "", "2026", "k")
	f.Add("OPTIONS", "[::1]", "*", "+=%2B", "1", "2")
	f.Fuzz(func(t *testing.T, method, host, path, query, date, keyID string) {
		u, err := url.Parse("http://h" + path)
		if err != nil {
			u = &url.URL{Path: path}
		}
		u.RawQuery = query
		sum := bytes.Repeat([]byte{0xa5}, 32)
		got, err := canonical(method, host, u, date, keyID, sum)
		if err != nil {
			return
		}
		lines := strings.Split(string(got), "\n")
		if len(lines) != 8 || lines[0] != version || lines[1] != method || lines[4] != strings.ToLower(host) || lines[5] != date || lines[7] != keyID {
			t.Fatalf("lines %q", lines)
		}
		decoded, err := url.PathUnescape(lines[2])
		if want := u.Path; err != nil || decoded != want && (want != "" || decoded != "/") {
			t.Errorf("path %q of %q: %v", lines[2], u.Path, err)
		}
		again, err := canonicalQuery(lines[3])
		if err != nil || again != lines[3] {
			t.Errorf("query %q, and read again %q: %v", lines[3], again, err)
		}
		ours, theirs := u.Query(), mustQuery(t, lines[3])
		if ours.Encode() != theirs.Encode() {
			t.Errorf("query %q became %q", query, lines[3])
		}
	})
}

func mustQuery(t *testing.T, raw string) url.Values {
	values, err := url.ParseQuery(raw)
	if err != nil {
		t.Fatalf("query %q: %v", raw, err)
	}
	return values
}

// Any headers: no panic, and nothing is taken that the secret did not sign.
func FuzzVerify(f *testing.F) {
	clk := clock.NewFake(start)
	good := signed(f, testSigner(clk), "POST", "/p?a=1", "body")
	f.Add(good.Header.Get("X-HMAC"), good.Header.Get("X-HMAC-Date"), "k1", "/p?a=1", "body", false)
	f.Add("sha256=", "2026-01-02T03:04:05Z", "", "/", "", true)
	f.Add("AAAA", "0000-00-00T00:00:00Z", "k1", "*", "x", true)
	f.Fuzz(func(t *testing.T, signature, date, keyID, target, body string, base64 bool) {
		u, err := url.ParseRequestURI(target)
		if err != nil {
			return
		}
		r := httptest.NewRequest("POST", "/", strings.NewReader(body))
		r.URL, r.Host = u, "api.example"
		r.Header = http.Header{"X-Hmac": {signature}, "X-Hmac-Date": {date}, "X-Hmac-Key-Id": {keyID}}
		v := testVerifier(clk)
		v.Wire.Base64 = base64
		id, err := v.Verify(r)
		ours := strings.EqualFold(signature, good.Header.Get("X-HMAC")) && date == good.Header.Get("X-HMAC-Date") && keyID == "k1" && u.EscapedPath() == "/p" && u.Query().Encode() == "a=1" && body == "body" && !base64
		if (err == nil) != ours {
			t.Errorf("Verify = %q, %v of a request that was signed: %t", id, err, ours)
		}
		if base64 {
			if sum, err := v.Wire.read(signature); err == nil && v.Wire.write(sum) != signature {
				t.Errorf("%q is read as %x", signature, sum)
			}
		}
	})
}
