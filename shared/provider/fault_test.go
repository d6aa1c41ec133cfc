package provider_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/postern-ai/postern/shared/chat"
	"github.com/postern-ai/postern/shared/identity"
	"github.com/postern-ai/postern/shared/provider"
)

func TestFault(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		status int
		want   chat.Error
	}{
		{400, chat.Error{Status: 400, Type: "invalid_request_error", Message: "Cloud refused the request: said"}},
		{401, chat.Error{Status: 502, Type: "server_error", Code: "upstream_auth_failed", Message: "Cloud did not accept the gateway's own credential. This is for the gateway's operator to mend; the caller's token is fine."}},
		{402, chat.Error{Status: 502, Type: "server_error", Code: "upstream_error", Message: "Cloud does not serve the gateway's account: it has no credit left, has reached a limit of its own, or is closed. This is for the gateway's operator to mend."}},
		{403, chat.Error{Status: 502, Type: "server_error", Code: "upstream_auth_failed", Message: "Cloud did not accept the gateway's own credential. This is for the gateway's operator to mend; the caller's token is fine."}},
		{404, chat.Error{Status: 404, Type: "invalid_request_error", Code: "model_not_found", Param: "model", Message: "Cloud has no such model, or the gateway's account has no access to it."}},
		{408, chat.Error{Status: 504, Type: "server_error", Code: "upstream_timeout", Message: "Cloud did not answer in time. Try again."}},
		{413, chat.Error{Status: 413, Type: "invalid_request_error", Message: "Cloud refused the request: said"}},
		{422, chat.Error{Status: 422, Type: "invalid_request_error", Message: "Cloud refused the request: said"}},
		{429, chat.Error{Status: 429, Type: "rate_limit_error", Code: "rate_limit_exceeded", Message: "Cloud is limiting the rate of requests. Try again later."}},
		{500, chat.Error{Status: 502, Type: "server_error", Code: "upstream_error", Message: "Cloud failed to answer. Try again."}},
		{502, chat.Error{Status: 502, Type: "server_error", Code: "upstream_error", Message: "Cloud failed to answer. Try again."}},
		{503, chat.Error{Status: 503, Type: "server_error", Code: "upstream_unavailable", Message: "Cloud is not available at the moment. Try again later."}},
		{504, chat.Error{Status: 504, Type: "server_error", Code: "upstream_timeout", Message: "Cloud did not answer in time. Try again."}},
		{302, chat.Error{Status: 502, Type: "server_error", Code: "upstream_error", Message: "Cloud failed to answer. Try again."}},
		{0, chat.Error{Status: 502, Type: "server_error", Code: "upstream_error", Message: "Cloud failed to answer. Try again."}},
	} {
		got := provider.Fault(c.status, "Cloud", " said\n")
		if d := cmp.Diff(&c.want, got, cmpopts.IgnoreFields(chat.Error{}, "Err")); d != "" {
			t.Errorf("%d: %s", c.status, d)
		}
		if got.Err == nil || got.Err.Error() != fmt.Sprintf("Cloud answered %d", c.status) {
			t.Errorf("%d: the cause is %v", c.status, got.Err)
		}
	}
	if got := provider.Fault(400, "Cloud", " "); got.Message != "Cloud refused the request." {
		t.Errorf("got %q", got.Message)
	}
	if got := provider.Fault(400, "Cloud", strings.Repeat("x", 5000)); len(got.Message) > 1100 {
		t.Errorf("a message of %d bytes was passed on", len(got.Message))
	}
}

func TestFailuresOfTheWayToTheUpstream(t *testing.T) {
	t.Parallel()
	known := &chat.Error{Status: 418, Message: "teapot"}
	for _, c := range []struct {
		name   string
		got    *chat.Error
		status int
		code   string
	}{
		{"no connection", provider.Unreached("Cloud", errors.New("x")), 502, "upstream_unavailable"},
		{"a deadline", provider.Unreached("Cloud", fmt.Errorf("x: %w", context.DeadlineExceeded)), 504, "upstream_timeout"},
		{"a timeout of the network", provider.Unreached("Cloud", &net.OpError{Op: "dial", Err: os.ErrDeadlineExceeded}), 504, "upstream_timeout"},
		{"a caller that went away", provider.Unreached("Cloud", fmt.Errorf("x: %w", context.Canceled)), 499, "client_closed_request"},
		{"no credential", provider.Unreached("Cloud", fmt.Errorf("x: %w", &identity.Error{Public: "no role"})), 502, "upstream_auth_failed"},
		{"no credential for now", provider.Unreached("Cloud", &identity.Error{Public: "no answer", Retryable: true}), 503, "upstream_auth_failed"},
		{"no credential in time is about the credential", provider.Unreached("Cloud", &identity.Error{Public: "no answer", Retryable: true, Err: context.DeadlineExceeded}), 503, "upstream_auth_failed"},
		{"what is known already", provider.Unreached("Cloud", fmt.Errorf("x: %w", known)), 418, ""},
		{"a broken stream", provider.Interrupted("Cloud", errors.New("x")), 502, "upstream_stream_interrupted"},
		{"a stream without time left", provider.Interrupted("Cloud", context.DeadlineExceeded), 504, "upstream_timeout"},
		{"a stream that nobody reads", provider.Interrupted("Cloud", context.Canceled), 499, "client_closed_request"},
		{"an answer that makes no sense", provider.Unreadable("Cloud", errors.New("x")), 502, "upstream_invalid_response"},
	} {
		if c.got.Status != c.status || c.got.Code != c.code {
			t.Errorf("%s: got %d %q", c.name, c.got.Status, c.got.Code)
		}
		if strings.Contains(c.got.Message, "x:") || c.got.Message == "" {
			t.Errorf("%s: the message is %q", c.name, c.got.Message)
		}
		if c.got != known && c.got.Err == nil {
			t.Errorf("%s: the cause is lost", c.name)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name, seconds, ms string
		want              time.Duration
	}{
		{"nothing", "", "", 0},
		{"seconds", "7", "", 7 * time.Second},
		{"milliseconds", "", "1500", 1500 * time.Millisecond},
		{"milliseconds come first", "7", "1500", 1500 * time.Millisecond},
		{"no milliseconds mean seconds", "7", "0", 7 * time.Second},
		{"less than no milliseconds mean seconds", "7", "-1", 7 * time.Second},
		{"a date", "Sat, 21 Nov 2026 12:01:30 GMT", "", 90 * time.Second},
		{"a date of the old form", "Saturday, 21-Nov-26 12:01:30 GMT", "", 90 * time.Second},
		{"a date that is over", "Sat, 21 Nov 2026 11:00:00 GMT", "", 0},
		{"zero", "0", "", 0},
		{"less than zero", "-1", "", 0},
		{"a fraction", "1.5", "", 0},
		{"a word", "soon", "soon", 0},
		{"a year", "31536000", "", 24 * time.Hour},
		{"the last date of all", "Fri, 31 Dec 9999 23:59:59 GMT", "", 24 * time.Hour},
		{"more than anyone waits", "99999999999999999999", "", 0},
	} {
		h := http.Header{}
		if c.seconds != "" {
			h.Set("Retry-After", c.seconds)
		}
		if c.ms != "" {
			h.Set("Retry-After-Ms", c.ms)
		}
		if got := provider.RetryAfter(h, now); got != c.want {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
}
