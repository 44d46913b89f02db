package httpsig

import (
	"encoding/base64"
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/dunglas/httpsfv"

	"github.com/seed-f29168f7/renew/sources/internal/header"
)

// maxComponents is how many components a signature may cover.
const maxComponents = 64

// component is a component identifier (section 2): a name with parameters.
type component struct {
	item httpsfv.Item
	name string
	id   string // as it stands in the signature base
	same string // equal for identifiers that differ in the order of parameters alone
}

// parseComponent reads a component as the fields of a configuration have it: @method, @query-param;name="id".
func parseComponent(text string) (component, error) {
	name, params, found := strings.Cut(text, ";")
	if found {
		params = ";" + params
	}
	item, err := httpsfv.UnmarshalItem([]string{strconv.Quote(name) + params})
	if err != nil {
		return component{}, errors.New("a component is not written as name;parameter=value")
	}
	return componentOf(item)
}

// componentOf checks an identifier by itself.
func componentOf(item httpsfv.Item) (component, error) {
	name, ok := item.Value.(string)
	if !ok {
		return component{}, errors.New("a component is not a string")
	}
	field := strings.TrimPrefix(name, "@")
	if !header.IsToken(field) || strings.ToLower(name) != name || name == "@signature-params" {
		return component{}, errors.New("a component has a name that is not a field in lower case, nor a derived one")
	}
	id, err := httpsfv.Marshal(item)
	if err != nil {
		return component{}, errors.New("a component cannot be written")
	}
	c := component{item: item, name: name, id: id}
	sorted := slices.Sorted(slices.Values(item.Params.Names()))
	params := httpsfv.NewParams()
	for _, p := range sorted {
		value, _ := item.Params.Get(p)
		params.Add(p, value)
		if err := c.checkParam(p, value); err != nil {
			return component{}, err
		}
	}
	if c.bool("bs") && c.text("key") != "" {
		return component{}, errors.New("a component has bs and key, which exclude each other")
	}
	if _, ok := item.Params.Get("name"); name == "@query-param" && !ok {
		return component{}, errors.New("@query-param has no name")
	}
	if c.same, err = httpsfv.Marshal(httpsfv.Item{Value: name, Params: params}); err != nil {
		return component{}, errors.New("a component cannot be written")
	}
	return c, nil
}

// checkParam checks a parameter: one that is not understood must not be passed over (section 2.5).
func (c component) checkParam(name string, value any) error {
	s, _ := value.(string)
	text := s != ""
	derived := c.name[0] == '@'
	switch {
	case name == "req" && value == true:
	case name == "name" && c.name == "@query-param" && text:
	case name == "key" && !derived && text:
	case name == "bs" && !derived && value == true:
	default:
		return errors.New("a component has a parameter that this package does not know for it")
	}
	return nil
}

func (c component) bool(param string) bool {
	v, ok := c.item.Params.Get(param)
	return ok && v == true
}

func (c component) text(param string) string {
	v, _ := c.item.Params.Get(param)
	s, _ := v.(string)
	return s
}

// value returns the component's value in m.
func (c component) value(m *message) (string, error) {
	if c.bool("req") {
		if m.status == 0 || m.request == nil {
			return "", errors.New("a component is of the request that was answered, and there is none")
		}
		m = m.request
	}
	switch {
	case c.name == "@status" && m.status != 0:
		return strconv.Itoa(m.status), nil
	case c.name == "@query-param" && m.status == 0:
		return m.parameter(c.text("name"))
	case c.name[0] == '@' && m.status == 0:
		return m.derived(c.name)
	case c.name[0] == '@':
		return "", errors.New("a component is derived in no way that RFC 9421 knows, or not from this kind of message")
	}
	values, err := m.field(c.name)
	if err != nil {
		return "", err
	}
	switch {
	case c.bool("bs"): // section 2.1.3
		for i, v := range values {
			values[i] = ":" + base64.StdEncoding.EncodeToString([]byte(v)) + ":"
		}
	case c.text("key") != "": // section 2.1.2
		return dictionaryMember(values, c.text("key"))
	}
	return strings.Join(values, ", "), nil
}

func dictionaryMember(values []string, key string) (string, error) {
	dict, err := httpsfv.UnmarshalDictionary(values)
	if err != nil {
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

// componentsOf reads the identifiers of an inner list. None may come twice.
func componentsOf(list httpsfv.InnerList) ([]component, error) {
	if len(list.Items) > maxComponents {
		return nil, errors.New("the signature covers more than 64 components")
	}
	out := make([]component, len(list.Items))
	seen := make(map[string]bool, len(list.Items))
	for i, item := range list.Items {
		c, err := componentOf(item)
		if err != nil {
			return nil, err
		}
		if seen[c.same] {
			return nil, errors.New("the signature covers a component twice")
		}
		seen[c.same] = true
		out[i] = c
	}
	return out, nil
}

// base returns the signature base (section 2.5), and the value of its last line, which is what Signature-Input says.
func base(m *message, list httpsfv.InnerList) (text []byte, params string, err error) {
	components, err := componentsOf(list)
	if err != nil {
		return nil, "", err
	}
	for _, c := range components {
		value, err := c.value(m)
		if err != nil {
			return nil, "", err
		}
		text = append(append(append(text, c.id...), ": "...), value...)
		text = append(text, '\n')
	}
	if params, err = httpsfv.Marshal(list); err != nil {
		return nil, "", errors.New("the parameters of the signature cannot be written")
	}
	return append(append(text, `"@signature-params": `...), params...), params, nil
}
