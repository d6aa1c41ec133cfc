package brain

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"strings"

	"github.com/postern-ai/postern/shared/sse"
)

// Remote returns a Brain that asks a server which speaks OpenAI's chat
// completions, such as one on the developer's own machine. BaseURL is the
// address that ends in /v1; a fragment names the model, as in
// http://127.0.0.1:11434/v1#llama3.2, and without one the first model is asked
// that the server lists.
//
// An image is only mentioned, since a [Prompt] does not hold it. When the
// server fails, the answer fails with a status 502 that says how.
func Remote(baseURL string) Brain {
	base, model, _ := strings.Cut(baseURL, "#")
	return &remote{base: strings.TrimRight(base, "/"), model: model}
}

type remote struct{ base, model string }

// The wire, as far as it is used here.
type (
	remoteRequest struct {
		Model         string          `json:"model"`
		Messages      []remoteMessage `json:"messages"`
		Stream        bool            `json:"stream"`
		StreamOptions map[string]bool `json:"stream_options"`
		MaxTokens     int             `json:"max_tokens,omitempty"`
		Stop          []string        `json:"stop,omitempty"`
		Tools         []remoteTool    `json:"tools,omitempty"`
		ToolChoice    any             `json:"tool_choice,omitempty"`
		Parallel      *bool           `json:"parallel_tool_calls,omitempty"`
		Format        map[string]any  `json:"response_format,omitempty"`
	}
	remoteMessage struct {
		Role       string       `json:"role"`
		Content    string       `json:"content"`
		ToolCalls  []remoteCall `json:"tool_calls,omitempty"`
		ToolCallID string       `json:"tool_call_id,omitempty"`
	}
	remoteCall struct {
		Index    int    `json:"index"`
		ID       string `json:"id,omitempty"`
		Type     string `json:"type,omitempty"`
		Function struct {
			Name      string `json:"name,omitempty"`
			Arguments string `json:"arguments"`
		} `json:"function"`
	}
	remoteTool struct {
		Type     string         `json:"type"`
		Function remoteFunction `json:"function"`
	}
	remoteFunction struct {
		Name       string          `json:"name"`
		Parameters json.RawMessage `json:"parameters,omitempty"`
	}
	remoteChunk struct {
		Choices []struct {
			Delta struct {
				Content   string       `json:"content"`
				ToolCalls []remoteCall `json:"tool_calls"`
			} `json:"delta"`
			FinishReason string `json:"finish_reason"`
		} `json:"choices"`
		Usage *struct {
			Prompt     int `json:"prompt_tokens"`
			Completion int `json:"completion_tokens"`
			Details    struct {
				Cached int `json:"cached_tokens"`
			} `json:"prompt_tokens_details"`
			Completions struct {
				Reasoning int `json:"reasoning_tokens"`
			} `json:"completion_tokens_details"`
		} `json:"usage"`
		Error json.RawMessage `json:"error"`
	}
)

// Answer implements [Brain].
func (r *remote) Answer(ctx context.Context, p Prompt) iter.Seq2[Piece, error] {
	return func(yield func(Piece, error) bool) {
		body, err := r.open(ctx, p)
		if err != nil {
			yield(Piece{}, unreachable(err))
			return
		}
		defer body.Close()
		if err := r.read(body, yield); err != nil {
			yield(Piece{}, unreachable(err))
		}
	}
}

func unreachable(err error) *Fault {
	return &Fault{Kind: FaultStatus, Status: http.StatusBadGateway, Message: "The remote model failed: " + err.Error()}
}

// read turns the events into pieces. Calls are handed out whole, at the end.
func (r *remote) read(body io.Reader, yield func(Piece, error) bool) error {
	events := sse.NewReader(body, 0)
	end := End{Finish: Stop}
	var calls []Call
	finished := false
	for {
		event, err := events.Next()
		if err == io.EOF && !finished {
			return errors.New("the stream ended too early")
		}
		if err == io.EOF || err == nil && string(event.Data) == "[DONE]" {
			break
		}
		if err != nil {
			return err
		}
		var chunk remoteChunk
		if err := json.Unmarshal(event.Data, &chunk); err != nil {
			return fmt.Errorf("read a chunk: %w", err)
		}
		if chunk.Error != nil {
			return fmt.Errorf("the stream reports %s", chunk.Error)
		}
		if u := chunk.Usage; u != nil {
			end.Usage = Usage{Prompt: u.Prompt, Completion: u.Completion, Cached: u.Details.Cached, Reasoning: u.Completions.Reasoning}
		}
		if len(chunk.Choices) == 0 {
			continue
		}
		choice := chunk.Choices[0]
		calls = merge(calls, choice.Delta.ToolCalls)
		finished = finished || choice.FinishReason != ""
		switch choice.FinishReason {
		case "length":
			end.Finish = Length
		case "content_filter":
			end.Finish = Filter
		}
		if choice.Delta.Content != "" && !yield(Piece{Text: choice.Delta.Content}, nil) {
			return nil
		}
	}
	for i := range calls {
		end.Finish = Tools
		if !json.Valid([]byte(calls[i].Arguments)) {
			calls[i].Arguments = "{}"
		}
		if !yield(Piece{Call: &calls[i]}, nil) {
			return nil
		}
	}
	yield(Piece{End: &end}, nil)
	return nil
}

