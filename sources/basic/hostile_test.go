package basic

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/sources/internal/leaktest"
)

// A Signer that is set up for the answers of a proxy alone says what is wrong; it does not end the process, where
// net/http calls it in a goroutine of its own.
func TestR10_OnProxyConnectResponseAlone(t *testing.T) {
	s := &Signer{Username: "u", Password: renew.NewSecret(password)}
	req, resp := &http.Request{Header: http.Header{}}, &http.Response{StatusCode: http.StatusProxyAuthRequired}
	var ie *renew.IssueError
	if err := s.OnProxyConnectResponse(t.Context(), nil, req, resp); !errors.As(err, &ie) || ie.Kind != renew.Refused {
		t.Errorf("%v", err)
	}
}

// A dump of a Signer shows no password while it waits for the answer to a CONNECT.
func TestR30_TunnelInADump(t *testing.T) {
	s := &Signer{Username: "u", Password: renew.NewSecret(password), Proxy: "http://localhost:3128"}
	u, _ := url.Parse(s.Proxy)
	header, err := s.GetProxyConnectHeader(t.Context(), u, "")
	if err != nil {
		t.Fatal(err)
	}
	leaktest.Check(t, s, password, base64.StdEncoding.EncodeToString([]byte("u:"+password)))
	req := &http.Request{Header: header}
	if err := s.OnProxyConnectResponse(t.Context(), u, req, &http.Response{StatusCode: 200}); err != nil || len(s.tunnels) != 0 {
		t.Errorf("%v, %d tunnels are not forgotten", err, len(s.tunnels))
	}
}

// net/http lets a dial go on when its request has ended. Behind a proxy that never answers, those that wait for a verdict end all the same.
func TestR4_TunnelsBehindASilentProxy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Signer{Username: "u", Password: renew.NewSecret(password), Proxy: "http://localhost:3128"}
		u, _ := url.Parse(s.Proxy)
		start := time.Now()
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				if _, err := s.GetProxyConnectHeader(context.WithoutCancel(t.Context()), u, ""); err != nil && !errors.Is(err, errNoVerdict) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if took := time.Since(start); took > verdictTime {
			t.Errorf("the last one waited %v", took)
		}
		time.Sleep(connectTime)
		synctest.Wait()
	})
}
