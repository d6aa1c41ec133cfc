package front

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

const (
	// maxCloudRunRequest is the largest body in bytes of an HTTP/1 request.
	maxCloudRunRequest = 32 << 20
	// cloudRunGrace is what Cloud Run leaves between SIGTERM and SIGKILL.
	cloudRunGrace = 10 * time.Second
)

// CloudRunOptions describe a Cloud Run service, such as a function is deployed as.
type CloudRunOptions struct {
	// Binary is the path of the executable. It is the only required option.
	Binary string
	// Service is the service's name, "function" by default.
	Service string
	// Target is the name of the function that the binary shall serve; empty for a binary that is no function.
	Target string
	// Env is what the service's configuration provides. A variable that Cloud Run sets itself may not be among them.
	Env map[string]string
	// Timeout is the request timeout in whole seconds, 300 s by default as in Cloud Run.
	Timeout time.Duration
	// StartTimeout is how long a new instance may take to listen, 240 s by default as in Cloud Run.
	StartTimeout time.Duration
	// Listener is where the service is served; nil to use the front as a handler only. The front closes it.
	Listener net.Listener
	// Output receives the function's output, line by line. It must be safe for concurrent use, as os.Stderr is. Nil
	// discards it.
	Output io.Writer
}

// CloudRun is a service with one instance, which serves any number of requests at the same time. An instance that has
// crashed is replaced when the next request comes. It is safe for concurrent use.
type CloudRun struct {
	o    CloudRunOptions
	home string
	life *lifetime
	// cancel ends the wait for an instance that is not ready yet.
	cancel    context.CancelFunc
	launch    func() (*server, error)
	transport *http.Transport

	mu       sync.Mutex
	closed   bool
	instance *server
}

// StartCloudRun starts the service and returns when its instance is ready. It serves until Close is called or ctx ends.
func StartCloudRun(ctx context.Context, o CloudRunOptions) (*CloudRun, error) {
	path, err := executable(o.Binary)
	if err != nil {
		return nil, err
	}
	o.Binary = path
	o.Service = cmp.Or(o.Service, "function")
	o.Timeout, o.StartTimeout = cmp.Or(o.Timeout, 300*time.Second), cmp.Or(o.StartTimeout, 240*time.Second)
	if o.Output == nil {
		o.Output = io.Discard
	}
	c := &CloudRun{o: o, transport: loopback()}
	if c.home, err = newHome(); err != nil {
		return nil, err
	}
	starting, cancel := context.WithCancel(context.WithoutCancel(ctx))
	c.cancel = cancel
	c.launch = func() (*server, error) { return c.start(starting) }
	if _, err := c.ready(); err != nil {
		cancel()
		return nil, errors.Join(err, os.RemoveAll(c.home))
	}
	shut := door(o.Listener, c, o.Output)
	c.life = newLifetime(ctx, func() {
		shut()
		c.stop()
	})
	return c, nil
}

// Close stops serving, asks the instance to end with SIGTERM and kills it after ten seconds. It returns when it has
// ended. It may be called more than once.
func (c *CloudRun) Close() error {
	c.life.close()
	return nil
}

func (c *CloudRun) stop() {
	c.cancel()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	if c.instance != nil {
		c.instance.process.stop(cloudRunGrace)
	}
	c.transport.CloseIdleConnections()
	_ = os.RemoveAll(c.home)
}

// ready returns the running instance, and starts one if there is none.
func (c *CloudRun) ready() (*server, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, errClosed
	}
	if c.instance == nil || c.instance.ended() {
		instance, err := c.launch()
		if err != nil {
			return nil, err
		}
		c.instance = instance
	}
	return c.instance, nil
}

func (c *CloudRun) start(ctx context.Context) (*server, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	env, err := c.environment(port)
	if err != nil {
		return nil, err
	}
	p, err := start(command{
		path: c.o.Binary, dir: filepath.Dir(c.o.Binary), env: env, output: &lines{prefix: "[" + c.o.Service + "] ", to: c.o.Output},
	})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, c.o.StartTimeout)
	defer cancel()
	s := &server{process: p, address: fmt.Sprintf("127.0.0.1:%d", port)}
	if err := s.await(ctx, 5*time.Millisecond, s.connect); err != nil {
		p.kill()
		return nil, err
	}
	return s, nil
}

