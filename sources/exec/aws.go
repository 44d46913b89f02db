package exec

import (
	"encoding/base64"
	"encoding/json"

	"github.com/seed-f29168f7/renew"
)

// Credentials are those of AWS. They sign requests.
type Credentials struct {
	// AccessKeyID names the key. It is not secret.
	AccessKeyID string
	// SecretAccessKey signs.
	SecretAccessKey renew.Secret
	// SessionToken is sent beside the signature. It is empty for a long-term key.
	SessionToken renew.Secret
}

// awsText is the form of a Token's Value: one value, so that a change of any part is another token.
type awsText struct {
	AccessKeyID     string `json:"AccessKeyId"`
	SecretAccessKey string
	SessionToken    string `json:",omitempty"`
}

// AWSCredentials reads the credentials of a token that a Source with Format AWS issued. The error is a *renew.ConfigError, and
// holds nothing of the token.
func AWSCredentials(t *renew.Token) (Credentials, error) {
	var v awsText
	if text, err := base64.RawURLEncoding.DecodeString(t.Value.Reveal()); err != nil || json.Unmarshal(text, &v) != nil || v.AccessKeyID == "" || v.SecretAccessKey == "" {
		return Credentials{}, &renew.ConfigError{Field: "Token", Reason: "has no credentials of AWS: it must come from an exec.Source with Format AWS"}
	}
	return Credentials{v.AccessKeyID, renew.NewSecret(v.SecretAccessKey), renew.NewSecret(v.SessionToken)}, nil
}

func readAWS(out []byte) (*renew.Token, error) {
	var p struct {
		awsText
		Version    int
		Expiration string
	}
	if err := decode(out, &p); err != nil {
		return nil, err
	}
	if p.Version != 1 || p.AccessKeyID == "" || p.SecretAccessKey == "" {
		return nil, errVersion
	}
	expiry, err := date(p.Expiration, false)
	if err != nil {
		return nil, err
	}
	text, _ := json.Marshal(p.awsText) // strings always marshal
	tok := &renew.Token{Value: renew.NewSecret(base64.RawURLEncoding.EncodeToString(text)), Expiry: expiry}
	return tok.WithAttr("aws_access_key_id", p.AccessKeyID), nil
}
