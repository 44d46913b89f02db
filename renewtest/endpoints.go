package renewtest

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

const (
	maxForm    = 64 << 10 // bytes of a form; no grant needs more
	maxAPIBody = 16 << 20
)

// exchange is one request on its way through Fault and endpoint. Only the
// request's own goroutine uses it.
type exchange struct {
	iss *Issuer

	// What the request says. formErr is the RFC 6749 error code of a form that cannot be read.
	form    url.Values
	formErr string
	sent    []byte // the body, at most maxForm bytes

	// What Faults want of the endpoint.
	life *time.Duration
	same bool
	edit []func(reply map[string]any)

	code string // the error code that the endpoint answered
}

type exchangeKey struct{}

// exchangeOf returns the exchange that r belongs to. A Fault that calls next with a
// context of its own, rather than one made from the request's, ends here.
func exchangeOf(r *http.Request) *exchange {
	x, ok := r.Context().Value(exchangeKey{}).(*exchange)
	if !ok {
		panic("renewtest: a Fault must keep the context of its request")
	}
	return x
}

// response notes the status and puts the Issuer's time into the Date header.
type response struct {
	http.ResponseWriter
	iss    *Issuer
	status int
}

func (w *response) WriteHeader(status int) {
	if w.status == 0 && status >= 200 {
		w.status = status
		if w.Header().Get("Date") == "" {
			w.iss.mu.Lock()
			now := w.iss.wall()
			w.iss.mu.Unlock()
			w.Header().Set("Date", now.Format(http.TimeFormat))
		}
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *response) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	return w.ResponseWriter.Write(p)
}

// FlushError implements what http.ResponseController looks for.
func (w *response) FlushError() error {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Unwrap lets http.ResponseController find the rest.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// ServeHTTP serves the Issuer's endpoints, so that it can also be mounted in a server of the test's own.
func (iss *Issuer) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	if !iss.enter() {
		panic(http.ErrAbortHandler)
	}
	defer iss.leave()
	w := &response{ResponseWriter: rw, iss: iss}
	x := &exchange{iss: iss}
	r = r.WithContext(context.WithValue(r.Context(), exchangeKey{}, x))
	switch path := r.URL.Path; {
	case path == "/token":
		iss.serveToken(w, r, x)
	case path == "/revoke":
		iss.serveRevoke(w, r, x)
	case path == "/api" || strings.HasPrefix(path, "/api/"):
		iss.serveAPI(w, r)
	default:
		http.NotFound(w, r)
	}
}

func (iss *Issuer) serveToken(w *response, r *http.Request, x *exchange) {
	began := iss.clk.Now().Mono
	x.readForm(w, r)
	event := Event{At: began - iss.start.Mono, Endpoint: "token", Grant: grantName(x.form.Get("grant_type"))}
	iss.mu.Lock()
	event.ClientID = iss.knownClient(r, x)
	iss.counts.arrive(event)
	latency := iss.latency
	iss.mu.Unlock()

	defer func() {
		event.Took, event.Status, event.Code = iss.clk.Now().Mono-began, w.status, x.code
		iss.mu.Lock()
		defer iss.mu.Unlock()
		iss.counts.depart(event)
		iss.record(event)
	}()
	if iss.Sleep(r.Context(), latency) != nil {
		panic(http.ErrAbortHandler)
	}
	f := iss.next(&iss.tokenFaults)
	event.Fault = f != nil
	f.serve(w, r, iss.token)
}

func (iss *Issuer) serveRevoke(w *response, r *http.Request, x *exchange) {
	began := iss.clk.Now().Mono
	x.readForm(w, r)
	event := Event{At: began - iss.start.Mono, Endpoint: "revoke"}
	iss.mu.Lock()
	event.ClientID = iss.knownClient(r, x)
	iss.counts.RevokeRequests++
	iss.mu.Unlock()
	defer func() {
		event.Took, event.Status, event.Code = iss.clk.Now().Mono-began, w.status, x.code
		iss.mu.Lock()
		defer iss.mu.Unlock()
		iss.record(event)
	}()
	f := iss.next(&iss.revokeFaults)
	event.Fault = f != nil
	f.serve(w, r, iss.revoke)
}

