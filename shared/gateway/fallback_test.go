package gateway

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postern-ai/postern/shared/caller"
	"github.com/postern-ai/postern/shared/chat"
	"github.com/postern-ai/postern/shared/config"
	"github.com/postern-ai/postern/shared/identity"
	"github.com/postern-ai/postern/shared/provider"
)

func TestAFailureOfTheUpstreamIsAnsweredByAFallback(t *testing.T) {
	t.Parallel()
	unsigned := func(retryable bool) act {
		return refuses(provider.Unreached("Amazon Bedrock", &identity.Error{Public: "no role", Retryable: retryable}))
	}
	for name, failing := range map[string]act{
		"it limits the rate of requests":            answered(429),
		"its account has no quota left":             refuses(&chat.Error{Status: 429, Type: chat.CodeInsufficientQuota, Code: chat.CodeInsufficientQuota, Message: "no quota"}),
		"its account has no credit":                 answered(402),
		"it fails":                                  answered(500),
		"something before it fails":                 answered(502),
		"it is not available":                       answered(503),
		"it has no capacity":                        answered(529),
		"it gives up itself":                        answered(504),
		"it took too long to read the request":      answered(408),
		"it rejects the credential":                 answered(401),
		"it does not allow the call":                answered(403),
		"there is no credential":                    unsigned(false),
		"there is no credential at the moment":      unsigned(true),
		"it does not have the model":                answered(404),
		"it cannot be reached":                      refuses(provider.Unreached("Amazon Bedrock", errors.New(canary))),
		"it takes longer than it may":               refuses(provider.Unreached("Amazon Bedrock", context.DeadlineExceeded)),
		"its answer cannot be read":                 refuses(provider.Unreadable("Amazon Bedrock", errors.New(canary))),
		"it reports an error in place of an answer": breaks(),
	} {
		bothWays(t, name, func(t *testing.T, body string) {
			p := play(t, map[string]act{"vendor.large-v1": failing, "gemini": says("from ", "the backup")}, nil)
			rec := p.ask(t.Context(), "bob", body)
			if got := said(t, rec); got != "from the backup" {
				t.Errorf("the answer is %q", got)
			}
			if got := rec.Header().Get("X-Fallback-Model"); got != "backup" {
				t.Errorf("the answer is said to be of %q", got)
			}
			if d := cmp.Diff([]string{"vendor.large-v1", "gemini"}, p.asked); d != "" {
				t.Error(d)
			}
			checkCanary(t, rec.Body.String(), p.log.String())
		})
	}
}

func TestAFailureOfTheRequestIsNot(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		failing act
		status  int
		code    string
	}{
		"a request that is wrong":                 {answered(400), 400, ""},
		"a parameter that cannot be carried":      {refuses(chat.Unsupported("logit_bias", "Amazon Bedrock")), 400, "unsupported_parameter"},
		"a prompt that is too long for the model": {refuses(chat.Invalid("messages", chat.CodeContextLengthExceeded, "too long")), 400, "context_length_exceeded"},
		"a prompt that a filter refuses":          {refuses(chat.Invalid("", chat.CodeContentFilter, "no")), 400, "content_filter"},
		"a request that is too large":             {answered(413), 413, ""},
		"a request that cannot be processed":      {answered(422), 422, ""},
		"a failure of the gateway itself":         {refuses(errors.New(canary)), 500, "internal_error"},
	} {
		bothWays(t, name, func(t *testing.T, body string) {
			p := play(t, map[string]act{"vendor.large-v1": c.failing, "gemini": says("no")}, nil)
			rec := p.ask(t.Context(), "bob", body)
			if e := envelopeOf(t, rec.Body.Bytes()); rec.Code != c.status || e.Code != c.code {
				t.Errorf("got %d %q: %s", rec.Code, e.Code, rec.Body)
			}
			if len(p.asked) != 1 || p.line(t)["attempts"] != nil {
				t.Errorf("asked %q, logged %s", p.asked, p.log.String())
			}
		})
	}
}

