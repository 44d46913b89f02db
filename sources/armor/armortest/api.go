package armortest

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// codeLife is how long a code of authorize is good.
const codeLife = 2 * time.Minute

func reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

// malformed is what the real service was seen to answer to a call that it cannot read.
func malformed(w http.ResponseWriter) {
	reply(w, http.StatusInternalServerError, map[string]any{"ErrorCode": "E0001", "Message": "An error has occurred.", "Detail": nil, "ReferenceId": "a1b2c3d4"})
}

// auth answers authorize, token and reissue.
func (s *Server) auth(w http.ResponseWriter, r *http.Request, route Route) {
	media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	// As in .NET, names are read without regard to case, which encoding/json does too.
	var in struct {
		Username  string `json:"username"`
		Password  string `json:"password"`
		Code      string `json:"code"`
		GrantType string `json:"grant_type"`
		Token     string `json:"token"`
	}
	switch {
	case r.Method != http.MethodPost:
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	case media != "application/json":
		w.WriteHeader(http.StatusUnsupportedMediaType)
		return
	case json.NewDecoder(r.Body).Decode(&in) != nil:
		malformed(w)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch route {
	case Authorize:
		if in.Username != s.cfg.Username || in.Password != s.password {
			reply(w, http.StatusUnauthorized, map[string]any{"Message": "Authorization has been denied for this request."})
			return
		}
		code := base64.StdEncoding.EncodeToString([]byte(rand.Text())) + "+/=" // what URL decoding would spoil
		s.codes[code] = s.now()
		reply(w, http.StatusOK, map[string]any{"redirect_uri": nil, "code": code, "success": true})
		return
	case Token:
		given, ok := s.codes[in.Code]
		delete(s.codes, in.Code)
		if !ok || in.GrantType != "authorization_code" || s.now()-given > codeLife {
			reply(w, http.StatusBadRequest, map[string]any{"error": "invalid_grant"})
			return
		}
	case Reissue:
		if !s.alive(in.Token) || s.bearer[in.Token] {
			reply(w, http.StatusUnauthorized, map[string]any{"Message": "Authorization has been denied for this request."})
			return
		}
		if !s.cfg.KeepOld {
			delete(s.tokens, in.Token)
		}
	}
	s.give(w, route)
}

// give answers with a new token. It requires mu.
func (s *Server) give(w http.ResponseWriter, route Route) {
	token := rand.Text() + rand.Text()
	s.tokens[token] = s.now() + s.cfg.Life
	out := map[string]any{"access_token": token, "token_type": "Bearer", "id_token": nil}
	if route == Token {
		out["id_token"] = "x.y.z"
	}
	switch s.cfg.ExpiresIn {
	case "":
		out["expires_in"] = int(s.cfg.Life / time.Second)
	case "-":
	default:
		out["expires_in"] = json.RawMessage(s.cfg.ExpiresIn)
	}
	reply(w, http.StatusOK, out)
}

// allowed reports whether a request has a live token of the right scheme, and answers it if not.
func (s *Server) allowed(w http.ResponseWriter, r *http.Request) bool {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	s.mu.Lock()
	ok := s.alive(token) && scheme == map[bool]string{true: "Bearer", false: "FH-AUTH"}[s.bearer[token]]
	account := r.Header.Get("X-Account-Context")
	member := account == "" || slices.ContainsFunc(s.accounts, func(id int64) bool { return strconv.FormatInt(id, 10) == account })
	s.mu.Unlock()
	switch {
	case !ok:
		reply(w, http.StatusUnauthorized, map[string]any{"Message": "Authorization has been denied for this request."})
	case !member:
		reply(w, http.StatusForbidden, map[string]any{"message": "The account is not allowed."})
	}
	return ok && member
}

func (s *Server) me(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	if !s.allowed(w, r) {
		return
	}
	s.mu.Lock()
	accounts := make([]map[string]any, 0, len(s.accounts))
	for _, id := range s.accounts {
		accounts = append(accounts, map[string]any{"id": id, "name": "Account " + strconv.FormatInt(id, 10), "currency": "USD       ", "status": "Claimed", "products": nil})
	}
	s.mu.Unlock()
	reply(w, http.StatusOK, map[string]any{"user": map[string]any{"type": "user", "username": s.cfg.Username}, "accounts": accounts, "features": []string{}})
}

// api answers any other path: it says what it was asked.
func (s *Server) api(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	h := r.Header.Clone()
	h.Del("Authorization")
	s.mu.Lock()
	s.requests = append(s.requests, Request{r.Method, r.URL.Path, r.URL.RawQuery, h, string(body)})
	s.mu.Unlock()
	if !s.allowed(w, r) {
		return
	}
	if rng := r.Header.Get("Range"); rng != "" {
		w.Header().Set("X-Range", rng)
	}
	reply(w, http.StatusOK, map[string]any{"method": r.Method, "path": r.URL.Path, "account": r.Header.Get("X-Account-Context"), "body": string(body)})
}
