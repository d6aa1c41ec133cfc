package front

import (
	"context"
	"fmt"
	"sync"
	"syscall"
	"time"
)

const (
	// maxWorkerErrors within workerErrorWindow are what the host puts up with.
	maxWorkerErrors   = 3
	workerErrorWindow = 30 * time.Minute
	// workerGrace is what the host leaves between SIGTERM and SIGKILL.
	workerGrace = 5 * time.Second
)

// worker keeps a handler process running, under the rules by which the host restarts it.
type worker struct {
	start  func(context.Context) (*server, error)
	remark func(format string, args ...any)
	cancel context.CancelFunc
	ended  chan struct{}

	mu      sync.Mutex
	stopped bool
	current *server
	// recycled is the server that is ended on purpose, which is no error.
	recycled *server
	// gaveUp is why the host is not running any more.
	gaveUp error
	// changed is closed, and replaced, whenever current or gaveUp changes.
	changed chan struct{}
}

func startWorker(start func(context.Context) (*server, error), remark func(string, ...any)) *worker {
	ctx, cancel := context.WithCancel(context.Background())
	w := &worker{start: start, remark: remark, cancel: cancel, ended: make(chan struct{}), changed: make(chan struct{})}
	go func() {
		defer close(w.ended)
		w.supervise(ctx)
	}()
	return w
}

// supervise starts the handler again and again, until it is stopped or has failed too often.
func (w *worker) supervise(ctx context.Context) {
	var failures []time.Time
	for {
		s, err := w.start(ctx)
		if err == nil {
			w.publish(s, nil)
			<-s.process.done
			err = fmt.Errorf("the function ended: %s", s.process.ending())
		}
		if ctx.Err() != nil {
			return
		}
		w.publish(nil, nil)
		if w.wasRecycled(s) {
			continue
		}
		now := time.Now()
		if n := len(failures); n > 0 && now.Sub(failures[n-1]) > workerErrorWindow {
			failures = nil
		}
		failures = append(failures, now)
		w.remark("%v (error %d of %d)", err, len(failures), maxWorkerErrors)
		if len(failures) >= maxWorkerErrors {
			w.publish(nil, fmt.Errorf("the host gave up after %d errors: %w", maxWorkerErrors, err))
			return
		}
	}
}

func (w *worker) publish(s *server, gaveUp error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.current, w.gaveUp = s, gaveUp
	if w.stopped && s != nil {
		go s.process.stop(workerGrace)
	}
	w.tell()
}

// tell wakes everyone who waits for a change. The mutex is held.
func (w *worker) tell() {
	close(w.changed)
	w.changed = make(chan struct{})
}

func (w *worker) wasRecycled(s *server) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return s != nil && w.recycled == s
}

// ready waits for a running handler.
func (w *worker) ready(ctx context.Context) (*server, error) {
	for {
		w.mu.Lock()
		s, gaveUp, changed, stopped := w.current, w.gaveUp, w.changed, w.stopped
		w.mu.Unlock()
		switch {
		case stopped:
			return nil, errClosed
		case gaveUp != nil:
			return nil, gaveUp
		case s != nil && !s.ended():
			return s, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// recycle ends the handler so that another takes its place.
func (w *worker) recycle(s *server) {
	w.mu.Lock()
	w.recycled = s
	w.mu.Unlock()
	s.process.signal(syscall.SIGKILL)
}

// stop ends the handler for good.
func (w *worker) stop() {
	w.cancel()
	w.mu.Lock()
	w.stopped = true
	s := w.current
	w.tell()
	w.mu.Unlock()
	if s != nil {
		s.process.stop(workerGrace)
	}
	<-w.ended
}
