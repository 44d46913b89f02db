package main

import (
	"context"
	"slices"
	"time"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/budget"
)

// breakage breaks one promise on purpose.
type breakage struct {
	promise string
	does    string
	phases  []string // that show it; the start and the end are always run
	change  func(*setup)
}

var breaks = []breakage{
	{"steady", "tokens are not reissued by timer, but when they have run out", []string{"steady"},
		func(s *setup) { s.config.ReissueEvery = -1 }},
	{"outage", "the Source tries again by itself, every 20ms", []string{"outage"},
		func(s *setup) { s.wrap = func(src renew.Source) renew.Source { return eager{src} } }},
	{"revocation", "workers put the token on their requests by themselves, and tell nobody of a 401", []string{"revocation"},
		func(s *setup) { s.bare = true }},
	{"budget", "the failure budget has a million units", []string{"refused", "window"},
		func(s *setup) { s.config.Budget = &budget.Budget{Units: 1_000_000, Window: budgetWindow} }},
	{"recovery", "the failure budget's window is an hour", []string{"refused", "recovery"},
		func(s *setup) { s.config.Budget = &budget.Budget{Units: budgetUnits, Window: time.Hour} }},
	{"one-flight", "there are two TokenSources for one client", []string{"steady"},
		func(s *setup) { s.sources = 2 }},
	{"secret", "a debug line in the log shows the header that is sent", []string{"steady"},
		func(s *setup) { s.leaks = true }},
	{"clean-end", "the Source ignores the end of its context", []string{"end"},
		func(s *setup) { s.wrap = func(src renew.Source) renew.Source { return deaf{src} } }},
}

func breakOf(name string) *breakage {
	i := slices.IndexFunc(breaks, func(b breakage) bool { return b.promise == name })
	if i < 0 {
		return nil
	}
	return &breaks[i]
}

// runs reports whether the phase is needed. Without a break all are.
func (b *breakage) runs(phase string) bool { return b == nil || slices.Contains(b.phases, phase) }

// eager is a Source that does not give up.
type eager struct{ renew.Source }

// Issue implements renew.Source.
func (e eager) Issue(ctx context.Context) (*renew.Token, error) {
	for {
		tok, err := e.Source.Issue(ctx)
		if err == nil || ctx.Err() != nil {
			return tok, err
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// Unwrap lets renew find what the Source says about itself.
func (e eager) Unwrap() renew.Source { return e.Source }

// deaf is a Source that ignores the end of its context.
type deaf struct{ renew.Source }

// Issue implements renew.Source.
func (d deaf) Issue(ctx context.Context) (*renew.Token, error) {
	return d.Source.Issue(context.WithoutCancel(ctx))
}

// Unwrap lets renew find what the Source says about itself.
func (d deaf) Unwrap() renew.Source { return d.Source }
