package anthropic

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"unicode"

	"github.com/go-json-experiment/json/jsontext"
)

// check refuses what the API refuses once it has read a request.
func (req *request) check(m Model) *failure {
	for _, check := range []func(Model) *failure{
		req.checkUnplayed, req.checkLimit, req.checkMessages, req.checkSystem, req.checkToolTurns, req.checkEnd,
		req.checkTools, req.checkChoice, req.checkSampling, req.checkThinking, req.checkThoughts, req.checkOutput,
		req.checkRest, req.checkMarks,
	} {
		if f := check(m); f != nil {
			return f
		}
	}
	return nil
}

func (req *request) checkUnplayed(Model) *failure {
	for _, member := range []struct {
		name  string
		value jsontext.Value
	}{
		{"container", req.Container}, {"diagnostics", req.Diagnostics}, {"inference_geo", req.InferenceGeo}, {"speed", req.Speed},
	} {
		if member.value != nil {
			return unplayed(member.name)
		}
	}
	return nil
}

func (req *request) checkLimit(m Model) *failure {
	switch n := req.MaxTokens; {
	case n == nil:
		return invalid("max_tokens: Field required")
	case *n == 0:
		return unplayed("max_tokens of 0")
	case *n < 0:
		return invalid("max_tokens: must be greater than or equal to 1")
	case *n > m.MaxTokens:
		return invalid("max_tokens: %d > %d, which is the maximum allowed number of output tokens for %s", *n, m.MaxTokens, m.ID)
	}
	return nil
}

// checkMessages checks each message by itself and then, as the API does, makes
// one of those of the same role that follow each other.
func (req *request) checkMessages(Model) *failure {
	if req.Messages == nil {
		return invalid("messages: Field required")
	}
	if len(req.Messages) == 0 {
		return invalid("messages: at least one message is required")
	}
	var merged []message
	for i, m := range req.Messages {
		switch m.Role {
		case "user", "assistant":
		case "system":
			return invalid("messages: Unexpected role \"system\". The Messages API accepts a top-level `system` parameter, not \"system\" as an input message role.")
		case "":
			return invalid("messages.%d.role: Field required", i)
		default:
			return invalid("messages.%d.role: Input should be 'user' or 'assistant'", i)
		}
		if len(m.Content) == 0 && !(m.Role == "assistant" && i == len(req.Messages)-1) {
			return invalid("messages.%d: all messages must have non-empty content except for the optional final assistant message", i)
		}
		for j := range m.Content {
			if f := m.Content[j].check(m.Role, fmt.Sprintf("messages.%d.content.%d", i, j)); f != nil {
				return f
			}
		}
		if last := len(merged) - 1; last >= 0 && merged[last].Role == m.Role {
			merged[last].Content = slices.Concat(merged[last].Content, m.Content)
			continue
		}
		merged = append(merged, m)
	}
	if merged[0].Role != "user" {
		return invalid("messages: first message must use the \"user\" role")
	}
	req.Messages = merged
	return nil
}

// foreign returns the name of a member that a block of this type does not have.
func (b *block) foreign() string {
	for _, member := range []struct {
		name  string
		isSet bool
		types []string
	}{
		{"text", b.Text != nil, []string{"text"}},
		{"source", b.Source != nil, []string{"image"}},
		{"id", b.ID != nil, []string{"tool_use"}},
		{"name", b.Name != nil, []string{"tool_use"}},
		{"input", b.Input != nil, []string{"tool_use"}},
		{"tool_use_id", b.ToolUseID != nil, []string{"tool_result"}},
		{"content", b.Content != nil, []string{"tool_result"}},
		{"is_error", b.IsError != nil, []string{"tool_result"}},
		{"thinking", b.Thinking != nil, []string{"thinking"}},
		{"signature", b.Signature != nil, []string{"thinking"}},
		{"data", b.Data != nil, []string{"redacted_thinking"}},
		{"cache_control", b.CacheControl != nil, []string{"text", "image", "tool_use", "tool_result"}},
		{"caller", b.Caller != nil, []string{"tool_use"}},
		{"citations", b.Citations != nil, []string{"text"}},
		{"transformations", b.Transformations != nil, []string{"image"}},
		{"toolset_name", b.ToolsetName != nil, []string{"tool_result"}},
	} {
		if member.isSet && !slices.Contains(member.types, b.Type) {
			return member.name
		}
	}
	return ""
}

