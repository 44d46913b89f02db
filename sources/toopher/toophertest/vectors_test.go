package toophertest

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/seed-f29168f7/renew/clock"
	"github.com/seed-f29168f7/renew/sources/toopher/internal/vectors"
)

func requestOf(v vectors.Request) (m message, body string) {
	if v.Body != nil {
		body = *v.Body
	}
	m = message{method: v.Method, form: body, authorization: v.OAuth.Authorization}
	m.url, _, _ = strings.Cut(v.URL, "?")
	if v.Query != nil {
		m.query = *v.Query
	}
	return m, body
}

func TestVectorSignatures(t *testing.T) {
	f, ran := vectors.Load(t, "../testdata/toopher.json"), 0
	for _, v := range f.Endpoints {
		ran++
		t.Run(v.ID, func(t *testing.T) {
			o := v.Request.OAuth
			secret := func(key string) (string, bool) { return o.ConsumerSecret, key == o.ConsumerKey }
			m, _ := requestOf(v.Request)
			header, err := readHeader(m.authorization)
			if err != nil {
				t.Fatal(err)
			}
			if base, err := baseString(m, header); err != nil || base != o.BaseString {
				t.Errorf("base string = %s, %v, want %s", base, err, o.BaseString)
			}
			got, err := verify(m, secret)
			if err != nil || !maps.Equal(got, oauth(o.Params)) {
				t.Errorf("verify = %v, %v", got, err)
			}
			for name, change := range map[string]func(*message){
				"method": func(m *message) { m.method = "PUT" },
				"path":   func(m *message) { m.url += "x" },
				"host":   func(m *message) { m.url = strings.Replace(m.url, "api.", "apl.", 1) },
				"scheme": func(m *message) { m.url = strings.Replace(m.url, "https", "http", 1) },
				"query":  func(m *message) { m.query += "&a=b" },
				"form":   func(m *message) { m.form += "&a=" },
				"nonce":  func(m *message) { m.authorization = strings.Replace(m.authorization, o.Nonce, o.Nonce+"0", 1) },
				"signature": func(m *message) {
					m.authorization = strings.Replace(m.authorization, `oauth_signature="`, `oauth_signature="A`, 1)
				},
				"none":     func(m *message) { m.authorization = "" },
				"token":    func(m *message) { m.authorization += `, oauth_token="t"` },
				"twice":    func(m *message) { m.authorization += `, oauth_version="1.0"` },
				"in query": func(m *message) { m.query += "&oauth_nonce=x" },
			} {
				changed := m
				change(&changed)
				if changed == m {
					t.Fatalf("the change of the %s changes nothing", name)
				}
				if _, err := verify(changed, secret); err == nil {
					t.Errorf("a request with another %s is accepted", name)
				}
			}
			if _, err := verify(m, func(string) (string, bool) { return o.ConsumerSecret + "x", true }); err == nil {
				t.Error("another secret is accepted")
			}
		})
	}
	vectors.Ran(t, "endpoints (signatures judged by the service)", ran, len(f.Endpoints))
}

