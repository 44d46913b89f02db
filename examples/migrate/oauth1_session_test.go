package migrate_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/clock"
	"github.com/seed-f29168f7/renew/sources/oauth1"
)

// signed is a client whose requests to the provider are signed.
func signed(s *oauth1.Signer, origin string) *http.Client {
	return &http.Client{Transport: must(renew.NewTransport(s, renew.TransportConfig{Origins: []string{origin}}))}
}

// userSigner signs for a person who has agreed.
func userSigner() *oauth1.Signer {
	return &oauth1.Signer{
		ClientKey: "client key", ClientSecret: renew.NewSecret("client/secret"),
		Token: renew.NewSecret("token"), TokenSecret: renew.NewSecret("token+secret"),
	}
}

// flowOf is the dance with a provider.
func flowOf(p *provider, client *oauth1.Signer) *oauth1.Flow {
	return &oauth1.Flow{
		TemporaryEndpoint: p.URL + "/request_token", AuthorizationEndpoint: p.URL + "/authorize", TokenEndpoint: p.URL + "/access_token",
		Signer: client,
	}
}

// The dance with a browser that comes back. The original keeps its progress in the session, and mixes the
// temporary token with the later one; ours gives each step what it needs, and refuses a callback that answers another
// request. The credentials may be kept for good.
//
//	oauth = OAuth1Session('client key', client_secret='client/secret', callback_uri=callback)
//	oauth.fetch_request_token(base + '/request_token')
//	oauth.authorization_url(base + '/authorize', lang='en')
//	oauth.parse_authorization_response(redirect_response)
//	oauth.fetch_access_token(base + '/access_token')
//	oauth.authorized
//	oauth.post(base + '/things', data={'status': 'hello world!'})
func Example_oauth1SessionDance() {
	p := newProvider(nil)
	defer p.Close()

	ctx := context.Background()
	client := &oauth1.Signer{ClientKey: "client key", ClientSecret: renew.NewSecret("client/secret")}
	flow := flowOf(p, client)
	temporary := must(flow.TemporaryCredentials(ctx, "https://127.0.0.1/callback"))

	page := must(flow.AuthorizeURL(temporary))
	query := page.Query()
	query.Set("lang", "en") // what authorization_url takes as keywords
	page.RawQuery = query.Encode()
	fmt.Println("open", page.RequestURI())

	browser := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	redirect := must(browser.Get(page.String()))
	text(redirect)
	back := must(redirect.Location())
	verifier := must(temporary.Verifier(back))
	fmt.Println("back at", back.Host+back.Path)
	user := must(flow.TokenCredentials(ctx, temporary, verifier))
	fmt.Println("authorized:", !user.Token.IsZero(), user.Extra["user_id"].Reveal())

	session := signed(&oauth1.Signer{
		ClientKey: client.ClientKey, ClientSecret: client.ClientSecret, Token: user.Token, TokenSecret: user.Secret,
	}, p.URL)
	fmt.Println(text(must(session.PostForm(p.URL+"/things", url.Values{"status": {"hello world!"}}))))
	// Output:
	// open /authorize?lang=en&oauth_token=temporary
	// back at 127.0.0.1/callback
	// authorized: true 42
	// POST header HMAC-SHA1 token=access
}

// The dance with a verifier that the person types in, as the workflow of the OAuth1 helper has it. Parsing replies is the
// Flow's, not the caller's.
//
//	r = requests.post(base + '/request_token', auth=OAuth1('client key', client_secret='client/secret'))
//	credentials = parse_qs(r.content)
//	verifier = input('Please input the verifier')
//	oauth = OAuth1('client key', 'client/secret', resource_owner_key, resource_owner_secret, verifier=verifier)
//	r = requests.post(base + '/access_token', auth=oauth)
func Example_oauth1SessionVerifier() {
	p := newProvider(nil)
	defer p.Close()

	ctx := context.Background()
	flow := flowOf(p, &oauth1.Signer{ClientKey: "client key", ClientSecret: renew.NewSecret("client/secret")})
	temporary := must(flow.TemporaryCredentials(ctx, oauth1.OutOfBand))
	fmt.Println("Please go here and authorize,", must(flow.AuthorizeURL(temporary)).RequestURI())
	user := must(flow.TokenCredentials(ctx, temporary, renew.NewSecret("verifier")))
	fmt.Println(user.Token, user.Secret.Reveal())
	// Output:
	// Please go here and authorize, /authorize?oauth_token=temporary
	// [redacted] access secret
}

