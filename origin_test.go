package renew

import (
	"net/url"
	"strings"
	"testing"
)

func TestR28_OriginsAreCompared(t *testing.T) {
	for _, tc := range []struct{ name, in, want string }{
		{"plain", "https://api.example", "https://api.example"},
		{"case", "HTTPS://API.Example", "https://api.example"},
		{"lone slash", "https://api.example/", "https://api.example"},
		{"default port", "https://api.example:443", "https://api.example"},
		{"default port of http", "http://api.example:80", "http://api.example"},
		{"other scheme's default port", "http://api.example:443", "http://api.example:443"},
		{"port with zeros", "https://api.example:08443", "https://api.example:8443"},
		{"empty port", "https://api.example:", "https://api.example"},
		{"trailing dot", "https://api.example.:8443", "https://api.example:8443"},
		{"IPv4", "http://127.0.0.1:8080", "http://127.0.0.1:8080"},
		{"IPv6", "http://[::1]:8080", "http://[::1]:8080"},
		{"IPv6 in long", "https://[2001:DB8:0:0::1]:443", "https://[2001:db8::1]"},
		{"IPv6 with a zone", "https://[FE80::1%25Eth0]", "https://[fe80::1%25Eth0]"},
		{"underscore, as compose has it", "http://my_app:80", "http://my_app"},
		{"punycode", "https://xn--bcher-kva.example", "https://xn--bcher-kva.example"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o, err := parseOrigin(tc.in)
			if err != nil || o.String() != tc.want {
				t.Fatalf("parseOrigin(%q) = %q, %v; want %q", tc.in, o, err, tc.want)
			}
		})
	}
}

func TestR28_OriginsThatAreRefused(t *testing.T) {
	for _, tc := range []struct{ name, in, want string }{
		{"empty", "", "scheme"},
		{"host alone", "api.example", "scheme"},
		{"host and port alone", "api.example:443", "scheme"},
		{"no scheme", "//api.example", "scheme"},
		{"other scheme", "ftp://api.example", "scheme"},
		{"path", "https://api.example/v1", "path"},
		{"two slashes", "https://api.example//", "path"},
		{"query", "https://api.example?key=hush", "query"},
		{"empty query", "https://api.example?", "query"},
		{"fragment", "https://api.example#hush", "fragment"},
		{"empty fragment", "https://api.example#", "fragment"},
		{"userinfo", "https://me:hush@api.example", "password"},
		{"password for a port", "https://me:hush/x@api.example", "URL"},
		{"opaque", "https:api.example", "opaque"},
		{"no host", "https://", "no host"},
		{"port alone", "https://:443", "no host"},
		{"dot alone", "https://.", "no host"},
		{"two trailing dots", "https://api.example..", "host"},
		{"leading dot", "https://.example", "host"},
		{"wildcard", "https://*.example", "wildcard"},
		{"several hosts", "https://a.example,b.example", "host"},
		{"port 0", "https://api.example:0", "port"},
		{"port too large", "https://api.example:65536", "port"},
		{"Unicode", "https://bücher.example", "xn--"},
		{"Unicode that folds to ASCII", "https://\u212aom.example", "xn--"},
		{"space", "https://api example", "URL"},
		{"IPv4 in brackets", "https://[127.0.0.1]", "URL"},
		{"IPv6 without brackets", "https://::1", "URL"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o, err := parseOrigin(tc.in)
			if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "hush") {
				t.Fatalf("parseOrigin(%q) = %q, %v; want an error that says %q and quotes nothing", tc.in, o, err, tc.want)
			}
		})
	}
}

func TestR28_Loopback(t *testing.T) {
	for _, tc := range []struct {
		in   string
		want bool
	}{
		{"http://localhost", true},
		{"http://LOCALHOST.:8080", true},
		{"http://api.localhost:8080", true},
		{"http://127.0.0.1", true},
		{"http://127.255.0.9:80", true},
		{"http://[::1]:80", true},
		{"http://[0:0::0:1]", true},
		{"http://notlocalhost", false},
		{"http://localhost.example", false},
		{"http://127.example", false},
		{"http://127.1", false}, // a name to Go, whatever the resolver makes of it
		{"http://2130706433", false},
		{"http://0.0.0.0", false},
		{"http://10.0.0.1", false},
		{"http://[::]", false},
		{"http://[::1%25eth0]", false},
	} {
		o, err := parseOrigin(tc.in)
		if err != nil || o.loopback() != tc.want {
			t.Errorf("loopback(%q) = %v, %v; want %v", tc.in, o.loopback(), err, tc.want)
		}
	}
}

