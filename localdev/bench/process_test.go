package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// process is a running server or function.
type process struct {
	cmd     *exec.Cmd
	address string // of a server
}

// start runs a program with these variables and no others but the machine's.
// Its output goes through a pipe, as on every platform, and is read by nobody.
func start(b *testing.B, path string, env map[string]string) *process {
	b.Helper()
	p := &process{cmd: exec.Command(path)}
	p.cmd.Dir = filepath.Dir(path)
	p.cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + p.cmd.Dir}
	for name, value := range env {
		p.cmd.Env = append(p.cmd.Env, name+"="+value)
	}
	// Not nil, which would be no pipe.
	p.cmd.Stdout, p.cmd.Stderr = io.Discard, io.Discard
	if err := p.cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(p.stop)
	return p
}

// stop may be called more than once.
func (p *process) stop() {
	if p.cmd.ProcessState == nil {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
	}
}

// serve runs a program that serves at an address, and returns when it listens.
func serve(b *testing.B, path, address string, env map[string]string) *process {
	b.Helper()
	p := start(b, path, env)
	p.address = address
	conn, err := dial(b.Context(), address)
	if err != nil {
		b.Fatalf("%s does not listen: %v", path, err)
	}
	_ = conn.Close()
	return p
}

func freeAddress(b *testing.B) string {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// dial connects as soon as somebody listens.
func dial(ctx context.Context, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err == nil || ctx.Err() != nil {
			return conn, err
		}
		time.Sleep(100 * time.Microsecond)
	}
}

// cpu returns the time that a running process has been on a CPU, in user and
// in kernel mode, to the nanosecond: the sum over its threads, of which a Go
// program ends none.
func (p *process) cpu(b *testing.B) time.Duration {
	b.Helper()
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", p.cmd.Process.Pid))
	if err != nil || len(threads) == 0 {
		b.Fatal("the CPU time of a process is read from /proc/<pid>/task/*/schedstat, which only Linux has")
	}
	var total time.Duration
	for _, thread := range threads {
		text, err := os.ReadFile(thread)
		if err != nil {
			b.Fatal(err)
		}
		first, _, _ := strings.Cut(string(text), " ")
		ns, err := strconv.ParseInt(first, 10, 64)
		if err != nil {
			b.Fatal(err)
		}
		total += time.Duration(ns)
	}
	return total
}

// peak returns the most memory that a running process has had resident, in
// bytes.
func (p *process) peak(b *testing.B) float64 {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "VmHWM:")
	var kib float64
	if _, err := fmt.Sscanf(rest, "%f kB", &kib); err != nil {
		b.Fatalf("read VmHWM: %v", err)
	}
	return kib * 1024
}

// listen serves a handler on a port of its own until the benchmark is over.
func listen(b *testing.B, h http.Handler) (address string) {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	server := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	b.Cleanup(func() { _ = server.Close() })
	go func() {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			b.Error(err)
		}
	}()
	return l.Addr().String()
}
