// Command compare measures renew beside the libraries that a user would pick in its place, and beside the least that can be done
// at all, in one run. It prints one Markdown table a scenario; a run of all of them writes RESULTS.md and
// the drawings into the current directory.
//
//	cd bench && go run ./compare
//
// A whole run takes under 10 minutes, and wants a quiet machine.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/seed-f29168f7/renew/bench/scenario"
)

func main() {
	run := flag.String("run", "", "the scenarios to run, as a,b; empty means all")
	quick := flag.Bool("quick", false, "a short run, whose figures show that all works, and no more")
	out := flag.String("out", "", "write RESULTS.md and the drawings into this directory; a whole run that is not quick writes into the current one")
	trouble := flag.String("trouble", "", "run one case of scenario e in this process; the command starts itself so")
	flag.Parse()
	var err error
	if *trouble != "" {
		err = scenario.Trouble(*trouble)
	} else {
		err = compare(*run, *quick, *out)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "compare:", err)
		os.Exit(1)
	}
}

func compare(run string, quick bool, out string) error {
	chosen, err := choose(run)
	if err != nil {
		return err
	}
	testing.Init() // scenarios a and g are benchmarks
	benchtime := "150ms"
	if quick {
		benchtime = "20ms"
	}
	if err := flag.Set("test.benchtime", benchtime); err != nil {
		return err
	}
	began := time.Now()
	o := scenario.Options{Quick: quick, Progress: func(format string, args ...any) {
		fmt.Fprintf(os.Stderr, "%4.0f s  %s\n", time.Since(began).Seconds(), fmt.Sprintf(format, args...))
	}}
	r := report{facts: machine(), command: command(os.Args[1:]), quick: quick, began: began}
	for _, s := range chosen {
		result, err := s.Run(o)
		if err != nil {
			return fmt.Errorf("scenario %s: %w", s.Name, err)
		}
		r.sections = append(r.sections, section{s, result})
		fmt.Print(r.sections[len(r.sections)-1].markdown())
	}
	r.took, r.loadAfter = time.Since(began), load()
	fmt.Print("\n", r.goals())
	if out == "" && !quick && run == "" {
		out = "."
	}
	if out == "" {
		return nil
	}
	return r.write(out)
}

// choose returns the named scenarios, in their own order.
func choose(run string) ([]scenario.Scenario, error) {
	all := scenario.All()
	if run == "" {
		return all, nil
	}
	var chosen []scenario.Scenario
	wanted := strings.Split(run, ",")
	for _, s := range all {
		for _, name := range wanted {
			if s.Name == strings.TrimSpace(name) {
				chosen = append(chosen, s)
			}
		}
	}
	if len(chosen) != len(wanted) {
		return nil, fmt.Errorf("-run %s: the scenarios are a to %s, each once, separated by commas", run, all[len(all)-1].Name)
	}
	return chosen, nil
}

// command returns the command that this is, as one would type it.
func command(args []string) string {
	return strings.Join(append([]string{"go run ./compare"}, args...), " ")
}

// write writes RESULTS.md and the drawings.
func (r report) write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, s := range r.sections {
		if s.result.Latencies != nil {
			if err := os.WriteFile(filepath.Join(dir, s.drawing()), s.svg(), 0o644); err != nil {
				return err
			}
		}
	}
	return os.WriteFile(filepath.Join(dir, "RESULTS.md"), []byte(r.markdown()), 0o644)
}
