// Package privatekey reads private keys as sources are given them.
package privatekey

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"strings"

	"github.com/seed-f29168f7/renew"
)

// maxText bounds what is read of a PEM text.
const maxText = 1 << 20

// Parse reads the first private key of a PEM text, unencrypted, as PKCS #8 ("PRIVATE KEY", RFC 5958), PKCS #1
// ("RSA PRIVATE KEY", RFC 8017) or SEC 1 ("EC PRIVATE KEY", RFC 5915), and returns it as crypto/x509 does. What stands before it, such
// as EC PARAMETERS or a certificate, is passed over. Its errors hold nothing of the text and follow the name of a field.
func Parse(text renew.Secret) (key any, err error) {
	rest := []byte(text.Reveal())
	if len(rest) > maxText {
		return nil, errors.New("is longer than 1 MiB, which no key is")
	}
	seen := false
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		seen = true
		switch {
		case block.Type == "ENCRYPTED PRIVATE KEY", strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED"):
			return nil, errors.New("is encrypted: write it without a passphrase with openssl pkcs8 -topk8 -nocrypt, to a place that only this program can read")
		case block.Type == "PRIVATE KEY":
			key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
		case block.Type == "RSA PRIVATE KEY":
			key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
		case block.Type == "EC PRIVATE KEY":
			key, err = x509.ParseECPrivateKey(block.Bytes)
		default:
			continue
		}
		if err != nil {
			return nil, errors.New("cannot be read: its PEM block is not what its first line says")
		}
		return key, nil
	}
	if seen {
		return nil, errors.New("is PEM without a private key that can be read (PKCS #8, PKCS #1 or SEC 1): convert it with openssl pkcs8 -topk8 -nocrypt")
	}
	return nil, errors.New(`is not PEM: give the text that begins with -----BEGIN, with its line breaks (not \n)`)
}
