// Package host is the custom handler's side of the Azure Functions host: it
// listens where the host says, and serves an http.Handler in both forms in
// which the host hands over an HTTP request, proxied as it came or wrapped in
// a JSON envelope.
//
// It must not know what the handler does.
package host

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Settings is what the host and the app's own files say.
type Settings struct {
	Port string // FUNCTIONS_CUSTOMHANDLER_PORT
	// Proxied says that the host passes HTTP requests on as they came
	// (customHandler.enableProxyingHttpRequest of host.json). Otherwise they come
	// in envelopes, and answers cannot be streamed.
	Proxied bool
}

// ReadSettings reads the environment that the host gives to a custom handler,
// and the host.json of the app, which lies in the root that the environment
// names or else in the working directory.
func ReadSettings(getenv func(string) string) (Settings, error) {
	s := Settings{Port: getenv("FUNCTIONS_CUSTOMHANDLER_PORT")}
	if s.Port == "" {
		return s, errors.New("FUNCTIONS_CUSTOMHANDLER_PORT is not set: this program is started by the Azure Functions host, which sets it; locally, use `make run`")
	}
	path := filepath.Join(getenv("FUNCTIONS_APP_ROOT_PATH"), "host.json")
	text, err := os.ReadFile(path)
	if err != nil {
		return s, fmt.Errorf("read the app's host.json: %w", err)
	}
	var file struct {
		CustomHandler struct {
			Proxying bool `json:"enableProxyingHttpRequest"`
		} `json:"customHandler"`
	}
	if err := json.Unmarshal(text, &file); err != nil {
		return s, fmt.Errorf("read the app's host.json: %w", err)
	}
	s.Proxied = file.CustomHandler.Proxying
	return s, nil
}

// Serve serves h on the loopback address until ctx ends, then lets requests
// under way finish within the time that the host grants a handler at shutdown.
func Serve(ctx context.Context, s Settings, h http.Handler) error {
	if !s.Proxied {
		h = envelopes(h)
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", s.Port))
	if err != nil {
		return fmt.Errorf("listen for the Azure Functions host: %w", err)
	}
	server := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: 64 << 10}
	drained := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		wait, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
		defer cancel()
		drained <- server.Shutdown(wait)
	})
	defer stop()
	// Serve returns as soon as Shutdown begins, not when it is done.
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	if err := <-drained; err != nil {
		return fmt.Errorf("requests were still open %v after the host wanted the handler to end", grace)
	}
	return nil
}

// grace is a little less than the 5 s that the host leaves a handler between
// SIGTERM and SIGKILL.
const grace = 4500 * time.Millisecond

// invocation is what the host posts to /<function> for one HTTP request.
type invocation struct {
	Data map[string]jsontext.Value
}

type httpData struct {
	URL     string `json:"Url"`
	Method  string
	Headers map[string][]string
	Body    jsontext.Value
}

type result struct {
	Outputs     map[string]httpOutput
	Logs        []string
	ReturnValue any
}

type httpOutput struct {
	StatusCode int               `json:"statusCode"`
	Headers    map[string]string `json:"headers"`
	Body       string            `json:"body"`
}

// maxEnvelope bounds an envelope and the answer that fits in one, in bytes.
const maxEnvelope = 16 << 20

// The names of the function's two bindings, as in its function.json.
const (
	bindingIn  = "req"
	bindingOut = "res"
)

// envelopes unwraps the requests that the host posts and wraps the answers.
// The host is the only one who can reach the loopback address, so an envelope
// is as trustworthy as a request.
func envelopes(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			// The host's readiness check: any answer will do.
			w.WriteHeader(http.StatusNoContent)
			return
		}
		inner, err := unwrap(r)
		if errors.Is(err, errTooLarge) {
			wrap(w, tooLarge())
			return
		}
		if err != nil {
			// Anything but a 2xx fails the invocation, which is what an envelope
			// that cannot be read is.
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		rec := &recorder{header: http.Header{}, status: http.StatusOK}
		h.ServeHTTP(rec, inner)
		wrap(w, rec.output())
	})
}

func wrap(w http.ResponseWriter, out httpOutput) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.MarshalWrite(w, result{Logs: []string{}, Outputs: map[string]httpOutput{bindingOut: out}})
}

