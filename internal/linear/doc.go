// Package linear checks that a TokenSource is linearizable: that whatever Token,
// Wait, Reject and the Source do at the same time, there is one order of single steps, true to
// what came before what, in which all answers are right. It has tests only, and
// uses nothing but what users see of renew.
//
// The tests run workers and an issuer on real goroutines, with the clock of the system run
// faster, note when each operation began and ended by one counter, and give the
// history to github.com/anishathalye/porcupine. model_test.go is the order that
// is asked for: one register with a generation, in service or not, and at most one flight. What
// each test shows holds for the histories that were run, not for all that are possible.
//
// To read a failure: the first line has the rule, the test's seed and how many histories it took. Then
// comes the shortest beginning of the history that is wrong already: its last operations with
// the interval of each, the state that the best order leads to, and why
// each operation that could be next cannot be. The operation that must be next is marked.
//
// To run more: go test -race -linear.n 5000 -linear.seed 1000000 in this folder; -linear.html x.html
// writes the wrong history as a picture. A seed fixes what workers and issuer choose, not how the scheduler
// mixes them: to see a failure again, run its seed with -linear.again 100.
//
// testdata/mutants has ways to break the engine that must be noticed here; .ci/linear-mutants tries them.
package linear
