// Package signing is what the packages that sign whole requests have in common, on both sides of
// the wire: [ReadBody] and [Retry] for signers, [TakeBody], [Guard] and [Refusal] for verifiers.
package signing