// attempts are those of the log line, without what differs from run to run.
func attempts(t *testing.T, line map[string]any) []string {
	t.Helper()
	list, _ := line["attempts"].([]any)
	var all []string
	for _, item := range list {
		a := item.(map[string]any)
		text := a["model"].(string) + " " + a["upstream"].(string) + " " + a["upstream_model"].(string)
		if a["skipped"] == true {
			text += " skipped"
		} else if a["duration_ms"] == nil {
			t.Errorf("there is no duration in %v", a)
		}
		text += " " + http.StatusText(int(a["status"].(float64)))
		for _, name := range []string{"error_code", "error_cause"} {
			if s, ok := a[name].(string); ok {
				text += ", " + s
			}
		}
		all = append(all, text)
	}
	return all
}

// TestTheLogShowsEachAttempt: what the line says of the upstream is that of the answer, and so is who signed.
func TestTheLogShowsEachAttempt(t *testing.T) {
	t.Parallel()
	bothWays(t, "a fallback answers", func(t *testing.T, body string) {
		synctest.Test(t, func(t *testing.T) {
			p := play(t, map[string]act{
				"vendor.large-v1": answered(429).after(time.Second), "gemini": hangs(), "llama": says("hi").after(time.Second),
			}, func(d *config.Document) { d.Upstreams[2].Timeout = 3 * time.Second })
			if got := said(t, p.ask(t.Context(), "bob", body)); got != "hi" {
				t.Errorf("the answer is %q", got)
			}
			line := p.line(t)
			want := []string{
				"large main vendor.large-v1 Too Many Requests, rate_limit_exceeded, Amazon Bedrock answered 429",
				"guarded strict vendor.guarded-v1 skipped Unauthorized, insufficient_user_authentication, the caller's token does not show a second factor",
				"backup second gemini Gateway Timeout, upstream_timeout, the answer was not complete within the upstream's timeout",
				"spare third llama OK",
			}
			if d := cmp.Diff(want, attempts(t, line)); d != "" {
				t.Error(d)
			}
			for name, want := range map[string]any{
				"level": "WARN", "status": 200.0, "model_requested": "large", "upstream": "third", "provider": "custom-openai", "model": "llama", "rule": "most",
				"identity": "who calls llama", "error_code": nil,
			} {
				if line[name] != want {
					t.Errorf("%s is %v, want %v", name, line[name], want)
				}
			}
			for i, want := range []any{1000.0, nil, 3000.0, 1000.0} {
				if got := line["attempts"].([]any)[i].(map[string]any)["duration_ms"]; got != want {
					t.Errorf("attempt %d took %v, want %v", i+1, got, want)
				}
			}
		})
	})
	bothWays(t, "none does", func(t *testing.T, body string) {
		p := play(t, map[string]act{"vendor.large-v1": answered(429), "gemini": answered(503), "llama": answered(500)}, func(d *config.Document) {
			d.Logging.LogStatistics = false
		})
		p.ask(t.Context(), "bob", body)
		line := p.line(t)
		if n := len(line["attempts"].([]any)); n != 4 || strings.Contains(p.log.String(), "duration") {
			t.Errorf("the line has %d attempts: %s", n, p.log.String())
		}
		for name, want := range map[string]any{
			"level": "WARN", "status": 429.0, "upstream": "main", "model": "vendor.large-v1", "rule": "most", "identity": "who calls vendor.large-v1",
			"error_code": "rate_limit_exceeded", "error_cause": "Amazon Bedrock answered 429",
		} {
			if line[name] != want {
				t.Errorf("%s is %v, want %v", name, line[name], want)
			}
		}
	})
	t.Run("an answer at the first attempt is logged as ever", func(t *testing.T) {
		t.Parallel()
		p := play(t, map[string]act{"vendor.large-v1": says("hi")}, nil)
		rec := p.ask(t.Context(), "bob", hello)
		if line := p.line(t); line["attempts"] != nil || line["level"] != "INFO" || rec.Header()["X-Fallback-Model"] != nil {
			t.Errorf("the line is %s, the headers %v", p.log.String(), rec.Header())
		}
	})
}

