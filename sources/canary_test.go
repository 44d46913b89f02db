package sources_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/sources/armor"
	"github.com/seed-f29168f7/renew/sources/basic"
	"github.com/seed-f29168f7/renew/sources/crtauth"
	"github.com/seed-f29168f7/renew/sources/digest"
	"github.com/seed-f29168f7/renew/sources/exec"
	"github.com/seed-f29168f7/renew/sources/file"
	"github.com/seed-f29168f7/renew/sources/hmac"
	"github.com/seed-f29168f7/renew/sources/httpsig"
	"github.com/seed-f29168f7/renew/sources/internal/leaktest"
	"github.com/seed-f29168f7/renew/sources/jwt"
	"github.com/seed-f29168f7/renew/sources/oauth1"
	"github.com/seed-f29168f7/renew/sources/oauth2"
	"github.com/seed-f29168f7/renew/sources/static"
	"github.com/seed-f29168f7/renew/sources/toopher"
)

// issuedCanary is in every token that the parrot issues.
const issuedCanary = "issued-8fQkZ2Lw"

// parrot is a server that says again, where it can, whatever it was sent.
type parrot struct {
	mood   string
	answer func(said string) *http.Response
}

func (p parrot) RoundTrip(r *http.Request) (*http.Response, error) {
	dump, err := httputil.DumpRequest(r, true)
	if err != nil {
		return nil, err
	}
	if p.answer == nil {
		u := *r.URL
		u.User = url.UserPassword("parrot", string(dump))
		return nil, &url.Error{Op: r.Method, URL: u.String(), Err: io.ErrUnexpectedEOF}
	}
	resp := p.answer(string(dump))
	resp.Request, resp.Proto, resp.ProtoMajor, resp.ProtoMinor = r, "HTTP/1.1", 1, 1
	return resp, nil
}

// reply makes a response. The header's values are made sendable.
func reply(status int, body string, header ...string) *http.Response {
	h := http.Header{}
	for i := 0; i < len(header); i += 2 {
		h.Add(header[i], strings.Map(func(r rune) rune {
			if r < ' ' {
				return ' '
			}
			return r
		}, header[i+1]))
	}
	return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body))}
}

func asJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

var parrots = []parrot{
	{"no answer", nil},
	{"page", func(said string) *http.Response {
		return reply(200, "<html><form action='"+said+"'><input name='"+said+"' value='"+said+"'></form>"+issuedCanary, "Content-Type", "text/html")
	}},
	{"token", func(said string) *http.Response {
		return reply(200, asJSON(map[string]any{"access_token": issuedCanary, "refresh_token": issuedCanary, "token_type": said, "expires_in": said, "code": issuedCanary, "id": said}),
			"Content-Type", "application/json", "X-CHAP", "token:"+issuedCanary)
	}},
	{"form", func(said string) *http.Response {
		return reply(200, url.Values{"oauth_token": {issuedCanary}, "oauth_token_secret": {issuedCanary, issuedCanary}, "oauth_problem": {said}}.Encode())
	}},
	{"400", func(said string) *http.Response {
		return reply(400, asJSON(map[string]any{"error": "invalid_grant", "error_description": said, "error_uri": said, "errorCode": said}), "Content-Type", "application/json")
	}},
	{"400 with a code of its own", func(said string) *http.Response {
		return reply(400, asJSON(map[string]any{"error": said, "error_code": 704, "error_message": said, "message": said, "reference": said}))
	}},
	{"401", func(said string) *http.Response {
		return reply(401, said, "WWW-Authenticate", said, "WWW-Authenticate", `OAuth oauth_problem="`+said+`"`, "X-CHAP", "challenge:"+said, "Date", said, "Retry-After", said)
	}},
	{"Digest and Basic", func(said string) *http.Response {
		quoted := strings.Map(func(r rune) rune {
			if r < ' ' || r == '"' || r == '\\' {
				return '.'
			}
			return r
		}, said)
		return reply(401, said, "WWW-Authenticate", `Digest realm="r", nonce="n", qop="auth", opaque="`+quoted+`"`, "WWW-Authenticate", `Basic realm="`+quoted+`"`)
	}},
	{"accepted", func(said string) *http.Response {
		return reply(200, said, "Authentication-Info", `rspauth="`+strings.Repeat("0", 32)+`", nextnonce="n2", qop=auth, cnonce="x", nc=00000001`)
	}},
	{"403", func(said string) *http.Response { return reply(403, said, "X-CHAP", said, "Set-Cookie", "a="+said) }},
	{"moved", func(said string) *http.Response {
		return reply(307, said, "Location", "https://elsewhere.example/?"+url.QueryEscape(said))
	}},
	{"500", func(said string) *http.Response { return reply(500, said, "Retry-After", said) }},
}

