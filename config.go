package renew

import (
	"cmp"
	"fmt"
	"log/slog"
	"time"

	"github.com/seed-f29168f7/renew/budget"
	"github.com/seed-f29168f7/renew/clock"
)

// Config is how a credential is kept alive. The zero Config is the one to start
// with. Zero fields mean the default; negative values are off where the field
// says so and an error elsewhere.
//
// In Manager.Add, a zero field means the Manager's. The fields of the second
// group belong to a Manager as a whole and are an error in Add.
type Config struct {
	// Leeway is how long before the end of its life a token leaves service. Zero means
	// the smaller of 10 s and a twentieth of the life, but at least 100 ms where the life is 1 s
	// or more. It is never more than half the life. Negative means none. More leeway survives slower
	// requests and later timers; less uses short tokens longer.
	Leeway time.Duration
	// ReissueEvery is how long a token serves before it is reissued by timer; the timer fires at 0.9 to
	// 1 times it, and never too late to finish before the deadline. Zero means the issuer's hint, else
	// 0.6 to 0.8 of the token's life, drawn once a token. Negative means never by timer while the token
	// is in service.
	ReissueEvery time.Duration
	// IdleAfter stops reissuing a token that nobody has read for that long; the next read
	// starts again. Zero and negative mean off: tokens are kept fresh without traffic.
	IdleAfter time.Duration
	// FlightTimeout is how long one flight (with its retries) may take. Zero means the Source's own
	// Traits.Timeout, else 30 s. Negative is an error.
	FlightTimeout time.Duration
	// Budget limits the login attempts that follow a failure. Nil means one of its own with the
	// default of 4 in 10 minutes, or, in a Manager, the one of its account. TokenSources that log in to one
	// account can share one by pointer; they must then share one kind of Clock too.
	Budget *budget.Budget
	// Endpoint names the issuer's endpoint, the unit of pacing. Empty means the Source's own
	// Traits.Endpoint, else the Source itself.
	Endpoint string
	// Account names the account, the unit of lock-out at the endpoint. Empty means the Source's own
	// Traits.Account, else an account that is shared with no one.
	Account string
	// Interactive allows Token, Wait and Reject to start an Issue that needs a person. Without it they
	// answer ErrInteractionRequired.
	Interactive bool
	// RevokeOnClose makes Close tell the issuer that the tokens are no longer wanted, where the Source is a Revoker.
	RevokeOnClose bool
	// CheckOnRead makes each read compare the token with the clock, at the price of one clock
	// reading. It is for processes that get frozen (serverless), whose timers fire too late.
	CheckOnRead bool

	// Rate is the pace at which one issuer endpoint is called by all TokenSources of a Manager. Zero
	// means 50 a second with a burst of 100; a negative PerSecond means no limit.
	Rate budget.Rate
	// WatchEvery is how often the two hands of the clock are compared to notice a suspend or a step of
	// the wall clock. Zero means 0.9 s. Negative turns it off.
	WatchEvery time.Duration
	// Clock is the time; nil means clock.Real{}.
	Clock clock.Clock
	// Rand returns numbers in [0, 1) for the jitter. It is called by one goroutine at a time. Nil means
	// math/rand/v2.Float64.
	Rand func() float64
	// Logger gets one record for each change of state. Nil means silent.
	Logger *slog.Logger
	// Hooks are called when something changes.
	Hooks Hooks
}

const (
	defaultFlightTimeout = 30 * time.Second
	defaultWatchEvery    = 900 * time.Millisecond
	// maxLife bounds every life, so that no deadline overflows. No daemon runs that long.
	maxLife = 100 * 365 * 24 * time.Hour
)

// Validate reports the first field that cannot work, as a *ConfigError. New,
// NewManager and Add call it.
func (c Config) Validate() error {
	if c.FlightTimeout < 0 {
		return &ConfigError{"Config.FlightTimeout", fmt.Sprintf("is %v: it must be positive, or 0 for the default", c.FlightTimeout)}
	}
	for _, d := range []struct {
		field string
		value time.Duration
	}{{"Leeway", c.Leeway}, {"ReissueEvery", c.ReissueEvery}, {"IdleAfter", c.IdleAfter}, {"FlightTimeout", c.FlightTimeout}, {"WatchEvery", c.WatchEvery}} {
		if d.value > maxLife {
			return &ConfigError{"Config." + d.field, fmt.Sprintf("is %v: it must be at most %v", d.value, maxLife)}
		}
	}
	if err := c.Budget.Validate(); err != nil {
		return &ConfigError{"Config.Budget", err.Error()}
	}
	if err := c.Rate.Validate(); err != nil {
		return &ConfigError{"Config.Rate", err.Error()}
	}
	return nil
}

// shared names the first field that is set although it belongs to a Manager as
// a whole, or returns the empty string.
func (c Config) shared() string {
	switch {
	case c.Rate != budget.Rate{}:
		return "Rate"
	case c.WatchEvery != 0:
		return "WatchEvery"
	case c.Clock != nil:
		return "Clock"
	case c.Rand != nil:
		return "Rand"
	case c.Logger != nil:
		return "Logger"
	case !c.Hooks.isZero():
		return "Hooks"
	}
	return ""
}

// over returns c with its zero fields taken from the Manager's Config.
func (c Config) over(m Config) Config {
	c.Leeway = cmp.Or(c.Leeway, m.Leeway)
	c.ReissueEvery = cmp.Or(c.ReissueEvery, m.ReissueEvery)
	c.IdleAfter = cmp.Or(c.IdleAfter, m.IdleAfter)
	c.FlightTimeout = cmp.Or(c.FlightTimeout, m.FlightTimeout)
	c.Budget = cmp.Or(c.Budget, m.Budget)
	c.Endpoint = cmp.Or(c.Endpoint, m.Endpoint)
	c.Account = cmp.Or(c.Account, m.Account)
	c.Interactive = c.Interactive || m.Interactive
	c.RevokeOnClose = c.RevokeOnClose || m.RevokeOnClose
	c.CheckOnRead = c.CheckOnRead || m.CheckOnRead
	return c
}

// settings is what a TokenSource needs of its Config, and of the Manager that it
// is in. It is comparable, so that equal ones are shared.
type settings struct {
	hub  *hub
	lane *lane // nil when neither the Config nor the Source names an endpoint or an account

	leeway, reissueEvery, idleAfter, flightTimeout time.Duration

	budget                                  *budget.Budget
	interactive, revokeOnClose, checkOnRead bool
}