// Each request of the vectors gets past the signature of the whole service, and those that it serves
// get a reply of the same form as the vector's.
func TestVectorRequestsAreServed(t *testing.T) {
	f, ran, served := vectors.Load(t, "../testdata/toopher.json"), 0, 0
	for _, v := range f.Endpoints {
		ran++
		t.Run(v.ID, func(t *testing.T) {
			o := v.Request.OAuth
			seconds, err := strconv.ParseInt(o.Timestamp, 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			s := New(o.ConsumerKey, o.ConsumerSecret)
			s.Scheme, s.Clock = "https", clock.NewFake(time.Unix(seconds, 0))
			s.furnish()
			send := func() *httptest.ResponseRecorder {
				_, body := requestOf(v.Request)
				r := httptest.NewRequest(v.Request.Method, v.URL(), strings.NewReader(body))
				r.Header.Set("Authorization", o.Authorization)
				if body != "" {
					r.Header.Set("Content-Type", v.Request.Headers["Content-Type"])
				}
				w := httptest.NewRecorder()
				s.ServeHTTP(w, r)
				return w
			}
			w := send()
			c := s.Counts()
			if c.Requests != 1 || c.Signed != 1 || c.Refused != 0 {
				t.Errorf("counts = %+v, want one signed request", c)
			}
			switch {
			case w.Code == http.StatusOK:
				served++
				checkForm(t, v, w.Body.Bytes())
			case v.SeedRequired:
				t.Errorf("status = %d %s, want 200", w.Code, w.Body)
			case w.Code != 404 && w.Code != 400 && w.Code != 409:
				t.Errorf("status = %d", w.Code)
			}
			if again := send(); again.Code != 401 || s.Counts().Refused != 1 {
				t.Errorf("the same nonce again: status %d, want 401", again.Code)
			}
		})
	}
	vectors.Ran(t, "endpoints (requests sent to the service)", ran, len(f.Endpoints))
	t.Logf("requests that the service answered with 200: %d", served)
	if served < 22 {
		t.Errorf("served = %d of the vectors, want 22 at least", served)
	}
}

// furnish makes what the vectors speak of.
func (s *Service) furnish() {
	u := s.user("kim@example.test")
	u.id = "7d1c9a02-3b55-4f0e-9d53-0a6c3f1e2b10"
	s.users["kim+a@example.test"] = &user{id: "other", name: "kim+a@example.test"}
	u.pairing = &pairing{id: "0b6f4c1e-52d3-4a53-8c0a-6f2f2f9b7d31", user: u, enabled: true}
	s.pairings[u.pairing.id] = u.pairing
	terminal := u.terminal("Kim’s laptop", "cookie-8f2a")
	s.requests["c3a0e5d4-9a0f-4f0b-8f44-5c1de0a7b9e2"] = &request{id: "c3a0e5d4-9a0f-4f0b-8f44-5c1de0a7b9e2", pairing: u.pairing, terminal: terminal, pending: true, action: "Log in"}
}

// checkForm compares the names and JSON types of a reply with the vector's: what the service has, and whatever the
// vectors of that version have.
func checkForm(t *testing.T, v vectors.Endpoint, body []byte) {
	t.Helper()
	var got, want any
	if err := json.Unmarshal(body, &got); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(v.Response.JSON, &want); err != nil {
		t.Fatal(err)
	}
	// Fields that came later, or not in every reply.
	optional := []string{"requester_specified_id", "user", "reason_code", "toopher_authentication_enabled", "some_future_field", "pending", "name_extra", "disable_toopher_auth"}
	var same func(path string, want, got any)
	same = func(path string, want, got any) {
		switch want := want.(type) {
		case map[string]any:
			got, ok := got.(map[string]any)
			if !ok {
				t.Errorf("%s is a %T, want an object", path, got)
				return
			}
			for name, value := range want {
				if _, ok := got[name]; !ok && slices.Contains(optional, name) {
					continue
				}
				same(path+"."+name, value, got[name])
			}
		case []any:
			got, ok := got.([]any)
			if !ok || len(got) != len(want) {
				t.Errorf("%s = %v, want %v", path, got, want)
				return
			}
			for i := range want {
				same(path, want[i], got[i])
			}
		case string:
			if _, ok := got.(string); !ok {
				t.Errorf("%s is a %T, want a string", path, got)
			}
		case bool:
			if _, ok := got.(bool); !ok {
				t.Errorf("%s is a %T, want a bool", path, got)
			}
		}
	}
	same(v.ID, want, got)
}

func FuzzVerify(f *testing.F) {
	for _, v := range vectors.Load(f, "../testdata/toopher.json").Endpoints {
		m, body := requestOf(v.Request)
		f.Add(m.authorization, m.query, body)
	}
	secret := func(key string) (string, bool) { return "requester-secret-9LmW", key == "requester-key-7Q2x" }
	f.Fuzz(func(t *testing.T, authorization, query, form string) {
		m := message{method: "POST", url: "https://api.toopher.com/v1/x", query: query, form: form, authorization: authorization}
		if params, err := verify(m, secret); err == nil {
			for _, name := range wanted {
				if params[name] == "" {
					t.Errorf("accepted without %s", name)
				}
			}
		}
	})
}
