// Package bench has the benchmarks that put renew beside its peers, in the form that benchstat reads:
//
//	cd bench && go test -run '^$' -bench . -count 10 . | tee new.txt
//
// The command compare runs these and all other scenarios, and writes RESULTS.md.
package bench
