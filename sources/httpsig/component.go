package httpsig

import (
	"encoding/base64"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/dunglas/httpsfv"

	"github.com/seed-f29168f7/renew/sources/internal/header"
)

// maxComponents is how many components a signature may cover.
const maxComponents = 64

// identity is what a component identifier means (section 2): two that differ in the order of their parameters have the same.
type identity struct {
	name    string
	req, bs bool
	key     string // the member of a dictionary, or empty
	param   string // of @query-param: the name of the parameter
}

// component is a component identifier.
type component struct {
	identity
	id    string // as it stands in the signature base
	field string // of a field: its name as net/http has it
}

// known returns components without parameters.
func known(names ...string) []component {
	out := make([]component, len(names))
	for i, n := range names {
		out[i] = component{identity{name: n}, `"` + n + `"`, http.CanonicalHeaderKey(n)}
	}
	return out
}

// What is covered where the configuration does not say: of a request the first 4, with a body 5, and with a Content-Type of it 6; of a
// response 1, and with a body 2.
var (
	requestComponents  = known("@method", "@authority", "@path", "@query", "content-digest", "content-type")
	responseComponents = known("@status", "content-digest")
)

// parseComponents reads components as the fields of a configuration have them: @method, @query-param;name="id".
func parseComponents(texts []string) ([]component, error) {
	items := make([]httpsfv.Item, len(texts))
	for i, text := range texts {
		name, params, found := strings.Cut(text, ";")
		if found {
			params = ";" + params
		}
		item, err := httpsfv.UnmarshalItem([]string{strconv.Quote(name) + params})
		if err != nil {
			return nil, errors.New("a component is not written as name;parameter=value")
		}
		items[i] = item
	}
	return componentsOf(items)
}

// componentsOf reads the identifiers of an inner list. None may come twice.
func componentsOf(items []httpsfv.Item) ([]component, error) {
	if len(items) > maxComponents {
		return nil, errors.New("the signature covers more than 64 components")
	}
	out := make([]component, len(items))
	seen := make(map[identity]bool, len(items))
	for i, item := range items {
		c, err := componentOf(item)
		if err != nil {
			return nil, err
		}
		if seen[c.identity] {
			return nil, errors.New("the signature covers a component twice")
		}
		seen[c.identity] = true
		out[i] = c
	}
	return out, nil
}

// componentOf checks an identifier by itself.
func componentOf(item httpsfv.Item) (c component, err error) {
	var ok bool
	if c.name, ok = item.Value.(string); !ok {
		return c, errors.New("a component is not a string")
	}
	if !header.IsToken(strings.TrimPrefix(c.name, "@")) || strings.ToLower(c.name) != c.name || c.name == "@signature-params" {
		return c, errors.New("a component has a name that is not a field in lower case, nor a derived one")
	}
	for _, name := range item.Params.Names() {
		value, _ := item.Params.Get(name)
		if !c.take(name, value) {
			return c, errors.New("a component has a parameter that this package does not know for it")
		}
	}
	switch {
	case c.bs && c.key != "":
		return c, errors.New("a component has bs and key, which exclude each other")
	case c.name == "@query-param" && c.param == "":
		return c, errors.New("@query-param has no name")
	}
	c.field = http.CanonicalHeaderKey(c.name)
	if c.id, err = httpsfv.Marshal(item); err != nil {
		return c, errors.New("a component cannot be written")
	}
	return c, nil
}

// take takes a parameter. One that is not understood must not be passed over (section 2.5).
func (c *component) take(name string, value any) bool {
	text, _ := value.(string)
	derived := c.name[0] == '@'
	switch {
	case name == "req" && value == true:
		c.req = true
	case name == "bs" && value == true && !derived:
		c.bs = true
	case name == "key" && text != "" && !derived:
		c.key = text
	case name == "name" && text != "" && c.name == "@query-param":
		c.param = text
	default:
		return false
	}
	return true
}

// value returns the component's value in m.
func (c *component) value(m *message) (string, error) {
	if c.req {
		if m.status == 0 || m.request == nil {
			return "", errors.New("a component is of the request that was answered, and there is none")
		}
		m = m.request
	}
	switch {
	case c.name == "@status" && m.status != 0:
		return strconv.Itoa(m.status), nil
	case c.name == "@query-param" && m.status == 0:
		return m.parameter(c.param)
	case c.name[0] == '@' && m.status == 0:
		return m.derived(c.name)
	case c.name[0] == '@':
		return "", errors.New("a component is derived in no way that RFC 9421 knows, or not from this kind of message")
	case c.key != "":
		return m.member(c.field, c.key)
	}
	values, err := m.values(c.field)
	if err != nil {
		return "", err
	}
	if c.bs { // section 2.1.3
		for i, v := range values {
			values[i] = ":" + base64.StdEncoding.EncodeToString([]byte(v)) + ":"
		}
	}
	return strings.Join(values, ", "), nil
}

// base returns the signature base (section 2.5), and the value of its last line, which is what Signature-Input says.
func base(m *message, components []component, params *httpsfv.Params) (text []byte, list string, err error) {
	ids := make([]string, len(components))
	for i := range components {
		c := &components[i]
		value, err := c.value(m)
		if err != nil {
			return nil, "", err
		}
		text = append(append(append(text, c.id...), ": "...), value...)
		text = append(text, '\n')
		ids[i] = c.id
	}
	empty, err := httpsfv.Marshal(httpsfv.InnerList{Params: params})
	if err != nil {
		return nil, "", errors.New("the parameters of the signature cannot be written")
	}
	list = "(" + strings.Join(ids, " ") + empty[1:]
	return append(append(text, `"@signature-params": `...), list...), list, nil
}
