package renew

import (
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

// withoutURL returns the host of a *url.Error and its cause. The error's own
// text has the URL, whose query may hold a secret.
func withoutURL(err error) (host string, cause error) {
	ue, ok := errors.AsType[*url.Error](err)
	if !ok || ue.Err == nil {
		return "", err
	}
	if u, perr := url.Parse(ue.URL); perr == nil {
		host = u.Host
	}
	return host, ue.Err
}
