package anthropic_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	sdk "github.com/anthropics/anthropic-sdk-go"
	"github.com/anthropics/anthropic-sdk-go/shared"
)

func TestTheOfficialClientSeesFaults(t *testing.T) {
	t.Parallel()
	c := newStand(t).client()
	for _, row := range []struct {
		prompt string
		status int
		kind   shared.ErrorType
		wait   string
	}{
		{"#fail(400)", 400, "invalid_request_error", ""},
		{"#fail(401)", 401, "authentication_error", ""},
		{"#fail(402)", 402, "billing_error", ""},
		{"#fail(403)", 403, "permission_error", ""},
		{"#fail(404)", 404, "not_found_error", ""},
		{"#fail(409)", 409, "conflict_error", ""},
		{"#fail(413)", 413, "request_too_large", ""},
		{"#fail(429,3)", 429, "rate_limit_error", "3"},
		{"#fail(500)", 500, "api_error", ""},
		{"#fail(503)", 503, "api_error", ""},
		{"#fail(504)", 504, "timeout_error", ""},
		{"#fail(529)", 529, "overloaded_error", ""},
		{"#nothing #fail(a)", 400, "invalid_request_error", ""},
	} {
		t.Run(row.prompt, func(t *testing.T) {
			t.Parallel()
			p := params("claude-sonnet-4-6", user(row.prompt))
			_, whole := c.Messages.New(t.Context(), p)
			events := c.Messages.NewStreaming(t.Context(), p)
			for events.Next() {
				t.Error("an event came")
			}
			for _, err := range []error{whole, events.Err()} {
				e, ok := errors.AsType[*sdk.Error](err)
				if !ok {
					t.Fatalf("got %v", err)
				}
				if e.StatusCode != row.status || e.Type() != row.kind || e.Response.Header.Get("Retry-After") != row.wait || !strings.HasPrefix(e.RequestID, "req_") {
					t.Errorf("got %d %q, wait %q, request %q", e.StatusCode, e.Type(), e.Response.Header.Get("Retry-After"), e.RequestID)
				}
			}
		})
	}
}

// Each of the other faults breaks an answer in its own way, as a whole and as a
// stream.
func TestTheOfficialClientSeesBrokenAnswers(t *testing.T) {
	t.Parallel()
	c := newStand(t).client()
	for _, row := range []struct {
		prompt   string
		finished bool // the client takes the stream for ended, if not for complete
		inStream bool
	}{
		{prompt: "#reset()"},
		{prompt: "#hang()"},
		{prompt: "#say(a b c d) #break()"},
		{prompt: "#say(a b c d) #truncate()", finished: true},
		{prompt: "#say(a b c d) #garbage()"},
		{prompt: "#say(a b c d) #error()", inStream: true},
		{prompt: "#error()", inStream: true},
	} {
		t.Run(row.prompt, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			p := params("claude-sonnet-4-6", user(row.prompt))
			if m, err := c.Messages.New(ctx, p); err == nil {
				t.Errorf("an answer came: %s", m.RawJSON())
			}
			stop, last := false, ""
			events := c.Messages.NewStreaming(ctx, p)
			for events.Next() {
				last = events.Current().Type
				stop = stop || last == "message_stop"
			}
			err := events.Err()
			if (err == nil) != row.finished || stop {
				t.Errorf("the stream ended after %q with %v", last, err)
			}
			if e, ok := errors.AsType[*sdk.Error](err); ok != row.inStream || ok && e.Type() != "api_error" {
				t.Errorf("got %v", err)
			}
		})
	}
}
