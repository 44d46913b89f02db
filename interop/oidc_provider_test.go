package interop

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// oidcFolder names the folder that has the npm package oidc-provider in its node_modules: what
// npm ci makes of testdata/oidc/package.json and package-lock.json.
const oidcFolder = "RENEW_OIDC_PROVIDER"

// oidcConfig is what provider.mjs is told; the words are explained there.
type oidcConfig struct {
	Clients        []map[string]any `json:"clients"`
	AccessTokenTTL int              `json:"accessTokenTTL"`
	Interval       int              `json:"interval"`
	SlowDowns      int              `json:"slowDowns"`
	Latency        int              `json:"latency"`
	Deny           bool             `json:"deny"`
}

// oidcProvider is a running provider.
type oidcProvider struct{ issuer string }

// inspector is the client that asks about the tokens of others.
var inspector = map[string]any{
	"client_id": "inspector", "client_secret": "introspects", "grant_types": []string{"client_credentials"},
	"redirect_uris": []string{}, "response_types": []string{},
}

// newOIDCProvider starts a provider, and ends it with the test. Where Node.js or the package is missing, the test is skipped, but not in CI.
func newOIDCProvider(t *testing.T, cfg oidcConfig) *oidcProvider {
	t.Helper()
	node, err := exec.LookPath("node")
	if err != nil {
		missing(t, "node is not installed: it comes with the package nodejs")
	}
	folder := os.Getenv(oidcFolder)
	var want struct{ Dependencies map[string]string }
	readJSON(t, filepath.Join("testdata", "oidc", "package.json"), &want)
	pinned := want.Dependencies["oidc-provider"]
	if folder == "" {
		missing(t, "the npm package oidc-provider %s is missing: run npm ci in a copy of testdata/oidc, and set %s to that folder", pinned, oidcFolder)
	}
	installed := filepath.Join(folder, "node_modules", "oidc-provider", "package.json")
	if _, err := os.Stat(installed); err != nil {
		missing(t, "the npm package oidc-provider %s is missing in the folder that %s names: %v", pinned, oidcFolder, err)
	}
	var has struct{ Version string }
	readJSON(t, installed, &has)
	if has.Version != pinned || pinned == "" {
		t.Fatalf("oidc-provider is %q, and testdata/oidc/package.json wants %q: run npm ci", has.Version, pinned)
	}

	cfg.Clients = append(cfg.Clients, inspector)
	if cfg.Latency == 0 {
		cfg.Latency = int(latency.Milliseconds())
	}
	if cfg.Interval == 0 {
		cfg.Interval = 1
	}
	text, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(node, filepath.Join("testdata", "oidc", "provider.mjs"), folder, string(text))
	var stderr bytes.Buffer // read after Wait
	cmd.Stderr = &stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// A provider that hangs is killed: then its output ends.
	hung := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
	line, err := bufio.NewReader(stdout).ReadString('\n')
	hung.Stop()
	issuer, ok := strings.CutPrefix(strings.TrimSpace(line), "listening at ")
	t.Cleanup(func() {
		hung.Reset(10 * time.Second)
		_ = stdin.Close() // it ends by that
		err := cmd.Wait()
		if !hung.Stop() || err != nil {
			t.Errorf("the provider ended with %v", err)
		}
		if t.Failed() {
			t.Logf("the provider wrote: %s", stderr.Bytes())
		}
	})
	if !ok {
		t.Fatalf("the provider does not listen: %q, %v", line, err)
	}
	return &oidcProvider{issuer: issuer}
}

func readJSON(t *testing.T, path string, into any) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(text, into)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// server is the provider as the load of the other tests wants it.
func (p *oidcProvider) server() *server { return &server{Server: &httptest.Server{URL: p.issuer}} }

// oidcCount is what the provider has counted; the words are explained in provider.mjs.
type oidcCount struct {
	TokenRequests        int            `json:"tokenRequests"`
	ByGrant              map[string]int `json:"byGrant"`
	ByClientAuth         map[string]int `json:"byClientAuth"`
	Errors               map[string]int `json:"errors"`
	Reasons              map[string]int `json:"reasons"`
	MostInFlight         int            `json:"mostInFlight"`
	GrantsRevoked        int            `json:"grantsRevoked"`
	AccessTokens         int            `json:"accessTokens"`
	EarlyPolls           int            `json:"earlyPolls"`
	DeviceAuthorizations int            `json:"deviceAuthorizations"`
	Discoveries          int            `json:"discoveries"`
	Revocations          int            `json:"revocations"`
	Introspections       int            `json:"introspections"`
	Logins               int            `json:"logins"`
	APIRequests          int            `json:"apiRequests"`
	APIFailed            int            `json:"apiFailed"`
	API401               int            `json:"api401"`
	ServerErrors         int            `json:"serverErrors"`
}

// The provider's own words for what the tests look for.
const (
	refreshTokenReused = "refresh token already used"
	assertionReused    = "client assertion tokens must only be used once"
)

