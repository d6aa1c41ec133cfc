package front

import (
	"cmp"
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"os"
	"slices"
	"strings"
	"time"
)

const (
	// hostVersion is what the host says it is, in headers.
	hostVersion = "4.1045.200"
	// maxFunctionsRequest is the largest request body in bytes.
	maxFunctionsRequest = 100 << 20
	// responseTimeout is when the load balancer in front of every plan gives up on a function that has sent nothing.
	responseTimeout = 230 * time.Second
)

var errFunctionTimeout = fmt.Errorf("the function timed out: %w", context.DeadlineExceeded)

// FunctionsOptions describe an Azure Functions app with a custom handler.
type FunctionsOptions struct {
	// Root is the app folder, with host.json and one folder per function. It is the only required option.
	Root string
	// Executable, if set, is run in place of the one that host.json names, so that a folder of a source tree can serve as
	// the app folder without a binary in it.
	Executable string
	// Name is the app's name, "function" by default.
	Name string
	// Env is the app's settings, and what the platform provides for its identity. A variable that the host sets itself
	// may not be among them.
	Env map[string]string
	// FunctionKey and MasterKey open functions of the levels function and admin; an empty key opens nothing.
	FunctionKey, MasterKey string
	// CORSOrigins are the origins whose preflight requests the platform answers itself. Without any, OPTIONS is a method
	// like others.
	CORSOrigins []string
	// Listener is where the app is served; nil to use the front as a handler only. The front closes it.
	Listener net.Listener
	// Output receives the function's output and the host's remarks, line by line. It must be safe for concurrent use, as
	// os.Stderr is. Nil discards them.
	Output io.Writer
}

// Functions is an Azure Functions host with one custom handler, which serves any number of invocations at the same
// time. It restarts a handler that ends, and gives up at the third end within 30 minutes. It is safe for concurrent use.
type Functions struct {
	o         FunctionsOptions
	app       *app
	home      string
	life      *lifetime
	worker    *worker
	transport *http.Transport
	// client sends envelopes. Its patience is the function's timeout, not its own.
	client *http.Client
}

// StartFunctions reads the app folder, starts the handler and returns when it answers. It serves until Close is called
// or ctx ends.
func StartFunctions(ctx context.Context, o FunctionsOptions) (*Functions, error) {
	o.Name = cmp.Or(o.Name, "function")
	if o.Output == nil {
		o.Output = io.Discard
	}
	a, err := readApp(o.Root, o.Env)
	if err != nil {
		return nil, err
	}
	if a.executable, err = executable(cmp.Or(o.Executable, a.executable)); err != nil {
		return nil, err
	}
	f := &Functions{o: o, app: a, transport: loopback()}
	f.transport.ResponseHeaderTimeout = responseTimeout
	f.client = &http.Client{Transport: loopback()}
	if _, err := f.environment(0); err != nil {
		return nil, err
	}
	if f.home, err = newHome(); err != nil {
		return nil, err
	}
	f.worker = startWorker(f.start, f.remark)
	if _, err := f.worker.ready(ctx); err != nil {
		f.stop()
		return nil, err
	}
	shut := door(o.Listener, f, o.Output)
	f.life = newLifetime(ctx, func() {
		shut()
		f.stop()
	})
	return f, nil
}

// Close stops serving, asks the handler to end with SIGTERM and kills it after five seconds. It returns when it has
// ended. It may be called more than once.
func (f *Functions) Close() error {
	f.life.close()
	return nil
}

func (f *Functions) stop() {
	f.worker.stop()
	f.transport.CloseIdleConnections()
	f.client.CloseIdleConnections()
	_ = os.RemoveAll(f.home)
}

// start runs the handler and waits until it answers.
func (f *Functions) start(ctx context.Context) (*server, error) {
	port := f.app.port
	if port == 0 {
		var err error
		if port, err = freePort(); err != nil {
			return nil, err
		}
	}
	env, err := f.environment(port)
	if err != nil {
		return nil, err
	}
	p, err := start(command{
		path: f.app.executable, args: f.app.arguments, dir: f.app.directory, env: env,
		output: &lines{prefix: "[" + f.o.Name + "] ", to: f.o.Output},
	})
	if err != nil {
		return nil, err
	}
	if f.app.initTimeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, f.app.initTimeout)
		defer cancel()
	}
	s := &server{process: p, address: fmt.Sprintf("127.0.0.1:%d", port)}
	if err := s.await(ctx, 25*time.Millisecond, s.ping); err != nil {
		p.kill()
		return nil, err
	}
	return s, nil
}

// ping is the host's readiness check: any answer will do, and so will anything that is no answer but came from an open
// port.
func (s *server) ping(ctx context.Context) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url().String()+"/", nil)
	if err != nil {
		return err
	}
	transport := loopback()
	defer transport.CloseIdleConnections()
	reply, err := transport.RoundTrip(r)
	if err == nil {
		return reply.Body.Close()
	}
	if refused, ok := errors.AsType[*net.OpError](err); ok && refused.Op == "dial" || ctx.Err() != nil {
		return err
	}
	return nil
}

// environment is what the host and the platform set, and the app's settings.
func (f *Functions) environment(port int) ([]string, error) {
	worker := newID()
	return environment(machine(map[string]string{
		"FUNCTIONS_CUSTOMHANDLER_PORT": fmt.Sprint(port), "FUNCTIONS_CUSTOMHANDLER_WORKER_ID": worker,
		"FUNCTIONS_HTTPWORKER_PORT": fmt.Sprint(port), "FUNCTIONS_HTTPWORKER_ID": worker,
		"FUNCTIONS_APP_ROOT_PATH": f.app.root, "FUNCTIONS_WORKER_RUNTIME": "custom", "FUNCTIONS_EXTENSION_VERSION": "~4",
		"AZURE_FUNCTIONS_ENVIRONMENT": "Production",
		"WEBSITE_SITE_NAME":           f.o.Name, "WEBSITE_HOSTNAME": f.o.Name + ".azurewebsites.net", "WEBSITE_INSTANCE_ID": randomHex(32),
	}, f.home), f.o.Env)
}

