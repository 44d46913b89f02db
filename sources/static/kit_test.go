package static_test

import (
	"context"
	"testing"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/renewtest"
	"github.com/seed-f29168f7/renew/sources/static"
)

func TestKit(t *testing.T) {
	value := func(context.Context) (renew.Secret, error) { return renew.NewSecret(secret), nil }
	for name, src := range map[string]*static.Source{"value": static.Token(renew.NewSecret(secret)), "func": {ValueFunc: value}} {
		t.Run(name, func(t *testing.T) {
			renewtest.RunSourceInBubble(t, func(*testing.T) renewtest.Harness {
				return renewtest.Harness{Source: src, Secrets: []string{secret}, SameTokenOK: true}
			})
		})
	}
}
