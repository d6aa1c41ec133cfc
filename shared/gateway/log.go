package gateway

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime"
	"syscall"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/postern-ai/postern/shared/caller"
	"github.com/postern-ai/postern/shared/chat"
	"github.com/postern-ai/postern/shared/identity"
	"github.com/postern-ai/postern/shared/provider"
	"github.com/postern-ai/postern/shared/sse"
)

// log writes the one line of the exchange. It holds no header, and no body
// unless the operator asked for bodies.
func (x *exchange) log() {
	level := slog.LevelInfo
	if x.status >= http.StatusInternalServerError {
		level = slog.LevelError
	} else if x.failure != nil || len(x.outcomes) > 0 {
		level = slog.LevelWarn
	}
	if !x.g.log.Enabled(context.Background(), level) {
		return
	}
	attrs := make([]slog.Attr, 0, 21)
	attrs = append(attrs,
		slog.String("request_id", x.id),
		slog.String("method", chat.Clip(x.r.Method, 16)),
		slog.String("path", chat.Clip(x.r.URL.Path, 128)),
		slog.Int("status", x.status))
	if x.principal != nil {
		attrs = append(attrs, slog.String("caller", x.principal.Name), slog.String("caller_id", owner(x.principal)), slog.String("caller_method", string(x.principal.Method)))
	}
	if x.requested != "" {
		attrs = append(attrs, slog.String("model_requested", x.requested), slog.Bool("stream", x.streamed))
	}
	if x.route.Upstream != nil {
		attrs = append(attrs,
			slog.String("upstream", x.route.Upstream.Name),
			slog.String("provider", string(x.route.Upstream.Provider)),
			slog.String("model", x.route.Model))
	}
	if x.grant != nil && x.grant.Rule != "" {
		attrs = append(attrs, slog.String("rule", x.grant.Rule))
	}
	if who := x.signed.Principal(); who.Name != "" || who.Source != "" {
		attrs = append(attrs, slog.String("identity", who.Name), slog.String("identity_source", who.Source))
	}
	if len(x.outcomes) > 0 {
		attrs = append(attrs, slog.Any("attempts", x.outcomes))
	}
	attrs = append(attrs, x.failed()...)
	attrs = append(attrs, x.statistics()...)
	attrs = append(attrs, x.payload.attrs()...)
	// The request's own context may be over; a handler that looks into one
	// must still write the line.
	x.g.log.LogAttrs(context.WithoutCancel(x.r.Context()), level, "request", attrs...)
}

func (x *exchange) failed() []slog.Attr {
	if x.failure == nil {
		return nil
	}
	attrs := []slog.Attr{slog.String("error_type", x.failure.Type)}
	if x.failure.Code != "" {
		attrs = append(attrs, slog.String("error_code", x.failure.Code))
	}
	if x.failure.Param != "" {
		attrs = append(attrs, slog.String("error_param", x.failure.Param))
	}
	if why := cause(x.failure.Err); why != "" {
		attrs = append(attrs, slog.String("error_cause", why))
	}
	if p, ok := errors.AsType[*panicError](x.failure.Err); ok {
		attrs = append(attrs, slog.String("stack", string(p.stack)))
	}
	return attrs
}

func (x *exchange) statistics() []slog.Attr {
	if !x.g.logging.LogStatistics {
		return nil
	}
	attrs := []slog.Attr{slog.Float64("duration_ms", milliseconds(time.Since(x.start)))}
	if x.first > 0 {
		attrs = append(attrs, slog.Float64("first_token_ms", milliseconds(x.first)))
	}
	if x.usage == nil {
		return attrs
	}
	usage := []any{
		slog.Int64("prompt_tokens", x.usage.PromptTokens),
		slog.Int64("completion_tokens", x.usage.CompletionTokens),
		slog.Int64("total_tokens", x.usage.TotalTokens),
	}
	if d := x.usage.PromptTokensDetails; d != nil {
		usage = append(usage, slog.Int64("cached_tokens", d.CachedTokens))
	}
	if d := x.usage.CompletionTokensDetails; d != nil {
		usage = append(usage, slog.Int64("reasoning_tokens", d.ReasoningTokens))
	}
	return append(attrs, slog.Group("usage", usage...))
}

