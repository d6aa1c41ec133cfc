package gateway

import (
	"context"
	"encoding/json"
	"iter"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postern-ai/postern/shared/chat"
	"github.com/postern-ai/postern/shared/config"
	"github.com/postern-ai/postern/shared/provider"
)

// TestAnAnswerThatHasBegunIsNeverContinuedByAnother has streams that fail at
// each point.
func TestAnAnswerThatHasBegunIsNeverContinuedByAnother(t *testing.T) {
	t.Parallel()
	broken := string(provider.Fault(503, "Amazon Bedrock", "").Body())
	late := string(provider.Unreached("The upstream", context.DeadlineExceeded).Body())
	for _, c := range []struct {
		name   string
		acts   map[string]act
		status int
		header string
		want   []string // [DONE] and words, comments and errors as they are
		took   time.Duration
	}{
		{"a stream that breaks after a word", map[string]act{"vendor.large-v1": breaks("a"), "gemini": says("b")}, 200, "", []string{"a", broken}, 0},
		{"that of a fallback too", map[string]act{"vendor.large-v1": answered(503), "gemini": breaks("b"), "llama": says("c")}, 200, "backup", []string{"b", broken}, 0},
		{"one that has no more time", map[string]act{"vendor.large-v1": answered(503).after(time.Second), "gemini": {words: []string{"b"}, gap: time.Hour}, "llama": says("c")},
			200, "backup", []string{"b", ": keep-alive", ": keep-alive", ": keep-alive", late}, 60 * time.Second},
		{"one that fails before its first word", map[string]act{"vendor.large-v1": breaks(), "gemini": breaks(), "llama": says("c")}, 200, "spare", []string{"c", "[DONE]"}, 0},
		{"comments are nothing of an answer", map[string]act{"vendor.large-v1": {silence: 20 * time.Second, broken: provider.Fault(503, "Amazon Bedrock", "")}, "gemini": says("b")},
			200, "", []string{": keep-alive", "b", "[DONE]"}, 20 * time.Second},
		{"nor is the refusal that comes after them another's", map[string]act{"vendor.large-v1": {silence: 20 * time.Second, broken: provider.Fault(503, "Amazon Bedrock", "")}, "gemini": answered(500), "llama": answered(500)},
			200, "", []string{": keep-alive", broken}, 20 * time.Second},
		{"the status is settled as late as for one model", map[string]act{"vendor.large-v1": answered(503).after(20 * time.Second), "gemini": answered(500).after(15 * time.Second), "llama": says("c").after(5 * time.Second)},
			200, "spare", []string{"c", "[DONE]"}, 40 * time.Second},
		{"also after a model that had accepted the request", map[string]act{"vendor.large-v1": {silence: 14 * time.Second, broken: provider.Fault(503, "Amazon Bedrock", "")}, "gemini": says("b").after(20 * time.Second)},
			200, "backup", []string{"b", "[DONE]"}, 34 * time.Second},
		{"and no later", map[string]act{"vendor.large-v1": answered(503).after(20 * time.Second), "gemini": answered(500).after(19 * time.Second), "llama": says("c").after(10 * time.Second)},
			200, "", []string{": keep-alive", "c", "[DONE]"}, 49 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := play(t, c.acts, nil)
				start := time.Now()
				rec := p.ask(t.Context(), "bob", helloStream)
				if took := time.Since(start); took != c.took {
					t.Errorf("took %s, want %s", took, c.took)
				}
				var got []string
				for _, event := range events(rec.Body.String()) {
					var chunk chat.Chunk
					if json.Unmarshal([]byte(event), &chunk) == nil && len(chunk.Choices) > 0 {
						event = *chunk.Choices[0].Delta.Content
					}
					got = append(got, event)
				}
				if d := cmp.Diff(c.want, got); d != "" {
					t.Error(d)
				}
				if rec.Code != c.status || rec.Header().Get("X-Fallback-Model") != c.header {
					t.Errorf("status %d, headers %v", rec.Code, rec.Header())
				}
			})
		})
	}
}

// TestEachProviderSaysForItselfWhenItWaits: events of one that does not are
// not held back because the one before did.
func TestEachProviderSaysForItselfWhenItWaits(t *testing.T) {
	t.Parallel()
	p := play(t, map[string]act{"gemini": says("a", "b")}, nil)
	p.models["main"] = script{stream: func(ctx context.Context, _ *chat.Request) (iter.Seq2[*chat.Chunk, error], error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://upstream.example.com", nil)
		if err != nil {
			return nil, err
		}
		resp, err := (&provider.Sender{HTTP: &reads{pieces: []string{"x"}}, Auth: nobody{}}).Do(req)
		if err != nil {
			return nil, err
		}
		_, _ = resp.Body.Read(make([]byte, 1))
		return nil, provider.Fault(503, "Amazon Bedrock", "")
	}}
	w := &writes{ResponseRecorder: httptest.NewRecorder()}
	p.ServeHTTP(w, post(t.Context(), "bob", helloStream))
	if len(w.each) != 3 || !strings.Contains(w.each[0], `"a"`) || !strings.Contains(w.each[1], `"b"`) {
		t.Errorf("what was written at once: %q", w.each)
	}
}

