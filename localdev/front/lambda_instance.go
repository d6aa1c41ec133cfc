package front

import (
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// termGrace is what Lambda leaves between SIGTERM and SIGKILL to a function with a registered extension.
const termGrace = 500 * time.Millisecond

// instance is one execution environment: a process and the Runtime API that belongs to it alone.
type instance struct {
	front  *Lambda
	number int
	// work hands an invocation to the process when it asks for one.
	work chan *invocation
	// dead is closed when the process has ended, or could not be started.
	dead chan struct{}

	// claimed and doomed are guarded by the mutex of the front. A doomed instance is about to end, and counts no more.
	claimed, doomed bool

	mu      sync.Mutex
	process *process
	closing bool
	// waiting is true while the runtime asks for an event; frozen, while the process is stopped.
	waiting, frozen bool
	// ready is true from the first time on that the runtime asked for an event.
	ready bool
	// ended is true once died has told everyone who could know.
	ended      bool
	extensions map[string]*extension
	current    *invocation
	// reason is why the front ended the process, or why it could not be started.
	reason *functionError
}

func newInstance(front *Lambda, number int) *instance {
	return &instance{
		front: front, number: number, work: make(chan *invocation), dead: make(chan struct{}), extensions: map[string]*extension{},
	}
}

// start runs the process. What goes wrong is told by dead and startFailure.
func (i *instance) start() {
	i.mu.Lock()
	defer i.mu.Unlock()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err == nil && i.closing {
		err = errors.Join(errClosed, listener.Close())
	}
	if err == nil {
		err = i.run(listener)
	}
	if err != nil {
		i.reason = newFunctionError("Runtime.InvalidEntrypoint", err.Error())
		i.front.remove(i)
		close(i.dead)
	}
}

func (i *instance) run(listener net.Listener) error {
	env, err := i.front.environment(listener.Addr().String())
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	p, err := start(command{
		path: i.front.o.Binary, dir: filepath.Dir(i.front.o.Binary), env: env,
		output: &lines{prefix: i.prefix(), to: i.front.o.Output},
	})
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	i.process = p
	shut := door(listener, i.runtimeAPI(), io.Discard)
	initTimer := time.AfterFunc(i.front.o.InitTimeout, i.initTimedOut)
	go func() {
		<-p.done
		initTimer.Stop()
		shut()
		i.died()
	}()
	return nil
}

// died tells everyone who counts on the process that it has ended.
func (i *instance) died() {
	i.front.remove(i)
	i.mu.Lock()
	defer i.mu.Unlock()
	i.ended = true
	if i.reason == nil {
		i.reason = newFunctionError("Runtime.ExitError", "Error: Runtime exited with error: "+i.process.ending())
	}
	if !i.closing {
		i.remark("the instance has ended: %s", i.process.ending())
	}
	if i.current != nil {
		i.current.fail(i.reason)
	}
	close(i.dead)
}

func (i *instance) startFailure() *functionError {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.reason
}

func (i *instance) initTimedOut() {
	i.mu.Lock()
	defer i.mu.Unlock()
	if !i.ready {
		i.reason = newFunctionError("Sandbox.Timedout", fmt.Sprintf("Error: Init timed out after %.2f seconds", i.front.o.InitTimeout.Seconds()))
		i.remark("%s", i.reason.Message)
		i.process.signal(syscall.SIGKILL)
	}
}

// begin makes the invocation the current one and thaws the process for it.
func (i *instance) begin(inv *invocation) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.ended {
		inv.fail(i.reason)
		return
	}
	i.waiting, i.current = false, inv
	if i.frozen {
		i.frozen = false
		i.process.signal(syscall.SIGCONT)
	}
	inv.deadline = time.Now().Add(i.front.o.Timeout)
	inv.timer = time.AfterFunc(i.front.o.Timeout, func() { i.timedOut(inv) })
}

// timedOut ends the whole environment, as Lambda does. The invocation lasts until the runtime asks for the next event,
// even if its reply is complete.
func (i *instance) timedOut(inv *invocation) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.current != inv {
		return
	}
	i.reason = newFunctionError("Sandbox.Timedout", fmt.Sprintf("RequestId: %s Error: Task timed out after %.2f seconds", inv.id, i.front.o.Timeout.Seconds()))
	i.remark("%s", i.reason.Message)
	inv.fail(i.reason)
	i.process.signal(syscall.SIGKILL)
}

// idle ends the current invocation, because the runtime asks for the next.
func (i *instance) idle() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.waiting, i.ready = true, true
	if i.current != nil {
		i.current.timer.Stop()
		i.front.release(i.current)
		i.current = nil
	}
}

// freeze stops the process if neither its runtime nor one of its extensions has anything left to do.
func (i *instance) freeze() {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, e := range i.extensions {
		if !e.waiting {
			return
		}
	}
	if i.waiting && !i.frozen && !i.closing {
		i.frozen = true
		i.process.signal(syscall.SIGSTOP)
	}
}

// shutdown ends the process.
func (i *instance) shutdown() {
	i.mu.Lock()
	i.closing = true
	p, graceful := i.process, len(i.extensions) > 0
	if p != nil && i.frozen {
		i.frozen = false
		p.signal(syscall.SIGCONT)
	}
	i.mu.Unlock()
	switch {
	case p == nil:
	case graceful:
		p.stop(termGrace)
		<-i.dead
	default:
		p.kill()
		<-i.dead
	}
}

func (i *instance) prefix() string {
	return fmt.Sprintf("[%s %d] ", i.front.o.Name, i.number)
}

// remark writes a line of the platform's own among the function's output.
func (i *instance) remark(format string, args ...any) {
	_, _ = fmt.Fprintf(i.front.o.Output, "%splatform: %s\n", i.prefix(), fmt.Sprintf(format, args...))
}
