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
	"sync/atomic"
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
	// The framework keeps the server that it makes to itself, but the requests
	// of that server know it.
	var server atomic.Pointer[http.Server]
	serve := func(w http.ResponseWriter, r *http.Request) {
		if s, ok := r.Context().Value(http.ServerContextKey).(*http.Server); ok {
			server.Store(s)
		}
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
	return drain(server.Load())
}

// grace is what Cloud Run leaves between SIGTERM and SIGKILL, less a little
// (Container runtime contract, "Shutdown behavior").
const grace = 9 * time.Second

// drain waits for the requests under way, until their answers are on the wire.
// A server that has had no request yet has none to wait for.
func drain(server *http.Server) error {
	if server == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		return fmt.Errorf("requests were still open %v after SIGTERM", grace)
	}
	return nil
}
