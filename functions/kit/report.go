package kit

import (
	"errors"
	"log/slog"

	"github.com/postern-ai/postern/shared/config"
)

// Report logs why a function cannot start: one line per problem of its
// document, or the error.
func Report(log *slog.Logger, err error) {
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
