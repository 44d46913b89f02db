package renewtest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// maxEvents bounds what Events keeps.
const maxEvents = 10_000

// Counts is what an Issuer has seen so far.
type Counts struct {
	// TokenRequests is how many requests came to the token endpoint, and ByGrant how many of each
	// grant type ("other" for those that the Issuer does not know, "none" for none).
	TokenRequests int
	ByGrant       map[string]int
	// InFlight is how many are at the token endpoint now, MaxInFlight how many at most were at once, and
	// MaxInFlightByClient the same for each client that is known. A request whose sender has left counts until the
	// connection's end is noticed: at once in a bubble as soon as everybody waits, soon over loopback.
	InFlight, MaxInFlight int
	MaxInFlightByClient   map[string]int
	byClient              map[string]int
	// Issued is how many token requests were granted, also where the reply was then lost.
	Issued int
	// Refused is how many replies of the token endpoint were 400 or 401.
	Refused int
	// RefreshReuse is how often a rotated refresh token was used again.
	RefreshReuse int
	// Faults is how many requests met a Fault, and Dropped how many connections were closed unread.
	Faults, Dropped int
	// APIRequests is how many requests came to the API, and APIUnauthorized how many of
	// them were answered 401.
	APIRequests, APIUnauthorized int
	// RevokeRequests is how many requests came to the revocation endpoint, and Revocations how
	// many of them were granted.
	RevokeRequests, Revocations int
}

// Counts returns a snapshot.
func (iss *Issuer) Counts() Counts {
	iss.mu.Lock()
	defer iss.mu.Unlock()
	c := iss.counts
	c.ByGrant = maps.Clone(c.ByGrant)
	c.MaxInFlightByClient = maps.Clone(c.MaxInFlightByClient)
	c.byClient = nil
	return c
}

// Event is one request to the token or the revocation endpoint. It holds no credential.
type Event struct {
	// At is when the request came, and Took how long it stayed, by the running time of the
	// Issuer's Clock since the Issuer was made.
	At, Took time.Duration
	// Endpoint is "token" or "revoke".
	Endpoint string
	// Grant is the grant type as in Counts.ByGrant, for the token endpoint.
	Grant string
	// ClientID is the client that the request named, if it is known.
	ClientID string
	// Status is the status of the reply; 0 means that there was none.
	Status int
	// Code is the error code that the endpoint itself answered ("invalid_grant").
	Code string
	// Fault tells that the request met a Fault.
	Fault bool
}

// String returns the event as a line: "1.5s token client_credentials test-client 401 invalid_client".
func (e Event) String() string {
	words := []string{e.At.String(), e.Endpoint, e.Grant, e.ClientID, fmt.Sprint(e.Status), e.Code}
	if e.Fault {
		words = append(words, "fault")
	}
	return strings.Join(slices.DeleteFunc(words, func(w string) bool { return w == "" }), " ")
}

// Events returns the last 9,000 to 10,000 finished requests to the token and the
// revocation endpoint, in the order in which they ended.
func (iss *Issuer) Events() []Event {
	iss.mu.Lock()
	defer iss.mu.Unlock()
	return slices.Clone(iss.events)
}

// record keeps an event. mu is held.
func (iss *Issuer) record(e Event) {
	if len(iss.events) >= maxEvents {
		iss.events = slices.Delete(iss.events, 0, maxEvents/10)
	}
	iss.events = append(iss.events, e)
}
