package vertex

import (
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

type logprobs struct {
	ChosenCandidates []tokenLogprob `json:"chosenCandidates"`
	TopCandidates    []struct {
		Candidates []tokenLogprob `json:"candidates"`
	} `json:"topCandidates"`
}

type tokenLogprob struct {
	Token          string  `json:"token"`
	LogProbability float64 `json:"logProbability"`
}

// choiceLogprobs is the logprobs member of a choice.
type choiceLogprobs struct {
	Content []positionLogprob `json:"content"`
	Refusal *struct{}         `json:"refusal"`
}

type positionLogprob struct {
	wireLogprob
	Top []wireLogprob `json:"top_logprobs"`
}

type wireLogprob struct {
	Token   string  `json:"token"`
	Logprob float64 `json:"logprob"`
	Bytes   []int   `json:"bytes"`
}

// chat returns the logprobs member of a choice, or nil for none.
func (l *logprobs) chat() jsontext.Value {
	if l == nil || len(l.ChosenCandidates) == 0 {
		return nil
	}
	out := choiceLogprobs{Content: make([]positionLogprob, len(l.ChosenCandidates))}
	for i, chosen := range l.ChosenCandidates {
		p := positionLogprob{wireLogprob: chosen.wire(), Top: []wireLogprob{}}
		if i < len(l.TopCandidates) {
			for _, top := range l.TopCandidates[i].Candidates {
				p.Top = append(p.Top, top.wire())
			}
		}
		out.Content[i] = p
	}
	v, err := json.Marshal(&out)
	if err != nil {
		return nil // strings and numbers that came out of JSON go back into it
	}
	return v
}

func (t tokenLogprob) wire() wireLogprob {
	w := wireLogprob{Token: t.Token, Logprob: t.LogProbability, Bytes: make([]int, len(t.Token))}
	for i := range len(t.Token) {
		w.Bytes[i] = int(t.Token[i])
	}
	return w
}
