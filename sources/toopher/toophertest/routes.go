package toophertest

import (
	"cmp"
	"encoding/json"
	"net/http"
	"net/url"
)

// form are the parameters of a request, each once.
type form map[string]string

// formOf returns the parameters by name.
func formOf(params []pair) (form, *problem) {
	f := make(form, len(params))
	for _, p := range params {
		if _, ok := f[p.name]; ok {
			return nil, &problem{400, 400, "A parameter is there twice."}
		}
		f[p.name] = p.value
	}
	return f, nil
}

// problem is an error of the API.
type problem struct {
	status, code int
	message      string
}

var (
	notFound   = &problem{404, 404, "There is no such thing."}
	disabled   = &problem{409, 704, "The specified user has disabled Toopher authentication."}
	noUser     = &problem{409, 705, "No matching user exists."}
	noTerminal = &problem{409, 706, "No matching terminal exists."}
	ended      = &problem{409, 707, "Not allowed: This pairing has been deactivated."}
	notYet     = &problem{409, 601, "Not allowed: Pairing has not been authorized to authenticate."}
)

type user struct {
	id, name  string
	disabled  bool
	doubles   int
	pairing   *pairing             // the last one that was made; or nil
	terminals map[string]*terminal // by the requester's id
	named     map[string]*terminal // by name, those without a requester's id
}

type terminal struct {
	id, name, extra string
}

type pairing struct {
	id                            string
	user                          *user
	enabled, pending, deactivated bool
	decision                      Decision
	looks                         int
}

type request struct {
	id                 string
	pairing            *pairing
	terminal           *terminal
	action             string
	actionID           string
	pending            bool
	granted, automated bool
	reason             string
	totp               *bool // whether a one-time password was right; nil where none was given
	decision           Decision
	looks              int
}

func (p *pairing) answer(d Decision) { p.pending, p.enabled = false, d.Grant }

func (r *request) answer(d Decision) {
	r.pending, r.granted, r.automated, r.reason = false, d.Grant, d.Automated, d.Reason
}

// look counts a question, and reports whether the phone has answered by now.
func (s *Service) look(looks *int) bool {
	s.counts.Looks++
	*looks++
	return s.Looks > 0 && *looks >= s.Looks
}

// route answers a request whose signature is right. The reply is what JSON is made of.
func (s *Service) route(method string, path []string, f form) (any, *problem) {
	for i := range path {
		segment, err := url.PathUnescape(path[i])
		if err != nil {
			return nil, notFound
		}
		path[i] = segment
	}
	at := func(m string, pattern ...string) bool {
		if m != method || len(pattern) != len(path) {
			return false
		}
		for i, p := range pattern {
			if p != "*" && p != path[i] {
				return false
			}
		}
		return true
	}
	const get, post = http.MethodGet, http.MethodPost
	switch {
	case at(post, "pairings", "create"):
		return s.pair(f, "pairing_phrase")
	case at(post, "pairings", "create", "sms"):
		return s.pair(f, "phone_number")
	case at(post, "pairings", "create", "qr"):
		return s.pair(f)
	case at(get, "pairings", "*"):
		p, ok := s.pairings[path[1]]
		if !ok {
			return nil, notFound
		}
		if s.look(&p.looks) && p.pending {
			p.answer(p.decision)
		}
		return p.reply(), nil
	case at(post, "authentication_requests", "initiate"):
		return s.initiate(f)
	case at(get, "authentication_requests", "*"):
		r, ok := s.requests[path[1]]
		if !ok {
			return nil, notFound
		}
		if s.look(&r.looks) && r.pending {
			r.answer(r.decision)
		}
		return r.reply(), nil
	case at(post, "authentication_requests", "*", "otp_auth"):
		return s.otp(path[1], f)
	case at(post, "user_terminals", "create"):
		return s.createTerminal(f)
	case at(get, "users"):
		return s.search(f)
	case at(post, "users", "*"):
		return s.change(path[1], f)
	}
	return nil, notFound
}

// missing returns the error of a parameter that is missing or empty.
func (f form) missing(names ...string) *problem {
	for _, name := range names {
		if f[name] == "" {
			return &problem{400, 400, "The parameter " + name + " is missing."}
		}
	}
	return nil
}

// user returns the user of a name, and makes one where there is none.
func (s *Service) user(name string) *user {
	u, ok := s.users[name]
	if !ok {
		u = &user{id: newID(), name: name, terminals: make(map[string]*terminal), named: make(map[string]*terminal)}
		s.users[name] = u
	}
	return u
}

func (s *Service) pair(f form, needed ...string) (any, *problem) {
	if p := f.missing(append(needed, "user_name")...); p != nil {
		return nil, p
	}
	s.counts.Pairings++
	u := s.user(f["user_name"])
	p := &pairing{id: newID(), user: u, pending: true, decision: s.decide()}
	u.pairing, s.pairings[p.id] = p, p
	return p.reply(), nil
}

// usable reports why a pairing cannot be used.
func (p *pairing) usable() *problem {
	switch {
	case p.user.disabled:
		return disabled
	case p.pending:
		return notYet
	case !p.enabled:
		return ended
	}
	return nil
}

