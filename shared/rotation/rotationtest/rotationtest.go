// Package rotationtest is what every issuer of keys has to pass. A package that makes keys elsewhere is done when it does.
//
// The tests run on a clock of their own (testing/synctest), so a stand-in is reached through a [Line] and not through a network. The line is
// also where the tests break things: each request of each call, before it takes effect and after.
//
// The package must not know any issuer: what differs is in the [World] that a test hands over, and in the issuer's traits.
package rotationtest

import (
	"testing"
	"testing/synctest"

	"github.com/postern-ai/postern/shared/rotation"
	"github.com/postern-ai/postern/shared/secrets"
)

// Canary is part of every admin credential and of every reply of a broken service in these tests. It must never turn up in an error.
const Canary = "canary-c41f77"

// World is one service, in which the credential has no key of its own but the current one, and an issuer of its keys.
type World struct {
	Issuer rotation.Issuer
	// Keys returns what the service has, by its own books: all keys of the owner that have not been revoked, disabled ones too.
	Keys func() []rotation.Key
	// Make makes a key as people do in the service's console. Nil when no key can be made beside the issuer.
	Make func(name string) rotation.Issued
	// Current and Content are the id and the stored content of the key in use. They are needed where the overlap is not parallel.
	Current string
	Content secrets.Value
	// Wrong is what the content of a key would look like that the service does not know.
	Wrong secrets.Value
	// Endless says that the keys of this service take no end, though the issuer asks for one.
	Endless bool
	// Sparse says that the service leaves out empty members, so that a list of no keys is an empty object.
	Sparse bool
	// Expire makes the service reject the admin credential, once. The next credential is good again. Nil when there is nothing to refresh.
	Expire func()
	// Lose makes the admin credential unobtainable, with the given error. Nil when there is none to obtain.
	Lose func(error)

	line *Line
}

// Open returns a new service, which the issuer reaches through the line alone. It is called on the test's own clock.
type Open func(t *testing.T, line *Line) World

// TestIssuer tests one issuer.
func TestIssuer(t *testing.T, open Open) {
	t.Helper()
	for _, test := range []struct {
		name string
		test func(*testing.T, *World)
	}{
		{"the traits can be relied on", testTraits},
		{"a key is made, found, used and revoked", testLife},
		{"the key in use survives the making of the next", testCurrent},
		{"a key can be revoked twice", testRevokedTwice},
		{"no more keys are made than there may be", testLimit},
		{"a key ends when it was ordered to, or later", testExpiry},
		{"the use of a key is seen", testLastUsed},
		{"keys of others are left out", testOthers},
		{"a long list is read to its end", testMany},
		{"a key can be stopped and started", testDisabled},
		{"a key whose making was interrupted is recovered", testRecovered},
		{"a stored content tells which key it is", testIdentified},
		{"what no program can make is refused", testAssisted},
		{"many may ask at once", testConcurrent},
		{"a rotation renews the key again and again", testCycles},
		{"a rotation whose requests lose their replies comes to rest", testInterrupted},
		{"an order whose effect is not known says so", testUnanswered},
		{"an order that was not carried out says so", testUnavailable},
		{"a throttled order says how long to wait", testThrottled},
		{"what the service refuses is refused", testRefused},
		{"a list that cannot be read is an error", testBrokenList},
		{"a key that may be there is not called gone", testBrokenRevocation},
		{"a key that cannot be verified is not called rejected", testBrokenVerification},
		{"what cannot be stopped or started is an error", testBrokenSwitch},
		{"a redirect is not followed", testRedirect},
		{"a reply without end is given up", testEndless},
		{"a service that hangs is given up", testHanging},
		{"a rejected admin credential is replaced once", testExpired},
		{"a missing admin credential says so", testLost},
		{"a caller that has gone asks nothing", testGone},
		{"a caller that goes is not held up", testGoes},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				line := &Line{}
				w := open(t, line)
				w.line = line
				test.test(t, &w)
			})
		})
	}
}
