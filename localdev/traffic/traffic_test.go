package traffic_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postern-ai/postern/localdev/traffic"
)

// TestEveryFailureCounts has a server answer in one way or another while the
// traffic is on.
func TestEveryFailureCounts(t *testing.T) {
	t.Parallel()
	const whole = `{"choices":[{"finish_reason":"stop"}]}`
	for _, c := range []struct {
		name, call, stream, why string
		status                  int
	}{
		{"all is well", whole, "data: {}\n\ndata: [DONE]\n\n", "", 200},
		{"a call is refused", "no", "data: [DONE]\n\n", "502 Bad Gateway: no", 502},
		{"an answer is cut off", `{"choices":[]}`, "data: [DONE]\n\n", "not a whole answer", 200},
		{"a stream is cut off", whole, "data: {}\n\n", "the stream ended without [DONE]", 200},
		{"a stream ends with an error", whole, "data: {\"error\":{}}\n\ndata: [DONE]\n\n", "the stream ended with an error", 200},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var calls, streams atomic.Int64
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				text, _ := io.ReadAll(r.Body)
				if strings.Contains(string(text), `"stream":true`) {
					streams.Add(1)
					w.Header().Set("Content-Type", "text/event-stream")
					time.Sleep(10 * time.Millisecond)
					_, _ = fmt.Fprint(w, c.stream)
					return
				}
				calls.Add(1)
				w.WriteHeader(c.status)
				_, _ = fmt.Fprint(w, c.call)
			}))
			defer server.Close()
			sentinel := errors.New("what was done")
			result, err := traffic.Run(t.Context(), traffic.Options{
				Base: server.URL, Token: "t", Model: "m", Call: "c", Stream: "s", Streams: 3, PerSecond: 200,
			}, func(context.Context) error { time.Sleep(100 * time.Millisecond); return sentinel })
			if !errors.Is(err, sentinel) || int64(result.Calls) != calls.Load() || int64(result.Streams) != streams.Load() || result.Calls == 0 || result.Streams < 3 {
				t.Errorf("%v, %v, and the server saw %d and %d", result, err, calls.Load(), streams.Load())
			}
			if (result.Failed > 0) != (c.why != "") || c.why != "" && !strings.Contains(fmt.Sprint(result.First), c.why) {
				t.Errorf("%v: %v", result, result.First)
			}
		})
	}
}

// TestWhatIsTooMuchIsLeftOut has calls take longer than there is room for.
func TestWhatIsTooMuchIsLeftOut(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(80 * time.Millisecond)
		_, _ = fmt.Fprint(w, `"finish_reason":"stop"`)
	}))
	defer server.Close()
	result, err := traffic.Run(t.Context(), traffic.Options{Base: server.URL, PerSecond: 100, Outstanding: 2}, func(context.Context) error {
		time.Sleep(200 * time.Millisecond)
		return nil
	})
	if err != nil || result.Missed == 0 || result.Calls == 0 || result.Failed > 0 || result.Half < 80*time.Millisecond || result.Streams > 0 {
		t.Errorf("%v, %v, %v", result, result.First, err)
	}
}
