package brain

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"
	"unicode"
)

// Echo answers from the prompt alone, always alike: it repeats what it was
// told, counts the words of it, names the images that it saw and what its
// tools returned, so that a test can tell from an answer whether all of the
// conversation arrived. Every word is a piece of its own.
//
// It calls a tool when the tool choice demands one, or when the last user text
// mentions a tool by its name; all that are mentioned, in the order of the
// request, unless parallel calls are off. The arguments are made from the
// tool's schema. Once tools have answered it reports their results.
//
// The last user text can steer it. A directive is a name with parentheses and
// a number sign before it; it is cut from what is repeated:
//
//	#say(text)          answer exactly this, or say it before calling tools
//	#long(500)          go on until the answer has 500 words
//	#slow(200ms)        wait before each word
//	#reason(40)         report 40 tokens of reasoning
//	#cached(30)         report 30 tokens of the prompt as cached
//	#filter()           a content filter ends the answer half way
//	#blocked()          a content filter refuses the prompt: status 400
//	#fail(429,3)        fail with this status, and a wait of 3 seconds
//	#fail(503)          fail with this status
//	#reset()            break the connection before any answer
//	#hang()             answer nothing until the client gives up
//	#break()            break the connection half way
//	#truncate()         end the answer cleanly half way
//	#garbage()          send something unreadable half way
//	#error()            report an error within the stream, half way
//
// A directive whose argument makes no sense is a status 400 that says so.
type Echo struct{}

// BlockedPrompt is the message of the fault that #blocked() asks for. A
// stand-in whose service has an error of its own for this answers with that.
const BlockedPrompt = "content_filter"

// maxWords bounds what #long may ask for.
const maxWords = 200_000

// Answer implements [Brain].
func (Echo) Answer(ctx context.Context, p Prompt) iter.Seq2[Piece, error] {
	return func(yield func(Piece, error) bool) {
		steer, err := parse(lastUserText(p.Turns))
		if err != nil {
			yield(Piece{}, &Fault{Kind: FaultStatus, Status: 400, Message: err.Error()})
			return
		}
		if f := steer.fault; f != nil && f.early() {
			yield(Piece{}, f)
			return
		}
		pieces, finish := compose(p, steer)
		usage := Usage{Prompt: p.words(), Cached: steer.cached, Reasoning: steer.reason, Completion: steer.reason}
		last := len(pieces)
		if steer.fault != nil || steer.filter {
			last /= 2
		}
		for _, piece := range pieces[:last] {
			if err := pause(ctx, steer.slow); err != nil {
				yield(Piece{}, err)
				return
			}
			usage.Completion += piece.words()
			if !yield(piece, nil) {
				return
			}
		}
		if steer.fault != nil {
			yield(Piece{}, steer.fault)
			return
		}
		if steer.filter {
			finish = Filter
		}
		yield(Piece{End: &End{Finish: finish, Usage: usage}}, nil)
	}
}

// compose makes the pieces of an answer.
func compose(p Prompt, steer directives) ([]Piece, Finish) {
	if calls := choose(p, steer.text); len(calls) > 0 {
		var pieces []Piece
		for _, word := range splitWords(steer.say) {
			pieces = append(pieces, Piece{Text: word})
		}
		for i := range calls {
			pieces = append(pieces, Piece{Call: &calls[i]})
		}
		return pieces, Tools
	}
	text, finish := limit(p, say(p, steer))
	pieces := make([]Piece, len(text))
	for i, word := range text {
		pieces[i] = Piece{Text: word}
	}
	return pieces, finish
}

// say returns the whole answer as text.
func say(p Prompt, steer directives) string {
	text := steer.say
	switch {
	case text != "":
	case p.JSON:
		object, _ := json.Marshal(map[string]any{"you_said": steer.text, "words": words(steer.text)})
		text = string(object)
	default:
		text = restate(p, steer.text)
	}
	if n := words(text); n < steer.long {
		var b strings.Builder
		b.WriteString(text)
		for i := n + 1; i <= steer.long; i++ {
			fmt.Fprintf(&b, " word%d", i)
		}
		text = b.String()
	}
	return text
}

func restate(p Prompt, said string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "You said in %d words: %s", words(said), said)
	if turns := slices.DeleteFunc(slices.Clone(p.Turns), func(t Turn) bool { return t.Role != "user" }); len(turns) > 1 {
		fmt.Fprintf(&b, " | This is your turn %d.", len(turns))
	}
	if len(p.System) > 0 {
		fmt.Fprintf(&b, " | My instructions: %s", strings.Join(p.System, " "))
	}
	for _, t := range p.Turns {
		for _, image := range t.Images {
			fmt.Fprintf(&b, " | I see %s of %d bytes.", image.MediaType, image.Bytes)
		}
		for _, r := range t.Results {
			fmt.Fprintf(&b, " | The tool %s returned: %s", p.toolOf(r.ID), r.Text)
		}
	}
	return b.String()
}

