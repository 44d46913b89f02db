// Package armortest has a small true Armor service for tests of programs that use package armor: the calls
// of the FH-AUTH login, an AD FS with its pages and a person with a phone, /me, and an API that wants a live token.
//
// It is strict. A code works once, and for 2 minutes. A token works until its life ends, it was reissued, or it was
// revoked. A page's context works once and only with the cookie of its login, and the polled pages
// want all hidden fields back, no sooner than 5 s after the last time.
//
// A Server serves in memory from the start, to those who use its Client, so it works in a testing/synctest bubble; make and Close it
// there. After Start it listens on 127.0.0.1 as well. Its Client reaches every address there, so
// that a request which leaves for another host is seen: Calls has it as "foreign".
//
// Nothing of it is for production.
package armortest
