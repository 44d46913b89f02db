package httpsig

import (
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/dunglas/httpsfv"

	"github.com/seed-f29168f7/renew/sources/internal/signing"
)

// message is what components are taken from: a request as it is sent or was received, or a response.
type message struct {
	header  http.Header
	status  int      // of a response; 0 for a request
	request *message // of a response: what it answers, or nil

	// The rest is of requests.
	method, scheme string
	host           string // the Host field
	url            *url.URL
	target         string // the request target, where it is known as it was sent
	client         bool   // net/http will write Host and Content-Length, whatever header says
	length         string // that Content-Length, or empty when there is none

	// What was parsed already: a signature of a stranger may cover 64 parts of one long text.
	dictionaries map[string]*httpsfv.Dictionary // by field; nil for one that is none
	form         map[string][]string            // the values of the query by name, both encoded as section 2.2.8 says
}

// sent returns a request of a client. Go writes Host and Content-Length itself.
func sent(req *http.Request) *message {
	m := &message{header: req.Header, method: req.Method, scheme: req.URL.Scheme, host: req.Host, url: req.URL, client: true}
	if m.method == "" {
		m.method = http.MethodGet
	}
	if m.host == "" {
		m.host = req.URL.Host
	}
	switch {
	case req.ContentLength > 0 && signing.HasBody(req):
		m.length = strconv.FormatInt(req.ContentLength, 10)
	case !signing.HasBody(req) && (m.method == http.MethodPost || m.method == http.MethodPut || m.method == http.MethodPatch):
		m.length = "0"
	}
	return m
}

// received returns a request of a server. scheme is empty where TLS ends at the server itself.
func received(r *http.Request, scheme string) *message {
	if scheme == "" {
		scheme = "http"
		if r.TLS != nil {
			scheme = "https"
		}
	}
	return &message{header: r.Header, method: r.Method, scheme: scheme, host: r.Host, url: r.URL, target: r.RequestURI}
}

// answered returns a response of a client.
func answered(resp *http.Response) *message {
	m := &message{header: resp.Header, status: resp.StatusCode}
	if resp.Request != nil && resp.Request.URL != nil {
		m.request = sent(resp.Request)
	}
	return m
}

// values returns the values of a header field, in order (section 2.1), without the white space around them. field is its name
// as net/http has it.
func (m *message) values(field string) ([]string, error) {
	values := m.header[field]
	switch {
	case m.client && m.respelled(field):
		return nil, errors.New("the request has a covered field in another spelling, which net/http sends too: use Header.Set")
	case m.status != 0:
	case field == "Host":
		values = []string{m.host}
	case field == "Content-Length" && m.client:
		values = nil
		if m.length != "" {
			values = []string{m.length}
		}
	}
	if len(values) == 0 {
		return nil, errors.New("the message does not have a covered field")
	}
	out := make([]string, len(values))
	for i, v := range values {
		if out[i] = strings.Trim(v, " \t"); !fieldText(out[i]) {
			return nil, errors.New("a covered field has a line break, a control character or something else than ASCII")
		}
	}
	return out, nil
}

// respelled reports whether a header that the caller made has a field by another spelling of its name.
func (m *message) respelled(field string) bool {
	for key, v := range m.header {
		if key != field && len(v) > 0 && strings.EqualFold(key, field) {
			return true
		}
	}
	return false
}

// member is section 2.1.2: the member of a dictionary.
func (m *message) member(field, key string) (string, error) {
	dict, parsed := m.dictionaries[field]
	if !parsed {
		values, err := m.values(field)
		if err != nil {
			return "", err
		}
		if dict, err = httpsfv.UnmarshalDictionary(values); err != nil {
			dict = nil
		}
		if m.dictionaries == nil {
			m.dictionaries = make(map[string]*httpsfv.Dictionary)
		}
		m.dictionaries[field] = dict
	}
	if dict == nil {
		return "", errors.New("a covered field is not a dictionary")
	}
	member, ok := dict.Get(key)
	if !ok {
		return "", errors.New("a covered dictionary does not have the key")
	}
	text, err := httpsfv.Marshal(member)
	if err != nil {
		return "", errors.New("a covered dictionary cannot be written")
	}
	return text, nil
}

