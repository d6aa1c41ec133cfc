package chat

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/go-json-experiment/json/jsontext"
)

// Carries is the set of request members, by their JSON names, that a provider
// can carry to its upstream. model, messages, stream and
// stream_options.include_usage are always carried. Members within a message, a part or a tool are named by
// their own name alone, such as "cache_control".
type Carries map[string]bool

// Check returns a 400 unsupported_parameter for the first member that the
// caller set and that is not in the set, or nil. A member whose value asks for
// what happens anyway ("n": 1, "store": false) counts as not set. Upstream is
// the provider's name for people.
//
// A provider that translates calls Check first: it is what makes sure that
// nothing the caller said is dropped without a word.
func (r *Request) Check(carries Carries, upstream string) error {
	for _, name := range r.Parameters() {
		if !carries[name] {
			return Unsupported(name, upstream)
		}
	}
	if at := r.strange(carries); at != "" {
		return Unsupported(at, upstream)
	}
	return nil
}

// Parameters lists the top-level members that the caller set to something
// other than what happens anyway, except model, messages, stream and
// stream_options.
func (r *Request) Parameters() []string {
	var set []string
	add := func(name string, is bool) {
		if is {
			set = append(set, name)
		}
	}
	add("max_tokens", r.MaxTokens != nil)
	add("max_completion_tokens", r.MaxCompletionTokens != nil)
	add("temperature", r.Temperature != nil)
	add("top_p", r.TopP != nil)
	add("frequency_penalty", r.FrequencyPenalty != nil && *r.FrequencyPenalty != 0)
	add("presence_penalty", r.PresencePenalty != nil && *r.PresencePenalty != 0)
	add("stop", !r.Stop.IsZero())
	add("seed", r.Seed != nil)
	add("n", r.N != nil && *r.N != 1)
	add("logprobs", r.Logprobs != nil && *r.Logprobs)
	add("top_logprobs", r.TopLogprobs != nil)
	add("logit_bias", len(r.LogitBias) > 0)
	add("tools", len(r.Tools) > 0)
	add("tool_choice", r.ToolChoice != nil && len(r.Tools) > 0)
	add("parallel_tool_calls", r.ParallelToolCalls != nil && !*r.ParallelToolCalls)
	add("response_format", r.ResponseFormat != nil && r.ResponseFormat.Type != "text")
	add("reasoning_effort", r.ReasoningEffort != "")
	add("verbosity", r.Verbosity != "")
	add("user", r.User != "")
	add("safety_identifier", r.SafetyIdentifier != "")
	add("metadata", len(r.Metadata) > 0)
	add("store", r.Store != nil && *r.Store)
	add("service_tier", r.ServiceTier != "" && r.ServiceTier != "auto")
	add("prompt_cache_key", r.PromptCacheKey != "")
	add("prompt_cache_retention", r.PromptCacheRetention != "")
	add("modalities", len(r.Modalities) > 0 && !slices.Equal(r.Modalities, []string{"text"}))
	add("audio", isSet(r.Audio))
	add("prediction", isSet(r.Prediction))
	add("web_search_options", isSet(r.WebSearchOptions))
	add("moderation", isSet(r.Moderation))
	add("prompt_cache_options", isSet(r.PromptCacheOptions))
	add("functions", isSet(r.Functions))
	add("function_call", isSet(r.FunctionCall))
	return append(set, members(r.Unknown)...)
}

// Sampling returns temperature and top_p for a model of which 1 is the default
// of both, and which may take no more than one of them, as those of Anthropic
// do. Where the caller sets both, as some clients always do, and one to the
// default, that one is nil.
func (r *Request) Sampling() (temperature, topP *float64) {
	temperature, topP = r.Temperature, r.TopP
	switch {
	case temperature == nil || topP == nil:
	case *topP == 1:
		return temperature, nil
	case *temperature == 1:
		return nil, topP
	}
	return temperature, topP
}

// Strangers lists the top-level members that this package does not know. They
// are passed on to upstreams that speak the same wire, where they may mean
// anything.
func (r *Request) Strangers() []string { return members(r.Unknown) }

// isSet reports whether v says anything: neither absent nor null.
func isSet(v jsontext.Value) bool { return len(v) > 0 && v.Kind() != jsontext.KindNull }

// members lists the names in an object of unknown members whose values are
// not null.
func members(object jsontext.Value) []string {
	if len(object) == 0 {
		return nil
	}
	var names []string
	dec := jsontext.NewDecoder(bytes.NewReader(object))
	if _, err := dec.ReadToken(); err != nil {
		return nil
	}
	for dec.PeekKind() == jsontext.KindString {
		name, err := dec.ReadToken()
		if err != nil {
			return names
		}
		n := name.String()
		v, err := dec.ReadValue()
		if err != nil {
			return names
		}
		if isSet(v) {
			names = append(names, n)
		}
	}
	return names
}

// strange returns the path of the first member within a message or a tool that
// is neither known nor in the set.
func (r *Request) strange(carries Carries) string {
	find := func(object jsontext.Value, at string, args ...any) string {
		for _, name := range members(object) {
			if !carries[name] {
				return fmt.Sprintf(at, args...) + "." + Clip(name, maxToolName)
			}
		}
		return ""
	}
	if o := r.StreamOptions; o != nil {
		if at := find(o.Unknown, "stream_options"); at != "" {
			return at
		}
		if o.IncludeObfuscation != nil && *o.IncludeObfuscation && !carries["include_obfuscation"] {
			return "stream_options.include_obfuscation"
		}
	}
	if f := r.ResponseFormat; f != nil {
		if at := find(f.Unknown, "response_format"); at != "" {
			return at
		}
		if f.JSONSchema != nil {
			if at := find(f.JSONSchema.Unknown, "response_format.json_schema"); at != "" {
				return at
			}
		}
	}
	if c := r.ToolChoice; c != nil && c.Mode == ToolChoiceFunction {
		if at := find(c.Unknown, "tool_choice"); at != "" {
			return at
		}
	}
	for i := range r.Messages {
		if at := r.Messages[i].strange(i, find); at != "" {
			return at
		}
	}
	for i := range r.Tools {
		t := &r.Tools[i]
		if at := find(t.Unknown, "tools[%d]", i); at != "" {
			return at
		}
		if t.Function != nil {
			if at := find(t.Function.Unknown, "tools[%d].function", i); at != "" {
				return at
			}
		}
	}
	return ""
}

type finder func(object jsontext.Value, at string, args ...any) string

func (m *Message) strange(i int, find finder) string {
	if at := find(m.Unknown, "messages[%d]", i); at != "" {
		return at
	}
	for j, p := range m.Content.parts {
		if at := find(p.Unknown, "messages[%d].content[%d]", i, j); at != "" {
			return at
		}
		if p.ImageURL != nil {
			if at := find(p.ImageURL.Unknown, "messages[%d].content[%d].image_url", i, j); at != "" {
				return at
			}
		}
	}
	for j := range m.ToolCalls {
		c := &m.ToolCalls[j]
		if at := find(c.Unknown, "messages[%d].tool_calls[%d]", i, j); at != "" {
			return at
		}
		if c.Function == nil {
			continue
		}
		if at := find(c.Function.Unknown, "messages[%d].tool_calls[%d].function", i, j); at != "" {
			return at
		}
	}
	return ""
}