func (iss *Issuer) serveAPI(w *response, r *http.Request) {
	iss.mu.Lock()
	iss.counts.APIRequests++
	iss.mu.Unlock()
	defer func() {
		if w.status == http.StatusUnauthorized {
			iss.mu.Lock()
			defer iss.mu.Unlock()
			iss.counts.APIUnauthorized++
		}
	}()
	iss.next(&iss.apiFaults).serve(w, r, iss.api)
}

// next returns the Fault for the next request, or nil, and counts it.
func (iss *Issuer) next(s *script) Fault {
	f := s.take()
	if f != nil {
		iss.mu.Lock()
		iss.counts.Faults++
		iss.mu.Unlock()
	}
	return f
}

// serve serves r by f, or by the endpoint where f is nil.
func (f Fault) serve(w http.ResponseWriter, r *http.Request, endpoint http.HandlerFunc) {
	if f == nil {
		endpoint(w, r)
		return
	}
	f(w, r, endpoint)
}

// readForm reads the body and parses it as RFC 6749 (section 3.2, appendix B) has it. Reading it
// first also lets net/http notice a client that leaves.
func (x *exchange) readForm(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxForm))
	x.sent = body
	r.Body = io.NopCloser(bytes.NewReader(body)) // for Faults
	if err != nil {
		x.formErr = "invalid_request"
		return
	}
	x.form, x.formErr = parseForm(r.Header, body)
}

func parseForm(h http.Header, body []byte) (url.Values, string) {
	mediaType, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err != nil || mediaType != "application/x-www-form-urlencoded" {
		return nil, "invalid_request"
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, "invalid_request"
	}
	// "Parameters sent without a value MUST be treated as if they were omitted from the request. [...]
	// Request and response parameters MUST NOT be included more than once." (RFC 6749, section 3.2)
	for name, values := range form {
		if len(values) > 1 {
			return nil, "invalid_request"
		}
		if values[0] == "" {
			delete(form, name)
		}
	}
	return form, ""
}

// knownClient returns the client id that the request names, if there is such a
// client: for the counts, nothing is proved by it. mu is held.
func (iss *Issuer) knownClient(r *http.Request, x *exchange) string {
	id, _, _ := clientAuth(r.Header, x.form)
	if _, ok := iss.clients[id]; !ok {
		return ""
	}
	return id
}

// clientAuth reads the client's authentication, which may be in the
// Authorization header or in the form but not in both (RFC 6749, section 2.3).
func clientAuth(h http.Header, form url.Values) (id, secret, code string) {
	fields := h.Values("Authorization")
	if len(fields) == 0 {
		id, secret = form.Get("client_id"), form.Get("client_secret")
		if id == "" || secret == "" {
			return id, "", "invalid_client"
		}
		return id, secret, ""
	}
	if len(fields) > 1 || form.Has("client_secret") {
		return "", "", "invalid_request"
	}
	id, secret, ok := basicAuth(fields[0])
	if !ok {
		return "", "", "invalid_client"
	}
	if also := form.Get("client_id"); also != "" && also != id {
		return "", "", "invalid_request"
	}
	return id, secret, ""
}

// basicAuth reads Basic credentials whose two parts "are encoded using the
// 'application/x-www-form-urlencoded' encoding algorithm" (RFC 6749, section 2.3.1).
func basicAuth(field string) (id, secret string, ok bool) {
	scheme, token, _ := strings.Cut(field, " ")
	if !strings.EqualFold(scheme, "Basic") {
		return "", "", false
	}
	pair, err := base64.StdEncoding.Strict().DecodeString(strings.TrimLeft(token, " "))
	if err != nil {
		return "", "", false
	}
	id, secret, ok = strings.Cut(string(pair), ":")
	if !ok {
		return "", "", false
	}
	id, err1 := url.QueryUnescape(id)
	secret, err2 := url.QueryUnescape(secret)
	return id, secret, err1 == nil && err2 == nil && id != "" && secret != ""
}

