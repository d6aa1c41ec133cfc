package bedrock

import (
	"encoding/json"
	"errors"
	"iter"
	"net/http"
	"strconv"

	"github.com/postern-ai/postern/localdev/fake/brain"
)

type (
	converseAnswer struct {
		Output     answerOutput  `json:"output"`
		StopReason string        `json:"stopReason"`
		Usage      answerUsage   `json:"usage"`
		Metrics    answerMetrics `json:"metrics"`
	}
	answerOutput struct {
		Message answerMessage `json:"message"`
	}
	answerMessage struct {
		Role    string        `json:"role"`
		Content []answerBlock `json:"content"`
	}
	answerBlock struct {
		Text    *string       `json:"text,omitempty"`
		ToolUse *answerCalled `json:"toolUse,omitempty"`
	}
	answerCalled struct {
		ToolUseID string          `json:"toolUseId"`
		Name      string          `json:"name"`
		Input     json.RawMessage `json:"input"`
	}
	answerUsage struct {
		InputTokens           int `json:"inputTokens"`
		OutputTokens          int `json:"outputTokens"`
		TotalTokens           int `json:"totalTokens"`
		CacheReadInputTokens  int `json:"cacheReadInputTokens"`
		CacheWriteInputTokens int `json:"cacheWriteInputTokens"`
	}
	answerMetrics struct {
		LatencyMs int64 `json:"latencyMs"`
	}
)

// blocked is what an account's guardrail answers in place of the model.
const blocked = "Sorry, the model cannot answer this question."

func stopReason(f brain.Finish) string {
	switch f {
	case brain.Length:
		return "max_tokens"
	case brain.Tools:
		return "tool_use"
	case brain.Filter:
		return "content_filtered"
	}
	return "end_turn"
}

// counted tells the tokens of a prompt that were cached apart from the others,
// as the service does.
func counted(u brain.Usage) answerUsage {
	return answerUsage{
		InputTokens: u.Prompt - u.Cached, OutputTokens: u.Completion, TotalTokens: u.Prompt + u.Completion,
		CacheReadInputTokens: u.Cached,
	}
}

// isBlocked reports whether a fault is that of a prompt which is not to be
// answered. The service has no error for that.
func isBlocked(err error) bool {
	f, ok := errors.AsType[*brain.Fault](err)
	return ok && f.Kind == brain.FaultStatus && f.Message == brain.BlockedPrompt
}

// converse answers at once.
func converse(w http.ResponseWriter, r *http.Request, pieces iter.Seq2[brain.Piece, error]) {
	answer, err := brain.Collect(pieces)
	reason := stopReason(answer.End.Finish)
	if isBlocked(err) {
		answer, reason, err = brain.Answer{Text: blocked}, "guardrail_intervened", nil
	}
	if r.Context().Err() != nil {
		brain.Reset(w) // nobody is there
	}
	body, _ := json.Marshal(converseAnswer{
		Output: answerOutput{answerMessage{"assistant", contentOf(answer)}}, StopReason: reason,
		Usage: counted(answer.End.Usage), Metrics: answerMetrics{1},
	})
	if err == nil {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(body)
		return
	}
	fault, ok := errors.AsType[*brain.Fault](err)
	if !ok {
		(&failure{http.StatusFailedDependency, "ModelErrorException", "The model failed."}).write(w)
		return
	}
	misbehave(w, r, body, fault)
}

func contentOf(a brain.Answer) []answerBlock {
	content := []answerBlock{}
	if a.Text != "" {
		content = append(content, answerBlock{Text: &a.Text})
	}
	for _, c := range a.Calls {
		content = append(content, answerBlock{ToolUse: &answerCalled{c.ID, c.Name, json.RawMessage(c.Arguments)}})
	}
	return content
}

// misbehave does what a prompt asked for in place of sending the answer.
func misbehave(w http.ResponseWriter, r *http.Request, body []byte, fault *brain.Fault) {
	switch fault.Kind {
	case brain.FaultReset:
		brain.Reset(w)
	case brain.FaultHang:
		<-r.Context().Done()
		brain.Reset(w)
	case brain.FaultBreak:
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		_, _ = w.Write(body[:len(body)/2])
		_ = http.NewResponseController(w).Flush()
		brain.Reset(w)
	case brain.FaultTruncate:
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(body[:len(body)/2])
	case brain.FaultGarbage:
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte("\x00\x01 this is no JSON"))
	default:
		asked(w, fault).write(w)
	}
}