// String is the line that the tests log.
func (c oidcCount) String() string {
	return fmt.Sprintf("oidc-provider: server: %d token requests, at most %d in flight, %d refresh tokens used twice, %d grants revoked, %d API requests, %d failed"+
		" (tokens by grant %v and by client authentication %v; refused %v; %d logins, %d revocations, %d introspections, %d metadata documents, %d answers 401 of the API)",
		c.TokenRequests, c.MostInFlight, c.Reasons[refreshTokenReused], c.GrantsRevoked, c.APIRequests, c.APIFailed,
		c.ByGrant, c.ByClientAuth, c.Errors, c.Logins, c.Revocations, c.Introspections, c.Discoveries, c.API401)
}

// refused is how many token requests were not answered with a token.
func (c oidcCount) refused() (n int) {
	for _, errors := range c.Errors {
		n += errors
	}
	return n
}

// read asks the provider for its books.
func (p *oidcProvider) read(ctx context.Context) (c oidcCount, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.issuer+"/count", nil)
	if err != nil {
		return c, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return c, err
	}
	defer resp.Body.Close()
	d := json.NewDecoder(resp.Body)
	d.DisallowUnknownFields()
	return c, d.Decode(&c)
}

// count reads the books, and wants no error of the provider's own in them.
func (p *oidcProvider) count(t *testing.T) oidcCount {
	t.Helper()
	c, err := p.read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if c.ServerErrors != 0 {
		t.Errorf("the provider had %d errors of its own", c.ServerErrors)
	}
	return c
}

// post sends a form by hand and not through renew, and returns the reply's members.
func (p *oidcProvider) post(ctx context.Context, path, user, password string, form url.Values) (status int, reply map[string]any, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.issuer+path, strings.NewReader(form.Encode()))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if user != "" {
		req.SetBasicAuth(url.QueryEscape(user), url.QueryEscape(password))
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err == nil && len(body) > 0 {
		err = json.Unmarshal(body, &reply)
	}
	return resp.StatusCode, reply, err
}

// active asks the provider's introspection endpoint (RFC 7662) about a token.
func (p *oidcProvider) active(t *testing.T, token string) bool {
	t.Helper()
	status, reply, err := p.post(t.Context(), "/token/introspection", "inspector", "introspects", url.Values{"token": {token}})
	active, ok := reply["active"].(bool)
	if err != nil || status != http.StatusOK || !ok {
		t.Fatalf("introspection: status %d, %v", status, err)
	}
	return active
}

// end ends an access token and leaves its grant alone.
func (p *oidcProvider) end(ctx context.Context, token string) error {
	status, _, err := p.post(ctx, "/end", "", "", url.Values{"token": {token}})
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("status %d", status)
	}
	return err
}

// browse does what a browser does with a URL: it follows redirects, keeps cookies and submits the forms that scripts or
// a click on the one button would. The person at the other side of it is in provider.mjs. It returns the last page; or, where a
// redirect leads to stop, that URL.
func browse(ctx context.Context, at, stop string) (page string, stopped *url.URL, err error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return "", nil, err
	}
	c := &http.Client{Jar: jar, Timeout: time.Minute, CheckRedirect: func(req *http.Request, via []*http.Request) error {
		if stop != "" && strings.HasPrefix(req.URL.String(), stop) {
			return http.ErrUseLastResponse
		}
		if len(via) > 20 {
			return errors.New("too many redirects")
		}
		return nil
	}}
	var form url.Values
	for range 10 {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
		if form != nil {
			req, err = http.NewRequestWithContext(ctx, http.MethodPost, at, strings.NewReader(form.Encode()))
		}
		if err != nil {
			return "", nil, err
		}
		if form != nil {
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		resp, err := c.Do(req)
		if err != nil {
			return "", nil, err
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			return "", nil, err
		}
		if resp.StatusCode/100 == 3 {
			to, err := resp.Location()
			return "", to, err
		}
		if at, form = findForm(resp.Request.URL, string(body)); form == nil {
			if resp.StatusCode != http.StatusOK {
				return "", nil, fmt.Errorf("the browser ends at a page with status %d: %s", resp.StatusCode, body)
			}
			return string(body), nil, nil
		}
	}
	return "", nil, errors.New("the provider has form after form")
}

var (
	formStart = regexp.MustCompile(`<form[^>]* action="([^"]*)"`)
	formInput = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)"`)
)

// findForm returns the first form of a page with what is filled in already, or nil.
func findForm(base *url.URL, page string) (action string, form url.Values) {
	m := formStart.FindStringSubmatch(page)
	if m == nil {
		return "", nil
	}
	to, err := base.Parse(html.UnescapeString(m[1]))
	if err != nil {
		return "", nil
	}
	form = url.Values{}
	for _, input := range formInput.FindAllStringSubmatch(page, -1) {
		form.Set(html.UnescapeString(input[1]), html.UnescapeString(input[2]))
	}
	return to.String(), form
}