func (f *Functions) remark(format string, args ...any) {
	_, _ = fmt.Fprintf(f.o.Output, "[%s] host: %s\n", f.o.Name, fmt.Sprintf(format, args...))
}

// ServeHTTP is the app's URL.
func (f *Functions) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if f.preflight(w, r) {
		return
	}
	first, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	if strings.EqualFold(first, "admin") || strings.EqualFold(first, "runtime") {
		w.WriteHeader(http.StatusNotFound) // the host's own, whatever routes say
		return
	}
	fn, params, ok := f.app.find(r.Method, r.URL.Path)
	switch {
	case !ok:
		w.WriteHeader(http.StatusNotFound)
		return
	case !f.authorized(fn, r):
		w.WriteHeader(http.StatusUnauthorized)
		return
	case r.ContentLength > maxFunctionsRequest:
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		return
	}
	ctx, cancel := f.deadline(r.Context())
	defer cancel()
	s, err := f.worker.ready(ctx)
	if err != nil {
		http.Error(w, "Function host is not running.", http.StatusServiceUnavailable)
		return
	}
	r = r.WithContext(ctx)
	r.Body = http.MaxBytesReader(w, r.Body, maxFunctionsRequest)
	defer f.checkTimeout(ctx, fn, s)
	if f.app.proxying && fn.simpleHTTP() {
		f.proxy(w, r, s)
		return
	}
	f.serveEnvelope(w, r, httpInvocation{function: fn, params: params, server: s})
}

// deadline applies the function timeout.
func (f *Functions) deadline(ctx context.Context) (context.Context, context.CancelFunc) {
	if f.app.timeout == 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeoutCause(ctx, f.app.timeout, errFunctionTimeout)
}

// checkTimeout ends the handler if a function has overstayed, as the real host does. The platform then starts another.
func (f *Functions) checkTimeout(ctx context.Context, fn *function, s *server) {
	if errors.Is(context.Cause(ctx), errFunctionTimeout) {
		f.remark("function %s timed out after %s: restarting the handler", fn.name, f.app.timeout)
		f.worker.recycle(s)
	}
}

// preflight answers for the platform if it has been told the origins; the function then never sees such requests.
func (f *Functions) preflight(w http.ResponseWriter, r *http.Request) bool {
	if len(f.o.CORSOrigins) == 0 || r.Method != http.MethodOptions || r.Header.Get("Access-Control-Request-Method") == "" {
		return false
	}
	if origin := r.Header.Get("Origin"); slices.Contains(f.o.CORSOrigins, origin) || slices.Contains(f.o.CORSOrigins, "*") {
		w.Header().Set("Access-Control-Allow-Origin", origin)
		w.Header().Set("Access-Control-Allow-Methods", r.Header.Get("Access-Control-Request-Method"))
		w.Header().Set("Access-Control-Allow-Headers", r.Header.Get("Access-Control-Request-Headers"))
	}
	w.WriteHeader(http.StatusNoContent)
	return true
}

func (f *Functions) authorized(fn *function, r *http.Request) bool {
	key := cmp.Or(r.Header.Get("X-Functions-Key"), r.URL.Query().Get("code"))
	opens := func(with string) bool {
		return with != "" && subtle.ConstantTimeCompare([]byte(key), []byte(with)) == 1
	}
	switch fn.trigger.AuthLevel {
	case "anonymous":
		return true
	case "function":
		return opens(f.o.FunctionKey) || opens(f.o.MasterKey)
	default:
		return opens(f.o.MasterKey)
	}
}

// proxy passes the request on as it is, and the reply as it comes.
func (f *Functions) proxy(w http.ResponseWriter, r *http.Request, s *server) {
	invocation := newID()
	proxy := streamingProxy(f.transport, f.o.Output)
	proxy.ErrorHandler = f.proxyFailed
	proxy.Rewrite = func(p *httputil.ProxyRequest) {
		p.SetURL(s.url())
		p.Out.Host = p.In.Host
		for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host"} {
			p.Out.Header[name] = p.In.Header[name]
		}
		// The front end writes the client's port too, unlike everyone else.
		p.Out.Header.Set("X-Forwarded-For", strings.Join(append(p.In.Header["X-Forwarded-For"], p.In.RemoteAddr), ", "))
		p.Out.Header.Set("X-Forwarded-Proto", "https")
		p.Out.Header.Set("X-Azure-Functions-HostVersion", hostVersion)
		p.Out.Header.Set("X-Azure-Functions-InvocationId", invocation)
	}
	proxy.ServeHTTP(w, r)
}

// proxyFailed answers for a handler that did not. A reply that has begun is broken off instead, by the proxy.
func (f *Functions) proxyFailed(w http.ResponseWriter, r *http.Request, err error) {
	f.remark("%s %s: %v", r.Method, r.URL.Path, err)
	_, tooLarge := errors.AsType[*http.MaxBytesError](err)
	timeout, isNet := errors.AsType[net.Error](err)
	switch {
	case tooLarge:
		w.WriteHeader(http.StatusRequestEntityTooLarge)
	case errors.Is(err, errFunctionTimeout), isNet && timeout.Timeout():
		w.WriteHeader(http.StatusGatewayTimeout)
	default:
		w.WriteHeader(http.StatusBadGateway)
	}
}
