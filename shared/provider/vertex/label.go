package vertex

import (
	"fmt"

	"github.com/postern-ai/postern/shared/chat"
)

// maxLabel bounds keys and values of labels, in bytes.
const maxLabel = 63

// label carries user and metadata as labels, which Google uses for billing and
// reporting only, as OpenAI uses them. Google allows some letters beyond ASCII;
// what they are is not documented.
func (out *request) label(req *chat.Request) error {
	if req.User == "" && len(req.Metadata) == 0 {
		return nil
	}
	out.Labels = make(map[string]string, len(req.Metadata)+1)
	for key, value := range req.Metadata {
		if !isLabel(key) || !isSmall(key[0]) {
			return chat.UnsupportedValue("metadata", name, "it becomes labels of the request, and one of the keys is not made of 1 to 63 lower-case letters, digits, dashes and underscores, with a letter first.")
		}
		if value != "" && !isLabel(value) {
			return chat.UnsupportedValue("metadata."+key, name, labelRule)
		}
		out.Labels[key] = value
	}
	if req.User == "" {
		return nil
	}
	if !isLabel(req.User) {
		return chat.UnsupportedValue("user", name, labelRule)
	}
	if _, taken := out.Labels["user"]; taken {
		return chat.UnsupportedValue("user", name, "it becomes the label 'user' of the request, which 'metadata.user' sets too. Leave out one of the two.")
	}
	out.Labels["user"] = req.User
	return nil
}

const labelRule = "it becomes a label of the request, which is made of at most 63 lower-case letters, digits, dashes and underscores. Leave it out, or shorten it to that."

func isLabel(s string) bool {
	return len(s) <= maxLabel && consists(s, func(c byte) bool { return isSmall(c) || isDigit(c) || c == '-' || c == '_' })
}

// place names an element of an array in an error.
func place(array string, i int) string { return fmt.Sprintf("%s[%d]", array, i) }
