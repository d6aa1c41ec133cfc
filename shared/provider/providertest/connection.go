package providertest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/postern-ai/postern/shared/chat"
)

func refuse(context.Context, string, string) (net.Conn, error) {
	return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
}

// connections tests that nothing is left behind: a gateway that leaks one
// connection per impatient caller ends badly.
func (h Harness) connections(t *testing.T) {
	endless := `{"messages":[{"role":"user","content":"#long(20000)"}]}`
	start := func(t *testing.T, u *upstream, ctx context.Context) func(func(*chat.Chunk, error) bool) {
		req := h.request(t, endless)
		req.Stream = true
		stream, err := u.Stream(ctx, req)
		if err != nil {
			t.Fatal(err)
		}
		return stream
	}
	t.Run("a consumer that stops lets go", func(t *testing.T) {
		t.Parallel()
		u := h.upstream(t, h.Service)
		for _, err := range start(t, u, t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			break
		}
		u.idle(t)
	})
	t.Run("a cancelled stream ends with an error and lets go", func(t *testing.T) {
		t.Parallel()
		u := h.upstream(t, h.Service)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var last error
		for _, err := range start(t, u, ctx) {
			last = err
			cancel()
		}
		checkError(t, h, last, h.want("cancelled stream", h.wantCancelled()))
		u.idle(t)
	})
	t.Run("a cancelled request ends with an error and lets go", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		u := h.upstream(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			cancel()
			hang(w, r)
		}))
		_, err := u.Chat(ctx, h.failing(t, false))
		checkError(t, h, err, h.want("cancelled request", h.wantCancelled()))
		u.idle(t)
	})
	t.Run("one connection serves one answer after another", func(t *testing.T) {
		t.Parallel()
		u := h.upstream(t, h.Service)
		for range 4 {
			h.ask(t, u, `{"messages":[{"role":"user","content":"hello"}]}`)
		}
		for range 4 {
			req := h.request(t, `{"messages":[{"role":"user","content":"hello"}]}`)
			req.Stream = true
			if _, err := u.text(t.Context(), req); err != nil {
				t.Fatal(err)
			}
		}
		if n := u.open.Load(); n != 1 {
			t.Errorf("%d connections are open, want 1: a body was not read to its end", n)
		}
	})
}

func (h Harness) wantCancelled() Want {
	return h.serverError(499, "client_closed_request", "The caller went away.")
}

// concurrency asks many things at once and looks for answers that got mixed
// up.
func (h Harness) concurrency(t *testing.T) {
	u := h.upstream(t, h.Service)
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			for j := range 6 {
				word := fmt.Sprintf("word-%d-%d-", i, j)
				req := h.request(t, fmt.Sprintf(`{"messages":[{"role":"user","content":%q}]}`, "repeat "+word))
				req.Stream = j%2 == 0
				text, err := u.text(t.Context(), req)
				if err != nil || !strings.Contains(text, word) {
					t.Errorf("asked for %s, got %q and %v", word, text, err)
				}
			}
		})
	}
	group.Wait()
}

// text returns the text of an answer, asked for as the request says.
func (u *upstream) text(ctx context.Context, req *chat.Request) (string, error) {
	if !req.Stream {
		resp, err := u.Chat(ctx, req)
		if err != nil {
			return "", err
		}
		if len(resp.Choices) == 0 || resp.Choices[0].Message.Content == nil {
			return "", errors.New("the answer has no text")
		}
		return *resp.Choices[0].Message.Content, nil
	}
	stream, err := u.Stream(ctx, req)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for chunk, err := range stream {
		if err != nil {
			return b.String(), err
		}
		for _, c := range chunk.Choices {
			if c.Delta.Content != nil {
				b.WriteString(*c.Delta.Content)
			}
		}
	}
	return b.String(), nil
}
