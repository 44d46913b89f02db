package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/seed-f29168f7/renew/renewtest"
)

// isTerminal reports whether f is a screen on which lines can be painted again.
func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return false
	}
	term := os.Getenv("TERM")
	if runtime.GOOS == "windows" {
		return os.Getenv("WT_SESSION") != "" || term != "" && term != "dumb"
	}
	return term != "" && term != "dumb"
}

// screen is all the output of the program: lines, and on a terminal a table
// below them that is painted again and again. It looks for secrets in everything that passes.
type screen struct {
	live  bool
	began time.Time

	mu      sync.Mutex // guards all below; held while out is written to
	out     io.Writer
	rows    []string  // of the table that stands on the terminal now
	painted time.Time // when the table, or its one line, was last written
	secrets []string  // the first for good, then the latest tokens
	known   int       // how many there were
	bytes   int
	leaks   []string
}

const (
	maxTokens  = 64                     // that are looked for; older ones have ended
	paintEvery = 200 * time.Millisecond // on a terminal
	printEvery = 2 * time.Second        // elsewhere
)

func newScreen(out io.Writer, live bool) *screen {
	return &screen{live: live, began: time.Now(), out: out}
}

// hide adds a secret to those that are looked for.
func (s *screen) hide(secret string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if secret == "" || slices.Contains(s.secrets, secret) {
		return
	}
	s.known++
	if len(s.secrets) > maxTokens {
		s.secrets = slices.Delete(s.secrets, 1, 2)
	}
	s.secrets = append(s.secrets, secret)
}

// put writes. mu is held. That a terminal is gone is no reason to stop.
func (s *screen) put(text string) {
	s.bytes += len(text)
	for _, leak := range renewtest.Leaks(text, s.secrets...) {
		if !slices.Contains(s.leaks, leak) {
			s.leaks = append(s.leaks, leak)
		}
	}
	_, _ = io.WriteString(s.out, text)
}

// found returns what there is to say about secrets in the output so far.
func (s *screen) found() *secretFacts {
	s.mu.Lock()
	defer s.mu.Unlock()
	how := slices.Clone(s.leaks)
	for i := range how {
		_, how[i], _ = strings.Cut(how[i], ", ")
	}
	return &secretFacts{known: s.known, output: s.bytes, leaks: how}
}

// say prints a line for good, with the time since the start.
func (s *screen) say(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	line := fmt.Sprintf("%6.1fs  %s\n", time.Since(s.began).Seconds(), fmt.Sprintf(format, args...))
	rows := s.rows
	s.put(s.wipe() + line)
	s.draw(rows)
}

// Write prints a record of the log.
func (s *screen) Write(p []byte) (int, error) {
	for line := range bytes.Lines(p) {
		s.say("log: %s", bytes.TrimRight(line, "\n"))
	}
	return len(p), nil
}

// due reports whether the table is to be painted again.
func (s *screen) due() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	every := printEvery
	if s.live {
		every = paintEvery
	}
	return time.Since(s.painted) >= every
}

// paint shows the table, or, where that cannot be done, line.
func (s *screen) paint(rows []string, line string) {
	s.mu.Lock()
	first := s.painted.IsZero()
	s.painted = time.Now()
	if s.live {
		s.put(s.wipe())
		s.draw(rows)
	}
	s.mu.Unlock()
	if !s.live && !first {
		s.say("%s", line)
	}
}

// wipe returns what takes the table off the terminal. mu is held.
func (s *screen) wipe() string {
	n := len(s.rows)
	s.rows = nil
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("\x1b[%dA\x1b[J", n) // n lines up, and clear from there
}

// draw puts the table on the terminal. Rows do not wrap, or there would be more
// lines than rows. mu is held.
func (s *screen) draw(rows []string) {
	if len(rows) == 0 {
		return
	}
	s.put("\x1b[?7l" + strings.Join(rows, "\n") + "\n\x1b[?7h")
	s.rows = rows
}

// end takes the table away and prints the summary.
func (s *screen) end(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.put(s.wipe() + text)
}
