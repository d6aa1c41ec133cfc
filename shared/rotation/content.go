package rotation

import (
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/postern-ai/postern/shared/secrets"
)

// Content is a stored secret that is one JSON object: a key, what belongs to it, and perhaps members of somebody else's. It is secret.
type Content map[string]jsontext.Value

// ParseContent reads a stored secret. It reports false for one that is not a JSON object, which is then the key alone.
func ParseContent(value secrets.Value) (Content, bool) {
	var members Content
	if json.Unmarshal([]byte(value.Reveal()), &members) != nil || members == nil {
		return nil, false
	}
	return members, true
}

// Name returns the first of some names that a member has, or the first of all if none has.
func (c Content) Name(names ...string) string {
	for _, name := range names {
		if _, ok := c[name]; ok {
			return name
		}
	}
	return names[0]
}

// Text returns a member that is a text. It is empty if there is none.
func (c Content) Text(name string) string {
	var text string
	if json.Unmarshal(c[name], &text) != nil {
		return ""
	}
	return text
}

// With returns the content with one member replaced, as it is to be stored.
func (c Content) With(members map[string]string) (secrets.Value, error) {
	next := make(map[string]any, len(c)+len(members))
	for name, value := range c {
		next[name] = value
	}
	for name, value := range members {
		next[name] = value
	}
	encoded, err := json.Marshal(next, json.Deterministic(true))
	return secrets.NewValue(string(encoded)), err
}
