package vertex

import (
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/postern-ai/postern/shared/chat"
)

// call reads a call that the model made before.
func (c *conversation) call(t *chat.ToolCall, at string) (part, error) {
	if t.Type == "custom" || t.Function == nil {
		return part{}, chat.UnsupportedValue(at+".type", name, "it knows calls of type 'function' only.")
	}
	call := functionCall{Name: t.Function.Name}
	if c.generation.callIDs() {
		call.ID = t.ID
	}
	if args := jsontext.Value(t.Function.Arguments); len(args) > 0 {
		if !args.IsValid() || args.Kind() != jsontext.KindBeginObject {
			at += ".function.arguments"
			return part{}, chat.Invalid(at, chat.CodeInvalidValue, "Invalid '%s': %s takes arguments that are a JSON object only. Leave out the call and the tool message that answers it.", at, name)
		}
		call.Args = args
	}
	signature, err := signatureOf(t.ExtraContent, at)
	if err != nil {
		return part{}, err
	}
	return part{FunctionCall: &call, ThoughtSignature: signature}, nil
}

// expect lays out the results of calls as the next content.
func (c *conversation) expect(calls []chat.ToolCall) {
	if len(calls) == 0 {
		return
	}
	parts := make([]part, len(calls))
	c.open = c.open[:0]
	for i := range calls {
		response := functionResponse{Name: calls[i].Function.Name}
		if c.generation.callIDs() {
			response.ID = calls[i].ID
		}
		parts[i].FunctionResponse = &response
		c.open = append(c.open, openCall{id: calls[i].ID, part: i})
	}
	c.add(roleUser, parts...)
}

// result fills in what a tool returned.
func (c *conversation) result(m *chat.Message, i int) error {
	text, ok := m.Content.JoinText()
	if !ok {
		for j, p := range m.Content.All() {
			if p.Type != chat.PartText {
				return unsupportedPart(p, i, j)
			}
		}
	}
	for k, open := range c.open {
		if open.id != m.ToolCallID {
			continue
		}
		c.open = append(c.open[:k], c.open[k+1:]...)
		response, err := resultObject(text)
		if err != nil {
			at := fmt.Sprintf("messages[%d].content", i)
			return chat.Invalid(at, chat.CodeInvalidValue, "Invalid '%s': it cannot be written as JSON.", at).With(err)
		}
		c.contents[len(c.contents)-1].Parts[open.part].FunctionResponse.Response = response
		return nil
	}
	at := fmt.Sprintf("messages[%d].tool_call_id", i)
	return chat.Invalid(at, chat.CodeInvalidValue, "Invalid '%s': a tool message must answer an open tool call of the assistant message before it.", at)
}

// output is the member that Google names for a result that is no object.
type output struct {
	Output string `json:"output"`
}

// resultObject returns what a tool said as the object that the API wants. A
// tool that answered with a JSON object keeps it.
func resultObject(text string) (jsontext.Value, error) {
	if v := jsontext.Value(text); v.Kind() == jsontext.KindBeginObject && v.IsValid() {
		return v, nil
	}
	return json.Marshal(output{text})
}

// bypass is what Google documents to stand in for a signature that got lost:
// the call was made by another model, or the client dropped what it did not
// know. (Vertex AI documentation, "Thought signatures".)
const bypass = "skip_thought_signature_validator"

// signOff puts the bypass on calls without a signature. Google looks at the
// current turn only, which begins with the last thing that the user said, and
// within it at the first call of each answer. On the other calls the bypass
// would do harm: what the model is told is no longer what it has said.
func signOff(contents []content) {
	for i := len(contents) - 1; i >= 0; i-- {
		if contents[i].Role == roleUser {
			if !hasResults(contents[i].Parts) {
				return
			}
			continue
		}
		for j := range contents[i].Parts {
			if p := &contents[i].Parts[j]; p.FunctionCall != nil {
				if p.ThoughtSignature == "" {
					p.ThoughtSignature = bypass
				}
				break
			}
		}
	}
}

func hasResults(parts []part) bool {
	for i := range parts {
		if parts[i].FunctionResponse != nil {
			return true
		}
	}
	return false
}

// extraContent is the shape in which Google's own OpenAI-compatible endpoint
// hands out thought signatures. Some of its clients say vertex for google.
type extraContent struct {
	Google thought `json:"google,omitzero"`
	Vertex thought `json:"vertex,omitzero"`
}

type thought struct {
	Signature string `json:"thought_signature,omitzero"`
}

func signatureOf(v jsontext.Value, at string) (string, error) {
	if len(v) == 0 {
		return "", nil
	}
	at += ".extra_content"
	var extra extraContent
	if err := json.Unmarshal(v, &extra); err != nil {
		return "", chat.Invalid(at, chat.CodeInvalidType, `Invalid type for '%s': expected {"google":{"thought_signature":"..."}} as the answer had it.`, at)
	}
	signature := extra.Google.Signature
	if signature == "" {
		signature = extra.Vertex.Signature
	}
	if !isBase64(signature) {
		return "", chat.Invalid(at, chat.CodeInvalidValue, "Invalid '%s': the thought signature is not base64. Send it back as the answer had it.", at)
	}
	return signature, nil
}

// extraOf returns the extra_content that carries a signature.
func extraOf(signature string) jsontext.Value {
	if signature == "" {
		return nil
	}
	v, err := json.Marshal(extraContent{Google: thought{signature}})
	if err != nil {
		return nil // a string that came out of JSON goes back into it
	}
	return v
}