// TestEachFallbackIsDecidedOnByThePolicy: nobody gets by way of a fallback what
// he could not ask for, nor hears of it.
func TestEachFallbackIsDecidedOnByThePolicy(t *testing.T) {
	t.Parallel()
	search := `,"tools":[{"type":"function","function":{"name":"search"}}]`
	for _, c := range []struct {
		name, who, more string
		first           int // the status of the model itself
		asked           string
		status          int
	}{
		{"a model that nothing keeps the caller from is next", "bob", "", 503, "vendor.large-v1 gemini", 200},
		{"a caller who may use no other", "carol", "", 503, "vendor.large-v1", 503},
		{"a caller who may use another by a rule of its own", "dave", "", 503, "vendor.large-v1 gemini", 200},
		{"a tool that this rule does not allow", "dave", search, 503, "vendor.large-v1", 503},
		{"a longer answer than this rule allows", "dave", `,"max_tokens":101`, 503, "vendor.large-v1", 503},
		{"a caller who may not even use the model", "erin", "", 503, "", 403},
		{"a tool that the model's own rule does not allow", "dave", strings.Replace(search, "search", "shell", 1), 503, "", 403},
	} {
		for _, stream := range []string{"", `,"stream":true`} {
			t.Run(c.name+stream, func(t *testing.T) {
				t.Parallel()
				p := play(t, map[string]act{"vendor.large-v1": answered(c.first), "vendor.guarded-v1": says("no"), "gemini": says("yes"), "llama": says("yes")}, nil)
				rec := p.ask(t.Context(), c.who, ask("large", c.more+stream))
				if got := strings.Join(p.asked, " "); rec.Code != c.status || got != c.asked {
					t.Errorf("asked %q, status %d, want %q and %d: %s", got, rec.Code, c.asked, c.status, rec.Body)
				}
				for _, name := range []string{"Www-Authenticate", "Cache-Control"} {
					if got := rec.Header().Get(name); got != "" && got != "no-cache" {
						t.Errorf("the answer has %s %q", name, got)
					}
				}
				if c.status == 503 && strings.Contains(rec.Body.String(), "second factor") {
					t.Errorf("the caller hears of a fallback: %s", rec.Body)
				}
			})
		}
	}
	t.Run("a caller who has shown the second factor gets what needs it", func(t *testing.T) {
		t.Parallel()
		p := play(t, map[string]act{"vendor.large-v1": answered(503), "vendor.guarded-v1": says("guarded")}, nil)
		p.Gateway.callers = roster{"x": {Method: caller.OIDC, Issuer: "https://idp.example.com", Subject: "bob", ACR: "mfa"}}
		if got := said(t, p.ask(t.Context(), "x", hello)); got != "guarded" {
			t.Errorf("the answer is %q", got)
		}
	})
}

