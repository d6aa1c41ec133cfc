package stream_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/postern-ai/postern/functions/aws/stream"
)

// childMode is set for the copies of this test binary that run as functions.
const childMode = "STREAM_TEST_INVOKE_MODE"

// TestMain lets the test binary be the function too: what is tested is then the real runtime loop in a process of its
// own, which log.Fatal may end.
func TestMain(m *testing.M) {
	if name, ok := os.LookupEnv(childMode); ok {
		mode, err := stream.ParseMode(name)
		if err != nil {
			panic(err)
		}
		lambda.Start(stream.Handler(http.HandlerFunc(serveChild), stream.Options{Mode: mode}))
	}
	os.Exit(m.Run())
}

// serveChild is the function under test. A path names what it does; gate is a URL that it asks, and waits for, between
// two writes.
func serveChild(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Function-Pid", fmt.Sprint(os.Getpid()))
	switch r.URL.Path {
	case "/hello":
		id, _ := stream.RequestID(r.Context())
		_, deadline := r.Context().Deadline()
		fmt.Fprintf(w, "id %s, deadline %t", id, deadline)
	case "/gated":
		w.Header().Set("Content-Type", "text/event-stream")
		for _, chunk := range []string{"one", "two", "three"} {
			if _, err := io.WriteString(w, chunk); err != nil {
				return
			}
			wait(r.Context(), r.URL.Query().Get("gate")+"/"+chunk)
		}
	case "/panic-late", "/abort-late":
		io.WriteString(w, "begun")
		if r.URL.Path == "/abort-late" {
			panic(http.ErrAbortHandler)
		}
		panic("CANARY")
	case "/panic-early":
		w.Header().Set("X-Half-Done", "1")
		w.WriteHeader(http.StatusTeapot)
		panic("CANARY")
	case "/abort-early":
		panic(http.ErrAbortHandler)
	case "/large":
		fmt.Fprint(w, strings.Repeat("x", stream.DefaultMaxResponseBytes+1))
	default:
		http.NotFound(w, r)
	}
}

func wait(ctx context.Context, gate string) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, gate, nil)
	if err != nil {
		panic(err)
	}
	if reply, err := http.DefaultClient.Do(r); err == nil {
		reply.Body.Close()
	}
}

// event is a Function URL's event for a GET.
func event(path, query string) json.RawMessage {
	return encodeEvent(map[string]any{"method": http.MethodGet}, path, query, "u1.lambda-url.eu-central-1.on.aws")
}

// apiEvent is an HTTP API's event for a GET.
func apiEvent(path string) json.RawMessage {
	return encodeEvent(map[string]any{"method": http.MethodGet}, path, "", "h1.execute-api.eu-central-1.amazonaws.com")
}

func encodeEvent(line map[string]any, path, query, domain string) json.RawMessage {
	e, err := json.Marshal(map[string]any{
		"version": "2.0", "rawPath": path, "rawQueryString": query,
		"requestContext": map[string]any{"domainName": domain, "stage": "$default", "http": line},
	})
	if err != nil {
		panic(err)
	}
	return e
}
