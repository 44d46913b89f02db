// Package scenario puts the contenders to the same tests and measures them. A Scenario does not print: it returns figures.
package scenario

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/seed-f29168f7/renew/bench/contender"
)

// Options say how much is run.
type Options struct {
	// Quick runs each scenario once and shorter. Its figures show that it works, and no more.
	Quick bool
	// Progress is told what runs now.
	Progress func(format string, args ...any)
}

// repeats returns how often a scenario measures each contender.
func (o Options) repeats(n int) int {
	if o.Quick {
		return 1
	}
	return n
}

// span returns how long something is run.
func (o Options) span(d time.Duration) time.Duration {
	if o.Quick {
		return d / 2
	}
	return d
}

// Scenario is one of the tests.
type Scenario struct {
	Name  string
	Title string
	Run   func(Options) (*Result, error)
}

// All returns the scenarios in the order of their names.
func All() []Scenario {
	return []Scenario{
		{"a", "Hot path: a valid token", runReads},
		{"b", "Refresh stall: short tokens and a slow issuer", runStall},
		{"c", "Outage of the issuer", runOutage},
		{"d", "401 storm", runStorm},
		{"e", "Callers that leave, issuers that hang, sources that panic", runTrouble},
		{"f", "Many tokens in one process", runCrowd},
		{"g", "One authenticated request over a RoundTripper that does nothing", runRequests},
		{"h", "Short tokens", runShort},
	}
}

// Figure is one column of a table.
type Figure struct {
	Name   string
	Format func(float64) string
	// Ratio adds the columns of the ratio to the floor and to the best peer; less is better then.
	Ratio bool
}

// Result is what a Scenario found out.
type Result struct {
	Setup   string // how it was run
	Figures []Figure
	Rows    []*Row
	Goals   []Goal
	// Latencies has the distribution of each contender's calls, for a drawing; nil if there is none.
	Latencies map[string]*Histogram
}

// Row is one contender.
type Row struct {
	Name   string
	NA     string      // why it could not take part
	Values [][]float64 // a slice a repeat, in the order of the Figures; NaN: there is none
}

// row returns the row of that name, and makes it at the first call.
func (r *Result) row(name string) *Row {
	for _, row := range r.Rows {
		if row.Name == name {
			return row
		}
	}
	row := &Row{Name: name}
	r.Rows = append(r.Rows, row)
	return row
}

// add notes one repeat.
func (r *Result) add(name string, values ...float64) {
	if len(values) != len(r.Figures) {
		panic(fmt.Sprintf("%d values for %d figures", len(values), len(r.Figures)))
	}
	row := r.row(name)
	row.Values = append(row.Values, values)
}

// none notes that the contender cannot take part.
func (r *Result) none(name, why string) { r.row(name).NA = why }

// column returns the index of a figure.
func (r *Result) column(figure string) int {
	i := slices.IndexFunc(r.Figures, func(f Figure) bool { return f.Name == figure })
	if i < 0 {
		panic("no figure " + figure)
	}
	return i
}

// Stat is a figure over the repeats.
type Stat struct{ Median, Min, Max float64 }

// Stat returns the i-th figure of a row; false if it has none.
func (r *Row) Stat(i int) (Stat, bool) {
	var all []float64
	for _, v := range r.Values {
		if !math.IsNaN(v[i]) {
			all = append(all, v[i])
		}
	}
	if len(all) == 0 {
		return Stat{}, false
	}
	slices.Sort(all)
	return Stat{(all[(len(all)-1)/2] + all[len(all)/2]) / 2, all[0], all[len(all)-1]}, true
}

// of returns a contender's figure, NaN if there is none.
func (r *Result) of(name, figure string) Stat {
	if s, ok := r.row(name).Stat(r.column(figure)); ok {
		return s
	}
	return Stat{math.NaN(), math.NaN(), math.NaN()}
}

// BestPeer returns the least median of the i-th figure among the peers; false if no peer has it.
func (r *Result) BestPeer(i int) (float64, bool) {
	best, found := math.Inf(1), false
	for _, row := range r.Rows {
		if row.Name == contender.Ours || row.Name == contender.Floor {
			continue
		}
		if s, ok := row.Stat(i); ok {
			best, found = min(best, s.Median), true
		}
	}
	return best, found
}

// FloorOf returns the floor's median of the i-th figure; false if it has none.
func (r *Result) FloorOf(i int) (float64, bool) {
	s, ok := r.row(contender.Floor).Stat(i)
	return s.Median, ok
}

// Goal is something that renew must reach.
type Goal struct {
	Text  string
	Met   bool
	Found string
}

// goal notes one.
func (r *Result) goal(met bool, text, found string, args ...any) {
	r.Goals = append(r.Goals, Goal{text, met, fmt.Sprintf(found, args...)})
}

// Count formats a whole number.
func Count(v float64) string {
	if math.IsInf(v, 1) {
		return "never"
	}
	return fmt.Sprintf("%.0f", v)
}

// Nanos formats a time of a few nanoseconds as a number of them.
func Nanos(v float64) string {
	if v < 100 {
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.0f", v)
}

// Seconds formats a time given in seconds with a unit that suits it.
func Seconds(v float64) string {
	switch {
	case math.IsInf(v, 1):
		return "never"
	case v == 0:
		return "0"
	case v < 1e-6:
		return fmt.Sprintf("%.0f ns", v*1e9)
	case v < 1e-3:
		return fmt.Sprintf("%.3g µs", v*1e6)
	case v < 1:
		return fmt.Sprintf("%.3g ms", v*1e3)
	}
	return fmt.Sprintf("%.3g s", v)
}
