package secretstest

import (
	"context"
	"io"
	"net/http"
	"testing"
)

// Bearer is an access token that was got elsewhere, for tests with a real service. It is a [secrets.Authorizer].
type Bearer string

// Authorize puts the token on a request.
func (b Bearer) Authorize(request *http.Request) error {
	request.Header.Set("Authorization", "Bearer "+string(b))
	return request.Context().Err()
}

// Rejected does nothing: there is no other token.
func (b Bearer) Rejected(*http.Request) {}

// Do sends an operator's request, also when the test has ended, and returns the status and the body of the reply.
func (b Bearer) Do(t *testing.T, request *http.Request) (int, []byte) {
	t.Helper()
	request = request.WithContext(context.WithoutCancel(t.Context()))
	request.RequestURI = ""
	request.Header.Set("Content-Type", "application/json")
	if err := b.Authorize(request); err != nil {
		t.Fatal(err)
	}
	reply, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Body.Close()
	body, err := io.ReadAll(reply.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply.StatusCode, body
}
