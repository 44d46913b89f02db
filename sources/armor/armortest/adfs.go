package armortest

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"html"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"
)

const (
	cookieName = "MSISAuth"
	pollEvery  = 5 * time.Second
)

// session is one login at the AD FS, from the password to the token.
type session struct {
	context string        // the one that is good now
	hidden  string        // a field that the polled pages want back
	begun   time.Duration // when the person was asked; negative: not yet
	last    time.Duration // the last post of the second factor
}

// adfs answers the one route of the AD FS.
func (s *Server) adfs(w http.ResponseWriter, r *http.Request, route Route) {
	q := r.URL.Query()
	media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch {
	case q.Get("response_type") != "id_token" || q.Get("response_mode") != "form_post" || q.Get("client_id") == "" || q.Get("redirect_uri") == "":
		s.errorPage(w, q.Get("redirect_uri"), "invalid_request")
		return
	case r.Method == http.MethodPost && media != "application/x-www-form-urlencoded":
		w.WriteHeader(http.StatusUnsupportedMediaType)
		return
	}
	s.mu.Lock()
	session := s.session(r)
	right := r.PostFormValue("UserName") == s.cfg.Username && r.PostFormValue("Password") == s.password
	s.mu.Unlock()
	switch {
	case route == Login && !right:
		s.loginPage(w, true)
	case route == Login:
		s.open(w, r)
	case session == nil:
		s.loginPage(w, false)
	case route == Page && s.cfg.Factor == NoFactor:
		s.tokenPage(w, q.Get("redirect_uri"))
	case route == Page:
		s.factorPage(w, session, false)
	default:
		s.factor(w, r, session)
	}
}

// session requires mu.
func (s *Server) session(r *http.Request) *session {
	c, err := r.Cookie(cookieName)
	if err != nil {
		return nil
	}
	return s.sessions[c.Value]
}

// open begins a session and sends the browser to its page.
func (s *Server) open(w http.ResponseWriter, r *http.Request) {
	id := rand.Text()
	s.mu.Lock()
	s.sessions[id] = &session{begun: -1, last: -1}
	s.mu.Unlock()
	http.SetCookie(w, &http.Cookie{Name: cookieName, Value: id, Path: "/adfs", HttpOnly: true})
	w.Header().Set("Location", r.URL.RequestURI())
	w.WriteHeader(http.StatusFound)
}

// factor answers a post of the second factor.
func (s *Server) factor(w http.ResponseWriter, r *http.Request, in *session) {
	method := map[Factor]string{LongPost: "AzureMfaServerAuthentication", Polled: "AzureMfaAuthentication"}[s.cfg.Factor]
	s.mu.Lock()
	now := s.now()
	good := r.PostFormValue("AuthMethod") == method && in.context != "" && r.PostFormValue("Context") == in.context
	in.context = ""
	if s.cfg.Factor == Polled {
		good = good && r.PostFormValue("__Fresh") == in.hidden
	}
	if good && s.cfg.Factor == Polled && in.last >= 0 && now-in.last < pollEvery && s.cfg.Code == "" {
		s.tooSoon++
		good = false
	}
	in.last = now
	if in.begun < 0 && good && s.cfg.Code == "" {
		in.begun = now
		s.prompts++
	}
	verdict, waited := s.verdict, now-in.begun
	s.mu.Unlock()
	to := r.URL.Query().Get("redirect_uri")
	switch {
	case !good:
		s.factorPage(w, in, true)
	case s.cfg.Code != "" && !r.PostForm.Has("VerificationCode"):
		s.factorPage(w, in, false)
	case s.cfg.Code != "" && r.PostFormValue("VerificationCode") == s.cfg.Code:
		s.tokenPage(w, to)
	case s.cfg.Code != "":
		s.factorPage(w, in, true)
	case s.cfg.Factor == LongPost:
		if !s.hang(r, verdict) {
			return
		}
		if verdict == Approve {
			s.tokenPage(w, to)
			return
		}
		s.mu.Lock()
		in.begun = -1
		s.mu.Unlock()
		s.factorPage(w, in, true)
	case verdict == Ignore || waited < s.cfg.Answers:
		s.factorPage(w, in, false)
	case verdict == Deny:
		s.factorPage(w, in, true)
	default:
		s.tokenPage(w, to)
	}
}

