package anthropic

import "slices"

// Model is one model and what is special about it.
type Model struct {
	ID        string
	MaxTokens int64 // that an answer may have at most

	// Thinks means that the model thinks unless it is told not to.
	Thinks bool
	// Thinking are the values of thinking.type that the model takes.
	Thinking []string
	// Omits means that what the model thinks is not shown unless it is asked for.
	Omits bool
	// Efforts are the levels of output_config.effort that the model takes.
	Efforts []string
	// Samples means that the model takes a temperature or a top_p.
	Samples bool
	// SamplesBoth means that it takes them together.
	SamplesBoth bool
	// Forces means that the model can be made to call a tool.
	Forces bool
	// Prefills means that the model goes on with what the last message of the
	// assistant began.
	Prefills bool
	// Structured means that the model can be held to a schema.
	Structured bool
}

// DefaultModels returns models of every kind that the API treats differently, as
// its documentation describes them.
func DefaultModels() []Model {
	three := []string{"low", "medium", "high"}
	four := []string{"low", "medium", "high", "max"}
	five := []string{"low", "medium", "high", "xhigh", "max"}
	manual := []string{"enabled", "disabled"}
	return []Model{
		{ID: "claude-3-haiku-20240307", MaxTokens: 4096, Thinking: []string{"disabled"}, Samples: true, SamplesBoth: true, Forces: true, Prefills: true},
		{ID: "claude-haiku-4-5-20251001", MaxTokens: 64_000, Thinking: manual, Samples: true, Forces: true, Prefills: true, Structured: true},
		{ID: "claude-opus-4-5", MaxTokens: 64_000, Thinking: manual, Efforts: three, Samples: true, Forces: true, Prefills: true, Structured: true},
		{ID: "claude-sonnet-4-6", MaxTokens: 64_000, Thinking: []string{"adaptive", "enabled", "disabled"}, Efforts: four, Samples: true, Forces: true, Structured: true},
		{ID: "claude-opus-4-8", MaxTokens: 128_000, Thinking: []string{"adaptive", "disabled"}, Omits: true, Efforts: five, Forces: true, Structured: true},
		{ID: "claude-sonnet-5", MaxTokens: 128_000, Thinks: true, Thinking: []string{"adaptive", "disabled"}, Omits: true, Efforts: five, Forces: true, Structured: true},
		{ID: "claude-haiku-5-5", MaxTokens: 128_000, Thinks: true, Thinking: []string{"adaptive", "disabled"}, Omits: true, Efforts: five, Forces: true, Structured: true},
		{ID: "claude-sonnet-5-5", MaxTokens: 128_000, Thinks: true, Thinking: []string{"adaptive", "between_tools"}, Omits: true, Efforts: five, Structured: true},
		{ID: "claude-opus-5-5", MaxTokens: 128_000, Thinks: true, Thinking: []string{"adaptive"}, Omits: true, Efforts: five, Structured: true},
	}
}

// thinks reports whether a request is answered with thinking.
func (req *request) thinks(m Model) bool {
	if req.Thinking == nil {
		return m.Thinks
	}
	return slices.Contains([]string{"adaptive", "enabled"}, req.Thinking.Type)
}

// shows reports whether what was thought is part of the answer.
func (req *request) shows(m Model) bool {
	if req.Thinking != nil && req.Thinking.Display != "" {
		return req.Thinking.Display == "summarized"
	}
	return !m.Omits
}
