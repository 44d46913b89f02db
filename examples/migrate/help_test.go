package migrate_test

import (
	"io"
	"net/http"
	"strings"
)

// must returns v. An Example has no other place for an error that must not be.
func must[T any](v T, err error) T {
	check(err)
	return v
}

// check panics with an error that must not be.
func check(err error) {
	if err != nil {
		panic(err)
	}
}

// text returns the body of a response, without the blanks around it, and closes it.
func text(resp *http.Response) string {
	defer resp.Body.Close()
	return strings.TrimSpace(string(must(io.ReadAll(resp.Body))))
}