// fieldText reports whether s can stand in a signature base, which is ASCII of one line a component.
func fieldText(s string) bool {
	for i := range len(s) {
		if (s[i] < 0x20 && s[i] != '\t') || s[i] > 0x7e {
			return false
		}
	}
	return true
}

// authority is section 2.2.3: the host in lower case, without the scheme's own port.
func (m *message) authority() (string, error) {
	if !signing.IsHost(m.host) {
		return "", errors.New("the host is empty or not ASCII: write an international name in its xn-- form")
	}
	host := strings.ToLower(m.host)
	switch strings.ToLower(m.scheme) {
	case "https":
		host = strings.TrimSuffix(host, ":443")
	case "http":
		host = strings.TrimSuffix(host, ":80")
	default:
		return "", errors.New("the scheme is neither http nor https")
	}
	return host, nil
}

// query is the query with its question mark, as it is sent.
func (m *message) query() (string, error) {
	if !fieldText(m.url.RawQuery) || strings.ContainsAny(m.url.RawQuery, " \t#") {
		return "", errors.New("the query has a space, a control character or something else than ASCII")
	}
	return "?" + m.url.RawQuery, nil
}

// origin is the request target in origin form.
func (m *message) origin() (string, error) {
	path, err := signing.Path(m.method, m.url)
	if err != nil {
		return "", err
	}
	query, err := m.query()
	if err == nil && query == "?" && !m.url.ForceQuery {
		query = ""
	}
	return path + query, err
}

// derived returns a derived component of a request that has no parameter of its own (section 2.2).
func (m *message) derived(name string) (string, error) {
	switch name {
	case "@method":
		_, err := signing.Path(m.method, m.url)
		return m.method, err
	case "@scheme":
		_, err := m.authority()
		return strings.ToLower(m.scheme), err
	case "@authority":
		return m.authority()
	case "@path":
		return signing.Path(m.method, m.url)
	case "@query":
		return m.query()
	case "@request-target":
		switch {
		case m.target == "":
			return m.origin()
		case !fieldText(m.target):
			return "", errors.New("the request target has something else than ASCII")
		}
		return m.target, nil
	case "@target-uri":
		authority, err := m.authority()
		if err != nil {
			return "", err
		}
		origin, err := m.origin()
		return strings.ToLower(m.scheme) + "://" + authority + origin, err
	}
	return "", errors.New("a component is derived in no way that RFC 9421 knows, or not from this kind of message")
}

// parameter is section 2.2.8: one parameter of the query, by its encoded name.
func (m *message) parameter(name string) (string, error) {
	if m.form == nil {
		form := make(map[string][]string)
		for piece := range strings.SplitSeq(m.url.RawQuery, "&") {
			k, v, _ := strings.Cut(piece, "=")
			k, kerr := encodeAgain(k)
			v, verr := encodeAgain(v)
			if kerr != nil || verr != nil {
				return "", errors.New("the query has a % that escapes nothing")
			}
			if piece != "" {
				form[k] = append(form[k], v)
			}
		}
		m.form = form
	}
	switch values := m.form[name]; len(values) {
	case 0:
		return "", errors.New("the query does not have a covered parameter")
	case 1:
		return values[0], nil
	}
	return "", errors.New("the query has a covered parameter more than once: cover @query")
}

// encodeAgain decodes a piece of a form and encodes it as section 2.2.8 says.
func encodeAgain(s string) (string, error) {
	text, err := url.QueryUnescape(s)
	if err != nil {
		return "", err
	}
	const hex = "0123456789ABCDEF"
	out := make([]byte, 0, len(text))
	for i := range len(text) {
		switch c := text[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '*', c == '-', c == '.', c == '_':
			out = append(out, c)
		default:
			out = append(out, '%', hex[c>>4], hex[c&15])
		}
	}
	return string(out), nil
}