func milliseconds(d time.Duration) float64 {
	return float64(d.Round(10*time.Microsecond)) / float64(time.Millisecond)
}

// cause describes a private cause in words that cannot hold a prompt, an
// answer or a credential. It shows the texts of those errors only that are
// known not to quote what was received; of all others, the type.
func cause(err error) string {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*identity.Error](err); ok {
		return e.Error()
	}
	if e, ok := errors.AsType[*provider.StatusError](err); ok {
		return e.Error()
	}
	if e, ok := errors.AsType[*caller.Error](err); ok {
		return e.Error()
	}
	if e, ok := errors.AsType[*reasonError](err); ok {
		return e.Error()
	}
	if e, ok := errors.AsType[*panicError](err); ok {
		return e.Error()
	}
	// Where the JSON of an upstream is at fault, not what it holds.
	if e, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		return fmt.Sprintf("the JSON is broken at byte %d", e.ByteOffset)
	}
	if e, ok := errors.AsType[*json.SemanticError](err); ok {
		return fmt.Sprintf("the JSON does not fit at byte %d, where %v is expected", e.ByteOffset, e.GoType)
	}
	for _, known := range []error{
		errFirstByte, errShare, errUpstreamTimeout, errRequestTimeout, errPlatformTimeout,
		provider.ErrIncomplete, sse.ErrTooLarge, io.ErrUnexpectedEOF, io.EOF,
		context.DeadlineExceeded, context.Canceled, os.ErrDeadlineExceeded,
		net.ErrClosed, http.ErrAbortHandler,
	} {
		if errors.Is(err, known) {
			return known.Error()
		}
	}
	if e, ok := errors.AsType[syscall.Errno](err); ok {
		return e.Error()
	}
	if e, ok := errors.AsType[*net.DNSError](err); ok {
		return "host name not found: " + e.Name
	}
	return fmt.Sprintf("%T", innermost(err))
}

// innermost returns the error at the end of a chain, whose type says most.
func innermost(err error) error {
	for {
		next := errors.Unwrap(err)
		if next == nil {
			return err
		}
		err = next
	}
}

// reasonError is the policy's reason, which names rules and no caller's text.
type reasonError struct{ reason string }

func (e *reasonError) Error() string { return e.reason }

// panicError is a panic of the gateway's own code.
type panicError struct {
	value any
	stack []byte
}

// Error describes the value by its text only where the runtime made it: any
// other may be made of what was received.
func (e *panicError) Error() string {
	if r, ok := e.value.(runtime.Error); ok {
		return "panic: " + r.Error()
	}
	return fmt.Sprintf("panic of type %T", e.value)
}

// maxPayload bounds what the log line holds of each body, in bytes.
const maxPayload = 64 << 10

// payload keeps the bodies for the log line, if the operator asked for that.
type payload struct {
	on      bool
	in, out []byte
}

func (p *payload) request(on bool, body []byte) {
	if p.on = on; on {
		p.in = body[:min(len(body), maxPayload)]
	}
}

func (p *payload) response(body []byte) {
	if !p.on {
		return
	}
	room := maxPayload - len(p.out)
	if room <= 0 {
		return
	}
	if len(p.out) > 0 {
		p.out = append(p.out, '\n')
	}
	p.out = append(p.out, body[:min(len(body), room)]...)
}

func (p *payload) attrs() []slog.Attr {
	if !p.on {
		return nil
	}
	return []slog.Attr{slog.String("request_body", string(p.in)), slog.String("response_body", string(p.out))}
}

func newRequestID() string { return "req_" + rand.Text() }
