package front

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// ServeHTTP is the function URL.
func (l *Lambda) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var caller *IAMIdentity
	if l.o.Authorize != nil {
		identity, err := l.o.Authorize(r)
		if err != nil {
			urlError(w, http.StatusForbidden, "AccessDeniedException",
				`{"Message":"Forbidden. For troubleshooting Function URL authorization issues, see: https://docs.aws.amazon.com/lambda/latest/dg/urls-auth.html"}`)
			return
		}
		caller = &identity
	}
	event, err := l.event(r, caller)
	switch {
	case errors.Is(err, errEventTooLarge):
		urlError(w, http.StatusRequestEntityTooLarge, "RequestTooLargeException", `{"Message":"Request Too Long"}`)
		return
	case err != nil:
		urlError(w, http.StatusBadRequest, "InvalidRequestContentException", `{"Message":"Bad Request"}`)
		return
	}
	inv := newInvocation(event)
	if err := l.dispatch(inv); err != nil {
		if errors.Is(err, ErrThrottled) {
			urlError(w, http.StatusTooManyRequests, "TooManyRequestsException", `{"Message":"Rate Exceeded."}`)
			return
		}
		urlError(w, http.StatusServiceUnavailable, "ServiceException", `{"Message":"Service Unavailable"}`)
		return
	}
	a := <-inv.answers
	w.Header().Set("X-Amzn-Requestid", inv.id)
	w.Header().Set("X-Amzn-Trace-Id", strings.SplitN(inv.trace, ";", 2)[0])
	switch {
	case a.failure != nil:
		inv.finish(taken)
		inv.badGateway(w, a.failure)
	case l.o.InvokeMode == BufferedReply:
		inv.serveBuffered(w, a)
	default:
		inv.serveStream(w, a)
	}
}

func urlError(w http.ResponseWriter, status int, kind, body string) {
	w.Header().Set("X-Amzn-Errortype", kind)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body)
}

// badGateway is all that a function URL tells its clients of a failed function.
func (inv *invocation) badGateway(w http.ResponseWriter, why *functionError) {
	inv.instance.remark("invocation failed: %s: %s", why.Type, why.Message)
	urlError(w, http.StatusBadGateway, "InternalServerErrorException", "Internal Server Error")
}

// maxStream is the longest reply in bytes that Lambda streams.
const maxStream = 200 << 20

// serveStream passes the reply on as it arrives. The client's end of the reply comes last, so that a client which has
// seen it finds the instance free.
func (inv *invocation) serveStream(w http.ResponseWriter, a answer) {
	body := bufio.NewReader(a.body)
	if a.contentType == "application/vnd.awslambda.http-integration-response" {
		head, err := readPrelude(body)
		if err != nil {
			inv.drain(a, body)
			inv.badGateway(w, newFunctionError("Front.InvalidPrelude", err.Error()))
			return
		}
		head.write(w)
	} else {
		inv.instance.remark("the reply of type %q has no HTTP head: it is passed on as it is", a.contentType)
		w.Header().Set("Content-Type", "application/octet-stream")
		w.WriteHeader(http.StatusOK)
	}
	flush := http.NewResponseController(w).Flush
	_ = flush()
	buffer := make([]byte, 32<<10)
	for total := 0; ; {
		n, err := body.Read(buffer)
		if total += n; total > maxStream {
			inv.finish(tooLarge)
			inv.instance.remark("stream broken: it is longer than %d bytes", maxStream)
			panic(http.ErrAbortHandler)
		}
		if n > 0 {
			// A client that has gone does not stop the function: the rest is read for nobody, and billed.
			_, _ = w.Write(buffer[:n])
			_ = flush()
		}
		if err != nil {
			inv.endStream(a, err)
			return
		}
	}
}

// endStream ends the client's reply cleanly, or breaks its connection if the function failed.
func (inv *invocation) endStream(a answer, err error) {
	var why *functionError
	if err == io.EOF {
		why = trailingError(a.trailer())
		inv.finish(taken)
	} else {
		inv.finish(truncated)
		why = inv.broken()
	}
	if why != nil {
		inv.instance.remark("stream broken: %s: %s", why.Type, why.Message)
		panic(http.ErrAbortHandler)
	}
}

