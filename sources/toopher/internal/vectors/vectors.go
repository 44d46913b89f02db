// Package vectors reads the golden vectors of the Toopher API, for tests.
package vectors

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"
)

// File is testdata/toopher.json.
type File struct {
	Format       int               `json:"format"`
	Title        string            `json:"title"`
	Values       string            `json:"values"`
	BaseURL      string            `json:"base_url"`
	HowMade      string            `json:"how_made"`
	Reading      map[string]string `json:"reading"`
	ErrorCodes   map[string]string `json:"error_codes"`
	ErrorTexts   []string          `json:"error_texts_meaning_pairing_deactivated"`
	Endpoints    []Endpoint        `json:"endpoints"`
	Errors       []Error           `json:"errors"`
	BadSuccess   BadSuccess        `json:"bad_success_replies"`
	UserSearch   []UserSearch      `json:"user_search"`
	Outcomes     []Outcome         `json:"authentication_outcomes"`
	PairOutcomes []PairOutcome     `json:"pairing_outcomes"`
	Iframe       Iframe            `json:"iframe_optional"`
}

// Endpoint is one request with its reply.
type Endpoint struct {
	ID            string          `json:"id"`
	SeedRequired  bool            `json:"seed_required"`
	ClientVersion string          `json:"client_version"`
	PythonCall    string          `json:"python_call"`
	Confidence    string          `json:"confidence"`
	Note          string          `json:"note"`
	Request       Request         `json:"request"`
	Response      Response        `json:"response"`
	Parsed        json.RawMessage `json:"parsed"`
}

// Request is a signed request.
type Request struct {
	Method  string            `json:"method"`
	Path    string            `json:"path"`
	URL     string            `json:"url"`
	Query   *string           `json:"query"`
	Params  [][2]string       `json:"params"`
	Headers map[string]string `json:"headers"`
	Body    *string           `json:"body"`
	OAuth   struct {
		ConsumerKey     string            `json:"consumer_key"`
		ConsumerSecret  string            `json:"consumer_secret"`
		Nonce           string            `json:"nonce"`
		Timestamp       string            `json:"timestamp"`
		SignatureMethod string            `json:"signature_method"`
		Version         string            `json:"version"`
		BaseString      string            `json:"base_string"`
		Signature       string            `json:"signature"`
		Params          map[string]string `json:"oauth_params"`
		Authorization   string            `json:"authorization"`
	} `json:"oauth"`
}

// Response is a reply.
type Response struct {
	Status     int               `json:"status"`
	Headers    map[string]string `json:"headers"`
	Body       string            `json:"body"`
	BodyBase64 []byte            `json:"body_base64"`
	JSON       json.RawMessage   `json:"json"`
	Note       string            `json:"note"`
}

// Error is a reply that is an error.
type Error struct {
	ID          string      `json:"id"`
	Status      int         `json:"status"`
	ContentType string      `json:"content_type"`
	Body        string      `json:"body"`
	Expect      ErrorExpect `json:"expect"`
	Python      string      `json:"python_1_1_0"`
	Confidence  string      `json:"confidence"`
	Note        string      `json:"note"`
}

// ErrorExpect is what an error must be read as.
type ErrorExpect struct {
	Kind       string  `json:"kind"`
	IsAPIError bool    `json:"is_api_error"`
	ErrorCode  *int    `json:"error_code"`
	Message    *string `json:"message"`
	HTTPStatus int     `json:"http_status"`
}

// BadSuccess are replies with 200 that are none.
type BadSuccess struct {
	Request string `json:"request"`
	Cases   []struct {
		ID     string      `json:"id"`
		Status int         `json:"status"`
		Body   string      `json:"body"`
		Expect ErrorExpect `json:"expect"`
		Python string      `json:"python_1_1_0"`
		Note   string      `json:"note"`
	} `json:"cases"`
}

// UserSearch is a reply to a search that is no one user.
type UserSearch struct {
	ID           string          `json:"id"`
	Reply        json.RawMessage `json:"reply"`
	Expect       string          `json:"expect"`
	MessageAbout string          `json:"message_about"`
}

// Outcome is what the flags of an authentication request come to.
type Outcome struct {
	Pending   bool   `json:"pending"`
	Granted   bool   `json:"granted"`
	Automated bool   `json:"automated"`
	Outcome   string `json:"outcome"`
	Note      string `json:"note"`
}

// PairOutcome is what the flags of a pairing come to.
type PairOutcome struct {
	Pending *bool  `json:"pending"`
	Enabled bool   `json:"enabled"`
	Outcome string `json:"outcome"`
}

// Iframe has signed URLs and postbacks.
type Iframe struct {
	ConsumerKey    string      `json:"consumer_key"`
	ConsumerSecret string      `json:"consumer_secret"`
	URLs           []IframeURL `json:"urls"`
	Postback       struct {
		Field         string     `json:"field"`
		FrameworkArgs string     `json:"framework_args"`
		Signature     string     `json:"signature"`
		Cases         []Postback `json:"cases"`
	} `json:"postback"`
}

// IframeURL is a signed URL.
type IframeURL struct {
	ID            string      `json:"id"`
	ClientVersion string      `json:"client_version"`
	Path          string      `json:"path"`
	Params        [][2]string `json:"params"`
	Now           int64       `json:"now"`
	TTL           int         `json:"ttl"`
	Nonce         string      `json:"nonce"`
	Timestamp     string      `json:"timestamp"`
	BaseString    string      `json:"base_string"`
	SignedURL     string      `json:"signed_url"`
}

// Postback is what an iframe posts.
type Postback struct {
	ID             string            `json:"id"`
	ConsumerSecret string            `json:"consumer_secret"`
	Now            int64             `json:"now"`
	TTL            int               `json:"ttl"`
	RequestToken   string            `json:"request_token"`
	Fields         map[string]string `json:"fields"`
	Form           string            `json:"form"`
	Expect         struct {
		Result  string `json:"result"`
		Granted bool   `json:"granted"`
		Error   string `json:"error"`
	} `json:"expect"`
	Note     string `json:"note"`
	Optional bool   `json:"optional"`
}

// Load reads the file. A key that is not known fails t.
func Load(t testing.TB, path string) *File {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var f File
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&f); err != nil {
		t.Fatal(err)
	}
	return &f
}

// Ran reports how many cases of a list were run, and fails t unless they are all of it.
func Ran(t testing.TB, list string, ran, length int) {
	t.Helper()
	t.Logf("vectors %s: %d cases", list, ran)
	if ran != length || length == 0 {
		t.Errorf("vectors %s: %d cases run of %d", list, ran, length)
	}
}

// URL returns the URL of the request with its query.
func (v Endpoint) URL() string {
	if v.Request.Query == nil || strings.Contains(v.Request.URL, "?") {
		return v.Request.URL
	}
	return v.Request.URL + "?" + *v.Request.Query
}
