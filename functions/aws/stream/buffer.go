package stream

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	stdjson "encoding/json"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

var errTooLarge = errors.New("the reply is larger than a buffered Lambda reply may be")

// buffer runs the handler and returns its reply as one JSON document of at most f.limit bytes. A reply that is larger is compressed for
// clients that read that: the events of a stream become about a tenth.
func (f function) buffer(r *http.Request, remedy string) (any, error) {
	var h head
	body := &collected{limit: f.limit}
	w := &writer{method: r.Method, body: body, begin: func(sent head) {
		h = sent
		body.mayCompress = sent.headers["Content-Encoding"] == "" && readsGzip(r.Header.Values("Accept-Encoding"))
	}}
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
	doc, err := body.document(h)
	if err == nil && len(doc) > f.limit && body.compress() {
		doc, err = body.document(h)
	}
	if err == nil && len(doc) > f.limit {
		return tooLarge(f.limit, remedy).document()
	}
	return doc, err
}

// readsGzip reports whether a client takes a reply in gzip (RFC 9110, section 12.5.3).
func readsGzip(accepted []string) bool {
	for _, value := range accepted {
		for part := range strings.SplitSeq(value, ",") {
			coding, parameters, _ := strings.Cut(part, ";")
			if !strings.EqualFold(strings.TrimSpace(coding), "gzip") {
				continue
			}
			weight, err := strconv.ParseFloat(strings.TrimPrefix(strings.TrimSpace(parameters), "q="), 64)
			return err != nil || weight > 0
		}
	}
	return false
}

// collected is a body of at most limit bytes: as it was written or, once that is more, compressed and in base64. Beyond that it keeps
// nothing.
type collected struct {
	limit       int
	mayCompress bool
	exceeded    bool
	bytes       bytes.Buffer
	zip         *gzip.Writer // of bytes, from when they are compressed
}

func (c *collected) Write(p []byte) (int, error) {
	switch {
	case c.exceeded:
		return 0, errTooLarge
	case c.zip == nil && c.bytes.Len()+len(p) <= c.limit:
		return c.bytes.Write(p)
	case c.zip == nil && !c.compress():
		return c.drop()
	}
	// A whole answer comes in one write, and may be many times what is kept.
	for part := range slices.Chunk(p, zipAtOnce) {
		_, _ = c.zip.Write(part)
		if base64.StdEncoding.EncodedLen(c.bytes.Len()) > c.limit {
			return c.drop()
		}
	}
	return len(p), nil
}

// zipAtOnce is how much is compressed before it is looked at what has come of it, in bytes.
const zipAtOnce = 64 << 10

// drop returns an error rather than silence: a handler that stops here saves the rest of a paid upstream answer.
func (c *collected) drop() (int, error) {
	c.exceeded, c.bytes, c.zip = true, bytes.Buffer{}, nil
	return 0, errTooLarge
}

// compress reports whether what has been written is compressed now and was not before.
func (c *collected) compress() bool {
	if !c.mayCompress || c.zip != nil {
		return false
	}
	raw := c.bytes.Bytes()
	c.bytes = bytes.Buffer{}
	// The level is one that there is, and a buffer takes everything.
	c.zip, _ = gzip.NewWriterLevel(&c.bytes, gzip.BestSpeed)
	_, _ = c.zip.Write(raw)
	return true
}

func (c *collected) document(h head) (stdjson.RawMessage, error) {
	if c.zip == nil {
		return document(h, c.bytes.Bytes())
	}
	if err := c.zip.Close(); err != nil {
		return nil, fmt.Errorf("compress the reply: %w", err)
	}
	h.headers["Content-Encoding"] = "gzip"
	if vary := h.headers["Vary"]; vary != "" {
		h.headers["Vary"] = vary + ", Accept-Encoding"
	} else {
		h.headers["Vary"] = "Accept-Encoding"
	}
	return document(h, c.bytes.Bytes())
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