// knock answers the device endpoint as a server that has seen nothing yet, and leaves the rest to the parrot.
type knock struct{ next http.RoundTripper }

func (k knock) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Path != "/device" {
		return k.next.RoundTrip(r)
	}
	resp := reply(200, `{"device_code":"device-8oVl0Fbx","user_code":"U","verification_uri":"https://api.example/v","expires_in":60}`)
	resp.Request = r
	return resp, nil
}

// commandPrints names the variable with which this test's own program is a command that prints a token.
const commandPrints = "RENEW_CANARY_COMMAND"

func TestMain(m *testing.M) {
	text, isCommand := os.LookupEnv(commandPrints)
	if !isCommand {
		os.Exit(m.Run())
	}
	fmt.Fprint(os.Stderr, "secret words: ", text, os.Getenv("SECRET"))
	if text == "" {
		os.Exit(3)
	}
	fmt.Print(text)
}

// canary is one system, with a secret in each place that takes one.
type canary struct {
	name    string
	secrets []string
	// use works with the system over client and gives see all that a program could print.
	use func(ctx context.Context, client *http.Client, see func(any))
}

// kept keeps a Source's token for a while, and uses it for a request.
func kept(src func(*http.Client) renew.Source, at string) func(context.Context, *http.Client, func(any)) {
	return func(ctx context.Context, client *http.Client, see func(any)) {
		var log bytes.Buffer
		s := src(client)
		m, err := renew.NewManager(renew.Config{Interactive: true, RevokeOnClose: true, Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
		see(err)
		ts, err := m.Add("bird", s, renew.Config{})
		see(err)
		if err != nil {
			return
		}
		for range 3 {
			tok, err := ts.Token(ctx)
			see(err)
			if tok != nil {
				see(tok)
				_, err := ts.Reject(ctx, tok)
				see(err)
			}
			ts.Reset()
		}
		asks(ts, at, client, 1, see)
		see(ts.Status())
		see(m.Status())
		see(m.Close(ctx))
		synctest.Wait() // what is walked must not move
		see(s)
		see(log.String())
	}
}

// signs sends requests through a signer.
func signs(signer func() renew.Authenticator, at string) func(context.Context, *http.Client, func(any)) {
	return func(_ context.Context, client *http.Client, see func(any)) {
		s := signer()
		asks(s, at, client, 7, see) // the budget is spent on the way
		see(s)
	}
}

// asks sends requests as a program would that has its own client, and sees what is ours of the outcome.
func asks(auth renew.Authenticator, at string, client *http.Client, times int, see func(any)) {
	tr, err := renew.NewTransport(auth, renew.TransportConfig{Origins: []string{at}, Base: client.Transport})
	see(err)
	if err != nil {
		return
	}
	for range times {
		req, err := http.NewRequest("POST", at+"/api?q=1", strings.NewReader("a=b"))
		if err != nil {
			panic(err)
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		resp, err := tr.RoundTrip(req)
		if !errors.Is(err, io.ErrUnexpectedEOF) { // that is the base's error, passed on as it is
			see(err)
		}
		if err == nil {
			see(fmt.Sprint(resp.Request.URL, resp.Request.Header))
			_ = resp.Body.Close()
		}
	}
	// One that cannot be sent twice, and whose query cannot be read.
	req, err := http.NewRequest("POST", at+"/api?%zz", io.MultiReader(strings.NewReader("a=b")))
	if err != nil {
		panic(err)
	}
	if _, err = tr.RoundTrip(req); !errors.Is(err, io.ErrUnexpectedEOF) {
		see(err)
	}
}

func canaries(t *testing.T) []canary {
	secret := renew.NewSecret
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	keyText := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))
	keySecrets := []string{keyText, strings.Split(keyText, "\n")[3], private.D.String(), private.Primes[0].String(), string(private.D.Bytes()), string(private.Primes[0].Bytes())}
	const at = "https://api.example"
	dir := t.TempDir()
	return []canary{
		{"static", []string{"static-3kPv9sQx"}, kept(func(*http.Client) renew.Source { return static.Token(secret("static-3kPv9sQx")) }, at)},
		{"oauth2 client credentials", []string{`client-7d"&+/=%41\Qz`, issuedCanary}, kept(func(c *http.Client) renew.Source {
			return &oauth2.ClientCredentials{TokenURL: at + "/token", ClientID: "client", ClientSecret: secret(`client-7d"&+/=%41\Qz`), AuthStyle: oauth2.InParams, HTTPClient: c}
		}, at)},
		{"oauth2 refresh token", []string{"client-5gT2mRuw", "refresh-1x4Zp0Aa", issuedCanary}, kept(func(c *http.Client) renew.Source {
			return &oauth2.RefreshToken{TokenURL: at + "/token", ClientID: "client", ClientSecret: secret("client-5gT2mRuw"), AuthStyle: oauth2.InHeader, RefreshToken: secret("refresh-1x4Zp0Aa"), HTTPClient: c}
		}, at)},
		{"armor v1", []string{"password-6hYbN3we", issuedCanary}, kept(func(c *http.Client) renew.Source {
			return &armor.FHAuth{Username: "kim", Password: secret("password-6hYbN3we"), BaseURL: at, HTTPClient: c}
		}, at)},
		{"armor v2", []string{"password-9wLc5Jtf", "code-40718263", issuedCanary}, kept(func(c *http.Client) renew.Source {
			return &armor.ADFS{Username: "kim", Password: secret("password-9wLc5Jtf"), BaseURL: at, LoginURL: at + "/adfs", HTTPClient: c,
				Code: func(context.Context) (renew.Secret, error) { return secret("code-40718263"), nil }}
		}, at)},
		{"armor client", []string{"password-2vMd8Ksg", issuedCanary, "query-0sWq4Hnu", "body-7rXe1Gmy", "header-3tCf6Flo"}, func(ctx context.Context, client *http.Client, see func(any)) {
			c, err := armor.New(armor.Options{Source: &armor.FHAuth{Username: "kim", Password: secret("password-2vMd8Ksg"), BaseURL: at, HTTPClient: client}, Hosts: []string{"api.example"}, Transport: client.Transport})
			see(err)
			resp, err := c.Do(ctx, armor.Request{Method: "POST", URL: at + "/me?key=query-0sWq4Hnu", Data: map[string]string{"a": "body-7rXe1Gmy"}, Header: http.Header{"X-Key": {"header-3tCf6Flo"}}})
			see(err)
			if err == nil {
				_ = resp.Body.Close()
			}
			see(c.TokenSource().Status())
			see(c.Close(ctx))
			see(c)
		}},
		{"crtauth", append(keySecrets, "passphrase-4yNj7Dkp", issuedCanary), kept(func(c *http.Client) renew.Source {
			return &crtauth.Source{Origin: at, User: "kim", Signer: crtauth.Signers{&crtauth.PEM{Key: secret(keyText), Passphrase: secret("passphrase-4yNj7Dkp")}, crtauth.Local(private)}, HTTPClient: c}
		}, at)},
		{"oauth1", []string{"client-8zBk2Viq", "token-5uRo9Ehj", "tokensecret-1aSp6Tmc"}, signs(func() renew.Authenticator {
			return &oauth1.Signer{ClientKey: "client", ClientSecret: secret("client-8zBk2Viq"), Token: secret("token-5uRo9Ehj"), TokenSecret: secret("tokensecret-1aSp6Tmc")}
		}, at)},
		{"oauth1 plaintext", []string{"client-3eXl7Wgb", "token-0iVn4Yds", "tokensecret-9oUt2Zrf"}, signs(func() renew.Authenticator {
			return &oauth1.Signer{Method: oauth1.Plaintext, Placement: oauth1.Query, ClientKey: "client", ClientSecret: secret("client-3eXl7Wgb"), Token: secret("token-0iVn4Yds"), TokenSecret: secret("tokensecret-9oUt2Zrf")}
		}, at)},
		{"oauth1 rsa", append(keySecrets, "token-6pWm8Xeq"), signs(func() renew.Authenticator {
			return &oauth1.Signer{Method: oauth1.RSASHA1, ClientKey: "client", PrivateKey: oauth1.NewKey(private), Token: secret("token-6pWm8Xeq")}
		}, at)},
		{"oauth1 flow", []string{"client-7qYn3Ufd", "temporary-2dHv5Ibk", "tempsecret-4fJw1Oza", "verifier-8gKx9Pcs", issuedCanary}, func(ctx context.Context, client *http.Client, see func(any)) {
			f := &oauth1.Flow{TemporaryEndpoint: at + "/a", AuthorizationEndpoint: at + "/b", TokenEndpoint: at + "/c", HTTPClient: client,
				Signer: &oauth1.Signer{ClientKey: "client", ClientSecret: secret("client-7qYn3Ufd")}}
			got, err := f.TemporaryCredentials(ctx, "oob")
			see(err)
			see(got)
			temporary := oauth1.Credentials{Token: secret("temporary-2dHv5Ibk"), Secret: secret("tempsecret-4fJw1Oza")}
			got, err = f.TokenCredentials(ctx, temporary, secret("verifier-8gKx9Pcs"))
			see(err)
			see(got)
			callback, _ := url.Parse("https://me.example/?oauth_token=other&oauth_verifier=verifier-8gKx9Pcs")
			_, err = temporary.Verifier(callback)
			see(err)
			see(f)
		}},
		{"basic", []string{"password-5zHt1Mce"}, signs(func() renew.Authenticator {
			return &basic.Signer{Username: "kim", Password: secret("password-5zHt1Mce")}
		}, at)},
		{"digest", []string{"password-8vPf4Rjo"}, signs(func() renew.Authenticator {
			return &digest.Signer{Username: "kim", Password: secret("password-8vPf4Rjo"), AllowBasic: true, BadRspauth: func(*http.Request, error) {}}
		}, at)},
		{"hmac", []string{"secret-of-32-bytes-2yLd7Wgk-xxxxx"}, signs(func() renew.Authenticator {
			return &hmac.Signer{KeyID: "k", Secret: secret("secret-of-32-bytes-2yLd7Wgk-xxxxx")}
		}, at)},
		{"httpsig", []string{"secret-of-32-bytes-6nBq3Tzu-xxxxx"}, signs(func() renew.Authenticator {
			return &httpsig.Signer{KeyID: "k", Algorithm: httpsig.HMACSHA256, Secret: secret("secret-of-32-bytes-6nBq3Tzu-xxxxx")}
		}, at)},
		{"httpsig with a key", keySecrets, signs(func() renew.Authenticator {
			return &httpsig.Signer{KeyID: "k", PrivateKey: httpsig.NewKey(private)}
		}, at)},
		{"jwt", append(keySecrets, "claim-0mXs9Ovi"), kept(func(*http.Client) renew.Source {
			return &jwt.Source{Key: jwt.NewKey(private), Issuer: "me", Claims: func(context.Context) (map[string]any, error) {
				return map[string]any{"key": "claim-0mXs9Ovi"}, nil
			}}
		}, at)},
		{"oauth2 JWT bearer", append(keySecrets, issuedCanary, "secret-of-32-bytes-4wKe8Lya-xxxxx"), kept(func(c *http.Client) renew.Source {
			return &oauth2.JWTBearer{TokenURL: at + "/token", RevocationURL: at + "/revoke", ClientID: "client", AuthStyle: oauth2.ClientSecretJWT, ClientSecret: secret("secret-of-32-bytes-4wKe8Lya-xxxxx"),
				Assertion: &jwt.Source{Key: jwt.NewKey(private), Issuer: "me"}, HTTPClient: c}
		}, at)},
		{"oauth2 private key", append(keySecrets, issuedCanary), kept(func(c *http.Client) renew.Source {
			return &oauth2.ClientCredentials{Issuer: at, ClientID: "client", AuthStyle: oauth2.PrivateKeyJWT, ClientAssertion: &jwt.Source{Key: jwt.NewKey(private)}, HTTPClient: c}
		}, at)},
		{"oauth2 token exchange", []string{"client-3fRa5Xnp", "subject-7uCj2Bwz", "actor-9eDk6Hqt", issuedCanary}, kept(func(c *http.Client) renew.Source {
			return &oauth2.TokenExchange{TokenURL: at + "/token", RevocationURL: at + "/revoke", ClientID: "client", ClientSecret: secret("client-3fRa5Xnp"), SubjectToken: secret("subject-7uCj2Bwz"), ActorToken: secret("actor-9eDk6Hqt"), HTTPClient: c}
		}, at)},
		{"oauth2 device code", []string{"client-1gIy4Usm", "device-8oVl0Fbx", issuedCanary}, kept(func(c *http.Client) renew.Source {
			return &oauth2.DeviceCode{DeviceAuthURL: at + "/device", TokenURL: at + "/token", RevocationURL: at + "/revoke", ClientID: "client", ClientSecret: secret("client-1gIy4Usm"),
				Prompt: func(context.Context, oauth2.DevicePrompt) error { return nil }, HTTPClient: &http.Client{Transport: knock{c.Transport}}}
		}, at)},
		{"oauth2 authorization code", []string{"client-6hTw2Jrc", "code-5qNz9Pke", issuedCanary}, func(ctx context.Context, client *http.Client, see func(any)) {
			s := &oauth2.AuthorizationCode{AuthURL: at + "/authorize", TokenURL: at + "/token", ClientID: "client", ClientSecret: secret("client-6hTw2Jrc"), HTTPClient: client}
			a, err := s.Begin(ctx, "https://me.example/back")
			see(err)
			if err != nil {
				return
			}
			see(a)
			tok, err := s.Exchange(ctx, a, url.Values{"code": {"code-5qNz9Pke"}, "state": {a.State}})
			see(err)
			see(tok)
			_, err = s.Exchange(ctx, a, url.Values{"code": {"code-5qNz9Pke"}, "state": {"other"}})
			see(err)
			see(s)
		}},
		{"file", []string{"token-3bGx7Myd"}, func(ctx context.Context, client *http.Client, see func(any)) {
			path := filepath.Join(dir, "token")
			for _, text := range []string{"token-3bGx7Myd", "token-3bGx7Myd and more", "eyJ.token-3bGx7Myd"} {
				if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
					panic(err)
				}
				kept(func(*http.Client) renew.Source { return &file.Source{Path: path} }, at)(ctx, client, see)
			}
		}},
		{"exec", []string{"token-9sJd4Vha", "variable-2kOw6Ytc"}, func(ctx context.Context, client *http.Client, see func(any)) {
			if client.Transport.(parrot).mood != "401" {
				return // a command does not ask a server
			}
			for format, out := range map[exec.Format][]string{
				exec.Text:       {"token-9sJd4Vha", "token-9sJd4Vha and more"},
				exec.JSON:       {`{"access_token":"token-9sJd4Vha"}`, `{"access_token":["token-9sJd4Vha"]}`},
				exec.Kubernetes: {`{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"token-9sJd4Vha"}}`, `{"kind":"token-9sJd4Vha"}`},
				exec.AWS:        {`{"Version":1,"AccessKeyId":"A","SecretAccessKey":"token-9sJd4Vha","SessionToken":"token-9sJd4Vha"}`, `{"Version":"token-9sJd4Vha"}`},
			} {
				for _, text := range append(out, "") { // without a text it fails
					kept(func(*http.Client) renew.Source {
						return &exec.Source{Args: []string{os.Args[0]}, Format: format, SecretEnv: map[string]renew.Secret{commandPrints: secret(text), "SECRET": secret("variable-2kOw6Ytc")}}
					}, at)(ctx, client, see)
				}
			}
		}},
		{"toopher", []string{"secret-1nQz6Rvt", "otp-58203947", "request-5mLy0Swg"}, func(ctx context.Context, client *http.Client, see func(any)) {
			c := &toopher.Client{Key: "key", Secret: secret("secret-1nQz6Rvt"), BaseURL: at, HTTPClient: client}
			_, err := c.Pair(ctx, "awkward turtle", "kim")
			see(err)
			_, err = c.Authenticate(ctx, "pairing", "terminal")
			see(err)
			_, err = c.AuthenticateWithOTP(ctx, "request", "otp-58203947")
			see(err)
			_, err = c.AuthenticationStatus(ctx, "request")
			see(err)
			see(c.SetUserEnabled(ctx, "kim", false))
			_, err = c.Raw(ctx, "POST", "/pairings/create", toopher.OTP("otp-58203947"))
			see(err)
			f := &toopher.Iframe{Client: c}
			_, err = f.Postback(url.Values{"session_token": {"request-5mLy0Swg"}, "toopher_sig": {"AAAA"}}, "request-5mLy0Swg")
			see(err)
			see(f)
			see(c)
		}},
	}
}

