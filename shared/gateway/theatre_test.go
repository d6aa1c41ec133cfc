package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"iter"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postern-ai/postern/shared/chat"
	"github.com/postern-ai/postern/shared/config"
	"github.com/postern-ai/postern/shared/identity"
	"github.com/postern-ai/postern/shared/policy"
	"github.com/postern-ai/postern/shared/provider"
)

// replaceable is a document whose model large has fallbacks. Of those alice may
// use all, bob without a second factor backup and spare, carol none, and dave backup by
// another rule than large.
const replaceable = `
callers: [{name: people, issuer: https://idp.example.com, audience: postern}]
mfa: {acr_values: [mfa]}
upstreams:
  - {name: main, provider: bedrock, aws_region: eu-west-1, models: [{name: large, model: vendor.large-v1, fallbacks: [guarded, backup, spare]}]}
  - {name: strict, provider: bedrock, aws_region: eu-west-1, mfa_required: true, models: [{name: guarded, model: vendor.guarded-v1}]}
  - {name: second, provider: vertex, models: [{name: backup, model: gemini, fallbacks: [large]}]}
  - {name: third, provider: custom-openai, base_url: https://llm.example.com/v1, auth_type: api_key, credential_ref: env://K, models: [{name: spare, model: llama}]}
policy:
  - {name: all, match: {subjects: [alice]}, models: ["*"]}
  - {name: most, match: {subjects: [bob]}, models: [large, guarded, backup, spare]}
  - {name: one, match: {subjects: [carol, dave]}, models: [large], tools: [search]}
  - {name: other, match: {subjects: [dave]}, models: [backup], tools: false, max_tokens: 100, log_payloads: true}
limits: {request_timeout: 60s}
`

// act is what a model does when it is asked.
type act struct {
	pause   time.Duration // before it accepts or refuses
	deaf    bool          // it does not hear that its time is over
	refusal error
	counted bool          // before all else comes what the prompt has cost
	silence time.Duration // before the first word
	words   []string
	gap     time.Duration // after each word
	broken  error         // after the last word
}

func says(words ...string) act { return act{words: words} }
func refuses(err error) act    { return act{refusal: err} }
func hangs() act               { return act{pause: time.Hour} }
func answered(status int) act  { return refuses(provider.Fault(status, "Amazon Bedrock", canary)) }
func breaks(words ...string) act {
	return act{words: words, broken: provider.Fault(503, "Amazon Bedrock", "")}
}
func (a act) after(d time.Duration) act { a.pause = d; return a }

func wait(ctx context.Context, d time.Duration) error {
	if d == 0 {
		return nil
	}
	select {
	case <-ctx.Done():
		return provider.Unreached("The upstream", ctx.Err())
	case <-time.After(d):
		return nil
	}
}

// cast are models that each have their act, by their name at their upstream.
type cast struct {
	acts map[string]act

	mu      sync.Mutex
	asked   []string
	callers []identity.Caller
	got     []*chat.Request
}

func (c *cast) begin(ctx context.Context, r *chat.Request) (act, error) {
	c.mu.Lock()
	c.asked, c.callers, c.got = append(c.asked, r.Model), append(c.callers, identity.CallerOf(ctx)), append(c.got, r)
	c.mu.Unlock()
	identity.Note(ctx, identity.Principal{Name: "who calls " + r.Model, Source: "test"})
	a := c.acts[r.Model]
	if a.deaf {
		ctx = context.WithoutCancel(ctx)
	}
	if err := wait(ctx, a.pause); err != nil {
		return a, err
	}
	return a, a.refusal
}

func (c *cast) Chat(ctx context.Context, r *chat.Request) (*chat.Response, error) {
	a, err := c.begin(ctx, r)
	if err == nil {
		err = errors.Join(wait(ctx, a.silence), a.broken)
	}
	if err != nil {
		return nil, err
	}
	return answer(strings.Join(a.words, "")), nil
}

func (c *cast) Stream(ctx context.Context, r *chat.Request) (iter.Seq2[*chat.Chunk, error], error) {
	a, err := c.begin(ctx, r)
	if err != nil {
		return nil, err
	}
	return func(yield func(*chat.Chunk, error) bool) {
		if a.counted && !yield(usage(), nil) {
			return
		}
		if err := wait(ctx, a.silence); err != nil {
			yield(nil, err)
			return
		}
		for _, word := range a.words {
			if !yield(delta(word), nil) {
				return
			}
			if err := wait(ctx, a.gap); err != nil {
				yield(nil, err)
				return
			}
		}
		switch {
		case a.broken != nil:
			yield(nil, a.broken)
		default:
			yield(usage(), nil)
		}
	}, nil
}

// theatre is a gateway whose models act.
type theatre struct {
	*Gateway
	*cast
	log   bytes.Buffer
	quota *tally
}

func play(t *testing.T, acts map[string]act, change func(*config.Document)) *theatre {
	t.Helper()
	d, err := config.Load([]byte(replaceable))
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(d)
	}
	p := &theatre{cast: &cast{acts: acts}, quota: new(tally)}
	models := map[string]provider.Model{}
	for _, u := range d.Upstreams {
		models[u.Name] = p.cast
	}
	p.Gateway, err = New(Options{
		Document: d, Models: models, Callers: callers{}, Policy: policy.Compile(d), Quota: p.quota,
		Log: slog.New(slog.NewJSONHandler(&p.log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *theatre) ask(ctx context.Context, who, body string) *httptest.ResponseRecorder {
	rec := httptest.NewRecorder()
	p.ServeHTTP(rec, post(ctx, who, body))
	return rec
}

// line is the one line of the log.
func (p *theatre) line(t *testing.T) map[string]any {
	t.Helper()
	line := map[string]any{}
	if err := json.Unmarshal(p.log.Bytes(), &line); err != nil {
		t.Fatalf("not one JSON line: %v: %s", err, p.log.String())
	}
	return line
}

// said is the text of an answer, whole or streamed, which has to be complete.
func said(t *testing.T, rec *httptest.ResponseRecorder) string {
	t.Helper()
	if rec.Code != http.StatusOK {
		t.Fatalf("status %d: %s", rec.Code, rec.Body)
	}
	type message struct{ Content string }
	type body struct {
		Choices []struct{ Message, Delta message }
	}
	parts := []string{rec.Body.String()}
	if strings.HasPrefix(rec.Header().Get("Content-Type"), "text/event-stream") {
		parts = nil
		for _, event := range events(rec.Body.String()) {
			if !strings.HasPrefix(event, ":") {
				parts = append(parts, event)
			}
		}
		if last := len(parts) - 1; last < 0 || parts[last] != "[DONE]" {
			t.Fatalf("the stream is not complete: %s", rec.Body)
		}
		parts = parts[:len(parts)-1]
	}
	text := ""
	for _, part := range parts {
		var b body
		if err := json.Unmarshal([]byte(part), &b); err != nil {
			t.Fatalf("%v: %s", err, part)
		}
		for _, c := range b.Choices {
			text += c.Message.Content + c.Delta.Content
		}
	}
	return text
}

// bothWays runs a test for a whole answer and for a streamed one.
func bothWays(t *testing.T, name string, test func(t *testing.T, body string)) {
	t.Helper()
	for way, body := range map[string]string{"": hello, ", streamed": helloStream} {
		t.Run(name+way, func(t *testing.T) {
			t.Parallel()
			test(t, body)
		})
	}
}