// drain reads a useless reply to its end, which is when the function may go on.
func (inv *invocation) drain(a answer, body io.Reader) {
	if _, err := io.Copy(io.Discard, body); err != nil {
		inv.finish(truncated)
		return
	}
	inv.finish(taken)
}

// head is the HTTP part of a function's reply, streamed or buffered.
type head struct {
	StatusCode int               `json:"statusCode"`
	Headers    map[string]string `json:"headers"`
	Cookies    []string          `json:"cookies"`
}

// maxPrelude bounds in bytes how much is read in search of the separator.
const maxPrelude = 1 << 20

// readPrelude reads up to the eight NUL bytes. They may come in one piece with the JSON before them, with the body
// behind them, or alone; JSON itself has no NUL.
func readPrelude(r *bufio.Reader) (head, error) {
	separator := make([]byte, 8)
	var prelude []byte
	for !bytes.HasSuffix(prelude, separator) {
		b, err := r.ReadByte()
		if err != nil || len(prelude) == maxPrelude {
			return head{}, errPrelude
		}
		prelude = append(prelude, b)
	}
	return parseHead(bytes.TrimSuffix(prelude, separator))
}

func parseHead(document []byte) (head, error) {
	h := head{StatusCode: http.StatusOK}
	if err := json.Unmarshal(document, &h); err != nil {
		return head{}, fmt.Errorf("the head of the reply: %w", err)
	}
	if h.StatusCode < 200 || h.StatusCode > 599 {
		return head{}, fmt.Errorf("the head of the reply: status code %d", h.StatusCode)
	}
	return h, nil
}

func (h head) write(w http.ResponseWriter) {
	for name, value := range h.Headers {
		name = http.CanonicalHeaderKey(name)
		if !connectionHeader(name) && name != "Content-Length" {
			w.Header().Set(name, value)
		}
	}
	for _, cookie := range h.Cookies {
		w.Header().Add("Set-Cookie", cookie)
	}
	w.WriteHeader(h.StatusCode)
}

// serveBuffered reads the reply as one document:
// https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html#urls-response-payload
func (inv *invocation) serveBuffered(w http.ResponseWriter, a answer) {
	if a.contentType == "application/vnd.awslambda.http-integration-response" {
		inv.drain(a, a.body)
		inv.badGateway(w, newFunctionError("Front.InvokeMode",
			"the function streams its replies, but the invoke mode of its URL is BUFFERED: set both to the same mode"))
		return
	}
	document, failure := inv.read(a)
	if failure != nil {
		inv.badGateway(w, failure)
		return
	}
	h, body, err := parseDocument(document)
	if err != nil {
		inv.badGateway(w, newFunctionError("Front.InvalidResponse", err.Error()))
		return
	}
	w.Header().Set("Content-Type", "application/json") // unless the function says otherwise
	h.write(w)
	_, _ = w.Write(body)
}

// parseDocument reads a buffered reply. One without a status code is the body itself.
func parseDocument(document []byte) (head, []byte, error) {
	if !json.Valid(document) {
		return head{}, nil, errors.New("the reply is not JSON")
	}
	var names map[string]json.RawMessage
	if json.Unmarshal(document, &names) != nil || names["statusCode"] == nil {
		return head{StatusCode: http.StatusOK}, document, nil
	}
	h, err := parseHead(document)
	if err != nil {
		return head{}, nil, err
	}
	var d struct {
		Body   string `json:"body"`
		Base64 bool   `json:"isBase64Encoded"`
	}
	if err := json.Unmarshal(document, &d); err != nil {
		return head{}, nil, fmt.Errorf("the body of the reply: %w", err)
	}
	body := []byte(d.Body)
	if d.Base64 {
		if body, err = base64.StdEncoding.DecodeString(d.Body); err != nil {
			return head{}, nil, fmt.Errorf("the body of the reply: %w", err)
		}
	}
	return h, body, nil
}
