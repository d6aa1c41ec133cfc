// Package brain is the model behind every stand-in: it decides what is
// answered, the stand-ins decide how that looks on their service's wire.
//
// A [Brain] must not know any wire format.
package brain

import (
	"context"
	"iter"
	"time"
)

// Prompt is a conversation as a stand-in understood it from its wire.
type Prompt struct {
	Model  string
	System []string
	Turns  []Turn
	Tools  []Tool

	// ToolChoice is "auto" (or empty), "none", "required", or "tool" with
	// ToolName as the one that must be called.
	ToolChoice string
	ToolName   string
	OneCall    bool // parallel calls are switched off

	MaxTokens int // 0: no limit
	Stop      []string
	JSON      bool // the answer must be a JSON object
}

// Turn is one message of a conversation.
type Turn struct {
	Role    string // "user", "assistant" or "tool"
	Text    string
	Images  []Image
	Calls   []Call   // of an assistant
	Results []Result // of a tool turn
}

// Image is an image as it arrived.
type Image struct {
	MediaType string
	Bytes     int
}

// Tool is a tool on offer. Schema is its JSON Schema.
type Tool struct {
	Name   string
	Schema []byte
}

// Call is a tool call. Arguments is a JSON object.
type Call struct {
	ID        string
	Name      string
	Arguments string
}

// Result is what a tool returned.
type Result struct {
	ID   string
	Text string
}

// Finish says why an answer ended.
type Finish string

// Reasons to end an answer.
const (
	Stop   Finish = "stop"
	Length Finish = "length"
	Tools  Finish = "tools"
	Filter Finish = "filter"
)

// Usage counts tokens: one token is one word of text, or one image.
type Usage struct {
	Prompt, Completion, Cached, Reasoning int
}

// Piece is a part of an answer. Exactly one of Text, Call and End is set.
type Piece struct {
	Text string
	Call *Call
	End  *End
}

// End is the last piece.
type End struct {
	Finish Finish
	Usage  Usage
}

// Fault is a failure that the prompt asked for. Status is one that the
// stand-in answers in its service's own error format; Hang means that the
// connection is closed without an answer.
type Fault struct {
	Status     int
	RetryAfter time.Duration
	Message    string
	Kind       FaultKind
}

// FaultKind is how a fault shows.
type FaultKind string

// Kinds of a fault.
const (
	FaultStatus   FaultKind = "status"   // an error status instead of an answer
	FaultReset    FaultKind = "reset"    // the connection breaks before any answer
	FaultBreak    FaultKind = "break"    // the connection breaks in mid stream
	FaultTruncate FaultKind = "truncate" // the stream ends cleanly but too early
	FaultGarbage  FaultKind = "garbage"  // what comes is not of the wire format
	FaultInStream FaultKind = "instream" // the service reports an error within the stream
	FaultHang     FaultKind = "hang"     // nothing comes until the client gives up
)

// Error makes a Fault an error: a Brain yields it where the answer fails.
func (f *Fault) Error() string { return "the prompt asked for a fault: " + string(f.Kind) }

// Brain answers prompts. The sequence ends with an End piece or with an error,
// a *[Fault] where the prompt asked for one. It is safe for concurrent use.
type Brain interface {
	Answer(ctx context.Context, p Prompt) iter.Seq2[Piece, error]
}
