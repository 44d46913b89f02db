package httpsig

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// Bytes on the wire, as somebody on the way may change them: the framing may differ, what is covered may not.
func TestHttpsig_Wire(t *testing.T) {
	s, v := testSigner(t, Ed25519, nil)
	h, err := v.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(w, "%s %q %v", r.URL, body, r.Trailer)
	}))
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(h)
	defer srv.Close()
	host := strings.TrimPrefix(srv.URL, "http://")
	const chunked = "Transfer-Encoding: chunked\r\n"
	for _, tt := range []struct {
		name, line, framing, body string
		own                       bool // the Host field is in framing
		status                    int
	}{
		{"as it was signed", "POST /a?b=1 HTTP/1.1", "Content-Length: 4\r\n", "text", false, 200},
		{"in chunks", "POST /a?b=1 HTTP/1.1", chunked, "2\r\nte\r\n2;x=y\r\nxt\r\n0\r\n\r\n", false, 200},
		{"in other chunks, with more", "POST /a?b=1 HTTP/1.1", chunked, "4\r\ntext\r\n1\r\n!\r\n0\r\n\r\n", false, 401},
		{"the digest in a trailer", "POST /a?b=1 HTTP/1.1", chunked + "Trailer: Content-Digest\r\n", "4\r\ntext\r\n0\r\nContent-Digest: sha-256=:AAAA:\r\n\r\n", false, 200},
		{"an absolute target", "POST http://" + host + "/a?b=1 HTTP/1.1", "Content-Length: 4\r\n", "text", false, 200},
		{"an absolute target of another host", "POST http://evil.example/a?b=1 HTTP/1.1", "Content-Length: 4\r\n", "text", false, 401},
		{"another path", "POST /a/?b=1 HTTP/1.1", "Content-Length: 4\r\n", "text", false, 401},
		{"a shorter body", "POST /a?b=1 HTTP/1.1", "Content-Length: 3\r\n", "text", false, 401},
		{"no body", "POST /a?b=1 HTTP/1.1", "Content-Length: 0\r\n", "", false, 401},
		{"another host", "POST /a?b=1 HTTP/1.1", "Host: evil.example\r\nContent-Length: 4\r\n", "text", true, 401},
		{"another host, said to be forwarded", "POST /a?b=1 HTTP/1.1", "Host: evil.example\r\nX-Forwarded-Host: " + host + "\r\nForwarded: host=\"" + host + "\"\r\nContent-Length: 4\r\n", "text", true, 401},
		{"two content types", "POST /a?b=1 HTTP/1.1", "content-type: text/html\r\nContent-Length: 4\r\n", "text", false, 401},
		{"method overridden in the line", "PUT /a?b=1 HTTP/1.1", "Content-Length: 4\r\n", "text", false, 401},
	} {
		req, err := http.NewRequest("POST", srv.URL+"/a?b=1", strings.NewReader("text"))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "text/plain")
		if _, err := s.Authenticate(req); err != nil {
			t.Fatal(err)
		}
		text := tt.line + "\r\n" + tt.framing + "Connection: close\r\n"
		if !tt.own {
			text += "Host: " + host + "\r\n"
		}
		for name, values := range req.Header {
			text += name + ": " + values[0] + "\r\n"
		}
		conn, err := net.Dial("tcp", host)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(conn, text+"\r\n"+tt.body)
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		answer, _ := io.ReadAll(resp.Body)
		_ = conn.Close()
		if resp.StatusCode != tt.status {
			t.Errorf("%s: %d %q, want %d", tt.name, resp.StatusCode, answer, tt.status)
		}
	}
}
