package provider

import (
	"errors"
	"net/http"
	"strings"

	"github.com/go-json-experiment/json"

	"github.com/postern-ai/postern/shared/chat"
	"github.com/postern-ai/postern/shared/sse"
)

// Wire is what all dialects have in common whose upstream speaks the wire of
// package chat itself. A service package embeds it and adds the address.
type Wire struct {
	Upstream string // the name for people

	// Extensions says that the members which the gateway adds to answers of
	// other upstreams (reasoning text, signatures of tool calls) may come back
	// to this one. OpenAI refuses members that it does not know.
	Extensions bool

	// HoldFinish is as in [chat.StreamDecoder].
	HoldFinish bool
}

// Body renders a request. A stream always asks for usage.
func (w Wire) Body(req *chat.Request) ([]byte, error) {
	out := *req
	if req.Stream {
		var options chat.StreamOptions
		if req.StreamOptions != nil {
			options = *req.StreamOptions
		}
		options.IncludeUsage = true
		out.StreamOptions = &options
	}
	return w.BodyAsIs(&out)
}

// BodyAsIs renders a request that asks for usage only if the caller does, for
// an upstream that has no stream_options.
func (w Wire) BodyAsIs(req *chat.Request) ([]byte, error) {
	out := *req
	if !w.Extensions {
		out.Messages = withoutExtensions(req.Messages)
	}
	body, err := json.Marshal(&out)
	if err != nil {
		return nil, chat.Invalid("", "", "The request cannot be encoded for %s.", w.Upstream).With(err)
	}
	return body, nil
}

// withoutExtensions returns the messages without the members that OpenAI does
// not know. It copies what it changes, and nothing if there is nothing.
func withoutExtensions(messages []chat.Message) []chat.Message {
	copied := false
	for i := range messages {
		m := &messages[i]
		signed := false
		for j := range m.ToolCalls {
			signed = signed || m.ToolCalls[j].ExtraContent != nil
		}
		if !signed && m.ReasoningContent == "" {
			continue
		}
		if !copied {
			messages, copied = append([]chat.Message(nil), messages...), true
			m = &messages[i]
		}
		m.ReasoningContent = ""
		m.ToolCalls = append([]chat.ToolCall(nil), m.ToolCalls...)
		for j := range m.ToolCalls {
			m.ToolCalls[j].ExtraContent = nil
		}
	}
	return messages
}

// Decode implements [Dialect].
func (w Wire) Decode(_ *chat.Request, body []byte) (*chat.Response, error) {
	resp, err := chat.DecodeResponse(body)
	if reported, ok := errors.AsType[*chat.Reported](err); ok {
		return nil, w.failure(reported)
	}
	return resp, err
}

// Decoder implements [Dialect].
func (w Wire) Decoder(*chat.Request) Decoder {
	return &wireDecoder{wire: w, stream: chat.StreamDecoder{HoldFinish: w.HoldFinish}}
}

type wireDecoder struct {
	wire   Wire
	stream chat.StreamDecoder
}

func (d *wireDecoder) Event(e sse.Event) ([]*chat.Chunk, error) {
	chunks, err := d.stream.Event(e.Data)
	if err == nil && e.Name == "error" {
		// Some servers mark an error by the event's name alone.
		return nil, d.wire.failure(chat.DecodeReported(e.Data))
	}
	if reported, ok := errors.AsType[*chat.Reported](err); ok {
		return nil, d.wire.failure(reported)
	}
	return chunks, err
}

func (d *wireDecoder) Done() bool { return d.stream.Done() }

func (d *wireDecoder) End() ([]*chat.Chunk, error) { return d.stream.End() }

// failure returns the error for what the upstream reported without a status of
// its own, where an answer was expected.
func (w Wire) failure(r *chat.Reported) *chat.Error {
	status := r.Status
	if status == 0 {
		status = http.StatusInternalServerError
		switch {
		case r.Type == chat.TypeInvalidRequest || r.Code == chat.CodeContentFilter:
			status = http.StatusBadRequest
		case r.Type == chat.TypeRateLimit || r.Code == chat.CodeRateLimitExceeded || isQuota(r):
			status = http.StatusTooManyRequests
		case isAuth(r):
			status = http.StatusUnauthorized
		}
	}
	return w.fault(status, r)
}

// Fault implements [Dialect].
func (w Wire) Fault(status int, _ http.Header, body []byte) *chat.Error {
	return w.fault(status, chat.DecodeReported(body))
}

func (w Wire) fault(status int, r *chat.Reported) *chat.Error {
	if isAuth(r) {
		status = http.StatusUnauthorized
	}
	e := Fault(status, w.Upstream, r.Message)
	switch {
	case status == http.StatusTooManyRequests && isQuota(r):
		e.Type, e.Code = chat.CodeInsufficientQuota, chat.CodeInsufficientQuota
		e.Message = w.Upstream + " reports that the gateway's account has no quota left. This is for the gateway's operator to mend."
	case e.Type == chat.TypeInvalidRequest && e.Code == "":
		// The caller's own request is at fault, and programs act on these.
		e.Code, e.Param = identifier(r.Code), identifier(r.Param)
		if isTooLong(r) {
			e.Code = chat.CodeContextLengthExceeded
		}
	}
	return e
}

func isAuth(r *chat.Reported) bool {
	return r.Type == chat.TypeAuthentication || r.Code == chat.CodeInvalidAPIKey
}

func isQuota(r *chat.Reported) bool {
	return r.Type == chat.CodeInsufficientQuota || r.Code == chat.CodeInsufficientQuota
}

// isTooLong knows the words in which servers of this wire say that the prompt
// does not fit the model, where they have no code for it.
func isTooLong(r *chat.Reported) bool {
	for _, words := range []string{"maximum context length", "context window", "exceeds the available context size", "exceeds the model's context length"} {
		if strings.Contains(r.Message, words) {
			return true
		}
	}
	return r.Type == "exceed_context_size_error"
}

// identifier returns a code or the name of a parameter if it can be one. A
// number is a status and not a code.
func identifier(s string) string {
	if len(s) > 128 || strings.Trim(s, "0123456789") == "" {
		return ""
	}
	for _, c := range []byte(s) {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("_-.[]", c) >= 0) {
			return ""
		}
	}
	return s
}
