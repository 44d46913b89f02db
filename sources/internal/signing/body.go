package signing

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// HasBody reports whether a request of a client has a body.
func HasBody(req *http.Request) bool { return req.Body != nil && req.Body != http.NoBody }

// ReadBody copies the body of a client's request to w by way of GetBody, and leaves req.Body alone. A
// request without a body has nothing to copy.
func ReadBody(req *http.Request, w io.Writer) error {
	if !HasBody(req) {
		return nil
	}
	if req.GetBody == nil {
		return errors.New("the signature covers the body, which can be read only once: set Request.GetBody (http.NewRequest does so for readers of bytes and strings)")
	}
	body, err := req.GetBody()
	if err != nil {
		return fmt.Errorf("the signature covers the body, and Request.GetBody failed: %w", err)
	}
	_, err = io.Copy(w, body)
	if cerr := body.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("the signature covers the body, which could not be read: %w", err)
	}
	return nil
}

// TakeBody reads all of a received body, at most limit bytes of it, and returns it with a reader that
// gives it out again. It closes body, which may be nil. A body that is longer is a Refusal with status 413, one that breaks
// off is one with 400.
func TakeBody(body io.ReadCloser, limit int64) ([]byte, io.ReadCloser, error) {
	if body == nil || body == http.NoBody {
		return nil, http.NoBody, nil
	}
	data, err := io.ReadAll(io.LimitReader(body, max(limit, limit+1))) // MaxInt64 has no next
	if cerr := body.Close(); err == nil {
		err = cerr
	}
	switch {
	case err != nil:
		return nil, nil, Refusal{Status: http.StatusBadRequest, Reason: "the body could not be read"}
	case int64(len(data)) > limit:
		return nil, nil, Refusal{Status: http.StatusRequestEntityTooLarge, Reason: "the body is longer than the verifier reads"}
	}
	return data, io.NopCloser(bytes.NewReader(data)), nil
}
