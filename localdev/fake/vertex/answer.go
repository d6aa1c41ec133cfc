package vertex

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/postern-ai/postern/localdev/fake/brain"
)

// The response, as the service writes it.

type response struct {
	Candidates     []candidate     `json:"candidates,omitzero"`
	PromptFeedback *promptFeedback `json:"promptFeedback,omitzero"`
	UsageMetadata  usage           `json:"usageMetadata"`
	ModelVersion   string          `json:"modelVersion"`
	CreateTime     string          `json:"createTime"`
	ResponseID     string          `json:"responseId"`
}

type promptFeedback struct {
	BlockReason        string `json:"blockReason"`
	BlockReasonMessage string `json:"blockReasonMessage"`
}

// candidate leaves out an index of zero, as the service does.
type candidate struct {
	Index          int             `json:"index,omitzero"`
	Content        *said           `json:"content,omitzero"`
	FinishReason   string          `json:"finishReason,omitzero"`
	SafetyRatings  []safetyRating  `json:"safetyRatings,omitzero"`
	AvgLogprobs    float64         `json:"avgLogprobs,omitzero"`
	LogprobsResult *logprobsResult `json:"logprobsResult,omitzero"`
}

type said struct {
	Role  string  `json:"role"`
	Parts []piece `json:"parts,omitzero"`
}

type piece struct {
	Text             *string `json:"text,omitzero"`
	Thought          bool    `json:"thought,omitzero"`
	FunctionCall     *called `json:"functionCall,omitzero"`
	ThoughtSignature string  `json:"thoughtSignature,omitzero"`
}

type called struct {
	ID   string         `json:"id,omitzero"`
	Name string         `json:"name"`
	Args jsontext.Value `json:"args"`
}

type safetyRating struct {
	Category    string `json:"category"`
	Probability string `json:"probability"`
	Blocked     bool   `json:"blocked,omitzero"`
}

type logprobsResult struct {
	ChosenCandidates []tokenLogprob  `json:"chosenCandidates"`
	TopCandidates    []topCandidates `json:"topCandidates,omitzero"`
}

type topCandidates struct {
	Candidates []tokenLogprob `json:"candidates"`
}

type tokenLogprob struct {
	Token          string  `json:"token"`
	TokenID        int     `json:"tokenId"`
	LogProbability float64 `json:"logProbability"`
}

type usage struct {
	PromptTokenCount        int          `json:"promptTokenCount,omitzero"`
	CandidatesTokenCount    int          `json:"candidatesTokenCount,omitzero"`
	TotalTokenCount         int          `json:"totalTokenCount,omitzero"`
	CachedContentTokenCount int          `json:"cachedContentTokenCount,omitzero"`
	ThoughtsTokenCount      int          `json:"thoughtsTokenCount,omitzero"`
	TrafficType             string       `json:"trafficType"`
	PromptTokensDetails     []tokenCount `json:"promptTokensDetails,omitzero"`
	CandidatesTokensDetails []tokenCount `json:"candidatesTokensDetails,omitzero"`
}

type tokenCount struct {
	Modality   string `json:"modality"`
	TokenCount int    `json:"tokenCount"`
}

// imageTokens is what a small image counts as.
const imageTokens = 258

// counted turns a brain's counts into the service's: candidates exclude
// thoughts, every candidate counts, and so do images.
func (a *answering) counted(u brain.Usage) usage {
	answer := (u.Completion - u.Reasoning) * a.candidates()
	images := 0
	for _, turn := range a.prompt.Turns {
		images += imageTokens * len(turn.Images)
	}
	counted := usage{
		PromptTokenCount: u.Prompt + images, CandidatesTokenCount: answer, CachedContentTokenCount: u.Cached,
		ThoughtsTokenCount: u.Reasoning, TotalTokenCount: u.Prompt + images + answer + u.Reasoning,
		TrafficType:             "ON_DEMAND",
		PromptTokensDetails:     []tokenCount{{"TEXT", u.Prompt}},
		CandidatesTokensDetails: []tokenCount{{"TEXT", answer}},
	}
	if images > 0 {
		counted.PromptTokensDetails = append(counted.PromptTokensDetails, tokenCount{"IMAGE", images})
	}
	return counted
}

// answering is one request while it is answered.
type answering struct {
	t      target
	model  kind
	req    *request
	prompt brain.Prompt
	seed   []byte // of this request, for ids and signatures
	id     string // of the response
	calls  int    // so far
}

// identify makes the ids of an answer from the request, so that the same one
// is always answered alike.
func (a *answering) identify(body []byte) {
	sum := sha256.Sum256(append([]byte(a.t.resource()), body...))
	a.seed = sum[:]
	a.id = base64.RawURLEncoding.EncodeToString(sum[:16])
}

func (a *answering) candidates() int {
	if n := a.req.GenerationConfig.CandidateCount; n != nil {
		return int(*n)
	}
	return 1
}

// each returns a response in which every candidate says the same.
func (a *answering) each(c candidate, u usage) response {
	r := a.frame(u)
	for i := range a.candidates() {
		c.Index = i
		r.Candidates = append(r.Candidates, c)
	}
	return r
}

func (a *answering) frame(u usage) response {
	version, _, _ := strings.Cut(a.t.Model, "@")
	return response{UsageMetadata: u, ModelVersion: version, CreateTime: timestamp(), ResponseID: a.id}
}

// text returns a part with words, and what it says of their likelihood.
func (a *answering) text(words string) (piece, *logprobsResult) {
	return piece{Text: &words}, a.logprobs(words)
}

