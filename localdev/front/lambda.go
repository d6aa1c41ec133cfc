package front

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// InvokeMode is the invoke mode of a Lambda function URL.
type InvokeMode string

const (
	// ResponseStream passes a reply on while the function still produces it.
	ResponseStream InvokeMode = "RESPONSE_STREAM"
	// BufferedReply passes a reply on when it is complete.
	BufferedReply InvokeMode = "BUFFERED"
)

// ErrThrottled is the refusal of an invocation for which there is no instance left.
var ErrThrottled = errors.New("rate exceeded: every instance of the function is busy")

var errClosed = errors.New("the front is closed")

// LambdaOptions describe a function and its URL.
type LambdaOptions struct {
	// Binary is the path of the executable that is deployed as bootstrap. It is the only required option.
	Binary string
	// Name is the function's name, "function" by default; Region and AccountID default to us-east-1 and twelve zeros.
	Name, Region, AccountID string
	// Env is what the function's configuration and its role provide: settings, credentials, endpoints. A variable that
	// Lambda sets itself may not be among them.
	Env map[string]string
	// InvokeMode is the URL's; ResponseStream by default.
	InvokeMode InvokeMode
	// Authorize stands for authorization type AWS_IAM: it returns who signed the request, or an error for status 403.
	// The Authorization header is then not passed on. Nil is authorization type NONE.
	Authorize func(*http.Request) (IAMIdentity, error)
	// Timeout ends an invocation together with its instance, after 3 s by default as in Lambda.
	Timeout time.Duration
	// InitTimeout is how long a new instance may take to ask for its first event, 10 s by default as in Lambda.
	InitTimeout time.Duration
	// MaxInstances is the concurrency limit, 10 by default. A request beyond it is answered with 429.
	MaxInstances int
	// MemoryMB is what the function is told to have, 512 by default. Nothing limits it.
	MemoryMB int
	// Listener is where the URL is served; nil to use the front as a handler only. The front closes it.
	Listener net.Listener
	// Output receives the function's output and the platform's remarks, line by line. It must be safe for concurrent
	// use, as os.Stderr is. Nil discards them.
	Output io.Writer
}

// IAMIdentity is the caller that AWS has verified, as an event tells it to the function.
type IAMIdentity struct {
	AccessKey string `json:"accessKey"`
	AccountID string `json:"accountId"`
	CallerID  string `json:"callerId"`
	UserARN   string `json:"userArn"`
	UserID    string `json:"userId"`
}

// Lambda is a function with a URL. Instances are started on demand, serve one invocation at a time, are reused, and are
// frozen with SIGSTOP while they have nothing to do. It is safe for concurrent use.
type Lambda struct {
	o    LambdaOptions
	home string
	life *lifetime

	mu        sync.Mutex
	closed    bool
	started   int
	instances []*instance
}

// StartLambda begins to serve the function until Close is called or ctx ends. No instance is started before the first
// request.
func StartLambda(ctx context.Context, o LambdaOptions) (*Lambda, error) {
	path, err := executable(o.Binary)
	if err != nil {
		return nil, err
	}
	o.Binary = path
	o.Name, o.Region = cmp.Or(o.Name, "function"), cmp.Or(o.Region, "us-east-1")
	o.AccountID = cmp.Or(o.AccountID, "000000000000")
	o.InvokeMode = cmp.Or(o.InvokeMode, ResponseStream)
	o.Timeout, o.InitTimeout = cmp.Or(o.Timeout, 3*time.Second), cmp.Or(o.InitTimeout, 10*time.Second)
	o.MaxInstances, o.MemoryMB = cmp.Or(o.MaxInstances, 10), cmp.Or(o.MemoryMB, 512)
	if o.Output == nil {
		o.Output = io.Discard
	}
	l := &Lambda{o: o}
	if _, err := l.environment(""); err != nil {
		return nil, err
	}
	if l.home, err = newHome(); err != nil {
		return nil, err
	}
	shut := door(o.Listener, l, o.Output)
	l.life = newLifetime(ctx, func() {
		instances := l.drain()
		shut()
		var stopping sync.WaitGroup
		for _, i := range instances {
			stopping.Go(i.shutdown)
		}
		stopping.Wait()
		_ = os.RemoveAll(l.home)
	})
	return l, nil
}

// Close stops serving and ends every instance: with SIGTERM first for those that registered an extension, as in Lambda.
// It returns when they have ended. It may be called more than once.
func (l *Lambda) Close() error {
	l.life.close()
	return nil
}

// executable checks early what would otherwise fail at the first request.
func executable(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("function binary: %w", err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("function binary: %w: build it first", err)
	}
	if !info.Mode().IsRegular() || info.Mode()&0o111 == 0 {
		return "", fmt.Errorf("function binary %s is not an executable file", path)
	}
	return path, nil
}

