package anthropic

import "strings"

// model is what the id of a model says about it. An id that says nothing, such
// as a name that a proxy made up, is the zero value.
type model struct {
	family       string // "opus", "sonnet", "haiku", ...
	major, minor int
}

// modelOf reads claude-opus-4-5-20251101, claude-sonnet-5 and, as ids were
// before Claude 4, claude-3-7-sonnet-20250219.
func modelOf(id string) model {
	rest, ok := strings.CutPrefix(id, "claude-")
	if !ok {
		return model{}
	}
	var m model
	numbers := 0
	for part := range strings.SplitSeq(rest, "-") {
		n, isNumber := number(part)
		switch {
		case !isNumber:
			if m.family == "" {
				m.family = part
			}
		case numbers == 0:
			m.major = n
			numbers++
		case numbers == 1:
			m.minor = n
			numbers++
		}
	}
	return m
}

// number reads a version. What is longer than two digits is a date.
func number(s string) (int, bool) {
	if len(s) == 0 || len(s) > 2 {
		return 0, false
	}
	n := 0
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = 10*n + int(c-'0')
	}
	return n, true
}

func (m model) atLeast(major, minor int) bool {
	return m.major > major || m.major == major && m.minor >= minor
}

func (m model) is(family string, major, minor int) bool {
	return m == model{family, major, minor}
}

// efforts lists the levels of effort that a model takes. (Claude documentation,
// "Effort".) A model that is newer than the documentation counts as the newest
// one in it.
func (m model) efforts() []string {
	switch {
	case m.atLeast(4, 7):
		return []string{"low", "medium", "high", "xhigh", "max"}
	case m.atLeast(4, 6):
		return []string{"low", "medium", "high", "max"}
	case m.is("opus", 4, 5):
		return []string{"low", "medium", "high"}
	}
	return nil
}

// adapts reports whether a model decides itself how much to think. (Claude
// documentation, "Adaptive thinking".)
func (m model) adapts() bool { return m.atLeast(4, 6) }

// restful returns what keeps a model from thinking, nil where it does not think
// unless asked to, and false where it always thinks or nobody knows. (Claude
// documentation, "Thinking", and what is new in each model.)
func (m model) restful() (*thinking, bool) {
	switch {
	case m.major == 0:
		return nil, false
	case !m.atLeast(5, 0):
		return nil, true
	case m.is("opus", 5, 0), m.is("sonnet", 5, 0), m.is("haiku", 5, 5):
		return &thinking{"disabled"}, true
	case m.is("sonnet", 5, 5):
		return &thinking{"between_tools"}, true
	}
	return nil, false
}

// Bounds on an answer where the caller gives none, which the API, other than
// OpenAI's, insists on. The first is as much as every model since Claude 4
// allows, and leaves room for thoughts, which count; the second is as much as
// every model allows.
const (
	defaultMaxTokens = 32_000
	safeMaxTokens    = 4096
)

func (m model) maxTokens() int64 {
	if m.atLeast(4, 0) {
		return defaultMaxTokens
	}
	return safeMaxTokens
}