// admit judges all that the token and the revocation endpoint have in common. It returns the client, or
// answers the request and returns nothing.
func (iss *Issuer) admit(w http.ResponseWriter, r *http.Request, x *exchange) (client string, ok bool) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		x.refuse(w, http.StatusMethodNotAllowed, "invalid_request")
		return "", false
	}
	if x.formErr != "" {
		x.refuse(w, http.StatusBadRequest, x.formErr)
		return "", false
	}
	// "The parameters can only be transmitted in the request-body and MUST NOT be included in
	// the request URI." (RFC 6749, section 2.3.1)
	query := r.URL.Query()
	if slices.ContainsFunc([]string{"client_id", "client_secret", "refresh_token", "token"}, query.Has) {
		x.refuse(w, http.StatusBadRequest, "invalid_request")
		return "", false
	}
	id, secret, code := clientAuth(r.Header, x.form)
	if code == "invalid_request" {
		x.refuse(w, http.StatusBadRequest, code)
		return "", false
	}
	iss.mu.Lock()
	want, known := iss.clients[id]
	iss.mu.Unlock()
	if code != "" || !known || subtle.ConstantTimeCompare([]byte(secret), []byte(want)) != 1 {
		x.refuse(w, http.StatusUnauthorized, "invalid_client")
		return "", false
	}
	return id, true
}

// refuse answers with an error as RFC 6749, section 5.2, has it.
func (x *exchange) refuse(w http.ResponseWriter, status int, code string) {
	x.code = code
	writeError(w, status, code, "")
}