// Invoke calls the function with an event, like the Invoke API with invocation type RequestResponse. The function error
// is empty if the function succeeded, and "Unhandled" if it failed; the response then tells how. An error means that the
// function was not called or not waited for: ErrThrottled, an event that Lambda would not take, or the end of ctx, which
// the invocation itself outlives.
func (l *Lambda) Invoke(ctx context.Context, payload []byte) (response []byte, functionError string, err error) {
	if !json.Valid(payload) {
		return nil, "", errors.New("the event is not JSON")
	}
	if len(payload) > maxEvent {
		return nil, "", fmt.Errorf("the event is larger than %d bytes", maxEvent)
	}
	type outcome struct {
		response []byte
		failed   bool
		err      error
	}
	done := make(chan outcome, 1)
	go func() {
		inv := newInvocation(payload)
		if err := l.dispatch(inv); err != nil {
			done <- outcome{err: err}
			return
		}
		response, failed := inv.collect()
		done <- outcome{response: response, failed: failed}
	}()
	select {
	case <-ctx.Done():
		return nil, "", ctx.Err()
	case o := <-done:
		if o.failed {
			functionError = "Unhandled"
		}
		return o.response, functionError, o.err
	}
}

// dispatch gives the invocation to an instance that has nothing else to do.
func (l *Lambda) dispatch(inv *invocation) error {
	for {
		i, fresh, err := l.acquire()
		if err != nil {
			return err
		}
		if fresh {
			i.start()
		}
		inv.instance = i
		select {
		case i.work <- inv:
			return nil
		case <-i.dead:
			// An instance that died between two invocations is nobody's error; a new one that never got ready is.
			if fresh {
				inv.fail(i.startFailure())
				return nil
			}
		}
	}
}

// acquire claims an instance: one that is free, or about to be, or else a new one.
func (l *Lambda) acquire() (i *instance, fresh bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, false, errClosed
	}
	alive := 0
	for _, i := range l.instances {
		if !i.claimed {
			i.claimed = true
			return i, false, nil
		}
		if !i.doomed {
			alive++
		}
	}
	if alive >= l.o.MaxInstances {
		return nil, false, ErrThrottled
	}
	l.started++
	i = newInstance(l, l.started)
	i.claimed = true
	l.instances = append(l.instances, i)
	return i, true, nil
}

// release makes the instance of a finished invocation free for the next, once.
func (l *Lambda) release(inv *invocation) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !inv.released {
		inv.released, inv.instance.claimed, inv.instance.doomed = true, false, false
	}
}

// doom takes the instance of a failed invocation out of the count.
func (l *Lambda) doom(inv *invocation) {
	l.mu.Lock()
	defer l.mu.Unlock()
	inv.instance.doomed = true
}

func (l *Lambda) remove(i *instance) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.instances = slices.DeleteFunc(l.instances, func(other *instance) bool { return other == i })
}

// drain refuses new work and returns the instances that have to be ended.
func (l *Lambda) drain() []*instance {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	return slices.Clone(l.instances)
}

func (l *Lambda) arn() string {
	return "arn:aws:lambda:" + l.o.Region + ":" + l.o.AccountID + ":function:" + l.o.Name
}

// environment is what Lambda itself sets for an OS-only runtime, and the owner's variables:
// https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html
func (l *Lambda) environment(runtimeAPI string) ([]string, error) {
	return environment(machine(map[string]string{
		"AWS_LAMBDA_RUNTIME_API":          runtimeAPI,
		"AWS_REGION":                      l.o.Region,
		"AWS_DEFAULT_REGION":              l.o.Region,
		"AWS_LAMBDA_FUNCTION_NAME":        l.o.Name,
		"AWS_LAMBDA_FUNCTION_VERSION":     "$LATEST",
		"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": fmt.Sprint(l.o.MemoryMB),
		"AWS_LAMBDA_INITIALIZATION_TYPE":  "on-demand",
		"AWS_LAMBDA_LOG_GROUP_NAME":       "/aws/lambda/" + l.o.Name,
		"AWS_LAMBDA_LOG_STREAM_NAME":      time.Now().UTC().Format("2006/01/02/") + "[$LATEST]" + randomHex(16),
		"_HANDLER":                        "bootstrap",
		"LAMBDA_TASK_ROOT":                filepath.Dir(l.o.Binary),
		"LAMBDA_RUNTIME_DIR":              "/var/runtime",
		"LANG":                            "en_US.UTF-8",
		"TZ":                              ":UTC",
		"PATH":                            "/usr/local/bin:/usr/bin/:/bin:/opt/bin",
	}, l.home), l.o.Env)
}