func TestTheTimeOfARequestIsForAllItsAttempts(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, who string
		acts      map[string]act
		platform  time.Duration // 0 is none
		status    int
		answer    string
		took      time.Duration
	}{
		{"a model that hangs leaves half of it to the next", "bob", map[string]act{"vendor.large-v1": hangs(), "gemini": says("b").after(time.Second)}, 0, 200, "b", 31 * time.Second},
		{"what its prompt has cost is no beginning", "bob", map[string]act{"vendor.large-v1": {counted: true, silence: time.Hour}, "gemini": says("b")}, 0, 200, "b", 30 * time.Second},
		{"and that one half of the rest", "bob", map[string]act{"vendor.large-v1": hangs(), "gemini": hangs(), "llama": says("c").after(14 * time.Second)}, 0, 200, "c", 59 * time.Second},
		{"the last one has all of the rest, and no more", "bob", map[string]act{"vendor.large-v1": hangs(), "gemini": hangs(), "llama": hangs()}, 0, 504, "", 60 * time.Second},
		{"one that is quick to fail leaves more", "bob", map[string]act{"vendor.large-v1": answered(429), "gemini": answered(503), "llama": says("c").after(59 * time.Second)}, 0, 200, "c", 59 * time.Second},
		{"a caller who may use no other waits for the model all the time", "carol", map[string]act{"vendor.large-v1": says("a").after(59 * time.Second)}, 0, 200, "a", 59 * time.Second},
		{"the platform's time is as good", "bob", map[string]act{"vendor.large-v1": hangs(), "gemini": says("b")}, 21 * time.Second, 200, "b", 10 * time.Second},
		{"nothing is asked once it is over", "bob", map[string]act{"vendor.large-v1": answered(503), "gemini": hangs(), "llama": answered(503).after(31 * time.Second)}, 0, 503, "", 60 * time.Second},
		{"not even when a model does not heed it", "bob", map[string]act{"vendor.large-v1": answered(503), "gemini": {pause: 61 * time.Second, deaf: true, refusal: provider.Fault(500, "Google Vertex AI", "")}, "llama": says("no")}, 0, 503, "", 61 * time.Second},
	} {
		bothWays(t, c.name, func(t *testing.T, body string) {
			synctest.Test(t, func(t *testing.T) {
				p := play(t, c.acts, nil)
				ctx := t.Context()
				if c.platform > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, c.platform)
					defer cancel()
				}
				start := time.Now()
				rec := p.ask(ctx, c.who, body)
				if took := time.Since(start); took != c.took {
					t.Errorf("took %s, want %s", took, c.took)
				}
				line := p.line(t)
				if slices.ContainsFunc(p.asked, func(model string) bool { return slices.Equal(p.acts[model].words, []string{"no"}) }) {
					t.Errorf("asked %q", p.asked)
				}
				if c.status == 200 {
					if got := said(t, rec); got != c.answer {
						t.Errorf("the answer is %q", got)
					}
				} else if line["status"] != float64(c.status) {
					t.Errorf("the status is %v: %s", line["status"], rec.Body)
				}
				for _, one := range attempts(t, line) {
					if strings.Contains(one, "Timeout") && !strings.Contains(one, errShare.Error()) && !strings.Contains(one, errRequestTimeout.Error()) {
						t.Errorf("it is not said why it was given up: %s", one)
					}
				}
			})
		})
	}
	t.Run("a stream that has begun in its half may use all", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			p := play(t, map[string]act{"gemini": says("no")}, nil)
			p.models["main"] = slow(29*time.Second, 30*time.Second)
			if rec := p.ask(t.Context(), "bob", helloStream); said(t, rec) != "aa" {
				t.Errorf("the answer is %s", rec.Body)
			}
		})
	})
	t.Run("the first byte of each attempt has its limit", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			p := play(t, map[string]act{"vendor.large-v1": hangs(), "gemini": {silence: time.Hour}, "llama": says("c")}, func(d *config.Document) {
				d.Limits.FirstByteTimeout = 5 * time.Second
			})
			start := time.Now()
			if rec := p.ask(t.Context(), "bob", helloStream); said(t, rec) != "c" || time.Since(start) != 10*time.Second {
				t.Errorf("after %s the answer is %s", time.Since(start), rec.Body)
			}
		})
	})
}

func TestNothingIsAskedForACallerWhoHasLeft(t *testing.T) {
	t.Parallel()
	for _, during := range []string{"vendor.large-v1", "gemini"} {
		bothWays(t, "during the attempt at "+during, func(t *testing.T, body string) {
			synctest.Test(t, func(t *testing.T) {
				p := play(t, map[string]act{"vendor.large-v1": answered(503), "gemini": answered(503), "llama": says("no")}, nil)
				p.acts[during] = hangs()
				ctx, leave := context.WithCancel(t.Context())
				time.AfterFunc(5*time.Second, leave)
				p.ask(ctx, "bob", body)
				if last := p.asked[len(p.asked)-1]; last != during {
					t.Errorf("asked %q", p.asked)
				}
				if line := p.line(t); line["status"] != 499.0 || line["error_code"] != "client_closed_request" || line["model"] != during {
					t.Errorf("the line is %s", p.log.String())
				}
			})
		})
	}
	t.Run("which shows when a comment cannot be written", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			p := play(t, map[string]act{"vendor.large-v1": {silence: 20 * time.Second, broken: provider.Fault(503, "Amazon Bedrock", "")}, "gemini": says("no")}, nil)
			p.ServeHTTP(&leaver{httptest.NewRecorder(), 0}, post(t.Context(), "bob", helloStream))
			if len(p.asked) != 1 {
				t.Errorf("asked %q", p.asked)
			}
		})
	})
}