// limit cuts an answer at its stop sequences and at its length, and splits it
// into words, each with the space before it.
func limit(p Prompt, text string) ([]string, Finish) {
	cut := len(text)
	for _, stop := range p.Stop {
		if i := strings.Index(text, stop); stop != "" && i >= 0 {
			cut = min(cut, i)
		}
	}
	split := splitWords(text[:cut])
	if p.MaxTokens > 0 && len(split) > p.MaxTokens {
		return split[:p.MaxTokens], Length
	}
	return split, Stop
}

// choose decides which tools are called.
func choose(p Prompt, said string) []Call {
	if len(p.Tools) == 0 || len(p.Turns) == 0 || p.ToolChoice == "none" {
		return nil
	}
	var chosen []Tool
	for _, t := range p.Tools {
		if p.ToolChoice == "tool" && t.Name == p.ToolName || p.ToolChoice != "tool" && mentions(said, t.Name) {
			chosen = append(chosen, t)
		}
	}
	forced := p.ToolChoice == "required" || p.ToolChoice == "tool"
	if !forced && p.Turns[len(p.Turns)-1].Role == "tool" {
		return nil // the tools that the user asked for have answered
	}
	if p.ToolChoice == "required" && len(chosen) == 0 {
		chosen = p.Tools[:1]
	}
	if p.OneCall && len(chosen) > 1 {
		chosen = chosen[:1]
	}
	calls := make([]Call, len(chosen))
	for i, t := range chosen {
		calls[i] = Call{ID: callID(p, i), Name: t.Name, Arguments: arguments(t, said)}
	}
	return calls
}

// callID is the same for the same conversation and unique within it.
func callID(p Prompt, i int) string { return fmt.Sprintf("call_%04d%04d", len(p.Turns), i) }

// mentions reports whether name stands in said as a whole word.
func mentions(said, name string) bool {
	part := func(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) || r == '_' || r == '-' }
	return slices.Contains(strings.FieldsFunc(said, func(r rune) bool { return !part(r) }), name)
}

func (p Prompt) toolOf(id string) string {
	for _, t := range p.Turns {
		for _, c := range t.Calls {
			if c.ID == id {
				return c.Name
			}
		}
	}
	return id
}

func lastUserText(turns []Turn) string {
	for _, t := range slices.Backward(turns) {
		if t.Role == "user" {
			return t.Text
		}
	}
	return ""
}

func words(s string) int { return len(strings.Fields(s)) }

// words counts the tokens of a prompt.
func (p Prompt) words() int {
	n := 0
	for _, s := range p.System {
		n += words(s)
	}
	for _, t := range p.Turns {
		n += words(t.Text) + len(t.Images)
		for _, c := range t.Calls {
			n += 1 + words(c.Arguments)
		}
		for _, r := range t.Results {
			n += words(r.Text)
		}
	}
	for _, t := range p.Tools {
		n += 1 + words(string(t.Schema))
	}
	return n
}

func (p Piece) words() int {
	if p.Call != nil {
		return 1 + words(p.Call.Arguments)
	}
	return words(p.Text)
}

// splitWords cuts before each space that follows a word, so that the pieces
// joined are the text again.
func splitWords(s string) []string {
	var pieces []string
	start, inWord := 0, false
	for i, r := range s {
		space := unicode.IsSpace(r)
		if space && inWord {
			pieces = append(pieces, s[start:i])
			start = i
		}
		inWord = !space
	}
	switch {
	case start == len(s):
	case !inWord && len(pieces) > 0:
		pieces[len(pieces)-1] += s[start:]
	default:
		pieces = append(pieces, s[start:])
	}
	return pieces
}

func pause(ctx context.Context, d time.Duration) error {
	if d == 0 {
		return ctx.Err()
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// Answer is a whole answer.
type Answer struct {
	Text  string
	Calls []Call
	End   End
}

// Collect gathers a whole answer. With an error it returns what came before.
func Collect(pieces iter.Seq2[Piece, error]) (Answer, error) {
	var a Answer
	var text strings.Builder
	for piece, err := range pieces {
		if err != nil {
			a.Text = text.String()
			return a, err
		}
		text.WriteString(piece.Text)
		if piece.Call != nil {
			a.Calls = append(a.Calls, *piece.Call)
		}
		if piece.End != nil {
			a.Text, a.End = text.String(), *piece.End
			return a, nil
		}
	}
	return a, errors.New("the model's answer has no end")
}
