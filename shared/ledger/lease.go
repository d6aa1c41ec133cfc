package ledger

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
)

// defaultSkew is how far the clocks of two functions may be apart. The platforms keep theirs within a second.
const defaultSkew = 5 * time.Second

var (
	// ErrHeld is wrapped when somebody else is at work. It is no failure: who is at work does what there is to do.
	ErrHeld = errors.New("held by another")
	// ErrLost is wrapped when a lease has ended or another holds it now.
	ErrLost = errors.New("lease lost")
)

// Terms are what a lease is taken for.
type Terms struct {
	// Key is the record that holds the lease. It is kept for ever, since its fencing tokens must only grow.
	Key string
	// Holder is how others name whoever holds it, such as the id of the run.
	Holder string
	// Duration is for how long it holds unless it is renewed. It is longer than a function may run after its last renewal.
	Duration time.Duration
	// Skew is how far the clocks of two holders may be apart. Its holder gives a lease up so much before its end, and nobody else takes it
	// until so much after. Zero means 5 s.
	Skew time.Duration
}

// Lease says that nobody else is at work. It avoids work done twice and does not make writes safe: a function may be frozen while it
// believes itself the holder. What makes them safe is the revision of each record, or the fencing token in it. It is safe for
// concurrent use.
type Lease struct {
	ledger Ledger
	terms  Terms

	mu     sync.Mutex
	state  leaseState
	record Record
}

// leaseState is what the record of a lease says.
type leaseState struct {
	// ID is drawn at random for each lease, and empty when nobody holds it.
	ID     string    `json:"id"`
	Holder string    `json:"holder"`
	Fence  int64     `json:"fence"`
	Until  time.Time `json:"until,omitzero"`
}

// Acquire takes a lease that is free, or whose holder has let it end. If another holds it, it is [ErrHeld].
func Acquire(ctx context.Context, ledger Ledger, terms Terms) (*Lease, error) {
	if terms.Skew == 0 {
		terms.Skew = defaultSkew
	}
	if terms.Skew < 0 || terms.Duration <= 2*terms.Skew {
		return nil, &Error{Key: terms.Key, Reason: fmt.Sprintf("the duration of a lease has to be longer than twice the skew, %v", terms.Skew)}
	}
	record, err := ledger.Load(ctx, terms.Key)
	var state leaseState
	switch {
	case errors.Is(err, ErrNotFound):
	case err != nil:
		return nil, err
	default:
		if state, err = readLease(terms.Key, record); err != nil {
			return nil, err
		}
	}
	if state.ID != "" && now().Before(state.Until.Add(terms.Skew)) {
		return nil, &Error{Key: terms.Key, Reason: fmt.Sprintf("held by %q until %s", state.Holder, state.Until.Format(time.RFC3339)), Err: ErrHeld}
	}
	l := &Lease{ledger: ledger, terms: terms, record: record}
	err = l.save(ctx, leaseState{ID: rand.Text(), Holder: terms.Holder, Fence: state.Fence + 1})
	if errors.Is(err, ErrConflict) {
		return nil, &Error{Key: terms.Key, Reason: "another was quicker to take it", Err: errors.Join(ErrHeld, err)}
	}
	if err != nil {
		return nil, err
	}
	return l, nil
}

func readLease(key string, record Record) (leaseState, error) {
	var state leaseState
	if err := json.Unmarshal(record.Data, &state, json.RejectUnknownMembers(true)); err != nil || state.Fence < 1 {
		return leaseState{}, &Error{Key: key, Reason: "it is not a lease; choose another key or delete the record"}
	}
	return state, nil
}

// save writes the state, with an end if somebody holds it. The time is taken before the request, so that the holder never believes in more
// than it has.
func (l *Lease) save(ctx context.Context, state leaseState) error {
	if state.ID != "" {
		state.Until = now().Add(l.terms.Duration).UTC()
	}
	data, err := json.Marshal(state)
	if err != nil {
		return &Error{Key: l.terms.Key, Reason: "the holder's name is not valid UTF-8", Err: err}
	}
	saved, err := l.ledger.Save(ctx, l.terms.Key, Record{Data: data, Revision: l.record.Revision})
	if err != nil {
		return err
	}
	l.record, l.state = saved, state
	return nil
}

// Fence returns the fencing token: a number that is larger than that of every earlier holder. What is written under the lease carries it,
// and whoever finds a larger one in a record leaves the record alone.
func (l *Lease) Fence() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state.Fence
}

// Remaining returns for how long the lease still holds by this function's wall clock, less the skew. It is zero or less when it does
// not, and a step that may take longer is not begun without renewing.
func (l *Lease) Remaining() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.remaining()
}

func (l *Lease) remaining() time.Duration {
	if l.state.ID == "" {
		return 0
	}
	return l.state.Until.Sub(now()) - l.terms.Skew
}

// Keep renews the lease when half of it or less remains. It is called between the steps of a run, since nothing happens in a function beside
// its run. A lease that has ended is [ErrLost], even if nobody else has taken it.
func (l *Lease) Keep(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	remaining := l.remaining()
	if remaining <= 0 {
		return l.lost()
	}
	if remaining > l.terms.Duration/2 {
		return nil
	}
	return l.replace(ctx, l.state)
}

// replace saves a new state over the own one. A conflict may be with a renewal of our own, which nobody answered and which arrived late.
func (l *Lease) replace(ctx context.Context, state leaseState) error {
	err := l.save(ctx, state)
	if !errors.Is(err, ErrConflict) {
		return err
	}
	record, err := l.ledger.Load(ctx, l.terms.Key)
	if errors.Is(err, ErrNotFound) {
		return l.lost()
	}
	if err != nil {
		return err
	}
	found, err := readLease(l.terms.Key, record)
	if err != nil {
		return err
	}
	if found.ID != l.state.ID {
		return l.lost()
	}
	l.record = record
	if err = l.save(ctx, state); errors.Is(err, ErrConflict) {
		return l.lost()
	}
	return err
}

func (l *Lease) lost() error {
	l.state.ID = ""
	return &Error{Key: l.terms.Key, Reason: "the lease has ended or another holds it", Err: ErrLost}
}

// Release gives the lease back, so that nobody has to wait for its end. A lease that another holds by now is [ErrLost].
func (l *Lease) Release(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state.ID == "" {
		return nil
	}
	return l.replace(ctx, leaseState{Holder: l.state.Holder, Fence: l.state.Fence})
}