// errTooLarge is for an envelope over its bound. The caller who sent so much is
// told so: a failed invocation would count as the function's own failure.
var errTooLarge = errors.New("the invocation is larger than an envelope may be")

func tooLarge() httpOutput {
	return httpOutput{
		StatusCode: http.StatusRequestEntityTooLarge,
		Headers:    map[string]string{"Content-Type": "application/json"},
		Body:       `{"error":{"message":"The request body is too large for this deployment. Send less.","type":"invalid_request_error","param":null,"code":"request_too_large"}}`,
	}
}

func unwrap(r *http.Request) (*http.Request, error) {
	text, err := io.ReadAll(io.LimitReader(r.Body, maxEnvelope+1))
	if err != nil {
		return nil, errors.New("the invocation ended before it was complete")
	}
	if len(text) > maxEnvelope {
		return nil, errTooLarge
	}
	var in invocation
	if err := json.Unmarshal(text, &in); err != nil {
		return nil, errors.New("the invocation is not the JSON envelope of the Azure Functions host")
	}
	raw, ok := in.Data[bindingIn]
	if !ok {
		return nil, fmt.Errorf("the invocation has no binding %q: name the httpTrigger of function.json so", bindingIn)
	}
	var data httpData
	if err := json.Unmarshal(raw, &data); err != nil {
		return nil, fmt.Errorf("the binding %q of the invocation is not an HTTP request", bindingIn)
	}
	header := http.Header{}
	for name, values := range data.Headers {
		for _, v := range values {
			header.Add(name, v)
		}
	}
	body, err := bodyOf(header, data.Body)
	if err != nil {
		return nil, err
	}
	inner, err := http.NewRequestWithContext(r.Context(), data.Method, data.URL, bytes.NewReader(body))
	if err != nil {
		return nil, errors.New("the invocation's method or URL cannot be read")
	}
	inner.Header = header
	inner.Host = inner.URL.Host
	inner.RemoteAddr = r.RemoteAddr
	return inner, nil
}

// bodyOf returns the request's body: a JSON string holds the text, or base64
// for the content types that the host takes for binary.
func bodyOf(header http.Header, raw jsontext.Value) ([]byte, error) {
	if len(raw) == 0 || raw.Kind() == jsontext.KindNull {
		return nil, nil
	}
	if raw.Kind() != jsontext.KindString {
		return raw, nil // a JSON body that the host did not quote
	}
	var text string
	if err := json.Unmarshal(raw, &text); err != nil {
		return nil, errors.New("the invocation's body cannot be read")
	}
	kind := strings.ToLower(header.Get("Content-Type"))
	if strings.HasPrefix(kind, "application/octet-stream") || strings.HasPrefix(kind, "multipart/") {
		return base64.StdEncoding.DecodeString(text)
	}
	return []byte(text), nil
}

// recorder keeps an answer that has to go into an envelope.
type recorder struct {
	header   http.Header
	status   int
	wrote    bool
	body     bytes.Buffer
	overflow bool
}

func (r *recorder) Header() http.Header { return r.header }

func (r *recorder) WriteHeader(status int) {
	if r.wrote || status < 200 {
		return
	}
	r.wrote, r.status = true, status
}

func (r *recorder) Write(p []byte) (int, error) {
	r.WriteHeader(http.StatusOK)
	if r.body.Len()+len(p) > maxEnvelope {
		r.overflow = true
		return 0, errors.New("the answer does not fit in an envelope of the Azure Functions host")
	}
	return r.body.Write(p)
}

func (r *recorder) output() httpOutput {
	if r.overflow {
		return httpOutput{
			StatusCode: http.StatusBadGateway,
			Headers:    map[string]string{"Content-Type": "application/json"},
			Body:       `{"error":{"message":"The answer is too large for this deployment. Switch on customHandler.enableProxyingHttpRequest in host.json, or ask for less.","type":"server_error","param":null,"code":"response_too_large"}}`,
		}
	}
	out := httpOutput{StatusCode: r.status, Headers: map[string]string{}, Body: r.body.String()}
	for name, values := range r.header {
		// The host sets the length of what it sends itself.
		if name != "Content-Length" {
			out.Headers[name] = strings.Join(values, ", ")
		}
	}
	return out
}
