// Package basic has the Basic authentication scheme (RFC 7617): a [Signer] that puts user name and password on
// each request, for servers and for proxies.
//
// A wrong password does not lock the account: until the password has been accepted once, requests go one at a time,
// and each that follows a refusal takes a unit of a budget, 4 in 10 minutes (R18). Without a unit nothing is sent, and
// the error is a *renew.BudgetError with the time of the next one (R21). Any answer but a 401 (407 of a proxy) and
// those that say nothing (400, 403, 407, 408, 429 and 5xx) accepts the password.
//
// One path that answers 401 to everybody does not take the others down (R22): a path that refuses a password which
// was accepted before takes a unit for each further request to it, and the other paths go on after one of them has been accepted again,
// for which no unit is needed.
package basic
