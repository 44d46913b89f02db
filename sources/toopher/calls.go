package toopher

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/seed-f29168f7/renew"
)

// Pair ties a user to the phone that shows the pairing phrase, with POST
// /pairings/create. The phone must still agree: see WaitForPairing.
//
// This call and all below send one request and block until its reply, the end of ctx or
// the Timeout. What an error means is said in the package comment.
func (c *Client) Pair(ctx context.Context, phrase, userName string, extra ...Field) (*Pairing, error) {
	return c.pair(ctx, "Pair", "/pairings/create", fields{{"pairing_phrase", phrase}, {"user_name", userName}}, extra)
}

// PairSMS pairs by a text message to the number, with POST /pairings/create/sms.
// The country is a calling code, or empty for Toopher's default.
func (c *Client) PairSMS(ctx context.Context, number, userName, country string, extra ...Field) (*Pairing, error) {
	own := fields{{"phone_number", number}, {"user_name", userName}}
	if country != "" {
		own = append(own, Field{"phone_country", country})
	}
	return c.pair(ctx, "PairSMS", "/pairings/create/sms", own, extra, "phone_country")
}

// PairQR makes a pairing that a QR code completes, with POST /pairings/create/qr.
// The image is at /qr/pairings/ and the pairing's id: see Raw.
func (c *Client) PairQR(ctx context.Context, userName string, extra ...Field) (*Pairing, error) {
	return c.pair(ctx, "PairQR", "/pairings/create/qr", fields{{"user_name", userName}}, extra)
}

func (c *Client) pair(ctx context.Context, call, path string, own fields, extra []Field, reserved ...string) (*Pairing, error) {
	body, err := c.post(ctx, call, path, own, extra, reserved...)
	if err != nil {
		return nil, err
	}
	return parsed(body, http.MethodPost, path, ParsePairing)
}

// PairingStatus asks how a pairing is, with GET /pairings/{id}.
func (c *Client) PairingStatus(ctx context.Context, pairingID string) (*Pairing, error) {
	id, err := segment("PairingStatus", "pairing id", pairingID)
	if err != nil {
		return nil, err
	}
	path := "/pairings/" + id
	body, err := c.call(ctx, http.MethodGet, path, nil)
	if err != nil {
		return nil, err
	}
	return parsed(body, http.MethodGet, path, ParsePairing)
}

const initiate = "/authentication_requests/initiate"

// Authenticate asks the phone of a pairing to allow a login from a terminal, with
// POST /authentication_requests/initiate. The name of the terminal is shown to the
// user; it may be empty with a [TerminalID]. Give each terminal a [TerminalNameExtra] too.
func (c *Client) Authenticate(ctx context.Context, pairingID, terminalName string, extra ...Field) (*Authentication, error) {
	const call = "Authenticate"
	own := fields{{"pairing_id", pairingID}}
	if terminalName != "" || !fields(extra).has("terminal_id") {
		own = append(own, Field{"terminal_name", terminalName})
	}
	// A user's name beside a pairing would leave it to the service which of them counts.
	return c.authenticate(ctx, call, own, nil, extra, "terminal_name", "user_name")
}

// AuthenticateByUserName asks the phone of a user, whom the requester knows by
// name, to allow a login from a terminal that it knows by the secret id terminalNameExtra, with POST
// /authentication_requests/initiate. It is the first step of [Client.Login].
func (c *Client) AuthenticateByUserName(ctx context.Context, userName, terminalNameExtra string, extra ...Field) (*Authentication, error) {
	own := fields{{"user_name", userName}, {"terminal_name_extra", terminalNameExtra}}
	var empty fields
	if c != nil && c.EmptyFields {
		empty = fields{{"pairing_id", ""}, {"terminal_name", ""}}
	}
	return c.authenticate(ctx, "AuthenticateByUserName", own, empty, extra,
		"pairing_id", "terminal_name", "requester_specified_terminal_id")
}

func (c *Client) authenticate(ctx context.Context, call string, own, empty fields, extra []Field, reserved ...string) (*Authentication, error) {
	if err := need(call, givens(own)...); err != nil {
		return nil, err
	}
	f, err := own.with(call, extra, reserved...)
	if err != nil {
		return nil, err
	}
	body, err := c.call(ctx, http.MethodPost, initiate, slices.Concat(empty, f))
	if err != nil {
		return nil, err
	}
	return parsed(body, http.MethodPost, initiate, ParseAuthentication)
}

// AuthenticationStatus asks for the answer to a request, with GET /authentication_requests/{id}.
func (c *Client) AuthenticationStatus(ctx context.Context, requestID string) (*Authentication, error) {
	id, err := segment("AuthenticationStatus", "request id", requestID)
	if err != nil {
		return nil, err
	}
	path := "/authentication_requests/" + id
	body, err := c.call(ctx, http.MethodGet, path, nil)
	if err != nil {
		return nil, err
	}
	return parsed(body, http.MethodGet, path, ParseAuthentication)
}

