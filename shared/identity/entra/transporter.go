package entra

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/go-json-experiment/json"
	"github.com/postern-ai/postern/shared/identity"
)

// maxAnswer bounds what is read of a refusal, in bytes.
const maxAnswer = 64 << 10

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
	// code and numbers are what the token service says of its refusal, as far as it can be shown; skew is what is wrong with the clock.
	code    string
	numbers []int
	skew    string
}

func observe(ctx context.Context) (context.Context, *observation) {
	seen := new(observation)
	return context.WithValue(ctx, observationKey{}, seen), seen
}

func (o *observation) note(response *http.Response, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.status, o.cause, o.code, o.numbers, o.skew = 0, err, "", nil, ""
	if response == nil {
		return
	}
	o.status = response.StatusCode
	if o.status >= http.StatusBadRequest {
		o.code, o.numbers = readCodes(response)
		o.skew = identity.DescribeSkew(response.Header)
	}
}

// readCodes takes the code and the numbers out of a refusal, and leaves its body readable. Its description is not taken: it quotes what was
// sent.
func readCodes(response *http.Response) (string, []int) {
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	_ = response.Body.Close()
	response.Body = io.NopCloser(bytes.NewReader(body))
	if err != nil {
		return "", nil
	}
	return parseCodes(body)
}

func parseCodes(body []byte) (string, []int) {
	var refused struct {
		Error   string `json:"error"`
		Numbers []int  `json:"error_codes"`
	}
	if json.Unmarshal(body, &refused) != nil || len(refused.Error) > 64 || len(refused.Numbers) > 4 ||
		strings.ContainsFunc(refused.Error, func(c rune) bool { return (c < 'a' || c > 'z') && c != '_' }) {
		return "", nil
	}
	return refused.Error, refused.Numbers
}

func (o *observation) result() (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.status, o.cause
}
