package contender

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
)

var awsContender = Contender{
	Name:   "aws",
	Module: "github.com/aws/aws-sdk-go-v2",
	How:    "aws.NewCredentialsCache, with renew's leeway as its ExpiryWindow",
	Open: func(fetch Fetch, s Settings) Source {
		return simple{reader: awsReader{newAWS(fetch, s)}}
	},
	Crowd: func(fetch Fetch, s Settings, n int) Crowd {
		return newCrowd(n, func() *aws.CredentialsCache { return newAWS(fetch, s) }, func(c *aws.CredentialsCache) error {
			_, err := c.Retrieve(context.Background())
			return err
		})
	},
	NoTransport: "its credentials sign requests, and no token goes on one",
}

func newAWS(fetch Fetch, s Settings) *aws.CredentialsCache {
	return aws.NewCredentialsCache(aws.CredentialsProviderFunc(func(ctx context.Context) (aws.Credentials, error) {
		g, err := fetch(ctx)
		if err != nil {
			return aws.Credentials{}, err
		}
		return aws.Credentials{AccessKeyID: "id", SecretAccessKey: g.Text, CanExpire: true, Expires: g.Expiry}, nil
	}), func(o *aws.CredentialsCacheOptions) { o.ExpiryWindow = s.Leeway() })
}

type awsReader struct{ cache *aws.CredentialsCache }

func (r awsReader) Read(ctx context.Context) error {
	_, err := r.cache.Retrieve(ctx)
	return err
}

func (r awsReader) Token(ctx context.Context) (string, error) {
	c, err := r.cache.Retrieve(ctx)
	return c.SecretAccessKey, err
}