// R30: no secret of any system is in what a program could print, whatever a server makes of what it is sent.
func TestR30_NoSystemShowsItsSecrets(t *testing.T) {
	looked := make(map[string]int)
	for _, c := range canaries(t) {
		for _, p := range parrots {
			t.Run(c.name+"/"+p.mood, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
					defer cancel()
					client := &http.Client{Transport: p}
					c.use(ctx, client, func(v any) {
						if v == nil {
							return
						}
						looked[c.name]++
						leaktest.Check(t, v, c.secrets...)
					})
				})
			})
		}
	}
	for _, c := range canaries(t) {
		if looked[c.name] < len(parrots) {
			t.Errorf("%s: %d things were looked at, fewer than there are parrots", c.name, looked[c.name])
		}
	}
	t.Logf("things looked at: %v", looked)
}

// R30: the test above would notice: a Source that is not careful is found in each way that it says too much.
func TestR30_TheParrotsAreHeard(t *testing.T) {
	const careless = "careless-6wTb3Nkx"
	found := 0
	for _, p := range parrots {
		req, err := http.NewRequest("POST", "https://api.example/?key="+careless, strings.NewReader("secret="+careless))
		require.NoError(t, err)
		resp, err := p.RoundTrip(req)
		if err == nil {
			body, _ := io.ReadAll(resp.Body)
			err = errors.New(fmt.Sprint(resp.Header, string(body)))
		}
		for _, text := range leaktest.Texts(err) {
			if strings.Contains(text, careless) {
				found++
				break
			}
		}
	}
	if found != len(parrots) {
		t.Errorf("%d of %d parrots said the secret again", found, len(parrots))
	}
}
