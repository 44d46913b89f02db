package migrate_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh/agent"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/clock"
	"github.com/seed-f29168f7/renew/sources/crtauth"
	"github.com/seed-f29168f7/renew/sources/crtauth/crtauthtest"
)

// negzKey is the key that the servers know negz by.
var negzKey = sync.OnceValue(func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, 2048)) })

// negzPEM is the same in the one form that the original reads.
func negzPEM() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(negzKey())}))
}

// crtauthServer knows negz.
func crtauthServer(opts crtauthtest.Options) *crtauthtest.Server {
	opts.Users = map[string]*rsa.PublicKey{"negz": &negzKey().PublicKey}
	return crtauthtest.NewServer(opts)
}

// session is a client whose requests to the origins are authenticated by template.
func session(template crtauth.Source, origins ...string) (client *http.Client, end func()) {
	m := must(renew.NewManager(renew.Config{}))
	auth := crtauth.PerOrigin(m, template, renew.Config{})
	transport := must(renew.NewTransport(auth, renew.TransportConfig{Origins: origins}))
	return &http.Client{Transport: transport}, func() { check(m.Close(context.Background())) }
}

// negzAgent is an ssh-agent with the key of negz, at $SSH_AUTH_SOCK.
func negzAgent() (end func()) {
	ring := agent.NewKeyring()
	check(ring.Add(agent.AddedKey{PrivateKey: negzKey()}))
	dir := must(os.MkdirTemp("", "agent"))
	socket := filepath.Join(dir, "s")
	l := must(net.Listen("unix", socket))
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_ = agent.ServeAgent(ring, conn) // ends with the connection
			}()
		}
	}()
	before := os.Getenv("SSH_AUTH_SOCK")
	check(os.Setenv("SSH_AUTH_SOCK", socket))
	return func() {
		check(os.Setenv("SSH_AUTH_SOCK", before))
		check(l.Close())
		check(os.RemoveAll(dir))
	}
}

// The README's session: $USER, and the key in the ssh-agent. The original sends a request bare, and its body with it,
// takes the 401, and sends all again; with each request of the login it sends the body, too. Ours
// logs in first, and sends the body once. An Agent serves for as many logins as there are; a signer that is given to
// the original serves for one.
//
//	session = requests.Session()
//	session.auth = requests_crtauth.HttpCrtAuth()
//	headers = {'content-type': 'application/json; charset=utf-8'}
//	response = session.put(url, data=data, headers=headers)
//	response.ok
func Example_requestsCrtauthSession() {
	srv := crtauthServer(crtauthtest.Options{Protected: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body := must(io.ReadAll(r.Body))
		fmt.Fprintln(w, r.Method, r.URL.Path, r.Header.Get("Content-Type"), string(body), "by", r.Header.Get("X-User"))
	})})
	defer srv.Close()
	defer negzAgent()()
	user := os.Getenv("USER")
	check(os.Setenv("USER", "negz"))
	defer os.Setenv("USER", user)

	m := must(renew.NewManager(renew.Config{}))
	defer m.Close(context.Background())
	auth := crtauth.PerOrigin(m, crtauth.Source{}, renew.Config{})
	transport := must(renew.NewTransport(auth, renew.TransportConfig{Origins: []string{srv.URL}})) // https://db.example
	client := &http.Client{Transport: transport}

	req := must(http.NewRequest(http.MethodPut, srv.URL+"/v1/things/yomaris", strings.NewReader(`{"comment": "I'm a comment!"}`)))
	req.Header.Set("Content-Type", "application/json; charset=utf-8")
	resp := must(client.Do(req))
	fmt.Println(resp.StatusCode, text(resp))
	c := srv.Counts()
	fmt.Println("logins:", c.Logins, "served:", c.Served, "401s:", c.Unauthorized)
	// Output:
	// 200 PUT /v1/things/yomaris application/json; charset=utf-8 {"comment": "I'm a comment!"} by negz
	// logins: 1 served: 1 401s: 0
}

// username and private_key. The original reads PKCS#1 without a passphrase, and crashes over anything else. Ours takes PKCS#8
// and OpenSSH's form too, encrypted ones with PEM.Passphrase, and from a file with crtauth.File; a key that cannot serve is
// found out before the first request.
//
//	requests_crtauth.HttpCrtAuth(username='negz', private_key='key data as a string')
func Example_requestsCrtauthPrivateKey() {
	srv := crtauthServer(crtauthtest.Options{})
	defer srv.Close()
	pkcs8 := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: must(x509.MarshalPKCS8PrivateKey(negzKey()))}))

	for _, key := range []string{negzPEM(), pkcs8} {
		client, end := session(crtauth.Source{
			User:   "negz",
			Signer: &crtauth.PEM{Key: renew.NewSecret(key)},
		}, srv.URL)
		fmt.Println(text(must(client.Get(srv.URL + "/things"))))
		end()
	}
	wrong := &crtauth.PEM{Key: renew.NewSecret("no key at all")}
	fmt.Println(wrong.Validate())
	// Output:
	// hello negz
	// hello negz
	// renew: PEM.Key cannot be read: it must be a private key in PEM (PKCS#1, PKCS#8 or OpenSSH's form)
}

