// Package ledger keeps small records that several functions change without overwriting one another: the state of a rotation, which events
// have been handled, who is at work. A record is saved only if it is still what its writer last saw, so of several writers exactly one wins.
//
// What a cloud offers for that is a [Store]; [Book] makes a [Ledger] of it, on which [Acquire] and [Once] stand.
//
// The package must not know what a record says, nor hold secrets: whoever may see the progress of a rotation may read the ledger.
package ledger

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"
)

const (
	// MaxData is the largest record, in bytes. DynamoDB takes 400 KB, of which every kilobyte costs.
	MaxData = 64 << 10
	// MaxKey is the longest key, in bytes.
	MaxKey = 256
)

var (
	// ErrNotFound is wrapped when there is no record with a key, or it has expired.
	ErrNotFound = errors.New("no such record")
	// ErrConflict is wrapped when a record is no longer what the caller last saw: somebody else has saved or deleted it. Whoever gets it loads
	// the record again and decides anew.
	ErrConflict = errors.New("the record has changed")
	// ErrUncertain is wrapped when a change may have happened, or may still happen, because no reply came and the record could not tell.
	// Whoever gets it must not assume either; it loads the record again, later or in the next run.
	ErrUncertain = errors.New("it is not known whether the record has changed")
)

// Record is one record of a ledger.
type Record struct {
	// Data is what the record says, at most [MaxData] bytes.
	Data []byte
	// Revision is the state of the record that the caller has seen. It is opaque. Empty means that there is no record.
	Revision string
	// Expires is when the record ceases to exist, by the wall clock and in whole seconds: it is rounded up. Zero means never.
	Expires time.Time
}

// Ledger holds records. Implementations are safe for concurrent use, honour ctx, and return errors that are an *[Error].
type Ledger interface {
	// Load returns the record with a key. All writes that have ended before are seen. A record that is not there is [ErrNotFound].
	Load(ctx context.Context, key string) (Record, error)
	// Save saves a record if its revision is still the current one, or if its revision is empty and there is no record. It returns the record
	// as it was saved, with its new revision. Otherwise it is [ErrConflict], or [ErrUncertain].
	Save(ctx context.Context, key string, record Record) (Record, error)
	// Delete deletes a record if its revision is still the current one. One that is gone already is no error. Otherwise it is [ErrConflict],
	// or [ErrUncertain].
	Delete(ctx context.Context, key string, record Record) error
}

// Error is why a record could not be loaded or changed. Its text names the key and nothing of the content, so it is safe for logs.
type Error struct {
	Key    string
	Reason string
	// Err is the cause. It is not part of the text.
	Err error
}

// Error returns the key and the reason.
func (e *Error) Error() string { return fmt.Sprintf("ledger record %q: %s", e.Key, e.Reason) }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// keyForm is what all stores take as a name without changing it. Azure drops dots and slashes at the end of a segment
// (https://learn.microsoft.com/rest/api/storageservices/naming-and-referencing-containers--blobs--and-metadata), and "." and ".." are
// gone from a path before it arrives.
var keyForm = regexp.MustCompile(`^` + segment + `(/` + segment + `)*$`)

const segment = `[A-Za-z0-9_]([A-Za-z0-9._:=@-]*[A-Za-z0-9_=-])?`

func checkKey(key string) error {
	switch {
	case len(key) > MaxKey:
		return &Error{Key: key[:40] + "...", Reason: fmt.Sprintf("the key has to have at most %d bytes", MaxKey)}
	case !keyForm.MatchString(key):
		return &Error{Key: key, Reason: "the key has to consist of segments of letters, digits and ._:=@- between slashes, " +
			"each of which begins with a letter or digit and ends with one"}
	}
	return nil
}

// checkRecord refuses what no store could hold, or would hold no longer than it takes to say so.
func checkRecord(key string, record Record) error {
	if err := checkKey(key); err != nil {
		return err
	}
	switch {
	case len(record.Data) > MaxData:
		return &Error{Key: key, Reason: fmt.Sprintf("it has %d bytes, and at most %d are kept", len(record.Data), MaxData)}
	case expired(record.Expires):
		return &Error{Key: key, Reason: "its end is in the past"}
	case record.Expires.After(latest):
		return &Error{Key: key, Reason: "its end is after the year 9999"}
	}
	return nil
}

// latest is the last moment that the stores' formats can say.
var latest = time.Date(9999, time.December, 31, 23, 59, 59, 0, time.UTC)

// expired compares by the wall clock, since a function may have been frozen in between.
func expired(at time.Time) bool { return !at.IsZero() && !now().Before(at) }

// now is the wall clock without the monotonic reading, which stands still while a function is frozen.
func now() time.Time { return time.Now().Round(0) }

// wholeSeconds rounds up, so that no record ends before its time. DynamoDB knows whole seconds only.
func wholeSeconds(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	whole := t.Round(0).UTC().Truncate(time.Second)
	if whole.Before(t) {
		whole = whole.Add(time.Second)
	}
	return whole
}
