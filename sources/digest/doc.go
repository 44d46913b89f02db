// Package digest has the Digest authentication scheme (RFC 7616), and its older forms of RFC 2617 and RFC 2069: a
// [Signer] that answers the challenges of servers and proxies.
//
// The first request to a server goes out without a credential, and is sent again with the answer to the challenge in
// its 401. Later ones use the nonce that is known, with a count of their own, or one that the server gave in
// Authentication-Info; each costs one request. A server that takes each nonce once is served too: the answer to a
// challenge uses a nonce that no other request has.
//
// A wrong password does not lock the account: until the password has been accepted once, answers go one at a time, and each that
// follows a refusal takes a unit of a budget, 4 in 10 minutes (R18). Without a unit nothing is sent, and the error is a
// *renew.BudgetError with the time of the next one (R21). What is an acceptance, and how one path that refuses everybody
// is kept apart from the others (R22), is as in package basic. A nonce that the server calls stale, or replaces by another, is
// no refusal: the request is sent again with the new one, and the verdict of that counts.
package digest
