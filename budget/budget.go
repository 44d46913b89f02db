// Package budget keeps a daemon from locking its own account, and from
// battering an issuer: a [Budget] of attempts that may follow a failure, and a
// [Pacer] for an endpoint.
//
// Nothing here reads a clock: time comes in as a value, a monotonic reading
// with any origin, as long as all calls use the same one.
package budget

import (
	"fmt"
	"time"
)

// The defaults of the zero Budget.
const (
	DefaultUnits  = 4
	DefaultWindow = 10 * time.Minute
)

// Budget allows at most Units attempts in every window of length Window.
type Budget struct {
	// Units is how many. Zero means DefaultUnits.
	Units int
	// Window is the length. Zero means DefaultWindow.
	Window time.Duration
}

// Validate reports a negative field. A nil Budget is valid.
func (b *Budget) Validate() error {
	if b != nil && (b.Units < 0 || b.Window < 0) {
		return fmt.Errorf("has Units %d and Window %v: neither may be negative", b.Units, b.Window)
	}
	return nil
}
