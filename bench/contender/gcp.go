package contender

import (
	"context"
	"net/http"

	"cloud.google.com/go/auth"
	"cloud.google.com/go/auth/httptransport"
)

var gcpContender = Contender{
	Name:   "gcp",
	Module: "cloud.google.com/go/auth",
	How:    "NewCachedTokenProvider, ExpireEarly 30 % of the life, refreshing in the background, and httptransport.AddAuthorizationMiddleware",
	Open: func(fetch Fetch, s Settings) Source {
		tp := newGCP(gcpProvider(fetch), s)
		return simple{reader: gcpReader{tp}, carry: func(base http.RoundTripper, _ string) http.RoundTripper {
			client := &http.Client{Transport: base}
			if err := httptransport.AddAuthorizationMiddleware(client, auth.NewCredentials(&auth.CredentialsOptions{TokenProvider: tp})); err != nil {
				panic(err)
			}
			return client.Transport
		}}
	},
	Crowd: func(fetch Fetch, s Settings, n int) Crowd {
		provider := gcpProvider(fetch)
		return newCrowd(n, func() auth.TokenProvider { return newGCP(provider, s) }, func(tp auth.TokenProvider) error {
			_, err := tp.Token(context.Background())
			return err
		})
	},
}

func newGCP(p auth.TokenProvider, s Settings) auth.TokenProvider {
	return auth.NewCachedTokenProvider(p, &auth.CachedTokenProviderOptions{ExpireEarly: s.ahead()})
}

type gcpProvider Fetch

func (f gcpProvider) Token(ctx context.Context) (*auth.Token, error) {
	g, err := f(ctx)
	if err != nil {
		return nil, err
	}
	return &auth.Token{Value: g.Text, Expiry: g.Expiry}, nil
}

type gcpReader struct{ tp auth.TokenProvider }

func (r gcpReader) Read(ctx context.Context) error {
	_, err := r.tp.Token(ctx)
	return err
}

func (r gcpReader) Token(ctx context.Context) (string, error) {
	t, err := r.tp.Token(ctx)
	if err != nil {
		return "", err
	}
	return t.Value, nil
}
