// Package rivals holds renew beside the libraries that its users would take otherwise: the same
// work, in the same run. It has tests and benchmarks only, one file a subject, and is a module of its own so that
// no user of renew downloads the rivals.
//
// Counts (vectors that a library signs right, allocations) are asserted, so that what the documentation says of a
// rival is true of the version in go.mod. Times are printed and never asserted: go test -run '^$' -bench . .
package rivals
