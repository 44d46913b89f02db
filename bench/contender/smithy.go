package contender

import (
	"context"
	"net/http"

	"github.com/aws/smithy-go/auth/bearer"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

var smithyContender = Contender{
	Name:   "smithy",
	Module: "github.com/aws/smithy-go",
	How: "bearer.NewTokenCache, RefreshBeforeExpires 30 % of the life, in the background, AsyncRefreshMinimumDelay a tenth of that, " +
		"and its AuthenticationMiddleware with SignHTTPSMessage",
	Open: func(fetch Fetch, s Settings) Source {
		cache := newSmithy(smithyProvider(fetch), s)
		return simple{reader: smithyReader{cache}, carry: func(base http.RoundTripper, _ string) http.RoundTripper {
			return smithyTransport{bearer.NewAuthenticationMiddleware(bearer.NewSignHTTPSMessage(), cache), base}
		}}
	},
	Crowd: func(fetch Fetch, s Settings, n int) Crowd {
		provider := smithyProvider(fetch)
		return newCrowd(n, func() *bearer.TokenCache { return newSmithy(provider, s) }, func(c *bearer.TokenCache) error {
			_, err := c.RetrieveBearerToken(context.Background())
			return err
		})
	},
}

func newSmithy(p bearer.TokenProvider, s Settings) *bearer.TokenCache {
	return bearer.NewTokenCache(p, func(o *bearer.TokenCacheOptions) {
		o.RefreshBeforeExpires = s.ahead()
		o.AsyncRefreshMinimumDelay = s.ahead() / 10
		o.RetrieveBearerTokenTimeout = s.Timeout
	})
}

type smithyProvider Fetch

func (f smithyProvider) RetrieveBearerToken(ctx context.Context) (bearer.Token, error) {
	g, err := f(ctx)
	if err != nil {
		return bearer.Token{}, err
	}
	return bearer.Token{Value: g.Text, CanExpire: true, Expires: g.Expiry}, nil
}

type smithyReader struct{ cache *bearer.TokenCache }

func (r smithyReader) Read(ctx context.Context) error {
	_, err := r.cache.RetrieveBearerToken(ctx)
	return err
}

func (r smithyReader) Token(ctx context.Context) (string, error) {
	t, err := r.cache.RetrieveBearerToken(ctx)
	return t.Value, err
}

// smithyTransport runs the one middleware that authenticates, without the rest of a client's stack.
type smithyTransport struct {
	auth *bearer.AuthenticationMiddleware
	base http.RoundTripper
}

func (t smithyTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	sreq := &smithyhttp.Request{Request: req}
	if req.Body != nil {
		var err error
		if sreq, err = sreq.SetStream(req.Body); err != nil {
			return nil, err
		}
	}
	out, _, err := t.auth.HandleFinalize(req.Context(), middleware.FinalizeInput{Request: sreq}, t)
	if err != nil {
		return nil, err
	}
	return out.Result.(*http.Response), nil
}

// HandleFinalize sends the request, which is a copy by now.
func (t smithyTransport) HandleFinalize(ctx context.Context, in middleware.FinalizeInput) (out middleware.FinalizeOutput, m middleware.Metadata, err error) {
	resp, err := t.base.RoundTrip(in.Request.(*smithyhttp.Request).Build(ctx))
	out.Result = resp
	return out, m, err
}
