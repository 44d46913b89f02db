module github.com/seed-f29168f7/renew/internal/rivals

go 1.26.0

replace github.com/seed-f29168f7/renew => ../../

require (
	github.com/dghubble/oauth1 v0.7.3
	github.com/icholy/digest v1.2.0
	github.com/mrjones/oauth v0.0.0-20190623134757-126b35219450
	github.com/seed-f29168f7/renew v0.0.0
)

require (
	github.com/cenkalti/backoff/v4 v4.3.0 // indirect
	golang.org/x/sync v0.24.0 // indirect
	golang.org/x/time v0.16.0 // indirect
)
