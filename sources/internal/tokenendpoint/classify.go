package tokenendpoint

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"

	"github.com/seed-f29168f7/renew"
)

// codeInvalidGrant is refused; whether for good, the grant decides.
const codeInvalidGrant = "invalid_grant"

// meaning has the error codes that are known, with what they say. A code that is
// neither here nor invalid_grant is a refusal, not permanent.
var meaning = map[string]struct {
	kind      renew.Kind
	permanent bool
}{
	// RFC 6749, section 5.2.
	"invalid_client":         {renew.Refused, true},
	"unauthorized_client":    {renew.Refused, true},
	"invalid_request":        {renew.Refused, true},
	"invalid_scope":          {renew.Refused, true},
	"unsupported_grant_type": {renew.Refused, true},
	codeInvalidGrant:         {renew.Refused, false},
	// RFC 6749, section 4.1.2.1, is about the authorization endpoint, but token endpoints send them too.
	"access_denied":           {renew.Refused, true},
	"temporarily_unavailable": {renew.Transient, false},
	"server_error":            {renew.Transient, false},
	// RFC 8628, section 3.5: ask again, or ask for a new code.
	"authorization_pending": {renew.Transient, false},
	"slow_down":             {renew.Transient, false},
	"expired_token":         {renew.Transient, false},
	// RFC 7009, section 2.2.1.
	"unsupported_token_type": {renew.Refused, true},
	// RFC 8707, section 2: the resource that was asked for.
	"invalid_target": {renew.Refused, true},
	// OpenID Connect Core, section 3.1.2.6: a person must act first.
	"interaction_required": {renew.Refused, true},
	"login_required":       {renew.Refused, true},
	"consent_required":     {renew.Refused, true},
}

func known(code string) bool { _, ok := meaning[code]; return ok }

// Classify tells what a reply means that is taken as a failure, as an error
// without Source and Host. now counts when Retry-After is a date and the reply
// has no Date. It is pure.
func Classify(status int, h http.Header, body []byte, now time.Time) *renew.IssueError {
	if _, e := read(status, h, body, now, ""); e != nil {
		return e
	}
	return &renew.IssueError{Status: status, Err: errors.New("the reply was not used")}
}

// judge is the table of what an error means. A status that says what is wrong with
// the server comes first, then the protocol's error code, then the other statuses:
// a proxy that knows nothing of the credentials answers 403 in HTML, and that is no refusal.
func judge(status int, code string, pause time.Duration, asked bool) *renew.IssueError {
	e := &renew.IssueError{Status: status, Code: code, RetryAfter: pause}
	m, ok := meaning[code]
	switch {
	case status/100 == 3:
		e.Kind, e.Permanent, e.Code = renew.Invalid, true, ""
		e.Err = errors.New("the endpoint redirects, which is not followed: configure the address it has now")
	case status == http.StatusTooManyRequests, status == http.StatusServiceUnavailable && asked:
		e.Kind = renew.Throttled
	case status < 200, status == http.StatusRequestTimeout, status >= 500:
		e.Kind = renew.Transient
	case ok:
		e.Kind, e.Permanent = m.kind, m.permanent
	case status == http.StatusNotFound:
		e.Kind, e.Permanent = renew.Refused, true
		e.Err = errors.New("there is no endpoint at this address")
	case code != "", status == http.StatusUnauthorized:
		e.Kind = renew.Refused
	default:
		e.Kind = renew.Transient
		e.Err = errors.New("the reply has no error code of the protocol")
	}
	return e
}

// fault tells what a failed exchange means. When ctx has ended, that is why.
func fault(ctx context.Context, err error) *renew.IssueError {
	if ctx.Err() != nil {
		return &renew.IssueError{Kind: renew.Transient, Err: context.Cause(ctx)}
	}
	return Fault(err)
}

// Fault makes a transient error of one that an HTTP client, or a library that
// uses one, returned. It keeps an error only if its type is known to hold nothing
// of the exchange, and says the type of any other: a *url.Error shows the query,
// and what net/http says of a malformed reply quotes it, which may echo the request.
func Fault(err error) *renew.IssueError {
	return &renew.IssueError{Kind: renew.Transient, Unsent: beforeSending(err), Err: plain(err)}
}

// plain returns the part of an error that holds nothing of the exchange.
func plain(err error) error {
	if e, ok := errors.AsType[*net.OpError](err); ok && e.Op == "proxyconnect" {
		// What is inside may be the proxy's text.
		return &net.OpError{Op: e.Op, Net: e.Net, Addr: e.Addr, Err: plain(e.Err)}
	}
	if e, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return tls.RecordHeaderError{Msg: e.Msg, RecordHeader: e.RecordHeader} // without the connection
	}
	for _, kept := range []error{
		pick[*renew.IssueError](err), pick[*renew.BudgetError](err),
		pick[*net.OpError](err), pick[*net.DNSError](err), pick[*os.SyscallError](err), pick[syscall.Errno](err),
		pick[*tls.CertificateVerificationError](err), pick[tls.AlertError](err),
		pick[x509.HostnameError](err), pick[x509.UnknownAuthorityError](err), pick[x509.CertificateInvalidError](err), pick[x509.SystemRootsError](err),
	} {
		if kept != nil {
			return kept
		}
	}
	for _, kept := range []error{
		http.ErrSchemeMismatch, io.ErrUnexpectedEOF, io.EOF, context.Canceled, context.DeadlineExceeded,
		os.ErrDeadlineExceeded, net.ErrClosed, renew.ErrClosed, renew.ErrHung, renew.ErrInteractionRequired, renew.ErrBudgetSpent,
	} {
		if errors.Is(err, kept) {
			return kept
		}
	}
	if e, ok := errors.AsType[net.Error](err); ok && e.Timeout() {
		return os.ErrDeadlineExceeded
	}
	for inner := err; inner != nil; inner = errors.Unwrap(inner) {
		err = inner
	}
	return fmt.Errorf("the exchange failed with a %T, whose text is not shown", err)
}

// pick returns the first E in err's tree, or nil.
func pick[E error](err error) error {
	if e, ok := errors.AsType[E](err); ok {
		return e
	}
	return nil
}

// beforeSending reports whether an error is of a kind that comes before the first
// byte of a request: names, dials, TLS handshakes.
func beforeSending(err error) bool {
	if e, ok := errors.AsType[*net.OpError](err); ok && (e.Op == "dial" || e.Op == "proxyconnect") {
		return true
	}
	if e, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return e.Conn != nil // nil says that there had been a handshake
	}
	return pick[*net.DNSError](err) != nil || pick[*tls.CertificateVerificationError](err) != nil ||
		pick[x509.HostnameError](err) != nil || pick[x509.UnknownAuthorityError](err) != nil || pick[x509.CertificateInvalidError](err) != nil ||
		errors.Is(err, http.ErrSchemeMismatch)
}
