package migrate_test

import (
	"crypto/md5"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/sources/basic"
	"github.com/seed-f29168f7/renew/sources/digest"
)

// basicServer takes one user, and counts what it refuses.
func basicServer(user, password string) (*httptest.Server, *atomic.Int32) {
	refused := new(atomic.Int32)
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if u, p, ok := r.BasicAuth(); !ok || u != user || p != password {
			refused.Add(1)
			w.Header().Set("WWW-Authenticate", `Basic realm="reports", charset="UTF-8"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		fmt.Fprint(w, r.Method, " ", r.URL.Path, " by ", user)
	})), refused
}

// A user name and a password with each request.
func Example_requestsBasic() {
	server, _ := basicServer("müller", "pässword")
	defer server.Close()

	//	import requests
	//	from requests.auth import HTTPBasicAuth
	//
	//	session = requests.Session()
	//	session.auth = HTTPBasicAuth("müller".encode(), "pässword".encode())
	//
	// Text instead of bytes would be sent as Latin-1 there. Ours sends UTF-8 unless Charset says basic.Latin1.
	transport := must(renew.NewTransport(&basic.Signer{
		Username: "müller",
		Password: renew.NewSecret("pässword"),
	}, renew.TransportConfig{Origins: []string{server.URL}}))
	client := &http.Client{Transport: transport}

	//	r = session.get(url + "/daily")
	//	print(r.status_code, r.text)
	resp := must(client.Get(server.URL + "/daily"))
	fmt.Println(resp.StatusCode, text(resp))

	//	r = requests.get("https://elsewhere.example/", auth=("müller", "pässword"))  # any host gets them
	_, err := client.Get("https://elsewhere.example/")
	var origin *renew.OriginError
	fmt.Println(errors.As(err, &origin))
	// Output:
	// 200 GET /daily by müller
	// true
}

// A password that is wrong, in a loop: the original sends it as often as it is told to, until the server locks the account.
func Example_requestsBasicWrongPassword() {
	server, refused := basicServer("kim", "the new password")
	defer server.Close()
	transport := must(renew.NewTransport(&basic.Signer{
		Username: "kim",
		Password: renew.NewSecret("the old password"),
	}, renew.TransportConfig{Origins: []string{server.URL}}))
	client := &http.Client{Transport: transport}

	//	while True:
	//	    r = session.get(url + "/daily")
	//	    if r.ok: break
	for range 100 {
		resp, err := client.Get(server.URL + "/daily")
		if err == nil {
			_ = resp.Body.Close()
			continue
		}
		var spent *renew.BudgetError
		fmt.Println(errors.As(err, &spent), refused.Load())
		break
	}
	// Output: true 5
}

// A proxy that wants a password, for http requests and for the tunnels of https ones.
func Example_requestsProxy() {
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Proxy-Authorization") != "Basic a2ltOnMzY3IzdA==" {
			w.WriteHeader(http.StatusProxyAuthRequired)
			return
		}
		fmt.Fprint(w, "by way of the proxy: ", r.RequestURI)
	}))
	defer proxy.Close()

	//	proxies = {"http": "http://kim:s3cr3t@proxy:3128", "https": "http://kim:s3cr3t@proxy:3128"}
	//	r = requests.get("http://api.example/", proxies=proxies)
	//
	// The password stands in a URL there, and so in logs.
	kim := &basic.Signer{Username: "kim", Password: renew.NewSecret("s3cr3t"), Proxy: proxy.URL}
	tunnels := http.DefaultTransport.(*http.Transport).Clone()
	tunnels.GetProxyConnectHeader = kim.GetProxyConnectHeader
	tunnels.OnProxyConnectResponse = kim.OnProxyConnectResponse
	transport := must(renew.NewTransport(kim, renew.TransportConfig{Proxy: proxy.URL, Base: tunnels}))
	resp := must((&http.Client{Transport: transport}).Get("http://api.example/"))
	fmt.Println(resp.StatusCode, text(resp))
	// Output: 200 by way of the proxy: http://api.example/
}

// digestServer wants MD5 with qop auth, as most have it.
func digestServer(user, password string) *httptest.Server {
	sum := func(parts ...string) string { return fmt.Sprintf("%x", md5.Sum([]byte(strings.Join(parts, ":")))) }
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got := map[string]string{}
		for _, p := range strings.Split(strings.TrimPrefix(r.Header.Get("Authorization"), "Digest "), ", ") {
			k, v, _ := strings.Cut(p, "=")
			got[k] = strings.Trim(v, `"`)
		}
		want := sum(sum(user, "files", password), "dcd98b71", got["nc"], got["cnonce"], "auth", sum(r.Method, r.RequestURI))
		if got["response"] != want {
			w.Header().Set("WWW-Authenticate", `Digest realm="files", qop="auth", algorithm=MD5, nonce="dcd98b71"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		fmt.Fprint(w, r.Method, " ", r.URL, " ", got["nc"], " ", string(body))
	}))
}

// Digest: the first request gets a challenge and is repeated, with its body; the next ones go on with the nonce.
func Example_requestsDigest() {
	server := digestServer("Mufasa", "Circle of Life")
	defer server.Close()

	//	from requests.auth import HTTPDigestAuth
	//
	//	session = requests.Session()
	//	session.auth = HTTPDigestAuth("Mufasa", "Circle of Life")
	//
	// It may not be shared by threads of a session that answer several challenges at once; ours may.
	transport := must(renew.NewTransport(&digest.Signer{
		Username: "Mufasa",
		Password: renew.NewSecret("Circle of Life"),
	}, renew.TransportConfig{Origins: []string{server.URL}}))
	client := &http.Client{Transport: transport}

	//	r = session.post(url + "/dir/index.html?v=1", data="x")
	//	print(r.status_code, r.text)
	resp := must(client.Post(server.URL+"/dir/index.html?v=1", "text/plain", strings.NewReader("x")))
	fmt.Println(resp.StatusCode, text(resp))

	//	r = session.get(url + "/dir/index.html")
	resp = must(client.Get(server.URL + "/dir/index.html"))
	fmt.Println(resp.StatusCode, text(resp))
	// Output:
	// 200 POST /dir/index.html?v=1 00000001 x
	// 200 GET /dir/index.html 00000002
}
