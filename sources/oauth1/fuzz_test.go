package oauth1

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/seed-f29168f7/renew/renewtest"
)

// The query and the form of any request: what can be signed has the base string that the tests' own server computes.
func FuzzBase(f *testing.F) {
	f.Add("b5=%3D%253D&a3=a&c%40=&a2=r%20b", "c2&a3=2+q", "/r%20v/X")
	f.Add("a1=1&a-=2&%61b=5&a%C3%A9=7;x=y", "", "/")
	f.Add("a=%zz", "%", "")
	f.Add("=&&=a&a==b", "+=+&%2B", "//a//?")
	f.Add("a=1&oauth%5fnonce", "", "/")
	f.Add("", "oauth_token=1&a", "/")
	f.Fuzz(func(t *testing.T, query, form, path string) {
		u := &url.URL{Scheme: "https", Host: "api.example", Path: path, RawQuery: query}
		protocol := []param{{"oauth_nonce", "n"}, {"oauth_timestamp", "1"}}
		m := &message{method: "post", url: u}
		err := m.unsigned(form)
		var base []byte
		if err == nil {
			base, err = m.base(protocol, form)
		}
		all, wrong := peerParams(query)
		more, wrong2 := peerParams(form)
		all = append(append(all, more...), [2]string{"oauth_nonce", "n"}, [2]string{"oauth_timestamp", "1"})
		ours := 0
		for _, p := range all {
			if isProtocol(p[0]) {
				ours++
			}
		}
		if bad := wrong != nil || wrong2 != nil || ours > 2; bad != (err != nil) {
			t.Fatalf("error %v; the other parser: %v, %v, %d of the protocol", err, wrong, wrong2, ours)
		}
		if err != nil {
			return
		}
		sent := u.EscapedPath()
		if !strings.HasPrefix(sent, "/") {
			sent = "/" + sent
		}
		var kept [][2]string // the other side drops what is named realm or oauth_signature
		for _, p := range all {
			if p[0] == "realm" {
				return
			}
			kept = append(kept, p)
		}
		if want := peerBase("POST", "https", "api.example", sent, kept); string(base) != want {
			t.Errorf("base string\n%s, want\n%s", base, want)
		}
	})
}

// The host and URL of any request: no panic, and what is signed is a whole URI.
func FuzzBaseURI(f *testing.F) {
	f.Add("http", "EXAMPLE.COM:80", "/r%20v/X")
	f.Add("https", "[2001:DB8::1]:443", "")
	f.Add("HTTPS", "a:b@c", "*")
	f.Fuzz(func(t *testing.T, scheme, host, path string) {
		got, err := appendBaseURI(nil, host, &url.URL{Scheme: scheme, Path: path, Host: "u.example"})
		if err != nil {
			return
		}
		decoded, err := url.PathUnescape(string(got))
		if err != nil || !strings.HasPrefix(decoded, "http") || !allUnreserved(strings.ReplaceAll(string(got), "%", "")) {
			t.Errorf("URI %q: %v", got, err)
		}
	})
}

// The query of a redirect: what is left has no parameter of the protocol, and all else as it was.
func FuzzWithoutProtocol(f *testing.F) {
	f.Add("a=1&oauth_nonce=2&&b&oauth%5Ftoken=3&%zz=4")
	f.Fuzz(func(t *testing.T, query string) {
		left := withoutProtocol(&url.URL{RawQuery: query}).RawQuery
		if len(left) > len(query) || withoutProtocol(&url.URL{RawQuery: left}).RawQuery != left {
			t.Errorf("%q became %q", query, left)
		}
		_ = split(left, func(name, _ string) error {
			if n, err := unescape(name); err == nil && isProtocol(n) {
				t.Errorf("%q still has %s", left, n)
			}
			return nil
		})
	})
}

// The replies of the endpoints: credentials or an error that shows nothing of the reply.
func FuzzReply(f *testing.F) {
	const leak = "very-secret-text"
	for _, body := range []string{
		"oauth_token=t&oauth_token_secret=s&oauth_callback_confirmed=true", "oauth_problem=nonce_used", "a=%zz", "", "<html>", "oauth_token=a&oauth_token=b",
	} {
		f.Add(200, "OAuth oauth_problem=token_used", "7", body)
		f.Add(401, "", "Sun, 06 Nov 1994 08:49:37 GMT", body)
	}
	f.Fuzz(func(t *testing.T, status int, challenge, pause, body string) {
		body = strings.Replace(body, "=", "="+leak, 1)
		h := http.Header{"Www-Authenticate": {challenge + leak}, "Retry-After": {pause}}
		got, e := readReply(status, h, []byte(body), time.Unix(0, 0))
		switch {
		case e == nil && (status/100 != 2 || got.Token.IsZero() || !isText(got.Token.Reveal())):
			t.Errorf("%d %q has credentials", status, body)
		case e != nil && renewtest.Leaks(e.Error(), leak) != nil:
			t.Errorf("the error shows the reply: %v", e)
		case e != nil && (e.RetryAfter < 0 || e.RetryAfter > time.Hour):
			t.Errorf("pause %v", e.RetryAfter)
		}
	})
}

// The query with which a person comes back.
func FuzzVerifier(f *testing.F) {
	f.Add("oauth_token=t&oauth_verifier=v")
	f.Add("oauth_token=%74&oauth_verifier=%zz&oauth_token=t")
	f.Fuzz(func(t *testing.T, query string) {
		v, err := Credentials{Token: secret("t")}.Verifier(&url.URL{RawQuery: query})
		if err != nil {
			return
		}
		values, werr := url.ParseQuery(query)
		if strings.Contains(query, ";") { // net/url refuses it, and we keep it
			return
		}
		if werr == nil && (len(values["oauth_token"]) != 1 || values.Get("oauth_token") != "t" || values.Get("oauth_verifier") != v.Reveal() || v.IsZero()) {
			t.Errorf("verifier of %q: %q", query, v.Reveal())
		}
	})
}

// The reason that a server names for a 401.
func FuzzProblem(f *testing.F) {
	f.Add(`OAuth realm="x", oauth_problem="nonce_used"`)
	f.Add("oauth_problem=&oauth_problem=token_used")
	f.Fuzz(func(t *testing.T, text string) {
		got := problemIn([]string{text})
		if got != "" && !strings.Contains(text, "oauth_problem=") || got != "" && !strings.Contains(text, got) {
			t.Errorf("%q of %q", got, text)
		}
	})
}
