package entra

import (
	"context"
	"net/http"
	"sync"
)

// transporter sends azidentity's requests, and notes what came of them in the observation of their context: the library's own errors lose
// the cause, and hold the body.
type transporter struct{ client *http.Client }

// Do sends one request.
func (t transporter) Do(request *http.Request) (*http.Response, error) {
	response, err := t.client.Do(request)
	if seen, ok := request.Context().Value(observationKey{}).(*observation); ok {
		seen.note(response, err)
	}
	return response, err
}

type observationKey struct{}

// observation is what the last request under a context came to.
type observation struct {
	mu     sync.Mutex
	status int
	cause  error
}

func observe(ctx context.Context) (context.Context, *observation) {
	seen := new(observation)
	return context.WithValue(ctx, observationKey{}, seen), seen
}

func (o *observation) note(response *http.Response, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.status, o.cause = 0, err
	if response != nil {
		o.status = response.StatusCode
	}
}

func (o *observation) result() (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.status, o.cause
}
