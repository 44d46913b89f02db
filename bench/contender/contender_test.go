package contender

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"
)

// sent is a RoundTripper that notes what it is sent.
type sent struct{ header []string }

func (s *sent) RoundTrip(req *http.Request) (*http.Response, error) {
	s.header = req.Header["Authorization"]
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: http.NoBody, Request: req}, nil
}

func TestContendersDoTheSame(t *testing.T) {
	// Each fetches once, reads that token, and puts it on a copy of the request: what is compared is the same work.
	for _, c := range append(All(), XOAuth2Default) {
		t.Run(c.Name, func(t *testing.T) {
			fetches := 0
			fetch := func(context.Context) (Grant, error) {
				fetches++
				return Grant{fmt.Sprint("token-", fetches), time.Now().Add(time.Hour)}, nil
			}
			src := c.Open(fetch, Settings{Life: time.Hour})
			defer src.Close()
			for range 3 {
				if err := src.Reader().Read(t.Context()); err != nil {
					t.Fatal(err)
				}
				if text, err := src.Reader().Token(t.Context()); text != "token-1" || err != nil {
					t.Fatalf("Token = %q, %v", text, err)
				}
			}
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://api.example/v1", nil)
			if err != nil {
				t.Fatal(err)
			}
			base := &sent{}
			switch rt := src.Transport(base, "https://api.example"); {
			case (rt == nil) != (c.NoTransport != ""):
				t.Fatalf("Transport = %v, though NoTransport = %q", rt, c.NoTransport)
			case rt != nil:
				if _, err := rt.RoundTrip(req); err != nil {
					t.Fatal(err)
				}
				if len(base.header) != 1 || base.header[0] != "Bearer token-1" {
					t.Errorf("sent %q", base.header)
				}
				if len(req.Header) != 0 {
					t.Errorf("the caller's request has %v", req.Header)
				}
			}
			if fetches != 1 {
				t.Errorf("%d fetches", fetches)
			}
		})
	}
}

func TestContendersReportFailure(t *testing.T) {
	// An error of the first fetch reaches the reader of each.
	down := errors.New("the issuer is down")
	for _, c := range All() {
		t.Run(c.Name, func(t *testing.T) {
			src := c.Open(func(context.Context) (Grant, error) { return Grant{}, down }, Settings{Life: time.Hour})
			defer src.Close()
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond) // renew would try again within the call
			defer cancel()
			if err := src.Reader().Read(ctx); err == nil {
				t.Error("Read succeeded")
			}
			if text, err := src.Reader().Token(ctx); err == nil {
				t.Errorf("Token = %q", text)
			}
		})
	}
}

func TestCrowdsAreRead(t *testing.T) {
	// Each of a crowd fetches for itself, once.
	for _, c := range All() {
		t.Run(c.Name, func(t *testing.T) {
			fetches := 0
			crowd := c.Crowd(func(context.Context) (Grant, error) {
				fetches++
				return Grant{fmt.Sprint("token-", fetches), time.Now().Add(time.Hour)}, nil
			}, Settings{Life: time.Hour}, 5)
			defer crowd.Close()
			for i := range 10 {
				if err := crowd.Read(i % 5); err != nil {
					t.Fatal(err)
				}
			}
			if fetches != 5 {
				t.Errorf("%d fetches for 5", fetches)
			}
		})
	}
}