func (s *Service) initiate(f form) (any, *problem) {
	p, t, wrong := s.target(f)
	if wrong != nil {
		return nil, wrong
	}
	s.counts.Authentications++
	r := &request{id: newID(), pairing: p, terminal: t, action: f["action_name"], actionID: newID(), pending: true, decision: s.decide()}
	if r.action == "" {
		r.action = "Log in"
	}
	if f["otp"] != "" {
		s.judge(r, f["otp"])
	} else if r.decision.Automated && f["automation_allowed"] != "false" {
		r.answer(r.decision)
	} else {
		r.decision.Automated = false
	}
	s.requests[r.id] = r
	return r.reply(), nil
}

// target finds the pairing and the terminal of an authentication request.
func (s *Service) target(f form) (*pairing, *terminal, *problem) {
	if f["pairing_id"] != "" {
		p, ok := s.pairings[f["pairing_id"]]
		if !ok {
			return nil, nil, notFound
		}
		if wrong := p.usable(); wrong != nil {
			return nil, nil, wrong
		}
		if f["terminal_id"] != "" {
			return p.user.byID(p, f["terminal_id"], f["terminal_name"])
		}
		if wrong := f.missing("terminal_name"); wrong != nil {
			return nil, nil, wrong
		}
		return p, p.user.terminal(f["terminal_name"], f["terminal_name_extra"]), nil
	}
	if wrong := f.missing("user_name", "terminal_name_extra"); wrong != nil {
		return nil, nil, wrong
	}
	u, ok := s.users[f["user_name"]]
	switch {
	case !ok:
		return nil, nil, noUser
	case u.disabled:
		return nil, nil, disabled
	case u.pairing == nil:
		return nil, nil, notYet
	}
	if wrong := u.pairing.usable(); wrong != nil {
		return nil, nil, wrong
	}
	t, ok := u.terminals[f["terminal_name_extra"]]
	if !ok {
		return nil, nil, noTerminal
	}
	return u.pairing, t, nil
}

// terminal returns a terminal of the user by the requester's id, or by its name where there is none.
func (u *user) terminal(name, extra string) *terminal {
	by, key := u.terminals, extra
	if extra == "" {
		by, key = u.named, name
	}
	t, ok := by[key]
	if !ok {
		t = &terminal{id: newID(), extra: extra}
		by[key] = t
	}
	t.name = name
	return t
}

// byID returns a terminal by Toopher's own id, and gives it the name if there is one.
func (u *user) byID(p *pairing, id, name string) (*pairing, *terminal, *problem) {
	for _, all := range []map[string]*terminal{u.terminals, u.named} {
		for _, t := range all {
			if t.id == id {
				t.name = cmp.Or(name, t.name)
				return p, t, nil
			}
		}
	}
	return nil, nil, noTerminal
}

// judge answers a request by a one-time password.
func (s *Service) judge(r *request, otp string) {
	valid := otp == s.OTP
	r.totp = &valid
	if valid {
		r.answer(Decision{Grant: true})
	} else {
		r.answer(Decision{Reason: "Wrong one-time password"})
	}
}

func (s *Service) otp(id string, f form) (any, *problem) {
	r, ok := s.requests[id]
	if !ok {
		return nil, notFound
	}
	if p := f.missing("otp"); p != nil {
		return nil, p
	}
	if r.pending {
		s.judge(r, f["otp"])
	}
	return r.reply(), nil
}

func (s *Service) createTerminal(f form) (any, *problem) {
	if p := f.missing("user_name", "name", "name_extra"); p != nil {
		return nil, p
	}
	u, ok := s.users[f["user_name"]]
	if !ok {
		return nil, noUser
	}
	s.counts.Terminals++
	t := u.terminal(f["name"], f["name_extra"])
	return map[string]any{"id": t.id, "name": t.name, "name_extra": t.extra, "user": u.reply()}, nil
}

func (s *Service) search(f form) (any, *problem) {
	if p := f.missing("name"); p != nil {
		return nil, p
	}
	found := []any{}
	if u, ok := s.users[f["name"]]; ok {
		found = append(found, u.reply())
		for range u.doubles {
			found = append(found, map[string]any{"id": newID(), "name": u.name})
		}
	}
	return found, nil
}

func (s *Service) change(id string, f form) (any, *problem) {
	for _, u := range s.users {
		if u.id != id {
			continue
		}
		switch f["disable_toopher_auth"] {
		case "true":
			u.disabled = true
		case "false":
			u.disabled = false
		default:
			return nil, &problem{400, 400, "The parameter disable_toopher_auth is neither true nor false."}
		}
		reply := u.reply()
		reply["disable_toopher_auth"] = u.disabled
		return reply, nil
	}
	return nil, notFound
}

func (u *user) reply() map[string]any { return map[string]any{"id": u.id, "name": u.name} }

func (p *pairing) reply() any {
	return map[string]any{"id": p.id, "enabled": p.enabled, "pending": p.pending, "user": p.user.reply()}
}

func (r *request) reply() any {
	t := map[string]any{"id": r.terminal.id, "name": r.terminal.name}
	if r.terminal.extra != "" {
		t["requester_specified_id"] = r.terminal.extra
	}
	reply := map[string]any{
		"id": r.id, "pending": r.pending, "granted": r.granted, "automated": r.automated, "reason": r.reason,
		"terminal": t, "action": map[string]any{"id": r.actionID, "name": r.action}, "user": r.pairing.user.reply(),
	}
	if r.totp != nil {
		reply["totp_valid"] = *r.totp
	}
	return reply
}

// marshal makes JSON of what always can be.
func marshal(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}
