package rotation

import (
	"fmt"
	"strings"
	"time"
)

// Outcome is what became of a credential in a run.
type Outcome string

// The outcomes.
const (
	// Rotated means that a new key has become current in this run.
	Rotated Outcome = "rotated"
	// NotDue means that there was nothing to do.
	NotDue Outcome = "not_due"
	// Pending means that a rotation is under way, and goes on in a later run.
	Pending Outcome = "pending"
	// Failed means that a step has failed. The key in use is as valid as before, and a later run tries again.
	Failed Outcome = "failed"
)

// Result is what became of one credential.
type Result struct {
	Credential string  `json:"credential"`
	Outcome    Outcome `json:"outcome"`
	// Phase is where its rotation stands.
	Phase Phase `json:"phase,omitzero"`
	// Detail says why it is pending.
	Detail string `json:"detail,omitzero"`
	// Next is when there will be something to do, if that is known.
	Next time.Time `json:"next,omitzero"`
	// Err is why it has failed. Its text is safe for logs.
	Err error `json:"-"`
	// Error is Err as text.
	Error string `json:"error,omitzero"`
}

// Report is what became of all credentials, in the order of the document.
type Report struct {
	Results []Result `json:"results"`
}

// Count returns how many credentials had an outcome.
func (r Report) Count(outcome Outcome) int {
	n := 0
	for _, result := range r.Results {
		if result.Outcome == outcome {
			n++
		}
	}
	return n
}

// String returns the numbers of all outcomes, for logs.
func (r Report) String() string {
	return fmt.Sprintf("rotated %d, not due %d, pending %d, failed %d", r.Count(Rotated), r.Count(NotDue), r.Count(Pending), r.Count(Failed))
}

func (r Report) err() error {
	var failed FailedError
	for i, result := range r.Results {
		if result.Err == nil {
			continue
		}
		r.Results[i].Error = result.Err.Error()
		failed.Errs = append(failed.Errs, result.Err)
	}
	if failed.Errs == nil {
		return nil
	}
	return &failed
}

// FailedError says that a run has failed for some credentials.
type FailedError struct {
	// Errs are the errors of those credentials. Their texts are safe for logs.
	Errs []error
}

// Error returns all of the errors.
func (e *FailedError) Error() string {
	texts := make([]string, len(e.Errs))
	for i, err := range e.Errs {
		texts[i] = err.Error()
	}
	return strings.Join(texts, "; ")
}

// Unwrap returns the errors.
func (e *FailedError) Unwrap() []error { return e.Errs }
