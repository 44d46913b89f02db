package bench

import (
	"fmt"
	"strings"
	"testing"

	"github.com/seed-f29168f7/renew/bench/contender"
	"github.com/seed-f29168f7/renew/bench/scenario"
)

// each runs a benchmark a contender, named so that benchstat can put them side by side: benchstat -col /contender new.txt.
func each(b *testing.B, run func(b *testing.B, c contender.Contender)) {
	for _, c := range contender.All() {
		b.Run("contender="+strings.ReplaceAll(c.Name, "/", "-"), func(b *testing.B) { run(b, c) })
	}
}

// BenchmarkToken is scenario a; -cpu 1,2 chooses the CPUs.
func BenchmarkToken(b *testing.B) {
	each(b, func(b *testing.B, c contender.Contender) {
		src := c.Open(scenario.Lasting, scenario.Hour)
		defer src.Close()
		for _, n := range scenario.PerCPU {
			b.Run(fmt.Sprintf("goroutines=%d", n), func(b *testing.B) { scenario.BenchmarkReads(b, src, n) })
		}
	})
}

// BenchmarkRoundTrip is scenario g.
func BenchmarkRoundTrip(b *testing.B) {
	each(b, func(b *testing.B, c contender.Contender) {
		if c.NoTransport != "" {
			b.Skip(c.NoTransport)
		}
		src := c.Open(scenario.Lasting, scenario.Hour)
		defer src.Close()
		scenario.BenchmarkRequests(b, src)
	})
}