func writeError(w http.ResponseWriter, status int, code, description string) {
	if status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Basic realm="renewtest"`)
	}
	reply := map[string]any{"error": code}
	if description != "" {
		reply["error_description"] = description
	}
	writeJSON(w, status, reply)
}

// writeJSON writes a reply that no cache may keep. A json.RawMessage in it is
// written as it is, even where it is no JSON.
func writeJSON(w http.ResponseWriter, status int, reply map[string]any) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, name := range slices.Sorted(maps.Keys(reply)) {
		if i > 0 {
			b.WriteByte(',')
		}
		key, _ := json.Marshal(name)
		value, ok := reply[name].(json.RawMessage)
		if !ok {
			var err error
			if value, err = json.Marshal(reply[name]); err != nil {
				panic("renewtest: a reply's " + name + " is no JSON: " + err.Error())
			}
		}
		b.Write(key)
		b.WriteByte(':')
		b.Write(value)
	}
	b.WriteString("}\n")
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("Pragma", "no-cache")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes())
}

// token is the token endpoint.
func (iss *Issuer) token(w http.ResponseWriter, r *http.Request) {
	x := exchangeOf(r)
	client, ok := iss.admit(w, r, x)
	if !ok {
		return
	}
	scope := x.form.Get("scope")
	if !validScope(scope) {
		x.refuse(w, http.StatusBadRequest, "invalid_scope")
		return
	}
	reply, code := iss.grant(client, x)
	if code != "" {
		x.refuse(w, http.StatusBadRequest, code)
		return
	}
	if scope != "" {
		reply["scope"] = scope
	}
	for _, edit := range x.edit {
		edit(reply)
	}
	writeJSON(w, http.StatusOK, reply)
}

// validScope tells whether s is a list of scope tokens (RFC 6749, section 3.3), or empty.
func validScope(s string) bool {
	if s == "" {
		return true
	}
	for token := range strings.SplitSeq(s, " ") {
		if token == "" || strings.ContainsFunc(token, func(r rune) bool {
			return r < '!' || r > '~' || r == '"' || r == '\\'
		}) {
			return false
		}
	}
	return true
}

// grant issues a token for the grant that x asks for, or returns an error code.
func (iss *Issuer) grant(client string, x *exchange) (reply map[string]any, code string) {
	iss.mu.Lock()
	defer iss.mu.Unlock()
	now := iss.clk.Now().Mono
	var fam *family
	var refresh string // stated in the reply
	switch grant := x.form.Get("grant_type"); grant {
	case "client_credentials":
		fam = &family{client: client}
		if iss.cfg.Refresh {
			refresh = iss.books.newRefresh(fam)
		}
	case "refresh_token":
		old := x.form.Get("refresh_token")
		if old == "" {
			return nil, "invalid_request"
		}
		reused := false
		fam, reused = iss.books.useRefresh(old, client, iss.cfg.Rotate)
		if reused {
			iss.counts.RefreshReuse++
		}
		if fam == nil {
			return nil, "invalid_grant"
		}
		if iss.cfg.Rotate {
			refresh = iss.books.newRefresh(fam)
		}
	case "":
		return nil, "invalid_request"
	default:
		return nil, "unsupported_grant_type"
	}

	life := iss.cfg.Life
	if x.life != nil {
		life = *x.life
	}
	t := iss.books.last[client]
	if !x.same || t == nil || t.ended(now) {
		t = iss.books.newAccess(fam, now, life, iss.accessToken(client, life))
	}
	iss.counts.Issued++

	reply = map[string]any{"access_token": t.value, "token_type": iss.cfg.TokenType}
	maps.Copy(reply, iss.cfg.Extra)
	if !t.endless {
		left := t.until - now
		if !iss.cfg.OmitExpiresIn {
			reply["expires_in"] = int64(left / time.Second)
		}
		if iss.cfg.ExpiresAt {
			reply["expires_at"] = iss.wall().Add(left).Unix()
		}
	}
	if refresh != "" {
		reply["refresh_token"] = refresh
	}
	return reply, ""
}

// accessToken makes the text of an access token. mu is held.
func (iss *Issuer) accessToken(client string, life time.Duration) string {
	id := newValue("at")
	if !iss.cfg.JWT {
		return id
	}
	now := iss.wall()
	claims := map[string]any{"iss": "http://" + iss.addr, "sub": client, "iat": now.Unix(), "jti": id}
	if life >= 0 {
		claims["exp"] = now.Add(life).Unix()
	}
	payload, _ := json.Marshal(claims)
	b64 := base64.RawURLEncoding.EncodeToString
	signed := b64([]byte(`{"alg":"HS256","typ":"at+jwt"}`)) + "." + b64(payload)
	mac := hmac.New(sha256.New, iss.key)
	mac.Write([]byte(signed))
	return signed + "." + b64(mac.Sum(nil))
}

// revoke is the revocation endpoint (RFC 7009).
func (iss *Issuer) revoke(w http.ResponseWriter, r *http.Request) {
	x := exchangeOf(r)
	client, ok := iss.admit(w, r, x)
	if !ok {
		return
	}
	value := x.form.Get("token")
	if value == "" {
		x.refuse(w, http.StatusBadRequest, "invalid_request")
		return
	}
	iss.mu.Lock()
	owner, known := iss.books.owner(value)
	mine := !known || owner == client
	if mine {
		iss.counts.Revocations++
		iss.books.revoke(value)
	}
	iss.mu.Unlock()
	if !mine {
		x.refuse(w, http.StatusBadRequest, "invalid_grant")
		return
	}
	// "invalid tokens do not cause an error response" (RFC 7009, section 2.2)
	w.WriteHeader(http.StatusOK)
}

// api is the protected API. Its reply says which token was used by number,
// from 1 in the order of issue, and how many bytes of body came.
func (iss *Issuer) api(w http.ResponseWriter, r *http.Request) {
	n, err := io.Copy(io.Discard, http.MaxBytesReader(w, r.Body, maxAPIBody))
	if err != nil {
		http.Error(w, "body", http.StatusBadRequest)
		return
	}
	challenge := iss.cfg.TokenType + ` realm="renewtest"`
	fields := r.Header.Values("Authorization")
	scheme, value, _ := strings.Cut(strings.Join(fields, "\n"), " ")
	if len(fields) != 1 || !strings.EqualFold(scheme, iss.cfg.TokenType) {
		// "If the request lacks any authentication information [...] the resource server SHOULD NOT include
		// an error code" (RFC 6750, section 3.1)
		w.Header().Set("WWW-Authenticate", challenge)
		writeJSON(w, http.StatusUnauthorized, map[string]any{"ok": false})
		return
	}
	iss.mu.Lock()
	t := iss.books.liveAccess(value, iss.clk.Now().Mono)
	iss.mu.Unlock()
	if t == nil {
		w.Header().Set("WWW-Authenticate", challenge+`, error="invalid_token"`)
		writeJSON(w, http.StatusUnauthorized, map[string]any{"ok": false})
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{"ok": true, "client": t.family.client, "token": t.number, "body": n})
}

// Accepts reports whether the API would accept the access token now.
func (iss *Issuer) Accepts(token string) bool {
	iss.mu.Lock()
	defer iss.mu.Unlock()
	return iss.books.liveAccess(token, iss.clk.Now().Mono) != nil
}

// Revoke ends a token: an access token alone, or a refresh token with all that
// descend from the same grant. It reports whether the Issuer knew the token.
func (iss *Issuer) Revoke(token string) bool {
	iss.mu.Lock()
	defer iss.mu.Unlock()
	return iss.books.revoke(token)
}

// RevokeAll ends all access tokens that were issued so far. Refresh tokens stay good.
func (iss *Issuer) RevokeAll() {
	iss.mu.Lock()
	defer iss.mu.Unlock()
	for _, t := range iss.books.access {
		t.revoked = true
	}
}

// RefuseFresh makes the API refuse the tokens that are issued from now on, until
// it is called with false or Heal is: then it accepts them after all.
func (iss *Issuer) RefuseFresh(refuse bool) {
	iss.mu.Lock()
	defer iss.mu.Unlock()
	iss.books.refuseFresh, iss.books.freshAfter = refuse, iss.books.issued
}

// NewRefreshToken returns a refresh token of the first client, as if a person
// had just logged in.
func (iss *Issuer) NewRefreshToken() string {
	iss.mu.Lock()
	defer iss.mu.Unlock()
	return iss.books.newRefresh(&family{client: iss.cfg.ClientID})
}

func grantName(grant string) string {
	switch grant {
	case "client_credentials", "refresh_token":
		return grant
	case "":
		return "none"
	}
	return "other"
}

// arrive and depart count a token request in and out. The Issuer's mu is held.
func (c *Counts) arrive(e Event) {
	c.TokenRequests++
	if c.ByGrant == nil {
		c.ByGrant, c.byClient = make(map[string]int), make(map[string]int)
		c.MaxInFlightByClient = make(map[string]int)
	}
	c.ByGrant[e.Grant]++
	c.InFlight++
	c.MaxInFlight = max(c.MaxInFlight, c.InFlight)
	if id := e.ClientID; id != "" {
		c.byClient[id]++
		c.MaxInFlightByClient[id] = max(c.MaxInFlightByClient[id], c.byClient[id])
	}
}

func (c *Counts) depart(e Event) {
	c.InFlight--
	if e.ClientID != "" {
		c.byClient[e.ClientID]--
	}
	if e.Status == http.StatusBadRequest || e.Status == http.StatusUnauthorized {
		c.Refused++
	}
}
