package armor_test

import (
	"net/http"
	"testing"

	"github.com/seed-f29168f7/renew/sources/armor"
	"github.com/seed-f29168f7/renew/sources/armor/armortest"
)

// net/http sends a User-Agent of its own where there is none: a header that is dropped must not come back as that.
func TestDroppedHeadersStayDropped(t *testing.T) {
	sends := func(w *world, r armor.Request) bool {
		r.URL = w.srv.URL() + "/things"
		resp, err := w.c.Do(w.Context(), r)
		if err != nil {
			w.Fatal(err)
		}
		_ = resp.Body.Close()
		reqs := w.srv.Requests()
		_, ok := reqs[len(reqs)-1].Header["User-Agent"]
		return ok
	}
	none := http.Header{"user-agent": nil}
	inWorld(t, armortest.Config{}, nil, nil, func(w *world) {
		if !sends(w, armor.Request{}) {
			w.Error("no User-Agent without a word about it")
		}
		if sends(w, armor.Request{Header: none}) {
			w.Error("a call's nil does not keep User-Agent from being sent")
		}
		if err := w.c.SetHeader("User-Agent"); err != nil || sends(w, armor.Request{}) {
			w.Errorf("SetHeader without values (%v) does not keep User-Agent from being sent", err)
		}
		if !sends(w, armor.Request{Header: http.Header{"User-Agent": {"x"}}}) {
			w.Error("a call's value does not win over SetHeader without values")
		}
	})
	inWorld(t, armortest.Config{}, nil, func(o *armor.Options) { o.Header = none }, func(w *world) {
		if sends(w, armor.Request{}) {
			w.Error("Options.Header does not keep User-Agent from being sent")
		}
	})
}
