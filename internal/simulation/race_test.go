//go:build race

package simulation

// histories is how many are played by default; the race detector is ten times slower.
const histories = 300
