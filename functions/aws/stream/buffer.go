package stream

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"

	stdjson "encoding/json"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

var errTooLarge = errors.New("the reply is larger than a buffered Lambda reply may be")

// buffer runs the handler and returns its reply as one JSON document of at most f.limit bytes.
func (f function) buffer(r *http.Request, remedy string) (any, error) {
	var h head
	body := &limitedBuffer{limit: f.limit}
	w := &writer{method: r.Method, body: body, begin: func(sent head) { h = sent }}
	outcome := f.serve(w, r)
	if body.exceeded {
		return tooLarge(f.limit, remedy).document()
	}
	if outcome == panicked {
		return internalError().document()
	}
	if err := outcome.error(); err != nil {
		return nil, err
	}
	doc, err := document(h, body.Bytes())
	if err == nil && len(doc) > f.limit {
		return tooLarge(f.limit, remedy).document()
	}
	return doc, err
}

// limitedBuffer keeps at most limit bytes, and nothing at all once more were written.
type limitedBuffer struct {
	bytes.Buffer
	limit    int
	exceeded bool
}

func (b *limitedBuffer) Write(p []byte) (int, error) {
	if b.exceeded || b.Len()+len(p) > b.limit {
		b.exceeded = true
		b.Buffer = bytes.Buffer{}
		// An error rather than silence: a handler that stops here saves the rest of a paid upstream answer.
		return 0, errTooLarge
	}
	return b.Buffer.Write(p)
}

// document encodes a buffered reply: https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html#urls-payloads
func document(h head, body []byte) (stdjson.RawMessage, error) {
	text, err := jsontext.AppendQuote(nil, body)
	binary := err != nil || len(text) > base64.StdEncoding.EncodedLen(len(body))+len(`""`)
	if binary {
		if text, err = jsontext.AppendQuote(nil, base64.StdEncoding.EncodeToString(body)); err != nil {
			return nil, fmt.Errorf("encode the reply: %w", err)
		}
	}
	doc, err := json.Marshal(struct {
		StatusCode int               `json:"statusCode"`
		Headers    map[string]string `json:"headers,omitempty"`
		Cookies    []string          `json:"cookies,omitempty"`
		Body       jsontext.Value    `json:"body"`
		Base64     bool              `json:"isBase64Encoded"`
	}{h.status, h.headers, h.cookies, text, binary}, json.Deterministic(true), jsontext.AllowInvalidUTF8(true))
	if err != nil {
		return nil, fmt.Errorf("encode the reply: %w", err)
	}
	return stdjson.RawMessage(doc), nil
}

// envelope is an error of this package's own, in the shape that OpenAI clients read.
type envelope struct {
	status int
	body   []byte
}

func internalError() envelope {
	return newEnvelope(http.StatusInternalServerError, "", "the function failed on this request: its log says why")
}

func tooLarge(limit int, remedy string) envelope {
	return newEnvelope(http.StatusBadGateway, "response_too_large",
		fmt.Sprintf("the reply is larger than the %d bytes that are passed on in one piece here: %s, or ask for a shorter answer", limit, remedy))
}

func newEnvelope(status int, code, message string) envelope {
	var e struct {
		Error struct {
			Message string  `json:"message"`
			Type    string  `json:"type"`
			Param   *string `json:"param"`
			Code    *string `json:"code"`
		} `json:"error"`
	}
	e.Error.Message, e.Error.Type = message, "server_error"
	if code != "" {
		e.Error.Code = &code
	}
	// Strings of this package's own always encode.
	body, _ := json.Marshal(e)
	return envelope{status: status, body: body}
}

func (e envelope) document() (any, error) {
	return document(newHead(e.status, http.Header{"Content-Type": {"application/json"}}), e.body)
}
