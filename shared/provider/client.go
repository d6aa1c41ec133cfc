package provider

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"iter"
	"mime"
	"net/http"
	"time"

	"github.com/postern-ai/postern/shared/chat"
	"github.com/postern-ai/postern/shared/sse"
)

// Bounds on what an upstream may send. A whole answer may hold images.
const (
	maxAnswer = 64 << 20
	maxFault  = 256 << 10
)

// Client is the [Model] of an upstream that speaks a [Dialect]. It is safe for
// concurrent use.
type Client struct {
	Upstream string // the name for people, as in "Google Vertex AI"
	Dialect  Dialect
	Doer     Doer
}

// Chat implements [Model].
func (c *Client) Chat(ctx context.Context, req *chat.Request) (*chat.Response, error) {
	resp, err := c.send(ctx, req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := readAll(resp.Body, resp.ContentLength, maxAnswer)
	if errors.Is(err, errTooLarge) {
		return nil, Unreadable(c.Upstream, err)
	}
	if err != nil {
		return nil, Interrupted(c.Upstream, err)
	}
	answer, err := c.Dialect.Decode(req, body)
	if err != nil {
		return nil, c.unreadable(err)
	}
	if answer.Wire == nil {
		answer.Object = chat.ObjectCompletion
		stamp(&answer.ID, &answer.Created, &answer.Model, newStamp(req))
	}
	return answer, nil
}

// Stream implements [Model].
func (c *Client) Stream(ctx context.Context, req *chat.Request) (iter.Seq2[*chat.Chunk, error], error) {
	ctx, cancel := context.WithCancel(ctx)
	resp, err := c.send(ctx, req)
	if err != nil {
		cancel()
		return nil, err
	}
	if kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); kind != sse.ContentType {
		defer cancel()
		return nil, c.noStream(resp, req, kind)
	}
	return func(yield func(*chat.Chunk, error) bool) {
		defer cancel()
		defer resp.Body.Close()
		if c.read(resp.Body, req, yield) {
			linger(resp.Body, cancel)
		}
	}, nil
}

// noStream returns the error for what came in the place of a stream. Some
// servers say in a whole body of status 200 what is wrong.
func (c *Client) noStream(resp *http.Response, req *chat.Request, kind string) error {
	defer discard(resp.Body)
	if kind == "application/json" {
		body, err := readAll(resp.Body, resp.ContentLength, maxFault)
		if err == nil {
			_, err = c.Dialect.Decode(req, body)
		}
		if known, ok := errors.AsType[*chat.Error](err); ok {
			return known
		}
	}
	return Unreadable(c.Upstream, fmt.Errorf("content type of the stream is %q", kind))
}

// lingering is how long the end of a stream is waited for whose answer is
// complete. The caller, who has all of the answer by then, waits with it.
const lingering = 250 * time.Millisecond

// linger reads a stream to its end, since its connection can be used again only
// then. Some servers leave it open for a while, or for good.
func linger(body io.Reader, giveUp context.CancelFunc) {
	defer time.AfterFunc(lingering, giveUp).Stop()
	_, _ = io.CopyN(io.Discard, body, 64<<10)
}

// read hands out the chunks of a stream until it ends, breaks, or nobody wants
// more. It reports whether the answer was complete before the stream's end.
func (c *Client) read(body io.Reader, req *chat.Request, yield func(*chat.Chunk, error) bool) (done bool) {
	events, decoder, mark := sse.NewReader(body, 0), c.Dialect.Decoder(req), newStamp(req)
	for {
		event, err := events.Next()
		ended := err == io.EOF
		if err != nil && !ended {
			yield(nil, Interrupted(c.Upstream, err))
			return false
		}
		var chunks []*chat.Chunk
		if ended {
			chunks, err = decoder.End()
		} else {
			chunks, err = decoder.Event(event)
		}
		for _, chunk := range chunks {
			if chunk.Wire == nil {
				chunk.Object = chat.ObjectChunk
				stamp(&chunk.ID, &chunk.Created, &chunk.Model, mark)
			}
			if !yield(chunk, nil) {
				return false
			}
		}
		if err != nil {
			yield(nil, c.broken(err))
			return false
		}
		if ended || decoder.Done() {
			return !ended
		}
	}
}

// send encodes, sends, and turns everything but an answer of status 200 into
// an error.
func (c *Client) send(ctx context.Context, req *chat.Request) (*http.Response, error) {
	call, err := c.Dialect.Encode(req)
	if err != nil {
		return nil, err
	}
	out, err := http.NewRequestWithContext(ctx, http.MethodPost, call.URL, bytes.NewReader(call.Body))
	if err != nil {
		return nil, Unreached(c.Upstream, err)
	}
	for name, values := range call.Header {
		out.Header[name] = values
	}
	out.Header.Set("Content-Type", "application/json")
	out.Header.Set("Accept", "application/json")
	if req.Stream {
		out.Header.Set("Accept", sse.ContentType)
	}
	resp, err := c.Doer.Do(out)
	if err != nil {
		return nil, Unreached(c.Upstream, err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer discard(resp.Body)
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxFault))
	if err != nil {
		body = nil // the status alone must do
	}
	fault := c.Dialect.Fault(resp.StatusCode, resp.Header, body)
	if fault.RetryAfter == 0 {
		fault.RetryAfter = RetryAfter(resp.Header, time.Now())
	}
	return nil, fault
}

func (c *Client) unreadable(err error) error {
	if known, ok := errors.AsType[*chat.Error](err); ok {
		return known
	}
	return Unreadable(c.Upstream, err)
}

func (c *Client) broken(err error) error {
	if known, ok := errors.AsType[*chat.Error](err); ok {
		return known
	}
	return Interrupted(c.Upstream, err)
}

var errTooLarge = errors.New("the answer is too large")

// readAll reads a body of at most limit bytes, in one allocation if its length
// is known.
func readAll(r io.Reader, length, limit int64) ([]byte, error) {
	if length > limit {
		return nil, errTooLarge
	}
	var buf bytes.Buffer
	if length > 0 {
		buf.Grow(int(length) + bytes.MinRead)
	}
	n, err := buf.ReadFrom(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, err
	}
	if n > limit {
		return nil, errTooLarge
	}
	return buf.Bytes(), nil
}

// mark is what every chunk of an answer carries alike.
type mark struct {
	id      string
	created int64
	model   string
}

func newStamp(req *chat.Request) *mark { return &mark{model: req.Model} }

// stamp fills in what the upstream did not say.
func stamp(id *string, created *int64, model *string, m *mark) {
	if *id == "" {
		if m.id == "" {
			m.id = NewID()
		}
		*id = m.id
	}
	if *created == 0 {
		if m.created == 0 {
			m.created = time.Now().Unix()
		}
		*created = m.created
	}
	if *model == "" {
		*model = m.model
	}
}

// NewID returns an id for an answer whose upstream gave it none.
func NewID() string { return "chatcmpl-" + rand.Text() }
