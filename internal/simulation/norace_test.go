//go:build !race

package simulation

// histories is how many are played by default.
const histories = 5000
