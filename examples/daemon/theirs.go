package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/sources/oauth2"
)

// theirs is a server of the user's.
type theirs struct {
	tokenURL, clientID, secretFile, api, scopes string

	pool *http.Transport // connections to the token endpoint
}

// given reports whether there is one.
func (t *theirs) given() bool {
	return t.tokenURL != "" || t.clientID != "" || t.secretFile != "" || t.api != "" || t.scopes != ""
}

// check reports a flag that is missing.
func (t *theirs) check() error {
	if !t.given() {
		return nil
	}
	for _, f := range []struct{ name, value string }{
		{"-token-url", t.tokenURL}, {"-client-id", t.clientID}, {"-client-secret-file", t.secretFile}, {"-api", t.api},
	} {
		if f.value == "" {
			return fmt.Errorf("%s is missing: a server of yours needs -token-url, -client-id, -client-secret-file and -api", f.name)
		}
	}
	return nil
}

// source returns the Source for it. learn is told the secret, to find it where it should not be.
func (t *theirs) source(learn func(string)) renew.Source {
	t.pool = http.DefaultTransport.(*http.Transport).Clone()
	return &oauth2.ClientCredentials{
		TokenURL: t.tokenURL,
		ClientID: t.clientID,
		ClientSecretFunc: func(context.Context) (renew.Secret, error) {
			text, err := os.ReadFile(t.secretFile)
			if err != nil {
				return renew.Secret{}, err
			}
			text = bytes.TrimRight(text, "\r\n")
			if len(text) == 0 {
				return renew.Secret{}, errors.New("the file with the client secret is empty")
			}
			learn(string(text))
			return renew.NewSecret(string(text)), nil
		},
		// Another file ends a refusal for good at once.
		InputVersion: func() uint64 {
			info, err := os.Stat(t.secretFile)
			if err != nil {
				return 0
			}
			return uint64(info.ModTime().UnixNano()) ^ uint64(info.Size())
		},
		Scopes:     strings.Fields(t.scopes),
		HTTPClient: &http.Client{Transport: t.pool},
	}
}

func (t *theirs) close() { t.pool.CloseIdleConnections() }

// standIn does what all workers would do if the API refused the token: each rejects
// it. The server is not asked, and the token stays good there.
func (w *walk) standIn(ctx context.Context) error {
	w.screen.say("stand-in: %d goroutines reject the token in service, as if the API had refused it; your server is not made to", w.opt.workers)
	ts, meter := w.daemon.tokens[0], w.daemon.meter
	tok, err := ts.Token(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	before := meter.read().calls
	var mu sync.Mutex
	var failed int
	var wg sync.WaitGroup
	start := make(chan struct{})
	for range w.opt.workers {
		wg.Go(func() {
			<-start
			next, err := ts.Reject(ctx, tok)
			if err != nil || next.Generation() == tok.Generation() {
				mu.Lock()
				defer mu.Unlock()
				failed++
			}
		})
	}
	close(start)
	wg.Wait()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	w.facts.revocation = &revocationFacts{standIn: true, workers: w.opt.workers, requests: meter.read().calls - before, failed: failed}
	return nil
}
