package vertex_test

import (
	"io"
	"os"
	"strings"
	"testing"

	"github.com/postern-ai/postern/shared/sse"
)

func writeFile(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func newReader(events string) *sse.Reader { return sse.NewReader(strings.NewReader(events), 0) }

func readCloser(text string) io.ReadCloser { return io.NopCloser(strings.NewReader(text)) }
