package anthropic

import (
	"encoding/base64"
	"strings"

	"github.com/postern-ai/postern/localdev/fake/brain"
)

// prompt returns what a brain is asked. The request has been checked.
func (req *request) prompt() brain.Prompt {
	p := brain.Prompt{
		Model: req.Model, MaxTokens: int(*req.MaxTokens), Stop: req.StopSequences,
		JSON: req.OutputConfig != nil && req.OutputConfig.Format != nil,
	}
	if req.System != nil {
		for _, b := range *req.System {
			p.System = append(p.System, *b.Text)
		}
	}
	for _, m := range req.Messages {
		if m.Role == "assistant" {
			p.Turns = append(p.Turns, m.said())
			continue
		}
		p.Turns = append(p.Turns, m.asked()...)
	}
	for _, t := range req.Tools {
		p.Tools = append(p.Tools, brain.Tool{Name: t.Name, Schema: t.InputSchema})
	}
	c := req.ToolChoice
	if c == nil {
		return p
	}
	p.OneCall = c.DisableParallelToolUse != nil && *c.DisableParallelToolUse
	switch c.Type {
	case "any":
		p.ToolChoice = "required"
	case "tool":
		p.ToolChoice, p.ToolName = "tool", *c.Name
	default:
		p.ToolChoice = c.Type
	}
	return p
}

// said reads a message of the assistant. Thoughts that come back are not part of
// what was said.
func (m *message) said() brain.Turn {
	turn := brain.Turn{Role: "assistant"}
	for _, b := range m.Content {
		switch b.Type {
		case "text":
			turn.Text += *b.Text
		case "tool_use":
			turn.Calls = append(turn.Calls, brain.Call{ID: *b.ID, Name: *b.Name, Arguments: string(b.Input)})
		}
	}
	return turn
}

// asked reads a message of the user: results first, then what they say.
func (m *message) asked() []brain.Turn {
	results, said := brain.Turn{Role: "tool"}, brain.Turn{Role: "user"}
	var texts []string
	for _, b := range m.Content {
		switch b.Type {
		case "tool_result":
			text, images := b.Content.read()
			results.Results = append(results.Results, brain.Result{ID: *b.ToolUseID, Text: text})
			results.Images = append(results.Images, images...)
		case "text":
			texts = append(texts, *b.Text)
		case "image":
			said.Images = append(said.Images, b.Source.image())
		}
	}
	var turns []brain.Turn
	if len(results.Results) > 0 {
		turns = append(turns, results)
	}
	if said.Text = strings.Join(texts, "\n"); said.Text != "" || len(said.Images) > 0 {
		turns = append(turns, said)
	}
	return turns
}

func (c *content) read() (string, []brain.Image) {
	if c == nil {
		return "", nil
	}
	var texts []string
	var images []brain.Image
	for _, b := range *c {
		if b.Type == "image" {
			images = append(images, b.Source.image())
			continue
		}
		texts = append(texts, *b.Text)
	}
	return strings.Join(texts, "\n"), images
}

func (s *source) image() brain.Image {
	if s.Type == "url" {
		return brain.Image{MediaType: "image from " + *s.URL}
	}
	data, _ := base64.StdEncoding.DecodeString(*s.Data) // as checked before
	return brain.Image{MediaType: *s.MediaType, Bytes: len(data)}
}
