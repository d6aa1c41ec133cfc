package vertex_test

import (
	"io"
	"strings"

	"github.com/postern-ai/postern/shared/sse"
)

func newReader(events string) *sse.Reader { return sse.NewReader(strings.NewReader(events), 0) }

func readCloser(text string) io.ReadCloser { return io.NopCloser(strings.NewReader(text)) }
