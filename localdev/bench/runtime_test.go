package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// runtimeAPI is as much of the Lambda Runtime API as one process needs that
// answers one event after the other. It freezes nothing and starts nothing, so
// that what it measures is the function alone.
type runtimeAPI struct {
	address string
	events  chan []byte
	replies chan []byte
}

func newRuntimeAPI(b *testing.B) *runtimeAPI {
	a := &runtimeAPI{events: make(chan []byte, 1), replies: make(chan []byte, 1)}
	mux := http.NewServeMux()
	const invocation = "/2018-06-01/runtime/invocation/"
	mux.HandleFunc("GET "+invocation+"next", a.next)
	mux.HandleFunc("POST "+invocation+"{id}/response", a.reply)
	mux.HandleFunc("POST "+invocation+"{id}/error", a.reply)
	a.address = listen(b, mux)
	return a
}

func (a *runtimeAPI) next(w http.ResponseWriter, r *http.Request) {
	select {
	case event := <-a.events:
		h := w.Header()
		h.Set("Content-Type", "application/json")
		h.Set("Lambda-Runtime-Aws-Request-Id", "8476a536-e9f4-11e8-9739-2dfe598c3fcd")
		h.Set("Lambda-Runtime-Deadline-Ms", fmt.Sprint(time.Now().Add(time.Minute).UnixMilli()))
		h.Set("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:eu-west-1:123456789012:function:bench")
		h.Set("Lambda-Runtime-Trace-Id", "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Parent=9a9197af755a6419;Sampled=0")
		_, _ = w.Write(event)
	case <-r.Context().Done():
	}
}

func (a *runtimeAPI) reply(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		body = []byte(err.Error())
	}
	if r.Header.Get("Lambda-Runtime-Function-Error-Type") != "" || strings.HasSuffix(r.URL.Path, "/error") {
		body = append([]byte("function error: "), body...)
	}
	w.WriteHeader(http.StatusAccepted)
	a.replies <- body
}

// caller returns what has the function answer an event. It is not for
// concurrent use.
func (a *runtimeAPI) caller(event []byte) func() ([]byte, error) {
	return func() ([]byte, error) {
		a.events <- event
		return <-a.replies, nil
	}
}

// environment is what Lambda sets, as far as aws-lambda-go and the gateway look
// at it.
func (a *runtimeAPI) environment() map[string]string {
	return map[string]string{
		"AWS_LAMBDA_RUNTIME_API": a.address, "AWS_REGION": region, "AWS_LAMBDA_FUNCTION_NAME": "bench",
		"AWS_LAMBDA_FUNCTION_VERSION": "$LATEST", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512", "_HANDLER": "bootstrap",
	}
}

// functionURLEvent is the event of a function URL for a request.
func functionURLEvent(b *testing.B, method, path, token string, body []byte) []byte {
	b.Helper()
	path, query, _ := strings.Cut(path, "?")
	event, err := json.Marshal(map[string]any{
		"version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": query,
		"headers": map[string]string{
			"authorization": "Bearer " + token, "content-type": "application/json", "content-length": fmt.Sprint(len(body)),
			"host": "bench.lambda-url." + region + ".on.aws", "user-agent": "bench", "x-forwarded-for": "127.0.0.1",
			"x-forwarded-proto": "https", "x-forwarded-port": "443", "x-amzn-trace-id": "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700",
		},
		"requestContext": map[string]any{
			"accountId": "anonymous", "apiId": "bench", "domainName": "bench.lambda-url." + region + ".on.aws", "domainPrefix": "bench",
			"http":      map[string]string{"method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1", "userAgent": "bench"},
			"requestId": "8476a536-e9f4-11e8-9739-2dfe598c3fcd", "routeKey": "$default", "stage": "$default",
			"time": "01/Jul/2025:10:00:00 +0000", "timeEpoch": 1751364000000,
		},
		"body": string(body), "isBase64Encoded": false,
	})
	if err != nil {
		b.Fatal(err)
	}
	return event
}
