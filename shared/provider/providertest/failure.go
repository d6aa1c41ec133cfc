package providertest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postern-ai/postern/shared/chat"
)

// canary stands in every prompt of a failing request and in what the service
// says about its own failures. No error may repeat it.
const canary = "canary-zqxj"

func (h Harness) failing(t *testing.T, stream bool) *chat.Request {
	req := h.request(t, `{"messages":[{"role":"system","content":"`+canary+`"},{"role":"user","content":"#say(one two three four five six seven eight) `+canary+`"}]}`)
	req.Stream = stream
	return req
}

// checkError pins an error, and that it keeps its secrets. An empty Message is
// not compared.
func checkError(t *testing.T, h Harness, err error, want Want) {
	t.Helper()
	e, ok := errors.AsType[*chat.Error](err)
	if !ok {
		t.Errorf("got error %v, want a *chat.Error", err)
		return
	}
	got := Want{Status: e.Status, Type: e.Type, Code: e.Code, Param: e.Param, Message: e.Message, RetryAfter: e.RetryAfter}
	if want.Message == "" {
		want.Message = got.Message
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s\ncause: %v", d, e.Err)
	}
	for _, shown := range []string{err.Error(), fmt.Sprintf("%+v", err), fmt.Sprintf("%#v", e.Message), string(e.Body())} {
		if strings.Contains(shown, canary) {
			t.Errorf("the error repeats the prompt or what the service said of itself: %s", shown)
		}
		if h.Secret != "" && strings.Contains(shown, h.Secret) {
			t.Error("the error shows the credential")
		}
		if strings.Contains(shown, "<html") {
			t.Errorf("the error repeats a page: %s", shown)
		}
	}
}

// want returns what a row must look like: the harness's own, or the one that
// all providers share.
func (h Harness) want(row string, shared Want) Want {
	if own, ok := h.Want[row]; ok {
		return own
	}
	return shared
}

// What all providers tell a caller, by kind of failure.
func (h Harness) serverError(status int, code, message string) Want {
	return Want{Status: status, Type: chat.TypeServer, Code: code, Message: strings.ReplaceAll(message, "NAME", h.Name)}
}

func (h Harness) wantAuth() Want {
	return h.serverError(502, "upstream_auth_failed", "NAME did not accept the gateway's own credential. This is for the gateway's operator to mend; the caller's token is fine.")
}

func (h Harness) wantFailed() Want {
	return h.serverError(502, "upstream_error", "NAME failed to answer. Try again.")
}

func (h Harness) wantDown() Want {
	return h.serverError(503, "upstream_unavailable", "NAME is not available at the moment. Try again later.")
}

func (h Harness) wantUnreachable() Want {
	return h.serverError(502, "upstream_unavailable", "The gateway could not reach NAME, or the connection broke before an answer came. Try again.")
}

func (h Harness) wantTimeout() Want {
	return h.serverError(504, "upstream_timeout", "NAME did not answer in time. Try again, or ask for a shorter answer.")
}

func (h Harness) wantUnreadable() Want {
	return h.serverError(502, "upstream_invalid_response", "NAME sent an answer that the gateway cannot read. Try again.")
}

func (h Harness) wantInterrupted() Want {
	return h.serverError(502, "upstream_stream_interrupted", "The answer from NAME broke off before the answer was complete. Try again.")
}

