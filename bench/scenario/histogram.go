package scenario

import (
	"math"
	"slices"
	"time"
)

// Histogram is how long calls took.
type Histogram struct{ sorted []time.Duration }

// newHistogram takes the samples over.
func newHistogram(samples []time.Duration) *Histogram {
	slices.Sort(samples)
	return &Histogram{samples}
}

// merge returns one of both.
func (h *Histogram) merge(other *Histogram) *Histogram {
	if h == nil {
		return other
	}
	return newHistogram(slices.Concat(h.sorted, other.sorted))
}

// Len returns how many calls there were.
func (h *Histogram) Len() int { return len(h.sorted) }

// At returns the time within which the part q of the calls ended, in seconds: the nearest rank. 1 is the longest.
func (h *Histogram) At(q float64) float64 {
	if len(h.sorted) == 0 {
		return math.NaN()
	}
	i := int(math.Ceil(q*float64(len(h.sorted)))) - 1
	return h.sorted[min(max(i, 0), len(h.sorted)-1)].Seconds()
}

// above returns how many calls took at least d.
func (h *Histogram) above(d time.Duration) int {
	i, _ := slices.BinarySearch(h.sorted, d)
	return len(h.sorted) - i
}
