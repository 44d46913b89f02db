package armor_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/renewtest"
	"github.com/seed-f29168f7/renew/sources/armor"
	"github.com/seed-f29168f7/renew/sources/armor/armortest"
)

// fhAuth returns a Source for a Server.
func fhAuth(srv *armortest.Server) *armor.FHAuth {
	return &armor.FHAuth{Username: armortest.DefaultUsername, Password: renew.NewSecret(armortest.DefaultPassword), BaseURL: srv.URL(), HTTPClient: srv.Client()}
}

// adfs returns a Source for a Server.
func adfs(srv *armortest.Server) *armor.ADFS {
	return &armor.ADFS{
		Username: armortest.DefaultUsername, Password: renew.NewSecret(armortest.DefaultPassword),
		BaseURL: srv.URL(), LoginURL: srv.LoginURL(), HTTPClient: srv.Client(),
	}
}

func harness(srv *armortest.Server, src renew.Source, routes ...armortest.Route) renewtest.Harness {
	fail := func(f armortest.Fault) func() {
		return func() {
			for _, r := range routes {
				srv.Fail(r, f, -1)
			}
		}
	}
	return renewtest.Harness{
		Source:   src,
		Secrets:  []string{armortest.DefaultPassword},
		Accepted: func(t *renew.Token) bool { return srv.Accepts(t.Value.Reveal()) },
		Break:    fail(armortest.Fault{Status: 500, Echo: true}),
		Throttle: fail(armortest.Fault{Status: 429, Echo: true, Header: http.Header{"Retry-After": {"7"}}}),
		Refuse:   fail(armortest.Fault{Status: 401, Echo: true}),
		Hang:     fail(armortest.Fault{Hang: true}),
		Heal:     srv.Heal,
	}
}

// Each step of the login fails in turn.
func TestKitFHAuth(t *testing.T) {
	for _, steps := range [][]armortest.Route{
		{armortest.Authorize, armortest.Reissue}, {armortest.Token, armortest.Reissue}, {armortest.Me, armortest.Reissue},
	} {
		t.Run(string(steps[0]), func(t *testing.T) {
			renewtest.RunSourceInBubble(t, func(t *testing.T) renewtest.Harness {
				srv := armortest.New(armortest.Config{KeepOld: true}) // the kit reissues one token several times
				t.Cleanup(srv.Close)
				return harness(srv, fhAuth(srv), steps...)
			})
		})
	}
}

func TestKitFHAuthMFA(t *testing.T) {
	renewtest.RunSourceInBubble(t, func(t *testing.T) renewtest.Harness {
		srv := armortest.New(armortest.Config{KeepOld: true})
		t.Cleanup(srv.Close)
		src := fhAuth(srv)
		src.MFA = true
		return harness(srv, src, armortest.Authorize, armortest.Reissue)
	})
}

func TestKitADFS(t *testing.T) {
	renewtest.RunSourceInBubble(t, func(t *testing.T) renewtest.Harness {
		srv := armortest.New(armortest.Config{Factor: armortest.LongPost})
		t.Cleanup(srv.Close)
		return harness(srv, adfs(srv), armortest.Login)
	})
}

// unattended is an ADFS whose person is the Server: so the kit tests what it leaves to persons elsewhere.
type unattended struct{ *armor.ADFS }

func (u unattended) Describe() renew.Traits {
	d := u.ADFS.Describe()
	d.Interactive = false
	return d
}

func TestKitADFSEveryCheck(t *testing.T) {
	for name, tt := range map[string]struct {
		factor armortest.Factor
		fails  armortest.Route
	}{
		"login":         {armortest.NoFactor, armortest.Login},
		"page":          {armortest.NoFactor, armortest.Page},
		"long post":     {armortest.LongPost, armortest.Factored},
		"polled":        {armortest.Polled, armortest.Factored},
		"me":            {armortest.LongPost, armortest.Me},
		"polled and me": {armortest.Polled, armortest.Me},
	} {
		t.Run(name, func(t *testing.T) {
			renewtest.RunSourceInBubble(t, func(t *testing.T) renewtest.Harness {
				srv := armortest.New(armortest.Config{Factor: tt.factor, Answers: 12 * time.Second})
				t.Cleanup(srv.Close)
				return harness(srv, unattended{adfs(srv)}, tt.fails)
			})
		})
	}
}
