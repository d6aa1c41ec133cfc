package ledger

import (
	"context"
	"crypto/rand"
	"errors"
	mathrand "math/rand/v2"
	"time"
)

const (
	// defaultTimeout bounds one request to a store.
	defaultTimeout = 3 * time.Second
	// attempts is how often a request is sent at most. With the pauses between them, more than a second passes: Cloud Storage takes one write
	// a second for an object (https://cloud.google.com/storage/quotas).
	attempts   = 4
	firstPause = 100 * time.Millisecond
)

// Book is the [Ledger] over a [Store]. It finds out what became of a write whose reply was lost: every save has a mark of its own, and the
// record tells whose mark it carries. A write is sent again only under the same condition and with the same mark, so that it takes effect once
// however often it arrives. The fields are not changed after the first call.
type Book struct {
	Store Store
	// Timeout bounds one request. Zero means 3 s.
	Timeout time.Duration
}

// Load implements [Ledger].
func (b *Book) Load(ctx context.Context, key string) (Record, error) {
	if err := checkKey(key); err != nil {
		return Record{}, err
	}
	entry, err := b.read(ctx, key)
	if err != nil {
		return Record{}, err
	}
	// Stores remove what has expired hours or days later.
	if expired(entry.Expires) {
		return Record{}, notFound(key)
	}
	return Record{Data: entry.Data, Revision: entry.Revision, Expires: entry.Expires}, nil
}

// Save implements [Ledger]. An expired record that the store has not removed yet counts as none.
func (b *Book) Save(ctx context.Context, key string, record Record) (Record, error) {
	if err := checkRecord(key, record); err != nil {
		return Record{}, err
	}
	s := &saving{book: b, key: key, create: record.Revision == "", entry: Entry{
		Data: record.Data, Writer: rand.Text(), Expires: wholeSeconds(record.Expires), Revision: record.Revision,
	}}
	revision, err := s.run(ctx)
	if err != nil {
		return Record{}, err
	}
	return Record{Data: record.Data, Revision: revision, Expires: s.entry.Expires}, nil
}

// saving is one call of Save.
type saving struct {
	book   *Book
	key    string
	create bool
	entry  Entry
}

func (s *saving) run(ctx context.Context) (string, error) {
	doubt := false
	for attempt := 1; ; attempt++ {
		revision, err := s.book.write(ctx, s.key, s.entry)
		if err == nil {
			return revision, nil
		}
		doubt = doubt || errors.Is(err, ErrUnanswered)
		if !errors.Is(err, ErrConflict) && !passing(err) {
			return "", inDoubt(err, doubt)
		}
		revision, settled, why := s.look(ctx, err, doubt)
		if settled {
			return revision, why
		}
		if attempt == attempts || !pause(ctx, attempt) {
			return "", inDoubt(err, doubt)
		}
	}
}

// look reads the record to see what became of a write. It is not settled when nothing has changed, or an expired record is to be replaced.
func (s *saving) look(ctx context.Context, cause error, doubt bool) (revision string, settled bool, err error) {
	found, err := s.book.read(ctx, s.key)
	switch {
	case errors.Is(err, ErrNotFound):
		found = Entry{}
	case err != nil:
		return "", true, inDoubt(cause, doubt)
	}
	switch {
	case found.Writer == s.entry.Writer:
		return found.Revision, true, nil
	case s.create && expired(found.Expires):
		s.entry.Revision = found.Revision
		return "", false, nil
	case s.create && found.Revision == "":
		s.entry.Revision = "" // an expired record may have been removed meanwhile
		return "", false, nil
	case found.Revision == s.entry.Revision:
		return "", false, nil
	}
	return "", true, &Error{Key: s.key, Reason: "somebody else has changed it", Err: ErrConflict}
}

// Delete implements [Ledger].
func (b *Book) Delete(ctx context.Context, key string, record Record) error {
	if err := checkKey(key); err != nil {
		return err
	}
	if record.Revision == "" {
		return &Error{Key: key, Reason: "it has to be loaded or saved before it can be deleted"}
	}
	doubt := false
	for attempt := 1; ; attempt++ {
		err := b.remove(ctx, key, Entry{Revision: record.Revision})
		if err == nil {
			return nil
		}
		doubt = doubt || errors.Is(err, ErrUnanswered)
		if !errors.Is(err, ErrConflict) && !passing(err) {
			return inDoubt(err, doubt)
		}
		found, readErr := b.read(ctx, key)
		switch {
		case errors.Is(readErr, ErrNotFound):
			return nil
		case readErr != nil:
			return inDoubt(err, doubt)
		case found.Revision != record.Revision:
			return &Error{Key: key, Reason: "somebody else has changed it", Err: ErrConflict}
		case attempt == attempts || !pause(ctx, attempt):
			return inDoubt(err, doubt)
		}
	}
}

// read reads an entry. Reading again does no harm.
func (b *Book) read(ctx context.Context, key string) (Entry, error) {
	for attempt := 1; ; attempt++ {
		entry, err := b.readOnce(ctx, key)
		if err == nil || !passing(err) || attempt == attempts || !pause(ctx, attempt) {
			return entry, err
		}
	}
}

func (b *Book) readOnce(ctx context.Context, key string) (Entry, error) {
	ctx, cancel, err := b.bounded(ctx, key)
	if err != nil {
		return Entry{}, err
	}
	defer cancel()
	return b.Store.Read(ctx, key)
}

func (b *Book) write(ctx context.Context, key string, entry Entry) (string, error) {
	ctx, cancel, err := b.bounded(ctx, key)
	if err != nil {
		return "", err
	}
	defer cancel()
	return b.Store.Write(ctx, key, entry)
}

func (b *Book) remove(ctx context.Context, key string, entry Entry) error {
	ctx, cancel, err := b.bounded(ctx, key)
	if err != nil {
		return err
	}
	defer cancel()
	return b.Store.Remove(ctx, key, entry)
}

// bounded bounds one request, and makes none when the caller has gone: that there was certainly no effect is worth knowing.
func (b *Book) bounded(ctx context.Context, key string) (context.Context, context.CancelFunc, error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, &Error{Key: key, Reason: "the store was not asked: " + kindOf(err), Err: err}
	}
	timeout := b.Timeout
	if timeout <= 0 {
		timeout = defaultTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	return ctx, cancel, nil
}

// passing reports whether a request may succeed when it is sent again.
func passing(err error) bool { return errors.Is(err, ErrUnanswered) || errors.Is(err, ErrUnavailable) }

// inDoubt adds to an error that an earlier or the last request may have had an effect.
func inDoubt(err error, doubt bool) error {
	told, ok := errors.AsType[*Error](err)
	if !doubt || !ok {
		return err
	}
	return &Error{Key: told.Key, Reason: told.Reason + "; " + ErrUncertain.Error(), Err: errors.Join(ErrUncertain, err)}
}

// pause waits before the next attempt, longer each time. It reports false when the caller has no time for it.
func pause(ctx context.Context, attempt int) bool {
	wait := firstPause << (2 * (attempt - 1))
	// Writers that met once would meet again and again if all waited equally long.
	wait += mathrand.N(wait / 2)
	if end, ok := ctx.Deadline(); ok && time.Until(end) <= wait {
		return false
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func notFound(key string) error {
	return &Error{Key: key, Reason: "there is no such record", Err: ErrNotFound}
}
