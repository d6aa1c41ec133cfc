// Package ledgertest is what every store of a ledger has to pass. A package that keeps a ledger elsewhere is done when it does.
//
// The tests run on a clock of their own (testing/synctest), so a stand-in is reached through [Transport] and not through a network.
//
// The package must not know any store: what differs is in the [World] that a test hands over.
package ledgertest

import (
	"net/http"
	"testing"
	"testing/synctest"

	"github.com/postern-ai/postern/shared/ledger"
)

// Canary is part of every record, every credential and every reply of a broken store in these tests. It must never turn up in an error.
const Canary = "canary-5d20c7"

// Operation is one of the three things that a store is asked.
type Operation int

// The operations.
const (
	Read Operation = iota
	Write
	Remove
)

// Broken is one way for a store to fail.
type Broken struct {
	On Operation
	// After says that the store does what it was asked, and its reply is lost.
	After bool
	// Status, Header and Body are answered. A zero status without Hangup means an endless wait.
	Status int
	Header http.Header
	Body   string
	// Hangup breaks the connection.
	Hangup bool
	// Times is how many requests are affected. Zero means all of them.
	Times int
}

// World is one empty store and the ledgers of two functions in it.
type World struct {
	Ledger, Another ledger.Ledger
	// Deny takes the right to do something away from both.
	Deny func(Operation)
	// Permission is what the error names when a right is missing.
	Permission map[Operation]string
	// Expire makes the store reject the credential of both, once. The next credential is good again.
	Expire func()
	// LoseIdentity makes the own credential of both unobtainable, with the given error.
	LoseIdentity func(error)
	// Break makes the store fail from now on.
	Break func(Broken)
	// Mend ends all failures.
	Mend func()
	// Throttled is how the service itself answers when it is asked too often.
	Throttled Broken
	// Calls returns how many requests the store has had.
	Calls func() int
	// Sweep removes what has expired, as the service does some day. Nil when the service does not know of it.
	Sweep func()
	// Plant puts something into the store that is no record of a ledger.
	Plant func(key string)
}

// Open returns an empty store. It is called on the test's own clock.
type Open func(t *testing.T) World

// Test tests one store.
func Test(t *testing.T, open Open) {
	t.Helper()
	for _, test := range []struct {
		name string
		test func(*testing.T, World)
	}{
		{"what is saved is loaded by everybody", testSaved},
		{"a record that is not there is not found", testMissing},
		{"a record is made once", testMadeOnce},
		{"who has seen an older state does not overwrite", testStale},
		{"a record is deleted by who has seen its last state", testDeleted},
		{"an expired record is gone, and may be made anew", testExpired},
		{"keys and sizes have limits", testLimits},
		{"names that are alike are told apart", testAlike},
		{"of many writers exactly one wins", testWriters},
		{"many count without losing one", testCounting},
		{"a lost reply is settled", testLostReplies},
		{"a write of which nothing is known says so", testUncertain},
		{"a throttled request is sent again", testThrottled},
		{"a broken store is told apart from a missing record", testBroken},
		{"what is not a record is refused", testPlanted},
		{"a redirect is not followed", testRedirect},
		{"a missing right is named", testDenied},
		{"a rejected credential is replaced once", testRejected},
		{"a missing identity says so", testNoIdentity},
		{"a caller that has gone asks nothing", testGone},
		{"a caller that goes is not held up", testGoes},
		{"a lease has one holder, and its tokens grow", testLease},
		{"a task is done once", testOnce},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { test.test(t, open(t)) })
		})
	}
}
