package toophertest_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/sources/oauth1"
	"github.com/seed-f29168f7/renew/sources/toopher/toophertest"
)

// post sends a form, signed unless the signer is nil, and returns status and body.
func post(t *testing.T, s *toophertest.Service, signer *oauth1.Signer, method, path, form string) (int, string) {
	t.Helper()
	var body io.Reader
	if method == http.MethodPost {
		body = strings.NewReader(form)
	}
	r, err := http.NewRequestWithContext(t.Context(), method, "http://toopher.test/v1"+path, body)
	if err != nil {
		t.Fatal(err)
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if signer != nil {
		if _, err := signer.Authenticate(r); err != nil {
			t.Fatal(err)
		}
	}
	if r.Body == nil {
		r.Body = http.NoBody
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

func TestService(t *testing.T) {
	s := toophertest.New("key", "secret")
	signer := &oauth1.Signer{ClientKey: "key", ClientSecret: renew.NewSecret("secret")}
	for _, tt := range []struct {
		method, path, form string
		status             int
		text               string
	}{
		{"POST", "/pairings/create", "pairing_phrase=otter&user_name=kim", 200, `"pending":true`},
		{"POST", "/pairings/create", "pairing_phrase=otter", 400, "user_name"},
		{"POST", "/pairings/create", "pairing_phrase=&user_name=kim", 400, "pairing_phrase"},
		{"POST", "/pairings/create", "pairing_phrase=a&user_name=kim&user_name=eve", 400, "twice"},
		{"POST", "/pairings/create/sms", "phone_number=1", 400, "user_name"},
		{"POST", "/authentication_requests/initiate", "user_name=kim", 400, "terminal_name_extra"},
		{"POST", "/authentication_requests/initiate", "user_name=kim&terminal_name_extra=x", 409, "601"},
		{"POST", "/authentication_requests/initiate", "user_name=eve&terminal_name_extra=x", 409, "705"},
		{"POST", "/authentication_requests/nothing/otp_auth", "otp=1", 404, "404"},
		{"POST", "/user_terminals/create", "user_name=eve&name=pc&name_extra=x", 409, "705"},
		{"POST", "/user_terminals/create", "user_name=eve&name=pc", 400, "name_extra"},
		{"POST", "/users/nobody", "disable_toopher_auth=true", 404, "404"},
		{"GET", "/users", "", 400, "name"},
		{"GET", "/users?name=nobody", "", 200, "[]"},
		{"GET", "/pairings/nothing", "", 404, "404"},
		{"GET", "/elsewhere", "", 404, "404"},
		{"PUT", "/pairings/create", "", 404, "404"},
	} {
		status, text := post(t, s, signer, tt.method, tt.path, tt.form)
		if status != tt.status || !strings.Contains(text, tt.text) {
			t.Errorf("%s %s %s: %d %s, want %d %s", tt.method, tt.path, tt.form, status, text, tt.status, tt.text)
		}
	}
	before := s.Counts()
	if before.Requests != 17 || before.Signed != 17 || before.Refused != 0 || before.Pairings != 1 || before.Errors[705] != 2 || before.Errors[400] != 7 {
		t.Errorf("counts = %+v", before)
	}
	if status, text := post(t, s, nil, "GET", "/users?name=kim", ""); status != 401 || !strings.Contains(text, "Not a valid OAuth signed request") {
		t.Errorf("unsigned: %d %s", status, text)
	}
	if status, _ := post(t, s, &oauth1.Signer{ClientKey: "key", ClientSecret: renew.NewSecret("other")}, "GET", "/users?name=kim", ""); status != 401 {
		t.Errorf("another secret: %d", status)
	}
	if n := s.Counts(); n.Refused != 2 || n.Requests != 19 {
		t.Errorf("counts = %+v", n)
	}
	before.Errors[705] = 99
	if s.Counts().Errors[705] != 2 {
		t.Error("Counts are not a copy")
	}
	// A Failure is given to the next signed request, and to that one only.
	s.Fail(toophertest.Failure{Status: 503, ContentType: "text/html", RetryAfter: "7", Body: "away"})
	if status, _ := post(t, s, nil, "GET", "/users?name=kim", ""); status != 401 {
		t.Errorf("unsigned, with a failure waiting: %d", status)
	}
	if status, text := post(t, s, signer, "GET", "/users?name=kim", ""); status != 503 || text != "away" {
		t.Errorf("failure: %d %s", status, text)
	}
	if status, _ := post(t, s, signer, "GET", "/users?name=kim", ""); status != 200 || s.Counts().Failures != 1 {
		t.Errorf("after the failure: %d", status)
	}
	if s.Answer("nothing", toophertest.Decision{Grant: true}) || s.Deactivate("nothing") {
		t.Error("what is not there was answered")
	}
}

func TestBodiesThatAreNoForms(t *testing.T) {
	s := toophertest.New("key", "secret")
	signer := &oauth1.Signer{ClientKey: "key", ClientSecret: renew.NewSecret("secret")}
	r, err := http.NewRequestWithContext(t.Context(), "POST", "http://toopher.test/v1/pairings/create", strings.NewReader(`{"user_name": "kim"}`))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	if _, err := signer.Authenticate(r); err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	if w.Code != 401 {
		t.Errorf("status = %d: the signature does not cover such a body", w.Code)
	}
}

func TestAutomated(t *testing.T) {
	for extra, want := range map[string]string{"": `"granted":true`, "&automation_allowed=false": `"granted":false`} {
		s := toophertest.New("key", "secret")
		signer := &oauth1.Signer{ClientKey: "key", ClientSecret: renew.NewSecret("secret")}
		_, text := post(t, s, signer, "POST", "/pairings/create", "pairing_phrase=otter&user_name=kim")
		_, rest, _ := strings.Cut(text, `"id":"`)
		id, _, _ := strings.Cut(rest, `"`)
		s.Script(toophertest.Decision{Grant: true, Automated: true, Reason: "Automated by location"})
		if !s.Answer(id, toophertest.Decision{Grant: true}) || s.Answer(id, toophertest.Decision{}) {
			t.Error("a pairing is answered once")
		}
		if status, text := post(t, s, signer, "POST", "/authentication_requests/initiate", "pairing_id="+id+"&terminal_name=pc"+extra); status != 200 || !strings.Contains(text, want) {
			t.Errorf("%q: %d %s, want %s", extra, status, text, want)
		}
	}
}
