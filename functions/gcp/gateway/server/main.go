// Command server is the Google Cloud gateway function as a program: what the
// functions buildpack generates, for containers and for a local run, with a
// configuration that is checked before the port is opened and requests that
// are finished before the process ends.
package main

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/GoogleCloudPlatform/functions-framework-go/funcframework"

	"github.com/postern-ai/postern/functions/gcp/gateway"
)

func main() {
	if gateway.Check() != nil {
		os.Exit(1) // the log says why
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run serves until the platform wants the instance to end.
func run() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	var open sync.RWMutex // read-locked by each request
	serve := func(w http.ResponseWriter, r *http.Request) {
		open.RLock()
		defer open.RUnlock()
		gateway.Gateway(w, r)
	}
	if err := funcframework.RegisterHTTPFunctionContext(ctx, "/", serve); err != nil {
		return err
	}
	failed := make(chan error, 1)
	go func() {
		failed <- funcframework.StartHostPort(os.Getenv("LOCAL_HOST"), cmp.Or(os.Getenv("PORT"), "8080"))
	}()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	return drain(&open)
}

// grace is what Cloud Run leaves between SIGTERM and SIGKILL, less a little
// (Container runtime contract, "Shutdown behavior").
const grace = 9 * time.Second

// drain waits for the requests under way. The framework has no way to stop
// its server, but Cloud Run sends nothing new after SIGTERM.
func drain(open *sync.RWMutex) error {
	done := make(chan struct{})
	go func() {
		open.Lock()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-time.After(grace):
		return fmt.Errorf("requests were still open %v after SIGTERM", grace)
	}
}
