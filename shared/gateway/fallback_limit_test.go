package gateway

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/postern-ai/postern/shared/caller"
	"github.com/postern-ai/postern/shared/config"
	"github.com/postern-ai/postern/shared/provider"
	"github.com/postern-ai/postern/shared/quota"
)

// tally is a store that knows how many uses are taken and given back.
type tally struct {
	quota.Memory
	taken, given []string
}

func (s *tally) Take(ctx context.Context, use quota.Use) (quota.States, bool, error) {
	states, ok, err := s.Memory.Take(ctx, use)
	if ok {
		s.taken = append(s.taken, use.ID)
	}
	return states, ok, err
}

func (s *tally) Give(ctx context.Context, use quota.Use) error {
	s.given = append(s.given, use.ID)
	return s.Memory.Give(ctx, use)
}

// used is how much of a window a caller has used, and held how many streams it has under way.
func (s *tally) used(t *testing.T, who, key string) (used, held int64) {
	t.Helper()
	of := owner(&caller.Principal{Method: caller.OIDC, Issuer: "https://idp.example.com", Subject: who})
	states, _, err := s.Memory.Take(t.Context(), quota.Use{Owner: of, Windows: []quota.Window{{Key: key, Limit: 1}}, Leases: []quota.Lease{{Key: countStreams}}})
	if err != nil {
		t.Fatal(err)
	}
	return states.Windows[0].Used, states.Leases[0].Used
}

