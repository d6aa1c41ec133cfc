package ledger

import (
	"context"
	"errors"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

var (
	// ErrUnanswered is wrapped by the error of a [Store] when a request that may have arrived brought no reply, or one that the service has
	// failed: the effect is not known.
	ErrUnanswered = errors.New("no reply")
	// ErrUnavailable is wrapped by the error of a [Store] when a request was certainly not carried out, and may be if it is sent again: the
	// service throttles, or no connection was made.
	ErrUnavailable = errors.New("not available")
)

// Entry is a record as a [Store] keeps it.
type Entry struct {
	Data []byte
	// Writer is drawn at random for each save. Who finds it in a record knows that this very save was the last one.
	Writer string
	// Expires is when the record ceases to exist, in whole seconds. Zero means never.
	Expires time.Time
	// Revision is the store's own mark of this state of the record.
	Revision string
}

// Store is what one cloud offers. Each method is one request, or two when a credential was rejected; nothing is retried otherwise.
// Implementations are safe for concurrent use and honour ctx. Errors are an *[Error]; one that wraps neither [ErrUnanswered] nor
// [ErrUnavailable] is final, and the request had no effect.
type Store interface {
	// Read returns an entry whether it has expired or not. It sees all writes that have ended. Without an entry it is [ErrNotFound].
	Read(ctx context.Context, key string) (Entry, error)
	// Write writes an entry if the current one has the entry's revision, or if the revision is empty and there is none. It returns the new
	// revision, which the key has never had before. If the condition is not met it is [ErrConflict].
	Write(ctx context.Context, key string, entry Entry) (string, error)
	// Remove removes the current entry if it has the revision of the one that is given. If there is none, or another, it is [ErrConflict].
	Remove(ctx context.Context, key string, entry Entry) error
}

// envelope is an entry as one JSON text, for stores that keep opaque objects.
type envelope struct {
	Format  int       `json:"format"`
	Writer  string    `json:"writer"`
	Expires time.Time `json:"expires,omitzero"`
	Data    []byte    `json:"data"`
}

// maxEnvelope is the largest envelope: [MaxData] in base64, and what is around it.
const maxEnvelope = MaxData/3*4 + 1<<10

// Encode returns the entry as one JSON text, without its revision.
func (e Entry) Encode() ([]byte, error) {
	return json.Marshal(envelope{Format: 1, Writer: e.Writer, Expires: e.Expires, Data: e.Data})
}

// DecodeEntry reads what Encode wrote. The error says that it is none, and nothing of the content.
func DecodeEntry(text []byte) (Entry, error) {
	var in envelope
	err := errors.New("it is not a record of this ledger")
	if len(text) > maxEnvelope || jsontext.Value(text).Kind() != '{' {
		return Entry{}, err
	}
	if json.Unmarshal(text, &in, json.RejectUnknownMembers(true)) != nil || in.Format != 1 || in.Writer == "" || len(in.Data) > MaxData {
		return Entry{}, err
	}
	return Entry{Data: in.Data, Writer: in.Writer, Expires: wholeSeconds(in.Expires)}, nil
}
