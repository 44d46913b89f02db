// Package armor logs in to the Armor API and talks to it: the [FHAuth] Source for
// its own tokens (user name and password, and a person's second factor where the
// account has one), the [ADFS] Source for the ID tokens that its AD FS gives out
// with MFA, and a [Client] that sends requests with either.
//
// A Source logs in once for each Issue, keeps no token and tries nothing twice:
// renew.New, or the Client, keeps the credential alive. What it does keep is the
// account that it chose, since a list in another order must not move a daemon to
// another account.
//
// The credentials go to the hosts that were configured and to no other: a redirect of a
// request that carries them is never followed. Replies are read up to 1 MiB. No
// error holds a password, a token, or text of a reply or a page.
//
// Fields of the Sources may be changed until the first use; after it they are
// safe for concurrent use, as far as the functions in their fields are. Use them by pointer.
package armor

import (
	"strings"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/sources/internal/tokenendpoint"
)

// Where Armor is, unless the fields say otherwise.
const (
	// DefaultBaseURL is the API.
	DefaultBaseURL = "https://api.armor.com"
	// DefaultLoginURL is the authorization endpoint of Armor's AD FS.
	DefaultLoginURL = "https://sts.armor.com/adfs/oauth2/authorize"
	// DefaultClientID is the client for persons, who have MFA.
	DefaultClientID = "b2264823-30a3-4706-bf48-4cf80dad76d3"
	// DefaultRedirectURI is what the client of DefaultClientID is registered with. It is named in the
	// request, and nothing is sent to it.
	DefaultRedirectURI = "https://amp.armor.com/"
)

// AccountHeader is the header that names the account a request is for.
const AccountHeader = "X-Account-Context"

// MaxCredential is how many bytes a user name and a password may have each.
const MaxCredential = 512

// Source is an [*FHAuth] or an [*ADFS].
type Source interface {
	renew.Source
	renew.Validator
	renew.Describer
	renew.Authorizer
	// Account returns the account that was chosen; false before the first login.
	Account() (Account, bool)
	// Accounts returns the accounts that the last login found, in Armor's order.
	Accounts() []Account

	baseURL() string
}

// orDefault returns text, or what stands for an empty one.
func orDefault(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

// checkURL reports a URL that cannot be used, as a *renew.ConfigError.
func checkURL(field, raw string, allowPlaintext bool) error {
	if err := tokenendpoint.CheckURL(raw, allowPlaintext); err != nil {
		return &renew.ConfigError{Field: field, Reason: err.Error()}
	}
	return nil
}

// checkBase is checkURL for the base of other URLs.
func checkBase(field, raw string, allowPlaintext bool) error {
	if strings.Contains(raw, "?") {
		return &renew.ConfigError{Field: field, Reason: "has a query: it must be what the paths of the API follow"}
	}
	return checkURL(field, raw, allowPlaintext)
}
