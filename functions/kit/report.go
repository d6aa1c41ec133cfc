package kit

import (
	"errors"
	"log/slog"

	"github.com/postern-ai/postern/shared/config"
	"github.com/postern-ai/postern/shared/release"
)

// Started logs, once per instance, that a function is ready and what it was
// built from: the log is where its operators see that on every cloud. No answer
// to a caller says it.
func Started(log *slog.Logger) { released(log).Info("the function has started") }

// Report logs why a function cannot start: one line per problem of its
// document, or the error. A document may just be newer than the function, which
// each line says the release of.
func Report(log *slog.Logger, err error) {
	log = released(log)
	problems, ok := errors.AsType[*config.Problems](err)
	if !ok {
		log.Error("the function cannot start", slog.String("error", err.Error()))
		return
	}
	for _, p := range problems.List {
		log.Error("the configuration is not valid",
			slog.String("path", p.Path), slog.Int("line", p.Line), slog.String("value", p.Value),
			slog.String("problem", p.Message), slog.String("remedy", p.Remedy))
	}
}

// released has each line say what the function was built from.
func released(log *slog.Logger) *slog.Logger {
	return log.With(slog.String("version", release.Version), slog.String("commit", release.Commit))
}
