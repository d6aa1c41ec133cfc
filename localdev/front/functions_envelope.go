package front

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// maxEnvelope bounds in bytes what a handler may answer to an envelope.
const maxEnvelope = 100 << 20

// envelope is how the host puts an invocation to a handler that it does not proxy to:
// https://learn.microsoft.com/azure/azure-functions/functions-custom-handlers#request-payload
type envelope struct {
	Data     map[string]any
	Metadata map[string]any
}

// Result is what a function answered to an envelope.
type Result struct {
	// Outputs holds the value of each output binding, as written by the function.
	Outputs map[string]json.RawMessage
	// ReturnValue is the value of the binding $return.
	ReturnValue json.RawMessage
	// Logs are lines for the invocation's log.
	Logs []string
}

// Fire invokes a function that is triggered by a timer, an event or a queue, with the JSON text of the trigger's value. As
// on the real host, the text arrives encoded as a JSON string, and that string encoded once more within the envelope. An
// error means that the invocation failed.
func (f *Functions) Fire(ctx context.Context, name string, data json.RawMessage) (Result, error) {
	fn, err := f.triggered(name)
	if err != nil {
		return Result{}, err
	}
	if !json.Valid(data) {
		return Result{}, fmt.Errorf("function %s: the trigger's value is not JSON", name)
	}
	value, err := json.Marshal(string(data))
	if err != nil {
		return Result{}, fmt.Errorf("function %s: encode the trigger's value: %w", name, err)
	}
	ctx, cancel := f.deadline(ctx)
	defer cancel()
	s, err := f.worker.ready(ctx)
	if err != nil {
		return Result{}, err
	}
	defer f.checkTimeout(ctx, fn, s)
	e := envelope{Data: map[string]any{fn.trigger.Name: string(value)}, Metadata: metadata(fn)}
	result, err := f.send(ctx, s, fn, e)
	if err != nil {
		return Result{}, fmt.Errorf("function %s failed: %w", name, err)
	}
	return result, nil
}

func (f *Functions) triggered(name string) (*function, error) {
	for _, fn := range f.app.functions {
		if fn.name != name {
			continue
		}
		if fn.isHTTP() {
			return nil, fmt.Errorf("function %s is triggered by HTTP requests: send one", name)
		}
		return fn, nil
	}
	return nil, fmt.Errorf("there is no function %s in %s", name, f.app.root)
}

func metadata(fn *function) map[string]any {
	m := map[string]any{"sys": map[string]any{
		"MethodName": fn.name, "UtcNow": time.Now().UTC().Format(time.RFC3339Nano), "RandGuid": newID(),
	}}
	if fn.retry != nil {
		m["RetryContext"] = map[string]any{"RetryCount": 0, "MaxRetryCount": fn.retry.MaxRetryCount, "Exception": nil}
	}
	return m
}

// send posts an envelope and reads the answer.
func (f *Functions) send(ctx context.Context, s *server, fn *function, e envelope) (Result, error) {
	body, err := json.Marshal(e)
	if err != nil {
		return Result{}, fmt.Errorf("encode the envelope: %w", err)
	}
	// The path is the function's name, whatever its route is.
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url().JoinPath(fn.name).String(), bytes.NewReader(body))
	if err != nil {
		return Result{}, fmt.Errorf("build the request: %w", err)
	}
	r.Header.Set("Content-Type", "application/json; charset=utf-8")
	r.Header.Set("User-Agent", "Azure-Functions-Host/"+hostVersion)
	r.Header.Set("X-Azure-Functions-HostVersion", hostVersion)
	r.Header.Set("X-Azure-Functions-InvocationId", newID())
	reply, err := f.client.Do(r)
	if err != nil {
		return Result{}, fmt.Errorf("send the envelope: %w", err)
	}
	defer reply.Body.Close()
	result, err := readResult(reply)
	for _, line := range result.Logs {
		_, _ = fmt.Fprintf(f.o.Output, "[%s] %s: %s\n", f.o.Name, fn.name, line)
	}
	return result, err
}

// readResult takes an answer only if it is a success and the JSON that the host knows.
func readResult(reply *http.Response) (Result, error) {
	if reply.StatusCode < 200 || reply.StatusCode > 299 {
		return Result{}, fmt.Errorf("the handler answered with status %d: answer 200, and give the function's own status in Outputs", reply.StatusCode)
	}
	if kind, _, _ := mime.ParseMediaType(reply.Header.Get("Content-Type")); kind != "application/json" && kind != "text/json" {
		return Result{}, fmt.Errorf("the handler answered with content type %q: answer with application/json", reply.Header.Get("Content-Type"))
	}
	body, err := io.ReadAll(io.LimitReader(reply.Body, maxEnvelope))
	if err != nil {
		return Result{}, fmt.Errorf("read the answer: %w", err)
	}
	var result Result
	if err := json.Unmarshal(body, &result); err != nil {
		return Result{}, fmt.Errorf("the answer is not {Outputs, Logs, ReturnValue}: %w", err)
	}
	return result, nil
}

// httpInvocation is a request to a function that gets it in an envelope.
type httpInvocation struct {
	function *function
	params   map[string]string
	server   *server
}

