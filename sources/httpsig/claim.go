package httpsig

import (
	"bytes"
	"errors"
	"io"
	"net/http"

	"github.com/dunglas/httpsfv"

	"github.com/seed-f29168f7/renew/sources/internal/signing"
)

const (
	maxFields = 16 << 10 // bytes of Signature-Input and of Signature
	maxClaims = 4        // signatures that are judged
)

// claim is what one signature says of itself, unverified.
type claim struct {
	label     string
	signature []byte
	list      httpsfv.InnerList

	created           int64
	expires           *int64
	keyID, nonce, tag string
	algorithm         Algorithm
}

// claimsOf reads the signatures of a message (section 4) that label and tag, where not empty, select. There is at least one, or an error, which
// says nothing of the message.
func claimsOf(h http.Header, label, tag string) ([]claim, error) {
	inputs, err := dictionary(h, "Signature-Input")
	if err != nil {
		return nil, err
	}
	signatures, err := dictionary(h, "Signature")
	if err != nil {
		return nil, err
	}
	var out []claim
	wrong := errors.New("the message has no signature with the label and the tag that are asked for")
	for _, name := range inputs.Names() {
		if label != "" && name != label {
			continue
		}
		c, err := claimOf(name, inputs, signatures)
		if err != nil { // one that a proxy made, perhaps
			wrong = err
			continue
		}
		if tag != "" && c.tag != tag {
			continue
		}
		if len(out) == maxClaims {
			return nil, errors.New("the message has more than 4 signatures to judge")
		}
		out = append(out, c)
	}
	if len(out) == 0 {
		return nil, wrong
	}
	return out, nil
}

func dictionary(h http.Header, name string) (*httpsfv.Dictionary, error) {
	size := 0
	for _, v := range h.Values(name) {
		size += len(v) + 2
	}
	if size == 0 {
		return nil, errors.New("the message has no " + name)
	}
	if size > maxFields {
		return nil, errors.New(name + " is longer than 16 KiB")
	}
	dict, err := httpsfv.UnmarshalDictionary(h.Values(name))
	if err != nil { // its text has none of the message, and nothing that helps
		return nil, errors.New(name + " is not a dictionary of RFC 8941")
	}
	return dict, nil
}

func claimOf(label string, inputs, signatures *httpsfv.Dictionary) (claim, error) {
	c := claim{label: label}
	member, _ := inputs.Get(label)
	var ok bool
	if c.list, ok = member.(httpsfv.InnerList); !ok {
		return c, errors.New("the field Signature-Input has a member that is not a list")
	}
	member, _ = signatures.Get(label)
	item, _ := member.(httpsfv.Item)
	if c.signature, ok = item.Value.([]byte); !ok || len(c.signature) == 0 {
		return c, errors.New("the field Signature has no bytes for a label of Signature-Input")
	}
	return c, c.readParams(c.list.Params)
}

// readParams reads the parameters of section 2.3. Others are covered by the signature, and mean nothing here.
func (c *claim) readParams(params *httpsfv.Params) error {
	var expires int64
	var algorithm string
	for _, p := range []struct {
		name   string
		number *int64
		text   *string
	}{
		{"created", &c.created, nil}, {"expires", &expires, nil},
		{"keyid", nil, &c.keyID}, {"nonce", nil, &c.nonce}, {"tag", nil, &c.tag}, {"alg", nil, &algorithm},
	} {
		value, there := params.Get(p.name)
		if !there {
			continue
		}
		var ok bool
		if p.number != nil {
			*p.number, ok = value.(int64)
		} else {
			*p.text, ok = value.(string)
		}
		if !ok {
			return errors.New("the signature has a parameter of the wrong type")
		}
	}
	c.algorithm = Algorithm(algorithm)
	if _, there := params.Get("expires"); there {
		c.expires = &expires
	}
	_, created := params.Get("created")
	_, keyID := params.Get("keyid")
	switch {
	case !created:
		return errors.New("the signature does not say when it was created")
	case !keyID:
		return errors.New("the signature does not name its key")
	}
	return nil
}

// entity is the body of a message, which is read once, and only when a key has signed its digest.
type entity struct {
	body    *io.ReadCloser
	length  int64    // Content-Length, as net/http has it
	fields  []string // Content-Digest
	changed bool     // net/http has decompressed it
	read    bool
	data    []byte
}

// present reports whether the message has a body. Where only reading can tell, because somebody has wrapped it, one byte is read and
// put back.
func (e *entity) present() bool {
	body := *e.body
	if body == nil || body == http.NoBody {
		return false
	}
	if e.length > 0 {
		return true
	}
	first := make([]byte, 1)
	n, err := io.ReadFull(body, first)
	*e.body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(first[:n]), body), body}
	return n > 0 || err != io.EOF
}

// check compares the body with its Content-Digest, and leaves one that can be read from its start.
func (e *entity) check(limit int64) error {
	if e.changed {
		return refuse("the body was decompressed, so that its Content-Digest cannot be checked")
	}
	if !e.read {
		data, again, err := signing.TakeBody(*e.body, limit)
		if err != nil {
			return err
		}
		e.data, *e.body, e.read = data, again, true
	}
	if err := CheckContentDigest(e.fields, e.data); err != nil {
		return refuse("the body is not the one of its Content-Digest, or there is none to check")
	}
	return nil
}
