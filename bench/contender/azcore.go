package contender

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
)

var azcoreContender = Contender{
	Name:   "azcore",
	Module: "github.com/Azure/azure-sdk-for-go/sdk/azcore",
	How: "runtime.NewBearerTokenPolicy, RefreshOn at 70 % of the life, an OnChallenge that authenticates anew, in a default pipeline; " +
		"it has no call for a token, so a read runs the policy alone on a ready request",
	Open: func(fetch Fetch, s Settings) Source { return azcoreSource{newAzcore(azcoreCredential{fetch, s})} },
	Crowd: func(fetch Fetch, s Settings, n int) Crowd {
		cred := azcoreCredential{fetch, s}
		return newCrowd(n, func() *runtime.BearerTokenPolicy { return newAzcore(cred) }, func(p *runtime.BearerTokenPolicy) error {
			return azcoreSource{p}.Reader().Read(context.Background())
		})
	},
}

var azcoreScopes = []string{"https://api.example/.default"}

func newAzcore(cred azcore.TokenCredential) *runtime.BearerTokenPolicy {
	return runtime.NewBearerTokenPolicy(cred, azcoreScopes, &policy.BearerTokenOptions{
		AuthorizationHandler: policy.AuthorizationHandler{
			OnChallenge: func(_ *policy.Request, _ *http.Response, authenticate func(policy.TokenRequestOptions) error) error {
				return authenticate(policy.TokenRequestOptions{Scopes: azcoreScopes})
			},
		},
	})
}

type azcoreCredential struct {
	fetch Fetch
	s     Settings
}

func (c azcoreCredential) GetToken(ctx context.Context, _ policy.TokenRequestOptions) (azcore.AccessToken, error) {
	g, err := c.fetch(ctx)
	if err != nil {
		return azcore.AccessToken{}, err
	}
	return azcore.AccessToken{Token: g.Text, ExpiresOn: g.Expiry, RefreshOn: g.Expiry.Add(-c.s.ahead())}, nil
}

type azcoreSource struct{ policy *runtime.BearerTokenPolicy }

func (s azcoreSource) Close() {}

func (s azcoreSource) Reader() Reader { return &azcoreReader{policy: s.policy} }

// azcoreReader runs the policy with nothing after it. Each goroutine has its own, since the policy writes into the request.
type azcoreReader struct {
	policy *runtime.BearerTokenPolicy
	ctx    context.Context // of req
	req    *policy.Request
}

func (r *azcoreReader) Read(ctx context.Context) error {
	if r.ctx != ctx {
		req, err := runtime.NewRequest(ctx, http.MethodGet, "https://api.example/v1/things")
		if err != nil {
			return err
		}
		r.ctx, r.req = ctx, req
	}
	// The policy's own errors are marked as not worth a retry. Where it succeeds, the error says that nothing follows it.
	if _, err := r.policy.Do(r.req); err != nil {
		if own, ok := err.(interface{ NonRetriable() }); ok {
			return own.(error)
		}
	}
	return nil
}

func (r *azcoreReader) Token(ctx context.Context) (string, error) {
	if err := r.Read(ctx); err != nil {
		return "", err
	}
	return strings.TrimPrefix(r.req.Raw().Header.Get("Authorization"), "Bearer "), nil
}

func (s azcoreSource) Transport(base http.RoundTripper, _ string) http.RoundTripper {
	return azcoreTransport{runtime.NewPipeline("bench", "v1.0.0",
		runtime.PipelineOptions{PerRetry: []policy.Policy{s.policy}},
		&policy.ClientOptions{Transport: azcoreSender{base}, Retry: policy.RetryOptions{RetryDelay: 10 * time.Millisecond}})}
}

// azcoreTransport is a pipeline as clients of the SDK use it, behind the interface of a RoundTripper.
type azcoreTransport struct{ pipeline runtime.Pipeline }

func (t azcoreTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	out, err := runtime.NewRequestFromRequest(req.Clone(req.Context()))
	if err != nil {
		return nil, err
	}
	runtime.SkipBodyDownload(out)
	return t.pipeline.Do(out)
}

// azcoreSender is the end of the pipeline.
type azcoreSender struct{ base http.RoundTripper }

func (s azcoreSender) Do(req *http.Request) (*http.Response, error) { return s.base.RoundTrip(req) }
