package kit

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/postern-ai/postern/shared/config"
	"github.com/postern-ai/postern/shared/release"
)

func TestWhyAFunctionCannotStartIsToldWithItsRelease(t *testing.T) {
	t.Parallel()
	_, newer := config.Load([]byte("platform_callers: true\nupstreams: [{provider: vertex, warp: 1}, {provider: openai, auth_type: api_key}]\n"))
	for name, err := range map[string]error{"a document of a later release": newer, "an error": errors.New("no")} {
		var log bytes.Buffer
		Report(slog.New(slog.NewJSONHandler(&log, nil)), err)
		lines, stamped := strings.Count(log.String(), "\n"), strings.Count(log.String(), `"version":"`+release.Version+`","commit":"`+release.Commit+`"`)
		if lines == 0 || stamped != lines {
			t.Errorf("%s: %d of %d lines say the release: %s", name, stamped, lines, log.String())
		}
	}
}