func merge(calls []Call, deltas []remoteCall) []Call {
	for _, d := range deltas {
		for len(calls) <= d.Index && len(calls) < 128 {
			calls = append(calls, Call{})
		}
		if d.Index < 0 || d.Index >= len(calls) {
			continue
		}
		c := &calls[d.Index]
		c.ID += d.ID
		c.Name += d.Function.Name
		c.Arguments += d.Function.Arguments
	}
	return calls
}

// open sends the prompt and returns the stream.
func (r *remote) open(ctx context.Context, p Prompt) (io.ReadCloser, error) {
	model := r.model
	if model == "" {
		var err error
		if model, err = r.firstModel(ctx); err != nil {
			return nil, err
		}
	}
	payload, err := json.Marshal(render(p, model))
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.base+"/chat/completions", bytes.NewReader(payload))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	return fetch(req)
}

// firstModel asks which models there are.
func (r *remote) firstModel(ctx context.Context) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.base+"/models", nil)
	if err != nil {
		return "", err
	}
	body, err := fetch(req)
	if err != nil {
		return "", err
	}
	defer body.Close()
	var models struct {
		Data []struct {
			ID string `json:"id"`
		} `json:"data"`
	}
	if err := json.NewDecoder(body).Decode(&models); err != nil {
		return "", fmt.Errorf("read the list of models: %w", err)
	}
	if len(models.Data) == 0 {
		return "", errors.New("the server lists no model")
	}
	return models.Data[0].ID, nil
}

func fetch(req *http.Request) (io.ReadCloser, error) {
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		defer resp.Body.Close()
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 2000))
		return nil, fmt.Errorf("%s answered %s: %s", req.URL, resp.Status, text)
	}
	return resp.Body, nil
}

// render writes a prompt in OpenAI's wire.
func render(p Prompt, model string) remoteRequest {
	req := remoteRequest{
		Model: model, Stream: true, StreamOptions: map[string]bool{"include_usage": true},
		MaxTokens: p.MaxTokens, Stop: p.Stop,
	}
	for _, s := range p.System {
		req.Messages = append(req.Messages, remoteMessage{Role: "system", Content: s})
	}
	for _, t := range p.Turns {
		req.Messages = append(req.Messages, renderTurn(t)...)
	}
	for _, t := range p.Tools {
		req.Tools = append(req.Tools, remoteTool{Type: "function", Function: remoteFunction{Name: t.Name, Parameters: t.Schema}})
	}
	switch p.ToolChoice {
	case "none", "required":
		req.ToolChoice = p.ToolChoice
	case "tool":
		req.ToolChoice = map[string]any{"type": "function", "function": map[string]string{"name": p.ToolName}}
	}
	if p.OneCall && len(p.Tools) > 0 {
		req.Parallel = new(bool)
	}
	if p.JSON {
		req.Format = map[string]any{"type": "json_object"}
	}
	return req
}

func renderTurn(t Turn) []remoteMessage {
	if len(t.Results) > 0 {
		var results []remoteMessage
		for _, r := range t.Results {
			results = append(results, remoteMessage{Role: "tool", Content: r.Text, ToolCallID: r.ID})
		}
		if t.Text != "" {
			results = append(results, remoteMessage{Role: "user", Content: t.Text})
		}
		return results
	}
	m := remoteMessage{Role: t.Role, Content: t.Text}
	for _, image := range t.Images {
		m.Content += fmt.Sprintf("\n[an image, %s of %d bytes, that you cannot see]", image.MediaType, image.Bytes)
	}
	for i, c := range t.Calls {
		call := remoteCall{Index: i, ID: c.ID, Type: "function"}
		call.Function.Name, call.Function.Arguments = c.Name, c.Arguments
		m.ToolCalls = append(m.ToolCalls, call)
	}
	return []remoteMessage{m}
}
