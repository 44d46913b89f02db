module github.com/seed-f29168f7/renew/internal/rivals

go 1.26.0

replace github.com/seed-f29168f7/renew => ../../

require (
	github.com/dghubble/oauth1 v0.7.3
	github.com/dunglas/httpsfv v1.1.2
	github.com/icholy/digest v1.2.0
	github.com/mrjones/oauth v0.0.0-20190623134757-126b35219450
	github.com/remitly-oss/httpsig-go v1.2.0
	github.com/seed-f29168f7/renew v0.0.0
	github.com/yaronf/httpsign v0.3.1
)

require (
	github.com/cenkalti/backoff/v4 v4.3.0 // indirect
	github.com/decred/dcrd/dcrec/secp256k1/v4 v4.2.0 // indirect
	github.com/goccy/go-json v0.10.2 // indirect
	github.com/lestrrat-go/blackmagic v1.0.2 // indirect
	github.com/lestrrat-go/httpcc v1.0.1 // indirect
	github.com/lestrrat-go/httprc v1.0.5 // indirect
	github.com/lestrrat-go/iter v1.0.2 // indirect
	github.com/lestrrat-go/jwx/v2 v2.0.21 // indirect
	github.com/lestrrat-go/option v1.0.1 // indirect
	github.com/segmentio/asm v1.2.0 // indirect
	golang.org/x/crypto v0.58.0 // indirect
	golang.org/x/sync v0.24.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
	golang.org/x/time v0.16.0 // indirect
)
