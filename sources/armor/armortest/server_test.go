package armortest_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-f29168f7/renew/sources/armor/armortest"
)

// browser talks to a Server by hand.
type browser struct {
	*testing.T
	srv *armortest.Server
	c   *http.Client
}

func inBubble(t *testing.T, cfg armortest.Config, f func(b *browser)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		srv := armortest.New(cfg)
		defer srv.Close()
		jar, _ := cookiejar.New(nil)
		f(&browser{t, srv, &http.Client{Transport: srv.Client().Transport, Jar: jar}})
	})
}

// do sends a request and returns the status and the body.
func (b *browser) do(method, url, media, body string, header ...string) (int, string) {
	b.Helper()
	req, err := http.NewRequestWithContext(b.Context(), method, url, strings.NewReader(body))
	if err != nil {
		b.Fatal(err)
	}
	req.Header.Set("Content-Type", media)
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := b.c.Do(req)
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text)
}

const form = "application/x-www-form-urlencoded"

func (b *browser) form(fields ...string) string {
	v := make(url.Values)
	for i := 0; i < len(fields); i += 2 {
		v.Set(fields[i], fields[i+1])
	}
	return v.Encode()
}

// page posts to the AD FS and returns the page.
func (b *browser) page(fields ...string) string {
	b.Helper()
	_, text := b.do("POST", b.srv.LoginURL()+"?response_type=id_token&response_mode=form_post&client_id=c&redirect_uri=https%3A%2F%2Famp.armor.com%2F", form, b.form(fields...))
	return text
}

func (b *browser) login() string {
	b.Helper()
	return b.page("UserName", armortest.DefaultUsername, "Password", armortest.DefaultPassword, "AuthMethod", "FormsAuthentication")
}

// field returns the value of an input.
func field(page, name string) string {
	m := regexp.MustCompile(`name="` + name + `" value="([^"]*)"`).FindStringSubmatch(page)
	if m == nil {
		return ""
	}
	return strings.NewReplacer("&#34;", `"`, "&amp;", "&", "&#39;", "'").Replace(m[1])
}

func denied(page string) bool { return !strings.Contains(page, `<span id="errorText"></span>`) }

// The FH-AUTH calls: tokens end by reissue, by time and by Revoke, and have a scheme and accounts.
func TestTokens(t *testing.T) {
	inBubble(t, armortest.Config{Life: time.Minute}, func(b *browser) {
		post := func(path string, body map[string]string) (int, string) {
			text, _ := json.Marshal(body)
			status, reply := b.do("POST", b.srv.URL()+path, "application/json", string(text))
			var m struct {
				Code        string `json:"code"`
				AccessToken string `json:"access_token"`
			}
			_ = json.Unmarshal([]byte(reply), &m)
			return status, m.Code + m.AccessToken
		}
		login := func() string {
			_, code := post("/auth/authorize", map[string]string{"username": armortest.DefaultUsername, "password": armortest.DefaultPassword})
			_, tok := post("/auth/token", map[string]string{"code": code, "grant_type": "authorization_code"})
			return tok
		}
		call := func(scheme, tok string, header ...string) int {
			status, _ := b.do("GET", b.srv.URL()+"/x", "", "", append([]string{"Authorization", scheme + " " + tok}, header...)...)
			return status
		}
		a := login()
		_, second := post("/auth/token/reissue", map[string]string{"token": a})
		again, _ := post("/auth/token/reissue", map[string]string{"token": a})
		got := []int{call("FH-AUTH", a), call("FH-AUTH", second), call("Bearer", second), call("FH-AUTH", second, "X-Account-Context", "2000"), call("FH-AUTH", second, "X-Account-Context", "99"), again}
		if want := []int{401, 200, 401, 200, 403, 401}; !slices.Equal(got, want) {
			t.Errorf("statuses %v, want %v", got, want)
		}
		if !b.srv.Accepts(second) || b.srv.Accepts(a) {
			t.Error("Accepts says something else")
		}
		time.Sleep(time.Minute)
		c := login()
		got = []int{call("FH-AUTH", second), call("FH-AUTH", c)}
		b.srv.Revoke()
		if got = append(got, call("FH-AUTH", c)); !slices.Equal(got, []int{401, 200, 401}) {
			t.Errorf("after a minute, of another login, after Revoke: %v", got)
		}
	})
}

