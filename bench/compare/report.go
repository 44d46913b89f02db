package main

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/seed-f29168f7/renew/bench/contender"
	"github.com/seed-f29168f7/renew/bench/scenario"
)

// report is RESULTS.md.
type report struct {
	facts     facts
	command   string
	quick     bool
	began     time.Time
	took      time.Duration
	loadAfter string
	sections  []section
}

// section is what one scenario found out.
type section struct {
	scenario scenario.Scenario
	result   *scenario.Result
}

// drawing is the name of its SVG.
func (s section) drawing() string { return "latency-" + s.scenario.Name + ".svg" }

func (r report) markdown() string {
	var b strings.Builder
	b.WriteString("# renew beside its peers\n\nMade by `cd bench && " + r.command + "`. Do not edit.\n\n")
	if r.quick {
		b.WriteString("**A quick run: the figures show that all works, and no more.**\n\n")
	}
	fmt.Fprintf(&b, "| | |\n| --- | --- |\n| when | %s, for %.0f s |\n", r.began.UTC().Format("2006-01-02 15:04 UTC"), r.took.Seconds())
	for _, f := range r.facts.list {
		fmt.Fprintf(&b, "| %s | %s |\n", f[0], f[1])
	}
	fmt.Fprintf(&b, "| load average | %s before, %s after |\n\n", r.facts.load, r.loadAfter)
	b.WriteString("A cell is the median over the repeats, with the least and the most in brackets where they differ. \"× floor\" and \"× best peer\" are ratios of medians: below 1 is better than that one.\n")
	b.WriteString("Benchmarks for benchstat: `cd bench && go test -run '^$' -bench . -count 10 .`\n\n")
	b.WriteString("## The contenders\n\n| | version | used as |\n| --- | --- | --- |\n")
	for _, c := range contender.All() {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", c.Name, r.facts.version(c.Module), c.How)
	}
	b.WriteString("\n" + r.goals())
	for _, s := range r.sections {
		b.WriteString(s.markdown())
		if s.result.Latencies != nil {
			fmt.Fprintf(&b, "\n![How long the calls of each contender took](%s)\n", s.drawing())
		}
	}
	return b.String()
}

// goals returns the table of what renew must reach.
func (r report) goals() string {
	var b strings.Builder
	b.WriteString("## What renew must reach\n\n| | goal | reached | found |\n| --- | --- | --- | --- |\n")
	for _, s := range r.sections {
		for _, g := range s.result.Goals {
			met := "yes"
			if !g.Met {
				met = "**no**"
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", s.scenario.Name, g.Text, met, g.Found)
		}
	}
	return b.String()
}

func (s section) markdown() string {
	var b strings.Builder
	r := s.result
	fmt.Fprintf(&b, "\n## %s. %s\n\n%s\n\n", s.scenario.Name, s.scenario.Title, r.Setup)
	t := table{[][]string{{""}}}
	for _, f := range r.Figures {
		t.head(f.Name)
		if f.Ratio && !s.wide() {
			t.head("× floor", "× best peer")
		}
	}
	for _, row := range r.Rows {
		if row.NA != "" {
			t.row(row.Name, "not applicable: "+row.NA)
			continue
		}
		t.row(row.Name)
		for i, f := range r.Figures {
			stat, ok := row.Stat(i)
			t.cells(cell(stat, ok, f.Format))
			if f.Ratio && !s.wide() {
				t.cells(ratios(r, row, i)...)
			}
		}
	}
	b.WriteString(t.String())
	if s.wide() {
		b.WriteString("\nThe same as × floor, × best peer:\n\n" + s.ratios())
	}
	return b.String()
}

// wide reports whether the ratios have a table of their own.
func (s section) wide() bool {
	n := 0
	for _, f := range s.result.Figures {
		if f.Ratio {
			n++
		}
	}
	return n > 2
}

// ratios returns the table of the ratios.
func (s section) ratios() string {
	t := table{[][]string{{""}}}
	for _, f := range s.result.Figures {
		if f.Ratio {
			t.head(f.Name)
		}
	}
	for _, row := range s.result.Rows {
		t.row(row.Name)
		for i, f := range s.result.Figures {
			if f.Ratio {
				t.cells(strings.Join(ratios(s.result, row, i), ", "))
			}
		}
	}
	return t.String()
}

// ratios returns how the i-th figure of a row stands to the floor's, and to that of the best peer.
func ratios(r *scenario.Result, row *scenario.Row, i int) []string {
	stat, ok := row.Stat(i)
	floor, hasFloor := r.FloorOf(i)
	best, hasBest := r.BestPeer(i)
	return []string{ratio(stat.Median, floor, ok && hasFloor), ratio(stat.Median, best, ok && hasBest)}
}

// table is a Markdown table: its rows, the head first.
type table struct{ rows [][]string }

func (t *table) head(names ...string) { t.rows[0] = append(t.rows[0], names...) }

func (t *table) row(cells ...string) { t.rows = append(t.rows, cells) }

// cells adds to the last row.
func (t *table) cells(cells ...string) {
	last := &t.rows[len(t.rows)-1]
	*last = append(*last, cells...)
}

func (t *table) String() string {
	var b strings.Builder
	columns := len(t.rows[0])
	for i, row := range t.rows {
		b.WriteString("|")
		for c := range columns {
			text := ""
			if c < len(row) {
				text = row[c]
			}
			b.WriteString(" " + text + " |")
		}
		b.WriteString("\n")
		if i == 0 {
			b.WriteString("| --- |" + strings.Repeat(" ---: |", columns-1) + "\n")
		}
	}
	return b.String()
}

// cell writes a figure with its spread.
func cell(s scenario.Stat, ok bool, format func(float64) string) string {
	if !ok {
		return "-"
	}
	low, high := format(s.Min), format(s.Max)
	if low == high {
		return low
	}
	return fmt.Sprintf("%s (%s to %s)", format(s.Median), low, high)
}

// ratio writes a ratio to something that is there.
func ratio(v, to float64, ok bool) string {
	if !ok || to == 0 || math.IsInf(v, 0) || math.IsInf(to, 0) {
		return "-"
	}
	switch q := v / to; {
	case q < 0.1:
		return fmt.Sprintf("%.3f", q)
	case q < 100:
		return fmt.Sprintf("%.2f", q)
	default:
		return fmt.Sprintf("%.0f", q)
	}
}
