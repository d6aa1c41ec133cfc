package provider

import (
	"context"
	"errors"
	"iter"
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/postern-ai/postern/shared/chat"
)

// UsageIfKnown is the [Model] of a server that may refuse stream_options, as
// Mistral's does. Streams are first asked for with usage; one that is refused
// for that alone is asked for again without, and so are all that follow. It is
// safe for concurrent use.
type UsageIfKnown struct {
	*Client
	// Plain asks for usage only where the caller does.
	Plain *Client

	unknown atomic.Bool
}

// Stream implements [Model].
func (m *UsageIfKnown) Stream(ctx context.Context, req *chat.Request) (iter.Seq2[*chat.Chunk, error], error) {
	if req.WantsUsage() {
		return m.Client.Stream(ctx, req)
	}
	if m.unknown.Load() {
		return m.Plain.Stream(ctx, req)
	}
	chunks, err := m.Client.Stream(ctx, req)
	if !refusesUsage(err) {
		return chunks, err
	}
	plain, again := m.Plain.Stream(ctx, req)
	if again != nil {
		// The words that were recognised may be the caller's own, quoted.
		return nil, again
	}
	m.unknown.Store(true)
	return plain, nil
}

// refusesUsage reports whether an upstream refuses a request and names the
// member by which usage is asked for.
func refusesUsage(err error) bool {
	const member = "stream_options"
	e, ok := errors.AsType[*chat.Error](err)
	if !ok || e.Status != http.StatusBadRequest && e.Status != http.StatusUnprocessableEntity {
		return false
	}
	return strings.HasPrefix(e.Param, member) || strings.Contains(e.Message, member)
}
