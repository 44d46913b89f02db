package budget

import (
	"fmt"
	"math"
)

// Rate is how often an endpoint may be called.
type Rate struct {
	PerSecond float64
	Burst     int
}

// Validate reports a field that cannot work.
func (r Rate) Validate() error {
	if math.IsNaN(r.PerSecond) || r.Burst < 0 {
		return fmt.Errorf("has PerSecond %v and Burst %d", r.PerSecond, r.Burst)
	}
	return nil
}