// signature_type.
//
//	requests.get(url, auth=OAuth1(..., signature_type='auth_header'))
//	requests.get(url, auth=OAuth1(..., signature_type='query'))
//	requests.post(url, auth=OAuth1(..., signature_type='body'))
//	requests.post(url, data={'a': 'b c'}, auth=OAuth1(..., signature_type='body'))
func Example_oauth1SessionSignatureType() {
	p := newProvider(nil)
	defer p.Close()

	for _, placement := range []oauth1.Placement{oauth1.Header, oauth1.Query, oauth1.Body} {
		s := userSigner()
		s.Placement = placement
		client := signed(s, p.URL)
		if placement != oauth1.Body {
			fmt.Println(text(must(client.Get(p.URL + "/things?x=y+z&x=a"))))
			continue
		}
		fmt.Println(text(must(client.Post(p.URL+"/things", "", nil))))
		fmt.Println(text(must(client.PostForm(p.URL+"/things", url.Values{"a": {"b c"}}))))
		_, err := client.Get(p.URL + "/things")
		e, _ := errors.AsType[*renew.IssueError](err)
		fmt.Println(e.Err)
	}
	// Output:
	// GET header HMAC-SHA1 token=token
	// GET query HMAC-SHA1 token=token
	// POST body HMAC-SHA1 token=token
	// POST body HMAC-SHA1 token=token
	// Placement is Body, and the request has no form to take the parameters: send a form, or set Placement to Header
}

// signature_method, with secrets. PLAINTEXT wants https, or this machine, or Signer.AllowPlaintext.
//
//	OAuth1(..., signature_method='HMAC-SHA1')  # SIGNATURE_HMAC, the default
//	OAuth1(..., signature_method=SIGNATURE_HMAC_SHA256)
//	OAuth1(..., signature_method=SIGNATURE_HMAC_SHA512)
//	OAuth1(..., signature_method='PLAINTEXT')
func Example_oauth1SessionSignatureMethod() {
	p := newProvider(nil)
	defer p.Close()

	for _, method := range []oauth1.Method{oauth1.HMACSHA1, oauth1.HMACSHA256, oauth1.HMACSHA512, oauth1.Plaintext} {
		s := userSigner()
		s.Method = method
		fmt.Println(text(must(signed(s, p.URL).Get(p.URL + "/things"))))
	}
	s := userSigner()
	s.Method = oauth1.Plaintext
	_, err := s.Authenticate(must(http.NewRequest(http.MethodGet, "http://api.example/", nil)))
	fmt.Println(err != nil)
	// Output:
	// GET header HMAC-SHA1 token=token
	// GET header HMAC-SHA256 token=token
	// GET header HMAC-SHA512 token=token
	// GET header PLAINTEXT token=token
	// true
}

// RSA, with the key as text, or as a crypto.Signer that keeps it elsewhere (oauth1.NewKey).
//
//	key = open('your_rsa_key.pem').read()
//	OAuth1('client key', signature_method=SIGNATURE_RSA, rsa_key=key, signature_type='query')
//	OAuth1('client key', signature_method=SIGNATURE_RSA, rsa_key=key, signature_type='auth_header')
//	OAuth1('client key', signature_method=SIGNATURE_RSA, rsa_key=key, signature_type='body')
func Example_oauth1SessionRSA() {
	p := newProvider(&negzKey().PublicKey)
	defer p.Close()

	key := must(oauth1.ParseKey(renew.NewSecret(negzPEM())))
	for _, s := range []*oauth1.Signer{
		{Method: oauth1.RSASHA1, Placement: oauth1.Query},
		{Method: oauth1.RSASHA1},
		{Method: oauth1.RSASHA1, Placement: oauth1.Body},
		{Method: oauth1.RSASHA256},
		{Method: oauth1.RSASHA512},
	} {
		s.ClientKey, s.PrivateKey = "client key", key
		fmt.Println(text(must(signed(s, p.URL).PostForm(p.URL+"/things", url.Values{"a": {"b"}}))))
	}
	// Output:
	// POST query RSA-SHA1
	// POST header RSA-SHA1
	// POST body RSA-SHA1
	// POST header RSA-SHA256
	// POST header RSA-SHA512
}

// The other options. Two-legged requests have no token. force_include_body is BodyHash. realm is for the
// one step that wants it, so that step has a Signer of its own. nonce and timestamp are for tests. encoding and decoding have no
// place: texts are UTF-8, and headers are text. client_class is a subclass of the signing; ours is any renew.Authenticator, and
// credentials that change come from TokenFunc.
//
//	OAuth1('client key', 'client/secret')
//	OAuth1(..., force_include_body=True)
//	oauth.fetch_request_token(url, realm=['photos', 'videos'])
//	OAuth1(..., nonce='abc', timestamp='1400000000')
//	OAuth1(..., client_class=Mine)
func Example_oauth1SessionOptions() {
	p := newProvider(nil)
	defer p.Close()

	twoLegged := userSigner()
	twoLegged.Token, twoLegged.TokenSecret = renew.Secret{}, renew.Secret{}
	fmt.Println(text(must(signed(twoLegged, p.URL).Get(p.URL + "/things"))))

	hashed := userSigner()
	hashed.BodyHash = oauth1.BodyHashSHA1
	fmt.Println(text(must(signed(hashed, p.URL).Post(p.URL+"/things", "application/json", strings.NewReader(`{"a":"b"}`)))))

	realm := userSigner()
	realm.Realm = "photos videos"
	fmt.Println(text(must(signed(realm, p.URL).Get(p.URL + "/things"))))

	fixed := userSigner()
	fixed.Nonce, fixed.Clock = func() string { return "abc" }, clock.NewFake(time.Unix(1400000000, 0))
	fmt.Println(text(must(signed(fixed, p.URL).Get(p.URL + "/things"))))

	changing := userSigner()
	changing.Token, changing.TokenSecret = renew.Secret{}, renew.Secret{}
	changing.TokenFunc = func(context.Context) (oauth1.Credentials, error) {
		return oauth1.Credentials{Token: renew.NewSecret("token"), Secret: renew.NewSecret("token+secret")}, nil
	}
	fmt.Println(text(must(signed(changing, p.URL).Get(p.URL + "/things"))))
	// Output:
	// GET header HMAC-SHA1
	// POST header HMAC-SHA1 token=token body hash right=true
	// GET header HMAC-SHA1 token=token realm=photos videos
	// GET header HMAC-SHA1 token=token nonce=abc timestamp=1400000000
	// GET header HMAC-SHA1 token=token
}