func (b *block) check(role, at string) *failure {
	roles := map[string]string{
		"text": "user assistant system", "image": "user", "tool_use": "assistant", "tool_result": "user",
		"thinking": "assistant", "redacted_thinking": "assistant",
	}
	allowed, known := roles[b.Type]
	switch {
	case b.Type == "":
		return invalid("%s.type: Field required", at)
	case slices.Contains([]string{"document", "search_result", "server_tool_use", "container_upload"}, b.Type):
		return unplayed("blocks of type " + b.Type)
	case !known:
		return invalid("%s: Input tag '%s' found using 'type' does not match any of the expected tags", at, b.Type)
	case !strings.Contains(allowed, role):
		return invalid("%s: %s blocks can only be in `%s` messages", at, b.Type, allowed)
	case b.foreign() != "":
		return invalid("%s.%s.%s: Extra inputs are not permitted", at, b.Type, b.foreign())
	case b.Citations != nil || b.Transformations != nil || b.ToolsetName != nil:
		return unplayed("citations, transformations and toolsets")
	}
	at += "." + b.Type
	switch b.Type {
	case "text":
		return b.checkText(role, at)
	case "image":
		return b.Source.check(at + ".source")
	case "tool_use":
		return b.checkUse(at)
	case "tool_result":
		return b.checkResult(at)
	case "thinking":
		return b.checkThinking(at)
	}
	if b.Data == nil {
		return invalid("%s.data: Field required", at)
	}
	return nil
}

func (b *block) checkText(role, at string) *failure {
	where := "messages"
	if role == "system" {
		where = "system"
	}
	switch {
	case b.Text == nil:
		return invalid("%s.text: Field required", at)
	case *b.Text == "" && b.CacheControl != nil:
		return invalid("%s: cache_control cannot be set for empty text blocks", at)
	case *b.Text == "":
		return invalid("%s: text content blocks must be non-empty", where)
	case strings.TrimSpace(*b.Text) == "":
		return invalid("%s: text content blocks must contain non-whitespace text", where)
	}
	return nil
}

// maxImage is the largest image, in bytes.
const maxImage = 5 << 20

func (s *source) check(at string) *failure {
	if s == nil {
		return invalid("%s: Field required", at)
	}
	switch s.Type {
	case "base64":
	case "url":
		switch {
		case s.URL == nil:
			return invalid("%s.url.url: Field required", at)
		case s.MediaType != nil || s.Data != nil:
			return invalid("%s.url.data: Extra inputs are not permitted", at)
		case !strings.HasPrefix(*s.URL, "https://"):
			return invalid("%s.url.url: Only HTTPS URLs are supported.", at)
		}
		return nil
	case "file":
		return unplayed("images from the Files API")
	default:
		return invalid("%s: Input tag '%s' found using 'type' does not match any of the expected tags: 'base64', 'url', 'file'", at, s.Type)
	}
	at += ".base64"
	switch {
	case s.URL != nil:
		return invalid("%s.url: Extra inputs are not permitted", at)
	case s.Data == nil || *s.Data == "":
		return invalid("%s.data: Field required", at)
	case s.MediaType == nil:
		return invalid("%s.media_type: Field required", at)
	case !slices.Contains([]string{"image/jpeg", "image/png", "image/gif", "image/webp"}, *s.MediaType):
		return invalid("%s.media_type: Input should be 'image/jpeg', 'image/png', 'image/gif' or 'image/webp'", at)
	}
	data, err := base64.StdEncoding.Strict().DecodeString(*s.Data)
	if err != nil {
		return invalid("%s.data: Invalid base64 data", at)
	}
	if len(data) > maxImage {
		return invalid("%s: image exceeds 5 MB maximum: %d bytes > %d bytes", at, len(data), maxImage)
	}
	switch looks := http.DetectContentType(data); {
	case looks == *s.MediaType:
		return nil
	case strings.HasPrefix(looks, "image/"):
		return invalid("%s.data: Image does not match the provided media type %s", at, *s.MediaType)
	}
	return invalid("Could not process image")
}

