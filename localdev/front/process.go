package front

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"syscall"
	"time"
)

// command is a child to be started.
type command struct {
	path   string
	args   []string
	dir    string
	env    []string
	output *lines
}

// process is a running child, with everything that it starts itself: signals go to its whole process group.
type process struct {
	cmd *exec.Cmd
	// done is closed when the child has ended and all its output is forwarded.
	done chan struct{}
	// err is how it ended; to be read after done.
	err error
}

func start(c command) (*process, error) {
	p := &process{cmd: exec.Command(c.path, c.args...), done: make(chan struct{})}
	p.cmd.Dir, p.cmd.Env = c.dir, c.env
	p.cmd.Stdout, p.cmd.Stderr = c.output, c.output
	p.cmd.SysProcAttr = attributes()
	// A grandchild that keeps the output open may not keep the front waiting.
	p.cmd.WaitDelay = time.Second
	started := make(chan error, 1)
	go func() {
		// On Linux the child dies with the thread that started it, so that thread has to live as long.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err != nil {
			return
		}
		p.err = p.cmd.Wait()
		c.output.flush()
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", c.path, err)
	}
	return p, nil
}

// signal reaches the process group; a child that has ended is no error.
func (p *process) signal(s syscall.Signal) {
	select {
	case <-p.done:
	default:
		_ = syscall.Kill(-p.cmd.Process.Pid, s)
	}
}

// stop asks with SIGTERM, kills after the grace period, and returns when the child has ended.
func (p *process) stop(grace time.Duration) {
	p.signal(syscall.SIGTERM)
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-p.done:
	case <-timer.C:
		p.kill()
	}
}

func (p *process) kill() {
	p.signal(syscall.SIGKILL)
	<-p.done
}

// ending describes how the child ended; to be called after done.
func (p *process) ending() string {
	if p.err == nil {
		return "exit status 0"
	}
	return p.err.Error()
}

// environment merges what the platform sets with what the function's owner sets, who may not touch the platform's.
func environment(platform, owner map[string]string) ([]string, error) {
	env := maps.Clone(platform)
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(owner)) {
		if _, taken := platform[name]; taken {
			errs = append(errs, fmt.Errorf("environment variable %s belongs to the platform: leave it out", name))
		}
		env[name] = owner[name]
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	list := make([]string, 0, len(env))
	for _, name := range slices.Sorted(maps.Keys(env)) {
		list = append(list, name+"="+env[name])
	}
	return list, nil
}

// machine adds what a process on this machine needs, and no more. Its home is an empty directory: without any, SDKs look
// the user's up and find the developer's own credentials there.
func machine(env map[string]string, home string) map[string]string {
	env["HOME"] = home
	if _, ok := env["PATH"]; !ok {
		env["PATH"] = os.Getenv("PATH")
	}
	if dir, ok := os.LookupEnv("TMPDIR"); ok {
		env["TMPDIR"] = dir
	}
	return env
}

func newHome() (string, error) {
	home, err := os.MkdirTemp("", "front-home-")
	if err != nil {
		return "", fmt.Errorf("home directory of the function: %w", err)
	}
	return home, nil
}

// maxLine is the longest line in bytes that is forwarded in one piece.
const maxLine = 64 << 10

// lines forwards a child's output line by line, each with a prefix and in one Write, so that the lines of several
// children can share a terminal. It belongs to one child, whose output is written to it by one goroutine.
type lines struct {
	prefix  string
	to      io.Writer
	pending []byte
}

func (l *lines) Write(p []byte) (int, error) {
	for _, line := range bytes.SplitAfter(p, []byte("\n")) {
		l.pending = append(l.pending, line...)
		if len(l.pending) >= maxLine || bytes.HasSuffix(line, []byte("\n")) {
			l.flush()
		}
	}
	return len(p), nil
}

// flush forwards an unfinished line. An empty one, as the functions framework prints behind each request, is no log entry
// anywhere. A terminal that is gone is no reason to stop the child.
func (l *lines) flush() {
	if text := bytes.TrimRight(l.pending, "\r\n"); len(text) > 0 {
		_, _ = fmt.Fprintf(l.to, "%s%s\n", l.prefix, text)
	}
	l.pending = l.pending[:0]
}
