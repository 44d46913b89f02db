// Package simulation plays random histories against the engine, and checks the
// rules of CONTRACT.md after every event.
//
// A history is a few bytes: how up to three TokenSources of one Manager are set
// up, and what happens to them (reads, rejects, callers that leave, faults of every
// kind, clock steps, suspends, Reset, Remove, Close). It is played in a
// testing/synctest bubble on clock.Fake, so that a simulated day takes a
// millisecond. The oracle knows the rules and not the engine: it sees what a user and an issuer
// see (calls of the Source, what callers got and when, timers, hooks, Status) and works
// out by itself what may and what must happen.
//
//	go test ./internal/simulation                              some thousand histories
//	go test ./internal/simulation -run TestSimulation -sim.n 200000
//	go test ./internal/simulation -run TestSimulation -sim.seed 0x1f2e -sim.n 1
//	go test ./internal/simulation -run TestSimulation -sim.history 00ff12...
//	go test ./internal/simulation -fuzz FuzzSimulation
//
// When a rule is broken the test prints the rule, the seed, the shortest history
// that it found to break the same rule, and the command that plays it again.
package simulation
