package main

import (
	"bytes"
	"fmt"
	"math"

	"github.com/seed-f29168f7/renew/bench/contender"
	"github.com/seed-f29168f7/renew/bench/scenario"
)

// The drawing, in pixels. A plotting library would be larger than all the rest of this command.
const (
	width, height       = 860, 470
	left, right         = 80, 690 // of the plot; the names stand beside it
	top, bottom         = 50, 400
	fastest, slowest    = 1e-8, 10.0 // seconds, at the bottom and the top
	nines               = 5.0        // decimal places of the quantile on the right: 99.999 %
	pointsPerNine       = 40
	nameHeight, nameAt  = 22, right + 20
	ink, pale, paper    = "#222222", "#dddddd", "#ffffff"
	ourWidth, peerWidth = 3.5, 1.6
)

// colours are told apart by those too who do not see all of them; the lines are also dashed differently.
var colours = map[string][2]string{
	contender.Floor: {"#888888", "2 3"},
	contender.Ours:  {"#0072b2", ""},
	"aws":           {"#e69f00", ""},
	"azcore":        {"#cc79a7", "8 3"},
	"gcp":           {"#009e73", ""},
	"client-go":     {"#d55e00", "8 3"},
	"smithy":        {"#56b4e9", "8 3"},
	"x/oauth2":      {"#000000", "3 2"},
}

// svg draws how long the calls took: a line a contender, from the quickest call at the left to the slowest at the
// right. Both axes are logarithmic, the lower one in the calls that took longer.
func (s section) svg() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %[1]d %[2]d" font-family="sans-serif" font-size="13">`+"\n", width, height)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="%s"/>`+"\n", width, height, paper)
	text(&b, left, 28, "start", fmt.Sprintf("%s. %s: how long a call for the token took", s.scenario.Name, s.scenario.Title))
	for e := fastest; e < slowest*1.01; e *= 10 {
		line(&b, left, y(e), right, y(e))
		text(&b, left-8, y(e)+4, "end", scenario.Seconds(e))
	}
	for n := 0.0; n <= nines; n++ {
		line(&b, x(n), top, x(n), bottom)
		text(&b, x(n), bottom+18, "middle", fmt.Sprintf("%.*f %%", max(int(n)-2, 0), 100*(1-math.Pow(10, -n))))
	}
	text(&b, (left+right)/2, bottom+42, "middle", "part of the calls that took at most that long")
	at := top + 12
	for _, row := range s.result.Rows {
		h := s.result.Latencies[row.Name]
		if h == nil {
			continue
		}
		style := stroke(row.Name)
		fmt.Fprintf(&b, `<polyline fill="none" %s points="`, style)
		for i := 0; i <= nines*pointsPerNine; i++ {
			n := float64(i) / pointsPerNine
			if part := math.Pow(10, -n); part*float64(h.Len()) >= 1 { // else there are no calls beyond
				fmt.Fprintf(&b, "%.1f,%.1f ", x(n), y(h.At(1-part)))
			}
		}
		b.WriteString("\"/>\n")
		fmt.Fprintf(&b, `<line x1="%d" y1="%d" x2="%d" y2="%d" %s/>`+"\n", nameAt, at, nameAt+34, at, style)
		text(&b, nameAt+42, float64(at)+4, "start", row.Name)
		at += nameHeight
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

// x returns where a number of nines stands.
func x(n float64) float64 { return left + (right-left)*n/nines }

// y returns where a time stands.
func y(seconds float64) float64 {
	part := math.Log10(min(max(seconds, fastest), slowest)/fastest) / math.Log10(slowest/fastest)
	return bottom - (bottom-top)*part
}

func stroke(name string) string {
	w := peerWidth
	if name == contender.Ours {
		w = ourWidth
	}
	c := colours[name]
	return fmt.Sprintf(`stroke="%s" stroke-width="%.1f" stroke-dasharray="%s"`, c[0], w, c[1])
}

func line(b *bytes.Buffer, x1, y1, x2, y2 float64) {
	fmt.Fprintf(b, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="%s"/>`+"\n", x1, y1, x2, y2, pale)
}

func text(b *bytes.Buffer, x, y float64, anchor, s string) {
	fmt.Fprintf(b, `<text x="%.1f" y="%.1f" text-anchor="%s" fill="%s">%s</text>`+"\n", x, y, anchor, ink, s)
}
