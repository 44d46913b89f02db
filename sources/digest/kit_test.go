package digest

import (
	"testing"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/renewtest"
)

func signerFor(p *peer) *Signer {
	return &Signer{Username: p.user, Password: renew.NewSecret(p.password)}
}

func TestKit(t *testing.T) {
	for _, tt := range []struct {
		name string
		set  func(p *peer, s *Signer, h *renewtest.SignerHarness)
	}{
		{"SHA-256", func(*peer, *Signer, *renewtest.SignerHarness) {}},
		{"MD5 of RFC 2617", func(p *peer, _ *Signer, _ *renewtest.SignerHarness) { p.algorithm = "" }},
		{"RFC 2069", func(p *peer, _ *Signer, h *renewtest.SignerHarness) {
			p.algorithm, p.qop, h.SameCredentialOK = "", "", true
		}},
		{"SHA-512-256-sess with userhash and opaque", func(p *peer, _ *Signer, _ *renewtest.SignerHarness) {
			p.algorithm, p.extra = "SHA-512-256-sess", `userhash=true, charset="UTF-8", opaque="o\"p\\aque"`
		}},
		{"auth-int", func(p *peer, _ *Signer, _ *renewtest.SignerHarness) { p.qop = "auth-int" }},
		{"one-time nonces", func(p *peer, _ *Signer, _ *renewtest.SignerHarness) { p.oneTime = true }},
		{"nextnonce", func(p *peer, _ *Signer, _ *renewtest.SignerHarness) {
			p.oneTime, p.next, p.rspauth, p.algorithm = true, true, true, "MD5-sess"
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			renewtest.RunSigner(t, func(*testing.T) renewtest.SignerHarness {
				p := newPeer()
				s := signerFor(p)
				h := renewtest.SignerHarness{Signer: s, Verify: p.verify, Challenge: p.challenge,
					Secrets: []string{p.password, peerHash(p.algorithm, p.user+":"+p.realm+":"+p.password)}}
				tt.set(p, s, &h)
				return h
			})
		})
	}
}
