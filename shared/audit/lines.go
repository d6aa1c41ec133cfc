package audit

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"
)

// Lines is a Publisher that writes each event as one line of JSON. It accepts an event when the writer has taken it, so the writer is one that
// keeps what it takes: a file, or the standard output that a platform collects. It is safe for concurrent use.
type Lines struct {
	mu     sync.Mutex
	writer io.Writer
	torn   bool // the last line was not written to its end
}

// NewLines returns a Lines on the writer.
func NewLines(writer io.Writer) *Lines { return &Lines{writer: writer} }

// Publish writes the events in one go.
func (l *Lines) Publish(ctx context.Context, events ...Event) error {
	var text []byte
	for _, event := range events {
		line, err := event.encode()
		if err != nil {
			return err
		}
		text = append(append(text, line...), '\n')
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("publish audit events: %w", err)
	}
	if len(text) == 0 {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.torn {
		text = append([]byte{'\n'}, text...)
	}
	n, err := l.writer.Write(text)
	if err == nil && n < len(text) {
		err = io.ErrShortWrite
	}
	if err != nil {
		l.torn = l.torn && n == 0 || n > 0 && n <= len(text) && text[n-1] != '\n'
		return fmt.Errorf("publish audit events: %w", err)
	}
	l.torn = false
	return nil
}

const defaultInline = 500 * time.Millisecond

// Inline publishes within a request that must neither wait long for it nor fail because of it. There is no later: a function is frozen
// when its request has been answered.
type Inline struct {
	Publisher Publisher
	// Timeout bounds what the request waits. Zero means 500 ms.
	Timeout time.Duration
	// OnFailure, when set, is given the events that may not have been accepted, for the log.
	OnFailure func(ctx context.Context, failure Failure)
}

// Failure is events that may not have been accepted.
type Failure struct {
	Events []Event
	Err    error
}

// Publish publishes the events, or gives up. That the request has ended meanwhile does not keep them back.
func (i Inline) Publish(ctx context.Context, events ...Event) {
	timeout := i.Timeout
	if timeout <= 0 {
		timeout = defaultInline
	}
	publishing, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
	defer cancel()
	if err := i.Publisher.Publish(publishing, events...); err != nil && i.OnFailure != nil {
		i.OnFailure(ctx, Failure{events, err})
	}
}
