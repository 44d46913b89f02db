package armor

import (
	"bytes"
	"errors"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/net/html"
)

// The AuthMethods that can be answered.
const (
	methodForms  = "FormsAuthentication"          // user name and password
	methodServer = "AzureMfaServerAuthentication" // a POST that hangs until the person has answered
	methodCloud  = "AzureMfaAuthentication"       // quick answers, asked again and again
	maxNumber    = 8                              // digits of a number match
	maxFields    = 200                            // inputs of a page that are looked at
	maxPageText  = 256                            // bytes of an element's text that are looked at
)

// pageKind is what a page of the AD FS is, by what it holds.
type pageKind uint8

const (
	pageOther   pageKind = iota
	pageToken            // the form that would carry the ID token to the redirect URI
	pageRefused          // the form that would carry an error there
	pageLogin            // asks for user name and password
	pageMFA              // asks for a second factor, or waits for it
)

// page is what matters of a page. It holds secrets (the token, the context), and stays within a login.
type page struct {
	kind   pageKind
	token  string     // of pageToken
	method string     // of pageMFA: methodServer or methodCloud
	action string     // of pageMFA: where its form goes, as written
	fields url.Values // of pageMFA: its hidden fields
	number string     // of pageMFA: the number to show, or empty
	code   bool       // of pageMFA: it wants a VerificationCode
	failed bool       // it says that something went wrong, in whatever language
}

// field is one input of a form.
type field struct{ name, typ, value string }

// form is a form of a page, or the inputs outside any.
type form struct {
	action string
	inputs []field
}

// find returns the values of the inputs of that name. Names of fields are compared without
// regard to case, as AD FS does.
func (f *form) find(name string) (values []string) {
	for _, in := range f.inputs {
		if strings.EqualFold(in.name, name) {
			values = append(values, in.value)
		}
	}
	return values
}

// scan is a page taken apart.
type scan struct {
	forms  []*form
	texts  map[string]string // by element id; those that are looked at
	fields int
}

var errManyFields = errors.New("the page has more fields than a login page has")

// scanPage takes a page apart in one pass, in time linear in the page. What is in
// comments and scripts does not count.
func scanPage(body []byte) (*scan, error) {
	s := &scan{texts: make(map[string]string)}
	outside := &form{}
	current := outside
	s.forms = append(s.forms, outside)
	byID := make(map[string]*form)
	var id, tag string // of the element whose text is being read
	depth := 0
	z := html.NewTokenizer(bytes.NewReader(body))
	z.SetMaxBuf(len(body) + 4096)
	for {
		kind := z.Next()
		switch kind {
		case html.ErrorToken:
			return s, nil // the end; of other errors a reader of bytes has none
		case html.TextToken:
			if id != "" && len(s.texts[id]) < maxPageText {
				text := z.Text()
				s.texts[id] += string(text[:min(len(text), maxPageText)])
			}
		case html.StartTagToken, html.SelfClosingTagToken:
			name, attrs := element(z)
			switch name {
			case "form":
				current = &form{action: attrs["action"]}
				s.forms = append(s.forms, current)
				byID[attrs["id"]] = current
			case "input":
				if s.fields++; s.fields > maxFields {
					return nil, errManyFields
				}
				to := current
				if f := byID[attrs["form"]]; f != nil && attrs["form"] != "" {
					to = f
				}
				to.inputs = append(to.inputs, field{attrs["name"], strings.ToLower(attrs["type"]), attrs["value"]})
			}
			if name == tag && kind == html.StartTagToken {
				depth++
			}
			if at := attrs["id"]; id == "" && kind == html.StartTagToken && name != "input" && (at == "errorText" || at == "validEntropyNumber") {
				id, tag, depth = at, name, 1
			}
		case html.EndTagToken:
			name, _ := z.TagName()
			if string(name) == "form" {
				current = outside
			}
			if id != "" && string(name) == tag {
				if depth--; depth == 0 {
					id, tag = "", ""
				}
			}
		}
	}
}

// element returns the name of the current tag and those of its attributes that matter. Of one that
// stands there twice the first holds, as in a browser.
func element(z *html.Tokenizer) (name string, attrs map[string]string) {
	tag, more := z.TagName()
	name = string(tag)
	attrs = make(map[string]string, 4)
	for more {
		var key, value []byte
		key, value, more = z.TagAttr()
		switch k := string(key); k {
		case "id", "name", "type", "value", "action", "form":
			if _, ok := attrs[k]; !ok {
				attrs[k] = string(value)
			}
		}
	}
	return name, attrs
}

// readPage says what a page is. It decides by fields and ids, never by words, so the language
// does not matter. The error holds nothing of the page.
func readPage(body []byte) (page, error) {
	s, err := scanPage(body)
	if err != nil {
		return page{}, err
	}
	p := page{failed: strings.TrimSpace(s.texts["errorText"]) != ""}
	var tokens []string
	var login, mfa *form
	refused := false
	for _, f := range s.forms {
		tokens = append(tokens, f.find("id_token")...)
		if len(f.find("UserName")) > 0 && len(f.find("Password")) > 0 {
			login = f
		}
		if mfa == nil && len(f.find("Context")) > 0 {
			mfa = f
		}
		refused = refused || len(f.find("error")) > 0
	}
	switch {
	case len(tokens) > 1:
		return page{}, errors.New("the page has more than one ID token")
	case len(tokens) == 1 && tokens[0] == "":
		return page{}, errors.New("the page has an empty ID token")
	case len(tokens) == 1:
		p.kind, p.token = pageToken, tokens[0]
	case login != nil:
		p.kind = pageLogin
	case mfa != nil:
		return p, p.secondFactor(s, mfa)
	case refused:
		p.kind = pageRefused
	}
	return p, nil
}

// secondFactor reads the page's form for a second factor.
func (p *page) secondFactor(s *scan, f *form) error {
	p.kind, p.action, p.method = pageMFA, f.action, methodServer
	for _, other := range append([]*form{f}, s.forms...) { // some pages have the method in a form of its own
		if i := slices.IndexFunc(other.find("AuthMethod"), func(v string) bool { return v != "" }); i >= 0 {
			p.method = other.find("AuthMethod")[i]
			break
		}
	}
	if p.method != methodServer && p.method != methodCloud {
		return errors.New("the page asks for a way to log in that is not known: only Azure MFA is")
	}
	p.fields = make(url.Values)
	for _, in := range f.inputs {
		switch {
		case in.name == "":
		case in.typ == "hidden", strings.EqualFold(in.name, "Context"):
			p.fields.Add(in.name, in.value)
		case strings.EqualFold(in.name, "VerificationCode"):
			p.code = true
		}
	}
	if contexts := f.find("Context"); len(contexts) != 1 || contexts[0] == "" {
		return errors.New("the page has not exactly one context for the second factor")
	}
	p.number = strings.TrimSpace(s.texts["validEntropyNumber"])
	if len(p.number) > maxNumber || strings.Trim(p.number, "0123456789") != "" {
		return errors.New("the page has a number to show that is no number")
	}
	return nil
}

// form returns what is posted in answer to the page: for the server's variant method and context, for
// the cloud's every hidden field as it stands there now.
func (p *page) form() url.Values {
	out := make(url.Values)
	for name, values := range p.fields {
		if p.method == methodCloud || strings.EqualFold(name, "Context") {
			out[name] = values
		}
	}
	for name := range out {
		if strings.EqualFold(name, "AuthMethod") || strings.EqualFold(name, "VerificationCode") {
			delete(out, name)
		}
	}
	out.Set("AuthMethod", p.method)
	return out
}