// environment is what Cloud Run and its function runtime set, and the owner's variables:
// https://cloud.google.com/run/docs/container-contract#env-vars
func (c *CloudRun) environment(port int) ([]string, error) {
	platform := map[string]string{
		"PORT": fmt.Sprint(port), "K_SERVICE": c.o.Service, "K_REVISION": c.o.Service + "-00001-loc", "K_CONFIGURATION": c.o.Service,
		"CLOUD_RUN_TIMEOUT_SECONDS": fmt.Sprint(int(c.o.Timeout.Seconds())),
	}
	if c.o.Target != "" {
		platform["FUNCTION_TARGET"], platform["FUNCTION_SIGNATURE_TYPE"] = c.o.Target, "http"
	}
	return environment(machine(platform, c.home), c.o.Env)
}

// ServeHTTP is the service's URL.
func (c *CloudRun) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case reservedByCloudRun(r.URL.Path):
		// The function never sees it: https://cloud.google.com/run/docs/known-issues
		http.Error(w, "Error 404 (Not Found): the front end of Cloud Run keeps this path for itself", http.StatusNotFound)
		return
	case r.Method == http.MethodTrace || r.Method == http.MethodConnect:
		http.Error(w, "Error 405 (Method Not Allowed)", http.StatusMethodNotAllowed)
		return
	case r.ContentLength > maxCloudRunRequest:
		requestTooLarge(w)
		return
	}
	instance, err := c.ready()
	if err != nil {
		_, _ = fmt.Fprintf(c.o.Output, "[%s] platform: no instance: %v\n", c.o.Service, err)
		http.Error(w, "Service Unavailable", http.StatusServiceUnavailable)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), c.o.Timeout)
	defer cancel()
	r = r.WithContext(ctx)
	r.Body = http.MaxBytesReader(w, r.Body, maxCloudRunRequest)
	proxy := streamingProxy(c.transport, c.o.Output)
	proxy.Rewrite, proxy.ErrorHandler = func(p *httputil.ProxyRequest) { c.rewrite(p, instance) }, c.fail
	proxy.ServeHTTP(w, r)
}

// rewrite adds what the front end of Cloud Run adds. A client's own forwarding header is kept and extended, as there.
func (c *CloudRun) rewrite(p *httputil.ProxyRequest, instance *server) {
	p.SetURL(instance.url())
	p.Out.Host = p.In.Host
	p.Out.Header["X-Forwarded-For"] = p.In.Header["X-Forwarded-For"]
	p.SetXForwarded()
	p.Out.Header.Set("X-Forwarded-Proto", "https")
	p.Out.Header.Del("X-Forwarded-Host")
	p.Out.Header["Forwarded"] = p.In.Header["Forwarded"]
	if p.In.Header.Get("X-Cloud-Trace-Context") == "" {
		p.Out.Header.Set("X-Cloud-Trace-Context", randomHex(16)+"/"+fmt.Sprint(time.Now().UnixNano())+";o=1")
	}
}

// fail answers for an instance that did not. A reply that has begun is broken off instead, by the proxy.
func (c *CloudRun) fail(w http.ResponseWriter, r *http.Request, err error) {
	_, _ = fmt.Fprintf(c.o.Output, "[%s] platform: %s %s: %v\n", c.o.Service, r.Method, r.URL.Path, err)
	_, tooLarge := errors.AsType[*http.MaxBytesError](err)
	switch {
	case tooLarge:
		requestTooLarge(w)
	case errors.Is(err, context.DeadlineExceeded):
		http.Error(w, "upstream request timeout", http.StatusGatewayTimeout)
	default:
		http.Error(w, "The request failed because either the HTTP response was malformed or connection to the instance had an error.",
			http.StatusServiceUnavailable)
	}
}

func requestTooLarge(w http.ResponseWriter) {
	http.Error(w, "Error 413 (Request Entity Too Large)", http.StatusRequestEntityTooLarge)
}

func reservedByCloudRun(path string) bool {
	return path == "/eventlog" || path == "/healthz" || strings.HasPrefix(path, "/_ah/")
}