// refusals tests what happens when there is no answer at all. It is the same
// for a whole answer and for a stream: Stream itself returns the error.
func (h Harness) refusals(t *testing.T) {
	secret := canary + " " + h.Secret
	page := Answer{Header: http.Header{"Content-Type": {"text/html"}}, Body: []byte("<html><body>" + secret + "</body></html>")}
	withStatus := func(a Answer, status int) Answer { a.Status = status; return a }
	waiting := h.Fault(429, secret)
	waiting.Header = waiting.Header.Clone()
	waiting.Header.Set("Retry-After", "7")
	rateLimited := Want{Status: 429, Type: chat.TypeRateLimit, Code: "rate_limit_exceeded", Message: h.Name + " is limiting the rate of requests. Try again later."}
	rateLimitedFor7 := rateLimited
	rateLimitedFor7.RetryAfter = 7 * time.Second
	for _, c := range []struct {
		name   string
		answer Answer
		want   Want
	}{
		{"400", h.Fault(400, "The value is out of range."), Want{
			Status: 400, Type: chat.TypeInvalidRequest, Message: h.Name + " refused the request: The value is out of range.",
		}},
		{"400 with a page", withStatus(page, 400), Want{Status: 400, Type: chat.TypeInvalidRequest, Message: h.Name + " refused the request."}},
		{"401", h.Fault(401, secret), h.wantAuth()},
		{"403", h.Fault(403, secret), h.wantAuth()},
		{"404", h.Fault(404, secret), Want{
			Status: 404, Type: chat.TypeInvalidRequest, Code: "model_not_found", Param: "model",
			Message: h.Name + " has no such model, or the gateway's account has no access to it.",
		}},
		{"429", h.Fault(429, secret), rateLimited},
		{"429 with a time to wait", waiting, rateLimitedFor7},
		{"500", h.Fault(500, secret), h.wantFailed()},
		{"500 with a page", withStatus(page, 500), h.wantFailed()},
		{"503", h.Fault(503, secret), h.wantDown()},
		{"302", Answer{Status: 302, Header: http.Header{"Location": {"/elsewhere"}}}, h.wantFailed()},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			u := h.upstream(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				for name, values := range c.answer.Header {
					w.Header()[name] = values
				}
				send(w, c.answer.Status, c.answer.Body)
			}))
			h.fails(t, u, h.want(c.name, c.want))
		})
	}
	t.Run("connection reset", func(t *testing.T) {
		t.Parallel()
		h.fails(t, h.upstream(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { reset(w) })), h.want("connection reset", h.wantUnreachable()))
	})
	t.Run("nothing listens", func(t *testing.T) {
		t.Parallel()
		u := h.upstream(t, h.Service)
		u.transport.DialContext = refuse
		h.fails(t, u, h.want("nothing listens", h.wantUnreachable()))
	})
	t.Run("timeout", func(t *testing.T) {
		t.Parallel()
		u := h.upstream(t, http.HandlerFunc(hang))
		for _, stream := range []bool{false, true} {
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			checkError(t, h, u.either(ctx, h.failing(t, stream)), h.want("timeout", h.wantTimeout()))
		}
		u.idle(t)
	})
}

// fails asks both ways and compares the errors.
func (h Harness) fails(t *testing.T, u *upstream, want Want) {
	t.Helper()
	for _, stream := range []bool{false, true} {
		checkError(t, h, u.either(t.Context(), h.failing(t, stream)), want)
	}
	u.idle(t)
}

// either asks for an answer of which nothing may come.
func (u *upstream) either(ctx context.Context, req *chat.Request) error {
	if !req.Stream {
		_, err := u.Chat(ctx, req)
		return err
	}
	stream, err := u.Stream(ctx, req)
	if err != nil {
		return err
	}
	_, err = drain(stream)
	return fmt.Errorf("the stream began, and then: %w", err)
}

// hang reads a request and never answers. The server only notices that the
// client has gone away once the body has been read.
func hang(_ http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	<-r.Context().Done()
}

// spoiledAnswers tests what happens when a whole answer is not what it should
// be.
func (h Harness) spoiledAnswers(t *testing.T) {
	instead := func(body string) func(http.ResponseWriter, *http.Request, *recording) {
		return func(w http.ResponseWriter, _ *http.Request, rec *recording) { send(w, rec.Status, []byte(body)) }
	}
	for _, c := range []struct {
		name  string
		spoil func(http.ResponseWriter, *http.Request, *recording)
		want  Want
	}{
		{"truncated JSON", func(w http.ResponseWriter, _ *http.Request, rec *recording) {
			send(w, rec.Status, rec.Body[:len(rec.Body)/2])
		}, h.wantUnreadable()},
		{"a page", instead("<html>" + canary + "</html>"), h.wantUnreadable()},
		{"null", instead("null"), h.wantUnreadable()},
		{"an empty object", instead("{}"), h.wantUnreadable()},
		{"an array", instead("[]"), h.wantUnreadable()},
		{"nothing", instead(""), h.wantUnreadable()},
		{"a reset half way", func(w http.ResponseWriter, _ *http.Request, rec *recording) {
			send(w, rec.Status, rec.Body[:len(rec.Body)/2])
			reset(w)
		}, h.wantInterrupted()},
		{"a body shorter than announced", func(w http.ResponseWriter, _ *http.Request, rec *recording) {
			w.Header().Set("Content-Length", fmt.Sprint(len(rec.Body)))
			send(w, rec.Status, rec.Body[:len(rec.Body)/2])
		}, h.wantInterrupted()},
		{"a hang half way", func(w http.ResponseWriter, r *http.Request, rec *recording) {
			send(w, rec.Status, rec.Body[:len(rec.Body)/2])
			<-r.Context().Done()
		}, h.wantTimeout()},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			u := h.upstream(t, spoiled(h.Service, c.spoil))
			ctx := t.Context()
			if c.want.Status == http.StatusGatewayTimeout {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, 200*time.Millisecond)
				defer cancel()
			}
			_, err := u.Chat(ctx, h.failing(t, false))
			checkError(t, h, err, h.want("whole answer: "+c.name, c.want))
			u.idle(t)
		})
	}
}