func TestWhatIsSentToAFallbackIsMadeForIt(t *testing.T) {
	t.Parallel()
	bothWays(t, "its name, its bound, its attribution", func(t *testing.T, body string) {
		p := play(t, map[string]act{"vendor.large-v1": answered(503), "gemini": answered(503), "llama": says("hi")}, func(d *config.Document) {
			d.Policy[0].MaxTokens = 50
		})
		if got := said(t, p.ask(t.Context(), "alice", strings.Replace(body, "{", `{"metadata":{"a":"b"},`, 1))); got != "hi" {
			t.Errorf("the answer is %q", got)
		}
		if d := cmp.Diff([]string{"vendor.large-v1", "gemini", "llama"}, p.asked); d != "" {
			t.Fatal(d)
		}
		id := owner(&caller.Principal{Method: caller.OIDC, Issuer: "https://idp.example.com", Subject: "alice"})
		for i, want := range []struct {
			caller    identity.Caller
			label     string
			maxTokens bool
		}{{identity.Caller{ID: id}, id, false}, {identity.Caller{ID: id}, id, false}, {identity.Caller{}, "", true}} {
			r := p.got[i]
			if p.cast.callers[i] != want.caller || r.Metadata[labelCaller] != want.label || r.Metadata["a"] != "b" {
				t.Errorf("attempt %d is made for %+v with the labels %v", i+1, p.cast.callers[i], r.Metadata)
			}
			if bound := r.OutputLimit(); bound == nil || *bound != 50 || (r.MaxTokens != nil) != want.maxTokens {
				t.Errorf("attempt %d is bounded by %v", i+1, bound)
			}
		}
	})
	t.Run("its rule says whether bodies are logged", func(t *testing.T) {
		t.Parallel()
		for _, c := range []struct {
			backup      act
			large, want bool
		}{{says("hi"), false, true}, {answered(500), false, false}, {answered(500), true, true}} {
			p := play(t, map[string]act{"vendor.large-v1": answered(503), "gemini": c.backup}, func(d *config.Document) {
				d.Policy[2].LogPayloads = &c.large
			})
			p.ask(t.Context(), "dave", hello)
			if line := p.line(t); (line["request_body"] == hello) != c.want || (line["response_body"] != nil) != c.want {
				t.Errorf("the line is %s", p.log.String())
			}
		}
	})
	t.Run("its own fallbacks are not asked", func(t *testing.T) {
		t.Parallel()
		p := play(t, map[string]act{"gemini": answered(503), "vendor.large-v1": answered(503), "llama": says("no")}, nil)
		if rec := p.ask(t.Context(), "alice", ask("backup", "")); rec.Code != 503 || len(p.asked) != 2 {
			t.Errorf("status %d, asked %q", rec.Code, p.asked)
		}
	})
}

// TestIfAllFailTheCallerHearsOfTheModelThatItAskedFor: the wait is the smallest that is known, unless that model may answer at once.
func TestIfAllFailTheCallerHearsOfTheModelThatItAskedFor(t *testing.T) {
	t.Parallel()
	waits := func(status int, d time.Duration) act {
		e := provider.Fault(status, "Amazon Bedrock", "")
		e.RetryAfter = d
		return refuses(e)
	}
	cannot := refuses(chat.Unsupported("logit_bias", "Google Vertex AI"))
	for _, c := range []struct {
		name                 string
		large, backup, spare act
		status               int
		code, after, afterMS string
	}{
		{"its status and its code", answered(404), answered(429), answered(500), 404, "model_not_found", "", ""},
		{"its wait", waits(429, 20*time.Second), answered(500), answered(503), 429, "rate_limit_exceeded", "20", "20000"},
		{"the wait of a fallback that is free sooner", waits(429, 20*time.Second), waits(503, 30*time.Second), waits(429, 1500*time.Millisecond), 429, "rate_limit_exceeded", "2", "1500"},
		{"no wait where its own is not known", answered(503), waits(429, time.Minute), answered(500), 503, "upstream_unavailable", "", ""},
		{"nothing of a fallback that cannot take the request", waits(503, time.Second), cannot, cannot, 503, "upstream_unavailable", "1", "1000"},
	} {
		bothWays(t, c.name, func(t *testing.T, body string) {
			p := play(t, map[string]act{"vendor.large-v1": c.large, "gemini": c.backup, "llama": c.spare}, nil)
			rec := p.ask(t.Context(), "bob", body)
			if e := envelopeOf(t, rec.Body.Bytes()); rec.Code != c.status || e.Code != c.code {
				t.Errorf("got %d %q: %s", rec.Code, e.Code, rec.Body)
			}
			h := rec.Header()
			if h.Get("Retry-After") != c.after || h.Get("Retry-After-Ms") != c.afterMS || h.Get("X-Fallback-Model") != "" {
				t.Errorf("the headers are %v", h)
			}
			if len(p.asked) != 3 {
				t.Errorf("asked %q", p.asked)
			}
		})
	}
	bothWays(t, "one that cannot take the request is passed over", func(t *testing.T, body string) {
		p := play(t, map[string]act{"vendor.large-v1": answered(503), "gemini": cannot, "llama": says("hi")}, nil)
		if got := said(t, p.ask(t.Context(), "bob", body)); got != "hi" {
			t.Errorf("the answer is %q", got)
		}
	})
}