// serveEnvelope answers a request with what the function puts into its HTTP output.
func (f *Functions) serveEnvelope(w http.ResponseWriter, r *http.Request, i httpInvocation) {
	value, err := i.value(r)
	if err != nil {
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		return
	}
	e := envelope{Data: map[string]any{i.function.trigger.Name: value}, Metadata: metadata(i.function)}
	result, err := f.send(r.Context(), i.server, i.function, e)
	if err == nil {
		var h httpOutput
		if h, err = result.http(i.function.httpOutput()); err == nil {
			h.write(w)
			return
		}
	}
	f.remark("function %s failed: %v", i.function.name, err)
	w.WriteHeader(http.StatusInternalServerError)
}

// value is the request as the trigger's value. A body without a length is not in it, which is the host's doing.
func (i httpInvocation) value(r *http.Request) (map[string]any, error) {
	query := map[string]string{}
	for name, values := range r.URL.Query() {
		query[name] = strings.Join(values, ",")
	}
	headers := r.Header.Clone()
	headers.Set("Host", r.Host)
	value := map[string]any{
		"Url": "http://" + r.Host + r.URL.RequestURI(), "Method": r.Method, "Query": query, "Headers": headers, "Params": i.params,
		"Identities": []any{map[string]any{"AuthenticationType": nil, "IsAuthenticated": false, "Claims": []any{}, "Name": nil}},
	}
	if r.ContentLength <= 0 {
		return value, nil
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, fmt.Errorf("read the request: %w", err)
	}
	value["Body"] = string(body)
	if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind == "application/octet-stream" || strings.HasPrefix(kind, "multipart/") {
		value["Body"] = base64.StdEncoding.EncodeToString(body)
	}
	return value, nil
}

// httpOutput is the reply that a function puts into an envelope.
type httpOutput struct {
	status  int
	headers map[string]any
	kind    string
	body    []byte
}

// http finds the reply among the outputs: an object in the HTTP output binding, or in the return value if that is the
// binding's name.
func (r Result) http(name string) (httpOutput, error) {
	switch {
	case name == "$return":
		return returnedOutput(r.ReturnValue)
	case name == "" || r.Outputs == nil:
		return httpOutput{status: http.StatusNoContent}, nil
	}
	value, ok := r.Outputs[name]
	if !ok {
		return httpOutput{status: http.StatusOK, kind: "application/json; charset=utf-8", body: []byte("{}")}, nil
	}
	// The host also takes a string that holds the object.
	var text string
	if json.Unmarshal(value, &text) == nil {
		value = json.RawMessage(text)
	}
	h, err := parseOutput(value)
	if err != nil {
		return httpOutput{}, fmt.Errorf("output %s: %w", name, err)
	}
	return h, nil
}

func parseOutput(value []byte) (httpOutput, error) {
	var o struct {
		StatusCode, Status json.RawMessage
		Headers            map[string]any
		Body               json.RawMessage
	}
	if err := json.Unmarshal(value, &o); err != nil || bytes.Equal(bytes.TrimSpace(value), []byte("null")) {
		return httpOutput{}, errors.Join(errors.New("it should be an object with statusCode, status, body and headers"), err)
	}
	h := httpOutput{status: http.StatusOK, headers: o.Headers}
	for _, status := range []json.RawMessage{o.StatusCode, o.Status} {
		if n, err := strconv.Atoi(strings.Trim(string(status), `"`)); err == nil {
			h.status = n
			break
		}
	}
	h.kind, h.body = content(o.Body)
	return h, nil
}

// returnedOutput reads a return value: an object with a body is a reply, anything else is the body. A string that happens
// to be base64 is decoded, which is the host's doing.
func returnedOutput(value json.RawMessage) (httpOutput, error) {
	var names map[string]json.RawMessage
	if json.Unmarshal(value, &names) == nil {
		for name := range names {
			if strings.EqualFold(name, "body") {
				return parseOutput(value)
			}
		}
	}
	if value == nil || string(value) == "null" {
		return httpOutput{status: http.StatusNoContent}, nil
	}
	var text string
	if json.Unmarshal(value, &text) == nil {
		if decoded, err := base64.StdEncoding.DecodeString(text); err == nil {
			return httpOutput{status: http.StatusOK, kind: "application/octet-stream", body: decoded}, nil
		}
	}
	h := httpOutput{status: http.StatusOK}
	h.kind, h.body = content(value)
	return h, nil
}

// content is a value as a body: a string as text, everything else as JSON.
func content(value json.RawMessage) (kind string, body []byte) {
	var text *string
	switch {
	case len(value) == 0 || string(value) == "null":
		return "", nil
	case json.Unmarshal(value, &text) == nil:
		return "text/plain; charset=utf-8", []byte(*text)
	}
	return "application/json; charset=utf-8", value
}

func (h httpOutput) write(w http.ResponseWriter) {
	if h.kind != "" {
		w.Header().Set("Content-Type", h.kind)
	}
	for name, value := range h.headers {
		w.Header().Set(name, fmt.Sprint(value))
	}
	w.WriteHeader(h.status)
	_, _ = w.Write(h.body)
}