// hang waits for the person, and reports whether the client is still there.
func (s *Server) hang(r *http.Request, v Verdict) bool {
	done := make(chan struct{})
	if v != Ignore {
		t := s.clk.AfterFunc(s.cfg.Answers, func() { close(done) })
		defer t.Stop()
	}
	select {
	case <-done:
		return true
	case <-r.Context().Done():
		return false
	}
}

func write(w http.ResponseWriter, page string) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = io.WriteString(w, "<!DOCTYPE html>\n<html><head><title>Working...</title></head><body>\n"+page+"</body></html>\n")
}

func (s *Server) loginPage(w http.ResponseWriter, failed bool) {
	write(w, `<form method="post" id="loginForm" action="/adfs/oauth2/authorize"><label for="errorText" id="errorTextLabel">`+s.words(failed)+`</label>
<span id="errorText">`+s.words(failed)+`</span>
<input id="userNameInput" name="UserName" type="email" value="" placeholder="someone@example.com">
<input id="passwordInput" name="Password" type="password"><input id="optionForms" type="hidden" name="AuthMethod" value="FormsAuthentication"></form>
<form id="options" method="post"><input id="optionSelection" type="hidden" name="AuthMethod"></form>
`)
}

func (s *Server) words(failed bool) string {
	if !failed {
		return ""
	}
	return html.EscapeString(s.cfg.Words)
}

// factorPage asks for the second factor, with a fresh context.
func (s *Server) factorPage(w http.ResponseWriter, in *session, failed bool) {
	s.mu.Lock()
	in.context, in.hidden = rand.Text()+`+"&`, rand.Text()
	page, fresh, begun := in.context, in.hidden, in.begun >= 0 || s.cfg.Answers == 0
	s.mu.Unlock()
	var b strings.Builder
	b.WriteString(`<!-- <input name="id_token" value="in a comment"> --><p>` + html.EscapeString(s.cfg.Words) + "</p>\n<span id=\"errorText\">" + s.words(failed) + "</span>\n")
	if s.cfg.Number != "" && begun {
		b.WriteString(`<div id="validEntropyNumber">` + html.EscapeString(s.cfg.Number) + "</div>\n")
	}
	b.WriteString(`<form method="post" id="options" autocomplete="off">`)
	method := "AzureMfaServerAuthentication"
	if s.cfg.Factor == Polled {
		method = "AzureMfaAuthentication"
		b.WriteString(`<input type="hidden" name="__Fresh" value="` + html.EscapeString(fresh) + `">`)
	}
	b.WriteString(`<input id="authMethod" type="hidden" name="AuthMethod" value="` + method + `"><input id="context" type="hidden" name="Context" value="` + html.EscapeString(page) + `">`)
	if s.cfg.Code != "" {
		b.WriteString(`<input id="verificationCodeInput" name="VerificationCode" type="text">`)
	}
	b.WriteString("</form>\n")
	write(w, b.String())
}

// tokenPage is the page that a browser would submit to the redirect URI.
func (s *Server) tokenPage(w http.ResponseWriter, to string) {
	token := s.idToken()
	write(w, `<form method="POST" name="hiddenform" action="`+html.EscapeString(to)+`"><input type="hidden" name="id_token" value="`+token+`"><noscript><p>`+
		html.EscapeString(s.cfg.Words)+`</p><input type="submit" value="Submit"></noscript></form><script>window.setTimeout('document.forms[0].submit()', 0);</script>
`)
}

// errorPage is the same for a refusal.
func (s *Server) errorPage(w http.ResponseWriter, to, code string) {
	write(w, `<form method="POST" name="hiddenform" action="`+html.EscapeString(to)+`"><input type="hidden" name="error" value="`+code+`"></form>
`)
}

// idToken makes a JWT whose signature nobody can check.
func (s *Server) idToken() string {
	now := s.clk.Now()
	claims := map[string]any{"exp": now.Wall.Add(s.cfg.IDLife).Unix(), "iat": now.Wall.Unix(), "upn": s.cfg.Username, "jti": rand.Text()}
	if s.cfg.NoIssuedAt {
		delete(claims, "iat")
	}
	payload, _ := json.Marshal(claims) // a map of plain values marshals
	enc := base64.RawURLEncoding.EncodeToString
	token := enc([]byte(`{"alg":"RS256","typ":"JWT"}`)) + "." + enc(payload) + "." + enc([]byte(rand.Text()))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens[token], s.bearer[token] = s.now()+s.cfg.IDLife, true
	return token
}
