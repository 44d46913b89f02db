package oauth1

import (
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"strings"

	"github.com/seed-f29168f7/renew/sources/internal/signing"
)

const formType = "application/x-www-form-urlencoded"

// isForm reports whether a Content-Type says that the body is a form, whatever its charset.
func isForm(contentType string) bool {
	media, _, _ := strings.Cut(contentType, ";")
	return strings.EqualFold(strings.TrimSpace(media), formType)
}

// entity is what a signature needs of a request's body.
type entity struct {
	form string // the text of a form
	hash string // oauth_body_hash
}

// readEntity reads what has to be read of the body, through GetBody.
func (s *Signer) readEntity(req *http.Request) (entity, error) {
	form := isForm(req.Header.Get("Content-Type"))
	switch body := signing.HasBody(req); {
	case s.Placement == Body && !(form && body) && !startsForm(req, form):
		return entity{}, errors.New("Placement is Body, and the request has no form to take the parameters: send a form, or set Placement to Header")
	case form && body && (s.Method != Plaintext || s.Placement == Body):
		var text strings.Builder
		err := signing.ReadBody(req, &text)
		return entity{form: text.String()}, err
	case s.BodyHash != NoBodyHash && !form && s.Placement != Body:
		// The draft, section 3.2: without a body, the hash of the empty string.
		h := s.BodyHash.new()
		err := signing.ReadBody(req, h)
		return entity{hash: base64.StdEncoding.EncodeToString(h.Sum(nil))}, err
	}
	return entity{}, nil
}

// startsForm reports whether a request without a body may be given a form. form says that its Content-Type is that of one.
func startsForm(req *http.Request, form bool) bool {
	if signing.HasBody(req) || req.Header.Get("Content-Type") != "" && !form {
		return false
	}
	return req.Method == http.MethodPost || req.Method == http.MethodPut || req.Method == http.MethodPatch
}

// replaceBody makes text the body of req, and closes the one that was.
func replaceBody(req *http.Request, text string) {
	if req.Body != nil {
		_ = req.Body.Close() // nothing was read of it
	}
	req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil }
	req.Body, _ = req.GetBody()
	req.ContentLength, req.TransferEncoding = int64(len(text)), nil
	if req.Header == nil {
		req.Header = make(http.Header, 1)
	}
	if req.Header.Get("Content-Type") == "" {
		req.Header.Set("Content-Type", formType)
	}
	// Where the caller stated a length, it was the old one's. net/http writes ContentLength.
	req.Header.Del("Content-Length")
}
