package contender

import (
	"context"
	"net/http"

	"golang.org/x/oauth2"
)

var xoauth2Contender = Contender{
	Name:   "x/oauth2",
	Module: "golang.org/x/oauth2",
	How:    "ReuseTokenSourceWithExpiry, with renew's leeway as the early expiry, and Transport; Token takes no context",
	Open: func(fetch Fetch, s Settings) Source {
		return openXOAuth2(oauth2.ReuseTokenSourceWithExpiry(nil, xoauth2Source(fetch), s.Leeway()))
	},
	Crowd: func(fetch Fetch, s Settings, n int) Crowd {
		src := xoauth2Source(fetch)
		return newCrowd(n, func() oauth2.TokenSource { return oauth2.ReuseTokenSourceWithExpiry(nil, src, s.Leeway()) }, func(ts oauth2.TokenSource) error {
			_, err := ts.Token()
			return err
		})
	},
}

// XOAuth2Default is x/oauth2 with its own early expiry, which is 10 s whatever the life: for scenarios of short lives.
var XOAuth2Default = Contender{
	Name:   "x/oauth2, default",
	Module: "golang.org/x/oauth2",
	How:    "ReuseTokenSource, whose early expiry is 10 s",
	Open: func(fetch Fetch, _ Settings) Source {
		return openXOAuth2(oauth2.ReuseTokenSource(nil, xoauth2Source(fetch)))
	},
}

func openXOAuth2(ts oauth2.TokenSource) Source {
	return simple{reader: xoauth2Reader{ts}, carry: func(base http.RoundTripper, _ string) http.RoundTripper {
		return &oauth2.Transport{Source: ts, Base: base}
	}}
}

type xoauth2Source Fetch

func (f xoauth2Source) Token() (*oauth2.Token, error) {
	g, err := f(context.Background())
	if err != nil {
		return nil, err
	}
	return &oauth2.Token{AccessToken: g.Text, Expiry: g.Expiry}, nil
}

// xoauth2Reader reads an oauth2.TokenSource.
type xoauth2Reader struct{ ts oauth2.TokenSource }

func (r xoauth2Reader) Read(context.Context) error {
	_, err := r.ts.Token()
	return err
}

func (r xoauth2Reader) Token(context.Context) (string, error) {
	t, err := r.ts.Token()
	if err != nil {
		return "", err
	}
	return t.AccessToken, nil
}
