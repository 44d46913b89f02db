package contender

import (
	"net/http"

	"github.com/go-logr/logr"
	"k8s.io/client-go/transport"
	"k8s.io/klog/v2"
)

var k8sContender = Contender{
	Name:   "client-go",
	Module: "k8s.io/client-go",
	How:    "transport.NewCachedTokenSource and ResettableTokenSourceWrapTransport; it has no leeway to set, and Token takes no context",
	Open: func(fetch Fetch, _ Settings) Source {
		klog.SetLogger(logr.Discard()) // it logs each failure
		ts := transport.NewCachedTokenSource(xoauth2Source(fetch))
		return simple{reader: xoauth2Reader{ts}, carry: func(base http.RoundTripper, _ string) http.RoundTripper {
			return transport.ResettableTokenSourceWrapTransport(ts)(base)
		}}
	},
	Crowd: func(fetch Fetch, _ Settings, n int) Crowd {
		src := xoauth2Source(fetch)
		return newCrowd(n, func() transport.ResettableTokenSource { return transport.NewCachedTokenSource(src) }, func(ts transport.ResettableTokenSource) error {
			_, err := ts.Token()
			return err
		})
	},
}
