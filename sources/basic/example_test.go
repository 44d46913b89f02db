package basic_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/sources/basic"
)

// A client that sends user name and password with each request to one server.
func ExampleSigner() {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, _, ok := r.BasicAuth()
		fmt.Fprint(w, user, " ", ok)
	}))
	defer server.Close()

	transport, err := renew.NewTransport(&basic.Signer{
		Username: "Aladdin",
		Password: renew.NewSecret("open sesame"), // or PasswordFunc, from a file or a vault
	}, renew.TransportConfig{Origins: []string{server.URL}})
	if err != nil {
		fmt.Println(err)
		return
	}
	client := &http.Client{Transport: transport}
	resp, err := client.Get(server.URL)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer resp.Body.Close()
	var user string
	var ok bool
	_, _ = fmt.Fscan(resp.Body, &user, &ok)
	fmt.Println(user, ok)
	// Output: Aladdin true
}

// Tunnels through a proxy that wants a password, for https requests.
func ExampleSigner_GetProxyConnectHeader() {
	proxy := &basic.Signer{
		Username: "daemon",
		Password: renew.NewSecret("open sesame"),
		Proxy:    "https://proxy.example:3128",
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.GetProxyConnectHeader = proxy.GetProxyConnectHeader
	transport.OnProxyConnectResponse = proxy.OnProxyConnectResponse
	// transport.Proxy = http.ProxyURL(...) names the same proxy. A renew.Transport for the servers may have
	// this one as its Base.
	fmt.Println(proxy.Validate())
	// Output: <nil>
}