// TestARequestIsCountedOnceWhateverAnswers: by each set of limits that lets it
// through, and with the tokens of the answer that is given.
func TestARequestIsCountedOnceWhateverAnswers(t *testing.T) {
	t.Parallel()
	limits := config.CallerLimits{RequestsPerMinute: 10, TokensPerMinute: 1000, ConcurrentStreams: 1}
	const (
		spent = -1 // the tokens of the answer
		kept  = -2 // what was reserved, of a streamed answer
	)
	twice := func(d *config.Document) {
		d.Upstreams[1].MFARequired = false
		d.Policy[2].Models, d.Policy[3].Models = []string{"large", "backup"}, []string{"guarded", "spare"}
	}
	for _, c := range []struct {
		name, who string
		acts      map[string]act
		change    func(*config.Document)
		busy      string // what has been used up before
		asked     string
		uses      int
		want      map[string]int64
	}{
		{"by the rule of both models", "bob", map[string]act{"vendor.large-v1": answered(503), "gemini": answered(503), "llama": says("c")}, nil, "",
			"vendor.large-v1 gemini llama", 1, map[string]int64{"requests": 1, "requests most": 1, "tokens": spent, "tokens most": spent}},
		{"by the rules of two models", "dave", map[string]act{"vendor.large-v1": answered(503), "gemini": says("b")}, nil, "",
			"vendor.large-v1 gemini", 2, map[string]int64{"requests": 1, "requests one": 1, "requests other": 1, "tokens": spent, "tokens one": 0, "tokens other": spent}},
		{"when all fail", "dave", map[string]act{"vendor.large-v1": answered(503), "gemini": answered(503)}, nil, "",
			"vendor.large-v1 gemini", 2, map[string]int64{"requests": 1, "requests one": 1, "requests other": 1, "tokens": 0, "tokens one": 0, "tokens other": 0}},
		{"when the caller has used up what the other rule allows", "dave", map[string]act{"vendor.large-v1": answered(503), "gemini": says("no")}, nil, "requests other",
			"vendor.large-v1", 1, map[string]int64{"requests": 1, "requests one": 1, "requests other": 10, "tokens": 0, "tokens one": 0, "tokens other": 0}},
		{"when the answer breaks off, and nobody knows how much of it there was", "dave", map[string]act{"vendor.large-v1": answered(503), "gemini": breaks("b")}, nil, "",
			"vendor.large-v1 gemini", 2, map[string]int64{"requests": 1, "requests one": 1, "requests other": 1, "tokens": kept, "tokens one": 0, "tokens other": kept}},
		{"when two rules take turns", "dave", map[string]act{"vendor.large-v1": answered(503), "vendor.guarded-v1": answered(503), "gemini": answered(503), "llama": says("c")}, twice, "",
			"vendor.large-v1 vendor.guarded-v1 gemini llama", 4, map[string]int64{"requests": 1, "requests one": 1, "requests other": 1, "tokens": spent, "tokens one": 0, "tokens other": spent}},
		{"when a model that fails has said what the prompt cost", "dave", map[string]act{"vendor.large-v1": {counted: true, broken: provider.Fault(503, "Amazon Bedrock", "")}, "gemini": answered(503)}, nil, "",
			"vendor.large-v1 gemini", 2, map[string]int64{"requests": 1, "tokens": 0, "tokens one": 0, "tokens other": 0}},
	} {
		bothWays(t, c.name, func(t *testing.T, body string) {
			p := play(t, c.acts, func(d *config.Document) {
				d.Limits.PerCaller = limits
				for i := range d.Policy {
					d.Policy[i].Limits = limits
				}
				if c.change != nil {
					c.change(d)
				}
			})
			if c.busy != "" {
				of := owner(&caller.Principal{Method: caller.OIDC, Issuer: "https://idp.example.com", Subject: c.who})
				if _, _, err := p.quota.Memory.Take(t.Context(), quota.Use{Owner: of, Windows: []quota.Window{{Key: c.busy, Limit: 10, Amount: 10}}}); err != nil {
					t.Fatal(err)
				}
			}
			rec := p.ask(t.Context(), c.who, body)
			if got := strings.Join(p.asked, " "); got != c.asked {
				t.Errorf("asked %q: %s", got, rec.Body)
			}
			for key, want := range c.want {
				switch streamed := body == helloStream; {
				case want == spent && streamed:
					want = 3
				case want == spent:
					want = 7
				case want == kept && streamed:
					want = int64(len(body)/bytesPerToken) + 1 + 100
				case want == kept:
					want = 0
				}
				if used, held := p.quota.used(t, c.who, key); used != want || held != 0 {
					t.Errorf("%s: %d are used, want %d; %d streams are under way", key, used, want, held)
				}
			}
			if d := cmp.Diff(p.quota.taken, p.quota.given); d != "" || len(p.quota.taken) != c.uses {
				t.Errorf("%d uses, want %d; not each is settled once (-taken +given):\n%s", len(p.quota.taken), c.uses, d)
			}
			if got := rec.Header().Get("X-Ratelimit-Remaining-Requests"); got != "9" {
				t.Errorf("%s requests are said to remain", got)
			}
		})
	}
}

// TestAStreamOfAFallbackIsOneOfThoseThatItsRuleAllows: the model's own rule
// bounds nothing.
func TestAStreamOfAFallbackIsOneOfThoseThatItsRuleAllows(t *testing.T) {
	t.Parallel()
	bothWays(t, "while another is under way", func(t *testing.T, body string) {
		p := play(t, map[string]act{"vendor.large-v1": answered(503), "gemini": says("b")}, func(d *config.Document) {
			d.Policy[3].Limits.ConcurrentStreams = 1
		})
		other := quota.Use{ID: "other", Leases: []quota.Lease{{Key: "streams other", Limit: 1}}}
		other.Owner = owner(&caller.Principal{Method: caller.OIDC, Issuer: "https://idp.example.com", Subject: "dave"})
		if _, ok, err := p.quota.Memory.Take(t.Context(), other); !ok || err != nil {
			t.Fatal(ok, err)
		}
		if rec := p.ask(t.Context(), "dave", body); (rec.Code == 503) != (body == helloStream) {
			t.Errorf("status %d: %s", rec.Code, rec.Body)
		}
		if err := p.quota.Memory.Give(t.Context(), other); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if got := said(t, p.ask(t.Context(), "dave", body)); got != "b" {
				t.Errorf("afterwards the answer is %q", got)
			}
		}
	})
}
