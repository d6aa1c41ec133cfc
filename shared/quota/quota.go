// Package quota counts what callers use, and says when one has used what it may: so much in a minute, and so many at a time.
//
// It must not know who calls, what is counted or why: keys and amounts are the gateway's. A [Store] counts in one instance ([Memory]) or in
// all of them.
package quota

import (
	"context"
	"time"
)

// Minute is how long a window is. It begins with the first use.
const Minute = time.Minute

// Use is what somebody is about to use.
type Use struct {
	// Owner is the same for everything that counts for one caller, and different for others. It is a hash: a store keeps it.
	Owner string
	// Windows are counted per minute. A key stands for itself within its owner.
	Windows []Window
	// Leases are counted until they are given back, or have ended by themselves. ID is theirs.
	Leases []Lease
	ID     string
}

// Window is an amount of something that may be used up to Limit in a minute.
type Window struct {
	Key           string
	Limit, Amount int64
}

// Lease is one of at most Limit at a time. It ends by itself after For, in case nobody gives it back.
type Lease struct {
	Key   string
	Limit int64
	For   time.Duration
}

// State is how a window or the leases of a key stand.
type State struct {
	// Used is the amount, or how many leases there are.
	Used int64
	// Reset is when a window ends, from now. It is zero for leases, since nobody knows when one is given back.
	Reset time.Duration
}

// States are those of a use, in the order of its windows and leases.
type States struct {
	Windows, Leases []State
}

// Store counts. Implementations are safe for concurrent use, honour ctx, and bound what they keep.
type Store interface {
	// Take counts the use if none of its limits is exceeded by it; otherwise it counts nothing and returns false. The states are those
	// after it, or those that stand in the way.
	Take(ctx context.Context, use Use) (States, bool, error)
	// Give ends the leases of a use and adds the amounts of its windows, which may be negative. A window that is over stays as it is. It is
	// called once for each use that was taken, also when there is nothing to give.
	Give(ctx context.Context, use Use) error
}

// Within reports whether a window has room for an amount. One that is more than the whole limit has to find the window empty.
func Within(used, amount, limit int64) bool { return used+min(amount, limit) <= limit }
