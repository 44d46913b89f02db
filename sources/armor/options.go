package armor

import (
	"errors"
	"fmt"
	"net/http"
	"net/textproto"
	"net/url"
	"strings"
	"time"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/budget"
	"github.com/seed-f29168f7/renew/sources/internal/header"
)

const (
	// DefaultReissueEvery is how often a Client trades the token of an [FHAuth] for the next one.
	DefaultReissueEvery = 10 * time.Minute
	// DefaultRetries401 is how many logins in 10 minutes may follow a failure.
	DefaultRetries401 = 4
	maxRetries401     = 100
)

// ErrNoReissue says that a reissue was asked for where the protocol has none.
var ErrNoReissue = errors.New("armor: an ID token of the AD FS cannot be reissued")

// NoReissueError is what New returns when Config.ReissueEvery is set for an [ADFS]. It matches ErrNoReissue.
type NoReissueError struct{}

// Error says what to do.
func (*NoReissueError) Error() string {
	return ErrNoReissue.Error() + ": leave Options.Config.ReissueEvery 0 or negative, or use FHAuth"
}

// Is matches ErrNoReissue.
func (*NoReissueError) Is(target error) bool { return target == ErrNoReissue }

// DefaultHosts returns the hosts of Armor that a [Client] talks to unless Options.Hosts says
// otherwise: a new slice each time, to append to.
func DefaultHosts() []string {
	return []string{
		"amp.armor.com",
		"sts.armor.com",
		"api.armor.com",
		"api.accounts.armor.com",
		"agent-management.api.armor.com",
		"security-detections.api.secure-prod.services",
		"compliance.api.secure-prod.services",
		"api.logs.armor.com",
		"api.notifications.armor.com",
		"webhooks.api.secure-prod.services",
		"logs.api.secure-prod.services",
	}
}

// Options is how a [Client] works. Only Source is required.
type Options struct {
	// Source logs in: an *FHAuth or an *ADFS. It must not be used elsewhere.
	Source Source
	// Retries401 is how many logins may follow a refusal or a 401 in every window of 10 minutes: the units of
	// the failure budget. Zero means 4. It must be from 1 to 100, and 0 where Config.Budget is set.
	Retries401 int
	// Hosts are where requests, and the token, may go: "api.armor.com" or "api.example:8443" means https, an
	// origin like "http://localhost:8080" may be written too. Hosts are compared whole. Nil means DefaultHosts. The host of
	// the Source's BaseURL is always among them.
	Hosts []string
	// AllowPlaintext names the origins among Hosts ("http://10.0.0.7:8080") that may be talked to over plain http although
	// they are not loopback: anyone on the way can read the token.
	AllowPlaintext []string
	// Header is sent with each request, over Accept and Content-Type, which are application/json otherwise; a name with no values
	// keeps such a header from being sent. See Client.SetHeader. Authorization and X-Account-Context cannot stand here.
	Header http.Header
	// Transport sends the requests. Nil means one that all Clients use together, without a proxy. It must not follow redirects.
	Transport http.RoundTripper
	// Jar keeps cookies between requests. Nil means one of the Client's own.
	Jar http.CookieJar
	// Config is how the token is kept alive. Zero fields mean the defaults of package renew, except that
	// ReissueEvery is 10 minutes for an FHAuth. Interactive must be set where the Source needs a person.
	Config renew.Config
}

// config checks the options and returns what renew.New gets.
func (o *Options) config() (renew.Config, error) {
	cfg := o.Config
	if isNil(o.Source) {
		return cfg, &renew.ConfigError{Field: "Options.Source", Reason: "is nil: it must be an *FHAuth or an *ADFS"}
	}
	if err := o.Source.Validate(); err != nil {
		return cfg, err
	}
	switch {
	case o.Retries401 != 0 && cfg.Budget != nil:
		return cfg, &renew.ConfigError{Field: "Options.Retries401", Reason: "is set, and so is Config.Budget: set one of them"}
	case o.Retries401 < 0 || o.Retries401 > maxRetries401:
		return cfg, &renew.ConfigError{Field: "Options.Retries401", Reason: fmt.Sprintf("is %d: it must be from 1 to %d, or 0 for %d", o.Retries401, maxRetries401, DefaultRetries401)}
	case cfg.Budget == nil:
		units := o.Retries401
		if units == 0 {
			units = DefaultRetries401
		}
		cfg.Budget = &budget.Budget{Units: units}
	}
	_, canReissue := o.Source.(renew.Reissuer)
	switch {
	case canReissue && cfg.ReissueEvery == 0:
		cfg.ReissueEvery = DefaultReissueEvery
	case !canReissue && cfg.ReissueEvery > 0:
		return cfg, &NoReissueError{}
	}
	if o.Source.Describe().Interactive && !cfg.Interactive {
		return cfg, &renew.ConfigError{Field: "Options.Config.Interactive", Reason: "is false, but the Source needs a person for each login: set it to let calls ask for one"}
	}
	return cfg, nil
}

// isNil reports whether there is no Source, or a nil pointer in its place.
func isNil(s Source) bool {
	switch s := s.(type) {
	case *FHAuth:
		return s == nil
	case *ADFS:
		return s == nil
	}
	return s == nil
}

// origins returns the origins of the host list.
func (o *Options) origins() ([]string, error) {
	hosts := o.Hosts
	if hosts == nil {
		hosts = DefaultHosts()
	}
	origins := make([]string, 0, len(hosts)+1)
	for i, host := range hosts {
		if !strings.Contains(host, "://") {
			host = "https://" + host
		}
		if u, err := url.Parse(host); err != nil || u.Host == "" {
			return nil, &renew.ConfigError{Field: fmt.Sprintf("Options.Hosts[%d]", i), Reason: "is neither a host nor an origin"}
		}
		origins = append(origins, host)
	}
	base, err := url.Parse(o.Source.baseURL())
	if err != nil {
		return nil, &renew.ConfigError{Field: "BaseURL", Reason: "is not a URL"}
	}
	return append(origins, base.Scheme+"://"+base.Host), nil
}

// checkHeaders reports headers that cannot be sent, and gives their names one form.
func checkHeaders(field string, h http.Header, persistent bool) (http.Header, error) {
	out := make(http.Header, len(h))
	for name, values := range h {
		key := textproto.CanonicalMIMEHeaderKey(name)
		_, twice := out[key]
		reason := ""
		switch {
		case !header.IsToken(name):
			reason = "has a name that is not the name of a header"
		case twice:
			reason = "has " + key + " twice, in different cases"
		case key == "Host" || key == "Content-Length" || key == "Transfer-Encoding" || key == "Trailer":
			reason = "has " + key + ", which is not for callers to set"
		case persistent && (key == "Authorization" || key == AccountHeader):
			reason = "has " + key + ", which the Client sets itself: give it with the one request that needs another"
		}
		if reason != "" {
			return nil, &renew.ConfigError{Field: field, Reason: reason}
		}
		out[key] = values
	}
	return out, nil
}
