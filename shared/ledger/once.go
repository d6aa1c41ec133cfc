package ledger

import (
	"context"
	"errors"
	"time"
)

// defaultClaim is the longest that a Lambda function runs.
const defaultClaim = 15 * time.Minute

// tidying bounds how long it takes to give up a claim when the caller may have gone already.
const tidying = 2 * time.Second

// Task is something that is done once, such as handling one event.
type Task struct {
	// Key is the record that tells whether it was done. It carries the id of the event.
	Key string
	// TTL is for how long it is remembered that it was done: longer than the sender tries again.
	TTL time.Duration
	// Claim is for how long others leave it to whoever has begun: longer than a function may run. Zero means 15 minutes.
	Claim time.Duration
	// Do does it. It is harmless to do it twice.
	Do func(ctx context.Context) error
}

// What the record of a task says.
const (
	begun = `{"task":"begun"}`
	done  = `{"task":"done"}`
)

// Once does something unless it was done before, and reports whether it did it. While another is at it, it is [ErrHeld], and whoever sent the
// event sends it again later. If Do fails, its error is returned, and
// the next call does it anew.
//
// A function that dies between doing and remembering is the one case in which the thing is done again, when its claim has ended. The
// same is so when it was done and the error is that of remembering it.
func Once(ctx context.Context, ledger Ledger, task Task) (did bool, err error) {
	if task.Claim == 0 {
		task.Claim = defaultClaim
	}
	if task.Do == nil || task.TTL <= 0 || task.Claim < 0 {
		return false, &Error{Key: task.Key, Reason: "a task needs something to do and a TTL, for which it is remembered"}
	}
	claim, err := ledger.Save(ctx, task.Key, Record{Data: []byte(begun), Expires: now().Add(task.Claim)})
	if errors.Is(err, ErrConflict) {
		return false, task.seen(ctx, ledger)
	}
	if err != nil {
		return false, err
	}
	if err := task.Do(ctx); err != nil {
		// The caller may have gone, which can be why it failed; others need not wait for the claim to end.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tidying)
		defer cancel()
		return true, errors.Join(err, ledger.Delete(ctx, task.Key, claim))
	}
	_, err = ledger.Save(ctx, task.Key, Record{Data: []byte(done), Revision: claim.Revision, Expires: now().Add(task.TTL)})
	return true, err
}

// seen tells what another did or does.
func (t Task) seen(ctx context.Context, ledger Ledger) error {
	record, err := ledger.Load(ctx, t.Key)
	switch {
	case errors.Is(err, ErrNotFound), err == nil && string(record.Data) == begun:
		return &Error{Key: t.Key, Reason: "another is at it", Err: ErrHeld}
	case err != nil:
		return err
	case string(record.Data) == done:
		return nil
	}
	return &Error{Key: t.Key, Reason: "it is not a task; choose another key or delete the record"}
}