// Requests can be built by hand, with URLs that url.Parse would not return.
func TestR28_OriginOfHandmadeURLs(t *testing.T) {
	for _, tc := range []struct {
		name string
		u    url.URL
		want string // empty: none
	}{
		{"upper case", url.URL{Scheme: "HTTPS", Host: "API.example:443"}, "https://api.example"},
		{"password in the host", url.URL{Scheme: "https", Host: "me:hush@api.example"}, ""},
		{"path in the host", url.URL{Scheme: "https", Host: "api.example/hush"}, ""},
		{"backslash", url.URL{Scheme: "https", Host: `evil.example\@api.example`}, ""},
		{"IPv6 without brackets", url.URL{Scheme: "https", Host: "::1"}, ""},
		{"open bracket", url.URL{Scheme: "https", Host: "[::1"}, ""},
		{"IPv4 in brackets", url.URL{Scheme: "http", Host: "[127.0.0.1]"}, ""},
		{"zone with a space", url.URL{Scheme: "https", Host: "[fe80::1%a b]"}, ""},
		{"text after the bracket", url.URL{Scheme: "http", Host: "[::1].example"}, ""},
		{"line break", url.URL{Scheme: "https", Host: "api.example\r\nX: y"}, ""},
		{"opaque path", url.URL{Scheme: "https", Host: "api.example", Opaque: "/a%2Fb"}, "https://api.example"},
		{"opaque with the same host", url.URL{Scheme: "https", Host: "api.example", Opaque: "//api.example/a%2Fb"}, "https://api.example"},
		{"opaque with another host", url.URL{Scheme: "https", Host: "api.example", Opaque: "//evil.example/a"}, ""},
		{"opaque with a longer host", url.URL{Scheme: "https", Host: "api.example", Opaque: "//api.example.evil.example"}, ""},
		{"opaque with userinfo", url.URL{Scheme: "https", Host: "api.example", Opaque: "//api.example@evil.example"}, ""},
		{"opaque URL", url.URL{Scheme: "https", Host: "api.example", Opaque: "http://evil.example/a"}, ""},
		{"nothing", url.URL{}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o, err := originOf(&tc.u)
			if tc.want == "" && err == nil || tc.want != "" && (err != nil || o.String() != tc.want) {
				t.Errorf("originOf = %q, %v; want %q", o, err, tc.want)
			}
			if text := (&OriginError{Origin: describeOrigin(&tc.u)}).Error(); strings.Contains(text, "hush") || strings.ContainsAny(text, "\r\n") {
				t.Errorf("text holds more than the origin: %q", text)
			}
		})
	}
}

func TestR28_OriginErrorSaysWhatToDo(t *testing.T) {
	e := &OriginError{Origin: "https://b.example", Allowed: []string{"https://a1", "https://a2", "https://a3", "https://a4", "https://a5", "https://a6", "https://a7"}}
	want := `renew: "https://b.example" is not among the origins that the credential is for (https://a1, https://a2, https://a3, https://a4, https://a5 and 2 more): ` +
		`add it to TransportConfig.Origins, or use another http.Client for it`
	if got := e.Error(); got != want {
		t.Errorf("Error() = %s\nwant %s", got, want)
	}
}

// Parsing never panics, and what is printed is read back as the same origin.
func FuzzR28_Origin(f *testing.F) {
	for _, s := range []string{"https://api.example", "HTTP://LocalHost.:080/", "https://[FE80::1%25e0]:443", "http://[::ffff:127.0.0.1]:1",
		"https:opaque", "//x", "https://a@b", "http://a:b:c", "https://%41", "https://[::1%2525]", ""} {
		f.Add(s, s, s)
	}
	f.Fuzz(func(t *testing.T, text, host, opaque string) {
		if o, err := parseOrigin(text); err == nil {
			again, err := parseOrigin(o.String())
			if err != nil || again != o {
				t.Errorf("%q is read as %q, and that as %q, %v", text, o, again, err)
			}
			full, err := parseOrigin(o.explicit().String())
			if err != nil || full != o {
				t.Errorf("%q is read as %q; with its port spelt out as %q, %v", text, o, full, err)
			}
			u, err := url.Parse(o.String())
			if err != nil || u.Scheme != o.scheme || u.Host != o.host {
				t.Errorf("a request to %q misses the fast path: %v, %v", o, u, err)
			}
		}
		u := &url.URL{Scheme: "https", Host: host, Opaque: opaque}
		if o, err := originOf(u); err == nil {
			if again, err := parseOrigin(o.String()); err != nil || again != o {
				t.Errorf("host %q gives %q, and that %q, %v", host, o, again, err)
			}
		}
		_ = describeOrigin(u)
	})
}