// call returns a part with a call. Only the first of an answer is signed.
func (a *answering) call(c *brain.Call) piece {
	p := piece{FunctionCall: &called{Name: c.Name, Args: jsontext.Value(c.Arguments)}}
	if a.model.three() {
		p.FunctionCall.ID = fmt.Sprintf("fc-%x-%d", a.seed[:6], a.calls)
		if a.calls == 0 {
			p.ThoughtSignature = signature(a.seed, 0)
		}
	}
	a.calls++
	return p
}

// thoughts returns a summary of the reasoning if there was some and the request
// wants to see it.
func (a *answering) thoughts(tokens int) []piece {
	t := a.req.GenerationConfig.ThinkingConfig
	if t == nil || !t.IncludeThoughts || tokens == 0 {
		return nil
	}
	return []piece{{Text: new(fmt.Sprintf("I thought about it for %d tokens.", tokens)), Thought: true}}
}

func (a *answering) logprobs(words string) *logprobsResult {
	g := &a.req.GenerationConfig
	if !g.ResponseLogprobs {
		return nil
	}
	chosen := tokenLogprob{Token: words, TokenID: len(words), LogProbability: -0.25}
	result := &logprobsResult{ChosenCandidates: []tokenLogprob{chosen}}
	if g.Logprobs != nil {
		top := topCandidates{}
		for i := range int(*g.Logprobs) {
			other := chosen
			if i > 0 {
				other = tokenLogprob{Token: fmt.Sprintf("other%d", i), TokenID: i, LogProbability: -0.25 - float64(i)}
			}
			top.Candidates = append(top.Candidates, other)
		}
		result.TopCandidates = []topCandidates{top}
	}
	return result
}

// ending returns the candidate that says why an answer has ended.
func (a *answering) ending(f brain.Finish) candidate {
	c := candidate{FinishReason: "STOP"}
	switch f {
	case brain.Length:
		c.FinishReason = "MAX_TOKENS"
	case brain.Filter:
		c.FinishReason = "SAFETY"
		c.SafetyRatings = []safetyRating{{"HARM_CATEGORY_DANGEROUS_CONTENT", "HIGH", true}}
	}
	return c
}

// blocked is the answer to a prompt that is not answered.
func (a *answering) blocked() response {
	r := a.frame(a.counted(brain.Usage{Prompt: 1}))
	r.PromptFeedback = &promptFeedback{"PROHIBITED_CONTENT", "The prompt is blocked due to prohibited contents."}
	return r
}

// isBlocked reports whether a brain refused the prompt, for which this service
// has an answer of its own.
func isBlocked(f *brain.Fault) bool {
	return f.Kind == brain.FaultStatus && f.Message == brain.BlockedPrompt
}

// whole answers in one piece.
func (a *answering) whole(w http.ResponseWriter, r *http.Request, b brain.Brain) *failure {
	answer, err := brain.Collect(b.Answer(r.Context(), a.prompt))
	fault, isFault := errors.AsType[*brain.Fault](err)
	switch {
	case isFault && isBlocked(fault):
		send(w, contentJSON, pretty(a.blocked()))
		return nil
	case isFault:
		return a.spoil(w, r, fault, pretty(a.say(answer)))
	case err != nil:
		return &failure{status: http.StatusInternalServerError, message: "Internal error encountered."}
	}
	send(w, contentJSON, pretty(a.say(answer)))
	return nil
}

// say returns a whole answer as the service's response.
func (a *answering) say(answer brain.Answer) response {
	c := a.ending(answer.End.Finish)
	c.Content = &said{Role: "model", Parts: a.thoughts(answer.End.Usage.Reasoning)}
	if answer.Text != "" {
		p, logprobs := a.text(answer.Text)
		c.Content.Parts = append(c.Content.Parts, p)
		if c.LogprobsResult = logprobs; logprobs != nil {
			c.AvgLogprobs = -0.25
		}
	}
	for i := range answer.Calls {
		c.Content.Parts = append(c.Content.Parts, a.call(&answer.Calls[i]))
	}
	return a.each(c, a.counted(answer.End.Usage))
}

func send(w http.ResponseWriter, kind string, body []byte) {
	w.Header().Set("Content-Type", kind)
	_, _ = w.Write(body)
}

// spoil breaks a whole answer as the prompt asked.
func (a *answering) spoil(w http.ResponseWriter, r *http.Request, f *brain.Fault, body []byte) *failure {
	w.Header().Set("Content-Type", contentJSON)
	switch f.Kind {
	case brain.FaultReset:
		brain.Reset(w)
	case brain.FaultHang:
		<-r.Context().Done()
	case brain.FaultBreak:
		flush(w, body[:len(body)/2])
		brain.Reset(w)
	case brain.FaultTruncate:
		flush(w, body[:len(body)/2])
	case brain.FaultGarbage:
		flush(w, []byte("{\"candidates\": [{\"content\": <unreadable>\n"))
	default:
		return asked(&brain.Fault{Status: cmp.Or(f.Status, 500), Message: f.Message, RetryAfter: f.RetryAfter})
	}
	return nil
}

func flush(w http.ResponseWriter, body []byte) {
	_, _ = w.Write(body)
	_ = http.NewResponseController(w).Flush()
}

// compact writes what a function returned or was called with on one line, its
// members in their order of names.
func compact(object map[string]jsontext.Value) string {
	out, err := json.Marshal(object, json.Deterministic(true))
	if err != nil {
		return "{}" // the values came out of valid JSON
	}
	v := jsontext.Value(out)
	if err := v.Compact(); err != nil {
		return "{}"
	}
	return string(v)
}