// The AD FS: a session, a context that works once, all hidden fields, and a pause between polls.
func TestPages(t *testing.T) {
	inBubble(t, armortest.Config{Factor: armortest.Polled, Answers: 10 * time.Second}, func(b *browser) {
		if status, _ := b.do("POST", b.srv.LoginURL()+"?response_type=id_token&response_mode=form_post&client_id=c&redirect_uri=r", "application/json", "{}"); status != 415 {
			t.Errorf("JSON: %d", status)
		}
		if _, page := b.do("GET", b.srv.LoginURL(), "", ""); field(page, "error") != "invalid_request" {
			t.Errorf("no parameters: %s", page)
		}
		if page := b.page("AuthMethod", "AzureMfaAuthentication", "Context", "x"); !strings.Contains(page, "UserName") {
			t.Errorf("no session: %s", page)
		}
		if page := b.page("UserName", "x", "Password", "y", "AuthMethod", "FormsAuthentication"); !strings.Contains(page, "UserName") || !denied(page) {
			t.Errorf("a wrong password: %s", page)
		}
		answer := func(page string) string {
			return b.page("AuthMethod", "AzureMfaAuthentication", "Context", field(page, "Context"), "__Fresh", field(page, "__Fresh"))
		}
		first := b.login()
		second := answer(first)
		if denied(second) || field(first, "Context") == field(second, "Context") || b.srv.Prompts() != 1 {
			t.Errorf("the first post: %s", second)
		}
		if page := answer(first); !denied(page) {
			t.Errorf("an old context: %s", page)
		}
		time.Sleep(5 * time.Second)
		page := b.page("AuthMethod", "AzureMfaAuthentication", "Context", field(second, "Context"))
		if !denied(page) {
			t.Errorf("a hidden field is missing: %s", page)
		}
		third := answer(b.login())
		time.Sleep(4 * time.Second)
		fourth := answer(third)
		if !denied(fourth) || b.srv.TooSoon() != 1 {
			t.Errorf("after 4 s: %s", fourth)
		}
		fifth := answer(b.login())
		time.Sleep(10 * time.Second)
		token := field(answer(fifth), "id_token")
		if token == "" || !b.srv.Accepts(token) {
			t.Error("no token in the end")
		}
		if status, _ := b.do("GET", b.srv.URL()+"/me", "", "", "Authorization", "Bearer "+token); status != 200 {
			t.Errorf("/me: %d", status)
		}
		if status, _ := b.do("POST", b.srv.URL()+"/auth/token/reissue", "application/json", fmt.Sprintf(`{"token":%q}`, token)); status != 401 {
			t.Errorf("an ID token is reissued: %d", status)
		}
		calls := b.srv.Calls()
		if b.srv.Count(armortest.Login) != 4 || calls[len(calls)-1] != "reissue" {
			t.Errorf("calls %v", calls)
		}
	})
}

// Faults are used one after the other, and end with Heal; what goes elsewhere is seen.
func TestFaults(t *testing.T) {
	inBubble(t, armortest.Config{}, func(b *browser) {
		b.srv.Fail(armortest.API, armortest.Fault{Status: 500}, 1)
		b.srv.Fail(armortest.API, armortest.Fault{Status: 429, Body: "wait"}, -1)
		var got []int
		for range 3 {
			status, _ := b.do("GET", b.srv.URL()+"/x", "", "")
			got = append(got, status)
		}
		b.srv.Heal()
		status, _ := b.do("GET", b.srv.URL()+"/x", "", "")
		if got = append(got, status); !slices.Equal(got, []int{500, 429, 429, 401}) {
			t.Errorf("statuses %v", got)
		}
		if status, _ := b.do("GET", "http://127.0.0.1:9/", "", ""); status != 418 || b.srv.Count(armortest.Foreign) != 1 {
			t.Errorf("another host: %d", status)
		}
		if status, _ := b.do("POST", b.srv.URL()+"/me", "", ""); status != 405 {
			t.Errorf("POST /me: %d", status)
		}
		if status, _ := b.do("GET", b.srv.URL()+"/auth/authorize", "", ""); status != 405 {
			t.Errorf("GET authorize: %d", status)
		}
	})
}
