package armor_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/sources/armor"
	"github.com/seed-f29168f7/renew/sources/armor/armortest"
)

// JSON has no bytes that are not UTF-8: encoding/json would write another password in their place, and
// that one would be refused.
func TestCredentialsThatAreNotUTF8AreNotSent(t *testing.T) {
	bad := "correct\xffhorse"
	for field, src := range map[string]armor.Source{
		"FHAuth.Username": &armor.FHAuth{Username: bad, Password: renew.NewSecret("p")},
		"FHAuth.Password": &armor.FHAuth{Username: "u", Password: renew.NewSecret(bad)},
		"ADFS.Password":   &armor.ADFS{Username: "u", Password: renew.NewSecret(bad)},
	} {
		if ce, ok := errors.AsType[*renew.ConfigError](src.Validate()); !ok || ce.Field != field || strings.Contains(ce.Error(), "horse") {
			t.Errorf("%s: %v", field, ce)
		}
	}
	srv := armortest.New(armortest.Config{})
	defer srv.Close()
	src := fhAuth(srv)
	src.Password = renew.Secret{}
	src.PasswordFunc = func(context.Context) (renew.Secret, error) { return renew.NewSecret(bad), nil }
	_, err := src.Issue(t.Context())
	if e, ok := errors.AsType[*renew.IssueError](err); !ok || !e.Unsent || e.Kind != renew.Transient || len(srv.Calls()) != 0 {
		t.Errorf("Issue = %v after %v, want an error before traffic", err, srv.Calls())
	}
}
