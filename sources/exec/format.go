package exec

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/sources/internal/header"
	"github.com/seed-f29168f7/renew/sources/internal/jws"
)

// Format is what a command prints.
type Format uint8

const (
	// Text is the token alone; white space around it is dropped. A JWT that says when it ends gets that as its Expiry: gcloud auth
	// print-access-token, gh auth token, az account get-access-token --query accessToken -o tsv.
	Text Format = iota
	// JSON is an object with access_token, accessToken or token; token_type or tokenType; and one of expires_in (seconds),
	// expires_on (seconds since 1970) and expiry, token_expiry or expiresOn (RFC 3339). The last is read in local time
	// where it has no zone, as az prints it beside expires_on. The object may be the member credential of another, as gcloud config
	// config-helper --format=json prints it.
	JSON
	// Kubernetes is an ExecCredential of client.authentication.k8s.io, v1 or v1beta1, with status.token. Client certificates are not read.
	Kubernetes
	// AWS is what a credential_process prints: Version 1, AccessKeyId, SecretAccessKey, SessionToken and Expiration. The
	// Token's Value has the three credentials, which [AWSCredentials] reads; it is never sent.
	AWS
)

// Why what a command printed is no token. They hold nothing of it.
var (
	errNothing = errors.New("it printed nothing")
	errText    = errors.New("it printed more than a token: white space within, a control character or something else than ASCII")
	errHalf    = errors.New("it printed the beginning of a JWT and not a whole one")
	errExpired = errors.New("it printed a token that has expired by the local clock")
	errJSON    = errors.New("it did not print one JSON object")
	errNoToken = errors.New("its JSON has no token that can be sent")
	errTimes   = errors.New("its JSON has an expiry that is no time")
	errKind    = errors.New("it did not print an ExecCredential of client.authentication.k8s.io/v1 or v1beta1 with a status")
	errVersion = errors.New("it did not print credentials of Version 1 with AccessKeyId and SecretAccessKey")
)

// read reads what a command printed. It is pure.
func read(format Format, out []byte, now time.Time) (*renew.Token, error) {
	if len(bytes.TrimSpace(out)) == 0 {
		return nil, errNothing
	}
	var tok *renew.Token
	var err error
	switch format {
	case Text:
		tok = &renew.Token{Value: renew.NewSecret(string(bytes.TrimSpace(out)))}
	case JSON:
		tok, err = readJSON(out)
	case Kubernetes:
		tok, err = readKubernetes(out)
	case AWS:
		tok, err = readAWS(out)
	}
	if err != nil {
		return nil, err
	}
	value := tok.Value.Reveal()
	if !header.Visible(value) {
		if format == Text {
			return nil, errText
		}
		return nil, errNoToken
	}
	if format != AWS && tok.Life == 0 && tok.Expiry.IsZero() {
		tok.Expiry, err = jws.Expiry(value, now)
	}
	switch {
	case errors.Is(err, jws.ErrExpired), tok.Life == 0 && !tok.Expiry.IsZero() && !tok.Expiry.After(now):
		return nil, errExpired
	case err != nil:
		return nil, errHalf
	}
	return tok, nil
}

// decode reads one JSON object, and nothing behind it, into v.
func decode(out []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(bytes.TrimPrefix(out, []byte("\ufeff"))))
	if dec.Decode(v) != nil {
		return errJSON
	}
	if _, err := dec.Token(); err != io.EOF {
		return errJSON
	}
	return nil
}

// printed are the members of the JSON format.
type printed struct {
	AccessToken  string          `json:"access_token"`
	AccessToken2 string          `json:"accessToken"`
	Token        string          `json:"token"`
	TokenType    string          `json:"token_type"`
	TokenType2   string          `json:"tokenType"`
	ExpiresIn    json.RawMessage `json:"expires_in"`
	ExpiresOn    json.RawMessage `json:"expires_on"`
	Expiry       string          `json:"expiry"`
	TokenExpiry  string          `json:"token_expiry"`
	ExpiresOn2   string          `json:"expiresOn"`
	Credential   *printed        `json:"credential"`
}

// maxLife bounds a life, so that no deadline computed from it overflows: 100 years.
const maxLife = 100 * 365 * 24 * time.Hour

func readJSON(out []byte) (*renew.Token, error) {
	var p printed
	if err := decode(out, &p); err != nil {
		return nil, err
	}
	if p.Credential != nil {
		p = *p.Credential
	}
	tok := &renew.Token{Value: renew.NewSecret(first(p.AccessToken, p.AccessToken2, p.Token)), Type: first(p.TokenType, p.TokenType2)}
	switch {
	case tok.Value.IsZero():
		return nil, errNoToken
	case tok.Type != "" && !header.IsToken(tok.Type):
		return nil, errNoToken
	case strings.EqualFold(tok.Type, "bearer"):
		tok.Type = "" // RFC 6749, section 5.1: it is case insensitive
	}
	if set(p.ExpiresIn) {
		seconds, ok := number(p.ExpiresIn)
		if !ok {
			return nil, errTimes
		}
		if seconds <= 0 {
			return nil, errExpired
		}
		tok.Life = max(time.Duration(min(seconds, maxLife.Seconds())*float64(time.Second)), 1)
		return tok, nil
	}
	if set(p.ExpiresOn) {
		seconds, ok := number(p.ExpiresOn)
		if !ok || seconds <= 0 || seconds >= 253402300800 { // the year 10000
			return nil, errTimes
		}
		whole, part := math.Modf(seconds)
		tok.Expiry = time.Unix(int64(whole), int64(part*1e9))
		return tok, nil
	}
	var err error
	tok.Expiry, err = date(first(p.Expiry, p.TokenExpiry, p.ExpiresOn2), p.ExpiresOn2 != "")
	return tok, err
}

// first returns the first text that is not empty.
func first(texts ...string) string {
	for _, s := range texts {
		if s != "" {
			return s
		}
	}
	return ""
}

func set(value json.RawMessage) bool { return value != nil && string(value) != "null" }

// number reads a JSON number, also one in quotes.
func number(value json.RawMessage) (float64, bool) {
	n, err := strconv.ParseFloat(strings.Trim(string(value), `"`), 64)
	return n, err == nil && !math.IsNaN(n)
}

// date reads a time of RFC 3339, or where local is set one without a zone. An empty text is the zero Time.
func date(text string, local bool) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil && local {
		at, err = time.ParseInLocation("2006-01-02 15:04:05", text, time.Local)
	}
	if err != nil || at.Unix() <= 0 {
		return time.Time{}, errTimes
	}
	return at, nil
}

func readKubernetes(out []byte) (*renew.Token, error) {
	var p struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
		Status     *struct {
			Token      string `json:"token"`
			Expiration string `json:"expirationTimestamp"`
		} `json:"status"`
	}
	if err := decode(out, &p); err != nil {
		return nil, err
	}
	version, ok := strings.CutPrefix(p.APIVersion, "client.authentication.k8s.io/")
	switch {
	case !ok || version != "v1" && version != "v1beta1" || p.Kind != "ExecCredential" || p.Status == nil:
		return nil, errKind
	case p.Status.Token == "":
		return nil, errNoToken
	}
	expiry, err := date(p.Status.Expiration, false)
	return &renew.Token{Value: renew.NewSecret(p.Status.Token), Expiry: expiry}, err
}
