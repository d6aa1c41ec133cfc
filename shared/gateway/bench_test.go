package gateway

import (
	"context"
	"io"
	"iter"
	"log/slog"
	"net/http"
	"testing"

	"github.com/postern-ai/postern/shared/chat"
	"github.com/postern-ai/postern/shared/config"
	"github.com/postern-ai/postern/shared/policy"
	"github.com/postern-ai/postern/shared/provider"
)

// nowhere is an answer that nobody reads.
type nowhere struct{ header http.Header }

func (n nowhere) Header() http.Header         { return n.header }
func (n nowhere) Write(p []byte) (int, error) { return len(p), nil }
func (n nowhere) WriteHeader(int)             {}

// BenchmarkRequest is the gateway's own work for one request, whose upstream answers at once.
func BenchmarkRequest(b *testing.B) {
	model := script{
		chat: func(context.Context, *chat.Request) (*chat.Response, error) { return answer("hello"), nil },
		stream: func(context.Context, *chat.Request) (iter.Seq2[*chat.Chunk, error], error) {
			return chunks(nil, delta("hel"), delta("lo"), usage()), nil
		},
	}
	d, err := config.Load([]byte(document))
	if err != nil {
		b.Fatal(err)
	}
	g, err := New(Options{
		Document: d, Models: map[string]provider.Model{"main": model}, Callers: callers{}, Policy: policy.Compile(d),
		Log: slog.New(slog.NewJSONHandler(io.Discard, nil)),
	})
	if err != nil {
		b.Fatal(err)
	}
	for _, c := range []struct{ name, body string }{{"whole", hello}, {"streamed", helloStream}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				g.ServeHTTP(nowhere{http.Header{}}, post(b.Context(), "alice", c.body))
			}
		})
	}
}
