package kit

import (
	"io"
	"log/slog"
	"strings"

	"github.com/postern-ai/postern/shared/config"
)

// NewLog returns the logger of a function: JSON lines with the member names by
// which the cloud's own log service finds a line's time, severity and text
// (Lambda: "JSON and plain text log formats"; Cloud Logging: "Structured
// logging"). Level is debug, info, warn or error; anything else means info.
func NewLog(cloud config.Cloud, level string, w io.Writer) *slog.Logger {
	names := map[string]string{}
	switch cloud {
	case config.AWS:
		names[slog.TimeKey] = "timestamp"
	case config.GCP:
		names[slog.LevelKey], names[slog.MessageKey] = "severity", "message"
	}
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{
		Level: parseLevel(level),
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			if name := names[a.Key]; name != "" && len(groups) == 0 {
				a.Key = name
			}
			if cloud == config.GCP && a.Key == "severity" && a.Value.String() == slog.LevelWarn.String() {
				a.Value = slog.StringValue("WARNING")
			}
			return a
		},
	}))
}

func parseLevel(s string) slog.Level {
	switch strings.ToLower(s) {
	case "debug", "trace":
		return slog.LevelDebug
	case "warn", "warning":
		return slog.LevelWarn
	case "error", "fatal":
		return slog.LevelError
	}
	return slog.LevelInfo
}
