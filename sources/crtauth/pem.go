package crtauth

import (
	"context"
	"crypto/rsa"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/sources/internal/input"
)

// PEM is a Signer of a private key in text form: PKCS#1 ("BEGIN RSA PRIVATE KEY"), PKCS#8
// ("BEGIN PRIVATE KEY") or OpenSSH's own, the first and the last also encrypted. Use it by pointer.
// The key is read at each login and not kept.
type PEM struct {
	// Key is the text of the private key. Set it or KeyFunc.
	Key renew.Secret
	// KeyFunc is asked for the text at each login, with its ctx; [File] makes one that reads a file. Its error
	// is a local fault, tried again; its text is shown, so it must not hold the key.
	KeyFunc func(context.Context) (renew.Secret, error)
	// Passphrase opens an encrypted key. It is not used for one that is not.
	Passphrase renew.Secret
	// PassphraseFunc is asked for the passphrase at each login with an encrypted key. Set one of the two, or
	// neither. Its errors are as those of KeyFunc.
	PassphraseFunc func(context.Context) (renew.Secret, error)
}

// PEM implements what its methods are for.
var _ interface {
	Signer
	renew.Validator
} = (*PEM)(nil)

// maxKeyFile bounds a file with a key.
const maxKeyFile = 1 << 20

// File returns a function for KeyFunc that reads a file of at most 1 MiB. Its errors have the path.
func File(path string) func(context.Context) (renew.Secret, error) {
	return func(context.Context) (renew.Secret, error) {
		info, err := os.Stat(path)
		if err != nil {
			return renew.Secret{}, err
		}
		if !info.Mode().IsRegular() { // opening a pipe could block for ever
			return renew.Secret{}, fmt.Errorf("%s is not a file", path)
		}
		f, err := os.Open(path)
		if err != nil {
			return renew.Secret{}, err
		}
		defer f.Close()
		text, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
		switch {
		case err != nil:
			return renew.Secret{}, err
		case len(text) > maxKeyFile:
			return renew.Secret{}, fmt.Errorf("%s is longer than %d bytes, which no key is", path, maxKeyFile)
		}
		return renew.NewSecret(string(text)), nil
	}
}

// Validate reports what is wrong with the fields, as a *renew.ConfigError: a key that cannot be
// read or is not RSA in PEM.Key, a passphrase that is missing or wrong in PEM.Passphrase. It calls
// neither function; what they return is checked at each login, before anything is sent.
func (p *PEM) Validate() error {
	if err := input.Check("PEM.Key", p.Key, p.KeyFunc); err != nil {
		return err
	}
	if !p.Passphrase.IsZero() && p.PassphraseFunc != nil {
		return &renew.ConfigError{Field: "PEM.Passphrase", Reason: "is set, and so is PassphraseFunc: set one of them"}
	}
	if p.KeyFunc != nil {
		return nil
	}
	_, err := readKey(p.Key, p.Passphrase)
	if p.PassphraseFunc != nil && errors.Is(err, errNoPassphrase) {
		return nil
	}
	return err
}

// Keys reads the key.
func (p *PEM) Keys(ctx context.Context) ([]Key, error) {
	text, err := input.Secret(ctx, "crtauth", "PEM.Key", p.Key, p.KeyFunc)
	if err != nil {
		return nil, err
	}
	key, err := readKey(text, p.Passphrase)
	if p.PassphraseFunc != nil && errors.Is(err, errNoPassphrase) {
		var pass renew.Secret
		if pass, err = input.Secret(ctx, "crtauth", "PEM.Passphrase", p.Passphrase, p.PassphraseFunc); err != nil {
			return nil, err
		}
		key, err = readKey(text, pass)
	}
	if err != nil {
		return nil, err
	}
	return Local(key).Keys(ctx)
}

// errNoPassphrase is an encrypted key and no passphrase.
var errNoPassphrase error = &renew.ConfigError{Field: "PEM.Passphrase", Reason: "is not set, and the key is encrypted"}

// readKey reads a private key. Its errors are *renew.ConfigError, and hold nothing of the text.
func readKey(text, passphrase renew.Secret) (*rsa.PrivateKey, error) {
	raw := []byte(text.Reveal())
	key, err := ssh.ParseRawPrivateKey(raw)
	if _, encrypted := errors.AsType[*ssh.PassphraseMissingError](err); encrypted {
		if passphrase.IsZero() {
			return nil, errNoPassphrase
		}
		if key, err = ssh.ParseRawPrivateKeyWithPassphrase(raw, []byte(passphrase.Reveal())); err != nil {
			return nil, &renew.ConfigError{Field: "PEM.Passphrase", Reason: "does not open the key"}
		}
	}
	if err != nil {
		reason := "cannot be read: it must be a private key in PEM (PKCS#1, PKCS#8 or OpenSSH's form)"
		if block, _ := pem.Decode(raw); block != nil && block.Type == "ENCRYPTED PRIVATE KEY" {
			reason = "is an encrypted PKCS#8 key, which is not read: ssh-keygen -p -f FILE writes it in OpenSSH's form"
		}
		return nil, &renew.ConfigError{Field: "PEM.Key", Reason: reason}
	}
	rsaKey, ok := key.(*rsa.PrivateKey)
	if !ok {
		kind := strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%T", key), "*"), ".PrivateKey")
		return nil, &renew.ConfigError{Field: "PEM.Key", Reason: fmt.Sprintf("is an %s key: crtauth takes RSA keys alone (ssh-keygen -t rsa makes one)", kind)}
	}
	return rsaKey, checkSize("PEM.Key", &rsaKey.PublicKey)
}