// Redirects, and refusals. Both sign each hop anew; ours only within the origins that it was given. The original hands a
// 401 back; ours signs once more, for a nonce that was used or a clock that is off, at most 4 times in 10
// minutes. A body that can be read only once is sent once, as the original sends it.
//
//	session.get(base + '/moved')  # rebuild_auth
func Example_oauth1SessionRedirects() {
	p := newProvider(nil)
	defer p.Close()

	session := signed(userSigner(), p.URL)
	fmt.Println(text(must(session.Get(p.URL + "/moved"))))
	p.refuse = 1
	fmt.Println(text(must(session.Get(p.URL + "/things"))))
	p.refuse = 2
	resp := must(session.Get(p.URL + "/things"))
	fmt.Println(resp.StatusCode, text(resp))

	once := struct{ *bytes.Buffer }{bytes.NewBufferString("a stream")}
	fmt.Println(text(must(session.Post(p.URL+"/things", "application/octet-stream", once))))
	// Output:
	// GET header HMAC-SHA1 token=token
	// GET header HMAC-SHA1 token=token
	// 401 not now
	// POST header HMAC-SHA1 token=token
}

// Errors of the dance. The text of the original's TokenRequestDenied has the whole reply in it, which may hold secrets; its debug
// log has the tokens. Three things the original lets pass, and ours does not: a server that does not
// confirm the callback (it speaks the protocol before revision A, by which an attacker can have a victim approve
// the attacker's request), a callback for another request, and a reply that is JSON instead of a form.
//
//	except TokenRequestDenied as e: e.status_code
//	except TokenMissing: ...     # no token in the reply or the callback
//	except VerifierMissing: ...  # fetch_access_token without a verifier
func Example_oauth1SessionErrors() {
	p := newProvider(nil)
	defer p.Close()

	ctx := context.Background()
	client := &oauth1.Signer{ClientKey: "client key", ClientSecret: renew.NewSecret("client/secret")}
	show := func(_ any, err error) {
		e, _ := errors.AsType[*renew.IssueError](err)
		fmt.Println(e.Status, e.Kind, e.Err)
	}
	wrong := &oauth1.Signer{ClientKey: "client key", ClientSecret: renew.NewSecret("another")}
	show(flowOf(p, wrong).TemporaryCredentials(ctx, oauth1.OutOfBand))

	flow := flowOf(p, client)
	temporary := must(flow.TemporaryCredentials(ctx, oauth1.OutOfBand))
	show(flow.TokenCredentials(ctx, temporary, renew.Secret{}))
	show(temporary.Verifier(must(url.Parse("https://127.0.0.1/callback?oauth_verifier=verifier"))))
	show(temporary.Verifier(must(url.Parse("https://127.0.0.1/callback?oauth_token=temporary&denied=true"))))
	show(temporary.Verifier(must(url.Parse("https://127.0.0.1/callback?oauth_token=another&oauth_verifier=verifier"))))

	p.granted = `{"oauth_token": "access", "oauth_token_secret": "access secret"}`
	show(flow.TokenCredentials(ctx, temporary, renew.NewSecret("verifier")))
	p.confirmed = ""
	show(flow.TemporaryCredentials(ctx, oauth1.OutOfBand))
	// Output:
	// 401 refused the server refuses the signature or the credentials: check the client's key and secret, the Method, and this host's clock; a verifier works once
	// 0 invalid the verifier is empty: it comes with the callback, or the person reads it from the server's page
	// 0 invalid the callback is not for these temporary credentials: it answers another request
	// 0 refused the callback has no oauth_verifier: the person did not agree
	// 0 invalid the callback is not for these temporary credentials: it answers another request
	// 200 transient the reply is not in the protocol's form: it has no oauth_token
	// 200 invalid the reply has no oauth_callback_confirmed=true: the server speaks OAuth 1.0 without revision A, which is not safe
}
