// Package gateway is the Google Cloud gateway function. [Gateway] is the entry
// point that the functions framework serves; the command server below it is
// the same in a program of its own.
package gateway

import (
	"context"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"

	"github.com/postern-ai/postern/functions/gcp/account"
	"github.com/postern-ai/postern/functions/kit"
	"github.com/postern-ai/postern/shared/audit"
	"github.com/postern-ai/postern/shared/caller"
	"github.com/postern-ai/postern/shared/chat"
	"github.com/postern-ai/postern/shared/config"
	"github.com/postern-ai/postern/shared/secrets"
)

// Gateway serves one request. Its first call builds the gateway; a document
// that does not load is logged then and answered with 500, unless [Check] has
// found it before.
func Gateway(w http.ResponseWriter, r *http.Request) {
	h, err := built()
	if err != nil {
		e := chat.Error{
			Status: http.StatusInternalServerError, Type: chat.TypeServer, Code: "invalid_configuration",
			Message: "The gateway's configuration is not valid. Its operator finds the problems in the function's log.",
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(e.Status)
		_, _ = w.Write(e.Body())
		return
	}
	h.ServeHTTP(w, r)
}

// Check builds the gateway and returns what is wrong with its configuration.
// It opens no connection.
func Check() error {
	_, err := built()
	return err
}

// built is the one thing of the package that is kept between requests: the
// framework calls a plain function, which has nowhere else to keep it.
var built = sync.OnceValues(func() (http.Handler, error) {
	kit.Roots()
	log := slog.New(traced{kit.NewLog(config.GCP, os.Getenv("POSTERN_LOG_LEVEL"), os.Stdout).Handler()})
	h, err := handler(os.Getenv, log)
	if err != nil {
		kit.Report(log, err)
		return nil, err
	}
	return withTrace(h, os.Getenv("GOOGLE_CLOUD_PROJECT")), nil
})

// handler is the whole wiring of the function.
func handler(getenv func(string) string, log *slog.Logger) (http.Handler, error) {
	store := newStore(getenv)
	events, err := account.Events(getenv, audit.NewLines(os.Stdout))
	if err != nil {
		return nil, err
	}
	return kit.Kit{
		Cloud:    config.GCP,
		Getenv:   getenv,
		Log:      log,
		Audit:    events,
		Platform: caller.CloudRunInvoker(),
		Secrets: secrets.Stores{
			secrets.StoreEnv:  secrets.Environment{},
			secrets.StoreFile: secrets.Files{},
			secrets.StoreGCP:  store,
			secrets.StoreOwn:  store,
		},
	}.Gateway()
}

type traceKey struct{}

// withTrace keeps the trace that Cloud Run began, for the log line.
func withTrace(next http.Handler, project string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		trace, _, _ := strings.Cut(r.Header.Get("X-Cloud-Trace-Context"), "/")
		if isHex(trace) {
			name := trace
			if project != "" {
				name = "projects/" + project + "/traces/" + trace
			}
			r = r.WithContext(context.WithValue(r.Context(), traceKey{}, name))
		}
		next.ServeHTTP(w, r)
	})
}

func isHex(s string) bool {
	return len(s) == 32 && strings.Trim(s, "0123456789abcdef") == ""
}

// traced writes the trace where Cloud Logging looks for it, so that a line
// stands under the request that it belongs to.
type traced struct{ slog.Handler }

func (t traced) Handle(ctx context.Context, r slog.Record) error {
	if trace, ok := ctx.Value(traceKey{}).(string); ok {
		r.AddAttrs(slog.String("logging.googleapis.com/trace", trace))
	}
	return t.Handler.Handle(ctx, r)
}

func (t traced) WithAttrs(attrs []slog.Attr) slog.Handler { return traced{t.Handler.WithAttrs(attrs)} }
func (t traced) WithGroup(name string) slog.Handler       { return traced{t.Handler.WithGroup(name)} }
