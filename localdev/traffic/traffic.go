// Package traffic keeps streams and short calls on a gateway while something is
// done to what is behind it, and says what became of each of them.
//
// It must not know what is done, nor who answers.
package traffic

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/postern-ai/postern/shared/sse"
)

// Options say who calls what, and how much.
type Options struct {
	// Base is the gateway's address without /v1, and Token what callers show.
	Base, Token string
	// Model is called, with these prompts. A stream's prompt says how long it
	// lives.
	Model, Call, Stream string
	// Streams are how many are open at all times, and PerSecond how many short
	// calls begin in a second.
	Streams, PerSecond int
	// Outstanding is how many short calls may be under way. One that would be
	// more is left out and counted. Zero means as many as begin in a second.
	Outstanding int
}

// Result is what became of the calls.
type Result struct {
	// Calls and Streams are how many there were, and Failed how many of both have
	// failed. First is why the first of those has.
	Calls, Streams, Failed int
	First                  error
	// Missed are the short calls that did not begin, since too many were under
	// way.
	Missed int
	// Half, Most and Longest are the times of short calls: the median, the 99th
	// percentile, and the longest.
	Half, Most, Longest time.Duration
	// Elapsed is for how long calls began.
	Elapsed time.Duration
}

// String says it in one line.
func (r Result) String() string {
	return fmt.Sprintf("%d calls (%.0f a second, %d missed), %d streams, %d failed; p50 %v, p99 %v, longest %v",
		r.Calls, float64(r.Calls)/r.Elapsed.Seconds(), r.Missed, r.Streams, r.Failed,
		r.Half.Round(10*time.Microsecond), r.Most.Round(10*time.Microsecond), r.Longest.Round(10*time.Microsecond))
}

// longest bounds one call, with all of its stream.
const longest = time.Minute

// Run keeps the traffic up from before until after something is done. Then it lets
// what is under way finish. The error is that of what was done.
func Run(ctx context.Context, o Options, during func(context.Context) error) (Result, error) {
	o.Outstanding = cmp.Or(o.Outstanding, max(1, o.PerSecond))
	r := &run{Options: o, client: &http.Client{Timeout: longest, Transport: &http.Transport{
		MaxIdleConnsPerHost: o.Streams + o.Outstanding, DisableCompression: true,
	}}, over: make(chan struct{})}
	defer r.client.CloseIdleConnections()
	begun := time.Now()
	var group sync.WaitGroup
	for range o.Streams {
		group.Go(func() { r.streams(ctx) })
	}
	group.Go(func() { r.calls(ctx) })
	err := during(ctx)
	close(r.over)
	r.result.Elapsed = time.Since(begun)
	group.Wait()
	if n := len(r.took); n > 0 {
		slices.Sort(r.took)
		r.result.Half, r.result.Most, r.result.Longest = r.took[n/2], r.took[n*99/100], r.took[n-1]
	}
	return r.result, err
}

type run struct {
	Options
	client *http.Client
	over   chan struct{}

	mu     sync.Mutex
	result Result
	took   []time.Duration
}

// note counts a call or a stream.
func (r *run) note(stream bool, took time.Duration, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if stream {
		r.result.Streams++
	} else {
		r.result.Calls++
		r.took = append(r.took, took)
	}
	if err != nil {
		r.result.Failed++
		if r.result.First == nil {
			r.result.First = err
		}
	}
}

// streams opens one stream after the other.
func (r *run) streams(ctx context.Context) {
	for {
		select {
		case <-r.over:
			return
		default:
			r.note(true, 0, r.call(ctx, r.Stream, true))
		}
	}
}

// calls begins calls at their times.
func (r *run) calls(ctx context.Context) {
	var group sync.WaitGroup
	defer group.Wait()
	slots := make(chan struct{}, r.Outstanding)
	begun := time.Now()
	for n := 0; r.PerSecond > 0; n++ {
		due := begun.Add(time.Duration(n) * time.Second / time.Duration(r.PerSecond))
		select {
		case <-r.over:
			return
		case <-time.After(time.Until(due)):
		}
		select {
		case slots <- struct{}{}:
		default:
			r.mu.Lock()
			r.result.Missed++
			r.mu.Unlock()
			continue
		}
		group.Go(func() {
			defer func() { <-slots }()
			at := time.Now()
			err := r.call(ctx, r.Call, false)
			r.note(false, time.Since(at), err)
		})
	}
}

// call makes one call and wants it to succeed to its end.
func (r *run) call(ctx context.Context, prompt string, stream bool) error {
	body, err := json.Marshal(map[string]any{
		"model": r.Model, "stream": stream, "messages": []map[string]string{{"role": "user", "content": prompt}},
	})
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, r.Base+"/v1/chat/completions", bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Authorization", "Bearer "+r.Token)
	response, err := r.client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(response.Body, 1<<10))
		return fmt.Errorf("%s: %s", response.Status, text)
	}
	if stream {
		return drain(response.Body)
	}
	text, err := io.ReadAll(response.Body)
	if err == nil && !strings.Contains(string(text), `"finish_reason":"stop"`) {
		err = fmt.Errorf("not a whole answer: %.300s", text)
	}
	return err
}

// drain reads a stream to its end.
func drain(body io.Reader) error {
	events := sse.NewReader(body, 0)
	for {
		event, err := events.Next()
		switch {
		case errors.Is(err, io.EOF):
			return errors.New("the stream ended without [DONE]")
		case err != nil:
			return err
		case string(event.Data) == "[DONE]":
			return nil
		case bytes.HasPrefix(event.Data, []byte(`{"error"`)):
			return fmt.Errorf("the stream ended with an error: %.300s", event.Data)
		}
	}
}
