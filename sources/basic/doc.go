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
// for which no unit is needed. That is free for two paths in 10 minutes, since a path that accepts may look at no password at all:
// beyond, a path that has not accepted since the first refusal is asked one request at a time, for a unit that comes back when it accepts.
//
// Another password of PasswordFunc starts anew. In place of one that was not accepted last, it does so once in 10 minutes, and takes units otherwise.
package basic
