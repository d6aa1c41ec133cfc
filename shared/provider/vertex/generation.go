package vertex

import (
	"strconv"
	"strings"
)

// generation says which Gemini a model is, as far as its name tells. The zero
// value is a model whose name does not: an endpoint, an alias, an experiment.
type generation struct {
	major, minor int
	pro          bool
}

// generationOf reads names such as gemini-2.5-flash-lite-preview-09-2025 and
// gemini-3-pro. Only the number behind "gemini-" counts: others in the name are
// dates and revisions, as in gemini-1.5-pro-003.
func generationOf(model string) generation {
	rest, ok := strings.CutPrefix(model, "gemini-")
	if !ok {
		return generation{}
	}
	version, rest, _ := strings.Cut(rest, "-")
	whole, part, hasPart := strings.Cut(version, ".")
	major, err := strconv.ParseUint(whole, 10, 8)
	if err != nil {
		return generation{}
	}
	var minor uint64
	if hasPart {
		if minor, err = strconv.ParseUint(part, 10, 8); err != nil {
			return generation{}
		}
	}
	kind, _, _ := strings.Cut(rest, "-")
	return generation{major: int(major), minor: int(minor), pro: kind == "pro"}
}

// levels reports whether the model's thinking is set by a level, and whether
// it insists on thought signatures. Both began with Gemini 3.
func (g generation) levels() bool { return g.major >= 3 }

// budgets reports whether the model's thinking is set by a number of tokens.
func (g generation) budgets() bool { return g.major == 2 && g.minor >= 5 }

// callIDs reports whether functionCall and functionResponse carry an id. Gemini
// 3 emits ids and wants them back, or it answers with nothing; models before it
// have been seen to refuse the member.
func (g generation) callIDs() bool { return g.major >= 3 }

// mediaResolution reports whether a part can say how closely to look at it.
func (g generation) mediaResolution() bool { return g.major >= 3 }
