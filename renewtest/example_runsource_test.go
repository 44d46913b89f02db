package renewtest_test

import (
	"context"
	"testing"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/renewtest"
)

// mySource stands for the Source that you wrote.
type mySource struct{ token renew.Secret }

func (s *mySource) Issue(ctx context.Context) (*renew.Token, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return &renew.Token{Value: s.token}, nil
}

// TestMySource is the test of a Source that has no issuer.
func TestMySource(t *testing.T) {
	renewtest.RunSource(t, func(t *testing.T) renewtest.Harness {
		return renewtest.Harness{
			Source:      &mySource{renew.NewSecret("from-the-configuration")},
			Secrets:     []string{"from-the-configuration"},
			SameTokenOK: true,
		}
	})
}

// TestMyOtherSource would be the test of one that asks an Issuer:
//
//	renewtest.RunSourceInBubble(t, func(t *testing.T) renewtest.Harness {
//		iss := renewtest.NewIssuer(renewtest.IssuerConfig{Rotate: true})
//		t.Cleanup(iss.Close)
//		return iss.Harness(&myOtherSource{TokenURL: iss.TokenURL(), Client: iss.Client()})
//	})
func ExampleRunSource() {
	// See TestMySource above; go test runs it.
}
