package vertex

import (
	"fmt"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/postern-ai/postern/localdev/fake/brain"
)

// prompt returns what a brain is asked.
func (r *request) prompt(model string) brain.Prompt {
	p := brain.Prompt{Model: model, Stop: r.GenerationConfig.StopSequences, JSON: r.GenerationConfig.ResponseMIMEType == "application/json"}
	if n := r.GenerationConfig.MaxOutputTokens; n != nil {
		p.MaxTokens = int(*n)
	}
	if r.SystemInstruction != nil {
		for _, part := range r.SystemInstruction.Parts {
			p.System = append(p.System, *part.Text)
		}
	}
	var open []brain.Call
	for i := range r.Contents {
		if r.Contents[i].Role == "model" {
			turn := r.Contents[i].said(i)
			open = turn.Calls
			p.Turns = append(p.Turns, turn)
			continue
		}
		p.Turns = append(p.Turns, r.Contents[i].asked(open)...)
		open = nil
	}
	for _, set := range r.Tools {
		for _, f := range set.FunctionDeclarations {
			schema := f.ParametersJSONSchema
			if schema == nil {
				schema = f.Parameters
			}
			p.Tools = append(p.Tools, brain.Tool{Name: f.Name, Schema: schema})
		}
	}
	r.choice(&p)
	return p
}

// choice sets what the brain may call. It has no word for "one of these", so
// the others are taken away.
func (r *request) choice(p *brain.Prompt) {
	if r.ToolConfig == nil || r.ToolConfig.FunctionCallingConfig == nil {
		return
	}
	c := r.ToolConfig.FunctionCallingConfig
	switch c.Mode {
	case "NONE":
		p.ToolChoice = "none"
	case "ANY":
		p.ToolChoice = "required"
		if len(c.AllowedFunctionNames) == 1 {
			p.ToolChoice, p.ToolName = "tool", c.AllowedFunctionNames[0]
		}
		if len(c.AllowedFunctionNames) > 0 {
			p.Tools = slices.DeleteFunc(p.Tools, func(t brain.Tool) bool { return !slices.Contains(c.AllowedFunctionNames, t.Name) })
		}
	}
}

// said reads a content of the model. Thoughts that come back are not part of
// what was said.
func (c *content) said(i int) brain.Turn {
	turn := brain.Turn{Role: "assistant"}
	for _, p := range c.Parts {
		if p.Text != nil && !p.Thought {
			turn.Text += *p.Text
		}
	}
	for j, call := range c.calls() {
		turn.Calls = append(turn.Calls, brain.Call{ID: idOf(call.ID, i, j), Name: call.Name, Arguments: compact(call.Args)})
	}
	return turn
}

// idOf returns a call's id, or for models that know none its place.
func idOf(id string, content, call int) string {
	if id != "" {
		return id
	}
	return fmt.Sprintf("call %d of content %d", call, content)
}

// asked reads a content of the user: results first, then what they say.
func (c *content) asked(open []brain.Call) []brain.Turn {
	var turns []brain.Turn
	if responses := c.responses(); len(responses) > 0 {
		turn := brain.Turn{Role: "tool"}
		for i, response := range responses {
			id := response.ID
			if id == "" {
				id = open[i].ID
			}
			turn.Results = append(turn.Results, brain.Result{ID: id, Text: response.text()})
		}
		turns = append(turns, turn)
	}
	turn := brain.Turn{Role: "user"}
	var texts []string
	for _, p := range c.Parts {
		switch {
		case p.Text != nil:
			texts = append(texts, *p.Text)
		case p.InlineData != nil:
			turn.Images = append(turn.Images, brain.Image{MediaType: p.InlineData.MimeType, Bytes: len(p.InlineData.Data)})
		case p.FileData != nil:
			turn.Images = append(turn.Images, brain.Image{MediaType: p.FileData.MimeType})
		}
	}
	if turn.Text = strings.Join(texts, "\n"); turn.Text != "" || len(turn.Images) > 0 {
		turns = append(turns, turn)
	}
	return turns
}

// text returns what a function said: its output if that is all it has, or the
// whole object.
func (f *functionResponse) text() string {
	if output, ok := f.Response["output"]; ok && len(f.Response) == 1 && output.Kind() == jsontext.KindString {
		if text, err := jsontext.AppendUnquote(nil, output); err == nil {
			return string(text)
		}
	}
	return compact(f.Response)
}