// AuthenticateWithOTP answers a request by a one-time password that the user typed,
// with POST /authentication_requests/{id}/otp_auth.
func (c *Client) AuthenticateWithOTP(ctx context.Context, requestID, otp string, extra ...Field) (*Authentication, error) {
	const call = "AuthenticateWithOTP"
	id, err := segment(call, "request id", requestID)
	if err != nil {
		return nil, err
	}
	path := "/authentication_requests/" + id + "/otp_auth"
	body, err := c.post(ctx, call, path, fields{{"otp", otp}}, extra)
	if err != nil {
		return nil, err
	}
	return parsed(body, http.MethodPost, path, ParseAuthentication)
}

// CreateUserTerminal makes a terminal of a user known by the requester's secret id of it, with
// POST /user_terminals/create. Any JSON is taken as success: services differ in what they answer.
func (c *Client) CreateUserTerminal(ctx context.Context, userName, terminalName, terminalNameExtra string, extra ...Field) error {
	const path = "/user_terminals/create"
	own := fields{{"user_name", userName}, {"name", terminalName}, {"name_extra", terminalNameExtra}}
	body, err := c.post(ctx, "CreateUserTerminal", path, own, extra, "requester_specified_id")
	if err != nil {
		return err
	}
	_, err = parsed(body, http.MethodPost, path, anyJSON)
	return err
}

// SetUserEnabled switches Toopher on or off for a user, whom it finds by name: GET
// /users?name= and POST /users/{id}. When it finds nobody, several, or somebody else, nothing is
// changed, and the error is an *APIError that matches ErrNoUser or ErrSeveralUsers.
func (c *Client) SetUserEnabled(ctx context.Context, userName string, enabled bool) error {
	const call, path = "SetUserEnabled", "/users"
	if err := need(call, given{"user name", userName}); err != nil {
		return err
	}
	body, err := c.call(ctx, http.MethodGet, path, fields{{"name", userName}})
	if err != nil {
		return err
	}
	user, err := parsed(body, http.MethodGet, path, func(reply []byte) (User, error) {
		users, err := parseUsers(reply)
		if err != nil {
			return User{}, err
		}
		return theOne(users, userName)
	})
	if err != nil {
		return err
	}
	id, err := segment(call, "user id", user.ID)
	if err != nil {
		return &APIError{Status: http.StatusOK, Method: http.MethodGet, Path: path, Err: errors.New("the reply's id is no id")}
	}
	body, err = c.call(ctx, http.MethodPost, path+"/"+id, fields{{"disable_toopher_auth", strconv.FormatBool(!enabled)}})
	if err != nil {
		return err
	}
	_, err = parsed(body, http.MethodPost, path+"/"+id, anyJSON)
	return err
}

// theOne returns the one user that a search for a name found.
func theOne(users []User, name string) (User, error) {
	switch {
	case len(users) == 0:
		return User{}, ErrNoUser
	case len(users) > 1:
		return User{}, ErrSeveralUsers
	case !strings.EqualFold(users[0].Name, name):
		return User{}, fmt.Errorf("%w: the search found somebody else", ErrNoUser)
	}
	return users[0], nil
}

// Raw sends a signed GET or POST to any path below the base URL, for what has no call
// of its own, and returns the body of a 2xx reply as it is. The path starts with a slash, is
// escaped (url.PathEscape each segment), and has no query: fields are that of a GET and the body of a POST.
func (c *Client) Raw(ctx context.Context, method, path string, extra ...Field) ([]byte, error) {
	wrong := func(field, reason string) error {
		return &renew.ConfigError{Field: "toopher: Raw: " + field, Reason: reason}
	}
	if method != http.MethodGet && method != http.MethodPost {
		return nil, wrong("method", "must be GET or POST")
	}
	u, err := url.Parse(path)
	switch {
	case err != nil || u.EscapedPath() != path || !strings.HasPrefix(path, "/") || strings.HasPrefix(path, "//"):
		return nil, wrong("path", "must be an escaped path that starts with one slash, without a query")
	case slices.ContainsFunc(strings.Split(u.Path, "/"), func(s string) bool { return s == "." || s == ".." }):
		return nil, wrong("path", "has a segment of dots, which names something else")
	}
	f, err := fields(nil).with("Raw", extra)
	if err != nil {
		return nil, err
	}
	return c.call(ctx, method, path, f)
}

// post sends a call whose own fields must not be empty.
func (c *Client) post(ctx context.Context, call, path string, own fields, extra []Field, reserved ...string) ([]byte, error) {
	if err := need(call, givens(own)...); err != nil {
		return nil, err
	}
	f, err := own.with(call, extra, reserved...)
	if err != nil {
		return nil, err
	}
	return c.call(ctx, http.MethodPost, path, f)
}

func givens(own fields) []given {
	args := make([]given, len(own))
	for i, f := range own {
		args[i] = given{f.Name, f.Value}
	}
	return args
}

// parsed reads the body of a success; one that is not in the form is an API error like any other.
func parsed[T any](body []byte, method, path string, parse func([]byte) (T, error)) (T, error) {
	v, err := parse(body)
	if err != nil {
		var none T
		return none, &APIError{Status: http.StatusOK, Method: method, Path: path, Err: err}
	}
	return v, nil
}