// signer. A SigningPlug of the original is a crtauth.Signer; an Agent at another socket, a key of this process (or a
// hardware module, as a crypto.Signer), and several in their order are there already.
//
//	class Mine(crtauth.ssh.SigningPlug):
//	    def sign(self, data, fingerprint): ...
//	requests_crtauth.HttpCrtAuth(username='negz', signer=Mine())
func Example_requestsCrtauthSigner() {
	srv := crtauthServer(crtauthtest.Options{})
	defer srv.Close()

	mine := &counting{Signer: crtauth.Local(negzKey())}
	for _, signer := range []crtauth.Signer{
		mine,
		crtauth.Signers{&crtauth.Agent{Socket: "/nowhere"}, mine},
	} {
		client, end := session(crtauth.Source{User: "negz", Signer: signer}, srv.URL)
		fmt.Println(text(must(client.Get(srv.URL+"/things"))), "signed:", mine.signed)
		end()
	}
	// Output:
	// hello negz signed: 1
	// hello negz signed: 2
}

// counting is a Signer of one's own: it counts signatures.
type counting struct {
	crtauth.Signer
	signed int
}

func (c *counting) Keys(ctx context.Context) ([]crtauth.Key, error) {
	keys, err := c.Signer.Keys(ctx)
	keys = slices.Clone(keys)
	for i, key := range keys {
		keys[i].Sign = func(ctx context.Context, data []byte) ([]byte, error) {
			c.signed++
			return key.Sign(ctx, data)
		}
	}
	return keys, err
}

// version. 1 is the default of both; 0 is for servers before 0.99.0. Neither falls back to the other by itself, or
// whoever answers could choose the weaker one.
//
//	requests_crtauth.HttpCrtAuth(username='negz', private_key=key, version=0)
func Example_requestsCrtauthVersion() {
	old := crtauthServer(crtauthtest.Options{})
	defer old.Close()
	recent := crtauthServer(crtauthtest.Options{LowestVersion: 1})
	defer recent.Close()

	client, end := session(crtauth.Source{
		User: "negz", Signer: &crtauth.PEM{Key: renew.NewSecret(negzPEM())},
		Version: crtauth.Version0,
	}, old.URL, recent.URL)
	defer end()
	fmt.Println(text(must(client.Get(old.URL + "/things"))))
	_, err := client.Get(recent.URL + "/things")
	e, _ := errors.AsType[*renew.IssueError](err)
	fmt.Println(e.Status, e.Kind, e.Err)
	// Output:
	// hello negz
	// 403 refused the server does not take the user name, or not this version of the protocol (try Version1), or cannot look the user up
}

// Tokens. One login serves until its token ends, and ours makes the next one before that. A 401 leads to a
// login and to one more sending of the request, in both; the second 401 is the caller's, in both. A request that
// brings an Authorization of its own keeps it, unless TransportConfig.OnExisting says Replace, as the original does.
//
//	session.get(url)  # 401, HEAD /_auth twice, 200
//	session.get(url)  # 200
func Example_requestsCrtauthToken() {
	refuse := 0                      // how many requests the service itself refuses
	clk := clock.NewFake(time.Now()) // the server's: two logins of one second get the same token
	srv := crtauthServer(crtauthtest.Options{Clock: clk, Protected: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if refuse > 0 {
			refuse--
			w.WriteHeader(http.StatusUnauthorized)
		}
	})})
	defer srv.Close()

	client, end := session(crtauth.Source{User: "negz", Signer: &crtauth.PEM{Key: renew.NewSecret(negzPEM())}}, srv.URL)
	defer end()
	get := func(what string) {
		resp := must(client.Get(srv.URL + "/things"))
		text(resp)
		c := srv.Counts()
		fmt.Println(what, resp.StatusCode, "logins:", c.Logins, "served:", c.Served)
	}
	get("first:")
	get("second:")
	clk.Advance(time.Second)
	refuse = 1
	get("refused once:")
	clk.Advance(time.Second)
	refuse = 2
	get("refused twice:")
	// Output:
	// first: 200 logins: 1 served: 1
	// second: 200 logins: 1 served: 2
	// refused once: 200 logins: 2 served: 4
	// refused twice: 401 logins: 3 served: 6
}

