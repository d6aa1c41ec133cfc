package anthropic

import "fmt"

// place is where something stands in a request. It is written out only where
// something is wrong with what stands there. All numbers count from 1; 0 means
// that the place is not within such a thing.
type place struct {
	message, part, call, tool int
}

// String writes the place as the API names it: messages[0].content[1].
func (p place) String() string {
	at := fmt.Sprintf("messages[%d]", p.message-1)
	switch {
	case p.tool > 0:
		at = fmt.Sprintf("tools[%d]", p.tool-1)
	case p.part > 0:
		at += fmt.Sprintf(".content[%d]", p.part-1)
	case p.call > 0:
		at += fmt.Sprintf(".tool_calls[%d]", p.call-1)
	}
	return at
}

// member names a member of what stands there.
func (p place) member(name string) string { return p.String() + "." + name }