func (req *request) checkSystem(Model) *failure {
	if req.System == nil {
		return nil
	}
	for i := range *req.System {
		b := &(*req.System)[i]
		if b.Type != "text" {
			return invalid("system.%d.type: Input should be 'text'", i)
		}
		if f := b.check("system", fmt.Sprintf("system.%d", i)); f != nil {
			return f
		}
	}
	return nil
}

// checkEnd holds the rules of the last message.
func (req *request) checkEnd(m Model) *failure {
	last := req.Messages[len(req.Messages)-1]
	if last.Role != "assistant" {
		return nil
	}
	if !m.Prefills {
		return invalid("This model does not support assistant message prefill. The conversation must end with a user message.")
	}
	if n := len(last.Content); n > 0 && last.Content[n-1].Text != nil {
		text := *last.Content[n-1].Text
		if strings.TrimRightFunc(text, unicode.IsSpace) != text {
			return invalid("messages: final assistant content cannot end with trailing whitespace")
		}
	}
	return nil
}

func (req *request) checkSampling(m Model) *failure {
	t, p := req.Temperature, req.TopP
	switch {
	case t != nil && (*t < 0 || *t > 1):
		return invalid("temperature: range: 0..1")
	case p != nil && (*p < 0 || *p > 1):
		return invalid("top_p: range: 0..1")
	case req.TopK != nil && *req.TopK < 0:
		return invalid("top_k: must be greater than or equal to 0")
	case !m.Samples && t != nil && *t != 1:
		return invalid("`temperature` is deprecated for this model.")
	case !m.Samples && p != nil && *p != 1:
		return invalid("`top_p` is deprecated for this model.")
	case !m.Samples && req.TopK != nil:
		return invalid("`top_k` is deprecated for this model.")
	case !m.SamplesBoth && t != nil && p != nil:
		return invalid("`temperature` and `top_p` cannot both be specified for this model. Please use only one.")
	case req.thinks(m) && t != nil && *t != 1:
		return invalid("`temperature` may only be set to 1 when thinking is enabled. Please consult our documentation at https://docs.claude.com/en/docs/build-with-claude/extended-thinking#important-considerations-when-using-extended-thinking")
	case req.thinks(m) && p != nil && *p < 0.95:
		return invalid("`top_p` must be greater than or equal to 0.95 or unset when thinking is enabled. Please consult our documentation at https://docs.claude.com/en/docs/build-with-claude/extended-thinking#important-considerations-when-using-extended-thinking")
	}
	for _, s := range req.StopSequences {
		if strings.TrimSpace(s) == "" {
			return invalid("stop_sequences: each stop sequence must contain non-whitespace")
		}
	}
	return nil
}

func (req *request) checkRest(Model) *failure {
	if t := req.ServiceTier; t != "" && t != "auto" && t != "standard_only" {
		return invalid("service_tier: Input should be 'auto' or 'standard_only'")
	}
	return nil
}

// marks returns every mark of a cache in the request.
func (req *request) marks() []*cacheControl {
	marks := []*cacheControl{req.CacheControl}
	var walk func(content)
	walk = func(c content) {
		for i := range c {
			marks = append(marks, c[i].CacheControl)
			if c[i].Content != nil {
				walk(*c[i].Content)
			}
		}
	}
	if req.System != nil {
		walk(*req.System)
	}
	for _, m := range req.Messages {
		walk(m.Content)
	}
	for _, t := range req.Tools {
		marks = append(marks, t.CacheControl)
	}
	return slices.DeleteFunc(marks, func(c *cacheControl) bool { return c == nil })
}

func (req *request) checkMarks(Model) *failure {
	marks := req.marks()
	for _, c := range marks {
		switch {
		case c.Type != "ephemeral":
			return invalid("cache_control.type: Input should be 'ephemeral'")
		case c.TTL != "" && c.TTL != "5m" && c.TTL != "1h":
			return invalid("cache_control.ephemeral.ttl: Input should be '5m' or '1h'")
		}
	}
	if len(marks) > 4 {
		return invalid("A maximum of 4 blocks with cache_control may be provided. Found %d.", len(marks))
	}
	return nil
}