// Several services. The original has one token an object and sends it to whatever host is called. Ours has one for
// each origin, and sends none to an origin that it was not given, nor after a redirect there.
//
//	session.get('https://one.example/things')
//	session.get('https://two.example/things')  # with the token of one.example
func Example_requestsCrtauthHosts() {
	one, two := crtauthServer(crtauthtest.Options{}), crtauthServer(crtauthtest.Options{})
	defer one.Close()
	defer two.Close()
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "Authorization: %q", r.Header.Get("Authorization"))
	}))
	defer other.Close()
	away := crtauthServer(crtauthtest.Options{Protected: http.RedirectHandler(other.URL, http.StatusFound)})
	defer away.Close()

	client, end := session(crtauth.Source{User: "negz", Signer: &crtauth.PEM{Key: renew.NewSecret(negzPEM())}}, one.URL, two.URL, away.URL)
	defer end()
	for _, srv := range []*crtauthtest.Server{one, two, two, one} {
		text(must(client.Get(srv.URL + "/things")))
	}
	fmt.Println("logins:", one.Counts().Logins, two.Counts().Logins, "401s:", one.Counts().Unauthorized+two.Counts().Unauthorized)
	fmt.Println(text(must(client.Get(away.URL + "/things"))))
	_, err := client.Get(other.URL)
	_, refused := errors.AsType[*renew.OriginError](err)
	fmt.Println(refused)
	// Output:
	// logins: 1 1 401s: 0
	// Authorization: ""
	// true
}

// A service that protects only a part of its paths. The original logs in when it gets a 401, so public paths work
// without a key. Ours logs in first, so that no body goes out for nothing: use another client for
// public paths.
//
//	requests.get('https://one.example/public')
func Example_requestsCrtauthPublic() {
	srv := crtauthServer(crtauthtest.Options{})
	defer srv.Close()
	mux := http.NewServeMux()
	mux.Handle("/", srv.Handler)
	mux.HandleFunc("/public", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "for all") })
	front := httptest.NewServer(mux)
	defer front.Close()

	client, end := session(crtauth.Source{User: "stranger", Signer: crtauth.Local(negzKey())}, front.URL)
	defer end()
	_, err := client.Get(front.URL + "/public")
	fmt.Println(err != nil)
	fmt.Println(text(must(http.Get(front.URL + "/public"))))
	// Output:
	// true
	// for all
}

// Errors. What the original raises as HttpCrtAuthError, or as whatever went wrong within it, is a *renew.IssueError; three
// of its causes have a type of their own. A login that cannot succeed is tried once, not with every request.
//
//	try:
//	    session.get(url)
//	except requests_crtauth.HttpCrtAuthError as e:
//	    ...
func Example_requestsCrtauthErrors() {
	srv := crtauthServer(crtauthtest.Options{})
	defer srv.Close()
	relay := crtauthServer(crtauthtest.Options{ServerName: "bank.example"}) // wants to use the answer elsewhere
	defer relay.Close()
	none := httptest.NewServer(http.NotFoundHandler())
	defer none.Close()
	page := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer page.Close()

	key := &crtauth.PEM{Key: renew.NewSecret(negzPEM())}
	fail := func(user, origin string) error {
		client, end := session(crtauth.Source{User: user, Signer: key}, origin)
		defer end()
		_, err := client.Get(origin + "/things")
		return err
	}
	if e, ok := errors.AsType[*crtauth.NoKeyError](fail("stranger", srv.URL)); ok {
		fmt.Println("no key of", e.User, "among", len(e.Have))
	}
	if e, ok := errors.AsType[*crtauth.ServerNameError](fail("negz", relay.URL)); ok {
		fmt.Println("a challenge of", e.Got, "not of", e.Want)
	}
	for _, origin := range []string{none.URL, page.URL} {
		e, _ := errors.AsType[*renew.IssueError](fail("negz", origin))
		fmt.Println(e.Status, e.Kind, e.Err)
	}
	// Output:
	// no key of stranger among 1
	// a challenge of bank.example not of 127.0.0.1
	// 404 refused this is not a crtauth server, or its login is at another Path
	// 200 transient the reply has no X-CHAP header: there is no crtauth server at this address, or something before it answers
}

// Logging. The original writes the challenge, the response and the token at debug level; ours what has changed, by origin.
//
//	logging.basicConfig(level=logging.DEBUG)
func Example_requestsCrtauthLogging() {
	srv := crtauthServer(crtauthtest.Options{})
	defer srv.Close()

	var log bytes.Buffer // written by one goroutine, which has ended when Close returns
	m := must(renew.NewManager(renew.Config{Logger: slog.New(slog.NewTextHandler(&log, nil))}))
	auth := crtauth.PerOrigin(m, crtauth.Source{User: "negz", Signer: crtauth.Local(negzKey())}, renew.Config{})
	transport := must(renew.NewTransport(auth, renew.TransportConfig{Origins: []string{srv.URL}}))
	client := &http.Client{Transport: transport, Timeout: time.Minute} // requests' timeout=, for a whole request
	text(must(client.Get(srv.URL + "/things")))
	check(m.Close(context.Background()))
	first, _, _ := strings.Cut(log.String(), "\n")
	_, first, _ = strings.Cut(first, "msg=")
	first, _, _ = strings.Cut(first, " generation")
	fmt.Println(strings.ReplaceAll(first, srv.URL, "http://127.0.0.1"))
	// Output: "renew: ready" name=http://127.0.0.1 from=new to=ready
}
