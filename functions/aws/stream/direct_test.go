package stream_test

import (
	"context"
	"encoding/json"
	"net/http"
	"testing"

	"github.com/postern-ai/postern/functions/aws/stream"
)

// TestOnlyADirectInvocationIsOne holds every form in which a caller could try
// to look like an operator against the one that counts.
func TestOnlyADirectInvocationIsOne(t *testing.T) {
	t.Parallel()
	const url = `"version":"2.0","rawPath":"/","headers":{"postern":"doctor"},"requestContext":{"domainName":"u1.lambda-url.eu-central-1.on.aws","http":{"method":"POST"}},"body":"{\"postern\":\"doctor\"}"`
	for _, c := range []struct {
		name, event string
		direct      bool
	}{
		{"a direct invocation", `{"postern":"doctor"}`, true},
		{"a request with such a body", `{` + url + `}`, false},
		{"a request with the member beside it", `{` + url + `,"postern":"doctor"}`, false},
		{"a request context beside the member", `{"postern":"doctor","requestContext":{}}`, false},
		{"a body beside the member", `{"postern":"doctor","body":""}`, false},
		{"a version beside the member", `{"version":"2.0","postern":"doctor"}`, false},
		{"the member twice", `{"postern":"doctor","postern":"doctor"}`, false},
		{"another case", `{"Postern":"doctor"}`, false},
		{"another type", `{"postern":["doctor"]}`, false},
		{"nothing in it", `{"postern":""}`, false},
		{"an empty event", `{}`, false},
		{"a string", `"doctor"`, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			called := ""
			handle := stream.Handler(http.NotFoundHandler(), stream.Options{Direct: func(_ context.Context, name string) (any, error) {
				called = name
				return name, nil
			}})
			reply, err := handle(t.Context(), json.RawMessage(c.event))
			if got := called == "doctor"; got != c.direct {
				t.Errorf("called %q; reply %v, %v", called, reply, err)
			}
			if c.direct && (err != nil || reply != "doctor") {
				t.Errorf("got %v, %v", reply, err)
			}
		})
	}
}

func TestWithoutAnAnswerToDirectInvocationsTheyAreRefused(t *testing.T) {
	t.Parallel()
	if _, err := stream.Handler(http.NotFoundHandler(), stream.Options{})(t.Context(), json.RawMessage(`{"postern":"doctor"}`)); err == nil {
		t.Error("it was answered")
	}
}