// spoiledStreams tests what happens when a stream is not what it should be:
// what came before the fault is an orderly beginning, then comes one error and
// nothing more.
func (h Harness) spoiledStreams(t *testing.T) {
	after := func(more func(w http.ResponseWriter, r *http.Request, rec *recording)) func(http.ResponseWriter, *http.Request, *recording) {
		return func(w http.ResponseWriter, r *http.Request, rec *recording) {
			send(w, rec.Status, rec.Body[:rec.between()])
			more(w, r, rec)
		}
	}
	write := func(body []byte) func(http.ResponseWriter, *http.Request, *recording) {
		return func(w http.ResponseWriter, _ *http.Request, _ *recording) { _, _ = w.Write(body) }
	}
	for _, c := range []struct {
		name  string
		spoil func(http.ResponseWriter, *http.Request, *recording)
		want  Want
	}{
		{"a clean end between events", after(func(http.ResponseWriter, *http.Request, *recording) {}), h.wantInterrupted()},
		{"a clean end within an event", after(func(w http.ResponseWriter, _ *http.Request, rec *recording) {
			_, _ = w.Write(rec.Body[rec.between() : rec.between()+20])
		}), h.wantInterrupted()},
		{"a clean end before any event", func(w http.ResponseWriter, _ *http.Request, rec *recording) { send(w, rec.Status, nil) }, h.wantInterrupted()},
		{"a reset between events", after(func(w http.ResponseWriter, _ *http.Request, _ *recording) { reset(w) }), h.wantInterrupted()},
		{"an aborted connection", after(func(http.ResponseWriter, *http.Request, *recording) { panic(http.ErrAbortHandler) }), h.wantInterrupted()},
		{"garbage", after(write([]byte("data: {\"garbage\n\n"))), h.wantInterrupted()},
		{"an error event", after(write(h.StreamFault(canary + " " + h.Secret))), h.wantFailed()},
		{"a hang", after(func(_ http.ResponseWriter, r *http.Request, _ *recording) { <-r.Context().Done() }), h.wantTimeout()},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			u := h.upstream(t, spoiled(h.Service, c.spoil))
			ctx := t.Context()
			if c.want.Status == http.StatusGatewayTimeout {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, 200*time.Millisecond)
				defer cancel()
			}
			chunks, err := u.collect(ctx, h.failing(t, true))
			checkError(t, h, err, h.want("stream: "+c.name, c.want))
			if part := readPart(t, chunks); part.got.Finish != "" && part.counts > 0 {
				t.Error("the stream looks complete")
			}
			u.idle(t)
		})
	}
	t.Run("a page instead of a stream", func(t *testing.T) {
		t.Parallel()
		u := h.upstream(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			send(w, http.StatusOK, []byte("<html>"+canary+"</html>"))
		}))
		_, err := u.Stream(t.Context(), h.failing(t, true))
		checkError(t, h, err, h.want("stream: a page", h.wantUnreadable()))
		u.idle(t)
	})
	t.Run("bytes that come one by one", func(t *testing.T) { t.Parallel(); h.bytewise(t) })
}

// bytewise makes sure that chunks do not depend on how the bytes arrive.
func (h Harness) bytewise(t *testing.T) {
	whole := h.upstream(t, spoiled(h.Service, func(w http.ResponseWriter, _ *http.Request, rec *recording) {
		send(w, rec.Status, rec.Body)
	}))
	torn := h.upstream(t, spoiled(h.Service, func(w http.ResponseWriter, _ *http.Request, rec *recording) {
		w.WriteHeader(rec.Status)
		for i := range rec.Body {
			_, _ = w.Write(rec.Body[i : i+1])
			_ = http.NewResponseController(w).Flush()
		}
	}))
	text := `{` + offer + `,"messages":[{"role":"user","content":"get_weather and get_time in Paris #say(grüße 日本語)"}]}`
	want, _ := h.ask(t, whole, text)
	got, _ := h.ask(t, torn, text)
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}
