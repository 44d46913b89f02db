package renew

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/url"
)

// neverSent reports whether err shows that the request never reached the issuer:
// its name was not found, it could not be dialled, or TLS failed.
func neverSent(err error) bool {
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return true
	}
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return true
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return true
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return true
	}
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return true
	}
	_, ok := errors.AsType[tls.RecordHeaderError](err)
	return ok
}

// withoutURL returns the host of the first *url.Error within err, and the cause
// of the last. The text of one has the URL, whose query may hold a secret.
func withoutURL(err error) (host string, cause error) {
	for {
		ue, ok := errors.AsType[*url.Error](err)
		if !ok {
			return host, err
		}
		if ue == nil || ue.Err == nil {
			return host, errNoCause
		}
		if u, perr := url.Parse(ue.URL); perr == nil {
			host = cmp.Or(host, u.Host)
		}
		err = ue.Err
	}
}

// errNoCause stands for a *url.Error that has no cause.
var errNoCause = errors.New("the request failed")
