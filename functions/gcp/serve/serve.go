// Package serve is what the functions buildpack generates around a function: a
// program that serves it by the functions framework, and that finishes the
// requests under way before it ends.
//
// It must not know what the function does.
package serve

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
)

// Run serves a function at every path until the platform wants the instance to
// end.
func Run(function http.HandlerFunc) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	// The framework keeps the server that it makes to itself, but the requests
	// of that server know it.
	var server atomic.Pointer[http.Server]
	serve := func(w http.ResponseWriter, r *http.Request) {
		if s, ok := r.Context().Value(http.ServerContextKey).(*http.Server); ok {
			server.Store(s)
		}
		function(w, r)
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
