//go:build !race

package renew

// raceEnabled says that the tests run under the race detector, which allocates
// on its own account.
const raceEnabled = false
