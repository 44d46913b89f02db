package toophertest

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"net/url"
	"slices"
	"strings"
)

// pair is a parameter, decoded.
type pair struct{ name, value string }

// message is a request as its signature sees it.
type message struct {
	method        string
	url           string // scheme, host and escaped path, without the query
	query, form   string // as they came
	authorization string // the header
}

// oauth are the protocol parameters of a request (RFC 5849, section 3.1).
type oauth map[string]string

// wanted are those that a request must have, and no others.
var wanted = []string{"oauth_consumer_key", "oauth_nonce", "oauth_signature", "oauth_signature_method", "oauth_timestamp", "oauth_version"}

// verify checks the signature of a request, by RFC 5849 alone: section 3.5.1 for the header, 3.4.1 for
// the base string, 3.4.2 for HMAC-SHA1 without a token. secret returns that of a key.
func verify(m message, secret func(key string) (string, bool)) (oauth, error) {
	header, err := readHeader(m.authorization)
	if err != nil {
		return nil, err
	}
	params := make(oauth, len(wanted))
	for _, p := range header {
		if !slices.Contains(wanted, p.name) {
			return nil, errors.New("a parameter that is not part of the protocol")
		}
		if _, ok := params[p.name]; ok {
			return nil, errors.New("a parameter stands in the header twice")
		}
		params[p.name] = p.value
	}
	for _, name := range wanted {
		if params[name] == "" {
			return nil, errors.New(name + " is missing")
		}
	}
	if params["oauth_version"] != "1.0" || params["oauth_signature_method"] != "HMAC-SHA1" {
		return nil, errors.New("another version or method")
	}
	key, ok := secret(params["oauth_consumer_key"])
	if !ok {
		return nil, errors.New("an unknown consumer key")
	}
	base, err := baseString(m, header)
	if err != nil {
		return nil, err
	}
	mac := hmac.New(sha1.New, []byte(encode(key)+"&"))
	mac.Write([]byte(base))
	want := base64.StdEncoding.EncodeToString(mac.Sum(nil))
	if subtle.ConstantTimeCompare([]byte(want), []byte(params["oauth_signature"])) != 1 {
		return nil, errors.New("the signature is wrong")
	}
	return params, nil
}

// baseString is section 3.4.1.1.
func baseString(m message, header []pair) (string, error) {
	params := slices.DeleteFunc(slices.Clone(header), func(p pair) bool { return p.name == "oauth_signature" })
	for _, text := range []string{m.query, m.form} {
		more, err := readForm(text)
		if err != nil {
			return "", err
		}
		for _, p := range more {
			if strings.HasPrefix(p.name, "oauth_") {
				return "", errors.New("a parameter of the protocol outside the header")
			}
		}
		params = append(params, more...)
	}
	for i, p := range params {
		params[i] = pair{encode(p.name), encode(p.value)}
	}
	slices.SortFunc(params, func(a, b pair) int {
		return cmp.Or(strings.Compare(a.name, b.name), strings.Compare(a.value, b.value))
	})
	var joined []string
	for _, p := range params {
		joined = append(joined, p.name+"="+p.value)
	}
	u, err := baseURL(m.url)
	if err != nil {
		return "", err
	}
	return strings.ToUpper(m.method) + "&" + encode(u) + "&" + encode(strings.Join(joined, "&")), nil
}

// baseURL is section 3.4.1.2: lower case, no default port.
func baseURL(raw string) (string, error) {
	scheme, rest, ok := strings.Cut(raw, "://")
	if !ok {
		return "", errors.New("no absolute URL")
	}
	host, path, _ := strings.Cut(rest, "/")
	scheme, host = strings.ToLower(scheme), strings.ToLower(host)
	if port := map[string]string{"http": ":80", "https": ":443"}[scheme]; port != "" {
		host = strings.TrimSuffix(host, port)
	}
	return scheme + "://" + host + "/" + path, nil
}

// readHeader reads Authorization: OAuth name="value", ...
func readHeader(text string) ([]pair, error) {
	scheme, rest, ok := strings.Cut(text, " ")
	if !ok || !strings.EqualFold(scheme, "OAuth") {
		return nil, errors.New("no OAuth header")
	}
	var params []pair
	for piece := range strings.SplitSeq(rest, ",") {
		name, value, ok := strings.Cut(strings.TrimSpace(piece), "=")
		if !ok || len(value) < 2 || value[0] != '"' || value[len(value)-1] != '"' {
			return nil, errors.New("the header is not in the form")
		}
		n, err := url.PathUnescape(name)
		if err != nil {
			return nil, errors.New("the header is not encoded")
		}
		v, err := url.PathUnescape(value[1 : len(value)-1])
		if err != nil {
			return nil, errors.New("the header is not encoded")
		}
		if n != "realm" {
			params = append(params, pair{n, v})
		}
	}
	return params, nil
}

// readForm reads a query or a form: section 3.4.1.3.1. A "+" is a blank there.
func readForm(text string) ([]pair, error) {
	var params []pair
	for piece := range strings.SplitSeq(text, "&") {
		if piece == "" {
			continue
		}
		name, value, _ := strings.Cut(piece, "=")
		n, err := url.QueryUnescape(name)
		if err != nil {
			return nil, errors.New("a parameter is not encoded")
		}
		v, err := url.QueryUnescape(value)
		if err != nil {
			return nil, errors.New("a parameter is not encoded")
		}
		params = append(params, pair{n, v})
	}
	return params, nil
}

// encode is section 3.6.
func encode(s string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '.', c == '_', c == '~':
			b.WriteByte(c)
		default:
			b.WriteByte('%')
			b.WriteByte(hex[c>>4])
			b.WriteByte(hex[c&15])
		}
	}
	return b.String()
}
