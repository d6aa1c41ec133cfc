package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
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
	"github.com/postern-ai/postern/shared/identity"
	"github.com/postern-ai/postern/shared/provider"
)

// choices are what a script of a fuzz test decides, byte by byte.
type choices []byte

func (c *choices) of(n int) int {
	if len(*c) == 0 {
		return 0
	}
	first := int((*c)[0])
	*c = (*c)[1:]
	return first % n
}

// scripted is an act whose words say whose they are.
func (c *choices) scripted(model string) act {
	pauses := []time.Duration{0, 0, 0, time.Second, 16 * time.Second, 40 * time.Second, time.Hour}
	faults := []error{
		provider.Fault(429, model, ""), provider.Fault(500, model, ""), provider.Fault(503, model, ""), provider.Fault(404, model, ""), provider.Fault(401, model, ""),
		provider.Fault(400, model, ""), provider.Fault(413, model, ""), chat.Unsupported("x", model), errors.New("a fault of the gateway's own"),
		provider.Unreached(model, &identity.Error{Public: "no role"}), provider.Interrupted(model, errors.New("reset")),
	}
	a := act{pause: pauses[c.of(len(pauses))], silence: pauses[c.of(len(pauses))], gap: pauses[c.of(len(pauses))]}
	switch c.of(3) {
	case 0:
		a.refusal = faults[c.of(len(faults))]
	case 1:
		a.broken = faults[c.of(len(faults))]
	}
	for range c.of(3) {
		a.words = append(a.words, model+";")
	}
	return a
}

// FuzzFallbacks has models do anything, to callers of all kinds, who may leave.
// Whatever happens, a caller never gets parts of two answers, what it may not use
// is not asked, what it uses is settled once, and there is one line in the log.
func FuzzFallbacks(f *testing.F) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		script := make([]byte, 40)
		for i := range script {
			script[i] = byte(random.Uint32())
		}
		f.Add(script)
	}
	f.Fuzz(func(t *testing.T, script []byte) {
		if len(script) > 64 {
			return
		}
		synctest.Test(t, func(t *testing.T) { checkFallbacks(t, choices(script)) })
	})
}

func checkFallbacks(t *testing.T, c choices) {
	order := []string{"vendor.large-v1", "vendor.guarded-v1", "gemini", "llama"}
	may := map[string][]string{"alice": {order[0], order[2], order[3]}, "bob": {order[0], order[2], order[3]}, "carol": order[:1], "dave": {order[0], order[2]}}
	who := []string{"alice", "bob", "carol", "dave"}[c.of(4)]
	body := []string{hello, helloStream}[c.of(2)]
	limited, leaves, platform := c.of(2) == 1, c.of(8) == 1, c.of(4) == 1
	acts := map[string]act{}
	for _, model := range order {
		acts[model] = c.scripted(model)
	}
	p := play(t, acts, func(d *config.Document) {
		if limited {
			d.Limits.PerCaller = config.CallerLimits{RequestsPerMinute: 10, TokensPerMinute: 1000, ConcurrentStreams: 1}
			d.Policy[3].Limits = d.Limits.PerCaller
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	most := 60 * time.Second
	if platform {
		ctx, cancel = context.WithTimeout(ctx, 30*time.Second)
		defer cancel()
		most = 29 * time.Second
	}
	if leaves {
		time.AfterFunc(time.Duration(c.of(60))*time.Second+500*time.Millisecond, cancel)
	}
	start := time.Now()
	rec := p.ask(ctx, who, body)
	took := time.Since(start)
	if took > most {
		t.Errorf("took %s", took)
	}
	if n := bytes.Count(p.log.Bytes(), []byte("\n")); n != 1 {
		t.Errorf("%d lines: %s", n, p.log.String())
	}
	if d := cmp.Diff(p.quota.taken, p.quota.given); d != "" {
		t.Errorf("what was used is not settled once (-taken +given):\n%s", d)
	}
	if !isSubsequence(p.asked, may[who]) || p.asked[0] != order[0] {
		t.Errorf("%s had %q asked", who, p.asked)
	}
	checkOneAnswer(t, p, rec)
	over := took == most || leaves && ctx.Err() != nil
	if failed, _ := errors.AsType[*chat.Error](firstFailure(acts[order[0]])); !over && !strings.Contains(rec.Body.String(), ";") &&
		rec.Code != http.StatusOK && failed != nil && upstreamFailed(failed) && !slices.Equal(p.asked, may[who]) {
		t.Errorf("%s had only %q asked: %s", who, p.asked, p.log.String())
	}
}

// firstFailure is why an act has no word, if it has none.
func firstFailure(a act) error {
	if a.refusal != nil {
		return a.refusal
	}
	return a.broken
}

func isSubsequence(part, whole []string) bool {
	for _, s := range part {
		i := slices.Index(whole, s)
		if i < 0 {
			return false
		}
		whole = whole[i+1:]
	}
	return len(part) > 0
}

// checkOneAnswer finds out whose words came, and that all else agrees with that.
func checkOneAnswer(t *testing.T, p *theatre, rec *httptest.ResponseRecorder) {
	text := rec.Body.String()
	line := p.line(t)
	last := p.asked[len(p.asked)-1]
	whose := ""
	for model, a := range p.acts {
		n := strings.Count(text, model+";")
		if n == 0 {
			continue
		}
		if whose != "" {
			t.Errorf("there are words of %s and of %s: %s", whose, model, text)
		}
		whose = model
		if n > len(a.words) {
			t.Errorf("there are %d words of %s, who has %d", n, model, len(a.words))
		}
	}
	names := map[string]string{"vendor.large-v1": "", "gemini": "backup", "llama": "spare"}
	complete := rec.Code == http.StatusOK && !strings.Contains(text, `{"error"`)
	if (complete || whose != "") && (line["model"] != last || whose != "" && whose != last) {
		t.Errorf("the words are of %q, the last one asked is %s: %s", whose, last, p.log.String())
	}
	commented := strings.HasPrefix(text, ": keep-alive")
	if got := rec.Header().Get("X-Fallback-Model"); complete && !commented && got != names[last] || (commented || !complete && whose == "") && got != "" {
		t.Errorf("the header says %q of %s, with %s", got, last, text)
	}
	if complete {
		said(t, rec)
		return
	}
	if line["status"] == 499.0 {
		return
	}
	// Whatever else failed, the error is that of the model that was asked for, if there is no part of an answer.
	var first struct {
		Attempts []struct {
			Status float64 `json:"status"`
			Code   string  `json:"error_code"`
		} `json:"attempts"`
	}
	if err := json.Unmarshal(p.log.Bytes(), &first); err != nil {
		t.Fatal(err)
	}
	if whose != "" && line["model"] != whose {
		t.Errorf("the words are of %s: %s", whose, p.log.String())
	}
	if whose == "" && len(first.Attempts) > 0 && (line["status"] != first.Attempts[0].Status || line["error_code"] != first.Attempts[0].Code || line["model"] != "vendor.large-v1") {
		t.Errorf("the first attempt is not what the caller hears of: %s", p.log.String())
	}
	at := strings.LastIndex(text, `{"error"`)
	if at < 0 {
		t.Fatalf("neither an answer nor an error: %s", text)
	}
	if e := envelopeOf(t, []byte(strings.TrimSpace(text[at:]))); e.Code != "" && e.Code != line["error_code"] {
		t.Errorf("the caller is told %q: %s", e.Code, p.log.String())
	}
}
